"""The runner and the leak checks: what has to fail does, and says why."""

import importlib
import os
import re
import sys
import tempfile
import time
import unittest
from pathlib import Path
from unittest import mock

from tests import support
from tests.running import HEADER, RunnerTestCase
from tests.support import EZEZTestCase, eventually, free_port, needs_node, run_sample, switch_interval

MOSTLY_WAITS = True
SAME_ON_EVERY_PYTHON = True


class RunnerTest(RunnerTestCase):
    def test_passes_are_counted_and_the_exit_code_is_0(self) -> None:
        done = self.run_tests("""
            class Sample(EZEZTestCase):
                def test_a(self): pass
                def test_b(self): pass
                @unittest.expectedFailure
                def test_c(self): self.fail()
        """)
        self.assert_counts(done, 3, 0)
        self.assertEqual(done.stderr, "")

    def test_failures_errors_and_unexpected_successes_are_counted_and_shown(self) -> None:
        done = self.run_tests("""
            class Sample(EZEZTestCase):
                def test_a(self): self.assertEqual(1, 2)
                def test_b(self): raise KeyError("what")
                @unittest.expectedFailure
                def test_c(self): pass
                def test_d(self): pass
        """)
        self.assert_counts(done, 1, 3)
        self.assertIn("FAILED: sample_tests.Sample.test_a\nTraceback", done.stdout)
        self.assertIn("AssertionError: 1 != 2", done.stdout)
        self.assertIn("KeyError: 'what'", done.stdout)

    def test_a_test_with_several_failing_parts_counts_once(self) -> None:
        done = self.run_tests("""
            class Sample(EZEZTestCase):
                def tearDown(self): raise OSError("tearDown too")
                def test_a(self):
                    for number in range(3):
                        with self.subTest(number=number):
                            self.assertEqual(number, 1)
        """)
        self.assert_counts(done, 0, 1)
        self.assertIn("(number=0)", done.stdout)
        self.assertIn("(number=2)", done.stdout)
        self.assertIn("tearDown too", done.stdout)

    def test_broken_fixtures_and_modules_count_as_failures(self) -> None:
        fixture = """
            class Sample(EZEZTestCase):
                @classmethod
                def setUpClass(cls): raise OSError("no such luck")
                def test_a(self): pass
        """
        self.assert_counts(self.run_tests(fixture), 0, 1)
        for body in ("import no_such_module", "1 +", "raise OSError"):
            with self.subTest(body):
                self.assert_counts(self.run_tests(body), 0, 1)

    def test_no_test_at_all_is_a_failure(self) -> None:
        self.assert_counts(self.run_tests(""), 0, 1)
        self.assert_counts(self.run_tests("", name="no_such_module"), 0, 1)

    def test_skipped_tests_are_shown_in_one_line_with_their_reason(self) -> None:
        done = self.run_tests("""
            class Sample(EZEZTestCase):
                def test_a(self): pass
                def test_b(self): self.skipTest("not on a\\nMonday")

            @unittest.skip("closed")
            class Other(EZEZTestCase):
                def test_a(self): pass
                def test_b(self): pass
        """)
        self.assert_counts(done, 1, 0)
        self.assertIn("\nskipped: sample_tests.Sample.test_b: not on a Monday\n", done.stdout)
        self.assertIn("\nskipped: 2 tests of sample_tests.Other: closed\n", done.stdout)
        self.assertIn("\n3 skipped\n", done.stdout)
        self.assertNotIn("not run", done.stdout)

    def test_the_name_of_a_folder_stands_for_all_that_is_in_it(self) -> None:
        runner = importlib.import_module("tests.__main__")
        folder, module = (
            runner._load_name(unittest.TestLoader(), name).countTestCases()
            for name in ("tests.threads", "tests.threads.test_timers")
        )
        self.assertGreater(folder, module)
        self.assertGreater(module, 10)

    def test_a_part_that_is_skipped_does_not_hide_the_test(self) -> None:
        done = self.run_tests("""
            class Sample(EZEZTestCase):
                def test_a(self):
                    with self.subTest(part=1): self.skipTest("part")
        """)
        self.assert_counts(done, 1, 0)
        self.assertIn("part", done.stdout)

    def test_the_modules_with_a_mark_and_those_without_it_are_all_tests_and_each_once(self) -> None:
        (self.folder / "beside_tests.py").write_text(
            HEADER + "MAY_RUN_BESIDE = True\nclass Beside(EZEZTestCase):\n    def test_a(self): pass\n"
        )
        body = """
            class Sample(EZEZTestCase):
                def test_a(self): pass
                def test_b(self): pass
        """
        for option, passed in (("--only=MAY_RUN_BESIDE", 1), ("--without=MAY_RUN_BESIDE", 2), ("--verbose", 3)):
            self.assert_counts(self.run_tests(body, option, "beside_tests"), passed, 0)
        self.assert_counts(self.run_tests(body, "--only=MAY_RUN_BESIDE"), 0, 1)

    def test_counts_can_go_into_a_file(self) -> None:
        counts = self.folder / "counts"
        done = self.run_tests(
            """
            class Sample(EZEZTestCase):
                def test_a(self): pass
                def test_b(self): self.fail()
            """,
            f"--counts={counts}",
        )
        self.assertEqual(counts.read_text(), "1 1 0\n")
        self.assertNotIn("1 passed, 1 failed", done.stdout)
        self.assertEqual(done.returncode, 1)

    def test_the_slowest_are_shown_with_the_time_in_which_they_compute(self) -> None:
        done = self.run_tests(
            """
            class Sample(EZEZTestCase):
                def test_a(self): pass
                def test_b(self): time.sleep(0.1)
                def test_c(self): time.sleep(0.2)
            """,
            "--slowest=2",
        )
        shown = re.findall(r"^slow: +([\d.]+) s, computing +[\d.]+ s: .+\.test_(.)$", done.stdout, re.MULTILINE)
        self.assertEqual(["c", "b"], [name for _, name in sorted(shown, reverse=True)])
        self.assert_counts(done, 3, 0)

    def test_names_and_patterns_select_tests(self) -> None:
        body = """
            class Sample(EZEZTestCase):
                def test_one(self): pass
                def test_two(self): self.fail()
        """
        self.assert_counts(self.run_tests(body, name="sample_tests.Sample.test_one"), 1, 0)
        self.assert_counts(self.run_tests(body, "-k", "one"), 1, 0)

    def test_a_test_that_leaves_a_thread_fails(self) -> None:
        done = self.run_tests("""
            gate = threading.Event()

            class Sample(EZEZTestCase):
                ezez_grace = other_grace = 0.05
                def test_a(self): threading.Thread(target=gate.wait, name="ezez-conn-7", daemon=True).start()
                def test_b(self): threading.Thread(target=gate.wait, name="mine", daemon=True).start()
                def test_c(self): pass

            def tearDownModule(): gate.set()
        """)
        self.assert_counts(done, 1, 2)
        self.assertIn("left behind: thread 'ezez-conn-7' (daemon)\n", done.stdout)
        self.assertIn("left behind: thread 'mine' (daemon)\n", done.stdout)

    def test_a_thread_of_the_library_may_take_a_moment_to_end(self) -> None:
        done = self.run_tests("""
            class Sample(EZEZTestCase):
                def test_a(self): threading.Thread(target=time.sleep, args=(0.2,), name="ezez-conn-7").start()
        """)
        self.assert_counts(done, 1, 0)

    @unittest.skipUnless(support.open_fds(), "no /proc/self/fd here")
    def test_a_test_that_leaves_a_socket_or_a_file_fails(self) -> None:
        done = self.run_tests("""
            kept = []

            class Sample(EZEZTestCase):
                def test_a(self):
                    kept.append(socket.create_server(("127.0.0.1", 0)))
                    self.addCleanup(kept.append, open(__file__))
                def test_b(self): pass

            def tearDownModule():
                for one in kept: one.close()
        """)
        self.assert_counts(done, 1, 1)
        self.assertRegex(done.stdout, r"left behind: file descriptor \d+.*'127.0.0.1'")
        self.assertIn("sample_tests.py)", done.stdout)

    def test_a_socket_that_only_the_garbage_collector_closes_fails_the_test(self) -> None:
        done = self.run_tests("""
            class Sample(EZEZTestCase):
                def test_a(self): socket.socket()
                def test_b(self):
                    cycle = [socket.socket()]
                    cycle.append(cycle)
                def test_c(self): pass
        """)
        self.assert_counts(done, 1, 2)
        self.assertEqual(done.stdout.count("ResourceWarning: unclosed <socket.socket"), 2)

    def test_exceptions_that_python_only_prints_fail_the_test(self) -> None:
        done = self.run_tests("""
            class Sample(EZEZTestCase):
                def run_thread(self, action):
                    thread = threading.Thread(target=action, name="mine")
                    thread.start()
                    thread.join()
                def test_thread(self): self.run_thread(lambda: 1 / 0)
                def test_exit(self): self.run_thread(sys.exit)
                def test_destructor(self):
                    class Bad:
                        def __del__(self): raise LookupError("in __del__")
                    Bad()
                def test_expected(self):
                    self.run_thread(lambda: 1 / 0)
                    self.assertIn("ZeroDivisionError", self.swallowed.pop())
        """)
        self.assert_counts(done, 2, 2)
        self.assertIn("swallowed: in thread 'mine': Traceback", done.stdout)
        self.assertIn("LookupError: in __del__", done.stdout)

    def test_warnings_are_errors(self) -> None:
        done = self.run_tests("""
            class Sample(unittest.TestCase):
                def test_a(self): warnings.warn("old", DeprecationWarning)
        """)
        self.assert_counts(done, 0, 1)
        self.assertIn("DeprecationWarning: old", done.stdout)

    def test_what_a_class_leaves_fails_the_run(self) -> None:
        done = self.run_tests("""
            class Sample(EZEZTestCase):
                @classmethod
                def setUpClass(cls):
                    EZEZTestCase.other_grace = 0.05
                    cls.kept = socket.socket()
                    threading.Thread(target=threading.Event().wait, name="mine", daemon=True).start()
                @classmethod
                def tearDownClass(cls):
                    thread = threading.Thread(target=lambda: 1 / 0)
                    thread.start()
                    thread.join()
                def test_a(self): pass
        """)
        self.assertEqual(done.stdout.splitlines()[-1], "1 passed, 2 failed", done.stdout)
        self.assertEqual(done.returncode, 1)
        self.assertIn("FAILED: all tests together\nleft behind: mine", done.stdout)
        self.assertIn("ZeroDivisionError", done.stdout)

    def test_a_fixture_that_skips_skips_each_of_its_tests(self) -> None:
        done = self.run_tests("""
            class Sample(EZEZTestCase):
                @classmethod
                def setUpClass(cls): raise unittest.SkipTest("not today")
                def test_a(self): pass
                def test_b(self): pass

            class Other(EZEZTestCase):
                def test_a(self): pass
        """)
        self.assert_counts(done, 1, 0)
        self.assertIn("\nskipped: 2 tests of sample_tests.Sample: not today\n2 skipped\n", done.stdout)
        self.assertNotIn("not run", done.stdout)

    def test_a_run_that_is_broken_off_says_how_many_tests_were_not_run(self) -> None:
        body = """
            class Sample(EZEZTestCase):
                def test_a(self): pass
                def test_b(self): self.fail()
                def test_c(self): pass
                def test_d(self): pass
        """
        done = self.run_tests(body, "--failfast")
        self.assert_counts(done, 1, 1)
        self.assertIn("\n2 not run\n", done.stdout)

    def test_what_ends_the_process_is_among_the_counts_that_it_leaves(self) -> None:
        counts = self.folder / "counts"
        self.run_tests(
            """
            class Sample(EZEZTestCase):
                def test_a(self): os._exit(3)
                def test_b(self): pass
                def test_c(self): pass
            """,
            f"--counts={counts}",
        )
        self.assertEqual(counts.read_text(), "0 1 3\n")


