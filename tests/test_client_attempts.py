"""The client's attempts: what each asks for, when the next one is made, when it gives up, and what is told of that."""

import contextlib
import email.utils
import itertools
import logging
import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

from ezez_ws import (
    AuthRejected,
    ConnectionClosed,
    ConnectionFailed,
    ConnectTimeout,
    EZEZWebSocketClient,
    NotConnected,
)
from ezez_ws.messages.protocol import AUTH_OK, AUTH_REJECTED
from tests.dialing import DialingTestCase
from tests.rawpeer import RawServer
from tests.serving import Gate, Result

BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 5\r\n%s\r\nlater"


class AttemptsTestCase(DialingTestCase):
    @contextlib.contextmanager
    def logs(self) -> Iterator[list[logging.LogRecord]]:
        """The records of the block, from INFO on."""
        with self.assertLogs("ezez_ws", "INFO") as logged:
            yield logged.records
            logging.getLogger("ezez_ws").info("the end")  # assertLogs wants one

    def warnings(self, records: list[logging.LogRecord]) -> list[str]:
        return [record.getMessage() for record in records if record.levelno >= logging.WARNING]

    def reject(self, server: RawServer, reason: str = "no", close: bool = True) -> Any:
        """Reject who comes; return the key."""
        peer = self.accept(server, auth=False)
        key = peer.read_auth().key
        peer.send_values(AUTH_REJECTED, reason)
        if close:
            peer.send_close(1008, reason)
            peer.close()
        return key


class AskedTest(AttemptsTestCase):
    """``url``, ``auth`` and ``headers`` as callables."""

    def test_each_attempt_asks_on_the_clients_thread(self) -> None:
        server = self.listen()
        threads: list[str] = []
        numbers = {name: itertools.count(1) for name in ("url", "auth", "headers")}

        def ask(name: str, text: str) -> Any:
            threads.append(threading.current_thread().name)
            return text.format(next(numbers[name]))

        client = self.make(
            lambda: ask("url", server.url + "/{}?secret=1"),
            auth=lambda: ask("auth", "key {}"),
            headers=lambda: {"X-Key": ask("headers", "header {}")},
        )
        self.assertEqual(threads, [])
        self.assertIn("still to be asked for", repr(client))
        connecting = Result(client.connect)
        for number in range(1, 4):
            peer = self.accept(server, auth=False)
            self.assertEqual((peer.request.path, peer.request.headers["X-Key"]), (f"/{number}", f"header {number}"))
            self.assertEqual(peer.read_auth().key, f"key {number}")
            if number < 3:
                peer.close()
        peer.send_values(AUTH_OK)
        connecting.get()
        self.assertEqual(repr(client), f"<EZEZWebSocketClient {server.url}/3 ready>")
        self.assertEqual({name.startswith("ezez-client-") for name in threads}, {True})
        self.assertEqual(len(threads), 9)

    def test_what_a_callable_raises_is_a_failed_attempt_with_that_cause(self) -> None:
        for name in ("url", "auth", "headers"):
            for wrong in (OSError("no token"), SystemExit(1)):
                with self.subTest(name=name, wrong=wrong):

                    def fail(wrong: BaseException = wrong) -> Any:
                        raise wrong

                    options = {"url": self.nobody(), "auto_reconnect": False, name: fail}
                    error = self.assert_fails_cleanly(ConnectionFailed, self.make(**options))
                    self.assertIs(error.__cause__, wrong)
                    self.assertIn(f"{name}() raised {type(wrong).__name__}", str(error))

    def test_nonsense_is_a_failed_attempt_whose_cause_names_the_option_and_the_next_may_succeed(self) -> None:
        server = self.listen()
        keys: Iterator[Any] = iter([None, 5, "good"])
        errors: list[Any] = []
        client = self.make(server.url, auth=lambda: next(keys), on_error=errors.append)
        connecting = Result(client.connect)
        self.assertEqual(self.accept(server, auth=False).accept_auth().key, "good")
        connecting.get()
        self.assertEqual([type(error) for error in errors], [ConnectionFailed] * 2)
        for error in errors:
            self.assertIsInstance(error.__cause__, TypeError)
            self.assertRegex(str(error.__cause__), "^auth ")

    def test_a_callable_may_close_the_client(self) -> None:
        clients: list[EZEZWebSocketClient] = []

        def auth() -> str:
            clients[0].close()
            return "key"

        clients.append(self.make(self.nobody(), auth=auth, on_error=self.calls.named("error")))
        clients[0].start()
        self.assertTrue(clients[0].wait_closed(10))
        self.assertEqual(self.calls.seen, [])

    def test_one_that_is_still_asking_at_the_timeout_is_connect_timeout(self) -> None:
        gate = Gate()
        self.addCleanup(gate.open)

        def auth() -> str:
            gate()
            return "key"

        client = self.make(self.nobody(), auth=auth, close_timeout=0.1)
        with self.assertRaises(ConnectTimeout):
            client.connect(0.1)
        gate.open()
        self.assertTrue(client.wait_closed(10))

    def test_nothing_that_is_told_has_the_query(self) -> None:
        url = f"{self.nobody()}/path?token=hunter2"
        errors: list[Any] = []
        for given in (url, lambda: url):
            with self.logs() as records:
                client = self.make(given, on_error=errors.append, reconnect_attempts=2)
                client.start()
                self.assertTrue(client.wait_closed(10))
            texts = [record.getMessage() for record in records] + [*map(str, errors), repr(client)]
            self.assertGreater(len(texts), 4)
            self.assertNotIn("hunter2", "".join(texts))
            self.assertIn("/path", texts[0])


