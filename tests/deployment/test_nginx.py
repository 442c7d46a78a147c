"""samples/deployment/nginx.conf: a real nginx, with TLS, in front of two servers that come and go."""

import signal
import time
import unittest

from ezez_ws import ConnectionFailed, EZEZWebsocketServer
from tests.deployment.fronts import DeploymentTestCase, Program, adapted, needs_program
from tests.serving import Calls
from tests.support import eventually, free_port

MOSTLY_WAITS = True
SAME_ON_EVERY_PYTHON = True


@needs_program("nginx", "EZEZ_REQUIRE_NGINX")
class NginxTest(DeploymentTestCase):
    def front(self, *servers: EZEZWebsocketServer, shutdown: str = "10s", **replacements: str) -> str:
        """Run it in front of these, and return the clients' address."""
        self.port = free_port()
        sites = self.nginx_sample(self.port, *(server.port for server in servers))
        self.nginx: Program = self.start_nginx(adapted(sites, *replacements.items()), self.port, shutdown)
        return f"wss://127.0.0.1:{self.port}/ws"

    def test_it_ends_tls_and_says_who_the_client_is(self) -> None:
        server = self.serve()
        server.handler("sum", lambda client, a, b: a + b)
        url = self.front(server)
        client = self.client_of(url, headers={"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "http"})
        self.assertEqual(5, client.call("sum", [2, 3], timeout=10))
        request = server.clients[0].request
        self.assertEqual("127.0.0.1", request.headers["X-Forwarded-For"], "and not what the client says of itself")
        self.assertEqual("https", request.headers["X-Forwarded-Proto"])
        self.assertEqual(f"127.0.0.1:{self.port}", request.headers["Host"])

    def test_a_page_of_the_same_origin_passes_though_the_server_sees_no_tls(self) -> None:
        url = self.front(self.serve(allowed_origins="same-origin"))
        self.client_of(url, headers={"Origin": f"https://127.0.0.1:{self.port}"})
        with self.assertRaises(ConnectionFailed) as caught:
            self.client_of(url, headers={"Origin": "https://127.0.0.1"}, auto_reconnect=False)
        self.assertEqual(403, caught.exception.status)

    def test_it_cuts_who_is_silent_and_pings_are_no_silence(self) -> None:
        calls = Calls()
        options = {"ping_interval": None, "auto_reconnect": False, "on_disconnect": calls.named("cut", 0)}
        clients = []
        for interval in (0.2, None):
            url = self.front(self.serve(ping_interval=interval), **{"read_timeout 75s": "read_timeout 3s"})
            clients.append(self.client_of(url, **options))
        self.assertEqual([("cut", 1006)], calls.wait())
        self.assertEqual([True, False], [client.alive for client in clients])

    def test_clients_of_a_server_that_closes_are_told_and_come_to_the_other(self) -> None:
        first, second = self.serve(), self.serve()
        url = self.front(first, second)
        calls = Calls()
        options = {"reconnect_delay": 0.05, "on_disconnect": calls.named("gone", 0, 1)}
        clients = [self.client_of(url, **options) for _ in range(6)]
        self.assertEqual(3, len(first.clients), "least_conn")
        first.close()
        self.assertEqual([("gone", 1001, "server shutdown")] * 3, calls.wait(3))
        eventually(lambda: len(second.clients) == 6 and all(client.alive for client in clients))
        self.client_of(url, auto_reconnect=False)  # and a new one notices nothing

    def test_where_no_server_is_left_it_answers_502_and_clients_try_until_there_is_one(self) -> None:
        server = self.serve()
        url = self.front(server)
        client = self.client_of(url, reconnect_delay=0.05, reconnect_delay_max=0.2)
        port = server.port
        server.close()
        with self.assertRaises(ConnectionFailed) as caught:
            self.client_of(url, auto_reconnect=False)
        self.assertEqual(502, caught.exception.status)
        self.serve(port=port)
        eventually(lambda: client.alive, 20)

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
