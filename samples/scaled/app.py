"""A room on three processes: whoever comes to one of them hears what is said at all.

    pip install flask gunicorn ".[redis]"
    redis-server &
    gunicorn --chdir samples/scaled --config samples/scaled/gunicorn.conf.py app:app

then, as guests, and as a program that is no server (emit.py; ``ezez-ws emit`` does the same from a shell):

    ezez-ws connect ws://127.0.0.1:8000/ws --auth Anna
    ezez-ws call ws://127.0.0.1:8000/ws say hello --auth Bert
    curl http://127.0.0.1:8000/
    python samples/scaled/emit.py "closing time"

The Redis is ``REDIS_URL`` in the environment, or else the one of this machine. In front of gunicorn belongs nginx, see
docs/deployment.md.
"""

import os

from flask import Flask

from ezez_ws import EZEZWebsocketServer, NotReady, RedisBackplane

ROOM = "lobby"
REDIS = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")


def take_name(client, key):
    client.context["name"] = key  # whoever comes is welcome, with a name for a key
    return bool(key)


def enter(client):
    client.join(ROOM, info={"name": client.context["name"], "pid": os.getpid()})
    client.to(ROOM).send("notice", [f"{client.context['name']} is here"])


def say_goodbye(client, code, reason):
    if client.authenticated:
        client.to(ROOM).send("notice", [f"{client.context['name']} has gone"])


app = Flask(__name__)
server = EZEZWebsocketServer(  # made before gunicorn forks, and started in each worker, which is a node then
    on_auth_request=take_name,
    on_auth_ok=enter,
    on_disconnect=say_goodbye,
    default_context={"name": ""},
    backplane=RedisBackplane(REDIS, prefix="scaled"),
)


@app.route("/ws", websocket=True)
def websocket():
    return server.wsgi_app


@server.handler("say")
def say(client, text):
    client.to(ROOM).send("said", [client.context["name"], text])


@server.handler("who")
def who(client):
    return sorted(member.info["name"] for member in server.members(ROOM))


@app.get("/")
def page():
    """Who is there, on all nodes; whichever worker is asked."""
    members = [member.info for member in server.members(ROOM, timeout=5)]
    return "".join(sorted(f"{info['name']} (process {info['pid']})\n" for info in members)) or "nobody\n"


@app.errorhandler(NotReady)
def not_ready(error):
    return f"{error}\n", 503


@app.get("/health")
def health():
    server.members(ROOM, timeout=2)  # a worker becomes a node when it is first used: be that this
    status = server.cluster
    well = status.connected and status.lag < 5
    return f"{len(status.nodes)} nodes, {'well' if well else 'cut off'}\n", 200 if well else 503
