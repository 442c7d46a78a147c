"""A process that a row works with: it says what it is, then answers each line of JSON with one."""

import contextlib
import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["Agent", "AgentFailed"]

REPO = Path(__file__).resolve().parents[1]


class AgentFailed(Exception):
    """A process ended, or did not answer in time; the text has the end of what it wrote to its standard error."""


class Agent:
    """One process. Its standard input is held open: the end of it tells the process to go.

    ``hello`` is the first line that it printed. Use it by ``with``, which ends the process.
    """

    def __init__(
        self, command: Sequence[str], patience: float = 30.0, environment: Mapping[str, str] | None = None
    ) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed by end())
        self._name = " ".join(command[1:])
        self._process = subprocess.Popen(
            command,
            cwd=REPO,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        self.pid = self._process.pid
        try:
            self.hello = self._read(patience)
        except BaseException:
            self.end()
            raise

    def ask(self, do: str, patience: float = 60.0, **details: Any) -> dict[str, Any]:
        """Give a command and return its answer.

        Args:
            patience: seconds for it; then the process is killed.

        Raises:
            AgentFailed: no answer came.
        """
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # then there is nothing to read either
            self._process.stdin.write(json.dumps({"do": do, **details}).encode() + b"\n")
            self._process.stdin.flush()
        return self._read(patience)

    def end(self) -> None:
        """Kill the process. Idempotent."""
        self._process.kill()
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate()
        self._errors.close()

    def __enter__(self) -> "Agent":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def _read(self, patience: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        with _killed_after(self._process, patience) as late:
            line = self._process.stdout.readline()
        if not line:
            raise AgentFailed(f"{self._name}: {'no answer in time' if late.is_set() else self._last_words()}")
        return dict(json.loads(line))

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "ended without a word"


@contextlib.contextmanager
def _killed_after(process: "subprocess.Popen[bytes]", seconds: float) -> Iterator[threading.Event]:
    """Kill a process unless the block is left in time; yields an event that tells whether it was."""
    late = threading.Event()

    def kill() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(seconds, kill)
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()
        timer.join()
