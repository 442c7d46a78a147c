"""``ezez-ws serve``: a relay until Ctrl-C, which is a server that knows a few events, to try clients with."""

import argparse
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from ..messages.protocol import Ids, check_event_name
from ..options import SERVER
from ..server import EZEZWebsocketServer
from ..server_client import EZEZServerClient
from .arguments import add_key, integer, key_of
from .output import write_line
from .signals import closing_first
from .values import write_arguments

__all__ = ["Relay", "add_arguments", "run"]

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
    parser.add_argument("--host", default=SERVER["host"].default, help="the address to bind (default: %(default)s)")
    parser.add_argument("--port", type=integer(0, 65535), default=8765, help="0 picks a free one (default: 8765)")
    add_key(parser, "take only clients with this key (default: any key)")


def run(options: argparse.Namespace) -> None:
    relay = Relay(options.host, options.port, key_of(options))
    with relay.server as server, closing_first(relay.server.close):
        write_line(f"listening on {server.url}, Ctrl-C ends it")
        while True:
            time.sleep(_LOOK)


class Relay:
    """Answers its events with a reply: ``ok`` (``echo``: ``echo``), or ``error`` and what was wrong.

    Prints who comes and goes, and what they send. A client's context has its rooms, a list that never changes itself.
    """

    def __init__(self, host: str, port: int, key: str | None) -> None:
        self._printing = threading.Lock()  # keeps the lines of several connections apart
        self.server = EZEZWebsocketServer(
            host=host,
            port=port,
            on_auth_request=lambda _, offered: key is None or offered == key,
            on_auth_ok=lambda client: self._print(client, "has come"),
            on_auth_rejected=lambda client, reason: self._print(client, "was refused"),
            on_disconnect=lambda client, code, reason: self._print(client, f"has gone ({code})"),
            on_message=self._arrived,
            default_context={"rooms": []},
        )
        self._answers: dict[str, Callable[[EZEZServerClient, list[Any]], list[Any]]] = {
            "broadcast": lambda client, args: self._tell(lambda other: other is not client, args),
            "join": partial(self._change_rooms, True),
            "leave": partial(self._change_rooms, False),
            "room": self._room,
            "help": lambda client, args: list(_HELP.values()),
        }

    def _print(self, client: EZEZServerClient, text: str) -> None:
        with self._printing:
            write_line(f"#{client.connection_id} {text}")

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
        except (TypeError, ValueError):  # too many, too few, or no text where there should be one
            return "error", [_HELP[event]]

    def _room(self, client: EZEZServerClient, args: list[Any]) -> list[Any]:
        room, *message = args
        return self._tell(lambda other: other is not client and room in other.context["rooms"], message)

    def _tell(self, where: Callable[[EZEZServerClient], bool], message: list[Any]) -> list[Any]:
        event, *args = message
        return [self.server.broadcast(check_event_name(event), args, where)]

    def _change_rooms(self, joins: bool, client: EZEZServerClient, args: list[Any]) -> list[Any]:
        (room,) = args
        with client.context as context:
            context["rooms"] = [other for other in context["rooms"] if other != room] + [room] * joins
            return list(context["rooms"])
