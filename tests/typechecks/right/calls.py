"""Handlers, and calls."""

from concurrent.futures import Future, as_completed
from typing import Any, TypedDict

import ezez_ws
from ezez_ws import (
    CallError,
    EZEZServerClient,
    EZEZWebSocketClient,
    EZEZWebsocketServer,
    InvalidArgs,
    Received,
    RemoteError,
    ReplyFunction,
    Result,
)


class Guest(TypedDict):
    nickname: str


server = EZEZWebsocketServer[Guest](on_auth_request=lambda client, key: True, unknown_events="error")
client = EZEZWebSocketClient("ws://127.0.0.1:8080", unknown_events="ignore")


@server.handler("sum")
def add(client: EZEZServerClient[Guest], a: int, b: int = 0, *more: int, exact: bool = True) -> int:
    if a < 0:
        raise CallError("negative", "a is below 0", {"a": a})
    return sum(more, a + b)


@server.handler("later", validate=False)
def later(client: EZEZServerClient[Guest]) -> "Future[int]":
    reply: ReplyFunction = ezez_ws.current_reply()
    reply("now", [1])
    return Future()


@client.handler("name")
def name(greeting: str) -> str:
    return greeting + " anna"


class Desk:
    def ask(self, client: EZEZServerClient[Guest], question: str) -> str:
        with client.context as context:
            return question + context["nickname"]

    def tell(self, text: str) -> None: ...


server.handler("ask", Desk().ask, validate=True)
server.handler("none", lambda client: client.context.snapshot()["nickname"])
client.handler("tell", Desk().tell)
client.handler("none", lambda: None)
server.clients[0].handler("tell", Desk().tell)
total: int = add(server.clients[0], 1, b=2, exact=False)  # a decorator keeps the function's type
text: str = name(greeting="hello")

answer: Any = client.call("sum", [2, 3], timeout=5)
answers: list[Future[Any]] = [client.submit("sum", (number, 1)) for number in range(3)]
print([future.result(5) for future in as_completed(answers)])
results: dict[EZEZServerClient[Guest], Result] = server.call_all(
    "name", ["hello"], where=lambda client: client.alive, timeout=2
)
for side, (value, error) in results.items():
    print(side.context.snapshot()["nickname"].upper(), value if error is None else error.args)
received: Received = client.wait_for("news", 5, where=lambda received: received.args == ["big"])
received.reply("thanks", [received.event.upper(), received.ids.event_id])
server.client_at("node:1").call("name", ["hello"], 5)
try:
    server.clients[0].call("name", ())
except InvalidArgs as wrong:
    print(wrong.data)
except RemoteError as error:
    print(error.code.upper(), error.message.upper(), error.data)
