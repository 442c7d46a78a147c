"""WSGI applications on the server's port: what they get, what goes out, and what happens where they do not behave."""

import contextlib
import functools
import io
import socket
import threading
import unittest
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.validate import validator

import flask

from ezez_ws import Codec, EZEZWebsocketServer, HTTPResponse
from ezez_ws.logs import limited
from ezez_ws.opening import mounts
from ezez_ws.websocket.frames import BINARY
from tests.opening.test_handshakes import make_request
from tests.opening.test_http import MIB, HTTPTestCase, connection_threads, get, reset_of
from tests.opening.test_upgrade import read_head, read_refusal
from tests.rawpeer import RawPeer
from tests.support import eventually
from tests.test_tls import client_context, server_context

Environ = dict[str, Any]
Start = Callable[..., Any]
TEXT = [("Content-Type", "text/plain")]


def sends(*blocks: Any, status: str = "200 OK", headers: Any = TEXT) -> Callable[[Environ, Start], Iterable[Any]]:
    """Make an application that sends these blocks; one that is an exception is raised in its place."""

    def app(environ: Environ, start_response: Start) -> Iterator[Any]:
        start_response(status, headers)
        for block in blocks:
            if isinstance(block, BaseException):
                raise block
            yield block

    return app


def returns(result: Any, status: str = "200 OK", headers: Any = TEXT) -> Callable[[Environ, Start], Any]:
    def app(environ: Environ, start_response: Start) -> Any:
        start_response(status, headers)
        return result

    return app


class MountTestCase(HTTPTestCase):
    def mount(self, app: Any, at: str = "/app", **options: Any) -> EZEZWebsocketServer:
        server = self.serve(**options)
        server.mount(at, app)
        return server

    def gate(self) -> tuple[threading.Event, threading.Event]:
        """Return an event for who is inside, and one to let it go on, which is set at the end."""
        inside, go_on = threading.Event(), threading.Event()
        self.addCleanup(go_on.set)
        return inside, go_on


class MountingTest(MountTestCase):
    def test_the_nearest_path_above_counts_and_only_whole_segments(self) -> None:
        server = self.serve()

        def tell(path: str, environ: Environ, start_response: Start) -> list[bytes]:
            start_response("200 OK", TEXT)
            return [f"{path} {environ['SCRIPT_NAME']!r} {environ['PATH_INFO']!r}".encode()]

        for path in ("/", "/a", "/a/b/"):
            server.mount(path, functools.partial(tell, path))
        for path, seen in (
            ("/", "/ '' '/'"),
            ("/ab", "/ '' '/ab'"),
            ("/%61", "/ '' '/a'"),  # paths are compared as they are sent
            ("/a", "/a '/a' ''"),
            ("/a/", "/a '/a' '/'"),
            ("/a/c?d", "/a '/a' '/c'"),
            ("/a/b", "/a/b/ '/a/b' ''"),
            ("/a/b//c%2F%C3%A9", "/a/b/ '/a/b' '//c/Ã©'"),
            ("http://h/a/x", "/a '/a' '/x'"),
        ):
            with self.subTest(path=path):
                self.assertEqual(seen, self.ask(server, get(path)).body.decode())

    def test_what_is_no_path_or_no_application_or_there_already_is_refused(self) -> None:
        server = self.mount(sends())

        async def asynchronous(environ: Any, start_response: Any) -> None: ...

        for path in ("", "app", "/a?b", "/a#b", "/a b", 5, None):
            with self.subTest(path=path), self.assertRaisesRegex((TypeError, ValueError), "^path"):
                server.mount(path, sends())  # type: ignore[arg-type]
        no_apps: list[Any] = [None, "app", asynchronous, lambda environ: []]
        for app in no_apps:
            with self.subTest(app=app), self.assertRaisesRegex(TypeError, "^wsgi_app"):
                server.mount("/other", app)
        for path in ("/app", "/app/"):
            with self.assertRaisesRegex(ValueError, "^path is taken: the application at /app "):
                server.mount(path, sends())

    def test_only_get_and_head_without_a_body_and_with_one_host_come_there(self) -> None:
        server = self.mount(sends(b"x"))
        answer = self.ask(server, get("/app", "POST"))
        self.assert_refusal(answer, 405)
        self.assertEqual("GET, HEAD", answer.headers["allow"])
        self.assert_refusal(self.ask(server, get("/app", "GET", "1.1", "Content-Length: 1") + b"x"), 400)
        self.assert_refusal(self.ask(server, get("/app", "GET", "1.1", "Host: another")), 400)
        self.assert_refusal(self.ask(server, b"GET /app HTTP/1.1\r\n\r\n"), 400)
        self.assert_page(self.ask(server, b"GET /app HTTP/1.0\r\n\r\n"), 200, b"x")

    def test_process_request_and_health_path_come_first(self) -> None:
        def process(request: Any) -> HTTPResponse | None:
            return HTTPResponse(401) if request.path == "/app/secret" else None

        server = self.mount(sends(b"x"), process_request=process, health_path="/app/ok")
        self.assert_page(self.ask(server, get("/app/secret")), 401, b"")
        self.assert_page(self.ask(server, get("/app/ok")), 200, b"ok\n")
        self.assert_page(self.ask(server, get("/app/other")), 200, b"x")

    def test_websockets_connect_below_it_as_anywhere_else(self) -> None:
        server = self.mount(sends(b"page"), "/")
        self.enter(server)
        self.assert_page(self.ask(server, get("/chat")), 200, b"page")
        self.assert_refusal(self.ask(server, make_request(Sec_WebSocket_Version="8")), 426)

    def test_an_accept_loop_of_ones_own_serves_it_too(self) -> None:
        server = self.mount(sends(b"page"), port=None)
        for make in (socket.socketpair, self.pair_over_tcp):
            ours, theirs = make()
            with theirs:
                theirs.sendall(get("/app"))
                server.serve_connection(ours)
                self.assert_page(read_refusal(theirs), 200, b"page")

    def pair_over_tcp(self) -> tuple[socket.socket, socket.socket]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            theirs = socket.create_connection(listener.getsockname(), 10)
            return listener.accept()[0], theirs


