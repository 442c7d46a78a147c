"""Everything that is checked on one Python: ``python -m tests.everything [--suite | --portable] [--coverage-min N]``.

Lint, types, the suite and its coverage; ``make test`` runs this. The last line is ``N passed, M failed``: a step that
fails counts as one failure and does not keep the others from running, the suite counts as many as tests have failed.

The suite runs in parts, each in a process of its own: tests that a busy machine cannot make fail, at a low priority,
and after them, without the C extension, those about the code that it stands for; and beside these two all the others.

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
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.support import REPO

__all__ = ["LINT", "Part", "Tally"]

IN_PYTHON = "EZEZ_WS_PURE_PYTHON"  # the environment variable that has the library do without its extension
LINT = ("ruff check --quiet .", "ruff format --quiet --check .", "mypy")


@dataclass
class Part:
    """A run of ``python -m tests`` with some of the tests.

    Args:
        title: of the output, if it needs one.
        options: of the run.
        coverage: whether to measure it.
        beside: at a low priority, with its output in a file until the others are done.
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
            nice = ["nice", "-n", "19"] if self.beside and shutil.which("nice") else []
            coverage = ["-m", "coverage", "run"] if self.coverage else []
            command = [*nice, sys.executable, *coverage, "-m", "tests", *self.options, "--counts", str(file)]
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

    def step(self, module: str) -> None:
        """Run ``python -m MODULE ARGUMENTS``; a failure counts as one, and that it passes as nothing."""
        print(f"-- {module}", flush=True)
        self.failed += subprocess.run([sys.executable, "-m", *module.split()], cwd=REPO).returncode != 0

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


def run_suite(tally: Tally, options: list[str], coverage: bool) -> None:
    """Run all parts, two at a time."""
    aside = [Part("beside the others", [*options, "--only", "MAY_RUN_BESIDE"], coverage, beside=True)]
    if not os.environ.get(IN_PYTHON):  # else all parts go without the extension
        extension = [*options, "--only", "ABOUT_THE_EXTENSION"]
        aside.append(Part("without the C extension", extension, coverage, beside=True, environment={IN_PYTHON: "1"}))
    rest = Part("tests", [*options, "--without", "MAY_RUN_BESIDE"], coverage)
    with tempfile.TemporaryFile("w+", encoding="utf-8") as out:

        def run_aside() -> None:
            for part in aside:
                part.run(out)

        others = threading.Thread(target=run_aside)
        others.start()
        rest.run()
        others.join()
        out.seek(0)
        shutil.copyfileobj(out, sys.stdout)
    for part in (rest, *aside):
        tally.add(part)


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
    for module in LINT:
        tally.step(module)
    run_suite(tally, common, coverage=True)
    tally.step("coverage combine --quiet")
    tally.step(f"coverage report --fail-under={options.coverage_min:g}")
    return tally.close()


if __name__ == "__main__":
    sys.exit(main())
