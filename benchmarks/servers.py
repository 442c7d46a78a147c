"""The servers that are measured: ``servers.py NAME``; prints its URL, and ends with its standard input."""

import socket
import sys
import threading
from pathlib import Path
from typing import Callable, Dict

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def ceiling() -> str:
    """A thread a connection that only does recv, slice, sendall of as many bytes: what threads can do."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)

    def serve(sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := sock.recv(65536):
            sock.sendall(data[:])

    def accept() -> None:
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=serve, args=(sock,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return f"raw://127.0.0.1:{listener.getsockname()[1]}"


def ezez() -> str:
    """This library: an event with a 64-byte text, answered by ``reply("pong", args)``."""
    from ezez_ws import EZEZWebsocketServer

    server = EZEZWebsocketServer(port=0, on_auth_request=lambda client, key: key == "secret")
    server.on("ping", lambda client, args, reply, ids: reply("pong", args))
    server.start()
    assert server.url is not None
    return server.url


def websockets() -> str:
    """websockets' threading server, a bare echo."""
    from websockets.sync.server import ServerConnection, serve

    def echo(connection: ServerConnection) -> None:
        for message in connection:
            connection.send(message)

    server = serve(echo, "127.0.0.1", 0, compression=None)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"ws://127.0.0.1:{server.socket.getsockname()[1]}"


SERVERS: Dict[str, Callable[[], str]] = {"ceiling": ceiling, "ezez": ezez, "websockets": websockets}

if __name__ == "__main__":
    print(SERVERS[sys.argv[1]](), flush=True)
    sys.stdin.read()
