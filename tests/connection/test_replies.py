"""Replies: callbacks and waiters, nesting, the reading role, limits, and what happens when the connection goes."""

import contextlib
import gc
import random
import re
import threading
import time
import unittest
import weakref
from typing import Any

from ezez_ws import (
    ConnectionClosed,
    EZEZServerClient,
    EZEZWebSocketClient,
    Ids,
    ReplyTimeout,
    SendTimeout,
    SentMessage,
    SerializationError,
    TooManyReplies,
)
from ezez_ws.connection.connection import MAX_NESTING
from ezez_ws.connection.replies import ReplyTable
from ezez_ws.websocket.frames import BINARY, PONG
from ezez_ws.websocket.stream import Ending
from tests.rawpeer import RawPeer
from tests.serving import KEY, Calls, Result, ServingTestCase
from tests.support import EZEZTestCase, allow_seconds, eventually, switch_interval


class WhoGetsAReplyTest(ServingTestCase):
    def test_on_message_then_on_reply_and_no_listener_get_a_reply_with_on_reply(self) -> None:
        calls = Calls()
        server = self.serve(on_message=calls.named("on_message", 1, 2, 4))
        server.on("answer", calls.named("shared"))
        side, peer = self.pair(server)
        side.on("answer", calls.named("own"))
        self.assertTrue(side.send("question", on_reply=calls.named("on_reply", 0, 1, 2, 4)))
        peer.send_event("answer", [1], reply_to=1)
        self.assertEqual(
            [("on_message", "answer", [1], Ids(1, 1)), ("on_reply", side, "answer", [1], Ids(1, 1))], calls.wait(2)
        )
        peer.send_event("answer", [2], reply_to=1)
        names = [call[0] for call in calls.wait(5)]
        self.assertEqual(["on_message", "own", "shared"], names[2:])
        self.assertEqual(0, side.awaiting_replies_count)

    def test_without_on_reply_the_listeners_get_a_reply_whether_a_thread_waits_or_not(self) -> None:
        for wait in (False, True):
            with self.subTest(wait=wait):
                calls = Calls()
                server = self.serve(on_message=calls.named("on_message"))
                server.on("answer", calls.named("shared"))
                side, peer = self.pair(server)
                side.on("answer", calls.named("own"))
                sent = side.send("question")
                waiting = self.in_thread(sent.wait_reply, 10) if wait else None
                if wait:
                    eventually(lambda side=side: side.awaiting_replies_count == 1)  # type: ignore[misc]
                peer.send_event("answer", [1], reply_to=1)
                self.assertEqual([("on_message",), ("own",), ("shared",)], calls.wait(3))
                if waiting is not None:
                    self.assertEqual([1], waiting.get().args)

    def test_a_waiter_and_on_reply_both_get_it(self) -> None:
        calls = Calls()
        side, peer = self.pair(self.serve())
        sent = side.send("question", on_reply=calls.named("on_reply", 2))
        peer.send_event("answer", [1], reply_to=1)
        self.assertEqual([1], sent.wait_reply(10).args)
        self.assertEqual([("on_reply", [1])], calls.wait())

    def test_a_callback_that_counts_as_false_is_called_all_the_same(self) -> None:
        class Recorder(list[Any]):
            def __call__(self, *args: Any) -> None:
                self.append(args[2])
                called.set()

        called, on_reply = threading.Event(), Recorder()
        side, peer = self.pair(self.serve())
        side.send("question", on_reply=on_reply)
        peer.send_event("answer", [1], reply_to=1)
        self.assertTrue(called.wait(10))
        self.assertEqual([[1]], on_reply)

    def test_a_reply_to_a_message_that_was_never_sent_goes_to_the_listeners(self) -> None:
        calls = Calls()
        server = self.serve()
        server.on("answer", calls.named("shared", 1, 3))
        _, peer = self.pair(server)
        peer.send_event("answer", [1], reply_to=99)
        self.assertEqual([("shared", [1], Ids(1, 99))], calls.wait())

    def test_whoever_keeps_the_message_can_ask_later(self) -> None:
        calls = Calls()
        server = self.serve()
        server.on("answer", calls.named("answer"))
        side, peer = self.pair(server)
        sent = side.send("question")
        peer.send_event("answer", [1], reply_to=1)
        calls.wait()
        self.assertEqual([1], sent.wait_reply(0).args)
        peer.sock.close()
        eventually(lambda: not side.alive)
        self.assertEqual([1], sent.wait_reply(0).args)

    def test_a_second_call_and_other_threads_get_the_same_reply(self) -> None:
        side, peer = self.pair(self.serve())
        sent = side.send("question")
        waiting = [self.in_thread(sent.wait_reply, 10) for _ in range(5)]
        eventually(lambda: side.awaiting_replies_count == 1)
        peer.send_event("answer", [1], reply_to=1)
        peer.send_event("answer", [2], reply_to=1)
        replies = [one.get() for one in waiting] + [sent.wait_reply(), sent.wait_reply(0)]
        self.assertEqual([1], replies[0].args)
        self.assertTrue(all(reply is replies[0] for reply in replies))
        self.assertEqual(0, side.awaiting_replies_count)

    def test_a_conversation_goes_on_through_reply(self) -> None:
        server = self.serve()
        client = self.client(server)
        side = server.clients[0]

        @client.on("question")
        def answer(args: list[Any], reply: Any, ids: Ids) -> None:
            back = reply("answer", [args[0] + 1]).wait_reply(10)
            back.reply("bye", [back.args[0] + 1])

        first = side.send("question", [1]).wait_reply(10)
        self.assertEqual(("answer", [2], 1), (first.event, first.args, first.ids.reply_to))
        second = first.reply("thanks", [3]).wait_reply(10)
        self.assertEqual(("bye", [4]), (second.event, second.args))

    def test_reply_takes_on_reply_too(self) -> None:
        calls = Calls()
        server = self.serve()
        server.on("hello", lambda client, args, reply, ids: reply("hi", [], calls.named("on_reply", 1, 2)))
        _, peer = self.pair(server)
        peer.send_event("hello")
        self.assertEqual(["hi", 1, 1], peer.read_values())
        peer.send_event("and you?", ["x"], reply_to=1)
        self.assertEqual([("on_reply", "and you?", ["x"])], calls.wait())

    def test_on_reply_is_called_once_only(self) -> None:
        calls = Calls()
        server = self.serve()
        server.on("answer", calls.named("listener", 1))
        side, peer = self.pair(server)
        side.send("question", on_reply=calls.named("on_reply", 2))
        for value in range(3):
            peer.send_event("answer", [value], reply_to=1)
        self.assertEqual([("on_reply", [0]), ("listener", [1]), ("listener", [2])], calls.wait(3))

    def test_a_malformed_reply_wakes_nobody_but_by_the_end_of_the_connection(self) -> None:
        side, peer = self.pair(self.serve())
        sent = side.send("question")
        waiting = self.in_thread(sent.wait_reply, 10)
        eventually(lambda: side.awaiting_replies_count)
        peer.send_message(peer.event_bytes("answer", [], 1) + b'5j\0"x:1"\0')
        with self.assertRaises(ConnectionClosed) as caught:
            waiting.get()
        self.assertEqual(1002, caught.exception.code)


