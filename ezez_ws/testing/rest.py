"""What the threads of the library are doing, as far as it can be told from outside: something, or nothing."""

import sys
import threading
from collections.abc import Collection, Iterator
from types import CodeType, FrameType

from ..server_run import ServerRun

__all__ = ["activity", "is_of_the_library"]

_LENT: tuple[CodeType, ...] = (ServerRun.serve_upgrade.__code__, ServerRun.serve_borrowed.__code__)
"""By these a web server's thread becomes a connection's."""


def is_of_the_library() -> bool:
    """Tell whether the calling thread is one of the library's, or lent to it by a web server."""
    return _is_ours(threading.current_thread(), sys._getframe())


def activity(but: Collection[threading.Thread]) -> object:
    """Return what is equal to what it was before, if the library's threads have done nothing meanwhile.

    The calling thread is left out, and those of ``but``. What Linux counts of each thread tells it even where one that
    has been woken waits for a processor, or for Python's lock. Elsewhere only the coming and going of threads is seen.
    """
    frames = sys._current_frames()
    others = [
        thread
        for thread in threading.enumerate()
        if thread is not threading.current_thread()
        and thread not in but
        and _is_ours(thread, frames.get(thread.ident or 0))
    ]
    return [(thread.ident, _switches(thread)) for thread in others]


def _is_ours(thread: threading.Thread, frame: FrameType | None) -> bool:
    return thread.name.startswith("ezez-") or any(one.f_code in _LENT for one in _stack(frame))


def _stack(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


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
