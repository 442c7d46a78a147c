"""What the library tells: its loggers, what comes in floods told in short, and text of others escaped and cut.

There are three loggers and no handler: where nobody has set up logging, Python prints warnings and errors on standard
error. Each record has ``connection_id``, ``remote_address`` and ``event``, which are ``None`` where there is none.
Nothing is told while a lock is held: handlers are user code.
"""

import logging
import math
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

__all__ = ["cluster_logger", "frames", "limited", "logger", "name_of", "shown", "shown_address"]

logger = logging.getLogger("ezez_ws")
frames = logging.getLogger("ezez_ws.frames")
"""Frames and handshakes, at DEBUG."""

cluster_logger = logging.getLogger("ezez_ws.cluster")
"""What happens to a cluster."""

_ATTRIBUTES = {"connection_id": None, "remote_address": None, "event": None}


def _complete(record: logging.LogRecord) -> bool:
    """Give a record the attributes that it lacks, so that a format may name them."""
    vars(record).update({**_ATTRIBUTES, **vars(record)})
    return True


logger.addFilter(_complete)
frames.addFilter(_complete)
cluster_logger.addFilter(_complete)

FEW = 10  # records of a kind in one window that are told singly
WINDOW = 1.0  # seconds
_MOST_KINDS = 256


class _Window:
    """A second of one kind of record."""

    __slots__ = ("count", "end", "extra", "few", "level", "sample")

    def __init__(self, level: int, end: float, few: int) -> None:
        self.level = level
        self.end = end
        self.few = few
        self.count = 0
        self.sample = ""  # the text of the first that was not told
        self.extra: dict[str, Any] = {}


class Limited:
    """Tells the first ten records of a kind in a second, and how many the others were.

    That number comes when the second is over: by ``call_later``, which the janitor sets, as it does ``monotonic``; by
    the next record of the kind, or by ``flush``. A kind must not be of a peer's making, or there would be as many as it
    likes. Any thread may call any method. ``_lock`` guards the windows; re-entrant, as a signal's handler may have
    something to tell.
    """

    def __init__(self) -> None:
        self.call_later: Callable[[float, Callable[[], object]], object] | None = None
        self.monotonic: Callable[[], float] = time.monotonic
        self._lock = threading.RLock()
        self._windows: dict[object, _Window] = {}

    def tell(self, level: int, kind: object, text: str, *args: object, few: int = FEW, **options: Any) -> None:
        """Log a record, or only count it where ``few`` have been logged; ``options`` are those of ``Logger.log``."""
        if not logger.isEnabledFor(level):
            return
        now = self.monotonic()
        over: list[_Window] = []
        with self._lock:
            window = self._windows.get(kind)
            if window is None or now >= window.end:
                if window is not None:
                    over = [window]
                elif len(self._windows) >= _MOST_KINDS:
                    over, self._windows = list(self._windows.values()), {}
                window = self._windows[kind] = _Window(level, now + WINDOW, few)
            window.count += 1
            count = window.count
        for one in over:
            _sum_up(one)
        if count <= few:
            logger.log(level, text, *args, stacklevel=2, **options)
        elif count == few + 1:
            window.sample, window.extra = text % args, options.get("extra") or {}  # only this thread writes them
            if self.call_later is not None:
                self.call_later(WINDOW, self.flush_due)

    def begin_anew(self) -> None:
        """Forget the parent's lock, which somebody may have held, and what it counted: a forked child's."""
        self._lock = threading.RLock()
        self._windows = {}

    def flush_due(self) -> None:
        """Tell how many were only counted, where the second is over."""
        self.flush(self.monotonic())

    def flush(self, now: float = math.inf) -> None:
        """Tell how many were only counted, in each second that is over at ``now``."""
        with self._lock:
            due = [kind for kind, window in self._windows.items() if now >= window.end]
            over = [self._windows.pop(kind) for kind in due]
        for window in over:
            _sum_up(window)


def _sum_up(window: _Window) -> None:
    if window.count > window.few:
        more = window.count - window.few
        logger.log(window.level, "%d more like this one within a second: %s", more, window.sample, extra=window.extra)


limited = Limited()


_LONGEST = 200


def shown(text: str, limit: int = _LONGEST) -> str:
    """Return ``text`` with escapes for what is not printable, cut to ``limit`` characters.

    Control characters, line ends, those that change the direction of writing, and lone surrogates become escapes as in
    Python's string literals; other letters, of whatever script, stay.
    """
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    if cut.isprintable():
        return cut
    return "".join(letter if letter.isprintable() else _escape(letter) for letter in cut)


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape", "backslashreplace").decode("ascii")


def shown_address(address: Any) -> str | None:
    """Write an address as a URL does; ``None`` where there is none, as with a Unix socket."""
    if not address:
        return None
    if not isinstance(address, tuple) or len(address) < 2:
        return shown(str(address))
    host = shown(str(address[0]))
    return f"[{host}]:{address[1]}" if ":" in host else f"{host}:{address[1]}"


def name_of(function: Any) -> str:
    """Name a callback of the user's by where it is defined, and not by its ``repr``, which may hold what it is for."""
    while isinstance(function, partial):
        function = function.func
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"
