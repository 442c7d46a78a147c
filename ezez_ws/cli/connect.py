"""``ezez-ws connect``: a session at a terminal, or one that a program holds through pipes."""

import argparse
import sys

from .memory import Memory
from .outcome import UsageError
from .output import wants_colour
from .piped import PipedLines
from .screen import JsonScreen, Screen, TerminalScreen
from .shell import Lines, Shell

__all__ = ["run"]


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
