"""Signal handlers that call the library while the main thread is inside it: no deadlock, no torn frame, no loss."""

import itertools
import ssl
import threading
import unittest
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any
from unittest import mock

import trustme

import ezez_ws.client
import ezez_ws.connection.connection
import ezez_ws.connection.deferred
import ezez_ws.connection.inbox
import ezez_ws.connection.outgoing
import ezez_ws.connection.replies
import ezez_ws.connection.routing
import ezez_ws.connection.sending
import ezez_ws.server
import ezez_ws.server_run
import ezez_ws.threads.timers
import ezez_ws.websocket.outbox
import ezez_ws.websocket.stream
import ezez_ws.wire.flusher
import ezez_ws.wire.sockets
import ezez_ws.wire.tls
from ezez_ws import EZEZWebSocketClient, ReplyTimeout
from ezez_ws.threads.interrupted import calls_user_code, interrupts_library
from ezez_ws.threads.timers import Janitor, janitor
from tests.interrupting import CAN_INTERRUPT, interrupt
from tests.scripts import run_script
from tests.serving import ServingTestCase
from tests.support import EZEZTestCase, allow_seconds, eventually

MODULES = (
    ezez_ws.connection.connection,
    ezez_ws.connection.inbox,
    ezez_ws.connection.routing,
    ezez_ws.connection.sending,
    ezez_ws.websocket.outbox,
    ezez_ws.websocket.stream,
    ezez_ws.wire.sockets,
    ezez_ws.wire.tls,
)


PAIRS = """
    import faulthandler, itertools, random, signal, sys, threading, time
    faulthandler.dump_traceback_later(120, exit=True)
    from ezez_ws import *
    came = {}
    server = EZEZWebsocketServer(port=0, on_auth_request=lambda client, key: True, ping_interval=None)
    other = EZEZWebsocketServer(port=0, on_auth_request=lambda client, key: True)
    def note(who):
        return lambda *args: came.setdefault(who, []).append(args[-3])
    server.on("numbered", note("server"))
    server.on("echo", lambda client, args, reply, ids: reply("echoed", args))
    server.on("count", lambda client, args, reply, ids: reply("counted", [len(came.get("server", []))]))
    server.start()
    client = EZEZWebSocketClient(server.url, ping_interval=None)
    client.on("numbered", note("client"))
    client.on("count", lambda args, reply, ids: reply("counted", [len(came.get("client", []))]))
    client.connect()
    (side,) = server.clients
    queueing = EZEZWebSocketClient("ws://127.0.0.1:9", queue_limit_bytes=1 << 30)
    numbers = {"main": itertools.count(), "handler": itertools.count()}
    sent = {"server": {"main": [], "handler": []}, "client": {"main": [], "handler": []}}
    where, refused = "main", 0

    def numbered(one, to):
        number = next(numbers[where])
        sent[to][where].append(number)
        assert one([where, number])

    def waits(act):
        global refused
        try:
            act()
        except RuntimeError as error:
            assert "signal handler" in str(error), error
            refused += 1

    def listens(one):
        def listener(*args): pass
        name = f"nobody {random.random()}"
        one.on(name, listener)
        one.once(name, listener)
        one.off(name, listener)

    def changes_context():
        with side.context as context:
            context["n"] = context.get("n", 0) + 1
        side.context.update(m=1)
        side.context.snapshot()

    acts = {
        "client.send": lambda: numbered(lambda args: client.send("numbered", args), "server"),
        "side.send": lambda: numbered(lambda args: side.send("numbered", args), "client"),
        "broadcast": lambda: numbered(lambda args: server.broadcast("numbered", args), "client"),
        "wait_reply": lambda: waits(lambda: client.send("echo", [1]).wait_reply(20)),
        "on_reply": lambda: client.send("echo", [1], on_reply=lambda *args: None),
        "on, off": lambda: [listens(one) for one in (client, side, server)],
        "properties": lambda: (client.alive, client.awaiting_replies_count, client.client.open, repr(client),
            side.alive, side.authenticated, side.awaiting_replies_count, side.client.open, repr(side),
            server.clients, server.url, server.port, repr(server)),
        "context": changes_context,
        "queue": lambda: queueing.send("later", [1]),
        "connect": lambda: waits(lambda: client.connect(20)),
        "wait_closed": lambda: waits(lambda: client.wait_closed(0.001)),
        "raw": lambda: (client.client.ping(), client.send_json([1])),
        "start": lambda: waits(lambda: (server.start(), client.start())),
    }

    def handler(*_):
        global where, ran
        if where == "handler":
            return  # nested
        where, ran = "handler", ran + 1
        try:
            second()
        finally:
            where = "main"

    def settle():
        signal.setitimer(signal.ITIMER_REAL, 0)
        for to, ask in (("server", client), ("client", side)):
            wanted = len(sent[to]["main"]) + len(sent[to]["handler"])
            end = time.monotonic() + 20
            while ask.send("count").wait_reply(20).args != [wanted]:
                assert time.monotonic() < end, (to, wanted, len(came[to]))
                time.sleep(0.01)
            for who in ("main", "handler"):
                got = [number for source, number in came.get(to, ()) if source == who]
                assert got == sent[to][who], (to, who)

    signal.signal(signal.SIGALRM, handler)
    ran, rounds = 0, 0
    seconds = float(sys.argv[1]) / len(acts) ** 2
    for first_name, first in acts.items():
        for second_name, second in acts.items():
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                rounds += 1
                signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, 200e-6))
                first()
            try:
                settle()
            except BaseException:
                print("after", first_name, "interrupted by", second_name, flush=True)
                raise
    print("rounds", rounds, "handlers", ran, "refused", refused, "alive", client.alive, side.alive)
    queueing.close(); client.close(); server.close()
"""

