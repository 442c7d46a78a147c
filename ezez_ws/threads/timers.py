"""One thread that acts at deadlines.

What is to happen in a second or later may be up to ``SLACK`` late: the keepalives of thousands of connections are due
at thousands of times, and to wake for each of them would cost more than all that they do. So those of about the same
time are due together, and a heap holds such times only: setting a timer costs O(log n) for a time that is new, else
O(1), and cancelling O(1). A cancelled timer forgets its action at once and is itself forgotten when its time comes, or
when more than half of all are cancelled.
The thread starts with the first timer and ends with ``close()``, for good: what starts anew makes a new janitor.
"""

import heapq
import logging
import math
import threading
import time
from collections.abc import Callable

from .starting import start_thread

__all__ = ["SLACK", "Janitor", "Timer"]

SLACK = 0.05
"""Seconds by which an action may be late."""

_SOON = 1.0  # seconds: what is to happen earlier is not late

_logger = logging.getLogger("ezez_ws.janitor")


class Timer:
    """An action to come. ``action`` is guarded by its janitor's lock; ``None``: cancelled or done."""

    __slots__ = ("_janitor", "action")

    def __init__(self, janitor: "Janitor", action: Callable[[], object]) -> None:
        self._janitor = janitor
        self.action: Callable[[], object] | None = action

    def cancel(self) -> None:
        """Forget the action, unless it runs already. Callable from any thread, more than once."""
        self._janitor._cancel(self)


class Janitor:
    """Runs actions at their time, on one daemon thread.

    Actions must not block and must not call user code. ``_lock`` guards every field; it is a leaf: nothing else is
    locked under it. Any thread may call any method; ``close`` called by an action does not wait for itself.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._times: list[float] = []  # a heap
        self._timers: dict[float, list[Timer]] = {}  # by their times, in the order in which they were set
        self._due: list[Timer] = []  # those whose time has come, the last first
        self._count = 0  # of timers in ``_timers``
        self._cancelled = 0  # about so many of them are cancelled
        self._thread: threading.Thread | None = None
        self._closed = False

    def call_later(self, delay: float, action: Callable[[], object]) -> Timer:
        """Run ``action`` in ``delay`` seconds, or a little later. After ``close()`` nothing is run any more."""
        timer = Timer(self, action)
        at = time.monotonic() + delay
        if delay >= _SOON:
            at = math.ceil(at / SLACK) * SLACK
        with self._lock:
            if self._closed:
                timer.action = None
                return timer
            others = self._timers.get(at)
            if others is not None:
                others.append(timer)
            else:
                heapq.heappush(self._times, at)  # first: a time without timers does no harm, if an exception comes now
                self._timers[at] = [timer]
            self._count += 1
            if self._thread is None:
                self._start()
            elif self._times[0] == at:
                self._changed.notify()
        return timer

    def close(self) -> None:
        """Drop all timers and end the thread. Idempotent; waits for an action that is running."""
        with self._lock:
            self._closed = True
            self._times.clear()
            self._timers.clear()
            self._due.clear()
            self._count = self._cancelled = 0
            self._changed.notify()
            thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _start(self) -> None:
        """Start the thread; without one, the next timer tries again. Requires holding the lock."""
        thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        try:
            start_thread(thread)
        except RuntimeError as error:  # no thread can be had, as at the interpreter's exit
            _logger.warning("no timers: %s", error)
        else:
            self._thread = thread

    def _cancel(self, timer: Timer) -> None:
        with self._lock:
            if timer.action is None:
                return
            timer.action = None
            self._cancelled += 1
            if self._cancelled > 64 and self._cancelled * 2 > self._count:
                self._forget_cancelled()

    def _forget_cancelled(self) -> None:
        """Requires holding the lock."""
        kept = {at: [timer for timer in timers if timer.action is not None] for at, timers in self._timers.items()}
        self._timers = {at: timers for at, timers in kept.items() if timers}
        self._times = sorted(self._timers)
        self._count, self._cancelled = sum(map(len, self._timers.values())), 0

    def _run(self) -> None:
        while True:
            with self._lock:
                action = self._next_action()
            if action is None:
                return
            try:
                action()
            except BaseException:  # the others must have theirs
                _logger.exception("a timer's action failed")
            del action

    def _next_action(self) -> Callable[[], object] | None:
        """Wait for the next action that is due; ``None`` once closed. Requires holding the lock."""
        while not self._closed:
            while self._due:
                timer = self._due.pop()
                action, timer.action = timer.action, None
                if action is not None:
                    return action
            if not self._times:
                self._changed.wait()
                continue
            remaining = self._times[0] - time.monotonic()
            if remaining > 0:
                # a wait of more than threading.TIMEOUT_MAX is an OverflowError
                self._changed.wait(min(remaining, 3600.0))
                continue
            self._due = self._timers.pop(heapq.heappop(self._times), [])
            self._due.reverse()
            self._count -= len(self._due)
        return None
