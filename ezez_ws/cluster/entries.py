"""What goes through the log: publications as values, and as bytes.

Pure. A publication is ``[1, producer, seq, kind, *fields]``, encoded by our own codec. The arguments of an event are
the bytes that go to the clients: no node decodes or encodes them again. The room ``*`` is everybody.
"""

from typing import Any, NamedTuple

__all__ = [
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
]

FORMAT = 1


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


class Bye(NamedTuple):
    """A node ends."""


class In(NamedTuple):
    """A client is listed in a room, or listed anew."""

    room: str
    address: str
    info: Any


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
