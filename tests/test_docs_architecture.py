"""docs/architecture.md and its picture against the code: the way of a message, the threads, and the locks.

A way may take calls that the picture leaves out, but none of its steps may be missing, nor come in another order, and
no file that the way goes through. The locks are those that ``lockcheck`` knows, under the names that it gives them.
"""

import ast
import itertools
import re
import unittest
from collections.abc import Iterator
from unittest import mock
from xml.etree import ElementTree

from benchmarks.ways import trace_way
from ezez_ws.messages.speedups import compiled
from ezez_ws.wire.read_gate import read_gate
from tests.imports import read_package
from tests.lockcheck import ALLOWED, NO_MUTEX, OUTERMOST, checking
from tests.support import REPO, EZEZTestCase
from tests.test_lock_rules import Load

SAME_ON_EVERY_PYTHON = True

DOCUMENT = REPO / "docs/architecture.md"
PICTURE = REPO / "docs/message.svg"
PACKAGE = REPO / "ezez_ws"
SHELL = ("cli/", "browser/", "testing/")  # above everything: what is there meets no lock of the library

WAYS = {"in": "an event in", "out": "client.send at the server"}


def steps(way: str) -> list[str]:
    """The steps that the picture shows of a way, in their order, each as ``file function``."""
    texts = ElementTree.parse(PICTURE).iter("{http://www.w3.org/2000/svg}text")
    return ["".join(text.itertext()) for text in texts if text.get("class") == way]


def files(steps: list[str]) -> list[str]:
    """Where the steps are, without those that stay in the same file."""
    names = [step.split(" ")[0] for step in steps]
    return [name for before, name in itertools.pairwise(["", *names]) if name != before]


def table(first_column: str) -> list[list[str]]:
    """The rows of the table that begins with this column, each cell as Markdown."""
    text = DOCUMENT.read_text(encoding="utf-8")
    (body,) = re.findall(rf"^\| {first_column} \|.*\n\|[ -|]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in body.splitlines()]


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def find_locks() -> Iterator[str]:
    """The locks that the library makes, each as ``Class.attribute`` or ``module.attribute``."""
    classes: dict[str, ast.ClassDef] = {}
    bases: dict[str, set[str]] = {}
    for path, source in read_package(PACKAGE).items():
        if path.startswith(SHELL):
            continue
        tree = ast.parse(source)
        module = path.rpartition("/")[2].removesuffix(".py")
        yield from (f"{module}.{name}" for name in made_locks(tree.body))
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                classes[node.name] = node
                for base in node.bases:
                    named = base.value if isinstance(base, ast.Subscript) else base
                    bases.setdefault(ast.unparse(named), set()).add(node.name)
    for name, node in classes.items():
        functions = [part for part in node.body if isinstance(part, ast.FunctionDef)]
        for attribute in made_locks([statement for function in functions for statement in function.body]):
            lock = attribute.removeprefix("self.")
            if f"{name}.{lock}" not in NO_MUTEX:
                # what has subclasses is a base, whose lock each of them has
                yield from (f"{owner}.{lock}" for owner in bases.get(name, {name}))


def made_locks(statements: list[ast.stmt]) -> Iterator[str]:
    for statement in statements:
        if isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value is not None:
            target = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
            if re.match(r"(threading\.R?Lock|make_lock)\(\)", ast.unparse(statement.value)):
                yield ast.unparse(target)


def find_members() -> dict[str, set[str]]:
    """What each class of the library has: methods, and attributes that it assigns, those of its bases too."""
    members: dict[str, set[str]] = {}
    bases: dict[str, list[str]] = {}
    for source in read_package(PACKAGE).values():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef):
                bases[node.name] = [ast.unparse(base).partition("[")[0] for base in node.bases]
                members[node.name] = {part.name for part in node.body if isinstance(part, ast.FunctionDef)}
                members[node.name] |= set(re.findall(r"\bself\.(\w+)(?:: \w+)? = ", ast.unparse(node)))
    for name, above in bases.items():
        for base in above:
            members[name] |= members.get(base, set())
    return members


class PictureTest(EZEZTestCase):
    """docs/message.svg against a live pair."""

    def setUp(self) -> None:
        # as in a process with few connections, where threads wait inside recv
        patch = mock.patch.multiple(read_gate, crowd=1000, crowded=False)
        patch.start()
        self.addCleanup(patch.stop)

    @unittest.skipIf(compiled is None, "the picture is of a message that C takes")
    def test_a_message_takes_the_steps_of_the_picture_in_their_order(self) -> None:
        for way, name in WAYS.items():
            with self.subTest(name):
                taken = [str(call) for call in trace_way(name).calls]
                self.assertGreater(len(steps(way)), 5)
                self.assertEqual(files(taken), files(steps(way)))
                left = iter(taken)
                for step in steps(way):
                    self.assertIn(step, left, f"not taken, or not in this place; all that were:\n{taken}")

    def test_the_page_shows_the_picture(self) -> None:
        self.assertIn("](message.svg)", DOCUMENT.read_text(encoding="utf-8"))


class NamesTest(EZEZTestCase):
    def test_each_member_that_the_page_names_is_there(self) -> None:
        members = find_members()
        named = re.findall(r"`([A-Z]\w+)\.(?!md`)(\w+)`", DOCUMENT.read_text(encoding="utf-8"))
        self.assertGreater(len(named), 20)
        for name, member in named:
            self.assertIn(member, members[name], name)


class ThreadsTest(EZEZTestCase):
    def test_the_threads_of_the_table_are_those_that_the_code_names(self) -> None:
        sources = (source for path, source in read_package(PACKAGE).items() if not path.startswith(SHELL))
        named = set(re.findall(r"\"(ezez-(?!ws)[a-z]+(?:-(?:gate|calls|in|out)\b)?)", "".join(sources)))
        rows = [code(row[0]) for row in table("thread")]
        self.assertEqual(named, {name.removesuffix("-…") for (name,) in rows})


class LocksTest(EZEZTestCase):
    documented: dict[str, str]

    @classmethod
    def setUpClass(cls) -> None:
        cls.documented = {code(row[0])[0]: row[3] for row in table("lock")}

    def test_the_table_has_each_lock_that_the_library_makes(self) -> None:
        self.assertEqual(sorted(set(find_locks())), sorted(self.documented))

    def test_what_a_load_takes_is_in_the_table(self) -> None:
        for tls in (False, True):
            with self.subTest(tls=tls):
                with checking() as checker:
                    Load(self, checker.user_code, tls, None).run()
                self.assertLess(10, len(set(checker.taken)))
                self.assertLessEqual(set(checker.taken), set(self.documented))

    def test_what_may_be_taken_under_a_lock_is_what_the_checker_allows(self) -> None:
        nestings = {(lock, inner) for lock, cell in self.documented.items() for inner in code(cell)}
        self.assertEqual(ALLOWED, nestings)
        over_everything = {lock for lock, cell in self.documented.items() if cell == "everything"}
        self.assertEqual(OUTERMOST, over_everything)
        for cell in self.documented.values():
            self.assertTrue(code(cell) or cell in ("everything", "nothing"), cell)


if __name__ == "__main__":
    unittest.main()
