"""An exception at any step, as the handler of Ctrl-C may raise it: nothing hangs, is torn, or is left behind."""

import contextlib
import itertools
import logging
import signal
import socket
import threading
import time
import unittest
from collections.abc import Callable
from typing import Any
from unittest import mock

import ezez_ws.connection.connection
import ezez_ws.connection.inbox
import ezez_ws.connection.routing
import ezez_ws.connection.sending
import ezez_ws.server_run
import ezez_ws.websocket.outbox
import ezez_ws.websocket.stream
from ezez_ws import Codec
from ezez_ws.connection.connection import Connection, ConnectionOptions
from ezez_ws.connection.dispatch import Callbacks
from ezez_ws.connection.inbox import Inbox
from ezez_ws.connection.listeners import Listeners
from ezez_ws.connection.replies import Reply, RoutedReply, SentMessage
from ezez_ws.figures import Figures
from ezez_ws.messages.protocol import parse_event
from ezez_ws.messages.tally import Tally
from ezez_ws.threads.deadline import Deadline
from ezez_ws.websocket.stream import Ending, Stream
from ezez_ws.wire.sockets import SocketWire
from tests.interrupting import SEVERAL, interrupt
from tests.rawpeer import RawPeer
from tests.scripts import run_script
from tests.serving import Result, ServingTestCase
from tests.support import EZEZTestCase, allow_seconds, eventually, with_can_miss_its_end

CODEC = Codec()

STARTS = """
    import random, signal, sys, threading, time
    sys.unraisablehook = lambda args: None
    from ezez_ws.threads.starting import start_thread
    armed, interrupts = False, 0
    def handler(*args):
        if armed:
            raise KeyboardInterrupt
    signal.signal(signal.SIGALRM, handler)
    end = time.monotonic() + float(sys.argv[1])
    while time.monotonic() < end:
        thread = threading.Thread(target=int, name="new", daemon=True)
        try:
            armed = True
            signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, 300e-6))
            try:
                start_thread(thread)
            finally:
                armed = False
                signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt:
            armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)
            interrupts += 1
    def count():  # one without an ident was interrupted before it began
        return sum(thread.name == "new" and thread.ident is not None for thread in threading.enumerate())
    deadline = time.monotonic() + 5
    while count() and time.monotonic() < deadline:
        time.sleep(0.01)
    print("interrupts", interrupts, "hanging", count())
"""

STORM = """
    import faulthandler, gc, random, signal, sys, threading, time
    faulthandler.dump_traceback_later(60, exit=True)
    sys.unraisablehook = lambda args: None  # the handler may run inside a weak reference's callback
    from ezez_ws import *
    server = EZEZWebsocketServer(port=0, on_auth_request=lambda client, key: True, ping_interval=None, close_timeout=1)
    server.on("q", lambda client, args, reply, ids: reply("r", args))
    server.start()
    armed = False
    def handler(*args):
        if armed:
            raise KeyboardInterrupt
    signal.signal(signal.SIGALRM, handler)
    bad, interrupts, rounds = {}, 0, 0
    def note(what, more=""):
        bad[what] = bad.get(what, 0) + 1
        print(what, more, flush=True)
    def storm(act, longest):
        global armed, interrupts
        try:
            armed = True
            signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, longest))
            try:
                act()
            finally:
                armed = False
                signal.setitimer(signal.ITIMER_REAL, 0)
            return True
        except KeyboardInterrupt:
            armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)
            interrupts += 1
        except (ConnectionClosed, NotConnected, ConnectionFailed):
            pass
        except ReplyTimeout:
            note("TIMEOUT")
        except Exception as error:
            import traceback
            note("EXC " + repr(error), traceback.format_exc())
        return False
    def ask(number):
        answer = client.send("q", [number]).wait_reply(5)
        if answer.args != [number]:
            note("WRONG REPLY", (answer.args, number))
    end = time.monotonic() + float(sys.argv[1])
    while time.monotonic() < end:
        rounds += 1
        client = EZEZWebSocketClient(server.url, auto_reconnect=False, ping_interval=None, close_timeout=1)
        storm(lambda: client.connect(5), 4e-3)
        try:
            client.connect(5)
        except Exception as error:
            note("CONNECT " + repr(error))
        for number in range(60):
            storm(lambda: ask(number), 400e-6)
        if client.alive:
            storm(lambda: ask("last"), 100)
        storm(client.close, 2e-3)
        closing = threading.Thread(target=client.close, daemon=True)
        closing.start()
        closing.join(8)
        if closing.is_alive():
            note("CLOSE HANGS")
            faulthandler.dump_traceback(all_threads=True)
            break
    deadline = time.monotonic() + 5
    def find():  # one without an ident was interrupted before it began
        return [thread.name for thread in threading.enumerate() if "client" in thread.name and thread.ident]
    while (find() or server.clients) and time.monotonic() < deadline:
        time.sleep(0.01)
    print("rounds", rounds, "interrupts", interrupts, "bad", bad, "left", find() + server.clients)
    server.close()
"""


