"""The load generator: ``python -m benchmarks.load URL DIALECT``, a process that obeys lines of JSON.

It is on picows, a WebSocket client in Cython, and on uvloop, and sends prepared bytes. Its answers say which share of a
core it has used (``generator``): near 1 it was itself the limit.
"""

import asyncio
import base64
import json
import os
import socket
import sys
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import uvloop

from .dialects import DIALECTS, Connection, EzezConnection, Returning, auth, connect
from .exercises import Echoes, Fanout, Meter, churn, ignore
from .machine import source
from .servers.ours import KEY

AT_ONCE = 50
FILLING, FILLINGS = 60 << 10, 50


class Generator:
    """Holds the connections; every public method is a command."""

    def __init__(self, url: str, dialect: str) -> None:
        self.url = url
        self.kind = DIALECTS[dialect]
        self.connections: list[Connection] = []
        self.stalled: list[socket.socket] = []

    async def connect(self, count: int, url: str = "", rooms: Sequence[str] = (KEY,)) -> dict[str, Any]:
        """Open so many more, to this server or to another one, each in one of the rooms, in turn."""
        self.url = url or self.url
        meter = Meter(0)
        for start in range(0, count, AT_ONCE):
            numbers = range(len(self.connections), len(self.connections) + min(AT_ONCE, count - start))
            self.connections += await asyncio.gather(*[self._connect(number, rooms) for number in numbers])
        return meter.read(count)

    async def echo(self, connections: int, in_flight: int, seconds: float, size: int = 0) -> dict[str, Any]:
        """Roundtrips on the first ``connections``, of the small message or of ``size`` bytes of binary data."""
        payload = self.kind.large(size) if size else self.kind.small
        return await Echoes(self.connections[:connections], payload, in_flight).run(seconds)

    async def fanout(
        self, size: int, window: int, seconds: float, deliveries: int = 0, stamped: bool = False
    ) -> dict[str, Any]:
        """Broadcasts to all but those who never read; or what each time is ``deliveries`` messages."""
        payload, each = self.kind.fanout(size), deliveries or len(self.connections)
        return await Fanout(self.connections, payload, window, each, stamped).run(seconds)

    async def churn(self, at_once: int, seconds: float) -> dict[str, Any]:
        """Connections that come and go."""
        return await churn(lambda: self._connect(0, (KEY,)), at_once, seconds)

    async def leave(self) -> dict[str, Any]:
        """Close all connections."""
        for connection in self.connections:
            connection.close()
        await asyncio.gather(*[connection.gone for connection in self.connections])
        return {}

    async def come_back(self, messages: int) -> dict[str, Any]:
        """Let all who have left come back at once, each with what it remembers, until each has heard so many."""
        greetings = [one.greeting for one in self.connections if isinstance(one, (EzezConnection, Returning))]
        meter = Meter(0)
        self.connections = await asyncio.gather(
            *[connect(self.url, Returning(greeting, messages), None) for greeting in greetings]
        )
        return meter.read(len(greetings))

    async def stall(self, count: int) -> dict[str, Any]:
        """Open connections that authenticate and then never read."""
        self.stalled += [_stalled(self.url) for _ in range(count)]
        return {}

    async def _connect(self, number: int, rooms: Sequence[str]) -> Connection:
        return await connect(self.url, self.kind(ignore, rooms[number % len(rooms)]), source(number))


def _stalled(url: str) -> socket.socket:
    """Shake hands and authenticate by hand, then ask for more than the kernel keeps."""
    address = urlsplit(url)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect((address.hostname, address.port))
    key = base64.b64encode(os.urandom(16)).decode()
    lines = ["GET / HTTP/1.1", f"Host: {address.netloc}", "Upgrade: websocket", "Connection: Upgrade"]
    lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "", ""]
    sock.sendall("\r\n".join(lines).encode())
    _hear(sock, b"\r\n\r\n")
    sock.sendall(_frame(auth(KEY)))
    _hear(sock, b"auth-ok")
    # the kernel takes megabytes before the server has to keep anything: answers of no interest fill it
    sock.sendall(_frame(EzezConnection.large(FILLING)) * FILLINGS)
    return sock


def _frame(payload: bytes) -> bytes:
    """A binary frame, masked by zeros, so that its payload stays as it is."""
    size = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2, "big")
    return b"\x82" + size + bytes(4) + payload


def _hear(sock: socket.socket, end: bytes) -> None:
    heard = b""
    while end not in heard:
        heard += sock.recv(1)


async def main() -> None:
    url, dialect = sys.argv[1:3]
    generator = Generator(url, dialect)
    loop = asyncio.get_running_loop()
    answer: dict[str, Any] = {"ready": True}
    while True:
        print(json.dumps(answer), flush=True)
        line = await loop.run_in_executor(None, sys.stdin.readline)
        if not line:
            return
        command = json.loads(line)
        answer = await getattr(generator, command.pop("do"))(**command)


if __name__ == "__main__":
    uvloop.run(main())
