"""The client's way to a WebSocket: each step ends in time, can be cancelled, and leaves nothing behind."""

import contextlib
import errno
import socket
import threading
import time
import unittest
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

from ezez_ws.opening.dialer import DialCancelled, Dialed, Dialer, DialRefused
from ezez_ws.opening.server_handshake import Refusal, ServerHandshake
from ezez_ws.opening.url import URL, parse_url
from ezez_ws.threads.deadline import Deadline
from tests.support import EZEZTestCase, free_port

Script = Callable[[socket.socket], None]
real_getaddrinfo = socket.getaddrinfo


def read_request(sock: socket.socket) -> ServerHandshake:
    handshake = ServerHandshake(path=None, subprotocols=None, allowed_origins=None, remote_address=())
    while not handshake.feed(sock.recv(4096)):
        pass
    return handshake


def accept(sock: socket.socket) -> None:
    sock.sendall(read_request(sock).accept())


def wait_for_the_end(sock: socket.socket) -> None:
    """Read until the client has gone."""
    with contextlib.suppress(ConnectionError):
        while sock.recv(4096):
            pass


def make_dialer(url: URL, headers: tuple[tuple[str, str], ...] = (), subprotocols: tuple[str, ...] = ()) -> Dialer:
    options: Any = SimpleNamespace(target=url, headers=headers, subprotocols=subprotocols, ssl=None, compress=False)
    return Dialer(options, options)


class DialerTestCase(EZEZTestCase):
    def serve(self, *scripts: Script, host: str = "127.0.0.1") -> str:
        """Accept once, do what the scripts say, and close when the client has; return the URL."""
        server = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        server.settimeout(20)

        def run() -> None:
            with server, server.accept()[0] as sock:
                sock.settimeout(20)
                for script in scripts:
                    script(sock)

        thread = threading.Thread(target=run)
        thread.start()
        self.addCleanup(thread.join)
        return f"ws://{f'[{host}]' if ':' in host else host}:{server.getsockname()[1]}"

    def dialer(self, url: str, subprotocols: tuple[str, ...] = ()) -> Dialer:
        return make_dialer(parse_url(url), (("X-Mine", "yes"),), subprotocols)

    def dial(self, url: str, timeout: float = 20.0) -> Dialed:
        dialed = self.dialer(url).dial(Deadline(timeout))
        self.addCleanup(dialed.wire.close)
        return dialed

    def silent(self) -> str:
        """A server that accepts and says nothing until the client goes."""
        return self.serve(wait_for_the_end)

    @contextlib.contextmanager
    def full(self) -> Iterator[str]:
        """A server whose backlog is full: connecting to it takes for ever."""
        with socket.socket() as server, contextlib.ExitStack() as stack:
            server.bind(("127.0.0.1", 0))
            server.listen(0)
            for _ in range(20):
                sock = stack.enter_context(socket.socket())
                sock.setblocking(False)
                sock.connect_ex(server.getsockname())
            yield f"ws://127.0.0.1:{server.getsockname()[1]}"

    @contextlib.contextmanager
    def slow_lookup(self) -> Iterator[None]:
        """A resolver that takes until the end of the block."""
        over = threading.Event()

        def look_up(*arguments: Any, **options: Any) -> Any:
            if options["flags"] & socket.AI_NUMERICHOST:
                return real_getaddrinfo(*arguments, **options)
            over.wait(50)
            raise socket.gaierror(socket.EAI_AGAIN, "the test's resolver")

        with mock.patch.object(socket, "getaddrinfo", look_up):
            try:
                yield
            finally:
                over.set()
                for thread in threading.enumerate():
                    if thread.name == "ezez-lookup":
                        thread.join()


