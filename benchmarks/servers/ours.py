"""This library: an event answered by a reply, and all that the rows ask it for."""

import time
from collections.abc import Callable
from typing import Any

from ezez_ws import EZEZServerClient, EZEZWebsocketServer

__all__ = ["KEY", "start"]

KEY = "secret"


def start(begun: Callable[[EZEZWebsocketServer], object] | None = None, **options: Any) -> str:
    """Start a server with ``options``; its listeners are what a user would write. ``begun`` gets it then."""
    server = EZEZWebsocketServer(**{"port": 0, **options}, on_auth_request=lambda client, key: key == KEY)
    longest = 0.0

    @server.on("ping")
    def ping(client: EZEZServerClient, args: Any, reply: Any, ids: Any) -> None:
        reply("pong", args)

    @server.handler("call")
    def call(client, text):  # type: ignore[no-untyped-def]  # nothing is to be checked
        return text

    @server.handler("checked")
    def checked(client: EZEZServerClient, number: int, text: str, share: float) -> str:
        return text

    @server.on("fanout")
    def fanout(client: EZEZServerClient, args: Any, reply: Any, ids: Any) -> None:
        nonlocal longest
        text = "x" * args[0]
        before = time.perf_counter()
        server.broadcast("news", [text])
        longest = max(longest, time.perf_counter() - before)

    @server.on("longest broadcast")
    def longest_broadcast(client: EZEZServerClient, args: Any, reply: Any, ids: Any) -> None:
        reply("seconds", [longest])

    @server.on("ask")
    def ask(client: EZEZServerClient, args: Any, reply: Any, ids: Any) -> None:
        for _ in range(args[0]):
            client.send("question", [], on_reply=_ignore)

    @server.on("state")
    def state(client: EZEZServerClient, args: Any, reply: Any, ids: Any) -> None:
        reply("state", [time.process_time(), client.awaiting_replies_count])

    server.start()
    if begun is not None:
        begun(server)
    assert server.url is not None
    return server.url


def _ignore(*_: object) -> None:
    pass
