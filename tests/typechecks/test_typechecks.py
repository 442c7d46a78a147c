"""What mypy and pyright, at their strictest, say of programs: each takes the right ones, and refuses the wrong lines.

Each line of the programs in ``right`` and ``wrong`` that ends in ``# error`` has to be refused by both, and no other.
A program is one file, of which nothing runs, so it may use what there is of the library without setting it up.
"""

import json
import re
import subprocess
import sys
import tempfile
import unittest
from importlib.util import find_spec
from pathlib import Path

from tests.support import NODE_MODULES, REPO, EZEZTestCase, allow_seconds, needs_node

MAY_RUN_BESIDE = True
SAME_ON_EVERY_PYTHON = True

FOLDER = REPO / "tests/typechecks"
PROGRAMS = sorted([*FOLDER.glob("right/*.py"), *FOLDER.glob("wrong/*.py")])
MARK = "  # error"

Lines = dict[tuple[str, int], str]
"""By file and line: what is said of it."""


def marked_lines() -> Lines:
    return {
        (path.relative_to(FOLDER).as_posix(), number): line.removesuffix(MARK)
        for path in PROGRAMS
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if line.endswith(MARK)
    }


def refused_by_mypy() -> Lines:
    with tempfile.TemporaryDirectory() as cache:
        options = ["--config-file=", "--strict", "--follow-imports=silent", f"--cache-dir={cache}"]
        command = [sys.executable, "-m", "mypy", *options, "--explicit-package-bases", *map(str, PROGRAMS)]
        done = subprocess.run(command, cwd=REPO, capture_output=True, encoding="utf-8", timeout=240)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = re.findall(r"^(.+?):([0-9]+): error: (.*)", done.stdout, re.MULTILINE)
    return {((REPO / path).relative_to(FOLDER).as_posix(), int(line)): message for path, line, message in found}


def refused_by_pyright() -> Lines:
    script = NODE_MODULES / "pyright" / "index.js"
    command = ["node", str(script), "--project", str(FOLDER), "--pythonpath", sys.executable, "--outputjson"]
    done = subprocess.run(command, cwd=REPO, capture_output=True, encoding="utf-8", timeout=240)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["summary"]["filesAnalyzed"] == len(PROGRAMS), found["summary"]
    return {
        (Path(said["file"]).relative_to(FOLDER).as_posix(), said["range"]["start"]["line"] + 1): said["message"]
        for said in found["generalDiagnostics"]
        if said["severity"] == "error"
    }


@allow_seconds(250)
class TypeChecksTest(EZEZTestCase):
    def check(self, refused: Lines) -> None:
        marked = marked_lines()
        self.assertGreater(len(marked), 100)
        self.assertEqual({}, {at: line for at, line in marked.items() if at not in refused}, "taken, and wrong")
        self.assertEqual({}, {at: said for at, said in refused.items() if at not in marked}, "refused, and right")

    @unittest.skipUnless(find_spec("mypy"), "mypy is not installed")
    def test_mypy_takes_what_is_right_and_refuses_what_is_wrong(self) -> None:
        self.check(refused_by_mypy())

    @needs_node
    def test_pyright_takes_what_is_right_and_refuses_what_is_wrong(self) -> None:
        self.check(refused_by_pyright())


if __name__ == "__main__":
    unittest.main()
