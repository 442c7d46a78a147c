"""The options of both constructors."""

import ssl
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from ezez_ws import (
    AllowsOrigin,
    Codec,
    EZEZServerClient,
    EZEZWebSocketClient,
    EZEZWebSocketServer,
    HandshakeRequest,
    HTTPResponse,
    LimitOf,
    OnAuthRequest,
    ProcessRequest,
    RequestHeaders,
    ServerOnAuthOk,
    ServerOnDisconnect,
    VerifyRequest,
)

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def limit_of(request: HandshakeRequest) -> tuple[str, int]:
    return request.headers["X-Forwarded-For"], 10


def allows(origin: str, request: HandshakeRequest) -> bool:
    return origin.endswith(request.path)


def verify(request: HandshakeRequest) -> int:
    return 200 if request.query else 404


def process(request: HandshakeRequest) -> HTTPResponse | None:
    return HTTPResponse(302, headers={"Location": "/"}) if request.path == "/old" else None


def pages(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterator[bytes]:
    start_response("200 OK", [])
    yield str(environ["PATH_INFO"]).encode()


def gone(client: EZEZServerClient, code: int, reason: str) -> None: ...


origin: AllowsOrigin = allows
limit: LimitOf = limit_of
verifying: VerifyRequest = verify
processing: ProcessRequest = process
admit: OnAuthRequest = lambda client, key: key == "secret"  # noqa: E731
greet: ServerOnAuthOk = lambda client: client.send("hello")  # noqa: E731
leave: ServerOnDisconnect = gone
mode: Literal["ignore", "queue"] = "queue"
headers: RequestHeaders = [("X-Token", "1")]

server = EZEZWebSocketServer(
    port=8080,
    host="::1",
    path="/chat",
    subprotocols=["a", "b"],
    ssl=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
    on_auth_request=admit,
    on_auth_ok=greet,
    on_disconnect=leave,
    messages_before_auth=mode,
    queue_overflow="disconnect",
    send_after_disconnect="raise",
    codec=Codec(),
    allowed_origins=origin,
    verify_request=verifying,
    process_request=processing,
    health_path="/healthz",
    max_connections_per_address=limit,
    max_connections=5,
    ping_interval=None,
    compression="deflate",
)
server.mount("/pages", pages)
others: list[Any] = [
    EZEZWebSocketServer(on_auth_request=admit, allowed_origins="same-origin", max_connections_per_address=7),
    EZEZWebSocketServer(on_auth_request=admit, allowed_origins={"https://example.org"}),
    EZEZWebSocketServer(on_auth_request=admit, verify_request=lambda request: "x" in request.cookies),
    EZEZWebSocketServer(on_auth_request=admit, allowed_origins=lambda origin, request: origin == request.path),
    EZEZWebSocketServer(on_auth_request=admit, max_connections_per_address=lambda request: (request.path, None)),
]
client = EZEZWebSocketClient(
    lambda: "wss://example.org",
    auth=None,
    headers=headers,
    auto_reconnect=False,
    reconnect_attempts=3,
    send_when_not_connected="raise",
    unknown_messages="emit_try_json",
    unknown_data="close",
)
