"""The site that ``make docs`` has built can be read without a network: ``python -m tests tests.site.built``.

No part of the suite: it needs the folder ``site``. That links lead somewhere, and that each page is in the menu, is for
``mkdocs build --strict`` to see.
"""

import json
import re
import shutil
import subprocess
import unittest
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import ezez_ws
from tests.support import REPO, EZEZTestCase, required

SITE = REPO / "site"
LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
NOT_LOADING = {"canonical", "next", "prev"}  # of ``<link rel=...>``

FOUND_BY = {  # what people look for, and the page that has to be the first of those found
    "authentication": "authentication.html",
    "backoff": "client.html",
    "broadcast": "events.html rooms.html",
    "cookie": "authentication.html",
    "cors": "security.html",
    "deadlock": "replies.html",
    "django": "server-modes.html",
    "docker": "deployment.html",
    "flask": "server-modes.html",
    "grafana": "monitoring.html",
    "gunicorn": "deployment.html scaling.html",
    "health check": "http.html deployment.html",
    "heartbeat": "reliability.html",
    "keepalive": "reliability.html",
    "kubernetes": "deployment.html",
    "logging": "logging.html",
    "metrics": "monitoring.html",
    "ordering": "events.html",
    "prometheus": "monitoring.html",
    "pydantic": "calls.html",
    "pytest": "testing.html api/testing.html",
    "reconnect": "client.html",
    "retry": "client.html",
    "rpc": "migrating-from-rpc.html calls.html",
    "scale": "scaling.html",
    "systemd": "deployment.html",
    "thread safety": "replies.html",
    "timeout": "reliability.html",
    "token": "client.html authentication.html",
    "typescript": "browser.html contracts.html",
    "validation": "calls.html",
}


class Loads(HTMLParser):
    """Notes what a browser fetches for a page, by itself, and where one can go, from it and on it."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.classes: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.classes += (found.get("class") or "").split()
        self.anchors.add(found.get("id") or "")
        if tag == "a" and "://" not in (found.get("href") or "://"):
            self.links.append(unquote(found["href"] or ""))
        address = found.get(LOADING.get(tag, ""))
        if address and found.get("rel") not in NOT_LOADING:
            self.addresses.append(address)


def read(path: str) -> str:
    return (SITE / path).read_text(encoding="utf-8")


class SiteTest(EZEZTestCase):
    def test_a_page_loads_nothing_from_elsewhere_and_what_it_loads_is_there(self) -> None:
        pages = [page for page in SITE.rglob("*.html") if page.name != "404.html"]  # whose addresses are absolute
        self.assertGreater(len(pages), 15)
        for page in pages:
            loads = Loads()
            loads.feed(page.read_text(encoding="utf-8"))
            with self.subTest(page.name):
                self.assertTrue(loads.addresses)
                for address in loads.addresses:
                    self.assertTrue((page.parent / address.partition("?")[0]).is_file(), address)
                self.assertNotIn("mermaid", loads.classes, "its renderer would be loaded from elsewhere")

    def test_each_link_within_the_site_leads_somewhere(self) -> None:
        pages: dict[Path, Loads] = {}
        for path in SITE.rglob("*.html"):
            pages[path] = Loads()
            pages[path].feed(path.read_text(encoding="utf-8"))
        for path, page in pages.items():
            for link in page.links if path.name != "404.html" else ():
                to, _, anchor = link.partition("#")
                target = (path.parent / to.partition("?")[0]).resolve() if to else path
                with self.subTest(path.name, link=link):
                    self.assertTrue(target.exists())
                    if anchor and target in pages:
                        self.assertIn(anchor, pages[target].anchors)

    def test_a_style_sheet_loads_nothing_from_elsewhere(self) -> None:
        sheets = list(SITE.rglob("*.css"))
        self.assertTrue(sheets)
        for sheet in sheets:
            self.assertNotRegex(sheet.read_text(encoding="utf-8"), r"""url\(["']?(https?:)?//|@import""")

    def test_the_reference_shows_each_public_name_and_what_it_says(self) -> None:
        text = "".join(page.read_text(encoding="utf-8") for page in SITE.glob("api/*.html"))
        for name in ezez_ws.__all__:
            self.assertIn(f'id="ezez_ws.{name}"', text)
        for documented in (ezez_ws.EZEZWebsocketServer, ezez_ws.EZEZServerClient, ezez_ws.EZEZWebSocketClient):
            for name in dir(documented):
                if not name.startswith("_"):  # those of bases, too
                    self.assertIn(f'id="ezez_ws.{documented.__name__}.{name}"', text)
        shown = re.sub(r"<[^>]+>", "", text)
        self.assertIn("goes on reading and runs the listeners of other events meanwhile", re.sub(r"\s+", " ", shown))

    def test_the_changelog_is_a_page(self) -> None:
        shown = re.sub(r"<[^>]+>", "", read("changelog.html"))
        for heading in re.findall(r"^## \[(.+?)\]", (REPO / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE):
            self.assertIn(heading, shown)

    def test_the_threads_are_drawn(self) -> None:
        self.assertIn('src="threads.svg"', read("replies.html"))
        self.assertIn("ezez-read-gate", read("threads.svg"))
        self.assertIn('src="message.svg"', read("architecture.html"))
        self.assertIn("SentMessage", read("message.svg"))

    def test_a_search_for_a_word_of_the_field_leads_to_its_page(self) -> None:
        required(None, "" if shutil.which("node") else "node is not installed", "EZEZ_REQUIRE_NODE")
        command = ["node", str(REPO / "tests/site/search.mjs"), str(SITE), *FOUND_BY]
        done = subprocess.run(command, capture_output=True, check=True, encoding="utf-8", timeout=60)
        for (word, wanted), line in zip(FOUND_BY.items(), done.stdout.splitlines(), strict=True):
            with self.subTest(word):
                best = [address.partition("#")[0] for address in json.loads(line)][:1]
                self.assertIn(best, [[page] for page in wanted.split()], line)


if __name__ == "__main__":
    unittest.main()
