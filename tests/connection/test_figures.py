"""What a server and a client say of what they have done: exact when nothing goes on, and over all connections."""

import logging
import socket
import threading
import time
from typing import Any

from ezez_ws import ConnectionClosed, EZEZWebSocketClient, NotConnected, ReplyTimeout, ServerStats
from tests.serving import KEY, ServingTestCase
from tests.support import allow_seconds, eventually, switch_interval

MOSTLY_WAITS = True


def size_of(client: EZEZWebSocketClient, args: list[Any]) -> int:
    return len(client._EZEZWebSocketClient__codec.encode(args))  # type: ignore[attr-defined]


class ServerStatsTest(ServingTestCase):
    def test_a_server_that_was_never_started_has_done_nothing(self) -> None:
        stats = self.make().stats()
        numbers = [value for value in stats if isinstance(value, (int, dict))]
        self.assertFalse(any(numbers))
        self.assertEqual((stats.listener_seconds.count, stats.waiting_seconds.count), (0, 0))

    def test_messages_and_their_bytes_are_counted_on_both_sides_the_same(self) -> None:
        server = self.serve()
        server.on("echo", lambda client, args, reply, ids: reply("echo", args))
        client = self.client(server)
        for number in range(20):
            client.send("echo", ["x" * number]).wait_reply(10)
        client.close()
        eventually(lambda: not server.stats().connections)
        ours, theirs = client.stats(), server.stats()
        self.assertEqual((ours.messages_sent, ours.messages_received), (20, 20))
        self.assertEqual((theirs.messages_sent, theirs.messages_received), (20, 20))
        self.assertEqual((ours.bytes_sent, ours.bytes_received), (theirs.bytes_received, theirs.bytes_sent))
        self.assertGreater(ours.bytes_sent, 20 * 20)
        self.assertEqual((theirs.connections_total, theirs.authentications), (1, {"ok": 1}))
        self.assertEqual((theirs.listener_seconds.count, theirs.waiting_seconds.count), (20, 20))

    def test_totals_live_over_close_and_start(self) -> None:
        server = self.serve()
        for number in (1, 2):
            client = self.client(server)
            server.broadcast("hello")
            client.close()
            server.close()
            stats = server.stats()
            self.assertEqual((stats.connections, stats.connections_total, stats.broadcasts), (0, number, number))
            self.assertEqual(stats.messages_sent, number)
            server.start()

    def test_refusals_and_authentications_are_told_apart(self) -> None:
        server = self.serve(path="/ws", auth_timeout=0.2)
        address = (server.host, server.port)
        for target in ("/", "/ws"):
            with socket.create_connection(address) as sock:
                sock.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                while sock.recv(4096):
                    pass
        wrong = self.peer(server, auth=None)
        wrong.send_values("ezez-ws::auth", "wrong", 1)
        wrong.read_end()
        self.peer(server, auth=None).read_end()
        self.client(server)
        eventually(lambda: len(server.stats().authentications) == 3 and server.stats().connections == 1)
        stats = server.stats()
        self.assertEqual(stats.handshakes_refused, {"404": 1, "426": 1})
        self.assertEqual(stats.authentications, {"rejected": 1, "late": 1, "ok": 1})
        self.assertEqual((stats.connections_total, stats.unauthenticated), (3, 0))

    def test_who_is_cut_is_counted_by_why(self) -> None:
        server = self.serve(
            max_payload=5000, send_buffer_limit=1, ping_interval=0.3, ping_timeout=0.1, close_timeout=0.2
        )
        with self.assertLogs("ezez_ws", logging.WARNING):
            silent, peer = self.pair(server)
            eventually(lambda: not silent.alive)
            peer = self.peer(server)
            peer.send_frame(2, b"n:garbage")
            peer.read_end()
            peer = self.peer(server)
            peer.send_frame(2, b"x" * 6000)
            peer.read_end()
            peer = self.peer(server)
            peer.send_frame(7, b"")
            peer.read_end()
            wanted = {"keepalive": 1, "malformed": 1, "too-big": 1, "protocol-error": 1}
            eventually(lambda: server.stats().clients_cut == wanted)

    def test_what_waits_is_seen_and_is_nothing_again(self) -> None:
        server, stays = self.serve(), self.gate()
        server.on("stay", lambda client, args, reply, ids: stays())
        client = self.client(server)
        client.send("stay")
        stays.wait_entered()
        for _ in range(5):
            client.send("other", ["x" * 1000])
        eventually(lambda: server.stats().inbox_bytes > 5000)
        (side,) = server.clients
        running = side._ezez_connection.running()
        assert running is not None
        self.assertEqual((running.what, threading.get_ident() == running.thread_id), ("stay", False))
        self.assertEqual(server.stats().messages_received, 1)  # the others are not handled yet
        before = server.stats().waiting_seconds
        stays.open()
        stats = eventually(lambda: server.stats() if server.stats().messages_received == 6 else None)
        assert isinstance(stats, ServerStats)
        eventually(lambda: side._ezez_connection.running() is None)
        self.assertEqual((stats.inbox_bytes, side.stats().messages_received), (0, 6))
        self.assertGreater(stats.waiting_seconds.sum - before.sum, 0.0)

    def test_replies_that_are_waited_for_and_that_do_not_come(self) -> None:
        server = self.serve(clear_awaiting_replies_after=0.3)
        client = self.client(server)
        (side,) = server.clients
        kept = [side.send("ask", on_reply=lambda *args: None)]
        self.assertEqual((server.stats().replies_awaited, side.stats().replies_awaited), (1, 1))
        with self.assertRaises(ReplyTimeout):
            side.send("ask").wait_reply(0.01)
        self.assertEqual(server.stats().replies_timed_out, 1)
        eventually(lambda: server.stats().replies_expired == 1)
        self.assertEqual(server.stats().replies_awaited, 0)
        self.assertTrue(kept and client.alive)

    def test_an_error_is_told_to_who_watches_whether_or_not_there_is_an_on_error(self) -> None:
        for options in ({}, {"on_error": lambda client, error: None}):
            server = self.serve(**options)
            seen: list[tuple[str, str, Any]] = []

            def watch(error: BaseException, what: str, extra: dict[str, Any], seen: Any = seen) -> None:
                seen.append((str(error), what, extra["event"]))

            server._ezez_figures.watch(watch)

            @server.on("fail")
            def fail(client: Any, args: Any, reply: Any, ids: Any) -> None:
                raise RuntimeError("no")

            client = self.client(server)
            with self.assertNoLogs("ezez_ws", logging.ERROR) if options else self.assertLogs("ezez_ws", logging.ERROR):
                client.send("fail")
                eventually(lambda: seen)  # noqa: B023
                client.close()
            ((text, what, event),) = seen
            self.assertEqual((text, event), ("no", "fail"))
            self.assertRegex(what, r"^the listener of 'fail' \(.*fail\)$")
            server._ezez_figures.forget(watch)
            self.assertEqual(server._ezez_figures.watchers, ())

    def test_what_many_threads_do_is_counted_to_the_last_message(self) -> None:
        allow_seconds(60)
        server = self.serve()
        server.on("echo", lambda client, args, reply, ids: reply("echo", args))
        with switch_interval(1e-6):
            clients = [self.client(server) for _ in range(4)]

            def work(client: EZEZWebSocketClient) -> None:
                for _ in range(50):
                    client.send("echo", [1]).wait_reply(30)
                    server.stats()

            for each in [self.in_thread(work, client) for client in clients for _ in range(2)]:
                each.get(60)
            for client in clients:
                client.close()
        eventually(lambda: not server.stats().connections)
        stats = server.stats()
        self.assertEqual((stats.messages_received, stats.messages_sent, stats.listener_seconds.count), (400, 400, 400))
        self.assertEqual(sum(client.stats().messages_received for client in clients), 400)

    def test_no_total_ever_falls_though_the_peers_of_who_sends_are_reset(self) -> None:
        server, over, falls = self.serve(), threading.Event(), 0

        def watch() -> int:
            last, fallen = 0, 0
            while not over.is_set():
                now = server.stats().messages_sent
                last, fallen = now, fallen + (now < last)
            return fallen

        with switch_interval(1e-6):
            watching = self.in_thread(watch)
            for _ in range(20):
                side, peer = self.pair(server)
                side.send("x")
                peer.close()
                while side.send("x"):
                    pass
            over.set()
            falls = watching.get(30)
        self.assertEqual(0, falls)

    def test_who_has_gone_is_not_counted_though_its_listener_runs_on(self) -> None:
        server, stays = self.serve(), self.gate()
        server.on("stay", lambda client, args, reply, ids: stays())
        _, peer = self.pair(server)
        peer.send_event("stay")
        stays.wait_entered()
        self.assertEqual(1, server.stats().connections)
        peer.close()
        eventually(lambda: not server.clients)
        self.assertEqual(0, server.stats().connections)

    def test_waits_of_another_kind_are_no_replies_and_those_of_queued_messages_are(self) -> None:
        client = self.client(self.serve())
        with self.assertRaises(ReplyTimeout):
            client.wait_for("never", 0.01)
        self.assertEqual(0, client.stats().replies_timed_out)
        lost = EZEZWebSocketClient("ws://127.0.0.1:1", auth=KEY)
        self.addCleanup(lost.close)
        with self.assertRaises(ReplyTimeout):
            lost.send("ask").wait_reply(0.01)
        self.assertEqual(1, lost.stats().replies_timed_out)


