"""The command line: which commands there are, and what each takes.

Each command has a parser of its own, chosen by the first word, and no sub-parsers: only so does ``argparse`` take
options between the arguments of an event (``call URL sum 2 --timeout 5 3``).
"""

import argparse
import math
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import EZEZError
from ..messages.protocol import check_event_name
from ..options import CLIENT, SERVER
from .outcome import UsageError
from .values import read_argument

__all__ = ["parse"]

_EPILOG = """\
An ARG is JSON where it is JSON, and a text else; '"5"' is the text 5. What begins with a dash comes after --.
Exit codes: 0, 1 no connection, 2 usage, 3 refused, 4 no reply in time, 130 Ctrl-C.
"""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return the options; ``command`` is the name of the command.

    Raises:
        SystemExit: the help or the version has been printed, or what is wrong; its code is the exit code.
    """
    if not argv or argv[0] not in _COMMANDS:
        _main_parser().parse_args(argv[:1])
    summary, describe = _COMMANDS[argv[0]]
    parser = _parser(f"ezez-ws {argv[0]}", summary)
    describe(parser)
    options = parser.parse_intermixed_args(argv[1:])
    options.command = argv[0]
    return options


def _main_parser() -> argparse.ArgumentParser:
    parser = _parser("ezez-ws", "Talk to servers of ezez_ws and @ezez/ws-server from the shell.")
    lines = "\n".join(f"  {name:<9}{summary}" for name, (summary, _) in _COMMANDS.items())
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    parser.add_argument("command", choices=list(_COMMANDS), metavar="COMMAND", help="COMMAND --help tells more")
    parser.epilog = f"commands:\n{lines}\n\n{_EPILOG}"
    return parser


def _parser(name: str, summary: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        name,
        description=summary,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


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


# -- the commands -----------------------------------------------------------------------------------------------------


def _connect(parser: argparse.ArgumentParser) -> None:
    _dialing(parser)
    _staying(parser)
    parser.add_argument(
        "--linger",
        type=_seconds_or_zero,
        default=1.0,
        metavar="S",
        help="seconds to show what still comes when the input was a pipe and has ended (default: 1)",
    )


def _call(parser: argparse.ArgumentParser) -> None:
    _dialing(parser)
    _message(parser)
    parser.add_argument(
        "--timeout", type=_seconds, default=10.0, metavar="S", help="seconds to wait for the reply (default: 10)"
    )


def _send(parser: argparse.ArgumentParser) -> None:
    _dialing(parser)
    _message(parser)


def _listen(parser: argparse.ArgumentParser) -> None:
    _dialing(parser)
    _staying(parser)
    parser.add_argument(
        "--event",
        action="append",
        dest="events",
        metavar="NAME",
        help="only events of this name; may be given again",
    )
    parser.add_argument("--count", type=_count, metavar="N", help="end after so many")


def _serve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default=SERVER["host"].default, help="the address to bind (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=8765, help="0 picks a free one (default: 8765)")
    _key(parser, "take only clients with this key (default: any key)")


def _decode(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "hex", nargs="*", metavar="HEX", help="the bytes; blanks, colons and 0x are fine (default: standard input)"
    )


_COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "connect": ("talk to a server: type events, see what arrives", _connect),
    "call": ("send an event, print its reply as JSON", _call),
    "send": ("send an event", _send),
    "listen": ("print the events that arrive, as JSON lines", _listen),
    "serve": ("a relay to try things with: echo, broadcast, rooms", _serve),
    "decode": ("print a captured message as JSON", _decode),
}


# -- what several commands take ---------------------------------------------------------------------------------------


def _dialing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("url", metavar="URL", help="ws://HOST:PORT/PATH, or wss://")
    _key(parser, "the key to authenticate with (default: the empty one)")
    parser.add_argument(
        "--header",
        type=_header,
        action="append",
        dest="headers",
        metavar="'NAME: VALUE'",
        help="for the handshake; may be given again",
    )
    parser.add_argument("--insecure", action="store_true", help="wss://: take any certificate")
    parser.add_argument(
        "--connect-timeout",
        type=_seconds,
        default=CLIENT["connect_timeout"].default,
        metavar="S",
        help="seconds to connect (default: %(default)g)",
    )


def _key(parser: argparse.ArgumentParser, meaning: str) -> None:
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--auth", metavar="KEY", help=f"{meaning}; other users of the machine can see it")
    group.add_argument("--auth-env", metavar="NAME", help="the environment variable that holds the key")


def _staying(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reconnect", action="store_true", help="connect again when the connection is lost")


def _message(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("event", type=_event, metavar="EVENT", help="its name")
    parser.add_argument("args", type=_argument, nargs="*", metavar="ARG", help="JSON, or a text")


# -- what an option may be --------------------------------------------------------------------------------------------


def _seconds(text: str) -> float:
    seconds = _seconds_or_zero(text)
    if not seconds:
        raise argparse.ArgumentTypeError("must be more than 0 seconds")
    return seconds


def _seconds_or_zero(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= 1e9:
        raise argparse.ArgumentTypeError(f"must be a number of seconds, not {text!r}")
    return seconds


def _count(text: str) -> int:
    return _integer(text, 1, 10**18)


def _port(text: str) -> int:
    return _integer(text, 0, 65535)


def _integer(text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and least <= int(text) <= most):
        raise argparse.ArgumentTypeError(f"must be an integer from {least} to {most}, not {text!r}")
    return int(text)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError("must be written as 'Name: value'")
    return name.strip(), value.strip()


def _event(text: str) -> str:
    try:
        return check_event_name(text)
    except (ValueError, EZEZError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _argument(text: str) -> Any:
    try:
        return read_argument(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
