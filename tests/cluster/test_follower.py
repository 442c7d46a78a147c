"""Reading the log: from where on it is delivered."""

import threading
import unittest
from typing import Any
from unittest import mock

from ezez_ws.cluster.entries import Beat, Bye, Entry, Said, Target, encode_batch, encode_entry
from ezez_ws.cluster.follower import Follower
from ezez_ws.cluster.log import LogDown, Opened, Read
from ezez_ws.cluster.teller import Teller
from ezez_ws.testing import FakeClock

MAY_RUN_BESIDE = True


def entry(number: int) -> tuple[tuple[int, int], bytes]:
    said = Said(Target(("a",)), f"event {number}", b"")
    return (number, 0), encode_batch([encode_entry(Entry(f"producer-{number}", 1, said))])


class FollowerTest(unittest.TestCase):
    def setUp(self) -> None:
        self.clients: Any = mock.Mock()
        self.clients.window.let_go_ms = 0
        self.reader: Any = mock.Mock()
        backplane: Any = mock.Mock(heartbeat=5.0, node_timeout=15.0)
        backplane.make_reader.return_value = self.reader
        publisher: Any = mock.Mock()
        self.follower = Follower(backplane, "node", self.clients, publisher, Teller(None, None))

    def read(self, *numbers: int) -> None:
        self.reader.read.return_value = Read([entry(number) for number in numbers], [])
        self.follower._read()

    def delivered(self) -> list[str]:
        calls = [call.args for call in self.clients.pass_on.call_args_list]
        return [args[1].event for args in calls if args[1] is not None and args[2]]

    def test_what_comes_behind_what_was_there_is_delivered_though_it_is_read_along(self) -> None:
        self.follower._meet(Opened("epoch", b"secret", (2, 0)))
        self.read(1)
        self.assertFalse(self.follower.met.is_set())
        self.read(2, 3)
        self.assertTrue(self.follower.met.is_set())
        self.assertEqual(["event 3"], self.delivered())

    def test_events_of_several_entries_are_held_until_all_of_them_are_read(self) -> None:
        self.follower._meet(Opened("epoch", b"secret", (0, 0)))
        for numbers in ((1,), (2, 3)):
            self.clients.reset_mock()
            self.read(*numbers)
            calls = [call.args for call in self.clients.pass_on.call_args_list if call.args[1] is not None]
            self.assertEqual([len(numbers) > 1] * len(numbers), [args[4] for args in calls])
            self.assertEqual(mock.call.let_go(), self.clients.mock_calls[-1])

    def test_a_node_is_silent_for_longer_while_nothing_is_read(self) -> None:
        with FakeClock() as clock:
            self.follower._meet(Opened("epoch", b"secret", (0, 0)))
            beat = (1, 0), encode_batch([encode_entry(Entry("other", 1, Beat()))])
            self.reader.read.return_value = Read([beat], [])
            self.follower._read()
            clock.advance(7)
            self.read()
            self.assertEqual({"other": 7.0}, self.follower.silence())

    def test_what_a_node_has_sent_before_it_ended_is_taken_before_it_is_gone(self) -> None:
        told: list[Any] = []
        self.follower.on_inbox, self.follower.on_node_gone = told.append, told.append
        self.follower._meet(Opened("epoch", b"secret", (0, 0)))
        batches = [
            ((n, 0), encode_batch([encode_entry(Entry("other", n, what))])) for n, what in ((1, Beat()), (2, Bye()))
        ]
        self.reader.read.return_value = Read(batches, [b"answer"])
        self.follower._read()
        self.assertEqual([b"answer", "other"], told)

    def test_so_it_is_where_the_last_of_that_was_trimmed_meanwhile(self) -> None:
        self.follower._meet(Opened("epoch", b"secret", (2, 0)))
        self.read(1, 3)
        self.assertEqual(["event 3"], self.delivered())

    def test_what_was_read_in_an_earlier_epoch_cannot_be_had_where_it_comes_again(self) -> None:
        """Clients of a node that has not read it then may come from there, and it is not in our window."""
        self.follower._meet(Opened("epoch", b"secret", (0, 0)))
        self.read(1, 2)
        self.follower._meet(Opened("next", b"secret", (0, 0)))
        self.clients.reset_mock()
        self.reader.read.return_value = Read([((7, 0), entry(1)[1]), ((8, 0), entry(3)[1])], [])
        self.follower._read()
        self.clients.begin_window.assert_called_with((7, 0, 1))
        self.assertEqual(["event 3"], self.delivered())

    def test_another_epoch_before_that_was_read_does_not_end_the_silence(self) -> None:
        self.follower._meet(Opened("epoch", b"secret", (2, 0)))
        self.read(1)
        self.follower._meet(Opened("next", b"secret", (2, 0)))
        self.read(1, 2)
        self.assertEqual([], self.delivered())
        self.clients.begin_delivering.assert_called_once_with()
        self.read(3)
        self.assertEqual(["event 3"], self.delivered())

    def test_what_is_read_again_in_another_epoch_is_old_and_what_comes_behind_it_is_new(self) -> None:
        self.follower._meet(Opened("epoch", b"secret", (0, 0)))
        self.follower._meet(Opened("next", b"secret", (2, 0)))
        self.clients.reset_mock()
        self.read(1, 2, 3)
        calls = self.clients.mock_calls
        olds = [(call.args[1].event, call.args[3]) for call in calls if call[0] == "pass_on" and call.args[1]]
        self.assertEqual([("event 1", True), ("event 2", True), ("event 3", False)], olds)
        names = [call[0] for call in calls if call[0] != "begin_window"]
        self.assertEqual(4, names.index("end_rereading"), "behind two entries")

    def test_the_two_sides_are_told_in_the_order_in_which_they_change(self) -> None:
        told: list[str] = []
        entered, gate = threading.Event(), threading.Event()

        def tell(change: str, detail: str) -> None:
            if not entered.is_set():
                entered.set()
                gate.wait(30)
            told.append(change)

        self.follower._thread = mock.Mock()
        self.follower.note("reading", None)
        self.follower._teller = mock.Mock(tell_cluster=tell)
        with self.assertLogs("ezez_ws.cluster"):
            first = threading.Thread(target=self.follower.note, args=("writing", None))
            first.start()
            self.assertTrue(entered.wait(30))
            second = threading.Thread(target=self.follower.note, args=("reading", LogDown("gone")))
            second.start()
            second.join(1.0)  # nothing is waited for, where it is right
            gate.set()
            first.join()
            second.join()
        self.assertEqual(["up", "down"], told)
