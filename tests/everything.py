"""Everything that is checked on one Python: ``python -m tests.everything [--suite | --portable] [--coverage-min N]``.

Lint, types, the suite and its coverage; ``make test`` runs this. The last line is ``N passed, M failed``: a step that
fails counts as one failure and does not keep the others from running, the suite counts as many as tests have failed.

The suite runs in parts at the same time, each in a process of its own: those tests that mostly wait, for other
processes or a clock; all others; and beside these two, at a low priority, the tests that a busy machine cannot make
fail; and mypy and then, without the C extension, the tests about the code that it stands for.

``--suite`` leaves out lint and coverage, ``--portable`` also what is marked as ``SAME_ON_EVERY_PYTHON``: these two are
for the other Pythons of a machine.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.support import REPO

__all__ = ["IN_PYTHON", "LINT", "Part", "Tally", "run_suite"]

IN_PYTHON = "EZEZ_WS_PURE_PYTHON"  # the environment variable that has the library do without its extension
LINT = ("ruff check --quiet .", "ruff format --quiet --check .", "mypy")
LOW = ["nice", "-n", "19"] if shutil.which("nice") else []


@dataclass
class Part:
    """A run of ``python -m tests`` with some of the tests.

    Args:
        title: of the output, if it needs one.
        options: of the run.
        coverage: whether to measure it.
        beside: at a low priority.
        environment: more of it.
    """

    title: str
    options: list[str]
    coverage: bool = False
    beside: bool = False
    environment: dict[str, str] = field(default_factory=dict)

    counts: str = ""  # what it has written of them, "PASSED FAILED NOT_RUN"
    status: int = 0

    def run(self, out: IO[str] | None = None) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "counts")
            coverage = ["-m", "coverage", "run"] if self.coverage else []
            low = LOW if self.beside else []
            command = [*low, sys.executable, *coverage, "-m", "tests", *self.options, "--counts", str(file)]
            print(f"-- {self.title}", file=out, flush=True)
            environment = {**os.environ, **self.environment}
            done = subprocess.run(command, cwd=REPO, env=environment, stdout=out, stderr=out and subprocess.STDOUT)
            self.status = done.returncode
            self.counts = file.read_text() if file.exists() else ""


@dataclass
class Tally:
    """What has passed, failed, and not been run, of all steps together."""

    passed: int = 0
    failed: int = 0
    not_run: int = 0

    def step(self, module: str, out: IO[str] | None = None) -> None:
        """Run ``python -m MODULE ARGUMENTS``; a failure counts as one, and that it passes as nothing.

        With ``out``, which is for its output, at a low priority.
        """
        print(f"-- {module}", file=out, flush=True)
        command = [*(LOW if out else []), sys.executable, "-m", *module.split()]
        done = subprocess.run(command, cwd=REPO, stdout=out, stderr=out and subprocess.STDOUT)
        self.failed += done.returncode != 0

    def add(self, part: Part) -> None:
        """Add up what a part has counted; that it ended badly is a failure, even where it has counted none."""
        passed, failed, not_run = map(int, part.counts.split() or (0, 0, 0))
        if part.status and not failed:
            failed = 1
        if part.status < 0 or not part.counts:
            print(f"FAILED: {part.title}: the process ended with {part.status}")
        self.passed, self.failed, self.not_run = self.passed + passed, self.failed + failed, self.not_run + not_run

    def close(self) -> int:
        """Print the last line, and return the exit code."""
        if self.not_run:
            print(f"{self.not_run} not run")
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        return 1 if self.failed or not self.passed else 0


def run_suite(tally: Tally, options: list[str], coverage: bool, steps: Sequence[str] = ()) -> None:
    """Run all parts, and these steps beside them."""
    both = ["--without", "MAY_RUN_BESIDE"]
    rest = Part("tests", [*options, *both, "--without", "MOSTLY_WAITS"], coverage)
    waiting = Part("those that mostly wait", [*options, *both, "--only", "MOSTLY_WAITS"], coverage)
    low = Part("beside the others", [*options, "--only", "MAY_RUN_BESIDE"], coverage, beside=True)
    # what it would add to the coverage is not worth twice the time
    extension = Part("without the C extension", [*options, "--only", "ABOUT_THE_EXTENSION"], beside=True)
    extension.environment[IN_PYTHON] = "1"
    last = [] if os.environ.get(IN_PYTHON) else [extension]  # else all parts go without it

    def run_steps(out: IO[str]) -> None:
        for step in steps:
            tally.step(step, out)
        for part in last:
            part.run(out)

    with ExitStack() as others:
        for run in (run_steps, low.run, waiting.run):
            others.enter_context(beside(run))
        rest.run()
    for part in (rest, waiting, low, *last):
        tally.add(part)


@contextmanager
def beside(run: Callable[[IO[str]], None]) -> Iterator[None]:
    """Run something on a thread of its own meanwhile, and then print what it has said."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as out:
        thread = threading.Thread(target=run, args=[out])
        thread.start()
        try:
            yield
        finally:
            thread.join()
            out.seek(0)
            shutil.copyfileobj(out, sys.stdout)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.everything", description="Check all of ezez_ws.")
    less = parser.add_mutually_exclusive_group()
    less.add_argument("--suite", action="store_true", help="neither lint nor coverage")
    less.add_argument("--portable", action="store_true", help="of the suite, only what depends on the Python")
    parser.add_argument("--turns", action="store_true", help="let readers take turns, as they do in a crowd")
    parser.add_argument("--coverage-min", type=float, default=90.0, metavar="N", help="per cent; default: 90")
    options = parser.parse_args()
    tally = Tally()
    common = ["--turns"] if options.turns else []
    if options.suite or options.portable:
        run_suite(tally, [*common, *(["--without", "SAME_ON_EVERY_PYTHON"] * options.portable)], coverage=False)
        return tally.close()
    for old in (REPO / ".coverage", *REPO.glob(".coverage.*")):
        old.unlink(missing_ok=True)
    *quick, slow = LINT
    for module in quick:
        tally.step(module)
    run_suite(tally, common, coverage=True, steps=[slow])
    tally.step("coverage combine --quiet")
    tally.step(f"coverage report --fail-under={options.coverage_min:g}")
    return tally.close()


if __name__ == "__main__":
    sys.exit(main())
