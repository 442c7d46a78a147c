"""The client loses its connection: what it does then, and what becomes of messages, listeners and waiters."""

import contextlib
import itertools
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any

from ezez_ws import (
    AuthRejected,
    ConnectionClosed,
    EZEZServerClient,
    EZEZWebSocketClient,
    NotConnected,
    QueueFull,
    ReplyTimeout,
    SentMessage,
)
from ezez_ws.messages.protocol import AUTH_REJECTED
from tests.dialing import DialingTestCase, inner
from tests.rawpeer import RawPeer, RawServer
from tests.serving import Gate, Result, ServingTestCase
from tests.support import REPO, allow_seconds, eventually, free_port, switch_interval


class ReconnectTest(DialingTestCase):
    def come_back(self, client: EZEZWebSocketClient, server: RawServer) -> RawPeer:
        peer = self.accept(server)
        client.connect()
        return peer

    def test_a_lost_connection_is_made_anew_and_everything_is_told_in_order(self) -> None:
        client, peer, server = self.meet(**self.recorded())
        peer.close()
        self.come_back(client, server)
        wanted = [("connect",), ("auth_ok",), ("disconnect", 1006, ""), ("connect",), ("auth_ok",)]
        self.assertEqual(self.calls.wait(5), wanted)

    def test_every_close_code_of_the_server_leads_to_a_new_connection(self) -> None:
        client, peer, server = self.meet(**self.recorded())
        codes = [1000, 1001, 1005, 1008, 1011, 1012, 4000]
        for code in codes:
            peer.send_close(code)
            self.assertEqual(peer.read_end().code, code)
            peer.close()
            peer = self.come_back(client, server)
        self.calls.wait(2 + 3 * len(codes))
        self.assertEqual([call[1] for call in self.calls.seen if call[0] == "disconnect"], codes)

    def test_ids_start_anew_on_a_new_connection(self) -> None:
        client, peer, server = self.meet()
        self.assertEqual([client.send("x").event_id, client.send("x").event_id], [1, 2])
        peer.close()
        peer = self.come_back(client, server)
        self.assertEqual(client.send("y").event_id, 1)
        self.assertEqual(peer.read_event(), ("y", (1, None), []))

    def test_listeners_outlive_a_reconnect(self) -> None:
        client, peer, server = self.meet()
        client.on("x", lambda args, reply, ids: reply("always"))
        client.once("x", lambda args, reply, ids: reply("once"))
        peer.close()
        for names in (["always", "once"], ["always"]):
            peer = self.come_back(client, server)
            peer.send_event("x")
            self.assertEqual([peer.read_event().name for _ in names], names)
            peer.close()

    def test_waiters_do_not_outlive_a_lost_connection(self) -> None:
        client, peer, server = self.meet(**self.recorded())
        sent = [client.send("ask"), client.send("ask", on_reply=self.calls.named("on_reply"))]
        waiting = [Result(each.wait_reply) for each in sent]
        eventually(lambda: client.awaiting_replies_count == 2)
        peer.send_close(1001, "restart")
        peer.close()
        for each in waiting:
            with self.assertRaises(ConnectionClosed) as caught:
                each.get()
            self.assertEqual((caught.exception.code, caught.exception.reason), (1001, "restart"))
        peer = self.come_back(client, server)
        self.assertEqual(client.awaiting_replies_count, 0)
        peer.send_event("late", reply_to=1)
        client.send("x")
        peer.read_event()
        self.assertNotIn(("on_reply",), self.calls.seen)
        with self.assertRaises(ConnectionClosed):
            sent[0].wait_reply(timeout=5)

    def test_a_reply_that_had_come_is_still_returned_after_the_loss(self) -> None:
        client, peer, server = self.meet()
        sent = client.send("ask")
        peer.send_event("answer", [1], reply_to=1)
        peer.close()
        self.come_back(client, server)
        self.assertEqual(sent.wait_reply(timeout=0).args, [1])

    def test_a_reply_function_of_an_old_connection_sends_nothing_on_the_new_one(self) -> None:
        client, peer, server = self.meet()
        replies: queue.SimpleQueue[Any] = queue.SimpleQueue()
        client.on("ask", lambda args, reply, ids: replies.put(reply))
        peer.send_event("ask")
        reply = replies.get(timeout=10)
        peer.close()
        eventually(lambda: not client.alive)
        late = [reply("late")]
        peer = self.come_back(client, server)
        late.append(reply("late"))
        for sent in late:
            self.assertFalse(sent)
            self.assertIsNone(sent.event_id)
            with self.assertRaises(ConnectionClosed):
                sent.wait_reply()
        client.send("x")
        self.assertEqual(peer.read_event(), ("x", (1, None), []))

    def test_a_listener_that_outlasts_its_connection_does_not_keep_the_client_from_ending(self) -> None:
        client, peer, server = self.meet()
        gate = Gate()
        self.addCleanup(gate.open)
        client.on("block", gate)
        peer.send_event("block")
        gate.wait_entered()
        peer.close()
        sent = client.send("x")
        gate.open()
        peer = self.come_back(client, server)
        self.assertTrue(sent)
        eventually(lambda: not inner(client, "queue"))

    def test_there_is_no_new_connection_after_close(self) -> None:
        client, peer, server = self.meet(reconnect_delay=0.3, reconnect_delay_max=0.3, **self.recorded())
        peer.close()
        self.calls.wait(3)
        client.close()
        server.sock.settimeout(0.4)
        with self.assertRaises(socket.timeout):
            server.accept_socket()

    def test_there_is_no_new_connection_after_auth_rejected_on_a_reconnect(self) -> None:
        client, peer, server = self.meet(**self.recorded())
        peer.close()
        peer = self.accept(server, auth=False)
        peer.read_auth()
        peer.send_values(AUTH_REJECTED, "no more")
        peer.send_close(1008, "no more")
        peer.close()
        self.assertTrue(client.wait_closed(10))
        self.assertEqual(self.calls.seen[-2:], [("auth_rejected", "no more"), ("disconnect", 1008, "no more")])
        waiting = Result(client.connect)
        peer = self.accept(server, auth=False)
        peer.read_auth()
        peer.send_values(AUTH_REJECTED, "still not")
        peer.close()
        with self.assertRaisesRegex(AuthRejected, "still not"):
            waiting.get()

    def test_there_is_no_new_connection_without_auto_reconnect(self) -> None:
        client, peer, server = self.meet(auto_reconnect=False, **self.recorded())
        peer.close()
        self.assertTrue(client.wait_closed(10))
        self.assertEqual(self.calls.seen[-1], ("disconnect", 1006, ""))
        self.assertEqual([thread for thread in threading.enumerate() if "ezez-client" in thread.name], [])
        client.start()
        self.come_back(client, server)
        self.assertTrue(client.alive)

    def test_the_delay_grows_up_to_its_maximum(self) -> None:
        server = self.listen()
        client = self.make(server.url, reconnect_delay=0.1, reconnect_delay_max=0.4)
        client.start()
        gaps = self.gaps(server, 5)
        # with jitter each is half of what it would be, at least; above it is whatever the machine takes
        for gap, delay in zip(gaps, (0.1, 0.2, 0.4, 0.4), strict=False):
            self.assertGreater(gap, delay * 0.45)
            self.assertLess(gap, delay + 2)

    def test_the_delay_starts_anew_after_a_success(self) -> None:
        server = self.listen()
        client = self.make(server.url, reconnect_delay=0.05, reconnect_delay_max=30.0)
        client.start()
        self.gaps(server, 6)
        peer = self.come_back(client, server)  # after 0.8 to 1.6 seconds
        peer.close()
        started = time.monotonic()
        self.come_back(client, server)
        self.assertLess(time.monotonic() - started, 1.4)  # else it were 1.6 at least

    def gaps(self, server: RawServer, count: int) -> list[float]:
        """Hang up on so many attempts; return the seconds between them."""
        times = []
        for _ in range(count):
            server.accept_socket().close()
            times.append(time.monotonic())
        return [later - earlier for earlier, later in itertools.pairwise(times)]

    def test_attempts_that_fail_are_told_to_on_error_each(self) -> None:
        server = self.listen()
        client = self.make(server.url, **self.recorded())
        client.start()
        self.gaps(server, 3)
        self.come_back(client, server)
        self.assertEqual(self.calls.wait(5), [("error", "ConnectionFailed")] * 3 + [("connect",), ("auth_ok",)])

    def test_http_refusals_are_tried_again_in_the_background(self) -> None:
        server = self.listen()
        client = self.make(server.url)
        client.start()
        for _ in range(2):
            server.refuse(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
        self.come_back(client, server)
        self.assertTrue(client.alive)

    def test_connect_waits_for_a_reconnect_that_is_under_way(self) -> None:
        client, peer, server = self.meet()
        peer.close()
        eventually(lambda: not client.alive)
        waiting = Result(client.connect)
        self.accept(server)
        waiting.get()
        self.assertTrue(client.alive)


class QueueTest(DialingTestCase):
    def test_what_is_sent_between_two_connections_goes_out_on_the_second_before_all_else(self) -> None:
        client, peer, server = self.meet()
        peer.close()
        eventually(lambda: not client.alive)
        for number in range(100):
            client.send("queued", [number])
        peer = self.accept(server)
        client.connect()
        client.send("after")
        names = [peer.read_event() for _ in range(101)]
        self.assertEqual([event.args for event in names], [[number] for number in range(100)] + [[]])
        self.assertEqual([event.ids.event_id for event in names], list(range(1, 102)))

    def test_messages_of_the_callbacks_while_the_client_is_not_ready_are_queued(self) -> None:
        server = self.listen()
        sent: list[SentMessage] = []
        clients: list[EZEZWebSocketClient] = []

        def send_from(name: str) -> None:
            sent.append(clients[0].send(f"from {name}"))

        client = self.make(
            server.url,
            on_connect=lambda: send_from("on_connect"),
            on_disconnect=lambda code, reason: send_from("on_disconnect"),
        )
        clients.append(client)
        client.start()
        peer = self.accept(server)
        self.assertEqual(peer.read_event().name, "from on_connect")
        peer.close()
        peer = self.accept(server)
        self.assertEqual([peer.read_event().name for _ in range(2)], ["from on_disconnect", "from on_connect"])
        client.connect()
        self.assertEqual([each.event_id for each in sent], [1, 1, 2])

    def test_queued_messages_outlive_connections_that_are_lost_before_the_authentication(self) -> None:
        server = self.listen()
        client = self.make(server.url)
        sent = client.send("queued")
        client.start()
        waiting = Result(sent.wait_reply)
        for _ in range(3):
            peer = self.accept(server, auth=False)
            peer.read_auth()
            peer.close()
        peer = self.accept(server)
        asked = peer.read_event()
        peer.send_event("answer", reply_to=asked.ids.event_id)
        self.assertEqual(waiting.get().event, "answer")

    def test_a_queued_message_is_bounded_in_time_only_by_the_timeout_given(self) -> None:
        client = self.make(f"ws://127.0.0.1:{free_port()}", clear_awaiting_replies_after=0.05)
        sent = client.send("queued")
        client.start()
        with self.assertRaises(ReplyTimeout):
            sent.wait_reply(timeout=0.2)
        self.assertTrue(sent)

    def test_a_queue_that_a_dying_connection_does_not_take_waits_for_the_next_one_in_order(self) -> None:
        server = self.listen()
        client = self.make(server.url, queue_limit_bytes=64 << 20, send_buffer_limit=1000)
        sent = [client.send("queued", [number, b"x" * 1000000]) for number in range(40)]
        client.start()
        first = self.accept(server)
        got = [first.read_event().args[0] for _ in range(3)]
        first.close()
        second = self.accept(server)
        client.send("queued", [40])
        rest: list[int] = []
        while not rest or rest[-1] != 40:
            rest.append(second.read_event().args[0])
        self.assertEqual(got, [0, 1, 2])
        self.assertEqual(rest, list(range(rest[0], 41)))
        self.assertGreaterEqual(rest[0], 3)
        self.assertLess(rest[0], 39)  # most was never handed over, and so is not lost
        self.assertEqual([each.event_id for each in sent[rest[0] :]], list(range(1, 41 - rest[0])))
        for each in sent[: rest[0]]:
            with self.assertRaises(ConnectionClosed):
                each.wait_reply(timeout=5)

    def test_close_ends_all_messages_of_a_queue_that_is_going_out(self) -> None:
        server = self.listen()
        client = self.make(server.url, queue_limit_bytes=64 << 20, send_buffer_limit=1000, close_timeout=0.3)
        sent = [client.send("queued", [b"x" * 1000000]) for _ in range(20)]
        client.start()
        self.accept(server)
        eventually(lambda: (stream := client.client) is not None and not stream._connection.stream.has_room(1))
        client.close()
        for each in sent:
            with self.assertRaises(ConnectionClosed):
                each.wait_reply(timeout=0)

    def test_nothing_overtakes_the_queue(self) -> None:
        for _ in range(5):
            server = self.listen()
            client = self.make(server.url, queue_limit_bytes=1 << 30)  # a busy machine connects late
            for number in range(300):
                client.send("x", [number])
            client.start()
            go_on = threading.Event()
            go_on.set()

            def keep_sending(client: EZEZWebSocketClient, go_on: threading.Event) -> int:
                for number in itertools.count(300):
                    client.send("x", [number])
                    if not go_on.is_set():
                        return number
                raise AssertionError

            with switch_interval():
                sending = Result(keep_sending, client, go_on)
                peer = self.accept(server)
                got = [peer.read_event().args[0] for _ in range(600)]
                go_on.clear()
                last = sending.get()
                while got[-1] < last:
                    got.append(peer.read_event().args[0])
            self.assertEqual(got, list(range(last + 1)))
            peer.close()
            client.close()


class GreetingTest(DialingTestCase):
    """What is sent inside ``on_auth_ok``, and inside ``on_connect`` without authentication, is there first."""

    def greet(self, greeting: Any, **options: Any) -> tuple[EZEZWebSocketClient, RawServer]:
        """A client with a queue, whose greeting is called with it."""
        server = self.listen()
        name = "on_connect" if options.get("auth", "") is None else "on_auth_ok"
        clients: list[EZEZWebSocketClient] = []
        clients.append(self.make(server.url, **options, **{name: lambda: greeting(clients[0])}))
        clients[0].send("queued")
        clients[0].start()
        return clients[0], server

    def test_what_the_greeting_sends_goes_out_before_the_queue_at_each_connection(self) -> None:
        for auth in ("secret", None):
            with self.subTest(auth=auth):
                client, server = self.greet(lambda client: client.send("join"), auth=auth)
                for number in range(2):
                    peer = self.accept(server, auth is not None)
                    self.assertEqual([peer.read_event().name for _ in range(2)], ["join", "queued"])
                    peer.close()
                    if number == 0:
                        eventually(lambda: not client.alive)  # noqa: B023
                        client.send("queued")
                client.close()

    def test_what_other_threads_send_meanwhile_goes_out_after_the_queue(self) -> None:
        gate = Gate()
        self.addCleanup(gate.open)

        def greeting(client: EZEZWebSocketClient) -> None:
            self.assertEqual(client.send("join").event_id, 1)
            gate()
            client.send("join", [2])

        client, server = self.greet(greeting)
        peer = self.accept(server)
        gate.wait_entered()
        self.assertTrue(client.alive)
        sent = client.send("from elsewhere")
        self.assertIsNone(sent.event_id)
        gate.open()
        names = [peer.read_event().name for _ in range(4)]
        self.assertEqual(names, ["join", "join", "queued", "from elsewhere"])

    def test_the_greeting_can_wait_for_a_reply_and_listeners_answer_meanwhile(self) -> None:
        got: queue.SimpleQueue[Any] = queue.SimpleQueue()
        client, server = self.greet(lambda client: got.put(client.send("join").wait_reply(10).args))
        client.on("who", lambda args, reply, ids: client.send("me"))
        peer = self.accept(server)
        self.assertEqual(peer.read_event().name, "join")
        peer.send_event("who")
        self.assertEqual(peer.read_event().name, "me")
        peer.send_event("joined", [5], reply_to=1)
        self.assertEqual(got.get(timeout=10), [5])
        self.assertEqual(peer.read_event().name, "queued")

    def test_connect_returns_when_the_greeting_has_and_the_queue_is_out(self) -> None:
        gate = Gate()
        self.addCleanup(gate.open)
        client, server = self.greet(gate)
        self.accept(server)
        connecting = Result(client.connect, 30)
        gate.wait_entered()
        self.assertFalse(connecting.done)
        gate.open()
        connecting.get()
        self.assertEqual(client.send("x").event_id, 2)

    def test_connect_returns_at_its_timeout_where_the_greeting_has_not(self) -> None:
        gate = Gate()
        self.addCleanup(gate.open)
        client, server = self.greet(gate)
        peer = self.accept(server)
        gate.wait_entered()
        client.connect(0.05)
        self.assertTrue(client.alive)
        self.assertTrue(client.send_json("at once"))
        client.send("x")
        gate.open()
        peer.read_message()
        self.assertEqual([peer.read_event().name for _ in range(2)], ["queued", "x"])

    def test_without_a_queue_other_threads_can_send_while_it_runs(self) -> None:
        for mode in ("raise", "ignore"):
            with self.subTest(mode):
                server, gate = self.listen(), Gate()
                self.addCleanup(gate.open)
                client = self.make(server.url, send_when_not_connected=mode, on_auth_ok=gate, close_timeout=0.2)
                client.start()
                peer = self.accept(server)
                gate.wait_entered()
                self.assertEqual(client.send("x").event_id, 1)
                self.assertEqual(peer.read_event().name, "x")
                gate.open()
                client.close()

    def test_what_the_greeting_sends_to_a_connection_that_is_gone_is_queued(self) -> None:
        gate = Gate()
        self.addCleanup(gate.open)
        left: list[SentMessage] = []

        def greeting(client: EZEZWebSocketClient) -> None:
            if not left:
                gate()
                left.append(client.send("late"))

        client, server = self.greet(greeting)
        peer = self.accept(server)
        gate.wait_entered()
        peer.close()
        eventually(lambda: not client.alive)
        gate.open()
        peer = self.accept(server)
        self.assertEqual([peer.read_event().name for _ in range(2)], ["queued", "late"])
        self.assertEqual(left[0].event_id, 2)


class StressTest(DialingTestCase):
    """Threads send while the connection goes up and down."""

    def setUp(self) -> None:
        super().setUp()
        self.lock = threading.Lock()
        self.got: dict[tuple[int, int], list[int]] = {}  # by sender and connection
        self.count = 0

    def receive(self, client: EZEZServerClient, event: str, args: Any, reply: Any, ids: Any) -> None:
        """Note a message, and now and then end its connection, in turn in each of three ways."""
        if event == "end":
            reply("end")
            return
        sender, number = args
        with self.lock:
            self.got.setdefault((sender, client.connection_id), []).append(number)
            self.count += 1
            turn = self.count
        if turn % 50 == 0:
            way = turn // 50 % 3
            if way == 0:
                client.disconnect(1001)
            elif way == 1:
                client.client._connection.cut()
            else:
                client.disconnect(4000)
                client.client._connection.cut()

    def send(self, client: EZEZWebSocketClient, sender: int, count: int) -> set[int]:
        """Send so many messages; return the numbers of those that may not arrive."""
        refused = set()
        for number in range(count):
            try:
                if not client.send("x", [sender, number]):
                    refused.add(number)
            except (NotConnected, QueueFull):
                refused.add(number)
            if number % 10 == 9:
                self.is_over(client)  # else one connection would take everything, and lose it
        return refused

    def stress(self, mode: str, threads: int = 4, count: int = 400) -> list[set[int]]:
        server = self.serve(on_message=self.receive, close_timeout=1.0)
        client = self.make(server.url, send_when_not_connected=mode, reconnect_delay=0.001, reconnect_delay_max=0.002)
        client.connect()
        with switch_interval():
            sending = [Result(self.send, client, sender, count) for sender in range(threads)]
            refused = [each.get(50) for each in sending]
        eventually(lambda: self.is_over(client), 30, "the server has everything")
        return refused

    def is_over(self, client: EZEZWebSocketClient) -> bool:
        try:
            client.send("end").wait_reply(timeout=5)
            return len(inner(client, "queue")) == 0
        except (ConnectionClosed, NotConnected, ReplyTimeout):
            return False

    def check(self, refused: list[set[int]], count: int = 400) -> None:
        for numbers in self.got.values():
            # the listeners of a connection that was lost may still be at work beside those of the next
            self.assertEqual(numbers, sorted(numbers), "in order")
        for sender, not_sent in enumerate(refused):
            arrived = [number for (by, _), numbers in self.got.items() if by == sender for number in numbers]
            self.assertEqual(len(arrived), len(set(arrived)), "at most once")
            self.assertFalse(not_sent & set(arrived), "what was refused was delivered")
            self.assertTrue(all(number < count for number in arrived))

    @allow_seconds(120)
    def test_with_queue_nothing_is_refused_and_everything_comes_in_order_at_most_once(self) -> None:
        refused = self.stress("queue")
        self.assertEqual(refused, [set()] * 4)
        self.check(refused)
        self.assertGreaterEqual(self.count, 400)

    @allow_seconds(120)
    def test_with_ignore_what_was_falsy_does_not_come_and_the_rest_in_order_at_most_once(self) -> None:
        self.check(self.stress("ignore"))

    @allow_seconds(120)
    def test_with_raise_what_was_raised_does_not_come_and_the_rest_in_order_at_most_once(self) -> None:
        self.check(self.stress("raise"))

    @allow_seconds(120)
    def test_the_greeting_comes_first_on_each_connection_and_the_queue_before_the_rest(self) -> None:
        first: dict[int, str] = {}

        def receive(client: EZEZServerClient, event: str, args: Any, reply: Any, ids: Any) -> None:
            first.setdefault(client.connection_id, event)
            if event == "join":
                reply("joined")
            else:
                self.receive(client, event, args, reply, ids)

        def greet() -> None:
            with contextlib.suppress(ConnectionClosed):
                client.send("join").wait_reply(10)

        server = self.serve(on_message=receive, close_timeout=1.0)
        client: EZEZWebSocketClient = self.make(
            server.url, on_auth_ok=greet, reconnect_delay=0.001, reconnect_delay_max=0.002
        )
        client.connect()
        with switch_interval():
            refused = [each.get(50) for each in [Result(self.send, client, sender, 200) for sender in range(4)]]
        eventually(lambda: self.is_over(client), 30, "the server has everything")
        self.assertEqual(refused, [set()] * 4)
        self.check(refused)
        self.assertGreater(len(first), 5)
        self.assertEqual(set(first.values()), {"join"})

    @allow_seconds(120)
    def test_every_waiter_gets_its_own_reply_or_hears_of_the_loss(self) -> None:
        server = self.serve(on_message=self.echo, close_timeout=1.0)
        client = self.make(server.url, reconnect_delay=0.001, reconnect_delay_max=0.002)
        client.connect()
        with switch_interval():
            asking = [Result(self.ask, client, sender) for sender in range(4)]
            outcomes = [each.get(50) for each in asking]
        self.assertEqual([wrong for _, wrong in outcomes], [[]] * 4)
        self.assertGreater(sum(answered for answered, _ in outcomes), 100)
        self.assertEqual(client.awaiting_replies_count, 0)

    def echo(self, client: EZEZServerClient, event: str, args: Any, reply: Any, ids: Any) -> None:
        reply("echo", args)
        with self.lock:
            self.count += 1
            turn = self.count
        if turn % 25 == 0:
            client.client._connection.cut()

    def ask(self, client: EZEZWebSocketClient, sender: int) -> tuple[int, list[Any]]:
        answered = 0
        wrong: list[Any] = []
        for number in range(100):
            try:
                args = client.send("ask", [sender, number]).wait_reply(timeout=30).args
            except ConnectionClosed:
                continue
            except BaseException as error:
                wrong.append((number, repr(error)))
                continue
            answered += 1
            if args != [sender, number]:
                wrong.append((number, args))
        return answered, wrong


_SERVER = """
import sys
from ezez_ws import EZEZWebsocketServer

server = EZEZWebsocketServer(
    port=int(sys.argv[1]),
    on_auth_request=lambda client, key: key == "secret",
    on_message=lambda client, event, args, reply, ids: reply(event, args),
)
server.start()
print(server.port, flush=True)
sys.stdin.read()
server.close()
"""


class KilledServerTest(DialingTestCase):
    def start_server(self, port: int = 0) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", _SERVER, str(port)],
            cwd=REPO,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        self.addCleanup(process.__exit__, None, None, None)
        self.addCleanup(process.kill)
        assert process.stdout is not None
        self.port = int(process.stdout.readline())
        return process

    def test_after_a_kill_and_a_restart_the_client_is_back_and_its_queue_out_in_order_once(self) -> None:
        echoes: queue.SimpleQueue[Any] = queue.SimpleQueue()
        left: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        process = self.start_server()
        client = self.make(f"ws://127.0.0.1:{self.port}", on_disconnect=lambda code, reason: left.put(code))
        client.on("x", lambda args, reply, ids: echoes.put(args[0]))
        client.connect()
        for _ in range(2):
            client.send("x", ["before"])
            self.assertEqual(echoes.get(timeout=10), "before")
            process.send_signal(signal.SIGKILL)
            process.wait()
            self.assertEqual(left.get(timeout=10), 1006)
            queued = [client.send("x", [number]) for number in range(200)]
            process = self.start_server(self.port)
            self.assertEqual([echoes.get(timeout=20) for _ in range(200)], list(range(200)))
            self.assertEqual([each.event_id for each in queued], list(range(1, 201)))
        client.send("x", ["after"])
        self.assertEqual(echoes.get(timeout=10), "after")
        self.assertTrue(echoes.empty())


class ConnectAgainTest(ServingTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.server = self.serve()
        self.server.on("bye", lambda client, args, reply, ids: client.disconnect(1000))

    def lose(self, client: EZEZWebSocketClient) -> None:
        with self.assertRaises(ConnectionClosed):
            client.send("bye").wait_reply(10)

    def test_connect_right_after_a_loss_connects_again(self) -> None:
        for _ in range(30):
            client = self.client(self.server, auto_reconnect=False)
            self.lose(client)
            client.connect()
            self.assertTrue(client.alive)
            client.close()

    def test_connect_after_a_loss_connects_again_though_a_listener_keeps_the_thread_from_noticing_it(self) -> None:
        stays = Gate()
        self.server.on("stay", lambda client, args, reply, ids: client.send("stay"))
        client = self.client(self.server, auto_reconnect=False)
        self.addCleanup(stays.open)
        client.on("stay", lambda args, reply, ids: stays())
        client.send("stay")
        stays.wait_entered()
        self.lose(client)
        client.connect()
        self.assertTrue(client.alive)

    def test_start_right_after_a_loss_connects_again(self) -> None:
        for _ in range(30):
            client = self.client(self.server, auto_reconnect=False)
            self.lose(client)
            client.start()
            eventually(lambda: client.alive)  # noqa: B023
            client.close()

    def test_start_inside_on_disconnect_connects_again(self) -> None:
        lost: list[int] = []

        def on_disconnect(code: int, reason: str) -> None:
            lost.append(code)
            if len(lost) == 1:
                client.start()

        client = self.client(self.server, auto_reconnect=False, on_disconnect=on_disconnect)
        self.lose(client)
        eventually(lambda: lost and client.alive)
        client.close()
