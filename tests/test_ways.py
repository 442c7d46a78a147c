"""A message does not take more Python calls, nor more files, than each of its ways is to take."""

import unittest
from unittest import mock

from benchmarks.ways import GOALS, WAYS, Call, Goal, Trace, trace_way
from ezez_ws.messages.speedups import compiled
from ezez_ws.threads.deadline import Deadline
from ezez_ws.wire.read_gate import read_gate
from tests.support import EZEZTestCase

TODAY = {
    # three files too many: beside the way itself, which is in eight, each that knows the connection lets it go: the
    # server's side gives its place back (opening/places.py), before on_disconnect, which may take its time, and leaves
    # the rooms (cluster/hub.py, clients.py); timers are cancelled (threads/timers.py); the wire leaves the read gate
    "the end": Goal(70, 13),
}
"""The bounds where a goal is not reached yet."""


@unittest.skipIf(compiled is None, "without the C extension what it does are calls of Python")
class WaysTest(EZEZTestCase):
    def setUp(self) -> None:
        # as in a process with few connections, where threads wait inside recv
        patch = mock.patch.multiple(read_gate, crowd=1000, crowded=False)
        patch.start()
        self.addCleanup(patch.stop)

    def test_each_way_stays_within_its_bound(self) -> None:
        self.assertEqual(list(GOALS), list(WAYS))
        for name, goal in (GOALS | TODAY).items():
            with self.subTest(name):
                trace = trace_way(name)
                taken = "\n".join(map(str, trace.calls))
                self.assertTrue(trace.calls)
                self.assertLessEqual(len(trace.calls), goal.calls, taken)
                self.assertLessEqual(len(trace.files), goal.files, taken)


class TraceTest(EZEZTestCase):
    """What is traced, and what is not."""

    def test_a_trace_has_the_librarys_calls_from_the_last_call_of_the_first_to_the_end_of_the_last(self) -> None:
        trace = Trace(Call("threads/deadline.py", "__init__"), Call("threads/deadline.py", "remaining"))
        trace.begin()
        Deadline(1).passed()
        deadline = Deadline(2)
        deadline.passed()
        sorted([2, 1], key=lambda number: -number)
        deadline.remaining()
        deadline.passed()
        trace.wait()
        self.assertEqual(["__init__", "passed", "remaining"], [call.name for call in trace.calls])
        self.assertEqual(["threads/deadline.py"], trace.files)


if __name__ == "__main__":
    unittest.main()
