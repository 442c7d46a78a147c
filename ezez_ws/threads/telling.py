"""Logging what peers can cause by the thousand, without being drowned in it."""

import logging
import threading
import time
from functools import partial
from typing import Any

from .timers import SLACK, janitor

__all__ = ["Telling"]

_PERIOD = 1.0  # seconds
_MOST = 10


class _Second:
    """What has come of one kind since ``begun``: how much, and what the last was."""

    __slots__ = ("args", "begun", "count")

    def __init__(self, args: tuple[object, ...]) -> None:
        self.begun = time.monotonic()
        self.count = 1
        self.args = args


class Telling:
    """A logger for what may come often: the first few of a second singly, the rest as one record with their number.

    Any thread may call. ``lock``, its owner's, guards ``_seconds``; nothing is logged under it. The rest is told by the
    janitor; where that has no user, it is not told.
    """

    def __init__(self, logger: logging.Logger, lock: Any) -> None:
        self._logger = logger
        self._lock: threading.Lock = lock
        self._seconds: dict[str, _Second] = {}  # by the text, which tells one kind from another

    def tell(self, level: int, text: str, *args: object, most: int = _MOST, **extra: object) -> None:
        """Log ``text % args``, unless ``most`` of its kind have been logged in this second."""
        if not self._logger.isEnabledFor(level):
            return
        with self._lock:
            second = self._seconds.get(text)
            begins = second is None or second.begun + _PERIOD + 2 * SLACK < time.monotonic()
            if second is None or begins:
                second = self._seconds[text] = _Second(args)
            else:
                second.count, second.args = second.count + 1, args
            told = second.count <= most
        if begins:
            janitor.call_later(_PERIOD, partial(self._tell_rest, level, text, most))
        if told:
            self._logger.log(level, text, *args, extra=extra)

    def _tell_rest(self, level: int, text: str, most: int) -> None:
        """Begin the next second, with a record of what has been left out in this one. The janitor's."""
        with self._lock:
            second = self._seconds.pop(text, None)
            left_out = 0 if second is None else second.count - most
            if second is not None and left_out > 0:
                self._seconds[text] = _Second(second.args)  # with what is now told
        if second is not None and left_out > 0:
            janitor.call_later(_PERIOD, partial(self._tell_rest, level, text, most))
            self._logger.log(level, f"{text} (the last of %d more within a second)", *second.args, left_out)
