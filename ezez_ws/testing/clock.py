"""A clock that a test moves: the library's time stands still until it does.

It takes the place of everything in ``threads/clock.py``. So it knows who sleeps, and until when; all of them really
sleep, and are really woken, by bytes, by each other, or by the clock when their time has come. Meanwhile the rest of a
``Deadline`` is an ``_Until``, which knows the moment that is meant, as the clock may move before the sleep begins.

When it ends, the library's time goes on from where it is, in real seconds: it is ahead of the real one from then on, or
behind it, by what was advanced, less what really went by.
"""

import contextlib
import math
import select
import socket
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, TypeVar

from ..messages.tally import use_clock
from ..threads import clock
from ..threads.deadline import NEVER, Deadline
from ..threads.fork import after_fork_in_child
from ..threads.frames import innermost_frames
from ..threads.starting import is_of_the_library
from ..threads.waiting import Event
from .rest import activity

__all__ = ["FakeClock"]

T = TypeVar("T")

_real, _real_time, _really_sleep = time.monotonic, time.time, time.sleep

_LOOK = 0.005  # real seconds between two looks at whether the threads rest
_RESTS = 4  # so often in a row they must have done nothing
_MOST_LOOKS = 200  # a second; of a busy machine's, more, as it lets the looks wait, too

_PATIENCE = 5.0  # real seconds that a call of the test waits for somebody to advance the clock
_GLANCE = 0.25  # real seconds between two looks at whether they are over

_BEYOND = 1e-6
"""Seconds by which a deadline is passed, so that no sum of it is too early by a rounding. They do not count."""

_ENDLESS = ("serve_forever", "run_forever")

_entering = threading.Lock()
_current: "FakeClock | None" = None


class _Until(float):
    """Seconds that are left, at ``at`` in the clock's time (``None``: never), or to a look around.

    ``look``: the look is after so many real seconds. ``deadline``: whose rest it is.
    """

    __slots__ = ("at", "deadline", "look")

    at: float | None
    look: float
    deadline: Deadline | None

    def __radd__(self, now: float) -> float:  # of a new deadline
        return float(now) + float(self) if self.at is None or self.look < math.inf else self.at


def _until(seconds: float, at: float | None, look: float = math.inf, deadline: Deadline | None = None) -> _Until:
    until = _Until(seconds)
    until.at, until.look, until.deadline = at, look, deadline
    return until


class _Sleeper:
    """A thread that sleeps until ``at``; ``glances``: it is not woken, but looks at the time by itself."""

    __slots__ = ("at", "glances", "passed", "thread", "wake")

    def __init__(self, at: float | None, wake: Callable[[], object], glances: bool) -> None:
        self.at = at
        self.wake = wake
        self.glances = glances
        self.passed = False  # its time has come
        self.thread = threading.current_thread()