class TimeTest(ServingTestCase):
    def test_the_error_names_the_event_and_what_has_passed(self) -> None:
        server = self.serve(clear_awaiting_replies_after=0.2)
        side, _ = self.pair(server)
        with self.assertRaisesRegex(ReplyTimeout, r"^no reply to 'question' \(message 1\) within 0.01 seconds$"):
            side.send("question").wait_reply(0.01)
        with self.assertRaisesRegex(ReplyTimeout, r"^no reply to 'other' \(message 2\) in time$"):
            side.send("other", [1.5]).wait_reply()

    def test_the_error_of_a_queued_message_says_that_it_is_queued_and_why(self) -> None:
        client = EZEZWebSocketClient("ws://127.0.0.1:1", reconnect_delay=60)
        self.addCleanup(client.close)
        sent = client.send("question")
        with self.assertRaisesRegex(
            ReplyTimeout, "^no reply to 'question' within 0 seconds: .* still queued, .* not started$"
        ):
            sent.wait_reply(0)
        client.start()
        why = ".* still queued, as there is no connection: cannot connect to ws://127.0.0.1:1.*refused"

        def text() -> str:
            with self.assertRaises(ReplyTimeout) as caught:
                sent.wait_reply(0.01)
            return str(caught.exception)

        eventually(lambda: re.match(why, text()))

    def test_a_wait_ends_with_its_timeout_and_a_late_reply_can_still_be_waited_for(self) -> None:
        side, peer = self.pair(self.serve())
        sent = side.send("question")
        start = time.monotonic()
        with self.assertRaises(ReplyTimeout) as caught:
            sent.wait_reply(0.1)
        self.assertGreaterEqual(time.monotonic() - start, 0.1)
        self.assertIsInstance(caught.exception, TimeoutError)
        with self.assertRaises(ReplyTimeout):
            sent.wait_reply(0)
        self.assertEqual(0, side.awaiting_replies_count)
        peer.send_event("answer", [1], reply_to=1)
        self.assertEqual([1], sent.wait_reply(10).args)

    def test_a_timeout_that_is_none_is_named(self) -> None:
        side, _ = self.pair(self.serve())
        sent = side.send("question")
        for timeout in ("1", True, -1, float("nan")):
            with self.subTest(timeout=timeout), self.assertRaisesRegex((TypeError, ValueError), "timeout"):
                sent.wait_reply(timeout)  # type: ignore[arg-type]
        peer_free = self.in_thread(sent.wait_reply, float("inf"))
        eventually(lambda: side.awaiting_replies_count)
        side.disconnect()
        with self.assertRaises(ConnectionClosed):
            peer_free.get()

    def test_the_janitor_wakes_waiters_and_forgets_on_reply_when_the_time_is_over(self) -> None:
        calls = Calls()
        server = self.serve(clear_awaiting_replies_after=0.2)
        server.on("answer", calls.named("listener", 1))
        side, peer = self.pair(server)
        sent = side.send("question", on_reply=calls.named("on_reply"))
        plain = side.send("question")
        start = time.monotonic()
        waiting = [self.in_thread(one.wait_reply) for one in (sent, sent, plain)]
        for one in waiting:
            with self.assertRaises(ReplyTimeout):
                one.get()
        self.assertLess(time.monotonic() - start, 1.2)
        self.assertEqual(0, side.awaiting_replies_count)
        peer.send_event("answer", ["late"], reply_to=1)
        peer.send_event("answer", ["late"], reply_to=2)
        self.assertEqual([("listener", ["late"])] * 2, calls.wait(2))
        with self.assertRaises(ReplyTimeout):
            sent.wait_reply(10)
        with self.assertRaises(ReplyTimeout):
            plain.wait_reply(10)

    def test_the_time_is_over_for_a_wait_inside_a_listener_too(self) -> None:
        calls = Calls()
        server = self.serve(clear_awaiting_replies_after=0.2)

        @server.on("start")
        def start(client: EZEZServerClient, args: Any, reply: Any, ids: Ids) -> None:
            try:
                client.send("question").wait_reply()
            except ReplyTimeout:
                calls.add("timeout")

        _, peer = self.pair(server)
        peer.send_event("start")
        calls.wait()

    def test_on_reply_frees_what_it_holds_when_the_time_is_over(self) -> None:
        class Heavy:
            def __call__(self, *_: Any) -> None: ...

        side, _ = self.pair(self.serve(clear_awaiting_replies_after=0.2))
        heavy = Heavy()
        gone = weakref.ref(heavy)
        side.send("question", on_reply=heavy)
        del heavy
        self.assertEqual(1, side.awaiting_replies_count)
        eventually(lambda: gone() is None)
        self.assertEqual(0, side.awaiting_replies_count)

    def test_messages_that_nobody_keeps_cost_nothing(self) -> None:
        side, _ = self.pair(self.serve())
        for _ in range(100):
            side.send("question")
        kept = side.send("question")
        gc.collect()
        with side._ezez_connection.inbox.lock:
            self.assertEqual(1, len(side._ezez_connection.inbox.table))
        self.assertEqual(101, kept.event_id)
        self.assertEqual(0, side.awaiting_replies_count)

    def test_a_connection_that_has_ended_is_freed_before_its_timers_are_due(self) -> None:
        server = self.serve()
        side, peer = self.pair(server)
        side.send("question", on_reply=print)
        gone = weakref.ref(side._ezez_connection)
        del side
        peer.close()
        eventually(lambda: gc.collect() is not None and gone() is None)

    def test_awaiting_replies_count_counts_on_reply_and_messages_that_threads_wait_for(self) -> None:
        side, peer = self.pair(self.serve())
        first, second, third = side.send("a"), side.send("b", on_reply=print), side.send("c")
        self.assertEqual(1, side.awaiting_replies_count)
        waiting = [self.in_thread(one.wait_reply, 10) for one in (first, first, second)]
        eventually(lambda: side.awaiting_replies_count == 2)
        peer.send_event("answer", reply_to=1)
        eventually(lambda: side.awaiting_replies_count == 1)
        with self.assertRaises(ReplyTimeout):
            third.wait_reply(0.05)
        self.assertEqual(1, side.awaiting_replies_count)
        side.disconnect()
        self.assertEqual(0, side.awaiting_replies_count)
        waiting[0].get()
        waiting[1].get()
        with self.assertRaises(ConnectionClosed):
            waiting[2].get()

    def test_wait_reply_inside_a_listener_ends_in_time_while_the_peer_floods(self) -> None:
        took: list[float] = []
        gate = self.gate()

        def listen(client: EZEZServerClient, args: Any, reply: Any, ids: Any) -> None:
            if args:
                gate()
                start = time.monotonic()
                with contextlib.suppress(ReplyTimeout):
                    client.send("ask").wait_reply(0.5)
                took.append(time.monotonic() - start)
            elif not took:
                time.sleep(0.02)

        server = self.serve(ping_interval=None, close_timeout=0.3)
        server.on("event", listen)
        peer = self.peer(server)
        peer.send_event("event", ["first"])
        gate.wait_entered()
        flood = peer.frame(BINARY, peer.event_bytes("event")) * 3000

        def send() -> None:
            with contextlib.suppress(OSError):
                for _ in range(20):
                    peer.send_raw(flood)

        flooding = self.in_thread(send)
        time.sleep(0.3)
        gate.open()
        eventually(lambda: took)
        server.close()
        flooding.get()
        self.assertLess(took[0], 2.0)


