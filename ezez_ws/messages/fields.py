"""The fields of a message: ``<length><mark>\\0<payload>\\0``, one after the other."""

import re

from .refusals import Bad

__all__ = ["HEADS", "NO_HEAD", "cut"]

HEADS = {b"%d%b" % (size, mark.encode()): (mark, size) for mark in "ftj" for size in range(256)}
NO_HEAD = ("", -1)
_HEAD = re.compile(rb"([0-9]{1,10})([ftj])")


def cut(data: bytes, position: int) -> tuple[str, bytes, int]:
    """Return the mark and the payload of the field at ``position``, and where the next one begins."""
    size = len(data)
    nul = data.find(0, position, position + 12)
    if nul < 0:
        raise Bad("no 0x00 after a length and a mark")
    known = HEADS.get(data[position:nul])
    if known is None:
        head = _HEAD.fullmatch(data, position, nul)
        if head is None:
            raise Bad(f"no length (1 to 10 digits) and mark (f, t or j): {data[position:nul]!r}")
        known = head[2].decode(), int(head[1])
    mark, length = known
    start = nul + 1
    end = start + length
    if end >= size:
        if end > size:  # a last field without its closing 0x00 is fine
            raise Bad(f"a length of {length} bytes where {size - start} are left")
    elif data[end]:
        raise Bad("no 0x00 after the payload")
    return mark, data[start:end], end + 1
