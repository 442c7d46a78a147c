"""Authentication on the server: section 5 of the protocol, line by line, and what happens to messages before it."""

import contextlib
import threading
import time
import unittest
from typing import Any
from unittest import mock

from ezez_ws import UNDEFINED, BigInt, EZEZServerClient, MalformedMessage
from ezez_ws.connection.inbox import Inbox
from ezez_ws.messages.protocol import AUTH, AUTH_OK, AUTH_REJECTED
from ezez_ws.threads import clock
from ezez_ws.websocket.deflate import Deflater
from ezez_ws.websocket.frames import BINARY, CONTINUATION, PONG, RSV1
from ezez_ws.websocket.stream import Stream
from tests.rawpeer import RawPeer
from tests.serving import KEY, Calls, Gate, ServingTestCase
from tests.support import eventually

SECRET = "do not tell the peer"


class RejectionTest(ServingTestCase):
    def check_rejected(self, peer: RawPeer, reason: str) -> None:
        end = peer.read_end()
        self.assertEqual([[AUTH_REJECTED, reason]], end.messages)
        self.assertEqual(1008, end.code)

    def test_a_wrong_key_is_rejected(self) -> None:
        calls = Calls()
        server = self.serve(
            on_auth_rejected=calls.named("rejected", 1),
            on_auth_ok=calls.named("ok"),
            on_disconnect=calls.named("disconnect", 1),
        )
        peer = self.peer(server, None)
        peer.send_values(AUTH, "wrong", 1)
        self.check_rejected(peer, "Invalid auth key")
        peer.close()
        self.assertEqual([("rejected", "Invalid auth key"), ("disconnect", 1008)], calls.wait(2))

    def test_nobody_is_rejected_before_the_time_is_over_and_everybody_after(self) -> None:
        calls = Calls()
        server = self.serve(auth_timeout=0.2, on_auth_rejected=calls.named("rejected", 1))
        start = time.monotonic()
        peer = self.peer(server, None)
        self.check_rejected(peer, "Auth timeout")
        self.assertGreaterEqual(time.monotonic() - start, 0.2)
        self.assertEqual([("rejected", "Auth timeout")], calls.wait())

    def test_who_stays_silent_is_told_and_left_though_it_never_answers(self) -> None:
        for mode in ("ignore", "queue", "accept"):
            with self.subTest(mode=mode):
                calls = Calls()
                server = self.serve(
                    auth_timeout=0.2,
                    messages_before_auth=mode,
                    on_auth_rejected=calls.named("rejected", 1),
                    on_disconnect=calls.named("disconnect", 1, 2),
                )
                peer = self.peer(server, None)
                self.check_rejected(peer, "Auth timeout")
                expected = [("rejected", "Auth timeout"), ("disconnect", 1008, "Auth timeout")]
                self.assertEqual(expected, calls.wait(2))
                self.assertTrue(peer.at_end())

    def test_other_messages_do_not_prolong_the_time(self) -> None:
        for mode in ("ignore", "queue", "accept"):
            with self.subTest(mode=mode):
                server = self.serve(auth_timeout=0.3, messages_before_auth=mode)
                peer = self.peer(server, None)
                stop = threading.Event()

                def chatter(peer: RawPeer = peer, stop: threading.Event = stop) -> None:
                    while not stop.wait(0.02):
                        try:
                            peer.send_event("chat")
                            peer.send_ping()
                        except OSError:
                            return

                talking = self.in_thread(chatter)
                try:
                    self.check_rejected(peer, "Auth timeout")
                finally:
                    stop.set()
                    talking.get()

    def test_a_wrong_version_is_rejected_without_asking(self) -> None:
        cases: list[tuple[list[Any], str]] = [
            ([2], "2"),
            ([0], "0"),
            ([1.5], "1.5"),
            (["1"], "1"),
            ([BigInt(1)], "1"),
            ([None], "null"),
            ([UNDEFINED], "undefined"),
            ([], "undefined"),
            ([True], "true"),
            ([float("nan")], "NaN"),
            ([{}], "[object Object]"),
        ]
        calls = Calls()
        server = self.serve(on_auth_request=calls.named("asked"), on_auth_rejected=calls.named("rejected", 1))
        for version, printed in cases:
            with self.subTest(version=version):
                peer = self.peer(server, None)
                peer.send_values(AUTH, KEY, *version)
                self.check_rejected(peer, f"Protocol version mismatch, wanted 1, got {printed}")
                peer.close()
        self.assertEqual([], [call for call in calls.wait(len(cases)) if call[0] != "rejected"])

    def test_an_authentication_message_is_no_reply_though_its_version_looks_like_one(self) -> None:
        calls = Calls()
        server = self.serve(messages_before_auth="accept")

        @server.on("early")
        def ask(client: EZEZServerClient, args: Any, reply: Any, ids: Any) -> None:
            client.send(
                "question", [], lambda client, event, args, reply, ids: calls.named("answered", 1)(client, args)
            )

        peer = self.peer(server, None)
        peer.send_event("early")
        self.assertEqual(1, peer.read_event().ids.event_id)
        peer.send_values(AUTH, KEY, 1)  # the third value is where a reply has the id that it answers
        peer.send_event("answer", ["yes"], reply_to=1)
        self.assertEqual([("answered", ["yes"])], calls.wait(1))

    def test_a_version_is_echoed_cut_and_escaped_and_a_reason_too_long_for_a_close_frame_closes_with_1008(self) -> None:
        server = self.serve()
        for version, echoed in (
            ("ä" * 1000, "ä" * 99 + "…"),
            ("2\r\n\x1b[31m", "2\\r\\n\\x1b[31m"),
            ("ä" * 100, "ä" * 100),
        ):
            peer = self.peer(server, None)
            peer.send_values(AUTH, KEY, version)
            self.check_rejected(peer, f"Protocol version mismatch, wanted 1, got {echoed}")

    def test_a_key_that_is_no_text_is_malformed(self) -> None:
        calls = Calls()
        server = self.serve(
            on_auth_request=calls.named("asked"),
            on_auth_rejected=calls.named("rejected"),
            on_error=calls.named("error", 1),
        )
        for key in (None, 1, True, b"secret", ["secret"]):
            with self.subTest(key=key):
                peer = self.peer(server, None)
                peer.send_values(AUTH, key, 1)
                end = peer.read_end()
                self.assertEqual(([], 1002, "Malformed message"), (end.messages, end.code, end.reason))
        seen = calls.wait(5)
        self.assertEqual({"error"}, {name for name, *_ in seen})
        self.assertTrue(all(isinstance(error, MalformedMessage) for _, error in seen))

    def test_what_on_auth_request_raises_never_reaches_the_peer(self) -> None:
        calls = Calls()

        def ask(client: EZEZServerClient, key: str) -> bool:
            raise LookupError(SECRET)

        server = self.serve(
            on_auth_request=ask, on_auth_rejected=calls.named("rejected", 1), on_error=calls.named("error", 1)
        )
        peer = self.peer(server, None)
        with self.assertNoLogs("ezez_ws", "ERROR"):
            peer.send_values(AUTH, KEY, 1)
            end = peer.read_end()
            (error, rejected) = calls.wait(2)
        self.assertEqual(([[AUTH_REJECTED, "Auth verification failed"]], 1008), (end.messages, end.code))
        self.assertNotIn(SECRET, end.reason)
        self.assertIsInstance(error[1], LookupError)
        self.assertEqual(("rejected", "Auth verification failed"), rejected)

    def test_what_on_auth_request_raises_is_logged_once_where_there_is_no_on_error(self) -> None:
        def ask(client: EZEZServerClient, key: str) -> bool:
            raise LookupError(SECRET)

        server = self.serve(on_auth_request=ask)
        peer = self.peer(server, None)
        with self.assertLogs("ezez_ws", "WARNING") as logs:
            peer.send_values(AUTH, KEY, 1)
            peer.read_end()
        (record,) = logs.records
        self.assertRegex(
            record.getMessage(), r"^connection \d+ from 127.0.0.1:\d+: an error in on_auth_request \(.*ask\)$"
        )
        self.assertIn(f"LookupError: {SECRET}", logs.output[0])
        self.assertNotIn(KEY, record.getMessage())

    def test_an_answer_that_is_no_bool_lets_nobody_in(self) -> None:
        answers: list[Any] = [None, 1, "yes", [True], object(), NotImplemented]
        server = self.serve(on_auth_request=lambda _, key: answers[int(key)])
        for index, answer in enumerate(answers):
            with self.subTest(answer=answer):
                peer = self.peer(server, None)
                peer.send_values(AUTH, str(index), 1)
                end = peer.read_end()
                self.assertEqual(1008, end.code)
                self.assertEqual(AUTH_REJECTED, end.messages[0][0])

    def test_what_arrives_behind_a_rejected_attempt_is_dropped(self) -> None:
        for mode in ("ignore", "queue", "accept"):
            with self.subTest(mode=mode):
                calls, gate = Calls(), self.gate()

                def ask(client: EZEZServerClient, key: str, gate: Gate = gate) -> bool:
                    gate()
                    return False

                server = self.serve(
                    messages_before_auth=mode,
                    on_auth_request=ask,
                    on_message=calls.named("message", 1),
                    on_error=calls.named("error"),
                    on_auth_rejected=calls.named("rejected", 1),
                    on_disconnect=calls.named("disconnect", 1, 2),
                )
                peer = self.peer(server, None)
                peer.send_values(AUTH, "wrong", 1)
                gate.wait_entered()
                peer.send_event("late")
                peer.send_values(AUTH, KEY, 1)
                peer.send_message(b"malformed")
                gate.open()
                self.check_rejected(peer, "Invalid auth key")
                self.assertEqual(
                    [("rejected", "Invalid auth key"), ("disconnect", 1008, "Invalid auth key")], calls.wait(2)
                )

    def test_nothing_that_arrives_while_on_auth_rejected_runs_is_handled(self) -> None:
        calls, gate = Calls(), self.gate()
        server = self.serve(
            messages_before_auth="accept",
            on_auth_rejected=gate,
            on_message=calls.named("message", 1),
            on_disconnect=calls.named("disconnect", 1),
        )
        peer = self.peer(server, None)
        peer.send_values(AUTH, "wrong", 1)
        gate.wait_entered()
        peer.send_values(AUTH, KEY, 1)
        peer.send_event("late")
        gate.open()
        self.check_rejected(peer, "Invalid auth key")
        self.assertEqual([("disconnect", 1008)], calls.wait())

    def test_a_rejected_client_is_not_authenticated(self) -> None:
        clients: list[EZEZServerClient] = []
        server = self.serve(on_disconnect=lambda client, *_: clients.append(client))
        peer = self.peer(server, None)
        peer.send_values(AUTH, "wrong", 1)
        peer.read_end()
        peer.close()
        eventually(lambda: clients)
        client = clients[0]
        self.assertFalse(client.authenticated)
        self.assertFalse(client.alive)


