"""A ``redis-server`` of the run's own, on a private port and in a private folder."""

import socket
import subprocess
import tempfile
import time
from typing import Any

from .agent import AgentFailed

__all__ = ["Broker"]

PATIENCE = 10.0


class Broker:
    """One Redis that saves nothing. Use it by ``with``, which ends it."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="ezez-benchmarks-")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        options = ["--bind", "127.0.0.1", "--port", str(port), "--dir", self._folder.name, "--save", ""]
        self._process = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
        self.pid = self._process.pid
        self.url = f"redis://127.0.0.1:{port}/0"
        try:
            self._wait(port)
        except BaseException:
            self.end()
            raise

    def calls(self) -> dict[str, int]:
        """How often each command has been called so far."""
        import redis

        with redis.Redis.from_url(self.url) as client:
            stats: Any = client.info("commandstats")
        return {name.removeprefix("cmdstat_"): values["calls"] for name, values in stats.items()}

    def end(self) -> None:
        """Kill it, and delete its folder. Idempotent."""
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()

    def __enter__(self) -> "Broker":
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def _wait(self, port: int) -> None:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise AgentFailed("redis-server does not start")
