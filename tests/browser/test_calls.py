"""Calls of the browser module: against a server that the test plays, real ones, and one on the reference serializer."""

import unittest
from typing import Any
from unittest.mock import ANY

from ezez_ws import UNDEFINED, BigInt
from tests.browser.page import BrowserTestCase, JavaScriptError, Running
from tests.interop.node import NodeProcess
from tests.neutral import build, same
from tests.rawpeer import RawPeer
from tests.support import eventually

SAME_ON_EVERY_PYTHON = True

OK, ERROR = "ezez-ws:ok", "ezez-ws:error"
CAUGHT = "(error) => [error.name, error.code, error.message, error.data]"
INTERNAL = {"code": "internal", "message": "the handler failed", "data": None}


class CallTestCase(BrowserTestCase):
    def asked(self, peer: RawPeer, event: str, *args: Any) -> int:
        """Expect a call, and return its id."""
        got = peer.read_event()
        self.assertEqual((got.name, got.ids[1], got.args), (event, None, list(args)))
        return got.ids[0]

    def answered(self, peer: RawPeer, question: int, event: str, *args: Any) -> None:
        """Expect the answer to an event that was sent."""
        got = peer.read_event()
        self.assertEqual((got.name, got.ids[1]), (event, question))
        self.assertTrue(same(got.args, list(args)), got.args)

    def start_call(self, peer: RawPeer, code: str = "client.call('ask')") -> tuple[Running, int]:
        running = self.page.start(f"return {code}")
        return running, peer.read_event().ids[0]

    def end_of(self, running: Running) -> JavaScriptError:
        with self.assertRaises(JavaScriptError) as caught:
            running.result()
        return caught.exception


