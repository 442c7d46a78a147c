"""WebSocket frames (RFC 6455, section 5), pure: bytes in, messages out, and back.

``FrameDecoder.feed`` returns every message and control frame that its data complete. A frame that has arrived whole is
cut out in one step; one that arrives in pieces is unmasked and counted piece by piece, so that its size is refused from
its header on, and its text as soon as it is no UTF-8. Of one that is larger than is kept there is its start.
"""

import codecs
import os
from typing import TYPE_CHECKING, NamedTuple

from ..messages.speedups import compiled
from ..wire.linux import keep_freed_memory

if TYPE_CHECKING:
    from .deflate import Inflater

__all__ = [
    "BINARY",
    "CLOSE",
    "CONTINUATION",
    "FIN",
    "PING",
    "PONG",
    "RSV1",
    "TEXT",
    "ClosePayload",
    "FrameDecoder",
    "Masks",
    "Message",
    "Prepared",
    "Start",
    "Violation",
    "apply_mask",
    "assemble",
    "encode_close",
    "encode_frame",
    "parse_close",
]

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

RSV1 = 0x40  # the bit of a compressed message (RFC 7692, section 6)
FIN = 0x80  # the bit of a message's last frame
_RSV, _MASKED = 0x70, 0x80
_LARGE = 65536  # bytes of a message that has arrived in pieces
_INFLATED_AT_ONCE = 65536  # bytes after which the frames behind stay compressed for now
_START = 32  # bytes


# -- masking (section 5.3) ------------------------------------------------------------------------------------------

_AT_ONCE = 8192  # bytes: integers beyond the processor's first cache are slower


class Masks:
    """Masking keys from the system's random source (RFC 6455, section 10.3), many at a time. Its owner locks."""

    def __init__(self) -> None:
        self._pool = b""
        self._used = 0

    def next(self) -> bytes:
        """Return a key of four bytes that nobody could foresee."""
        if self._used >= len(self._pool):
            self._pool, self._used = os.urandom(1024), 0
        self._used += 4
        return self._pool[self._used - 4 : self._used]


