"""The client: its options, connecting, closing, sending, and what it tells; reconnecting is elsewhere."""

import socket
import ssl
import threading
import time
from typing import Any

from ezez_ws import (
    EVENT_UNKNOWN_DATA_TYPE,
    EVENT_UNKNOWN_MESSAGE,
    AuthRejected,
    ConnectionClosed,
    ConnectionFailed,
    ConnectTimeout,
    EZEZWebSocketClient,
    NotConnected,
    QueueFull,
    ReplyTimeout,
    SerializationError,
)
from ezez_ws.messages.protocol import AUTH_OK, AUTH_REJECTED
from ezez_ws.websocket.frames import BINARY, CLOSE, TEXT
from tests.dialing import DialingTestCase, inner
from tests.serving import Calls, Gate, Result
from tests.support import EZEZTestCase, eventually


class OptionsTest(EZEZTestCase):
    def test_good_options_are_taken_and_start_nothing(self) -> None:
        good: list[dict[str, Any]] = [
            {"auth": None, "subprotocols": ["a", "b"], "headers": {"X": "y"}, "ssl": ssl.create_default_context()},
            {"headers": [("X", "1"), ("X", "2")], "ping_interval": None, "ping_timeout": None, "compression": None},
            {"reconnect_delay": 1, "codec": None, "on_connect": None, "unknown_data": "close"},
        ]
        for options in good:
            EZEZWebSocketClient("wss://example.org/path?query", **options)
        for url in ("ws://a", "http://a", "https://a:1", "WS://A", "ws://[::1]:80/x"):
            EZEZWebSocketClient(url)

    def test_options_but_the_url_are_keywords(self) -> None:
        with self.assertRaises(TypeError):
            EZEZWebSocketClient("ws://a", "secret")  # type: ignore[call-arg]

    def test_an_unknown_option_is_refused_by_its_name(self) -> None:
        with self.assertRaisesRegex(TypeError, "reconnect"):
            EZEZWebSocketClient("ws://a", reconnect=True)  # type: ignore[call-arg]

    def test_a_key_that_cannot_travel_is_refused_at_construction(self) -> None:
        with self.assertRaisesRegex(ValueError, "^auth "):
            EZEZWebSocketClient("ws://127.0.0.1", auth="\ud800")


class ConnectTest(DialingTestCase):
    def test_connect_returns_when_the_server_has_accepted_the_key(self) -> None:
        client = self.make(self.serve().url)
        self.assertFalse(client.alive)
        client.connect()
        self.assertTrue(client.alive)
        self.assertIsNotNone(client.client)

    def test_the_first_message_is_the_authentication(self) -> None:
        server = self.listen()
        client = self.make(server.url, auth="żółć")
        client.start()
        self.assertEqual(self.accept(server, auth=False).read_auth(), ("żółć", 1))

    def test_without_auth_the_client_is_ready_at_once(self) -> None:
        server = self.listen()
        client = self.make(server.url, auth=None, **self.recorded())
        queued = client.send("early")
        client.start()
        peer = self.accept(server, auth=False)
        client.connect()
        self.assertEqual(peer.read_event(), ("early", (1, None), []))
        self.assertEqual(queued.event_id, 1)
        self.assertEqual(self.calls.wait(), [("connect",)])

    def test_headers_subprotocols_path_and_query_are_in_the_request(self) -> None:
        server = self.listen()
        client = self.make(f"{server.url}/a/b?c=d", headers={"X-Key": "value"}, subprotocols=["one", "two"])
        client.start()
        request = self.accept(server).request
        self.assertEqual((request.path, request.query), ("/a/b", "c=d"))
        self.assertEqual(request.headers["X-Key"], "value")
        self.assertEqual(request.headers["Sec-WebSocket-Protocol"], "one, two")

    def test_a_second_connect_returns_at_once_on_the_same_connection(self) -> None:
        server = self.serve()
        server.on("echo", lambda client, args, reply, ids: reply("echo", [client.connection_id]))
        client = self.make(server.url)
        client.connect()
        connection = client.client
        client.connect(timeout=0)
        client.start()
        client.send("echo").wait_reply(timeout=10)
        self.assertEqual(client.client, connection)
        self.assertEqual(len(server.clients), 1)

    def test_threads_that_connect_at_once_share_one_connection(self) -> None:
        server = self.listen()
        client = self.make(server.url)
        waiting = [Result(client.connect) for _ in range(5)]
        self.accept(server)
        for each in waiting:
            each.get()
        self.assertEqual(len([thread for thread in threading.enumerate() if "ezez-client" in thread.name]), 1)

    def test_a_server_that_appears_during_connect_is_found(self) -> None:
        url = self.nobody()
        refused = threading.Event()
        client = self.make(url, on_error=lambda error: refused.set())
        waiting = Result(client.connect, 30)
        self.assertTrue(refused.wait(10))
        server = self.listen(port=int(url.rpartition(":")[2]))
        self.accept(server)
        waiting.get(30)
        self.assertTrue(client.alive)

    def test_after_a_failure_connect_can_be_called_again(self) -> None:
        url = self.nobody()
        client = self.make(url, auto_reconnect=False)
        self.assert_fails_cleanly(ConnectionFailed, client)
        server = self.listen(port=int(url.rpartition(":")[2]))
        waiting = Result(client.connect)
        self.accept(server)
        waiting.get()
        self.assertTrue(client.alive)

    def test_a_wrong_timeout_is_refused_by_its_name(self) -> None:
        client = self.make(self.nobody())
        wrong: list[Any] = [-1, "1", True, float("nan")]
        for timeout in wrong:
            with self.subTest(timeout=timeout), self.assertRaisesRegex((TypeError, ValueError), "timeout"):
                client.connect(timeout)
            with self.subTest(timeout=timeout), self.assertRaisesRegex((TypeError, ValueError), "timeout"):
                client.wait_closed(timeout)

    def test_a_timeout_beyond_what_the_system_can_wait_for_is_a_long_one(self) -> None:
        client = self.make(self.serve().url, reconnect_delay=1e300, reconnect_delay_max=1e300)
        client.connect(1e300)
        waiting = Result(client.wait_closed, 1e300)
        client.close()
        self.assertTrue(waiting.get())

    def test_connect_start_and_with_after_close_are_refused(self) -> None:
        client = self.make(self.nobody())
        client.close()
        for call in (client.connect, client.start, client.__enter__):
            with self.assertRaisesRegex(NotConnected, "closed"):
                call()

    def test_connect_and_wait_closed_on_the_clients_own_thread_are_refused(self) -> None:
        client, peer, _ = self.meet()
        caught: list[Any] = []

        def listener(args: Any, reply: Any, ids: Any) -> None:
            for call in (client.connect, client.wait_closed):
                try:
                    call()
                except RuntimeError as error:
                    caught.append(str(error))
            reply("done")

        client.on("go", listener)
        peer.send_event("go")
        peer.read_event()
        self.assertEqual(len(caught), 2)
        self.assertIn("connect()", caught[0])
        self.assertIn("wait_closed()", caught[1])

    def test_with_connects_and_closes(self) -> None:
        with self.make(self.serve().url) as client:
            self.assertTrue(client.alive)
        self.assertTrue(client.wait_closed(timeout=0))

    def test_with_that_cannot_connect_raises_and_leaves_nothing(self) -> None:
        client = self.make(self.nobody(), auto_reconnect=False)
        with self.assertRaises(ConnectionFailed), client:
            self.fail("it must not come here")


