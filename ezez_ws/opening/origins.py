"""Whose pages may connect: the ``Origin`` of a browser's request, and what ``allowed_origins`` says; pure.

An origin is ``scheme://host[:port]``, or ``null`` for a page that has none (RFC 6454, section 7). Browsers send the
scheme and the host in lower case, the host in ASCII, and no port that is the scheme's default. Here both sides are
brought to that form, so that what is meant is what is compared.
"""

import re
import socket
from collections.abc import Collection, Iterable
from typing import NamedTuple

__all__ = ["Origins", "parse_origin"]

_ORIGIN = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(\[[0-9A-Fa-f:.]+\]|[^][:/?#@\\\s]*)(?::([0-9]{1,5}))?")
_HOST = re.compile(r"[0-9a-z._~-]+")
_LONGEST_HOST = 253  # characters, of a name
_LONGEST = 300  # a peer's longer text is not looked at
_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_NULL = "null"
_SAME = "same-origin"
_KINDS = f'"{_SAME}", a collection of str, a callable or None'


class Origin(NamedTuple):
    """One origin; ``port`` is ``None`` where it is the scheme's own, ``host`` is empty for files only."""

    scheme: str
    host: str
    port: int | None


class Origins:
    """The pages that may connect. Immutable.

    ``allowed`` is ``"same-origin"``, or origins as browsers write them, ``"null"`` among them; a host that begins with
    ``*.`` stands for all hosts below. What no browser can ever send is a ``ValueError`` that says what would be right.
    ``tls``: the server itself speaks TLS.
    """

    def __init__(self, allowed: str | Collection[str], tls: bool = False) -> None:
        self._tls = tls
        self._same = allowed == _SAME
        self._exact: set[Origin | str] = set()
        self._below: set[Origin] = set()  # their hosts without the ``*.``
        if not self._same:
            self._take(_check_collection(allowed))

    def allows(self, origin: str, host: str) -> bool:
        """Tell whether a page may connect, by the request's ``Origin`` and ``Host``."""
        if origin == _NULL:
            return _NULL in self._exact
        page = _parse_header(origin)
        if page is None:
            return False
        if self._same:
            return self._is_same(page, host)
        return page in self._exact or self._is_below(page)

    def _take(self, entries: Iterable[str]) -> None:
        for entry in entries:
            scheme, separator, host = entry.partition("://")
            if entry == _NULL:
                self._exact.add(entry)
            elif host.startswith("*."):
                self._below.add(_check_entry(entry, f"{scheme}{separator}{host[2:]}"))
            else:
                self._exact.add(_check_entry(entry, entry))

    def _is_same(self, page: Origin, host: str) -> bool:
        """Compare host and port with ``Host``. Which scheme the browser used we know where TLS is ours."""
        if page.scheme not in (("https", "wss") if self._tls else _DEFAULT_PORTS):
            return False
        return page == _parse_header(f"{page.scheme}://{host.removesuffix(':')}")

    def _is_below(self, page: Origin) -> bool:
        host = page.host
        while self._below and "." in host:
            host = host.partition(".")[2]
            if page._replace(host=host) in self._below:
                return True
        return False


def parse_origin(text: str) -> Origin | None:
    """Bring an origin to the form in which it is compared; ``None`` where it is none, as ``null``."""
    match = _ORIGIN.fullmatch(text)
    if match is None:
        return None
    scheme, host, port = match[1].lower(), _normal_host(match[2]), None if match[3] is None else int(match[3])
    if host is None or (not host and (scheme != "file" or port is not None)) or (port is not None and port > 65535):
        return None
    return Origin(scheme, host, None if port == _DEFAULT_PORTS.get(scheme) else port)


def _parse_header(text: str) -> Origin | None:
    """Parse what a peer has sent, which was decoded as Latin-1, as HTTP has it."""
    if len(text) > _LONGEST:
        return None
    try:
        return parse_origin(text if text.isascii() else text.encode("latin-1").decode("utf-8"))
    except UnicodeError:
        return None


def _normal_host(host: str) -> str | None:
    if host.startswith("["):
        try:
            return f"[{socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, host[1:-1]))}]"
        except OSError:
            return None
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            return None
    host = host.lower()
    fits = not host or (len(host) <= _LONGEST_HOST and _HOST.fullmatch(host))
    return host if fits else None


# -- what users write --------------------------------------------------------------------------------------------------


def _check_collection(allowed: object) -> Iterable[str]:
    if isinstance(allowed, str):
        raise ValueError(f"allowed_origins must be {_KINDS}; write [{allowed!r}]")
    if isinstance(allowed, (bytes, bytearray)) or not isinstance(allowed, Collection):
        raise TypeError(f"allowed_origins must be {_KINDS}, not {type(allowed).__name__}")
    for entry in allowed:
        if not isinstance(entry, str):
            raise TypeError(f"allowed_origins: each must be a str, not {type(entry).__name__}")
    return allowed


def _check_entry(entry: str, without_wildcard: str) -> Origin:
    origin = parse_origin(without_wildcard)
    if origin is not None and (origin.host or entry == without_wildcard):
        return origin
    advice = _advise(entry)
    if advice:
        raise ValueError(f"allowed_origins: {entry!r} is no origin; {advice}")
    raise ValueError(f"allowed_origins: {entry!r} is no origin; write it as 'https://example.org'")


def _advise(entry: str) -> str:
    """Say what would be right, if one can guess it."""
    if entry == "*":
        return "to let all pages connect, leave allowed_origins out"
    if entry.lower() == _SAME:
        return f'write allowed_origins="{_SAME}", which stands alone'
    scheme, separator, rest = entry.strip().partition("://")
    if not separator:
        scheme, rest = "http" if entry.strip().startswith("localhost") else "https", entry.strip()
    host = re.split(r"[/?#\\]", rest)[0].rpartition("@")[2]
    if "*" in host.removeprefix("*.") or "*" in scheme:
        return "a wildcard stands for the beginning of a host only: write it as 'https://*.example.org'"
    better = f"{scheme}://{host}"
    usable = better != entry and parse_origin(better.replace("://*.", "://", 1)) is not None
    return f"write it as {better!r}" if usable else ""
