"""The reading role and the inbox, over a connected socket: who reads, who is woken, and what is kept back."""

import socket
import sys
import threading
import time
import unittest
from collections.abc import Callable
from types import FrameType
from typing import Any

from ezez_ws import Codec, ConnectionClosed, MalformedMessage
from ezez_ws.connection.inbox import Inbox
from ezez_ws.connection.replies import Reply, RoutedReply, SentMessage
from ezez_ws.messages.protocol import parse_event
from ezez_ws.threads.deadline import Deadline
from ezez_ws.websocket.deflate import Deflate, Deflater
from ezez_ws.websocket.frames import BINARY, PING, PONG, RSV1, TEXT, Start
from ezez_ws.websocket.stream import Ending, Stream
from ezez_ws.wire.sockets import SocketWire
from tests.rawpeer import RawPeer
from tests.serving import Result, ServingTestCase
from tests.support import EZEZTestCase, eventually, switch_interval

CODEC = Codec()


def _reply(*_: Any, **__: Any) -> SentMessage:
    raise AssertionError("nobody replies here")


def parse_reply(payload: bytes) -> Reply:
    event = parse_event(CODEC.decode(payload))
    return Reply(event.name, event.args, _reply, event.ids)


class InboxTest(EZEZTestCase):
    def setUp(self) -> None:
        self.open(limit=10_000)

    def open(self, limit: int) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:  # TCP: a Unix socket tells of a hang-up sooner
            there = socket.create_connection(listening.getsockname())
            here, _ = listening.accept()
        self.stream = Stream(
            SocketWire(here),
            client_side=False,
            max_payload=1 << 20,
            send_buffer_limit=1 << 20,
            deflate=Deflate(15, 15, False, False),
        )
        self.inbox = Inbox(self.stream, limit, False, parse_reply, True)
        self.peer = RawPeer.over(there, is_client=True)
        self.addCleanup(self.stream.dispose)
        self.addCleanup(self.peer.close)
        self.results: list[Result] = []

    def expect(self, event_id: int) -> SentMessage:
        sent = SentMessage(None, event_id, None)
        with self.inbox.lock:
            self.inbox.table.expect(sent, event_id, None, 1e12)
        return sent

    def wait_for(self, sent: SentMessage, deadline: Deadline | None = None) -> Result:
        """Wait for a reply on another thread, as ``Connection.wait_reply`` does."""

        def take() -> Any:
            return sent if sent._outcome is not None else self.inbox.ending

        return Result(self.inbox.wait, take, deadline or Deadline(None), sent)

    def own(self, body: Callable[[], Any]) -> Result:
        def run() -> Any:
            self.inbox.own()
            return body()

        return Result(run)

    def next(self) -> Any:
        return self.inbox.next()

    def name(self, arrived: Any) -> Any:
        return CODEC.decode(arrived.payload if isinstance(arrived, RoutedReply) else arrived)[0]

    def reading(self) -> bool:
        with self.inbox.lock:
            return bool(self.inbox._reading)

    def sleeping(self, count: int) -> None:
        eventually(lambda: len(self.inbox._sleepers) == count)

    def test_the_owner_gets_messages_in_order_and_then_the_ending(self) -> None:
        for name in "abc":
            self.peer.send_event(name)
        self.peer.send_close(4000, "bye")

        def body() -> Any:
            return [self.name(self.next()) for _ in range(3)], self.next(), self.next()

        ending = Ending(4000, "bye")
        self.assertEqual((["a", "b", "c"], ending, ending), self.own(body).get())

    def test_who_asks_for_the_owner_is_told_whether_it_reads(self) -> None:
        def owner_reads() -> bool:
            with self.inbox.lock:
                return self.inbox.owner_reads()

        self.assertFalse(owner_reads())
        waiting = self.wait_for(self.expect(1))
        eventually(self.reading)
        self.assertFalse(owner_reads())
        self.peer.send_event("answer", reply_to=1)
        waiting.get()
        owning = self.own(lambda: (self.next(), owner_reads(), self.next()))
        eventually(owner_reads)
        self.peer.send_close(1000)
        self.assertFalse(owning.get()[1])

    def test_a_waiter_reads_while_the_owner_does_not_and_keeps_events_for_it(self) -> None:
        self.inbox.own()
        sent = self.expect(1)
        waiting = self.wait_for(sent)
        eventually(self.reading)
        self.peer.send_event("event")
        self.peer.send_event("answer", ["x"], reply_to=1)
        self.assertIs(sent, waiting.get())
        self.assertEqual(["x"], sent._outcome.args)  # type: ignore[union-attr]
        self.assertFalse(self.reading())
        self.assertEqual(["event", "answer"], [self.name(self.next()) for _ in range(2)])

    def test_the_role_passes_to_the_next_waiter_when_the_first_leaves(self) -> None:
        sents = [self.expect(number) for number in (1, 2, 3)]
        waiting = []
        for index, sent in enumerate(sents):
            waiting.append(self.wait_for(sent))
            eventually(self.reading)
            self.sleeping(index)
        for number in (1, 2, 3):
            self.peer.send_event("answer", [number], reply_to=number)
            self.assertIs(sents[number - 1], waiting[number - 1].get())

    def test_the_role_passes_on_where_a_waiter_leaves_by_its_deadline(self) -> None:
        first = self.wait_for(self.expect(1), Deadline(0.3))
        eventually(self.reading)
        sent = self.expect(2)
        second = self.wait_for(sent)
        self.sleeping(1)
        self.assertIsNone(first.get())
        self.peer.send_event("answer", reply_to=2)
        self.assertIs(sent, second.get())

    def test_a_waiter_hands_the_role_to_the_owner_that_comes_back(self) -> None:
        waiting = self.wait_for(self.expect(1))
        eventually(self.reading)
        owning = self.own(lambda: (self.name(self.next()), self.next()))
        eventually(lambda: self.inbox._owner_asleep)
        self.peer.send_event("event")
        self.peer.send_close(1000)
        self.assertEqual(("event", Ending(1000, "")), owning.get())
        self.assertEqual(Ending(1000, ""), waiting.get()._outcome)

    def test_everybody_is_woken_at_the_end(self) -> None:
        waiting = [self.wait_for(self.expect(number)) for number in range(1, 9)]
        self.sleeping(7)
        self.peer.close()
        self.assertEqual([Ending(1006, "")] * 8, [one.get()._outcome for one in waiting])

    def test_drop_wakes_those_who_wait_and_empties_the_inbox(self) -> None:
        self.inbox.own()
        sent = [self.expect(1), self.expect(2)]
        waiting = [self.wait_for(one) for one in sent]
        self.sleeping(1)
        self.peer.send_event("event")
        eventually(lambda: self.inbox._arrived)
        self.inbox.drop(Ending(4000, "dropped"))
        for one, result in zip(sent, waiting, strict=False):
            self.assertIs(one, result.get())
            self.assertEqual(Ending(4000, "dropped"), one._outcome)
        self.peer.send_event("late")
        self.peer.send_close(4000)
        self.assertEqual(Ending(4000, ""), self.next())

    def test_nobody_reads_while_the_inbox_is_full(self) -> None:
        self.open(limit=200)
        self.inbox.own()
        self.peer.send_event("event", [b"x" * 300])
        self.inbox.look_in()
        self.assertTrue(self.inbox.full)
        sent = self.expect(1)
        self.peer.send_event("answer", reply_to=1)
        waiting = self.wait_for(sent)
        self.sleeping(1)
        self.inbox.look_in()
        self.assertEqual(1, len(self.inbox._arrived))
        self.assertFalse(self.reading())
        self.assertEqual("event", self.name(self.next()))
        self.assertEqual("answer", self.name(self.next()))  # there is room: this thread or the waiter reads on
        self.assertIs(sent, waiting.get())

    def test_a_full_inbox_is_emptied_before_the_end_is_read(self) -> None:
        self.open(limit=200)
        self.peer.send_event("first", [b"x" * 300])
        self.inbox.look_in()
        self.peer.send_event("second", [b"x" * 300])
        self.peer.close()
        self.inbox.look_in()
        names = self.own(lambda: [self.name(self.next()), self.name(self.next()), self.next()]).get()
        self.assertEqual(["first", "second", Ending(1006, "")], names)

    def look_in(self) -> Inbox:
        self.inbox.look_in()
        return self.inbox

    def fill(self, count: int, size: int, text: bool = False) -> None:
        """Let a read of 256 KiB bring so many compressed events, or texts, of so many bytes each."""
        deflater = Deflater(15, False)
        wire = b""
        for number in range(count):
            payload = b"x" * size if text else self.peer.event_bytes(str(number), ["x" * size])
            compressed = deflater.compress(payload)
            assert compressed is not None
            wire += self.peer.frame(TEXT if text else BINARY, compressed, rsv=RSV1)
        self.assertLess(len(wire), 1 << 18)
        self.peer.send_raw(wire)
        self.stream._read_size = 1 << 18

    def test_what_does_not_fit_stays_compressed(self) -> None:
        self.open(limit=1 << 20)
        self.inbox.own()
        self.fill(500, 100_000)
        eventually(lambda: self.look_in().full)
        self.inbox.look_in()
        self.assertLess(self.inbox._bytes, (1 << 20) + 101_000)
        self.assertLess(len(self.stream._unread), 1 << 18)
        for number in range(500):
            self.assertEqual(str(number), self.name(self.inbox.next()))
            self.inbox.look_in()
            self.assertLess(self.inbox._bytes, (1 << 20) + 101_000)

    def test_who_waits_reads_what_stays_compressed_without_the_wire(self) -> None:
        self.open(limit=1 << 24)
        sent = self.expect(77)
        deflater = Deflater(15, False)
        wire = b""
        for reply_to in (None, None, None, 77):
            compressed = deflater.compress(self.peer.event_bytes("event", ["x" * 100_000], reply_to))
            assert compressed is not None
            wire += self.peer.frame(BINARY, compressed, rsv=RSV1)
        self.peer.send_raw(wire)
        self.stream._read_size = 1 << 18
        self.assertIs(sent, self.wait_for(sent).get())
        names = self.own(lambda: [self.name(self.next()) for _ in range(4)]).get()
        self.assertEqual(["event"] * 4, names)

    def test_texts_that_nobody_wants_are_read_away(self) -> None:
        self.fill(100, 100_000, text=True)
        self.peer.send_close(4000)
        self.inbox.own()
        self.assertEqual(Ending(4000, ""), self.inbox.next())

    def test_the_start_of_a_message_is_no_reply(self) -> None:
        sent = self.expect(5)
        self.stream.keep_payload(100)
        message = self.peer.event_bytes("nine-long", ["x" * 200], reply_to=5, event_id=12)
        self.assertEqual(5, parse_reply(message[:32]).ids.reply_to)  # cut here, it could pass for one
        self.peer.send_message(message)
        eventually(lambda: self.look_in()._arrived)
        self.assertIsNone(sent._outcome)
        self.assertIs(Start, type(self.own(self.next).get()))

    def test_look_in_never_blocks_and_leaves_the_role_to_who_has_it(self) -> None:
        self.inbox.look_in()
        self.peer.send_event("event")
        self.inbox.look_in()
        self.assertEqual(1, len(self.inbox._arrived))
        waiting = self.wait_for(self.expect(1))
        eventually(self.reading)
        self.inbox.look_in()
        self.assertTrue(self.reading())
        self.peer.close()
        waiting.get()

    def test_retire_waits_for_who_reads_and_succeeds_once(self) -> None:
        waiting = self.wait_for(self.expect(1))
        eventually(self.reading)
        self.stream.cut()
        self.inbox.end()
        self.assertEqual([True, True], [self.inbox.retire(), self.inbox.retire()])
        self.assertFalse(Result(self.inbox.retire).get())
        waiting.get()
        self.inbox.look_in()  # nobody reads any more, and nobody blocks

    def test_what_take_raises_comes_out_and_leaves_the_role_free(self) -> None:
        def take() -> Any:
            raise KeyboardInterrupt

        with self.assertRaises(KeyboardInterrupt):
            self.inbox.wait(take, Deadline(None))
        self.assertFalse(self.reading())
        self.assertEqual({}, self.inbox._sleepers)
        self.peer.send_event("event")
        self.assertEqual("event", self.name(self.own(self.next).get()))

    def test_a_malformed_reply_stays_for_its_turn_and_wakes_nobody(self) -> None:
        self.inbox.own()
        sent = self.expect(1)
        self.peer.send_message(self.peer.event_bytes("answer", [], 1) + b'5j\0"x:1"\0')
        with self.assertRaises(MalformedMessage):
            self.name(self.next())
        self.assertIsNone(sent._outcome)

    def test_looking_in_runs_no_code_of_the_users_and_the_next_to_wait_hands_the_reply_out(self) -> None:
        parsed: list[threading.Thread] = []

        def parse(payload: bytes) -> Reply:
            parsed.append(threading.current_thread())
            return parse_reply(payload)

        self.inbox = Inbox(self.stream, 10_000, False, parse, False)
        sent = self.expect(1)
        for name in ("before", "answer", "after"):
            self.peer.send_event(name, reply_to=1 if name == "answer" else None)

        def has_come() -> bool:
            self.inbox.look_in()
            return len(self.inbox._arrived) == 3

        eventually(has_come)
        self.assertEqual(([], None), (parsed, sent._outcome))
        self.assertIs(sent, self.wait_for(sent).get())
        self.assertEqual(1, len(parsed))
        self.assertIsNot(threading.current_thread(), parsed[0])
        self.inbox.own()
        kinds = [(self.name(item), type(item)) for item in (self.next(), self.next(), self.next())]
        self.assertEqual([("before", bytes), ("answer", RoutedReply), ("after", bytes)], kinds)

    def test_an_error_that_another_thread_met_comes_in_its_turn(self) -> None:
        self.inbox.own()
        self.peer.send_event("before")
        self.inbox.look_in()
        error = LookupError()
        with self.inbox.lock:
            self.inbox.put(error)
        self.assertEqual("before", self.name(self.next()))
        self.assertIs(error, self.next())

    def test_text_is_kept_out_of_the_inbox_unless_asked_for(self) -> None:
        self.inbox.own()
        self.peer.send_message("text")
        self.peer.send_event("event")
        self.assertEqual("event", self.name(self.next()))

    def test_each_message_is_noted_when_it_arrives(self) -> None:
        noted: list[bytes | str] = []
        self.inbox.note = noted.append
        self.peer.send_event("event")
        self.inbox.look_in()
        self.assertEqual(1, len(noted))
        self.inbox.own()
        self.assertIs(noted[0], self.next())

    def test_many_threads_wait_while_the_owner_comes_and_goes(self) -> None:
        count, threads = 40, 6
        ids = iter(range(1, count * threads + 1))
        lock = threading.Lock()
        seen: list[str] = []

        def wait_many() -> int:
            for _ in range(count):
                with lock:
                    number = next(ids)
                sent = self.expect(number)
                with lock:
                    self.peer.send_event("answer", [number], reply_to=number)
                outcome = self.wait_for(sent, Deadline(20)).get(30)
                if outcome is not sent or sent._outcome.args != [number]:
                    raise AssertionError((number, outcome))
            return count

        def serve() -> None:
            while True:
                item = self.inbox.next()
                if isinstance(item, Ending):
                    return
                seen.append(self.name(item))
                self.inbox.begin_user_code()

        with switch_interval():
            owning = self.own(serve)
            waiting = [Result(wait_many) for _ in range(threads)]
            for one in waiting:
                self.assertEqual(count, one.get(50))
            self.peer.send_close(1000)
            owning.get(20)
        self.assertEqual(["answer"] * count * threads, seen)


