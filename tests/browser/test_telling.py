"""What the browser module tells: errors of callbacks, attempts that fail, mistakes; to the console, or to callbacks."""

import unittest
from typing import Any

from ezez_ws.messages.protocol import AUTH_OK
from tests.browser.page import BrowserTestCase
from tests.support import free_port

MOSTLY_WAITS = True
SAME_ON_EVERY_PYTHON = True

NO_CALLBACKS = ", ".join(f"{name}: undefined" for name in ("onError", "onAuthRejected", "onDisconnect", "onGaveUp"))


class CallbackErrorsTest(BrowserTestCase):
    def test_without_on_error_each_error_is_printed_once_and_names_what_has_failed(self) -> None:
        fail = "() => { throw new RangeError('no') }"
        callbacks = f"{{ onError: undefined, onAuthOk: {fail}, onMessage: {fail} }}"
        server = self.listen()
        self.print()
        self.connect(server.url, "{}", callbacks)
        peer = self.accept(server)
        self.expect(["onConnect"], ["error", "ezez-ws: onAuthOk has failed:", "RangeError: no"])
        self.page.run(f"client.on('x\\x1b', {fail}).on('x\\x1b', async {fail}); client.send('q', [], {fail})")
        peer.send_event("x\x1b")
        peer.send_event("y", reply_to=1)
        printed = sorted(self.page.told(5))
        for name in (
            'a listener of "x\\u001b"',
            'a listener of "x\\u001b"',
            'onMessage of "x\\u001b"',
            'onMessage of "y"',
        ):
            self.assertEqual(printed.pop(0), ["error", f"ezez-ws: {name} has failed:", "RangeError: no"])
        self.assertEqual(printed, [["error", 'ezez-ws: onReply of "y" has failed:', "RangeError: no"]])

    def test_with_on_error_nothing_is_printed(self) -> None:
        peer, _ = self.host()
        self.print()
        self.page.run("client.on('x', () => { throw new RangeError('no') }).on('x', () => tell('heard'))")
        peer.send_event("x")
        peer.send_message(b"\0")
        self.expect(["onError", "RangeError", "no"], ["heard"])
        self.assertEqual(self.page.told()[0][:2], ["onError", "MalformedMessage"])
        self.page.run("tell('end')")
        self.expect(["end"])

    def test_an_on_error_that_fails_is_printed_with_what_it_was_told(self) -> None:
        for kind in ("", "async "):
            peer, _ = self.host("{}", f"{{ onError: {kind}() => {{ throw new TypeError('oh') }} }}")
            self.print()
            self.page.run("client.on('x', () => { throw new RangeError('no') })")
            peer.send_event("x")
            self.expect(["error", "ezez-ws: onError has failed:", "TypeError: oh", "It was told:", "RangeError: no"])
            self.forget()

    def test_a_malformed_message_is_printed_without_control_characters(self) -> None:
        peer, _ = self.host("{}", "{ onError: undefined }")
        self.print()
        peer.send_message('6j\0"\u009b:a"\0'.encode())
        text = 'MalformedMessage: field 1 at byte 0: an unknown tag: "\\u{9b}:a"'
        self.expect(["error", "ezez-ws: a message from the server is malformed:", text])


