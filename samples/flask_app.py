"""A Flask application with pages and a WebSocket on one port.

    pip install flask
    WS_KEY=secret python samples/flask_app.py

or, with a web server for production:

    gunicorn --worker-class gthread --threads 100 --chdir samples flask_app:app

with nginx in front of it. Each connection has a thread of the web server for as long as it lasts: docs/deployment.md.
"""

import argparse
import hmac
import os

from flask import Flask, request

from ezez_ws import EZEZWebsocketServer

app = Flask(__name__)
SECRET = os.environ["WS_KEY"].encode()  # without a default: what stands in a source is no secret


def check_key(client, key):
    return hmac.compare_digest(key.encode(), SECRET)


server = EZEZWebsocketServer(on_auth_request=check_key)


@app.route("/ws", websocket=True)
def ws():
    return server.wsgi_app


@app.get("/")
def page():
    return f"{len(server.clients)} connected\n"


@app.post("/news")
def news():
    count = server.broadcast("news", [request.get_data(as_text=True)])
    return f"sent to {count}\n"


@server.handler("sum")
def add(client, *numbers):
    return sum(numbers)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--port", type=int, default=5000)
    app.run(port=parser.parse_args().port)
