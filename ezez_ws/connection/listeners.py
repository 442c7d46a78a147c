"""Who listens to which event."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import EllipsisType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, TypeVar, overload

from ..logs import limited
from ..messages.protocol import Ids, check_listened_name
from ..options import check_callable
from ..threads.fork import ForkGuard, Uncopied
from ..threads.interrupted import make_lock
from .replies import Pending, ReplyFunction

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["NO_LISTENERS", "Handler", "Listener", "Listeners", "Listening"]

Listener: TypeAlias = Callable[[list[Any], ReplyFunction, Ids], object]
"""What ``on`` takes, but for a server's: ``listener(args, reply, ids)``."""

AnyListener = Callable[..., Any]  # a server's takes the client, too
A = TypeVar("A", bound=AnyListener)
L = TypeVar("L", bound=Listener)


_MOST_TOLD = 100  # names that are told of, as a peer can make up any number


class _WithDefault(Protocol):
    """A lambda that keeps something by a default, ``room=room``: mypy does not take it for a ``Callable`` without."""

    def __call__(self, args: list[Any], reply: ReplyFunction, ids: Ids, default: Any = ..., /) -> object: ...


_MEANT = {
    "connect": "on_auth_ok (a client has on_connect, too)",
    "connection": "on_auth_ok",
    "disconnect": "on_disconnect",
    "error": "on_error",
    "*": "on_message",
}
"""Names that other libraries make events of, and the options that do that here."""


class Handler(Protocol):
    """The one function that answers an event; ``calls/handlers.py`` makes it."""

    @property
    def function(self) -> Callable[..., Any]:
        """What the user has given."""

    def __call__(self, connection: "Connection", event: str, args: list[Any], pending: Pending) -> None: ...


_NO_HANDLERS: Mapping[str, Handler] = {}  # one for all: most connections have none of their own


class _Entry(NamedTuple):
    listener: AnyListener
    once: bool


class _Listeners:
    """The listeners of one event, in order. Never changed."""

    __slots__ = ("entries", "functions", "has_once")

    def __init__(self, entries: Sequence[_Entry]) -> None:
        self.entries = entries
        self.functions = tuple(entry.listener for entry in entries)
        self.has_once = any(entry.once for entry in entries)


