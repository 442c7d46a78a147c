"""The tricks of the operating system, and the switch that turns tuning off."""

import json
import os
import pathlib
import platform
import queue
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import unittest
from typing import Any
from unittest import mock

import trustme

from ezez_ws import EZEZWebSocketClient, tuning
from ezez_ws.wire import linux
from ezez_ws.wire.linux import HAS_BATCH, SLOTS, BatchScheduling, restore_scheduling, spread_sleepers, switch
from tests.rawpeer import RawPeer, RawServer
from tests.scripts import run_script
from tests.serving import Calls, ServingTestCase
from tests.support import REPO, EZEZTestCase, eventually
from tests.test_serve_connection import shake_hands

CAN_BATCH = HAS_BATCH and switch.on and os.sched_getscheduler(0) == os.SCHED_OTHER

LISTS = """
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

PAGE_FAULTS = """
    import resource, ssl, sys
    from ezez_ws import EZEZWebsocketServer, EZEZWebSocketClient

    ROUNDS, SIZE = 20, 900_000

    def page_faults():
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    certificate = sys.argv[1] or None
    theirs = ours = None
    if certificate:
        theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        theirs.load_cert_chain(certificate)
        ours = ssl.create_default_context(cafile=certificate)
    with EZEZWebsocketServer(port=0, ssl=theirs, on_auth_request=lambda client, key: True) as server:
        server.on("echo", lambda client, args, reply, ids: reply("echo", [len(args[0])]))
        with EZEZWebSocketClient(server.url, ssl=ours) as client:
            def ask():
                assert client.send("echo", [bytes(SIZE)]).wait_reply(timeout=10).args == [SIZE]

            for _ in range(10):  # until the memory is there
                ask()
            before = page_faults()
            for _ in range(ROUNDS):
                ask()
            print((page_faults() - before) * resource.getpagesize() / SIZE / ROUNDS)
"""

OF_ANOTHER_POLICY = """
import os

os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))

from ezez_ws import EZEZWebSocketClient, EZEZWebsocketServer

with EZEZWebsocketServer(on_auth_request=lambda client, key: True, port=0) as server:
    server.on("policy", lambda client, args, reply, ids: reply("policy", [os.sched_getscheduler(0)]))
    with EZEZWebSocketClient(server.url) as one, EZEZWebSocketClient(server.url) as other:
        for client in (one, other) * 2:
            print(client.send("policy").wait_reply(5).args[0] == os.SCHED_IDLE)
"""

A_CROWD = """
    import contextlib, ctypes, json, os, sys, threading
    import ezez_ws
    from ezez_ws.wire.read_gate import read_gate

    if sys.argv[1] == "function":
        ezez_ws.tuning(False)

    def look(client, args, reply, ids):
        reply("seen", [os.sched_getscheduler(0)])

    with ezez_ws.EZEZWebsocketServer(port=0, on_auth_request=lambda client, key: True) as server:
        server.on("look", look)
        with contextlib.ExitStack() as opened:
            clients = [opened.enter_context(ezez_ws.EZEZWebSocketClient(server.url)) for _ in range(80)]
            policies = set()
            for client in clients * 2:
                policies.update(client.send("look").wait_reply(timeout=10).args)
            gate = any(thread.name == "ezez-read-gate" for thread in threading.enumerate())
            print(json.dumps([gate, ctypes.CDLL(None).prctl(78, 2, 0, 0, 0), sorted(policies)]))
"""

FORKS = """
    import multiprocessing, os, warnings
    from ezez_ws import EZEZWebSocketClient, EZEZWebsocketServer

    warnings.simplefilter("ignore")  # of forks beside threads

    def look(client, args, reply, ids):
        ours, theirs = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(theirs, b"%d" % os.sched_getscheduler(0))
            os._exit(0)
        os.waitpid(child, 0)
        reply("seen", [os.sched_getscheduler(0), int(os.read(ours, 10))])

    with EZEZWebsocketServer(port=0, on_auth_request=lambda client, key: True) as server:
        server.on("look", look)
        with EZEZWebSocketClient(server.url) as one, EZEZWebSocketClient(server.url) as other:
            for client in (one, other) * 2:
                seen = client.send("look").wait_reply(timeout=10).args
            print(*seen)
