"""simple-websocket, a bare echo, behind Werkzeug's threads."""

from typing import Any

from simple_websocket import ConnectionClosed, Server

from .werkzeug_threads import serve

__all__ = ["start"]


def start() -> str:
    return f"ws://{serve(_application)}"


def _application(environ: Any, start_response: Any) -> Any:
    connection = Server.accept(environ)
    try:
        while True:
            connection.send(connection.receive())
    except ConnectionClosed:
        raise ConnectionError from None  # Werkzeug then writes no response, as Flask-Sock has it