CLOSES = """
    import faulthandler, random, signal, sys, threading, time
    faulthandler.dump_traceback_later(60, exit=True)
    from ezez_ws import *
    for number in range(int(sys.argv[1])):
        server = EZEZWebsocketServer(port=0, on_auth_request=lambda client, key: True, close_timeout=1)
        server.on("echo", lambda client, args, reply, ids: reply("echoed", args))
        server.start()
        clients = [EZEZWebSocketClient(server.url, close_timeout=1) for _ in range(2)]
        for client in clients:
            client.connect()
        over = []
        def handler(*_):
            for one in (server, *clients) if number % 3 else (clients[0], server):
                if number % 2: one.close()
                else: one.request_close()
            for client in server.clients:
                client.disconnect()
            over.append(1)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-4, 2e-2))
        while not over:
            try:
                server.broadcast("x", [1, "abc" * 100])
                for client in server.clients:
                    client.send("y", [2])
                for client in clients:
                    client.send("z", [3])
                clients[0].send("echo").wait_reply(20)
            except (ConnectionClosed, NotConnected):
                pass
        begun = time.monotonic()
        server.close()
        for client in clients:
            client.close()
        if time.monotonic() - begun > 8:
            print("closing took", time.monotonic() - begun)
    end = time.monotonic() + 10
    while [one for one in threading.enumerate() if one.name.startswith("ezez-")] and time.monotonic() < end:
        time.sleep(0.01)
    print("left", [one.name for one in threading.enumerate() if one.name.startswith("ezez-")])
"""


