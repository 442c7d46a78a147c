"""A lock, and the threads that wait for something it guards to change."""

import threading
from typing import Callable, List, Optional, TypeVar

from .deadline import Deadline
from .waker import Waker

__all__ = ["Bulletin"]

T = TypeVar("T")


class Bulletin:
    """``lock``, ``changed`` to be called under it, and ``wait_for``: a condition variable that survives signals.

    ``threading.Condition`` gives its lock back while it waits; an exception of a signal handler in the wrong place
    leaves it released twice, or held by nobody. Here the waiting is outside of the lock.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._wakers: List[Waker] = []

    def changed(self) -> None:
        """Have all who wait look again. Requires holding the lock."""
        wakers, self._wakers = self._wakers, []
        for waker in wakers:
            waker.set()

    def wait_for(self, check: Callable[[], Optional[T]], deadline: Deadline) -> Optional[T]:
        """Wait until ``check``, called under the lock, returns something or raises; ``None`` when the time is over."""
        waker = Waker()
        while True:
            with self.lock:
                late = deadline.passed()
                result = check()
                if result is not None or late:
                    if waker in self._wakers:
                        self._wakers.remove(waker)
                    return result
                if waker not in self._wakers:
                    self._wakers.append(waker)
            waker.wait(deadline.remaining())