class ApplicationTest(MountTestCase):
    def test_the_environment_is_that_of_pep_3333(self) -> None:
        seen: list[Environ] = []

        def app(environ: Environ, start_response: Start) -> list[bytes]:
            seen.append(dict(environ))
            start_response("200 OK", TEXT)
            return [environ["wsgi.input"].read(1)]

        server = self.mount(validator(app))
        more = ("Cookie: a=b", "Cookie: c=d", "X-A: 1", "x-a: 2", "X_A: 3", "Content-Type: a/b", "Proxy: evil")
        answer = self.ask(server, get("/app/%C3%A9?q=%20", "GET", "1.1", *more))
        self.assert_page(answer, 200, b"")
        (environ,) = seen
        for name, value in {
            "REQUEST_METHOD": "GET",
            "SCRIPT_NAME": "/app",
            "PATH_INFO": "/Ã©",
            "QUERY_STRING": "q=%20",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": str(server.port),
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_HOST": "server.example.com",
            "HTTP_COOKIE": "a=b; c=d",
            "HTTP_X_A": "1, 2",
            "CONTENT_TYPE": "a/b",
            "wsgi.url_scheme": "http",
            "wsgi.multithread": True,
        }.items():
            self.assertEqual(value, environ[name], name)
        self.assertNotIn("PATH", environ)  # the process's
        self.ask(server, get("/app", "HEAD", "1.0"))
        self.assertEqual(("HEAD", "HTTP/1.0"), (seen[1]["REQUEST_METHOD"], seen[1]["SERVER_PROTOCOL"]))

    def test_a_flask_application_is_served_with_its_cookies_and_redirects(self) -> None:
        app = flask.Flask(__name__)
        app.secret_key = "x"

        @app.get("/")
        def index() -> Any:
            flask.session["seen"] = 1
            return flask.redirect(f"/app/hello?name={flask.request.script_root}")

        @app.get("/hello")
        def hello() -> str:
            return f"{flask.request.args['name']} {flask.session.get('seen')} {flask.request.url}"

        server = self.mount(app)
        answer = self.ask(server, get("/app/"))
        self.assertEqual((302, "/app/hello?name=/app"), (answer.status, answer.headers["location"]))
        cookie = answer.headers["set-cookie"].partition(";")[0]
        page = self.ask(server, get("/app/hello?name=n", "GET", "1.1", f"Cookie: {cookie}"))
        self.assert_page(page, 200, b"n 1 http://server.example.com/app/hello?name=n")
        self.assertEqual(404, self.ask(server, get("/app/none")).status)

    def test_a_response_comes_with_its_length_where_it_is_one_block_and_to_its_end_else(self) -> None:
        whole: list[tuple[Any, bytes, str | None]] = [
            (returns([b"abc"]), b"abc", "3"),
            (returns([]), b"", "0"),
            (returns([b"a", b"", b"bc"]), b"abc", None),
            (sends(b"a", b"bc"), b"abc", None),
            (sends(b"abc", headers=[("content-length", "3")]), b"abc", "3"),
            (returns([b"x" * MIB]), b"x" * MIB, str(MIB)),
            (sends(*[b"x" * 1024] * 1024), b"x" * MIB, None),
            (returns(io.BytesIO(b"a\nb\n")), b"a\nb\n", None),
        ]
        server = self.serve()
        for number, (app, body, length) in enumerate(whole):
            server.mount(f"/{number}", app)
            self.assert_page(self.ask(server, get(f"/{number}")), 200, body, content_length=length)

    def test_what_it_sends_goes_out_at_once(self) -> None:
        inside, go_on = self.gate()

        def app(environ: Environ, start_response: Start) -> Iterator[bytes]:
            start_response("200 OK", TEXT)
            yield b"first"
            inside.set()
            go_on.wait(10)
            yield b"second"

        server = self.mount(app)
        sock = self.connect(server, get("/app"))
        answer = read_head(sock)
        data = answer.body
        while len(data) < 5:
            data += sock.recv(100)
        self.assertEqual(b"first", data)
        go_on.set()
        self.assertEqual(b"second", sock.recv(100))
        self.assertEqual(b"", sock.recv(100))

    def test_the_old_way_to_write_works_too(self) -> None:
        def app(environ: Environ, start_response: Start) -> list[bytes]:
            write = start_response("200 OK", TEXT)
            write(b"a")
            write(b"b")
            return [b"c"]

        self.assert_page(self.ask(self.mount(app), get("/app")), 200, b"abc")

    def test_head_has_the_headers_and_no_body_whatever_the_application_sends(self) -> None:
        server = self.serve()
        for number, (app, length) in enumerate(
            (
                (returns([b"abc"]), "3"),
                (returns([], headers=[("Content-Length", "7")]), "7"),
                (returns([]), None),
                (sends(b"a", b"b"), None),
                (sends(*[b"x" * 65536] * 100), None),
                (sends(b"a", headers=[("Content-Length", "7")]), "7"),
            )
        ):
            server.mount(f"/{number}", app)
            with self.subTest(number=number):
                self.assert_page(self.ask(server, get(f"/{number}", "HEAD")), 200, b"", content_length=length)

    def test_statuses_without_a_body_have_none(self) -> None:
        server = self.serve()
        for status in ("204 No Content", "304 Not Modified"):
            path = f"/{status[:3]}"
            server.mount(path, returns([b"no"], status))
            self.assert_page(self.ask(server, get(path)), int(status[:3]), b"", content_length=None)

    def test_in_tls_it_is_https(self) -> None:
        def app(environ: Environ, start_response: Start) -> list[bytes]:
            start_response("200 OK", TEXT)
            return [environ["wsgi.url_scheme"].encode(), b"x" * 500_000]

        server = self.mount(app, ssl=server_context())
        with client_context().wrap_socket(self.connect(server), server_hostname="127.0.0.1") as sock:
            sock.sendall(get("/app"))
            self.assert_page(read_refusal(sock), 200, b"https" + b"x" * 500_000)


