"""Plain HTTP on the server's port: ``process_request``, ``health_path``, and that all else gets what it got before."""

import copy
import pickle
import resource
import socket
import threading
import unittest
from collections.abc import Callable
from typing import Any
from wsgiref.util import setup_testing_defaults

from ezez_ws import EZEZWebsocketServer, HandshakeRequest, HTTPResponse
from ezez_ws.logs import limited
from ezez_ws.opening.head import MAX_HEAD_BYTES
from ezez_ws.websocket.frames import BINARY, encode_frame
from tests.opening.test_handshakes import make_request
from tests.opening.test_upgrade import Answer, UpgradeTestCase, read_head, read_refusal
from tests.support import EZEZTestCase, allow_seconds, eventually
from tests.test_tls import client_context, server_context

MIB = 1 << 20
BIG = HTTPResponse(200, b"x" * MIB)


def get(path: str, method: str = "GET", version: str = "1.1", *headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: server.example.com", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def reset_of(sock: socket.socket) -> bytes:
    """Read up to a reset, which must come; what came before it."""
    data = bytearray()
    try:
        while piece := sock.recv(65536):
            data += piece
    except ConnectionResetError:
        return bytes(data)
    raise AssertionError(f"it has ended as if whole, with {bytes(data[-100:])!r}")


def connection_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ezez-conn-")]


class HTTPTestCase(UpgradeTestCase):
    def ask_slowly(self, server: EZEZWebsocketServer, request: bytes) -> socket.socket:
        """Send a request from where little is taken: of a response of 1 MiB most stays with the server."""
        assert server.listener is not None
        server.listener.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # what it accepts inherits that
        sock = socket.socket()
        self.addCleanup(sock.close)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(10)
        sock.connect((server.host, server.port))
        sock.sendall(request)
        return sock

    def assert_page(self, answer: Answer, status: int, body: bytes, **headers: str | None) -> None:
        self.assertEqual((status, body), (answer.status, answer.body))
        self.assertEqual("close", answer.headers["connection"])
        for name, value in headers.items():
            self.assertEqual(value, answer.headers.get(name.replace("_", "-")), name)


class ResponseTest(EZEZTestCase):
    def test_text_is_sent_as_utf_8_and_headers_come_as_a_mapping_or_as_pairs(self) -> None:
        pairs = (("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"))
        response = HTTPResponse(302, "é", pairs, content_type=None)
        found = response.status, response.body, response.headers, response.content_type
        self.assertEqual((302, "é".encode(), pairs, None), found)
        self.assertEqual((("Location", "/"),), HTTPResponse(302, headers={"Location": "/"}).headers)
        self.assertEqual("text/plain; charset=utf-8", HTTPResponse(200).content_type)

    def test_what_no_client_can_be_sent_is_refused_by_an_error_that_begins_with_the_argument(self) -> None:
        wrong: list[tuple[str, tuple[Any, ...]]] = [
            *(("status", (value,)) for value in ("200", True, None, 199, 101, 600, 2.0)),
            *(("body", (200, value)) for value in (None, 5, ["x"], "\ud800", b"x" * (MIB + 1))),
            *(("body", (status, b"x")) for status in (204, 304)),
            *(("content_type", (200, b"", (), value)) for value in ("a\r\nB: c", 5, "☃")),
            *(("headers", (200, b"", value)) for value in ({"a b": "c"}, {"a": "b\nc"}, {"a": "\x00"}, {"a": "☃"})),
            *(
                ("headers", (200, b"", value))
                for value in ({"a": 5}, [("a",)], ["ab"], None, "a: b", {"": "x"}, {b"a": "b"})
            ),
            *(("headers", (200, b"", {name: "x"})) for name in ("Connection", "content-length", "Content-Type")),
            *(("headers", (200, b"", {name: "x"})) for name in ("Transfer-Encoding", "Upgrade", "Date")),
        ]
        for name, args in wrong:
            with self.subTest(args=str(args)[:80]), self.assertRaisesRegex((TypeError, ValueError), f"^{name}\\b"):
                HTTPResponse(*args)

    def test_it_is_immutable_and_can_be_copied_and_pickled_and_shows_no_body(self) -> None:
        response = HTTPResponse(200, b"secret", {"A": "b"}, "text/html")
        for other in (copy.copy(response), copy.deepcopy(response), pickle.loads(pickle.dumps(response))):
            self.assertEqual(b"secret", other.body)
            self.assertEqual((("A", "b"),), other.headers)
        with self.assertRaises(AttributeError):
            response.status = 5
        with self.assertRaises(AttributeError):
            del response.body
        self.assertEqual("<HTTPResponse 200, 6 bytes>", repr(response))


class ProcessRequestTest(HTTPTestCase):
    def test_a_response_is_sent_to_get_and_head_in_both_versions_and_none_goes_on(self) -> None:
        asked: list[HandshakeRequest] = []

        def process(request: HandshakeRequest) -> HTTPResponse | None:
            asked.append(request)
            return HTTPResponse(200, "hello", {"X-A": "b"}, "text/html") if request.path == "/page" else None

        server = self.serve(process_request=process)
        for version in ("1.1", "1.0"):
            answer = self.ask(server, get("/page?a=b", version=version))
            self.assert_page(answer, 200, b"hello", content_type="text/html", content_length="5", x_a="b")
            self.assertRegex(answer.headers["date"], r"^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$")
            answer = self.ask(server, get("/page", "HEAD", version))
            self.assert_page(answer, 200, b"", content_type="text/html", content_length="5", x_a="b")
        self.assert_page(self.ask(server, b"GET /page HTTP/1.0\r\n\r\n"), 200, b"hello")
        self.assertEqual(("/page", "a=b"), (asked[0].path, asked[0].query))
        self.enter(server)
        self.assertEqual("/chat", asked[-1].path)

    def test_an_upgrade_may_be_answered_too_and_is_no_client_then(self) -> None:
        told: list[Any] = []
        response = HTTPResponse(401, "no", {"WWW-Authenticate": "Basic"})
        server = self.serve(process_request=lambda request: response, on_disconnect=lambda *args: told.append(args))
        self.assert_page(self.ask(server, make_request()), 401, b"no", www_authenticate="Basic")
        self.assertEqual([], server.clients)
        server.close()
        self.assertEqual([], told)

    def test_every_status_can_be_sent(self) -> None:
        answers: list[HTTPResponse] = []
        server = self.serve(process_request=lambda request: answers.pop())
        for status in (200, 204, 299, 302, 304, 404, 405, 426, 503, 599):
            answers.append(HTTPResponse(status))
            answer = self.ask(server, get("/"))
            self.assert_page(answer, status, b"", content_length=None if status in (204, 304) else "0")
            self.assertNotIn("upgrade", answer.headers)

    def test_other_methods_and_bodies_are_not_asked_about(self) -> None:
        asked: list[HandshakeRequest] = []
        server = self.serve(process_request=asked.append)
        for request, status in (
            (get("/", "POST"), 405),
            (get("/", "OPTIONS"), 405),
            (get("/", "GET", "1.1", "Content-Length: 1") + b"x", 426),
            (get("/", "GET", "1.1", "Transfer-Encoding: chunked"), 426),
            (make_request("GET / HTTP/1.1", "Content-Length: 1"), 400),
        ):
            self.assert_refusal(self.ask(server, request), status)
        self.assertEqual([], asked)
        self.assert_refusal(self.ask(server, get("/", "GET", "1.1", "Content-Length: 0")), 426)
        self.assertEqual(1, len(asked))

    def test_what_it_raises_or_nonsense_is_one_error_and_a_500_that_tells_nothing(self) -> None:
        answers: list[Any] = [ValueError("secret"), SystemExit("secret"), "secret", 200, b"secret", True, (200, b"x")]

        def process(request: HandshakeRequest) -> Any:
            answer = answers[-1]
            if isinstance(answer, BaseException):
                raise answer
            return answer

        server = self.serve(process_request=process)
        while answers:
            limited.flush()
            for request in (get("/"), get("/", "HEAD"), make_request()):
                with self.subTest(answer=answers[-1]), self.assertLogs("ezez_ws", "WARNING") as logs:
                    answer = self.ask(server, request)
                    body = b"" if request.startswith(b"HEAD") else b"internal error\n"
                    self.assert_page(answer, 500, body)
                self.assertEqual(1, len(logs.output))
                self.assertIn("an error in process_request", logs.output[0])
            answers.pop()

    def test_one_request_is_answered_and_what_is_pipelined_behind_it_is_read_away(self) -> None:
        server = self.serve(process_request=lambda request: HTTPResponse(200, request.path))
        for behind in (get("/2"), b"x" * 200_000, encode_frame(BINARY, b"x", b"\1\2\3\4")):
            self.assert_page(self.ask(server, get("/1") + behind), 200, b"/1")

    def test_a_response_that_comes_too_late_or_is_not_read_is_reset_with_a_warning(self) -> None:
        go_on = threading.Event()
        self.addCleanup(go_on.set)
        late = [True]

        def process(request: HandshakeRequest) -> HTTPResponse:
            if late.pop():
                go_on.wait(10)
            return BIG

        server = self.serve(process_request=process, handshake_timeout=1.5)
        with self.assertLogs("ezez_ws", "WARNING") as logs:
            sock = self.connect(server, get("/"))
            eventually(lambda: not late)
            pause = threading.Event()
            pause.wait(1.6)  # the time that it has
            go_on.set()
            self.assertEqual(b"", reset_of(sock))
            late.append(False)
            sock = self.ask_slowly(server, get("/"))
            eventually(lambda: len(logs.output) == 2)
            reset_of(sock)
        self.assertTrue(all("cut the response" in line for line in logs.output), logs.output)

    def test_in_tls_a_response_comes_whole_to_a_slow_reader(self) -> None:
        page = HTTPResponse(200, b"x" * 60_000)  # is encrypted at once, and taken by the kernel bit by bit
        server = self.serve(ssl=server_context(), process_request=lambda request: page)
        with client_context().wrap_socket(self.ask_slowly(server, b""), server_hostname="127.0.0.1") as sock:
            sock.sendall(get("/"))
            answer = read_refusal(sock)  # whose end must be TLS's own
        self.assert_page(answer, 200, page.body)

    def test_none_of_it_needs_a_place_or_takes_one(self) -> None:
        server = self.serve(process_request=lambda request: BIG if request.path == "/" else None, max_connections=1)
        slow = self.ask_slowly(server, get("/"))
        self.assertEqual(200, read_head(slow).status)
        self.enter(server)
        for _ in range(3):
            self.assert_page(self.ask(server, get("/")), 200, BIG.body)
        self.assert_refusal(self.ask(server, make_request()), 503)
        self.assertEqual(1, len(server.clients))

    def test_an_address_that_has_its_connections_gets_pages(self) -> None:
        server = self.serve(health_path="/ok", max_connections_per_address=1)
        self.enter(server)
        for _ in range(3):
            self.assert_page(self.ask(server, get("/ok")), 200, b"ok\n")
        self.assert_refusal(self.ask(server, make_request()), 503)

    def test_pages_that_are_not_read_do_not_keep_clients_out(self) -> None:
        server = self.serve(process_request=lambda request: BIG if request.path == "/" else None, max_unauthenticated=3)
        slow = []
        for _ in range(3):
            slow.append(self.ask_slowly(server, get("/")))
            self.assertEqual(200, read_head(slow[-1]).status)
        with self.assertLogs("ezez_ws", "WARNING") as logs:
            self.enter(server)
        self.assertIn("has given up its place", logs.output[0])
        reset_of(slow[0])

    def test_closing_resets_what_is_not_whole(self) -> None:
        server = self.serve(process_request=lambda request: BIG)
        slow = self.ask_slowly(server, get("/"))
        self.assertEqual(200, read_head(slow).status)
        server.close()
        reset_of(slow)

    @allow_seconds(120)
    def test_a_thousand_requests_at_once_are_answered_and_clients_stay(self) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if 0 <= soft < 2500:
            resource.setrlimit(resource.RLIMIT_NOFILE, (2500, hard))
            self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        options = {"auth_timeout": 50.0, "handshake_timeout": 50.0, "max_unauthenticated": None}
        server = self.serve(health_path="/healthz", **options)
        client = self.enter(server)
        socks = [self.connect(server) for _ in range(1000)]
        for index, sock in enumerate(socks):
            sock.sendall(get("/healthz" if index % 2 else "/other"))
        for index, sock in enumerate(socks):
            self.assertEqual(200 if index % 2 else 426, read_refusal(sock).status)
            sock.close()
        self.assertEqual(1, len(server.clients))
        client.close()
        eventually(lambda: not connection_threads())


class HealthTest(HTTPTestCase):
    def test_the_path_is_answered_200_as_probes_ask(self) -> None:
        server = self.serve(health_path="/healthz", path="/chat")
        for request in (
            get("/healthz"),
            get("/healthz?verbose"),
            get("/healthz", "GET", "1.0"),
            b"GET /healthz HTTP/1.0\r\n\r\n",  # HAProxy
            get("/healthz", "GET", "1.1", "Connection: close"),
            get("/healthz", "GET", "1.1", "Connection: keep-alive", "User-Agent: kube-probe/1.30"),
        ):
            self.assert_page(self.ask(server, request), 200, b"ok\n", cache_control="no-store", content_length="3")
        self.assert_page(self.ask(server, get("/healthz", "HEAD")), 200, b"", content_length="3")
        self.assert_refusal(self.ask(server, get("/healthz/")), 404)
        self.enter(server)

    def test_it_takes_no_other_method_and_no_body(self) -> None:
        server = self.serve(health_path="/healthz")
        answer = self.ask(server, get("/healthz", "POST", "1.1", "Content-Length: 1") + b"x")
        self.assert_refusal(answer, 405)
        self.assertEqual("GET, HEAD", answer.headers["allow"])
        self.assert_refusal(self.ask(server, get("/healthz", "GET", "1.1", "Content-Length: 1") + b"x"), 400)

    def test_a_websocket_may_connect_there(self) -> None:
        server = self.serve(health_path="/chat")
        self.enter(server)

    def test_process_request_is_asked_first(self) -> None:
        server = self.serve(health_path="/healthz", process_request=lambda request: HTTPResponse(503, "not yet"))
        self.assert_page(self.ask(server, get("/healthz")), 503, b"not yet")

    def test_while_it_closes_the_port_refuses(self) -> None:
        server = self.serve(health_path="/healthz")
        address = server.host, server.port
        self.enter(server)  # which does not answer our goodbye
        closing = threading.Thread(target=server.close)
        closing.start()

        def refused() -> bool:
            try:
                socket.create_connection(address, 5).close()
            except OSError as error:  # a reset, where it stood in the queue
                return isinstance(error, ConnectionRefusedError)
            return False

        eventually(refused)
        closing.join()


class BehindWebServerTest(HTTPTestCase):
    """The same by ``wsgi_app``."""

    def test_pages_are_answered_and_are_no_refusals_and_mounted_is_nothing(self) -> None:
        def process(request: HandshakeRequest) -> HTTPResponse | None:
            if request.path == "/raise":
                raise ValueError
            return HTTPResponse(200, "page", {"X-A": "b"}) if request.path == "/page" else None

        server = self.serve(port=None, process_request=process, health_path="/healthz")
        server.mount("/app", lambda environ, start_response: [])
        with self.assertLogs("ezez_ws", "INFO") as logs:
            self.assertEqual(("200 OK", b"page", "b"), self.call(server, "/page", "X-A"))
            self.assertEqual(("200 OK", b"", "4"), self.call(server, "/page", "Content-Length", REQUEST_METHOD="HEAD"))
            self.assertEqual(("200 OK", b"ok\n", "no-store"), self.call(server, "/healthz", "Cache-Control"))
            self.assertEqual("426 Upgrade Required", self.call(server, "/app", "Upgrade")[0])
            self.assertEqual("500 Internal Server Error", self.call(server, "/raise", "X-A")[0])
        self.assertEqual(3, len(logs.output), logs.output)  # two refusals, and an error
        self.assertEqual({"426": 1, "500": 1}, dict(server.stats().handshakes_refused))
        server.close()
        self.assertEqual("503 Service Unavailable", self.call(server, "/healthz", "X-A")[0])

    def call(self, server: EZEZWebsocketServer, path: str, header: str, **more: str) -> tuple[str, bytes, str | None]:
        """Return the status, the body and one header."""
        environ: dict[str, Any] = {"PATH_INFO": path, "SERVER_PROTOCOL": "HTTP/1.1", **more}
        setup_testing_defaults(environ)
        begun: list[Any] = []
        body = b"".join(server.wsgi_app(environ, lambda *args: begun.extend(args)))
        status, headers = begun
        return status, body, dict(headers).get(header)


class UnchangedTest(HTTPTestCase):
    """A request that is none of ours gets, byte for byte, what it gets from a server without all this."""

    REQUESTS = (
        *(make_request(f"{method} /{path} HTTP/1.1", Upgrade=None) for method in ("GET", "HEAD") for path in ("", "a")),
        *(get("/", "GET", version) for version in ("1.0", "1.1", "1.2", "0.9", "2.0")),
        *(get("/", method) for method in ("POST", "PUT", "OPTIONS", "BREW", "get")),
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.0\r\nX: y\nZ",
        b"GET / HTTP/1.0\r\nno header\r\n\r\n",
        b"GET / HTTP/1.0\r\nA: " + b"b" * MAX_HEAD_BYTES + b"\r\n\r\n",
        b"GET / HTTP/1.0\r\n" + b"A: b\r\n" * 101 + b"\r\n",
        b"GET a HTTP/1.0\r\n\r\n",
        b"GET a HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.0\r\nContent-Length: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nno header\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"GET /\r\n",
        make_request("GET / HTTP/1.0"),
        make_request(Sec_WebSocket_Version="12"),
        make_request(Sec_WebSocket_Key="short"),
        make_request(Host=None),
        make_request(Origin="https://bad"),
        make_request("GET /chat HTTP/1.1", "Content-Length: 5"),
        make_request("HEAD /chat HTTP/1.1"),
        make_request(),
    )

    def bytes_of(self, server: EZEZWebsocketServer, request: bytes) -> bytes:
        sock = self.connect(server, request)
        if request == make_request():
            return sock.recv(4096)
        data = b""
        while piece := sock.recv(4096):
            data += piece
        sock.close()
        return data

    def test_by_every_kind_of_request(self) -> None:
        for path in (None, "/chat"):
            options: dict[str, Any] = {"allowed_origins": ["https://good"], "path": path}
            before = self.serve(**options)
            nothing: Callable[[HandshakeRequest], None] = lambda request: None  # noqa: E731
            after = self.serve(process_request=nothing, health_path="/healthz", **options)
            after.mount("/app", lambda environ, start_response: [])
            for request in self.REQUESTS:
                with self.subTest(request=request[:100], options=options):
                    self.assertEqual(self.bytes_of(before, request), self.bytes_of(after, request))


if __name__ == "__main__":
    unittest.main()
