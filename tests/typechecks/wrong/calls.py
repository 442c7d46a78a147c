"""Handlers and calls that fail."""

from typing import TypedDict

from ezez_ws import CallError, EZEZServerClient, EZEZWebSocketClient, EZEZWebsocketServer, current_reply


class Guest(TypedDict):
    nickname: str


class Worker(TypedDict):
    jobs: int


server = EZEZWebsocketServer[Guest](on_auth_request=lambda client, key: True)
client = EZEZWebSocketClient("ws://127.0.0.1:8080")


def add(a: int, b: int) -> int:
    return a + b


def work(client: EZEZServerClient[Worker], job: int) -> int:
    return job


def alone() -> None: ...


server.handler("sum", add)  # error
server.handler("work", work)  # error
server.handler("alone", alone)  # error
server.handler("alone", lambda: None)  # error
server.handler("sum", 5)  # error
server.handler(5, add)  # error
server.handler("none", lambda client: client.context.snapshot()["nick"])  # error
client.handler("sum", 5)  # error
client.handler("sum", add, validate="yes")  # error


@server.handler("sum")  # error
def decorated(a: int, b: int) -> int:
    return a + b


@server.handler("work")  # error
def decorated_work(client: EZEZServerClient[Worker], job: int) -> int:
    return job


@server.handler("ask")
def ask(client: EZEZServerClient[Guest], question: str) -> str:
    raise CallError(5, "no text")  # error


print(ask("question"))  # error
print(ask(server.clients[0], 5))  # error
client.call("sum", 5)  # error
client.call("sum", [1], "5")  # error
client.call()  # error
client.submit("sum", {"a": 1})  # error
client.submit("sum", [1], timeout=5)  # error
client.submit("sum").result("5")  # error
client.wait_for("news")  # error
client.wait_for("news", 5, where=lambda: True)  # error
client.wait_for("news", 5).reply("thanks", 5)  # error
server.call_all("name", 5)  # error
server.call_all("name", where=lambda client: client.context.snapshot()["jobs"] == 1)  # error
server.call("name")  # error
server.client_at("node:1").call("name", 5)  # error
current_reply()("name", 5)  # error
EZEZWebsocketServer(on_auth_request=lambda client, key: True, unknown_events="raise")  # error
