"""Values out of an input's bytes: what a message can carry, and what an encoder has to refuse or to leave to others."""

import struct
from collections.abc import Callable
from typing import Any

from ezez_ws.messages.scalars import UNDEFINED, BigInt

__all__ = ["Source"]

_DEEPEST = 6  # containers in one another; the fuzzed codecs take fewer


class Source:
    """Makes values of bytes, one kind after the other; where the bytes are used up, of zeros."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def byte(self) -> int:
        return self._take(1)[0]

    def values(self, most: int = 8) -> list[Any]:
        """Return up to so many values, as far as there are bytes left."""
        values: list[Any] = []
        while self and len(values) < most:
            values.append(self.value())
        return values

    def value(self, room: int = _DEEPEST) -> Any:
        kind = self.byte() % (len(_SCALARS) + 3)
        if kind < len(_SCALARS):
            return _SCALARS[kind](self)
        items = [self.value(room - 1) for _ in range(self.byte() % 5)] if room else []
        if kind == len(_SCALARS):
            return items
        if kind == len(_SCALARS) + 1:
            return tuple(items)
        return {self._key(): item for item in items}

    def text(self) -> str:
        """Return a text of up to 31 bytes: mostly ASCII, and now and then with lone surrogates."""
        encoding, errors = _TEXTS[self.byte() % len(_TEXTS)]
        piece = self._take(self.byte() % 32)
        return (bytes(byte & 0x7F for byte in piece) if encoding == "ascii" else piece).decode(encoding, errors)

    def name(self) -> Any:
        """Return the name of an event, mostly one that may be sent."""
        return self.value() if self.byte() % 8 == 0 else self.text()

    def id(self) -> Any:
        """Return the id of an event or a reply-to, mostly one of these."""
        return self.value() if self.byte() % 4 == 0 else self.byte() or None

    def _key(self) -> Any:
        return _KEYS[self.byte() % len(_KEYS)](self) if self.byte() % 16 == 0 else self.text()

    def _take(self, size: int) -> bytes:
        piece = self._data[self._at : self._at + size]
        self._at += size
        return piece.ljust(size, b"\0")


class _Text(str):
    __slots__ = ()


class _Number(float):
    __slots__ = ()


class _Items(list[Any]):
    pass


def _constant(source: Source) -> Any:
    return _CONSTANTS[source.byte() % len(_CONSTANTS)]


def _small(source: Source) -> int:
    return source.byte() - 128


def _large(source: Source) -> int:
    return int.from_bytes(source._take(8), "little", signed=True) >> source.byte() % 64


def _double(source: Source) -> float:
    value: tuple[float] = struct.unpack("<d", source._take(8))
    return value[0]


def _decimal(source: Source) -> float:
    """A float of few digits, whose text has no exponent or one near the borders of the two forms."""
    return float(f"{source.byte() - 128}.{source.byte()}e{source.byte() % 64 - 32}")


def _raw(source: Source) -> bytes:
    return source._take(source.byte() % 32)


def _text(source: Source) -> str:
    return source.text()


def _odd(source: Source) -> Any:
    """What is no usual value: subclasses, what has no place in a container, and what cannot be sent at all."""
    kinds: tuple[Callable[[], Any], ...] = (
        lambda: BigInt(_large(source)),
        lambda: _Text(source.text()),
        lambda: _Number(_double(source)),
        lambda: _Items(source.values(2)),
        lambda: bytearray(_raw(source)),
        lambda: memoryview(_raw(source)),
        lambda: 1 << source.byte(),
        object,
        lambda: {1},
    )
    return kinds[source.byte() % len(kinds)]()


_TEXTS = (
    *[("ascii", "strict")] * 4, ("latin-1", "strict"), ("utf-8", "replace"), ("utf-16-le", "replace"),
    ("utf-8", "surrogateescape"),
)  # fmt: skip
_CONSTANTS = (None, True, False, UNDEFINED, "", b"", 0, 1, -0.0, 2**53 - 1, 2**53, -(2**53), 2**63, 1e21, 1e-7, "ping")
_KEYS: tuple[Callable[[Source], Any], ...] = (_constant, _small, lambda source: _Text(source.text()))
_SCALARS: tuple[Callable[[Source], Any], ...] = (
    _constant, _small, _large, _double, _decimal, _raw, _text, _text, _odd,
)  # fmt: skip
