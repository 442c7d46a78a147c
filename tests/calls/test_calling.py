"""Calls, from the side that asks: what an answer becomes, on which thread, and how a call ends."""

import unittest
from typing import Any

from ezez_ws import (
    EVENT_ERROR,
    EVENT_OK,
    CallError,
    ConnectionClosed,
    EZEZServerClient,
    EZEZWebSocketClient,
    InvalidArgs,
    NotConnected,
    RemoteError,
    ReplyTimeout,
    Result,
    SendTimeout,
    SerializationError,
)
from tests.serving import KEY, Calls, ServingTestCase
from tests.support import eventually


class AnswersTest(ServingTestCase):
    """What comes back becomes a value or an exception, whoever has answered: a raw peer here."""

    def setUp(self) -> None:
        super().setUp()
        self.side, self.asker = self.pair(self.serve())

    def answer(self, name: str, args: Any) -> Any:
        """Call, have the peer answer so, and return what the call returned."""
        calling = self.in_thread(self.side.call, "x", [1], 10)
        asked = self.asker.read_event()
        self.assertEqual(("x", [1]), (asked.name, asked.args))
        self.asker.send_event(name, args, reply_to=asked.ids.event_id)
        return calling.get()

    def test_a_value_is_returned(self) -> None:
        self.assertEqual({"a": [1]}, self.answer(EVENT_OK, [{"a": [1]}]))
        self.assertIsNone(self.answer(EVENT_OK, [None]))

    def test_another_reply_gives_its_arguments(self) -> None:
        self.assertIsNone(self.answer("pong", []))
        self.assertEqual(1, self.answer("pong", [1]))
        self.assertEqual([1, 2], self.answer("pong", [1, 2]))

    def test_an_error_is_raised_in_whatever_form_it_comes(self) -> None:
        data = [{"loc": ["a"], "type": "t", "msg": "m"}]
        for args, expected in (
            ([{"code": "c", "message": "m", "data": [1]}], (RemoteError, "c", "m", [1])),
            ([{"code": "c", "message": "m"}], (RemoteError, "c", "m", None)),
            ([{"code": "invalid-args", "message": "m", "data": data}], (InvalidArgs, "invalid-args", "m", data)),
            ([{"code": 5, "message": ["m"]}], (RemoteError, "error", "", None)),
            (["broken", 2], (RemoteError, "error", "broken", ["broken", 2])),
            ([2, "broken"], (RemoteError, "error", "broken", [2, "broken"])),
            ([{"message": "m"}], (RemoteError, "error", "", [{"message": "m"}])),
            ([], (RemoteError, "error", "", [])),
        ):
            with self.subTest(args=args):
                with self.assertRaises(RemoteError) as caught:
                    self.answer(EVENT_ERROR, args)
                error = caught.exception
                self.assertEqual(expected, (type(error), error.code, error.message, error.data))

    def test_what_is_wrong_is_found_before_anything_is_sent(self) -> None:
        for wrong, kind in (
            ({"args": "text"}, TypeError),
            ({"args": [object()]}, SerializationError),
            ({"timeout": "5"}, TypeError),
            ({"timeout": -1}, ValueError),
        ):
            with self.subTest(wrong), self.assertRaises(kind):
                self.side.call("x", **wrong)
        self.side.send("first")
        self.assertEqual("first", self.asker.read_event().name)

    def test_a_time_out_names_the_event_and_how_long_it_was(self) -> None:
        with self.assertRaisesRegex(ReplyTimeout, r"'x' \(message 1\) within 0.01 seconds"):
            self.side.call("x", timeout=0.01)
        self.assertEqual(0, self.side.awaiting_replies_count)

    def test_a_connection_that_ends_wakes_it(self) -> None:
        calling = self.in_thread(self.side.call, "x")
        self.asker.read_event()
        self.asker.close()
        with self.assertRaises(ConnectionClosed):
            calling.get()
        with self.assertRaises(ConnectionClosed):
            self.side.call("x")

    def test_on_message_and_on_reply_see_answers_and_no_listener_does(self) -> None:
        calls = Calls()
        side, peer = self.pair(self.serve(on_message=calls.named("on_message", 1)))
        side.send("x", on_reply=calls.named("on_reply", 1))
        peer.send_event(EVENT_OK, [1], reply_to=peer.read_event().ids.event_id)
        self.assertEqual([("on_message", EVENT_OK), ("on_reply", EVENT_OK)], calls.wait(2))


