"""Context: a dict for several threads."""

import copy
import threading
import unittest
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping
from operator import methodcaller
from types import MappingProxyType
from typing import Any

from ezez_ws.context import Context
from tests.support import EZEZTestCase, switch_interval


class MappingTest(EZEZTestCase):
    """In one thread a context is a dict."""

    def test_it_is_read_and_written_like_a_dict(self) -> None:
        context = Context({"a": 1})
        context["b"] = 2
        context["a"] = 3
        self.assertEqual(context["a"], 3)
        self.assertEqual(context.get("c"), None)
        self.assertEqual(context.get("c", 7), 7)
        self.assertIn("b", context)
        self.assertNotIn("c", context)
        self.assertEqual(len(context), 2)
        self.assertEqual(list(context), ["a", "b"])
        self.assertEqual(list(context.keys()), ["a", "b"])
        self.assertEqual(list(context.values()), [3, 2])
        self.assertEqual(list(context.items()), [("a", 3), ("b", 2)])
        del context["a"]
        self.assertEqual(context, {"b": 2})

    def test_a_missing_key_raises_key_error(self) -> None:
        context = Context()
        with self.assertRaises(KeyError):
            context["a"]
        with self.assertRaises(KeyError):
            del context["a"]
        with self.assertRaises(KeyError):
            context.pop("a")
        with self.assertRaises(KeyError):
            context.popitem()

    def test_pop_popitem_setdefault_and_clear_work_as_in_a_dict(self) -> None:
        context = Context({"a": 1, "b": 2, "c": 3})
        self.assertEqual(context.pop("a"), 1)
        self.assertEqual(context.pop("a", None), None)
        self.assertEqual(context.popitem(), ("c", 3))
        self.assertEqual(context.setdefault("b", 9), 2)
        self.assertEqual(context.setdefault("d", 9), 9)
        self.assertEqual(context.setdefault("e"), None)
        context.clear()
        self.assertEqual(len(context), 0)

    def test_update_takes_mappings_pairs_contexts_and_keywords(self) -> None:
        context = Context()
        context.update({"a": 1})
        context.update([("b", 2)], c=3)
        context.update(Context({"d": 4}), other=5)
        context |= {"e": 6}
        context |= [("f", 7)]
        self.assertEqual(context, {"a": 1, "b": 2, "c": 3, "d": 4, "other": 5, "e": 6, "f": 7})
        self.assertIsInstance(context, Context)

    def test_united_copied_or_backwards_it_gives_what_a_dict_gives(self) -> None:
        context = Context({"a": 1, "b": [2]})
        united: list[tuple[Any, dict[str, Any]]] = [
            (context | {"a": 3}, {"a": 3, "b": [2]}),
            ({"a": 3, "c": 4} | context, {"a": 1, "b": [2], "c": 4}),
            (MappingProxyType({"c": 4}) | context, {"a": 1, "b": [2], "c": 4}),
            (context | Context({"c": 4}), {"a": 1, "b": [2], "c": 4}),
            (context.copy(), {"a": 1, "b": [2]}),
        ]
        for got, expected in united:
            self.assertIs(type(got), dict)
            self.assertEqual(got, expected)
        self.assertIs(context["b"], context.copy()["b"])
        self.assertEqual(["b", "a"], list(reversed(context)))
        with self.assertRaises(TypeError):
            context | [("a", 1)]

    def test_a_context_has_each_method_of_a_dict(self) -> None:
        self.assertEqual(["fromkeys"], [name for name in dir(dict) if not hasattr(Context, name)])

    def test_an_update_that_cannot_be_read_to_its_end_changes_nothing(self) -> None:
        def pairs() -> Iterator[tuple[str, int]]:
            yield "a", 1
            raise ArithmeticError

        context = Context({"a": 0})
        with self.assertRaises(ArithmeticError):
            context.update(pairs())
        self.assertEqual(context, {"a": 0})

    def test_it_equals_mappings_with_the_same_items(self) -> None:
        context = Context({"a": [1]})
        self.assertEqual(context, {"a": [1]})
        self.assertEqual({"a": [1]}, context)
        self.assertEqual(context, MappingProxyType({"a": [1]}))
        self.assertEqual(context, Context({"a": [1]}))
        self.assertEqual(context, context)
        self.assertNotEqual(context, Context({"a": [2]}))
        self.assertNotEqual(context, {})
        self.assertNotEqual(context, [("a", [1])])

    def test_it_is_not_hashable_as_a_dict_is_not(self) -> None:
        with self.assertRaises(TypeError):
            hash(Context())

    def test_repr_shows_a_dict(self) -> None:
        self.assertEqual(repr(Context({"a": 1, "b": [2]})), "{'a': 1, 'b': [2]}")

    def test_repr_of_a_context_that_contains_itself_ends(self) -> None:
        context = Context({"a": 1})
        context["me"] = context
        context["list"] = [context]
        self.assertEqual(repr(context), "{'a': 1, 'me': {...}, 'list': [{...}]}")

    def test_views_are_of_one_moment(self) -> None:
        context = Context({"a": 1, "b": 2})
        for key in context:
            context[key + key] = 0
            del context[key]
        for key, _ in context.items():
            context[key + key] = 0
        self.assertEqual(set(context), {"aa", "bb", "aaaa", "bbbb"})


