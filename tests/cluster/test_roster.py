"""Who is listed where."""

import unittest

from hypothesis import given
from hypothesis import strategies as st

from ezez_ws.cluster.audience import Member
from ezez_ws.cluster.entries import In, Listing, Out
from ezez_ws.cluster.roster import Changed, Roster
from ezez_ws.errors import SerializationError

MAY_RUN_BESIDE = True

NODES = st.sampled_from(["n1", "n2"])
ROOMS = st.sampled_from(["r", "s"])
INS = st.builds(In, ROOMS, st.sampled_from(["a", "b", "c"]), st.integers(0, 1))
STEPS = st.lists(
    st.tuples(NODES, INS | INS.map(lambda one: Out(*one[:2])) | st.lists(INS, max_size=4).map(tuple).map(Listing))
)


class RosterTest(unittest.TestCase):
    def setUp(self) -> None:
        self.roster = Roster("n1")

    def test_a_client_joins_changes_and_leaves(self) -> None:
        one = In("r", "a", {"nick": "Ann"})
        member = Member("a", "r", {"nick": "Ann"}, "n1", True)
        self.assertEqual(self.roster.enter("n1", one), Changed("joined", member))
        self.assertIsNone(self.roster.enter("n1", one))
        changed = member._replace(info=None)
        self.assertEqual(self.roster.enter("n1", In("r", "a", None)), Changed("changed", changed))
        self.assertEqual(self.roster.members("r"), [changed])
        self.assertEqual(self.roster.leave("n1", Out("r", "a")), Changed("left", changed))
        self.assertIsNone(self.roster.leave("n1", Out("r", "a")))
        self.assertEqual(self.roster.members("r"), [])

    def test_an_info_cannot_be_changed_through_what_was_given_or_handed_out(self) -> None:
        info = {"tags": ["x"]}
        changed = self.roster.enter("n1", In("r", "a", info))
        assert changed is not None
        for value in (info, changed.member.info, self.roster.members("r")[0].info):
            value["tags"].append("y")
        self.assertEqual(self.roster.members("r")[0].info, {"tags": ["x"]})

    def test_members_of_another_node_are_not_local(self) -> None:
        self.roster.enter("n2", In("r", "b", 1))
        self.roster.enter("n1", In("r", "a", 1))
        self.assertEqual([(one.node, one.local) for one in self.roster.members("r")], [("n1", True), ("n2", False)])

    def test_all_are_local_where_there_is_one_node(self) -> None:
        roster = Roster()
        roster.enter("n", In("r", "b", 1))
        self.assertTrue(roster.members("r")[0].local)

    def test_a_node_speaks_only_of_its_own_members(self) -> None:
        self.roster.enter("n1", In("r", "a", 1))
        self.assertIsNone(self.roster.leave("n2", Out("r", "a")))
        self.assertEqual(self.roster.replace("n2", Listing(())), [])
        self.roster.enter("n2", In("r", "a", 2))
        self.roster.drop("n2")
        self.assertEqual([one.info for one in self.roster.members("r")], [1])

    def test_a_list_tells_what_is_new_and_who_is_gone(self) -> None:
        for address in "cba":
            self.roster.enter("n1", In("r", address, 1))
        listing = Listing((In("s", "d", 1), In("r", "b", 2), In("r", "a", 1)))
        changes = self.roster.replace("n1", listing)
        told = [(one.change, one.member.room, one.member.address) for one in changes]
        self.assertEqual(told, [("left", "r", "c"), ("changed", "r", "b"), ("joined", "s", "d")])
        self.assertEqual(self.roster.replace("n1", listing), [])

    def test_an_info_that_cannot_be_sent_changes_nothing(self) -> None:
        self.roster.enter("n1", In("r", "a", 1))
        with self.assertRaises(SerializationError):
            self.roster.replace("n1", Listing((In("r", "b", 1), In("r", "c", object()))))
        with self.assertRaises(SerializationError):
            self.roster.enter("n1", In("t", "c", object()))
        self.assertEqual([one.address for one in self.roster.members("r")], ["a"])
        self.assertEqual(len(self.roster), 1)

    @given(STEPS)
    def test_it_is_a_mapping_and_its_changes_lead_from_one_to_the_next(
        self, steps: list[tuple[str, In | Out | Listing]]
    ) -> None:
        roster, model = Roster("n1"), dict[tuple[str, str, str], int]()
        replayed = dict[tuple[str, str, str], int]()
        for node, what in steps:
            if isinstance(what, In):
                model[what.room, node, what.address] = what.info
                changes = [roster.enter(node, what)]
            elif isinstance(what, Out):
                model.pop((what.room, node, what.address), None)
                changes = [roster.leave(node, what)]
            else:
                model = {key: info for key, info in model.items() if key[1] != node}
                model |= {(one.room, node, one.address): one.info for one in what.members}
                changes = [*roster.replace(node, what)]
            for change in filter(None, changes):
                address, room, info, of, _ = change.member
                self.assertEqual(change.change == "joined", (room, of, address) not in replayed)
                replayed[room, of, address] = info
                if change.change == "left":
                    del replayed[room, of, address]
            found = {(room, one.node, one.address): one.info for room in "rs" for one in roster.members(room)}
            self.assertEqual(found, model)
            self.assertEqual(replayed, model)
            self.assertEqual(len(roster), len(model))
        for node in ("n1", "n2"):
            roster.drop(node)
        self.assertEqual((roster._rooms, roster._nodes), ({}, {}), "something is left behind")


if __name__ == "__main__":
    unittest.main()
