"""The base of a ``unittest`` suite."""

import contextlib
import unittest
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from ..client import EZEZWebSocketClient
from ..server import EZEZWebsocketServer
from .scope import Target
from .testbed import CONNECT_TIMEOUT, Testbed
from .told import ExpectedError

__all__ = ["ServerTestCase"]

S = TypeVar("S", bound=EZEZWebsocketServer[Any])


class ServerTestCase(unittest.TestCase):
    """Starts servers and connects clients, closes all at the end of each test, and fails it for what it leaves behind.

    That is: a thread that has not ended, a socket that is open, a message whose reply is still awaited, and an error of
    a listener, handler or callback that nobody has read. Read is what ``expect_error`` took, what ``assertLogs`` saw,
    and what was given to ``on_error``. The look comes after ``tearDown`` and all cleanups, whose order is the usual
    one; a test that has failed already fails once more, never instead. Threads have 5 seconds to end, all else has one.

    A subclass may have its own ``setUp`` and ``tearDown``, without calling ours, and other bases beside this one.
    """

    allowed_leftovers: Sequence[str] = ()
    """Regular expressions of what may be left, as the failure names it: ``(r"127\\.0\\.0\\.1:5432", "'pool-")``."""

    __testbed: Testbed | None = None

    def start(self, server: S) -> S:
        """Start a server, and return it; give it ``port=0``, and it has a free one.

        ``OSError``: its port cannot be bound. ``TypeError``: it is no server.
        """
        return self.__bed("start()").start(server)

    def connect(
        self,
        server_or_url: Target,
        *,
        auth: str | Callable[[], str] | None = "",
        timeout: float = CONNECT_TIMEOUT,
        **options: Any,
    ) -> EZEZWebSocketClient:
        """Connect a client, and return it when it is authenticated.

        Args:
            server_or_url: a server that is started, a ``Link``, or a URL.
            auth: the key; ``None``: without authentication.
            timeout: seconds.
            options: those of ``EZEZWebSocketClient``, which are what they are in a program.

        Raises:
            AuthRejected, ConnectionFailed, ConnectTimeout: as from ``EZEZWebSocketClient.connect``.
            ValueError: the server has no port, or is not started.
        """
        return self.__bed("connect()").connect(server_or_url, auth=auth, timeout=timeout, **options)

    def expect_error(self, kind: type[BaseException] = Exception, text: str = "") -> ExpectedError:
        """Expect one error of a listener, handler or callback: one that has been logged in this test, or will be.

        The test fails where none comes until its end. As a context manager it waits for it at the end of the block;
        ``wait(timeout)`` of what is returned waits at once, and returns the error.

        Args:
            kind: its class, or a base of that.
            text: what its text contains.
        """
        return self.__bed("expect_error()").expect_error(kind, text)

    def run(self, result: unittest.TestResult | None = None) -> unittest.TestResult | None:
        """Run the test, and look at what is left."""
        with self.__looking():
            return super().run(result)

    def debug(self) -> None:
        """Run the test without collecting its result, and look at what is left."""
        with self.__looking():
            super().debug()

    @contextlib.contextmanager
    def __looking(self) -> Iterator[None]:
        self.__testbed = testbed = Testbed(self.addCleanup)
        testbed.begin()
        try:
            self.addCleanup(testbed.check)  # the first to be added is the last to run
            self.addCleanup(lambda: testbed.allow(self.allowed_leftovers))  # where it fails this test, if it is wrong
            yield
        finally:
            self.__testbed = None
            testbed.end()

    def __bed(self, what: str) -> Testbed:
        if self.__testbed is None:
            raise RuntimeError(f"{what} is for a test that runs: call it in setUp or in the test, not in setUpClass")
        return self.__testbed
