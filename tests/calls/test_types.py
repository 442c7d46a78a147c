"""One annotation: what it reads from the wire, what it writes to it, what it refuses, and its JSON schema."""

import enum
import subprocess
import sys
import typing
import unittest
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, NewType
from unittest import mock
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field
from typing_extensions import NotRequired, TypeAliasType, TypedDict

from ezez_ws import UNDEFINED, BigInt, Codec
from ezez_ws.calls.types import Type, Unfit
from tests.calls.schemas import accepts
from tests.support import REPO, EZEZTestCase

MAY_RUN_BESIDE = True

LAZY = """
import sys
import ezez_ws
print([name for name in sys.modules if name.startswith("pydantic")])
from ezez_ws.calls.parameters import Parameters
Parameters(lambda client, a, *rest: None, 1, None)
def annotated(client, a: int): ...
Parameters(annotated, 1, False)
print([name for name in sys.modules if name.startswith("pydantic")])
Parameters(annotated, 1, None)
print("pydantic" in sys.modules)
"""

UserId = NewType("UserId", int)
Nest = TypeAliasType("Nest", "list[Nest]")


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Point:
    x: int
    y: float = 2.0


@dataclass(frozen=True)
class Order:
    number: int
    serial: BigInt
    notes: Any = None
    points: list[Point] = field(default_factory=list)


class Row(NamedTuple):
    key: int
    text: str = "none"


class Day(TypedDict):
    when: date
    count: NotRequired[int]


class User(BaseModel):
    name: str = Field(alias="userName")
    tags: tuple[str, ...] = ()


class Tree(BaseModel):
    kids: list["Tree"] = []


class Matrix:
    """What no schema is known of."""


def nested(depth: int, name: str = "") -> Any:
    """Return lists in each other, or dicts with lists by this name."""
    value: Any = {name: []} if name else []
    for _ in range(depth):
        value = {name: [value]} if name else [value]
    return value


class TypeCase(EZEZTestCase):
    def reads(self, annotation: Any, *pairs: tuple[Any, Any], strict: bool = True) -> None:
        """Check what comes of each value, and of which type that is."""
        kind = Type(annotation, "it", strict)
        for value, expected in pairs:
            with self.subTest(annotation=annotation, value=value):
                read = kind.read(value)
                self.assertEqual((expected, type(expected)), (read, type(read)))

    def refuses(self, annotation: Any, *values: Any, strict: bool = True) -> None:
        kind = Type(annotation, "it", strict)
        for value in values:
            with self.subTest(annotation=annotation, value=value), self.assertRaises(Unfit):
                self.fail(f"read as {kind.read(value)!r}")

    def problems(self, annotation: Any, value: Any) -> list[tuple[Any, Any]]:
        with self.assertRaises(Unfit) as raised:
            Type(annotation, "it").read(value)
        return [(problem["loc"], problem["type"]) for problem in raised.exception.problems]


