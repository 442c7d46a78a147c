"""Our ``Event`` keeps the contract of ``threading.Event``, and signals cannot spoil it."""

import itertools
import sys
import threading
import time
import unittest
from collections.abc import Callable
from typing import Any
from unittest import mock

import ezez_ws.threads.waiting as module
from ezez_ws.threads.deadline import Deadline
from ezez_ws.threads.waiting import Condition, Event
from tests.interrupting import interrupt
from tests.serving import Result
from tests.support import EZEZTestCase, eventually, switch_interval

KINDS = (threading.Event, Event)

CAN_INTERRUPT = sys.version_info < (3, 12)


def usable(event: Event) -> bool:
    """Tell whether each method does what it should, after what has been done to it."""
    event.clear()
    cleared = not event.is_set() and not event.wait(0)
    event.set()
    return cleared and event.is_set() and event.wait(0) and event.wait()


class SettingLock:
    """An event's lock; right before ``clear`` takes it, another thread sets the event."""

    def __init__(self, event: Event) -> None:
        self._event = event
        self._lock = event._lock
        self.release = self._lock.release
        self.locked = self._lock.locked

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if not blocking:
            self._event.set()
        return self._lock.acquire(blocking, timeout)


class SlicedLock:
    """Notes how often, and for how long at most, it is waited for."""

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self.slices = 0
        self.longest = 0.0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        self.slices += 1
        self.longest = max(self.longest, float("inf") if timeout < 0 and blocking else timeout)
        return bool(self._lock.acquire(blocking, timeout))

    def release(self) -> None:
        self._lock.release()


class ContractTest(EZEZTestCase):
    """Each holds for the standard class, too."""

    def each(self, check: Callable[[Any], None]) -> None:
        for kind in KINDS:
            with self.subTest(kind.__module__):
                event = kind()
                self.assertIsInstance(event, threading.Event)
                check(event)

    def test_it_is_set_until_it_is_cleared_and_both_are_idempotent(self) -> None:
        def check(event: threading.Event) -> None:
            acts: list[Callable[[], object]] = [event.clear, event.set, event.set, event.clear, event.clear, event.set]
            for act in acts:
                expected = act == event.set
                self.assertIsNone(act())
                self.assertIs(event.is_set(), expected)
                self.assertIs(event.wait(0), expected)
                self.assertIs(event.is_set(), expected)
                self.assertIn("event", repr(event).lower())

        self.each(check)

    def test_wait_returns_false_when_the_time_has_passed_and_not_before(self) -> None:
        def check(event: threading.Event) -> None:
            self.assertIs(event.wait(-1), False)
            before = time.monotonic()
            self.assertIs(event.wait(timeout=0.05), False)
            self.assertGreaterEqual(time.monotonic() - before, 0.05)
            self.assertFalse(event.is_set())

        self.each(check)

    def test_wait_takes_nothing_back(self) -> None:
        def check(event: threading.Event) -> None:
            event.set()
            for timeout in (0, None, 1, -1):
                self.assertIs(event.wait(timeout), True)

        self.each(check)

    def test_set_wakes_all_who_wait_with_and_without_a_limit(self) -> None:
        def check(event: threading.Event) -> None:
            waiting = [Result(event.wait, timeout) for timeout in (None, 30, None, 30)]
            self.assertFalse(any(one.done for one in waiting))
            event.set()
            self.assertEqual([True] * 4, [one.get() for one in waiting])

        self.each(check)

    def test_who_waits_after_a_clear_needs_another_set(self) -> None:
        def check(event: threading.Event) -> None:
            event.set()
            event.clear()
            waiting = Result(event.wait)
            self.assertFalse(waiting.done)
            event.set()
            self.assertIs(waiting.get(), True)

        self.each(check)


