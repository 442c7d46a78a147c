"""Runs rows of the table side by side with peers: ``python -m benchmarks [ROW …] [--quick] [--json FILE]``.

Each row alternates between the servers, round after round, and prints medians with the smallest and the largest. A
peer that is not installed is named and left out. Only the rows of throughput are here yet.
"""

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, NamedTuple

HERE = Path(__file__).resolve().parent
NEEDS = {"ceiling": None, "ezez": None, "websockets": "websockets"}
MODES = {"ceiling": "raw", "ezez": "ezez", "websockets": "echo"}


class Row(NamedTuple):
    """How many connections, and how many messages in flight on each."""

    connections: int
    in_flight: int
    servers: List[str]


ROWS: Dict[str, Row] = {
    "roundtrip": Row(50, 1, ["ceiling", "ezez", "websockets"]),
    "latency": Row(1, 1, ["ceiling", "ezez", "websockets"]),
    "pipelined": Row(50, 8, ["ezez", "websockets"]),
    "many": Row(2000, 1, ["ezez"]),
}


def measure(server: str, row: Row, seconds: float) -> Dict[str, float]:
    """Start a server and a load generator, each a process of its own, and return what the generator saw."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / "servers.py"), server],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        command = [sys.executable, str(HERE / "load.py"), url, MODES[server]]
        command += [str(row.connections), str(row.in_flight), str(seconds)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
        return dict(json.loads(done.stdout))
    finally:
        process.kill()
        process.communicate()


def run_row(name: str, rounds: int, seconds: float) -> Dict[str, List[float]]:
    """Measure a row's servers in turn, ``rounds`` times."""
    row = ROWS[name]
    rates: Dict[str, List[float]] = {}
    for server in row.servers:
        needed = NEEDS[server]
        if needed is not None and importlib.util.find_spec(needed) is None:
            print(f"{server} is not installed: left out")
        else:
            rates[server] = []
    for _ in range(rounds):
        for server, measured in rates.items():
            result = measure(server, row, seconds)
            measured.append(result["rate"])
            if result["load_cpu"] > 0.9:
                print(f"{name}, {server}: the load generator was at its own ceiling")
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("rows", nargs="*", choices=[[], *ROWS], help="all, if none is given")
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    options = parser.parse_args()
    rounds, seconds = (1, 3.0) if options.quick else (3, 5.0)
    results = {name: run_row(name, rounds, seconds) for name in options.rows or ROWS}
    print("| row | server | messages/s, median | min - max | of ours |")
    print("| --- | --- | --- | --- | --- |")
    for name, rates in results.items():
        ours = statistics.median(rates["ezez"])
        for server, measured in rates.items():
            median = statistics.median(measured)
            spread = f"{min(measured):,.0f} - {max(measured):,.0f}"
            print(f"| {name} | {server} | {median:,.0f} | {spread} | {median / ours:.2f} |")
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
