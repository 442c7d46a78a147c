"""Finding out whether a silent peer is still there (RFC 6455, sections 5.5.2 and 5.5.3)."""

from typing import TYPE_CHECKING

from ..messages.protocol import CloseCode
from ..threads import clock
from ..threads.timers import SLACK

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["Keepalive"]


class Keepalive:
    """Pings a connection's peer after ``interval`` seconds of silence, and cuts it ``timeout`` seconds after that.

    Any bytes that come are a sign of life. ``timeout`` ``None``: it is pinged, and never cut. ``start`` is the
    connection's; from then on all runs on the janitor's thread, which alone uses ``_pinged_at``.
    """

    __slots__ = ("_connection", "_interval", "_pinged_at", "_timeout")

    def __init__(self, connection: "Connection", interval: float, timeout: float | None) -> None:
        self._connection = connection
        self._interval = interval
        self._timeout = timeout
        self._pinged_at: float | None = None

    def start(self) -> None:
        """Begin."""
        self._connection.call_later(self._interval, self._look_after)

    def _look_after(self) -> None:
        if self._connection.alive:
            self._connection.tell_position()
            delay = self._step()
            if delay is not None:
                self._connection.call_later(delay, self._look_after)

    def _step(self) -> float | None:
        """Ping, or judge the last ping; return when to come again."""
        inbox, stream = self._connection.inbox, self._connection.stream
        if inbox.full:
            self._pinged_at = None
            return self._interval  # nobody reads: silence proves nothing
        if self._pinged_at is not None:
            inbox.look_in()
        heard = stream.last_received
        if self._pinged_at is None or heard >= self._pinged_at:
            self._pinged_at = None
            rest = self._interval - (clock.monotonic() - heard)
            return rest if rest > min(SLACK, self._interval / 8) else self._ping()
        assert self._timeout is not None
        patience = self._pinged_at + self._timeout - clock.monotonic()
        if patience > 0:
            return min(self._interval, patience)
        if stream.answers():
            return 1.0  # its answer is there, and a reader about to read it
        failed = stream.fail(CloseCode.INTERNAL_ERROR, "keepalive: no pong in time")
        self._connection.cut()
        if failed:
            self._connection.figures.cut("keepalive")
            self._connection.warn(f"cut: no pong within ping_timeout ({self._timeout:g} s)", "no pong")
        return None

    def _ping(self) -> float:
        now = clock.monotonic()  # before the ping: its answer may be read before ping() returns
        self._connection.stream.ping()
        if self._timeout is None:
            return self._interval
        self._pinged_at = now
        return min(self._interval, self._timeout)
