"""A service's thread is there while it is needed, and what it takes is given back, whatever comes between."""

import gc
import itertools
import os
import select
import selectors
import socket
import sys
import threading
import unittest
import warnings
from collections.abc import Callable, Iterable
from unittest import mock

import ezez_ws.threads.service as module
import ezez_ws.wire.poller as poller_module
from ezez_ws.threads.service import Service
from ezez_ws.threads.starting import start_thread
from ezez_ws.threads.waiting import Event
from ezez_ws.wire.poller import Poller
from tests.interrupting import interrupt
from tests.scripts import run_script
from tests.support import EZEZTestCase, eventually, open_fds, switch_interval

CAN_INTERRUPT = sys.version_info < (3, 12)


class Bed(Event):
    """What the worker sleeps on."""

    __slots__ = ("closed",)

    def __init__(self) -> None:
        super().__init__()
        self.closed = Event()

    wake = Event.set

    def close(self) -> None:
        self.closed.set()


class Worker(Service[Bed]):
    """Counts how often it is woken, for its users."""

    name = "ezez-worker"

    def __init__(self) -> None:
        super().__init__()
        self.users = 0
        self.woken = 0
        self.broken = False
        self.given_up = Event()
        self.beds: list[Bed] = []

    def enter(self) -> None:
        with self._lock:
            self._need_thread().wake()
            self.users += 1

    def leave(self) -> None:
        with self._lock:
            self.users = max(0, self.users - 1)
            thread = None if self.users else self._dismiss()
        if thread is not None:
            thread.join(10)

    def _make_sleep(self) -> Bed:
        self.beds.append(Bed())
        return self.beds[-1]

    def _work(self, sleep: Bed) -> None:
        while True:
            sleep.wait()
            sleep.clear()
            with self._lock:
                if self._is_dismissed():
                    return
                self.woken += 1
                if self.broken:
                    raise ValueError("broken")

    def _give_up(self) -> Iterable[Callable[[], object]]:
        self.users = 0
        return [self.given_up.set]


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == Worker.name]


class ServiceTest(EZEZTestCase):
    def setUp(self) -> None:
        self.worker = Worker()

    def test_the_thread_is_there_from_the_first_user_to_the_last(self) -> None:
        for _ in range(3):
            self.assertEqual([], threads())
            self.worker.enter()
            (thread,) = threads()
            self.assertTrue(thread.daemon)
            self.worker.enter()
            self.worker.leave()
            self.assertEqual([thread], threads())
            self.worker.leave()
            self.assertFalse(thread.is_alive())
        self.assertEqual(3, len(self.worker.beds))
        self.assertTrue(all(bed.closed.is_set() for bed in self.worker.beds))

    def test_where_it_cannot_start_nothing_is_left_and_the_next_tries_again(self) -> None:
        with mock.patch.object(module, "start_thread", side_effect=RuntimeError("can't start new thread")):
            self.assertRaises(RuntimeError, self.worker.enter)
        self.assertTrue(self.worker.beds[0].closed.is_set())
        with mock.patch.object(self.worker, "_make_sleep", side_effect=OSError("no descriptors")):
            self.assertRaises(OSError, self.worker.enter)
        self.assertEqual([], threads())
        self.worker.enter()
        self.worker.leave()

    def test_an_error_ends_it_and_lets_those_go_who_rely_on_it(self) -> None:
        with self.assertLogs("ezez_ws", "ERROR"):
            self.worker.broken = True
            self.worker.enter()
            self.assertTrue(self.worker.given_up.wait(10))
        self.assertTrue(self.worker.beds[0].closed.wait(10))
        self.worker.broken = False
        self.worker.enter()
        self.worker.leave()

    def test_an_error_after_its_dismissal_is_no_bodys_but_its_own(self) -> None:
        entered, goes_on = threading.Event(), threading.Event()

        def work(sleep: Bed) -> None:
            entered.set()
            goes_on.wait(10)
            raise ValueError("late")

        with mock.patch.object(self.worker, "_work", work):
            self.worker.enter()
            self.assertTrue(entered.wait(10))
            with self.worker._lock:
                old = self.worker._dismiss()
        assert old is not None
        self.worker.enter()
        with self.assertLogs("ezez_ws", "ERROR"):
            goes_on.set()
            old.join(10)
        self.assertFalse(self.worker.given_up.is_set())
        self.assertIn(self.worker._thread, threads())
        self.worker.leave()
        self.worker.leave()

    def test_users_may_come_and_go_at_once(self) -> None:
        def use() -> None:
            for _ in range(50):
                self.worker.enter()
                self.worker.leave()

        with switch_interval():
            using = [threading.Thread(target=use) for _ in range(4)]
            for thread in using:
                thread.start()
            for thread in using:
                thread.join()
        self.assertEqual([], threads())
        self.assertTrue(all(bed.closed.is_set() for bed in self.worker.beds))

    @unittest.skipUnless(CAN_INTERRUPT, "a trace function is not told of each instruction there")
    def test_an_exception_anywhere_in_starting_leaves_nothing_that_a_leave_does_not_end(self) -> None:
        for number in itertools.count(1):
            interrupted = interrupt(self.worker.enter, number, module)
            self.worker.leave()
            eventually(lambda: not threads(), what=f"place {number}")
            if not interrupted:
                break
        self.assertGreater(number, 5)
        # where it comes right behind the making, nobody has got what was made, and it is freed
        self.assertLessEqual([bed.closed.is_set() for bed in self.worker.beds].count(False), 1)

    @unittest.skipUnless(CAN_INTERRUPT, "a trace function is not told of each instruction there")
    def test_an_interrupted_dismissal_is_made_good_by_the_next(self) -> None:
        for number in itertools.count(1):
            self.worker.enter()
            interrupted = interrupt(self.worker.leave, number, module)
            self.worker.leave()
            eventually(lambda: not threads(), what=f"place {number}")
            if not interrupted:
                break
        self.assertGreater(number, 1)

    def test_a_thread_whose_start_was_interrupted_ends(self) -> None:
        def start_and_be_interrupted(thread: threading.Thread) -> None:
            start_thread(thread)
            raise KeyboardInterrupt

        with mock.patch.object(module, "start_thread", start_and_be_interrupted):
            self.assertRaises(KeyboardInterrupt, self.worker.enter)
        eventually(lambda: not threads())
        self.assertEqual(0, self.worker.woken)


