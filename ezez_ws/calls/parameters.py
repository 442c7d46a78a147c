"""How a function takes the arguments of an event: so many of them, each by its annotation.

What the object itself takes counts, not what ``functools.wraps`` shows: a wrapper has no annotations here.
"""

import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from types import FunctionType, GenericAlias, MethodType, SimpleNamespace, UnionType
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Union, get_args, get_origin

from ..errors import InvalidArgs
from ..messages.scalars import UNDEFINED, UndefinedType
from ..options import check_callable
from ..threads.interrupted import calls_user_code
from .types import Kinds, Type, Unfit, describe_problems, load_pydantic, takes_anything

if TYPE_CHECKING:
    import inspect

__all__ = ["REQUIRED", "Argument", "Parameters"]

Reader = Callable[[Sequence[Any]], Sequence[Any]]

REQUIRED: Any = object()  # the default of an argument that has none


class Argument(NamedTuple):
    """One argument; ``type`` is ``None`` where anything is taken, ``default`` is ``REQUIRED`` where there is none."""

    name: str
    type: Type | None
    by_name: bool
    default: Any

    @property
    def kinds(self) -> "Kinds | _Given":
        return _GIVEN if self.type is None else self.type.kinds


class _Given:
    """The set of all types but that of an argument that is not given."""

    def __contains__(self, kind: type) -> bool:
        return kind is not UndefinedType


_GIVEN = _Given()


