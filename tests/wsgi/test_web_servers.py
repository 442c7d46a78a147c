"""Flask's development server and gunicorn, each in processes of its own: sockets and pages on one port."""

import os
import signal
import socket
import ssl
import tempfile
import unittest
import urllib.error
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import gunicorn.config
import trustme

from ezez_ws import ConnectionFailed, EZEZWebSocketClient
from tests.rawpeer import RawPeer
from tests.serving import KEY
from tests.support import EZEZTestCase, allow_seconds, eventually
from tests.wsgi.webserver import WebServer

MOSTLY_WAITS = True

APP = "tests.wsgi.app:app"
FLASK = ("flask", "--app", APP, "run", "--port", "0")
# since version 25 it has a socket in the user's home, to be controlled by
QUIET = ("--no-control-socket",) if hasattr(gunicorn.config, "ControlSocketDisable") else ()
GUNICORN = ("gunicorn", "--bind", "127.0.0.1:0", "--worker-class", "gthread", *QUIET)
MANY = 100
LARGE = bytes(range(256)) * (8 << 12)  # 8 MiB


def get(url: str, **options: Any) -> tuple[int, str, Any]:
    """Return status, body and headers of a page."""
    try:
        with urllib.request.urlopen(url, timeout=20, **options) as answer:
            return answer.status, answer.read().decode(), answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(), error.headers


class WebServerTestCase(EZEZTestCase):
    command: tuple[str, ...] = ()

    def setUp(self) -> None:
        self.ends: list[tuple[int, str]] = []
        if self.command:
            self.run_server(*self.command)

    def run_server(self, *command: str) -> None:
        self.web = WebServer(*command)
        self.addCleanup(self.web.close)

    def connect(self, path: str = "/view", scheme: str = "ws", **options: Any) -> EZEZWebSocketClient:
        client = EZEZWebSocketClient(
            f"{scheme}://{self.web.address}{path}",
            auth=KEY,
            max_payload=64 << 20,
            auto_reconnect=False,
            connect_timeout=30,
            on_disconnect=lambda code, reason: self.ends.append((code, reason)),
            **options,
        )
        self.addCleanup(client.close)
        client.connect(timeout=30)
        return client

    def connect_many(self, count: int = MANY) -> list[EZEZWebSocketClient]:
        with ThreadPoolExecutor(10) as pool:
            return list(pool.map(lambda _: self.connect(), range(count)))

    def peer(self, path: str = "/view") -> RawPeer:
        peer = RawPeer.connect(f"ws://{self.web.address}{path}", KEY, timeout=30)
        self.addCleanup(peer.close)
        return peer

    def stop(self, number: int, clients: list[EZEZWebSocketClient]) -> int:
        """Stop it by a signal, see that everybody is told, and return the exit code."""
        self.web.signal(number)
        for client in clients:
            self.assertTrue(client.wait_closed(timeout=20), self.web.output)
        self.assertEqual(Counter(self.ends), {(1001, "server shutdown"): len(clients)})
        code = self.web.wait()
        self.check_log()
        return code

    def check_log(self) -> None:
        for trouble in ("Traceback", "Error", "rror handling"):
            self.assertNotIn(trouble, self.web.output)


