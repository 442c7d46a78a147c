"""Servers and clients of one's own."""

from typing import Any, TypedDict

from ezez_ws import EZEZServerClient, EZEZWebSocketClient, EZEZWebsocketServer, Ids, ReplyFunction


class Guest(TypedDict):
    nickname: str


class Chat(EZEZWebsocketServer[Guest]):
    def __init__(self, port: int) -> None:
        super().__init__(
            port=port,
            on_auth_request=self.admit,
            on_auth_ok=self.greet,
            default_context={"nickname": "anonymous"},
        )
        self.on("say", self.say)
        self.names: list[str] = []

    def admit(self, client: EZEZServerClient[Guest], key: str) -> bool:
        return key not in self.names

    def greet(self, client: EZEZServerClient[Guest]) -> None:
        with client.context as context:
            self.names.append(context["nickname"])

    def say(self, client: EZEZServerClient[Guest], args: list[Any], reply: ReplyFunction, ids: Ids) -> None:
        self.broadcast("said", args, where=lambda other: other is not client)


class Visitor(EZEZWebSocketClient):
    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, on_message=self.heard, **options)

    def heard(self, event: str, args: list[Any], reply: ReplyFunction, ids: Ids) -> None: ...


with Chat(0) as chat, Visitor(f"ws://127.0.0.1:{chat.port}", auth="") as visitor:
    names: list[str] = chat.names
    nickname: str = chat.clients[0].context.snapshot()["nickname"]
    visitor.send("say", ["hello"])
