"""Keepalive, both sides: who is gone without a word is noticed, and who is only busy is not taken for that."""

import threading
import time

from ezez_ws import ConnectionClosed, EZEZWebSocketClient
from ezez_ws.websocket.frames import PING, PONG, Message
from tests.rawpeer import RawPeer, RawServer
from tests.serving import Calls, ServingTestCase

MOSTLY_WAITS = True

SOON = {"ping_interval": 0.2, "ping_timeout": 0.3}
QUICK = {"close_timeout": 0.3}  # the raw peers here never answer a close frame


class ServerTest(ServingTestCase):
    def pinged(self, peer: RawPeer) -> None:
        message = peer.read_message()
        assert message is not None
        self.assertEqual(message.opcode, PING)

    def test_an_idle_peer_is_pinged_and_its_pong_keeps_it(self) -> None:
        _, peer = self.pair(self.serve(**QUICK, ping_interval=0.1, ping_timeout=5.0))
        for _ in range(3):
            self.pinged(peer)
            peer.send_pong()

    def test_a_peer_that_talks_is_not_pinged(self) -> None:
        server = self.serve(**QUICK, ping_interval=0.5, ping_timeout=5.0)
        server.on("echo", lambda client, args, reply, ids: reply("echo", args))
        _, peer = self.pair(server)
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            peer.send_event("echo")
            self.assertEqual(peer.read_event().name, "echo")

    def test_any_message_answers_a_ping(self) -> None:
        side, peer = self.pair(self.serve(**SOON, **QUICK))
        for _ in range(4):
            self.pinged(peer)
            peer.send_event("hello")
        self.assertTrue(side.alive)

    def test_a_peer_gone_without_a_word_is_closed_with_1011_once_and_waiters_wake(self) -> None:
        calls = Calls()
        server = self.serve(**SOON, **QUICK, on_disconnect=calls.named("gone", 1, 2))
        side, peer = self.pair(server)
        sent = side.send("question")
        waiting = self.in_thread(sent.wait_reply)
        with self.assertRaises(ConnectionClosed) as caught:
            waiting.get()
        self.assertEqual(caught.exception.code, 1011)
        self.assertEqual(calls.wait(), [("gone", 1011, "keepalive: no pong in time")])
        self.assertFalse(side.alive)
        self.assertEqual(peer.read_end().code, 1011)
        server.close()
        self.assertEqual(len(calls.seen), 1)

    def test_a_listener_that_blocks_is_not_mistaken_for_a_dead_peer(self) -> None:
        gate = self.gate()
        server = self.serve(**SOON, **QUICK)
        server.on("block", gate)
        client = self.client(server, ping_interval=None)
        client.send("block")
        gate.wait_entered()
        (side,) = server.clients
        for _ in range(10):
            self.assertFalse(threading.Event().wait(0.2))
            self.assertTrue(side.alive)
        gate.open()
        self.assertTrue(client.alive)

    def test_a_peer_that_vanishes_while_a_listener_blocks_is_noticed(self) -> None:
        gate = self.gate()
        server = self.serve(**SOON, **QUICK)
        server.on("block", gate)
        side, peer = self.pair(server)
        sent = side.send("question")
        peer.send_event("block")
        gate.wait_entered()
        with self.assertRaises(ConnectionClosed) as caught:
            sent.wait_reply(timeout=10)
        self.assertEqual(caught.exception.code, 1011)

    def test_keepalive_pauses_while_the_inbox_is_full(self) -> None:
        gate = self.gate()
        calls = Calls()
        server = self.serve(**SOON, **QUICK, inbox_limit_bytes=1000)
        server.on("block", gate)
        server.on("more", lambda client, args, reply, ids: calls.add("more"))
        side, peer = self.pair(server)
        peer.send_event("block")
        gate.wait_entered()
        for _ in range(50):
            peer.send_event("more", ["x" * 100])
        self.assertFalse(threading.Event().wait(1.5))
        self.assertTrue(side.alive)
        gate.open()
        calls.wait(50)

    def test_without_a_timeout_nobody_is_judged(self) -> None:
        side, peer = self.pair(self.serve(**QUICK, ping_interval=0.1, ping_timeout=None))
        for _ in range(4):
            self.pinged(peer)
        self.assertTrue(side.alive)


class ClientTest(ServingTestCase):
    def serve_raw(self) -> RawServer:
        server = RawServer()
        self.addCleanup(server.sock.close)
        return server

    def connect(self, server: RawServer, **options: object) -> "tuple[EZEZWebSocketClient, object]":
        client = EZEZWebSocketClient(server.url, auto_reconnect=False, **QUICK, **options)  # type: ignore[arg-type]
        self.addCleanup(client.close)
        connecting = self.in_thread(client.connect)
        peer = server.accept(auth=True)
        self.addCleanup(peer.close)
        connecting.get()
        return client, peer

    def test_a_server_gone_without_a_word_ends_the_connection_with_1011(self) -> None:
        calls = Calls()
        client, _ = self.connect(self.serve_raw(), **SOON, on_disconnect=calls.named("gone", 0, 1))
        sent = client.send("question")
        with self.assertRaises(ConnectionClosed) as caught:
            sent.wait_reply(timeout=10)
        self.assertEqual(caught.exception.code, 1011)
        self.assertEqual(calls.wait(), [("gone", 1011, "keepalive: no pong in time")])
        self.assertTrue(client.wait_closed(10))

    def test_the_servers_pings_are_answered_while_a_listener_blocks(self) -> None:
        gate = self.gate()
        client, peer = self.connect(self.serve_raw(), ping_interval=None)
        self.addCleanup(gate.open)  # before the client is closed, which waits for its listener
        client.on("block", gate)
        peer.send_event("block")  # type: ignore[attr-defined]
        gate.wait_entered()
        for number in range(3):
            payload = str(number).encode()
            peer.send_ping(payload)  # type: ignore[attr-defined]
            self.assertEqual(peer.read_message(), Message(PONG, payload))  # type: ignore[attr-defined]