class FakeClock:
    """Stops the library's time for a ``with`` block, in which it goes on by ``advance`` only.

        with FakeClock() as clock:
            client.connect()
            clock.advance(300)

    It is the time of all servers and clients of this process: keepalive, authentication, the time that replies are
    awaited for, reconnect pauses, the time-outs of all calls. Bytes are real, and so are threads. It does not reach
    other processes, the look-up of names, time-outs inside simple-websocket and redis-py, and what the program reads
    from ``time`` itself. Who waits for bytes already when the block begins, goes on in real seconds with that wait.

    A call that waits for 5 real seconds, on a thread that is not the library's, while nobody advances the clock, raises
    ``AssertionError``: it would wait for ever. When the block ends, a wait keeps what it has left.

    There is one at a time: ``RuntimeError``. ``_lock`` guards the sleepers and the time; ``advance`` may be called by
    any thread, of two the second waits.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._turn = threading.RLock()
        self._sleepers: set[_Sleeper] = set()
        self._now = self._ahead = 0.0
        self._over = True
        self._actions = 0  # how often a thread has read the time, begun to sleep or woken
        self._advancing = 0
        self._advanced_at = 0.0  # really
        self._mover: int | None = None  # who advances it
        self._waits: dict[int, tuple[Deadline | None, float]] = {}  # who waits for what, and since when, really
        self._kept: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> "FakeClock":
        global _current
        with _entering:
            if _current is not None:
                raise RuntimeError("a FakeClock is in use already; there can be one at a time, as there is one time")
            _current = self
        self._now = clock.monotonic()
        self._ahead = clock.time() - self._now
        self._advanced_at = _real()
        self._waits.clear()
        self._over = False
        self._take_over()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _current
        self._give_back()
        for _ in range(_MOST_LOOKS):
            with self._lock:
                sleepers = list(self._sleepers)
            for sleeper in sleepers:
                sleeper.wake()
            if not sleepers:
                break
            _really_sleep(_LOOK / 5)
        _current = None

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass.

        It goes from deadline to deadline in their order, and at each waits until the library's threads have done what
        was due: until they have rested for 20 ms, at most for about a second. ``ValueError``: ``seconds`` is negative
        or not finite; ``TypeError``: it is no number; ``RuntimeError``: this is not inside of the ``with`` block.
        """
        if not isinstance(seconds, (int, float)):
            raise TypeError(f"advance({seconds!r}): seconds must be a number, not {type(seconds).__name__}")
        if not 0 <= seconds < math.inf:
            raise ValueError(f"advance({seconds!r}): seconds must be a finite number, not negative")
        with self._turn:
            if self._over:
                raise RuntimeError("the time goes by itself: advance() is for inside of the clock's `with` block")
            self._advancing, self._mover = self._advancing + 1, threading.get_ident()
            try:
                self._wait_for_rest(of_all=True)  # of the test's, too, one may be about to wait
                until = self._now + seconds
                while self._go_on(until):
                    until += _BEYOND
                    self._wait_for_rest()
            finally:
                self._advancing, self._mover = self._advancing - 1, None
                self._advanced_at = _real()

    # -- the time ---------------------------------------------------------------------------------------------------

    def _go_on(self, until: float) -> bool:
        """Go to the next deadline, and wake who sleeps until it; false: there is none, and it is ``until`` now."""
        with self._lock:
            if self._over:
                return False
            coming = [one.at for one in self._sleepers if one.at is not None and not one.passed]
            at = min(coming, default=math.inf)
            if at > until + _BEYOND / 2:  # a sum of many periods is not exact, and which way depends on the time of now
                self._now = max(self._now, until)
                return False
            self._now = max(self._now, at) + _BEYOND
        self._wake_due()
        return True

    def _wake_due(self) -> bool:
        """Wake those whose time has come, and who have not woken yet; tell whether there are any."""
        with self._lock:
            due = [one for one in self._sleepers if one.at is not None and one.at <= self._now]
            for one in due:
                one.passed = True
        for one in due:
            one.wake()
        return bool(due)

    def _wait_for_rest(self, of_all: bool = False) -> None:
        before, rests = self._look(of_all), 0
        for _ in range(_MOST_LOOKS):
            _really_sleep(_LOOK)
            now = self._look(of_all)
            rests = rests + 1 if now == before else 0
            if rests == _RESTS:
                return
            before = now

    def _look(self, of_all: bool) -> object:
        """Return what is equal to what it was before, if the threads have done nothing meanwhile."""
        if self._wake_due():
            return object()
        with self._lock:
            glancing = {one.thread for one in self._sleepers if one.glances}
            actions = self._actions
        return actions, activity(glancing, of_all)

    def _act(self) -> None:
        if threading.get_ident() != self._mover:
            self._actions += 1  # that it differs is enough

    # -- in the place of what is in threads/clock.py ----------------------------------------------------------------

    def _take_over(self) -> None:
        for owner, name, value in (
            (clock, "monotonic", self._monotonic),
            (clock, "time", self._time),
            (clock, "sleep", self._sleep),
            (clock, "acquire", self._acquire),
            (clock, "poll", self._poll),
            (clock, "select", self._select),
            (clock, "join", self._join),
            (clock, "slack_from", math.inf),
            (Deadline, "remaining", lambda deadline: self._remaining(deadline)),
            (Deadline, "remaining_of", lambda deadline, most: self._remaining_of(deadline, most)),
        ):
            self._kept.append((owner, name, vars(owner)[name]))
            setattr(owner, name, value)
        use_clock(self._monotonic)
        for frame in innermost_frames().values():  # who sleeps in real time shall look again, and sleep in this
            one: FrameType | None = frame
            while one is not None and one.f_code is not Event.wait.__code__:
                one = one.f_back
            if one is not None:
                _release(one.f_locals["self"]._lock)

    def _give_back(self) -> None:
        """Let the time go by itself, from where it is."""
        with self._lock:
            shift = self._now - _real()
            shift_of_time = self._now + self._ahead - _real_time()
            while self._kept:
                setattr(*self._kept.pop())
            clock.monotonic = _shifted(_real, shift)
            clock.time = _shifted(_real_time, shift_of_time)
            use_clock(clock.monotonic)
            self._over = True

    def _monotonic(self) -> float:
        self._act()
        return self._now

    def _time(self) -> float:
        return self._now + self._ahead

    def _remaining(self, deadline: Deadline) -> float | None:
        at = deadline.at
        return None if at is None else _until(max(0.0, at - self._monotonic()), at, deadline=deadline)

    def _remaining_of(self, deadline: Deadline, most: float) -> float:
        at = deadline.at
        seconds = most if at is None else min(most, max(0.0, at - self._monotonic()))
        return _until(seconds, at, most, deadline)

    def _sleep(self, seconds: float) -> None:
        lock = threading.Lock()
        lock.acquire()
        self._wait(seconds, lambda most: lock.acquire(timeout=min(most, threading.TIMEOUT_MAX)) and None, lock)

    def _acquire(self, lock: Any, seconds: float) -> bool:
        return bool(self._wait(seconds, lambda most: lock.acquire(timeout=min(most, threading.TIMEOUT_MAX)), lock))

    def _join(self, thread: threading.Thread, seconds: float | None) -> None:
        def join(most: float) -> bool:
            thread.join(min(most, threading.TIMEOUT_MAX if self._over else _LOOK))
            return not thread.is_alive()

        if seconds is None:
            thread.join()
        else:
            self._wait(seconds, join)

    def _poll(self, poller: Any, seconds: float | None) -> list[tuple[int, int]]:
        if seconds is not None and seconds <= 0:
            return list(poller.poll(0))
        near, far = socket.socketpair()
        with near, far:
            poller.register(near.fileno(), select.POLLIN)

            def poll(most: float) -> list[tuple[int, int]]:
                ready = poller.poll(None if most == math.inf else math.ceil(min(most, 1e6) * 1000))
                return [one for one in ready if not _is_woken(near, one[0])]

            return self._wait(seconds, poll, far) or []

    def _select(self, read: list[int], write: list[int], broken: list[int], seconds: float | None) -> Any:
        if seconds is not None and seconds <= 0:
            return select.select(read, write, broken, 0)
        near, far = socket.socketpair()
        with near, far:

            def wait(most: float) -> Any:
                found = select.select([*read, near.fileno()], write, broken, None if most == math.inf else most)
                found[0][:] = [one for one in found[0] if not _is_woken(near, one)]
                return found if any(found) else None

            return self._wait(seconds, wait, far) or ([], [], [])

    # -- sleeping ---------------------------------------------------------------------------------------------------

    def _wait(self, seconds: float | None, wait: Callable[[float], T], waker: Any = None) -> T:
        """Sleep by ``wait``, which is given how many real seconds at most, until it returns something, or for so long.

        By ``waker`` it can be woken: a lock to be released, or a socket to be sent to.
        """
        if seconds is None:
            until = _until(math.inf, None)
        else:
            until = seconds if isinstance(seconds, _Until) else _until(seconds, self._now + seconds)
        if until <= 0:
            return wait(0.0)
        began = _real()
        sleeper = _Sleeper(until.at, lambda: _wake(waker), glances=waker is None)
        with self._lock:
            self._sleepers.add(sleeper)
            self._act()
        try:
            result = self._sleep_until(sleeper, until, began, wait)
        finally:
            with self._lock:
                self._sleepers.discard(sleeper)
                self._act()
        while self._over and not result:
            left = until.look - (_real() - began)
            if until.at is not None:
                left = min(left, until.at - clock.monotonic())
            if left <= 0:
                break
            result = wait(left)
        return result

    def _sleep_until(self, sleeper: _Sleeper, until: _Until, began: float, wait: Callable[[float], T]) -> T:
        is_ours = is_of_the_library(sleeper.thread)
        since = began if is_ours else self._waits_since(until.deadline, began)
        while True:
            longest = until.look - (_real() - began)
            if self._over or longest <= 0 or (sleeper.at is not None and sleeper.at <= self._now):
                return wait(0.0)
            if not is_ours:
                self._check_patience(since, until)
                longest = min(longest, _GLANCE)
            result = wait(longest)
            if result:
                if until.deadline is NEVER:  # which stands for more than one wait
                    self._waits.pop(threading.get_ident(), None)
                return result

    def _waits_since(self, deadline: Deadline | None, began: float) -> float:
        """Return since when the calling thread waits for a deadline, really, as far as it has waited in slices."""
        me = threading.get_ident()
        known, since = self._waits.get(me, (None, 0.0))
        if deadline is None or deadline is not known:
            since = began
            self._waits[me] = deadline, since
        return since

    def _check_patience(self, since: float, until: _Until) -> None:
        """Raise ``AssertionError`` where the thread waits for too long for the time to go on."""
        if self._advancing or _real() - max(since, self._advanced_at) < _PATIENCE:
            return
        call = _name_call()
        if call.rpartition(".")[2] in _ENDLESS:
            return
        left = "" if until.at is None else f", with {until.at - self._now:.3g} s of its time left"
        raise AssertionError(
            f"{call}() has waited for {_PATIENCE:g} real seconds{left}, while nobody has advanced the FakeClock. "
            "Have advance() called on another thread meanwhile, or call it before, or leave the clock's `with` block."
        )


