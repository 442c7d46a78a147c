"""Many readers, few turns: nobody is forgotten, nobody is held up, and nothing stays behind."""

import itertools
import os
import random
import select
import socket
import sys
import threading
import time
import unittest
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

from ezez_ws.threads.starting import start_thread
from ezez_ws.websocket.frames import BINARY, CONTINUATION, PONG, TEXT, Message, encode_frame
from ezez_ws.websocket.stream import Stream
from ezez_ws.wire import read_gate as gate_module
from ezez_ws.wire import sockets as wire_module
from ezez_ws.wire.read_gate import GatedReader, ReadGate
from ezez_ws.wire.sockets import SocketWire
from tests.interrupting import interrupt
from tests.scripts import run_script
from tests.serving import ServingTestCase
from tests.support import EZEZTestCase, eventually, switch_interval
from tests.wire.test_sockets import read_in_thread


@unittest.skipUnless(hasattr(select, "epoll"), "readers take turns on Linux only")
class ReadGateTestCase(EZEZTestCase):
    def setUp(self) -> None:
        self.read_gate = ReadGate(crowd=0, at_once=1, most_let_by=0)
        patch = mock.patch.object(wire_module, "read_gate", self.read_gate)
        patch.start()
        self.addCleanup(patch.stop)

    def make(self, tcp: bool = True) -> tuple[SocketWire, socket.socket]:
        if tcp:
            with socket.create_server(("127.0.0.1", 0)) as server:
                ours = socket.create_connection(server.getsockname())
                theirs = server.accept()[0]
        else:
            ours, theirs = socket.socketpair()
        theirs.settimeout(10.0)
        wire = SocketWire(ours)
        for cleanup in (theirs.close, wire.close, wire.retire):
            self.addCleanup(cleanup)
        return wire, theirs

    def asleep(self, wire: SocketWire) -> None:
        """Wait until somebody sleeps in the wire's reader."""
        eventually(lambda: wire._gated is not None and wire._gated.state == 1)

    def hold_turn(self) -> GatedReader:
        """Have the turn, so that whose bytes come queue until it is passed on."""
        eventually(lambda: not self.read_gate._turns)
        holder = GatedReader(-1)
        with self.read_gate._lock:
            self.read_gate._turns.add(holder)
        return holder


