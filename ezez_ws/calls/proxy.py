"""The other side of a contract as an object: its methods send the events, and return the answers."""

from collections.abc import Callable
from functools import update_wrapper
from typing import Any, Protocol, TypeVar

from ..options import check_seconds
from .contract import ContractOf, Method, methods_of

__all__ = ["Sender", "make_proxy", "submit_method"]

T = TypeVar("T")


class Sender(Protocol):
    """What a proxy sends with: a client, a client of a server, a ``RemoteClient``."""

    def send(self, event: str, args: Any = ()) -> Any: ...
    def call(self, event: str, args: Any = (), timeout: float | None = None) -> Any: ...


def make_proxy(sender: Sender, contract: ContractOf[T], timeout: float | None = None) -> T:
    """Return an object that is a ``contract``, each of whose methods is a ``call``, or for a notice a ``send``.

    Args:
        timeout: seconds for each answer; ``None`` as in ``call``.
    """
    methods_of(contract)
    check_seconds("timeout", timeout, optional=True, zero=True)
    kind = vars(contract).get("_ezez_proxy") or _make_class(contract)
    proxy: Any = object.__new__(kind)  # what the contract's own ``__init__`` wants is not ours to give
    proxy._ezez_sender, proxy._ezez_timeout = sender, timeout
    return proxy  # type: ignore[no-any-return]


def _make_class(contract: Any) -> Any:
    """Make the class of a contract's proxies, once. What is not abstract in the contract works in them, too."""
    body: dict[str, Any] = {name: _make_method(method) for name, method in methods_of(contract).items()}
    body |= {"__module__": contract.__module__, "__qualname__": f"proxy of {contract.__qualname__}"}
    body["__repr__"] = lambda self: f"<proxy of {contract.__qualname__} by {self._ezez_sender!r}>"
    contract._ezez_proxy = type(contract)(f"proxy of {contract.__name__}", (contract,), body)
    return contract._ezez_proxy


def _make_method(method: Method) -> Callable[..., Any]:
    event, bind, read = method.event, method.parameters.bind, method.read_answer

    def ask(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        return read(self._ezez_sender.call(event, bind(args, kwargs), self._ezez_timeout))

    def tell(self: Any, /, *args: Any, **kwargs: Any) -> None:
        self._ezez_sender.send(event, bind(args, kwargs))

    function = update_wrapper(tell if method.is_notice else ask, method.function)
    vars(function).pop("__isabstractmethod__")
    function._ezez_method = method  # type: ignore[attr-defined]
    return function


def submit_method(sender: Any, bound: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a method of one of the sender's proxies without waiting; return the future of its answer.

    ``TypeError``: it is none, or what it is given does not fit; ``InvalidArgs`` as the call itself.
    """
    method = getattr(bound, "_ezez_method", None)
    proxy: Any = getattr(bound, "__self__", None)
    if proxy is None or method is None:
        raise TypeError(f"submit() takes the name of an event, or a method of a proxy, not {bound!r:.80}")
    if proxy._ezez_sender is not sender:
        raise ValueError(f"submit(): {method} is of the proxy of another client, {proxy._ezez_sender!r}")
    if method.is_notice:
        raise TypeError(f"submit(): {method} is a notice, which has no answer; call it")
    return sender._ezez_submit(method.event, method.parameters.bind(args, kwargs), method.read_answer)
