"""A scripted end of a WebSocket, blocking, on the calling thread: it does what a test says, and nothing by itself.

``RawPeer.connect`` is a client for tests of the server, ``RawServer`` the other way round. Neither answers pings or
close frames, and both can send what no proper peer would. Only frames, handshake and codec are the package's own.
"""

import socket
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Any, NamedTuple

from ezez_ws.messages.codec import Codec
from ezez_ws.messages.protocol import AUTH, AUTH_OK, Event, parse_event
from ezez_ws.opening.client_handshake import ClientHandshake
from ezez_ws.opening.server_handshake import HandshakeRequest, ServerHandshake
from ezez_ws.opening.url import parse_url
from ezez_ws.websocket.frames import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    FrameDecoder,
    Message,
    encode_close,
    encode_frame,
    parse_close,
)

__all__ = ["AuthSeen", "End", "RawPeer", "RawServer"]

TIMEOUT = 10.0
_MASK = b"\x01\x02\x03\x04"


class AuthSeen(NamedTuple):
    """What ``RawPeer.read_auth`` saw."""

    key: Any
    version: Any


class End(NamedTuple):
    """How the other end closed: the messages before that (values, or a ``str`` for text), and the close frame.

    ``code`` is ``None`` where the bytes ended without a close frame.
    """

    messages: list[Any]
    code: int | None
    reason: str


