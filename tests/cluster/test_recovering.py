"""What a server does for clients that come back: tickets, replays, and being told; with peers that do it by hand."""

from typing import Any

from ezez_ws import EZEZServerClient, EZEZWebsocketServer, Joined
from ezez_ws.cluster.tickets import read_presented
from tests.serving import KEY, Calls, ServingTestCase
from tests.support import eventually

EVENT, JOINED, LEFT, AT = "ezez-ws::event", "ezez-ws::joined", "ezez-ws::left", "ezez-ws::at"


class Returning:
    """A client that can recover: it remembers what the protocol says, and comes back with it."""

    def __init__(self, test: ServingTestCase, server: EZEZWebsocketServer) -> None:
        self.test = test
        self.server = server
        self.session: str | None = None
        self.rooms: dict[str, list[str]] = {}  # position, since, ticket
        self.entered: set[str] = set()
        self.heard: list[tuple[str, list[Any]]] = []
        self.recovered: dict[str, bool | None] = {}
        self.at = ""

    def connect(self) -> dict[str, Any]:
        self.entered, self.recovered = set(), {}
        self.peer = self.test.peer(self.server, auth=None)
        more: dict[str, Any] = {"recover": 1}
        if self.session is not None:
            more |= {"session": self.session, "rooms": self.rooms}
        self.peer.send_values("ezez-ws::auth", KEY, 1, more)
        name, answer = self.peer.read_values()
        assert name == "ezez-ws::auth-ok"
        self.session = answer["session"]
        return dict(answer)

    def read(self) -> str:
        """Read one message and remember what it says."""
        name, *rest = self.peer.read_values()
        if name == EVENT:
            _, reply_to, position, event, *args = rest
            assert reply_to is None
            self.heard.append((event, args))
            self.at = position
            for room in self.entered:
                self.rooms[room][0] = position
        elif name == JOINED:
            rooms, position, count = rest
            for _ in range(count):
                inner, _, _, _, event, *args = self.peer.read_values()
                assert inner == EVENT
                self.heard.append((event, args))
            for room, recovered, since, ticket in rooms:
                self.rooms[room] = [position, since, ticket]
                self.recovered[room] = recovered
                self.entered.add(room)
        elif name == LEFT:
            for room in rest[0]:
                self.rooms.pop(room, None)
                self.entered.discard(room)
        elif name == AT:
            self.at = rest[0]
            for room in self.entered:
                self.rooms[room][0] = rest[0]
        else:
            self.heard.append((name, rest[2:]))
        return str(name)

    def read_until(self, event: str) -> list[tuple[str, list[Any]]]:
        while not self.heard or self.heard[-1][0] != event:
            self.read()
        heard, self.heard = self.heard, []
        return heard

    def lose(self) -> None:
        self.peer.close()
        eventually(lambda: not self.server.clients, what="the server knows that it has gone")


