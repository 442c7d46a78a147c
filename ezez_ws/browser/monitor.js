/**
 * The monitor's page: shows what a running server does, and asks it to act.
 *
 * All of it comes over one connection, as events: `hello` with what is known so far, and then, once a second, `sample`
 * (the figures), `listeners`, `clients` (what has changed) and `cluster`, and each `error` as it happens. Texts of
 * other people's are shown as text, never as markup.
 *
 * From top to bottom: elements, texts, what is known, graphs, figures, listeners, clients, cluster, errors, one client,
 * actions, and the connection. Each part has one function that brings the page up to what is known.
 */

import { ConnectionFailed, EZEZWebSocketClient } from "./ezez-ws.js";

const SLOW = 1; // seconds from which on a listener is shown with its stack
const STUCK = 5; // and from which on it is alarming
const SILENT = 4000; // milliseconds without news after which we say so
const LATE = 2; // heartbeats without news after which we say so of a node
const WINDOW = 900_000; // milliseconds that the graphs show
const STEP = 5000; // and between two of their points
const GAP = 20_000; // points further apart are not joined
const UNFOLDED = 3; // listeners that are shown with their stacks at once; those below are folded
const MOST_CARDS = 50;
const MOST_TOLD = 200; // listeners that the server tells of, the slowest
const MOST_NAMED = 6; // clients that one listener's card names
const ERRORS = 50; // as many as the server keeps
const OVERSCAN = 8; // rows above and below those that can be seen

// -- elements -----------------------------------------------------------------------------------------------------

const $ = (id) => document.getElementById(id);

function make(tag, attributes = {}, ...children) {
    const isDrawn = tag === "svg" || tag === "path" || tag === "line";
    const element = isDrawn ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
        element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
}

/** Change what is not so already: a screen reader is not to read again what is the same. */
function write(element, text) {
    if (element.textContent !== text) {
        element.textContent = text;
    }
}

function mark(element, name, value) {
    if (element.getAttribute(name) !== value) {
        element.setAttribute(name, value);
    }
}

/** Make the children of an element these, in this order; those that stay there keep focus and selection. */
function arrange(parent, children) {
    const wanted = new Set(children);
    for (const child of [...parent.children]) {
        if (!wanted.has(child)) {
            child.remove();
        }
    }
    children.forEach((child, index) => {
        if (parent.children[index] !== child) {
            parent.insertBefore(child, parent.children[index] ?? null);
        }
    });
}

// -- texts --------------------------------------------------------------------------------------------------------

const UNPRINTABLE = /(?![\n\t\u200d])\p{C}/gu; // U+200D joins emoji

/** Text of somebody else's, with what cannot be seen made visible. */
const shown = (text) => String(text ?? "").replace(UNPRINTABLE, (sign) => `\\u{${sign.codePointAt(0).toString(16)}}`);

const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { maximumSignificantDigits: 2 });

const count = (number) => grouped.format(number);

const many = (number, one, more = `${one}s`) => `${count(number)} ${number === 1 ? one : more}`;

const rate = (number) => number < 10 ? short.format(number) : count(number);

function scaled(number, units) {
    const unit = units.findLast(([size]) => number >= size) ?? units[0];
    const value = number / unit[0];
    return `${value < 100 ? short.format(value) : count(value)} ${unit[1]}`;
}

const bytes = (number) => scaled(number, [[1, "B"], [1e3, "kB"], [1e6, "MB"], [1e9, "GB"]]);

/** A short time, as it is measured. */
const time = (seconds) => (
    seconds === 0 ? "0 ms" : scaled(seconds, seconds < 0.001 ? [[1e-6, "µs"]] : [[1e-3, "ms"], [1, "s"]])
);

/** How long something lasts already. */
function duration(seconds) {
    const whole = Math.floor(seconds);
    if (whole < 10) {
        return seconds < SLOW ? time(seconds) : `${seconds.toFixed(1)} s`;
    }
    const [minutes, hours, days] = [60, 3600, 86_400].map((unit) => Math.floor(whole / unit));
    if (whole < 60) {
        return `${whole} s`;
    }
    if (minutes < 60) {
        return `${minutes} min ${whole % 60} s`;
    }
    return hours < 24 ? `${hours} h ${minutes % 60} min` : `${days} d ${hours % 24} h`;
}

/** The same in its largest unit alone, for a table. */
const age = (seconds) => duration(seconds).split(" ").slice(0, 2).join(" ").replace(/\.\d/, "");

const clock = (at) => new Date(at).toLocaleTimeString("en-GB");

// -- what is known ------------------------------------------------------------------------------------------------

const known = {
    server: null,
    readOnly: true,
    clients: new Map(), // id to client
    total: 0,
    listeners: [],
    running: 0, // how many listeners run, also those that are not told
    cluster: null,
    nodes: new Map(), // name to the node, those that have gone included
    errors: [], // newest first
    points: [], // of the graphs: {at, sample, values}, with one array of values for each tile
    recent: [], // the last few samples
    lag: [], // points of the graph of the lag
    heard: 0, // when the server last said something, by our clock
    ahead: 0, // milliseconds by which the server's clock is ahead of ours
};

let paused = false;
let state = "connecting";
const parts = {}; // name to the function that brings that part of the page up to what is known
const stale = new Set();
let frame = null;

/** Bring parts of the page up to what is known, before it is painted next. */
function refresh(...names) {
    names.forEach((name) => stale.add(name));
    frame ??= requestAnimationFrame(() => {
        frame = null;
        if (paused) {
            return; // until it goes on
        }
        const now = [...stale];
        stale.clear();
        now.forEach((name) => parts[name]());
    });
}

const serverNow = () => Date.now() + known.ahead;

let saidAt = -Infinity;

/** Tell a screen reader, not more often than one can listen. */
function say(text) {
    if (performance.now() - saidAt > 10_000) {
        saidAt = performance.now();
        write($("said"), text);
    }
}

// -- graphs -------------------------------------------------------------------------------------------------------

const [WIDTH, HEIGHT] = [300, 40];

