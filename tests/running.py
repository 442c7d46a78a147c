"""A test case that runs ``python -m tests`` over a module which the test writes."""

import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

from tests.support import REPO, EZEZTestCase

__all__ = ["HEADER", "RunnerTestCase"]

HEADER = """
import gc, os, signal, socket, subprocess, sys, threading, time, unittest, warnings
from tests.support import EZEZTestCase, allow_seconds
"""


class RunnerTestCase(EZEZTestCase):
    """``folder`` is on the path of the process."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        (self.folder / "hypothesis.py").write_text("raise ImportError")  # it takes longer than all that is tested here

    def run_tests(
        self, body: str, *options: str, name: str = "sample_tests", env: dict[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        self.write(body)
        return subprocess.run(
            [sys.executable, "-m", "tests", *options, name],
            cwd=REPO,
            env={**os.environ, "PYTHONPATH": str(self.folder), **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=300,
        )

    def write(self, body: str) -> None:
        """Write the module ``sample_tests``."""
        (self.folder / "sample_tests.py").write_text(HEADER + textwrap.dedent(body))

    def assert_counts(self, done: "subprocess.CompletedProcess[str]", passed: int, failed: int) -> None:
        self.assertEqual(done.stdout.splitlines()[-1], f"{passed} passed, {failed} failed", done.stdout + done.stderr)
        self.assertEqual(done.returncode, 1 if failed else 0)
