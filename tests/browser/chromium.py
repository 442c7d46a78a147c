"""Windows of a real Chromium without a screen, by way of Playwright."""

import importlib.util
import os
import shutil
import unittest
from typing import TYPE_CHECKING, Any

from tests.support import EZEZTestCase

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["ChromiumTestCase", "chromium_missing"]

PATIENCE = 20_000  # milliseconds that something on a page may take


def chromium() -> str | None:
    """The path of the system's Chromium, if there is one."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def chromium_missing() -> str:
    """Why tests in Chromium cannot run, as one line; empty where they can."""
    missing = [name for name in ("playwright", "flask") if importlib.util.find_spec(name) is None]
    if missing:
        return f"{' and '.join(missing)} not installed: the extra `test` has them"
    return "" if chromium() else "Chromium is not installed: apt-get install chromium"


class ChromiumTestCase(EZEZTestCase):
    """Skips where Chromium or what drives it is missing, or fails there with ``EZEZ_REQUIRE_CHROMIUM=1``.

    Each test ends with a check that no page has raised an exception.
    """

    browser: "Browser"

    @classmethod
    def setUpClass(cls) -> None:
        reason = chromium_missing()
        if reason and os.environ.get("EZEZ_REQUIRE_CHROMIUM") == "1":
            raise AssertionError(reason)
        if reason:
            raise unittest.SkipTest(reason)
        super().setUpClass()
        from playwright.sync_api import expect, sync_playwright

        expect.set_options(timeout=PATIENCE)
        playwright = sync_playwright().start()
        cls.addClassCleanup(playwright.stop)
        # whoever runs the tests as root, as in a container, has no sandbox
        sandbox = [] if getattr(os, "geteuid", lambda: 1)() else ["--no-sandbox"]
        cls.browser = playwright.chromium.launch(executable_path=chromium(), args=sandbox)
        cls.addClassCleanup(cls.browser.close)

    def open(self, url: str, **options: Any) -> "Page":
        """Open a window of its own, which shares nothing with the others."""
        context = self.browser.new_context(**{"viewport": {"width": 900, "height": 700}, **options})
        self.addCleanup(context.close)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        self.addCleanup(lambda: self.assertEqual(errors, []))
        page.goto(url)
        return page
