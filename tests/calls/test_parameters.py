"""How a function takes the arguments of an event, and how a call is written for the wire."""

import functools
import sys
import typing
import unittest
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NoReturn
from unittest import mock

from ezez_ws import UNDEFINED, BigInt, Codec
from ezez_ws.calls.parameters import REQUIRED, Parameters
from ezez_ws.calls.types import Unfit
from ezez_ws.errors import InvalidArgs
from tests.calls import postponed
from tests.support import EZEZTestCase

if TYPE_CHECKING:
    from nowhere import Missing  # type: ignore[import-not-found]

MAY_RUN_BESIDE = True


NONE: Any = None


class Matrix:
    """What no schema is known of."""


@dataclass
class Point:
    x: int
    y: int = 0


def add(client: Any, a: int, b: int = 5) -> int:
    return a + b


def loose(client, a, b=5):  # type: ignore[no-untyped-def]
    return a


class Shop:
    def price(self, article: str, count: int = 1, /, *, rebate: bool = False) -> Decimal:
        return Decimal(count)

    def sold(self, article: str, count: int = 1, color: str | None = None) -> None: ...

    @classmethod
    def of(cls, client: Any, a: int) -> None: ...

    @staticmethod
    def at(client: Any, a: int) -> None: ...

    def __call__(self, client: Any, a: int) -> None: ...


class ParametersCase(EZEZTestCase):
    def read(self, function: Any, args: Sequence[Any], validate: bool | None = None) -> Any:
        read = Parameters(function, 1, validate).read
        return args if read is None else read(args)

    def refusal(self, function: Any, args: Sequence[Any], validate: bool | None = None) -> InvalidArgs:
        with self.assertRaises(InvalidArgs) as raised:
            self.fail(f"read as {self.read(function, args, validate)}")
        self.assertEqual("invalid-args", raised.exception.code)
        return raised.exception


class ReadingTest(ParametersCase):
    def test_arguments_that_fit_are_taken_as_the_list_that_they_are(self) -> None:
        for args in ([1], [1, 2], [BigInt(1), 2]):
            for function in (add, loose):
                self.assertIs(args, self.read(function, args))

    def test_arguments_are_converted_by_their_annotations(self) -> None:
        def f(client: Any, point: Point, price: Decimal | None = None, *scores: float) -> None: ...

        self.assertEqual([Point(1), None, 1.0, 2.5], list(self.read(f, [{"x": 1}, None, 1, 2.5])))

    def test_a_wrong_argument_is_named(self) -> None:
        error = self.refusal(add, [1, "x"])
        self.assertEqual("invalid-args: b: Input should be a valid integer", str(error))
        self.assertEqual([{"loc": ["b"], "type": "int_type", "msg": "Input should be a valid integer"}], error.data)
        self.assertIsNone(error.__cause__ or error.__context__)
        self.assertTrue(Codec().encode([error.data]))

    def test_all_that_are_wrong_are_told_with_the_steps_into_them(self) -> None:
        def f(client: Any, points: list[Point], a: int, *names: str) -> None: ...

        error = self.refusal(f, [[{"x": 1}, {"x": 1, "y": "2"}], True, "a", 5])
        self.assertEqual([["points", 1, "y"], ["a"], ["names", 1]], [problem["loc"] for problem in error.data])
        self.assertRegex(error.message, r"^points\.1\.y: .*; a: .*; names\.1: ")

    def test_too_few_and_too_many_are_refused_with_and_without_annotations(self) -> None:
        for function in (add, loose):
            error = self.refusal(function, [])
            self.assertEqual("a: Missing required argument", error.message)
            self.assertEqual(["missing_argument"], [problem["type"] for problem in error.data])
            error = self.refusal(function, [1, 2, 3])
            self.assertEqual("2: Unexpected positional argument: at most 2 can be given, and 3 were", error.message)
            self.assertEqual([[2], "unexpected_positional_argument"], [error.data[0]["loc"], error.data[0]["type"]])
            self.assertEqual(1, len(self.refusal(function, [1] * 1000).data))

    def test_undefined_is_an_argument_that_is_not_given(self) -> None:
        def f(client: Any, a: int = 1, b: Any = 2, c: str = "c") -> None: ...

        for function in (add, loose):
            self.assertEqual([1], self.read(function, [1, UNDEFINED]))
            self.assertEqual([1, 2], self.read(function, [1, 2, UNDEFINED, UNDEFINED]))
            self.assertEqual("a: Missing required argument", self.refusal(function, [UNDEFINED]).message)
            self.assertEqual("a: Missing required argument", self.refusal(function, [UNDEFINED, 5]).message)
        self.assertEqual([1, 2, "x"], self.read(f, [UNDEFINED, UNDEFINED, "x"]))
        self.assertEqual([5], self.read(lambda client, a, *rest: None, [5, UNDEFINED]))
        self.assertEqual([5, UNDEFINED, 6], self.read(lambda client, a, *rest: None, [5, UNDEFINED, 6]))

    def test_a_function_without_annotations_is_only_counted_and_one_that_takes_anything_not_even_that(self) -> None:
        anything: list[Any] = [object(), b"bytes"]
        self.assertIs(anything, self.read(loose, anything))
        self.assertIsNone(Parameters(loose, 1, None).write)
        for function in (lambda *args: None, lambda client, *args: None, print):
            self.assertIsNone(Parameters(function, 1, None).read)
            self.assertIsNone(Parameters(function, 1, None).write)

    def test_values_that_compare_in_a_way_of_their_own_are_no_obstacle(self) -> None:
        class Array:
            def __eq__(self, other: object) -> Any:
                raise ValueError("ambiguous")

            __hash__ = None  # type: ignore[assignment]

        args = [Array(), Array()]
        self.assertIs(args, self.read(loose, args))

    def test_without_checking_only_the_number_counts(self) -> None:
        self.assertEqual(["x", None], self.read(add, ["x", None], validate=False))
        self.assertEqual("a: Missing required argument", self.refusal(add, [], validate=False).message)
        self.assertIsNone(Parameters(add, 1, False).write)

    def test_without_pydantic_only_the_number_counts_and_who_must_check_is_told_the_extra(self) -> None:
        with mock.patch.dict(sys.modules, pydantic=None):
            self.assertEqual(["x", None], self.read(add, ["x", None]))
            self.assertEqual("a: Missing required argument", self.refusal(add, []).message)
            self.assertIsNone(Parameters(add, 1, None).write)
            for function in (add, loose):
                with self.assertRaisesRegex(ImportError, r"ezez-ws\[typed\]"):
                    Parameters(function, 1, True)

    def test_what_is_nested_too_deep_is_told_so(self) -> None:
        value: Any = []
        for _ in range(300):
            value = [value]
        error = self.refusal(postponed.deep, [value])
        self.assertEqual("value: Nested too deep", error.message)


