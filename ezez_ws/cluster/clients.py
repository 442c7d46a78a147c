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
from ..messages.recovery import AT, EVERYONE, JOINED, LEFT, MISSED, NOWHERE, PUBLISHED, REREAD, Position
from ..threads import clock
from ..threads.deadline import Deadline
from ..threads.interrupted import interrupts_library, make_lock
from ..threads.waiting import Condition
from ..websocket.outbox import FULL, HELD, WAITING, WRITTEN, Put
from .audience import Joined
from .entries import Command, In, Listing, Out, Said
from .rooms import Rooms, Session
from .tickets import make_ticket, read_presented
from .window import Order, Window

if TYPE_CHECKING:
    from ..connection.server_side import ServerConnection

__all__ = ["Clients", "RecoveryLimits"]

Act = Callable[[], object]

_HOLDING = 0.01  # seconds for which events are held, to leave with those behind them
_CATCH_UP = 1.0  # seconds that ``join`` waits where the client has read further than this node
_SETTLES = 10.0  # seconds in which nodes append again what an earlier log had: twice what they keep


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

    **What may have been had elsewhere.** In a new epoch some of what the log before held is read once more: what has
    survived there, and what its producers append again. This node knows what of it was read here, and drops that. A
    client that has been at another node may have got the rest there. So such *old* things go to those alone who were
    here before the epoch; *newcomers*, whom they were for, are told of a loss. The window begins behind each, and where
    the new log is read up to the place where it stood when it was met, clients get positions that no node goes on from.
    Who comes and has read further in this log than this node is *ahead*, and gets nothing until that is made up for.
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
        self._rereads = False  # what the log held when it was met, and there was one before it
        self._epoch_at = clock.monotonic()
        self._newcomers: set[Session] = set()
        self._warned: set[Session] = set()  # newcomers who were told, and nothing else has come since
        self._ahead: dict[Session, Order] = {}
        self._codec = codec
        self._node = node
        self._limits = limits
        self._tell_presence = tell_presence
        self._rooms = Rooms()
        self._sessions: dict[str, Session] = {}
        self._held: dict[ServerConnection, None] = {}  # who has events that are held; the thread's that reads the log
        self._held_since = 0.0

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
            if session.formerly:
                self._newcomers.add(session)
                self._see_whether_ahead(session)
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
            self._newcomers.discard(session)
            self._warned.discard(session)
            self._ahead.pop(session, None)
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
            outcome, stands = WRITTEN, self._find_stand(session)
            if session.told != stands and not session.over:
                session.told = stands
                outcome = self._put(session, [AT, str(stands)])
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
                is_ours = stay.position.epoch == top.epoch and session not in self._ahead
                rooms[room] = is_ours and begin <= stay.position.order <= top.order
                if rooms[room]:
                    since[room] = stay.position.order
        missed = [
            (order, said, size)
            for order, said, size in self.window.find_missed(since)
            if not any(session.has_got(room, order, top) for room in said.target.rooms)
            and not session.is_barred(said.target, order, top, since)
        ]
        if sum(size for _, _, size in missed) > self._limits.recovery_limit_bytes:
            rooms.update(dict.fromkeys(since, False))
            missed = []
        events = [self._as_published(said, Position(top.epoch, *order)) for order, said, _ in missed]
        return _Replay(rooms, {room: session.stays[room].since for room, is_back in rooms.items() if is_back}, events)

    def _as_published(self, said: Said, position: Position) -> tuple[str, bytes]:
        if self._rereads:
            position = _reread(position)
        return PUBLISHED, self._codec.encode([str(position), said.event]) + said.args

    def _find_stand(self, session: Session) -> Position:
        """Return how far a client has read: as far as this node, or further."""
        top, order = self.top, self._ahead.get(session, NOWHERE.order)
        if order > top.order:
            top = Position(top.epoch, *order)
        return _reread(top) if self._rereads else top

    def _see_whether_ahead(self, session: Session) -> None:
        order = session.read.get(self.top.epoch)
        if order is not None and order > self.top.order:
            self._ahead[session] = order

    def _enter(
        self,
        session: Session,
        rooms: dict[str, bool | None],
        since: dict[str, Position] | None = None,
        events: Sequence[tuple[str, bytes]] = (),
    ) -> Put:
        """Tell a client that it is in rooms, with what it has missed, and put it there; ``FULL``: nothing was done."""
        stands = self._find_stand(session)
        since = {room: (since or {}).get(room, stands) for room in rooms}
        entered = [
            [room, is_back, str(since[room]), make_ticket(self.secret, session.id, room, str(since[room]))]
            for room, is_back in rooms.items()
        ]
        first = self._codec.encode([JOINED, entered, str(stands), len(events)])
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

    def pass_on(
        self, position: Position, what: Said | Command | None, delivers: bool = True, is_old: bool = False,
        holds: bool = False,
    ) -> None:  # fmt: skip
        """Note that the log has been read up to a position; deliver what is there, if anything.

        ``is_old``: it may have been in an earlier log, and reach no newcomers. ``holds``: there is more to come at
        once, with which it may leave; ``let_go`` is to be called behind that.
        """
        acts: list[Act] = []
        with self.order:
            self.top = position
            if what is None:
                self.window.trim(position.ms)
            elif is_old:
                self.window.begin_anew(max(position.order, self.window.begin))
            else:
                if self._warned:
                    self._warned.clear()
                if self.keeps and isinstance(what, Said):
                    self.window.add(position[1:], what)
            if what is not None and delivers:
                reached = self._rooms.find_reached(what.target, self._sessions.values())
                if is_old or self._ahead:
                    reached = self._leave_out(reached, position.order, is_old, acts)
                if isinstance(what, Said):
                    self._deliver(what, position, reached, acts, holds)
                else:
                    self._do(what, list(reached), acts)
            if self._ahead:
                self._ahead = {one: order for one, order in self._ahead.items() if order > position.order}
            if self._catching_up:
                self._read_on.changed()
        for act in acts:
            act()
        if self._held and holds and clock.monotonic() - self._held_since > _HOLDING:
            self.let_go()

    def _leave_out(self, reached: Iterable[Session], order: Order, is_old: bool, acts: list[Act]) -> list[Session]:
        """Leave out who has had something elsewhere; and who may have had it, and is told that it was lost."""
        entitled = []
        for session in reached:
            if session in self._ahead and self._ahead[session] >= order:
                continue
            if not is_old or session not in self._newcomers:
                entitled.append(session)
            elif session not in self._warned:
                self._warned.add(session)
                acts.append(partial(session.connection.settle, self._tell_loss(session)))
        return entitled

    def let_go(self) -> None:
        """Have all leave that was held: each connection's events together."""
        held, self._held = self._held, {}
        for connection in held:
            connection.stream.let_go()

    def _deliver(
        self, said: Said, position: Position, reached: Iterable[Session], acts: list[Act], holds: bool
    ) -> None:
        """Put an event into the outboxes. Requires holding the lock; what is left to do without goes to ``acts``."""
        plain: Broadcast | None = None
        numbered: Broadcast | None = None
        delivered = 0
        for session in reached:
            if session.recovers:
                numbered = numbered or Broadcast(self._codec, *self._as_published(said, position))
                outcome = session.connection.offer(numbered, holds)
            else:
                plain = plain or Broadcast(self._codec, said.event, said.args)
                outcome = session.connection.offer(plain, holds)
            delivered += outcome is WRITTEN or outcome is WAITING or outcome is HELD
            if outcome is HELD:
                self._held_since = self._held_since if self._held else clock.monotonic()
                self._held[session.connection] = None
            if (outcome is not WRITTEN and outcome is not HELD) or session.connection.deferred:
                acts.append(partial(session.connection.settle, outcome))
        self.counters.delivered += delivered

    def _do(self, command: Command, reached: list[Session], acts: list[Act]) -> None:
        """Do something to clients. Requires holding the lock."""
        for session in reached:
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

    def begin_epoch(self, position: Position, secret: bytes, rereads: bool = False) -> None:
        """Note that the log is another one; what lies before its beginning cannot be had here.

        ``rereads``: of the one before something may be there; ``end_rereading`` follows.
        """
        with self.order:
            if clock.monotonic() - self._epoch_at > _SETTLES:
                here = {self.top.epoch}  # others may have read what was not read here
                self._newcomers = {one for one in self._newcomers if one in self._ahead or not one.read.keys() <= here}
            self._epoch_at = clock.monotonic()
            self.top, self.secret, self._rereads = position, secret, rereads
            self.window.begin_anew(position.order)
            self._warned, self._ahead = set(), {}
            for session in self._newcomers:
                self._see_whether_ahead(session)
            told_to = [(one.connection, self._tell_loss(one)) for one in self._ahead]  # what came here since was older
            self._read_on.changed()
        _settle(told_to)

    def end_rereading(self) -> None:
        """Note that all is new from now on: clients that can recover get their entrances again, with new tickets."""
        with self.order:
            self._rereads = False
            told_to = self._tell_all(self._enter_again)
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
        return self._put(session, [MISSED, str(self._find_stand(session))])


def _reread(position: Position) -> Position:
    return position._replace(epoch=position.epoch + REREAD)


def _settle(told_to: "Iterable[tuple[ServerConnection, Put]]") -> None:
    for connection, outcome in told_to:
        connection.settle(outcome)
