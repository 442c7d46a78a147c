"""What is written: results to standard output, line by line and at once, and everything else to standard error.

Every text goes through ``write_line`` or ``notice``, and much of it is a peer's: both leave nothing in it that a
terminal obeys, and no end of a line. Colours are given apart from the text that they are for.
"""

import json
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from ..logs import shown

__all__ = ["give_up_what_is_left", "log_to_stderr", "notice", "wants_colour", "write_line"]

_LONGEST_NOTICE = 1000  # characters
_UNCOLOURED = "\x1b[0m"


def write_line(*parts: str | tuple[str, str]) -> None:
    """Write a line of a result, which whoever reads a pipe has at once; a part may be a colour and its text."""
    line = "".join(_escape(part) if isinstance(part, str) else _paint(*part) for part in parts)
    if sys.stdout is None:
        raise OSError("standard output is closed")
    try:
        sys.stdout.write(line + "\n")
    except UnicodeEncodeError:  # another encoding than UTF-8; in JSON the escape means the character
        sys.stdout.write("".join(char if char.isascii() else json.dumps(char)[1:-1] for char in line) + "\n")
    sys.stdout.flush()


def _paint(colour: str, text: str) -> str:
    return f"{colour}{_escape(text)}{_UNCOLOURED}" if colour else _escape(text)


def _escape(text: str) -> str:
    return shown(text, len(text))


def notice(text: str) -> None:
    """Tell the user what is no result, in one line, cut where it is long; nothing where standard error is closed."""
    if sys.stderr is not None:  # print() would take standard output instead
        try:
            print(shown(text, _LONGEST_NOTICE), file=sys.stderr, flush=True)
        except OSError:
            pass


def wants_colour() -> bool:
    """Tell whether standard output is a terminal whose user does not mind colour; see no-color.org."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


@contextmanager
def log_to_stderr(verbose: bool, quiet_level: int) -> Iterator[None]:
    """Show what the library logs for the time of a ``with``: all of it, or what has at least the level."""
    logger, handler = logging.getLogger("ezez_ws"), _Notices(logging.DEBUG if verbose else quiet_level)
    level = logger.level
    logger.addHandler(handler)
    if verbose:
        logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


class _Notices(logging.Handler):
    """Tells each record in a line, and its traceback in lines that begin with a bar: a peer's text can be neither."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            time = logging.Formatter().formatTime(record, "%H:%M:%S")
            notice(f"{time}.{record.msecs:03.0f} {record.levelname} {record.name}: {record.getMessage()}")
            if record.exc_info:
                for line in "".join(traceback.format_exception(*record.exc_info)).splitlines():
                    notice(f"  | {line}")
        except Exception:
            self.handleError(record)


def give_up_what_is_left() -> None:
    """Drop what the outputs do not take, at the end of a command: else Python complains when it ends."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            devnull = os.open(os.devnull, os.O_WRONLY)
            os.dup2(devnull, stream.fileno())
            os.close(devnull)
