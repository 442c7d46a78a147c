"""The floors of the library and the direction of its imports, what is public, and how long a file may be."""

import re
import types
import unittest

import ezez_ws
from tests.imports import Import, find_circle, find_imports, long_files, long_functions, read_package
from tests.support import REPO

MAY_RUN_BESIDE = True

PACKAGE = "ezez_ws"
EXTENSIONS = ("_speedups",)

# every floor may import it, and it imports nothing of ours, but
GROUND = ("errors", "options", "context", "figures", "logs", "version")
BEDROCK = "logs"  # which the errors show others' text by
FLOORS = (
    GROUND,
    ("threads",),
    ("messages", *EXTENSIONS),
    ("wire",),
    ("websocket",),
    ("opening",),
    ("connection",),
    ("calls", "cluster", "typed"),
    ("callbacks", "server", "server_client", "server_run", "server_sending", "client", "client_run", "client_state"),
    ("operating", "metrics"),
    ("",),  # the package itself: the public names
    ("cli", "browser", "testing", "__main__"),
)
HEIGHTS = {name: height for height, floor in enumerate(FLOORS) for name in floor}

LONGEST_FILE = 500  # lines
LONGEST_FUNCTION = 60  # lines, about what a screen holds

# What may be longer, and why; an entry that is not needed any more fails, too.
LONG_FILES: dict[str, str] = {}
LONG_FUNCTIONS: dict[str, str] = {}

SOURCES = read_package(REPO / PACKAGE)


def place(module: str) -> str:
    """Return the name by which a module has its floor: that of a file or a folder right in the package."""
    return f"{module}..".split(".")[1]


def judge(one: Import) -> str:
    """Say what is wrong with an import, in a line; nothing where it is right."""
    importer, imported = place(one.importer), place(one.imported)
    where = f"{one.importer}:{one.line} imports {one.imported}"
    for module, name in ((one.importer, importer), (one.imported, imported)):
        if name not in HEIGHTS:
            return f"{where}: {module} is on no floor"
    if importer in GROUND and imported != BEDROCK:
        return f"{where}: {importer} imports nothing of ours"
    if HEIGHTS[importer] < HEIGHTS[imported]:
        return f"{where}, which is above it"
    return ""


def wrong_imports(sources: dict[str, str]) -> list[str]:
    return [wrong for one in find_imports(PACKAGE, sources, EXTENSIONS) if (wrong := judge(one))]


# of a package that is made up
MODULES = (
    *("__init__", "errors", "options", "server", "client", "cli/__init__", "cli/main", "calls/handlers"),
    *("connection/inbox", "messages/__init__", "messages/codec", "messages/scalars", "wire/linux"),
)


class FloorsTest(unittest.TestCase):
    def test_imports_point_downwards(self) -> None:
        self.assertEqual([], wrong_imports(SOURCES))

    def test_every_file_is_on_a_floor(self) -> None:
        names = {path.partition("/")[0].removesuffix(".py") for path in SOURCES} - {"__init__"}
        self.assertEqual(set(), names - set(HEIGHTS))

    def test_no_modules_import_each_other_in_a_circle(self) -> None:
        imports = find_imports(PACKAGE, SOURCES, EXTENSIONS)
        self.assertGreater(len(imports), 100)
        self.assertEqual([], find_circle(imports))


class PublicTest(unittest.TestCase):
    def test_all_is_what_the_package_binds_but_for_modules(self) -> None:
        public = set(ezez_ws.__all__)
        self.assertEqual(set(), {name for name in public if not hasattr(ezez_ws, name)})  # which imports what is lazy
        bound = {name for name, value in vars(ezez_ws).items() if not isinstance(value, types.ModuleType)}
        self.assertEqual(set(), {name for name in bound - public if not re.fullmatch("__.*__", name)})


class LengthTest(unittest.TestCase):
    def test_no_file_is_longer_than_it_may_be(self) -> None:
        self.assertEqual(sorted(LONG_FILES), sorted(long_files(SOURCES, LONGEST_FILE)))

    def test_a_screen_holds_every_function(self) -> None:
        self.assertEqual(sorted(LONG_FUNCTIONS), sorted(long_functions(SOURCES, LONGEST_FUNCTION)))


