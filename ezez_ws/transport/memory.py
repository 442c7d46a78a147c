"""What becomes of memory that is free again."""

import contextlib
import functools

__all__ = ["keep_freed_memory"]

_BLOCK = 4 << 20  # bytes


@functools.cache
def keep_freed_memory() -> None:
    """Let the memory of one large message be there for the next.

    glibc gives back to the system what is free beyond a threshold, and gets it again by page faults: with messages of
    1 MiB, of which there are four copies between being read and answered, these took a third to two thirds of the time.
    The threshold is twice the largest block with a mapping of its own that was freed so far (mallopt(3),
    ``M_MMAP_THRESHOLD``). So this makes and frees such a block, once, and touches none of its pages. With other C
    libraries, and where so much is free in one piece already, it does nothing. Any thread may call it.
    """
    with contextlib.suppress(MemoryError):  # then there is none to be kept
        bytes(_BLOCK)
