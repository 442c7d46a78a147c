// How the browser module is used from TypeScript: compiled by test_types.py, never run. A line after @ts-expect-error
// has to be refused.

import {
    CallError, Codec, ConnectionClosed, EVENT_ERROR, EVENT_OK, EVENT_UNKNOWN_DATA_TYPE, EZEZError, EZEZWebSocketClient,
    RemoteError, ReplyTimeout, TooManyReplies,
} from "../../ezez_ws/browser/ezez-ws.js";
import type { Callbacks, Ids, Options, Received, Reply, SentMessage } from "../../ezez_ws/browser/ezez-ws.js";

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
    unknownEvents: "error",
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

// Calls: what they resolve to is any, or what is said.
export const called = async (): Promise<number | string> => {
    try {
        const sum: number = await client.call("sum", [1, 2], { timeout: 1000 });
        const text = await client.call<string>("say", ["tea", "hello"]);
        return sum + text.length + (await client.call("leave")).length;
    }
    catch (error) {
        if (error instanceof RemoteError) return `${error.code.trim()} ${error.message.trim()} ${error.data}`;
        throw error;
    }
};
client.handler("said", (room, text) => room.length + text.length)
    .handler("total", async (sum) => {
        if (sum < 0) throw new CallError("negative", "a sum is positive", [sum]);
        return sum.toFixed();
    });
const handleImage = (data: Uint8Array) => data.byteLength;
client.handler("image", handleImage).off("image", handleImage);

export const waited = async (): Promise<string> => {
    const { args: [room], reply }: Received<Incoming, Outgoing, "said"> = await client.waitFor("said", {
        timeout: 1000, where: ({ args: [room, text], ids }) => room === text.trim() && ids.replyTo === null,
    });
    reply("say", [room, "thanks"]);
    return (await client.waitFor("said")).args[1].trim() + (await client.waitFor("total")).args[0].toFixed();
};

// As `ezez-ws contract --typescript` writes it.
interface Shop {
    /** What an article costs. */
    price(article: string): Promise<string>;
    price_of(article: string, count?: number): Promise<{ total: string } | null>;
    /** Somebody bought. */
    sold(article: string, count?: number): void;
}

export const shopping = async (): Promise<number> => {
    const shop: Shop = client.proxy<Shop>();
    const quick = client.proxy<Shop>({ timeout: 1000, notices: ["sold"], events: { price: "shop.price" } });
    shop.sold("tea");
    quick.sold("tea", 2);
    const { price } = quick;
    const total = await shop.price_of("tea", 3);
    return (await price("tea")).length + (total?.total.length ?? 0);
};

// Without types of its own every event and argument is taken.
const untyped = new EZEZWebSocketClient("/ws");
untyped.on(EVENT_UNKNOWN_DATA_TYPE, ([data]) => data);
untyped.handler("anything", async (one, two) => untyped.call("anything else", [one, two]));
untyped.waitFor("anything", { where: ({ args: [first] }) => first }).then(({ args: [first] }) => first);
untyped.send(EVENT_OK, [1]);
untyped.send(EVENT_ERROR, [{ code: "a", message: "b", data: null }]);
export const anything: Promise<any> = untyped.proxy({ timeout: 5, notices: [], events: { x: "y" } }).anything!(1, "b");
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
// @ts-expect-error an argument is missing
client.call("say", ["tea"]);
// @ts-expect-error there is no such event to call
client.call("shout");
// @ts-expect-error it is no string
export const notText: Promise<number> = client.call<string>("sum", [1]);
// @ts-expect-error there is no such option
client.call("sum", [1], { seconds: 5 });
// @ts-expect-error the room is a string
client.handler("said", (room: number) => room);
// @ts-expect-error a handler gets arguments, not an array of them
client.handler("total", ([sum]) => sum);
// @ts-expect-error a handler needs a function
client.handler("total");
// @ts-expect-error there is no such event to wait for
client.waitFor("leave");
// @ts-expect-error the sum is a number
client.waitFor("total", { where: ({ args: [sum] }) => sum.trim() });
// @ts-expect-error an article is a string
client.proxy<Shop>().price(5);
// @ts-expect-error there is no such method
client.proxy<Shop>().cost("tea");
// @ts-expect-error an article is missing
client.proxy<Shop>().sold();
// @ts-expect-error a notice has no answer
client.proxy<Shop>().sold("tea").then(() => {});
// @ts-expect-error what is answered is no notice
client.proxy<Shop>({ notices: ["price"] });
// @ts-expect-error there is no such method to name an event of
client.proxy<Shop>({ events: { cost: "shop.cost" } });
// @ts-expect-error milliseconds are a number
client.proxy<Shop>({ timeout: "5" });
// @ts-expect-error a code is a string
new CallError(5);
// @ts-expect-error there is no such choice
new EZEZWebSocketClient("/ws", { unknownEvents: "throw" });
