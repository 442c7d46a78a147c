"""What the fixture of the pytest plugin gives to a test."""

import contextlib
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from ..client import EZEZWebSocketClient
from ..server import EZEZWebsocketServer
from .scope import Target
from .testbed import CONNECT_TIMEOUT, Testbed
from .told import ExpectedError

__all__ = ["Fixture"]

S = TypeVar("S", bound=EZEZWebsocketServer[Any])


class Fixture:
    """The pytest fixture ``ezez_ws``, which comes with the library: what ``ServerTestCase`` is in unittest.

        def test_an_echo(ezez_ws):
            server = ezez_ws.start(make_server())
            assert ezez_ws.connect(server).call("echo", [1], timeout=5) == 1

    When the test ends, all is closed, the last first. The test has an error, beside its own failure if there is one,
    where it leaves behind a thread, a socket, an awaited reply, or an error of a listener, handler or callback that
    nobody has read: one that neither ``expect_error`` took, nor ``assertLogs`` saw, nor ``on_error`` was given.
    Fixtures that make threads or sockets of their own and are older than this one may keep them.
    """

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._testbed = Testbed(self._stack.callback)

    def start(self, server: S) -> S:
        """Start a server, and return it; give it ``port=0``, and it has a free one.

        ``OSError``: its port cannot be bound. ``TypeError``: it is no server.
        """
        return self._testbed.start(server)

    def connect(
        self,
        server_or_url: Target,
        *,
        auth: str | Callable[[], str] | None = "",
        timeout: float = CONNECT_TIMEOUT,
        **options: Any,
    ) -> EZEZWebSocketClient:
        """Connect a client, and return it when it is authenticated; see ``ServerTestCase.connect``."""
        return self._testbed.connect(server_or_url, auth=auth, timeout=timeout, **options)

    def expect_error(self, kind: type[BaseException] = Exception, text: str = "") -> ExpectedError:
        """Expect one error of a listener, handler or callback; see ``ServerTestCase.expect_error``."""
        return self._testbed.expect_error(kind, text)

    def allow_leftovers(self, *patterns: str) -> None:
        """Let the test leave what matches these regular expressions, as the failure names it."""
        self._testbed.allow(patterns)

    def __enter__(self) -> "Fixture":
        self._testbed.begin()
        self._stack.callback(self._testbed.check)  # the first to be added is the last to run
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._stack.close()
        finally:
            self._testbed.end()
