"""What a client remembers, without a connection."""

import unittest
from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from ezez_ws import MalformedMessage
from ezez_ws.connection import recovery
from ezez_ws.connection.recovery import Memory
from ezez_ws.messages.codec import Codec
from ezez_ws.messages.protocol import Event, Ids
from ezez_ws.messages.recovery import At, Entered, Joined, Left, Missed, Position, Published, parse_position

MAY_RUN_BESIDE = True

ANSWER = {"recover": 1, "session": "s" * 32, "address": "n:1", "window": 120, "limit": 65536}


def at(number: int, epoch: str = "e") -> Position:
    return Position(epoch, number, 0, 1)


def published(number: int, epoch: str = "e") -> Published:
    return Published(Event("a", Ids(1, None), []), at(number, epoch))


def joined(position: int, *rooms: tuple[str, bool | None, int], replayed: int = 0, epoch: str = "e") -> Joined:
    entered = [
        Entered(room, back, str(at(since, epoch)), f"ticket of {room} since {since}") for room, back, since in rooms
    ]
    return Joined(entered, at(position, epoch), replayed)


def measure(shown: dict[str, Any]) -> int:
    return len(Codec().encode([shown]))


class MemoryTest(unittest.TestCase):
    def setUp(self) -> None:
        self.memory = Memory()
        self.assertEqual({"recover": 1}, self.memory.begin(measure))
        self.assertEqual((True, []), self.memory.accept(ANSWER))

    def positions(self) -> dict[str, int]:
        """Come back: with which positions."""
        shown = self.memory.begin(measure)
        self.assertEqual("s" * 32, shown["session"])
        self.memory.accept(ANSWER)
        return {room: int(one[0].partition(":")[2].partition("-")[0]) for room, one in shown["rooms"].items()}

    def test_rooms_that_are_entered_stand_at_the_last_position(self) -> None:
        self.assertEqual([], self.memory.heed(joined(5, ("*", None, 5), ("a", None, 5))))
        self.assertEqual({"a"}, self.memory.rooms)
        self.memory.heed(published(6))
        self.memory.heed(joined(7, ("b", None, 7)))
        self.memory.heed(At(at(8)))
        self.assertEqual({"a", "b"}, self.memory.rooms)
        self.assertEqual({"*": 8, "a": 8, "b": 8}, self.positions())
        self.assertEqual(frozenset(), self.memory.rooms)

    def test_rooms_that_are_not_entered_again_stay_where_they_stood(self) -> None:
        self.memory.heed(joined(5, ("a", None, 5), ("b", None, 5)))
        self.positions()
        self.memory.heed(joined(9, ("a", True, 5)))
        self.memory.heed(published(10))
        self.assertEqual({"a": 10, "b": 5}, self.positions())

    def test_what_it_has_read_elsewhere_does_not_come_again_from_a_node_that_is_behind(self) -> None:
        self.memory.heed(joined(5, ("a", None, 5)))
        self.memory.heed(published(9))
        self.positions()
        nowhere = Joined([Entered("a", None, "none:0-0.0", "")], Position("none", 0, 0, 0), 0)  # by one with no log yet
        self.assertEqual(["a"], self.memory.heed(nowhere))
        self.assertEqual({}, self.positions())
        self.assertEqual(["a"], self.memory.heed(joined(7, ("a", None, 7))))
        self.assertEqual([None, None, []], [self.memory.heed(published(number)) for number in (8, 9, 10)])
        self.positions()
        self.memory.heed(joined(7, ("a", False, 7)))
        self.assertEqual({"a": 10}, self.positions(), "it has not read less than before")
        self.memory.heed(joined(12, ("a", True, 7), ("b", True, 3), replayed=2))
        self.assertEqual([[], []], [self.memory.heed(published(number)) for number in (4, 11)], "a replay is whole")

    def test_a_position_that_the_server_tells_does_not_go_back(self) -> None:
        self.memory.heed(joined(9, ("a", None, 9)))
        for said in (At(at(7)), Missed(at(7))):
            self.assertEqual({"a": 9}, self.positions())
            self.memory.heed(joined(9, ("a", True, 9)))
            self.memory.heed(said)
        self.assertEqual({"a": 9}, self.positions())

    def test_what_a_node_reads_again_is_of_the_log_that_it_reads(self) -> None:
        self.memory.heed(joined(5, ("a", None, 5)))
        self.memory.heed(published(9))
        self.positions()
        self.memory.heed(joined(7, ("a", True, 5), epoch="e-"))
        self.assertEqual([None, None, []], [self.memory.heed(published(number, "e-")) for number in (8, 9, 10)])
        self.assertEqual({"a": 10}, self.positions())
        self.memory.heed(joined(7, ("a", None, 7)))
        self.assertEqual([None, None, []], [self.memory.heed(published(number)) for number in (8, 10, 11)])
        self.positions()
        self.memory.heed(joined(7, ("a", True, 5), epoch="e-"))
        shown = self.memory.begin(measure)["rooms"]["a"][0]
        self.assertEqual(str(at(11, "e-")), shown, "it stays one from which no node recovers")

    def test_a_server_cannot_make_it_remember_logs_without_end(self) -> None:
        for number in range(17):
            self.memory.heed(At(at(5, f"e{number}")))
            self.positions()
        self.assertEqual([], self.memory.heed(published(4, "e0")), "forgotten")
        self.assertEqual([None, []], [self.memory.heed(published(number, "e1")) for number in (5, 6)])

    def test_a_replay_that_is_broken_off_is_nothing_that_it_has_read(self) -> None:
        self.memory.heed(joined(5, ("a", None, 5)))
        self.positions()
        self.memory.heed(joined(20, ("a", True, 5), replayed=3))
        self.memory.heed(published(6))
        self.assertEqual({"a": 6}, self.positions())
        self.memory.heed(joined(7, ("a", True, 5)))  # by a node that is behind
        self.assertEqual([[], []], [self.memory.heed(published(number)) for number in (8, 20)])

    def test_a_replay_that_is_broken_off_goes_on_where_it_was(self) -> None:
        self.memory.heed(joined(5, ("a", None, 5), ("b", None, 5)))
        self.memory.heed(published(7))
        self.positions()
        self.assertEqual([], self.memory.heed(joined(20, ("a", True, 5), ("c", None, 20), replayed=3)))
        self.assertEqual({"a", "c"}, self.memory.rooms)
        self.memory.heed(published(8))
        self.memory.heed(published(9))
        self.assertEqual({"a": 9, "b": 7, "c": 20}, self.positions())

    def test_a_replay_that_is_whole_ends_at_its_position(self) -> None:
        self.memory.heed(joined(5, ("a", None, 5)))
        self.positions()
        self.memory.heed(joined(20, ("a", True, 5), replayed=1))
        self.memory.heed(published(8))
        self.assertEqual({"a": 20}, self.positions())

    def test_while_one_room_is_replayed_the_others_do_not_go_back(self) -> None:
        self.memory.heed(joined(5, ("a", None, 5), ("b", None, 5)))
        self.positions()
        self.memory.heed(joined(20, ("a", True, 5)))
        self.memory.heed(joined(20, ("b", True, 5), replayed=2))
        self.memory.heed(published(8))
        self.assertEqual({"a": 20, "b": 8}, self.positions())

    def test_rooms_whose_events_were_lost_are_told(self) -> None:
        self.memory.heed(joined(5, ("*", None, 5), ("a", None, 5), ("b", None, 5)))
        self.positions()
        self.assertEqual(
            ["a", "b"], self.memory.heed(joined(9, ("*", True, 5), ("b", False, 9), ("a", None, 9), ("c", None, 9)))
        )
        self.assertEqual(["*", "a", "b", "c"], self.memory.heed(Missed(at(12))))
        self.assertEqual({"*": 12, "a": 12, "b": 12, "c": 12}, self.positions())

    def test_a_server_that_does_not_recover_has_lost_all(self) -> None:
        self.memory.heed(joined(5, ("*", None, 5), ("a", None, 5)))
        self.memory.begin(measure)
        self.assertEqual((False, ["*", "a"]), self.memory.accept(None))
        self.assertEqual({"recover": 1}, self.memory.begin(measure))
        for answer in ({}, {"recover": 2}, {"recover": 1}, {"recover": 1, "session": 5}, "recover"):
            self.assertEqual((False, []), self.memory.accept(answer))

    def test_a_room_that_was_left_is_forgotten(self) -> None:
        self.memory.heed(joined(5, ("a", None, 5), ("b", None, 5)))
        self.memory.heed(Left(["a", "c"]))
        self.assertEqual({"b"}, self.memory.rooms)
        self.assertEqual({"b": 5}, self.positions())
        self.assertEqual([], self.memory.heed(joined(9, ("a", None, 9))))

    def test_tickets_of_another_session_are_not_shown_but_their_rooms_are_known(self) -> None:
        self.memory.heed(joined(5, ("a", None, 5)))
        self.memory.begin(measure)
        self.memory.accept(ANSWER | {"session": "t" * 32})
        self.assertEqual({"recover": 1, "session": "t" * 32, "rooms": {}}, self.memory.begin(measure))
        self.memory.accept(ANSWER | {"session": "t" * 32})
        self.assertEqual(["a"], self.memory.heed(joined(9, ("a", None, 9))))

    def test_another_epoch_replaces(self) -> None:
        self.memory.heed(joined(50, ("a", None, 50)))
        self.assertEqual([], self.memory.heed(joined(1, ("a", True, 1), epoch="f")))
        self.memory.heed(published(2, "f"))
        shown = self.memory.begin(measure)
        self.assertEqual(["f:2-0.1", "f:1-0.1", "ticket of a since 1"], shown["rooms"]["a"])

    def test_what_it_shows_fits_into_what_the_server_takes(self) -> None:
        self.memory.accept(ANSWER | {"limit": 2000})
        for number in range(100):
            self.memory.heed(joined(5, (f"room {number}", None, 5)))
        shown = self.memory.begin(measure)
        self.assertTrue(10 < len(shown["rooms"]) < 50)
        self.assertLessEqual(measure(shown), 2000)

    def test_a_server_cannot_make_it_remember_without_end(self) -> None:
        with mock.patch.object(recovery, "_MOST_ROOMS", 4):
            self.memory.heed(joined(5, *((room, None, 5) for room in "abc")))
            self.positions()
            self.memory.heed(joined(6, *((room, None, 6) for room in "de")))
            self.assertEqual({"b": 5, "c": 5, "d": 6, "e": 6}, self.positions())
            self.memory.heed(joined(7, *((room, None, 7) for room in "abcd")))
            with self.assertRaisesRegex(MalformedMessage, "at most 4 rooms"):
                self.memory.heed(joined(8, ("f", None, 8)))
            self.assertEqual(set("abcd"), self.memory.rooms)
        for room, ticket in (("ż" * 128, "t"), ("", "t"), ("a", "t" * 256), ("a", "\ud800")):
            with self.assertRaisesRegex(MalformedMessage, "at most 255 bytes"):
                self.memory.heed(Joined([Entered(room, None, str(at(1)), ticket)], at(9), 0))

    def test_the_tickets_of_everyone_and_of_the_rooms_entered_last_are_shown_first(self) -> None:
        for number in range(300):
            self.positions()
            self.memory.heed(joined(5, ("old", None, 5), ("*", None, 5), (f"room {number}", None, 5)))
        self.memory.accept(ANSWER | {"limit": 400})
        self.assertEqual(["*", "room 299", "old"], list(self.memory.begin(measure)["rooms"])[:3])

    def test_a_room_that_is_left_inside_its_replay_is_forgotten(self) -> None:
        self.memory.heed(joined(5, ("a", None, 5), ("b", None, 5)))
        self.positions()
        self.memory.heed(joined(20, ("a", True, 5), ("b", True, 5), replayed=2))
        self.memory.heed(Left(["a"]))
        self.assertEqual({"b"}, self.memory.rooms)
        self.memory.heed(published(8))
        self.assertEqual({"b": 8}, self.positions())

    def test_an_older_connection_moves_nothing_any_more(self) -> None:
        old, new = object(), object()
        memory = Memory()
        memory.begin(measure, old)
        memory.accept(ANSWER, old)
        memory.heed(joined(5, ("a", None, 5)), old)
        memory.begin(measure, new)
        memory.accept(ANSWER, new)
        memory.heed(joined(5, ("a", True, 5)), new)
        for said in (published(6), Left(["a"]), Missed(at(7)), At(at(8)), joined(9, ("b", None, 9))):
            self.assertIsNone(memory.heed(said, old))
        memory.lose(old)
        self.assertEqual((False, []), memory.accept(None, old))
        self.assertEqual({"a"}, memory.rooms)
        self.assertEqual(str(at(5)), memory.begin(measure)["rooms"]["a"][0])

    @given(
        st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["publish", "join", "leave", "cut"])), max_size=40)
    )
    def test_it_stands_where_a_model_stands(self, steps: list[tuple[str, str]]) -> None:
        memory = Memory()
        memory.begin(measure)
        memory.accept(ANSWER)
        stands: dict[str, int] = {}
        inside: set[str] = set()
        for top, (room, step) in enumerate(steps, 1):
            if step == "publish" and inside:
                memory.heed(published(top))
                stands.update(dict.fromkeys(inside, top))
            elif step == "join" and room not in inside:
                memory.heed(joined(top, (room, room in stands or None, 1)))
                inside.add(room)
                stands.update(dict.fromkeys(inside, top))
            elif step == "leave":
                memory.heed(Left([room]))
                inside.discard(room)
                stands.pop(room, None)
            elif step == "cut":
                shown = memory.begin(measure)
                self.assertEqual(
                    {one: str(at(number)) for one, number in stands.items()},
                    {one: had[0] for one, had in shown["rooms"].items()},
                )
                memory.accept(ANSWER)
                inside = set()
            self.assertEqual(inside, memory.rooms)


