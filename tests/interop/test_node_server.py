"""A server in Node, with ``ws`` and the reference serializer, against our client."""

import datetime
import queue
from typing import Any

from ezez_ws import (
    EVENT_UNKNOWN_DATA_TYPE,
    EVENT_UNKNOWN_MESSAGE,
    UNDEFINED,
    AuthRejected,
    BigInt,
    ConnectionClosed,
    EZEZWebSocketClient,
)
from tests.interop.node import CODEC, NodeProcess, date
from tests.interop.test_node_client import SAMPLES
from tests.neutral import same
from tests.support import EZEZTestCase, needs_node

MOSTLY_WAITS = True


@needs_node
class NodeServerTest(EZEZTestCase):
    def run_node(self, port: int = 0, key: str = "zażółć") -> NodeProcess:
        node = NodeProcess("node_server.mjs", str(port), key)
        self.addCleanup(node.stop)
        self.port = node.next("listening")["listening"]
        return node

    def make_client(self, auth: str = "zażółć", **options: Any) -> EZEZWebSocketClient:
        client = EZEZWebSocketClient(f"ws://127.0.0.1:{self.port}", auth=auth, codec=CODEC, **options)
        self.addCleanup(client.close)
        return client

    def meet(self, **options: Any) -> "tuple[EZEZWebSocketClient, NodeProcess]":
        node = self.run_node()
        client = self.make_client(**options)
        client.connect(timeout=30)
        return client, node

    def test_the_right_key_is_accepted(self) -> None:
        client, node = self.meet()
        self.assertEqual(node.next("auth"), {"auth": "ok"})
        self.assertTrue(client.alive)
        client.close(3001, "bye")
        closed = node.next("closed")
        self.assertEqual((closed["closed"], closed["reason"]), (3001, "bye"))

    def test_a_wrong_key_is_rejected_and_not_tried_again(self) -> None:
        self.run_node()
        told: list[Any] = []
        client = self.make_client(
            auth="wrong",
            on_auth_rejected=lambda reason: told.append(reason),
            on_disconnect=lambda code, reason: told.append(code),
        )
        with self.assertRaises(AuthRejected) as caught:
            client.connect(timeout=30)
        self.assertEqual(caught.exception.reason, "Invalid auth key")
        self.assertTrue(client.wait_closed(timeout=10))
        self.assertEqual(told, ["Invalid auth key", 1008])

    def test_a_client_that_could_recover_is_served_as_any_other(self) -> None:
        missed: list[Any] = []
        client, node = self.meet(recover=True, on_missed=missed.append)
        self.assertEqual(node.next("auth"), {"auth": "ok"})
        self.assertEqual(["x"], client.send("echo", ["x"]).wait_reply(timeout=30).args)
        self.assertEqual((frozenset(), []), (client.rooms, missed))

    def test_every_value_that_python_sends_comes_back_as_it_was(self) -> None:
        client, _ = self.meet()
        answer = client.send("echo", SAMPLES).wait_reply(timeout=30)
        for sent, got in zip(SAMPLES, answer.args, strict=False):
            self.assertTrue(same(sent, got), (sent, got))
        self.assertEqual(len(answer.args), len(SAMPLES))

    def test_every_value_of_node_is_the_python_value_that_the_protocol_names(self) -> None:
        client, _ = self.meet()
        answer = client.send("samples").wait_reply(timeout=30)
        for wanted, got in zip(SAMPLES, answer.args, strict=False):
            self.assertTrue(same(wanted, got), (wanted, got))
        self.assertEqual(len(answer.args), len(SAMPLES))

    def test_a_custom_type_is_itself_at_both_ends(self) -> None:
        client, _ = self.meet()
        when = datetime.datetime(2020, 1, 2, 3, 4, 5, 678000, datetime.timezone.utc)
        self.assertEqual(client.send("kinds", [when, [when]]).wait_reply(timeout=30).args, ["date", ["date"]])
        epoch = date("1970-01-01T00:00:00.000Z")
        self.assertEqual(client.send("dates").wait_reply(timeout=30).args, [epoch, {"nested": [when]}])

    def test_a_large_binary_message_arrives_whole_in_both_directions(self) -> None:
        client, _ = self.meet()
        data = bytes(range(256)) * 3000
        self.assertEqual(client.send("echo", [data]).wait_reply(timeout=30).args, [data])

    def test_a_reply_of_the_client_bears_the_id_of_the_event(self) -> None:
        client, node = self.meet()
        client.on("sum", lambda args, reply, ids: reply("total", [sum(args)]))
        node.tell("send", event="sum", args=[["num", "2"], ["num", "3"]])
        sent = node.next("sent")["sent"]
        total = node.next_event("total")
        self.assertEqual((total["id"], total["replyTo"], total["args"]), (1, sent, [5]))

    def test_a_conversation_begun_by_the_client_goes_on_over_several_replies(self) -> None:
        client, _ = self.meet()
        question = client.send("interview").wait_reply(timeout=30)
        second = question.reply("name", ["Ada"]).wait_reply(timeout=30)
        self.assertEqual((question.event, second.event, second.args), ("your name?", "your age?", ["Ada"]))
        self.assertEqual(second.reply("age", [BigInt(36)]).wait_reply(timeout=30).args, ["Ada", BigInt(36)])

    def test_a_conversation_begun_by_the_server_goes_on_over_several_replies(self) -> None:
        client, node = self.meet()

        @client.on("question")
        def answer(args: list[Any], reply: Any, ids: Any) -> None:
            thanks = reply("answer", [*args, 42]).wait_reply(timeout=30)
            thanks.reply("welcome", [thanks.event])

        client.send("ask me", ["meaning?"])
        self.assertEqual(node.next("conversation")["conversation"], ["answer", "thanks"])

    def test_a_broadcast_reaches_every_client(self) -> None:
        node = self.run_node()
        got: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for number in range(3):
            client = self.make_client()
            client.on("news", lambda args, reply, ids, number=number: got.put((number, args, ids)))
            client.connect(timeout=30)
        node.tell("broadcast", event="news", args=[["big", "7"], ["undef"], ["bytes", "00ff"]])
        news = sorted(got.get(timeout=10) for _ in range(3))
        self.assertEqual(news, [(number, [BigInt(7), UNDEFINED, b"\0\xff"], (1, None)) for number in range(3)])

    def test_a_text_message_is_an_event_where_that_is_asked_for(self) -> None:
        client, node = self.meet(unknown_messages="emit_try_json")
        got: queue.SimpleQueue[Any] = queue.SimpleQueue()
        client.on(EVENT_UNKNOWN_MESSAGE, lambda args, reply, ids: got.put((args, ids)))
        node.tell("text", text='{"a": [1, null]}')
        node.tell("text", text="plain")
        wanted = [([{"a": [1, None]}], (-1, None)), (["plain"], (-1, None))]
        self.assertEqual([got.get(timeout=10), got.get(timeout=10)], wanted)

    def test_send_json_is_a_text_message(self) -> None:
        client, node = self.meet()
        self.assertTrue(client.send_json({"a": [1, "ż"]}))
        self.assertEqual(node.next("text")["text"], '{"a": [1, "ż"]}')

    def test_unknown_binary_data_is_an_event_where_that_is_asked_for(self) -> None:
        client, node = self.meet(unknown_data="emit")
        got: queue.SimpleQueue[Any] = queue.SimpleQueue()
        client.on(EVENT_UNKNOWN_DATA_TYPE, lambda args, reply, ids: got.put(args))
        node.tell("raw", hex="00ff")
        self.assertEqual(got.get(timeout=10), [b"\0\xff"])

    def test_the_server_going_away_leads_to_a_new_connection_with_ids_from_1(self) -> None:
        left: queue.SimpleQueue[Any] = queue.SimpleQueue()
        client, node = self.meet(reconnect_delay=0.05, on_disconnect=lambda code, reason: left.put((code, reason)))
        self.assertEqual(client.send("first").event_id, 1)
        self.assertEqual(client.send("second").event_id, 2)
        node.next("auth")
        node.tell("close", code=1001, reason="restart")
        self.assertEqual(left.get(timeout=10), (1001, "restart"))
        node.next("auth")
        client.connect(timeout=30)
        client.send("third")
        self.assertEqual(node.next_event("third")["id"], 1)

    def test_after_a_kill_and_a_restart_the_queue_goes_out_in_order_and_once(self) -> None:
        client, node = self.meet(reconnect_delay=0.05, reconnect_delay_max=0.2)
        client.on("are you there?", lambda args, reply, ids: reply("yes"))
        self.assertEqual(client.send("echo", [1]).wait_reply(timeout=30).args, [1])
        waiting = client.send("never answered")
        node.kill()
        with self.assertRaises(ConnectionClosed):
            waiting.wait_reply(timeout=30)
        queued = [client.send("echo", [number]) for number in range(50)]
        node = self.run_node(port=self.port)
        for number, sent in enumerate(queued):
            self.assertEqual(sent.wait_reply(timeout=30).args, [number])
        node.tell("send", event="are you there?", args=[])
        node.next_event("yes")
        node.stop()
        self.assertEqual([sent.event_id for sent in queued], list(range(1, 51)))
