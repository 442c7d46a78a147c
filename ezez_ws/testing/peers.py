"""Peers that do what a test says, and nothing by themselves: send what no client would, or never read."""

import socket
import ssl as _ssl
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

from ..errors import ConnectionFailed
from ..messages.codec import Codec
from ..messages.protocol import AUTH, AUTH_OK, Event, parse_event
from ..opening.client_handshake import ClientHandshake, DialRefused
from ..opening.server_handshake import HandshakeRequest
from ..opening.url import parse_url
from ..websocket.frames import (
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
from .scope import Target, close_at_end, url_of

__all__ = ["AuthSeen", "End", "RawPeer", "StalledPeer", "receive_some"]

P = TypeVar("P", bound="RawPeer")

TIMEOUT = 10.0
_MASK = b"\x01\x02\x03\x04"


class AuthSeen(NamedTuple):
    """What ``RawPeer.read_auth`` has seen."""

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
    """A client whose every byte is the test's. Blocking, on the calling thread; it answers neither pings nor a close.

    ``send`` and ``receive`` are for bytes as they are; the other methods for frames, messages and events, as the
    protocol has them or as it forbids. Every read takes at most ``timeout`` seconds, then it is a ``TimeoutError``. It
    is closed at the end of the test that it was made in, by ``with``, or by ``close``.

    Args:
        server_or_url: where to connect to.
        auth: the key to authenticate with, where the peer is to be authenticated.
        handshake: whether to shake hands; without, there is nothing but the TCP connection, and TLS.
        headers: of the handshake, beside its own.
        subprotocols: offered.
        extensions: offered; what is compressed is for the test to send, and an error where it is received.
        receive_buffer: bytes for ``SO_RCVBUF``; with few of them a peer that does not read is slow soon.
        early: sent in one piece with the handshake, behind it.
        timeout: seconds.
        codec: of the events.
        ssl: for ``wss://``; ``None``: as the system trusts.

    Raises:
        AssertionError: the server does not authenticate it.
        ConnectionFailed: the server refuses the handshake.
        OSError: there is no connection.
    """

    sock: socket.socket
    request: HandshakeRequest
    """On a server's end: the handshake."""
    last_id: int
    """That of the last event that was sent."""

    def __init__(
        self,
        server_or_url: Target,
        auth: str | None = None,
        *,
        handshake: bool = True,
        headers: Sequence[tuple[str, str]] = (),
        subprotocols: Sequence[str] = (),
        extensions: str = "",
        receive_buffer: int | None = None,
        early: bytes = b"",
        timeout: float = TIMEOUT,
        codec: Codec | None = None,
        ssl: _ssl.SSLContext | None = None,
    ) -> None:
        target = parse_url(url_of(server_or_url))
        family = socket.AF_INET6 if ":" in target.host else socket.AF_INET
        sock = socket.socket(family)
        try:
            if receive_buffer is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            sock.settimeout(timeout)
            sock.connect((target.host, target.port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if target.secure:
                context = _ssl.create_default_context() if ssl is None else ssl
                sock = context.wrap_socket(sock, server_hostname=target.server_name)
            trailing = b""
            if handshake:
                request = ClientHandshake(target, headers, subprotocols, extensions)
                sock.sendall(request.request() + early)
                try:
                    while not request.feed(receive_some(sock)):
                        pass
                except DialRefused as refusal:
                    raise ConnectionFailed(str(refusal), refusal.status, refusal.headers) from refusal
                trailing = request.trailing
            self._begin(sock, True, trailing, timeout, codec)
            if auth is not None:
                self.authenticate(auth)
        except BaseException:
            sock.close()
            raise
        close_at_end(self)

    @classmethod
    def over(
        cls: type[P],
        sock: socket.socket,
        is_client: bool = True,
        early: bytes = b"",
        timeout: float = TIMEOUT,
        codec: Codec | None = None,
    ) -> P:
        """Make one of a socket that has shaken hands, which it owns from now on.

        Args:
            is_client: whether this end masks its frames.
            early: what has arrived behind the handshake.
        """
        peer = cls.__new__(cls)
        peer._begin(sock, is_client, early, timeout, codec)
        close_at_end(peer)
        return peer

    def _begin(self, sock: socket.socket, is_client: bool, early: bytes, timeout: float, codec: Codec | None) -> None:
        self.sock = sock
        self.codec = codec or Codec()
        self.last_id = 0
        self._is_client = is_client
        self._early = early
        self._decoder = FrameDecoder(masked=not is_client, max_payload=1 << 30)
        self._messages: deque[Message] = deque()
        sock.settimeout(timeout)

    def __enter__(self: P) -> P:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket without a word. Idempotent."""
        self.sock.close()

    # -- sending ----------------------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
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
        self.send(self.frame(opcode, payload, fin=fin, rsv=rsv, masked=masked))

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

    def receive(self, timeout: float | None = None) -> bytes:
        """Return the bytes that come next, as they are; nothing (``b""``) at their end, or after a reset.

        Args:
            timeout: seconds; ``None``: those of the peer.

        Raises:
            TimeoutError: there were none in that time.
        """
        if timeout is None or self._early:
            return self._receive()
        usual = self.sock.gettimeout()
        self.sock.settimeout(timeout)
        try:
            return self._receive()
        finally:
            self.sock.settimeout(usual)

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
        early, self._early = self._early, b""
        if early:
            return early
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


class StalledPeer(RawPeer):
    """A client that authenticates and never reads: what it is sent fills its buffers, then the server's.

    Args:
        server_or_url: as of ``RawPeer``.
        auth: as of ``RawPeer``.
        options: those of ``RawPeer``.
    """

    def __init__(self, server_or_url: Target, auth: str = "", **options: Any) -> None:
        options.setdefault("receive_buffer", 4096)
        super().__init__(server_or_url, auth, **options)


def receive_some(sock: socket.socket) -> bytes:
    data = sock.recv(65536)
    if not data:
        raise ConnectionError("the other end closed during the handshake")
    return data