/** A small graph over the last 15 minutes, of one line or two, from 0 up to the highest value. */
class Graph {
    constructor(lines, least) {
        this.least = least; // a graph of less than that would be all noise
        this.area = make("path", { class: "area" });
        this.lines = lines.map((name) => make("path", { class: `line ${name}` }));
        this.cross = make("line", { class: "cross", y1: 0, y2: HEIGHT, visibility: "hidden" });
        this.element = make(
            "svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" },
            this.area, ...this.lines, this.cross,
        );
    }

    /** Draw the values that `of` takes from each point. Returns the highest. */
    draw(points, of) {
        const end = points.at(-1)?.at ?? 0;
        const peak = Math.max(0, ...points.flatMap((point) => of(point) ?? []).filter(Number.isFinite));
        const top = Math.max(peak, this.least) * 1.08;
        const x = (at) => WIDTH * (1 - (end - at) / WINDOW);
        const y = (value) => (HEIGHT - 1) * (1 - value / top);
        this.lines.forEach((path, index) => {
            const runs = [];
            let last = -Infinity;
            for (const point of points) {
                const value = of(point)?.[index];
                if (!Number.isFinite(value)) {
                    last = -Infinity;
                    continue;
                }
                if (point.at - last > GAP) {
                    runs.push([]);
                }
                last = point.at;
                runs.at(-1).push([x(point.at).toFixed(1), y(value).toFixed(1)]);
            }
            path.setAttribute("d", runs.map((run) => `M${run.map((dot) => dot.join(" ")).join("L")}h.01`).join(""));
            if (index === 0) {
                this.area.setAttribute("d", runs.map((run) => (
                    `M${run[0][0]} ${HEIGHT}L${run.map((dot) => dot.join(" ")).join("L")}L${run.at(-1)[0]} ${HEIGHT}Z`
                )).join(""));
            }
        });
        return peak;
    }

    point(at, end) {
        this.cross.setAttribute("visibility", at === null ? "hidden" : "visible");
        if (at !== null) {
            const x = WIDTH * (1 - (end - at) / WINDOW);
            this.cross.setAttribute("x1", x);
            this.cross.setAttribute("x2", x);
        }
    }
}

// -- figures ------------------------------------------------------------------------------------------------------

const perSecond = (field) => (before, now) => {
    const grown = before ? now[field] - before[field] : -1;
    return grown < 0 ? null : grown * 1000 / (now.at - before.at);
};

/** What a part of the events of a time took at most, read out of how many took at most so long. */
function quantile(before, now, part) {
    const grown = now.buckets.map(([bound, number], index) => [bound, number - (before.buckets[index]?.[1] ?? 0)]);
    const wanted = (grown.at(-1)?.[1] ?? 0) * part;
    if (!(wanted > 0)) {
        return null;
    }
    const index = grown.findIndex(([, number]) => number >= wanted);
    const [bound, number] = grown[index];
    const [low, fewer] = index > 0 ? grown[index - 1] : [0, 0];
    return bound === null ? low : low + (bound - low) * (wanted - fewer) / (number - fewer);
}

const quantiles = (field) => (before, now) => [0.5, 0.99].map((part) => (
    before ? quantile(before[field], now[field], part) : null
));

const both = ([middle, high]) => middle === null || middle === undefined ? "–" : `${time(middle)} · ${time(high)}`;

const legend = () => [make("span", { class: "middle" }, "median"), make("span", { class: "high" }, "99 %")];

const TILES = [
    {
        label: "Clients", of: (_, now) => [now.connections], text: ([value]) => count(value), least: 5,
        extra: (_, now) => now.unauthenticated ? `${count(now.unauthenticated)} not authenticated` : "",
    },
    {
        label: "Messages in", of: (...two) => [perSecond("messagesReceived")(...two)], unit: "/s", least: 1,
        extra: (...two) => `${bytes(perSecond("bytesReceived")(...two) ?? 0)}/s`,
    },
    {
        label: "Messages out", of: (...two) => [perSecond("messagesSent")(...two)], unit: "/s", least: 1,
        extra: (...two) => `${bytes(perSecond("bytesSent")(...two) ?? 0)}/s`,
    },
    {
        label: "Listeners take", of: quantiles("listenerSeconds"), text: both, peak: time, lines: ["middle", "high"],
        legend: legend(), least: 0.001,
    },
    {
        label: "Events wait", of: quantiles("waitingSeconds"), text: both, peak: time, lines: ["middle", "high"],
        legend: legend(), least: 0.001,
    },
    {
        label: "Buffered to send", of: (_, now) => [now.sendBufferBytes], text: ([value]) => bytes(value), least: 1000,
        extra: (_, now) => now.inboxBytes ? `${bytes(now.inboxBytes)} to be handled` : "",
    },
    {
        label: "Replies awaited", of: (_, now) => [now.repliesAwaited], text: ([value]) => count(value), least: 5,
        extra: (_, now) => now.repliesTimedOut ? `${count(now.repliesTimedOut)} timed out so far` : "",
    },
].map((tile) => ({
    lines: ["only"], unit: "", text: ([value]) => Number.isFinite(value) ? rate(value) : "–", ...tile,
    peak: tile.peak ?? ((value) => tile.text ? tile.text([value]) : rate(value)),
    graph: new Graph(tile.lines ?? ["only"], tile.least),
    value: make("span", { class: "value" }),
    small: make("span", { class: "extra" }, ...(tile.legend ?? [])),
    most: make("span", { class: "peak" }),
}));

let pointedAt = null; // the moment that the pointer is at, in a graph

function addSample(sample) {
    const { points, recent } = known;
    if (points.length && sample.at <= points.at(-1).at) {
        return;
    }
    if (points.length > 1 && sample.at - points.at(-2).at <= STEP) {
        points.pop(); // it was there for the time being
    }
    const before = points.at(-1)?.sample;
    points.push({ at: sample.at, sample, values: TILES.map((tile) => tile.of(before, sample)) });
    while (points[0].at < sample.at - WINDOW) {
        points.shift();
    }
    recent.push(sample);
    recent.splice(0, recent.length - 4);
}

parts.figures = () => {
    const { points, recent } = known;
    const now = points.at(-1);
    if (!now) {
        return;
    }
    const before = recent.length > 1 ? recent[0] : points.at(-2)?.sample;
    const pointed = pointedAt === null ? null : nearest(points, now.at - WINDOW * (1 - pointedAt));
    write($("figures-when"), pointed ? `at ${clock(pointed.at)}` : "last 15 minutes");
    TILES.forEach((tile, index) => {
        const peak = tile.graph.draw(points, (point) => point.values[index]);
        const values = pointed ? pointed.values[index] : tile.of(before, now.sample);
        const text = `${tile.text(values)}${tile.unit}`;
        write(tile.value, text);
        const sides = pointed ? [points[points.indexOf(pointed) - 1]?.sample, pointed.sample] : [before, now.sample];
        if (tile.extra) {
            write(tile.small, tile.extra(...sides));
        }
        write(tile.most, peak > 0 ? `peak ${tile.peak(peak)}${tile.unit}` : "");
        const most = peak > 0 ? `, ${tile.most.textContent} in the last 15 minutes` : "";
        mark(tile.graph.element, "aria-label", `${tile.label}: ${text}${most}`);
        tile.graph.point(pointed?.at ?? null, now.at);
    });
    totals(now.sample);
};

const nearest = (points, at) => points.reduce((best, point) => (
    Math.abs(point.at - at) < Math.abs(best.at - at) ? point : best
));

