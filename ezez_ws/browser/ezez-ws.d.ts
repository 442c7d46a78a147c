/**
 * The types of `ezez-ws.js`, and what each option and method promises. Durations are milliseconds, sizes are bytes.
 */

/** What can travel in an event. Bytes travel only as whole arguments, not inside arrays and objects. */
export type Value =
    | string | number | bigint | boolean | null | undefined | Uint8Array | ArrayBuffer | ArrayBufferView
    | readonly unknown[] | { readonly [key: string]: unknown };

/** The events of one direction: names, each with the arguments that come with it. */
export type Events = { [event: string]: any[] };

/** What an interface of events has to satisfy; an `interface` does, too, which has no index. */
type EventsOf<T> = { [Event in keyof T]: any[] };

/** The ids of an incoming event: its own, and that of the event which it answers (`null`: it is no reply). */
export interface Ids {
    readonly eventId: number;
    readonly replyTo: number | null;
}

/** A message that was sent, or waits in the queue: then its `eventId` is `null` until it goes out. */
export interface SentMessage {
    readonly eventId: number | null;
    readonly replyTo: number | null;
}

/** An event, as callbacks that are for all of them get it. */
export type OnAnyEvent<Incoming, Outgoing> = (
    event: keyof Incoming & string, args: any[], reply: ReplyFunction<Incoming, Outgoing>, ids: Ids,
) => unknown;

/** Hears of an event of one name. */
export type Listener<Incoming, Outgoing, Event extends keyof Incoming> = (
    args: Incoming[Event], reply: ReplyFunction<Incoming, Outgoing>, ids: Ids,
) => unknown;

/** Options of `request` and `call`. */
export interface RequestOptions {
    /**
     * How long to wait for the reply, the time in the queue included. When it has passed, a message that still waits in
     * the queue is taken out of it. Without one, `clearAwaitingRepliesAfter` holds from when the message goes out.
     */
    timeout?: number | undefined;
}

/** What a request resolves to. */
export interface Reply<Incoming = Events, Outgoing = Events> {
    event: keyof Incoming & string;
    args: any[];
    /** Answers the answer. */
    reply: ReplyFunction<Incoming, Outgoing>;
    ids: Ids;
}

/**
 * Answers an incoming event, as `send` does. It belongs to the connection of that event: once that is gone nothing is
 * sent, and nothing is queued.
 */
export interface ReplyFunction<Incoming, Outgoing> {
    <Event extends keyof Outgoing & string>(
        event: Event, args?: Outgoing[Event], onReply?: OnAnyEvent<Incoming, Outgoing>,
    ): SentMessage | undefined;
    /** Answers, and waits for the answer to that, as the client's `request` does. */
    request<Event extends keyof Outgoing & string>(
        event: Event, args?: Outgoing[Event], options?: RequestOptions,
    ): Promise<Reply<Incoming, Outgoing>>;
}

/** What `call` takes. */
export type Question<Outgoing> = {
    [Event in keyof Outgoing & string]: [event: Event, args?: Outgoing[Event], options?: RequestOptions];
}[keyof Outgoing & string];

/** What `waitFor` resolves to. */
export interface Received<Incoming = Events, Outgoing = Events, Event extends keyof Incoming = keyof Incoming> {
    event: Event;
    args: Incoming[Event];
    reply: ReplyFunction<Incoming, Outgoing>;
    ids: Ids;
}

/** Options of `waitFor`. */
export interface WaitOptions<Incoming = Events, Outgoing = Events, Event extends keyof Incoming = keyof Incoming> {
    /** How long to wait for it, connecting included. Without one it is waited for as long as there is a connection. */
    timeout?: number | undefined;
    /** Whether it is this one. What it throws is what `waitFor` rejects with. */
    where?: ((received: Received<Incoming, Outgoing, Event>) => unknown) | undefined;
}

/** The methods of a contract that are notices: they return nothing, and no promise. */
export type NoticeOf<Contract> = {
    [Method in keyof Contract]: Contract[Method] extends (...args: any[]) => PromiseLike<unknown> ? never : Method;
}[keyof Contract] & string;

/** A type that is given, or its default, and not made out of an argument. */
type Given<T> = [T][T extends unknown ? 0 : never];

