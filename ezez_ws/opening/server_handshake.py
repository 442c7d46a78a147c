"""The server's side of the WebSocket handshake (RFC 6455, section 4.2); pure: bytes in, bytes out.

A request that is no acceptable handshake gets a plain HTTP answer, by the first of these that holds:

    431  the head is over 16 KiB or has over 100 headers      400  it is no HTTP/1.1, or malformed
    404  another path                                         405  another method than GET
    426  no upgrade to WebSocket, or not its version 13
    400  key, ``Host``, a body, subprotocols                  403  a browser page from an origin that is not allowed

``Host`` comes late in that order, but h11 insists on exactly one while it parses. So the ``Host`` lines are taken out
of the head and judged here, and h11 gets the head with a stand-in.

Who answers other requests, too, reads first and judges then; HTTP/1.0 is refused then only, by the same words.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn

from .head import (
    NO_HTTP,
    BadHead,
    Headers,
    HeadReader,
    accept_key,
    decode_headers,
    encode_headers,
    is_token,
    list_items,
    tell_head,
)
from .origins import Origins

if TYPE_CHECKING:
    import h11
else:
    from .late import h11

__all__ = ["WRONG_ORIGIN", "HandshakeRequest", "Refusal", "ServerHandshake"]

WRONG_ORIGIN = "Pages of this origin may not connect."


_REQUEST_LINE = re.compile(rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+ [\x21-\x7e]+ HTTP/1\.1")
_OLD_REQUEST_LINE = re.compile(_REQUEST_LINE.pattern[:-1] + b"[01]")
_ABSOLUTE_TARGET = re.compile(r"(?:http|ws)s?://[^/?]+", re.IGNORECASE)
_HOST = re.compile(r"(?:\[[0-9A-Za-z:.%_~-]+\]|[0-9A-Za-z._~!$&'()*+,;=%-]+)(?::[0-9]{0,5})?")
_KEY = re.compile(r"[0-9A-Za-z+/]{22}==")  # base64 of 16 bytes
_NEEDED_HEADERS = {
    405: [("Allow", "GET")],
    # "Upgrade" has to come with "Connection: Upgrade" (RFC 9110, section 7.8).
    426: [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13")],
}


class HandshakeRequest:
    """The HTTP request that a connection began with; immutable.

    Attributes:
        path: the path as it was sent, percent-encoding kept, without the query: ``"/chat"``.
        query: what follows the ``?``, as it was sent; ``""`` where there is none.
        headers: the headers, their names in any case.
        cookies: name to value, as they were sent; of several with one name the first, which by RFC 6265 is the one
            with the more specific path. What is no ``name=value`` is left out.
        remote_address: the peer's socket address: ``(host, port)``, with two more items for IPv6.
        subprotocol: the one that was agreed on; ``None`` where there is none.
        peer_certificate: what ``ssl.SSLSocket.getpeercert`` returns, where the client has shown a certificate and the
            ``SSLContext`` has verified it, else ``None``. Behind a web server it is that one's to tell.
    """

    __slots__ = ("cookies", "headers", "path", "peer_certificate", "query", "remote_address", "subprotocol")

    path: str
    query: str
    headers: Headers
    cookies: Mapping[str, str]
    remote_address: tuple[Any, ...]
    subprotocol: str | None
    peer_certificate: Mapping[str, Any] | None

    # No dataclass: importing that module would take a fifth of the time of importing this library.
    def __init__(
        self,
        path: str,
        query: str,
        headers: Headers,
        cookies: Mapping[str, str],
        remote_address: tuple[Any, ...],
        subprotocol: str | None = None,
        peer_certificate: Mapping[str, Any] | None = None,
    ) -> None:
        put = super().__setattr__
        put("path", path)
        put("query", query)
        put("headers", headers)
        put("cookies", MappingProxyType(dict(cookies)))
        put("remote_address", remote_address)
        put("subprotocol", subprotocol)
        put("peer_certificate", peer_certificate)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"a HandshakeRequest is immutable, {name} cannot be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a HandshakeRequest is immutable, {name} cannot be deleted")

    def __reduce__(self) -> tuple[Any, ...]:
        values = (getattr(self, name) for name in type(self).__annotations__)
        return type(self), tuple(dict(value) if isinstance(value, MappingProxyType) else value for value in values)

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in type(self).__annotations__)
        return f"HandshakeRequest({values})"


class Refusal(Exception):
    """A plain HTTP answer, then the end. ``text``, the body, says what is wrong; 405 and 426 have headers of theirs."""

    with_body = True  # an answer to HEAD has none
    nameless = "Refused"  # the phrase of a status that has none

    def __init__(self, status: int, text: str, headers: Sequence[tuple[str, str]] = ()) -> None:
        if not 200 <= status <= 599:
            raise ValueError(f"status must be an HTTP status between 200 and 599, not {status}")
        super().__init__(status, text)
        self.status = status
        self.text = text
        self.headers = tuple(headers)

    @property
    def reason(self) -> str:
        """The phrase that goes with the status."""
        try:
            return HTTPStatus(self.status).phrase
        except ValueError:
            return self.nameless

    def headers_and_body(self) -> tuple[list[tuple[str, str]], bytes]:
        """Return what the answer has besides its status; whether the connection goes on is not said there."""
        needed = list(self.headers or _NEEDED_HEADERS.get(self.status, ()))
        if self.status in (204, 304):
            return needed, b""
        body = f"{self.text}\n".encode("utf-8", "replace")
        about_body = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
        return [*about_body, *needed], body if self.with_body else b""

    def response(self) -> bytes:
        """Return the whole HTTP answer."""
        connection = h11.Connection(h11.SERVER)
        headers, body = self.headers_and_body()
        encoded = encode_headers([("Connection", "close"), *headers])
        head = h11.Response(status_code=self.status, headers=encoded, reason=self.reason)
        pieces = (connection.send(head), body and connection.send(h11.Data(data=body)))
        return b"".join(piece or b"" for piece in pieces)


class ServerHandshake:
    """One handshake: feed it what arrives, then send what ``accept`` returns, or the ``Refusal``'s response.

    ``feed`` is ``read`` and ``judge``, for whom there is nothing between them.
    """

    # there once ``read`` has returned True
    request: HandshakeRequest
    method: str
    has_body: bool
    wants_upgrade: bool  # to WebSocket, whether it is a proper handshake or not
    subprotocol: str | None  # the one chosen
    # there once it is judged
    extension_offers: list[str]  # the values of the ``Sec-WebSocket-Extensions`` headers, as they were sent

    def __init__(
        self,
        path: str | None = None,
        subprotocols: Collection[str] | None = None,
        allowed_origins: Origins | None = None,
        remote_address: tuple[Any, ...] = (),
        peer_certificate: Mapping[str, Any] | None = None,
        reads_old: bool = False,
    ) -> None:
        """``reads_old``: ``read`` takes HTTP/1.0, too."""
        self._path = path
        self._subprotocols = subprotocols
        self._allowed_origins = allowed_origins
        self._remote_address = remote_address
        self._peer_certificate = peer_certificate
        self._head = HeadReader(_OLD_REQUEST_LINE if reads_old else _REQUEST_LINE, blank_lines=1)
        self._http = h11.Connection(h11.SERVER)
        self._complete = False
        self._judged = False

    @property
    def trailing(self) -> bytes:
        """What followed the request's head: the first bytes of the WebSocket."""
        return self._head.trailing

    @property
    def received(self) -> bytes:
        """All that it was fed."""
        return self._head.received

    @property
    def is_old(self) -> bool:
        """Whether it is HTTP/1.0."""
        return bool(self._head.lines) and self._head.lines[0].endswith(b"0")

    def feed(self, data: bytes) -> bool:
        """Take ``data``; True once the request is complete, ``Refusal`` if it is not acceptable. More: ``trailing``."""
        if self.read(data) and not self._judged:
            self.judge()
        return self._complete

    def read(self, data: bytes) -> bool:
        """Take ``data``; True once there is a request, of whatever kind, ``Refusal`` if that is none."""
        try:
            if self._head.feed(data) and not self._complete:
                tell_head("<", self._head.lines)
                self._parse()
                self._complete = True
        except (BadHead, Refusal) as error:
            if self.is_old:
                raise _refuse_old() from None
            raise Refusal(error.status, error.text) from None
        return self._complete

    def accept(self, extra_headers: Sequence[tuple[str, str]] = ()) -> bytes:
        """Return the 101 response, with ``extra_headers`` (the extensions agreed upon) at its end."""
        headers = [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", accept_key(self.request.headers["Sec-WebSocket-Key"])),
        ]
        if self.subprotocol is not None:
            headers.append(("Sec-WebSocket-Protocol", self.subprotocol))
        encoded = encode_headers([*headers, *extra_headers])
        reason = HTTPStatus.SWITCHING_PROTOCOLS.phrase
        head = self._http.send(h11.InformationalResponse(status_code=101, headers=encoded, reason=reason)) or b""
        tell_head(">", head)
        return head

    def _parse(self) -> None:
        """Let h11 read the head, and set ``request``."""
        request_line, *lines = self._head.lines
        hosts = [line[5:].strip(b" \t") for line in lines if line[:5].lower() == b"host:"]
        others = [line for line in lines if line[:5].lower() != b"host:"]
        self._http.receive_data(b"\r\n".join([request_line, b"Host: stand-in", *others, b"", b""]))
        try:
            parsed = self._http.next_event()
        except h11.RemoteProtocolError as error:
            raise Refusal(400, f"This is no proper HTTP/1.1 request: {error}.") from None
        assert isinstance(parsed, h11.Request)
        path, query = _split_target(parsed.method, parsed.target.decode("ascii"))
        items = [item for item in parsed.headers.raw_items() if item[0].lower() != b"host"]
        headers = decode_headers([*((b"Host", host) for host in hosts), *items])
        cookies = _parse_cookies(headers.get_all("Cookie"))
        self.subprotocol = self._choose_subprotocol(headers)
        self.request = HandshakeRequest(
            path, query, headers, cookies, self._remote_address, self.subprotocol, self._peer_certificate
        )
        self.method = parsed.method.decode("ascii")
        # h11 has made sure that it is a number, and only one.
        self.has_body = "Transfer-Encoding" in headers or bool(headers.get("Content-Length", "0").strip("0"))
        self.wants_upgrade = _has_item(headers, "Connection", "upgrade") and _has_item(headers, "Upgrade", "websocket")

    def _choose_subprotocol(self, headers: Headers) -> str | None:
        offered = list_items(headers.get_all("Sec-WebSocket-Protocol"))
        return next((name for name in offered if self._subprotocols is None or name in self._subprotocols), None)

    def judge(self) -> None:
        """Raise the ``Refusal`` of a request that is no acceptable handshake."""
        self._judged = True
        headers = self.request.headers
        if self.is_old:
            raise _refuse_old()
        if self._path is not None and self.request.path != self._path:
            raise Refusal(404, "There is no WebSocket at this path.")
        if self.method != "GET":
            raise Refusal(405, "A WebSocket handshake is a GET request.")
        self._check_upgrade()
        self._check_key()
        self.check_host()
        if self.has_body:
            raise Refusal(400, "A WebSocket handshake has no body.")
        offered = list_items(headers.get_all("Sec-WebSocket-Protocol"))
        if len(set(offered)) != len(offered) or not all(map(is_token, offered)):
            raise Refusal(400, "Sec-WebSocket-Protocol must be a list of different tokens.")
        allowed, origins = self._allowed_origins, headers.get_all("Origin")
        if allowed is not None and origins and (len(origins) > 1 or not allowed.allows(origins[0], headers["Host"])):
            raise Refusal(403, WRONG_ORIGIN)
        self.extension_offers = headers.get_all("Sec-WebSocket-Extensions")

    def _check_upgrade(self) -> None:
        if not self.wants_upgrade:
            text = "Only WebSocket connections are served here: Connection must have Upgrade, and Upgrade websocket."
            raise Refusal(426, text)
        if self.request.headers.get_all("Sec-WebSocket-Version") != ["13"]:
            raise Refusal(426, "Sec-WebSocket-Version must be 13, once.")

    def _check_key(self) -> None:
        keys = self.request.headers.get_all("Sec-WebSocket-Key")
        if len(keys) != 1 or not _KEY.fullmatch(keys[0]):
            raise Refusal(400, "Sec-WebSocket-Key must be there once: 16 bytes in base64.")

    def check_host(self) -> None:
        """Raise the ``Refusal`` of a request that does not name one host; in HTTP/1.0 it may name none."""
        hosts = self.request.headers.get_all("Host")
        if not (self.is_old and not hosts) and (len(hosts) != 1 or not _HOST.fullmatch(hosts[0])):
            raise Refusal(400, "Host must be there once: a host name or address, and a port where it needs one.")


def _refuse_old() -> Refusal:
    return Refusal(400, NO_HTTP)


def _split_target(method: bytes, target: str) -> tuple[str, str]:
    """Return path and query of a request target (RFC 9112, section 3.2)."""
    absolute = _ABSOLUTE_TARGET.match(target)
    if absolute:
        target = target[absolute.end() :]
        target = target if target.startswith("/") else f"/{target}"
    elif not target.startswith("/") and target != "*" and method != b"CONNECT":
        raise Refusal(400, "The request's target must be a path.")
    if "#" in target:
        raise Refusal(400, "The request's target must not have a fragment.")
    path, _, query = target.partition("?")
    return path, query


def _has_item(headers: Headers, name: str, wanted: str) -> bool:
    return any(item.lower() == wanted for item in list_items(headers.get_all(name)))


def _parse_cookies(values: Sequence[str]) -> dict[str, str]:
    cookies: dict[str, str] = {}
    for pair in ";".join(values).split(";"):
        name, equals, value = (part.strip(" \t") for part in pair.partition("="))
        if equals and name:
            quoted = len(value) > 1 and value[0] == value[-1] == '"'
            cookies.setdefault(name, value[1:-1] if quoted else value)
    return cookies
