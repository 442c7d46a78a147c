"""What belongs to one process must not be used by another."""

import os

__all__ = ["ForkGuard"]


class ForkGuard:
    """Remembers the process that it was made in. A forked child has neither the threads nor the locks of its parent."""

    __slots__ = ("_pid", "_what")

    def __init__(self, what: str) -> None:
        self._pid = os.getpid()
        self._what = what

    def check(self) -> None:
        """Raise ``RuntimeError`` in another process."""
        if os.getpid() != self._pid:
            raise RuntimeError(f"this {self._what} belongs to the parent process; make a new one after os.fork()")

    def foreign(self) -> bool:
        """Tell whether this is another process."""
        return os.getpid() != self._pid
