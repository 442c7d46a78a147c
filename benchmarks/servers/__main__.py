"""Starts one server, prints where it listens, and ends with its standard input."""

import importlib
import json
import sys


def main() -> None:
    name, options = sys.argv[1], json.loads(sys.argv[2])
    url = importlib.import_module(f"benchmarks.servers.{name}").start(**options)
    print(json.dumps({"url": url}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
