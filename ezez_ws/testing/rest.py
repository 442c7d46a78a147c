"""What the threads of the library are doing, as far as it can be told from outside: something, or nothing."""

import sys
import threading
from collections.abc import Collection

from ..threads.starting import is_of_the_library

__all__ = ["activity"]


def activity(but: Collection[threading.Thread], of_all: bool = False) -> object:
    """Return what is equal to what it was before, if the library's threads, or ``of_all``, have done nothing meanwhile.

    The calling thread is left out, and those of ``but``. What Linux counts of each thread tells it even where one that
    has been woken waits for a processor, or for Python's lock. Elsewhere only the coming and going of threads is seen.
    """
    me = threading.current_thread()
    others = [
        one for one in threading.enumerate() if one is not me and one not in but and (of_all or is_of_the_library(one))
    ]
    return [(one.ident, _switches(one)) for one in others]


def _switches(thread: threading.Thread) -> object:
    """Return how often a thread has gone to sleep, or been sent to; an object of its own where it does not sleep."""
    if sys.platform != "linux":
        return None
    try:
        with open(f"/proc/self/task/{thread.native_id}/status", "rb") as file:
            status = file.read()
    except OSError:
        return object()  # it has just begun, or ended
    state = status.partition(b"\nState:\t")[2][:1]
    return object() if state in b"RD" else status.partition(b"\nvoluntary_ctxt_switches:")[2]