class MisbehavingTest(MountTestCase):
    """What an application does wrong is told once, and harms nobody."""

    @contextlib.contextmanager
    def told(self, level: str, text: str) -> Iterator[None]:
        limited.flush()
        with self.assertLogs("ezez_ws", "WARNING") as logs:
            yield
            eventually(lambda: logs.output)
        self.assertEqual(1, len(logs.output), logs.output)
        self.assertIn(level, logs.output[0])
        self.assertIn(text, logs.output[0])

    def test_what_it_raises_before_anything_went_out_is_an_error_and_a_500(self) -> None:
        def raises(error: BaseException) -> Any:
            def app(environ: Environ, start_response: Start) -> Any:
                raise error

            return app

        def not_closed(environ: Environ, start_response: Start) -> Any:
            return iter(())

        def twice(environ: Environ, start_response: Start) -> Any:
            start_response("200 OK", TEXT)
            start_response("200 OK", TEXT)

        def goes_wrong(environ: Environ, start_response: Start) -> Any:
            start_response("200 OK", TEXT)
            try:
                raise ValueError("secret")
            except ValueError:
                raise RuntimeError("secret") from None

        wrong = [
            *map(raises, (ValueError("secret"), SystemExit("secret"), ConnectionResetError("secret"))),
            *(sends(ValueError("secret")), not_closed, twice, goes_wrong, lambda environ, start_response: None),
            *(returns(result) for result in (None, "secret", ["secret"], [5], 5, [bytearray(b"secret")])),
            *(returns([], status) for status in ("secret", "200", "", "100 Continue", "600 No", "200 OK\r\nA: b")),
            *(returns([], "200 OK", [header]) for header in (("A", "b\r\nC: d"), ("A b", "c"), ("A", "☃"), ("A", 5))),
            *(returns([], "200 OK", [(name, "5")]) for name in ("Connection", "Transfer-Encoding", "Upgrade")),
            *(returns([], "200 OK", [("Content-Length", length)]) for length in ("x", "-1", "1.5", "")),
            returns([], "200 OK", [("Content-Length", "1"), ("content-length", "2")]),
            *(returns([], 5), returns([], "200 OK", None), returns([], "200 OK", ["abc"])),  # type: ignore[arg-type]
            returns([b"secret"], "200 OK", [("Content-Length", "1")]),
        ]
        server = self.serve()
        for number, app in enumerate(wrong):
            server.mount(f"/{number}", app)
            for method, body in (("GET", b"Internal error.\n"), ("HEAD", b"")):
                if method == "HEAD" and app is wrong[-1]:
                    continue  # there no body can be wrong
                with self.subTest(number=number, method=method), self.told("ERROR", "an error in the application at /"):
                    self.assert_page(self.ask(server, get(f"/{number}", method)), 500, body)
        self.enter(server)

    def test_what_it_raises_later_resets_the_connection(self) -> None:
        server = self.serve()
        for number, app in enumerate(
            (
                sends(b"a", ValueError()),
                sends(b"a", "b"),
                sends(b"a", headers=[("Content-Length", "2")]),
                sends(b"a", b"bc", headers=[("Content-Length", "2")]),
            )
        ):
            server.mount(f"/{number}", app)
            with self.subTest(number=number), self.told("ERROR", "an error in the application at /"):
                reset_of(self.connect(server, get(f"/{number}")))

    def test_an_error_when_all_is_sent_is_told_and_the_response_is_whole(self) -> None:
        class Result(list[bytes]):
            def close(self) -> None:
                raise ValueError("closing")

        server = self.mount(returns(Result([b"abc"])))
        with self.told("ERROR", "an error in the application at /app"):
            self.assert_page(self.ask(server, get("/app")), 200, b"abc")

    def test_a_response_that_is_too_large_is_reset_and_the_application_is_closed(self) -> None:
        closed = threading.Event()

        def endless(environ: Environ, start_response: Start) -> Iterator[bytes]:
            start_response("200 OK", TEXT)
            try:
                while True:
                    yield b"x" * 65536
            finally:
                closed.set()

        server = self.serve()
        server.mount("/endless", endless)
        server.mount("/block", returns([b"x" * (MIB + 1)]))
        for path in ("/block", "/endless"):
            with self.told("WARNING", "is larger than 1048576 bytes"):
                self.assertLessEqual(len(reset_of(self.connect(server, get(path)))), MIB + 1000)
        self.assertTrue(closed.wait(10))
        closed.clear()
        self.assert_page(self.ask(server, get("/endless", "HEAD")), 200, b"")
        self.assertTrue(closed.wait(10))

    def test_one_that_hangs_is_reset_in_time_and_its_thread_ends_when_it_returns(self) -> None:
        inside, go_on = self.gate()

        def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
            start_response("200 OK", TEXT)
            if environ["PATH_INFO"] == "/begun":
                yield b"a"
            inside.set()
            go_on.wait(50)
            yield b"b"

        server = self.mount(app, handshake_timeout=1.5, max_connections=1, max_unauthenticated=2)
        for path in ("/app", "/app/begun"):
            inside.clear()
            with self.told("WARNING", "has not ended in time"):
                reset_of(self.connect(server, get(path)))
            self.assertTrue(inside.is_set())
        self.enter(server)  # while they still hang
        self.assertEqual(3, len(connection_threads()))
        go_on.set()
        eventually(lambda: len(connection_threads()) == 1)

    def test_a_reader_that_is_slow_is_reset_in_time(self) -> None:
        server = self.mount(returns([b"x" * MIB]), handshake_timeout=1.5)
        with self.told("WARNING", "its peer did not take it"):
            sock = self.ask_slowly(server, get("/app"))
        reset_of(sock)

    def test_a_peer_that_goes_is_no_error(self) -> None:
        inside, go_on = self.gate()
        ended = threading.Event()

        def app(environ: Environ, start_response: Start) -> Iterator[bytes]:
            start_response("200 OK", TEXT)
            inside.set()
            go_on.wait(10)
            try:
                for _ in range(16):
                    yield b"x" * 65536
            finally:
                ended.set()

        server = self.mount(app)
        with self.assertNoLogs("ezez_ws", "WARNING"):
            sock = self.connect(server, get("/app"))
            inside.wait(10)
            sock.close()
            go_on.set()
            self.assertTrue(ended.wait(10))
            eventually(lambda: not connection_threads())

    def test_many_that_hang_are_asked_no_more_but_others_are_served(self) -> None:
        _, go_on = self.gate()
        most, mounts._MOST_LATE = mounts._MOST_LATE, 3
        self.addCleanup(setattr, mounts, "_MOST_LATE", most)

        def app(environ: Environ, start_response: Start) -> list[bytes]:
            if environ["PATH_INFO"] == "/hang":
                go_on.wait(50)
            start_response("200 OK", TEXT)
            return []

        server = self.mount(app, handshake_timeout=1.5, health_path="/ok")
        with self.assertLogs("ezez_ws", "WARNING") as logs:
            for sock in [self.connect(server, get("/app/hang")) for _ in range(3)]:
                reset_of(sock)
            self.assert_page(eventually(lambda: self.unavailable(server)), 503, b"Try again later.\n")
        self.assertIn("is asked no more: 3 threads", logs.output[-1])
        self.assert_page(self.ask(server, get("/ok")), 200, b"ok\n")
        self.enter(server)
        go_on.set()
        eventually(lambda: self.ask(server, get("/app")).status == 200)

    def unavailable(self, server: EZEZWebsocketServer) -> Any:
        answer = self.ask(server, get("/app"))
        return answer if answer.status == 503 else None

    def test_closing_resets_and_waits_for_no_application(self) -> None:
        inside, go_on = self.gate()

        def app(environ: Environ, start_response: Start) -> list[bytes]:
            inside.set()
            go_on.wait(50)
            start_response("200 OK", TEXT)
            return []

        server = self.mount(app, close_timeout=0.2)
        sock = self.connect(server, get("/app"))
        self.assertTrue(inside.wait(10))
        with self.assertLogs("ezez_ws", "WARNING") as logs:
            server.close()
        self.assertIn("is still inside user code", logs.output[0])
        reset_of(sock)
        go_on.set()
        eventually(lambda: not connection_threads())


