"""What `make test` counts: the failures of every part, however it ends, and no more."""

import contextlib
import io
import os
import re
import unittest
from unittest import mock

from tests.everything import IN_PYTHON, LINT, Part, Tally, run_suite
from tests.running import RunnerTestCase
from tests.support import REPO

MOSTLY_WAITS = True
SAME_ON_EVERY_PYTHON = True

BODY = """
    class Sample(EZEZTestCase):
        def test_a(self): pass
        def test_b(self): {}
        def test_c(self): pass
"""


class TallyTest(RunnerTestCase):
    def tally_of(self, action: str) -> "tuple[tuple[int, int, int], list[str]]":
        """Run a part whose second test does this; return the counts, and the last lines of the output."""
        self.write(BODY.format(action))
        part = Part("sample", ["sample_tests"], beside=True)
        tally = Tally()
        said = io.StringIO()
        with (
            mock.patch.dict(os.environ, {"PYTHONPATH": str(self.folder)}),
            contextlib.redirect_stdout(said),
            open(os.devnull, "w") as out,
        ):
            part.run(out)
            tally.add(part)
            self.assertEqual(tally.close(), 1 if tally.failed else 0)
        return (tally.passed, tally.failed, tally.not_run), said.getvalue().splitlines()

    def test_tests_that_pass_and_fail_are_added_up(self) -> None:
        self.assertEqual(self.tally_of("pass"), ((3, 0, 0), ["3 passed, 0 failed"]))
        self.assertEqual(self.tally_of("self.fail()"), ((2, 1, 0), ["2 passed, 1 failed"]))

    def test_a_part_that_is_broken_off_is_one_failure_and_says_what_was_not_run(self) -> None:
        counts, said = self.tally_of("os._exit(1)")
        self.assertEqual(counts, (0, 1, 3))
        self.assertEqual(said, ["3 not run", "0 passed, 1 failed"])

    def test_a_part_that_a_signal_ends_is_one_failure_and_named(self) -> None:
        counts, said = self.tally_of("os.kill(os.getpid(), signal.SIGKILL)")
        self.assertEqual(counts, (0, 1, 3))
        self.assertEqual(said[0], "FAILED: sample: the process ended with -9")

    def test_a_step_that_fails_is_one_failure_and_one_that_passes_is_nothing(self) -> None:
        tally = Tally()
        with contextlib.redirect_stdout(io.StringIO()):
            self.write("pass")
            tally.step(f"compileall -fqq {self.folder}")
            self.assertEqual(tally, Tally(0, 0, 0))
            self.write("1 +")
            tally.step(f"compileall -fqq {self.folder}")
        self.assertEqual(tally, Tally(0, 1, 0))


class SuiteTest(unittest.TestCase):
    def test_each_module_is_in_one_part_whatever_its_marks(self) -> None:
        parts: list[list[str]] = []

        def run(part: Part, out: object = None) -> None:
            part.counts = "1 0 0"
            if IN_PYTHON not in part.environment:
                parts.append(part.options)

        tally = Tally()
        with mock.patch.object(Part, "run", run), mock.patch.dict(os.environ, {IN_PYTHON: ""}):
            run_suite(tally, [], coverage=False)
        self.assertEqual(4, tally.passed)
        for marks in ([], ["MAY_RUN_BESIDE"], ["MOSTLY_WAITS"], ["MAY_RUN_BESIDE", "MOSTLY_WAITS"]):
            chosen = [
                options
                for options in parts
                if all(
                    (mark in marks) == (what == "--only")
                    for what, mark in zip(options[::2], options[1::2], strict=True)
                )
            ]
            self.assertEqual(1, len(chosen), (marks, parts))


class LintTest(unittest.TestCase):
    def test_the_hooks_of_pre_commit_are_the_same_steps(self) -> None:
        hooks = (REPO / ".pre-commit-config.yaml").read_text("utf-8")
        self.assertEqual(tuple(re.findall(r"^ +entry: \.venv-test/bin/python -m (.+)$", hooks, re.MULTILINE)), LINT)


if __name__ == "__main__":
    unittest.main()
