"""The monitor's page in real windows of Chromium, beside real servers whose listeners hang, fail and are many."""

import json
import re
import threading
import unittest
from typing import TYPE_CHECKING, Any

from ezez_ws import EZEZWebsocketServer, Monitor
from tests.browser.chromium import ChromiumTestCase
from tests.serving import ServingTestCase
from tests.support import allow_seconds, eventually

if TYPE_CHECKING:
    from playwright.sync_api import Dialog, Locator, Page

MAY_RUN_BESIDE = True
SAME_ON_EVERY_PYTHON = True

PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 700}, "is_mobile": True, "has_touch": True}
MARKUP = "<img src=x onerror=alert(1)><script>alert(2)</script>"
HOSTILE = f"{MARKUP}\u202e\"'</table>"
FAINT = """() => {
    const channels = (color) => color.match(/[\\d.]+/g).map(Number);
    const linear = (part) => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    const light = ([red, green, blue]) => (
        0.2126 * linear(red / 255) + 0.7152 * linear(green / 255) + 0.0722 * linear(blue / 255)
    );
    const ground = (element) => {
        for (let one = element; one; one = one.parentElement) {
            const color = channels(getComputedStyle(one).backgroundColor);
            if (color.length < 4 || color[3] === 1) return color;
        }
        return [255, 255, 255];
    };
    const found = [];
    for (const element of document.querySelectorAll("header *, main *")) {
        const hasText = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
        if (hasText && element.checkVisibility() && !element.closest("option, .skip")) {
            const [own, behind] = [light(channels(getComputedStyle(element).color)), light(ground(element))];
            const contrast = (Math.max(own, behind) + 0.05) / (Math.min(own, behind) + 0.05);
            if (contrast < 4.5) found.push([element.className, element.textContent, contrast]);
        }
    }
    return found;
}"""


class MonitorTestCase(ChromiumTestCase, ServingTestCase):
    """A server with a monitor of the key ``a key``, whose page a test opens."""

    def setUp(self) -> None:
        super().setUp()
        from playwright.sync_api import expect

        self.expect: Any = expect

    def monitored(self, read_only: bool = False, port: int = 0, **options: Any) -> EZEZWebsocketServer:
        """Start a server, and mount its monitor, whose threads end a moment after the server's, one by another."""
        before = set(threading.enumerate())
        self.addCleanup(eventually, lambda: not [one for one in threading.enumerate() if one not in before])
        server = self.make(port=port, on_error=lambda *_: None, **options)
        self.monitor = Monitor(server, key="a key", read_only=read_only)
        server.mount("/monitor", self.monitor)
        server.start()
        return server

    def look(self, **options: Any) -> "Page":
        """Open the page, and wait until it shows something."""
        page = self.open(self.monitor.url, **{"viewport": {"width": 1440, "height": 900}, **options})
        self.expect_state(page, "Live")
        return page

    def expect_state(self, page: "Page", text: str) -> None:
        self.expect(page.locator("#state")).to_have_text(text)

    def section(self, page: "Page", name: str) -> "Locator":
        return page.get_by_role("region", name=name)

    def cards(self, page: "Page") -> "Locator":
        return self.section(page, "What listeners are doing").get_by_role("article")

    def ids(self, server: EZEZWebsocketServer, count: int = 1) -> list[int]:
        """Wait for so many clients, and return their ids."""
        eventually(lambda: len(server.clients) == count and all(client.authenticated for client in server.clients))
        return sorted(client.connection_id for client in server.clients)

    def rows(self, page: "Page") -> "Locator":
        return page.locator("#body tr[data-id]")

    def let_go(self, lock: "threading.Lock") -> None:
        if lock.locked():
            lock.release()

    def hang(self, server: EZEZWebsocketServer, clients: int = 1) -> "threading.Lock":
        """Have listeners hang in a lock that the test holds, and so lets go of."""
        lock = threading.Lock()
        lock.acquire()
        self.addCleanup(self.let_go, lock)
        entered = threading.Semaphore(0)

        @server.on("order")
        def take_order(*_: Any) -> None:
            entered.release()
            with lock:  # here
                pass

        for _ in range(clients):
            self.peer(server).send_event("order", [])
        for _ in range(clients):
            self.assertTrue(entered.acquire(timeout=10))
        return lock


