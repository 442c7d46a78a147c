"""What the tests of docs/deployment.md share: the files of samples/deployment, run with addresses of a test's own."""

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import trustme

from ezez_ws import ConnectionFailed, EZEZWebSocketClient
from tests.serving import KEY, Calls, ServingTestCase
from tests.support import REPO, eventually, free_port, required

__all__ = ["SAMPLES", "App", "DeploymentTestCase", "FrontTests", "Program", "adapted", "get", "needs_program", "sample"]

T = TypeVar("T")

SAMPLES = REPO / "samples/deployment"
STARTS = 30.0  # seconds that a program has to be there, on a busy machine

NGINX = """\
daemon off;
user root;
pid {folder}/pid;
error_log stderr;
worker_processes 1;
worker_shutdown_timeout {shutdown};
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{sites}
}}
"""


def needs_program(name: str, variable: str) -> Callable[[T], T]:
    """Skip where a program is missing, or fail there with ``variable=1``: a decorator."""

    def decorate(target: T) -> T:
        decorated: T = required(target, "" if shutil.which(name) else f"{name} is not installed", variable)
        return decorated

    return decorate


def sample(name: str) -> str:
    """A file of samples/deployment."""
    return (SAMPLES / name).read_text(encoding="utf-8")


def adapted(text: str, *replacements: tuple[str, str]) -> str:
    """The text with something else in these places, each of which has to be there."""
    for old, new in replacements:
        if old not in text:
            raise AssertionError(f"no {old!r} in:\n{text}")
        text = text.replace(old, new)
    return text


def get(url: str, method: str = "GET", **options: Any) -> tuple[int, str]:
    """The status and the body of a page."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=20, **options) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


class Program:
    """A process that is no part of the test; what it says goes into a file. ``close`` kills what is left."""

    def __init__(self, folder: Path, *command: str, env: dict[str, str] | None = None, cwd: Path = REPO) -> None:
        self._log = Path(tempfile.mkdtemp(dir=folder), "output")
        with self._log.open("a", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                command,
                cwd=cwd,
                env=os.environ if env is None else env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """All that it has said so far."""
        return self._log.read_text(encoding="utf-8")

    def read(self, pattern: str) -> "re.Match[str]":
        """Wait until its output matches."""

        def matches() -> "re.Match[str] | None":
            ended = self.process.poll() is not None  # looked at before the output, the last of which may just have come
            found = re.search(pattern, self.output)
            if found is None and ended:
                raise AssertionError(f"it ended without {pattern!r}:\n{self.output}")
            return found

        found = eventually(matches, STARTS, f"{pattern!r} in the output")
        assert found is not None
        return found

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, timeout: float = STARTS) -> int:
        """Wait for its end, and return its exit code."""
        return self.process.wait(timeout)

    def close(self) -> None:
        """Kill it, with its children. Idempotent."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


class App(Program):
    """samples/deployment/app.py on a port of its own, or another command that runs it.

    ``ready`` is False for one that is not to be waited for.
    """

    def __init__(
        self, folder: Path, env: dict[str, str], command: Sequence[str] = (), ready: bool = True, cwd: Path = REPO
    ) -> None:
        kept = {name: value for name, value in os.environ.items() if name not in ("KEY", "KEY_FILE", "REDIS_URL")}
        env = {**kept, "PYTHONPATH": str(REPO), "HOST": "127.0.0.1", "PORT": "0", **env}
        super().__init__(folder, *(command or (sys.executable, str(SAMPLES / "app.py"))), env=env, cwd=cwd)
        self.port = 0
        if ready:
            try:
                self.port = int(self.read(r"listening on ws://[0-9.]+:(\d+)")[1])
            except BaseException:
                self.close()
                raise

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"


