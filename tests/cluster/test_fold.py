"""What reading the log means: numbers, time, nodes, lists; against models, and among nodes that lose something."""

import random
import unittest
from collections.abc import Sequence
from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from ezez_ws.cluster import fold as fold_module
from ezez_ws.cluster.entries import (
    PLAIN,
    Beat,
    Bye,
    Command,
    Entry,
    In,
    Listing,
    Out,
    Said,
    Target,
    Unknown,
    What,
    encode_batch,
    encode_entry,
)
from ezez_ws.cluster.fold import (
    AskListings,
    Changed,
    Deliver,
    Effect,
    Fold,
    Foreign,
    Gap,
    NodeGone,
    NodeJoined,
    PutListing,
    Repeat,
)
from tests.support import allow_seconds

MAY_RUN_BESIDE = True

SAID = Said(Target(("r",)), "hi", b"")
HEARTBEAT, TIMEOUT = 5.0, 15.0
GARBAGE = st.binary(max_size=50)


class FoldTest(unittest.TestCase):
    """A fold of the node ``me``, and who writes what it reads."""

    def setUp(self) -> None:
        self.fold = Fold("me", HEARTBEAT, TIMEOUT)
        self.ms = 1_700_000_000_000
        self.numbers: dict[str, int] = {}

    def entry(self, producer: str, what: What, seq: int = 0) -> Entry:
        """Return the next publication of a producer, or the one with a number."""
        seq = seq or self.numbers.get(producer, 0) + 1
        self.numbers[producer] = max(seq, self.numbers.get(producer, 0))
        return Entry(producer, seq, what)

    def feed(self, *entries: Entry, after: float = 0.0) -> list[Effect]:
        """Feed an entry of the log, some seconds after the one before."""
        self.ms += round(after * 1000)
        return self.fold.feed(self.ms, encode_batch([encode_entry(entry) for entry in entries]))

    def say(self, producer: str, what: What = SAID, after: float = 0.0) -> list[Effect]:
        return self.feed(self.entry(producer, what), after=after)

    def assert_says(self, found: object, expected: object, text: str = "") -> None:
        """Compare effects by what they print, as named tuples equal each other whatever their names are."""
        self.assertEqual(repr(found), repr(expected), text)

    def pass_time(self, minutes: float) -> None:
        """Let time pass, by what a producer says that nobody asks about."""
        for _ in range(round(minutes * 60 / HEARTBEAT)):
            self.say("clock", after=HEARTBEAT)

    def begin(self, *others: str) -> None:
        """Let this node and others live, with no members, and all be known."""
        for node in (*others, "me"):
            self.say(node, Beat())
        for node in (*others, "me"):
            self.say(node, Listing(()))
        self.assertEqual(self.fold.members("r"), [])

    def addresses(self, room: str = "r") -> list[str] | None:
        members = self.fold.members(room)
        return None if members is None else [one.address for one in members]


