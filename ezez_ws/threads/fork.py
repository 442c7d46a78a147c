"""What belongs to one process must not be used by another."""

import contextlib
import os
import weakref
from collections.abc import Callable
from typing import Any, NoReturn

__all__ = ["ForkGuard", "Uncopied", "after_fork_in_child", "close_in_child"]

_forks = 0
"""How often this process has come out of a fork: to ask the system for its identifier takes ten times as long."""

_renewals: list[Callable[[], None]] = []

_inheritance: "weakref.WeakSet[Any]" = weakref.WeakSet()


def after_fork_in_child(renew: Callable[[], None]) -> None:
    """Have ``renew`` called in each forked child, before anything else of ours; for modules' own objects, for ever."""
    _renewals.append(renew)


def close_in_child(owned: Any) -> None:
    """Have each forked child close its copy of a socket of ours, or of what has sockets, as long as there is one.

    That says nothing to the peer. But the connection would outlive the parent as long as a child has a copy of it. It
    takes no lock, so that a fork may come at any time, and keeps nothing alive.
    """
    _inheritance.add(owned)


def _begin_anew() -> None:
    global _forks, _inheritance
    _forks += 1
    inherited, _inheritance = list(_inheritance), weakref.WeakSet()
    for owned in inherited:
        with contextlib.suppress(OSError):
            owned.close()
    for renew in _renewals:
        renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


class Uncopied:
    """What has a connection, or threads, can be neither copied nor pickled, and says so."""

    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        what = f"{type(self).__name__} belongs to the connections and threads of this process"
        raise TypeError(f"{what}: it cannot be copied or pickled, and nor can what refers to it")


class ForkGuard:
    """Remembers which process something belongs to. A forked child has neither the threads nor the locks of its parent.

    ``what`` is for the error's text. Where it is not ``bound`` it belongs to this process from ``bind`` on only.
    """

    __slots__ = ("_forks", "_what")

    def __init__(self, what: str, bound: bool = True) -> None:
        self._forks: int | None = _forks if bound else None
        self._what = what

    def bind(self) -> None:
        """Let it belong to this process, unless it belongs to one."""
        if self._forks is None:
            self._forks = _forks

    def check(self) -> None:
        """Raise ``RuntimeError`` in another process."""
        if self._forks != _forks and self._forks is not None:
            raise RuntimeError(f"this {self._what} belongs to the parent process; make a new one after os.fork()")

    def foreign(self) -> bool:
        """Tell whether this is another process than the one that it belongs to."""
        return self._forks is not None and self._forks != _forks
