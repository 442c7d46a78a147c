"""The test runner: ``python -m tests [-v] [-f] [-k PATTERN] [--slowest N] [--only MARK] [--without MARK] [NAME ...]``.

A name is a folder, a module, a class or a method (``messages``, ``tests.test_context.ContextTest.test_pop``) or a file
(``tests/test_context.py``); without one everything under ``tests/`` runs. Against ``python -m unittest`` this adds:
warnings are errors; each test has a time limit (:mod:`tests.watchdog`), after which all threads' stacks are printed and
the process ends; what is left behind by all tests together fails the run; and the last line is always a plain
``N passed, M failed``. A run that ends early says before it how many tests were not run.

A module can have marks, each a line such as ``MAY_RUN_BESIDE = True``, and ``--only`` and ``--without`` choose by them:

``MAY_RUN_BESIDE``
    no test here could fail for a busy machine: these run at a low priority, beside the others
``MOSTLY_WAITS``
    for other processes, a broker or a clock, and computes little itself: these run in a process of their own meanwhile
``ABOUT_THE_EXTENSION``
    it is about code that the C extension stands for: these run once more without it
``SAME_ON_EVERY_PYTHON``
    it is about the repository or another program (documents, samples, the runner, a browser, nginx, a terminal), and
    the part of Python in it is in other tests, too: ``.ci/run`` leaves these out on all Pythons but one

:mod:`tests.everything` is what runs all of it, by parts.
"""

import argparse
import contextlib
import faulthandler
import importlib
import logging
import os
import re
import signal
import sys
import threading
import time
import unittest
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from tests import support
from tests.watchdog import Allowance, Watchdog, family

TESTS = support.REPO / "tests"
DEFAULT_LIMIT = support.EZEZTestCase.time_limit
MARKS = ("MAY_RUN_BESIDE", "MOSTLY_WAITS", "ABOUT_THE_EXTENSION", "SAME_ON_EVERY_PYTHON")

ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]


