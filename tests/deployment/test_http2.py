"""HTTP/2 in front: what becomes of the WebSockets of a real page. The server itself speaks HTTP/1.1."""

import unittest

from tests.browser.chromium import ChromiumTestCase
from tests.deployment.fronts import DeploymentTestCase, adapted, needs_program
from tests.support import free_port

MOSTLY_WAITS = True
SAME_ON_EVERY_PYTHON = True

HAPROXY = """\
    log stdout format raw local0
    log-format "request %HV %ST %HP"
    http-request return status 200 content-type text/html string "<!doctype html><title>a page</title>" if { path / }
"""
NGINX = """\
    access_log /dev/stdout seen;
    location = / {
        add_header Content-Type text/html;
        return 200 "<!doctype html><title>a page</title>";
    }

"""
CONNECT = """() => new Promise((done, failed) => {
    const socket = new WebSocket(`wss://${location.host}/ws`);
    socket.onopen = () => done("open");
    socket.onerror = () => failed(new Error("it does not open"));
})"""


class HTTP2Test(ChromiumTestCase, DeploymentTestCase):
    def connect_a_page(self, port: int) -> None:
        """Open a page by HTTP/2, have it open a WebSocket, and close it."""
        window = self.open(f"https://127.0.0.1:{port}/", ignore_https_errors=True)
        self.assertEqual("open", window.evaluate(CONNECT))
        window.close()

    @needs_program("haproxy", "EZEZ_REQUIRE_HAPROXY")
    def test_haproxy_takes_a_websocket_within_the_connection_that_brought_the_page(self) -> None:
        server = self.serve(health_path="/healthz", allowed_origins="same-origin")
        port = free_port()
        before = "    default_backend"
        configuration = adapted(self.haproxy_sample(port, server.port), (before, f"{HAPROXY}{before}"))
        haproxy = self.start_haproxy(configuration, port)
        self.connect_a_page(port)
        haproxy.read(r"request HTTP/2\.0 101 \S+/ws")

    @needs_program("nginx", "EZEZ_REQUIRE_NGINX")
    def test_with_nginx_the_browser_opens_a_connection_by_the_older_protocol_beside_it(self) -> None:
        server = self.serve(allowed_origins="same-origin")
        port = free_port()
        site = adapted(
            self.nginx_sample(port, server.port),
            (" ssl;", " ssl http2;"),
            ("    location /ws", f"{NGINX}    location /ws"),
        )
        nginx = self.start_nginx(f'log_format seen "request $server_protocol $status $uri";\n{site}', port)
        self.connect_a_page(port)
        nginx.read(r"request HTTP/2\.0 200 /")
        nginx.read(r"request HTTP/1\.1 101 /ws")


if __name__ == "__main__":
    unittest.main()
