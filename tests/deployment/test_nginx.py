"""samples/deployment/nginx.conf: a real nginx, with TLS, in front of two servers that come and go."""

import signal
import time
import unittest
from typing import ClassVar

from ezez_ws import ConnectionFailed, EZEZWebsocketServer
from tests.deployment.fronts import DeploymentTestCase, FrontTests, Program, adapted, needs_program
from tests.serving import Calls
from tests.support import free_port

MOSTLY_WAITS = True
SAME_ON_EVERY_PYTHON = True


@needs_program("nginx", "EZEZ_REQUIRE_NGINX")
class NginxTest(FrontTests, DeploymentTestCase):
    short_idle: ClassVar[dict[str, str]] = {"read_timeout 75s": "read_timeout 3s"}
    unavailable: ClassVar[int] = 502

    def front(self, *servers: EZEZWebsocketServer, shutdown: str = "10s", **replacements: str) -> str:
        """Run it in front of these, and return the clients' address."""
        self.port = free_port()
        sites = self.nginx_sample(self.port, *(server.port for server in servers))
        self.nginx: Program = self.start_nginx(adapted(sites, *replacements.items()), self.port, shutdown)
        return f"wss://127.0.0.1:{self.port}/ws"

    def test_without_the_three_lines_a_client_is_refused_with_a_status_that_the_page_names(self) -> None:
        server = self.serve()
        port = free_port()
        lines = self.nginx_sample(port, server.port).splitlines(keepends=True)
        self.start_nginx("".join(line for line in lines if "pgrade" not in line and "http_version" not in line), port)
        with self.assertRaises(ConnectionFailed) as caught:
            self.client_of(f"wss://127.0.0.1:{port}/ws", auto_reconnect=False)
        self.assertIn(caught.exception.status, (400, 426))  # by the version of HTTP that nginx speaks by default

    def test_an_address_has_as_many_connections_as_it_says(self) -> None:
        url = self.front(self.serve(), **{"addresses 20": "addresses 3"})
        for _ in range(3):
            self.client_of(url)
        with self.assertRaises(ConnectionFailed) as caught:
            self.client_of(url, auto_reconnect=False)
        self.assertEqual(503, caught.exception.status)

    def test_a_reload_cuts_nobody_before_its_time_is_up(self) -> None:
        server = self.serve()
        url = self.front(server, shutdown="2s")
        calls = Calls()
        self.client_of(url, on_disconnect=calls.named("cut", 0), auto_reconnect=False)
        start = time.monotonic()
        self.nginx.signal(signal.SIGHUP)
        self.assertEqual([("cut", 1006)], calls.wait())
        self.assertGreaterEqual(time.monotonic() - start, 2)
        self.client_of(url, auto_reconnect=False)


if __name__ == "__main__":
    unittest.main()
