"""``make demo MONITOR=1``: the page that it says to look at, in a real Chromium."""

import os
import re
import signal
import subprocess
import sys
import unittest

from tests.browser.chromium import ChromiumTestCase
from tests.support import REPO, allow_seconds

MAY_RUN_BESIDE = True


class MonitorDemoTest(ChromiumTestCase):
    @allow_seconds(120)
    def test_it_leaves_a_busy_server_running_and_its_last_line_says_where_to_look(self) -> None:
        from playwright.sync_api import expect

        command = [sys.executable, "samples/demo.py", "--monitor"]
        with subprocess.Popen(
            command,
            cwd=REPO,
            env={**os.environ, "PYTHONPATH": str(REPO), "PYTHONIOENCODING": "utf-8"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        ) as demo:
            self.addCleanup(demo.kill)
            assert demo.stdout is not None
            url = next(found[1] for found in (re.search(r"Look at (http\S+)$", line) for line in demo.stdout) if found)
            page = self.open(url)
            guests = page.get_by_role("table", name="Clients").get_by_role("rowheader")
            expect(guests).to_have_count(12)
            expect(page.get_by_role("table", name="Clients")).to_contain_text("everybody")
            demo.send_signal(signal.SIGINT)
            self.assertEqual(demo.stdout.read().strip(), "")
        self.assertEqual(demo.returncode, 0)


if __name__ == "__main__":
    unittest.main()
