"""python-socketio with ``async_mode="threading"``: an event with its acknowledgement, and ``emit`` to all."""

from typing import Any

import socketio

from .werkzeug_threads import serve

__all__ = ["start"]


def start() -> str:
    server = socketio.Server(async_mode="threading")
    server.on("ping", lambda sid, text: text)
    server.on("fanout", lambda sid, size: _fanout(server, size))
    return f"ws://{serve(socketio.WSGIApp(server))}/socket.io/?EIO=4&transport=websocket"


def _fanout(server: Any, size: int) -> None:
    server.emit("news", "x" * size)