class ReadingInTurnTest(ReadGateTestCase):
    def test_a_reader_sleeps_until_there_are_bytes(self) -> None:
        for tcp in (True, False):
            wire, theirs = self.make(tcp)
            for text in (b"one", b"two", b"three"):
                thread, got = read_in_thread(wire)
                self.asleep(wire)
                theirs.send(text)
                thread.join(10)
                self.assertEqual(got, [text])

    def test_bytes_that_came_before_are_not_missed(self) -> None:
        for tcp in (True, False):
            wire, theirs = self.make(tcp)
            theirs.send(b"abcdef")
            self.assertEqual([wire.read(4), wire.read(4)], [b"abcd", b"ef"])
            theirs.send(b"ghijkl")
            self.assertEqual(wire.poll(True, False, 10)[0], True)
            self.assertEqual([wire.read_now(2), wire.read(2), wire.read(2)], [b"gh", b"ij", b"kl"])

    def test_bytes_that_another_has_read_wake_nobody_for_good(self) -> None:
        wire, theirs = self.make()
        thread, got = read_in_thread(wire)
        self.asleep(wire)
        theirs.send(b"a")
        thread.join(10)
        theirs.send(b"b")
        self.assertTrue(wire.poll(True, False, 10)[0])
        self.assertEqual(wire.read_now(100), b"b")
        thread, got = read_in_thread(wire)
        self.asleep(wire)
        theirs.send(b"c")
        thread.join(10)
        self.assertEqual(got, [b"c"])

    def test_the_end_wakes_a_reader_and_is_told_again(self) -> None:
        def shut(wire: SocketWire, theirs: socket.socket) -> None:
            theirs.shutdown(socket.SHUT_WR)

        for end in (shut, lambda wire, theirs: theirs.close(), lambda wire, theirs: wire.cut()):
            for tcp in (True, False):
                wire, theirs = self.make(tcp)
                thread, got = read_in_thread(wire)
                self.asleep(wire)
                end(wire, theirs)
                thread.join(10)
                self.assertEqual([*got, wire.read(100), wire.read(100)], [b"", b"", b""])

    def test_bytes_and_the_end_that_come_together_are_both_told(self) -> None:
        wire, theirs = self.make()
        thread, got = read_in_thread(wire)
        self.asleep(wire)
        with self.read_gate._lock:  # the kernel has both before anybody is woken
            theirs.send(b"last words")
            theirs.close()
        thread.join(10)
        self.assertEqual([*got, wire.read(100)], [b"last words", b""])

    def test_what_comes_behind_urgent_data_is_not_missed(self) -> None:
        wire, theirs = self.make()
        thread, got = read_in_thread(wire)
        self.asleep(wire)
        holder = self.hold_turn()
        theirs.send(b"before")
        theirs.send(b"!", socket.MSG_OOB)
        theirs.send(b"behind")
        eventually(lambda: wire._gated is not None and wire._gated.alone)
        self.read_gate.pass_on(holder)
        thread.join(10)
        thread, more = read_in_thread(wire)
        thread.join(5)
        theirs.close()
        self.assertEqual([*got, *more], [b"before", b"behind"])

    def test_a_turn_is_passed_on_before_what_was_read_is_used(self) -> None:
        wires = [self.make() for _ in range(20)]
        used, may_end = threading.Semaphore(0), threading.Event()

        def serve(wire: SocketWire) -> None:
            wire.read(100)
            used.release()
            may_end.wait(10)

        threads = [threading.Thread(target=serve, args=(wire,), daemon=True) for wire, _ in wires]
        for thread in threads:
            thread.start()
        for wire, _ in wires:
            self.asleep(wire)
        for _, theirs in wires:
            theirs.send(b"x")
        self.assertTrue(all(used.acquire(timeout=10) for _ in wires))
        may_end.set()
        for thread in threads:
            thread.join(10)

    def test_an_exception_out_of_the_sleep_passes_the_turn_on(self) -> None:
        first, second = self.make(), self.make()
        for wire, theirs in (first, second):
            theirs.send(b"0")
            self.assertEqual(wire.read(100), b"0")
        sleeping = threading.Event()
        real_wait = GatedReader(0).event.__class__.wait

        def interrupted_when_woken(event: object, timeout: object = None) -> bool:
            assert first[0]._gated is not None
            if event is not first[0]._gated.event:
                return real_wait(event, timeout)  # type: ignore[arg-type]
            sleeping.set()
            real_wait(event, timeout)  # type: ignore[arg-type]
            raise KeyboardInterrupt

        def read() -> None:
            with self.assertRaises(KeyboardInterrupt):
                first[0].read(100)

        with mock.patch("ezez_ws.threads.waiting.Event.wait", interrupted_when_woken):
            interrupted = threading.Thread(target=read, daemon=True)
            interrupted.start()
            self.assertTrue(sleeping.wait(10))
            first[1].send(b"1")
            interrupted.join(10)
        thread, got = read_in_thread(second[0])
        self.asleep(second[0])
        second[1].send(b"2")
        thread.join(10)
        self.assertEqual(got, [b"2"])
        self.assertEqual(first[0].read(100), b"1")

    @unittest.skipIf(sys.version_info >= (3, 12), "a trace function is not told of each instruction there")
    def test_an_exception_anywhere_in_a_read_passes_the_turn_on(self) -> None:
        second, theirs = self.make()
        for number in itertools.count(1):
            with self.subTest(number):
                thread, got = read_in_thread(second)
                self.asleep(second)
                interrupted = self.interrupt_a_read(number, lambda: self.queue(second, theirs))
                thread.join(5)
                self.assertEqual(got, [b"1"])
            if not interrupted:
                break
        self.assertGreater(number, 10)

    def interrupt_a_read(self, number: int, and_then: Callable[[], None]) -> bool:
        """Read, with ``and_then`` between the first's queueing and its turn, and be interrupted at that place."""
        wire, theirs = self.make()
        reader = wire._gated = self.read_gate.enter(wire.fileno())
        holder, ended = self.hold_turn(), threading.Event()

        def let_through() -> None:
            eventually(lambda: ended.is_set() or reader.state == 1)
            theirs.send(b"0")
            eventually(lambda: ended.is_set() or reader.state == 2)
            and_then()
            self.read_gate.pass_on(holder)

        helper = threading.Thread(target=let_through, daemon=True)
        helper.start()
        interrupted = interrupt(lambda: wire.read(100), number, gate_module)
        ended.set()
        helper.join(10)
        wire.retire()
        return interrupted

    def queue(self, wire: SocketWire, theirs: socket.socket) -> None:
        """Let bytes come, so that the reader, which sleeps, queues."""
        theirs.send(b"1")
        eventually(lambda: wire._gated is not None and wire._gated.state == 2)

    @unittest.skipIf(sys.version_info >= (3, 12), "a trace function is not told of each instruction there")
    def test_an_exception_where_the_last_has_its_turn_does_not_let_the_thread_sleep_on(self) -> None:
        for number in itertools.count(1):
            reader = GatedReader(-1)
            self.read_gate._turns.add(reader)
            self.read_gate._napping = True
            interrupted = interrupt(lambda reader=reader: self.read_gate.pass_on(reader), number, gate_module)  # type: ignore[misc]
            self.read_gate.pass_on(reader)
            self.assertTrue(self.read_gate._nap_over.wait(0))
            if not interrupted:
                break
        self.assertGreater(number, 3)

    def test_bytes_that_come_while_an_interrupted_reader_queues_are_not_missed(self) -> None:
        wire, theirs = self.make()
        theirs.send(b"0")
        self.assertEqual(wire.read(100), b"0")
        holder = self.hold_turn()
        assert wire._gated is not None
        wire._gated.event.set()  # as whoever gives the turn does, when an exception has woken the reader already
        wait, note, pass_on = self.read_gate.wait, self.read_gate._note, self.read_gate.pass_on
        noted = threading.Semaphore(0)

        def wait_and_send(reader: GatedReader) -> bool:
            waited = wait(reader)
            self.assertIs(reader.state, 1)
            theirs.send(b"1")
            self.assertTrue(noted.acquire(timeout=10))
            return waited

        def note_and_tell(arrivals: list[tuple[int, int]]) -> None:
            note(arrivals)
            noted.release()

        def send_and_pass_on(reader: GatedReader) -> None:
            theirs.send(b"2")
            self.assertTrue(noted.acquire(timeout=10))
            pass_on(reader)

        changed: dict[str, Any] = {"wait": wait_and_send, "_note": note_and_tell, "pass_on": send_and_pass_on}
        with mock.patch.multiple(self.read_gate, **changed):
            self.assertEqual(wire.read(100), b"1")
        self.read_gate.pass_on(holder)
        thread, got = read_in_thread(wire)
        thread.join(10)
        self.assertEqual(got, [b"2"])

    def test_a_reader_that_was_interrupted_while_it_queued_is_passed_over(self) -> None:
        readers = [GatedReader(-1 - n) for n in range(3)]
        for reader in readers:
            reader.state = 2
        self.read_gate._queue.extend(readers)
        self.read_gate.pass_on(readers[1])
        with self.read_gate._lock:
            self.read_gate._next()
        self.assertEqual(self.read_gate._turns, {readers[0]})
        self.read_gate.pass_on(readers[0])
        self.assertEqual(self.read_gate._turns, {readers[2]})
        self.read_gate.pass_on(readers[2])
        self.assertFalse(self.read_gate._turns)

    @unittest.skipUnless(hasattr(socket, "MSG_DONTWAIT"), "only where recv() can be told not to block")
    def test_a_socket_that_cannot_be_watched_is_read_nevertheless(self) -> None:
        wire, theirs = self.make()
        with mock.patch.object(self.read_gate, "_start", side_effect=RuntimeError("can't start new thread")):
            theirs.send(b"abc")
            self.assertEqual(wire.read(100), b"abc")
            thread, got = read_in_thread(wire)
            theirs.send(b"def")
            thread.join(10)
        self.assertEqual(got, [b"def"])


