"""Fuzzes the codec, and the shapes of messages behind it.

An input is a byte of options, and a message; by the options a message is repeated, so that it becomes a large one.
"""

from typing import Any

from ezez_ws.errors import MalformedMessage
from ezez_ws.messages.codec import Codec, peek_reply_to
from ezez_ws.messages.protocol import parse_event, parse_from_client, parse_from_server
from ezez_ws.messages.scalars import BigInt

__all__ = ["one_input"]


class _Date:
    def __init__(self, text: str) -> None:
        self.text = text


def _write_date(value: Any) -> str | None:
    return value.text if isinstance(value, _Date) else None


def _fail(text: str) -> Any:
    raise LookupError(text)


_SERIALIZERS = {"date": _write_date}
_DESERIALIZERS = {"date": _Date, "bad": _fail}
_CODECS = (
    Codec(),
    Codec(_SERIALIZERS, _DESERIALIZERS),
    Codec(max_depth=3, max_bigint_digits=5),
    Codec(_SERIALIZERS, _DESERIALIZERS, sort_props=False, max_depth=200),
)


def one_input(data: bytes) -> None:
    """Whatever comes is decoded or refused; what is decoded can be encoded, and decodes to the same.

    With the C extension it is decoded and encoded to what it would be without.
    """
    if not data:
        return
    codec = _CODECS[data[0] & 3]
    message = data[1:] * (64 if data[0] >> 4 == 15 else 1)
    peeked = peek_reply_to(message)
    try:
        values = codec._decoder.decode(message)
    except MalformedMessage as error:
        assert len(str(error)) < 1000, "the error's text is as long as the message"
        assert _refusal(codec, message) == str(error), "it is refused otherwise"
        return
    assert values
    assert _alike_to_the_letter(codec.decode(message), values), "it is decoded otherwise"
    assert codec.encode(values) == codec._encoder.encode(values), "it is encoded otherwise"
    _check_round_trip(codec, values)
    _check_shapes(codec, values, peeked)


def _refusal(codec: Codec, message: bytes) -> str:
    try:
        return f"decoded to {codec.decode(message)!r}"
    except MalformedMessage as error:
        return str(error)


def _alike_to_the_letter(one: Any, other: Any) -> bool:
    """Whether two values are of the same types, too, and have their keys in the same order."""
    if isinstance(one, _Date) and isinstance(other, _Date):
        return one.text == other.text
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_alike_to_the_letter, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(_alike_to_the_letter(one[key], other[key]) for key in one)
    return type(one) is type(other) and repr(one) == repr(other)


def _check_round_trip(codec: Codec, values: list[Any]) -> None:
    encoded = codec.encode(values)
    try:
        again = codec.decode(encoded)
    except MalformedMessage as error:
        # without its blanks and escapes it may need too much memory for its size
        assert "times its size in memory" in str(error), error
        return
    assert _alike(values, again), "what was encoded is decoded to something else"
    assert codec.encode(again) == encoded, "encoding is not stable"


def _check_shapes(codec: Codec, values: list[Any], peeked: int | None) -> None:
    for parse in (parse_from_client, parse_from_server):
        try:
            parse(list(values))
        except MalformedMessage:
            pass
    try:
        name, (event_id, reply_to), args = parse_event(list(values))
    except MalformedMessage:
        return
    assert peeked in (None, reply_to), "who reads and the listeners see different replies"
    message = codec.encode([name, event_id, reply_to, *args])
    assert peek_reply_to(message) == reply_to
    assert codec._encode_event(name, event_id, reply_to, codec.encode(args)) == message


def _alike(one: Any, other: Any) -> bool:
    """Whether two values are equal; in JavaScript 1 and 1.0 are."""
    if isinstance(one, _Date):
        return isinstance(other, _Date) and one.text == other.text
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(_alike(one[k], other[k]) for k in one)
    if type(one) in (int, float):
        return type(other) in (int, float) and bool(one == other or (one != one and other != other))
    return type(one) is type(other) and bool(one == other) and isinstance(one, BigInt) == isinstance(other, BigInt)
