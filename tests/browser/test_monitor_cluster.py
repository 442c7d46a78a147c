"""The nodes of a cluster on the monitor's page in Chromium: one falls silent and is gone, and Redis goes and comes."""

import unittest
from typing import TYPE_CHECKING

from tests.browser.test_monitor import MonitorTestCase
from tests.cluster.nodes import NodeProcess, NodesTestCase

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

MAY_RUN_BESIDE = True
SAME_ON_EVERY_PYTHON = True


class ClusterOnPageTest(NodesTestCase, MonitorTestCase):
    def row(self, page: "Page", name: str) -> "Locator":
        return page.locator("#nodes tr").filter(has=page.get_by_role("rowheader", name=name))

    def test_a_node_that_is_killed_is_silent_and_then_gone(self) -> None:
        server = self.monitored(backplane=self.backplane(node_timeout=4.5))
        own = self.hub(server).node
        other = NodeProcess(self.redis.url)
        self.addCleanup(other.close)
        self.wait_for(server, 2)
        (name,) = {*server.cluster.nodes} - {own}
        page = self.look()
        cluster = self.section(page, "Cluster")
        self.expect(cluster.locator("#cluster-sum")).to_have_text("2 nodes, up")
        self.expect(self.row(page, own)).to_contain_text("this one")
        self.expect(self.row(page, name)).to_have_attribute("data-level", "")
        other.kill()
        self.expect(page.locator("#nodes tr[data-level=slow]")).to_contain_text("silent for ")
        self.expect(self.row(page, name)).to_contain_text("gone for ")
        self.expect(cluster).to_have_attribute("data-level", "stuck")
        self.expect(cluster.locator("#cluster-sum")).to_have_text("1 node gone")

    def test_redis_that_is_away_is_told_and_that_it_is_back(self) -> None:
        broker = self.start_redis()
        server = self.monitored(backplane=self.backplane(broker, node_timeout=60.0))
        other = self.node(self.backplane(broker, node_timeout=60.0))
        name = self.hub(other).node
        self.wait_for(server, 2)
        page = self.look()
        cluster = self.section(page, "Cluster")
        self.expect(cluster.locator("#cluster-sum")).to_have_text("2 nodes, up")
        self.expect(cluster.get_by_role("img", name="Lag: 0")).to_be_visible()
        broker.kill()
        self.expect(cluster.locator("#cluster-sum")).to_have_text("the backplane is away")
        self.expect(cluster).to_have_attribute("data-level", "stuck")
        self.expect(cluster.get_by_role("img", name="Lag: \u2013")).to_be_visible()
        self.expect(self.row(page, name)).to_contain_text("silent for ")
        broker.start()
        self.expect(cluster.locator("#cluster-sum")).to_have_text("2 nodes, up")
        self.expect(self.row(page, name)).to_have_attribute("data-level", "")


if __name__ == "__main__":
    unittest.main()
