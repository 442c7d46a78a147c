"""README, CONTRIBUTING, CHANGELOG and docs/: their Python runs, says what its comments say, and leaves no option out.

The blocks of a document run one after the other, in one namespace and a process of their own. Where a line of a block
is ``print(...)  # text``, that text has to be printed. Run as a script, this file runs the blocks of a document. What
blocks of other languages say is run elsewhere; ``RUN_BY`` says where.
"""

import ast
import configparser
import functools
import importlib.util
import inspect
import logging
import os
import re
import shlex
import subprocess
import sys
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import ezez_ws
import ezez_ws.testing
from ezez_ws.messages.protocol import CloseCode
from tests.redis_server import RedisServer, needs_redis
from tests.support import REPO, EZEZTestCase, run_sample

MAY_RUN_BESIDE = True
SAME_ON_EVERY_PYTHON = True

DOCUMENTS = sorted(str(path.relative_to(REPO)) for path in [*REPO.glob("*.md"), *REPO.glob("docs/**/*.md")])

FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROMISE = re.compile(r"^ *print\(.*\)  # (.+)$", re.MULTILINE)
REFERENCE = re.compile(r"^::: (ezez_ws\.[\w.]+)$", re.MULTILINE)
LINK = re.compile(r"\[[^]]*\]\(([^)#]*)(?:#([^)]*))?\)")

DEPLOYMENT = ("dockerfile", "haproxy", "ini", "nginx", "py", "yaml")  # py: a whole program, not to be run in place
RUN_BY = {
    "python": "tests/test_docs.py",
    "sh": "tests/test_docs.py",
    "js": "tests/browser/test_docs.py",
    "ts": "tests/browser/test_docs.py",
    "console": "tests/cli/test_documentation.py",
    "text": "tests/cli/test_documentation.py",
    **dict.fromkeys(DEPLOYMENT, "tests/test_docs_deployment.py"),
    "redis": "tests/test_docs_scaling.py",
    "stacks": "tests/cli/test_stacks.py",
    "yml": "tests/operating/test_metrics_document.py",
}
OTHERS = ["build", "pre-commit", "twine"]  # programs that documents tell to install
ONLY_IN = {"console": "docs/cli.md", "text": "docs/cli.md", "redis": "docs/scaling.md", "yml": "docs/monitoring.md"}
ONLY_IN |= dict.fromkeys(DEPLOYMENT, "docs/deployment.md")
REDIS = "redis://127.0.0.1:6379/0"


class Block(NamedTuple):
    """A block of Python, and the number of its first line."""

    line: int
    code: str


def blocks(document: str) -> Iterator[Block]:
    text = (REPO / document).read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        yield Block(text.count("\n", 0, match.start()) + 2, match[1])


