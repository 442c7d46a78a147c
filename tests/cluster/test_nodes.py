"""Several servers on one real Redis: what reaches whom, and what a broker or a node that fails does to it."""

import threading
import time
from typing import Any
from unittest import mock

from ezez_ws import (
    ConnectionClosed,
    EZEZWebSocketClient,
    EZEZWebsocketServer,
    NotReady,
    PublishFailed,
    QueueFull,
    RedisBackplane,
    ReplyTimeout,
    SendTimeout,
)
from ezez_ws.cluster.teller import Teller
from tests.cluster.nodes import NodeProcess, NodesTestCase
from tests.rawpeer import RawPeer
from tests.serving import KEY, Calls, Gate, Result
from tests.support import eventually

MOSTLY_WAITS = True
SAME_ON_EVERY_PYTHON = True


class Listening:
    """A client, and the events ``said`` that it has got."""

    def __init__(self, test: NodesTestCase, url: str | None, **options: Any) -> None:
        assert url is not None
        self.calls = Calls()
        self.client = EZEZWebSocketClient(url, auth=KEY, **options)
        self.client.on("said", lambda args, reply, ids: self.calls.add(*args))
        test.addCleanup(self.client.close)
        self.client.connect()


def backplane_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ezez-backplane")]


class ReachTest(NodesTestCase):
    def test_a_room_spans_the_nodes(self) -> None:
        one, two = self.node(), self.node()
        clients = [Listening(self, node.url) for node in (one, two, one, two)]
        self.assertTrue(one.to("lobby").send("said", [1]).wait(10))
        two.clients[0].to("lobby").send("said", [2]).wait(10)
        self.assertEqual(2, two.broadcast("said", [3]))
        one.everyone.except_("lobby").send("said", [4])
        two.everyone.send("said", [5])
        eventually(lambda: (5,) in clients[1].calls.wait(3))
        for client in (clients[0], clients[2], clients[3]):
            eventually(lambda client=client: client.calls.seen[-1:] == [(5,)])  # type: ignore[misc]
        excepted = next(c for c in clients if (2,) not in c.calls.seen)
        self.assertIn(excepted, (clients[1], clients[3]))
        for client in clients:
            expected = [(1,), (3,), (5,)] if client is excepted else [(1,), (2,), (3,), (5,)]
            self.assertEqual(expected, client.calls.seen)

    def test_where_cannot_travel_and_local_stays_here(self) -> None:
        one, two = self.node(), self.node()
        here, there = Listening(self, one.url), Listening(self, two.url)
        with self.assertRaisesRegex(ValueError, r"to\(room\).send.*local=True"):
            one.broadcast("said", [1], where=lambda client: True)
        self.assertEqual(1, one.broadcast("said", [2], where=lambda client: True, local=True))
        one.everyone.send("said", [3])
        self.assertEqual([(3,)], there.calls.wait())
        self.assertEqual([(2,), (3,)], here.calls.wait(2))

    def test_commands_reach_the_clients_of_all_nodes(self) -> None:
        one, two = self.node(), self.node()
        listening = Listening(self, two.url, auto_reconnect=False)
        (side,) = two.clients
        one.to("lobby").join("other")
        eventually(lambda: "other" in side.rooms)
        one.to("other").leave("lobby")
        eventually(lambda: side.rooms == {"other"})
        one.to("other").disconnect(4000, "enough")
        self.assertTrue(listening.client.wait_closed(10))

    def test_all_see_one_order(self) -> None:
        one, two = self.node(), self.node()
        clients = [Listening(self, node.url) for node in (one, two)]

        def publish(node: EZEZWebsocketServer, name: str) -> None:
            for number in range(500):
                node.to("lobby").send("said", [name, number])

        for working in [Result(publish, node, name) for node, name in ((one, "one"), (two, "two"), (one, "three"))]:
            working.get(30)
        orders = [client.calls.wait(1500) for client in clients]
        self.assertEqual(*orders)
        for name in ("one", "two", "three"):
            self.assertEqual(list(range(500)), [number for who, number in orders[0] if who == name])

    def test_a_node_that_closes_waits_for_no_read_to_end(self) -> None:
        def close() -> float:
            node = self.node()
            node.everyone.send("said", [1]).wait(10)
            before = time.monotonic()
            node.close()
            return time.monotonic() - before

        self.assertLess(min(close() for _ in range(3)), 0.7)  # a read takes a second

    def test_who_comes_while_it_starts_by_itself_waits_for_that(self) -> None:
        server = EZEZWebsocketServer(on_auth_request=lambda client, key: True, backplane=self.backplane())
        self.addCleanup(server.close)
        gate, start = Gate(), Teller.start
        self.addCleanup(gate.open)

        def start_late(teller: Teller) -> None:
            gate()
            start(teller)

        with mock.patch.object(Teller, "start", start_late):
            first = Result(server.to("lobby").send, "said", [1])
            gate.wait_entered()
            second = Result(server.to("lobby").send, "said", [2])
            third = Result(server.members, "lobby", 10)
            gate.open()
            self.assertTrue(first.get(20).wait(10))
            self.assertTrue(second.get(20).wait(10))
        self.assertEqual([], third.get(20))
        self.assertEqual((2, 2), (server.cluster.published, server.cluster.confirmed))

    def test_prefixes_keep_programs_apart(self) -> None:
        one, two = self.node(self.backplane(prefix="one")), self.node(self.backplane(prefix="two"))
        here, there = Listening(self, one.url), Listening(self, two.url)
        one.everyone.send("said", [1]).wait(10)
        two.everyone.send("said", [2])
        self.assertEqual([(2,)], there.calls.wait())
        self.assertEqual([(1,)], here.calls.wait())
        self.assertEqual((1, 1), (len(one.cluster.nodes), len(two.cluster.nodes)))

    def test_nothing_is_left_after_close(self) -> None:
        node = self.node()
        Listening(self, node.url).client.close()
        self.wait_for(node, 1)
        self.assertEqual(["ezez-backplane-in", "ezez-backplane-out"], sorted(backplane_threads()))
        node.close()
        self.assertEqual([], backplane_threads())
        self.assertEqual([], self.redis.command("KEYS", "*:in:*"))
        node.start()
        self.wait_for(node, 1)


