"""How each kind of server is spoken to: the load generator's connections, by dialect.

All bytes are prepared, so that a connection costs the generator as little as can be. Whatever a server sends once a
connection is ready is given to ``heard(connection)``; what it says is not looked at, but in Socket.IO.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from ezez_ws.messages.codec import Codec
from ezez_ws.messages.protocol import AUTH
from ezez_ws.messages.recovery import Joined, parse_recovery

__all__ = ["DIALECTS", "Connection", "RecoveringConnection", "Returning", "auth", "connect"]

SMALL = 64

CODEC = Codec()


def event(name: bytes, mark: bytes, argument: bytes) -> bytes:
    """An event of this protocol, with the id 1 and one argument."""
    return b'%df\0%b\x005j\0"n:1"\x004j\0"l:"\0%d%b\0%b\0' % (len(name), name, len(argument), mark, argument)


def auth(key: str, *more: Any) -> bytes:
    """The authentication by a key, which is also the room that a server with rooms puts the client into."""
    return CODEC.encode([AUTH, key, 1, *more])


class Connection(WSListener):
    """A connection to a bare echo over WebSocket, and what the others share.

    ``small`` is the message of the rows of throughput; ``large`` and ``fanout`` make theirs. ``ready`` and ``gone`` are
    futures.
    """

    kind = WSMsgType.BINARY
    small = event(b"ping", b"f", b"x" * SMALL)

    def __init__(self, heard: "Callable[[Connection], None]", room: str) -> None:
        self.heard = heard
        self.room = room
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
            self.frame = frame  # for who looks at it at once
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

    @property
    def greeting(self) -> bytes:
        """The authentication, now or when it comes back."""
        return auth(self.room)

    def greet(self) -> None:
        self.send(self.greeting)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if self.ready.done():
            super().on_ws_frame(transport, frame)
        else:
            self.ready.set_result(None)


class CallingConnection(EzezConnection):
    """The same, but calls a handler in place of a listener."""

    small = event(b"call", b"f", b"x" * SMALL)


class CheckedConnection(EzezConnection):
    """Calls a handler that checks three arguments, which make a message as long."""

    small = CODEC.encode(["checked", 1, None, 5, "x" * (SMALL - 20), 2.5])


class RecoveringConnection(EzezConnection):
    """The same with recovery: ready when it is in its room, and then it knows what to show when it comes back."""

    def __init__(self, heard: "Callable[[Connection], None]", room: str) -> None:
        super().__init__(heard, room)
        self.memory: dict[str, Any] = {"recover": 1}

    @property
    def greeting(self) -> bytes:
        return auth(self.room, self.memory)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if self.ready.done() or frame.msg_type != self.kind:
            super().on_ws_frame(transport, frame)
        else:
            self.learn(CODEC.decode(frame.get_payload_as_bytes()))

    def learn(self, message: list[Any]) -> None:
        """Note what the server says of session and rooms."""
        if "rooms" not in self.memory:
            self.memory.update(session=message[1]["session"], rooms={})
            return
        joined = parse_recovery(message)
        assert isinstance(joined, Joined), message
        for room, _, since, ticket in joined.rooms:
            self.memory["rooms"][room] = [str(joined.position), since, ticket]
        if self.room in self.memory["rooms"]:
            self.ready.set_result(None)


class Returning(Connection):
    """Sends a prepared authentication, and is ready when it has heard so many messages."""

    def __init__(self, greeting: bytes, messages: int) -> None:
        super().__init__(lambda _: None, "")
        self.greeting = greeting
        self.left = messages

    def greet(self) -> None:
        self.send(self.greeting)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        super().on_ws_frame(transport, frame)
        if frame.msg_type == self.kind:
            self.left -= 1
            if not self.left:
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
        self.frame = frame
        start = bytes(frame.get_payload_as_memoryview()[:2])
        if start in (b"42", b"43"):  # an event, an acknowledgement
            self.heard(self)
        elif start[:1] == b"0":  # Engine.IO is open
            self.send(b'40{"room":"%b"}' % self.room.encode())
        elif start == b"40":  # and so is Socket.IO
            self.ready.set_result(None)
        elif start == b"2":  # a ping
            self.send(b"3")


DIALECTS: dict[str, type[Connection]] = {
    "echo": Connection,
    "ezez": EzezConnection,
    "calling": CallingConnection,
    "checked": CheckedConnection,
    "recovering": RecoveringConnection,
    "socketio": SocketIOConnection,
}


async def connect(url: str, connection: Connection, source: tuple[str, int] | None) -> Connection:
    """Open a connection, and return it when it is ready."""
    await ws_connect(lambda: connection, url, websocket_handshake_timeout=30, max_frame_size=4 << 20, local_addr=source)
    await asyncio.wait_for(connection.ready, 30)
    if connection.gone.done():
        raise ConnectionError("the server has closed the connection before it was ready")
    return connection
