"""A loopback TCP proxy that misbehaves, but loses and reorders nothing of what it passes on."""

import random
import socket
import struct
import threading
import time
from collections.abc import Callable

__all__ = ["Fault", "Proxy"]

Fault = Callable[["Pipe"], None]
"""Called before each piece is passed on."""


class Pipe:
    """One direction of one connection, on a thread of its own."""

    def __init__(self, source: socket.socket, target: socket.socket, fault: Fault | None, seed: int) -> None:
        self.random = random.Random(seed)
        self.piece = 65536
        self.passed = 0
        self.half_closed = False
        self.source, self.target, self._fault = source, target, fault
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            while True:
                data = self.source.recv(self.piece)
                if not data:
                    self.target.shutdown(socket.SHUT_WR)
                    return
                if self._fault is not None and not self.half_closed:
                    self._fault(self)
                if not self.half_closed:
                    self.target.sendall(data)
                    self.passed += len(data)
        except OSError:
            self.cut()

    def cut(self) -> None:
        """End the connection in both directions, properly."""
        for sock in (self.source, self.target):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def half_close(self) -> None:
        """End this direction only; what still comes is lost."""
        self.target.shutdown(socket.SHUT_WR)
        self.half_closed = True

    def reset(self) -> None:
        """End the connection with a reset, towards both ends."""
        for sock in (self.source, self.target):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise OSError("reset")

    def delay(self, most: float) -> None:
        """Be slow."""
        time.sleep(self.random.uniform(0, most))


class Proxy:
    """Listens on a free port and connects each client to ``port``.

    Args:
        port: of the real server on the loopback; ``redirect`` changes it.
        fault: what happens to each piece, in each direction.
    """

    def __init__(self, port: int, fault: Fault | None = None) -> None:
        self.fault = fault
        self._target = port
        self._lock = threading.Lock()
        self._pipes: list[Pipe] = []
        self._closed = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.url = f"ws://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def redirect(self, port: int) -> None:
        """Connect those who come from now on to another port."""
        with self._lock:
            self._target = port

    def cut_all(self) -> None:
        """End all connections."""
        for pipe in self._copy():
            pipe.cut()

    def close(self) -> None:
        """End everything and wait for the threads."""
        with self._lock:
            self._closed = True
        with socket.socket() as wake:
            wake.connect(("127.0.0.1", self.port))
        self._thread.join()
        self._listener.close()
        self.cut_all()
        for pipe in self._copy():
            pipe.thread.join()
            pipe.source.close()
            pipe.target.close()

    def _copy(self) -> list[Pipe]:
        with self._lock:
            return list(self._pipes)

    def _accept(self) -> None:
        number = 0
        while True:
            client, _ = self._listener.accept()
            with self._lock:
                closed, target = self._closed, self._target
            if closed:
                client.close()
                return
            try:
                server = socket.create_connection(("127.0.0.1", target), 5)
                server.settimeout(None)
            except OSError:
                client.close()
                continue
            for sock in (client, server):  # small pieces are for whoever reads them, and not to be waited for
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            number += 2
            pipes = [Pipe(client, server, self.fault, number), Pipe(server, client, self.fault, number + 1)]
            with self._lock:
                self._pipes += pipes
            for pipe in pipes:
                pipe.thread.start()