class ConnectFailureTest(DialingTestCase):
    """What ``connect`` raises; nothing is left behind, and the client may try again."""

    def answer(self, response: bytes) -> str:
        """The URL of a server that answers one request."""
        server = self.listen()
        answering = Result(server.refuse, response)
        self.addCleanup(answering.get)
        return server.url

    def test_a_rejected_key_is_auth_rejected_with_the_servers_reason(self) -> None:
        client = self.make(self.serve().url, auth="wrong", **self.recorded())
        error = self.assert_fails_cleanly(AuthRejected, client, accepting=True)
        self.assertEqual(error.reason, "Invalid auth key")
        wanted = [("connect",), ("auth_rejected", "Invalid auth key"), ("disconnect", 1008, "Invalid auth key")]
        self.assertEqual(self.calls.seen, wanted)

    def test_a_rejection_by_a_server_that_does_not_close_is_told_at_once(self) -> None:
        server = self.listen()
        client = self.make(server.url, close_timeout=0.2)
        waiting = Result(client.connect, None)
        peer = self.accept(server, auth=False)
        peer.read_auth()
        peer.send_values(AUTH_REJECTED, "no")
        with self.assertRaises(AuthRejected) as caught:
            waiting.get()
        self.assertEqual(caught.exception.reason, "no")

    def test_a_client_in_the_background_leaves_a_server_that_rejects_but_does_not_close(self) -> None:
        server = self.listen()
        client = self.make(server.url, close_timeout=0.2)
        queued = client.send("x")
        client.start()
        peer = self.accept(server, auth=False)
        peer.read_auth()
        peer.send_values(AUTH_REJECTED, "no")
        with self.assertRaises(ConnectionClosed):
            queued.wait_reply(timeout=10)
        self.assertTrue(client.wait_closed(10))

    def test_http_refusals_of_our_server_are_connection_failed_at_once_with_the_status(self) -> None:
        full = self.serve(max_connections=1)
        self.make(full.url).connect()
        servers: dict[int, tuple[Any, bool]] = {
            404: (f"{self.serve(path='/here').url}/not", True),
            403: (self.serve(verify_request=lambda request: False).url, True),
            418: (self.serve(verify_request=lambda request: 418).url, True),
            503: (full.url, False),
        }
        for status, (url, again) in servers.items():
            with self.subTest(status=status):
                client = self.make(url, auto_reconnect=again)
                error = self.assert_fails_cleanly(ConnectionFailed, client, accepting=True)
                self.assertEqual(error.status, status)
                self.assertIn(str(status), str(error))
                self.assertIsNotNone(error.__cause__)
                self.assertLess(self.took, 10)

    def test_an_answer_that_is_no_websocket_is_connection_failed_at_once(self) -> None:
        answers = {
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi": 200,
            b"HTTP/1.1 301 Moved\r\nLocation: http://elsewhere/\r\n\r\n": 301,
            b"SSH-2.0-OpenSSH_9.2\r\n\r\n": None,
            b"\x15\x03\x01\0\x02\x02\x46\r\n\r\n": None,
            b"HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n": None,
            b"HTTP/1.1 101 OK\r\n" + b"X: " + b"x" * 40000: None,
        }
        for answer, status in answers.items():
            with self.subTest(answer=answer[:40]):
                error = self.assert_fails_cleanly(ConnectionFailed, self.make(self.answer(answer)), accepting=True)
                self.assertEqual(error.status, status)
                self.assertLess(self.took, 10)

    def test_nobody_there_is_connection_failed_at_once_without_auto_reconnect(self) -> None:
        error = self.assert_fails_cleanly(ConnectionFailed, self.make(self.nobody(), auto_reconnect=False))
        self.assertIsInstance(error.__cause__, ConnectionRefusedError)
        self.assertIsNone(error.status)
        self.assertLess(self.took, 10)

    def test_nobody_there_is_connect_timeout_with_the_last_failure_with_auto_reconnect(self) -> None:
        attempts: list[Any] = []
        client = self.make(self.nobody(), on_error=attempts.append)
        error = self.assert_fails_cleanly(ConnectTimeout, client, timeout=0.5)
        self.assertIsInstance(error, TimeoutError)
        self.assertIs(error.__cause__, attempts[-1])
        self.assertIsInstance(attempts[-1], ConnectionFailed)
        self.assertIsInstance(attempts[-1].__cause__, ConnectionRefusedError)
        self.assertGreaterEqual(len(attempts), 2)
        self.assertGreaterEqual(self.took, 0.5)

    def test_an_unknown_host_is_connection_failed_at_once_without_auto_reconnect(self) -> None:
        client = self.make("ws://no-such-host.invalid:1", auto_reconnect=False)
        error = self.assert_fails_cleanly(ConnectionFailed, client)
        self.assertIsInstance(error.__cause__, socket.gaierror)
        self.assertIn("no-such-host.invalid", str(error))

    def test_an_unknown_host_is_connect_timeout_with_auto_reconnect(self) -> None:
        client = self.make("ws://no-such-host.invalid:1")
        with self.assertRaises(ConnectTimeout) as caught:
            client.connect(1.0)
        self.assertIsInstance(caught.exception.__cause__, ConnectionFailed)

    def test_a_server_that_never_answers_the_handshake_is_connect_timeout(self) -> None:
        server = self.listen()
        self.assert_fails_cleanly(ConnectTimeout, self.make(server.url), timeout=0.3)
        self.assertLess(self.took, 5)

    def test_connect_timeout_limits_one_attempt(self) -> None:
        server = self.listen()
        client = self.make(server.url, connect_timeout=0.2, auto_reconnect=False)
        error = self.assert_fails_cleanly(ConnectionFailed, client)
        self.assertIsInstance(error.__cause__, TimeoutError)
        self.assertLess(self.took, 10)

    def test_a_server_that_never_answers_the_authentication_is_connect_timeout(self) -> None:
        server = self.listen()
        client = self.make(server.url, close_timeout=30.0)
        accepting = Result(self.accept, server, False)
        self.assert_fails_cleanly(ConnectTimeout, client, timeout=0.3, accepting=True)
        self.assertLess(self.took, 10)
        accepting.get()

    def test_a_server_that_hangs_up_during_the_handshake_is_connection_failed(self) -> None:
        client = self.make(self.answer(b""), auto_reconnect=False)
        error = self.assert_fails_cleanly(ConnectionFailed, client, accepting=True)
        self.assertIsInstance(error.__cause__, ConnectionResetError)

    def test_a_loss_before_the_authentication_is_connection_failed_with_the_close_as_its_cause(self) -> None:
        server = self.listen()
        client = self.make(server.url, auto_reconnect=False)
        waiting = Result(client.connect)
        peer = self.accept(server, auth=False)
        peer.read_auth()
        peer.send_close(1011, "no database")
        peer.close()
        with self.assertRaises(ConnectionFailed) as caught:
            waiting.get()
        cause = caught.exception.__cause__
        assert isinstance(cause, ConnectionClosed)
        self.assertEqual((cause.code, cause.reason), (1011, "no database"))

    def test_losses_before_the_authentication_are_tried_again_and_the_cause_of_the_timeout(self) -> None:
        server = self.listen()
        client = self.make(server.url)
        waiting = Result(client.connect, 1.0)
        for _ in range(3):
            self.accept(server, auth=False).close()
        with self.assertRaises(ConnectTimeout) as caught:
            waiting.get()
        self.assertIsInstance(caught.exception.__cause__, ConnectionFailed)

    def test_each_failure_leaves_the_client_fit_to_try_again(self) -> None:
        client = self.make(self.nobody())
        for _ in range(3):
            self.assert_fails_cleanly(ConnectTimeout, client, timeout=0.05)

    def test_what_was_queued_before_connect_gave_up_goes_out_after_the_next(self) -> None:
        url = self.nobody()
        client = self.make(url)
        client.send("early")
        self.assert_fails_cleanly(ConnectTimeout, client, timeout=0.05)
        server = self.listen(port=int(url.rpartition(":")[2]))
        client.start()
        self.assertEqual(self.accept(server).read_event().name, "early")

    def test_a_client_that_ends_by_itself_ends_its_queue_and_queues_nothing_until_it_is_started_again(self) -> None:
        url = self.nobody()
        client = self.make(url, auto_reconnect=False)
        early = client.send("early")
        self.assertTrue(early)
        self.assert_fails_cleanly(ConnectionFailed, client)
        late = client.send("late")
        for message in (early, late):
            self.assertFalse(message)
            with self.assertRaises(ConnectionClosed):
                message.wait_reply()
        server = self.listen(port=int(url.rpartition(":")[2]))
        client.start()
        client.send("new")
        self.assertEqual(self.accept(server).read_event().name, "new")