class ListenersOnPageTest(MonitorTestCase):
    def test_a_hung_listener_comes_first_with_its_stack_and_goes_when_it_goes_on(self) -> None:
        server = self.monitored()
        lock = self.hang(server)
        page = self.look()
        card = self.cards(page)
        self.expect(card).to_contain_text("asleep, waits for a lock")
        self.expect(card.get_by_role("heading")).to_have_text("order")
        line = card.locator("[aria-current]")
        self.expect(line).to_contain_text("with lock:  # here")
        self.expect(line).to_contain_text(re.compile(r"browser/test_monitor\.py:\d+"))
        self.expect(page).to_have_title(re.compile(r"^\(1\) Monitor"))
        self.expect(card).to_have_attribute("data-level", "stuck")
        (id,) = self.ids(server)
        self.expect(page.locator("#said")).to_contain_text(f"The listener order of client {id} runs for")
        top = page.locator("main section").first
        self.expect(top).to_have_accessible_name("What listeners are doing")
        self.expect(line).to_be_in_viewport()
        lock.release()
        self.expect(card).to_have_count(0)
        self.expect(page.get_by_text("No listener runs.")).to_be_visible()
        self.expect(page).to_have_title(re.compile("^Monitor"))

    def test_those_that_hang_in_one_place_are_one_card_which_leads_to_its_clients(self) -> None:
        server = self.monitored()
        self.hang(server, clients=8)
        id = self.ids(server, 8)[3]
        page = self.look()
        self.expect(self.cards(page)).to_contain_text("8 clients, all in this place:")
        self.expect(self.cards(page)).to_contain_text("and 2 more")
        self.cards(page).get_by_role("button", name=f"Client {id}").click()
        self.expect(page.get_by_role("dialog", name=f"Client {id}")).to_contain_text("with lock:  # here")

    def test_on_a_phone_the_line_is_on_the_first_screen_and_nothing_is_wider_than_it(self) -> None:
        self.hang(self.monitored())
        page = self.look(**PHONE)
        self.expect(self.cards(page).locator("[aria-current]")).to_be_in_viewport()
        self.assertEqual(page.evaluate("document.scrollingElement.scrollWidth"), 360)
        page.get_by_label("Sort by").select_option("latency")
        self.expect(self.rows(page)).to_have_count(1)
        self.rows(page).tap()
        dialog = page.get_by_role("dialog", name="Client")
        self.expect(dialog.get_by_role("button", name="Close")).to_be_in_viewport()
        self.assertEqual(page.evaluate("document.scrollingElement.scrollWidth"), 360)

    def test_what_is_read_is_legible_in_light_and_in_dark(self) -> None:
        self.hang(self.monitored())
        grounds = set()
        for scheme in ("light", "dark"):
            page = self.look(color_scheme=scheme)
            self.expect(self.cards(page)).to_have_attribute("data-level", "stuck")
            self.assertEqual(page.evaluate(FAINT), [], scheme)
            grounds.add(page.evaluate("getComputedStyle(document.documentElement).backgroundColor"))
        self.assertEqual(len(grounds), 2)