class WritingTest(ParametersCase):
    def write(self, annotation: Any, value: Any) -> Any:
        def f() -> None: ...

        f.__annotations__["return"] = annotation
        write = Parameters(f, 0, None).write
        return value if write is None else write(value)

    def test_the_value_is_checked_and_written_by_its_annotation(self) -> None:
        self.assertEqual("4.50", self.write(Decimal, Decimal("4.50")))
        self.assertEqual([{"x": 1, "y": 0}], self.write(list[Point], [Point(1)]))
        self.assertIsNone(self.write(None, None))

    def test_a_wrong_value_is_told_with_the_name_of_the_function(self) -> None:
        write = Parameters(add, 1, None).write
        assert write is not None
        with self.assertRaisesRegex(Unfit, r"^the return value of add\(\): Input should be a valid integer$"):
            write("5")
        with self.assertRaises(Unfit):
            self.write(None, 5)

    def test_the_annotation_of_what_a_future_gives_is_that_of_the_value(self) -> None:
        annotation: Any
        for annotation in (Future[Decimal], Decimal | Future[Decimal], "Future[Decimal]"):
            with self.subTest(annotation=annotation):
                self.assertEqual("4.50", self.write(annotation, Decimal("4.50")))
                with self.assertRaises(Unfit):
                    self.write(annotation, "4.50")
        for annotation in (Future, Future[Any], NoReturn, Any):
            value = object()
            self.assertIs(value, self.write(annotation, value))


