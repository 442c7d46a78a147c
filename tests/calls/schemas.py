"""Whether a value is what a JSON schema says, as far as pydantic's schemas of ordinary types go."""

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from typing import Any
from uuid import UUID

__all__ = ["accepts"]

_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}
_FORMATS: Mapping[str, Callable[[str], Any]] = {
    "date": date.fromisoformat,
    "date-time": lambda text: datetime.fromisoformat(text.replace("Z", "+00:00")),
    "time": lambda text: time.fromisoformat(text.replace("Z", "+00:00")),
    "uuid": UUID,
    "duration": lambda text: re.fullmatch(r"-?P.*", text) or int("no"),
}


def accepts(schema: Any, value: Any, root: Any = None) -> bool:
    """Tell whether a schema takes a value; an unknown keyword that could refuse it is a ``KeyError``."""
    root = schema if root is None else root
    return all(_KEYWORDS[name](wanted, value, schema, root) for name, wanted in schema.items())


def _formatted(wanted: str, value: Any) -> bool:
    try:
        return not isinstance(value, str) or bool(_FORMATS[wanted](value)) or True
    except ValueError:
        return False


def _items(wanted: Any, value: Any, schema: Any, root: Any) -> bool:
    rest = value[len(schema.get("prefixItems", ())) :] if isinstance(value, list) else ()
    return not rest or (wanted is not False and all(accepts(wanted, item, root) for item in rest))


def _additional(wanted: Any, value: Any, schema: Any, root: Any) -> bool:
    rest = [value[key] for key in value if key not in schema.get("properties", ())] if isinstance(value, dict) else []
    return not rest or wanted is True or (wanted is not False and all(accepts(wanted, item, root) for item in rest))


def _properties(wanted: Any, value: Any, schema: Any, root: Any) -> bool:
    return not isinstance(value, dict) or all(accepts(wanted[key], value[key], root) for key in wanted if key in value)


def _prefix(wanted: Any, value: Any, schema: Any, root: Any) -> bool:
    return not isinstance(value, list) or all(accepts(*pair, root) for pair in zip(wanted, value, strict=False))


def _same(wanted: Any, value: Any) -> bool:
    return bool(wanted == value) and isinstance(wanted, bool) == isinstance(value, bool)


_KEYWORDS: Mapping[str, Callable[[Any, Any, Any, Any], bool]] = {
    "$ref": lambda wanted, value, schema, root: accepts(root["$defs"][wanted.rpartition("/")[2]], value, root),
    "type": lambda wanted, value, schema, root: _TYPES[wanted](value),
    "format": lambda wanted, value, schema, root: wanted not in _FORMATS or _formatted(wanted, value),
    "enum": lambda wanted, value, schema, root: any(_same(one, value) for one in wanted),
    "const": lambda wanted, value, schema, root: _same(wanted, value),
    "anyOf": lambda wanted, value, schema, root: any(accepts(one, value, root) for one in wanted),
    "pattern": lambda wanted, value, schema, root: not isinstance(value, str) or bool(re.search(wanted, value)),
    "items": _items,
    "prefixItems": _prefix,
    "properties": _properties,
    "additionalProperties": _additional,
    "required": lambda wanted, value, schema, root: not isinstance(value, dict) or set(wanted) <= set(value),
    "minItems": lambda wanted, value, schema, root: not isinstance(value, list) or len(value) >= wanted,
    "maxItems": lambda wanted, value, schema, root: not isinstance(value, list) or len(value) <= wanted,
    "uniqueItems": lambda wanted, value, schema, root: True,
    "exclusiveMinimum": lambda wanted, value, schema, root: not _TYPES["number"](value) or value > wanted,
    **dict.fromkeys(("$defs", "title", "default", "description"), lambda wanted, value, schema, root: True),
}