class Numbers(FoldTest):
    def test_events_and_commands_are_delivered_with_their_place(self) -> None:
        entries = [self.entry("p", what) for what in (SAID, Unknown("x"), Command(SAID.target, "leave", ("r",)))]
        self.assert_says(self.feed(*entries), [Deliver(1, entries[0]), Deliver(3, entries[2])])

    def test_a_number_that_was_there_is_dropped(self) -> None:
        first, second = self.entry("p", SAID), self.entry("p", SAID)
        self.feed(first, second)
        self.assert_says(self.feed(first, second), [Repeat(), Repeat()])
        self.assertEqual(self.fold.repeats, 2)

    def test_a_number_that_is_left_out_is_a_gap_before_what_follows(self) -> None:
        self.say("p")
        late = self.entry("p", SAID, 5)
        self.assert_says(self.feed(late), [Gap("p", 2, 4), Deliver(1, late)])
        self.assertEqual(self.fold.gaps, 1)
        self.assert_says(self.feed(Entry("p", 3, SAID)), [Repeat()], "it was told as lost")

    def test_an_unknown_producer_may_have_begun_before_the_log(self) -> None:
        late = self.entry("p", SAID, 5)
        self.assert_says(self.feed(late), [Deliver(1, late)])

    def test_after_10_minutes_it_has_lost_something(self) -> None:
        self.pass_time(9.9)
        self.assert_says(self.feed(Entry("p", 5, SAID))[0], Deliver(1, Entry("p", 5, SAID)))
        self.pass_time(0.2)
        self.assert_says(self.feed(Entry("q", 5, SAID))[0], Gap("q", 1, 4))
        self.assert_says(self.feed(Entry("r", 1, SAID))[0], Deliver(1, Entry("r", 1, SAID)))

    def test_what_is_appended_again_is_a_gap_where_the_log_of_before_is_not_known(self) -> None:
        again = [Entry("p", seq, SAID, again=True) for seq in (4, 5, 6)]
        beat, last, new = (Entry("p", 7, Out("r", "x")), Entry("p", 8, SAID, again=True), self.entry("p", SAID, 9))
        entries = [*again, beat, last, new]
        self.assert_says(self.feed(*entries), [Gap("p", 4, 8, 5), Deliver(6, new)])
        self.assertEqual(1, self.fold.gaps)
        self.assert_says(self.feed(*entries), [*map(Repeat, (1, 2, 3, 0, 5, 0))])

    def test_so_it_is_where_what_comes_behind_it_was_there_first(self) -> None:
        """Whoever does not notice that the log was emptied goes on in it, and then appends again what was before."""
        new, again = self.entry("p", SAID, 9), Entry("p", 8, SAID, again=True)
        self.assert_says(self.feed(new, again), [Deliver(1, new), Gap("p", 8, 8, 2)])
        self.assert_says(self.feed(new._replace(again=True)), [Repeat(1)])
        self.fold.new_epoch()
        self.assert_says(self.feed(again), [Gap("p", 8, 8, 1)], "nor was it read in that log")

    def test_what_is_appended_again_is_delivered_where_it_was_not_read_before(self) -> None:
        self.say("p")
        self.fold.new_epoch()
        again = [Entry("p", seq, SAID, again=True) for seq in (1, 2)]
        self.assert_says(self.feed(*again), [Repeat(1), Deliver(2, again[1])])

    def test_a_producer_is_forgotten_after_20_minutes_of_silence(self) -> None:
        self.say("p")
        self.pass_time(19.8)
        self.assert_says(self.feed(Entry("p", 1, SAID)), [Repeat()])
        self.pass_time(0.3)
        self.assert_says(self.feed(Entry("p", 1, SAID)), [Deliver(1, Entry("p", 1, SAID))])

    def test_a_node_that_was_cut_off_for_longer_goes_on_where_it_was(self) -> None:
        self.begin("b")
        had = self.entry("b", SAID)
        self.feed(had)
        self.pass_time(30)
        self.assertEqual((), self.fold.nodes)
        self.assertNotIn("b", self.fold._producers)
        self.assert_says(self.feed(had, self.entry("b", Beat())), [Repeat(), NodeJoined("b")])

    def test_numbers_outlive_the_epoch(self) -> None:
        self.say("p")
        self.fold.new_epoch()
        self.assert_says(self.feed(Entry("p", 1, SAID), Entry("p", 3, SAID))[:2], [Repeat(1), Gap("p", 2, 2)])
        self.assert_says(self.feed(Entry("p", 3, SAID))[:1], [Repeat()], "read twice in this epoch")

    def test_only_so_many_producers_are_remembered(self) -> None:
        with mock.patch.object(fold_module, "_MOST_PRODUCERS", 3):
            for number in range(10):
                self.feed(*(Entry(f"p{number}.{one}", 1, SAID) for one in range(5)))
        self.assertEqual([*self.fold._producers], ["p9.2", "p9.3", "p9.4"])