function totals(sample) {
    const by = (numbers) => Object.entries(numbers).filter(([, number]) => number)
        .map(([name, number]) => `${shown(name)} ${count(number)}`).join(", ") || "none";
    const lines = {
        "Connections": count(sample.connectionsTotal),
        "Authentications": by(sample.authentications),
        "Refused, by status": by(sample.handshakesRefused),
        "Clients cut": by(sample.clientsCut),
        "Replies timed out": count(sample.repliesTimedOut),
        "Replies expired": count(sample.repliesExpired),
        "Broadcasts": count(sample.broadcasts),
    };
    facts($("totals"), lines);
}

/** Fill a list of names and values. */
function facts(list, lines) {
    const names = Object.keys(lines);
    if (list.children.length !== names.length) {
        list.replaceChildren(...names.map((name) => make("div", {}, make("dt", {}, name), make("dd"))));
    }
    names.forEach((name, index) => {
        const value = list.children[index].lastChild;
        write(value, lines[name]);
        value.classList.toggle("faint", lines[name] === "none" || lines[name] === "0");
    });
}

function setUpFigures() {
    $("tiles").append(...TILES.map((tile) => make(
        "div", { class: "tile" },
        make("p", { class: "label" }, tile.label), tile.value, tile.small, tile.most, tile.graph.element,
    )));
    const point = (at) => {
        pointedAt = at;
        if (known.points.length) {
            parts.figures(); // though it is paused
        }
    };
    $("tiles").addEventListener("pointermove", (event) => {
        const graph = event.target.closest("svg");
        const box = graph?.getBoundingClientRect();
        point(graph ? (event.clientX - box.left) / box.width : null);
    });
    $("tiles").addEventListener("pointerleave", () => point(null));
}

// -- listeners ----------------------------------------------------------------------------------------------------

const LIBRARY = new RegExp([
    "^<", // <frozen importlib._bootstrap>
    String.raw`[\\/](?:site|dist)-packages[\\/]`,
    String.raw`[\\/](?:lib|Lib)(?:64)?[\\/](?:python3[^\\/]*[\\/])?[a-z_]+(?:[\\/][a-z_]+)*\.py$`,
    // our own, also where it is run from its repository, whose other folders are programs
    String.raw`[\\/]ezez_ws[\\/](?:(?:browser|calls|cli|cluster|connection|messages|opening|operating|testing|threads`
        + String.raw`|websocket|wire)[\\/]|[a-z_]+\.py$)`,
].join("|"));

const WAITS = {
    call: "waits for an answer", context: "waits for a context", lock: "waits for a lock", send: "waits to send",
    sleep: "in time.sleep", wait_reply: "waits for a reply",
};

/** Whether a frame is not of the program itself. */
const isLibrary = (frame) => frame.library ?? LIBRARY.test(frame.file);

/** The last two parts of a path, which say enough in a program that one knows. */
const shortPath = (path) => shown(path).split(/[\\/]/).slice(-2).join("/");

/** A function's name, without those of the functions around it. */
const shortName = (name) => shown(name).split(".<locals>.").at(-1);

function packageOf(frame) {
    const [, name] = /[\\/](?:site|dist)-packages[\\/]([^\\/]+?)(?:\.py)?(?:[\\/]|$)/.exec(frame.file) ?? [];
    return name ?? (/[\\/]ezez_ws[\\/]/.test(frame.file) ? "ezez_ws" : "Python");
}

/** The index of the frame to look at: the innermost of the program. */
function frameOf(stack) {
    const own = stack.findLastIndex((frame) => !isLibrary(frame));
    return own < 0 ? stack.length - 1 : own;
}

const placeOf = (frame) => frame.file ? `${shortPath(frame.file)}:${frame.line}` : "";

const levelOf = (seconds) => seconds >= STUCK ? "stuck" : seconds >= SLOW ? "slow" : "";

function stateOf(listener) {
    const { state: does, where } = listener;
    const how = where && (WAITS[where] ?? `in ${shown(where)}`);
    return [shown(does), how].filter(Boolean).join(", ") || "running";
}

function frameElement(frame, isIt) {
    return make(
        "li", { class: `frame${isIt ? " it" : ""}`, ...(isIt && { "aria-current": "true" }) },
        make("span", { class: "place", title: shown(frame.file) }, placeOf(frame)),
        make("span", { class: "function", title: shown(frame.function) }, shortName(frame.function)),
        make("code", {}, shown(frame.source)),
    );
}

/** A stack as a list, innermost last as in a traceback, with those frames folded that are not the program's. */
function stackElement(stack, isOpen, onFold) {
    const list = make("ol", { class: "stack", "aria-label": "Stack, the innermost call last" });
    const it = frameOf(stack);
    for (let index = 0; index < stack.length;) {
        if (index === it || !isLibrary(stack[index])) {
            list.append(frameElement(stack[index], index === it));
            index += 1;
            continue;
        }
        let end = index;
        while (end < stack.length && end !== it && isLibrary(stack[end])) {
            end += 1;
        }
        list.append(fold(stack.slice(index, end), end === stack.length, isOpen, onFold));
        index = end;
    }
    return list;
}

function fold(frames, isInnermost, isOpen, onFold) {
    const packages = [...new Set(frames.filter(({ file }) => file).map(packageOf))].map(shown).join(", ");
    const down = isInnermost ? `, down to ${shown(frames.at(-1).function)}` : "";
    const details = make(
        "details", {},
        make("summary", {}, `${packages}: ${many(frames.length, "frame")}${down}`),
        make("ol", {}, ...frames.map((frame) => frameElement(frame, false))),
    );
    const name = isInnermost ? "inner" : "outer";
    details.open = isOpen(name);
    details.addEventListener("toggle", () => onFold(name, details.open));
    return make("li", { class: "fold" }, details);
}

const stackKey = (stack) => stack.map((frame) => `${frame.file}:${frame.line}`).join("\n");

function stackText({ what, seconds, id, address }, stack) {
    const frames = stack.map(({ file, line, function: name, source }) => (
        `  File "${file}", line ${line}, in ${name}\n    ${source}\n`
    ));
    return `${what}, for ${duration(seconds)}, client ${id} (${address})\n${frames.join("")}`;
}

/** Those that do the same at the same place, the oldest first. */
class Group {
    constructor(listener) {
        this.listeners = [listener];
    }

    get first() {
        return this.listeners[0];
    }

    /** What makes it the same as a second ago: the place for many, the client for one, whose place may change. */
    get key() {
        const { what, id, stack } = this.first;
        return this.listeners.length > 1 ? `${what}\n${stackKey(stack)}` : `${what}\n#${id}`;
    }
}

function groups(listeners) {
    const found = new Map();
    for (const listener of [...listeners].sort((one, other) => other.seconds - one.seconds)) {
        const key = JSON.stringify([listener.what, listener.where, stackKey(listener.stack)]);
        if (found.has(key)) {
            found.get(key).listeners.push(listener);
        }
        else {
            found.set(key, new Group(listener));
        }
    }
    return [...found.values()];
}

/** One group on the page. */
class Card {
    #stackKey = null;
    #open = new Set(); // the folds that are

