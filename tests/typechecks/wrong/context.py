"""What is not in a context."""

from typing import Any, TypedDict

from ezez_ws import Context, EZEZServerClient, EZEZWebsocketServer, Ids, ReplyFunction, ServerListener


class Guest(TypedDict):
    nickname: str


class Worker(TypedDict):
    jobs: int


def greet(client: EZEZServerClient[Guest]) -> None:
    with client.context as context:
        print(context["nickname"] + 1)  # error
        print(context["nick"])  # error
        context["nickname"] = 5  # error
        context["age"] = 5  # error
    print(client.context.snapshot()["jobs"])  # error
    client.context.nickname = "anna"  # error
    print(client.context.nickname)  # error
    client.context = Context({"nickname": "anna"})  # error


def work(client: EZEZServerClient[Worker], args: list[Any], reply: ReplyFunction, ids: Ids) -> None: ...
def admit(client: EZEZServerClient[Worker], key: str) -> bool:
    return True


server = EZEZWebsocketServer[Guest](on_auth_request=lambda client, key: client.context.snapshot()["jobs"] == 1)  # error
EZEZWebsocketServer[Guest](on_auth_request=admit)  # error
EZEZWebsocketServer[Guest](on_auth_request=lambda client, key: True, default_context={"jobs": 1})  # error
EZEZWebsocketServer[Guest](on_auth_request=lambda client, key: True, default_context={"nickname": 1})  # error
server.on("work", work)  # error
listener: ServerListener[Guest] = work  # error
worker: EZEZServerClient[Worker] = server.clients[0]  # error
server.broadcast("news", where=lambda client: client.context.snapshot()["jobs"] == 1)  # error
EZEZWebsocketServer[int](on_auth_request=lambda client, key: True)  # error