class ForeignThings(FoldTest):
    def test_what_is_no_entry_of_ours_is_foreign_and_the_rest_is_read(self) -> None:
        said = self.entry("p", SAID)
        good = encode_entry(said)
        batch = [b"", b"garbage", PLAIN.encode([2, "other"]), PLAIN.encode([1, "p", "x"]), good]
        *foreign, delivered = self.fold.feed(self.ms, PLAIN.encode(batch))
        self.assertEqual([type(one) for one in foreign], [Foreign] * 4)
        self.assertEqual(delivered, Deliver(5, said))
        for data in (b"", b"garbage", PLAIN.encode(["text"])):
            self.assertIsInstance(self.fold.feed(self.ms, data)[0], Foreign)
        self.assertEqual(self.fold.foreign, 7)

    def test_a_publication_that_cannot_be_read_leaves_a_gap(self) -> None:
        self.say("p")
        self.fold.feed(self.ms, PLAIN.encode([PLAIN.encode([1, "p", 2, "in", "*", "x", 1])]))
        self.assert_says(self.feed(Entry("p", 3, SAID))[0], Gap("p", 2, 2))

    def test_only_so_many_nodes_and_members_are_remembered(self) -> None:
        with mock.patch.object(fold_module, "_MOST_NODES", 2), mock.patch.object(fold_module, "_MOST_MEMBERS", 2):
            self.begin("b")
            self.assertIsInstance(self.say("c", Beat())[0], Foreign)
            self.assertEqual(self.fold.nodes, ("b", "me"))
            self.say("b", In("r", "x", 1))
            self.say("b", In("r", "y", 1))
            self.assertIsInstance(self.say("b", In("r", "z", 1))[0], Foreign)
            self.assertEqual(self.addresses(), ["x", "y"])
            self.say("b", Out("r", "x"))
            self.say("b", In("r", "z", 1))
            self.assertEqual(self.addresses(), ["y", "z"])

    @given(st.lists(st.tuples(st.integers(0, 2**60), GARBAGE | GARBAGE.map(lambda data: PLAIN.encode([data])))))
    def test_garbage_does_no_harm(self, entries: list[tuple[int, bytes]]) -> None:
        for ms, batch in entries:
            for effect in self.fold.feed(ms, batch):
                self.assertIsInstance(effect, Foreign)


class Nodes(FoldTest):
    def test_a_node_joins_with_its_first_beat_and_goes_with_its_bye(self) -> None:
        self.assert_says(self.say("b", Beat()), [NodeJoined("b")])
        self.assert_says(self.say("b", Beat()), [])
        self.assert_says(self.say("b", Bye()), [NodeGone("b", "bye")])
        self.assert_says(self.say("b", Bye()), [])
        self.assertEqual(self.fold.nodes, ())

    def test_an_emitter_is_no_node(self) -> None:
        self.say("emitter")
        self.assert_says(self.say("emitter", In("r", "x", 1)), [])
        self.assertEqual(self.fold.nodes, ())

    def test_a_node_is_gone_when_its_time_has_passed_and_its_members_leave(self) -> None:
        self.begin("b")
        self.say("b", Beat())
        self.say("b", In("r", "x", 1))
        for _ in range(2):
            self.say("me", Beat(), after=HEARTBEAT)
        self.assert_says(self.say("me", Beat(), after=4.999), [])
        left, gone = self.say("me", Beat(), after=0.001)
        assert isinstance(left, Changed)
        self.assertEqual((left.change, left.member.address, gone), ("left", "x", NodeGone("b", "timeout")))
        self.assertEqual(self.addresses(), [])

    def test_its_beat_in_the_entry_that_ends_its_time_saves_it(self) -> None:
        self.begin("b")
        for _ in range(2):
            self.say("me", Beat(), after=HEARTBEAT)
        self.assert_says(self.feed(self.entry("me", Beat()), self.entry("b", Beat()), after=HEARTBEAT), [])

    def test_a_broker_that_was_frozen_makes_nobody_gone(self) -> None:
        self.begin("b")
        self.assert_says(self.say("me", Beat(), after=3600.0), [])
        self.assert_says(self.say("b", Beat()), [])

    def test_a_clock_that_goes_back_makes_nobody_gone(self) -> None:
        self.begin("b")
        for seconds in (-3600.0, 4.0, -3600.0, 4.0):
            self.assert_says(self.say("me", Beat(), after=seconds), [])

    def test_what_is_read_again_in_a_new_epoch_takes_no_time(self) -> None:
        log = [(self.ms + 1000 * at, Entry(node, at + 1, Beat())) for at in range(100) for node in ("b", "me")]
        for _ in range(3):
            gone = [
                effect
                for ms, entry in log
                for effect in self.fold.feed(ms, encode_batch([encode_entry(entry)]))
                if isinstance(effect, NodeGone)
            ]
            self.assertEqual(gone, [])
            self.fold.new_epoch()
        self.assertEqual(self.fold.nodes, ("b", "me"))
        self.assertEqual(self.fold._clock, 99_000)

    def test_a_node_that_was_gone_joins_again_and_its_list_is_put_again(self) -> None:
        self.begin("b")
        self.say("b", In("r", "x", 1))
        for _ in range(3):
            self.say("me", Beat(), after=HEARTBEAT)
        self.assert_says(self.say("b", In("r", "y", 1)), [], "it does not live")
        self.assert_says(self.say("b", Beat()), [NodeJoined("b"), PutListing()])
        joined = self.say("b", Listing((In("r", "x", 1), In("r", "y", 1))))
        self.assertEqual([one.change for one in joined if isinstance(one, Changed)], ["joined"] * 2)

    def test_a_node_sees_that_it_was_gone_itself(self) -> None:
        self.begin("b")
        for _ in range(2):
            self.say("b", Beat(), after=HEARTBEAT)
        self.assertIn(NodeGone("me", "timeout"), self.say("b", Beat(), after=HEARTBEAT))
        self.assert_says(self.say("me", Beat()), [NodeJoined("me"), PutListing()])

    def test_nobody_is_seen_leaving_in_a_new_epoch(self) -> None:
        self.begin("b")
        self.say("b", In("r", "x", 1))
        self.fold.new_epoch()
        self.ms = 5
        self.assert_says(self.say("me", Beat()), [PutListing()])
        self.assert_says(self.say("b", Listing((In("r", "x", 1),))), [])
        self.assertEqual(self.addresses(), ["x"])


