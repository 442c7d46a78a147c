"""Models against the real thing: the reply table, the outbox, and the client's queue over lost connections.

``hypothesis`` plays; each machine keeps a model that is too simple to be wrong, and compares after every step.
"""

import gc
import itertools
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ezez_ws import ConnectionClosed, EZEZWebSocketClient, NotConnected, QueueFull, ReplyTimeout, SentMessage
from ezez_ws.connection.replies import EXPIRED, Outcome, Reply, ReplyTable
from ezez_ws.messages.protocol import AUTH_REJECTED, Ids
from ezez_ws.threads.deadline import Deadline
from ezez_ws.threads.waiting import Event
from ezez_ws.websocket.frames import BINARY, CLOSE, PING, PONG, FrameDecoder, encode_close
from ezez_ws.websocket.outbox import Buffer, Outbox, Put
from ezez_ws.websocket.stream import Ending
from ezez_ws.wire.sockets import Wire, WireError
from tests.dialing import inner
from tests.rawpeer import RawPeer, RawServer
from tests.serving import Result
from tests.support import EZEZTestCase, allow_seconds, eventually

MAY_RUN_BESIDE = True

ENDING = Ending(1001, "over")


def when(holds: Callable[[Any], bool]) -> Callable[[Any], Any]:
    """A precondition under a name: of a lambda, hypothesis 6.100 parses this file whenever it looks at it."""

    def condition(machine: Any) -> bool:
        return holds(machine)

    return precondition(condition)


def play(machine: type[RuleBasedStateMachine], examples: int, steps: int, shrink: bool = True) -> None:
    """Run a machine; what fails is made smaller where that does not take too long."""
    checks = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=checks,
            phases=[phase for phase in Phase if shrink or phase is not Phase.shrink],
        ),
    )


# -- the reply table ---------------------------------------------------------------------------------------------------


class Home:
    """Makes a ``SentMessage`` a sent one; nobody waits by it."""

    def wait_reply(self, sent: SentMessage, deadline: Deadline) -> Outcome:
        raise AssertionError("nobody should wait here")

    @staticmethod
    def answer(*_: Any, **__: Any) -> SentMessage:
        raise AssertionError("nobody should answer here")


class Awaited:
    """The model of one entry, and the message where it is still held."""

    def __init__(self, sent: SentMessage, has_on_reply: bool, deadline: int) -> None:
        self.sent: SentMessage | None = sent
        self.has_on_reply = has_on_reply
        self.deadline = deadline


