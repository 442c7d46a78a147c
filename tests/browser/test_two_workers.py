"""Two real windows of Chromium on two workers of gunicorn, with Redis between these, while workers come and go."""

import importlib.util
import os
import signal
from typing import TYPE_CHECKING
from unittest import mock

from tests.browser.chromium import ChromiumTestCase
from tests.redis_server import RedisTestCase
from tests.support import eventually, required
from tests.wsgi.webserver import WebServer

if TYPE_CHECKING:
    from playwright.sync_api import Page

MOSTLY_WAITS = True
SAME_ON_EVERY_PYTHON = True

NAMES = ("anna", "bert")
APP = "tests.browser.two_workers:app"


class TwoWorkersTest(ChromiumTestCase, RedisTestCase):
    def setUp(self) -> None:
        super().setUp()
        required(None, "" if importlib.util.find_spec("gunicorn") else "no gunicorn", "EZEZ_REQUIRE_REDIS")
        from tests.wsgi.test_web_servers import GUNICORN  # which imports gunicorn

        with mock.patch.dict(os.environ, REDIS_URL=self.redis.url):
            self.web = WebServer(*GUNICORN, "--workers", "2", "--threads", "20", APP)
        self.addCleanup(self.web.close)

    def open_on_both(self) -> "tuple[tuple[Page, Page], list[int]]":
        """Open a window on each worker, and return which these are: while one is stopped, the other accepts."""
        first = self.connect()
        pid = first.evaluate("page.where()")
        os.kill(pid, signal.SIGSTOP)
        try:
            second = self.connect()
        finally:
            os.kill(pid, signal.SIGCONT)
        return (first, second), [pid, second.evaluate("page.where()")]

    def connect(self) -> "Page":
        page = self.open(f"http://{self.web.address}/")
        page.wait_for_function("globalThis.page?.connected")
        return page

    def test_each_hears_all_that_is_said_once_and_in_order_while_workers_are_killed_and_replaced(self) -> None:
        for _ in range(3):  # a worker that cannot catch up in a second, as the machine is busy, has its pages told so
            pages = self.talk_while_workers_go()
            told = [self.check(page, pages) for page in pages]
            if not any(told):
                self.assertEqual(*(page.evaluate("page.heard") for page in pages))
                break
        else:
            self.fail("there was a loss each time, though a told one")

    def talk_while_workers_go(self) -> "tuple[Page, Page]":
        pages, pids = self.open_on_both()
        self.assertNotEqual(*pids)
        for name, page in zip(NAMES, pages, strict=True):
            page.evaluate("(name) => page.start(name)", name)
        self.wait_until_both_go_on(pages)
        os.kill(pids[0], signal.SIGKILL)
        pages[0].wait_for_function("page.connected === 2")
        self.wait_until_both_go_on(pages)
        self.web.signal(signal.SIGHUP)  # a new worker for each
        pages[0].wait_for_function("page.connected >= 3")
        pages[1].wait_for_function("page.connected >= 2")
        self.wait_until_both_go_on(pages)
        for page in pages:
            page.evaluate("page.stop()")
        self.assertTrue(eventually(lambda: pages[0].evaluate("page.say('the end', 0, 0)")))
        return pages

    def wait_until_both_go_on(self, pages: "tuple[Page, Page]") -> None:
        for page in pages:
            page.evaluate("page.mark = page.confirmed.length")
        for page in pages:
            page.wait_for_function("page.confirmed.length > page.mark + 20")

    def check(self, page: "Page", pages: "tuple[Page, Page]") -> bool:
        """Check what one has heard, and return whether it was told that it has missed something."""
        page.wait_for_function("page.heard.some(([name]) => name === 'the end')")
        heard = [tuple(said) for said in page.evaluate("page.heard")]
        told = bool(page.evaluate("page.missed.length"))
        self.assertEqual(len(heard), len(set(heard)), "nothing twice")
        confirmed = {tuple(said) for one in pages for said in one.evaluate("page.confirmed")}
        self.assertTrue(told or confirmed <= set(heard), f"lost in silence: {confirmed - set(heard)}")
        for name in NAMES:
            numbers = [said[1:] for said in heard if said[0] == name]
            self.assertEqual(sorted(numbers), numbers)
        return told
