"""Sending: never torn, in order, bounded, and never waiting; over socket pairs, with wires that take little or fail."""

import contextlib
import itertools
import os
import socket
import subprocess
import sys
import textwrap
import threading
import tracemalloc
import unittest
from collections.abc import Callable
from types import FrameType
from typing import Any
from unittest import mock

import ezez_ws.websocket.outbox as outbox_module
from ezez_ws.threads.waiting import Event
from ezez_ws.websocket.frames import BINARY, CLOSE, PING, PONG, TEXT, FrameDecoder, Message, Prepared, encode_close
from ezez_ws.websocket.outbox import Buffer, Outbox, Put
from ezez_ws.wire.sockets import SocketWire, WireError
from tests.support import REPO, EZEZTestCase, eventually, switch_interval

MIB = 1 << 20


class ChunkWire(SocketWire):
    """Takes at most ``chunk`` bytes at a time."""

    chunk = 1

    def write_now(self, data: Buffer) -> int:
        return super().write_now(data[: self.chunk])


class BudgetWire(SocketWire):
    """Takes ``budget`` bytes, and then does what ``then`` does."""

    budget = 0

    def then(self) -> int:
        return 0

    def write_now(self, data: Buffer) -> int:
        if data and not self.budget:
            return self.then()
        written = super().write_now(data[: self.budget])
        self.budget -= written
        return written


class BreakingWire(BudgetWire):
    def then(self) -> int:
        raise WireError("broken by the test")


class InterruptedWire(SocketWire):
    """Sends ``sent`` bytes, and is interrupted by a signal's handler before it can say so."""

    sent = 0

    def write_now(self, data: Buffer) -> int:
        super().write_now(data[: self.sent])
        raise KeyboardInterrupt


