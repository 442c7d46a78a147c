"""A real ``redis-server`` on a port and in a folder of its own: to be killed, restarted, frozen, emptied.

Where there is none, or no redis-py, tests skip themselves; with ``EZEZ_REQUIRE_REDIS=1`` they fail. What it takes to
be slow and to cut is a ``Link(server.url)``; to lose answers, ``tests.faults.proxy.Proxy(server.port, fault)``.
"""

import functools
import importlib.util
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any, ClassVar

from tests.support import EZEZTestCase, eventually, free_port, required

__all__ = ["RedisServer", "RedisTestCase", "needs_redis", "redis_missing"]


@functools.cache
def redis_missing() -> str:
    """Why tests against Redis cannot run, as one line; empty where they can."""
    if not shutil.which("redis-server"):
        return "redis-server is not installed"
    return "" if importlib.util.find_spec("redis") else "redis-py is not installed"


def needs_redis(target: Any = None) -> Any:
    """Skip where there is no Redis, or fail there with ``EZEZ_REQUIRE_REDIS=1``; used like ``needs_node``."""
    return required(target, redis_missing(), "EZEZ_REQUIRE_REDIS")


class RedisServer:
    """One broker. Nothing is saved but with ``appendonly``; the port and the folder stay until ``close``.

    Args:
        args: of ``redis-server``, say ``"--maxmemory", "2mb"``.
        appendonly: ``"always"``, ``"everysec"`` or ``None``.
        password: what clients have to say (``requirepass``).
        tls: paths of a certificate and its key; the port speaks TLS then.
    """

    def __init__(
        self,
        *args: str,
        appendonly: str | None = None,
        password: str | None = None,
        tls: tuple[str, str] | None = None,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="ezez-redis-")
        self.folder = Path(self._folder.name)
        self.socket = self.folder / "redis.sock"
        self.port = 0
        self.password = password
        self._scheme = "rediss" if tls else "redis"
        self._process: subprocess.Popen[bytes] | None = None
        self._args = ["--bind", "127.0.0.1", "--dir", str(self.folder), "--unixsocket", str(self.socket)]
        self._args += ["--save", "", "--logfile", str(self.folder / "log")]
        if appendonly is not None:
            self._args += ["--appendonly", "yes", "--appendfsync", appendonly]
        if password is not None:
            self._args += ["--requirepass", password]
        if tls is not None:
            self._args += ["--tls-cert-file", tls[0], "--tls-key-file", tls[1], "--tls-auth-clients", "no"]
        self._args += args

    @property
    def url(self) -> str:
        """For ``RedisBackplane``, with the password."""
        secret = "" if self.password is None else f":{self.password}@"
        return f"{self._scheme}://{secret}127.0.0.1:{self.port}/0"

    @property
    def socket_url(self) -> str:
        """The same, of the Unix socket."""
        return f"unix://{'' if self.password is None else f':{self.password}@'}{self.socket}"

    def start(self) -> "RedisServer":
        """Start it, and wait until it answers; again after ``stop`` and ``kill``."""
        for _ in range(10):
            port = self.port or free_port()
            if self._launch(port):
                self.port = port
                return self
        raise AssertionError(f"redis-server does not start:\n{(self.folder / 'log').read_text()}")

    def _launch(self, port: int) -> bool:
        self.socket.unlink(missing_ok=True)
        listen = ["--port", str(port)] if self._scheme == "redis" else ["--port", "0", "--tls-port", str(port)]
        command = ["redis-server", *listen, *self._args]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._process = process
        eventually(lambda: self._answers() or process.poll() is not None, 30, "redis-server answers")
        return process.poll() is None

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(10)
            try:
                probe.connect(str(self.socket))
                probe.sendall(b"PING\r\n")
                return probe.recv(100).startswith((b"+PONG", b"-NOAUTH"))  # and not -LOADING
            except OSError:
                return False

    def command(self, *args: Any) -> Any:
        """Run a command, on a connection of its own, and return its answer: ``command("FLUSHALL")``."""
        import redis

        client: Any = redis.Redis(unix_socket_path=str(self.socket), password=self.password, socket_timeout=10)
        try:
            return client.execute_command(*args)
        finally:
            client.connection_pool.disconnect()  # redis-py 5.0.0 leaves that to the garbage collector

    def stop(self) -> None:
        """Let it end in order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it: SIGKILL."""
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Kill it, and start it on the same port."""
        self.kill()
        self.start()

    def freeze(self) -> None:
        """Let it stand still, its connections open: SIGSTOP."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Kill it, and delete its folder. Idempotent."""
        self.kill()
        self._folder.cleanup()


@needs_redis
class RedisTestCase(EZEZTestCase):
    """Tests that share one broker; each begins with nothing in it."""

    redis: ClassVar[RedisServer]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.redis = RedisServer().start()
        cls.addClassCleanup(cls.redis.close)

    def setUp(self) -> None:
        super().setUp()
        self.redis.command("FLUSHALL")

    def start_redis(self, *args: str, **options: Any) -> RedisServer:
        """Start another broker, for this test."""
        server = RedisServer(*args, **options)
        self.addCleanup(server.close)
        return server.start()