class FreshKeyTest(AttemptsTestCase):
    def test_a_rejected_key_is_tried_once_more_with_a_fresh_one_at_once(self) -> None:
        server = self.listen()
        keys = iter(["old", "new"])
        client = self.make(
            server.url, auth=lambda: next(keys), reconnect_delay=60, reconnect_delay_max=60, **self.recorded()
        )
        with self.logs() as records:
            connecting = Result(client.connect)
            self.assertEqual(self.reject(server), "old")
            self.assertEqual(self.accept(server, auth=False).accept_auth().key, "new")
            connecting.get()
        wanted = [("connect",), ("disconnect", 1008, "no"), ("connect",), ("auth_ok",)]
        self.assertEqual(self.calls.wait(4), wanted)
        self.assertEqual(self.warnings(records), [])

    def test_a_second_rejection_in_a_row_is_final(self) -> None:
        server = self.listen()
        client = self.make(server.url, auth=lambda: "wrong", **self.recorded())
        sent = client.send("queued")
        connecting = Result(client.connect)
        self.reject(server, "first")
        server.accept_socket().close()  # a failure between them changes nothing
        self.reject(server, "second")
        with self.assertRaises(AuthRejected) as caught:
            connecting.get()
        self.assertEqual(caught.exception.reason, "second")
        self.assertTrue(client.wait_closed(10))
        with self.assertRaises(ConnectionClosed):
            sent.wait_reply(0)
        self.assertEqual(
            [call for call in self.calls.seen if call[0] == "auth_rejected"], [("auth_rejected", "second")]
        )

    def test_after_an_authentication_it_is_tried_anew(self) -> None:
        server = self.listen()
        client = self.make(server.url, auth=lambda: "key", **self.recorded())
        client.start()
        for _ in range(3):
            self.reject(server)
            peer = self.accept(server)
            client.connect()
            peer.close()
        self.assertNotIn("auth_rejected", [call[0] for call in self.calls.seen])

    def test_it_is_tried_without_auto_reconnect_and_is_no_failed_attempt(self) -> None:
        server = self.listen()
        client = self.make(server.url, auth=lambda: "key", auto_reconnect=False, reconnect_attempts=1)
        connecting = Result(client.connect)
        self.reject(server)
        self.accept(server)
        connecting.get()

    def test_a_server_that_rejects_but_does_not_close_is_left(self) -> None:
        server = self.listen()
        client = self.make(server.url, auth=lambda: "key", close_timeout=30)
        connecting = Result(client.connect)
        self.reject(server, close=False)
        self.accept(server)
        connecting.get()

    def test_a_key_that_is_no_callable_is_not_tried_again(self) -> None:
        server = self.listen()
        client = self.make(server.url, **self.recorded())
        with self.logs() as records:
            client.start()
            self.reject(server, "\x1b[31mno")
            self.assertTrue(client.wait_closed(10))
        self.assertIn(("auth_rejected", "\x1b[31mno"), self.calls.seen)
        (warning,) = self.warnings(records)
        self.assertIn("\\x1b[31mno", warning)
        self.assertIn("giving up", warning)