class ReplyTableMachine(RuleBasedStateMachine):
    """Messages are expected, answered, waited for, forgotten, and expire."""

    def __init__(self) -> None:
        super().__init__()
        self.table = ReplyTable()
        self.expected: dict[int, Awaited] = {}
        self.settled: list[tuple[SentMessage, object]] = []
        self.waited_for: list[SentMessage] = []
        self.kept_entries: list[Any] = []
        self.last_id = 0
        self.clock = 0

    # what there is

    def held(self) -> list[SentMessage]:
        waiting = [one.sent for one in self.expected.values() if one.sent is not None]
        return waiting + [sent for sent, _ in self.settled]

    def pick(self, index: int) -> int | None:
        return list(self.expected)[index % len(self.expected)] if self.expected else None

    def settle(self, event_id: int, outcome: object) -> None:
        one = self.expected.pop(event_id)
        if one.sent is not None:
            self.settled.append((one.sent, outcome))

    # what happens

    @rule(has_on_reply=st.booleans(), waiting=st.booleans(), ttl=st.integers(0, 5))
    def expect(self, has_on_reply: bool, waiting: bool, ttl: int) -> None:
        self.last_id += 1
        due = max([self.clock + ttl, *(one.deadline for one in self.expected.values())])
        sent = SentMessage(Home(), self.last_id, None)
        if waiting:  # the message was queued, and a thread waits for it already
            sent._waiting += 1
            self.waited_for.append(sent)
        self.table.expect(sent, self.last_id, len if has_on_reply else None, due)
        self.expected[self.last_id] = Awaited(sent, has_on_reply, due)

    @rule(index=st.integers(0, 20), late_free=st.booleans())
    def refuse(self, index: int, late_free: bool) -> None:
        """The last one was not sent after all: its id is used again, though its entry may still be around."""
        last = self.expected.get(self.last_id)
        if last is None or last.sent is None or last.sent in self.waited_for:
            return
        entry = self.table.take(self.last_id)
        assert entry is not None
        last.sent._went_out(None, None)
        del self.expected[self.last_id], last
        self.last_id -= 1
        if late_free:
            self.kept_entries.append(entry)

    @rule()
    def free_entries(self) -> None:
        self.kept_entries.clear()

    @rule(index=st.integers(0, 20), known=st.booleans())
    def answer(self, index: int, known: bool) -> None:
        event_id = self.pick(index) if known else self.last_id + 1 + index
        if event_id is None:
            return
        if event_id not in self.expected:
            assert self.table.take(event_id) is None
            return
        one = self.expected[event_id]
        entry = self.table.take(event_id)
        assert entry is not None and (entry.on_reply is not None) == one.has_on_reply
        sent = entry()
        assert sent is one.sent
        reply = Reply("answer", [], Home.answer, Ids(1, event_id))
        if sent is not None:
            sent._settle(reply)
        self.settle(event_id, reply)

    @rule(index=st.integers(0, 20))
    def begin_to_wait(self, index: int) -> None:
        held = self.held()
        if held:
            sent = held[index % len(held)]
            self.table.begin_waiting(sent)
            self.waited_for.append(sent)

    @rule(index=st.integers(0, 20))
    def end_to_wait(self, index: int) -> None:
        if self.waited_for:
            self.table.end_waiting(self.waited_for.pop(index % len(self.waited_for)))

    @rule(index=st.integers(0, 20), collect=st.booleans())
    def forget(self, index: int, collect: bool) -> None:
        """Nobody holds the message any more; without ``on_reply`` its entry goes."""
        event_id = self.pick(index)
        if event_id is None or self.expected[event_id].sent in self.waited_for:
            return
        one = self.expected[event_id]
        one.sent = None
        if not one.has_on_reply:
            del self.expected[event_id]
        if collect:
            gc.collect(0)

    @rule(passed=st.integers(0, 4))
    def expire(self, passed: int) -> None:
        self.clock += passed
        due = [event_id for event_id, one in self.expected.items() if one.deadline <= self.clock]
        assert len(self.table.take_expired(self.clock)) == len(due)
        for event_id in due:
            self.settle(event_id, EXPIRED)

    @rule()
    def end(self) -> None:
        self.table.take_all(ENDING)
        for event_id in list(self.expected):
            self.settle(event_id, ENDING)

    # what holds

    @invariant()
    def the_table_has_what_is_expected(self) -> None:
        assert len(self.table) == len(self.expected)
        assert self.table.next_deadline() == next((one.deadline for one in self.expected.values()), None)

    @invariant()
    def what_is_awaited_is_counted_once(self) -> None:
        awaited = [one for one in self.expected.values() if one.has_on_reply or one.sent in self.waited_for]
        assert self.table.awaited == len(awaited)

    @invariant()
    def outcomes_are_final(self) -> None:
        for sent, outcome in self.settled:
            assert sent._outcome is outcome
        for one in self.expected.values():
            assert one.sent is None or one.sent._outcome is None


# -- the outbox --------------------------------------------------------------------------------------------------------


class ModelWire(Wire):
    """Takes ``room`` bytes more, at most ``chunk`` at a time, and breaks when it has taken ``life`` bytes."""

    def __init__(self) -> None:
        self.taken = bytearray()
        self.room = 0
        self.chunk = 1 << 20
        self.life = 1 << 30
        self.broken = False
        self.was_cut = False

    def write_now(self, data: Buffer) -> int:
        self.broken = self.broken or (len(self.taken) >= self.life and bool(data))
        if self.broken or self.was_cut:
            raise WireError("broken by the test")
        size = min(len(data), self.room, self.chunk, self.life - len(self.taken))
        self.taken += memoryview(data)[:size]
        self.room -= size
        return size

    def cut(self) -> None:
        self.was_cut = True


class TestedOutbox(Outbox):
    """Has no flusher: the machine flushes."""

    watched = 0

    def watch(self) -> None:
        self.watched += 1