class NestingTest(ServingTestCase):
    def test_other_events_run_nested_while_a_listener_waits(self) -> None:
        calls = Calls()
        server = self.serve()

        @server.on("start")
        def start(client: EZEZServerClient, args: Any, reply: Any, ids: Ids) -> None:
            calls.add("start", threading.get_ident())
            answer = client.send("question").wait_reply(10)
            calls.add("end", answer.args)

        server.on("other", lambda *_: calls.add("other", threading.get_ident()))
        _, peer = self.pair(server)
        peer.send_event("start")
        self.assertEqual("question", peer.read_event().name)
        peer.send_event("other")
        calls.wait(2)
        peer.send_event("answer", ["x"], reply_to=1)
        (_, thread), *rest = calls.wait(3)
        self.assertEqual([("other", thread), ("end", ["x"])], rest)

    def nest(self, depth: int) -> tuple[EZEZServerClient, RawPeer, Calls]:
        """Let each ``nest`` event wait for the reply to a question of its own."""
        calls = Calls()
        server = self.serve()

        @server.on("nest")
        def nest(client: EZEZServerClient, args: list[Any], reply: Any, ids: Ids) -> None:
            calls.add("in", args[0])
            try:
                calls.add("out", args[0], client.send("question").wait_reply(args[1] if len(args) > 1 else 30).args)
            except ReplyTimeout:
                calls.add("timeout", args[0])

        side, peer = self.pair(server)
        for level in range(depth):
            peer.send_event("nest", [level])
            peer.read_event()
        return side, peer, calls

    def test_nested_waits_get_their_replies_in_any_order(self) -> None:
        _, peer, calls = self.nest(5)
        for level in range(5):  # the outermost first: each must wait for those inside it to return
            peer.send_event("answer", [level], reply_to=level + 1)
        self.assertEqual([("out", level, [level]) for level in (4, 3, 2, 1, 0)], calls.wait(10)[5:])

    def test_a_reply_that_has_come_is_returned_though_a_nested_listener_outlasts_the_timeout(self) -> None:
        gate = self.gate()
        calls = Calls()
        server = self.serve()

        @server.on("start")
        def start(client: EZEZServerClient, args: Any, reply: Any, ids: Ids) -> None:
            calls.add("end", client.send("question").wait_reply(0.5).args)

        server.on("block", gate)
        _, peer = self.pair(server)
        peer.send_event("start")
        peer.read_event()
        peer.send_event("block")
        peer.send_event("answer", ["x"], reply_to=1)
        gate.wait_entered()
        threading.Event().wait(0.7)
        gate.open()
        self.assertEqual([("end", ["x"])], calls.wait())

    def test_beyond_the_documented_depth_events_stay_in_the_inbox_and_waits_end_by_their_timeout(self) -> None:
        self.assertEqual(32, MAX_NESTING)
        _, peer, calls = self.nest(MAX_NESTING)
        peer.send_event("nest", ["deepest", 0.3])  # it runs, but nothing inside it
        peer.read_event()
        peer.send_event("nest", ["waits", 0.3])
        self.assertEqual(("timeout", "deepest"), calls.wait(MAX_NESTING + 2)[MAX_NESTING + 1])
        peer.read_event()
        self.assertEqual(("in", "waits"), calls.wait(MAX_NESTING + 3)[MAX_NESTING + 2])
        for level in range(MAX_NESTING):
            peer.send_event("answer", [level], reply_to=level + 1)
        ends = calls.wait(2 * MAX_NESTING + 4)[-MAX_NESTING:]
        self.assertEqual([("out", level, [level]) for level in reversed(range(MAX_NESTING))], ends)

    def test_a_reply_at_the_depth_limit_arrives_nevertheless(self) -> None:
        _, peer, calls = self.nest(MAX_NESTING)
        peer.send_event("nest", ["deepest"])
        peer.read_event()
        peer.send_event("nest", ["waits", 0.1])
        peer.send_event("answer", ["x"], reply_to=MAX_NESTING + 1)
        self.assertIn(("out", "deepest", ["x"]), calls.wait(MAX_NESTING + 2))
        for level in range(MAX_NESTING):
            peer.send_event("answer", [level], reply_to=level + 1)
        calls.wait(2 * MAX_NESTING + 3)

    def test_a_wait_inside_on_auth_ok_on_reply_and_on_message_works(self) -> None:
        calls = Calls()

        def ask(client: EZEZServerClient, name: str) -> None:
            calls.add(name, client.send("ask", [name]).wait_reply(10).args)

        server = self.serve(
            on_auth_ok=lambda client: ask(client, "ok"),
            on_message=lambda client, event, *_: ask(client, "message") if event == "go" else None,
        )
        peer = self.peer(server)

        def answer() -> None:
            event = peer.read_event()
            peer.send_event("answer", event.args, reply_to=event.ids.event_id)

        answer()
        calls.wait()
        peer.send_event("go")
        answer()
        calls.wait(2)
        server.clients[0].send("with", on_reply=lambda client, *_: ask(client, "reply"))
        with_id = peer.read_event().ids.event_id
        peer.send_event("answer", reply_to=with_id)
        answer()
        self.assertEqual([(name, [name]) for name in ("ok", "message", "reply")], calls.wait(3))

    def test_a_disconnect_by_a_nested_listener_ends_the_outer_wait(self) -> None:
        calls = Calls()
        server = self.serve(on_disconnect=calls.named("disconnect", 1))

        @server.on("start")
        def start(client: EZEZServerClient, args: Any, reply: Any, ids: Ids) -> None:
            try:
                client.send("question").wait_reply(10)
            except ConnectionClosed as error:
                calls.add("closed", error.code)

        server.on("stop", lambda client, *_: client.disconnect(4001))
        _, peer = self.pair(server)
        peer.send_event("start")
        peer.read_event()
        peer.send_event("stop")
        self.assertEqual(4001, peer.read_end().code)
        peer.send_close(4001)
        self.assertEqual([("closed", 4001), ("disconnect", 4001)], calls.wait(2))


