// How the browser module is used from TypeScript: compiled by test_types.py, never run. A line after @ts-expect-error
// has to be refused.

import {
    Codec, ConnectionClosed, EVENT_UNKNOWN_DATA_TYPE, EZEZError, EZEZWebSocketClient, ReplyTimeout, TooManyReplies,
} from "../../ezez_ws/browser/ezez-ws.js";
import type { Callbacks, Ids, Options, Reply, SentMessage } from "../../ezez_ws/browser/ezez-ws.js";

interface Incoming {
    said: [room: string, text: string];
    total: [sum: number];
    image: [data: Uint8Array];
}

type Outgoing = { say: [room: string, text: string]; sum: number[]; leave: [] };

const options: Options = {
    auth: null,
    reconnectDelay: 500,
    reconnectAttempts: 5,
    maxAwaitingReplies: 100,
    maxBigIntDigits: 50,
    recover: false,
    sendWhenNotConnected: "throw",
    serializers: { date: (value) => value instanceof Date ? value.toISOString() : null },
    deserializers: { date: (text) => new Date(text) },
};
const callbacks: Callbacks<Incoming, Outgoing> = {
    onAuthOk: () => {},
    onMissed: (rooms) => rooms.map((room) => room.toUpperCase()),
    onAuthRejected: (reason) => reason.toUpperCase(),
    onDisconnect: (code, reason) => `${code.toFixed()} ${reason}`,
    onMessage: (event, args, reply, ids) => event === "said" && args.length && ids.eventId && reply("leave"),
    onError: (error) => console.error(error),
    onGaveUp: (error) => error.message.length,
};
const client = new EZEZWebSocketClient<Incoming, Outgoing>(new URL("ws://example.org"), options, callbacks);

client.on("said", ([room, text], reply, ids: Ids) => {
    const sent: SentMessage | undefined = reply("say", [room, text.trim()]);
    return [sent?.eventId, ids.replyTo];
}).once("image", async ([data]) => data.byteLength);
client.off("said");

export const total = async (): Promise<number> => {
    try {
        const reply: Reply<Incoming, Outgoing> = await client.request("sum", [1, 2], { timeout: 1000 });
        await reply.reply.request("leave");
        return reply.args[0];
    }
    catch (error) {
        if (error instanceof ConnectionClosed) return error.code;
        if (error instanceof ReplyTimeout || error instanceof TooManyReplies) return error.name.length;
        if (error instanceof EZEZError) return error.message.length;
        throw error;
    }
};

client.send("say", ["tea", "hello"], (event, args, reply, ids) => [event, args, reply, ids.replyTo]);
client.send("leave");
client.close(4000, "bye");
const bytes: Uint8Array = new Codec({ sortProps: false }).encode([1n, undefined, { a: null }]);
const socket: WebSocket | null = client.client;
const subprotocol: string | null = client.subprotocol;
const isInLobby: boolean = client.rooms.includes("lobby");
client.reconnect();
client.sendJson({ subprotocol, isInLobby });

// Address and key may be asked for, at once or in time.
new EZEZWebSocketClient(() => "/ws", { auth: () => "key" });
new EZEZWebSocketClient(async () => new URL("wss://example.org"), { auth: async () => (await fetch("/token")).text() });

// Without types of its own every event and argument is taken.
const untyped = new EZEZWebSocketClient("/ws");
untyped.on(EVENT_UNKNOWN_DATA_TYPE, ([data]) => data);
untyped.send("anything", [bytes, socket?.url, untyped.alive, untyped.awaitingRepliesCount]);

// @ts-expect-error there is no such event
client.send("shout", ["tea"]);
// @ts-expect-error an argument is missing
client.send("say", ["tea"]);
// @ts-expect-error the text is a string
client.on("said", ([, text]) => text.toFixed());
// @ts-expect-error events that come in are not those that go out
client.on("say", () => {});
// @ts-expect-error it is called sendWhenNotConnected, and has other values
new EZEZWebSocketClient("/ws", { sendWhenNotConnected: "queueAfterAuth" });
// @ts-expect-error there is no such option
new EZEZWebSocketClient("/ws", { clearAwaitingRepliesAfterMs: 5 });
// @ts-expect-error it cannot be set
client.alive = true;
// @ts-expect-error the server says which they are
client.rooms.push("lobby");
// @ts-expect-error the value alone
client.sendJson("say", { text: "hello" });
// @ts-expect-error a key is a string
new EZEZWebSocketClient("/ws", { auth: () => null });