class PingTest(ServingTestCase):
    def test_a_listener_that_has_pinged_is_looked_after_as_before(self) -> None:
        server, stays, pinged = self.serve(), self.gate(), threading.Event()

        def ping(client: Any, args: Any, reply: Any, ids: Any) -> None:
            client.ping(10)
            pinged.set()
            stays()

        server.on("ping", ping)
        client = self.client(server)
        (side,) = server.clients
        client.send("ping")
        self.assertTrue(pinged.wait(10))
        client.close()  # which the janitor has to notice
        eventually(lambda: not side.alive)

    def test_a_full_inbox_does_not_keep_the_answer_out(self) -> None:
        server, stays = self.serve(inbox_limit_bytes=1000), self.gate()
        others: list[int] = []

        @server.on("ping")
        def ping(client: Any, args: Any, reply: Any, ids: Any) -> None:
            stays()
            reply("took", [client.ping(10)])

        server.on("other", lambda client, args, reply, ids: others.append(args[0]))
        client = self.client(server)
        sent = client.send("ping")
        stays.wait_entered()
        for number in range(50):
            client.send("other", [number, "x" * 100])
        (side,) = server.clients
        eventually(lambda: side.stats().inbox_bytes >= 1000)
        stays.open()
        self.assertGreaterEqual(sent.wait_reply(10).args[0], 0)
        eventually(lambda: others == list(range(50)))

    def test_many_pings_at_once_are_all_answered(self) -> None:
        server = self.serve()
        self.client(server)
        (side,) = server.clients
        for each in [self.in_thread(side.ping, 20) for _ in range(100)]:
            self.assertGreaterEqual(each.get(30), 0)

    def test_a_ping_measures_and_is_the_latency_from_then_on(self) -> None:
        server = self.serve()
        client = self.client(server)
        (side,) = server.clients
        for one in (client, side):
            self.assertIsNone(one.latency)
            seconds = one.ping(10)
            self.assertTrue(0 <= seconds < 10)
            self.assertEqual(one.latency, seconds)

    def test_the_keepalive_measures_too(self) -> None:
        server = self.serve(ping_interval=0.1)
        self.client(server)
        eventually(lambda: server.clients[0].latency is not None)

    def test_it_works_inside_a_listener_and_on_many_threads_at_once(self) -> None:
        server = self.serve()

        @server.on("measure")
        def measure(client: Any, args: Any, reply: Any, ids: Any) -> None:
            reply("measured", [client.ping(10)])

        client = self.client(server)
        (side,) = server.clients
        self.assertGreaterEqual(client.send("measure").wait_reply(10).args[0], 0)
        with switch_interval(1e-6):
            for each in [self.in_thread(lambda: [side.ping(20) for _ in range(20)]) for _ in range(6)]:
                self.assertEqual(len(each.get(30)), 20)

    def test_a_pong_of_the_last_ping_answers_those_before_it(self) -> None:
        side, peer = self.pair(self.serve())
        pinging = [self.in_thread(side.ping, 10)]
        first = peer.read_message()
        pinging.append(self.in_thread(side.ping, 10))
        second = peer.read_message()
        assert first is not None and second is not None and isinstance(second.payload, bytes)
        self.assertNotEqual(first.payload, second.payload)
        peer.send_pong(b"another's")
        peer.send_pong(second.payload)
        for each in pinging:
            self.assertGreaterEqual(each.get(), 0)

    def test_no_answer_is_a_timeout_and_an_end_is_an_end(self) -> None:
        side, peer = self.pair(self.serve())
        begun = time.monotonic()
        with self.assertRaisesRegex(TimeoutError, "no pong within 0.1 s"):
            side.ping(0.1)
        self.assertGreaterEqual(time.monotonic() - begun, 0.1)
        pinging = self.in_thread(side.ping, None)
        while (message := peer.read_message()) is not None and message.opcode != 9:
            pass
        peer.close()
        with self.assertRaises(ConnectionClosed):
            pinging.get()
        with self.assertRaises(ConnectionClosed):
            side.ping(1)
        wrong: Any
        for wrong in (0, -1, "1", float("nan")):
            with self.assertRaisesRegex((TypeError, ValueError), "timeout"):
                side.ping(wrong)

    def test_a_client_without_a_connection_cannot_ping(self) -> None:
        client = EZEZWebSocketClient("ws://127.0.0.1:1", auth=KEY)
        self.addCleanup(client.close)
        with self.assertRaisesRegex(NotConnected, r"ping\(\)"):
            client.ping(1)
        self.assertIsNone(client.latency)
        self.assertEqual(client.stats().messages_sent, 0)