    constructor() {
        this.seconds = make("p", { class: "seconds" });
        this.name = make("h3");
        this.state = make("span", { class: "chip" });
        this.who = make("p", { class: "who" });
        this.at = make("span", { class: "at" });
        this.stack = make("div", { class: "holder" });
        this.copy = make("button", { type: "button", class: "quiet" }, "Copy");
        this.copy.hidden = !navigator.clipboard;
        this.copy.addEventListener("click", () => this.#copy());
        const summary = make("summary", {}, "Stack", this.at);
        this.details = make("details", { class: "whole" }, summary, this.stack);
        this.element = make(
            "article", { class: "listener" }, this.seconds,
            make("div", { class: "names" }, this.name, this.state, this.copy, this.who), this.details,
        );
    }

    show(group) {
        const { first } = group;
        this.group = group;
        mark(this.element, "data-level", levelOf(first.seconds));
        mark(this.element, "aria-label", `${shown(first.what)}, ${levelOf(first.seconds)}`);
        write(this.seconds, duration(first.seconds));
        write(this.name, shown(first.what));
        write(this.state, stateOf(first));
        mark(this.state, "data-state", `${first.state}`);
        mark(this.copy, "aria-label", `Copy the stack of ${shown(first.what)}`);
        this.#showWho(group);
        const key = stackKey(first.stack);
        if (key !== this.#stackKey) {
            this.#stackKey = key;
            const it = first.stack[frameOf(first.stack)];
            write(this.at, it ? placeOf(it) : "");
            this.details.hidden = !it;
            this.stack.replaceChildren(stackElement(first.stack, (name) => this.#open.has(name), (name, isOpen) => {
                this.#open[isOpen ? "add" : "delete"](name);
            }));
        }
    }

    #showWho({ listeners }) {
        const key = listeners.slice(0, MOST_NAMED).map(({ id }) => id).join();
        if (key !== this.whoKey) {
            this.whoKey = key;
            this.more = make("span");
            const named = listeners.length === 1
                ? [clientButton(listeners[0].id, `client ${listeners[0].id}`), ` ${shown(listeners[0].address)}`]
                : listeners.slice(0, MOST_NAMED).flatMap(({ id }) => [clientButton(id, `${id}`), " "]);
            this.who.replaceChildren(this.all = make("span"), ...named, this.more);
        }
        write(this.all, listeners.length > 1 ? `${count(listeners.length)} clients, all in this place: ` : "");
        const rest = listeners.length - MOST_NAMED;
        write(this.more, rest > 0 ? `and ${count(rest)} more` : "");
    }

    async #copy() {
        const { first } = this.group;
        try {
            await navigator.clipboard.writeText(stackText(first, first.stack));
            notice("The stack is in the clipboard.");
        }
        catch (error) {
            notice(`It could not be copied: ${error.message}`, true);
        }
    }
}

function clientButton(id, text) {
    const button = make("button", { type: "button", class: "link", "aria-label": `Client ${id}` }, text);
    button.addEventListener("click", () => openClient(id));
    return button;
}

const cards = new Map();
const warned = new Set();

parts.listeners = () => {
    const slow = known.listeners.filter(({ seconds }) => seconds >= SLOW);
    const all = groups(slow);
    const shownGroups = all.slice(0, MOST_CARDS);
    const keys = new Set(shownGroups.map(({ key }) => key));
    for (const key of cards.keys()) {
        if (!keys.has(key)) {
            cards.delete(key);
        }
    }
    shownGroups.forEach((group, index) => {
        if (!cards.has(group.key)) {
            const card = new Card();
            card.details.open = index < UNFOLDED;
            cards.set(group.key, card);
        }
        cards.get(group.key).show(group);
    });
    arrange($("listeners-list"), shownGroups.map(({ key }) => cards.get(key).element));
    sumUpListeners(slow);
};

function sumUpListeners(slow) {
    const stuck = slow.filter(({ seconds }) => seconds >= STUCK).length;
    const quick = known.listeners.length - slow.length;
    mark($("listeners"), "data-level", levelOf(Math.max(0, ...slow.map(({ seconds }) => seconds))));
    write($("listeners-sum"), [
        stuck && `${count(stuck)} for over ${STUCK} s`,
        slow.length > stuck && `${count(slow.length - stuck)} for over ${SLOW} s`,
        known.listeners.length >= MOST_TOLD && known.running > known.listeners.length && `${count(known.running - known.listeners.length)} more run`,
    ].filter(Boolean).join(", ") || "nothing is slow");
    const names = new Map();
    for (const { what, seconds } of known.listeners) {
        if (seconds < SLOW) {
            names.set(what, (names.get(what) ?? 0) + 1);
        }
    }
    const most = [...names].sort((one, other) => other[1] - one[1]).slice(0, 5);
    const list = most.map(([what, number]) => number > 1 ? `${shown(what)} × ${count(number)}` : shown(what)).join(", ");
    write($("listeners-short"), quick
        ? `Now, for less than a second: ${list}${names.size > most.length ? " …" : ""}`
        : slow.length ? "" : "No listener runs. One that takes a second or longer is shown here, with its stack.");
}

/** What has to be noticed while nobody looks: in the window's title, and by a screen reader. */
function alarm() {
    const stuck = groups(known.listeners.filter(({ seconds }) => seconds >= STUCK));
    const number = stuck.reduce((sum, { listeners }) => sum + listeners.length, 0);
    const name = known.server ? serverName() : "";
    $("icon").href = $("icon").href.replace(/%23\w{6}/, number ? "%23e5483d" : "%236d66f5");
    document.title = `${number ? `(${number}) ` : ""}Monitor${name && ` – ${name}`}`;
    const fresh = stuck.find(({ key }) => !warned.has(key));
    warned.clear();
    stuck.forEach(({ key }) => warned.add(key));
    if (fresh) {
        const { first } = fresh;
        const it = first.stack[frameOf(first.stack)];
        const place = it ? `, at ${placeOf(it)}` : "";
        say(`The listener ${shown(first.what)} of client ${first.id} runs for ${duration(first.seconds)}${place}`);
    }
}

// -- clients ------------------------------------------------------------------------------------------------------

const runningText = ({ running }) => running ? `${shown(running.what)} ${age(running.seconds)}` : "";

