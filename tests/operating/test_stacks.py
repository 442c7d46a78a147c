"""Stacks of threads: from the callback on, with their lines, what they wait in, and whether they sleep."""

import gc
import queue
import sys
import threading
import time
import unittest
from collections.abc import Callable
from types import FrameType
from typing import Any
from unittest import mock

from ezez_ws import EZEZServerClient
from ezez_ws.operating.stacks import Doing, ProcessorTimes, capture, doing
from tests.serving import Gate, ServingTestCase
from tests.support import EZEZTestCase, eventually

LINUX = sys.platform.startswith("linux")


class StacksTest(ServingTestCase):
    """What listeners of a real server do."""

    def look(
        self, listener: Callable[..., Any], until: Callable[[Doing], bool], release: Callable[[], object] | None = None
    ) -> Doing:
        """Have a listener called, and return what it does as soon as that is what is looked for."""
        server = self.serve()
        if release is not None:
            self.addCleanup(release)  # before the server closes
        server.on("go", listener)
        client, peer = self.pair(server)
        peer.send_event("go")
        connection = client._ezez_connection

        def find() -> Doing | None:
            running = connection.running()
            frame = None if running is None else capture().get(running.thread_id)
            found = None if frame is None else doing(frame)
            return found if found is not None and until(found) else None

        found = eventually(find)
        assert found is not None
        return found

    def wait_in(self, listener: Callable[..., Any], where: str, release: Callable[[], object] | None = None) -> Doing:
        return self.look(listener, lambda found: found.where == where, release)

    def test_a_stack_begins_with_the_callback_and_ends_with_the_line_where_it_is(self) -> None:
        gate = self.gate()

        def on_go(client: EZEZServerClient, args: Any, reply: Any, ids: Any) -> None:
            inner()

        def inner() -> None:
            gate()

        found = self.look(on_go, lambda found: len(found.stack) > 2)
        first, second = found.stack[:2]
        self.assertEqual((__file__, "inner()", False), (first.file, first.source, first.library))
        self.assertEqual("gate()", second.source)
        self.assertTrue(first.function.endswith("on_go"))
        self.assertTrue(found.stack[-1].library)  # inside threading
        self.assertEqual(on_go.__code__.co_firstlineno + 1, first.line)

    def test_a_lock_is_named_however_it_is_taken(self) -> None:
        for take in ("with", "acquire"):
            with self.subTest(take):
                lock = threading.Lock()
                lock.acquire()

                def by_with(*_: Any, lock: threading.Lock = lock) -> None:
                    with lock:
                        pass

                def by_acquire(*_: Any, lock: threading.Lock = lock) -> None:
                    lock.acquire(timeout=50)

                listener = by_with if take == "with" else by_acquire
                self.wait_in(lambda *_, listener=listener: listener(), "lock", lock.release)

    def test_what_waits_in_the_library_is_named_by_what_was_called(self) -> None:
        def asks(client: EZEZServerClient, args: Any, reply: Any, ids: Any) -> None:
            reply("question").wait_reply(50)

        self.wait_in(asks, "wait_reply")

    def test_a_call_is_named(self) -> None:
        def calls(client: EZEZServerClient, args: Any, reply: Any, ids: Any) -> None:
            client.call("question", timeout=50)

        self.wait_in(calls, "call")

    def test_a_send_without_room_is_named(self) -> None:
        def floods(client: EZEZServerClient, args: Any, reply: Any, ids: Any) -> None:
            while client.alive:
                client.send("flood", ["x" * 100_000])

        self.assertTrue(self.wait_in(floods, "send").stack)

    def test_a_context_that_another_thread_holds_is_named(self) -> None:
        gate = self.gate()

        def hold(client: EZEZServerClient) -> None:
            with client.context:
                gate()

        def reads(client: EZEZServerClient, args: Any, reply: Any, ids: Any) -> None:
            self.in_thread(hold, client)
            gate.wait_entered()
            client.context.get("name")

        self.wait_in(reads, "context")

    def test_functions_of_the_standard_library_are_named(self) -> None:
        waiting: queue.Queue[int] = queue.Queue()
        name = "Queue.get" if sys.version_info >= (3, 11) else "queue.get"
        self.wait_in(lambda *_: waiting.get(), name, lambda: waiting.put(1))

        def sleeps(*_: Any) -> None:
            time.sleep(1.0)

        self.wait_in(sleeps, "sleep")

    def test_of_several_calls_in_one_line_the_right_one_is_named_or_none(self) -> None:
        name = "sleep" if sys.version_info >= (3, 11) else None
        self.look(lambda *_: time.sleep(float("1")), lambda found: found.where == name)

    def test_both_ends_of_a_deep_stack_are_kept(self) -> None:
        gate = self.gate()

        def dive(depth: int) -> None:
            if depth:
                dive(depth - 1)
            else:
                gate()

        found = self.look(lambda *_: dive(500), lambda found: found.stack[-1].library)
        self.assertEqual(81, len(found.stack))
        self.assertIn("more", found.stack[20].function)
        self.assertEqual(("", 0), (found.stack[20].file, found.stack[20].line))


class OutsideTest(EZEZTestCase):
    def test_who_is_in_no_callback_has_no_stack(self) -> None:
        self.assertIsNone(doing(capture()[threading.get_ident()]))

    def test_no_garbage_is_collected_while_frames_are_made(self) -> None:
        # CPython 3.11 can wait for ever over that, and newer ones cannot
        seen: list[bool] = []

        def make_frames() -> dict[int, FrameType]:
            seen.append(gc.isenabled())
            return {}

        with mock.patch.object(sys, "_current_frames", make_frames):
            capture()
        self.assertEqual(([sys.version_info >= (3, 12)], True), (seen, gc.isenabled()))

    def test_without_a_gil_nobody_looks_at_the_frames_of_others(self) -> None:
        with mock.patch.object(sys, "_is_gil_enabled", lambda: False, create=True):
            self.assertEqual({}, capture())


@unittest.skipUnless(LINUX, "only Linux tells of other threads")
class ProcessorTimesTest(EZEZTestCase):
    def test_who_computes_is_told_from_who_sleeps(self) -> None:
        stop, gate = threading.Event(), Gate()
        self.addCleanup(gate.open)
        self.addCleanup(stop.set)

        def spin() -> None:
            while not stop.is_set():
                pass

        threads = [threading.Thread(target=target, daemon=True) for target in (spin, gate)]
        for thread in threads:
            thread.start()
        gate.wait_entered()
        spins, sleeps = (thread.ident for thread in threads)
        assert spins is not None and sleeps is not None
        times = ProcessorTimes()
        looked_at = {spins: threads[0], sleeps: threads[1]}
        self.assertEqual({spins: None, sleeps: None}, times.look(looked_at))
        eventually(lambda: times.look(looked_at) == {spins: "computing", sleeps: "asleep"})

    def test_of_a_thread_that_is_not_there_nothing_is_known(self) -> None:
        times, thread = ProcessorTimes(), threading.Thread(target=int)
        for _ in range(2):
            self.assertEqual({1: None}, times.look({1: thread}))


if __name__ == "__main__":
    unittest.main()
