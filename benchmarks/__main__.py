"""Runs rows of the table side by side with peers: ``python -m benchmarks [ROW …] [--quick] [--json FILE]``."""

import argparse
from pathlib import Path

from .machine import describe, raise_file_limit
from .plot import plot
from .results import Results
from .rows import ROWS
from .run import Run
from .table import markdown


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)}; all, if none is given")
    parser.add_argument("--quick", action="store_true", help="one short round, and nothing that takes long")
    parser.add_argument("--json", type=Path, metavar="FILE", help="save the run here, its table and plots beside")
    options = parser.parse_args()
    unknown = [name for name in options.rows if name not in ROWS]
    if unknown:
        parser.error(f"no such row: {', '.join(unknown)}; there are {', '.join(ROWS)}")
    raise_file_limit()
    run = Run(rounds=1, seconds=2.0, quick=True) if options.quick else Run(rounds=3, seconds=3.0, quick=False)
    results = Results(describe(), run.rounds, notes=run.notes)
    for name in options.rows or ROWS:
        results.lines += run.run(name, ROWS[name])
    print(markdown(results))
    if options.json is not None:
        _save(results, options.json)


def _save(results: Results, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    results.save(path)
    path.with_suffix(".md").write_text(markdown(results) + "\n")
    if any(line.row == "growth" for line in results.lines):
        plot(results.lines, path.parent)


if __name__ == "__main__":
    main()