class CloseTest(DialingTestCase):
    def test_the_server_is_told_the_code_and_the_reason(self) -> None:
        client, peer, _ = self.meet(**self.recorded())
        closing = Result(client.close, 4001, "ciao")
        self.assertEqual(peer.read_end(), ([], 4001, "ciao"))
        peer.send_close(4001, "ciao")
        peer.close()
        closing.get()
        self.assertEqual(self.calls.seen, [("connect",), ("auth_ok",), ("disconnect", 4001, "ciao")])
        self.assertFalse(client.alive)

    def test_a_code_or_reason_that_cannot_be_sent_is_refused_and_the_connection_goes_on(self) -> None:
        client, peer, _ = self.meet()
        wrong: list[tuple[Any, Any]] = [(1006, ""), (999, ""), (5000, ""), ("1000", ""), (1000, "x" * 124), (1000, 5)]
        for code, reason in wrong:
            with self.subTest(code=code), self.assertRaisesRegex((TypeError, ValueError), "code|reason"):
                client.close(code, reason)
        client.send("x")
        self.assertEqual(peer.read_event().name, "x")

    def test_close_is_idempotent_and_may_be_called_before_start(self) -> None:
        client = self.make(self.serve().url)
        client.close()
        client.close()
        other = self.make(self.serve().url, **self.recorded())
        other.connect()
        other.close()
        other.close()
        self.assertEqual([call[0] for call in self.calls.seen], ["connect", "auth_ok", "disconnect"])

    def test_threads_that_close_at_once_all_return_with_nothing_left(self) -> None:
        client = self.make(self.serve().url)
        client.connect()
        for closing in [Result(client.close) for _ in range(5)]:
            closing.get()
        self.assertEqual([thread for thread in threading.enumerate() if "ezez-client" in thread.name], [])

    def test_close_from_a_listener_returns_and_the_client_ends(self) -> None:
        server = self.serve(on_auth_ok=lambda client: client.send("go"))
        client = self.make(server.url, **self.recorded())
        client.on("go", lambda args, reply, ids: client.close())
        client.on("go", self.calls.named("closed"))
        client.start()
        self.assertTrue(client.wait_closed(10))
        client.close()
        self.assertEqual([call[0] for call in self.calls.seen], ["connect", "auth_ok", "closed", "disconnect"])

    def check_close_from(self, name: str) -> None:
        closed = threading.Event()

        def close(*_: Any) -> None:
            client.close()
            closed.set()

        server = self.listen()
        client = self.make(server.url, **{name: close})
        client.start()
        peer = self.accept(server, auth=False)
        peer.read_auth()
        peer.send_values(AUTH_OK)
        peer.send_event("x")
        peer.send_message(b"malformed")
        peer.send_close(1000)
        self.assertTrue(closed.wait(10))
        peer.close()
        self.assertTrue(client.wait_closed(10))

    def test_close_from_each_callback_returns_and_the_client_ends(self) -> None:
        for name in ("on_connect", "on_auth_ok", "on_message", "on_disconnect", "on_error"):
            with self.subTest(name):
                self.check_close_from(name)

    def test_close_during_connect_ends_connect(self) -> None:
        server = self.listen()
        client = self.make(server.url)
        waiting = Result(client.connect, 30)
        peer = self.accept(server, auth=False)
        peer.read_auth()
        closing = Result(client.close)
        peer.read_end()
        peer.close()
        closing.get()
        with self.assertRaisesRegex(NotConnected, "closed"):
            waiting.get()

    def test_close_while_dialing_ends_that_at_once(self) -> None:
        server = self.listen()
        client = self.make(server.url, close_timeout=30.0)
        client.start()
        sock = server.accept_socket()  # it never answers the handshake
        self.addCleanup(sock.close)
        started = time.monotonic()
        client.close()
        self.assertLess(time.monotonic() - started, 10)
        self.assertTrue(client.wait_closed(0))

    def test_close_while_waiting_for_the_next_attempt_ends_that_at_once(self) -> None:
        failed = threading.Event()
        client = self.make(
            self.nobody(), reconnect_delay=60.0, reconnect_delay_max=60.0, on_error=lambda error: failed.set()
        )
        client.start()
        self.assertTrue(failed.wait(10))
        started = time.monotonic()
        client.close()
        self.assertLess(time.monotonic() - started, 10)

    def test_close_with_a_server_that_never_answers_takes_no_longer_than_close_timeout(self) -> None:
        client, _, _ = self.meet(close_timeout=0.3, **self.recorded())
        started = time.monotonic()
        client.close()
        took = time.monotonic() - started
        self.assertGreaterEqual(took, 0.2)
        self.assertLess(took, 5)
        self.assertEqual(self.calls.seen[-1], ("disconnect", 1006, ""))

    def test_close_with_a_server_that_answers_but_never_hangs_up_takes_no_longer_either(self) -> None:
        client, peer, _ = self.meet(close_timeout=0.3, **self.recorded())
        started = time.monotonic()
        closing = Result(client.close)
        self.assertEqual(peer.read_end().code, 1000)
        peer.send_close(1000)
        closing.get()
        self.assertLess(time.monotonic() - started, 5)
        self.assertEqual(self.calls.seen[-1][:2], ("disconnect", 1000))

    def test_close_with_a_server_that_reads_nothing_and_a_blocked_sender_is_bounded_too(self) -> None:
        client, _, _ = self.meet(close_timeout=0.3, send_buffer_limit=1)

        def fill() -> None:
            while True:
                client.send("x", [b"x" * 1000000])

        sending = Result(fill)
        eventually(
            lambda: (stream := client.client) and not stream._connection.stream._outbox.has_room(1),
            what="the buffers are full",
        )
        started = time.monotonic()
        client.close()
        self.assertLess(time.monotonic() - started, 5)
        with self.assertRaises(NotConnected):
            sending.get()

    def test_close_with_a_listener_that_blocks_returns_and_the_thread_ends_after_it(self) -> None:
        client, peer, _ = self.meet(close_timeout=0.2)
        gate = Gate()
        self.addCleanup(gate.open)
        client.on("block", gate)
        peer.send_event("block")
        gate.wait_entered()
        with self.assertLogs("ezez_ws", "WARNING") as logged:
            client.close()
        self.assertIn("ezez-client", logged.output[0])
        gate.open()
        self.assertTrue(client.wait_closed(10))

    def test_close_wakes_who_waits_for_a_reply_or_for_the_end(self) -> None:
        client = self.make(self.serve().url)
        client.connect()
        sent = client.send("x")
        waiting, ending = Result(sent.wait_reply), Result(client.wait_closed)
        eventually(lambda: client.awaiting_replies_count == 1)
        client.close(4000, "bye")
        with self.assertRaises(ConnectionClosed):
            waiting.get()
        self.assertTrue(ending.get())

    def test_wait_closed_says_false_while_the_client_goes_on(self) -> None:
        client = self.make(self.serve().url)
        self.assertFalse(client.wait_closed(0))
        client.connect()
        self.assertFalse(client.wait_closed(0.01))
        client.close()
        self.assertTrue(client.wait_closed())

    def test_request_close_returns_at_once_and_run_forever_then(self) -> None:
        client, peer, _ = self.meet(**self.recorded())
        running = Result(client.run_forever)
        client.request_close()
        client.request_close()
        self.assertEqual(1000, peer.read_end().code)
        peer.send_close()
        peer.close()
        self.assertIsNone(running.get())
        client.request_close()
        with self.assertRaises(NotConnected):
            client.run_forever()

    def test_run_forever_returns_when_the_client_has_ended_by_itself(self) -> None:
        client, peer, _ = self.meet(auto_reconnect=False)
        running = Result(client.run_forever)
        peer.close()
        self.assertIsNone(running.get())
        with self.assertRaises(NotConnected):
            client.start()

    def test_run_forever_on_the_clients_own_thread_or_with_signals_on_another_is_refused(self) -> None:
        refused = Calls()

        def run(*_: Any) -> None:
            try:
                client.run_forever()
            except RuntimeError as error:
                refused.add(str(error))

        client, peer, _ = self.meet()
        client.on("run", run)
        peer.send_event("run")
        self.assertEqual([("run_forever() would block the client's own thread, and wait for itself",)], refused.wait())
        with self.assertRaisesRegex(ValueError, "^signals: only the main thread"):
            Result(lambda: client.run_forever(signals=[2])).get()

    def test_events_that_came_before_the_servers_close_are_delivered_before_on_disconnect(self) -> None:
        client, peer, _ = self.meet(**self.recorded())
        client.on("last", lambda args, reply, ids: self.calls.add("last", *args))
        for number in range(3):
            peer.send_event("last", [number])
        peer.send_close(1001, "bye")
        peer.close()
        wanted = [("last", 0), ("last", 1), ("last", 2), ("disconnect", 1001, "bye")]
        self.assertEqual(self.calls.wait(6)[2:6], wanted)


