"""HTTP/1.1 heads, as far as both ends of the WebSocket handshake need them; pure, no I/O.

What ``HeadReader`` lets through is plain enough that no two parsers could read it differently (request smuggling lives
on such differences), so h11, which gets it next, and any proxy before us see the same lines:

1. Every line ends with CR LF. A bare CR or LF, a NUL or any other control character but TAB is refused on arrival.
2. A header line starts with its name and the colon follows at once: no folded lines, no space before the colon.
3. Size and number are counted while they arrive: never more than the limit and one piece is kept.
"""

import base64
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ..logs import frames, shown

__all__ = [
    "MAX_HEADERS",
    "MAX_HEAD_BYTES",
    "NO_HTTP",
    "BadHead",
    "HeadReader",
    "Headers",
    "accept_key",
    "decode_headers",
    "encode_headers",
    "is_token",
    "list_items",
    "tell_head",
]

MAX_HEAD_BYTES = 16384
MAX_HEADERS = 100

_ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
_TOKEN = r"[-!#$%&'*+.^_`|~0-9A-Za-z]+"
_TOKEN_TEXT = re.compile(_TOKEN)
_TOKEN_BYTES = re.compile(_TOKEN.encode())
_HEADER_LINE = re.compile(_TOKEN.encode() + b":")
NO_HTTP = "This is not HTTP/1.1."
_NO_LINE = "A line of the head has a control character in it, or does not end with CR LF."
_NO_HEADER = "A header line must start with the header's name and a colon."
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


_SHOWN = ("host", "upgrade", "connection", "origin", "user-agent", "server", "date", "content-length", "retry-after")


def tell_head(way: str, head: bytes | Sequence[bytes]) -> None:
    """Log a head, at DEBUG, without what may be a secret: its query, and the values of all but a few headers."""
    if not frames.isEnabledFor(logging.DEBUG):
        return
    first, *lines = (line.decode("latin-1") for line in (head.split(b"\r\n") if isinstance(head, bytes) else head))
    names = [line.partition(":") for line in lines if line]
    headers = [f"{name}:{shown(value) if name.lower() in _SHOWN else ' …'}" for name, _, value in names]
    frames.debug("handshake %s %s", way, "; ".join([shown(re.sub(r"\?\S*", "?…", first)), *map(shown, headers)]))


class BadHead(Exception):
    """What arrives is no acceptable HTTP/1.1 head; ``status`` is the answer that it deserves, 400 or 431."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text


class HeadReader:
    """Gather one head, in pieces of any size; ``start_line``: what the whole first line must match."""

    def __init__(self, start_line: "re.Pattern[bytes]", blank_lines: int = 0) -> None:
        self.lines: list[bytes] = []  # without their CR LF; the blank line is not among them
        self._start_line = start_line
        self._blank_lines = blank_lines  # so many are skipped first; RFC 9112, section 2.2, asks servers for one
        self._buffer = bytearray()
        self._line_starts = 0
        self._scanned = 0  # in the buffer: no control character between the line's start and here
        self._complete = False

    @property
    def trailing(self) -> bytes:
        """What followed the head; empty until the head is complete."""
        return bytes(self._buffer[self._line_starts :]) if self._complete else b""

    @property
    def received(self) -> bytes:
        """All that it was fed."""
        return bytes(self._buffer)

    def feed(self, data: bytes) -> bool:
        """Take ``data``; True once the head is complete, ``BadHead`` once it cannot be. More is ``trailing``."""
        self._buffer += data
        while not self._complete:
            self._check_first_byte()
            end = self._buffer.find(b"\n", self._scanned, MAX_HEAD_BYTES)
            if end < 0:
                self._check_unfinished_line()
                return False
            line = bytes(self._buffer[self._line_starts : end])
            self._line_starts = self._scanned = end + 1
            if line[-1:] != b"\r" or _CONTROL.search(line, 0, len(line) - 1):
                raise BadHead(400, _NO_LINE)
            self._take_line(line[:-1])
        return True

    def _check_first_byte(self) -> None:
        """Refuse a line by its first byte: a TLS hello on the plain port, say, of which no line end may ever come."""
        first = self._buffer[self._line_starts : self._line_starts + 1]
        may_be_empty = self.lines or self._blank_lines
        if first and not _TOKEN_BYTES.match(first) and not (first == b"\r" and may_be_empty):
            raise BadHead(400, _NO_HEADER if self.lines else NO_HTTP)

    def _check_unfinished_line(self) -> None:
        stop = min(len(self._buffer), MAX_HEAD_BYTES)
        bad = _CONTROL.search(self._buffer, self._scanned, stop)
        if bad and not (bad.group() == b"\r" and bad.start() == stop - 1):
            raise BadHead(400, _NO_LINE)
        self._scanned = bad.start() if bad else stop
        if len(self._buffer) > MAX_HEAD_BYTES:
            raise BadHead(431, f"The head is larger than {MAX_HEAD_BYTES} bytes.")

    def _take_line(self, line: bytes) -> None:
        if not self.lines:
            if not line and self._blank_lines:
                self._blank_lines -= 1
                return
            if not self._start_line.fullmatch(line):
                raise BadHead(400, NO_HTTP)
        elif not line:
            self._complete = True
            return
        elif len(self.lines) > MAX_HEADERS:
            raise BadHead(431, f"There are more than {MAX_HEADERS} headers.")
        elif not _HEADER_LINE.match(line):
            raise BadHead(400, _NO_HEADER)
        self.lines.append(line)


class Headers(Mapping[str, str]):
    """The headers of a request or a response: immutable, names in any case.

    ``headers["X-Name"]`` joins several headers of one name with ``", "``; ``get_all`` gives them one by one. Iterating
    gives each name once, in lower case, in the order of arrival. Bytes are decoded as Latin-1, as HTTP has it.
    """

    __slots__ = ("_values",)

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in items:
            self._values.setdefault(name.lower(), []).append(value)

    def __getitem__(self, name: str) -> str:
        return ", ".join(self._values[name.lower() if isinstance(name, str) else name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return repr(dict(self))

    def get_all(self, name: str) -> list[str]:
        """Return the value of each header of this name, in order; an empty list where there is none."""
        return list(self._values.get(name.lower(), ()))


def decode_headers(items: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Make ``Headers`` of what h11 has parsed."""
    return Headers((name.decode("latin-1"), value.decode("latin-1")) for name, value in items)


def encode_headers(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """Make of headers what h11 takes."""
    return [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers]


def accept_key(key: str) -> str:
    """Return the ``Sec-WebSocket-Accept`` that answers this ``Sec-WebSocket-Key`` (RFC 6455, section 4.2.2)."""
    import hashlib  # here, as it takes a twentieth of what importing the library may take

    return base64.b64encode(hashlib.sha1(key.encode("ascii") + _ACCEPT_GUID).digest()).decode("ascii")


def is_token(text: str) -> bool:
    """Tell whether ``text`` is a token of RFC 7230, as header names and subprotocols have to be."""
    return _TOKEN_TEXT.fullmatch(text) is not None


def list_items(values: Sequence[str]) -> list[str]:
    """Return the elements of a comma-separated header that may come in several lines, empty ones left in."""
    return [item.strip(" \t") for value in values for item in value.split(",")]
