// A client as `@ezez/ws-client` is, for the Python server:  node node_client.mjs URL KEY [VERSION]
// See ezez.mjs for what it understands and tells; {"do": "connect"} makes its next connection.

import { WebSocket } from "ws";
import { AUTH, AUTH_OK, AUTH_REJECTED, Connection, Ids, VERSION, decode, encode, obey, tell } from "./ezez.mjs";

const [url, key, version = VERSION] = process.argv.slice(2);
const ids = new Ids();
let connection;

const receive = (data, isBinary) => {
    if (!isBinary) {
        tell({ text: data.toString() });
        return;
    }
    const values = decode(data);
    if (values[0] === AUTH_OK) {
        tell({ auth: "ok" });
    }
    else if (values[0] === AUTH_REJECTED) {
        tell({ auth: "rejected", reason: values[1] });
    }
    else {
        connection.handle(values);
    }
};

const connect = () => {
    const socket = new WebSocket(url);
    connection = new Connection(socket, ids);
    socket.on("open", () => socket.send(encode(AUTH, key, Number(version))));
    socket.on("message", receive);
    socket.on("close", (code, reason) => tell({ closed: code, reason: reason.toString() }));
    socket.on("error", (error) => tell({ error: String(error) }));
};

connect();
await obey({
    connect,
    ...Object.fromEntries(Object.keys(connection.commands()).map((name) => [
        name, (command) => connection.commands()[name](command),
    ])),
});
