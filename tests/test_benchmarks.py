"""The benchmarks' own arithmetic and text, their processes, and one tiny row for real. No test judges a speed."""

import contextlib
import io
import os
import sys
import tempfile
import time
import unittest
from pathlib import Path
from unittest import mock

from benchmarks.agent import Agent, AgentFailed
from benchmarks.broker import Broker
from benchmarks.check import compare
from benchmarks.exercises import read_stamp
from benchmarks.machine import cpu_seconds
from benchmarks.peers import GENERATOR, NODE, OURS, PEERS, Connection, find_missing
from benchmarks.results import Goal, Line, Results
from benchmarks.rows import ROWS
from benchmarks.run import Run
from benchmarks.servers import stamped
from benchmarks.table import markdown, number
from tests.support import EZEZTestCase

SAME_ON_EVERY_PYTHON = True


def line(samples: dict[str, list[float]], less_is_better: bool = False, goals: "tuple[Goal, ...]" = ()) -> Line:
    return Line("row", "work", "unit", samples, list(goals), less_is_better)


def results(*lines: Line) -> Results:
    return Results({"processor": "one"}, 3, list(lines), ["a note"])


class LineTest(EZEZTestCase):
    def test_a_ratio_is_of_medians_so_that_one_bad_round_does_not_count(self) -> None:
        self.assertEqual(2, line({OURS: [6, 1, 7], "peer": [3, 90, 2]}).ratio("peer"))

    def test_a_ratio_to_nobody_is_our_own_figure(self) -> None:
        self.assertEqual(30, line({OURS: [30]}).ratio(None))

    def test_there_is_no_ratio_to_who_is_missing_or_has_nothing(self) -> None:
        for samples in ({OURS: [6.0]}, {"peer": [3.0]}, {OURS: [6.0], "peer": []}, {OURS: [6.0], "peer": [0.0]}):
            with self.subTest(samples=samples):
                self.assertIsNone(line(samples).ratio("peer"))
                self.assertIsNone(line(samples).reached(Goal("peer", 1)))

    def test_a_goal_is_a_least_value_or_where_less_is_better_a_greatest(self) -> None:
        samples: dict[str, list[float]] = {OURS: [6], "peer": [3]}
        for limit, more, less in ((1.9, True, False), (2, True, True), (2.1, False, True)):
            with self.subTest(limit=limit):
                self.assertIs(more, line(samples).reached(Goal("peer", limit)))
                self.assertIs(less, line(samples, less_is_better=True).reached(Goal("peer", limit)))


class TableTest(EZEZTestCase):
    def test_a_table_has_ours_first_then_the_ratios_to_the_others_and_what_was_to_be_reached(self) -> None:
        goals = (Goal("peer", 0.5), Goal(None, 2000))
        text = markdown(results(line({"peer": [3000, 2000, 5000], OURS: [1100, 1200, 1000]}, goals=goals)))
        self.assertEqual(
            [
                "processor: one",
                "",
                "Medians of 3 alternating rounds.",
                "",
                "| row | work | unit | who | median | min - max | ours ÷ theirs | to reach |",
                "| --- | --- | --- | --- | --- | --- | --- | --- |",
                "| row | work | unit | ezez_ws | 1,100 | 1,000 - 1,200 |  | ≥ 2,000: missed |",
                "| row | work | unit | peer | 3,000 | 2,000 - 5,000 | 0.367 | ≥ 0.5: missed |",
                "",
                "- a note",
            ],
            text.splitlines(),
        )

    def test_a_number_has_three_digits_or_all_before_the_point(self) -> None:
        numbers = [number(value) for value in (0.01234, 1.0, 99.94, 100.4, 1234567.8, None)]
        self.assertEqual(["0.0123", "1", "99.9", "100", "1,234,568", "-"], numbers)


class ResultsTest(EZEZTestCase):
    def test_what_is_saved_can_be_loaded(self) -> None:
        saved = results(line({OURS: [1.5]}, True, (Goal(None, 1), Goal("peer", 2))), line({}))
        with tempfile.TemporaryDirectory() as folder:
            saved.save(Path(folder, "run.json"))
            self.assertEqual(saved, Results.load(Path(folder, "run.json")))


class CheckTest(EZEZTestCase):
    def worse(self, old: Line, new: Line) -> list[str]:
        return [str(each) for each in compare(results(old), results(new))]

    def test_a_ratio_that_has_got_worse_by_more_than_15_percent_is_told(self) -> None:
        old = line({OURS: [100], "peer": [100]})
        self.assertEqual(
            ["row, work, unit: ours ÷ peer was 1, is 0.84"], self.worse(old, line({OURS: [84], "peer": [100]}))
        )
        self.assertEqual([], self.worse(old, line({OURS: [86], "peer": [100]})))

    def test_where_less_is_better_it_is_a_ratio_that_has_grown(self) -> None:
        old = line({OURS: [100], "peer": [100]}, less_is_better=True)
        self.assertEqual([], self.worse(old, line({OURS: [50], "peer": [100]}, less_is_better=True)))
        self.assertEqual(1, len(self.worse(old, line({OURS: [116], "peer": [100]}, less_is_better=True))))

    def test_a_slower_machine_is_not_worse(self) -> None:
        self.assertEqual([], self.worse(line({OURS: [100], "peer": [50]}), line({OURS: [10], "peer": [5]})))

    def test_a_ratio_of_less_than_nothing_means_nothing(self) -> None:
        old, new = (
            line({OURS: [9], "peer": [-1]}, less_is_better=True),
            line({OURS: [9], "peer": [1]}, less_is_better=True),
        )
        self.assertEqual([], self.worse(old, new))

    def test_neither_the_generator_nor_what_only_one_run_has_is_compared(self) -> None:
        old = line({OURS: [100], GENERATOR: [100], "gone": [100]})
        self.assertEqual([], self.worse(old, line({OURS: [10], GENERATOR: [100], "new": [100]})))
        self.assertEqual([], compare(results(), results(line({OURS: [10], "peer": [100]}))))


