/**
 * A client for browsers: named events with arguments over a WebSocket, authentication, replies that can be awaited.
 *
 * One ES module without dependencies. Names and meanings are those of the Python client in JavaScript's spelling;
 * what each option and method promises stands in `ezez-ws.d.ts`. Durations are milliseconds, sizes are bytes.
 *
 * From top to bottom: errors, texts, the codec (values to message bytes and back), the kinds of message, the options,
 * one connection, and the client, which has one connection after the other.
 */

const VERSION = 1;
const RESERVED = "ezez-ws::"; // names that belong to the protocol
const LOCAL = "ezez-ws:incoming:"; // names of events that a client makes for itself
const AUTH = `${RESERVED}auth`;
const AUTH_OK = `${RESERVED}auth-ok`;
const AUTH_REJECTED = `${RESERVED}auth-rejected`;

export const EVENT_UNKNOWN_MESSAGE = `${LOCAL}unknown-message`;
export const EVENT_UNKNOWN_DATA_TYPE = `${LOCAL}unknown-data-type`;

const NORMAL = 1000;
const ABNORMAL = 1006;
const POLICY_VIOLATION = 1008;
const MALFORMED = 4002; // protocol.md says 1002, which a browser does not let a page send

// -- errors -------------------------------------------------------------------------------------------------------

export class EZEZError extends Error {
    constructor(message, { cause } = {}) {
        super(message, cause && { cause });
        this.name = this.constructor.name;
    }
}

export class ConnectionClosed extends EZEZError {
    constructor(code = ABNORMAL, reason = "") {
        super(`connection closed (${codeAnd(code, reason)})`);
        this.code = code;
        this.reason = reason;
    }
}

export class ConnectionFailed extends EZEZError {}
export class NotConnected extends EZEZError {}
export class QueueFull extends EZEZError {}
export class ReplyTimeout extends EZEZError {}
export class SerializationError extends EZEZError {}
export class MalformedMessage extends EZEZError {}

// -- texts --------------------------------------------------------------------------------------------------------

const UNPRINTABLE = /(?! )[\p{C}\p{Z}]/gu;

const cut = (text, limit) => text.length <= limit ? text : `${text.slice(0, limit - 1)}…`;

const escaped = (text) => text.replace(UNPRINTABLE, (letter) => `\\u{${letter.codePointAt(0).toString(16)}}`);

/** Text of the server's, to print: no control characters, and not too long. */
const shown = (text) => escaped(cut(text, 200));

const quote = (text) => escaped(JSON.stringify(cut(text, 40)));

const codeAnd = (code, reason) => reason ? `${code}, ${shown(reason)}` : `${code}`;

function typeName(value) {
    if (value === null) {
        return "null";
    }
    return typeof value === "object" ? value.constructor?.name ?? "object" : typeof value;
}

function described(value) {
    switch (typeof value) {
        case "string": return quote(value);
        case "number": case "boolean": return String(value);
        default: return typeName(value);
    }
}

// -- the codec ----------------------------------------------------------------------------------------------------

const UTF8 = new TextEncoder();
const STRICT_UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const HEAD = /^([0-9]{1,10})([ftj])$/;
const LONGEST_HEAD = 11;
const NUMBER = /^-?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?$/;
const INTEGER = /^-?[0-9]+$/;
const WORDS = new Set(["NaN", "Infinity", "-Infinity"]);
const LONE_SURROGATE = /\p{Surrogate}/u; // which a pair is not
const LONE_SURROGATES = /\p{Surrogate}/gu;
const SURROGATE_ESCAPE = /\\u[dD][89a-fA-F]/;
const RESERVED_TAGS = new Set(["s", "n", "u", "l", "b", "i"]);
const LARGEST_MAX_DEPTH = 200;
const BINARY_COST = 200; // bytes of memory that a short Uint8Array takes
const MEMORY_FACTOR = 30; // times the message's size
const UNMETERED = 16_384; // bytes of a message whose memory nobody minds

/** Why a field is malformed; `decode` adds where. */
class Bad extends Error {}

export class Codec {
    #serializers;
    #deserializers;
    #sortProps;
    #maxDepth;
    #maxBigIntDigits;

    constructor({
        serializers = {}, deserializers = {}, sortProps = true, maxDepth = 64, maxBigIntDigits = 10_000,
    } = {}) {
        this.#serializers = checkTags("serializers", serializers);
        this.#deserializers = new Map(checkTags("deserializers", deserializers));
        check("sortProps", sortProps, typeof sortProps === "boolean", "true or false");
        const fits = Number.isInteger(maxDepth) && maxDepth >= 1 && maxDepth <= LARGEST_MAX_DEPTH;
        check("maxDepth", maxDepth, fits, `an integer from 1 to ${LARGEST_MAX_DEPTH}`);
        checkCount("maxBigIntDigits", maxBigIntDigits);
        this.#sortProps = sortProps;
        this.#maxDepth = maxDepth;
        this.#maxBigIntDigits = maxBigIntDigits;
    }