class Lists(FoldTest):
    def test_members_are_known_when_all_have_put_their_lists_since_the_first_beat(self) -> None:
        self.say("b", Beat())
        self.say("b", Listing((In("r", "x", 1),)))
        self.assertIsNone(self.addresses())
        self.assert_says(self.say("me", Beat()), [NodeJoined("me"), PutListing()])
        self.say("me", Listing(()))
        self.assertIsNone(self.addresses(), "b may have more than it had")
        self.say("c", Beat())
        self.say("b", Listing((In("r", "y", 1),)))
        self.assertIsNone(self.addresses(), "c may have been there before the log")
        self.say("c", Listing(()))
        self.assertEqual(self.addresses(), ["y"])
        self.say("d", Beat())
        self.assertEqual(self.addresses(), ["y"], "once known, always known")

    def test_they_are_known_when_who_does_not_answer_is_gone(self) -> None:
        self.say("b", Beat())
        self.say("c", Beat())
        self.say("me", Beat())
        self.say("me", Listing(()))
        self.say("b", Bye())
        self.assertIsNone(self.addresses())
        for _ in range(3):
            self.say("me", Beat(), after=HEARTBEAT)
        self.assertEqual(self.addresses(), [])

    def test_nothing_is_to_be_put_before_this_node_lives(self) -> None:
        self.assert_says(self.say("b", Beat()), [NodeJoined("b")])
        self.assert_says(self.say("b", Beat(asks=True)), [])

    def test_a_list_is_put_when_a_node_joins_or_one_asks(self) -> None:
        self.begin("b")
        self.assert_says(self.say("c", Beat()), [NodeJoined("c"), PutListing()])
        self.say("me", Listing(()))
        self.assert_says(self.say("c", Beat(asks=True)), [PutListing()])

    def test_one_that_is_on_its_way_serves_all_who_wait(self) -> None:
        self.begin("b")
        self.say("c", Beat())
        self.assert_says(self.say("d", Beat()), [NodeJoined("d")])
        self.assert_says(self.say("me", Listing(())), [])
        self.say("e", Beat())
        self.assert_says(self.say("f", Beat(), after=HEARTBEAT), [NodeJoined("f"), PutListing()], "it was lost")

    def test_after_a_gap_of_its_own_a_node_puts_its_list_and_asks(self) -> None:
        self.begin("b")
        self.say("c", Beat())  # a list is on its way, and is lost
        self.assert_says(self.feed(self.entry("me", Beat(), 9)), [Gap("me", 3, 8), AskListings(), PutListing()])

    def test_one_from_before_a_new_epoch_or_from_before_the_node_joined_again_does_not_count(self) -> None:
        self.begin("b")
        self.assert_says(self.say("c", Beat()), [NodeJoined("c"), PutListing()])
        self.fold.new_epoch()
        self.assert_says(self.say("c", Beat()), [PutListing()])
        self.say("me", Bye())
        self.assert_says(self.say("me", Beat()), [NodeJoined("me"), PutListing()])

    def test_a_list_is_a_beat(self) -> None:
        self.assert_says(self.say("b", Listing(())), [NodeJoined("b")])
        self.say("me", Listing(()))
        self.assert_says(self.fold.nodes, ("b", "me"))

    def test_a_node_asks_when_it_does_not_know_how_another_began(self) -> None:
        self.begin("b")
        effects = self.feed(self.entry("c", Beat(), 5))
        self.assert_says(effects, [NodeJoined("c"), AskListings(), PutListing()])

    def test_after_a_gap_of_another_it_asks_at_most_once_in_a_heartbeat(self) -> None:
        self.begin("b")
        self.assert_says(self.feed(self.entry("b", Beat(), 9)), [Gap("b", 3, 8), AskListings()])
        self.assert_says(self.feed(self.entry("b", Beat(), 12)), [Gap("b", 10, 11)])
        self.assert_says(self.say("me", Beat(), after=HEARTBEAT), [AskListings()])
        self.assert_says(self.say("me", Beat(), after=HEARTBEAT), [])

    def test_an_info_that_was_handed_out_cannot_change_what_is_known(self) -> None:
        self.begin("b")
        (joined,) = self.say("b", In("r", "x", {"n": 1}))
        assert isinstance(joined, Changed)
        joined.member.info["n"] = 2
        members = self.fold.members("r")
        assert members is not None
        self.assertEqual(members[0].info, {"n": 1})