class ClientsOnPageTest(MonitorTestCase):
    def test_clients_come_and_go_and_are_found_by_typing(self) -> None:
        server = self.monitored(default_context={"name": "?"})
        page = self.look()
        self.expect(page.get_by_text("Nobody is connected.")).to_be_visible()
        peers = [self.peer(server) for _ in range(3)]
        self.expect(self.rows(page)).to_have_count(3)
        clients = {client.connection_id: client for client in server.clients}
        for id, name in zip(self.ids(server, 3), "ABC", strict=True):
            client = clients[id]
            client.context["name"] = f"guest {name}"
            client.join(f"room {name}")
        self.expect(self.rows(page).nth(1)).to_contain_text("room B")
        page.get_by_label("Filter clients").fill("ROOM guest b")
        self.expect(self.rows(page)).to_have_count(1)
        self.expect(self.rows(page)).to_contain_text("{'name': 'guest B'}")
        page.get_by_label("Filter clients").fill("nobody's")
        self.expect(page.get_by_text("No client is like that.")).to_be_visible()
        page.get_by_label("Filter clients").fill("")
        peers[0].close()
        self.expect(self.rows(page)).to_have_count(2)

    def test_a_column_is_sorted_by_its_button_and_says_so(self) -> None:
        server = self.monitored()
        for number in range(3):
            peer = self.peer(server)
            for _ in range(number * 2):
                peer.send_event("x", [])
        page = self.look()
        head = page.get_by_role("columnheader", name="In", exact=True)
        self.expect(self.rows(page)).to_have_count(3)
        self.expect(self.rows(page).last.locator(".c-received")).to_have_text("4")
        head.get_by_role("button").click()
        self.expect(head).to_have_attribute("aria-sort", "descending")
        self.expect(self.rows(page).locator(".c-received")).to_have_text(["4", "2", "0"])
        head.get_by_role("button").press("Enter")
        self.expect(head).to_have_attribute("aria-sort", "ascending")
        self.expect(self.rows(page).locator(".c-received")).to_have_text(["0", "2", "4"])

    @allow_seconds(120)
    def test_of_many_clients_only_the_rows_are_made_that_can_be_seen_and_the_keyboard_reaches_all(self) -> None:
        server = self.monitored()
        for _ in range(200):
            self.peer(server)
        page = self.look()
        self.expect(page.locator("#clients-sum")).to_have_text("200")
        self.expect(page.get_by_role("table", name="Clients")).to_have_attribute("aria-rowcount", "201")
        self.assertLess(self.rows(page).count(), 60)
        self.assertGreater(self.rows(page).count(), 18)  # as many as there is room for, at once
        ids = self.ids(server, 200)
        page.get_by_role("button", name=f"Client {ids[0]}", exact=True).focus()
        for key, index in (("ArrowDown", 1), ("End", 199), ("ArrowUp", 198), ("Home", 0)):
            page.keyboard.press(key)
            row = page.get_by_role("button", name=f"Client {ids[index]}", exact=True)
            self.expect(row).to_be_focused()
            self.expect(row).to_be_in_viewport()
        self.assertLess(self.rows(page).count(), 60)
        page.locator("#rows").evaluate("(rows) => rows.scrollTo(0, rows.scrollHeight)")
        self.expect(page.get_by_role("button", name=f"Client {ids[-1]}", exact=True)).to_be_in_viewport()


class ActionsOnPageTest(MonitorTestCase):
    def test_a_client_is_disconnected_once_that_is_confirmed(self) -> None:
        server = self.monitored()
        peer = self.peer(server)
        (id,) = self.ids(server)
        page = self.look()
        self.rows(page).get_by_role("button").click()
        page.get_by_role("button", name="Disconnect…").click()
        asked = page.get_by_role("alertdialog", name=f"Disconnect client {id}?")
        self.expect(asked.get_by_role("button", name="Cancel")).to_be_focused()
        page.keyboard.press("Escape")
        self.expect(asked).to_be_hidden()
        self.assertEqual(len(server.clients), 1)
        page.get_by_role("button", name="Disconnect…").click()
        asked.get_by_role("button", name="Disconnect").click()
        peer.read_end()
        self.expect(page.get_by_text(f"Client {id} is disconnected.")).to_be_visible()
        self.expect(self.rows(page)).to_have_count(0)

    def test_an_event_is_sent_and_broadcast_once_it_is_right_and_confirmed(self) -> None:
        server = self.monitored()
        peers = [self.peer(server), self.peer(server)]
        page = self.look()
        id = self.ids(server, 2)[1]
        self.expect(self.rows(page)).to_have_count(2)
        page.get_by_role("button", name=f"Client {id}", exact=True).click()
        page.get_by_role("button", name="Send…").click()
        dialog = page.get_by_role("dialog", name=f"Send an event to client {id}")
        dialog.get_by_role("button", name="Go on…").click()
        self.expect(dialog.get_by_role("alert")).to_have_text("The event needs a name.")
        dialog.get_by_label("Event").fill("news")
        for wrong, told in (("{", "That is not JSON"), ('"x"', "The arguments are a JSON array")):
            dialog.get_by_label("Arguments").fill(wrong)
            dialog.get_by_role("button", name="Go on…").click()
            self.expect(dialog.get_by_role("alert")).to_contain_text(told)
        dialog.get_by_label("Arguments").fill('["zażółć", {"a": [1, null]}]')
        dialog.get_by_role("button", name="Go on…").click()
        page.get_by_role("alertdialog", name=f"Send it to client {id}?").get_by_role("button", name="Send").click()
        event = peers[1].read_event()
        self.assertEqual((event.name, event.args), ("news", ["zażółć", {"a": [1, None]}]))
        page.get_by_role("button", name="Broadcast…").click()
        page.get_by_role("dialog", name="Broadcast").get_by_role("button", name="Go on…").click()
        page.get_by_role("alertdialog", name="all 2 clients").get_by_role("button", name="Broadcast").click()
        self.assertEqual([peer.read_event().name for peer in peers], ["news", "news"])
        self.expect(page.get_by_text("“news” is sent to 2 clients.")).to_be_visible()

    def test_a_page_that_may_only_read_has_no_button_that_acts(self) -> None:
        server = self.monitored(read_only=True)
        self.peer(server)
        page = self.look()
        self.expect(page.get_by_text("read-only")).to_be_visible()
        self.rows(page).get_by_role("button").click()
        self.expect(page.get_by_role("dialog", name="Client")).to_be_visible()
        for name in ("Disconnect…", "Send…", "Broadcast…"):
            self.expect(page.get_by_role("button", name=name, include_hidden=True)).to_be_hidden()


