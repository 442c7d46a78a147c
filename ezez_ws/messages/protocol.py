"""The protocol of messages: its names, its version, its close codes, and the three kinds of message.

Pure: values in, values out. A message is a list of values (see ``codec.py``), which means:

    authentication      ["ezez-ws::auth", key, version]           client to server, first
    its answer          ["ezez-ws::auth-ok"] or ["ezez-ws::auth-rejected", reason]
    an event            [name, event id, reply-to or null, *args]  either way

Names that start with ``ezez-ws::`` belong to the protocol; ``ezez-ws:incoming:`` (one colon) names are made by a
client for itself and never travel.
"""

from typing import Any, NamedTuple

from ..errors import MalformedMessage, SerializationError
from .json_text import has_surrogate
from .scalars import UNDEFINED, BigInt, format_number

__all__ = [
    "AUTH",
    "AUTH_OK",
    "AUTH_PREFIX",
    "AUTH_REJECTED",
    "EVENT_ERROR",
    "EVENT_OK",
    "EVENT_UNKNOWN_DATA_TYPE",
    "EVENT_UNKNOWN_MESSAGE",
    "RESERVED",
    "VERSION",
    "AuthAnswer",
    "AuthRequest",
    "CloseCode",
    "Event",
    "Ids",
    "as_javascript_text",
    "check_close",
    "check_event_name",
    "check_listened_name",
    "parse_event",
    "parse_from_client",
    "parse_from_server",
]

VERSION = 1

RESERVED = "ezez-ws::"
LOCAL = "ezez-ws:incoming:"
_NOT_SENT = (RESERVED, LOCAL)
AUTH = RESERVED + "auth"
AUTH_OK = RESERVED + "auth-ok"
AUTH_REJECTED = RESERVED + "auth-rejected"
AUTH_PREFIX = f"{len(AUTH)}f\0{AUTH}\0".encode()  # how an authentication message starts on the wire

EVENT_UNKNOWN_MESSAGE = LOCAL + "unknown-message"
"""The event that a client makes of a text message, with ``unknown_messages="emit"`` or ``"emit_try_json"``."""

EVENT_UNKNOWN_DATA_TYPE = LOCAL + "unknown-data-type"
"""The event that a client makes of a malformed binary message, with ``unknown_data="emit"``."""

EVENT_OK = "ezez-ws:ok"
"""The event that answers a call: one argument, the value."""

EVENT_ERROR = "ezez-ws:error"
"""The event that answers a call that has failed: one argument, an object with ``code``, ``message`` and ``data``."""

_ANSWERS = (EVENT_OK, EVENT_ERROR)


class CloseCode:
    """The close codes that are used above the transport (RFC 6455, section 7.4.1)."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    ABNORMAL = 1006
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    INTERNAL_ERROR = 1011


class Ids(NamedTuple):
    """The ids of an incoming event: its own, and that of the event which it answers (``None``: no reply)."""

    event_id: int
    reply_to: int | None


class Event(NamedTuple):
    """An event as it came in."""

    name: str
    ids: Ids
    args: list[Any]


class AuthRequest(NamedTuple):
    """A client's authentication message; ``version`` is whatever the client gave, and ``more`` what is behind it."""

    key: str
    version: Any
    more: Any = None


class AuthAnswer(NamedTuple):
    """A server's answer to it; ``more`` is what is behind an auth-ok."""

    accepted: bool
    reason: str
    more: Any = None


def parse_event(values: list[Any]) -> Event:
    """Make an event of decoded values; ``MalformedMessage`` where they have another shape."""
    if len(values) < 3:
        raise MalformedMessage(f"an event has a name, an id and a reply-to, this message has {len(values)} values")
    name, event_id, reply_to, *args = values
    if type(name) is not str:
        raise MalformedMessage(f"the name of an event must be a string, not {type(name).__name__}")
    if name.startswith(RESERVED):
        raise MalformedMessage(f"the message {name[:64]!r} is not expected here")
    if type(event_id) is not int or event_id < 1:
        raise MalformedMessage("the id of an event must be an integer >= 1")
    if reply_to is not None and (type(reply_to) is not int or reply_to < 0):
        raise MalformedMessage("the reply-to of an event must be null or an integer >= 0")
    ids = tuple.__new__(Ids, (event_id, reply_to or None))  # a third of the time of ``Ids``, and so on
    return tuple.__new__(Event, (name, ids, args))


