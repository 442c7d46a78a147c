"""The way in: choose the command, run it, and turn whatever ends it into an exit code.

Each command has a parser of its own, chosen by the first word, and no sub-parsers: only so does ``argparse`` take
options between the arguments of an event (``call URL sum 2 --timeout 5 3``).
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

from ..cli import call, connect, decode, listen, send, serve
from ..errors import EZEZError
from .outcome import ExitCode, UsageError, exit_code_of, words_of
from .output import give_up_what_is_left, log_to_stderr, notice
from .signals import EndingSignals

__all__ = ["COMMANDS", "main", "parse"]


class Command(NamedTuple):
    """A command: what it does, and the file that says what it takes (``add_arguments``) and runs it (``run``)."""

    help: str
    file: Any


COMMANDS = {
    "connect": Command("talk to a server: type events, see what arrives", connect),
    "call": Command("send an event, print its reply as JSON", call),
    "send": Command("send an event", send),
    "listen": Command("print the events that arrive, as JSON lines", listen),
    "serve": Command("a relay to try things with: echo, broadcast, rooms", serve),
    "decode": Command("print a captured message as JSON", decode),
}

_EPILOG = """\
An ARG is JSON where it is JSON, and a text else; '"5"' is the text 5. What begins with a dash comes after --.
Exit codes: 0, 1 no connection, 2 usage, 3 refused, 4 no reply in time, 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; see docs/cli.md for both. ``argv``: without the program's name."""
    code: int = ExitCode.OK
    with EndingSignals() as signals:
        code = _main(sys.argv[1:] if argv is None else argv, signals)
    return signals.exit_code or code


def _main(argv: Sequence[str], signals: EndingSignals) -> int:
    try:
        return _run(argv)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        return ExitCode.BROKEN_PIPE
    except (EZEZError, UsageError, OSError) as error:
        if not signals.exit_code:  # else it is what has come of the signal
            notice(f"ezez-ws: {words_of(error)}")
        return exit_code_of(error)
    finally:
        give_up_what_is_left()


def _run(argv: Sequence[str]) -> int:
    try:
        options = parse(argv)
    except SystemExit as end:  # after --help, --version or what was wrong
        if sys.stdout is not None:
            sys.stdout.flush()
        return end.code if isinstance(end.code, int) else ExitCode.OK
    with log_to_stderr(False, logging.ERROR):
        COMMANDS[options.command].file.run(options)
    return ExitCode.OK


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return the options; ``command`` is the name of the command. Help, and what is wrong, end with ``SystemExit``."""
    if not argv or argv[0] not in COMMANDS:
        _main_parser().parse_args(argv[:1])
    command = COMMANDS[argv[0]]
    parser = _parser(f"ezez-ws {argv[0]}", command.help)
    command.file.add_arguments(parser)
    options = parser.parse_intermixed_args(argv[1:])
    options.command = argv[0]
    return options


def _main_parser() -> argparse.ArgumentParser:
    parser = _parser("ezez-ws", "Talk to servers of ezez_ws and @ezez/ws-server from the shell.")
    lines = "\n".join(f"  {name:<9}{command.help}" for name, command in COMMANDS.items())
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    parser.add_argument("command", choices=list(COMMANDS), metavar="COMMAND", help="COMMAND --help tells more")
    parser.epilog = f"commands:\n{lines}\n\n{_EPILOG}"
    return parser


class _Parser(argparse.ArgumentParser):
    """One that says in a line what is wrong."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        notice(f"{self.prog}: {message}")
        self.exit(ExitCode.USAGE)


def _parser(name: str, summary: str) -> argparse.ArgumentParser:
    as_is = argparse.RawDescriptionHelpFormatter
    return _Parser(name, None, summary, _EPILOG, formatter_class=as_is, allow_abbrev=False)


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib import metadata  # which takes longer than a command that asks nothing of it

        try:
            version = metadata.version("ezez-ws")
        except metadata.PackageNotFoundError:
            version = "(not installed)"
        print(f"ezez-ws {version}")
        parser.exit()
