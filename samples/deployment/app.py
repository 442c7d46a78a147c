"""A room for all who have the key: small, and complete enough to be deployed. docs/deployment.md shows how.

    KEY=secret python samples/deployment/app.py
    KEY=secret gunicorn --chdir samples/deployment --config samples/deployment/gunicorn.conf.py app:app

The first has a port of its own, the second shares gunicorn's with pages. Settings come from the environment:

    KEY, or KEY_FILE    the key that clients send; or the file that holds it, as Docker and systemd hand out secrets
    HOST, PORT          where it listens (127.0.0.1, 8080)
    MAX_CONNECTIONS     as many clients as this process can take (1000)
    REDIS_URL           where several processes share the room
"""

import hmac
import logging
import os
import signal
import sys
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
    """Whether clients should be sent here, and a word about it: not while it is cut off from the other processes."""
    return (200, b"ready\n") if server.cluster.connected else (503, b"no Redis\n")


def answer(request):
    return HTTPResponse(*readiness()) if request.path == "/readyz" else None


logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
KEY = read_key()
REDIS_URL = os.environ.get("REDIS_URL")
server = EZEZWebsocketServer(
    host=os.environ.get("HOST", "127.0.0.1"),
    port=int(os.environ.get("PORT", "8080")) if __name__ == "__main__" else None,  # gunicorn has its own
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
    """What gunicorn runs: the sockets, and two pages."""
    if environ["PATH_INFO"] == "/ws":
        return server.wsgi_app(environ, start_response)
    status, body = {"/healthz": (200, b"ok\n"), "/readyz": readiness()}.get(environ["PATH_INFO"], (404, b"not here\n"))
    reason = {200: "OK", 404: "Not Found", 503: "Service Unavailable"}[status]
    start_response(f"{status} {reason}", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


if __name__ == "__main__":
    server.serve_forever(signals=(signal.SIGINT, signal.SIGTERM))
