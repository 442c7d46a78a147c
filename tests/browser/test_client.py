"""The browser module's client, in Node, against a real server of ours, and against one that the test plays."""

import json
import unittest
from typing import Any

from ezez_ws import UNDEFINED, BigInt, EZEZWebsocketServer
from ezez_ws.messages.protocol import AUTH, AUTH_OK, AUTH_REJECTED
from tests.browser.page import BrowserTestCase, JavaScriptError
from tests.neutral import same
from tests.support import eventually, free_port

SAME_ON_EVERY_PYTHON = True

VALUES: list[Any] = [
    *("text", "zażółć \U0001f600", "", 0, -1.5, 2**53 - 1, 1e21, float("nan"), BigInt(5), BigInt(-(2**70)), True, None),
    *(UNDEFINED, b"\0\x01\xff", b"", [], {}, [UNDEFINED, None, BigInt(5), "s:x", [[{}]]], {"a": {"c": BigInt(1)}}),
]


class RoundTripTest(BrowserTestCase):
    def echo(self, **options: Any) -> EZEZWebsocketServer:
        server = self.serve(**options)
        server.on("echo", lambda client, args, reply, ids: reply("echo", args))
        return server

    def test_every_value_comes_back_as_it_was(self) -> None:
        server = self.echo()
        self.ready(server.url)
        (side,) = server.clients
        self.page.run("client.on('mirror', (args, reply) => reply('mirror', args))")
        answer = side.send("mirror", VALUES).wait_reply(timeout=10)
        self.assertEqual(answer.event, "mirror")
        self.assertTrue(same(answer.args, VALUES), answer.args)

    def test_a_request_resolves_to_its_reply_which_no_listener_sees(self) -> None:
        self.ready(self.echo().url)
        self.page.run("client.on('echo', (args) => tell('listener', args))")
        code = """
            const { event, args, ids } = await client.request("echo", [1n, new Uint8Array([7])]);
            return [event, args, ids];"""
        self.assertEqual(self.page.run(code), ["echo", [BigInt(1), b"\7"], {"eventId": 1, "replyTo": 1}])
        self.page.run("client.send('echo', ['heard'])")
        self.expect(["listener", ["heard"]])

    def test_on_reply_gets_the_reply_in_place_of_the_listeners_and_on_message_before_it(self) -> None:
        callbacks = "{ onMessage: (event, args, reply, ids) => tell('message', event, args, ids) }"
        self.ready(self.echo().url, "{}", callbacks)
        self.page.run("client.on('echo', (args) => tell('listener', args))")
        sent = self.page.evaluate(
            "client.send('echo', [5], (event, args, reply, ids) => tell('reply', event, args, ids))"
        )
        ids = {"eventId": 1, "replyTo": 1}
        self.assertEqual(sent, {"eventId": 1, "replyTo": None})
        self.expect(["message", "echo", [5], ids], ["reply", "echo", [5], ids])

    def test_a_conversation_goes_on_over_several_replies_from_both_sides(self) -> None:
        server = self.serve()

        @server.on("order")
        def order(client: Any, args: Any, reply: Any, ids: Any) -> None:
            answer = reply("sure?", args).wait_reply(timeout=10)
            answer.reply("served", [answer.event, *answer.args])

        self.ready(server.url)
        code = """
            const question = await client.request("order", ["tea"]);
            const end = await question.reply.request("yes", ["please"]);
            return [question.event, question.args, end.event, end.args];"""
        self.assertEqual(self.page.run(code), ["sure?", ["tea"], "served", ["yes", "please"]])

    def test_a_large_binary_message_arrives_whole_in_both_directions(self) -> None:
        self.ready(self.echo(max_payload=1 << 24).url)
        code = """
            const sent = new Uint8Array(5_000_000).map((_, index) => index * 7);
            const { args: [got] } = await client.request("echo", [sent]);
            return got.length === sent.length && got.every((byte, index) => byte === sent[index]);"""
        self.assertIs(self.page.run(code), True)

    def test_requests_at_once_get_their_own_replies(self) -> None:
        self.ready(self.echo().url)
        code = """
            const numbers = Array.from({ length: 500 }, (_, index) => index);
            const replies = await Promise.all(numbers.map((number) => client.request("echo", [number])));
            return [replies.every(({ args: [number] }, index) => number === index), client.awaitingRepliesCount];"""
        self.assertEqual(self.page.run(code), [True, 0])

    def test_a_broadcast_reaches_listeners_and_once_listeners_once(self) -> None:
        server = self.serve()
        self.ready(server.url)
        self.page.run("""
            const heard = (args) => tell("on", ...args), gone = () => tell("removed");
            client.on("news", heard).on("news", heard).once("news", () => tell("once"));
            client.on("news", gone).off("news", gone).on("other", gone).off("other");""")
        self.assertEqual(server.broadcast("news", [1]), 1)
        self.assertEqual(server.broadcast("other"), 1)
        self.assertEqual(server.broadcast("news", [2]), 1)
        self.expect(["on", 1], ["on", 1], ["once"], ["on", 2], ["on", 2])

    def test_custom_types_travel_both_ways(self) -> None:
        from tests.interop.node import CODEC, date

        server = self.echo(codec=CODEC)
        dates = "serializers: { date: (value) => value instanceof Date ? value.toISOString() : null }"
        self.ready(server.url, f"{{ {dates}, deserializers: {{ date: (text) => new Date(text) }} }}")
        (side,) = server.clients
        self.page.run("client.on('when', ([{ at }], reply) => reply('then', [new Date(at.getTime() + 1000)]))")
        args = side.send("when", [{"at": date("2020-01-01T00:00:00.000Z")}]).wait_reply(timeout=10).args
        self.assertEqual(args, [date("2020-01-01T00:00:01.000Z")])

    def test_a_listener_that_throws_stops_neither_others_nor_the_connection(self) -> None:
        server = self.serve()
        self.ready(server.url)
        self.page.run("""
            client.on("x", () => { throw new RangeError("first"); });
            client.on("x", async () => { throw new RangeError("second"); });
            client.on("x", () => tell("third"));""")
        server.broadcast("x")
        server.broadcast("x")
        told = self.page.told(6)
        self.assertEqual(told.count(["onError", "RangeError", "first"]), 2)
        self.assertEqual(told.count(["onError", "RangeError", "second"]), 2)
        self.assertEqual(told.count(["third"]), 2)

    def test_listeners_added_in_a_listener_hear_the_next_event(self) -> None:
        server = self.serve()
        self.ready(server.url)
        self.page.run("client.once('x', () => { tell('first'); client.on('x', () => tell('second')); })")
        server.broadcast("x")
        server.broadcast("x")
        self.expect(["first"], ["second"])


