"""What a connection counts: in C as in Python."""

import math
import random
import unittest
from collections.abc import Callable
from typing import Any

from ezez_ws.messages import tally
from ezez_ws.messages.speedups import compiled
from ezez_ws.threads import clock

MAY_RUN_BESIDE = True
ABOUT_THE_EXTENSION = True

KINDS: list[Any] = [tally._Tally, *([compiled.Tally] if hasattr(compiled, "Tally") else [])]


class TallyTest(unittest.TestCase):
    def setUp(self) -> None:
        self.now = 1000.0
        self.addCleanup(self.read_by, clock.monotonic, None)
        self.read_by(lambda: self.now, lambda: self.now)

    def read_by(self, python: Callable[[], float], c: Callable[[], float] | None) -> None:
        clock.monotonic = python
        tally.use_clock(c)

    def seen(self, one: Any) -> tuple[Any, ...]:
        names = ("received", "bytes_received", "sent", "bytes_sent", "timed_out", "expired")
        return (*(getattr(one, name) for name in names), *tally.histograms_of(one), one.running())

    def test_a_new_one_has_counted_nothing(self) -> None:
        nothing = dict.fromkeys((*tally.BOUNDS, math.inf), 0)
        for kind in KINDS:
            self.assertEqual(self.seen(kind()), (0, 0, 0, 0, 0, 0, (0, 0.0, nothing), (0, 0.0, nothing), None))

    def test_an_event_is_counted_with_its_bytes_its_wait_and_its_listeners_time(self) -> None:
        for kind in KINDS:
            with self.subTest(kind):
                self.now = 1000.0
                one = kind()
                one.begin("chat", b"12345", 999.9)
                self.assertEqual(one.running(), ("chat", 1000.0))
                self.now += 0.25
                one.end()
                listener, waiting = tally.histograms_of(one)
                self.assertEqual((one.received, one.bytes_received, one.running()), (1, 5, None))
                self.assertEqual((listener.count, listener.sum), (1, 0.25))
                self.assertEqual((listener.buckets[0.1], listener.buckets[0.25], listener.buckets[math.inf]), (0, 1, 1))
                self.assertEqual(waiting.count, 1)
                self.assertAlmostEqual(waiting.sum, 0.1)

    def test_what_runs_inside_is_seen_and_what_is_outside_goes_on(self) -> None:
        for kind in KINDS:
            with self.subTest(kind):
                one = kind()
                one.begin("outer", b"", 1000.0)
                began = self.now
                before = one.enter("on_error")
                self.assertEqual(one.running(), ("on_error", self.now))
                self.now += 1
                one.resume(before)
                self.assertEqual(one.running(), ("outer", began))
                one.end()
                self.assertEqual(tally.histograms_of(one)[0].sum, 1.0)
                one.resume(one.enter("alone"))
                self.assertIsNone(one.running())

    def test_wrong_arguments_are_type_errors(self) -> None:
        for kind in KINDS:
            one = kind()
            for method, args in ((one.begin, ()), (one.put, (5,)), (one.take, (None,)), (one.resume, (5,))):
                with self.assertRaises(TypeError):
                    method(*args)

    def test_both_count_the_same_whatever_happens(self) -> None:
        chance = random.Random(1)
        for _ in range(300):
            pairs = [[kind() for kind in KINDS] for _ in range(2)]
            saved: list[list[Any]] = []
            for _ in range(chance.randrange(60)):
                ones = chance.choice(pairs)
                payload = chance.choice((b"", b"x" * 1000, "text"))
                step = chance.randrange(9)
                past = self.now - chance.choice((-5, 0, 1e-4, 0.0005, 30, 31))
                if step == 6:
                    saved.append([one.enter("inner") for one in ones])
                for place, one in enumerate(ones):
                    if step == 0:
                        one.begin("event", payload, past)
                    elif step == 1:
                        one.end()
                    elif step in (2, 3):
                        one.put(payload)
                    elif step == 4:
                        one.take(payload)
                    elif step == 5:
                        one.add(pairs[0][place])
                    elif step == 7 and saved:
                        one.resume(saved[-1][place])
                    elif step == 8:
                        one.timed_out += 1
                        one.expired += 2
                self.now += chance.choice((0, 0.0004, 0.3, 100))
            for ones in pairs:
                self.assertEqual(self.seen(ones[0]), self.seen(ones[-1]))
