"""Wrong arguments of what sends and replies."""

from typing import Any

from ezez_ws import EZEZServerClient, EZEZWebSocketClient, EZEZWebsocketServer, Ids, ReplyFunction

client = EZEZWebSocketClient("ws://127.0.0.1:8080")
server = EZEZWebsocketServer(on_auth_request=lambda client, key: True)

client.send("x", 5)  # error
client.send("x", "text")  # error
client.send("x", {"a": 1})  # error
client.send("x", None)  # error
client.send(5)  # error
client.send()  # error
client.send("x", [], 5)  # error
client.send("x", [], lambda: None)  # error
client.send("x", timeout=5)  # error
client.send("x").wait_reply("5")  # error
client.send("x").wait_reply().event + 1  # error
client.send("x").wait_reply().reply("x", 5)  # error
server.broadcast("x", 5)  # error
server.broadcast("x", where=True)  # error
server.broadcast("x", where=lambda: True)  # error
server.clients[0].send("x", 5)  # error
server.clients[0].send("x", [], lambda event, args, reply, ids: None)  # error
server.to("room").send("x", 5)  # error
server.client_at("node:1").send("x", 5)  # error
client.connect("5")  # error
client.sent("x")  # error


@server.on("ask")
def ask(client: EZEZServerClient, args: list[Any], reply: ReplyFunction, ids: Ids) -> None:
    reply()  # error
    reply(5)  # error
    reply("x", 5)  # error
    reply("x", [], 5)  # error
    reply("x", [], lambda: None)  # error
    reply("x", [], lambda args, reply, ids: None)  # error
    reply("x", timeout=5)  # error
    print(reply("x").args)  # error
    print(ids.id)  # error


client.on("x", lambda args, reply, ids: reply("x", 5))  # error
server.on("x", lambda client, args, reply, ids: client.send("x", 5))  # error
