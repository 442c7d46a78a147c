// The page of the chat. The connection is the business of ezez-ws.js; this file shows what it tells, and sends.

import { ConnectionClosed, EZEZWebSocketClient } from "/ezez-ws.js";

const LARGEST_SIDE = 1600; // pixels; a larger picture is made smaller before it is sent
const TYPING_EVERY = 2000; // milliseconds between two notices that somebody types
const TYPING_FOR = 3500;
const PATIENCE = 3000; // before somebody who may just be reloading the page is said to have left
const NEAR_END = 80; // pixels from the end of the log within which it follows what comes

const $ = (id) => document.getElementById(id);
const shown = new Map(); // id to element, of all messages on the page
const typists = new Map(); // name to timer
const leaving = new Map(); // name to timer
let me = ""; // our name
let people = null; // names; null until we have entered the room
let room = "";
let client = null;
let typedAt = -Infinity;
let atEnd = true; // of the log, which then follows what comes

// -- the connection

const placeOf = (name) => `ticket of ${name.toLowerCase()}`;

/** A name that is ours, as the server has it, and the token that lets us in with it; this browser keeps both. */
async function ticketFor(name) {
    if (!localStorage[placeOf(name)]) {
        const answer = await fetch("/name", { method: "POST", body: new URLSearchParams({ name }) });
        if (!answer.ok) {
            throw new Error(await answer.text());
        }
        localStorage[placeOf(name)] = await answer.text();
    }
    return JSON.parse(localStorage[placeOf(name)]);
}

function connect(token) {
    client = new EZEZWebSocketClient("/ws", { auth: token, reconnectDelayMax: 8000 }, {
        onAuthOk: enter,
        onAuthRejected: () => {
            delete localStorage[placeOf(me)];
            showState("refused", "Not let in", "This page is too old to be let in. Reload it.");
        },
        onDisconnect: () => {
            typists.forEach((_, name) => stopTyping(name));
            if ($("status").dataset.state !== "refused") {
                showState("offline", "Offline", "The connection is lost. Reconnecting…");
            }
        },
    });
    client.on("people", ([where, names]) => where === room && showPeople(names));
    client.on("rooms", ([counts]) => showRooms(counts));
    client.on("said", ([message, image]) => message.room === room && showMessage(message, image));
    client.on("typing", ([name]) => showTyping(name));
}

/** Go into the room: at the beginning, after a reconnect, and from another one. */
async function enter() {
    const wanted = room;
    showState("online", "Connected", "");
    const answer = await client.request("enter", [wanted]).catch(() => null); // with the next connection we come again
    if (!answer || wanted !== room) {
        return;
    }
    if (answer.event === "error") {
        notice(answer.args[0]);
        return;
    }
    people = null;
    showPeople(answer.args[1]);
    showRooms(answer.args[2]);
}

/** Send a message until it is answered. The server knows it by its id, should it come twice. */
async function deliver(where, element, ...message) {
    element.classList.add("waiting");
    setMeta(element, client.alive ? "Sending…" : "Will be sent when the connection is back");
    try {
        const { event, args } = await client.request("say", [where, ...message]);
        element.classList.remove("waiting");
        element.classList.toggle("failed", event === "error");
        setMeta(element, event === "error" ? `Not sent: ${args[0]}` : clock(Date.now()));
    }
    catch (error) {
        if (error instanceof ConnectionClosed && $("status").dataset.state !== "refused") {
            deliver(where, element, ...message);
            return;
        }
        element.classList.replace("waiting", "failed");
        setMeta(element, `Not sent: ${error.message}`);
    }
}

const newId = () => crypto.getRandomValues(new Uint32Array(4)).join("-");

function say(text) {
    const id = newId();
    deliver(room, showMessage({ id, name: me, text, at: Date.now() }), id, text);
}

async function sendPicture(file) {
    try {
        const { bytes, kind } = await pictureOf(file);
        const id = newId();
        deliver(room, showMessage({ id, name: me, text: "", kind, at: Date.now() }, bytes), id, "", bytes, kind);
    }
    catch {
        notice(`${file.name} is no picture that this browser knows.`);
    }
}

/** The bytes of a picture, made smaller where it is large. */
async function pictureOf(file) {
    const bitmap = await createImageBitmap(file);
    const scale = Math.min(1, LARGEST_SIDE / Math.max(bitmap.width, bitmap.height));
    const isFine = scale === 1 && file.size < 500_000 && /^image\/(gif|jpeg|png|webp)$/.test(file.type);
    const blob = isFine ? file : await redraw(bitmap, scale);
    return { bytes: new Uint8Array(await blob.arrayBuffer()), kind: blob.type };
}