@unittest.skipUnless(CAN_INTERRUPT, "a trace function of this Python is not told of each instruction")
class EveryPlaceTest(ServingTestCase):
    """A handler at each place of a call, one after the other."""

    def contexts(self) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        authority = trustme.CA()
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(server)
        client = ssl.create_default_context()
        authority.configure_trust(client)
        return server, client

    def open(self, tls: bool) -> None:
        theirs, ours = self.contexts() if tls else (None, None)
        self.came: list[Any] = []
        self.server = self.serve(ssl=theirs, ping_interval=None)
        self.server.on("at server", lambda client, args, reply, ids: self.came.append(args[0]))
        self.server.on("echo", lambda client, args, reply, ids: reply("echoed", args))
        self.one = self.client(self.server, ssl=ours, ping_interval=None)
        self.one.on("at client", lambda args, reply, ids: self.came.append(args[0]))
        (self.side,) = self.server.clients

    def places(self, modules: tuple[ModuleType, ...]) -> Iterator[tuple[ModuleType, int]]:
        for module in modules:
            for number in itertools.count(1):
                self.found = False
                yield module, number
                if not self.found:
                    break

    def check(
        self, first: Callable[[str], Any], second: Callable[[str], Any], modules: tuple[ModuleType, ...] = MODULES
    ) -> int:
        """Run the second in the middle of the first, which come as ``first`` and ``second``; return how often."""
        count = 0
        for module, number in self.places(modules):
            with self.subTest(module=module.__name__, place=number):
                self.came.clear()
                self.found = interrupt(lambda: first("first"), number, module, lambda: second("second"))
                wanted = {"first", "second"} if self.found else {"first"}
                eventually(lambda wanted=wanted: set(self.came) == wanted, what=f"{wanted}")  # type: ignore[misc]
                self.assertEqual(len(wanted), len(self.came))
                self.assertTrue(self.one.alive)
                count += self.found
        return count

    def test_two_sends_on_one_connection(self) -> None:
        self.open(tls=False)
        self.assertGreater(self.check(self.send, self.send), 20)

    def test_two_sends_in_tls(self) -> None:
        self.open(tls=True)
        self.assertGreater(self.check(self.send, self.send), 20)

    def test_a_send_and_a_broadcast(self) -> None:
        self.open(tls=False)
        self.assertGreater(self.check(self.send_back, self.broadcast), 20)
        self.assertGreater(self.check(self.broadcast, self.send_back), 10)

    def test_a_send_while_a_reply_is_waited_for(self) -> None:
        for tls in (False, True):
            with self.subTest(tls=tls):
                self.open(tls)
                self.assertGreater(self.check(self.ask, self.send), 20)

    def test_a_deferred_message_is_sent_right_behind_the_interrupted_one(self) -> None:
        self.open(tls=False)
        for module, number in self.places((ezez_ws.websocket.outbox,)):
            self.came.clear()
            sent: list[Any] = []
            self.found = interrupt(
                lambda: self.send("first"),
                number,
                module,
                lambda: sent.append(self.one.send("at server", ["second"])),  # noqa: B023
            )
            self.send("third")
            eventually(lambda: "third" in self.came)
            if self.found:
                self.assertEqual(["first", "second", "third"], self.came)
                self.assertTrue(sent[0])
                self.assertIsNotNone(sent[0].event_id)

    def test_a_request_to_close_in_the_middle_of_a_start_closes(self) -> None:
        for module, number in self.places((ezez_ws.server, ezez_ws.server_run)):
            server: Any = self.make()
            begun: list[bool] = []

            def close(server: Any = server, begun: list[bool] = begun) -> None:
                begun.append(server._EZEZWebsocketServer__starting._is_owned() or server.listener is not None)
                server.request_close()

            self.found = interrupt(server.start, number, module, close)
            if begun == [True]:
                eventually(lambda server=server: server.listener is None, what="it closes")  # type: ignore[misc]
            server.close()

    def test_running_forever_is_refused(self) -> None:
        self.open(tls=False)
        for act in (self.server.serve_forever, self.one.run_forever):
            refused: list[str] = []

            def run(act: Callable[[], Any] = act, refused: list[str] = refused) -> None:
                try:
                    act()
                except RuntimeError as error:
                    refused.append(str(error))

            self.assertTrue(interrupt(lambda: self.send("first"), 1, ezez_ws.connection.sending, run))
            self.assertEqual(1, len(refused))
        self.assertTrue(self.one.alive)

    def test_waiting_is_refused(self) -> None:
        self.open(tls=False)
        gate = self.gate()
        self.server.on("slow", gate)
        for module, number in self.places((ezez_ws.connection.sending, ezez_ws.connection.inbox)):
            refused: list[str] = []

            def wait() -> None:
                for act in (self.one.send("slow").wait_reply, self.one.wait_closed):
                    try:
                        act(0.001)
                    except RuntimeError as error:
                        refused.append(str(error))  # noqa: B023

            self.found = interrupt(lambda: self.send("first"), number, module, wait)
            if self.found:
                self.assertEqual(["wait_reply()", "wait_closed()"], [text.split()[0] for text in refused])
        gate.open()

    def test_a_disconnect_ends_the_connection_behind_the_interrupted_message(self) -> None:
        for number in itertools.count(1):
            self.open(tls=False)
            found = interrupt(
                lambda: self.send_back("first"), number, ezez_ws.websocket.outbox, lambda: self.side.disconnect(4000)
            )
            if not found:
                break
            eventually(lambda: not self.side.alive)
            eventually(lambda: self.came == ["first"], what="the message that was interrupted")
            self.one.close()
            self.server.close()

    def send(self, what: str) -> None:
        self.one.send("at server", [what])

    def send_back(self, what: str) -> None:
        self.side.send("at client", [what])

    def broadcast(self, what: str) -> None:
        self.assertEqual(1, self.server.broadcast("at client", [what]))

    def ask(self, what: str) -> None:
        self.assertEqual([what], self.one.send("echo", [what]).wait_reply(20).args)
        self.came.append(what)


