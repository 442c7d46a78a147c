"""Tickets: proofs that a client was in a room, and since when. Every node can check them, and nobody else make them.

Pure. What a client shows is anybody's: whatever has not its shape, or is false, is as if it had not been shown.
"""

import re
import secrets
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from ..messages.recovery import REREAD, Position, parse_position
from .window import Order

__all__ = ["Presented", "Stay", "make_session", "make_ticket", "read_presented"]

_SESSION = re.compile(r"[0-9a-f]{32}", re.ASCII)
_NO_ROOMS: Mapping[str, "Stay"] = {}


class Stay(NamedTuple):
    """A client's time in a room: since when it was there, and how far it has read."""

    since: Position
    position: Position


class Presented(NamedTuple):
    """What a client that wants recovery has shown with its authentication."""

    session: str | None
    stays: Mapping[str, Stay]
    claimed: str = ""
    """The session that it says it is; ``session`` is proven, as are the ``stays``."""
    read: Mapping[str, Order] = MappingProxyType({})
    """How far it says that it has read, by epoch. Neither gives it anything: it gets what it has not had by that."""


def make_session() -> str:
    """Make the name of a client that may come back."""
    return secrets.token_hex(16)


def make_ticket(secret: bytes, session: str, room: str, since: str) -> str:
    """Make the ticket of a session for a room that it is in since a position; none where there is no secret yet."""
    if not secret:
        return ""
    import hmac

    text = f"{session}:{len(room)}:{room}:{since}".encode("utf-8", "surrogatepass")
    return hmac.new(secret, text, "sha256").hexdigest()[:32]


def read_presented(secret: bytes, given: Any, most: int) -> Presented | None:
    """Read what a client has sent with its authentication; ``None``: it does not want recovery.

    ``most``: so many rooms are looked at.
    """
    if not isinstance(given, Mapping) or type(given.get("recover")) is not int or given["recover"] != 1:
        return None
    session, rooms = given.get("session"), given.get("rooms")
    if not isinstance(session, str) or not _SESSION.fullmatch(session) or not isinstance(rooms, Mapping):
        return Presented(None, _NO_ROOMS)
    stays: dict[str, Stay] = {}
    read: dict[str, Order] = {}
    for room, shown in list(rooms.items())[:most]:
        position = parse_position(shown[0]) if isinstance(shown, list) and shown else None
        if position is not None:
            epoch = position.epoch.removesuffix(REREAD)
            read[epoch] = max(position.order, read.get(epoch, position.order))
        stay = _read_stay(secret, session, room, shown)
        if stay is not None:
            stays[room] = stay
    return Presented(session if stays else None, stays, session, read)


def _read_stay(secret: bytes, session: str, room: Any, shown: Any) -> Stay | None:
    if not isinstance(shown, list) or len(shown) < 3 or not all(isinstance(text, str) for text in (room, *shown[:3])):
        return None
    position, since = parse_position(shown[0]), parse_position(shown[1])
    if position is None or since is None or not secret:
        return None
    import hmac

    right, ticket = make_ticket(secret, session, room, shown[1]), shown[2].encode("utf-8", "surrogatepass")
    if not hmac.compare_digest(right.encode(), ticket):
        return None
    earlier = position.epoch == since.epoch and position.order < since.order
    return Stay(since, since if earlier else position)
