"""A chat in the browser: a Flask page and its WebSocket on one port.

    python samples/flask_chat/app.py [--host HOST] [--port PORT]

Open the page in two windows side by side, with a name in each. It needs Flask. With gunicorn, where each window takes a
thread (and with nginx in front of it, see docs/deployment.md):

    gunicorn --worker-class gthread --threads 100 --chdir samples/flask_chat app:app

A name belongs to whoever takes it first: the server signs it, and the browser keeps that. The key to sign with is
``FLASK_SECRET_KEY`` in the environment, or else one made at the first start and kept in ``instance/secret_key``.
Names, and what was said lately, are kept in memory, so there can be one process only.
"""

import argparse
import collections
import contextlib
import os
import secrets
import threading
import time
import unicodedata
from pathlib import Path

from flask import Flask, render_template, request, send_from_directory
from itsdangerous import BadData, URLSafeSerializer

import ezez_ws.browser
from ezez_ws import EZEZWebsocketServer

ROOMS = ("Lobby", "Tea kitchen", "Workshop")  # these are always there; others while somebody is in them, and for
KEPT = 600  # seconds longer, so that whoever reloads the page finds the room and what was said there
MOST_ROOMS = 50
IMAGES = ("image/gif", "image/jpeg", "image/png", "image/webp")  # no SVG, which can hold scripts
LONGEST_NAME, LONGEST_TEXT = 24, 4000
LARGEST_PAST = 64 << 20  # bytes of pictures that are kept for those who come in

app = Flask(__name__, instance_path=str(Path(__file__).resolve().with_name("instance")))


def secret_key():
    """Return the key of the environment, or the one made at the first start, which nobody else may read."""
    if os.environ.get("FLASK_SECRET_KEY"):
        return os.environ["FLASK_SECRET_KEY"]
    path = Path(app.instance_path, "secret_key")
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with contextlib.suppress(FileExistsError), open(path, "x", opener=lambda *args: os.open(*args, 0o600)) as file:
        file.write(secrets.token_hex(32))
    key = path.read_text()
    if len(key) < 64:
        raise RuntimeError(f"{path} holds no key: delete it")
    return key


app.secret_key = secret_key()
signed = URLSafeSerializer(app.secret_key, salt="name")


@app.get("/")
def page():
    return render_template("index.html")


@app.get("/ezez-ws.js")
def module():
    return send_from_directory(ezez_ws.browser.PATH, "ezez-ws.js", mimetype="text/javascript")


@app.post("/name")
def take_name():
    """Give a name to whoever asks first, and with it the token that lets in."""
    name = " ".join(unicodedata.normalize("NFKC", request.form["name"]).split())
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
        return f"A name has 1 to {LONGEST_NAME} letters.", 400
    owner = secrets.token_urlsafe()
    if not belongs(name, owner):
        return f"{name} is somebody else. Take another name.", 409
    return {"name": name, "token": signed.dumps([name, owner])}


@app.route("/ws", websocket=True)
def websocket():
    return server.wsgi_app


def admit(client, key):
    """Let in who has a token of ours, and whose name is not somebody else's meanwhile (as after a restart)."""
    try:
        name, owner = signed.loads(key)
    except BadData:
        return False
    client.context["name"] = name
    return belongs(name, owner)


def tell_who_is_there(change, member):
    """Somebody has come into a room, or left it; a connection that ends leaves."""
    with lock:
        used[member.room] = time.monotonic()
    server.to(member.room).send("people", [member.room, people(member.room)])
    server.everyone.send("rooms", [rooms()])


server = EZEZWebsocketServer(
    on_auth_request=admit,
    allowed_origins="same-origin",
    on_member=tell_who_is_there,
    default_context={"name": ""},
    max_payload=4 << 20,
    max_publication=5 << 20,  # a message, with what we add to it
    publish_buffer_limit=64 << 20,
)
lock = threading.Lock()  # guards what follows
owners = {}  # the owner of each name, for as long as the server runs; capitals make no other name
said = collections.deque(maxlen=500)  # the last messages of all rooms, each with its image
used = {}  # when somebody last came into a room, or left it


def belongs(name, owner):
    """Whether a name is this owner's, or nobody's, and then it is."""
    with lock:
        return owners.setdefault(name.casefold(), owner) == owner


def people(room):
    """Who is in a room; somebody may be there in several windows."""
    return sorted({member.info for member in server.members(room)}, key=str.casefold)


def move(client, room):
    """Put a client into a room, and out of the one where it was."""
    if room not in client.rooms:
        with lock:
            used[room] = time.monotonic()
        client.leave(*client.rooms)
        client.join(room, info=client.context["name"])


def rooms():
    """Return how many are in each room, and forget those that nobody uses any more, with what was said there."""
    with lock:
        for room in [room for room in used if not server.members(room) and used[room] < time.monotonic() - KEPT]:
            del used[room]
        known = [*ROOMS, *(room for room in used if room not in ROOMS)]
        for kept in [kept for kept in said if kept[0]["room"] not in known]:
            said.remove(kept)
    return {room: len(server.members(room)) for room in known}


def room_in(args):
    """The room that a message is for, or ValueError."""
    room = args[0].strip() if args and isinstance(args[0], str) else ""
    if not 0 < len(room) <= LONGEST_NAME:
        raise ValueError(f"The name of a room has 1 to {LONGEST_NAME} letters.")
    server.to(room)  # ValueError: it is none, as "*"
    if room not in (known := rooms()) and len(known) >= MOST_ROOMS:
        raise ValueError("There are rooms enough. Go into one of them.")
    return room


@server.on("enter")
def enter(client, args, reply, ids):
    try:
        room = room_in(args)
        move(client, room)
    except ValueError as error:
        reply("error", [str(error)])
        return
    reply("entered", [room, people(room), rooms()])
    with lock:
        past = [kept for kept in said if kept[0]["room"] == room]
    for kept in past[-50:]:
        client.send("said", kept)


@server.on("say")
def say(client, args, reply, ids):
    """Pass a message on. Sent again with the same id, as after a lost connection, it is passed on only once."""
    try:
        room = room_in(args)
        message, image = checked_message(*args[1:])
        move(client, room)
    except (TypeError, ValueError) as error:
        reply("error", [str(error)])
        return
    message.update(room=room, name=client.context["name"], at=time.time() * 1000)
    with lock:
        is_new = all(message["id"] != other["id"] for other, _ in said)
        if is_new:
            said.append((message, image))
        while sum(len(kept) for _, kept in said if kept) > LARGEST_PAST:
            said.popleft()
    if is_new:
        client.to(room).send("said", [message, image])
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
    client.to(*client.rooms).send("typing", [client.context["name"]])


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
