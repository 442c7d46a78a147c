"""permessage-deflate (RFC 7692), bounded: what inflates is counted while it grows. See ``opening/extensions.py``."""

import zlib
from typing import NamedTuple

from .frames import Violation

__all__ = ["Deflate", "Deflater", "Inflater"]

_TAIL = b"\x00\x00\xff\xff"  # what section 7.2.1 has removed
_SMALLEST = 16  # bytes under which compressing costs more than it saves
_STEP = 1 << 16


class Deflate(NamedTuple):
    """What was agreed: each end's window (8 to 15 bits), and whether it starts each message afresh."""

    server_bits: int
    client_bits: int
    server_afresh: bool
    client_afresh: bool


class Deflater:
    """Compresses the messages of one direction, in order. Not locked: the outbox's lock guards it."""

    def __init__(self, bits: int, afresh: bool) -> None:
        # zlib has no window of 8 bits for raw streams; with 9 it refers back no further than 250 bytes
        self._bits = max(9, bits)
        self._afresh = afresh
        self._compressor: zlib._Compress | None = None

    def compress(self, payload: bytes) -> bytes | None:
        """Return the compressed payload, or ``None`` where it is better sent as it is."""
        if len(payload) < _SMALLEST:
            return None
        compressor = self._compressor or zlib.compressobj(wbits=-self._bits)
        if not self._afresh:
            self._compressor = compressor
        compressed = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
        return compressed[: -len(_TAIL)]


class Inflater:
    """Decompresses the messages of one direction piece by piece. Not locked: one thread feeds it at a time."""

    def __init__(self, afresh: bool) -> None:
        self._afresh = afresh
        self._decompressor = zlib.decompressobj(-zlib.MAX_WBITS)

    def inflate_into(self, message: bytearray, piece: bytes, final: bool, limit: int) -> None:
        """Append what a piece inflates to; ``Violation``: 1009 as soon as the limit is passed, 1002 for broken data."""
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
