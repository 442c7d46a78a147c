"""The browser module's client comes back to its rooms: against a server that the test plays, and one of ours."""

import random
import unittest
from typing import Any

from ezez_ws.messages.protocol import AUTH, AUTH_OK, VERSION
from ezez_ws.messages.recovery import AT, JOINED, LEFT, MISSED, PUBLISHED
from ezez_ws.testing import Link
from tests.browser.page import BrowserTestCase
from tests.rawpeer import RawPeer, RawServer
from tests.support import eventually

MOSTLY_WAITS = True
SAME_ON_EVERY_PYTHON = True

CALLBACKS = """{
    onMissed: (rooms) => tell("missed", ...rooms),
    onMessage: (event, args, reply, { eventId }) => tell(event, args, eventId),
}"""
ROOMS = "client.rooms"


def granted(session: str = "s1", limit: int = 1 << 16) -> dict[str, Any]:
    return {"recover": 1, "session": session, "address": "node:1", "window": 120, "limit": limit}


def at(number: int, epoch: str = "e") -> str:
    return f"{epoch}:{number}-0.0"


class RecoveryTestCase(BrowserTestCase):
    def admit(self, server: RawServer, *answer: Any) -> tuple[RawPeer, Any]:
        """Accept the page and answer its authentication; return what that shows."""
        peer = self.accept(server, auth=False)
        name, key, version, *shown = peer.read_values()
        self.assertEqual((name, key, version), (AUTH, "secret", VERSION))
        peer.send_values(AUTH_OK, *(answer or [granted()]))
        self.expect(["onConnect"], ["onAuthOk"])
        return peer, shown[0] if shown else None

    def begin(self, options: str = "{ recover: true }") -> tuple[RawPeer, RawServer]:
        server = self.listen()
        self.connect(server.url, options, CALLBACKS)
        peer, shown = self.admit(server)
        self.assertEqual(shown, {"recover": 1})
        return peer, server

    def lose(self, peer: RawPeer) -> None:
        peer.close()
        self.expect(["onDisconnect", 1006, ""])

    def join(self, peer: RawPeer, *rooms: str, recovered: Any = None, top: int = 1, n: int = 0) -> None:
        peer.send_values(JOINED, [[room, recovered, at(1), f"ticket {room}"] for room in rooms], at(top), n)

    def publish(self, peer: RawPeer, number: int, epoch: str = "e", ignored: tuple[int, ...] = ()) -> None:
        """Send a publication, and see that it comes, and none of those that are sent before it."""
        for one in (*ignored, number):
            peer.send_values(PUBLISHED, one, None, at(one, epoch), "news", one)
        self.expect(["news", [number], number])

    def positions(self, peer: RawPeer, server: RawServer) -> tuple[RawPeer, dict[str, str]]:
        """Have the page come back; return how far it says it has read."""
        self.lose(peer)
        peer, shown = self.admit(server)
        return peer, {room: proof[0] for room, proof in shown["rooms"].items()}

    def settle(self, peer: RawPeer) -> None:
        peer.send_event("settled", event_id=9)
        self.expect(["settled", [], 9])