class NoAuthTest(AttemptsTestCase):
    """A client with ``auth=None`` at a server that wants authentication."""

    def test_it_stops_and_says_so(self) -> None:
        server = self.serve(auth_timeout=0.05)
        client = self.make(server.url, auth=None, **self.recorded())
        with self.logs() as records:
            client.connect()
            sent = client.send("x")
            self.assertTrue(client.wait_closed(10))
        with self.assertRaises(ConnectionClosed):
            sent.wait_reply(10)
        wanted = [("connect",), ("auth_rejected", "Auth timeout"), ("disconnect", 1008, "Auth timeout")]
        self.assertEqual(self.calls.seen, wanted)
        self.assertFalse(client.alive)
        self.assertFalse(client.send("after"))
        (warning,) = self.warnings(records)
        self.assertIn("Auth timeout", warning)

    def test_who_waits_in_connect_hears_of_it(self) -> None:
        server = self.serve(auth_timeout=0.05)
        clients: list[EZEZWebSocketClient] = []
        options: Any = {"auth": None, "on_connect": lambda: clients[0].send("x").wait_reply(10)}
        clients.append(self.make(server.url, **options))
        with self.assertLogs("ezez_ws", "ERROR"), self.assertRaisesRegex(AuthRejected, "Auth timeout"):
            clients[0].connect(30)

    def test_an_answer_that_accepts_changes_nothing(self) -> None:
        server = self.listen()
        client = self.make(server.url, auth=None, **self.recorded())
        client.on("x", lambda args, reply, ids: reply("y"))
        client.start()
        peer = self.accept(server, auth=False)
        peer.send_values("ezez-ws::auth-ok")
        peer.send_event("x")
        self.assertEqual(peer.read_event().name, "y")
        self.assertEqual(self.calls.seen, [("connect",)])


class OverloadTest(AttemptsTestCase):
    """Answers that mean: not now."""

    def test_an_overloaded_server_is_tried_again_within_the_timeout(self) -> None:
        server = self.listen()
        client = self.make(server.url)
        connecting = Result(client.connect)
        for status in (b"429 Slow", b"502 Bad", b"503 Busy", b"504 Late"):
            server.refuse(b"HTTP/1.1 " + status + b"\r\n\r\n")
        self.accept(server)
        connecting.get()

    def test_the_last_answer_is_the_cause_and_has_status_headers_and_body(self) -> None:
        server = self.listen()
        client = self.make(server.url, reconnect_attempts=1)
        connecting = Result(client.connect)
        server.refuse(BUSY % b"X-Why: load\r\n")
        with self.assertRaises(ConnectionFailed) as caught:
            connecting.get()
        error = caught.exception
        self.assertEqual((error.status, error.headers["x-why"], error.body), (503, "load", b"later"))

    def test_where_there_was_no_answer_they_are_empty(self) -> None:
        error = self.assert_fails_cleanly(ConnectionFailed, self.make(self.nobody(), auto_reconnect=False))
        self.assertEqual((error.status, dict(error.headers), error.body), (None, {}, b""))

    def test_retry_after_is_honoured_whatever_the_longest_pause(self) -> None:
        server = self.listen()
        client = self.make(server.url, reconnect_delay_max=0.05)
        client.start()
        server.refuse(BUSY % b"Retry-After: 1\r\n")
        start = time.monotonic()
        self.accept(server)
        self.assertGreater(time.monotonic() - start, 0.8)

    def test_one_longer_than_the_timeout_is_connect_timeout_at_once_with_that_answer(self) -> None:
        date = email.utils.formatdate(time.time() + 3000, usegmt=True).encode()
        for value in (b"3000", date):
            with self.subTest(value=value):
                server = self.listen()
                client = self.make(server.url)
                refusing = Result(server.refuse, BUSY % (b"Retry-After: " + value + b"\r\n"))
                error = self.assert_fails_cleanly(ConnectTimeout, client, 50, accepting=True)
                refusing.get()
                self.assertLess(self.took, 20)
                self.assertEqual((error.__cause__.status, error.__cause__.body), (503, b"later"))

    def test_in_the_background_it_goes_on_after_such_a_timeout(self) -> None:
        server = self.listen()
        client = self.make(server.url)
        client.start()
        server.refuse(BUSY % b"Retry-After: 3000\r\n")
        with self.assertRaises(ConnectTimeout):
            client.connect(30)
        waiting = Result(client.connect, None)
        client.reconnect()
        self.accept(server)
        waiting.get()


