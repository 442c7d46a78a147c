"""A client that can recover, against a server that is cut off from it, and against scripted ones."""

import random
import threading
from typing import Any

from ezez_ws import Codec, EZEZWebSocketClient
from ezez_ws.testing import Link
from tests.rawpeer import RawPeer, RawServer
from tests.serving import KEY, Calls, ServingTestCase
from tests.support import eventually

SESSION = "0123456789abcdef" * 2


class RecoveringClientTest(ServingTestCase):
    def start(self, server: Any, **options: Any) -> tuple[EZEZWebSocketClient, Calls, Link]:
        calls = Calls()
        proxy = Link(server)
        self.addCleanup(proxy.close)
        client = EZEZWebSocketClient(
            proxy.url,
            auth=KEY,
            on_missed=lambda rooms: calls.add("missed", *rooms),
            **{"recover": True, "reconnect_delay": 0.5, **options},
        )
        client.on("said", lambda args, reply, ids: calls.add(*args))
        self.addCleanup(client.close)
        client.connect()
        return client, calls, proxy

    def test_what_was_missed_reaches_the_same_listeners(self) -> None:
        server = self.serve(on_auth_ok=lambda client: client.join("a"))
        client, calls, proxy = self.start(server)
        eventually(lambda: client.rooms == {"a"})
        server.to("a").send("said", [1])
        calls.wait()
        proxy.cut()
        eventually(lambda: not server.clients)
        server.to("a").send("said", [2])
        server.everyone.send("said", [3])
        self.assertEqual([(1,), (2,), (3,)], calls.wait(3))
        eventually(lambda: client.rooms == {"a"})
        self.assertTrue(server.clients[0].resumed)
        client.close()
        self.assertEqual(frozenset(), client.rooms)

    def test_on_missed_comes_where_it_is_impossible(self) -> None:
        server = self.serve(on_auth_ok=lambda client: client.join("a"), history_limit_bytes=1)
        client, calls, proxy = self.start(server)
        eventually(lambda: client.rooms == {"a"})
        proxy.cut()
        eventually(lambda: not server.clients)
        server.to("a").send("said", [1])
        self.assertEqual([("missed", "*", "a")], calls.wait())

    def test_a_client_without_recover_has_no_rooms(self) -> None:
        server = self.serve(on_auth_ok=lambda client: client.join("a"))
        client, calls, _ = self.start(server, recover=False)
        server.to("a").send("said", [1])
        calls.wait()
        self.assertEqual(frozenset(), client.rooms)

    def test_it_needs_a_server_that_authenticates(self) -> None:
        with self.assertRaisesRegex(ValueError, "^recover needs a server that authenticates, and auth is None$"):
            EZEZWebSocketClient("ws://127.0.0.1", auth=None, recover=True)

    def test_clients_that_are_cut_at_random_get_each_event_once_in_order(self) -> None:
        rooms = ("a", "b", "c")
        server = self.serve(on_auth_ok=lambda client: client.join(*rooms))
        clients = [self.start(server, reconnect_delay=0.01, reconnect_delay_max=0.02) for _ in range(6)]
        for client, _, _ in clients:
            eventually(lambda client=client: client.rooms == set(rooms))  # type: ignore[misc]
        stop = threading.Event()

        def cut(proxy: Link, chance: random.Random) -> None:
            while not stop.wait(chance.uniform(0.01, 0.25)):
                proxy.cut()

        cutting = [self.in_thread(cut, proxy, random.Random(at)) for at, (_, _, proxy) in enumerate(clients)]
        chance = random.Random(7)
        for number in range(1500):
            if chance.random() < 0.2:
                server.everyone.send("said", [number])
            else:
                server.to(*chance.sample(rooms, chance.choice([1, 2]))).send("said", [number])
            stop.wait(0.001)
        stop.set()
        for one in cutting:
            one.get()
        for _, calls, _ in clients:
            self.assertEqual([(number,) for number in range(1500)], calls.wait(1500))
        self.assertGreater(server.cluster.recovered, 10)


