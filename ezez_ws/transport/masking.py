"""Masking (RFC 6455, section 5.3)."""

import os

from ..speedups import compiled

__all__ = ["Masks", "apply_mask"]

_AT_ONCE = 8192  # bytes: integers beyond the processor's first cache are slower


class Masks:
    """Masking keys from the system's random source (RFC 6455, section 10.3), fetched many at a time.

    Not locked: its owner's lock guards it.
    """

    def __init__(self) -> None:
        self._pool = b""
        self._used = 0

    def next(self) -> bytes:
        """Return a key of four bytes that nobody could foresee."""
        if self._used >= len(self._pool):
            self._pool, self._used = os.urandom(1024), 0
        self._used += 4
        return self._pool[self._used - 4 : self._used]


def _apply_mask(payload: bytes, mask: bytes, offset: int = 0) -> bytes:
    """Mask or unmask a piece that starts ``offset`` bytes into its frame."""
    if offset % 4:
        mask = mask[offset % 4 :] + mask[: offset % 4]
    size = len(payload)
    if size <= _AT_ONCE:
        key = int.from_bytes((mask * (size // 4 + 1))[:size], "little")
        return (int.from_bytes(payload, "little") ^ key).to_bytes(size, "little")
    key = int.from_bytes(mask * (_AT_ONCE // 4), "little")
    pieces = []
    for start in range(0, size - size % _AT_ONCE, _AT_ONCE):
        piece = int.from_bytes(payload[start : start + _AT_ONCE], "little")
        pieces.append((piece ^ key).to_bytes(_AT_ONCE, "little"))
    rest = payload[size - size % _AT_ONCE :]
    return b"".join([*pieces, _apply_mask(rest, mask)])


apply_mask = _apply_mask if compiled is None else compiled.apply_mask
