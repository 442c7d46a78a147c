"""The C extension (``messages/c``), where it could be built; the same is done in Python where it could not.

``EZEZ_WS_PURE_PYTHON=1`` in the environment leaves it alone: to compare, or to find out whether it is to blame.
"""

import os
import sys
from typing import Any

__all__ = ["HAS_GLOBAL_LOCK", "compiled"]

HAS_GLOBAL_LOCK: bool = getattr(sys, "_is_gil_enabled", lambda: True)()
"""Whether one thread at a time runs Python: all but the free-threaded builds of CPython 3.13 and later."""


def _load() -> Any:
    """Return the module, or ``None``. It counts on the global lock, which it would bring back where there is none."""
    if os.environ.get("EZEZ_WS_PURE_PYTHON") or not HAS_GLOBAL_LOCK:
        return None
    try:
        from . import _speedups  # type: ignore[attr-defined]
    except ImportError:
        return None
    return _speedups


compiled = _load()