class ReadingRoleTest(EZEZTestCase):
    """An exception in the middle of reading: the role falls free, and nothing is lost but with the connection."""

    def open(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            there = socket.create_connection(listening.getsockname())
            here, _ = listening.accept()
        self.stream = Stream(SocketWire(here), client_side=False, max_payload=1 << 20, send_buffer_limit=1 << 20)
        self.inbox = Inbox(self.stream, 10_000, False, self.parse, True)
        self.peer = RawPeer.over(there, is_client=True)

    def close(self) -> None:
        self.stream.cut()
        self.assertIsNotNone(Result(self.inbox.retire).get())
        self.stream.dispose()
        self.peer.close()

    @staticmethod
    def parse(payload: bytes) -> Reply:
        event = parse_event(CODEC.decode(payload))
        return Reply(event.name, event.args, lambda *_, **__: SentMessage(None, None, None), event.ids)

    def expect(self, event_id: int) -> SentMessage:
        sent = SentMessage(None, event_id, None)
        with self.inbox.lock:
            self.inbox.table.expect(sent, event_id, None, 1e12)
        return sent

    def wait(self, sent: SentMessage, timeout: float = 10.0) -> Any:
        return self.inbox.wait(
            lambda: sent if sent._outcome is not None else self.inbox.ending, Deadline(timeout), sent
        )

    def check(self, events: list[str], alone: bool = True) -> bool:
        """Check that another thread can wait, and the owner read on; false where the connection has failed."""
        sent = self.expect(99)
        with contextlib.suppress(OSError):
            self.peer.send_event("answer", reply_to=99)
            self.peer.send_event("last")
        got = Result(self.wait, sent).get()

        def read_on() -> list[Any]:
            self.inbox.own()
            names: list[Any] = []
            while not names or not (names[-1] == "last" or isinstance(names[-1], Ending)):
                item = self.inbox.next()
                if isinstance(item, Ending):
                    names.append(item)
                else:
                    payload = item.payload if isinstance(item, RoutedReply) else item
                    assert isinstance(payload, bytes)
                    names.append(CODEC.decode(payload)[0])
            return names

        names = Result(read_on).get()
        self.assertNotEqual(threading.get_ident(), self.inbox._reading)
        if alone:
            self.assertEqual({}, self.inbox._sleepers)
            self.assertIsNone(self.inbox._reading)
        if isinstance(names[-1], Ending):
            self.assertEqual(1006, names[-1].code)
            self.assertEqual(events[: len(names) - 1], [name for name in names if name in events])
            return False
        self.assertIs(sent, got)
        self.assertEqual([*events, "answer", "last"], names)
        return True

    def try_all(self, act: Callable[[], Any], events: list[str], beside: Callable[[], Any] | None = None) -> int:
        """Interrupt ``act`` everywhere; return how many of the connections survived."""
        places = survived = 0
        for module in (ezez_ws.connection.inbox, ezez_ws.connection.routing):
            for number in itertools.count(1):
                self.open()
                with contextlib.ExitStack() as closing:
                    closing.callback(self.close)
                    for event in events:
                        self.peer.send_event(event, reply_to=1 if event == "reply" else None)
                    other = None if beside is None else Result(beside)
                    if other is not None:
                        eventually(lambda: self.inbox._reading is not None)
                    try:
                        interrupted = interrupt(act, number, module)
                        with self.subTest(module=module.__name__, number=number):
                            survived += self.check(events, other is None)
                    finally:
                        self.stream.cut()
                        if other is not None:
                            other.get()
                if not interrupted:
                    break
                places += 1
        self.assertGreater(places, SEVERAL)
        return survived

    def test_wait_that_reads(self) -> None:
        survived = self.try_all(lambda: self.wait(self.expect(1)), ["event", "reply"])
        self.assertGreater(survived, SEVERAL)

    def test_wait_that_sleeps(self) -> None:
        def act() -> None:
            self.wait(self.expect(1), 0.02)

        survived = self.try_all(act, [], beside=lambda: self.wait(self.expect(2)))
        self.assertGreater(survived, SEVERAL)

    def test_wait_whose_time_passes(self) -> None:
        self.assertGreater(self.try_all(lambda: self.wait(self.expect(1), 0.002), []), SEVERAL)

    def test_wait_that_is_interrupted_while_nothing_comes_keeps_the_connection(self) -> None:
        def poll(read: bool, write: bool, timeout: float | None) -> Any:
            raise KeyboardInterrupt

        self.open()
        self.addCleanup(self.close)
        real = self.stream._wire.poll
        self.stream._wire.poll = poll  # type: ignore[method-assign]
        with self.assertRaises(KeyboardInterrupt):
            self.wait(self.expect(1))
        self.stream._wire.poll = real  # type: ignore[method-assign]
        self.assertTrue(self.check([]))

    def test_look_in(self) -> None:
        self.assertGreater(self.try_all(lambda: self.inbox.look_in(), ["event"]), SEVERAL)

    def test_look_in_where_there_is_nothing(self) -> None:
        self.assertGreater(self.try_all(lambda: self.inbox.look_in(), []), SEVERAL)

    def test_wait_for_room(self) -> None:
        def act() -> None:
            answers = iter([False, False, False, True])
            with mock.patch.object(self.stream, "has_room", lambda size: next(answers)):
                self.inbox.wait_for_room(1, Deadline(10))

        self.assertGreater(self.try_all(act, ["event"]), SEVERAL)

    def test_wait_for_room_while_another_reads(self) -> None:
        def act() -> None:
            answers = iter([False, False, True])
            with mock.patch.object(self.stream, "has_room", lambda size: next(answers)):
                self.inbox.wait_for_room(1, Deadline(10))

        self.assertGreater(self.try_all(act, [], beside=lambda: self.wait(self.expect(2))), SEVERAL)

    def test_look_in_several_times(self) -> None:
        def act() -> None:
            self.inbox.look_in()
            self.inbox.look_in()

        self.assertGreater(self.try_all(act, ["event", "event"]), SEVERAL)


class EndTest(EZEZTestCase):
    """An exception at any step of a connection's end: its socket is given back all the same."""

    @allow_seconds(120)
    def test_the_socket_is_given_back_wherever_the_end_is_interrupted(self) -> None:
        options = ConnectionOptions(Codec(), 300.0, 1 << 20, 1 << 20, 1 << 20, 30.0, 1.0, None, None, Figures(Tally()))
        modules = (ezez_ws.connection.connection, ezez_ws.connection.inbox, ezez_ws.websocket.outbox)
        for module in (*modules, ezez_ws.websocket.stream):
            for number in itertools.count(1):
                here, there = socket.socketpair()
                with here, there:
                    stream = Stream(SocketWire(here), False, max_payload=1 << 20, send_buffer_limit=1 << 20)
                    connection = Connection(stream, options, Callbacks(), Listeners())
                    there.close()

                    def act(connection: Connection = connection) -> None:
                        try:
                            connection.run()
                        finally:
                            connection.dispose()  # as the server's run does

                    logging.disable(logging.CRITICAL)
                    try:
                        interrupted = interrupt(act, number, module)
                    finally:
                        logging.disable(logging.NOTSET)
                    with self.subTest(module=module.__name__, number=number):
                        self.assertEqual(-1, here.fileno())
                if not interrupted:
                    break
            self.assertGreater(number, SEVERAL)


class SendTest(ServingTestCase):
    @allow_seconds(120)
    def test_an_interrupted_send_uses_no_id_twice_and_leaves_no_stranger_waiting(self) -> None:
        server = self.serve(ping_interval=None)
        side, peer = self.pair(server)
        number, interrupted = 0, True
        last_seen = 0
        sent: SentMessage | None = None
        while interrupted:
            number += 1
            if not side.alive:
                side, peer = self.pair(server)
                last_seen = 0

            def act() -> None:
                side.send("question", on_reply=lambda *args: None)  # noqa: B023

            interrupted = interrupt(act, number, ezez_ws.connection.sending)
            sent = side.send("final")
            if not sent:
                eventually(lambda: not side.alive)  # noqa: B023
                continue
            names = []
            while "final" not in names:
                event = peer.read_event()
                self.assertGreater(event.ids.event_id, last_seen)
                last_seen = event.ids.event_id
                names.append(event.name)
                peer.send_event("answer", [last_seen], reply_to=last_seen)
            self.assertIn(names, (["question", "final"], ["final"]))
            self.assertEqual([last_seen], sent.wait_reply(10).args)
            self.assertEqual(last_seen, sent.event_id)
        self.assertGreater(number, SEVERAL)
        self.assertTrue(side.alive)


class CloseTest(ServingTestCase):
    @allow_seconds(300)
    def test_an_interrupted_close_leaves_nothing(self) -> None:
        number, interrupted = 0, True
        while interrupted:
            number += 1
            server = self.serve(close_timeout=0.05, ping_interval=None)
            port = server.port
            peer = self.peer(server)  # it never answers the close frame
            interrupted = interrupt(server.close, number, ezez_ws.server_run)
            closing = self.in_thread(server.close)
            closing.get(5)
            with self.subTest(number=number):
                self.assertEqual([], self.left(port))
            peer.close()
        self.assertGreater(number, SEVERAL)

    def left(self, port: Any) -> list[str]:
        names = (f"ezez-accept-{port}", "ezez-janitor", "ezez-conn-")

        def found() -> list[str]:
            return [thread.name for thread in threading.enumerate() if thread.name.startswith(names)]

        deadline = time.monotonic() + 3.0
        while found() and time.monotonic() < deadline:
            time.sleep(0.005)
        left = found()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            left.append("listens")
        return left

    def test_ctrl_c_while_close_waits_leaves_nothing(self) -> None:
        def handler(*args: Any) -> None:
            raise KeyboardInterrupt

        before = signal.signal(signal.SIGALRM, handler)
        self.addCleanup(signal.signal, signal.SIGALRM, before)
        server = self.serve(close_timeout=5.0, ping_interval=None)
        port = server.port
        self.peer(server)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        start = time.monotonic()
        with self.assertRaises(KeyboardInterrupt):
            server.close()
        self.assertEqual([], self.left(port))
        server.close()
        self.assertLess(time.monotonic() - start, 3.0)


class StormTest(EZEZTestCase):
    """Signals at random moments."""

    @unittest.skipIf(with_can_miss_its_end(), "python/cpython#148874: here a signal can keep `with lock:` from its end")
    @allow_seconds(120)
    def test_signals_at_random_hang_nothing_and_leave_nothing(self) -> None:
        printed, _ = run_script(STORM, "6", timeout=90)
        self.assertIn("bad {}", printed)
        self.assertIn("left []", printed)

    def test_signals_while_a_thread_starts_do_not_spoil_it(self) -> None:
        printed, _ = run_script(STARTS, "2")
        self.assertIn("hanging 0", printed)
        self.assertNotIn("interrupts 0", printed)


if __name__ == "__main__":
    unittest.main()
