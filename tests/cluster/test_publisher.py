"""The way of publications into the log: none lost, none out of order, whatever happens to the broker."""

import copy
import itertools
import pickle
import threading
import time
import unittest
from collections import deque
from collections.abc import Callable
from typing import Any
from unittest import mock

from ezez_ws import PublishFailed, QueueFull, SerializationError
from ezez_ws.cluster import publisher as module
from ezez_ws.cluster.audience import Publication
from ezez_ws.cluster.entries import Beat, Command, In, Listing, Out, Said, Target
from ezez_ws.cluster.log import Id, LogDown, Opened
from ezez_ws.cluster.publisher import Numbering, Publisher
from ezez_ws.cluster.redis_log import RedisBackplane
from ezez_ws.messages.codec import Codec
from ezez_ws.threads import clock
from ezez_ws.threads.deadline import Deadline
from tests.faults.proxy import Pipe, Proxy
from tests.lockcheck import checking
from tests.redis_server import RedisServer, RedisTestCase
from tests.support import EZEZTestCase, allow_seconds, eventually, switch_interval

MOSTLY_WAITS = True

TARGET = Target(("lobby",))
LIMIT = 4 << 20


def said(number: int, size: int = 0) -> Said:
    return Said(TARGET, "said", Codec().encode([number, "x" * size]))


def number_of(fields: list[Any]) -> int:
    """The number that ``said`` was made with, from a publication in the log."""
    return int(Codec().decode(fields[6])[0])


class States:
    """What a publisher has told."""

    def __init__(self) -> None:
        self.told: list[tuple[bool, str, bool]] = []

    def __call__(self, up: bool, text: str, severe: bool) -> None:
        self.told.append((up, text, severe))

    def is_up(self) -> bool:
        return bool(self.told) and self.told[-1][0]

    def is_down(self) -> bool:
        return bool(self.told) and not self.told[-1][0]


class Follower:
    """Reads a log as a node does: on a thread, from its beginning where it is another one, repeats dropped."""

    def __init__(self, plan: RedisBackplane) -> None:
        self.found: list[list[Any]] = []
        self.gaps: list[tuple[int, int]] = []
        self.epochs = 0
        self.repeats = 0
        self._last = 0
        self._reader = plan.make_reader("follower")
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def said(self) -> list[int]:
        return [number_of(fields) for fields in self.found if fields[3] == "event"]

    def _run(self) -> None:
        after: Id = (0, 0)
        is_open = False
        while not self._ends.is_set():
            try:
                got = self._reader.read(after, 0.2) if is_open else self._reader.open()
                is_open = True
            except LogDown:
                is_open = False
                self._ends.wait(0.02)
                continue
            if isinstance(got, Opened):
                after = (0, 0)
                self.epochs += 1
                continue
            for _, batch in got.entries:
                for data in Codec().decode(batch):
                    self._take(Codec().decode(data))
            if got.entries:
                after = got.entries[-1][0]

    def _take(self, fields: list[Any]) -> None:
        if fields[2] <= self._last:
            self.repeats += 1
            return
        if fields[2] > self._last + 1:
            self.gaps.append((self._last, fields[2]))
        self._last = fields[2]
        self.found.append(fields)

    def close(self) -> None:
        self._ends.set()
        self._thread.join()
        self._reader.close()


class PublisherTestCase(RedisTestCase):
    def publisher(
        self, url: str, limit: int = LIMIT, on_no_inbox: Callable[[bytes], object] | None = None, **options: Any
    ) -> tuple[Publisher, States]:
        options = {"heartbeat": 30.0, "node_timeout": 60.0, "io_timeout": 1.0, **options}
        states = States()
        publisher = Publisher(RedisBackplane(url, **options), "node", limit, states, on_no_inbox)
        self.addCleanup(publisher.close, Deadline(0.0))
        publisher.start()
        return publisher, states

    def follow(self, url: str) -> Follower:
        follower = Follower(RedisBackplane(url))
        self.addCleanup(follower.close)
        return follower

    def log(self, redis: RedisServer | None = None) -> list[list[Any]]:
        """All that is in the log."""
        entries = (redis or self.redis).command("XRANGE", "{ezez}:log", "-", "+")
        return [Codec().decode(data) for _, fields in entries for data in Codec().decode(fields[b"m"])]

    def check(self, follower: Follower, count: int) -> None:
        eventually(lambda: len(follower.said()) >= count or follower.gaps, 30, "all has come")
        self.assertEqual(([], list(range(count))), (follower.gaps, follower.said()))


