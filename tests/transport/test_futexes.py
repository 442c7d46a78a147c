"""The lists of sleepers that the kernel keeps for a process."""

import sys
import unittest

from tests.support import EZEZTestCase
from tests.test_regressions import run_script

CODE = """
    import ctypes, threading
    from ezez_ws.transport.futexes import SLOTS, spread_sleepers

    prctl = ctypes.CDLL(None).prctl

    def slots():
        return prctl(78, 2, 0, 0, 0)

    def spread():
        before = slots()  # a process has such lists only with its second thread
        spread_sleepers()
        print(before, slots(), SLOTS)

    for size in {sizes}:
        prctl(78, 1, ctypes.c_ulong(size), 0, 0)
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
        self.assertEqual(len(lines), 2)
        return [tuple(map(int, line.split())) for line in lines]

    def test_a_process_with_few_lists_gets_many(self) -> None:
        (before, after, ours), again = self.spread()
        if before < 0:
            self.assertEqual(after, before)  # an older kernel: nothing is done
        else:
            self.assertLess(before, after)
            self.assertEqual(after, ours)
            self.assertEqual(again, (ours, ours, ours))

    def test_what_the_program_has_chosen_stays_where_it_is_more_or_all_that_there_are(self) -> None:
        for size in (0, 8192):
            with self.subTest(size):
                (before, after, _), _ = self.spread(size)
                self.assertEqual(after, before)
                if before >= 0:
                    self.assertEqual(after, size)