class OutboxMachine(RuleBasedStateMachine):
    """Messages, pings, pongs and a close frame go out over a wire that takes what it likes.

    What the peer gets is compared frame by frame: messages in order and once, each pong for a ping, later ones in
    place of earlier ones that still wait, and nothing behind a close frame.
    """

    LIMIT = 300

    def __init__(self) -> None:
        super().__init__()
        self.wire = ModelWire()

    @initialize(
        masked=st.booleans(),
        chunk=st.sampled_from([1, 2, 7, 100, 1 << 20, 1 << 20]),
        life=st.sampled_from([1 << 30, 1 << 30, 1 << 30, 5, 200, 20_000]),
        closes_at=st.sampled_from([5, 10, 1000]),
        cut_at=st.sampled_from([5, 1000, 1000]),
    )
    def make(self, masked: bool, chunk: int, life: int, closes_at: int, cut_at: int) -> None:
        self.wire.life = life
        self.closes_at, self.cut_at = closes_at, cut_at  # after so many messages
        self.wire.chunk = chunk
        self.outbox = TestedOutbox(self.wire, masked, self.LIMIT)
        self.decoder = FrameDecoder(masked, 1 << 20)
        self.seen = 0  # bytes that the peer has had
        self.got: list[tuple[int, bytes]] = []
        self.data: list[bytes] = []  # what was put, in order
        self.close_frame: bytes | None = None
        self.pongs: list[bytes] = []
        self.pings: list[bytes] = []
        self.events: list[Event] = []
        self.numbers = itertools.count()

    # what happens

    @rule(size=st.sampled_from([0, 1, 10, 125, 126, 200, 290, 5000, 70_000]), asks=st.booleans())
    def put(self, size: int, asks: bool) -> None:
        payload = (b"%d " % next(self.numbers)).ljust(size, b"x")
        with self.outbox.lock:
            was_open, has_room, waiting = self.outbox.open, self.outbox.has_room(len(payload)), self.waiting()
            assert has_room == (not waiting or waiting + len(payload) <= self.LIMIT)
            outcome = self.outbox.put(payload, needs_room=asks)
        assert was_open or outcome is Put.REFUSED
        assert (outcome is Put.FULL) == (asks and was_open and not has_room)
        if outcome is Put.WRITTEN or outcome is Put.WAITING:
            self.data.append(payload)
        self.look()
        if asks and outcome in (Put.WRITTEN, Put.WAITING):
            assert self.waiting() <= max(self.LIMIT, len(payload)) + 14, "more waits than may"
        if outcome is Put.WRITTEN:
            assert self.got and self.got[-1] == (BINARY, payload), "what the kernel has is not what was put"
        elif outcome is Put.REFUSED:
            assert not self.outbox_open()

    @rule()
    def ping(self) -> None:
        payload = b"ping %d" % next(self.numbers)
        self.pings.append(payload)
        self.outbox.ping(payload)
        self.look()

    @rule()
    def pong(self) -> None:
        payload = b"pong %d" % next(self.numbers)
        self.pongs.append(payload)
        self.outbox.pong(payload)
        self.look()

    @when(lambda self: len(self.data) >= self.closes_at)
    @rule(code=st.sampled_from([1000, 1008, 4000]))
    def close(self, code: int) -> None:
        was_open = self.outbox_open()
        assert self.outbox.close(code, "bye") == was_open
        assert not self.outbox_open()
        if was_open:
            self.close_frame = encode_close(code, "bye")
        self.look()

    @rule(room=st.sampled_from([0, 1, 3, 10, 131, 1000, 80_000]))
    def take(self, room: int) -> None:
        self.wire.room = room

    @rule()
    def flush(self) -> None:
        done = self.outbox.flush()
        self.look()
        assert not (done and (self.waiting() or self.control_waits()))

    @rule()
    def call_for_room(self) -> None:
        self.events.append(Event())
        self.outbox.call_for_room(self.events[-1])

    @when(lambda self: len(self.data) >= self.cut_at)
    @rule()
    def cut(self) -> None:
        self.outbox.cut()
        assert self.wire.was_cut and not self.outbox_open()

    # what holds

    def outbox_open(self) -> bool:
        with self.outbox.lock:
            return self.outbox.open

    def waiting(self) -> int:
        return self.outbox.waiting_bytes

    def control_waits(self) -> bool:
        return self.outbox._ping is not None or self.outbox._pong is not None

    def look(self) -> None:
        """Read what has come to the peer."""
        for message in self.decoder.feed(bytes(self.wire.taken[self.seen :])):
            assert isinstance(message.payload, bytes)
            self.got.append((message.opcode, message.payload))
        self.seen = len(self.wire.taken)

    @invariant()
    def the_peer_gets_whole_frames(self) -> None:
        assert self.decoder.failure is None, self.decoder.failure

    @invariant()
    def messages_come_once_and_in_order(self) -> None:
        got = self.of(BINARY)
        assert got == self.data[: len(got)]

    @invariant()
    def control_frames_come_in_order_and_some_are_replaced(self) -> None:
        for opcode, asked in ((PING, self.pings), (PONG, self.pongs)):
            places = [asked.index(payload) for payload in self.of(opcode)]
            assert places == sorted(set(places))

    @invariant()
    def the_close_frame_is_the_last(self) -> None:
        closes = self.of(CLOSE)
        assert closes in ([], [self.close_frame])
        if closes:
            assert self.got[-1][0] == CLOSE and self.of(BINARY) == self.data

    @invariant()
    def what_waits_is_counted(self) -> None:
        assert self.waiting() == sum(map(len, self.outbox._waiting))

    @invariant()
    def who_waits_for_room_is_woken(self) -> None:
        if not self.waiting() or not self.outbox_open():
            assert all(event.wait(0) for event in self.events)
            self.events.clear()

    def of(self, opcode: int) -> list[bytes]:
        return [payload for kind, payload in self.got if kind == opcode]

    def teardown(self) -> None:
        """A wire that takes all gets all: only the last pong and one ping may still have waited."""
        self.wire.room, self.wire.chunk = 1 << 30, 1 << 20
        done = any(self.outbox.flush() for _ in range(1000))
        assert done, "what waits does not go out"
        if self.wire.life < 1 << 30 or self.wire.was_cut:
            return
        last_pong = self.pongs[-1] if self.pongs else None
        self.look()
        self.the_peer_gets_whole_frames()
        self.control_frames_come_in_order_and_some_are_replaced()
        assert self.of(BINARY) == self.data
        assert self.of(CLOSE) == ([] if self.close_frame is None else [self.close_frame])
        if self.close_frame is None and last_pong is not None:
            assert self.of(PONG)[-1] == last_pong, "the last ping was not answered"