class GivingUpTest(AttemptsTestCase):
    def gave_up(self, url: Any, **options: Any) -> tuple[EZEZWebSocketClient, "queue.SimpleQueue[Any]"]:
        gone: queue.SimpleQueue[Any] = queue.SimpleQueue()
        return self.make(url, on_gave_up=gone.put, **options), gone

    def test_after_so_many_failed_attempts_it_gives_up_and_everything_that_waits_is_woken(self) -> None:
        errors: list[Any] = []
        server = self.listen()
        client, gone = self.gave_up(server.url, reconnect_attempts=3, on_error=errors.append)
        sent = client.send("x")
        client.start()
        waiting = [Result(sent.wait_reply), Result(client.wait_closed)]
        connecting = Result(client.connect, 30)
        server.accept_socket().close()
        server.accept_socket().close()
        self.assertFalse(connecting.done)
        server.refuse(BUSY % b"")
        with self.assertRaises(ConnectionFailed) as caught:
            connecting.get()
        self.assertIs(gone.get(timeout=10), caught.exception)
        self.assertEqual(caught.exception.status, 503)
        with self.assertRaises(ConnectionClosed):
            waiting[0].get()
        self.assertTrue(waiting[1].get())
        self.assertIs(errors[-1], caught.exception)
        self.assertEqual(len(errors), 3)
        self.assertTrue(gone.empty())
        self.assertFalse(client.send("after"))

    def test_a_connection_that_is_lost_before_the_authentication_is_a_failed_attempt(self) -> None:
        server = self.listen()
        client, gone = self.gave_up(server.url, reconnect_attempts=2)
        with self.logs() as records:
            client.start()
            for _ in range(2):
                peer = self.accept(server, auth=False)
                peer.read_auth()
                peer.send_close(1011, "no \x1b database")
                peer.close()
            error = gone.get(timeout=10)
            self.assertTrue(client.wait_closed(10))
        self.assertEqual(error.__cause__.code, 1011)
        self.assertIn("before it was authenticated", str(error))
        self.assertIn("no \\x1b database", str(error))
        self.assertEqual(len(self.warnings(records)), 2)
        self.assertTrue(all(record.getMessage().isprintable() for record in records))

    def test_they_are_counted_anew_after_each_authentication(self) -> None:
        server = self.listen()
        client, gone = self.gave_up(server.url, reconnect_attempts=2)
        client.start()
        for _ in range(3):
            server.accept_socket().close()
            self.accept(server).close()
        self.assertTrue(gone.empty())

    def test_without_auto_reconnect_the_first_failure_is_the_last_but_a_loss_is_none(self) -> None:
        client, gone = self.gave_up(self.nobody(), auto_reconnect=False)
        client.start()
        self.assertIsInstance(gone.get(timeout=10), ConnectionFailed)
        server = self.listen()
        client, gone = self.gave_up(server.url, auto_reconnect=False)
        client.start()
        self.accept(server).close()
        self.assertTrue(client.wait_closed(10))
        self.assertTrue(gone.empty())

    def test_an_error_in_on_gave_up_is_told(self) -> None:
        errors: list[Any] = []
        for on_error in (None, errors.append):
            options = {"on_gave_up": lambda error: 1 / 0, "on_error": on_error, "reconnect_attempts": 1}
            with self.assertLogs("ezez_ws", "WARNING") as logged:
                client = self.make(self.nobody(), **options)
                client.start()
                self.assertTrue(client.wait_closed(10))
            wanted = ["WARNING"] if on_error else ["WARNING", "ERROR"]
            self.assertEqual([record.levelname for record in logged.records], wanted)
        self.assertEqual([type(error) for error in errors], [ConnectionFailed, ZeroDivisionError])