class ReadingTest(TypeCase):
    def test_what_plainly_fits_is_taken_as_the_object_that_it_is(self) -> None:
        for annotation, value in (
            (int, 5),
            (int, BigInt(5)),
            (BigInt, BigInt(5)),
            (str, "text"),
            (float, 1.5),
            (bool, True),
            (None, None),
            (bytes, b"bytes"),
            (Any, UNDEFINED),
            (object, {1}),
            (UserId, 5),
            (int | None, None),
            (typing.Union[str, None], "text"),  # noqa: UP007
            (int | str | bytes, b"bytes"),
            (list, [UNDEFINED]),
            (dict, {"a": {1}}),
            (list[int], [1, BigInt(2)]),
            (list[Any], [UNDEFINED, b"bytes"]),
            (dict[str, list[str]], {"a": ["b"]}),
            (dict[str, Any], {"a": UNDEFINED}),
            (list[int] | None, [1]),
        ):
            with self.subTest(annotation=annotation):
                kind = Type(annotation, "it")
                self.assertIs(value, kind.read(value))
                self.assertIs(value, kind.write(value))

    def test_texts_and_bools_are_no_numbers_and_numbers_no_texts(self) -> None:
        self.refuses(int, "2", True, 1.0, 1.5, None, b"2", [1], {}, UNDEFINED, float("inf"))
        self.refuses(float, "2", True, None, b"2", [1], {}, UNDEFINED)
        self.refuses(bool, "true", 1, 0, None)
        self.refuses(str, 1, True, None, b"text", ["t"], date(2024, 2, 29))
        self.refuses(Decimal, True, "two", None)
        self.refuses(None, 0, False, UNDEFINED)
        self.refuses(UserId, "2")
        self.refuses(list[int], [True], ["2"], [1, None], {"0": 1}, 1)
        self.refuses(dict[str, int], {"a": "1"}, [1])
        self.refuses(int | str, True, 1.5, None)

    def test_the_old_names_of_generics_mean_the_same(self) -> None:
        self.reads(typing.List, ([1, "a"], [1, "a"]))  # noqa: UP006
        self.reads(typing.Dict, ({"a": 1}, {"a": 1}))  # noqa: UP006
        self.reads(typing.List[int], ([1], [1]))  # noqa: UP006
        self.reads(typing.Tuple[int, ...], ([1], (1,)))  # noqa: UP006
        self.refuses(typing.List[int], ["a"])  # noqa: UP006
        self.refuses(typing.Dict, [1])  # noqa: UP006

    def test_a_whole_number_is_a_float_where_one_is_asked_for(self) -> None:
        self.reads(float, (1, 1.0), (0, 0.0), (-5, -5.0))
        self.reads(float | None, (1, 1.0))
        self.reads(int | float, (1, 1), (1.5, 1.5))
        self.reads(list[float], ([1, 2.5], [1.0, 2.5]))
        self.assertEqual([float, float], [type(item) for item in Type(list[float], "it").read([1, 2.5])])

    def test_a_bigint_is_a_float_only_where_that_can_hold_it(self) -> None:
        self.reads(float, (BigInt(2**60), 2.0**60), (BigInt(5), 5.0))
        self.refuses(float, BigInt(2**60 + 1), BigInt(10**400))

    def test_a_float_may_be_any(self) -> None:
        self.reads(Annotated[float, "of any size"], (float("inf"), float("inf")), (-0.0, -0.0), (1e300, 1e300))
        nan = Type(tuple[float], "it").read([float("nan")])[0]
        self.assertNotEqual(nan, nan)

    def test_texts_become_dates_times_uuids_and_decimals(self) -> None:
        self.reads(date, ("2024-02-29", date(2024, 2, 29)))
        self.reads(datetime, ("2024-02-29T12:00:00Z", datetime(2024, 2, 29, 12, tzinfo=timezone.utc)))
        self.assertEqual(time(12, 30), Type(time, "it").read("12:30"))
        self.reads(timedelta, ("PT1H", timedelta(hours=1)))
        self.reads(UUID, ("00000000-0000-0000-0000-000000000005", UUID(int=5)))
        self.reads(Decimal, ("4.50", Decimal("4.50")), (4.5, Decimal("4.5")), (4, Decimal(4)), (BigInt(4), Decimal(4)))
        self.reads(date | None, (None, None), ("2024-02-29", date(2024, 2, 29)))
        self.refuses(date, "29.2.2024", "2024-02-30", 5, True, "", b"2024-02-29")
        self.refuses(datetime, 5, 5.5)
        self.refuses(UUID, "5", 5)

    def test_arrays_become_tuples_sets_and_named_tuples(self) -> None:
        self.reads(tuple[int, str], ([1, "a"], (1, "a")))
        self.reads(tuple[int, ...], ([], ()), ([1, 2], (1, 2)))
        self.reads(set[int], ([1, 2, 1], {1, 2}))
        self.reads(frozenset[str], (["a"], frozenset("a")))
        self.reads(Sequence[int], ([1], [1]))
        self.reads(Row, ([1, "a"], Row(1, "a")), ([1], Row(1)))
        self.refuses(tuple[int, str], [1], [1, "a", 2], ["a", 1], "1a")
        self.refuses(Row, [], ["a"], [1, 2])

    def test_objects_become_dataclasses_models_and_typed_dicts(self) -> None:
        self.reads(Point, ({"x": 1}, Point(1)), ({"x": 1, "y": 3, "z": 5}, Point(1, 3.0)))
        self.reads(Day, ({"when": "2024-02-29"}, {"when": date(2024, 2, 29)}))
        self.reads(User, ({"userName": "a", "tags": ["b"]}, User(userName="a", tags=("b",))))
        self.reads(Mapping[str, Point], ({"a": {"x": 1}}, {"a": Point(1)}))
        self.reads(dict[int, str], ({"1": "a"}, {1: "a"}))
        self.reads(list[Point] | None, ([{"x": 1}], [Point(1)]))
        self.reads(Tree, ({"kids": [{"kids": []}]}, Tree(kids=[Tree()])))
        self.refuses(Point, {}, {"x": "1"}, {"x": True}, [1], "Point(1)")
        self.refuses(Day, {"when": 5}, {"count": 1})
        self.refuses(User, {"name": "a"}, {"userName": 5})

    def test_literals_enums_and_constraints(self) -> None:
        self.reads(Literal["a", 1, None], ("a", "a"), (1, 1), (None, None))
        self.reads(Color, ("red", Color.RED))
        self.reads(Annotated[int, Field(gt=0)], (5, 5), (BigInt(5), BigInt(5)), (BigInt(10**5000), BigInt(10**5000)))
        self.refuses(Literal["a", 1], "b", 2, None)
        self.refuses(Color, "green", "RED", 5)
        self.refuses(Annotated[int, Field(gt=0)], 0, "5", BigInt(-5), True)
        self.refuses(Annotated[str, Field(max_length=2)], "abc", 5)

    def test_bytes_are_never_made_of_texts_nor_texts_of_bytes(self) -> None:
        limited = Annotated[bytes, Field(max_length=3)]
        self.reads(limited, (b"\xff", b"\xff"))
        self.reads(bytes | date, (b"\xff", b"\xff"), ("2024-02-29", date(2024, 2, 29)))
        self.refuses(limited, "a", b"long", 5)
        self.refuses(bytes, "a", 5, None, [1])
        self.refuses(bytes | None, "a")
        self.refuses(str | None, b"a")

    def test_a_bigint_stays_one_wherever_it_is(self) -> None:
        order = Type(Order, "it").read(
            {"number": BigInt(1), "serial": BigInt(2), "notes": {"a": [BigInt(3)]}, "points": [{"x": BigInt(4)}]}
        )
        self.assertEqual(
            "Order(number=BigInt(1), serial=BigInt(2), notes={'a': [BigInt(3)]},", str(order)[:70].rpartition(" ")[0]
        )
        for annotation, value in (
            (tuple[int, str], [BigInt(1), "a"]),
            (Row, [BigInt(1), "a"]),
            (Annotated[int, "with a note"], BigInt(1)),
            (list[Tree] | list[int], [BigInt(1)]),
            (dict[str, int] | Color, {"a": BigInt(1)}),
        ):
            self.assertIn("BigInt(1)", repr(Type(annotation, "it").read(value)))

    def test_a_bigint_is_read_from_any_whole_number(self) -> None:
        self.reads(BigInt, (5, BigInt(5)), (BigInt(5), BigInt(5)))
        self.reads(BigInt | None, (5, BigInt(5)), (None, None))
        self.refuses(BigInt, 5.0, "5", True)

    def test_what_a_deserializer_has_made_is_taken_as_it_is_also_inside(self) -> None:
        day = date(2024, 2, 29)
        self.reads(date, (day, day))
        self.reads(list[date], ([day, day], [day, day]), ([day, "2024-02-29"], [day, day]))
        self.reads(Day, ({"when": day}, {"when": day}))
        self.refuses(list[str], [day])
        self.refuses(Point, {"x": {1}}, {"x": Matrix()})
        self.refuses(list[date], [b"2024-02-29"])

    def test_an_undefined_property_is_none_and_an_undefined_item_is_null(self) -> None:
        self.reads(Point, ({"x": 1, "y": UNDEFINED}, Point(1)))
        self.reads(tuple[int | None, ...], ([1, UNDEFINED], (1, None)))
        self.refuses(Point, {"x": UNDEFINED})
        self.refuses(tuple[int, ...], [UNDEFINED])

    def test_validators_of_the_user_have_their_say(self) -> None:
        self.reads(Annotated[int, AfterValidator(lambda value: value * 2)], (2, 4), (BigInt(2), 4))
        self.reads(Annotated[float, AfterValidator(lambda value: value * 2)], (2, 4.0))
        self.reads(Annotated[int, BeforeValidator(int)], ("5", 5), (True, 1))

        def fail(_: Any) -> Any:
            raise LookupError("no")

        with self.assertRaisesRegex(LookupError, "no"):
            Type(Annotated[int, AfterValidator(fail)], "it").read(2)


