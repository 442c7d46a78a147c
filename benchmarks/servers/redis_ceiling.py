"""What a node on redis-py can do at best: an ``XADD`` for all texts of a fan-out, ``XREAD``, ``sendall`` for each.

It knows no rooms: the texts of an entry go to the connections in their order. The node that has ``targets`` appends,
the other one reads.
"""

import socket
import threading
from typing import Any

import redis as redis_py

from . import stamped
from .ceiling import shake_hands

__all__ = ["start"]

LOG = "log"
LENGTH = 10_000
_CLOSE = 0x88


def start(redis: str, targets: int = 0) -> str:
    """Start a node."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    connected: list[socket.socket] = []
    broker = redis_py.Redis.from_url(redis)
    threading.Thread(target=_accept, args=(listener, connected, broker, targets), daemon=True).start()
    if not targets:
        threading.Thread(target=_deliver, args=(connected, broker), daemon=True).start()
    return f"ws://127.0.0.1:{listener.getsockname()[1]}"


def _accept(listener: socket.socket, connected: list[socket.socket], broker: Any, texts: int) -> None:
    while True:
        sock, _ = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        shake_hands(sock)
        connected.append(sock)
        if texts:
            threading.Thread(target=_publish, args=(sock, broker, texts), daemon=True).start()


def _publish(sock: socket.socket, broker: Any, texts: int) -> None:
    """Append an entry for each frame."""
    while True:
        head = sock.recv(2, socket.MSG_WAITALL)
        if not head or head[0] == _CLOSE:
            return
        mask, payload = sock.recv(4, socket.MSG_WAITALL), sock.recv(head[1] & 127, socket.MSG_WAITALL)
        asked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
        size = int(asked.split()[1])
        broker.xadd(LOG, {"m": stamped(size).encode() * texts, "n": texts}, maxlen=LENGTH)


def _deliver(connected: list[socket.socket], broker: Any) -> None:
    last: Any = "0"
    while True:
        for _, entries in broker.xread({LOG: last}, block=1000):
            for entry, fields in entries:
                last = entry
                size = len(fields[b"m"]) // int(fields[b"n"])
                for place, sock in enumerate(connected[: int(fields[b"n"])]):
                    sock.sendall(b"\x82" + bytes([size]) + fields[b"m"][place * size : (place + 1) * size])
