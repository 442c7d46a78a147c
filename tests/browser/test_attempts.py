"""The browser module's attempts to connect: address and key that are asked for, fresh keys, and giving up."""

import unittest
from typing import Any

from ezez_ws.messages.protocol import AUTH, AUTH_OK, AUTH_REJECTED
from tests.browser.page import BrowserTestCase, JavaScriptError
from tests.support import free_port

MOSTLY_WAITS = True
SAME_ON_EVERY_PYTHON = True


class AskedTest(BrowserTestCase):
    def test_address_and_key_are_asked_for_before_each_attempt(self) -> None:
        server = self.serve(on_auth_request=lambda client, key: key.startswith("key "))
        self.page.run(f"""
            globalThis.asked = 0;
            connect(() => "{server.url}/" + asked, {{ auth: async () => (await null, `key ${{++asked}}`) }})""")
        self.addCleanup(self.forget)
        for number in (1, 2, 3):
            self.expect(["onConnect"], ["onAuthOk"])
            self.assertEqual(self.page.evaluate("asked"), number)
            (side,) = server.clients
            self.assertEqual(side.request.path, f"/{number - 1}")
            side.disconnect(4000)
            self.expect(["onDisconnect", 4000, ""])

    def test_a_function_may_use_the_client_which_is_made_by_then(self) -> None:
        server = self.serve()
        self.connect(server.url, "{ auth: () => client.alive ? 'no' : 'secret' }")
        self.expect(["onConnect"], ["onAuthOk"])

    def test_an_address_that_is_promised_may_be_relative_or_a_url(self) -> None:
        server = self.serve()
        self.page.run(f"globalThis.location = {{ href: 'http://127.0.0.1:{server.port}/page' }}")
        self.addCleanup(self.page.run, "delete globalThis.location")
        for url in ("async () => '/ws'", "() => new URL('/ws', location.href)"):
            self.page.run(f"connect({url})")
            self.expect(["onConnect"], ["onAuthOk"])
            self.assertEqual(self.page.evaluate("client.client.url"), f"{server.url}/ws")
            self.forget()

    def test_one_that_throws_or_returns_nonsense_is_a_failed_attempt_with_its_error_as_the_cause(self) -> None:
        server = self.serve()
        onerror = "{ onError: (error) => tell(error.name, error.message, String(error.cause)) }"
        where = f"cannot connect to {server.url}/: auth() failed: "
        for asked, message, cause in [
            ("() => { throw new RangeError('no token') }", "RangeError: no token", "RangeError: no token"),
            ("async () => { throw new Error('no\\x1b[2J') }", "Error: no\\u{1b}[2J", "Error: no\x1b[2J"),
            ("() => null", "TypeError: auth must be a well-formed string, not null", None),
            (
                "() => '\\ud800secret'",
                "TypeError: auth must be a well-formed string, not one with a lone surrogate",
                None,
            ),
        ]:
            with self.subTest(asked):
                self.connect(server.url, f"{{ auth: {asked}, autoReconnect: false }}", onerror)
                self.expect(["ConnectionFailed", where + message, cause or message])
        self.page.run(f"connect(() => 'ftp://x', {{ autoReconnect: false }}, {onerror})")
        text = 'TypeError: url must be a ws:, wss:, http: or https: URL, not "ftp://x"'
        self.expect(["ConnectionFailed", f"cannot connect: url() failed: {text}", text])

    def test_after_one_that_has_failed_the_next_attempt_asks_again(self) -> None:
        server = self.serve()
        asked = "() => { if (++asked < 3) throw new Error('not yet'); return 'secret'; }"
        self.page.run("globalThis.asked = 0")
        self.connect(server.url, f"{{ auth: {asked} }}")
        failed = ["onError", "ConnectionFailed", f"cannot connect to {server.url}/: auth() failed: Error: not yet"]
        self.expect(failed, failed, ["onConnect"], ["onAuthOk"])

    def test_one_that_takes_too_long_is_a_failed_attempt_and_its_late_answer_is_dropped(self) -> None:
        server = self.listen()
        self.connect(
            server.url,
            "{ auth: () => new Promise((done) => { globalThis.answer = done; }), connectTimeout: 30 }",
            "{ onError: (error) => { client.close(); answer('late'); tell(error.message); } }",
        )
        why = "neither url() nor auth() may take longer than connectTimeout"
        self.expect([f"cannot connect to {server.url}/: {why}"])
        server.sock.settimeout(0.1)
        self.assertRaises(TimeoutError, server.accept_socket)

    def test_closing_while_it_asks_ends_it_without_a_word(self) -> None:
        server = self.listen()
        self.connect(server.url, "{ auth: () => new Promise((done) => { globalThis.answer = done; }) }")
        asked = self.page.start("await client.request('x')")
        self.assertIsNone(self.page.evaluate("client.client"))
        self.page.run("client.close(); answer('late')")
        with self.assertRaises(JavaScriptError) as caught:
            asked.result()
        self.assertEqual(caught.exception.name, "ConnectionClosed")
        server.sock.settimeout(0.1)
        self.assertRaises(TimeoutError, server.accept_socket)


