"""Where the kernel keeps the threads that sleep, each on a lock of its own."""

import sys

__all__ = ["spread_sleepers"]

_PR_FUTEX_HASH = 78
_SET_SLOTS, _GET_SLOTS = 1, 2

SLOTS = 4096  # of 64 bytes each


def spread_sleepers() -> None:
    """Let the process have enough lists of sleepers that thousands of threads cost the others nothing.

    To wake a thread the kernel searches the list that it is in, and since Linux 6.17 a process has lists of its own,
    16 of them on two cores. With 10,000 threads asleep in those, all that wakes and waits takes twice the time: each
    hand-over of the interpreter's lock, too. Elsewhere this does nothing. See PR_FUTEX_HASH_SET_SLOTS(2const).
    """
    if sys.platform != "linux":
        return
    try:
        import ctypes

        prctl = ctypes.CDLL(None).prctl
    except (ImportError, OSError, AttributeError):
        return
    none = ctypes.c_ulong(0)
    slots = prctl(_PR_FUTEX_HASH, ctypes.c_ulong(_GET_SLOTS), none, none, none)
    if 0 < slots < SLOTS:  # 0: it shares the lists of the whole machine; -1: this kernel does not know the call
        prctl(_PR_FUTEX_HASH, ctypes.c_ulong(_SET_SLOTS), ctypes.c_ulong(SLOTS), none, none)
