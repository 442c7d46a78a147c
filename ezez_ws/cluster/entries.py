"""What goes through the log: publications as values, and as bytes.

Pure. A publication is ``[1, producer, seq, kind, *fields]``, encoded by our own codec. The arguments of an event are
the bytes that go to the clients: no node decodes or encodes them again. The room ``*`` is everybody.

    event   target, name, args        target: [rooms, but_rooms, but_clients]
    do      target, what, [arg, ...]
    beat    or, where it asks for lists: 1
    bye
    in      room, address, info
    out     room, address
    list    room, address, info, room, address, info, ...

An event or a command that is appended once more, as the log is another one, bears a 1 behind these. Other fields there,
but for those of a list, are a later version's: they are skipped, as are kinds that are not known.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from ..errors import MalformedMessage
from ..messages.codec import Codec
from ..messages.json_text import UNMETERED
from ..messages.protocol import check_close, check_event_name
from ..messages.recovery import EVERYONE
from ..messages.speedups import compiled

__all__ = [
    "AGAIN",
    "PLAIN",
    "Beat",
    "Bye",
    "Command",
    "Entry",
    "In",
    "Listing",
    "Out",
    "Said",
    "Target",
    "Unknown",
    "What",
    "check_room",
    "decode_batch",
    "decode_entry",
    "encode_batch",
    "encode_entry",
    "encode_head",
    "encode_what",
    "read_batch",
]

FORMAT = 1
PLAIN = Codec()
"""By which everything in the log is encoded, whatever codec the program talks to its clients with."""

_NAME = re.compile(r"[0-9A-Za-z_.:-]{1,64}", re.ASCII)  # of a producer
_LONGEST_ROOM = 255  # bytes
_LONGEST_ADDRESS = 255
_LONGEST_REASON = 200  # characters of why bytes are refused


def check_room(room: Any) -> str:
    """Check the name of a room: 1 to 255 bytes of UTF-8, and not ``*``."""
    if not isinstance(room, str):
        raise TypeError(f"a room must be a str, not {type(room).__name__}")
    try:
        size = len(room.encode())
    except UnicodeEncodeError:
        raise ValueError(f"room {room!r:.80} has a lone surrogate, which UTF-8 cannot carry") from None
    if not 1 <= size <= _LONGEST_ROOM:
        raise ValueError(f"room {room!r:.80} has {size} bytes of UTF-8; a room has 1 to {_LONGEST_ROOM}")
    if room == EVERYONE:
        raise ValueError("'*' is no room: use everyone")
    return str.__str__(room)


class Target(NamedTuple):
    """Who is meant: who is in one of ``rooms``, but neither in one of ``but_rooms`` nor one of ``but_clients``."""

    rooms: tuple[str, ...]
    but_rooms: tuple[str, ...] = ()
    but_clients: tuple[str, ...] = ()
    """Addresses, or the sessions of clients that can recover."""


class Said(NamedTuple):
    """An event for a target; ``args`` are encoded."""

    target: Target
    event: str
    args: bytes


class Command(NamedTuple):
    """Something to be done to each client of a target, on its node: ``"disconnect"``, ``"join"`` or ``"leave"``."""

    target: Target
    what: str
    args: tuple[Any, ...]
    """A code and a reason, or rooms."""


class Beat(NamedTuple):
    """A node lives."""

    asks: bool = False
    """Whether all nodes shall put their lists, as this one may have missed some change."""


class Bye(NamedTuple):
    """A node ends."""


class In(NamedTuple):
    """A client is listed in a room, or listed anew."""

    room: str
    address: str
    info: Any
    """What the plain codec can carry."""


class Out(NamedTuple):
    """A client is not listed in a room any more."""

    room: str
    address: str


class Listing(NamedTuple):
    """All whom a node lists: what it said before is void."""

    members: tuple[In, ...]


class Unknown(NamedTuple):
    """A kind that this version does not know."""

    kind: str


What = Said | Command | Beat | Bye | In | Out | Listing | Unknown


class Entry(NamedTuple):
    """A publication, and who has numbered it."""

    producer: str
    seq: int
    what: What
    again: bool = False
    """It was in an earlier log, which may have been read."""


AGAIN = PLAIN.encode([1])
"""Makes, behind an event or a command, one that is appended again: a publication is a row of fields."""


def encode_entry(entry: Entry) -> bytes:
    """Return the bytes of a publication.

    ``SerializationError``: something in it cannot travel. An ``Unknown`` is only its kind.
    """
    producer, seq, what, again = entry
    if isinstance(what, Said) and not again:
        return PLAIN.encode((FORMAT, producer, seq, "event", list(what.target), what.event, what.args))
    return encode_head(producer, seq) + encode_what(what) + (AGAIN if again else b"")


def encode_head(producer: str, seq: int) -> bytes:
    """Return who has numbered a publication, and how: the first part of its bytes, as a message is a row of fields."""
    return PLAIN.encode([FORMAT, producer, seq])


def encode_what(what: What) -> bytes:
    """Return the second part. ``SerializationError``: something in it cannot travel."""
    if isinstance(what, Said):
        # a list: the C extension takes no named tuples
        return PLAIN.encode(("event", list(what.target), what.event, what.args))
    kind, fields = _fields_of(what)
    return PLAIN.encode([kind, *fields])


def _fields_of(what: Command | Beat | Bye | In | Out | Listing | Unknown) -> tuple[str, Sequence[Any]]:
    if isinstance(what, Command):
        return "do", (list(what.target), what.what, what.args)
    if isinstance(what, Beat):
        return "beat", (1,) if what.asks else ()
    if isinstance(what, Bye):
        return "bye", ()
    if isinstance(what, In):
        return "in", what
    if isinstance(what, Out):
        return "out", what
    if isinstance(what, Listing):
        return "list", [value for one in what.members for value in one]
    return what.kind, ()


def decode_entry(data: bytes) -> Entry | None:
    """Return a publication; ``None``: it has another format, of a version that is not ours.

    ``MalformedMessage``: it is none. What is checked here needs no check any more, and is as short as it may be.
    """
    first, *head = PLAIN.decode(data)
    if type(first) is not int:
        raise MalformedMessage("no publication: it does not begin with the number of a format")
    if first != FORMAT:
        return None
    try:
        producer, seq, kind, *fields = head
        if not (isinstance(producer, str) and _NAME.fullmatch(producer)):
            raise ValueError("the name of its producer is none")
        if type(seq) is not int or seq < 1:
            raise ValueError("it has no number")
        if not isinstance(kind, str):
            raise ValueError("it has no kind")
        read = _KINDS.get(kind)
        return Entry(producer, seq, Unknown(kind) if read is None else read(*fields), fields[3:4] == [1])
    except (TypeError, ValueError) as error:  # too few fields are a TypeError, too
        raise MalformedMessage(f"no publication: {error}"[:_LONGEST_REASON]) from None


def encode_batch(publications: Sequence[bytes]) -> bytes:
    """Return the bytes of an entry of the log, which holds publications; there must be one."""
    return PLAIN.encode(publications)


def decode_batch(data: bytes) -> list[bytes]:
    """Return the publications of an entry of the log. ``MalformedMessage``: it is not one of ours."""
    publications = PLAIN.decode(data)
    if not set(map(type, publications)) <= {bytes}:
        raise MalformedMessage("an entry of the log that does not hold publications")
    return publications


def read_batch(data: bytes) -> "Sequence[Entry | bytes]":
    """Return the publications of an entry of the log: as they are, or, of one that is plain, what it says."""
    if _read_at_once is not None:
        publications: list[Entry | bytes] = _read_at_once(data)
        if publications is not NotImplemented:
            return publications
    return decode_batch(data)


_read_at_once = None if compiled is None else partial(compiled.read_batch, UNMETERED, Entry, Said, Target)


# -- one kind each, from the fields behind it; a TypeError or ValueError says what is wrong ----------------------------


def _target(value: Any) -> Target:
    rooms, but_rooms, but_clients, *_ = value
    return Target(_texts(rooms), _texts(but_rooms), _texts(but_clients))


def _texts(value: Any) -> tuple[str, ...]:
    if type(value) is list:
        for one in value:
            if type(one) is not str:
                break
        else:
            return tuple(value)
    raise ValueError("a target is no lists of texts")


def _said(target: Any, event: Any, args: Any, *_: Any) -> Said:
    if type(args) is not bytes:
        raise ValueError("the arguments of an event are no bytes")
    return Said(_target(target), check_event_name(event), args)


def _command(target: Any, what: Any, args: Any, *_: Any) -> Command | Unknown:
    if type(args) is not list:
        raise ValueError("the arguments of a command are no list")
    if what == "disconnect":
        code, reason = args[:2]
        check_close(code, reason)
        return Command(_target(target), what, (code, reason))
    if what in ("join", "leave"):
        return Command(_target(target), what, tuple(map(check_room, args)))
    return Unknown("do")


def _beat(asks: Any = 0, *_: Any) -> Beat:
    return Beat(asks == 1)


def _bye(*_: Any) -> Bye:
    return Bye()


def _in(room: Any, address: Any, info: Any, *_: Any) -> In:
    return In(check_room(room), _address(address), info)


def _out(room: Any, address: Any, *_: Any) -> Out:
    return Out(check_room(room), _address(address))


def _address(value: Any) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= _LONGEST_ADDRESS:
        raise ValueError("an address is none")
    return value


def _listing(*fields: Any) -> Listing:
    if len(fields) % 3:
        raise ValueError("a list that ends too early")
    return Listing(tuple(map(_in, fields[::3], fields[1::3], fields[2::3])))


_KINDS: dict[str, Callable[..., What]] = {
    "event": _said,
    "do": _command,
    "beat": _beat,
    "bye": _bye,
    "in": _in,
    "out": _out,
    "list": _listing,
}