/** `first` is the direction in which a column is sorted at first. */
const COLUMNS = [
    { name: "id", label: "Client", of: ({ id }) => id, text: ({ id }) => `${id}`, first: 1 },
    { name: "address", label: "Address", of: ({ address }) => address, text: ({ address }) => shown(address), first: 1 },
    {
        name: "since", label: "Since", of: ({ since }) => -since, first: -1, number: true,
        text: ({ since }) => age(Math.max(0, serverNow() - since) / 1000),
        title: ({ since }) => `since ${new Date(since).toLocaleString("en-GB")}`,
    },
    {
        name: "auth", label: "Auth", of: ({ authenticated }) => +authenticated, first: 1,
        text: ({ authenticated }) => authenticated ? "yes" : "no", title: () => "whether it is authenticated",
    },
    {
        name: "rooms", label: "Rooms", of: ({ rooms }) => rooms.length, first: -1,
        text: ({ rooms }) => shown(rooms.join(", ")), title: ({ rooms }) => shown(rooms.join(", ")),
    },
    {
        name: "latency", label: "Latency", of: ({ latency }) => latency ?? -1, first: -1, number: true,
        text: ({ latency }) => latency === null ? "–" : time(latency),
    },
    {
        name: "received", label: "In", of: ({ received }) => received, first: -1, number: true,
        text: ({ received }) => count(received), title: (client) => `${bytes(client.bytesReceived)} received`,
    },
    {
        name: "sent", label: "Out", of: ({ sent }) => sent, first: -1, number: true,
        text: ({ sent }) => count(sent), title: (client) => `${bytes(client.bytesSent)} sent`,
    },
    {
        name: "buffers", label: "Buffers", of: ({ sendBuffer, inbox }) => sendBuffer + inbox, first: -1, number: true,
        text: ({ sendBuffer, inbox }) => sendBuffer + inbox ? bytes(sendBuffer + inbox) : "–",
        title: ({ sendBuffer, inbox }) => `${bytes(sendBuffer)} to be sent, ${bytes(inbox)} to be handled`,
    },
    {
        name: "awaited", label: "Awaits", of: ({ awaited }) => awaited, first: -1, number: true,
        text: ({ awaited }) => awaited ? count(awaited) : "–", title: ({ awaited }) => many(awaited, "reply", "replies"),
    },
    {
        name: "now", label: "Runs now", of: ({ running }) => running?.seconds ?? -1, first: -1,
        text: runningText, title: runningText,
    },
    {
        name: "context", label: "Context", of: ({ context }) => context ?? "", first: 1,
        text: ({ context }) => shown(context), title: ({ context }) => shown(context),
    },
];

const sorting = { column: COLUMNS[0], direction: 1 };
let view = []; // the clients that the filter lets through, in order
let active = null; // the id of the client whose row the Tab key reaches
const rows = new Map(); // id to the row on the page
const above = make("tr", { class: "space", "aria-hidden": "true" }, make("td", { colspan: COLUMNS.length }));
const below = above.cloneNode(true);

const haystack = ({ id, address, rooms, context, authenticated, running }) => [
    `#${id}`, address, ...rooms, context ?? "", authenticated ? "" : "unauthenticated", running?.what ?? "",
].join("\n").toLowerCase();

/** Whether rows keep their places for now, since somebody points at one. */
const isHeld = () => (
    $("body").contains(document.activeElement) || (matchMedia("(hover: hover)").matches && $("body").matches(":hover"))
);

/** Choose and order the clients anew. */
function order({ hold = false } = {}) {
    const words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const all = [...known.clients.values()];
    const found = words.length ? all.filter((client) => {
        const text = haystack(client);
        return words.every((word) => text.includes(word));
    }) : all;
    if (hold) {
        const places = new Map(view.map(({ id }, index) => [id, index]));
        const place = ({ id }) => places.get(id) ?? places.size;
        found.sort((one, other) => place(one) - place(other) || one.id - other.id);
    }
    else {
        const { column: { of }, direction } = sorting;
        found.sort((one, other) => {
            const [low, high] = [of(one), of(other)];
            return (low < high ? -direction : low > high ? direction : 0) || one.id - other.id;
        });
    }
    view = found;
}

parts.clients = () => {
    const isOrdered = sorting.column.name === "id"; // which does not change
    const hold = !isOrdered && isHeld();
    order({ hold });
    $("rows").hidden = !view.length;
    showRows();
    const { size } = known.clients;
    const held = hold ? " – order held while you point at it" : "";
    const loaded = size < known.total ? `${count(size)} of ${count(known.total)} …` : count(known.total);
    write($("clients-sum"), view.length === size ? `${loaded}${held}` : `${count(view.length)} of ${loaded}${held}`);
    const none = view.length ? "" : size ? "No client is like that." : "Nobody is connected.";
    write($("clients-none"), none);
    $("clients-none").hidden = !none;
    showClient();
};

const rowHeight = () => parseFloat(getComputedStyle($("rows")).getPropertyValue("--row"));

/** Make those rows that can be seen, and a few more. */
function showRows() {
    const [frameOfRows, height] = [$("rows"), rowHeight()];
    const room = parseFloat(getComputedStyle(frameOfRows).maxHeight); // it is no higher yet than the rows that are there
    const start = Math.max(0, Math.floor(frameOfRows.scrollTop / height) - OVERSCAN);
    const end = Math.min(view.length, Math.ceil((frameOfRows.scrollTop + room) / height) + OVERSCAN);
    const focused = document.activeElement?.closest("#body tr");
    const seen = view.slice(start, end);
    if (!seen.some(({ id }) => id === active)) {
        const first = Math.ceil(frameOfRows.scrollTop / height);
        active = view[Math.min(first, view.length - 1)]?.id ?? null;
    }
    const ids = new Set(seen.map(({ id }) => id));
    for (const id of rows.keys()) {
        if (!ids.has(id)) {
            rows.delete(id);
        }
    }
    seen.forEach((client, index) => {
        if (!rows.has(client.id)) {
            rows.set(client.id, makeRow(client.id));
        }
        fillRow(rows.get(client.id), client, start + index);
    });
    above.firstChild.style.height = `${start * height}px`;
    below.firstChild.style.height = `${(view.length - end) * height}px`;
    above.hidden = !start;
    below.hidden = end >= view.length;
    arrange($("body"), [above, ...seen.map(({ id }) => rows.get(id)), below]);
    mark($("table"), "aria-rowcount", `${view.length + 1}`);
    if (focused && !focused.isConnected) {
        (rows.get(active)?.querySelector("button") ?? frameOfRows).focus({ preventScroll: true });
    }
}

function makeRow(id) {
    const button = make("button", { type: "button", class: "link", "aria-label": `Client ${id}` }, `${id}`);
    return make("tr", { "data-id": id }, ...COLUMNS.map(({ name, number }) => make(
        name === "id" ? "th" : "td",
        { class: `c-${name}${number ? " number" : ""}`, ...(name === "id" && { scope: "row" }) },
        ...(name === "id" ? [button] : []),
    )));
}

function fillRow(row, client, index) {
    mark(row, "aria-rowindex", `${index + 2}`);
    mark(row, "data-level", levelOf(client.running?.seconds ?? 0));
    mark(row, "data-authenticated", `${client.authenticated}`);
    mark(row.children[1], "data-now", runningText(client)); // below the address, where there is no room for a column
    row.firstChild.firstChild.tabIndex = client.id === active ? 0 : -1;
    COLUMNS.forEach(({ text, title }, column) => {
        if (column > 0) {
            const cell = row.children[column];
            write(cell, text(client));
            if (title) {
                mark(cell, "title", title(client));
            }
        }
    });
}

