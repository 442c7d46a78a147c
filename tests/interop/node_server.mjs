// A server as `@ezez/ws-server` is, for the Python client:  node node_server.mjs PORT KEY
// See ezez.mjs for what it understands and tells; {"do": "broadcast"} sends to all who are authenticated, every other
// command is for the one who was authenticated last. Port 0 is a free one; the one that is bound is told.

import { WebSocketServer } from "ws";
import { AUTH, AUTH_OK, AUTH_REJECTED, Connection, Ids, VERSION, decode, encode, obey, tell } from "./ezez.mjs";

const [port, key] = process.argv.slice(2);
const authenticated = new Set();
let last;

const refusal = ([event, given, version]) => {
    if (event !== AUTH) {
        return "No authentication";
    }
    if (version !== VERSION) {
        return `Protocol version mismatch, wanted ${VERSION}, got ${version}`;
    }
    return given === key ? null : "Invalid auth key";
};

const authenticate = (connection, values) => {
    const reason = refusal(values);
    if (reason) {
        connection.socket.send(encode(AUTH_REJECTED, reason));
        connection.socket.close(1008, reason);
        return;
    }
    last = connection;
    authenticated.add(connection);
    connection.socket.send(encode(AUTH_OK));
    tell({ auth: "ok" });
};

const server = new WebSocketServer({ host: "127.0.0.1", port: Number(port) });
server.on("listening", () => tell({ listening: server.address().port }));
server.on("connection", (socket) => {
    const connection = new Connection(socket, new Ids());
    socket.on("message", (data, isBinary) => {
        if (!isBinary) {
            tell({ text: data.toString() });
        }
        else if (authenticated.has(connection)) {
            connection.handle(decode(data));
        }
        else {
            authenticate(connection, decode(data));
        }
    });
    socket.on("close", (code, reason) => {
        authenticated.delete(connection);
        tell({ closed: code, reason: reason.toString() });
    });
    socket.on("error", (error) => tell({ error: String(error) }));
});

const names = Object.keys(new Connection().commands());
await obey({
    broadcast: ({ event, args }) => authenticated.forEach((each) => each.commands().send({ event, args })),
    ...Object.fromEntries(names.map((name) => [name, (command) => last.commands()[name](command)])),
});
