"""What a client that can recover remembers: in which rooms it was, and how far it has read.

Pure. It outlives connections, of which there is one at a time: ``begin`` for a new one, then what its messages say.
Of each room it knows a position, since when it is in it, and the ticket that proves it. While it is in rooms, all of
them stand at the last position that has come; in a replay each at its own.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..messages.recovery import EVERYONE, At, Entered, Joined, Left, Missed, Position, Published, parse_position

__all__ = ["Memory"]

_MOST_ROOMS = 10_000  # so that a server cannot make it remember without end
_FIRST_LIMIT = 64 << 10  # bytes of an authentication message, until a server has said what it takes


class _Known(NamedTuple):
    """A room that the client is in, or was in."""

    position: Position
    since: str
    ticket: str


class Memory:
    """A client's. The thread of its connection calls everything; any may read ``rooms``, which is replaced whole."""

    def __init__(self) -> None:
        self.rooms: frozenset[str] = frozenset()  # that the server says it is in
        self._session: str | None = None
        self._limit = _FIRST_LIMIT
        self._known: dict[str, _Known] = {}
        self._entered: set[str] = set()  # on this connection
        self._at: Position | None = None  # where these stand
        self._replayed: list[str] = []  # the rooms of a replay, and what is still to come of it
        self._to_come = 0

    def begin(self, measure: Callable[[dict[str, Any]], int]) -> dict[str, Any]:
        """Begin a connection; return what goes with the authentication, whose size ``measure`` tells."""
        self.lose()
        shown: dict[str, Any] = {"recover": 1}
        if self._session is None:
            return shown
        rooms = {room: [str(one.position), one.since, one.ticket] for room, one in self._known.items() if one.ticket}
        size = measure({**shown, "session": self._session, "rooms": {}})
        kept: dict[str, list[str]] = {}
        for room, ticket in rooms.items():
            size += measure({room: ticket})  # each a little too much, with the braces
            if size > self._limit:
                break
            kept[room] = ticket
        return {**shown, "session": self._session, "rooms": kept}

    def lose(self) -> None:
        """Note that the connection has ended."""
        for room in self._entered:
            if self._at is not None and room in self._known:
                self._known[room] = self._known[room]._replace(position=self._at)
        self._entered, self._at, self._replayed, self._to_come = set(), None, [], 0
        self.rooms = frozenset()

    def accept(self, answer: Any) -> tuple[bool, list[str]]:
        """Take what came with the server's auth-ok; return whether it recovers, and of which rooms events were lost."""
        if not isinstance(answer, Mapping) or answer.get("recover") != 1 or not isinstance(answer.get("session"), str):
            missed, self._known, self._session = sorted(self._known), {}, None
            return False, missed
        if answer["session"] != self._session:
            self._session = answer["session"]
            self._known = {room: one._replace(ticket="") for room, one in self._known.items()}  # they prove nothing now
        limit = answer.get("limit")
        if type(limit) is int and limit > 0:
            self._limit = limit
        return True, []

    def heed(self, said: Published | Joined | Left | At | Missed) -> list[str]:
        """Take a message of the server's; return of which rooms events were lost."""
        if isinstance(said, Published):
            self._move(said.position)
        elif isinstance(said, At):
            self._at = said.position
        elif isinstance(said, Joined):
            return self._enter(said)
        elif isinstance(said, Left):
            for room in said.rooms:
                self._known.pop(room, None)
                self._entered.discard(room)
            self.rooms = frozenset(self._entered - {EVERYONE})
        else:
            self._at = said.position
            return sorted(self._entered)
        return []

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
        missed = []
        replays = joined.replayed > 0
        for one in joined.rooms:
            known = self._known.get(one.room)
            if known is not None and one.recovered is not True:
                missed.append(one.room)
            if known is not None or len(self._known) < _MOST_ROOMS:
                self._known[one.room] = _remembered(one, known, joined.position, replays)
        rooms = [one.room for one in joined.rooms if one.room in self._known]
        self._replayed, self._to_come = rooms, joined.replayed
        if not replays:
            self._entered.update(rooms)
        self._at = joined.position
        self.rooms = frozenset((self._entered | set(rooms)) - {EVERYONE})
        return sorted(missed)


def _remembered(one: Entered, known: _Known | None, position: Position, replays: bool) -> _Known:
    """Say what is known of a room that is entered: while it is still to be replayed, it stands where it stood."""
    if replays and known is not None and one.recovered is True:
        return _Known(known.position, one.since, one.ticket)
    if replays and one.recovered is not True:
        since = parse_position(one.since)
        return _Known(position if since is None else since, one.since, one.ticket)
    return _Known(position, one.since, one.ticket)