class AnswersTest(CallTestCase):
    def test_a_reply_is_a_value_whatever_its_name(self) -> None:
        peer, _ = self.host()
        for event, args, value in [
            (OK, [5], 5),
            (OK, [None], None),
            (OK, [UNDEFINED], UNDEFINED),
            (OK, [[]], []),
            (OK, [{"a": BigInt(1)}], {"a": BigInt(1)}),
            (OK, [], None),
            (OK, [1, 2], [1, 2]),
            ("total", [], None),
            ("total", [b"\0"], b"\0"),
            ("total", [[1]], [1]),
            ("total", [1, None], [1, None]),
        ]:
            with self.subTest(event=event, args=args):
                running = self.page.start("return client.call('sum', [2, undefined])")
                peer.send_event(event, args, reply_to=self.asked(peer, "sum", 2, UNDEFINED))
                self.assertTrue(same(running.result(), value))

    def test_an_error_of_whatever_shape_is_a_remote_error(self) -> None:
        peer, _ = self.host("{}", "{ onMessage: (event) => tell(event) }")
        whole = {"code": "sold-out", "message": "no tea", "data": {"left": 0}}
        errors: list[tuple[list[Any], list[Any]]] = [
            ([whole], ["sold-out", "no tea", {"left": 0}]),
            ([{"code": "a", "message": ""}], ["a", "", None]),
            ([{"code": 5, "message": "b", "data": 1}], ["error", "b", 1]),
            ([{"code": "a", "message": None}], ["a", "", None]),
            ([{"message": "b"}], ["error", "", [{"message": "b"}]]),
            ([whole, 1], ["error", "", [whole, 1]]),
            ([404, "gone", "b"], ["error", "gone", [404, "gone", "b"]]),
            (["gone"], ["error", "gone", ["gone"]]),
            ([[whole]], ["error", "", [[whole]]]),
            ([None], ["error", "", [None]]),
            ([], ["error", "", []]),
        ]
        for args, told in errors:
            with self.subTest(args=args):
                running, question = self.start_call(peer, f"client.call('ask').catch({CAUGHT})")
                peer.send_event(ERROR, args, reply_to=question)
                self.assertEqual(running.result(), ["RemoteError", *told])
                self.expect([ERROR])

    def test_an_answer_of_very_many_arguments_is_one_too(self) -> None:
        peer, _ = self.host()
        for event, told in [(OK, [200_001]), (ERROR, [200_001, "last"])]:
            running, question = self.start_call(
                peer, "client.call('ask').then((all) => [all.length], ({ data, message }) => [data?.length, message])"
            )
            peer.send_event(event, [*[1] * 200_000, "last"], reply_to=question)
            self.assertEqual(running.result(), told)

    def test_a_remote_error_is_printed_with_its_code_and_without_control_characters(self) -> None:
        code = """
            const error = new RemoteError("a\\x1b", "b\\nc");
            return [error instanceof EZEZError, error.message, `${error}`, error.stack.split("\\n")[0]];"""
        shown = "a\\u{1b}: b\\u{a}c"
        self.assertEqual(self.page.run(code), [True, "b\nc", f"RemoteError: {shown}", f"RemoteError: {shown}"])
        self.assertEqual(self.page.evaluate("`${new CallError('a')}`"), "CallError: a")

    def test_whoever_asks_what_cannot_be_sent_gets_a_rejection(self) -> None:
        self.host()
        for args, name in [
            ("'ask', [new Date()]", "SerializationError"),
            ("'ask', 5", "TypeError"),
            ("'ezez-ws::ask'", "RangeError"),
            ("'ask', [], { timeout: 0 }", "TypeError"),
            ("'ask', [], 5", "TypeError"),
            ("'ask', [], { wait: 5 }", "TypeError"),
        ]:
            with self.subTest(args):
                caught = self.page.evaluate(f"client.call({args}).catch((error) => error.name)")
                self.assertEqual(caught, name)

    def test_a_call_that_nobody_answers_ends_with_its_time(self) -> None:
        self.host()
        error = self.fails("await client.call('ask', [1], { timeout: 20 })")
        self.assertEqual(str(error), 'ReplyTimeout: no reply to "ask" within 20 ms')
        self.connect(self.nobody(), "{ sendWhenNotConnected: 'queue' }", "{ onError: undefined }")
        error = self.fails("await client.call('ask', [1], { timeout: 20 })")
        self.assertEqual(error.name, "ReplyTimeout")
        self.assertIn("the message was still queued", error.message)
        self.page.run("client.close()")
        self.assertEqual(self.fails("await client.call('ask')").name, "NotConnected")

    def test_open_calls_end_with_their_connection_each_of_them(self) -> None:
        peer, _ = self.host()
        code = """
            const calls = Array.from({ length: 300 }, (_, number) => client.call("ask", [number]));
            const ends = await Promise.allSettled(calls);
            const kinds = ends.map(({ value, reason }) => reason ? `${reason.name} ${reason.code}` : value);
            return [...new Set(kinds), kinds.length, client.awaitingRepliesCount];"""
        running = self.page.start(code)
        for number in range(300):
            question = self.asked(peer, "ask", number)
            if number < 100:
                peer.send_event(OK, ["answered"], reply_to=question)
        peer.close()
        self.assertEqual(running.result(), ["answered", "ConnectionClosed 1006", 300, 0])

    def test_answers_are_for_who_waits_and_for_on_message_alone(self) -> None:
        peer, _ = self.host('{ unknownEvents: "error" }', "{ onMessage: (event, args) => tell(event, args) }")
        self.page.run("client.send('x', [], (event, args) => tell('onReply', event, args))")
        peer.send_event(OK, [1], reply_to=self.asked(peer, "x"))
        self.expect([OK, [1]], ["onReply", OK, [1]])
        peer.send_event(ERROR, [2], reply_to=77)  # to whom nobody waits for
        peer.send_event(OK, [3])
        self.expect([ERROR, [2]], [OK, [3]])
        for name in (OK, ERROR):
            for method in ("on", "once", "handler"):
                error = self.fails(f"client.{method}('{name}', () => {{}})")
                self.assertEqual(error.name, "RangeError")
                self.assertIn(f'event "{name}" answers a call', error.message)
            self.assertEqual(self.fails(f"await client.waitFor('{name}')").name, "RangeError")
            self.page.run(f"client.off('{name}').send('{name}', [1])")
            self.asked(peer, name, 1)
        self.assertEqual(self.page.evaluate("[EVENT_OK, EVENT_ERROR]"), [OK, ERROR])


