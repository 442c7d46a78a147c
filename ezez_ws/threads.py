"""Starting threads, and borrowing those of others."""

import _thread
import contextlib
import os
import threading
from typing import List, Optional, Set

from .speedups import HAS_GLOBAL_LOCK
from .waker import Latch, Waker

__all__ = ["Loan", "start_thread", "wake_politely"]


def start_thread(thread: threading.Thread) -> None:
    """Start a thread, in such a way that a signal handler's exception cannot spoil it.

    ``Thread.start`` waits on an ``Event``, whose lock such an exception, Ctrl-C's say, can leave held: the new thread
    would wait for it for ever. Handlers run on the main thread only, so there another thread starts it.
    """
    if threading.current_thread() is not threading.main_thread():
        thread.start()
        return
    outcome: List[Optional[BaseException]] = []
    done = Waker()

    def start() -> None:
        try:
            thread.start()
            outcome.append(None)
        except BaseException as error:
            outcome.append(error)
        finally:
            done.set()

    _thread.start_new_thread(start, ())
    try:
        done.wait(None)
    except BaseException:
        if not outcome:
            done.wait(None)  # a moment: whoever handles this shall see whether the thread runs
        raise
    if outcome[0] is not None:
        raise outcome[0]


def wake_politely(politely: bool) -> None:
    """Let the calling thread, when it wakes, push nobody off a core, or let it do so again, if that was changed here.

    Of many threads that wake all the time one pushes off the one that has the global lock, to find that it cannot go on
    without that. It waits for its core as others do, then; what it gets in all is the same. See ``SCHED_BATCH`` in
    sched(7): Linux only. Where another policy was chosen, for the process or the thread, this does nothing.

    Who has called it with true calls it with false before the thread ends, or goes to somebody else.
    """
    me = threading.get_ident()
    if politely:
        if MAY_WAKE_POLITELY and _change_policy(os.SCHED_OTHER, os.SCHED_BATCH):
            _polite.add(me)
    elif me in _polite:
        _polite.discard(me)
        _change_policy(os.SCHED_BATCH, os.SCHED_OTHER)


def _change_policy(before: int, after: int) -> bool:
    """Change the calling thread's policy, if it has that of before; false where it has not, or must not."""
    with contextlib.suppress(OSError):
        if os.sched_getscheduler(0) == before:
            os.sched_setscheduler(0, after, os.sched_param(0))
            return True
    return False


def _may_wake_politely() -> bool:
    try:
        return HAS_GLOBAL_LOCK and hasattr(os, "SCHED_BATCH") and os.sched_getscheduler(0) == os.SCHED_OTHER
    except OSError:
        return False


MAY_WAKE_POLITELY = _may_wake_politely()
"""Whether there is a reason to and a way, and the process was not started with another policy than the usual."""

_polite: Set[int] = set()  # identifiers of threads; each adds and removes itself


class Loan:
    """The calling thread, which is somebody else's, until it is given back."""

    def __init__(self) -> None:
        self.thread = threading.current_thread()
        self._over = Latch()

    @property
    def name(self) -> str:
        """The thread's."""
        return self.thread.name

    def give_back(self) -> None:
        """Say that the thread is its owner's again."""
        self._over.open()

    def join(self, timeout: Optional[float]) -> None:
        """Wait until it is given back."""
        self._over.wait(timeout)