class Report(unittest.TestResult):
    """Prints what happens as it happens: a line for each module, failures at once, and the counts."""

    def __init__(self, verbose: bool, counts: Path | None) -> None:
        super().__init__()
        self.passed = 0
        self.failed = 0
        self.left: set[str] = set()  # the ids of the tests that have yet to run
        self.watchdog = Watchdog(self._time_is_up)
        self._out = sys.stdout  # a test may replace sys.stdout for a while
        self._verbose = verbose
        self._counts = counts
        self._skips: dict[tuple[str, str], list[str]] = {}
        self._outcome = ""  # of the test that is running: "passed" until something else happens to it
        self._module, self._module_tests, self._module_start = "", 0, 0.0
        self._began = _times()
        self._taken: list[tuple[float, float, str]] = []  # of each test: seconds, those of a processor, id

    def say(self, text: str) -> None:
        print(text, file=self._out, flush=True)

    def fail(self, what: str, text: str) -> None:
        """Count and print one failure; a test that fails in several places counts once."""
        if self._outcome:
            self._outcome = "failed"
        else:
            self.failed += 1
        self.say(f"FAILED: {what}\n{text.rstrip()}\n")

    def plan(self, tests: Iterable[unittest.TestCase]) -> None:
        """Say which tests will be run."""
        self.left = {test.id() for test in tests}
        self._write_counts(broken_off=True)

    # What unittest calls

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        module = type(test).__module__
        if module != self._module:
            self.end_module()
            self._module, self._module_tests, self._module_start = module, 0, time.monotonic()
        self._module_tests += 1
        self._outcome = "passed"
        self.left.discard(test.id())
        if self._verbose:
            self.say(f"  {test.id()}")
        self.watchdog.arm(test.id(), _time_limit(test))
        self._began = _times()

    def stopTest(self, test: unittest.TestCase) -> None:
        super().stopTest(test)
        self.watchdog.arm(f"what comes after {test.id()}", DEFAULT_LIMIT)
        self.passed += self._outcome == "passed"
        self.failed += self._outcome == "failed"
        self._outcome = ""
        clock, processor = (now - began for now, began in zip(_times(), self._began, strict=True))
        self._taken.append((clock, processor, test.id()))

    def addError(self, test: unittest.TestCase, err: ExcInfo) -> None:
        super().addError(test, err)
        self.fail(test.id(), self.errors[-1][1])

    def addFailure(self, test: unittest.TestCase, err: ExcInfo) -> None:
        super().addFailure(test, err)
        self.fail(test.id(), self.failures[-1][1])

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: ExcInfo | None) -> None:
        super().addSubTest(test, subtest, err)
        if err is not None:
            kind = err[0]
            is_failure = kind is not None and issubclass(kind, test.failureException)
            self.fail(subtest.id(), (self.failures if is_failure else self.errors)[-1][1])

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
        super().addUnexpectedSuccess(test)
        self.fail(test.id(), "It was expected to fail, and passed.")

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        super().addSkip(test, reason)
        if self._outcome == "passed" and not hasattr(test, "test_case"):  # which a subTest has
            self._outcome = "skipped"
        self.left.discard(test.id())  # where a class skips, startTest is not called on some Pythons
        for skipped in self._fixture_of(test) or [test.id()]:
            owner, _, name = skipped.rpartition(".")
            self._skips.setdefault((owner, " ".join(reason.split())), []).append(name)

    def _fixture_of(self, test: unittest.TestCase) -> list[str]:
        """The tests that are not run since this, which stands for the fixture of a class or a module, has skipped."""
        fixture = re.fullmatch(r"setUp(?:Class|Module) \((.+)\)", test.id())
        skipped = sorted(name for name in self.left if fixture and name.startswith(f"{fixture[1]}."))
        self.left.difference_update(skipped)
        return skipped

    # The end

    def end_module(self) -> None:
        if self._module:
            tests = "1 test" if self._module_tests == 1 else f"{self._module_tests} tests"
            self.say(f"{self._module}: {tests}, {time.monotonic() - self._module_start:.1f} s")
            self._write_counts(broken_off=True)
        self._module = ""

    def say_slowest(self, count: int) -> None:
        """Print the tests that have taken longest: a test that computes little waits for something."""
        for clock, processor, test in sorted(self._taken, reverse=True)[:count]:
            self.say(f"slow: {clock:6.2f} s, computing {processor:6.2f} s: {test}")

    def close(self) -> bool:
        """Print the skipped tests and the counts; return whether all is well."""
        if not self.passed + self.failed + len(self._skips):
            self.fail("the run", "There was no test to run.")
        for (owner, reason), names in self._skips.items():
            what = f"{owner}.{names[0]}" if len(names) == 1 else f"{len(names)} tests of {owner}"
            self.say(f"skipped: {what}: {reason}")
        if self._skips:
            self.say(f"{sum(map(len, self._skips.values()))} skipped")
        if self.left:
            self.say(f"{len(self.left)} not run")
        if self._counts:
            self._write_counts()
        else:
            self.say(f"{self.passed} passed, {self.failed} failed")
        return not self.failed

    def _write_counts(self, broken_off: bool = False) -> None:
        """Write the counts of now; as long as the run is not over, those that hold if something ends the process."""
        if self._counts:
            self._counts.write_text(f"{self.passed} {self.failed + broken_off} {len(self.left)}\n")

    def _time_is_up(self, what: str, allowance: Allowance) -> None:
        """On the watchdog's thread: end the process, since nothing can end the thread that hangs."""
        self.say(f"The stacks of all threads after {allowance.taken:.1f} s of {what}:")
        faulthandler.dump_traceback(file=self._out, all_threads=True)
        self._outcome = ""
        waited = f" ({allowance.taken:.1f} s by the clock, {allowance.used:.1f} s without waiting for a processor)"
        self.fail(what, f"It took more than its {allowance.limit:g} s{waited}. The tests after it were not run.")
        self.close()
        _, *children = family(os.getpid())
        for pid in children:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        os._exit(1)


def main() -> int:
    options = _options()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what runs in the background
    report = Report(options.verbose, options.counts)
    report.failfast = options.failfast
    report.watchdog.start("loading the tests", DEFAULT_LIMIT)
    if options.turns:
        read_gate = importlib.import_module("ezez_ws.wire.read_gate").read_gate
        read_gate.crowd = read_gate.most_let_by = 0
    threads, fds = set(threading.enumerate()), support.open_fds()
    with warnings.catch_warnings(), support.collect_swallowed() as swallowed:
        warnings.simplefilter("error")
        logging.getLogger("ezez_ws").addHandler(logging.NullHandler())  # what is told, tests assert
        try:
            _relax_hypothesis()
            tests = _chosen(_load(options.names, options.patterns), options.only, options.without)
            report.plan(_flat(tests))
            tests.run(report)
        except KeyboardInterrupt:
            report.fail("the run", "It was interrupted.")
        except Exception as error:
            report.fail("the run", f"{type(error).__name__}: {error}")
        report.end_module()
        report.say_slowest(options.slowest)
        _check_run(report, threads, fds, swallowed)
    ok = report.close()
    report.watchdog.arm("ending the process", DEFAULT_LIMIT)
    return 0 if ok else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests", description="Run the tests of ezez_ws.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="a module, class, method or file; default: all")
    parser.add_argument("-v", "--verbose", action="store_true", help="name each test when it starts")
    parser.add_argument("-f", "--failfast", action="store_true", help="stop at the first failure")
    parser.add_argument("-k", dest="patterns", action="append", metavar="PATTERN", help="only tests so named")
    parser.add_argument("--slowest", type=int, default=0, metavar="N", help="at the end, the tests that took longest")
    parser.add_argument("--turns", action="store_true", help="let readers take turns, as they do in a crowd")
    mark: dict[str, Any] = {"action": "append", "default": [], "choices": MARKS}
    parser.add_argument("--only", **mark, help="only modules that have this mark")
    parser.add_argument("--without", **mark, help="only modules that do not have it")
    parser.add_argument("--counts", type=Path, help="a file for 'PASSED FAILED NOT_RUN', in place of the last line")
    return parser.parse_args()