class BothWaysTest(ServingTestCase):
    def test_calls_go_in_both_directions_and_nest(self) -> None:
        server = self.serve()
        client = self.client(server)
        server.handler("down", lambda side, n: n if n == 0 else side.call("up", [n - 1], timeout=10) + 1)
        client.handler("up", lambda n: n if n == 0 else client.call("down", [n - 1], timeout=10) + 1)
        self.assertEqual(20, client.call("down", [20], timeout=20))
        (side,) = server.clients
        self.assertEqual(20, side.call("up", [20], timeout=20))

    def test_a_handler_may_disconnect_and_the_call_ends(self) -> None:
        server = self.serve()
        server.handler("leave", lambda side: side.disconnect(4000, "enough"))
        client = self.client(server, auto_reconnect=False)
        with self.assertRaises(ConnectionClosed) as caught:
            client.call("leave", timeout=10)
        self.assertEqual((4000, "enough"), (caught.exception.code, caught.exception.reason))

    def test_a_handler_that_ends_its_thread_is_an_internal_error(self) -> None:
        server = self.serve(on_error=lambda *args: None)

        def leave(side: EZEZServerClient) -> None:
            raise SystemExit(1)

        server.handler("leave", leave)
        client = self.client(server)
        for _ in range(2):
            with self.assertRaises(RemoteError) as caught:
                client.call("leave", timeout=10)
            self.assertEqual("internal", caught.exception.code)

    def test_a_call_that_is_queued_waits_for_the_connection_or_says_why_it_did_not_go_out(self) -> None:
        server = self.serve()
        server.handler("x", lambda side: "there")
        assert server.url is not None
        client = EZEZWebSocketClient(server.url, auth=KEY)
        self.addCleanup(client.close)
        with self.assertRaisesRegex(ReplyTimeout, "still queued, and the client is not started"):
            client.call("x", timeout=0)
        calling = self.in_thread(client.call, "x", (), 20)
        client.start()
        self.assertEqual("there", calling.get())
        lost = EZEZWebSocketClient(f"ws://127.0.0.1:{server.port}/", auth=KEY, reconnect_delay=0.05)
        self.addCleanup(lost.close)
        server.close()
        lost.start()
        eventually(lambda: "there is no connection" in self.why(lost))
        with self.assertRaises(ReplyTimeout) as caught:
            lost.call("x", timeout=0)
        self.assertIsInstance(caught.exception.__cause__, Exception)

    def why(self, client: EZEZWebSocketClient) -> str:
        try:
            client.call("x", timeout=0)
        except ReplyTimeout as error:
            return str(error)
        return ""


class CallAllTest(ServingTestCase):
    def test_everybody_is_asked_at_once_and_each_has_a_result(self) -> None:
        server = self.serve()
        gate = self.gate()
        good, bad, slow = (self.client(server) for _ in range(3))
        self.peer(server, auth=None)  # not authenticated: not asked
        good.handler("x", lambda n: n + 1)

        def fail(n: int) -> None:
            raise CallError("c", "m")

        bad.handler("x", fail)
        slow.handler("x", lambda n: gate())
        results = server.call_all("x", [1], timeout=1.0)
        self.assertEqual(3, len(results))
        by_error = {type(result.error): result for result in results.values()}
        self.assertEqual(Result(2, None), by_error[type(None)])
        self.assertEqual("c", by_error[RemoteError].error.code)  # type: ignore[union-attr]
        self.assertIn("within 1 seconds", str(by_error[ReplyTimeout].error))
        self.assertEqual([0, 0, 0], [client.awaiting_replies_count for client in results])

    def test_where_chooses_and_what_it_raises_comes_out(self) -> None:
        server = self.serve()
        for name in ("a", "b"):
            client = self.client(server)
            client.handler("x", lambda name=name: name)
        first = min(server.clients, key=lambda client: client.connection_id)
        self.assertEqual({first: Result("a", None)}, server.call_all("x", where=lambda client: client is first))
        with self.assertRaises(ZeroDivisionError):
            server.call_all("x", where=lambda client: 1 / 0)

    def test_in_a_listener_of_one_of_them_too(self) -> None:
        server = self.serve()
        clients = [self.client(server) for _ in range(3)]
        for number, client in enumerate(clients):
            client.handler("number", lambda number=number: number)
        server.handler("sum", lambda side: sum(result.value for result in server.call_all("number").values()))
        self.assertEqual(3, clients[0].call("sum", timeout=20))

    def test_a_client_without_room_is_no_reason_to_wait_and_not_cut(self) -> None:
        server = self.serve(send_buffer_limit=1 << 16, max_payload=1 << 20)
        side, peer = self.pair(server)
        stalled, _ = self.pair(server)
        while True:  # the peer reads nothing
            result = server.call_all("fill", ["x" * 60_000], where=lambda client: client is stalled, timeout=0)[stalled]
            if isinstance(result.error, SendTimeout):
                break
        asking = self.in_thread(lambda: server.call_all("x", ["y" * 60_000], timeout=10))
        eventually(lambda: side.awaiting_replies_count)
        peer.send_event("pong", [1], reply_to=peer.read_event().ids.event_id)
        results = asking.get()
        self.assertEqual(Result(1, None), results[side])
        self.assertIsInstance(results[stalled].error, SendTimeout)
        self.assertTrue(stalled.alive)