class AcceptanceTest(ServingTestCase):
    def test_the_right_key_is_answered_by_auth_ok_and_then_on_auth_ok_runs(self) -> None:
        states: list[tuple[str, bool]] = []

        def ask(client: EZEZServerClient, key: str) -> bool:
            states.append((f"asked {key}", client.authenticated))
            return True

        def ok(client: EZEZServerClient) -> None:
            states.append(("ok", client.authenticated))
            client.send("greeting")

        server = self.serve(on_auth_request=ask, on_auth_ok=ok)
        peer = self.peer(server, None)
        peer.send_values(AUTH, KEY, 1, "further", "fields")
        self.assertEqual([AUTH_OK], peer.read_values())
        self.assertEqual(["greeting", 1, None], peer.read_values())
        self.assertEqual([("asked secret", False), ("ok", True)], states)

    def test_no_broadcast_comes_before_auth_ok(self) -> None:
        gate = self.gate()

        def ask(client: EZEZServerClient, key: str) -> bool:
            gate()
            return True

        server = self.serve(on_auth_request=ask)
        peer = self.peer(server, None)
        self.assertEqual(0, server.broadcast("early"))
        peer.send_values(AUTH, KEY, 1)
        gate.wait_entered()
        self.assertEqual(0, server.broadcast("early"))
        stop = threading.Event()

        def flood() -> None:
            while not stop.is_set():
                server.broadcast("flood")

        flooding = self.in_thread(flood)
        try:
            gate.open()
            self.assertEqual([AUTH_OK], peer.read_values())
            self.assertEqual(["flood", 1, None], peer.read_values())
        finally:
            stop.set()
            flooding.get()

    def test_later_authentication_messages_are_dropped_without_a_word(self) -> None:
        calls = Calls()

        def ask(client: EZEZServerClient, key: str) -> bool:
            calls.add("asked", key)
            return True

        server = self.serve(on_auth_request=ask, on_error=calls.named("error"), on_message=calls.named("message", 1))
        peer = self.peer(server, None)
        for key in (KEY, "wrong", KEY):
            peer.send_values(AUTH, key, 1)
        self.assertEqual([AUTH_OK], peer.read_values())
        peer.send_values(AUTH, "wrong", 7)
        peer.send_event("after")
        self.assertEqual([("asked", KEY), ("message", "after")], calls.wait(2))
        client = server.clients[0]
        client.send("still here")
        self.assertEqual("still here", peer.read_event().name)

    def test_how_long_on_auth_request_takes_is_not_timed(self) -> None:
        gate = self.gate()

        def ask(client: EZEZServerClient, key: str) -> bool:
            gate()
            return True

        server = self.serve(on_auth_request=ask, auth_timeout=0.2)
        peer = self.peer(server, None)
        peer.send_values(AUTH, KEY, 1)
        gate.wait_entered()
        waited = threading.Event()
        waited.wait(0.4)  # longer than auth_timeout
        gate.open()
        self.assertEqual([AUTH_OK], peer.read_values())

    def check_sent_in_time(self, busy_for: float) -> None:
        gate = self.gate()
        server = self.serve(auth_timeout=0.3, messages_before_auth="accept")
        server.on("busy", gate)
        peer = self.peer(server, None)
        peer.send_event("busy")
        gate.wait_entered()
        peer.send_values(AUTH, KEY, 1)
        threading.Event().wait(busy_for)
        gate.open()
        self.assertEqual([AUTH_OK], peer.read_values())

    def test_what_was_sent_in_time_is_accepted_though_a_listener_kept_it_waiting(self) -> None:
        self.check_sent_in_time(busy_for=0.5)

    def test_what_was_sent_in_time_is_accepted_though_a_listener_kept_it_waiting_for_long(self) -> None:
        self.check_sent_in_time(busy_for=1.6)

    def test_what_was_sent_too_late_is_rejected_though_a_listener_kept_it_waiting(self) -> None:
        gate = self.gate()
        server = self.serve(auth_timeout=0.3, messages_before_auth="accept")
        server.on("busy", gate)
        peer = self.peer(server, None)
        peer.send_event("busy")
        gate.wait_entered()
        threading.Event().wait(0.6)
        peer.send_values(AUTH, KEY, 1)
        gate.open()
        self.assertEqual([[AUTH_REJECTED, "Auth timeout"]], peer.read_end().messages)

    def test_who_waits_to_authenticate_sleeps_as_one_that_is_authenticated(self) -> None:
        woken: list[object] = []
        wait = Inbox.wait

        def note(inbox: Inbox, *args: Any, **options: Any) -> Any:
            woken.append(inbox)
            return wait(inbox, *args, **options)

        with mock.patch.object(Inbox, "wait", note):
            server = self.serve(auth_timeout=50.0)
            peer = self.peer(server, None)
            for _ in range(3):
                peer.send_ping()
                self.assertEqual(PONG, getattr(peer.read_message(), "opcode", None))
            self.assertEqual([], woken)

    def check_not_decided(self, hold_before: bool, late: float) -> None:
        """Let the time be over while a message is on its way from the kernel to who judges it."""
        held = self.gate()
        receive = Stream.receive

        def receive_slowly(stream: Stream, *args: Any, **options: Any) -> Any:
            if hold_before:
                held()
            messages = receive(stream, *args, **options)
            if messages and not hold_before:
                held()
            return messages

        server = self.serve(auth_timeout=50.0)
        with mock.patch.object(Stream, "receive", receive_slowly):
            peer = self.peer(server, None)
            peer.send_values(AUTH, KEY, 1)
            held.wait_entered()
            (connection,) = [client._ezez_connection for client in server.clients]
            connection._auth_until = clock.monotonic() - late
            if hold_before:
                eventually(connection.stream.answers)
            connection._end_waiting()
            self.assertIsNone(connection._auth_in_time)
            held.open()
            self.assertEqual([AUTH_OK], peer.read_values())

    def test_what_was_sent_in_time_counts_though_its_reader_is_slow_to_note_it(self) -> None:
        self.check_not_decided(hold_before=False, late=-5.0)

    def test_what_was_sent_in_time_counts_though_nobody_has_read_it(self) -> None:
        with mock.patch("ezez_ws.connection.server_side._IN_THE_KERNEL", 1000.0):
            self.check_not_decided(hold_before=True, late=500.0)

    def test_a_client_that_on_auth_request_disconnects_gets_no_answer(self) -> None:
        calls = Calls()

        def ask(client: EZEZServerClient, key: str) -> bool:
            client.disconnect(4000, "go")
            return True

        server = self.serve(
            on_auth_request=ask,
            on_auth_ok=calls.named("ok"),
            on_auth_rejected=calls.named("rejected"),
            on_disconnect=calls.named("disconnect", 1),
        )
        peer = self.peer(server, None)
        peer.send_values(AUTH, KEY, 1)
        self.assertEqual(([], 4000, "go"), tuple(peer.read_end()))
        peer.send_close(4000)
        self.assertEqual([("disconnect", 4000)], calls.wait())

    def test_a_peer_that_goes_while_it_is_verified_is_never_accepted(self) -> None:
        calls, gate = Calls(), self.gate()

        def ask(client: EZEZServerClient, key: str) -> bool:
            gate()
            eventually(lambda: not client.alive)
            return True

        server = self.serve(
            on_auth_request=ask, on_auth_ok=calls.named("ok"), on_disconnect=calls.named("disconnect", 1)
        )
        peer = self.peer(server, None)
        peer.send_values(AUTH, KEY, 1)
        gate.wait_entered()
        peer.send_close(1000)
        gate.open()
        self.assertEqual([("disconnect", 1000)], calls.wait())

    def test_an_error_in_on_auth_ok_goes_to_on_error_and_the_client_stays(self) -> None:
        calls = Calls()

        def ok(client: EZEZServerClient) -> None:
            raise ValueError("not ok")

        server = self.serve(on_auth_ok=ok, on_error=calls.named("error", 1))
        with self.assertNoLogs("ezez_ws", "ERROR"):
            peer = self.peer(server)
            self.assertIsInstance(calls.wait()[0][1], ValueError)
        server.on("echo", lambda client, args, reply, ids: reply("echo", args))
        peer.send_event("echo", [1])
        self.assertEqual([1], peer.read_event().args)


