"""What two sides agree on, written as a class whose abstract methods are the events.

Each class derived from ``Contract`` that declares some is read once, where it is defined: into a table of ``Method``,
which proxies, implementations and descriptions are made from. Pydantic is imported then, not before.
"""

from abc import ABC
from collections.abc import Callable, Mapping
from types import FunctionType, NoneType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, TypeVar

from ..errors import RemoteError
from ..messages.protocol import check_event_name
from ..messages.scalars import UNDEFINED

if TYPE_CHECKING:
    from typing_extensions import Self

    from .parameters import Parameters

__all__ = ["Contract", "ContractOf", "Method", "event", "methods_of", "notice"]

F = TypeVar("F", bound=Callable[..., Any])
T_contra = TypeVar("T_contra", contravariant=True)

_VARARGS, _VARKEYWORDS = 0x04, 0x08  # inspect.CO_VARARGS, inspect.CO_VARKEYWORDS


class Method(NamedTuple):
    """One event of a contract."""

    name: str
    event: str
    is_notice: bool
    function: Any
    parameters: "Parameters"

    def __str__(self) -> str:
        return self.parameters.name

    def read_answer(self, answer: Any) -> Any:
        """Return what an answer is by the return annotation; ``RemoteError`` where it is nothing by that."""
        returns = self.parameters.returns
        if returns is None:
            return answer
        try:
            return returns.read(None if answer is UNDEFINED else answer)  # which JavaScript's functions give
        except ValueError as unfit:
            problems = getattr(unfit, "problems", None)
            raise RemoteError(
                "invalid-answer", f"the answer to {self.event!r} does not fit: {unfit}", problems
            ) from None


class Contract(ABC):  # noqa: B024 - what derives from it has abstract methods
    """What two sides agree on: the base of a class whose abstract methods are events.

    The event is the method's name with ``-`` for ``_``, or what ``@event`` says; one that is a ``@notice`` is sent and
    never answered. Arguments are positional on the wire. A class that implements a contract derives from it, and adds
    no events.

    Defining a contract needs the extra ``ezez-ws[typed]``, else it is an ``ImportError``. A method that cannot be
    described is a ``TypeError`` that names it and the parameter, at the class's definition.
    """

    _ezez_methods: ClassVar[Mapping[str, Method]] = {}
    """Those that the class declares and inherits, whether they are implemented or not."""

    if TYPE_CHECKING:

        @classmethod
        def _ezez_takes(cls, implementation: Self) -> None: ...

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        methods: dict[str, Method] = {}
        for base in reversed(cls.__mro__[1:]):
            methods.update(vars(base).get("_ezez_methods", {}))
        for name, declared in vars(cls).items():
            if getattr(declared, "__isabstractmethod__", False):
                methods[name] = _read(cls, name, declared)
            elif name not in methods and (hasattr(declared, "_ezez_event") or hasattr(declared, "_ezez_notice")):
                raise TypeError(f"{cls.__qualname__}.{name}() is no event of a contract: it lacks @abstractmethod")
        _check_events(cls, methods)
        cls._ezez_methods = methods


class ContractOf(Protocol[T_contra]):
    """The class that is the contract of ``T``, for type checkers.

    ``type[T]`` is not that: mypy wants a class there that can be made, and both checkers take any other for an
    implementation, as ``T`` may be ``object``.
    """

    def _ezez_takes(self, implementation: T_contra) -> None: ...


def notice(method: F) -> F:
    """Make a method of a contract one that is sent and never answered: a decorator, with ``@abstractmethod``."""
    return _mark(method, "notice", "_ezez_notice", True)


def event(name: str) -> Callable[[F], F]:
    """Name the event of a method of a contract: a decorator, with ``@abstractmethod``."""
    checked = check_event_name(name)
    return lambda method: _mark(method, "event", "_ezez_event", checked)


def _mark(method: F, decorator: str, attribute: str, value: Any) -> F:
    if not isinstance(method, FunctionType):
        raise TypeError(f"@{decorator} is for a method of a contract, not for {type(method).__name__}")
    setattr(method, attribute, value)
    return method


def methods_of(contract: Any) -> Mapping[str, Method]:
    """Return the methods of a contract, by their names; ``TypeError`` where it is none."""
    if not (isinstance(contract, type) and issubclass(contract, Contract)):
        raise TypeError(f"contract must be a class derived from Contract, not {contract!r:.80}")
    if not contract.__abstractmethods__:
        what = "implements a contract, and is none itself" if contract._ezez_methods else "has no abstract methods"
        raise TypeError(f"contract must be a class with abstract methods; {contract.__qualname__} {what}")
    return contract._ezez_methods


def _read(cls: type, name: str, function: Any) -> Method:
    """Read the declaration of a method."""
    from .parameters import Parameters  # with it come inspect and pydantic, which take long to import

    what = f"{cls.__qualname__}.{name}()"
    if not isinstance(function, FunctionType):
        raise TypeError(f"{what}: an event of a contract is a plain method, and this is a {type(function).__name__}")
    parameters = Parameters(function, 1, True)
    code = function.__code__
    by_name = [*code.co_varnames[code.co_argcount :][: code.co_kwonlyargcount]]
    if code.co_flags & _VARKEYWORDS:
        by_name.append(code.co_varnames[code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & _VARARGS)])
    if by_name:
        raise TypeError(f"parameter {by_name[0]!r} of {what} goes by name only; arguments are positional on the wire")
    is_notice = getattr(function, "_ezez_notice", False)
    if is_notice and parameters.returns is not None and parameters.returns.kinds != frozenset([NoneType]):
        raise TypeError(f"{what} is a notice, which has no answer: its return annotation must be None")
    named = getattr(function, "_ezez_event", None) or check_event_name(name.replace("_", "-"))
    return Method(name, named, is_notice, function, parameters)


def _check_events(cls: type, methods: Mapping[str, Method]) -> None:
    by_event: dict[str, Method] = {}
    for method in methods.values():
        other = by_event.setdefault(method.event, method)
        if other is not method:
            raise TypeError(
                f"{cls.__qualname__}: {other.name}() and {method.name}() are the same event {method.event!r}"
            )
