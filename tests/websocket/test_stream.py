"""A WebSocket over a socket pair, in both roles: what is received, answered, and how it ends."""

import os
import socket
import threading
import time
import unittest
from collections.abc import Callable
from typing import Any
from unittest import mock

from ezez_ws.threads import clock
from ezez_ws.websocket.deflate import Deflate, Deflater
from ezez_ws.websocket.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    RSV1,
    TEXT,
    Message,
    Start,
    encode_close,
    encode_frame,
)
from ezez_ws.websocket.stream import Stream
from ezez_ws.wire.sockets import SocketWire
from tests.support import EZEZTestCase, eventually
from tests.websocket.test_outbox import Reader

ABOUT_THE_EXTENSION = True

MASK = b"\x0a\x0b\x0c\x0d"
MIB = 1 << 20
LONG = 30.0  # seconds that are never needed
AGREED = Deflate(15, 15, False, False)


class InterruptedWire(SocketWire):
    """A signal's handler raises while this reads."""

    def read_now(self, size: int) -> bytes | None:
        super().read_now(size)
        raise KeyboardInterrupt


class Far(Reader):
    """The other end of a stream: it does nothing by itself."""

    def __init__(self, sock: socket.socket, client_side: bool) -> None:
        super().__init__(sock, masked=not client_side)
        self.client_side = client_side

    def frame(self, opcode: int, payload: bytes = b"", fin: bool = True) -> bytes:
        return encode_frame(opcode, payload, MASK if self.client_side else None, fin)

    def send(self, opcode: int, payload: bytes = b"", fin: bool = True) -> None:
        self.sock.sendall(self.frame(opcode, payload, fin))

    def close_frame(self, code: int, reason: str = "") -> None:
        self.send(CLOSE, encode_close(code, reason))


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        return ours, server.accept()[0]


class StreamTestCase(EZEZTestCase):
    def make(
        self,
        client_side: bool = False,
        pair: Callable[[], tuple[socket.socket, socket.socket]] = socket.socketpair,
        kind: Callable[[socket.socket], Any] = SocketWire,
        early: bytes = b"",
        deflate: Deflate | None = None,
    ) -> tuple[Stream, Far]:
        ours, theirs = pair()
        theirs.settimeout(10.0)
        self.addCleanup(theirs.close)
        stream = Stream(kind(ours), client_side, MIB, MIB, early, deflate)
        self.addCleanup(stream.dispose)
        return stream, Far(theirs, not client_side)

    def receive_all(self, stream: Stream) -> list[Message]:
        """Read until the end."""
        messages: list[Message] = []
        while not stream.over:
            messages += stream.receive(LONG) or []
        return messages

    def receive_some(self, stream: Stream, count: int) -> list[Message]:
        messages: list[Message] = []
        while len(messages) < count:
            messages += stream.receive(LONG) or []
        return messages


ROLES = (False, True)


