"""Other threads can be looked at at any time."""

import gc
import threading
import unittest

from ezez_ws.threads.frames import innermost_frames
from tests.scripts import run_script
from tests.support import EZEZTestCase

GARBAGE = """
import gc, threading
from ezez_ws.threads.frames import innermost_frames

class Cycle:
    pass

def sleep(depth, event):
    sleep(depth - 1, event) if depth else event.wait()

event = threading.Event()
for _ in range(20):
    threading.Thread(target=sleep, args=(5, event), daemon=True).start()
gc.set_threshold(1)
for _ in range(2000):
    cycle = Cycle()
    cycle.cycle, cycle.local = cycle, threading.local()
    cycle.local.value = 1
    del cycle
    innermost_frames()
print(gc.isenabled())
event.set()
"""


class FramesTest(EZEZTestCase):
    def test_a_collection_that_finds_a_threads_local_data_does_no_harm(self) -> None:
        self.assertEqual("True\n", run_script(GARBAGE)[0])

    def test_collecting_stays_as_it_was(self) -> None:
        self.assertIn(threading.get_ident(), innermost_frames())
        self.assertTrue(gc.isenabled())
        self.addCleanup(gc.enable)
        gc.disable()
        innermost_frames()
        self.assertFalse(gc.isenabled())


if __name__ == "__main__":
    unittest.main()
