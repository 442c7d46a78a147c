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
        sys.stdout.write("".join(char if char.isascii() else json.dumps(char)[1:-1] for char in line) + "\n")
    sys.stdout.flush()


def notice(text: str) -> None:
    """Tell the user what is no result: one line, without characters that a terminal obeys, as the peer may have it."""
    line = " ".join(text.split())
    print("".join(char if char.isprintable() else " " for char in line), file=sys.stderr, flush=True)


def complain(error: Exception) -> None:
    """Say in one line why the command ends; nothing else comes of a standard error that is closed."""
    try:
        notice(f"ezez-ws: {str(error) or type(error).__name__}")
    except OSError:
        pass


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
