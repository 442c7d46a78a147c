"""Functions whose annotations are texts, some of them of names that only a type checker knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from typing_extensions import TypeAliasType

if TYPE_CHECKING:
    from ezez_ws import EZEZServerClient as Missing

Nest = TypeAliasType("Nest", "list[Nest]")


class Pair(NamedTuple):
    a: int
    b: int


def handler(client: Missing, pair: Pair) -> int:
    return pair.a


def unknown(client: Missing, a: Missing) -> None: ...


def deep(client: Missing, value: Nest) -> None: ...
