"""README and docs/: their Python runs, says what its comments say, and leaves no option out.

The blocks of a document run one after the other, in one namespace and a process of their own. Where a line of a block
is ``print(...)  # text``, that text has to be printed. Run as a script, this file runs the blocks of a document.
"""

import ast
import inspect
import re
import sys
import unittest
from pathlib import Path
from typing import Any, Callable, Iterator, NamedTuple

import ezez_ws
from tests.support import REPO, EZEZTestCase, run_sample

DOCUMENTS = sorted(str(path.relative_to(REPO)) for path in [REPO / "README.md", *REPO.glob("docs/**/*.md")])

FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROMISE = re.compile(r"^ *print\(.*\)  # (.+)$", re.MULTILINE)
LINK = re.compile(r"\[[^]]*\]\(([^)#]*)(?:#([^)]*))?\)")
UNITS = {"KiB": 1 << 10, "MiB": 1 << 20}


class Block(NamedTuple):
    """A block of Python, and the number of its first line."""

    line: int
    code: str


def blocks(document: str) -> Iterator[Block]:
    text = (REPO / document).read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        yield Block(text.count("\n", 0, match.start()) + 2, match[1])


def run_blocks(document: str) -> None:
    """Run them; tracebacks name the document and its line."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for line, code in blocks(document):
        exec(compile("\n" * (line - 1) + code, document, "exec"), namespace)


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as hosts of Markdown make them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def documented_defaults(section: str) -> dict[str, str]:
    """The first two columns of the tables of options in a section of docs/api.md."""
    text = (REPO / "docs/api.md").read_text(encoding="utf-8")
    body = re.split(r"^## ", text.split(f"\n## {section}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    tables = body.split("| option | default | meaning |\n")[1:]
    rows = "".join(table.split("\n\n", 1)[0] for table in tables)
    return dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", rows, re.MULTILINE))


def read_default(text: str) -> Any:
    if text == "required":
        return inspect.Parameter.empty
    if text.startswith("`"):
        return ast.literal_eval(text.strip("`"))
    number, unit = text.split()
    return int(number) * UNITS[unit]


class DocumentTest(EZEZTestCase):
    """Each document as a reader finds it."""

    def test_the_python_of_each_document_runs_and_prints_what_it_says(self) -> None:
        for document in DOCUMENTS:
            with self.subTest(document):
                self.check_blocks(document)

    def check_blocks(self, document: str) -> None:
        promised = [text for block in blocks(document) for text in PROMISE.findall(block.code)]
        done = run_sample("tests/test_docs.py", document)
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertEqual("", done.stderr)
        printed = iter(done.stdout.splitlines())
        for text in promised:
            self.assertIn(text, printed, f"not printed, or not in this place; all that was:\n{done.stdout}")

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


class ReadmeTest(EZEZTestCase):
    def test_the_quick_start_is_the_sample(self) -> None:
        first = next(blocks("README.md"))
        self.assertEqual((REPO / "samples/quickstart.py").read_text(encoding="utf-8"), first.code)


class ReferenceTest(EZEZTestCase):
    """docs/api.md against the code."""

    def check(self, documented: Callable[..., Any]) -> None:
        parameters = inspect.signature(documented).parameters
        wanted = {name: parameter.default for name, parameter in parameters.items()}
        found = {name: read_default(text) for name, text in documented_defaults(documented.__name__).items()}
        self.assertEqual(wanted, found)

    def test_each_option_of_the_server_stands_there_with_its_default(self) -> None:
        self.check(ezez_ws.EZEZWebsocketServer)

    def test_each_option_of_the_client_stands_there_with_its_default(self) -> None:
        self.check(ezez_ws.EZEZWebSocketClient)

    def test_each_option_of_the_codec_stands_there_with_its_default(self) -> None:
        self.check(ezez_ws.Codec)

    def test_each_public_name_and_member_is_mentioned(self) -> None:
        text = (REPO / "docs/api.md").read_text(encoding="utf-8")
        names = list(ezez_ws.__all__)
        for documented in (ezez_ws.EZEZWebsocketServer, ezez_ws.EZEZServerClient, ezez_ws.EZEZWebSocketClient):
            names += [name for name, _ in inspect.getmembers(documented) if not name.startswith("_")]
        missing = [name for name in names if not re.search(rf"\b{name}\b", text)]
        # what the library's own parts call, and a class that is public only for its users' type hints
        self.assertEqual(set(missing) - {"close_within", "say_goodbye"}, set())


if __name__ == "__main__" and sys.argv[1:2] and sys.argv[1].endswith(".md"):
    run_blocks(sys.argv[1])
elif __name__ == "__main__":
    unittest.main()
