"""Values as JSON text, and back, with nothing lost on the way.

JSON has no bytes, no bigint, no undefined and no NaN. Each is written as an object with one key:

    {"$bytes": "aGk="}    {"$bigint": "12"}    {"$undefined": true}    {"$number": "NaN"}

An object that itself has one key, and that key starts with ``$``, gets one more ``$`` when it is written and loses it
when it is read. So every value that can travel is written in one way, and read as what it was.
"""

import base64
import json
import math
from collections.abc import Callable
from typing import Any, NoReturn

from ..logs import shown
from ..messages.protocol import Ids
from ..messages.refusals import Bad
from ..messages.scalars import MAX_BIGINT_DIGITS, UNDEFINED, BigInt, bigint, digits_of, format_number, number

__all__ = ["UsageError", "read_argument", "read_words", "write_arguments", "write_event", "write_json"]


class UsageError(Exception):
    """What the user has given is wrong; the text says what, and what would be right."""


_MARK = "$"
_OPENING = ("{", "[", '"')


def write_json(value: Any) -> str:
    """Return one line of JSON, without characters that a terminal might obey."""
    text = json.dumps(_plain(value), ensure_ascii=False, allow_nan=False)
    if text.isprintable():
        return text
    # what is not printable can only stand inside the strings
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)


def write_event(event: str, args: list[Any], ids: Ids, **more: Any) -> str:
    """Return an event, and what else there is to it, as one line of JSON."""
    return write_json({"event": event, "args": args, "id": ids.event_id, "reply_to": ids.reply_to, **more})


def write_arguments(event: str, args: list[Any]) -> str:
    """Return an event as ``read_words`` reads it; a name of letters stays without quotes."""
    try:
        is_word = event.isprintable() and not event.startswith("/") and read_words(event) == [event]
    except UsageError:
        is_word = False
    return " ".join([event if is_word else write_json(event), *map(write_json, args)])


def _plain(value: Any) -> Any:
    """Replace what JSON does not have."""
    if isinstance(value, dict):
        mark = _MARK if len(value) == 1 and next(iter(value)).startswith(_MARK) else ""
        return {mark + key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, BigInt):
        return {"$bigint": digits_of(value)}
    if value is UNDEFINED:
        return {"$undefined": True}
    if isinstance(value, float) and not math.isfinite(value):
        return {"$number": format_number(value)}
    return value


def read_argument(text: str) -> Any:
    """Return an argument: JSON where it is JSON, the text else.

    ``UsageError``: it begins like JSON and is none, or is JSON such as ``{"$bytes": 5}``.
    """
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        where = f"{error.msg} at column {error.pos + 1}"
    except RecursionError:
        where = "it is nested too deeply"
    if text.lstrip()[:1] in _OPENING:
        raise UsageError(f"{shown(text, 60)} is no JSON ({where}){_hint(text.lstrip())}")
    return text


def read_words(line: str) -> list[Any]:
    """Take a line apart into values: JSON, with blanks in it where JSON has them, or words without blanks."""
    values, at = [], 0
    while rest := line[at:].lstrip():
        value, at = _read_word(line, len(line) - len(rest))
        values.append(value)
    return values


def _read_word(line: str, start: int) -> tuple[Any, int]:
    try:
        value, end = _DECODER.raw_decode(line, start)
        if end == len(line) or line[end].isspace():
            return value, end
    except (json.JSONDecodeError, RecursionError):
        pass
    word = line[start:].split(None, 1)[0]
    if word[0] in _OPENING:
        raise UsageError(f"no JSON from column {start + 1} on{_hint(word)}")
    return word, start + len(word)


def _hint(text: str) -> str:
    return f"; a text that begins with {text[0]} is written in quotes: {json.dumps(text[0] + '...')}"


def _revive(found: dict[str, Any]) -> Any:
    """Turn an object with one key that starts with ``$`` back into what it was written for."""
    if len(found) != 1:
        return found
    ((key, value),) = found.items()
    if key.startswith(_MARK * 2):
        return {key[1:]: value}
    reader = _READERS.get(key)
    if reader is None:
        return found
    try:
        return reader(value)
    except (Bad, ValueError, TypeError, AttributeError):
        hint = f'an object with this one key is written {{"${key}": ...}}'
        raise UsageError(f"{json.dumps(found)[:60]} cannot be read; {hint}") from None


def _read_undefined(flag: Any) -> Any:
    if flag is not True:
        raise ValueError
    return UNDEFINED


_READERS: dict[str, Callable[[Any], Any]] = {
    "$bytes": lambda text: base64.b64decode(text.encode(), validate=True),
    "$bigint": bigint,
    "$number": number,
    "$undefined": _read_undefined,
}


def _read_integer(digits: str) -> int:
    try:
        return int(bigint(digits))
    except Bad:
        raise UsageError(f"an integer of more than {MAX_BIGINT_DIGITS} digits cannot be sent") from None


def _refuse_constant(name: str) -> NoReturn:
    """``NaN`` and ``Infinity``, which Python's reader takes, are no JSON: they are texts."""
    raise json.JSONDecodeError(f"{name} is a number that JSON does not have", name, 0)


_DECODER = json.JSONDecoder(object_hook=_revive, parse_int=_read_integer, parse_constant=_refuse_constant)
