"""A plain mutation loop, for where atheris cannot be had: it knows nothing of coverage."""

import random
import time
from collections.abc import Callable, Sequence

__all__ = ["Mutator", "run"]

_TOKENS = (
    # frames
    b"\x81\x00", b"\x82\x7e\x00\x7e", b"\x82\x7f" + bytes(6) + b"\x01\x00", b"\x88\x02\x03\xe8", b"\x89\x00",
    b"\x8a\x00", b"\x01\x01a", b"\x80\x01b", b"\xc1\x80\x00\x00\x00\x00", b"\x00\x00\xff\xff", b"\xed\xa0\x80",
    # messages
    b'4j\0"l:"\0', b'5j\0"n:1"\0', b'4j\0"u:"\0', b"0f\0\0", b"0t\0\0", b"2j\0[]\0", b'"s:"', b'"i:', b'"n:-0"',
    b'"n:NaN"', b'"n:1e400"', b"\\ud800", b"\\udc00", b"\\\\", b'\\"', b'{"":', b"}", b"[", b"]", b",", b"date:",
    b"bad:", b"9007199254740992",
    # heads
    b"\r\n", b"\n", b"\r\n ", b": ", b"\r\n\r\n", b"HTTP/1.1 ", b"GET / HTTP/1.1\r\n", b"Host: b\r\n",
    b"Upgrade: websocket\r\n", b"Connection: upgrade\r\n", b"Sec-WebSocket-Version: 13\r\n",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=8\r\n", b"Cookie: a=b; c\r\n", b"#", b"?",
    b"%25", b"wss://[::1]:", b"xn--", "ß".encode(), "。".encode(),
)  # fmt: skip
_BYTES = (0x00, 0x01, 0x09, 0x0A, 0x0D, 0x20, 0x22, 0x30, 0x39, 0x3A, 0x5B, 0x5C, 0x7D, 0x7E, 0x7F, 0x80, 0xC0, 0xFF)


class Mutator:
    """Makes new inputs of old ones. The same seed makes the same ones."""

    def __init__(self, inputs: Sequence[bytes], seed: int, max_size: int = 4096) -> None:
        self._inputs = list(inputs) or [b""]
        self._chance = random.Random(seed)
        self._max_size = max_size
        self._steps: list[Callable[[bytearray], None]] = [
            self._flip_bit,
            self._set_byte,
            self._insert_token,
            self._remove,
            self._repeat,
            self._splice,
            self._change_digit,
        ]

    def next(self) -> bytes:
        """Return an input that is an old one with a few changes."""
        data = bytearray(self._chance.choice(self._inputs))
        for _ in range(self._chance.choice((1, 1, 1, 2, 3, 5, 8))):
            self._chance.choice(self._steps)(data)
        return bytes(data[: self._max_size])

    def _place(self, data: bytearray) -> int:
        return self._chance.randrange(len(data) + 1)

    def _flip_bit(self, data: bytearray) -> None:
        if data:
            data[self._chance.randrange(len(data))] ^= 1 << self._chance.randrange(8)

    def _set_byte(self, data: bytearray) -> None:
        if data:
            value = self._chance.choice(_BYTES) if self._chance.random() < 0.5 else self._chance.randrange(256)
            data[self._chance.randrange(len(data))] = value

    def _insert_token(self, data: bytearray) -> None:
        place = self._place(data)
        data[place:place] = self._chance.choice(_TOKENS)

    def _remove(self, data: bytearray) -> None:
        place = self._place(data)
        del data[place : place + self._chance.randint(1, 8)]

    def _repeat(self, data: bytearray) -> None:
        place = self._place(data)
        piece = data[place : place + self._chance.randint(1, 32)]
        data[place:place] = piece * self._chance.choice((1, 1, 2, 16))

    def _splice(self, data: bytearray) -> None:
        other = self._chance.choice(self._inputs)
        start = self._chance.randrange(len(other) + 1)
        data[self._place(data) :] = other[start:]

    def _change_digit(self, data: bytearray) -> None:
        digits = [place for place, byte in enumerate(data) if 0x30 <= byte <= 0x39]
        if digits:
            data[self._chance.choice(digits)] = self._chance.randint(0x30, 0x39)


def run(one_input: Callable[[bytes], None], inputs: Sequence[bytes], seconds: float, seed: int) -> "Result":
    """Run the inputs, and then new ones made of them, until the time is over or one of them raises."""
    mutator = Mutator(inputs, seed)
    deadline = time.monotonic() + seconds
    result = Result()
    for data in inputs:
        if not result.add(one_input, data):
            return result
    while time.monotonic() < deadline:
        if not result.add(one_input, mutator.next()):
            break
    return result


class Result:
    """How many inputs have run, and the one that has failed."""

    def __init__(self) -> None:
        self.count = 0
        self.culprit: bytes | None = None
        self.error: BaseException | None = None

    def add(self, one_input: Callable[[bytes], None], data: bytes) -> bool:
        """Run one; false where it fails."""
        self.count += 1
        try:
            one_input(data)
        except BaseException as error:
            self.culprit, self.error = data, error
            return False
        return True