class RawPeer:
    """One end of a connection.

    Every read takes at most ``timeout`` seconds (``TimeoutError`` else). ``last_id`` is the id of the last event sent.

    Args:
        sock: after the handshake; owned from now on.
        is_client: whether this end masks its frames.
        early: what has arrived behind the handshake.
    """

    request: HandshakeRequest
    """On a server's end: the handshake."""

    def __init__(
        self,
        sock: socket.socket,
        is_client: bool,
        early: bytes = b"",
        timeout: float = TIMEOUT,
        codec: Codec | None = None,
    ) -> None:
        self.sock = sock
        self.codec = codec or Codec()
        self.last_id = 0
        self._is_client = is_client
        self._decoder = FrameDecoder(masked=not is_client, max_payload=1 << 30)
        self._messages: deque[Message] = deque(self._decoder.feed(early))
        sock.settimeout(timeout)

    @classmethod
    def connect(
        cls,
        url: str,
        auth: str | None = None,
        *,
        headers: Sequence[tuple[str, str]] = (),
        subprotocols: Sequence[str] = (),
        extensions: str = "",
        receive_buffer: int | None = None,
        early: bytes = b"",
        timeout: float = TIMEOUT,
        codec: Codec | None = None,
    ) -> "RawPeer":
        """Connect and shake hands; with ``auth`` authenticate too, and expect auth-ok.

        Args:
            extensions: offered; what is compressed is for the test to send, and a violation where it is received.
            receive_buffer: bytes for ``SO_RCVBUF``, small ones make a slow peer soon.
            early: sent in one piece with the upgrade request, behind it.
        """
        target = parse_url(url)
        family = socket.AF_INET6 if ":" in target.host else socket.AF_INET
        sock = socket.socket(family)
        try:
            if receive_buffer is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            sock.settimeout(timeout)
            sock.connect((target.host, target.port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            handshake = ClientHandshake(target, headers, subprotocols, extensions)
            sock.sendall(handshake.request() + early)
            while not handshake.feed(_receive_some(sock)):
                pass
            peer = cls(sock, True, handshake.trailing, timeout, codec)
            if auth is not None:
                peer.authenticate(auth)
        except BaseException:
            sock.close()
            raise
        return peer

    def __enter__(self) -> "RawPeer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket without a word. Idempotent."""
        self.sock.close()

    # -- sending ----------------------------------------------------------------------------------------------------

    def send_raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.sock.sendall(data)

    def frame(
        self, opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool | None = None
    ) -> bytes:
        """Make a frame; ``masked`` is as this end must, unless given."""
        mask = _MASK if (self._is_client if masked is None else masked) else None
        return encode_frame(opcode, payload, mask, fin, rsv)

    def send_frame(
        self, opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool | None = None
    ) -> None:
        """Send one frame."""
        self.send_raw(self.frame(opcode, payload, fin=fin, rsv=rsv, masked=masked))

    def send_message(self, payload: bytes | str) -> None:
        """Send one whole message, binary or text."""
        if isinstance(payload, str):
            self.send_frame(TEXT, payload.encode())
        else:
            self.send_frame(BINARY, payload)

    def send_values(self, *values: Any) -> None:
        """Send one binary message with these fields, whatever they mean."""
        self.send_message(self.codec.encode(values))

    def event_bytes(
        self, event: str, args: Sequence[Any] = (), reply_to: int | None = None, event_id: int | None = None
    ) -> bytes:
        """Return the message of an event, with the next id unless one is given."""
        if event_id is None:
            self.last_id += 1
            event_id = self.last_id
        return self.codec.encode([event, event_id, reply_to, *args])

    def send_event(
        self, event: str, args: Sequence[Any] = (), reply_to: int | None = None, event_id: int | None = None
    ) -> int:
        """Send an event and return its id."""
        self.send_message(self.event_bytes(event, args, reply_to, event_id))
        return self.last_id if event_id is None else event_id

    def send_ping(self, payload: bytes = b"") -> None:
        self.send_frame(PING, payload)

    def send_pong(self, payload: bytes = b"") -> None:
        self.send_frame(PONG, payload)

    def send_close(self, code: int = 1000, reason: str = "") -> None:
        """Send a close frame; with code 1005 an empty one."""
        self.send_frame(CLOSE, encode_close(code, reason))

    # -- receiving --------------------------------------------------------------------------------------------------

    def read_message(self) -> Message | None:
        """Return the next message or control frame, ``None`` at the end of the bytes."""
        while not self._messages:
            if self._decoder.failure is not None:
                raise self._decoder.failure
            data = self._receive()
            if not data:
                return None
            self._messages.extend(self._decoder.feed(data))
        return self._messages.popleft()

    def read(self, opcode: int) -> Any:
        """Return the payload of the next message, which must have this opcode."""
        message = self.read_message()
        if message is None or message.opcode != opcode:
            raise AssertionError(f"expected opcode {opcode}, got {message!r}")
        return message.payload

    def read_values(self) -> list[Any]:
        """Return the fields of the next message, which must be binary; pings and pongs are skipped."""
        message = self.read_message()
        while message is not None and message.opcode in (PING, PONG):
            message = self.read_message()
        if message is None or message.opcode != BINARY:
            raise AssertionError(f"expected a binary message, got {message!r}")
        assert isinstance(message.payload, bytes)
        return self.codec.decode(message.payload)

    def read_event(self) -> Event:
        """Return the next event."""
        return parse_event(self.read_values())

    def read_end(self) -> End:
        """Read on until a close frame or the end of the bytes."""
        messages: list[Any] = []
        while True:
            message = self.read_message()
            if message is None:
                return End(messages, None, "")
            if message.opcode == CLOSE:
                assert isinstance(message.payload, bytes)
                return End(messages, *parse_close(message.payload))
            if isinstance(message.payload, str):
                messages.append(message.payload)
            elif message.opcode == BINARY:
                messages.append(self.codec.decode(message.payload))

    def at_end(self) -> bool:
        """Read on until the end of the bytes (or a reset); false where something else than control frames comes."""
        while True:
            message = self.read_message()
            if message is None:
                return True
            if message.opcode < CLOSE:
                return False

    def _receive(self) -> bytes:
        try:
            return self.sock.recv(65536)
        except ConnectionError:
            return b""

    # -- the protocol's steps ---------------------------------------------------------------------------------------

    def authenticate(self, key: str = "", version: Any = 1) -> None:
        """As a client: send the authentication message and expect auth-ok."""
        self.send_values(AUTH, key, version)
        answer = self.read_values()
        if answer != [AUTH_OK]:
            raise AssertionError(f"expected auth-ok, got {answer!r}")

    def read_auth(self) -> AuthSeen:
        """As a server: read the authentication message."""
        values = self.read_values()
        if len(values) != 3 or values[0] != AUTH:
            raise AssertionError(f"expected an authentication message, got {values!r}")
        return AuthSeen(*values[1:])

    def accept_auth(self) -> AuthSeen:
        """As a server: read the authentication message and answer auth-ok."""
        seen = self.read_auth()
        self.send_values(AUTH_OK)
        return seen


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
            while not handshake.feed(_receive_some(sock)):
                pass
            sock.sendall(handshake.accept(headers) + early)
            peer = RawPeer(sock, False, handshake.trailing)
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
            while not handshake.feed(_receive_some(sock)):
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


def _receive_some(sock: socket.socket) -> bytes:
    data = sock.recv(65536)
    if not data:
        raise ConnectionError("the other end closed during the handshake")
    return data