class LifeTest(ReadGateTestCase):
    def thread(self) -> "threading.Thread | None":
        return self.read_gate._thread

    def test_the_thread_starts_with_the_first_and_ends_with_the_last(self) -> None:
        self.assertIsNone(self.thread())
        wires = [self.make() for _ in range(3)]
        for _ in range(2):
            for wire, theirs in wires:
                theirs.send(b"x")
                self.assertEqual(wire.read(1), b"x")
        for wire, theirs in wires:  # the first two reads found something without sleeping
            theirs.send(b"y")
            self.assertEqual(wire.read(100), b"y")
            theirs.send(b"z")
            self.assertEqual(wire.read(100), b"z")
        thread = self.thread()
        assert thread is not None
        for wire, _ in wires:
            self.assertTrue(thread.is_alive())
            wire.retire()
            wire.retire()
        self.assertFalse(thread.is_alive())
        self.assertIsNone(self.thread())

    def test_a_thread_whose_start_was_interrupted_ends(self) -> None:
        wire, theirs = self.make()

        def start_and_be_interrupted(thread: threading.Thread) -> None:
            start_thread(thread)
            raise KeyboardInterrupt

        patch = mock.patch("ezez_ws.threads.service.start_thread", start_and_be_interrupted)
        with patch, self.assertRaises(KeyboardInterrupt):
            wire.read(100)
        self.assertIsNone(self.thread())
        thread, got = read_in_thread(wire)
        self.asleep(wire)
        theirs.send(b"x")
        thread.join(10)
        self.assertEqual(got, [b"x"])

    def test_when_the_thread_fails_everybody_reads_nevertheless(self) -> None:
        wires = [self.make() for _ in range(3)]
        threads = [read_in_thread(wire) for wire, _ in wires]
        for wire, _ in wires:
            self.asleep(wire)
        failing = self.thread()
        assert failing is not None
        with mock.patch.object(self.read_gate, "_note", side_effect=MemoryError), self.assertLogs("ezez_ws"):
            wires[0][1].send(b"0")
            failing.join(10)
        wires.append(self.make())
        threads.append(read_in_thread(wires[3][0]))
        for _, theirs in wires:
            theirs.send(b"1")
        for (wire, theirs), (thread, _) in zip(wires, threads, strict=False):
            thread.join(5)
            self.assertFalse(thread.is_alive())
            theirs.send(b"2")
            self.assertIn(b"2", wire.read(100))

    def test_a_reader_whose_borrowed_socket_was_closed_takes_nothing_along(self) -> None:
        first, firsts = self.make()
        firsts.send(b"x")
        self.assertEqual([first.read(1), first.read_now(1)], [b"x", None])
        firsts.send(b"x")
        self.assertEqual(first.read(1), b"x")
        fd = first.fileno()
        first._sock.close()
        other, theirs = self.make()
        second = SocketWire(socket.socket(fileno=os.dup2(other.fileno(), fd)))
        for cleanup in (second.close, second.retire):
            self.addCleanup(cleanup)
        thread, got = read_in_thread(second)
        self.asleep(second)
        third, _ = self.make()
        third._gated = self.read_gate.enter(third.fileno())
        third._gated.watched, third._gated.fd = True, fd  # another that had the descriptor before
        first.retire()
        theirs.send(b"x")
        thread.join(5)
        theirs.close()
        self.assertEqual(got, [b"x"])
        second.retire()
        third.retire()
        self.assertIsNone(self.thread())

    def test_few_readers_take_no_turns_until_there_is_a_crowd(self) -> None:
        self.read_gate.crowd = 2
        wires = [self.make() for _ in range(3)]
        threads = [read_in_thread(wire) for wire, _ in wires[:2]]
        eventually(lambda: len(self.read_gate._readers) == 2)
        self.assertIsNone(self.thread())
        threads.append(read_in_thread(wires[2][0]))
        self.asleep(wires[2][0])
        self.assertIsNotNone(self.thread())
        for (_, theirs), (thread, got) in zip(wires, threads, strict=False):
            theirs.send(b"x")
            thread.join(10)
            self.assertEqual(got, [b"x"])

    def test_when_half_of_a_crowd_is_left_they_wait_by_themselves_again(self) -> None:
        self.read_gate.crowd = 4
        wires = [self.make() for _ in range(5)]
        threads = []
        for wire, theirs in wires:
            theirs.send(b"x")
            self.assertEqual(wire.read(100), b"x")
        for wire, _ in wires[:2]:
            threads.append(read_in_thread(wire))
            self.asleep(wire)
        for count, (wire, _) in enumerate(wires[2:]):
            self.assertEqual(len(self.read_gate._readers), 5 - count)
            self.assertTrue(self.read_gate.crowded)
            wire.retire()
        self.assertFalse(self.read_gate.crowded)
        for (wire, theirs), (thread, got) in zip(wires[:2], threads, strict=False):
            theirs.send(b"y")
            thread.join(10)
            self.assertEqual(got, [b"y"])
            self.assertTrue(wire._gated and wire._gated.watched)
            theirs.send(b"z")
            self.assertEqual(wire.read(100), b"z")
            self.assertFalse(wire._gated and wire._gated.watched)
        self.assertEqual(len(self.read_gate._readers), 2)
        self.assertIsNone(self.thread())

    def test_who_waits_by_itself_again_is_not_counted_twice(self) -> None:
        self.read_gate.crowd = 4
        wires = [self.make() for _ in range(4)]
        for wire, theirs in wires:
            theirs.send(b"x")
            self.assertEqual(wire.read(100), b"x")
        self.read_gate.crowded = True
        wire, theirs = wires[0]
        thread, _ = read_in_thread(wire)
        self.asleep(wire)
        self.read_gate.crowded = False
        theirs.send(b"x")
        thread.join(10)
        theirs.send(b"x")
        self.assertEqual(wire.read(100), b"x")
        self.assertFalse(wire._gated and wire._gated.watched)
        self.assertEqual((len(self.read_gate._readers), self.read_gate.crowded), (4, False))
        self.assertIsNone(self.thread())

    def test_an_interrupted_leave_is_made_good_by_the_next(self) -> None:
        for number in range(1, 1000):
            wire, theirs = self.make()
            thread, _ = read_in_thread(wire)
            self.asleep(wire)
            theirs.send(b"x")
            thread.join(10)
            reader = wire._gated
            assert reader is not None
            if not interrupt(lambda reader=reader: self.read_gate.leave(reader), number, gate_module):  # type: ignore[misc]
                break
            self.read_gate.leave(reader)
            self.assertFalse(self.read_gate._readers or self.read_gate._watched, f"place {number}")
            eventually(lambda: self.thread() is None)
        self.assertGreater(number, 10)


