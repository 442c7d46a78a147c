"""samples/deployment/Dockerfile, as far as one comes without Docker: what it copies is there, and what it runs, runs.

There is no daemon to build the image. ``tests.deployment.built`` runs its RUN lines, which need a package index.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import unittest
from pathlib import Path
from typing import NamedTuple

from tests.deployment.fronts import SAMPLES, App, DeploymentTestCase, adapted, sample
from tests.serving import KEY, Calls
from tests.support import REPO

MOSTLY_WAITS = True
SAME_ON_EVERY_PYTHON = True

PYTHON = "/venv/bin/python"
APP = "/app/app.py"


class Instruction(NamedTuple):
    """``CMD ["a", "b"]``: its name, and what follows, on one line."""

    name: str
    arguments: str


def instructions() -> list[Instruction]:
    """What the Dockerfile says, in its order."""
    text = re.sub(r"(?m)^\s*#.*\n", "", sample("Dockerfile")).replace("\\\n", " ")
    return [Instruction(*line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


def last(name: str) -> str:
    """What the last instruction of this name says."""
    return [one.arguments for one in instructions() if one.name == name][-1]


def form(arguments: str) -> list[str]:
    """The command in ``[...]``, with this Python and the program where they are here."""
    command: list[str] = json.loads(arguments)
    return [{PYTHON: sys.executable, APP: str(SAMPLES / "app.py")}.get(word, word) for word in command]


class DockerfileTest(DeploymentTestCase):
    def environment(self) -> dict[str, str]:
        """Of the image, and the key; but on the loopback, and on a free port."""
        said = dict(pair.split("=", 1) for pair in shlex.split(last("ENV")))
        self.assertEqual({"HOST": "0.0.0.0", "PORT": "8080", "PYTHONUNBUFFERED": "1"}, said)
        return {**said, "HOST": "127.0.0.1", "PORT": "0", "KEY": KEY}

    def check_health(self, port: int) -> "subprocess.CompletedProcess[bytes]":
        """Run the command of HEALTHCHECK, which has as long as it says."""
        options, _, command = last("HEALTHCHECK").partition("CMD")
        found = re.search(r"--timeout=(\d+)s", options)
        assert found is not None
        program = adapted(command, ("127.0.0.1:8080", f"127.0.0.1:{port}"))
        return subprocess.run(form(program), capture_output=True, timeout=float(found[1]) + 20)

    def test_what_it_copies_from_the_repository_is_there(self) -> None:
        copied = [shlex.split(one.arguments) for one in instructions() if one.name == "COPY"]
        for *sources, _ in copied:
            for source in sources if not sources[0].startswith("--from") else []:
                self.assertTrue((REPO / source).exists(), source)
        self.assertIn(["samples/deployment/app.py", APP], copied)

    def test_its_command_is_the_program_and_no_shell_that_would_keep_the_signal(self) -> None:
        self.assertEqual([PYTHON, APP], json.loads(last("CMD")))
        self.assertEqual("SIGTERM", last("STOPSIGNAL"))
        self.assertNotIn("ENTRYPOINT", [one.name for one in instructions()])

    def test_the_health_check_passes_while_it_serves_and_fails_when_it_has_gone_or_is_stuck(self) -> None:
        app = App(self.folder, self.environment(), form(last("CMD")))
        self.addCleanup(app.close)
        healthy = self.check_health(app.port)
        self.assertEqual((0, b""), (healthy.returncode, healthy.stderr))
        app.signal(signal.SIGSTOP)  # the kernel still accepts
        self.assertEqual(1, self.check_health(app.port).returncode)
        app.signal(signal.SIGCONT)
        self.assertEqual(0, self.check_health(app.port).returncode)
        app.signal(signal.SIGTERM)
        app.wait()
        self.assertEqual(1, self.check_health(app.port).returncode)

    def test_sigterm_ends_it_as_the_first_process_too_which_the_kernel_asks_nothing_else_of(self) -> None:
        unshare = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child"]
        if not shutil.which("unshare") or subprocess.run([*unshare, "true"], capture_output=True).returncode:
            self.skipTest("no namespace of processes may be made here")
        app = App(self.folder, self.environment(), [*unshare, *form(last("CMD"))])
        self.addCleanup(app.close)
        calls = Calls()
        client = self.client_of(app.url, on_disconnect=calls.named("gone", 0), auto_reconnect=False)
        self.assertEqual([1], client.call("who", timeout=10))
        (first,) = Path(f"/proc/{app.process.pid}/task/{app.process.pid}/children").read_text().split()
        os.kill(int(first), signal.SIGTERM)
        self.assertEqual([("gone", 1001)], calls.wait())
        self.assertEqual(0, app.wait())


if __name__ == "__main__":
    unittest.main()
