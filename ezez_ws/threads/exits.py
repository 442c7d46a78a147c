"""Closing what is still open when the interpreter exits."""

import atexit
import weakref
from typing import Any

from ..logs import logger
from .deadline import Deadline
from .fork import after_fork_in_child
from .interrupted import make_lock

__all__ = ["close_at_exit"]

_SECONDS = 1.4  # two, less what threads that are stuck in user code, and a busy machine, take more

_lock = make_lock()
_open: "weakref.WeakSet[Any]" = weakref.WeakSet()
_registered = False


def close_at_exit(owner: Any) -> None:
    """Have ``owner`` closed at exit, all together within two seconds, if it still exists then. Idempotent.

    First ``owner.say_goodbye()`` is called on all, which does not block, then ``owner.close_within(seconds)``. A forked
    child does not close what is its parent's.
    """
    global _registered
    with _lock:
        _open.add(owner)
        if not _registered:
            atexit.register(_close_all)
            _registered = True


def _forget_all() -> None:
    global _lock, _open
    _lock, _open = make_lock(), weakref.WeakSet()


after_fork_in_child(_forget_all)


def _close_all() -> None:
    deadline = Deadline(_SECONDS)
    with _lock:
        owners = list(_open)
    for close in [owner.say_goodbye for owner in owners] + [
        lambda owner=owner: owner.close_within(deadline.remaining()) for owner in owners
    ]:
        try:
            close()
        except Exception:
            logger.exception("an error while closing at exit")
