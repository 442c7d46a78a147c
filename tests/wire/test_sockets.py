"""The edge to a socket: what blocks, what does not, what tells that the peer is gone."""

import os
import socket
import threading
import unittest
from unittest import mock

from ezez_ws.messages.speedups import compiled
from ezez_ws.wire import sockets as wire_module
from ezez_ws.wire.borrowing import borrow
from ezez_ws.wire.read_gate import ReadGate
from ezez_ws.wire.sockets import SocketWire, WireError
from tests.support import EZEZTestCase, eventually

ABOUT_THE_EXTENSION = True


def read_in_thread(wire: SocketWire) -> "tuple[threading.Thread, list[bytes]]":
    got: list[bytes] = []
    thread = threading.Thread(target=lambda: got.append(wire.read(100)), daemon=True)
    thread.start()
    return thread, got


class WireTestCase(EZEZTestCase):
    def make(self, tcp: bool = False) -> tuple[SocketWire, socket.socket]:
        if tcp:
            with socket.create_server(("127.0.0.1", 0)) as server:
                ours = socket.create_connection(server.getsockname())
                theirs = server.accept()[0]
        else:
            ours, theirs = socket.socketpair()
        theirs.settimeout(10.0)
        self.addCleanup(theirs.close)
        wire = SocketWire(ours)
        self.addCleanup(wire.close)
        self.addCleanup(wire.retire)
        return wire, theirs

    def fill(self, wire: SocketWire) -> int:
        total = 0
        while True:
            written = wire.write_now(bytes(1 << 20))
            total += written
            if not written:
                return total


KINDS = (False, True)


class ReadTest(WireTestCase):
    def test_reading_now_tells_nothing_yet_from_bytes_and_from_the_end(self) -> None:
        for tcp in KINDS:
            wire, theirs = self.make(tcp)
            self.assertIsNone(wire.read_now(10))
            theirs.send(b"abc")
            self.assertEqual(wire.poll(True, False, 10), (True, False))
            self.assertEqual(wire.read_now(2), b"ab")
            self.assertEqual(wire.read_now(2), b"c")
            self.assertIsNone(wire.read_now(2))
            theirs.close()
            self.assertEqual(wire.poll(True, False, 10)[0], True)
            self.assertEqual(wire.read_now(10), b"")
            self.assertEqual(wire.read(10), b"")

    def test_reading_blocks_until_there_are_bytes(self) -> None:
        for tcp in KINDS:
            wire, theirs = self.make(tcp)
            sender = threading.Timer(0.01, theirs.send, (b"abc",))
            sender.start()
            self.assertEqual(wire.read(10), b"abc")
            sender.join()

    def test_a_reset_is_an_end_of_the_bytes(self) -> None:
        for read in (SocketWire.read, SocketWire.read_now):
            wire, theirs = self.make(tcp=True)
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            theirs.close()
            self.assertTrue(wire.poll(True, False, 10)[0])
            self.assertEqual(read(wire, 10), b"")

    def test_a_cut_wakes_who_reads_and_who_polls(self) -> None:
        for tcp in KINDS:
            wire, theirs = self.make(tcp)
            results: list[object] = []
            threads = [
                threading.Thread(target=lambda wire=wire, results=results: results.append(wire.read(10))),
                threading.Thread(
                    target=lambda wire=wire, results=results: results.append(wire.poll(True, False, None)[0])
                ),
            ]
            for thread in threads:
                thread.start()
            wire.cut()
            for thread in threads:
                thread.join(10)
                self.assertFalse(thread.is_alive())
            self.assertCountEqual(results, [b"", True])
            self.assertEqual(theirs.recv(10), b"")
            wire.cut()


