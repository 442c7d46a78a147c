"""The collector for Prometheus: what it exports of real servers, and whether Prometheus's own tools take it."""

import subprocess
import sys
import unittest
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from ezez_ws import EZEZWebsocketServer
from ezez_ws.cluster.audience import ClusterStatus
from ezez_ws.figures import ServerStats
from ezez_ws.messages.protocol import AUTH
from ezez_ws.metrics import Collector
from ezez_ws.operating import metrics
from tests.cluster.nodes import NodesTestCase
from tests.operating.prometheus import needs_prometheus, promtool
from tests.serving import ServingTestCase
from tests.support import REPO, EZEZTestCase, eventually

WITHOUT = """
import sys
sys.modules["prometheus_client"] = None
import ezez_ws
try:
    import ezez_ws.metrics
except ImportError as error:
    print(error)
"""


class Scrape:
    """What one scrape of a collector gives."""

    def __init__(self, *servers: EZEZWebsocketServer[Any]) -> None:
        registry = CollectorRegistry()
        registry.register(Collector(*servers))
        self.text = generate_latest(registry).decode()
        self.openmetrics = openmetrics.generate_latest(registry).decode()  # type: ignore[no-untyped-call]
        self.families: dict[str, Metric] = {family.name: family for family in parse_text(self.text)}

    def values(self, name: str) -> dict[tuple[str, ...], float]:
        """The series of that name, by the values of their labels in the order of the labels' names."""
        return {
            tuple(value for _, value in sorted(sample.labels.items())): sample.value
            for family in self.families.values()
            for sample in family.samples
            if sample.name == f"ezez_ws_{name}"
        }

    def value(self, name: str) -> float:
        """The only one of them."""
        (value,) = self.values(name).values()
        return value


class ImportTest(EZEZTestCase):
    def test_without_prometheus_client_the_error_names_the_extra(self) -> None:
        done = subprocess.run([sys.executable, "-c", WITHOUT], cwd=REPO, capture_output=True, encoding="utf-8")
        self.assertEqual((0, ""), (done.returncode, done.stderr))
        self.assertIn("ezez-ws[metrics]", done.stdout)


class RowsTest(unittest.TestCase):
    def test_each_figure_is_exported(self) -> None:
        self.assertEqual(set(ServerStats._fields), {row.field for row in metrics._FIGURES})
        self.assertEqual(
            set(ClusterStatus._fields) - {"epoch", "position"},  # which are no numbers
            {row.field for row in metrics._CLUSTER},
        )


