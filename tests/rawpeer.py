"""A scripted server, blocking, on the calling thread: the other way round from ``RawPeer``, which is the library's."""

import socket
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from ezez_ws.opening.server_handshake import ServerHandshake
from ezez_ws.testing import peers
from ezez_ws.testing.peers import TIMEOUT, AuthSeen, End, receive_some

__all__ = ["AuthSeen", "End", "RawPeer", "RawServer"]


class RawPeer(peers.RawPeer):
    """By the names of before."""

    @classmethod
    def connect(cls, url: str, auth: str | None = None, **options: Any) -> "RawPeer":
        return cls(url, auth, **options)

    send_raw = peers.RawPeer.send


class RawServer:
    """Listens on a free port of the loopback; the test accepts each connection itself."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.sock = socket.create_server((host, port))
        self.sock.settimeout(TIMEOUT)
        self.host, self.port = self.sock.getsockname()[:2]

    @property
    def url(self) -> str:
        return f"ws://{self.host}:{self.port}"

    def accept_socket(self) -> socket.socket:
        """Accept a connection, and leave the handshake to the test."""
        sock, _ = self.sock.accept()
        sock.settimeout(TIMEOUT)
        return sock

    def accept(self, auth: bool = False, headers: Sequence[tuple[str, str]] = (), early: bytes = b"") -> RawPeer:
        """Accept a connection and shake hands; with ``auth`` also authenticate whoever comes.

        Args:
            headers: added to the 101 response.
            early: sent in one piece with that response, behind it.
        """
        sock = self.accept_socket()
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            handshake = ServerHandshake()
            while not handshake.feed(receive_some(sock)):
                pass
            sock.sendall(handshake.accept(headers) + early)
            peer = RawPeer.over(sock, False, handshake.trailing)
            peer.request = handshake.request
            if auth:
                peer.accept_auth()
        except BaseException:
            sock.close()
            raise
        return peer

    def refuse(self, response: bytes) -> None:
        """Accept a connection, read its request, answer ``response`` and close."""
        with self.accept_socket() as sock:
            handshake = ServerHandshake()
            while not handshake.feed(receive_some(sock)):
                pass
            sock.sendall(response)

    def close(self) -> None:
        """Stop listening; what was accepted goes on. Idempotent."""
        self.sock.close()

    def __enter__(self) -> "RawServer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