LONG: dict[str, Any] = {"reconnect_delay": 60, "reconnect_delay_max": 60}


class ReconnectNowTest(AttemptsTestCase):
    def test_it_ends_a_pause_whoever_calls_it(self) -> None:
        server = self.listen()
        failed = threading.Event()
        client = self.make(server.url, on_error=lambda error: failed.set(), **LONG)
        client.start()
        server.accept_socket().close()
        self.assertTrue(failed.wait(10))
        client.reconnect()
        self.accept(server).close()

    def test_it_skips_the_pause_when_it_is_called_in_a_callback_of_the_failure_or_loss(self) -> None:
        server = self.listen()
        clients: list[EZEZWebSocketClient] = []
        again = iter([True, False])

        def on_error(error: Any) -> None:
            clients[0].reconnect()

        def on_disconnect(code: int, reason: str) -> None:
            if next(again, False):
                clients[0].reconnect()

        clients.append(self.make(server.url, on_error=on_error, on_disconnect=on_disconnect, **LONG))
        clients[0].start()
        server.accept_socket().close()
        self.accept(server).close()
        self.accept(server)

    def test_while_connected_or_trying_it_does_nothing(self) -> None:
        server = self.listen()
        client = self.make(server.url, **LONG, **self.recorded())
        client.start()
        sock = server.accept_socket()
        client.reconnect()  # an attempt is being made: the pause after it is not skipped
        sock.close()
        self.calls.wait()
        time.sleep(0.1)
        self.assertEqual(self.calls.seen, [("error", "ConnectionFailed")])
        client.reconnect()
        peer = self.accept(server)
        client.connect()
        connection = client.client
        client.reconnect()
        self.assertEqual(client.client, connection)
        client.send("x")
        self.assertEqual(peer.read_event().name, "x")

    def test_after_giving_up_or_a_rejection_it_starts_anew(self) -> None:
        server = self.listen()
        gave_up = threading.Event()
        client = self.make(server.url, reconnect_attempts=1, on_gave_up=lambda error: gave_up.set())
        client.start()
        server.accept_socket().close()
        self.assertTrue(gave_up.wait(10))
        client.reconnect()
        self.reject(server)
        self.assertTrue(client.wait_closed(10))
        client.reconnect()
        self.accept(server)
        client.connect()

    def test_inside_on_gave_up_it_starts_anew(self) -> None:
        server = self.listen()
        clients: list[EZEZWebSocketClient] = []
        clients.append(self.make(server.url, reconnect_attempts=1, on_gave_up=lambda error: clients[0].reconnect()))
        clients[0].start()
        server.accept_socket().close()
        self.accept(server)
        clients[0].connect()

    def test_where_it_was_never_started_it_is_a_start_and_after_close_refused(self) -> None:
        server = self.listen()
        client = self.make(server.url, close_timeout=0.2)
        client.reconnect()
        self.accept(server)
        client.connect()
        client.close()
        with self.assertRaisesRegex(NotConnected, "closed"):
            client.reconnect()


