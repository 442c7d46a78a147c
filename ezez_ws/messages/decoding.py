"""Message bytes to values.

A JSON text is weighed (see ``json_text.py``) and handed to the C scanner of ``json``; then the tagged strings are
replaced in place, with a list of containers still to do instead of recursion.
"""

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import MalformedMessage
from ..threads.interrupted import calls_user_code
from .fields import HEADS, NO_HEAD, cut
from .json_text import UNMETERED, Meter, parse_json, weigh
from .refusals import Bad, describe, shorten
from .scalars import MAX_BIGINT_DIGITS, UNDEFINED, bigint, number
from .speedups import compiled

__all__ = ["Decoder", "Deserializer", "peek_reply_to"]

Deserializer = Callable[[str], Any]

_SHORT = 512  # bytes at a message's start, and so many fields, that are cut in one go
_SHORT_FIELDS = 8
_KNOWN: dict[str, Any] = {"l:": None, "u:": UNDEFINED, "b:1": True, "b:": False}
_CONSTANTS = {f'"{text}"'.encode(): value for text, value in _KNOWN.items()}
_KNOWN.update({f"n:{value}": value for value in range(1000)})


class Decoder:
    """Decodes what the C extension does not, and says what is malformed; the options are those of ``Codec``."""

    __slots__ = ("_max_bigint_digits", "_max_depth", "deserializers")

    def __init__(self, deserializers: Mapping[str, Deserializer], max_depth: int, max_bigint_digits: int) -> None:
        self.deserializers = deserializers
        self._max_depth = max_depth
        self._max_bigint_digits = max_bigint_digits

    def decode(self, data: bytes) -> list[Any]:
        """Return the values of one message; see ``Codec.decode``."""
        if type(data) is not bytes:
            data = bytes(data)
        size = len(data)
        if not size:
            raise MalformedMessage("an empty message")
        values: list[Any] = []
        append = values.append
        position = 0
        meter: Meter | None = None
        try:
            # The first fields in one go, as far as they are short and have no 0x00 in them.
            pieces = data[:_SHORT].split(b"\0", _SHORT_FIELDS * 2)
            if size > _SHORT:
                pieces.pop()  # which may be cut off
            halves = iter(pieces)
            for head, payload in zip(halves, halves, strict=False):
                mark, length = HEADS.get(head, NO_HEAD)
                if length != len(payload):
                    break
                if mark == "f":
                    append(payload.decode())
                elif mark == "t":
                    append(payload)
                elif payload in _CONSTANTS:
                    append(_CONSTANTS[payload])
                elif length < 20 and payload[:3] == b'"n:' and payload[-1:] == b'"' and payload[3:-1].isdigit():
                    append(int(payload[3:-1]))
                else:
                    append(self.decode_json(payload, None))
                position += len(head) + length + 2
            while position < size:
                mark, payload, end = cut(data, position)
                if mark == "f":
                    append(payload.decode())
                elif mark == "t":
                    append(payload)
                else:
                    if meter is None and size > UNMETERED:
                        meter = Meter(size)
                    append(self.decode_json(payload, meter))
                position = end
        except Bad as bad:
            raise MalformedMessage(f"field {len(values) + 1} at byte {position}: {bad}") from bad.cause
        except UnicodeDecodeError as error:
            place = f"field {len(values) + 1} at byte {position}"
            raise MalformedMessage(f"{place}: invalid UTF-8: {error.reason}") from None
        return values

    def decode_json(self, payload: bytes, meter: Meter | None) -> Any:
        """Return the value of a ``j`` payload; ``meter``: the message's, where C has not tried it."""
        if payload in _CONSTANTS:
            return _CONSTANTS[payload]
        weigh(payload, self._max_depth, meter)
        if compiled is not None and meter is not None:  # else it has been tried
            value = compiled.scan_json(payload, self._max_depth, self._max_bigint_digits)
            if value is not NotImplemented:
                return value
        value = parse_json(payload)
        if type(value) is str:
            return self._untag(value)
        if type(value) is dict or type(value) is list:
            self._untag_inside(value)
        return value

    def _untag_inside(self, root: Any) -> None:
        """Replace the tagged strings in a container, and in those in it, by their values."""
        todo = [root]
        while todo:
            box = todo.pop()
            for key, item in box.items() if type(box) is dict else enumerate(box):
                kind = type(item)
                if kind is str:
                    tag = item[:2]
                    if tag == "s:":
                        box[key] = item[2:]
                    elif item in _KNOWN:
                        box[key] = _KNOWN[item]
                    elif tag == "n:":
                        box[key] = number(item[2:])
                    else:
                        box[key] = self._untag(item)
                elif item and (kind is dict or kind is list):
                    todo.append(item)

    @calls_user_code
    def _untag(self, text: str) -> Any:
        tag, colon, rest = text.partition(":")
        if not colon:
            raise Bad(f"a string without a tag, {len(text)} long")  # it may be a key: this is logged
        if tag == "s":
            return rest
        if tag == "n":
            return number(rest)
        if tag == "b":
            return rest == "1"
        if tag == "i":
            return bigint(rest, self._max_bigint_digits)
        if text in _KNOWN:  # null and undefined
            return _KNOWN[text]
        deserializer = self.deserializers.get(tag)
        if deserializer is None:
            raise Bad(f"an unknown tag: {shorten(tag)}")
        try:
            return deserializer(rest)
        except (Exception, SystemExit) as error:
            raise Bad(f"the deserializer {shorten(tag)} failed: {describe(error)}", error) from error


_PLAIN = Decoder({}, 64, MAX_BIGINT_DIGITS)


def peek_reply_to(data: bytes) -> int | None:
    """Return the reply-to (an int of at least 1) of an event message, or None where it has none.

    Reads the third field only, of at most 64 bytes, and calls nobody's code. Bytes that are no message give None.
    """
    if compiled is not None:
        reply_to: int | None = compiled.peek_reply_to(data)
        if reply_to is not NotImplemented:
            return reply_to
    return _peek_reply_to(data)


def _peek_reply_to(data: bytes) -> int | None:
    end = 0
    try:
        for _ in range(3):
            mark, payload, end = cut(data, end)
        if mark != "j" or len(payload) > 64:
            return None
        value = _PLAIN.decode_json(payload, None)
    except (Bad, UnicodeDecodeError):
        return None
    return value if type(value) is int and value >= 1 else None
