"""permessage-deflate (RFC 7692), bounded: what inflates is handed out in steps. See ``opening/extensions.py``.

zlib takes 256 KB to compress and 40 KB to inflate, and here only with the first message that wants it.
"""

import zlib
from collections.abc import Iterator
from typing import NamedTuple

from .frames import Violation

__all__ = ["Deflate", "Deflater", "Inflater"]

_TAIL = b"\x00\x00\xff\xff"  # what section 7.2.1 has removed
_SMALLEST = 16  # bytes under which compressing costs more than it saves
_STEP_IN = 4096  # bytes: zlib copies what is left of its input each time
_STEP_OUT = 1 << 16
_BARREN = 1 << 16  # compressed bytes in a row of which nothing need come out


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
        self._decompressor: zlib._Decompress | None = None
        self._barren = 0  # compressed bytes of this message since the last that something came out of

    def inflate(self, piece: bytes, final: bool) -> Iterator[bytes]:
        """Yield what a piece of a message inflates to, at most 64 KiB at a time; ``final``: it is the last piece.

        Raises:
            Violation: 1002, for broken data, and when nothing comes out of 64 KiB.
        """
        for start in range(0, len(piece), _STEP_IN):
            yield from self._inflate(piece[start : start + _STEP_IN])
        if final:
            self._barren = 0
            yield from self._inflate(_TAIL)
            self._barren = 0
            if self._afresh:
                self._decompressor = None

    def _inflate(self, rest: bytes) -> Iterator[bytes]:
        while rest:
            decompressor = self._decompressor = self._decompressor or zlib.decompressobj(-zlib.MAX_WBITS)
            size = len(rest)
            try:
                inflated = decompressor.decompress(rest, _STEP_OUT)
            except zlib.error as error:
                raise Violation(1002, f"a compressed message is broken: {error}") from None
            rest = decompressor.unconsumed_tail
            if decompressor.eof:  # a block that says it is the last; another stream may follow
                rest = decompressor.unused_data
                self._decompressor = None
            if inflated:
                self._barren = 0
                yield inflated
            else:
                self._barren += size - len(rest)
                if self._barren >= _BARREN:
                    raise Violation(1002, f"nothing comes out of {_BARREN} compressed bytes")
