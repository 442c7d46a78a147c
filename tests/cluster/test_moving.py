"""Clients that come back to another node, while brokers and nodes fail: each event once, in order, or told."""

import threading
from typing import Any
from unittest import mock

from ezez_ws import EZEZWebSocketClient, EZEZWebsocketServer
from ezez_ws.cluster.redis_log import RedisWriter
from tests.cluster.nodes import NodesTestCase
from tests.faults.proxy import Proxy
from tests.redis_server import RedisServer
from tests.serving import KEY, Calls
from tests.support import eventually


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
    def start(self) -> tuple[RedisServer, EZEZWebsocketServer]:
        broker = self.start_redis()
        return broker, self.node(self.backplane(broker))

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

    def test_what_was_lost_and_is_appended_again_comes_once(self) -> None:
        broker, one = self.start()
        proxy = Proxy(broker.port)
        self.addCleanup(proxy.close)
        far = RedisServer.__new__(RedisServer)  # the same broker, by way of the proxy
        far._scheme, far.password, far.port = "redis", None, proxy.port
        slow = self.node(self.backplane(far))
        moving = Moving(self, one)
        slow.to("lobby").send("said", ["once"])
        self.assertEqual([("once",)], moving.calls.wait())
        proxy.redirect(1)
        proxy.cut_all()
        broker.restart()  # it has nothing any more
        eventually(lambda: one.cluster.connected and one.cluster.epochs, 20)
        one.to("lobby").send("said", ["new"])
        moving.calls.wait(2)
        fresh = self.node(self.backplane(broker))  # it cannot know what there was
        eventually(lambda: fresh.cluster.connected)
        moving.leave()
        moving.come_to(fresh)
        one.to("lobby").send("said", ["at the fresh one"])
        moving.calls.wait(3)
        proxy.redirect(broker.port)
        eventually(lambda: slow.cluster.connected and slow.cluster.epochs, 20)
        eventually(lambda: "missed" in str(moving.calls.seen) or moving.calls.seen[-1:] == [("once",)])
        slow.to("lobby").send("said", ["last"])
        seen: Any = eventually(lambda: moving.calls.seen[-1:] == [("last",)] and moving.calls.seen)
        self.assertEqual([("once",), ("new",), ("at the fresh one",), ("missed",), ("last",)], seen)