class RecoveringTest(ServingTestCase):
    def welcome(self, client: EZEZServerClient) -> None:
        self.joined.add(client.join(*self.rooms), client.resumed)

    def start(self, *rooms: str, **options: Any) -> Returning:
        self.joined = Calls()
        self.rooms = rooms
        self.server = self.serve(on_auth_ok=self.welcome, **options)
        return Returning(self, self.server)

    def say_end(self) -> str:
        self.server.everyone.send("end")
        return "end"

    def test_the_answer_says_what_was_agreed_on(self) -> None:
        one = self.start("a", max_payload_before_auth=5000)
        answer = one.connect()
        one.read()
        one.read()
        (side,) = self.server.clients
        self.assertEqual(
            {"recover": 1, "session": one.session, "address": side.address, "window": 120, "limit": 5000}, answer
        )
        self.assertEqual({"*": None, "a": None}, one.recovered)
        self.assertEqual([(Joined({"a": None}, 0), False)], self.joined.seen)

    def test_a_client_that_comes_back_gets_what_it_missed_once_in_order_before_anything_newer(self) -> None:
        one = self.start("a", "b")
        one.connect()
        self.joined.wait()
        self.server.to("a").send("first")
        one.read_until("first")
        one.lose()
        self.server.to("a").send("second", [2])
        self.server.everyone.send("third")
        self.server.to("c").send("of another room")
        self.server.to("a", "b").send("fourth")
        one.connect()
        self.joined.wait(2)
        self.server.to("b").send("fifth")
        self.assertEqual(["second", "third", "fourth", "fifth"], [name for name, _ in one.read_until("fifth")])
        self.assertEqual((Joined({"a": True, "b": True}, 3), True), self.joined.seen[1])
        self.assertEqual({"*": True, "a": True, "b": True}, one.recovered)
        self.assertEqual((1, 3), self.server.cluster[-3:-1])

    def test_a_peer_that_takes_nothing_cannot_have_its_rooms_pile_up(self) -> None:
        self.joined, self.rooms = Calls(), ()
        server = self.server = self.serve(send_buffer_limit=100_000)
        rooms = [f"{number}{'x' * 240}" for number in range(100)]
        server.on("in", lambda client, args, reply, ids: client.join(*rooms))
        server.on("out", lambda client, args, reply, ids: client.leave(*rooms))
        peer = self.peer(server, auth=None, receive_buffer=4096)
        peer.send_values("ezez-ws::auth", KEY, 1, {"recover": 1})
        eventually(lambda: server.clients and server.clients[0].authenticated)
        (side,) = server.clients
        outbox = side._ezez_connection.stream._outbox
        most = 0
        try:
            for _ in range(300):
                peer.send_event("in")
                peer.send_event("out")
                most = max(most, outbox.waiting_bytes)
        except OSError:
            pass  # it has been cut
        eventually(lambda: not server.clients)
        self.assertLess(most, 250_000)

    def test_what_is_shown_may_be_anything(self) -> None:
        session, at = "0" * 32, "a:1-1.1"
        for rooms in (
            {5: [at, at, "x"]},
            {"\ud800": [at, at, "x"]},
            {"a": [at, at, "\ud800"]},
            {"a": [at, 5, "x"]},
            {"a": 5},
        ):
            shown = {"recover": 1, "session": session, "rooms": rooms}
            presented = read_presented(b"secret", shown, 10)
            assert presented is not None
            self.assertEqual((None, {}), presented[:2])

    def test_who_is_excepted_stays_so_when_it_comes_back(self) -> None:
        one = self.start("a")
        one.connect()
        (side,) = self.server.clients
        self.joined.wait()
        audience, but_b = side.to("a"), self.server.to("a").except_("b")
        one.read()
        one.read()
        one.lose()
        audience.send("from itself")
        but_b.send("but b")
        self.rooms = ("b", "a")
        one.connect()
        self.server.to("a").send("end")
        self.assertEqual(["but b", "end"], [name for name, _ in one.read_until("end")])
        one.lose()
        but_b.send("but b")
        one.connect()
        self.server.to("a").send("end")
        self.assertEqual(["end"], [name for name, _ in one.read_until("end")])

    def test_a_room_that_it_is_not_in_any_more_keeps_nothing_from_it(self) -> None:
        one = self.start("a", "muted")
        one.connect()
        self.joined.wait()
        one.read_until(self.say_end())
        one.lose()
        self.rooms = ("a",)
        one.connect()
        self.joined.wait(2)
        self.server.to("a").except_("muted").send("live")
        self.assertIn("live", [name for name, _ in one.read_until(self.say_end())])
        one.lose()
        self.server.to("a").except_("muted").send("missed")
        one.connect()  # the ticket of "muted" is older than that of "a"
        self.assertIn("missed", [name for name, _ in one.read_until(self.say_end())])

    def test_rooms_that_are_joined_one_after_the_other_do_not_repeat_what_went_to_both(self) -> None:
        one = self.start("a")
        self.rooms = ()
        one.connect()
        (side,) = self.server.clients
        side.join("a")
        side.join("b")
        side.send("mark")
        one.read_until("mark")
        one.lose()
        for number in range(3):
            self.server.to("a", "b").send("both", [number])
            self.server.to("b").send("b", [number])
            self.server.to("a").send("a", [number])
        one.connect()
        (side,) = self.server.clients
        self.assertEqual(6, side.join("a").replayed)
        self.assertEqual(3, side.join("b").replayed)
        side.send("mark")
        heard = one.read_until("mark")
        names = ("both", "a")
        self.assertEqual([(name, [number]) for number in range(3) for name in names], heard[:6])
        self.assertEqual([("b", [number]) for number in range(3)], heard[6:9])

    def test_a_room_that_was_left_is_not_recovered(self) -> None:
        one = self.start()
        one.connect()
        (side,) = self.server.clients
        side.join("a", "b")
        side.leave("a")
        side.send("mark")
        one.read_until("mark")
        self.assertEqual({"*", "b"}, set(one.rooms))
        one.lose()
        self.server.to("a", "b").send("missed")
        one.connect()
        (side,) = self.server.clients
        side.leave("b")  # its ticket is void then
        self.assertEqual(Joined({"a": None, "b": None}, 0), side.join("a", "b"))

    def test_what_is_too_much_or_gone_is_told(self) -> None:
        for options in ({"recovery_limit_bytes": 2000}, {"history_limit_bytes": 2000}):
            with self.subTest(options):
                one = self.start("a", **options)
                one.connect()
                self.joined.wait()
                one.read()
                one.read()
                one.lose()
                for _ in range(10):
                    self.server.to("a").send("missed", ["x" * 300])
                one.connect()
                self.joined.wait(2)
                self.server.everyone.send("end")
                self.assertEqual(["end"], [name for name, _ in one.read_until("end")])
                self.assertIs(False, one.recovered["a"])
                self.assertEqual(Joined({"a": False}, 0), self.joined.seen[1][0])
                one.peer.close()

    def test_false_tickets_are_as_none(self) -> None:
        one = self.start("a")
        one.connect()
        self.joined.wait()
        one.read()
        one.read()
        one.lose()
        session, rooms = one.session, dict(one.rooms)
        other = {room: list(shown) for room, shown in rooms.items()}
        other["a"][2], other["*"][2] = other["*"][2], other["a"][2]
        earlier = {room: [at, at.replace(":", ":0", 1), ticket] for room, (at, _, ticket) in rooms.items()}
        shapes: Any = [
            other,
            earlier,
            {"a": None, "*": 5},
            {"a": []},
            {"a": [1, 2, 3]},
            {"a": ["x", "y", "z"]},
            {"a": [*rooms["a"][:2], "é" * 32]},
            {"b": rooms["a"]},
        ]
        for shown in shapes:
            with self.subTest(shown=shown):
                one.rooms, one.session = shown, session
                one.connect()
                self.assertNotEqual(session, one.session)
                one.rooms = {}
                while "a" not in one.recovered:
                    one.read()
                self.assertEqual({"*": None, "a": None}, one.recovered)
                one.lose()
        for wrong in ("f" * 32, session, 5, None):
            one.rooms, one.session = {} if wrong == session else rooms, wrong  # type: ignore[assignment]
            one.connect()
            self.assertNotEqual(session, one.session)
            one.lose()

    def test_a_position_that_this_node_has_not_read_is_impossible_after_a_second(self) -> None:
        one = self.start("a")
        one.connect()
        self.joined.wait()
        one.read()
        one.read()
        one.lose()
        epoch, _, _ = one.rooms["a"][0].partition(":")
        one.rooms["a"][0] = f"{epoch}:9999999999999-0.0"
        one.connect()
        self.joined.wait(2)
        one.read()
        self.assertEqual({"a": False, "*": False}, one.recovered, "it stands at one place in all rooms")

    def test_without_a_window_nothing_is_agreed_on(self) -> None:
        self.start(recovery_window=0)
        peer = self.peer(self.server, auth=None)
        peer.send_values("ezez-ws::auth", KEY, 1, {"recover": 1})
        self.assertEqual(["ezez-ws::auth-ok"], peer.read_values())
        self.server.everyone.send("plain")
        self.assertEqual("plain", peer.read_event().name)
        self.assertEqual(0, self.server.cluster.window_entries)

    def test_peers_that_do_not_know_of_it_get_plain_bytes(self) -> None:
        self.start("a")
        shown: list[list[Any]] = [[], [None], [{}], [{"recover": 2}], ["recover"], [{"recover": True}]]
        for more in shown:
            with self.subTest(more=more):
                peer = self.peer(self.server, auth=None)
                peer.send_values("ezez-ws::auth", KEY, 1, *more)
                self.assertEqual(["ezez-ws::auth-ok"], peer.read_values())
                self.server.to("a").send("plain", [1])
                self.assertEqual((["plain", 1, None, 1]), peer.read_values())
                peer.close()
                eventually(lambda: not self.server.clients)

    def test_a_quiet_room_does_not_look_like_an_absence(self) -> None:
        one = self.start("a", ping_interval=0.05, ping_timeout=None)
        one.connect()
        self.joined.wait()
        self.server.to("b").send("elsewhere")
        while one.read() != AT:
            pass
        self.assertEqual(self.server.cluster.position, one.at)

    def test_everyone_is_recovered_when_on_auth_ok_has_returned(self) -> None:
        one = self.start()
        one.connect()
        one.read()
        one.lose()
        self.server.everyone.send("missed")
        one.connect()
        self.server.everyone.send("end")
        self.assertEqual(["missed", "end"], [name for name, _ in one.read_until("end")])

    def test_a_replay_for_which_there_is_no_room_is_impossible_and_cuts_nobody(self) -> None:
        one = self.start("a", send_buffer_limit=200_000, recovery_limit_bytes=10 << 20, history_limit_bytes=20 << 20)
        one.connect()
        self.joined.wait()
        one.read()
        one.read()
        one.lose()
        self.rooms = ()
        for _ in range(100):
            self.server.to("a").send("missed", ["x" * 50_000])
        one.connect()
        (side,) = eventually(lambda: [client for client in self.server.clients if client.authenticated])
        outbox = side._ezez_connection.stream._outbox
        while outbox.waiting_bytes < 100_000:  # it reads nothing, so something waits
            side.send("big", ["x" * 90_000])
        self.assertEqual(Joined({"a": False}, 0), side.join("a"))
        self.assertTrue(side.alive)
        one.read_until("big")
