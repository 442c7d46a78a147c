"""What a client that can recover remembers: in which rooms it was, and how far it has read.

No I/O. It outlives connections, of which the last to ``begin`` counts: then comes what its messages say.
Of each room it knows a position, since when it is in it, and the ticket that proves it. While it is in rooms, all of
them stand at the last position that has come; in a replay each at its own.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..errors import MalformedMessage
from ..messages.recovery import (
    EVERYONE,
    REREAD,
    At,
    Entered,
    Joined,
    Left,
    Missed,
    Order,
    Position,
    Published,
    parse_position,
)
from ..threads.interrupted import make_lock

__all__ = ["Memory"]

_MOST_ROOMS = 10_000  # so that a server cannot make it remember without end
_LONGEST_TEXT = 255  # bytes of a room's name, of a ticket, of a position
_MOST_EPOCHS = 16  # of which it knows how far it has read
_FIRST_LIMIT = 64 << 10  # bytes of an authentication message, until a server has said what it takes


class _Known(NamedTuple):
    """A room that the client is in, or was in."""

    position: Position
    since: str
    ticket: str


class Memory:
    """A client's. Any thread may read ``rooms``, which is replaced whole; the rest is guarded by ``_lock``.

    ``visit`` says which connection calls. A thread that still runs the listeners of an older one must not move what the
    new one has shown to the server; what it has not handled by then is replayed, and would come twice.

    A node that is behind may not know that the client has read more of its log elsewhere: the tickets may be gone. So
    what comes once more, and is of no replay, is ignored, and in no log does the client's place go back.
    """

    def __init__(self) -> None:
        self.rooms: frozenset[str] = frozenset()  # that the server says it is in
        self._lock = make_lock()
        self._visit: object = None
        self._session: str | None = None
        self._limit = _FIRST_LIMIT
        self._known: dict[str, _Known] = {}  # in the order of entrance
        self._entered: set[str] = set()  # on this connection
        self._at: Position | None = None  # where these stand
        self._had: dict[str, Order] = {}  # how far it has read, over all connections before this, by epoch
        self._replayed: list[str] = []  # the rooms of a replay, and what is still to come of it
        self._to_come = 0

    def begin(self, measure: Callable[[dict[str, Any]], int], visit: object = None) -> dict[str, Any]:
        """Begin a connection; return what goes with the authentication, whose size ``measure`` tells.

        Where the server does not take all tickets, those of the rooms that were entered last, and of ``everyone``.
        """
        with self._lock:
            self._end()
            self._visit = visit
            session, limit, known = self._session, self._limit, list(self._known.items())
        shown: dict[str, Any] = {"recover": 1}
        if session is None:
            return shown
        known.reverse()
        known.sort(key=lambda item: item[0] != EVERYONE)
        size = measure({**shown, "session": session, "rooms": {}})
        rooms: dict[str, list[str]] = {}
        for room, one in known:
            proof = [str(one.position), one.since, one.ticket]
            size += measure({room: proof})  # each a little too much, with the braces
            if size > limit:
                break
            if one.ticket:
                rooms[room] = proof
        return {**shown, "session": session, "rooms": rooms}

    def lose(self, visit: object = None) -> None:
        """Note that the connection has ended."""
        with self._lock:
            if visit is self._visit:
                self._end()

    def accept(self, answer: Any, visit: object = None) -> tuple[bool, list[str]]:
        """Take what came with the server's auth-ok; return whether it recovers, and of which rooms events were lost."""
        with self._lock:
            if visit is not self._visit:
                return False, []
            if not isinstance(answer, Mapping) or answer.get("recover") != 1 or not _is_text(answer.get("session")):
                missed, self._known, self._session = sorted(self._known), {}, None
                return False, missed
            if answer["session"] != self._session:
                self._session = answer["session"]
                self._known = {room: one._replace(ticket="") for room, one in self._known.items()}  # they prove nothing
            limit = answer.get("limit")
            if type(limit) is int and limit > 0:
                self._limit = limit
            return True, []

    def heed(self, said: Published | Joined | Left | At | Missed, visit: object = None) -> list[str] | None:
        """Take a message of the server's; return of which rooms events were lost.

        ``None``: the message is to be ignored. Another connection has begun, or it was there on an earlier one.
        """
        with self._lock:
            if visit is not self._visit:
                return None
            if isinstance(said, Published):
                had = self._had.get(said.position.epoch.removesuffix(REREAD))
                if had is not None and had >= said.position.order and not self._to_come:
                    return None
                self._move(said.position)
            elif isinstance(said, At):
                self._at = self._not_before(said.position)
            elif isinstance(said, Joined):
                return self._enter(said)
            elif isinstance(said, Left):
                self._leave(said.rooms)
            else:
                self._at = self._not_before(said.position)
                return sorted(self._entered)
            return []

    # -- all of these require holding the lock ------------------------------------------------------------------------

    def _end(self) -> None:
        """Note for the rooms where they stand, as nothing more comes."""
        for room in self._entered:
            if self._at is not None and room in self._known:
                self._known[room] = self._known[room]._replace(position=self._at)
        if self._at is not None and not self._to_come:  # else the rest of a replay is still to be read
            epoch = self._at.epoch.removesuffix(REREAD)
            self._had[epoch] = max(self._at.order, self._had.pop(epoch, self._at.order))
            if len(self._had) > _MOST_EPOCHS:
                del self._had[next(iter(self._had))]
        self._entered, self._at, self._replayed, self._to_come = set(), None, [], 0
        self.rooms = frozenset()

    def _not_before(self, position: Position) -> Position:
        """Return a position, or how far it was read on earlier connections, if that is further, and of the same log."""
        had = self._had.get(position.epoch.removesuffix(REREAD), position.order)
        return position if had <= position.order else Position(position.epoch, *had)

    def _leave(self, rooms: list[str]) -> None:
        for room in rooms:
            self._known.pop(room, None)
            self._entered.discard(room)
        self._replayed = [room for room in self._replayed if room in self._known]
        self.rooms = frozenset((self._entered | set(self._replayed)) - {EVERYONE})

    def _move(self, position: Position) -> None:
        """A publication has come, live or in a replay."""
        if not self._to_come:
            self._at = position
            return
        for room in self._replayed:
            known = self._known[room]
            if known.position.epoch != position.epoch or known.position.order < position.order:
                self._known[room] = known._replace(position=position)
        self._to_come -= 1
        if not self._to_come:
            self._entered.update(self._replayed)

    def _enter(self, joined: Joined) -> list[str]:
        for one in joined.rooms:
            if not all(map(_is_text, (one.room, one.since))) or not (_is_text(one.ticket) or one.ticket == ""):
                raise MalformedMessage(f"a room, a position and a ticket have at most {_LONGEST_TEXT} bytes")
        self._make_room({one.room for one in joined.rooms})
        missed = []
        replays = joined.replayed > 0
        for one in joined.rooms:
            known = self._known.pop(one.room, None)
            if known is not None and one.recovered is not True:
                missed.append(one.room)
            self._known[one.room] = _remembered(one, known, joined.position, replays)
        rooms = [one.room for one in joined.rooms]
        self._replayed, self._to_come = rooms, joined.replayed
        if not replays:
            self._entered.update(rooms)
        self._at = self._not_before(joined.position)
        self.rooms = frozenset((self._entered | set(rooms)) - {EVERYONE})
        return sorted(missed)

    def _make_room(self, rooms: set[str]) -> None:
        """Forget rooms that were entered long ago, and that the client is not in, where there would be too many."""
        over = len(self._known.keys() | rooms) - _MOST_ROOMS
        if over > 0:
            old = [room for room in self._known if room not in self._entered and room not in rooms][:over]
            if len(old) < over:
                raise MalformedMessage(f"a client remembers at most {_MOST_ROOMS} rooms")
            for room in old:
                del self._known[room]
            self._replayed = [room for room in self._replayed if room in self._known]


def _is_text(value: Any) -> bool:
    try:
        return isinstance(value, str) and 1 <= len(value.encode()) <= _LONGEST_TEXT
    except UnicodeEncodeError:
        return False


def _remembered(one: Entered, known: _Known | None, position: Position, replays: bool) -> _Known:
    """Say what is known of a room that is entered: while it is still to be replayed, it stands where it stood."""
    if replays and one.recovered is True:
        stood = parse_position(one.since) if known is None else known.position
        return _Known(stood or position, one.since, one.ticket)
    return _Known(position, one.since, one.ticket)
