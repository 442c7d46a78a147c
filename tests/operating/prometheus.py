"""A real ``prometheus`` that scrapes, and its ``promtool``.

Where they are missing, tests skip themselves; with ``EZEZ_REQUIRE_PROMETHEUS=1`` they fail.
"""

import json
import math
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

from tests.support import eventually, free_port, required

__all__ = ["Prometheus", "needs_prometheus", "promtool"]


def needs_prometheus(target: Any = None) -> Any:
    """Skip where there is no Prometheus, or fail there; used like ``needs_node``."""
    missing = [name for name in ("prometheus", "promtool") if not shutil.which(name)]
    return required(target, f"not installed: {', '.join(missing)}" if missing else "", "EZEZ_REQUIRE_PROMETHEUS")


def promtool(*arguments: str, given: str = "") -> str:
    """Run it, and return what it prints; ``AssertionError`` with that, where it finds something wrong."""
    command = ["promtool", *arguments]
    done = subprocess.run(command, input=given, capture_output=True, encoding="utf-8", timeout=50)
    if done.returncode or done.stderr:
        raise AssertionError(f"promtool {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


class Prometheus:
    """One that scrapes twice a second, and nothing else.

    Args:
        targets: what to scrape, each ``host:port``.
        rules: files of rules.
    """

    def __init__(self, *targets: str, rules: tuple[Path, ...] = ()) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="ezez-prometheus-")
        folder = Path(self._folder.name)
        configuration = {
            "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
            "rule_files": [str(path) for path in rules],
            "scrape_configs": [{"job_name": "ezez_ws", "static_configs": [{"targets": list(targets)}]}],
        }
        file = folder / "prometheus.yml"
        file.write_text(json.dumps(configuration), encoding="utf-8")  # which is YAML, too
        promtool("check", "config", str(file))
        self._log = folder / "log"
        for _ in range(10):
            self.url = f"http://127.0.0.1:{free_port()}"
            if self._launch(file, folder):
                return
        text = self._log.read_text(encoding="utf-8")
        self.close()
        raise AssertionError(f"prometheus does not start:\n{text}")

    def _launch(self, file: Path, folder: Path) -> bool:
        options = {"config.file": file, "storage.tsdb.path": folder / "data", "web.listen-address": self.url[7:]}
        command = ["prometheus", *(f"--{name}={value}" for name, value in options.items())]
        with self._log.open("w") as log:
            self._process = process = subprocess.Popen(command, stdout=log, stderr=log)
        eventually(lambda: self._is_ready() or process.poll() is not None, 40, "prometheus is ready")
        return process.poll() is None

    def _is_ready(self) -> bool:
        try:
            with urlopen(f"{self.url}/-/ready", timeout=10) as response:
                return bool(response.status == 200)
        except HTTPError as unready:
            unready.close()
        except OSError:
            pass
        return False

    def get(self, path: str, **arguments: str) -> Any:
        """Return the data that a path below ``/api/v1/`` answers with."""
        with urlopen(f"{self.url}/api/v1/{path}?{urlencode(arguments)}", timeout=20) as response:
            return json.load(response)["data"]

    def query(self, expression: str) -> list[float]:
        """Return the values that an expression has now, those alone that are numbers."""
        values = [float(one["value"][1]) for one in self.get("query", query=expression)["result"]]
        return [value for value in values if not math.isnan(value)]

    def close(self) -> None:
        """End it, and delete what it has stored. Idempotent."""
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()
