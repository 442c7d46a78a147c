"""How threads wait for each other, in ways that a signal handler's exception cannot spoil."""

import threading
from collections.abc import Callable
from typing import TypeVar

from .deadline import Deadline

__all__ = ["Condition", "Latch", "Waker"]

T = TypeVar("T")


class Waker:
    """Wakes the one thread that waits on it; ``wait`` also takes back an earlier ``set``.

    A ``threading.Event`` is a condition variable in Python code: an exception of a signal handler in the wrong place of
    its ``wait`` leaves its lock in disorder. This is a bare lock, which is taken or not.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        """Wake the thread, now or when it next waits. Idempotent; callable from any thread."""
        try:
            self._lock.release()
        except RuntimeError:
            pass  # it is set already

    def wait(self, timeout: float | None) -> bool:
        """Sleep until ``set``, at most ``timeout`` seconds (``None``: no limit); false where the time passed."""
        if timeout is None:
            return self._lock.acquire()
        return self._lock.acquire(timeout=min(timeout, threading.TIMEOUT_MAX))


class Latch:
    """Opens once, and stays open; any number of threads may wait for it. A bare lock, as ``Waker`` is."""

    __slots__ = ("_lock", "is_open")

    def __init__(self) -> None:
        self.is_open = False
        self._lock = threading.Lock()
        self._lock.acquire()

    def open(self) -> None:
        """Let everybody through. Idempotent; callable from any thread, and from a signal's handler."""
        self.is_open = True
        try:
            self._lock.release()
        except RuntimeError:
            pass  # it is open already

    def wait(self, timeout: float | None) -> bool:
        """Sleep until ``open``, at most ``timeout`` seconds (``None``: no limit); false where the time passed."""
        if self.is_open:
            return True
        if self._lock.acquire(timeout=-1 if timeout is None else min(timeout, threading.TIMEOUT_MAX)):
            self.open()  # for the next
        return self.is_open


class Condition:
    """``lock``, ``changed`` to be called under it, and ``wait_for``: a condition variable that survives signals.

    ``threading.Condition`` gives its lock back while it waits; an exception of a signal handler in the wrong place
    leaves it released twice, or held by nobody. Here the waiting is outside of the lock.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._wakers: list[Waker] = []

    def changed(self) -> None:
        """Have all who wait look again. Requires holding the lock."""
        wakers, self._wakers = self._wakers, []
        for waker in wakers:
            waker.set()

    def wait_for(self, check: Callable[[], T | None], deadline: Deadline) -> T | None:
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
