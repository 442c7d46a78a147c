"""What the server's tests share: servers, peers and gates that a test opens and need not close."""

import threading
from collections.abc import Callable
from typing import Any

from ezez_ws import EZEZServerClient, EZEZWebSocketClient, EZEZWebsocketServer
from ezez_ws.testing import Link
from tests.rawpeer import RawPeer
from tests.support import EZEZTestCase, eventually

__all__ = ["KEY", "Calls", "Gate", "Result", "ServingTestCase"]

KEY = "secret"
TIMEOUT = 10.0


class Calls:
    """Records what callbacks were called with, in the order of the calls, whatever thread they run on."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._calls: list[tuple[Any, ...]] = []

    def add(self, *call: Any) -> None:
        with self._changed:
            self._calls.append(call)
            self._changed.notify_all()

    def named(self, name: str, *picked: int) -> Callable[..., None]:
        """Return a callback that records its name and the arguments at ``picked``."""

        def record(*args: Any) -> None:
            self.add(name, *(args[index] for index in picked))

        return record

    @property
    def seen(self) -> list[tuple[Any, ...]]:
        with self._changed:
            return list(self._calls)

    def wait(self, count: int = 1) -> list[tuple[Any, ...]]:
        """Wait until there are so many, and return them all."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._calls) >= count, TIMEOUT):
                raise AssertionError(f"expected {count} calls, there are {self._calls!r}")
            return list(self._calls)


class Gate:
    """A place in a callback where it stays until the test lets it go on."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self._open = threading.Event()

    def __call__(self, *_: Any) -> None:
        self.entered.set()
        if not self._open.wait(50.0):
            raise AssertionError("nobody has opened the gate")

    def wait_entered(self) -> None:
        if not self.entered.wait(TIMEOUT):
            raise AssertionError("nobody has come to the gate")

    def open(self) -> None:
        self._open.set()


class ServingTestCase(EZEZTestCase):
    """Closes, at the end of each test, first the peers, then the gates, then the servers."""

    def setUp(self) -> None:
        self._gates: list[Gate] = []

    def gate(self) -> Gate:
        gate = Gate()
        self._gates.append(gate)
        return gate

    def _close(self, server: EZEZWebsocketServer) -> None:
        for gate in self._gates:
            gate.open()
        server.close()

    def make(self, **options: Any) -> EZEZWebsocketServer:
        """Make a server that is closed at the end."""
        options.setdefault("on_auth_request", lambda _, key: key == KEY)
        options.setdefault("port", 0)
        options.setdefault("close_timeout", 2.0)
        server = EZEZWebsocketServer(**options)
        self.addCleanup(self._close, server)
        return server

    def serve(self, **options: Any) -> EZEZWebsocketServer:
        """Start a server."""
        server = self.make(**options)
        server.start()
        return server

    def peer(self, server: EZEZWebsocketServer, auth: str | None = KEY, **options: Any) -> RawPeer:
        """Connect a raw peer; with ``auth=None`` it does not authenticate."""
        assert server.url is not None
        peer = RawPeer.connect(server.url, auth, **options)
        self.addCleanup(peer.close)
        return peer

    def client(self, server: EZEZWebsocketServer | Link, **options: Any) -> EZEZWebSocketClient:
        """Connect a client of ours."""
        assert server.url is not None
        options.setdefault("auth", KEY)
        client = EZEZWebSocketClient(server.url, **options)
        self.addCleanup(client.close)
        client.connect()
        return client

    def pair(self, server: EZEZWebsocketServer, **options: Any) -> tuple[EZEZServerClient, RawPeer]:
        """Connect an authenticated raw peer, and return the server's side of it, too."""
        before = {client.connection_id for client in server.clients}
        peer = self.peer(server, **options)
        side = eventually(
            lambda: next(
                (one for one in server.clients if one.connection_id not in before and one.authenticated),
                None,
            )
        )
        assert side is not None
        return side, peer

    def in_thread(self, function: Callable[..., Any], *args: Any) -> "Result":
        """Run a function on a thread of its own."""
        return Result(function, *args)


class Result:
    """A call on another thread."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self._value: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(function, *args), daemon=True)
        self._thread.start()

    def _run(self, function: Callable[..., Any], *args: Any) -> None:
        try:
            self._value = function(*args)
        except BaseException as error:
            self._error = error

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def get(self, timeout: float = TIMEOUT) -> Any:
        """Return what the function returned, or raise what it raised."""
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise AssertionError(f"the call has not ended within {timeout:g} s")
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None
        return self._value