class HandlerTest(CallTestCase):
    def test_the_outcome_of_a_handler_is_the_answer(self) -> None:
        peer, _ = self.host()
        self.page.run("""
            class Shop { price() { return 1; } }
            globalThis.outcomes = {
                add: (one, other) => one + other, nothing: () => {}, missing: () => null, several: () => [1, undefined],
                refused: () => { throw new CallError("sold-out", "no tea", [1n]); },
                short: () => { throw new CallError("sold-out"); },
                failed: () => { throw new RangeError("secret"); },
                text: () => { throw "secret"; },
                remote: () => { throw new RemoteError("code", "secret"); },
                unsendable: () => ({ when: [new Date()] }),
                unsendableData: () => { throw new CallError("a", "b", new Shop()); },
                wrong: () => { throw new CallError(5); },
            };
            for (const [name, outcome] of Object.entries(outcomes)) {
                client.handler(name, outcome).handler(`${name} later`, async (...args) => outcome(...args));
            }""")
        for event, args, answer, told in [
            ("add", [2, 3], (OK, 5), None),
            ("nothing", [], (OK, None), None),
            ("missing", [], (OK, None), None),
            ("several", [], (OK, [1, UNDEFINED]), None),
            ("refused", [], (ERROR, {"code": "sold-out", "message": "no tea", "data": [BigInt(1)]}), None),
            ("short", [], (ERROR, {"code": "sold-out", "message": "", "data": None}), None),
            ("failed", [], (ERROR, INTERNAL), ["RangeError", "secret"]),
            ("text", [], (ERROR, INTERNAL), [UNDEFINED, UNDEFINED]),
            ("remote", [], (ERROR, INTERNAL), ["RemoteError", "secret"]),
            (
                *("unsendable", [], (ERROR, INTERNAL)),
                ["SerializationError", 'args[0]["when"][0]: Date cannot be sent; give the codec a serializer for it'],
            ),
            (
                *("unsendableData", [], (ERROR, INTERNAL)),
                ["SerializationError", 'args[0]["data"]: Shop cannot be sent; give the codec a serializer for it'],
            ),
            ("wrong", [], (ERROR, INTERNAL), ["TypeError", "code must be a string, not 5"]),
        ]:
            for name in (event, f"{event} later"):
                with self.subTest(name):
                    self.answered(peer, peer.send_event(name, args), *answer)
                    if told:
                        self.expect(["onError", *told])

    def test_what_fails_is_printed_with_the_name_of_the_event(self) -> None:
        peer, _ = self.host("{}", "{ onError: undefined }")
        self.print()
        self.page.run("client.handler('x', () => { throw new RangeError('no'); })")
        self.answered(peer, peer.send_event("x"), ERROR, INTERNAL)
        self.expect(["error", 'ezez-ws: the handler of "x" has failed:', "RangeError: no"])

    def test_it_runs_after_the_listeners_and_does_not_answer_what_has_been_answered(self) -> None:
        callbacks = "{ onMessage: (event, args, reply) => event === 'everything' && reply('by onMessage') }"
        peer, _ = self.host("{}", callbacks)
        self.page.run("""
            client.handler("x", (...args) => { tell("handler", args); return "by the handler"; });
            client.on("x", (args, reply) => { tell("listener"); if (args[0]) reply(args[0]); });
            client.handler("meanwhile", () => new Promise((resolve) => { globalThis.go = resolve; }));
            client.on("meanwhile", (args, reply) => { globalThis.reply = reply; tell("waits"); });
            client.handler("everything", () => { throw new CallError("a"); });""")
        for args, answer in [([], (OK, "by the handler")), (["by hand"], ("by hand",)), (["sum"], ("sum",))]:
            self.answered(peer, peer.send_event("x", args), *answer)
            self.expect(["listener"], ["handler", args])
        self.answered(peer, peer.send_event("everything"), "by onMessage")
        question = peer.send_event("meanwhile")
        self.expect(["waits"])
        self.page.run("reply('first'); go('too late')")
        self.answered(peer, question, "first")
        self.answered(peer, peer.send_event("x"), OK, "by the handler")  # and nothing else had been sent

    def test_it_may_call_back_while_it_is_called(self) -> None:
        server = self.serve()

        @server.on("order")
        def order(client: Any, args: Any, reply: Any, ids: Any) -> None:
            sure = client.send("sure?", args).wait_reply(timeout=10)
            reply(OK, [[sure.event, *sure.args]])

        server.on("price", lambda client, args, reply, ids: reply(OK, [len(args[0])]))
        self.ready(server.url)
        self.page.run("client.handler('sure?', async (what) => await client.call('price', [what]) < 4)")
        self.assertEqual(self.page.evaluate("client.call('order', ['tea'])"), [OK, True])
        self.assertEqual(self.page.evaluate("client.call('order', ['coffee'])"), [OK, False])

    def test_calls_at_once_from_both_sides_get_their_own_answers(self) -> None:
        server = self.serve()
        server.on("double", lambda client, args, reply, ids: reply(OK, [2 * args[0]]))
        self.ready(server.url)
        (side,) = server.clients
        self.page.run("client.handler('triple', async (number) => 1.5 * await client.call('double', [number]))")
        code = """
            const numbers = Array.from({ length: 200 }, (_, number) => number);
            const values = await Promise.all(numbers.map((number) => client.call("double", [number])));
            return values.every((value, number) => value === 2 * number);"""
        running = self.page.start(code)
        answers = [side.send("triple", [number]) for number in range(200)]
        values = [message.wait_reply(timeout=30).args for message in answers]
        self.assertEqual(values, [[3 * number] for number in range(200)])
        self.assertIs(running.result(), True)

    def test_it_outlives_a_reconnect_and_its_late_answer_goes_nowhere(self) -> None:
        peer, server = self.host()
        self.page.run("""
            client.handler("wait", () => new Promise((resolve) => { globalThis.go = resolve; tell("waits"); }));
            client.handler("ready", () => "yes");""")
        peer.send_event("wait")
        self.expect(["waits"])
        peer.close()
        self.expect(["onDisconnect", 1006, ""])
        peer = self.come_back(server)
        self.page.run("go('late')")
        self.answered(peer, peer.send_event("ready", event_id=1), OK, "yes")

    def test_a_reply_that_is_awaited_is_not_handled(self) -> None:
        peer, _ = self.host()
        self.page.run("client.handler('total', (sum) => { tell('handled', sum); })")
        running, question = self.start_call(peer)
        peer.send_event("total", [5], reply_to=question)
        self.assertEqual(running.result(), 5)
        self.answered(peer, peer.send_event("total", [6]), OK, None)
        self.expect(["handled", 6])

    def test_there_is_one_for_an_event_until_it_is_removed(self) -> None:
        peer, _ = self.host()
        self.page.run("globalThis.first = () => 1; client.handler('x', first).on('x', () => tell('listener'))")
        error = self.fails("client.handler('x', () => 2)")
        self.assertEqual(str(error), 'RangeError: event "x" has a handler already; off("x") removes it')
        self.page.run("client.off('x', () => {})")
        self.answered(peer, peer.send_event("x"), OK, 1)
        self.expect(["listener"])
        self.page.run("client.off('x', first).handler('x', () => 2)")
        self.answered(peer, peer.send_event("x"), OK, 2)
        self.expect(["listener"])
        self.page.run("client.off('x').handler('y', () => 3)")
        peer.send_event("x")
        self.answered(peer, peer.send_event("y"), OK, 3)

    def test_what_is_no_function_is_refused(self) -> None:
        for args, text in [
            ("'x'", "TypeError: handler must be a function, not undefined"),
            ("'x', function* () {}", "TypeError: handler must not be a generator function, whose body a call does"),
            ("5, () => {}", "TypeError: event must be a string, not 5"),
            ("'ezez-ws::x', () => {}", 'RangeError: event "ezez-ws::x": names that start with'),
        ]:
            with self.subTest(args):
                self.connect(self.nobody())
                self.assertIn(text, str(self.fails(f"client.handler({args})")))


