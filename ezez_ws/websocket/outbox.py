"""Sending that never tears a message and never waits: what the kernel does not take at once is kept, in order.

What waits is written by the flusher, or by a thread that waits for room or finishes the connection; control frames
first, each between two frames. Nothing here blocks; who waits for room, and who is cut, is decided above.
"""

import enum
from typing import TYPE_CHECKING

from ..threads.interrupted import make_lock
from ..threads.waiting import Event
from ..wire.flusher import flusher
from ..wire.sockets import Wire, WireError
from .frames import BINARY, CLOSE, FIN, PING, PONG, RSV1, Masks, Prepared, assemble, encode_close, encode_frame

if TYPE_CHECKING:
    from .deflate import Deflater

__all__ = ["FULL", "HELD", "REFUSED", "WAITING", "WRITTEN", "Outbox", "Put"]

_BATCH = 65536  # small frames that wait are written together up to this many bytes
_SMALL = 4096
_PINGS = 1024  # bytes of pings that wait
_HELD = 16384  # bytes that are held at most
_FLUSH_AT_ONCE = 1 << 20  # the flusher turns to the next peer after this many bytes

Buffer = bytes | bytearray | memoryview


class Put(enum.Enum):
    """What became of a message."""

    REFUSED = 0  # nothing of it was handed over and nothing will be: the connection is closing or gone
    WRITTEN = 1  # the kernel has it
    WAITING = 2  # it waits, or a part of it does; ``watch`` must be called once the lock is released
    FULL = 3  # nothing of it was handed over, as there is no room
    HELD = 4  # it waits for ``let_go``, which must be called once the lock is released


REFUSED, WRITTEN, WAITING, FULL, HELD = Put  # a look into the class takes several times as long