class Listeners:
    """The listeners of one object, in the order of their registration, and its handlers.

    One lock guards every change of the table; any thread may call any method, and nothing else is locked under it. What
    the tables hold is never changed, only replaced, so a dispatch looks an event up without: it works on what it has
    found, and registering and removing inside a listener takes effect from the next event. Where ``has_once`` it calls
    ``take``.
    """

    _called = "args, reply, ids"
    _told: frozenset[str] = frozenset()  # the names that a warning has been given for; guarded by the lock

    def __init__(self, called: str | None = None) -> None:
        if called is not None:
            self._called = called  # with what a listener is called
        self._lock = make_lock()
        self.by_event: dict[str, _Listeners] = {}
        self.handlers = _NO_HANDLERS  # never changed, only replaced, so it may be looked into without the lock
        self._changes: list[Callable[[], object]] = []  # that are to be made; appended to without the lock

    def add(self, event: str, listener: A | EllipsisType, once: bool) -> A | Callable[[A], A]:
        """Register a listener, or return a decorator that does, for ``...``: ``None`` is most likely a mistake."""
        event = check_listened_name(event)
        return (
            partial(self._add, event, once) if isinstance(listener, EllipsisType) else self._add(event, once, listener)
        )

    def _add(self, event: str, once: bool, listener: A) -> A:
        _check_listener(event, listener)
        check_callable(f"the listener of {event!r}", listener, f"listener({self._called})")
        self._change(lambda: self._replace(event, [*self._entries(event), _Entry(listener, once)]))
        self._look_at_name("on", event)
        return listener

    def _look_at_name(self, method: str, event: str) -> None:
        """Warn of a name that another library makes an event of."""
        option = _MEANT.get(event)
        if option is not None and self.tells(event):
            text = "%s(%r): no event of this name comes by itself; what is meant is most likely the option %s"
            limited.tell(logging.WARNING, ("name", event), text, method, event, option, extra={"event": event})

    def tells(self, event: str) -> bool:
        """Whether a word about a name is due, which it is once."""
        with self._lock:
            due = event not in self._told and len(self._told) < _MOST_TOLD
            if due:
                self._told |= {event}
            return due

    def add_handler(self, event: str, handler: Handler) -> None:
        """Register the handler of an event; ``ValueError`` where it has one."""
        refused: list[Handler] = []

        def add() -> None:
            if event in self.handlers:
                refused.append(handler)
            else:
                self.handlers = {**self.handlers, event: handler}

        self._change(add)
        if refused:
            raise ValueError(f"event {event!r} has a handler already; off({event!r}) removes it")
        self._look_at_name("handler", event)

    def _change(self, change: Callable[[], object]) -> None:
        """Change the table, holding the lock; in a signal handler that has interrupted a change, right after that."""
        self._changes.append(change)
        if self._lock._is_owned():
            return
        while True:
            with self._lock:  # in any case: another thread may be about to make it
                while self._changes:
                    self._changes.pop(0)()
            if not self._changes:
                return

    def remove(self, event: str, listener: AnyListener | None) -> None:
        """Remove a listener as often as it is registered, or all of an event; unknown ones are no error.

        The event's handler is removed as they are.
        """
        event = check_listened_name(event)
        if listener is not None:
            _check_listener(event, listener)
        with self._lock:
            entries, handler = self._entries(event), self.handlers.get(event)
        if handler is not None and (listener is None or handler.function == listener):
            self._change(partial(self._remove_handler, event, handler))
        # a listener's own __eq__ is user code: it runs without the lock
        removed = {id(entry) for entry in entries if listener is None or entry.listener == listener}
        self._change(
            lambda: self._replace(event, [entry for entry in self._entries(event) if id(entry) not in removed])
        )

    def _remove_handler(self, event: str, handler: Handler) -> None:
        """Requires holding the lock."""
        self.handlers = {name: other for name, other in self.handlers.items() if (name, other) != (event, handler)}

    def __bool__(self) -> bool:
        """Whether anybody listens to anything, or handles it."""
        return bool(self.by_event or self.handlers)

    def __contains__(self, event: str) -> bool:
        """Whether anybody listens to an event, or handles it."""
        return event in self.by_event or event in self.handlers

    def take(self, event: str) -> tuple[AnyListener, ...]:
        """Return the listeners of an event that comes in now; those of ``once`` are removed by that."""
        known = self.by_event.get(event)
        if known is None:
            return ()
        if not known.has_once:
            return known.functions
        taken: list[AnyListener] = []
        self._change(partial(self._take, event, taken))  # a closure would cost each look-up its cells
        return tuple(taken)

    def _take(self, event: str, taken: list[AnyListener]) -> None:
        """Put the listeners of an event into ``taken``, and remove those of ``once``. Requires holding the lock."""
        entries = self._entries(event)
        self._replace(event, [entry for entry in entries if not entry.once])
        taken.extend(entry.listener for entry in entries)

    def _entries(self, event: str) -> Sequence[_Entry]:
        """Requires holding the lock."""
        known = self.by_event.get(event)
        return () if known is None else known.entries

    def _replace(self, event: str, entries: Sequence[_Entry]) -> None:
        """Requires holding the lock."""
        if entries:
            self.by_event[event] = _Listeners(entries)
        else:
            self.by_event.pop(event, None)


NO_LISTENERS = Listeners()
"""What a connection has before it has any of its own, as most never do. Nothing is ever added."""


class Listening(Uncopied):
    """What servers, their clients and clients have in common: registering listeners. Any thread may call it.

    A listener is called as ``listener(args, reply, ids)``, a server's as ``listener(client, args, reply, ids)``, on the
    connection's thread; a server's after those of the client itself. Those of a client outlive a reconnect.

    Servers and clients may be subclassed, so what is ours in them has two underscores before its name, or ``_ezez_``
    where a file of ours beside the class's needs it.
    """

    _ezez_listeners: Listeners
    _ezez_fork_guard: ForkGuard

    @overload
    def on(self, event: str, listener: Listener) -> Listener: ...
    @overload
    def on(self, event: str, listener: _WithDefault) -> Listener: ...  # type: ignore[overload-cannot-match]
    @overload
    def on(self, event: str) -> Callable[[L], L]: ...
    def on(self, event: str, listener: L | EllipsisType = ...) -> L | Callable[[L], L]:
        """Listen to an event. Also as a decorator: ``@client.on(event)``."""
        self._ezez_fork_guard.check()
        return self._ezez_listeners.add(event, listener, once=False)

    @overload
    def once(self, event: str, listener: Listener) -> Listener: ...
    @overload
    def once(self, event: str, listener: _WithDefault) -> Listener: ...  # type: ignore[overload-cannot-match]
    @overload
    def once(self, event: str) -> Callable[[L], L]: ...
    def once(self, event: str, listener: L | EllipsisType = ...) -> L | Callable[[L], L]:
        """Listen to the next event of that name only; on a server, whoever sends it. Also as a decorator."""
        self._ezez_fork_guard.check()
        return self._ezez_listeners.add(event, listener, once=True)

    def off(self, event: str, listener: AnyListener | None = None) -> None:
        """Remove a listener, as often as it is registered, or all listeners of an event; and its handler likewise."""
        self._ezez_fork_guard.check()
        self._ezez_listeners.remove(event, listener)


def _check_listener(event: str, listener: AnyListener) -> None:
    if not callable(listener):
        raise TypeError(f"the listener of {event!r} must be callable, not {type(listener).__name__}")
