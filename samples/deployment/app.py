"""A room for everyone who has the key, ready to be deployed: docs/deployment.md shows how.

    KEY=secret python samples/deployment/app.py

has a port of its own. gunicorn runs ``app:app``, with pages on the same port. The
configuration is in the environment:

    KEY, or KEY_FILE    the key that clients send, or the path of a file with it
    HOST, PORT          where to listen (127.0.0.1, 8080)
    MAX_CONNECTIONS     how many clients this process can serve (1000)
    REDIS_URL           the Redis through which several processes share the room
"""

import hmac
import logging
import os
import signal
import sys
from http import HTTPStatus
from pathlib import Path

from ezez_ws import EZEZWebsocketServer, HTTPResponse, RedisBackplane

ROOM = "lobby"


def read_key():
    path = os.environ.get("KEY_FILE")
    key = Path(path).read_text(encoding="utf-8").strip() if path else os.environ.get("KEY")
    return (key or sys.exit("no key: set KEY, or KEY_FILE")).encode()


def check_key(client, key):
    return hmac.compare_digest(key.encode(), KEY)


def enter(client):
    client.join(ROOM, info={"pid": os.getpid()})


def readiness():
    """Status and text: whether to send clients here, rather than to another process."""
    return (200, b"ready\n") if server.cluster.connected else (503, b"no Redis\n")


def answer(request):
    return HTTPResponse(*readiness()) if request.path == "/readyz" else None


logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
KEY = read_key()
PORT = int(os.environ.get("PORT", "8080"))
REDIS_URL = os.environ.get("REDIS_URL")
server = EZEZWebsocketServer(
    host=os.environ.get("HOST", "127.0.0.1"),
    port=PORT if __name__ == "__main__" else None,  # gunicorn has its own
    path="/ws",
    on_auth_request=check_key,
    on_auth_ok=enter,
    max_connections=int(os.environ.get("MAX_CONNECTIONS", "1000")),
    health_path="/healthz",
    process_request=answer,
    backplane=RedisBackplane(REDIS_URL, prefix="lobby") if REDIS_URL else None,
)


@server.handler("say")
def say(client, text: str) -> None:
    client.to(ROOM).send("said", [text])


@server.handler("who")
def who(client) -> list:
    return sorted(member.info["pid"] for member in server.members(ROOM))


def app(environ, start_response):
    """The WSGI application for gunicorn: WebSockets, and the two health checks."""
    path = environ["PATH_INFO"]
    if path == "/ws":
        return server.wsgi_app(environ, start_response)
    pages = {"/healthz": (200, b"ok\n"), "/readyz": readiness()}
    status, body = pages.get(path, (404, b"not found\n"))
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
    start_response(f"{status} {HTTPStatus(status).phrase}", headers)
    return [body]


if __name__ == "__main__":
    server.serve_forever(signals=(signal.SIGINT, signal.SIGTERM))
