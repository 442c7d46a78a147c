"""Types at run time: values of the wire are checked and converted by an annotation, and written back by it.

pydantic does that, in its strict JSON mode, and is imported when the first annotation is met. JSON mode takes a JSON
text, which a value is turned into. Most never are: what is of the very type that a plain annotation names, ``int``,
``str | None`` or ``list[int]``, is taken as it is, so that a ``BigInt`` stays one. What no JSON has in it, ``bytes``
and what a deserializer of the user's has made, is compared with the annotation as the Python value that it is.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, NewType, Union, get_args, get_origin

from ..logs import shown
from ..messages.scalars import UNDEFINED, BigInt
from ..threads.interrupted import calls_user_code

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic.json_schema import GenerateJsonSchema

__all__ = ["Kinds", "Type", "Unfit", "describe_problems", "load_pydantic", "takes_anything", "with_bigints"]

_MOST_PROBLEMS = 20  # a list may have as many as it has items
_LONGEST_STEP = 100  # a key may be as long as a message
_LONGEST_TEXT = 500


class Unfit(ValueError):
    """A value does not fit its annotation.

    ``what`` is whose annotation it is. ``problems`` is a list of dicts: ``loc``, the steps into the value; ``type`` and
    ``msg``, pydantic's. There are 20 at most.
    """

    def __init__(self, what: str, problems: list[dict[str, Any]]) -> None:
        super().__init__(what, problems)
        self.what = what
        self.problems = problems

    def __str__(self) -> str:
        return f"{self.what}: {shown(describe_problems(self.problems), 1000)}"


def describe_problems(problems: list[dict[str, Any]]) -> str:
    """Return problems as one text, each after the steps to its place."""
    return "; ".join(": ".join(filter(None, (".".join(map(str, each["loc"])), each["msg"]))) for each in problems)


def load_pydantic() -> None:
    """Import what the extra ``typed`` installs.

    Raises:
        ImportError: It is not there; the text names the extra.
    """
    try:
        from pydantic import TypeAdapter  # noqa: F401 - version 1 has none
    except ImportError as error:
        raise ImportError("types at run time need pydantic, version 2: install ezez-ws[typed]") from error


class Type:
    """What one annotation takes and gives. Immutable; any thread may use it, and none should hold a lock: what it runs
    may be a validator of the user's, whose own exceptions pass through, but for ``ValueError`` and ``AssertionError``.

    Args:
        annotation: With its forward references resolved.
        what: Whose it is, as in ``parameter 'b' of add()``; error texts begin with it.
        strict: Whether it must have a JSON schema. Else any class in it takes its instances, those that a deserializer
            of the codec makes.

    Raises:
        TypeError: There is no schema for the annotation, or ``bytes`` in it, which travel as whole arguments only.
        ImportError: pydantic is not there.
    """

    __slots__ = ("_adapter", "_is_class", "_json_adapter", "_takes_whole", "_test", "kinds", "what")

    kinds: "Kinds"
    """The types of which a value is taken, and written, as it is, without a look into it."""

    def __init__(self, annotation: Any, what: str, strict: bool = True) -> None:
        load_pydantic()
        self.what = what
        self.kinds = _kinds(annotation)
        self._test = _test(annotation)
        self._adapter = _adapt(annotation, what, strict)
        self._json_adapter = self._adapter
        if get_origin(annotation) in _UNIONS and bytes in get_args(annotation):  # for which JSON mode takes a text
            others = tuple(part for part in get_args(annotation) if part is not bytes)
            self._json_adapter = _adapt(Union[others], what, strict)  # noqa: UP007 - of a tuple
        self._takes_whole = float in self.kinds and int not in self.kinds
        self._is_class = self._adapter.core_schema["type"] == "is-instance"
        if not self.kinds:
            self._check_schema(strict)

    def _check_schema(self, strict: bool) -> None:
        try:
            schema = self.schema("validation")
            self.schema("serialization")
        except TypeError:
            if strict:
                raise
            return
        parts = schema.get("anyOf", [schema])
        inside = [part for part in parts if part.get("format") != "binary"]
        if '"format": "binary"' in json.dumps([inside, schema.get("$defs")]):
            raise TypeError(f"{self.what}: bytes travel only as whole arguments, not in another value")

    def read(self, value: Any) -> Any:
        """Return what a value that the codec has decoded is by the annotation.

        Raises:
            Unfit: It is nothing by it.
        """
        if self._test is not None and self._test(value):
            return value
        if self._takes_whole and type(value) in _INTEGERS and _fits_a_float(value):
            return float(value)  # JavaScript writes 1.0 as 1
        return self._guard(self._read, value)

    def write(self, value: Any) -> Any:
        """Return what the codec can send of a value that is by the annotation.

        Raises:
            Unfit: It is not.
        """
        if self._test is not None and self._test(value):
            return value
        return self._guard(self._write, value)

    def schema(self, mode: Literal["validation", "serialization"]) -> dict[str, Any]:
        """Return the JSON schema of what is read, ``"validation"``, or written, ``"serialization"``.

        A ``BigInt`` has the format ``bigint``, ``bytes`` have ``binary``.

        Raises:
            TypeError: There is none.
        """
        try:
            return self._adapter.json_schema(mode=mode, schema_generator=_schema_generator())
        except Exception as error:
            raise TypeError(f"{self.what} has no JSON schema: {_first_line(error)}") from error

    @calls_user_code
    def _guard(self, convert: Callable[[Any], Any], value: Any) -> Any:
        try:
            converted = with_bigints(convert(value), value)
            if type(converted) is not float or not isinstance(value, int) or _fits_a_float(value):
                return converted
            problems = [_problem("float_type", "Input should be a number that a float can hold")]
        except RecursionError:
            problems = [_TOO_DEEP]
        except ValueError as error:
            problems = _problems(error)
        raise Unfit(self.what, problems)

    @calls_user_code
    def _read(self, value: Any) -> Any:
        if self._is_class:
            return self._adapter.validate_python(value, strict=True)
        try:
            text = _to_json(value)
        except (TypeError, ValueError):  # there is something in it that is no JSON, or has too many digits
            return self._read_custom(value)
        read = self._json_adapter.validate_json(text, strict=True)
        if type(read) is bytes:  # of a text
            return self._adapter.validate_python(value, strict=True)
        return read

    @calls_user_code
    def _read_custom(self, value: Any) -> Any:
        try:
            return self._adapter.validate_python(value, strict=True)
        except ValueError:
            if self._test is not None or not isinstance(value, (list, dict)):
                raise
            try:
                text = _custom_to_json(_without_undefined(value))
            except (TypeError, ValueError):
                text = ""
            if not text:
                raise
        return self._json_adapter.validate_json(text, strict=True)

    @calls_user_code
    def _write(self, value: Any) -> Any:
        checked = with_bigints(self._adapter.validate_python(value, strict=True), value)
        if type(checked) is bytes:
            return checked
        try:
            written = self._adapter.dump_python(checked, mode="json", by_alias=True, warnings="error")
        except ValueError:  # its text has the values: find the place, without them
            self._json_adapter.validate_json(
                self._adapter.dump_json(checked, by_alias=True, warnings=False), strict=True
            )
            raise Unfit(self.what, [_problem("value_error", "Value is not as annotated")]) from None
        return with_bigints(written, self._adapter.dump_python(checked, by_alias=True))


def _adapt(annotation: Any, what: str, strict: bool) -> "TypeAdapter[Any]":
    from pydantic import ConfigDict, PydanticSchemaGenerationError, TypeAdapter

    try:
        try:
            adapter: TypeAdapter[Any] = TypeAdapter(annotation)
        except PydanticSchemaGenerationError:
            if strict:
                raise
            adapter = TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
        adapter.rebuild(raise_errors=True)  # which it puts off where a name in it is not there yet
    except Exception as error:
        raise TypeError(f"{what} has no schema: {_first_line(error)}") from error
    return adapter


@cache
def _schema_generator() -> "type[GenerateJsonSchema]":
    from pydantic.json_schema import GenerateJsonSchema

    class Quiet(GenerateJsonSchema):
        """It warns of nothing: that a default is left out, say, which has no JSON."""

        ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - as its base has it

    return Quiet


def _fits_a_float(value: int) -> bool:
    try:
        return int(float(value)) == value
    except OverflowError:
        return False


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _problem(kind: str, text: str, steps: Iterable[int | str] = ()) -> dict[str, Any]:
    return {"loc": [_cut(step, _LONGEST_STEP) for step in steps], "type": kind, "msg": _cut(text, _LONGEST_TEXT)}


def _cut(text: Any, limit: int) -> Any:
    return text if not isinstance(text, str) or len(text) <= limit else f"{text[: limit - 1]}…"


_ABOUT_DEPTH = ("json_invalid", "recursion_depth_exceeded", "recursion_loop")  # the last in older versions
_TOO_DEEP = _problem("recursion_loop", "Nested too deep")


def _problems(error: ValueError) -> list[dict[str, Any]]:
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):  # a text with a lone surrogate, a number of too many digits
        return [_problem("value_error", " ".join(str(error).split()))]
    found = error.errors(include_url=False, include_context=False, include_input=False)
    if found[0]["type"] in _ABOUT_DEPTH and "recursion" in found[0]["msg"].lower():
        return [_TOO_DEEP]
    told = [_problem(each["type"], each["msg"], each["loc"]) for each in found[:_MOST_PROBLEMS]]
    if len(found) > _MOST_PROBLEMS:
        told[-1] = _problem("too_many_errors", f"and {len(found) - _MOST_PROBLEMS + 1} more")
    return told


def takes_anything(annotation: Any) -> bool:
    return _kinds(annotation) is ANYTHING


# -- plain annotations: what is taken as it is ------------------------------------------------------------------------


class _Anything:
    """The set of all types."""

    def __contains__(self, kind: type) -> bool:
        return True

    def issuperset(self, kinds: Any) -> bool:
        return True


Kinds = frozenset[type] | _Anything
ANYTHING = _Anything()

_INTEGERS = frozenset([int, BigInt])
_PLAIN: Mapping[Any, frozenset[type]] = {
    None: frozenset([NoneType]),
    int: _INTEGERS,
    **{kind: frozenset([kind]) for kind in (BigInt, NoneType, bool, bytes, dict, float, list, str)},
}
_UNIONS = (Union, UnionType)


def _kinds(annotation: Any) -> Kinds:
    """Return the types of which every instance is right, and stays as it is; none for what is not that plain."""
    while isinstance(annotation, NewType):
        annotation = annotation.__supertype__
    if annotation is Any or annotation is object:
        return ANYTHING
    if annotation is None or type(annotation) is type:
        return _PLAIN.get(annotation, frozenset())
    if get_origin(annotation) not in _UNIONS:
        return frozenset()
    parts = [_kinds(part) for part in get_args(annotation)]
    if ANYTHING in parts:
        return ANYTHING
    plain = [part for part in parts if isinstance(part, frozenset) and part]
    return frozenset().union(*plain) if len(plain) == len(parts) else frozenset()


def _test(annotation: Any) -> Callable[[Any], bool] | None:
    """Return what tells whether a value is right and stays as it is; ``None``: that is for pydantic to tell."""
    kinds = _kinds(annotation)
    if kinds:
        return lambda value: type(value) in kinds
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in _UNIONS:
        tests = [test for test in map(_test, parts) if test is not None]
        return (lambda value: any(test(value) for test in tests)) if len(tests) == len(parts) else None
    if origin is list and parts:
        return _test_items(list, parts[0], lambda value: value)
    if origin is dict and parts and parts[0] is str:
        return _test_items(dict, parts[1], dict.values)
    return None


def _test_items(kind: type, annotation: Any, items: Callable[[Any], Any]) -> Callable[[Any], bool] | None:
    kinds = _kinds(annotation)
    if kinds:  # without a call for each item
        return lambda value: type(value) is kind and kinds.issuperset(map(type, items(value)))
    test = _test(annotation)
    return test and (lambda value: type(value) is kind and all(map(test, items(value))))


# -- values as JSON ---------------------------------------------------------------------------------------------------


def _refuse(value: Any) -> Any:
    raise TypeError(f"{type(value).__name__} is no JSON")


def _custom_to_text(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _refuse(value)
    from pydantic_core import to_jsonable_python

    return to_jsonable_python(value)


_to_json = json.JSONEncoder(default=_refuse, check_circular=False, ensure_ascii=False).encode
_custom_to_json = json.JSONEncoder(default=_custom_to_text, check_circular=False, ensure_ascii=False).encode


def _without_undefined(value: Any) -> Any:
    """Return a copy as ``JSON.stringify`` takes it: without undefined properties, and with null for undefined items."""
    if type(value) is dict:
        return {key: _without_undefined(item) for key, item in value.items() if item is not UNDEFINED}
    if type(value) is list:
        return [_without_undefined(item) for item in value]
    return None if value is UNDEFINED else value


def with_bigints(made: Any, original: Any) -> Any:
    """Return what pydantic has made of a value, with the value's bigints, of which it has made plain ints.

    Dicts of its making are changed in place, and so are objects with attributes.
    """
    if made is original:
        return made
    if type(original) is BigInt:
        return original if type(made) is int and made == original else made
    if isinstance(original, dict):
        inside = made if type(made) is dict else getattr(made, "__dict__", {})
        for key in inside.keys() & original.keys() if type(inside) is dict else ():
            inside[key] = with_bigints(inside[key], original[key])
    elif isinstance(original, (list, tuple)) and isinstance(made, (list, tuple)) and len(made) == len(original):
        items = [with_bigints(*pair) for pair in zip(made, original, strict=True)]
        if type(made) is list:
            return items
        return made._make(items) if hasattr(made, "_make") else tuple(items)
    return made
