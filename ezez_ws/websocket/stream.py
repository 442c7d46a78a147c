"""A WebSocket over a wire, in either role (RFC 6455): reads messages, writes them, answers pings, closes.

``Stream`` is the one door to a connection's bytes, and owns its life:

    open        messages go both ways
    closing     our close frame is out, or waits: nothing more is sent, the peer's answer or the end of the bytes comes
    ended       there is an ``ending``, set once, by whoever is first
    given back  the wire is closed

What ends a connection is heard by the ``receive`` after the one that handed out the messages before it, so that whoever
handles one thing after the other can still answer them. The ``ending`` is

    the peer's close frame        its code and reason; we echo it behind what waits to be sent
    our own ``fail``              the code and reason that we send
    the end of the bytes          1006
    ``cut`` with a code           that code (nothing can be sent any more)

When there is one, ``finish`` waits for the peer's end of the bytes, so that our last frames are not lost to a reset,
and ``dispose`` gives the socket back. Every step of an ending may be asked for again, by another thread or after an
exception, and is done once.
"""

import itertools
import math
from typing import TYPE_CHECKING, NamedTuple

from ..threads import clock
from ..threads.deadline import Deadline
from ..threads.waiting import Event
from ..wire.sockets import Wire
from .frames import BINARY, CLOSE, PING, TEXT, ClosePayload, FrameDecoder, Message, Violation, parse_close
from .outbox import REFUSED, Outbox

if TYPE_CHECKING:
    from .deflate import Deflate, Deflater, Inflater

__all__ = ["Ending", "Ping", "Stream"]

_LAST_WAIT = 1.0  # seconds that a client waits for the server's end when both have said goodbye
_READ_AWAY = 16384  # bytes at a time: of large blocks that many threads take and free malloc() wastes much memory
_SMALLEST_READ, _LARGEST_READ = 256, 262144  # bytes; each idle connection holds a buffer of the smallest
_MOST_PINGS = 8  # that nobody waits for; of more the oldest are forgotten
_LONG = bytes(32)  # of a ping: more than the read gate looks at
_numbers = itertools.count(1)


class Ending(NamedTuple):
    """How a connection ended: the close code (RFC 6455, section 7.4; 1006 without a close frame) and its reason."""

    code: int
    reason: str


class Ping:
    """One ping. ``event`` is set, and ``seconds`` are there, when it is answered (RFC 6455, section 5.5.3)."""

    __slots__ = ("at", "event", "payload", "seconds", "waited")

    def __init__(self, waited: bool) -> None:
        self.waited = waited
        self.at = clock.monotonic()
        self.event = Event()
        self.payload = next(_numbers).to_bytes(8, "big")
        self.seconds: float | None = None


