"""The errors that this library raises.

    EZEZError
    ├── ConnectionClosed              the connection is gone: nothing was sent, or nobody will answer any more
    ├── NotConnected                  a client has no connection now and was told not to queue
    ├── ConnectionFailed              one attempt to connect failed; ``__cause__`` says why
    ├── ConnectTimeout (TimeoutError) ``connect()`` ran out of time
    ├── AuthRejected                  the server refused the key
    ├── ReplyTimeout (TimeoutError)   no reply in time
    ├── SendTimeout (TimeoutError)    the peer took nothing for ``send_timeout`` and was cut
    ├── TooManyReplies                too many messages of a connection have an ``on_reply`` still to come
    ├── QueueFull                     the queue of a client, or of publications, has no room for the message
    ├── PublishFailed                 the log will never have a publication, or an emitter does not know
    ├── NotReady                      a node does not know yet who is in a room
    ├── RemoteError                   the other side answered a call by an error
    │   └── InvalidArgs               the arguments of a call do not fit, wherever that was found
    ├── CallError                     for handlers to raise: what the other side is told
    ├── SerializationError (ValueError)  a value that cannot travel: the caller's mistake
    └── MalformedMessage (ValueError)    bytes that are no message: the peer's mistake

A wrong option or argument is a plain ``ValueError`` or ``TypeError``.
"""

from collections.abc import Mapping
from typing import Any

from .logs import shown

__all__ = [
    "AuthRejected",
    "CallError",
    "ConnectTimeout",
    "ConnectionClosed",
    "ConnectionFailed",
    "EZEZError",
    "InvalidArgs",
    "MalformedMessage",
    "NotConnected",
    "NotReady",
    "PublishFailed",
    "QueueFull",
    "RemoteError",
    "ReplyTimeout",
    "SendTimeout",
    "SerializationError",
    "TooManyReplies",
]


class EZEZError(Exception):
    """The root of all errors of this library."""


class ConnectionClosed(EZEZError):
    """The connection is gone; ``code`` (RFC 6455, section 7.4; 1006: no close frame came) and ``reason`` say why."""

    def __init__(self, code: int = 1006, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return f"connection closed ({self.code}{', ' + shown(self.reason) if self.reason else ''})"


class NotConnected(EZEZError):
    """The client is not connected and authenticated now, and does not queue."""


class ConnectionFailed(EZEZError):
    """An attempt to connect failed; the cause is chained.

    Where the server answered HTTP without the upgrade, ``status``, ``headers`` (names in any case) and up to 4 KiB of
    the ``body`` are that answer's; else they are ``None`` and empty.
    """

    def __init__(
        self,
        message: str,
        status: "int | None" = None,
        headers: "Mapping[str, str] | None" = None,
        body: bytes = b"",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers: Mapping[str, str] = {} if headers is None else headers
        self.body = body


class ConnectTimeout(EZEZError, TimeoutError):
    """``connect()`` has not come to an end in time; the last failure is chained."""


class AuthRejected(EZEZError):
    """The server refused to authenticate this client; ``reason`` is the server's text."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"authentication rejected: {shown(self.reason)}"


class ReplyTimeout(EZEZError, TimeoutError):
    """No reply came within the timeout or the time that a reply is waited for at all."""


class SendTimeout(EZEZError, TimeoutError):
    """The peer has taken nothing for ``send_timeout`` seconds; its connection has been cut."""


class TooManyReplies(EZEZError):
    """``max_awaiting_replies`` messages of the connection have an ``on_reply`` still to come. Nothing was sent."""


class QueueFull(EZEZError):
    """The message does not fit into the queue of a client that is not connected, or of a server whose broker does not
    take publications; it was not queued."""


class PublishFailed(EZEZError):
    """The log will never have the publication, as its server was closed first; or an emitter got no confirmation."""


class NotReady(EZEZError):
    """This node has not heard yet from all others who is in their rooms."""


class RemoteError(EZEZError):
    """The other side answered a call by an error: a ``code`` for programs, a ``message`` for people, and ``data``."""

    def __init__(self, code: str, message: str, data: Any = None) -> None:
        super().__init__(code, message, data)
        self.code = code
        self.message = message
        self.data = data

    def __str__(self) -> str:
        return f"{shown(self.code)}: {shown(self.message, 1000)}"


class InvalidArgs(RemoteError):
    """The arguments of a call do not fit, code ``invalid-args``; found by the other side, or here before it was asked.

    ``data`` is a list of dicts: ``loc``, the argument's name and the steps into it; ``type``; ``msg``.
    """


class CallError(EZEZError):
    """Raised by a handler: its caller gets a ``RemoteError`` of the same ``code``, ``message`` and ``data``."""

    def __init__(self, code: str, message: str, data: Any = None) -> None:
        for name, text in (("code", code), ("message", message)):
            if not isinstance(text, str):
                raise TypeError(f"the {name} of a CallError must be a str, not {type(text).__name__}")
        super().__init__(code, message, data)
        self.code = code
        self.message = message
        self.data = data

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class SerializationError(EZEZError, ValueError):
    """A value cannot be put on the wire; the text names its place and type. Nothing was sent."""


class MalformedMessage(EZEZError, ValueError):
    """Bytes from the network that are no message of the protocol."""
