"""websockets' threading server, a bare echo, and its ``broadcast``."""

import threading

from websockets.sync.server import ServerConnection, broadcast, serve

__all__ = ["start"]

FANOUT = b"fanout "


def start() -> str:
    connected: set[ServerConnection] = set()

    def talk(connection: ServerConnection) -> None:
        connected.add(connection)
        try:
            for message in connection:
                assert isinstance(message, bytes)
                if message.startswith(FANOUT):
                    broadcast(list(connected), b"x" * int(message[len(FANOUT) :]))
                else:
                    connection.send(message)
        finally:
            connected.discard(connection)

    server = serve(talk, "127.0.0.1", 0, compression=None, max_size=2 << 20)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
