"""samples/deployment/haproxy.cfg: a real HAProxy, with TLS and health checks, in front of two servers."""

import csv
import socket
import time
import unittest
from typing import Any, ClassVar

from ezez_ws import ConnectionFailed, EZEZWebsocketServer
from tests.deployment.fronts import DeploymentTestCase, FrontTests, adapted, needs_program
from tests.serving import Calls
from tests.support import eventually, free_port

MOSTLY_WAITS = True
SAME_ON_EVERY_PYTHON = True


@needs_program("haproxy", "EZEZ_REQUIRE_HAPROXY")
class HAProxyTest(FrontTests, DeploymentTestCase):
    short_idle: ClassVar[dict[str, str]] = {"tunnel 75s": "tunnel 3s"}
    unavailable: ClassVar[int] = 503

    def serve(self, **options: Any) -> EZEZWebsocketServer:
        return super().serve(health_path="/healthz", **options)

    def front(self, *servers: EZEZWebsocketServer, **replacements: str) -> str:
        """Run it in front of these, and return the clients' address; checks come more often than there."""
        self.port = free_port()
        configuration = self.haproxy_sample(self.port, *(server.port for server in servers))
        often = ("check inter 2s", "check inter 100ms")
        self.configuration = adapted(configuration, often, *replacements.items())
        self.haproxy = self.start_haproxy(self.configuration, self.port)
        return f"wss://127.0.0.1:{self.port}/ws"

    def ask(self, command: str) -> str:
        """Say something to its socket for operators, and return the answer."""
        with socket.socket(socket.AF_UNIX) as sock, sock.makefile() as answer:
            sock.connect(str(self.folder / "haproxy.sock"))
            sock.sendall(f"{command}\n".encode())
            return answer.read()

    def wait_for_check(self, result: str) -> None:
        """Wait until its last check of the first server has ended so: ``L7OK``."""

        def result_now() -> str:
            rows = csv.DictReader(self.ask("show stat").removeprefix("# ").splitlines())
            (now,) = (row["check_status"] for row in rows if row["svname"] == "one")
            return now

        eventually(lambda: result_now() == result)

    def test_a_new_client_is_given_to_the_other_before_any_check_has_noticed(self) -> None:
        first, second = self.serve(), self.serve()
        url = self.front(first, second, **{"check inter 100ms": "check inter 60s"})
        self.client_of(url)
        self.client_of(url)
        first.close()
        self.client_of(url, auto_reconnect=False)  # there are fewest on the one that has closed
        eventually(lambda: len(second.clients) == 3)

    def test_a_server_that_is_drained_keeps_its_clients_and_gets_no_more(self) -> None:
        first, second = self.serve(), self.serve()
        url = self.front(first, second)
        clients = [self.client_of(url) for _ in range(2)]
        self.ask("set server lobby/one state drain")
        clients += [self.client_of(url) for _ in range(4)]
        self.assertEqual((1, 5), (len(first.clients), len(second.clients)))
        self.assertTrue(all(client.alive for client in clients))

    def test_a_reload_cuts_nobody_before_its_time_is_up(self) -> None:
        url = self.front(self.serve(), **{"hard-stop-after 30s": "hard-stop-after 2s"})
        calls = Calls()
        client = self.client_of(url, on_disconnect=calls.named("cut", 0), reconnect_delay=0.05)
        start = time.monotonic()
        self.start_haproxy(self.configuration, self.port, "-sf", str(self.haproxy.process.pid))
        self.assertEqual([("cut", 1006)], calls.wait())
        self.assertGreaterEqual(time.monotonic() - start, 2)
        eventually(lambda: client.alive)

    def test_it_asks_for_health_as_one_may_configure_it(self) -> None:
        checks = (
            "option httpchk",  # OPTIONS, which is neither GET nor HEAD
            "option httpchk GET /healthz",  # by HTTP/1.0, without Host
            "option httpchk HEAD /healthz",
            "option httpchk\n    http-check send meth GET uri /healthz ver HTTP/1.1 hdr Host lobby",
        )
        for check, expected in zip(checks, ("L7STS", "L7OK", "L7OK", "L7OK"), strict=True):
            with self.subTest(check):
                self.front(self.serve(), **{"option httpchk GET /healthz": check})
                self.wait_for_check(expected)

    def test_the_proxy_protocol_is_not_understood(self) -> None:
        url = self.front(self.serve(), **{"check inter 100ms": "send-proxy"})
        with self.assertRaises(ConnectionFailed) as caught:
            self.client_of(url, auto_reconnect=False)
        self.assertEqual(400, caught.exception.status)


if __name__ == "__main__":
    unittest.main()
