"""What is written: results to standard output, line by line and at once, and everything else to standard error."""

import json
import os
import sys

__all__ = ["complain", "give_up_what_is_left", "notice", "wants_colour", "write_line"]


def write_line(line: str) -> None:
    """Write a line of a result, which whoever reads a pipe has at once."""
    try:
        sys.stdout.write(line + "\n")
    except UnicodeEncodeError:  # another encoding than UTF-8; in JSON the escape means the character
        sys.stdout.write(_ascii(line) + "\n")
    sys.stdout.flush()


def notice(text: str) -> None:
    """Tell the user something that is no result."""
    print(_plain(text), file=sys.stderr, flush=True)


def complain(error: Exception) -> None:
    """Say in one line why the command ends; nothing else comes of a standard error that is closed."""
    try:
        notice(f"ezez-ws: {str(error) or type(error).__name__}")
    except OSError:
        pass


def _plain(text: str) -> str:
    """Return a text, which may come from the other end, as one line without characters that a terminal obeys."""
    return "".join(char if char.isprintable() else " " for char in " ".join(text.split()))


def wants_colour() -> bool:
    """Tell whether standard output is a terminal whose user does not mind colour; see no-color.org."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def give_up_what_is_left() -> None:
    """Drop what standard output does not take, at the end of a command: else Python complains when it ends."""
    try:
        sys.stdout.flush()
    except OSError:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, sys.stdout.fileno())
        os.close(devnull)


def _ascii(text: str) -> str:
    return "".join(char if char.isascii() else json.dumps(char)[1:-1] for char in text)
