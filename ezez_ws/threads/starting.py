"""Starting threads, and borrowing those of others."""

import _thread
import contextlib
import threading
from collections.abc import Callable

from . import clock
from .interrupted import interrupts_library
from .waiting import Event

__all__ = ["Loan", "begin_thread", "is_of_the_library", "join_thread", "start_thread"]

_LENT = "_ezez_lent"  # the attribute of a thread that is


def start_thread(thread: threading.Thread) -> None:
    """Start a thread, in such a way that a signal handler's exception cannot spoil it.

    ``Thread.start`` waits on an ``Event``, whose lock such an exception, Ctrl-C's say, can leave held: the new thread
    would wait for it for ever. Handlers run on the main thread only, so there another thread starts it. In a handler
    that has interrupted the library it is not waited for.
    """
    if threading.current_thread() is not threading.main_thread():
        thread.start()
        return
    outcome: list[BaseException | None] = []
    done = Event()

    def start() -> None:
        try:
            thread.start()
            outcome.append(None)
        except BaseException as error:
            outcome.append(error)
        finally:
            done.set()

    _thread.start_new_thread(start, ())
    if interrupts_library():
        return
    try:
        done.wait()
    except BaseException:
        if not outcome:
            done.wait()  # a moment: whoever handles this shall see whether the thread runs
        raise
    if outcome[0] is not None:
        raise outcome[0]


def join_thread(thread: "threading.Thread | Loan", timeout: float | None = None) -> None:
    """Wait for a thread to end, but not for one that a signal handler has begun to start, and that is not there yet."""
    if isinstance(thread, Loan):
        thread.join(timeout)
        return
    with contextlib.suppress(RuntimeError):  # that one finds that it is not wanted
        clock.join(thread, timeout)


def begin_thread(target: Callable[[], object], name: str) -> None:
    """Have a daemon thread run ``target``, and wait for nothing: a signal handler may call this at any moment."""
    thread = threading.Thread(target=target, name=name, daemon=True)
    _thread.start_new_thread(thread.start, ())


def is_of_the_library(thread: threading.Thread) -> bool:
    """Tell whether a thread is one of ours, or lent."""
    return thread.name.startswith("ezez-") or getattr(thread, _LENT, False)


class Loan:
    """The calling thread, which is somebody else's, until it is given back."""

    def __init__(self) -> None:
        self.thread = threading.current_thread()
        self.name = self.thread.name
        setattr(self.thread, _LENT, True)
        self._over = Event()

    def give_back(self) -> None:
        """Say that the thread is its owner's again."""
        setattr(self.thread, _LENT, False)
        self._over.set()

    def join(self, timeout: float | None) -> None:
        """Wait until it is given back."""
        self._over.wait(timeout)
