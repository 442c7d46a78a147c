"""Fuzzes the C extension beside the Python that it stands for. C may only decline, and Python says why.

An input is a byte of options and what they say: a message, the bytes of values (``values.py``), or frames. Whatever C
returns, other than ``NotImplemented``, has to be what Python returns; where Python refuses, C has to decline. Without
the extension there is nothing to compare.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any
from unittest import mock

from ezez_ws.cluster.entries import Entry, Said, Target, decode_entry, encode_batch, encode_entry, read_batch
from ezez_ws.errors import MalformedMessage, SerializationError
from ezez_ws.messages import codec as codec_module
from ezez_ws.messages import decoding as decoding_module
from ezez_ws.messages.codec import Codec
from ezez_ws.messages.decoding import _peek_reply_to
from ezez_ws.messages.encoding import encode_event
from ezez_ws.messages.fields import cut
from ezez_ws.messages.json_text import UNMETERED
from ezez_ws.messages.protocol import Event, Ids, check_event_name, parse_event
from ezez_ws.messages.refusals import Bad
from ezez_ws.messages.speedups import compiled
from ezez_ws.options import check_args
from ezez_ws.websocket import frames as frames_module
from ezez_ws.websocket.frames import Message, _apply_mask, _assemble, _take_frames
from tests.fuzz.values import Source

__all__ = ["one_input"]

_REFUSALS = (MalformedMessage, SerializationError, Bad, TypeError, ValueError)  # UnicodeError is a ValueError
_CODECS = (
    Codec(),
    Codec(max_depth=3, max_bigint_digits=5),
    Codec(sort_props=False),
    Codec(sort_props=False, max_depth=1),
)
_LIMITS = (0, 125, 1000, 70_000, 1 << 20, 1 << 70)
_MASK = b"\x37\xfa\x21\x3d"


def one_input(data: bytes) -> None:
    """C does what Python does, or declines."""
    if compiled is None or not data:
        return
    options, rest = data[0], data[1:]
    codec = _CODECS[options >> 2 & 3]
    with _python_only():
        if options & 3 == 3:
            _check_frames(options, rest)
        elif options & 3 == 2:
            _check_encoding(codec, Source(rest))
        else:
            for message in (rest, _repaired(rest)):
                _check_decoding(codec, message * (64 if options >> 4 == 15 else 1))


def _python_only() -> ExitStack:
    """Let the Python do without C, as long as the returned stack is open."""
    stack = ExitStack()
    stack.enter_context(mock.patch.object(codec_module, "compiled", None))
    stack.enter_context(mock.patch.object(decoding_module, "compiled", None))
    stack.enter_context(mock.patch.object(frames_module, "apply_mask", _apply_mask))
    return stack


def _same(got: Any, expected: Callable[[], Any], what: str) -> Any:
    """Compare what C has returned with what Python does, and return the latter; ``NotImplemented`` where it refuses."""
    try:
        wanted = expected()
    except _REFUSALS as refusal:
        assert got is NotImplemented, f"{what}: C gives {got!r}, Python refuses: {refusal}"
        return NotImplemented
    if got is not NotImplemented:
        assert _exactly(got) == _exactly(wanted), f"{what}: C gives {got!r}, Python {wanted!r}"
    return wanted


def _exactly(value: Any) -> Any:
    """What tells all values apart: 1 from 1.0 and True, 0.0 from -0.0, and one order of keys from another."""
    if isinstance(value, (list, tuple)):
        return [type(value), *map(_exactly, value)]
    if isinstance(value, dict):
        return [dict, *((type(key), key, _exactly(item)) for key, item in value.items())]
    return type(value), repr(value)


# -- messages ----------------------------------------------------------------------------------------------------------


def _check_decoding(codec: Codec, message: bytes) -> None:
    depth, digits = codec._max_depth, codec._max_bigint_digits
    _same(compiled.peek_reply_to(message), lambda: _peek_reply_to(message), "peek_reply_to")
    for payload in _json_payloads(message):
        _same(
            compiled.scan_json(payload, depth, digits), partial(codec._decoder.decode_json, payload, None), "scan_json"
        )
    got = compiled.decode(message, depth, digits, UNMETERED)
    values = _same(got, lambda: codec._decoder.decode(message), "decode")
    event = compiled.decode_event(depth, digits, UNMETERED, Event, Ids, message)
    if type(event) is Event:
        _same(event, lambda: parse_event(list(values)), "decode_event")
    else:
        _same(event, lambda: codec._decoder.decode(message), "decode_event")
    _check_publication(message)
    if values is not NotImplemented:
        name, event_id, reply_to = [*values, None, None, None][:3]
        _check_message(codec, name, event_id, reply_to, values[3:])
        _check_values(codec, values)


def _check_publication(message: bytes) -> None:
    before = encode_entry(Entry("p", 1, Said(Target(("a",)), "hi", b"")))
    for found in read_batch(encode_batch([before, message, before]))[1:2]:
        if isinstance(found, Entry):
            _same(found, lambda: decode_entry(message), "read_batch")
        else:
            assert found == message, f"read_batch: {found!r} of {message!r}"


def _repaired(message: bytes) -> bytes:
    """Return the message with the lengths that its fields have: few changes of a message leave these right."""
    halves = iter(message.split(b"\0"))
    pairs = (
        (head[-1:] if head[-1:] in (b"f", b"t") else b"j", payload)
        for head, payload in zip(halves, halves, strict=False)
    )
    return b"".join(b"%d%b\0%b\0" % (len(payload), mark, payload) for mark, payload in pairs)


def _json_payloads(message: bytes) -> Iterator[bytes]:
    """Yield the payloads of the fields marked ``j``, up to the first field that is none."""
    position = 0
    while position < len(message):
        try:
            mark, payload, position = cut(message, position)
        except Bad:
            return
        if mark == "j":
            yield payload


def _check_encoding(codec: Codec, source: Source) -> None:
    name, event_id, reply_to = source.name(), source.id(), source.id()
    values = source.values()
    shapes: Any = (values, tuple(values), values[0] if values else None)
    args = shapes[source.byte() % 3] if source else values
    _check_message(codec, name, event_id, reply_to, args)
    _check_values(codec, args)


def _check_values(codec: Codec, values: Any) -> None:
    got = compiled.encode(values, codec._sort_props, codec._max_depth)
    _same(got, lambda: codec.encode(values), "encode")


def _check_message(codec: Codec, name: Any, event_id: Any, reply_to: Any, args: Any) -> None:
    def in_steps() -> bytes:
        body = codec._encoder.encode(check_args(args))
        return encode_event(check_event_name(name), event_id, reply_to, body)

    got = compiled.encode_at_once(codec._sort_props, codec._max_depth, name, event_id, reply_to, args)
    _same(got, in_steps, "encode_at_once")
    body = repr(args).encode("utf-8", "replace")
    got = compiled.encode_event(name, event_id, reply_to, body)
    if got is not NotImplemented:  # else it may be of a type that Codec._encode_event is never given
        _same(got, lambda: encode_event(name, event_id, reply_to, body), "encode_event")


# -- frames and masks: here C declines nothing ------------------------------------------------------------------------


def _check_frames(options: int, stream: bytes) -> None:
    limit, masked = _LIMITS[(options >> 3) % len(_LIMITS)], 0x80 if options & 4 else 0
    got: list[Message] = []
    expected: list[Message] = []
    count = compiled.take_frames(stream, masked, limit, Message, got)
    _same(count, lambda: _take_frames(stream, masked, limit, Message, expected), "take_frames")
    _same(got, lambda: expected, "take_frames")
    mask = (stream[:4] or _MASK).ljust(4, b"\0")
    _same(compiled.apply_mask(stream, mask, options), lambda: _apply_mask(stream, mask, options), "apply_mask")
    for payload in (stream, stream * (70_000 // len(stream)) if stream and options >> 5 == 7 else b""):
        for key in (None, mask):
            _same(compiled.assemble(options, payload, key), partial(_assemble, options, payload, key), "assemble")
