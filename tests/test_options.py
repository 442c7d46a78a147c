"""The table of options, the constructors, and docs/configuration.md: each says the same.

``python -m tests.test_options --write`` puts defaults and sentences of the table into the rows of the document.
"""

import ctypes
import functools
import inspect
import re
import subprocess
import sys
import unittest
from collections.abc import Callable, Mapping
from types import MethodType
from typing import Any
from unittest import mock

import ezez_ws
from ezez_ws import EZEZWebSocketClient, EZEZWebsocketServer, options
from ezez_ws.options import CLIENT, REQUIRED, SERVER, Option
from tests.support import REPO, EZEZTestCase

MAY_RUN_BESIDE = True

DOCUMENT = REPO / "docs/configuration.md"
ROW = re.compile(r"^\| `(\w+)` \| .*\|$", re.MULTILINE)
TABLES: Mapping[type, Mapping[str, Option]] = {EZEZWebsocketServer: SERVER, EZEZWebSocketClient: CLIENT}
NEEDED: Mapping[type, Mapping[str, Any]] = {
    EZEZWebsocketServer: {"on_auth_request": lambda client, key: True},
    EZEZWebSocketClient: {"url": "wss://127.0.0.1:1"},
}

NOT_SECONDS = ["5", True, -1, 0, float("nan"), float("inf"), 10**400]
NOT_A_COUNT = ["5", True, -1, 0, 1.5]
WRONG_BY_CHECK: Mapping[Any, list[Any]] = {
    options.check_seconds: NOT_SECONDS,
    options.check_callback: ["f", 5, [], True],
    options._count: NOT_A_COUNT,
    options._choice: ["other", 5, True, [], "", "emit,ignore"],
    options.check_flag: [None, 1, "yes"],
    options._instance: [5, object(), b"127.0.0.1"],
    options._ssl: [True, "cert.pem", object()],
    options._port: ["80", -1, 65536, 1.5, True],
    options.check_path: [1, "", "chat", "/chat?x", "/chat#x", b"/"],
    options._backplane: [5, "redis://127.0.0.1", object()],
    options.check_auth: [5, b"key", ["key"], "\ud800"],
}
WRONG_BY_NAME: Mapping[str, list[Any]] = {  # what a parser checks
    "url": [5, None, b"ws://a", "", "a", "ftp://a", "ws://", "ws://a:0", "ws://a#b", "ws://user@a", "ws://a b"],
    "subprotocols": ["chat", [1], ["a b"], ["a", "a"], [""], 5],
    "headers": ["X: y", 5, {"X": 5}, {5: "x"}, [("X",)], {"a b": "c"}, {"X": "a\r\nY: b"}, {"Host": "x"}, {"": "x"}],
    "allowed_origins": [
        "https://example.org",
        [1],
        ["example.org"],
        ["https://example.org/"],
        ["*"],
        "same",
        b"null",
        5,
    ],
}


def wrong_values(option: Option) -> list[Any]:
    """What the option must not be; ``None`` too, where neither its check nor its default allows that."""
    if option.name in WRONG_BY_NAME:
        return WRONG_BY_NAME[option.name]
    assert option.check is not None
    check = functools.partial(option.check)  # the same for a check with and without arguments of its own
    takes_none = option.default is None or option.name == "auth" or check.keywords.get("optional", False)
    wrong = WRONG_BY_CHECK[check.func] + ([] if takes_none else [None])
    return [value for value in wrong if value != 0 or type(value) is bool] if check.keywords.get("zero") else wrong


def shown_default(default: Any) -> str:
    """A default as the document writes it."""
    if default is REQUIRED:
        return "required"
    for unit, bits in (("MiB", 20), ("KiB", 10)):
        if type(default) is int and default and default % (1 << bits) == 0:
            return f"{default >> bits} {unit}"
    return f'`"{default}"`' if isinstance(default, str) else f"`{default}`"


def row(option: Option, table: Mapping[str, Option]) -> str:
    words = "as the server's" if table is CLIENT and SERVER.get(option.name) is option else option.words
    return f"| `{option.name}` | {shown_default(option.default)} | {words} |"


def rewritten(document: str) -> str:
    """The document, with each row of an option as the table has it; which rows there are stays as it is."""
    for cls, table in TABLES.items():

        def put(match: re.Match[str], table: Mapping[str, Option] = table) -> str:
            return row(table[match[1]], table) if match[1] in table else match[0]

        section = section_of(document, cls)
        document = document.replace(section, ROW.sub(put, section))
    return document