    encode(values) {
        check("values", values, Array.isArray(values), "an array");
        return join(Array.from(values, (value, index) => this.#encodeField(value, index)).flat());
    }

    #encodeField(value, index) {
        const trail = Object.assign([], { index }); // the containers around a value, each with its key in there
        let [mark, payload] = ["t", bytesOf(value)];
        if (payload === null) {
            const isText = typeof value === "string";
            mark = isText ? "f" : "j";
            payload = UTF8.encode(isText ? wellFormed(value, trail) : this.#json(value, trail));
        }
        return [UTF8.encode(`${payload.length}${mark}\0`), payload, new Uint8Array(1)];
    }

    #json(value, trail) {
        switch (typeof value) {
            case "string": return JSON.stringify(`s:${wellFormed(value, trail)}`);
            case "number": return `"n:${value}"`;
            case "boolean": return value ? "\"b:1\"" : "\"b:\"";
            case "undefined": return "\"u:\"";
            case "bigint": return `"i:${this.#digits(value, trail)}"`;
        }
        if (value === null) {
            return "\"l:\"";
        }
        if (Array.isArray(value) || isPlainObject(value)) {
            return this.#container(value, trail);
        }
        if (bytesOf(value) !== null) {
            throw unsendable(trail, `${typeName(value)} cannot be nested; bytes travel only as whole arguments`);
        }
        return this.#custom(value, trail);
    }

    #digits(value, trail) {
        const max = this.#maxBigIntDigits;
        const atLeast = (value.toString(16).length - 2) * Math.log10(16); // hexadecimal takes linear time, decimal more
        const text = atLeast > max ? null : `${value}`;
        if (text === null || digitsIn(text) > max) {
            throw unsendable(trail, `a bigint of more than maxBigIntDigits=${max} digits cannot be sent`);
        }
        return text;
    }

    #container(value, trail) {
        const above = trail.findIndex((level) => level.container === value);
        if (above >= 0) {
            const again = place(Object.assign(trail.slice(0, above), { index: trail.index }));
            throw unsendable(trail, `a cycle cannot be sent; it is ${again} again`);
        }
        if (trail.length === this.#maxDepth) {
            throw unsendable(trail, `nested deeper than maxDepth=${this.#maxDepth}`);
        }
        const level = { container: value, key: null };
        trail.push(level);
        const text = Array.isArray(value) ? this.#array(value, level, trail) : this.#object(value, level, trail);
        trail.pop();
        return text;
    }

    #array(list, level, trail) {
        const items = Array.from(list, (item, index) => {
            level.key = index;
            return this.#json(item, trail);
        });
        return `[${items.join(",")}]`;
    }

    #object(object, level, trail) {
        const keys = Object.keys(object);
        const ordered = this.#sortProps && trail.length === 1 ? sorted(keys) : keys;
        const items = ordered.map((key) => {
            level.key = key;
            return `${JSON.stringify(wellFormed(key, trail, " (the key)"))}:${this.#json(object[key], trail)}`;
        });
        return `{${items.join(",")}}`;
    }

    #custom(value, trail) {
        for (const [tag, serializer] of this.#serializers) {
            const text = attempt(() => serializer(value), (error) => (
                unsendable(trail, `the serializer "${tag}" failed on ${typeName(value)}: ${error}`, error)
            ));
            if (typeof text === "string") {
                return JSON.stringify(`${tag}:${wellFormed(text, trail)}`);
            }
            if (text !== null && text !== undefined) {
                throw unsendable(trail, `the serializer "${tag}" returned ${typeName(text)}, not a string or null`);
            }
        }
        throw unsendable(trail, `${typeName(value)} cannot be sent; give the codec a serializer for it`);
    }

    decode(data) {
        const bytes = bytesOf(data);
        check("data", data, bytes !== null, "a Uint8Array or an ArrayBuffer");
        if (!bytes.length) {
            throw new MalformedMessage("an empty message");
        }
        const values = [];
        let room = Math.max(bytes.length, UNMETERED) * MEMORY_FACTOR;
        for (let position = 0; position < bytes.length;) {
            try {
                const { mark, start, end } = readHead(bytes, position);
                room -= mark === "t" ? BINARY_COST : 0;
                if (room < 0) {
                    throw new Bad(`the message needs more than ${MEMORY_FACTOR} times its size in memory`);
                }
                values.push(this.#decodeField(mark, bytes.subarray(start, end)));
                position = end + 1;
            }
            catch (error) {
                if (error instanceof Bad) {
                    const where = `field ${values.length + 1} at byte ${position}`;
                    throw new MalformedMessage(`${where}: ${error.message}`, { cause: error.cause });
                }
                throw error;
            }
        }
        return values;
    }

    #decodeField(mark, payload) {
        if (mark === "t") {
            return payload.slice();
        }
        const text = attempt(() => STRICT_UTF8.decode(payload), () => new Bad("invalid UTF-8"));
        if (mark === "f") {
            return text;
        }
        checkDepth(payload, this.#maxDepth);
        const value = attempt(() => JSON.parse(text), (error) => new Bad(`invalid JSON: ${shown(error.message)}`));
        return this.#untag(SURROGATE_ESCAPE.test(text) ? replaceLoneSurrogates(value) : value);
    }

    /** Replace tagged strings by their values, in containers in place. The depth is checked already. */
    #untag(value) {
        if (typeof value === "string") {
            return this.#scalar(value);
        }
        if (typeof value !== "object" || value === null) {
            return value;
        }
        for (const key of Object.keys(value)) {
            const item = this.#untag(value[key]);
            if (key === "__proto__") { // to assign it would change the object's prototype
                Object.defineProperty(value, key, { value: item });
            }
            else {
                value[key] = item;
            }
        }
        return value;
    }

    #scalar(text) {
        const colon = text.indexOf(":");
        const [tag, rest] = [text.slice(0, Math.max(colon, 0)), text.slice(colon + 1)];
        switch (tag) {
            case "s": return rest;
            case "b": return rest === "1";
            case "n":
                if (WORDS.has(rest) || NUMBER.test(rest)) return Number(rest);
                throw new Bad(`no number: ${quote(text)}`);
            case "i":
                if (INTEGER.test(rest) && digitsIn(rest) <= this.#maxBigIntDigits) return BigInt(rest);
                throw new Bad(`no bigint of at most maxBigIntDigits=${this.#maxBigIntDigits} digits: ${quote(text)}`);
        }
        if (text === "l:" || text === "u:") {
            return text === "l:" ? null : undefined;
        }
        const deserializer = this.#deserializers.get(tag);
        if (!deserializer) {
            throw new Bad(`${colon < 0 ? "a string without a tag" : "an unknown tag"}: ${quote(text)}`);
        }
        return attempt(() => deserializer(rest), (error) => (
            new Bad(`the deserializer ${quote(tag)} failed: ${shown(String(error))}`, { cause: error })
        ));
    }
}