class AuthenticationTest(BrowserTestCase):
    def test_the_key_and_the_version_are_the_first_message(self) -> None:
        server = self.listen()
        self.connect(server.url, '{ auth: "zażółć" }')
        peer = self.accept(server, auth=False)
        self.assertEqual(peer.read_values(), [AUTH, "zażółć", 1])
        self.expect(["onConnect"])
        self.assertIs(self.page.evaluate("client.alive"), False)
        peer.send_values(AUTH_OK)
        self.expect(["onAuthOk"])
        self.assertIs(self.page.evaluate("client.alive"), True)

    def test_a_rejected_client_gives_up_what_waits_and_does_not_come_again(self) -> None:
        server = self.serve()
        self.connect(server.url, '{ auth: "wrong" }')
        queued = self.page.start("await client.request('echo')")
        told = self.page.told(3)
        self.assertEqual(
            told, [["onConnect"], ["onAuthRejected", "Invalid auth key"], ["onDisconnect", 1008, "Invalid auth key"]]
        )
        with self.assertRaises(JavaScriptError) as caught:
            queued.result()
        self.assertEqual(str(caught.exception), "ConnectionClosed: connection closed (1008, Invalid auth key)")
        self.assertIs(self.page.evaluate("client.send('x')"), UNDEFINED)
        self.page.run("client.start()")
        self.assertEqual(self.page.told(2), told[:2])

    def test_a_server_that_rejects_and_does_not_close_is_left(self) -> None:
        server = self.listen()
        self.connect(server.url, "{ closeTimeout: 50 }")
        peer = self.accept(server, auth=False)
        peer.send_values(AUTH_REJECTED, "no")
        self.expect(["onConnect"], ["onAuthRejected", "no"], ["onDisconnect", 1006, "the peer does not close"])

    def test_without_authentication_the_client_is_ready_at_once(self) -> None:
        server = self.listen()
        self.connect(server.url, "{ auth: null }")
        self.page.run("client.send('queued')")
        peer = self.accept(server, auth=False)
        self.assertEqual(peer.read_event(), ("queued", (1, None), []))
        self.expect(["onConnect"])
        self.page.run("client.sendJson({ a: [1] })")
        message = peer.read_message()
        self.assertEqual(message and json.loads(message.payload), {"a": [1]})

    def test_subprotocols_are_offered(self) -> None:
        server = self.serve(subprotocols=["chat"])
        self.ready(server.url, '{ subprotocols: ["other", "chat"] }')
        self.assertEqual(self.page.evaluate("client.subprotocol"), "chat")
        self.page.run("client.close()")
        self.expect(["onDisconnect", 1000, ""])
        self.assertIsNone(self.page.evaluate("client.subprotocol"))