"""


@unittest.skipUnless(sys.platform == "linux", "there are no futexes here")
class SpreadSleepersTest(EZEZTestCase):
    def setUp(self) -> None:
        super().setUp()
        tuned = mock.patch.dict(os.environ, EZEZ_WS_TUNING="1")  # the processes that it starts
        tuned.start()
        self.addCleanup(tuned.stop)

    def spread(self, *sizes: int) -> "list[tuple[int, ...]]":
        """Have a fresh process do it twice, which has chosen these sizes itself; ``(before, after, ours)`` of each."""
        lines = run_script(LISTS.format(sizes=sizes), "")[0].splitlines()
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
        with mock.patch.object(linux, "_PR_FUTEX_HASH", 1 << 30):
            spread_sleepers()
        with mock.patch.object(linux, "find_function", lambda name: None):
            spread_sleepers()


@unittest.skipUnless(platform.libc_ver()[0] == "glibc", "other C libraries have other ways")
class KeepFreedMemoryTest(EZEZTestCase):
    def setUp(self) -> None:
        super().setUp()
        tuned = mock.patch.dict(os.environ, EZEZ_WS_TUNING="1")  # the processes that it starts
        tuned.start()
        self.addCleanup(tuned.stop)

    def test_a_large_message_is_not_paid_for_in_page_faults(self) -> None:
        self.assertLess(self.copies(), 1.0)

    def test_nor_is_one_over_tls(self) -> None:
        authority = trustme.CA()
        server = authority.issue_cert("127.0.0.1")
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "all.pem")
            path.write_bytes(server.private_key_and_cert_chain_pem.bytes() + authority.cert_pem.bytes())
            self.assertLess(self.copies(str(path)), 1.0)

    def test_without_tuning_it_is(self) -> None:
        with mock.patch.dict(os.environ, EZEZ_WS_TUNING="0"):
            self.assertGreater(self.copies(), 1.0)

    def copies(self, certificate: str = "") -> float:
        """Return how often the message fits into the fresh pages of a roundtrip.

        Tuned hardly a twentieth; untuned four to nine times, and seldom less, as the allocator adapts to what is freed.
        """
        return float(run_script(PAGE_FAULTS, certificate)[0])


@unittest.skipUnless(CAN_BATCH, "SCHED_BATCH is not to be had here, not needed, or turned off")
class BatchSchedulingTest(ServingTestCase):
    def policy(self, peer: RawPeer) -> Any:
        """Return that of a connection's thread, once it has read again."""
        for _ in range(2):
            peer.send_event("policy")
            policy = peer.read_event().args
        return policy

    def test_threads_of_several_connections_have_it_and_one_that_is_alone_has_not(self) -> None:
        server = self.serve()
        server.on("policy", lambda client, args, reply, ids: reply("policy", [os.sched_getscheduler(0)]))
        first = self.peer(server)
        self.assertEqual([os.SCHED_OTHER], self.policy(first))
        second = self.peer(server)
        self.assertEqual([os.SCHED_BATCH], self.policy(first))
        self.assertEqual([os.SCHED_BATCH], self.policy(second))
        first.close()
        eventually(lambda: len(server.clients) == 1)
        eventually(lambda: self.policy(second) == [os.SCHED_OTHER])

    def test_a_clients_thread_does_so_too_and_the_users_do_not(self) -> None:
        server = self.serve()
        heard = []
        for _ in range(2):
            client: EZEZWebSocketClient = self.client(server)
            client.on("ask", lambda args, reply, ids: heard.append(os.sched_getscheduler(0)))
        for _ in range(2):
            self.assertEqual(2, server.broadcast("ask"))
        eventually(lambda: len(heard) == 4)
        self.assertIn(os.SCHED_BATCH, heard)
        self.assertEqual(os.SCHED_OTHER, os.sched_getscheduler(0))

    def test_a_borrowed_thread_comes_back_as_it_was(self) -> None:
        server = self.make(port=None)
        server.on("policy", lambda client, args, reply, ids: reply("policy", [os.sched_getscheduler(0)]))
        server.start()
        (ours, theirs), (others, their_others) = socket.socketpair(), socket.socketpair()
        for sock in (ours, theirs, others, their_others):
            self.addCleanup(sock.close)
        theirs.settimeout(10)
        their_others.settimeout(10)

        def serve() -> int:
            server.serve_connection(ours)
            return os.sched_getscheduler(0)

        other = self.in_thread(server.serve_connection, others)
        serving = self.in_thread(serve)
        peer, other_peer = shake_hands(theirs), shake_hands(their_others)
        self.assertEqual([os.SCHED_BATCH], self.policy(peer))
        peer.close()
        self.assertEqual(os.SCHED_OTHER, serving.get())
        other_peer.close()
        other.get()

    def test_a_thread_is_not_taken_for_one_that_has_ended_and_had_its_identifier(self) -> None:
        policies: list[int] = []

        def come_after() -> None:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
            restore_scheduling()
            policies.append(os.sched_getscheduler(0))

        for target in (lambda: BatchScheduling().choose(True), come_after):
            for _ in range(5):
                thread = threading.Thread(target=target)
                thread.start()
                thread.join()  # from then on its identifier is the next one's
        self.assertEqual([os.SCHED_BATCH] * 5, policies)

    def test_a_borrowed_thread_of_that_policy_comes_back_so(self) -> None:
        server = self.make(port=None)
        server.start()
        ours, theirs = socket.socketpair()
        theirs.close()

        def serve() -> int:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
            scheduling = BatchScheduling()
            scheduling.choose(True)
            server.serve_connection(ours)
            scheduling.choose(False)
            return os.sched_getscheduler(0)

        self.assertEqual(os.SCHED_BATCH, self.in_thread(serve).get())

    def test_the_thread_of_a_client_that_has_connected_again_alone_wakes_as_usual(self) -> None:
        raw = RawServer()
        self.addCleanup(raw.close)
        heard: queue.Queue[tuple[int, int]] = queue.Queue()

        def connect() -> tuple[EZEZWebSocketClient, RawPeer]:
            client = EZEZWebSocketClient(raw.url, reconnect_delay=0.01)
            self.addCleanup(client.close)
            connecting = self.in_thread(client.connect)
            peer = raw.accept(auth=True)
            self.addCleanup(peer.close)
            connecting.get()
            client.on("ask", lambda args, reply, ids: heard.put((threading.get_ident(), os.sched_getscheduler(0))))
            return client, peer

        def ask(peer: RawPeer) -> tuple[int, int]:
            for _ in range(2):
                peer.send_event("ask")
                seen = heard.get(timeout=10)
            return seen

        (_, peer), (other, other_peer) = connect(), connect()
        thread, policy = ask(peer)
        self.assertEqual(os.SCHED_BATCH, policy)
        other_peer.close()
        other.close()
        peer.close()
        with raw.accept(auth=True) as peer:
            self.assertEqual((thread, os.SCHED_OTHER), ask(peer))

    def test_where_another_policy_was_chosen_it_is_left_alone(self) -> None:
        code = textwrap.dedent(OF_ANOTHER_POLICY)
        done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, timeout=60)
        self.assertEqual((done.stderr, done.stdout.split()), ("", ["True"] * 4))

    def test_a_forked_child_has_the_usual_one_and_its_parent_stays_as_it_was(self) -> None:
        seen = run_script(FORKS)[0].split()
        self.assertEqual([str(os.SCHED_BATCH), str(os.SCHED_OTHER)], seen)

    def test_callbacks_that_run_once_a_connection_have_the_usual_one(self) -> None:
        calls = Calls()

        def note(name: str) -> Any:
            return lambda *args: calls.add(name, os.sched_getscheduler(0))

        server = self.serve(on_auth_ok=note("let in"), on_disconnect=note("gone"))
        server.on("policy", lambda client, args, reply, ids: reply("policy", [os.sched_getscheduler(0)]))
        stays, client = [
            self.client(server, on_connect=note("on"), on_auth_ok=note("in"), on_disconnect=note("off"))
            for _ in range(2)
        ]
        for _ in range(2):
            reply = client.send("policy").wait_reply(10)
        self.assertEqual([os.SCHED_BATCH], reply.args)
        client.close()
        seen = calls.wait(8)
        stays.close()
        seen = calls.wait(10)[:8]
        self.assertEqual({"let in", "gone", "on", "in", "off"}, {name for name, _ in seen})
        self.assertEqual({os.SCHED_OTHER}, {policy for _, policy in seen})

    def test_threads_give_it_back_when_they_next_read_after_tuning_was_turned_off(self) -> None:
        self.addCleanup(tuning, True)
        server = self.serve()
        server.on("policy", lambda client, args, reply, ids: reply("policy", [os.sched_getscheduler(0)]))
        peers = [self.peer(server) for _ in range(2)]
        for enabled, policy in ((True, os.SCHED_BATCH), (False, os.SCHED_OTHER), (True, os.SCHED_BATCH)):
            tuning(enabled)
            for peer in peers:
                self.assertEqual([policy], self.policy(peer))