class PresenceTest(NodesTestCase):
    def listed(self, node: EZEZWebsocketServer) -> list[Any]:
        return sorted(member.info for member in node.members("listed", 10))

    def test_all_nodes_list_the_same_and_see_the_changes(self) -> None:
        calls = Calls()
        one = self.node(on_member=lambda change, member: calls.add(change, member.info, member.local))
        two = self.node()
        Listening(self, one.url), Listening(self, two.url)
        one.clients[0].join("listed", info="one")
        two.clients[0].join("listed", info="two")
        eventually(lambda: self.listed(one) == self.listed(two) == ["one", "two"])
        three = self.node()
        self.assertEqual(["one", "two"], self.listed(three))
        two.clients[0].join("listed", info="deux")
        eventually(lambda: self.listed(three) == ["deux", "one"])
        two.close()
        eventually(lambda: self.listed(three) == self.listed(one) == ["one"])
        expected = {
            ("joined", "one", True),
            ("joined", "two", False),
            ("changed", "deux", False),
            ("left", "deux", False),
        }
        self.assertEqual(expected, set(calls.wait(4)))

    def test_a_node_that_is_killed_is_gone_in_time(self) -> None:
        calls, on_cluster = self.changes()
        one = self.node(on_cluster=on_cluster)
        other = NodeProcess(self.redis.url)
        self.addCleanup(other.close)
        self.wait_for(one, 2)
        other.kill()
        began = time.monotonic()
        self.wait_for(one, 1)
        self.assertLess(time.monotonic() - began, 15)
        eventually(lambda: "node-gone" in [change for change, _ in calls.seen])

    def test_a_broker_that_lost_everything_makes_nobody_leave(self) -> None:
        calls = Calls()
        one = self.node(on_member=lambda change, member: calls.add(change))
        two = self.node()
        Listening(self, two.url)
        two.clients[0].join("listed", info="two")
        eventually(lambda: self.listed(one) == ["two"])
        self.redis.command("FLUSHALL")
        eventually(lambda: one.cluster.epochs == 1 and two.cluster.epochs == 1)
        three = self.node()
        self.assertEqual(["two"], self.listed(three))
        self.assertEqual(["two"], self.listed(one))
        self.assertEqual([("joined",)], calls.seen)

    def test_waiting_for_members_ends_when_the_server_closes(self) -> None:
        broker = self.start_redis()
        broker.freeze()
        self.addCleanup(broker.thaw)
        node = self.node(self.backplane(broker, connect_timeout=0.1))
        outcome = Result(lambda: node.members("lobby", timeout=300))
        eventually(lambda: self.hub(node)._follower._condition._events, 10, "it waits")  # type: ignore[union-attr]
        node.close()
        with self.assertRaisesRegex(RuntimeError, "closed"):
            outcome.get()


