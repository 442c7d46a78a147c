"""A server whose clients' context is a TypedDict."""

from typing import Any, TypedDict

from ezez_ws import Context, EZEZServerClient, EZEZWebsocketServer, Ids, ReplyFunction


class Guest(TypedDict):
    nickname: str
    rooms: list[str]


def greet(client: EZEZServerClient[Guest]) -> None:
    with client.context as context:
        context["rooms"].append("lobby")
        context["nickname"] = context["nickname"].title()
        name: str = context.get("nickname", "nobody")
        print(context.copy()["rooms"], "nickname" in context, len(context))
    client.send("hello", [name])


def name_of(context: Context[Guest]) -> str:
    return context.snapshot()["nickname"]


server = EZEZWebsocketServer[Guest](
    on_auth_request=lambda client, key: client.context.snapshot()["nickname"] == key,
    on_auth_ok=greet,
    on_disconnect=lambda client, code, reason: print(name_of(client.context), code + 1, reason.upper()),
    default_context={"nickname": "anonymous", "rooms": []},
)


@server.on("join")
def join(client: EZEZServerClient[Guest], args: list[Any], reply: ReplyFunction, ids: Ids) -> None:
    with client.context as context:
        context["rooms"].append(args[0])
        rooms = list(context["rooms"])
    reply("rooms", [rooms])


for guest in server.clients:
    rooms: list[str] = guest.context.snapshot()["rooms"]
    print(guest.context["nickname"], len(rooms))
server.broadcast("news", where=lambda client: "lobby" in client.context.snapshot()["rooms"])

annotated: EZEZWebsocketServer[Guest] = EZEZWebsocketServer(
    on_auth_request=lambda client, key: client.context.snapshot()["nickname"] == key,
    on_auth_ok=greet,
    default_context={"nickname": "anonymous", "rooms": []},
)

# without naming it again: by the type of the defaults
defaults: Guest = {"nickname": "anonymous", "rooms": []}
inferred = EZEZWebsocketServer(port=0, on_auth_request=lambda client, key: True, default_context=defaults)
rooms = inferred.clients[0].context.snapshot()["rooms"]