class RefusalTest(TypeCase):
    def test_it_says_whose_value_and_where_in_it(self) -> None:
        with self.assertRaises(Unfit) as raised:
            Type(list[Point], "parameter 'b' of add()").read([{"x": 1}, {"x": "1", "y": None}])
        self.assertEqual(
            "parameter 'b' of add(): 1.x: Input should be a valid integer; 1.y: Input should be a valid number",
            str(raised.exception),
        )
        expected = {"loc": [1, "x"], "type": "int_type", "msg": "Input should be a valid integer"}
        self.assertEqual(expected, raised.exception.problems[0])

    def test_there_are_few_of_them_and_they_are_short(self) -> None:
        found = self.problems(list[int], ["a"] * 1000)
        self.assertEqual(20, len(found))
        self.assertEqual(([], "too_many_errors"), found[-1])
        with self.assertRaisesRegex(Unfit, "; and 981 more$"):
            Type(list[int], "it").read(["a"] * 1000)
        with self.assertRaises(Unfit) as raised:
            Type(dict[str, int], "it").read({"a\n" * 100_000: "a"})
        self.assertLess(len(str(raised.exception)), 300)
        self.assertNotIn("\n", str(raised.exception))

    def test_the_problems_can_be_sent(self) -> None:
        with self.assertRaises(Unfit) as raised:
            Type(dict[str, Point], "it").read({"a": {"x": 1.5}})
        self.assertTrue(Codec().encode([raised.exception.problems]))

    def test_what_is_nested_too_deep_is_told_so(self) -> None:
        for annotation, name in ((Nest, ""), (Tree, "kids")):
            with self.subTest(annotation=annotation):
                self.assertEqual([([], "recursion_loop")], self.problems(annotation, nested(150_000, name)))
        for depth in (205, 260, 1500):
            self.assertEqual([([], "recursion_loop")], self.problems(Nest, nested(depth)))
            with self.assertRaisesRegex(Unfit, "^it: Nested too deep$"):
                Type(Nest, "it").write(nested(depth + 100))
        self.assertEqual(nested(150), Type(Nest, "it").read(nested(150)))

    def test_a_number_of_more_digits_than_the_process_takes_is_no_other_error(self) -> None:
        self.refuses(str | None, BigInt(10**5000))
        self.refuses(date, BigInt(10**5000), [BigInt(10**5000)])

    def test_a_text_with_a_lone_surrogate_is_no_other_error(self) -> None:
        self.refuses(date, "\ud800")
        self.refuses(list[date], ["\ud800"])


