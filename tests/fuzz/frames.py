"""Fuzzes ``FrameDecoder``: both roles, with and without decompression.

An input is a byte of options, a byte that says how to cut, and what the peer sends.
"""

from typing import NamedTuple

from ezez_ws.websocket.deflate import Inflater
from ezez_ws.websocket.frames import (
    BINARY,
    CLOSE,
    PONG,
    TEXT,
    FrameDecoder,
    Message,
    encode_close,
    encode_frame,
    parse_close,
)
from tests.fuzz.cutting import cut_up

__all__ = ["one_input"]

_LIMITS = (125, 1000, 70_000, 1 << 20)
_MASK = b"\x37\xfa\x21\x3d"


class _Outcome(NamedTuple):
    messages: list[Message]
    failure: int | None
    idle: bool | None


def one_input(data: bytes) -> None:
    """Whatever comes is decoded or refused, and the same however it is cut."""
    if len(data) < 2:
        return
    options, seed, stream = data[0], data[1], data[2:]
    limit = _LIMITS[options >> 3 & 3]
    whole = _feed(options, limit, [stream])
    _check_outcome(whole, limit)
    _check_same(options, whole, _feed(options, limit, cut_up(stream, seed)))
    _check_round_trip(whole.messages)


def _decoder(options: int, limit: int) -> FrameDecoder:
    inflater = Inflater(afresh=bool(options & 4)) if options & 2 else None
    return FrameDecoder(masked=bool(options & 1), max_payload=limit, inflater=inflater)


def _feed(options: int, limit: int, pieces: list[bytes]) -> _Outcome:
    decoder = _decoder(options, limit)
    messages: list[Message] = []
    for piece in pieces:
        ended = decoder.failure is not None or any(message.opcode == CLOSE for message in messages)
        got = decoder.feed(piece)
        while rest := decoder.take_rest():
            got += decoder.feed(rest)
        assert not (ended and got), "something came after the end"
        messages += got
    if decoder.failure is None:
        return _Outcome(messages, None, decoder.idle)
    return _Outcome(messages, decoder.failure.code, None)


def _check_outcome(outcome: _Outcome, limit: int) -> None:
    assert outcome.failure in (None, 1002, 1007, 1009), outcome.failure
    for place, (opcode, payload) in enumerate(outcome.messages):
        if opcode == TEXT:
            assert isinstance(payload, str) and len(payload.encode()) <= limit
        else:
            assert isinstance(payload, bytes)
            assert opcode == BINARY or CLOSE <= opcode <= PONG, opcode
            assert len(payload) <= (limit if opcode == BINARY else 125)
        if opcode == CLOSE:
            assert place == len(outcome.messages) - 1, "something after a close frame"
            assert isinstance(payload, bytes)
            code, reason = parse_close(payload)
            assert encode_close(code, reason) == payload


def _check_same(options: int, whole: _Outcome, pieces: _Outcome) -> None:
    assert whole.messages == pieces.messages, "the pieces make other messages"
    assert whole.idle == pieces.idle, "the pieces leave another state"
    if options & 2:  # of several faults in one compressed message, that is told which is found first
        assert (whole.failure is None) == (pieces.failure is None), (whole.failure, pieces.failure)
    else:
        assert whole.failure == pieces.failure, (whole.failure, pieces.failure)


def _check_round_trip(messages: list[Message]) -> None:
    for mask in (None, _MASK):
        decoder = FrameDecoder(masked=mask is not None, max_payload=1 << 20)
        stream = b"".join(encode_frame(opcode, payload, mask) for opcode, payload in map(_as_bytes, messages))
        assert decoder.feed(stream) == messages, "what was encoded is decoded to something else"
        assert decoder.failure is None


def _as_bytes(message: Message) -> tuple[int, bytes]:
    payload = message.payload
    return message.opcode, payload.encode() if isinstance(payload, str) else payload
