"""This library with rooms, on one node or on several: whoever connects enters the room that its key names."""

import importlib
import time
from collections.abc import Sequence
from typing import Any

from ezez_ws import EZEZServerClient, EZEZWebsocketServer, RedisBackplane

from . import stamped

__all__ = ["start"]

HEARTBEAT = 60.0  # seconds: no beat while commands are counted


def start(
    redis: str = "",
    targets: int = 0,
    greetings: int = 0,
    rare_beats: bool = False,
    imported: Sequence[str] = (),
    **options: Any,
) -> str:
    """Start a node.

    Args:
        redis: the URL of its backplane; empty: none.
        targets: so many rooms, ``room:0`` and so on, get a text each, when one asks for a fan-out.
        greetings: events that each client is sent when it has connected.
        rare_beats: no sign of life to the others for a minute.
        imported: modules that the process has beside what it needs.
    """
    for name in imported:
        importlib.import_module(name)
    if redis:
        often: dict[str, Any] = {"heartbeat": HEARTBEAT, "node_timeout": 3 * HEARTBEAT} if rare_beats else {}
        options["backplane"] = RedisBackplane(redis, **often)

    def check(client: EZEZServerClient, key: str) -> bool:
        client.context["room"] = key
        return True

    def greet(client: EZEZServerClient) -> None:
        client.join(client.context["room"])
        for _ in range(greetings):
            client.send("news", ["x" * 64])

    server = EZEZWebsocketServer(**{"port": 0, **options}, on_auth_request=check, on_auth_ok=greet)

    @server.on("fanout")
    def fanout(client: EZEZServerClient, args: Any, reply: Any, ids: Any) -> None:
        text = stamped(args[0])
        for number in range(targets):
            server.to(f"room:{number}").send("news", [text])

    @server.on("publish")
    def publish(client: EZEZServerClient, args: Any, reply: Any, ids: Any) -> None:
        names, each = args
        for _ in range(each):
            for room in names:
                last = server.to(room).send("news", ["x" * 64])
        last.wait()
        while server.cluster.window_entries < each * len(names):  # not yet read by this node
            time.sleep(0.01)
        reply("published")

    @server.on("join and leave")
    def join_and_leave(client: EZEZServerClient, args: Any, reply: Any, ids: Any) -> None:
        reply("rate", [_join_and_leave(server, *args)])

    @server.on("replayed")
    def replayed(client: EZEZServerClient, args: Any, reply: Any, ids: Any) -> None:
        reply("replayed", [server.cluster.replayed])

    server.start()
    assert server.url is not None
    return server.url


def _join_and_leave(server: EZEZWebsocketServer, rooms: int, seconds: float) -> float:
    """Let each client enter so many rooms, one after the other, and then leave them: joins and leaves a second."""
    clients = server.clients
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        for number, client in enumerate(clients):
            names = [f"room:{(number + each) % len(clients)}" for each in range(rooms)]
            for name in names:
                client.join(name)
            for name in names:
                client.leave(name)
        count += 2 * rooms * len(clients)
    return count / (time.perf_counter() - start)