class DeferredTest(ServingTestCase):
    """What a handler wants of a connection whose lock it has interrupted."""

    def open(self, **options: Any) -> None:
        self.server = self.serve(ping_interval=None, **options)
        self.side, self.raw = self.pair(self.server, receive_buffer=4096)
        self.connection = self.side._ezez_connection

    def test_a_message_without_an_interrupted_sender_goes_out_soon(self) -> None:
        self.open()
        with self.connection.inbox.lock:
            sent = self.side.send("deferred", [1])
            self.assertTrue(sent)
            self.assertIsNone(sent.event_id)
        self.assertEqual(("deferred", [1]), self.raw.read_event()[::2])
        eventually(lambda: sent.event_id == 1)

    def test_a_reply_to_it_can_be_waited_for(self) -> None:
        self.open()
        with self.connection.stream.sending:
            sent = self.side.send("question")
        self.raw.read_event()
        self.raw.send_event("answer", reply_to=1)
        self.assertEqual("answer", sent.wait_reply(10).event)

    def test_where_the_connection_ends_it_was_not_sent(self) -> None:
        self.open()
        with self.connection.stream.sending:
            sent = self.side.send("question")
            self.connection.stream._outbox._abandon()
        eventually(lambda: not sent)
        with self.assertRaises(ezez_ws.ConnectionClosed):
            sent.wait_reply(10)

    def test_too_many_are_refused(self) -> None:
        self.open()
        with self.connection.stream.sending:
            for number in range(1000):
                self.side.send("deferred", [number])
            with self.assertRaisesRegex(RuntimeError, "1000 messages of signal handlers"):
                self.side.send("deferred", [1000])
            self.side.disconnect(4000)  # which is not
        self.assertEqual(list(range(1000)), [self.raw.read_event().args[0] for _ in range(1000)])
        eventually(lambda: not self.side.alive)

    def test_without_room_it_waits_for_room(self) -> None:
        self.open(send_buffer_limit=100_000)
        big = ["x" * 8_000_000]  # more than the kernel takes
        self.side.send("big", big)
        eventually(lambda: self.connection.stream._outbox.waiting_bytes > 100_000, what="a full buffer")
        with self.connection.stream.sending:
            sent = self.side.send("deferred", big)
        self.assertTrue(sent)
        self.assertEqual(["big", "deferred"], [self.raw.read_event().name for _ in range(2)])


