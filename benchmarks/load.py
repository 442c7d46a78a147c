"""The load generator: ``load.py URL MODE CONNECTIONS IN_FLIGHT SECONDS``; prints a JSON line.

A process of its own, on picows (a Cython WebSocket client). It sends prepared bytes, keeps IN_FLIGHT messages on the
way on each connection, and counts the answers.

MODE: ``raw`` (the answer is a bare echo, of a plain TCP server), ``echo`` (a bare WebSocket echo) or ``ezez``
(authenticates, then events that are answered by a reply).
"""

import asyncio
import json
import sys
import time
from typing import Any, List

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

TEXT = "x" * 64
AUTH = b'13f\0ezez-ws::auth\x006f\0secret\x005j\0"n:1"\0'
EVENT = b'4f\0ping\x005j\0"n:1"\x004j\0"l:"\x0064f\0' + TEXT.encode() + b"\0"


class Counter:
    """Answers of all connections since ``start``, and the latency of every hundredth."""

    def __init__(self) -> None:
        self.answers = 0
        self.running = False
        self.latencies: List[float] = []


class Client(WSListener):
    """One connection that keeps messages on the way."""

    def __init__(self, counter: Counter, mode: str, in_flight: int) -> None:
        self.counter = counter
        self.mode = mode
        self.in_flight = in_flight
        self.payload = EVENT
        self.ready = asyncio.get_running_loop().create_future()
        self.sent_at = 0.0

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        if self.mode == "ezez":
            transport.send(WSMsgType.BINARY, AUTH)
        else:
            self.ready.set_result(None)

    def begin(self) -> None:
        for _ in range(self.in_flight):
            self.transport.send(WSMsgType.BINARY, self.payload)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if not self.ready.done():
            self.ready.set_result(None)
            return
        counter = self.counter
        counter.answers += 1
        if counter.running:
            transport.send(WSMsgType.BINARY, self.payload)


class Raw(asyncio.Protocol):
    """The same over plain TCP, with as many bytes: what the ceiling is measured with."""

    def __init__(self, counter: Counter, in_flight: int) -> None:
        self.counter, self.in_flight = counter, in_flight
        self.payload = EVENT
        self.pending = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def begin(self) -> None:
        for _ in range(self.in_flight):
            self.transport.write(self.payload)

    def data_received(self, data: bytes) -> None:
        self.pending += len(data)
        while self.pending >= len(self.payload):
            self.pending -= len(self.payload)
            self.counter.answers += 1
            if self.counter.running:
                self.transport.write(self.payload)


async def connect(url: str, mode: str, counter: Counter, in_flight: int) -> Any:
    if mode == "raw":
        host, port = url.rsplit("/", 1)[-1].split(":")
        _, protocol = await asyncio.get_running_loop().create_connection(
            lambda: Raw(counter, in_flight), host, int(port)
        )
        return protocol
    client = Client(counter, mode, in_flight)
    await ws_connect(lambda: client, url)
    await client.ready
    return client


async def main() -> None:
    url, mode = sys.argv[1:3]
    connections, in_flight, seconds = int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])
    counter = Counter()
    clients: List[Any] = []
    for start in range(0, connections, 50):
        batch = [connect(url, mode, counter, in_flight) for _ in range(start, min(start + 50, connections))]
        clients += await asyncio.gather(*batch)
    counter.running = True
    for client in clients:
        client.begin()
    await asyncio.sleep(min(1.0, seconds / 3))
    before, start_time, cpu = counter.answers, time.perf_counter(), time.process_time()
    await asyncio.sleep(seconds)
    elapsed = time.perf_counter() - start_time
    rate = (counter.answers - before) / elapsed
    print(json.dumps({"rate": rate, "load_cpu": (time.process_time() - cpu) / elapsed}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
