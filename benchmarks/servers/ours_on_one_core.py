"""This library in a process that is kept on one core, as docs/performance.md tells to."""

import os
from typing import Any

from . import ours

__all__ = ["start"]


def start(**options: Any) -> str:
    """Start the server."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    return ours.start(**options)
