"""Contracts between a server and clients: implemented, called, refused and compared."""

import unittest
from decimal import Decimal
from typing import Any

from ezez_ws import EZEZServerClient, EZEZWebSocketClient, RemoteError
from tests.serving import KEY, Calls, ServingTestCase
from tests.support import eventually, needs_pydantic

MAY_RUN_BESIDE = True


@needs_pydantic
class ImplementedTest(ServingTestCase):
    def desk(self, calls: Calls, **members: Any) -> Any:
        """A class that implements the shop, and records who makes one and what is sold."""
        from tests.calls.contracts import Shop

        class Desk(Shop):
            def __init__(self, client: EZEZServerClient) -> None:
                calls.add("made", client.connection_id)

            def price(self, article: str) -> Decimal:
                return {"tea": Decimal("4.50")}[article]

            def sold(self, article: str, count: int = 1) -> None:
                calls.add("sold", article, count)

            def helper(self) -> None: ...

        for name, member in members.items():
            setattr(Desk, name, member)
        return Desk

    def test_a_call_is_answered_by_the_object_of_the_connection(self) -> None:
        from tests.calls.contracts import Shop

        calls = Calls()
        server = self.make(on_auth_ok=calls.named("ok"))
        server.implement(Shop, self.desk(calls))
        server.start()
        shops = [self.client(server).proxy(Shop, timeout=10) for _ in range(2)]
        for shop in shops:
            self.assertEqual(Decimal("4.50"), shop.price(article="tea"))
        shops[0].sold("tea", count=2)
        shops[1].sold("milk")
        self.assertEqual({("sold", "tea", 2), ("sold", "milk", 1)}, set(calls.wait(6)[4:]))
        self.assertEqual([("made", "ok"), ("made", "ok")], [(calls.seen[i][0], calls.seen[i + 1][0]) for i in (0, 2)])

    def test_only_the_contracts_methods_are_events(self) -> None:
        from tests.calls.contracts import Shop

        server = self.make(unknown_events="error")
        server.implement(Shop, self.desk(Calls()))
        server.start()
        with self.assertRaises(RemoteError) as caught:
            self.client(server).call("helper", [], timeout=10)
        self.assertEqual("unknown-event", caught.exception.code)

    def test_what_a_caller_sends_wrong_is_refused_by_both_sides_with_the_same_error(self) -> None:
        from tests.calls.contracts import Shop

        server = self.make()
        server.implement(Shop, self.desk(Calls()))
        server.start()
        client = self.client(server)
        shop: Any = client.proxy(Shop)
        for call, args in ((shop.price, (5,)), (client.call, ("price", [5], 10))):
            with self.assertRaises(RemoteError) as caught:
                call(*args)
            self.assertEqual(("invalid-args", ["article"]), (caught.exception.code, caught.exception.data[0]["loc"]))

    def test_submit_takes_a_method_and_gives_a_future_of_its_answer(self) -> None:
        from tests.calls.contracts import Shop

        server = self.make()
        server.implement(Shop, self.desk(Calls()))
        server.start()
        client = self.client(server)
        shop = client.proxy(Shop)
        futures = [client.submit(shop.price, "tea") for _ in range(20)]
        self.assertEqual([Decimal("4.50")] * 20, [future.result(10) for future in futures])

    def test_an_answer_that_does_not_fit_is_internal_there_and_an_error_here(self) -> None:
        from tests.calls.contracts import Shop

        server = self.make(on_error=Calls().named("error"))
        server.implement(Shop, self.desk(Calls(), price=lambda self, article: "no number"))
        server.start()
        with self.assertRaises(RemoteError) as caught:
            self.client(server).proxy(Shop, timeout=10).price("tea")
        self.assertEqual("internal", caught.exception.code)

    def test_a_server_calls_what_its_client_implements(self) -> None:
        from tests.calls.contracts import Phone

        calls = Calls()

        class Mine(Phone):
            def ring(self, times: int) -> str:
                return "hello " * times

            def hang_up(self) -> None:
                calls.add("hung up")

            def news_flash(self, text: str) -> None:
                calls.add("news", text)

        server = self.serve()
        client = self.client(server)
        client.implement(Phone, Mine())
        (there,) = server.clients
        phone = there.proxy(Phone, timeout=10)
        self.assertEqual("hello hello ", phone.ring(2))
        phone.hang_up()
        phone.news_flash("rain")
        self.assertEqual([("hung up",), ("news", "rain")], calls.wait(2))
        self.assertEqual("hello ", server.client_at(there.address).proxy(Phone, timeout=10).ring(1))

    def test_one_client_of_a_server_can_have_an_object_of_its_own(self) -> None:
        from tests.calls.contracts import Shop

        calls = Calls()
        desk = self.desk(calls)
        server = self.serve(on_auth_ok=lambda client: client.implement(Shop, desk(client)))
        self.assertEqual(Decimal("4.50"), self.client(server).proxy(Shop, timeout=10).price("tea"))

    def test_what_lacks_a_method_is_refused_when_it_is_given(self) -> None:
        from tests.calls.contracts import Shop

        class Half(Shop):
            def price(self, article: str) -> Decimal:
                return Decimal(1)

        server = self.make()
        factory: Any
        for factory in (Half, dict):
            with self.assertRaisesRegex(TypeError, r"lacks .*sold\(\)"):
                server.implement(Shop, factory)
        with self.assertRaisesRegex(TypeError, r"price\(self, article\), but takes \(self\)"):
            server.implement(Shop, self.desk(Calls(), price=lambda self: Decimal(1)))
        with self.assertRaisesRegex(TypeError, "factory"):
            server.implement(Shop, lambda: None)  # type: ignore[misc, arg-type]
        for factory in (5, None, object()):
            with self.assertRaisesRegex(TypeError, "^the factory must be a class or another callable, not "):
                server.implement(Shop, factory)
        with self.assertRaisesRegex(TypeError, "not the class"):
            self.client(self.serve()).implement(Shop, self.desk(Calls()))

    def test_what_a_factory_makes_is_checked_and_what_it_raises_is_told(self) -> None:
        from tests.calls.contracts import Shop

        def fail(client: Any) -> Any:
            raise ValueError("no desk")

        factory: Any
        for factory, error in ((lambda client: object(), TypeError), (fail, ValueError)):
            calls = Calls()
            server = self.make(on_error=calls.named("error", 1))
            server.implement(Shop, factory)
            server.start()
            with self.assertRaises(RemoteError) as caught:
                self.client(server).proxy(Shop, timeout=10).price("tea")
            self.assertEqual("internal", caught.exception.code)
            self.assertIsInstance(calls.wait(2)[0][1], error)

    def test_events_that_have_a_handler_are_refused_and_nothing_is_left(self) -> None:
        from tests.calls.contracts import Phone, Shop

        server = self.make()
        server.handler("sold", lambda client: None)  # a notice is listened to, which is no matter
        desk = self.desk(Calls())
        server.implement(Shop, desk)
        with self.assertRaisesRegex(ValueError, "'price' has a handler already"):
            server.implement(Shop, desk)
        server.handler("phone.hang_up", lambda client: None)
        wrong: Any = lambda client: None  # noqa: E731
        with self.assertRaisesRegex(ValueError, "phone.hang_up"):
            server.implement(Phone, wrong)
        server.handler("ring", lambda client: None)

    def test_another_takes_the_place_of_one_whose_events_are_off(self) -> None:
        from tests.calls.contracts import Shop

        server = self.serve()
        server.implement(Shop, self.desk(Calls(), price=lambda self, article: Decimal(1)))
        shop = self.client(server).proxy(Shop, timeout=10)
        self.assertEqual(Decimal(1), shop.price("tea"))
        for event in ("price", "sold"):
            server.off(event)
        calls = Calls()
        server.implement(Shop, self.desk(calls))
        self.assertEqual(Decimal("4.50"), shop.price("tea"))
        shop.sold("tea")
        self.assertEqual(["made", "sold"], [call[0] for call in calls.wait(2)])

    def test_calls_wait_for_a_factory_that_asks_back(self) -> None:
        from tests.calls.contracts import Phone, Shop

        calls, errors, gate = Calls(), Calls(), self.gate()
        desk = self.desk(calls, sold=lambda self, article, count=1: calls.add("sold", 1 // count))
        server = self.make(on_error=errors.named("error", 1))

        def ask(there: EZEZServerClient) -> Any:
            calls.add(there.proxy(Phone, timeout=10).ring(1))
            return desk(there)

        class Mine(Phone):
            def ring(self, times: int) -> str:
                shop.sold("tea", 1)
                shop.sold("tea", 0)
                prices.append(client.submit(shop.price, "tea"))
                prices.append(client.submit(shop.price, "no such"))
                gate()
                return "ring"

            def hang_up(self) -> None: ...

            def news_flash(self, text: str) -> None: ...

        server.implement(Shop, ask)
        server.start()
        assert server.url is not None
        client = EZEZWebSocketClient(server.url, auth=KEY)
        self.addCleanup(client.close)
        shop, prices = client.proxy(Shop, timeout=10), list[Any]()
        client.implement(Phone, Mine())
        client.start()
        gate.wait_entered()
        gate.open()
        self.assertEqual(["ring", "made", "sold"], [call[0] for call in calls.wait(3)])
        self.assertEqual(Decimal("4.50"), prices[0].result(10))
        self.assertIsInstance(prices[1].exception(10), RemoteError)
        self.assertEqual([ZeroDivisionError, KeyError], [type(error) for _, error in errors.wait(2)])

    def test_one_that_is_implemented_late_is_made_for_who_is_there_and_made_once(self) -> None:
        from tests.calls.contracts import Shop

        calls = Calls()
        server = self.serve()
        shop = self.client(server).proxy(Shop, timeout=10)
        server.implement(Shop, self.desk(calls))
        self.assertEqual([Decimal("4.50")] * 2, [shop.price("tea"), shop.price("tea")])
        self.assertEqual(1, len(calls.seen))

    def test_one_that_fails_is_not_made_again(self) -> None:
        from tests.calls.contracts import Shop

        calls = Calls()

        def fail(client: EZEZServerClient) -> Any:
            calls.add("failed")
            raise ValueError

        server = self.make(on_error=Calls().named("error"))
        server.implement(Shop, fail)
        server.start()
        shop = self.client(server).proxy(Shop, timeout=10)
        for _ in range(3):
            self.assertRaises(RemoteError, shop.price, "tea")
        self.assertEqual([("failed",)], calls.seen)

    def test_a_notice_that_does_not_fit_is_told_where_it_arrives(self) -> None:
        from tests.calls.contracts import Shop

        errors = Calls()
        server = self.make(on_error=errors.named("error", 1))
        server.implement(Shop, self.desk(Calls()))
        server.start()
        self.client(server).send("sold", ["tea", "many"])
        self.assertIn("count", str(errors.wait()[0][1]))

    def test_the_log_names_the_users_functions(self) -> None:
        from tests.calls.contracts import Shop

        server = self.make()
        server.implement(Shop, self.desk(Calls(), sold=lambda self, article, count=1: 1 / 0))
        server.start()
        client = self.client(server)
        with self.assertLogs("ezez_ws", "ERROR") as logged:
            client.send("sold", ["tea"])
            self.assertRaises(RemoteError, client.proxy(Shop, timeout=10).price, "no such")
            eventually(lambda: len(logged.output) == 2)  # who asks is answered before it is told
        self.assertIn("Shop.sold", logged.output[0])
        self.assertIn("Shop.price", logged.output[1])


if __name__ == "__main__":
    unittest.main()