class Parameters:
    """What a function takes and returns, found out once. Immutable.

    Args:
        function: Anything callable; what has no signature takes and returns anything.
        skip: So many leading parameters are not arguments of the event.
        validate: Whether annotations are checked. ``None``: where pydantic is there, and a class without a schema takes
            its instances. ``True``: they must be, and each must have a schema. ``False``: they are not.

    Raises:
        TypeError: The function can never be called so: a generator function, ``async def``, a required keyword-only
            parameter, too few parameters. An annotation cannot be resolved, or has no schema; the text names it.
        ImportError: ``validate`` is ``True`` and pydantic is not there.
    """

    __slots__ = ("arguments", "name", "read", "rest", "returns", "write")

    name: str
    arguments: tuple[Argument, ...]
    rest: Argument | None
    """``*args``, which takes what is left."""
    returns: Type | None
    read: Reader | None
    """Turns the arguments of an event into those of the call, ``None`` where there is nothing to check.

    Raises ``InvalidArgs``, and what a validator of the user's raises, but for ``ValueError`` and ``AssertionError``.
    """
    write: Callable[[Any], Any] | None
    """Turns what the function returns into what is sent, ``None`` where that is the same. Raises ``Unfit``."""

    def __init__(self, function: Any, skip: int, validate: bool | None) -> None:
        self.name = f"{_name_of(function)}()"
        if validate:
            load_pydantic()
        signature = _signature_of(function)
        parameters = signature.parameters.values()
        taken = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
        _check_calling(self.name, function, taken, skip)
        annotations = _Annotations(self.name, function, validate)
        self.arguments = tuple(map(annotations.argument, taken[skip:]))
        self.rest = next((annotations.argument(each) for each in parameters if each.kind is each.VAR_POSITIONAL), None)
        self.returns = annotations.answer(signature)
        anything = not self.arguments and self.rest is not None and self.rest.type is None
        self.read = None if anything else self._make_reader()
        self.write = None if self.returns is None else self.returns.write

    def _make_reader(self) -> Reader:
        convert = self._read
        kinds = [argument.kinds for argument in self.arguments]
        least = sum(argument.default is REQUIRED for argument in self.arguments)
        most = sys.maxsize if self.rest is not None and self.rest.type is None else len(kinds)

        def count(args: Sequence[Any]) -> Sequence[Any]:
            if least <= len(args) <= most:
                for value in args:
                    if value is UNDEFINED:
                        break
                else:
                    return args
            return convert(args)

        def check(args: Sequence[Any]) -> Sequence[Any]:
            if least <= len(args) <= most:
                for value, known in zip(args, kinds, strict=False):
                    if type(value) not in known:
                        break
                else:
                    return args
            return convert(args)

        return count if all(argument.type is None for argument in self.arguments) else check

    @calls_user_code
    def _read(self, args: Sequence[Any]) -> Sequence[Any]:
        return self._convert(_without_trailing(args), Type.read, lambda argument: argument.default)

    @calls_user_code
    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Any]:
        """Return the arguments for the wire of a call that is written like this: bound, checked and written.

        A default is sent, too, as this side and the other may have different ones; where its annotation does not take
        it, it counts as not given, as ``UNDEFINED`` does.

        Raises:
            TypeError: A call like this does not fit.
            InvalidArgs: A value does not fit its annotation.
        """
        converted = self._convert(self._arrange(args, kwargs), Type.write, _written_default)
        return list(_without_trailing(converted))

    def _arrange(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Any]:
        """Return the arguments in their places, ``UNDEFINED`` where none is given."""
        places = {argument.name: place for place, argument in enumerate(self.arguments) if argument.by_name}
        given = [*args, *[UNDEFINED] * (len(self.arguments) - len(args))]
        if len(given) > len(self.arguments) and self.rest is None:
            raise TypeError(f"{self.name} takes {len(self.arguments)} arguments, not {len(args)}")
        for name, value in kwargs.items():
            if name not in places:
                raise TypeError(f"{self.name} got an unexpected keyword argument {name!r}")
            if places[name] < len(args):
                raise TypeError(f"{self.name} got multiple values for argument {name!r}")
            given[places[name]] = value
        for name, *_, default in self.arguments[len(args) :]:
            if default is REQUIRED and name not in kwargs:
                raise TypeError(f"{self.name} misses a required argument: {name!r}")
        return given

    def _convert(
        self, args: Sequence[Any], turn: Callable[[Type, Any], Any], default_of: Callable[[Argument], Any]
    ) -> list[Any]:
        converted, problems = list(args), []
        for place, value in enumerate(args):
            argument = self._argument_at(place)
            if argument is None:
                text = f"Unexpected positional argument: at most {place} can be given, and {len(args)} were"
                problems.append({"loc": [place], "type": "unexpected_positional_argument", "msg": text})
                break
            if value is UNDEFINED and argument is not self.rest:
                converted[place] = default_of(argument)
                if converted[place] is REQUIRED:
                    problems.append(_missing(argument))
            elif argument.type is not None:
                try:
                    converted[place] = turn(argument.type, value)
                except Unfit as unfit:
                    loc = [argument.name] if argument is not self.rest else [argument.name, place - len(self.arguments)]
                    problems += [{**each, "loc": [*loc, *each["loc"]]} for each in unfit.problems]
        problems += [_missing(argument) for argument in self.arguments[len(args) :] if argument.default is REQUIRED]
        if problems:
            raise InvalidArgs("invalid-args", describe_problems(problems), problems)
        return converted

    def _argument_at(self, place: int) -> Argument | None:
        return self.arguments[place] if place < len(self.arguments) else self.rest


def _missing(argument: Argument) -> dict[str, Any]:
    return {"loc": [argument.name], "type": "missing_argument", "msg": "Missing required argument"}


def _without_trailing(args: Sequence[Any]) -> Sequence[Any]:
    """Return the arguments without those at the end that are not given."""
    count = len(args)
    while count and args[count - 1] is UNDEFINED:
        count -= 1
    return args[:count]


def _written_default(argument: Argument) -> Any:
    if argument.type is None or argument.default is REQUIRED:
        return argument.default
    try:
        return argument.type.write(argument.default)
    except Unfit:
        return UNDEFINED


# -- what a function says of itself -----------------------------------------------------------------------------------