class TuningTest(EZEZTestCase):
    def look(self, how: str) -> "tuple[bool, int, list[int]]":
        """Have a process with a crowd of readers; tell whether it has a read gate, its lists, and its policies."""
        gate, lists, policies = json.loads(run_script(A_CROWD, how)[0])
        return gate, lists, policies

    @unittest.skipUnless(CAN_BATCH, "nothing is tuned here")
    def test_it_is_on_unless_something_turns_it_off(self) -> None:
        gate, lists, policies = self.look("")
        self.assertTrue(gate)
        self.assertIn(os.SCHED_BATCH, policies)
        self.assertTrue(lists <= 0 or lists >= SLOTS, lists)  # -1: the kernel has none; 0: the machine's

    def check_off(self, how: str) -> None:
        gate, lists, policies = self.look(how)
        self.assertTrue(gate)  # which is no tuning
        self.assertEqual([os.SCHED_OTHER], policies)
        self.assertLess(lists, SLOTS)

    @unittest.skipUnless(CAN_BATCH, "nothing is tuned here")
    def test_the_environment_turns_it_off(self) -> None:
        with mock.patch.dict(os.environ, EZEZ_WS_TUNING="0"):
            self.check_off("")

    @unittest.skipUnless(CAN_BATCH, "nothing is tuned here")
    def test_the_function_turns_it_off(self) -> None:
        self.check_off("function")

    def test_only_a_bool_turns_it_on_or_off(self) -> None:
        before = switch.on
        for wrong in (0, 1, None, "0"):
            with self.subTest(wrong), self.assertRaisesRegex(TypeError, "enabled"):
                tuning(wrong)  # type: ignore[arg-type]
        self.assertIs(before, switch.on)

    def test_the_memory_is_kept_once_it_is_turned_on_again(self) -> None:
        self.addCleanup(tuning, switch.on)
        with mock.patch.object(linux, "_freed_is_kept", False):
            tuning(False)
            linux.keep_freed_memory()
            self.assertFalse(linux._freed_is_kept)
            tuning(True)
            linux.keep_freed_memory()
            self.assertTrue(linux._freed_is_kept)
