"""Contracts: declared, called by proxies, and implemented."""

from abc import abstractmethod
from concurrent.futures import Future, as_completed
from decimal import Decimal
from functools import partial
from typing import TypedDict

from ezez_ws import Contract, EZEZServerClient, EZEZWebSocketClient, EZEZWebsocketServer, event, notice


class Shop(Contract):
    @abstractmethod
    def price(self, article: str) -> Decimal:
        "What an article costs."

    @notice
    @abstractmethod
    def sold(self, article: str, count: int = 1) -> None:
        "Somebody bought."

    def dearest(self, *articles: str) -> Decimal:
        return max(map(self.price, articles))


class Phone(Contract):
    @event("phone.ring")
    @abstractmethod
    def ring(self, times: int) -> str: ...


class Guest(TypedDict):
    nickname: str


class Desk(Shop):
    def __init__(self, client: EZEZServerClient[Guest]) -> None:
        self.nickname: str = client.context.snapshot()["nickname"]

    def price(self, article: str) -> Decimal:
        return Decimal(1)

    def sold(self, article: str, count: int = 1) -> None: ...


class Bell(Phone):
    def ring(self, times: int) -> str:
        return "ding " * times


def open_desk(client: EZEZServerClient[Guest]) -> Shop:
    return Desk(client)


def open_named(name: str, client: EZEZServerClient[Guest]) -> Shop:
    return Desk(client)


start: Guest = {"nickname": "anonymous"}
server = EZEZWebsocketServer(on_auth_request=lambda client, key: True, default_context=start)
server.implement(Shop, Desk)
server.implement(Shop, open_desk)
server.implement(Shop, lambda client: Desk(client))
server.implement(Shop, partial(open_named, "x"))
client = EZEZWebSocketClient("ws://127.0.0.1:8080")
client.implement(Phone, Bell())

shop: Shop = client.proxy(Shop)
price: Decimal = client.proxy(Shop, timeout=2).price("tea")
shop.sold("tea", count=2)
dearest: Decimal = shop.dearest("tea", "milk")
future: Future[Decimal] = client.submit(shop.price, "tea")
other: Future[Decimal] = client.submit(shop.price, article="tea")
prices: list[Decimal] = [one.result() for one in as_completed([future, other])]
for there in server.clients:
    rung: str = there.proxy(Phone).ring(2)
    there.implement(Shop, Desk(there))
elsewhere: str = server.client_at("node:1").proxy(Phone).ring(3)
