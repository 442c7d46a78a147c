"""One thread a process that acts at deadlines.

What is to happen in a second or later may be up to ``SLACK`` late: to wake for each of thousands of keepalives would
cost more than all that they do. So those of about the same time are due together, and a heap holds such times only:
setting a timer costs O(log n) for a time that is new, else O(1), and cancelling O(1). A cancelled timer forgets its
action at once, and is forgotten when its time comes, or when more than half of all are cancelled. The thread starts
with the first timer, and ends when the last server and client have left: not with the last timer, or each message with
a time limit might start a thread.
"""

import heapq
import math
import threading
from collections import deque
from collections.abc import Callable

from ..logs import limited, logger
from . import clock
from .deadline import Deadline
from .fork import after_fork_in_child
from .service import Service
from .starting import join_thread
from .waiting import Event

__all__ = ["SLACK", "Janitor", "Timer", "janitor"]

SLACK = 0.05
"""Seconds by which an action may be late."""


class Timer:
    """An action to come. ``action`` is guarded by its janitor's lock; ``None``: cancelled or done."""

    __slots__ = ("_janitor", "action")

    def __init__(self, janitor: "Janitor", action: Callable[[], object]) -> None:
        self._janitor = janitor
        self.action: Callable[[], object] | None = action

    def cancel(self) -> None:
        """Forget the action, unless it runs already. Callable from any thread, more than once."""
        self._janitor._cancel(self)


class _Alarm(Event):
    """What the thread sleeps on."""

    __slots__ = ()

    wake = Event.set

    def close(self) -> None:
        """It takes nothing."""


class Janitor(Service[_Alarm]):
    """Runs actions at their time, on one daemon thread.

    Actions must not block and must not call user code: they are those of all servers and clients. What one lets go of
    may be freed on the thread, and the handlers of ``logging`` run there. Any thread may call any method; ``leave``
    called by an action does not wait for itself.
    """

    name = "ezez-janitor"

    def __init__(self) -> None:
        super().__init__()
        self._users: set[object] = set()
        self._times: list[float] = []  # a heap
        self._timers: dict[float, list[Timer]] = {}  # by their times, in the order in which they were set
        self._due: list[Timer] = []  # those whose time has come, the last first
        self._count = 0  # of timers in ``_timers``
        self._cancelled = 0  # about so many of them are cancelled
        self._new: deque[tuple[float, Timer]] = deque()  # timers that are not in it yet; appended to without the lock

    def enter(self, user: object) -> None:
        """Have timers until ``leave(user)``. Idempotent; starts nothing."""
        with self._lock:
            self._users.add(user)
        self._take_in()

    def leave(self, user: object) -> None:
        """Need no timers any more; it is for the user to have cancelled its own. Idempotent.

        With the last user all timers are dropped, and the thread ends: this waits for an action that is running.
        """
        thread = dropped = None
        with self._lock:
            self._users.discard(user)
            if not self._users:
                dropped = self._timers, self._due
                self._times, self._timers, self._due = [], {}, []
                self._count = self._cancelled = 0
                thread = self._dismiss()
        del dropped  # what the actions refer to is freed without the lock
        self._take_in()
        if thread is not None and thread is not threading.current_thread():
            join_thread(thread)

    def call_later(self, delay: float, action: Callable[[], object]) -> Timer:
        """Run ``action`` in ``delay`` seconds, or a little later. Without a user nothing is run any more."""
        timer = Timer(self, action)
        at = clock.monotonic() + delay
        if delay >= clock.slack_from:
            at = math.ceil(at / SLACK) * SLACK
        self._new.append((at, timer))
        if not self._lock._is_owned():  # else whoever was interrupted goes on with it
            self._take_in()
        return timer

    def _take_in(self) -> None:
        """Set the new timers."""
        failure = None
        while self._new:
            with self._lock:
                while self._new:
                    try:
                        self._set(*self._new.popleft())
                    except RuntimeError as error:  # no thread can be had, as at the interpreter's exit: the next tries
                        failure = error
        if failure is not None:
            logger.warning("no timers: %s", failure)

    def _set(self, at: float, timer: Timer) -> None:
        """Requires holding the lock."""
        if not self._users:
            timer.action = None
            return
        others = self._timers.get(at)
        if others is not None:
            others.append(timer)
        else:
            heapq.heappush(self._times, at)  # first: a time without timers does no harm, if an exception comes now
            self._timers[at] = [timer]
        self._count += 1
        alarm = self._need_thread()
        if self._times[0] == at:
            alarm.wake()

    def _cancel(self, timer: Timer) -> None:
        nested = self._lock._is_owned()  # the interrupted thread may be in the middle of the table
        with self._lock:
            action, timer.action = timer.action, None
            if action is not None:
                self._cancelled += 1
                if self._cancelled > 64 and self._cancelled * 2 > self._count and not nested:
                    self._forget_cancelled()
        del action  # without the lock, as above
        if self._new and not nested:
            self._take_in()

    def _forget_cancelled(self) -> None:
        """Requires holding the lock."""
        kept = {at: [timer for timer in timers if timer.action is not None] for at, timers in self._timers.items()}
        self._timers = {at: timers for at, timers in kept.items() if timers}
        self._times = sorted(self._timers)
        self._count, self._cancelled = sum(map(len, self._timers.values())), 0

    # -- the thread -------------------------------------------------------------------------------------------------

    def _make_sleep(self) -> _Alarm:
        return _Alarm()

    def _work(self, sleep: _Alarm) -> None:
        while True:
            sleep.clear()
            with self._lock:
                if self._is_dismissed():
                    return
                action = self._take_due()
                seconds = None if action is not None else self._seconds_left()
            if action is None:
                self._take_in()  # those that a destructor has set meanwhile
                sleep.wait(seconds)
                continue
            try:
                action()
            except BaseException:  # the others must have theirs
                logger.exception("a timer's action failed")
            del action

    def _take_due(self) -> Callable[[], object] | None:
        """Return the next action that is due, if there is one. Requires holding the lock."""
        while True:
            while self._due:
                timer = self._due.pop()
                action, timer.action = timer.action, None
                if action is not None:
                    return action
            if not self._times or self._times[0] > clock.monotonic():
                return None
            self._due = self._timers.pop(heapq.heappop(self._times), [])
            self._due.reverse()
            self._count -= len(self._due)

    def _seconds_left(self) -> float | None:
        """Return how long until the next is due; ``None`` where there is none. Requires holding the lock."""
        return Deadline.of(self._times[0]).remaining() if self._times else None


janitor = Janitor()
limited.call_later = janitor.call_later
limited.monotonic = lambda: clock.monotonic()
after_fork_in_child(janitor.begin_anew)
after_fork_in_child(limited.begin_anew)
