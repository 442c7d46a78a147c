"""``ezez-ws decode``: say what a captured message is."""

import argparse
import re
import sys
from typing import Any

from ..errors import MalformedMessage
from ..messages.codec import Codec
from ..messages.protocol import AUTH, AUTH_OK, AUTH_REJECTED, AuthRequest, Event, parse_from_client, parse_from_server
from ..messages.recovery import AT, JOINED, LEFT, MISSED, PUBLISHED, At, Joined, Left, Missed, Published, parse_recovery
from .outcome import UsageError
from .output import write_line
from .values import write_event, write_json

__all__ = ["add_arguments", "run"]

_BETWEEN = re.compile(r"0[xX]|\\x|[\s:,]+")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "hex", nargs="*", metavar="HEX", help="the bytes; blanks, colons and 0x are fine (default: standard input)"
    )


def run(options: argparse.Namespace) -> None:
    values = Codec().decode(_read_hex(" ".join(options.hex) if options.hex else _read_input()))
    try:
        write_line(_describe(list(values)))
    except MalformedMessage:  # each value is right, the whole is no message: let it be seen, and fail
        write_line(write_json({"values": values}))
        raise


def _read_input() -> str:
    if sys.stdin is None:
        raise UsageError("there are no bytes, and no standard input to read them from")
    try:
        return sys.stdin.read()
    except UnicodeDecodeError:
        raise UsageError("no bytes in hex: standard input is no text; xxd -p makes hex of what is captured") from None


def _read_hex(text: str) -> bytes:
    digits = _BETWEEN.sub("", text)
    try:
        return bytes.fromhex(digits)
    except ValueError:
        odd = len(digits) % 2 and re.fullmatch("[0-9a-fA-F]*", digits)
        raise UsageError(f"no bytes in hex: {'the last digit is alone' if odd else repr(text.strip()[:60])}") from None


def _describe(values: list[Any]) -> str:
    """Return the JSON of an event, as ``listen`` prints it, or of one of the protocol's own messages."""
    if values and values[0] in (PUBLISHED, JOINED, LEFT, AT, MISSED):
        return _describe_recovery(parse_recovery(values))
    is_answer = values and values[0] in (AUTH_OK, AUTH_REJECTED)
    message = parse_from_server(values) if is_answer else parse_from_client(values)
    if isinstance(message, Event):
        return write_event(message.name, message.args, message.ids)
    if isinstance(message, AuthRequest):
        return write_json({AUTH: message.key, "version": message.version, **_more(message.more)})
    return write_json({AUTH_OK: True, **_more(message.more)} if message.accepted else {AUTH_REJECTED: message.reason})


def _describe_recovery(message: Published | Joined | Left | At | Missed) -> str:
    """Return the JSON of what only a client that recovers is told; see ``messages/recovery.py``."""
    if isinstance(message, Published):
        return write_event(message.event.name, message.event.args, message.event.ids, position=str(message.position))
    if isinstance(message, Joined):
        rooms = [entered._asdict() for entered in message.rooms]
        return write_json({JOINED: rooms, "position": str(message.position), "replayed": message.replayed})
    if isinstance(message, Left):
        return write_json({LEFT: message.rooms})
    return write_json({AT if isinstance(message, At) else MISSED: str(message.position)})


def _more(value: Any) -> dict[str, Any]:
    """What an authentication has for who can recover."""
    return {} if value is None else {"more": value}
