"""How the threads of connections wake."""

import os
import queue
import socket
import subprocess
import sys
import textwrap
import threading
import unittest
from typing import Any

from ezez_ws import EZEZWebSocketClient
from ezez_ws.wire.linux import MAY_WAKE_POLITELY, wake_politely
from tests.rawpeer import RawPeer, RawServer
from tests.serving import ServingTestCase
from tests.support import REPO, eventually
from tests.test_serve_connection import shake_hands

OF_ANOTHER_POLICY = """
import os

os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))

from ezez_ws import EZEZWebSocketClient, EZEZWebsocketServer

with EZEZWebsocketServer(on_auth_request=lambda client, key: True, port=0) as server:
    server.on("policy", lambda client, args, reply, ids: reply("policy", [os.sched_getscheduler(0)]))
    with EZEZWebSocketClient(server.url) as one, EZEZWebSocketClient(server.url) as other:
        for client in (one, other) * 2:
            print(client.send("policy").wait_reply(5).args[0] == os.SCHED_IDLE)
"""


@unittest.skipUnless(MAY_WAKE_POLITELY, "this system has no SCHED_BATCH, or does not need it")
class WakingTest(ServingTestCase):
    def policy(self, peer: RawPeer) -> Any:
        """Return that of a connection's thread, once it has read again."""
        for _ in range(2):
            peer.send_event("policy")
            policy = peer.read_event().args
        return policy

    def test_threads_of_several_connections_wake_politely_and_one_that_is_alone_does_not(self) -> None:
        server = self.serve()
        server.on("policy", lambda client, args, reply, ids: reply("policy", [os.sched_getscheduler(0)]))
        first = self.peer(server)
        self.assertEqual([os.SCHED_OTHER], self.policy(first))
        second = self.peer(server)
        self.assertEqual([os.SCHED_BATCH], self.policy(first))
        self.assertEqual([os.SCHED_BATCH], self.policy(second))
        first.close()
        eventually(lambda: len(server.clients) == 1)
        eventually(lambda: self.policy(second) == [os.SCHED_OTHER])

    def test_a_clients_thread_does_so_too_and_the_users_do_not(self) -> None:
        server = self.serve()
        heard = []
        for _ in range(2):
            client: EZEZWebSocketClient = self.client(server)
            client.on("ask", lambda args, reply, ids: heard.append(os.sched_getscheduler(0)))
        for _ in range(2):
            self.assertEqual(2, server.broadcast("ask"))
        eventually(lambda: len(heard) == 4)
        self.assertIn(os.SCHED_BATCH, heard)
        self.assertEqual(os.SCHED_OTHER, os.sched_getscheduler(0))

    def test_a_borrowed_thread_comes_back_as_it_was(self) -> None:
        server = self.make(port=None)
        server.on("policy", lambda client, args, reply, ids: reply("policy", [os.sched_getscheduler(0)]))
        server.start()
        (ours, theirs), (others, their_others) = socket.socketpair(), socket.socketpair()
        for sock in (ours, theirs, others, their_others):
            self.addCleanup(sock.close)
        theirs.settimeout(10)
        their_others.settimeout(10)

        def serve() -> int:
            server.serve_connection(ours)
            return os.sched_getscheduler(0)

        other = self.in_thread(server.serve_connection, others)
        serving = self.in_thread(serve)
        peer, other_peer = shake_hands(theirs), shake_hands(their_others)
        self.assertEqual([os.SCHED_BATCH], self.policy(peer))
        peer.close()
        self.assertEqual(os.SCHED_OTHER, serving.get())
        other_peer.close()
        other.get()

    def test_a_borrowed_thread_of_that_policy_comes_back_so(self) -> None:
        server = self.make(port=None)
        server.start()
        ours, theirs = socket.socketpair()
        theirs.close()

        def serve() -> int:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
            wake_politely(True)
            server.serve_connection(ours)
            wake_politely(False)
            return os.sched_getscheduler(0)

        self.assertEqual(os.SCHED_BATCH, self.in_thread(serve).get())

    def test_the_thread_of_a_client_that_has_connected_again_alone_wakes_as_usual(self) -> None:
        raw = RawServer()
        self.addCleanup(raw.close)
        heard: queue.Queue[tuple[int, int]] = queue.Queue()

        def connect() -> tuple[EZEZWebSocketClient, RawPeer]:
            client = EZEZWebSocketClient(raw.url, reconnect_delay=0.01)
            self.addCleanup(client.close)
            connecting = self.in_thread(client.connect)
            peer = raw.accept(auth=True)
            self.addCleanup(peer.close)
            connecting.get()
            client.on("ask", lambda args, reply, ids: heard.put((threading.get_ident(), os.sched_getscheduler(0))))
            return client, peer

        def ask(peer: RawPeer) -> tuple[int, int]:
            for _ in range(2):
                peer.send_event("ask")
                seen = heard.get(timeout=10)
            return seen

        (_, peer), (other, other_peer) = connect(), connect()
        thread, policy = ask(peer)
        self.assertEqual(os.SCHED_BATCH, policy)
        other_peer.close()
        other.close()
        peer.close()
        with raw.accept(auth=True) as peer:
            self.assertEqual((thread, os.SCHED_OTHER), ask(peer))

    def test_where_another_policy_was_chosen_it_is_left_alone(self) -> None:
        code = textwrap.dedent(OF_ANOTHER_POLICY)
        done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, timeout=60)
        self.assertEqual((done.stderr, done.stdout.split()), ("", ["True"] * 4))