/** Run `action`; what it throws becomes what `translate` makes of it. */
function attempt(action, translate) {
    try {
        return action();
    }
    catch (error) {
        throw translate(error);
    }
}

function checkTags(option, functions) {
    check(option, functions, isPlainObject(functions), "an object of functions");
    for (const [tag, each] of Object.entries(functions)) {
        if (!tag || tag.includes(":") || RESERVED_TAGS.has(tag) || LONE_SURROGATE.test(tag)) {
            const wanted = "take a text without \":\" that is none of s n u l b i";
            throw new RangeError(`${option}: "${tag}" cannot be a tag; ${wanted}`);
        }
        check(`${option}["${tag}"]`, each, typeof each === "function", "a function");
    }
    return Object.entries(functions);
}

function join(pieces) {
    const whole = new Uint8Array(pieces.reduce((size, piece) => size + piece.length, 0));
    let position = 0;
    for (const piece of pieces) {
        whole.set(piece, position);
        position += piece.length;
    }
    return whole;
}

/** The bytes of a buffer of any kind, as a view of it; null for all else. */
function bytesOf(value) {
    if (ArrayBuffer.isView(value)) {
        return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
    }
    const isBuffer = typeof value === "object" && Object.prototype.toString.call(value) === "[object ArrayBuffer]";
    return isBuffer ? new Uint8Array(value) : null;
}

/** Whether it is an object as `{}` makes them, of any frame's `Object`. */
function isPlainObject(value) {
    if (typeof value !== "object" || value === null) {
        return false;
    }
    const prototype = Object.getPrototypeOf(value);
    const isRoot = (object) => Object.getPrototypeOf(object) === null && Object.hasOwn(object, "isPrototypeOf");
    return prototype === null || isRoot(prototype);
}

/** Sorted by UTF-16 code units, but for integers, which come first in every object of JavaScript. */
const sorted = (keys) => Object.keys(Object.fromEntries(keys.sort().map((key) => [key, null])));

const place = (trail) => `args[${trail.index}]${trail.map(({ key }) => `[${JSON.stringify(key)}]`).join("")}`;

const unsendable = (trail, reason, cause, what = "") => (
    new SerializationError(`${place(trail)}${what}: ${reason}`, { cause })
);

function wellFormed(text, trail, what) {
    if (LONE_SURROGATE.test(text)) {
        throw unsendable(trail, "a string with a lone surrogate cannot be sent", undefined, what);
    }
    return text;
}

const digitsIn = (text) => text.length - (text[0] === "-" ? 1 : 0);

