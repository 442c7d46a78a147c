"""docs/cli.md: its examples run, and print what they say; it leaves out no command, option and exit code.

Blocks marked ``console`` are sessions: lines that begin with ``$`` (and go on with ``>``) are run by a shell, and all
other lines are what they print. They talk to a relay on a port of the test's. The block marked ``text`` is a session at
a terminal. What blocks marked ``sh`` say of ``ezez-ws``, in any document, is parsed.
"""

import os
import re
import shlex
import subprocess
import sys
import tempfile
import unittest
from collections.abc import Iterator
from pathlib import Path

from ezez_ws.cli.main import COMMANDS, parse
from ezez_ws.cli.outcome import ExitCode
from ezez_ws.cli.shell import COMMANDS as SESSION_COMMANDS
from tests.cli.running import PROGRAM, TIMEOUT, Program, Terminal, environment, invoke
from tests.support import REPO, EZEZTestCase
from tests.test_docs import DOCUMENTS, shell_lines

MAY_RUN_BESIDE = True
SAME_ON_EVERY_PYTHON = True

TEXT = (REPO / "docs/cli.md").read_text(encoding="utf-8")
ADDRESS = "127.0.0.1:8765"  # which the examples name


def blocks(language: str) -> Iterator[str]:
    yield from re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def examples() -> Iterator[tuple[str, str]]:
    """Each command of the sessions, and what it prints."""
    for block in blocks("console"):
        for example in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            first, *rest = example.splitlines(keepends=True)
            command = [first]
            while rest and rest[0].startswith("> "):
                command.append(rest.pop(0)[2:])
            yield "".join(command), "".join(rest)


def usage(command: str) -> str:
    """The command and its arguments, as its help has them."""
    text = invoke(command, "--help").out.partition("\n\n")[0].removeprefix("usage: ezez-ws ")
    return " ".join(text.replace("[OPTION...]", "").split())


class CliDocumentTest(EZEZTestCase):
    def test_each_session_prints_what_it_says(self) -> None:
        found = list(examples())
        self.assertGreater(len(found), 10)
        with Program("serve", "--port", "0") as relay:
            address = relay.read_line().partition("ws://")[2].partition(",")[0]
            for command, printed in found:
                with self.subTest(command):
                    output = self.run_in_shell(command.replace(ADDRESS, address))
                    self.assertEqual(printed, output.replace(address, ADDRESS))

    def run_in_shell(self, command: str) -> str:
        """Run it as in a terminal, where both outputs are one."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        return subprocess.run(
            ["bash", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment(PATH=path),
            encoding="utf-8",
            timeout=TIMEOUT * 2,
        ).stdout

    def test_the_session_at_a_terminal_looks_like_that(self) -> None:
        (block,) = blocks("text")
        with Program("serve", "--port", "0") as relay, tempfile.TemporaryDirectory() as state:
            address = relay.read_line().partition("ws://")[2].partition(",")[0]
            lines = block.replace(ADDRESS, address).splitlines()
            env = environment(XDG_STATE_HOME=state)
            with Terminal(*PROGRAM, "connect", f"ws://{address}", env=env) as terminal:
                for number, line in enumerate(lines):
                    if line.startswith("> "):
                        terminal.wait_for(*lines[:number], ">")  # what is typed before the prompt is there shows twice
                        terminal.type(f"{line[2:]}\r")
                    elif line.startswith("<- ") and not line.endswith(")"):  # no answer: somebody else has sent it
                        event, *args = shlex.split(line)[2:]
                        self.assertEqual(0, invoke("send", f"ws://{address}", "broadcast", event, *args).code)
                    terminal.wait_for(*lines[: number + 1])

    def test_each_command_line_elsewhere_is_right(self) -> None:
        found = [line for document in DOCUMENTS for line in shell_lines(document) if line.startswith("ezez-ws ")]
        self.assertGreater(len(found), 3)
        for line in found:
            with self.subTest(line):
                args = shlex.split(line.rstrip("& "))[1:]
                self.assertTrue(invoke(*args).out if args == ["--help"] else parse(args).command)

    def test_each_command_is_in_the_table_with_its_arguments_and_its_help(self) -> None:
        found = re.findall(r"^\| \[`(.+?)`\]\(#[\w-]+\) \| (.+) \|$", TEXT, re.MULTILINE)
        self.assertEqual([(usage(name), command.help) for name, command in COMMANDS.items()], found)

    def test_each_command_of_a_session_is_mentioned_with_what_follows_it(self) -> None:
        for name, (words, _) in SESSION_COMMANDS.items():
            self.assertIn(f"`{name} {words}".rstrip() + "`", TEXT.replace("\n", " "))

    def test_each_option_is_mentioned(self) -> None:
        for command in COMMANDS:
            for option in set(re.findall(r"--[a-z-]+|-v\b", invoke(command, "--help").out)) - {"--help", "--"}:
                self.assertIn(f"`{option}", TEXT.replace("\n", " "), f"of {command}")

    def test_each_exit_code_is_in_the_table(self) -> None:
        table = TEXT.partition("## Exit codes\n")[2].partition("\n\nThe reason")[0]
        self.assertEqual(sorted(ExitCode), sorted(map(int, re.findall(r"^\| (\d+) \|", table, re.MULTILINE))))


if __name__ == "__main__":
    unittest.main()
