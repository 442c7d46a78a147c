"""Where the kernel keeps the threads that sleep, each on a lock of its own."""

from .libc import find_function

__all__ = ["spread_sleepers"]

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
