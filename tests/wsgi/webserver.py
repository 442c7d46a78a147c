"""A web server in a process of its own, as a user starts it."""

import os
import queue
import re
import subprocess
import sys
import threading
import time

from tests.support import REPO

__all__ = ["WebServer"]

TIMEOUT = 30.0


class WebServer:
    """``python -m ...`` in the repository; to be closed, which kills what is left of it.

    Args:
        command: the module and its arguments; it has to say on which URL it listens.
    """

    def __init__(self, *command: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=REPO,
            env={**os.environ, "PYTHONPATH": str(REPO), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            start_new_session=True,
        )
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._seen: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        try:
            match = re.search(r"https?://([0-9.]+:\d+)", self.read_until(r"https?://[0-9.]+:\d+"))
            assert match is not None
            self.address = match[1]
        except BaseException:
            self.close()
            raise

    def read_until(self, pattern: str) -> str:
        """Return the first line from here on that matches."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                raise AssertionError(f"no {pattern!r} in:\n{self.output}")
            if re.search(pattern, line):
                return line

    @property
    def output(self) -> str:
        """What it has said so far."""
        return "".join(self._seen)

    def signal(self, number: int) -> None:
        """Send a signal to the process that was started, and to none of its children."""
        self._process.send_signal(number)

    def wait(self) -> int:
        """Wait for its end and that of its children, and return its exit code."""
        code = self._process.wait(TIMEOUT)
        self._reader.join(TIMEOUT)  # the children have the pipe, too
        if self._reader.is_alive():
            raise AssertionError(f"a child is left:\n{self.output}")
        return code

    def close(self) -> None:
        """Kill it, with its children. Idempotent."""
        try:
            os.killpg(self._process.pid, 9)
        except ProcessLookupError:
            pass
        self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._seen.append(line)
            self._lines.put(line)
        self._lines.put(None)
