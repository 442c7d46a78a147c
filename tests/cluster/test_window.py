"""What a node keeps of the log, against a model of a few lines."""

import unittest

from hypothesis import given
from hypothesis import strategies as st

from ezez_ws.cluster.entries import Said, Target
from ezez_ws.cluster.window import Window

MAY_RUN_BESIDE = True


def said(*rooms: str, size: int = 10) -> Said:
    return Said(Target(rooms), "event", b"x" * size)


class WindowTest(unittest.TestCase):
    def test_each_publication_is_found_once_in_order_and_only_what_is_newer(self) -> None:
        window = Window(100.0, 1 << 20)
        for number, rooms in enumerate((("a",), ("b",), ("a", "b"), ("c",), ("b", "a"))):
            window.add((number, 0, 1), said(*rooms))
        found = window.find_missed({"a": (0, 0, 1), "b": (1, 0, 1)})
        self.assertEqual([2, 4], [order[0] for order, _, _ in found])
        self.assertEqual(
            [0, 1, 2, 4], [order[0] for order, _, _ in window.find_missed({"a": (0, 0, 0), "b": (0, 0, 0)})]
        )
        self.assertEqual([], window.find_missed({"d": (0, 0, 0)}))

    def test_what_is_too_old_or_too_much_goes_first(self) -> None:
        window = Window(1.0, 5000)
        self.assertEqual(0, window.let_go_ms)
        for number in range(5):
            window.add((number * 400, 0, 1), said("a"))
        self.assertEqual((3, (400, 0, 1), 400), (len(window), window.begin, window.let_go_ms))
        self.assertEqual(0.8, window.seconds)
        window.add((1700, 0, 1), said("b", size=4500))
        self.assertEqual(1, len(window))
        window.trim(100_000)
        self.assertEqual((0, 0, (1700, 0, 1)), (len(window), window.bytes, window.begin))
        self.assertEqual([], window.find_missed({"a": (0, 0, 0), "b": (0, 0, 0)}))
        window.begin_anew((5000, 0, 1))
        self.assertEqual(((5000, 0, 1), 0), (window.begin, window.let_go_ms))

    def test_what_is_read_again_does_not_move_its_beginning_back(self) -> None:
        window = Window(10, 1 << 20)
        window.begin_anew((50_000, 0, 0))
        window.add((1_000, 0, 1), said("a", size=0))
        window.add((20_000, 0, 1), said("a", size=0))
        self.assertEqual((50_000, 0, 0), window.begin)
        self.assertEqual(1, len(window))

    def test_what_was_too_old_or_too_much_may_go_but_not_what_lies_before_a_new_beginning(self) -> None:
        """Others may not have read that yet."""
        window = Window(10, 1 << 20)
        window.add((1_000, 0, 1), said("a", size=0))
        self.assertEqual(0, window.let_go_ms)
        window.trim(12_000)
        self.assertEqual((1_000, (1_000, 0, 1)), (window.let_go_ms, window.begin))
        window.begin_anew((50_000, 0, 0))
        self.assertEqual(0, window.let_go_ms)

    @given(
        st.lists(
            st.tuples(st.integers(0, 300), st.sets(st.sampled_from("abc"), min_size=1), st.integers(0, 800)),
            max_size=30,
        ),
        st.dictionaries(st.sampled_from("abc"), st.integers(0, 3000)),
    )
    def test_it_finds_what_a_model_finds(self, steps: list[tuple[int, set[str], int]], since: dict[str, int]) -> None:
        window = Window(1.0, 5000)
        model: list[tuple[int, set[str]]] = []
        now = 0
        for pause, rooms, size in steps:
            now += pause + 1
            window.add((now, 0, 1), said(*sorted(rooms), size=size))
            model.append((now, rooms))
        kept = [(at, rooms) for at, rooms in model if (at, 0, 1) > window.begin]
        self.assertEqual(len(kept), len(window))
        expected = [at for at, rooms in kept if any(room in since and at > since[room] for room in rooms)]
        found = window.find_missed({room: (at, 0, 1) for room, at in since.items()})
        self.assertEqual(expected, [order[0] for order, _, _ in found])
        self.assertTrue(all(now - at <= 1000 for at, _ in kept))
        self.assertLessEqual(window.bytes, 5000)
