"""How deep a JSON text nests and what it takes in memory, found out before any scanner sees it.

In linear time and without recursion: the insides of the strings are cut out, and what is left is counted. That is
right as far as the text is valid JSON, and no scanner goes further than that.
"""

from itertools import accumulate
from typing import Optional

from .refusals import Bad

__all__ = ["UNMETERED", "Meter", "weigh"]

UNMETERED = 16_384  # bytes of a message whose memory nobody minds
_MEMORY_FACTOR = 30  # times the message's size; with the copy of the payload it stays under the contract's 32
_DENSE = 12  # a text with more containers than one in so many bytes is counted, of any other
_ORDINARY_COST = 28  # times its size is the most that it takes

_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = [1 if byte in b"[{" else -1 if byte in b"]}" else 0 for byte in range(256)]


# Bytes of what a scanner makes, in CPython 3.11 and later. Older ones need 232 for a dict of one item, and so exceed
# the factor in the worst case; the figures are the same there, so that no message is refused on one Python only.
_EMPTY_LIST, _LIST, _EMPTY_DICT, _DICT, _STRING, _SLOT = 56, 88, 64, 184, 56, 10


class Meter:
    """How much memory the rest of one message may still take.

    Containers of one item in almost no text (``[[[[…]]]]``, ``{"":{"":…}}``) take 40 times their text and more
    in CPython; a message that is mostly such is refused.
    """

    __slots__ = ("left",)

    def __init__(self, size: int) -> None:
        self.left = size * _MEMORY_FACTOR

    def spend(self, cost: int) -> None:
        self.left -= cost
        if self.left < 0:
            raise Bad(f"the message needs more than {_MEMORY_FACTOR} times its size in memory")


def weigh(payload: bytes, max_depth: int, meter: Optional[Meter]) -> None:
    """Refuse a JSON text that nests deeper than ``max_depth`` or that takes more memory than the meter has left."""
    brackets = payload.count(b"[") + payload.count(b"{")
    dense = meter is not None and brackets * _DENSE > len(payload)
    if brackets > max_depth or dense:
        outline = _outline(payload)
        steps = map(_STEPS.__getitem__, outline.translate(None, _NOT_BRACKETS))
        if max(accumulate(steps), default=0) > max_depth:
            raise Bad(f"nested deeper than max_depth={max_depth}")
    if meter is not None:
        meter.spend(_cost(payload, outline) if dense else len(payload) * _ORDINARY_COST)


def _outline(payload: bytes) -> bytes:
    """Return the text without blanks, and with a quote for each string."""
    if b"\\" in payload:
        payload = payload.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b'"'.join(payload.split(b'"')[::2]).translate(None, b" \t\r\n")


def _cost(payload: bytes, outline: bytes) -> int:
    """Return about how many bytes a scanner takes for a payload: its text and its values, keys not counted."""
    empty_lists, empty_dicts = outline.count(b"[]"), outline.count(b"{}")
    return (
        len(payload) * (1 if payload.isascii() else 4)
        + empty_lists * _EMPTY_LIST
        + empty_dicts * _EMPTY_DICT
        + (outline.count(b"[") - empty_lists) * _LIST
        + (outline.count(b"{") - empty_dicts) * _DICT
        + (outline.count(b'"') - outline.count(b":")) * _STRING
        + outline.count(b",") * _SLOT
    )
