"""The janitor: actions at their time, in order, on one thread."""

import gc
import threading
import time
import unittest
import weakref
from typing import Any

from ezez_ws.threads.timers import SLACK, Janitor
from tests.serving import Calls
from tests.support import EZEZTestCase, eventually, switch_interval


class JanitorTest(EZEZTestCase):
    def setUp(self) -> None:
        self.janitor = Janitor("ezez-janitor-test")
        self.addCleanup(self.janitor.close)
        self.calls = Calls()

    def later(self, delay: float, name: Any) -> Any:
        return self.janitor.call_later(delay, lambda: self.calls.add(name))

    def test_nothing_is_started_before_the_first_timer(self) -> None:
        threads = threading.active_count()
        Janitor("ezez-janitor-idle").close()
        self.assertEqual(threads, threading.active_count())
        self.later(60, "x")
        self.assertIn("ezez-janitor-test", [thread.name for thread in threading.enumerate()])

    def test_actions_run_in_the_order_of_their_deadlines_and_not_before(self) -> None:
        start = time.monotonic()
        for delay in (0.3, 0.1, 0.2, 0.0):
            self.later(delay, delay)
        self.assertEqual([(0.0,), (0.1,), (0.2,), (0.3,)], self.calls.wait(4))
        self.assertGreaterEqual(time.monotonic() - start, 0.3)

    def test_of_equal_deadlines_the_first_set_is_the_first_run(self) -> None:
        gate = threading.Event()
        self.janitor.call_later(0, gate.wait)
        for number in range(20):
            self.later(0, number)
        gate.set()
        self.assertEqual([(number,) for number in range(20)], self.calls.wait(20))

    def test_an_earlier_timer_overtakes_one_that_is_waited_for(self) -> None:
        self.later(60, "late")
        self.later(0.05, "early")
        self.assertEqual([("early",)], self.calls.wait())

    def test_a_cancelled_one_is_not_run_and_freed_at_once(self) -> None:
        class Action:
            def __call__(self) -> None: ...

        action = Action()
        gone = weakref.ref(action)
        timer = self.janitor.call_later(0.1, action)
        del action
        timer.cancel()
        timer.cancel()
        gc.collect()
        self.assertIsNone(gone())
        self.later(0.15, "other")
        self.assertEqual([("other",)], self.calls.wait())

    def test_many_cancelled_ones_are_forgotten_before_their_time(self) -> None:
        kept = self.later(60, "kept")
        for _ in range(5000):
            self.later(60, "x").cancel()
        with self.janitor._lock:
            self.assertLess(sum(map(len, self.janitor._timers.values())), 200)
        kept.cancel()
        self.later(0, "goes on")
        self.calls.wait()

    def test_an_action_that_raises_is_logged_and_the_others_run(self) -> None:
        with self.assertLogs("ezez_ws.janitor", "ERROR"):
            self.janitor.call_later(0, lambda: [][0])
            self.later(0.02, "next")
            self.calls.wait()

    def test_an_action_may_set_cancel_and_close(self) -> None:
        timer = self.later(60, "never")

        def action() -> None:
            timer.cancel()
            self.later(0, "again")
            self.janitor.call_later(0, self.janitor.close)

        self.janitor.call_later(0, action)
        self.assertEqual([("again",)], self.calls.wait())
        eventually(lambda: "ezez-janitor-test" not in [thread.name for thread in threading.enumerate()])

    def test_after_close_nothing_runs_and_what_was_set_is_freed(self) -> None:
        class Action:
            def __call__(self) -> None: ...

        action = Action()
        gone = weakref.ref(action)
        timer = self.janitor.call_later(60, action)
        self.janitor.close()
        self.janitor.close()
        late = self.janitor.call_later(0, action)
        self.assertIsNone(late.action)
        self.assertNotIn("ezez-janitor-test", [thread.name for thread in threading.enumerate()])
        del action, late, timer
        gc.collect()
        self.assertIsNone(gone())

    def test_close_waits_for_an_action_that_runs(self) -> None:
        entered, goes_on = threading.Event(), threading.Event()

        def action() -> None:
            entered.set()
            goes_on.wait(10)
            self.calls.add("done")

        self.janitor.call_later(0, action)
        entered.wait(10)
        closing = threading.Thread(target=self.janitor.close)
        closing.start()
        self.assertTrue(closing.is_alive())
        goes_on.set()
        closing.join(10)
        self.assertEqual([("done",)], self.calls.seen)

    def test_what_has_time_is_put_off_until_others_are_due_and_never_hurried(self) -> None:
        before = time.monotonic()
        for number in range(40):
            self.later(20 + number / 1000, "later")
        self.later(0.7, "soon")
        times = set(self.janitor._timers)
        self.assertLessEqual(len(times), 3)
        self.assertTrue(all(at >= before + 20 or at < before + 0.8 for at in times))
        self.assertLess(max(times), time.monotonic() + 20.04 + SLACK)

    def test_a_delay_of_years_is_no_error(self) -> None:
        self.later(1e12, "never")
        self.later(0, "now")
        self.calls.wait()

    def test_timers_of_many_threads_all_run(self) -> None:
        def work() -> None:
            timers: list[Any] = []
            for number in range(200):
                timers.append(self.later(0.001 * (number % 7), number))
                if number % 10 == 9:
                    self.later(60, "never").cancel()

        with switch_interval():
            threads = [threading.Thread(target=work) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(800, len(self.calls.wait(800)))


if __name__ == "__main__":
    unittest.main()
