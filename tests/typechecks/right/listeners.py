"""Listeners and callbacks: functions, methods, lambdas and decorated functions."""

from collections.abc import Sequence
from typing import Any, TypedDict

from ezez_ws import (
    EZEZServerClient,
    EZEZWebSocketClient,
    EZEZWebsocketServer,
    Ids,
    Listener,
    OnMessage,
    OnReply,
    ReplyFunction,
    ServerListener,
    ServerOnReply,
)


class Guest(TypedDict):
    nickname: str


server = EZEZWebsocketServer[Guest](
    on_auth_request=lambda client, key: key == client.request.path,
    on_auth_ok=lambda client: client.send("hello", [client.context.snapshot()["nickname"]]),
    on_auth_rejected=lambda client, reason: print(client.connection_id, reason.upper()),
    on_message=lambda client, event, args, reply, ids: print(client.alive, event.upper(), args[0], ids.event_id),
    on_disconnect=lambda client, code, reason: print(client.connection_id, code + 1, reason.upper()),
    on_error=lambda client, error: print(client.connection_id, error.args),
    on_member=lambda change, member: print(change.upper(), member.address),
    on_cluster=lambda change, detail: print(change.upper(), detail.upper()),
    queue_overflow=lambda client, byte_length: client.disconnect(1008, str(byte_length + 1)),
)
client = EZEZWebSocketClient(
    "ws://127.0.0.1:8080",
    auth=lambda: "token",
    headers=lambda: {"X-Token": "1"},
    on_connect=lambda: print("connected"),
    on_auth_ok=lambda: None,
    on_auth_rejected=lambda reason: print(reason.upper()),
    on_message=lambda event, args, reply, ids: reply(event.upper(), args),
    on_missed=lambda rooms: print(rooms[0].upper()),
    on_disconnect=lambda code, reason: print(code + 1, reason.upper()),
    on_gave_up=lambda error: print(error.status),
    on_error=lambda error: print(error.args),
)

server.on("ping", lambda client, args, reply, ids: reply("pong", args))
server.once("first", lambda client, args, reply, ids: print(client.context.snapshot()["nickname"], args[0]))
client.on("ping", lambda args, reply, ids: reply("pong", args))
client.once("first", lambda args, reply, ids: print(len(args), ids.reply_to))
for number in range(3):
    server.on("number", lambda client, args, reply, ids, number=number: print(args, number))
    client.once("number", lambda args, reply, ids, number=number: print(args, number))
server.clients[0].on("ping", lambda args, reply, ids: print(args, reply("pong")))


@server.on("sum")
@server.once("add")
def add(client: EZEZServerClient[Guest], args: list[Any], reply: ReplyFunction, ids: Ids) -> int:
    reply("sum", [sum(args)])
    return len(args)


@server.on("any")
def anything(client: EZEZServerClient[Any], args: Sequence[Any], *more: object) -> None: ...


@client.on("refresh")
def refresh(*_: object, deep: bool = False) -> str:
    return "deep" if deep else "flat"


@client.once("news")
def news(args: list[Any], reply: ReplyFunction, ids: Ids) -> None:
    refresh()


def changed(args: list[Any], reply: ReplyFunction, ids: Ids) -> None:
    text: str = refresh(deep=True)  # a decorator keeps the function's type
    count: int = add(client=server.clients[0], args=args, reply=reply, ids=ids)
    print(text, count)


class Desk:
    def asked(self, client: EZEZServerClient[Guest], args: list[Any], reply: ReplyFunction, ids: Ids) -> None: ...
    def told(self, args: list[Any], reply: ReplyFunction, ids: Ids) -> None: ...


desk = Desk()
server.on("ask", desk.asked)
server.off("ask", desk.asked)
client.on("tell", desk.told)
client.off("tell")
listener: Listener = changed
listener = client.on("changed", listener)
of_server: ServerListener[Guest] = desk.asked
server.on("ask", of_server)
on_message: OnMessage = lambda event, args, reply, ids: print(event.upper())  # noqa: E731
on_reply: OnReply = on_message
got: ServerOnReply[Guest] = lambda client, event, args, reply, ids: print(client.context.snapshot()["nickname"])  # noqa: E731
client.send("ask", on_reply=on_reply)
server.clients[0].send("ask", (), got)