class CopyTest(EZEZTestCase):
    """Nothing is shared with what went in or came out."""

    def test_initial_is_copied_deeply(self) -> None:
        defaults: dict[str, Any] = {"rooms": []}
        first, second = Context(defaults), Context(defaults)
        first["rooms"].append("lobby")
        self.assertEqual(second, {"rooms": []})
        self.assertEqual(defaults, {"rooms": []})

    def test_initial_may_be_any_mapping(self) -> None:
        original = Context({"rooms": []})
        initials: list[Mapping[str, Any]] = [original, MappingProxyType({"rooms": []})]
        for initial in initials:
            context = Context(initial)
            context["rooms"].append("lobby")
            self.assertEqual(initial, {"rooms": []})

    def test_initial_that_is_no_mapping_is_refused_by_name(self) -> None:
        for wrong in ([("a", 1)], "a", 1):
            with self.assertRaisesRegex(TypeError, "^initial must be a mapping such as a dict, not (list|str|int)$"):
                Context(wrong)  # type: ignore[arg-type]

    def test_initial_with_what_cannot_be_copied_is_refused(self) -> None:
        with self.assertRaises(TypeError):
            Context({"lock": threading.Lock()})

    def test_snapshot_is_a_plain_deep_copy(self) -> None:
        context = Context({"rooms": ["lobby"]})
        snapshot = context.snapshot()
        self.assertIs(type(snapshot), dict)
        context["rooms"].append("attic")
        self.assertEqual(snapshot, {"rooms": ["lobby"]})

    def test_snapshot_of_a_context_that_contains_itself_contains_the_snapshot(self) -> None:
        context = Context()
        context["list"] = [context]
        snapshot = context.snapshot()
        self.assertIs(snapshot["list"][0], snapshot)

    def test_copy_shares_the_values_and_deepcopy_does_not(self) -> None:
        context = Context({"rooms": []})
        shallow, deep = copy.copy(context), copy.deepcopy(context)
        context["rooms"].append("lobby")
        context["nick"] = "x"
        self.assertEqual(shallow, {"rooms": ["lobby"]})
        self.assertEqual(deep, {"rooms": []})
        self.assertIsInstance(shallow, Context)
        self.assertIsInstance(deep, Context)

    def test_deepcopy_of_a_context_that_contains_itself_contains_the_copy(self) -> None:
        context = Context()
        context["me"] = context
        duplicate = copy.deepcopy(context)
        self.assertIs(duplicate["me"], duplicate)
        self.assertIsNot(duplicate, context)

    def test_a_copy_has_a_lock_of_its_own(self) -> None:
        context = Context({"a": 1})
        with context:
            for duplicate in (copy.copy(context), copy.deepcopy(context)):
                self.assertEqual(_in_thread(duplicate.snapshot), {"a": 1})

    def test_a_value_may_change_the_context_while_it_is_copied(self) -> None:
        class Meddler:
            def __deepcopy__(self, _: Any) -> str:
                context["late"] = 1
                return "copy"

        context = Context()
        context["a"], context["b"] = Meddler(), 2
        self.assertEqual(context.snapshot(), {"a": "copy", "b": 2})


