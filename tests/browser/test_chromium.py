"""The browser module in a real Chromium: what it does where Node and ``ws`` are not a browser."""

import http.server
import threading
import unittest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ezez_ws import CallError, EZEZServerClient, EZEZWebsocketServer, RemoteError, browser
from tests.browser.chromium import ChromiumTestCase
from tests.support import free_port

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Page

MAY_RUN_BESIDE = True
SAME_ON_EVERY_PYTHON = True

HEAD = 'const { CallError, Codec, EZEZWebSocketClient } = await import("/ezez-ws.js");'


class Pages(http.server.BaseHTTPRequestHandler):
    """An empty page, and the module."""

    def do_GET(self) -> None:
        name = Path(self.path).name
        is_module = name == "ezez-ws.js"
        body = (browser.PATH / name).read_bytes() if is_module else b"<!doctype html><link rel=icon href=data:,>"
        self.send_response(200)
        self.send_header("Content-Type", "text/javascript" if is_module else "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class ChromiumTest(ChromiumTestCase):
    def setUp(self) -> None:
        web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
        thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(web.server_close)
        self.addCleanup(web.shutdown)
        self.url = f"http://127.0.0.1:{web.server_port}/"

    def serve(self, **options: Any) -> EZEZWebsocketServer:
        server = EZEZWebsocketServer(port=0, **options)
        self.addCleanup(server.close)
        server.start()
        return server

    def page_with_console(self) -> "tuple[Page, list[tuple[str, str]]]":
        """Open a page; what the module prints there goes into a list."""
        page = self.open(self.url)
        printed: list[tuple[str, str]] = []

        def note(message: "ConsoleMessage") -> None:
            if "ezez-ws:" in message.text:  # the browser prints lines of its own
                printed.append((message.type, message.text))

        page.on("console", note)
        return page, printed

    def run_on(self, page: "Page", code: str, *args: Any) -> Any:
        return page.evaluate(f"async (args) => {{ {HEAD} {code} }}", args)

    def test_a_fresh_key_is_asked_for_and_what_on_auth_ok_sends_overtakes_the_queue(self) -> None:
        heard: list[str] = []
        server = self.serve(on_auth_request=lambda client, key: key == "token 2", subprotocols=["chat"])
        server.on("join", lambda client, args, reply, ids: heard.append("join"))

        @server.on("say")
        def say(client: Any, args: Any, reply: Any, ids: Any) -> None:
            heard.append("say")
            reply("said", args)

        code = """
            let asked = 0;
            const told = [];
            const client = new EZEZWebSocketClient(async () => args[0], {
                auth: () => fetch("/").then(() => `token ${++asked}`), subprotocols: ["chat"],
            }, {
                onAuthOk: () => client.send("join"),
                onAuthRejected: () => told.push("rejected"),
                onDisconnect: (code, reason) => told.push(code, reason),
            });
            const { args: [large] } = await client.request("say", [10n ** 4000n]);
            const end = [asked, client.subprotocol, large === 10n ** 4000n, ...told];
            client.close();
            return end;"""
        result = self.run_on(self.open(self.url), code, server.url)
        self.assertEqual(result, [2, "chat", True, 1008, "Invalid auth key"])
        self.assertEqual(heard, ["join", "say"])

    def test_attempts_that_fail_and_giving_up_are_warnings_in_the_console(self) -> None:
        page, printed = self.page_with_console()
        code = """
            const options = { reconnectAttempts: 2, reconnectDelay: 1 };
            const client = new EZEZWebSocketClient(args[0] + "?secret", options);
            return client.request("x").catch((error) => [error.name, error.message, error.cause.name]);"""
        where = f"ws://127.0.0.1:{free_port()}/chat"
        text = f"cannot connect to {where}"  # a browser does not say why
        error = ["ConnectionClosed", f"connection closed (1006, {text})", "ConnectionFailed"]
        self.assertEqual(self.run_on(page, code, where), error)
        goes_on = f"ezez-ws: {text}; the client goes on after 1 failed attempt"
        gives_up = f"ezez-ws: {text}; the client gives up after 2 failed attempts"
        self.assertEqual(printed, [("warning", goes_on), ("warning", gives_up)])

    def test_an_error_in_a_listener_is_in_the_console_with_its_stack(self) -> None:
        server = self.serve(on_auth_request=lambda client, key: True)
        server.on("start", lambda client, args, reply, ids: client.send("news"))
        page, printed = self.page_with_console()
        code = """
            const client = new EZEZWebSocketClient(args[0]);
            client.on("news", function failing() { setTimeout(() => globalThis.done()); throw new RangeError("no"); });
            client.on("*", () => {}).on("*", () => {});
            client.send("start");
            await new Promise((done) => { globalThis.done = done; });
            client.close();"""
        self.run_on(page, code, server.url)
        (warning, error) = printed
        self.assertEqual(warning[0], "warning")
        self.assertIn('on("*") listens to', warning[1])
        self.assertEqual(error[0], "error")
        self.assertRegex(error[1], r'^ezez-ws: a listener of "news" has failed: RangeError: no\n +at .*failing')

    def test_calls_are_answered_by_what_a_function_returns_or_throws_on_both_sides(self) -> None:
        server = self.serve(on_auth_request=lambda client, key: True)

        @server.handler("price-of")
        def price_of(client: EZEZServerClient, article: str) -> float:
            try:
                client.call("sure?", [article], timeout=10)
            except RemoteError as error:
                raise CallError("refused", error.message, error.data) from None
            return 4.5

        code = """
            const client = new EZEZWebSocketClient(args[0]);
            client.handler("sure?", async (article) => {
                await new Promise((done) => setTimeout(done));
                if (article !== "tea") throw new CallError("no", `${article}?`, [article]);
            });
            const shop = client.proxy({ timeout: 10_000 });
            shop.sold("tea"); // a notice, which nobody answers
            const price = await shop.price_of("tea");
            const error = await shop.price_of("mud").catch((error) => error);
            client.close();
            return [price, error.name, error.code, error.message, error.data, `${error}`];"""
        told = [4.5, "RemoteError", "refused", "mud?", ["mud"], "RemoteError: refused: mud?"]
        page, printed = self.page_with_console()
        self.assertEqual(self.run_on(page, code, server.url), told)
        self.assertEqual(printed, [])

    def test_what_is_sent_to_a_room_meanwhile_comes_after_a_reconnect_or_is_told_to_be_missed(self) -> None:
        code = """
            const told = [];
            const client = new EZEZWebSocketClient(args[0], { recover: true, reconnectDelay: 50 }, {
                onMissed: (rooms) => told.push(["missed", ...rooms]),
            });
            client.on("said", ([text]) => told.push(text));
            client.send("go");
            const ends = Date.now() + 15_000;
            while (told.length < 2 && Date.now() < ends) {
                await new Promise((done) => setTimeout(done, 5));
            }
            const end = [told, client.rooms];
            client.close();
            return end;"""
        for limit, meanwhile in ((1 << 20, "away"), (1, ["missed", "*", "lobby"])):
            with self.subTest(limit=limit):
                url = self.serve_lobby(limit).url
                self.assertEqual(self.run_on(self.open(self.url), code, url), [["here", meanwhile], ["lobby"]])

    def serve_lobby(self, limit: int) -> EZEZWebsocketServer:
        """Start a server that sends a client away, and says something as soon as it has gone."""
        server: EZEZWebsocketServer = self.serve(
            on_auth_request=lambda client, key: True,
            on_auth_ok=lambda client: client.join("lobby"),
            on_disconnect=lambda client, code, reason: server.to("lobby").send("said", ["away"]),
            history_limit_bytes=limit,
        )

        @server.on("go")
        def go(client: Any, args: Any, reply: Any, ids: Any) -> None:
            server.to("lobby").send("said", ["here"])
            client.disconnect(4000, "come back")

        return server


if __name__ == "__main__":
    unittest.main()
