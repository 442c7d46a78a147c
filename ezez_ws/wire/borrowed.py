"""Wires over sockets that somebody else has accepted, and will close: a web server, or an accept loop of the user's."""

from typing import Any

from .sockets import SocketWire

__all__ = ["BorrowedWire", "PolledWire"]


class BorrowedWire(SocketWire):
    """A plain socket; what its owner writes after ``close`` does not reach the peer any more."""

    owns = False

    def close(self) -> None:
        self.cut()

    def _read_alone(self, size: int) -> bytes:
        return self._sock.recv(size)  # between two looks its owner may close it, and the descriptor be another's


class PolledWire(BorrowedWire):
    """A socket that never blocks, as those of gevent, eventlet and TLS do not know ``MSG_DONTWAIT``: reading polls."""

    def __init__(self, sock: Any) -> None:
        super().__init__(sock)
        sock.settimeout(0.0)

    def read(self, size: int) -> bytes:
        while True:
            data = self.read_now(size)
            if data is not None:
                return data
            self.poll(True, False, None)
