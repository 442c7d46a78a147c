"""The load generator for the ceiling: plain TCP by epoll, since asyncio's streams would be slower than that server."""

import select
import socket
import time
from typing import Any, Dict, List

from .dialects import Connection
from .exercises import Meter
from .machine import source

__all__ = ["RawGenerator"]

Polled = Dict[int, socket.socket]


class RawGenerator:
    """The commands of ``load.Generator`` that can be given to a server which knows neither WebSocket nor events."""

    def __init__(self, url: str) -> None:
        host, port = url.rsplit("/", 1)[-1].split(":")
        self.address = (host, int(port))
        self.connections: List[socket.socket] = []

    async def connect(self, count: int) -> Dict[str, Any]:
        """Open so many more, one after the other."""
        meter = Meter(0)
        for _ in range(count):
            sock = socket.create_connection(self.address, source_address=source(len(self.connections)))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections.append(sock)
        return meter.read(count)

    async def echo(self, connections: int, in_flight: int, seconds: float) -> Dict[str, Any]:
        """As many bytes there and back as the small message has."""
        with select.epoll() as epoll:
            polled = {sock.fileno(): sock for sock in self.connections[:connections]}
            for fd, sock in polled.items():
                epoll.register(fd, select.EPOLLIN)
                sock.sendall(Connection.small * in_flight)
            _echo(epoll, polled, min(1.0, seconds / 2))
            meter = Meter(0)
            return meter.read(_echo(epoll, polled, seconds))


def _echo(epoll: select.epoll, polled: Polled, seconds: float) -> float:
    """Send back what arrives, and return how many messages that was."""
    end = time.perf_counter() + seconds
    received = 0
    while time.perf_counter() < end:
        for fd, _ in epoll.poll(0.1):
            sock = polled[fd]
            data = sock.recv(65536)
            received += len(data)
            sock.send(data)
    return received / len(Connection.small)