class ReceiveTest(StreamTestCase):
    def test_messages_are_received_in_order(self) -> None:
        for role in ROLES:
            stream, far = self.make(role)
            far.send(TEXT, b"text")
            far.send(BINARY, b"bin", fin=False)
            far.send(PONG, b"nobody asked")
            far.send(CONTINUATION, b"ary")
            far.send(BINARY, b"")
            wanted = [Message(TEXT, "text"), Message(BINARY, b"binary"), Message(BINARY, b"")]
            self.assertEqual(self.receive_some(stream, 3), wanted)
            self.assertIsNone(stream.ending)
            self.assertTrue(stream.open)

    def test_looking_without_waiting_finds_nothing_or_what_is_there(self) -> None:
        for role in ROLES:
            stream, far = self.make(role)
            self.assertIsNone(stream.receive(0))
            far.send(BINARY, b"x")
            self.assertEqual(stream.receive(0), [Message(BINARY, b"x")])
            self.assertIsNone(stream.receive(0))
            self.assertIsNone(stream.receive(0.001))
            far.sock.sendall(far.frame(BINARY, b"y")[:-1])
            self.assertEqual(stream.receive(0), [])

    def test_waiting_without_a_limit_ends_with_a_message(self) -> None:
        for role in ROLES:
            stream, far = self.make(role)
            sender = threading.Timer(0.01, far.send, (BINARY, b"x"))
            sender.start()
            self.assertEqual(stream.receive(None), [Message(BINARY, b"x")])
            sender.join()

    def test_large_messages_are_received_and_sent_whole(self) -> None:
        for role in ROLES:
            stream, far = self.make(role)
            payload = os.urandom(MIB)
            sender = threading.Thread(target=far.send, args=(BINARY, payload))
            sender.start()
            self.assertEqual(self.receive_some(stream, 1), [Message(BINARY, payload)])
            sender.join()
            self.assertTrue(stream.send(payload))
            self.assertEqual(far.read_until(1), [Message(BINARY, payload)])

    def test_text_and_binary_are_sent_as_what_they_are(self) -> None:
        for role in ROLES:
            stream, far = self.make(role)
            self.assertTrue(stream.send("κόσμε"))
            self.assertTrue(stream.send(b"x"))
            self.assertEqual(far.read_until(2), [Message(TEXT, "κόσμε"), Message(BINARY, b"x")])

    def test_what_came_behind_the_handshake_is_received_first(self) -> None:
        for role in ROLES:
            mask = None if role else MASK
            early = encode_frame(BINARY, b"1", mask) + encode_frame(BINARY, b"2", mask)
            for timeout in (0, LONG, None):
                for cut in (len(early), len(early) - 1):
                    stream, far = self.make(role, early=early[:cut])
                    far.sock.sendall(early[cut:] + far.frame(BINARY, b"3"))
                    got = stream.receive(timeout)
                    assert got is not None
                    self.assertEqual(got[0], Message(BINARY, b"1"))
                    got += self.receive_some(stream, 3 - len(got))
                    self.assertEqual([message.payload for message in got], [b"1", b"2", b"3"])

    def test_a_ping_is_answered_with_its_payload_also_between_fragments(self) -> None:
        for role in ROLES:
            stream, far = self.make(role)
            far.send(PING, b"one")
            self.assertEqual(stream.receive(LONG), [])
            far.send(TEXT, b"a", fin=False)
            far.send(PING, b"t" * 125)
            far.send(CONTINUATION, b"b")
            self.assertEqual(self.receive_some(stream, 1), [Message(TEXT, "ab")])
            self.assertEqual(far.read_until(2), [Message(PONG, b"one"), Message(PONG, b"t" * 125)])

    def test_a_ping_is_not_answered_after_our_close_frame(self) -> None:
        for role in ROLES:
            stream, far = self.make(role)
            stream.close(1000, "")
            far.send(PING, b"late")
            far.close_frame(1000)
            self.assertEqual(self.receive_all(stream), [])
            stream.dispose()
            self.assertEqual(far.read_to_end(), [Message(CLOSE, encode_close(1000, ""))])

    def test_how_much_is_kept_of_a_message_may_change_between_two_reads(self) -> None:
        for role in ROLES:
            stream, far = self.make(role)
            for size in (10, 20):
                stream.keep_payload(size)
                far.send(BINARY, b"x" * size)
                self.assertEqual(stream.receive(LONG), [Message(BINARY, b"x" * size)])
                far.send(BINARY, b"x" * 1000)
                self.assertEqual(self.receive_some(stream, 1), [Message(BINARY, Start(b"x" * 32))])
            far.sock.sendall(far.frame(BINARY, b"x" * (MIB + 1))[:20])
            self.assertEqual(self.receive_all(stream), [])
            self.assertEqual(stream.ending and stream.ending.code, 1009)

    def test_it_knows_when_bytes_came_last(self) -> None:
        stream, far = self.make()
        before = stream.last_received
        self.assertIsNone(stream.receive(0.001))
        self.assertEqual(stream.last_received, before)
        far.send(PONG)
        stream.receive(LONG)
        self.assertGreater(stream.last_received, before)
        self.assertLessEqual(stream.last_received, clock.monotonic())

    def test_waiting_for_room_writes_what_waits_and_notices_what_is_to_be_read(self) -> None:
        for role in ROLES:
            stream, far = self.make(role)
            stream._outbox.watch = lambda: None  # type: ignore[method-assign]  # without the flusher's help
            payload = os.urandom(MIB)
            self.assertTrue(stream.send(payload))
            self.assertFalse(stream.wait_for_room(0))
            reader = threading.Thread(target=far.read_until, args=(1,))
            reader.start()
            while not stream._outbox.flush():
                self.assertFalse(stream.wait_for_room(LONG))
            reader.join()
            self.assertEqual(far.messages, [Message(BINARY, payload)])
            far.send(BINARY, b"x")
            self.assertTrue(stream.wait_for_room(LONG))


