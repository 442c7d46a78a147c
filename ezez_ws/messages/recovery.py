"""The protocol of recovery: positions in the log, and the messages that only peers who agreed on it exchange.

Pure: values in, values out. A client that wants recovery says so with its authentication, and a server that grants it
with its answer. Then the server sends, beside plain events:

    a publication   ["ezez-ws::event", event id, null, position, name, *args]
    an entrance     ["ezez-ws::joined", [[room, recovered, since, ticket], ...], position, n]
    an exit         ["ezez-ws::left", [room, ...]]
    a position      ["ezez-ws::at", position]
    a loss          ["ezez-ws::missed", position]

A position is ``<epoch>:<ms>-<n>.<index>``: three numbers, which are compared within one epoch.
"""

import re
from typing import Any, NamedTuple

from ..errors import MalformedMessage
from .protocol import RESERVED, Event, parse_event

__all__ = [
    "AT",
    "EVERYONE",
    "JOINED",
    "LEFT",
    "MISSED",
    "NOWHERE",
    "PUBLISHED",
    "REREAD",
    "At",
    "Entered",
    "Joined",
    "Left",
    "Missed",
    "Order",
    "Position",
    "Published",
    "parse_position",
    "parse_recovery",
]

EVERYONE = "*"
"""The room that all clients are in."""

PUBLISHED = RESERVED + "event"
JOINED = RESERVED + "joined"
LEFT = RESERVED + "left"
AT = RESERVED + "at"
MISSED = RESERVED + "missed"

_POSITION = re.compile(r"([0-9a-zA-Z_-]{1,64}):(\d{1,16})-(\d{1,16})\.(\d{1,9})", re.ASCII)


Order = tuple[int, int, int]
"""A position's numbers, which are compared within one epoch."""


class Position(NamedTuple):
    """A place in the log: after the publication that is the ``nth`` of the entry ``ms``-``n``."""

    epoch: str
    ms: int
    n: int
    nth: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.ms}-{self.n}.{self.nth}"

    @property
    def order(self) -> tuple[int, int, int]:
        """What is compared within one epoch."""
        return self[1:]


NOWHERE = Position("none", 0, 0, 0)
"""Before everything, in an epoch that no log has."""


REREAD = "-"
"""Behind the name of an epoch: of what is read again in a new one. No log is called so: none can be gone on from."""


def parse_position(text: Any) -> Position | None:
    """Read a position; ``None`` where it is none."""
    match = _POSITION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        return None
    return Position(match[1], int(match[2]), int(match[3]), int(match[4]))


class Published(NamedTuple):
    """An event that went through the log."""

    event: Event
    position: Position


class Entered(NamedTuple):
    """A room that the client is in now."""

    room: str
    recovered: bool | None
    since: str
    ticket: str


class Joined(NamedTuple):
    """The next ``replayed`` publications are what was missed in these rooms; then they stand at ``position``."""

    rooms: list[Entered]
    position: Position
    replayed: int


class Left(NamedTuple):
    rooms: list[str]


class At(NamedTuple):
    position: Position


class Missed(NamedTuple):
    position: Position


def parse_recovery(values: list[Any]) -> Published | Joined | Left | At | Missed:
    """Tell what a message of these kinds says; ``MalformedMessage`` where it is none of them."""
    name, *rest = values
    if name == PUBLISHED and len(rest) >= 4:
        return Published(parse_event([rest[3], *rest[:2], *rest[4:]]), _position(rest[2]))
    if name == JOINED and len(rest) >= 3 and isinstance(rest[0], list) and _is_count(rest[2]):
        return Joined([_entered(one) for one in rest[0]], _position(rest[1]), rest[2])
    if name == LEFT and rest and isinstance(rest[0], list) and all(isinstance(room, str) for room in rest[0]):
        return Left(rest[0])
    if name == AT and rest:
        return At(_position(rest[0]))
    if name == MISSED and rest:
        return Missed(_position(rest[0]))
    raise MalformedMessage(f"the message {str(name)[:64]!r} is not expected here, or has not its shape")


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def _position(text: Any) -> Position:
    position = parse_position(text)
    if position is None:
        raise MalformedMessage(f"{str(text)[:64]!r} is no position")
    return position


def _entered(value: Any) -> Entered:
    if isinstance(value, list) and len(value) >= 4:
        room, recovered, since, ticket = value[:4]
        if all(isinstance(text, str) for text in (room, since, ticket)) and recovered in (None, True, False):
            return Entered(room, recovered, since, ticket)
    raise MalformedMessage("an entrance has a room, whether it is recovered, since when, and a ticket")
