"""Slow and stalled peers: others see no delay, memory is bounded, the stalled one is cut, and closing is bounded."""

import gc
import threading
import time
import tracemalloc
from typing import Any

from ezez_ws import ConnectionClosed, EZEZServerClient, SendTimeout
from ezez_ws.websocket.frames import BINARY
from tests.rawpeer import RawPeer
from tests.serving import Calls, ServingTestCase
from tests.support import allow_seconds, eventually

KIB = 1024


class BroadcastTest(ServingTestCase):
    @allow_seconds(120)
    def test_one_that_never_reads_holds_up_none_of_two_hundred_others_and_is_cut(self) -> None:
        calls = Calls()
        server = self.serve(send_buffer_limit=256 * KIB, on_disconnect=calls.named("gone", 1, 2), ping_interval=None)
        stalled_side, _stalled = self.pair(server, receive_buffer=4096)
        peers = [self.peer(server) for _ in range(200)]
        text = "x" * (16 * KIB)
        rounds = 0
        while not calls.seen:
            rounds += 1
            server.broadcast("news", [rounds, text])
            for peer in peers:
                self.assertEqual(peer.read_event().args[0], rounds)
        self.assertEqual(calls.seen, [("gone", 1008, "too slow")])
        self.assertFalse(stalled_side.alive)
        self.assertGreater(rounds, 256 // 16)
        self.assertEqual(server.broadcast("news", [0]), 200)

    def test_what_waits_for_a_stalled_peer_stays_within_its_limit(self) -> None:
        server = self.serve(send_buffer_limit=1024 * KIB, send_timeout=0.5, ping_interval=None)
        side, _peer = self.pair(server, receive_buffer=4096)
        data = bytes(64 * KIB)
        tracemalloc.start()
        try:
            with self.assertRaises(SendTimeout):
                for _ in range(1000):
                    side.send("data", [data])
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        self.assertLess(peak, 2 * 1024 * KIB)

    def test_one_message_larger_than_the_limit_is_taken_when_nothing_waits(self) -> None:
        server = self.serve(send_buffer_limit=1000)
        side, peer = self.pair(server)
        side.send("data", [bytes(3 << 20)])
        self.assertEqual(len(peer.read_event().args[0]), 3 << 20)

    def test_what_waits_for_a_stalled_peer_costs_about_what_it_counts(self) -> None:
        limit = 1 << 20
        server = self.serve(ping_interval=None, send_buffer_limit=limit)
        side, _ = self.pair(server, receive_buffer=4096)
        outbox = side._ezez_connection.stream._outbox
        while not outbox.waiting_bytes:
            server.broadcast("a", ["x" * 1000])
        gc.collect()
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before = tracemalloc.get_traced_memory()[0]
        start = outbox.waiting_bytes
        while outbox.waiting_bytes < limit - 200:
            server.broadcast("a")
            if not side.alive:
                self.fail("cut too early")
        waiting = outbox.waiting_bytes - start
        gc.collect()
        cost = tracemalloc.get_traced_memory()[0] - before
        self.assertGreater(waiting, limit // 2)
        self.assertLess(cost, waiting * 1.5 + (128 << 10))


class QuietPeerTest(ServingTestCase):
    def test_nothing_of_a_large_message_is_held_until_the_next_one_comes(self) -> None:
        count, size = 8, 900 * KIB
        server = self.serve(ping_interval=None)
        server.on("data", lambda client, args, reply, ids: reply("seen", [len(args[0])]))
        peers = [self.peer(server) for _ in range(count)]
        tracemalloc.start()
        try:
            for peer in peers:
                peer.send_event("data", [bytes(size)])
                self.assertEqual(peer.read_event().args, [size])
            eventually(lambda: tracemalloc.get_traced_memory()[0] < count * size // 2)  # buffers to read into
        finally:
            tracemalloc.stop()


class SlowReaderTest(ServingTestCase):
    def test_a_peer_that_reads_byte_by_byte_gets_whole_messages(self) -> None:
        side, peer = self.pair(self.serve(), receive_buffer=4096)
        data = bytes(range(256)) * 16
        for number in range(5):
            side.send("data", [number, data])
        received = b""
        for _ in range(200):
            received += peer.sock.recv(1)
        slow = RawPeer.over(peer.sock, True, received)
        for number in range(5):
            self.assertEqual(slow.read_event().args, [number, data])

    def test_a_peer_that_stops_in_the_middle_of_a_frame_holds_up_nobody(self) -> None:
        server = self.serve(auth_timeout=0.5)
        server.on("echo", lambda client, args, reply, ids: reply("echo", args))
        stuck = self.peer(server, auth=None)
        stuck.send_raw(stuck.frame(BINARY, b"13f\0ezez-ws::auth\0")[:10])
        _, peer = self.pair(server)
        peer.send_event("echo", [1])
        self.assertEqual(peer.read_event().args, [1])
        self.assertEqual(stuck.read_end().code, 1008)

    def test_a_send_without_room_ends_when_its_peer_is_disconnected(self) -> None:
        side, _peer = self.pair(self.serve(send_buffer_limit=10 * KIB, close_timeout=0.3), receive_buffer=4096)
        blocked = self.in_thread(self.send_until_unsent, side)
        eventually(lambda: self.has_no_room(side))
        side.disconnect()
        self.assertGreater(blocked.get(), 0)

    def has_no_room(self, side: EZEZServerClient) -> bool:
        outbox = side.client._connection.stream._outbox
        with outbox.lock:
            return not outbox.has_room(8 * KIB)

    def send_until_unsent(self, side: EZEZServerClient) -> int:
        sent = 0
        while side.send("data", [bytes(8 * KIB)]):
            sent += 1
        return sent


class CloseTest(ServingTestCase):
    def test_closing_is_bounded_with_stalled_peers_and_blocked_senders(self) -> None:
        server = self.serve(send_buffer_limit=10 * KIB, close_timeout=0.5, ping_interval=None)
        results: list[Any] = []
        peers = []
        for _ in range(5):
            side, peer = self.pair(server, receive_buffer=4096)
            peers.append(peer)
            results.append(self.in_thread(self.fill, side))
            results.append(self.in_thread(side.send("question").wait_reply))
        for client in server.clients:
            eventually(lambda client=client: self.is_full(client))  # type: ignore[misc]
        start = time.monotonic()
        server.close()
        self.assertLess(time.monotonic() - start, 10)
        for filler, waiter in zip(results[::2], results[1::2], strict=False):
            filler.get()
            with self.assertRaises(ConnectionClosed):
                waiter.get()
        names = [thread.name for thread in threading.enumerate() if thread.name.startswith("ezez")]
        self.assertEqual(names, [])

    def is_full(self, side: EZEZServerClient) -> bool:
        outbox = side.client._connection.stream._outbox
        with outbox.lock:
            return not outbox.has_room(8 * KIB)

    def fill(self, side: EZEZServerClient) -> None:
        while side.send("data", [bytes(8 * KIB)]):
            pass

    def test_a_client_that_is_closing_with_a_full_buffer_is_not_cut_for_being_slow(self) -> None:
        calls = Calls()
        server = self.serve(
            ping_interval=None,
            send_buffer_limit=1 << 20,
            close_timeout=20.0,
            on_disconnect=calls.named("gone", 1, 2),
        )
        side, peer = self.pair(server, receive_buffer=4096)
        outbox = side._ezez_connection.stream._outbox
        while outbox.waiting_bytes < (1 << 20) - 70_000:
            side.send("a", ["x" * 65000])
        side.disconnect(4321, "enough")
        self.assertEqual(0, server.broadcast("b", ["y" * 200_000]))
        end = peer.read_end()
        self.assertEqual((4321, "enough"), (end.code, end.reason))
        peer.send_close(4321)
        self.assertEqual([("gone", 4321, "enough")], calls.wait())
