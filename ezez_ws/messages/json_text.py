"""The JSON text of a ``j`` payload to containers and strings, by the standard library's scanner.

How deep a text nests and what it takes in memory is found out before any scanner sees it, in linear time and without
recursion: the insides of the strings are cut out, and what is left is counted. That is right as far as the text is
valid JSON, and no scanner goes further than that. JavaScript's strings may have lone surrogates, UTF-8 may not.
"""

import json
import re
from collections.abc import Iterable
from itertools import accumulate
from json.encoder import encode_basestring as quote
from typing import Any, NoReturn

from ..errors import SerializationError
from .refusals import Bad
from .scalars import number

__all__ = ["UNMETERED", "Meter", "as_plain_json", "has_surrogate", "parse_json", "place_of_surrogate", "weigh"]


def _refuse_constant(text: str) -> NoReturn:
    raise Bad(f"invalid JSON: a bare {text}")


_JSON = json.JSONDecoder(parse_int=number, parse_constant=_refuse_constant)
_BLANKS = " \t\n\r"
# An escape of a lone surrogate, for which U+FFFD is read, is the group; a backslash and a pair are to be passed over.
_SURROGATES = re.compile(r"\\\\|\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})")


def as_plain_json(value: Any) -> str:
    """Return a value as the JSON text of other programs, without any type of ours; ``SerializationError``."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise SerializationError(f"the value is no JSON: {error}") from error
    return text


def parse_json(payload: bytes) -> Any:
    """Return what the C scanner of ``json`` makes of a text; its strings are not looked at."""
    text = payload.decode()
    if b"\\ud" in payload or b"\\uD" in payload:
        text = _SURROGATES.sub(lambda found: "\\ufffd" if found[1] else found[0], text)
    text = text.strip(_BLANKS)
    try:
        value, end = _JSON.raw_decode(text)
    except json.JSONDecodeError as error:
        raise Bad(f"invalid JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:  # the caller's own stack is nearly full
        raise Bad("nested too deep for the rest of the stack") from None
    if end != len(text):
        raise Bad(f"invalid JSON: more after its end at character {end}")
    return value


UNMETERED = 16_384  # bytes of a message whose memory nobody minds
_MEMORY_FACTOR = 30  # times the message's size; with the copy of the payload it stays under the contract's 32
_DENSE = 12  # a text with more containers than one in so many bytes is counted, of any other
_ORDINARY_COST = 28  # times its size is the most that it takes

_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = [1 if byte in b"[{" else -1 if byte in b"]}" else 0 for byte in range(256)]

# Bytes of what a scanner makes, in CPython 3.11 and later. Older ones need 232 for a dict of one item, and so exceed
# the factor in the worst case; the figures are the same there, so that no message is refused on one Python only.
_EMPTY_LIST, _LIST, _EMPTY_DICT, _DICT, _STRING, _SLOT = 56, 88, 64, 184, 56, 10


class Meter:
    """How much memory the rest of one message may still take: in CPython ``[[[[…]]]]`` takes 40 times its text."""

    __slots__ = ("left",)

    def __init__(self, size: int) -> None:
        self.left = size * _MEMORY_FACTOR

    def spend(self, cost: int) -> None:
        self.left -= cost
        if self.left < 0:
            raise Bad(f"the message needs more than {_MEMORY_FACTOR} times its size in memory")


def weigh(payload: bytes, max_depth: int, meter: Meter | None) -> None:
    """Refuse a JSON text that nests deeper than ``max_depth`` or that takes more memory than the meter has left."""
    brackets = payload.count(b"[") + payload.count(b"{")
    dense = meter is not None and brackets * _DENSE > len(payload)
    if brackets > max_depth or dense:
        outline = _outline(payload)
        steps = map(_STEPS.__getitem__, outline.translate(None, _NOT_BRACKETS))
        if max(accumulate(steps), default=0) > max_depth:
            raise Bad(f"nested deeper than max_depth={max_depth}")
    if meter is not None:
        meter.spend(_cost(payload, outline) if dense else len(payload) * _ORDINARY_COST)


def _outline(payload: bytes) -> bytes:
    """Return the text without blanks, and with a quote for each string."""
    if b"\\" in payload:
        payload = payload.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b'"'.join(payload.split(b'"')[::2]).translate(None, b" \t\r\n")


def _cost(payload: bytes, outline: bytes) -> int:
    """Return about how many bytes a scanner takes for a payload: its text and its values, keys not counted."""
    empty_lists, empty_dicts = outline.count(b"[]"), outline.count(b"{}")
    return (
        len(payload) * (1 if payload.isascii() else 4)
        + empty_lists * _EMPTY_LIST
        + empty_dicts * _EMPTY_DICT
        + (outline.count(b"[") - empty_lists) * _LIST
        + (outline.count(b"{") - empty_dicts) * _DICT
        + (outline.count(b'"') - outline.count(b":")) * _STRING
        + outline.count(b",") * _SLOT
    )


def has_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def place_of_surrogate(value: Any, room: int) -> str:
    """Return the steps to the first text with a lone surrogate in a value that has passed all other checks."""
    if isinstance(value, (list, tuple)) and room:
        pairs: Iterable[tuple[Any, Any]] = enumerate(value)
    elif isinstance(value, dict) and room:
        pairs = value.items()
    else:
        return ""
    for key, item in pairs:
        if isinstance(key, str) and has_surrogate(key):
            return f"[{key!r}] (the key)"
        step = f"[{key}]" if isinstance(key, int) else f"[{quote(key)}]"
        if isinstance(item, str) and has_surrogate(item):
            return step
        inner = place_of_surrogate(item, room - 1)
        if inner:
            return step + inner
    return ""
