"""The names of h11, which is imported when one is looked up, so that ``import ezez_ws`` does not take its time."""

import importlib
from typing import Any

__all__: "list[str]" = []


def __getattr__(name: str) -> Any:
    return getattr(importlib.import_module("h11"), name)
