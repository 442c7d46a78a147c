"""A contract's methods become handlers, and its notices listeners.

Those of a client, and of one client on a server, belong to an object that is there already. A server makes one for each
connection, by a factory, before ``on_auth_ok``; its handlers find it by the client that they are called with.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial, update_wrapper
from types import FunctionType
from typing import Any, TypeVar

from ..errors import CallError
from ..logs import name_of
from ..options import check_callable
from ..threads.interrupted import calls_user_code
from .contract import ContractOf, Method, methods_of
from .handlers import FunctionHandler, Handling
from .parameters import Parameters

__all__ = ["CONTRACT_EVENT", "Factory", "Implementing", "implement_by"]

T = TypeVar("T")

CONTRACT_EVENT = "ezez-ws:contract"
"""Asks a server for a contract that it implements, by its name; the answer is the JSON that ``essence`` makes."""


class Implementing(Handling):
    """What clients, and their counterparts on a server, have in common: contracts that they implement."""

    def implement(self, contract: ContractOf[T], implementation: T) -> None:
        """Answer the events of a contract by the methods of an object; notices are listened to.

        Raises:
            TypeError: the class is no contract, or the object lacks a method, or has one that does not take the
                arguments.
            ValueError: an event has a handler already; then none is registered.
        """
        self._ezez_fork_guard.check()
        methods = methods_of(contract)
        if isinstance(implementation, type):
            raise TypeError(f"implement() takes an object here, not the class {implementation.__qualname__}")
        _check(methods, implementation, type(implementation).__qualname__)
        _register(self, methods, lambda name: getattr(implementation, name))


class _Making:
    """What a factory still makes: it asks the client back, and calls that come meanwhile wait for it."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []  # in the order in which they came

    def put_off(self, call: Callable[[], Any]) -> "Future[Any]":
        future: Future[Any] = Future()

        @calls_user_code
        def act() -> None:
            try:
                future.set_result(call())
            except BaseException as error:
                future.set_exception(error if isinstance(error, Exception) else RuntimeError(repr(error)))

        self.waiting.append(act)
        return future


class Factory:
    """Makes what implements a contract, for each connection of a server, on its thread.

    That is once: when it is authenticated, or for the first event of the contract, where that comes before.
    """

    def __init__(self, contract: Any, factory: Any) -> None:
        self.methods = methods_of(contract)
        self.contract = contract
        self._factory = factory
        if isinstance(factory, type):
            _check(self.methods, factory, factory.__qualname__)
        elif not callable(factory):
            raise TypeError(f"the factory must be a class or another callable, not {type(factory).__name__}")
        check_callable("the factory", factory, "factory(client)")
        self.__module__, _, self.__qualname__ = name_of(factory).rpartition(".")  # for what is told of its errors

    def __call__(self, client: Any) -> None:
        if self not in client._ezez_implementations:
            self._make(client)

    @calls_user_code
    def _make(self, client: Any) -> None:
        making, made = _Making(), None
        client._ezez_implementations = {**client._ezez_implementations, self: making}
        try:
            one = self._factory(client)
            _check(self.methods, one, f"{type(one).__qualname__}, which {name_of(self._factory)} has made,")
            made = one
        finally:
            client._ezez_implementations = {**client._ezez_implementations, self: made}
            for act in making.waiting:
                act()

    def find(self, name: str) -> Callable[..., Any]:
        """Return what calls a method of the object of a client."""

        def call(client: Any, *args: Any) -> Any:
            if self not in client._ezez_implementations:
                self._make(client)
            made = client._ezez_implementations[self]
            if type(made) is _Making:
                return made.put_off(partial(call, client, *args))
            if made is None:
                raise RuntimeError(f"{name_of(self._factory)} has made nothing for this client")
            return getattr(made, name)(*args)

        return update_wrapper(call, self.methods[name].function)


def implement_by(server: Any, factories: list[Factory], contract: Any, factory: Any) -> None:
    """Have a server answer the events of a contract, by what ``factory(client)`` makes for each connection."""
    one = Factory(contract, factory)
    _register(server, one.methods, one.find)
    factories[:] = [*(other for other in factories if other.contract is not contract), one]
    if CONTRACT_EVENT not in server._ezez_listeners.handlers:
        function = partial(_tell_contract, factories)
        handler = FunctionHandler(function, Parameters(function, 1, False), True)
        server._ezez_listeners.add_handler(CONTRACT_EVENT, handler)


def _register(owner: Handling, methods: Mapping[str, Method], find: Callable[[str], Callable[..., Any]]) -> None:
    """Register what ``find`` has for each method: all of them, or none."""
    listeners, gives = owner._ezez_listeners, owner._ezez_gives_client
    done: list[tuple[str, Any]] = []
    try:
        for method in sorted(methods.values(), key=lambda method: method.is_notice):  # only handlers can be refused
            function = find(method.name)
            if method.is_notice:
                function = _hear_client(method, function) if gives else _hear(method, function)
                listeners.add(method.event, function, once=False)
            else:
                listeners.add_handler(method.event, FunctionHandler(function, method.parameters, gives))
            done.append((method.event, function))
    except BaseException:
        for registered in done:
            listeners.remove(*registered)
        raise


def _hear(method: Method, function: Callable[..., Any]) -> Callable[..., Any]:
    read = method.parameters.read or _as_they_are

    def hear(args: list[Any], reply: Any, ids: Any) -> None:
        function(*read(args))

    return _named(hear, function)


def _hear_client(method: Method, function: Callable[..., Any]) -> Callable[..., Any]:
    read = method.parameters.read or _as_they_are

    def hear(client: Any, args: list[Any], reply: Any, ids: Any) -> None:
        done = function(client, *read(args))
        if isinstance(done, Future):  # put off
            done.add_done_callback(lambda done: client._ezez_connection.call(done.result))

    return _named(hear, function)


def _named(hear: Callable[..., Any], function: Any) -> Callable[..., Any]:
    """Give a listener the name of what it calls, for what is told of its errors."""
    hear.__module__, _, hear.__qualname__ = name_of(function).rpartition(".")
    return hear


def _as_they_are(args: Sequence[Any]) -> Sequence[Any]:
    return args


def _check(methods: Mapping[str, Method], implementation: Any, what: str) -> None:
    """Check that an object, or a class, has the methods of a contract, and that those take its arguments."""
    found = {name: getattr(implementation, name, None) for name in methods}
    missing = [name for name, one in found.items() if not callable(one) or getattr(one, "__isabstractmethod__", False)]
    if missing:
        raise TypeError(f"{what} lacks {', '.join(f'{name}()' for name in missing)}")
    for name, method in methods.items():
        given = [one.name for one in method.parameters.arguments]
        if isinstance(implementation, type):
            if (
                type(next(vars(base)[name] for base in implementation.__mro__ if name in vars(base)))
                is not FunctionType
            ):
                continue  # what it takes is known when there is an object
            given.insert(0, "self")
        check_callable(f"{what}.{name}()", found[name], f"{name}({', '.join(given)})")


def _tell_contract(factories: list[Factory], client: Any, name: Any = None) -> str:
    """Answer ``CONTRACT_EVENT``."""
    from .describe import essence  # with inspect and pydantic

    contracts = [one.contract for one in factories]
    for contract in contracts:
        if contract.__name__ == name:
            return essence(contract)
    known = ", ".join(sorted(contract.__name__ for contract in contracts))
    raise CallError("unknown-contract", f"the server implements {known}, and no contract of this name")
