"""The codec: bytes, refusals in both directions, and what hostile input costs."""

import array
import collections
import copy
import enum
import json
import pathlib
import pickle
import sys
import tracemalloc
import unittest
from collections.abc import Callable
from datetime import date
from typing import Any, NamedTuple
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from ezez_ws.errors import MalformedMessage, SerializationError
from ezez_ws.messages import decoding, encoding
from ezez_ws.messages.codec import UNDEFINED, BigInt, Codec, UndefinedType, format_number, peek_reply_to
from tests.neutral import build, same
from tests.support import allow_seconds

MAY_RUN_BESIDE = True
ABOUT_THE_EXTENSION = True

VECTORS = json.loads((pathlib.Path(__file__).parents[1] / "data" / "golden_vectors.json").read_text("utf-8"))["vectors"]
MEBIBYTE = 1 << 20
SAMPLE = MEBIBYTE // 8  # enough to measure memory by


def field(payload: bytes, mark: bytes = b"j") -> bytes:
    return b"%d%b\0%b\0" % (len(payload), mark, payload)


class GoldenVectors(unittest.TestCase):
    """Messages of the reference serializer."""

    def test_each_decodes_to_its_values(self) -> None:
        for vector in VECTORS:
            with self.subTest(vector["name"]):
                decoded = Codec().decode(bytes.fromhex(vector["hex"]))
                self.assertTrue(same(decoded, [build(value) for value in vector["values"]]), decoded)

    def test_the_values_of_each_encode_to_its_bytes(self) -> None:
        for vector in VECTORS:
            with self.subTest(vector["name"]):
                self.assertEqual(Codec().encode([build(v) for v in vector["values"]]).hex(), vector["hex"])

    def test_each_cut_anywhere_is_malformed_or_a_prefix_of_its_values(self) -> None:
        for vector in VECTORS:
            whole = bytes.fromhex(vector["hex"])
            values = Codec().decode(whole)
            for end in range(len(whole)):
                try:
                    part = Codec().decode(whole[:end])
                except MalformedMessage:
                    continue
                self.assertTrue(same(part, values[: len(part)]), (vector["name"], end))
                self.assertIn(whole[end - 1 : end + 1].count(0), (1, 2), "cut at the end of a field")


class Color(enum.IntEnum):
    RED = 3


class Word(str, enum.Enum):
    HELLO = "hello"


class Shouting(str):
    def __str__(self) -> str:
        return self.upper()


class Odd(bytes):
    def __bytes__(self) -> bytes:
        return b"no"


class Point(NamedTuple):
    x: int
    y: float


class Half(float):
    def __repr__(self) -> str:
        return "half"


class Encoding(unittest.TestCase):
    """Values to bytes."""

    def check(self, value: Any, expected: bytes, codec: Codec | None = None) -> None:
        self.assertEqual((codec or Codec()).encode([value]), field(expected))

    def test_no_values_give_no_bytes(self) -> None:
        self.assertEqual(Codec().encode([]), b"")

    def test_text_and_bytes_travel_as_they_are(self) -> None:
        self.assertEqual(Codec().encode(["test", "é", b"\0\1"]), b"4f\0test\x002f\0\xc3\xa9\x002t\0\0\1\0")

    def test_every_buffer_of_bytes_travels_as_bytes(self) -> None:
        numbers = array.array("H", [1, 2])
        for value, raw in [
            (bytearray(b"ab"), b"ab"),
            (memoryview(b"abcd")[::2], b"ac"),
            (memoryview(numbers), numbers.tobytes()),
            (Odd(b"ab"), b"ab"),
        ]:
            with self.subTest(value=value):
                self.assertEqual(Codec().encode([value]), field(raw, b"t"))

    def test_ints_turn_into_bigints_beyond_the_safe_range(self) -> None:
        self.check(2**53 - 1, b'"n:9007199254740991"')
        self.check(-(2**53) + 1, b'"n:-9007199254740991"')
        self.check(2**53, b'"i:9007199254740992"')
        self.check([-(2**53)], b'["i:-9007199254740992"]')
        self.check([BigInt(5)], b'["i:5"]')
        self.check(BigInt(-5), b'"i:-5"')

    def test_bools_are_no_ints(self) -> None:
        self.check([True, False, 1, 0], b'["b:1","b:","n:1","n:0"]')

    def test_floats_are_printed_as_javascript_prints_them(self) -> None:
        for value, text in [
            (1.0, "1"), (-0.0, "0"), (1e16, "10000000000000000"), (1e20, "100000000000000000000"), (1e21, "1e+21"),
            (1.5e300, "1.5e+300"), (1e-6, "0.000001"), (-1.25e-5, "-0.0000125"), (1e-7, "1e-7"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1.2345678901234567e16, "12345678901234568"), (123456789012345680000.0, "123456789012345680000"),
            (float("nan"), "NaN"), (float("inf"), "Infinity"), (float("-inf"), "-Infinity"), (5e-324, "5e-324"),
        ]:  # fmt: skip
            with self.subTest(text):
                self.assertEqual(format_number(value), text)
                self.check(value, f'"n:{text}"'.encode())
                self.check({"a": value}, f'{{"a":"n:{text}"}}'.encode())

    def test_subclasses_travel_as_their_base(self) -> None:
        self.check([Color.RED, Word.HELLO, Half(0.5)], b'["n:3","s:hello","n:0.5"]')
        self.check(Point(1, 2.0), b'["n:1","n:2"]')
        self.check([Shouting("abc"), {Shouting("k"): 1}], b'["s:abc",{"k":"n:1"}]')
        self.check(collections.OrderedDict(b=1, a=2), b'{"a":"n:2","b":"n:1"}')
        self.check([collections.defaultdict(int, b=1, a=2)], b'[{"b":"n:1","a":"n:2"}]')
        self.assertEqual(Codec().encode([Shouting("abc"), Word.HELLO]), b"3f\0abc\x005f\0hello\0")

    def test_strings_are_escaped_as_json_stringify_does(self) -> None:
        text = '"\\/\b\f\n\r\t\0\x1f\x7f\u2028é😀'
        expected = '["s:\\"\\\\/\\b\\f\\n\\r\\t\\u0000\\u001f\x7f\u2028é😀"]'
        self.check([text], expected.encode())

    def test_the_top_level_keys_of_an_argument_are_sorted_by_utf16_code_units(self) -> None:
        value = {"\ue000": 1, "😀": 2, "b": {"z": 1, "a": 1}, "a": 3}
        self.check(value, '{"a":"n:3","b":{"z":"n:1","a":"n:1"},"😀":"n:2","\ue000":"n:1"}'.encode())
        self.check(
            value, '{"\ue000":"n:1","😀":"n:2","b":{"z":"n:1","a":"n:1"},"a":"n:3"}'.encode(), Codec(sort_props=False)
        )

    def test_a_head_before_encoded_arguments_is_the_message_encoded_whole(self) -> None:
        codec = Codec()
        events: list[tuple[str, int | None, list[Any]]]
        events = [("ping", None, []), ("zażółć", 7, ["x", {"a": 1}]), ("", 12345678901, [b"x"])]
        for event, reply_to, args in events:
            with self.subTest(event):
                joined = codec._encode_event(event, 3, reply_to, codec.encode(args))
                self.assertEqual(joined, codec.encode([event, 3, reply_to, *args]))

    def test_an_event_name_with_a_lone_surrogate_is_refused(self) -> None:
        with self.assertRaisesRegex(SerializationError, "event: .*surrogate"):
            Codec()._encode_event("\ud800", 1, None, b"")

    def test_a_bigint_may_have_10000_digits_whatever_the_process_allows(self) -> None:
        largest = 10**10_000 - 1
        expected = b'"i:-' + b"9" * 10_000 + b'"'
        self.check(-largest, expected)
        with digit_limit(0):
            self.check(-largest, expected)
        with digit_limit(640):
            self.check(-largest, expected)
            self.check(10**700, b'"i:1' + b"0" * 700 + b'"')

    @mock.patch.dict(encoding._NAMES, clear=True)
    def test_only_so_many_short_keys_are_remembered(self) -> None:
        Codec().encode([{f"key {number}": number for number in range(3000)}, {"k" * 33: 1}])
        self.assertLessEqual(len(encoding._NAMES), 1000)
        self.assertNotIn("k" * 33, encoding._NAMES)
        self.assertEqual(Codec().encode([{"key 2999": 1}]), field(b'{"key 2999":"n:1"}'))


