"""One client of a server: its public face."""

import itertools
import threading
from typing import Any

from .connection.listeners import Listening
from .connection.replies import OnReply, SentMessage
from .connection.server_side import ServerConnection
from .context import Context
from .messages.protocol import CloseCode, check_close
from .opening.server_handshake import HandshakeRequest
from .threads.fork import ForkGuard
from .websocket.stream import Stream

__all__ = ["EZEZServerClient"]

_ids = itertools.count()
_ids_lock = threading.Lock()


class EZEZServerClient(Listening):
    """A client that is connected to a server; the server makes one for each connection.

    Every method may be called from any thread. After ``os.fork`` the child's calls raise ``RuntimeError``.
    """

    def __init__(self, connection: ServerConnection, request: HandshakeRequest, context: Context) -> None:
        self._connection = connection
        self._listeners = connection.listeners
        self._request = request
        self._context = context
        self._fork_guard = ForkGuard("client")
        with _ids_lock:
            self._connection_id = next(_ids)

    def send(self, event: str, args: Any = (), on_reply: OnReply | None = None) -> SentMessage:
        """Send an event.

        Returns as soon as the kernel or the send buffer has the message. Without room in the send buffer
        (``send_buffer_limit``) it waits, reading meanwhile, at most ``send_timeout`` seconds.

        Args:
            event: its name; names that start with ``ezez-ws::`` or ``ezez-ws:incoming:`` are the protocol's.
            args: a list or tuple of values that the server's codec can send.
            on_reply: called as ``on_reply(client, event, args, reply, ids)`` for the first reply, on the connection's
                thread; the listeners do not get that reply then.

        Returns:
            A ``SentMessage`` to wait for the reply with; falsy where the connection is gone.

        Raises:
            TypeError, ValueError: a wrong event name, ``args`` or ``on_reply``.
            SerializationError: a value that cannot be sent.
            ConnectionClosed: the connection is gone, with ``send_after_disconnect="raise"``.
            SendTimeout: there was no room in time; the client has been cut.
        """
        self._fork_guard.check()
        return self._connection.send(event, args, None, on_reply)

    def disconnect(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Begin to close the connection, and return at once; nothing happens where it is closing or gone.

        Waiting threads get ``ConnectionClosed``; events that are not handled yet are dropped. The peer has
        ``close_timeout`` seconds to answer; then the connection is cut. ``on_disconnect`` follows.

        Args:
            code: 1000-1003, 1007-1014 or 3000-4999 (RFC 6455, section 7.4), else ``ValueError``.
            reason: at most 123 bytes of UTF-8.
        """
        self._fork_guard.check()
        check_close(code, reason)
        self._connection.disconnect(code, reason)

    @property
    def context(self) -> Context:
        """What the program keeps for this client."""
        return self._context

    @property
    def alive(self) -> bool:
        """Whether the connection is open: not closing, and not known to be gone."""
        return self._connection.alive

    @property
    def authenticated(self) -> bool:
        """Whether the client has been authenticated; it stays so when the connection ends."""
        return self._connection.authenticated

    @property
    def connection_id(self) -> int:
        """Counts connections from 0 over the life of the process, never starting anew."""
        return self._connection_id

    @property
    def awaiting_replies_count(self) -> int:
        """Messages with an ``on_reply`` still to come, plus those that a thread is waiting for."""
        return self._connection.awaiting_replies_count

    @property
    def request(self) -> HandshakeRequest:
        """The HTTP request that the connection began with."""
        return self._request

    @property
    def client(self) -> Stream:
        """The underlying WebSocket; sending through it bypasses the protocol."""
        return self._connection.stream

    def __repr__(self) -> str:
        state = "authenticated" if self.authenticated else "not authenticated"
        return f"<EZEZServerClient {self._connection_id} {state}, {'open' if self.alive else 'closed'}>"
