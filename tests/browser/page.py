"""The browser module in a Node process, which runs the JavaScript that a test gives it; see ``page.mjs``."""

import json
import queue
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

from tests.dialing import DialingTestCase
from tests.neutral import build
from tests.rawpeer import RawPeer, RawServer
from tests.support import needs_node

__all__ = ["BrowserTestCase", "JavaScriptError", "Page", "Running"]

_SCRIPT = Path(__file__).with_name("page.mjs")


class JavaScriptError(Exception):
    """What the JavaScript has thrown."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name
        self.message = message


class Running:
    """JavaScript that has been started."""

    def __init__(self) -> None:
        self.outcome: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def result(self, timeout: float = 30.0) -> Any:
        """Return what it returned, as the Python value, or raise what it has thrown."""
        outcome = self.outcome.get(timeout=timeout)
        if "error" in outcome:
            raise JavaScriptError(*outcome["error"])
        return build(outcome["value"])


class Page:
    """A process that runs until ``close``. A thread of its own reads what it says.

    ``_started`` is guarded by ``_lock``.
    """

    def __init__(self, *options: str) -> None:
        node = shutil.which("node")
        assert node is not None
        self._process = subprocess.Popen(
            [node, *options, str(_SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
        )
        self._lock = threading.Lock()
        self._started: dict[int, Running] = {}
        self._told: queue.SimpleQueue[list[Any]] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name="reads page.mjs")
        self._reader.start()

    def run(self, code: str) -> Any:
        """Run the body of an async function, and return what it returns."""
        return self.start(code).result()

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression, in which ``await`` may be."""
        return self.run(f"return {expression}")

    def start(self, code: str) -> Running:
        """Run the body of an async function in the background."""
        running = Running()
        with self._lock:
            identity = len(self._started)
            self._started[identity] = running
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"id": identity, "code": code}) + "\n")
        self._process.stdin.flush()
        return running

    def told(self, count: int = 1, timeout: float = 30.0) -> list[list[Any]]:
        """Wait for the next things that the JavaScript tells."""
        return [self._told.get(timeout=timeout) for _ in range(count)]

    def close(self) -> None:
        """End it. What it told and nobody has asked for goes with it."""
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
            self._reader.join()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            if "told" in said:
                self._told.put([build(value) for value in said["told"]])
            else:
                with self._lock:
                    running = self._started[said["id"]]
                running.outcome.put(said)


@needs_node
class BrowserTestCase(DialingTestCase):
    """A page whose global ``client`` is connected to a server; what its callbacks are called with is told."""

    page: Page

    @classmethod
    def setUpClass(cls) -> None:
        cls.page = Page()
        cls.addClassCleanup(cls.page.close)

    def connect(self, url: Any, options: str = "{}", callbacks: str = "{}") -> None:
        """Make a client, which connects in the background."""
        self.addCleanup(self.forget)
        self.page.run(f"connect({json.dumps(url)}, {options}, {callbacks})")

    def forget(self) -> None:
        """Close the client, and read what it has told: the next test must not see that."""
        self.page.run("forget(); tell('end')")
        while self.page.told() != [["end"]]:
            pass

    def expect(self, *told: list[Any]) -> None:
        """Wait for what the callbacks tell."""
        self.assertEqual(self.page.told(len(told)), list(told))

    def ready(self, url: Any, options: str = "{}", callbacks: str = "{}") -> None:
        """Make a client and wait until it is authenticated."""
        self.connect(url, options, callbacks)
        self.expect(["onConnect"], ["onAuthOk"])

    def host(self, options: str = "{}", callbacks: str = "{}") -> Any:
        """Connect the page to a server that the test plays; return its side and the server."""
        server = self.listen()
        self.connect(server.url, options, callbacks)
        peer = self.accept(server)
        self.expect(["onConnect"], ["onAuthOk"])
        return peer, server

    def come_back(self, server: RawServer) -> RawPeer:
        """Accept the page's next connection."""
        peer = self.accept(server)
        self.expect(["onConnect"], ["onAuthOk"])
        return peer

    def answer_close(self, peer: RawPeer, code: int, reason: str) -> None:
        """Expect the page's close frame, and answer it."""
        end = peer.read_end()
        self.assertEqual((end.code, end.reason), (code, reason))
        peer.send_close(code, reason)
        peer.close()

    def fails(self, code: str) -> JavaScriptError:
        with self.assertRaises(JavaScriptError) as caught:
            self.page.run(code)
        return caught.exception

    def print(self) -> None:
        """From now on tell what the client prints, until ``forget``: the level, and the values as texts."""
        self.page.run("globalThis.printed = (level, ...values) => tell(level, ...values.map(String))")
