"""A wire over an SSLSocket that somebody else has wrapped."""

import socket
import ssl
import threading

import trustme

from ezez_ws.wire.borrowing import borrow
from ezez_ws.wire.sockets import WireError
from ezez_ws.wire.tls_socket import TLSSocketWire
from tests.support import EZEZTestCase, eventually


class TLSSocketTest(EZEZTestCase):
    def setUp(self) -> None:
        authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("a.example").configure_cert(context)
        trusting = ssl.create_default_context()
        authority.configure_trust(trusting)
        raw, other = socket.socketpair()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        wrapping = threading.Thread(target=self._wrap, args=(context, raw))
        wrapping.start()
        self.peer = trusting.wrap_socket(other, server_hostname="a.example")
        wrapping.join(10)
        self.addCleanup(self.peer.close)
        self.addCleanup(self.sock.close)
        wire = borrow(self.sock)
        assert isinstance(wire, TLSSocketWire)
        self.wire = wire

    def _wrap(self, context: ssl.SSLContext, raw: socket.socket) -> None:
        self.sock = context.wrap_socket(raw, server_side=True)

    def receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += self.peer.recv(size - len(data))
        return data

    def test_what_the_kernel_does_not_take_is_kept_and_comes_in_order(self) -> None:
        data = bytes(range(256)) * 4096
        first = self.wire.write_now(data)
        self.assertLess(first, len(data))
        self.assertTrue(self.wire.unflushed)
        self.assertEqual(self.wire.write_now(b"other"), 0)
        reading: list[bytes] = []
        reader = threading.Thread(target=lambda: reading.append(self.receive(len(data))))
        reader.start()
        rest = memoryview(data)[first:]
        while rest or self.wire.unflushed:
            self.assertTrue(self.wire.poll(False, True, 10)[1])
            rest = rest[self.wire.write_now(rest) :]
        reader.join(10)
        self.assertEqual(reading, [data])

    def test_what_tls_has_decrypted_counts_as_readable(self) -> None:
        self.assertIsNone(self.wire.read_now(10))
        self.assertEqual(self.wire.poll(True, False, 0), (False, False))
        self.peer.sendall(b"hello, you")
        self.assertEqual(self.wire.read(5), b"hello")
        self.assertTrue(self.wire.poll(True, True, 10)[0])
        self.assertEqual(self.wire.read_now(100), b", you")
        self.assertEqual(self.wire.poll(True, False, 0), (False, False))

    def test_a_writer_gets_through_while_a_reader_waits_and_cut_wakes_the_reader(self) -> None:
        got: list[bytes] = []
        reader = threading.Thread(target=lambda: got.append(self.wire.read(10)))
        reader.start()
        self.assertEqual(self.wire.write_now(b"hello"), 5)
        self.assertEqual(self.receive(5), b"hello")
        self.wire.cut()
        reader.join(10)
        self.assertEqual(got, [b""])
        with self.assertRaises(WireError):
            self.wire.write_now(b"more")

    def test_the_end_is_said_and_what_still_comes_is_read_away(self) -> None:
        self.wire.end_writing()
        self.assertEqual(self.peer.recv(10), b"")  # an end without TLS's goodbye would be an SSLEOFError
        self.peer.sendall(b"more")
        self.assertTrue(self.wire.read_now(1000))
        self.peer.close()
        eventually(lambda: self.wire.read_now(1000) == b"")

    def test_broken_tls_is_a_failure(self) -> None:
        socket.socket.send(self.peer, b"this is no TLS record, and it is long enough")
        self.assertEqual(self.wire.read(10), b"")
        self.assertIsInstance(self.wire.failure, ssl.SSLError)

    def test_after_close_what_the_owner_writes_fails_as_in_a_plain_socket(self) -> None:
        self.wire.close()
        self.assertNotEqual(self.sock.fileno(), -1)
        with self.assertRaises(BrokenPipeError):
            self.sock.sendall(b"HTTP/1.1 200 OK")
        try:
            self.assertEqual(self.peer.recv(10), b"")
        except BrokenPipeError:
            pass  # OpenSSL 3.6 answers the end, and there is nobody any more
