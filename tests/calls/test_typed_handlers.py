"""Handlers with annotations, over a connection: what comes in is checked and converted, what they return is written."""

import traceback
import unittest
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator

from ezez_ws import UNDEFINED, BigInt, Codec, EZEZServerClient, EZEZWebSocketClient, RemoteError
from ezez_ws.typed import plain
from tests.serving import Calls, ServingTestCase


@dataclass
class Item:
    article: str
    price: Decimal
    serial: int = 0
    day: date | None = None


@dataclass
class Counted:
    count: int


class TypedHandlerTest(ServingTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.told = Calls()
        self.server = self.serve(on_error=self.told.named("error", 1), codec=Codec(default=plain))
        self.asker: EZEZWebSocketClient = self.client(self.server)

    def call(self, *args: Any) -> Any:
        return self.asker.call("x", args, timeout=10)

    def refusal(self, *args: Any) -> RemoteError:
        with self.assertRaises(RemoteError) as raised:
            self.call(*args)
        return raised.exception

    def test_arguments_come_by_their_annotations_and_the_value_goes_by_its_own(self) -> None:
        @self.server.handler("x")
        def total(client: EZEZServerClient, items: list[Item], factor: Decimal = Decimal(1), *more: int) -> Decimal:
            return sum((item.price for item in items), Decimal(0)) * factor + sum(more)

        items = [{"article": "tea", "price": "4.50"}, {"article": "milk", "price": 1, "day": "2024-02-29"}]
        self.assertEqual("5.50", self.call(items))
        self.assertEqual("11.00", self.call(items, "2"))
        self.assertEqual("5.50", self.call(items, UNDEFINED))
        self.assertEqual("18.00", self.call(items, "2", 3, 4))

    def test_arguments_that_do_not_fit_are_named_and_the_function_does_not_run(self) -> None:
        @self.server.handler("x")
        def price(client: EZEZServerClient, item: Item, count: int) -> None:
            self.told.add("ran")

        for args, locs in (
            (({"article": "tea", "price": "x"}, "2"), [["item", "price"], ["count"]]),
            (({"article": "tea", "price": 1}, True), [["count"]]),
            (([], 1), [["item"]]),
            ((), [["item"], ["count"]]),
            (({"article": "tea", "price": 1}, 1, 2), [[2]]),
        ):
            with self.subTest(args=args):
                error = self.refusal(*args)
                self.assertEqual("invalid-args", error.code)
                self.assertEqual(locs, [problem["loc"] for problem in error.data])
                for name in [str(loc[0]) for loc in locs]:
                    self.assertIn(f"{name}", error.message)
        self.assertEqual([], self.told.seen)

    def test_bytes_and_bigints_arrive_and_return_as_they_are(self) -> None:
        @self.server.handler("x")
        def echo(client: EZEZServerClient, data: bytes, number: int, item: Item) -> tuple[int, Item]:
            self.told.add("types", type(data), type(number))
            return number, item

        number, item = self.call(b"\xff\0", BigInt(7), {"article": "a", "price": 1, "serial": BigInt(8)})
        self.assertEqual((BigInt, BigInt), (type(number), type(item["serial"])))
        self.assertEqual([("types", bytes, BigInt)], self.told.wait(1))

    def test_a_wrong_value_is_internal_and_told_here_with_what_was_wrong(self) -> None:
        wrong: Any = {"article": 5}

        @self.server.handler("x")
        def now(client: EZEZServerClient) -> Item:
            return wrong  # type: ignore[no-any-return]

        @self.server.handler("later")
        def later(client: EZEZServerClient) -> "Future[int]":
            future: Future[Any] = Future()
            future.set_result("5")
            return future

        self.assertEqual("internal", self.refusal().code)
        with self.assertRaisesRegex(RemoteError, "^internal"):
            self.asker.call("later", timeout=10)
        texts = [str(call[1]) for call in self.told.wait(2)]
        self.assertRegex(texts[0], r"^the return value of .*now\(\): Input should be an instance of Item")
        self.assertRegex(texts[1], r"^the return value of .*later\(\): Input should be a valid integer")

    def test_a_wrong_field_in_what_is_returned_is_told_by_its_place_and_without_its_value(self) -> None:
        @self.server.handler("x")
        def f(client: EZEZServerClient) -> list[Counted]:
            return [Counted(1), Counted("SECRET")]  # type: ignore[arg-type]

        self.assertEqual("internal", self.refusal().code)
        ((_, error),) = self.told.wait(1)
        self.assertRegex(str(error), r"1\.count: Input should be a valid integer")
        self.assertNotIn("SECRET", "".join(traceback.format_exception(error)))

    def test_what_a_validator_raises_is_internal_and_told_here(self) -> None:
        def fail(_: Any) -> Any:
            raise LookupError("no such article")

        @self.server.handler("x")
        def f(client: EZEZServerClient, a: Annotated[int, AfterValidator(fail)]) -> None: ...

        self.assertEqual("internal", self.refusal(5).code)
        ((_, error),) = self.told.wait(1)
        self.assertIsInstance(error, LookupError)

    def test_a_default_of_the_codec_sends_what_a_handler_without_annotations_returns(self) -> None:
        self.server.handler("x", lambda client: [Item("tea", Decimal("4.50"), BigInt(3), date(2024, 2, 29))])
        expected = [{"article": "tea", "price": "4.50", "serial": BigInt(3), "day": "2024-02-29"}]
        self.assertEqual(expected, self.call())


if __name__ == "__main__":
    unittest.main()
