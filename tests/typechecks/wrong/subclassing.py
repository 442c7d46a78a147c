"""Servers and clients of one's own that are no such."""

from typing import Any, TypedDict

from ezez_ws import EZEZServerClient, EZEZWebSocketClient, EZEZWebsocketServer


class Guest(TypedDict):
    nickname: str


class Chat(EZEZWebsocketServer[Guest]):
    def __init__(self) -> None:
        super().__init__(on_auth_request=self.admit)  # error
        self.on("say", self.say)  # error

    def admit(self, client: EZEZServerClient[Guest]) -> bool:
        with client.context as context:
            return bool(context["name"])  # error

    def say(self, client: EZEZServerClient[Guest], args: list[Any]) -> None: ...


class Visitor(EZEZWebSocketClient):
    def send(self, event: int) -> None: ...  # error


with Chat() as chat:
    chat.clients[0].context.snapshot()["name"]  # error
