"""What a node has read of the log in the last minutes, by room: what those who come back may have missed.

Pure; not locked: the hub's order lock guards it.
"""

from collections import deque
from collections.abc import Mapping

from ..messages.recovery import Order
from .entries import Said

__all__ = ["Kept", "Order", "Window"]

_OVERHEAD = 400  # bytes that an entry takes beside its text, as measured
_PER_ROOM = 80

Kept = tuple[Order, Said, int]
"""A publication, and how many bytes it takes. No named tuple: the garbage collector looks at bare ones once only."""


class Window:
    """The publications behind ``begin``, at most so old and so many bytes. What is older goes first."""

    def __init__(self, seconds: float, limit_bytes: int) -> None:
        self._milliseconds = seconds * 1000
        self._limit = limit_bytes
        self._all: deque[Kept] = deque()
        self._by_room: dict[str, deque[Kept]] = {}
        self.bytes = 0
        self.begin: Order = (0, 0, 0)
        self.let_go_ms = 0  # of the log's time, up to which nothing is here any more, as it was too old or too much

    def __len__(self) -> int:
        return len(self._all)

    @property
    def seconds(self) -> float:
        """The time between its oldest and its newest publication."""
        return (self._all[-1][0][0] - self._all[0][0][0]) / 1000 if self._all else 0.0

    def begin_anew(self, begin: Order) -> None:
        """Forget all: what lies before ``begin`` cannot be had any more."""
        self._all.clear()
        self._by_room.clear()
        self.bytes = 0
        self.begin = begin
        self.let_go_ms = 0

    def add(self, order: Order, said: Said) -> None:
        """Keep a publication, which is newer than all others."""
        (rooms, but_rooms, but_clients), event, args = said
        size = len(args) + len(event) + _OVERHEAD
        for text in (*rooms, *but_rooms, *but_clients) if but_rooms or but_clients else rooms:
            size += len(text) + _PER_ROOM
        kept = (order, said, size)
        self._all.append(kept)
        for room in rooms if len(rooms) == 1 else set(rooms):
            there = self._by_room.get(room)
            if there is None:
                there = self._by_room[room] = deque()
            there.append(kept)
        self.bytes += size
        if self.bytes > self._limit or order[0] - self._all[0][0][0] > self._milliseconds:
            self.trim(order[0])

    def trim(self, now: int) -> None:
        """Let go of what is too old at a time of the log's clock, in milliseconds, or too much."""
        while self._all and (self.bytes > self._limit or now - self._all[0][0][0] > self._milliseconds):
            order, said, size = self._all.popleft()
            self.bytes -= size
            self.begin = max(self.begin, order)  # what is read again in a new epoch lies before it
            self.let_go_ms = order[0]
            for room in set(said.target.rooms):
                there = self._by_room[room]
                there.popleft()
                if not there:
                    del self._by_room[room]

    def find_missed(self, since: Mapping[str, Order]) -> list[Kept]:
        """Return what was published in rooms since, for each, a position; each publication once, in order."""
        found: dict[Order, Kept] = {}
        for room, position in since.items():
            for kept in reversed(self._by_room.get(room, ())):
                order = kept[0]
                if order <= position:
                    break
                found[order] = kept
        return [found[order] for order in sorted(found)]
