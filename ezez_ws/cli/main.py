"""The way in: choose the command, run it, and turn whatever ends it into an exit code.

Each command has a parser of its own, chosen by the first word, and no sub-parsers: only so does ``argparse`` take
options between the arguments of an event (``call URL sum 2 --timeout 5 3``).
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

from ..cli import call, connect, contract, decode, emit, listen, send, serve, stacks
from ..errors import EZEZError
from .outcome import ContractsDiffer, ExitCode, UsageError, exit_code_of, words_of
from .output import give_up_what_is_left, log_to_stderr, notice
from .signals import EndingSignals

__all__ = ["COMMANDS", "main", "parse"]


class Command(NamedTuple):
    """What a command takes and does, and the file with its arguments (``add_arguments``) that runs it (``run``)."""

    takes: str
    help: str
    file: Any


COMMANDS = {
    "connect": Command("URL", "talk to a server: type events, see what arrives", connect),
    "call": Command("URL EVENT [ARG...]", "send an event, print its reply as JSON", call),
    "send": Command("URL EVENT [ARG...]", "send an event", send),
    "emit": Command("URL EVENT [ARG...]", "send an event to rooms, by way of the servers' Redis", emit),
    "listen": Command("URL", "print the events that arrive, as JSON lines", listen),
    "serve": Command("", "a relay to try things with: echo, broadcast, rooms", serve),
    "contract": Command(
        "[check URL] MODULE:CONTRACT", "write a contract in another form, or compare a server's with it", contract
    ),
    "stacks": Command("URL", "print what a server's listeners do now, and where, by its monitor", stacks),
    "decode": Command("[HEX...]", "print a captured message as JSON", decode),
}

_EPILOG = """\
An ARG is JSON where it is JSON, and a text otherwise; '"5"' is the text 5. What begins with {, [ or " must be JSON.
Arguments that begin with a dash come after --.
Exit codes: 0, 1 no connection, 2 usage, 3 refused, 4 no reply in time, 5 an error, 6 another contract, 130 Ctrl-C,
143 SIGTERM, 129 SIGHUP.
"""
_MISSING = "the following arguments are required: "  # as argparse says it


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
    except (EZEZError, UsageError, ContractsDiffer, OSError) as error:
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
    with log_to_stderr(options.verbose, options.quiet_level):
        COMMANDS[options.command].file.run(options)
    return ExitCode.OK


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return the options; ``command`` is the name of the command. Help, and what is wrong, end with ``SystemExit``."""
    if not argv or argv[0] not in COMMANDS:
        main_parser = _main_parser()
        if not argv:
            main_parser.help_instead()
        main_parser.parse_args(argv[:1])  # which ends with --help, --version, or an error
    name, *rest = argv
    command = COMMANDS[name]
    parser = _Parser(name, command.takes, command.help)
    parser.set_defaults(verbose=False, quiet_level=logging.ERROR)
    command.file.add_arguments(parser)
    if not rest and command.takes.startswith("URL"):
        parser.help_instead()
    options = parser.parse_intermixed_args(rest)
    options.command = name
    return options


class _Parser(argparse.ArgumentParser):
    """One that says in a line what is wrong, and whose usage leaves the options to ``--help``."""

    def __init__(self, command: str, takes: str, summary: str) -> None:
        self.takes = takes
        name = f"ezez-ws {command}".rstrip()
        super().__init__(
            prog=name,
            usage=f"{name} [OPTION...] {takes}".rstrip(),
            description=summary,
            epilog=_EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        if message.startswith(_MISSING):
            needed, _, optional = self.takes.partition(" [")
            optional = f"; {optional.rstrip(']')} is optional" if optional else ""
            message = f"missing: {message.removeprefix(_MISSING)} (needed: {needed}{optional}); --help tells more"
        notice(f"usage: {self.usage}")
        notice(f"{self.prog}: {message}")
        self.exit(ExitCode.USAGE)

    def help_instead(self) -> NoReturn:
        """End with the help where an error would be, as nothing is given at all."""
        self.print_help(sys.stderr)
        self.exit(ExitCode.USAGE)


def _main_parser() -> _Parser:
    parser = _Parser("", "COMMAND", "Talk to servers of ezez_ws and @ezez/ws-server from the shell.")
    lines = "\n".join(f"  {name:<9}{command.help}" for name, command in COMMANDS.items())
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    parser.add_argument("command", choices=list(COMMANDS), metavar="COMMAND", help="COMMAND --help tells more")
    parser.epilog = f"commands:\n{lines}\n\n{_EPILOG}"
    return parser


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
