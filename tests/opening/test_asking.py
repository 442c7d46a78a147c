"""What an attempt asks for: the values as they were given, or what the callables return now."""

import unittest
from typing import Any

from ezez_ws.opening.asking import Asking, CannotAsk


def ask(url: Any = "ws://a", auth: Any = "", headers: Any = None, tls: bool = False) -> Any:
    return Asking(url, auth, headers, tls).ask()


def ask_for(name: str, value: Any) -> Any:
    options: dict[str, Any] = {name: value}
    return ask(**options)


class AskingTest(unittest.TestCase):
    def test_values_are_as_they_were_given(self) -> None:
        asked = ask("ws://a/b?token=x", "key", {"X": "y"})
        self.assertEqual((asked.url, asked.auth, asked.headers), ("ws://a/b", "key", [("X", "y")]))
        self.assertEqual((asked.target.host, asked.target.resource), ("a", "/b?token=x"))
        self.assertIsNone(ask(auth=None).auth)

    def test_callables_are_called_each_time_and_not_before(self) -> None:
        urls, keys, headers = iter(["ws://a?1", "wss://b?2"]), iter(["k1", "k2"]), iter([{"X": "1"}, [("X", "2")]])
        asking = Asking(lambda: next(urls), lambda: next(keys), lambda: next(headers), False)
        self.assertNotIn("ws://", asking.url)
        self.assertEqual(asking.ask()[:1] + asking.ask()[:1], ("ws://a", "wss://b"))
        with self.assertRaises(CannotAsk) as caught:
            asking.ask()
        self.assertIsInstance(caught.exception.__cause__, StopIteration)
        self.assertIsNone(next(keys, None))

    def test_whether_the_next_key_may_be_another_one(self) -> None:
        self.assertEqual(
            [Asking("ws://a", auth, None, False).has_fresh_keys for auth in ("", None, str)], [False, False, True]
        )

    def test_what_a_callable_raises_is_the_cause(self) -> None:
        for name in ("url", "auth", "headers"):
            for error in (KeyError("no token"), SystemExit(1)):
                with self.subTest(name=name, error=error):

                    def fail(error: BaseException = error) -> Any:
                        raise error

                    with self.assertRaises(CannotAsk) as caught:
                        ask_for(name, fail)
                    self.assertIs(caught.exception.__cause__, error)
                    self.assertRegex(str(caught.exception), rf"^{name}\(\) raised {type(error).__name__}: ")

    def test_what_an_option_cannot_be_is_a_type_error_or_value_error_that_names_it(self) -> None:
        wrong: dict[str, list[Any]] = {
            "url": [None, 5, b"ws://a", "ftp://a"],
            "auth": [None, 5, b"key", "\ud800"],
            "headers": ["X: y", 5, {"X": 5}, {"Host": "a"}],
        }
        for name, values in wrong.items():
            for value in values:
                with self.subTest(name=name, value=value):
                    with self.assertRaises(CannotAsk) as caught:
                        ask_for(name, lambda value=value: value)
                    self.assertIsInstance(caught.exception.__cause__, (TypeError, ValueError))
                    self.assertRegex(str(caught.exception), f"^{name} ")
                    self.assertEqual(str(caught.exception), str(caught.exception.__cause__))

    def test_without_tls_a_context_for_it_is_refused_now_or_when_the_url_is_known(self) -> None:
        with self.assertRaisesRegex(ValueError, "^ssl "):
            Asking("ws://a", "", None, True)
        with self.assertRaisesRegex(CannotAsk, "^ssl "):
            ask(lambda: "ws://a", tls=True)
        self.assertTrue(ask(lambda: "wss://a", tls=True).target.secure)

    def test_a_text_of_a_callables_error_is_escaped_and_cut(self) -> None:
        def fail() -> str:
            raise ValueError("\x1b[31m" + "x" * 1000)

        with self.assertRaises(CannotAsk) as caught:
            ask(auth=fail)
        self.assertIn("\\x1b", str(caught.exception))
        self.assertLess(len(str(caught.exception)), 300)


if __name__ == "__main__":
    unittest.main()
