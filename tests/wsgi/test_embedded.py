"""Werkzeug's server inside of the test's process: the server's options, and its life, where a web server accepts."""

import contextlib
import io
import logging
import os
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import trustme
from werkzeug.serving import make_server

from ezez_ws import ConnectionFailed, EZEZWebSocketClient, EZEZWebsocketServer
from ezez_ws.opening.wsgi import warn_of_no_start
from tests.opening.test_handshakes import make_request
from tests.opening.test_upgrade import Answer, read_head
from tests.rawpeer import RawPeer
from tests.serving import KEY, Calls, ServingTestCase
from tests.support import REPO, EZEZTestCase, eventually
from tests.wsgi.test_web_servers import LARGE, get

MOSTLY_WAITS = True

PAGE = b"a page"


class QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


class EmbeddedTestCase(ServingTestCase):
    """Runs Werkzeug's threaded server around ``server.wsgi_app``, as a test of a user's application does."""

    def mount(self, context: ssl.SSLContext | None = None, **options: Any) -> EZEZWebsocketServer:
        """Make a server without a port, and a web server that gives it every path but ``/page``."""
        options.setdefault("port", None)
        server = self.make(**options)
        server.on("echo", lambda client, args, reply, ids: reply("echo", args))

        def app(environ: Any, start_response: Any) -> Any:
            if environ["PATH_INFO"] != "/page":
                return server.wsgi_app(environ, start_response)
            start_response("200 OK", [("Content-Length", str(len(PAGE)))])
            return [PAGE]

        self.log = io.StringIO()
        self.addCleanup(setattr, sys, "stderr", sys.stderr)
        sys.stderr = self.log  # where socketserver prints
        logger, handler = logging.getLogger("werkzeug"), logging.StreamHandler(self.log)
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
        self.addCleanup(logger.removeHandler, handler)
        self.web = make_server("127.0.0.1", 0, app, threaded=True, ssl_context=context)
        self.address = f"127.0.0.1:{self.web.server_port}"
        thread = threading.Thread(target=self.web.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(self.web.shutdown)
        return server

    def visit(self, path: str = "/", scheme: str = "ws", **options: Any) -> EZEZWebSocketClient:
        client = EZEZWebSocketClient(
            f"{scheme}://{self.address}{path}", auth=KEY, auto_reconnect=False, max_payload=64 << 20, **options
        )
        self.addCleanup(client.close)
        client.connect(timeout=20)
        return client

    def raw(self, auth: str | None = KEY, **options: Any) -> RawPeer:
        peer = RawPeer.connect(f"ws://{self.address}/", auth, **options)
        self.addCleanup(peer.close)
        return peer

    def ask(self, *headers: str, target: str = "/", **changed: str | None) -> Answer:
        """Send a request for an upgrade, and return the head of the answer."""
        with socket.create_connection(self.web.server_address[:2], 20) as sock:  # type: ignore[arg-type]
            sock.sendall(make_request(f"GET {target} HTTP/1.1", *headers, **changed))
            return read_head(sock)

    def status(self, *headers: str, target: str = "/", **changed: str | None) -> int:
        return self.ask(*headers, target=target, **changed).status


class EmbeddedTest(EmbeddedTestCase):
    """The web server in a unittest."""

    def test_pages_and_a_hundred_connections_share_the_port(self) -> None:
        server = self.mount()
        with ThreadPoolExecutor(10) as pool:
            clients = list(pool.map(lambda _: self.visit(), range(100)))
        self.assertEqual(get(f"http://{self.address}/page")[:2], (200, PAGE.decode()))
        self.assertEqual(len(server.clients), 100)
        got = Calls()
        for client in clients:
            client.on("news", got.named("news"))
        self.assertEqual(server.broadcast("news"), 100)
        got.wait(100)
        for client in clients:
            client.close()
        eventually(lambda: not server.clients)

    def test_a_large_message_there_and_back(self) -> None:
        self.mount(max_payload=64 << 20)
        for compression in (None, "deflate"):
            client = self.visit(compression=compression, send_timeout=60)
            self.assertEqual(client.send("echo", [LARGE]).wait_reply(60).args, [LARGE])

    def test_a_wrong_key_is_refused_as_on_a_port_of_its_own(self) -> None:
        self.mount()
        peer = self.raw(auth=None)
        peer.send_values("ezez-ws::auth", "wrong", 1)
        self.assertEqual(peer.read_end(), ([["ezez-ws::auth-rejected", "Invalid auth key"]], 1008, "Invalid auth key"))
        self.assertEqual(peer.sock.recv(1), b"")

    def test_nothing_is_logged_as_an_error_however_a_connection_ends(self) -> None:
        gone = Calls()
        server = self.mount(on_disconnect=gone.named("gone", 1))
        self.raw().close()
        gone.wait(1)  # each has a thread of its own
        peer = self.raw()
        peer.send_raw(b"\xff\xff")  # no frame
        self.assertEqual(peer.read_end().code, 1002)
        gone.wait(2)
        self.visit().close()
        gone.wait(3)
        self.visit()
        eventually(lambda: server.clients)[-1].disconnect(4001)
        self.assertEqual([code for _, code in gone.wait(4)], [1006, 1002, 1000, 4001])
        server.close()
        eventually(lambda: self.log.getvalue().count(" 101 ") == 4)
        self.assertNotIn("rror", self.log.getvalue())


class RefusalTest(EmbeddedTestCase):
    """Who may come in is decided before simple-websocket answers."""

    def test_what_is_no_upgrade_gets_426(self) -> None:
        self.mount()
        status, _, headers = get(f"http://{self.address}/")
        self.assertEqual((status, headers["Upgrade"], headers["Sec-WebSocket-Version"]), (426, "websocket", "13"))
        self.assertEqual(self.status(Sec_WebSocket_Version="8"), 426)
        self.assertEqual(self.status(Upgrade=None), 426)

    def test_path_origin_and_key_are_judged_as_on_a_port_of_its_own(self) -> None:
        self.mount(path="/socket%20s", allowed_origins=["https://example.org"])
        self.assertEqual(self.status(target="/socket%20s?x=1"), 101)
        self.assertEqual(self.status(target="/"), 404)
        self.assertEqual(self.status("Origin: https://example.org", target="/socket%20s"), 101)
        self.assertEqual(self.status("Origin: https://example.com", target="/socket%20s"), 403)
        self.assertEqual(self.status(target="/socket%20s", Sec_WebSocket_Key="short"), 400)

    def test_verify_request_sees_the_request_and_has_the_last_word(self) -> None:
        seen = []

        def verify(request: Any) -> Any:
            seen.append((request.path, request.query, request.headers["X-Own"], dict(request.cookies)))
            return {"no": False, "teapot": 418, "yes": True}[request.query]

        self.mount(verify_request=verify)
        head = ("X-Own: a", "Cookie: b=c")
        self.assertEqual(self.status(*head, target="/%C3%A4?yes"), 101)
        self.assertEqual(seen, [("/%C3%A4", "yes", "a", {"b": "c"})])
        self.assertEqual(self.status(*head, target="/?no"), 403)
        self.assertEqual(self.status(*head, target="/?teapot"), 418)
        with self.assertLogs("ezez_ws", logging.ERROR):
            self.assertEqual(self.status(*head, target="/?error"), 500)

    def test_who_has_not_sent_its_authentication_makes_room_for_another(self) -> None:
        server = self.mount(max_unauthenticated=1, auth_timeout=50.0)
        silent = self.raw(None)
        eventually(lambda: len(server.clients) == 1)
        with self.assertLogs("ezez_ws", logging.WARNING):
            self.raw()
        self.assertEqual(silent.read_end().code, 1008)

    def test_past_max_connections_there_is_503_until_one_has_gone(self) -> None:
        server = self.mount(max_connections=1)
        peer = self.raw()
        self.assertEqual(self.status(), 503)
        peer.close()
        eventually(lambda: not server.clients)
        eventually(lambda: self.status() == 101)

    def test_the_first_subprotocol_that_both_know_is_chosen(self) -> None:
        self.mount(subprotocols=["b", "c"])
        self.assertEqual(self.ask("Sec-WebSocket-Protocol: a, c, b").headers["sec-websocket-protocol"], "c")
        self.assertNotIn("sec-websocket-protocol", self.ask("Sec-WebSocket-Protocol: x").headers)

    def test_without_a_list_the_clients_first_subprotocol_is_chosen(self) -> None:
        self.mount()
        self.assertEqual(self.ask("Sec-WebSocket-Protocol: a, c").headers["sec-websocket-protocol"], "a")

    def test_compression_is_agreed_to_only_where_it_is_an_option_and_was_offered(self) -> None:
        offer = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10; client_max_window_bits"
        self.mount()
        self.assertNotIn("sec-websocket-extensions", self.ask(offer).headers)
        self.mount(compression="deflate")
        answered = self.ask(offer).headers["sec-websocket-extensions"]
        self.assertEqual(answered, "permessage-deflate; server_max_window_bits=10")
        self.assertNotIn("sec-websocket-extensions", self.ask().headers)

    def test_a_web_server_without_sockets_in_its_environ_gets_a_clear_refusal(self) -> None:
        server = self.make(port=None)
        with WSGIServer(("127.0.0.1", 0), QuietHandler) as web:
            web.set_app(server.wsgi_app)
            for headers, status in ((make_request(), 501), (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 426)):
                with socket.create_connection(web.server_address[:2], 20) as sock:  # type: ignore[arg-type]
                    sock.sendall(headers)
                    with contextlib.ExitStack() as stack:
                        if status == 501:
                            stack.enter_context(self.assertLogs("ezez_ws", logging.ERROR))
                        web.handle_request()
                    self.assertEqual(read_head(sock).status, status)


class LifeTest(EmbeddedTestCase):
    """Starting and closing, where others accept."""

    def test_the_first_request_starts_it_and_after_close_only_start_does(self) -> None:
        server = self.mount()
        self.assertEqual(server.clients, [])
        self.assertEqual(self.status(), 101)
        server.close()
        self.assertEqual(self.status(), 503)
        server.start()
        self.assertEqual(self.status(), 101)
        self.assertIsNone(server.url)

    def test_closed_before_the_first_request_it_stays_closed(self) -> None:
        server = self.mount()
        server.close()
        self.assertEqual(self.status(), 503)

    def test_with_a_port_it_takes_requests_only_while_started(self) -> None:
        server = self.mount(port=0)
        warn_of_no_start.cache_clear()
        with self.assertLogs("ezez_ws", "WARNING") as logs:
            self.assertEqual((self.status(), self.status()), (503, 503))
        (text,) = logs.output
        self.assertIn("wsgi_app answers 503: this server has port=0, and is not started", text)
        server.start()
        self.assertEqual(self.status(), 101)
        self.peer(server)
        self.raw()
        eventually(lambda: sum(client.authenticated for client in server.clients) == 2)

    def test_close_takes_leave_and_returns_when_the_web_servers_threads_are_back(self) -> None:
        gone = Calls()
        server = self.mount(on_disconnect=gone.named("gone", 1))
        peers = [self.raw() for _ in range(5)]
        ends = [self.in_thread(lambda peer=peer: self._say_goodbye(peer)) for peer in peers]
        server.close()
        self.assertEqual(gone.seen, [("gone", 1001)] * 5)
        self.assertEqual([end.get() for end in ends], [(1001, b"")] * 5)

    def _say_goodbye(self, peer: RawPeer) -> Any:
        code = peer.read_end().code
        peer.send_close(1001)
        return code, peer.sock.recv(1)

    def test_close_cuts_a_peer_that_does_not_answer_in_its_bound(self) -> None:
        server = self.mount(close_timeout=0.5)
        peer = self.raw()
        start = time.monotonic()
        server.close()
        self.assertLess(time.monotonic() - start, 3)
        self.assertEqual(peer.read_end().code, 1001)
        self.assertEqual(peer.sock.recv(1), b"")

    def test_close_names_a_thread_that_is_inside_user_code_and_does_not_wait_for_it(self) -> None:
        server = self.mount(close_timeout=0.5)
        gate = self.gate()
        server.on("stay", gate)
        self.raw().send_event("stay")
        gate.wait_entered()
        with self.assertLogs("ezez_ws", logging.WARNING) as logs:
            server.close()
        self.assertRegex(logs.output[0], r"closed, but the thread \S.* is still inside user code")

    def test_who_comes_out_of_verify_request_when_all_is_over_is_cut(self) -> None:
        gate = self.gate()

        def verify(request: Any) -> bool:
            gate()
            return True

        server = self.mount(close_timeout=0.2, auth_timeout=60, verify_request=verify)
        connecting = self.in_thread(self.raw, None)
        gate.wait_entered()
        with self.assertLogs("ezez_ws", logging.WARNING):
            server.close()
        gate.open()
        self.assertTrue(connecting.get().at_end())

    def test_a_listener_may_close_the_server(self) -> None:
        server = self.mount()
        server.on("close", lambda client, args, reply, ids: server.close())
        client, other = self.visit(), self.visit()
        client.send("close")
        self.assertTrue(client.wait_closed(10))
        self.assertTrue(other.wait_closed(10))
        eventually(lambda: self.status() == 503)

    def test_serve_forever_is_refused_on_a_thread_that_serves(self) -> None:
        server = self.mount()
        errors: list[BaseException] = []
        server.on("serve", lambda client, args, reply, ids: self._expect(server.serve_forever, errors, reply))
        self.visit().send("serve").wait_reply(10)
        self.assertIsInstance(errors[0], RuntimeError)

    def _expect(self, function: Any, errors: list[BaseException], reply: Any) -> None:
        try:
            function()
        except RuntimeError as error:
            errors.append(error)
        reply("done")

    def test_two_first_requests_at_once_start_one_server(self) -> None:
        server = self.mount()
        with ThreadPoolExecutor(20) as pool:
            clients = list(pool.map(lambda _: self.visit(), range(20)))
        self.assertEqual(len(server.clients), 20)
        self.assertEqual(server.broadcast("x"), len(clients))


class TLSTest(EmbeddedTestCase):
    """TLS that the web server ends: the socket in the environ is an SSLSocket."""

    def setUp(self) -> None:
        super().setUp()
        authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        self.trusting = ssl.create_default_context()
        authority.configure_trust(self.trusting)
        self.server = self.mount(context, max_payload=64 << 20)

    def test_messages_of_all_sizes_go_there_and_back(self) -> None:
        client = self.visit(scheme="wss", ssl=self.trusting, send_timeout=60)
        for size in (0, 1, 16383, 16384, 16385, 100_000, len(LARGE)):
            self.assertEqual(client.send("echo", [LARGE[:size]]).wait_reply(60).args, [LARGE[:size]])

    def test_both_ends_send_at_once_from_several_threads_and_nothing_tears(self) -> None:
        client = self.visit(scheme="wss", ssl=self.trusting, send_timeout=60)
        (side,) = eventually(lambda: self.server.clients)
        got, echoed = Calls(), Calls()
        client.on("news", got.named("news", 0))
        client.on("echo", echoed.named("echo", 0))

        def send(number: int) -> None:
            for round_ in range(20):
                payload = bytes([number, round_]) * 50_000
                (side if number % 2 else client).send("news" if number % 2 else "echo", [payload])

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(send, range(6)))
        for calls, numbers in ((got, (1, 3, 5)), (echoed, (0, 2, 4))):
            wanted = {bytes([number, round_]) * 50_000 for number in numbers for round_ in range(20)}
            self.assertEqual({args[0] for _, args in calls.wait(60)}, wanted)

    def test_a_peer_that_does_not_read_is_cut_and_holds_up_nobody(self) -> None:
        slow = self.visit(scheme="wss", ssl=self.trusting)
        (side,) = eventually(lambda: self.server.clients)
        other = self.visit(scheme="wss", ssl=self.trusting)
        gate = self.gate()
        slow.on("news", gate)
        side.send("news")
        gate.wait_entered()
        for _ in range(100):
            self.server.broadcast("more", [LARGE[: 1 << 20]], where=lambda one: one is side)
            if not side.alive:
                break
        self.assertFalse(side.alive)
        self.assertEqual(other.send("echo", [1]).wait_reply(10).args, [1])

    def test_the_end_is_said_in_tls_and_nothing_is_logged_as_an_error(self) -> None:
        ends = Calls()
        self.visit(scheme="wss", ssl=self.trusting, on_disconnect=ends.named("end", 0))
        self.server.close()
        self.assertEqual(ends.wait(), [("end", 1001)])
        eventually(lambda: " 101 " in self.log.getvalue())
        self.assertNotIn("rror", self.log.getvalue())

    def test_without_trust_there_is_no_connection(self) -> None:
        with self.assertRaises(ConnectionFailed):
            self.visit(scheme="wss")


@unittest.skipUnless(hasattr(os, "fork"), "there is no fork here")
class ForkTest(EZEZTestCase):
    def test_a_server_that_was_not_started_belongs_to_whoever_starts_it(self) -> None:
        code = """
            import os, sys, warnings
            from ezez_ws import EZEZWebsocketServer

            warnings.simplefilter("ignore")
            server = EZEZWebsocketServer(port=0, on_auth_request=lambda client, key: True)
            server.on("x", print)
            pid = os.fork()
            if pid == 0:
                with server:
                    print(server.url.startswith("ws://"), flush=True)
                sys.exit(0)
            print(os.waitpid(pid, 0)[1], flush=True)
            with server:
                print(server.url.startswith("ws://"), flush=True)
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)], cwd=REPO, capture_output=True, text=True, timeout=50
        )
        self.assertEqual((done.stdout.split(), done.stderr), (["True", "0", "True"], ""))
