"""The Flask application that the web servers of these tests run: pages, and WebSockets in each way that there is."""

import logging
import os
import threading
from collections.abc import Callable
from typing import Any

from flask import Flask
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from ezez_ws import EZEZWebsocketServer
from tests.serving import KEY

logging.basicConfig(level=logging.INFO)

server = EZEZWebsocketServer(
    on_auth_request=lambda client, key: key == KEY, max_payload=64 << 20, compression="deflate", close_timeout=2.0
)
app = Flask(__name__)
app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/mounted": server.wsgi_app})  # type: ignore[method-assign]


@app.route("/")
def page() -> str:
    return f"a page of process {os.getpid()}"


@app.route("/view", websocket=True)
def view() -> Callable[..., Any]:
    return server.wsgi_app


@app.route("/plain")
def plain() -> Callable[..., Any]:
    return server.wsgi_app


@server.on("echo")
def echo(client: Any, args: Any, reply: Any, ids: Any) -> None:
    reply("echo", args)


@server.on("who")
def who(client: Any, args: Any, reply: Any, ids: Any) -> None:
    reply("who", [os.getpid(), client.request.path, client.request.remote_address[0]])


@server.on("count")
def count(client: Any, args: Any, reply: Any, ids: Any) -> None:
    reply("count", [server.broadcast("counted")])


@server.on("ask back")
def ask_back(client: Any, args: Any, reply: Any, ids: Any) -> None:
    reply("answer", client.send("question", args).wait_reply(timeout=10).args)


@server.on("leave")
def leave(client: Any, args: Any, reply: Any, ids: Any) -> None:
    client.disconnect(4000, "you wanted it")


@server.on("hang")
def hang(client: Any, args: Any, reply: Any, ids: Any) -> None:
    reply("hanging")
    threading.Event().wait()
