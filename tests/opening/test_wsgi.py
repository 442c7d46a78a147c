"""From an environ to a request head and back to an answer: what the web servers' differences must not change."""

import contextlib
import signal
import socket
import threading
import unittest
from typing import Any

from ezez_ws.opening import wsgi
from ezez_ws.opening.server_handshake import Refusal, ServerHandshake
from ezez_ws.opening.wsgi import Environ, address_of, answer, head_of, is_stopping, upgrade
from ezez_ws.wire.borrowed import BorrowedWire, PolledWire
from ezez_ws.wire.borrowing import borrow
from ezez_ws.wire.sockets import WireError
from tests.support import EZEZTestCase

KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def make_environ(**changed: Any) -> Environ:
    """Make the environ of a good upgrade; ``None`` leaves a key out."""
    environ = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "/app",
        "PATH_INFO": "/chat room/\xc3\xa4",
        "QUERY_STRING": "a=1&b",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "192.0.2.1",
        "REMOTE_PORT": "1234",
        "HTTP_HOST": "example.org",
        "HTTP_CONNECTION": "keep-alive, Upgrade",
        "HTTP_UPGRADE": "websocket",
        "HTTP_SEC_WEBSOCKET_VERSION": "13",
        "HTTP_SEC_WEBSOCKET_KEY": KEY,
        **changed,
    }
    return {key: value for key, value in environ.items() if value is not None}


def judge(environ: Environ) -> ServerHandshake:
    handshake = ServerHandshake(remote_address=address_of(environ))
    assert handshake.feed(head_of(environ))
    assert handshake.trailing == b""
    return handshake


class HeadTest(unittest.TestCase):
    def refused(self, **changed: Any) -> int:
        with self.assertRaises(Refusal) as caught:
            judge(make_environ(**changed))
        return caught.exception.status

    def test_path_and_query_are_as_they_were_sent_where_the_web_server_tells(self) -> None:
        for key in ("RAW_URI", "REQUEST_URI"):
            request = judge(make_environ(**{key: "/app/chat%20room?x=%20"})).request
            self.assertEqual((request.path, request.query), ("/app/chat%20room", "x=%20"))

    def test_they_are_quoted_anew_where_it_does_not(self) -> None:
        request = judge(make_environ()).request
        self.assertEqual((request.path, request.query), ("/app/chat%20room/%C3%A4", "a=1&b"))
        request = judge(make_environ(SCRIPT_NAME="", PATH_INFO="", QUERY_STRING="")).request
        self.assertEqual((request.path, request.query), ("/", ""))

    def test_headers_keep_their_values_and_latin_1_too(self) -> None:
        request = judge(make_environ(HTTP_X_NAME="Andr\xe9", HTTP_COOKIE="a=b; c=d")).request
        self.assertEqual((request.headers["X-Name"], dict(request.cookies)), ("Andr\xe9", {"a": "b", "c": "d"}))

    def test_what_cannot_be_upgraded_is_no_upgrade(self) -> None:
        for protocol in ("HTTP/1.0", "HTTP/2.0", None):
            self.assertEqual(self.refused(SERVER_PROTOCOL=protocol), 426)
        judge(make_environ(**{"SERVER_PROTOCOL": "HTTP/1.0", "eventlet.input": object()}))

    def test_a_body_is_refused(self) -> None:
        self.assertEqual(self.refused(CONTENT_LENGTH="3"), 400)
        judge(make_environ(CONTENT_LENGTH=""))

    def test_a_header_cannot_bring_another_one_or_a_second_request(self) -> None:
        for value in ("a\r\nOrigin: https://example.org", "a\nb", "a\rb", "a\r\n\r\n", "\u20ac", "a\0"):
            with self.subTest(value):
                self.assertEqual(self.refused(HTTP_X=value), 400)
        self.assertEqual(self.refused(RAW_URI="/ HTTP/1.1\r\nX: y"), 400)
        self.assertEqual(self.refused(PATH_INFO="/\u20ac"), 400)

    def test_the_address_is_what_the_environ_says_and_a_unix_socket_has_none(self) -> None:
        self.assertEqual(judge(make_environ()).request.remote_address, ("192.0.2.1", 1234))
        self.assertEqual(address_of(make_environ(REMOTE_PORT=None)), ("192.0.2.1", 0))
        self.assertEqual(address_of(make_environ(REMOTE_ADDR="")), ())
        self.assertEqual(address_of(make_environ(REMOTE_ADDR=None)), ())


