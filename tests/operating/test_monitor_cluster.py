"""What the monitor tells of a cluster on a real Redis: nodes that come, fall silent, are killed, and end; the lag."""

import unittest
from collections.abc import Callable
from typing import Any

from ezez_ws import EZEZWebsocketServer, Monitor, RedisBackplane
from ezez_ws.testing import Link
from tests.cluster.nodes import NodeProcess, NodesTestCase
from tests.operating.test_monitor import MONITOR_KEY, Page
from tests.support import eventually

Cluster = dict[str, Any]


class MonitorClusterTest(NodesTestCase):
    def look(self, node: EZEZWebsocketServer) -> Page:
        """Mount a monitor on a node, and look."""
        node.mount("/monitor", Monitor(node, key=MONITOR_KEY))
        page = Page(f"{node.url}/monitor/socket")
        self.addCleanup(page.client.close)
        page.client.connect()
        return page

    def wait_told(self, page: Page, matches: Callable[[Cluster], Any], what: str) -> Cluster:
        """Wait until the newest that the page is told is like that."""
        (told,) = eventually(lambda: [one for one in page.seen("cluster")[-1:] if matches(one)], 30, what)
        return dict(told)

    def wait_nodes(self, page: Page, names: list[str]) -> Cluster:
        return self.wait_told(page, lambda told: [*silence(told)] == sorted(names), f"the nodes are {names}")

    def names(self, *nodes: EZEZWebsocketServer) -> list[str]:
        return [self.hub(node).node for node in nodes]

    def test_each_node_tells_of_all_and_which_it_is(self) -> None:
        nodes = [self.node(), self.node()]
        third = NodeProcess(self.redis.url)
        self.addCleanup(third.close)
        eventually(lambda: len(nodes[0].cluster.nodes) == 3)
        names = list(nodes[0].cluster.nodes)
        for node, own in zip(nodes, self.names(*nodes), strict=True):
            page = self.look(node)
            told = self.wait_nodes(page, names)
            self.assertEqual((own, True), (told["node"], told["up"]))
            self.assertEqual(own, page.first("hello")["server"]["node"])
            self.assertEqual(0.25, told["heartbeat"])
            self.wait_told(page, lambda told: told["lag"] == 0.0 and all_heard(told), "all are heard of, in time")

    def test_one_that_is_killed_falls_silent_and_is_then_no_more(self) -> None:
        node = self.node(self.backplane(node_timeout=4.0))
        (own,) = self.names(node)
        page = self.look(node)
        other = NodeProcess(self.redis.url)
        self.addCleanup(other.close)
        told = self.wait_told(page, lambda told: len(told["nodes"]) == 2, "two nodes")
        (name,) = {*silence(told)} - {own}
        other.kill()
        told = self.wait_told(page, lambda told: silence(told)[name] > 1.0, "it is silent")
        self.assertLess(silence(told)[own], silence(told)[name])
        self.wait_nodes(page, [own])

    def test_one_that_ends_in_order_is_gone_at_once(self) -> None:
        node, other = (self.node(self.backplane(node_timeout=300.0)) for _ in range(2))
        page = self.look(node)
        self.wait_nodes(page, self.names(node, other))
        other.close()
        self.wait_nodes(page, self.names(node))

    def test_while_redis_is_away_all_grow_silent_and_then_come_back(self) -> None:
        broker = self.start_redis()
        node, other = (self.node(self.backplane(broker)) for _ in range(2))
        names = self.names(node, other)
        page = self.look(node)
        self.wait_nodes(page, names)
        broker.kill()
        told = self.wait_told(page, lambda told: not told["up"], "Redis is away")
        self.assertIsNone(told["lag"])
        self.wait_told(page, lambda told: min(silence(told).values()) > 2.0, "nobody is heard of")
        broker.start()
        self.wait_told(page, lambda told: told["up"] and told["lag"] == 0.0, "Redis is back")
        self.wait_told(page, all_heard, "all are heard of")
        self.wait_nodes(page, names)  # and nobody was taken for gone

    def test_while_redis_was_never_there_no_node_is_known(self) -> None:
        broker = self.start_redis()
        broker.kill()
        node = self.node(self.backplane(broker, connect_timeout=0.1))
        page = self.look(node)
        told = page.first("cluster")
        self.assertEqual((False, None, []), (told["up"], told["lag"], told["nodes"]))
        broker.start()
        self.wait_nodes(page, self.names(node))

    def test_a_node_that_has_more_to_read_than_it_can_tells_how_far_behind_it_is(self) -> None:
        link = Link(self.redis.url)
        self.addCleanup(link.close)
        other = self.node(self.backplane(node_timeout=300.0))
        node = self.node(RedisBackplane(link.url, heartbeat=0.25, node_timeout=300.0, io_timeout=30.0))
        page = self.look(node)
        self.wait_nodes(page, self.names(node, other))
        link.throttle(100_000)
        for _ in range(400):  # each an entry of its own
            self.assertTrue(other.everyone.send("news", ["x" * 2000]).wait(10))
        told = self.wait_told(page, lambda told: told["lag"], "it is behind")
        self.assertTrue(told["up"])
        self.assertLess(told["lag"], 30.0)
        link.throttle(None)
        self.wait_told(page, lambda told: told["lag"] == 0.0, "it has caught up")


def silence(told: Cluster) -> dict[str, float]:
    """For how long each of the nodes was not heard of, in the order of the list."""
    return {node["name"]: node["seen"] for node in told["nodes"]}


def all_heard(told: Cluster) -> bool:
    return max(silence(told).values()) < 1.0


if __name__ == "__main__":
    unittest.main()
