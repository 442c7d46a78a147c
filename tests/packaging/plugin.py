"""The plugin for pytest, in an environment of its own: ``python -m tests tests.packaging.plugin``.

Needs a package index, as ``tests/packaging/built.py`` does; ``.ci/run`` runs it.
"""

import re
import sys
import unittest
from pathlib import Path

from tests.packaging.built import PackagingTestCase, run
from tests.support import allow_seconds
from tests.test_docs import blocks

SERVER = """\
import socket, sys, threading
import pytest
from ezez_ws import AuthRejected, EZEZWebsocketServer, NotConnected
from ezez_ws.testing import ServerTestCase

kept = []

@pytest.fixture(scope="session", autouse=True)
def close_kept():
    yield
    for one in kept:
        one.close()

def make_server():
    server = EZEZWebsocketServer(port=0, on_auth_request=lambda client, key: key != "wrong")
    server.handler("echo")(lambda client, *args: args)
    server.handler("divide")(lambda client, a, b: a / b)
    return server

@pytest.fixture
def client(ezez_ws):
    return ezez_ws.connect(ezez_ws.start(make_server()))

"""

GOOD = """\
def test_a_call(client):
    assert client.call("echo", [1], timeout=5) == [1]

def test_a_wrong_key(ezez_ws):
    server = ezez_ws.start(make_server())
    with pytest.raises(AuthRejected):
        ezez_ws.connect(server, auth="wrong")

def test_an_expected_error(ezez_ws, client):
    with ezez_ws.expect_error(ZeroDivisionError):
        client.send("divide", [1, 0])

@pytest.fixture
def closed():
    ones = []
    yield ones
    server, client = ones
    assert not server.clients
    with pytest.raises(NotConnected):
        client.send("echo", [])

def test_all_is_closed_at_the_end(closed, ezez_ws):
    server = ezez_ws.start(make_server())
    closed.extend([server, ezez_ws.connect(server)])

def test_what_may_be_left(ezez_ws):
    ezez_ws.allow_leftovers("a socket")
    kept.append(socket.create_server(("127.0.0.1", 0)))

@pytest.fixture
def older():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock

def test_what_an_older_fixture_has_may_stay(older, ezez_ws):
    pass

class UnittestTest(ServerTestCase):
    def test_it(self):
        assert self.connect(self.start(make_server())).call("echo", [1], timeout=5) == [1]

@pytest.mark.parametrize("number", range(20))
def test_many(client, number):
    assert client.call("echo", [number], timeout=5) == [number]
"""

BAD = """\
def test_an_unread_error(client):
    client.send("divide", [1, 0])
    client.call("echo", [], timeout=5)

def test_a_failure_and_a_thread(ezez_ws):
    thread = threading.Thread(target=threading.Event().wait, name="left-alone", daemon=True)
    thread.start()
    assert 1 == 2

def test_a_socket(ezez_ws):
    kept.append(socket.create_server(("127.0.0.1", 0)))

def test_an_error_that_does_not_come(ezez_ws):
    ezez_ws.expect_error(KeyError)

class UnittestTest(ServerTestCase):
    def test_it(self):
        client = self.connect(self.start(make_server()))
        client.send("divide", [1, 0])
        client.call("echo", [], timeout=5)
"""

UNUSED = """\
import sys

def test_what_is_not_used_is_not_imported():
    ours = {name for name in sys.modules if name.partition(".")[0] == "ezez_ws"}
    assert ours == set()
    assert "ezez_ws_pytest" in sys.modules
"""

WITHOUT = """\
import sys, ezez_ws, ezez_ws.testing
print([name for name in sys.modules if "pytest" in name])
"""


@allow_seconds(300)
class PluginTest(PackagingTestCase):
    programs: Path

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        environment = cls.folder / "environment"
        run(sys.executable, "-m", "venv", environment, cwd=cls.folder)
        cls.programs = environment / "bin"
        needs = (cls.wheel, "pytest", "pytest-xdist", "flask")  # the last is the documents'
        run(cls.programs / "python", "-m", "pip", "install", "--quiet", "--no-cache-dir", *needs, cwd=cls.folder)

    def run_suite(self, code: str, *options: str, status: int = 0) -> str:
        """Run a suite of one file, with warnings as errors, and return what is printed."""
        suite = self.folder / "suite"
        suite.mkdir(exist_ok=True)
        (suite / "test_it.py").write_text(code, encoding="utf-8")
        pytest = (self.programs / "python", "-m", "pytest", "-p", "no:cacheprovider", "-W", "error")
        return run(*pytest, *options, cwd=suite, code=status)

    def test_a_suite_uses_the_fixture(self) -> None:
        self.assertRegex(self.run_suite(SERVER + GOOD), r"\b27 passed in ")

    def test_a_suite_runs_in_several_processes_at_once(self) -> None:
        self.assertRegex(self.run_suite(SERVER + GOOD, "-n", "3"), r"\b27 passed in ")

    def test_the_suite_of_the_documents_runs(self) -> None:
        *suite, runs_itself = [block.code for block in blocks("docs/testing.md")]
        self.assertIn("TestSuite()", runs_itself)
        self.assertRegex(self.run_suite("\n".join(suite)), r"\b16 passed in ")

    def test_what_a_test_leaves_is_an_error_beside_its_own_failure(self) -> None:
        printed = self.run_suite(SERVER + BAD, status=1)
        self.assertRegex(printed, r"\b2 failed, 3 passed, 4 errors in ")
        for text in (
            r"an error that nobody has read: [^\n]*'divide'",
            r"ZeroDivisionError: division by zero",
            r"the thread 'left-alone' \(a daemon\)",
            r"assert 1 == 2",
            r"a socket at 127\.0\.0\.1:\d+",
            r"the expected KeyError, which has not come",
        ):
            self.assertRegex(printed, text)
        names = re.findall(r"^(FAILED|ERROR) test_it\.py::(\S+)", printed, re.MULTILINE)
        self.assertIn(("FAILED", "test_a_failure_and_a_thread"), names)
        self.assertIn(("ERROR", "test_a_failure_and_a_thread"), names)
        self.assertIn(("FAILED", "UnittestTest::test_it"), names)

    def test_the_fixture_is_listed_with_what_it_is_for(self) -> None:
        printed = self.run_suite(UNUSED, "--fixtures")
        self.assertRegex(printed, r"(?m)^ezez_ws .*\n +Start servers and connect clients")

    def test_it_imports_nothing_of_the_library_where_it_is_not_used(self) -> None:
        self.assertRegex(self.run_suite(UNUSED), r"\b1 passed in ")

    def test_the_library_imports_nothing_of_pytest(self) -> None:
        self.assertEqual("[]\n", run(self.programs / "python", "-c", WITHOUT, cwd=self.folder))

    def test_it_can_be_left_out(self) -> None:
        printed = self.run_suite(SERVER + GOOD, "-p", "no:ezez_ws", "-k", "test_a_call", status=1)
        self.assertIn("fixture 'ezez_ws' not found", printed)


if __name__ == "__main__":
    unittest.main()