class World:
    """A server of ten lines with a log of its own, whose client is cut anywhere; ``due``: what is still to be heard."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.log: list[str] = []  # the room of each publication
        self.tickets: dict[str, int] = {}  # shown on this connection: room to position
        self.inside: set[str] = set()
        self.due: list[Joined | Published] = []
        self.owed: dict[str, int] = {}  # what the program has of a room is complete from there on
        self.got: dict[str, list[int]] = {}
        self.lost_before = 0  # a server cannot replay what lies before
        self.come()

    def come(self) -> None:
        self.due, self.inside = [], set()
        rooms = self.memory.begin(measure).get("rooms", {})
        self.tickets = {room: parsed(proof[0]).ms for room, proof in rooms.items()}
        self.memory.accept(ANSWER)

    def publish(self, room: str) -> None:
        self.log.append(room)
        if room in self.inside:
            self.due.append(self.publication(len(self.log)))

    def join(self, rooms: set[str]) -> None:
        new, top = sorted(rooms - self.inside), len(self.log)
        back = {room: self.tickets[room] for room in new if self.tickets.get(room, -1) >= self.lost_before}
        since = min(back.values(), default=top)
        missed = [one for one in range(since + 1, top + 1) if back.get(self.log[one - 1], top) < one]
        states = [(room, room in back if room in self.tickets else None, 0) for room in new]
        self.due += [joined(top, *states, replayed=len(missed)), *map(self.publication, missed)]
        self.inside |= rooms

    def publication(self, number: int) -> Published:
        return Published(Event(self.log[number - 1], Ids(1, None), [number]), at(number))

    def hear(self, count: int) -> None:
        for _ in range(min(count, len(self.due))):
            said = self.due.pop(0)
            missed = self.memory.heed(said) or []
            if isinstance(said, Published):
                self.got[said.event.name].append(said.event.args[0])
                continue
            for room in {one.room for one in said.rooms if one.room not in self.owed} | set(missed):
                self.owed[room], self.got[room] = said.position.ms, []

    def check(self) -> None:
        """All has been heard of the rooms that it is in: each publication once, in order, from a known place on."""
        self.hear(len(self.due))
        for room in self.inside:
            wanted = [one for one, name in enumerate(self.log, 1) if name == room and one > self.owed[room]]
            assert self.got[room] == wanted, (room, self.got[room], wanted)


def parsed(text: str) -> Position:
    position = parse_position(text)
    assert position is not None
    return position


ROOMS = st.sets(st.sampled_from("abc"), min_size=1)
EVENTS = st.text("abc", max_size=4)
STEPS = st.lists(st.tuples(EVENTS, ROOMS, EVENTS, st.integers(0, 6)), min_size=1, max_size=3)
"""On one connection: what is published, the rooms that are joined then, what is published, how much of all is heard."""


class OnceTest(unittest.TestCase):
    @settings(max_examples=300, deadline=None)
    @given(st.lists(st.tuples(STEPS, st.booleans()), max_size=6))
    def test_cut_anywhere_each_publication_is_got_once_or_told_missed(
        self, connections: list[tuple[Any, bool]]
    ) -> None:
        world = World()
        for steps, forgets in connections:
            for before, rooms, after, heard in steps:
                for room in before:
                    world.publish(room)
                world.join(rooms)
                for room in after:
                    world.publish(room)
                world.hear(heard)
            if forgets:
                world.lost_before = len(world.log)
            world.come()
        world.join(set("abc"))
        world.check()