class CompressionTest(StreamTestCase):
    """Of what one read has brought, what stays compressed is received later, before anything else."""

    PAYLOAD = bytes(100_000)

    def meet(self, count: int, role: bool, behind: bytes = b"", early: bool = False) -> tuple[Stream, Far]:
        """Let so many compressed messages wait to be received, and then ``behind``, which all come with one read."""
        mask = None if role else MASK
        wire = b"".join(self.frame(mask) for _ in range(count)) + behind
        self.assertLess(len(wire), 2048)
        stream, far = self.make(role, deflate=AGREED, early=wire if early else b"")
        stream._read_size = 2048
        if not early:
            far.sock.sendall(wire)
        return stream, far

    def frame(self, mask: bytes | None) -> bytes:
        compressed = Deflater(15, True).compress(self.PAYLOAD)
        assert compressed is not None
        return encode_frame(BINARY, compressed, mask, rsv=RSV1)

    def test_each_time_one_message_is_inflated_and_the_next_is_there_without_the_wire(self) -> None:
        for role in ROLES:
            for early in (False, True):
                stream, _ = self.meet(5, role, early=early)
                self.assertEqual(stream.receive(LONG), [Message(BINARY, self.PAYLOAD)])
                heard = stream.last_received
                with mock.patch.object(stream, "_wire", None):  # nobody asks it
                    for timeout in (None, 0, LONG):
                        self.assertTrue(stream.readable(LONG))
                        self.assertEqual(stream.receive(timeout), [Message(BINARY, self.PAYLOAD)])
                self.assertEqual(stream.last_received, heard)
                self.assertTrue(stream.wait_for_room(LONG))
                self.assertEqual(stream.receive(0, looked=True), [Message(BINARY, self.PAYLOAD)])
                self.assertFalse(stream.readable(0))
                self.assertIsNone(stream.receive(0))

    def test_control_frames_behind_are_heard_in_their_turn(self) -> None:
        for role in ROLES:
            mask = None if role else MASK
            behind = encode_frame(PING, b"p", mask) + encode_frame(CLOSE, encode_close(4000, "bye"), mask)
            stream, far = self.meet(2, role, behind)
            self.assertEqual(stream.receive(None), [Message(BINARY, self.PAYLOAD)])
            self.assertEqual(stream.receive(None), [Message(BINARY, self.PAYLOAD)])
            self.assertIsNone(stream.ending)
            self.assertEqual(self.receive_all(stream), [])
            self.assertEqual(stream.ending, (4000, "bye"))
            stream.dispose()
            self.assertEqual(far.read_to_end(), [Message(PONG, b"p"), Message(CLOSE, encode_close(4000, ""))])

    def test_messages_are_received_before_the_end_of_the_bytes_and_before_a_violation(self) -> None:
        for role in ROLES:
            for behind, code in ((b"", 1006), (b"\xff\xff", 1002)):
                stream, far = self.meet(3, role, behind)
                far.sock.close()
                self.assertEqual(self.receive_all(stream), [Message(BINARY, self.PAYLOAD)] * 3)
                self.assertEqual(stream.ending and stream.ending.code, code)

    def test_what_came_later_is_received_later(self) -> None:
        for role in ROLES:
            stream, far = self.meet(2, role, far_half := self.frame(None if role else MASK)[:20])
            self.assertEqual(stream.receive(None), [Message(BINARY, self.PAYLOAD)])
            far.sock.sendall(self.frame(None if role else MASK)[len(far_half) :])
            far.send(BINARY, b"plain")
            wanted = [Message(BINARY, self.PAYLOAD), Message(BINARY, self.PAYLOAD), Message(BINARY, b"plain")]
            self.assertEqual(self.receive_some(stream, 3), wanted)

    def test_nothing_is_compressed_until_it_is_begun(self) -> None:
        for role in ROLES:
            stream, far = self.make(role, deflate=AGREED)
            stream.send(self.PAYLOAD)
            self.assertEqual(far.read_until(1), [Message(BINARY, self.PAYLOAD)])
            stream.begin_compressing()
            stream.send(self.PAYLOAD)
            self.assertLess(len(far.sock.recv(MIB)), 1000)
            stream, far = self.make(role)
            stream.begin_compressing()  # it was not agreed
            stream.send(self.PAYLOAD)
            self.assertEqual(far.read_until(1), [Message(BINARY, self.PAYLOAD)])