class Stream:
    """One WebSocket.

    ``receive``, ``readable``, ``wait_for_room`` and ``keep_payload`` belong to whoever has the reading role;
    ``finish`` and ``dispose`` to the last who has it; every other method may be called from any thread. ``sending`` is
    the lock over sending: whoever gives out ids holds it over ``fits``, ``put`` and ``put_prepared``. It guards
    ``ending``, ``failure`` and what our close frame said, too. ``over`` and the decoder are guarded by the reading
    role, whose holder writes ``last_received`` (when bytes have come last, in monotonic time), for all to read. While
    the holder sleeps in the wire, which it does only when nothing is unread, another thread may take a pong for it.
    ``early`` is what arrived behind the handshake.
    """

    def __init__(
        self,
        wire: Wire,
        client_side: bool,
        max_payload: int,
        send_buffer_limit: int,
        early: bytes = b"",
        deflate: "Deflate | None" = None,
    ) -> None:
        inflater, self._deflater = _compression(deflate, client_side)
        self._outbox = outbox = Outbox(wire, masked=client_side, limit=send_buffer_limit)
        self.sending = outbox.lock
        self.put, self.put_prepared, self.flush_later = outbox.put, outbox.put_prepared, outbox.watch
        self.over = False  # the reader has come to the end: there is an ending
        self.given_back = False
        self.last_received = clock.monotonic()
        self._wire = wire
        self._client_side = client_side
        self._decoder = FrameDecoder(not client_side, max_payload, inflater)
        self._read_size = _SMALLEST_READ
        self._unread = early  # came off the wire, and is to be decoded before what else does
        self._last_word: ClosePayload | Violation | None = None
        self._at_end = False
        self._ending: Ending | None = None
        self._goodbye: Ending | None = None  # what our own close frame has said
        self._failure: Violation | None = None
        self.latency: float | None = None  # seconds that the last ping took which was answered
        self._pings: dict[bytes, Ping] | None = None  # those that are not

    @property
    def ending(self) -> Ending | None:
        """How the connection ended, ``None`` while it has not; as ``failure`` and ``open`` read without the lock."""
        return self._ending

    @property
    def failure(self) -> Violation | None:
        """What rule of RFC 6455 the peer broke."""
        return self._failure

    @property
    def open(self) -> bool:
        """Whether messages can be sent."""
        return self._ending is None and self._outbox.open

    @property
    def waiting_bytes(self) -> int:
        """What is to be sent and has not left; read without the lock, too."""
        return self._outbox.waiting_bytes

    # For whoever has not the reading role: see the outbox. Bound methods kept for them would take 300 bytes.

    def fits(self, size: int) -> bool:
        """Tell whether a message of ``size`` bytes may be put now. Requires holding ``sending``."""
        return self._outbox.has_room(size)

    def call_for_room(self, event: Event) -> None:
        """Set ``event`` when there may be room, or nothing is taken any more."""
        self._outbox.call_for_room(event)

    def answers(self) -> bool:
        """Tell whether there is something to read."""
        return self._outbox.readable()

    def hung_up(self) -> bool:
        """Tell whether both directions are dead."""
        return self._outbox.hung_up()

    def keep_payload(self, size: int) -> None:
        """Keep only the ``Start`` of a message over ``size`` bytes, from the next bytes on. Needs the reading role."""
        self._decoder.keep(size)

    def begin_compressing(self) -> None:
        """Compress what is sent from now on, if that was agreed; the first message takes the memory for it."""
        with self.sending:
            self._outbox.deflater = self._deflater

    def readable(self, timeout: float) -> bool:
        """Wait until there is something to receive; false where the time passed. Requires the reading role."""
        return bool(self._unread) or self._last_word is not None or self._wire.poll(True, False, timeout)[0]

    def receive(self, timeout: float | None, looked: bool = False) -> list[Message] | None:
        """Read once and return the messages that this completes, perhaps none; requires the reading role.

        Of what is compressed there may be more than is inflated at a time: the next call goes on with that.

        Returns ``None`` where ``timeout`` passed; with none it waits, and makes no system call more. ``looked``:
        ``readable`` has just said that there is something. After the last bytes ``ending`` is set.
        """
        if timeout is not None and not looked and not self.readable(timeout):
            return None
        data: bytes | None
        try:
            if self._last_word is not None:
                self._hear_last_word(self._last_word)
                return []
            if self._unread:
                data, self._unread = self._unread, b""
            else:
                size = self._read_size
                data = self._wire.read(size) if timeout is None else self._wire.read_now(size)
                if data is None:
                    return None
                if not data:
                    self._at_end = self.over = True
                    self.cut()
                    return []
                if size > _SMALLEST_READ or len(data) == size:
                    self._adapt_read_size(len(data))
                self.last_received = clock.monotonic()
            messages = self._decoder.feed(data)
            return messages if self._decoder.usual else self._hear_control(messages)
        except BaseException:
            # a signal handler's exception in the middle: nobody knows what is lost
            self.cut()
            raise

    def has_room(self, size: int) -> bool:
        """Tell whether a message of ``size`` bytes would be taken, or refused for ever."""
        with self.sending:
            return not self._outbox.open or self._outbox.has_room(size)

    def wait_for_room(self, timeout: float) -> bool:
        """Wait until there is something to read (true), or something could be written, and write it."""
        to_receive = bool(self._unread) or self._last_word is not None
        readable, writable = self._wire.poll(True, True, 0 if to_receive else timeout)
        if writable:
            self._outbox.flush()
        return readable or to_receive

    def let_go(self) -> None:
        """Write what ``put_prepared`` has held. Any thread may call it, without the lock."""
        self._outbox.let_go()

    def send(self, data: bytes | str) -> bool:
        """Send one raw message, text or binary, without waiting for room; false where nothing can be sent any more."""
        payload, opcode = (data.encode(), TEXT) if isinstance(data, str) else (bytes(data), BINARY)
        return self._outbox.send(payload, opcode) is not REFUSED

    def ping(self, waited: bool = False) -> Ping:
        """Send a ping, which hears of its answer. ``waited``: somebody waits for that, and is to ``forget`` it.

        Of those that nobody waits for only the last few are remembered.
        """
        ping = Ping(waited)
        with self.sending:
            if self._pings is None:
                self._pings = {}
            unwaited = [] if waited else [one for one in list(self._pings.values()) if not one.waited]
            for old in unwaited[: max(0, len(unwaited) - _MOST_PINGS)]:
                self._pings.pop(old.payload, None)
            self._pings[ping.payload] = ping
        self._wire.expect(self._take_pong)
        self._outbox.ping(ping.payload)
        return ping

    def forget(self, ping: Ping) -> None:
        """Do not wait for the answer to a ping any more."""
        with self.sending:
            if self._pings is not None:
                self._pings.pop(ping.payload, None)

    def call_reader(self) -> None:
        """Send a ping whose answer wakes the thread that reads: it is too long for the read gate to take it aside."""
        self._outbox.ping(_LONG)

    def close(self, code: int, reason: str) -> bool:
        """Begin the close handshake; false where it has begun or the connection is gone."""
        with self.sending:
            self._goodbye = self._goodbye or Ending(code, reason)
        return self._outbox.close(code, reason)

    def fail(self, code: int, reason: str) -> bool:
        """End the connection for the peer's fault: send a close frame, take nothing in any more."""
        ended = self._end(code, reason)
        self._outbox.close(code, reason)
        return ended

    def cut(self, code: int = 1006, reason: str = "") -> bool:
        """End the connection without a word; wakes whoever reads. True where it had not ended before."""
        ended = self._end(code, reason)
        self._outbox.cut()
        return ended

    def finish(self, timeout: float, most: float = math.inf) -> None:
        """Send what waits and read away what still comes until the peer's end: ``timeout`` seconds, ``most`` bytes.

        When both close frames are through, nothing more can come: then a server goes at once, and a client soon, as it
        is the server that should end the bytes first (RFC 6455, section 7.1.1).
        """
        if self._at_end:
            return
        self._unread = b""
        heard = isinstance(self._last_word, ClosePayload)
        flushed = self._outbox.flush()
        if flushed:
            self._outbox.end_writing()
        if not (flushed and heard and not self._client_side):
            self._wait_for_end(Deadline(timeout), most, flushed, heard)

    def _wait_for_end(self, deadline: Deadline, most: float, flushed: bool, heard: bool) -> None:
        if flushed and heard:
            deadline = deadline.sooner(Deadline(_LAST_WAIT))
        while most > 0 and not (self._at_end or deadline.passed()):
            readable, _ = self._wire.poll(True, not flushed, deadline.remaining())
            if readable:
                data = self._wire.read_now(_READ_AWAY)
                self._at_end = data == b""
                most -= len(data or b"")
            if not flushed and self._outbox.flush():
                flushed = True
                self._outbox.end_writing()
                if heard:
                    deadline = deadline.sooner(Deadline(_LAST_WAIT if self._client_side else 0))

    def dispose(self) -> None:
        """Give the socket back. Idempotent."""
        self._outbox.dispose()
        self.given_back = True

    def _take_pong(self, data: bytes) -> bool:
        """Deal with what has come, if it is a pong and nothing else, while the holder of the reading role sleeps."""
        payload = self._decoder.read_pong(data)
        if payload is None:
            return False
        self.last_received = clock.monotonic()
        self._note_pong(payload)
        return True

    def _note_pong(self, payload: bytes) -> None:
        """Tell the ping that is answered, and those before it: a peer need answer the last only. The reader's.

        It takes no lock, as the read gate holds its own; each step on ``_pings`` is one of the dict's.
        """
        pings, now = self._pings, clock.monotonic()
        if pings is None or payload not in pings:
            return
        for answered in list(pings):
            ping = pings.pop(answered, None)
            if ping is not None:
                self.latency = ping.seconds = max(0.0, now - ping.at)
                ping.event.set()
            if answered == payload:
                break

    def _adapt_read_size(self, received: int) -> None:
        """Read more at a time while there is more, and less again when there is not."""
        if received == self._read_size:
            self._read_size = min(self._read_size * 4, _LARGEST_READ)
        elif received * 4 < self._read_size:
            self._read_size //= 4

    def _hear_control(self, messages: list[Message]) -> list[Message]:
        """Deal with what are no messages; return the rest."""
        self._unread = self._decoder.take_rest()
        kept = []
        for message in messages:
            if message.opcode < CLOSE:
                kept.append(message)
                continue
            assert isinstance(message.payload, bytes)
            if message.opcode == CLOSE:
                self._last_word = parse_close(message.payload)
            elif message.opcode == PING:
                self._outbox.pong(message.payload)
            else:
                self._note_pong(message.payload)
        if self._decoder.failure is not None and self._last_word is None:
            self._last_word = self._decoder.failure
        if self._last_word is not None and not kept:
            self._hear_last_word(self._last_word)
        return kept

    def _hear_last_word(self, word: "ClosePayload | Violation") -> None:
        """Answer the peer's close frame, or its violation, when what came before it has been handed out."""
        if isinstance(word, Violation):
            with self.sending:
                if self._failure is None and self._ending is None:
                    self._failure = word
            self.fail(word.code, word.reason)
        else:
            with self.sending:
                goodbye = self._goodbye
            if goodbye is not None and goodbye.code == word.code and not word.reason:
                self._end(*goodbye)  # the peer has said it back, and a reason is not said back
            else:
                self._end(*word)
            self._outbox.close(word.code, "")
        self.over = True

    def _end(self, code: int, reason: str) -> bool:
        with self.sending:
            if self._ending is not None:
                return False
            self._ending = Ending(code, reason)
            return True


def _compression(deflate: "Deflate | None", client_side: bool) -> "tuple[Inflater | None, Deflater | None]":
    if deflate is None:
        return None, None
    from .deflate import Deflater, Inflater

    if client_side:
        return Inflater(deflate.server_afresh), Deflater(deflate.client_bits, deflate.client_afresh)
    return Inflater(deflate.client_afresh), Deflater(deflate.server_bits, deflate.server_afresh)