/** Options of `proxy`. */
export interface ProxyOptions<Contract> {
    /** How long each call may take, as in `call`. */
    timeout?: number | undefined;
    /**
     * The methods that nobody answers: they send, and return nothing. One that is not named here is a call whose answer
     * never comes, which counts as awaited until its time has passed, and is silent about that.
     */
    notices?: readonly NoticeOf<Contract>[] | undefined;
    /** The events of methods that are not called as the method, with `-` for `_`. */
    events?: { readonly [Method in keyof Contract]?: string } | undefined;
}

/** A contract without types. */
export interface AnyContract {
    [method: string]: (...args: any[]) => Promise<any>;
}

/** How values that the protocol does not know become text, and the text becomes values. */
export interface CodecOptions {
    /**
     * Tag to function. Each is asked, in order, for a value that the codec does not know, and returns its text, or
     * `null` for "not mine". Both ends have to agree on the tags; `s n u l b i` are taken.
     */
    serializers?: { readonly [tag: string]: (value: any) => string | null | undefined } | undefined;
    /** Tag to function that turns such a text into a value again. */
    deserializers?: { readonly [tag: string]: (text: string) => unknown } | undefined;
    /** Whether the top-level keys of an object that is a whole argument are sorted. Default: `true`. */
    sortProps?: boolean | undefined;
    /** How many arrays and objects may be nested in one argument, 1 to 200, either way. Default: `64`. */
    maxDepth?: number | undefined;
    /** How many digits a bigint may have, either way. Default: `10000`. */
    maxBigIntDigits?: number | undefined;
}

/** A value, or a function that says what it is now. */
type OrAsked<T> = T | (() => T | PromiseLike<T>);

/** Options of a client. */
export interface Options extends CodecOptions {
    /**
     * The key; `null` where the server does not speak this protocol's authentication. Or a function, asked before each
     * attempt to connect, for a token that is renewed: a key that the server rejects is followed by a fresh one then,
     * once. One that throws, or takes longer than `connectTimeout`, is a failed attempt. Default: `""`.
     */
    auth?: OrAsked<string> | null | undefined;
    /** WebSocket subprotocols to offer. Default: `[]`. */
    subprotocols?: string | string[] | undefined;
    /** Whether to connect again after a lost connection. Never after `close()` or auth-rejected. Default: `true`. */
    autoReconnect?: boolean | undefined;
    /** The first pause before connecting again; each is twice the last, less up to half by chance. Default: `1000`. */
    reconnectDelay?: number | undefined;
    /** The longest such pause. Default: `30000`. */
    reconnectDelayMax?: number | undefined;
    /**
     * How many attempts in a row may fail, the first included, before the client gives up; `null` is no limit. It is
     * counted anew after each authentication. Default: `null`.
     */
    reconnectAttempts?: number | null | undefined;
    /** How long one attempt to connect may take, with what `url` and `auth` take as functions. Default: `10000`. */
    connectTimeout?: number | undefined;
    /** How long the server may take to answer a close. Default: `5000`. */
    closeTimeout?: number | undefined;
    /**
     * What `send` does while there is no authenticated connection: `"queue"` keeps the message until there is one,
     * `"ignore"` drops it, `"throw"` throws `NotConnected`. Default: `"queue"`.
     */
    sendWhenNotConnected?: "queue" | "ignore" | "throw" | undefined;
    /** How large the queue may become; past it `send` throws `QueueFull`. Default: `1048576`. */
    queueLimitBytes?: number | undefined;
    /**
     * How long a reply is waited for at all. Then an `onReply` is forgotten and a request ends with `ReplyTimeout`; a
     * reply that comes later goes to the listeners. Default: `300000`.
     */
    clearAwaitingRepliesAfter?: number | undefined;
    /** How many messages may wait for a reply; past it `send`, `request` and `reply` refuse. Default: `10000`. */
    maxAwaitingReplies?: number | undefined;
    /**
     * Whether to go on, after a short absence, in the rooms that the server lets us into again: what was missed there
     * reaches the listeners as any event, or `onMissed` tells that it is lost. It needs an `auth`, a `maxDepth` of at
     * least 3, and a server that recovers; with any other all that was known is lost. Default: `false`.
     */
    recover?: boolean | undefined;
    /**
     * What becomes of an event for which there is neither handler nor listener nor `onMessage`, nor anybody who waits
     * for it: it is ignored, or answered by an error with code `unknown-event`. A reply is never answered so.
     * Default: `"ignore"`.
     */
    unknownEvents?: "ignore" | "error" | undefined;
    /**
     * What becomes of a text message, which this protocol does not have: it is ignored; or it is the event
     * `EVENT_UNKNOWN_MESSAGE` with the text as argument; or with the text as JSON, where it is. Default: `"ignore"`.
     */
    unknownMessages?: "ignore" | "emit" | "emitTryJson" | undefined;
    /**
     * What becomes of a malformed binary message: it is told to `onError`; or it is the event
     * `EVENT_UNKNOWN_DATA_TYPE` with the bytes; or the connection is closed with 4002. Default: `"ignore"`.
     */
    unknownData?: "ignore" | "emit" | "close" | undefined;
    /** The class to make WebSockets with, where none is built in. Default: `globalThis.WebSocket`. */
    WSConstructor?: (new (url: string, protocols?: any) => any) | undefined;
}