class CloseTest(StreamTestCase):
    def test_the_peers_close_frame_is_echoed_with_its_code_and_is_the_ending(self) -> None:
        for role in ROLES:
            for code, reason in ((1000, ""), (1001, "going"), (1011, "é" * 61), (3000, "x"), (4999, "y")):
                stream, far = self.make(role)
                far.send(BINARY, b"before")
                far.close_frame(code, reason)
                far.send(BINARY, b"behind")
                self.assertEqual(self.receive_all(stream), [Message(BINARY, b"before")])
                self.assertEqual(stream.ending, (code, reason))
                self.assertFalse(stream.open)
                self.assertFalse(stream.send(b"late"))
                self.assertFalse(stream.close(1000, ""))
                self.assertFalse(stream.cut())
                stream.dispose()
                self.assertEqual(far.read_to_end(), [Message(CLOSE, encode_close(code, ""))])

    def test_a_close_frame_without_a_code_is_1005_and_echoed_without(self) -> None:
        for role in ROLES:
            stream, far = self.make(role)
            far.send(CLOSE)
            self.receive_all(stream)
            self.assertEqual(stream.ending, (1005, ""))
            stream.dispose()
            self.assertEqual(far.read_to_end(), [Message(CLOSE, b"")])

    def test_the_echo_goes_behind_what_waits_to_be_sent(self) -> None:
        for role in ROLES:
            stream, far = self.make(role)
            stream.send(b"x" * MIB)
            far.close_frame(1000, "enough")
            self.receive_all(stream)
            wanted = [Message(BINARY, b"x" * MIB), Message(CLOSE, encode_close(1000, ""))]
            self.assertEqual(far.read_until(2), wanted)

    def test_our_close_ends_with_the_peers_answer_and_messages_come_until_then(self) -> None:
        for role in ROLES:
            stream, far = self.make(role)
            self.assertTrue(stream.close(4000, "bye"))
            self.assertFalse(stream.close(4001, "again"))
            self.assertIsNone(stream.ending)
            self.assertFalse(stream.open)
            self.assertEqual(far.read_until(1), [Message(CLOSE, encode_close(4000, "bye"))])
            far.send(BINARY, b"on its way")
            far.close_frame(4000)
            self.assertEqual(self.receive_all(stream), [Message(BINARY, b"on its way")])
            self.assertEqual(stream.ending, (4000, "bye"))
            stream.dispose()
            self.assertEqual(len(far.read_to_end()), 1)

    def test_two_ends_that_close_at_once_each_send_one_close_frame(self) -> None:
        ours, theirs = socket.socketpair()
        server = Stream(SocketWire(ours), False, MIB, MIB)
        client = Stream(SocketWire(theirs), True, MIB, MIB)
        self.addCleanup(server.dispose)
        self.addCleanup(client.dispose)
        self.assertTrue(server.close(1001, "server"))
        self.assertTrue(client.close(1000, "client"))
        self.assertEqual(self.receive_all(server) + self.receive_all(client), [])
        self.assertEqual((server.ending, client.ending), ((1000, "client"), (1001, "server")))
        ends = [threading.Thread(target=stream.finish, args=(LONG,)) for stream in (server, client)]
        for end in ends:
            end.start()
        for end in ends:
            end.join()

    def test_the_end_of_the_bytes_without_a_close_frame_is_1006(self) -> None:
        for role in ROLES:
            for act in (
                lambda far: None,
                lambda far: far.send(BINARY, b"x"),
                lambda far: far.sock.sendall(far.frame(BINARY, b"cut short")[:-3]),
                lambda far: far.send(TEXT, b"no end", fin=False),
            ):
                for timeout in (LONG, None):
                    stream, far = self.make(role)
                    act(far)
                    far.sock.close()
                    while not stream.over:
                        stream.receive(timeout)
                    self.assertEqual(stream.ending, (1006, ""))
                    self.assertFalse(stream.open)
                    self.assertFalse(stream.send(b"late"))
                    self.assertEqual(stream.receive(timeout), [])

    def test_a_half_closed_peer_without_a_close_frame_has_ended(self) -> None:
        for role in ROLES:
            stream, far = self.make(role)
            far.sock.shutdown(socket.SHUT_WR)
            self.assertEqual(self.receive_all(stream), [])
            self.assertEqual(stream.ending, (1006, ""))
            self.assertEqual(far.read_to_end(), [])

    def test_after_our_close_the_end_of_the_bytes_without_an_answer_is_1006(self) -> None:
        for role in ROLES:
            stream, far = self.make(role)
            stream.close(1000, "")
            far.sock.close()
            self.receive_all(stream)
            self.assertEqual(stream.ending, (1006, ""))

    def test_a_violation_ends_it_with_its_code_and_what_came_before_is_delivered(self) -> None:
        for role in ROLES:
            for opcode, payload, code in (
                (3, b"", 1002),
                (CONTINUATION, b"", 1002),
                (TEXT, b"\xff", 1007),
                (BINARY, b"x" * (MIB + 1), 1009),
                (CLOSE, b"\x03\xed", 1002),
                (CLOSE, b"\x03\xe8\xff", 1007),
            ):
                with self.subTest(role=role, opcode=opcode, code=code):
                    stream, far = self.make(role)
                    far.send(PING, b"p")
                    far.send(BINARY, b"good")
                    far.sock.sendall(far.frame(opcode, payload)[:200])
                    self.assertEqual(self.receive_all(stream), [Message(BINARY, b"good")])
                    self.assertEqual(stream.ending and stream.ending.code, code)
                    self.assertEqual(stream.failure and stream.failure.code, code)
                    self.assertFalse(stream.open)
                    self.assertIn(stream.receive(0), ([], None))
                    pong, close = far.read_until(2)
                    self.assertEqual(pong, Message(PONG, b"p"))
                    assert isinstance(close.payload, bytes)
                    self.assertEqual(close.payload[:2], code.to_bytes(2, "big"))

    def test_a_violation_after_our_close_frame_is_the_ending_but_no_second_close_frame(self) -> None:
        for role in ROLES:
            stream, far = self.make(role)
            stream.close(1000, "")
            far.send(3)
            self.receive_all(stream)
            self.assertEqual(stream.ending and stream.ending.code, 1002)
            stream.dispose()
            self.assertEqual(len(far.read_to_end()), 1)

    def test_failing_it_sends_the_code_and_takes_nothing_in_any_more(self) -> None:
        for role in ROLES:
            stream, far = self.make(role)
            self.assertTrue(stream.fail(1008, "policy"))
            self.assertFalse(stream.fail(1002, "again"))
            self.assertEqual(stream.ending, (1008, "policy"))
            self.assertIsNone(stream.failure)
            self.assertEqual(far.read_until(1), [Message(CLOSE, encode_close(1008, "policy"))])
            far.close_frame(1008)
            self.receive_all(stream)
            self.assertEqual(stream.ending, (1008, "policy"))

    def test_a_cut_wakes_a_blocked_reader_and_its_code_is_the_ending(self) -> None:
        for role in ROLES:
            for timeout in (LONG, None):
                stream, far = self.make(role)
                reading = threading.Thread(target=stream.receive, args=(timeout,))
                reading.start()
                self.assertTrue(stream.cut(1011, "no pong"))
                reading.join(10)
                self.assertFalse(reading.is_alive())
                self.assertFalse(stream.cut())
                self.assertEqual(stream.ending, (1011, "no pong"))
                self.assertTrue(stream.over)
                self.assertEqual(far.read_to_end(), [])

    def test_an_exception_in_the_middle_of_a_read_cuts_the_connection(self) -> None:
        for role in ROLES:
            stream, far = self.make(role, kind=InterruptedWire)
            far.send(BINARY, b"lost")
            with self.assertRaises(KeyboardInterrupt):
                stream.receive(LONG)
            self.assertEqual(stream.ending, (1006, ""))
            self.assertFalse(stream.open)
            self.assertEqual(far.read_to_end(), [])


