"""A plain HTTP answer of the user's: ``HTTPResponse``, and the way it goes."""

import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..threads.deadline import Deadline
from ..wire.sockets import Wire, WireError
from .head import is_token
from .server_handshake import HandshakeRequest, Refusal

__all__ = ["MAX_BODY", "NO_BODY", "HTTPResponse", "Page", "ProcessRequest", "check_header", "write_all"]

MAX_BODY = 1 << 20
"""Bytes of a response's body."""
NO_BODY = (204, 304)
"""The statuses that have none."""

_TEXT = "text/plain; charset=utf-8"
_WRONG_IN_VALUE = re.compile(r"[^\t -~\x80-\xff]")
# The server's own, and those that are about one connection.
_RESERVED = frozenset(
    (
        *("connection", "content-length", "content-type", "date", "keep-alive"),
        *("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
    )
)


class HTTPResponse:
    """What ``process_request`` answers by; immutable, and may be returned as often as you like.

    ``Connection: close``, ``Date`` and ``Content-Length`` are added. To a HEAD it goes without its body.

    Args:
        status: an HTTP status between 200 and 599.
        body: at most 1 MiB; a ``str`` is sent as UTF-8.
        headers: more headers: a mapping, or pairs of name and value.
        content_type: ``None``: no such header.

    Raises:
        TypeError, ValueError: one of them is wrong; the text begins with its name.
    """

    __slots__ = ("body", "content_type", "headers", "status")

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...]
    content_type: str | None

    def __init__(
        self,
        status: int,
        body: bytes | str = b"",
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        content_type: str | None = _TEXT,
    ) -> None:
        if isinstance(status, bool) or not isinstance(status, int):
            raise TypeError(f"status must be an int, not {type(status).__name__}")
        if not 200 <= status <= 599:
            raise ValueError(f"status must be an HTTP status between 200 and 599, not {status}")
        if not isinstance(body, (bytes, bytearray, memoryview, str)):
            raise TypeError(f"body must be bytes or str, not {type(body).__name__}")
        try:
            content = body.encode() if isinstance(body, str) else bytes(body)
        except UnicodeEncodeError:
            raise ValueError("body has a lone surrogate, which UTF-8 cannot carry") from None
        if len(content) > MAX_BODY:
            raise ValueError(f"body must be at most {MAX_BODY} bytes, not {len(content)}")
        if content and status in NO_BODY:
            raise ValueError(f"body must be empty with the status {status}")
        if content_type is not None:
            check_header("content_type", "Content-Type", content_type)
        put = super().__setattr__
        put("status", int(status))
        put("body", content)
        put("headers", tuple(_check_headers(headers)))
        put("content_type", content_type)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"an HTTPResponse is immutable, {name} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"an HTTPResponse is immutable, {name} cannot be deleted")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.status, self.body, self.headers, self.content_type)

    def __repr__(self) -> str:
        return f"<HTTPResponse {self.status}, {len(self.body)} bytes>"


ProcessRequest = Callable[[HandshakeRequest], HTTPResponse | None]
"""``process_request(request)``: the answer, or ``None`` for a request that goes on."""


class Page(Refusal):
    """An ``HTTPResponse`` on its way."""

    nameless = ""

    def __init__(self, response: HTTPResponse) -> None:
        super().__init__(response.status, "", response.headers)
        self._response = response

    def headers_and_body(self) -> tuple[list[tuple[str, str]], bytes]:
        from wsgiref.handlers import format_date_time  # here, as few need it

        kind, body = self._response.content_type, self._response.body
        headers = [("Date", format_date_time(time.time()))]
        if self.status not in NO_BODY:
            headers += [] if kind is None else [("Content-Type", kind)]
            headers.append(("Content-Length", str(len(body))))
        return [*headers, *self.headers], body if self.with_body else b""


def check_header(what: str, name: Any, value: Any) -> None:
    """Check a header of a response; an error's text begins with ``what``."""
    if not isinstance(name, str) or not isinstance(value, str):
        raise TypeError(f"{what} must be str, not {type(name).__name__} and {type(value).__name__}")
    if not is_token(name):
        raise ValueError(f"{what} has the name {name!r}, which is no HTTP header name")
    if _WRONG_IN_VALUE.search(value):
        raise ValueError(f"{what} has a control character, or one that is not Latin-1, in the value of {name!r}")


def _check_headers(headers: Any) -> Iterable[tuple[str, str]]:
    wanted = "headers must be a mapping of str to str, or (name, value) pairs"
    if isinstance(headers, (str, bytes)) or not isinstance(headers, Iterable):
        raise TypeError(f"{wanted}, not {type(headers).__name__}")
    for pair in headers.items() if isinstance(headers, Mapping) else headers:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(wanted)
        name, value = pair
        check_header("headers", name, value)
        if name.lower() in _RESERVED:
            raise ValueError(f"headers has {name!r}, which the server sets itself")
        yield name, value


def write_all(wire: Wire, data: bytes, deadline: Deadline) -> bool:
    """Write all, or say that it was not possible in time."""
    rest = memoryview(data)
    try:
        while rest or wire.unflushed:
            if not wire.poll(False, True, deadline.remaining())[1]:
                return False
            rest = rest[wire.write_now(rest) :]
    except WireError:
        return False
    return True