class WritingTest(TypeCase):
    def writes(self, annotation: Any, *pairs: tuple[Any, Any]) -> None:
        kind = Type(annotation, "it")
        for value, expected in pairs:
            with self.subTest(annotation=annotation, value=value):
                written = kind.write(value)
                self.assertEqual((expected, type(expected)), (written, type(written)))
                self.assertTrue(Codec().encode([written]))

    def refuses_to_write(self, annotation: Any, *values: Any) -> None:
        kind = Type(annotation, "it")
        for value in values:
            with self.subTest(annotation=annotation, value=value), self.assertRaises(Unfit):
                self.fail(f"written as {kind.write(value)!r}")

    def test_values_are_written_as_what_is_read(self) -> None:
        self.writes(date, (date(2024, 2, 29), "2024-02-29"))
        self.writes(datetime, (datetime(2024, 2, 29, tzinfo=timezone.utc), "2024-02-29T00:00:00Z"))
        self.writes(timedelta, (timedelta(hours=1), "PT1H"))
        self.writes(Decimal, (Decimal("4.50"), "4.50"))
        self.writes(UUID, (UUID(int=5), "00000000-0000-0000-0000-000000000005"))
        self.writes(Color, (Color.RED, "red"))
        self.writes(Color | None, (None, None))
        self.writes(tuple[int, Color], ((1, Color.RED), [1, "red"]))
        self.writes(set[int], ({1}, [1]))
        self.writes(Row, (Row(1), [1, "none"]))
        self.writes(Point, (Point(1), {"x": 1, "y": 2.0}))
        self.writes(Day, ({"when": date(2024, 2, 29)}, {"when": "2024-02-29"}))
        self.writes(User, (User(userName="a"), {"userName": "a", "tags": []}))
        self.writes(dict[int, Decimal], ({1: Decimal(2)}, {"1": "2"}))
        self.writes(float, (5, 5.0))
        self.writes(BigInt, (5, BigInt(5)))

    def test_values_that_are_not_by_the_annotation_are_refused(self) -> None:
        self.refuses_to_write(int, "5", 1.5, None, True)
        self.refuses_to_write(None, 5)
        self.refuses_to_write(float, 10**400, 2**60 + 1)
        self.refuses_to_write(date, "2024-02-29", 5, datetime(2024, 2, 29, 12))
        self.refuses_to_write(Color, "red")
        self.refuses_to_write(Point, {"x": 1}, Row(1), Point("1"))  # type: ignore[arg-type]
        self.refuses_to_write(list[Point], [Point(1), Point("1")])  # type: ignore[arg-type]
        self.refuses_to_write(list[int], (1,), ["1"])
        self.refuses_to_write(Day, {"when": "2024-02-29"}, {})
        self.refuses_to_write(bytes, "a", bytearray(b"a"))
        self.refuses_to_write(Annotated[int, Field(gt=0)], 0, BigInt(0))

    def test_bytes_and_bigints_are_written_as_they_are(self) -> None:
        self.writes(Annotated[bytes, Field(max_length=3)], (b"\xff", b"\xff"))
        self.writes(bytes | Color, (b"\xff", b"\xff"))
        self.writes(Annotated[int, Field(gt=0)], (BigInt(5), BigInt(5)))
        order = Order(BigInt(1), BigInt(2), {"a": [BigInt(3)]}, [Point(BigInt(4))])
        written = repr(Type(Order, "it").write(order))
        self.assertIn("'number': BigInt(1), 'serial': BigInt(2), 'notes': {'a': [BigInt(3)]}, ", written)
        self.assertIn("'points': [{'x': BigInt(4), 'y': 2.0}]", written)
        self.assertEqual("[BigInt(1), 'red']", repr(Type(tuple[int, Color], "it").write((BigInt(1), Color.RED))))

    def test_neither_direction_changes_what_it_is_given(self) -> None:
        items: list[Any] = [1, [BigInt(2)]]
        value = {"number": BigInt(1), "serial": 2, "notes": {"a": items}}
        before, inner = repr(value), items[1]
        order = Type(Order, "it").read(value)
        Type(Order, "it").write(Order(1, BigInt(2), {"a": items}))
        Type(dict[str, Any] | Color, "it").write({"a": items})
        self.assertEqual(before, repr(value))
        self.assertIs(inner, items[1])
        self.assertEqual(items, order.notes["a"])


