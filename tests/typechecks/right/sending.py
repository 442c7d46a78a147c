"""Sending, replying, and waiting for replies."""

from typing import Any

from ezez_ws import (
    EventArgs,
    EZEZServerClient,
    EZEZWebSocketClient,
    EZEZWebsocketServer,
    Ids,
    Reply,
    ReplyFunction,
    SentMessage,
)

server = EZEZWebsocketServer(on_auth_request=lambda client, key: True)
client = EZEZWebSocketClient("ws://127.0.0.1:8080")
numbers: list[int] = [1, 2]
pair: tuple[int, str] = (1, "x")
either: EventArgs = numbers

sent: SentMessage = client.send("x")
client.send("x", numbers)
client.send("x", pair)
client.send("x", either, None)
client.send("x", ["a", 1, None, {"b": [b"c"]}])
server.broadcast("x", numbers, where=lambda client: client.alive, local=True)
server.to("room").send("x", [1])
server.client_at("node:1").send("x", pair)
client.send("x", [1], on_reply=lambda event, args, reply, ids: print(event.upper(), args[0], ids.event_id))
server.clients[0].send("x", on_reply=lambda client, event, args, reply, ids: client.send(event.upper(), args))

answer: Reply = sent.wait_reply(timeout=5)
answer.reply("thanks", ["Got it!"]).wait_reply(1.5)
answer.reply("thanks", [], lambda event, args, reply, ids: print(event.upper(), args))
event, args, reply, ids = answer
text: str = event
first: Any = args[0]


@server.on("ask")
def ask(client: EZEZServerClient, args: list[Any], reply: ReplyFunction, ids: Ids) -> None:
    def got(client: EZEZServerClient, event: str, args: list[Any], reply: ReplyFunction, ids: Ids) -> None:
        reply(event, args)

    again: Reply = reply("answer", [1]).wait_reply()
    print(again.args, ids.event_id, ids.reply_to)
    reply("answer", args)
    reply("answer", (1, 2), got)
    reply("answer", on_reply=got)
    reply("answer", [], on_reply=lambda client, event, args, reply, ids: client.send(event.upper(), args))


@client.on("ask")
def asked(args: list[Any], reply: ReplyFunction, ids: Ids) -> None:
    def got(event: str, args: list[Any], reply: ReplyFunction, ids: Ids) -> None:
        reply(event, args)

    reply("answer", [], got)
    reply("answer", on_reply=got)
    reply("answer", [], on_reply=lambda event, args, reply, ids: print(event.upper(), args[0]))


def relay(reply: ReplyFunction, args: list[Any]) -> SentMessage:
    return reply("relayed", args)


client.on("relay", lambda args, reply, ids: relay(reply, args))
server.on("relay", lambda client, args, reply, ids: relay(reply, args))
