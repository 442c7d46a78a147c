"""The client's side of the WebSocket handshake (RFC 6455, section 4.1); pure: bytes in, bytes out."""

import base64
import os
import re
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..logs import shown
from .head import BadHead, Headers, HeadReader, accept_key, decode_headers, encode_headers, list_items, tell_head
from .url import URL

if TYPE_CHECKING:
    import h11
else:
    from .late import h11

__all__ = ["ClientHandshake", "DialRefused"]

_STATUS_LINE = re.compile(rb"HTTP/1\.(?:1 [1-9][0-9]{2}|0 [2-9][0-9]{2})(?: .*)?")  # a proxy may refuse in HTTP/1.0
_MAX_INTERIM_RESPONSES = 10
_MAX_BODY = 4096
_MAX_RETRY_AFTER = 3600.0  # seconds
_OVERLOADED = (429, 502, 503, 504)


class DialRefused(Exception):
    """There is somebody, but no WebSocket for us; ``status``, ``headers`` and ``body`` are HTTP's, if it is that."""

    def __init__(self, text: str, status: int | None = None, headers: Headers | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.headers = Headers() if headers is None else headers
        self.body = b""

    @property
    def final(self) -> bool:
        """Whether trying again would give the same, as far as one can tell."""
        return self.status not in _OVERLOADED

    @property
    def retry_after(self) -> float:
        """The seconds that the server asks us to wait, at most an hour; 0 where it does not."""
        value = self.headers.get("Retry-After", "")
        if value.isdecimal() and value.isascii():
            return min(float(value[:10]), _MAX_RETRY_AFTER)
        return max(0.0, min(_seconds_until(value), _MAX_RETRY_AFTER)) if value else 0.0


class ClientHandshake:
    """One handshake: send what ``request`` returns, then feed what arrives; ``extensions`` is that header's value."""

    # there once ``feed`` has returned True
    subprotocol: str | None  # the one that the server chose
    extensions: list[str]  # the values of these headers: none that was not offered, their parameters not checked
    response_headers: Headers

    def __init__(
        self,
        target: URL,
        headers: Sequence[tuple[str, str]] = (),
        subprotocols: Sequence[str] = (),
        extensions: str = "",
    ) -> None:
        self._key = base64.b64encode(os.urandom(16)).decode("ascii")
        self._subprotocols = tuple(subprotocols)
        self._offered_extensions = _extension_names([extensions])
        self._head = HeadReader(_STATUS_LINE)
        self._interim_responses = 0
        self._complete = False
        self.body = b""
        self._http = h11.Connection(h11.CLIENT)
        own = [
            ("Host", target.host_header),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Key", self._key),
            ("Sec-WebSocket-Version", "13"),
        ]
        if self._subprotocols:
            own.append(("Sec-WebSocket-Protocol", ", ".join(self._subprotocols)))
        if extensions:
            own.append(("Sec-WebSocket-Extensions", extensions))
        request = h11.Request(method="GET", target=target.resource, headers=encode_headers([*own, *headers]))
        self._request = (self._http.send(request) or b"") + (self._http.send(h11.EndOfMessage()) or b"")

    @property
    def trailing(self) -> bytes:
        """What followed the response's head: the first bytes of the WebSocket, or of a refusal's body."""
        return self._head.trailing

    def request(self) -> bytes:
        """Return the request to send; the same each time."""
        tell_head(">", self._request)
        return self._request

    def feed(self, data: bytes) -> bool:
        """Take ``data``; True once the server has agreed, ``DialRefused`` where it does not. More is ``trailing``."""
        try:
            while self._head.feed(data) and not self._complete:
                response = self._parse()
                if response.status_code == 101 or response.status_code >= 200:
                    self._judge(response)
                    self._complete = True
                    break
                self._interim_responses += 1  # 100 or 103, which is skipped
                if self._interim_responses > _MAX_INTERIM_RESPONSES:
                    raise DialRefused(f"the server sent more than {_MAX_INTERIM_RESPONSES} interim responses")
                data, self._head = self._head.trailing, HeadReader(_STATUS_LINE)
        except BadHead as error:
            raise DialRefused(f"the server's answer to the handshake is refused: {error.text}") from None
        return self._complete

    def feed_body(self, data: bytes) -> bool:
        """Take what follows the head of a refusal, ``b""`` at the end of the bytes; True once ``body`` is complete.

        Complete is what is whole, or 4 KiB long, or cannot be told.
        """
        try:
            self._http.receive_data(data)
            while len(self.body) < _MAX_BODY:
                event = self._http.next_event()
                if event is h11.NEED_DATA:
                    return False
                if not isinstance(event, h11.Data):
                    break
                self.body += bytes(event.data[: _MAX_BODY - len(self.body)])
        except h11.RemoteProtocolError:
            pass
        return True

    def _parse(self) -> "h11.InformationalResponse | h11.Response":
        tell_head("<", self._head.lines)
        self._http.receive_data(b"\r\n".join([*self._head.lines, b"", b""]))
        try:
            parsed = self._http.next_event()
        except h11.RemoteProtocolError as error:
            text = f"the server's answer to the handshake is no proper HTTP/1.1: {shown(str(error))}"
            raise DialRefused(text) from None
        assert isinstance(parsed, (h11.InformationalResponse, h11.Response))
        self.response_headers = decode_headers(parsed.headers.raw_items())
        return parsed

    def _judge(self, response: "h11.InformationalResponse | h11.Response") -> None:
        headers = self.response_headers
        if response.status_code != 101:
            status = shown(f"{response.status_code} {response.reason.decode('latin-1')}".strip(), 100)
            text = f"the server answered {status}, not 101 Switching Protocols"
            if 300 <= response.status_code < 400 and "Location" in headers:
                place, query, _ = headers["Location"].partition("?")  # our query, most likely, which may be a secret
                text += f"; it redirects to '{shown(place)}{'?…' if query else ''}', which is not followed"
            raise DialRefused(text, response.status_code, headers)
        # RFC 6455 has one value for Upgrade, but a list of tokens for Connection.
        if headers.get("Upgrade", "").lower() != "websocket":
            raise DialRefused(f"the server's Upgrade must be websocket, not {_shown(headers, 'Upgrade')}")
        if "upgrade" not in (item.lower() for item in list_items(headers.get_all("Connection"))):
            raise DialRefused(f"the server's Connection must have Upgrade, not {_shown(headers, 'Connection')}")
        if headers.get_all("Sec-WebSocket-Accept") != [accept_key(self._key)]:
            given = _shown(headers, "Sec-WebSocket-Accept")
            raise DialRefused(f"the server's Sec-WebSocket-Accept must be {accept_key(self._key)}, not {given}")
        self._judge_subprotocol(headers)
        self._judge_extensions(headers)

    def _judge_subprotocol(self, headers: Headers) -> None:
        chosen = headers.get_all("Sec-WebSocket-Protocol")
        if len(chosen) > 1 or not set(chosen) <= set(self._subprotocols):
            asked = ", ".join(self._subprotocols) or "none"
            given = _shown(headers, "Sec-WebSocket-Protocol")
            raise DialRefused(f"the server's Sec-WebSocket-Protocol must be one asked for ({asked}), not {given}")
        self.subprotocol = chosen[0] if chosen else None

    def _judge_extensions(self, headers: Headers) -> None:
        self.extensions = headers.get_all("Sec-WebSocket-Extensions")
        extra = [name for name in _extension_names(self.extensions) if name not in self._offered_extensions]
        if extra:
            raise DialRefused(f"the server uses the extension '{shown(extra[0], 100)}', which was not offered")


def _extension_names(values: Sequence[str]) -> list[str]:
    # RFC 6455 lets a parameter be a quoted string, but only of what is a token unquoted: no comma can hide in it.
    return [item.partition(";")[0].strip(" \t") for item in list_items(values) if item]


def _shown(headers: Headers, name: str) -> str:
    return f"'{shown(headers[name])}'" if name in headers else "missing"


def _seconds_until(date: str) -> float:
    from email.utils import mktime_tz, parsedate_tz  # here, as it takes long to import, and few need it

    parsed = parsedate_tz(date)
    try:
        # what a date is compared with is the wall clock
        return 0.0 if parsed is None else mktime_tz(parsed) - time.time()
    except (TypeError, ValueError, OverflowError):
        return 0.0
