// The same protocol on Node: `ws` for WebSocket, `@ezez/utils` for the messages. `node node.mjs OPTIONS` prints where it
// listens, and ends with its standard input. It does what ours.py does for the rows that Node takes part in.

import { createRequire } from "node:module";

const require = createRequire(new URL("../../tests/", import.meta.url)); // tests/package.json has its packages
const { WebSocketServer } = require("ws");
const { serializeToBuffer, unserializeFromBuffer } = require("@ezez/utils");

const AUTH = "ezez-ws::auth";
const AUTH_OK = "ezez-ws::auth-ok";
const KEY = "secret";
const VERSION = 1;

const authenticated = new Set();

class Client {
    constructor(socket) {
        this.socket = socket;
        this.lastId = 0;
    }

    send(event, args, replyTo = null) {
        this.lastId += 1;
        this.socket.send(serializeToBuffer(Buffer, [], event, this.lastId, replyTo, ...args));
    }

    receive(data) {
        const [event, id, replyTo, ...args] = unserializeFromBuffer(Buffer, [], data);
        if (authenticated.has(this)) {
            this.answer(event, id, args);
        }
        else if (event === AUTH && id === KEY && replyTo === VERSION) {
            authenticated.add(this);
            this.socket.send(serializeToBuffer(Buffer, [], AUTH_OK));
        }
        else {
            this.socket.close(1008);
        }
    }

    answer(event, id, args) {
        if (event === "ping") {
            this.send("pong", args, id);
        }
        else if (event === "fanout") {
            const text = "x".repeat(args[0]);
            authenticated.forEach((each) => each.send("news", [text]));
        }
    }
}

const server = new WebSocketServer({ host: "127.0.0.1", port: 0, backlog: 1024 });
server.on("connection", (socket) => {
    const client = new Client(socket);
    socket.on("message", (data) => client.receive(data));
    socket.on("close", () => authenticated.delete(client));
    socket.on("error", () => socket.terminate());
});
server.on("listening", () => {
    process.stdout.write(`${JSON.stringify({ url: `ws://127.0.0.1:${server.address().port}` })}\n`);
});
process.stdin.on("end", () => process.exit(0)).resume();
