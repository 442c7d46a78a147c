"""The log in memory: what it does by itself, and our tests of rooms and recovery on it instead of Redis."""

import threading
import unittest
from typing import Any

from ezez_ws import EZEZWebsocketServer
from ezez_ws.cluster.log import Backplane, LogDown, Opened, Read
from ezez_ws.testing import FakeBackplane, Recorder
from tests.serving import KEY, ServingTestCase
from tests.support import eventually

MOSTLY_WAITS = True


class LogTest(ServingTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.log = FakeBackplane()
        self.reader, self.writer = self.log.make_reader("a"), self.log.make_writer()
        self.opened = self.reader.open()

    def read(self, after: tuple[int, int] = (0, 0), wait: float = 0.0) -> Read:
        found = self.reader.read(after, wait)
        assert isinstance(found, Read)
        return found

    def test_it_is_a_backplane(self) -> None:
        plan: Backplane = self.log
        self.assertGreater(plan.node_timeout, plan.heartbeat)

    def test_entries_come_in_order_with_rising_ids_after_the_one_that_is_named(self) -> None:
        for number in range(70):
            self.writer.append([b"%d" % number])
        first = self.read()
        self.assertEqual(64, len(first.entries))
        rest = self.read(first.entries[-1][0])
        self.assertEqual(6, len(rest.entries))
        ids = [id for id, _ in first.entries + rest.entries]
        self.assertEqual(sorted(set(ids)), ids)
        self.assertEqual(ids[-1], first.newest)

    def test_who_waits_is_woken_by_an_entry_a_message_and_the_end(self) -> None:
        for act in (lambda: self.writer.append([b"x"]), lambda: self.writer.send_to("a", b"y")):
            waiting = self.in_thread(self.read, self.log._last, 1.0)
            act()
            waiting.get()
        waiting = self.in_thread(self.reader.read, (1 << 60, 0), 1.0)
        self.log.down()
        with self.assertRaisesRegex(LogDown, "is down"):
            waiting.get()
            self.reader.read((0, 0), 0.0)
        self.assertRaises(LogDown, self.writer.append, [b"x"])
        self.log.up()
        self.writer.append([b"x"])
        self.reader.cut()
        with self.assertRaisesRegex(LogDown, "closed"):
            self.reader.read((0, 0), 1.0)

    def test_an_inbox_is_there_from_the_opening_to_the_closing(self) -> None:
        self.assertTrue(self.writer.has_inbox("a"))
        self.assertTrue(self.writer.send_to("a", b"x"))
        self.assertEqual([b"x"], self.read().inbox)
        self.reader.close()
        self.assertFalse(self.writer.send_to("a", b"x"))

    def test_an_emptied_one_is_another(self) -> None:
        self.writer.append([b"x"])
        self.log.empty()
        found = self.reader.read((0, 0), 1.0)
        assert isinstance(found, Opened)
        self.assertNotEqual(self.opened.epoch, found.epoch)
        self.assertNotEqual(self.opened.secret, found.secret)
        self.assertEqual(found.epoch, self.writer.open())
        self.assertEqual([], self.read().entries)

    def test_what_is_delayed_comes_later(self) -> None:
        self.log.delay(0.3)
        self.writer.append([b"x"])
        self.assertEqual([], self.read().entries)
        self.assertEqual(1, len(self.read(wait=1.0).entries))

    def test_it_lets_go_of_what_is_old_and_of_too_much(self) -> None:
        log = FakeBackplane(max_length=3)
        writer, reader = log.make_writer(), log.make_reader("a")
        reader.open()
        for _ in range(5):
            writer.append([b"x"])
        found = reader.read((0, 0), 0.0)
        assert isinstance(found, Read)
        self.assertEqual(3, len(found.entries))
        writer.trim(found.entries[-1][0][0] + 1)
        self.assertEqual(Read([], []), reader.read((0, 0), 0.0))

    def test_the_class_is_no_backplane(self) -> None:
        with self.assertRaisesRegex(TypeError, "backplane must be .*, not the class FakeBackplane"):
            EZEZWebsocketServer(port=0, backplane=FakeBackplane, on_auth_request=lambda client, key: True)  # type: ignore[arg-type]

    def test_wrong_arguments_are_named(self) -> None:
        with self.assertRaisesRegex(ValueError, r"node_timeout \(1\) must be more than heartbeat \(2\)"):
            FakeBackplane(heartbeat=2, node_timeout=1)


class ClusterTest(ServingTestCase):
    """Two nodes on it."""

    def setUp(self) -> None:
        super().setUp()
        self.log = FakeBackplane()
        self.nodes = [self.node(), self.node()]
        for node in self.nodes:
            eventually(lambda node=node: len(node.cluster.nodes) == 2, 20)  # type: ignore[misc]

    def node(self) -> EZEZWebsocketServer:
        options: dict[str, Any] = {"on_auth_ok": lambda client: client.join("tea")}
        return self.serve(backplane=self.log, **options)

    def member(self, node: EZEZWebsocketServer, **options: Any) -> Recorder:
        client = self.client(node, reconnect_delay=0.02, **options)
        recorder = Recorder(client)
        self.addCleanup(recorder.close)
        eventually(lambda: [one for one in node.clients if "tea" in one.rooms])
        return recorder

    def test_a_room_spans_both_and_an_outage_loses_nothing(self) -> None:
        one, two = self.nodes
        recorder = self.member(two)
        self.assertTrue(one.to("tea").send("served", [1]).wait(10))
        recorder.assert_received("served", [1], timeout=10)
        self.log.down()
        eventually(lambda: not one.cluster.connected)
        publication = one.to("tea").send("served", [2])
        recorder.assert_nothing("served", within=0.1)
        self.log.up()
        self.assertTrue(publication.wait(10))
        recorder.assert_received("served", [2], timeout=10)

    def test_a_client_recovers_at_the_other_node(self) -> None:
        one, two = self.nodes
        urls = [two.url]
        missed = threading.Event()
        recorder = self.member(two)
        client = self.client(two, reconnect_delay=0.02, recover=True, on_missed=lambda rooms: missed.set(), auth=KEY)
        recorder = Recorder(client)
        self.addCleanup(recorder.close)
        eventually(lambda: "tea" in client.rooms)
        one.to("tea").send("served", [0])
        recorder.wait_for("served", timeout=10)
        two.clients[-1].disconnect(1012)
        one.to("tea").send("served", [1])
        recorder.assert_received("served", [1], timeout=10)
        self.assertFalse(missed.is_set())
        self.assertEqual([two.url], urls)

    def test_an_emptied_log_is_heard_of_and_the_room_goes_on(self) -> None:
        one, two = self.nodes
        recorder = self.member(two)
        self.log.empty()
        eventually(lambda: one.cluster.epochs and two.cluster.epochs)
        eventually(lambda: len(one.cluster.nodes) == 2, 20)
        one.to("tea").send("served", [1])
        recorder.assert_received("served", [1], timeout=10)


if __name__ == "__main__":
    unittest.main()