class Common:
    """What holds with each of them."""

    class Tests(WebServerTestCase):
        def test_pages_and_sockets_share_the_port(self) -> None:
            for path in ("/view", "/mounted", "/mounted/below?x=1"):
                with self.subTest(path):
                    _, seen, address = self.connect(path).send("who").wait_reply(10).args
                    self.assertEqual((seen, address), (path.partition("?")[0], "127.0.0.1"))
                    status, text, _ = get(f"http://{self.web.address}/")
                    self.assertEqual((status, text[:16]), (200, "a page of proces"))

        def test_what_is_no_upgrade_gets_426_and_never_comes_to_a_websocket_route(self) -> None:
            for path in ("/plain", "/mounted"):
                with self.subTest(path):
                    status, text, headers = get(f"http://{self.web.address}{path}")
                    self.assertEqual((status, headers["Upgrade"]), (426, "websocket"))
                    self.assertIn("Only WebSocket connections are served here", text)
            self.assertEqual(get(f"http://{self.web.address}/view")[0], 400)
            with self.assertRaises(ConnectionFailed) as caught:
                self.connect("/plain")  # Flask gives no upgrade to a route that is not for one
            self.assertEqual(caught.exception.status, 400)

        def test_a_hundred_connections_and_pages_next_to_them(self) -> None:
            clients = self.connect_many()
            sent = [client.send("echo", [number]) for number, client in enumerate(clients)]
            self.assertEqual([one.wait_reply(20).args for one in sent], [[number] for number in range(MANY)])
            self.assertEqual(get(f"http://{self.web.address}/")[0], 200)

        def test_a_large_message_comes_back_as_it_was_compressed_or_not(self) -> None:
            for compression in (None, "deflate"):
                with self.subTest(compression=compression):
                    client = self.connect(compression=compression, send_timeout=60)
                    self.assertEqual(client.send("echo", [LARGE]).wait_reply(60).args, [LARGE])

        def test_a_listener_may_wait_for_a_reply_on_its_own_connection(self) -> None:
            client = self.connect()
            client.on("question", lambda args, reply, ids: reply("yes", args))
            self.assertEqual(client.send("ask back", ["?"]).wait_reply(10).args, ["?"])

        def test_nothing_reaches_the_peer_behind_a_close_frame_and_nothing_is_logged(self) -> None:
            for path in ("/view", "/mounted"):
                peer = self.peer(path)
                peer.send_close(1000)
                self.assertEqual(peer.read_end()[1:], (1000, ""))
                self.assertEqual(peer.sock.recv(1), b"")
                peer = self.peer(path)
                peer.send_event("leave")
                self.assertEqual(peer.read_end()[1:], (4000, "you wanted it"))
                peer.send_close(4000)
                self.assertEqual(peer.sock.recv(1), b"")
                peer = self.peer(path)
                peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                peer.close()  # by a reset
            eventually(lambda: self.web.output.count(" 101 ") == 6, 30, "six lines in the access log")
            self.check_log()

        def test_ctrl_c_takes_leave_of_everybody(self) -> None:
            self.assertEqual(self.stop(signal.SIGINT, self.connect_many(20)), 0)


@allow_seconds(120)
class FlaskTest(Common.Tests):
    """``flask run``."""

    command = FLASK

    def test_sigterm_kills_it_as_it_kills_every_python_and_the_clients_hear_of_it(self) -> None:
        client = self.connect()
        self.web.signal(signal.SIGTERM)
        self.assertTrue(client.wait_closed(10))
        self.assertEqual(self.ends, [(1006, "")])
        self.assertEqual(self.web.wait(), -signal.SIGTERM)

    def test_with_its_reloader_sigterm_takes_leave(self) -> None:
        self.run_server(*FLASK, "--reload")
        client = self.connect()
        pid, *_ = client.send("who").wait_reply(10).args
        os.kill(pid, signal.SIGTERM)  # as a process manager would, to the whole group
        self.assertTrue(client.wait_closed(10))
        self.assertEqual(self.ends, [(1001, "server shutdown")])


