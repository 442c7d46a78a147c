"""A page calls what a server in Python implements by a contract, and the types of both fit each other."""

import unittest
from decimal import Decimal
from typing import Any

from tests.browser.page import BrowserTestCase
from tests.serving import Calls
from tests.support import needs_pydantic

SAME_ON_EVERY_PYTHON = True


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