class UnknownEventsTest(CallTestCase):
    def test_an_event_that_nobody_hears_is_answered_by_an_error_where_asked_for(self) -> None:
        peer, _ = self.host('{ unknownEvents: "error", unknownMessages: "emit" }')
        self.page.run("""
            client.on("x", () => {}).once("y", () => {}).handler("z", () => 1);
            client.waitFor("w", { where: () => false }).catch(() => {});""")
        for event in ("x", "y", "w", OK, ERROR):
            peer.send_event(event)
        peer.send_event("late", reply_to=77)
        peer.send_message("text")
        self.answered(peer, peer.send_event("z"), OK, 1)  # the first thing that is answered
        for event, shown in [("y", "y"), ("q\x1b", "q\\u001b")]:
            error = {"code": "unknown-event", "message": f'nobody handles "{shown}"', "data": None}
            self.answered(peer, peer.send_event(event), ERROR, error)

    def test_else_it_is_ignored_and_on_message_hears_of_everything(self) -> None:
        for options, callbacks in [("{}", "{}"), ('{ unknownEvents: "error" }', "{ onMessage: () => {} }")]:
            peer, _ = self.host(options, callbacks)
            self.page.run("client.handler('z', () => 1)")
            peer.send_event("x")
            self.answered(peer, peer.send_event("z"), OK, 1)
            self.forget()


