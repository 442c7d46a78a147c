"""docs/deployment.md: its command line, its configuration of nginx and its end by a signal are run for real."""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any
from unittest import mock

from ezez_ws import ConnectionFailed, EZEZWebSocketClient
from tests.serving import Calls, ServingTestCase
from tests.support import REPO, eventually, free_port
from tests.test_docs import blocks, shell_lines
from tests.wsgi.webserver import WebServer

SAME_ON_EVERY_PYTHON = True

DOCUMENT = "docs/deployment.md"
FLASK = "docs/server-modes.md"
NGINX = """\
daemon off;
master_process off;
pid {folder}/pid;
error_log stderr;
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


class DeploymentTest(ServingTestCase):
    def setUp(self) -> None:
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def client_of(self, url: str, **options: Any) -> EZEZWebSocketClient:
        client = EZEZWebSocketClient(url, auth="secret", **options)
        self.addCleanup(client.close)
        return client

    def start_gunicorn(self, threads: int = 100) -> WebServer:
        """Run the application of the other page by the command line of this one."""
        (command,) = [line for line in shell_lines(DOCUMENT) if line.startswith("gunicorn ")]
        (application,) = [block.code for block in blocks(FLASK) if "Flask(__name__)" in block.code]
        (self.folder / "app.py").write_text(application, encoding="utf-8")
        arguments = f"--bind 127.0.0.1:0 --chdir {self.folder}"
        self.assertIn("--threads 100", command)
        command = command.replace("--threads 100", f"--threads {threads}")
        with mock.patch.dict(os.environ, GUNICORN_CMD_ARGS=arguments):
            server = WebServer(*shlex.split(command))
        self.addCleanup(server.close)
        return server


class GunicornTest(DeploymentTest):
    def test_the_command_line_serves_the_application_of_the_other_page(self) -> None:
        server = self.start_gunicorn()
        client = self.client_of(f"ws://{server.address}/ws")
        client.connect(timeout=20)
        self.assertEqual([5], client.send("sum", [2, 3]).wait_reply(timeout=10).args)


class SignalTest(DeploymentTest):
    def test_sigterm_says_goodbye_to_every_client_and_ends_the_process(self) -> None:
        (program,) = [block.code for block in blocks(DOCUMENT) if "signal.SIGTERM" in block.code]
        run = "server.start()\nprint(server.url, flush=True)\nmain()\n"
        process = subprocess.Popen(
            [sys.executable, "-c", program + run],
            cwd=REPO,
            env={**os.environ, "PYTHONPATH": str(REPO)},
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        assert process.stdout is not None
        calls = Calls()
        client = self.client_of(
            process.stdout.readline().strip(), on_disconnect=calls.named("gone", 0), auto_reconnect=False
        )
        client.connect(timeout=20)
        process.send_signal(signal.SIGTERM)
        self.assertEqual([("gone", 1001)], calls.wait())
        self.assertEqual(0, process.wait(timeout=20))


class NginxTest(DeploymentTest):
    """Skips where nginx is missing, or fails there with ``EZEZ_REQUIRE_NGINX=1``."""

    @classmethod
    def setUpClass(cls) -> None:
        if shutil.which("nginx") is None:
            reason = "nginx is not installed: apt-get install nginx-light"
            raise AssertionError(reason) if os.environ.get("EZEZ_REQUIRE_NGINX") == "1" else unittest.SkipTest(reason)

    def site(self, backend: str) -> str:
        """The block of the document, in front of another address."""
        text = (REPO / DOCUMENT).read_text(encoding="utf-8")
        block: str
        (block,) = re.findall(r"^```nginx\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        self.assertEqual(2, block.count("127.0.0.1:8000"))
        return block.replace("127.0.0.1:8000", backend)

    def start_nginx(self, site: str) -> int:
        """Run nginx, wait for it, and return its port."""
        port = free_port()
        configuration = self.folder / "nginx.conf"
        sites = site.replace("listen 80;", f"listen 127.0.0.1:{port};")
        configuration.write_text(NGINX.format(folder=self.folder, sites=sites), encoding="utf-8")
        process = subprocess.Popen(
            ["nginx", "-e", "stderr", "-p", str(self.folder), "-c", str(configuration)], stderr=subprocess.DEVNULL
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        eventually(lambda: self.can_connect(port))
        return port

    def can_connect(self, port: int) -> bool:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            return False
        return True

    def test_its_configuration_lets_websockets_through(self) -> None:
        server = self.serve(on_auth_request=lambda client, key: key == "secret")
        server.on("sum", lambda client, args, reply, ids: reply("total", [sum(args)]))
        port = self.start_nginx(self.site(f"127.0.0.1:{server.port}"))
        client = self.client_of(f"ws://127.0.0.1:{port}/ws", headers={"X-Forwarded-For": "192.0.2.1"})
        client.connect(timeout=20)
        self.assertEqual([5], client.send("sum", [2, 3]).wait_reply(timeout=10).args)
        headers = server.clients[0].request.headers
        self.assertEqual("127.0.0.1", headers["X-Forwarded-For"], "what the client says of itself is not passed on")
        self.assertEqual(f"127.0.0.1:{port}", headers["Host"])

    def test_it_passes_on_what_same_origin_compares_with(self) -> None:
        server = self.serve(on_auth_request=lambda client, key: key == "secret", allowed_origins="same-origin")
        port = self.start_nginx(self.site(f"127.0.0.1:{server.port}"))
        url = f"ws://127.0.0.1:{port}/ws"
        self.client_of(url, headers={"Origin": f"http://127.0.0.1:{port}"}).connect(timeout=20)
        with self.assertRaises(ConnectionFailed) as caught:
            self.client_of(url, headers={"Origin": "http://127.0.0.1"}).connect(timeout=20)
        self.assertEqual(403, caught.exception.status)

    def test_without_the_three_lines_a_client_is_refused_with_a_status_that_the_page_names(self) -> None:
        server = self.serve(on_auth_request=lambda client, key: key == "secret")
        lines = self.site(f"127.0.0.1:{server.port}").splitlines()
        kept = [line for line in lines if "pgrade" not in line and "http_version" not in line]
        client = self.client_of(f"ws://127.0.0.1:{self.start_nginx(chr(10).join(kept))}/ws")
        with self.assertRaises(ConnectionFailed) as caught:
            client.connect(timeout=20)
        self.assertIn(caught.exception.status, (400, 426))  # by the version of HTTP that nginx speaks by default

    def test_an_address_has_as_many_connections_as_it_says(self) -> None:
        server = self.serve(on_auth_request=lambda client, key: key == "secret")
        url = f"ws://127.0.0.1:{self.start_nginx(self.site(f'127.0.0.1:{server.port}'))}/ws"
        for _ in range(20):
            self.client_of(url).connect(timeout=20)
        with self.assertRaises(ConnectionFailed) as caught:
            self.client_of(url, auto_reconnect=False).connect(timeout=20)
        self.assertEqual(503, caught.exception.status)

    def test_clients_that_send_their_requests_slowly_take_no_thread_of_gunicorn(self) -> None:
        gunicorn = self.start_gunicorn(threads=2)
        port = self.start_nginx(self.site(gunicorn.address))
        half_a_body = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nhalf"
        for request in [b"GET /ws HTTP/1.1\r\nHost: ", half_a_body] * 3:
            slow = socket.create_connection(("127.0.0.1", port))
            self.addCleanup(slow.close)
            slow.sendall(request)
        client = self.client_of(f"ws://127.0.0.1:{port}/ws")
        client.connect(timeout=20)
        self.assertEqual([5], client.send("sum", [2, 3]).wait_reply(timeout=10).args)


if __name__ == "__main__":
    unittest.main()
