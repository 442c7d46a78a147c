"""The clients of one node: they enter rooms, get what is published there, and what they have missed.

A client's way: ``admit`` (auth-ok) → ``arrive`` (``on_auth_ok`` has returned) → ``join`` and ``leave`` → ``forget``.
One that can recover is told, in the same order as what it gets: which rooms it is in, and how far it has read. When it
comes back, here or elsewhere, its tickets say so, and ``join`` puts out what it has missed before anything newer.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ..connection.outgoing import Broadcast
from ..logs import shown
from ..messages.codec import Codec
from ..messages.protocol import AUTH_OK
from ..messages.recovery import AT, EVERYONE, JOINED, LEFT, MISSED, NOWHERE, PUBLISHED, Position
from ..threads.deadline import Deadline
from ..threads.interrupted import interrupts_library, make_lock
from ..threads.waiting import Condition
from ..websocket.outbox import FULL, WAITING, WRITTEN, Put
from .audience import Joined
from .entries import Command, In, Listing, Out, Said
from .rooms import Rooms, Session
from .tickets import make_ticket, read_presented
from .window import Order, Window

if TYPE_CHECKING:
    from ..connection.server_side import ServerConnection

__all__ = ["Clients", "RecoveryLimits"]

Act = Callable[[], object]

_CATCH_UP = 1.0  # seconds that ``join`` waits where the client has read further than this node


class RecoveryLimits(NamedTuple):
    """What concerns the clients of the options; the public API says what they mean."""

    recovery_window: float
    history_limit_bytes: int
    recovery_limit_bytes: int
    max_rooms: int
    auth_limit_bytes: int
    """How large an authentication message may be."""


class Counters:
    """What has been done for the clients. Guarded by the order lock; read without."""

    __slots__ = ("delivered", "missed", "recovered", "replayed")

    def __init__(self) -> None:
        self.delivered = self.recovered = self.replayed = self.missed = 0


class _Replay(NamedTuple):
    """What a client gets that enters rooms."""

    rooms: dict[str, bool | None]
    since: dict[str, Position]
    events: list[tuple[str, bytes]]


class Clients:
    """Who is in which room here, and the window.

    ``order`` is the order lock: it guards every field, and those of the sessions. It is held while one
    publication is put into the outboxes, while one ``join`` replays, and while something is told in order. Under it one
    connection's outbox lock is taken at a time, and with presence the queue's; nothing blocks. It is never taken while
    holding an outbox's or an inbox's. ``tell_presence`` is called under it.
    """

    def __init__(
        self,
        codec: Codec,
        node: str,
        limits: RecoveryLimits,
        tell_presence: Callable[[In | Out | Listing], object],
        keeps: bool,
    ) -> None:
        self.order = make_lock()
        self._read_on = Condition(self.order)
        self._catching_up = 0  # how many wait for this node to read on
        self.top = NOWHERE  # of what has been put into the outboxes
        self.secret = b""
        self.window = Window(limits.recovery_window, limits.history_limit_bytes)
        self.keeps = keeps and limits.recovery_window > 0  # publications are put into the window
        self.counters = Counters()
        self._codec = codec
        self._node = node
        self._limits = limits
        self._tell_presence = tell_presence
        self._rooms = Rooms()
        self._sessions: dict[str, Session] = {}

    # -- a client's way ---------------------------------------------------------------------------------------------

    def admit(self, connection: "ServerConnection", shown: Any) -> Session:
        """Put auth-ok out, and take a client in; ``shown``: what it has sent with its authentication."""
        recovery = self._limits.recovery_window > 0
        with self.order:
            presented = read_presented(self.secret, shown, self._limits.max_rooms + 1) if recovery else None
            address = f"{self._node}:{connection.client.connection_id}"
            session = connection.session = Session(connection, address, presented)
            outcome = connection.put_auth_ok(self._codec.encode([AUTH_OK, *self._describe(session)]))
            self._sessions[session.address] = session
            if session.recovers and not self.keeps:
                self.keeps = True
                self.window.begin_anew(self.top.order)
            if EVERYONE not in session.stays:
                if session.recovers:
                    outcome = self._enter(session, {EVERYONE: None})
                else:
                    self._rooms.enter(session, EVERYONE, self.top)
        connection.settle(outcome)
        return session

    def _describe(self, session: Session) -> Sequence[dict[str, Any]]:
        if not session.recovers:
            return ()
        window, limit = self._limits.recovery_window, self._limits.auth_limit_bytes
        return ({"recover": 1, "session": session.id, "address": session.address, "window": window, "limit": limit},)

    def arrive(self, session: Session) -> None:
        """See to it that a client that comes back is in ``everyone``, as ``on_auth_ok`` has returned."""
        if EVERYONE in session.stays:
            self.join(session, ())

    def join(self, session: Session, rooms: Sequence[str], info: Any = None) -> Joined:
        """Put a client into rooms, with what it has missed there; waits up to a second for this node to catch up."""
        if interrupts_library():
            raise RuntimeError("join() cannot be called in a signal handler that has interrupted the library")
        if session.stays:
            self._catch_up(session, rooms)
        with self.order:
            joined, outcome = self._join(session, rooms, info)
        session.connection.settle(outcome)
        return joined

    def leave(self, session: Session, rooms: Iterable[str]) -> None:
        """Take a client out of rooms; when this returns, nothing of them comes any more."""
        if interrupts_library():
            raise RuntimeError("leave() cannot be called in a signal handler that has interrupted the library")
        with self.order:
            outcome = self._leave(session, rooms)
        session.connection.settle(outcome)

    def forget(self, session: Session) -> None:
        """Take a client out of all rooms, as its connection has ended. Idempotent."""
        with self.order:
            if session.over:
                return
            session.over = True
            self._sessions.pop(session.address, None)
            for room in session.rooms if len(session.rooms) > 1 else ():
                self._rooms.leave(session, room)
            for room in sorted(session.infos):
                self._tell_presence(Out(room, session.address))
            session.infos = {}

    def tell_position(self, session: Session) -> None:
        """Tell a client how far it has read, where that has moved: a quiet room must not look like an absence."""
        if not session.recovers:
            return
        with self.order:
            outcome = WRITTEN
            if session.told != self.top and not session.over:
                session.told = self.top
                outcome = self._put(session, [AT, str(self.top)])
        session.connection.settle(outcome)

    def find(self, address: str) -> Session | None:
        """Return a client of this node."""
        with self.order:
            return self._sessions.get(address)

    # -- entering and leaving: all of it requires holding the lock ----------------------------------------------------

    def _join(self, session: Session, rooms: Sequence[str], info: Any) -> tuple[Joined, Put]:
        if session.over:
            return Joined(dict.fromkeys(rooms), 0), WRITTEN
        new = dict.fromkeys(room for room in rooms if room not in session.rooms)
        most = self._limits.max_rooms
        if len(session.rooms.keys() - {EVERYONE}) + len(new) > most:
            raise ValueError(f"join: the client would be in more than max_rooms={most} rooms")
        if EVERYONE in session.stays and EVERYONE not in session.rooms:
            new[EVERYONE] = None
        recovered: dict[str, bool | None] = {}
        replayed, outcome = 0, WRITTEN
        if new and session.recovers:
            replay = self._find_replay(session, new)
            outcome = self._enter(session, replay.rooms, replay.since, replay.events)
            if outcome is FULL:  # never a cut: what was missed is lost to it, and it is told
                replay = _Replay({room: False if is_back else None for room, is_back in replay.rooms.items()}, {}, [])
                outcome = self._enter(session, replay.rooms)
            recovered, replayed = replay.rooms, len(replay.events)
            self._count(replay)
        else:
            for room in new:
                self._rooms.enter(session, room, self.top)
        if info is not None:
            for room in dict.fromkeys(rooms):
                session.infos = {**session.infos, room: info}
                self._tell_presence(In(room, session.address, info))
        return Joined({room: recovered.get(room) for room in rooms}, replayed), outcome

    def _count(self, replay: _Replay) -> None:
        self.counters.replayed += len(replay.events)
        self.counters.recovered += any(replay.rooms.values())
        self.counters.missed += False in replay.rooms.values()

    def _find_replay(self, session: Session, new: Iterable[str]) -> _Replay:
        """Find what a client has missed in rooms; where it is gone, or too much, they are not recovered."""
        rooms: dict[str, bool | None] = dict.fromkeys(new)
        since: dict[str, Order] = {}
        begin, top = self.window.begin, self.top
        for room in rooms:
            stay = session.stays.get(room)
            if stay is not None:
                rooms[room] = stay.position.epoch == top.epoch and begin <= stay.position.order <= top.order
                if rooms[room]:
                    since[room] = stay.position.order
        missed = [
            kept
            for kept in self.window.find_missed(since)
            if not any(session.has_got(room, kept.order, top) for room in kept.said.target.rooms)
            and not session.is_barred(kept.said.target, kept.order, top, since)
        ]
        if sum(kept.size for kept in missed) > self._limits.recovery_limit_bytes:
            rooms.update(dict.fromkeys(since, False))
            missed = []
        events = [self._as_published(kept.said, Position(top.epoch, *kept.order)) for kept in missed]
        return _Replay(rooms, {room: session.stays[room].since for room, is_back in rooms.items() if is_back}, events)

    def _as_published(self, said: Said, position: Position) -> tuple[str, bytes]:
        return PUBLISHED, self._codec.encode([str(position), said.event]) + said.args

    def _enter(
        self,
        session: Session,
        rooms: dict[str, bool | None],
        since: dict[str, Position] | None = None,
        events: Sequence[tuple[str, bytes]] = (),
    ) -> Put:
        """Tell a client that it is in rooms, with what it has missed, and put it there; ``FULL``: nothing was done."""
        since = {room: (since or {}).get(room, self.top) for room in rooms}
        entered = [
            [room, is_back, str(since[room]), make_ticket(self.secret, session.id, room, str(since[room]))]
            for room, is_back in rooms.items()
        ]
        first = self._codec.encode([JOINED, entered, str(self.top), len(events)])
        outcome = session.connection.put_together(first, events)
        if outcome is not FULL:
            for room in rooms:
                stay = session.stays.pop(room, None)
                if stay is not None and rooms[room] is False:
                    session.remember(room, stay)
                self._rooms.enter(session, room, since[room])
        return outcome

    def _leave(self, session: Session, rooms: Iterable[str]) -> Put:
        left = [room for room in dict.fromkeys(rooms) if room in session.rooms or room in session.stays]
        for room in left:
            self._rooms.leave(session, room)
            session.leave(room, self.top)
            if room in session.infos:
                session.infos = {name: info for name, info in session.infos.items() if name != room}
                self._tell_presence(Out(room, session.address))
        if left and session.recovers and not session.over:
            return self._put(session, [LEFT, left])
        return WRITTEN

    def _put(self, session: Session, message: list[Any]) -> Put:
        return session.connection.put_together(self._codec.encode(message), ())

    def _catch_up(self, session: Session, rooms: Sequence[str]) -> None:
        """Wait, at most a second, until this node has read as far as the client had in these rooms."""

        def has_caught_up() -> bool | None:
            for room in (*rooms, EVERYONE):
                stay = session.stays.get(room)
                if stay is not None and stay.position.epoch == self.top.epoch and stay.position.order > self.top.order:
                    return None
            return True

        with self.order:
            self._catching_up += 1
        try:
            self._read_on.wait_for(has_caught_up, Deadline(_CATCH_UP))
        finally:
            with self.order:
                self._catching_up -= 1

    # -- what comes out of the log, in its order: on the thread that reads it, or that publishes ---------------------

    def pass_on(self, position: Position, what: Said | Command | None, delivers: bool = True) -> None:
        """Note that the log has been read up to a position; deliver what is there, if anything."""
        acts: list[Act] = []
        with self.order:
            self.top = position
            if isinstance(what, Said):
                if self.keeps:
                    self.window.add(position[1:], what)
                if delivers:
                    self._deliver(what, position, acts)
            elif what is None:
                self.window.trim(position.ms)
            elif delivers:
                self._do(what, acts)
            if self._catching_up:
                self._read_on.changed()
        for act in acts:
            act()

    def _deliver(self, said: Said, position: Position, acts: list[Act]) -> None:
        """Put an event into the outboxes. Requires holding the lock; what is left to do without goes to ``acts``."""
        plain: Broadcast | None = None
        numbered: Broadcast | None = None
        delivered = 0
        for session in self._rooms.find_reached(said.target, self._sessions.values()):
            if session.recovers:
                numbered = numbered or Broadcast(self._codec, *self._as_published(said, position))
                outcome = session.connection.offer(numbered)
            else:
                plain = plain or Broadcast(self._codec, said.event, said.args)
                outcome = session.connection.offer(plain)
            delivered += outcome is WRITTEN or outcome is WAITING
            if outcome is not WRITTEN or session.connection.deferred:
                acts.append(partial(session.connection.settle, outcome))
        self.counters.delivered += delivered

    def _do(self, command: Command, acts: list[Act]) -> None:
        """Do something to clients. Requires holding the lock."""
        for session in list(self._rooms.find_reached(command.target, self._sessions.values())):
            connection = session.connection
            if command.what == "disconnect":
                acts.append(partial(connection.disconnect, *command.args))
            elif command.what == "join":
                try:
                    _, outcome = self._join(session, command.args, None)
                except ValueError:
                    text = f"not joined to {shown(', '.join(command.args))}: max_rooms={self._limits.max_rooms}"
                    acts.append(partial(connection.warn, text, "max_rooms"))
                else:
                    acts.append(partial(connection.settle, outcome))
            elif command.what == "leave":
                acts.append(partial(connection.settle, self._leave(session, command.args)))

    def begin_epoch(self, position: Position, secret: bytes, begin: Order, told: bool = True) -> None:
        """Note that the log is another one; what lies before ``begin`` cannot be had here.

        ``told``: clients that can recover get their entrances again, with new tickets.
        """
        with self.order:
            self.top, self.secret = position, secret
            self.window.begin_anew(begin)
            self._read_on.changed()
            told_to = self._tell_all(self._enter_again) if told else []
        _settle(told_to)

    def begin_window(self, begin: Order) -> None:
        """Note that what lies before a place in the log cannot be had here."""
        with self.order:
            self.window.begin_anew(max(begin, self.window.begin))

    def begin_delivering(self) -> None:
        """Note that from now on publications reach the clients; those that are here have missed what came before."""
        with self.order:
            told_to = [*self._tell_all(self._enter_again), *self._tell_all(self._tell_loss)]
        _settle(told_to)

    def lose(self) -> None:
        """Note that something was lost on the way to this node: whoever can be told is."""
        with self.order:
            self.window.begin_anew(self.top.order)
            told_to = self._tell_all(self._tell_loss)
        _settle(told_to)

    def tell_listing(self) -> None:
        """Say anew who is listed here."""
        with self.order:
            ins = [In(room, one.address, info) for one in self._sessions.values() for room, info in one.infos.items()]
            self._tell_presence(Listing(tuple(ins)))

    def _tell_all(self, tell: Callable[[Session], Put]) -> "list[tuple[ServerConnection, Put]]":
        """Tell each client that can recover. Requires holding the lock."""
        return [(one.connection, tell(one)) for one in self._sessions.values() if one.recovers]

    def _enter_again(self, session: Session) -> Put:
        return self._enter(session, dict.fromkeys(session.rooms, True))

    def _tell_loss(self, session: Session) -> Put:
        self.counters.missed += 1
        return self._put(session, [MISSED, str(self.top)])


def _settle(told_to: "Iterable[tuple[ServerConnection, Put]]") -> None:
    for connection, outcome in told_to:
        connection.settle(outcome)