/** Sort by a column; by the one that is sorted by, the other way round. */
function sortBy(column) {
    sorting.direction = sorting.column === column ? -sorting.direction : column.first;
    sorting.column = column;
    for (const head of $("heads").children) {
        const isIt = head.dataset.column === column.name;
        mark(head, "aria-sort", isIt ? (sorting.direction > 0 ? "ascending" : "descending") : "none");
    }
    $("sort-by").value = column.name;
    $("rows").scrollTop = 0;
    active = null;
    order();
    parts.clients();
}

/** Go to another row by the keyboard. */
function moveInRows(event) {
    const page = Math.max(1, Math.floor($("rows").clientHeight / rowHeight()) - 2);
    const steps = { ArrowUp: -1, ArrowDown: 1, PageUp: -page, PageDown: page, Home: -view.length, End: view.length };
    const row = event.target.closest("#body tr");
    if (!row || !(event.key in steps) || event.ctrlKey || event.altKey || event.metaKey) {
        return;
    }
    event.preventDefault();
    const here = view.findIndex(({ id }) => id === Number(row.dataset.id));
    const index = Math.min(view.length - 1, Math.max(0, here + steps[event.key]));
    const [height, head] = [rowHeight(), $("heads").offsetHeight];
    const { scrollTop, clientHeight } = $("rows");
    active = view[index].id;
    if (index * height < scrollTop) {
        $("rows").scrollTop = index * height;
    }
    else if ((index + 1) * height + head > scrollTop + clientHeight) {
        $("rows").scrollTop = (index + 1) * height + head - clientHeight;
    }
    showRows();
    rows.get(active)?.querySelector("button").focus({ preventScroll: true });
}

function setUpClients() {
    for (const column of COLUMNS) {
        const { name, label, number, first } = column;
        const button = make("button", { type: "button" }, label);
        button.addEventListener("click", () => sortBy(column));
        const classes = `c-${name}${number ? " number" : ""}`;
        $("cols").append(make("col", { class: `c-${name}` }));
        $("heads").append(make("th", {
            scope: "col", class: classes, "data-column": name, "aria-sort": name === "id" ? "ascending" : "none",
        }, button));
        $("sort-by").append(make("option", { value: name }, `${label} ${first > 0 ? "↑" : "↓"}`));
    }
    $("sort-by").addEventListener("change", (event) => {
        const column = COLUMNS.find(({ name }) => name === event.target.value);
        sorting.column = null; // and so as at first
        sortBy(column);
    });
    $("filter").addEventListener("input", () => {
        $("rows").scrollTop = 0;
        active = null;
        parts.clients();
    });
    let isAsked = false;
    $("rows").addEventListener("scroll", () => {
        if (!isAsked) {
            isAsked = true;
            requestAnimationFrame(() => {
                isAsked = false;
                showRows();
            });
        }
    }, { passive: true });
    addEventListener("resize", () => known.server && showRows());
    $("body").addEventListener("keydown", moveInRows);
    $("body").addEventListener("focusin", (event) => {
        active = Number(event.target.closest("tr").dataset.id);
    });
    $("body").addEventListener("click", (event) => {
        const row = event.target.closest("tr[data-id]");
        if (row && getSelection().isCollapsed) {
            openClient(Number(row.dataset.id));
        }
    });
}

// -- cluster ------------------------------------------------------------------------------------------------------

const lag = new Graph(["only"], 0.001);
const lagText = make("span", { class: "value" });
const lagPeak = make("span", { class: "peak" });

function addCluster(cluster) {
    known.cluster = cluster;
    if (cluster === null) {
        return;
    }
    const now = serverNow();
    for (const node of known.nodes.values()) {
        node.isGone = true;
    }
    for (const node of cluster.nodes) {
        known.nodes.set(node.name, { ...node, isGone: false, at: now - node.seen * 1000 });
    }
    for (const [name, { isGone, at }] of known.nodes) {
        if (isGone && now - at > WINDOW) {
            known.nodes.delete(name);
        }
    }
    known.lag.push({ at: now, values: [cluster.lag] });
    while (known.lag[0].at < now - WINDOW) {
        known.lag.shift();
    }
}

parts.cluster = () => {
    const { cluster } = known;
    $("cluster").hidden = cluster === null;
    if (cluster === null) {
        return;
    }
    const peak = lag.draw(known.lag, ({ values }) => values);
    write(lagText, cluster.lag === null ? "–" : time(cluster.lag));
    write(lagPeak, peak > 0 ? `peak ${time(peak)}` : "");
    const most = peak > 0 ? `, ${lagPeak.textContent} since this page is open` : "";
    mark(lag.element, "aria-label", `Lag: ${lagText.textContent}${most}`);
    const nodes = [...known.nodes.values()].sort((one, other) => one.name < other.name ? -1 : 1);
    const states = nodes.map(nodeState);
    const gone = states.filter(({ level }) => level === "stuck").length;
    mark($("cluster"), "data-level", cluster.up && !gone ? "" : "stuck");
    write($("cluster-sum"), [
        cluster.up ? "" : "the backplane is away", gone ? `${many(gone, "node")} gone` : "",
    ].filter(Boolean).join(", ") || `${many(nodes.length, "node")}, up`);
    $("nodes").replaceChildren(...nodes.map((node, index) => make(
        "tr", { "data-level": states[index].level },
        make("th", { scope: "row", title: shown(node.name) }, shown(node.name)),
        make("td", {}, states[index].text),
    )));
};

function nodeState({ name, isGone, at, seen }) {
    const since = isGone ? (serverNow() - at) / 1000 : seen;
    if (isGone) {
        return { text: `gone for ${age(since)}`, level: "stuck" };
    }
    if (name === known.cluster.node) {
        return { text: "this one", level: "" };
    }
    const isLate = seen > LATE * known.cluster.heartbeat;
    return isLate ? { text: `silent for ${age(seen)}`, level: "slow" } : { text: `${age(seen)} ago`, level: "" };
}

// -- errors -------------------------------------------------------------------------------------------------------

const entries = new Map(); // key of an error to its element

function addErrors(errors) {
    known.errors = [...errors, ...known.errors].sort((one, other) => other.at - one.at).slice(0, ERRORS);
}

parts.errors = () => {
    const kinds = new Map(); // the same error again is the same entry, with how often
    for (const error of known.errors) {
        const key = JSON.stringify([error.what, error.error, error.traceback]);
        kinds.set(key, [...kinds.get(key) ?? [], error]);
    }
    for (const key of entries.keys()) {
        if (!kinds.has(key)) {
            entries.delete(key);
        }
    }
    for (const [key, same] of kinds) {
        if (!entries.has(key)) {
            entries.set(key, makeEntry(same[0]));
        }
        fillEntry(entries.get(key), same);
    }
    arrange($("errors-list"), [...kinds.keys()].map((key) => entries.get(key)));
    const { length } = known.errors;
    write($("errors-sum"), length === ERRORS ? `the last ${ERRORS}` : length ? count(length) : "none");
};

