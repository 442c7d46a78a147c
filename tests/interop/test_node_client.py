"""A client in Node, with ``ws`` and the reference serializer, against our server."""

import datetime
import queue
import threading
from typing import Any

from ezez_ws import UNDEFINED, BigInt, EZEZServerClient, EZEZWebsocketServer, MalformedMessage, RedisBackplane
from tests.interop.node import CODEC, NodeProcess, date
from tests.neutral import same
from tests.redis_server import RedisServer, needs_redis
from tests.support import EZEZTestCase, eventually, needs_node

MOSTLY_WAITS = True

SAMPLES: list[Any] = [
    *("text", "zażółć \U0001f600", "", 0, 1, -1.5, 2**53 - 1, float(2**53), 1e21, 1e-7, float("nan"), float("-inf")),
    *(BigInt(5), BigInt(-(2**70)), True, False, None, UNDEFINED, b"\0\x01\xff", b"", [], {}),
    *([UNDEFINED, None, BigInt(5), "s:x", [[{}]]], {"a": {"c": BigInt(1), "d": [True]}, "b": UNDEFINED}),
]
"""What ``ezez.mjs`` has under the same name."""


@needs_node
class NodeClientTest(EZEZTestCase):
    def serve(self, **options: Any) -> EZEZWebsocketServer:
        """Start a server; clients come out of ``self.clients`` once authenticated."""
        self.clients: queue.SimpleQueue[EZEZServerClient] = queue.SimpleQueue()
        self.left: queue.SimpleQueue[Any] = queue.SimpleQueue()
        server = EZEZWebsocketServer(
            port=0,
            codec=CODEC,
            on_auth_request=lambda client, key: key == "zażółć",
            on_auth_ok=self.clients.put,
            on_disconnect=lambda client, code, reason: self.left.put((code, reason)),
            **options,
        )
        server.start()
        self.addCleanup(server.close)
        return server

    def run_node(self, server: EZEZWebsocketServer, *args: str) -> NodeProcess:
        node = NodeProcess("node_client.mjs", str(server.url), *(args or ("zażółć",)))
        self.addCleanup(node.stop)
        return node

    def meet(self, **options: Any) -> "tuple[EZEZServerClient, NodeProcess]":
        node = self.run_node(self.serve(**options))
        self.assertEqual(node.next("auth"), {"auth": "ok"})
        return self.clients.get(timeout=10), node

    def test_the_right_key_is_accepted(self) -> None:
        client, node = self.meet()
        self.assertTrue(client.authenticated)
        node.tell("close", code=3001, reason="bye")
        self.assertEqual(self.left.get(timeout=10), (3001, "bye"))
        self.assertEqual(node.next("closed")["closed"], 3001)

    def test_a_wrong_key_is_rejected_and_the_connection_closed_with_1008(self) -> None:
        node = self.run_node(self.serve(), "wrong")
        self.assertEqual(node.next("auth"), {"auth": "rejected", "reason": "Invalid auth key"})
        self.assertEqual(node.next("closed")["closed"], 1008)
        self.assertEqual(self.left.get(timeout=10)[0], 1008)

    def test_another_protocol_version_is_rejected_with_both_versions_named(self) -> None:
        node = self.run_node(self.serve(), "zażółć", "2")
        reason = "Protocol version mismatch, wanted 1, got 2"
        self.assertEqual(node.next("auth"), {"auth": "rejected", "reason": reason})
        self.assertEqual(node.next("closed")["closed"], 1008)

    def test_every_value_that_python_sends_comes_back_as_it_was(self) -> None:
        client, _ = self.meet()
        answer = client.send("echo", SAMPLES).wait_reply(timeout=30)
        self.assertEqual(answer.event, "echo")
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

    def test_node_sees_binary_bigint_and_undefined_as_what_they_are(self) -> None:
        client, _ = self.meet()
        sent = [b"x", bytearray(b"y"), BigInt(1), 2**53, 1, UNDEFINED, {"u": UNDEFINED, "n": None}]
        kinds = ["bytes", "bytes", "bigint", "bigint", "number", "undefined", {"u": "undefined", "n": "null"}]
        sorted_kinds = [*kinds[:-1], {"n": "null", "u": "undefined"}]
        self.assertEqual(client.send("kinds", sent).wait_reply(timeout=30).args, sorted_kinds)

    def test_a_large_binary_message_arrives_whole_in_both_directions(self) -> None:
        client, _ = self.meet()
        data = bytes(range(256)) * 3000
        self.assertEqual(client.send("echo", [data]).wait_reply(timeout=30).args, [data])

    def test_a_reply_of_the_server_bears_the_id_of_the_event(self) -> None:
        client, node = self.meet()
        client.on("sum", lambda args, reply, ids: reply("total", [sum(args)]))
        node.tell("send", event="sum", args=[["num", "2"], ["num", "3"]])
        sent = node.next("sent")["sent"]
        total = node.next_event("total")
        self.assertEqual((total["id"], total["replyTo"], total["args"]), (1, sent, [5]))

    def test_a_conversation_begun_by_the_server_goes_on_over_several_replies(self) -> None:
        client, _ = self.meet()
        question = client.send("interview").wait_reply(timeout=30)
        self.assertEqual(question.event, "your name?")
        second = question.reply("name", ["Ada"]).wait_reply(timeout=30)
        self.assertEqual((second.event, second.args), ("your age?", ["Ada"]))
        self.assertEqual(second.reply("age", [BigInt(36)]).wait_reply(timeout=30).args, ["Ada", BigInt(36)])

    def test_a_conversation_begun_by_the_client_goes_on_over_several_replies(self) -> None:
        client, node = self.meet()

        @client.on("question")
        def answer(args: list[Any], reply: Any, ids: Any) -> None:
            thanks = reply("answer", [*args, 42]).wait_reply(timeout=30)
            thanks.reply("welcome", [thanks.event])

        client.send("ask me", ["meaning?"])
        self.assertEqual(node.next("conversation")["conversation"], ["answer", "thanks"])

    def test_a_reply_goes_to_on_reply_and_not_to_listeners(self) -> None:
        client, _ = self.meet()
        got: queue.SimpleQueue[Any] = queue.SimpleQueue()
        client.on("echo", lambda args, reply, ids: got.put(("listener", args)))
        client.send("echo", [1], on_reply=lambda client, event, args, reply, ids: got.put(("on_reply", args)))
        client.send("echo", [2])
        self.assertEqual([got.get(timeout=10), got.get(timeout=10)], [("on_reply", [1]), ("listener", [2])])

    def test_a_broadcast_reaches_all_who_are_authenticated_and_nobody_else(self) -> None:
        server = self.serve()
        nodes = [self.run_node(server) for _ in range(3)]
        for node in nodes:
            node.next("auth")
            self.clients.get(timeout=10)
        refused = self.run_node(server, "wrong")
        refused.next("closed")
        self.assertEqual(server.broadcast("news", [BigInt(7), {"a": UNDEFINED}]), 3)
        for node in nodes:
            news = node.next_event("news")
            self.assertTrue(same([news["replyTo"], *news["args"]], [None, BigInt(7), {"a": UNDEFINED}]))
        refused.stop()
        self.assertFalse([told for told in refused.rest() if "event" in told])

    def test_rooms_are_plain_events_for_a_client_that_knows_of_no_recovery(self) -> None:
        server = self.serve()
        nodes, sides = [], []
        for _ in range(2):  # one after the other: so it is known which side is whose
            nodes.append(self.run_node(server))
            nodes[-1].next("auth")
            sides.append(self.clients.get(timeout=10))
        sides[0].join("a", info={"nick": "Ann"})
        sides[1].join("a", "b")
        server.to("a").send("said", [BigInt(7)])
        server.to("a").except_("b").send("said", ["first"])
        sides[0].to("a").send("said", ["second"])
        sides[1].leave("a", "b")
        server.to("a", "b").send("said", ["nobody else"])
        server.everyone.send("said", ["end"])
        told = [[node.next_event("said") for _ in range(count)] for node, count in zip(nodes, (4, 3), strict=True)]
        first, second = ([one["args"][0] for one in those] for those in told)
        self.assertTrue(same([BigInt(7), "first", "nobody else", "end"], first))
        self.assertTrue(same([BigInt(7), "second", "end"], second))

    @needs_redis
    def test_two_nodes_are_one_server_for_it(self) -> None:
        broker = RedisServer().start()
        self.addCleanup(broker.close)
        backplane = RedisBackplane(broker.url)
        servers = [self.serve(backplane=backplane)]
        one, clients = self.run_node(servers[0]), self.clients
        one.next("auth")
        clients.get(timeout=10)
        servers.append(self.serve(backplane=backplane))
        two = self.run_node(servers[1])
        two.next("auth")
        side = self.clients.get(timeout=10)
        servers[0].everyone.send("said", [UNDEFINED, BigInt(2**70)])
        for node in (one, two):
            self.assertTrue(same([UNDEFINED, BigInt(2**70)], node.next_event("said")["args"]))
        eventually(lambda: len(servers[0].cluster.nodes) == 2)
        answer = servers[0].client_at(side.address).send("echo", ["x", BigInt(1)]).wait_reply(timeout=30)
        self.assertTrue(same(["x", BigInt(1)], answer.args))

    def test_a_client_that_goes_on_counting_ids_on_its_next_connection_is_served(self) -> None:
        got: queue.SimpleQueue[Any] = queue.SimpleQueue()
        first, node = self.meet(on_message=lambda client, event, args, reply, ids: got.put((client, args, ids)))
        node.tell("send", event="hello", args=[["str", "first"]])
        self.assertEqual(got.get(timeout=10), (first, ["first"], (1, None)))
        first.disconnect()
        node.next("closed")
        node.tell("connect")
        node.next("auth")
        second = self.clients.get(timeout=10)
        node.tell("send", event="hello", args=[["str", "second"]])
        self.assertEqual(got.get(timeout=10), (second, ["second"], (2, None)))
        self.assertEqual(second.send("echo").event_id, 1)

    def test_the_server_drops_a_connection_that_vanishes_and_wakes_who_waits_for_it(self) -> None:
        client, node = self.meet()
        client.send("echo").wait_reply(timeout=30)
        node.kill()
        self.assertEqual(self.left.get(timeout=10)[0], 1006)
        self.assertFalse(client.alive)
        self.assertFalse(client.send("echo"))

    def test_a_text_message_is_ignored(self) -> None:
        client, node = self.meet()
        node.tell("text", text="hello")
        self.assertEqual(client.send("echo", [1]).wait_reply(timeout=30).args, [1])

    def test_a_malformed_message_closes_that_connection_alone_with_1002(self) -> None:
        errors: queue.SimpleQueue[Any] = queue.SimpleQueue()
        server = self.serve(on_error=lambda client, error: errors.put((client, error)))
        good, bad = self.run_node(server), self.run_node(server)
        bad.next("auth"), good.next("auth")
        bad.tell("raw", hex="00")
        closed = bad.next("closed")
        self.assertEqual((closed["closed"], closed["reason"]), (1002, "Malformed message"))
        client, error = errors.get(timeout=10)
        self.assertIsInstance(error, MalformedMessage)
        other = next(each for each in (self.clients.get(timeout=10), self.clients.get(timeout=10)) if each != client)
        self.assertEqual(other.send("echo", [1]).wait_reply(timeout=30).args, [1])

    def test_closing_the_server_tells_its_clients_1001(self) -> None:
        server = self.serve()
        node = self.run_node(server)
        node.next("auth")
        server.close()
        self.assertEqual(node.next("closed")["closed"], 1001)

    def test_several_threads_wait_for_their_own_replies(self) -> None:
        client, _ = self.meet()
        wrong: list[Any] = []

        def ask(number: int) -> None:
            for count in range(20):
                args = client.send("echo", [number, count]).wait_reply(timeout=30).args
                if args != [number, count]:
                    wrong.append((number, count, args))

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])