class Told(logging.Handler):
    """Prints what the library logs: errors where they fail the test; a document may mean to cause warnings."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr if record.levelno >= logging.ERROR else sys.stdout, flush=True)


def run_blocks(document: str) -> None:
    """Run them; tracebacks name the document and its line."""
    told = Told()
    told.addFilter(logging.Filter("ezez_ws"))
    logging.getLogger().addHandler(told)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for line, code in blocks(document):
        code = code.replace(REDIS, os.environ.get("EZEZ_DOCS_REDIS", REDIS))
        exec(compile("\n" * (line - 1) + code, document, "exec"), namespace)


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as hosts of Markdown make them, and those of the API reference."""
    text = document.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    found = {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
    return found | set(REFERENCE.findall(text))


def documented_defaults(section: str) -> dict[str, str]:
    """The first two columns of the tables of options in a section of docs/configuration.md."""
    text = (REPO / "docs/configuration.md").read_text(encoding="utf-8")
    body = re.split(r"^## ", text.split(f"\n## {section}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    tables = body.split("| option | default | meaning |\n")[1:]
    rows = "".join(table.split("\n\n", 1)[0] for table in tables)
    return dict(re.findall(r"^\| `(\w+)` \| `(.+?)` \|", rows, re.MULTILINE))


class DocumentTest(EZEZTestCase):
    """Each document as a reader finds it."""

    def test_the_python_of_each_document_runs_and_prints_what_it_says(self) -> None:
        for document in DOCUMENTS:
            with self.subTest(document):
                self.check_blocks(document)

    def check_blocks(self, document: str) -> None:
        promised = [text for block in blocks(document) for text in PROMISE.findall(block.code)]
        env = {"EZEZ_DOCS_REDIS": self.start_redis()} if any(REDIS in block.code for block in blocks(document)) else {}
        done = run_sample("tests/test_docs.py", document, env=env)
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertEqual("", done.stderr)
        printed = iter(done.stdout.splitlines())
        for text in promised:
            self.assertIn(text, printed, f"not printed, or not in this place; all that was:\n{done.stdout}")

    def start_redis(self) -> str:
        """Start a Redis, or skip; return its address."""
        needs_redis()
        redis = RedisServer().start()
        self.addCleanup(redis.close)
        return redis.url

    def test_links_within_the_repository_lead_somewhere(self) -> None:
        for document in DOCUMENTS:
            with self.subTest(document):
                self.check_links(document)

    def check_links(self, document: str) -> None:
        here = REPO / document
        for path, anchor in LINK.findall(here.read_text(encoding="utf-8")):
            if "://" in path:
                continue
            target = here.parent / path if path else here
            self.assertTrue(target.exists(), f"{path} is not there")
            if anchor:
                self.assertIn(anchor, anchors(target))

    def test_each_sample_that_is_named_is_there(self) -> None:
        for document in DOCUMENTS:
            for path in re.findall(r"\bsamples/[\w./]*\w", (REPO / document).read_text(encoding="utf-8")):
                self.assertTrue((REPO / path).exists(), f"{document}: {path}")

    def test_each_file_that_is_named_is_there(self) -> None:
        folders = ("", ".ci/", "benchmarks/**/", "docs/**/", "ezez_ws/**/", "samples/**/", "tests/**/")
        there = [path for folder in folders for path in REPO.glob(f"{folder}*") if "node_modules" not in path.parts]
        for document in [*DOCUMENTS, "benchmarks/NOTES.md", "tests/fuzz/README.md"]:
            text = (REPO / document).read_text(encoding="utf-8")
            for name in re.findall(r"`([\w./-]+\.(?:cfg|c|h|js|mjs|py|toml|yaml|yml))`", text):
                with self.subTest(document, name=name):
                    self.assertTrue(any(path.as_posix().endswith(f"/{name}") for path in there))

    def test_no_document_and_no_sample_compares_a_key_letter_by_letter(self) -> None:
        samples = [str(path.relative_to(REPO)) for path in REPO.glob("samples/**/*.py")]
        for document in [*DOCUMENTS, *samples]:
            with self.subTest(document):
                text = (REPO / document).read_text(encoding="utf-8")
                self.assertEqual([], re.findall(r".*\b(?:key|offered|token) == .*|.*compare_digest\(\w+, .*", text))

    def test_each_block_is_of_a_language_that_some_test_runs(self) -> None:
        for document in DOCUMENTS:
            text = (REPO / document).read_text(encoding="utf-8")
            for language in re.findall(r"^```(.*)\n(?:[^`].*\n|\n)*?^```$", text, re.MULTILINE):
                with self.subTest(document, language=language):
                    self.assertTrue((REPO / RUN_BY[language]).exists())
                    self.assertEqual(document, ONLY_IN.get(language, document))
            outside = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
            self.assertNotRegex(outside, r"(?m)^\n {4,}\S", f"{document}: a block that is no fence is run by nobody")


class ShellTest(EZEZTestCase):
    """The lines of blocks marked ``sh``: what can be said of them without installing or measuring anything."""

    def test_each_line_is_of_a_command_that_is_there_and_takes_its_arguments(self) -> None:
        elsewhere = dict.fromkeys(("curl", "docker", "gunicorn"), "tests/test_docs_deployment.py")
        unit = ("/opt/lobby/venv/bin/pip", "install", "journalctl", "systemctl")
        elsewhere |= dict.fromkeys(unit, "tests/deployment/test_systemd.py")
        elsewhere |= {"ezez-ws": "tests/cli/test_documentation.py"}
        checks = {"make": self.check_make, "pip": self.check_pip, "python": self.check_python}
        checks |= {".": lambda *arguments: None, "pre-commit": lambda *arguments: None}  # CONTRIBUTING's first steps
        for document in DOCUMENTS:
            for line in shell_lines(document):
                with self.subTest(document, line=line):
                    command, *arguments = shlex.split(line, comments=True)
                    if command in elsewhere:
                        self.assertTrue((REPO / elsewhere[command]).exists())
                    else:
                        checks[command](*arguments)

    def check_make(self, *arguments: str) -> None:
        """A dry run; the site and the packaging are built, and the rest is run, by ``.ci/run``."""
        done = subprocess.run(["make", "-n", *arguments], cwd=REPO, capture_output=True, encoding="utf-8", timeout=50)
        self.assertEqual((0, ""), (done.returncode, done.stderr))

    def check_pip(self, *arguments: str) -> None:
        """The extras that it names; that it installs is for tests/packaging/built.py to see."""
        config = configparser.ConfigParser()
        config.read(REPO / "setup.cfg", encoding="utf-8")
        self.assertEqual("install", arguments[0])
        for argument in arguments[1:]:
            match = re.fullmatch(r"\.(?:\[(\w+)\])?", argument)
            if match and match[1]:
                self.assertIn(match[1], config["options.extras_require"])
            elif not match:
                self.assertIn(argument, ["-e", *OTHERS])

    def check_python(self, *arguments: str) -> None:
        """The module or the file, and the tests that it is to run."""
        if arguments[0] != "-m":
            self.assertTrue((REPO / arguments[0]).exists())
        elif arguments[1] not in ("venv", *OTHERS):
            for module in [arguments[1], *(name for name in arguments[2:] if name.startswith("tests."))]:
                self.assertIsNotNone(importlib.util.find_spec(module), module)


def shell_lines(document: str) -> Iterator[str]:
    """The lines of a document's ``sh`` blocks."""
    text = (REPO / document).read_text(encoding="utf-8")
    for block in re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield from block.splitlines()


class ReadmeTest(EZEZTestCase):
    def test_the_quick_start_is_the_sample(self) -> None:
        first = next(blocks("README.md"))
        self.assertEqual((REPO / "samples/quickstart.py").read_text(encoding="utf-8"), first.code)


class OptionsTest(EZEZTestCase):
    """docs/configuration.md against the code; what it says of servers and clients is for test_options.py to see."""

    def test_each_option_of_the_codec_stands_there_with_its_default(self) -> None:
        parameters = inspect.signature(ezez_ws.Codec).parameters
        found = {name: ast.literal_eval(text) for name, text in documented_defaults("Codec").items()}
        self.assertEqual({name: parameter.default for name, parameter in parameters.items()}, found)


class ReferenceTest(EZEZTestCase):
    """docs/api/ against the code: the site takes the rest from the docstrings."""

    def test_each_public_name_stands_on_one_of_its_pages(self) -> None:
        pages = [path.read_text(encoding="utf-8") for path in (REPO / "docs/api").glob("*.md")]
        names = [name.removeprefix("ezez_ws.") for page in pages for name in REFERENCE.findall(page)]
        self.assertEqual(sorted(ezez_ws.__all__), sorted(name for name in names if "." not in name))

    def test_each_helper_for_tests_stands_on_theirs(self) -> None:
        page = (REPO / "docs/api/testing.md").read_text(encoding="utf-8")
        names = [name.removeprefix("ezez_ws.testing.") for name in REFERENCE.findall(page)]
        self.assertEqual(sorted(ezez_ws.testing.__all__), sorted(names))

    def test_the_index_names_each_page(self) -> None:
        linked = {path for path, _ in LINK.findall((REPO / "docs/api/index.md").read_text(encoding="utf-8"))}
        pages = {path.name for path in (REPO / "docs/api").glob("*.md")} - {"index.md"}
        self.assertLessEqual(pages, linked)

    def test_each_public_member_has_something_to_show(self) -> None:
        for documented in (ezez_ws.EZEZWebsocketServer, ezez_ws.EZEZServerClient, ezez_ws.EZEZWebSocketClient):
            for name, member in inspect.getmembers(documented):
                if not name.startswith("_"):
                    self.assertTrue(inspect.getdoc(member), f"{documented.__name__}.{name}")


class VersionTest(EZEZTestCase):
    def test_the_foot_of_each_page_has_the_version(self) -> None:
        config = (REPO / "mkdocs.yml").read_text(encoding="utf-8")
        self.assertIn(f"\ncopyright: ezez_ws {ezez_ws.__version__} ", config)


class TroubleshootingTest(EZEZTestCase):
    """docs/troubleshooting.md against the messages in the code."""

    def test_each_message_is_one_of_the_code(self) -> None:
        text = (REPO / "docs/troubleshooting.md").read_text(encoding="utf-8")
        tables = re.findall(r"^\| message \|.*\n(?:\|.*\n)+", text, re.MULTILINE)
        messages = re.findall(r"^\| `(.+?)` \|", "".join(tables), re.MULTILINE)
        self.assertGreater(len(messages), 40)
        self.check_messages(messages)

    def test_each_record_of_the_page_on_logging_is_one_of_the_code(self) -> None:
        text = (REPO / "docs/logging.md").read_text(encoding="utf-8")
        messages = re.findall(r"^\| (?:`[A-Z]+`)? ?\| `(.+?)` \|", text, re.MULTILINE)
        self.assertGreater(len(messages), 20)
        self.check_messages(messages)

    def check_messages(self, messages: list[str]) -> None:
        for message in messages:
            for part in filter(None, map(str.strip, message.split("…"))):
                self.assertTrue(any(part in template for template in templates()), f"{message}: no {part!r}")

    def test_each_close_code_of_the_library_is_in_the_table(self) -> None:
        text = (REPO / "docs/troubleshooting.md").read_text(encoding="utf-8")
        codes = {int(code) for code in re.findall(r"^\| (\d{4}) \|", text, re.MULTILINE)}
        self.assertLessEqual({code for name, code in vars(CloseCode).items() if name.isupper()}, codes)


@functools.cache
def templates() -> list[str]:
    """The texts in the package's code, with ``…`` for what is put into them."""
    texts = []
    for path in (REPO / "ezez_ws").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                texts.append("".join(str(p.value) if isinstance(p, ast.Constant) else "…" for p in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(re.sub(r"%[sdr]", "…", node.value))
    return texts


if __name__ == "__main__" and sys.argv[1:2] and sys.argv[1].endswith(".md"):
    run_blocks(sys.argv[1])
elif __name__ == "__main__":
    unittest.main()