class WaitForTest(CallTestCase):
    def test_the_next_event_that_is_meant_is_what_it_resolves_to_and_others_hear_of_it_too(self) -> None:
        peer, _ = self.host()
        self.page.run("""
            client.on("said", ([text]) => tell("listener", text));
            const where = ({ event, args: [text], ids }) => event === "said" && text === "tea" && ids.replyTo === null;
            globalThis.next = client.waitFor("said");
            globalThis.tea = client.waitFor("said", { where, timeout: 60_000 });
            client.off("said", where);""")
        for text in ("coffee", "tea", "tea"):
            peer.send_event("said", [text])
            self.expect(["listener", text])
        code = """
            const [first, second] = [await next, await tea];
            second.reply("thanks");
            return [first.event, first.args, second.event, second.args, second.ids];"""
        told = ["said", ["coffee"], "said", ["tea"], {"eventId": 2, "replyTo": None}]
        self.assertEqual(self.page.run(code), told)
        self.answered(peer, 2, "thanks")

    def test_it_waits_for_the_connection_and_is_not_removed_with_the_listeners(self) -> None:
        server = self.listen()
        self.connect(server.url)
        self.page.run("globalThis.next = client.waitFor('x'); client.on('x', () => {}).off('x')")
        self.accept(server, auth=False).close()  # which never was one
        self.expect(["onConnect"])
        self.assertEqual(self.page.told(2)[1], ["onError", "ConnectionFailed", ANY])
        self.come_back(server).send_event("x", [5])
        self.assertEqual(self.page.evaluate("(await next).args"), [5])

    def test_it_ends_with_its_time_its_connection_and_an_error_of_where(self) -> None:
        peer, server = self.host()
        self.assertEqual(
            str(self.fails("await client.waitFor('x', { timeout: 20 })")), 'ReplyTimeout: no event "x" within 20 ms'
        )
        self.page.run("""
            globalThis.next = client.waitFor("x", { where: () => { throw new RangeError("no"); } });
            next.catch(() => {});""")
        peer.send_event("x")
        self.assertEqual(str(self.fails("await next")), "RangeError: no")
        running = self.page.start("tell('started'); await client.waitFor('x')")
        self.expect(["started"])
        peer.close()
        self.assertEqual(str(self.end_of(running)), "ConnectionClosed: connection closed (1006)")
        self.expect(["onDisconnect", 1006, ""])
        self.come_back(server)
        running = self.page.start("tell('started'); await client.waitFor('x')")
        self.expect(["started"])
        self.page.run("client.close(4000, 'bye')")
        self.assertEqual(str(self.end_of(running)), "ConnectionClosed: connection closed (4000, bye)")
        self.assertEqual(self.fails("await client.waitFor('x')").name, "NotConnected")

    def test_it_ends_at_once_where_the_client_has_ended_by_itself(self) -> None:
        self.connect(self.nobody(), "{ autoReconnect: false }")
        self.page.run("globalThis.next = client.waitFor('x'); next.catch(() => {})")
        self.assertEqual(self.page.told()[0][:2], ["onError", "ConnectionFailed"])
        for code in ("await next", "await client.waitFor('x')"):
            self.assertIn("cannot connect", str(self.fails(code)))

    def test_wrong_options_are_named(self) -> None:
        self.host()
        for args, text in [
            ("'x', { timeout: -1 }", "timeout must be a number of milliseconds > 0, not -1"),
            ("'x', { where: 5 }", "where must be a function, not 5"),
            ("'x', { when: 5 }", "options: a name must be one of timeout, where"),
            ("5", "event must be a string, not 5"),
        ]:
            with self.subTest(args):
                self.assertIn(text, self.fails(f"await client.waitFor({args})").message)