class BusyListenerTest(ServingTestCase):
    """What goes on while a listener blocks its connection's thread."""

    def busy(self, wait_first: bool = False, **options: Any) -> tuple[EZEZServerClient, RawPeer]:
        gate = self.gate()
        server = self.serve(**options)

        @server.on("block")
        def block(client: EZEZServerClient, args: Any, reply: Any, ids: Ids) -> None:
            if wait_first:
                client.send("first").wait_reply(10)
            gate()

        side, peer = self.pair(server)
        peer.send_event("block")
        if wait_first:
            peer.send_event("answer", reply_to=peer.read_event().ids.event_id)
        gate.wait_entered()
        return side, peer

    def test_replies_that_other_threads_wait_for_arrive(self) -> None:
        side, peer = self.busy()
        sent = [side.send("question", [index]) for index in range(4)]
        waiting = [self.in_thread(one.wait_reply, 10) for one in sent]
        for _ in sent:
            event = peer.read_event()
            peer.send_event("answer", event.args, reply_to=event.ids.event_id)
        self.assertEqual([[0], [1], [2], [3]], [one.get().args for one in waiting])

    def test_pings_are_answered(self) -> None:
        for wait_first in (False, True):
            with self.subTest(wait_first=wait_first):
                _, peer = self.busy(wait_first)
                for index in range(3):
                    peer.send_ping(b"%d" % index)
                    self.assertEqual(b"%d" % index, peer.read(PONG))
                peer.close()

    def test_a_close_of_the_peer_is_noticed(self) -> None:
        for how in ("close frame", "end", "reset"):
            for wait_first in (False, True):
                with self.subTest(how=how, wait_first=wait_first):
                    side, peer = self.busy(wait_first)
                    waiting = self.in_thread(side.send("question").wait_reply, 30)
                    if how == "close frame":
                        peer.send_close(1000)
                    elif how == "end":
                        peer.sock.close()
                    else:
                        peer.sock.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER
                        peer.sock.close()
                    eventually(lambda side=side: not side.alive, 5)  # type: ignore[misc]
                    with self.assertRaises(ConnectionClosed):
                        waiting.get(5)
                    self.assertFalse(side.send("late"))

    def test_a_close_is_noticed_while_nobody_waits(self) -> None:
        for wait_first in (False, True):
            with self.subTest(wait_first=wait_first):
                side, peer = self.busy(wait_first)
                peer.send_close(1000)
                eventually(lambda side=side: not side.alive, 5)  # type: ignore[misc]

    def test_our_own_keepalive_does_not_mistake_it_for_a_dead_peer(self) -> None:
        side, peer = self.busy(ping_interval=0.2, ping_timeout=0.2)
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            message = peer.read_message()
            assert message is not None
            self.assertEqual(9, message.opcode)
            peer.send_pong()
        self.assertTrue(side.alive)

    def test_events_wait_in_order_and_before_on_disconnect(self) -> None:
        calls, gate = Calls(), self.gate()
        server = self.serve(on_disconnect=calls.named("disconnect", 1))
        server.on("block", gate)
        server.on("event", calls.named("event", 1))
        _, peer = self.pair(server)
        peer.send_event("block")
        gate.wait_entered()
        for index in range(200):
            peer.send_event("event", [index])
        peer.send_close(1000)
        peer.close()
        gate.open()
        self.assertEqual([("event", [index]) for index in range(200)] + [("disconnect", 1000)], calls.wait(201))

    def test_the_inbox_holds_the_peer_back_and_goes_on_when_the_listener_is_done(self) -> None:
        calls, gate = Calls(), self.gate()
        server = self.serve(inbox_limit_bytes=10_000)
        server.on("block", gate)
        server.on("event", calls.named("event", 2))
        side, peer = self.pair(server)
        peer.send_event("block")
        gate.wait_entered()
        waiting = self.in_thread(side.send("question").wait_reply, 30)  # it reads, up to the limit
        total = 0
        peer.sock.settimeout(1.5)
        rest = b""
        message = peer.frame(2, peer.codec.encode(["event", 1, None, b"x" * 10_000]))
        try:
            while total < 2000:
                rest = message
                while rest:
                    rest = rest[peer.sock.send(rest) :]
                total += 1
        except TimeoutError:
            pass
        self.assertLess(total, 2000, "nothing held the peer back")
        with side._ezez_connection.inbox.lock:
            self.assertLess(side._ezez_connection.inbox._bytes, 10_000 + 1_000_000)
        self.assertFalse(waiting.done)
        gate.open()
        peer.sock.settimeout(10)
        peer.send_raw(rest)
        peer.send_event("answer", ["x"], reply_to=1)
        self.assertEqual(["x"], waiting.get(30).args)

    def test_a_reset_is_noticed_though_the_inbox_is_full(self) -> None:
        side, peer = self.busy(inbox_limit_bytes=100)
        for _ in range(3):
            peer.send_event("event", [b"x" * 100])
        eventually(lambda: side._ezez_connection.inbox.full)
        peer.sock.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER: a reset
        peer.sock.close()
        eventually(lambda: not side.alive, 5)


