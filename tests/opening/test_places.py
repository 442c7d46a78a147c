"""Places: how many there are, who gives one up for whom, and that each is free again."""

import unittest
from typing import Any
from unittest import mock

from ezez_ws.opening import places as module
from ezez_ws.opening.places import Place, Places
from ezez_ws.threads import clock
from ezez_ws.threads.interrupted import make_lock
from ezez_ws.wire.sockets import Wire


class FakeWire(Wire):
    def __init__(self) -> None:
        self.is_cut = False

    def cut(self) -> None:
        self.is_cut = True


class PlacesTestCase(unittest.TestCase):
    def make(self, most: int | None = None, unknown: int | None = None, per_address: int | None = None) -> Places:
        self.places = Places(make_lock(), most, unknown, per_address)
        return self.places

    def come(self, address: Any = ("a", 1), borrowed: bool = False) -> Place:
        place = Place(self.places, None if borrowed else FakeWire(), address)
        place.enter()
        return place

    def come_in(self, asks: bool = False, **more: Any) -> Place:
        """Let one come that finishes its handshake, and is dismissed where it may be."""
        place = self.come(**more)
        self.assertTrue(place.finish())
        self.assertTrue(place.open(mock.Mock(return_value=not asks)))
        return place

    def know(self, **more: Any) -> Place:
        place = self.come_in(**more)
        place.ask()
        place.admit()
        return place

    def cut(self, *places: Place) -> list[bool]:
        return [isinstance(place.wire, FakeWire) and place.wire.is_cut for place in places]

    def dismissed(self, *places: Place) -> list[int]:
        return [place.dismiss.call_count for place in places if isinstance(place.dismiss, mock.Mock)]

    def assert_all_free(self, *places: Place) -> None:
        for place in places:
            place.leave()
            place.leave()
        self.assertEqual(0, self.places.count)
        self.assertFalse(any(self.places._in.values()))
        self.assertEqual({}, self.places._by_key)


class MakeRoomTest(PlacesTestCase):
    """Where something else than places runs short."""

    def test_who_shakes_hands_is_cut_before_one_that_is_silent_for_a_second_is_closed(self) -> None:
        self.make()
        with mock.patch.object(clock, "monotonic", return_value=0.0):
            asks, silent, known, new = self.come_in(asks=True), self.come_in(), self.know(), self.come()
            self.assertTrue(self.places.make_room())
            self.assertEqual([True], self.cut(new))
            self.assertFalse(self.places.make_room())
        with mock.patch.object(clock, "monotonic", return_value=1.0):
            self.assertFalse(self.places.make_room())
            self.assertTrue(self.places.make_room())
            self.assertFalse(self.places.make_room())
        self.assertEqual([1, 1, 0], self.dismissed(asks, silent, known))
        self.assertEqual([True, False, True], [asks.held, silent.held, known.held])
        self.assert_all_free(asks, silent, known, new)


class AllTest(PlacesTestCase):
    """``max_connections``."""

    def test_the_one_that_has_not_finished_its_handshake_for_longest_gives_up_its_place(self) -> None:
        self.make(most=3)
        known, first, second = self.know(), self.come(), self.come()
        third = self.come()
        self.assertEqual([False, True, False, False], self.cut(known, first, second, third))
        self.assertEqual([True, False, True, True], [one.held for one in (known, first, second, third)])
        self.assertFalse(first.heard)
        self.assertEqual(3, self.places.count)
        self.assertFalse(first.finish())
        self.assertFalse(first.refuse())
        self.assertTrue(second.finish())
        fourth = self.come()
        self.assertEqual([False, True], self.cut(second, third))
        self.assert_all_free(known, first, second, third, fourth)

    def test_where_all_have_finished_theirs_the_new_one_has_none(self) -> None:
        self.make(most=2)
        silent, known = self.come_in(), self.know()
        new = self.come()
        self.assertEqual((False, True), (new.held, new.heard))
        self.assertEqual([False] * 3, self.cut(silent, known, new))
        self.assertEqual([0], self.dismissed(silent))
        known.leave()
        self.assertTrue(self.come().held)

    def test_who_has_not_authenticated_for_a_second_gives_up_its_place_too(self) -> None:
        self.make(most=2)
        known, silent = self.know(), self.come_in()
        self.assertFalse(self.come().held)
        self.assertEqual([0], self.dismissed(silent))
        silent.since -= 1.5
        self.assertTrue(self.come().held)
        self.assertEqual([1], self.dismissed(silent))
        self.assertEqual([True, False], [known.held, silent.held])

    def test_who_comes_through_a_web_server_is_not_cut(self) -> None:
        self.make(most=1)
        borrowed = self.come(borrowed=True)
        self.assertFalse(self.come().held)
        self.assertTrue(borrowed.finish())
        self.assertTrue(borrowed.open(lambda: True))

    def test_room_is_made_by_cutting_one_that_shakes_hands(self) -> None:
        self.make()
        known, silent, first, second = self.know(), self.come_in(), self.come(), self.come()
        self.assertTrue(self.places.make_room())
        self.assertTrue(self.places.make_room())
        self.assertFalse(self.places.make_room())
        self.assertEqual([False, False, True, True], self.cut(known, silent, first, second))
        self.assert_all_free(known, silent, first, second)

    def test_after_close_nobody_gets_one(self) -> None:
        self.make()
        self.places.closed = True
        place = self.come()
        self.assertEqual((False, False), (place.held, place.heard))


