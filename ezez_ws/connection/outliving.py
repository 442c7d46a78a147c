"""User code that goes on though its connection has ended.

A loop in a listener that only sends, and looks at nothing, would go on for ever: on a server its ``send`` raises
``ConnectionClosed`` some time after the end. Other code cannot be stopped; it is told of.
"""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..threads.frames import innermost_frames
from .dispatch import Dispatcher

if TYPE_CHECKING:
    from .connection import ConnectionOptions

__all__ = ["Outliving"]

_LONG = 1.0  # seconds beyond ``close_timeout`` that user code may outlive its connection before that is told
_OURS = __name__.partition(".")[0] + "."


class Outliving(Dispatcher):
    """Knows how long user code has outlived the connection. ``_outlived_told`` is guarded by the inbox's lock."""

    options: "ConnectionOptions"
    _outlived_told = False  # hardly ever an attribute of a connection's own

    def call_later(self, delay: float, action: Callable[[], object]) -> None:
        """Have the janitor run a method in ``delay`` seconds."""
        raise NotImplementedError

    def outlived(self) -> bool:
        """Tell whether the calling thread is the connection's, and runs user code ``close_timeout`` after the end."""
        seconds, owner = self.inbox.outlived()
        return owner == threading.get_ident() and seconds >= self.options.close_timeout

    def look_for_outliving_later(self) -> None:
        """Tell, in some time, of user code that has outlived the connection, unless it has been stopped by then."""
        self.call_later(self.options.close_timeout + _LONG, self._look_for_outliving)

    def _look_for_outliving(self) -> None:
        seconds, owner = self.inbox.outlived()
        if seconds and owner is not None:
            self.warn_outlived(f"user code still runs long after the connection has ended: {_where(owner)}")

    def warn_outlived(self, text: str) -> None:
        """Tell, once, that user code has outlived the connection."""
        with self.inbox.lock:
            told, self._outlived_told = self._outlived_told, True
        if not told:
            self.warn(text, "outlived")


def _where(ident: int) -> str:
    """Say which function of the user's a thread of ours is in."""
    frame, called = innermost_frames().get(ident), None
    while frame is not None:
        ours = str(frame.f_globals.get("__name__")).startswith(_OURS)
        if ours and called is not None:
            code = called.f_code
            return f"{code.co_name} ({code.co_filename}, line {called.f_lineno})"
        called, frame = None if ours else frame, frame.f_back
    return "nobody knows where"