class FinishTest(StreamTestCase):
    def finish(self, stream: Stream, timeout: float = LONG) -> threading.Thread:
        thread = threading.Thread(target=stream.finish, args=(timeout,))
        thread.start()
        self.addCleanup(thread.join)
        return thread

    def test_it_lingers_until_the_peers_end_and_the_peer_sees_ours_first(self) -> None:
        for role in ROLES:
            for pair in (socket.socketpair, tcp_pair):
                stream, far = self.make(role, pair)
                stream.fail(1002, "why")
                finishing = self.finish(stream)
                self.assertEqual(far.read_to_end(), [Message(CLOSE, encode_close(1002, "why"))])
                self.assertTrue(finishing.is_alive())
                far.send(BINARY, b"still talking")
                far.sock.shutdown(socket.SHUT_WR)
                finishing.join(10)
                self.assertFalse(finishing.is_alive())

    def test_it_lingers_no_longer_than_it_may(self) -> None:
        for waits in (False, True):
            stream, _ = self.make()
            if waits:
                stream.send(b"x" * MIB)
            stream.fail(1002, "")
            start = time.monotonic()
            stream.finish(0.05)
            self.assertLess(time.monotonic() - start, 5)

    def test_it_lingers_no_longer_where_the_peer_goes_on_sending(self) -> None:
        stream, far = self.make()
        stopped = threading.Event()

        def flood() -> None:
            try:
                while not stopped.is_set():
                    far.send(BINARY, b"x" * 1000)
            except OSError:
                pass

        flooding = threading.Thread(target=flood)
        flooding.start()
        stream.fail(1002, "")
        start = time.monotonic()
        stream.finish(0.2)
        self.assertLess(time.monotonic() - start, 5)
        stream.dispose()
        stopped.set()
        flooding.join()

    def test_the_close_frame_is_not_lost_to_a_reset_where_unread_data_is_pending(self) -> None:
        for role in ROLES:
            stream, far = self.make(role, tcp_pair)
            far.send(3)  # a violation, and much behind it that nobody reads
            sender = threading.Thread(target=far.sock.sendall, args=(b"x" * 8 * MIB,))
            sender.start()
            self.receive_all(stream)
            finishing = self.finish(stream)
            sender.join()
            got = far.read_to_end()
            self.assertEqual([message.opcode for message in got], [CLOSE])
            far.sock.shutdown(socket.SHUT_WR)
            finishing.join()
            self.assertEqual(stream.ending and stream.ending.code, 1002)

    def test_what_waits_is_sent_first(self) -> None:
        for role in ROLES:
            for pair in (socket.socketpair, tcp_pair):
                stream, far = self.make(role, pair)
                payload = os.urandom(16 * MIB)
                stream.send(payload)
                far.close_frame(1000)
                self.receive_all(stream)
                finishing = self.finish(stream)
                wanted = [Message(BINARY, payload), Message(CLOSE, encode_close(1000, ""))]
                self.assertEqual(far.read_to_end(), wanted)
                far.sock.close()
                finishing.join()

    def test_a_cut_from_another_thread_ends_it(self) -> None:
        stream, far = self.make()
        stream.fail(1002, "")
        finishing = self.finish(stream)
        self.assertEqual(len(far.read_to_end()), 1)
        stream.cut()
        finishing.join(10)
        self.assertFalse(finishing.is_alive())

    def test_a_stream_may_be_given_back_twice_and_sends_nothing_then(self) -> None:
        for role in ROLES:
            stream, far = self.make(role)
            stream.cut()
            stream.dispose()
            stream.dispose()
            self.assertFalse(stream.send(b"x"))
            self.assertFalse(stream.close(1000, ""))
            self.assertFalse(stream._outbox.readable())
            self.assertFalse(stream._outbox.hung_up())
            self.assertEqual(far.read_to_end(), [])

    def test_who_does_not_read_can_tell_data_and_a_hang_up(self) -> None:
        stream, far = self.make(pair=tcp_pair)
        self.assertFalse(stream._outbox.readable())
        self.assertFalse(stream._outbox.hung_up())
        far.send(BINARY, b"x")
        eventually(stream._outbox.readable)
        far.sock.shutdown(socket.SHUT_WR)
        self.assertFalse(stream._outbox.hung_up())
        far.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        far.sock.close()
        eventually(stream._outbox.hung_up)


if __name__ == "__main__":
    unittest.main()
