"""What a session remembers of what went by: names of events to complete, and messages to reply to."""

import threading
from collections.abc import Callable
from typing import Any

from .outcome import UsageError

__all__ = ["Memory"]

_MOST = 1000  # of each

Reply = Callable[..., Any]


class Memory:
    """Bounded: of many, the oldest are forgotten. Any thread may call anything; the lock guards both dicts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._names: dict[str, None] = {}  # the most recent last
        self._replies: dict[int, Reply] = {}

    def note_name(self, event: str) -> None:
        self._note(self._names, event, None)

    def note_reply(self, event_id: int, reply: Reply) -> None:
        self._note(self._replies, event_id, reply)

    def _note(self, entries: dict[Any, Any], key: Any, value: Any) -> None:
        with self._lock:
            entries.pop(key, None)
            entries[key] = value
            if len(entries) > _MOST:
                del entries[next(iter(entries))]

    def forget_replies(self) -> None:
        """The ids of a new connection start anew."""
        with self._lock:
            self._replies.clear()

    def reply_to(self, event_id: int) -> Reply:
        """Return the ``reply`` of a message; ``UsageError`` where none with this id has come, or it is long ago."""
        with self._lock:
            reply = self._replies.get(event_id)
        if reply is None:
            raise UsageError(f"no message with the id {event_id} has come")
        return reply

    def names(self) -> list[str]:
        with self._lock:
            return sorted(self._names)

    def ids(self) -> list[int]:
        """Return the ids of the messages that can be replied to, the most recent first."""
        with self._lock:
            return list(reversed(self._replies))
