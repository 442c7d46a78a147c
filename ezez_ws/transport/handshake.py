"""The WebSocket handshake, both roles; pure, no I/O.

``head`` bounds and checks what arrives, ``server_handshake`` and ``client_handshake`` judge it, ``target`` checks what
a user of the client asks for, and h11 does the HTTP between them. This is their one door.
"""

from .client_handshake import ClientHandshake, HandshakeFailed
from .head import MAX_HEAD_BYTES, MAX_HEADERS, Headers
from .server_handshake import HandshakeRequest, Refusal, ServerHandshake
from .target import Target, parse_url, validate_client_headers, validate_subprotocols

__all__ = [
    "MAX_HEADERS",
    "MAX_HEAD_BYTES",
    "ClientHandshake",
    "HandshakeFailed",
    "HandshakeRequest",
    "Headers",
    "Refusal",
    "ServerHandshake",
    "Target",
    "parse_url",
    "validate_client_headers",
    "validate_subprotocols",
]