@unittest.skipUnless(CAN_INTERRUPT, "a trace function of this Python is not told of each instruction")
class InterruptedDeferralTest(ServingTestCase):
    """What is done with an action that waits while handlers, and their exceptions, go on coming."""

    def setUp(self) -> None:
        super().setUp()
        self.server = self.serve(ping_interval=None, close_timeout=0.1)

    def connect(self) -> None:
        self.side, self.raw = self.pair(self.server, receive_buffer=4096)
        self.connection = self.side._ezez_connection

    def test_an_exception_leaves_no_lock_held_and_no_message_undecided(self) -> None:
        for module in (ezez_ws.connection.deferred, ezez_ws.connection.sending):
            for number in itertools.count(1):
                with self.subTest(module=module.__name__, place=number):
                    self.connect()
                    with self.connection.inbox.lock:
                        sent = self.side.send("deferred")
                    found = interrupt(self.connection.do_deferred, number, module)
                    self.assertFalse(self.connection.stream.sending._is_owned())
                    eventually(lambda: sent.event_id is not None, what="the message")  # noqa: B023
                    self.raw.close()
                if not found:
                    break

    def test_a_deferred_disconnect_survives_an_exception(self) -> None:
        for number in itertools.count(1):
            self.connect()
            with self.connection.inbox.lock:
                self.side.disconnect()
            found = interrupt(self.connection.do_deferred, number, ezez_ws.connection.connection)
            eventually(lambda: not self.side.alive, what="the end")
            self.raw.close()
            if not found:
                break

    def test_a_handler_does_not_wait_for_who_does_what_is_deferred(self) -> None:
        self.connect()
        gate = self.gate()

        def act() -> bool:
            gate()
            self.connection.call_later(1, int)
            return True

        with self.connection.inbox.lock:
            self.connection.defer(act)
        doing = threading.Thread(target=self.connection.do_deferred, daemon=True)
        sent: list[Any] = []
        namespace: dict[str, Any] = {
            "__name__": "ezez_ws.something",
            "lock": janitor._lock,  # which is wanted by what is being done
            "handler": lambda: sent.append(self.side.send("from the handler")),
        }
        exec("def work():\n    with lock: handler()", namespace)
        interrupted = threading.Thread(target=namespace["work"], daemon=True)
        with mock.patch.object(self.connection, "_look_at_deferred", lambda: None):
            doing.start()
            gate.wait_entered()
            interrupted.start()
            eventually(lambda: sent, what="the handler's return")
        gate.open()
        doing.join()
        eventually(lambda: sent[0].event_id == 1)

    def test_nothing_overtakes_what_waits_for_room(self) -> None:
        server = self.serve(ping_interval=None, send_buffer_limit=100_000)
        side, raw = self.pair(server, receive_buffer=4096)
        outbox = side._ezez_connection.stream._outbox
        big = ["x" * 8_000_000]  # more than the kernel takes
        side.send("big", big)
        eventually(lambda: outbox.waiting_bytes > 100_000, what="a full buffer")
        with outbox.lock:
            side.send("deferred", big)
            outbox._limit = outbox.waiting_bytes + 100_000  # room for a small one
        sending = threading.Thread(target=lambda: side.send("small"), daemon=True)
        sending.start()
        self.assertEqual(["big", "deferred", "small"], [raw.read_event().name for _ in range(3)])
        sending.join()