class _Annotations:
    """The annotations of a function, as far as they are checked."""

    def __init__(self, name: str, function: Any, validate: bool | None) -> None:
        inner = _function_of(function)
        self._name = name
        self._validate = validate
        self._checked = validate is not False and not hasattr(inner, "__wrapped__")
        self._globals: dict[str, Any] = getattr(inner, "__globals__", {})
        self._type_params = getattr(inner, "__type_params__", ())

    def argument(self, parameter: "inspect.Parameter") -> Argument:
        kind = None
        if parameter.annotation is not parameter.empty and self._is_checked():
            kind = self._type(f"parameter {parameter.name!r} of {self._name}", parameter.annotation)
        default = REQUIRED if parameter.default is parameter.empty else parameter.default
        return Argument(parameter.name, kind, parameter.kind is parameter.POSITIONAL_OR_KEYWORD, default)

    def answer(self, signature: "inspect.Signature") -> Type | None:
        if signature.return_annotation is signature.empty or not self._is_checked():
            return None
        return self._type(f"the return value of {self._name}", signature.return_annotation)

    def _is_checked(self) -> bool:
        if self._checked and self._validate is None:
            try:
                load_pydantic()
            except ImportError:
                self._checked = False
        return self._checked

    def _type(self, what: str, annotation: Any) -> Type | None:
        resolved = _answer_of(self._resolve(what, annotation))
        return None if takes_anything(resolved) else Type(resolved, what, strict=bool(self._validate))

    def _resolve(self, what: str, annotation: Any) -> Any:
        """Return an annotation without forward references; each for itself, as what is skipped may have some."""
        if sys.version_info < (3, 11):
            annotation = _with_references(annotation)
        holder = SimpleNamespace(__annotations__={"it": annotation}, __type_params__=self._type_params)
        try:
            return typing.get_type_hints(holder, self._globals, include_extras=True)["it"]
        except Exception as error:
            raise TypeError(f"{what}: its annotation cannot be resolved: {error}") from error


def _with_references(annotation: Any) -> Any:
    """Return an annotation in which the texts in ``list["Point"]`` are references, which CPython 3.10 forgets."""
    if not isinstance(annotation, GenericAlias):
        return annotation
    parts = (typing.ForwardRef(part) if isinstance(part, str) else part for part in annotation.__args__)
    origin: Any = annotation.__origin__
    return origin[tuple(map(_with_references, parts))]


def _answer_of(annotation: Any) -> Any:
    """Return what a ``Future`` gives that an annotation has in it."""
    if annotation is NoReturn or annotation is Future:
        return Any
    if get_origin(annotation) is Future:
        return get_args(annotation)[0]
    if get_origin(annotation) in (Union, UnionType):
        return Union[tuple(map(_answer_of, get_args(annotation)))]  # noqa: UP007 - of a tuple
    return annotation


def _function_of(function: Any) -> Any:
    """Return the function that a call runs."""
    while isinstance(function, partial):
        function = function.func
    made: Any = function
    if isinstance(function, type):
        function = made.__init__
    elif not isinstance(function, (FunctionType, MethodType, staticmethod)):
        function = type(function).__call__
    return getattr(function, "__func__", function)


def _signature_of(function: Any) -> "inspect.Signature":
    """Return what a callable takes itself; anything where nobody knows."""
    import inspect  # here, as it is slow to import

    options: dict[str, Any] = {}
    if sys.version_info >= (3, 14):  # names that are for type checkers only are no error before they are needed
        import annotationlib

        options["annotation_format"] = annotationlib.Format.FORWARDREF
    try:
        return inspect.signature(function, follow_wrapped=False, **options)
    except (TypeError, ValueError):
        return inspect.Signature([inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL)])


def _check_calling(name: str, function: Any, taken: "list[inspect.Parameter]", skip: int) -> None:
    """Check that a function can be called with the fewest arguments that it may get, and runs then."""
    required = sum(each.default is each.empty for each in taken)
    names = [*(each.name for each in taken), *["client"] * skip]
    check_callable(name, function, f"{name[:-2]}({', '.join(names[: max(required, skip)])})")


def _name_of(function: Any) -> str:
    while isinstance(function, partial):
        function = function.func
    named = function if hasattr(function, "__qualname__") else type(function)
    return str(named.__qualname__).rpartition("<locals>.")[2]
