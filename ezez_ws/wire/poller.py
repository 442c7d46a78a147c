"""What a thread sleeps on that watches sockets."""

import socket
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

__all__ = ["Poller"]


class Selector(Protocol):
    """One of ``selectors``, or ``select.epoll``."""

    def register(self, fd: int, events: int, /) -> Any:
        """Watch a descriptor."""

    def close(self) -> None:
        """Give its own descriptor back."""


S = TypeVar("S", bound=Selector)


class Poller(Generic[S]):
    """A selector, and a pair of sockets by which others wake the thread that sleeps in it.

    Args:
        make_selector: makes the selector.
        events: for which it watches the thread's end of the pair.

    Raises:
        OSError: no descriptor can be had; nothing is left behind.
    """

    def __init__(self, make_selector: Callable[[], S], events: int) -> None:
        self._ends: Sequence[socket.socket] = ()
        self._selector: S | None = None
        try:
            self._ends = socket.socketpair()
            for end in self._ends:
                end.setblocking(False)
            self._selector = make_selector()
            self._selector.register(self._ends[0].fileno(), events)
        except BaseException:
            self.close()
            raise

    @property
    def selector(self) -> S:
        """What the thread sleeps in."""
        assert self._selector is not None
        return self._selector

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
        if self._selector is not None:
            self._selector.close()