class Outbox:
    """What leaves one connection. Any thread may call.

    ``lock`` guards every field but ``retired``, and is held by callers over ``put``, so that ids rise in the order of
    sending; in TLS it is the wire's. Under it only the inbox's lock may be taken, and while that is done which a signal
    handler has left, those of the flusher and the janitor. It guards the life of the wire's descriptor, too: it is cut
    and closed under it. ``masked`` is true on a client (RFC 6455, section 5.1); ``limit`` are the bytes that may wait.
    ``deflater`` compresses the messages, while there is one.
    """

    def __init__(self, wire: Wire, masked: bool, limit: int) -> None:
        self.lock = make_lock() if wire.lock is None else wire.lock
        self._wire = wire
        self._masks = Masks() if masked else None
        self._limit = limit
        self.deflater: Deflater | None = None
        self._waiting: list[Buffer] = []  # a bytearray at its end still grows; a deque would take ten times the memory
        self.waiting_bytes = 0
        self._held = False  # all that waits was held for ``let_go``; the kernel has refused nothing of it
        self._torn = False  # the first that waits is the rest of a frame: nothing may come before it
        self._pong: bytes | None = None
        self._ping: bytes | None = None  # one, or several
        self.open = True  # messages are taken; false when a close frame is out or waits, and when the wire is cut
        self._broken = False  # nothing can leave any more, what waits included
        self._cut = False  # the wire is cut
        self._disposed = False  # the wire is closed
        self._known_to_flusher = False
        self.retired = False  # the flusher's: guarded by its lock
        self._room_events: list[Event] = []

    def has_room(self, size: int) -> bool:
        """Tell whether a message of ``size`` bytes may be put now. Requires holding the lock."""
        if self._held:
            self._flush()
        return not self._waiting or self.waiting_bytes + size <= self._limit

    def put(self, payload: bytes, opcode: int = BINARY, needs_room: bool = True) -> Put:
        """Send a message. Requires holding the lock."""
        if not self.open:
            return REFUSED
        if self._waiting and needs_room and not self.has_room(len(payload)):
            return FULL
        if self.deflater is None:
            mask = None if self._masks is None else self._masks.next()
            return self._put_frame(assemble(FIN | opcode, payload, mask))
        try:
            compressed = self.deflater.compress(payload)
        except BaseException:
            self._abandon()  # what was compressed, the peer will miss
            raise
        return self._put_frame(self._frame(opcode, compressed or payload, RSV1 if compressed else 0))

    def put_prepared(self, message: Prepared, holds: bool = False) -> Put:
        """Send a message that others get, too. Requires holding the lock.

        ``holds``: more will follow soon, with which it may leave: a small one is kept until something else is sent, or
        ``let_go`` is called.
        """
        if self._masks is not None or self.deflater is not None:
            return self.put(message.payload)
        if not self.open:
            return REFUSED
        if holds and self._hold(message.frame):
            return HELD
        if self._waiting and not self.has_room(len(message.payload)):
            return FULL
        return self._put_frame(message.frame)

    def _hold(self, frame: bytes) -> bool:
        """Keep a frame for ``let_go``, if it is small, and behind nothing else. Requires holding the lock."""
        size = len(frame)
        if size > _SMALL or self.waiting_bytes + size > min(self._limit, _HELD):
            return False
        if not self._waiting and self._pong is None and self._ping is None:
            self._held = self._known_to_flusher = True
            self._waiting.append(bytearray(frame))
        elif self._held and self._waiting and isinstance(self._waiting[-1], bytearray):
            self._waiting[-1] += frame
        else:
            return False
        self.waiting_bytes += size
        return True

    def let_go(self) -> None:
        """Write what was held. Requires not holding the lock."""
        if not self.flush():
            self.watch()

    def send(self, payload: bytes, opcode: int = BINARY) -> Put:
        """Send a message that needs no id and no room: one of the protocol's own, or a raw one of the user's."""
        with self.lock:
            outcome = self.put(payload, opcode, needs_room=False)
        if outcome is WAITING:
            self.watch()
        return outcome

    def pong(self, payload: bytes) -> None:
        """Answer a ping; only the last of those that wait is answered (RFC 6455, section 5.5.3)."""
        with self.lock:
            if not self.open:
                return
            self._pong = self._frame(PONG, payload)
            waiting = self._write_control()
        if waiting:
            self.watch()

    def ping(self, payload: bytes) -> None:
        """Send a ping, unless many still wait."""
        with self.lock:
            if not self.open or (self._ping is not None and len(self._ping) > _PINGS):
                return
            self._ping = (self._ping or b"") + self._frame(PING, payload)
            waiting = self._write_control()
        if waiting:
            self.watch()

    def close(self, code: int, reason: str) -> bool:
        """Send a close frame behind all that waits; false where one was sent before, or none can be."""
        with self.lock:
            if not self.open:
                return False
            outcome = self._put_frame(self._frame(CLOSE, encode_close(code, reason)))
            self.open = False
            waiting = self._take_waiting()
        for event in waiting:
            event.set()
        if outcome is WAITING:
            self.watch()
        return True

    def cut(self) -> None:
        """Drop what waits and end both directions of the wire; whoever reads is woken. Idempotent."""
        with self.lock:
            self._abandon()
            waiting = self._take_waiting()
        for event in waiting:
            event.set()

    def end_writing(self) -> None:
        """Tell the peer that nothing follows. To be called when ``flush`` has said that nothing waits."""
        with self.lock:
            if not self._disposed:
                self._wire.end_writing()

    def readable(self) -> bool:
        """Tell whether there is something to read, for who has not the reading role."""
        with self.lock:
            return not self._disposed and self._wire.poll(True, False, 0)[0]

    def hung_up(self) -> bool:
        """Tell whether both directions are dead, for who has not the reading role."""
        with self.lock:
            return not self._disposed and self._wire.hung_up()

    def flush(self) -> bool:
        """Write what waits, as far as it goes; true where nothing waits any more. The flusher's, and a reader's."""
        with self.lock:
            idle = not (self._waiting or self._pong or self._ping or self._wire.unflushed)
            done = idle or self._flush()
            waiting = self._take_waiting()
        for event in waiting:
            event.set()
        return done

    def watch(self) -> None:
        """Let the flusher go on. Requires not holding the lock."""
        try:
            flusher.watch(self)
        except (RuntimeError, OSError):  # no thread or no descriptor can be had: what waits would wait for ever
            self.cut()

    def dispose(self) -> None:
        """Give the wire back, for who has the reading role for good. Idempotent."""
        self.cut()
        with self.lock:
            if self._disposed:
                return
            known_to_flusher = self._known_to_flusher
        if known_to_flusher:
            flusher.forget(self)
        self._wire.retire()
        with self.lock:
            self._wire.close()
            self._disposed = True

    def call_for_room(self, event: Event) -> None:
        """Set ``event`` when there may be room, or nothing is taken any more."""
        with self.lock:
            if self._waiting and self.open:
                if event not in self._room_events:
                    self._room_events.append(event)
                return
        event.set()

    def fileno(self) -> int:
        """Return the descriptor that the flusher polls."""
        return self._wire.fileno()

    def _take_waiting(self) -> list[Event]:
        """Return the events of those who wait for room, to be set without the lock. Requires holding it."""
        waiting, self._room_events = self._room_events, []
        return waiting

    def _frame(self, opcode: int, payload: bytes, rsv: int = 0) -> bytes:
        return encode_frame(opcode, payload, None if self._masks is None else self._masks.next(), True, rsv)

    def _put_frame(self, frame: bytes) -> Put:
        """Write a frame, or what goes of it. Requires holding the lock."""
        try:
            written = 0
            if not self._waiting and self._pong is None and self._ping is None:
                written = self._wire.write_now(frame)
                if written == len(frame):
                    return self._note_waiting() if self._wire.buffered and self._wire.unflushed else WRITTEN
                self._torn = written > 0
            elif self._held:
                self._flush()
                return self._put_frame(frame)
            self._append(frame, written)
            return self._note_waiting()
        except WireError:
            self._abandon()  # who reads finds what has still arrived, and then the end
            return REFUSED
        except BaseException:
            self._abandon()
            raise

    def _note_waiting(self) -> Put:
        """Note that the flusher is needed. Requires holding the lock."""
        self._known_to_flusher = True
        return WAITING

    def _append(self, frame: bytes, written: int) -> None:
        """Keep what is left of a frame. Small ones share a buffer: each for itself would cost more than its bytes."""
        size = len(frame) - written
        last = self._waiting[-1] if self._waiting else None
        if isinstance(last, bytearray) and len(last) + size <= _BATCH:
            last += memoryview(frame)[written:]
        elif size < _SMALL and not written:
            self._waiting.append(bytearray(memoryview(frame)[written:]))
        else:
            self._waiting.append(memoryview(frame)[written:])
        self.waiting_bytes += size

    def _write(self, data: Buffer) -> int:
        """Hand bytes to the kernel. Requires holding the lock."""
        try:
            return self._wire.write_now(data)
        except WireError:
            self._abandon()  # who reads finds what has still arrived, and then the end
            return 0

    def _abandon(self) -> None:
        """End the connection: nothing more can leave, or nobody knows how much has. Requires holding the lock."""
        if not self._cut:
            self.open = False
            self._broken = True
            self._waiting.clear()
            self.waiting_bytes = 0
            self._pong = self._ping = None
            self._wire.cut()
            self._cut = True  # last: an exception may come out before

    def _write_control(self) -> bool:
        """Write a control frame now, unless others wait before it; true where it waits. Requires holding the lock."""
        if (self._waiting and not self._held) or not self._flush():
            self._known_to_flusher = True
            return True
        return False

    def _flush(self) -> bool:
        """Requires holding the lock."""
        self._held = False
        try:
            budget = _FLUSH_AT_ONCE
            while budget > 0 and not self._broken:
                if not self._torn and not self._flush_control():
                    return False
                if not self._waiting:
                    if self._wire.unflushed:
                        self._write(b"")
                    return self._broken or not self._wire.unflushed
                batch = self._next_batch()
                written = self._write(batch)
                budget -= written
                if not self._broken and written < len(batch):
                    self._keep(memoryview(batch)[written:])
                    self._torn = self._torn or written > 0
                    return False
                self._torn = False
            return self._broken
        except BaseException:
            self._abandon()
            raise

    def _flush_control(self) -> bool:
        """Write the control frames between two others; false where they did not go. Requires holding the lock."""
        frames = (self._pong or b"") + (self._ping or b"")
        if not frames:
            return True
        written = self._write(frames)
        if written == 0:
            return self._broken
        self._pong = self._ping = None
        if written < len(frames):
            self._keep(memoryview(frames)[written:])
            self._torn = True
        return not self._torn

    def _next_batch(self) -> Buffer:
        """Take the rest of a torn frame, or as many frames as are well written together."""
        parts = [self._take_first()]
        size = len(parts[0])
        while not self._torn and self._waiting and size + len(self._waiting[0]) <= _BATCH:
            parts.append(self._take_first())
            size += len(parts[-1])
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _take_first(self) -> Buffer:
        first = self._waiting.pop(0)
        self.waiting_bytes -= len(first)
        return bytes(first) if type(first) is bytearray else first

    def _keep(self, rest: memoryview) -> None:
        self._waiting.insert(0, rest)
        self.waiting_bytes += len(rest)