class NotConnectedTest(BrowserTestCase):
    def test_what_is_queued_goes_out_in_order_after_what_on_auth_ok_sends_and_before_all_else(self) -> None:
        server = self.listen()
        self.connect(
            server.url, "{}", "{ onAuthOk: async () => { client.send('join'); await null; client.send('last'); } }"
        )
        self.page.run("client.send('first', [1]); client.send('second', [new Uint8Array(2)])")
        for _ in range(2):
            peer = self.accept(server)
            events = [peer.read_event() for _ in range(4)]
            self.assertEqual([event.ids for event in events], [(number, None) for number in range(1, 5)])
            self.assertEqual([event.name for event in events], ["join", "first", "second", "last"])
            self.assertEqual([event.args for event in events], [[], [1], [b"\0\0"], []])
            self.expect(["onConnect"])
            peer.close()
            self.expect(["onDisconnect", 1006, ""])
            self.page.run("client.send('first', [1]); client.send('second', [new Uint8Array(2)])")

    def test_without_authentication_what_on_connect_sends_goes_out_before_the_queue(self) -> None:
        server = self.listen()
        self.connect(server.url, "{ auth: null }", "{ onConnect: () => client.send('join') }")
        self.page.run("client.send('queued')")
        peer = self.accept(server, auth=False)
        self.assertEqual([peer.read_event().name for _ in range(2)], ["join", "queued"])

    def test_closing_inside_on_auth_ok_leaves_the_queue_unsent(self) -> None:
        server = self.listen()
        self.connect(server.url, "{}", "{ onAuthOk: () => { client.send('sent'); client.close(); } }")
        queued = self.page.start("await client.request('queued')")
        peer = self.accept(server)
        self.assertEqual(peer.read_event().name, "sent")
        self.assertEqual(peer.read_end().messages, [])
        with self.assertRaises(JavaScriptError) as caught:
            queued.result()
        self.assertEqual(caught.exception.name, "ConnectionClosed")

    def test_a_queued_message_has_its_id_when_it_goes_out_and_its_reply_arrives(self) -> None:
        port = free_port()
        self.connect(f"ws://127.0.0.1:{port}")
        sent = "globalThis.sent = client.send('echo', [1], (event, args) => tell('reply', args))"
        self.assertEqual(
            self.page.run(f"return {{ ...({sent}), count: client.awaitingRepliesCount }}"),
            {"count": 1, "eventId": None, "replyTo": None},
        )
        server = self.serve(port=port)
        server.on("echo", lambda client, args, reply, ids: reply("echo", args))
        told = self.page.told()
        while told != [["reply", [1]]]:
            self.assertIn(told[0][0], ("onError", "onConnect", "onAuthOk"))
            told = self.page.told()
        self.assertEqual(self.page.evaluate("[sent.eventId, client.awaitingRepliesCount]"), [1, 0])

    def test_a_full_queue_refuses_and_drops_nothing(self) -> None:
        server = self.listen()
        self.connect(server.url, "{ queueLimitBytes: 100 }")
        self.page.run("client.send('fits', ['x'.repeat(50)])")
        error = self.fails("client.send('event', ['x'.repeat(50)])")
        self.assertEqual(error.name, "QueueFull")
        self.assertRegex(
            error.message, r'^event "event": 84 bytes do not fit into the queue, which has 83 of queueLimitBytes=100$'
        )
        peer = self.accept(server)
        self.assertEqual(peer.read_event().args, ["x" * 50])
        self.expect(["onConnect"], ["onAuthOk"])
        peer.close()
        self.expect(["onDisconnect", 1006, ""])
        # there is room again, where a message went out and where its time has passed
        self.page.run("await client.request('late', ['x'.repeat(50)], { timeout: 1 }).catch(() => {})")
        self.page.run("client.send('fits', ['y'.repeat(50)])")
        self.assertEqual(self.accept(server).read_event().args, ["y" * 50])

    def test_ignore_drops_and_throw_throws(self) -> None:
        url = self.nobody()
        self.connect(url, '{ sendWhenNotConnected: "ignore" }')
        self.assertIs(self.page.evaluate("client.send('x')"), UNDEFINED)
        self.assertIs(self.page.evaluate("client.sendJson(1)"), False)
        self.assertEqual(self.fails("await client.request('x')").name, "ConnectionClosed")
        self.page.run("client.close()")
        self.connect(url, '{ sendWhenNotConnected: "throw" }')
        for code in ("client.send('x')", "client.sendJson(1)", "await client.request('x')"):
            self.assertEqual(str(self.fails(code)), "NotConnected: the client is not connected")

    def test_after_close_nothing_is_sent_or_started(self) -> None:
        self.ready(self.serve().url)
        self.page.run("client.close()")
        self.expect(["onDisconnect", 1000, ""])
        self.assertEqual(str(self.fails("client.send('x')")), "NotConnected: the client is closed")
        self.assertEqual(self.fails("client.start()").name, "NotConnected")
        self.page.run("client.close()")

    def test_what_cannot_be_sent_is_refused_and_uses_no_id_up(self) -> None:
        peer, _ = self.host()
        for code, text in [
            ("client.send('x', [new Date(0)])", "SerializationError: args[0]: Date cannot be sent"),
            ("await client.request('x', [[Symbol()]])", "SerializationError: args[0][0]: symbol cannot be sent"),
            ("client.send('x\\ud800')", "SerializationError: event"),
            ("client.send('ezez-ws::auth')", "RangeError: event"),
            ("client.send('ezez-ws:incoming:x')", "RangeError: event"),
            ("client.send(5)", "TypeError: event must be a string, not 5"),
            ("client.send('x', 'text')", 'TypeError: args must be an array, not "text"'),
            ("client.send('x', [], 5)", "TypeError: onReply must be a function, not 5"),
            ("await client.request('x', [], { timeout: 0 })", "TypeError: timeout must be a number"),
            ("await client.request('x', [], 5)", "TypeError: options must be an object"),
            ("client.on('ezez-ws::auth', () => {})", "RangeError: event"),
            ("client.on('x', 5)", "TypeError: listener must be a function, not 5"),
            ("client.once('x', function* () {})", "TypeError: listener must not be a generator function"),
            ("client.sendJson('x', { a: 1 })", "TypeError: write sendJson(value); of sendJson(event, value)"),
            ("client.sendJson(1n)", "SerializationError: the value is no JSON"),
            ("client.sendJson(undefined)", "SerializationError: the value is no JSON"),
            ("client.close(1002)", "TypeError: code must be 1000, or 3000 to 4999"),
            ("client.close(1000, 'é'.repeat(62))", "TypeError: reason must be"),
        ]:
            with self.subTest(code):
                self.assertIn(text, str(self.fails(code)))
        self.assertEqual(self.page.evaluate("client.send('x').eventId"), 1)
        self.assertEqual(peer.read_event(), ("x", (1, None), []))


