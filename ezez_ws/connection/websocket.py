"""The WebSocket below the events: what users get as ``client.client``."""

from typing import Any

from ..messages.protocol import CloseCode, check_close
from ..threads.fork import Uncopied
from ..websocket.frames import BINARY, TEXT
from .connection import Connection

__all__ = ["WebSocket"]


class WebSocket(Uncopied):
    """The WebSocket of one connection. What goes through it is no event of the protocol, and has no id.

    Every method may be called from any thread; after ``os.fork`` the child's calls raise ``RuntimeError``. It is made
    anew for each look at it: two of one connection are equal.
    """

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def send(self, data: str | bytes) -> bool:
        """Send one message as it is: a ``str`` as text, ``bytes`` as binary. False where there is no connection.

        Without room in the send buffer it waits, as ``send`` of an event does, and raises ``SendTimeout``.
        """
        self._connection.fork_guard.check()
        if isinstance(data, str):
            return self._connection.send_raw(data.encode(), TEXT)
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data must be str or bytes, not {type(data).__name__}")
        return self._connection.send_raw(bytes(data), BINARY)

    def ping(self) -> None:
        """Send a ping, and do not wait for its answer; nothing where the connection is closing or gone."""
        self._connection.fork_guard.check()
        self._connection.ping()

    def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Begin to close this connection, as ``disconnect`` of a server's client does. A client then reconnects."""
        self._connection.fork_guard.check()
        check_close(code, reason)
        self._connection.disconnect(code, reason)

    @property
    def open(self) -> bool:
        """Whether messages can be sent."""
        return self._connection.alive

    def __eq__(self, other: object) -> Any:
        return other._connection is self._connection if isinstance(other, WebSocket) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._connection)

    def __repr__(self) -> str:
        return f"<WebSocket {'open' if self.open else 'closed'}>"
