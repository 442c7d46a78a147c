"""What several commands take on the command line, and the client that is made of it."""

import argparse
import contextlib
import math
import os
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from ..client import EZEZWebSocketClient
from ..errors import EZEZError
from ..messages.protocol import check_event_name
from ..options import CLIENT
from .outcome import UsageError
from .output import notice
from .signals import closing_first
from .tls import add_client_tls, client_context
from .values import read_argument

__all__ = [
    "add_connecting",
    "add_dialing",
    "add_key",
    "add_message",
    "add_seconds",
    "add_verbose",
    "connected",
    "integer",
    "key_of",
    "make_client",
    "seconds_or_zero",
    "shown_url",
]

_MAX_PAYLOAD = 64 << 20  # of one message; who asks at a shell wants to see it
_CLOSE_TIMEOUT = 2.0
_PATIENCE = 0.3  # seconds after which a person wants to know what is waited for


def add_dialing(parser: argparse.ArgumentParser, stays: bool = False) -> None:
    parser.add_argument("url", metavar="URL", help="ws://HOST:PORT/PATH, or wss://")
    add_connecting(parser)
    if stays:
        parser.add_argument("--reconnect", action="store_true", help="connect again when the connection is lost")


def add_connecting(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(reconnect=False)
    add_key(parser, "the key to authenticate with (default: the empty one)")
    parser.add_argument(
        "--header", type=_pair, action="append", metavar="'NAME: VALUE'", help="for the handshake; may be given again"
    )
    parser.add_argument(
        "--subprotocol", action="append", metavar="NAME", help="to offer in the handshake; may be given again"
    )
    add_client_tls(parser)
    add_seconds(parser, "--connect-timeout", CLIENT["connect_timeout"].default, "to connect")
    add_verbose(parser)


def add_key(parser: argparse.ArgumentParser, meaning: str) -> None:
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--auth", metavar="KEY", help=f"{meaning}; other users of the machine can see it")
    group.add_argument("--auth-env", metavar="NAME", help="the environment variable that holds the key")


def add_verbose(parser: argparse.ArgumentParser) -> None:
    words = "tell on standard error what happens: frames, handshakes, events"
    parser.add_argument("-v", "--verbose", action="store_true", help=words)


def add_message(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("event", type=partial(_read, check_event_name), metavar="EVENT", help="the name of the event")
    read = partial(_read, read_argument)
    parser.add_argument("args", type=read, nargs="*", default=[], metavar="ARG", help="JSON, or a text")


def add_seconds(
    parser: argparse.ArgumentParser, name: str, default: float, meaning: str, read: Callable[[str], float] | None = None
) -> None:
    words = f"seconds {meaning} (default: %(default)g)"
    parser.add_argument(name, type=read or _seconds, default=default, metavar="S", help=words)


def _seconds(text: str) -> float:
    value = seconds_or_zero(text)
    if not value:
        raise argparse.ArgumentTypeError("must be more than 0 seconds")
    return value


def seconds_or_zero(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1e9:
        raise argparse.ArgumentTypeError(f"must be a number of seconds, not {text!r}")
    return value


def integer(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and len(text) < 20 and least <= int(text) <= most):
            raise argparse.ArgumentTypeError(f"must be an integer from {least} to {most}, not {text!r}")
        return int(text)

    return read


def _pair(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError("must be written as 'Name: value'")
    return name.strip(), value.strip()


def _read(read: Callable[[str], Any], text: str) -> Any:
    try:
        return read(text)
    except (ValueError, EZEZError, UsageError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def make_client(options: argparse.Namespace, **more: Any) -> EZEZWebSocketClient:
    """Make the client that the command line describes; ``more`` are its own options. ``UsageError``: it is wrong."""
    try:
        return EZEZWebSocketClient(
            options.url,
            auth=key_of(options) or "",
            headers=options.header,
            subprotocols=options.subprotocol,
            ssl=client_context(options),
            auto_reconnect=options.reconnect,
            connect_timeout=options.connect_timeout,
            max_payload=_MAX_PAYLOAD,
            close_timeout=_CLOSE_TIMEOUT,
            **more,
        )
    except (ValueError, TypeError) as error:
        raise UsageError(str(error)) from error


@contextlib.contextmanager
def connected(
    options: argparse.Namespace,
    client: EZEZWebSocketClient,
    heard: Callable[[EZEZError], bool] = lambda error: False,
    ending: Callable[[], object] = lambda: None,
) -> Iterator[None]:
    """Connect for the time of a ``with``; where that takes a while, a person at a terminal is told.

    ``heard`` is asked when this fails: true where the callbacks have heard of a connection, and of its end, before
    ``connect`` returned; they may have events of it. ``ending`` is called before a signal closes the client.
    """

    def close() -> None:
        ending()
        client.close()

    with contextlib.closing(client), closing_first(close):
        try:
            with _telling_who_waits(options, client):
                client.connect(timeout=options.connect_timeout)
        except EZEZError as error:
            if not heard(error):
                raise
        yield


@contextlib.contextmanager
def _telling_who_waits(options: argparse.Namespace, client: EZEZWebSocketClient) -> Iterator[None]:
    if sys.stderr is None or not sys.stderr.isatty():
        yield
        return

    def tell() -> None:
        if not client.alive:
            notice(f"connecting to {shown_url(options)} ...")

    timer = threading.Timer(_PATIENCE, tell)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def key_of(options: argparse.Namespace) -> str | None:
    """Return the key of ``--auth`` or ``--auth-env``, or ``None`` where there is neither."""
    if options.auth_env is None:
        return options.auth  # type: ignore[no-any-return]
    try:
        return os.environ[options.auth_env]
    except KeyError:
        raise UsageError(f"--auth-env: there is no environment variable {options.auth_env}") from None


def shown_url(options: argparse.Namespace) -> str:
    """Return the URL without its query, which may hold a secret."""
    return options.url.partition("?")[0]  # type: ignore[no-any-return]