def section_of(document: str, cls: type) -> str:
    return re.split(r"^## ", document.partition(f"\n## {cls.__name__}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


class TableTest(EZEZTestCase):
    def test_each_constructor_takes_what_the_table_has_with_its_defaults(self) -> None:
        for cls, table in TABLES.items():
            parameters = inspect.signature(cls).parameters
            empty = inspect.Parameter.empty
            found = {name: REQUIRED if p.default is empty else p.default for name, p in parameters.items()}
            self.assertEqual({name: option.default for name, option in table.items()}, found)
            kinds = {name for name, p in parameters.items() if p.kind is not inspect.Parameter.KEYWORD_ONLY}
            self.assertEqual({"url"} & set(table), kinds)

    def test_each_wrong_value_is_refused_by_an_error_that_starts_with_the_name(self) -> None:
        for cls, table in TABLES.items():
            for option in table.values():
                for value in wrong_values(option):
                    with self.subTest(cls=cls.__name__, name=option.name, value=value):
                        with self.assertRaises((TypeError, ValueError)) as caught:
                            cls(**{**NEEDED[cls], option.name: value})
                        self.assertRegex(str(caught.exception), rf"^{option.name}\b")

    def test_each_default_is_taken(self) -> None:
        for cls, table in TABLES.items():
            cls(**{**{name: option.default for name, option in table.items()}, **NEEDED[cls]})

    def test_the_table_imports_nothing_of_ours(self) -> None:
        self.assertNotRegex((REPO / "ezez_ws/options.py").read_text(encoding="utf-8"), r"(import|from) (\.|ezez)")

    def test_a_codec_may_be_of_a_class_derived(self) -> None:
        class Mine(ezez_ws.Codec):
            pass

        EZEZWebSocketClient("ws://127.0.0.1:1", codec=Mine())


def two(client: Any, key: Any) -> None: ...
def one(client: Any) -> None: ...
def three(client: Any, key: Any, more: Any) -> None: ...
def optional(client: Any, key: Any = 1, more: Any = 2) -> None: ...
def by_name(client: Any, key: Any, *, more: Any) -> None: ...
def by_name_optional(client: Any, key: Any, *, more: Any = 1) -> None: ...
def anything(*args: Any, **options: Any) -> None: ...
async def asynchronous(client: Any, key: Any) -> None: ...
async def asynchronous_generator(client: Any, key: Any) -> Any:
    yield 1


def generator(client: Any, key: Any) -> Any:
    yield 1


def wrapping(function: Callable[..., Any], wrapper: Callable[..., Any]) -> Callable[..., Any]:
    return functools.wraps(function)(wrapper)


class Methods:
    def two(self, client: Any, key: Any) -> None: ...
    def one(self, client: Any) -> None: ...
    async def asynchronous(self, client: Any, key: Any) -> None: ...

    @classmethod
    def of_class(cls, client: Any, key: Any) -> None: ...

    @staticmethod
    def static(client: Any, key: Any) -> None: ...


class Called:
    def __call__(self, client: Any, key: Any) -> None: ...


class CalledWithOne:
    def __call__(self, client: Any) -> None: ...


class CalledAsynchronously:
    async def __call__(self, client: Any, key: Any) -> None: ...


class CalledStatically:
    @staticmethod
    def __call__(client: Any, key: Any) -> None: ...


class MadeOfTwo:
    def __init__(self, client: Any, key: Any) -> None: ...


class CallablesTest(EZEZTestCase):
    """What is called is checked where it is given."""

    def check(self, function: Any) -> None:
        options.check_callback("on_it", function, "client, key")

    def test_what_can_be_called_so_is_taken(self) -> None:
        methods = Methods()
        for function in (
            *(two, optional, by_name_optional, anything, lambda a, b: None, print, mock.Mock(), max, None),
            *(methods.two, methods.of_class, Methods.static, vars(Methods)["static"], MethodType(three, 1)),
            *(Called(), CalledStatically(), MadeOfTwo, functools.partial(three, 1), functools.partial(by_name, more=1)),
            *(functools.lru_cache(two), functools.partial(methods.two), ctypes.CDLL(None).abs, Called().__call__),
            wrapping(one, anything),
            wrapping(asynchronous, two),
        ):
            with self.subTest(function=function):
                self.check(function)

    def test_what_can_never_be_called_so_is_refused_by_an_error_that_says_how_it_is_called_and_what_it_takes(
        self,
    ) -> None:
        methods = Methods()
        for function, taken in (
            (one, "(client)"),
            (three, "(client, key, more)"),
            (by_name, "(client, key, *, more)"),
            (lambda: None, "()"),
            (methods.one, "(client)"),
            (Methods.two, "(self, client, key)"),
            (CalledWithOne(), "(client)"),
            (functools.partial(two, 1), "(key: Any) -> None"),
            (Methods, "()"),
            (len, "(obj, /)"),
            (wrapping(two, lambda client: None), "(client)"),
        ):
            with self.subTest(function=function), self.assertRaises(TypeError) as caught:
                self.check(function)
            text = f"on_it is called as on_it(client, key), but takes {taken}"
            self.assertIn(str(caught.exception), [text, text.replace(": Any", ": typing.Any")])

    def test_what_would_not_run_is_refused(self) -> None:
        for function, kind in (
            (asynchronous, "an async function"),
            (asynchronous_generator, "an async generator"),
            (generator, "a generator function"),
            (Methods().asynchronous, "an async function"),
            (CalledAsynchronously(), "an async function"),
            (functools.partial(asynchronous, 1), "an async function"),
            (functools.partial(Methods().asynchronous), "an async function"),
            (staticmethod(asynchronous), "an async function"),
            (wrapping(two, asynchronous), "an async function"),
        ):
            with self.subTest(function=function), self.assertRaisesRegex(TypeError, rf"^on_it must .*; this is {kind}"):
                self.check(function)

    def test_each_option_that_is_called_says_with_what(self) -> None:
        for cls, table in TABLES.items():
            for name, option in table.items():
                words = re.match(r".*?`\((?P<names>[^`)]*)\)( -> [^`]*)?`", option.words)
                called = getattr(option.check, "keywords", {}).get("called")
                if words is None or called is None:
                    continue
                with self.subTest(cls=cls.__name__, name=name):
                    self.assertIn(words["names"], (called, "HandshakeRequest"))
                    for wrong in (asynchronous, generator, lambda a, b, c, d, e, f: None):
                        with self.assertRaisesRegex(TypeError, rf"^{name} .*called as {name}\({called}\)"):
                            cls(**{**NEEDED[cls], name: wrong})

    def test_what_may_be_a_callable_is_checked_as_one(self) -> None:
        for cls, name, called in (
            (EZEZWebsocketServer, "allowed_origins", "origin, request"),
            (EZEZWebsocketServer, "max_connections_per_address", "request"),
            (EZEZWebSocketClient, "url", ""),
            (EZEZWebSocketClient, "auth", ""),
            (EZEZWebSocketClient, "headers", ""),
        ):
            for wrong in (asynchronous, generator, lambda a, b, c: None):
                with self.assertRaisesRegex(TypeError, rf"^{name} .*called as {name}\({called}\)"):
                    cls(**{**NEEDED[cls], name: wrong})

    def test_a_function_or_a_method_is_checked_without_the_slow_module(self) -> None:
        script = "import sys; from ezez_ws import options"
        script += "; sys.modules.pop('inspect', None)"  # some Pythons begin with it
        script += "; options.check_callback('x', lambda a: 1, 'a')"
        script += "; print('inspect' in sys.modules)"
        out = subprocess.run([sys.executable, "-c", script], cwd=REPO, capture_output=True, text=True, check=True)
        self.assertEqual("False", out.stdout.strip())


class ConfigurationTest(EZEZTestCase):
    def test_the_document_has_each_option_once_in_the_order_of_the_table(self) -> None:
        document = DOCUMENT.read_text(encoding="utf-8")
        for cls, table in TABLES.items():
            self.assertEqual(list(table), ROW.findall(section_of(document, cls)), cls.__name__)

    def test_the_document_says_what_the_table_says(self) -> None:
        document = DOCUMENT.read_text(encoding="utf-8")
        self.assertEqual(rewritten(document), document, f"run: python -m tests.test_options --write ({DOCUMENT})")


if __name__ == "__main__":
    if "--write" in sys.argv:
        DOCUMENT.write_text(rewritten(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        unittest.main()