class RejectedTest(BrowserTestCase):
    def test_a_key_that_has_expired_is_followed_by_a_fresh_one(self) -> None:
        valid = ["first"]
        server = self.serve(on_auth_request=lambda client, key: key in valid)
        server.on("sum", lambda client, args, reply, ids: reply("total", [sum(args)]))
        self.page.run("globalThis.keys = ['first', 'first', 'second', 'second', 'third']")
        self.connect(server.url, "{ auth: () => keys.shift() }")
        self.expect(["onConnect"], ["onAuthOk"])
        for key in ("second", "third"):
            valid[0] = key
            server.clients[0].disconnect(4000)
            self.expect(["onDisconnect", 4000, ""])
            asked = self.page.start("return (await client.request('sum', [2, 3])).args")
            self.expect(["onConnect"], ["onDisconnect", 1008, "Invalid auth key"], ["onConnect"], ["onAuthOk"])
            self.assertEqual(asked.result(), [5])  # what was queued has waited for the fresh key

    def test_a_fresh_key_that_is_rejected_too_ends_it(self) -> None:
        server = self.serve()
        self.page.run("globalThis.asked = 0")
        self.connect(server.url, "{ auth: () => `wrong ${++asked}` }")
        queued = self.page.start("await client.request('x')")
        reason = "Invalid auth key"
        self.expect(
            ["onConnect"], ["onDisconnect", 1008, reason],
            ["onConnect"], ["onAuthRejected", reason], ["onDisconnect", 1008, reason],
        )  # fmt: skip
        with self.assertRaises(JavaScriptError) as caught:
            queued.result()
        self.assertEqual(str(caught.exception), f"ConnectionClosed: connection closed (1008, {reason})")
        self.assertEqual(self.page.evaluate("asked"), 2)
        self.page.run("client.reconnect()")  # which may be worth a fresh key again
        self.expect(["onConnect"], ["onDisconnect", 1008, reason], ["onConnect"], ["onAuthRejected", reason])
        self.assertEqual(self.page.evaluate("asked"), 4)

    def test_without_authentication_a_rejection_stops_the_client(self) -> None:
        server = self.listen()
        self.connect(server.url, "{ auth: null }")
        self.print()
        peer = self.accept(server, auth=False)
        self.expect(["onConnect"])
        asked = self.page.start("await client.request('x')")
        self.assertEqual(peer.read_event().name, "x")
        peer.send_values(AUTH_OK)  # says nothing new
        peer.send_values(AUTH_REJECTED, "Auth timeout\x1b[2J")
        reason = "Auth timeout\\u{1b}[2J"
        self.expect(
            ["warn", f"ezez-ws: {server.url}/ wants a key, and auth is null ({reason}); the client stops"],
            ["onAuthRejected", "Auth timeout\x1b[2J"],
        )
        with self.assertRaises(JavaScriptError) as caught:
            asked.result()
        self.assertEqual(str(caught.exception), f"ConnectionClosed: connection closed (1008, {reason})")
        self.assertIs(self.page.evaluate("client.alive"), False)
        peer.send_close(1008)
        peer.close()
        self.expect(["onDisconnect", 1008, ""])
        server.sock.settimeout(0.2)  # the client is in a hurry
        self.assertRaises(TimeoutError, server.accept_socket)

    def test_closing_a_client_that_is_rejected_does_not_wait_for_the_server(self) -> None:
        server = self.listen()
        self.connect(server.url, "{ auth: () => 'old' }")
        peer = self.accept(server, auth=False)
        self.assertEqual(peer.read_values(), [AUTH, "old", 1])
        peer.send_values(AUTH_REJECTED, "no")
        self.expect(["onConnect"])
        self.page.run("""
            let error = { message: "" };
            while (!error.message.includes("the server rejects the key (no)")) {
                error = await client.request("x", [], { timeout: 1 }).catch((error) => error);
            }
            client.close(4001);""")
        self.answer_close(peer, 4001, "")
        self.expect(["onDisconnect", 4001, ""])