class SuccessTest(DialerTestCase):
    def test_a_handshake_gives_a_wire_and_what_came_behind_it(self) -> None:
        for early in (b"", b"\x81\x05Hello" * 100):

            def answer(sock: socket.socket, early: bytes = early) -> None:
                sock.sendall(read_request(sock).accept() + early)
                sock.sendall(b"later")

            dialed = self.dial(self.serve(answer, wait_for_the_end))
            got = dialed.early
            while len(got) < len(early) + 5:
                got += dialed.wire.read(4096)
            self.assertEqual(got, early + b"later")
            self.assertIsNone(dialed.deflate)
            self.assertIsNone(dialed.subprotocol)
            dialed.wire.retire()
            dialed.wire.close()

    def test_the_request_bears_the_headers_and_subprotocols_that_were_asked_for(self) -> None:
        seen: list[ServerHandshake] = []

        def answer(sock: socket.socket) -> None:
            seen.append(read_request(sock))
            sock.sendall(seen[0].accept())

        url = self.serve(answer, wait_for_the_end)
        self.dialer(f"{url}/chat?a=b", ("one", "two")).dial(Deadline(20)).wire.close()
        request = seen[0].request
        self.assertEqual((request.path, request.query), ("/chat", "a=b"))
        self.assertEqual(request.headers["X-Mine"], "yes")
        self.assertEqual(request.headers["Sec-WebSocket-Protocol"], "one, two")
        self.assertEqual(request.headers["Host"], url[5:])

    def test_an_answer_that_comes_a_byte_at_a_time_is_read(self) -> None:
        def answer(sock: socket.socket) -> None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in read_request(sock).accept():
                sock.sendall(bytes([byte]))

        self.dial(self.serve(answer, wait_for_the_end)).wire.close()

    def test_no_deadline_is_none(self) -> None:
        self.dialer(self.serve(accept, wait_for_the_end)).dial(Deadline(None)).wire.close()

    def test_a_host_with_an_address_that_refuses_and_one_that_answers_is_reached(self) -> None:
        url = self.serve(accept, wait_for_the_end)
        port = int(url.rsplit(":", 1)[1])
        good = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
        refusing = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", free_port()))
        unsupported = (socket.AF_UNIX, socket.SOCK_STREAM, 6, "", ("nowhere", 1))  # as IPv6 is where there is none

        def look_up(*arguments: Any, flags: int = 0, **options: Any) -> Any:
            if flags & socket.AI_NUMERICHOST:
                raise socket.gaierror(socket.EAI_NONAME, "no number")
            return [unsupported, refusing, good]

        with mock.patch.object(socket, "getaddrinfo", look_up):
            dialed = self.dialer(f"ws://some.host:{port}").dial(Deadline(20))
        dialed.wire.close()

    def test_ipv6_works(self) -> None:
        try:
            url = self.serve(accept, wait_for_the_end, host="::1")
        except OSError:
            self.skipTest("there is no IPv6 here")
        self.dial(url).wire.close()


class RefusalTest(DialerTestCase):
    def test_a_port_that_nobody_listens_on_is_a_connection_refused_error(self) -> None:
        with self.assertRaises(ConnectionRefusedError) as raised:
            self.dial(f"ws://127.0.0.1:{free_port()}")
        self.assertEqual(raised.exception.errno, errno.ECONNREFUSED)
        self.assertIn("127.0.0.1", str(raised.exception))

    def test_an_unknown_host_is_an_os_error(self) -> None:
        def look_up(*arguments: Any, **options: Any) -> Any:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        with mock.patch.object(socket, "getaddrinfo", look_up), self.assertRaises(socket.gaierror):
            self.dial("ws://no-such-host.invalid")

    def test_a_host_name_that_the_resolver_cannot_take_is_an_os_error(self) -> None:
        url = parse_url("ws://host")._replace(host="x" * 64 + ".invalid")
        with self.assertRaises(OSError):
            make_dialer(url).dial(Deadline(20))

    def test_an_http_refusal_is_told_with_its_status(self) -> None:
        for status in (200, 302, 401, 403, 404, 426, 500, 503):

            def refuse(sock: socket.socket, status: int = status) -> None:
                read_request(sock)
                sock.sendall(Refusal(status, "the test's").response())

            with self.assertRaises(DialRefused) as raised:
                self.dial(self.serve(refuse, wait_for_the_end))
            self.assertEqual(raised.exception.status, status)
            self.assertIn(str(status), str(raised.exception))

    def test_the_body_of_a_refusal_is_read_as_far_as_it_comes(self) -> None:
        for script in (wait_for_the_end, lambda sock: None):
            for length in (b"Content-Length: 7\r\n", b"Content-Length: 70\r\n", b""):

                def refuse(sock: socket.socket, length: bytes = length) -> None:
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    read_request(sock)
                    for piece in (b"HTTP/1.1 429 Slow\r\nX: y\r\n" + length + b"\r\nnot", b" now"):
                        sock.sendall(piece)

                with self.subTest(length=length), self.assertRaises(DialRefused) as raised:
                    self.dial(self.serve(refuse, script))
                self.assertEqual((raised.exception.status, raised.exception.body), (429, b"not now"))
                self.assertEqual(raised.exception.headers["x"], "y")

    def test_a_body_that_never_ends_delays_the_refusal_by_a_second(self) -> None:
        def trickle(sock: socket.socket) -> None:
            read_request(sock)
            pause = threading.Event()
            with contextlib.suppress(OSError):
                sock.sendall(b"HTTP/1.1 503 Busy\r\n\r\n")
                while True:
                    sock.sendall(b"x")
                    pause.wait(0.01)

        start = time.monotonic()
        with self.assertRaises(DialRefused) as raised:
            self.dial(self.serve(trickle))
        self.assertLess(time.monotonic() - start, 10)
        self.assertLessEqual({*raised.exception.body}, {ord("x")})
        self.assertGreater(len(raised.exception.body), 5)

    def test_an_answer_that_is_none_is_refused_without_a_status(self) -> None:
        for data in (
            b"\x15\x03\x01\x00\x02\x02\x28",
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"\x00" * 20,
            b"HTTP/1.0 101 Switching Protocols\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n" * 20,
            b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200,
            b"HTTP/1.1 200 OK\r\nX: " + b"y" * 20000,
        ):
            with self.subTest(data=data[:60]):

                def answer(sock: socket.socket, data: bytes = data) -> None:
                    read_request(sock)
                    sock.sendall(data)

                with self.assertRaises(DialRefused) as raised:
                    self.dial(self.serve(answer, wait_for_the_end))
                self.assertIsNone(raised.exception.status)
                self.assertTrue(str(raised.exception))

    def test_an_end_in_the_middle_of_the_handshake_is_a_connection_reset_error(self) -> None:
        def reset(sock: socket.socket) -> None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

        def half(sock: socket.socket) -> None:
            sock.sendall(read_request(sock).accept()[:-1])

        scripts: tuple[tuple[Script, ...], ...] = ((), (reset,), (lambda sock: None,), (half,), (half, reset))
        for script in scripts:
            with self.assertRaises(ConnectionResetError):
                self.dial(self.serve(*script))