class CollectorTest(ServingTestCase):
    def sums(self) -> EZEZWebsocketServer:
        """A server at which some things have happened, and are over."""
        server = self.serve(auth_timeout=0.1)
        server.on("sum", lambda client, args, reply, ids: reply("total", [sum(args)]))
        client = self.client(server)
        self.assertEqual([5], client.send("sum", [2, 3]).wait_reply(timeout=10).args)
        server.broadcast("news")
        wrong, late = self.peer(server, None), self.peer(server, None)
        wrong.send_values(AUTH, "wrong", 1)
        for peer in (wrong, late):
            peer.read_end()
            peer.close()
        eventually(lambda: server.stats().connections == 1 and len(server.stats().authentications) == 3)
        return server

    def test_the_series_are_the_figures(self) -> None:
        server = self.sums()
        scrape, stats = Scrape(server), server.stats()
        for name, expected in (
            ("connections", stats.connections),
            ("connections_unauthenticated", 0),
            ("connections_opened_total", 3),
            ("messages_received_total", 1),
            ("messages_sent_total", 2),
            ("received_bytes_total", stats.bytes_received),
            ("sent_bytes_total", stats.bytes_sent),
            ("broadcasts_total", 1),
            ("listener_seconds_count", 1),
            ("listener_seconds_sum", stats.listener_seconds.sum),
            ("waiting_seconds_count", 1),
        ):
            with self.subTest(name):
                self.assertEqual(expected, scrape.value(name))
        port = str(server.port)
        outcomes = {("ok", port): 1.0, ("rejected", port): 1.0, ("late", port): 1.0}
        self.assertEqual(outcomes, scrape.values("authentications_total"))

    def test_buckets_are_those_of_the_figures(self) -> None:
        server = self.sums()
        scrape, stats = Scrape(server), server.stats()
        found = scrape.values("listener_seconds_bucket")
        self.assertEqual([*stats.listener_seconds.buckets.values()], [*found.values()])
        self.assertEqual([*stats.listener_seconds.buckets], [float(le) for le, _ in found])
        self.assertEqual(("+Inf", str(server.port)), [*found][-1])

    def test_what_counts_by_something_has_a_label_for_it(self) -> None:
        server = self.serve()
        peer = self.peer(server)
        peer.send_message(b"nonsense")
        peer.read_end()
        eventually(lambda: server.stats().clients_cut)
        (cut,) = server.stats().clients_cut
        self.assertEqual({(cut, str(server.port)): 1.0}, Scrape(server).values("clients_cut_total"))

    def test_both_formats_are_what_parsers_take(self) -> None:
        scrape = Scrape(self.sums())
        names = {family.name for family in parse_openmetrics(scrape.openmetrics)}  # type: ignore[no-untyped-call]
        self.assertEqual(names, {name.removesuffix("_total") for name in scrape.families})

    @needs_prometheus
    def test_promtool_finds_nothing_to_improve(self) -> None:
        self.assertEqual("", promtool("check", "metrics", given=Scrape(self.sums()).text))

    def test_no_label_comes_from_a_client(self) -> None:
        labels = {
            name
            for family in Scrape(self.sums()).families.values()
            for sample in family.samples
            for name in sample.labels
        }
        self.assertEqual({"server", "status", "outcome", "reason", "le"} & labels, labels)

    def test_a_server_has_its_port_as_label_or_else_its_place(self) -> None:
        first, last = self.serve(), self.make(port=None)
        self.assertEqual(
            {(str(first.port),), ("2",), ("3",)}, {*Scrape(first, self.make(), last).values("connections")}
        )
        taken = self.make(port=first.port, host="127.0.0.2")
        self.assertEqual({("1",), ("2",)}, {*Scrape(first, taken).values("connections")})

    def test_totals_stay_when_a_server_is_closed_and_started_again(self) -> None:
        server = self.sums()
        for act in (server.close, server.start):
            act()
            scrape = Scrape(server)
            self.assertEqual([0, 3], [scrape.value(name) for name in ("connections", "connections_opened_total")])

    def test_a_server_that_was_never_started_has_figures_too(self) -> None:
        self.assertEqual(0, Scrape(self.make()).value("connections_opened_total"))

    def test_a_registry_takes_one_only(self) -> None:
        registry = CollectorRegistry()
        first = Collector(self.make())
        registry.register(first)
        with self.assertRaisesRegex(ValueError, "ezez_ws_connections"):
            registry.register(Collector(self.make()))
        registry.unregister(first)
        registry.register(Collector(self.make()))

    def test_a_scrape_can_ask_for_some_series_only(self) -> None:
        registry = CollectorRegistry()
        registry.register(Collector(self.make()))
        names = [family.name for family in registry.restricted_registry(["ezez_ws_broadcasts_total"]).collect()]
        self.assertEqual(["ezez_ws_broadcasts"], names)

    def test_something_else_than_servers_is_refused(self) -> None:
        server = self.make()
        with self.assertRaisesRegex(TypeError, "needs a server"):
            Collector()
        with self.assertRaisesRegex(TypeError, "server 2 of .* is no EZEZWebsocketServer, but 8080"):
            Collector(server, 8080)  # type: ignore[arg-type]
        with self.assertRaisesRegex(ValueError, "server 3 of .* is there twice"):
            Collector(server, self.make(), server)


class ClusterTest(NodesTestCase):
    def test_a_node_has_the_figures_of_its_cluster(self) -> None:
        first, second = self.node(), self.node()
        self.wait_for(first, 2)
        self.assertTrue(first.everyone.send("news").wait(10))
        scrape = Scrape(first, second)
        self.assertEqual({1.0}, {*scrape.values("cluster_connected").values()})
        self.assertEqual({2.0}, {*scrape.values("cluster_nodes").values()})
        self.assertEqual(1, scrape.values("cluster_published_total")[str(first.port),])
        self.assertEqual({(str(first.port),), (str(second.port),)}, {*scrape.values("cluster_lag_seconds")})

    def test_who_has_no_cluster_has_none_of_them(self) -> None:
        node = self.node()
        alone = EZEZWebsocketServer(port=0, on_auth_request=lambda client, key: True)
        self.addCleanup(alone.close)
        alone.start()
        self.assertEqual({(str(node.port),)}, {*Scrape(node, alone).values("cluster_nodes")})
        node.close()
        self.assertEqual({}, Scrape(node).values("cluster_nodes"))

    def test_a_lag_that_is_not_known_is_not_there(self) -> None:
        broker = self.start_redis()
        node = self.node(self.backplane(broker))
        broker.kill()
        eventually(lambda: not node.cluster.connected, 30)
        scrape = Scrape(node)
        self.assertEqual((0.0, {}), (scrape.value("cluster_connected"), scrape.values("cluster_lag_seconds")))


if __name__ == "__main__":
    unittest.main()