# -- the client's queue ------------------------------------------------------------------------------------------------


class Sending:
    """The model of one message: ``state`` is queued, sent (on this connection), done (nothing more will come)."""

    def __init__(self, number: int, text: str, size: int, has_on_reply: bool) -> None:
        self.number = number
        self.text = text
        self.size = size
        self.has_on_reply = has_on_reply
        self.state = "never"
        self.sent: SentMessage | None = None


class ClientQueueMachine(RuleBasedStateMachine):
    """A client sends, and a server that the machine plays takes its connections, keeps them, or loses them.

    Every message has a number. What arrives must be what the model says: what was queued, and what was sent over a
    connection that still lives, each once and in order; never what was refused, nor what went down with a connection.
    """

    LIMIT = 1000

    @initialize(mode=st.sampled_from(["queue", "queue", "queue", "ignore", "raise"]), early=st.booleans())
    def make(self, mode: Any, early: bool) -> None:
        self.mode = mode
        self.server = RawServer()
        self.port = self.server.port
        self.peer: RawPeer | None = None
        self.trying = early
        self.ended = False  # by itself, and not started again
        self.messages: list[Sending] = []
        self.handshakes = self.connects = 0  # as the server has it, and as the client
        self.gate: threading.Event | None = None  # on_connect stays there
        self.ids: dict[int, int] = {}  # of those that have arrived on this connection
        self.answered: list[int] = []
        self.called: list[int] = []
        self.client = EZEZWebSocketClient(
            self.server.url,
            auth="secret",
            reconnect_delay=0.001,
            reconnect_delay_max=0.004,
            close_timeout=2.0,
            ping_interval=None,
            send_when_not_connected=mode,
            queue_limit_bytes=self.LIMIT,
            on_connect=self.pass_gate,
            on_error=lambda error: None,
        )
        if early:
            self.client.start()

    def pass_gate(self) -> None:
        self.connects += 1
        gate = self.gate
        assert gate is None or gate.wait(10)

    def let_in(self, auth: bool = False) -> RawPeer:
        self.handshakes += 1
        return self.server.accept(auth=auth)

    def having(self, *states: str) -> list[Sending]:
        return [message for message in self.messages if message.state in states]

    # sending

    @rule(size=st.sampled_from([0, 10, 100, 300]), has_on_reply=st.booleans())
    def send(self, size: int, has_on_reply: bool) -> None:
        message = self.new(size, has_on_reply)
        try:
            message.sent = self.hand_over(message)
        except QueueFull:
            assert self.peer is None and self.mode == "queue"
            assert self.queued_bytes() + message.size > self.LIMIT
        except NotConnected:
            assert self.peer is None and self.mode == "raise"
        else:
            self.note(message, connected=self.peer is not None)

    def new(self, size: int, has_on_reply: bool) -> Sending:
        number = len(self.messages)
        body = inner(self.client, "codec").encode([number, "x" * size])
        self.messages.append(Sending(number, "x" * size, 1 + len(body) + 24, has_on_reply))
        return self.messages[-1]

    def hand_over(self, message: Sending) -> SentMessage:
        def on_reply(event: str, args: list[Any], reply: Any, ids: Any) -> None:
            self.called.append(message.number)

        return self.client.send("m", [message.number, message.text], on_reply if message.has_on_reply else None)

    def note(self, message: Sending, connected: bool) -> None:
        assert message.sent is not None
        if not message.sent:
            assert not connected and (self.mode == "ignore" or self.ended)
        elif connected:
            assert message.sent.event_id is not None
            message.state = "sent"
        else:
            assert self.mode == "queue" and not self.ended and message.sent.event_id is None
            message.state = "queued"
            assert self.queued_bytes() <= self.LIMIT

    def queued_bytes(self) -> int:
        return sum(message.size for message in self.having("queued"))

    # connecting

    @when(lambda self: not self.trying)
    @rule()
    def start(self) -> None:
        self.client.start()
        self.trying, self.ended = True, False

    @when(lambda self: self.trying and self.peer is None)
    @rule(concurrent=st.integers(0, 4))
    def accept(self, concurrent: int) -> None:
        """Let the client in, while another thread goes on sending."""
        batch = [self.new(0, False) for _ in range(concurrent)] if self.mode == "queue" else []
        sending = Result(self.hand_over_all, batch)
        self.peer = self.let_in(auth=True)
        eventually(lambda: self.client.alive)
        sending.get()
        for message in self.messages:
            if message.state == "queued" or message in batch:
                message.state = "sent" if message.sent else "never"
        self.ids.clear()

    def hand_over_all(self, messages: list[Sending]) -> None:
        for message in messages:
            try:
                message.sent = self.hand_over(message)
            except QueueFull:
                pass

    @when(lambda self: self.trying and self.peer is None)
    @rule(how=st.sampled_from(["at once", "by HTTP", "after the handshake", "after the authentication"]))
    def fail_attempt(self, how: str) -> None:
        if how == "at once":
            self.server.accept_socket().close()
        elif how == "by HTTP":
            self.server.refuse(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
        else:
            with self.let_in() as peer:
                if how == "after the authentication":
                    peer.read_auth()

    @when(lambda self: self.trying and self.peer is None)
    @rule(held=st.booleans())
    def let_in_and_cut(self, held: bool) -> None:
        """The queue goes out to nobody: the kernel takes some of it, the rest stays queued; all of it, where the
        client is held in ``on_connect`` until the connection has been reset.
        """
        for _ in range(2 if self.mode == "queue" else 0):
            self.send(0, False)
        eventually(lambda: self.connects == self.handshakes)  # who is held is none of an earlier connection
        gate = self.gate = threading.Event() if held else None
        try:
            with self.let_in(auth=True) as peer:
                peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        finally:
            self.gate = None
            if gate is not None:
                gate.set()
        self.server.accept_socket().close()  # the next attempt: the connection is done with
        rest = False
        for message in self.having("queued"):
            assert message.sent is not None
            if message.sent.event_id is None:
                rest = True
            else:
                assert not rest, "one was sent before another that came first"
                message.state = "done"

    @when(lambda self: self.trying and self.peer is None)
    @rule()
    def reject(self) -> None:
        with self.let_in() as peer:
            peer.read_auth()
            peer.send_values(AUTH_REJECTED, "no")
            peer.send_close(1008)
            peer.read_end()
        assert self.client.wait_closed(10)
        self.trying, self.ended = False, True
        for message in self.having("queued"):
            message.state = "done"
            assert message.sent is not None
            self.assert_closed(message.sent, 1008)

    @when(lambda self: self.peer is None)
    @rule()
    def vanish(self) -> None:
        """Nobody listens for a moment."""
        self.server.close()
        self.server = RawServer(port=self.port)

    # what becomes of a connection

    @when(lambda self: self.peer is not None)
    @rule()
    def read(self) -> None:
        """All that was sent is there, in order, and nothing else."""
        assert self.peer is not None
        for message in self.having("sent"):
            if message.number not in self.ids:
                event = self.peer.read_event()
                assert (event.name, event.args[0]) == ("m", message.number)
                assert message.sent is not None and message.sent.event_id == event.ids.event_id
                self.ids[message.number] = event.ids.event_id

    @when(lambda self: self.peer is not None)  # what the kernel has taken must not decide what is drawn
    @rule(index=st.integers(0, 20))
    def answer(self, index: int) -> None:
        assert self.peer is not None
        if not self.ids:
            return
        number = sorted(self.ids)[index % len(self.ids)]
        message = self.messages[number]
        self.peer.send_event("answer", [number], reply_to=self.ids[number])
        assert message.sent is not None
        assert message.sent.wait_reply(10).args == [number]
        if message.has_on_reply and number not in self.answered:
            eventually(lambda: number in self.called)
        self.answered.append(number)

    @when(lambda self: self.peer is not None)
    @rule(code=st.sampled_from([None, None, 1000, 1001, 1008, 4000]), hasty=st.booleans())
    def lose(self, code: int | None, hasty: bool) -> None:
        assert self.peer is not None
        if code is not None:
            self.peer.send_close(code)
            self.peer.read_end()
        self.peer.close()
        self.peer = None
        hurried = [self.hurry()] if hasty else []
        eventually(lambda: not self.client.alive)
        lost = [*self.having("sent"), *(message for message in hurried if message.state == "sent")]
        for message in lost:
            message.state = "done"
            assert message.sent is not None
            if message.number not in self.answered:
                sent = message.sent
                eventually(lambda sent=sent: sent._outcome is not None)  # type: ignore[misc]
                self.assert_closed(sent, code or 1006)
        self.ids.clear()

    def hurry(self) -> Sending:
        """Send before the client can know: the kernel may take it, and then it is lost, or it is kept or refused."""
        message = self.new(0, False)
        try:
            message.sent = self.hand_over(message)
        except (QueueFull, NotConnected):
            return message
        if message.sent:
            message.state = "queued" if message.sent.event_id is None else "sent"
        return message

    def assert_closed(self, sent: SentMessage, code: int) -> None:
        try:
            got = sent.wait_reply(0)
        except ConnectionClosed as closed:
            assert closed.code == code, closed
        else:
            raise AssertionError(f"a reply out of nowhere: {got!r}")

    # what holds

    @invariant()
    def replies_that_are_awaited_are_counted(self) -> None:
        def awaited() -> int:
            waiting = [message for message in self.having("queued", "sent") if message.has_on_reply]
            return len([message for message in waiting if message.number not in self.answered])

        if hasattr(self, "client"):
            eventually(lambda: self.client.awaiting_replies_count == awaited(), 10, f"{awaited()} awaited")

    @invariant()
    def what_the_queue_counts_is_what_waits(self) -> None:
        if hasattr(self, "client"):
            with inner(self.client, "condition").lock:
                assert inner(self.client, "queue")._bytes == self.queued_bytes()

    @invariant()
    def callbacks_run_once(self) -> None:
        if hasattr(self, "client"):
            wanted = {number for number in self.answered if self.messages[number].has_on_reply}
            assert sorted(self.called) == sorted(wanted)

    @invariant()
    def what_is_queued_waits(self) -> None:
        if hasattr(self, "client") and self.trying and self.peer is None:
            for message in self.having("queued")[:1]:
                assert message.sent is not None and message.sent.event_id is None
                try:
                    message.sent.wait_reply(0)
                except ReplyTimeout:
                    continue
                raise AssertionError("a queued message had an outcome")

    def teardown(self) -> None:
        if not hasattr(self, "client"):
            return
        if self.trying and self.peer is None and len(self.messages) % 2:
            self.accept(0)
        queued = self.having("queued")
        try:
            if self.peer is not None:
                self.read()
                self.peer.close()
        finally:
            self.client.close()
            self.server.close()
        for message in queued:
            assert message.sent is not None
            self.assert_closed(message.sent, 1000)
        if self.mode == "queue":
            try:
                self.client.send("m")
            except NotConnected:
                return
            raise AssertionError("a closed client has taken a message")


class StateMachineTest(EZEZTestCase):
    def test_the_reply_table_knows_what_is_awaited(self) -> None:
        play(ReplyTableMachine, 150, 40)

    def test_the_outbox_tears_nothing_and_keeps_the_order(self) -> None:
        play(OutboxMachine, 200, 40)

    @allow_seconds(120)
    def test_the_clients_queue_goes_out_once_and_in_order(self) -> None:
        play(ClientQueueMachine, 40, 20, shrink=False)
