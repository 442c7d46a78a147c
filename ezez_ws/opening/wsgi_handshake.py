"""The handshake by simple-websocket: it finds the socket in the environ of each web server that it knows, and answers.

Importing this imports simple-websocket and asyncio with it: it is imported when the first upgrade comes.
"""

import dataclasses
from types import SimpleNamespace
from typing import Any

from simple_websocket import Server
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, Event

from ..wire.borrowed import BorrowedWire
from ..wire.borrowing import borrow
from .head import encode_headers
from .upgrade import ExtraHeaders

__all__ = ["Handshake"]


class Handshake(Server):  # type: ignore[misc]
    """A handshake, done when constructed, in ``timeout`` seconds; ``wire`` is what it leaves.

    ``environ`` must have no ``HTTP_SEC_WEBSOCKET_EXTENSIONS``: it would agree to any offer. ``RuntimeError`` and
    ``TypeError``: it has no socket, or one that cannot be used. ``OSError``: the peer is gone.
    """

    wire: BorrowedWire

    def __init__(
        self, environ: dict[str, Any], subprotocol: str | None, extra_headers: ExtraHeaders, timeout: float
    ) -> None:
        self._extra_headers = extra_headers
        self._timeout = timeout
        super().__init__(environ, subprotocols=subprotocol, thread_class=_no_thread)

    def handshake(self) -> None:
        self.wire = borrow(self.sock)
        usual = self.sock.gettimeout()
        self.sock.settimeout(self._timeout)
        self.ws = _Connection(self._extra_headers)
        try:
            super().handshake()
        except OSError:
            self.wire.close()  # it may have sent a part: the web server's answer must not follow
            raise
        self.sock.settimeout(usual)


class _Connection(WSConnection):
    """Adds our headers to the 101; simple-websocket has no option for that."""

    def __init__(self, extra_headers: ExtraHeaders) -> None:
        super().__init__(ConnectionType.SERVER)
        self._extra_headers = encode_headers(extra_headers)

    def send(self, event: Event) -> bytes:
        if isinstance(event, AcceptConnection):
            event = dataclasses.replace(event, extra_headers=self._extra_headers)
        return super().send(event)


def _no_thread(target: object) -> SimpleNamespace:
    """Stand in for the thread that would read."""
    return SimpleNamespace(name="", start=lambda: None)