class TimeTest(DialerTestCase):
    def assert_in_time(self, url: str, step: str) -> None:
        start = time.monotonic()
        with self.assertRaises(TimeoutError) as raised:
            self.dial(url, 0.15)
        self.assertGreaterEqual(time.monotonic() - start, 0.14)
        self.assertLess(time.monotonic() - start, 5)
        self.assertIn(step, str(raised.exception))

    def test_a_look_up_ends_in_time(self) -> None:
        with self.slow_lookup():
            self.assert_in_time("ws://slow.invalid", "looking up")

    def test_connecting_ends_in_time(self) -> None:
        with self.full() as url:
            self.assert_in_time(url, "connecting")

    def test_waiting_for_an_answer_ends_in_time(self) -> None:
        self.assert_in_time(self.silent(), "answer")

    def test_an_answer_that_never_ends_ends_in_time(self) -> None:
        def trickle(sock: socket.socket) -> None:
            pause = threading.Event()
            with contextlib.suppress(OSError):
                sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nX: ")
                while True:
                    sock.sendall(b"x")
                    pause.wait(0.01)

        self.assert_in_time(self.serve(trickle), "answer")

    def test_an_address_that_does_not_answer_leaves_time_for_the_next(self) -> None:
        url = self.serve(accept, wait_for_the_end)
        with self.full() as stuck:
            addresses = [
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", int(one.rsplit(":", 1)[1])))
                for one in (stuck, url)
            ]

            def look_up(*arguments: Any, flags: int = 0, **options: Any) -> Any:
                if flags & socket.AI_NUMERICHOST:
                    raise socket.gaierror(socket.EAI_NONAME, "no number")
                return addresses

            with mock.patch.object(socket, "getaddrinfo", look_up):
                dialed = self.dialer("ws://some.host").dial(Deadline(2))
            dialed.wire.close()

    def test_a_deadline_that_has_passed_is_a_timeout_error(self) -> None:
        with self.assertRaises(TimeoutError), socket.create_server(("127.0.0.1", 0)) as server:
            self.dial(f"ws://127.0.0.1:{server.getsockname()[1]}", 0)


class CancelTest(DialerTestCase):
    def assert_cancelled(self, url: str, entered: threading.Event | None = None) -> None:
        dialer = self.dialer(url)
        raised: list[BaseException] = []

        def run() -> None:
            try:
                dialer.dial(Deadline(50))
            except BaseException as error:
                raised.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        if entered is not None:
            self.assertTrue(entered.wait(10))
        start = time.monotonic()
        dialer.cancel()
        dialer.cancel()
        thread.join(20)
        self.assertFalse(thread.is_alive())
        self.assertLess(time.monotonic() - start, 5)
        self.assertEqual([type(error) for error in raised], [DialCancelled])

    def test_a_look_up_can_be_cancelled(self) -> None:
        with self.slow_lookup():
            self.assert_cancelled("ws://slow.invalid")

    def test_connecting_can_be_cancelled(self) -> None:
        with self.full() as url:
            self.assert_cancelled(url)

    def test_waiting_for_an_answer_can_be_cancelled(self) -> None:
        requested = threading.Event()

        def read(sock: socket.socket) -> None:
            read_request(sock)
            requested.set()

        self.assert_cancelled(self.serve(read, wait_for_the_end), requested)

    def test_who_is_cancelled_before_does_not_begin(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            dialer = self.dialer(f"ws://127.0.0.1:{server.getsockname()[1]}")
            dialer.cancel()
            with self.assertRaises(DialCancelled):
                dialer.dial(Deadline(20))


if __name__ == "__main__":
    unittest.main()