@allow_seconds(120)
@unittest.skipIf(os.name == "nt", "gunicorn is for POSIX")
class GunicornTest(Common.Tests):
    """One worker."""

    command = (*GUNICORN, "--threads", "120", "--access-logfile", "-", APP)

    def test_sigterm_takes_leave_of_everybody_long_before_the_graceful_timeout(self) -> None:
        self.assertEqual(self.stop(signal.SIGTERM, self.connect_many(20)), 0)

    def test_sighup_takes_leave_and_a_new_worker_takes_over(self) -> None:
        client = self.connect()
        first, *_ = client.send("who").wait_reply(10).args
        self.web.signal(signal.SIGHUP)
        self.assertTrue(client.wait_closed(20))
        self.assertEqual(self.ends, [(1001, "server shutdown")])
        self.assertNotEqual(self.connect().send("who").wait_reply(10).args[0], first)

    def test_sockets_can_hold_all_threads_and_pages_starve_until_one_goes(self) -> None:
        self.run_server(*GUNICORN, "--threads", "4", APP)
        clients = [self.connect() for _ in range(4)]
        with socket.create_connection(self.web.address.split(":"), 20) as waiting:  # type: ignore[arg-type]
            waiting.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            for client in clients:  # gunicorn answers none while these are served
                self.assertEqual(client.send("echo", [1]).wait_reply(10).args, [1])
            waiting.setblocking(False)
            with self.assertRaises(BlockingIOError):
                waiting.recv(1)
            clients[0].close()
            waiting.settimeout(20)
            self.assertEqual(waiting.recv(15), b"HTTP/1.1 200 OK")


@allow_seconds(120)
@unittest.skipIf(os.name == "nt", "gunicorn is for POSIX")
class GunicornWorkersTest(Common.Tests):
    """Two workers, each of which has a server with clients of its own."""

    command = (*GUNICORN, "--workers", "2", "--threads", "120", "--access-logfile", "-", APP)

    def both_workers(self) -> list[EZEZWebSocketClient]:
        """Connect to each: while one is stopped, the other accepts."""
        first = self.connect()
        pid, *_ = first.send("who").wait_reply(10).args
        os.kill(pid, signal.SIGSTOP)
        try:
            second = self.connect()
            self.assertNotEqual(second.send("who").wait_reply(10).args[0], pid)
        finally:
            os.kill(pid, signal.SIGCONT)
        return [first, second]

    def test_a_broadcast_reaches_the_clients_of_its_own_worker_only(self) -> None:
        first, second = self.both_workers()
        self.assertEqual(first.send("count").wait_reply(10).args, [1])
        self.assertEqual(second.send("count").wait_reply(10).args, [1])

    def test_sigterm_takes_leave_of_the_clients_of_both(self) -> None:
        self.assertEqual(self.stop(signal.SIGTERM, self.both_workers()), 0)

    def test_a_server_made_before_the_fork_serves_in_each_worker(self) -> None:
        self.run_server(*GUNICORN, "--workers", "2", "--threads", "8", "--preload", APP)
        self.assertEqual(self.stop(signal.SIGTERM, self.both_workers()), 0)


@allow_seconds(120)
@unittest.skipIf(os.name == "nt", "gunicorn is for POSIX")
class GunicornOtherwiseTest(WebServerTestCase):
    def test_after_the_graceful_timeout_it_does_not_wait_for_a_listener_that_hangs(self) -> None:
        self.run_server(*GUNICORN, "--threads", "8", "--graceful-timeout", "2", APP)
        clients = [self.connect() for _ in range(3)]
        clients[0].send("hang").wait_reply(10)
        self.assertEqual(self.stop(signal.SIGTERM, clients), 0)

    def test_tls_that_gunicorn_ends(self) -> None:
        authority = trustme.CA()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        pem = os.path.join(folder.name, "server.pem")
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(pem)
        self.run_server(*GUNICORN, "--threads", "8", "--certfile", pem, "--keyfile", pem, APP)
        context = ssl.create_default_context()
        authority.configure_trust(context)
        self.assertEqual(get(f"https://{self.web.address}/", context=context)[0], 200)
        client = self.connect(scheme="wss", ssl=context, send_timeout=60)
        self.assertEqual(client.send("echo", [LARGE]).wait_reply(60).args, [LARGE])
        self.assertEqual(self.stop(signal.SIGTERM, [client]), 0)

    def test_a_sync_worker_serves_one_connection_and_says_what_is_wrong(self) -> None:
        self.run_server(*GUNICORN, "--worker-class", "sync", APP)
        self.assertEqual(self.connect().send("echo", [1]).wait_reply(10).args, [1])
        self.web.read_until(r"gunicorn's gunicorn\.workers\.sync\.SyncWorker has one thread")
