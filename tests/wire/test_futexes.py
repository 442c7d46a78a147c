"""The lists of sleepers that the kernel keeps for a process."""

import sys
import unittest
from unittest import mock

from ezez_ws.wire import linux as futexes
from ezez_ws.wire.linux import spread_sleepers
from tests.scripts import run_script
from tests.support import EZEZTestCase

CODE = """
    import ctypes, threading
    from ezez_ws.wire.linux import SLOTS, spread_sleepers

    prctl = ctypes.CDLL(None).prctl

    def slots():
        return prctl(78, 2, 0, 0, 0)

    def spread():
        before = slots()  # a process has such lists only with its second thread
        spread_sleepers()
        print(before, slots(), SLOTS)

    def choose(size):
        print(prctl(78, 1, ctypes.c_ulong(size), 0, 0))

    for size in {sizes}:
        thread = threading.Thread(target=choose, args=[size])
        thread.start()
        thread.join()
    for _ in range(2):
        thread = threading.Thread(target=spread)
        thread.start()
        thread.join()
"""


@unittest.skipUnless(sys.platform == "linux", "there are no futexes here")
class SpreadSleepersTest(EZEZTestCase):
    def spread(self, *sizes: int) -> "list[tuple[int, ...]]":
        """Have a fresh process do it twice, which has chosen these sizes itself; ``(before, after, ours)`` of each."""
        lines = run_script(CODE.format(sizes=sizes), "")[0].splitlines()
        chosen, lines = lines[:-2], lines[-2:]
        self.assertEqual((len(chosen), len(lines)), (len(sizes), 2))
        if "-1" in chosen:
            self.skipTest("this kernel has no such lists")
        return [tuple(map(int, line.split())) for line in lines]

    def test_a_process_with_few_lists_gets_many(self) -> None:
        (before, after, ours), again = self.spread(8)
        self.assertEqual((before, after), (8, ours))
        self.assertEqual(again, (ours, ours, ours))

    def test_what_the_program_has_chosen_stays_where_it_is_more_or_all_that_there_are(self) -> None:
        for size in (0, 8192):
            with self.subTest(size):
                self.assertEqual([seen[:2] for seen in self.spread(size)], [(size, size)] * 2)

    def test_nothing_goes_wrong_where_the_kernel_has_none(self) -> None:
        with mock.patch.object(futexes, "_PR_FUTEX_HASH", 1 << 30):
            spread_sleepers()
        with mock.patch.object(futexes, "find_function", lambda name: None):
            spread_sleepers()
