"""docs/monitoring.md: what it says of figures, series, alerts and Prometheus, against these."""

import re
import shutil
import tempfile
import unittest
from pathlib import Path

from prometheus_client.core import CounterMetricFamily

from ezez_ws.figures import ConnectionStats, ServerStats
from ezez_ws.operating import metrics
from tests.operating.prometheus import needs_prometheus, promtool
from tests.operating.test_metrics_alerts import ALERTS, RULES
from tests.support import REPO

MAY_RUN_BESIDE = True
SAME_ON_EVERY_PYTHON = True

TEXT = (REPO / "docs/monitoring.md").read_text(encoding="utf-8")


class DocumentTest(unittest.TestCase):
    def test_each_figure_stands_there_with_its_series(self) -> None:
        (table,) = re.findall(r"^\| field \|.*\n.*\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
        rows = [line.split("|") for line in table.splitlines()]
        fields = [re.findall(r"`(\w+)`( \\\*)?", row[1]) for row in rows]
        self.assertEqual(set(ServerStats._fields), {name for names in fields for name, _ in names})
        self.assertEqual(set(ConnectionStats._fields), {name for names in fields for name, star in names if star})
        for names, row in zip(fields, rows, strict=True):
            found = iter(re.findall(r"`(\w+)`", row[3]))
            series = [one for name, _ in names for one in metrics._FIGURES if one.field == name]
            for one in series:
                total = "_total" if one.family is CounterMetricFamily else ""
                self.assertEqual(f"{one.name}{total}", next(found))
            self.assertEqual([one.label for one in series if one.label], list(found))

    def test_each_reason_for_a_cut_stands_there(self) -> None:
        (section,) = re.findall(r"^### Why clients are cut\n(.*?)^#", TEXT, re.MULTILINE | re.DOTALL)
        told = set(re.findall(r"`([a-z-]+)`", "".join(re.findall(r"^\| (`.*?) \|", section, re.MULTILINE))))
        code = "".join(path.read_text(encoding="utf-8") for path in (REPO / "ezez_ws").rglob("*.py"))
        calls = re.findall(r"figures\.cut\((.*)\)$", code, re.MULTILINE)
        self.assertEqual({name for call in calls for name in re.findall(r'"([a-z-]+)"', call)}, told)

    def test_it_explains_each_alert(self) -> None:
        named = re.findall(r"^\| `(EzezWs\w+)` \|", TEXT, re.MULTILINE)
        self.assertEqual(list(ALERTS), named)

    @needs_prometheus
    def test_the_configuration_that_the_documentation_shows_is_right(self) -> None:
        (block,) = re.findall(r"^```yml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(RULES, folder)
            file = Path(folder, "prometheus.yml")
            file.write_text(block, encoding="utf-8")
            self.assertIn(f"{len(ALERTS)} rules found", promtool("check", "config", str(file)))