class digit_limit:  # noqa: N801 - reads as a statement
    """Another ``sys.set_int_max_str_digits`` for a while, where Python has it."""

    def __init__(self, digits: int) -> None:
        self.digits = digits

    def __enter__(self) -> None:
        self.before = sys.get_int_max_str_digits() if hasattr(sys, "get_int_max_str_digits") else None
        if self.before is not None:
            sys.set_int_max_str_digits(self.digits)

    def __exit__(self, *_: object) -> None:
        if self.before is not None:
            sys.set_int_max_str_digits(self.before)


def nest(depth: int, inner: Any = None) -> Any:
    value: Any = [] if inner is None else inner
    for _ in range(depth - 1):
        value = [value]
    return value


class RefusedValues(unittest.TestCase):
    """What cannot be sent, and what the error says of it."""

    def refused(self, values: list[Any], *texts: str, codec: Codec | None = None) -> SerializationError:
        with self.assertRaises(SerializationError) as caught:
            (codec or Codec()).encode(values)
        for text in texts:
            self.assertIn(text, str(caught.exception))
        return caught.exception

    def test_an_unknown_type_names_its_place_and_what_would_help(self) -> None:
        self.refused(
            [1, {"when": [date(2020, 1, 1)]}],
            'args[1]["when"][0]: datetime.date cannot be sent; give the codec a serializer',
        )
        self.refused([{1}], "args[0]: set cannot be sent")
        self.refused([[object]], "args[0][0]: type cannot be sent")

    def test_a_key_that_is_no_text_names_its_dict(self) -> None:
        self.refused([{"a": 1, "b": {"c": 1, 5: 1}}], 'args[0]["b"]: a dict key must be a str, not int')
        self.refused([{None: 1}], "args[0]: a dict key must be a str, not NoneType")
        self.refused([[{(1,): 1}]], "args[0][0]: a dict key must be a str, not tuple")

    def test_nested_bytes_are_refused_even_with_a_serializer(self) -> None:
        codec = Codec(serializers={"x": lambda value: "x"})
        for value in (b"a", bytearray(b"a"), memoryview(b"a")):
            self.refused(
                [{"a": [value]}],
                f'args[0]["a"][0]: {type(value).__name__} cannot be nested',
                "whole arguments",
                codec=codec,
            )

    def test_a_lone_surrogate_is_refused_wherever_it_is(self) -> None:
        for value, place in [
            ("\ud800", "args[1]"), (["a", ["\udc00"]], "args[1][1][0]"),
            ({"a": {"b": "\ud800"}}, 'args[1]["a"]["b"]'),
            ({"a\ud800": 1}, "args[1]["), ([{"\ud800": 1}], "args[1][0]["), (Shouting("\ud800"), "args[1]"),
            ("\ud83d\ude00", "args[1]"),
        ]:  # fmt: skip
            with self.subTest(place):
                self.refused([0, value], place, "lone surrogate")
        self.refused([date(2020, 1, 1)], "args[0]", "'d'", "surrogate", codec=Codec({"d": lambda value: "\ud800"}))

    def test_a_bigint_of_more_digits_than_the_codec_takes_is_refused(self) -> None:
        for limit in (1, 20, 4300, 10_000, 20_000):
            codec = Codec(max_bigint_digits=limit)
            for value in (BigInt(10**limit - 1), BigInt(1 - 10**limit)):
                self.assertEqual(codec.decode(codec.encode([[value]])), [[value]])
            for value in map(BigInt, (10**limit, -(10**limit), 10 ** (limit + 1), 1 << 1_000_000)):
                self.refused([{"a": value}], 'args[0]["a"]', f"of more than {limit} digits", codec=codec)
        with digit_limit(640):
            self.refused([10**10_000], "args[0]", "10000 digits")

    def test_nesting_as_deep_as_the_limit_is_sent_and_one_deeper_is_not(self) -> None:
        for limit in (1, 64, 200):
            codec = Codec(max_depth=limit)
            self.assertEqual(codec.decode(codec.encode([nest(limit)])), [nest(limit)])
            self.refused([nest(limit + 1)], "args[0][0]", f"deeper than max_depth={limit}", codec=codec)
        self.refused([nest(100_000)], "deeper")
        deep: dict[str, Any] = {}
        for _ in range(64):
            deep = {"a": deep}
        self.refused([deep], "deeper")

    def test_a_cycle_is_called_a_cycle(self) -> None:
        items: list[Any] = [1]
        items.append(items)
        self.refused([0, items], "args[1][1]: a cycle", "args[1]")
        table: dict[str, Any] = {}
        table["a"] = [{"b": table}]
        self.refused([table], 'args[0]["a"][0]["b"]: a cycle')

    def test_the_same_value_twice_is_no_cycle(self) -> None:
        shared = [1]
        self.assertEqual(Codec().decode(Codec().encode([[shared, shared]])), [[[1], [1]]])

    def test_a_dict_that_changes_meanwhile_is_refused(self) -> None:
        table: dict[str, Any] = {"a": date(2020, 1, 1), "b": 1}

        def serializer(value: Any) -> str:
            table["c"] = 1
            return "x"

        self.refused([[table]], "args[0][0]", "dict", "changed size", codec=Codec({"d": serializer}))

    def test_a_dict_that_changes_while_it_is_sorted_is_refused(self) -> None:
        class Changing(dict[str, Any]):
            def items(self) -> Any:
                raise RuntimeError("dictionary changed size during iteration")

        self.refused([Changing()], "args[0]", "changed size")

    def test_a_released_memoryview_is_refused(self) -> None:
        view = memoryview(b"a")
        view.release()
        self.refused([view], "args[0]: memoryview cannot be read")


