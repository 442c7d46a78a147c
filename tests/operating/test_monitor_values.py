"""What the monitor tells of values that are the program's or a peer's: data only, short, and got without waiting."""

import math
import threading
import unittest
from collections import deque
from typing import Any

from ezez_ws import Codec, Context
from ezez_ws.figures import Histogram, ServerStats
from ezez_ws.operating import samples
from ezez_ws.operating.samples import ClientRows, History, sample_of
from tests.serving import ServingTestCase
from tests.support import EZEZTestCase, eventually


class Hostile:
    """Whose methods must not be called."""

    def __repr__(self) -> str:
        raise AssertionError("asked for its repr")

    __str__ = __repr__

    def __iter__(self) -> Any:
        raise AssertionError("iterated over")


class HostileList(list[Any]):
    __repr__ = __iter__ = Hostile.__repr__  # type: ignore[assignment]


class HostileText(str):
    __slots__ = ()
    __repr__ = Hostile.__repr__


def text_of(**values: Any) -> str:
    context = Context()
    for name, value in values.items():
        context[name] = value
    text = context._ezez_look(samples._plain_text)
    assert text is not None
    return text


class ContextTest(EZEZTestCase):
    def test_plain_data_reads_as_in_python(self) -> None:
        values = {"a": 1, "b": [True, None, 1.5], "c": {"d": ("e", 2)}, "f": b"g"}
        self.assertEqual(repr(values), text_of(**values))

    def test_of_other_objects_only_the_class_is_told(self) -> None:
        text = text_of(a=Hostile(), b=HostileList([1]), c=HostileText("d"), e=Context(), f=deque([1]))
        self.assertEqual("{'a': <Hostile>, 'b': <HostileList>, 'c': <HostileText>, 'e': <Context>, 'f': [1]}", text)

    def test_it_is_cut_whatever_its_size_and_depth(self) -> None:
        endless: list[Any] = []
        endless.append(endless)
        for value in ("x" * 10**7, [1] * 10**6, {n: n for n in range(10**5)}, endless, 1 << 10**6, b"y" * 10**7):
            self.assertLessEqual(len(text_of(value=value)), 200)

    def test_what_a_terminal_or_a_page_might_obey_is_escaped(self) -> None:
        self.assertNotRegex(text_of(**{"\x1b[31m": "\u202e\n\ud800"}), "[\x00-\x1f\u202e\ud800]")

    def test_who_holds_the_context_is_not_waited_for(self) -> None:
        context = Context({"a": 1})
        texts: list[Any] = []
        with context:
            thread = threading.Thread(target=lambda: texts.append(context._ezez_look(samples._plain_text)))
            thread.start()
            thread.join(10)
        self.assertEqual([None], texts)
        self.assertEqual("{'a': 1}", context._ezez_look(samples._plain_text))


class HistoryTest(EZEZTestCase):
    def test_the_last_samples_are_kept(self) -> None:
        history = History()
        for number in range(200):
            history.add_sample(stats(connections=number))
        kept = [sample["connections"] for sample in history.samples()]
        self.assertEqual(list(range(20, 200)), kept)

    def test_the_last_errors_are_kept_and_told_once(self) -> None:
        history = History()
        history.add_error(ValueError("first"), "a callback", {})
        last, errors = history.errors()
        self.assertEqual(["ValueError: first"], [error["error"] for error in errors])
        self.assertEqual((last, []), history.errors(last))
        history.add_error(ValueError("second"), "a callback", {})
        self.assertEqual(["ValueError: second"], [error["error"] for error in history.errors(last)[1]])

    def test_a_flood_of_errors_costs_no_more_than_a_few_tracebacks(self) -> None:
        history = History()
        for number in range(10_000):
            history.add_error(ValueError(number), "a callback", {})
        last, errors = history.errors()
        self.assertLessEqual(len(errors), 50)
        self.assertLess(last, 1000)

    def test_a_long_or_hostile_error_is_cut_and_escaped(self) -> None:
        class Unspeakable(Exception):
            def __str__(self) -> str:
                raise RuntimeError

        def dive(depth: int) -> None:
            dive(depth - 1) if depth else None
            raise ValueError("x" * 10**6 + "\n\x1b[31m" * 10**4)

        found: list[dict[str, Any]] = []
        for wrong in (ValueError("x" * 10**6), ValueError("a\n\u202eb" * 10**4), Unspeakable(), ValueError("\ud800")):
            history = History()
            history.add_error(wrong, "\x1b[31m" * 100, {"event": "e"})
            found += history.errors()[1]
        try:
            dive(300)
        except ValueError as error:
            history.add_error(error, "", {})
        found += history.errors()[1]
        for told in found:
            self.assertLess(len(told["error"]), 2001)  # an escape is longer than what it is for
            self.assertLess(len(told["what"]), 2001)
            self.assertLess(len(told["traceback"]), 201 * 5001)
            self.assertNotRegex(told["error"] + told["what"] + told["traceback"], "[\x00-\x09\x0b-\x1f\u202e\ud800]")
            Codec().encode([told])


