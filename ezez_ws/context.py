"""What a server remembers about one client: a mapping that several threads may use at once."""

import copy
import reprlib
import threading
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, MutableMapping, ValuesView
from typing import TYPE_CHECKING, Any, Generic, overload

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    C = TypeVar("C", bound=Mapping[str, Any], default=dict[str, Any], covariant=True)
else:  # where no bare ``Context`` needs the default, which typing has from 3.13 on
    from typing import TypeVar

    C = TypeVar("C", bound=Mapping[str, Any], covariant=True)

__all__ = ["C", "Context"]

S = TypeVar("S", bound="Context[Any]")
T = TypeVar("T")

_MISSING = object()


class Context(Generic[C], MutableMapping[str, Any]):
    """A ``dict`` with a lock of its own.

    Every method may be called from any thread; each is atomic, and waits while another thread is inside
    ``with context:``. A value is better changed in place inside ``with``, as in ``context["rooms"].append("lobby")``.

    ``with context:`` holds the lock, which is re-entrant: other threads see all of the block's changes or none; an
    exception inside it undoes nothing. No operation holds the locks of two contexts, but where one lies in the other.

    ``Context[C]`` is for type checkers: to them ``with`` and ``snapshot`` give a ``C``, a ``TypedDict``. What ``with``
    gives is the context itself, which does what a dict does, but is none: what is sent is its ``snapshot()``.

    ``snapshot``, ``copy.deepcopy``, ``repr`` and ``==`` call the values' own methods while they hold the lock, which
    keeps a list still that another thread changes inside ``with``. Nothing else runs code of yours under the lock, not
    even the destructor of a value that is replaced.

    ``keys()``, ``values()``, ``items()`` and iteration go over the state of one moment, and are not live views: they
    never raise because another thread changes the context. (``dict(context)`` and ``{**context}`` are Python's own
    loops of single operations; ``snapshot()`` is the one that no change can come into.)

    Beware of ``wait_reply`` inside ``with context:``: where the answer needs a listener on another thread that uses the
    context, both wait for each other until the time-out. Take what you need out, leave the block, then wait.

    It is copied as a dict is, and pickles as its ``snapshot()``; a copy has a lock of its own.

    Args:
        initial: what to start with; copied deeply, so that nothing is shared with it. ``TypeError``: it cannot be.
    """

    def __init__(self, initial: Mapping[str, Any] | None = None) -> None:
        if initial is not None and not isinstance(initial, Mapping):
            raise TypeError(f"initial must be a mapping such as a dict, not {type(initial).__name__}")
        self.__lock = threading.RLock()  # guards __data, and by agreement what lies in it
        given = {} if initial is None else initial
        self.__data: dict[str, Any] = given.snapshot() if isinstance(given, Context) else copy.deepcopy(dict(given))

    if not TYPE_CHECKING:  # else a type checker would take every attribute for one that is there

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_"):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            raise AttributeError(f'a context has items, not attributes: read client.context["{name}"]')

        def __setattr__(self, name: str, value: Any) -> None:
            if not name.startswith("_"):
                raise AttributeError(f'a context has items, not attributes: write client.context["{name}"] = ...')
            super().__setattr__(name, value)

    @overload  # a dict is a plain one, whatever a checker makes of the values of a literal
    def __enter__(self: "Context[dict[str, Any]]") -> dict[str, Any]: ...
    @overload
    def __enter__(self) -> C: ...
    def __enter__(self) -> Any:
        self.__lock.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.__lock.release()

    @overload
    def snapshot(self: "Context[dict[str, Any]]") -> dict[str, Any]: ...
    @overload
    def snapshot(self) -> C: ...
    def snapshot(self) -> Any:
        """Return a deep copy as a plain dict, which shares nothing with the context.

        A context inside itself is that dict there. A value that cannot be copied (a lock, a socket) is a ``TypeError``.
        """
        plain: dict[str, Any] = {}
        self.__deepcopy_into(plain, {id(self): plain})
        return plain

    # Single operations. What gets replaced or removed is kept in a local name until the lock is free again: its
    # destructor is somebody's code, which may want another lock.

    def __getitem__(self, key: str) -> Any:
        with self.__lock:
            return self.__data[key]

    def __setitem__(self, key: str, value: Any) -> None:
        with self.__lock:
            replaced = self.__data.get(key)
            self.__data[key] = value
        del replaced

    def __delitem__(self, key: str) -> None:
        self.pop(key)

    def __len__(self) -> int:
        with self.__lock:
            return len(self.__data)

    def __iter__(self) -> Iterator[str]:
        return iter(self.__shallow())

    def __reversed__(self) -> Iterator[str]:
        return reversed(self.__shallow())

    def copy(self) -> dict[str, Any]:
        """Return a plain dict, which shares the values with the context; ``snapshot`` shares nothing."""
        return self.__shallow()

    def keys(self) -> KeysView[str]:
        return self.__shallow().keys()

    def values(self) -> ValuesView[Any]:
        return self.__shallow().values()

    def items(self) -> ItemsView[str, Any]:
        return self.__shallow().items()

    def pop(self, key: str, default: Any = _MISSING) -> Any:
        with self.__lock:
            return self.__data.pop(key) if default is _MISSING else self.__data.pop(key, default)

    def popitem(self) -> tuple[str, Any]:
        """Remove and return the ``(key, value)`` that was added last, as a dict does; ``KeyError`` when empty."""
        with self.__lock:
            return self.__data.popitem()

    def setdefault(self, key: str, default: Any = None) -> Any:
        with self.__lock:
            return self.__data.setdefault(key, default)

    def update(self, other: Any = (), /, **more: Any) -> None:
        """Take over all of ``other`` (a mapping, or pairs) and ``more`` at once; nothing where reading it raises."""
        changes = self.__plain(other)
        changes.update(more)
        with self.__lock:
            replaced = [self.__data.get(key) for key in changes]
            self.__data.update(changes)
        del replaced

    def clear(self) -> None:
        with self.__lock:
            removed, self.__data = self.__data, {}
        del removed

    def __ior__(self: S, other: Any) -> S:
        self.update(other)
        return self

    def __or__(self, other: Any) -> dict[str, Any]:
        return self.__shallow() | self.__plain(other) if isinstance(other, Mapping) else NotImplemented

    def __ror__(self, other: Any) -> dict[str, Any]:
        return self.__plain(other) | self.__shallow() if isinstance(other, Mapping) else NotImplemented

    def __eq__(self, other: object) -> bool:
        if other is self:
            return True
        if not isinstance(other, Mapping):
            return NotImplemented
        plain = self.__plain(other)
        with self.__lock:
            return self.__data == plain

    @reprlib.recursive_repr("{...}")
    def __repr__(self) -> str:
        with self.__lock:
            return repr(self.__data)

    def __copy__(self) -> "Context[C]":
        duplicate: Context[C] = Context()
        duplicate.__data = self.__shallow()
        return duplicate

    def __deepcopy__(self, memo: dict[int, Any]) -> "Context[C]":
        duplicate: Context[C] = Context()
        memo[id(self)] = duplicate
        self.__deepcopy_into(duplicate.__data, memo)
        return duplicate

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (), None, None, iter(self.snapshot().items())

    def _ezez_look(self, read: Callable[[dict[str, Any]], T]) -> T | None:
        """Return what ``read`` makes of the values under the lock; ``None`` where another thread holds that now."""
        if not self.__lock.acquire(blocking=False):
            return None
        try:
            return read(self.__data)
        finally:
            self.__lock.release()

    def __shallow(self) -> dict[str, Any]:
        with self.__lock:
            return dict(self.__data)

    def __deepcopy_into(self, target: dict[str, Any], memo: dict[int, Any]) -> None:
        with self.__lock:
            for key, value in self.__shallow().items():  # a value's __deepcopy__ may change this context
                target[key] = copy.deepcopy(value, memo)

    @staticmethod
    def __plain(other: Any) -> dict[str, Any]:
        """What ``dict(other)`` makes, in one step where ``other`` is a context."""
        return other.__shallow() if isinstance(other, Context) else dict(other)
