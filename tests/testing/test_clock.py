"""``FakeClock`` stops the library's time, and ``advance`` lets everything happen that is due, in its order."""

import itertools
import os
import random
import socket
import sys
import threading
import time
import unittest
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Any
from unittest import mock

from ezez_ws import ConnectTimeout, EZEZServerClient, EZEZWebSocketClient, ReplyTimeout
from ezez_ws.testing import FakeClock
from ezez_ws.testing import clock as module
from ezez_ws.threads import clock as time_of_library
from ezez_ws.threads.deadline import Deadline
from ezez_ws.threads.frames import innermost_frames
from ezez_ws.threads.timers import Janitor
from ezez_ws.threads.waiting import Condition, Event
from tests.rawpeer import RawServer
from tests.serving import KEY, Calls, Result, ServingTestCase
from tests.support import EZEZTestCase, eventually, free_port, switch_interval
from tests.wsgi.test_embedded import EmbeddedTestCase


@contextmanager
def janitor() -> Iterator[Janitor]:
    """A janitor of the test's own."""
    made = Janitor()
    made.enter(made)
    try:
        yield made
    finally:
        made.leave(made)


def asleep(clock: FakeClock, number: int = 1) -> None:
    """Wait until so many threads sleep by the clock."""
    eventually(lambda: len(clock._sleepers) >= number)