class SchemaTest(TypeCase):
    def test_what_has_no_schema_is_a_type_error_that_begins_with_whose_it_is(self) -> None:
        for annotation in (Matrix, list[Matrix], Callable[[], int], 5, "Missing"):
            with (
                self.subTest(annotation=annotation),
                self.assertRaisesRegex(TypeError, r"^parameter 'b' of add\(\) has no "),
            ):
                Type(annotation, "parameter 'b' of add()")

    @unittest.skipUnless(sys.version_info < (3, 12), "a TypedDict of typing is taken from 3.12 on")
    def test_a_typed_dict_of_typing_is_refused_by_a_text_that_says_what_to_take(self) -> None:
        wrong = typing.TypedDict("wrong", {"a": int})  # noqa: UP013
        for annotation in (wrong, list[wrong] | None):
            with self.assertRaisesRegex(TypeError, "^it has no schema: .*typing_extensions.TypedDict"):
                Type(annotation, "it")

    def test_bytes_inside_of_something_are_a_type_error_as_they_cannot_travel(self) -> None:
        @dataclass
        class Holder:
            data: bytes

        annotation: Any
        for annotation in (list[bytes], tuple[bytes, int], Holder, dict[str, bytes | None], list[Holder] | None):
            with (
                self.subTest(annotation=annotation),
                self.assertRaisesRegex(TypeError, "^it: bytes travel only as whole"),
            ):
                Type(annotation, "it")
        for annotation in (bytes, bytes | None, bytes | date, Annotated[bytes, Field(max_length=3)]):
            Type(annotation, "it")

    def test_a_class_without_a_schema_takes_its_instances_where_that_is_allowed(self) -> None:
        matrix = Matrix()
        self.reads(Matrix, (matrix, matrix), strict=False)
        self.reads(Matrix | None, (matrix, matrix), (None, None), strict=False)
        self.reads(list[Matrix], ([matrix], [matrix]), strict=False)
        self.refuses(Matrix, 5, {}, strict=False)
        with self.assertRaisesRegex(Unfit, "^it: Input should be an instance of Matrix$"):
            Type(Matrix, "it", strict=False).read(5)
        with self.assertRaisesRegex(TypeError, "^it has no JSON schema"):
            Type(Matrix, "it", strict=False).schema("validation")

    def test_formats_tell_bigints_and_bytes(self) -> None:
        self.assertEqual("bigint", Type(BigInt, "it").schema("validation")["format"])
        self.assertEqual("bigint", Type(BigInt, "it").schema("serialization")["format"])
        self.assertEqual("binary", Type(bytes, "it").schema("validation")["format"])
        self.assertEqual("bigint", Type(Order, "it").schema("validation")["properties"]["serial"]["format"])

    def test_a_default_without_json_is_no_warning(self) -> None:
        @dataclass
        class Odd:
            value: Any = UNDEFINED

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            self.assertIn("value", Type(Odd, "it").schema("validation")["properties"])

    def test_without_pydantic_it_is_an_import_error_that_names_the_extra(self) -> None:
        with mock.patch.dict(sys.modules, pydantic=None), self.assertRaisesRegex(ImportError, r"ezez-ws\[typed\]"):
            Type(int, "it")

    def test_pydantic_is_imported_when_the_first_annotation_is_met(self) -> None:
        done = subprocess.run([sys.executable, "-c", LAZY], cwd=REPO, check=True, capture_output=True, text=True)
        self.assertEqual(["[]", "[]", "True"], done.stdout.split("\n")[:3])


