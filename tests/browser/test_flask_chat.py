"""samples/flask_chat in real windows of Chromium, and the browser module there."""

import base64
import json
import os
import signal
import struct
import unittest
import zlib
from typing import TYPE_CHECKING, Any
from unittest import mock

from ezez_ws.messages.codec import Codec
from tests.browser.chromium import ChromiumTestCase
from tests.browser.test_codec import VECTORS
from tests.neutral import build
from tests.support import REPO, eventually
from tests.wsgi.webserver import WebServer

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

MAY_RUN_BESIDE = True
SAME_ON_EVERY_PYTHON = True

PHONE: dict[str, Any] = {"viewport": {"width": 375, "height": 667}, "is_mobile": True, "has_touch": True}


def png(width: int, height: int) -> bytes:
    """Draw a picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes((x * y) % 256 for x in range(3 * width)) for y in range(height))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


class FlaskChatTest(ChromiumTestCase):
    def setUp(self) -> None:
        from playwright.sync_api import expect

        self.expect: Any = expect
        self.serve("0")

    def serve(self, port: str, key: str = "a key of this test") -> None:
        with mock.patch.dict(os.environ, FLASK_SECRET_KEY=key):  # which leaves the repository's folder as it is
            self.server = WebServer("samples.flask_chat.app", "--port", port)
        self.addCleanup(self.server.close)
        self.url = f"http://{self.server.address}/"

    def guest(self, name: str, path: str = "", **options: Any) -> "Page":
        """Open a window and come in."""
        page = self.open(self.url + path, **options)
        self.join(page, name)
        self.expect_state(page, "Connected")
        return page

    def join(self, page: "Page", name: str) -> None:
        page.get_by_label("Your name").fill(name)
        page.get_by_role("button", name="Join the chat").click()

    def expect_state(self, page: "Page", text: str) -> None:
        self.expect(page.get_by_role("status")).to_have_text(text)

    def say(self, page: "Page", text: str) -> None:
        page.get_by_label("Message", exact=True).fill(text)
        page.get_by_role("button", name="Send", exact=True).click()

    def message(self, page: "Page", text: str) -> "Locator":
        return page.get_by_role("log").get_by_role("article").filter(has_text=text)

    def send_picture(self, page: "Page", data: bytes, kind: str = "image/png") -> None:
        file: Any = {"name": "picture", "mimeType": kind, "buffer": data}
        page.get_by_label("Send a picture").set_input_files(files=[file])

    def picture_bytes(self, image: "Locator") -> bytes:
        """What the server has sent, read out of the page."""
        code = """async (image) => {
            const bytes = new Uint8Array(await (await fetch(image.src)).arrayBuffer());
            return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
        }"""
        return base64.b64decode(image.evaluate(code))

    def room(self, page: "Page", name: str) -> "Locator":
        return page.get_by_role("list", name="Rooms").get_by_role("button", name=name)

    # -- two windows

    def test_two_guests_see_each_other_and_what_they_say(self) -> None:
        anna, bert = self.guest("Anna"), self.guest("Bert")
        for page, names in ((anna, ["Anna (you)", "Bert"]), (bert, ["Anna", "Bert (you)"])):
            people = page.get_by_role("list", name="Here now").get_by_role("listitem")
            self.expect(people).to_have_count(2)
            for person, name in zip(people.all(), names, strict=False):
                self.expect(person).to_contain_text(name)
        self.expect(anna.get_by_role("log")).to_contain_text("Bert is here")
        self.say(anna, "hello <b>Bert</b> & all")
        self.expect(self.message(bert, "hello <b>Bert</b> & all")).to_contain_text("Anna")
        self.say(bert, "zażółć 😀\nand a second line")
        self.expect(self.message(anna, "zażółć 😀")).to_contain_text("and a second line")
        self.expect(self.message(anna, "hello")).not_to_have_class("waiting")
        bert.close()
        self.expect(anna.get_by_role("log")).to_contain_text("Bert has left")
        self.expect(anna.get_by_text("Nobody else is here yet")).to_be_visible()

    def test_one_who_types_is_named_until_the_message_is_there(self) -> None:
        anna, bert = self.guest("Anna"), self.guest("Bert")
        anna.get_by_label("Message", exact=True).press_sequentially("hel")
        self.expect(bert.get_by_text("Anna is typing")).to_be_visible()
        anna.keyboard.type("lo")
        anna.keyboard.press("Enter")
        self.expect(self.message(bert, "hello")).to_be_visible()
        self.expect(bert.get_by_text("Anna is typing")).to_have_count(0)

    def test_a_picture_arrives_as_the_bytes_that_were_sent(self) -> None:
        anna, bert = self.guest("Anna"), self.guest("Bert")
        sent = png(60, 40)
        self.send_picture(anna, sent)
        image = bert.get_by_role("img", name="Picture from Anna")
        self.expect(image).to_be_visible()
        self.assertEqual(self.picture_bytes(image), sent)
        self.assertEqual(image.evaluate("(image) => [image.naturalWidth, image.naturalHeight]"), [60, 40])
        self.send_picture(anna, b"no picture")
        self.expect(anna.get_by_role("log")).to_contain_text("picture is no picture that this browser knows.")

    def test_a_large_picture_is_made_smaller_before_it_is_sent(self) -> None:
        anna, bert = self.guest("Anna"), self.guest("Bert")
        self.send_picture(anna, png(2000, 1000))
        image = bert.get_by_role("img", name="Picture from Anna")
        self.expect(image).to_be_visible()
        self.assertEqual(image.evaluate("(image) => [image.naturalWidth, image.naturalHeight]"), [1600, 800])

    def test_rooms_are_apart(self) -> None:
        anna, bert = self.guest("Anna"), self.guest("Bert", "#Tea%20kitchen")
        self.expect(bert.get_by_role("heading", name="Tea kitchen")).to_be_visible()
        self.say(anna, "in the lobby")
        self.say(bert, "in the kitchen")
        self.expect(self.room(anna, "Tea kitchen, 1 here")).to_be_visible()
        self.room(anna, "Tea kitchen").click()
        self.expect(self.message(anna, "in the kitchen")).to_be_visible()
        self.expect(self.message(anna, "in the lobby")).to_have_count(0)
        self.expect(self.message(bert, "in the lobby")).to_have_count(0)
        anna.get_by_label("Name of a new room").fill("Attic")
        anna.keyboard.press("Enter")
        self.expect(anna.get_by_role("heading", name="Attic")).to_be_visible()
        self.room(bert, "Attic, 1 here").click()
        self.say(bert, "up here")
        self.expect(self.message(anna, "up here")).to_be_visible()

    def test_a_reload_keeps_name_room_and_what_was_said(self) -> None:
        anna, bert = self.guest("Anna", "#Workshop"), self.guest("Bert", "#Workshop")
        self.say(anna, "before")
        self.send_picture(bert, png(8, 8))
        self.expect(anna.get_by_role("img", name="Picture from Bert")).to_be_visible()
        anna.reload()
        self.expect_state(anna, "Connected")
        self.expect(anna.get_by_role("heading", name="Workshop")).to_be_visible()
        self.expect(self.message(anna, "before")).to_contain_text("You")
        self.expect(anna.get_by_role("img", name="Picture from Bert")).to_be_visible()
        self.say(anna, "after")
        self.expect(self.message(bert, "after")).to_be_visible()
        self.expect(bert.get_by_role("log")).not_to_contain_text("Anna has left")

    def test_a_room_outlives_the_reload_of_its_only_guest(self) -> None:
        anna, bert = self.guest("Anna", "#Attic"), self.guest("Bert")
        self.say(anna, "to myself")
        anna.goto("about:blank")
        self.expect(self.room(bert, "Attic, 0 here")).to_be_visible()
        anna.goto(f"{self.url}#Attic")
        self.expect(self.message(anna, "to myself")).to_contain_text("You")
        self.expect(self.room(bert, "Attic, 1 here")).to_be_visible()

    def test_a_name_cannot_be_taken_by_somebody_else(self) -> None:
        anna = self.guest("Anna")
        other = self.open(self.url)
        self.join(other, " anna ")
        self.expect(other.get_by_role("alert")).to_have_text("anna is somebody else. Take another name.")
        anna.get_by_role("button", name="Leave the chat").click()
        self.expect(anna.get_by_label("Your name")).to_be_visible()
        self.join(other, "\uff21NNA")  # a wide A
        self.expect(other.get_by_role("alert")).to_contain_text("ANNA is somebody else.")
        self.join(other, "Bert")
        self.expect_state(other, "Connected")
        self.join(anna, "anna")  # who has left, and comes back with the same browser
        self.expect_state(anna, "Connected")
        self.expect(other.get_by_role("log")).to_contain_text("Anna is here")

    def test_leaving_ends_the_connection_and_forgets_the_guest(self) -> None:
        anna = self.guest("Anna")
        anna.get_by_role("button", name="Leave the chat").click()
        self.expect(anna.get_by_label("Your name")).to_be_visible()
        self.expect(anna.get_by_label("Your name")).to_have_value("Anna")

    # -- the plug

    def test_what_is_said_while_the_plug_is_pulled_arrives_once_it_is_in_again(self) -> None:
        anna, bert = self.guest("Anna", "#Workshop"), self.guest("Bert", "#Workshop")
        self.say(anna, "before")
        self.expect(self.message(bert, "before")).to_be_visible()
        self.server.close()  # which kills it
        for page in (anna, bert):
            self.expect_state(page, "Offline")
            self.expect(page.get_by_text("The connection is lost. Reconnecting…")).to_be_visible()
        self.say(anna, "in the dark")
        self.send_picture(anna, png(8, 8))
        self.expect(self.message(anna, "in the dark")).to_contain_text("Will be sent when the connection is back")
        self.serve(self.server.address.rsplit(":", 1)[1])
        anna.locator("#try-now").dispatch_event("click")  # it may be back already, and the button gone
        for page in (anna, bert):
            self.expect_state(page, "Connected")
            self.expect(page.get_by_text("The connection is lost. Reconnecting…")).to_be_hidden()
        self.expect(self.message(bert, "in the dark")).to_have_count(1)
        self.expect(bert.get_by_role("img", name="Picture from Anna")).to_be_visible()
        self.expect(anna.get_by_text("Will be sent when the connection is back")).to_have_count(0)
        self.say(bert, "light again")
        self.expect(self.message(anna, "light again")).to_have_count(1)
        self.expect(anna.get_by_role("list", name="Here now").get_by_role("listitem")).to_have_count(2)

    def test_a_page_that_the_server_does_not_know_any_more_is_told_so(self) -> None:
        anna = self.guest("Anna")
        self.server.close()
        self.expect_state(anna, "Offline")
        self.say(anna, "into the void")
        self.serve(self.server.address.rsplit(":", 1)[1], key="another")
        self.expect_state(anna, "Not let in")
        self.expect(self.message(anna, "into the void")).to_contain_text("Not sent")
        self.expect(anna.get_by_text("This page is too old to be let in. Reload it.")).to_be_visible()
        anna.reload()
        self.expect_state(anna, "Connected")

    @unittest.skipIf(os.name == "nt", "POSIX signals")
    def test_ctrl_c_ends_the_server_quietly_with_guests_in_it(self) -> None:
        anna = self.guest("Anna")
        self.server.signal(signal.SIGINT)
        self.assertEqual(self.server.wait(), 0)
        self.assertNotIn("Traceback", self.server.output)
        self.expect_state(anna, "Offline")

    # -- the keyboard, and a phone

    def test_everything_can_be_reached_by_keyboard_has_a_name_and_shows_its_focus(self) -> None:
        page = self.open(self.url)
        page.keyboard.type("Anna")  # the field has the focus
        page.keyboard.press("Enter")
        self.expect_state(page, "Connected")
        page.keyboard.type("typed at once")
        page.keyboard.press("Shift+Enter")
        page.keyboard.type("in two lines")
        page.keyboard.press("Enter")
        self.expect(self.message(page, "typed at once\nin two lines")).to_be_visible()
        code = """() => {
            const focused = document.activeElement;
            const { outlineWidth } = getComputedStyle(focused.closest(".attach") ?? focused);
            const name = focused.ariaLabel ?? focused.labels?.[0]?.innerText ?? focused.innerText;
            return [name.trim(), parseFloat(outlineWidth)];
        }"""
        seen = {}
        for _ in range(14):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement !== document.body"):
                name, outline = page.evaluate(code)
                seen[name] = outline
        wanted = {"Lobby, 1 here", "Tea kitchen, 0 here", "Workshop, 0 here", "Name of a new room", "Open the room"}
        wanted |= {"Leave the chat", "Messages", "Send a picture", "Message", "Send"}
        self.assertEqual(set(seen), wanted)
        self.assertEqual([name for name, outline in seen.items() if outline < 1.5], [])
        self.room(page, "Tea kitchen").focus()
        page.keyboard.press("Enter")
        self.expect(page.get_by_role("heading", name="Tea kitchen")).to_be_visible()
        self.expect(page.get_by_label("Message", exact=True)).to_be_focused()

    def test_on_a_phone_all_fits_its_width_and_the_rooms_open_over_the_talk(self) -> None:
        anna, dora = self.guest("Anna"), self.guest("Dora", **PHONE)
        self.say(anna, "a-word-that-is-far-too-long-for-a-line-" * 6)
        self.send_picture(anna, png(900, 300))
        self.expect(dora.get_by_role("img", name="Picture from Anna")).to_be_visible()
        self.assertEqual(dora.evaluate("document.scrollingElement.scrollWidth"), 375)
        self.expect(self.room(dora, "Workshop")).to_be_hidden()
        for name in ("Rooms and people", "Send"):
            box = dora.get_by_role("button", name=name, exact=True).bounding_box()
            assert box is not None
            self.assertGreaterEqual(min(box["width"], box["height"]), 44)
            self.assertLessEqual(box["x"] + box["width"], 375)
        menu = dora.get_by_role("button", name="Rooms and people", exact=True)
        menu.tap()
        self.assertEqual(menu.get_attribute("aria-expanded"), "true")
        self.room(dora, "Workshop").tap()
        self.expect(dora.get_by_role("heading", name="Workshop")).to_be_visible()
        self.expect(self.room(dora, "Workshop")).to_be_hidden()
        menu.tap()
        dora.keyboard.press("Escape")
        self.expect(self.room(dora, "Workshop")).to_be_hidden()
        self.expect(menu).to_be_focused()

    def test_the_log_follows_what_comes_unless_its_reader_has_scrolled_up(self) -> None:
        anna, bert = self.guest("Anna"), self.guest("Bert")
        for number in range(20):
            self.say(anna, f"number {number}")
        self.send_picture(anna, png(300, 300))
        self.expect(bert.get_by_role("img", name="Picture from Anna")).to_be_in_viewport()
        log = bert.get_by_role("log")
        log.evaluate("(log) => log.scrollTo(0, 0)")
        self.expect(self.message(bert, "number 0")).to_be_in_viewport()
        eventually(lambda: log.evaluate("(log) => log.scrollTop") == 0)
        self.say(anna, "the end")
        self.expect(self.message(bert, "the end")).to_be_attached()
        self.expect(self.message(bert, "the end")).not_to_be_in_viewport()
        self.say(bert, "mine is shown")
        self.expect(self.message(bert, "mine is shown")).to_be_in_viewport()

    # -- the module

    def test_the_codec_gives_the_bytes_of_the_golden_vectors_in_a_browser(self) -> None:
        neutral = (REPO / "tests/interop/neutral.mjs").read_text("utf-8")
        code = """async ([neutral, vectors]) => {
            const byte = (pair) => parseInt(pair, 16);
            globalThis.Buffer = { from: (hex) => Uint8Array.from(hex.match(/../g) ?? [], byte) };
            const { build } = await import(URL.createObjectURL(new Blob([neutral], { type: "text/javascript" })));
            const { Codec } = await import("/ezez-ws.js");
            const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
            const codec = new Codec();
            return vectors.map(({ values, hex: wanted }) => [
                hex(codec.encode(values.map(build))), hex(codec.encode(codec.decode(Buffer.from(wanted)))),
            ]);
        }"""
        wanted = [[vector["hex"]] * 2 for vector in VECTORS]
        self.assertEqual(self.open(self.url).evaluate(code, [neutral, VECTORS]), wanted)
        self.assertEqual(wanted[0][0], Codec().encode([build(VECTORS[0]["values"][0])]).hex())

    def test_options_and_refusals_are_those_that_a_browser_knows(self) -> None:
        code = """async () => {
            const { EZEZWebSocketClient } = await import("/ezez-ws.js");
            const told = [];
            const tell = (name) => (...args) => told.push([name, ...args.map(String)]);
            const client = new EZEZWebSocketClient("/ws", { auth: "wrong" }, {
                onConnect: tell("connect"), onAuthRejected: tell("rejected"), onDisconnect: tell("disconnect"),
            });
            const error = await client.request("x").catch((error) => [error.name, error.code]);
            while (client.client) await new Promise((done) => setTimeout(done, 10));
            return JSON.stringify([told, error]);
        }"""
        reason = "Invalid auth key"
        told = [["connect"], ["rejected", reason], ["disconnect", "1008", reason]]
        self.assertEqual(json.loads(self.open(self.url).evaluate(code)), [told, ["ConnectionClosed", 1008]])


if __name__ == "__main__":
    unittest.main()
