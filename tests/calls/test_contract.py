"""Contracts as classes, and the proxies that are made of them, without a connection."""

import subprocess
import sys
import unittest
from abc import ABC, abstractmethod
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from ezez_ws.calls.contract import Contract, event, methods_of, notice
from ezez_ws.calls.proxy import make_proxy, submit_method
from ezez_ws.errors import InvalidArgs, RemoteError
from tests.support import REPO, EZEZTestCase, needs_pydantic

MAY_RUN_BESIDE = True

WITHOUT = """\
import sys
sys.modules["pydantic"] = None
from abc import abstractmethod
from ezez_ws import Contract
try:
    class Shop(Contract):
        @abstractmethod
        def price(self): ...
except ImportError as error:
    print(error)
"""


class Sender:
    """What a proxy sends with, which keeps what it is given, and answers with what it was told."""

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer
        self.sent: list[tuple[Any, ...]] = []

    def send(self, event: str, args: Any = ()) -> None:
        self.sent.append((event, args))

    def call(self, event: str, args: Any = (), timeout: float | None = None) -> Any:
        self.sent.append((event, args, timeout))
        return self.answer

    def _ezez_submit(self, event: str, args: Any, read: Callable[[Any], Any]) -> Any:
        return event, args, read(self.answer)


class WithoutPydanticTest(EZEZTestCase):
    def test_defining_one_without_the_extra_says_which_it_is(self) -> None:
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT], cwd=REPO, capture_output=True, encoding="utf-8", timeout=60
        )
        self.assertIn("ezez-ws[typed]", done.stdout)


@needs_pydantic
class DefinitionTest(EZEZTestCase):
    def refused(self, names: str, define: Callable[[], Any]) -> None:
        with self.assertRaises(TypeError) as caught:
            define()
        for name in names.split("|"):
            self.assertIn(name, str(caught.exception))

    def test_events_are_named_as_methods_with_dashes_or_as_is_said(self) -> None:
        from tests.calls.contracts import Phone

        named = {name: method.event for name, method in methods_of(Phone).items()}
        self.assertEqual({"ring": "ring", "hang_up": "phone.hang_up", "news_flash": "news-flash"}, named)

    def test_the_class_that_implements_one_adds_no_events(self) -> None:
        from tests.calls.contracts import Shop

        class Desk(Shop):
            def price(self, article: str) -> Decimal:
                return Decimal(1)

            def sold(self, article: str, count: int = 1) -> None: ...

            def more(self) -> None: ...

        self.assertEqual(list(Shop._ezez_methods), list(Desk._ezez_methods))
        with self.assertRaisesRegex(TypeError, "Desk implements a contract"):
            methods_of(Desk)

    def test_a_contract_may_extend_others(self) -> None:
        from tests.calls.contracts import Phone, Shop

        class Both(Shop, Phone):
            @abstractmethod
            def more(self) -> None: ...

        self.assertEqual({"price", "sold", "ring", "hang_up", "news_flash", "more"}, set(methods_of(Both)))

    def test_an_annotation_without_a_schema_is_refused_with_method_and_parameter(self) -> None:
        def parameter() -> None:
            class Wrong(Contract):
                @abstractmethod
                def ask(self, good: int, bad: Sender) -> None: ...

        def answer() -> None:
            class Wrong(Contract):
                @abstractmethod
                def ask(self) -> Sender: ...

        def unknown() -> None:
            class Wrong(Contract):
                @abstractmethod
                def ask(self, bad: "NoSuchThing") -> None: ...  # type: ignore[name-defined]  # noqa: F821

        self.refused("'bad'|ask()", parameter)
        self.refused("ask()", answer)
        self.refused("ask()|NoSuchThing", unknown)

    def test_what_cannot_be_an_event_is_refused(self) -> None:
        def by_name() -> None:
            class Wrong(Contract):
                @abstractmethod
                def ask(self, *, bad: int = 3) -> None: ...

        def coroutine() -> None:
            class Wrong(Contract):
                @abstractmethod
                async def ask(self) -> None: ...

        def value() -> None:
            class Wrong(Contract):
                @property
                @abstractmethod
                def ask(self) -> int: ...

        def answered_notice() -> None:
            class Wrong(Contract):
                @notice
                @abstractmethod
                def ask(self) -> int: ...

        def forgotten() -> None:
            class Wrong(Contract):
                @notice
                def ask(self) -> None: ...

        def twice() -> None:
            class Wrong(Contract):
                @abstractmethod
                def ask_it(self) -> None: ...

                @event("ask-it")
                @abstractmethod
                def other(self) -> None: ...

        self.refused("'bad'|ask()|by name", by_name)
        self.refused("ask()", coroutine)
        self.refused("ask()|property", value)
        self.refused("ask()|notice", answered_notice)
        self.refused("ask()|@abstractmethod", forgotten)
        self.refused("ask_it()|other()|'ask-it'", twice)

    def test_a_name_that_cannot_be_sent_or_is_none_is_refused(self) -> None:
        self.assertRaises(ValueError, event, "ezez-ws::auth")
        self.assertRaises(TypeError, event, lambda self: None)
        self.assertRaises(TypeError, notice, 5)


