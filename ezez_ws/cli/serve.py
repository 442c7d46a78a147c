"""``ezez-ws serve``: a relay until Ctrl-C, which is a server that knows a few events, to try clients with."""

import argparse
import contextlib
import errno
import hmac
import ipaddress
import logging
import threading
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from ..errors import EZEZError
from ..messages.protocol import Ids
from ..opening.server_handshake import HandshakeRequest
from ..options import SERVER
from ..server import EZEZWebsocketServer
from ..server_client import EZEZServerClient
from .arguments import add_key, add_verbose, integer, key_of
from .outcome import UsageError
from .output import notice, write_line
from .signals import closing_first
from .tls import add_server_tls, server_context
from .values import write_arguments

__all__ = ["Relay", "add_arguments", "make_relay", "run", "welcome"]

_LOOK = 0.5  # seconds; a signal that comes just before a wait begins is seen when the wait ends

_HELP = {
    "echo": "echo ARG...: the same back",
    "broadcast": "broadcast EVENT ARG...: to everybody else; ok and how many",
    "join": "join ROOM: ok and the rooms that you are in",
    "leave": "leave ROOM: ok and the rooms that you are in",
    "room": "room ROOM EVENT ARG...: to the others in a room; ok and how many",
    "help": "help: these lines",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(quiet_level=logging.WARNING)
    parser.add_argument("--host", default=SERVER["host"].default, help="the address to bind (default: %(default)s)")
    parser.add_argument("--port", type=integer(0, 65535), default=8765, help="0 picks a free one (default: 8765)")
    add_key(parser, "take only clients with this key (default: any key)")
    parser.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="let web pages of this origin connect, such as http://localhost:3000; * for all; may be given again"
        " (default: no pages of other origins)",
    )
    add_server_tls(parser)
    add_verbose(parser)


def run(options: argparse.Namespace) -> None:
    relay = make_relay(options)
    with contextlib.closing(relay.server) as server, closing_first(server.close):
        _start(server, options)
        write_line(f"listening on {server.url}, Ctrl-C ends it")
        notice(welcome(options))
        while not relay.failed.wait(_LOOK):
            pass
    raise relay.failure


def make_relay(options: argparse.Namespace) -> "Relay":
    """Make the relay that the command line describes; ``UsageError``: it is wrong."""
    more = {**_origins(options), "ssl": server_context(options)}
    try:
        return Relay(options.host, options.port, key_of(options), **more)
    except (ValueError, TypeError) as error:
        raise UsageError(str(error).replace("allowed_origins", "--allow-origin")) from error


def _start(server: EZEZWebsocketServer, options: argparse.Namespace) -> None:
    try:
        server.start()
    except OSError as error:
        hint = "; --port chooses another, 0 a free one" if error.errno in (errno.EADDRINUSE, errno.EACCES) else ""
        raise OSError(f"cannot listen on {options.host}:{options.port}: {error.strerror or error}{hint}") from error


def _origins(options: argparse.Namespace) -> dict[str, Any]:
    """Return the server's options that keep pages of foreign origins out, which any browser here may have open."""
    if not options.allow_origin:
        return {"verify_request": partial(_comes_from_itself, options.host)}
    return {} if "*" in options.allow_origin else {"allowed_origins": options.allow_origin}


def _comes_from_itself(host: str, request: HandshakeRequest) -> bool:
    """Tell whether a request is a program's, or of a page of the same origin.

    Not ``allowed_origins="same-origin"`` alone: a page whose name is made to mean this machine, once it is loaded, is
    of the same origin by its headers. Addresses, ``localhost`` and ``--host`` cannot be made to mean anything else.
    """
    origins, own = request.headers.get_all("Origin"), request.headers.get("Host", "").lower()
    if not origins:
        return True
    return origins[1:] == [] and origins[0].lower().partition("://")[2] == own and _is_fixed(own, host)