class RepliesTest(BrowserTestCase):
    def test_a_request_ends_at_its_timeout_and_a_late_reply_goes_to_the_listeners(self) -> None:
        peer, _ = self.host()
        self.page.run("client.on('late', (args, reply, ids) => tell('late', ids.replyTo))")
        error = self.fails("await client.request('question', [], { timeout: 30 })")
        self.assertEqual(str(error), 'ReplyTimeout: no reply to "question" within 30 ms')
        self.assertEqual(self.page.evaluate("client.awaitingRepliesCount"), 0)
        peer.send_event("late", reply_to=peer.read_event().ids.event_id)
        self.expect(["late", 1])

    def test_a_request_whose_time_passes_in_the_queue_is_not_sent_any_more(self) -> None:
        server = self.listen()
        self.connect(server.url)
        self.assertEqual(self.fails("await client.request('x', [], { timeout: 30 })").name, "ReplyTimeout")
        self.page.run("client.send('y')")
        self.assertEqual(self.accept(server).read_event(), ("y", (1, None), []))

    def test_replies_are_forgotten_in_order_when_their_time_has_passed(self) -> None:
        peer, _ = self.host("{ clearAwaitingRepliesAfter: 60 }")
        self.page.run("""
            client.on("late", (args, reply, ids) => tell("listener", ids.replyTo));
            client.send("callback", [], () => tell("too late"));
            client.request("first").catch((error) => tell(error.name, "first"));
            await new Promise((done) => setTimeout(done, 30));
            client.request("second").catch((error) => tell(error.name, "second"));""")
        self.expect(["ReplyTimeout", "first"], ["ReplyTimeout", "second"])
        self.assertEqual(self.page.evaluate("client.awaitingRepliesCount"), 0)
        peer.send_event("late", reply_to=1)
        self.expect(["listener", 1])

    def test_a_lost_connection_ends_requests_at_once(self) -> None:
        peer, _ = self.host()
        asked = self.page.start("await client.request('x')")
        peer.read_event()
        peer.send_close(4001, "go")
        peer.close()
        with self.assertRaises(JavaScriptError) as caught:
            asked.result()
        self.assertEqual(str(caught.exception), "ConnectionClosed: connection closed (4001, go)")

    def test_closing_ends_requests_and_drops_what_still_arrives(self) -> None:
        peer, _ = self.host()
        self.page.run("client.on('x', () => tell('heard'))")
        asked = self.page.start("await client.request('x')")
        peer.read_event()
        self.page.run("client.close(4002, 'bye')")
        peer.send_event("x")
        self.answer_close(peer, 4002, "bye")
        with self.assertRaises(JavaScriptError) as caught:
            asked.result()
        self.assertEqual(str(caught.exception), "ConnectionClosed: connection closed (4002, bye)")
        self.expect(["onDisconnect", 4002, "bye"])

    def test_past_the_limit_a_message_with_a_reply_is_refused_until_one_has_come(self) -> None:
        server = self.listen()
        self.connect(server.url, "{ maxAwaitingReplies: 2 }")
        self.page.run("client.send('queued', [], () => tell('replied')); client.request('question').catch(() => {})")
        text = 'TooManyReplies: event "x": maxAwaitingReplies=2 replies are still to come'
        self.assertEqual(str(self.fails("client.send('x', [], () => {})")), text)
        peer = self.accept(server)
        self.expect(["onConnect"], ["onAuthOk"])
        self.page.run("client.on('y', (args, reply) => { globalThis.reply = reply; tell('y'); })")
        peer.send_event("y")
        self.expect(["y"])
        for code in ("client.send('x', [], () => {})", "await client.request('x')", "reply('x', [], () => {})"):
            self.assertEqual(str(self.fails(code)), text)
        self.page.run("client.send('nothing'); reply('nothing')")
        for event_id in range(1, 5):
            self.assertEqual(peer.read_event().ids.event_id, event_id)
        peer.send_event("answer", reply_to=1)
        self.expect(["replied"])
        self.assertEqual(self.page.evaluate("client.send('x', [], () => {}).eventId"), 5)
        self.assertEqual(self.page.evaluate("client.awaitingRepliesCount"), 2)

    def test_a_reply_to_a_connection_that_is_gone_is_not_sent(self) -> None:
        peer, server = self.host()
        self.page.run("client.on('x', (args, reply) => { globalThis.reply = reply; tell('x'); })")
        peer.send_event("x")
        self.expect(["x"])
        peer.close()
        self.expect(["onDisconnect", 1006, ""])
        peer = self.come_back(server)
        self.assertIs(self.page.evaluate("reply('late')"), UNDEFINED)
        self.assertEqual(self.fails("await reply.request('late')").name, "ConnectionClosed")
        self.page.run("client.send('next')")
        self.assertEqual(peer.read_event(), ("next", (1, None), []))