class ServedInboxTest(ServingTestCase):
    """The inbox of a server's connection."""

    def test_a_dropped_message_is_not_kept_until_there_is_another(self) -> None:
        server = self.serve(ping_interval=None)
        peer = self.peer(server)
        peer.send_raw(peer.frame(TEXT, b"x" * 1_000_000) + peer.frame(PING, b"read?"))
        self.assertEqual(peer.read(PONG), b"read?")

        def kept() -> list[Any]:
            """What the connection's thread keeps while it waits for the next."""
            for innermost in sys._current_frames().values():
                frame: FrameType | None = innermost
                while frame is not None and frame.f_code is not Inbox.next.__code__:
                    frame = frame.f_back
                if frame is not None:
                    return list(frame.f_locals.get("messages", []))
            return ["not there"]

        eventually(lambda: kept() == [])
        time.sleep(0.05)
        self.assertEqual(kept(), [])

    def test_all_who_want_to_retire_the_inbox_come_back(self) -> None:
        """One takes the role for good; the others must not wait for it for ever."""
        side, _peer = self.pair(self.serve())
        inbox = side._ezez_connection.inbox
        held = self.in_thread(side.send("question").wait_reply)
        side._ezez_connection.stream.cut()
        retiring = [self.in_thread(inbox.retire) for _ in range(4)]
        for one in retiring:
            one.get()
        with self.assertRaises(ConnectionClosed):
            held.get()
        side._ezez_connection.stream.dispose()


if __name__ == "__main__":
    unittest.main()