class CallableTest(ParametersCase):
    """Whatever can be called, and what cannot."""

    def test_methods_objects_classes_and_partials_are_checked_like_functions(self) -> None:
        class Made:
            def __init__(self, client: Any, a: int) -> None: ...

        class Heir(Made): ...

        shop = Shop()
        with_client: Callable[..., Any] = functools.partial(add, b=3)
        for function in (shop, Shop.of, shop.of, Shop.at, shop.at, Made, Heir, with_client, functools.partial(shop)):
            with self.subTest(function=function):
                self.assertEqual([1], self.read(function, [1]))
                self.assertEqual(["a"], [argument.name for argument in Parameters(function, 1, None).arguments])
                self.assertEqual("a: Input should be a valid integer", self.refusal(function, ["x"]).message)

    def test_a_partial_that_has_the_client_takes_the_rest(self) -> None:
        read = Parameters(functools.partial(add, None), 0, None).read
        assert read is not None
        self.assertEqual([1, 2], read([1, 2]))
        with self.assertRaises(InvalidArgs):
            read(["x"])

    def test_what_a_wrapper_itself_takes_counts_and_not_what_it_shows(self) -> None:
        @functools.wraps(add)
        def anything(*args: Any, **kwargs: Any) -> Any: ...

        @functools.wraps(add)
        def two(client: Any, a: Any) -> Any: ...

        for function in (anything, functools.partial(anything), functools.lru_cache(add)):
            self.assertEqual(["x", 2, 3], self.read(function, ["x", 2, 3]))
            self.assertIsNone(Parameters(function, 1, True).write)
        self.assertEqual(["x"], self.read(two, ["x"]))
        self.refusal(two, [1, 2])

    def test_annotations_may_be_texts_and_those_that_are_skipped_may_be_unknown(self) -> None:
        self.assertEqual([postponed.Pair(1, 2)], list(self.read(postponed.handler, [[1, 2]])))
        self.assertRegex(self.refusal(postponed.handler, [5]).message, "^pair: .* be an array or an object$")

        def quoted(client: "Missing", points: "list[Point]", more: list["Point"]) -> "Missing": ...

        with self.assertRaisesRegex(
            TypeError, r"^the return value of .*quoted\(\): its annotation cannot be resolved: name 'Missing'"
        ):
            Parameters(quoted, 1, None)
        quoted.__annotations__["return"] = "int"
        self.assertEqual([[Point(1)], [Point(2)]], list(self.read(quoted, [[{"x": 1}], [{"x": 2}]])))

    def test_an_annotation_that_cannot_be_resolved_names_the_parameter(self) -> None:
        with self.assertRaisesRegex(
            TypeError, r"^parameter 'a' of unknown\(\): its annotation cannot be resolved: name 'Missing' is not"
        ):
            Parameters(postponed.unknown, 1, None)
        self.assertEqual([5], self.read(postponed.unknown, [5], validate=False))

    @unittest.skipUnless(sys.version_info >= (3, 14), "annotations are evaluated with the function")
    def test_annotations_that_are_evaluated_late_may_be_unknown_where_they_are_skipped(self) -> None:
        names: dict[str, Any] = {"Point": Point}
        exec("def f(client: Missing, points: list[Point]): ...\ndef g(client, a: Missing): ...", names)
        self.assertEqual([[Point(1)]], list(self.read(names["f"], [[{"x": 1}]])))
        with self.assertRaisesRegex(
            TypeError, r"^parameter 'a' of g\(\): its annotation cannot be resolved: name 'Missing'"
        ):
            Parameters(names["g"], 1, None)

    def test_a_class_without_a_schema_takes_its_instances_unless_checking_is_a_must(self) -> None:
        def f(client: Any, matrix: Matrix, more: list[Matrix] | None = None) -> None: ...

        matrix = Matrix()
        self.assertEqual([matrix, [matrix]], self.read(f, [matrix, [matrix]]))
        self.assertEqual("matrix: Input should be an instance of Matrix", self.refusal(f, [5]).message)
        with self.assertRaisesRegex(TypeError, r"^parameter 'matrix' of f\(\) has no schema"):
            Parameters(f, 1, True)

    def test_what_can_never_be_called_so_is_a_type_error(self) -> None:
        def generator(client: Any) -> Any:
            yield

        async def coroutine(client: Any) -> Any: ...

        def named(client: Any, *, key: int) -> Any: ...

        for function, text in (
            (
                generator,
                r"^generator\(\) must be a plain function \(def\), called as generator\(client\); this is a gen",
            ),
            (coroutine, r"^coroutine\(\) must be a plain function .*; this is an async function"),
            (named, r"^named\(\) is called as named\(client\), but takes \(client, \*, key\)"),
            (lambda: None, r"is called as <lambda>\(client\), but takes \(\)"),
            (functools.partial(generator), "generator"),
        ):
            for validate in (None, False, True):
                with self.subTest(text=text), self.assertRaisesRegex(TypeError, text):
                    Parameters(function, 1, validate)


