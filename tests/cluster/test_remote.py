"""``client_at`` within one server: the outcomes of the contract, each row; and of an address that is elsewhere."""

import gc
import threading
from typing import Any

from ezez_ws import Codec, ConnectionClosed, RemoteClient, ReplyTimeout, SendTimeout
from ezez_ws.cluster.entries import PLAIN
from tests.serving import ServingTestCase
from tests.support import eventually


class Thing:
    pass


class RemoteClientTest(ServingTestCase):
    def test_a_reply_comes_back_and_can_be_answered(self) -> None:
        server = self.serve()
        side, peer = self.pair(server)
        remote = server.client_at(side.address)
        self.assertEqual(side.address, remote.address)
        sent = remote.send("ask", [1])
        self.assertTrue(sent)
        self.assertIsNone(sent.event_id)
        waiting = self.in_thread(sent.wait_reply, 10)
        question = peer.read_event()
        self.assertEqual(("ask", [1]), (question.name, question.args))
        peer.send_event("answer", [2], reply_to=question.ids.event_id)
        answer = waiting.get()
        self.assertEqual(("answer", [2], 1), (answer.event, answer.args, answer.ids.event_id))
        self.assertIs(answer, sent.wait_reply(0))
        more = answer.reply("thanks", ["a lot"])
        thanks = peer.read_event()
        self.assertEqual(("thanks", ["a lot"], 1), (thanks.name, thanks.args, thanks.ids.reply_to))
        peer.send_event("welcome", reply_to=thanks.ids.event_id)
        self.assertEqual("welcome", more.wait_reply(10).event)
        with self.assertRaisesRegex(ValueError, "^on_reply: "):
            answer.reply("thanks", on_reply=lambda *args: None)

    def test_who_is_not_there_any_more_or_ends_first(self) -> None:
        server = self.serve()
        side, peer = self.pair(server)
        remote = server.client_at(side.address)
        sent = remote.send("ask")
        self.assertEqual("ask", peer.read_event().name)
        remote.disconnect(4000, "bye")
        peer.read_end()
        peer.send_close(4000)
        eventually(lambda: not side.rooms and not server.clients)
        with self.assertRaises(ConnectionClosed) as caught:
            remote.send("ask").wait_reply(10)
        self.assertEqual((1006, "no such connection"), (caught.exception.code, caught.exception.reason))
        with self.assertRaises(ConnectionClosed) as caught:
            sent.wait_reply(10)
        self.assertEqual((4000, "bye"), (caught.exception.code, caught.exception.reason))

    def test_an_address_of_a_node_that_does_not_live(self) -> None:
        server = self.serve()
        with self.assertRaises(ConnectionClosed) as caught:
            server.client_at("0123456789abcdef:5").send("ask").wait_reply(10)
        self.assertEqual((1006, "node gone"), (caught.exception.code, caught.exception.reason))

    def test_what_is_no_address(self) -> None:
        server = self.serve()
        wrong: Any
        for wrong in (5, None, b"a:1"):
            with self.assertRaisesRegex(TypeError, "^an address must be a str, not "):
                server.client_at(wrong)
        for wrong in ("", "a", ":1", "a:", "a:b", "x" * 100 + ":1"):
            with self.assertRaisesRegex(ValueError, "is no address of a client"):
                server.client_at(wrong)

    def test_what_nobody_waits_for_does_not_pile_up_behind_what_is_waited_for(self) -> None:
        server = self.serve()
        side, _ = self.pair(server)
        remote = server.client_at(side.address)
        waited_for = [remote.send("ask") for _ in range(5)]
        for _ in range(1000):
            remote.send("tell")
        self.assertLess(len(remote._asks._awaited), 200)
        self.assertEqual(5, len(waited_for))

    def test_whatever_comes_into_the_inbox_ends_no_thread(self) -> None:
        server = self.serve()
        side, peer = self.pair(server)
        asks = server.client_at(side.address)._asks
        ask = ["ask", "node", 1, side.address, "event", b"", None]
        wrong: list[list[Any]] = [
            [*ask[:number], value, *ask[number + 1 :]] for number in (4, 5) for value in (5, None)
        ]
        wrong += [["close", side.address, code, "why"] for code in ("x", None, -1, 1 << 40)]
        wrong += [["close", side.address, 4000, 5], ["close", side.address, 4000, None]]
        wrong += [["answer", []], ["answer", [], "reply"], ["answer", 1, "closed", 5], ["ask"], ["close"], [5], []]
        for message in wrong:
            asks.take_message(PLAIN.encode([1, *message]))
        for data in (b"", b"x", PLAIN.encode(["x"])):
            asks.take_message(data)
        self.assertTrue(peer)

    def test_no_room_is_told_at_once_and_cuts_nobody(self) -> None:
        server = self.serve(send_buffer_limit=100_000)
        side, _ = self.pair(server, receive_buffer=4096)
        remote = server.client_at(side.address)

        def fill() -> bool:
            sent = remote.send("big", ["x" * 90_000])
            try:
                sent.wait_reply(0)
            except SendTimeout:
                return True
            except ReplyTimeout:
                pass
            return False

        eventually(fill, what="the send buffer is full")
        self.assertTrue(side.alive)

    def test_a_wait_ends_by_its_timeout_and_by_the_time_that_replies_are_waited_for(self) -> None:
        server = self.serve(clear_awaiting_replies_after=0.2)
        side, _ = self.pair(server)
        sent = server.client_at(side.address).send("ask")
        with self.assertRaisesRegex(ReplyTimeout, r"\Ano reply to '\w+' within 0.01 seconds"):
            sent.wait_reply(0.01)
        for _ in range(2):
            with self.assertRaisesRegex(ReplyTimeout, "in time"):
                sent.wait_reply()

    def test_a_server_that_closes_ends_the_waiting(self) -> None:
        server = self.serve()
        side, peer = self.pair(server)
        waiting = self.in_thread(server.client_at(side.address).send("ask").wait_reply)
        self.assertEqual("ask", peer.read_event().name)
        peer.close()
        server.close()
        with self.assertRaises(ConnectionClosed):
            waiting.get()

    def test_a_listener_that_waits_for_another_client_does_not_hold_up_the_close(self) -> None:
        server = self.serve(close_timeout=30.0)
        (one, first), (two, second) = self.pair(server), self.pair(server)
        entered = threading.Event()
        ended: list[Any] = []

        def ask(args: Any, reply: Any, ids: Any) -> None:
            sent = server.client_at(two.address).send("ask")
            entered.set()
            try:
                sent.wait_reply()
            except ConnectionClosed as error:
                ended.append((error.code, error.reason))

        one.on("ask", ask)
        first.send_event("ask")
        self.assertTrue(entered.wait(10))
        closing = self.in_thread(server.close)
        for peer in (first, second):
            peer.read_end()
            peer.send_close(1001)
        closing.get(20)
        self.assertEqual([(1001, "server shutdown")], ended)

    def test_two_listeners_that_ask_each_others_client_do_not_deadlock(self) -> None:
        server = self.serve()
        (one, first), (two, second) = self.pair(server), self.pair(server)
        both = threading.Barrier(2, timeout=10)

        def ask(other: Any) -> Any:
            def listen(args: Any, reply: Any, ids: Any) -> None:
                both.wait()
                reply("asked", server.client_at(other.address).send("name").wait_reply(20).args)

            return listen

        one.on("ask", ask(two))
        two.on("ask", ask(one))
        for peer in (first, second):
            peer.send_event("ask")
        for peer, name in ((first, "first"), (second, "second")):
            peer.send_event("name is", [name], reply_to=peer.read_event().ids.event_id)
        self.assertEqual(["second"], first.read_event().args)
        self.assertEqual(["first"], second.read_event().args)

    def test_values_of_the_users_own_are_made_on_the_thread_that_waits(self) -> None:
        threads: list[str] = []

        def make(text: str) -> Thing:
            threads.append(threading.current_thread().name)
            return Thing()

        codec = Codec(
            serializers={"thing": lambda value: "!" if isinstance(value, Thing) else None},
            deserializers={"thing": make},
        )
        server = self.serve(codec=codec)
        side, peer = self.pair(server, codec=codec)
        sent = server.client_at(side.address).send("ask", [Thing()])
        question = peer.read_event()
        threads.clear()
        peer.send_event("answer", [Thing()], reply_to=question.ids.event_id)
        (thing,) = sent.wait_reply(10).args
        self.assertIsInstance(thing, Thing)
        self.assertIn(threading.current_thread().name, threads)

    def test_who_keeps_nothing_costs_nothing(self) -> None:
        server = self.serve()
        side, peer = self.pair(server)
        remote = server.client_at(side.address)
        self.assertIsInstance(remote, RemoteClient)
        for _ in range(1000):
            remote.send("ask")
            peer.read_event()
        gc.collect()
        self.assertLess(len(side._ezez_connection._hub.asks._awaited), 10)