class CustomTypes(unittest.TestCase):
    """Serializers and deserializers."""

    def test_a_value_comes_back_nested_and_as_an_argument(self) -> None:
        codec = Codec({"date": lambda v: v.isoformat() if isinstance(v, date) else None}, {"date": date.fromisoformat})
        values = [date(2020, 1, 2), [date(2020, 1, 2)], {"a": date(2020, 1, 2)}]
        self.assertIn(b'"date:2020-01-02"', codec.encode(values))
        self.assertEqual(codec.decode(codec.encode(values)), values)

    def test_the_text_is_always_escaped(self) -> None:
        codec = Codec({"x": lambda value: 'a"\n:'}, {"x": lambda text: text})
        self.assertEqual(codec.encode([date(2020, 1, 1)]), field(b'"x:a\\"\\n:"'))
        self.assertEqual(codec.decode(codec.encode([date(2020, 1, 1)])), ['a"\n:'])

    def test_the_first_that_answers_wins_and_known_values_are_asked_of_nobody(self) -> None:
        asked: list[str] = []

        def make(name: str, answer: str | None) -> Callable[[Any], str | None]:
            def serializer(value: Any) -> str | None:
                asked.append(name)
                return answer

            return serializer

        codec = Codec({"z": make("z", None), "y": make("y", ""), "a": make("a", "no")})
        data = codec.encode([1, "a", [None, UNDEFINED, 1.5, True, BigInt(1), {"a": ()}], {1}])
        self.assertTrue(data.endswith(field(b'"y:"')))
        self.assertEqual(asked, ["z", "y"])

    def test_a_serializer_that_fails_is_named_and_chained(self) -> None:
        problem = KeyError("x")
        codec = Codec({"bad": mock.Mock(side_effect=problem)})
        with self.assertRaisesRegex(SerializationError, r"args\[0\]\[0\]: .*'bad'.*set.*KeyError") as caught:
            codec.encode([[{1}]])
        self.assertIs(caught.exception.__cause__, problem)

    def test_a_serializer_that_returns_something_else_is_refused(self) -> None:
        for answer in (5, b"x", False):
            with self.assertRaisesRegex(SerializationError, r"args\[0\]: .*'bad' returned \w+"):
                Codec({"bad": mock.Mock(return_value=answer)}).encode([{1}])

    def test_a_deserializer_may_return_anything(self) -> None:
        for value in (None, "s:x", ["s:x"], {"a": "n:1"}, UNDEFINED):
            codec = Codec(deserializers={"x": mock.Mock(return_value=value)})
            self.assertEqual(codec.decode(field(b'"x:"') + field(b'["x:1"]')), [value, [value]])

    def test_a_deserializer_that_fails_is_malformed_and_chained(self) -> None:
        problem = ValueError("no")
        codec = Codec(deserializers={"x": mock.Mock(side_effect=problem)})
        for payload in (b'"x:1"', b'{"a":["x:1"]}'):
            with self.assertRaisesRegex(MalformedMessage, "field 1 .*'x' failed: ValueError: no") as caught:
                codec.decode(field(payload))
            self.assertIs(caught.exception.__cause__, problem)

    def test_an_interrupt_passes_through_both(self) -> None:
        stop = mock.Mock(side_effect=KeyboardInterrupt)
        with self.assertRaises(KeyboardInterrupt):
            Codec({"x": stop}).encode([{1}])
        with self.assertRaises(KeyboardInterrupt):
            Codec(deserializers={"x": stop}).decode(field(b'"x:"'))


