"""What the client's tests share: a server that the test plays itself, and clients that need not be closed."""

import threading
import time
from typing import Any

from ezez_ws import EZEZWebSocketClient, EZEZWebsocketServer
from tests.rawpeer import RawPeer, RawServer
from tests.serving import Calls
from tests.support import EZEZTestCase, free_port, open_fds

__all__ = ["DialingTestCase", "inner"]


def inner(client: EZEZWebSocketClient, name: str) -> Any:
    """A private attribute of a client, which has a name that a subclass may not have."""
    return vars(client).get(f"_ezez_{name}", vars(client).get(f"_EZEZWebSocketClient__{name}"))


class DialingTestCase(EZEZTestCase):
    """Closes, at the end of each test, first the peers, then the clients, then the servers."""

    def setUp(self) -> None:
        self.calls = Calls()
        """What the callbacks of ``recorded`` were called with."""

    def recorded(self) -> "dict[str, Any]":
        """All callbacks but ``on_message``, each recorded by its name without the ``on_``."""
        callbacks: dict[str, Any] = {
            "on_connect": self.calls.named("connect"),
            "on_auth_ok": self.calls.named("auth_ok"),
            "on_auth_rejected": self.calls.named("auth_rejected", 0),
            "on_disconnect": self.calls.named("disconnect", 0, 1),
            "on_error": lambda error: self.calls.add("error", type(error).__name__),
        }
        return callbacks

    def listen(self, port: int = 0) -> RawServer:
        server = RawServer(port=port)
        self.addCleanup(server.close)
        return server

    def serve(self, **options: Any) -> EZEZWebsocketServer:
        options.setdefault("on_auth_request", lambda client, key: key == "secret")
        options.setdefault("port", 0)
        server = EZEZWebsocketServer(**options)
        self.addCleanup(server.close)
        server.start()
        return server

    def make(self, url: Any, **options: Any) -> EZEZWebSocketClient:
        """Make a client that is in a hurry to reconnect."""
        options.setdefault("auth", "secret")
        options.setdefault("reconnect_delay", 0.02)
        options.setdefault("reconnect_delay_max", 0.1)
        options.setdefault("close_timeout", 2.0)
        client = EZEZWebSocketClient(url, **options)
        self.addCleanup(client.close)
        return client

    def accept(self, server: RawServer, auth: bool = True) -> RawPeer:
        peer = server.accept(auth=auth)
        self.addCleanup(peer.close)
        return peer

    def meet(self, **options: Any) -> tuple[EZEZWebSocketClient, RawPeer, RawServer]:
        """Connect a client to a server that the test plays."""
        server = self.listen()
        client = self.make(server.url, **options)
        client.start()
        peer = self.accept(server)
        client.connect()
        return client, peer, server

    def nobody(self) -> str:
        """A URL where nobody listens."""
        return f"ws://127.0.0.1:{free_port()}"

    def assert_fails_cleanly(
        self, error: type[BaseException], client: EZEZWebSocketClient, timeout: float = 30.0, accepting: bool = False
    ) -> Any:
        """Connect, which fails; return the error. At its return neither thread nor file descriptor is left.

        ``accepting``: a server in this process opens file descriptors meanwhile.
        """
        fds, threads = open_fds(), set(threading.enumerate())
        started = time.monotonic()
        with self.assertRaises(error) as caught:
            client.connect(timeout)
        self.took = time.monotonic() - started
        new = {thread.name for thread in set(threading.enumerate()) - threads}
        self.assertEqual([name for name in new if "client" in name or "lookup" in name], [])
        if not accepting:
            self.assertEqual(open_fds().items() - fds.items(), set())
        self.assertFalse(client.alive)
        self.assertIsNone(client.client)
        return caught.exception