class ProxyTest(CallTestCase):
    def test_its_methods_are_calls_named_as_events_are(self) -> None:
        peer, _ = self.host()
        self.page.run("globalThis.shop = client.proxy({ events: { price: 'shop.price' } })")
        methods: list[tuple[str, str, list[Any]]] = [
            ("shop.price('tea')", "shop.price", ["tea"]),
            ("shop.price_of('tea', 2)", "price-of", ["tea", 2]),
            ("shop.all()", "all", []),
            ("(() => { const { name } = shop; return name(undefined, 1); })()", "name", [UNDEFINED, 1]),
        ]
        for code, event, args in methods:
            with self.subTest(code):
                running = self.page.start(f"return {code}")
                peer.send_event(OK, [event], reply_to=self.asked(peer, event, *args))
                self.assertEqual(running.result(), event)
        running, question = self.start_call(peer, f"shop.price('tea').catch({CAUGHT})")
        peer.send_event(ERROR, [{"code": "sold-out", "message": "no tea", "data": 1}], reply_to=question)
        self.assertEqual(running.result(), ["RemoteError", "sold-out", "no tea", 1])

    def test_notices_are_sent_and_return_nothing(self) -> None:
        peer, _ = self.host()
        self.page.run("globalThis.shop = client.proxy({ notices: ['sold_out'], events: { sold_out: 'gone' } })")
        self.assertEqual(self.page.evaluate("[shop.sold_out('tea'), client.awaitingRepliesCount]"), [UNDEFINED, 0])
        self.asked(peer, "gone", "tea")
        self.assertEqual(self.fails("shop.sold_out(new Date())").name, "SerializationError")

    def test_the_silence_after_a_notice_that_is_not_named_as_one_is_no_error(self) -> None:
        peer, _ = self.host()
        self.page.run("""
            globalThis.shop = client.proxy({ timeout: 20 });
            shop.sold("tea");
            globalThis.late = shop.sold("coffee");""")
        self.asked(peer, "sold", "tea")
        self.asked(peer, "sold", "coffee")
        eventually(lambda: self.page.evaluate("client.awaitingRepliesCount") == 0)
        self.assertEqual(str(self.fails("await late")), 'ReplyTimeout: no reply to "sold" within 20 ms')
        self.page.run("client.proxy().sold('tea'); client.close(); setTimeout(() => tell('end'))")
        self.expect(["end"])  # nothing was told as unhandled

    def test_an_error_that_nobody_awaits_is_an_unhandled_rejection(self) -> None:
        peer, _ = self.host()
        self.page.run("client.proxy().price('tea'); 0")
        peer.send_event(ERROR, [{"code": "a", "message": "b"}], reply_to=self.asked(peer, "price", "tea"))
        self.expect(["unhandled", "RemoteError: a: b"])

    def test_it_can_be_awaited_and_printed_without_a_call(self) -> None:
        peer, _ = self.host()
        code = """
            const shop = await (async () => client.proxy())();
            JSON.stringify([shop, { shop }]);
            return [`${shop}`, typeof shop.then, typeof shop._x, typeof shop.$$x, typeof shop[Symbol.iterator],
                shop.price === shop.price, typeof shop.price];"""
        self.assertEqual(self.page.run(code), ["[object Object]", *["undefined"] * 4, True, "function"])
        self.page.run("client.send('end')")
        self.asked(peer, "end")

    def test_wrong_options_are_named(self) -> None:
        self.host()
        for options, text in [
            ("{ timeout: 0 }", "timeout must be a number of milliseconds > 0, not 0"),
            ("{ notices: 'sold' }", 'notices must be an array of the names of methods, not "sold"'),
            ("{ notices: [5] }", "notices must be an array of the names of methods"),
            ("{ events: ['sold'] }", "events must be an object of the events of methods, not Array"),
            ("{ events: { sold: 5 } }", "event must be a string, not 5"),
            ("{ events: { sold: 'ezez-ws::x' } }", 'names that start with "ezez-ws::" belong to the protocol'),
            ("{ notice: [] }", "options: a name must be one of timeout, notices, events"),
        ]:
            with self.subTest(options):
                self.assertIn(text, self.fails(f"client.proxy({options})").message)