@unittest.skipUnless(hasattr(compiled, "receive_soon"), "the C extension is not there, or cannot do this here")
class AloneTest(WireTestCase):
    """A reader that is alone in its process asks again and again before it sleeps, if its peer was quick."""

    def setUp(self) -> None:
        self.read_gate = ReadGate()
        self.cores: set[int] = {0, 1}
        self.soon = 10_000_000
        for patch in (
            mock.patch.object(wire_module, "read_gate", self.read_gate),
            mock.patch.object(os, "sched_getaffinity", lambda pid: self.cores),
            mock.patch.object(wire_module, "_receive_soon", self.receive_soon),
        ):
            patch.start()
            self.addCleanup(patch.stop)
        self.asked = threading.Event()

    def receive_soon(self, fd: int, size: int, microseconds: int) -> bytes | None:
        self.asked.set()
        received: bytes | None = compiled.receive_soon(fd, size, self.soon)
        return received

    def make_quick(self) -> tuple[SocketWire, socket.socket]:
        wire, theirs = self.make(tcp=True)
        self.addCleanup(wire.retire)
        with mock.patch.object(wire_module, "_SOON", self.soon):
            theirs.send(b"first")
            self.assertEqual(wire.read(100), b"first")
        return wire, theirs

    def test_bytes_the_end_and_a_cut_end_the_asking(self) -> None:
        def send(wire: SocketWire, theirs: socket.socket) -> None:
            theirs.send(b"x" * 200)

        def end(wire: SocketWire, theirs: socket.socket) -> None:
            theirs.close()

        def cut(wire: SocketWire, theirs: socket.socket) -> None:
            wire.cut()

        for act, expected in ((send, b"x" * 100), (end, b""), (cut, b"")):
            wire, theirs = self.make_quick()
            self.asked.clear()
            thread, got = read_in_thread(wire)
            self.assertTrue(self.asked.wait(10))
            act(wire, theirs)
            thread.join(10)
            self.assertEqual(got, [expected])
            wire.retire()

    def test_when_nothing_comes_soon_it_sleeps_and_does_not_ask_the_next_time(self) -> None:
        wire, theirs = self.make_quick()
        self.soon = 1
        thread, got = read_in_thread(wire)
        self.assertTrue(self.asked.wait(10))
        eventually(lambda: not wire._peer_is_quick)
        theirs.send(b"late")
        thread.join(10)
        self.assertEqual(got, [b"late"])
        self.asked.clear()
        theirs.send(b"next")
        self.assertEqual(wire.read(100), b"next")
        self.assertFalse(self.asked.is_set())

    def test_it_reads_as_much_as_is_asked_for(self) -> None:
        wire, theirs = self.make_quick()
        theirs.sendall(b"x" * 30_000)
        eventually(lambda: len(wire._sock.recv(50_000, socket.MSG_PEEK)) == 30_000)
        self.assertEqual(wire.read(50_000), b"x" * 30_000)
        self.assertTrue(self.asked.is_set())

    def test_a_borrowed_socket_is_not_asked_as_its_owner_may_close_it(self) -> None:
        ours, theirs = socket.socketpair()
        wire = borrow(ours)
        for cleanup in (ours.close, theirs.close, wire.close, wire.retire):
            self.addCleanup(cleanup)
        for _ in range(2):
            theirs.send(b"x")
            self.assertEqual(wire.read(100), b"x")
        self.assertFalse(self.asked.is_set())

    def test_who_has_one_core_or_is_not_alone_does_not_ask(self) -> None:
        self.cores = {0}
        wire, theirs = self.make_quick()
        self.assertFalse(wire._peer_is_quick)
        no_answer = mock.patch.object(os, "sched_getaffinity", side_effect=PermissionError)
        with no_answer, mock.patch.object(wire_module, "_SOON", self.soon):
            theirs.send(b"nobody knows")
            self.assertEqual(wire.read(100), b"nobody knows")
        self.cores = {0, 1}
        other, _ = self.make(tcp=True)
        self.addCleanup(other.retire)
        wire._peer_is_quick = True
        reader = self.read_gate.enter(-1)
        theirs.send(b"next")
        self.assertEqual(wire.read(100), b"next")
        self.assertFalse(self.asked.is_set())
        self.read_gate.leave(reader)
        theirs.send(b"last")
        self.assertEqual(wire.read(100), b"last")
        self.assertTrue(self.asked.is_set())