class EndTest(ServingTestCase):
    """Who waits is woken at once when the connection goes."""

    def waiting(self, **options: Any) -> tuple[EZEZServerClient, RawPeer, list[Result]]:
        self.server = self.serve(**options)
        side, peer = self.pair(self.server)
        sent = [side.send("question"), side.send("question", on_reply=print)]
        waiting = [self.in_thread(one.wait_reply) for one in (*sent, *sent)]
        eventually(lambda: side.awaiting_replies_count == 2)
        return side, peer, waiting

    def check_closed(self, waiting: list[Result], code: int, reason: str) -> None:
        for one in waiting:
            with self.assertRaises(ConnectionClosed) as caught:
                one.get(2)
            self.assertEqual((code, reason), (caught.exception.code, caught.exception.reason))

    def test_by_the_peer_s_close_frame(self) -> None:
        side, peer, waiting = self.waiting()
        peer.send_close(4002, "why")
        self.check_closed(waiting, 4002, "why")
        self.assertEqual(0, side.awaiting_replies_count)

    def test_by_the_end_of_the_bytes(self) -> None:
        _, peer, waiting = self.waiting()
        peer.close()
        self.check_closed(waiting, 1006, "")

    def test_by_our_disconnect_before_the_peer_answers(self) -> None:
        side, _, waiting = self.waiting()
        side.disconnect(4003, "bye")
        self.check_closed(waiting, 4003, "bye")

    def test_by_a_malformed_message(self) -> None:
        _, peer, waiting = self.waiting()
        peer.send_message(b"")
        self.check_closed(waiting, 1002, "Malformed message")

    def test_by_the_server_s_close(self) -> None:
        _, _, waiting = self.waiting(close_timeout=3.0)
        closing = self.in_thread(self.server.close)
        self.check_closed(waiting, 1001, "server shutdown")
        self.assertFalse(closing.done)  # the peer has not answered yet

    def test_a_message_that_was_not_sent_is_falsy_and_waits_for_nothing(self) -> None:
        side, peer, _ = self.waiting()
        peer.send_close(4000, "gone")
        eventually(lambda: not side.alive)
        sent = side.send("late", on_reply=print)
        self.assertFalse(sent)
        self.assertIsNone(sent.event_id)
        with self.assertRaises(ConnectionClosed) as caught:
            sent.wait_reply()
        self.assertEqual(4000, caught.exception.code)
        self.assertEqual(0, side.awaiting_replies_count)

    def test_a_message_that_was_not_sent_can_raise_instead(self) -> None:
        replies: list[Any] = []
        server = self.serve(send_after_disconnect="raise")
        server.on("hello", lambda client, args, reply, ids: replies.append(reply))
        side, peer = self.pair(server)
        peer.send_event("hello")
        eventually(lambda: replies)
        peer.send_close(4000, "gone")
        eventually(lambda: not side.alive)
        for send in (side.send, replies[0]):
            with self.assertRaises(ConnectionClosed) as caught:
                send("late")
            self.assertEqual((4000, "gone"), (caught.exception.code, caught.exception.reason))

    def test_what_arrived_before_our_disconnect_and_was_not_handled_is_dropped(self) -> None:
        calls, gate = Calls(), self.gate()
        server = self.serve(on_disconnect=calls.named("disconnect", 1))
        server.on("block", gate)
        server.on("event", calls.named("event"))
        side, peer = self.pair(server)
        peer.send_event("block")
        gate.wait_entered()
        for _ in range(10):
            peer.send_event("event")
        side.disconnect(1000)
        peer.send_event("event")
        peer.send_close(1000)
        gate.open()
        self.assertEqual([("disconnect", 1000)], calls.wait())

    def test_user_code_that_is_freed_by_a_disconnect_may_use_the_client(self) -> None:
        asked: list[int] = []

        class OnReply:
            def __init__(self, client: EZEZServerClient) -> None:
                self.client = client

            def __call__(self, *args: Any) -> None:
                pass

            def __del__(self) -> None:
                asked.append(self.client.awaiting_replies_count)
                self.client.send("from __del__")

        def listen(client: EZEZServerClient, args: Any, reply: Any, ids: Any) -> None:
            for _ in range(3):
                client.send("ask", on_reply=OnReply(client))
            eventually(lambda: len(client._ezez_connection.inbox._arrived) == 2)  # the janitor has looked in
            client.disconnect()

        server = self.serve()
        server.on("event", listen)
        peer = self.peer(server)
        peer.send_event("event")
        for _ in range(2):
            peer.send_event("answer", reply_to=peer.read_event().ids.event_id)
        eventually(lambda: len(asked) == 3)
        peer.read_end()
        peer.send_close()
        eventually(lambda: not server.clients)


