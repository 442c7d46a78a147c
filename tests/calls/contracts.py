"""Contracts that the tests of contracts share. Pydantic is needed: import them inside of tests."""

import enum
from abc import abstractmethod
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

from pydantic import BaseModel, Field, JsonValue

from ezez_ws import Contract, event, notice

__all__ = ["Everything", "Item", "Phone", "Place", "Shop", "Size", "Tree"]


class Shop(Contract):
    """Sells things."""

    @abstractmethod
    def price(self, article: str) -> Decimal:
        "What an article costs."

    @notice
    @abstractmethod
    def sold(self, article: str, count: int = 1) -> None:
        "Somebody bought."


class Phone(Contract):
    @abstractmethod
    def ring(self, times: int) -> str:
        "Ring, and say who has answered."

    @event("phone.hang_up")
    @abstractmethod
    def hang_up(self) -> None: ...

    @notice
    @abstractmethod
    def news_flash(self, text: str) -> None: ...


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


@dataclass
class Item:
    """Something in a shop."""

    name: str
    size: Size = Size.SMALL
    price: Decimal = Decimal("1.00")


class Place(NamedTuple):
    x: float
    y: float = 0.0


class Tree(BaseModel):
    """A part of something, with its parts."""

    name: str = Field(description="What it is called | how")
    parts: "list[Tree]" = []
    function: Literal["a", 'b"c', 3, None] = None


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]
    years: Annotated[float, Field(ge=0, multiple_of=0.5)] = 0.0


class Everything(Contract):
    """All kinds of types. */ not the end"""

    @abstractmethod
    def nothing(self) -> None: ...

    @abstractmethod
    def item(self, item: Item, place: Place, *function: int) -> list[Item]:
        """Put an item somewhere.

        In several lines | of words.
        """

    @abstractmethod
    def tree(self, tree: Tree, depth: Annotated[int, Field(gt=0, le=9)] = 3) -> Tree | None: ...

    @abstractmethod
    def mixed(self, values: dict[str, int | list[str | None]], pair: tuple[int, str]) -> tuple[bool, ...]: ...

    @abstractmethod
    def raw(self, data: bytes, anything: Any, untyped=None) -> bytes: ...  # type: ignore[no-untyped-def]

    @abstractmethod
    def animal(
        self, animal: Annotated[Cat | Dog, Field(discriminator="kind")], day: date, made: datetime, one: UUID
    ) -> dict[int, JsonValue]: ...

    @event("named.otherwise")
    @abstractmethod
    def named(self, default: float) -> set[int]: ...
