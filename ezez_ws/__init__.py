"""Synchronous WebSocket messaging: named events, authentication, and replies that code can wait for."""

import logging as _logging

from .client import EZEZWebSocketClient
from .connection.replies import Reply, SentMessage
from .context import Context
from .errors import (
    AuthRejected,
    ConnectionClosed,
    ConnectionFailed,
    ConnectTimeout,
    EZEZError,
    MalformedMessage,
    NotConnected,
    QueueFull,
    ReplyTimeout,
    SendTimeout,
    SerializationError,
)
from .messages.codec import UNDEFINED, BigInt, Codec
from .messages.protocol import EVENT_UNKNOWN_DATA_TYPE, EVENT_UNKNOWN_MESSAGE, Ids
from .opening.server_handshake import HandshakeRequest
from .server import EZEZWebsocketServer
from .server_client import EZEZServerClient
from .wire.linux import tuning

__all__ = [
    "EVENT_UNKNOWN_DATA_TYPE",
    "EVENT_UNKNOWN_MESSAGE",
    "UNDEFINED",
    "AuthRejected",
    "BigInt",
    "Codec",
    "ConnectTimeout",
    "ConnectionClosed",
    "ConnectionFailed",
    "Context",
    "EZEZError",
    "EZEZServerClient",
    "EZEZWebSocketClient",
    "EZEZWebsocketServer",
    "HandshakeRequest",
    "Ids",
    "MalformedMessage",
    "NotConnected",
    "QueueFull",
    "Reply",
    "ReplyTimeout",
    "SendTimeout",
    "SentMessage",
    "SerializationError",
    "tuning",
]

_logging.getLogger("ezez_ws").addHandler(_logging.NullHandler())