/**
 * What a client tells. An exception in a callback or listener, or of an async one, is told to `onError`, or where there
 * is none to `console.error`, and ends nothing.
 */
export interface Callbacks<Incoming = Events, Outgoing = Events> {
    /**
     * There is a connection, and our key is on its way. With `auth: null` the client is ready: what is sent in here
     * goes out before what is queued.
     */
    onConnect?: (() => unknown) | undefined;
    /**
     * The server has accepted us, for the first time or after a reconnect. What is sent in here, before any `await`,
     * goes out before what is queued: the place to enter rooms again.
     */
    onAuthOk?: (() => unknown) | undefined;
    /**
     * The server refuses us, a fresh key too where `auth` is a function. The client does not connect again until
     * `reconnect()` is called. Without this callback `console.warn` tells.
     *
     * @param reason As the server wrote it: a text to show, not HTML.
     */
    onAuthRejected?: ((reason: string) => unknown) | undefined;
    /**
     * With `recover`: events of these rooms are lost, load anew what you have of them. It is not called where nothing
     * was missed. On a connection that cannot recover, what is sent in here goes out before what is queued.
     *
     * @param rooms Sorted; `"*"` stands for what goes to everyone.
     */
    onMissed?: ((rooms: string[]) => unknown) | undefined;
    /** Every event, replies too, before `onReply` or listeners see it. */
    onMessage?: OnAnyEvent<Incoming, Outgoing> | undefined;
    /** A connection has ended: once for each that there was, 1006 where the server went without a close. */
    onDisconnect?: ((code: number, reason: string) => unknown) | undefined;
    /**
     * What went wrong: `ConnectionFailed` for each attempt, `MalformedMessage`, and what callbacks and listeners throw.
     * Without it the console has that; of the attempts only the first, the 10th, the 100th and so on.
     */
    onError?: ((error: any) => unknown) | undefined;
    /**
     * The client has given up, after `reconnectAttempts`, or without `autoReconnect` after the first attempt that
     * failed; this is the error of the last one. It does not connect again until `reconnect()` is called. Without this
     * callback `console.warn` tells.
     */
    onGaveUp?: ((error: ConnectionFailed) => unknown) | undefined;
}

/**
 * Connects to a server, stays connected, and exchanges named events with it.
 *
 * It connects at once. Listeners that are registered in the same turn as the client is made miss nothing. Callbacks
 * and listeners run in the order in which messages arrive.
 */
export class EZEZWebSocketClient<
    Incoming extends EventsOf<Incoming> = Events, Outgoing extends EventsOf<Outgoing> = Incoming,