class AgentTest(EZEZTestCase):
    def test_an_agent_says_what_it_is_and_answers_each_command(self) -> None:
        script = 'import sys\nprint(\'{"url": "here"}\', flush=True)\nfor line in sys.stdin: print(line, flush=True)'
        with Agent([sys.executable, "-c", script]) as agent:
            self.assertEqual({"url": "here"}, agent.hello)
            self.assertEqual({"do": "this", "count": 2}, agent.ask("this", count=2))

    def test_an_agent_that_ends_too_early_is_reported_by_its_last_words(self) -> None:
        with self.assertRaisesRegex(AgentFailed, "its last words"):
            Agent([sys.executable, "-c", "import sys; sys.exit('its last words')"])

    def test_an_agent_that_does_not_answer_is_killed(self) -> None:
        start = time.monotonic()
        with self.assertRaisesRegex(AgentFailed, "no answer in time"):
            Agent([sys.executable, "-c", "import sys; sys.stdin.read()"], patience=0.1)
        self.assertLess(time.monotonic() - start, 10)


class ClusterTest(EZEZTestCase):
    def test_a_stamped_text_has_its_size_and_tells_when_it_was_made(self) -> None:
        before = time.perf_counter()
        text = stamped(64)
        self.assertEqual(64, len(text))
        self.assertLessEqual(before - 1e-6, read_stamp(b"head" + text.encode() + b"\0"))
        self.assertLessEqual(read_stamp(text.encode()), time.perf_counter() + 1e-6)

    @unittest.skipUnless(Path("/proc/self/stat").exists(), "needs /proc")
    def test_processor_time_is_of_all_processes_that_are_named(self) -> None:
        once = cpu_seconds(os.getpid())
        self.assertGreaterEqual(cpu_seconds(os.getpid(), os.getpid()), 2 * once)

    @unittest.skipIf(find_missing("redis-server", "redis"), find_missing("redis-server", "redis"))
    def test_a_broker_is_private_counts_commands_and_leaves_nothing(self) -> None:
        import redis

        with Broker() as broker, redis.Redis.from_url(broker.url) as client:
            folder = Path(client.config_get("dir")["dir"])
            client.set("key", "value")
            self.assertEqual(1, broker.calls()["set"])
        self.assertFalse(folder.exists())

    def test_rows_that_take_a_broker_say_so_where_there_is_none(self) -> None:
        for name in ROWS:
            if not name.startswith("cluster-") and name != "emit":
                continue
            with self.subTest(row=name), mock.patch("benchmarks.run.find_missing", return_value="redis-server"):
                run = Run(1, 0.1, True)
                with contextlib.redirect_stderr(io.StringIO()):
                    self.assertEqual([], ROWS[name].measure(run))
                self.assertIn("redis-server not installed", run.notes[0])


class RunTest(EZEZTestCase):
    def test_every_second_round_goes_backwards(self) -> None:
        self.assertEqual(list("abbaab"), list(Run(3, 1.0, False).alternate(["a", "b"])))

    def test_a_peer_that_is_not_installed_is_named(self) -> None:
        peer = Connection("script", "echo", ("sys", "no_such_package"))
        self.assertEqual("no_such_package", peer.missing())

    def test_a_variant_of_ours_gets_a_line_of_its_own_with_the_same_others(self) -> None:
        plain = line({OURS: [2], "sped up": [3], "peer": [1]}, goals=(Goal("peer", 3),))
        sped_up = plain.variant("sped up", "with more")
        self.assertEqual({OURS: [2], "peer": [1]}, plain.samples)
        self.assertEqual({OURS: [3], "peer": [1]}, sped_up.samples)
        self.assertEqual("work; with more", sped_up.work)
        self.assertTrue(sped_up.reached(sped_up.goals[0]))

    def test_a_tiny_run_of_the_codec_measures_all_who_are_installed(self) -> None:
        run = Run(1, 0.08, True)
        with contextlib.redirect_stderr(io.StringIO()):
            lines = run.run("codec", ROWS["codec"])
        who = {OURS} if PEERS[NODE].missing() else {OURS, NODE}
        self.assertEqual(16, len(lines))  # with the C extension and without
        for each in lines:
            with self.subTest(work=each.work):
                self.assertEqual(who, set(each.samples))
                self.assertGreater(each.median(OURS) or 0, 0)
        self.assertEqual(NODE in who, not run.notes)