def _is_fixed(own: str, host: str) -> bool:
    """Tell whether a ``Host`` names an address, ``localhost`` or ``host``."""
    try:
        name = urlsplit(f"//{own}").hostname or ""
        return name in ("localhost", host.lower()) or bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def welcome(options: argparse.Namespace) -> str:
    """Say who may connect."""
    keys = "with any key (--auth KEY takes only one)" if key_of(options) is None else "with the key"
    if "*" in options.allow_origin:
        pages = "web pages of all origins, too"
    elif options.allow_origin:
        pages = f"of web pages only those of {', '.join(options.allow_origin)}"
    else:
        pages = "but no web page of another origin (--allow-origin ORIGIN lets its pages in)"
    return f"whoever reaches this address may connect {keys}, {pages}"


class Relay:
    """Answers its events with a reply: ``ok`` (``echo``: ``echo``), or ``error`` and what was wrong.

    Prints who comes and goes, and what they send; where that fails, ``failed`` is set, and ``failure`` says why. Who is
    in a room is listed there, to be counted. ``options`` are the server's.
    """

    def __init__(self, host: str, port: int, key: str | None, **options: Any) -> None:
        self._printing = threading.Lock()  # keeps the lines of several connections apart
        self.failed = threading.Event()
        self.failure: OSError
        self.server = EZEZWebsocketServer(
            host=host,
            port=port,
            on_auth_request=lambda _, offered: key is None or hmac.compare_digest(offered.encode(), key.encode()),
            on_auth_ok=lambda client: self._print(client, "has come"),
            on_auth_rejected=lambda client, reason: self._print(client, "was refused"),
            on_disconnect=lambda client, code, reason: self._print(client, f"has gone ({code})"),
            on_message=self._arrived,
            **options,
        )
        self._answers: dict[str, Callable[[EZEZServerClient, list[Any]], list[Any]]] = {
            "broadcast": self._broadcast,
            "join": self._join,
            "leave": self._leave,
            "room": self._room,
            "help": lambda client, args: list(_HELP.values()),
        }

    def _print(self, client: EZEZServerClient, text: str) -> None:
        with self._printing:
            try:
                write_line(f"#{client.connection_id} {text}")
            except OSError as error:  # nobody reads it any more
                self.failure = error
                self.failed.set()

    def _arrived(self, client: EZEZServerClient, event: str, args: list[Any], reply: Any, ids: Ids) -> None:
        self._print(client, write_arguments(event, args))
        if event == "echo":
            reply("echo", args)
        elif event in self._answers:
            reply(*self._answer(client, event, args))
        elif ids.reply_to is None:  # an answer is not answered: two relays would never end
            reply("error", [f"no such event: {event}", *_HELP.values()])

    def _answer(self, client: EZEZServerClient, event: str, args: list[Any]) -> tuple[str, list[Any]]:
        try:
            return "ok", self._answers[event](client, args)
        except (TypeError, ValueError, EZEZError) as error:  # without a text: too many, or too few
            return "error", [_HELP[event], *map(str, error.args)]

    def _broadcast(self, client: EZEZServerClient, args: list[Any]) -> list[Any]:
        event, args = _split(args)
        others = sum(other.authenticated for other in self.server.clients if other is not client)
        self.server.everyone.except_(client).send(event, args)
        return [others]

    def _room(self, client: EZEZServerClient, args: list[Any]) -> list[Any]:
        room, args = _split(args)
        event, args = _split(args)
        client.to(room).send(event, args)
        return [sum(member.address != client.address for member in self.server.members(room))]

    def _join(self, client: EZEZServerClient, args: list[Any]) -> list[Any]:
        client.join(_alone(args), info=client.connection_id)
        return sorted(client.rooms)

    def _leave(self, client: EZEZServerClient, args: list[Any]) -> list[Any]:
        client.leave(_alone(args))
        return sorted(client.rooms)


def _split(args: list[Any]) -> tuple[Any, list[Any]]:
    if not args:
        raise ValueError
    return args[0], args[1:]


def _alone(args: list[Any]) -> Any:
    if len(args) != 1:
        raise ValueError
    return args[0]