function redraw(bitmap, scale) {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [bitmap.width * scale, bitmap.height * scale];
    canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    return new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.85));
}

// -- what is shown

function make(tag, className, ...children) {
    const element = document.createElement(tag);
    element.className = className;
    element.append(...children);
    return element;
}

const clock = (at) => new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

function showState(state, text, banner) {
    $("status").dataset.state = state;
    $("status").firstElementChild.textContent = text;
    $("banner").hidden = !banner;
    $("banner-text").textContent = banner;
    $("try-now").hidden = state === "refused";
}

function avatarOf(name) {
    const letters = [...name.trim()].slice(0, 1).join("").toUpperCase();
    const hue = [...name].reduce((sum, letter) => sum * 31 + letter.codePointAt(0), 7) % 360;
    const avatar = make("span", "avatar", letters);
    avatar.style.setProperty("--hue", hue);
    avatar.ariaHidden = "true";
    return avatar;
}

function showRooms(counts) {
    const focused = document.activeElement?.dataset?.room;
    const items = Object.keys({ ...counts, [room]: 1 }).map((name) => {
        const count = make("span", "count", counts[name] ? String(counts[name]) : "");
        const button = make("button", "room", make("span", "", name), count);
        button.dataset.room = name;
        button.ariaLabel = `${name}, ${counts[name] ?? 0} here`;
        if (name === room) {
            button.ariaCurrent = "page";
        }
        button.addEventListener("click", () => goTo(name));
        return make("li", "", button);
    });
    $("rooms").replaceChildren(...items);
    $("rooms").querySelector(`[data-room="${CSS.escape(focused ?? "")}"]`)?.focus();
}

function showPeople(names) {
    if (people) {
        tellWhoCameAndWent(people, names);
    }
    people = names;
    $("people").replaceChildren(...names.map((name) => (
        make("li", "person", avatarOf(name), make("span", "", name === me ? `${name} (you)` : name))
    )));
    const others = names.filter((name) => name !== me);
    $("summary").textContent = others.length ? `With ${others.join(", ")}` : "Nobody else is here yet";
}

function tellWhoCameAndWent(before, after) {
    for (const name of after) {
        if (name !== me && !before.includes(name) && !forget(leaving, name)) {
            notice(`${name} is here`);
        }
    }
    for (const name of before) {
        if (!after.includes(name)) {
            stopTyping(name);
            const went = room;
            leaving.set(name, setTimeout(() => {
                leaving.delete(name);
                if (went === room) notice(`${name} has left`);
            }, PATIENCE));
        }
    }
}

function showTyping(name) {
    forget(typists, name);
    typists.set(name, setTimeout(() => stopTyping(name), TYPING_FOR));
    showTypists();
}

function stopTyping(name) {
    forget(typists, name);
    showTypists();
}

function showTypists() {
    const names = [...typists.keys()];
    $("typing").textContent = names.length ? `${names.join(" and ")} ${names.length > 1 ? "are" : "is"} typing` : "";
}

/** Stop and forget somebody's timer; whether there was one. */
function forget(timers, name) {
    clearTimeout(timers.get(name));
    return timers.delete(name);
}

/** Put something at the end of the log. */
function append(element) {
    $("log").append(element);
    follow();
    return element;
}

function follow() {
    if (atEnd) {
        $("log").scrollTop = $("log").scrollHeight;
    }
}

function notice(text) {
    append(make("p", "notice", text));
}

function setMeta(element, text) {
    element.querySelector(".meta").textContent = text;
}

function showMessage({ id, name, text, kind, at }, image = null) {
    if (shown.has(id)) {
        return shown.get(id);
    }
    const own = name === me;
    const bubble = image ? pictureIn(image, kind, own ? "you" : name) : make("div", "bubble", text);
    const who = make("div", "who", own ? "You" : name);
    const element = make("article", `message${own ? " own" : ""}`, who, bubble, make("div", "meta", clock(at)));
    if (!own) {
        element.prepend(avatarOf(name));
    }
    element.dataset.from = name;
    element.dataset.id = id;
    joinTo($("log").lastElementChild, element);
    shown.set(id, element);
    stopTyping(name);
    atEnd ||= own;
    return append(element);
}

