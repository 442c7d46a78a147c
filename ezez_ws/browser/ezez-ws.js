/**
 * A client for browsers: named events with arguments over a WebSocket, authentication, replies that can be awaited, and
 * calls, which are answered by what a function returns or throws.
 *
 * One ES module without dependencies. Names and meanings are those of the Python client in JavaScript's spelling;
 * what each option and method promises stands in `ezez-ws.d.ts`. Durations are milliseconds, sizes are bytes.
 *
 * From top to bottom: errors, texts, the codec (values to message bytes and back), the kinds of message, what is
 * remembered of rooms, the options, one connection, and the client, which has one connection after the other.
 */

const VERSION = 1;
const RESERVED = "ezez-ws::"; // names that belong to the protocol
const LOCAL = "ezez-ws:incoming:"; // names of events that a client makes for itself
const AUTH = `${RESERVED}auth`;
const AUTH_OK = `${RESERVED}auth-ok`;
const AUTH_REJECTED = `${RESERVED}auth-rejected`;

// with a server that has agreed to recovery
const PUBLISHED = `${RESERVED}event`;
const JOINED = `${RESERVED}joined`;
const LEFT = `${RESERVED}left`;
const AT = `${RESERVED}at`;
const MISSED = `${RESERVED}missed`;

export const EVENT_OK = "ezez-ws:ok";
export const EVENT_ERROR = "ezez-ws:error";
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
    constructor(code = ABNORMAL, reason = "", options = undefined) {
        super(`connection closed (${codeAnd(code, reason)})`, options);
        this.code = code;
        this.reason = reason;
    }
}

export class ConnectionFailed extends EZEZError {}
export class NotConnected extends EZEZError {}
export class QueueFull extends EZEZError {}
export class ReplyTimeout extends EZEZError {}
export class TooManyReplies extends EZEZError {}
export class SerializationError extends EZEZError {}
export class MalformedMessage extends EZEZError {}

/** An error that travels: a code for programs, a message for people, and any value. */
class CodedError extends EZEZError {
    constructor(code, message = "", data = null) {
        check("code", code, typeof code === "string", "a string");
        check("message", message, typeof message === "string", "a string");
        super(codeBefore(code, message));
        void this.stack; // is made now, with that as its head, which is what consoles print
        this.message = message;
        this.code = code;
        this.data = data;
    }

    toString() {
        return `${this.name}: ${codeBefore(this.code, this.message)}`;
    }
}

export class RemoteError extends CodedError {}
export class CallError extends CodedError {}

// -- texts --------------------------------------------------------------------------------------------------------

const UNPRINTABLE = /(?! )[\p{C}\p{Z}]/gu;

const cut = (text, limit) => text.length <= limit ? text : `${text.slice(0, limit - 1)}…`;

const escaped = (text) => text.replace(UNPRINTABLE, (letter) => `\\u{${letter.codePointAt(0).toString(16)}}`);

/** Text of the server's, to print: no control characters, and not too long. */
const shown = (text) => escaped(cut(text, 200));

const quote = (text) => escaped(JSON.stringify(cut(text, 40)));

const codeBefore = (code, message) => message ? `${shown(code)}: ${shown(message)}` : shown(code);

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

const warn = (text) => console.warn(`ezez-ws: ${text}`);

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