class PollerTest(EZEZTestCase):
    def test_it_wakes_whoever_sleeps_in_the_selector_and_never_blocks(self) -> None:
        poller = Poller(selectors.DefaultSelector, selectors.EVENT_READ)
        self.addCleanup(poller.close)
        self.assertEqual([], poller.selector.select(0))
        for _ in range(100_000):
            poller.wake()
        while poller.selector.select(0):
            poller.hush()
        poller.wake()
        self.assertTrue(poller.selector.select(10))

    def test_closed_it_leaves_nothing_behind(self) -> None:
        before = open_fds()
        poller = Poller(selectors.DefaultSelector, selectors.EVENT_READ)
        for _ in range(2):
            poller.close()
        self.assertEqual(before, open_fds())

    def test_where_there_is_no_descriptor_left_nothing_is_left_behind(self) -> None:
        before = open_fds()
        for what in ("socketpair", "DefaultSelector"):
            owner = socket if what == "socketpair" else selectors
            with mock.patch.object(owner, what, side_effect=OSError("too many open files")), self.assertRaises(OSError):
                Poller(selectors.DefaultSelector, selectors.EVENT_READ)
            self.assertEqual(before, open_fds())

    @unittest.skipUnless(CAN_INTERRUPT, "a trace function is not told of each instruction there")
    def test_an_exception_anywhere_leaves_nothing_behind(self) -> None:
        before = open_fds()
        made: list[Poller] = []

        def make() -> Poller:
            return Poller(selectors.DefaultSelector, selectors.EVENT_READ)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what nobody has got, as the exception comes right behind its making
            for number in itertools.count(1):
                if not interrupt(lambda: made.append(make()), number, poller_module):
                    break
                gc.collect()
                self.assertEqual(before, open_fds(), number)
        made[0].close()
        self.assertGreater(number, 5)


@unittest.skipUnless(hasattr(os, "fork") and hasattr(select, "epoll"), "there is no fork here, or no epoll")
class ForkTest(EZEZTestCase):
    def test_a_child_has_none_of_the_threads_and_descriptors_and_starts_its_own(self) -> None:
        code = """
            import os, signal, socket, warnings
            from ezez_ws.websocket.outbox import Outbox
            from ezez_ws.wire.flusher import flusher
            from ezez_ws.wire.sockets import SocketWire

            def slow():
                ours, theirs = socket.socketpair()
                outbox = Outbox(SocketWire(ours), False, 1 << 20)
                outbox.send(b"x" * 1000000)
                return outbox, theirs

            def descriptors():
                return len(os.listdir("/proc/self/fd"))

            warnings.simplefilter("ignore")
            without = descriptors()
            outbox, theirs = slow()
            assert flusher._thread is not None and descriptors() == without + 5
            pid = os.fork()
            if pid == 0:
                signal.alarm(10)
                assert flusher._thread is None and not flusher._users and descriptors() == without + 1
                other, other_end = slow()
                assert flusher._thread.is_alive()
                left = len(b"x" * 1000000) + 10
                while left:
                    left -= len(other_end.recv(65536))
                other.dispose()
                assert flusher._thread is None
                os._exit(0)
            print(os.waitpid(pid, 0)[1])
            outbox.dispose()
        """
        self.assertEqual("0\n", run_script(code)[0])


if __name__ == "__main__":
    unittest.main()