/** Messages of one person that follow each other stand together. */
function joinTo(last, element) {
    if (last?.dataset.from === element.dataset.from) {
        last.classList.add("followed");
        element.classList.add("more");
    }
}

function pictureIn(bytes, kind, whose) {
    const image = make("img", "");
    image.alt = `Picture from ${whose}`;
    image.addEventListener("load", follow); // it has grown
    image.src = URL.createObjectURL(new Blob([bytes], { type: kind }));
    const link = make("a", "", image);
    [link.href, link.target] = [image.src, "_blank"];
    return make("div", "bubble picture", link);
}

// -- what the user does

function goTo(name) {
    toggleMenu(false);
    $("text").focus();
    if (name === room) {
        return;
    }
    [room, people, atEnd] = [name, null, true];
    history.replaceState(null, "", `#${encodeURIComponent(name)}`);
    leaving.forEach((_, name) => forget(leaving, name));
    typists.forEach((_, name) => stopTyping(name));
    shown.clear();
    $("log").querySelectorAll("img").forEach((image) => URL.revokeObjectURL(image.src));
    $("log").replaceChildren();
    $("room-title").textContent = document.title = name;
    if (client?.alive) {
        enter();
    }
}

function toggleMenu(open) {
    $("side").classList.toggle("open", open);
    $("menu").ariaExpanded = String(open);
    if (open) {
        $("rooms").querySelector("[aria-current]")?.focus();
    }
}

async function begin(name) {
    const ticket = await ticketFor(name).catch((error) => ({ error }));
    if (ticket.error) {
        $("refused").textContent = ticket.error instanceof TypeError ? "The chat does not answer." : ticket.error.message;
        $("name").focus();
        return;
    }
    sessionStorage.name = localStorage.name = me = ticket.name;
    $("welcome").hidden = true;
    $("chat").hidden = false;
    goTo(decodeURIComponent(location.hash.slice(1)) || "Lobby");
    connect(ticket.token);
}

/** Make the field as high as its text. */
function grow() {
    const { style } = $("text");
    style.height = "auto";
    style.height = $("text").value ? `${$("text").scrollHeight + 2}px` : "";
}

function submit() {
    const text = $("text").value.trim();
    if (text) {
        $("text").value = "";
        typedAt = -Infinity;
        grow();
        say(text);
    }
    $("text").focus();
}

const pictureAmong = (items) => [...items ?? []].find((file) => file.type.startsWith("image/"));

$("join").addEventListener("submit", (event) => {
    event.preventDefault();
    const name = $("name").value.trim();
    if (name) begin(name);
});
$("new-room").addEventListener("submit", (event) => {
    event.preventDefault();
    const name = $("room-name").value.trim();
    $("room-name").value = "";
    if (name) goTo(name);
});
$("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
});
$("text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        submit();
    }
});
$("text").addEventListener("input", () => {
    grow();
    if (client.alive && $("text").value && performance.now() - typedAt > TYPING_EVERY) {
        typedAt = performance.now();
        client.send("typing");
    }
});
$("text").addEventListener("paste", (event) => {
    const file = pictureAmong(event.clipboardData.files);
    if (file) {
        event.preventDefault();
        sendPicture(file);
    }
});
$("file").addEventListener("change", () => {
    const [file] = $("file").files;
    if (file) sendPicture(file);
    $("file").value = "";
});
$("log").addEventListener("scroll", ({ target }) => {
    atEnd = target.scrollHeight - target.scrollTop - target.clientHeight < NEAR_END;
});
new ResizeObserver(follow).observe($("log"));
$("menu").addEventListener("click", () => toggleMenu(!$("side").classList.contains("open")));
$("shade").addEventListener("click", () => toggleMenu(false));
$("try-now").addEventListener("click", () => client.start());
$("sign-out").addEventListener("click", () => {
    client.close();
    delete sessionStorage.name;
    location.reload();
});
document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && $("side").classList.contains("open")) {
        toggleMenu(false);
        $("menu").focus();
    }
});
addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dragging");
});
addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dragging");
});
addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dragging");
    const file = pictureAmong(event.dataTransfer.files);
    if (file && client) sendPicture(file);
});
addEventListener("hashchange", () => goTo(decodeURIComponent(location.hash.slice(1)) || "Lobby"));
addEventListener("online", () => client?.start()); // no need to wait for the pause to end

$("name").value = localStorage.name ?? "";
if (sessionStorage.name) {
    begin(sessionStorage.name);
}