/** Return a value of JSON with U+FFFD for each lone surrogate, in keys too. The depth is checked already. */
function replaceLoneSurrogates(value) {
    const repair = (text) => text.replace(LONE_SURROGATES, "\ufffd");
    if (typeof value === "string") {
        return repair(value);
    }
    if (typeof value !== "object" || value === null) {
        return value;
    }
    return Array.isArray(value)
        ? value.map(replaceLoneSurrogates)
        : Object.fromEntries(Object.entries(value).map(([key, item]) => [repair(key), replaceLoneSurrogates(item)]));
}

/** Read the head of the field at `position`: its mark, and where its payload starts and ends. */
function readHead(bytes, position) {
    const nul = bytes.subarray(position, position + LONGEST_HEAD + 1).indexOf(0);
    const head = nul < 0 ? null : HEAD.exec(String.fromCharCode(...bytes.subarray(position, position + nul)));
    if (!head) {
        throw new Bad("no length (1 to 10 digits), mark (f, t or j) and 0x00");
    }
    const start = position + nul + 1;
    const end = start + Number(head[1]);
    if (end > bytes.length) {
        throw new Bad(`a length of ${end - start} bytes where ${bytes.length - start} are left`);
    }
    if (end < bytes.length && bytes[end]) { // a last field without its closing 0x00 is fine
        throw new Bad("no 0x00 after the payload");
    }
    return { mark: head[2], start, end };
}

/** Refuse a JSON text that nests too deep, before any parser sees it. Right as far as the text is valid JSON. */
function checkDepth(payload, maxDepth) {
    let depth = 0;
    for (let index = 0; index < payload.length; index++) {
        const byte = payload[index] | 0x20; // a bracket becomes the brace of its kind
        if (payload[index] === 0x22) {
            index = endOfString(payload, index);
        }
        else if (byte === 0x7b && ++depth > maxDepth) {
            throw new Bad(`nested deeper than maxDepth=${maxDepth}`);
        }
        else if (byte === 0x7d) {
            depth--;
        }
    }
}

function endOfString(payload, quote) {
    let index = quote + 1;
    while (index < payload.length && payload[index] !== 0x22) {
        index += payload[index] === 0x5c ? 2 : 1;
    }
    return index;
}

// -- the kinds of message -----------------------------------------------------------------------------------------

/** Tell an answer to the authentication, `{ accepted, reason }`, from an event, `{ event, ids, args }`. */
function parseFromServer([name, ...rest]) {
    if (name === AUTH_OK) {
        return { accepted: true, reason: "" };
    }
    if (name === AUTH_REJECTED) {
        demand(typeof rest[0] === "string", "the reason of a rejected authentication must be a string");
        return { accepted: false, reason: rest[0] };
    }
    const [eventId, replyTo, ...args] = rest;
    demand(rest.length >= 2, "an event has a name, an id and a reply-to");
    demand(typeof name === "string", "the name of an event must be a string");
    demand(!name.startsWith(RESERVED), `the message ${quote(name)} is not expected here`);
    demand(Number.isSafeInteger(eventId) && eventId >= 1, "the id of an event must be an integer >= 1");
    const isReplyTo = replyTo === null || (Number.isSafeInteger(replyTo) && replyTo >= 0);
    demand(isReplyTo, "the reply-to of an event must be null or an integer >= 0");
    return { event: name, ids: { eventId, replyTo: replyTo || null }, args };
}

function demand(holds, text) {
    if (!holds) {
        throw new MalformedMessage(text);
    }
}

function checkListenedName(event) {
    check("event", event, typeof event === "string", "a string");
    if (event.startsWith(RESERVED)) {
        throw new RangeError(`event "${event}": names that start with "${RESERVED}" belong to the protocol`);
    }
}

function checkEventName(event) {
    checkListenedName(event);
    if (event.startsWith(LOCAL)) {
        throw new RangeError(`event "${event}": names that start with "${LOCAL}" cannot be sent`);
    }
    if (LONE_SURROGATE.test(event)) {
        throw new SerializationError("event: a string with a lone surrogate cannot be sent");
    }
}

// -- options ------------------------------------------------------------------------------------------------------

const DEFAULTS = {
    auth: "",
    subprotocols: [],
    autoReconnect: true,
    reconnectDelay: 1000,
    reconnectDelayMax: 30_000,
    connectTimeout: 10_000,
    closeTimeout: 5000,
    sendWhenNotConnected: "queue",
    queueLimitBytes: 1 << 20,
    clearAwaitingRepliesAfter: 300_000,
    unknownMessages: "ignore",
    unknownData: "ignore",
    serializers: {},
    deserializers: {},
    sortProps: true,
    maxDepth: 64,
    maxBigIntDigits: 10_000,
    WSConstructor: undefined,
};
const MILLISECONDS = [
    "reconnectDelay", "reconnectDelayMax", "connectTimeout", "closeTimeout", "clearAwaitingRepliesAfter",
];
const CHOICES = {
    sendWhenNotConnected: ["queue", "ignore", "throw"],
    unknownMessages: ["ignore", "emit", "emitTryJson"],
    unknownData: ["ignore", "emit", "close"],
};
const CALLBACKS = ["onConnect", "onAuthOk", "onAuthRejected", "onMessage", "onDisconnect", "onError"];