class TimeTest(EZEZTestCase):
    """What time it is."""

    def test_it_stands_still_until_it_is_advanced_and_goes_on_from_there_when_the_block_ends(self) -> None:
        before = time_of_library.monotonic(), time_of_library.time()
        with FakeClock() as clock:
            start, date = time_of_library.monotonic(), time_of_library.time()
            self.assertLess(start - before[0], 5)
            self.assertLess(date - before[1], 5)
            time.sleep(0.01)
            self.assertEqual(start, time_of_library.monotonic())
            clock.advance(300)
            self.assertAlmostEqual(start + 300, time_of_library.monotonic(), 4)
            self.assertAlmostEqual(date + 300, time_of_library.time(), 3)
        self.assertLess(time_of_library.monotonic() - start - 300, 5)
        self.assertLess(time_of_library.time() - date - 300, 5)
        after = time_of_library.monotonic()
        self.assertGreaterEqual(after, start + 300)
        eventually(lambda: time_of_library.monotonic() > after)

    def test_there_is_one_at_a_time(self) -> None:
        with FakeClock() as clock:
            with self.assertRaisesRegex(RuntimeError, "in use already; there can be one at a time"), FakeClock():
                self.fail("a second one")
            clock.advance(1)
        with FakeClock() as another:
            another.advance(1)
        with clock:
            clock.advance(1)

    def test_it_is_advanced_inside_of_its_block_by_a_number_that_is_not_negative(self) -> None:
        clock = FakeClock()
        with self.assertRaisesRegex(RuntimeError, "inside of the clock's `with` block"):
            clock.advance(1)
        with clock:
            for wrong in (-1, float("inf"), float("nan")):
                with self.assertRaisesRegex(ValueError, "finite number, not negative"):
                    clock.advance(wrong)
            with self.assertRaisesRegex(TypeError, "seconds must be a number, not str"):
                clock.advance("3")  # type: ignore[arg-type]
            clock.advance(0)
        with self.assertRaisesRegex(RuntimeError, "inside of the clock's `with` block"):
            clock.advance(1)

    def test_all_is_as_it_was_afterwards_but_for_the_time(self) -> None:
        def state() -> dict[str, Any]:
            return {
                f"{owner.__name__}.{name}": value
                for owner in (time_of_library, Deadline)
                for name, value in vars(owner).items()
                if callable(value) or isinstance(value, float)
            }

        before = state()
        with FakeClock():
            self.assertNotEqual(before, state())
        changed = {name for name, value in state().items() if before[name] is not value}
        self.assertLessEqual(changed, {"ezez_ws.threads.clock.monotonic", "ezez_ws.threads.clock.time"})

    @unittest.skipUnless(hasattr(os, "fork"), "there are no forks")
    def test_in_a_forked_child_it_goes_by_itself(self) -> None:
        read, write = os.pipe()
        with FakeClock(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of forks beside threads
            child = os.fork()
            if not child:
                try:
                    Event().wait(0.01)
                    os.write(write, b"over")
                finally:
                    os._exit(0)
            os.waitpid(child, 0)
        os.close(write)
        with open(read, "rb") as file:
            self.assertEqual(b"over", file.read())


class SleepTest(EZEZTestCase):
    """Each way to sleep."""

    def setUp(self) -> None:
        self.woken = Calls()
        near, self.far = socket.socketpair()
        self.fd = near.fileno()
        self.addCleanup(near.close)
        self.addCleanup(self.far.close)

    def select_poll(self, seconds: float | None) -> bool:
        import select

        poller = select.poll()
        poller.register(self.fd, select.POLLIN)
        return bool(time_of_library.poll(poller, seconds))

    def select_select(self, seconds: float | None) -> bool:
        return any(time_of_library.select([self.fd], [], [], seconds))

    def ways(self) -> dict[str, Callable[[float], object]]:
        self.event, self.condition = Event(), Condition()
        self.thread = threading.Thread(target=(gate := threading.Event()).wait)
        self.thread.start()
        self.addCleanup(self.thread.join)
        self.addCleanup(gate.set)
        ways: dict[str, Callable[[float], object]] = {
            "event": self.event.wait,
            "condition": lambda seconds: self.condition.wait_for(lambda: None, Deadline(seconds)),
            "sleep": lambda seconds: time_of_library.sleep(seconds),
            "join": lambda seconds: time_of_library.join(self.thread, seconds),
            "select": self.select_select,
        }
        if sys.platform != "win32":
            ways["poll"] = self.select_poll
        return ways

    def test_who_sleeps_wakes_in_the_order_of_deadlines_and_not_before(self) -> None:
        ways = self.ways()
        with FakeClock() as clock:
            start = time_of_library.monotonic()

            def sleep(name: str, seconds: float) -> None:
                ways[name](seconds)
                self.woken.add(name, round(time_of_library.monotonic() - start, 3))

            delays = {name: 10.0 + number for number, name in enumerate(random.sample(list(ways), len(ways)))}
            results = [Result(sleep, name, seconds) for name, seconds in delays.items()]
            asleep(clock, len(delays))
            clock.advance(9.999)
            self.assertEqual([], self.woken.seen)
            clock.advance(50)
            self.assertEqual(list(delays.items()), self.woken.seen)
        for result in results:
            result.get()

    def test_what_ends_a_sleep_otherwise_ends_it_without_the_time(self) -> None:
        with FakeClock() as clock:
            event = Event()
            results = [Result(event.wait, 10), Result(self.select_select, 10), Result(self.select_select, None)]
            if sys.platform != "win32":
                results += [Result(self.select_poll, 10), Result(self.select_poll, None)]
            asleep(clock, len(results))
            event.set()
            self.far.send(b"x")
            self.assertEqual([True] * len(results), [one.get() for one in results])
            ended = threading.Thread(target=lambda: None)
            ended.start()
            time_of_library.join(ended, 10)
            self.assertFalse(ended.is_alive())

    def test_no_time_is_no_sleep(self) -> None:
        with FakeClock():
            self.assertFalse(Event().wait(0))
            self.assertFalse(Event().wait(-1))
            self.assertFalse(self.select_select(0))
            time_of_library.sleep(0)
            if sys.platform != "win32":
                self.assertFalse(self.select_poll(0))

    def test_many_who_sleep_on_one_event_wake_each_at_its_time(self) -> None:
        event = Event()
        with FakeClock() as clock:
            results = [Result(event.wait, seconds) for seconds in (30, 10, 20, 10, 40)]
            asleep(clock, 5)
            for seconds, done in ((5, 0), (5, 2), (10, 3), (10, 4)):
                clock.advance(seconds)
                self.assertEqual(done, sum(not one.get() for one in results if one.done))
            event.set()
            self.assertTrue(results[4].get())

    def test_who_sleeps_when_the_block_ends_keeps_what_it_has_left(self) -> None:
        ways = self.ways()
        with FakeClock() as clock:
            results = [Result(sleep, 10.3) for sleep in ways.values()]
            beyond = [Result(sleep, 60) for sleep in (self.event.wait, self.select_select)]
            asleep(clock, len(results) + 2)
            clock.advance(10)
            self.assertFalse(any(one.done for one in results))
            end = time.monotonic()
        for one in results:
            one.get()
        self.assertGreater(time.monotonic() - end, 0.29)
        self.assertFalse(any(one.done for one in beyond))
        self.far.send(b"x")
        self.event.set()
        self.assertEqual([True, True], [one.get() for one in beyond])

    def test_who_sleeps_already_when_the_block_begins_is_woken_by_the_clock(self) -> None:
        event, condition = Event(), Condition()
        results = [
            Result(event.wait, 100),
            Result(lambda: condition.wait_for(lambda: None, Deadline(100))),
            Result(event.wait),
        ]
        with janitor() as own:
            own.call_later(100, self.woken.named("timer"))
            eventually(lambda: count_asleep() >= 4)
            with FakeClock() as clock:
                clock.advance(99)
                self.assertFalse(any(one.done for one in results) or self.woken.seen)
                clock.advance(1.1)  # the timer's time was rounded up before
                self.assertEqual([False, None], [one.get() for one in results[:2]])
                self.assertEqual([("timer",)], self.woken.seen)
                event.set()
                self.assertTrue(results[2].get())


def count_asleep() -> int:
    """Count the threads that sleep on locks in real time."""
    return sum(frame.f_code is time_of_library.acquire.__code__ for frame in innermost_frames().values())


class TimerTest(EZEZTestCase):
    def test_actions_come_at_their_times_to_the_fraction_and_those_that_they_lead_to(self) -> None:
        calls = Calls()
        with FakeClock() as clock, janitor() as own:
            start = time_of_library.monotonic()

            def act(name: str, *then: float) -> None:
                calls.add(name, round(time_of_library.monotonic() - start, 3))
                if then:
                    own.call_later(then[0], lambda: act(name, *then[1:]))

            own.call_later(7.123, lambda: act("a", 0.1, 100, 0.001))
            own.call_later(7.2, lambda: act("b", 0.5))
            own.call_later(0.0, lambda: act("now"))
            clock.advance(7.122)
            self.assertEqual([("now", 0.0)], calls.seen)
            clock.advance(200)
            self.assertEqual(
                [("a", 7.123), ("b", 7.2), ("a", 7.223), ("b", 7.7), ("a", 107.223), ("a", 107.224)], calls.seen[1:]
            )

    def test_many_periods_fit_into_their_sum(self) -> None:
        with FakeClock() as clock, janitor() as own:
            count = itertools.count(1)
            seen = [0]

            def act() -> None:
                seen[0] = next(count)
                own.call_later(0.1, act)

            own.call_later(0.1, act)
            clock.advance(10)
            self.assertEqual(100, seen[0])
            clock.advance(0.09)
            self.assertEqual(100, seen[0])


class PatienceTest(ServingTestCase):
    """A call that nobody advances the clock for."""

    def setUp(self) -> None:
        super().setUp()
        patch = mock.patch.object(module, "_PATIENCE", 0.5)
        patch.start()
        self.addCleanup(patch.stop)

    def test_it_fails_after_five_real_seconds_and_says_so(self) -> None:
        server = self.serve()
        client = self.client(server)
        with FakeClock():
            for timeout in (30, None):
                with self.subTest(timeout=timeout):
                    sent = client.send("no answer", [])
                    left = "" if timeout is None else ", with 30 s of its time left"
                    with self.assertRaisesRegex(AssertionError, f"wait_reply.. has waited for 0.5 real seconds{left},"):
                        sent.wait_reply(timeout=timeout)
            with self.assertRaisesRegex(AssertionError, "call.. has waited for 0.5 real"):
                client.call("no answer", timeout=10)
            with self.assertRaisesRegex(AssertionError, "result.. has waited for 0.5 real"):
                client.submit("no answer").result(10)
            self.assertTrue(client.alive)

    def test_a_connect_fails_too(self) -> None:
        text = r"connect\(\) has waited for 0.5 real seconds, with 10 s"
        with FakeClock(), closing(EZEZWebSocketClient(f"ws://127.0.0.1:{free_port()}")) as client:
            self.assertRaisesRegex(AssertionError, text, client.connect)

    def test_each_advance_begins_the_seconds_anew(self) -> None:
        event = Event()
        with FakeClock() as clock:
            result = Result(event.wait, 1000)
            asleep(clock)
            end = time.monotonic() + 1.5
            while time.monotonic() < end:
                clock.advance(1)
            event.set()
            self.assertTrue(result.get())

    def test_the_librarys_threads_and_those_that_serve_for_ever_wait_as_long_as_it_takes(self) -> None:
        server = self.make()
        replies = Calls()
        server.on("ask", lambda client, args, reply, ids: replies.add(client.call("what", timeout=30)))
        with FakeClock() as clock:
            serving = Result(server.serve_forever)
            eventually(lambda: server.url and server.port)
            client = self.client(server)
            client.on("what", lambda args, reply, ids: None)
            client.send("ask")
            asleep(clock)
            time.sleep(1)
            self.assertFalse(serving.done)
            with self.assertLogs("ezez_ws", "ERROR") as logs:
                clock.advance(31)
            self.assertIn("ReplyTimeout", logs.output[0])
            client.close()
            server.request_close()
            serving.get()


class DeadlineTest(ServingTestCase):
    """The deadlines of servers and clients."""

    def test_who_does_not_authenticate_is_rejected_when_its_time_is_over(self) -> None:
        server = self.serve(auth_timeout=300, ping_interval=None)
        with FakeClock() as clock:
            peer = self.peer(server, auth=None)
            clock.advance(0)
            clock.advance(299.9)
            peer.sock.settimeout(0.05)
            self.assertRaises(TimeoutError, peer.read_message)
            peer.sock.settimeout(10)
            clock.advance(3)  # what is on its way gets a moment more
            self.assertIsNotNone(peer.read_end().code)

    def test_a_handshake_that_does_not_come_ends(self) -> None:
        server = self.serve(handshake_timeout=300)
        with FakeClock() as clock, socket.create_connection(("127.0.0.1", server.port)) as sock:
            sock.settimeout(10)
            sock.send(b"GET / HTTP/1.1\r\n")
            clock.advance(299.9)
            sock.setblocking(False)
            self.assertRaises(BlockingIOError, sock.recv, 1)
            sock.settimeout(10)
            clock.advance(0.2)
            self.assertIn(sock.recv(100)[:12], (b"", b"HTTP/1.1 408"))

    def test_pings_are_answered_before_time_goes_on(self) -> None:
        server = self.serve(ping_interval=20, ping_timeout=5)
        client = self.client(server, ping_interval=25, ping_timeout=5)
        with FakeClock() as clock:
            clock.advance(600)
            self.assertTrue(client.alive)
            self.assertEqual(1, len(server.clients))

    def test_who_does_not_answer_pings_is_cut_at_the_second(self) -> None:
        server = self.serve(ping_interval=20, ping_timeout=5)
        with FakeClock() as clock:
            peer = self.pair(server)[1]
            clock.advance(19.9)
            peer.sock.settimeout(0.05)
            self.assertRaises(TimeoutError, peer.read_message)
            peer.sock.settimeout(10)
            clock.advance(0.2)
            self.assertEqual(9, (peer.read_message() or (0,))[0])
            clock.advance(4.7)
            self.assertEqual(1, len(server.clients))
            with self.assertLogs("ezez_ws", "WARNING") as logs:
                clock.advance(0.3)
            self.assertIn("no pong within ping_timeout", logs.output[0])
            self.assertEqual(0, len(server.clients))

    def test_a_reply_is_awaited_for_as_long_as_it_is_to_be(self) -> None:
        server = self.serve(clear_awaiting_replies_after=300, ping_interval=None)
        with FakeClock() as clock:
            side, peer = self.pair(server)
            sent, other = side.send("late"), side.send("later")
            results = [Result(sent.wait_reply), Result(other.wait_reply, 30.0)]
            asleep(clock)
            clock.advance(29.9)
            self.assertFalse(results[1].done)
            clock.advance(0.1)
            self.assertRaises(ReplyTimeout, results[1].get)
            clock.advance(269.9)
            self.assertFalse(results[0].done)
            clock.advance(0.2)
            self.assertRaises(ReplyTimeout, results[0].get)
            del peer

    def test_a_client_dials_again_after_its_pauses(self) -> None:
        port = free_port()
        attempts: list[float] = []
        with FakeClock() as clock:
            start = time_of_library.monotonic()

            def note(error: BaseException) -> None:
                attempts.append(time_of_library.monotonic() - start)

            client = EZEZWebSocketClient(
                f"ws://127.0.0.1:{port}", auth=KEY, reconnect_delay=10, reconnect_delay_max=60, on_error=note
            )
            with closing(client):
                with self.assertLogs("ezez_ws", "WARNING"):
                    client.reconnect()
                    clock.advance(300)
                pauses = [after - before for before, after in itertools.pairwise(attempts)]
                self.assertLess(min(attempts), 0.1)
                self.assertGreater(len(attempts), 4)
                self.assertTrue(all(1 < pause <= 60.001 for pause in pauses), pauses)
                self.serve(port=port)
                clock.advance(60)
                self.assertTrue(client.alive)

    def test_connecting_ends_in_time(self) -> None:
        with RawServer() as silent, FakeClock() as clock:
            client = EZEZWebSocketClient(silent.url, connect_timeout=20, reconnect_delay=1)
            with closing(client):
                result = Result(client.connect, 30)
                asleep(clock, 2)
                clock.advance(19.9)
                self.assertFalse(result.done)
                clock.advance(0.2)
                self.assertFalse(result.done)
                clock.advance(10)
                self.assertRaises(ConnectTimeout, result.get)

    def test_closing_waits_for_so_long_as_it_is_to(self) -> None:
        server = self.serve(close_timeout=50)
        with FakeClock() as clock:
            peer = self.pair(server)[1]
            closing = Result(server.close)
            self.assertEqual(8, (peer.read_message() or (0,))[0])
            asleep(clock, 2)
            clock.advance(49)
            self.assertFalse(closing.done)
            clock.advance(2)
            closing.get()

    def test_an_idle_connection_that_began_before_is_reached_as_well(self) -> None:
        server = self.serve(ping_interval=20, ping_timeout=5)
        side, peer = self.pair(server)
        with FakeClock() as clock:
            clock.advance(20.1)
            self.assertEqual(9, (peer.read_message() or (0,))[0])
            with self.assertLogs("ezez_ws", "WARNING"):
                clock.advance(5.1)
            self.assertFalse(side.alive)

    def test_what_was_published_is_kept_for_as_long_as_it_is_to_be(self) -> None:
        server = self.serve(recovery_window=60)
        self.client(server, recover=True)
        with FakeClock() as clock:
            for _ in range(3):
                server.everyone.send("news")
                clock.advance(25)
            self.assertEqual(3, server.cluster.window_entries)
            server.everyone.send("news")
            self.assertEqual(3, server.cluster.window_entries)


class LentTest(EmbeddedTestCase):
    """Threads that a web server lends."""

    def test_they_are_the_librarys(self) -> None:
        server = self.mount(ping_interval=20, ping_timeout=5)
        over = Calls()

        def ask(client: EZEZServerClient, args: Any, reply: Any, ids: Any) -> None:
            try:
                client.call("what", timeout=30)
            except ReplyTimeout:
                over.add("over")

        server.on("ask", ask)
        with FakeClock() as clock, mock.patch.object(module, "_PATIENCE", 0.3):
            client = self.visit()
            client.on("what", lambda args, reply, ids: None)
            clock.advance(100)
            client.send("ask")
            asleep(clock)
            time.sleep(0.7)
            clock.advance(29)
            self.assertEqual([], over.seen)
            clock.advance(2)
            self.assertEqual([("over",)], over.seen)
            clock.advance(100)
            self.assertTrue(client.alive)
            client.close()


class RaceTest(ServingTestCase):
    """Whatever the threads are in the middle of."""

    time_limit = 180.0

    def test_clients_stay_and_waits_end_at_their_moment_while_threads_switch_all_the_time(self) -> None:
        server = self.serve(ping_interval=2, ping_timeout=0.5)
        with switch_interval(), FakeClock() as clock:
            clients = [self.client(server, ping_interval=3, ping_timeout=0.5) for _ in range(3)]
            for _ in range(5):
                sents = [client.send("no answer") for client in clients]
                start, over = time_of_library.monotonic(), list[float]()

                def wait(sent: Any, timeout: float, over: list[float] = over, start: float = start) -> None:
                    with self.assertRaises(ReplyTimeout):
                        sent.wait_reply(timeout)
                    over.append(round(time_of_library.monotonic() - start, 3))

                results = [Result(wait, sent, 1.0 + number) for number, sent in enumerate(sents)]
                asleep(clock, 4)
                clock.advance(5)
                for result in results:
                    result.get()
                self.assertEqual([1.0, 2.0, 3.0], over)
            self.assertTrue(all(client.alive for client in clients))

    def test_blocks_that_begin_and_end_at_any_moment_lose_nobody(self) -> None:
        stop, counts = threading.Event(), [0, 0]
        event = Event()

        def wait(index: int) -> None:
            while not stop.is_set():
                event.wait(0.001)
                Event().wait(0.002)
                counts[index] += 1

        waiting = [Result(wait, index) for index in range(2)]
        with switch_interval():
            for _ in range(30):
                before = list(counts)
                with FakeClock() as clock, mock.patch.object(module, "_LOOK", 0.0005):
                    clock.advance(0.01)
                eventually(partial(lambda before: counts[0] > before[0] and counts[1] > before[1], before))
        stop.set()
        for one in waiting:
            one.get()


if __name__ == "__main__":
    unittest.main()