def giving(made: Any) -> Callable[[Any], Any]:
    return lambda _: made


class Defaults(unittest.TestCase):
    """``Codec(default=...)``."""

    def refusal(self, default: Callable[[Any], Any], value: Any, **options: Any) -> str:
        with self.assertRaises(SerializationError) as raised:
            Codec(default=default, **options).encode(["first", value])
        return str(raised.exception)

    def test_what_it_returns_is_encoded_as_if_it_had_been_given(self) -> None:
        known = ("text", b"bytes", 5, 1.5, True, None, UNDEFINED, BigInt(3), [1], (1, 2), {"b": 1, "a": 2}, Word.HELLO)
        for made in known:
            with self.subTest(made=made):
                codec = Codec(default=giving(made))
                self.assertEqual(Codec().encode([made, 1]), codec.encode([object(), 1]))
                if not isinstance(made, bytes):
                    self.assertEqual(Codec().encode([[{"x": made}]]), codec.encode([[{"x": object()}]]))

    def test_what_is_nested_in_that_may_be_unknown_again(self) -> None:
        codec = Codec(default=lambda value: sorted(value) if isinstance(value, set) else [{value.real}])
        self.assertEqual(Codec().encode([[[1]], {"a": [2, 3]}]), codec.encode([1j + 1, {"a": {2, 3}}]))

    def test_it_is_asked_for_nothing_that_the_codec_or_a_serializer_knows(self) -> None:
        asked: list[Any] = []
        codec = Codec({"d": lambda value: value.isoformat() if isinstance(value, date) else None}, default=asked.append)
        codec.encode([1, "text", b"bytes", [None, UNDEFINED, {"a": 1.5}], date(2024, 2, 29), [date(2024, 2, 29)]])
        self.assertEqual([], asked)
        codec.encode([1j, [2j]])
        self.assertEqual([1j, 2j], asked)

    def test_it_may_return_what_a_serializer_knows(self) -> None:
        known = {"d": lambda value: value.isoformat() if isinstance(value, date) else None}
        codec = Codec(known, default=lambda value: date(2024, 2, 29))
        self.assertEqual(Codec(known).encode([date(2024, 2, 29)] * 2), codec.encode([1j, 2j]))
        self.assertEqual(Codec(known).encode([[date(2024, 2, 29)]]), codec.encode([[1j]]))

    def test_itself_or_another_unknown_value_is_refused_where_it_is(self) -> None:
        text = 'args[1]["a"][0]: complex cannot be sent; the codec\'s default returned itself for it'
        self.assertEqual(text, self.refusal(lambda value: value, {"a": [1j]}))
        text = "args[1]: complex cannot be sent; the codec's default returned set for it"
        self.assertEqual(text, self.refusal(lambda value: set(), 1j))

    def test_nested_bytes_are_refused_from_it_too(self) -> None:
        text = "args[1][0]: bytes cannot be nested; bytes travel only as whole arguments"
        self.assertEqual(text, self.refusal(lambda value: b"bytes", [1j]))

    def test_one_that_fails_is_chained(self) -> None:
        def fail(_: Any) -> Any:
            raise LookupError("no")

        with self.assertRaises(SerializationError) as raised:
            Codec(default=fail).encode([[1j]])
        self.assertEqual("args[0][0]: the codec's default failed on complex: LookupError: no", str(raised.exception))
        self.assertIsInstance(raised.exception.__cause__, LookupError)

    def test_one_without_end_is_nested_too_deep(self) -> None:
        for options in ({}, {"max_depth": 200}):
            for default in (lambda value: [value], lambda value: {"a": value}):
                with self.subTest(**options):
                    limit = options.get("max_depth", 64)
                    self.assertIn(f"]: nested deeper than max_depth={limit}", self.refusal(default, 1j, **options))

    def test_a_lone_surrogate_in_what_it_returns_is_refused(self) -> None:
        for made in ("\ud800", ["\ud800"]):
            self.assertIn("a str with a lone surrogate cannot be sent", self.refusal(giving(made), 1j))

    def test_it_must_be_callable_with_a_value_and_goes_along_with_a_copy(self) -> None:
        wrong: Any
        for wrong in (5, "f", lambda: None):
            with self.assertRaisesRegex(TypeError, "^default "):
                Codec(default=wrong)
        other = pickle.loads(pickle.dumps(Codec(default=abs)))
        self.assertEqual(Codec().encode([5.0]), other.encode([3 + 4j]))


class Options(unittest.TestCase):
    """What a codec may be made of."""

    def test_wrong_tags_and_functions_name_the_option(self) -> None:
        for option in ("serializers", "deserializers"):
            for tag in ("s", "n", "u", "l", "b", "i", "", ":", "a:b"):
                with self.assertRaisesRegex(ValueError, f"^{option}: "):
                    Codec(**{option: {tag: str}})  # type: ignore[arg-type]
            for wrong in ({5: str}, {"a": "b"}, [("a", str)]):
                with self.assertRaisesRegex(TypeError, f"^{option}"):
                    Codec(**{option: wrong})  # type: ignore[arg-type]

    def test_other_wrong_options_are_named(self) -> None:
        for depth in (0, -1, 201):
            with self.assertRaisesRegex(ValueError, "max_depth"):
                Codec(max_depth=depth)
        for digits in (0, -1, 1_000_001):
            with self.assertRaisesRegex(ValueError, "max_bigint_digits"):
                Codec(max_bigint_digits=digits)
        wrong: Any
        for option, wrong in [
            *[("max_depth", 1.5), ("max_depth", True), ("max_depth", None)],
            *[("sort_props", 1), ("max_bigint_digits", 1e4)],
        ]:
            with self.assertRaisesRegex(TypeError, option):
                Codec(**{option: wrong})

    def test_a_codec_does_not_change(self) -> None:
        functions: dict[str, Callable[[str], Any]] = {"x": str}
        codec = Codec(deserializers=functions)
        functions.clear()
        self.assertEqual(codec.decode(field(b'"x:1"')), ["1"])
        for name in ("_max_depth", "other"):
            with self.assertRaises(AttributeError):
                setattr(codec, name, 5)
        with self.assertRaises(AttributeError):
            del codec._max_depth