numbers = st.integers(-(2**53) + 1, 2**53 - 1)
floats = st.floats(allow_nan=False)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
JSON = {
    "null": st.none(),
    "boolean": st.booleans(),
    "integer": numbers,
    "number": floats.filter(lambda value: not value.is_integer()),
    "string": texts,
    "array": st.lists(texts | numbers, max_size=3),
    "object": st.dictionaries(texts, texts | numbers, max_size=3),
}


class PropertyTest(EZEZTestCase):
    """Values made from the types are accepted by schema and reader, those of another JSON type by neither."""

    # annotation, its values, and the JSON types that they have
    TYPES: ClassVar[list[tuple[Any, st.SearchStrategy[Any], set[str]]]] = [
        (int, numbers, {"integer"}),
        (BigInt, st.integers().map(BigInt), {"integer"}),
        (float, floats, {"integer", "number"}),
        (str, texts, {"string"}),
        (bool, st.booleans(), {"boolean"}),
        (None, st.none(), {"null"}),
        (int | None, numbers | st.none(), {"integer", "null"}),
        (int | str, numbers | texts, {"integer", "string"}),
        (list[int], st.lists(numbers, max_size=4), {"array"}),
        (dict[str, float], st.dictionaries(texts, floats, max_size=4), {"object"}),
        (date, st.dates(), {"string"}),
        (datetime, st.datetimes(timezones=st.just(timezone.utc)), {"string"}),
        (timedelta, st.timedeltas(timedelta(-1000), timedelta(1000)), {"string"}),
        (UUID, st.uuids(), {"string"}),
        (Decimal, st.decimals(allow_nan=False, allow_infinity=False, places=2), {"string", "number", "integer"}),
        (Color, st.sampled_from(Color), {"string"}),
        (Literal["a", "b"], st.sampled_from("ab"), {"string"}),
        (Annotated[int, Field(gt=0)], st.integers(1, 2**53 - 1), {"integer"}),
        (tuple[int, str], st.tuples(numbers, texts), {"array"}),
        (set[int], st.sets(numbers, max_size=4), {"array"}),
        (Point, st.builds(Point, numbers, floats), {"object"}),
        (list[Point] | None, st.none() | st.lists(st.builds(Point, numbers, floats), max_size=3), {"array", "null"}),
        (Day, st.fixed_dictionaries({"when": st.dates()}, optional={"count": numbers}), {"object"}),
        (User, st.builds(User, userName=texts, tags=st.tuples(texts)), {"object"}),
    ]
    MADE: ClassVar[list[tuple[Type, st.SearchStrategy[Any], set[str]]]] = [
        (Type(annotation, str(annotation)), values, types) for annotation, values, types in TYPES
    ]

    @settings(max_examples=300, deadline=None)
    @given(st.data())
    def test_what_is_written_is_by_the_schema_and_read_as_the_same(self, data: st.DataObject) -> None:
        kind, values, _ = data.draw(st.sampled_from(self.MADE))
        value = data.draw(values)
        (wire,) = Codec().decode(Codec().encode([kind.write(value)]))
        for mode in ("validation", "serialization"):
            self.assertTrue(accepts(kind.schema(mode), wire), (kind.what, wire))
        read = kind.read(wire)
        self.assertEqual(value, read)
        self.assertIs(type(value), type(read))

    @settings(max_examples=300, deadline=None)
    @given(st.data())
    def test_another_json_type_is_by_neither(self, data: st.DataObject) -> None:
        kind, _, types = data.draw(st.sampled_from(self.MADE))
        value = data.draw(JSON[data.draw(st.sampled_from(sorted(set(JSON) - types)))])
        self.assertFalse(accepts(kind.schema("validation"), value), (kind.what, value))
        with self.assertRaises(Unfit):
            self.fail(f"{kind.what}: {value!r} was read as {kind.read(value)!r}")


if __name__ == "__main__":
    unittest.main()