class RecoveryTest(RecoveryTestCase):
    def test_it_shows_what_it_knows_and_gets_what_it_missed_as_any_event(self) -> None:
        peer, server = self.begin()
        self.page.run("client.on('ask', (args, reply) => reply('answer', args))")
        self.join(peer, "*", "lobby", top=5)
        self.publish(peer, 6)
        self.assertEqual(self.page.evaluate(ROOMS), ["lobby"])
        self.lose(peer)
        self.assertEqual(self.page.evaluate(ROOMS), [])
        peer, shown = self.admit(server)
        rooms = {room: [at(6), at(1), f"ticket {room}"] for room in ("*", "lobby")}
        self.assertEqual(shown, {"recover": 1, "session": "s1", "rooms": rooms})
        self.join(peer, "*", "lobby", recovered=True, top=9, n=2)
        self.publish(peer, 7)
        peer.send_values(PUBLISHED, 8, None, at(8), "ask", "x")
        self.assertEqual(peer.read_event(), ("answer", (1, 8), ["x"]))
        self.expect(["ask", ["x"], 8])
        self.assertEqual(self.page.evaluate(ROOMS), ["lobby"])

    def test_what_was_known_and_is_not_recovered_is_missed(self) -> None:
        peer, server = self.begin()
        self.join(peer, "*", "a", "b", "c", "d")
        self.settle(peer)
        self.lose(peer)
        peer, _ = self.admit(server)
        both = [["b", None, at(1), "t"], ["a", False, at(1), "t"], ["c", True, at(1), "t"], ["new", False, at(1), "t"]]
        peer.send_values(JOINED, both, at(9), 0)
        self.expect(["missed", "a", "b"])
        self.assertEqual(self.page.evaluate(ROOMS), ["a", "b", "c", "new"])
        peer.send_values(LEFT, ["a", "new", "never"])
        peer.send_values(MISSED, at(10))
        self.expect(["missed", "b", "c"])
        peer, positions = self.positions(peer, server)
        self.assertEqual(positions, {"*": at(1), "b": at(10), "c": at(10), "d": at(1)})
        self.join(peer, "a")
        self.settle(peer)

    def test_a_server_that_knows_no_recovery_makes_all_missed_once_before_the_queue(self) -> None:
        peer, server = self.begin()
        self.join(peer, "*", "b", "a")
        self.settle(peer)
        self.lose(peer)
        self.page.run("client.send('queued')")
        peer = self.accept(server, auth=False)
        peer.read_values()
        peer.send_values(AUTH_OK)
        self.expect(["onConnect"], ["onAuthOk"], ["missed", "*", "a", "b"])
        self.assertEqual(peer.read_event().name, "queued")
        peer.send_values(PUBLISHED, 1, None, at(3), "news")
        ((name, kind, text),) = self.page.told()
        self.assertEqual((name, kind), ("onError", "MalformedMessage"))
        self.assertIn("not expected here", text)
        self.lose(peer)
        peer, shown = self.admit(server)
        self.assertEqual(shown, {"recover": 1})
        self.join(peer, "a")
        self.settle(peer)

    def test_inside_a_replay_each_room_stands_where_it_is_and_at_its_end_where_the_server_says(self) -> None:
        for heard, a, b in ((0, 2, 6), (1, 4, 6), (2, 7, 7), (3, 9, 9)):
            with self.subTest(heard=heard):
                peer, server = self.begin()
                self.join(peer, "a", top=2)
                peer, _ = self.positions(peer, server)
                self.join(peer, "b", "c", top=6)
                peer, _ = self.positions(peer, server)
                self.join(peer, "c", recovered=True, top=6)
                self.join(peer, "a", "b", recovered=True, top=9, n=3)
                for number in (4, 7, 8)[:heard]:
                    self.publish(peer, number)
                self.settle(peer)
                peer, positions = self.positions(peer, server)
                self.assertEqual(positions, {"a": at(a), "b": at(b), "c": at(9)})
                self.forget()

    def test_what_it_has_read_elsewhere_does_not_come_again_from_a_node_that_is_behind(self) -> None:
        peer, server = self.begin()
        self.join(peer, "a", top=5)
        self.publish(peer, 9)
        peer, _ = self.positions(peer, server)
        peer.send_values(JOINED, [["a", None, "none:0-0.0", ""]], "none:0-0.0", 0)  # by one that has no log yet
        self.expect(["missed", "a"])
        peer, positions = self.positions(peer, server)
        self.assertEqual(positions, {})
        self.join(peer, "a", top=7)
        self.expect(["missed", "a"])
        self.publish(peer, 10, ignored=(8, 9))
        peer, _ = self.positions(peer, server)
        self.join(peer, "a", recovered=False, top=7)
        self.expect(["missed", "a"])
        peer, positions = self.positions(peer, server)
        self.assertEqual(positions, {"a": at(10)}, "it has not read less than before")
        self.join(peer, "a", "b", recovered=True, top=12, n=2)
        self.publish(peer, 4)  # a replay is whole
        self.publish(peer, 11)

    def test_a_position_that_the_server_tells_does_not_go_back(self) -> None:
        for name, told in ((AT, []), (MISSED, [["missed", "a"]])):
            with self.subTest(name=name):
                peer, server = self.begin()
                self.join(peer, "a", top=5)
                self.publish(peer, 9)
                peer, _ = self.positions(peer, server)
                self.join(peer, "a", recovered=True, top=9)
                peer.send_values(name, at(7))
                self.expect(*told)
                self.settle(peer)
                peer, positions = self.positions(peer, server)
                self.assertEqual(positions, {"a": at(9)})
                self.forget()

    def test_a_replay_that_is_broken_off_is_nothing_that_it_has_read(self) -> None:
        peer, server = self.begin()
        self.join(peer, "a", top=5)
        peer, _ = self.positions(peer, server)
        self.join(peer, "a", recovered=True, top=20, n=3)
        self.publish(peer, 6)
        peer, positions = self.positions(peer, server)
        self.assertEqual(positions, {"a": at(6)})
        self.join(peer, "a", recovered=True, top=7)  # by a node that is behind
        self.publish(peer, 8)
        self.publish(peer, 20)

    def test_what_a_node_reads_again_is_of_the_log_that_it_reads(self) -> None:
        peer, server = self.begin()
        self.join(peer, "a", top=5)
        self.publish(peer, 9)
        peer, _ = self.positions(peer, server)
        peer.send_values(JOINED, [["a", True, at(1), "t"]], at(7, "e-"), 0)
        self.publish(peer, 10, "e-", ignored=(8, 9))
        peer, positions = self.positions(peer, server)
        self.assertEqual(positions, {"a": at(10, "e-")})
        self.join(peer, "a", top=7)
        self.expect(["missed", "a"])
        self.publish(peer, 11, ignored=(8, 10))
        peer, _ = self.positions(peer, server)
        peer.send_values(JOINED, [["a", True, at(1), "t"]], at(7, "e-"), 0)
        peer, positions = self.positions(peer, server)
        self.assertEqual(positions, {"a": at(11, "e-")}, "it stays one from which no node recovers")

    def test_a_server_cannot_make_it_remember_logs_without_end(self) -> None:
        peer, server = self.begin()
        for number in range(17):
            peer.send_values(AT, at(5, f"e{number}"))
            peer, _ = self.positions(peer, server)
        self.publish(peer, 4, "e0")  # forgotten
        self.publish(peer, 6, "e1", ignored=(4, 5))

    def test_another_epoch_replaces_a_position_and_another_session_voids_the_tickets(self) -> None:
        peer, server = self.begin()
        self.join(peer, "a", top=5)
        peer.send_values(AT, at(2, "f"))
        peer, positions = self.positions(peer, server)
        self.assertEqual(positions, {"a": at(2, "f")})
        self.lose(peer)
        peer, _ = self.admit(server, granted("s2"))
        self.lose(peer)
        peer, shown = self.admit(server, granted("s2"))
        self.assertEqual(shown, {"recover": 1, "session": "s2", "rooms": {}})
        self.join(peer, "a")
        self.expect(["missed", "a"])

    def test_the_authentication_keeps_to_the_servers_limit_with_everyone_and_the_newest_first(self) -> None:
        server = self.listen()
        self.connect(server.url, "{ recover: true }", CALLBACKS)
        peer, _ = self.admit(server, granted(limit=600))
        rooms = [f"zażółć {number}" for number in range(50)]
        self.join(peer, *rooms, "*")
        self.settle(peer)
        self.lose(peer)
        peer = self.accept(server, auth=False)
        message = peer.read_message()
        assert message is not None and isinstance(message.payload, bytes)
        shown = list(peer.codec.decode(message.payload)[3]["rooms"])
        self.assertEqual(["*", *reversed(rooms)][: len(shown)], shown)
        self.assertTrue(3 < len(shown) < 15, len(shown))
        self.assertLessEqual(len(message.payload), 600)

    def test_rooms_of_any_name_are_rooms(self) -> None:
        peer, server = self.begin()
        names = ["__proto__", "constructor", "7", "recover", "a" * 240]
        self.join(peer, *names)
        self.settle(peer)
        self.assertEqual(self.page.evaluate(ROOMS), sorted(names))
        self.lose(peer)
        _, shown = self.admit(server)
        self.assertEqual({room: proof[2] for room, proof in shown["rooms"].items()}, {n: f"ticket {n}" for n in names})


