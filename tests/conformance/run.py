"""Runs the Autobahn cases against both roles and prints a table: ``run.py [--quick] [--report FOLDER]``.

``kosoku`` (its command must be on the PATH, or beside this Python) is the fuzzing client and the fuzzing server. Every
case must be OK, or INFORMATIONAL where the case itself is. The last line is ``N passed, M failed``.
"""

import argparse
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
GOOD = ("OK", "INFORMATIONAL")
QUICK = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.1.*", "6.2.*", "7.*", "12.1.1", "12.1.2", "13.1.1", "13.4.1"]

Results = dict[str, tuple[str, str]]


def find_kosoku() -> str:
    beside = Path(sys.executable).parent / "kosoku"
    found = str(beside) if beside.exists() else shutil.which("kosoku")
    if found is None:
        sys.exit("kosoku is not installed (pip install kosoku; it needs Python 3.10)")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int) -> None:
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    sys.exit(f"nobody listens on port {port}")


def read_results(folder: Path) -> Results:
    index: dict[str, dict[str, dict[str, Any]]] = json.loads((folder / "index.json").read_text())
    (cases,) = index.values()
    return {name: (case["behavior"], case["behaviorClose"]) for name, case in cases.items()}


def run_server_role(kosoku: str, cases: list[str], folder: Path) -> Results:
    """The fuzzing client against our server."""
    echo = subprocess.Popen(
        [sys.executable, str(HERE / "echo_server.py"), "0", "--deflate"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert echo.stdin is not None and echo.stdout is not None
    try:
        port = int(echo.stdout.readline().split()[-1])
        command = [kosoku, "-m", "fuzzingclient", "-p", "1", "-o", str(folder), f"ws://127.0.0.1:{port}"]
        subprocess.run(command + cases, stdout=subprocess.DEVNULL, check=False)
    finally:
        echo.stdin.close()
        echo.wait(30)
        echo.stdout.close()
    return read_results(folder)


def run_client_role(kosoku: str, cases: list[str], folder: Path) -> Results:
    """Our client against the fuzzing server."""
    port = free_port()
    command = [kosoku, "-m", "fuzzingserver", "-o", str(folder), f"127.0.0.1:{port}"]
    server = subprocess.Popen(command + cases, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_port(port)
        url = f"ws://127.0.0.1:{port}"
        subprocess.run([sys.executable, str(HERE / "echo_client.py"), url, "--deflate"], check=True)
        server.wait(60)  # it ends by itself when it has written its report
    finally:
        server.kill()
        server.wait(30)
    return read_results(folder)


def print_table(role: str, results: Results) -> int:
    """Print how many cases of each group had which outcome; return how many were not good."""
    groups: dict[int, dict[str, int]] = {}
    bad = 0
    for name, outcome in results.items():
        good = all(part in GOOD for part in outcome)
        bad += not good
        counts = groups.setdefault(int(name.split(".")[0]), {})
        counts[outcome[0]] = counts.get(outcome[0], 0) + 1
        if not good:
            print(f"{role} {name}: {outcome[0]}, closing {outcome[1]}")
    print(f"{role}: cases | outcomes")
    for group in sorted(groups):
        counts = groups[group]
        print(f"  {group:>3}.* {sum(counts.values()):>5} | {', '.join(f'{n} {what}' for what, n in counts.items())}")
    return bad


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="some cases of each group only")
    parser.add_argument("--report", type=Path, help="keep the reports in this folder")
    options = parser.parse_args()
    kosoku = find_kosoku()
    cases = [part for case in QUICK for part in ("-i", case)] if options.quick else []
    total = bad = 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.report or Path(scratch)
        with ThreadPoolExecutor() as pool:
            roles = {"server": run_server_role, "client": run_client_role}
            running = {role: pool.submit(run, kosoku, cases, folder / role) for role, run in roles.items()}
        for role, outcome in running.items():
            results = outcome.result()
            bad += print_table(role, results)
            total += len(results)
    print(f"{total - bad} passed, {bad} failed")
    sys.exit(1 if bad or not total else 0)


if __name__ == "__main__":
    main()
