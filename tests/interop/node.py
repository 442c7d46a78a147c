"""Node processes for the interop tests, which understand commands and tell what happens; see ``ezez.mjs``."""

import datetime
import json
import queue
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

from ezez_ws import Codec
from tests.neutral import build

__all__ = ["CODEC", "NodeProcess", "date"]

_HERE = Path(__file__).parent
_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"


class NodeProcess:
    """A script that runs until ``stop``. What it tells is put into a queue by a thread of its own."""

    def __init__(self, script: str, *args: str) -> None:
        node = shutil.which("node")
        assert node is not None
        self._process = subprocess.Popen(
            [node, str(_HERE / script), *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
        )
        self._told: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name=f"reads {script}")
        self._reader.start()

    def tell(self, command: str, **more: Any) -> None:
        """Give it a command."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": command, **more}) + "\n")
        self._process.stdin.flush()

    def next(self, kind: str, timeout: float = 30.0) -> dict[str, Any]:
        """Wait for the next thing of a kind that it tells; what it tells before is skipped."""
        while True:
            told = self._told.get(timeout=timeout)
            if told is None:
                raise AssertionError(f"the process has ended without telling {kind!r}")
            if kind in told:
                return told

    def next_event(self, name: str) -> dict[str, Any]:
        """Wait for the next event of a name; its arguments are Python values then."""
        while True:
            told = self.next("event")
            if told["event"] == name:
                return {**told, "args": [build(value) for value in told["args"]]}

    def rest(self) -> list[dict[str, Any]]:
        """What it has told until its end; ``stop`` or ``kill`` must have been called."""
        return list(iter(self._told.get, None))

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()
        self._finish()

    def stop(self) -> None:
        """End it. Idempotent."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            try:
                self._process.stdin.close()
            except BrokenPipeError:
                pass
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._finish()

    def _finish(self) -> None:
        self._reader.join()
        with self._process:
            pass

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._told.put(json.loads(line))
        self._told.put(None)


# The custom type that both ends know


def date(text: str) -> datetime.datetime:
    """Read a date as JavaScript writes it."""
    return datetime.datetime.strptime(text, _FORMAT).replace(tzinfo=datetime.timezone.utc)


def _date_text(value: Any) -> str | None:
    if not isinstance(value, datetime.datetime):
        return None
    utc = value.astimezone(datetime.timezone.utc)
    return f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond // 1000:03d}Z"


CODEC = Codec(serializers={"date": _date_text}, deserializers={"date": date})
