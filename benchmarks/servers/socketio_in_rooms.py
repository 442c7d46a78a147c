"""python-socketio with ``async_mode="threading"`` and rooms, and with a ``RedisManager`` where nodes are several."""

import socketio

from . import stamped
from .werkzeug_threads import serve

__all__ = ["start"]


def start(redis: str = "", targets: int = 0) -> str:
    """Start a node; a fan-out sends a text to each of the ``targets`` rooms."""
    manager = socketio.RedisManager(redis) if redis else None
    server = socketio.Server(async_mode="threading", client_manager=manager)

    def fanout(sid: str, size: int) -> None:
        text = stamped(size)
        for number in range(targets):
            server.emit("news", text, to=f"room:{number}")

    server.on("connect", lambda sid, environ, auth: server.enter_room(sid, auth["room"]))
    server.on("fanout", fanout)
    return f"ws://{serve(socketio.WSGIApp(server))}/socket.io/?EIO=4&transport=websocket"