# -- against a model --------------------------------------------------------------------------------------------------

PRODUCERS = ["me", "b", "c"]


class Model:
    """Numbers, time and liveness, as the contract has them; a heartbeat of 300 s, so that 20 minutes pass soon."""

    def __init__(self) -> None:
        self.clock, self.before = 0, None  # type: int, int | None
        self.last: dict[str, tuple[int, int]] = {}
        self.beats: dict[str, int] = {}
        self.away: dict[str, int] = {}  # numbers of nodes that went without a goodbye

    def number(self, producer: str) -> int:
        return self.last[producer][0] if producer in self.last else self.away.get(producer, 0)

    def feed(self, ms: int, entries: Sequence[Entry]) -> list[Any]:
        found: list[Any] = []
        if any(seq > self.number(producer) for producer, seq, *_ in entries):
            self.clock += 0 if self.before is None else min(max(ms - self.before, 0), 300_000)
            self.before = ms
        for producer, seq, what, _ in entries:
            last = self.number(producer)
            if seq <= last:
                found.append("repeat")
                continue
            if seq > last + 1 and (last or self.clock >= 600_000):
                found.append(("gap", producer, last + 1, seq - 1))
            self.last[producer] = seq, self.clock
            if isinstance(what, Beat):
                self.beats[producer] = self.clock
                self.away.pop(producer, None)
            elif isinstance(what, Bye):
                self.beats.pop(producer, None)
        for node in [node for node, at in self.beats.items() if self.clock - at >= 900_000]:
            del self.beats[node]
            self.away[node] = 0
        for one in [one for one, (_, at) in self.last.items() if self.clock - at >= 1_200_000]:
            last, _ = self.last.pop(one)
            if one in self.away:
                self.away[one] = last
        return found


PUBLICATIONS = st.tuples(
    st.sampled_from(PRODUCERS),
    st.sampled_from([1, 1, 1, 1, 1, 2, 4, 0, -1]),  # how far behind the last number
    st.sampled_from([SAID, SAID, Beat(), Beat(), Bye()]),
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 60_000, 200_000, 400_000, -1000]),
        st.lists(PUBLICATIONS, min_size=1, max_size=4),
        st.booleans(),
    ),
    max_size=40,
)


class AgainstTheModel(unittest.TestCase):
    @allow_seconds(120)
    @settings(max_examples=300, deadline=None)
    @given(STEPS)
    def test_numbers_time_and_nodes_are_the_models(self, steps: list[tuple[int, list[Any], bool]]) -> None:
        fold, model = Fold("me", 300.0, 900.0), Model()
        ms, numbers = 10_000_000, dict.fromkeys(PRODUCERS, 3)
        for elapsed, publications, epoch in steps:
            ms += elapsed
            entries = []
            for producer, ahead, what in publications:
                entries.append(Entry(producer, max(numbers[producer] + ahead, 1), what))
                numbers[producer] = max(numbers[producer], entries[-1].seq)
            if epoch:
                fold.new_epoch()
                model.before = None
            effects = fold.feed(ms, encode_batch([*map(encode_entry, entries)]))
            expected = model.feed(ms, entries)
            gaps = [("gap", *effect[:3]) for effect in effects if isinstance(effect, Gap)]
            self.assertEqual(gaps, [one for one in expected if isinstance(one, tuple)])
            self.assertEqual(sum(isinstance(one, Repeat) for one in effects), expected.count("repeat"))
            self.assertEqual(fold.nodes, tuple(sorted(model.beats)))
            self.assertEqual(fold._clock, model.clock)
            self.assertEqual(dict(fold._producers), model.last)


