"""samples/deployment under gunicorn: two workers that share a room by a real Redis, with a real nginx in front."""

import signal
import socket
import sys
import unittest
from collections.abc import Callable
from itertools import chain
from typing import Any

from ezez_ws import ConnectionClosed, ConnectionFailed, EZEZWebSocketClient
from tests.deployment.fronts import SAMPLES, App, DeploymentTestCase, get, needs_program, sample
from tests.redis_server import RedisServer, needs_redis
from tests.serving import KEY, Calls
from tests.support import eventually, free_port
from tests.wsgi.test_web_servers import QUIET

MOSTLY_WAITS = True
SAME_ON_EVERY_PYTHON = True


@needs_redis
class GunicornTest(DeploymentTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.redis = RedisServer().start()
        self.addCleanup(self.redis.close)

    def start_gunicorn(self, *options: str) -> App:
        """Run it by its configuration, on a free port."""
        configuration = ["--chdir", str(SAMPLES), "--config", str(SAMPLES / "gunicorn.conf.py")]
        command = [sys.executable, "-m", "gunicorn", *configuration, "--bind", "127.0.0.1:0", *QUIET, *options]
        gunicorn = App(self.folder, {"KEY": KEY, "REDIS_URL": self.redis.url}, [*command, "app:app"], ready=False)
        self.addCleanup(gunicorn.close)
        gunicorn.port = int(gunicorn.read(r"Listening at: http://[0-9.]+:(\d+)")[1])
        return gunicorn

    def on_both(self, url: str, **options: Any) -> dict[int, EZEZWebSocketClient]:
        """Connect until each worker has a client, and return one of each, by the worker's process."""
        clients: dict[int, EZEZWebSocketClient] = {}

        def come() -> bool:
            client = self.client_of(url, **options)
            for pid in self.processes(client) - set(clients):
                clients[pid] = client
            return len(clients) == 2

        eventually(come, 30)
        return clients

    def test_what_a_client_of_one_worker_says_is_heard_on_the_other(self) -> None:
        one, other = self.on_both(self.start_gunicorn().url).values()
        calls = Calls()
        other.on("said", lambda args, reply, ids: calls.add(*args))
        one.call("say", ["hello"], timeout=10)
        self.assertEqual([("hello",)], calls.wait())

    def test_a_worker_is_ready_while_redis_is_there_and_healthy_without_it(self) -> None:
        page = f"http://127.0.0.1:{self.start_gunicorn().port}"
        self.is_eventually((200, "ready\n"), lambda: get(f"{page}/readyz"))
        self.redis.stop()
        self.is_eventually((503, "no Redis\n"), lambda: get(f"{page}/readyz"))
        self.assertEqual((200, "ok\n"), get(f"{page}/healthz"))
        self.redis.start()
        self.is_eventually((200, "ready\n"), lambda: get(f"{page}/readyz"))

    def is_eventually(self, expected: Any, what: Callable[[], Any]) -> None:
        eventually(lambda: [what() for _ in range(4)] == [expected] * 4, 20, f"{expected}, on both workers")

    def test_a_worker_that_has_all_its_clients_serves_pages_still(self) -> None:
        gunicorn = self.start_gunicorn("--workers", "1", "--threads", "3", "--env", "MAX_CONNECTIONS=2")
        for _ in range(2):
            self.client_of(gunicorn.url)
        with self.assertRaises(ConnectionFailed) as caught:
            self.client_of(gunicorn.url, auto_reconnect=False)
        self.assertEqual(503, caught.exception.status)
        self.assertEqual(200, get(f"http://127.0.0.1:{gunicorn.port}/healthz")[0])
        settings: dict[str, Any] = {}
        exec(sample("gunicorn.conf.py"), settings)
        self.assertLess(int(settings["raw_env"][0].removeprefix("MAX_CONNECTIONS=")), settings["threads"])

    @needs_program("nginx", "EZEZ_REQUIRE_NGINX")
    def test_behind_nginx_clients_and_pages_come_through_and_a_reload_only_moves_them(self) -> None:
        gunicorn = self.start_gunicorn()
        port = free_port()
        self.start_nginx(self.nginx_sample(port, gunicorn.port), port)
        calls = Calls()
        options = {"reconnect_delay": 0.05, "reconnect_delay_max": 0.2, "on_disconnect": calls.named("gone", 0)}
        clients = self.on_both(f"wss://127.0.0.1:{port}/ws", **options)
        self.assertEqual((200, "ok\n"), get(f"https://127.0.0.1:{port}/healthz", context=self.trust()))
        gunicorn.signal(signal.SIGHUP)
        self.assertLessEqual({("gone", 1001)}, set(calls.wait(2)))
        eventually(
            lambda: set(clients).isdisjoint(chain(*map(self.processes, clients.values()))), 60, "new workers only"
        )

    def processes(self, client: EZEZWebSocketClient) -> set[int]:
        """The workers that have clients; whoever is moved meanwhile asks again."""
        while True:
            try:
                return set(client.call("who", timeout=50))
            except ConnectionClosed:
                pass

    @needs_program("nginx", "EZEZ_REQUIRE_NGINX")
    def test_behind_nginx_who_sends_a_request_slowly_takes_no_thread(self) -> None:
        gunicorn = self.start_gunicorn("--workers", "1", "--threads", "2")
        port = free_port()
        self.start_nginx(self.nginx_sample(port, gunicorn.port), port)
        half_a_body = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nhalf"
        for request in [b"GET /ws HTTP/1.1\r\nHost: ", half_a_body] * 3:
            slow = self.trust().wrap_socket(socket.create_connection(("127.0.0.1", port)), server_hostname="127.0.0.1")
            self.addCleanup(slow.close)
            slow.sendall(request)
        self.client_of(f"wss://127.0.0.1:{port}/ws").call("who", timeout=10)

    def test_sigterm_tells_every_client_and_ends_in_time(self) -> None:
        gunicorn = self.start_gunicorn()
        calls = Calls()
        self.on_both(gunicorn.url, on_disconnect=calls.named("gone", 0, 1), auto_reconnect=False)
        gunicorn.signal(signal.SIGTERM)
        self.assertEqual({("gone", 1001, "server shutdown")}, set(calls.wait(2)))
        self.assertEqual(0, gunicorn.wait(20), gunicorn.output)


if __name__ == "__main__":
    unittest.main()
