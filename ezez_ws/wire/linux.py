"""Every trick of the operating system: what Linux and its C library offer beyond what Python asks them for.

Three of them are *tuning*, as they change the process or its threads and not only the call at hand: the futex hash
table, the allocator's threshold, and the scheduling policy. One switch turns them off (``tuning``,
``EZEZ_WS_TUNING=0``). Where the system has none of it they do nothing. Importing this changes nothing.
"""

import contextlib
import functools
import os
import socket
import struct
import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from ..messages.speedups import HAS_GLOBAL_LOCK
from ..options import check_flag
from ..threads.fork import after_fork_in_child

__all__ = [
    "BatchScheduling",
    "find_function",
    "has_cores",
    "keep_freed_memory",
    "reset",
    "restore_scheduling",
    "spread_sleepers",
    "switch",
    "tuning",
]

# -- the switch -----------------------------------------------------------------------------------------------------


switch = SimpleNamespace(on=os.environ.get("EZEZ_WS_TUNING") != "0")
"""Whether tuning is on. Read without a lock, for each message: a late view of it changes nothing but the time."""


def tuning(enabled: bool) -> None:
    """Allow or forbid the library to tune the process that it runs in, on Linux; it is allowed at first.

    Tuning is what changes more than the library's own calls: the process gets a larger futex hash table with its 151st
    connection, the memory allocator keeps up to 8 MiB of free memory from the first large message on, and the threads
    of connections have the scheduling policy ``SCHED_BATCH`` while there are several. With ``False`` none of that is
    done any more, for all servers and clients of the process. A thread whose policy was changed gets the usual one back
    when it next reads, so after the next message of its connection. What was done to the process, the table and the
    allocator's threshold, stays. ``EZEZ_WS_TUNING=0`` in the environment forbids it from the beginning.

    Messages are handled the same either way. Any thread may call it, at any time.
    """
    check_flag("enabled", enabled)
    switch.on = enabled


# -- calls ----------------------------------------------------------------------------------------------------------


def find_function(name: str, keeps_lock: bool = False) -> Callable[..., Any] | None:
    """Return a function of the C library, where there is one; ``keeps_lock``: it does not let go of the global lock."""
    if sys.platform != "linux":
        return None
    try:
        import ctypes

        function: Callable[..., Any] = getattr((ctypes.PyDLL if keeps_lock else ctypes.CDLL)(None), name)
    except (ImportError, OSError, AttributeError):
        return None
    return function


@functools.cache
def _find_connect() -> Callable[..., Any] | None:
    return find_function("connect")


_NO_LINGERING = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


def has_cores() -> bool:
    """Tell whether the calling thread may keep a core busy, as there is another for its peer."""
    try:
        return len(os.sched_getaffinity(0)) > 1
    except (AttributeError, OSError):
        return False


def reset(sock: Any) -> None:
    """Reset a TCP connection at once, and leave the descriptor open: its threads may be anywhere.

    A connect to no address does that (connect(2), ``AF_UNSPEC``). Elsewhere the reset comes with the close.
    """
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGERING)
    connect = _find_connect()
    if connect is not None:
        connect(sock.fileno(), bytes(16), 16)


# -- tuning: memory -------------------------------------------------------------------------------------------------

_BLOCK = 4 << 20  # bytes
_freed_is_kept = False  # to do it twice does no harm


def keep_freed_memory() -> None:
    """Let the memory of one large message be there for the next.

    glibc gives back to the system what is free beyond a threshold, and gets it again by page faults: with messages of
    1 MiB these took a third to two thirds of the time. The threshold is twice the largest block with a mapping of its
    own that was freed so far (mallopt(3), ``M_MMAP_THRESHOLD``). So this makes and frees such a block, once, and
    touches none of its pages. With other C libraries it does nothing. Any thread may call it.
    """
    global _freed_is_kept
    if _freed_is_kept or not switch.on:
        return
    _freed_is_kept = True
    with contextlib.suppress(MemoryError):  # then there is none to be kept
        bytes(_BLOCK)