@needs_pydantic
class ProxyTest(EZEZTestCase):
    def test_a_call_sends_the_arguments_in_order_and_reads_the_answer(self) -> None:
        from tests.calls.contracts import Shop

        sender = Sender("4.50")
        shop = make_proxy(sender, Shop, 2.0)
        self.assertIsInstance(shop, Shop)
        self.assertEqual(Decimal("4.50"), shop.price(article="tea"))
        self.assertEqual([("price", ["tea"], 2.0)], sender.sent)

    def test_a_notice_is_only_sent(self) -> None:
        from tests.calls.contracts import Shop

        sender = Sender()
        make_proxy(sender, Shop).sold("tea", count=2)
        self.assertEqual([("sold", ["tea", 2])], sender.sent)

    def test_what_does_not_fit_is_refused_before_anything_is_sent(self) -> None:
        from tests.calls.contracts import Shop

        sender = Sender()
        shop: Any = make_proxy(sender, Shop)
        for args, kwargs in ((), {}), (("tea", 1, 2), {}), (("tea",), {"more": 1}):
            self.assertRaises(TypeError, shop.sold, *args, **kwargs)
        with self.assertRaises(InvalidArgs) as caught:
            shop.sold("tea", "x")
        self.assertIn("count", str(caught.exception))
        self.assertEqual([], sender.sent)

    def test_an_answer_of_another_type_is_a_remote_error(self) -> None:
        from tests.calls.contracts import Shop

        with self.assertRaises(RemoteError) as caught:
            make_proxy(Sender([]), Shop).price("tea")
        self.assertEqual("invalid-answer", caught.exception.code)
        self.assertIn("price", str(caught.exception))

    def test_nothing_is_the_answer_where_none_is_promised_and_javascript_gives_undefined(self) -> None:
        from ezez_ws import UNDEFINED
        from tests.calls.contracts import Phone

        for nothing in (None, UNDEFINED):
            self.assertIsNone(make_proxy(Sender(nothing), Phone).hang_up())

    def test_what_is_not_abstract_works_in_the_proxy(self) -> None:
        class Adder(Contract):
            @abstractmethod
            def add(self, a: int, b: int) -> int: ...

            def twice(self, a: int) -> int:
                return self.add(a, a)

        self.assertEqual(6, make_proxy(Sender(6), Adder).twice(3))

    def test_only_a_contract_has_proxies(self) -> None:
        class Foreign(ABC):
            @abstractmethod
            def f(self) -> None: ...

        wrong: Any
        for wrong in (Foreign, Contract, 5, "Shop"):
            with self.assertRaisesRegex(TypeError, "contract must be"):
                make_proxy(Sender(), wrong)

    def test_a_future_is_of_the_methods_answer(self) -> None:
        from tests.calls.contracts import Shop

        sender = Sender("4.50")
        shop = make_proxy(sender, Shop)
        self.assertEqual(("price", ["tea"], Decimal("4.50")), submit_method(sender, shop.price, ("tea",), {}))

    def test_only_an_answered_method_of_an_own_proxy_is_submitted(self) -> None:
        from tests.calls.contracts import Shop

        sender = Sender()
        shop = make_proxy(sender, Shop)
        with self.assertRaisesRegex(TypeError, "notice"):
            submit_method(sender, shop.sold, ("tea",), {})
        with self.assertRaisesRegex(ValueError, "another client"):
            submit_method(Sender(), shop.price, ("tea",), {})
        with self.assertRaisesRegex(TypeError, "proxy"):
            submit_method(sender, print, (), {})
        with self.assertRaises(TypeError):
            submit_method(sender, shop.price, (), {})


if __name__ == "__main__":
    unittest.main()
