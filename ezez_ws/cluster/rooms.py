"""Rooms: what may be one, and who is in which, on one node."""

from typing import Any

from ..messages.recovery import EVERYONE

__all__ = ["check_room"]

_LONGEST = 255


def check_room(room: Any) -> str:
    """Check the name of a room: 1 to 255 bytes of UTF-8, and not ``*``."""
    if not isinstance(room, str):
        raise TypeError(f"a room must be a str, not {type(room).__name__}")
    try:
        size = len(room.encode())
    except UnicodeEncodeError:
        raise ValueError(f"room {room!r:.80} has a lone surrogate, which UTF-8 cannot carry") from None
    if not 1 <= size <= _LONGEST:
        raise ValueError(f"room {room!r:.80} has {size} bytes of UTF-8; a room has 1 to {_LONGEST}")
    if room == EVERYONE:
        raise ValueError("'*' is no room: use everyone")
    return str.__str__(room)
