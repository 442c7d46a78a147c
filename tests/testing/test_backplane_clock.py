"""Nodes on the log in memory, under the clock that a test moves."""

import unittest
from typing import Any

from ezez_ws import EZEZWebsocketServer
from ezez_ws.testing import FakeBackplane, FakeClock, Recorder
from tests.serving import Result, ServingTestCase
from tests.support import eventually

MOSTLY_WAITS = True


class ClockTest(ServingTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.log = FakeBackplane(heartbeat=5.0, node_timeout=15.0)

    def nodes(self) -> tuple[EZEZWebsocketServer, Recorder]:
        """Start two, and return one of them, and what a client in a room hears at the other."""
        options: dict[str, Any] = {"on_auth_ok": lambda client: client.join("tea"), "backplane": self.log}
        one, two = (self.serve(**options) for _ in range(2))
        recorder = Recorder(self.client(two))
        self.addCleanup(recorder.close)
        eventually(lambda: [client for client in two.clients if "tea" in client.rooms])
        return one, recorder

    def test_a_node_that_waits_is_no_step_of_the_clock(self) -> None:
        reader, writer = self.log.make_reader("a"), self.log.make_writer()
        reader.open()
        with FakeClock() as clock:
            read = Result(lambda: reader.read((0, 0), 1.0))
            clock.advance(60)
            self.assertFalse(read.done)
            writer.append([b"x"])
            self.assertEqual(1, len(read.get().entries))

    def test_what_is_delayed_comes_at_its_time(self) -> None:
        with FakeClock() as clock:
            one, recorder = self.nodes()
            self.log.delay(8.0)
            one.to("tea").send("late")
            clock.advance(7.9)
            recorder.assert_nothing("late", within=0.05)
            clock.advance(0.2)
            recorder.wait_for("late")
            self.log.delay(0.0)

    def test_nodes_know_each_other_for_minutes_and_an_outage_loses_nothing(self) -> None:
        with FakeClock() as clock:
            one, recorder = self.nodes()
            clock.advance(120)
            self.assertEqual(2, len(one.cluster.nodes))
            self.log.down()
            one.to("tea").send("kept")
            clock.advance(30)
            self.assertFalse(one.cluster.connected)
            recorder.assert_nothing("kept", within=0.05)
            self.log.up()
            clock.advance(10)
            recorder.wait_for("kept")
            self.assertTrue(one.cluster.connected)


if __name__ == "__main__":
    unittest.main()