class ReconnectTest(BrowserTestCase):
    def test_a_lost_connection_is_made_anew_with_new_ids_and_the_same_listeners(self) -> None:
        peer, server = self.host()
        self.page.run("client.on('x', (args) => tell('x', ...args)); client.send('a'); client.send('b')")
        for code in (1000, 1001, 1008, 1011, 4000):
            peer.send_close(code)
            peer.close()
            self.expect(["onDisconnect", code, ""])
            self.page.run("client.send('queued')")
            peer = self.come_back(server)
            self.assertEqual(peer.read_event(), ("queued", (1, None), []))
        peer.send_event("x", ["still here"], event_id=7)
        self.expect(["x", "still here"])

    def test_attempts_go_on_with_growing_pauses_until_somebody_is_there(self) -> None:
        port = free_port()
        self.page.run("globalThis.times = []")
        onerror = "{ onError: (error) => { times.push(performance.now()); tell(error.name, error.message); } }"
        self.connect(
            f"ws://127.0.0.1:{port}/chat?token=secret", "{ reconnectDelay: 40, reconnectDelayMax: 160 }", onerror
        )
        failed = ["ConnectionFailed", f"cannot connect to ws://127.0.0.1:{port}/chat"]
        for _ in range(5):
            name, message = self.page.told()[0]
            self.assertEqual([name, message[: len(failed[1])]], failed)
            self.assertIn("ECONNREFUSED", message)  # which ws says; a browser does not
            self.assertNotIn("secret", message)
        pauses = self.page.evaluate("times.slice(1).map((time, index) => time - times[index])")
        for pause, least in zip(pauses, (20, 40, 80, 80), strict=False):
            self.assertGreaterEqual(pause, least - 2)  # timers may be early by a millisecond
        self.serve(port=port)
        while self.page.told() != [["onAuthOk"]]:
            pass

    def test_start_does_not_wait_for_the_pause_to_end(self) -> None:
        peer, server = self.host("{ reconnectDelay: 1e9, reconnectDelayMax: 1e12 }")
        peer.close()
        self.expect(["onDisconnect", 1006, ""])
        self.page.run("client.start(); client.start()")
        self.come_back(server)

    def test_without_auto_reconnect_a_loss_ends_the_client_until_it_is_started(self) -> None:
        peer, server = self.host("{ autoReconnect: false }")
        peer.close()
        self.expect(["onDisconnect", 1006, ""])
        self.assertIs(self.page.evaluate("client.send('x')"), UNDEFINED)
        self.page.run("client.start(); client.send('y')")
        self.assertEqual(self.come_back(server).read_event(), ("y", (1, None), []))

    def test_an_attempt_that_takes_too_long_is_given_up(self) -> None:
        server = self.listen()
        self.connect(server.url, "{ connectTimeout: 30, autoReconnect: false }")
        sock = server.accept_socket()
        self.addCleanup(sock.close)
        message = f"cannot connect to {server.url}/: no connection in time"
        self.expect(["onError", "ConnectionFailed", message])

    def test_closing_while_it_connects_or_pauses_ends_it_without_a_word(self) -> None:
        self.connect(self.nobody())
        self.page.run("client.close()")
        self.connect(self.nobody(), "{ reconnectDelay: 1e9, reconnectDelayMax: 1e9 }")
        self.assertEqual(self.page.told()[0][:2], ["onError", "ConnectionFailed"])
        asked = self.page.start("await client.request('x')")
        self.page.run("client.close()")
        with self.assertRaises(JavaScriptError) as caught:
            asked.result()
        self.assertEqual(caught.exception.name, "ConnectionClosed")

    def test_a_real_server_that_is_restarted_is_found_again_and_gets_the_queue(self) -> None:
        server = self.serve()
        port = server.port
        self.ready(server.url)
        server.close()
        self.expect(["onDisconnect", 1001, "server shutdown"])
        asked = self.page.start("return (await client.request('sum', [2, 3])).args")
        eventually(lambda: self.page.evaluate("client.awaitingRepliesCount"))
        again = self.serve(port=port)
        again.on("sum", lambda client, args, reply, ids: reply("total", [sum(args)]))
        self.assertEqual(asked.result(), [5])


