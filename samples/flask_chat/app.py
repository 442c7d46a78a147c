"""A chat in the browser: a Flask page and its WebSocket on one port.

    python samples/flask_chat/app.py [--host HOST] [--port PORT]

Open the page in two windows side by side. It needs Flask. With gunicorn, where each window takes a thread:

    gunicorn --worker-class gthread --threads 100 --chdir samples/flask_chat app:app

What was said lately is kept in memory, so there can be one process only.
"""

import argparse
import collections
import json
import os
import threading
import time

from flask import Flask, render_template, send_from_directory
from itsdangerous import BadSignature, URLSafeSerializer

import ezez_ws.browser
from ezez_ws import EZEZWebsocketServer

ROOMS = ("Lobby", "Tea kitchen", "Workshop")  # these are always there, others while somebody is in them
IMAGES = ("image/gif", "image/jpeg", "image/png", "image/webp")  # no SVG, which can hold scripts
KEPT = 50  # messages of each room that whoever comes in gets to see
LONGEST_NAME, LONGEST_TEXT = 24, 4000

app = Flask(__name__)
app.secret_key = os.environ.get("CHAT_SECRET", "set CHAT_SECRET where strangers can come in")
tokens = URLSafeSerializer(app.secret_key, salt="chat")


@app.get("/")
def page():
    return render_template("index.html", token=tokens.dumps("page"))


@app.get("/ezez-ws.js")
def module():
    return send_from_directory(ezez_ws.browser.PATH, "ezez-ws.js", mimetype="text/javascript")


@app.route("/ws", websocket=True)
def websocket():
    return server.wsgi_app


def admit(client, key):
    """Let in who has our page's token, and learn who it is."""
    try:
        guest = json.loads(key)
        tokens.loads(guest["token"])
        client.context.update(guest=str(guest["guest"]), name=str(guest["name"]).strip()[:LONGEST_NAME])
    except (BadSignature, KeyError, TypeError, ValueError):
        return False
    return bool(client.context["name"])


def leave(client, code, reason):
    move(client, None)


server = EZEZWebsocketServer(
    on_auth_request=admit,
    on_disconnect=leave,
    default_context={"guest": "", "name": "", "room": None},
    max_payload=4 << 20,
)
messages = {}  # the last ones of each room, each with its image
lock = threading.Lock()  # guards messages


def members(room):
    return [client for client in server.clients if client.context["room"] == room]


def people(room):
    """Who is in a room: names by guest. A guest may have several windows."""
    return {client.context["guest"]: client.context["name"] for client in members(room)}


def tell(room, event, args, but=None):
    server.broadcast(event, args, where=lambda client: client is not but and client.context["room"] == room)


def move(client, room):
    """Put a client into a room, and tell everybody where that makes a difference."""
    with client.context as context:
        before, context["room"] = context["room"], room
    if before == room:
        return
    for changed in filter(None, (before, room)):
        tell(changed, "people", [changed, people(changed)])
    server.broadcast("rooms", [rooms()])


def rooms():
    """Return how many are in each room, and forget what was said in those that are no more."""
    counts = dict.fromkeys(ROOMS, 0)
    with lock:  # counting, too: nobody may come in and say something before the room is forgotten
        for room in filter(None, [client.context["room"] for client in server.clients]):
            counts[room] = counts.get(room, 0) + 1
        for room in messages.keys() - counts.keys():
            del messages[room]
    return counts


def room_in(args):
    """The room that a message is for, or ValueError."""
    room = args[0].strip() if args and isinstance(args[0], str) else ""
    if not 0 < len(room) <= LONGEST_NAME:
        raise ValueError(f"The name of a room has 1 to {LONGEST_NAME} letters.")
    return room


@server.on("enter")
def enter(client, args, reply, ids):
    try:
        room = room_in(args)
    except ValueError as error:
        reply("error", [str(error)])
        return
    move(client, room)
    reply("entered", [room, people(room), rooms()])
    with lock:
        past = list(messages.get(room, ()))
    for message, image in past:
        client.send("said", [message, image])


@server.on("say")
def say(client, args, reply, ids):
    """Pass a message on. Sent again with the same id, as after a lost connection, it is passed on only once."""
    try:
        room = room_in(args)
        message, image = checked_message(*args[1:])
    except (TypeError, ValueError) as error:
        reply("error", [str(error)])
        return
    move(client, room)  # a message that was queued comes before its window has entered again
    message.update(room=room, guest=client.context["guest"], name=client.context["name"], at=time.time() * 1000)
    with lock:
        kept = messages.setdefault(room, collections.deque(maxlen=KEPT))
        is_new = all(message["id"] != other["id"] for other, _ in kept)
        if is_new:
            kept.append((message, image))
    if is_new:
        tell(room, "said", [message, image], but=client)
    reply("ok")


def checked_message(identity, text, image=None, kind=None):
    """Make a message of what came from a browser, or raise TypeError or ValueError."""
    if not isinstance(identity, str) or not isinstance(text, str):
        raise TypeError("A message has an id and a text.")
    if len(text) > LONGEST_TEXT or len(identity) > 64:
        raise ValueError(f"A text has at most {LONGEST_TEXT} letters.")
    if image is not None and (not isinstance(image, bytes) or kind not in IMAGES):
        raise ValueError("That is no picture that browsers show.")
    return {"id": identity, "text": text, "kind": kind if image else None}, image


@server.on("typing")
def typing(client, args, reply, ids):
    tell(client.context["room"], "typing", [client.context["guest"], client.context["name"]], but=client)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5000, help="0 picks a free one (default: 5000)")
    args = parser.parse_args()
    try:
        app.run(args.host, args.port, threaded=True)
    finally:
        server.close()


if __name__ == "__main__":
    main()