class Hatch:
    """An application whose WebSockets another server serves, as the monitor's are."""

    def __init__(self, server: EZEZWebsocketServer) -> None:
        self.server = server
        self.goodbyes = 0

    def __call__(self, environ: Environ, start_response: Start) -> list[bytes]:
        start_response("200 OK", TEXT)
        return [b"page"]

    def _ezez_takes(self, path: str) -> bool:
        return True

    def _ezez_serve(self, wire: Any, handshake: Any, address: Any, deadline: Any) -> None:
        run = self.server._ezez_current_run()
        assert run is not None
        run.serve_read(wire, handshake, address, deadline)

    def _ezez_goodbye(self) -> None:
        self.goodbyes += 1
        self.server.close()


class HandingOverTest(MountTestCase):
    def inner(self, **options: Any) -> EZEZWebsocketServer:
        inner = self.serve(port=None, **options)
        inner.on("echo", lambda client, args, reply, ids: reply("echo", args))
        return inner

    def secure(self, sock: socket.socket) -> socket.socket:
        secure = client_context().wrap_socket(sock, server_hostname="127.0.0.1")
        self.addCleanup(secure.close)
        return secure

    def test_another_server_serves_the_websockets_below_a_path_and_this_one_has_no_part_in_it(self) -> None:
        for tls in (False, True):
            told: list[Any] = []
            inner = self.inner(allowed_origins=["https://good"])
            hatch = Hatch(inner)
            outer = self.mount(
                hatch,
                path="/chat",
                ssl=server_context() if tls else None,
                allowed_origins=["https://other"],
                max_connections=1,
                on_auth_ok=told.append,
            )
            sock = self.secure(self.connect(outer)) if tls else self.connect(outer)
            peer = RawPeer.over(sock, True)
            auth = peer.frame(BINARY, Codec().encode(["ezez-ws::auth", "key", 1]))
            sock.sendall(
                make_request("GET /app/socket HTTP/1.1", Origin="https://good") + auth
            )  # which is read with it
            answer = read_head(sock)
            self.assertEqual(101, answer.status)
            with RawPeer.over(sock, True, answer.body) as peer:
                self.assertEqual(["ezez-ws::auth-ok"], peer.read_values())
                peer.send_event("echo", ["x"])
                event = peer.read_event()
                self.assertEqual(("echo", ["x"]), (event.name, event.args))
                self.assertEqual("/app/socket", inner.clients[0].request.path)
                self.assertEqual([], outer.clients)
                other = self.secure(self.connect(outer)) if tls else self.connect(outer)
                other.sendall(make_request())
                self.assertEqual(101, read_head(other).status)  # the only place is free
                other.close()
                outer.close()
                self.assertEqual(1001, peer.read_end().code)
            self.assertEqual(1, hatch.goodbyes)
            self.assertEqual([], told)
            eventually(lambda: not connection_threads())

    def test_that_server_judges_by_its_own_rules(self) -> None:
        outer = self.mount(Hatch(self.inner(allowed_origins=["https://good"], max_connections=1)))
        line = "GET /app/socket HTTP/1.1"
        for status, request in (
            (403, make_request(line, Origin="https://evil")),
            (400, make_request(line, Sec_WebSocket_Key="short")),
            (426, make_request(line, Sec_WebSocket_Version="8")),
        ):
            self.assert_refusal(self.ask(outer, request), status)
        self.assert_page(self.ask(outer, get("/app/socket")), 200, b"page")
        sock = self.connect(outer, make_request(line))
        self.assertEqual(101, read_head(sock).status)
        self.assert_refusal(self.ask(outer, make_request(line)), 503)

    def test_where_that_server_is_closed_the_connection_ends_and_an_error_in_handing_over_is_told(self) -> None:
        inner = self.inner()
        outer = self.mount(Hatch(inner))
        request = make_request("GET /app/socket HTTP/1.1")
        run = inner._ezez_current_run()
        assert run is not None
        run.close(0.0)
        self.assertEqual(b"", self.connect(outer, request).recv(100))
        inner.close()
        with self.assertLogs("ezez_ws", "ERROR") as logs:
            self.assertEqual(b"", self.connect(outer, request).recv(100))
            eventually(lambda: logs.output)
        self.assertIn("an error while serving", logs.output[0])


if __name__ == "__main__":
    unittest.main()