class UnknownInputTest(BrowserTestCase):
    ALL = "{ onMessage: (event, args, reply, ids) => tell(event, args, ids, reply('x')) }"
    IDS: Any = {"eventId": -1, "replyTo": None}  # noqa: RUF012 - never changed

    def test_malformed_messages_are_reported_and_the_connection_goes_on(self) -> None:
        peer, _ = self.host()
        self.page.run("client.on('x', () => tell('x'))")
        shapes: list[list[Any]] = [
            [], ["x"], ["x", 1], [5, 1, None], ["x", 0, None], ["x", 1.5, None], ["x", BigInt(1), None], ["x", 1, -1],
            ["x", 1, "1"], [AUTH, "key", 1], ["ezez-ws::other", 1, None], [AUTH_REJECTED], [AUTH_REJECTED, 5],
        ]  # fmt: skip
        for values in shapes:
            with self.subTest(values):
                peer.send_values(*values)
                self.assertEqual(self.page.told()[0][:2], ["onError", "MalformedMessage"])
        for data in (b"\0", b"4f\0test", b"5j\0nope!\0"):
            peer.send_message(data)
            self.assertEqual(self.page.told()[0][:2], ["onError", "MalformedMessage"])
        peer.send_message("a text is ignored")
        peer.send_values(AUTH_OK)  # as is a second answer
        peer.send_event("x", reply_to=0)
        self.expect(["x"])

    def test_malformed_messages_are_an_event_where_asked_for(self) -> None:
        peer, _ = self.host('{ unknownData: "emit" }', self.ALL)
        peer.send_message(b"\0\xff")
        self.expect(["ezez-ws:incoming:unknown-data-type", [b"\0\xff"], self.IDS, UNDEFINED])

    def test_malformed_messages_close_the_connection_where_asked_for(self) -> None:
        peer, server = self.host('{ unknownData: "close" }')
        peer.send_message(b"\0")
        self.answer_close(peer, 4002, "Malformed message")
        self.assertEqual(self.page.told()[0][:2], ["onError", "MalformedMessage"])
        self.expect(["onDisconnect", 4002, "Malformed message"])
        self.come_back(server)

    def test_text_messages_are_events_where_asked_for(self) -> None:
        name = "ezez-ws:incoming:unknown-message"
        peer, _ = self.host('{ unknownMessages: "emit" }', self.ALL)
        peer.send_message('{"a": 1}')
        self.expect([name, ['{"a": 1}'], self.IDS, UNDEFINED])
        self.forget()
        peer, _ = self.host('{ unknownMessages: "emitTryJson" }', self.ALL)
        for text, value in [('{"a": 1}', {"a": 1}), ("no JSON", "no JSON")]:
            peer.send_message(text)
            self.expect([name, [value], self.IDS, UNDEFINED])