class HelpersTest(EZEZTestCase):
    def test_switch_interval_is_restored(self) -> None:
        before = sys.getswitchinterval()
        with self.assertRaises(KeyError), switch_interval(1e-4):
            self.assertAlmostEqual(sys.getswitchinterval(), 1e-4)
            raise KeyError
        self.assertEqual(sys.getswitchinterval(), before)

    def test_eventually_returns_the_first_true_value(self) -> None:
        values = iter([0, None, "yes"])
        self.assertEqual(eventually(lambda: next(values)), "yes")

    def test_eventually_fails_with_what_it_waited_for(self) -> None:
        with self.assertRaisesRegex(AssertionError, "not within 0.01 s: a miracle; the last value was 0"):
            eventually(lambda: 0, timeout=0.01, what="a miracle")

    def test_a_free_port_can_be_bound(self) -> None:
        self.assertGreater(free_port(), 0)

    def test_a_sample_gets_arguments_input_and_environment(self) -> None:
        path = self.script("import os, sys; print(sys.argv[1], input(), os.environ['X']); sys.exit('no')")
        done = run_sample(path, "a", input="b\n", env={"X": "c"})
        self.assertEqual((done.stdout, done.stderr, done.returncode), ("a b c\n", "no\n", 1))

    def test_a_sample_that_hangs_is_killed_with_its_children(self) -> None:
        child = "import time; time.sleep(600)"
        path = self.script(
            f"import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', {child!r}]);"
            "print(child.pid, flush=True); child.wait()"
        )
        start = time.monotonic()
        with self.assertRaisesRegex(AssertionError, "still ran after 1 s\n[0-9]+") as caught:
            run_sample(path, timeout=1)
        self.assertLess(time.monotonic() - start, 50)
        child_pid = str(caught.exception).split("\n")[1]
        eventually(lambda: not _runs(child_pid), what="the child is gone")

    def test_needs_node_skips_fails_or_lets_pass(self) -> None:
        for missing, require, skipped, failed in [("", "1", 0, 0), ("no Node", "", 1, 0), ("no Node", "1", 0, 1)]:
            with (
                self.subTest(missing=missing, require=require),
                mock.patch.object(support, "node_missing", lambda missing=missing: missing),
                mock.patch.dict(os.environ, {"EZEZ_REQUIRE_NODE": require}),
            ):
                self.check_needs_node(missing, skipped, failed)

    def check_needs_node(self, missing: str, skipped: int, failed: int) -> None:
        class Sample(unittest.TestCase):
            @needs_node
            def test_a(self) -> None:
                pass

        @needs_node
        class Whole(unittest.TestCase):
            def test_a(self) -> None:
                pass

        for case in (Sample, Whole):
            result = unittest.TestResult()
            unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
            self.assertEqual(len(result.skipped), skipped)
            self.assertEqual(len(result.failures) + len(result.errors), failed)
        if skipped or failed:
            with self.assertRaisesRegex(unittest.SkipTest if skipped else AssertionError, missing):
                needs_node()
        else:
            needs_node()

    def script(self, code: str) -> str:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = Path(folder.name) / "sample.py"
        path.write_text(code)
        return str(path)


def _runs(pid: str) -> bool:
    """Whether that process runs; a dead one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


if __name__ == "__main__":
    unittest.main()