def stats(**values: Any) -> ServerStats:
    empty = Histogram(1, 0.5, {0.1: 0, math.inf: 1})
    kinds = ServerStats.__annotations__
    defaults: dict[str, Any] = {
        name: {} if "dict" in str(kind) else empty if kind is Histogram else 0 for name, kind in kinds.items()
    }
    return ServerStats(**{**defaults, **values})


class SampleTest(EZEZTestCase):
    def test_a_sample_has_all_figures_under_the_names_of_javascript(self) -> None:
        sample = sample_of(5, stats(clients_cut={"too-big": 2}))
        self.assertEqual(len(ServerStats._fields) + 1, len(sample))
        self.assertEqual((5, {"too-big": 2}), (sample["at"], sample["clientsCut"]))
        self.assertEqual({"count": 1, "sum": 0.5, "buckets": [[0.1, 0], [None, 1]]}, sample["listenerSeconds"])
        Codec().encode([sample])


class ClientsTest(ServingTestCase):
    def test_only_what_has_changed_is_told_again(self) -> None:
        server = self.serve()
        side, peer = self.pair(server)
        other, _ = self.pair(server)
        connections = [one._ezez_connection for one in (side, other)]
        clients = ClientRows()
        changed, gone = clients.look(connections, {})
        self.assertEqual(({side.connection_id, other.connection_id}, []), ({row["id"] for row in changed}, gone))
        self.assertEqual(([], []), clients.look(connections, {}))
        peer.send_event("something")
        eventually(lambda: side.stats().messages_received)
        changed, gone = clients.look(connections, {})
        self.assertEqual([side.connection_id], [row["id"] for row in changed])
        self.assertEqual(([], [side.connection_id]), clients.look(connections[1:], {}))

    def test_many_are_told_in_portions_and_looked_at_in_turn(self) -> None:
        server = self.serve()
        sides = [self.pair(server)[0] for _ in range(5)]
        connections = [side._ezez_connection for side in sides]
        numbers = [side.connection_id for side in sides]
        clients = ClientRows()
        before, samples.PORTION = samples.PORTION, 2
        self.addCleanup(setattr, samples, "PORTION", before)
        changed, _ = clients.look(connections, {})
        told = clients.portions(changed, [7])
        self.assertEqual(
            [numbers[:2], numbers[2:4], numbers[4:]], [[row["id"] for row in one["changed"]] for one in told]
        )
        self.assertEqual(([[7], [], []], {5}), ([one["gone"] for one in told], {one["total"] for one in told}))
        for side in sides:
            side.context["changed"] = True
        turns = [[row["id"] for row in clients.look(connections, {})[0]] for _ in range(3)]
        self.assertEqual(sorted(numbers), sorted(number for turn in turns for number in turn))
        self.assertLessEqual(max(map(len, turns)), 2)


if __name__ == "__main__":
    unittest.main()
