"""What has arrived, on its way from the client's thread to the main thread."""

import threading
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

from ..messages.protocol import Ids

__all__ = ["Arrival", "Arrivals"]

_LIMIT = 1000
_LOOK = 0.5  # seconds; a signal that comes just before a wait begins is seen when the wait ends


class Arrival(NamedTuple):
    """An event as it came in."""

    event: str
    args: list[Any]
    ids: Ids


class Arrivals:
    """Events in their order, and how it ended; bounded, so that nothing is read from the server that nobody takes.

    Any thread may call anything. The lock of ``_changed`` guards the rest.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[Arrival | Exception] = deque()
        self._closed = False

    @property
    def closed(self) -> bool:
        with self._changed:
            return self._closed

    def put(self, arrival: Arrival | Exception) -> None:
        """Add one, which waits for room, or the error that was the end. Does nothing after ``close``."""
        with self._changed:
            if isinstance(arrival, Arrival):
                self._changed.wait_for(lambda: self._closed or len(self._waiting) < _LIMIT)
            if not self._closed:
                self._waiting.append(arrival)
                self._changed.notify_all()

    def __iter__(self) -> Iterator[Arrival]:
        """Wait for each; raises the error that was put in, after what came before it."""
        while True:
            with self._changed:
                while not self._waiting:
                    self._changed.wait(_LOOK)
                arrival = self._waiting.popleft()
                self._changed.notify_all()
            if isinstance(arrival, Exception):
                raise arrival
            yield arrival

    def close(self) -> None:
        """Let everybody go who waits for room: nobody takes anything any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