class RefusedTest(RecoveryTestCase):
    def test_without_recover_the_authentication_is_as_it_was_and_such_names_are_malformed(self) -> None:
        server = self.listen()
        self.connect(server.url, "{}", CALLBACKS)
        peer, shown = self.admit(server)
        self.assertIsNone(shown)
        peer.send_values(PUBLISHED, 1, None, at(1), "news")
        self.assertEqual(self.page.told()[0][:2], ["onError", "MalformedMessage"])

    def test_an_answer_that_grants_nothing_grants_nothing(self) -> None:
        for answer in (5, {}, {"recover": 2, "session": "s"}, {"recover": True, "session": "s"}, {"recover": 1}):
            with self.subTest(answer=answer):
                server = self.listen()
                self.connect(server.url, "{ recover: true }", CALLBACKS)
                peer, _ = self.admit(server, answer)
                self.join(peer, "a")
                self.assertEqual(self.page.told()[0][:2], ["onError", "MalformedMessage"])
                self.forget()

    def test_what_has_not_its_shape_is_malformed_and_changes_nothing(self) -> None:
        peer, server = self.begin()
        self.join(peer, "a", top=3)
        room = ["b", None, at(1), "t"]
        strange: list[Any] = [[], 5, ["", None, at(1), "t"], ["c", 7, at(1), "t"], ["c", None, "x", "t"]]
        strange += [["c", None, at(1), "t" * 256], ["ż" * 128, None, at(1), "t"], ["c", None, at(1), 5]]
        wrong: list[list[Any]] = [[JOINED, [room, entrance], at(9), 0] for entrance in strange]
        wrong += [[JOINED, [room], where, n] for where, n in (("x", 0), (at(9), -1), (at(9), "1"), (None, 0))]
        wrong += [[JOINED], [JOINED, "a", at(9), 0], [LEFT], [LEFT, "a"], [LEFT, [5]], [AT], [AT, {}], [MISSED, None]]
        wrong += [[PUBLISHED, *rest] for rest in ([], [1, None, at(9)], [0, None, at(9), "x"], [1, 1, at(9), "x"])]
        wrong += [[PUBLISHED, 1, None, where, name] for where, name in ((5, "x"), (at(9), AT), (at(9), AUTH_OK))]
        wrong += [["ezez-ws::other", 1]]
        for values in wrong:
            with self.subTest(values=values):
                peer.send_values(*values)
                self.assertEqual(self.page.told()[0][:2], ["onError", "MalformedMessage"])
        self.assertEqual(self.page.evaluate(ROOMS), ["a"])
        _, positions = self.positions(peer, server)
        self.assertEqual(positions, {"a": at(3)})

    def test_options_that_do_not_go_together_are_refused(self) -> None:
        for options, text in (
            ("{ recover: 1 }", "recover must be true or false, not 1"),
            ("{ recover: true, auth: null }", "recover needs a server that authenticates, and auth is null"),
            ("{ recover: true, maxDepth: 2 }", "recover needs a maxDepth of at least 3, not 2"),
        ):
            error = self.fails(f"new EZEZWebSocketClient('ws://x', {options})")
            self.assertEqual((error.name, error.message), ("TypeError", text))


