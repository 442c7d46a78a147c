"""What a user of the client may ask for: the URL, the subprotocols, more headers. Each is checked before any I/O."""

import re
from collections.abc import Mapping, Sequence
from ipaddress import IPv6Address
from typing import Any, NamedTuple
from urllib.parse import quote

from .head import is_token

__all__ = ["URL", "parse_url", "validate_client_headers", "validate_subprotocols"]

_URL = re.compile(r"([^:/?#]*)://([^/?#]*)([^?#]*)(\?[^#]*)?(#.*)?")  # RFC 3986, appendix B
_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]*))?")
_HOST_NAME = re.compile(r"(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?")
_UNWANTED_IN_URL = re.compile(r"[\x00-\x20\x7f-\xa0\ud800-\udfff]|\s")
_UNWANTED_IN_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_SECURE = {"ws": False, "http": False, "wss": True, "https": True}
_KEPT_IN_RESOURCE = "!$%&'()*+,/:;=?@[]~"
# The handshake's own, and those that would say where a body ends.
_RESERVED_HEADERS = frozenset(["host", "upgrade", "connection", "content-length", "transfer-encoding"])


class URL(NamedTuple):
    """Where to connect and what to ask for."""

    secure: bool  # by TLS
    host: str  # the name (ASCII, lower case) or address to connect to, IPv6 without brackets
    port: int
    resource: str  # path and query, percent-encoded, for the request line
    host_header: str
    server_name: str  # that the server's certificate is checked against


def parse_url(url: str) -> URL:
    """Take a ``ws://`` or ``wss://`` URL apart; ``http://`` and ``https://`` are taken as those.

    What is wrong is a ``TypeError`` or ``ValueError``, whose text does not repeat the URL: it may hold a secret.
    """
    if not isinstance(url, str):
        raise TypeError(f"url must be a str, not {type(url).__name__}")
    if _UNWANTED_IN_URL.search(url):
        raise ValueError("url must not have white space or control characters")
    match = _URL.fullmatch(url)
    scheme = match.group(1).lower() if match else ""
    if match is None or scheme not in _SECURE:
        raise ValueError("url must start with ws:// or wss:// (or http:// or https://)")
    _, authority, path, query, fragment = match.groups()
    if fragment is not None:
        raise ValueError("url must not have a fragment (#); RFC 6455 allows none")
    if "@" in authority:
        raise ValueError("url must not have a user name or password; use headers={'Authorization': ...} instead")
    return _make_target(_SECURE[scheme], authority, (path or "/") + (query or ""))


def _make_target(secure: bool, authority: str, resource: str) -> URL:
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise ValueError(f"url has no proper host and port: {authority[:100]!r}")
    default_port = 443 if secure else 80
    # A leading zero is harmless, a thousand digits are not: int() is quadratic in them.
    digits = (match.group(2) or "").lstrip("0") if match.group(2) else str(default_port)
    if len(digits) > 5 or not 1 <= int(digits or "0") <= 65535:
        raise ValueError(f"url has the port {match.group(2)[:20]}; it must be 1 to 65535")
    port = int(digits)
    host, shown, server_name = _parse_host(match.group(1))
    host_header = shown if port == default_port else f"{shown}:{port}"
    return URL(secure, host, port, quote(resource, safe=_KEPT_IN_RESOURCE), host_header, server_name)


def _parse_host(text: str) -> tuple[str, str, str]:
    """Return the host to connect to, the same for ``Host``, and the name for TLS."""
    if not text:
        raise ValueError("url has no host")
    if text.startswith("["):
        address, _, zone = text[1:-1].partition("%25")  # RFC 6874
        try:
            address = str(IPv6Address(address))
        except ValueError:
            raise ValueError(f"url has {text[:100]!r} for a host, which is no IPv6 address") from None
        if "%" in address or ("%25" in text and not is_token(zone)):
            raise ValueError(f"url has {text[:100]!r} for a host; a zone is written %25 and its name")
        return (f"{address}%{zone}" if zone else address), f"[{address}]", address
    try:
        name = text.lower() if text.isascii() else text.encode("idna").decode("ascii").lower()
    except UnicodeError:
        name = ""
    if len(name) > 254 or not _HOST_NAME.fullmatch(name):
        raise ValueError(f"url has {text[:100]!r} for a host, which is no host name")
    return name, name, name.rstrip(".")


def validate_client_headers(headers: Any) -> list[tuple[str, str]]:
    """Check the option ``headers``: ``None``, a mapping, or pairs of name and value; return the pairs."""
    if headers is None:
        return []
    wanted = "headers must be a mapping of str to str or a sequence of (name, value) pairs"
    if not isinstance(headers, Mapping) and (isinstance(headers, (str, bytes)) or not isinstance(headers, Sequence)):
        raise TypeError(f"{wanted}, not {type(headers).__name__}")
    pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise TypeError(wanted)
    return [_validate_header(name, value.strip(" \t")) for name, value in pairs]


def _validate_header(name: str, value: str) -> tuple[str, str]:
    if not is_token(name):
        raise ValueError(f"headers has the name {name!r}, which is no HTTP header name")
    if name.lower() in _RESERVED_HEADERS or name.lower().startswith("sec-websocket-"):
        raise ValueError(f"headers has {name!r}, which the handshake sets itself")
    if _UNWANTED_IN_VALUE.search(value):
        raise ValueError(f"headers has a line end or another control character in the value of {name!r}")
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError(f"headers has a character in the value of {name!r} that Latin-1 does not have") from None
    return name, value


def validate_subprotocols(subprotocols: Any) -> tuple[str, ...]:
    """Check the option ``subprotocols``: ``None``, or a sequence of different tokens (RFC 7230); return them."""
    if subprotocols is None:
        return ()
    if isinstance(subprotocols, (str, bytes)) or not isinstance(subprotocols, Sequence):
        raise TypeError(f"subprotocols must be a list or tuple of str, not {type(subprotocols).__name__}")
    for name in subprotocols:
        if not isinstance(name, str):
            raise TypeError(f"subprotocols must have only str, not {type(name).__name__}")
        if not is_token(name):
            raise ValueError(f"subprotocols has {name!r}; it must be letters, digits and !#$%&'*+-.^_`|~ only")
    if len(set(subprotocols)) != len(subprotocols):
        raise ValueError("subprotocols must not have a name twice")
    return tuple(subprotocols)
