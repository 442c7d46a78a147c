"""What is built and installed is what users need: ``python -m tests tests.packaging.built``.

Needs ``build``, ``twine``, git, a C compiler and a package index, so it is no part of the suite; ``.ci/run`` runs it.
The Pythons to install on, beside this one, are in the environment variable ``EZEZ_PYTHONS``, separated by colons.
"""

import email
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import unittest
import zipfile
from collections.abc import Mapping
from pathlib import Path

from tests.support import REPO, EZEZTestCase, allow_seconds

PYTHONS = [sys.executable, *filter(None, os.environ.get("EZEZ_PYTHONS", "").split(os.pathsep))]
MADE_BY_BUILDING = ("PKG-INFO", "ezez_ws.egg-info/")
EXTENSION = f"ezez_ws/messages/_speedups{sysconfig.get_config_var('EXT_SUFFIX')}"

# What is run where the wheel is installed, away from the repository.
WHERE = "import ezez_ws; print(ezez_ws.__file__)"
VERSION = "from ezez_ws import __version__; print(__version__)"
EDITOR = "from ezez_ws.cli import terminal"
COMPILED = "from ezez_ws.messages.speedups import compiled; print(compiled is not None)"


def run(*command: "str | Path", cwd: Path, code: int = 0, more: Mapping[str, str] | None = None) -> str:
    """Run a command without anything that leads to the repository, and return what it prints on both outputs."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "EZEZ_WS_"))}
    environment.update(more or {})
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    if done.returncode != code:
        raise AssertionError(f"{command} has ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def repository_files() -> list[str]:
    """What belongs to the repository, committed or about to be."""
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", cwd=REPO)
    return [name for name in listed.split("\0") if name and (REPO / name).is_file()]


class PackagingTestCase(EZEZTestCase):
    """Builds once, from a copy, so that nothing lies about in the repository that is not of it."""

    folder: Path
    sdist: Path
    wheel: Path

    @classmethod
    def setUpClass(cls) -> None:
        temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(temporary.cleanup)
        cls.folder = Path(temporary.name)
        source = cls.folder / "source"
        for name in repository_files():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPO / name, source / name)
        run(sys.executable, "-m", "build", "--outdir", cls.folder / "dist", cwd=source)
        (cls.sdist,) = (cls.folder / "dist").glob("*.tar.gz")
        (cls.wheel,) = (cls.folder / "dist").glob("*.whl")


@allow_seconds(300)
class BuiltTest(PackagingTestCase):
    def test_twine_finds_nothing_wrong(self) -> None:
        run(sys.executable, "-m", "twine", "check", "--strict", self.sdist, self.wheel, cwd=self.folder)

    def test_the_wheel_has_all_of_the_package_and_nothing_else(self) -> None:
        with zipfile.ZipFile(self.wheel) as wheel:
            found = {name for name in wheel.namelist() if ".dist-info/" not in name}
        expected = {
            name
            for name in repository_files()
            if name.startswith(("ezez_ws/", "ezez_ws_pytest.py")) and not name.endswith((".c", ".h"))
        }
        self.assertEqual({*expected, EXTENSION}, found)
        self.assertIn("ezez_ws/py.typed", found)

    def test_the_source_distribution_has_all_of_the_repository_and_nothing_else(self) -> None:
        with tarfile.open(self.sdist) as sdist:
            names = [member.name.partition("/")[2] for member in sdist.getmembers() if member.isfile()]
        found = {name for name in names if not name.startswith(MADE_BY_BUILDING)}
        self.assertEqual({"MANIFEST.in", *repository_files()}, found)

    def test_the_metadata_says_what_it_needs_and_brings(self) -> None:
        with zipfile.ZipFile(self.wheel) as wheel:
            (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
            metadata = email.message_from_bytes(wheel.read(name))
        self.assertEqual(">=3.10", metadata["Requires-Python"])
        self.assertIn("websocket", metadata["Keywords"])
        self.assertIn("cli", metadata.get_all("Provides-Extra", []))
        needed = [line.split(">")[0] for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
        self.assertLessEqual({"h11", "simple-websocket", "websocket-server"}, set(needed))
        self.assertNotIn("prompt-toolkit", needed)


@allow_seconds(300)
class InstalledTest(PackagingTestCase):
    """The wheel, and for other Pythons the source distribution, in fresh environments, used from another folder."""

    def install(self, python: str, extra: str, environment: Mapping[str, str] | None = None) -> Path:
        """Return the folder of the programs."""
        built = self.wheel if python == sys.executable and not environment else self.sdist
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        run(python, "-m", "venv", folder, cwd=self.folder)
        pip = (folder / "bin/python", "-m", "pip", "install", "--quiet", "--no-cache-dir")
        run(*pip, f"{built}{extra}", cwd=self.folder, more=environment)
        run(folder / "bin/python", "-m", "pip", "check", cwd=self.folder)
        return folder / "bin"

    def check(self, programs: Path, editor: bool, compiled: bool = True) -> None:
        python, quick_start = programs / "python", (REPO / "samples/quickstart.py").read_text(encoding="utf-8")
        self.assertIn(str(programs.parent), run(python, "-c", WHERE, cwd=self.folder))
        self.assertRegex(run(python, "-c", VERSION, cwd=self.folder), r"\A\d+\.\d+\.\d+\n\Z")
        self.assertEqual("5\nserved\n", run(python, "-c", quick_start, cwd=self.folder))
        for command in ([programs / "ezez-ws"], [python, "-m", "ezez_ws"]):
            self.assertRegex(run(*command, "--version", cwd=self.folder), r"\Aezez-ws \d")
            self.assertIn("cannot connect", run(*command, "call", "ws://127.0.0.1:1", "e", cwd=self.folder, code=1))
        run(python, "-c", EDITOR, cwd=self.folder, code=0 if editor else 1)
        self.assertEqual(f"{compiled}\n", run(python, "-c", COMPILED, cwd=self.folder))

    def test_the_library_alone_works_and_so_does_its_command(self) -> None:
        for python in PYTHONS:
            with self.subTest(python):
                self.check(self.install(python, ""), editor=False)

    def test_without_a_compiler_it_is_installed_in_python(self) -> None:
        self.check(self.install(sys.executable, "", {"CC": "false"}), editor=False, compiled=False)

    def test_with_the_extra_the_line_editor_is_there(self) -> None:
        for python in PYTHONS:
            with self.subTest(python):
                self.check(self.install(python, "[cli]"), editor=True)


if __name__ == "__main__":
    unittest.main()
