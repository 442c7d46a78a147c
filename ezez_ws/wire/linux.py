"""What Linux and its C library offer beyond what Python asks them for: memory, sleeping threads, scheduling."""

import contextlib
import functools
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from ..messages.speedups import HAS_GLOBAL_LOCK

__all__ = ["find_function", "keep_freed_memory", "spread_sleepers", "wake_politely"]


def find_function(name: str, keeps_lock: bool = False) -> Callable[..., Any] | None:
    """Return it, or ``None`` where it cannot be had; with ``keeps_lock`` a call does not let go of the global lock."""
    if sys.platform != "linux":
        return None
    try:
        import ctypes

        function: Callable[..., Any] = getattr((ctypes.PyDLL if keeps_lock else ctypes.CDLL)(None), name)
    except (ImportError, OSError, AttributeError):
        return None
    return function


_BLOCK = 4 << 20  # bytes


@functools.cache
def keep_freed_memory() -> None:
    """Let the memory of one large message be there for the next.

    glibc gives back to the system what is free beyond a threshold, and gets it again by page faults: with messages of
    1 MiB, of which there are four copies between being read and answered, these took a third to two thirds of the time.
    The threshold is twice the largest block with a mapping of its own that was freed so far (mallopt(3),
    ``M_MMAP_THRESHOLD``). So this makes and frees such a block, once, and touches none of its pages. With other C
    libraries, and where so much is free in one piece already, it does nothing. Any thread may call it.
    """
    with contextlib.suppress(MemoryError):  # then there is none to be kept
        bytes(_BLOCK)


_PR_FUTEX_HASH = 78
_SET_SLOTS, _GET_SLOTS = 1, 2

SLOTS = 4096  # of 64 bytes each


def spread_sleepers() -> None:
    """Give the process a futex hash table so large that thousands of sleeping threads cost the others nothing.

    To wake a thread the kernel searches one of that table's lists. Since Linux 6.17 a process has a table of its own,
    of 16 lists on two cores. With 10,000 threads asleep in those, all that wakes and waits takes twice the time: each
    hand-over of the interpreter's lock, too. Elsewhere this does nothing. See PR_FUTEX_HASH_SET_SLOTS(2const).
    """
    prctl = find_function("prctl")
    if prctl is None:
        return
    from ctypes import c_ulong

    none = c_ulong(0)
    slots = prctl(_PR_FUTEX_HASH, c_ulong(_GET_SLOTS), none, none, none)
    if 0 < slots < SLOTS:  # 0: it shares the table of the whole machine; -1: this kernel does not know the call
        prctl(_PR_FUTEX_HASH, c_ulong(_SET_SLOTS), c_ulong(SLOTS), none, none)


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

_polite: set[int] = set()  # identifiers of threads; each adds and removes itself