/** Throw a TypeError that names the option or argument, unless it is what is wanted. */
function check(name, value, holds, wanted) {
    if (!holds) {
        throw new TypeError(`${name} must be ${wanted}, not ${described(value)}`);
    }
}

function checkNames(what, given, known) {
    check(what, given, isPlainObject(given), "an object");
    for (const name of Object.keys(given)) {
        check(`${what}: a name`, name, known.includes(name), `one of ${known.join(", ")}`);
    }
}

const checkCount = (name, value) => check(name, value, Number.isInteger(value) && value >= 1, "an integer >= 1");

const isDuration = (value) => typeof value === "number" && value > 0 && value < Infinity;

function checkOptions(given) {
    checkNames("options", given, Object.keys(DEFAULTS));
    const present = Object.entries(given).filter(([, value]) => value !== undefined);
    const options = { ...DEFAULTS, ...Object.fromEntries(present) };
    const { auth, autoReconnect, WSConstructor = globalThis.WebSocket } = options;
    const isKey = auth === null || (typeof auth === "string" && !LONE_SURROGATE.test(auth));
    check("auth", auth, isKey, "a well-formed string, or null where the server knows no authentication");
    check("autoReconnect", autoReconnect, typeof autoReconnect === "boolean", "true or false");
    checkCount("queueLimitBytes", options.queueLimitBytes);
    check("WSConstructor", WSConstructor, typeof WSConstructor === "function", "a WebSocket class; none is built in");
    for (const name of MILLISECONDS) {
        check(name, options[name], isDuration(options[name]), "a number of milliseconds > 0");
    }
    for (const [name, choices] of Object.entries(CHOICES)) {
        check(name, options[name], choices.includes(options[name]), `one of ${choices.join(", ")}`);
    }
    return { ...options, WSConstructor };
}

function checkCallbacks(callbacks) {
    checkNames("callbacks", callbacks, CALLBACKS);
    for (const [name, callback] of Object.entries(callbacks)) {
        check(name, callback, callback === undefined || typeof callback === "function", "a function");
    }
    return { ...callbacks };
}

/** Make the address of a WebSocket of a URL that may be HTTP's, or relative to the page. */
function addressOf(url) {
    const address = attempt(() => new URL(url, globalThis.location?.href), (error) => (
        new TypeError(`url must be a URL, not ${quote(String(url))}`, { cause: error })
    ));
    address.protocol = { "http:": "ws:", "https:": "wss:" }[address.protocol] ?? address.protocol;
    check("url", String(url), ["ws:", "wss:"].includes(address.protocol), "a ws:, wss:, http: or https: URL");
    address.hash = "";
    return address.href;
}

function checkClose(code, reason) {
    const sendable = code === NORMAL || (Number.isInteger(code) && code >= 3000 && code <= 4999);
    check("code", code, sendable, "1000, or 3000 to 4999, which are all that a browser sends");
    const fits = typeof reason === "string" && UTF8.encode(reason).length <= 123;
    check("reason", reason, fits, "a string of at most 123 bytes of UTF-8");
}

const LONGEST_TIMER = 2 ** 31 - 1; // a longer one would fire at once
const later = (milliseconds, action) => setTimeout(action, Math.min(milliseconds, LONGEST_TIMER));

// -- one connection -----------------------------------------------------------------------------------------------

const OPEN = 1; // WebSocket.OPEN

/** One WebSocket from the attempt to its end, with its ids and the replies that it awaits. */
class Connection {
    opened = false;
    answered = false; // the authentication is, or there is none
    closing = false; // by us: what still arrives is dropped
    awaiting = new Map(); // event id to message, in the order of their deadlines
    #over = false;
    #lastId = 0;
    #timer; // of the attempt, then of the close handshake
    #expiry = null;