class BeforeTest(ServingTestCase):
    """``messages_before_auth``; ``busy`` means that ``on_auth_request`` runs."""

    def start(self, mode: str, **options: Any) -> tuple[RawPeer, Gate, Calls]:
        calls, gate = Calls(), self.gate()

        def ask(client: EZEZServerClient, key: str) -> bool:
            calls.add("ask")
            gate()
            return key == KEY

        options.setdefault("on_error", calls.named("error"))
        server = self.serve(
            messages_before_auth=mode,
            on_auth_request=ask,
            on_auth_ok=calls.named("ok"),
            on_message=calls.named("message", 1),
            **options,
        )
        server.on("first", calls.named("listener first"))
        return self.peer(server, None), gate, calls

    def talk(self, peer: RawPeer, gate: Gate) -> None:
        peer.send_event("first")
        peer.send_event("second", reply_to=77)
        peer.send_message("text is ignored")
        peer.send_values(AUTH, KEY, 1)
        gate.wait_entered()
        peer.send_event("third")
        peer.send_event("fourth", reply_to=78)
        gate.open()
        self.assertEqual([AUTH_OK], peer.read_values())
        peer.send_event("last")

    def test_ignore_drops_what_came_before_auth_ok(self) -> None:
        peer, gate, calls = self.start("ignore")
        self.talk(peer, gate)
        self.assertEqual([("ask",), ("ok",), ("message", "last")], calls.wait(3))

    def test_queue_handles_it_in_order_after_on_auth_ok(self) -> None:
        peer, gate, calls = self.start("queue")
        self.talk(peer, gate)
        names = ["ask", "ok", "first", "listener first", "second", "third", "fourth", "last"]
        self.assertEqual(names, [call[-1] for call in calls.wait(len(names))])

    def test_accept_handles_it_at_once_and_what_comes_while_busy_right_after_that(self) -> None:
        peer, gate, calls = self.start("accept")
        self.talk(peer, gate)
        names = ["first", "listener first", "second", "ask", "third", "fourth", "ok", "last"]
        self.assertEqual(names, [call[-1] for call in calls.wait(len(names))])

    def test_a_peer_can_be_answered_before_it_is_authenticated_with_accept(self) -> None:
        server = self.serve(messages_before_auth="accept")
        server.on("hello", lambda client, args, reply, ids: reply("hi", [client.authenticated]))
        peer = self.peer(server, None)
        peer.send_event("hello")
        self.assertEqual(["hi", 1, 1, False], peer.read_values())

    def check_early_reply(self, mode: str) -> tuple[list[Any], bool]:
        """Let ``on_auth_request`` ask the peer something, which replies while it runs; and again afterwards."""
        calls, gate = Calls(), self.gate()
        sent: list[Any] = []

        def ask(client: EZEZServerClient, key: str) -> bool:
            sent.append(client.send("question"))
            client.send("with on_reply", on_reply=calls.named("on_reply", 2))
            gate()
            return True

        server = self.serve(messages_before_auth=mode, on_auth_request=ask, on_auth_ok=calls.named("ok"))
        peer = self.peer(server, None)
        peer.send_values(AUTH, KEY, 1)
        gate.wait_entered()
        peer.send_event("answer", ["early"], reply_to=1)
        peer.send_event("answer", ["early"], reply_to=2)
        gate.open()
        while peer.read_values() != [AUTH_OK]:
            pass
        peer.send_event("answer", ["late"], reply_to=1)
        peer.send_event("answer", ["late"], reply_to=2)
        calls.wait(2)
        return calls.seen, sent[0].wait_reply(10).args == ["early"]

    def test_replies_are_ignored_too(self) -> None:
        self.assertEqual(([("ok",), ("on_reply", ["late"])], False), self.check_early_reply("ignore"))

    def test_replies_are_queued_too(self) -> None:
        self.assertEqual(([("ok",), ("on_reply", ["early"])], True), self.check_early_reply("queue"))

    def test_replies_are_accepted_too(self) -> None:
        self.assertEqual(([("on_reply", ["early"]), ("ok",)], True), self.check_early_reply("accept"))

    def test_malformed_messages_are_malformed_before_authentication(self) -> None:
        for mode in ("ignore", "queue", "accept"):
            with self.subTest(mode=mode):
                peer, _, calls = self.start(mode)
                peer.send_message(b"nonsense")
                self.assertEqual(([], 1002, "Malformed message"), tuple(peer.read_end()))
                self.assertEqual([("error",)], calls.wait())

    def test_malformed_messages_are_malformed_while_on_auth_request_runs(self) -> None:
        for mode in ("ignore", "queue", "accept"):
            with self.subTest(mode=mode):
                peer, gate, calls = self.start(mode)
                peer.send_values(AUTH, KEY, 1)
                gate.wait_entered()
                peer.send_message(b"nonsense")
                gate.open()
                self.assertEqual(([], 1002, "Malformed message"), tuple(peer.read_end()))
                self.assertEqual([("ask",), ("error",)], calls.wait(2))

    def test_the_queue_takes_exactly_its_limit_and_drops_what_is_over(self) -> None:
        peer, gate, calls = self.start("queue", queue_limit_bytes=1000, max_payload=1000)
        size = len(peer.event_bytes("a", [b""], event_id=1))
        full = b"x" * (500 - size - 2)  # two more digits in the length of the field
        for name in "ab":
            message = peer.event_bytes(name, [full])
            self.assertEqual(500, len(message))
            peer.send_message(message)
        peer.send_event("c")
        gate.open()
        peer.authenticate(KEY)
        peer.send_event("d")
        self.assertEqual(["ask", "ok", "a", "b", "d"], [call[-1] for call in calls.wait(5)])

    def test_a_smaller_message_fits_after_one_that_did_not(self) -> None:
        peer, gate, calls = self.start("queue", queue_limit_bytes=300, max_payload=300)
        peer.send_event("a", [b"x" * 200])
        peer.send_event("b", [b"x" * 200])
        peer.send_event("c")
        gate.open()
        peer.authenticate(KEY)
        self.assertEqual(["ask", "ok", "a", "c"], [call[-1] for call in calls.wait(4)])

    def test_overflow_can_disconnect(self) -> None:
        calls = Calls()
        peer, _, _ = self.start(
            "queue",
            queue_limit_bytes=300,
            max_payload=300,
            queue_overflow="disconnect",
            on_disconnect=calls.named("disconnect", 1),
        )
        peer.send_event("a", [b"x" * 200])
        peer.send_event("b", [b"x" * 200])
        end = peer.read_end()
        self.assertEqual(([], 1008), (end.messages, end.code))
        peer.close()
        self.assertEqual([("disconnect", 1008)], calls.wait())

    def test_overflow_can_disconnect_while_on_auth_request_runs(self) -> None:
        peer, gate, calls = self.start("queue", queue_limit_bytes=300, max_payload=300, queue_overflow="disconnect")
        peer.send_values(AUTH, KEY, 1)
        gate.wait_entered()
        peer.send_event("a", [b"x" * 200])
        peer.send_event("b", [b"x" * 200])
        gate.open()
        end = peer.read_end()
        self.assertEqual(([], 1008), (end.messages, end.code))
        self.assertEqual([("ask",)], calls.seen)

    def test_overflow_can_call_with_the_size_of_the_message(self) -> None:
        overflows = Calls()
        peer, gate, calls = self.start(
            "queue", queue_limit_bytes=300, max_payload=300, queue_overflow=overflows.named("overflow", 0, 1)
        )
        peer.send_event("a", [b"x" * 200])
        message = peer.event_bytes("b", [b"x" * 200])
        peer.send_message(message)
        gate.open()
        peer.authenticate(KEY)
        (overflow,) = overflows.wait()
        self.assertIsInstance(overflow[1], EZEZServerClient)
        self.assertEqual(len(message), overflow[2])
        self.assertEqual(["ask", "ok", "a"], [call[-1] for call in calls.wait(3)])

    def test_an_overflow_callback_that_raises_only_loses_that_message(self) -> None:
        def overflow(client: EZEZServerClient, size: int) -> None:
            raise ValueError("too much")

        peer, gate, calls = self.start("queue", queue_limit_bytes=300, max_payload=300, queue_overflow=overflow)
        with self.assertNoLogs("ezez_ws", "ERROR"):
            peer.send_event("a", [b"x" * 200])
            peer.send_event("b", [b"x" * 200])
            gate.open()
            peer.authenticate(KEY)
        self.assertEqual(["error", "ask", "ok", "a"], [call[-1] for call in calls.wait(4)])

    def test_early_events_with_a_wait_in_the_first_keep_their_order(self) -> None:
        order: list[str] = []
        gate = self.gate()

        def ask(client: EZEZServerClient, key: str) -> bool:
            gate()
            return True

        def on_message(client: EZEZServerClient, event: str, args: Any, reply: Any, ids: Any) -> None:
            order.append(event)
            if event == "a":
                client.send("ask").wait_reply(10)
                order.append("answered")

        server = self.serve(
            messages_before_auth="accept",
            on_auth_request=ask,
            on_message=on_message,
            on_auth_ok=lambda client: order.append("auth-ok"),
        )
        peer = self.peer(server, None)
        peer.send_values(AUTH, KEY, 1)
        gate.wait_entered()
        peer.send_event("a")
        peer.send_event("b")
        gate.open()
        question = peer.read_event()
        eventually(lambda: order == ["a", "b"])
        peer.send_event("c")
        eventually(lambda: order == ["a", "b", "c"])
        peer.send_event("answer", reply_to=question.ids.event_id)
        self.assertEqual([AUTH_OK], peer.read_values())
        peer.send_event("d")
        # the reply is an event, too, and its turn comes when the listener that waited for it has ended
        eventually(lambda: "d" in order)
        self.assertEqual(["a", "b", "c", "answered", "auth-ok", "answer", "d"], order)


