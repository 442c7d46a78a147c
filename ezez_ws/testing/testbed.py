"""What a test has, in whichever framework: servers, clients, expected errors, and a look at what is left.

``begin`` → the test → ``close``, in the framework's way, of all that was made, the last first → ``check`` → ``end``.
"""

import re
import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from ..client import EZEZWebSocketClient
from ..server import EZEZWebsocketServer
from .leftovers import awaited_replies, look_until_none, open_sockets, sockets_left, threads_left
from .scope import Closable, Target, enter, leave, url_of
from .told import ErrorLog, ExpectedError

__all__ = ["CONNECT_TIMEOUT", "Testbed"]

S = TypeVar("S", bound=EZEZWebsocketServer[Any])

CONNECT_TIMEOUT = 5.0

_EZEZ_GRACE = 5.0  # seconds for the library's own threads to end after the test
_GRACE = 1.0  # the same for all else that may just be about to


class Testbed:
    """One test's. ``close_later(one.close)`` is to call it at the test's end, in the reverse order."""

    __test__ = False  # pytest takes no class for tests that is named as if it were

    def __init__(self, close_later: Callable[[Callable[[], object]], object]) -> None:
        self._close_later = close_later
        self._allowed: list[re.Pattern[str]] = []
        self._errors = ErrorLog()
        self._threads = set(threading.enumerate())
        self._sockets = open_sockets()
        self._made: list[EZEZWebsocketServer[Any] | EZEZWebSocketClient] = []
        self._awaited: list[str] | None = None  # when the first of them is closed

    def allow(self, patterns: Iterable[str]) -> None:
        """Do not fail for what matches one of these. ``TypeError``, ``ValueError``: they are no regular expressions."""
        if isinstance(patterns, str):  # whose letters would allow everything
            raise TypeError(f"allowed_leftovers is a tuple of regular expressions, not the str {patterns!r}")
        for one in patterns:
            try:
                self._allowed.append(re.compile(one))
            except (re.error, TypeError) as error:
                raise ValueError(f"allowed_leftovers: {one!r} is no regular expression: {error}") from None

    def begin(self) -> None:
        """Begin the test."""
        self._errors.begin()
        enter(self)

    def end(self) -> None:
        """End it, whatever has happened."""
        leave(self)
        self._errors.end()

    def start(self, server: S) -> S:
        """Start a server, and return it."""
        if not isinstance(server, EZEZWebsocketServer):
            what = f"the class {server.__name__}" if isinstance(server, type) else type(server).__name__
            raise TypeError(f"start() takes an EZEZWebsocketServer, not {what}")
        self._keep(server)
        server.start()
        return server

    def connect(
        self, server_or_url: Target, *, auth: Any = "", timeout: float = CONNECT_TIMEOUT, **options: Any
    ) -> EZEZWebSocketClient:
        """Make a client, and connect it."""
        client = EZEZWebSocketClient(url_of(server_or_url), auth=auth, **options)
        self._keep(client)
        client.connect(timeout)
        return client

    def expect_error(self, kind: type[BaseException] = Exception, text: str = "") -> ExpectedError:
        """Take an error of a listener."""
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise TypeError(f"expect_error() takes the class of an exception, not {kind!r}")
        return self._errors.expect(kind, text)

    def close_at_end(self, one: Closable) -> None:
        """See ``Scope``."""
        self._close_later(one.close)

    def _keep(self, one: "EZEZWebsocketServer[Any] | EZEZWebSocketClient") -> None:
        self._made.append(one)
        self._close_later(lambda: self._close(one))

    def _close(self, one: "EZEZWebsocketServer[Any] | EZEZWebSocketClient") -> None:
        if self._awaited is None:  # now, as with its connection nobody waits any more
            self._awaited = look_until_none(lambda: awaited_replies(self._made), _GRACE)
        one.close()

    def check(self) -> None:
        """Fail for what is left: an ``AssertionError`` that names all of it."""
        __tracebackhide__ = True  # pytest shows what is left, and not how that was found
        threads = threads_left(self._threads, _EZEZ_GRACE, _GRACE)
        left = [f"the thread {one.name!r}{' (a daemon)' if one.daemon else ''}" for one in threads]
        left += sockets_left(self._sockets, _GRACE if not left else 0.0)
        left += self._awaited or []
        left = [line for line in left if not any(one.search(line) for one in self._allowed)]
        left += self._errors.left()
        self._made.clear()
        if left:
            raise AssertionError("the test has left behind:\n" + "\n".join(f"- {line}" for line in left))
