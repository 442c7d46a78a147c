"""Rooms: who is in which, on one node. Not locked: the hub's order lock guards all of it."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..messages.recovery import EVERYONE, NOWHERE, Position
from .entries import Target, check_room
from .tickets import Presented, Stay, make_session
from .window import Order

if TYPE_CHECKING:
    from ..connection.server_side import ServerConnection

__all__ = ["Rooms", "Session", "check_room"]

_MOST_PAST = 256  # rooms that were left, and are remembered


_NOTHING: Mapping[str, Any] = {}  # one for all: most clients have nothing
_NO_STAYS: dict[str, Stay] = {}  # the same; who shows no tickets gets none later


class Session:
    """A client of this node that is authenticated: which rooms it is in, and, where it can recover, what it has read.

    ``rooms`` has since when it is in each. ``stays`` are its tickets: what it had read of rooms that it was in before,
    and has not entered since. They stay there when it enters, to tell what it has got by way of another room.
    ``read`` is how far it has read elsewhere, by epoch, as it says; ``formerly`` the session that it was there, where
    that is not proven: another epoch may have another secret.
    """

    # fmt: off
    __slots__ = (
        "address", "connection", "formerly", "id", "infos", "over", "past", "read", "recovers", "resumed", "rooms",
        "stays", "told",
    )
    # fmt: on

    def __init__(self, connection: "ServerConnection", address: str, presented: Presented | None) -> None:
        self.connection = connection
        self.address = address
        self.recovers = presented is not None
        self.resumed = presented is not None and bool(presented.stays)
        self.id = "" if presented is None else presented.session or make_session()
        self.formerly = "" if presented is None else presented.claimed
        self.read = _NOTHING if presented is None else presented.read
        self.rooms: dict[str, Position] = {}
        self.infos = _NOTHING  # of the rooms in which it is listed; never changed, only replaced
        self.over = False  # its connection has ended
        self.stays = _NO_STAYS if presented is None else dict(presented.stays)
        self.past: dict[str, Stay] | None = None  # of rooms that it has left, or whose ticket is used
        self.told = NOWHERE  # the last position that was sent by itself

    @property
    def names(self) -> frozenset[str]:
        """The rooms that users see."""
        return frozenset(self.rooms) - {EVERYONE}

    @property
    def known_as(self) -> tuple[str, str, str]:
        """The names by which it is excepted."""
        return self.address, self.id, self.formerly

    def has_got(self, room: str, order: Order, top: Position) -> bool:
        """Tell whether it was in a room when something was published there, and so has got that already."""
        since = self.rooms.get(room)
        if since is not None and since.epoch == top.epoch and since.order < order:
            return True
        for stays in (self.stays, self.past or {}):
            stay = stays.get(room)
            if stay is not None and stay.position.epoch == top.epoch and _is_within(order, stay):
                return True
        return False

    def is_barred(self, target: Target, order: Order, top: Position, read: Mapping[str, Order]) -> bool:
        """Tell whether a publication that it has missed was not for it.

        ``read``: how far it has read in the rooms that it comes back to. It was still in another one when it had read
        as far there; else it has been here since, and was not let in.
        """
        if target.but_clients and not set(self.known_as).isdisjoint(target.but_clients):
            return True
        for room in target.but_rooms:
            since, stay = self.rooms.get(room), self.stays.get(room)
            if since is None and stay is not None and stay.position.epoch == top.epoch:
                last_here = max(read[room] for room in target.rooms if room in read)
                since = stay.since if stay.position.order >= last_here else None
            if since is not None and since.epoch == top.epoch and since.order < order:
                return True
        return False

    def leave(self, room: str, until: Position) -> None:
        """Note that it has left a room, or that its ticket is void."""
        since, stay = self.rooms.pop(room, None), self.stays.pop(room, None)
        if self.recovers and (since or stay):
            self.remember(room, Stay(since, until) if since is not None else stay or Stay(until, until))

    def remember(self, room: str, stay: Stay) -> None:
        """Keep what it has got in a room, to tell what it has got by way of another one."""
        past = self.past = self.past or {}
        past.pop(room, None)
        past[room] = stay
        if len(past) > _MOST_PAST:
            del past[next(iter(past))]


def _is_within(order: Order, stay: Stay) -> bool:
    return order <= stay.position.order and (stay.since.epoch != stay.position.epoch or stay.since.order < order)


class Rooms:
    """Who is in which room, but for ``*``. A room exists while somebody is in it."""

    def __init__(self) -> None:
        self._by_room: dict[str, dict[Session, None]] = {}

    def enter(self, session: Session, room: str, since: Position) -> None:
        """Put a client into a room."""
        session.rooms[room] = since
        if room != EVERYONE:
            self._by_room.setdefault(room, {})[session] = None

    def leave(self, session: Session, room: str) -> None:
        """Take a client out of a room, if it is there; ``session.rooms`` is the caller's to change."""
        there = self._by_room.get(room)
        if there is not None and session in there:
            del there[session]
            if not there:
                del self._by_room[room]

    def find_reached(self, target: Target, all_clients: Iterable[Session]) -> Iterable[Session]:
        """Return whom of all clients a publication is for; to be used up before anything changes."""
        rooms, but_rooms, but_clients = target
        found: Iterable[Session]
        if EVERYONE in rooms:
            found = [one for one in all_clients if EVERYONE in one.rooms]
        elif len(rooms) == 1:
            found = self._by_room.get(rooms[0], ())
        else:
            found = dict.fromkeys(one for room in rooms for one in self._by_room.get(room, ()))
        if not but_rooms and not but_clients:
            return found
        barred = set(but_clients)
        return [
            one for one in found if barred.isdisjoint(one.known_as) and not any(room in one.rooms for room in but_rooms)
        ]