    constructor(address, options, codec, handlers) {
        this.options = options;
        this.codec = codec;
        this.handlers = handlers;
        const socket = this.socket = new options.WSConstructor(address, options.subprotocols);
        socket.binaryType = "arraybuffer";
        socket.addEventListener("open", () => this.#open());
        socket.addEventListener("message", ({ data }) => this.closing || this.#over || handlers.message(this, data));
        socket.addEventListener("error", () => {}); // a close follows, and says all that a page may know
        socket.addEventListener("close", ({ code, reason }) => this.#end(code, reason));
        this.#timer = later(options.connectTimeout, () => this.#cut("no connection in time"));
    }

    get open() {
        return !this.closing && !this.#over && this.socket.readyState === OPEN;
    }

    /** Send an event; its id is the next one. */
    send(message) {
        const { event, body, sent, onReply } = message;
        sent.eventId = ++this.#lastId;
        if (onReply) {
            this.#expect(message);
        }
        this.socket.send(join([this.codec.encode([event, sent.eventId, sent.replyTo]), body]));
        message.body = null; // it may be large, and the reply be long in coming
    }

    /** Take the message that an event replies to, if its reply is awaited. */
    take(replyTo) {
        const message = this.awaiting.get(replyTo);
        this.awaiting.delete(replyTo);
        return message;
    }

    close(code, reason) {
        if (!this.closing && !this.#over) {
            this.closing = true;
            this.#forgetAwaiting(new ConnectionClosed(code, reason));
            this.closeWithin(this.options.closeTimeout);
            this.socket.close(code, reason);
        }
    }

    /** Give the other end so long to close. */
    closeWithin(milliseconds) {
        clearTimeout(this.#timer);
        this.#timer = later(milliseconds, () => this.#cut("the peer does not close"));
    }

    #open() {
        if (!this.closing && !this.#over) {
            clearTimeout(this.#timer);
            this.opened = true;
            this.handlers.open(this);
        }
    }

    #cut(reason) {
        this.socket.close();
        this.#end(ABNORMAL, reason);
    }

    #end(code, reason) {
        if (!this.#over) {
            this.#over = true;
            clearTimeout(this.#timer);
            this.#forgetAwaiting(new ConnectionClosed(code, reason));
            this.handlers.end(this, code, reason);
        }
    }

    #expect(message) {
        message.deadline = performance.now() + this.options.clearAwaitingRepliesAfter;
        this.awaiting.set(message.sent.eventId, message);
        this.#expiry ??= later(this.options.clearAwaitingRepliesAfter, () => this.#expire());
    }

    #expire() {
        this.#expiry = null;
        const now = performance.now();
        for (const [eventId, message] of this.awaiting) {
            if (message.deadline > now) {
                this.#expiry = later(message.deadline - now, () => this.#expire());
                return;
            }
            this.awaiting.delete(eventId);
            message.fail?.(new ReplyTimeout(`no reply to ${message.event} in time`));
        }
    }

    #forgetAwaiting(error) {
        clearTimeout(this.#expiry);
        const messages = [...this.awaiting.values()];
        this.awaiting.clear();
        messages.forEach((message) => message.fail?.(error));
    }
}

// -- the client ---------------------------------------------------------------------------------------------------

const QUEUED_HEAD = 24; // bytes that an event's fields take beside its name and arguments, at least

export class EZEZWebSocketClient {
    #address;
    #options;
    #callbacks;
    #codec;
    #listeners = new Map(); // event to entries; an array there is replaced, never changed
    #connection = null;
    #ready = false; // authenticated, and the queue has gone out
    #queue = new Set(); // of messages, in order
    #queuedBytes = 0;
    #pause = null; // the timer of the next attempt
    #delay;
    #ending = null; // how it has ended by itself
    #closed = false;

    constructor(url, options = {}, callbacks = {}) {
        this.#address = addressOf(url);
        this.#options = checkOptions(options);
        this.#callbacks = checkCallbacks(callbacks);
        const { serializers, deserializers, sortProps, maxDepth, maxBigIntDigits } = this.#options;
        this.#codec = new Codec({ serializers, deserializers, sortProps, maxDepth, maxBigIntDigits });
        this.#delay = this.#options.reconnectDelay;
        this.start();
    }

    get alive() {
        return this.#ready && this.#connection.open;
    }

