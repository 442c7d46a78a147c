"""growth: the same work over more and more connections, as curves."""

import time

from ..peers import CEILING, NODE, OURS, WEBSOCKETS
from ..results import Line
from ..run import Run
from .idle import settled

__all__ = ["CURVES", "growth"]

COUNTS = (10, 100, 1000, 5000, 10_000)
QUICK_COUNTS = (10, 1000)
BUDGET = 420.0  # seconds, after which no further round is begun

CURVES = {
    "roundtrip": "messages/s",
    "fanout": "deliveries/s",
    "connect": "connections/s",
    "idle": "KB for each",
}
WITHOUT_FANOUT = (CEILING,)


def growth(run: Run) -> list[Line]:
    """Few connections first: what they leave of the time is for the many."""
    lines: list[Line] = []
    names = run.present(OURS, CEILING, NODE, WEBSOCKETS)
    start = time.monotonic()
    for place, count in enumerate(QUICK_COUNTS if run.quick else COUNTS, 1):
        lines += _points(run, names, count, until=start + BUDGET * place / len(COUNTS))
    return lines


def _points(run: Run, names: list[str], count: int, until: float) -> list[Line]:
    """A point of each curve, of as many whole rounds as are begun by ``until``, but at least one."""
    curves = {
        curve: Line("growth", f"{curve}, {count:,} connections", unit, less_is_better=curve == "idle")
        for curve, unit in CURVES.items()
    }
    for done, who in enumerate(run.alternate(names)):
        if done and done % len(names) == 0 and time.monotonic() > until:
            run.note(f"growth: {done // len(names)} of {run.rounds} rounds at {count:,} connections, for lack of time")
            break
        if run.fits(who, count):
            with run.tolerate(f"{who} at {count:,}"):
                _point(run, who, count, curves)
    return [line for line in curves.values() if line.samples]


def _point(run: Run, who: str, count: int, curves: dict[str, Line]) -> None:
    """One server for all four figures: it is connected to, idles, and is then put to work."""
    with run.stage(who) as stage:
        before = stage.usage()
        curves["connect"].add(who, stage.ask("connect", count=count)["rate"])
        curves["idle"].add(who, (settled(stage).resident - before.resident) / count)
        if who not in WITHOUT_FANOUT:
            curves["fanout"].add(who, stage.ask("fanout", size=64, window=2, seconds=run.seconds)["rate"])
        seen = stage.ask("echo", connections=count, in_flight=1, seconds=run.seconds)
        curves["roundtrip"].add(who, seen["rate"])
