"""roundtrip, latency, pipelined, many, call, stats: a small message there and back, on few or many connections."""

from collections.abc import Sequence

from ..peers import (
    BY_REPLY,
    CALLED,
    CEILING,
    CHECKED,
    GENERATOR,
    NODE,
    ONE_CORE,
    OURS,
    PURE,
    SIMPLE,
    SOCKETIO,
    UNWATCHED,
    WATCHED,
    WEBSOCKETS,
)
from ..results import Goal, Line
from ..run import Run

__all__ = ["call", "latency", "many", "pipelined", "roundtrip", "stats"]

UNIT = "messages/s"
MESSAGING = (OURS, WEBSOCKETS, SIMPLE, SOCKETIO, NODE, GENERATOR)
ALL = (*MESSAGING, CEILING)
VARIANTS = {PURE: "in Python", ONE_CORE: "the process on one core"}
AT_50 = f"{OURS}, 50 connections"


def roundtrip(run: Run) -> list[Line]:
    goals = [Goal(CEILING, 0.5), Goal(WEBSOCKETS, 2), Goal(SOCKETIO, 7)]
    return _with_variants(_echoes(run, "roundtrip", (*ALL, *VARIANTS), 50, 1, goals))


def latency(run: Run) -> list[Line]:
    line = _echoes(run, "latency", (*ALL, PURE), 1, 1, [Goal(CEILING, 0.75)])
    return [line, line.variant(PURE, VARIANTS[PURE])]


def pipelined(run: Run) -> list[Line]:
    return _with_variants(_echoes(run, "pipelined", (*ALL, *VARIANTS), 50, 8, [Goal(NODE, 0.6)]))


def many(run: Run) -> list[Line]:
    """Ours at 50 connections is measured right before ours at 2,000."""
    line = Line("many", "2,000 connections, all active", UNIT, goals=[Goal(AT_50, 0.5)])
    for who in run.alternate(run.present(OURS, ONE_CORE, CEILING, NODE)):
        if not run.fits(who, 2000):
            continue
        with run.tolerate(who):
            if who == OURS:
                line.add(AT_50, _rate(run, who, 50, 1))
            line.add(who, _rate(run, who, 2000, 1))
    return [line]


def call(run: Run) -> list[Line]:
    """Answered by a handler, in place of a listener's reply; python-socketio's acknowledgement is its own."""
    line = Line("call", "50 connections, answered by a handler", UNIT, goals=[Goal(BY_REPLY, 0.85)])
    for who in run.alternate(run.present(*CALLED, peers=CALLED)):
        with run.tolerate(who), run.stage(who, 50, CALLED) as stage:
            line.add(who, float(stage.ask("echo", connections=50, in_flight=1, seconds=run.seconds)["rate"]))
    checked = line.variant(CHECKED, "three arguments checked")
    checked.goals = [Goal(BY_REPLY, 0.6)]
    return [line, checked]


def stats(run: Run) -> list[Line]:
    """What it costs that somebody reads the figures."""
    line = Line("stats", "50 connections, figures read once a second", UNIT, goals=[Goal(UNWATCHED, 0.98)])
    for who in run.alternate(run.present(*WATCHED, peers=WATCHED)):
        with run.tolerate(who), run.stage(who, 50, WATCHED) as stage:
            line.add(who, float(stage.ask("echo", connections=50, in_flight=1, seconds=run.seconds)["rate"]))
    return [line]


def _echoes(run: Run, row: str, names: Sequence[str], connections: int, in_flight: int, goals: Sequence[Goal]) -> Line:
    plural = "connection" if connections == 1 else "connections"
    line = Line(row, f"{connections} {plural}, {in_flight} in flight each", UNIT, goals=list(goals))
    for who in run.alternate(run.present(*names)):
        with run.tolerate(who):
            line.add(who, _rate(run, who, connections, in_flight))
    return line


def _with_variants(line: Line) -> list[Line]:
    variants = [line.variant(who, how) for who, how in VARIANTS.items()]
    for variant in variants:
        for who in VARIANTS:
            variant.samples.pop(who, None)  # each is beside the others, and not beside the rest of ours
    return [line, *variants]


def _rate(run: Run, who: str, connections: int, in_flight: int) -> float:
    with run.stage(who, connections) as stage:
        seen = stage.ask("echo", connections=connections, in_flight=in_flight, seconds=run.seconds)
        return float(seen["rate"])
