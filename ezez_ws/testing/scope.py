"""The test that runs, which closes at its end what is made in it; and what a test may name as a server."""

from typing import Any, Protocol, TypeAlias

__all__ = ["Closable", "Scope", "Target", "close_at_end", "enter", "leave", "url_of"]


class _HasURL(Protocol):
    @property
    def url(self) -> str | Any: ...


Target: TypeAlias = str | _HasURL
"""A URL, or what has one: a server that is started, or a ``Link``."""


class Closable(Protocol):
    """What is to be closed; idempotent."""

    def close(self) -> object: ...


class Scope(Protocol):
    """A test, from its beginning to its end."""

    def close_at_end(self, one: Closable) -> None:
        """Close it at the test's end, before all that was given before."""


_scopes: list[Scope] = []  # of the whole process: a test may make things on a thread of its own


def enter(scope: Scope) -> None:
    """Begin a test."""
    _scopes.append(scope)


def leave(scope: Scope) -> None:
    """End it."""
    _scopes.remove(scope)


def close_at_end(one: Closable) -> None:
    """Have something closed at the end of the test that runs; where there is none, it is for its owner to close."""
    if _scopes:
        _scopes[-1].close_at_end(one)


def url_of(target: Target) -> str:
    """Return the URL that a test means. ``ValueError``: a server that has none, or not yet."""
    if isinstance(target, str):
        return target
    url: Any = getattr(target, "url", None)
    if not isinstance(url, str):
        what = "has no port of its own" if hasattr(target, "url") else "has no url"
        raise ValueError(f"{target!r} {what}: give the URL that clients connect to")
    if url.partition("://")[2].partition("/")[0].endswith(":0"):
        raise ValueError(f"{target!r} is not started: its port is not known yet")
    return url