class SendTest(DialingTestCase):
    def test_queue_keeps_messages_until_authenticated_and_sends_them_in_order(self) -> None:
        server = self.listen()
        client = self.make(server.url)
        sent = [client.send("early", [number]) for number in range(10)]
        self.assertTrue(all(sent))
        self.assertEqual({each.event_id for each in sent}, {None})
        client.start()
        peer = self.accept(server, auth=False)
        peer.read_auth()
        sent.append(client.send("early", [10]))
        self.assertIsNone(sent[-1].event_id)
        peer.send_values(AUTH_OK)
        got = [peer.read_event() for _ in range(11)]
        self.assertEqual(got, [("early", (number + 1, None), [number]) for number in range(11)])
        client.connect()
        self.assertEqual([each.event_id for each in sent], list(range(1, 12)))

    def test_ignore_drops_messages_while_not_connected(self) -> None:
        server = self.listen()
        client = self.make(server.url, send_when_not_connected="ignore")
        sent = client.send("lost")
        self.assertFalse(sent)
        self.assertIsNone(sent.event_id)
        with self.assertRaises(ConnectionClosed):
            sent.wait_reply()
        client.start()
        peer = self.accept(server)
        client.connect()
        self.assertTrue(client.send("kept"))
        self.assertEqual(peer.read_event(), ("kept", (1, None), []))
        peer.close()
        server.close()
        client.close()
        self.assertFalse(client.send("after"))

    def test_raise_raises_while_not_connected(self) -> None:
        server = self.listen()
        client = self.make(server.url, send_when_not_connected="raise")
        with self.assertRaises(NotConnected):
            client.send("lost")
        client.start()
        peer = self.accept(server, auth=False)
        peer.read_auth()
        with self.assertRaises(NotConnected):
            client.send("lost")
        peer.send_values(AUTH_OK)
        client.connect()
        client.send("kept")
        self.assertEqual(peer.read_event(), ("kept", (1, None), []))

    def test_send_after_close_says_so(self) -> None:
        client = self.make(self.serve().url)
        client.connect()
        client.close()
        with self.assertRaisesRegex(NotConnected, "closed"):
            client.send("x")

    def test_a_full_queue_refuses_what_does_not_fit_and_keeps_the_rest(self) -> None:
        server = self.listen()
        client = self.make(server.url, queue_limit_bytes=1000)
        client.send("a", [b"x" * 500])
        with self.assertRaisesRegex(QueueFull, "queue_limit_bytes"):
            client.send("b", [b"x" * 500])
        client.send("c", [b"x" * 100])
        client.start()
        peer = self.accept(server)
        self.assertEqual([peer.read_event().name, peer.read_event().name], ["a", "c"])
        client.connect()
        client.send("b", [b"x" * 5000])
        self.assertEqual(peer.read_event().name, "b")

    def test_wait_reply_of_a_queued_message_waits_until_it_is_out_and_answered(self) -> None:
        server = self.listen()
        client = self.make(server.url)
        sent = client.send("ask")
        client.start()
        waiting = [Result(sent.wait_reply, 30), Result(sent.wait_reply)]
        eventually(lambda: client.awaiting_replies_count == 1)
        peer = self.accept(server)
        asked = peer.read_event()
        peer.send_event("answer", [42], reply_to=asked.ids.event_id)
        self.assertEqual([each.get().args for each in waiting], [[42], [42]])
        self.assertEqual(sent.event_id, asked.ids.event_id)

    def test_on_reply_of_a_queued_message_is_called(self) -> None:
        server = self.listen()
        client = self.make(server.url)
        client.send("ask", on_reply=lambda event, args, reply, ids: self.calls.add(event, args, ids))
        self.assertEqual(client.awaiting_replies_count, 1)
        client.start()
        peer = self.accept(server)
        peer.send_event("answer", [42], reply_to=peer.read_event().ids.event_id)
        self.assertEqual(self.calls.wait(), [("answer", [42], (1, 1))])
        self.assertEqual(client.awaiting_replies_count, 0)

    def test_the_time_for_a_reply_starts_when_a_queued_message_goes_out(self) -> None:
        server = self.listen()
        client = self.make(server.url, clear_awaiting_replies_after=0.3)
        sent = client.send("ask")
        client.start()
        with self.assertRaises(ReplyTimeout):
            sent.wait_reply(timeout=0.6)
        peer = self.accept(server)
        peer.send_event("answer", [], reply_to=peer.read_event().ids.event_id)
        self.assertEqual(sent.wait_reply(timeout=10).event, "answer")
        with self.assertRaises(ReplyTimeout):
            client.send("never answered").wait_reply()

    def test_close_ends_queued_messages(self) -> None:
        client = self.make(self.nobody())
        sent = client.send("x", on_reply=lambda *_: None)
        client.start()
        waiting = Result(sent.wait_reply)
        eventually(lambda: sent._home is not None and getattr(sent._home, "waiting", 0) == 1)
        client.close(4000, "bye")
        with self.assertRaises(ConnectionClosed):
            waiting.get()
        with self.assertRaises(ConnectionClosed):
            sent.wait_reply(timeout=0)
        self.assertFalse(sent)
        self.assertIsNone(sent.event_id)
        self.assertEqual(client.awaiting_replies_count, 0)

    def test_auth_rejected_ends_queued_messages(self) -> None:
        client = self.make(self.serve().url, auth="wrong")
        sent = client.send("x")
        client.start()
        with self.assertRaises(ConnectionClosed) as caught:
            sent.wait_reply(timeout=10)
        self.assertEqual(caught.exception.code, 1008)
        self.assertTrue(client.wait_closed(10))
        self.assertFalse(sent)

    def test_a_loss_without_auto_reconnect_ends_queued_messages(self) -> None:
        server = self.listen()
        client = self.make(server.url, auto_reconnect=False)
        sent = client.send("x")
        client.start()
        peer = self.accept(server, auth=False)
        peer.read_auth()
        peer.close()
        with self.assertRaises(ConnectionClosed):
            sent.wait_reply(timeout=10)
        self.assertTrue(client.wait_closed(10))

    def test_waiting_for_a_queued_message_on_the_own_thread_is_refused(self) -> None:
        caught: list[Any] = []

        def ask() -> None:
            for timeout in (None, 5.0):
                try:
                    client.send("x").wait_reply(timeout)
                except NotConnected as error:
                    caught.append(str(error))

        client = self.make(self.serve().url, on_connect=ask)
        client.connect()
        self.assertEqual(len(caught), 2)

    def test_waiting_without_end_for_a_message_that_nobody_will_send_is_refused(self) -> None:
        client = self.make(self.nobody())
        with self.assertRaises(NotConnected):
            client.send("x").wait_reply()

    def test_what_cannot_be_sent_is_refused_and_uses_no_id(self) -> None:
        client, peer, _ = self.meet()
        wrong: list[tuple[Any, Any]] = [(5, []), ("x", "text"), ("x", 5), ("x", None), ("x", {"a": 1}), ("x", {1})]
        for event, args in [*wrong, ("ezez-ws::auth", []), ("ezez-ws:incoming:unknown-message", []), ("x", [{1}])]:
            with self.subTest(event=event, args=args), self.assertRaises((TypeError, ValueError)):
                client.send(event, args)
        with self.assertRaisesRegex(TypeError, "on_reply"):
            client.send("x", [], on_reply=5)  # type: ignore[arg-type]
        self.assertEqual(client.send("good").event_id, 1)
        self.assertEqual(peer.read_event(), ("good", (1, None), []))

    def test_what_cannot_be_sent_is_refused_before_it_is_queued_too(self) -> None:
        client = self.make(self.nobody())
        with self.assertRaises(SerializationError):
            client.send("x", [object()])
        with self.assertRaises(ValueError):
            client.send("ezez-ws::x")
        self.assertEqual(len(inner(client, "queue")), 0)

    def test_send_json_is_a_plain_text_message(self) -> None:
        client, peer, _ = self.meet()
        self.assertTrue(client.send_json({"a": [1, None, "ż"]}))
        self.assertEqual(peer.read(TEXT), '{"a": [1, null, "ż"]}')
        wrong: list[Any] = [{1, 2}, float("nan"), "\ud800", b"x"]
        for value in wrong:
            with self.subTest(value=value), self.assertRaises(SerializationError):
                client.send_json(value)

    def test_send_json_is_never_queued(self) -> None:
        self.assertFalse(self.make(self.nobody()).send_json(1))
        self.assertFalse(self.make(self.nobody(), send_when_not_connected="ignore").send_json(1))
        with self.assertRaises(NotConnected):
            self.make(self.nobody(), send_when_not_connected="raise").send_json(1)

    def test_an_event_name_that_cannot_travel_is_refused_connected_or_not(self) -> None:
        client = EZEZWebSocketClient("ws://127.0.0.1")
        with self.assertRaisesRegex(SerializationError, "^event"):
            client.send("\ud800")
        client.close()


