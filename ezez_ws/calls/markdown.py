"""A contract as a page to read."""

import json
from collections.abc import Iterator
from typing import Any

from .describe import REFERENCE
from .typescript import FORMATS, Names, spell

__all__ = ["write_markdown"]

_LIMITS = {
    "minimum": ">= {}",
    "exclusiveMinimum": "> {}",
    "maximum": "<= {}",
    "exclusiveMaximum": "< {}",
    "multipleOf": "a multiple of {}",
    "minLength": "{} long or more",
    "maxLength": "{} long at most",
    "minItems": "{} items or more",
    "maxItems": "{} items at most",
    "pattern": "matches {}",
    "format": "{}",
}


def write_markdown(description: dict[str, Any], fingerprint: str) -> str:
    """Write the page; types are written as TypeScript has them."""
    names = Names(description["schemas"])
    lines = [f"# {description['name']}", "", *_paragraph(description["description"])]
    for method in description["methods"]:
        lines += [f"## {method['name']}", "", *_describe_method(method, names)]
    for schema, one in description["schemas"].items():
        lines += [f"### {names[REFERENCE + schema]}", "", *_describe_schema(one, names)]
    return "\n".join([*lines, f"Fingerprint: `{fingerprint}`", ""])


def _paragraph(text: str) -> list[str]:
    return [text, ""] if text else []


def _describe_method(method: dict[str, Any], names: Names) -> Iterator[str]:
    yield from _paragraph(method["description"])
    answer = "no answer" if method["notice"] else f"answered by {_code(spell(method['answer'], names))}"
    yield f"Event `{method['event']}`, {answer}."
    yield ""
    rows = [(one["name"], one["schema"], _place(one)) for one in method["parameters"]]
    yield from _table("argument", rows, names)


def _place(parameter: dict[str, Any]) -> str:
    if parameter["rest"]:
        return "any number of them"
    if "default" in parameter:
        return _default(parameter["default"])
    return "may be left out" if parameter["optional"] else ""


def _default(value: Any) -> str:
    return f"default {_code(json.dumps(value, ensure_ascii=False))}"


def _describe_schema(schema: Any, names: Names) -> Iterator[str]:
    whole = schema if isinstance(schema, dict) else {}
    yield from _paragraph(whole.get("description", ""))
    if "properties" not in whole:
        yield from [f"{_code(spell(schema, names))}{_limits(whole, ', ')}", ""]
        return
    required = whole.get("required", ())
    rows = [(name, one, "" if name in required else _absent(one)) for name, one in whole["properties"].items()]
    yield from _table("field", rows, names)


def _absent(schema: Any) -> str:
    return _default(schema["default"]) if isinstance(schema, dict) and "default" in schema else "may be left out"


def _table(what: str, rows: list[tuple[str, Any, str]], names: Names) -> Iterator[str]:
    if not rows:
        return
    yield f"| {what} | type | |"
    yield "| --- | --- | --- |"
    for name, schema, words in rows:
        whole = schema if isinstance(schema, dict) else {}
        notes = "; ".join(filter(None, [words, _limits(whole), whole.get("description", "")]))
        yield f"| {_cell(f'`{name}`')} | {_cell(_code(spell(schema, names)))} | {_cell(notes)} |"
    yield ""


def _limits(schema: dict[str, Any], before: str = "") -> str:
    told = _LIMITS if "prefixItems" not in schema and schema.get("format") not in FORMATS else {}
    words = [text.format(schema[key]) for key, text in told.items() if key in schema]
    return before + ", ".join(words) if words else ""


def _code(text: str) -> str:
    return f"`{text}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