def _shifted(read: Callable[[], float], by: float) -> Callable[[], float]:
    """Return what reads a time and adds to it, without a call of Python: for the rest of the process."""
    return map(by.__add__, iter(read, None)).__next__


def _release(lock: Any) -> None:
    with contextlib.suppress(RuntimeError):  # it is free
        lock.release()


def _wake(waker: Any) -> None:
    if isinstance(waker, socket.socket):
        with contextlib.suppress(OSError):  # it sleeps no more
            waker.send(b"\0", getattr(socket, "MSG_DONTWAIT", 0))
    elif waker is not None:
        _release(waker)


def _is_woken(waker: socket.socket, fd: int) -> bool:
    """Tell whether a descriptor is the one that wakes, which is made ready for the next time."""
    if fd != waker.fileno():
        return False
    waker.recv(4096)
    return True


def _name_call() -> str:
    """Name the method of the library that the calling thread has called."""
    frame, name = sys._getframe(), ""
    while frame is not None and frame.f_globals.get("__name__", "").startswith("ezez_ws."):
        name = getattr(frame.f_code, "co_qualname", frame.f_code.co_name)
        frame = frame.f_back  # type: ignore[assignment]
    return name


def _forget() -> None:
    """Let the time go on in a forked child."""
    global _current
    if _current is not None:
        _current._lock = threading.RLock()
        _current._give_back()
        _current = None


after_fork_in_child(_forget)
