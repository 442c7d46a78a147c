"""growth: the same work over more and more connections, as curves."""

import time
from typing import Dict, List

from ..peers import CEILING, NODE, OURS, WEBSOCKETS
from ..results import Line
from ..run import Run
from .idle import settled

__all__ = ["CURVES", "growth"]

COUNTS = (10, 100, 1000, 5000, 10_000)
QUICK_COUNTS = (10, 100, 1000)
BUDGET = 600.0  # seconds, after which no further round is begun

CURVES = {
    "roundtrip": "messages/s",
    "fanout": "deliveries/s",
    "connect": "connections/s",
    "idle": "KB for each",
}
WITHOUT_FANOUT = (CEILING,)


def growth(run: Run) -> List[Line]:
    """One server for all four figures of a point: it is connected to, idles, and is then put to work."""
    lines: List[Line] = []
    start = time.monotonic()
    for count in QUICK_COUNTS if run.quick else COUNTS:
        curves = {
            curve: Line("growth", f"{curve}, {count:,} connections", unit, less_is_better=curve == "idle")
            for curve, unit in CURVES.items()
        }
        for done, who in enumerate(run.alternate(run.present(OURS, CEILING, NODE, WEBSOCKETS))):
            if time.monotonic() - start > BUDGET * (COUNTS.index(count) + 1) / len(COUNTS) and done >= 4:
                run.note(f"growth: {count:,} connections had fewer than {run.rounds} rounds, for lack of time")
                break
            if run.fits(who, count):
                with run.tolerate(f"{who} at {count:,}"):
                    _point(run, who, count, curves)
        lines += curves.values()
    return [line for line in lines if line.samples]


def _point(run: Run, who: str, count: int, curves: Dict[str, Line]) -> None:
    with run.stage(who) as stage:
        before = stage.usage()
        curves["connect"].add(who, stage.ask("connect", count=count)["rate"])
        curves["idle"].add(who, (settled(stage).resident - before.resident) / count)
        if who not in WITHOUT_FANOUT:
            curves["fanout"].add(who, stage.ask("fanout", size=64, window=2, seconds=run.seconds)["rate"])
        seen = stage.ask("echo", connections=count, in_flight=1, seconds=run.seconds)
        curves["roundtrip"].add(who, seen["rate"])
