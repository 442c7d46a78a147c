"""A link on which a test acts."""

import socket
import time
import unittest
from collections.abc import Callable

from ezez_ws import ConnectionClosed, ConnectionFailed, ConnectTimeout
from ezez_ws.testing import Link
from ezez_ws.testing.link import Way
from tests.serving import ServingTestCase
from tests.support import eventually


class LinkTest(ServingTestCase):
    """Between two sockets of the test's own."""

    def setUp(self) -> None:
        super().setUp()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.listener.close)
        self.link = Link(f"ws://127.0.0.1:{self.listener.getsockname()[1]}/chat?a=b")
        self.addCleanup(self.link.close)

    def connect(self) -> tuple[socket.socket, socket.socket]:
        near = socket.create_connection(("127.0.0.1", self.link.port), 10)
        self.addCleanup(near.close)
        self.listener.settimeout(10)
        far, _ = self.listener.accept()
        self.addCleanup(far.close)
        far.settimeout(10)
        return near, far

    def receive(self, sock: socket.socket, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = sock.recv(size - len(data))
            if not piece:
                break
            data += piece
        return data

    def assert_silent(self, sock: socket.socket, seconds: float = 0.1) -> None:
        sock.settimeout(seconds)
        with self.assertRaises(TimeoutError):
            sock.recv(1)
        sock.settimeout(10)

    def test_its_url_is_that_of_the_server_with_its_own_port(self) -> None:
        self.assertEqual(f"ws://127.0.0.1:{self.link.port}/chat?a=b", self.link.url)

    def test_bytes_pass_both_ways_and_so_does_the_end_of_one(self) -> None:
        near, far = self.connect()
        near.sendall(b"to")
        far.sendall(b"fro")
        self.assertEqual(b"to", self.receive(far, 2))
        self.assertEqual(b"fro", self.receive(near, 3))
        near.shutdown(socket.SHUT_WR)
        self.assertEqual(b"", far.recv(1))
        far.sendall(b"still")
        self.assertEqual(b"still", self.receive(near, 5))
        far.close()
        self.assertEqual(b"", near.recv(1))

    def test_megabytes_pass_whole_and_in_order(self) -> None:
        near, far = self.connect()
        data = bytes(range(256)) * 40_000
        for delay, most in ((0.0, None), (0.05, None), (0.0, 50_000)):
            self.link.delay(delay)
            self.link.split(most)
            sending = self.in_thread(near.sendall, data)
            self.assertEqual(data, self.receive(far, len(data)))
            sending.get()

    def test_what_is_stalled_comes_when_it_resumes(self) -> None:
        near, far = self.connect()
        self.link.stall()
        near.sendall(b"later")
        self.assert_silent(far)
        self.link.resume()
        self.assertEqual(b"later", self.receive(far, 5))

    def test_a_stalled_link_takes_no_more_than_buffers_hold(self) -> None:
        near, _ = self.connect()
        self.link.stall()
        near.settimeout(0.5)
        with self.assertRaises(TimeoutError):
            near.sendall(bytes(100 << 20))

    def test_a_delay_moves_all_by_as_much(self) -> None:
        near, far = self.connect()
        self.link.delay(0.2)
        began = time.monotonic()
        for _ in range(10):  # which takes no ten times as long
            near.sendall(b"x")
            time.sleep(0.01)
        self.assertEqual(b"x", far.recv(1))
        self.assertGreaterEqual(time.monotonic() - began, 0.2)
        self.assertEqual(9, len(self.receive(far, 9)))
        self.link.delay(0)
        near.sendall(b"y")
        self.assertEqual(b"y", far.recv(1))

    def test_a_throttle_lets_so_much_pass(self) -> None:
        near, far = self.connect()
        self.link.split(1000)
        self.link.throttle(20_000)
        began = time.monotonic()
        near.sendall(bytes(10_000))
        self.assertEqual(10_000, len(self.receive(far, 10_000)))
        self.assertGreater(time.monotonic() - began, 0.4)

    def test_a_large_piece_is_no_way_around_the_throttle(self) -> None:
        near, far = self.connect()
        self.link.throttle(20_000)
        near.sendall(bytes(20_000))
        began = time.monotonic()
        self.assertEqual(10_000, len(self.receive(far, 10_000)))
        self.assertGreater(time.monotonic() - began, 0.3)

    def test_split_writes_no_more_at_once(self) -> None:
        source, near = socket.socketpair()
        target, far = socket.socketpair()
        with source, near, target, far:
            way = Way(source, target)
            near.sendall(b"abcdefgh")
            way.take(0.0, is_lost=False)
            pieces = []
            while way.size:
                way.pass_on(3, None)
                pieces.append(far.recv(100))
        self.assertEqual([b"abc", b"def", b"gh"], pieces)

    def test_a_cut_is_a_reset_for_both_and_others_can_connect(self) -> None:
        near, far = self.connect()
        self.link.cut()
        for sock in (near, far):
            with self.assertRaises(ConnectionResetError):
                sock.recv(1)
        self.connect()

    def test_what_is_dropped_never_comes_and_no_end_is_seen(self) -> None:
        near, far = self.connect()
        near.sendall(b"before")
        self.assertEqual(b"before", self.receive(far, 6))
        self.link.drop()
        near.sendall(b"lost")
        near.close()
        self.assert_silent(far)
        self.link.resume()
        self.assert_silent(far)
        near, far = self.connect()
        near.sendall(b"again")
        self.assertEqual(b"again", self.receive(far, 5))

    def test_a_reset_behind_what_is_dropped_is_not_seen_either(self) -> None:
        near, far = self.connect()
        self.link.drop()
        near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        near.close()
        self.assert_silent(far)

    def test_who_closes_at_one_end_is_heard_of_at_the_other(self) -> None:
        near, far = self.connect()
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        far.close()
        with self.assertRaises(ConnectionResetError):
            near.recv(1)

    def test_where_nobody_listens_it_resets(self) -> None:
        self.listener.close()
        with self.assertRaises(ConnectionError), socket.create_connection(("127.0.0.1", self.link.port), 10) as near:
            near.sendall(b"x")
            near.recv(1)
            near.recv(1)

    def test_a_closed_one_leaves_nothing_and_says_so(self) -> None:
        near, far = self.connect()
        self.link.close()
        self.link.close()
        self.assertEqual((b"", b""), (near.recv(1), far.recv(1)))
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", self.link.port), 10)
        with self.assertRaisesRegex(RuntimeError, "closed"):
            self.link.stall()

    def test_wrong_numbers_are_named(self) -> None:
        wrong: list[tuple[Callable[[], object], type[Exception], str]] = [
            (lambda: self.link.delay(-1), ValueError, "seconds must be a number >= 0, not -1"),
            (lambda: self.link.throttle(0), ValueError, "bytes_per_second must be a number > 0, not 0"),
            (lambda: self.link.split(0), ValueError, "n must be a number > 0, not 0"),
            (lambda: self.link.split("3"), TypeError, "n must be a number, not str"),  # type: ignore[arg-type]
        ]
        for call, error, text in wrong:
            with self.subTest(text), self.assertRaisesRegex(error, text):
                call()


class LinkToServerTest(ServingTestCase):
    def link(self, **options: object) -> Link:
        self.server = self.serve(**options)
        self.server.on("echo", lambda client, args, reply, ids: reply("echo", args))
        link = Link(self.server)
        self.addCleanup(link.close)
        return link

    def test_a_client_works_over_single_bytes(self) -> None:
        link = self.link()
        link.split(1)
        client = self.client(link)
        self.assertEqual(["abc"], client.send("echo", ["abc"]).wait_reply(10).args)

    def test_a_client_comes_back_after_a_cut_also_to_a_server_that_has_another_port(self) -> None:
        link = self.link()
        client = self.client(link, reconnect_delay=0.02)
        link.cut()
        eventually(lambda: not client.alive)
        client.connect(10)
        self.server.close()
        self.server.start()
        client.connect(10)
        self.assertEqual([1], client.send("echo", [1]).wait_reply(10).args)

    def test_a_wait_is_ended_by_a_cut(self) -> None:
        link = self.link()
        client = self.client(link, auto_reconnect=False)
        link.stall()
        sent = client.send("echo")
        link.cut()
        with self.assertRaises(ConnectionClosed):
            sent.wait_reply(10)

    def test_a_dropped_connection_is_noticed_by_the_keepalive(self) -> None:
        link = self.link(ping_interval=0.1, ping_timeout=0.1)
        client = self.client(link, auto_reconnect=False, ping_interval=0.1, ping_timeout=0.1)
        link.drop()
        self.assertTrue(client.wait_closed(10))
        eventually(lambda: not self.server.clients)

    def test_nobody_connects_while_it_drops(self) -> None:
        link = self.link()
        link.drop()
        with self.assertRaises((ConnectTimeout, ConnectionFailed)):
            self.client(link, connect_timeout=0.2, auto_reconnect=False)

    def test_a_server_without_a_port_is_refused(self) -> None:
        for options, text in (({"port": None}, "has no port of its own"), ({}, "is not started")):
            with self.subTest(text), self.assertRaisesRegex(ValueError, text):
                Link(self.make(**options))


if __name__ == "__main__":
    unittest.main()
