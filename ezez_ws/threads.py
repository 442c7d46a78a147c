"""Starting threads, and borrowing those of others."""

import threading
from typing import Optional

__all__ = ["Loan", "start_thread"]


def start_thread(thread: threading.Thread) -> None:
    """Start a thread; a signal handler's exception comes out as itself.

    ``Thread.start`` waits on an ``Event``, whose lock such an exception can leave in disorder: then it comes out as the
    context of a ``RuntimeError``.
    """
    try:
        thread.start()
    except RuntimeError as error:
        cause = error.__context__
        if cause is not None and not isinstance(cause, Exception):
            raise cause from None
        raise


class Loan:
    """The calling thread, which is somebody else's, until it is given back."""

    def __init__(self) -> None:
        self.thread = threading.current_thread()
        self._over = threading.Event()

    @property
    def name(self) -> str:
        """The thread's."""
        return self.thread.name

    def give_back(self) -> None:
        """Say that the thread is its owner's again."""
        self._over.set()

    def join(self, timeout: Optional[float]) -> None:
        """Wait until it is given back."""
        self._over.wait(timeout)
