"""Looking at what other threads are in."""

import gc
import sys
from types import FrameType

from .fork import after_fork_in_child
from .interrupted import make_lock

__all__ = ["innermost_frames"]

_lock = make_lock()
_collects = False  # and does again afterwards; guarded by the lock


def innermost_frames() -> dict[int, FrameType]:
    """Return the innermost frame of each thread, by its ident; to be let go of soon, as frames keep what is in them.

    CPython 3.11 makes them while it holds a lock that a ``threading.local`` wants when it is freed: the whole process
    would stand still if a collection of garbage came meanwhile, and found one.
    """
    global _collects
    if sys.version_info >= (3, 12):
        return sys._current_frames()
    with _lock:
        _collects = gc.isenabled()
        gc.disable()
        try:
            return sys._current_frames()
        finally:
            if _collects:
                gc.enable()
            _collects = False


def _begin_anew() -> None:
    """Collect again, in a forked child, where another thread was in the middle of that."""
    global _collects, _lock
    if _collects:
        gc.enable()
    _collects, _lock = False, make_lock()


after_fork_in_child(_begin_anew)