class SendTest(ServingTestCase):
    def test_refused_arguments_send_nothing_and_use_no_id(self) -> None:
        side, peer = self.pair(self.serve())
        wrong: list[tuple[Any, ...]] = [
            (1, []),
            ("ezez-ws::x", []),
            ("ezez-ws:incoming:x", []),
            ("event", "text"),
            ("event", {"a": 1}),
            ("event", None),
            ("event", [], 1),
            ("event", [{1: 2}]),
            ("event", [{1, 2}]),
        ]
        for arguments in wrong:
            with self.subTest(arguments=arguments), self.assertRaises((TypeError, ValueError)):
                side.send(*arguments)
        with self.assertRaisesRegex(SerializationError, r'args\[1\]\["when"\]\[0\].*complex'):
            side.send("event", [1, {"when": [1j]}])
        self.assertEqual(1, side.send("good").event_id)
        self.assertEqual(["good", 1, None], peer.read_values())

    def test_ids_rise_in_sending_order_from_eight_threads_and_messages_are_whole(self) -> None:
        side, peer = self.pair(self.serve())
        each, threads = 100, 8
        received: list[Any] = []

        def read() -> None:
            for _ in range(each * threads):
                received.append(peer.read_event())

        def send(name: str) -> list[Any]:
            return [side.send(name, [index, "x" * random.randrange(3000)]).event_id for index in range(each)]

        with switch_interval():
            reading = self.in_thread(read)
            sending = [self.in_thread(send, f"thread {number}") for number in range(threads)]
            ids = [one.get(50) for one in sending]
            reading.get(50)
        self.assertEqual(list(range(1, each * threads + 1)), [event.ids.event_id for event in received])
        for number in range(threads):
            mine = [event for event in received if event.name == f"thread {number}"]
            self.assertEqual(list(range(each)), [event.args[0] for event in mine])
            self.assertEqual(ids[number], [event.ids.event_id for event in mine])

    def test_a_peer_that_takes_nothing_is_cut_after_send_timeout(self) -> None:
        calls = Calls()
        server = self.serve(
            send_timeout=0.4,
            send_buffer_limit=100_000,
            on_error=calls.named("error", 1),
            on_disconnect=calls.named("disconnect", 1),
        )
        side, _ = self.pair(server, receive_buffer=4096)
        waiting = self.in_thread(side.send("question").wait_reply, 30)
        start = time.monotonic()
        with self.assertRaises(SendTimeout) as caught:
            for _ in range(1000):
                start = time.monotonic()
                side.send("big", [b"x" * 90_000])
        self.assertIsInstance(caught.exception, TimeoutError)
        self.assertGreaterEqual(time.monotonic() - start, 0.39)
        self.assertFalse(side.alive)
        (_, error), disconnect = calls.wait(2)
        self.assertIsInstance(error, SendTimeout)
        self.assertEqual(("disconnect", 1006), disconnect)
        with self.assertRaises(ConnectionClosed):
            waiting.get()
        self.assertFalse(side.send("late"))

    def test_one_message_larger_than_the_limit_may_wait_where_nothing_else_does(self) -> None:
        server = self.serve(send_timeout=5, send_buffer_limit=1000)
        side, peer = self.pair(server)
        for _ in range(5):
            self.assertTrue(self.in_thread(side.send, "big", [b"x" * 3_000_000]))
        for _ in range(5):
            self.assertEqual(3_000_000, len(peer.read_event().args[0]))

    def test_a_send_that_waits_for_room_ends_with_the_connection(self) -> None:
        side, peer = self.pair(self.serve(send_buffer_limit=100_000), receive_buffer=4096)

        def fill() -> SentMessage:
            while True:
                sent = side.send("big", [b"x" * 90_000])
                if not sent:
                    return sent

        filling = self.in_thread(fill)
        eventually(lambda: side._ezez_connection.stream._outbox.waiting_bytes > 10_000)
        peer.close()
        self.assertFalse(filling.get(5))

    def test_two_ends_that_both_send_big_messages_inside_listeners_do_not_stall_each_other(self) -> None:
        server = self.serve(send_buffer_limit=50_000, send_timeout=20, inbox_limit_bytes=64 << 20)
        count = 150

        def flood(send: Any) -> None:
            for _ in range(count):
                send("flood", [b"x" * 100_000])

        seen = {"client": 0, "server": 0}

        def from_client(client: EZEZServerClient, *_: Any) -> None:
            if seen["server"] == 0:
                flood(client.send)
            seen["server"] += 1

        def from_server(*_: Any) -> None:
            if seen["client"] == 0:
                flood(client.send)
            seen["client"] += 1

        client = self.client(server, send_buffer_limit=50_000, send_timeout=20)
        client.on("flood", from_server)
        server.on("flood", from_client)
        eventually(lambda: server.broadcast("flood"))  # it counts as authenticated only after its auth-ok
        eventually(lambda: seen == {"client": count + 1, "server": count}, 40)


