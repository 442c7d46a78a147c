"""The figures of a server, a client and a connection, as ``stats()`` returns them."""

from typing import NamedTuple

__all__ = ["ConnectionStats", "Histogram", "ServerStats"]


class Histogram(NamedTuple):
    """How long something took."""

    count: int  # type: ignore[assignment]  # of a tuple: how often it has a value
    sum: float
    """Seconds, of all together."""
    buckets: dict[float, int]
    """How many took at most so many seconds: the bounds rise, ``math.inf`` is the last, each contains those before."""


class ConnectionStats(NamedTuple):
    """What one connection has done, or a client over all of its connections; sizes in bytes.

    Messages are those of the program, in and out, and bytes those of their payloads: what the protocol says for itself
    (authentication, pings, positions) is not counted.
    """

    messages_received: int
    messages_sent: int
    bytes_received: int
    bytes_sent: int
    replies_awaited: int
    """Now."""
    replies_timed_out: int
    """Waits for a reply whose time passed."""
    replies_expired: int
    """Messages whose reply is not waited for any more, as ``clear_awaiting_replies_after`` has passed."""
    listener_seconds: Histogram
    """For how long the listeners, handlers and callbacks of each event ran."""
    waiting_seconds: Histogram
    """For how long each event waited, from being read until they began."""
    send_buffer_bytes: int
    """Now: what the peer has not taken yet."""
    inbox_bytes: int
    """Now: what was read and is not handled yet."""


class ServerStats(NamedTuple):
    """What a server has done since it was made, also over ``close`` and ``start``; sizes in bytes."""

    connections: int
    """Now, the unauthenticated included."""
    unauthenticated: int
    """Now."""
    connections_total: int
    handshakes_refused: dict[str, int]
    """By HTTP status."""
    authentications: dict[str, int]
    """By outcome: ``ok``, ``rejected``, ``late``."""
    messages_received: int
    messages_sent: int
    bytes_received: int
    bytes_sent: int
    replies_awaited: int
    replies_timed_out: int
    replies_expired: int
    broadcasts: int
    clients_cut: dict[str, int]
    """By reason."""
    listener_seconds: Histogram
    waiting_seconds: Histogram
    send_buffer_bytes: int
    inbox_bytes: int