class OptionsTest(BrowserTestCase):
    def test_wrong_options_and_callbacks_are_named(self) -> None:
        for args, text in [
            ("'ftp://x'", 'url must be a ws:, wss:, http: or https: URL, not "ftp://x"'),
            ("'/relative'", 'url must be a URL, not "/relative"'),
            ("url, { auth: 5 }", "auth must be a well-formed string"),
            ("url, { auth: '\\ud800' }", "auth must be a well-formed string"),
            ("url, { autoReconnect: 1 }", "autoReconnect must be true or false, not 1"),
            ("url, { reconnectDelay: 0 }", "reconnectDelay must be a number of milliseconds > 0, not 0"),
            ("url, { connectTimeout: Infinity }", "connectTimeout must be a number of milliseconds > 0"),
            ("url, { queueLimitBytes: 1.5 }", "queueLimitBytes must be an integer >= 1, not 1.5"),
            ("url, { sendWhenNotConnected: 'queueAfterAuth' }", "must be one of queue, ignore, throw"),
            ("url, { unknownData: 'throw' }", "unknownData must be one of ignore, emit, close"),
            ("url, { clearAwaitingRepliesAfterMs: 5 }", "a name must be one of auth, "),
            ("url, { WSConstructor: 5 }", "WSConstructor must be a WebSocket class"),
            ("url, { auth: null, reconnectAttempts: 0 }", "reconnectAttempts must be an integer >= 1, not 0"),
            ("url, { maxAwaitingReplies: null }", "maxAwaitingReplies must be an integer >= 1, not null"),
            ("url, { maxBigIntDigits: Infinity }", "maxBigIntDigits must be an integer >= 1, not Infinity"),
            ("url, undefined, { onMessage: function* () {} }", "onMessage must not be a generator function"),
            ("url, { maxDepth: 0 }", "maxDepth must be an integer from 1 to 200, not 0"),
            ("url, undefined, { onAuthOk: 5 }", "onAuthOk must be a function, not 5"),
            ("url, undefined, { onOpen() {} }", "callbacks: a name must be one of onConnect"),
            ("url, undefined, {}, {}", "write new EZEZWebSocketClient(url, options, callbacks); subprotocols is"),
            ("'nonsense?token=secret'", 'url must be a URL, not "nonsense"'),
            ("url, 'secret'", 'options must be an object, not "secret"'),
        ]:
            with self.subTest(args):
                error = self.fails(f"const url = 'ws://127.0.0.1:9'; new EZEZWebSocketClient({args})")
                self.assertEqual(error.name, "TypeError")
                self.assertIn(text, error.message)

    def test_http_addresses_are_taken_as_those_of_websockets(self) -> None:
        server = self.serve(path="/chat")
        assert server.url is not None
        self.ready(server.url.replace("ws:", "http:") + "#fragment")
        self.assertEqual(self.page.evaluate("client.client.url"), server.url)

    def test_an_address_may_be_relative_to_the_page(self) -> None:
        server = self.serve(path="/chat")
        self.page.run(f"globalThis.location = {{ href: 'http://127.0.0.1:{server.port}/page?x=1#y' }}")
        self.addCleanup(self.page.run, "delete globalThis.location")
        self.ready("/chat")
        self.assertEqual(self.page.evaluate("client.client.url"), server.url)


del BrowserTestCase  # which has no test of its own

if __name__ == "__main__":
    unittest.main()
