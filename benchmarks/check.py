"""Compares two runs: ``python -m benchmarks.check OLD NEW``, both JSON; says what has got worse by more than 15 %.

Figures of two runs cannot be compared, machines are noisy. Ratios to a peer in the same run can, somewhat.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .peers import GENERATOR, OURS
from .results import Line, Results
from .table import number

__all__ = ["Worse", "compare"]

TOLERANCE = 0.15


class Worse(NamedTuple):
    """A ratio of ours to somebody's that has got worse."""

    line: Line
    who: str
    old: float
    new: float

    def __str__(self) -> str:
        ratios = f"ours ÷ {self.who} was {number(self.old)}, is {number(self.new)}"
        return f"{self.line.row}, {self.line.work}, {self.line.unit}: {ratios}"


def compare(old: Results, new: Results) -> list[Worse]:
    """What has got worse, of the lines and peers that both runs have."""
    before = {(line.row, line.work, line.unit): line for line in old.lines}
    found: list[Worse] = []
    for line in new.lines:
        known = before.get((line.row, line.work, line.unit))
        if known is not None:
            found += _worse(known, line)
    return found


def _worse(old: Line, new: Line) -> Iterator[Worse]:
    for who in new.samples:
        was, now = old.ratio(who), new.ratio(who)
        if who in (OURS, GENERATOR) or was is None or now is None or min(was, now) <= 0:
            continue  # less than nothing is memory that was given back meanwhile
        worse = now > was * (1 + TOLERANCE) if new.less_is_better else now < was * (1 - TOLERANCE)
        if worse:
            yield Worse(new, who, was, now)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.check", description=__doc__)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    options = parser.parse_args()
    found = compare(Results.load(options.old), Results.load(options.new))
    for worse in found:
        print(f"worse: {worse}")
    print(f"{len(found)} ratios are worse by more than {TOLERANCE:.0%}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
