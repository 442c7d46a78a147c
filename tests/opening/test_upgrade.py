"""The upgrade, as peers see it: who is refused and how, what is bounded, and that no answer and no byte is lost."""

import socket
import threading
import time
import unittest
from typing import Any, NamedTuple

from ezez_ws import EZEZServerClient, EZEZWebsocketServer, HandshakeRequest
from ezez_ws.messages.codec import Codec
from ezez_ws.websocket.frames import BINARY, PING, PONG, FrameDecoder, Message, encode_frame
from tests.opening.test_handshakes import make_request
from tests.support import EZEZTestCase, eventually

MASK = b"\1\2\3\4"
MIB = 1 << 20


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


def read_head(sock: socket.socket) -> Answer:
    """Read the head of an answer, and what came with it."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(4096)
        if not piece:
            raise EOFError(data)
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers: dict[str, str] = {}
    for line in lines:
        name, value = line.split(": ", 1)
        headers[name.lower()] = ", ".join(filter(None, (headers.get(name.lower()), value)))
    return Answer(int(status.split(" ")[1]), headers, rest)


def read_refusal(sock: socket.socket) -> Answer:
    """Read an answer up to the end of the bytes."""
    status, headers, body = read_head(sock)
    while True:
        piece = sock.recv(4096)
        if not piece:
            return Answer(status, headers, body)
        body += piece


class UpgradeTestCase(EZEZTestCase):
    def serve(self, **options: Any) -> EZEZWebsocketServer:
        options.setdefault("port", 0)
        options.setdefault("on_auth_request", lambda client, key: True)
        options.setdefault("close_timeout", 1.0)
        server = EZEZWebsocketServer(**options)
        server.start()
        self.addCleanup(server.close)
        return server

    def connect(self, server: EZEZWebsocketServer, data: bytes = b"") -> socket.socket:
        assert server.port is not None
        sock = socket.create_connection((server.host, server.port), 10)
        self.addCleanup(sock.close)
        sock.sendall(data)
        return sock

    def ask(self, server: EZEZWebsocketServer, request: bytes) -> Answer:
        """Send a request, and read the refusal up to its end."""
        with self.connect(server, request) as sock:
            return read_refusal(sock)

    def enter(self, server: EZEZWebsocketServer, behind: bytes = b"") -> socket.socket:
        sock = self.connect(server, make_request() + behind)
        self.assertEqual(read_head(sock).status, 101)
        return sock

    def read_messages(self, sock: socket.socket, data: bytes, count: int) -> list[Message]:
        """Read so many messages; ``data`` has been read before."""
        decoder = FrameDecoder(False, MIB)
        messages = decoder.feed(data)
        while len(messages) < count:
            data = sock.recv(4096)
            if not data:
                raise EOFError(messages)
            messages += decoder.feed(data)
        return messages

    def assert_refusal(self, answer: Answer, status: int) -> None:
        self.assertEqual(answer.status, status)
        self.assertIn("close", answer.headers["connection"].split(", "))
        if status not in (204, 304):
            self.assertEqual(answer.headers["content-length"], str(len(answer.body)))
            self.assertTrue(answer.body.strip())


class RefusalTest(UpgradeTestCase):
    def test_the_first_of_the_reasons_in_the_order_of_the_issue_is_the_answer(self) -> None:
        asked: list[HandshakeRequest] = []

        def verify(request: HandshakeRequest) -> int:
            asked.append(request)
            return 418

        server = self.serve(path="/chat", allowed_origins=["https://good"], max_connections=1, verify_request=verify)
        good = {"Origin": "https://good"}
        origin = {"Origin": "https://bad"}
        host = {**origin, "Host": None}
        key = {**host, "Sec_WebSocket_Key": "short"}
        version = {**key, "Sec_WebSocket_Version": "12"}
        upgrade = {**version, "Upgrade": None}
        lines = "GET /chat HTTP/1.1", "POST /chat HTTP/1.1", "POST /other HTTP/1.1", "POST /other HTTP/1.0"
        for status, line, headers, more in (
            (400, lines[3], upgrade, ()),
            (400, lines[2], upgrade, ("no header",)),
            (431, lines[2], upgrade, ["A: b"] * 101),
            (431, lines[2], upgrade, ["A: " + "b" * 20000]),
            (404, lines[2], upgrade, ()),
            (405, lines[1], upgrade, ()),
            (426, lines[0], upgrade, ()),
            (426, lines[0], version, ()),
            (400, lines[0], key, ()),
            (400, lines[0], host, ()),
            (403, lines[0], origin, ()),
            (418, lines[0], good, ()),
        ):
            with self.subTest(status=status, line=line, headers=headers):
                self.assert_refusal(self.ask(server, make_request(line, *more, **headers)), status)
        self.assertEqual(len(asked), 1)
        self.assertEqual(server.clients, [])

    def test_what_is_no_http_is_refused_at_once(self) -> None:
        server = self.serve()
        for data in (b"\x16\x03\x01\x02\x00\x01", b"\x00", b"{}\r\n", b"hello\r\n", b"GET / HTTP/1.1\n"):
            with self.subTest(data=data):
                self.assert_refusal(self.ask(server, data), 400)

    def test_a_full_server_answers_503_before_it_asks_the_user_and_a_place_is_free_afterwards(self) -> None:
        asked: list[HandshakeRequest] = []

        def verify(request: HandshakeRequest) -> bool:
            asked.append(request)
            return True

        server = self.serve(max_connections=2, verify_request=verify)
        socks = [self.enter(server) for _ in range(2)]
        self.assert_refusal(self.ask(server, make_request()), 503)
        self.assert_refusal(self.ask(server, make_request(Sec_WebSocket_Key="short")), 400)
        self.assertEqual(len(asked), 2)
        for _ in range(3):
            socks.pop(0).close()
            eventually(lambda: len(server.clients) == 1)

            def entered() -> socket.socket | None:
                sock = self.connect(server, make_request())
                return sock if read_head(sock).status == 101 else None

            sock = eventually(entered)
            assert sock is not None
            socks.append(sock)
            self.assert_refusal(self.ask(server, make_request()), 503)

    def test_whoever_is_refused_holds_no_place(self) -> None:
        answers: list[Any] = []
        server = self.serve(max_connections=1, verify_request=lambda request: answers.pop())
        for _ in range(3):
            answers[:] = [True, False]  # the last is the first to be given
            refused = self.connect(server, make_request())
            self.assertEqual(read_head(refused).status, 403)  # and the refused does not go
            sock = self.connect(server, make_request())
            self.assertEqual(read_head(sock).status, 101)
            sock.close()
            refused.close()
            eventually(lambda: not server.clients)
            answers[:] = [True]
            eventually(lambda: self.probe(server, answers))

    def probe(self, server: EZEZWebsocketServer, answers: list[Any]) -> bool:
        """Tell whether the place of a connection that has just gone is free."""
        answers[:] = [False]
        return self.ask(server, make_request()).status == 403

    def test_verify_request_answers_by_true_false_or_a_status(self) -> None:
        answers: list[Any] = []
        server = self.serve(verify_request=lambda request: answers.pop())
        for answer, status in (
            (False, 403),
            (None, 403),
            (200, 200),
            (204, 204),
            (302, 302),
            (401, 401),
            (499, 499),
            (503, 503),
            (599, 599),
        ):
            with self.subTest(answer=answer):
                answers.append(answer)
                self.assert_refusal(self.ask(server, make_request()), status)
        answers.append(True)
        self.enter(server).close()

    def test_verify_request_that_raises_or_answers_nonsense_is_a_500_that_tells_nothing(self) -> None:
        answers: list[Any] = []

        def verify(request: HandshakeRequest) -> Any:
            answer = answers.pop()
            if isinstance(answer, BaseException):
                raise answer
            return answer

        server = self.serve(verify_request=verify, max_connections=1)
        for answer in (
            ValueError("secret"),
            SystemExit("secret"),
            "secret",
            101,
            199,
            600,
            0,
            1,
            2.5,
            b"secret",
            [True],
        ):
            with self.subTest(answer=answer), self.assertLogs("ezez_ws", "ERROR"):
                answers.append(answer)
                refusal = self.ask(server, make_request())
                self.assert_refusal(refusal, 500)
                self.assertNotIn(b"secret", refusal.body)
        answers.append(True)
        self.enter(server).close()

    def test_a_page_of_the_same_origin_may_connect_and_no_other(self) -> None:
        server = self.serve(allowed_origins="same-origin")
        host = f"{server.host}:{server.port}"
        for origin in (f"http://{host}", f"https://{host}"):
            sock = self.connect(server, make_request(Host=host, Origin=origin))
            self.assertEqual(read_head(sock).status, 101)
        for origin in ("http://evil.example", f"http://{server.host}", "null"):
            self.assert_refusal(self.ask(server, make_request(Host=host, Origin=origin)), 403)
        self.enter(server)  # no browser

    def test_a_callable_is_asked_whose_pages_may_connect_before_verify_request(self) -> None:
        asked: list[Any] = []
        answers: list[Any] = [True, False, None]

        def allow(origin: str, request: HandshakeRequest) -> Any:
            asked.append((origin, request.path))
            return answers.pop()

        def verify(request: HandshakeRequest) -> bool:
            asked.append("verify")
            return True

        server = self.serve(allowed_origins=allow, verify_request=verify)
        request = make_request(Origin="https://A.example:443")
        self.assert_refusal(self.ask(server, request), 403)
        self.assert_refusal(self.ask(server, request), 403)
        sock = self.connect(server, request)
        self.assertEqual(read_head(sock).status, 101)
        self.enter(server)
        two = make_request("GET / HTTP/1.1", "Origin: https://a.example", Origin="https://a.example")
        self.assert_refusal(self.ask(server, two), 403)
        self.assertEqual(asked, [("https://A.example:443", "/chat")] * 3 + ["verify"] * 2)

    def test_a_callable_for_origins_that_raises_or_answers_nonsense_is_a_500_that_is_told_once(self) -> None:
        answers: list[Any] = [ValueError("secret"), 1, "yes", [True], 403]

        def allow(origin: str, request: HandshakeRequest) -> Any:
            answer = answers.pop()
            if isinstance(answer, Exception):
                raise answer
            return answer

        server = self.serve(allowed_origins=allow)
        while answers:
            with self.subTest(answer=answers[-1]), self.assertLogs("ezez_ws", "WARNING") as logs:
                refusal = self.ask(server, make_request(Origin="https://a.example"))
                self.assert_refusal(refusal, 500)
                self.assertNotIn(b"secret", refusal.body)
            self.assertEqual(1, len(logs.output))
            self.assertIn("an error in allowed_origins", logs.output[0])
            self.assertIn("Traceback", logs.output[0])

    def test_verify_request_sees_the_request(self) -> None:
        seen: list[HandshakeRequest] = []

        def verify(request: HandshakeRequest) -> bool:
            seen.append(request)
            return False

        server = self.serve(verify_request=verify)
        self.ask(server, make_request("GET /a%20b?c=d HTTP/1.1", "Cookie: e=f; g=h"))
        (request,) = seen
        self.assertEqual((request.path, request.query, dict(request.cookies)), ("/a%20b", "c=d", {"e": "f", "g": "h"}))
        self.assertEqual(request.headers["HOST"], "server.example.com")
        self.assertEqual(request.remote_address[0], "127.0.0.1")


class BoundsTest(UpgradeTestCase):
    def test_headers_that_come_a_byte_at_a_time_are_cut_off_when_the_time_is_over(self) -> None:
        server = self.serve(handshake_timeout=0.3)
        sock = self.connect(server)
        sent, start = 0, time.monotonic()
        pause = threading.Event()
        with self.assertRaises(OSError):
            while time.monotonic() < start + 10:
                sock.sendall(b"GET / HTTP/1.1\r\n"[sent : sent + 1] if sent < 16 else b"A")
                sent += 1
                pause.wait(0.01)
        self.assertGreater(sent, 1)

    def test_who_says_nothing_is_cut_off_and_delays_nobody(self) -> None:
        server = self.serve(handshake_timeout=1.0)
        silent = [self.connect(server) for _ in range(20)]
        start = time.monotonic()
        self.enter(server).close()
        self.assertLess(time.monotonic() - start, 1.0)
        for sock in silent:
            self.assertEqual(sock.recv(10), b"")

    def test_silent_connections_do_not_delay_the_close_of_the_server(self) -> None:
        server = self.serve(handshake_timeout=50)
        socks = [self.connect(server, b"GET / HTTP/1.1\r\n") for _ in range(5)]
        assert server.listener is not None
        eventually(lambda: sum(thread.name.startswith("ezez-conn-") for thread in threading.enumerate()) == 5)
        start = time.monotonic()
        server.close()
        self.assertLess(time.monotonic() - start, 10)
        for sock in socks:
            self.assertEqual(sock.recv(10), b"")

    def test_headers_without_an_end_are_refused_with_431_while_they_come(self) -> None:
        server = self.serve()
        for line in (b"X-Filler: abcdefgh\r\n", b"x" * 1000):
            sock = self.connect(server, b"GET / HTTP/1.1\r\n")
            if line[-1:] != b"\n":
                sock.sendall(b"X: ")
            stop = threading.Event()

            def send(sock: socket.socket = sock, line: bytes = line, stop: threading.Event = stop) -> None:
                try:
                    while not stop.is_set():
                        sock.sendall(line)
                except OSError:
                    pass

            sender = threading.Thread(target=send)
            sender.start()
            self.assert_refusal_head(sock, 431)
            stop.set()
            sender.join()
            sock.close()

    def assert_refusal_head(self, sock: socket.socket, status: int) -> None:
        answer = read_head(sock)
        self.assertEqual((answer.status, answer.headers["connection"]), (status, "close"))

    def test_the_answer_is_not_lost_to_a_reset_where_a_body_is_not_read(self) -> None:
        server = self.serve()
        body = b"x" * 200_000  # of more it would not listen to all
        request = make_request("POST / HTTP/1.1", f"Content-Length: {len(body)}")
        for _ in range(5):
            sock = self.connect(server, request)
            sender = threading.Thread(target=sock.sendall, args=(body,))
            sender.start()
            sender.join()  # all of it, before the answer is read
            self.assert_refusal(read_refusal(sock), 405)
            sock.close()

    def test_a_refused_peer_that_does_not_go_is_cut_off(self) -> None:
        server = self.serve()
        sock = self.connect(server, b"nonsense\r\n")
        self.assert_refusal(read_refusal(sock), 400)
        eventually(lambda: not any(thread.name.startswith("ezez-conn-") for thread in threading.enumerate()))


class AdmissionTest(UpgradeTestCase):
    def test_what_is_pipelined_behind_the_request_belongs_to_the_websocket(self) -> None:
        seen: list[Any] = []

        def record(client: EZEZServerClient, event: str, args: Any, reply: Any, ids: Any) -> None:
            seen.append((event, args))

        server = self.serve(on_message=record, messages_before_auth="accept")
        codec = Codec()
        auth = encode_frame(BINARY, codec.encode(["ezez-ws::auth", "key", 1]), MASK)
        event = encode_frame(BINARY, codec.encode(["early", 1, None, "x" * 10000]), MASK)
        ping = encode_frame(PING, b"ping", MASK)
        everything = make_request() + ping + auth + event
        for pieces in (
            [everything],
            [everything[:300], everything[300:]],
            [everything[i : i + 1] for i in range(700)] + [everything[700:]],
        ):
            sock = self.connect(server)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for piece in pieces:
                sock.sendall(piece)
            answer = read_head(sock)
            self.assertEqual(answer.status, 101)
            pong, accepted = self.read_messages(sock, answer.body, 2)
            self.assertEqual(pong, Message(PONG, b"ping"))
            assert isinstance(accepted.payload, bytes)
            self.assertEqual(codec.decode(accepted.payload), ["ezez-ws::auth-ok"])
            sock.close()
        eventually(lambda: len(seen) == 3)
        self.assertEqual(seen, [("early", ["x" * 10000])] * 3)

    def test_the_answer_to_the_rfcs_sample_is_the_rfcs(self) -> None:
        server = self.serve()
        sock = self.connect(server, make_request())
        answer = read_head(sock)
        self.assertEqual(answer.status, 101)
        self.assertEqual(answer.headers["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        self.assertNotIn("sec-websocket-protocol", answer.headers)
        self.assertNotIn("sec-websocket-extensions", answer.headers)

    def test_a_peer_that_goes_in_the_middle_of_its_request_leaves_nothing(self) -> None:
        server = self.serve(max_connections=1)
        request = make_request()
        for cut in (0, 1, 20, len(request) - 1):
            self.connect(server, request[:cut]).close()
        self.enter(server).close()
        eventually(lambda: not server.clients)

    def test_500_connections_at_once_that_never_authenticate_leave_room_for_one_that_does(self) -> None:
        server = self.serve(auth_timeout=50.0)
        socks = [self.connect(server, make_request()) for _ in range(500)]
        for sock in socks:
            self.assertEqual(read_head(sock).status, 101)
        auth = encode_frame(BINARY, Codec().encode(["ezez-ws::auth", "key", 1]), MASK)
        sock = self.connect(server, make_request() + auth)
        (message,) = self.read_messages(sock, read_head(sock).body, 1)
        self.assertEqual(message.payload, Codec().encode(["ezez-ws::auth-ok"]))
        self.assertEqual(sum(client.authenticated for client in server.clients), 1)
        sock.close()
        for sock in socks:
            sock.close()
        eventually(lambda: not server.clients)


if __name__ == "__main__":
    unittest.main()
