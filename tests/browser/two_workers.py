"""The application of ``test_two_workers``: a page with the browser module, and a room over all workers of gunicorn."""

import os
from collections.abc import Callable
from typing import Any

from flask import Flask, Response, send_from_directory

import ezez_ws.browser
from ezez_ws import EZEZWebsocketServer, RedisBackplane

PAGE = """<!doctype html>
<title>Two workers</title>
<script type="module">
import { EZEZWebSocketClient } from "/ezez-ws.js";

const client = new EZEZWebSocketClient("/ws", { recover: true, reconnectDelay: 20, reconnectDelayMax: 100 }, {
    onAuthOk: () => page.connected++,
    onMissed: (rooms) => page.missed.push(...rooms),
});
client.on("said", (args) => page.heard.push(args));

// Says numbers, each until it has been confirmed; an attempt whose confirmation is lost may have been heard.
async function talk(name) {
    for (let number = 0; page.talks; number++) {
        for (let attempt = 0, confirmed = false; !confirmed; attempt++) {
            confirmed = await page.say(name, number, attempt);
        }
        await new Promise((done) => setTimeout(done, 2));
    }
}

globalThis.page = {
    connected: 0, missed: [], heard: [], confirmed: [], talks: true, over: null,
    async say(...what) {
        try {
            await client.request("say", what);
            page.confirmed.push(what);
            return true;
        }
        catch (error) {
            if (error.name !== "ConnectionClosed") {
                throw error;
            }
            return false;
        }
    },
    start(name) {
        page.over = talk(name);
    },
    stop() {
        page.talks = false;
        return page.over;
    },
    async where() {
        return (await client.request("where")).args[0];
    },
};
</script>
"""

app = Flask(__name__)
server = EZEZWebsocketServer(
    on_auth_request=lambda client, key: True,
    on_auth_ok=lambda client: client.join("room"),
    close_timeout=2.0,
    backplane=RedisBackplane(os.environ["REDIS_URL"], connect_timeout=20.0),
)


@app.get("/")
def page() -> str:
    return PAGE


@app.get("/ezez-ws.js")
def module() -> Response:
    return send_from_directory(ezez_ws.browser.PATH, "ezez-ws.js", mimetype="text/javascript")


@app.route("/ws", websocket=True)
def websocket() -> Callable[..., Any]:
    return server.wsgi_app


@server.on("say")
def say(client: Any, args: Any, reply: Any, ids: Any) -> None:
    """Answer when it cannot be lost with this process any more."""
    server.to("room").send("said", args).wait(20)
    reply("confirmed")


@server.on("where")
def where(client: Any, args: Any, reply: Any, ids: Any) -> None:
    reply("here", [os.getpid()])