> {
    /**
     * @param url `ws:`, `wss:`, or `http:` and `https:`, which are taken as those; relative to the page where it is.
     *     Or a function, asked before each attempt to connect.
     * @throws TypeError An option is unknown or wrong; the text names it.
     */
    constructor(url: OrAsked<string | URL>, options?: Options, callbacks?: Callbacks<Incoming, Outgoing>);

    /** Whether there is a connection, authenticated, that is not closing. */
    readonly alive: boolean;

    /** How many messages still wait for their reply, queued ones included. */
    readonly awaitingRepliesCount: number;

    /** The underlying WebSocket, or `null`; after a reconnect another one. To send through it bypasses the protocol. */
    readonly client: WebSocket | null;

    /** With `recover`, the rooms that the server says we are in, sorted; none while there is no connection. */
    readonly rooms: readonly string[];

    /** The subprotocol that the server has chosen, `null` without one and without a connection. */
    readonly subprotocol: string | null;

    /**
     * Try at once: in place of after a pause, or again, where the client has given up, was rejected, or has lost its
     * connection without `autoReconnect`. Does nothing where there is a connection or an attempt at one.
     *
     * @throws NotConnected The client was closed, which is final.
     */
    reconnect(): void;

    /** The same. */
    start(): void;

    /**
     * Close, for good. What waits for a reply, or in the queue, ends with `ConnectionClosed`.
     *
     * @param code 1000, or 3000 to 4999: a browser sends no other.
     * @param reason At most 123 bytes of UTF-8.
     */
    close(code?: number, reason?: string): void;

    /**
     * Send an event.
     *
     * @param onReply Called for the first reply, which listeners do not see then.
     * @returns `undefined` where the message was dropped: `"ignore"`, or the client has ended by itself.
     * @throws SerializationError A value cannot be sent; the text names its place, as in `args[1]["when"][0]`.
     * @throws QueueFull The queue has no room for it.
     * @throws TooManyReplies With an `onReply`, where `maxAwaitingReplies` are awaited.
     * @throws NotConnected With `"throw"`; and with `"queue"` after `close()`.
     */
    send<Event extends keyof Outgoing & string>(
        event: Event, args?: Outgoing[Event], onReply?: OnAnyEvent<Incoming, Outgoing>,
    ): SentMessage | undefined;

    /**
     * Send an event and wait for its reply, which listeners do not see then.
     *
     * Rejects with `ReplyTimeout`, with `ConnectionClosed` as soon as the connection is gone (a message that is still
     * queued waits for the next one), and with what `send` throws.
     */
    request<Event extends keyof Outgoing & string>(
        event: Event, args?: Outgoing[Event], options?: RequestOptions,
    ): Promise<Reply<Incoming, Outgoing>>;

    /**
     * Send an event that the other side answers by what its handler returns or throws; resolve to the value. A reply
     * of any other event gives its arguments: none is `null`, one is itself, more are an array.
     *
     * Rejects with `RemoteError`, which the other side has answered, and else as `request` does.
     */
    call<Value = any>(...question: Question<Outgoing>): Promise<Value>;

    /**
     * Wait for the next event of that name, other than a reply that is awaited. It takes nothing from listeners and
     * handlers.
     *
     * Rejects with `ReplyTimeout`, with what `where` throws, with `ConnectionClosed` as soon as the connection is gone
     * (where there is none yet, it waits for that), and with `NotConnected` after `close()`.
     */
    waitFor<Event extends keyof Incoming & string>(
        event: Event, options?: WaitOptions<Incoming, Outgoing, Event>,
    ): Promise<Received<Incoming, Outgoing, Event>>;

    /**
     * Make an object whose methods are calls, typed by a contract: `client.proxy<Shop>()`, with `Shop` as
     * `ezez-ws contract --typescript` writes it. The event is the method's name with `-` for `_`; the arguments are
     * positional. What begins with `_` or `$`, and `then` and `toJSON`, is no method.
     *
     * @throws TypeError An option is unknown or wrong.
     */
    proxy<Contract extends object = AnyContract>(options?: ProxyOptions<Given<Contract>>): Contract;

    /**
     * Send plain JSON as a text message, to a server that does not speak this protocol. It is never queued.
     *
     * @returns Whether it was sent.
     * @throws TypeError There is a second argument, as the npm client's `sendJson(event, value)` has it.
     */
    sendJson(value: unknown): boolean;

    /**
     * Listen to an event of the server's. Listeners outlive a reconnect; one that is registered twice is called twice.
     * For `connect`, `disconnect`, `error` and `*`, where most likely a callback is meant, `console.warn` says so.
     */
    on<Event extends keyof Incoming & string>(event: Event, listener: Listener<Incoming, Outgoing, Event>): this;

    /** Listen to the next event of that name only. */
    once<Event extends keyof Incoming & string>(event: Event, listener: Listener<Incoming, Outgoing, Event>): this;

    /**
     * Answer an event by a function, which may be async: by what it returns (nothing is `null`), or by an error where
     * it throws. The caller gets code, message and data of a `CallError`; of all else the code `internal` and no more,
     * and `onError` has it. It runs after the listeners; where the event has been replied to, it does not answer.
     *
     * @throws RangeError The event has a handler already.
     */
    handler<Event extends keyof Incoming & string>(
        event: Event, handler: (...args: Incoming[Event]) => unknown,
    ): this;

    /** Remove a listener, as often as it is registered, or the handler; or whatever hears of the event. */
    off<Event extends keyof Incoming & string>(
        event: Event, listener?: Listener<Incoming, Outgoing, Event> | ((...args: Incoming[Event]) => unknown),
    ): this;
}

