"""Functions of the C library that Python does not offer, on Linux."""

import sys
from typing import Any, Callable, Optional

__all__ = ["find_function"]


def find_function(name: str, keeps_lock: bool = False) -> Optional[Callable[..., Any]]:
    """Return it, or ``None`` where it cannot be had; with ``keeps_lock`` a call does not let go of the global lock."""
    if sys.platform != "linux":
        return None
    try:
        import ctypes

        function: Callable[..., Any] = getattr((ctypes.PyDLL if keeps_lock else ctypes.CDLL)(None), name)
    except (ImportError, OSError, AttributeError):
        return None
    return function
