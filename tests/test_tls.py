"""wss:// between real ends, with real certificates: what is trusted, what is refused, and that nothing tears."""

import datetime
import os
import socket
import ssl
import threading
from typing import Any

import trustme

from ezez_ws import ConnectionFailed, EZEZWebSocketClient, EZEZWebsocketServer, HandshakeRequest
from ezez_ws.opening.client_handshake import ClientHandshake
from ezez_ws.opening.url import parse_url
from ezez_ws.websocket.frames import encode_frame
from tests.support import EZEZTestCase, eventually

AUTHORITY = trustme.CA()


def server_context(certificate: trustme.LeafCert | None = None, wants_client: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (certificate or AUTHORITY.issue_cert("127.0.0.1", "localhost")).configure_cert(context)
    if wants_client:
        AUTHORITY.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


class TLSTestCase(EZEZTestCase):
    def serve(self, context: ssl.SSLContext, **options: Any) -> EZEZWebsocketServer:
        server = EZEZWebsocketServer(port=0, ssl=context, on_auth_request=lambda client, key: True, **options)
        server.on("echo", lambda client, args, reply, ids: reply("echo", args))
        server.start()
        self.addCleanup(server.close)
        return server

    def connect(self, url: str | None, context: ssl.SSLContext | None, **options: Any) -> EZEZWebSocketClient:
        assert url is not None
        client = EZEZWebSocketClient(url, ssl=context, **options)
        self.addCleanup(client.close)
        client.connect(timeout=20)
        return client


class TrustTest(TLSTestCase):
    def refused(self, url: str | None, context: ssl.SSLContext | None) -> ConnectionFailed:
        with self.assertRaises(ConnectionFailed) as caught:
            self.connect(url, context)
        return caught.exception

    def test_a_trusted_server_is_talked_to(self) -> None:
        server = self.serve(server_context())
        assert server.url is not None
        self.assertTrue(server.url.startswith("wss://127.0.0.1:"))
        client = self.connect(server.url, client_context())
        self.assertEqual(client.send("echo", ["x"]).wait_reply(10).args, ["x"])

    def test_a_certificate_for_another_name_is_refused_at_once(self) -> None:
        server = self.serve(server_context(AUTHORITY.issue_cert("elsewhere.example")))
        self.assertIn("IP address mismatch", str(self.refused(server.url, client_context())))

    def test_an_expired_certificate_is_refused_at_once(self) -> None:
        yesterday = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)
        server = self.serve(server_context(AUTHORITY.issue_cert("127.0.0.1", not_after=yesterday)))
        self.assertIn("expired", str(self.refused(server.url, client_context())))

    def test_a_certificate_of_nobody_known_is_refused_at_once(self) -> None:
        error = self.refused(self.serve(server_context()).url, None)
        self.assertIn("CERTIFICATE_VERIFY_FAILED", str(error))
        self.assertIsInstance(error.__cause__.__cause__ if error.__cause__ else None, ssl.SSLCertVerificationError)

    def test_a_server_that_wants_a_certificate_refuses_a_client_without_one(self) -> None:
        server = self.serve(server_context(wants_client=True))
        self.assertIn("CERTIFICATE_REQUIRED", str(self.refused(server.url, client_context())).upper().replace(" ", "_"))

    def test_a_client_that_shows_its_certificate_gets_in(self) -> None:
        server = self.serve(server_context(wants_client=True))
        context = client_context()
        AUTHORITY.issue_cert("me@example.org").configure_cert(context)
        client = self.connect(server.url, context)
        self.assertEqual(client.send("echo", ["x"]).wait_reply(10).args, ["x"])

    def test_the_request_has_the_certificate_that_a_client_has_shown(self) -> None:
        seen: list[object] = []

        def verify(request: HandshakeRequest) -> bool:
            seen.append(request.peer_certificate)
            return True

        server = self.serve(server_context(wants_client=True), verify_request=verify)
        context = client_context()
        AUTHORITY.issue_cert("me@example.org").configure_cert(context)
        self.connect(server.url, context)
        request = server.clients[0].request
        self.assertEqual([request.peer_certificate], seen)
        assert request.peer_certificate is not None
        self.assertEqual((("email", "me@example.org"),), request.peer_certificate["subjectAltName"])

    def test_the_request_of_a_client_that_has_shown_none_has_none(self) -> None:
        optional = server_context()
        AUTHORITY.configure_trust(optional)
        optional.verify_mode = ssl.CERT_OPTIONAL
        for context in (optional, server_context()):
            server = self.serve(context)
            self.connect(server.url, client_context())
            self.assertIsNone(server.clients[0].request.peer_certificate)

    def test_a_context_for_the_other_side_is_refused_at_construction(self) -> None:
        with self.assertRaisesRegex(ValueError, r"^ssl must be a context for a server"):
            EZEZWebsocketServer(
                port=0, ssl=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), on_auth_request=lambda client, key: True
            )
        with self.assertRaisesRegex(ValueError, r"^ssl must be a context for a client"):
            EZEZWebSocketClient("wss://127.0.0.1", ssl=server_context())
        with self.assertRaisesRegex(ValueError, r"^ssl is for wss:// URLs"):
            EZEZWebSocketClient("ws://127.0.0.1", ssl=client_context())