class WriteTest(WireTestCase):
    def test_writing_takes_what_goes_and_never_blocks(self) -> None:
        for tcp in KINDS:
            wire, theirs = self.make(tcp)
            total = self.fill(wire)
            self.assertGreater(total, 0)
            self.assertEqual(wire.write_now(memoryview(b"x")), 0)
            self.assertEqual(wire.poll(True, True, 0), (False, False))
            got = 0
            while got < total:
                got += len(theirs.recv(1 << 20))
            self.assertEqual(wire.poll(False, True, 10), (False, True))
            self.assertEqual(wire.write_now(memoryview(b"x")), 1)

    def test_writing_to_who_is_gone_is_an_error_and_no_signal(self) -> None:
        for tcp in KINDS:
            wire, theirs = self.make(tcp)
            theirs.close()

            def is_broken(wire: SocketWire = wire) -> bool:
                try:
                    wire.write_now(b"x")
                except WireError:
                    return True
                return False

            eventually(is_broken)  # over TCP the first write may still go, and be answered by a reset

    def test_writing_after_a_cut_or_after_the_end_of_writing_is_an_error(self) -> None:
        for tcp in KINDS:
            for end in (SocketWire.cut, SocketWire.end_writing):
                wire, theirs = self.make(tcp)
                wire.write_now(b"last")
                end(wire)
                with self.assertRaises(WireError):
                    wire.write_now(b"x")
                self.assertEqual(theirs.recv(10), b"last")
                self.assertEqual(theirs.recv(10), b"")

    def test_after_the_end_of_writing_the_peer_may_still_be_read(self) -> None:
        for tcp in KINDS:
            wire, theirs = self.make(tcp)
            wire.end_writing()
            theirs.send(b"abc")
            self.assertEqual(wire.read(10), b"abc")
            self.assertFalse(wire.hung_up())

    def test_reading_and_writing_go_on_side_by_side(self) -> None:
        for tcp in KINDS:
            wire, theirs = self.make(tcp)
            payload = os.urandom(1 << 20)
            got = bytearray()

            def read(wire: SocketWire = wire, got: bytearray = got, size: int = len(payload)) -> None:
                while len(got) < size:
                    got.extend(wire.read(65536))

            def echo(theirs: socket.socket = theirs, size: int = len(payload)) -> None:
                left = size
                while left:
                    data = theirs.recv(65536)
                    theirs.sendall(data)
                    left -= len(data)

            threads = [threading.Thread(target=read), threading.Thread(target=echo)]
            for thread in threads:
                thread.start()
            rest = memoryview(payload)
            while rest:
                self.assertTrue(wire.poll(False, True, 10)[1])
                rest = rest[wire.write_now(rest) :]
            for thread in threads:
                thread.join()
            self.assertEqual(bytes(got), payload)


class PollTest(WireTestCase):
    def test_it_tells_what_was_asked_for_only(self) -> None:
        for tcp in KINDS:
            wire, theirs = self.make(tcp)
            self.assertEqual(wire.poll(True, False, 0), (False, False))
            self.assertEqual(wire.poll(True, True, 0), (False, True))
            theirs.send(b"x")
            self.assertEqual(wire.poll(True, False, 10), (True, False))
            self.assertEqual(wire.poll(True, True, 10), (True, True))
            self.assertEqual(wire.poll(False, True, 10), (False, True))

    def test_a_wait_ends_with_its_time_however_short(self) -> None:
        wire, _ = self.make()
        for timeout in (0, 0.0, 1e-9, 0.0001, 0.002):
            self.assertEqual(wire.poll(True, False, timeout), (False, False))

    def test_a_hang_up_is_both_readable_and_writable_and_is_told_without_reading(self) -> None:
        for tcp in KINDS:
            wire, theirs = self.make(tcp)
            self.assertFalse(wire.hung_up())
            self.assertIsNone(wire.read_now(1))
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            theirs.close()
            eventually(wire.hung_up)
            self.assertEqual(wire.poll(True, False, 10), (True, True))
            self.assertEqual(wire.poll(False, True, 10), (True, True))

    def test_a_half_closed_peer_has_not_hung_up(self) -> None:
        for tcp in KINDS:
            wire, theirs = self.make(tcp)
            theirs.shutdown(socket.SHUT_WR)
            self.assertEqual(wire.poll(True, False, 10), (True, False))
            self.assertEqual(wire.read_now(1), b"")
            self.assertFalse(wire.hung_up())
            self.assertEqual(wire.write_now(b"x"), 1)


class SocketTest(WireTestCase):
    def test_small_writes_leave_at_once(self) -> None:
        wire, _ = self.make(tcp=True)
        with socket.socket(fileno=os.dup(wire.fileno())) as same:
            self.assertTrue(same.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    def test_it_may_be_closed_and_cut_in_any_order(self) -> None:
        wire, theirs = self.make(tcp=True)
        theirs.close()
        wire.cut()
        wire.end_writing()
        wire.close()
        wire.close()
        wire.cut()
        self.assertEqual(wire.fileno(), -1)


if __name__ == "__main__":
    unittest.main()
