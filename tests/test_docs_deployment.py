"""docs/deployment.md: it shows the files of samples/deployment as they are, and its commands and its signal are run.

What those files do, with nginx, HAProxy and the others, is for tests/deployment to see.
"""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import unittest
from typing import Any
from unittest import mock

from tests.deployment.fronts import SAMPLES, App, DeploymentTestCase, sample
from tests.serving import KEY, Calls
from tests.support import REPO, needs_node
from tests.test_docs import blocks, shell_lines
from tests.wsgi.webserver import WebServer

MOSTLY_WAITS = True
SAME_ON_EVERY_PYTHON = True

DOCUMENT = "docs/deployment.md"
FLASK = "docs/server-modes.md"


class FilesTest(unittest.TestCase):
    def test_each_file_is_shown_as_it_is(self) -> None:
        text = (REPO / DOCUMENT).read_text(encoding="utf-8")
        for path in SAMPLES.iterdir():
            if path.is_file():
                with self.subTest(path.name):
                    self.assertIn(f"\n{path.read_text(encoding='utf-8')}```\n", text)

    def test_each_command_names_files_that_are_there(self) -> None:
        for line in shell_lines(DOCUMENT):
            for path in re.findall(r"samples/[\w./]+", line):
                self.assertTrue((REPO / path).exists(), line)


class CommandTest(DeploymentTestCase):
    def test_gunicorns_serves_the_application_of_the_other_page(self) -> None:
        (command,) = [line for line in shell_lines(DOCUMENT) if line.startswith("gunicorn --worker-class")]
        (application,) = [block.code for block in blocks(FLASK) if "Flask(__name__)" in block.code]
        (self.folder / "app.py").write_text(application, encoding="utf-8")
        with mock.patch.dict(os.environ, GUNICORN_CMD_ARGS=f"--bind 127.0.0.1:0 --chdir {self.folder}"):
            server = WebServer(*shlex.split(command))
        self.addCleanup(server.close)
        client = self.client_of(f"ws://{server.address}/ws")
        self.assertEqual([5], client.send("sum", [2, 3]).wait_reply(timeout=10).args)

    def test_the_one_of_the_health_check_says_by_its_exit_code_whether_there_is_a_server(self) -> None:
        (command,) = [line for line in shell_lines(DOCUMENT) if line.startswith("curl ")]
        app = self.start_app()
        command = command.replace("8080", str(app.port))
        self.assertEqual(0, subprocess.run(shlex.split(command), capture_output=True, timeout=50).returncode)
        app.signal(signal.SIGTERM)
        app.wait()
        self.assertEqual(7, subprocess.run(shlex.split(command), capture_output=True, timeout=50).returncode)


class SignalTest(DeploymentTestCase):
    def test_sigterm_says_goodbye_to_every_client_and_ends_the_process(self) -> None:
        (program,) = [block.code for block in blocks(DOCUMENT) if "def main" in block.code and "port=0" in block.code]
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
        url = process.stdout.readline().strip()
        self.client_of(url, on_disconnect=calls.named("gone", 0), auto_reconnect=False)
        process.send_signal(signal.SIGTERM)
        self.assertEqual([("gone", 1001)], calls.wait())
        self.assertEqual(0, process.wait(timeout=20))


@needs_node
class YamlTest(DeploymentTestCase):
    """compose.yaml and kubernetes.yaml say what the program understands."""

    def load(self, name: str) -> list[Any]:
        """The documents of a file."""
        script = "console.log(JSON.stringify(require('js-yaml').loadAll(require('fs').readFileSync(0, 'utf8'))))"
        done = subprocess.run(
            ["node", "-e", script], cwd=REPO / "tests", input=sample(name).encode(), capture_output=True
        )
        self.assertEqual((0, b""), (done.returncode, done.stderr))
        documents: list[Any] = json.loads(done.stdout)
        return documents

    def test_the_probes_of_kubernetes_find_the_program_well(self) -> None:
        deployment, service = self.load("kubernetes.yaml")
        pod = deployment["spec"]["template"]
        (container,) = pod["spec"]["containers"]
        self.assertEqual(service["spec"]["selector"], pod["metadata"]["labels"])
        self.assertEqual({"KEY", "REDIS_URL"}, {variable["name"] for variable in container["env"]})
        self.assertLess(5 + 5, pod["spec"]["terminationGracePeriodSeconds"], "preStop and close_timeout")
        app = self.start_app()
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            self.assertEqual("http", container[probe]["httpGet"]["port"])
            self.assertEqual(b"200", self.ask_as_kubelet(app, container[probe]["httpGet"]["path"]), probe)

    def ask_as_kubelet(self, app: App, path: str) -> bytes:
        """Send the request that a kubelet sends, and return the status."""
        with socket.create_connection(("127.0.0.1", app.port)) as sock, sock.makefile("rb") as answer:
            lines = (f"GET {path} HTTP/1.1", f"Host: 10.0.0.7:{app.port}", "User-Agent: kube-probe/1.33", "Accept: */*")
            sock.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode())
            return answer.read().split()[1]

    def test_compose_builds_by_the_dockerfile_and_hands_the_key_over_in_a_file(self) -> None:
        (document,) = self.load("compose.yaml")
        lobby = document["services"]["lobby"]
        self.assertEqual(
            SAMPLES / "Dockerfile", (SAMPLES / lobby["build"]["context"]).resolve() / lobby["build"]["dockerfile"]
        )
        (secret,) = lobby["secrets"]
        self.assertIn(secret, document["secrets"])
        (self.folder / "key").write_text(KEY, encoding="utf-8")
        self.assertEqual(f"/run/secrets/{secret}", lobby["environment"]["KEY_FILE"])
        app = self.start_app(KEY="", KEY_FILE=str(self.folder / "key"))
        self.client_of(app.url)


if __name__ == "__main__":
    unittest.main()