class PageTest(MonitorTestCase):
    def test_hostile_names_are_text_wherever_they_are_shown(self) -> None:
        lock = threading.Lock()

        def room(client: Any, args: Any, *_: Any) -> None:
            client.context[HOSTILE] = args[0]
            client.join(args[0])
            raise ValueError(args[0])

        def wait(*_: Any) -> None:
            with lock:
                pass

        server = self.monitored(default_context={})
        server.on("room", room)
        server.on(HOSTILE, wait)
        peer = self.peer(server)
        peer.send_event("room", [HOSTILE])
        with lock:
            peer.send_event(HOSTILE, [])
            page = self.look()
            ran: list[str] = []

            def stop(dialog: "Dialog") -> None:
                ran.append(dialog.message)
                dialog.dismiss()

            page.on("dialog", stop)
            page.on("console", lambda message: ran.append(message.text))
            self.expect(self.cards(page).get_by_role("heading")).to_contain_text(MARKUP)
            self.expect(self.rows(page).locator(".c-rooms")).to_contain_text(MARKUP)
            self.expect(self.rows(page).locator(".c-context")).to_contain_text("<img")
            errors = self.section(page, "Last errors")
            self.expect(errors.get_by_role("listitem")).to_contain_text(f"ValueError: {MARKUP}")
            errors.locator("summary").click()
            self.expect(errors.locator("pre")).to_contain_text(MARKUP)
            self.rows(page).get_by_role("button").click()
            self.expect(page.get_by_role("dialog")).to_contain_text(MARKUP)
            page.get_by_role("button", name="Send…").click()
            page.get_by_label("Event", exact=True).fill(HOSTILE)
            page.get_by_label("Arguments").fill(json.dumps([HOSTILE]))
            page.get_by_role("button", name="Go on…").click()
            self.expect(page.get_by_role("alertdialog")).to_contain_text(MARKUP)
            self.assertEqual(page.evaluate("document.querySelectorAll('img, body script').length"), 0)
            self.assertNotIn("\u202e", page.evaluate("document.body.innerText"))
            self.assertEqual(ran, [])

    def test_errors_are_counted_and_have_their_tracebacks(self) -> None:
        def fail(*_: Any) -> None:
            raise KeyError("tea")

        server = self.monitored()
        server.on("fail", fail)
        peer = self.peer(server)
        page = self.look()
        self.expect(page.locator("#errors-sum")).to_have_text("none")
        for _ in range(3):
            peer.send_event("fail", [])
        error = self.section(page, "Last errors").get_by_role("listitem")
        self.expect(error).to_contain_text("KeyError: 'tea'")
        self.expect(error).to_contain_text("\u00d7 3")
        error.locator("summary").click()
        self.expect(error.locator("pre .own").last).to_contain_text('raise KeyError("tea")')
        self.expect(error.get_by_role("button", name=f"Client {self.ids(server)[0]}")).to_be_visible()

    def test_figures_are_drawn_and_can_be_read_without_seeing_them(self) -> None:
        server = self.monitored()
        self.peer(server)
        page = self.look()
        figures = self.section(page, "Figures")
        self.expect(figures.get_by_role("img", name=re.compile("^Clients: 1, peak 1 in the last 15"))).to_be_visible()
        self.expect(figures.get_by_role("img")).to_have_count(7)
        line = figures.get_by_role("img", name=re.compile("^Clients:")).locator(".line")
        self.expect(line).to_have_attribute("d", re.compile("^M.+L"))

    def test_a_page_without_the_key_asks_for_it_and_no_server_is_told(self) -> None:
        self.monitored()
        page = self.open(f"{self.monitor.url.partition('#')[0]}#wrong")
        self.expect(page.get_by_text("The server does not know this key.")).to_be_visible()
        self.expect_state(page, "Not let in")
        self.expect(page.get_by_role("main")).to_be_hidden()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("websocket", lambda socket: asked.append(socket.url))
        self.expect(page.get_by_label("Key", exact=True)).to_be_focused()
        page.keyboard.type("a key")
        page.keyboard.press("Enter")
        self.expect_state(page, "Live")
        self.assertEqual([url for url in asked if "key" in url], [])
        page.reload()
        self.expect_state(page, "Live")

    def test_a_lost_connection_is_told_and_comes_back(self) -> None:
        server = self.monitored()
        port = server.port
        self.peer(server)
        page = self.look()
        self.expect(self.rows(page)).to_have_count(1)
        server.close()
        self.expect_state(page, "Connection lost")
        self.expect(page.get_by_text("The connection to the server is lost.")).to_be_visible()
        self.expect(self.rows(page)).to_have_count(1)
        self.expect(page.get_by_role("button", name="Broadcast…")).to_be_disabled()
        assert port is not None
        self.monitored(port=port)
        page.get_by_role("button", name="Try now").click()
        self.expect_state(page, "Live")
        self.expect(page.get_by_text("The connection to the server is lost.")).to_be_hidden()
        self.expect(self.rows(page)).to_have_count(0)

    def test_a_pause_holds_the_page_until_it_goes_on(self) -> None:
        server = self.monitored()
        page = self.look()
        self.expect(page.get_by_text("Nobody is connected.")).to_be_visible()
        page.get_by_role("button", name="Pause").click()
        self.expect_state(page, "Paused")
        self.peer(server)
        heard = "() => document.getElementById('clients-sum').textContent"
        eventually(lambda: len(server.clients) == 1)
        self.assertEqual(page.evaluate(heard), "0")
        page.get_by_role("button", name="Go on").click()
        self.expect(self.rows(page)).to_have_count(1)

    def test_everything_can_be_reached_by_keyboard_has_a_name_and_shows_its_focus(self) -> None:
        server = self.monitored()
        self.peer(server)
        page = self.look()
        self.expect(self.rows(page)).to_have_count(1)
        code = """() => {
            const focused = document.activeElement;
            const name = focused.ariaLabel ?? focused.labels?.[0]?.innerText ?? focused.innerText;
            return [name.trim(), parseFloat(getComputedStyle(focused).outlineWidth)];
        }"""
        seen = {}
        for _ in range(20):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement !== document.body"):
                name, outline = page.evaluate(code)
                seen[name] = outline
        heads = {"Client", "Address", "Since", "Auth", "Rooms", "Latency", "In", "Out", "Buffers", "Awaits"}
        heads |= {"Runs now", "Context"}
        client = f"Client {self.ids(server)[0]}"
        wanted = {"Skip to the listeners", "Pause", "Filter clients", "Broadcast…", client, *heads}
        self.assertEqual(set(seen), wanted)
        self.assertEqual([name for name, outline in seen.items() if outline < 1.5], [])
        page.get_by_role("button", name="Skip to the listeners").press("Enter")
        self.expect(self.section(page, "What listeners are doing")).to_be_focused()
        self.assertTrue(page.url.endswith("#a%20key"), page.url)  # a link would have replaced the key

    def test_a_screen_reader_finds_landmarks_and_is_not_talked_at(self) -> None:
        server = self.monitored()
        self.peer(server)
        page = self.look(reduced_motion="reduce")
        self.expect(self.rows(page)).to_have_count(1)
        for role in ("banner", "main"):
            self.expect(page.get_by_role(role)).to_have_count(1)
        names = ["What listeners are doing", "Clients", "Last errors", "Figures"]
        self.expect(page.get_by_role("region")).to_have_count(len(names))
        for name in names:
            self.expect(self.section(page, name)).to_be_visible()
        code = """async () => {
            let told = 0;
            const watcher = new MutationObserver((changes) => { told += changes.length; });
            for (const region of document.querySelectorAll("[role=status], [role=alert], [aria-live]")) {
                watcher.observe(region, { childList: true, characterData: true, subtree: true });
            }
            const value = document.querySelector("#about");
            const before = value.textContent;
            while (value.textContent === before) await new Promise((done) => setTimeout(done, 50));
            return [told, document.getAnimations().length];
        }"""
        self.assertEqual(page.evaluate(code), [0, 0])  # though what it shows has changed


if __name__ == "__main__":
    unittest.main()
