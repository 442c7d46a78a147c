"""``Codec(default=plain)``: what a codec does not know, as pydantic writes it."""

import enum
import pathlib
import subprocess
import sys
import types
import unittest
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from unittest import mock
from uuid import UUID

import pydantic
from pydantic import BaseModel, Field, RootModel, SecretStr

from ezez_ws import BigInt, Codec, SerializationError
from ezez_ws.typed import plain
from tests.support import REPO, EZEZTestCase

MAY_RUN_BESIDE = True

WITHOUT = """
import sys
sys.modules["pydantic_core"] = None
try:
    import ezez_ws.typed
except ImportError as error:
    print(error)
"""


class Color(enum.Enum):
    RED = "red"
    DAY = date(2024, 2, 29)


@dataclass
class Point:
    x: Any
    y: Any = None


class Order(BaseModel):
    when: date
    amount: Decimal = Field(alias="howMuch")
    serial: BigInt
    inner: Point
    secret: SecretStr = SecretStr("hidden")


@pydantic.dataclasses.dataclass
class Line:
    day: date


class Scalar:
    """As numpy's, which is not installed."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def item(self) -> Any:
        return self.value


NUMPY = types.SimpleNamespace(number=Scalar, bool_=bool)


class PlainTest(EZEZTestCase):
    def sent(self, value: Any) -> Any:
        """Return what arrives of a value: as an argument, and nested, which must be the same."""
        codec = Codec(default=plain)
        one, (other,) = codec.decode(codec.encode([value, [value]]))
        self.assertEqual(one, other)
        return one

    def test_dates_decimals_uuids_and_paths_are_texts(self) -> None:
        for value, text in (
            (date(2024, 2, 29), "2024-02-29"),
            (datetime(2024, 2, 29, 12, tzinfo=timezone.utc), "2024-02-29T12:00:00Z"),
            (time(12, 30), "12:30:00"),
            (timedelta(hours=1), "PT1H"),
            (Decimal("4.50"), "4.50"),
            (UUID(int=5), "00000000-0000-0000-0000-000000000005"),
            (pathlib.Path("a") / "b", str(pathlib.Path("a", "b"))),
            (pathlib.PurePosixPath("/a"), "/a"),
        ):
            with self.subTest(text):
                self.assertEqual(text, self.sent(value))

    def test_enums_are_their_values(self) -> None:
        self.assertEqual("red", self.sent(Color.RED))
        self.assertEqual("2024-02-29", self.sent(Color.DAY))

    def test_dataclasses_are_dicts_whose_values_the_codec_takes(self) -> None:
        self.assertEqual(
            {"x": "red", "y": {"x": BigInt(1), "y": "4.5"}},
            self.sent(Point(Color.RED, Point(BigInt(1), Decimal("4.5")))),
        )
        codec = Codec({"d": lambda value: value.isoformat() if type(value) is date else None}, default=plain)
        self.assertIn(b'"d:2024-02-29"', codec.encode([Point(date(2024, 2, 29))]))

    def test_models_are_what_pydantic_makes_of_them_and_their_bigints_stay(self) -> None:
        order = Order(when=date(2024, 2, 29), howMuch=Decimal("4.5"), serial=BigInt(3), inner=Point(BigInt(1)))
        sent = self.sent(order)
        expected = {
            "when": "2024-02-29",
            "howMuch": "4.5",
            "serial": BigInt(3),
            "secret": "**********",
            "inner": {"x": BigInt(1), "y": None},
        }
        self.assertEqual(expected, sent)
        self.assertEqual([BigInt, BigInt], [type(sent["serial"]), type(sent["inner"]["x"])])
        self.assertEqual({"day": "2024-02-29"}, self.sent(Line(date(2024, 2, 29))))
        self.assertEqual(["2024-02-29"], self.sent(RootModel[list[date]]([date(2024, 2, 29)])))

    def test_scalars_of_numpy_are_numbers_where_it_has_been_imported(self) -> None:
        with self.assertRaises(SerializationError):
            self.sent(Scalar(5))
        with mock.patch.dict(sys.modules, numpy=NUMPY):
            self.assertEqual([5, 1.5, True], self.sent([Scalar(5), Scalar(1.5), Scalar(True)]))
            with self.assertRaisesRegex(SerializationError, "the codec's default returned "):
                self.sent(Scalar(object()))

    def test_everything_else_is_refused_where_it_is(self) -> None:
        text = r"^args\[0\]\[\"x\"\]\[0\]: object cannot be sent; the codec's default returned itself for it$"
        with self.assertRaisesRegex(SerializationError, text):
            self.sent(Point([object()]))
        for value in (Point, Order, {1}, print, 1j):
            with self.subTest(value=value), self.assertRaises(SerializationError):
                self.sent(value)

    def test_a_dataclass_in_itself_is_nested_too_deep(self) -> None:
        point = Point(1)
        point.x = point
        with self.assertRaisesRegex(SerializationError, r'\["x"\]: nested deeper than max_depth=64'):
            self.sent(point)

    def test_without_pydantic_importing_it_names_the_extra(self) -> None:
        done = subprocess.run([sys.executable, "-c", WITHOUT], cwd=REPO, check=True, capture_output=True, text=True)
        self.assertIn("ezez-ws[typed]", done.stdout)


if __name__ == "__main__":
    unittest.main()
