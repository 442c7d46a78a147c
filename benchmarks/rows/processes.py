"""processes: one server process, and two on the same port by ``reuse_port``."""

import contextlib
import os
from typing import Any

from ..peers import OURS, PEERS
from ..results import Line
from ..run import Run

__all__ = ["processes"]

CONNECTIONS = 50
ONE = f"{OURS}, 1 process"


def processes(run: Run) -> list[Line]:
    """The kernel deals the connections out, not always evenly."""
    line = Line("processes", f"roundtrip, {CONNECTIONS} connections, 2 processes on one port", "messages/s")
    cores = os.cpu_count() or 1
    if cores < 3:
        run.note(f"processes: two servers and the load generator share {cores} cores")
    for who in run.alternate([ONE, OURS]):
        with run.tolerate(who), run.stage(OURS, reuse_port=True) as stage, contextlib.ExitStack() as stack:
            if who == OURS:
                stack.enter_context(_second(stage.server.hello["url"]))
            stage.ask("connect", count=CONNECTIONS)
            line.add(who, stage.ask("echo", connections=CONNECTIONS, in_flight=1, seconds=run.seconds)["rate"])
    return [line]


def _second(url: str) -> Any:
    return PEERS[OURS].start(port=int(url.rsplit(":", 1)[1]), reuse_port=True)