    get awaitingRepliesCount() {
        const queued = [...this.#queue].filter((message) => message.onReply).length;
        return queued + (this.#connection?.awaiting.size ?? 0);
    }

    get client() {
        return this.#connection?.socket ?? null;
    }

    start() {
        if (this.#closed) {
            throw new NotConnected("the client was closed, which is final; make a new one");
        }
        if (!this.#connection || this.#ending) {
            clearTimeout(this.#pause);
            this.#ending = null;
            this.#ready = false;
            this.#connection = new Connection(this.#address, this.#options, this.#codec, {
                open: (connection) => this.#opened(connection),
                message: (connection, data) => this.#receive(connection, data),
                end: (connection, code, reason) => this.#ended(connection, code, reason),
            });
        }
    }

    close(code = NORMAL, reason = "") {
        checkClose(code, reason);
        this.#closed = true;
        this.#ready = false;
        clearTimeout(this.#pause);
        this.#giveUpQueue({ code, reason });
        this.#connection?.close(code, reason);
    }

    send(event, args = [], onReply = undefined) {
        return this.#submit(this.#message(event, args, onReply));
    }

    request(event, args = [], options = {}) {
        return this.#ask(event, args, options, null, (message) => this.#submit(message));
    }

    sendJson(value) {
        const text = attempt(() => JSON.stringify(value), (error) => (
            new SerializationError(`the value is no JSON: ${error.message}`, { cause: error })
        ));
        if (text === undefined) {
            throw new SerializationError(`the value is no JSON: ${typeName(value)}`);
        }
        if (this.alive) {
            this.#connection.socket.send(text);
            return true;
        }
        if (this.#options.sendWhenNotConnected === "throw") {
            throw new NotConnected("the client is not connected");
        }
        return false;
    }

    on(event, listener) {
        return this.#listen(event, listener, false);
    }

    once(event, listener) {
        return this.#listen(event, listener, true);
    }

    off(event, listener = undefined) {
        checkListenedName(event);
        const others = (this.#listeners.get(event) ?? []).filter((entry) => listener && entry.listener !== listener);
        this.#setListeners(event, others);
        return this;
    }

    // -- sending

    #message(event, args, onReply, replyTo = null) {
        checkEventName(event);
        check("args", args, Array.isArray(args), "an array");
        check("onReply", onReply, onReply === undefined || typeof onReply === "function", "a function");
        return { event, body: this.#codec.encode(args), onReply, sent: { eventId: null, replyTo }, fail: null };
    }

    #submit(message) {
        if (this.alive) {
            this.#connection.send(message);
            return message.sent;
        }
        return this.#keep(message);
    }

    /** Do what is to be done with a message that cannot be sent now. */
    #keep(message) {
        const policy = this.#options.sendWhenNotConnected;
        if (policy === "throw" || (policy === "queue" && this.#closed)) {
            throw new NotConnected(this.#closed ? "the client is closed" : "the client is not connected");
        }
        if (policy === "queue" && !this.#ending) {
            this.#enqueue(message);
            return message.sent;
        }
        return drop(message, this.#ending);
    }

    #enqueue(message) {
        message.size = UTF8.encode(message.event).length + message.body.length + QUEUED_HEAD;
        const limit = this.#options.queueLimitBytes;
        if (this.#queuedBytes + message.size > limit) {
            const room = `the queue, which has ${this.#queuedBytes} of queueLimitBytes=${limit}`;
            throw new QueueFull(`event "${message.event}": ${message.size} bytes do not fit into ${room}`);
        }
        this.#queue.add(message);
        this.#queuedBytes += message.size;
    }

    #dequeue(message) {
        if (this.#queue.delete(message)) {
            this.#queuedBytes -= message.size;
        }
    }

    #giveUpQueue(ending) {
        for (const message of this.#queue) {
            this.#dequeue(message);
            drop(message, ending);
        }
    }

    #ask(event, args, options, replyTo, submit) {
        return new Promise((resolve, reject) => {
            checkNames("options", options, ["timeout"]);
            const { timeout } = options;
            const isLimit = timeout === undefined || isDuration(timeout);
            check("timeout", timeout, isLimit, "a number of milliseconds > 0");
            let timer;
            const settled = (settle) => (result) => {
                clearTimeout(timer);
                settle(result);
            };
            const answer = settled(resolve);
            const onReply = (name, values, reply, ids) => answer({ event: name, args: values, reply, ids });
            const message = this.#message(event, args, onReply, replyTo);
            message.fail = settled(reject);
            if (submit(message) && timeout !== undefined) {
                timer = later(timeout, () => this.#abandon(message));
            }
        });
    }

    /** A request whose time has passed: what has not gone out yet stays here. */
    #abandon(message) {
        this.#dequeue(message);
        if (this.#connection?.awaiting.get(message.sent.eventId) === message) {
            this.#connection.take(message.sent.eventId);
        }
        message.fail(new ReplyTimeout(`no reply to ${message.event} in time`));
    }

    /** Make the `reply` of an incoming event, which is not sent where its connection is gone. */
    #makeReply(connection, eventId) {
        const submit = (message) => {
            if (!connection.open) {
                return drop(message, null);
            }
            connection.send(message);
            return message.sent;
        };
        const reply = (event, args = [], onReply = undefined) => submit(this.#message(event, args, onReply, eventId));
        reply.request = (event, args = [], options = {}) => this.#ask(event, args, options, eventId, submit);
        return reply;
    }

    // -- what a connection tells

    #opened(connection) {
        if (this.#options.auth === null) {
            connection.answered = true;
            this.#becomeReady(connection);
        }
        else {
            connection.socket.send(this.#codec.encode([AUTH, this.#options.auth, VERSION]));
        }
        this.#call(this.#callbacks.onConnect);
    }

    /** Send what is queued, so that nothing overtakes it. */
    #becomeReady(connection) {
        this.#delay = this.#options.reconnectDelay;
        for (const message of connection.open ? this.#queue : []) {
            this.#dequeue(message);
            connection.send(message);
        }
        this.#ready = true;
    }

