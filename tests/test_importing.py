"""What ``import ezez_ws`` brings along and leaves alone, each in a process of its own."""

import json
import subprocess
import sys
import unittest
from typing import Any

from tests.support import REPO, EZEZTestCase

HEAVY = ("asyncio", "h11", "prompt_toolkit", "simple_websocket", "ssl", "websocket_server", "wsproto")

IMPORTED = """\
import json, sys
import ezez_ws
print(json.dumps(sorted(sys.modules)))
"""

# What is global: the standard library's modules are imported before the first look, as importing them sets some of it.
TOUCHED = """\
import asyncio, atexit, faulthandler, gc, json, locale, logging, os, queue, signal, socket, sys, tempfile, threading
import selectors, ssl, warnings

def look():
    root = logging.getLogger()
    return {
        "root logger": (root.handlers[:], root.level, root.disabled, root.filters[:], logging.root.manager.disable),
        "logging": (logging.raiseExceptions, logging.getLoggerClass(), logging.getLogRecordFactory()),
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "wakeup": signal.set_wakeup_fd(-1),
        "hooks": (sys.excepthook, sys.unraisablehook, sys.displayhook, threading.excepthook),
        "tracing": (sys.gettrace(), sys.getprofile()),
        "limits": (sys.getswitchinterval(), sys.getrecursionlimit(), threading.stack_size()),
        "time-out": socket.getdefaulttimeout(),
        "streams": (sys.stdin, sys.stdout, sys.stderr),
        "threads": threading.enumerate(),
        "descriptors": sorted(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else [],
        "environment": dict(os.environ),
        "path": (sys.path[:], os.getcwd()),
        "warnings": warnings.filters[:],
        "gc": (gc.isenabled(), gc.get_threshold(), gc.callbacks[:]),
        "locale": locale.setlocale(locale.LC_ALL),
        "builtins": sorted(vars(__builtins__)),
        "import": (sys.meta_path[:], sys.path_hooks[:]),
        "faulthandler": faulthandler.is_enabled(),
    }

before = look()
import ezez_ws
after = look()
print(json.dumps([name for name in before if before[name] != after[name]]))
server = ezez_ws.EZEZWebsocketServer(port=0, on_auth_request=lambda client, key: True)
client = ezez_ws.EZEZWebSocketClient("ws://127.0.0.1:1")
after = look()
print(json.dumps([name for name in before if before[name] != after[name]]))
with server, ezez_ws.EZEZWebSocketClient(server.url):
    pass
after = look()
print(json.dumps([name for name in before if before[name] != after[name]]))
"""


class ImportTest(EZEZTestCase):
    def run_alone(self, code: str) -> Any:
        """Run it, and return each line that it prints, as JSON."""
        command = [sys.executable, "-W", "error", "-c", code]
        done = subprocess.run(command, cwd=REPO, capture_output=True, encoding="utf-8", timeout=60)
        self.assertEqual((0, ""), (done.returncode, done.stderr))
        return [json.loads(line) for line in done.stdout.splitlines()]

    def test_it_imports_nothing_that_takes_long(self) -> None:
        (imported,) = self.run_alone(IMPORTED)
        self.assertIn("ezez_ws.server", imported)
        self.assertEqual([], [name for name in imported if name.partition(".")[0] in HEAVY])

    def test_it_imports_neither_the_shell_nor_what_else_is_extra(self) -> None:
        (imported,) = self.run_alone(IMPORTED)
        shell = {"ezez_ws.__main__", *(name for name in imported if f"{name}.".startswith("ezez_ws.cli."))}
        self.assertEqual(set(), shell.intersection(imported))

    def test_neither_importing_nor_constructing_nor_serving_touches_a_global(self) -> None:
        self.assertEqual([[], [], []], self.run_alone(TOUCHED))


if __name__ == "__main__":
    unittest.main()