class ScriptedServerTest(ServingTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.server = RawServer()
        self.addCleanup(self.server.sock.close)
        self.calls = Calls()

    def start(self, **options: Any) -> EZEZWebSocketClient:
        client = EZEZWebSocketClient(
            self.server.url,
            auth=KEY,
            recover=True,
            reconnect_delay=0.01,
            close_timeout=0.3,  # no server here answers a close frame
            on_missed=lambda rooms: self.calls.add("missed", *rooms),
            on_error=lambda error: self.calls.add("error", str(error)),
            on_message=lambda event, args, reply, ids: self.calls.add(event, args, *ids),
            **options,
        )
        self.addCleanup(client.close)
        client.start()
        return client

    def accept(self, *answer: Any) -> tuple[RawPeer, list[Any]]:
        peer = self.server.accept()
        self.addCleanup(peer.close)
        values = peer.read_values()
        peer.send_values("ezez-ws::auth-ok", *answer)
        return peer, values[3:]

    def test_the_messages_of_recovery(self) -> None:
        client = self.start()
        peer, shown = self.accept({"recover": 1, "session": SESSION, "limit": 1000})
        self.assertEqual([{"recover": 1}], shown)
        peer.send_values("ezez-ws::joined", [["a", None, "e:1-0.0", "t" * 32]], "e:1-0.0", 0)
        peer.send_values("ezez-ws::event", 1, None, "e:2-0.1", "said", "x", 5)
        peer.send_values("ezez-ws::missed", "e:3-0.1")
        peer.send_values("ezez-ws::at", "e:4-0.1")
        peer.send_values("plain", 2, None)
        self.assertEqual([("said", ["x", 5], 1, None), ("missed", "a"), ("plain", [], 2, None)], self.calls.wait(3))
        self.assertEqual({"a"}, client.rooms)
        peer.close()
        peer, shown = self.accept({"recover": 1, "session": SESSION})
        self.assertEqual([{"recover": 1, "session": SESSION, "rooms": {"a": ["e:4-0.1", "e:1-0.0", "t" * 32]}}], shown)
        peer.send_values("ezez-ws::left", ["a"])
        peer.close()
        _, shown = self.accept()
        self.assertEqual({}, shown[0]["rooms"])

    def test_a_server_that_does_not_know_of_it(self) -> None:
        client = self.start()
        peer, _ = self.accept({"recover": 1, "session": SESSION})
        peer.send_values("ezez-ws::joined", [["a", None, "e:1-0.0", ""]], "e:1-0.0", 0)
        eventually(lambda: client.rooms == {"a"})
        peer.close()
        peer, _ = self.accept()
        peer.send_values("ezez-ws::joined", [["a", None, "e:1-0.0", ""]], "e:1-0.0", 0)
        missed, error = self.calls.wait(2)
        self.assertEqual(("missed", "a"), missed)
        self.assertIn("is not expected here", error[1])
        self.assertEqual(frozenset(), client.rooms)

    def test_malformed_ones_go_by_unknown_data(self) -> None:
        self.start()
        peer, _ = self.accept({"recover": 1, "session": SESSION})
        wrong: list[list[Any]] = [
            ["ezez-ws::event"],
            ["ezez-ws::event", 1, None, "e:1-0.0"],
            ["ezez-ws::event", 1, None, "nowhere", "said"],
            ["ezez-ws::event", 0, None, "e:1-0.0", "said"],
            ["ezez-ws::event", 1, None, "e:1-0.0", 5],
            ["ezez-ws::event", 1, None, "e:1-0.0", "ezez-ws::auth"],
            ["ezez-ws::joined", [], "e:1-0.0"],
            ["ezez-ws::joined", [["a"]], "e:1-0.0", 0],
            ["ezez-ws::joined", [["a", 5, "", ""]], "e:1-0.0", 0],
            ["ezez-ws::joined", [], "e:1-0.0", -1],
            ["ezez-ws::left"],
            ["ezez-ws::left", [5]],
            ["ezez-ws::at"],
            ["ezez-ws::at", "x" * 1000],
            ["ezez-ws::missed", 5],
            ["ezez-ws::other"],
        ]
        for values in wrong:
            peer.send_values(*values)
        peer.send_values("said", 1, None)
        calls = self.calls.wait(len(wrong) + 1)
        self.assertEqual({"error"}, {call[0] for call in calls[:-1]})
        self.assertEqual(("said", [], 1, None), calls[-1])

    def test_the_rest_of_a_connection_that_is_replaced_is_not_heard_twice(self) -> None:
        gate = self.gate()
        client = self.start(auto_reconnect=False)
        client.on("block", gate)
        peer, _ = self.accept({"recover": 1, "session": SESSION})
        peer.send_values("ezez-ws::joined", [["a", None, "e:1-0.0", "t"]], "e:1-0.0", 0)
        peer.send_values("ezez-ws::event", 1, None, "e:2-0.0", "block")
        gate.wait_entered()
        peer.send_values("ezez-ws::event", 2, None, "e:3-0.0", "said")
        peer.send_close(1000)
        peer.close()
        eventually(lambda: not client.alive)
        client.reconnect()
        peer, shown = self.accept({"recover": 1, "session": SESSION})
        self.assertEqual("e:2-0.0", shown[0]["rooms"]["a"][0])
        gate.open()
        peer.send_values("ezez-ws::joined", [["a", True, "e:1-0.0", "t"]], "e:3-0.0", 1)
        peer.send_values("ezez-ws::event", 1, None, "e:3-0.0", "said")
        self.calls.wait(2)
        client.close()
        self.assertEqual([("block", [], 1, None), ("said", [], 1, None)], self.calls.seen)

    def test_it_needs_a_codec_that_takes_what_recovery_sends(self) -> None:
        with self.assertRaisesRegex(ValueError, "^recover needs a codec with a max_depth of at least 3, not 2$"):
            EZEZWebSocketClient("ws://127.0.0.1", codec=Codec(max_depth=2), recover=True)
        EZEZWebSocketClient("ws://127.0.0.1", codec=Codec(max_depth=3), recover=True)
