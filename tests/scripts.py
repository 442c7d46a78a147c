"""Running programs with another Python process, for what cannot be tried in this one."""

import os
import subprocess
import sys
import textwrap
import time

from tests.support import REPO

__all__ = ["pythons", "run_script"]


def run_script(code: str, *args: str, python: str = sys.executable, timeout: float = 50.0) -> tuple[str, float]:
    """Run a program with another Python process; return what it printed, and how many seconds it took."""
    start = time.monotonic()
    done = subprocess.run(
        [python, "-X", "faulthandler", "-c", textwrap.dedent(code), *args],
        cwd=REPO,
        env={**os.environ, "PYTHONPATH": str(REPO)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=timeout,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"exit code {done.returncode}\n{done.stdout}")
    return done.stdout, time.monotonic() - start


def pythons() -> list[str]:
    """This Python, and others that are named in the environment, with what they need installed."""
    return [sys.executable, *filter(None, os.environ.get("EZEZ_OTHER_PYTHONS", "").split(os.pathsep))]
