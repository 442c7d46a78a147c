"""What is imported when one of its names is looked up, so that ``import ezez_ws`` does not take its time.

The names of ssl are looked up by ``typing.get_type_hints``, and by who uses TLS.
"""

import importlib
from typing import Any

__all__ = ["h11", "ssl"]


class _Late:
    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self._name), name)


h11, ssl = _Late("h11"), _Late("ssl")
