"""idle: what a connection costs that does nothing, and what many of them cost the others."""

import time
from typing import List

from ..machine import Usage
from ..peers import CEILING, NODE, OURS, SIMPLE, SOCKETIO, WEBSOCKETS
from ..results import Goal, Line
from ..run import Run, Stage

__all__ = ["idle", "settled"]

SOME = 1000
MANY = 10_000
WITHOUT = f"{OURS}, none idle"


def idle(run: Run) -> List[Line]:
    lines = _cost(run, SOME, run.present(OURS, CEILING, WEBSOCKETS, SIMPLE, SOCKETIO, NODE))
    if run.quick:
        run.note(f"idle: {MANY:,} connections are left out of a quick run")
    elif run.fits(OURS, MANY):
        lines += _cost(run, MANY, run.present(OURS, CEILING))
        lines.append(_beside(run))
    return lines


def _cost(run: Run, count: int, names: List[str]) -> List[Line]:
    work = f"{count:,} idle connections"
    memory = Line("idle", work, "KB for each", goals=[Goal(None, 30)], less_is_better=True)
    threads = Line("idle", work, "threads for each", goals=[Goal(None, 1)], less_is_better=True)
    for who in run.alternate(names):
        with run.tolerate(who), run.stage(who) as stage:
            before = stage.usage()
            stage.ask("connect", count=count)
            after = settled(stage)
            memory.add(who, (after.resident - before.resident) / count)
            threads.add(who, round((after.threads - before.threads) / count, 2))
    return [memory, threads]


def _beside(run: Run) -> Line:
    work = f"roundtrip of 50 beside {MANY:,} idle ones"
    line = Line("idle", work, "messages/s", goals=[Goal(WITHOUT, 0.8)])
    for who in run.alternate([WITHOUT, OURS]):
        with run.tolerate(who), run.stage(OURS, 50 + (MANY if who == OURS else 0)) as stage:
            settled(stage)
            line.add(who, stage.ask("echo", connections=50, in_flight=1, seconds=run.seconds)["rate"])
    return line


def settled(stage: Stage) -> Usage:
    """The usage once it has stopped to grow: the threads that shook hands may not be done yet."""
    last = stage.usage()
    for _ in range(20):
        time.sleep(0.25)
        now = stage.usage()
        if now.threads == last.threads and abs(now.resident - last.resident) < 100:
            return now
        last = now
    return last