class IncomingTest(DialingTestCase):
    def test_callbacks_come_in_the_order_of_what_happens(self) -> None:
        on_message = self.calls.named("message", 0, 1)
        client, peer, _ = self.meet(auto_reconnect=False, on_message=on_message, **self.recorded())
        client.on("x", lambda args, reply, ids: self.calls.add("listener", ids))
        peer.send_event("x", [1])
        peer.send_message(b"malformed")
        peer.send_close(4000, "bye")
        peer.close()
        self.assertTrue(client.wait_closed(10))
        wanted: list[Any] = [("connect",), ("auth_ok",), ("message", "x", [1]), ("listener", (1, None))]
        self.assertEqual(self.calls.seen, [*wanted, ("error", "MalformedMessage"), ("disconnect", 4000, "bye")])

    def test_events_before_the_answer_to_the_authentication_are_delivered(self) -> None:
        server = self.listen()
        client = self.make(server.url, **self.recorded())
        client.on("early", lambda args, reply, ids: self.calls.add("early", args))
        client.start()
        peer = self.accept(server, auth=False)
        peer.read_auth()
        peer.send_event("early", [1])
        peer.send_values(AUTH_OK)
        self.assertEqual(self.calls.wait(3), [("connect",), ("early", [1]), ("auth_ok",)])

    def test_later_answers_to_the_authentication_are_dropped(self) -> None:
        client, peer, _ = self.meet(**self.recorded())
        peer.send_values(AUTH_OK)
        peer.send_values(AUTH_REJECTED, "no")
        peer.send_event("x")
        client.on("y", lambda args, reply, ids: reply("z"))
        peer.send_event("y")
        self.assertEqual(peer.read_event().name, "z")
        self.assertEqual(self.calls.seen, [("connect",), ("auth_ok",)])
        self.assertTrue(client.alive)

    def test_bytes_behind_the_handshake_belong_to_the_websocket(self) -> None:
        server = self.listen()
        client = self.make(server.url, auth=None, unknown_messages="emit")
        client.on(EVENT_UNKNOWN_MESSAGE, lambda args, reply, ids: self.calls.add(*args))
        client.start()
        with server.accept(early=b"\x81\x05hello"):
            self.assertEqual(self.calls.wait(), [("hello",)])

    def test_an_exception_in_a_callback_goes_to_on_error_and_ends_nothing(self) -> None:
        options = self.recorded()
        options["on_auth_ok"] = lambda: 1 / 0
        with self.assertNoLogs("ezez_ws", "ERROR"):
            client, peer, _ = self.meet(**options)
            client.on("x", lambda args, reply, ids: [][0])
            client.on("x", lambda args, reply, ids: reply("still here"))
            peer.send_event("x")
            self.assertEqual(peer.read_event().name, "still here")
        self.assertEqual(self.calls.seen, [("connect",), ("error", "ZeroDivisionError"), ("error", "IndexError")])

    def test_once_and_off_and_decorators(self) -> None:
        client, peer, _ = self.meet()

        @client.on("x")
        def always(args: Any, reply: Any, ids: Any) -> None:
            self.calls.add("always", *args)

        @client.once("x")
        def first(args: Any, reply: Any, ids: Any) -> None:
            self.calls.add("once", *args)

        client.on("y", lambda args, reply, ids: reply("done"))
        peer.send_event("x", [1])
        peer.send_event("x", [2])
        peer.send_event("y")
        peer.read_event()
        client.off("x", always)
        peer.send_event("x", [3])
        peer.send_event("y")
        peer.read_event()
        self.assertEqual(self.calls.seen, [("always", 1), ("once", 1), ("always", 2)])

    def test_names_of_the_protocol_cannot_be_listened_to(self) -> None:
        client = self.make(self.nobody())
        for register in (client.on, client.once, client.off):
            with self.assertRaises(ValueError):
                register("ezez-ws::auth-ok", lambda *_: None)
        client.on(EVENT_UNKNOWN_MESSAGE, lambda *_: None)

    # text messages

    def emitted(self, event: str, messages: list[Any], **options: Any) -> list[Any]:
        """What listeners of an event are given when a server sends these messages; then all of it in order."""
        client, peer, _ = self.meet(**options, on_error=lambda error: self.calls.add("error", type(error).__name__))

        def listener(args: Any, reply: Any, ids: Any) -> None:
            self.assertFalse(reply("nothing", [1]))
            with self.assertRaises(ConnectionClosed):
                reply("nothing").wait_reply(timeout=5)
            self.calls.add(args, ids)

        client.on(event, listener)
        client.on("end", lambda args, reply, ids: reply("end"))
        for message in messages:
            peer.send_message(message)
        peer.send_event("end")
        self.assertEqual(peer.read_event().ids, (1, 1))
        return self.calls.seen

    def test_text_messages_are_ignored_by_default(self) -> None:
        self.assertEqual(self.emitted(EVENT_UNKNOWN_MESSAGE, ["hello", "{}"]), [])

    def test_text_messages_are_events_with_emit(self) -> None:
        seen = self.emitted(EVENT_UNKNOWN_MESSAGE, ["hello", '{"a": 1}', ""], unknown_messages="emit")
        self.assertEqual(seen, [(["hello"], (-1, None)), (['{"a": 1}'], (-1, None)), ([""], (-1, None))])

    def test_text_messages_are_events_with_parsed_json_where_it_parses_with_emit_try_json(self) -> None:
        texts: list[Any] = ['{"a": [1, null]}', "5", '"x"', "null", "plain", "NaN", "[" * 100000, "", '{"a": NaN}']
        seen = self.emitted(EVENT_UNKNOWN_MESSAGE, texts, unknown_messages="emit_try_json")
        parsed = [{"a": [1, None]}, 5, "x", None, *texts[4:]]
        self.assertEqual(seen, [([value], (-1, None)) for value in parsed])

    # binary messages that are none of the protocol

    MALFORMED = (b"\0", b"", b"5j\0true\0", b'5j\0"n:1"\0')

    def test_malformed_messages_are_reported_and_ignored_by_default(self) -> None:
        seen = self.emitted(EVENT_UNKNOWN_DATA_TYPE, list(self.MALFORMED))
        self.assertEqual(seen, [("error", "MalformedMessage")] * 4)

    def test_malformed_messages_are_events_with_emit(self) -> None:
        seen = self.emitted(EVENT_UNKNOWN_DATA_TYPE, list(self.MALFORMED), unknown_data="emit")
        self.assertEqual(seen, [([data], (-1, None)) for data in self.MALFORMED])

    def test_an_unexpected_name_of_the_protocol_is_malformed(self) -> None:
        _, peer, _ = self.meet(**self.recorded())
        peer.send_values("ezez-ws::auth", "key", 1)
        peer.send_values("ezez-ws::what", 1, None)
        peer.send_values(AUTH_REJECTED)
        self.assertEqual(self.calls.wait(5)[2:], [("error", "MalformedMessage")] * 3)

    def test_a_malformed_message_ends_the_connection_with_1002_with_close(self) -> None:
        client, peer, server = self.meet(unknown_data="close", **self.recorded())
        peer.send_message(b"\0")
        self.assertEqual(peer.read_end(), ([], 1002, "Malformed message"))
        peer.close()
        self.accept(server)
        client.connect()
        wanted = [("error", "MalformedMessage"), ("disconnect", 1002, "Malformed message")]
        self.assertEqual(self.calls.wait(6)[2:4], wanted)

    def test_a_broken_frame_ends_the_connection_with_1002_whatever_unknown_data_says(self) -> None:
        _, peer, _ = self.meet(unknown_data="emit", **self.recorded())
        peer.send_frame(BINARY, b"x", masked=True)
        self.assertEqual(peer.read_end().code, 1002)
        peer.close()
        wanted = [("error", "MalformedMessage"), ("disconnect", 1002)]
        self.assertEqual([call[:2] for call in self.calls.wait(4)[2:4]], wanted)

    def test_a_message_over_max_payload_ends_the_connection_with_1009(self) -> None:
        _, peer, _ = self.meet(max_payload=1000, **self.recorded())
        peer.send_message(b"x" * 1001)
        self.assertEqual(peer.read_end().code, 1009)
        peer.close()

    def test_the_servers_ping_is_answered_and_its_close_echoed(self) -> None:
        _, peer, _ = self.meet()
        peer.send_ping(b"are you there?")
        message = peer.read_message()
        assert message is not None
        self.assertEqual(message.payload, b"are you there?")
        peer.send_close(1001, "bye")
        message = peer.read_message()
        assert message is not None
        self.assertEqual(message.opcode, CLOSE)


