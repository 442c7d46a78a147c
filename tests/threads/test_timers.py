"""The janitor: actions at their time, in order, on one thread."""

import gc
import itertools
import os
import re
import sys
import threading
import unittest
import weakref
from collections import Counter
from typing import Any
from unittest import mock

import ezez_ws.threads.timers as module
from ezez_ws import EZEZWebsocketServer
from ezez_ws.threads import clock
from ezez_ws.threads.timers import SLACK, Janitor
from ezez_ws.websocket.frames import PING
from tests.interrupting import interrupt
from tests.scripts import run_script
from tests.serving import Calls, Result, ServingTestCase
from tests.support import EZEZTestCase, eventually, switch_interval


def janitors() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == Janitor.name]


class JanitorTest(EZEZTestCase):
    def setUp(self) -> None:
        self.janitor = Janitor()
        self.janitor.enter(self)
        self.addCleanup(self.janitor.leave, self)
        self.calls = Calls()

    def later(self, delay: float, name: Any) -> Any:
        return self.janitor.call_later(delay, lambda: self.calls.add(name))

    def test_nothing_is_started_before_the_first_timer(self) -> None:
        self.assertEqual([], janitors())
        self.later(60, "x")
        (thread,) = janitors()
        self.assertTrue(thread.daemon)

    def test_a_thread_that_a_signal_handler_has_begun_to_start_is_not_waited_for(self) -> None:
        begun: list[threading.Thread] = []
        with mock.patch("ezez_ws.threads.service.start_thread", begun.append):
            self.later(0, "never")
        self.janitor.leave(self)
        (thread,) = begun
        thread.start()
        thread.join(10)
        self.assertFalse(thread.is_alive())
        self.assertEqual([], self.calls.seen)

    def test_actions_run_in_the_order_of_their_deadlines_and_not_before(self) -> None:
        start = clock.monotonic()
        for delay in (0.3, 0.1, 0.2, 0.0):
            self.later(delay, delay)
        self.assertEqual([(0.0,), (0.1,), (0.2,), (0.3,)], self.calls.wait(4))
        self.assertGreaterEqual(clock.monotonic() - start, 0.3)

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
        with self.assertLogs("ezez_ws", "ERROR"):
            self.janitor.call_later(0, lambda: [][0])
            self.later(0.02, "next")
            self.calls.wait()

    def test_an_action_may_set_and_cancel_others_and_leave(self) -> None:
        timer = self.later(60, "never")

        def action() -> None:
            timer.cancel()
            self.later(0, "again")
            self.janitor.call_later(0, lambda: self.janitor.leave(self))

        self.janitor.call_later(0, action)
        self.assertEqual([("again",)], self.calls.wait())
        eventually(lambda: not janitors())

    def test_after_the_last_has_left_nothing_runs_and_what_was_set_is_freed(self) -> None:
        class Action:
            def __call__(self) -> None: ...

        action = Action()
        gone = weakref.ref(action)
        timer = self.janitor.call_later(60, action)
        self.janitor.leave(self)
        self.janitor.leave(self)
        late = self.janitor.call_later(0, action)
        self.assertIsNone(late.action)
        self.assertEqual([], janitors())
        del action, late, timer
        gc.collect()
        self.assertIsNone(gone())

    def test_the_last_to_leave_waits_for_an_action_that_runs(self) -> None:
        entered, goes_on = threading.Event(), threading.Event()

        def action() -> None:
            entered.set()
            goes_on.wait(10)
            self.calls.add("done")

        self.janitor.call_later(0, action)
        entered.wait(10)
        closing = threading.Thread(target=self.janitor.leave, args=(self,))
        closing.start()
        self.assertTrue(closing.is_alive())
        goes_on.set()
        closing.join(10)
        self.assertEqual([("done",)], self.calls.seen)

    def test_others_who_leave_take_no_timer_and_no_thread_away(self) -> None:
        self.janitor.enter("other")
        self.later(0.05, "first")
        (thread,) = janitors()
        self.janitor.leave("other")
        self.assertEqual([("first",)], self.calls.wait())
        self.assertEqual([thread], janitors())
        self.later(0, "second")
        self.assertEqual([("first",), ("second",)], self.calls.wait(2))
        self.assertEqual([thread], janitors())

    def test_who_comes_after_the_last_has_a_new_thread(self) -> None:
        self.later(60, "dropped")
        (thread,) = janitors()
        self.janitor.leave(self)
        self.assertFalse(thread.is_alive())
        self.janitor.enter(self)
        self.assertEqual([], janitors())
        self.later(0, "x")
        self.assertEqual([("x",)], self.calls.wait())
        self.assertNotEqual([thread], janitors())

    def test_who_comes_while_the_last_action_runs_does_not_wait_for_it(self) -> None:
        entered, goes_on = threading.Event(), threading.Event()

        def action() -> None:
            entered.set()
            goes_on.wait(10)

        self.janitor.call_later(0, action)
        entered.wait(10)
        leaving = threading.Thread(target=self.janitor.leave, args=(self,))
        leaving.start()
        eventually(lambda: self.janitor._thread is None)
        self.janitor.enter(self)
        self.later(0, "x")
        self.assertEqual([("x",)], self.calls.wait())
        goes_on.set()
        leaving.join(10)
        eventually(lambda: len(janitors()) == 1)

    def test_what_is_let_go_of_is_freed_without_the_lock(self) -> None:
        class Action:
            def __init__(self, janitor: Janitor) -> None:
                self.janitor = janitor

            def __call__(self) -> None: ...

            def __del__(self) -> None:
                self.janitor.call_later(60, print)

        self.janitor.call_later(60, Action(self.janitor)).cancel()
        self.janitor.call_later(0, Action(self.janitor))
        self.later(0, "x")
        self.calls.wait()
        self.janitor.call_later(60, Action(self.janitor))
        self.in_time(self.janitor.leave, self)

    def in_time(self, act: Any, *args: Any) -> None:
        thread = threading.Thread(target=act, args=args, daemon=True)
        thread.start()
        thread.join(10)
        self.assertFalse(thread.is_alive())

    @unittest.skipIf(sys.version_info >= (3, 12), "a trace function is not told of each instruction there")
    def test_an_exception_anywhere_in_it_loses_no_other_timer(self) -> None:
        for number in itertools.count(1):
            self.later(0.01, "before")
            interrupted = interrupt(lambda: self.later(0.005, "interrupted").cancel(), number, module)
            self.later(0, "after")
            eventually(lambda number=number: self.count("before") == self.count("after") == number)  # type: ignore[misc]
            if not interrupted:
                break
        self.assertGreater(number, 10)

    def count(self, name: str) -> int:
        return self.calls.seen.count((name,))

    @unittest.skipIf(sys.version_info >= (3, 12), "a trace function is not told of each instruction there")
    def test_an_interrupted_leave_is_made_good_by_the_next(self) -> None:
        for number in itertools.count(1):
            self.janitor.enter(self)
            self.later(60, "dropped")
            interrupted = interrupt(lambda: self.janitor.leave(self), number, module)
            self.janitor.leave(self)
            eventually(lambda: not janitors())
            self.assertFalse(self.janitor._timers or self.janitor._times or self.janitor._users)
            if not interrupted:
                break
        self.assertGreater(number, 3)

    def test_what_has_time_is_put_off_until_others_are_due_and_never_hurried(self) -> None:
        before = clock.monotonic()
        for number in range(40):
            self.later(20 + number / 1000, "later")
        self.later(0.7, "soon")
        times = set(self.janitor._timers)
        self.assertLessEqual(len(times), 3)
        self.assertTrue(all(at >= before + 20 or at < before + 0.8 for at in times))
        self.assertLess(max(times), clock.monotonic() + 20.04 + SLACK)

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

    @unittest.skipUnless(hasattr(os, "fork"), "there is no fork here")
    def test_a_forked_child_has_none_of_the_timers_and_a_thread_of_its_own(self) -> None:
        code = """
            import os, signal, threading, warnings
            from ezez_ws.threads.timers import janitor

            warnings.simplefilter("ignore")
            janitor.enter("parent")
            janitor.call_later(0.2, lambda: os.write(1, b"parent's\\n"))
            with janitor._lock:
                pid = os.fork()
            if pid == 0:
                signal.alarm(10)
                janitor.leave("parent")
                janitor.enter("child")
                done = threading.Event()
                janitor.call_later(0.3, done.set)
                done.wait()
                janitor.leave("child")
                assert threading.active_count() == 1
                os._exit(0)
            print(os.waitpid(pid, 0)[1])
            janitor.leave("parent")
        """
        self.assertEqual("parent's\n0\n", run_script(code)[0])