class StrangersTest(TLSTestCase):
    def test_plain_http_on_the_tls_port_gets_nowhere_and_disturbs_nobody(self) -> None:
        server = self.serve(server_context())
        assert server.port is not None
        with socket.create_connection(("127.0.0.1", server.port), 10) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
            plain.settimeout(10)
            try:
                answer = plain.recv(4096)
            except ConnectionResetError:
                answer = b""
        self.assertNotIn(b"101", answer)
        self.assertEqual(self.connect(server.url, client_context()).send("echo", [1]).wait_reply(10).args, [1])

    def test_a_client_that_connects_and_says_nothing_delays_nobody_and_is_left_in_time(self) -> None:
        server = self.serve(server_context(), handshake_timeout=0.5)
        assert server.port is not None
        with socket.create_connection(("127.0.0.1", server.port), 10) as silent:
            self.assertEqual(self.connect(server.url, client_context()).send("echo", [1]).wait_reply(10).args, [1])
            silent.settimeout(10)
            self.assertEqual(silent.recv(1), b"")

    def test_a_server_that_says_nothing_costs_a_client_its_connect_timeout(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"wss://127.0.0.1:{silent.getsockname()[1]}"
            with self.assertRaises(ConnectionFailed) as caught:
                self.connect(url, client_context(), connect_timeout=0.3, auto_reconnect=False)
        self.assertIn("TLS", str(caught.exception))

    def test_closing_the_server_does_not_wait_for_a_handshake(self) -> None:
        server = self.serve(server_context())
        assert server.port is not None
        with socket.create_connection(("127.0.0.1", server.port), 10) as silent:
            eventually(lambda: any(thread.name.startswith("ezez-conn") for thread in threading.enumerate()))
            server.close()
            silent.settimeout(10)
            self.assertEqual(silent.recv(1), b"")

    def test_a_client_that_half_closes_is_answered_and_forgotten(self) -> None:
        gone = threading.Event()
        codes: list[int] = []

        def note(client: Any, code: int, reason: str) -> None:
            codes.append(code)
            gone.set()

        server = self.serve(server_context(), on_disconnect=note)
        client = self.connect(server.url, client_context(), auto_reconnect=False)
        assert client.client is not None
        client.client._connection.stream._outbox.end_writing()
        self.assertTrue(gone.wait(10))
        self.assertEqual(codes, [1006])
        self.assertTrue(client.wait_closed(10))


class FinishTest(TLSTestCase):
    def test_a_peer_that_idles_after_a_refusal_costs_no_time(self) -> None:
        server = self.serve(server_context(), close_timeout=1.0)
        client = self.connect(server.url, client_context(), auto_reconnect=False)
        assert client.client is not None and server.url is not None
        polls = 0

        def count(frame: Any, event: str, argument: Any) -> None:
            nonlocal polls
            if event == "call" and frame.f_code.co_name == "poll" and frame.f_code.co_filename.endswith("tls.py"):
                polls += 1

        before = set(threading.enumerate())
        threading.setprofile(count)
        try:
            port = int(server.url.rsplit(":", 1)[1])
            raw = client_context().wrap_socket(
                socket.create_connection(("127.0.0.1", port), 10), server_hostname="127.0.0.1"
            )
            request = ClientHandshake(parse_url(server.url), (), (), "").request()
            raw.sendall(request + encode_frame(2, b"garbage", b"mask"))
            eventually(lambda: set(threading.enumerate()) - before)
        finally:
            threading.setprofile(None)
        connection = (set(threading.enumerate()) - before).pop()
        connection.join(20)
        raw.close()
        self.assertLess(polls, 100)


class ThreadsTest(TLSTestCase):
    def test_four_threads_write_a_megabyte_each_while_the_other_side_writes_too(self) -> None:
        size, rounds = 1 << 20, 5
        server = self.serve(server_context(), max_payload=2 * size)
        client = self.connect(server.url, client_context(), max_payload=2 * size)
        wrong: list[object] = []

        def write(number: int) -> None:
            data = os.urandom(size - 1) + bytes([number])
            for _ in range(rounds):
                try:
                    if client.send("echo", [data]).wait_reply(50).args != [data]:
                        wrong.append(number)
                except Exception as error:
                    wrong.append(error)

        def push() -> None:
            for _ in range(rounds * 10):
                server.broadcast("noise", [os.urandom(50_000)])

        threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        threads.append(threading.Thread(target=push))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])

    def test_a_peer_that_does_not_read_fills_the_buffer_and_gets_all_in_the_end(self) -> None:
        server = self.serve(server_context(), max_payload=8 << 20)
        client = self.connect(server.url, client_context(), max_payload=8 << 20)
        gate = threading.Event()
        client.on("hold", lambda args, reply, ids: gate.wait(30))
        server.broadcast("hold")
        sent = [client.send("echo", [os.urandom(300_000)]) for _ in range(20)]
        gate.set()
        for message in sent:
            self.assertEqual(len(message.wait_reply(30).args[0]), 300_000)
