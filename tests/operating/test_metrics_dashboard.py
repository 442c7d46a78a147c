"""The dashboard for Grafana: its queries, asked of a real Prometheus that has scraped two nodes under load."""

import json
import re
import threading
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from prometheus_client import CollectorRegistry, make_wsgi_app, start_http_server

from ezez_ws import EZEZServerClient, EZEZWebSocketClient, EZEZWebsocketServer, ReplyTimeout
from ezez_ws.messages.protocol import AUTH
from ezez_ws.metrics import Collector
from ezez_ws.operating import metrics
from tests.cluster.nodes import NodesTestCase
from tests.operating.prometheus import Prometheus, needs_prometheus
from tests.operating.test_metrics_alerts import RULES
from tests.rawpeer import RawPeer
from tests.serving import KEY
from tests.support import REPO, EZEZTestCase, allow_seconds, eventually

MOSTLY_WAITS = True
SAME_ON_EVERY_PYTHON = True

DASHBOARD = json.loads((REPO / "docs/grafana/ezez_ws.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
# What is 0 while nothing is wrong, and while clients keep pace; all else has to be more in this test.
MAY_BE_ZERO = re.compile(
    r"cluster_(lag|queued|repeats|gaps|epochs|reconnects|foreign|recovered|replayed|missed)|(send_buffer|inbox)_bytes"
    r"|max\(.*min\(|awaited|unauthenticated"
)


def filled_in(text: str) -> str:
    """Return it with values for Grafana's variables."""
    text = re.sub(r"\$(job|instance|server)\b", ".+", text)
    return text.replace("$__rate_interval", "30s").replace("$__range", "1m")


class DashboardTest(EZEZTestCase):
    def test_each_series_is_shown_somewhere(self) -> None:
        shown = " ".join(QUERIES)
        for row in (*metrics._FIGURES, *metrics._CLUSTER):
            with self.subTest(row.name):
                self.assertRegex(shown, rf"\bezez_ws_{row.name}(_total|_bucket)?\b")

    def test_each_query_and_panel_has_what_grafana_needs(self) -> None:
        self.assertEqual(len(DASHBOARD["panels"]), len({panel["id"] for panel in DASHBOARD["panels"]}))
        taken: set[tuple[int, int]] = set()
        for panel in DASHBOARD["panels"]:
            with self.subTest(panel["title"]):
                x, y, w, h = (panel["gridPos"][name] for name in "xywh")
                cells = {(column, line) for column in range(x, x + w) for line in range(y, y + h)}
                self.assertLessEqual(x + w, 24)
                self.assertEqual(set(), taken & cells, "it lies over another")
                taken |= cells
        for panel in PANELS:
            self.assertEqual({"type": "prometheus", "uid": "${datasource}"}, panel["datasource"])
            self.assertEqual(len(panel["targets"]), len({target["refId"] for target in panel["targets"]}))


class Load:
    """What happens at two nodes, again and again until it is closed, each thing that a panel shows."""

    def __init__(self, nodes: list[EZEZWebsocketServer[Any]]) -> None:
        self._nodes = nodes
        self._over = threading.Event()
        self._clients = [EZEZWebSocketClient(node.url, auth=KEY) for node in nodes]
        for node in nodes:
            node.on("sum", lambda client, args, reply, ids: reply("total", [sum(args)]))
            node.on("ask", self._ask)
        for client in self._clients:
            client.connect(timeout=20)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _ask(self, client: EZEZServerClient[Any], *_: object) -> None:
        """Wait for a reply that does not come."""
        try:
            client.send("question", on_reply=lambda *_: None).wait_reply(timeout=0.01)
        except ReplyTimeout:
            pass

    def _run(self) -> None:
        while not self._over.wait(0.05):
            for node, client in zip(self._nodes, self._clients, strict=True):
                client.send("sum", [2, 3]).wait_reply(timeout=20)
                client.send("ask")
                node.broadcast("news", ["it rains"])
                self._misbehave(node)

    def _misbehave(self, node: EZEZWebsocketServer[Any]) -> None:
        try:
            urlopen(node.url.replace("ws", "http", 1), timeout=20).close()
        except HTTPError as refused:
            refused.close()
        with RawPeer.connect(node.url) as peer:
            peer.send_values(AUTH, "wrong", 1)
            peer.read_end()
        with RawPeer.connect(node.url, KEY) as peer:
            peer.send_message(b"no message")
            peer.read_end()

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        for client in self._clients:
            client.close()


@needs_prometheus
class QueriesTest(NodesTestCase):
    def expose(self, node: EZEZWebsocketServer[Any], own_port: bool) -> str:
        """Have a node's metrics served in one of the documentation's two ways, and return where."""
        registry = CollectorRegistry()
        registry.register(Collector(node))
        if own_port:
            node.mount("/metrics", make_wsgi_app(registry))
            return f"127.0.0.1:{node.port}"
        httpd, thread = start_http_server(0, addr="127.0.0.1", registry=registry)

        def close() -> None:
            httpd.shutdown()
            httpd.server_close()
            thread.join()

        self.addCleanup(close)
        return f"127.0.0.1:{httpd.server_port}"

    @allow_seconds(180)
    def test_each_query_gives_data(self) -> None:
        nodes = [self.node(auth_timeout=0.3, clear_awaiting_replies_after=0.2) for _ in range(2)]
        targets = [self.expose(nodes[0], own_port=False), self.expose(nodes[1], own_port=True)]
        prometheus = Prometheus(*targets, rules=(RULES,))
        self.addCleanup(prometheus.close)
        load = Load(nodes)
        self.addCleanup(load.close)
        # what takes longest: two scrapes of what happens last
        eventually(lambda: prometheus.query("ezez_ws_replies_expired_total > 5"), 60, "replies expire")
        for query in QUERIES:
            with self.subTest(query):
                zero = MAY_BE_ZERO.search(query)
                asked = filled_in(query) if zero else f"({filled_in(query)}) > 0"
                eventually(lambda asked=asked: prometheus.query(asked), 30, asked)  # type: ignore[misc]
        self.check_variables(prometheus, targets)
        self.check_rules(prometheus)

    def check_variables(self, prometheus: Prometheus, targets: list[str]) -> None:
        """The choices that the dashboard offers."""
        found = {}
        for variable in DASHBOARD["templating"]["list"]:
            if variable["type"] == "query":
                match = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
                assert match is not None
                chosen = prometheus.get(f"label/{match[2]}/values", **{"match[]": filled_in(match[1])})
                found[variable["name"]] = chosen
        self.assertEqual(["ezez_ws"], found["job"])
        self.assertEqual(sorted(targets), found["instance"])
        self.assertEqual(2, len(found["server"]))

    def check_rules(self, prometheus: Prometheus) -> None:
        """Each alert has been evaluated, and none of the critical ones fires."""
        (group,) = prometheus.get("rules")["groups"]
        self.assertEqual({"ok"}, {rule["health"] for rule in group["rules"]})
        critical = [rule for rule in group["rules"] if rule["labels"]["severity"] == "critical"]
        self.assertEqual([], [rule["name"] for rule in critical if rule["state"] == "firing"])
