"""h11, imported when a server starts or a handshake needs it, so that ``import ezez_ws`` does not take its time.

Its names are looked up here, and found in h11.
"""

import importlib
from typing import Any

__all__: "list[str]" = []


def __getattr__(name: str) -> Any:
    return getattr(importlib.import_module("h11"), name)