class UnknownTest(PlacesTestCase):
    """``max_unauthenticated``."""

    def test_first_those_lose_that_have_not_finished_their_handshakes_and_then_the_silent(self) -> None:
        self.make(unknown=3)
        silent, other, asking = self.come_in(), self.come_in(), self.come_in()
        asking.ask()
        known = [self.know() for _ in range(3)]
        self.assertEqual([1, 0, 0], self.dismissed(silent, other, asking))
        self.assertEqual([False, True, True], [one.held for one in (silent, other, asking)])
        first, second = self.come(), self.come()
        self.assertEqual([True, False], self.cut(first, second))
        self.come_in()
        self.assertEqual([True, True], self.cut(first, second))
        self.assertEqual([1, 0, 0], self.dismissed(silent, other, asking))
        self.come_in()
        self.assertEqual([1, 1, 0], self.dismissed(silent, other, asking))
        self.assertEqual([True] * 3, [one.held for one in known])

    def test_one_that_has_sent_its_authentication_meanwhile_keeps_its_place(self) -> None:
        self.make(unknown=2)
        asks, silent = self.come_in(asks=True), self.come_in()
        new = self.come()
        self.assertEqual([1, 1], self.dismissed(asks, silent))
        self.assertEqual([True, False, True], [one.held for one in (asks, silent, new)])
        asks.admit()
        self.assert_all_free(asks, silent, new)

    def test_where_all_are_being_asked_the_new_one_has_none(self) -> None:
        self.make(unknown=2)
        asking = [self.come_in() for _ in range(2)]
        for place in asking:
            place.ask()
        self.assertFalse(self.come().held)
        asking[0].admit()
        self.assertTrue(self.come().held)

    def test_one_that_goes_while_it_is_dismissed_is_gone(self) -> None:
        self.make(unknown=1)
        silent = self.come_in()
        silent.dismiss = lambda: silent.leave() or True  # type: ignore[func-returns-value]
        self.assertTrue(self.come().held)
        self.assertNotIn(silent, self.places._in[module.State.LOST])

    def test_who_goes_or_is_authenticated_does_not_count(self) -> None:
        self.make(unknown=1)
        for _ in range(3):
            self.know()
            self.come_in().leave()
        place = self.come_in()
        place.refuse()
        self.assertTrue(self.come().held)


class AddressTest(PlacesTestCase):
    """``max_connections_per_address``."""

    def test_each_address_has_so_many_and_they_are_free_again(self) -> None:
        self.make(per_address=2)
        places = [self.come(("a", port)) for port in range(3)]
        self.assertEqual([True, True, False], [place.held for place in places])
        self.assertTrue(self.come(("b", 1)).held)
        places[0].refuse()
        places.append(self.come(("a", 4)))
        self.assertTrue(places[-1].held)
        self.assertTrue(self.places.make_room())
        self.assertTrue(self.come(("a", 5)).held)

    def test_who_has_no_address_is_not_counted(self) -> None:
        self.make(per_address=1)
        self.assertEqual([True, True], [self.come(()).held for _ in range(2)])

    def test_nobody_is_cut_for_one_whose_address_has_too_many(self) -> None:
        self.make(most=2, per_address=1)
        other, mine = self.come(("a", 1)), self.come(("b", 1))
        self.assertFalse(self.come(("b", 2)).held)
        self.assertEqual([False, False], self.cut(other, mine))

    def test_a_key_of_the_users_counts_likewise(self) -> None:
        self.make()
        places = [self.come() for _ in range(3)]
        self.assertEqual([True, True, False], [place.claim("key", 2) for place in places])
        places[0].leave()
        self.assertTrue(places[2].claim("key", 2))
        self.assert_all_free(*places)

    def test_an_address_whose_connection_could_not_come_in_counts_no_more(self) -> None:
        self.make(most=1, per_address=2)
        known = self.know(address=("a", 1))
        refused = [self.come(("a", port)) for port in range(5)]
        self.assert_all_free(known, *refused)


class BoundsTest(PlacesTestCase):
    def test_only_so_many_are_listened_to_that_have_been_refused(self) -> None:
        self.make(most=1)
        known = self.know()
        with mock.patch.object(module, "_MOST_REFUSED", 3):
            refused = [self.come() for _ in range(5)]
            self.assertEqual([True] * 3 + [False] * 2, [place.heard for place in refused])
            refused[0].leave()
            known.leave()
            self.assertTrue(known.refuse())
            self.assertFalse(refused[4].refuse())
        self.assert_all_free(known, *refused)

    def test_nobody_loses_a_place_while_too_many_threads_have_still_to_end(self) -> None:
        self.make(most=1)
        with mock.patch.object(module, "_MOST_LOST", 2):
            first, second, third = (self.come() for _ in range(3))
            fourth = self.come()
            self.assertEqual([True, True, False], self.cut(first, second, third))
            self.assertFalse(fourth.held)
            first.leave()
            self.assertTrue(self.come().held)

    def test_what_is_given_up_is_told(self) -> None:
        self.make(most=1, unknown=1)
        with self.assertLogs("ezez_ws", "WARNING") as logs:
            self.come(("1.2.3.4\n", 5))
            self.come()
        self.assertIn("1.2.3.4\\n:5 has given up its place", logs.output[0])
        self.assertEqual("1.2.3.4\\n:5", vars(logs.records[0])["remote_address"])


if __name__ == "__main__":
    unittest.main()