class AnswerTest(unittest.TestCase):
    def answer(self, environ: Environ, refusal: Any) -> tuple[str, dict[str, str], bytes]:
        started: list[Any] = []
        body = answer(lambda *args: started.extend(args), environ, refusal)
        return started[0], dict(started[1]), b"".join(body)

    def test_a_refusal_is_an_http_answer(self) -> None:
        status, headers, body = self.answer({"werkzeug.socket": None}, Refusal(426, "no upgrade"))
        self.assertEqual((status, body), ("426 Upgrade Required", b"no upgrade\n"))
        self.assertEqual(headers["Content-Length"], str(len(body)))
        self.assertEqual((headers["Upgrade"], headers["Connection"]), ("websocket", "Upgrade"))

    def test_a_web_server_that_may_insist_on_it_gets_no_hop_by_hop_headers(self) -> None:
        _, headers, _ = self.answer({}, Refusal(426, "no upgrade"))
        self.assertEqual(headers["Sec-WebSocket-Version"], "13")
        self.assertFalse({"Upgrade", "Connection"} & set(headers))

    def test_after_a_connection_the_log_sees_101(self) -> None:
        self.assertEqual(self.answer({}, None), ("101 Switching Protocols", {}, b""))


class UpgradeTest(EZEZTestCase):
    def setUp(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.addCleanup(self.ours.close)
        self.addCleanup(self.theirs.close)

    def environ(self, **changed: Any) -> Environ:
        return make_environ(**{"werkzeug.socket": self.ours, "wsgi.multithread": True, **changed})

    def test_simple_websocket_answers_with_our_headers_and_reads_nothing(self) -> None:
        environ = self.environ(
            HTTP_SEC_WEBSOCKET_EXTENSIONS="permessage-deflate; client_max_window_bits",
            HTTP_SEC_WEBSOCKET_PROTOCOL="a, b",
            HTTP_HOST="xn--:1",  # which wsproto would decode
        )
        before = threading.active_count()
        upgrade(environ, judge(environ), [("X-Own", "1")], 5)
        self.assertEqual(threading.active_count(), before)
        head = self.theirs.recv(4096).decode()
        self.assertTrue(head.startswith("HTTP/1.1 101 "), head)
        self.assertIn("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", head)
        self.assertIn("Sec-WebSocket-Protocol: a\r\n", head)
        self.assertIn("X-Own: 1\r\n", head)
        self.assertNotIn("Extensions", head)

    def test_a_peer_that_has_gone_is_an_os_error(self) -> None:
        self.theirs.close()
        with self.assertRaises(OSError):
            upgrade(self.environ(), judge(self.environ()), [], 5)

    def test_a_peer_that_takes_nothing_gets_nothing_behind_a_handshake_that_failed(self) -> None:
        self.ours.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.ours.send(b"answers to earlier requests")
        with self.assertRaisesRegex(OSError, "timed out"):
            upgrade(self.environ(), judge(self.environ()), [], 0.05)
        self.theirs.recv(1 << 20)
        with self.assertRaises(BrokenPipeError):
            self.ours.send(b"HTTP/1.1 101 Switching Protocols\r\n")

    def test_without_a_socket_there_is_501_and_an_error_in_the_log_once(self) -> None:
        environ = make_environ(SERVER_SOFTWARE="waitress")
        wsgi._tell_of_no_socket.cache_clear()
        with self.assertLogs("ezez_ws", "ERROR") as logs:
            for _ in range(3):
                with self.assertRaises(Refusal) as caught:
                    upgrade(environ, judge(environ), [], 5)
                self.assertEqual(caught.exception.status, 501)
        (text,) = logs.output
        self.assertIn("no WebSocket through waitress: Cannot obtain socket", text)

    def test_a_web_server_with_one_thread_is_warned_of_once_and_gunicorn_s_worker_is_named(self) -> None:
        class Worker:
            def handle_exit(self, *_: object) -> None: ...

        Worker.__module__, Worker.__qualname__ = "gunicorn.workers.sync", "SyncWorker"
        wsgi._warn_of_one_thread.cache_clear()
        environ = self.environ(**{"wsgi.multithread": False})
        with self.assertLogs("ezez_ws", "WARNING") as logs:
            for handler in (signal.SIG_DFL, Worker().handle_exit):
                before = signal.signal(signal.SIGTERM, handler)
                self.addCleanup(signal.signal, signal.SIGTERM, before)
                for _ in range(2):
                    upgrade(environ, judge(self.environ()), [], 5)
        self.assertEqual(
            [
                "the web server has one thread, which a WebSocket keeps: start it with more",
                "gunicorn's gunicorn.workers.sync.SyncWorker has one thread, which a WebSocket keeps:"
                " use --worker-class gthread --threads 100",
            ],
            [record.getMessage() for record in logs.records],
        )


class BorrowedTest(EZEZTestCase):
    def setUp(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.addCleanup(self.ours.close)
        self.addCleanup(self.theirs.close)

    def test_after_close_what_the_owner_writes_does_not_get_through(self) -> None:
        for make in (BorrowedWire, PolledWire):
            self.setUp()
            wire = make(self.ours)
            self.assertEqual(wire.write_now(b"last words"), 10)
            wire.close()
            self.assertNotEqual(self.ours.fileno(), -1)
            with self.assertRaises(BrokenPipeError):
                self.ours.sendall(b"HTTP/1.1 200 OK")
            self.assertEqual((self.theirs.recv(100), self.theirs.recv(100)), (b"last words", b""))
            with self.assertRaises(WireError):
                wire.write_now(b"more")

    def test_a_polled_wire_reads_what_comes_later_and_is_woken_by_cut(self) -> None:
        wire = PolledWire(self.ours)
        got: list[bytes] = []
        reader = threading.Thread(target=lambda: got.extend([wire.read(10), wire.read(10)]))
        reader.start()
        self.theirs.sendall(b"hello")
        while not got and wire.read_now(0) is None:
            pass
        wire.cut()
        reader.join(10)
        self.assertEqual(got, [b"hello", b""])

    def test_what_is_no_socket_of_the_system_is_polled_and_tls_in_it_refused(self) -> None:
        class Green:
            def __init__(self, sock: socket.socket) -> None:
                self.family, self.settimeout, self.setsockopt = sock.family, sock.settimeout, sock.setsockopt

        class GreenTLS(Green):
            pending = 0

        self.assertIs(type(borrow(self.ours)), BorrowedWire)
        self.assertIs(type(borrow(Green(self.ours))), PolledWire)
        with self.assertRaisesRegex(TypeError, r"TLS in a .*GreenTLS is not supported"):
            borrow(GreenTLS(self.ours))


class StoppingTest(EZEZTestCase):
    """gunicorn's worker handles SIGTERM by a method of its own."""

    class Worker:
        alive = True

        def handle_exit(self, *_: object) -> None:
            self.alive = False

    def test_a_worker_that_has_been_told_to_stop_is_stopping(self) -> None:
        worker = self.Worker()
        self.addCleanup(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, worker.handle_exit))
        self.assertFalse(is_stopping())
        signal.raise_signal(signal.SIGTERM)
        self.assertTrue(is_stopping())

    def test_without_a_worker_nothing_is(self) -> None:
        self.assertFalse(is_stopping())
