"""Calls between the browser module and Python: each as the caller, each as the one who is called."""

import threading
import unittest
from concurrent.futures import Future, wait
from typing import Any

from ezez_ws import (
    UNDEFINED,
    BigInt,
    CallError,
    ConnectionClosed,
    EZEZServerClient,
    RedisBackplane,
    RemoteError,
    ReplyTimeout,
    current_reply,
)
from tests.browser.page import BrowserTestCase, JavaScriptError
from tests.neutral import same
from tests.redis_server import RedisServer, needs_redis
from tests.support import eventually

SAME_ON_EVERY_PYTHON = True

FAILED = ["internal", "the handler failed", None]


class PageCallsTest(BrowserTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.errors: list[str] = []
        self.server = self.serve(on_error=lambda client, error: self.errors.append(type(error).__name__))

    def ask(self, *args: Any) -> Any:
        """Call, and return the value, or code, message and data of the ``RemoteError``."""
        given = ", ".join(str(arg) for arg in args)
        return self.page.run(f"""
            return client.call({given}).catch((error) => {{
                if (!(error instanceof RemoteError)) throw error;
                return [error.code, error.message, error.data];
            }});""")

    def raising(self, error: BaseException) -> Any:
        def handler(client: EZEZServerClient, *args: Any) -> None:
            raise error

        return handler

    def test_each_outcome_of_a_handler_is_a_value_or_an_error(self) -> None:
        def by_hand(client: EZEZServerClient) -> str:
            current_reply()("by hand", [1, 2])
            return "more"

        def later(client: EZEZServerClient, fails: bool) -> "Future[Any]":
            future: Future[Any] = Future()
            outcome = CallError("late", "at last") if fails else None
            settle = future.set_exception if fails else future.set_result
            thread = threading.Thread(target=settle, args=[outcome or [BigInt(1)]])
            thread.start()
            self.addCleanup(thread.join)
            return future

        handlers: dict[str, Any] = {
            "nothing": lambda client: None,
            "echo": lambda client, *args: list(args),
            "refuse": self.raising(CallError("sold-out", "no tea", {"left": 0})),
            "fail": self.raising(KeyError("secret")),
            "exit": self.raising(SystemExit(3)),
            "remote": self.raising(RemoteError("code", "secret")),
            "late": self.raising(ReplyTimeout("secret")),
            "unsendable": lambda client: {"a": [object()]},
            "two": lambda client, one, other: [one, other],
            "heard": lambda client: "too late",
            "by hand": by_hand,
            "later": later,
        }
        for event, handler in handlers.items():
            self.server.handler(event, handler)
        self.server.on("heard", lambda client, args, reply, ids: reply("heard", ["a listener"]))
        self.ready(self.server.url)
        rows: list[tuple[str, Any]] = [
            ("'nothing'", None),
            ("'echo', [undefined, 5n, new Uint8Array([1]).length]", [UNDEFINED, BigInt(5), 1]),
            ("'refuse'", ["sold-out", "no tea", {"left": 0}]),
            *((f"'{event}'", FAILED) for event in ("fail", "exit", "remote", "late", "unsendable")),
            ("'two', [1, 2]", [1, 2]),
            ("'heard'", "a listener"),
            ("'by hand'", [1, 2]),
            ("'later', [false]", [BigInt(1)]),
            ("'later', [true]", ["late", "at last", None]),
        ]
        for args, value in rows:
            with self.subTest(args):
                self.assertTrue(same(self.ask(args), value))
        self.assertEqual(self.ask("'two', [1]")[0], "invalid-args")
        self.assertEqual(self.ask("'two', [1, 2, 3]")[0], "invalid-args")
        told = ["KeyError", "SystemExit", "RemoteError", "ReplyTimeout", "SerializationError"]
        eventually(lambda: self.errors == told)

    def test_an_event_that_the_server_does_not_know_is_an_error_where_it_says_so(self) -> None:
        self.ready(self.serve(unknown_events="error").url)
        self.assertEqual(self.ask("'x'")[0], "unknown-event")
        self.page.run("client.send('y', [], (event, args) => tell(event, args[0].code))")
        self.expect(["ezez-ws:error", "unknown-event"])

    def test_a_handler_may_ask_back_from_whom_it_is_asked(self) -> None:
        @self.server.handler("order")
        def order(client: EZEZServerClient, what: str) -> str:
            try:
                return f"{what}: {client.call('sure?', [what], timeout=10)}"
            except RemoteError as error:
                raise CallError("refused", error.code, error.data) from None

        self.server.handler("price", lambda client, what: len(what))
        self.ready(self.server.url)
        self.page.run("""
            client.handler("sure?", async (what) => {
                if (await client.call("price", [what]) > 3) throw new CallError("dear", "too much", [what]);
                return "yes";
            });""")
        self.assertEqual(self.ask("'order', ['tea']"), "tea: yes")
        self.assertEqual(self.ask("'order', ['coffee']"), ["refused", "dear", ["coffee"]])

    def test_hundreds_of_open_calls_end_with_the_connection_that_a_handler_ends(self) -> None:
        futures: list[Future[Any]] = []
        self.addCleanup(lambda: [future.cancel() for future in futures])

        @self.server.handler("wait")
        def hold(client: EZEZServerClient, number: int) -> "Future[Any]":
            futures.append(Future())
            if number == 200:
                for future in futures[:100]:
                    future.set_result("done")
                client.disconnect(4000, "enough")
            return futures[-1]

        self.ready(self.server.url, "{ autoReconnect: false }")
        code = """
            const calls = Array.from({ length: 300 }, (_, number) => client.call("wait", [number + 1]));
            const ends = await Promise.allSettled(calls);
            const counts = {};
            for (const { value, reason } of ends) {
                const end = value ?? `${reason.name} ${reason.code}`;
                counts[end] = (counts[end] ?? 0) + 1;
            }
            return [counts, client.awaitingRepliesCount];"""
        self.assertEqual(self.page.run(code), [{"done": 100, "ConnectionClosed 4000": 200}, 0])


class ServerCallsTest(BrowserTestCase):
    HANDLERS = """
        client.handler("nothing", () => {})
            .handler("echo", async (...args) => args)
            .handler("refuse", async (...data) => { throw new CallError("no", "not now", data); })
            .handler("fail", () => { throw new RangeError("secret"); })
            .handler("unsendable", async () => [new Date()])
            .handler("heard", () => "too late")
            .on("heard", (args, reply) => reply("heard", ["a listener"]))
            .handler("never", () => new Promise(() => {}));"""

    def meet(self, **options: Any) -> EZEZServerClient:  # type: ignore[override]
        self.server = self.serve(**options)
        self.ready(self.server.url)
        self.page.run(self.HANDLERS)
        (side,) = self.server.clients
        return side

    def test_each_outcome_of_a_handler_is_a_value_or_an_exception(self) -> None:
        side = self.meet()
        self.assertIsNone(side.call("nothing", timeout=10))
        self.assertTrue(same(side.call("echo", [UNDEFINED, BigInt(5), None]), [UNDEFINED, BigInt(5), None]))
        self.assertEqual(side.call("heard", timeout=10), "a listener")
        for event, told in [
            ("refuse", ("no", "not now", [BigInt(1)])),
            ("fail", ("internal", "the handler failed", None)),
            ("unsendable", ("internal", "the handler failed", None)),
        ]:
            with self.subTest(event), self.assertRaises(RemoteError) as caught:
                side.call(event, [BigInt(1)], timeout=10)
            error = caught.exception
            self.assertTrue(same(list(told), [error.code, error.message, error.data]))
        self.assertEqual([told[1] for told in self.page.told(2)], ["RangeError", "SerializationError"])
        with self.assertRaises(ReplyTimeout):
            side.call("never", timeout=0.05)

    def test_hundreds_of_open_calls_end_with_a_page_that_goes(self) -> None:
        side = self.meet()
        futures = [side.submit("never" if number % 2 else "echo", [number]) for number in range(300)]
        wait(futures[::2], 30)
        self.page.run("client.close(4000, 'bye')")
        done = wait(futures, 30).done
        self.assertEqual(len(done), 300)
        self.assertEqual([future.result() for future in futures[::2]], [[number] for number in range(0, 300, 2)])
        for future in futures[1::2]:
            self.assertIsInstance(future.exception(), ConnectionClosed)

    def test_an_event_that_the_page_does_not_know_is_an_error_where_it_says_so(self) -> None:
        server = self.serve()
        self.ready(server.url, '{ unknownEvents: "error" }')
        (side,) = server.clients
        with self.assertRaises(RemoteError) as caught:
            side.call("what?", timeout=10)
        self.assertEqual(str(caught.exception), 'unknown-event: nobody handles "what?"')

    def test_a_proxy_calls_and_tells(self) -> None:
        side = self.meet()
        sold: list[Any] = []
        self.server.handler("price-of", lambda client, article, count=1: f"{article} x {count}")
        self.server.on("sold", lambda client, args, reply, ids: sold.append(args))
        self.page.run("globalThis.shop = client.proxy({ notices: ['sold'], timeout: 10_000 })")
        self.assertEqual(
            self.page.evaluate("[await shop.price_of('tea'), shop.sold('tea', 2)]"), ["tea x 1", UNDEFINED]
        )
        eventually(lambda: sold == [["tea", 2]])
        self.assertEqual(self.page.evaluate("client.awaitingRepliesCount"), 0)
        with self.assertRaises(JavaScriptError) as caught:
            self.page.evaluate("await shop.price_of()")
        self.assertTrue(str(caught.exception).startswith("RemoteError: "), caught.exception)
        self.assertTrue(side.alive)

    def test_each_side_waits_for_an_event_of_the_other(self) -> None:
        side = self.meet()
        running = self.page.start("""
            const next = client.waitFor("pick", { where: ({ args: [number] }) => number > 1, timeout: 30_000 });
            tell("waits");
            const { args, reply } = await next;
            reply("picked", args);
            return args;""")
        self.expect(["waits"])
        side.send("pick", [1])
        question = side.send("pick", [2])
        self.assertEqual(question.wait_reply(timeout=10).args, [2])
        self.assertEqual(running.result(), [2])

    @needs_redis
    def test_a_page_is_called_from_another_node(self) -> None:
        broker = RedisServer().start()
        self.addCleanup(broker.close)
        side = self.meet(backplane=RedisBackplane(broker.url))
        other = self.serve(backplane=RedisBackplane(broker.url))
        eventually(lambda: len(other.cluster.nodes) == 2)
        remote = other.client_at(side.address)
        self.assertEqual(remote.call("echo", [1, "two"], timeout=30), [1, "two"])
        with self.assertRaises(RemoteError) as caught:
            remote.call("refuse", ["data"], timeout=30)
        self.assertEqual((caught.exception.code, caught.exception.data), ("no", ["data"]))


del BrowserTestCase  # which has no test of its own

if __name__ == "__main__":
    unittest.main()
