"""What one connection counts: messages, bytes, and for how long they waited and their listeners ran.

Each number has one writer at a time, who holds a lock or a role of the connection's already: what is sent is counted
under the lock over sending, what times out or expires under the inbox's, all else by the connection's own thread. So
counting takes no lock, and whoever reads sums up what all have counted.
"""

import math
from bisect import bisect_left
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..figures import Histogram
from ..threads import clock
from .speedups import compiled

__all__ = ["BOUNDS", "Tally", "histograms_of", "use_clock"]

BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Of the histograms, in seconds; there is one more for what took longer."""


class _Tally:
    """In C, too: ``c/tally.c``."""

    __slots__ = (
        *("bytes_received", "bytes_sent", "expired", "received", "sent", "timed_out"),
        *("_listener", "_listener_sum", "_since", "_waiting", "_waiting_sum", "_what"),
    )

    def __init__(self) -> None:
        self.received = self.bytes_received = self.sent = self.bytes_sent = self.timed_out = self.expired = 0
        self._what: str | None = None  # what runs
        self._since = 0.0
        self._listener: list[int] = []
        self._waiting: list[int] = []
        self._listener_sum = self._waiting_sum = 0.0

    def begin(self, what: str, payload: bytes | str, read_at: float) -> None:
        """Count a message that was read, and note that its listeners run from now on."""
        now = clock.monotonic()
        self._need_histograms()
        self.received += 1
        self.bytes_received += len(payload)
        self._waiting_sum += max(0.0, now - read_at)
        self._waiting[bisect_left(BOUNDS, now - read_at)] += 1
        self._since = now
        self._what = what

    def end(self) -> None:
        """Note that those have returned."""
        if self._what is None or not self._listener:
            return
        seconds = clock.monotonic() - self._since
        self._listener_sum += max(0.0, seconds)
        self._listener[bisect_left(BOUNDS, seconds)] += 1
        self._what = None

    def running(self) -> tuple[str, float] | None:
        """Return what runs, and since when; ``None``: nothing."""
        what = self._what
        return None if what is None else (what, self._since)

    def enter(self, what: str) -> tuple[str, float] | None:
        """Note that something else runs from now on; return what is to be given to ``resume``."""
        before = self.running()
        self._since, self._what = clock.monotonic(), what
        return before

    def resume(self, before: tuple[str, float] | None) -> None:
        """Note that it has returned, and that what ran before goes on."""
        if before is None:
            self._what = None
        else:
            self._what, self._since = before

    def take(self, payload: bytes | str) -> None:
        """Count a message that was read, and that nobody's code is called for."""
        self.received += 1
        self.bytes_received += len(payload)

    def put(self, payload: bytes | str) -> None:
        """Count a message that is sent."""
        self.sent += 1
        self.bytes_sent += len(payload)

    def now(self) -> float:
        """Return the time; in C that takes half as long as the standard library's way."""
        return clock.monotonic()

    def add(self, other: "_Tally") -> None:
        """Count all that another has counted."""
        if other._listener:
            self._need_histograms()
            self._listener = [mine + more for mine, more in zip(self._listener, other._listener, strict=True)]
            self._waiting = [mine + more for mine, more in zip(self._waiting, other._waiting, strict=True)]
            self._listener_sum += other._listener_sum
            self._waiting_sum += other._waiting_sum
        self.received += other.received
        self.bytes_received += other.bytes_received
        self.sent += other.sent
        self.bytes_sent += other.bytes_sent
        self.timed_out += other.timed_out
        self.expired += other.expired

    def histograms(self) -> tuple[tuple[float, list[int]], tuple[float, list[int]]]:
        """Return (sum, counts) of the listeners' seconds, and of the seconds that events have waited."""
        none = [0] * (len(BOUNDS) + 1)
        listener, waiting = list(self._listener or none), list(self._waiting or none)
        return (self._listener_sum, listener), (self._waiting_sum, waiting)

    def _need_histograms(self) -> None:
        if not self._listener:
            self._waiting = [0] * (len(BOUNDS) + 1)
            self._listener = [0] * (len(BOUNDS) + 1)


if TYPE_CHECKING:
    Tally = _Tally
else:
    Tally: Any = getattr(compiled, "Tally", _Tally)


def use_clock(read: Callable[[], float] | None) -> None:
    """Have the tallies in C read the time from this, too; ``None``: from the system again."""
    if hasattr(compiled, "use_clock"):
        compiled.use_clock(read)


def histograms_of(tally: Tally) -> tuple[Histogram, Histogram]:
    """Return ``listener_seconds`` and ``waiting_seconds``."""
    listener, waiting = (_cumulate(*one) for one in tally.histograms())
    return listener, waiting


def _cumulate(total: float, counts: list[int]) -> Histogram:
    buckets: dict[float, int] = {}
    so_far = 0
    for bound, count in zip((*BOUNDS, math.inf), counts, strict=True):
        so_far += count
        buckets[bound] = so_far
    return Histogram(so_far, total, buckets)
