"""What is told: in which form, how much of a flood, and what others say escaped and cut."""

import functools
import logging
import subprocess
import sys
import threading
import unittest
from collections.abc import Callable

from ezez_ws import logs
from ezez_ws.logs import Limited, frames, logger, name_of, shown, shown_address
from ezez_ws.threads.timers import janitor
from tests.support import REPO, EZEZTestCase

MAY_RUN_BESIDE = True


class ShownTest(unittest.TestCase):
    def test_what_can_be_printed_stays(self) -> None:
        for text in ("", "plain text", "Grüße 😀 日本語"):
            with self.subTest(text=text):
                self.assertEqual(text, shown(text))

    def test_what_cannot_becomes_an_escape(self) -> None:
        for text, wanted in (
            ("\x1b[31m", "\\x1b[31m"),
            ("one\r\ntwo", "one\\r\\ntwo"),
            ("\x9b", "\\x9b"),
            ("\u202eabc", "\\u202eabc"),
            ("\ud800", "\\ud800"),
            ("\x7f", "\\x7f"),
            ("\U000e0001", "\\U000e0001"),
        ):
            with self.subTest(text=text):
                self.assertEqual(wanted, shown(text))
                self.assertTrue(shown(text).isprintable())

    def test_it_is_cut(self) -> None:
        self.assertEqual("x" * 199 + "…", shown("x" * 201))
        self.assertEqual("x" * 200, shown("x" * 200))
        self.assertEqual("\\x00" * 9 + "…", shown("\0" * 1000, 10))

    def test_an_address_is_written_as_in_a_url(self) -> None:
        for address, wanted in (
            (("127.0.0.1", 80), "127.0.0.1:80"),
            (("::1", 80, 0, 0), "[::1]:80"),
            ((), None),
            ("", None),
            ("/run/socket", "/run/socket"),
            (("\x1b", 0), "\\x1b:0"),
        ):
            self.assertEqual(wanted, shown_address(address))

    def test_a_callback_is_named_by_where_it_is_and_not_by_what_it_holds(self) -> None:
        class Callback:
            def __call__(self) -> None: ...
            def __repr__(self) -> str:
                return "a secret"

        self.assertEqual(f"{__name__}.ShownTest", name_of(ShownTest))
        self.assertEqual("functools.wraps", name_of(functools.partial(functools.wraps, print)))
        self.assertRegex(name_of(Callback()), r"\.Callback$")
        self.assertRegex(name_of(self.setUp), r"\.setUp$")


class LimitedTest(EZEZTestCase):
    def setUp(self) -> None:
        self.now = 0.0
        self.limited = Limited()
        self.limited.monotonic = lambda: self.now

    def tell(self, number: int, kind: str = "kind") -> list[str]:
        """Tell so many, and return the texts that were logged."""
        with self.assertLogs("ezez_ws", "INFO") as logged:
            for count in range(number):
                self.limited.tell(logging.INFO, kind, "%s %d", kind, count, extra={"event": "e"})
            logger.info("the end")
        return [record.getMessage() for record in logged.records][:-1]

    def flush(self, flush: Callable[[], object]) -> list[str]:
        with self.assertLogs("ezez_ws", "INFO") as logged:
            flush()
            logger.info("the end")
        self.assertEqual(
            [*("e" for _ in logged.records[1:]), None], [vars(record)["event"] for record in logged.records]
        )
        return [record.getMessage() for record in logged.records][:-1]

    def test_ten_of_a_kind_are_told_in_a_second_and_the_number_of_the_others_after_it(self) -> None:
        self.assertEqual([f"kind {count}" for count in range(10)], self.tell(20))
        self.assertEqual([], self.tell(5))
        self.assertEqual([f"other {count}" for count in range(3)], self.tell(3, "other"))
        self.now = 1.0
        self.assertEqual(["15 more like this one within a second: kind 10", "kind 0"], self.tell(1))
        self.assertEqual([], self.flush(self.limited.flush))

    def test_that_number_comes_by_itself(self) -> None:
        later: list[tuple[float, Callable[[], object]]] = []
        self.limited.call_later = lambda delay, action: later.append((delay, action))
        self.tell(12)
        ((delay, action),) = later
        self.assertEqual([], self.flush(action))
        self.now = delay
        self.assertEqual(["2 more like this one within a second: kind 10"], self.flush(action))
        self.assertEqual([], self.flush(action))
        self.assertEqual(["kind 0"], self.tell(1))

    def test_the_janitor_sees_to_that(self) -> None:
        self.assertEqual(logs.limited.call_later, janitor.call_later)

    def test_it_comes_when_asked_for(self) -> None:
        self.tell(12)
        self.assertEqual(["2 more like this one within a second: kind 10"], self.flush(self.limited.flush))

    def test_a_forked_child_does_not_wait_for_a_lock_that_nobody_holds_there(self) -> None:
        self.tell(12)
        holding = threading.Thread(target=self.limited._lock.acquire)
        holding.start()
        holding.join()
        self.limited.begin_anew()
        self.assertEqual(["kind 0"], self.tell(1))

    def test_many_kinds_take_no_more_memory(self) -> None:
        self.tell(12)
        for number in range(10_000):
            self.limited.tell(logging.INFO, number, "text")
        self.assertLess(len(self.limited._windows), 300)

    def test_a_handler_that_tells_something_itself_and_threads_lose_nothing(self) -> None:
        told: list[str] = []
        limited = self.limited

        class Handler(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                told.append(record.getMessage())
                if record.getMessage() == "outer":
                    limited.tell(logging.WARNING, "inner", "inner")

        handler = Handler()
        logger.addHandler(handler)
        self.addCleanup(logger.removeHandler, handler)

        def tell() -> None:
            for _ in range(100):
                limited.tell(logging.WARNING, "kind", "outer")

        threads = [threading.Thread(target=tell) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.limited.flush()
        self.assertEqual(10, told.count("outer"))
        self.assertEqual(10, told.count("inner"))
        self.assertIn("390 more like this one within a second: outer", told)


class RecordsTest(EZEZTestCase):
    def test_each_record_has_the_attributes_that_a_format_may_name(self) -> None:
        form = logging.Formatter("%(connection_id)s %(remote_address)s %(event)s %(message)s")
        for one in (logger, frames):
            with self.assertLogs(one.name, "INFO") as logged:
                one.info("plain")
                one.info("own", extra={"connection_id": 5, "event": "x"})
            self.assertEqual(["None None None plain", "5 None x own"], [form.format(each) for each in logged.records])

    def test_nothing_set_up_means_that_warnings_and_errors_are_on_standard_error(self) -> None:
        script = """
import ezez_ws, logging
server = ezez_ws.EZEZWebsocketServer(port=0, on_auth_request=lambda client, key: True)
server.on("typo", lambda client, args, reply, ids: candel)
server.on("connect", lambda client, args, reply, ids: None)
with server, ezez_ws.EZEZWebSocketClient(server.url) as client:
    client.send("typo")
assert not logging.getLogger("ezez_ws").handlers and not logging.getLogger().handlers
"""
        ran = subprocess.run([sys.executable, "-c", script], cwd=REPO, capture_output=True, text=True, check=True)
        self.assertEqual(1, ran.stderr.count("NameError: name 'candel' is not defined"), ran.stderr)
        self.assertEqual(1, ran.stderr.count("an error in the listener of 'typo' (__main__.<lambda>)"), ran.stderr)
        self.assertEqual(1, ran.stderr.count("on('connect')"), ran.stderr)
        self.assertEqual("", ran.stdout)


if __name__ == "__main__":
    unittest.main()
