"""The time limit of a test: what counts against it, on an idle machine and on one with other work."""

import os
import subprocess
import sys
import unittest

from tests.running import RunnerTestCase
from tests.support import EZEZTestCase
from tests.watchdog import PATIENCE, UNKNOWN, Allowance, Thread, look, waited

MOSTLY_WAITS = True
SAME_ON_EVERY_PYTHON = True

BUSY = "import os, sys\nos.sched_setaffinity(0, {int(sys.argv[1])})\nprint(flush=True)\nwhile True: pass"

# A test, and a process that a test has started, that wait for longer than their limit: at the lowest priority, on
# a processor that another process keeps busy.
STARVED = """
    STARVE = 'while read -r ran waited turns < /proc/$$/schedstat; [ "$waited" -lt 2000000000 ]; do :; done'

    def setUpModule():
        processors = os.sched_getaffinity(0)
        unittest.addModuleCleanup(os.sched_setaffinity, 0, processors)
        os.sched_setaffinity(0, {min(processors)})
        os.nice(19)

    class Sample(EZEZTestCase):
        time_limit = 1.0
        def test_a(self):
            with open("/proc/self/schedstat") as file:
                while int(file.read().split()[1]) < 2000000000: file.seek(0)
        def test_b(self): subprocess.run(["sh", "-c", STARVE], check=True)
"""


class AllowanceTest(unittest.TestCase):
    def test_time_counts_unless_it_was_spent_waiting(self) -> None:
        allowance = Allowance(10.0, 100.0)
        allowance.pass_seen(103.0, 0.0)
        self.assertEqual(allowance.left, 7.0)
        allowance.pass_seen(107.0, 3.5)
        self.assertEqual(allowance.left, 6.5)
        allowance.pass_seen(200.0, 0.0)
        self.assertEqual(allowance.left, 0.0)
        self.assertEqual(allowance.taken, 100.0)

    def test_what_was_not_looked_at_uses_no_more_than_half_of_the_limit(self) -> None:
        allowance = Allowance(10.0, 0.0)
        allowance.pass_unseen(4.0)
        self.assertEqual((allowance.left, allowance.half_used), (6.0, False))
        allowance.pass_unseen(90.0)
        self.assertEqual((allowance.left, allowance.half_used), (5.0, True))
        allowance.pass_seen(91.0, 0.0)
        allowance.pass_unseen(92.0)
        self.assertEqual(allowance.left, 4.0)

    def test_threads_that_wait_together_take_no_more_than_the_time_that_has_passed(self) -> None:
        allowance = Allowance(10.0, 0.0)
        allowance.pass_seen(1.0, 0.0)
        allowance.pass_seen(2.0, 64.0)
        self.assertEqual(allowance.left, 9.0)

    def test_what_only_ever_waits_is_ended_too(self) -> None:
        allowance = Allowance(10.0, 0.0)
        allowance.pass_seen(10.0 * PATIENCE - 1.0, 1e9)
        self.assertEqual(allowance.left, 1.0)
        allowance.pass_seen(10.0 * PATIENCE, 1e9)
        self.assertEqual(allowance.left, 0.0)

    def test_where_nobody_says_what_has_waited_time_counts_in_part(self) -> None:
        allowance = Allowance(10.0, 0.0)
        allowance.pass_seen(8.0, None)
        self.assertEqual(allowance.left, 10.0 - 8.0 * UNKNOWN)


class LimitTest(RunnerTestCase):
    def test_at_the_limit_all_stacks_are_printed_and_the_run_ends(self) -> None:
        done = self.run_tests("""
            def hang_here(): threading.Event().wait()

            class Sample(EZEZTestCase):
                time_limit = 1.0
                def test_a(self): pass
                @allow_seconds(20)
                def test_b(self): time.sleep(1.5)
                def test_c(self): hang_here()
                def test_d(self): pass
                def test_e(self): pass
        """)
        self.assert_counts(done, 2, 1)
        self.assertIn("in hang_here", done.stdout)
        self.assertIn("FAILED: sample_tests.Sample.test_c\nIt took more than its 1 s", done.stdout)
        self.assertIn("\n2 not run\n", done.stdout)

    def test_what_computes_for_ever_and_what_waits_for_a_process_are_ended(self) -> None:
        for body in ("while True: pass", "subprocess.run([sys.executable, '-c', 'while True: pass'], timeout=20)"):
            with self.subTest(body):
                done = self.run_tests(f"""
                    class Sample(EZEZTestCase):
                        time_limit = 1.0
                        def test_a(self):
                            {body}
                """)
                self.assert_counts(done, 0, 1)
                self.assertIn("It took more than its 1 s", done.stdout)

    def test_what_keeps_all_threads_from_running_is_ended(self) -> None:
        done = self.run_tests("""
            import ctypes, faulthandler
            from tests import watchdog
            armed = threading.Event()
            arm = faulthandler.dump_traceback_later

            def arm_and_tell(timeout, **more):
                arm(timeout, **more)
                if timeout == 1.0: armed.set()

            watchdog._STUCK = -19.0
            faulthandler.dump_traceback_later = arm_and_tell

            class Sample(EZEZTestCase):
                time_limit = 20.0
                def test_a(self):
                    armed.wait()
                    ctypes.PyDLL(None).pause()
        """)
        self.assertIn("Timeout (0:00:01)!", done.stderr)
        self.assertEqual(done.returncode, 1)

    @unittest.skipUnless(look(), "nothing here says how long a process has waited for a processor")
    def test_a_test_that_gets_no_processor_is_not_blamed(self) -> None:
        self.keep_busy(min(os.sched_getaffinity(0)))
        self.assert_counts(self.run_tests(STARVED), 2, 0)

    def keep_busy(self, processor: int) -> None:
        """Have a process use all of a processor until the test has ended."""
        process = subprocess.Popen([sys.executable, "-c", BUSY, str(processor)], stdout=subprocess.PIPE)
        self.addCleanup(process.__exit__, None, None, None)
        self.addCleanup(process.kill)
        assert process.stdout is not None
        self.assertEqual(process.stdout.readline(), b"\n")


class LookTest(EZEZTestCase):
    def test_what_has_waited_is_what_is_added_and_the_time_of_those_that_still_wait(self) -> None:
        before = {"sleeps": Thread(5, 10**9, False), "works": Thread(5, 10**9, True), "starves": Thread(5, 10**9, True)}
        now = {**before, "works": Thread(6, 3 * 10**9, True), "is new": Thread(1, 10**9, False)}
        self.assertEqual(waited(before, now, 0.25), 2.0 + 1.0 + 0.25)

    @unittest.skipUnless(look(), "nothing here says how long a process has waited for a processor")
    def test_children_are_looked_at_too(self) -> None:
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        with child:
            self.assertIn(f"/proc/{child.pid}/task/{child.pid}", look())
            child.communicate(b"\n")


if __name__ == "__main__":
    unittest.main()
