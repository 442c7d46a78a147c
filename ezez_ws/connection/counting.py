"""The figures of connections, summed up for who asks. Any thread may ask; nobody is held up."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from ..figures import ConnectionStats, Figures, ServerStats
from ..messages.tally import Tally, histograms_of

if TYPE_CHECKING:
    from .connection import Connection
    from .server_side import ServerConnection

__all__ = ["client_stats", "connection_stats", "server_stats"]


def connection_stats(connection: "Connection") -> ConnectionStats:
    """Return those of one connection."""
    return _stats(connection.tally, [connection])


def client_stats(
    figures: Figures, connection: "Connection | None", replies_awaited: int, timed_out: int
) -> ConnectionStats:
    """Return those of a client over all of its connections, of which it has at most one now, and of its queue."""
    stats = _stats(_total(figures), [] if connection is None else [connection])
    return stats._replace(replies_awaited=replies_awaited, replies_timed_out=stats.replies_timed_out + timed_out)


def server_stats(figures: Figures, connections: "Collection[ServerConnection]") -> ServerStats:
    """Return those of a server."""
    total, broadcasts, refused, authentications, cut = figures.counts()
    there = [connection for connection in connections if connection.stream.ending is None]
    return ServerStats(
        connections=len(there),
        unauthenticated=sum(not connection.authenticated for connection in there),
        connections_total=total,
        handshakes_refused=refused,
        authentications=authentications,
        broadcasts=broadcasts,
        clients_cut=cut,
        **_stats(_total(figures), connections)._asdict(),
    )


def _total(figures: Figures) -> Tally:
    total = Tally()
    for tally in figures.tallies(total):
        total.add(tally)
    return total


def _stats(tally: Tally, connections: "Collection[Connection]") -> ConnectionStats:
    listener_seconds, waiting_seconds = histograms_of(tally)
    return ConnectionStats(
        messages_received=tally.received,
        messages_sent=tally.sent,
        bytes_received=tally.bytes_received,
        bytes_sent=tally.bytes_sent,
        replies_awaited=sum(connection.awaiting_replies_count for connection in connections),
        replies_timed_out=tally.timed_out,
        replies_expired=tally.expired,
        listener_seconds=listener_seconds,
        waiting_seconds=waiting_seconds,
        send_buffer_bytes=sum(connection.stream.waiting_bytes for connection in connections),
        inbox_bytes=sum(connection.inbox.bytes for connection in connections),
    )