class EventTest(EZEZTestCase):
    def test_there_is_no_dict_and_no_condition_variable_in_it(self) -> None:
        event = Event()
        self.assertFalse(hasattr(event, "_cond"))
        self.assertEqual({}, event.__dict__)

    def test_any_limit_may_be_given(self) -> None:
        event = Event()
        waiting = Result(event.wait, 1e300)
        event.set()
        self.assertTrue(waiting.get())

    def test_the_main_thread_sleeps_in_slices_and_others_do_not(self) -> None:
        event = Event()
        lock: Any = SlicedLock(event._lock)
        with mock.patch.object(module, "_SLICE", 0.001), mock.patch.object(event, "_lock", lock):
            start = time.monotonic()
            self.assertFalse(event.wait(0.05))
            self.assertGreaterEqual(time.monotonic() - start, 0.05)
            self.assertGreater(lock.slices, 5)
            self.assertLessEqual(lock.longest, 0.001)
            setting = threading.Timer(0.05, event.set)
            setting.start()
            self.assertTrue(event.wait())
            setting.join()
            event.clear()
            lock.slices = 0
            self.assertFalse(Result(event.wait, 0.05).get())
            self.assertEqual(1, lock.slices)

    def test_what_a_set_and_a_clear_at_once_leave_behind_is_mended(self) -> None:
        event = Event()
        event.set()
        event._flag = False  # as after a ``clear`` between the two steps of ``set``
        self.assertFalse(event.wait(0.01))
        self.assertTrue(event._lock.locked())
        waiting = [Result(event.wait) for _ in range(3)]
        event.set()
        self.assertEqual([True] * 3, [one.get() for one in waiting])

    def test_a_stale_set_does_not_lengthen_the_time(self) -> None:
        event = Event()
        event._lock.release()
        before = time.monotonic()
        self.assertFalse(event.wait(0.05))
        self.assertLess(time.monotonic() - before, 5)

    def test_a_signals_handler_may_set_it_while_its_own_thread_waits_or_sets(self) -> None:
        event = Event()

        def trace(frame: Any, kind: str, argument: Any) -> Any:
            if frame.f_code.co_filename != module.__file__:
                return None
            sys.settrace(None)
            event.set()
            return None

        for act in (event.wait, event.set, event.clear):
            sys.settrace(trace)
            try:
                act()
            finally:
                sys.settrace(None)
            self.assertTrue(usable(event))
            event.clear()

    def test_under_stress_no_set_is_lost(self) -> None:
        """One waiter clears and looks; several set. Who lost a set would sleep on."""
        event, made, rounds = Event(), [0, 0, 0], 2000

        def make(number: int) -> None:
            for _ in range(rounds):
                made[number] += 1
                event.set()

        with switch_interval():
            makers = [Result(make, number) for number in range(3)]
            while sum(made) < 3 * rounds:
                self.assertTrue(event.wait(20))
                event.clear()
            for maker in makers:
                maker.get()
        self.assertTrue(usable(event))

    def test_under_stress_clears_of_others_spoil_nothing(self) -> None:
        event, over = Event(), threading.Event()

        def repeat(act: Callable[[], object]) -> None:
            while not over.is_set():
                act()

        with switch_interval():
            acts = (event.set, event.clear, event.set, event.clear, lambda: event.wait(0.001))
            working = [Result(repeat, act) for act in acts]
            time.sleep(0.5)
            over.set()
            for one in working:
                one.get()
            waiting = [Result(event.wait) for _ in range(4)]
            event.set()
            self.assertEqual([True] * 4, [one.get() for one in waiting])
        self.assertTrue(usable(event))

    def test_under_stress_all_who_wait_are_woken(self) -> None:
        with switch_interval():
            for _ in range(100):
                event = Event()
                waiting = [Result(event.wait, timeout) for timeout in (None, 20, None, 20)]
                setting = [Result(event.set) for _ in range(2)]
                self.assertEqual([True] * 4, [one.get() for one in waiting])
                for one in setting:
                    one.get()


