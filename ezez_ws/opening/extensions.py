"""Agreeing on permessage-deflate (RFC 7692, section 7.1) in the handshake; pure.

Negotiation is strict: an offer with a parameter that is unknown, repeated or out of range is declined, as section 5.1
asks; a server's answer like that fails the connection.
"""

from collections.abc import Sequence

from ..websocket.deflate import Deflate
from .head import list_items

__all__ = ["accept_answer", "choose_offer"]

_NAME = "permessage-deflate"
_FLAGS = ("server_no_context_takeover", "client_no_context_takeover")
_WINDOWS = ("server_max_window_bits", "client_max_window_bits")
_BITS = {str(bits): bits for bits in range(8, 16)}


def choose_offer(offers: Sequence[str]) -> tuple[str, Deflate] | None:
    """Choose the first acceptable offer (section 5.1); return our answer and what it means, ``None`` for none."""
    for item in list_items(offers):
        parameters = _parse(item)
        if parameters is None or parameters.get(_WINDOWS[0], "8") not in _BITS:
            continue
        if parameters.get(_WINDOWS[1]) not in (None, *_BITS):
            continue
        answer = [_NAME, *(flag for flag in _FLAGS if flag in parameters)]
        if _WINDOWS[0] in parameters:
            answer.append(f"{_WINDOWS[0]}={parameters[_WINDOWS[0]]}")
        bits = _BITS[parameters.get(_WINDOWS[0]) or "15"]
        return "; ".join(answer), Deflate(bits, 15, _FLAGS[0] in parameters, _FLAGS[1] in parameters)
    return None


def accept_answer(answers: Sequence[str]) -> Deflate | None:
    """Read a server's answer to our client's offer; ``None`` where it declined, ``ValueError`` where it may not be."""
    items = list_items(answers)
    if not items:
        return None
    parameters = _parse(items[0]) if len(items) == 1 else None
    if parameters is None or any(parameters.get(name, "8") not in _BITS for name in _WINDOWS):
        raise ValueError(f"the server's answer to {_NAME!r} is not acceptable: {', '.join(items)[:200]!r}")
    server, client = (_BITS[parameters.get(name) or "15"] for name in _WINDOWS)
    return Deflate(server, client, _FLAGS[0] in parameters, _FLAGS[1] in parameters)


def _parse(item: str) -> "dict[str, str | None] | None":
    """Read one extension's parameters; ``None`` where it is another one, or they are not all known and in form."""
    name, *rest = (part.strip(" \t") for part in item.split(";"))
    if name != _NAME:
        return None
    parameters: dict[str, str | None] = {}
    for part in rest:
        key, equals, value = (text.strip(" \t") for text in part.partition("="))
        if key in parameters or key not in (*_FLAGS, *_WINDOWS) or (key in _FLAGS and equals):
            return None
        is_quoted = len(value) >= 2 and value[0] == value[-1] == '"'
        parameters[key] = (value[1:-1] if is_quoted else value) if equals else None
    return parameters