class RepliesTest(DialingTestCase):
    def test_a_reply_can_be_waited_for_and_answered(self) -> None:
        client, peer, _ = self.meet()
        sent = client.send("ask", [1])
        peer.send_event("answer", [2], reply_to=peer.read_event().ids.event_id)
        reply = sent.wait_reply(timeout=10)
        self.assertEqual((reply.event, reply.args, reply.ids), ("answer", [2], (1, 1)))
        reply.reply("thanks", [3])
        self.assertEqual(peer.read_event(), ("thanks", (2, 1), [3]))

    def test_on_reply_has_no_client_among_its_arguments(self) -> None:
        client, peer, _ = self.meet()
        client.on("answer", lambda *_: self.calls.add("listener"))
        client.send("ask", on_reply=lambda event, args, reply, ids: self.calls.add(event, args, ids))
        peer.send_event("answer", [2], reply_to=peer.read_event().ids.event_id)
        self.assertEqual(self.calls.wait(), [("answer", [2], (1, 1))])

    def test_a_listener_can_wait_for_a_reply_on_its_own_thread(self) -> None:
        client, peer, _ = self.meet()

        @client.on("go")
        def ask(args: Any, reply: Any, ids: Any) -> None:
            answer = client.send("ask").wait_reply(timeout=10)
            reply("done", answer.args)

        client.on("meanwhile", lambda args, reply, ids: reply("nested"))
        peer.send_event("go")
        asked = peer.read_event()
        peer.send_event("meanwhile")
        self.assertEqual(peer.read_event(), ("nested", (2, 2), []))
        peer.send_event("answer", [1], reply_to=asked.ids.event_id)
        self.assertEqual(peer.read_event(), ("done", (3, 1), [1]))
