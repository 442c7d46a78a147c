"""Synchronous WebSocket messaging: named events, authentication, and replies that code can wait for."""

import typing as _typing

from .callbacks import (
    AllowsOrigin,
    EventArgs,
    LimitOf,
    Listener,
    OnAuthOk,
    OnAuthRejected,
    OnAuthRequest,
    OnCluster,
    OnConnect,
    OnDisconnect,
    OnError,
    OnGaveUp,
    OnMember,
    OnMessage,
    OnMissed,
    OnQueueOverflow,
    OnReply,
    ProcessRequest,
    ReplyFunction,
    RequestHeaders,
    ServerListener,
    ServerOnAuthOk,
    ServerOnAuthRejected,
    ServerOnDisconnect,
    ServerOnError,
    ServerOnMessage,
    ServerOnReply,
    VerifyRequest,
)
from .calls.answers import Received, Result
from .calls.contract import Contract, event, notice
from .calls.handlers import current_reply
from .client import EZEZWebSocketClient
from .cluster.audience import Audience, ClusterStatus, Joined, Member, Publication
from .cluster.emitter import Emitter
from .cluster.redis_log import RedisBackplane
from .cluster.remote import RemoteClient
from .connection.replies import Reply, SentMessage
from .context import Context
from .errors import (
    AuthRejected,
    CallError,
    ConnectionClosed,
    ConnectionFailed,
    ConnectTimeout,
    EZEZError,
    InvalidArgs,
    MalformedMessage,
    NotConnected,
    NotReady,
    PublishFailed,
    QueueFull,
    RemoteError,
    ReplyTimeout,
    SendTimeout,
    SerializationError,
    TooManyReplies,
)
from .figures import ConnectionStats, Histogram, ServerStats
from .messages.codec import UNDEFINED, BigInt, Codec
from .messages.protocol import EVENT_ERROR, EVENT_OK, EVENT_UNKNOWN_DATA_TYPE, EVENT_UNKNOWN_MESSAGE, Ids
from .opening.http import HTTPResponse
from .opening.server_handshake import HandshakeRequest
from .server import EZEZWebSocketServer, EZEZWebsocketServer
from .server_client import EZEZServerClient
from .wire.linux import tuning

__all__ = [
    "EVENT_ERROR",
    "EVENT_OK",
    "EVENT_UNKNOWN_DATA_TYPE",
    "EVENT_UNKNOWN_MESSAGE",
    "UNDEFINED",
    "AllowsOrigin",
    "Audience",
    "AuthRejected",
    "BigInt",
    "CallError",
    "ClusterStatus",
    "Codec",
    "ConnectTimeout",
    "ConnectionClosed",
    "ConnectionFailed",
    "ConnectionStats",
    "Context",
    "Contract",
    "EZEZError",
    "EZEZServerClient",
    "EZEZWebSocketClient",
    "EZEZWebSocketServer",
    "EZEZWebsocketServer",
    "Emitter",
    "EventArgs",
    "HTTPResponse",
    "HandshakeRequest",
    "Histogram",
    "Ids",
    "InvalidArgs",
    "Joined",
    "LimitOf",
    "Listener",
    "MalformedMessage",
    "Member",
    "Monitor",
    "NotConnected",
    "NotReady",
    "OnAuthOk",
    "OnAuthRejected",
    "OnAuthRequest",
    "OnCluster",
    "OnConnect",
    "OnDisconnect",
    "OnError",
    "OnGaveUp",
    "OnMember",
    "OnMessage",
    "OnMissed",
    "OnQueueOverflow",
    "OnReply",
    "ProcessRequest",
    "Publication",
    "PublishFailed",
    "QueueFull",
    "Received",
    "RedisBackplane",
    "RemoteClient",
    "RemoteError",
    "Reply",
    "ReplyFunction",
    "ReplyTimeout",
    "RequestHeaders",
    "Result",
    "SendTimeout",
    "SentMessage",
    "SerializationError",
    "ServerListener",
    "ServerOnAuthOk",
    "ServerOnAuthRejected",
    "ServerOnDisconnect",
    "ServerOnError",
    "ServerOnMessage",
    "ServerOnReply",
    "ServerStats",
    "TooManyReplies",
    "VerifyRequest",
    "current_reply",
    "event",
    "notice",
    "tuning",
]

__version__: str

if _typing.TYPE_CHECKING:
    from .operating.monitor import Monitor
else:  # where a type checker would take every name for one that is there

    def __getattr__(name: str) -> _typing.Any:
        if name == "__version__":
            from .version import find_version as find
        elif name == "Monitor":  # which not every program needs
            from .operating.monitor import Monitor

            return globals().setdefault(name, Monitor)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return globals().setdefault(name, find())
