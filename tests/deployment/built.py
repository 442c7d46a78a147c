"""The RUN lines of samples/deployment/Dockerfile, and CMD with what they have made: a package index is needed for that.

``python -m tests tests.deployment.built``; ``.ci/run`` does it.
"""

import os
import re
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

from tests.deployment.fronts import App, DeploymentTestCase, get
from tests.deployment.test_docker import APP, PYTHON, instructions, last
from tests.serving import KEY
from tests.support import REPO, allow_seconds


@allow_seconds(300)
class StagesTest(DeploymentTestCase):
    def test_what_run_installs_is_enough_for_cmd(self) -> None:
        """Each path of the image is one in ``folder``; the base image is this machine, with this Python."""
        source = self.folder / "src"
        ignore = shutil.ignore_patterns(".*", "node_modules", "_speedups*", "site", "build", "*.egg-info")
        shutil.copytree(REPO, source, ignore=ignore)
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "EZEZ"))}
        for name, arguments in instructions():
            if name == "RUN":
                command = self.moved(arguments)
                done = subprocess.run(
                    command, shell=True, cwd=source, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
                )
                self.assertEqual(0, done.returncode, f"{command}\n{done.stdout.decode()}")
        (self.folder / "app").mkdir()
        shutil.copy2(REPO / "samples/deployment/app.py", self.moved(APP))
        program = [self.moved(word) for word in (PYTHON, APP)]
        self.assertEqual(f'["{PYTHON}", "{APP}"]', last("CMD"))
        settings = {"KEY": KEY, "PYTHONPATH": "", "REDIS_URL": "redis://127.0.0.1:1/0"}  # where nobody is
        app = App(self.folder, settings, program, cwd=Path("/"))
        self.addCleanup(app.close)
        self.assertEqual([200, 503], [get(f"http://127.0.0.1:{app.port}/{path}")[0] for path in ("healthz", "readyz")])
        compiled = "from ezez_ws.messages.speedups import compiled; raise SystemExit(compiled is None)"
        self.assertEqual(0, subprocess.run([program[0], "-c", compiled], cwd="/", env=environment).returncode)

    def moved(self, text: str) -> str:
        """The text with paths of the image where they are here."""
        text = text.replace("/venv", f"{self.folder}/venv").replace("/app/", f"{self.folder}/app/")
        return re.sub(r"^python ", f"{sys.executable} ", text)


if __name__ == "__main__":
    unittest.main()
