"""The servers that are measured, each a process of its own: ``python -m benchmarks.servers NAME OPTIONS``.

All do the same work: they answer a message with as many bytes, or, asked for a fan-out of SIZE bytes, send a text of
that size to all who are connected. A module's ``start`` returns the URL. Those with rooms send it to some, instead.
"""

import time

__all__ = ["stamped"]


def stamped(size: int) -> str:
    """Return a text of ``size`` characters that says when it was made."""
    return f"@{time.perf_counter():.7f}@".ljust(size, "x")