class LockTest(EZEZTestCase):
    """Who holds the lock, and when."""

    def test_with_is_reentrant_and_gives_the_context(self) -> None:
        context = Context()
        with context as outer, context as inner:
            self.assertIs(outer, context)
            self.assertIs(inner, context)
            context["a"] = 1
        self.assertEqual(_in_thread(lambda: context["a"]), 1)

    def test_with_releases_the_lock_after_an_exception_and_keeps_the_changes(self) -> None:
        context = Context()
        with self.assertRaises(ArithmeticError), context:
            context["a"] = 1
            raise ArithmeticError
        self.assertEqual(_in_thread(context.snapshot), {"a": 1})

    def test_a_reader_in_another_thread_sees_what_with_has_made_whole(self) -> None:
        whole = {"second": 1, "state": "changed"}
        readers: dict[str, Callable[[Context], bool]] = {
            "get": lambda context: context["state"] == "changed",
            "get with a default": lambda context: context.get("state") == "changed",
            "pop": lambda context: context.pop("state") == "changed",
            "popitem": lambda context: context.popitem() == ("state", "changed"),
            "setdefault": lambda context: context.setdefault("state", "default") == "changed",
            "in": lambda context: "second" in context,
            "len": lambda context: len(context) == 2,
            "iter": lambda context: list(context) == list(whole),
            "reversed": lambda context: list(reversed(context)) == list(reversed(whole)),
            ".copy": lambda context: context.copy() == whole,
            "|": lambda context: context | {} == whole,
            "reflected |": lambda context: {} | context == whole,
            "keys": lambda context: list(context.keys()) == list(whole),
            "values": lambda context: list(context.values()) == list(whole.values()),
            "items": lambda context: dict(context.items()) == whole,
            "snapshot": lambda context: context.snapshot() == whole,
            "copy": lambda context: len(copy.copy(context)) == 2,
            "deepcopy": lambda context: len(copy.deepcopy(context)) == 2,
            "Context": lambda context: len(Context(context)) == 2,
            "update": lambda context: Context({"a": 0, **_updated(context)}) == {"a": 0, **whole},
            "==": lambda context: context == whole,
            "reflected ==": lambda context: whole == context,
            "repr": lambda context: repr(context) == repr(whole),
        }
        for name, read in readers.items():
            with self.subTest(name):
                results = self.act_while_changed(Context({"state": "before"}), read)
                self.assertEqual(results, [True])

    def test_a_writer_in_another_thread_comes_after_with(self) -> None:
        writers: dict[str, tuple[Callable[[Context], object], dict[str, Any]]] = {
            "set": (methodcaller("__setitem__", "state", "own"), {"second": 1, "state": "own"}),
            "update": (methodcaller("update", state="own"), {"second": 1, "state": "own"}),
            "|=": (methodcaller("__ior__", {"state": "own"}), {"second": 1, "state": "own"}),
            "del": (methodcaller("__delitem__", "state"), {"second": 1}),
            "clear": (methodcaller("clear"), {}),
        }
        for name, (write, expected) in writers.items():
            with self.subTest(name):
                context = Context({"state": "before"})
                self.act_while_changed(context, write)
                self.assertEqual(context, expected)

    def act_while_changed(self, context: Context, action: Callable[[Context], object]) -> list[object]:
        """What ``action`` returns in a thread that starts while ``with`` has changed the context halfway."""
        results: list[object] = []
        started = threading.Event()

        def act() -> None:
            started.set()
            results.append(action(context))

        thread = threading.Thread(target=act)
        with switch_interval(), context:
            del context["state"]
            thread.start()
            started.wait()
            context["second"] = 1
            self.assertEqual(results, [])
            context["state"] = "changed"
        thread.join()
        return results

    def test_no_destructor_runs_while_the_lock_is_held(self) -> None:
        class Value:
            def __del__(self) -> None:
                free.append(_in_thread(lambda: _is_free(context)))

        free: list[bool] = []
        context = Context()
        removals: list[Callable[[], Any]] = [
            lambda: context.__setitem__("a", 1),
            lambda: context.__delitem__("a"),
            lambda: context.pop("a"),
            lambda: context.popitem(),
            lambda: context.update(a=1),
            lambda: context.clear(),
        ]
        for remove in removals:
            context["a"] = Value()
            remove()
        self.assertEqual(free, [True] * len(removals))

    def test_values_are_looked_into_while_the_lock_is_held(self) -> None:
        class Probe:
            def __deepcopy__(self, _: Any) -> "Probe":
                free.append(_in_thread(lambda: _is_free(context)))
                return self

            def __eq__(self, other: object) -> bool:
                return self.__deepcopy__({}) is other

            def __repr__(self) -> str:
                return str(type(self.__deepcopy__({})))

        free: list[bool] = []
        context = Context()
        context["probe"] = Probe()
        context.snapshot()
        copy.deepcopy(context)
        self.assertNotEqual(context, {"probe": 1})
        repr(context)
        self.assertEqual(free, [False] * 4)

    def test_two_contexts_can_be_compared_crosswise(self) -> None:
        first, second = Context({"a": 1}), Context({"a": 1})
        with switch_interval():
            _together(
                lambda: self.assertTrue(all(first == second for _ in range(2000))),
                lambda: self.assertTrue(all(second == first for _ in range(2000))),
            )


