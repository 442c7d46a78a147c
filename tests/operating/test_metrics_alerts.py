"""The alerts that the documentation offers, as Prometheus takes them."""

import json
import re
import tempfile
from pathlib import Path
from typing import Any

from tests.operating.prometheus import needs_prometheus, promtool
from tests.support import REPO, EZEZTestCase

MAY_RUN_BESIDE = True
SAME_ON_EVERY_PYTHON = True

RULES = REPO / "docs/prometheus/alerts.yml"

# Of each alert when it has to fire at the latest, in minutes, and the series that make it fire, and then those that are
# close and do not: a value a minute, as ``promtool test rules`` writes them.
Series = dict[str, str]
ALERTS: dict[str, tuple[int, Series, Series]] = {
    "EzezWsDown": (2, {"up": "0x9"}, {"up": "1x9"}),
    "EzezWsEventsWait": (
        20,
        {'waiting_seconds_bucket{le="1.0"}': "0+98x30", 'waiting_seconds_bucket{le="+Inf"}': "0+100x30"}
        | {'waiting_seconds_bucket{le="5.0"}': "0+100x30"},
        {'waiting_seconds_bucket{le="1.0"}': "0+100x30", 'waiting_seconds_bucket{le="+Inf"}': "0+100x30"},
    ),
    "EzezWsInboxesFill": (15, {"inbox_bytes": "300000x20"}, {"inbox_bytes": "300000x10 0 300000x10"}),
    "EzezWsSendBuffersFill": (15, {"send_buffer_bytes": "1e8x20"}, {"send_buffer_bytes": "1e8x10 0 1e8x10"}),
    "EzezWsClientsCut": (
        15,
        {'clients_cut_total{reason="a"}': "0+1x20", 'clients_cut_total{reason="b"}': "0+1x20", "connections": "100x20"},
        {'clients_cut_total{reason="a"}': "0+2x20", "connections": "1000x20"},
    ),
    "EzezWsServerFull": (
        15,
        {'handshakes_refused_total{status="503"}': "0+1x20"},
        {'handshakes_refused_total{status="404"}': "0+1x20"},
    ),
    "EzezWsClientsReconnect": (
        25,
        {"connections_opened_total": "0+40x30", "connections": "100x30"},
        {"connections_opened_total": "0+20x30", "connections": "100x30"},
    ),
    "EzezWsAuthenticationsFail": (
        20,
        {'authentications_total{outcome="late"}': "0+60x30", 'authentications_total{outcome="ok"}': "0+50x30"},
        {'authentications_total{outcome="late"}': "0+40x30", 'authentications_total{outcome="ok"}': "0+50x30"},
    ),
    "EzezWsRepliesTimeOut": (
        20,
        {"replies_timed_out_total": "0+12x30", "messages_sent_total": "0+1000x30"},
        {"replies_timed_out_total": "0+12x30", "messages_sent_total": "0+2000x30"},
    ),
    "EzezWsClusterDown": (5, {"cluster_connected": "0x9"}, {"cluster_connected": "1x9"}),
    "EzezWsClusterLags": (10, {"cluster_lag_seconds": "8x20"}, {"cluster_lag_seconds": "2x20"}),
    "EzezWsClusterQueues": (10, {"cluster_queued_bytes": "2e6x20"}, {"cluster_queued_bytes": "2e6x7 0 2e6x10"}),
    "EzezWsClusterLosses": (10, {"cluster_gaps_total": "0x5 1x20"}, {"cluster_gaps_total": "1x20"}),
}


def as_test(alert: str, minutes: int, series: Series, fires: bool) -> dict[str, Any]:
    """Return it as promtool reads it."""
    given = []
    for name, values in series.items():
        labels = f'{{job="ezez_ws", instance="shop:9100", server="8000", {name.partition("{")[2] or "}"}'
        full = "up" if name == "up" else f"ezez_ws_{name.partition('{')[0]}"
        given.append({"series": full + labels, "values": values})
    firing = f'count(ALERTS{{alertname="{alert}", alertstate="firing"}}) or vector(0)'
    expected = {"expr": firing, "eval_time": f"{minutes}m", "exp_samples": [{"value": int(fires)}]}
    name = f"{alert} {'fires' if fires else 'is quiet'}"
    return {"name": name, "interval": "1m", "input_series": given, "promql_expr_test": [expected]}


@needs_prometheus
class AlertsTest(EZEZTestCase):
    def test_the_rules_are_right(self) -> None:
        self.assertIn("SUCCESS", promtool("check", "rules", "--lint-fatal", str(RULES)))

    def test_each_alert_fires_when_it_should_and_then_only(self) -> None:
        named = re.findall(r"- alert: (\w+)", RULES.read_text(encoding="utf-8"))
        self.assertEqual(list(ALERTS), named)
        tests = []
        for alert, (minutes, loud, quiet) in ALERTS.items():
            tests += [as_test(alert, minutes, loud, True), as_test(alert, minutes, quiet, False)]
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "alerts.json")
            rules = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}
            file.write_text(json.dumps(rules), encoding="utf-8")
            promtool("test", "rules", str(file))