@unittest.skipUnless(hasattr(os, "fork"), "there is no fork here")
class ForkTest(EZEZTestCase):
    def test_a_child_is_not_held_up_by_a_lock_that_was_taken_when_it_was_forked(self) -> None:
        code = """
            import os, signal, sys, threading, warnings
            from ezez_ws.wire.flusher import flusher
            from ezez_ws.wire.read_gate import read_gate

            class Slow(set):
                def add(self, item):
                    inside.set()
                    threading.Event().wait()

                def __contains__(self, item):
                    self.add(item)

            class Outbox:
                retired = False

            inside = threading.Event()
            warnings.simplefilter("ignore")
            if sys.argv[1] == "read_gate":
                read_gate._readers, use = Slow(), lambda: read_gate.enter(0)
            else:
                flusher._users, use = Slow(), lambda: flusher.forget(Outbox())
            threading.Thread(target=use, daemon=True).start()
            inside.wait()
            pid = os.fork()
            if pid == 0:
                signal.alarm(10)
                use()
                os._exit(0)
            print(os.waitpid(pid, 0)[1])
        """
        for what in ("read_gate", "flusher"):
            self.assertEqual(run_script(code, what)[0], "0\n", what)


class LettingByTest(ReadGateTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.read_gate.most_let_by = 1

    def let_by(self, wire: SocketWire) -> None:
        """Wait until the wire's reader is let by."""
        eventually(lambda: wire._gated is not None and wire._gated.is_let_by)

    def with_patience(self, seconds: float) -> None:
        patch = mock.patch.object(wire_module, "PATIENCE", seconds)
        patch.start()
        self.addCleanup(patch.stop)

    def read(self, wire: SocketWire, theirs: socket.socket) -> None:
        theirs.send(b"x")
        self.assertEqual(wire.read(100), b"x")

    def test_a_reader_is_let_by_and_no_more_than_are_allowed(self) -> None:
        self.with_patience(60.0)
        (first, theirs), (second, others) = self.make(), self.make()
        thread, got = read_in_thread(first)
        self.let_by(first)
        thread_2, got_2 = read_in_thread(second)
        self.asleep(second)
        self.assertFalse(first._gated and first._gated.watched)
        for peer, reading in ((theirs, thread), (others, thread_2)):
            peer.send(b"x")
            reading.join(10)
        self.assertEqual(got + got_2, [b"x", b"x"])
        first.retire()
        self.read(second, others)
        self.let_by(second)

    def test_the_end_wakes_who_is_let_by(self) -> None:
        self.with_patience(60.0)
        for ours in (False, True):
            wire, theirs = self.make()
            thread, got = read_in_thread(wire)
            self.let_by(wire)
            if ours:
                wire.cut()
            else:
                theirs.close()
            thread.join(10)
            self.assertEqual(got, [b""])
            wire.retire()

    def test_who_hears_nothing_for_a_while_waits_for_its_turn(self) -> None:
        self.with_patience(0.02)
        wire, theirs = self.make()
        threads = set()
        for _ in range(3):
            thread, got = read_in_thread(wire)
            self.asleep(wire)
            self.assertTrue(wire._gated and wire._gated.watched and not wire._gated.is_let_by)
            threads.add(self.read_gate._thread)
            theirs.send(b"x")
            thread.join(10)
            self.assertEqual(got, [b"x"])
        self.assertEqual(len(threads), 1)

    def test_while_others_wait_it_takes_turns_after_a_few_reads(self) -> None:
        self.with_patience(60.0)
        (busy, theirs), (other, others) = self.make(), self.make()
        self.read(busy, theirs)
        thread, got = read_in_thread(other)
        self.asleep(other)
        holder = self.hold_turn()
        others.send(b"x")
        eventually(lambda: bool(self.read_gate._queue))
        with mock.patch.object(gate_module, "_GRACE", 3):
            assert busy._gated is not None
            busy._gated.grace = 3
            for _ in range(2):
                self.read(busy, theirs)
            thread_2, got_2 = read_in_thread(busy)
            self.asleep(busy)
        self.read_gate.pass_on(holder)
        theirs.send(b"y")
        for reading in (thread, thread_2):
            reading.join(10)
        self.assertEqual((got, got_2), ([b"x"], [b"y"]))
        self.read(busy, theirs)
        self.let_by(busy)

    def test_while_many_wait_it_takes_turns_at_once(self) -> None:
        self.with_patience(60.0)
        wire, theirs = self.make()
        self.read(wire, theirs)
        self.read_gate._queue.extend(GatedReader(-1) for _ in range(gate_module._BACKLOG + 1))
        thread, got = read_in_thread(wire)
        self.asleep(wire)
        theirs.send(b"y")
        thread.join(10)
        self.assertEqual(got, [b"y"])

    def test_a_busy_reader_gives_its_place_back_when_the_crowd_is_gone(self) -> None:
        self.with_patience(60.0)
        wire, theirs = self.make()
        other, _ = self.make()
        self.read(wire, theirs)
        thread, _ = read_in_thread(other)
        self.asleep(other)
        self.read_gate.crowded = False
        self.read(wire, theirs)
        self.assertFalse(self.read_gate._let_by or wire._impatient)
        other.cut()
        thread.join(10)
        other.retire()
        self.assertIsNone(self.read_gate._thread)

    def test_a_socket_that_cannot_wait_for_a_while_takes_turns(self) -> None:
        wire, theirs = self.make()
        with mock.patch.object(socket, "SO_RCVTIMEO", 9999):
            thread, got = read_in_thread(wire)
            self.asleep(wire)
        theirs.send(b"x")
        thread.join(10)
        self.assertEqual(got, [b"x"])
        self.assertTrue(wire._gated and wire._gated.barred)
        self.assertFalse(self.read_gate._let_by)

    def test_a_turn_that_is_over_ends_the_nap_though_somebody_queued_who_was_interrupted(self) -> None:
        holder, interrupted = self.hold_turn(), GatedReader(-1)
        self.read_gate._queue.append(interrupted)
        self.read_gate._napping = True
        self.read_gate.pass_on(holder)
        self.assertTrue(self.read_gate._nap_over.wait(0))

    def test_who_was_let_by_waits_for_ever_when_the_crowd_is_gone(self) -> None:
        self.with_patience(0.02)
        wire, theirs = self.make()
        thread, got = read_in_thread(wire)
        self.let_by(wire)
        self.read_gate.crowded = False
        eventually(lambda: not wire._impatient)
        theirs.send(b"x")
        thread.join(10)
        self.assertEqual(got, [b"x"])
        self.assertFalse(wire._gated and wire._gated.is_let_by)


class ExpectingTest(ReadGateTestCase):
    def make_asleep(self) -> "tuple[SocketWire, socket.socket, threading.Thread, list[bytes]]":
        wire, theirs = self.make()
        thread, got = read_in_thread(wire)
        self.asleep(wire)
        return wire, theirs, thread, got

    def test_what_is_expected_is_taken_once_and_wakes_nobody(self) -> None:
        for unexpected in (b"next", b"pong"):
            wire, theirs, thread, got = self.make_asleep()
            seen: list[bytes] = []
            wire.expect(lambda data, seen=seen: seen.append(data) or True)  # type: ignore[misc]
            theirs.send(b"pong")
            eventually(lambda seen=seen: seen)  # type: ignore[misc]
            self.asleep(wire)
            theirs.send(unexpected)
            thread.join(10)
            self.assertEqual((seen, got), ([b"pong"], [unexpected]))

    def test_what_is_not_expected_wakes_the_reader_and_is_all_there(self) -> None:
        for sent, seen_of_it in ((b"news", [b"news"]), (b"x" * 31, [b"x" * 31]), (b"x" * 32, []), (b"x" * 99, [])):
            wire, theirs, thread, got = self.make_asleep()
            seen: list[bytes] = []
            wire.expect(lambda data, seen=seen: seen.append(data))  # type: ignore[misc]
            theirs.send(sent)
            thread.join(10)
            self.assertEqual((seen, got), (seen_of_it, [sent]))

    def test_the_end_is_no_answer(self) -> None:
        wire, theirs, thread, got = self.make_asleep()
        wire.expect(lambda data: True)
        theirs.send(b"last")
        eventually(lambda: wire._gated and wire._gated.take_aside is None)
        wire.expect(lambda data: True)
        theirs.close()
        thread.join(10)
        self.assertEqual(got, [b""])

    def test_who_has_left_expects_nothing(self) -> None:
        wire, theirs, thread, _ = self.make_asleep()
        wire.expect(lambda data: False)
        theirs.close()
        thread.join(10)
        wire.retire()
        for _ in range(2):
            self.assertIsNone(wire._gated and wire._gated.take_aside)
            wire.expect(lambda data: True)

    def test_only_a_pong_between_two_messages_is_taken_from_a_stream(self) -> None:
        wire, theirs = self.make()
        stream = Stream(wire, client_side=False, max_payload=1000, send_buffer_limit=1000)
        pong, text = (encode_frame(opcode, b"", b"mask") for opcode in (PONG, TEXT))
        payload = pong + b"lookalike"
        first = encode_frame(TEXT, b"1", b"mask", fin=False)
        whole = encode_frame(BINARY, payload, bytes(4))
        messages: list[Message] = []
        reads = 0

        def receive() -> None:
            nonlocal reads
            while not stream.over:
                messages.extend(stream.receive(None) or [])
                reads += 1

        thread = threading.Thread(target=receive, daemon=True)
        thread.start()
        for sent, taken in (
            (pong, True),
            (first, False),  # a pong in the middle of a message is left to the reader
            (pong, False),
            (encode_frame(CONTINUATION, b"2", b"mask"), False),
            (pong, True),
            (whole[:6], False),  # and so is what only looks like one
            (pong, False),
            (whole[6 + len(pong) :], False),
            (encode_frame(PONG, b"payload", b"mask"), True),
            (pong + text, False),
        ):
            self.asleep(wire)
            stream.ping()
            before, reads_before = stream.last_received, reads
            theirs.sendall(sent)
            eventually(lambda before=before: stream.last_received > before)  # type: ignore[misc]
            self.asleep(wire)
            self.assertEqual(reads == reads_before, taken, sent)
        theirs.close()
        thread.join(10)
        self.assertEqual(messages, [Message(TEXT, "12"), Message(BINARY, payload), Message(TEXT, "")])


class StressTest(ReadGateTestCase):
    def test_every_byte_arrives_in_order_when_some_of_them_are_expected(self) -> None:
        taken = self.check_every_byte(size=1000, sizes=(1, 10, 40), pause=0.02, expecting=True)
        self.assertGreater(taken, 0)

    def test_every_byte_arrives_in_order_when_some_are_let_by(self) -> None:
        self.read_gate.at_once, self.read_gate.most_let_by = 3, 8
        with mock.patch.object(wire_module, "PATIENCE", 0.002), mock.patch.object(gate_module, "_GRACE", 5):
            self.check_every_byte()

    def test_every_byte_arrives_in_order_whatever_comes_between(self) -> None:
        self.check_every_byte()

    def test_every_byte_arrives_in_order_while_the_crowd_comes_and_goes(self) -> None:
        over = threading.Event()

        def come_and_go() -> None:
            while not over.wait(0.003):
                self.read_gate.crowded = not self.read_gate.crowded

        self.read_gate.crowd = 1000
        thread = threading.Thread(target=come_and_go, daemon=True)
        thread.start()
        self.check_every_byte()
        over.set()
        thread.join(10)

    def check_every_byte(
        self,
        size: int = 20_000,
        sizes: Sequence[int] = (1, 10, 100, 1000),
        pause: float = 0.001,
        expecting: bool = False,
    ) -> int:
        """Let many write and read; return how much was taken aside."""
        taken = 0
        seed = random.randrange(1 << 32)
        pairs = [self.make(tcp=bool(n % 2)) for n in range(24)]
        received = [bytearray() for _ in pairs]
        sent = [random.Random(seed + n).randbytes(size) for n in range(len(pairs))]

        def read(number: int) -> None:
            choose = random.Random(seed - number)
            while data := pairs[number][0].read(choose.choice((1, 7, 64, 4096))):
                received[number] += data
                if choose.random() < 0.1:
                    received[number] += pairs[number][0].read_now(100) or b""

        def write(number: int) -> None:
            choose, rest = random.Random(seed ^ number), sent[number]
            while rest:
                count = choose.choice(sizes)
                pairs[number][1].sendall(rest[:count])
                rest = rest[count:]
                if expecting or choose.random() < 0.05:
                    time.sleep(pause)
            pairs[number][1].close()

        def expect(number: int) -> None:
            choose = random.Random(seed + 99 - number)

            def take(data: bytes) -> bool:
                nonlocal taken
                if choose.random() < 0.5:
                    return False
                received[number].extend(data)
                taken += len(data)
                return True

            while threads[number].is_alive():
                pairs[number][0].expect(take)
                time.sleep(0.0005)

        roles = [read, write, expect] if expecting else [read, write]
        threads = [threading.Thread(target=run, args=(n,), daemon=True) for run in roles for n in range(24)]
        with switch_interval():
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(50)
        self.assertTrue(all(got == whole for got, whole in zip(received, sent, strict=False)), f"seed {seed}")
        return taken


class CrowdTest(ServingTestCase):
    @unittest.skipUnless(hasattr(select, "epoll"), "readers take turns on Linux only")
    def test_a_hundred_clients_are_served_while_some_of_their_listeners_block(self) -> None:
        blocked, gate = threading.Semaphore(0), self.gate()

        def block(client: object, args: list[int], reply: object, ids: object) -> None:
            blocked.release()
            gate()

        patch = mock.patch.multiple(gate_module.read_gate, crowd=40, most_let_by=20)
        patch.start()
        self.addCleanup(patch.stop)
        server = self.serve()
        server.on("block", block)
        server.on("ping", lambda client, args, reply, ids: reply("pong", args))
        peers = [self.peer(server) for _ in range(100)]
        for peer in peers[:30]:
            peer.send_event("block", [1])
        self.assertTrue(all(blocked.acquire(timeout=10) for _ in range(30)))
        for number in range(1, 6):
            for peer in peers[30:]:
                peer.send_event("ping", [number], event_id=number)
            for peer in peers[30:]:
                event = peer.read_event()
                self.assertEqual((event.name, event.ids.reply_to, event.args), ("pong", number, [number]))
        self.assertIn("ezez-read-gate", [thread.name for thread in threading.enumerate()])