class GivingUpTest(BrowserTestCase):
    CALLBACKS = """{
        onError: () => tell("failed"),
        onGaveUp: (error) => tell("gave up", error.name, error.message.split(":", 1)[0], client.client),
    }"""

    GAVE_UP: Any = ["gave up", "ConnectionFailed", "cannot connect to ws", None]  # noqa: RUF012 - never changed

    def test_after_so_many_attempts_it_gives_up_and_what_waits_is_told(self) -> None:
        url = self.nobody()
        self.connect(url, "{ reconnectAttempts: 3 }", self.CALLBACKS)
        queued = self.page.start("await client.request('x')")
        self.expect(["failed"], ["failed"], ["failed"], self.GAVE_UP)
        with self.assertRaises(JavaScriptError) as caught:
            queued.result()
        self.assertIn(f"ConnectionClosed: connection closed (1006, cannot connect to {url}", str(caught.exception))
        code = "return (await client.request('x').catch((error) => error)).cause.name"
        self.assertEqual(self.page.run(code), "ConnectionFailed")

    def test_reconnect_tries_again_after_that_as_often(self) -> None:
        port = free_port()
        url = f"ws://127.0.0.1:{port}"
        self.connect(url, "{ reconnectAttempts: 2 }", self.CALLBACKS)
        self.expect(["failed"], ["failed"], self.GAVE_UP)
        self.page.run("client.reconnect()")
        self.expect(["failed"], ["failed"], self.GAVE_UP)
        server = self.serve(port=port)
        self.page.run("client.reconnect(); client.reconnect()")
        self.expect(["onConnect"], ["onAuthOk"])
        self.page.run("client.reconnect()")
        self.assertEqual(len(server.clients), 1)
        self.page.run("client.close()")
        self.expect(["onDisconnect", 1000, ""])
        self.assertEqual(self.fails("client.reconnect()").name, "NotConnected")

    def test_reconnect_does_not_wait_for_the_pause_to_end(self) -> None:
        peer, server = self.host("{ reconnectDelay: 1e9, reconnectDelayMax: 1e9 }")
        peer.close()
        self.expect(["onDisconnect", 1006, ""])
        self.page.run("client.reconnect()")
        self.come_back(server)

    def test_each_authentication_begins_the_count_anew(self) -> None:
        port = free_port()
        self.connect(f"ws://127.0.0.1:{port}", "{ reconnectAttempts: 2 }", self.CALLBACKS)
        self.expect(["failed"])
        for _ in range(3):
            server = self.listen(port)
            peer = self.accept(server)
            self.expect(["onConnect"], ["onAuthOk"])
            server.close()
            peer.close()
            self.expect(["onDisconnect", 1006, ""], ["failed"])
        self.expect(["failed"], self.GAVE_UP)

    def test_a_server_that_closes_before_it_answers_the_authentication_is_a_failed_attempt(self) -> None:
        server = self.listen()
        onerror = "{ onError: (error) => tell(error.message) }"
        self.connect(server.url, "{ reconnectAttempts: 2 }", onerror)
        text = f"cannot connect to {server.url}/: it closed before it answered the authentication (4005, not now)"
        for _ in range(2):
            peer = self.accept(server, auth=False)
            peer.read_auth()
            peer.send_close(4005, "not now")
            peer.close()
            self.expect(["onConnect"], ["onDisconnect", 4005, "not now"], [text])
        server.sock.settimeout(0.2)
        self.assertRaises(TimeoutError, server.accept_socket)

    def test_without_auto_reconnect_the_first_attempt_that_fails_is_the_last(self) -> None:
        url = self.nobody()
        self.connect(url, "{ autoReconnect: false }", self.CALLBACKS)
        self.expect(["failed"], self.GAVE_UP)

    def test_starting_again_inside_a_callback_goes_on(self) -> None:
        self.page.run("globalThis.times = 0")
        callbacks = "{ onError: () => {}, onGaveUp: () => ++times < 3 ? client.reconnect() : tell('enough') }"
        self.connect(self.nobody(), "{ reconnectAttempts: 2 }", callbacks)
        self.expect(["enough"])


del BrowserTestCase  # which has no test of its own

if __name__ == "__main__":
    unittest.main()
