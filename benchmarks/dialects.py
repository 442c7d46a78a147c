"""How each kind of server is spoken to: the load generator's connections, by dialect.

All bytes are prepared, so that a connection costs the generator as little as can be. Whatever a server sends once a
connection is ready is given to ``heard(connection)``; what it says is not looked at, but in Socket.IO.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

__all__ = ["AUTH", "DIALECTS", "Connection", "connect"]

SMALL = 64

AUTH = b'13f\0ezez-ws::auth\x006f\0secret\x005j\0"n:1"\0'


def event(name: bytes, mark: bytes, argument: bytes) -> bytes:
    """An event of this protocol, with the id 1 and one argument."""
    return b'%df\0%b\x005j\0"n:1"\x004j\0"l:"\0%d%b\0%b\0' % (len(name), name, len(argument), mark, argument)


class Connection(WSListener):
    """A connection to a bare echo over WebSocket, and what the others share.

    ``small`` is the message of the rows of throughput; ``large`` and ``fanout`` make theirs. ``ready`` and ``gone`` are
    futures.
    """

    kind = WSMsgType.BINARY
    small = event(b"ping", b"f", b"x" * SMALL)

    def __init__(self, heard: "Callable[[Connection], None]") -> None:
        self.heard = heard
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.gone: asyncio.Future[None] = loop.create_future()

    @staticmethod
    def large(size: int) -> bytes:
        """A message of about ``size`` bytes of binary data, which comes back."""
        return b"\0" * size

    @staticmethod
    def fanout(size: int) -> bytes:
        """A message that asks for a text of ``size`` bytes to be sent to all."""
        return b"fanout %d" % size

    def send(self, payload: bytes) -> None:
        self.transport.send(self.kind, payload)

    def close(self) -> None:
        self.transport.send_close()

    def greet(self) -> None:
        """Do what the server wants before it listens."""
        self.ready.set_result(None)

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport
        self.greet()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        for future in (self.ready, self.gone):
            if not future.done():
                future.set_result(None)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == self.kind:
            self.heard(self)
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()


class EzezConnection(Connection):
    """This library's protocol: authenticates first, then sends events, and counts replies to them."""

    @staticmethod
    def large(size: int) -> bytes:
        return event(b"ping", b"t", b"\0" * size)

    @staticmethod
    def fanout(size: int) -> bytes:
        return event(b"fanout", b"j", b'"n:%d"' % size)

    def greet(self) -> None:
        self.send(AUTH)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if self.ready.done():
            super().on_ws_frame(transport, frame)
        else:
            self.ready.set_result(None)


class SocketIOConnection(Connection):
    """Socket.IO over Engine.IO's WebSocket transport: an event that wants its acknowledgement."""

    kind = WSMsgType.TEXT
    small = b'421["ping","%b"]' % (b"x" * SMALL)

    @staticmethod
    def fanout(size: int) -> bytes:
        return b'42["fanout",%d]' % size

    def greet(self) -> None:
        pass  # the server speaks first

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != self.kind:
            super().on_ws_frame(transport, frame)
            return
        start = bytes(frame.get_payload_as_memoryview()[:2])
        if start in (b"42", b"43"):  # an event, an acknowledgement
            self.heard(self)
        elif start[:1] == b"0":  # Engine.IO is open
            self.send(b"40")
        elif start == b"40":  # and so is Socket.IO
            self.ready.set_result(None)
        elif start == b"2":  # a ping
            self.send(b"3")


DIALECTS: dict[str, type[Connection]] = {
    "echo": Connection,
    "ezez": EzezConnection,
    "socketio": SocketIOConnection,
}


async def connect(url: str, dialect: str, heard: Callable[[Any], None], source: tuple[str, int] | None) -> Connection:
    """Open a connection, and return it when it is ready."""
    connection = DIALECTS[dialect](heard)
    await ws_connect(lambda: connection, url, websocket_handshake_timeout=30, max_frame_size=4 << 20, local_addr=source)
    await asyncio.wait_for(connection.ready, 30)
    if connection.gone.done():
        raise ConnectionError("the server has closed the connection before it was ready")
    return connection