class PayloadLimitTest(ServingTestCase):
    def sized(self, peer: RawPeer, size: int) -> bytes:
        rest = size
        while len(peer.event_bytes("big", [b"x" * rest], event_id=1)) > size:
            rest -= 1
        return peer.event_bytes("big", [b"x" * rest], event_id=1)

    def test_the_smaller_limit_holds_until_authentication_and_max_payload_after(self) -> None:
        calls = Calls()
        server = self.serve(max_payload_before_auth=1000, max_payload=5000, on_message=calls.named("message", 1))
        peer = self.peer(server, None)
        peer.send_message(self.sized(peer, 1000))
        peer.authenticate(KEY)
        message = self.sized(peer, 5000)
        self.assertEqual(5000, len(message))
        peer.send_message(message)
        self.assertEqual([("message", "big")], calls.wait())
        peer.send_message(message + b"x")
        self.assertEqual(1009, peer.read_end().code)

    def test_what_is_larger_is_dropped_in_silence_before_authentication(self) -> None:
        calls = Calls()
        callbacks = {name: calls.named(name, 1) for name in ("on_error", "on_message", "on_disconnect")}
        server = self.serve(max_payload_before_auth=1000, max_payload=5000, compression="deflate", **callbacks)
        peer = self.peer(server, None, extensions="permessage-deflate")
        message = self.sized(peer, 5000)
        deflater = Deflater(15, False)
        for size in (1001, 5000):
            peer.send_message(message[:size])
            peer.send_frame(BINARY, message[:300], fin=False)
            peer.send_ping(b"between")
            peer.send_frame(CONTINUATION, message[300:size])
            peer.send_message("x" * size)
            compressed = deflater.compress(message[:size])
            assert compressed is not None
            peer.send_frame(BINARY, compressed, rsv=RSV1)
            self.assertEqual(b"between", peer.read(PONG))
        peer.authenticate(KEY)
        peer.send_message(message)
        self.assertEqual([("on_message", "big")], calls.wait())

    def test_more_than_max_payload_closes_with_1009_before_authentication(self) -> None:
        calls = Calls()
        server = self.serve(
            max_payload_before_auth=1000,
            max_payload=5000,
            on_error=calls.named("error"),
            on_disconnect=calls.named("disconnect", 1),
        )
        peer = self.peer(server, None)
        peer.send_message(self.sized(peer, 5001))
        self.assertEqual(1009, peer.read_end().code)
        peer.close()
        self.assertEqual([("error",), ("disconnect", 1009)], calls.wait(2))

    def test_an_authentication_that_is_larger_is_1009_and_says_why(self) -> None:
        calls = Calls()
        server = self.serve(max_payload_before_auth=1000, max_payload=5000, on_error=calls.named("error", 1))
        peer = self.peer(server, None)
        peer.send_values(AUTH, "x" * 1000, 1)
        end = peer.read_end()
        self.assertEqual((1009, "an authentication message over 1000 bytes"), (end.code, end.reason))
        ((_, error),) = calls.wait()
        self.assertIsInstance(error, MalformedMessage)

    def test_a_second_authentication_is_dropped_however_large_it_is(self) -> None:
        gate = self.gate()

        def ask(client: EZEZServerClient, key: str) -> bool:
            gate()
            return True

        server = self.serve(max_payload_before_auth=1000, max_payload=5000, on_auth_request=ask)
        server.on("echo", lambda client, args, reply, ids: reply("echo"))
        peer = self.peer(server, None)
        peer.send_values(AUTH, KEY, 1)
        gate.wait_entered()
        peer.send_values(AUTH, "x" * 1000, 1)
        gate.open()
        self.assertEqual([AUTH_OK], peer.read_values())
        peer.send_event("echo")
        self.assertEqual("echo", peer.read_event().name)

    def test_what_began_before_auth_ok_is_dropped_to_its_end(self) -> None:
        calls, gate = Calls(), self.gate()

        def ask(client: EZEZServerClient, key: str) -> bool:
            gate()
            return True

        server = self.serve(
            max_payload_before_auth=1000,
            max_payload=5000,
            on_auth_request=ask,
            on_message=calls.named("message", 1),
            on_error=calls.named("error", 1),
        )
        peer = self.peer(server, None)
        peer.send_values(AUTH, KEY, 1)
        gate.wait_entered()
        frame = peer.frame(BINARY, self.sized(peer, 5000))
        peer.send_raw(frame[:2000])
        gate.open()
        self.assertEqual([AUTH_OK], peer.read_values())
        peer.send_raw(frame[2000:])
        peer.send_event("last")
        self.assertEqual([("message", "last")], calls.wait())

    def test_who_sends_all_the_time_is_rejected_in_time_all_the_same(self) -> None:
        server = self.serve(max_payload_before_auth=10, auth_timeout=0.3)
        peer = self.peer(server, None)

        def send() -> None:
            with contextlib.suppress(OSError):
                while True:
                    peer.send_message(bytes(50_000))

        sending = self.in_thread(send)
        end = peer.read_end()
        self.assertEqual(([[AUTH_REJECTED, "Auth timeout"]], 1008), (end.messages, end.code))
        peer.close()
        sending.get()

    def test_max_payload_holds_from_the_start_where_messages_count_before_authentication(self) -> None:
        for mode in ("queue", "accept"):
            with self.subTest(mode=mode):
                server = self.serve(messages_before_auth=mode, max_payload_before_auth=100, max_payload=5000)
                peer = self.peer(server, None)
                peer.send_message(self.sized(peer, 5000))
                peer.authenticate(KEY)

    def test_the_smaller_of_the_two_limits_holds_before_authentication(self) -> None:
        server = self.serve(max_payload_before_auth=5000, max_payload=1000)
        peer = self.peer(server, None)
        peer.send_message(self.sized(peer, 1001))
        self.assertEqual(1009, peer.read_end().code)

    def test_pings_are_answered_before_authentication(self) -> None:
        peer = self.peer(self.serve(), None)
        peer.send_ping(b"hello")
        self.assertEqual(b"hello", peer.read(PONG))


if __name__ == "__main__":
    unittest.main()