class StressTest(EZEZTestCase):
    """Many threads, switched as often as Python can."""

    def setUp(self) -> None:
        interval = switch_interval()
        interval.__enter__()
        self.addCleanup(interval.__exit__, None, None, None)

    def test_with_loses_no_increment(self) -> None:
        context = Context({"count": 0, "list": []})

        def increment() -> None:
            for _ in range(500):
                with context as held, context:
                    held["count"] += 1
                    held["list"].append(held["count"])

        _together(*[increment] * 4)
        self.assertEqual(context["count"], 2000)
        self.assertEqual(context["list"], list(range(1, 2001)))

    def test_with_is_all_or_nothing_for_other_threads(self) -> None:
        context = Context({"a": 0, "b": 0})

        def write() -> None:
            for number in range(1, 1000):
                with context:
                    context["a"] = number
                    context["b"] = number

        def read() -> None:
            while context["b"] < 999:
                with context:
                    self.assertEqual(context["a"], context["b"])
                snapshot, items = context.snapshot(), dict(context.items())
                self.assertEqual(snapshot["a"], snapshot["b"])
                self.assertEqual(items["a"], items["b"])
                self.assertIn(repr(context), {f"{{'a': {number}, 'b': {number}}}" for number in range(1000)})

        _together(write, read, read)

    def test_update_is_all_or_nothing(self) -> None:
        context = Context()
        names = [f"k{number}" for number in range(20)]

        def write() -> None:
            for number in range(500):
                context.update(dict.fromkeys(names, number))
                context.clear()
            context.update(dict.fromkeys(names, -1))

        def read() -> None:
            while True:
                items = dict(context.items())
                self.assertIn(len(items), (0, 20))
                self.assertLessEqual(len(set(items.values())), 1)
                if -1 in items.values():
                    return

        _together(write, read, read)

    def test_everything_is_popped_by_one_thread_only(self) -> None:
        context = Context({str(number): number for number in range(1000)})
        popped: list[Any] = []

        def pop() -> None:
            for number in range(500):
                value = context.pop(str(number), None)
                if value is not None:
                    popped.append(value)
            try:
                while True:
                    popped.append(context.popitem()[1])
            except KeyError:
                pass

        _together(*[pop] * 4)
        self.assertEqual(Counter(popped), Counter(range(1000)))

    def test_setdefault_gives_all_threads_the_same_value(self) -> None:
        context = Context()
        seen: list[list[int]] = [[] for _ in range(4)]

        def define(mine: list[int]) -> None:
            for number in range(500):
                mine.append(id(context.setdefault(str(number), object())))

        _together(*[lambda mine=mine: define(mine) for mine in seen])
        self.assertEqual(seen, [seen[0]] * 4)

    def test_iteration_never_raises_while_others_write(self) -> None:
        context = Context()
        done = threading.Event()

        def write(name: str) -> None:
            for number in range(2000):
                context[f"{name}{number % 50}"] = [number]
                context.pop(f"{name}{(number * 7) % 50}", None)

        def write_all() -> None:
            try:
                _together(lambda: write("a"), lambda: write("b"))
            finally:
                done.set()

        def read() -> None:
            while not done.is_set():
                list(context)
                list(context.keys())
                list(context.values())
                list(context.items())
                repr(context)
                copy.copy(context)
                copy.deepcopy(context)
                Context(context)
                context == {}  # noqa: B015
                len(context)
                context.snapshot()

        _together(write_all, read, read)

    def test_values_changed_in_place_inside_with_are_seen_whole(self) -> None:
        context = Context({"nested": OrderedDict.fromkeys(range(-20, 21))})  # its repr raises when it changes meanwhile
        done = threading.Event()

        def write() -> None:
            number = 20
            while not done.is_set():
                number += 1
                with context:
                    nested = context["nested"]
                    nested[number] = nested[-number] = None
                    del nested[number - 20], nested[20 - number]

        def read() -> None:
            try:
                for _ in range(300):
                    self.assertEqual(sum(context.snapshot()["nested"]), 0)
                    self.assertEqual(sum(copy.deepcopy(context)["nested"]), 0)
                    self.assertIn("nested", repr(context))
                    self.assertNotEqual(context, {"nested": OrderedDict.fromkeys(range(41))})
            finally:
                done.set()

        _together(write, read)


def _together(*actions: Callable[[], object]) -> None:
    """Run each action in a thread of its own, started at one moment; an exception of theirs fails the test."""
    barrier = threading.Barrier(len(actions))

    def act(action: Callable[[], object]) -> None:
        barrier.wait()
        action()

    threads = [threading.Thread(target=act, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _updated(context: Context) -> dict[str, Any]:
    other = Context()
    other.update(context)
    return other.snapshot()


def _is_free(context: Context) -> bool:
    lock = getattr(context, "_Context__lock")  # noqa: B009
    if lock.acquire(blocking=False):
        lock.release()
        return True
    return False


def _in_thread(action: Callable[[], Any]) -> Any:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(action()))
    thread.start()
    thread.join()
    return results[0]


if __name__ == "__main__":
    unittest.main()