class BindingTest(ParametersCase):
    def bind(self, function: Any, *args: Any, **kwargs: Any) -> list[Any]:
        return Parameters(function, 1, True).bind(args, kwargs)

    def test_positions_keywords_and_defaults_become_positions(self) -> None:
        self.assertEqual(["tea", 1, None], self.bind(Shop.sold, "tea"))
        self.assertEqual(["tea", 2, None], self.bind(Shop.sold, "tea", count=2))
        self.assertEqual(["tea", 1, "red"], self.bind(Shop.sold, color="red", article="tea"))
        self.assertEqual(["tea", 3], self.bind(Shop.price, "tea", 3))

    def test_arguments_are_written_by_their_annotations(self) -> None:
        def f(self: Any, point: Point, *prices: Decimal) -> None: ...

        self.assertEqual([{"x": 1, "y": 0}, "4.50", "2"], self.bind(f, Point(1), Decimal("4.50"), Decimal(2)))
        self.assertEqual([{"x": 1, "y": 0}], self.bind(f, point=Point(1)))

    def test_a_call_that_does_not_fit_is_a_type_error(self) -> None:
        for args, kwargs, text in (
            ((), {}, r"^Shop.sold\(\) misses a required argument: 'article'"),
            ((), {"count": 1}, "misses a required argument: 'article'"),
            (("tea", 1, None, 4), {}, "takes 3 arguments, not 4"),
            (("tea",), {"article": "tea"}, "got multiple values for argument 'article'"),
            (("tea",), {"price": 5}, "got an unexpected keyword argument 'price'"),
        ):
            with self.subTest(text), self.assertRaisesRegex(TypeError, text):
                self.bind(Shop.sold, *args, **kwargs)
        for keyword in ("article", "rebate"):  # by position only, and what cannot be sent by position
            with self.assertRaisesRegex(TypeError, f"unexpected keyword argument '{keyword}'"):
                self.bind(Shop.price, "tea", **{keyword: True})

    def test_wrong_values_are_invalid_args(self) -> None:
        with self.assertRaises(InvalidArgs) as raised:
            self.bind(Shop.sold, 5, count="2")
        self.assertEqual(
            "invalid-args: article: Input should be a valid string; count: Input should be a valid integer",
            str(raised.exception),
        )
        with self.assertRaises(InvalidArgs):
            self.bind(Shop.sold, UNDEFINED)

    def test_undefined_is_a_default_and_a_default_that_does_not_fit_is_not_sent(self) -> None:
        def f(self: Any, a: int = 1, b: int = NONE, c: int = NONE) -> None: ...

        self.assertEqual([1], self.bind(f))
        self.assertEqual([1, UNDEFINED, 3], self.bind(f, c=3))
        self.assertEqual([1, 2], self.bind(f, UNDEFINED, 2))
        self.assertEqual([1, None, 3], self.read(f, self.bind(f, c=3)))

    def test_a_value_that_is_nested_too_deep_is_invalid_args(self) -> None:
        value: Any = []
        for _ in range(300):
            value = [value]
        with self.assertRaisesRegex(InvalidArgs, "^invalid-args: value: Nested too deep$"):
            self.bind(postponed.deep, value)


class DescriptionTest(ParametersCase):
    def test_arguments_and_the_return_value_can_be_described(self) -> None:
        parameters = Parameters(Shop.sold, 1, True)
        self.assertEqual("Shop.sold()", parameters.name)
        self.assertEqual([REQUIRED, 1, None], [argument.default for argument in parameters.arguments])
        article, count, _ = (argument.type for argument in parameters.arguments)
        assert article is not None and count is not None and parameters.returns is not None
        self.assertEqual("string", article.schema("validation")["type"])
        self.assertEqual("integer", count.schema("serialization")["type"])
        self.assertEqual("null", parameters.returns.schema("serialization")["type"])
        self.assertIsNone(parameters.rest)

    def test_the_kinds_of_annotations_are_told_by_the_parameters_names(self) -> None:
        def f(self: Any, a: typing.Literal["x"], *rest: int) -> Any: ...

        parameters = Parameters(f, 1, True)
        assert parameters.rest is not None and parameters.rest.type is not None
        self.assertEqual("parameter 'rest' of f()", parameters.rest.type.what)
        self.assertIsNone(parameters.returns)


if __name__ == "__main__":
    unittest.main()