class SpecialValues(unittest.TestCase):
    """``UNDEFINED`` and ``BigInt``."""

    def test_undefined_is_one_and_falsy_however_it_is_copied(self) -> None:
        self.assertFalse(UNDEFINED)
        self.assertEqual(repr(UNDEFINED), "UNDEFINED")
        copies = [copy.copy(UNDEFINED), copy.deepcopy([UNDEFINED])[0], UndefinedType()]
        copies += [pickle.loads(pickle.dumps(UNDEFINED, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
        for other in copies:
            self.assertIs(other, UNDEFINED)

    def test_undefined_has_no_subclass(self) -> None:
        with self.assertRaises(TypeError):
            type("Sub", (UndefinedType,), {})

    def test_a_bigint_is_an_int_with_a_repr_of_its_own(self) -> None:
        self.assertEqual(BigInt(5), 5)
        self.assertEqual((repr(BigInt(5)), str(BigInt(5)), f"{BigInt(5)}"), ("BigInt(5)", "5", "5"))
        self.assertTrue(same(pickle.loads(pickle.dumps(BigInt(5))), BigInt(5)))


class Decoding(unittest.TestCase):
    """Bytes to values."""

    def check(self, payload: bytes, expected: Any) -> None:
        for data, values in [(field(payload), [expected]), (field(b" [ " + payload + b" ] "), [[expected]])]:
            decoded = Codec().decode(data)
            self.assertTrue(same(decoded, values), (data, decoded))

    def test_numbers(self) -> None:
        for text, value in [
            ("5", 5), ("-5", -5), ("-0", 0), ("007", 7), ("9007199254740991", 2**53 - 1),
            ("-9007199254740991", 1 - 2**53),
            ("9007199254740992", 9007199254740992.0), ("1.0", 1.0), ("1e3", 1000.0), ("1e+3", 1000.0),
            ("1.5e-3", 0.0015),
            ("NaN", float("nan")), ("Infinity", float("inf")), ("-Infinity", float("-inf")), ("1e999", float("inf")),
            ("0" * 100 + "5", 5), ("1" + "0" * 400, float("inf")), ("-1.5", -1.5), ("999", 999), ("1000", 1000),
        ]:  # fmt: skip
            with self.subTest(text):
                self.check(f'"n:{text}"'.encode(), value)

    def test_bare_json_scalars_are_taken_as_they_are(self) -> None:
        for payload, value in [
            (b"5", 5), (b"-0", 0), (b"1.5", 1.5), (b"1E5", 1e5), (b"9007199254740993", 9007199254740992.0),
            (b"true", True),
            (b"false", False), (b"null", None), (b"1e400", float("inf")),
        ]:  # fmt: skip
            with self.subTest(payload):
                self.check(payload, value)

    def test_the_other_tags(self) -> None:
        for payload, value in [
            (b'"s:"', ""), (b'"s:a:b"', "a:b"), (b'"i:5"', BigInt(5)), (b'"i:-007"', BigInt(-7)),
            (b'"b:1"', True), (b'"b:"', False),
            (b'"b:true"', False), (b'"l:"', None), (b'"u:"', UNDEFINED), (b'"\\u0073:x"', "x"),
            (b'{"":"n:1"}', {"": 1}),
        ]:  # fmt: skip
            with self.subTest(payload):
                self.check(payload, value)

    def test_keys_are_plain_texts_and_the_last_of_equals_wins(self) -> None:
        self.check(b'{"n:1":"n:1","__proto__":"n:2","a":[],"a":"n:3"}', {"n:1": 1, "__proto__": 2, "a": 3})

    def test_lone_surrogate_escapes_turn_into_the_replacement_character(self) -> None:
        for text, value in [
            (r"\ud800", "\ufffd"), (r"\uDFFF", "\ufffd"), (r"\ud83d\ude00", "😀"), (r"\uD83D\uDE00", "😀"),
            (r"\ud83d\ud83d\ude00", "\ufffd😀"),
            (r"\ude00\ud83d", "\ufffd\ufffd"), (r"\\ud800", "\\ud800"), (r"\\\ud800", "\\\ufffd"),
            (r"\ud800\\udc00", "\ufffd\\udc00"),
            (r"\"\ud800\"", '"\ufffd"'), (r"\ud7ff\ue000", "\ud7ff\ue000"),
        ]:  # fmt: skip
            with self.subTest(text):
                self.check(f'"s:{text}"'.encode(), value)
        self.check(rb'{"\ud800":"n:1","\udc00":"n:2"}', {"\ufffd": 2})

    def test_a_byte_order_mark_is_part_of_a_text(self) -> None:
        self.assertEqual(Codec().decode("4f\0\ufeffx\0".encode()), ["\ufeffx"])

    def test_the_last_field_may_lack_its_closing_zero(self) -> None:
        self.assertEqual(Codec().decode(b'4f\0test\x005j\0"n:1"'), ["test", 1])

    def test_a_length_may_have_leading_zeros_up_to_ten_digits(self) -> None:
        self.assertEqual(Codec().decode(b"0000000001f\0a\0"), ["a"])

    def test_other_buffers_are_taken_too(self) -> None:
        for kind in (bytearray, memoryview):
            self.assertEqual(Codec().decode(kind(b"1f\0a\0")), ["a"])  # type: ignore[arg-type]

    def test_a_bigint_of_10000_digits_is_read_whatever_the_process_allows(self) -> None:
        data = field(b'"i:-' + b"9" * 10_000 + b'"')
        expected = BigInt(1 - 10**10_000)
        for digits in (0, 640, 4300):
            with digit_limit(digits):
                (value,) = Codec().decode(data)
            self.assertEqual((value, type(value)), (expected, BigInt))

    def test_the_limit_of_the_process_stays_as_it_is_and_spoils_no_log(self) -> None:
        with digit_limit(640):
            (value,) = Codec().decode(field(b'"i:' + b"9" * 10_000 + b'"'))
            self.assertIn("BigInt", repr([value]))
            if hasattr(sys, "get_int_max_str_digits"):
                self.assertEqual(sys.get_int_max_str_digits(), 640)

    def test_a_bigint_of_more_digits_than_the_codec_takes_is_malformed(self) -> None:
        for limit in (1, 20, 4300, 10_000):
            codec = Codec(max_bigint_digits=limit)
            for sign in (b"", b"-"):
                text = sign + b"7" * limit
                for payload in (b'"i:%b"', b'["s:",{"a":"i:%b"}]'):
                    codec.decode(field(payload % text))
                    with self.assertRaisesRegex(MalformedMessage, f"no bigint of at most {limit} digits"):
                        codec.decode(field(payload % (text + b"7")))
            with self.assertRaisesRegex(MalformedMessage, f"no bigint of at most {limit} digits"):
                codec.decode(field(b'"i:%b"' % (b"0" * limit + b"1")))

    @settings(deadline=None)
    @given(st.data())
    def test_values_come_back_as_they_were(self, data: st.DataObject) -> None:
        texts = st.text(st.characters(exclude_categories=["Cs"]))
        scalars = st.one_of(
            texts, st.integers(1 - 2**53, 2**53 - 1), st.integers().map(BigInt), st.booleans(), st.none(),
            st.just(UNDEFINED),
            st.floats().filter(lambda value: not value.is_integer()),
        )  # fmt: skip
        nested = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=20)
        values = data.draw(st.lists(nested | st.binary(), min_size=1))
        self.assertTrue(same(Codec().decode(Codec().encode(values)), values))

    @settings(deadline=None)
    @given(
        st.binary()
        | st.lists(st.tuples(st.sampled_from([b"f", b"t", b"j"]), st.binary())).map(
            lambda fs: b"".join(field(p, m) for m, p in fs)
        )
    )
    def test_any_bytes_are_values_or_malformed_and_never_trouble_the_peek(self, data: bytes) -> None:
        peek_reply_to(data)
        try:
            Codec().decode(data)
        except MalformedMessage:
            pass

    @settings(deadline=None)
    @given(st.data())
    def test_fields_that_are_cut_in_one_go_are_those_that_are_cut_one_by_one(self, data: st.DataObject) -> None:
        marked = st.tuples(
            st.sampled_from([b"f", b"t", b"j"]), st.sampled_from([b'"n:12"', b"[]", b"a\0b", b"\xff", b""])
        )
        fields = data.draw(st.lists(marked, min_size=1, max_size=12))
        filler = field(b"x" * data.draw(st.integers(0, 520)), b"t")  # so that the rest lies about the 512th byte
        message = filler + b"".join(field(payload, mark) for mark, payload in fields)
        at = data.draw(st.integers(0, len(message)))
        for changed in (message, message[:at], message[:at] + b"\0" + message[at:], message[:at] + message[at + 1 :]):
            with mock.patch.object(decoding, "_SHORT", 0):
                one_by_one = decode_or_refuse(changed)
            self.assertEqual(decode_or_refuse(changed), one_by_one)


def decode_or_refuse(data: bytes) -> Any:
    """The values, or the text of the refusal."""
    try:
        return Codec().decode(data)
    except MalformedMessage as error:
        return str(error)


class MalformedInput(unittest.TestCase):
    """Section 2 of the protocol: refused, always by the one error, which says where."""

    def refused(self, data: bytes, text: str = "") -> None:
        with self.assertRaises(MalformedMessage) as caught:
            Codec().decode(data)
        self.assertIn(text, str(caught.exception))

    def test_framing(self) -> None:
        for data, text in [
            (b"", "empty"), (b"4ftest", "no 0x00"), (b"\0", "no length"), (b"f\0test\0", "no length"),
            (b"4\0test\0", "no length"), (b"4x\0test\0", "mark"),
            (b"4F\0test\0", "mark"), (b"+4f\0test\0", "no length"), (b"-1f\0\0", "no length"),
            (b" 4f\0test\0", "no length"), (b"4 f\0test\0", "no length"),
            (b"4_0f\0" + b"a" * 40 + b"\0", "no length"), (b"0x4f\0test\0", "no length"),
            (b"1e1f\0aaaaaaaaaa\0", "no length"), (b"4.0f\0test\0", "no length"),
            ("٤f\0test\0".encode(), "no length"), (b"00000000004f\0test\0", "no 0x00"),
            (b"5f\0test", "length of 5 bytes where 4"), (b"6f\0test\0", "length"),
            (b"9999999999f\0test\0", "length"), (b"4f\0testx", "no 0x00 after the payload"),
            (b"3f\0test\0", "no 0x00 after"), (b"4f\0test\0\0", "field 2 at byte 8"),
            (b"4f\0test\0x", "field 2"), (b"4f\0test\x005", "field 2"), (b"4f\0test\x004f", "field 2"),
            (b"0f", "no 0x00"), (b"0fX", "no 0x00"),
        ]:  # fmt: skip
            with self.subTest(data):
                self.refused(data, text)

    def test_utf8(self) -> None:
        for payload in (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc3"):
            self.refused(field(payload, b"f"), "field 1 at byte 0: invalid UTF-8")
            self.refused(field(b'"s:' + payload + b'"'), "invalid UTF-8")

    def test_json(self) -> None:
        for payload in [
            b"", b" ", b"[", b"{", b'{"a"}', b'["n:1",]', b'{"a":"n:1",}', b"[1 2]", b"1 2", b"NaN",
            b"[Infinity]", b"-Infinity", b"'s:a'", b"01", b"+1", b".5",
            b"1.", b"1e", b"0x1", b'"s:\x01"', b'"s:\n"', b'"s:\\x"', b'"s:\\u12"', b'"s:\\ud8"',
            b'"s:\\ud8zz"', b'"s:', b"tru", b"True", b"\xef\xbb\xbf5",
            b"\x0b5", b"\xc2\xa05", b"undefined", b"[1]]", b"//\n5", b'{5:"n:1"}', b"\xd9\xa5", b"1_0",
            b'"s:a" "s:b"', b'"s:\\U00000041"',
        ]:  # fmt: skip
            with self.subTest(payload):
                self.refused(field(payload), "field 1 at byte 0: invalid JSON")

    def test_tags_and_grammars(self) -> None:
        for text in [
            "", "untagged", "x:1", ":", ":x", "S:a", "l:x", "u:x", "n:", "n:+5", "n: 5", "n:5 ", "n:1_0",
            "n:5.", "n:.5", "n:1e", "n:1E5", "n:0x10", "n:٣", "n:²",
            "n:--5", "n:nan", "n:inf", "n:infinity", "n:+Infinity", "n:5\\n", "n:1.٣", "n:1..5", "n:.", "n:-",
            "i:", "i:-", "i:+5", "i:5.0", "i:1e5", "i: 5",
            "i:1_0", "i:0x5", "i:٣", "i:5\\n", "i:" + "1" * 10_001, "i:-" + "1" * 10_001, "i:--5", "date:x", "nn:5",
        ]:  # fmt: skip
            with self.subTest(text[:20]):
                payload = f'"{text}"'.encode()
                self.refused(field(payload), "field 1")
                self.refused(field(b'{"a":[' + payload + b"]}"), "field 1")

    def test_the_error_says_which_field_and_where(self) -> None:
        self.refused(b'4f\0test\x003j\0"x"\0', "field 2 at byte 8: a string without a tag, 1 long")

    def test_depth(self) -> None:
        self.assertEqual(Codec().decode(field(b"[" * 64 + b"]" * 64)), [nest(64)])
        self.assertEqual(len(Codec().decode(field(b"[" + b",".join([b'["s:]]][[["]'] * 100) + b"]"))[0]), 100)
        for payload in [
            b"[" * 65 + b"]" * 65, b'{"":' * 65 + b"5" + b"}" * 65, b'["s:]",' * 65 + b"5" + b"]" * 65,
            b'["s:\\"]",' * 65 + b"5" + b"]" * 65,
            b'["s:\\\\",' * 65 + b"5" + b"]" * 65, b"[]," * 50 + b"[" * 70,
            b"[" + b"[]," * 100 + b"[" * 64 + b"]" * 65,
        ]:  # fmt: skip
            self.refused(field(payload))
        self.refused(field(b"[" * 65), "deeper than max_depth=64")

    def test_a_nearly_full_stack_of_the_caller_is_no_other_error(self) -> None:
        def dive(left: int) -> None:
            if left:
                dive(left - 1)
            else:
                try:
                    Codec().decode(data)
                except MalformedMessage:
                    pass

        data = field(b"[" * 64 + b"]" * 64)
        used = len(list(iter_frames()))
        for spare in range(25, 120, 5):
            dive(sys.getrecursionlimit() - used - spare)


def iter_frames() -> Any:
    frame = sys._getframe()
    while frame is not None:
        yield frame
        frame = frame.f_back  # type: ignore[assignment]


@allow_seconds(300)  # at the lowest priority, beside other tests
class Cost(unittest.TestCase):
    """Hostile messages: in linear time, so that 4 MiB of each come to an end here, and in 32 times their size."""

    def attempt(self, data: bytes) -> str:
        try:
            Codec().decode(data)
        except MalformedMessage as error:
            self.assertLess(len(str(error)), 300)
            return str(error)
        return ""

    def test_four_mebibytes_of_anything_come_to_an_end(self) -> None:
        size = 4 * MEBIBYTE
        for payload in [
            b"[" * size, b'"' * size, b"\\" * size, b'"s:' + b"\\" * size + b'"', b'"n:' + b"1" * size + b'"',
            b'"n:' + b"0" * size + b'"',
            b'"n:' + b"1" * size + b'x"', b'"n:1.' + b"1" * size + b'x"', b'"n:1e' + b"1" * size + b'"',
            b'"i:' + b"1" * size + b'"', b"1" * size, b" " * size,
            b"1." + b"1" * size, b'"s:' + b"\\ud800" * (size // 6) + b'"', b'"s:' + b"\\ud83d" * (size // 6),
            b"[" * 100 + b'"\\\\"' * (size // 4), b"x" * size,
            b"[1" + b" " * size, b'"' + b":" * size + b'"', b'"x' * (size // 2), b"[" + b"{}," * (size // 3),
            b"[" * 60 + b"1," * (size // 2),
        ]:  # fmt: skip
            with self.subTest(payload[:10]):
                self.attempt(field(payload))
        for data in (
            b"0" * size,
            b"0f\0\0" * (size // 4),
            b"\0" * size,
            b"1j\0" * (size // 3),
            b"9999999999f\0" * (size // 12),
        ):
            with self.subTest(data[:10]):
                self.attempt(data)

    def assert_bounded(self, data: bytes) -> str:
        tracemalloc.start()
        try:
            reason = self.attempt(data)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        # Before 3.11 a dict of one item takes 232 bytes instead of 184, but what is refused is the same everywhere.
        self.assertLess(peak / len(data), 32 if sys.version_info >= (3, 11) else 42)
        return reason

    def test_memory_stays_under_32_times_the_message(self) -> None:
        emoji = '"s:😀"'.encode()
        for item in [
            b"[]", b"{}", b"5", b"999", b"1e1", b'{"":5}', b'"l:"', b'"s:"', b'"s:ab"', b'"n:1.5"', b'"i:1"',
            b"[5]", b"[5,5]", b"[[]]", b"[[5]]", b"[{}]",
            b'{"ab":{"Ab":' * 31 + b"5" + b"}}" * 31, '{"ā":{}}'.encode(),
            b'{"":[]}', b'{"":{}}', b'{"":"l:"}', b'["l:"]', b'[{"":5}]', b"[" * 62 + b"]" * 62,
            b'{"":' * 62 + b"5" + b"}" * 62, '"s:é"'.encode(), emoji, b'"ab',
        ]:  # fmt: skip
            for first in (b"5", emoji):
                with self.subTest(item[:12], first=first):
                    count = SAMPLE // (len(item) + 1)
                    self.assert_bounded(field(b"[" + b",".join([first] + [item] * count) + b"]"))

    def test_memory_stays_bounded_over_many_fields(self) -> None:
        for one in [
            b"0f\0\0", b"0t\0\0", b"2f\0ab\0", field(b"5"), field(b"[]"), field(b"{}"), field(b"[5]"),
            field(b'"n:1.5"'), field(b"[" * 64 + b"]" * 64),
            field(b'{"":' * 60 + b"5" + b"}" * 60),
        ]:  # fmt: skip
            with self.subTest(one[:12]):
                self.assert_bounded(one * (SAMPLE // len(one)))

    def test_memory_stays_bounded_with_many_keys_and_long_texts(self) -> None:
        for payload in [
            b"{" + b",".join(b'"%05x":5' % index for index in range(SAMPLE // 10)) + b"}",
            b'"s:' + "😀".encode() * (SAMPLE // 4) + b'"',
            b'"s:' + b"\\ud800" * (SAMPLE // 6) + b'"', b'"s:' + b"\\\\" * (SAMPLE // 2) + b'"',
            b"[" * 100 + b'ab"' * (SAMPLE // 3),
        ]:  # fmt: skip
            with self.subTest(payload[:12]):
                self.assert_bounded(field(payload))

    def test_messages_of_ordinary_values_are_never_refused_for_their_memory(self) -> None:
        values: list[Any] = [[1], {"a": 1}, {"ab": None}, [[1, 2]], [[1.5]], {"a": {"b": True}}, [[["a"]]], [], {}]
        values += [{"a": []}, {"a": {}}]
        for value in values:
            with self.subTest(value=value):
                self.assertEqual(self.assert_bounded(Codec().encode([[value] * 10_000])), "")

    def test_long_texts_of_brackets_are_no_nesting(self) -> None:
        text = "[{" * MEBIBYTE
        self.assertEqual(Codec().decode(Codec().encode([text, [text]])), [text, [text]])


class Peek(unittest.TestCase):
    """The reply-to of an event, read without the rest."""

    def test_a_reply_to_is_found(self) -> None:
        codec = Codec()
        for reply_to in (1, 9, 10, 12345, 2**53 - 1):
            self.assertEqual(
                peek_reply_to(codec._encode_event("zażółć", 5, reply_to, codec.encode([{"a": 1}]))), reply_to
            )
            self.assertEqual(peek_reply_to(codec._encode_event("e" * 1000, 5, reply_to, b"")), reply_to)

    def test_other_forms_of_the_number_count_too(self) -> None:
        for payload in (b"7", b" 7 ", b'"n:007"', b' "n:7"', b'"\\u006e:7"'):
            self.assertEqual(peek_reply_to(b"1f\0e\0" + field(b'"n:1"') + field(payload)), 7)
        self.assertEqual(peek_reply_to(b"1f\0e\0" + field(b'"n:1"') + b'5j\0"n:7"'), 7)

    def test_no_reply_to_is_none(self) -> None:
        codec = Codec()
        for data in [
            b"", b"\0", b"x", b"1f\0e\0", codec.encode(["e", 1]), codec.encode(["e", 1, None]),
            codec.encode(["e", 1, 0]), codec.encode(["e", 1, -1]),
            codec.encode(["e", 1, 1.5]), codec.encode(["e", 1, "1"]), codec.encode(["e", 1, b"1"]),
            codec.encode(["e", 1, True]), codec.encode(["e", 1, BigInt(1)]),
            codec.encode(["e", 1, [1]]), b"1f\0e\0" + field(b'"n:1"') + field(b'"x:1"'),
            b"1f\0e\0" + field(b'"n:1"') + field(b"[" * 60),
            b"1f\0e\0" + field(b'"n:1"') + field(b'"n:' + b"0" * 64 + b'1"'),
            b"1f\0e\0" + field(b'"n:1"') + b'6j\0"n:1"',
            b"1f\0e\0" + field(b'"n:1"') + b"5j\0\xff\xff\xff\xff\xff\0",
            b'1f\0ee5j\0"n:1"\x005j\0"n:1"\0', b"1f\0e\0" + field(b'"n:1"') + b'5j\0"n:1"x',
        ]:  # fmt: skip
            with self.subTest(data):
                self.assertIsNone(peek_reply_to(data))

    def test_no_custom_code_runs(self) -> None:
        data = Codec({"d": lambda value: "x"}).encode(["e", 1, {1}])
        self.assertIsNone(peek_reply_to(data))

    def test_no_prefix_of_a_message_troubles_it(self) -> None:
        data = Codec().encode(["event", 1, 2, "x"])
        self.assertEqual([peek_reply_to(data[:end]) for end in (len(data), data.index(b"1f\0x"))], [2, 2])
        for end in range(len(data)):
            self.assertIn(peek_reply_to(data[:end]), (None, 2))


if __name__ == "__main__":
    unittest.main()