class RemoteTest(NodesTestCase):
    def test_a_client_of_another_node_answers(self) -> None:
        one, two = self.node(), self.node()
        listening = Listening(self, two.url)
        listening.client.on("ask", lambda args, reply, ids: reply("answer", [args[0] * 2]))
        address = two.clients[0].address
        self.wait_for(one, 2)
        answer = one.client_at(address).send("ask", [21]).wait_reply(10)
        self.assertEqual(("answer", [42]), (answer.event, answer.args))

    def test_listeners_on_two_nodes_that_ask_each_others_client(self) -> None:
        nodes = self.node(), self.node()
        clients = [Listening(self, node.url) for node in nodes]
        for node in nodes:
            self.wait_for(node, 2)
        addresses = [node.clients[0].address for node in nodes]
        for number, (node, client) in enumerate(zip(nodes, clients, strict=True)):
            other = addresses[1 - number]

            def ask(client: Any, args: Any, reply: Any, ids: Any, node: Any = node, other: str = other) -> None:
                reply("asked", node.client_at(other).send("name").wait_reply(20).args)

            node.on("ask", ask)
            client.client.on("name", lambda args, reply, ids, number=number: reply("name is", [number]))
        asked = [client.client.send("ask") for client in clients]
        self.assertEqual([[1], [0]], [sent.wait_reply(20).args for sent in asked])

    def test_the_outcomes_elsewhere(self) -> None:
        one, two = self.node(), self.node(send_buffer_limit=100_000)
        other = NodeProcess(self.redis.url)
        self.addCleanup(other.close)
        Listening(self, two.url)
        self.wait_for(one, 3)
        (side,) = two.clients
        remote = one.client_at(side.address)
        with self.assertRaises(ReplyTimeout):
            remote.send("nothing").wait_reply(0.1)
        with self.assertRaises(ConnectionClosed) as caught:
            one.client_at(side.address.rpartition(":")[0] + ":999999").send("ask").wait_reply(10)
        self.assertEqual((1006, "no such connection"), (caught.exception.code, caught.exception.reason))
        sent = remote.send("ask")
        remote.disconnect(4001, "bye")
        with self.assertRaises(ConnectionClosed) as caught:
            sent.wait_reply(10)
        self.assertEqual((4001, "bye"), (caught.exception.code, caught.exception.reason))
        for node in one.cluster.nodes:
            with self.assertRaises(ConnectionClosed):
                one.client_at(f"{node}:999999").send("ask").wait_reply(10)

    def test_no_room_elsewhere_is_told_and_cuts_nobody(self) -> None:
        one, two = self.node(), self.node(send_buffer_limit=100_000)
        peer = RawPeer.connect(two.url or "", KEY, receive_buffer=4096)
        self.addCleanup(peer.close)
        (side,) = eventually(lambda: [client for client in two.clients if client.authenticated])
        self.wait_for(one, 2)

        def fill() -> bool:
            sent = one.client_at(side.address).send("big", ["x" * 90_000])
            try:
                sent.wait_reply(0.05)
            except SendTimeout:
                return True
            except ReplyTimeout:
                pass
            return False

        eventually(fill, what="the send buffer is full")
        self.assertTrue(side.alive)

    def test_a_node_that_dies_while_it_is_asked(self) -> None:
        one = self.node()
        other = NodeProcess(self.redis.url)
        self.addCleanup(other.close)
        Listening(self, other.url)
        self.wait_for(one, 2)
        address = other.ask("addresses")[0]
        waiting = Result(one.client_at(address).send("nothing").wait_reply, 30)
        other.kill()
        with self.assertRaises(ConnectionClosed) as caught:
            waiting.get(30)
        self.assertEqual((1006, "node gone"), (caught.exception.code, caught.exception.reason))


