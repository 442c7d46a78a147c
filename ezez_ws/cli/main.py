"""The way in: choose the command, run it, and turn whatever ends it into an exit code."""

import argparse
import sys
from collections.abc import Callable, Sequence

from ..cli import call, connect, decode, listen, send, serve
from ..errors import EZEZError
from .arguments import parse
from .outcome import ExitCode, UsageError, exit_code_of
from .output import complain, give_up_what_is_left

__all__ = ["main"]

_COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "connect": connect.run,
    "call": call.run,
    "send": send.run,
    "listen": listen.run,
    "serve": serve.run,
    "decode": decode.run,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; see docs/cli.md for both.

    Args:
        argv: what follows the program's name; ``None`` takes it from ``sys.argv``.
    """
    try:
        return _run(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        return ExitCode.BROKEN_PIPE
    except (EZEZError, UsageError, OSError) as error:
        complain(error)
        return exit_code_of(error)
    finally:
        give_up_what_is_left()


def _run(argv: Sequence[str]) -> int:
    try:
        options = parse(argv)
    except SystemExit as end:  # after --help, --version or what was wrong
        sys.stdout.flush()
        return end.code if isinstance(end.code, int) else ExitCode.OK
    _COMMANDS[options.command](options)
    return ExitCode.OK
