"""docs/deployment.md: its command line, its configuration of nginx and its end by a signal are run for real."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any
from unittest import mock

from ezez_ws import ConnectionFailed, EZEZWebSocketClient
from tests.serving import Calls, ServingTestCase
from tests.support import REPO, free_port
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
    server {{
        listen 127.0.0.1:{port};
{location}
    }}
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


class GunicornTest(DeploymentTest):
    def test_the_command_line_serves_the_application_of_the_other_page(self) -> None:
        (command,) = [line for line in shell_lines(DOCUMENT) if line.startswith("gunicorn ")]
        (application,) = [block.code for block in blocks(FLASK) if "Flask(__name__)" in block.code]
        (self.folder / "app.py").write_text(application, encoding="utf-8")
        arguments = f"--bind 127.0.0.1:0 --chdir {self.folder}"
        with mock.patch.dict(os.environ, GUNICORN_CMD_ARGS=arguments):
            server = WebServer(*shlex.split(command))
        self.addCleanup(server.close)
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

    def location(self, backend: str) -> str:
        """The block of the document, in front of another address."""
        text = (REPO / DOCUMENT).read_text(encoding="utf-8")
        block: str
        (block,) = re.findall(r"^```nginx\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        self.assertIn("127.0.0.1:8000", block)
        return block.replace("127.0.0.1:8000", backend)

    def start_nginx(self, location: str) -> str:
        """Run nginx, and return the address of its ``/ws``; it may take a moment until somebody listens there."""
        port = free_port()
        configuration = self.folder / "nginx.conf"
        configuration.write_text(NGINX.format(folder=self.folder, port=port, location=location), encoding="utf-8")
        process = subprocess.Popen(
            ["nginx", "-e", "stderr", "-p", str(self.folder), "-c", str(configuration)], stderr=subprocess.DEVNULL
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return f"ws://127.0.0.1:{port}/ws"

    def test_its_configuration_lets_websockets_through(self) -> None:
        server = self.serve(on_auth_request=lambda client, key: key == "secret")
        server.on("sum", lambda client, args, reply, ids: reply("total", [sum(args)]))
        client = self.client_of(self.start_nginx(self.location(f"127.0.0.1:{server.port}")), reconnect_delay=0.05)
        client.connect(timeout=20)
        self.assertEqual([5], client.send("sum", [2, 3]).wait_reply(timeout=10).args)
        self.assertEqual("127.0.0.1", server.clients[0].request.headers["X-Forwarded-For"])

    def test_without_the_three_lines_a_client_is_refused_with_a_status_that_the_page_names(self) -> None:
        server = self.serve(on_auth_request=lambda client, key: key == "secret")
        location = self.location(f"127.0.0.1:{server.port}")
        kept = [line for line in location.splitlines() if "pgrade" not in line and "http_version" not in line]
        client = self.client_of(self.start_nginx("\n".join(kept)), reconnect_delay=0.05)
        with self.assertRaises(ConnectionFailed) as caught:
            client.connect(timeout=20)
        self.assertIn(caught.exception.status, (400, 426))  # by the version of HTTP that nginx speaks by default


if __name__ == "__main__":
    unittest.main()
