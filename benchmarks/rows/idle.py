"""idle: what a connection costs that does nothing, and what many of them cost the others."""

import time

from ..machine import Usage
from ..peers import CEILING, NODE, OURS, SIMPLE, SOCKETIO, WEBSOCKETS
from ..results import Goal, Line
from ..run import Run, Stage

__all__ = ["idle", "settled"]

SOME = 1000
MANY = 10_000
WITHOUT = f"{OURS}, none idle"


def idle(run: Run) -> list[Line]:
    some = _lines(SOME)
    for who in run.alternate(run.present(OURS, CEILING, WEBSOCKETS, SIMPLE, SOCKETIO, NODE)):
        with run.tolerate(who), run.stage(who) as stage:
            _add_idle(stage, who, SOME, some)
    if run.quick:
        run.note(f"idle: {MANY:,} connections are left out of a quick run")
        return some
    return some + _many(run) if run.fits(OURS, MANY) else some


def _many(run: Run) -> list[Line]:
    """What so many cost, and what those cost that idle beside them."""
    lines = _lines(MANY)
    work = f"roundtrip of 50 beside {MANY:,} idle ones"
    beside = Line("idle", work, "messages/s", goals=[Goal(WITHOUT, 0.8)])
    for who in run.alternate([WITHOUT, OURS]):
        with run.tolerate(who), run.stage(OURS, 50) as stage:
            if who == OURS:
                _add_idle(stage, who, MANY, lines)
            beside.add(who, stage.ask("echo", connections=50, in_flight=1, seconds=run.seconds)["rate"])
    return [*lines, beside]


def _lines(count: int) -> list[Line]:
    work = f"{count:,} idle connections"
    return [
        Line("idle", work, "KB for each", goals=[Goal(None, 30)], less_is_better=True),
        Line("idle", work, "threads for each", goals=[Goal(None, 1)], less_is_better=True),
    ]


def _add_idle(stage: Stage, who: str, count: int, lines: list[Line]) -> None:
    """Connect so many more, and add the memory and the threads that each of them takes."""
    before = stage.usage()
    stage.ask("connect", count=count)
    after = settled(stage)
    memory, threads = lines
    memory.add(who, (after.resident - before.resident) / count)
    threads.add(who, round((after.threads - before.threads) / count, 2))


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
