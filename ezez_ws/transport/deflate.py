"""permessage-deflate (RFC 7692), bounded: what inflates is counted while it grows.

Negotiation is strict: an offer with a parameter that is unknown, repeated or out of range is declined, as section 5.1
asks; a server's answer like that fails the connection. Our own compressor never uses a window larger than agreed.
"""

import zlib
from typing import Dict, NamedTuple, Optional, Sequence, Tuple

from .frames import Violation
from .head import list_items

__all__ = ["Deflate", "Deflater", "Inflater", "accept_answer", "choose_offer"]

_NAME = "permessage-deflate"
_FLAGS = ("server_no_context_takeover", "client_no_context_takeover")
_WINDOWS = ("server_max_window_bits", "client_max_window_bits")
_BITS = {str(bits): bits for bits in range(8, 16)}
_TAIL = b"\x00\x00\xff\xff"  # what section 7.2.1 has removed
_SMALLEST = 16  # bytes under which compressing costs more than it saves
_STEP = 1 << 16


class Deflate(NamedTuple):
    """What was agreed: each end's window (8 to 15 bits), and whether it starts each message afresh."""

    server_bits: int
    client_bits: int
    server_afresh: bool
    client_afresh: bool


def choose_offer(offers: Sequence[str]) -> Optional[Tuple[str, Deflate]]:
    """Choose the first acceptable offer (section 5.1); return our answer and what it means, ``None`` for none."""
    for item in list_items(offers):
        parameters = _parse(item)
        if parameters is None or (parameters.get(_WINDOWS[0], "8") not in _BITS):
            continue
        client = parameters.get(_WINDOWS[1])
        if client is not None and client not in _BITS:
            continue
        answer = [_NAME, *(flag for flag in _FLAGS if flag in parameters)]
        if _WINDOWS[0] in parameters:
            answer.append(f"{_WINDOWS[0]}={parameters[_WINDOWS[0]]}")
        agreed = Deflate(
            _BITS[parameters.get(_WINDOWS[0]) or "15"], 15, _FLAGS[0] in parameters, _FLAGS[1] in parameters
        )
        return "; ".join(answer), agreed
    return None


def accept_answer(answers: Sequence[str]) -> Optional[Deflate]:
    """Read a server's answer to the offer of a client of ours; ``None`` where it declined.

    Raises:
        ValueError: the answer is none that may be given (section 7.1); the connection must fail.
    """
    items = list_items(answers)
    if not items:
        return None
    parameters = _parse(items[0]) if len(items) == 1 else None
    if parameters is None or any(parameters.get(name, "8") not in _BITS for name in _WINDOWS):
        raise ValueError(f"the server's answer to {_NAME!r} is not acceptable: {', '.join(items)[:200]!r}")
    server, client = (_BITS[parameters.get(name) or "15"] for name in _WINDOWS)
    return Deflate(server, client, _FLAGS[0] in parameters, _FLAGS[1] in parameters)


def _parse(item: str) -> "Optional[Dict[str, Optional[str]]]":
    """Read one extension's parameters; ``None`` where it is another one, or they are not all known and in form."""
    name, *rest = (part.strip(" \t") for part in item.split(";"))
    if name != _NAME:
        return None
    parameters: Dict[str, Optional[str]] = {}
    for part in rest:
        key, equals, value = (text.strip(" \t") for text in part.partition("="))
        if key in parameters or key not in (*_FLAGS, *_WINDOWS) or (key in _FLAGS and equals):
            return None
        parameters[key] = _unquote(value) if equals else None
    return parameters


def _unquote(value: str) -> str:
    return value[1:-1] if len(value) >= 2 and value[0] == value[-1] == '"' else value


class Deflater:
    """Compresses the messages of one direction, in order. Not locked: the outbox's lock guards it."""

    def __init__(self, bits: int, afresh: bool) -> None:
        # zlib has no window of 8 bits for raw streams; with 9 it refers back no further than 250 bytes
        self._bits = max(9, bits)
        self._afresh = afresh
        self._compressor = self._make()

    def compress(self, payload: bytes) -> Optional[bytes]:
        """Return the compressed payload, or ``None`` where it is better sent as it is."""
        if len(payload) < _SMALLEST:
            return None
        if self._afresh:
            self._compressor = self._make()
        compressed = self._compressor.compress(payload) + self._compressor.flush(zlib.Z_SYNC_FLUSH)
        return compressed[: -len(_TAIL)]

    def _make(self) -> "zlib._Compress":
        return zlib.compressobj(wbits=-self._bits)


class Inflater:
    """Decompresses the messages of one direction piece by piece. Not locked: one thread feeds it at a time."""

    def __init__(self, afresh: bool) -> None:
        self._afresh = afresh
        self._decompressor = zlib.decompressobj(-zlib.MAX_WBITS)

    def inflate_into(self, message: bytearray, piece: bytes, final: bool, limit: int) -> None:
        """Append what a piece of a message inflates to.

        Args:
            message: what the pieces before have inflated to.
            piece: the compressed bytes.
            final: whether they end the message.
            limit: the bytes that the message may have.

        Raises:
            Violation: 1009 over the limit, as soon as it is passed; 1002 where it is no deflate data.
        """
        self._inflate_into(message, piece, limit)
        if final:
            self._inflate_into(message, _TAIL, limit)
            if self._afresh:
                self._decompressor = zlib.decompressobj(-zlib.MAX_WBITS)

    def _inflate_into(self, message: bytearray, rest: bytes, limit: int) -> None:
        while rest:
            try:
                message += self._decompressor.decompress(rest, min(limit - len(message) + 1, _STEP))
            except zlib.error as error:
                raise Violation(1002, f"a compressed message is broken: {error}") from None
            if len(message) > limit:
                raise Violation(1009, f"a message over {limit} bytes")
            rest = self._decompressor.unconsumed_tail
            if self._decompressor.eof:  # a block that says it is the last; another stream may follow
                rest = self._decompressor.unused_data
                self._decompressor = zlib.decompressobj(-zlib.MAX_WBITS)
