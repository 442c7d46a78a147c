"""Who has a place at the server, and who gives it up for one that comes later.

A connection has a place from the accept to its end. On its way it is

    NEW       shakes hands; where places run short, the one that has done so for longest is cut
    SILENT    has not sent its authentication; where all have shaken hands, the oldest of these is closed, with 1008:
              for ``max_unauthenticated`` at once, for ``max_connections`` when it has been silent for a second
    ASKING    has sent it, is getting our 101, or is in the hands of a web server: it keeps its place
    KNOWN     authenticated: counts for ``max_connections`` only
    ANSWERED  is no WebSocket, but gets a page: counts for ``max_unauthenticated`` only, and is cut as NEW is, before
              these where it takes longer than a second
    REFUSED   has no place, but is listened to for a moment, so that it reads why
    LOST      has lost its place to another; its thread is about to end
    OUT       has not come yet, or has gone

So silent peers cannot hold the door: they lose to those who come. Every step takes the same time, however many there
are. A limit of ``None`` is none.
"""

import enum
import logging
from collections.abc import Callable
from typing import Any

from ..logs import limited, shown_address
from ..threads import clock
from ..threads.interrupted import Lock
from ..wire.sockets import Wire

__all__ = ["Place", "Places"]

_MOST_REFUSED = 100
"""So many are listened to at a time when they have been refused; who is beyond must read faster."""

_PATIENCE = 1.0
"""Seconds in which an honest client sends its authentication, or takes its page; else those who come would keep each
other out."""

_MOST_LOST = 1000
"""While so many have lost their places, and still have their threads, nobody loses one."""


class State(enum.Enum):
    """Where a connection is on its way."""

    NEW, SILENT, ASKING, KNOWN, ANSWERED, REFUSED, LOST, OUT = range(8)


NEW, SILENT, ASKING, KNOWN, ANSWERED, REFUSED, LOST, OUT = State
_ON_ITS_WAY = (NEW, SILENT, ASKING)
_UNKNOWN = (*_ON_ITS_WAY, ANSWERED)
_HELD = (*_ON_ITS_WAY, KNOWN)


class Places:
    """All places of a server.

    ``lock``, its owner's, guards everything here and in each ``Place``; wires that shake hands are cut under it, as it
    guards their descriptors' lives, too. Any thread may call any method.
    """

    def __init__(
        self,
        lock: Lock,
        max_connections: int | None,
        max_unauthenticated: int | None,
        max_per_address: int | None,
    ) -> None:
        self.lock = lock
        self.closed = False  # nobody gets a place any more
        self._most = max_connections
        self._most_unknown = max_unauthenticated
        self._most_per_address = max_per_address
        self._in: dict[State, dict[Place, None]] = {state: {} for state in State}  # in the order of coming there
        self._by_key: dict[str, int] = {}

    @property
    def count(self) -> int:
        """How many places are taken."""
        with self.lock:
            return self._count(_HELD)

    def make_room(self) -> bool:
        """Cut the connection that has shaken hands for longest, or close one that is silent; false: there is none."""
        with self.lock:
            victim = self._cut_oldest(NEW) or self._cut_oldest(ANSWERED)
            silent = self._take_silent(_PATIENCE) if victim is None else None
        if victim is not None:
            self._tell(victim)
        return victim is not None or (silent is not None and self._dismiss(silent))

    def give(self, place: "Place", key: str | None) -> None:
        """Give a place, for which others may have to give up theirs, or refuse it."""
        while True:
            with self.lock:
                cut, silent = self._settle(place, key)
            for victim in cut:
                self._tell(victim)
            if silent is None:
                return
            self._dismiss(silent)

    def _dismiss(self, silent: "Place") -> bool:
        """Close one that ``_take_silent`` has returned, without holding the lock; false where it has asked."""
        assert silent.dismiss is not None
        if not silent.dismiss():
            return False
        with self.lock:
            if silent.state in _HELD:  # else it has gone meanwhile
                self.move(silent, LOST)
        self._tell(silent)
        return True

    def _take_silent(self, patience: float) -> "Place | None":
        """Take the one that is silent for longest, and for ``patience`` seconds. Requires holding the lock."""
        silent = next(iter(self._in[SILENT]), None)
        if silent is None or clock.monotonic() - silent.since < patience:
            return None
        self.move(silent, ASKING)  # nobody else picks it; and it stays there, if it has asked meanwhile
        return silent

    def _settle(self, place: "Place", key: str | None) -> "tuple[list[Place], Place | None]":
        """Decide about a place. Requires holding the lock.

        Returns who has been cut for it, and who is to be closed before it can be decided: that must be done without.
        """
        cut: list[Place] = []
        if self.closed:
            return cut, None
        refused = not self.count_key(place, key, self._most_per_address) or len(self._in[LOST]) >= _MOST_LOST
        while not refused and self._is_short():
            victim = self._cut_for_another()
            if victim is not None:
                cut.append(victim)
                continue
            silent = self._take_silent(_PATIENCE if self._is_full() else 0.0)
            if silent is not None:
                self.uncount_key(place)
                return cut, silent
            refused = True
        if refused:
            place.refuse_now()
        else:
            self.move(place, NEW if place.wire is not None else ASKING)
        return cut, None

    def _cut_for_another(self) -> "Place | None":
        """Requires holding the lock."""
        if self._is_full():  # to which the answered do not count
            return self._cut_oldest(NEW)
        return self._cut_oldest(ANSWERED, _PATIENCE) or self._cut_oldest(NEW) or self._cut_oldest(ANSWERED)

    def _cut_oldest(self, state: State, patience: float = 0.0) -> "Place | None":
        """Cut the one that is in this state for longest, and for ``patience`` seconds. Requires holding the lock."""
        victim = next(iter(self._in[state]), None)
        if victim is None or (patience and clock.monotonic() - victim.since < patience):
            return None
        assert victim.wire is not None
        victim.wire.cut()
        self.move(victim, LOST)
        return victim

    def _is_short(self) -> bool:
        """Requires holding the lock."""
        return self._is_full() or self.is_crowded()

    def _is_full(self) -> bool:
        """Requires holding the lock."""
        return self._most is not None and self._count(_HELD) >= self._most

    def is_crowded(self) -> bool:
        """Tell whether there are as many unauthenticated as there may be. Requires holding the lock."""
        return self._most_unknown is not None and self._count(_UNKNOWN) >= self._most_unknown

    def _count(self, states: "tuple[State, ...]") -> int:
        return sum(len(self._in[state]) for state in states)

    def may_refuse(self) -> bool:
        """Tell whether another one that has no place may be listened to. Requires holding the lock."""
        return len(self._in[REFUSED]) < _MOST_REFUSED

    def move(self, place: "Place", state: State) -> None:
        """Let a connection go a step. Requires holding the lock."""
        self._in[place.state].pop(place, None)
        place.state = state
        if state is not OUT:
            self._in[state][place] = None
        if state not in _HELD and place.key is not None:
            self.uncount_key(place)

    def count_key(self, place: "Place", key: str | None, most: int | None) -> bool:
        """Count a connection by a key; false where that has as many as it may have. Requires holding the lock."""
        if key is None or most is None:
            return True
        count = self._by_key.get(key, 0)
        if count < most:
            self._by_key[key], place.key = count + 1, key
        return count < most

    def uncount_key(self, place: "Place") -> None:
        """Requires holding the lock."""
        key, place.key = place.key, None
        if key is not None:
            left = self._by_key[key] - 1
            self._by_key[key] = left
            if not left:
                del self._by_key[key]

    def _tell(self, victim: "Place") -> None:
        peer = shown_address(victim.address)
        text = "%s has given up its place to one that came later: it was not authenticated yet"
        limited.tell(logging.WARNING, "place", text, peer, extra={"remote_address": peer})