function makeEntry({ error, what, traceback }) {
    return make("li", {}, make(
        "details", {},
        make(
            "summary", {},
            make("span", { class: "when" }), make("span", { class: "error" }, shown(error)),
            make("span", { class: "times" }), make("span", { class: "what" }, shown(what)),
        ),
        make("p", { class: "who" }), tracebackElement(traceback),
    ));
}

function fillEntry(entry, same) {
    const [newest] = same;
    write(entry.querySelector(".when"), clock(newest.at));
    write(entry.querySelector(".times"), same.length > 1 ? `× ${same.length}` : "");
    const who = entry.querySelector(".who");
    const key = `${newest.id}`;
    if (who.dataset.id !== key) {
        who.dataset.id = key;
        who.replaceChildren(...(newest.id === null ? [] : [
            clientButton(newest.id, `client ${newest.id}`), ` ${shown(newest.address)}`,
        ]));
    }
}

/** A traceback in which the program's own lines stand out. */
function tracebackElement(text) {
    const element = make("pre", { class: "traceback" });
    let kind = "";
    for (const line of shown(text).trimEnd().split("\n")) {
        const [, file] = /^ {2}File "(.+)", line \d+/.exec(line) ?? [];
        kind = file !== undefined ? (isLibrary({ file }) ? "library" : "own") : line.startsWith(" ") ? kind : "last";
        element.append(make("span", { class: line.startsWith("Traceback") ? "library" : kind }, `${line}\n`));
    }
    return element;
}

// -- one client ---------------------------------------------------------------------------------------------------

let opened = null; // the client that the dialog shows
let openedStack = null;

function openClient(id) {
    const client = known.clients.get(id);
    if (!client) {
        notice(`Client ${id} has gone.`);
        return;
    }
    opened = client;
    openedStack = null;
    showClient();
    $("client").showModal();
    $("client-close").focus();
}

function showClient() {
    if (opened === null) {
        return;
    }
    const isThere = known.clients.has(opened.id);
    opened = known.clients.get(opened.id) ?? opened;
    const { id, address, since, authenticated, rooms, latency, awaited, sendBuffer, inbox, context, running } = opened;
    write($("client-title"), `Client ${id}`);
    write($("client-state"), isThere ? shown(address) : `${shown(address)} – has gone`);
    facts($("client-facts"), {
        "Connected": `since ${new Date(since).toLocaleString("en-GB")}`
            + (isThere ? `, for ${duration(Math.max(0, serverNow() - since) / 1000)}` : ""),
        "Authenticated": authenticated ? "yes" : "no",
        "Rooms": shown(rooms.join(", ")) || "none",
        "Latency": latency === null ? "not measured yet" : time(latency),
        "Received": `${many(opened.received, "message")}, ${bytes(opened.bytesReceived)}`,
        "Sent": `${many(opened.sent, "message")}, ${bytes(opened.bytesSent)}`,
        "Buffered": `${bytes(sendBuffer)} to be sent, ${bytes(inbox)} to be handled`,
        "Replies awaited": count(awaited),
        "Runs now": running ? `${shown(running.what)}, for ${duration(running.seconds)}` : "nothing",
    });
    write($("client-context"), shown(context) || "empty");
    showItsListener(isThere ? known.listeners.find((listener) => listener.id === id) : undefined);
    for (const name of ["client-disconnect", "client-send"]) {
        $(name).hidden = known.readOnly;
        $(name).disabled = !isThere || state === "lost";
    }
}

function showItsListener(listener) {
    const key = listener ? `${stateOf(listener)}\n${stackKey(listener.stack)}` : "";
    if (key !== openedStack) {
        openedStack = key;
        $("client-listener").replaceChildren(...(listener
            ? [make("p", { class: "faint" }, stateOf(listener)), stackElement(listener.stack, () => false, () => {})]
            : [make("p", { class: "faint" }, "None runs.")]));
    }
}

// -- actions ------------------------------------------------------------------------------------------------------

let noticeTimer = null;

function notice(text, isBad = false) {
    write($("notice"), text);
    mark($("notice"), "data-level", isBad ? "stuck" : "");
    clearTimeout(noticeTimer);
    noticeTimer = setTimeout(() => write($("notice"), ""), 8000);
}

/** Ask back. Resolves to whether it is to be done. */
function ask({ title, text, detail = "", yes, isDangerous = false }) {
    write($("ask-title"), title);
    write($("ask-text"), text);
    write($("ask-detail"), detail);
    $("ask-detail").hidden = !detail;
    write($("ask-yes"), yes);
    $("ask-yes").className = isDangerous ? "danger" : "primary";
    $("ask").returnValue = "";
    $("ask").showModal();
    $("ask-cancel").focus();
    return new Promise((resolve) => {
        $("ask").addEventListener("close", () => resolve($("ask").returnValue === "yes"), { once: true });
    });
}

/** Have the server do it, and say what has become of that. */
async function act(event, args, done) {
    for (const name of ["client", "compose"]) {
        $(name).close();
    }
    try {
        notice(done(await client.call(event, args, { timeout: 10_000 })));
    }
    catch (error) {
        notice(`That has failed: ${shown(error.message)}`, true);
    }
}

async function disconnect({ id, address }) {
    const isWanted = await ask({
        title: `Disconnect client ${id}?`, text: `Its connection from ${shown(address)} is closed. It may connect again.`,
        yes: "Disconnect", isDangerous: true,
    });
    if (isWanted) {
        await act("disconnect", [id], () => `Client ${id} is disconnected.`);
    }
}

let composedFor = null; // a client, or null for all

function compose(target) {
    composedFor = target;
    write($("compose-title"), target ? `Send an event to client ${target.id}` : "Broadcast an event to all clients");
    write($("compose-wrong"), "");
    $("compose").showModal();
    $("compose-event").focus();
}

/** Read the arguments, or say what is wrong with them. */
function readArguments() {
    const wrong = (field, text) => {
        write($("compose-wrong"), text);
        $(field).setAttribute("aria-invalid", "true");
        $(field).focus();
        return null;
    };
    for (const field of ["compose-event", "compose-args"]) {
        $(field).removeAttribute("aria-invalid");
    }
    write($("compose-wrong"), "");
    if (!$("compose-event").value) {
        return wrong("compose-event", "The event needs a name.");
    }
    try {
        const args = JSON.parse($("compose-args").value || "[]");
        return Array.isArray(args) ? args : wrong("compose-args", "The arguments are a JSON array, as in [1, \"two\"].");
    }
    catch (error) {
        return wrong("compose-args", `That is not JSON: ${error.message}`);
    }
}

