"""The names of ssl, imported when one is looked up, by ``typing.get_type_hints``: ``import ezez_ws`` need not wait."""

import importlib
from typing import Any

__all__: "list[str]" = []


def __getattr__(name: str) -> Any:
    return getattr(importlib.import_module("ssl"), name)
