"""Clients that come back to another node, while brokers and nodes fail: each event once, in order, or told."""

import threading
import time
from typing import Any
from unittest import mock

from ezez_ws import Emitter, EZEZWebSocketClient, EZEZWebsocketServer
from ezez_ws.cluster.follower import Follower
from ezez_ws.cluster.log import LogDown
from ezez_ws.cluster.redis_log import RedisWriter
from ezez_ws.testing import Link
from tests.cluster.nodes import NodesTestCase
from tests.redis_server import RedisServer
from tests.serving import KEY, Calls, Result
from tests.support import eventually

MOSTLY_WAITS = True


class Moving:
    """A client that can recover, goes where it is told to, and records what it hears, and what it is told of."""

    def __init__(self, test: NodesTestCase, node: EZEZWebsocketServer) -> None:
        self.calls = Calls()
        self.node: EZEZWebsocketServer | None = node
        self.client = EZEZWebSocketClient(
            lambda: (self.node and self.node.url) or "ws://127.0.0.1:1",
            auth=KEY,
            recover=True,
            on_missed=lambda rooms: self.calls.add("missed"),
            reconnect_delay=0.01,
            reconnect_delay_max=0.05,
        )
        self.client.on("said", lambda args, reply, ids: self.calls.add(*args))
        test.addCleanup(self.client.close)
        self.client.connect()
        eventually(lambda: "lobby" in self.client.rooms)

    def leave(self) -> None:
        """Lose the connection, and stay away."""
        node, self.node = self.node, None
        assert node is not None
        for client in node.clients:
            client.disconnect(1012)
        eventually(lambda: not node.clients)

    def come_to(self, node: EZEZWebsocketServer) -> None:
        """Come back at a node."""
        self.node = node
        eventually(lambda: any("lobby" in client.rooms for client in node.clients))


