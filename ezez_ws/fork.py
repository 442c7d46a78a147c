"""What belongs to one process must not be used by another."""

import os

__all__ = ["ForkGuard"]


class ForkGuard:
    """Remembers which process something belongs to. A forked child has neither the threads nor the locks of its parent.

    Args:
        what: the thing, for the error's text.
        bound: whether it belongs to this process from the beginning; else from ``bind`` on.
    """

    __slots__ = ("_pid", "_what")

    def __init__(self, what: str, bound: bool = True) -> None:
        self._pid = os.getpid() if bound else None
        self._what = what

    def bind(self) -> None:
        """Let it belong to this process, unless it belongs to one."""
        self._pid = self._pid or os.getpid()

    def check(self) -> None:
        """Raise ``RuntimeError`` in another process."""
        if self._pid is not None and os.getpid() != self._pid:
            raise RuntimeError(f"this {self._what} belongs to the parent process; make a new one after os.fork()")

    def foreign(self) -> bool:
        """Tell whether this is another process than the one that it belongs to."""
        return self._pid is not None and os.getpid() != self._pid
