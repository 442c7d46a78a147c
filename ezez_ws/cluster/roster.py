"""Who is listed in which room, as the nodes have said.

Pure; not locked: whoever owns it guards it. All rosters that have been told the same answer the same: members come in
the order of their nodes' names and addresses, and so do the changes of many at once.
"""

from typing import NamedTuple

from .audience import Member
from .entries import PLAIN, In, Listing, Out

__all__ = ["Changed", "Roster"]


class Changed(NamedTuple):
    """Something that others see of a member."""

    change: str
    """``"joined"``, ``"changed"`` (its info) or ``"left"``."""
    member: Member


class Roster:
    """The members that nodes list.

    What a node says concerns its own members only. An info is kept as bytes, and is decoded anew for each ``Member``:
    what a user does to one that he was given reaches nobody else.

    Args:
        here: the node whose members are local; ``None``: all are, as there is one node only.
    """

    def __init__(self, here: str | None = None) -> None:
        self._here = here
        self._rooms: dict[str, dict[tuple[str, str], bytes]] = {}  # by room, then by node and address: the info
        self._nodes: dict[str, set[tuple[str, str]]] = {}  # by node: its rooms and addresses
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def enter(self, node: str, what: In) -> Changed | None:
        """List a client, or change its info; ``None``: that was known. ``SerializationError``: its info cannot be."""
        return self._put(node, what.room, what.address, PLAIN.encode([what.info]))

    def leave(self, node: str, what: Out) -> Changed | None:
        """Take a client off the list; ``None``: it was not on it."""
        there = self._rooms.get(what.room, {})
        info = there.pop((node, what.address), None)
        if info is None:
            return None
        if not there:
            del self._rooms[what.room]
        own = self._nodes[node]
        own.remove((what.room, what.address))
        if not own:
            del self._nodes[node]
        self._count -= 1
        return Changed("left", self._member(node, what.room, what.address, info))

    def replace(self, node: str, listing: Listing) -> list[Changed]:
        """List whom a node lists, and nobody else of it. ``SerializationError``: an info cannot be; nothing changed."""
        new = {(one.room, one.address): PLAIN.encode([one.info]) for one in listing.members}
        gone = [Out(*key) for key in sorted(self._nodes.get(node, ())) if key not in new]
        changes = [self.leave(node, out) for out in gone]
        changes += [self._put(node, room, address, new[room, address]) for room, address in sorted(new)]
        return [change for change in changes if change is not None]

    def drop(self, node: str) -> list[Changed]:
        """Forget a node: all its members leave."""
        return self.replace(node, Listing(()))

    def members(self, room: str) -> list[Member]:
        """Return who is listed in a room."""
        there = self._rooms.get(room, {})
        return [self._member(node, room, address, there[node, address]) for node, address in sorted(there)]

    def _put(self, node: str, room: str, address: str, info: bytes) -> Changed | None:
        there = self._rooms.setdefault(room, {})
        known = there.get((node, address))
        if known == info:
            return None
        there[node, address] = info
        if known is None:
            self._nodes.setdefault(node, set()).add((room, address))
            self._count += 1
        return Changed("joined" if known is None else "changed", self._member(node, room, address, info))

    def _member(self, node: str, room: str, address: str, info: bytes) -> Member:
        return Member(address, room, PLAIN.decode(info)[0], node, self._here in (None, node))