# -- tuning: sleeping threads ---------------------------------------------------------------------------------------

_PR_FUTEX_HASH = 78
_SET_SLOTS, _GET_SLOTS = 1, 2
SLOTS = 4096  # of 64 bytes each


def spread_sleepers() -> None:
    """Give the process a futex hash table so large that thousands of sleeping threads cost the others nothing.

    To wake a thread the kernel searches one of that table's lists. Since Linux 6.17 a process has a table of its own,
    of 16 lists on two cores. With 10,000 threads asleep in those, all that wakes and waits takes twice the time: each
    hand-over of the interpreter's lock, too. Elsewhere this does nothing. See PR_FUTEX_HASH_SET_SLOTS(2const).
    """
    prctl = find_function("prctl") if switch.on else None
    if prctl is None:
        return
    from ctypes import c_ulong

    none = c_ulong(0)
    slots = prctl(_PR_FUTEX_HASH, c_ulong(_GET_SLOTS), none, none, none)
    if 0 < slots < SLOTS:  # 0: it shares the table of the whole machine; -1: this kernel does not know the call
        prctl(_PR_FUTEX_HASH, c_ulong(_SET_SLOTS), c_ulong(SLOTS), none, none)


# -- tuning: scheduling ---------------------------------------------------------------------------------------------

HAS_BATCH = HAS_GLOBAL_LOCK and hasattr(os, "SCHED_BATCH")  # there is a reason to change a thread's policy, and a way


class BatchScheduling:
    """Whether a thread that reads has the policy ``SCHED_BATCH``, by which it pushes nobody off a core when it wakes.

    Of many threads that wake all the time one pushes off the one that has the global lock, to find that it cannot go on
    without that. What it gets in all is the same. See sched(7). A thread that has another policy than the usual one,
    which somebody has chosen for it or for the process, keeps that.

    What the thread starts inherits the policy: threads, and programs (``SCHED_RESET_ON_FORK`` does not reset this one).
    A forked child gets the usual one back; ``restore_scheduling`` gives it back where a callback runs once a connection
    (before each it would cost more than it gains: ``benchmarks/NOTES.md``).

    One belongs to the thread that reads one wire, which alone calls ``choose``. ``chosen`` is what was chosen last.
    """

    __slots__ = ("chosen",)

    def __init__(self) -> None:
        self.chosen = False

    def choose(self, batch: bool) -> None:
        """Change the calling thread's policy, or change it back, if that was done here.

        Who has called it with true calls ``restore_scheduling`` before the thread does something else.
        """
        if not batch:
            restore_scheduling()
        elif HAS_BATCH and _change_policy(os.SCHED_OTHER, os.SCHED_BATCH):
            setattr(threading.current_thread(), _CHANGED_BY, self)
        self.chosen = batch


_CHANGED_BY = "_ezez_scheduling"
"""The attribute of a thread that has what has changed its policy: a ``threading.local`` takes 400 bytes a thread."""


def restore_scheduling() -> None:
    """Give the calling thread its usual policy back, if it was changed here, until it next reads."""
    thread = threading.current_thread()
    scheduling: BatchScheduling | None = getattr(thread, _CHANGED_BY, None)
    if scheduling is not None:
        _change_policy(os.SCHED_BATCH, os.SCHED_OTHER)
        scheduling.chosen = False
        setattr(thread, _CHANGED_BY, None)  # last: over an exception this is to be called again


def _change_policy(before: int, after: int) -> bool:
    """Change the calling thread's policy, if it has that of before; false where it has not, or must not."""
    with contextlib.suppress(OSError):
        if os.sched_getscheduler(0) == before:
            os.sched_setscheduler(0, after, os.sched_param(0))
            return True
    return False


after_fork_in_child(restore_scheduling)
