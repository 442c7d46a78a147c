"""Telling what may come by the thousand: some singly, the rest as a number."""

import logging
import threading
import unittest
from unittest import mock

from ezez_ws.threads.telling import Telling
from ezez_ws.threads.timers import janitor
from tests.support import EZEZTestCase, eventually

LOGGER = logging.getLogger("ezez_ws.test_telling")


class TellingTest(EZEZTestCase):
    def setUp(self) -> None:
        self.telling = Telling(LOGGER, threading.Lock())
        self.now = 0.0
        patch = mock.patch("ezez_ws.threads.telling.time", mock.Mock(monotonic=lambda: self.now))
        patch.start()
        self.addCleanup(patch.stop)

    def test_the_first_ten_are_told_singly_and_then_how_many_more_there_were(self) -> None:
        janitor.enter(self)
        self.addCleanup(janitor.leave, self)
        with self.assertLogs("ezez_ws", "INFO") as logs:
            for number in range(25):
                self.telling.tell(logging.INFO, "refused %s", number, remote_address=("a", number))
            eventually(lambda: len(logs.records) == 11)
        self.assertEqual([f"refused {number}" for number in range(10)], [one.getMessage() for one in logs.records[:10]])
        self.assertEqual("refused 24 (the last of 15 more within a second)", logs.records[10].getMessage())
        self.assertEqual(("a", 3), vars(logs.records[3])["remote_address"])

    def test_what_is_told_once_a_second_is_not_told_beside_the_number(self) -> None:
        with self.assertLogs("ezez_ws", "INFO") as logs:
            for number in range(3):
                self.telling.tell(logging.INFO, "cut %s", number, most=1)
            self.telling._tell_rest(logging.INFO, "cut %s", 1)
            self.telling.tell(logging.INFO, "cut %s", 3, most=1)
            self.telling._tell_rest(logging.INFO, "cut %s", 1)
            self.telling._tell_rest(logging.INFO, "cut %s", 1)
            self.telling.tell(logging.INFO, "cut %s", 4, most=1)
        more = "(the last of {} more within a second)"
        expected = ["cut 0", f"cut 2 {more.format(2)}", f"cut 3 {more.format(1)}", "cut 4"]
        self.assertEqual(expected, [one.getMessage() for one in logs.records])

    def test_kinds_are_counted_each_for_itself(self) -> None:
        with self.assertLogs("ezez_ws", "INFO") as logs:
            for text in ("one %s", "other %s"):
                self.telling.tell(logging.INFO, text, 1, most=1)
        self.assertEqual(2, len(logs.records))

    def test_without_timers_a_second_ends_by_itself(self) -> None:
        with self.assertLogs("ezez_ws", "INFO") as logs:
            self.telling.tell(logging.INFO, "once", most=1)
            self.telling.tell(logging.INFO, "once", most=1)
            self.now = 2.0
            self.telling.tell(logging.INFO, "once", most=1)
        self.assertEqual(2, len(logs.records))

    def test_what_nobody_wants_to_hear_is_not_counted(self) -> None:
        self.telling.tell(logging.DEBUG, "x")
        self.assertEqual({}, self.telling._seconds)


if __name__ == "__main__":
    unittest.main()
