"""How threads wait for each other, in ways that a signal handler's exception cannot spoil."""

import sys
import threading
from collections.abc import Callable
from typing import TypeVar

from . import clock
from .deadline import NEVER, Deadline
from .interrupted import Lock, make_lock

__all__ = ["Condition", "Event"]

T = TypeVar("T")

_SLICE = 0.2 if sys.platform == "win32" and sys.version_info < (3, 14) else 1.0
"""Seconds for which the main thread, which has to run the handlers of signals, sleeps at a time.

A signal that comes right before it begins to sleep does not wake it; there, before 3.14, none does.
"""


class Event(threading.Event):
    """A ``threading.Event`` that a signal handler's exception cannot leave in disorder.

    The standard one's lock can be left held, or released twice. This is a flag, which decides, and a bare lock to sleep
    on, which is free while the flag is set. Whoever takes the lock looks at the flag afterwards: where it is set, the
    lock is for the next; where it is not, that set has been taken back, and the lock stays taken. That look is a
    ``finally`` without a call of Python code: handlers run behind a call, so their exception comes before it, or when
    all is done. To release the lock once too often does no harm.

    Any number of threads may wait. Any thread may call any method, and a signal's handler ``set``; both that and
    ``clear`` are idempotent. It differs from the standard class in one point: a set that is taken back at once wakes
    those only who have woken by then. So an event that is cleared has one waiter, who clears it before it looks at what
    it waits for.
    """

    __slots__ = ("_flag", "_lock")

    def __init__(self) -> None:
        # not that of the standard class: it makes a condition variable
        self._flag = False
        self._lock = threading.Lock()
        self._lock.acquire()

    def is_set(self) -> bool:
        """Tell whether it is set. Takes no lock."""
        return self._flag

    def set(self) -> None:
        """Wake all who wait, and let through who comes."""
        self._flag = True
        try:
            self._lock.release()
        except RuntimeError:
            pass  # it is free already

    def clear(self) -> None:
        """Have who comes from now on wait for the next ``set``."""
        self._flag = False
        try:
            self._lock.acquire(False)
        finally:
            if self._flag:  # another thread has set it meanwhile
                try:
                    self._lock.release()
                except RuntimeError:
                    pass

    def wait(self, timeout: float | None = None) -> bool:
        """Sleep until it is set, at most ``timeout`` seconds (``None``: no limit); false where the time passed."""
        deadline = NEVER if timeout is None else Deadline(timeout)
        longest = threading.TIMEOUT_MAX
        if not self._flag and threading.get_ident() == threading.main_thread().ident:
            longest = _SLICE
        while not self._flag:
            seconds = deadline.remaining_of(longest)
            taken = woken = False
            try:
                taken = clock.acquire(self._lock, seconds)
            finally:
                if self._flag:
                    woken = True
                    try:
                        self._lock.release()
                    except RuntimeError:
                        pass
            if woken or (not taken and deadline.passed()):
                return woken
        return True


class Condition:
    """``lock``, ``changed`` to be called under it, and ``wait_for``: a condition variable that survives signals.

    ``threading.Condition`` gives its lock back while it waits; an exception of a signal handler in the wrong place
    leaves it released twice, or held by nobody. Here the waiting is outside of the lock.
    """

    def __init__(self, lock: Lock | None = None) -> None:
        self.lock = make_lock() if lock is None else lock
        self._events: list[Event] = []

    def changed(self) -> None:
        """Have all who wait look again. Requires holding the lock."""
        events, self._events = self._events, []
        for event in events:
            event.set()

    def wait_for(self, check: Callable[[], T | None], deadline: Deadline) -> T | None:
        """Wait until ``check``, called under the lock, returns something or raises; ``None`` when the time is over."""
        event = Event()
        while True:
            with self.lock:
                if event not in self._events:
                    self._events.append(event)  # before the look: a signal handler may change something behind it
                late = deadline.passed()
                result = check()
                if result is not None or late:
                    if event in self._events:
                        self._events.remove(event)
                    return result
            event.wait(deadline.remaining())
            event.clear()