@unittest.skipUnless(CAN_INTERRUPT, "a trace function is not told of each instruction there")
class InterruptedTest(EZEZTestCase):
    """An exception at every step of a method."""

    def each(self, act: Callable[[Event], object], check: Callable[[Event], None], ready: bool) -> None:
        for number in itertools.count(1):
            event = Event()
            if ready:
                event.set()
            with self.subTest(number):
                interrupted = interrupt(lambda event=event: act(event), number, module)  # type: ignore[misc]
                check(event)
                self.assertTrue(usable(event))
            if not interrupted:
                break
        self.assertGreater(number, 1)

    def test_of_wait(self) -> None:
        def check(event: Event) -> None:
            waiting = [Result(event.wait) for _ in range(2)]
            event.set()
            self.assertEqual([True, True], [one.get() for one in waiting])

        self.each(lambda event: event.wait(0), check, False)
        self.each(lambda event: event.wait(0.001), check, False)
        self.each(Event.wait, check, True)

    def test_of_wait_with_others_who_wait(self) -> None:
        """The interrupted one may have taken the lock, which is for the others then."""
        for number in itertools.count(1):
            event = Event()
            waiting = [Result(event.wait) for _ in range(2)]
            setting = threading.Timer(0.02, event.set)
            setting.start()
            interrupted = interrupt(event.wait, number, module)
            setting.join()
            self.assertEqual([True, True], [one.get() for one in waiting])
            self.assertTrue(usable(event))
            if not interrupted:
                break
        self.assertGreater(number, 3)

    def test_of_wait_that_has_taken_what_was_taken_back(self) -> None:
        def stale(event: Event) -> None:
            event._lock.release()
            event.wait(0.001)

        def check(event: Event) -> None:
            waiting = [Result(event.wait) for _ in range(2)]
            event.set()
            self.assertEqual([True, True], [one.get() for one in waiting])

        self.each(stale, check, False)

    def test_of_set(self) -> None:
        """It is set, with all that wait woken, or not at all."""

        def check(event: Event) -> None:
            if event.is_set():
                waiting = [Result(event.wait) for _ in range(2)]
                self.assertEqual([True, True], [one.get() for one in waiting])
                self.assertFalse(event._lock.locked())

        self.each(Event.set, check, False)

    def test_of_clear(self) -> None:
        def check(event: Event) -> None:
            event.set()
            waiting = [Result(event.wait) for _ in range(2)]
            self.assertEqual([True, True], [one.get() for one in waiting])

        self.each(Event.clear, check, False)
        self.each(Event.clear, check, True)

    def test_of_clear_while_another_sets(self) -> None:
        """A ``set`` between the two steps of ``clear`` holds, wherever the exception comes."""
        for number in itertools.count(1):
            event = Event()
            event._lock = SettingLock(event)  # type: ignore[assignment]
            interrupted = interrupt(event.clear, number, module)
            if event.is_set():
                waiting = [Result(event.wait, 20) for _ in range(2)]
                self.assertEqual([True, True], [one.get() for one in waiting])
                self.assertFalse(event._lock.locked())
            if not interrupted:
                self.assertTrue(event.is_set())
                break


class ConditionTest(EZEZTestCase):
    def test_who_waits_looks_again_after_each_change(self) -> None:
        condition, seen = Condition(), []

        def check() -> bool | None:
            seen.append(len(condition._events))
            return True if len(seen) == 4 else None

        waiting = Result(condition.wait_for, check, Deadline(30))
        for number in range(1, 4):
            eventually(lambda number=number: len(seen) == number and condition._events)  # type: ignore[misc]
            with condition.lock:
                condition.changed()
        self.assertIs(waiting.get(), True)
        self.assertEqual([], condition._events)

    def test_between_changes_it_sleeps(self) -> None:
        condition = Condition()
        looks: list[None] = []
        waiting = Result(condition.wait_for, lambda: looks.append(None), Deadline(0.3))
        eventually(lambda: condition._events)
        with condition.lock:
            condition.changed()
        self.assertIsNone(waiting.get())
        self.assertEqual(3, len(looks))
        self.assertEqual([], condition._events)


if __name__ == "__main__":
    unittest.main()
