"""Signal handlers that call the library while the thread that they have interrupted is inside it.

A handler runs on the main thread, between any two steps of what that thread does; a destructor that the garbage
collector calls, on any. Four rules make it safe for them to call what they like:

1. Every lock is re-entrant: nobody waits for a lock that he himself holds. (``Event`` has none to hold.)
2. What changes a connection looks first whether the calling thread holds its locks. Then it has interrupted a change,
   and what it wants is done right after that (``Connection.leave_for_later``). A registry of ours does the same with
   ``Changes``.
3. The state of everything else may be changed in the middle of a change: each step is whole in itself.
4. What would have to wait is refused, and closing only begins, on a thread of its own, where ``interrupts_library``
   says that the caller has interrupted the library: it may hold anything.
"""

import sys
import threading
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, Protocol, TypeVar, cast

__all__ = ["Lock", "calls_user_code", "interrupts_library", "make_lock", "refuse_to_wait"]

F = TypeVar("F", bound=Callable[..., Any])

_OURS = __name__.partition(".")[0] + "."
_USERS_OF_OURS = (f"{_OURS}cli.", f"{_OURS}testing.")  # parts of the package that use it as a program does
_BETWEEN_OURS = f"{_OURS}testing.recorder"  # but for this, which stands between a connection and its methods

_callers: set[CodeType] = set()


class Lock(Protocol):
    """A ``threading.RLock``, which knows its owner; ``Condition`` of the standard library relies on that, too."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool: ...
    def release(self) -> None: ...
    def __enter__(self) -> bool: ...
    def __exit__(self, *_: object) -> None: ...
    def _is_owned(self) -> bool: ...


def make_lock() -> Lock:
    """Make a lock."""
    return cast(Lock, threading.RLock())


def calls_user_code(function: F) -> F:
    """Mark a function that runs the user's code, and holds no lock then: that has been called, and interrupts nothing.

    A public method that calls another one is such a function, too, as a subclass may override that. Of those that run
    callbacks ``tests/lockcheck.py`` finds who is not marked.
    """
    _callers.add(cast(Any, function).__code__)
    return function


def interrupts_library() -> bool:
    """Tell whether the code that calls the library has interrupted the library, on this thread.

    So it is where below the frames of a call, and those of who called, there are frames of ours again, and the first
    of them is of a function that runs no user code. If it does, those are of a call again.
    """
    frame: FrameType | None = sys._getframe(1)
    called = False  # we have come to the frames of who called
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        ours = name.startswith(_OURS) and (name == _BETWEEN_OURS or not name.startswith(_USERS_OF_OURS))
        if called and ours and frame.f_code not in _callers:
            return True
        called = not ours
        frame = frame.f_back
    return False


def refuse_to_wait(what: str) -> None:
    """Raise ``RuntimeError`` where the calling code has interrupted the library, which it would wait for."""
    if interrupts_library():
        raise RuntimeError(f"{what} would have to wait, in a signal handler that has interrupted the library")