def _times() -> tuple[float, float]:
    """Now by the clock, and by the processors: of this process, and of its children that have ended."""
    spent = os.times()
    return time.monotonic(), spent.user + spent.system + spent.children_user + spent.children_system


def _time_limit(test: unittest.TestCase) -> float:
    """The limit of the method, else of its class, else the default."""
    method = getattr(test, getattr(test, "_testMethodName", ""), None)
    owner = method if hasattr(method, "time_limit") else test
    limit: float = getattr(owner, "time_limit", DEFAULT_LIMIT)
    return limit


def _load(names: list[str], patterns: list[str] | None) -> unittest.TestSuite:
    loader = unittest.TestLoader()
    if patterns:
        loader.testNamePatterns = [pattern if "*" in pattern else f"*{pattern}*" for pattern in patterns]
    if names:
        return unittest.TestSuite(_load_name(loader, _dotted(name)) for name in names)
    for path in TESTS.rglob("test_*.py"):
        if not (path.parent / "__init__.py").is_file():
            raise LookupError(f"{path.parent} needs an __init__.py, else its tests are not found")
    return loader.discover(str(TESTS), "test_*.py", str(support.REPO))


def _load_name(loader: unittest.TestLoader, name: str) -> unittest.TestSuite:
    """What a name stands for: a folder for all that is in it, which unittest would take for an empty module."""
    folder = support.REPO.joinpath(*name.split("."))
    if folder.is_dir():
        return loader.discover(str(folder), "test_*.py", str(support.REPO))
    return loader.loadTestsFromName(name)


def _flat(tests: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    for test in tests:
        if isinstance(test, unittest.TestSuite):
            yield from _flat(test)
        else:
            yield test


def _chosen(tests: unittest.TestSuite, only: list[str], without: list[str]) -> unittest.TestSuite:
    """The tests of those modules that have all marks of the one list and none of the other."""

    def has(test: unittest.TestCase, mark: str) -> bool:
        return getattr(sys.modules[type(test).__module__], mark, False) is True

    def chosen(test: unittest.TestCase) -> bool:
        return all(has(test, mark) for mark in only) and not any(has(test, mark) for mark in without)

    return unittest.TestSuite(test for test in _flat(tests) if chosen(test)) if only or without else tests


def _dotted(name: str) -> str:
    """The full dotted name of a test that is named by its file or in short."""
    if name.endswith(".py"):
        return ".".join(Path(name).resolve().relative_to(support.REPO).with_suffix("").parts)
    first = name.split(".")[0]
    if (TESTS / first).is_dir() or (TESTS / f"{first}.py").is_file():
        return f"tests.{name}"
    return name


def _check_run(report: Report, threads: set[threading.Thread], fds: dict[int, str], swallowed: list[str]) -> None:
    """Fail the run for what class and module fixtures left, which no single test can be blamed for."""
    grace = support.EZEZTestCase
    left = [thread.name for thread in support.threads_left(threads, grace.ezez_grace, grace.other_grace)]
    left += [text for text in support.fds_left(fds) if "socket" in text]
    if left:
        report.fail("all tests together", f"left behind: {', '.join(left)}")
    if swallowed:
        report.fail("all tests together", "\n".join(f"swallowed: {text}" for text in swallowed))


def _relax_hypothesis() -> None:
    """No time limit for a single example: a busy machine is not a bug."""
    try:
        hypothesis: Any = importlib.import_module("hypothesis")
    except ImportError:
        return  # the modules that need it say so
    slow = [hypothesis.HealthCheck.too_slow]
    hypothesis.settings.register_profile("ezez", deadline=None, suppress_health_check=slow)
    hypothesis.settings.load_profile("ezez")


if __name__ == "__main__":
    sys.exit(main())