class LimitTest(ServingTestCase):
    """``max_awaiting_replies``."""

    def test_past_it_a_message_with_on_reply_is_refused_and_takes_no_id(self) -> None:
        calls = Calls()
        server = self.serve(max_awaiting_replies=2)
        side, peer = self.pair(server)
        server.on("ask", lambda client, args, reply, ids: reply("answer", on_reply=calls.named("on_reply", 2)))
        for _ in range(2):
            side.send("question", on_reply=calls.named("on_reply", 2))
        with self.assertRaisesRegex(TooManyReplies, "^event 'question': 2 messages .* max_awaiting_replies"):
            side.send("question", on_reply=print)
        with self.assertLogs("ezez_ws", "ERROR") as logs:
            peer.send_event("ask")
            eventually(lambda: logs.output)
        self.assertIn("TooManyReplies: event 'answer'", logs.output[0])
        kept = [side.send("plain") for _ in range(3)]  # those that a thread waits for are not limited
        self.assertEqual([3, 4, 5], [sent.event_id for sent in kept])
        self.assertEqual(2, side.awaiting_replies_count)
        peer.send_event("answer", reply_to=1)
        calls.wait(1)
        self.assertEqual(6, side.send("question", on_reply=print).event_id)
        self.assertIsInstance(side, EZEZServerClient)

    def test_the_time_limit_makes_room(self) -> None:
        server = self.serve(max_awaiting_replies=1, clear_awaiting_replies_after=0.1)
        side, _ = self.pair(server)
        side.send("question", on_reply=print)
        eventually(lambda: side.awaiting_replies_count == 0)
        self.assertTrue(side.send("question", on_reply=print))

    def test_many_threads_do_not_get_past_it(self) -> None:
        server = self.serve(max_awaiting_replies=10)
        side, _ = self.pair(server)
        refused: list[BaseException] = []

        def send() -> None:
            for _ in range(20):
                try:
                    side.send("question", on_reply=print)
                except TooManyReplies as error:
                    refused.append(error)

        with switch_interval():
            for one in [self.in_thread(send) for _ in range(4)]:
                one.get()
        self.assertEqual((70, 10), (len(refused), side.awaiting_replies_count))

    def test_what_a_client_queues_counts_and_all_of_it_goes_out(self) -> None:
        client = EZEZWebSocketClient("ws://127.0.0.1:1", max_awaiting_replies=2)
        self.addCleanup(client.close)
        for _ in range(2):
            client.send("question", on_reply=print)
        with self.assertRaises(TooManyReplies):
            client.send("question", on_reply=print)
        self.assertEqual(2, client.awaiting_replies_count)
        self.assertFalse(client.send("plain").event_id)

    def test_how_many_are_awaited_is_known_without_a_lock(self) -> None:
        server = self.serve()
        side, _ = self.pair(server)
        side.send("question", on_reply=print)
        with side._ezez_connection.stream.sending, side._ezez_connection.inbox.lock:
            self.assertEqual(1, self.in_thread(lambda: side.awaiting_replies_count).get())