    #receive(connection, data) {
        if (typeof data === "string") {
            this.#receiveText(connection, data);
            return;
        }
        let message;
        try {
            message = parseFromServer(this.#codec.decode(data));
        }
        catch (error) {
            this.#receiveMalformed(connection, data, error);
            return;
        }
        if (message.event !== undefined) {
            this.#deliver(connection, message);
        }
        else if (!connection.answered) {
            connection.answered = true;
            this.#receiveAnswer(connection, message);
        }
    }

    #receiveAnswer(connection, { accepted, reason }) {
        if (accepted) {
            this.#becomeReady(connection);
            this.#call(this.#callbacks.onAuthOk);
            return;
        }
        this.#endByItself({ code: POLICY_VIOLATION, reason });
        connection.closeWithin(this.#options.closeTimeout);
        this.#call(this.#callbacks.onAuthRejected, reason);
    }

    #receiveText(connection, text) {
        const policy = this.#options.unknownMessages;
        if (policy !== "ignore") {
            this.#emit(connection, EVENT_UNKNOWN_MESSAGE, policy === "emit" ? text : parsedOr(text));
        }
    }

    #receiveMalformed(connection, data, error) {
        const policy = this.#options.unknownData;
        if (policy === "emit") {
            this.#emit(connection, EVENT_UNKNOWN_DATA_TYPE, new Uint8Array(data));
            return;
        }
        if (policy === "close") {
            connection.close(MALFORMED, "Malformed message");
        }
        this.#report(error);
    }

    #ended(connection, code, reason) {
        const wanted = this.#connection === connection && !this.#closed && !this.#ending;
        if (this.#connection === connection) {
            this.#connection = null;
            this.#ready = false;
        }
        if (wanted && this.#options.autoReconnect) {
            this.#connectLater();
        }
        else if (wanted) {
            this.#endByItself({ code, reason });
        }
        if (connection.opened) {
            this.#call(this.#callbacks.onDisconnect, code, reason);
        }
        else if (wanted && this.#callbacks.onError) { // else the browser's own line in the console is enough
            const [where] = this.#address.split("?"); // whose query may hold a secret
            this.#report(new ConnectionFailed(`cannot connect to ${where}${reason && `: ${reason}`}`));
        }
    }

    /** Try again after a pause: exponential, with jitter so that clients do not come all at once. */
    #connectLater() {
        const delay = Math.min(this.#delay, this.#options.reconnectDelayMax);
        this.#delay = delay * 2;
        this.#pause = later(delay * (0.5 + Math.random() / 2), () => this.start());
    }

    #endByItself(ending) {
        this.#ending = ending;
        this.#ready = false;
        this.#giveUpQueue(ending);
    }

    // -- listeners

    #listen(event, listener, once) {
        checkListenedName(event);
        check("listener", listener, typeof listener === "function", "a function");
        this.#setListeners(event, [...this.#listeners.get(event) ?? [], { listener, once }]);
        return this;
    }

    #setListeners(event, entries) {
        if (entries.length) {
            this.#listeners.set(event, entries);
        }
        else {
            this.#listeners.delete(event);
        }
    }

    /** The listeners of an event that comes in now; those of `once` are removed by that. */
    #takeListeners(event) {
        const entries = this.#listeners.get(event) ?? [];
        if (entries.some((entry) => entry.once)) {
            this.#setListeners(event, entries.filter((entry) => !entry.once));
        }
        return entries.map((entry) => entry.listener);
    }

    #deliver(connection, { event, ids, args }, reply = this.#makeReply(connection, ids.eventId)) {
        const question = connection.take(ids.replyTo);
        const listeners = question ? [] : this.#takeListeners(event);
        this.#call(this.#callbacks.onMessage, event, args, reply, ids);
        this.#call(question?.onReply, event, args, reply, ids);
        listeners.forEach((listener) => this.#call(listener, args, reply, ids));
    }

    /** Run the callbacks of an event that we make ourselves. */
    #emit(connection, event, value) {
        const nobody = Object.assign(() => undefined, { request: () => Promise.reject(new ConnectionClosed()) });
        this.#deliver(connection, { event, ids: { eventId: -1, replyTo: null }, args: [value] }, nobody);
    }

    /** Run a callback; what it throws, or an async one rejects with, is reported and ends nothing. */
    #call(callback, ...args) {
        try {
            const result = callback?.(...args);
            if (result instanceof Promise) {
                result.catch((error) => this.#report(error));
            }
        }
        catch (error) {
            this.#report(error);
        }
    }

    #report(error) {
        try {
            (this.#callbacks.onError ?? console.error)(error);
        }
        catch (another) {
            console.error(another);
        }
    }
}

/** Give up a message: nothing is sent, and whoever waits for its reply is told. */
function drop(message, ending) {
    message.fail?.(new ConnectionClosed(ending?.code, ending?.reason));
    return undefined;
}

function parsedOr(text) {
    try {
        return JSON.parse(text);
    }
    catch {
        return text;
    }
}
