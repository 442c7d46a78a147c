"""``serve_connection``: sockets that an accept loop of the user's has accepted."""

import contextlib
import os
import signal
import socket
import ssl
import tempfile
import threading
import unittest
from typing import Any
from unittest import mock

import trustme

from ezez_ws import EZEZWebSocketClient, EZEZWebsocketServer
from ezez_ws.connection.inbox import Inbox
from ezez_ws.connection.server_side import ServerConnection
from ezez_ws.opening.client_handshake import ClientHandshake
from ezez_ws.opening.url import parse_url
from ezez_ws.websocket.stream import Stream
from ezez_ws.wire.read_gate import read_gate
from tests.opening.test_upgrade import read_refusal
from tests.rawpeer import RawPeer
from tests.serving import KEY, Calls, ServingTestCase
from tests.support import eventually


def shake_hands(sock: socket.socket, auth: str | None = KEY) -> RawPeer:
    """Become a client over a socket that is connected."""
    handshake = ClientHandshake(parse_url("ws://localhost/inside"), (), ())
    sock.sendall(handshake.request())
    while not handshake.feed(sock.recv(4096)):
        pass
    peer = RawPeer.over(sock, True, handshake.trailing)
    if auth is not None:
        peer.authenticate(auth)
    return peer


class ServeConnectionTest(ServingTestCase):
    def mount(self, **options: Any) -> EZEZWebsocketServer:
        options.setdefault("port", None)
        server = self.make(**options)
        server.on("echo", lambda client, args, reply, ids: reply("echo", args))
        return server

    def pair_of_sockets(self) -> Any:
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        theirs.settimeout(10)
        return ours, theirs

    def accept_on(self, server: EZEZWebsocketServer, listener: socket.socket) -> None:
        """Run an accept loop, until the listener is shut down."""

        def accept() -> None:
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=server.serve_connection, args=(sock,)).start()

        loop = threading.Thread(target=accept)
        loop.start()
        self.addCleanup(listener.close)
        self.addCleanup(loop.join)
        self.addCleanup(listener.shutdown, socket.SHUT_RDWR)

    def test_it_serves_on_the_callers_thread_until_the_end_and_closes_the_socket(self) -> None:
        threads = Calls()
        server = self.mount(on_auth_ok=lambda client: threads.add(threading.current_thread()))
        ours, theirs = self.pair_of_sockets()
        serving = self.in_thread(server.serve_connection, ours)
        peer = shake_hands(theirs)
        self.assertEqual(threads.wait(), [(serving._thread,)])
        (side,) = server.clients
        self.assertEqual((side.request.path, side.request.remote_address), ("/inside", ()))
        peer.send_event("echo", [1])
        self.assertEqual(peer.read_event().args, [1])
        self.assertFalse(serving.done)
        peer.send_close(1000)
        self.assertEqual(peer.read_end().code, 1000)
        serving.get()
        self.assertEqual(ours.fileno(), -1)
        self.assertTrue(peer.at_end())

    @unittest.skipUnless(hasattr(socket, "AF_UNIX"), "there are no Unix sockets here")
    def test_an_accept_loop_on_a_unix_socket(self) -> None:
        server = self.mount()
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "socket")
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(path)
            listener.listen()
            self.accept_on(server, listener)
            for number in range(3):
                sock = socket.socket(socket.AF_UNIX)
                self.addCleanup(sock.close)
                sock.settimeout(10)
                sock.connect(path)
                peer = shake_hands(sock)
                peer.send_event("echo", [number])
                self.assertEqual(peer.read_event().args, [number])

    def test_an_accept_loop_on_tcp_next_to_a_port_of_its_own(self) -> None:
        server = self.mount(port=0)
        server.start()
        listener = socket.create_server(("127.0.0.1", 0))
        self.accept_on(server, listener)
        for url in (server.url, f"ws://127.0.0.1:{listener.getsockname()[1]}"):
            client = EZEZWebSocketClient(str(url), auth=KEY)
            self.addCleanup(client.close)
            client.connect()
            self.assertEqual(client.send("echo", [url]).wait_reply(10).args, [url])
        eventually(lambda: len(server.clients) == 2)
        addresses = [side.request.remote_address[0] for side in server.clients]
        self.assertEqual(addresses, ["127.0.0.1"] * 2)

    def test_tls_by_the_option_or_by_the_callers_own_wrapping(self) -> None:
        authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
        trusting = ssl.create_default_context()
        authority.configure_trust(trusting)
        authority.issue_cert("me@example.org").configure_cert(trusting)
        plain = socket.create_server(("127.0.0.1", 0))
        wrapped = context.wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True)
        servers = self.mount(ssl=context), self.mount()
        for server, listener in zip(servers, (plain, wrapped), strict=True):
            self.accept_on(server, listener)
            url = f"wss://127.0.0.1:{listener.getsockname()[1]}"
            client = EZEZWebSocketClient(url, auth=KEY, ssl=trusting)
            self.addCleanup(client.close)
            client.connect()
            self.assertEqual(client.send("echo", [b"x" * 500_000]).wait_reply(10).args, [b"x" * 500_000])
            self.assertIn("subject", server.clients[0].request.peer_certificate or {})

    def test_an_exception_behind_a_read_ends_the_connection(self) -> None:
        server = self.mount()
        kept = []
        armed = threading.Event()

        def listen(client: Any, args: Any, reply: Any, ids: Any) -> None:
            kept.append(client.send("question"))  # somebody may wait for its reply: whoever reads has to look for it
            armed.set()

        server.on("event", listen)
        admit = Inbox._admit

        def interrupted(inbox: Inbox, *args: Any, **options: Any) -> Any:
            if armed.is_set() and inbox._reading == threading.get_ident():
                armed.clear()
                raise KeyboardInterrupt  # as a signal's handler does, at the first byte code
            return admit(inbox, *args, **options)

        ours, theirs = self.pair_of_sockets()
        with mock.patch.object(Inbox, "_admit", interrupted), self.assertLogs("ezez_ws", "ERROR"):
            serving = self.in_thread(server.serve_connection, ours)
            peer = shake_hands(theirs)
            peer.send_event("event")
            peer.read_event()
            armed.wait(10)
            peer.send_event("another")
            serving.get()
        self.assertFalse(armed.is_set())

    def test_what_is_no_handshake_gets_its_answer_and_the_call_returns(self) -> None:
        server = self.mount()
        ours, theirs = self.pair_of_sockets()
        serving = self.in_thread(server.serve_connection, ours)
        theirs.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual(read_refusal(theirs).status, 426)
        theirs.close()
        serving.get()
        self.assertEqual(ours.fileno(), -1)

    def test_close_ends_those_that_talk_and_those_that_shake_hands(self) -> None:
        server = self.mount(close_timeout=0.5)
        (first, talking), (second, silent) = self.pair_of_sockets(), self.pair_of_sockets()
        calls = [self.in_thread(server.serve_connection, sock) for sock in (first, second)]
        peer = shake_hands(talking)
        run = server._ezez_current_run()
        eventually(lambda: run is not None and len(run._wires) == 1 and server.clients)
        server.close()
        for call in calls:
            call.get()
        self.assertEqual(peer.read_end().code, 1001)
        self.assertEqual(silent.recv(1), b"")

    def test_without_a_server_that_runs_it_raises_and_closes_the_socket(self) -> None:
        never, closed = self.mount(port=0), self.mount()
        closed.close()
        for server in (never, closed):
            ours, theirs = self.pair_of_sockets()
            with self.assertRaisesRegex(RuntimeError, "not running"):
                server.serve_connection(ours)
            self.assertEqual(theirs.recv(1), b"")

    @unittest.skipUnless(hasattr(signal, "pthread_kill"), "a signal cannot be sent to a thread here")
    def test_ctrl_c_on_the_main_thread_comes_out_when_the_connection_has_ended(self) -> None:
        gone = Calls()
        server = self.mount(on_disconnect=gone.named("gone", 1))
        ours, theirs = self.pair_of_sockets()

        def waits(connection: ServerConnection) -> bool:
            """Tell whether no callback runs any more, and nothing is being set up."""
            reader = connection.stream._wire._gated  # type: ignore[attr-defined]
            return not connection.inbox._busy and reader is not None and (reader.watched or not read_gate.crowded)

        def interrupt() -> None:
            peer = shake_hands(theirs)
            (side,) = server.clients
            eventually(lambda: waits(side._ezez_connection))
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            with contextlib.suppress(OSError):  # CPython does not notice a signal right before it begins to block
                peer.send_ping()

        interrupting = self.in_thread(interrupt)
        with self.assertLogs("ezez_ws", "ERROR"), self.assertRaises(KeyboardInterrupt):
            server.serve_connection(ours)
        interrupting.get()
        self.assertEqual([code for _, code in gone.wait()], [1006])
        self.assertEqual(ours.fileno(), -1)

    def test_ctrl_c_while_it_waits_for_the_peers_end_leaves_nothing_behind(self) -> None:
        server = self.mount()
        ours, theirs = self.pair_of_sockets()
        interrupted = mock.patch.object(Stream, "finish", side_effect=KeyboardInterrupt)
        with mock.patch.object(read_gate, "crowd", 0), interrupted:
            serving = self.in_thread(server.serve_connection, ours)
            peer = shake_hands(theirs)
            for number in range(3):
                peer.send_event("echo", [number])
                self.assertEqual(peer.read_event().args, [number])
            peer.send_close(1000)
            with self.assertRaises(KeyboardInterrupt):
                serving.get()
        self.assertNotIn("ezez-read-gate", [thread.name for thread in threading.enumerate()])

    def test_a_peer_that_has_gone_before_is_no_error(self) -> None:
        server = self.mount()
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        sock = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()
        server.serve_connection(accepted)
        self.assertEqual(accepted.fileno(), -1)
