"""samples/deployment/lobby.service: systemd finds nothing wrong with it, and what it would start is started and ended.

Without systemd as the first process: the command, the environment, the credential and the signal are as in the file.
"""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import unittest
from typing import Any, cast

from tests.deployment.fronts import SAMPLES, App, DeploymentTestCase, adapted, get, needs_program, sample
from tests.serving import KEY, Calls

MOSTLY_WAITS = True
SAME_ON_EVERY_PYTHON = True

COMMAND = "/opt/lobby/venv/bin/python /opt/lobby/app.py"
HANGING = """\
@server.on("hang")
def hang(client, args, reply, ids):
    reply("hanging")
    __import__("threading").Event().wait()


"""


class UnitTest(DeploymentTestCase):
    def values(self, name: str) -> list[str]:
        """What the unit says for a name, once for each line."""
        return re.findall(rf"(?m)^{name}=(.*)$", sample("lobby.service"))

    def start_unit(self, program: str = str(SAMPLES / "app.py"), ready: bool = True, **environment: str) -> App:
        """Run ``ExecStart`` as systemd would, but with this Python, another port and program."""
        (self.folder / "key").write_text(f"{KEY}\n", encoding="utf-8")
        said = dict(pair.split("=", 1) for line in self.values("Environment") for pair in shlex.split(line))
        self.assertEqual({"HOST": "127.0.0.1", "PORT": "8080", "KEY_FILE": "%d/key"}, said)
        self.assertEqual([COMMAND], self.values("ExecStart"))
        said |= {"KEY_FILE": f"{self.folder}/key", "PORT": "0", **environment}
        app = App(self.folder, said, [sys.executable, program], ready)
        self.addCleanup(app.close)
        return app

    @needs_program("systemd-analyze", "EZEZ_REQUIRE_SYSTEMD")
    def test_systemd_finds_nothing_wrong_with_it(self) -> None:
        unit = self.folder / "lobby.service"
        text = adapted(sample("lobby.service"), (COMMAND, f"{sys.executable} {SAMPLES / 'app.py'}"))
        unit.write_text(text, encoding="utf-8")
        command = ["systemd-analyze", "verify", str(unit)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", timeout=50)
        self.assertEqual((0, ""), (done.returncode, done.stdout))

    def test_its_command_serves_with_the_key_of_the_credential(self) -> None:
        app = self.start_unit()
        self.assertEqual([app.process.pid], self.client_of(app.url).call("who", timeout=10))
        self.assertEqual((200, "ready\n"), get(f"http://127.0.0.1:{app.port}/readyz"))

    def test_its_signal_ends_it_in_time_whatever_the_clients_do(self) -> None:
        program = self.folder / "app.py"
        text = adapted(sample("app.py"), ("\nif __name__", f"\n{HANGING}if __name__"))
        program.write_text(text, encoding="utf-8")
        app = self.start_unit(str(program))
        calls = Calls()
        options: dict[str, Any] = {"auto_reconnect": False, "on_disconnect": calls.named("gone", 0, 1)}
        self.client_of(app.url, **options)
        self.client_of(app.url, **options).send("hang").wait_reply(timeout=10)
        self.peer(cast(Any, app))  # which never answers that it is closed
        (number,) = self.values("KillSignal")
        start = time.monotonic()
        app.signal(signal.Signals[number])
        self.assertEqual([("gone", 1001, "server shutdown")] * 2, calls.wait(2))
        (seconds,) = self.values("TimeoutStopSec")
        self.assertEqual(0, app.wait(float(seconds)), app.output)
        self.assertLess(time.monotonic() - start, float(seconds))

    def test_it_fails_and_is_started_again_where_the_port_is_taken(self) -> None:
        self.assertEqual(["on-failure"], self.values("Restart"))
        with socket.create_server(("127.0.0.1", 0)) as taken:
            app = self.start_unit(ready=False, PORT=str(taken.getsockname()[1]))
            self.assertEqual(1, app.wait())
            self.assertIn("Address already in use", app.output)

    def test_without_a_key_it_does_not_start(self) -> None:
        app = self.start_unit(ready=False, KEY_FILE=os.devnull)
        self.assertEqual((1, "no key: set KEY, or KEY_FILE\n"), (app.wait(), app.output))


if __name__ == "__main__":
    unittest.main()
