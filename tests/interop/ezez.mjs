// What `@ezez/ws-client` and `@ezez/ws-server` have in common, written after protocol.md on top of the reference
// serializer: messages of one connection, their ids, and replies. And how a script here talks to the test that started
// it: each line on stdin is a command in JSON, each line on stdout something that has happened.

import { createInterface } from "node:readline";
import { serializeToBuffer, unserializeFromBuffer } from "@ezez/utils";
import { build, describe } from "./neutral.mjs";

export const AUTH = "ezez-ws::auth";
export const AUTH_OK = "ezez-ws::auth-ok";
export const AUTH_REJECTED = "ezez-ws::auth-rejected";
export const VERSION = 1;

const serializers = { date: (value) => value instanceof Date ? value.toISOString() : null };
const deserializers = { date: (text) => new Date(text) };

export const encode = (...values) => serializeToBuffer(Buffer, [serializers], ...values);
export const decode = (data) => unserializeFromBuffer(Buffer, [deserializers], data);

export const tell = (what) => process.stdout.write(`${JSON.stringify(what)}\n`);

// Runs the commands that come in; the end of stdin, which is the end of the test too, ends the process.
export const obey = async (commands) => {
    for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
        const command = JSON.parse(line);
        commands[command.do](command);
    }
    process.stdout.write("", () => process.exit(0));  // once all that was told is out
};

// Ids belong to whoever makes the connection: the JavaScript client goes on counting on its next connection.
export class Ids {
    constructor(first = 1) {
        this.next = first;
    }

    take() {
        return this.next++;
    }
}

// Everything that JavaScript has and that can travel.
export const SAMPLES = [
    "text", "za\u017c\u00f3\u0142\u0107 \ud83d\ude00", "", 0, 1, -1.5, 2 ** 53 - 1, 2 ** 53, 1e21, 1e-7, NaN, -Infinity, 5n, -(2n ** 70n),
    true, false, null, undefined, Buffer.from([0, 1, 255]), Buffer.alloc(0), [], {},
    [undefined, null, 5n, "s:x", [[{}]]], { b: undefined, a: { c: 1n, d: [true] } },
];

const kindOf = (value) => {
    if (value instanceof Uint8Array) return "bytes";
    if (Array.isArray(value)) return value.map(kindOf);
    if (value instanceof Date) return "date";
    if (value === null) return "null";
    if (typeof value === "object") return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, kindOf(v)]));
    return typeof value;
};

// One authenticated connection. Every event is told; those of `answers` are answered.
export class Connection {
    constructor(socket, ids) {
        this.socket = socket;
        this.ids = ids;
        this.awaited = new Map();
        this.answers = {
            echo: (args, reply) => reply("echo", args),
            kinds: (args, reply) => reply("kinds", args.map(kindOf)),
            samples: (args, reply) => reply("samples", SAMPLES),
            dates: (args, reply) => reply("dates", [new Date(0), { nested: [new Date(1577934245678)] }]),
            "answer as": ([event, ...values], reply) => reply(event, values),
            twice: ([first, second], reply) => {
                reply("first", [first]);
                reply("second", [second]);
            },
            // a question before our answer, which is what came
            "ask back": ([question, ...values], reply) => this.send(question, values, (args, _, [event]) => {
                reply("asked back", [event, ...args]);
            }),
            // a conversation: our reply is a question, whose answer we answer
            interview: (args, reply) => reply("your name?", [], ([name], answer) => {
                answer("your age?", [name], ([age], thank) => thank("noted", [name, age]));
            }),
            // and one that we begin: ask, and tell what came
            "ask me": ([question]) => this.send("question", [question], (args, reply, [event]) => {
                reply("thanks", args, (more) => tell({ conversation: [event, ...more] }));
            }),
        };
    }

    send(event, args, onReply, replyTo = null) {
        const id = this.ids.take();
        if (onReply) {
            this.awaited.set(id, onReply);
        }
        this.socket.send(encode(event, id, replyTo, ...args));
        return id;
    }

    handle([event, id, replyTo, ...args]) {
        tell({ event, id, replyTo, args: args.map(describe) });
        const reply = (name, values, onReply) => this.send(name, values, onReply, id);
        const onReply = this.awaited.get(replyTo);
        if (onReply) {
            this.awaited.delete(replyTo);
            onReply(args, reply, [event, id, replyTo]);
        }
        else {
            this.answers[event]?.(args, reply);
        }
    }

    // Commands that both ends know.
    commands() {
        return {
            send: ({ event, args }) => tell({ sent: this.send(event, args.map(build)) }),
            ask: ({ event, args }) => this.send(event, args.map(build), (values, reply, [answer]) => (
                tell({ answer, args: values.map(describe) })
            )),
            text: ({ text }) => this.socket.send(text),
            raw: ({ hex }) => this.socket.send(Buffer.from(hex, "hex")),
            close: ({ code, reason }) => this.socket.close(code, reason),
            terminate: () => this.socket.terminate(),
        };
    }
}