class FailedAttemptsTest(BrowserTestCase):
    QUICK = "reconnectDelay: 1, reconnectDelayMax: 1"

    def warned(self) -> str:
        ((level, text),) = self.page.told()
        self.assertEqual(level, "warn")
        return str(text)

    def test_the_first_attempt_that_fails_is_printed_then_the_tenth_and_the_hundredth(self) -> None:
        port = free_port()
        self.print()
        self.connect(f"ws://me:pw@127.0.0.1:{port}/chat?token=secret", f"{{ {self.QUICK} }}", f"{{ {NO_CALLBACKS} }}")
        for count in ("1 failed attempt", "10 failed attempts", "100 failed attempts"):
            text = self.warned()
            self.assertTrue(text.startswith(f"ezez-ws: cannot connect to ws://127.0.0.1:{port}/chat: "), text)
            self.assertTrue(text.endswith(f"; the client goes on after {count}"), text)

    def test_giving_up_is_printed_and_a_failure_that_ends_it_at_once_is_one_line(self) -> None:
        self.print()
        for options, count in [
            ("reconnectAttempts: 1", "1 failed attempt"),
            ("autoReconnect: false", "1 failed attempt"),
            ("reconnectAttempts: 3", "3 failed attempts"),
        ]:
            self.connect(self.nobody(), f"{{ {self.QUICK}, {options} }}", f"{{ {NO_CALLBACKS} }}")
            if count.startswith("3"):
                self.assertIn("; the client goes on after 1 failed attempt", self.warned())
            self.assertIn(f"; the client gives up after {count}", self.warned())
        self.page.run("tell('end')")
        self.expect(["end"])

    def test_whoever_has_the_callbacks_is_told_by_them_alone(self) -> None:
        self.print()
        callbacks = "{ onError: () => tell('failed'), onGaveUp: () => tell('gave up') }"
        self.connect(self.nobody(), f"{{ {self.QUICK}, reconnectAttempts: 2 }}", callbacks)
        self.expect(["failed"], ["failed"], ["gave up"])
        self.page.run("tell('end')")
        self.expect(["end"])

    def test_a_rejected_key_is_printed_where_no_callback_hears_of_it(self) -> None:
        server = self.serve()
        self.print()
        self.connect(server.url, '{ auth: "wrong" }', f"{{ {NO_CALLBACKS} }}")
        text = f"ezez-ws: {server.url}/ rejects the key (Invalid auth key); the client stops"
        self.expect(["onConnect"], ["warn", text])

    def test_a_server_that_never_answers_the_authentication_is_printed_once(self) -> None:
        server = self.listen()
        self.print()
        self.page.run("""
            globalThis.realSetTimeout = setTimeout;
            globalThis.setTimeout = (action, time) => (
                time === 1e6 ? void (globalThis.wait = action) : realSetTimeout(action, time)
            );""")
        self.addCleanup(self.page.run, "globalThis.setTimeout = realSetTimeout")
        self.connect(server.url, "{ connectTimeout: 1e6 }")
        text = f"ezez-ws: {server.url}/ has not answered the authentication yet; a server that does not speak "
        for number in range(2):
            peer = self.accept(server, auth=False)
            self.expect(["onConnect"])
            self.page.run("wait()")
            if number == 0:
                self.assertEqual(self.warned()[: len(text)], text)
            peer.read_auth()
            peer.send_values(AUTH_OK)
            self.expect(["onAuthOk"])
            peer.close()
            self.expect(["onDisconnect", 1006, ""])


class MistakesTest(BrowserTestCase):
    def test_listening_to_what_is_a_callback_is_printed_once_for_each_name(self) -> None:
        peer, _ = self.host()
        self.print()
        self.page.run("""
            for (const name of ["connect", "disconnect", "error", "*", "constructor", "message"]) {
                client.on(name, () => tell("heard")).once(name, () => {});
            }""")
        for name, callback in [
            ("connect", "onConnect or onAuthOk"),
            ("disconnect", "onDisconnect"),
            ("error", "onError"),
            ("*", "onMessage"),
        ]:
            ((level, text),) = self.page.told()
            self.assertEqual((level, text[: len(name) + 15]), ("warn", f'ezez-ws: on("{name}")'))
            self.assertTrue(text.endswith(f"; what you mean is the callback {callback}"), text)
        peer.send_event("error")  # though a server may have one
        self.expect(["heard"])

    def test_a_request_that_times_out_in_the_queue_says_that_and_why(self) -> None:
        server = self.listen()
        url = self.nobody()
        ask = "await client.request('question', [], { timeout: 20 })"
        queued = 'ReplyTimeout: no reply to "question" within 20 ms: the message was still queued, '

        def assert_why(why: str) -> None:
            text = str(self.fails(ask))
            self.assertEqual(text[: len(queued + why)], queued + why)

        self.connect(server.url)
        assert_why("and the client is still connecting")
        peer = self.accept(server, auth=False)
        self.expect(["onConnect"])
        assert_why("as the server has not answered the authentication yet")
        peer.send_values(AUTH_OK)
        self.expect(["onAuthOk"])
        self.forget()
        pause = "{ reconnectDelay: 1e9, reconnectDelayMax: 1e9 }"
        self.connect(url, pause)
        self.assertEqual(self.page.told()[0][:2], ["onError", "ConnectionFailed"])
        assert_why(f"as there is no connection: cannot connect to {url}/: ")
        self.forget()
        peer, _ = self.host(pause)
        peer.send_close(4000, "bye\x1b")
        peer.close()
        self.expect(["onDisconnect", 4000, "bye\x1b"])
        assert_why("as there is no connection: the connection was lost (4000, bye\\u{1b})")

    def test_what_the_server_says_stands_escaped_in_errors(self) -> None:
        reason: Any = "gone \x1b[2J\u202e\u2028 \U0001f600 " + "é" * 20
        peer, _ = self.host()
        asked = self.page.start("return client.request('x').catch((error) => [error.message, error.reason])")
        peer.read_event()
        peer.send_close(4001, reason)
        peer.close()
        message, raw = asked.result()
        self.assertEqual(raw, reason)
        self.assertEqual(
            message, "connection closed (4001, gone \\u{1b}[2J\\u{202e}\\u{2028} \U0001f600 " + "é" * 20 + ")"
        )
        long = self.page.evaluate("new ConnectionClosed(1008, 'x'.repeat(1000)).message")
        self.assertEqual(long, f"connection closed (1008, {'x' * 199}…)")


del BrowserTestCase  # which has no test of its own

if __name__ == "__main__":
    unittest.main()