class BrokerTest(NodesTestCase):
    """A broker that fails in each way of the contract's table. Each test has one of its own."""

    def publish(self, nodes: list[NodeProcess], count: int) -> None:
        for working in [
            Result(node.ask, "publish", ["lobby"], "said", count, number) for number, node in enumerate(nodes)
        ]:
            working.get(60)

    def check(self, clients: list[Listening], count: int, producers: int = 2) -> None:
        """Each client has got each number of each producer once, in that producer's order."""
        for client in clients:
            seen = eventually(
                lambda client=client: len(client.calls.seen) >= count * producers and client.calls.seen,  # type: ignore[misc]
                60,
                f"{count * producers} events",
            )
            assert isinstance(seen, list)
            for producer in range(producers):
                self.assertEqual(list(range(count)), [number for who, number in seen if who == producer])

    def start(self, **options: Any) -> tuple[Any, list[NodeProcess], list[Listening]]:
        broker = self.start_redis(**options)
        nodes = [NodeProcess(broker.url, publish_buffer_limit=64 << 20) for _ in range(2)]
        for node in nodes:
            self.addCleanup(node.close)
        return broker, nodes, [Listening(self, node.url) for node in nodes]

    def test_nothing_is_lost_or_double_over_a_quiet_broker(self) -> None:
        _, nodes, clients = self.start()
        self.publish(nodes, 2000)
        self.check(clients, 2000)
        self.assertEqual(*(client.calls.seen for client in clients))

    def test_nothing_is_lost_or_double_over_a_broker_that_is_killed(self) -> None:
        for appendonly in ("always", "everysec", None):
            with self.subTest(appendonly=appendonly):
                broker, nodes, clients = self.start(appendonly=appendonly)
                publishing = Result(self.publish, nodes, 2000)
                eventually(lambda: len(clients[0].calls.seen) > 200)  # noqa: B023
                broker.restart()
                publishing.get(60)
                self.check(clients, 2000)

    def test_nothing_is_lost_or_double_over_a_broker_that_stands_still(self) -> None:
        broker, nodes, clients = self.start()
        publishing = Result(self.publish, nodes, 2000)
        eventually(lambda: len(clients[0].calls.seen) > 200)
        broker.freeze()
        eventually(lambda: not nodes[0].ask("status")["connected"], 30)
        broker.thaw()
        publishing.get(60)
        self.check(clients, 2000)
        self.assertEqual(2, len(nodes[0].ask("status")["nodes"]))

    def test_changes_of_members_are_bounded_and_made_up_for(self) -> None:
        broker = self.start_redis()
        node, other = (self.node(self.backplane(broker), publish_buffer_limit=20_000) for _ in range(2))
        Listening(self, node.url)
        (side,) = node.clients
        side.join("listed", info=0)
        eventually(lambda: [member.info for member in other.members("listed", 10)] == [0])
        broker.freeze()
        for number in range(1, 2000):
            side.join("listed", info=number)
            side.leave("left")
        publisher = side._ezez_connection._hub._publisher
        assert publisher is not None
        self.assertLess(sum(len(item.data) for item in list(publisher._queue)), 30_000)
        broker.thaw()
        eventually(lambda: [member.info for member in other.members("listed", 10)] == [1999], 20)
        side.leave("listed")
        eventually(lambda: other.members("listed", 10) == [])

    def test_the_queue_is_bounded_and_what_was_accepted_arrives(self) -> None:
        broker = self.start_redis()
        changes, on_cluster = self.changes()
        node = self.node(self.backplane(broker), publish_buffer_limit=20_000, on_cluster=on_cluster)
        client = Listening(self, node.url)
        broker.freeze()
        accepted = 0
        with self.assertRaisesRegex(QueueFull, "publish_buffer_limit=20000"):
            while accepted < 1000:
                node.everyone.send("said", [accepted, "x" * 100])
                accepted += 1
        self.assertGreater(accepted, 50)
        broker.thaw()
        seen = client.calls.wait(accepted)
        self.assertEqual(list(range(accepted)), [number for number, _ in seen])
        self.assertIn("queue-full", [change for change, _ in changes.wait(2)])

    def test_our_goodbye_wakes_our_reader(self) -> None:
        """Closing does not wait for the end of a read, which is a second."""
        took = []
        for _ in range(5):
            node = self.node()
            self.wait_for(node, 1)
            began = time.monotonic()
            node.close()
            took.append(time.monotonic() - began)
        self.assertLess(sorted(took)[2], 0.7, took)

    def test_a_broker_that_is_not_there_at_the_start(self) -> None:
        broker = self.start_redis()
        broker.kill()
        changes, on_cluster = self.changes()
        node = self.node(self.backplane(broker), on_cluster=on_cluster)
        client = Listening(self, node.url)
        self.assertFalse(node.cluster.connected)
        self.assertIsNone(node.cluster.lag)
        self.assertEqual(1, node.broadcast("said", [1], local=True))
        waiting = node.everyone.send("said", [2])
        self.assertFalse(waiting.wait(0.05))
        with self.assertRaises(NotReady):
            node.members("lobby")
        self.assertEqual([(1,)], client.calls.seen)
        broker.start()
        self.assertTrue(waiting.wait(20))
        self.assertEqual([(1,), (2,)], client.calls.wait(2))
        self.assertEqual([], node.members("lobby", 10))
        eventually(lambda: node.cluster.connected)
        self.assertEqual(["down", "up"], [change for change, _ in changes.wait(2)][:2])

    def test_a_server_that_closes_while_the_broker_is_away(self) -> None:
        for how in ("kill", "freeze"):
            with self.subTest(how=how):
                broker = self.start_redis()
                node = self.node(self.backplane(broker), close_timeout=1.0)
                getattr(broker, how)()
                lost = node.everyone.send("said", [1])
                before = time.monotonic()
                node.close()
                self.assertLess(time.monotonic() - before, 10)
                with self.assertRaisesRegex(PublishFailed, "closed before"):
                    lost.wait(0)
                self.assertEqual([], backplane_threads())
                if how == "freeze":
                    broker.thaw()

    def test_what_on_disconnect_publishes_while_the_server_closes_goes_out(self) -> None:
        one = self.node(on_disconnect=lambda client, code, reason: client.to("lobby").send("said", ["gone"]))
        two = self.node()
        listening = Listening(self, two.url)
        Listening(self, one.url, auto_reconnect=False)
        one.close()
        self.assertEqual([("gone",)], listening.calls.wait())

    def test_events_that_are_lost_are_told_as_a_gap(self) -> None:
        broker = self.start_redis()
        changes, on_cluster = self.changes()
        one = self.node(self.backplane(broker), on_cluster=on_cluster)
        two = self.node(self.backplane(broker))
        self.wait_for(one, 2)
        run = two._ezez_current_run()
        assert run is not None and run.hub._publisher is not None
        run.hub._publisher._numbering._last += 3  # as if three had been lost on the way
        two.everyone.send("said", [1]).wait(10)
        self.assertEqual("gap", eventually(lambda: [c for c, _ in changes.seen if c == "gap"])[0])
        self.assertEqual(1, one.cluster.gaps)