def parse_from_client(values: list[Any]) -> Event | AuthRequest:
    """Tell an authentication message from an event, on a server."""
    if not values or type(values[0]) is not str or values[0] != AUTH:
        return parse_event(values)
    if len(values) < 2 or type(values[1]) is not str:
        raise MalformedMessage("the key of an authentication message must be a string")
    return AuthRequest(values[1], values[2] if len(values) > 2 else UNDEFINED, values[3] if len(values) > 3 else None)


def parse_from_server(values: list[Any]) -> Event | AuthAnswer:
    """Tell an answer to the authentication from an event, on a client."""
    if not values or type(values[0]) is not str or values[0] not in (AUTH_OK, AUTH_REJECTED):
        return parse_event(values)
    if values[0] == AUTH_OK:
        return AuthAnswer(True, "", values[1] if len(values) > 1 else None)
    if len(values) < 2 or type(values[1]) is not str:
        raise MalformedMessage("the reason of a rejected authentication must be a string")
    return AuthAnswer(False, values[1])


def check_event_name(event: Any) -> str:
    """Check an event's name before it is sent."""
    if type(event) is str and event.isascii() and not event.startswith(_NOT_SENT):
        return event
    if not isinstance(event, str):
        raise TypeError(f"event must be a str, not {type(event).__name__}")
    if event.startswith(_NOT_SENT):
        raise ValueError(f"event {event!r}: names that start with {RESERVED!r} or {LOCAL!r} cannot be sent")
    if has_surrogate(event):
        raise SerializationError("event: a str with a lone surrogate cannot be sent")
    return event if type(event) is str else str.__str__(event)  # an enumeration's member formats itself otherwise


def check_listened_name(event: Any) -> str:
    """Check an event's name before it is listened to."""
    if not isinstance(event, str):
        raise TypeError(f"event must be a str, not {type(event).__name__}")
    if event.startswith(RESERVED):
        raise ValueError(f"event {event!r}: names that start with {RESERVED!r} belong to the protocol")
    if event in _ANSWERS:
        raise ValueError(f"event {event!r} is the answer to a call: call, submit, on_reply and on_message get it")
    return str.__str__(event)


def check_close(code: Any, reason: Any) -> None:
    """Check what is to be put into a close frame (RFC 6455, sections 5.5 and 7.4)."""
    if type(code) is not int or not (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999):
        raise ValueError(f"code {code!r} cannot be sent; use 1000-1003, 1007-1014 or 3000-4999")
    if not isinstance(reason, str):
        raise TypeError(f"reason must be a str, not {type(reason).__name__}")
    try:
        size = len(reason.encode())
    except UnicodeEncodeError:
        raise ValueError("reason has a lone surrogate, which UTF-8 cannot carry") from None
    if size > 123:
        raise ValueError(f"reason has {size} bytes of UTF-8; a close frame holds at most 123")


def as_javascript_text(value: Any) -> str:
    """Print a value as JavaScript's ``String(value)`` does, for the text of a version mismatch."""
    if value is None:
        return "null"
    if value is UNDEFINED:
        return "undefined"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return format_number(value)
    if isinstance(value, BigInt):
        return str(int(value)) if value.bit_length() < 2000 else "a bigint"
    if isinstance(value, (str, int)):
        return str(value)
    if isinstance(value, list):
        return ",".join("" if item is None or item is UNDEFINED else as_javascript_text(item) for item in value)
    return "[object Object]"
