"""Servers and clients without a type of their own for the context, which then is a plain dict."""

import socket
from collections.abc import Mapping
from typing import Any

from ezez_ws import Context, EZEZServerClient, EZEZWebSocketClient, EZEZWebsocketServer, Ids, ReplyFunction


def admit(client: EZEZServerClient, key: str) -> bool:
    client.context["tries"] = client.context.get("tries", 0) + 1
    with client.context as context:
        context["rooms"].append(key)
    copy: dict[str, Any] = client.context.snapshot()
    return len(copy) == 1


def remember(context: Context) -> None:
    context.update(seen=True)


def shout(client: EZEZServerClient, event: str, args: list[Any], reply: ReplyFunction, ids: Ids) -> None:
    remember(client.context)


def is_admin(client: EZEZServerClient[Mapping[str, Any]]) -> bool:
    with client.context as context:
        return "admin" in context


server = EZEZWebsocketServer(
    port=8080,
    on_auth_request=admit,
    on_message=shout,
    default_context={"nickname": "anonymous", "rooms": [], "cart": {}},
)
copied: dict[str, Any] = server.clients[0].context.snapshot()
copied["rooms"].append("attic")
with server.clients[0].context as context:
    context["rooms"].append("lobby")
    context["other"] = 1
bare = EZEZWebsocketServer(on_auth_request=lambda client, key: is_admin(client))
also: EZEZWebsocketServer = bare
empty: EZEZWebsocketServer = EZEZWebsocketServer(on_auth_request=admit, default_context={"rooms": []})
client = EZEZWebSocketClient("ws://127.0.0.1:8080", auth="secret", on_auth_ok=lambda: print("in"))
with server, EZEZWebSocketClient(server.url) as there, socket.create_connection((server.host, server.port)):
    print(there.send("sum", [2, 3]).wait_reply(timeout=5).args)
with client as same:
    print(same.send("sum", [2, 3]).wait_reply(timeout=5).args[0])