@unittest.skipUnless(CAN_INTERRUPT, "a trace function of this Python is not told of each instruction")
class ClientHandlerTest(ServingTestCase):
    """A handler at each place of what a client does while it has no connection, and of its properties."""

    def test_a_queued_message_is_not_waited_for(self) -> None:
        for module in (ezez_ws.client, ezez_ws.connection.outgoing):
            for number in itertools.count(1):
                client = EZEZWebSocketClient("ws://127.0.0.1:9")
                refused: list[bool] = []

                def wait(client: EZEZWebSocketClient = client, refused: list[bool] = refused) -> None:
                    try:
                        client.send("second").wait_reply(0.001)
                    except (RuntimeError, ReplyTimeout) as error:
                        refused.append(isinstance(error, RuntimeError))

                found = interrupt(lambda: client.send("first"), number, module, wait)  # noqa: B023
                client.close()
                if not found:
                    break
                self.assertEqual([True], refused)

    def test_two_starts_make_one_connection(self) -> None:
        for number in itertools.count(1):
            client = EZEZWebSocketClient("ws://127.0.0.1:9")
            run: list[threading.Thread] = []
            with mock.patch.object(ezez_ws.client, "start_thread", run.append):
                found = interrupt(client.start, number, ezez_ws.client, client.reconnect)
            self.assertEqual(1, len(run))
            if not found:
                break

    def test_counting_what_is_awaited_is_not_disturbed(self) -> None:
        server = self.serve(ping_interval=None)
        client = self.client(server, ping_interval=None)
        kept = client.send("kept", (), print)
        for number in itertools.count(1):
            sent = [client.send("dropped") for _ in range(3)]

            def let_go(sent: list[Any] = sent) -> None:
                sent.clear()
                self.assertEqual(1, client.awaiting_replies_count)

            if not interrupt(lambda: client.awaiting_replies_count, number, ezez_ws.connection.replies, let_go):
                break
        self.assertTrue(kept)


class TimerTest(EZEZTestCase):
    def test_a_timer_set_on_the_timers_own_thread_in_the_middle_of_its_work_is_kept(self) -> None:
        done = threading.Event()
        janitor = Janitor()
        take_due = janitor._take_due
        inside: list[Any] = []

        def interrupted() -> Any:
            if not inside:
                inside.append(janitor.call_later(0.01, done.set))  # as a destructor does
            return take_due()

        janitor.enter(self)
        self.addCleanup(janitor.leave, self)
        with mock.patch.object(janitor, "_take_due", interrupted):
            janitor.call_later(60, int)
            self.assertTrue(done.wait(10))


class DetectionTest(EZEZTestCase):
    def test_a_call_is_no_interruption(self) -> None:
        self.assertFalse(interrupts_library())

    def test_what_a_marked_function_calls_is_none(self) -> None:
        seen: list[bool] = []
        namespace: dict[str, Any] = {"__name__": "ezez_ws.something", "call": lambda: seen.append(interrupts_library())}
        exec("def marked(): call()\ndef not_marked(): call()", namespace)
        calls_user_code(namespace["marked"])()
        namespace["not_marked"]()
        self.assertEqual([False, True], seen)

    def test_what_a_marked_function_calls_inside_an_interruption_is_one(self) -> None:
        seen: list[bool] = []
        namespace: dict[str, Any] = {"__name__": "ezez_ws.something", "call": lambda: seen.append(interrupts_library())}
        exec("def marked(): call()", namespace)
        marked = calls_user_code(namespace["marked"])
        namespace = {"__name__": "ezez_ws.something", "handler": lambda: marked()}
        exec("def interrupted(): handler()", namespace)
        namespace["interrupted"]()
        self.assertEqual([True], seen)


class StormTest(EZEZTestCase):
    @allow_seconds(140)
    def test_any_pair_of_calls(self) -> None:
        printed, _ = run_script(PAIRS, "20", timeout=130)
        self.assertRegex(printed, r"handlers [1-9]\d{2,} refused [1-9]\d* alive True True")

    @allow_seconds(90)
    def test_closing_in_the_middle_of_anything(self) -> None:
        printed, _ = run_script(CLOSES, "30", timeout=80)
        self.assertEqual("left []\n", printed)


if __name__ == "__main__":
    unittest.main()