class ForeignServerTest(CallTestCase):
    """Against ``ws`` with the reference serializer, which knows nothing of calls."""

    def setUp(self) -> None:
        super().setUp()
        self.node = NodeProcess("node_server.mjs", "0", "secret")
        self.addCleanup(self.node.stop)
        self.ready(f"ws://127.0.0.1:{self.node.next('listening')['listening']}")

    def test_it_answers_calls_by_hand(self) -> None:
        code = """
            const answers = [
                ["ezez-ws:ok", 5n], ["ezez-ws:ok", null], ["total", 1, undefined], ["nothing"],
                ["ezez-ws:error", { code: "a", message: "b", data: [1n] }], ["ezez-ws:error", "b"], ["ezez-ws:error"],
            ];
            const shown = (error) => [error.code, error.message, error.data];
            return Promise.all(answers.map((answer) => client.call("answer as", answer).catch(shown)));"""
        told = [
            BigInt(5),
            None,
            [1, UNDEFINED],
            None,
            ["a", "b", [BigInt(1)]],
            ["error", "b", ["b"]],
            ["error", "", []],
        ]
        self.assertTrue(same(self.page.run(code), told))

    def test_it_is_answered_by_handlers(self) -> None:
        self.page.run("""
            client.handler("add", (...numbers) => numbers.reduce((one, other) => one + other, 0n));
            client.handler("refuse", async (...data) => { throw new CallError("a", "b", data); });
            client.handler("fail", () => { throw new RangeError("secret"); });""")
        refused = {"code": "a", "message": "b", "data": [BigInt(2)]}
        for event, answer, value in [
            ("add", OK, BigInt(2)),
            ("refuse", ERROR, refused),
            ("fail", ERROR, INTERNAL),
        ]:
            self.node.tell("ask", event=event, args=[["big", "2"]])
            told = self.node.next("answer")
            self.assertEqual(told["answer"], answer)
            self.assertTrue(same([build(argument) for argument in told["args"]], [value]))
        self.expect(["onError", "RangeError", "secret"])


del BrowserTestCase, CallTestCase  # which have no test of their own

if __name__ == "__main__":
    unittest.main()
