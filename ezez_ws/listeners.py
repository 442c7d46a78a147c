"""Who listens to which event."""

import threading
from typing import Any, Callable, Dict, List, NamedTuple, Optional, TypeVar, Union, overload

from .protocol import check_listened_name

__all__ = ["Listeners"]

Listener = Callable[..., Any]
L = TypeVar("L", bound=Listener)


class _Entry(NamedTuple):
    listener: Listener
    once: bool


class Listeners:
    """The listeners of one object, in the order of their registration.

    One lock guards the table; any thread may call any method, and nothing else is locked under it. A dispatch works
    on what ``take`` returned, so that registering and removing inside a listener takes effect from the next event.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_event: Dict[str, List[_Entry]] = {}

    @overload
    def add(self, event: str, listener: L, once: bool) -> L: ...

    @overload
    def add(self, event: str, listener: None, once: bool) -> Callable[[L], L]: ...

    def add(self, event: str, listener: Optional[L], once: bool) -> Union[L, Callable[[L], L]]:
        """Register a listener, or return a decorator that does."""
        event = check_listened_name(event)
        if listener is None:

            def decorate(listener: L) -> L:
                return self.add(event, _check_listener(event, listener), once)

            return decorate
        _check_listener(event, listener)
        with self._lock:
            self._by_event.setdefault(event, []).append(_Entry(listener, once))
        return listener

    def remove(self, event: str, listener: Optional[Listener]) -> None:
        """Remove a listener as often as it is registered, or all of an event; unknown ones are no error."""
        event = check_listened_name(event)
        if listener is not None:
            _check_listener(event, listener)
        with self._lock:
            entries = list(self._by_event.get(event, ()))
        # a listener's own __eq__ is user code: it runs without the lock
        removed = {id(entry) for entry in entries if listener is None or entry.listener == listener}
        with self._lock:
            kept = [entry for entry in self._by_event.pop(event, ()) if id(entry) not in removed]
            if kept:
                self._by_event[event] = kept

    def take(self, event: str) -> List[Listener]:
        """Return the listeners of an event that comes in now; those of ``once`` are removed by that."""
        with self._lock:
            entries = self._by_event.get(event)
            if entries is None:
                return []
            kept = [entry for entry in entries if not entry.once]
            if not kept:
                del self._by_event[event]
            elif len(kept) < len(entries):
                self._by_event[event] = kept
            return [entry.listener for entry in entries]


def _check_listener(event: str, listener: L) -> L:
    if not callable(listener):
        raise TypeError(f"the listener of {event!r} must be callable, not {type(listener).__name__}")
    return listener