class OwnServerTest(RecoveryTestCase):
    def test_cut_at_random_it_gets_each_event_once_in_order(self) -> None:
        rooms = ("a", "b", "7")
        server = self.serve(on_auth_ok=lambda client: client.join(*rooms))
        assert server.port is not None
        proxy = Link(server)
        self.addCleanup(proxy.close)
        self.connect(proxy.url, "{ recover: true }", "{ onMissed: (rooms) => tell('missed') }")
        self.page.run("globalThis.got = []; client.on('said', ([number]) => got.push(number))")
        eventually(lambda: self.page.evaluate(ROOMS) == sorted(rooms))
        chance = random.Random(5)
        for number in range(600):
            if number % 40 == 20:
                proxy.cut()
            audience = server.everyone if chance.random() < 0.2 else server.to(*chance.sample(rooms, 2))
            audience.send("said", [number])
            if number % 40 == 39:
                eventually(lambda number=number: self.page.evaluate("got.at(-1)") == number)  # type: ignore[misc]
        eventually(lambda: len(self.page.evaluate("got")) >= 600)
        self.assertEqual(self.page.evaluate("got"), list(range(600)))
        self.assertGreater(server.cluster.recovered, 5)

    def test_what_is_gone_is_told(self) -> None:
        server = self.serve(on_auth_ok=lambda client: client.join("a"), history_limit_bytes=1)
        assert server.port is not None
        proxy = Link(server)
        self.addCleanup(proxy.close)
        self.connect(proxy.url, "{ recover: true }", CALLBACKS)
        self.expect(["onConnect"], ["onAuthOk"])
        eventually(lambda: self.page.evaluate(ROOMS) == ["a"])
        proxy.cut()
        eventually(lambda: not server.clients)
        server.to("a").send("said", [1])
        told = self.page.told(4)
        self.assertEqual([["onConnect"], ["onAuthOk"], ["missed", "*", "a"]], told[1:])


if __name__ == "__main__":
    unittest.main()
