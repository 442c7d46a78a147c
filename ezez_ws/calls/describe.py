"""A contract as values of JSON: what its other forms, its fingerprint and a comparison are made from.

    {"name", "description", "methods": [METHOD...], "schemas": {name: schema}}
    METHOD: {"name", "event", "notice", "description", "parameters": [PARAMETER...], "answer": schema or None}
    PARAMETER: {"name", "optional", "rest", "schema"}, and "default" where it has one that JSON can have

A schema refers to one of ``schemas`` by ``#/components/schemas/NAME``. Parameters are described as they are taken,
answers as they are given.
"""

import hashlib
import inspect
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .contract import Method, methods_of
from .parameters import REQUIRED, Argument

__all__ = ["REFERENCE", "describe", "differences", "essence", "fingerprint", "map_schema"]

REFERENCE = "#/components/schemas/"

_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_OF_DECIMALS = "^(?!^[-+.]*$)"  # how the pattern of a decimal number begins, in versions that have one
_INPUT, _OUTPUT = "-Input", "-Output"

Schema = Any
"""A dict, or ``True`` for anything and ``False`` for nothing."""

_SCHEMAS = ("items", "additionalItems", "additionalProperties", "propertyNames", "contains", "not")
_LISTS = ("items", "prefixItems", "anyOf", "oneOf", "allOf")
_MAPS = ("properties", "patternProperties", "$defs")


def map_schema(change: Callable[[dict[str, Any]], Schema], schema: Schema) -> Schema:
    """Return a schema with every schema in it, itself last, replaced by what ``change`` makes of it."""
    if not isinstance(schema, dict):
        return schema
    made = dict(schema)
    for key, value in schema.items():
        if key in _LISTS and isinstance(value, list):
            made[key] = [map_schema(change, one) for one in value]
        elif key in _MAPS:
            made[key] = {name: map_schema(change, one) for name, one in value.items()}
        elif key in _SCHEMAS:
            made[key] = map_schema(change, value)
    return change(made)


def describe(contract: type) -> dict[str, Any]:
    """Describe a contract; ``TypeError`` where it is none."""
    methods = methods_of(contract)
    schemas, shared = _schemas_of(methods.values())
    return {
        "name": contract.__name__,
        "description": _documentation(vars(contract).get("__doc__")),
        "methods": [_describe_method(method, schemas) for method in methods.values()],
        "schemas": shared,
    }


def _describe_method(method: Method, schemas: dict[int, Schema]) -> dict[str, Any]:
    return {
        "name": method.name,
        "event": method.event,
        "notice": method.is_notice,
        "description": _documentation(method.function.__doc__),
        "parameters": [
            {
                "name": one.name,
                "optional": one.default is not REQUIRED,
                "rest": one is method.parameters.rest,
                "schema": schemas.get(id(one.type), {}),
                **_default(one),
            }
            for one in _arguments(method)
        ],
        "answer": None if method.is_notice else schemas.get(id(method.parameters.returns), {}),
    }


def _arguments(method: Method) -> list[Argument]:
    rest = method.parameters.rest
    return [*method.parameters.arguments, *([] if rest is None else [rest])]


def _default(argument: Argument) -> dict[str, Any]:
    """Return the default of an argument, where JSON has it."""
    if argument.default is REQUIRED:
        return {}
    try:
        default = argument.default if argument.type is None else argument.type.write(argument.default)
        json.dumps(default)
    except (TypeError, ValueError):
        return {}
    return {"default": default}


def _schemas_of(methods: Iterable[Method]) -> tuple[dict[int, Schema], dict[str, Schema]]:
    """Return the schemas of all types, by the ``id`` of each, and those that they share."""
    from pydantic import TypeAdapter

    wanted: list[tuple[int, Any, Any]] = []
    for method in methods:
        for one in _arguments(method):
            wanted += [] if one.type is None else [(id(one.type), "validation", one.type._adapter)]
        returns = method.parameters.returns
        wanted += [] if returns is None else [(id(returns), "serialization", returns._adapter)]
    made, shared = TypeAdapter.json_schemas(wanted, ref_template=REFERENCE + "{model}")
    definitions = {name: map_schema(_plain, one) for name, one in shared.get("$defs", {}).items()}
    names = _merge(definitions)
    schemas = {key: _rename(map_schema(_plain, schema), names) for (key, _), schema in made.items()}
    return schemas, {names.get(name, name): _rename(one, names) for name, one in sorted(definitions.items())}