# -- nodes among themselves -------------------------------------------------------------------------------------------


class World:
    """Nodes that write to one log and read it, each as far as it has come; what they lose is lost."""

    def __init__(self) -> None:
        self.ms = 1_000_000
        self.log: list[tuple[int, bytes]] = []
        self.nodes = [Node(self, name) for name in ("n1", "n2", "n3")]


class Node:
    """A node that does what its fold says."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.fold = Fold(name, HEARTBEAT, TIMEOUT)
        self.infos: dict[str, int] = {}
        self.seq = self.at = 0
        self.seen: dict[tuple[str, str], Any] = {}
        self.queue: list[bytes] = []
        self.put(Beat())

    def put(self, what: What) -> None:
        self.seq += 1
        self.queue.append(encode_entry(Entry(self.name, self.seq, what)))

    def write(self) -> None:
        if self.queue:
            self.world.log.append((self.world.ms, encode_batch(self.queue)))
            self.queue = []

    def read(self, most: int = 1 << 30) -> None:
        for ms, batch in self.world.log[self.at : self.at + most]:
            self.at += 1
            for effect in self.fold.feed(ms, batch):
                if isinstance(effect, PutListing):
                    self.put(Listing(tuple(In("r", address, info) for address, info in self.infos.items())))
                elif isinstance(effect, AskListings):
                    self.put(Beat(asks=True))
                elif isinstance(effect, Changed):
                    self.see(effect)

    def see(self, changed: Changed) -> None:
        key = changed.member.node, changed.member.address
        assert (changed.change == "joined") == (key not in self.seen), changed
        self.seen[key] = changed.member.info
        if changed.change == "left":
            del self.seen[key]

    def join(self, address: str, info: int) -> None:
        self.infos[address] = info
        self.put(In("r", address, info))

    def leave(self, address: str) -> None:
        if self.infos.pop(address, None) is not None:
            self.put(Out("r", address))

    def lose(self, entries: int) -> None:
        """What was trimmed before it was read."""
        self.at = min(self.at + entries, len(self.world.log))


# What happens to a node, and how often; the last two make all nodes put their lists, which mends everything: seldom.
MOVES = {"join": 20, "leave": 10, "beat": 20, "write": 40, "read": 50, "lose": 15, "new": 1, "wipe": 1}
SEEDS = 1000


class Together(unittest.TestCase):
    @allow_seconds(120)
    def test_all_nodes_end_with_equal_lists_whatever_they_lose(self) -> None:
        for seed in range(SEEDS):
            with self.subTest(seed=seed):
                self.play(random.Random(seed))

    def play(self, chance: random.Random) -> None:
        world = World()
        self.rest(world, 2)
        for move in chance.choices([*MOVES], [*MOVES.values()], k=chance.randrange(200)):
            self.move(world, chance.choice(world.nodes), move, chance.randrange(4))
            world.ms += chance.choice([0, 10, 1000, 6000])
        self.rest(world, 8)
        expected = {(node.name, address): info for node in world.nodes for address, info in node.infos.items()}
        for node in world.nodes:
            members = node.fold.members("r")
            assert members is not None, f"{node.name} does not know"
            self.assertEqual({(one.node, one.address): one.info for one in members}, expected, node.name)
            self.assertEqual(node.seen, expected)
            self.assertEqual(node.fold.nodes, tuple(sorted(node.name for node in world.nodes)))

    def rest(self, world: World, heartbeats: int) -> None:
        """Let some time pass in which nobody loses anything."""
        for _ in range(heartbeats):
            world.ms += 5000
            for node in world.nodes:
                node.put(Beat())
                node.write()
            for _ in range(3):
                for node in world.nodes:
                    node.read()
                    node.write()

    def move(self, world: World, node: Node, move: str, number: int) -> None:
        if move == "join":
            node.join(f"{node.name}.{number % 2}", number)
        elif move == "leave":
            node.leave(f"{node.name}.{number % 2}")
        elif move == "beat":
            node.put(Beat())
        elif move == "write":
            node.write()
        elif move == "read":
            node.read(number + 1)
        elif move == "lose":
            node.lose(number)
        elif move == "wipe":  # the broker has lost everything
            world.log, world.ms = [], world.ms - 1000
            for one in world.nodes:
                one.at = 0
                one.fold.new_epoch()
        else:  # a node is killed, and another one takes its place
            world.nodes[world.nodes.index(node)] = Node(world, f"{node.name}x")


if __name__ == "__main__":
    unittest.main()
