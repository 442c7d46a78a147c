"""Contracts: what does not fit them, and what is none."""

from abc import abstractmethod
from decimal import Decimal

from ezez_ws import Contract, EZEZServerClient, EZEZWebSocketClient, EZEZWebsocketServer, event, notice


class Shop(Contract):
    @abstractmethod
    def price(self, article: str) -> Decimal: ...

    @notice
    @abstractmethod
    def sold(self, article: str, count: int = 1) -> None: ...


class Phone(Contract):
    @event(5)  # error
    @abstractmethod
    def ring(self, times: int) -> str: ...


class Desk(Shop):
    def __init__(self, client: EZEZServerClient) -> None: ...

    def price(self, article: str) -> Decimal:
        return Decimal(1)

    def sold(self, article: str, count: int = 1) -> None: ...


class Half(Shop):
    def price(self, article: str) -> Decimal:
        return Decimal(1)


class Other(Shop):
    def price(self, article: int) -> Decimal:  # error
        return Decimal(1)


class Bell(Phone):
    def ring(self, times: int) -> str:
        return "ding"


server = EZEZWebsocketServer(on_auth_request=lambda client, key: True)
client = EZEZWebSocketClient("ws://127.0.0.1:8080")
shop = client.proxy(Shop)

shop.price(5)  # error
shop.price()  # error
shop.prices("tea")  # error
number: int = shop.price("tea")  # error
shop.sold("tea", amount=3)  # error
client.proxy(5)  # error
client.proxy("Shop")  # error
client.proxy(EZEZServerClient)  # error
client.proxy(Shop, timeout="x")  # error
client.submit(shop.price, 5)  # error
client.submit(shop.price)  # error
another: int = client.submit(shop.price, "tea").result()  # error
notice(5)  # error
client.implement(Shop, Bell())  # error
client.implement(Shop, Half())  # error
client.implement(Phone, Bell)  # error
server.implement(Shop, Bell)  # error
server.implement(Phone, Desk)  # error
server.implement(Shop, lambda client: Bell())  # error
server.implement(Shop, lambda client: Half())  # error
server.implement(Shop, lambda: Desk(server.clients[0]))  # error
server.implement(Shop, Desk(server.clients[0]))  # error
server.clients[0].proxy(Phone).ring("x")  # error
server.client_at("node:1").proxy(Phone).ring("x")  # error
