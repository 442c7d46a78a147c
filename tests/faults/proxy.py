"""A link whose every piece a test may hold up, cut or reset, by chance too; what it passes on it passes in order."""

import itertools
import random
import socket
import time
from collections.abc import Callable

from ezez_ws.testing import Link
from ezez_ws.testing.link import Way

__all__ = ["Fault", "Pipe", "Proxy"]


class Pipe(Way):
    """One direction of one connection. ``random`` is the same in every run."""

    seeds = itertools.count()

    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        super().__init__(source, target)
        self.random = random.Random(next(self.seeds))

    def cut(self) -> None:
        """End the connection in both directions, properly; the piece is lost."""
        self._lose()
        for sock in (self.source, self.target):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def half_close(self) -> None:
        """End this direction only; what still comes is lost."""
        self._lose()
        self.target.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """End the connection with a reset, towards both ends."""
        raise OSError("reset")

    def delay(self, most: float) -> None:
        """Be slow."""
        time.sleep(self.random.uniform(0, most))

    def _lose(self) -> None:
        self.waiting.clear()
        self.size = 0
        self.ended = True


Fault = Callable[[Pipe], None]
"""Called before each piece is passed on."""


class Proxy(Link):
    """A link to a port of the loopback.

    Args:
        port: of the real server.
        fault: what happens to each piece, in each direction.
    """

    _way = Pipe

    def __init__(self, port: int, fault: Fault) -> None:
        self._fault = fault
        super().__init__(f"ws://127.0.0.1:{port}")

    def _touch(self, way: Way) -> None:
        if isinstance(way, Pipe) and not way.ended:
            self._fault(way)