async function sendComposed() {
    const args = readArguments();
    if (args === null) {
        return;
    }
    const [event, target] = [$("compose-event").value, composedFor];
    const whom = target ? `client ${target.id}` : many(known.total, "client");
    const isWanted = await ask({
        title: target ? `Send it to ${whom}?` : `Send it to all ${whom}?`,
        text: `The event “${shown(event)}” with ${many(args.length, "argument")}:`,
        detail: shown(JSON.stringify(args, null, 2)), yes: target ? "Send" : "Broadcast",
    });
    if (!isWanted) {
        return;
    }
    if (target) {
        await act("send", [target.id, event, args], () => `“${shown(event)}” is sent to client ${target.id}.`);
    }
    else {
        await act("broadcast", [event, args], (number) => (
            `“${shown(event)}” is sent to ${Number.isFinite(number) ? many(number, "client") : "all clients"}.`
        ));
    }
}

function setUpActions() {
    $("client").addEventListener("close", () => {
        const id = opened?.id;
        opened = null;
        rows.get(id)?.querySelector("button").focus({ preventScroll: true });
    });
    $("client-disconnect").addEventListener("click", () => disconnect(opened));
    $("client-send").addEventListener("click", () => compose(opened));
    $("broadcast").addEventListener("click", () => compose(null));
    $("compose-cancel").addEventListener("click", () => $("compose").close());
    $("compose-form").addEventListener("submit", (event) => {
        event.preventDefault();
        sendComposed();
    });
    $("ask-cancel").addEventListener("click", () => $("ask").close(""));
    $("ask-form").addEventListener("submit", (event) => {
        event.preventDefault();
        $("ask").close("yes");
    });
    $("pause").addEventListener("click", () => {
        paused = !paused;
        mark($("pause"), "aria-pressed", `${paused}`);
        write($("pause"), paused ? "Go on" : "Pause");
        showState();
        if (!paused) {
            refresh(...Object.keys(parts));
        }
    });
}

// -- the connection -----------------------------------------------------------------------------------------------

let client = null;
const STATES = {
    connecting: "Connecting…", live: "Live", silent: "No news", lost: "Connection lost", refused: "Not let in",
};

function become(next) {
    state = next;
    showState();
}

function showState() {
    document.body.dataset.state = state;
    document.body.dataset.paused = paused;
    write($("state"), paused && state === "live" ? "Paused" : STATES[state]);
    $("main").hidden = known.server === null || state === "refused";
    $("tools").hidden = $("main").hidden;
    $("gate").hidden = state !== "refused";
    $("banner").hidden = known.server === null || (state !== "lost" && state !== "silent");
    $("retry").hidden = state === "silent";
    const seen = `What you see is from ${clock(known.heard)}.`;
    write($("banner-text"), state === "silent"
        ? `The server has not said anything since ${clock(known.heard)}: it computes without a pause, or is stopped.`
        : `The connection to the server is lost. ${seen} Trying to connect again…`);
    $("broadcast").disabled = state === "lost";
}

/** What to call the server: in a cluster by its node, whose name is chance elsewhere. */
const serverName = () => shown(known.cluster ? known.cluster.node : known.server.host);

parts.about = () => {
    const { url, pid, host, python, version, started } = known.server;
    write($("title"), serverName());
    write($("about"), [
        shown(url), `pid ${pid}${known.cluster ? ` on ${shown(host)}` : ""}`,
        started && `up ${duration(Math.max(0, serverNow() - started) / 1000)}`,
        `ezez_ws ${shown(version)}, Python ${shown(python)}`,
    ].filter(Boolean).join("  ·  "));
    $("broadcast").hidden = known.readOnly;
    $("read-only").hidden = !known.readOnly;
};

function begin(hello) {
    known.server = hello.server;
    known.readOnly = hello.readOnly;
    known.ahead = 0;
    known.clients.clear();
    known.total = 0;
    known.listeners = [];
    known.errors = [];
    known.points = [];
    known.recent = [];
    hello.samples.forEach(addSample);
    addErrors(hello.errors);
    become("live");
    refresh(...Object.keys(parts));
}

/** Note that the server speaks. */
function hear() {
    known.heard = Date.now();
    if (state === "silent") {
        become("live");
    }
}

const EVENTS = {
    hello: begin,
    sample(sample) {
        known.ahead = sample.at - Date.now();
        addSample(sample);
        refresh("figures", "about");
    },
    listeners(listeners, total = listeners.length) {
        known.listeners = listeners;
        known.running = total;
        alarm();
        refresh("listeners");
    },
    clients({ changed, gone, total }) {
        changed.forEach((one) => known.clients.set(one.id, one));
        gone.forEach((id) => known.clients.delete(id));
        known.total = total;
        refresh("clients");
    },
    cluster(cluster) {
        addCluster(cluster);
        refresh("cluster");
    },
    error(error) {
        addErrors([error]);
        say(`Error: ${shown(error.error)}`);
        refresh("errors");
    },
};

function connect(key) {
    client?.close();
    become("connecting");
    const url = new URL("socket", location.href);
    url.search = url.hash = "";
    const mine = new EZEZWebSocketClient(url, { auth: key, reconnectDelayMax: 5000, sendWhenNotConnected: "throw" }, {
        onAuthRejected() {
            write($("gate-text"), "The server does not know this key. The program prints it with monitor.url, behind the #.");
            become("refused");
            $("key").focus();
        },
        onMessage(event, args) {
            if (mine === client && Object.hasOwn(EVENTS, event)) {
                hear();
                EVENTS[event](...args);
            }
        },
        onDisconnect() {
            if (mine === client && state !== "refused") {
                become(known.server ? "lost" : "connecting");
                showClient();
            }
        },
        onError(error) {
            if (!(error instanceof ConnectionFailed)) {
                console.error(error);
            }
        },
    });
    client = mine;
}

/** The key out of the page's address; it stands behind the #, so no server has seen it. */
function keyInAddress() {
    const text = location.hash.slice(1);
    try {
        return decodeURIComponent(text);
    }
    catch {
        return text; // with a % in it
    }
}

function open() {
    const key = keyInAddress();
    if (key) {
        connect(key);
    }
    else {
        become("refused");
        $("key").focus();
    }
}

function start() {
    setUpFigures();
    setUpClients();
    setUpActions();
    $("lag").append(
        make("p", { class: "label" }, "Lag"), lagText, make("span", { class: "extra" }, "since this page is open"), lagPeak,
        lag.element,
    );
    $("gate").addEventListener("submit", (event) => {
        event.preventDefault();
        history.replaceState(null, "", `#${encodeURIComponent($("key").value)}`);
        $("key").value = "";
        open();
    });
    $("retry").addEventListener("click", () => client.reconnect());
    $("skip").addEventListener("click", () => $("listeners").focus()); // no link, whose # would replace the key
    addEventListener("hashchange", open);
    setInterval(() => {
        if (state === "live" && Date.now() - known.heard > SILENT) {
            become("silent");
        }
    }, 1000);
    open();
}

start();