/** Values to the bytes of one message and back, byte for byte as `@ezez/utils` has them. Immutable. */
export class Codec {
    constructor(options?: CodecOptions);
    /** @throws SerializationError A value cannot travel. */
    encode(values: readonly unknown[]): Uint8Array;
    /** @throws MalformedMessage The bytes are no message; the text says where and why. */
    decode(data: Uint8Array | ArrayBuffer): unknown[];
}

/** The event that answers a call, with one argument: the value. To send it is fine, only `onMessage` hears of it. */
export const EVENT_OK: "ezez-ws:ok";

/** The event that answers a call that has failed, with one argument: an object with `code`, `message` and `data`. */
export const EVENT_ERROR: "ezez-ws:error";

/** The event of a text message, with `unknownMessages`. */
export const EVENT_UNKNOWN_MESSAGE: "ezez-ws:incoming:unknown-message";

/** The event of a malformed message, with `unknownData: "emit"`. */
export const EVENT_UNKNOWN_DATA_TYPE: "ezez-ws:incoming:unknown-data-type";

/** The root of all errors of this module. A wrong option or argument is a `TypeError` or a `RangeError`. */
export class EZEZError extends Error {}

/** The connection is gone: nothing was sent, or nobody will answer any more. */
export class ConnectionClosed extends EZEZError {
    constructor(code?: number, reason?: string, options?: { cause?: unknown });
    readonly code: number;
    /** As the server wrote it; in `message` it is escaped and cut. */
    readonly reason: string;
}

/**
 * One attempt to connect has failed. A browser tells a page neither why nor the HTTP status. Where `url` or `auth` is a
 * function and has thrown, `cause` is what.
 */
export class ConnectionFailed extends EZEZError {}

/** The client is not connected and was told not to queue, or is closed. */
export class NotConnected extends EZEZError {}

/** The queue has no room for the message, which was not queued. */
export class QueueFull extends EZEZError {}

/**
 * No reply in time; the text names the event, and says where it was still queued, and why. For `waitFor`: no event.
 */
export class ReplyTimeout extends EZEZError {}

/** `maxAwaitingReplies` replies are awaited already. Nothing was sent. */
export class TooManyReplies extends EZEZError {}

/** A value cannot be sent. Nothing was sent. */
export class SerializationError extends EZEZError {}

/** Bytes from the server that are no message of the protocol. */
export class MalformedMessage extends EZEZError {}

/**
 * The other side has answered a call by an error. Codes of the library: `internal` (its handler has failed),
 * `invalid-args`, `unknown-event`, `error` (an error in a form of its own, whose arguments are the `data`).
 */
export class RemoteError extends EZEZError {
    constructor(code: string, message?: string, data?: unknown);
    readonly code: string;
    /** As the other side wrote it: a text to show, not HTML. */
    message: string;
    readonly data: any;
}

/** Thrown by a handler: the caller gets a `RemoteError` with this code, message and data. */
export class CallError extends EZEZError {
    constructor(code: string, message?: string, data?: unknown);
    readonly code: string;
    readonly data: any;
}
