// A page without a browser: the module's names, a WebSocket, and JavaScript to run, which comes in on stdin. Each line
// there is {"id": 1, "code": "..."}, the body of an async function; each line on stdout is the value that it returned,
// {"id": 1, "value": neutral}, the error that it threw, {"id": 1, "error": [name, message]}, or what the code tells by
// `tell(...)`, {"told": [neutral...]}. The end of stdin ends the process.

import { createInterface } from "node:readline";
import { serializeToBuffer } from "@ezez/utils";
import { WebSocket } from "ws";
import * as ezez from "../../ezez_ws/browser/ezez-ws.js";
import { build, describe } from "../interop/neutral.mjs";

const write = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const tell = (...values) => write({ told: values.map(describe) });

// Makes `client`, which is in a hurry; all its callbacks but onMessage are told until `forget`.
let connected = 0;
const connect = (url, options = {}, callbacks = {}) => {
    const mine = ++connected;
    const tellMine = (...values) => mine === connected && tell(...values);
    const names = ["onConnect", "onAuthOk", "onAuthRejected", "onDisconnect"];
    const telling = Object.fromEntries(names.map((name) => [name, (...args) => tellMine(name, ...args)]));
    const onError = (error) => tellMine("onError", error.name, error.message);
    globalThis.client = new ezez.EZEZWebSocketClient(
        url,
        { auth: "secret", reconnectDelay: 20, reconnectDelayMax: 100, ...options },
        { ...telling, onError, ...callbacks },
    );
};
const forget = () => {
    globalThis.client?.close();
    globalThis.client = null;
    globalThis.printed = undefined;
    connected++;
};

// What goes to the console is for `printed(level, ...values)`, where a test has set that, and is silent else.
for (const level of ["error", "warn"]) {
    console[level] = (...values) => globalThis.printed?.(level, ...values);
}

// Whatever is thrown before the code can catch it would be lost to the test.
process.on("unhandledRejection", (error) => tell("unhandled", String(error)));
process.on("uncaughtException", (error) => tell("uncaught", String(error)));

Object.assign(globalThis, ezez, {
    exported: ezez, tell, connect, forget, build, describe, WebSocket,
    reference: (values) => serializeToBuffer(Buffer, [], ...values),
    hex: (bytes) => Buffer.from(bytes).toString("hex"),
    unhex: (text) => new Uint8Array(Buffer.from(text, "hex")),
});

const AsyncFunction = (async () => {}).constructor;

const run = async ({ id, code }) => {
    try {
        write({ id, value: describe(await new AsyncFunction(code)()) });
    }
    catch (error) {
        write({ id, error: [error.name, error.message] });
    }
};

for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
    run(JSON.parse(line));
}
process.stdout.write("", () => process.exit(0));
