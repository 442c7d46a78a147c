"""What the load generator does with its connections; each exercise returns what it saw."""

import asyncio
import re
import time
from collections.abc import Callable
from typing import Any

__all__ = ["Echoes", "Fanout", "Meter", "churn", "ignore"]

PATIENCE = 45.0  # seconds for what is still on its way at the end


def ignore(connection: Any) -> None:
    """Hear nothing."""


def read_stamp(message: bytes) -> float:
    """Return when a message was published, by the clock that all processes share; see ``servers.stamped``."""
    found = re.search(rb"@(\d+\.\d+)@", message)
    assert found is not None, message
    return float(found[1])


def check_alive(connections: list[Any]) -> None:
    """Refuse a figure that was reached with fewer connections than it says."""
    lost = sum(connection.gone.done() for connection in connections)
    if lost:
        raise ConnectionError(f"{lost} of {len(connections)} connections were lost")


class Meter:
    """The time, the generator's own processor time and a count, from one moment on."""

    def __init__(self, count: float) -> None:
        self.count = count
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def read(self, count: float) -> dict[str, Any]:
        """The rate since then, and the share of a core that the generator has used."""
        elapsed, cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        return {"rate": (count - self.count) / elapsed, "generator": cpu / elapsed, "seconds": elapsed}


class Echoes:
    """Keeps messages on the way on each connection, and counts the answers."""

    def __init__(self, connections: list[Any], payload: bytes, in_flight: int) -> None:
        self.connections, self.payload, self.in_flight = connections, payload, in_flight
        self.answers = 0
        self.running = True

    async def run(self, seconds: float) -> dict[str, Any]:
        """Leaves the last messages on their way: nothing else should follow on these connections."""
        for connection in self.connections:
            connection.heard = self.heard
            for _ in range(self.in_flight):
                connection.send(self.payload)
        await asyncio.sleep(min(1.0, seconds / 2))
        meter = Meter(self.answers)
        await asyncio.sleep(seconds)
        self.running = False
        check_alive(self.connections)
        return meter.read(self.answers)

    def heard(self, connection: Any) -> None:
        self.answers += 1
        if self.running:
            connection.send(self.payload)


class Fanout:
    """Asks for one fan-out after the other, ``window`` at a time, and counts and times the deliveries.

    Each is ``deliveries`` messages. The first connection asks; where the messages are ``stamped``, their time is from
    the server's publishing, else from the asking.
    """

    def __init__(self, connections: list[Any], payload: bytes, window: int, deliveries: int, stamped: bool) -> None:
        self.connections, self.payload, self.window = connections, payload, window
        self.deliveries, self.stamped = deliveries, stamped
        self.delivered = self.asked = 0
        self.asked_at = 0.0
        self.delays: list[float] = []
        self.running = True
        self.done = asyncio.get_running_loop().create_future()

    async def run(self, seconds: float) -> dict[str, Any]:
        for connection in self.connections:
            connection.heard = self.heard
        for _ in range(self.window):
            self.ask()
        await asyncio.sleep(min(1.0, seconds / 2))
        self.delays.clear()
        meter = Meter(self.delivered)
        await asyncio.sleep(seconds)
        seen = meter.read(self.delivered)
        self.running = False
        check_alive(self.connections)
        await asyncio.wait_for(self.done, PATIENCE)
        # with more than one on the way nobody knows which of them was delivered
        delays = sorted(self.delays) if self.window == 1 else []
        p50, p99 = (delays[int(len(delays) * part)] if delays else None for part in (0.5, 0.99))
        return {**seen, "p50": p50, "p99": p99, "delivered": self.delivered}

    def ask(self) -> None:
        self.asked += 1
        self.asked_at = time.perf_counter()
        self.connections[0].send(self.payload)

    def heard(self, connection: Any) -> None:
        self.delivered += 1
        if self.window == 1:
            began = read_stamp(connection.frame.get_payload_as_bytes()) if self.stamped else self.asked_at
            self.delays.append(time.perf_counter() - began)
        if self.delivered % self.deliveries:
            return
        if self.running:
            self.ask()
        elif self.delivered == self.asked * self.deliveries:
            self.done.set_result(None)


async def churn(connect: Callable[[], Any], at_once: int, seconds: float) -> dict[str, Any]:
    """Connect, wait to be ready, close, wait to be closed, again and again."""
    meter = Meter(0)
    end = meter.wall + seconds

    async def repeat() -> int:
        count = 0
        while time.perf_counter() < end:
            connection = await connect()
            connection.close()
            await asyncio.wait_for(connection.gone, PATIENCE)
            count += 1
        return count

    return meter.read(sum(await asyncio.gather(*[repeat() for _ in range(at_once)])))
