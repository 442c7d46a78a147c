"""Which wire goes over a socket that somebody else has accepted."""

import _socket
from typing import Any

from .borrowed import BorrowedWire, PolledWire

__all__ = ["borrow"]


def borrow(sock: Any) -> BorrowedWire:
    """Return a wire over somebody else's socket, or ``ssl.SSLSocket`` after its handshake; else ``TypeError``."""
    plain = isinstance(sock, _socket.socket)
    if hasattr(sock, "pending"):  # an SSLSocket
        if not plain:
            raise TypeError(f"TLS in a {type(sock).__module__}.{type(sock).__name__} is not supported")
        from .tls_socket import TLSSocketWire

        return TLSSocketWire(sock)
    return BorrowedWire(sock) if plain else PolledWire(sock)
