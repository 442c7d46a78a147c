"""The C extension (``_speedups.c``), where it could be built; the same is done in Python where it could not.

``EZEZ_WS_PURE_PYTHON=1`` in the environment leaves it alone: to compare, or to find out whether it is to blame.
"""

import os
import sys
from typing import Any

__all__ = ["compiled"]


def _load() -> Any:
    """Return the module, or ``None``. It counts on the global lock, which it would bring back where there is none."""
    has_lock = getattr(sys, "_is_gil_enabled", lambda: True)()
    if os.environ.get("EZEZ_WS_PURE_PYTHON") or not has_lock:
        return None
    try:
        from . import _speedups  # type: ignore[attr-defined]
    except ImportError:
        return None
    return _speedups


compiled = _load()