class ProcessTest(ServingTestCase):
    """All servers and clients of a process share one thread for their timers."""

    def names(self) -> Counter[str]:
        """The kinds of the library's threads, and how many there are of each; but for the read gate's, of a crowd."""
        names = [thread.name for thread in threading.enumerate() if re.match("ezez-(?!read-gate)", thread.name)]
        return Counter(re.sub(r"-\d+", "", name) for name in names)

    def test_fifty_clients_have_a_thread_each_and_one_for_timers(self) -> None:
        server = self.serve()
        connecting = [Result(self.client, server) for _ in range(50)]
        clients = [one.get() for one in connecting]
        eventually(lambda: self.names()["ezez-conn"] == 50)
        servers = {"ezez-accept": 1, "ezez-conn": 50}
        self.assertEqual({"ezez-client": 50, "ezez-janitor": 1, **servers}, self.names())
        closing = [Result(client.close) for client in clients]
        for closed in closing:
            closed.get()
        eventually(lambda: not server.clients)
        server.close()
        self.assertEqual({}, self.names())

    def test_a_server_without_connections_has_none(self) -> None:
        with self.serve():
            self.assertEqual({"ezez-accept": 1}, self.names())

    def test_with_the_last_to_close_it_is_gone_and_no_sooner(self) -> None:
        for first_is_server in (True, False):
            one, other = self.serve(), self.serve()
            client = self.client(one, auto_reconnect=False)
            peer = self.peer(other)
            self.assertEqual(1, self.names()["ezez-janitor"])
            if first_is_server:
                one.close()
                client.close()
            else:
                client.close()
                one.close()
            self.assertEqual(1, self.names()["ezez-janitor"])
            peer.close()
            other.close()
            self.assertEqual({}, self.names())

    def test_messages_with_a_time_limit_start_it_once(self) -> None:
        server = self.serve(ping_interval=None, clear_awaiting_replies_after=0.05)
        side, _ = self.pair(server)
        threads: set[threading.Thread] = set()
        for _ in range(3):
            sent = side.send("question", on_reply=lambda *args: None)
            threads.update(thread for thread in threading.enumerate() if thread.name == "ezez-janitor")
            self.assertTrue(sent)
            eventually(lambda: side.awaiting_replies_count == 0)
        self.assertEqual(1, len(threads))

    def test_who_closes_takes_nobody_elses_timers_away(self) -> None:
        server = self.serve(ping_interval=0.05)
        staying, leaving = self.peer(server), self.client(self.serve())
        leaving.close()
        for _ in range(3):
            staying.read(PING)
            staying.send_pong()

    def test_a_run_that_is_closed_is_freed_though_the_janitor_goes_on(self) -> None:
        staying = self.serve()
        self.peer(staying)
        server = EZEZWebsocketServer(on_auth_request=lambda client, key: True, port=0)
        server.start()
        self.client(server).close()
        run = weakref.ref(server._ezez_current_run())
        server.close()
        del server
        eventually(lambda: gc.collect() >= 0 and run() is None)
        self.assertEqual(1, self.names()["ezez-janitor"])


if __name__ == "__main__":
    unittest.main()
