"""Connections that arrive through a WSGI web server: simple-websocket shakes hands, ``Stream`` goes on.

A request's way: ``head_of`` (back to an HTTP head, so that ``Upgrade`` judges it as in standalone mode) → ``upgrade``
→ the connection, on the web server's thread → ``answer``. The web server then writes a response; the socket is shut
down already, so that fails with a ``BrokenPipeError``, which web servers take for a client that has gone.
"""

import functools
import signal
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import quote

from ..logs import logger
from ..wire.borrowed import BorrowedWire
from .server_handshake import Refusal, ServerHandshake
from .upgrade import ExtraHeaders, tell_refused

__all__ = ["Environ", "StartResponse", "address_of", "answer", "head_of", "is_stopping", "upgrade", "warn_of_no_start"]

Environ = dict[str, Any]
StartResponse = Callable[..., Any]

_THREADED = ("werkzeug.socket", "gunicorn.socket")


def head_of(environ: Environ) -> bytes:
    """Return the head of the request that the web server has parsed; ``Refusal`` where none can have had that."""
    try:
        lines = [line.encode("latin-1") for line in _lines_of(environ)]
    except UnicodeEncodeError:
        raise Refusal(400, "A line of the head has a character in it that is not Latin-1.") from None
    if any(b"\n" in line for line in lines):
        raise Refusal(400, "A line of the head has a line end in it.")
    return b"\r\n".join([*lines, b"", b""])


def address_of(environ: Environ) -> tuple[Any, ...]:
    """Return the peer's address as the web server, or a middleware that knows the proxies, tells it."""
    host, port = environ.get("REMOTE_ADDR"), str(environ.get("REMOTE_PORT", ""))
    return (host, int(port) if port.isdecimal() else 0) if host else ()


def upgrade(environ: Environ, handshake: ServerHandshake, headers: ExtraHeaders, timeout: float) -> BorrowedWire:
    """Answer 101, with ``headers``, and take the socket over; ``OSError``: the peer is gone."""
    from .wsgi_handshake import Handshake

    if _is_threaded(environ) and not environ.get("wsgi.multithread"):
        _warn_of_one_thread(_worker_class())
    accepted = {key: value for key, value in environ.items() if not key.startswith("HTTP_")}
    accepted.update(
        HTTP_HOST="accepted",  # it has been judged, and is not answered
        HTTP_CONNECTION="Upgrade",
        HTTP_UPGRADE="websocket",
        HTTP_SEC_WEBSOCKET_VERSION="13",
        HTTP_SEC_WEBSOCKET_KEY=handshake.request.headers["Sec-WebSocket-Key"],
    )
    if handshake.subprotocol is not None:
        accepted["HTTP_SEC_WEBSOCKET_PROTOCOL"] = handshake.subprotocol
    try:
        return Handshake(accepted, handshake.subprotocol, headers, timeout).wire
    except (RuntimeError, TypeError) as error:
        server = environ.get("SERVER_SOFTWARE", "this web server")
        _tell_of_no_socket(server, _worker_class(), str(error))
        raise Refusal(501, f"{server} does not hand out the sockets that WebSockets need.") from error


def answer(start_response: StartResponse, environ: Environ, refusal: Refusal | None) -> Iterable[bytes]:
    """Respond as WSGI asks; where there is no refusal, only the web server's log will see it."""
    if refusal is None:
        start_response("101 Switching Protocols", [])
        return []
    tell_refused(address_of(environ), refusal)
    headers, body = refusal.headers_and_body()
    if not _is_threaded(environ):  # PEP 3333 forbids these headers; these two pass them on, others insist
        headers = [header for header in headers if header[0] not in ("Connection", "Upgrade")]
    start_response(f"{refusal.status} {refusal.reason}", headers)
    return [body]


def is_stopping() -> bool:
    """Tell whether this is a gunicorn worker that has been told to stop."""
    return getattr(_worker(), "alive", True) is False


def _worker() -> Any:
    """Return the gunicorn worker that this process is, if it is one."""
    # gunicorn does not tell the application; but the worker handles the signal by a method of its own
    return getattr(signal.getsignal(signal.SIGTERM), "__self__", None)


def _worker_class() -> str | None:
    kind = type(_worker())
    return f"{kind.__module__}.{kind.__qualname__}" if kind.__module__.startswith("gunicorn.") else None


@functools.cache  # once
def _warn_of_one_thread(worker: str | None) -> None:
    if worker is None:
        logger.warning("the web server has one thread, which a WebSocket keeps: start it with more")
    else:
        text = "gunicorn's %s has one thread, which a WebSocket keeps: use --worker-class gthread --threads 100"
        logger.warning(text, worker)


@functools.cache  # once
def warn_of_no_start(port: int | None) -> None:
    """Tell why each request is answered 503."""
    logger.warning("wsgi_app answers 503: this server has port=%s, and is not started; behind WSGI, leave it out", port)


@functools.cache  # once
def _tell_of_no_socket(server: str, worker: str | None, error: str) -> None:
    advice = "" if worker is None else f"; gunicorn's {worker} cannot, use --worker-class gthread --threads 100"
    logger.error("no WebSocket through %s: %s%s", server, error, advice)


def _lines_of(environ: Environ) -> Iterator[str]:
    yield f"{environ['REQUEST_METHOD']} {_target_of(environ)} HTTP/1.1"
    # HTTP/1.0 and HTTP/2 have no Upgrade (RFC 9110, section 7.8; RFC 9113, section 8.2.2); eventlet always says 1.0
    can_upgrade = environ.get("SERVER_PROTOCOL") == "HTTP/1.1" or "eventlet.input" in environ
    for key, value in environ.items():
        if key.startswith("HTTP_") and (can_upgrade or key != "HTTP_UPGRADE"):
            yield f"{key[5:].replace('_', '-')}: {value}"
    if environ.get("CONTENT_LENGTH"):
        yield f"Content-Length: {environ['CONTENT_LENGTH']}"


def _is_threaded(environ: Environ) -> bool:
    """Tell whether this is one of the web servers that can have threads."""
    return any(key in environ for key in _THREADED)


def _target_of(environ: Environ) -> str:
    """The request's target, as it was sent where the web server tells it."""
    for key in ("RAW_URI", "REQUEST_URI"):
        if environ.get(key):
            return str(environ[key])
    path = quote((environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")).encode("latin-1")) or "/"
    query = environ.get("QUERY_STRING")
    return f"{path}?{query}" if query else path