def _apply_mask(payload: bytes, mask: bytes, offset: int = 0) -> bytes:
    """Mask or unmask a piece that starts ``offset`` bytes into its frame."""
    if offset % 4:
        mask = mask[offset % 4 :] + mask[: offset % 4]
    size = len(payload)
    if size <= _AT_ONCE:
        key = int.from_bytes((mask * (size // 4 + 1))[:size], "little")
        return (int.from_bytes(payload, "little") ^ key).to_bytes(size, "little")
    key = int.from_bytes(mask * (_AT_ONCE // 4), "little")
    pieces = []
    for start in range(0, size - size % _AT_ONCE, _AT_ONCE):
        piece = int.from_bytes(payload[start : start + _AT_ONCE], "little")
        pieces.append((piece ^ key).to_bytes(_AT_ONCE, "little"))
    rest = payload[size - size % _AT_ONCE :]
    return b"".join([*pieces, _apply_mask(rest, mask)])


apply_mask = _apply_mask if compiled is None else compiled.apply_mask


# -- messages -------------------------------------------------------------------------------------------------------


class Start(bytes):
    """The first bytes of a binary message that was too large to be kept."""

    __slots__ = ()


class Message(NamedTuple):
    """A whole message (``TEXT`` as ``str``, ``BINARY``; of a large one perhaps the ``Start``) or a control frame."""

    opcode: int
    payload: bytes | str


class Violation(Exception):
    """The peer broke RFC 6455; ``code`` is what the connection is closed with, ``reason`` says why."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class ClosePayload(NamedTuple):
    """What a close frame says; the code is 1005 where it says nothing."""

    code: int
    reason: str


def encode_frame(opcode: int, payload: bytes, mask: bytes | None = None, fin: bool = True, rsv: int = 0) -> bytes:
    """Make a frame; ``mask`` is a client's key, ``None`` on a server."""
    return assemble((FIN if fin else 0) | rsv | opcode, payload, mask)


def _assemble(first: int, payload: bytes, mask: bytes | None) -> bytes:
    """Make a frame that begins with the byte ``first``."""
    size = len(payload)
    masked = 0 if mask is None else _MASKED
    if size < 126:
        head = bytes((first, masked | size))
    elif size < 65536:
        head = bytes((first, masked | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, masked | 127)) + size.to_bytes(8, "big")
    if mask is None:
        return head + payload
    return head + mask + apply_mask(payload, mask)


def _take_frames(data: bytes, masked: int, max_payload: int, kind: type[Message], messages: list[Message]) -> int:
    """Take whole binary messages of less than 64 KiB, as far as there are such; return how many bytes that was."""
    position, end = 0, len(data)
    while end - position > 6 and data[position] == FIN | BINARY:
        size, start = data[position + 1] ^ masked, position + 2
        if size >= 126:
            size = data[start] << 8 | data[start + 1] if size == 126 else 0
            start += 2
            if size < 126:
                break
        mask = data[start : start + 4]
        if masked:
            start += 4
        if size > max_payload or start + size > end:
            break
        position = start + size
        payload = apply_mask(data[start:position], mask) if masked else data[start:position]
        messages.append(tuple.__new__(kind, (BINARY, payload)))  # a third of the time of a call of the class
    return position


assemble = _assemble if compiled is None else compiled.assemble
take_frames = _take_frames if compiled is None else compiled.take_frames


class Prepared:
    """A binary message for many connections, and the frame that those get which neither mask nor compress."""

    __slots__ = ("frame", "payload")

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.frame = encode_frame(BINARY, payload)


def encode_close(code: int, reason: str) -> bytes:
    """Make a close frame's payload; nothing for 1005, which is never sent. A long reason is cut at 123 bytes."""
    if code == 1005:
        return b""
    text = reason.encode("utf-8", "replace")[:123]
    return code.to_bytes(2, "big") + text.decode("utf-8", "ignore").encode()


def parse_close(payload: bytes) -> ClosePayload:
    """Read a close frame's payload (RFC 6455, sections 5.5.1 and 7.4)."""
    if not payload:
        return ClosePayload(1005, "")
    if len(payload) < 2:
        raise Violation(1002, "a close frame of one byte")
    code = int.from_bytes(payload[:2], "big")
    if not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
        raise Violation(1002, f"close code {code} must not be sent")
    try:
        return ClosePayload(code, payload[2:].decode("utf-8"))
    except UnicodeDecodeError:
        raise Violation(1007, "the reason of a close frame is no UTF-8") from None


class FrameDecoder:
    """Turns the bytes of one direction of a connection into messages. Not locked: one thread feeds it at a time.

    A server's peer must mask (RFC 6455, section 5.1). A message over ``max_payload`` bytes is a violation; one that is
    larger than is to be kept is read away: there is the ``Start`` of a binary one, and nothing of a text. A message
    that has RSV1 set (RFC 7692) is a violation without an ``inflater``. After a violation ``failure`` says which, and
    what follows is ignored, as it is after a close frame.

    ``feed`` inflates 64 KiB, and on to the end of a frame; what is left of its data is ``take_rest``, to be fed next.
    """

    def __init__(self, masked: bool, max_payload: int, inflater: "Inflater | None" = None) -> None:
        self._max_payload = self._max_kept = max_payload
        self._inflater = inflater
        self._inflated = 0
        self._rest = b""
        self.failure: Violation | None = None
        self._masked = _MASKED if masked else 0
        self._closed = False
        self._idle = True  # nothing is half received, and nothing has ended
        self.usual = True  # the last data were whole binary messages and nothing else
        self._head = b""  # the start of a frame's head that is not complete, less than 14 bytes
        # the frame that is arriving; its payload goes to _control or _message as it comes
        self._in_frame = False
        self._opcode = 0
        self._fin = False
        self._mask = b""
        self._size = 0
        self._received = 0
        self._control = bytearray()
        # the message that is arriving: its opcode, 0 for none; _utf8 checks a text while it comes
        self._message_opcode = 0
        self._compressed = False
        self._message = bytearray()
        self._message_size = 0
        self._read_away = False  # only the start is kept
        self._utf8 = codecs.getincrementaldecoder("utf-8")()

    @property
    def idle(self) -> bool:
        """Whether nothing is half received."""
        return not (self._head or self._in_frame or self._message_opcode)

    def feed(self, data: bytes) -> list[Message]:
        """Take bytes and return what they complete, in order; on a violation what came before it."""
        messages: list[Message] = []
        if self._idle:
            taken = take_frames(data, self._masked, self._max_kept, Message, messages)
            self.usual = taken == len(data)
            if self.usual:
                return messages
            data = data[taken:]
        self.usual = False
        if self.failure is not None or self._closed:
            return messages
        if self._head:
            data = self._head + data
            self._head = b""
        self._inflated = 0
        try:
            self._parse(data, messages)
        except Violation as violation:
            self.failure = violation
            self._message = bytearray()
        self._idle = self.idle and self.failure is None and not self._closed
        return messages

    def keep(self, size: int) -> None:
        """From the next bytes on, keep messages of up to ``size`` bytes only."""
        self._max_kept = min(size, self._max_payload)

    def take_rest(self) -> bytes:
        """Return what of the last data was not taken, once, because enough had been inflated."""
        rest, self._rest = self._rest, b""
        return rest

    def read_pong(self, data: bytes) -> bytes | None:
        """Return the payload where the data are one whole pong, between two messages; they are not taken."""
        head = 6 if self._masked else 2
        if not self._idle or len(data) < head or data[0] != FIN | PONG:
            return None
        if not data[1] ^ self._masked == len(data) - head <= 125:
            return None
        return apply_mask(data[head:], data[2:6]) if self._masked else data[head:]

    def _parse(self, data: bytes, messages: list[Message]) -> None:
        position, end = 0, len(data)
        while not self._closed:
            if not self._in_frame:
                if position >= end:
                    return
                if self._inflated >= _INFLATED_AT_ONCE:
                    self._rest = data[position:]
                    return
                position, whole = self._parse_head(data, position, end)
                if not self._in_frame:
                    self._head = data[position:]
                    return
                if whole:
                    piece = data[position : position + self._size]
                    position += self._size
                    messages.append(self._whole_message(apply_mask(piece, self._mask) if self._masked else piece))
                    continue
            piece = data[position : position + self._size - self._received]
            position += len(piece)
            self._take_piece(piece)
            if self._received < self._size:
                return
            self._end_frame(messages)

    def _parse_head(self, data: bytes, position: int, end: int) -> tuple[int, bool]:
        """Read a frame's head and enter the frame, where the head is complete.

        Returns where the payload starts, or still the head, and whether it is a whole message that is all there.
        """
        if end - position < 2:
            return position, False
        first, second = data[position], data[position + 1]
        opcode = first & 0x0F
        self._check_head(first, second, opcode)
        size = second & 0x7F
        start = position + 2
        if size >= 126:
            width = 2 if size == 126 else 8
            if end - start < width:
                return position, False
            size = int.from_bytes(data[start : start + width], "big")
            if size < 126 or (width == 8 and size < 65536) or size >= 1 << 63:
                raise Violation(1002, "a payload length that is not in its shortest form, or is too large")
            start += width
        compressed = bool(first & RSV1) or (opcode == CONTINUATION and self._compressed)
        if opcode < CLOSE and not compressed and self._message_size + size > self._max_payload:
            raise Violation(1009, f"a message over {self._max_payload} bytes")
        if self._masked:
            if end - start < 4:
                return position, False
            self._mask = data[start : start + 4]
            start += 4
        self._in_frame, self._fin, self._opcode = True, first >= FIN, opcode
        self._size, self._received = size, 0
        if opcode < CLOSE:
            self._compressed = compressed
        is_short = size <= min(end - start, self._max_kept)
        return start, first >= FIN and 0 < opcode < CLOSE and is_short and not compressed

    def _check_head(self, first: int, second: int, opcode: int) -> None:
        if first & _RSV and (first & _RSV != RSV1 or self._inflater is None or opcode not in (TEXT, BINARY)):
            raise Violation(1002, "a reserved bit is set")
        if second & _MASKED != self._masked:
            raise Violation(1002, "a frame is not masked" if self._masked else "a frame is masked")
        if opcode >= CLOSE:
            if opcode > PONG:
                raise Violation(1002, f"unknown opcode {opcode}")
            if first < FIN or second & 0x7F > 125:
                raise Violation(1002, "a control frame is fragmented or longer than 125 bytes")
        elif opcode > BINARY:
            raise Violation(1002, f"unknown opcode {opcode}")
        elif opcode == CONTINUATION:
            if not self._message_opcode:
                raise Violation(1002, "a continuation of nothing")
        elif self._message_opcode:
            raise Violation(1002, "a new message inside a fragmented one")

    def _whole_message(self, payload: bytes) -> Message:
        self._in_frame = False
        return Message(self._opcode, payload if self._opcode == BINARY else _text(payload))

    def _take_piece(self, piece: bytes) -> None:
        """Take a part of the payload of the frame that is arriving."""
        if self._masked:
            piece = apply_mask(piece, self._mask, self._received)
        self._received += len(piece)
        if self._opcode >= CLOSE:
            self._control += piece
            return
        if self._opcode != CONTINUATION:
            self._message_opcode = self._opcode
        if self._compressed:
            assert self._inflater is not None
            for inflated in self._inflater.inflate(piece, self._fin and self._received == self._size):
                self._inflated += len(inflated)
                self._take_data(inflated)
        else:
            self._take_data(piece)

    def _take_data(self, data: bytes) -> None:
        """Take a part of the message that is arriving."""
        self._message_size += len(data)
        if self._message_size > self._max_payload:
            raise Violation(1009, f"a message over {self._max_payload} bytes")
        if self._message_opcode == TEXT:
            self._check_text(data)
        self._read_away = self._read_away or self._message_size > self._max_kept
        if self._read_away:
            self._message += data[:_START]
            del self._message[_START:]
        else:
            self._message += data

    def _check_text(self, data: bytes, final: bool = False) -> None:
        try:
            self._utf8.decode(data, final)
        except UnicodeDecodeError:
            raise Violation(1007, "a text message is no UTF-8") from None

    def _end_frame(self, messages: list[Message]) -> None:
        """Hand out what is complete with the end of this frame. Only a last or a control frame completes anything."""
        self._in_frame = False
        if self._opcode >= CLOSE:
            payload = bytes(self._control)
            self._control.clear()
            if self._opcode == CLOSE:
                parse_close(payload)
                self._closed = True
            messages.append(Message(self._opcode, payload))
        elif self._fin:
            opcode, message, read_away = self._message_opcode, self._message, self._read_away
            self._message_opcode, self._message = 0, bytearray()
            self._message_size, self._read_away = 0, False
            if opcode == TEXT:
                self._check_text(b"", final=True)
            if len(message) >= _LARGE:
                keep_freed_memory()
            if opcode == BINARY:
                messages.append(Message(opcode, Start(message) if read_away else bytes(message)))
            elif not read_away:
                messages.append(Message(opcode, _text(message)))


def _text(payload: bytes | bytearray) -> str:
    try:
        return payload.decode("utf-8")
    except UnicodeDecodeError:
        raise Violation(1007, "a text message is no UTF-8") from None