class WaitForTest(ServingTestCase):
    def test_the_next_event_for_which_it_holds_is_returned_and_taken_from_nobody(self) -> None:
        calls = Calls()
        server = self.serve()
        server.on("go", lambda client, args, reply, ids: calls.add(*args))
        side, peer = self.pair(server)
        waiting = self.in_thread(side.wait_for, "go", 10, lambda received: received.args[0] > 1)
        eventually(lambda: "go" in side._ezez_listeners)
        for number in (1, 2, 3):
            peer.send_event("go", [number])
        received = waiting.get()
        self.assertEqual(("go", [2], 2), (received.event, received.args, received.ids.event_id))
        received.reply("thanks")
        self.assertEqual(2, peer.read_event().ids.reply_to)
        self.assertEqual([(1,), (2,), (3,)], calls.wait(3))
        self.assertFalse("go" in side._ezez_listeners)

    def test_in_a_handler_of_the_connection_other_events_run_meanwhile(self) -> None:
        server = self.serve()
        order = Calls()
        server.handler("start", lambda side: side.wait_for("go", 10).args)
        server.on("other", lambda side, args, reply, ids: order.add("other"))
        _side, peer = self.pair(server)
        peer.send_event("start")
        peer.send_event("other")
        order.wait()
        peer.send_event("go", [7])
        self.assertEqual([[7]], peer.read_event().args)

    def test_it_ends_in_time_and_with_the_connection(self) -> None:
        server = self.serve()
        side, peer = self.pair(server)
        with self.assertRaisesRegex(ReplyTimeout, "no event 'go' within 0.01 seconds"):
            side.wait_for("go", 0.01)
        waiting = self.in_thread(side.wait_for, "go", None)
        eventually(lambda: "go" in side._ezez_listeners)
        peer.close()
        with self.assertRaises(ConnectionClosed):
            waiting.get()

    def test_what_where_raises_comes_out(self) -> None:
        server = self.serve()
        side, peer = self.pair(server)
        waiting = self.in_thread(side.wait_for, "go", 10, lambda received: 1 / 0)
        eventually(lambda: "go" in side._ezez_listeners)
        peer.send_event("go")
        with self.assertRaises(ZeroDivisionError):
            waiting.get()

    def test_a_client_waits_for_its_connection_first(self) -> None:
        server = self.make()
        server.start()
        server.on("hello", lambda side, args, reply, ids: side.send("go", [1]))
        assert server.url is not None
        client = EZEZWebSocketClient(server.url, auth=KEY)
        self.addCleanup(client.close)
        with self.assertRaisesRegex(NotConnected, "wait_for"):
            client.wait_for("go", 10)
        client.start()
        waiting = self.in_thread(client.wait_for, "go", 10)
        eventually(lambda: "go" in client._ezez_listeners)
        client.send("hello")
        self.assertEqual([1], waiting.get().args)


if __name__ == "__main__":
    unittest.main()
