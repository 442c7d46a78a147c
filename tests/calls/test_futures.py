"""Futures of answers: what ends them, who calls their callbacks, and that none is ever left open."""

import concurrent.futures
import gc
import random
import threading
import unittest
import weakref
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, as_completed
from concurrent.futures import wait as wait_for_all
from typing import Any

from ezez_ws import (
    EVENT_ERROR,
    EVENT_OK,
    Codec,
    ConnectionClosed,
    EZEZServerClient,
    EZEZWebSocketClient,
    NotConnected,
    QueueFull,
    RemoteError,
    ReplyTimeout,
    SerializationError,
    TooManyReplies,
)
from ezez_ws.websocket.frames import PING
from tests.serving import KEY, Calls, ServingTestCase
from tests.support import allow_seconds, eventually, switch_interval


class FutureTest(ServingTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.side, self.asker = self.pair(self.serve())

    def answer(self, name: str = EVENT_OK, args: Any = (1,)) -> None:
        self.asker.send_event(name, list(args), reply_to=self.asker.read_event().ids.event_id)

    def test_the_result_is_what_call_returns_or_raises(self) -> None:
        future = self.side.submit("x", [1])
        self.assertFalse(future.done())
        self.answer()
        self.assertEqual(1, future.result(10))
        future = self.side.submit("x")
        self.answer(EVENT_ERROR, [{"code": "c", "message": "m", "data": None}])
        self.assertIsInstance(future.exception(10), RemoteError)
        with self.assertRaisesRegex(RemoteError, "c: m"):
            future.result(10)

    def test_result_gives_up_after_its_time_and_the_answer_still_counts(self) -> None:
        future = self.side.submit("x")
        with self.assertRaisesRegex(concurrent.futures.TimeoutError, r"^no reply to 'x' .* within 0.01 seconds$"):
            future.result(0.01)
        self.answer()
        self.assertEqual(1, future.result(10))

    def test_an_open_one_counts_as_a_waiting_thread_and_a_cancelled_one_does_not(self) -> None:
        future = self.side.submit("x")
        self.assertEqual(1, self.side.awaiting_replies_count)
        self.assertTrue(future.cancel())
        self.assertTrue(future.cancel())
        self.assertEqual(0, self.side.awaiting_replies_count)
        self.assertEqual({future}, wait_for_all([future], 10).done)
        self.answer()  # which nobody wants
        done = self.side.submit("x")
        self.answer()
        done.result(10)
        self.assertFalse(done.cancel())

    def test_it_is_told_though_nobody_keeps_it_but_a_callback(self) -> None:
        told = Calls()
        self.side.submit("x").add_done_callback(lambda future: told.add(future.result()))
        gc.collect()
        self.answer()
        self.assertEqual([(1,)], told.wait())

    def test_nothing_of_it_is_kept_when_it_is_done_and_let_go_of(self) -> None:
        future = self.side.submit("x")
        self.answer()
        future.result(10)
        dead = weakref.ref(future)
        del future
        gc.collect()
        self.assertIsNone(dead())

    def test_callbacks_run_once_in_order_and_what_one_raises_is_logged(self) -> None:
        told = Calls()
        future = self.side.submit("x")
        future.add_done_callback(lambda _: told.add("first"))
        future.add_done_callback(lambda _: 1 / 0)
        future.add_done_callback(lambda _: told.add("second"))
        with self.assertLogs("ezez_ws", "ERROR") as logs:
            self.answer()
            told.wait(2)
        self.assertIn("done callback", logs.output[0])
        future.add_done_callback(lambda _: told.add("late"))
        self.assertEqual([("first",), ("second",), ("late",)], told.seen)

    def test_what_is_wrong_comes_out_and_all_else_is_in_it(self) -> None:
        with self.assertRaises(TypeError):
            self.side.submit(5)  # type: ignore[call-overload]
        with self.assertRaises(SerializationError):
            self.side.submit("x", [object()])
        self.asker.close()
        eventually(lambda: not self.side.alive)
        self.assertIsInstance(self.side.submit("x").exception(10), ConnectionClosed)

    def test_at_the_limit_of_awaited_replies_it_is_refused(self) -> None:
        side, _ = self.pair(self.serve(max_awaiting_replies=2))
        futures = [side.submit("x"), side.submit("x")]
        with self.assertRaises(TooManyReplies):
            side.submit("x")
        futures[0].cancel()
        side.submit("x")

    def test_the_end_of_the_connection_ends_all_and_their_callbacks_run_on_its_thread(self) -> None:
        threads = Calls()
        futures = [self.side.submit("x") for _ in range(50)]
        for future in futures:
            future.add_done_callback(lambda _: threads.add(threading.current_thread().name))
        self.side.disconnect(4000, "enough")
        self.assertEqual(set(futures), wait_for_all(futures, 10).done)
        self.asker.close()
        names = {name for (name,) in threads.wait(50)}
        self.assertEqual(1, len(names))
        self.assertRegex(names.pop(), "^ezez-conn")

    def test_one_whose_time_is_over_is_told_within_a_second_and_the_connections_thread_calls_back(self) -> None:
        ways: dict[str, Callable[[Future[Any]], object]] = {
            "nobody waits by our own means": lambda future: wait_for_all([future], 10),
            "somebody does, and does not run its callbacks": lambda future: future.exception(10),
        }
        for name, wait in ways.items():
            with self.subTest(name):
                side, peer = self.pair(self.serve(clear_awaiting_replies_after=0.2))
                threads = Calls()
                future = side.submit("x")
                future.add_done_callback(lambda _, told=threads: told.add(threading.current_thread().name))  # type: ignore[misc]
                wait(future)
                self.assertIsInstance(future.exception(0), ReplyTimeout)
                peer.read_event()
                peer.read(PING)
                peer.send_pong()
                self.assertRegex(threads.wait()[0][0], "^ezez-conn")

    def test_a_callback_that_is_added_when_the_time_is_over_or_the_connection_gone_is_called_at_once(self) -> None:
        side, _ = self.pair(self.serve(clear_awaiting_replies_after=0.2))
        expired, waited_for = side.submit("x"), side.submit("x")
        self.assertEqual({expired}, wait_for_all([expired], 10).done)
        self.assertIsInstance(waited_for.exception(10), ReplyTimeout)
        ended = self.side.submit("x")
        self.side.disconnect()
        self.assertIsInstance(ended.exception(10), ConnectionClosed)
        for future in (expired, waited_for, ended):
            called = Calls()
            future.add_done_callback(called.add)
            called.wait()

    def test_a_foreign_thread_that_waits_with_the_standard_librarys_means_is_woken(self) -> None:
        futures = [self.side.submit("x") for _ in range(3)]
        waiting = self.in_thread(lambda: wait_for_all(futures, 10, FIRST_COMPLETED).done)
        self.answer()
        self.assertEqual({futures[0]}, waiting.get())


class InAListenerTest(ServingTestCase):
    """A listener that waits for futures of its own connection, whose thread it keeps from reading."""

    def test_result_and_as_completed_both_end(self) -> None:
        for codec in (None, Codec(deserializers={})):
            server = self.serve(codec=codec)
            client = self.client(server)
            client.handler("number", lambda n: n)

            def one(side: EZEZServerClient) -> Any:
                return side.submit("number", [5]).result(20)

            def many(side: EZEZServerClient) -> Any:
                futures = [side.submit("number", [n]) for n in range(20)]
                return sorted(future.result() for future in as_completed(futures, 20))

            def at_once(side: EZEZServerClient) -> Any:
                side.send("other")
                return one(side)

            for function, expected in ((one, 5), (many, list(range(20))), (at_once, 5)):
                server.handler(function.__name__, function)
                self.assertEqual(expected, client.call(function.__name__, timeout=30))

    def test_one_that_another_thread_waits_for_is_told_while_a_listener_blocks(self) -> None:
        server = self.serve()
        gate = self.gate()
        server.on("block", lambda *args: gate())
        side, peer = self.pair(server)
        peer.send_event("block")
        gate.wait_entered()
        future = side.submit("x")
        waiting = self.in_thread(lambda: list(as_completed([future], 20)))
        peer.send_event(EVENT_OK, [1], reply_to=peer.read_event().ids.event_id)
        self.assertEqual([future], waiting.get())

    def test_callbacks_never_run_on_the_timers_thread(self) -> None:
        server = self.serve()
        gate = self.gate()
        server.on("block", lambda *args: gate())
        side, peer = self.pair(server)
        peer.send_event("block")
        gate.wait_entered()
        threads = Calls()
        future = side.submit("x")
        future.add_done_callback(lambda _: threads.add(threading.current_thread().name))
        peer.send_event(EVENT_OK, [1], reply_to=peer.read_event().ids.event_id)
        self.assertEqual({future}, wait_for_all([future], 20).done)  # told by the timers' thread
        gate.open()
        self.assertRegex(threads.wait()[0][0], "^ezez-conn")


class QueuedTest(ServingTestCase):
    """A client that is not connected."""

    def client_of(self, url: str, **options: Any) -> EZEZWebSocketClient:
        client = EZEZWebSocketClient(url, auth=KEY, **options)
        self.addCleanup(client.close)
        return client

    def test_a_queued_one_is_answered_when_it_has_gone_out(self) -> None:
        server = self.serve()
        server.handler("x", lambda side: "there")
        assert server.url is not None
        client = self.client_of(server.url)
        future = client.submit("x")
        self.assertEqual(1, client.awaiting_replies_count)
        client.start()
        self.assertEqual("there", future.result(20))

    def test_a_cancelled_one_is_not_sent(self) -> None:
        calls = Calls()
        server = self.serve(on_message=calls.named("on_message", 1))
        assert server.url is not None
        client = self.client_of(server.url)
        client.submit("cancelled").cancel()
        self.assertEqual(0, client.awaiting_replies_count)
        client.send("sent")
        client.start()
        self.assertEqual([("on_message", "sent")], calls.wait())

    def test_closing_ends_it_and_limits_are_raised(self) -> None:
        client = self.client_of("ws://127.0.0.1:1/", queue_limit_bytes=200, max_awaiting_replies=2)
        told = Calls()
        futures = [client.submit("x"), client.submit("x")]
        futures[0].add_done_callback(lambda future: told.add(type(future.exception())))
        with self.assertRaises(TooManyReplies):
            client.submit("x")
        futures[1].cancel()
        with self.assertRaises(QueueFull):
            client.submit("x", ["y" * 300])
        client.close()
        self.assertEqual([(ConnectionClosed,)], told.wait())
        self.assertIsInstance(client.submit("x").exception(0), NotConnected)

    def test_where_it_is_not_to_be_queued_that_is_in_it(self) -> None:
        for option, error in (("raise", NotConnected), ("ignore", ConnectionClosed)):
            client = self.client_of("ws://127.0.0.1:1/", send_when_not_connected=option)
            self.assertIsInstance(client.submit("x").exception(0), error)


class CutTest(ServingTestCase):
    """Connections that are cut under hundreds of open calls."""

    @allow_seconds(120)
    def test_each_ends_whatever_cuts_the_connection_and_nothing_is_left(self) -> None:
        server = self.serve(on_error=lambda *args: None)
        server.handler("echo", lambda side, n: n)
        later: list[Future[Any]] = []

        def slow(side: EZEZServerClient, n: int) -> "Future[Any]":
            later.append(Future())
            return later[-1]

        server.handler("slow", slow)
        rng = random.Random(5)
        with switch_interval(1e-6):
            for round_ in range(12):
                client = self.client(server, auto_reconnect=False)
                futures = [client.submit(rng.choice(["echo", "slow"]), [n]) for n in range(200)]
                told = Calls()
                for future in rng.sample(futures, 100):
                    future.add_done_callback(told.add)
                cancelled = sum(future.cancel() for future in rng.sample(futures, 10))
                (side,) = [one for one in server.clients if one.alive]
                how = round_ % 3
                if how == 0:
                    side.disconnect()
                elif how == 1:
                    client.close()
                else:
                    side._ezez_connection.cut()
                self.assertEqual(set(futures), wait_for_all(futures, 60).done)
                for future in futures:
                    error = None if future.cancelled() else future.exception(0)
                    self.assertIsInstance(error, (ConnectionClosed, type(None)))
                self.assertGreaterEqual(cancelled, 0)
                told.wait(100)
                client.close()
                self.assertEqual(0, client.awaiting_replies_count)
        for future in later:
            future.cancel()
        self.assertEqual(100, len(told.seen))


if __name__ == "__main__":
    unittest.main()
