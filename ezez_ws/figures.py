"""The figures of a server, a client and a connection, as ``stats()`` returns them."""

import logging
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from .logs import limited

__all__ = ["ConnectionStats", "Figures", "Histogram", "Running", "ServerStats"]


class Histogram(NamedTuple):
    """How long something took."""

    count: int  # type: ignore[assignment]  # of a tuple: how often it has a value
    sum: float
    """Seconds, of all together."""
    buckets: dict[float, int]
    """How many took at most so many seconds: the bounds rise, ``math.inf`` is the last, each contains those before."""


class Running(NamedTuple):
    """User code that runs."""

    what: str
    """The event, or the callback."""
    since: float
    """In monotonic time."""
    thread_id: int


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
    """Publications to rooms, and to everyone, included."""
    clients_cut: dict[str, int]
    """By reason."""
    listener_seconds: Histogram
    waiting_seconds: Histogram
    send_buffer_bytes: int
    inbox_bytes: int


class Figures:
    """What a server or a client counts besides what each connection does for itself.

    ``_lock`` guards all fields but ``watchers`` and ``followers``, which are replaced as a whole, and looked at without
    it; re-entrant, as a signal's handler may send. ``past`` is the tally of the connections that have ended.
    """

    def __init__(self, past: Any) -> None:
        self._lock = threading.RLock()
        self._past = past
        self._live: dict[Any, None] = {}
        self._connections = 0
        self._broadcasts = 0
        self._refused: Counter[str] = Counter()
        self._authentications: Counter[str] = Counter()
        self._cut: Counter[str] = Counter()
        self.watchers: tuple[Callable[[BaseException, str, dict[str, Any]], object], ...] = ()
        """Called with each error of a listener, handler or callback, what it was in words, and a record's attributes;
        must not block, and may be called on any thread."""
        self.followers: tuple[tuple[Callable[[], object], Callable[[], object]], ...] = ()
        """Called when the server has started, which must not block, and when it has closed, within a second."""

    def connected(self, tally: Any) -> None:
        """Count a connection, and what it will count."""
        with self._lock:
            self._connections += 1
            self._live[tally] = None

    def ended(self, tally: Any) -> None:
        """Keep what a connection has counted that has ended. Idempotent."""
        with self._lock:
            if self._live.pop(tally, tally) is None:
                self._past.add(tally)

    def broadcasted(self) -> None:
        """Count a broadcast."""
        with self._lock:
            self._broadcasts += 1

    def refused(self, status: int) -> None:
        """Count a handshake that was refused."""
        with self._lock:
            self._refused[str(status)] += 1

    def authenticated(self, outcome: str) -> None:
        """Count an authentication."""
        with self._lock:
            self._authentications[outcome] += 1

    def cut(self, reason: str) -> None:
        """Count a peer that was cut."""
        with self._lock:
            self._cut[reason] += 1

    def tallies(self, total: Any) -> list[Any]:
        """Add to ``total`` what the connections that have ended have counted, and return the tallies of the others."""
        with self._lock:
            total.add(self._past)
            return list(self._live)

    def counts(self) -> tuple[int, int, dict[str, int], dict[str, int], dict[str, int]]:
        """Return how many connections and broadcasts, and refusals, authentications and cuts by what they were."""
        with self._lock:
            by = (dict(self._refused), dict(self._authentications), dict(self._cut))
            return self._connections, self._broadcasts, *by

    def tell(self, error: BaseException, what: str, extra: dict[str, Any]) -> None:
        """Tell the watchers of an error."""
        for watcher in self.watchers:
            try:
                watcher(error, what, extra)
            except BaseException as second:  # it must end nothing
                kind = type(second).__name__
                limited.tell(logging.ERROR, "watcher", "an error was not kept, over a %s", kind)

    def watch(self, watcher: Callable[[BaseException, str, dict[str, Any]], object]) -> None:
        """Have a watcher called."""
        with self._lock:
            self.watchers = (*self.watchers, watcher)

    def follow(self, started: Callable[[], object], closed: Callable[[], object]) -> None:
        """Have these called at each start, and at the end of each close."""
        with self._lock:
            self.followers = (*self.followers, (started, closed))

    def forget(self, watcher: Callable[[BaseException, str, dict[str, Any]], object]) -> None:
        """Call a watcher no more."""
        with self._lock:
            self.watchers = tuple(other for other in self.watchers if other != watcher)
