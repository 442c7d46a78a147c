"""What needs pydantic, of the extra ``ezez-ws[typed]``, and is for users: ``Codec(default=plain)``."""

import sys
from dataclasses import fields, is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

try:
    from pydantic_core import to_jsonable_python
except ImportError as error:
    raise ImportError("ezez_ws.typed needs pydantic, version 2: install ezez-ws[typed]") from error

from .calls.types import with_bigints

__all__ = ["plain"]

_TEXTS = (date, time, timedelta, Decimal, UUID)


def plain(value: Any) -> Any:
    """Return what a codec can send of a value that it does not know; for ``Codec(default=plain)``.

    Dataclasses become dicts, whose values the codec takes next; pydantic's models and dataclasses what pydantic makes
    of them as JSON, in which a ``BigInt`` stays one; enums their values; dates, times, ``Decimal``, ``UUID`` and paths
    the text that pydantic writes; numpy's scalars numbers. Everything else is returned as it is, which the codec
    refuses.
    """
    while isinstance(value, Enum):
        value = value.value
    serializer = getattr(type(value), "__pydantic_serializer__", None)
    if serializer is not None:
        written = serializer.to_python(value, mode="json", by_alias=True)
        return with_bigints(written, serializer.to_python(value, by_alias=True))
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, _TEXTS):
        return to_jsonable_python(value)
    if isinstance(value, PurePath):
        return str(value)
    numpy = sys.modules.get("numpy")  # there is none of its scalars where nobody has imported it
    if numpy is not None and isinstance(value, (numpy.number, numpy.bool_)):
        return value.item()
    return value
