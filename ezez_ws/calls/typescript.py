"""A contract as an interface of TypeScript, for pages that use the browser module."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from .describe import REFERENCE

__all__ = ["FORMATS", "Names", "spell", "write_typescript"]

_IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_PLAIN = {
    "string": "string",
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "null": "null",
}
FORMATS = {"binary": "Uint8Array", "bigint": "bigint"}
# what a type must not be called, as it means something already, and a parameter cannot
_TYPES = {"any", "bigint", "boolean", "never", "null", "number", "object", "string", "symbol", "undefined", "unknown"}
_TYPES |= {"Promise", "Uint8Array", "void"}
_WORDS = set(
    re.findall(
        r"\w+",
        """
    arguments await break case catch class const continue debugger default delete do else enum eval export
    extends false finally for function if implements import in instanceof interface let new null package
    private protected public return static super switch this throw true try typeof var void while with yield
    """,
    )
)


class Names:
    """What the shared schemas of a contract are called."""

    def __init__(self, schemas: Iterable[str], taken: str = "") -> None:
        self._names: dict[str, str] = {}
        used = {*_TYPES, *_WORDS, taken}
        for schema in schemas:
            name = re.sub(r"[^A-Za-z0-9_]+", "", schema)
            name = f"_{name}" if not name or name[0].isdigit() else name
            while name in used:
                name += "_"
            used.add(name)
            self._names[REFERENCE + schema] = name

    def __getitem__(self, reference: str) -> str:
        return self._names[reference]


def spell(schema: Any, names: Names) -> str:
    """Write a schema as a type."""
    if not isinstance(schema, dict):
        return "never" if schema is False else "unknown"
    if "$ref" in schema:
        return names[schema["$ref"]]
    if "const" in schema:
        return _literal(schema["const"])
    if "enum" in schema:
        return _union(map(_literal, schema["enum"]))
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return _union(spell(one, names) for one in schema[choice])
    if "allOf" in schema:
        return " & ".join(_operand(spell(one, names)) for one in schema["allOf"])
    kind = schema.get("type")
    if isinstance(kind, list):
        return _union(spell({**schema, "type": one}, names) for one in kind)
    if kind == "array":
        return _spell_array(schema, names)
    if kind == "object":
        return f"{{ {' '.join(members)} }}" if (members := list(_spell_members(schema, names))) else "{}"
    if schema.get("format") in FORMATS:
        return FORMATS[schema["format"]]
    return _PLAIN.get(kind or "", "unknown")


def _literal(value: Any) -> str:
    return json.dumps(value) if value is None or isinstance(value, (str, int, float)) else "unknown"


def _union(types: Iterable[str]) -> str:
    return " | ".join(dict.fromkeys(types))


def _operand(text: str) -> str:
    return f"({text})" if " | " in text or " & " in text else text


def _spell_array(schema: dict[str, Any], names: Names) -> str:
    first = [spell(one, names) for one in schema.get("prefixItems", ())]
    rest = schema.get("items", not first and schema.get("maxItems") != 0)
    if not first and rest is not False:
        return f"{_operand(spell(rest, names))}[]"
    least = schema.get("minItems", 0)
    parts = [one if index < least else f"{_operand(one)}?" for index, one in enumerate(first)]
    if isinstance(rest, dict):
        parts.append(f"...{_operand(spell(rest, names))}[]")
    return f"[{', '.join(parts)}]"


def _spell_members(schema: dict[str, Any], names: Names, documented: bool = False) -> Iterator[str]:
    """Write the members of an object's type, each with its end."""
    properties, required = schema.get("properties", {}), schema.get("required", ())
    for name, one in properties.items():
        words = one.get("description", "") if documented and isinstance(one, dict) else ""
        yield from _comment(words)
        yield f"{_key(name)}{'' if name in required else '?'}: {spell(one, names)};"
    more = schema.get("additionalProperties", not properties)
    if more is not False:
        # what has an index needs one that fits its other members, too
        of_all = spell(more, names) if not properties else "unknown"
        yield f"[key: string]: {of_all};"


def _key(name: str) -> str:
    return name if _IDENTIFIER.fullmatch(name) else json.dumps(name)


def _comment(text: str) -> Iterator[str]:
    lines = text.replace("*/", "*\\/").splitlines()
    if len(lines) == 1:
        yield f"/** {lines[0]} */"
    elif lines:
        yield "/**"
        yield from (f" * {line}".rstrip() for line in lines)
        yield " */"


# -- the whole --------------------------------------------------------------------------------------------------------


def write_typescript(description: dict[str, Any], fingerprint: str) -> str:
    """Write the declarations of a contract: an interface of its name, and the types that it uses."""
    name = description["name"]
    names = Names(description["schemas"], name)
    lines = [f"// Made by: ezez-ws contract --typescript. The fingerprint of the contract: {fingerprint}", ""]
    use = f"`client.proxy<{name}>({_options(description['methods'])})` makes one."
    lines += [*_comment("\n\n".join(filter(None, [description["description"], use]))), f"export interface {name} {{"]
    for method in description["methods"]:
        lines += [f"    {line}" for line in [*_comment(method["description"]), spell_method(method, names)]]
    lines.append("}")
    for schema, one in description["schemas"].items():
        words = one.get("description", "") if isinstance(one, dict) else ""
        lines += ["", *_comment(words), *_declare(names[REFERENCE + schema], one, names)]
    return "\n".join(lines) + "\n"


def _declare(name: str, schema: Any, names: Names) -> Iterator[str]:
    if isinstance(schema, dict) and schema.get("type") == "object":
        yield f"export interface {name} {{"
        yield from (f"    {line}" for line in _spell_members(schema, names, documented=True))
        yield "}"
    else:
        yield f"export type {name} = {spell(schema, names)};"


def _options(methods: list[dict[str, Any]]) -> str:
    """Write what the browser module's ``proxy`` is to be told, as it has no types when it runs."""
    notices = [json.dumps(_name_of(method)) for method in methods if method["notice"]]
    events = [
        json.dumps(method["event"]) for method in methods if _name_of(method).replace("_", "-") != method["event"]
    ]
    parts = [f"notices: [{', '.join(notices)}]"] if notices else []
    parts += [f"events: {{ {', '.join(f'{one}: {one}' for one in events)} }}"] if events else []
    return f"{{ {', '.join(parts)} }}" if parts else ""


def _name_of(method: dict[str, Any]) -> str:
    """Return what a method is called for the browser module, which puts ``-`` for ``_``: it finds the event by that."""
    named = method["event"] == method["name"].replace("_", "-")
    return str(method["name"] if named else method["event"])


def spell_method(method: dict[str, Any], names: Names) -> str:
    """Write the declaration of a method."""
    answer = "void" if method["notice"] else f"Promise<{_answer(method['answer'], names)}>"
    return f"{_key(_name_of(method))}({', '.join(_spell_parameters(method, names))}): {answer};"


def _answer(schema: Any, names: Names) -> str:
    return "void" if schema == {"type": "null"} else spell(schema, names)


def _spell_parameters(method: dict[str, Any], names: Names) -> Iterator[str]:
    for one in method["parameters"]:
        name = f"{one['name']}_" if one["name"] in _WORDS else one["name"]
        spelled = spell(one["schema"], names)
        if one["rest"]:
            yield f"...{name}: {_operand(spelled)}[]"
        else:
            yield f"{name}{'?' if one['optional'] else ''}: {spelled}"