class TableTest(EZEZTestCase):
    """The table by itself, without a connection."""

    def sent(self, table: ReplyTable, event_id: int, on_reply: Any = None, deadline: float = 10.0) -> SentMessage:
        sent = SentMessage(None, event_id, None)
        table.expect(sent, event_id, on_reply, deadline)
        return sent

    def test_a_message_is_held_weakly_and_an_on_reply_strongly(self) -> None:
        table = ReplyTable()
        kept = self.sent(table, 1)
        self.sent(table, 2)
        self.sent(table, 3, print)
        gc.collect()
        self.assertEqual(2, len(table))
        self.assertEqual(1, table.awaited)
        self.assertEqual([1, 3], [number for number in (1, 2, 3) if table.take(number) is not None])
        del kept

    def test_what_is_due_expires_in_order_and_nothing_else(self) -> None:
        table = ReplyTable()
        kept = [self.sent(table, number, print, float(number)) for number in (1, 2, 3)]
        self.assertEqual(1.0, table.next_deadline())
        self.assertEqual(2, len(table.take_expired(2.0)))
        self.assertEqual(3.0, table.next_deadline())
        self.assertEqual([True, True, False], [sent._outcome is not None for sent in kept])
        self.assertEqual(1, table.awaited)

    def test_everything_is_settled_at_the_end(self) -> None:
        table = ReplyTable()
        kept = [self.sent(table, 1), self.sent(table, 2, print)]
        table.begin_waiting(kept[0])
        self.assertEqual(2, table.awaited)
        ending = Ending(1000, "")
        self.assertEqual(2, len(table.take_all(ending)))
        self.assertEqual([ending, ending], [sent._outcome for sent in kept])
        table.end_waiting(kept[0])
        self.assertEqual((0, 0), (len(table), table.awaited))
        self.assertIsNone(table.next_deadline())

    def test_a_message_that_dies_while_the_table_works_is_worked_off_later(self) -> None:
        table = ReplyTable()
        for number in range(1, 1001):
            self.sent(table, number)
        self.assertEqual(0, len(table))
        self.assertEqual(0, table.awaited)


class StressTest(ServingTestCase):
    @allow_seconds(120)
    def test_threads_that_send_and_wait_while_connections_go_end_and_leave_nothing(self) -> None:
        server = self.serve(clear_awaiting_replies_after=5)
        server.on("echo", lambda client, args, reply, ids: reply("echoed", args))

        @server.on("nested")
        def nested(client: EZEZServerClient, args: Any, reply: Any, ids: Ids) -> None:
            try:
                reply("echoed", [*client.send("ask", args).wait_reply(5).args, "nested"])
            except (ReplyTimeout, ConnectionClosed):
                pass

        sides: list[EZEZServerClient] = []

        def work(number: int) -> int:
            rng = random.Random(number)
            done = 0
            client = connect()
            try:
                for _ in range(40):
                    try:
                        name = rng.choice(("echo", "nested"))
                        answer = client.send(name, [number]).wait_reply(10)
                        if answer.args[0] != number:
                            raise AssertionError(answer)
                        done += 1
                    except ConnectionClosed:
                        client.close()
                        client = connect()
                    if rng.random() < 0.05:
                        for side in server.clients:
                            if side.context.get("number") == number:
                                side.disconnect(1000)
            finally:
                client.close()
            return done

        def connect() -> EZEZWebSocketClient:
            assert server.url is not None
            client = EZEZWebSocketClient(server.url, auth=KEY, auto_reconnect=False)
            client.on("ask", lambda args, reply, ids: reply("answer", args))
            client.connect()
            return client

        def note(client: EZEZServerClient, args: list[Any], reply: Any, ids: Ids) -> None:
            sides.append(client)
            client.context["number"] = args[0]

        server.on("echo", note)
        server.on("nested", note)
        with switch_interval(1e-5):
            working = [self.in_thread(work, number) for number in range(8)]
            done = [one.get(100) for one in working]
        self.assertGreater(sum(done), 100)
        eventually(lambda: not server.clients)
        self.assertEqual(0, sum(side.awaiting_replies_count for side in sides))


if __name__ == "__main__":
    unittest.main()
