"""The library reads the time, and sleeps for some, in one place, so that a test's clock misses nothing."""

import ast
import select
import threading
import time
import unittest
from collections.abc import Iterator

from ezez_ws.threads import clock
from tests.imports import read_package
from tests.support import REPO, EZEZTestCase

MAY_RUN_BESIDE = True

PROGRAMS = ("cli/", "testing/")  # of ours, which use the library

MODULES = {"time": {"monotonic", "perf_counter", "sleep", "time"}, "select": {"select"}}

ELSEWHERE = {
    "threads/clock.py": {"monotonic", "sleep", "time", "select"},
    "logs.py": {"monotonic"},  # until threads/timers.py gives it the clock's
    "wire/sockets.py": {"monotonic"},  # how quick machine and peer are
    "opening/client_handshake.py": {"time"},  # a date of the peer's
    "opening/http.py": {"time"},  # a date for the peer
    "operating/samples.py": {"time"},  # dates for people
    "operating/stacks.py": {"monotonic"},  # what the processor has done meanwhile
}


def readings(tree: ast.Module) -> Iterator[str]:
    """What is used of the standard library's time and sleep, by name."""
    modules: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {name.asname or name.name: name.name for name in node.names if name.name in MODULES}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module in MODULES:
            yield from (name.name for name in node.names if name.name in MODULES[node.module])
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = modules.get(node.value.id)
            if module is not None and node.attr in MODULES[module]:
                yield node.attr


class OnePlaceTest(EZEZTestCase):
    def test_nobody_else_reads_the_time_or_sleeps(self) -> None:
        found = {
            path: names
            for path, source in read_package(REPO / "ezez_ws").items()
            if not path.startswith(PROGRAMS) and (names := set(readings(ast.parse(source))))
        }
        self.assertEqual(ELSEWHERE, found)

    def test_nobody_keeps_what_is_there(self) -> None:
        for path, source in read_package(REPO / "ezez_ws").items():
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.ImportFrom):
                    self.assertFalse(
                        (node.module or "").endswith("clock") and node.level and "testing" not in path, path
                    )

    def test_it_is_the_standard_librarys(self) -> None:
        self.assertEqual((time.sleep, select.select), (clock.sleep, clock.select))
        lock = threading.Lock()
        self.assertTrue(clock.acquire(lock, 1))
        before = time.monotonic()
        self.assertFalse(clock.acquire(lock, 0.05))
        self.assertGreaterEqual(time.monotonic() - before, 0.05)
        thread = threading.Thread(target=lock.acquire)
        thread.start()
        clock.join(thread, 0)
        self.assertTrue(thread.is_alive())
        lock.release()
        clock.join(thread, None)
        self.assertFalse(thread.is_alive())
        lock.release()


if __name__ == "__main__":
    unittest.main()