/** Tell an answer to the authentication, `{ accepted, reason, more }`, from an event, `{ event, ids, args }`. */
function parseFromServer([name, ...rest]) {
    if (name === AUTH_OK) {
        return { accepted: true, reason: "", more: rest[0] };
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

function checkName(event) {
    check("event", event, typeof event === "string", "a string");
    if (event.startsWith(RESERVED)) {
        throw new RangeError(`event "${event}": names that start with "${RESERVED}" belong to the protocol`);
    }
}

const isAnswer = (event) => event === EVENT_OK || event === EVENT_ERROR;

function checkListenedName(event) {
    checkName(event);
    if (isAnswer(event)) {
        throw new RangeError(`event "${event}" answers a call, and is for whoever waits for that; onMessage hears all`);
    }
}

const MEANT = new Map([
    ["connect", "onConnect or onAuthOk"], ["disconnect", "onDisconnect"], ["error", "onError"], ["*", "onMessage"],
]);

/** What to tell somebody who listens to what most likely is a callback. */
function adviceOn(event) {
    const meant = MEANT.get(event);
    return meant && `on("${event}") listens to events of that name from the server, where most likely none has it; `
        + `what you mean is the callback ${meant}`;
}

function checkEventName(event) {
    checkName(event);
    if (event.startsWith(LOCAL)) {
        throw new RangeError(`event "${event}": names that start with "${LOCAL}" cannot be sent`);
    }
    if (LONE_SURROGATE.test(event)) {
        throw new SerializationError("event: a string with a lone surrogate cannot be sent");
    }
}

// -- calls --------------------------------------------------------------------------------------------------------

/** What a reply says to whoever has called: its value, or an error that is thrown. */
function valueOf({ event, args }) {
    if (event === EVENT_ERROR) {
        throw remoteError(args);
    }
    switch (args.length) {
        case 0: return null;
        case 1: return args[0];
        default: return args;
    }
}

/** What an `EVENT_ERROR` of ours says. */
const refusal = (code, message, data = null) => ({ code, message, data });

/** The error that an `EVENT_ERROR` tells; one of a foreign peer may have any shape. */
function remoteError(args) {
    const isOurs = args.length === 1 && isPlainObject(args[0]) && Object.hasOwn(args[0], "code");
    const { code, message, data = null } = isOurs ? args[0] : { data: args };
    const isString = (value) => typeof value === "string";
    const text = isString(message) ? message : args.find(isString) ?? "";
    return new RemoteError(isString(code) ? code : "error", text, data);
}

/** Whether a property of a proxy is a method of its contract, and nothing that JavaScript asks every object for. */
const isMethod = (name) => typeof name === "string" && !/^(?:[_$].*|then|toJSON)$/s.test(name);

// -- what is remembered of rooms ----------------------------------------------------------------------------------

const EVERYONE = "*"; // the room that all clients are in
const MOST_ROOMS = 10_000; // so that a server cannot have us remember without end
const MOST_LOGS = 16; // of which we know how far we have read
const LONGEST_TEXT = 255; // bytes of a room's name, and of a ticket
const FIRST_LIMIT = 65_536; // bytes of an authentication message, until a server has said what it takes
const POSITION = /^([0-9a-zA-Z_-]{1,64}):([0-9]{1,16})-([0-9]{1,16})\.([0-9]{1,9})$/;
const REREAD = /-$/; // behind the name of an epoch: of what a node reads again; none recovers from there

const isText = (value) => typeof value === "string" && value !== "" && UTF8.encode(value).length <= LONGEST_TEXT;

const isOfRecovery = (name) => (
    typeof name === "string" && name.startsWith(RESERVED) && name !== AUTH_OK && name !== AUTH_REJECTED
);

/** Read a place in the log: an epoch, and three numbers, which are compared within it. */
function readPosition(text) {
    const parts = typeof text === "string" ? POSITION.exec(text) : null;
    demand(parts, `${described(text)} is no position`);
    return { text, epoch: parts[1], order: parts.slice(2).map(BigInt) };
}

/** The epoch whose log a position is of, whether that is read for the first time or again. */
const logOf = ({ epoch }) => epoch.replace(REREAD, "");

/** Whether the numbers of a position are less than those of another. */
function isBefore(order, other) {
    const index = order.findIndex((number, place) => number !== other[place]);
    return index >= 0 && order[index] < other[index];
}

/** The later one of two positions; another epoch replaces. */
const latest = (one, other) => one.epoch === other.epoch && isBefore(other.order, one.order) ? one : other;

function readEntrance(entrance) {
    demand(Array.isArray(entrance), "an entrance is an array");
    const [room, recovered, since, ticket] = entrance;
    demand(isText(room) && (isText(ticket) || ticket === ""), `a room or a ticket has 1 to ${LONGEST_TEXT} bytes`);
    demand([null, true, false].includes(recovered), "whether a room is recovered must be null, true or false");
    return { room, recovered: recovered === true, since: readPosition(since), ticket };
}

/**
 * What a client that can recover remembers, over all its connections: of each room how far it has read there, since
 * when it is in it, and the ticket that proves it. While it is in rooms, all of them stand at the last position that
 * has come; in a replay each at its own.
 *
 * A node that is behind may not know that we have read more of its log elsewhere: the tickets may be gone. So what
 * comes once more, and is of no replay, is ignored, and in no log does our place go back.
 */
class Memory {
    #session = null;
    #limit = FIRST_LIMIT;
    #known = new Map(); // room to { position, since, ticket }, in the order of entrance; an object is never changed
    #entered = new Set(); // on this connection
    #at = null; // where these stand
    #had = new Map(); // log to the numbers up to which we have read it, over all connections before this
    #replayed = new Set(); // the rooms of a replay
    #toCome = 0; // and how many events are still to come of it

    /** The rooms that the server says we are in, sorted. */
    get rooms() {
        return [...new Set([...this.#entered, ...this.#replayed])].filter((room) => room !== EVERYONE).sort();
    }

    /**
     * Begin a connection; return what goes with the authentication. Where the server does not take all tickets, those
     * of `everyone` and of the rooms that were entered last. `measure` tells how large a message of values is.
     */
    begin(measure) {
        this.lose();
        if (this.#session === null) {
            return { recover: 1 };
        }
        const shown = (tickets) => ({ recover: 1, session: this.#session, rooms: Object.fromEntries(tickets) });
        const newest = [...this.#known].filter(([, { ticket }]) => ticket).reverse();
        newest.sort(([one], [other]) => (other === EVERYONE) - (one === EVERYONE));
        const tickets = [];
        let size = measure(shown([]));
        for (const [room, { position, since, ticket }] of newest) {
            const proof = [room, [position.text, since.text, ticket]];
            size += measure(Object.fromEntries([proof])); // each a little too much, with the braces
            if (size > this.#limit) {
                break;
            }
            tickets.push(proof);
        }
        return shown(tickets);
    }

    /** Note that the connection has ended. */
    lose() {
        for (const room of this.#entered) {
            this.#known.set(room, { ...this.#known.get(room), position: this.#at });
        }
        if (this.#at && !this.#toCome) { // else the rest of a replay is still to be read
            this.#noteHad(this.#notBefore(this.#at));
        }
        this.#at = null;
        this.#entered.clear();
        this.#endReplay();
    }

    /** Take what came with the server's auth-ok; return whether it recovers, and of which rooms events were lost. */
    accept(answer) {
        if (!isPlainObject(answer) || answer.recover !== 1 || !isText(answer.session)) {
            const missed = [...this.#known.keys()].sort();
            this.#known.clear();
            this.#session = null;
            return { recovers: false, missed };
        }
        if (answer.session !== this.#session) {
            this.#session = answer.session;
            this.#known.forEach((known, room) => this.#known.set(room, { ...known, ticket: "" })); // they prove nothing
        }
        if (Number.isSafeInteger(answer.limit) && answer.limit > 0) {
            this.#limit = answer.limit;
        }
        return { recovers: true, missed: [] };
    }

    /**
     * Take a message of the server's; return the event that it carries, or `{ missed }`, the rooms that lost any: none,
     * where it is an event that was there on an earlier connection, and is to be ignored.
     */
    heed([name, ...rest]) {
        switch (name) {
            case PUBLISHED: return this.#publish(rest);
            case JOINED: return this.#enter(rest);
            case LEFT: return this.#leave(rest);
            case AT: case MISSED:
                this.#at = this.#notBefore(readPosition(rest[0]));
                return { missed: name === MISSED ? [...this.#entered].sort() : [] };
        }
        throw new MalformedMessage(`the message ${quote(name)} is not expected here`);
    }

    #publish([eventId, replyTo, position, ...event]) {
        const message = parseFromServer([event[0], eventId, replyTo, ...event.slice(1)]);
        demand(message.event !== undefined && replyTo === null, "a publication is an event, and no reply");
        const reached = readPosition(position);
        if (!this.#toCome) {
            const had = this.#had.get(logOf(reached));
            if (had && !isBefore(had, reached.order)) {
                return { missed: [] };
            }
            this.#at = reached;
            return message;
        }
        for (const room of this.#replayed) {
            const known = this.#known.get(room);
            this.#known.set(room, { ...known, position: latest(known.position, reached) });
        }
        if (!--this.#toCome) {
            this.#replayed.forEach((room) => this.#entered.add(room));
            this.#endReplay();
        }
        return message;
    }

    #enter([list, position, count]) {
        demand(Array.isArray(list) && Number.isSafeInteger(count) && count >= 0, "entrances are an array and a count");
        const entrances = list.map(readEntrance);
        const top = readPosition(position);
        this.#makeRoom(new Set(entrances.map(({ room }) => room)));
        this.#endReplay();
        const missed = new Set();
        for (const { room, recovered, since, ticket } of entrances) {
            const known = this.#known.get(room);
            if (known && !recovered) {
                missed.add(room);
            }
            this.#known.delete(room); // it is the last one to be entered now
            const stood = recovered && count ? known?.position ?? since : top;
            this.#known.set(room, { position: stood, since, ticket });
            (count ? this.#replayed : this.#entered).add(room);
        }
        this.#toCome = count;
        this.#at = this.#notBefore(top);
        return { missed: [...missed].sort() };
    }

    #leave([rooms]) {
        const isList = Array.isArray(rooms) && rooms.every((room) => typeof room === "string");
        demand(isList, "an exit has an array of rooms");
        for (const room of rooms) {
            this.#known.delete(room);
            this.#entered.delete(room);
            this.#replayed.delete(room);
        }
        return { missed: [] };
    }

    /** A position, or how far we have read on earlier connections, if that is further, and of the same log. */
    #notBefore(position) {
        const had = this.#had.get(logOf(position));
        if (!had || !isBefore(position.order, had)) {
            return position;
        }
        const [ms, n, nth] = had;
        return { text: `${position.epoch}:${ms}-${n}.${nth}`, epoch: position.epoch, order: had };
    }

    #noteHad(position) {
        const log = logOf(position);
        this.#had.delete(log); // it is the last one to be forgotten now
        this.#had.set(log, position.order);
        if (this.#had.size > MOST_LOGS) {
            this.#had.delete(this.#had.keys().next().value);
        }
    }

    #endReplay() {
        this.#replayed.clear();
        this.#toCome = 0;
    }

    /** Forget rooms that were entered long ago, and that we are not in, where there would be too many. */
    #makeRoom(rooms) {
        const over = this.#known.size + [...rooms].filter((room) => !this.#known.has(room)).length - MOST_ROOMS;
        if (over > 0) {
            const old = [...this.#known.keys()].filter((room) => !this.#entered.has(room) && !rooms.has(room));
            demand(old.length >= over, `a client remembers at most ${MOST_ROOMS} rooms`);
            old.slice(0, over).forEach((room) => this.#known.delete(room));
        }
    }
}

// -- options ------------------------------------------------------------------------------------------------------

const DEFAULTS = {
    auth: "",
    subprotocols: [],
    autoReconnect: true,
    reconnectDelay: 1000,
    reconnectDelayMax: 30_000,
    reconnectAttempts: null,
    connectTimeout: 10_000,
    closeTimeout: 5000,
    sendWhenNotConnected: "queue",
    queueLimitBytes: 1 << 20,
    clearAwaitingRepliesAfter: 300_000,
    maxAwaitingReplies: 10_000,
    recover: false,
    unknownEvents: "ignore",
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
    unknownEvents: ["ignore", "error"],
    unknownMessages: ["ignore", "emit", "emitTryJson"],
    unknownData: ["ignore", "emit", "close"],
};
const CALLBACKS = [
    "onConnect", "onAuthOk", "onAuthRejected", "onMissed", "onMessage", "onDisconnect", "onError", "onGaveUp",
];

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

function checkTimeout(timeout) {
    const isLimit = timeout === undefined || isDuration(timeout);
    check("timeout", timeout, isLimit, "a number of milliseconds > 0");
}

function checkCallable(name, value) {
    check(name, value, typeof value === "function", "a function");
    if (/Generator/.test(Object.prototype.toString.call(value))) {
        throw new TypeError(`${name} must not be a generator function, whose body a call does not run`);
    }
}

function checkOptions(given) {
    checkNames("options", given, Object.keys(DEFAULTS));
    const present = Object.entries(given).filter(([, value]) => value !== undefined);
    const options = { ...DEFAULTS, ...Object.fromEntries(present) };
    const { auth, autoReconnect, reconnectAttempts, recover, WSConstructor = globalThis.WebSocket } = options;
    if (auth !== null && typeof auth !== "function") {
        checkKey(auth, "a function, or null where the server knows no authentication");
    }
    check("autoReconnect", autoReconnect, typeof autoReconnect === "boolean", "true or false");
    check("recover", recover, typeof recover === "boolean", "true or false");
    if (recover && auth === null) {
        throw new TypeError("recover needs a server that authenticates, and auth is null");
    }
    if (recover && options.maxDepth < 3) {
        throw new TypeError(`recover needs a maxDepth of at least 3, not ${options.maxDepth}`);
    }
    check("WSConstructor", WSConstructor, typeof WSConstructor === "function", "a WebSocket class; none is built in");
    checkCount("queueLimitBytes", options.queueLimitBytes);
    checkCount("maxAwaitingReplies", options.maxAwaitingReplies);
    if (reconnectAttempts !== null) {
        checkCount("reconnectAttempts", reconnectAttempts);
    }
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
    const present = Object.entries(callbacks).filter(([, callback]) => callback !== undefined);
    present.forEach(([name, callback]) => checkCallable(name, callback));
    return Object.fromEntries(present);
}

/** Return a key, or throw an error, in which it does not stand. */
function checkKey(key, or = "") {
    if (typeof key !== "string" || LONE_SURROGATE.test(key)) {
        const given = typeof key === "string" ? "one with a lone surrogate" : typeName(key);
        throw new TypeError(`auth must be a well-formed string${or && `, ${or}`}, not ${given}`);
    }
    return key;
}

/** Make the address of a WebSocket of a URL that may be HTTP's, or relative to the page. */
function addressOf(url) {
    const address = attempt(() => new URL(url, globalThis.location?.href), (error) => (
        new TypeError(`url must be a URL, not ${quote(withoutQuery(url))}`, { cause: error })
    ));
    address.protocol = { "http:": "ws:", "https:": "wss:" }[address.protocol] ?? address.protocol;
    check("url", withoutQuery(url), ["ws:", "wss:"].includes(address.protocol), "a ws:, wss:, http: or https: URL");
    address.hash = "";
    return address;
}

const withoutQuery = (url) => String(url).split("?", 1)[0];

/** An address for texts, without what may be secret in it. */
const withoutSecrets = ({ protocol, host, pathname }) => `${protocol}//${host}${pathname}`;

/** Ask for what an option is now, where it is a function. Such a function may use the client, which is made first. */
async function askFor(name, option, made) {
    await null;
    try {
        return made(typeof option === "function" ? await option() : option);
    }
    catch (error) {
        throw new ConnectionFailed(`${name}() failed: ${shown(String(error))}`, { cause: error });
    }
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

/**
 * One WebSocket from the attempt to its end, with its ids and the replies that it awaits.
 *
 * `handlers` has `open`, `message`, `slow` (no answer to the authentication within `connectTimeout`) and `end`, each
 * called with the connection first. `end` is called once, and gets `{ code, reason, cause }`.
 */
class Connection {
    socket = null; // until address and key are known
    key; // null where the server knows no authentication
    where; // its address, for texts, as far as it is known
    opened = false;
    answered = false; // the authentication is
    ready = false; // it takes what is sent
    rejected = false;
    recovers = false; // the server has agreed to
    awaiting = new Map(); // event id to message, in the order of their deadlines
    #closing = false; // by us, or we are rejected: what still arrives is dropped
    #over = false;
    #lastId = 0;
    #timer; // of the attempt, then of the authentication, then of the close handshake
    #expiry = null;
    #trouble = {}; // the error event of the socket, with which a browser says nothing, and others why

    constructor(url, options, codec, handlers) {
        this.options = options;
        this.codec = codec;
        this.handlers = handlers;
        this.where = typeof url === "function" ? "" : withoutSecrets(url);
        if (typeof url === "function" || typeof options.auth === "function") {
            this.#prepare(url, options.auth);
        }
        else {
            this.#dial(url, options.auth);
        }
        this.#within(options.connectTimeout, () => this.#cut(this.socket
            ? "no connection in time"
            : "neither url() nor auth() may take longer than connectTimeout"));
    }

    get open() {
        return !this.#closing && !this.#over && this.socket?.readyState === OPEN;
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

    /** The server has answered the authentication. */
    settle() {
        this.answered = true;
        clearTimeout(this.#timer);
    }

    /** Give up what waits, and leave it to the server to close, which has rejected us. */
    reject(reason) {
        this.rejected = this.#closing = true;
        this.#forgetAwaiting(new ConnectionClosed(POLICY_VIOLATION, reason));
        this.#awaitClose();
    }

    close(code, reason) {
        if (this.#over || (this.#closing && !this.rejected)) {
            return;
        }
        this.#closing = true;
        this.#forgetAwaiting(new ConnectionClosed(code, reason));
        if (this.socket) {
            this.#awaitClose();
            this.socket.close(code, reason);
        }
        else {
            this.#end(code, reason);
        }
    }

    async #prepare(url, auth) {
        try {
            const [address, key] = await Promise.all([
                askFor("url", url, addressOf),
                auth === null ? null : askFor("auth", auth, checkKey),
            ]);
            if (!this.#over) {
                this.#dial(address, key);
            }
        }
        catch (error) {
            this.#end(ABNORMAL, error.message, error.cause ?? error);
        }
    }

    #dial(address, key) {
        this.where = withoutSecrets(address);
        this.key = key;
        const socket = this.socket = new this.options.WSConstructor(address.href, this.options.subprotocols);
        socket.binaryType = "arraybuffer";
        socket.addEventListener("open", () => this.#open());
        socket.addEventListener("message", ({ data }) => {
            if (!this.#closing && !this.#over) {
                this.handlers.message(this, data);
            }
        });
        socket.addEventListener("error", (trouble) => { this.#trouble = trouble; }); // a close follows
        socket.addEventListener("close", ({ code, reason }) => {
            const { message = "", error } = this.opened ? {} : this.#trouble;
            this.#end(code, reason || String(message), error);
        });
    }

    #open() {
        if (!this.#closing && !this.#over) {
            this.#within(this.options.connectTimeout, () => this.handlers.slow(this));
            this.opened = true;
            this.handlers.open(this);
        }
    }

    #within(milliseconds, otherwise) {
        clearTimeout(this.#timer);
        this.#timer = later(milliseconds, otherwise);
    }

    #awaitClose() {
        this.#within(this.options.closeTimeout, () => this.#cut("the peer does not close"));
    }

    #cut(reason) {
        this.socket?.close();
        this.#end(ABNORMAL, reason);
    }

    #end(code, reason, cause = undefined) {
        if (!this.#over) {
            this.#over = true;
            clearTimeout(this.#timer);
            this.#forgetAwaiting(new ConnectionClosed(code, reason));
            this.handlers.end(this, { code, reason, cause });
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
            message.fail?.(tooLate(message, this.options.clearAwaitingRepliesAfter));
        }
    }

    #forgetAwaiting(error) {
        clearTimeout(this.#expiry);
        const messages = [...this.awaiting.values()];
        this.awaiting.clear();
        messages.forEach((message) => message.fail?.(error));
    }
}

const tooLate = ({ event }, milliseconds, why = "") => (
    new ReplyTimeout(`no reply to ${quote(event)} within ${milliseconds} ms${why}`)
);

// -- the client ---------------------------------------------------------------------------------------------------

const QUEUED_HEAD = 24; // bytes that an event's fields take beside its name and arguments, at least
const A_POWER_OF_TEN = /^10*$/;

export class EZEZWebSocketClient {
    #url; // an address, or a function
    #options;
    #callbacks;
    #codec;
    #memory = new Memory(); // of rooms, with `recover`
    #listeners = new Map(); // event to entries; an array there is replaced, never changed
    #handlers = new Map(); // event to function
    #waiters = new Set(); // of `waitFor`
    #connection = null; // or an attempt at one
    #queue = new Set(); // of messages, in order
    #queuedBytes = 0;
    #queuedReplies = 0; // that are awaited of what is queued
    #pause = null; // the timer of the next attempt
    #delay; // before the next attempt
    #failures; // in a row
    #freshKey; // whether a rejected key has been followed by another
    #trouble; // why there is no connection
    #ending = null; // how it has ended by itself
    #closed = false;
    #warned = new Set(); // of what

    constructor(url, options = {}, callbacks = {}, ...others) {
        if (others.length) {
            throw new TypeError("write new EZEZWebSocketClient(url, options, callbacks); subprotocols is an option");
        }
        this.#url = typeof url === "function" ? url : addressOf(url);
        this.#options = checkOptions(options);
        this.#callbacks = checkCallbacks(callbacks);
        const { serializers, deserializers, sortProps, maxDepth, maxBigIntDigits } = this.#options;
        this.#codec = new Codec({ serializers, deserializers, sortProps, maxDepth, maxBigIntDigits });
        this.#beginAnew();
        this.#connect();
    }

    get alive() {
        return Boolean(this.#connection?.ready && this.#connection.open);
    }

    get awaitingRepliesCount() {
        return this.#queuedReplies + (this.#connection?.awaiting.size ?? 0);
    }

    get client() {
        return this.#connection?.socket ?? null;
    }

    get rooms() {
        return this.#memory.rooms;
    }

    get subprotocol() {
        return this.#connection?.socket?.protocol || null;
    }

    start() {
        if (this.#closed) {
            throw new NotConnected("the client was closed, which is final; make a new one");
        }
        if (this.#ending) {
            this.#ending = null;
            this.#beginAnew();
        }
        else if (this.#connection) {
            return;
        }
        this.#connect();
    }

    reconnect() {
        this.start();
    }

    close(code = NORMAL, reason = "") {
        checkClose(code, reason);
        this.#closed = true;
        clearTimeout(this.#pause);
        this.#giveUpWaiting({ code, reason });
        this.#connection?.close(code, reason);
    }

    send(event, args = [], onReply = undefined) {
        return this.#submit(this.#message(event, args, onReply));
    }

    request(event, args = [], options = {}) {
        return this.#ask(event, args, options, null, (message) => this.#submit(message));
    }

    async call(event, args = [], options = {}) {
        return valueOf(await this.request(event, args, options));
    }

    waitFor(event, options = {}) {
        return new Promise((resolve, reject) => {
            checkListenedName(event);
            checkNames("options", options, ["timeout", "where"]);
            const { timeout, where = () => true } = options;
            checkTimeout(timeout);
            checkCallable("where", where);
            this.#wait({ event, where, resolve, reject, timer: undefined }, timeout);
        });
    }

    proxy(options = {}) {
        checkNames("options", options, ["timeout", "notices", "events"]);
        const { timeout, notices = [], events = {} } = options;
        checkTimeout(timeout);
        const areNames = Array.isArray(notices) && notices.every((name) => typeof name === "string");
        check("notices", notices, areNames, "an array of the names of methods");
        check("events", events, isPlainObject(events), "an object of the events of methods");
        Object.values(events).forEach(checkEventName);
        const made = (name) => {
            const event = Object.hasOwn(events, name) ? events[name] : name.replaceAll("_", "-");
            return notices.includes(name)
                ? (...args) => { this.send(event, args); }
                : (...args) => this.#callOrNotify(event, args, { timeout });
        };
        return new Proxy({}, {
            get: (methods, name) => {
                if (!(name in methods) && isMethod(name)) {
                    methods[name] = made(name);
                }
                return methods[name];
            },
        });
    }

    sendJson(value, ...others) {
        if (others.length) {
            throw new TypeError("write sendJson(value); of sendJson(event, value) the npm client sends only the value");
        }
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

    handler(event, handler) {
        checkListenedName(event);
        checkCallable("handler", handler);
        if (this.#handlers.has(event)) {
            throw new RangeError(`event "${event}" has a handler already; off("${event}") removes it`);
        }
        this.#handlers.set(event, handler);
        return this;
    }

    off(event, listener = undefined) {
        checkName(event);
        const others = (this.#listeners.get(event) ?? []).filter((entry) => listener && entry.listener !== listener);
        this.#setListeners(event, others);
        if (!listener || this.#handlers.get(event) === listener) {
            this.#handlers.delete(event);
        }
        return this;
    }

    // -- sending

    #message(event, args, onReply, replyTo = null) {
        checkEventName(event);
        check("args", args, Array.isArray(args), "an array");
        if (onReply !== undefined) {
            check("onReply", onReply, typeof onReply === "function", "a function");
            this.#checkRoomForReply(event);
        }
        return { event, body: this.#codec.encode(args), onReply, sent: { eventId: null, replyTo }, fail: null };
    }

    #checkRoomForReply(event) {
        const limit = this.#options.maxAwaitingReplies;
        if (this.awaitingRepliesCount >= limit) {
            throw new TooManyReplies(`event "${event}": maxAwaitingReplies=${limit} replies are still to come`);
        }
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
        this.#queuedReplies += message.onReply ? 1 : 0;
    }

    /** Take a message out of the queue; whether it was there. */
    #dequeue(message) {
        const was = this.#queue.delete(message);
        if (was) {
            this.#queuedBytes -= message.size;
            this.#queuedReplies -= message.onReply ? 1 : 0;
        }
        return was;
    }

    /** The client has ended: nothing will go out any more, and nothing come in. */
    #giveUpWaiting(ending) {
        for (const message of this.#queue) {
            this.#dequeue(message);
            drop(message, ending);
        }
        this.#giveUpWaits(ending);
    }

    #ask(event, args, options, replyTo, submit) {
        return new Promise((resolve, reject) => {
            checkNames("options", options, ["timeout"]);
            const { timeout } = options;
            checkTimeout(timeout);
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
                timer = later(timeout, () => this.#abandon(message, timeout));
            }
        });
    }

    /** A request whose time has passed: what has not gone out yet stays here. */
    #abandon(message, timeout) {
        const wasQueued = this.#dequeue(message);
        if (this.#connection?.awaiting.get(message.sent.eventId) === message) {
            this.#connection.take(message.sent.eventId);
        }
        const why = wasQueued ? `: the message was still queued, ${this.#whyQueued()}` : "";
        message.fail(tooLate(message, timeout, why));
    }

    #whyQueued() {
        if (this.#connection?.open) {
            return "as the server has not answered the authentication yet";
        }
        return this.#trouble ? `as there is no connection: ${this.#trouble}` : "and the client is still connecting";
    }

    #wait(waiter, timeout) {
        if (this.#closed) {
            throw new NotConnected("the client is closed");
        }
        if (this.#ending) {
            throw closedBy(this.#ending);
        }
        this.#waiters.add(waiter);
        if (timeout !== undefined) {
            const late = () => new ReplyTimeout(`no event ${quote(waiter.event)} within ${timeout} ms`);
            waiter.timer = later(timeout, () => this.#endWait(waiter, "reject", late()));
        }
    }

    #endWait(waiter, settle, outcome) {
        this.#waiters.delete(waiter);
        clearTimeout(waiter.timer);
        waiter[settle](outcome);
    }

    #giveUpWaits(ending) {
        for (const waiter of this.#waiters) {
            this.#endWait(waiter, "reject", closedBy(ending));
        }
    }

    /** End what waits for an event that comes in now; return whether anybody has waited for one of its name. */
    #endWaits(received) {
        const waiters = [...this.#waiters].filter((waiter) => waiter.event === received.event);
        for (const waiter of waiters) {
            try {
                if (waiter.where(received)) {
                    this.#endWait(waiter, "resolve", received);
                }
            }
            catch (error) {
                this.#endWait(waiter, "reject", error);
            }
        }
        return waiters.length > 0;
    }

    /** Call a method of a contract, which is a notice perhaps: then nobody answers, and nobody hears that it is so. */
    #callOrNotify(event, args, options) {
        const answer = new Promise((resolve, reject) => {
            this.call(event, args, options).then(resolve, (error) => {
                if (error instanceof ReplyTimeout || error instanceof ConnectionClosed) {
                    answer.catch(() => {}); // so that it is no unhandled rejection; who awaits it is told
                }
                reject(error);
            });
        });
        return answer;
    }

    /** Make the `reply` of an incoming event, which is not sent where its connection is gone. */
    #makeReply(connection, incoming) {
        const { eventId } = incoming.ids;
        const submit = (message) => {
            incoming.replied = true;
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

    // -- connecting, and again

    #beginAnew() {
        this.#delay = this.#options.reconnectDelay;
        this.#failures = 0;
        this.#freshKey = false;
        this.#trouble = "";
    }

    #connect() {
        clearTimeout(this.#pause);
        this.#connection = new Connection(this.#url, this.#options, this.#codec, {
            open: (connection) => this.#opened(connection),
            message: (connection, data) => this.#receive(connection, data),
            slow: ({ where }) => this.#warnOnce("slow", `${where} has not answered the authentication yet; a server `
                + "that does not speak this protocol never does, and auth: null is for such a one"),
            end: (connection, ending) => this.#ended(connection, ending),
        });
    }

    #opened(connection) {
        if (connection.key === null) {
            this.#becomeReady(connection, "onConnect");
        }
        else {
            connection.socket.send(this.#authentication(connection));
            this.#call("onConnect");
        }
    }

    #authentication({ key }) {
        const message = [AUTH, key, VERSION];
        if (this.#options.recover) {
            const size = this.#codec.encode(message).length;
            message.push(this.#memory.begin((values) => (
                this.#codec.encode([values]).length + (values.recover === 1 ? size : 0)
            )));
        }
        return this.#codec.encode(message);
    }

    /** Send what is queued, so that nothing overtakes it but what the callbacks send: to enter rooms again, say. */
    #becomeReady(connection, callback, missed = []) {
        connection.settle();
        connection.ready = true;
        this.#beginAnew();
        this.#call(callback);
        this.#tellMissed(missed);
        for (const message of connection.open ? this.#queue : []) {
            this.#dequeue(message);
            connection.send(message);
        }
    }

    #tellMissed(rooms) {
        if (rooms.length) {
            this.#call("onMissed", rooms);
        }
    }

    #receiveAnswer(connection, { accepted, reason, more }) {
        if (connection.answered && (accepted || connection.key !== null)) {
            return;
        }
        if (accepted) {
            const { recovers, missed } = this.#memory.accept(this.#options.recover ? more : null);
            connection.recovers = recovers;
            this.#becomeReady(connection, "onAuthOk", missed);
            return;
        }
        connection.reject(reason);
        this.#trouble = `the server rejects the key (${shown(reason)})`;
        if (typeof this.#options.auth === "function" && !this.#freshKey) {
            this.#freshKey = true; // is tried as soon as this connection has ended
            return;
        }
        this.#endByItself({ code: POLICY_VIOLATION, reason });
        if (connection.key === null) {
            warn(`${connection.where} wants a key, and auth is null (${shown(reason)}); the client stops`);
        }
        else if (!this.#callbacks.onAuthRejected) {
            warn(`${connection.where} rejects the key (${shown(reason)}); the client stops`);
        }
        this.#call("onAuthRejected", reason);
    }

    #ended(connection, ending) {
        const isCurrent = this.#connection === connection;
        if (isCurrent) {
            this.#connection = null;
            this.#memory.lose();
        }
        const failed = isCurrent && !this.#closed && !this.#ending ? this.#goOn(connection, ending) : null;
        if (connection.ready) {
            this.#giveUpWaits(ending);
        }
        if (connection.opened) {
            this.#call("onDisconnect", ending.code, ending.reason);
        }
        if (failed) {
            this.#tellFailure(failed);
        }
    }

    /** Connect again after the end of a connection, or end; return what to tell where it has never been ready. */
    #goOn(connection, { code, reason, cause }) {
        if (connection.rejected) {
            this.#connect();
            return null;
        }
        const failure = connection.ready ? null : failureOf(connection, code, reason, cause);
        this.#failures += failure ? 1 : 0;
        this.#trouble = failure?.message ?? `the connection was lost (${codeAnd(code, reason)})`;
        const isLast = failure && this.#failures === this.#options.reconnectAttempts;
        if (this.#options.autoReconnect && !isLast) {
            this.#connectLater();
        }
        else {
            this.#endByItself(failure ? { code: ABNORMAL, reason: failure.message, cause: failure } : { code, reason });
        }
        return failure && { failure, count: this.#failures, gaveUp: this.#ending !== null };
    }

    /** Try again after a pause: exponential, with jitter so that clients do not come all at once. */
    #connectLater() {
        const delay = Math.min(this.#delay, this.#options.reconnectDelayMax);
        this.#delay = delay * 2;
        this.#pause = later(delay * (0.5 + Math.random() / 2), () => this.#connect());
    }

    #endByItself(ending) {
        this.#ending = ending;
        this.#giveUpWaiting(ending);
    }

    /** Tell of an attempt that has failed: the callbacks, or the console, where each is one line at most. */
    #tellFailure({ failure, count, gaveUp }) {
        const after = count === 1 ? "1 failed attempt" : `${count} failed attempts`;
        if (this.#callbacks.onError) {
            this.#report("", failure);
        }
        if (gaveUp && this.#callbacks.onGaveUp) {
            this.#call("onGaveUp", failure);
        }
        else if (gaveUp) {
            warn(`${failure.message}; the client gives up after ${after}`);
        }
        else if (!this.#callbacks.onError && A_POWER_OF_TEN.test(count)) {
            warn(`${failure.message}; the client goes on after ${after}`);
        }
    }

    #warnOnce(what, text) {
        if (!this.#warned.has(what)) {
            this.#warned.add(what);
            warn(text);
        }
    }

    // -- what comes in

    #receive(connection, data) {
        if (typeof data === "string") {
            this.#receiveText(connection, data);
            return;
        }
        let message;
        try {
            const values = this.#codec.decode(data);
            if (connection.recovers && isOfRecovery(values[0])) {
                message = this.#memory.heed(values);
            }
            else {
                message = parseFromServer(values);
            }
        }
        catch (error) {
            this.#receiveMalformed(connection, data, error);
            return;
        }
        if (message.accepted !== undefined) {
            this.#receiveAnswer(connection, message);
            return;
        }
        this.#tellMissed(message.missed ?? []);
        if (message.event !== undefined) {
            this.#deliver(connection, message);
        }
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
        this.#report("a message from the server is malformed", error);
    }

    #deliver(connection, message, reply = this.#makeReply(connection, message)) {
        const { event, ids, args } = message;
        const question = connection.take(ids.replyTo);
        const listeners = question ? [] : this.#takeListeners(event);
        const handler = this.#handlers.get(event);
        const { onMessage } = this.#callbacks;
        if (onMessage) {
            this.#run("onMessage", event, onMessage, event, args, reply, ids);
        }
        if (question) {
            this.#run("onReply", event, question.onReply, event, args, reply, ids);
            return;
        }
        const awaited = this.#waiters.size > 0 && this.#endWaits({ event, args, reply, ids });
        listeners.forEach((listener) => this.#run("a listener", event, listener, args, reply, ids));
        if (handler) {
            this.#handle(handler, message, reply);
        }
        else if (!listeners.length && !onMessage && !awaited) {
            this.#receiveUnknown(message, reply);
        }
    }

    /** Run the callbacks of an event that we make ourselves. */
    #emit(connection, event, value) {
        const nobody = Object.assign(() => undefined, { request: () => Promise.reject(new ConnectionClosed()) });
        this.#deliver(connection, { event, ids: { eventId: -1, replyTo: null }, args: [value] }, nobody);
    }

    #receiveUnknown({ event, ids }, reply) {
        if (this.#options.unknownEvents === "error" && ids.replyTo === null && !isAnswer(event)) {
            reply(EVENT_ERROR, [refusal("unknown-event", `nobody handles ${quote(event)}`)]);
        }
    }

    /** Run the handler of an event, and answer by its outcome, unless a listener has answered. */
    #handle(handler, message, reply) {
        const answer = (event, value) => message.replied ? undefined : reply(event, [value]);
        const returned = (value = null) => answer(EVENT_OK, value);
        const thrown = (error) => {
            if (!(error instanceof CallError)) {
                throw error;
            }
            answer(EVENT_ERROR, refusal(error.code, error.message, error.data));
        };
        const failed = (error) => { // what it has thrown, or the answer that cannot be sent
            this.#report(`the handler of ${quote(message.event)} has failed`, error);
            answer(EVENT_ERROR, refusal("internal", "the handler failed"));
        };
        new Promise((resolve) => { resolve(handler(...message.args)); }).then(returned, thrown).catch(failed);
    }

    // -- listeners and callbacks

    #listen(event, listener, once) {
        checkListenedName(event);
        checkCallable("listener", listener);
        const advice = adviceOn(event);
        if (advice) {
            this.#warnOnce(event, advice);
        }
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

    /** Run one of the client's callbacks, if there is one of that name. */
    #call(name, ...args) {
        if (this.#callbacks[name]) {
            this.#run(name, null, this.#callbacks[name], ...args);
        }
    }

    /** Run user code; what it throws, or an async one rejects with, is reported and ends nothing. */
    #run(what, event, callback, ...args) {
        const failed = (error) => (
            this.#report(`${what}${event === null ? "" : ` of ${quote(event)}`} has failed`, error)
        );
        try {
            const result = callback(...args);
            if (typeof result?.then === "function") {
                result.then(undefined, failed);
            }
        }
        catch (error) {
            failed(error);
        }
    }

    #report(what, error) {
        const { onError } = this.#callbacks;
        if (!onError) {
            console.error(`ezez-ws: ${what}:`, error);
            return;
        }
        const failed = (another) => console.error("ezez-ws: onError has failed:", another, "It was told:", error);
        try {
            const result = onError(error);
            if (typeof result?.then === "function") {
                result.then(undefined, failed);
            }
        }
        catch (another) {
            failed(another);
        }
    }
}

/** The error of an attempt that has ended before the client was ready. */
function failureOf({ where, opened }, code, reason, cause) {
    const why = opened ? `it closed before it answered the authentication (${codeAnd(code, reason)})` : shown(reason);
    return new ConnectionFailed(`cannot connect${where && ` to ${where}`}${why && `: ${why}`}`, { cause });
}

/** Give up a message: nothing is sent, and whoever waits for its reply is told. */
function drop(message, ending) {
    message.fail?.(closedBy(ending));
    return undefined;
}

function closedBy(ending) {
    const { code, reason, cause } = ending ?? {};
    return new ConnectionClosed(code, reason, { cause });
}

function parsedOr(text) {
    try {
        return JSON.parse(text);
    }
    catch {
        return text;
    }
}