class FaultyWire(SocketWire):
    """Has a bug, once the gate is open."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.faulty = threading.Event()

    def write_now(self, data: Buffer) -> int:
        if self.faulty.is_set():
            raise ZeroDivisionError("a bug in a wire")
        return super().write_now(data)


class Reader:
    """The other end: reads frames, on the calling thread."""

    def __init__(self, sock: socket.socket, masked: bool) -> None:
        self.sock = sock
        self.decoder = FrameDecoder(masked, 1 << 30)
        self.messages: list[Message] = []
        self.at_end = False

    def read(self) -> None:
        """Read once."""
        try:
            data = self.sock.recv(MIB)
        except ConnectionResetError:
            data = b""
        self.at_end = not data
        self.messages += self.decoder.feed(data)
        if self.decoder.failure:
            raise AssertionError(f"torn: {self.decoder.failure}")

    def read_until(self, count: int) -> list[Message]:
        """Read until there are so many messages, and return them all."""
        while len(self.messages) < count:
            self.read()
            if self.at_end:
                raise AssertionError(f"the end after {len(self.messages)} of {count} messages")
        return self.messages

    def read_to_end(self) -> list[Message]:
        while not self.at_end:
            self.read()
        return self.messages


class OutboxTestCase(EZEZTestCase):
    def make(
        self, kind: Callable[[socket.socket], Any] = SocketWire, masked: bool = False, limit: int = MIB
    ) -> tuple[Outbox, Any, Reader]:
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        theirs.settimeout(10.0)
        self.addCleanup(theirs.close)
        wire = kind(ours)
        outbox = Outbox(wire, masked, limit)
        self.addCleanup(outbox.dispose)
        return outbox, wire, Reader(theirs, masked)

    def put(self, outbox: Outbox, payload: bytes, opcode: int = BINARY) -> Put:
        with outbox.lock:
            return outbox.put(payload, opcode)

    def fill(self, outbox: Outbox, size: int = MIB) -> Message:
        """Put a message of which only a part goes, as the peer does not read, and let the flusher care for the rest."""
        payload = os.urandom(size)
        self.assertIs(outbox.send(payload), Put.WAITING)
        return Message(BINARY, payload)

    def pending(self, outbox: Outbox, limit: int = MIB) -> int:
        """How much waits: the room that there is not."""
        with outbox.lock:
            return next(size for size in itertools.count() if not outbox.has_room(limit - size + 1))


def flusher_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "ezez-flusher"]


class OrderTest(OutboxTestCase):
    def test_messages_come_whole_and_in_order_whatever_part_the_kernel_takes(self) -> None:
        for masked in (False, True):
            for chunk in (1, 2, 3, 7, 64, 1000):
                with self.subTest(masked=masked, chunk=chunk):
                    outbox, wire, reader = self.make(ChunkWire, masked)
                    wire.chunk = chunk
                    sent = [bytes([i]) * (i * 7 % 200) for i in range(40)]
                    for i, payload in enumerate(sent):
                        self.assertIsNot(self.put(outbox, payload), Put.REFUSED)
                        while i % 5 == 4 and not outbox.flush():
                            reader.read()
                    self.assertEqual(reader.read_until(len(sent)), [Message(BINARY, payload) for payload in sent])
                    self.assertTrue(reader.decoder.idle)
                    outbox.dispose()

    def test_it_says_whether_the_kernel_has_a_message_or_it_waits(self) -> None:
        outbox, wire, reader = self.make(BudgetWire)
        wire.budget = 12
        self.assertIs(self.put(outbox, b"x" * 10), Put.WRITTEN)
        self.assertIs(self.put(outbox, b"y" * 10), Put.WAITING)
        wire.budget = 5
        self.assertFalse(outbox.flush())
        self.assertIs(self.put(outbox, b"z" * 10), Put.WAITING)
        wire.budget = 1000
        self.assertTrue(outbox.flush())
        self.assertIs(self.put(outbox, b"", TEXT), Put.WRITTEN)
        wanted = [*(Message(BINARY, letter * 10) for letter in (b"x", b"y", b"z")), Message(TEXT, "")]
        self.assertEqual(reader.read_until(4), wanted)

    def test_what_the_flusher_writes_is_what_was_sent_for_a_peer_that_reads_slowly(self) -> None:
        for masked in (False, True):
            outbox, _, reader = self.make(masked=masked, limit=64 * MIB)
            sent = [os.urandom(size) for size in (3 * MIB, 0, 1, 70000, 2 * MIB, *range(300), 65536)]
            for payload in sent:
                outbox.send(payload)
            self.assertEqual(reader.read_until(len(sent)), [Message(BINARY, payload) for payload in sent])

    def test_eight_threads_and_a_slow_reader_get_every_message_whole_and_in_the_order_of_its_thread(self) -> None:
        for masked in (False, True):
            outbox, wire, reader = self.make(ChunkWire, masked, limit=64 * MIB)
            wire.chunk = 3000
            count, start = 60, threading.Barrier(8)

            def write(
                number: int, outbox: Outbox = outbox, start: threading.Barrier = start, count: int = count
            ) -> None:
                start.wait(30)
                for i in range(count):
                    outbox.send(bytes([number, i]) + bytes([number ^ i]) * (i * 37 % 5000))
                    outbox.pong(b"pong")
                    outbox.ping(b"ping")

            threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
            with switch_interval():
                for thread in threads:
                    thread.start()
                got: list[list[int]] = [[] for _ in threads]
                while sum(map(len, got)) < 8 * count:
                    reader.read()
                    self.assertFalse(reader.at_end)
                    for message in reader.messages:
                        if message.opcode != BINARY:
                            self.assertIn(message, (Message(PONG, b"pong"), Message(PING, b"ping")))
                            continue
                        assert isinstance(message.payload, bytes)
                        number, i = message.payload[:2]
                        self.assertEqual(message.payload[2:], bytes([number ^ i]) * (i * 37 % 5000))
                        got[number].append(i)
                    reader.messages.clear()
                for thread in threads:
                    thread.join()
            self.assertEqual(got, [list(range(count))] * 8)
            outbox.dispose()


class ControlTest(OutboxTestCase):
    def test_control_frames_go_between_two_frames_and_before_what_waits(self) -> None:
        outbox, _, reader = self.make()
        first = self.fill(outbox)
        second = self.fill(outbox)
        outbox.pong(b"pong")
        outbox.ping(b"ping")
        self.assertEqual(reader.read_until(4), [first, Message(PONG, b"pong"), Message(PING, b"ping"), second])

    def test_control_frames_that_go_only_in_part_are_not_torn(self) -> None:
        for budget in range(1, 20):
            outbox, wire, reader = self.make(BudgetWire)
            self.assertIs(self.put(outbox, b"x"), Put.WAITING)
            with mock.patch.object(outbox, "watch"):  # this test is the flusher
                outbox.pong(b"pong")
                outbox.ping(b"ping")
                wire.budget = budget
                while wire.budget:
                    if outbox.flush():
                        break
                outbox.pong(b"another")
                self.assertIsNot(self.put(outbox, b"y"), Put.REFUSED)
            wire.budget = 1000
            self.assertTrue(outbox.flush())
            outbox.dispose()
            got = reader.read_to_end()
            self.assertTrue(reader.decoder.idle)
            self.assertEqual([m.payload for m in got if m.opcode == BINARY], [b"x", b"y"])
            self.assertEqual([m.payload for m in got if m.opcode == PING], [b"ping"])
            self.assertIn([m.payload for m in got if m.opcode == PONG], ([b"another"], [b"pong", b"another"]))

    def test_of_the_pongs_that_wait_only_the_last_is_sent_and_of_many_pings_the_first_ones(self) -> None:
        outbox, _, reader = self.make()
        first = self.fill(outbox)
        for i in range(1000):
            outbox.pong(b"%d" % i)
            outbox.ping(b"%100d" % i)
        outbox.close(1000, "")
        pings = [Message(PING, b"%100d" % i) for i in range(11)]  # those before the eleventh are less than 1 KiB
        wanted = [first, Message(PONG, b"999"), *pings, Message(CLOSE, encode_close(1000, ""))]
        self.assertEqual(reader.read_until(len(wanted)), wanted)

    def test_thousands_of_pings_of_a_peer_that_never_reads_cost_no_memory(self) -> None:
        outbox, _, reader = self.make()
        payload = os.urandom(125)
        for _ in range(1000):  # until the kernel takes no more
            outbox.pong(payload)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(5000):
            outbox.pong(payload)
        self.assertLess(tracemalloc.get_traced_memory()[0] - before, 20000)
        outbox.pong(b"last")
        while reader.messages[-1:] != [Message(PONG, b"last")]:
            reader.read()
        self.assertLess(len(reader.messages), 1000)

    def test_the_close_frame_is_the_last_and_nothing_follows_it(self) -> None:
        for waits in (False, True):
            outbox, _, reader = self.make()
            wanted = [self.fill(outbox)] if waits else []
            self.assertTrue(outbox.open)
            if waits:
                outbox.pong(b"before")
                wanted.append(Message(PONG, b"before"))
            self.assertTrue(outbox.close(4000, "bye"))
            self.assertFalse(outbox.open)
            self.assertFalse(outbox.close(1000, "again"))
            self.assertIs(outbox.send(b"late"), Put.REFUSED)
            self.assertIs(self.put(outbox, b"late"), Put.REFUSED)
            outbox.pong(b"late")
            outbox.ping(b"late")
            wanted.append(Message(CLOSE, encode_close(4000, "bye")))
            self.assertEqual(reader.read_until(len(wanted)), wanted)
            self.assertTrue(eventually(outbox.flush))
            outbox.end_writing()
            self.assertEqual(reader.read_to_end(), wanted)


class CountingWire(SocketWire):
    """Counts the writes."""

    writes = 0

    def write_now(self, data: Buffer) -> int:
        self.writes += 1
        return super().write_now(data)


class HoldingTest(OutboxTestCase):
    def hold(self, outbox: Outbox, payload: bytes) -> Put:
        with outbox.lock:
            return outbox.put_prepared(Prepared(payload), True)

    def test_what_is_held_leaves_together(self) -> None:
        outbox, wire, reader = self.make(CountingWire)
        payloads = [bytes([i]) * i for i in range(20)]
        self.assertEqual({Put.HELD}, {self.hold(outbox, payload) for payload in payloads})
        self.assertEqual(0, wire.writes)
        outbox.let_go()
        self.assertEqual(reader.read_until(20), [Message(BINARY, payload) for payload in payloads])
        outbox.let_go()
        self.assertEqual(1, wire.writes)

    def test_it_leaves_before_whatever_is_sent_next(self) -> None:
        acts: list[tuple[Callable[[Outbox], object], list[int]]] = [
            (lambda outbox: self.put(outbox, b"next"), [BINARY, BINARY]),
            (lambda outbox: outbox.send(b"next", TEXT), [BINARY, TEXT]),
            (lambda outbox: outbox.ping(b"next"), [PING, BINARY]),  # control frames go before what waits
            (lambda outbox: outbox.pong(b"next"), [PONG, BINARY]),
            (lambda outbox: outbox.close(1000, ""), [BINARY, CLOSE]),
            (lambda outbox: self.hold(outbox, b"large" * 1000), [BINARY, BINARY]),
        ]
        for act, opcodes in acts:
            outbox, wire, reader = self.make(CountingWire)
            self.hold(outbox, b"held")
            act(outbox)
            self.assertEqual(opcodes, [message.opcode for message in reader.read_until(2)])
            self.assertEqual(b"held", reader.messages[opcodes.index(BINARY)].payload)
            outbox.let_go()
            self.assertEqual(2, wire.writes)
            self.assertFalse(flusher_threads())

    def test_it_takes_no_room_from_others_and_is_bounded(self) -> None:
        for limit, most in ((200, 200), (MIB, 16384)):
            outbox, _, reader = self.make(limit=limit)
            held = 0
            while self.hold(outbox, bytes(48)) is Put.HELD:
                held += 50
            self.assertEqual(most // 50 * 50, held)
            outbox.let_go()
            self.assertEqual(held // 50 + 1, len(reader.read_until(held // 50 + 1)))
            self.hold(outbox, bytes(48))
            self.assertIs(self.put(outbox, bytes(199)), Put.WRITTEN)
            self.hold(outbox, bytes(48))
            with outbox.lock:
                self.assertTrue(outbox.has_room(10 * MIB))

    def test_for_a_peer_that_takes_nothing_it_is_as_what_was_put(self) -> None:
        outbox, _, reader = self.make()
        self.hold(outbox, b"held")
        message = self.fill(outbox)
        with outbox.lock:
            self.assertIs(outbox.put_prepared(Prepared(bytes(MIB)), True), Put.FULL)
        self.assertEqual(reader.read_until(2), [Message(BINARY, b"held"), message])
        outbox, wire, reader = self.make(BudgetWire)
        self.hold(outbox, b"a" * 8)
        self.hold(outbox, b"b")
        wire.budget = 5
        with outbox.lock:
            self.assertFalse(outbox.flush())
        self.assertIs(self.hold(outbox, b"c"), Put.WAITING)
        wire.budget = 1000
        outbox.let_go()
        self.assertEqual([b"a" * 8, b"b", b"c"], [payload for _, payload in reader.read_until(3)])

    def test_it_is_dropped_where_the_connection_is_cut(self) -> None:
        outbox, _, reader = self.make()
        self.hold(outbox, b"held")
        outbox.cut()
        outbox.let_go()
        self.assertIs(self.hold(outbox, b"late"), Put.REFUSED)
        outbox.dispose()
        outbox.let_go()
        self.assertEqual([], reader.read_to_end())


class RoomTest(OutboxTestCase):
    def test_there_is_room_for_anything_while_nothing_waits(self) -> None:
        outbox, _, reader = self.make(limit=100)
        with outbox.lock:
            self.assertTrue(outbox.has_room(1 << 40))
        message = self.fill(outbox)
        self.assertEqual(reader.read_until(1), [message])

        def room() -> bool:
            with outbox.lock:
                return outbox.has_room(1 << 40)

        eventually(room)

    def test_else_what_waits_and_the_message_must_be_within_the_limit(self) -> None:
        outbox, wire, _ = self.make(BudgetWire, limit=1000)
        wire.budget = 52
        self.put(outbox, b"x" * 100)  # a frame of 102 bytes, of which 50 wait
        with outbox.lock:
            self.assertTrue(outbox.has_room(950))
            self.assertFalse(outbox.has_room(951))
        self.put(outbox, b"y" * 596)  # 600 bytes
        with outbox.lock:
            self.assertTrue(outbox.has_room(350))
            self.assertFalse(outbox.has_room(351))
        wire.budget = 40
        outbox.flush()
        with outbox.lock:
            self.assertTrue(outbox.has_room(390))
            self.assertFalse(outbox.has_room(391))

    def test_who_waits_for_room_is_called_when_some_is_written(self) -> None:
        outbox, _, reader = self.make()
        message = self.fill(outbox)
        called = Event()
        outbox.call_for_room(called)
        self.assertEqual(reader.read_until(1), [message])
        self.assertTrue(called.wait(10))

    def test_who_waits_for_room_is_called_at_once_where_nothing_waits_or_nothing_is_taken(self) -> None:
        for act in (lambda outbox: None, Outbox.cut, Outbox.dispose, lambda outbox: outbox.close(1000, "")):
            outbox, _, _ = self.make()
            act(outbox)
            called = Event()
            outbox.call_for_room(called)
            self.assertTrue(called.wait(0))

    def test_who_waits_for_room_is_called_when_the_connection_ends(self) -> None:
        for end in (Outbox.cut, Outbox.dispose, lambda outbox: outbox.close(1000, "")):
            outbox, _, _ = self.make()
            self.fill(outbox)
            called = Event()
            outbox.call_for_room(called)
            end(outbox)
            self.assertTrue(called.wait(10))


class BrokenTest(OutboxTestCase):
    def test_a_message_is_refused_when_the_peer_is_gone_and_nothing_was_handed_over(self) -> None:
        outbox, _, reader = self.make()
        reader.sock.close()
        self.assertIs(self.put(outbox, b"x"), Put.REFUSED)
        self.assertFalse(outbox.open)
        self.assertIs(outbox.send(b"x"), Put.REFUSED)
        self.assertFalse(outbox.close(1000, ""))
        self.assertTrue(outbox.flush())

    def test_a_message_is_refused_after_a_cut_and_what_waited_is_dropped(self) -> None:
        outbox, _, reader = self.make()
        self.fill(outbox)
        outbox.cut()
        self.assertIs(self.put(outbox, b"x"), Put.REFUSED)
        self.assertTrue(outbox.flush())
        with outbox.lock:
            self.assertTrue(outbox.has_room(1 << 40))
        self.assertEqual(reader.read_to_end(), [])

    def test_a_wire_that_breaks_between_two_parts_of_a_message_sends_no_more_of_anything(self) -> None:
        for budget in range(25):
            outbox, wire, reader = self.make(BreakingWire)
            wire.budget = budget
            outcomes = [self.put(outbox, b"x" * 8), self.put(outbox, b"y" * 8)]
            outbox.flush()
            outbox.dispose()
            got = reader.read_to_end()
            with self.subTest(budget=budget):
                self.assertEqual(len(got), min(budget // 10, 2))
                for i, outcome in enumerate(outcomes):
                    handed_over = min(max(budget - 10 * i, 0), 10)
                    self.assertEqual(outcome is Put.REFUSED, handed_over == 0 and outcomes[i - 1 : i] != [Put.WAITING])
                    self.assertEqual(outcome is Put.WRITTEN, handed_over == 10)

    def test_an_exception_in_the_middle_of_a_write_breaks_the_connection(self) -> None:
        for sent in (0, 1, 5, 10):
            outbox, wire, reader = self.make(InterruptedWire)
            wire.sent = sent
            with self.assertRaises(KeyboardInterrupt):
                self.put(outbox, b"x" * 8)
            self.assertFalse(outbox.open)
            self.assertIs(self.put(outbox, b"y"), Put.REFUSED)
            outbox.pong(b"z")
            reader.read_to_end()
            self.assertFalse(any(message.payload != b"x" * 8 for message in reader.messages))

    def test_an_exception_at_any_place_tears_nothing_that_another_frame_follows(self) -> None:
        for masked in (False, True):
            for number in itertools.count(1):
                if not self.interrupt_at(number, masked):
                    break
            self.assertGreater(number, 50)  # it has been everywhere

    def interrupt_at(self, number: int, masked: bool) -> bool:
        """Send this and that, and raise at the ``number``-th line of the outbox; false where it has not so many."""
        outbox, wire, reader = self.make(ChunkWire, masked)
        wire.chunk = 9
        sent: list[bytes] = []

        def act() -> None:
            for payload in (b"a" * 20, b"b", b"c" * 6):
                if self.put(outbox, payload) is not Put.REFUSED:
                    sent.append(payload)
                outbox.flush()
                outbox.flush()
            outbox.pong(b"pong")
            outbox.flush()

        with mock.patch.object(outbox, "watch"):  # this test is the flusher
            interrupted = interrupt(act, number)
            if self.put(outbox, b"after") is not Put.REFUSED:
                sent.append(b"after")
            while not outbox.flush():
                reader.read()
            was_open = outbox.open
        outbox.dispose()
        got = [message.payload for message in reader.read_to_end() if message.opcode == BINARY]
        if was_open:
            self.assertTrue(reader.decoder.idle, "torn")
            self.assertEqual([payload for payload in got if payload in sent], sent)
        self.assertEqual(got, sorted(set(got), key=[b"a" * 20, b"b", b"c" * 6, b"after"].index))
        return interrupted


class Interrupted(BaseException):
    pass


def interrupt(act: Callable[[], None], number: int) -> bool:
    """Call ``act``, and raise before the ``number``-th line of the outbox that it comes to; tell whether it has."""
    left = number

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename != outbox_module.__file__:
            return None
        # an interrupt between the end of a with statement's body and its exit does not happen, but here it would
        if event == "line" and not lines[frame.f_lineno - 1].lstrip().startswith("with "):
            left -= 1
            if left == 0:
                raise Interrupted
        return trace

    with open(outbox_module.__file__, encoding="utf-8") as file:
        lines = file.readlines()
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        act()
    except Interrupted:
        pass
    finally:
        sys.settrace(before)
    return left <= 0


class FlusherTest(OutboxTestCase):
    def test_its_thread_starts_when_first_needed_and_ends_with_its_last_user(self) -> None:
        first, _, first_reader = self.make()
        second, _, second_reader = self.make()
        self.assertIs(first.send(b"x"), Put.WRITTEN)
        self.assertEqual(flusher_threads(), [])
        self.fill(first)
        (thread,) = flusher_threads()
        self.assertTrue(thread.daemon)
        self.fill(second)
        self.assertEqual(flusher_threads(), [thread])
        first_reader.read_until(2)
        first.dispose()
        self.assertEqual(flusher_threads(), [thread])
        second_reader.read_until(1)
        second.dispose()
        self.assertEqual(flusher_threads(), [])
        third, _, third_reader = self.make()
        message = self.fill(third)
        self.assertEqual(third_reader.read_until(1), [message])

    def test_a_peer_that_reads_nothing_does_not_hold_up_another(self) -> None:
        stuck, _, _ = self.make()
        other, _, reader = self.make()
        self.fill(stuck)
        sent = [self.fill(other) for _ in range(5)]
        self.assertEqual(reader.read_until(5), sent)

    def test_a_connection_may_be_given_back_while_it_is_written(self) -> None:
        for _ in range(50):
            outbox, _, reader = self.make()
            self.fill(outbox)
            reader.read()
            outbox.dispose()
            outbox.dispose()
            self.assertIs(outbox.send(b"x"), Put.REFUSED)
            outbox.watch()
            self.assertEqual(reader.read_to_end(), [])

    def test_many_connections_may_come_and_go_at_once(self) -> None:
        def work() -> None:
            for i in range(20):
                ours, theirs = socket.socketpair()
                theirs.settimeout(30)
                outbox, reader = Outbox(SocketWire(ours), False, MIB), Reader(theirs, False)
                with theirs, contextlib.closing(contextlib.ExitStack()) as stack:
                    stack.callback(outbox.dispose)
                    outbox.send(b"x" * 500000)
                    if i % 2:
                        self.assertEqual(reader.read_until(1), [Message(BINARY, b"x" * 500000)])

        failures: list[BaseException] = []

        def run() -> None:
            try:
                work()
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=run) for _ in range(4)]
        with switch_interval():
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        self.assertEqual(failures, [])

    def test_an_error_in_one_wire_ends_that_connection_and_no_other(self) -> None:
        faulty, wire, faulty_reader = self.make(FaultyWire)
        self.fill(faulty)
        other, _, reader = self.make()
        sent = self.fill(other)
        with self.assertLogs("ezez_ws", "ERROR"):
            wire.faulty.set()
            faulty_reader.read_to_end()
            self.assertFalse(eventually(lambda: not faulty.open) and faulty.open)
            faulty.dispose()
        self.assertEqual(reader.read_until(1), [sent])

    def test_where_it_cannot_start_the_connection_is_cut_and_nobody_waits_for_ever(self) -> None:
        code = """
            import resource, socket, sys, threading
            from ezez_ws.websocket.outbox import Outbox, Put
            from ezez_ws.wire.sockets import SocketWire

            ours, theirs = socket.socketpair()
            outbox = Outbox(SocketWire(ours), False, 1 << 20)
            taken, limit = [], resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, limit))
            try:
                while True:
                    taken.append(socket.socket())
            except OSError:
                pass
            for _ in range(int(sys.argv[1])):
                taken.pop().close()
            print(outbox.send(bytes(1 << 20)), outbox.open)
            outbox.dispose()
            for sock in taken:
                sock.close()
            ours, theirs = socket.socketpair()
            outbox = Outbox(SocketWire(ours), False, 1 << 20)
            print(outbox.send(bytes(1 << 20)), outbox.open, threading.active_count())
            outbox.dispose()
            print(threading.active_count())
        """
        for free in (0, 1, 2):
            done = subprocess.run(
                [sys.executable, "-c", textwrap.dedent(code), str(free)],
                cwd=REPO,
                capture_output=True,
                text=True,
                timeout=30,
            )
            self.assertEqual(done.stderr, "")
            self.assertEqual(done.stdout, "Put.WAITING False\nPut.WAITING True 2\n1\n")


if __name__ == "__main__":
    unittest.main()
