"""Masking (RFC 6455, section 5.3): in pure Python, or by the C extension of ``websockets`` where that is installed."""

import functools
import os
import sys
from typing import Callable, Optional

__all__ = ["Masks", "apply_mask", "load_speedups"]

_AT_ONCE = 8192  # bytes: integers beyond the processor's first cache are slower

_quick: Optional[Callable[[bytes, bytes], bytes]] = None


@functools.cache
def load_speedups() -> bool:
    """Have ``apply_mask`` use the C extension, if it is there; what ``pip install 'ezez-ws[speedups]'`` is for.

    It takes 50 ms to import, so this is called when a server or a client starts. Any thread may call it, any number of
    times. On a free-threaded CPython an extension may bring the global lock back: there it is left alone.
    """
    global _quick
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return False
    try:
        from websockets.speedups import apply_mask as quick
    except ImportError:
        return False
    if quick(b"\0\1\2\3\4", b"\1\2\4\x08") != b"\1\3\6\x0b\5":  # it is none of their documented functions
        return False
    _quick = quick
    return True


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


def apply_mask(payload: bytes, mask: bytes, offset: int = 0) -> bytes:
    """Mask or unmask a piece that starts ``offset`` bytes into its frame."""
    if offset % 4:
        mask = mask[offset % 4 :] + mask[: offset % 4]
    if _quick is not None:
        return _quick(payload, mask)
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
    return b"".join([*pieces, apply_mask(rest, mask)])
