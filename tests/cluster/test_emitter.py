"""An emitter on a real Redis: what it publishes, what it is told when that fails, forks, and replies."""

import copy
import itertools
import multiprocessing
import pickle
import subprocess
import sys
import threading
import time
import unittest
from typing import Any
from unittest import mock

from ezez_ws import Codec, ConnectionClosed, Emitter, EZEZWebSocketClient, PublishFailed, RedisBackplane
from ezez_ws.cluster import emitter as emitter_module
from ezez_ws.testing import Link
from tests.cluster.nodes import NodeProcess, NodesTestCase
from tests.interrupting import CAN_INTERRUPT, interrupt
from tests.serving import KEY, Calls, Result
from tests.support import REPO, eventually

MOSTLY_WAITS = True
SAME_ON_EVERY_PYTHON = True


def emit_in_child(emitter: Emitter, number: int) -> None:
    emitter.to("lobby").send("said", ["child", number])


def emit_by_threads_in_child(emitter: Emitter) -> None:
    sys.setswitchinterval(1e-6)
    barrier = threading.Barrier(8)

    def send(number: int) -> None:
        barrier.wait(30)
        emitter.to("lobby").send("said", ["thread", number])

    for working in [Result(send, number) for number in range(8)]:
        working.get(30)


class EmitterTest(NodesTestCase):
    def emitter(self, **options: Any) -> Emitter:
        emitter = Emitter(self.backplane(), **options)
        self.addCleanup(emitter.close)
        return emitter

    def listen(self, url: str | None) -> tuple[EZEZWebSocketClient, Calls]:
        calls = Calls()
        client = EZEZWebSocketClient(url or "", auth=KEY)
        client.on("said", lambda args, reply, ids: calls.add(*args))
        self.addCleanup(client.close)
        client.connect()
        return client, calls

    def test_what_it_sends_has_been_confirmed_and_reaches_all_nodes(self) -> None:
        before = threading.active_count()
        emitter = self.emitter()
        one, two = self.node(), self.node()
        _, first = self.listen(one.url)
        _, second = self.listen(two.url)
        threads = threading.active_count()
        self.assertTrue(emitter.to("lobby").send("said", [1]).wait(0))
        emitter.everyone.except_("lobby").send("said", ["nobody"])
        emitter.everyone.send("said", [2])
        emitter.to().send("said", ["nobody"])
        self.assertEqual([(1,), (2,)], first.wait(2))
        self.assertEqual([(1,), (2,)], second.wait(2))
        self.assertEqual(threads, threading.active_count())
        self.assertLess(before, threads)
        self.assertEqual((0, 0), (one.cluster.gaps, len(one.cluster.nodes) - 2))
        emitter.to("lobby").disconnect(4000, "enough")
        eventually(lambda: not one.clients and not two.clients)

    def test_threads_that_send_at_once_share_round_trips(self) -> None:
        emitter = self.emitter()
        node = self.node()
        _, calls = self.listen(node.url)
        log = "{ezez}:log"
        before = int(self.redis.command("XLEN", log))

        def send(who: int) -> None:
            for number in range(100):
                emitter.to("lobby").send("said", [who, number])

        for working in [Result(send, who) for who in range(8)]:
            working.get(30)
        seen = calls.wait(800)
        for who in range(8):
            self.assertEqual(list(range(100)), [number for one, number in seen if one == who])
        self.assertLess(int(self.redis.command("XLEN", log)) - before, 700)
        self.assertEqual(0, node.cluster.gaps)

    def test_a_broker_that_does_not_confirm(self) -> None:
        broker = self.start_redis()
        with Emitter(self.backplane(broker), timeout=0.3) as emitter:
            emitter.everyone.send("said", [1])
            broker.freeze()
            began = time.monotonic()
            with self.assertRaisesRegex(PublishFailed, "^not confirmed within 0.3 s, though it may have arrived: "):
                emitter.everyone.send("said", [2])
            self.assertLess(time.monotonic() - began, 4)  # the backplane's io_timeout is 5
            broker.thaw()
            emitter.everyone.send("said", [3])
            broker.kill()
            with self.assertRaisesRegex(PublishFailed, "cannot be reached|does not answer"):
                emitter.everyone.send("said", [4])
            broker.start()
            emitter.everyone.send("said", [5])

    def test_what_failed_is_no_gap_for_the_servers(self) -> None:
        broker = self.start_redis(appendonly="always")
        node = self.node(self.backplane(broker))
        _, calls = self.listen(node.url)
        with Emitter(self.backplane(broker), timeout=0.1) as emitter:
            emitter.everyone.send("said", [1])
            broker.kill()
            with self.assertRaises(PublishFailed):
                emitter.everyone.send("said", [2])
            broker.start()
            emitter.everyone.send("said", [3])
        eventually(lambda: (3,) in calls.seen)
        self.assertEqual(0, node.cluster.gaps)

    def test_confirmations_that_are_lost_double_nothing(self) -> None:
        node = self.node()
        _, calls = self.listen(node.url)
        proxy = Link(self.redis.url)
        self.addCleanup(proxy.close)
        with Emitter(RedisBackplane(f"redis://127.0.0.1:{proxy.port}/0"), timeout=20) as emitter:
            stop = threading.Event()

            def cut() -> None:
                while not stop.wait(0.02):
                    proxy.cut()

            cutting = Result(cut)
            for number in range(300):
                emitter.everyone.send("said", [number])
            stop.set()
            cutting.get()
        self.assertEqual([(number,) for number in range(300)], calls.wait(300))
        self.assertEqual(0, node.cluster.gaps)

    def test_it_may_be_made_and_used_before_a_fork(self) -> None:
        node = self.node()
        _, calls = self.listen(node.url)
        emitter = self.emitter()
        emitter.everyone.send("said", ["parent", 0])
        context = multiprocessing.get_context("fork")
        children = [context.Process(target=emit_in_child, args=(emitter, number)) for number in range(3)]
        for child in children:
            child.start()
        emitter.everyone.send("said", ["parent", 1])
        for child in children:
            child.join(30)
            self.assertEqual(0, child.exitcode)
        seen = set(calls.wait(5))
        self.assertEqual({("parent", 0), ("parent", 1), ("child", 0), ("child", 1), ("child", 2)}, seen)
        self.assertEqual(0, node.cluster.gaps)

    def test_it_may_be_given_to_a_process_that_is_spawned(self) -> None:
        node = self.node()
        _, calls = self.listen(node.url)
        emitter = self.emitter()
        emitter.everyone.send("said", ["parent", 0])
        child = "import pickle, sys; pickle.load(sys.stdin.buffer).everyone.send('said', ['child', 1])"
        subprocess.run([sys.executable, "-c", child], input=pickle.dumps(emitter), timeout=60, check=True, cwd=REPO)
        self.assertEqual([("parent", 0), ("child", 1)], calls.wait(2))
        self.assertEqual(0, node.cluster.gaps)

    def test_one_that_is_pickled_has_the_same_options(self) -> None:
        emitter = self.emitter(codec=Codec(sort_props=True), timeout=2.5)
        for another in (copy.copy(emitter), pickle.loads(pickle.dumps(emitter))):
            self.assertEqual((2.5, True), (another._timeout, another._codec._sort_props))
            self.assertEqual(repr(emitter), repr(another))
        with self.assertRaisesRegex(TypeError, "belongs to the connections"):
            pickle.dumps(emitter.everyone)

    def test_threads_of_a_forked_child_may_be_the_first_there(self) -> None:
        node = self.node()
        _, calls = self.listen(node.url)
        emitter = self.emitter()
        emitter.everyone.send("said", ["parent", 0])
        context = multiprocessing.get_context("fork")
        for _ in range(10):
            child = context.Process(target=emit_by_threads_in_child, args=(emitter,))
            child.start()
            child.join(60)
            self.assertEqual(0, child.exitcode)
        self.assertEqual(81, len(calls.wait(81)))

    @unittest.skipUnless(CAN_INTERRUPT, "a trace function of this Python is not told of each instruction")
    def test_an_exception_at_any_place_hinders_nobody_later(self) -> None:
        emitter = self.emitter()
        for number in itertools.count(1):
            with self.subTest(number):
                interrupted = interrupt(lambda: emitter.to("lobby").send("said"), number, emitter_module)
                Result(emitter.to("lobby").send, "said").get(20)
                self.assertEqual([], emitter._queue)
            if not interrupted:
                break
        self.assertGreater(number, 20)

    def test_a_thread_whose_publication_another_has_lost_track_of_is_told(self) -> None:
        emitter = self.emitter()
        emitter.to("lobby").send("said")
        gate, taken = threading.Event(), threading.Event()
        append = emitter._append

        def broken(batch: Any, deadline: Any) -> Any:
            taken.set()
            gate.wait(10)
            return append(batch, deadline)

        with mock.patch.object(emitter, "_append", broken):
            first = Result(emitter.to("lobby").send, "said")
            taken.wait(10)
            second = Result(emitter.to("lobby").send, "said")
            eventually(lambda: emitter._queue)
            emitter._queue.clear()  # as an exception in the middle of telling would
            gate.set()
            first.get()
            with self.assertRaisesRegex(PublishFailed, "broken off"):
                second.get()

    def test_an_inbox_that_has_expired_is_made_again_before_anything_is_asked(self) -> None:
        node = self.node()
        client, _ = self.listen(node.url)
        client.on("ask", lambda args, reply, ids: reply("answer", args))
        remote = self.emitter().client_at(node.clients[0].address)
        self.assertEqual([1], remote.send("ask", [1]).wait_reply(10).args)
        mine = "{ezez}:in:" + remote._asks._node
        self.redis.command("DEL", mine)  # as after 4 times node_timeout
        mailbox: Any = remote._asks
        mailbox._fresh_until = mailbox._reader._renew_at = 0.0
        self.assertEqual([2], remote.send("ask", [2]).wait_reply(10).args)

    def test_sending_does_not_wait_for_a_thread_that_waits_for_a_reply(self) -> None:
        node = self.node()
        _, calls = self.listen(node.url)
        emitter = self.emitter()
        remote = emitter.client_at(node.clients[0].address)
        waiting = Result(remote.send("nothing").wait_reply, 30)
        mailbox: Any = remote._asks
        eventually(lambda: mailbox._reading._holder is not None)
        for number in range(20):
            remote.send("said", [number])
        self.assertEqual(20, len(calls.wait(20)))
        self.assertFalse(waiting.done, "that has not held them up")
        emitter.close()
        with self.assertRaises(ConnectionClosed):
            waiting.get()

    def test_closing_while_the_broker_does_not_answer_leaves_nothing(self) -> None:
        broker = self.start_redis()
        emitter = Emitter(self.backplane(broker), timeout=0.5)
        emitter.everyone.send("said")
        broker.freeze()
        sending = [Result(emitter.everyone.send, "said") for _ in range(3)]
        eventually(lambda: emitter._writing._holder is not None)
        emitter.close()
        for one in sending:
            with self.assertRaises((PublishFailed, RuntimeError)):
                one.get()
        self.assertIsNone(emitter._writer)
        broker.thaw()

    def test_a_client_answers_an_emitter(self) -> None:
        node = self.node()
        client, _ = self.listen(node.url)
        client.on("ask", lambda args, reply, ids: reply("answer", [args[0] * 2]))
        address = node.clients[0].address
        emitter = self.emitter()
        sent = [emitter.client_at(address).send("ask", [number]) for number in range(5)]
        answers = [Result(one.wait_reply, 10) for one in sent]
        self.assertEqual([[0], [2], [4], [6], [8]], [answer.get().args for answer in answers])
        with self.assertRaises(ConnectionClosed) as caught:
            emitter.client_at("0123456789abcdef:1").send("ask").wait_reply(10)
        self.assertEqual("node gone", caught.exception.reason)
        waiting = Result(emitter.client_at(address).send("nothing").wait_reply, 30)
        emitter.close()
        with self.assertRaises(ConnectionClosed):
            waiting.get()
        self.assertEqual(1, len(self.redis.command("KEYS", "*:in:*")))

    def test_a_node_that_is_killed_is_known_when_its_inbox_has_expired(self) -> None:
        other = NodeProcess(self.redis.url, backplane={"heartbeat": 0.1, "node_timeout": 0.5})
        self.addCleanup(other.close)
        self.listen(other.url)
        address = other.ask("addresses")[0]
        emitter = self.emitter()
        sent = emitter.client_at(address).send("nothing")
        other.kill()
        with mock.patch.object(emitter_module, "_PROBE", 0.2), self.assertRaises(ConnectionClosed) as caught:
            sent.wait_reply(40)
        self.assertEqual("node gone", caught.exception.reason)

    def test_what_is_wrong_is_told_when_it_is_made(self) -> None:
        wrong: Any = "redis://127.0.0.1"
        with self.assertRaisesRegex(TypeError, "^backplane must be a RedisBackplane, not str$"):
            Emitter(wrong)
        for timeout in (0, -1, "5"):
            with self.assertRaisesRegex((ValueError, TypeError), "^timeout must be"):
                Emitter(self.backplane(), timeout=timeout)  # type: ignore[arg-type]
        wrong = "plain"
        with self.assertRaisesRegex(TypeError, "^codec must be a Codec or None, not str$"):
            Emitter(self.backplane(), codec=wrong)
        emitter = self.emitter()
        emitter.close()
        emitter.close()
        with self.assertRaisesRegex(RuntimeError, "the emitter is closed"):
            emitter.everyone.send("said")

    def test_a_missing_extra_is_named(self) -> None:
        emitter = self.emitter()
        with mock.patch.dict(sys.modules, {"redis": None}), self.assertRaisesRegex(ImportError, r"ezez-ws\[redis\]"):
            emitter.everyone.send("said")
