"""Wires over sockets that somebody else has accepted, and will close: a web server, or an accept loop of the user's."""

import _socket
from typing import Any

from .sockets import SocketWire

__all__ = ["BorrowedWire", "PolledWire", "borrow"]


class BorrowedWire(SocketWire):
    """A plain socket; what its owner writes after ``close`` does not reach the peer any more."""

    def close(self) -> None:
        self.cut()

    def _read_alone(self, size: int) -> bytes:
        return self._sock.recv(size)  # between two looks its owner may close it, and the descriptor be another's


class PolledWire(BorrowedWire):
    """A socket that never blocks: whoever reads waits in ``poll``.

    For what does not know ``MSG_DONTWAIT``: the sockets of gevent and eventlet, and TLS.
    """

    def __init__(self, sock: Any) -> None:
        super().__init__(sock)
        sock.settimeout(0.0)

    def read(self, size: int) -> bytes:
        while True:
            data = self.read_now(size)
            if data is not None:
                return data
            self.poll(True, False, None)


def borrow(sock: Any) -> BorrowedWire:
    """Return a wire over somebody else's socket, which may be an ``ssl.SSLSocket`` after its handshake.

    Raises:
        TypeError: it is no socket that can be used.
    """
    plain = isinstance(sock, _socket.socket)
    if hasattr(sock, "pending"):  # an SSLSocket
        if not plain:
            raise TypeError(f"TLS in a {type(sock).__module__}.{type(sock).__name__} is not supported")
        from .tls_socket import TLSSocketWire

        return TLSSocketWire(sock)
    return BorrowedWire(sock) if plain else PolledWire(sock)