class JudgingTest(unittest.TestCase):
    """The same checks on packages that are made up."""

    def check(self, wrong: list[str], changed: dict[str, str]) -> None:
        """Check what is wrong with a package of a few empty modules, some of which have this source instead."""
        sources = dict.fromkeys(MODULES, "") | changed
        self.assertEqual(wrong, wrong_imports({f"{name}.py": text for name, text in sources.items()}))

    def test_imports_downwards_on_one_floor_and_of_others_are_right(self) -> None:
        self.check(
            [],
            {
                "__init__": "from .server import Server\nimport logging",
                "server": "from .calls import handlers\nfrom . import errors\nimport ezez_ws.connection.inbox as inbox",
                "calls/handlers": "from ..connection.inbox import Inbox",
                "messages/codec": "from .scalars import number\nfrom .. import errors, _speedups",
                "messages/__init__": "from .codec import Codec",
                "cli/main": "from .. import Server\nfrom ..cli import main\nimport server.connection",
            },
        )

    def test_an_import_upwards_is_found_however_it_is_written(self) -> None:
        for text, imported in (
            ("from ..connection.inbox import Inbox", "connection.inbox"),
            ("from ..connection import inbox", "connection.inbox"),
            ("from ..connection import *", "connection"),
            ("from .. import server as below", "server"),
            ("from ezez_ws.server import Server", "server"),
            ("from ezez_ws import server", "server"),
            ("import os, ezez_ws.server", "server"),
            ("importlib.import_module('ezez_ws.server')", "server"),
            ("import_module('..server', __package__)", "server"),
            ("__import__('ezez_ws.server')", "server"),
        ):
            with self.subTest(text):
                wrong = f"ezez_ws.messages.codec:1 imports ezez_ws.{imported}, which is above it"
                self.check([wrong], {"messages/codec": text})

    def test_the_package_itself_is_above_its_floors(self) -> None:
        for text in ("from .. import Server", "import ezez_ws", "from ezez_ws import EZEZWebsocketServer"):
            with self.subTest(text):
                wrong = "ezez_ws.messages.codec:1 imports ezez_ws, which is above it"
                self.check([wrong], {"messages/codec": text})
        self.check(["ezez_ws.messages:1 imports ezez_ws, which is above it"], {"messages/__init__": "from .. import A"})

    def test_an_import_upwards_is_found_at_any_depth(self) -> None:
        wrong = "ezez_ws.messages.codec:5 imports ezez_ws.wire.linux, which is above it"
        text = """
            class Codec:
                def decode(self):
                    try:
                        from ..wire import linux
                    except ImportError:
                        pass
            """
        self.check([wrong], {"messages/codec": f"if True:{text}"})

    def test_what_only_a_type_checker_reads_does_not_count_but_its_other_branch_does(self) -> None:
        text = "if {}:\n    from ..server import Server\nelse:\n    from ..client import Client"
        for test in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            with self.subTest(test):
                wrong = "ezez_ws.connection.inbox:4 imports ezez_ws.client, which is above it"
                self.check([wrong], {"connection/inbox": text.format(test)})

    def test_the_ground_imports_nothing_of_ours(self) -> None:
        wrong = "ezez_ws.options:1 imports ezez_ws.errors: options imports nothing of ours"
        self.check([wrong], {"options": "from .errors import EZEZError"})

    def test_calls_do_not_import_the_server(self) -> None:
        wrong = "ezez_ws.calls.handlers:1 imports ezez_ws.server, which is above it"
        self.check([wrong], {"calls/handlers": "from ..server import Server"})

    def test_nothing_but_what_is_above_everything_imports_the_shell(self) -> None:
        self.check(
            ["ezez_ws.server:1 imports ezez_ws.cli.main, which is above it"], {"server": "from .cli.main import main"}
        )

    def test_a_module_that_is_on_no_floor_is_found(self) -> None:
        wrong = "ezez_ws.server:1 imports ezez_ws.misc: ezez_ws.misc is on no floor"
        self.check([wrong], {"server": "from . import misc", "misc": ""})


class CircleTest(unittest.TestCase):
    def circle(self, files: dict[str, str]) -> set[str]:
        return set(find_circle(find_imports(PACKAGE, {f"{name}.py": text for name, text in files.items()})))

    def test_a_circle_on_one_floor_is_found(self) -> None:
        files = {"wire/a": "from .b import B", "wire/b": "def f():\n    from . import c", "wire/c": "from .a import A"}
        self.assertEqual({"ezez_ws.wire.a", "ezez_ws.wire.b", "ezez_ws.wire.c"}, self.circle(files))

    def test_a_module_that_imports_itself_is_a_circle(self) -> None:
        self.assertEqual({"ezez_ws.a"}, self.circle({"a": "from .a import A"}))

    def test_a_package_and_its_module_can_be_a_circle(self) -> None:
        files = {"wire/__init__": "from .a import A", "wire/a": "from . import B"}
        self.assertEqual({"ezez_ws.wire", "ezez_ws.wire.a"}, self.circle(files))

    def test_two_ways_to_one_module_are_no_circle(self) -> None:
        self.assertEqual(
            set(), self.circle({"a": "from . import b, c", "b": "from . import d", "c": "from . import d", "d": ""})
        )


class CountingTest(unittest.TestCase):
    def test_lines_of_a_file_are_counted_whole(self) -> None:
        self.assertEqual({"b.py": 3}, long_files({"a.py": "\n" * 2, "b.py": "\n\n#"}, 2))

    def test_a_function_is_counted_without_its_signature_and_docstring(self) -> None:
        source = '''
class A:
    def short(
        self,
        other,
    ):
        """Be

        short."""
        a = 1
        return a

    async def long(self):
        # counted
        def inner():
            pass

        return inner
'''
        self.assertEqual({"a.py: A.long": 4}, long_functions({"a.py": source}, 3))
        self.assertEqual(["a.py: A.short", "a.py: A.long"], list(long_functions({"a.py": source}, 1)))


if __name__ == "__main__":
    unittest.main()