class DeploymentTestCase(ServingTestCase):
    """``folder`` is for the files of a test; what it starts ends with it."""

    def setUp(self) -> None:
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    # -- servers and clients

    def start_app(self, *command: str, **env: str) -> App:
        app = App(self.folder, {"KEY": KEY, **env}, command)
        self.addCleanup(app.close)
        return app

    def client_of(self, url: str, **options: Any) -> EZEZWebSocketClient:
        """A client that is connected, over TLS where the address says so."""
        if url.startswith("wss:"):
            options.setdefault("ssl", self.trust())
        client = EZEZWebSocketClient(url, auth=KEY, **options)
        self.addCleanup(client.close)
        client.connect(timeout=20)
        return client

    # -- certificates

    def certify(self) -> None:
        """Write ``fullchain.pem``, ``privkey.pem`` and ``fullchain-and-key.pem``, where they are not there yet."""
        if (self.folder / "fullchain.pem").exists():
            return
        self.authority = trustme.CA()
        certificate = self.authority.issue_cert("127.0.0.1", "localhost")
        certificate.private_key_pem.write_to_path(str(self.folder / "privkey.pem"))
        certificate.private_key_and_cert_chain_pem.write_to_path(str(self.folder / "fullchain-and-key.pem"))
        for blob in certificate.cert_chain_pems:
            blob.write_to_path(str(self.folder / "fullchain.pem"), append=True)

    def trust(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context

    # -- proxies

    def start(self, *command: str) -> Program:
        program = Program(self.folder, *command)
        self.addCleanup(program.close)
        return program

    def start_nginx(self, sites: str, port: int, shutdown: str = "10s") -> Program:
        """Run nginx with this in ``http { }``, and wait until it listens."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        configuration = folder / "nginx.conf"
        configuration.write_text(NGINX.format(folder=folder, sites=sites, shutdown=shutdown), encoding="utf-8")
        nginx = self.start("nginx", "-e", "stderr", "-p", str(folder), "-c", str(configuration))
        return self._until_it_listens(nginx, port)

    def start_haproxy(self, configuration: str, port: int, *options: str) -> Program:
        """Run HAProxy, and wait until it listens."""
        file = self.folder / f"haproxy-{port}.cfg"
        file.write_text(configuration, encoding="utf-8")
        return self._until_it_listens(self.start("haproxy", "-db", "-f", str(file), *options), port)

    def _until_it_listens(self, program: Program, port: int) -> Program:
        def listens() -> bool:
            if program.process.poll() is not None:
                raise AssertionError(f"it has ended:\n{program.output}")
            try:
                socket.create_connection(("127.0.0.1", port)).close()
            except ConnectionRefusedError:
                return False
            return True

        eventually(listens, STARTS)
        return program

    def nginx_sample(self, port: int, *servers: int) -> str:
        """nginx.conf, on a port and in front of two servers of the test's."""
        self.certify()
        return adapted(
            sample("nginx.conf"),
            ("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
            ("/etc/ssl/lobby/", f"{self.folder}/"),
            *self._servers(servers),
        )

    def haproxy_sample(self, port: int, *servers: int) -> str:
        """haproxy.cfg, on a port and in front of two servers of the test's; operators have ``haproxy.sock``."""
        self.certify()
        return adapted(
            sample("haproxy.cfg"),
            ("bind :443", f"bind 127.0.0.1:{port}"),
            ("/etc/ssl/lobby/", f"{self.folder}/"),
            ("maxconn 20000", "maxconn 100"),
            ("/run/haproxy/admin.sock", f"{self.folder}/haproxy.sock"),
            *self._servers(servers),
        )

    def _servers(self, ports: Sequence[int]) -> list[tuple[str, str]]:
        first, second = ports if len(ports) == 2 else (*ports, free_port())  # the second is down
        return [("127.0.0.1:8080", f"127.0.0.1:{first}"), ("127.0.0.1:8081", f"127.0.0.1:{second}")]


class FrontTests:
    """What any front has to do, for a ``DeploymentTestCase`` with ``front``; ``short_idle`` makes it cut soon."""

    short_idle: ClassVar[dict[str, str]]
    unavailable: ClassVar[int]  # the status where no server is left

    def test_it_ends_tls_and_says_who_the_client_is(self: Any) -> None:
        server = self.serve()
        server.handler("sum", lambda client, a, b: a + b)
        url = self.front(server)
        client = self.client_of(url, headers={"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "http"})
        self.assertEqual(5, client.call("sum", [2, 3], timeout=10))
        request = server.clients[0].request
        self.assertEqual("127.0.0.1", request.headers["X-Forwarded-For"], "and not what the client says of itself")
        self.assertEqual("https", request.headers["X-Forwarded-Proto"])
        self.assertEqual(f"127.0.0.1:{self.port}", request.headers["Host"])

    def test_a_page_of_the_same_origin_passes_though_the_server_sees_no_tls(self: Any) -> None:
        url = self.front(self.serve(allowed_origins="same-origin"))
        self.client_of(url, headers={"Origin": f"https://127.0.0.1:{self.port}"})
        with self.assertRaises(ConnectionFailed) as caught:
            self.client_of(url, headers={"Origin": "https://127.0.0.1"}, auto_reconnect=False)
        self.assertEqual(403, caught.exception.status)

    def test_it_cuts_who_is_silent_and_pings_are_no_silence(self: Any) -> None:
        calls = Calls()
        options = {"ping_interval": None, "auto_reconnect": False, "on_disconnect": calls.named("cut", 0)}
        clients = []
        for interval in (0.2, None):
            url = self.front(self.serve(ping_interval=interval), **self.short_idle)
            clients.append(self.client_of(url, **options))
        self.assertEqual([("cut", 1006)], calls.wait())
        self.assertEqual([True, False], [client.alive for client in clients])

    def test_clients_of_a_server_that_closes_are_told_and_come_to_the_other(self: Any) -> None:
        first, second = self.serve(), self.serve()
        url = self.front(first, second)
        calls = Calls()
        options = {"reconnect_delay": 0.05, "on_disconnect": calls.named("gone", 0, 1)}
        clients = [self.client_of(url, **options) for _ in range(6)]
        self.assertEqual(3, len(first.clients), "the one with the least")
        first.close()
        self.assertEqual([("gone", 1001, "server shutdown")] * 3, calls.wait(3))
        eventually(lambda: len(second.clients) == 6 and all(client.alive for client in clients))
        self.client_of(url, auto_reconnect=False)  # and a new one notices nothing

    def test_where_no_server_is_left_it_says_so_and_clients_try_until_there_is_one(self: Any) -> None:
        server = self.serve()
        url = self.front(server)
        client = self.client_of(url, reconnect_delay=0.05, reconnect_delay_max=0.2)
        port = server.port
        server.close()
        with self.assertRaises(ConnectionFailed) as caught:
            self.client_of(url, auto_reconnect=False)
        self.assertEqual(self.unavailable, caught.exception.status)
        self.serve(port=port)
        eventually(lambda: client.alive, 20)
