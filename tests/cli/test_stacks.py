"""``ezez-ws stacks``: where the listeners of a server are, as its monitor tells it."""

import re
import threading
import unittest
from typing import Any

from ezez_ws import EZEZWebsocketServer, Monitor
from tests.cli.running import invoke
from tests.serving import KEY, ServingTestCase
from tests.support import REPO, eventually, free_port

MONITOR_KEY = "the key #1"


def shape(printed: str) -> str:
    """What is printed, without what differs from program to program."""
    plain = re.sub(r'File ".*", line (\d+), in .*?(\w+)$', r'File "", line \1, in \2', printed, flags=re.MULTILINE)
    plain = re.sub(r"^    .*$", "    source", plain, flags=re.MULTILINE)
    return re.sub(r"\d+(\.\d+)*", "0", plain)


class StacksTest(ServingTestCase):
    def watched(self) -> tuple[EZEZWebsocketServer, Monitor]:
        server = self.serve()
        monitor = Monitor(server, key=MONITOR_KEY)
        server.mount("/monitor", monitor)
        return server, monitor

    def stuck(self) -> tuple[EZEZWebsocketServer, Monitor]:
        server, monitor = self.watched()
        gate = self.gate()

        def on_order(client: Any, args: Any, reply: Any, ids: Any) -> None:
            gate()  # here

        server.on("order \x1b[31m", on_order)
        _, peer = self.pair(server)
        peer.send_event("order \x1b[31m")
        gate.wait_entered()
        return server, monitor

    def test_each_listener_is_printed_with_its_lines(self) -> None:
        _, monitor = self.stuck()
        done = invoke("stacks", monitor.url)
        self.assertEqual((0, ""), (done.code, done.err))
        self.assertRegex(done.out, r"^connection \d+ from 127\.0\.0\.1:\d+: order \\x1b\[31m for \d+\.\d s, asleep in ")
        self.assertIn(f'  File "{__file__}", line ', done.out)
        self.assertIn("    gate()  # here\n", done.out)
        self.assertNotIn("threading.py", done.out)

    def test_the_page_shows_what_it_looks_like(self) -> None:
        (shown,) = re.findall(r"^```stacks\n(.*?)^```$", (REPO / "docs/cli.md").read_text(), re.MULTILINE | re.DOTALL)
        server, monitor = self.watched()
        lock = threading.Lock()

        def reserve(item: object) -> None:
            with lock:
                pass

        def on_order(client: Any, args: Any, reply: Any, ids: Any) -> None:
            reserve(args[0])

        server.on("order", on_order)
        with lock:
            _, peer = self.pair(server)
            peer.send_event("order", ["tea"])
            eventually(lambda: "reserve" in invoke("stacks", monitor.url).out)
            self.assertEqual(shape(shown), shape(invoke("stacks", monitor.url).out))

    def test_the_calls_inside_libraries_are_printed_where_they_are_wanted(self) -> None:
        _, monitor = self.stuck()
        self.assertIn("threading.py", invoke("stacks", monitor.url, "--all").out)

    def test_the_url_may_be_that_of_the_page_or_of_its_socket(self) -> None:
        server, _ = self.stuck()
        for path in ("monitor", "monitor/", "monitor/?a=1", "monitor/socket"):
            for scheme in ("ws", "http"):
                done = invoke("stacks", f"{scheme}://127.0.0.1:{server.port}/{path}", "--auth", MONITOR_KEY)
                self.assertEqual((0, ""), (done.code, done.err), path)
                self.assertIn("# here", done.out)

    def test_that_nothing_runs_is_said(self) -> None:
        _, monitor = self.watched()
        done = invoke("stacks", monitor.url)
        self.assertEqual((0, "", "no listener runs\n"), done)

    def test_a_wrong_key_is_refused(self) -> None:
        server, _ = self.watched()
        url = f"http://127.0.0.1:{server.port}/monitor/"
        self.assertEqual(3, invoke("stacks", url, "--auth", "wrong").code)
        self.assertEqual(3, invoke("stacks", f"{url}#wrong").code)
        self.assertEqual(3, invoke("stacks", url).code)

    def test_where_no_monitor_is_it_ends_in_time(self) -> None:
        server = self.serve()
        done = invoke("stacks", f"{server.url}/socket", "--auth", KEY, "--timeout", "0.2")
        self.assertEqual((4, ""), (done.code, done.out))
        self.assertIn("no monitor", done.err)
        self.assertEqual(1, invoke("stacks", f"http://127.0.0.1:{free_port()}/monitor/").code)


if __name__ == "__main__":
    unittest.main()
