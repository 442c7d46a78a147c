"""Listeners and callbacks that cannot be called as they will be."""

from typing import Any

from ezez_ws import (
    EZEZServerClient,
    EZEZWebSocketClient,
    EZEZWebsocketServer,
    Ids,
    Listener,
    OnMessage,
    OnReply,
    ReplyFunction,
    ServerOnReply,
)

client = EZEZWebSocketClient("ws://127.0.0.1:8080")
server = EZEZWebsocketServer(on_auth_request=lambda client, key: True)


def few(args: list[Any]) -> None: ...
def many(client: EZEZServerClient, args: list[Any], reply: ReplyFunction, ids: Ids, more: int) -> None: ...
def of_client(args: list[Any], reply: ReplyFunction, ids: Ids) -> None: ...
def of_server(client: EZEZServerClient, args: list[Any], reply: ReplyFunction, ids: Ids) -> None: ...
def wrong_args(args: str, reply: ReplyFunction, ids: Ids) -> None: ...
def wrong_reply(client: EZEZServerClient, args: list[Any], reply: int, ids: Ids) -> None: ...
def named(client: EZEZServerClient, args: list[Any], reply: ReplyFunction, ids: Ids, *, more: int) -> None: ...


server.on("x", few)  # error
server.on("x", many)  # error
server.on("x", of_client)  # error
server.on("x", wrong_reply)  # error
server.on("x", named)  # error
server.on("x", lambda client, args: None)  # error
server.on("x", 5)  # error
server.on(5, of_server)  # error
server.once("x", of_client)  # error
client.on("x", few)  # error
client.on("x", of_server)  # error
client.on("x", wrong_args)  # error
client.once("x", lambda: None)  # error
client.on("x", None)  # error
server.clients[0].on("x", of_server)  # error
client.off("x", "listener")  # error
listener: Listener = of_server  # error
on_message: OnMessage = of_client  # error
on_reply: OnReply = of_client  # error
got: ServerOnReply = of_server  # error
client.send("x", [], of_client)  # error
server.clients[0].send("x", [], on_reply=of_server)  # error


@server.on("x")  # error
def decorated(args: list[Any], reply: ReplyFunction, ids: Ids) -> None: ...


@server.once("x")  # error
def with_wrong_type(client: EZEZServerClient, args: dict[str, Any], reply: ReplyFunction, ids: Ids) -> None: ...


@client.on("x")  # error
def on_client(client: EZEZServerClient, args: list[Any], reply: ReplyFunction, ids: Ids) -> None: ...


EZEZWebsocketServer(port=0)  # error
EZEZWebsocketServer(on_auth_request=None)  # error
EZEZWebsocketServer(on_auth_request=lambda client: True)  # error
EZEZWebsocketServer(on_auth_request=lambda client, key: "yes")  # error
EZEZWebsocketServer(on_auth_request=lambda client, key: key + 1 == 2)  # error
EZEZWebsocketServer(on_auth_request=few)  # error
EZEZWebsocketServer(on_auth_request=lambda client, key: True, on_auth_ok=lambda: None)  # error
EZEZWebsocketServer(on_auth_request=lambda client, key: True, on_auth_ok=lambda client: client.sent("x"))  # error
EZEZWebsocketServer(on_auth_request=lambda client, key: True, on_message=of_server)  # error
EZEZWebsocketServer(on_auth_request=lambda client, key: True, on_disconnect=lambda client, code: None)  # error
EZEZWebsocketServer(on_auth_request=lambda client, key: True, on_error=lambda error: None)  # error
EZEZWebsocketServer(on_auth_request=lambda client, key: True, queue_overflow=lambda client: None)  # error
EZEZWebsocketServer(on_auth_request=lambda client, key: True, on_member=lambda member: None)  # error
EZEZWebSocketClient("ws://127.0.0.1:8080", on_auth_ok=lambda client: None)  # error
EZEZWebSocketClient("ws://127.0.0.1:8080", on_message=of_client)  # error
EZEZWebSocketClient("ws://127.0.0.1:8080", on_disconnect=lambda reason: None)  # error
EZEZWebSocketClient("ws://127.0.0.1:8080", on_gave_up=lambda: None)  # error