class TellingTest(AttemptsTestCase):
    def fail(self, server: RawServer, times: int) -> None:  # type: ignore[override]
        for _ in range(times):
            server.accept_socket().close()

    def test_the_first_and_the_tenth_failure_in_a_row_are_warned_of_and_each_success_is_info(self) -> None:
        server = self.listen()
        with self.logs() as records:
            client = self.make(server.url, reconnect_delay=0.001, reconnect_delay_max=0.002)
            client.start()
            self.fail(server, 12)
            peer = self.accept(server)
            client.connect()
            peer.close()
            self.fail(server, 2)
            self.accept(server)
            client.connect()
        warned = self.warnings(records)
        self.assertEqual(
            [text.rpartition(" (")[2] for text in warned], [f"attempt {number}; trying again)" for number in (1, 10, 1)]
        )
        for text in warned:
            self.assertIn(f"cannot connect to {server.url}: ", text)
        told = [record.getMessage() for record in records if record.levelno == logging.INFO]
        self.assertEqual(told.count(f"authenticated at {server.url}"), 2)

    def test_what_connect_raises_is_not_warned_of_but_what_goes_on_after_it_is(self) -> None:
        with self.logs() as records:
            for options in ({"auto_reconnect": False}, {"reconnect_attempts": 2}, {}):
                with self.assertRaises((ConnectionFailed, ConnectTimeout)):
                    self.make(self.nobody(), **options).connect(0.3)
            with self.assertRaises(AuthRejected):
                self.make(self.serve().url, auth="wrong").connect()
        self.assertEqual(self.warnings(records), [])
        server = self.listen()
        with self.logs() as records:
            client = self.make(server.url)
            gate = Gate()
            self.addCleanup(gate.open)
            connecting = Result(client.connect, 30)
            self.fail(server, 2)
            peer = self.accept(server)
            connecting.get()
            peer.close()
            self.fail(server, 1)
            self.accept(server)
            client.connect()
        self.assertEqual(len(self.warnings(records)), 1)

    def test_a_failure_that_ends_it_at_once_is_one_record(self) -> None:
        ways: dict[str, dict[str, Any]] = {
            "(auto_reconnect is off; giving up)": {"auto_reconnect": False},
            "(attempt 1 of 1; giving up)": {"reconnect_attempts": 1},
        }
        for text, options in ways.items():
            with self.subTest(text):
                with self.logs() as records:
                    client = self.make(self.nobody(), **options)
                    client.start()
                    self.assertTrue(client.wait_closed(10))
                (warning,) = self.warnings(records)
                self.assertTrue(warning.endswith(text), warning)

    def test_nothing_a_server_says_is_told_as_it_came(self) -> None:
        server = self.listen()
        with self.logs() as records:
            client = self.make(server.url)
            client.start()
            server.refuse(b"HTTP/1.1 403 \x9b31m%s\r\nLocation: x\r\n\r\n" % (b"x" * 9000))
            peer = self.accept(server)
            client.connect()
            peer.send_close(4000, "\x1b[31m")
            peer.close()
            self.accept(server)
            client.connect()
        for record in records:
            self.assertTrue(record.getMessage().isprintable())
            self.assertLess(len(record.getMessage()), 400)
        self.assertIn("\\x1b[31m", "".join(record.getMessage() for record in records))


class SubprotocolTest(AttemptsTestCase):
    def test_the_one_that_the_server_chose_can_be_read_while_there_is_a_connection(self) -> None:
        server = self.serve(subprotocols=["two"])
        client = self.make(server.url, subprotocols=["one", "two"])
        self.assertIsNone(client.subprotocol)
        client.connect()
        self.assertEqual(client.subprotocol, "two")
        client.close()
        self.assertIsNone(client.subprotocol)

    def test_where_none_was_agreed_it_is_none(self) -> None:
        client = self.make(self.serve().url)
        client.connect()
        self.assertIsNone(client.subprotocol)