class ForeignTest(NodesTestCase):
    def test_entries_of_others_in_the_stream_are_left_out_and_told(self) -> None:
        node = self.node()
        client = Listening(self, node.url)
        with self.assertLogs("ezez_ws", "WARNING") as logs:
            self.redis.command("XADD", "{ezez}:log", "*", "other", "field")
            self.redis.command("XADD", "{ezez}:log", "*", "m", b"\x00garbage")
            eventually(lambda: node.cluster.foreign == 2)
            eventually(lambda: "an entry of the log was left out" in "".join(logs.output))
        node.everyone.send("said", [1])
        self.assertEqual([(1,)], client.calls.wait())

    def test_garbage_in_an_inbox_is_left_out(self) -> None:
        node = self.node()
        client = Listening(self, node.url)
        (inbox,) = self.redis.command("KEYS", "*:in:*")
        with self.assertLogs("ezez_ws", "WARNING") as logs:
            for garbage in (b"", b"x", b"\xff" * 10):
                self.redis.command("XADD", inbox, "*", "m", garbage)
            eventually(lambda: "a message of another node was left out" in "".join(logs.output))
        node.everyone.send("said", [1])
        self.assertEqual([(1,)], client.calls.wait())

    def test_what_cannot_be_read_is_told_once(self) -> None:
        for command, text in (
            (("ACL", "SETUSER", "default", "-xread"), "does not permit XREAD"),
            (("SET", "{ezez}:in:%s", "text"), "something else under the key '{ezez}:log' or '{ezez}:in:%s'"),
        ):
            with self.subTest(command[0]):
                broker = self.start_redis()
                changes, on_cluster = self.changes()
                node = self.node(self.backplane(broker), on_cluster=on_cluster)
                (name,) = eventually(lambda: node.cluster.nodes)  # noqa: B023
                broker.command(*(word.replace("%s", name) for word in command))
                eventually(lambda: node.cluster.reconnects >= 4)  # noqa: B023
                (_, (change, detail)) = changes.wait(2)[:2]
                self.assertEqual("down", change)
                self.assertIn(text.replace("%s", name), detail)
                self.assertEqual(2, len(changes.seen))
                broker.command("ACL", "SETUSER", "default", "+xread")
                broker.command("DEL", "{ezez}:in:" + name)
                eventually(lambda: node.cluster.connected)  # noqa: B023
                self.assertEqual("up", changes.wait(3)[2][0])

    def test_a_description_opens_nothing_and_may_be_shared(self) -> None:
        backplane = RedisBackplane("redis://127.0.0.1:1/0")
        EZEZWebsocketServer(on_auth_request=lambda client, key: True, backplane=backplane)
        EZEZWebsocketServer(on_auth_request=lambda client, key: True, backplane=backplane)
