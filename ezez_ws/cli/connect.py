"""``ezez-ws connect``: a session at a terminal, or one that a program holds through pipes."""

import argparse
import queue
import sys
import threading
from collections.abc import Iterator

from .arguments import add_dialing, add_seconds, seconds_or_zero
from .memory import Memory
from .outcome import UsageError
from .output import wants_colour
from .screen import JsonScreen, Screen, TerminalScreen
from .shell import Lines, Shell

__all__ = ["add_arguments", "run"]

_WAITING = 100
_LOOK = 0.5  # seconds; a signal that comes just before a wait begins is seen when the wait ends


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_dialing(parser, stays=True)
    meaning = "to show what still comes when the input was a pipe and has ended"
    add_seconds(parser, "--linger", 1.0, meaning, seconds_or_zero)


def run(options: argparse.Namespace) -> None:
    memory, colour = Memory(), wants_colour()
    screen: Screen = TerminalScreen(colour) if sys.stdout.isatty() else JsonScreen()
    Shell(options, memory, screen, _lines(memory, colour)).run()


def _lines(memory: Memory, colour: bool) -> Lines:
    if sys.stdin is None or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return PipedLines()
    try:
        from .terminal import TerminalLines
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "prompt_toolkit":
            raise
        raise UsageError("connect in a terminal needs prompt_toolkit: pip install 'ezez-ws[cli]'") from None
    return TerminalLines(memory, colour)


class PipedLines:
    """Reads standard input on a thread of its own, so that ``stop`` can end a wait for the next line."""

    strict = True  # a line that means nothing ends the session: nobody is there to type it again

    def __init__(self) -> None:
        self._lines: queue.Queue[str | None] = queue.Queue(_WAITING)
        self._stopped = threading.Event()

    def __enter__(self) -> "PipedLines":
        threading.Thread(target=self._read, name="ezez-input", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()

    def __iter__(self) -> Iterator[str]:
        while not self._stopped.is_set():
            try:
                line = self._lines.get(timeout=_LOOK)
            except queue.Empty:
                continue
            if line is None or self._stopped.is_set():
                return
            yield line

    def stop(self) -> None:
        """End the iteration, from any thread."""
        self._stopped.set()
        try:
            self._lines.put_nowait(None)
        except queue.Full:
            pass  # the iteration does not wait, and looks at _stopped next

    def _read(self) -> None:
        try:
            # not sys.stdin: this may still wait when the interpreter ends, which would then want that one's lock
            with open(0, encoding="utf-8", errors="replace", closefd=False) as lines:
                for line in lines:
                    self._lines.put(line)
        except OSError:  # there is no standard input
            pass
        self._lines.put(None)