def _merge(definitions: dict[str, Schema]) -> dict[str, str]:
    """Return what is to be called by one name: what pydantic has as ``X-Input`` and ``X-Output``, and is the same."""
    same = {name.removesuffix(_INPUT) for name in definitions if name.endswith(_INPUT)}
    while True:
        names = {plain + suffix: plain for plain in same for suffix in (_INPUT, _OUTPUT)}
        bodies = {name: _rename(one, names) for name, one in definitions.items()}
        others = {plain for plain in same if bodies[plain + _INPUT] != bodies.get(plain + _OUTPUT)}
        if not others:
            return names
        same -= others


def _rename(schema: Schema, names: dict[str, str]) -> Schema:
    def change(one: dict[str, Any]) -> Schema:
        name = one.get("$ref", "").removeprefix(REFERENCE)
        return {**one, "$ref": REFERENCE + names[name]} if name in names else one

    return map_schema(change, schema)


def _documentation(text: str | None) -> str:
    return inspect.cleandoc(text or "")


def _whole(bound: Any) -> Any:
    """Return a bound as JavaScript writes it: some versions of pydantic have 0.0 for 0."""
    return int(bound) if isinstance(bound, float) and bound.is_integer() else bound


def _plain(schema: dict[str, Any]) -> Schema:
    """Return a schema without what pydantic adds that says nothing more, or is another in each version of it."""
    kept = {key: _whole(value) if key in _BOUNDS else value for key, value in schema.items() if key != "title"}
    if str(kept.get("pattern", "")).startswith(_OF_DECIMALS):
        del kept["pattern"]
    if "discriminator" in kept:
        kept["discriminator"] = {"propertyName": kept["discriminator"]["propertyName"]}
    return kept


# -- what counts ------------------------------------------------------------------------------------------------------


def essence(contract: type) -> str:
    """Return what two sides have to agree on, as JSON, the same wherever the contract is: names and schemas."""
    described = describe(contract)
    methods = {}
    for method in described["methods"]:
        parameters = [_bare_parameter(one) for one in method["parameters"]]
        answer = {} if method["notice"] else {"answer": _bare(method["answer"])}
        methods[method["name"]] = {"event": method["event"], "parameters": parameters, **answer}
    schemas = {name: _bare(schema) for name, schema in described["schemas"].items()}
    return json.dumps({"methods": methods, "schemas": schemas}, sort_keys=True, separators=(",", ":"))


def _bare_parameter(parameter: dict[str, Any]) -> dict[str, Any]:
    """Return a parameter without its default, which the caller sends along."""
    kept = {key: parameter[key] for key in ("name", "optional", "rest")}
    return {**kept, "schema": _bare(parameter["schema"])}


def _bare(schema: Schema) -> Schema:
    """Return a schema without what is only told to people."""
    return map_schema(lambda one: {k: v for k, v in one.items() if k not in ("description", "examples")}, schema)


def fingerprint(contract: type) -> str:
    """Return 64 hex digits that two contracts share if, and only if, their names and schemas are the same."""
    return hashlib.sha256(essence(contract).encode()).hexdigest()


def differences(here: Any, there: Any, place: str = "") -> Iterator[str]:
    """Say in a line each where two values of JSON differ."""
    if isinstance(here, list) and isinstance(there, list):
        parts = [{f"[{index}]": one for index, one in enumerate(side)} for side in (here, there)]
    elif isinstance(here, dict) and isinstance(there, dict):
        parts = [{f".{key}" if place else str(key): one for key, one in side.items()} for side in (here, there)]
    else:
        if _shown(here) != _shown(there):  # so that 1, 1.0 and true are not the same
            yield f"{place}: here {_shown(here)}, there {_shown(there)}"
        return
    ours, theirs = parts
    for key in [*ours, *(key for key in theirs if key not in ours)]:
        if key not in theirs:
            yield f"{place}{key}: only here: {_shown(ours[key])}"
        elif key not in ours:
            yield f"{place}{key}: only there: {_shown(theirs[key])}"
        else:
            yield from differences(ours[key], theirs[key], place + key)


def _shown(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
