"""A page calls what a server in Python implements by a contract, and the other way round; in Node, and in Chromium."""

import http.server
import shutil
import subprocess
import tempfile
import threading
import unittest
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

from ezez_ws import EZEZWebsocketServer, browser
from tests.browser.chromium import ChromiumTestCase
from tests.browser.page import BrowserTestCase
from tests.cli.running import invoke
from tests.serving import Calls
from tests.support import NODE_MODULES, needs_node, needs_pydantic

SAME_ON_EVERY_PYTHON = True


PAGE = """\
import { EZEZWebSocketClient, RemoteError } from "./ezez-ws.js";
import type { Shop } from "./shop";

const client = new EZEZWebSocketClient(location.hash.slice(1));
const shop = client.proxy<Shop>({ notices: ["sold"], timeout: 10_000 });
shop.sold("tea", 2);
const price: string = await shop.price("tea");
const error: unknown = await shop.price("mud").catch((error: unknown) => error);
document.body.innerText = `${price} ${error instanceof RemoteError ? error.code : ""}`;
client.close();
"""


class Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@needs_pydantic
@needs_node
class ChromiumContractTest(ChromiumTestCase):
    def test_a_page_in_typescript_uses_what_was_written_for_it(self) -> None:
        from tests.calls.contracts import Shop

        calls = Calls()

        class Desk(Shop):
            def __init__(self, client: Any) -> None: ...

            def price(self, article: str) -> Decimal:
                return {"tea": Decimal("4.50")}[article]

            def sold(self, article: str, count: int = 1) -> None:
                calls.add(article, count)

        server = EZEZWebsocketServer(port=0, on_auth_request=lambda client, key: True, on_error=lambda *_: None)
        server.implement(Shop, Desk)
        self.addCleanup(server.close)
        server.start()
        page = self.open(f"{self.build()}#{server.url}")
        page.wait_for_function("document.body.innerText")
        self.assertEqual("4.50 internal", page.inner_text("body"))
        self.assertEqual([("tea", 2)], calls.wait())

    def build(self) -> str:
        """Compile the page, serve it, and return where."""
        folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, folder)
        for name in ("ezez-ws.js", "ezez-ws.d.ts"):
            shutil.copy(browser.PATH / name, folder)
        (folder / "shop.d.ts").write_text(invoke("contract", "tests.calls.contracts:Shop", "--typescript").out, "utf-8")
        (folder / "page.ts").write_text(PAGE, "utf-8")
        (folder / "index.html").write_text("<!doctype html><body><script type=module src=page.js></script>", "utf-8")
        compiler = str(NODE_MODULES / "typescript" / "bin" / "tsc")
        options = ["--strict", "--target", "es2022", "--module", "es2022", "--moduleResolution", "bundler"]
        done = subprocess.run(
            ["node", compiler, *options, "page.ts"], cwd=folder, capture_output=True, encoding="utf-8", timeout=50
        )
        self.assertEqual(("", 0), (done.stdout, done.returncode))
        web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, directory=str(folder)))
        thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(web.server_close)
        self.addCleanup(web.shutdown)
        return f"http://127.0.0.1:{web.server_port}/index.html"


@needs_pydantic
class ContractTest(BrowserTestCase):
    def test_a_page_calls_a_contract_and_sends_its_notices(self) -> None:
        from tests.calls.contracts import Shop

        calls = Calls()

        class Desk(Shop):
            def __init__(self, client: Any) -> None: ...

            def price(self, article: str) -> Decimal:
                return Decimal("4.50")

            def sold(self, article: str, count: int = 1) -> None:
                calls.add(article, count)

        server = self.serve()
        server.implement(Shop, Desk)
        self.ready(server.url)
        self.page.run("globalThis.shop = client.proxy({ notices: ['sold'] })")
        self.assertEqual("4.50", self.page.evaluate("await shop.price('tea')"))
        self.page.run("shop.sold('tea'); shop.sold('milk', 2); shop.sold('salt', undefined)")
        self.assertEqual([("tea", 1), ("milk", 2), ("salt", 1)], calls.wait(3))
        for args in ("5", "", "'tea', 5"):
            caught = self.page.evaluate(f"shop.price({args}).catch((error) => [error.name, error.code])")
            self.assertEqual(["RemoteError", "invalid-args"], caught)

    def test_a_server_calls_a_contract_that_a_page_answers(self) -> None:
        from tests.calls.contracts import Phone

        server = self.serve()
        self.ready(server.url)
        self.page.run(
            """client.handler("ring", async (times) => "ding ".repeat(times));
            client.handler("phone.hang_up", () => {});
            client.on("news-flash", ([text]) => tell("news", text));"""
        )
        phone = server.clients[0].proxy(Phone, timeout=20)
        self.assertEqual("ding ding ", phone.ring(2))
        phone.hang_up()
        phone.news_flash("rain")
        self.expect(["news", "rain"])


if __name__ == "__main__":
    unittest.main()