class QuietTest(PublisherTestCase):
    def test_all_of_it_comes_in_order_and_is_numbered(self) -> None:
        publisher, states = self.publisher(self.redis.url)
        numbers = itertools.count()

        def publish(first: int) -> None:
            for number in range(first, first + 500):
                publisher.put(said(number))
                next(numbers)

        with switch_interval():
            threads = [threading.Thread(target=publish, args=(first,)) for first in (0, 1000, 2000)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        self.assertTrue(publisher.put(said(9999)).wait(10))
        log = self.log()
        self.assertEqual(list(range(1, len(log) + 1)), [fields[2] for fields in log])
        self.assertEqual({(1, "node")}, {(fields[0], fields[1]) for fields in log})
        self.assertEqual("beat", log[0][3])
        found = [number_of(fields) for fields in log[1:]]
        for first in (0, 1000, 2000):
            self.assertEqual(list(range(first, first + 500)), [n for n in found if first <= n < first + 500])
        self.assertEqual((1501, 1501, 0), (publisher.published, publisher.confirmed, publisher.queued_bytes))
        self.assertLess(self.redis.command("XLEN", "{ezez}:log"), 1000, "what waits together is one entry")
        self.assertEqual([(True, "", False)], states.told)
        self.assertEqual(0, publisher.reconnects)

    def test_each_kind_travels(self) -> None:
        publisher, _ = self.publisher(self.redis.url)
        for what in (
            Command(TARGET, "disconnect", (1000, "bye")),
            In("lobby", "a1", {"nick": "Ann"}),
            Out("lobby", "a1"),
            Listing((In("lobby", "a1", None), In("lobby", "a2", 1))),
            Beat(),
        ):
            publication = publisher.put(what)
        self.assertTrue(publication.wait(10))
        publisher.close(Deadline(10))
        target = [["lobby"], [], []]
        self.assertEqual(
            [
                ["do", target, "disconnect", [1000, "bye"]],
                ["in", "lobby", "a1", {"nick": "Ann"}],
                ["out", "lobby", "a1"],
                ["list", "lobby", "a1", None, "lobby", "a2", 1],
                ["beat"],
                ["bye"],
            ],
            [fields[3:] for fields in self.log()[1:]],
        )

    def test_what_cannot_travel_is_the_callers_error_and_takes_no_number(self) -> None:
        publisher, _ = self.publisher(self.redis.url)
        with self.assertRaises(SerializationError):
            publisher.put(In("lobby", "a1", object()))
        self.assertTrue(publisher.put(said(0)).wait(10))
        self.assertEqual([1, 2], [fields[2] for fields in self.log()])

    def test_an_entry_has_a_bounded_size(self) -> None:
        self.redis.freeze()
        try:
            publisher, _ = self.publisher(self.redis.url, io_timeout=10.0, connect_timeout=10.0)
            publications = [publisher.put(said(number, 100_000)) for number in range(9)]
            publications += [publisher.put(said(number)) for number in range(600)]
        finally:
            self.redis.thaw()
        self.assertTrue(publications[-1].wait(10))
        entries = self.redis.command("XRANGE", "{ezez}:log", "-", "+")
        batches = [Codec().decode(fields[b"m"]) for _, fields in entries]
        self.assertLessEqual(max(map(len, batches)), 256)
        self.assertLessEqual(max(sum(map(len, batch)) for batch in batches), 256 * 1024)

    def test_it_beats(self) -> None:
        self.publisher(self.redis.url, heartbeat=0.05)
        eventually(lambda: len([1 for fields in self.log() if fields[3] == "beat"]) > 3)

    def test_it_trims(self) -> None:
        publisher, _ = self.publisher(self.redis.url)
        for number in range(300):
            publisher.put(said(number)).wait(10)
        publisher.trim(int(time.time() * 1000) + 60_000)
        eventually(lambda: self.redis.command("XLEN", "{ezez}:log") < 110)

    def test_a_message_goes_to_an_inbox_or_comes_back(self) -> None:
        back: list[bytes] = []
        publisher, _ = self.publisher(self.redis.url, on_no_inbox=back.append)
        reader = RedisBackplane(self.redis.url).make_reader("b")
        self.addCleanup(reader.close)
        reader.open()
        publisher.send_to("nobody", b"1")
        for number in range(200):
            publisher.send_to("b", b"%d" % number)
        found: list[bytes] = []
        while len(found) < 200:
            got = reader.read((1 << 50, 0), 1.0)
            assert not isinstance(got, Opened)
            found += got.inbox
        self.assertEqual([b"%d" % number for number in range(200)], found)
        eventually(lambda: back == [b"1"] and publisher.queued_bytes == 0)


class FaultTest(PublisherTestCase):
    def publish(self, publisher: Publisher, numbers: range) -> None:
        for number in numbers:
            while True:
                try:
                    publisher.put(said(number))
                    break
                except QueueFull:
                    time.sleep(0.001)

    def test_a_broker_that_is_killed_and_has_kept_all(self) -> None:
        redis = self.start_redis(appendonly="always")
        self.check_kills(redis, 3)

    def test_a_broker_that_is_killed_and_comes_back_empty(self) -> None:
        self.check_kills(self.start_redis(), 3)

    def check_kills(self, redis: RedisServer, times: int) -> None:
        publisher, states = self.publisher(redis.url, limit=50_000)
        follower = self.follow(redis.url)
        thread = threading.Thread(target=self.publish, args=(publisher, range(3000)))
        eventually(lambda: states.is_up() and follower.epochs)
        thread.start()
        for part in range(1, times + 1):
            eventually(lambda part=part: publisher.confirmed > part * 500, 30)  # type: ignore[misc]
            redis.restart()
        thread.join()
        self.check(follower, 3000)
        self.assertGreater(publisher.reconnects, 0)
        self.assertGreater(follower.epochs, 1)
        eventually(lambda: publisher.confirmed == 3000)
        self.assertEqual(3000, publisher.published)

    def test_what_was_confirmed_long_before_the_end_of_the_broker_is_resent(self) -> None:
        redis = self.start_redis()
        publisher, states = self.publisher(redis.url)
        for number in range(10):
            self.assertTrue(publisher.put(said(number)).wait(10))
        redis.kill()
        with mock.patch.object(module, "_RECENT", 0.0):  # the outage takes longer than what is kept
            publication = publisher.put(said(10))
            eventually(states.is_down)
            redis.start()
            self.assertTrue(publication.wait(10))
        self.assertEqual(list(range(11)), [number_of(fields) for fields in self.log(redis) if fields[3] == "event"])

    @allow_seconds(120)
    def test_connections_that_are_cut_with_confirmations_lost_and_halved(self) -> None:
        def fault(pipe: Pipe) -> None:
            if pipe.source.getpeername()[1] == self.redis.port:
                pipe.piece = pipe.random.choice((5, 5000))
                if pipe.passed > 4000 and pipe.random.random() < 0.2:
                    pipe.cut()

        proxy = Proxy(self.redis.port, fault)
        self.addCleanup(proxy.close)
        publisher, _ = self.publisher(f"redis://127.0.0.1:{proxy.port}", limit=20_000)
        follower = self.follow(self.redis.url)
        count = 0
        with mock.patch.multiple(module, _FIRST_PAUSE=0.001, _LONGEST_PAUSE=0.01):
            while publisher.reconnects < 50:
                self.publish(publisher, range(count, count + 20))
                count += 20
                eventually(lambda count=count: publisher.confirmed > count - 200, 30)  # type: ignore[misc]
        self.check(follower, count)
        self.assertGreater(follower.repeats, 0, "some confirmation was lost")
        self.assertEqual(1, follower.epochs)

    def test_a_frozen_broker_fills_the_queue_and_loses_nothing(self) -> None:
        publisher, states = self.publisher(self.redis.url, limit=10_000, io_timeout=0.2)
        follower = self.follow(self.redis.url)
        self.assertTrue(publisher.put(said(0)).wait(10))
        self.redis.freeze()
        try:
            count = 1
            with self.assertRaisesRegex(QueueFull, "bytes wait for the broker, of publish_buffer_limit=10000"):
                while True:
                    publication = publisher.put(said(count))
                    count += 1
            self.assertGreater(count, 50)
            self.assertRaises(QueueFull, publisher.send_to, "b", bytes(1000))
            for _ in range(100):
                publisher.put(Beat())  # never refused
            self.assertFalse(publication.wait(0.1))
            eventually(states.is_down)
            self.assertIn("does not answer XADD", states.told[-1][1])
        finally:
            self.redis.thaw()
        self.assertTrue(publication.wait(10))
        self.check(follower, count)
        eventually(lambda: publisher.queued_bytes == 0)

    def test_a_broker_that_is_down_at_first(self) -> None:
        redis = self.start_redis()
        redis.kill()
        publisher, states = self.publisher(redis.url)
        publication = publisher.put(said(0))
        eventually(states.is_down)
        self.assertIn("cannot be reached", states.told[0][1])
        redis.start()
        self.assertTrue(publication.wait(10))
        eventually(states.is_up)
        self.assertEqual(1, publisher.reconnects)

    def test_it_comes_up_again_by_itself_and_says_so_when_it_can_write(self) -> None:
        redis = self.start_redis()
        _, states = self.publisher(redis.url, heartbeat=0.05)
        eventually(states.is_up)
        redis.command("CONFIG", "SET", "maxmemory", "1")
        eventually(states.is_down)
        self.assertEqual((False, True), states.told[-1][::2])
        told = len(states.told)
        time.sleep(0.3)  # several attempts, all of which connect
        self.assertEqual(told, len(states.told))
        redis.command("CONFIG", "SET", "maxmemory", "0")
        eventually(states.is_up)

    def test_another_reason_is_told(self) -> None:
        redis = self.start_redis(password="p")
        publisher, states = self.publisher(redis.url, heartbeat=0.05)
        eventually(states.is_up)
        redis.command("CONFIG", "SET", "requirepass", "other")
        redis.password = "other"
        redis.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        eventually(lambda: states.is_down() and states.told[-1][2])
        self.assertIn("wants another user or password", states.told[-1][1])
        redis.command("CONFIG", "SET", "requirepass", "p")
        redis.password = "p"
        eventually(states.is_up)
        self.assertTrue(publisher.put(said(0)).wait(10))

    def test_what_is_recent_is_appended_again_where_the_log_was_emptied(self) -> None:
        publisher, _ = self.publisher(self.redis.url)
        for number in range(5):
            publisher.put(said(number)).wait(10)
        self.redis.command("FLUSHALL")
        publisher.resend_recent("another")
        publisher.resend_recent("another")
        self.assertTrue(publisher.put(said(5)).wait(10))
        log = self.log()
        self.assertEqual(list(range(1, 8)), [fields[2] for fields in log], "once, and before what is new")
        publisher.resend_recent("another")
        self.assertTrue(publisher.put(said(6)).wait(10))
        self.assertEqual(8, len(self.log()), "that epoch has it")
        self.assertEqual((7, 7), (publisher.published, publisher.confirmed))

    def test_what_is_kept_is_bounded(self) -> None:
        publisher, _ = self.publisher(self.redis.url)
        with mock.patch.object(module, "_RECENT_BYTES", 10_000):
            for number in range(30):
                publisher.put(said(number, 1000)).wait(10)
        self.redis.command("FLUSHALL")
        publisher.resend_recent()
        publisher.put(said(30)).wait(10)
        self.assertLess(len(self.log()), 12)
        with mock.patch.object(module, "_RECENT", 0.0):
            publisher.put(said(31)).wait(10)
            publisher.put(said(32)).wait(10)
        self.assertLess(len(publisher._recent), 2)


class ClosingTest(PublisherTestCase):
    def test_a_goodbye_is_the_last_word(self) -> None:
        publisher, _ = self.publisher(self.redis.url)
        publications = [publisher.put(said(number)) for number in range(500)]
        publisher.close(Deadline(10))
        publisher.close(Deadline(10))
        self.assertTrue(all(publication.wait(0) for publication in publications))
        self.assertEqual("bye", self.log()[-1][3])
        self.assertRaisesRegex(RuntimeError, "the server is closed", publisher.put, said(0))
        publisher.send_to("b", b"dropped")
        with self.assertRaises(PublishFailed):
            publisher.put(Out("lobby", "a1")).wait()

    def check_fails(self, redis: RedisServer, stop: Callable[[], None]) -> None:
        publisher, states = self.publisher(redis.url, io_timeout=30.0)
        eventually(states.is_up)
        stop()
        publication = publisher.put(said(0))
        failures: list[BaseException] = []

        def wait() -> None:
            try:
                publication.wait()
            except PublishFailed as error:
                failures.append(error)

        waiter = threading.Thread(target=wait)
        waiter.start()
        started = time.monotonic()
        publisher.close(Deadline(0.3))
        self.assertLess(time.monotonic() - started, 5)
        waiter.join()
        self.assertIn("closed before the broker confirmed", str(failures[0]))
        self.assertRaises(PublishFailed, publication.wait, 0)
        self.assertNotIn("ezez-backplane-out", [thread.name for thread in threading.enumerate()])

    def test_what_a_broker_that_is_down_has_not_taken_has_failed(self) -> None:
        redis = self.start_redis()
        self.check_fails(redis, redis.kill)

    def test_what_a_broker_that_is_frozen_has_not_taken_has_failed(self) -> None:
        redis = self.start_redis()
        self.check_fails(redis, redis.freeze)

    def test_an_interrupted_close_leaves_no_thread(self) -> None:
        redis = self.start_redis()
        publisher, states = self.publisher(redis.url, io_timeout=30.0)
        eventually(states.is_up)
        redis.freeze()
        publication = publisher.put(said(0))
        calls = itertools.count()

        def interrupt_first(thread: threading.Thread, timeout: float | None = None) -> None:
            if next(calls) == 0:
                raise KeyboardInterrupt
            thread.join(timeout)

        with mock.patch.object(module, "join_thread", interrupt_first), self.assertRaises(KeyboardInterrupt):
            publisher.close()
        self.assertRaises(PublishFailed, publication.wait, 0)
        self.assertNotIn("ezez-backplane-out", [thread.name for thread in threading.enumerate()])

    def test_one_that_was_never_started_can_be_closed(self) -> None:
        publisher = Publisher(RedisBackplane(self.redis.url), "node", LIMIT, States())
        publication = publisher.put(said(0))
        publisher.close(Deadline(1))
        self.assertRaises(PublishFailed, publication.wait)

    def test_no_lock_is_held_where_a_thread_may_block_and_none_inside_another(self) -> None:
        redis = self.start_redis()
        with checking() as checker:
            publisher, states = self.publisher(redis.url, on_no_inbox=lambda message: checker.forbid("it is called"))
            eventually(states.is_up)
            publisher.send_to("nobody", b"1")
            redis.restart()
            self.assertTrue(publisher.put(said(0)).wait(10))
            publisher.trim(1)
            publisher.close(Deadline(10))
        self.assertEqual([], list(checker.violations))
        self.assertIn("Publisher._lock", checker.taken)

    def test_it_cannot_be_copied_or_pickled(self) -> None:
        publisher, _ = self.publisher(self.redis.url)
        for refuse in (copy.copy, copy.deepcopy, pickle.dumps):
            self.assertRaises(TypeError, refuse, publisher)


class Writer:
    """A log that is a list; ``append`` does what is to happen first."""

    def __init__(self) -> None:
        self.log: list[bytes] = []
        self.sent: list[bytes] = []
        self.first: Callable[[], object] = lambda: None
        self.before_sending: Callable[[], object] = lambda: None

    def open(self) -> str:
        return "epoch"

    def append(self, publications: Any) -> None:
        self.first()
        self.log += publications

    def send_to(self, node: str, message: bytes) -> bool:
        self.sent.append(message)
        self.before_sending()
        return True

    def has_inbox(self, node: str) -> bool:
        return True

    def trim(self, before_ms: int) -> None: ...

    def close(self) -> None: ...

    def cut(self) -> None: ...


class Plan:
    heartbeat = 30.0
    node_timeout = 60.0
    connect_timeout = 1.0

    def __init__(self) -> None:
        self.writer = Writer()

    def make_reader(self, node: str, inbox_only: bool = False) -> Any: ...

    def make_writer(self, timeout: float | None = None) -> Writer:
        return self.writer


class AloneTest(EZEZTestCase):
    """Without a broker."""

    def setUp(self) -> None:
        self.plan, self.states = Plan(), States()
        self.publisher = Publisher(self.plan, "node", LIMIT, self.states)
        self.addCleanup(self.publisher.close, Deadline(0.0))

    def test_what_a_signal_handler_puts_in_the_middle_of_a_put_is_numbered_in_order(self) -> None:
        publisher = self.publisher
        real, calls, handled = publisher._make_room, itertools.count(), deque[Publication]()

        def interrupted(size: int) -> None:
            real(size)
            number = next(calls)
            if number < 3:
                handled.append(publisher.put(said(100 + number)))

        with mock.patch.object(publisher, "_make_room", interrupted):
            publication = publisher.put(said(0))
        publisher.start()
        for one in (publication, *handled):
            self.assertTrue(one.wait(10))
        log = [Codec().decode(data) for data in self.plan.writer.log]
        self.assertEqual([1, 2, 3, 4, 5], [fields[2] for fields in log])
        self.assertEqual({0, 100, 101, 102}, {number_of(fields) for fields in log[1:]})

    def test_a_message_to_an_inbox_is_not_sent_again(self) -> None:
        def fail() -> None:
            self.plan.writer.before_sending = lambda: None
            raise LogDown("gone")

        self.plan.writer.before_sending = fail
        self.publisher.send_to("b", b"1")
        self.publisher.send_to("b", b"2")
        self.publisher.start()
        eventually(lambda: len(self.plan.writer.sent) == 2)
        self.assertEqual([b"1", b"2"], self.plan.writer.sent)
        eventually(self.states.is_up)

    def test_messages_to_inboxes_go_before_the_goodbye(self) -> None:
        entered, gate = threading.Event(), threading.Event()
        said_before: list[int] = []

        def open_late() -> str:
            entered.set()
            gate.wait(30)
            return "epoch"

        self.plan.writer.open = open_late  # type: ignore[method-assign]
        self.plan.writer.before_sending = lambda: said_before.append(len(self.plan.writer.log))
        self.publisher.start()
        self.assertTrue(entered.wait(30))
        self.publisher.send_to("b", b"an answer")
        closing = threading.Thread(target=self.publisher.close, args=[Deadline(30)])
        closing.start()
        eventually(lambda: self.publisher._closing)
        gate.set()
        closing.join()
        self.assertEqual([0], said_before)
        self.assertEqual("bye", Codec().decode(self.plan.writer.log[-1])[3])

    def test_an_error_of_ours_ends_nothing(self) -> None:
        def fail() -> None:
            self.plan.writer.first = lambda: None
            raise ZeroDivisionError

        self.plan.writer.first = fail
        with self.assertLogs("ezez_ws", "ERROR"):
            self.publisher.start()
            self.assertTrue(self.publisher.put(said(0)).wait(10))
        self.assertEqual([(False, "an error while publishing: ZeroDivisionError", True)], self.states.told[:1])

    def test_attempts_come_after_longer_and_longer_pauses(self) -> None:
        times: list[float] = []

        def fail() -> None:
            times.append(time.monotonic())
            raise LogDown("gone")

        self.plan.writer.first = fail
        self.publisher.start()
        eventually(lambda: len(times) >= 4)
        pauses = [after - before for before, after in itertools.pairwise(times)]
        for pause, least in zip(pauses, (0.05, 0.1, 0.2), strict=False):
            self.assertGreaterEqual(pause, least * 0.99)
        self.assertEqual([(False, "gone", False)], self.states.told, "told once")


class NumberingTest(EZEZTestCase):
    def test_a_given_name_is_kept_and_one_made_up_is_renewed_after_a_silence(self) -> None:
        now = 1000.0
        with mock.patch.object(clock, "monotonic", lambda: now):
            given, own = Numbering("node"), Numbering()
            first, _ = own.next()
            given.next()
            now += 599
            self.assertEqual((first, 2), own.next())
            now += 601
            second, number = own.next()
            self.assertEqual(1, number)
            self.assertNotEqual(first, second)
            self.assertEqual(("node", 2), given.next())

    def test_no_two_have_one_name(self) -> None:
        self.assertEqual(100, len({Numbering().next()[0] for _ in range(100)}))


if __name__ == "__main__":
    unittest.main()
