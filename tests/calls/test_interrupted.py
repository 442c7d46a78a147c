"""Calls in the handlers of signals, and exceptions out of these in the middle of calls."""

import concurrent.futures._base
import contextlib
import itertools
import threading
import unittest
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeout
from concurrent.futures import wait as wait_for_all
from functools import partial
from typing import Any

import ezez_ws.calls.answers
import ezez_ws.calls.calling
import ezez_ws.calls.futures
import ezez_ws.connection.replies
import ezez_ws.connection.sending
import ezez_ws.websocket.outbox
import ezez_ws.websocket.stream
from ezez_ws import EVENT_OK, ConnectionClosed, Ids, Result, SendTimeout
from ezez_ws.calls.futures import Submitted
from ezez_ws.connection.replies import Reply, ReplyTable, answer_nobody
from ezez_ws.threads.deadline import Deadline
from ezez_ws.websocket.stream import Ending
from tests.interrupting import CAN_INTERRUPT, interrupt
from tests.serving import ServingTestCase
from tests.support import EZEZTestCase, allow_seconds, eventually

SENDING = (ezez_ws.connection.sending, ezez_ws.websocket.outbox, ezez_ws.websocket.stream)


@unittest.skipUnless(CAN_INTERRUPT, "a trace function of this Python is not told of each instruction")
class EveryPlaceTest(ServingTestCase):
    @allow_seconds(60)
    def test_a_submit_in_the_middle_of_another_gets_an_id_and_an_answer_of_its_own(self) -> None:
        server = self.serve(ping_interval=None)
        server.handler("echo", lambda side, value: value)
        client = self.client(server, ping_interval=None)
        count = 0
        for module in SENDING:
            for number in itertools.count(1):
                with self.subTest(module=module.__name__, place=number):
                    futures: list[Any] = []
                    second = lambda futures=futures: futures.append(client.submit("echo", ["second"]))  # noqa: E731
                    first = lambda futures=futures: futures.insert(0, client.submit("echo", ["first"]))  # noqa: E731
                    found = interrupt(first, number, module, second)
                    self.assertEqual(["first", "second"][: len(futures)], [future.result(10) for future in futures])
                    count += found
                if not found:
                    break
        self.assertGreater(count, 20)

    def test_an_exception_out_of_call_all_leaves_nothing_that_is_waited_for(self) -> None:
        server = self.serve()
        self.pair(server)
        self.pair(server)
        for number in itertools.count(1):
            with self.subTest(place=number):
                found = interrupt(lambda: server.call_all("nobody", timeout=0.001), number, ezez_ws.calls.calling)
                self.assertEqual([0, 0], [side.awaiting_replies_count for side in server.clients])
            if not found:
                break

    def test_an_exception_leaves_no_lock_of_a_future_held(self) -> None:
        client = self.client(self.serve())
        uses: dict[str, Callable[[Any], object]] = {
            "done": lambda future: future.done(),
            "cancel": lambda future: future.cancel(),
        }
        for (name, use), module in itertools.product(uses.items(), (threading, concurrent.futures._base)):
            for number in itertools.count(1):
                with self.subTest(use=name, module=module.__name__, place=number):
                    future = client.submit("nobody")
                    found = interrupt(partial(use, future), number, module)
                    self.assertFalse(future._condition._is_owned())  # type: ignore[attr-defined]
                if not found:
                    break


@unittest.skipUnless(CAN_INTERRUPT, "a trace function of this Python is not told of each instruction")
class SettlingTest(EZEZTestCase):
    def test_after_an_exception_the_connections_end_finds_every_call_that_is_not_settled(self) -> None:
        reply = Reply(EVENT_OK, [1], answer_nobody, Ids(7, 1))
        ending = Ending(1006, "")
        ways: list[Callable[[ReplyTable], object]] = [
            lambda table: table.settle(reply, b""),
            lambda table: table.take_expired(10),
            lambda table: table.take_all(ending),
        ]
        for way, (act, module) in enumerate(
            itertools.product(ways, (ezez_ws.connection.replies, ezez_ws.calls.futures))
        ):
            for number in itertools.count(1):
                with self.subTest(way=way, place=number):
                    table = ReplyTable()
                    calls = [Submitted(table, "x") for _ in range(2)]  # type: ignore[arg-type]
                    for event_id, call in enumerate(calls, 1):
                        table.expect(call, event_id, None, 10)
                    found = interrupt(partial(act, table), number, module)
                    table.take_all(ending)
                    self.assertEqual(set(calls), set(table.settled))
                    self.assertNotIn(None, [call._outcome for call in calls])
                    self.assertEqual((0, 0, 0), (len(table), table.awaited, table.kept))
                if not found:
                    break


