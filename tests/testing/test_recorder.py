"""What a recorder keeps of a client, a server, and one of its clients."""

import threading
import unittest
from typing import Any
from unittest import mock

from ezez_ws import EZEZServerClient
from ezez_ws.testing import Recorder
from ezez_ws.testing.leftovers import connections_of
from tests.serving import ServingTestCase
from tests.support import eventually


class RecorderTestCase(ServingTestCase):
    def recorder(self, of: Any) -> Recorder:
        recorder = Recorder(of)
        self.addCleanup(recorder.close)
        return recorder

    def setUp(self) -> None:
        super().setUp()
        self.server = self.serve()
        self.server.on("echo", lambda client, args, reply, ids: reply("echo", args))
        self.server.handler("add", lambda client, a, b: a + b)

    def shout(self, event: str, args: list[Any]) -> None:
        """Broadcast to the one client that there is."""
        eventually(lambda: self.server.broadcast(event, args))


class WaitingTest(RecorderTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.recorder_ = self.recorder(self.client(self.server))

    def test_what_comes_is_waited_for(self) -> None:
        waiting = self.in_thread(lambda: self.recorder_.wait_for("chat"))
        self.shout("chat", ["hi"])
        self.assertEqual(("chat", ["hi"]), waiting.get()[:2])

    def test_what_has_come_is_taken_once_and_in_order(self) -> None:
        for number in range(3):
            self.shout("chat", [number])
        self.shout("end", [])
        self.recorder_.wait_for("end")
        self.assertEqual([[0], [1], [2]], [self.recorder_.wait_for("chat").args for _ in range(3)])
        with self.assertRaisesRegex(AssertionError, r"no 'chat' has come within 0\.05 s; what has come:"):
            self.recorder_.wait_for("chat", timeout=0.05)

    def test_where_chooses_and_leaves_the_others(self) -> None:
        for number in range(3):
            self.shout("chat", [number])
        self.assertEqual([2], self.recorder_.wait_for("chat", where=lambda one: one.args[0] == 2).args)
        self.assertEqual([0], self.recorder_.wait_for("chat").args)

    def test_a_failure_prints_what_did_come(self) -> None:
        with self.assertRaisesRegex(AssertionError, "no 'chat' has come within 0 s; nothing has come"):
            self.recorder_.wait_for("chat", timeout=0)
        self.shout("tea", [{"cups": 2}])
        self.recorder_.wait_for("tea")
        self.shout("cake", ["x" * 1000])
        self.recorder_.wait_for("cake", where=lambda one: True)
        with self.assertRaises(AssertionError) as caught:
            self.recorder_.wait_for("chat", timeout=0)
        text = str(caught.exception)
        self.assertIn("\n- 'tea' [{'cups': 2}] (id 1), taken\n- 'cake' ['xxx", text)
        self.assertLess(len(text), 500)

    def test_received_is_asserted_whether_it_was_taken_or_not(self) -> None:
        self.shout("chat", ["hi"])
        self.recorder_.wait_for("chat")
        self.assertEqual(["hi"], self.recorder_.assert_received("chat", ["hi"]).args)
        self.recorder_.assert_received("chat", where=lambda one: "h" in one.args[0])
        with self.assertRaisesRegex(AssertionError, r"no 'chat' with \['ho'\] has come within 0 s"):
            self.recorder_.assert_received("chat", ["ho"], timeout=0)

    def test_nothing_is_asserted_of_what_was_not_taken(self) -> None:
        self.recorder_.assert_nothing(within=0)
        self.shout("chat", [])
        self.recorder_.wait_for("chat")
        self.recorder_.assert_nothing(within=0)
        self.shout("tea", [])
        with self.assertRaisesRegex(AssertionError, r"nothing should have come within 30 s; what has come:"):
            self.recorder_.assert_nothing(within=30)
        self.recorder_.assert_nothing("chat", within=0)
        with self.assertRaisesRegex(AssertionError, "no 'tea' should have come"):
            self.recorder_.assert_nothing("tea", within=30)
        self.recorder_.clear()
        self.recorder_.assert_nothing(within=0)


class RecordingTest(RecorderTestCase):
    def test_a_client_has_what_it_sent_and_got_with_replies_to_calls(self) -> None:
        client = self.client(self.server)
        recorder = self.recorder(client)
        self.assertEqual(3, client.call("add", [1, 2], timeout=10))
        client.send("echo", ("x",)).wait_reply(10)
        self.assertEqual(3, client.submit("add", [1, 2]).result(10))
        recorder.wait_for("echo")
        eventually(lambda: len(recorder.received) == 3)
        self.assertEqual([("add", [1, 2]), ("echo", ["x"]), ("add", [1, 2])], [one[:2] for one in recorder.sent])
        self.assertEqual([1, 2, 3], [one.ids.event_id for one in recorder.sent])
        self.assertEqual([1, 2, 3], [one.ids.reply_to for one in recorder.received])
        self.assertIsNone(recorder.sent[0].client)
        recorder.assert_nothing(within=0.05)  # replies are none

    def test_a_server_has_those_of_all_clients_and_which_client_it_was(self) -> None:
        recorder = self.recorder(self.server)
        one, other = self.client(self.server), self.client(self.server)
        one.send("hello", [1])
        other.send("hello", [2])
        found = recorder.wait_for("hello", where=lambda seen: seen.args == [2])
        self.assertEqual(2, len(self.server.clients))
        assert found.client is not None
        self.assertIn(found.client, self.server.clients)
        found.client.send("private", [3])
        self.assertEqual(("private", [3], found.client), (recorder.sent[0][:2] + recorder.sent[0][3:]))
        self.server.broadcast("all", [4])
        self.assertEqual([[4], [4]], [sent.args for sent in recorder.sent if sent.event == "all"])
        self.assertRegex(str(found), r"'hello' \[2\] \(id 1, client \d+\)")

    def test_what_is_said_in_a_room_is_sent(self) -> None:
        recorder = self.recorder(self.server)
        self.client(self.server).send("hello")
        client = recorder.wait_for("hello").client
        assert client is not None
        client.join("tea")
        self.server.to("tea").send("served", [1])
        eventually(lambda: [one for one in recorder.sent if one.event == "served" and one.args == [1]])

    def test_one_client_of_a_server_alone(self) -> None:
        side, peer = self.pair(self.server)
        recorder = self.recorder(side)
        self.client(self.server).send("echo").wait_reply(10)
        peer.send_event("echo", ["mine"])
        self.assertEqual(["mine"], recorder.wait_for("echo").args)
        self.assertEqual(1, len(recorder.received))
        self.assertEqual([["mine"]], [one.args for one in recorder.sent])

    def test_it_goes_on_after_a_reconnect_and_with_a_client_that_is_not_connected_yet(self) -> None:
        client = self.client(self.server, reconnect_delay=0.02)
        recorder = self.recorder(client)
        self.shout("chat", [1])
        recorder.wait_for("chat")
        self.server.clients[0].disconnect(1012)
        eventually(lambda: not client.alive)
        client.send("queued", [1])
        client.connect(10)
        self.shout("chat", [2])
        self.assertEqual([2], recorder.wait_for("chat").args)
        self.assertEqual(["queued"], [one.event for one in recorder.sent])

    def test_an_event_without_arguments_is_noted_in_each_way_of_sending(self) -> None:
        client = self.client(self.server)
        client.handler("one", lambda: 1)
        self.server.handler("one", lambda client: 1)
        recorders = [self.recorder(client), self.recorder(self.server)]
        self.assertEqual(1, client.submit("one").result(10))
        self.shout("b", [])
        self.assertTrue(self.server.broadcast("c"))
        self.server.everyone.send("d")
        self.server.clients[0].join("room")
        self.server.to("room").send("e")
        self.assertEqual(1, len(self.server.call_all("one", timeout=10)))
        recorders[0].wait_for("e")
        self.assertEqual([("one", [])], [one[:2] for one in recorders[0].sent if one.ids.reply_to is None])
        sent = [one[:2] for one in recorders[1].sent if one.ids.reply_to is None]
        self.assertEqual([(name, []) for name in ("b", "c", "d", "e", "one")], sent)

    def test_what_cannot_be_noted_is_sent_all_the_same(self) -> None:
        client = self.client(self.server)
        recorder = self.recorder(client)
        (connection,) = connections_of(client)
        with mock.patch.object(type(connection._codec), "decode", side_effect=KeyError("a hook's")):
            recorder._note_sent(connection, "add", b"[1]", 7)
        recorder._note_sent(connection, "add", 5, 8)
        told = [["<3 bytes, which this side cannot decode>"], ["<int, which this side cannot decode>"]]
        self.assertEqual(told, [one.args for one in recorder.sent])

    def test_what_is_unknown_is_answered_as_without_it(self) -> None:
        server = self.serve(unknown_events="error")
        recorder = self.recorder(server)
        client = self.client(server)
        self.assertEqual("ezez-ws:error", client.send("misspelt").wait_reply(10).event)
        recorder.wait_for("misspelt")

    def test_two_of_the_same_do_not_disturb_each_other(self) -> None:
        client = self.client(self.server)
        one, two = self.recorder(client), self.recorder(client)
        one.close()
        one.close()
        self.shout("chat", [1])
        two.wait_for("chat")
        self.assertEqual([], one.received)
        self.assertEqual(1, len(two.received))

    def test_wrong_things_are_named(self) -> None:
        with self.assertRaisesRegex(TypeError, "takes a client or a server, not str"):
            Recorder("server")  # type: ignore[arg-type]


class CallingBackTest(RecorderTestCase):
    """Listeners, handlers and callbacks may do under a recorder whatever they may do without one."""

    def setUp(self) -> None:
        super().setUp()
        self.server.handler("join", lambda client: len(client.join("room")))
        self.server.handler("ask", lambda client: client.call("who", timeout=10))
        self.server.handler("ask-all", lambda client: len(self.server.call_all("who", timeout=10)))
        self.client_ = self.client(self.server)
        self.client_.handler("who", lambda: "me")

    def check(self) -> None:
        self.assertEqual(2, self.client_.call("join", timeout=10))
        self.assertEqual("me", self.client_.call("ask", timeout=10))
        self.assertEqual(1, self.client_.call("ask-all", timeout=10))

    def test_a_handler_joins_a_room_and_waits_for_a_reply(self) -> None:
        for of in (self.server, self.server.clients[0], self.client_):
            with self.subTest(of), Recorder(of):
                self.check()

    def test_it_does_after_the_recorder_is_closed_too(self) -> None:
        Recorder(self.server).close()
        self.check()

    def test_a_clients_listener_calls_and_closes(self) -> None:
        called: list[Any] = []
        self.client_.on("news", lambda args, reply, ids: called.append(self.client_.call("add", [1, 2], timeout=10)))
        self.client_.on("end", lambda args, reply, ids: self.client_.close())
        recorder = self.recorder(self.client_)
        self.shout("news", [])
        recorder.wait_for("news")
        self.shout("end", [])
        recorder.wait_for("end")
        self.assertEqual(([3], False), (called, self.client_.alive))

    def test_the_last_that_is_closed_leaves_the_connection_as_it_was(self) -> None:
        (connection,) = connections_of(self.client_)
        before = connection.deliver
        one, two = Recorder(self.client_), Recorder(self.client_)
        two.close()
        one.close()
        self.assertEqual(before, connection.deliver)


class HandlingTest(RecorderTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.stuck = self.gate()
        self.done = threading.Event()
        self.recorder_ = self.recorder(self.server)

        @self.server.on("work")
        def work(client: EZEZServerClient, args: list[Any], reply: Any, ids: Any) -> None:
            self.stuck()
            self.done.set()

        self.client(self.server).send("work")
        self.stuck.wait_entered()

    def test_an_event_is_waited_for_until_its_listeners_have_returned(self) -> None:
        waiting = self.in_thread(lambda: (self.recorder_.wait_for("work"), self.done.is_set()))
        with self.assertRaisesRegex(AssertionError, r"'work' has come, but its listeners have not returned"):
            self.recorder_.wait_for("work", timeout=0.05)
        self.assertFalse(waiting.done)
        self.stuck.open()
        self.assertTrue(waiting.get()[1])

    def test_or_only_until_it_comes(self) -> None:
        self.recorder_.wait_for("work", handled=False)
        self.assertFalse(self.done.is_set())


if __name__ == "__main__":
    unittest.main()
