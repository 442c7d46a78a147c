"""Values as JSON: nothing is lost on the way there and back."""

import json
import math
import unittest
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from ezez_ws import UNDEFINED, BigInt, Codec
from ezez_ws.cli.outcome import UsageError
from ezez_ws.cli.values import read_argument, read_words, write_arguments, write_json

MAY_RUN_BESIDE = True

NUMBERS = st.floats() | st.integers(-(2**53) + 1, 2**53 - 1)
SCALARS = st.none() | st.booleans() | NUMBERS | st.text() | st.integers().map(BigInt) | st.just(UNDEFINED)
NESTED = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["$bytes", "$$bytes", "$"]), inner),
)
ARGUMENTS = NESTED | st.binary()


def travelled(values: Any) -> Any:
    """The values as they arrive at the other end: what the protocol makes equal is equal now."""
    codec = Codec()
    return codec.decode(codec.encode(values)) if values else []


def sendable(value: Any) -> bool:
    try:
        Codec().encode([value])
    except ValueError:
        return False
    return True


class WritingTest(unittest.TestCase):
    @given(ARGUMENTS.filter(sendable))
    @example({"$bytes": 1})
    @example({"$$bytes": {"$": [{"$undefined": True}]}})
    @example([BigInt(5), 5, math.nan, UNDEFINED])
    def test_what_is_written_is_read_as_what_it_was(self, value: Any) -> None:
        (arrived,) = travelled([value])
        self.assertEqual(repr(arrived), repr(read_argument(json_of(arrived))))

    @given(st.text(min_size=1).filter(sendable), st.lists(ARGUMENTS.filter(sendable), max_size=3))
    @example("/quit", [])
    @example("5", ["two words"])
    def test_an_event_is_written_as_one_types_it(self, event: str, args: Any) -> None:
        arrived = travelled(args)
        self.assertEqual(repr([event, *arrived]), repr(read_words(write_arguments(event, arrived))))

    @given(st.text().filter(sendable))
    @example("\x1b[31m\x9b\u202e\U000e0001")
    def test_nothing_that_a_terminal_obeys_is_written(self, text: str) -> None:
        self.assertTrue(write_json([text]).isprintable())

    def test_values_that_json_lacks_have_a_form_of_their_own(self) -> None:
        for value, text in (
            (b"hi", '{"$bytes": "aGk="}'),
            (BigInt(12), '{"$bigint": "12"}'),
            (UNDEFINED, '{"$undefined": true}'),
            (math.nan, '{"$number": "NaN"}'),
            (-math.inf, '{"$number": "-Infinity"}'),
            ({"$bytes": 1}, '{"$$bytes": 1}'),
            ({"$bytes": 1, "more": 2}, '{"$bytes": 1, "more": 2}'),
        ):
            with self.subTest(text):
                self.assertEqual(text, write_json(value))


def json_of(value: Any) -> str:
    text = write_json(value)
    json.loads(text, parse_constant=lambda name: NotImplemented)
    return text


class ReadingTest(unittest.TestCase):
    def test_an_argument_is_json_where_it_is_json_and_a_text_else(self) -> None:
        for text, value in (
            ("5", 5),
            ('"5"', "5"),
            ("five", "five"),
            ("01", "01"),
            ("", ""),
            ("NaN", "NaN"),
            ('{"a": [null, true]}', {"a": [None, True]}),
            ('{"$other": 1}', {"$other": 1}),
        ):
            with self.subTest(text[:20]):
                self.assertEqual(value, read_argument(text))

    def test_what_cannot_be_a_value_is_refused(self) -> None:
        for text in (
            "{",
            '{"a":',
            "{a: 1}",
            " [1, 2",
            "[1] 2",
            '"open',
            "[NaN]",
            "[" * 100_000,
            '{"$bytes": 5}',
            '{"$bytes": "?"}',
            '{"$bigint": "1_0"}',
            '{"$bigint": 1}',
            '{"$number": "one"}',
            '{"$undefined": false}',
            "9" * 10_001,
        ):
            with self.subTest(text[:20]), self.assertRaises(UsageError):
                read_argument(text)

    def test_a_line_is_words_and_json_with_blanks(self) -> None:
        self.assertEqual(
            ["say", "hello", "two words", 5, {"a": [1, 2]}, "5x", "NaN"],
            read_words(' say hello "two words" 5 {"a": [1, 2]} 5x NaN '),
        )
        self.assertEqual([], read_words("  "))

    def test_a_word_that_begins_like_json_must_be_json(self) -> None:
        for line in ('say {"a": 1', 'say "open', "say [1,", 'say "a"b'):
            with self.subTest(line), self.assertRaisesRegex(UsageError, "column 5"):
                read_words(line)


if __name__ == "__main__":
    unittest.main()
