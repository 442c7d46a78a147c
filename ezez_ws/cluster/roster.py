"""placeholder until the real one is merged"""

from typing import NamedTuple

from .audience import Member
from .entries import In, Out


class Changed(NamedTuple):
    change: str
    member: Member


class Roster:
    def __init__(self) -> None:
        self._m: dict[str, dict[str, Member]] = {}

    def enter(self, node: str, what: In) -> Changed | None:
        there = self._m.setdefault(what.room, {})
        old = there.get(what.address)
        m = there[what.address] = Member(what.address, what.room, what.info, node, True)
        return Changed("changed" if old else "joined", m) if old is None or old.info != m.info else None

    def leave(self, node: str, what: Out) -> Changed | None:
        m = self._m.get(what.room, {}).pop(what.address, None)
        return Changed("left", m) if m else None

    def members(self, room: str) -> list[Member]:
        return list(self._m.get(room, {}).values())