@unittest.skipUnless(CAN_INTERRUPT, "a trace function of this Python is not told of each instruction")
class TellingTest(EZEZTestCase):
    def test_what_a_handler_raises_does_not_become_the_answer(self) -> None:
        class Alarm(Exception):
            pass

        def ring() -> None:
            raise Alarm

        modules = ezez_ws.calls.answers, ezez_ws.calls.futures
        for module in modules:
            for number in itertools.count(1):
                with self.subTest(module=module.__name__, place=number):
                    future = Submitted(None, "x").future
                    reply, found = Reply(EVENT_OK, [1], answer_nobody, Ids(7, 1)), True
                    with contextlib.suppress(Alarm):
                        found = interrupt(partial(future.tell, reply), number, module, ring)
                    future.tell(reply)  # as who reads does again
                    self.assertEqual(1, future.result(0))
                if not found:
                    break


class GatheringTest(EZEZTestCase):
    def test_an_answer_that_comes_when_the_time_is_just_over_is_not_lost(self) -> None:
        answer = Submitted(None, "x").future

        def be_late(timeout: float | None) -> None:
            answer._wait = lambda timeout: None  # type: ignore[method-assign]
            answer.set_result(5)
            raise FutureTimeout

        answer._wait = be_late  # type: ignore[method-assign]
        self.assertEqual(Result(5, None), ezez_ws.calls.calling._gather(answer, "x", Deadline(0), 0))


class DeferredTest(ServingTestCase):
    """A call by a handler that has interrupted the sending on the same connection."""

    def setUp(self) -> None:
        super().setUp()
        self.server = self.serve(ping_interval=None, send_buffer_limit=100_000)
        self.side, self.raw = self.pair(self.server, receive_buffer=4096)
        self.connection = self.side._ezez_connection

    def test_it_goes_out_right_behind_what_was_interrupted(self) -> None:
        with self.connection.stream.sending:
            future = self.side.submit("deferred")
            self.assertIsNone(future._sent.event_id)  # type: ignore[attr-defined]
        self.side.send("next")
        deferred, following = self.raw.read_event(), self.raw.read_event()
        self.assertEqual(["deferred", "next"], [deferred.name, following.name])
        self.raw.send_event(EVENT_OK, [1], reply_to=deferred.ids.event_id)
        self.assertEqual(1, future.result(10))

    def test_where_the_connection_has_ended_or_ends_it_does_too(self) -> None:
        with self.connection.stream.sending:
            ending = self.side.submit("deferred")
            self.connection.cut()
            ended = self.side.submit("deferred")
        self.assertEqual({ending, ended}, wait_for_all([ending, ended], 10).done)
        for future in (ending, ended):
            self.assertIsInstance(future.exception(0), ConnectionClosed)

    def test_what_waits_for_room_is_neither_overtaken_nor_waited_for_by_call_all(self) -> None:
        big = ["x" * 8_000_000]  # more than the kernel takes
        self.side.send("big", big)
        eventually(lambda: self.connection.stream._outbox.waiting_bytes > 100_000, what="a full buffer")
        with self.connection.stream.sending:
            self.side.send("deferred", big)
        ((_, error),) = self.server.call_all("small").values()
        self.assertIsInstance(error, SendTimeout)
        self.assertTrue(self.side.alive)
        self.assertEqual(["big", "deferred"], [self.raw.read_event().name for _ in range(2)])


if __name__ == "__main__":
    unittest.main()