class Place:
    """The place of one connection, which comes by ``enter``. The lock of ``Places`` guards ``state`` and ``key``.

    Each step may be taken twice, and none goes back: one that has lost its place finds so by ``held``, ``finish`` or
    ``open``. Any thread may call. ``wire``: what is cut where it gives up its place while it shakes hands, and nobody
    closes before it has left; ``None``: it never has to.
    """

    __slots__ = ("_places", "address", "dismiss", "key", "since", "state", "wire")

    def __init__(self, places: Places, wire: Wire | None, address: Any) -> None:
        self._places = places
        self.wire = wire
        self.address = address
        self.state = OUT
        self.key: str | None = None
        self.dismiss: Callable[[], bool] | None = None
        self.since = 0.0

    @property
    def held(self) -> bool:
        """Whether it has a place."""
        with self._places.lock:
            return self.state in _HELD

    @property
    def heard(self) -> bool:
        """Whether it is listened to, as it has a place, or is to read why it has none."""
        with self._places.lock:
            return self.state in _HELD or self.state is REFUSED

    def enter(self) -> None:
        """Come: see ``held`` for whether there was a place."""
        self._places.give(self, str(self.address[0]) if self.address else None)

    def claim(self, key: str, most: int) -> bool:
        """Count it by a key; false where ``most`` with that key have places."""
        with self._places.lock:
            return self._places.count_key(self, key, most)

    def finish(self) -> bool:
        """Be about to get the last word of the handshake; false where it has lost its place."""
        return self._go((NEW, ASKING), ASKING)

    def open(self, dismiss: Callable[[], bool]) -> bool:
        """Be a WebSocket that has not sent its authentication; false where it has lost its place.

        ``dismiss`` closes it without blocking, as another needs its place; false: it has sent its authentication.
        """
        self.dismiss, self.since = dismiss, clock.monotonic()
        return self._go((ASKING,), SILENT)

    def ask(self) -> None:
        """Have sent its authentication."""
        self._go((SILENT,), ASKING)

    def admit(self) -> None:
        """Be authenticated."""
        self._go(_UNKNOWN, KNOWN)

    def answer(self) -> None:
        """Be no WebSocket, but get a page: the place is given back, if it had one."""
        self.since = clock.monotonic()
        with self._places.lock:
            takes_no_more = self.state is NEW or (self.state is REFUSED and not self._places.is_crowded())
            if self.wire is not None and takes_no_more:
                self._places.move(self, ANSWERED)

    def expire(self) -> bool:
        """Be cut, for its time is over, whatever its thread still does; false where it has ended."""
        with self._places.lock:
            if self.state is OUT or self.wire is None:
                return False
            self.wire.cut()
            self._places.move(self, OUT)
            return True

    def refuse(self) -> bool:
        """Give the place back; true where it may be listened to for a moment."""
        with self._places.lock:
            return self.refuse_now()

    def refuse_now(self) -> bool:
        """Do the same. Requires holding the lock."""
        if self.state not in (REFUSED, LOST):
            self._places.move(self, REFUSED if self._places.may_refuse() else OUT)
        return self.state is REFUSED

    def leave(self) -> None:
        """Give the place back."""
        with self._places.lock:
            self._places.move(self, OUT)

    def _go(self, sources: "tuple[State, ...]", state: State) -> bool:
        with self._places.lock:
            goes = self.state in sources
            if goes:
                self._places.move(self, state)
            return goes