class MovingTest(NodesTestCase):
    def start(self, **options: Any) -> tuple[RedisServer, EZEZWebsocketServer]:
        broker = self.start_redis(**options)
        return broker, self.node(self.backplane(broker))

    def start_far(self, broker: RedisServer) -> tuple[EZEZWebsocketServer, Link]:
        """Start a node that reaches the broker by way of a proxy."""
        proxy = Link(broker.url)
        self.addCleanup(proxy.close)
        far = RedisServer.__new__(RedisServer)
        far._scheme, far.password, far.port = "redis", None, proxy.port
        node = self.node(self.backplane(far))
        eventually(lambda: node.cluster.connected and node.cluster.nodes)
        return node, proxy

    def cut_off(self, node: EZEZWebsocketServer, proxy: Link) -> None:
        proxy.redirect("redis://127.0.0.1:1")
        proxy.cut()
        eventually(lambda: not node.cluster.connected)

    def wait_for_epoch(self, node: EZEZWebsocketServer) -> None:
        eventually(lambda: node.cluster.connected and node.cluster.epochs, 20, "it has met another log")

    def assert_once(self, moving: Moving, node: EZEZWebsocketServer) -> None:
        """Assert that nothing came twice, once all has come, and that a loss was told."""
        eventually(lambda: node.cluster.connected)
        node.everyone.send("said", ["end"])
        seen: Any = eventually(lambda: moving.calls.seen[-1:] == [("end",)] and list(moving.calls.seen), 20)
        events = [args for args in seen if args != ("missed",)]
        self.assertEqual(list(dict.fromkeys(events)), events, seen)
        self.assertIn(("missed",), seen)

    def test_a_node_that_finds_an_emptied_log_does_not_promise_what_was_in_it(self) -> None:
        broker = self.start_redis()
        one = self.node(self.backplane(broker, heartbeat=30.0, node_timeout=60.0))
        eventually(lambda: one.cluster.nodes)
        moving = Moving(self, one)
        one.to("lobby").send("said", ["before"])
        moving.calls.wait()
        moving.leave()
        one.to("lobby").send("said", ["lost"]).wait(10)
        broker.command("DEL", "{ezez}:log")  # as an eviction does; the log's secret is still there
        started, append = threading.Event(), RedisWriter.append
        self.addCleanup(started.set)
        with mock.patch.object(RedisWriter, "append", lambda *args: (started.wait(30), append(*args))):
            fresh = self.node(self.backplane(broker))  # which finds nothing, not even its own first beat
            started.set()
        moving.come_to(fresh)
        one.to("lobby").send("said", ["after"])
        self.assertEqual([("before",), ("missed",), ("after",)], moving.calls.wait(3))

    def test_who_is_cut_off_on_a_new_log_before_anything_was_said_has_missed_nothing(self) -> None:
        broker = self.start_redis()
        append = RedisWriter.append

        def append_late(writer: RedisWriter, publications: Any) -> None:
            time.sleep(0.3)  # the node's first sign of life
            append(writer, publications)

        with mock.patch.object(RedisWriter, "append", append_late):
            one = self.node(self.backplane(broker, heartbeat=30.0, node_timeout=60.0))
            moving = Moving(self, one)
            other = self.node(self.backplane(broker, heartbeat=30.0, node_timeout=60.0))
        for node in (one, other):
            moving.leave()
            one.to("lobby").send("said", ["missed by it"]).wait(10)
            moving.come_to(node)
            self.assertEqual([("missed by it",)], moving.calls.wait()[-1:])
        one.to("lobby").send("said", ["end"])
        self.assertEqual([("missed by it",)] * 2 + [("end",)], moving.calls.wait(3))

    def test_what_was_lost_and_is_appended_again_comes_once(self) -> None:
        broker, one = self.start()
        slow, proxy = self.start_far(broker)
        moving = Moving(self, one)
        slow.to("lobby").send("said", ["once"])
        self.assertEqual([("once",)], moving.calls.wait())
        proxy.redirect("redis://127.0.0.1:1")
        proxy.cut()
        broker.restart()  # it has nothing any more
        self.wait_for_epoch(one)
        one.to("lobby").send("said", ["new"])
        moving.calls.wait(2)
        fresh = self.node(self.backplane(broker))  # it cannot know what there was
        eventually(lambda: fresh.cluster.connected)
        moving.leave()
        moving.come_to(fresh)
        one.to("lobby").send("said", ["at the fresh one"])
        moving.calls.wait(3)
        proxy.redirect(broker.url)
        self.wait_for_epoch(slow)
        eventually(lambda: "missed" in str(moving.calls.seen) or moving.calls.seen[-1:] == [("once",)])
        slow.to("lobby").send("said", ["last"])
        seen: Any = eventually(lambda: moving.calls.seen[-1:] == [("last",)] and moving.calls.seen)
        self.assertEqual([("once",), ("new",), ("at the fresh one",), ("missed",), ("last",)], seen)

    def test_what_has_survived_is_not_replayed_to_who_had_it_before(self) -> None:
        """It leaves a node that is still reading the new log again, for one that knows no other."""
        broker = self.start_redis(appendonly="always")
        one = self.node(self.backplane(broker), ping_interval=0.02)
        moving = Moving(self, one)
        for number in range(5):
            one.to("lobby").send("said", [number]).wait(10)  # each an entry
        moving.calls.wait(5)
        gate, feed, fed = threading.Event(), Follower._feed, Calls()
        self.addCleanup(gate.set)

        def feed_slowly(follower: Follower, *args: Any) -> None:
            if follower.epochs:
                fed.add()
                if len(fed.seen) > 1:
                    gate.wait(30)
            feed(follower, *args)

        with mock.patch.object(Follower, "_feed", feed_slowly):
            broker.restart()
            fed.wait(2)
            clients = self.hub(one).clients
            (session,) = clients._sessions.values()
            eventually(lambda: session.told.order == clients.top.order, 10, "a ping has told it")
            fresh = self.node(self.backplane(broker))
            moving.leave()
            moving.come_to(fresh)
            self.assert_once(moving, fresh)

    def test_a_node_that_was_starting_does_not_deliver_what_has_survived(self) -> None:
        broker, one = self.start(appendonly="always")
        moving = Moving(self, one)
        for number in range(5):
            one.to("lobby").send("said", [number]).wait(10)
        moving.calls.wait(5)
        gate, read, others = threading.Event(), Follower._read, self.hub(one)._follower
        self.addCleanup(gate.set)

        def read_late(follower: Follower, *args: Any) -> None:
            if follower is not others:
                gate.wait(30)
            read(follower, *args)

        with mock.patch.object(Follower, "_read", read_late):
            fresh = self.node(self.backplane(broker, connect_timeout=0.1))
            broker.restart()
            moving.leave()
            moving.come_to(fresh)
            gate.set()
            self.wait_for_epoch(fresh)
            self.assert_once(moving, one)

    def move_on(self, one: EZEZWebsocketServer, late: EZEZWebsocketServer) -> Moving:
        """Have a client read on one node what the other, to which it goes then, has not read."""
        moving = Moving(self, one)
        for number in range(3):
            one.to("lobby").send("said", [number]).wait(10)
        moving.calls.wait(3)
        moving.leave()
        moving.come_to(late)
        return moving

    def test_what_a_node_reads_late_does_not_come_to_who_had_it_elsewhere(self) -> None:
        for restarts in (False, True):
            with self.subTest(restarts=restarts):
                broker, one = self.start(appendonly="always")
                late, proxy = self.start_far(broker)
                self.cut_off(late, proxy)
                moving = self.move_on(one, late)
                if restarts:
                    broker.restart()
                    self.wait_for_epoch(one)
                proxy.redirect(broker.url)
                eventually(lambda late=late: late.cluster.connected, 20)  # type: ignore[misc]
                self.assert_once(moving, one)

    def test_who_has_read_further_in_a_log_that_its_node_meets_later_is_told(self) -> None:
        broker, one = self.start()
        late, proxy = self.start_far(broker)
        self.cut_off(late, proxy)
        broker.restart()  # it has nothing any more
        self.wait_for_epoch(one)
        moving = Moving(self, one)
        one.to("lobby").send("said", ["new"]).wait(10)
        moving.calls.wait()
        moving.leave()
        moving.come_to(late)
        eventually(lambda: "lobby" in moving.client.rooms)
        told = len(moving.calls.seen)
        proxy.redirect(broker.url)
        self.assertEqual(("missed",), moving.calls.wait(told + 1)[told])
        self.assert_once(moving, one)

    def test_who_has_been_here_for_long_gets_what_the_node_reads_late(self) -> None:
        broker, one = self.start(appendonly="always")
        late, proxy = self.start_far(broker)
        moving = Moving(self, late)
        moving.leave()
        moving.come_to(late)
        self.cut_off(late, proxy)
        one.to("lobby").send("said", ["late"]).wait(10)
        broker.restart()
        self.wait_for_epoch(one)
        with mock.patch("ezez_ws.cluster.clients._SETTLES", 0.0):
            proxy.redirect(broker.url)
            self.assertEqual([("late",)], moving.calls.wait())

    def test_who_leaves_a_node_that_is_behind_is_where_it_was_before(self) -> None:
        broker, one = self.start()
        late, proxy = self.start_far(broker)
        self.cut_off(late, proxy)
        moving = self.move_on(one, late)
        moving.leave()
        moving.come_to(one)
        self.assert_once(moving, one)

    def test_what_is_appended_again_does_not_come_to_who_may_have_had_it_elsewhere(self) -> None:
        broker, one = self.start()
        slow, slow_proxy = self.start_far(broker)
        other, other_proxy = self.start_far(broker)
        self.cut_off(other, other_proxy)
        moving = Moving(self, one)
        slow.to("lobby").send("said", ["once"])
        moving.calls.wait()
        self.cut_off(slow, slow_proxy)
        broker.restart()  # it has nothing any more
        other_proxy.redirect(broker.url)
        self.wait_for_epoch(one)
        self.wait_for_epoch(other)
        moving.leave()
        moving.come_to(other)
        slow_proxy.redirect(broker.url)
        self.wait_for_epoch(slow)
        self.assert_once(moving, slow)

    def test_what_an_emitter_appends_again_does_not_come_to_who_had_it_elsewhere(self) -> None:
        broker, one = self.start()
        moving, emitter = Moving(self, one), Emitter(self.backplane(broker))
        self.addCleanup(emitter.close)
        append = RedisWriter.append
        tries: list[RedisWriter] = []

        def lose(writer: RedisWriter, publications: Any) -> None:
            append(writer, publications)
            if writer is not emitter._writer:
                return
            tries.append(writer)
            if len(tries) == 1:  # its confirmation is lost, and then the log
                moving.calls.wait()
                broker.restart()
                self.wait_for_epoch(one)
                moving.leave()
                moving.come_to(Result(self.node, self.backplane(broker)).get())  # not out of the emitter's own
                writer.close()
                raise LogDown("the confirmation is lost")

        with mock.patch.object(RedisWriter, "append", lose):
            emitter.to("lobby").send("said", ["once"])
        self.assertEqual(2, len(tries))
        self.assert_once(moving, one)

    def test_what_a_client_has_said_itself_does_not_come_back_to_it_in_another_epoch(self) -> None:
        broker, one = self.start()
        moving = Moving(self, one)
        (side,) = one.clients
        audience = side.to("lobby")
        moving.leave()
        broker.restart()
        self.wait_for_epoch(one)
        moving.come_to(one)
        audience.send("said", ["own"])
        self.assert_once(moving, one)
        self.assertNotIn(("own",), moving.calls.seen)
