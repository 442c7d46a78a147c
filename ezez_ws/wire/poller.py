"""What a thread sleeps on that watches sockets."""

import socket
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["Poller"]


class Poller:
    """A selector, and a pair of sockets by which others wake the thread that sleeps in it.

    It is one of ``selectors``, or ``select.epoll``; ``events`` are those for which it watches the thread's end of the
    pair. ``OSError``: no descriptor can be had; nothing is left behind.
    """

    def __init__(self, make_selector: Callable[[], Any], events: int) -> None:
        self._ends: Sequence[socket.socket] = ()
        self.selector: Any = None  # what the thread sleeps in
        try:
            self._ends = socket.socketpair()
            for end in self._ends:
                end.setblocking(False)
            self.selector = make_selector()
            self.selector.register(self._ends[0].fileno(), events)
        except BaseException:
            self.close()
            raise

    def wake(self) -> None:
        """Wake the thread, now or when it next sleeps."""
        try:
            self._ends[1].send(b"\0")
        except BlockingIOError:
            pass  # it is full of wake-ups that nobody has read yet

    def hush(self) -> None:
        """Read the wake-ups. The thread's."""
        self._ends[0].recv(4096)

    def close(self) -> None:
        """Give all descriptors back. Idempotent."""
        for end in self._ends:
            end.close()
        if self.selector is not None:
            self.selector.close()
