"""Waking threads that sleep: one of them each time, or all of them once and for all."""

import threading
from typing import Optional

__all__ = ["Latch", "Waker"]


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

    def wait(self, timeout: Optional[float]) -> bool:
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

    def wait(self, timeout: Optional[float]) -> bool:
        """Sleep until ``open``, at most ``timeout`` seconds (``None``: no limit); false where the time passed."""
        if self.is_open:
            return True
        if self._lock.acquire(timeout=-1 if timeout is None else min(timeout, threading.TIMEOUT_MAX)):
            self.open()  # for the next
        return self.is_open
