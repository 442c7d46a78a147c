"""One thread that acts at deadlines.

A heap of timers guarded by one lock. Setting a timer costs O(log n), cancelling O(1): a cancelled timer forgets its
action at once and leaves the heap when its time comes, or when more than half of the heap is cancelled.
What is to happen in a second or later may be up to ``SLACK`` late: the keepalives of thousands of connections are due
at thousands of times, and to wake for each of them would cost more than all that they do.
The thread starts with the first timer and ends with ``close()``, for good: what starts anew makes a new janitor.
"""

import heapq
import itertools
import logging
import threading
import time
from typing import Callable, List, Optional, Tuple

from .threads import start_thread

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
        self.action: Optional[Callable[[], object]] = action

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
        self._heap: List[Tuple[float, int, Timer]] = []
        self._cancelled = 0
        self._order = itertools.count()
        self._thread: Optional[threading.Thread] = None
        self._closed = False

    def call_later(self, delay: float, action: Callable[[], object]) -> Timer:
        """Run ``action`` in ``delay`` seconds, or a little later. After ``close()`` nothing is run any more."""
        timer = Timer(self, action)
        at = time.monotonic() + delay
        if delay >= _SOON:
            at += -at % SLACK  # so that those of about the same time are run in one go
        with self._lock:
            if self._closed:
                timer.action = None
                return timer
            heapq.heappush(self._heap, (at, next(self._order), timer))
            if self._thread is None:
                self._start()
            elif self._heap[0][2] is timer:
                self._changed.notify()
        return timer

    def close(self) -> None:
        """Drop all timers and end the thread. Idempotent; waits for an action that is running."""
        with self._lock:
            self._closed = True
            self._heap.clear()
            self._cancelled = 0
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
            if self._cancelled > 64 and self._cancelled * 2 > len(self._heap):
                self._heap = [entry for entry in self._heap if entry[2].action is not None]
                heapq.heapify(self._heap)
                self._cancelled = 0

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

    def _next_action(self) -> Optional[Callable[[], object]]:
        """Wait for the next action that is due; ``None`` once closed. Requires holding the lock."""
        while not self._closed:
            if not self._heap:
                self._changed.wait()
                continue
            at, _, timer = self._heap[0]
            if timer.action is None:
                heapq.heappop(self._heap)
                self._cancelled -= 1
                continue
            remaining = at - time.monotonic()
            if remaining > 0:
                # a wait of more than threading.TIMEOUT_MAX is an OverflowError
                self._changed.wait(min(remaining, 3600.0))
                continue
            heapq.heappop(self._heap)
            action, timer.action = timer.action, None
            return action
        return None
