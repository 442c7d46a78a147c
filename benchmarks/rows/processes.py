"""processes: one server process, one that is kept on one core, and two on the same port by ``reuse_port``."""

import contextlib
import os
from typing import Any, List

from ..peers import OURS, PEERS
from ..results import Line
from ..run import Run

__all__ = ["processes"]

CONNECTIONS = 50
ONE = f"{OURS}, 1 process"
ONE_CORE = f"{OURS}, 1 process on 1 core"


def processes(run: Run) -> List[Line]:
    """The kernel deals the connections out, not always evenly."""
    line = Line("processes", f"roundtrip, {CONNECTIONS} connections, 2 processes on one port", "messages/s")
    cores = os.cpu_count() or 1
    if cores < 3:
        run.note(f"processes: two servers and the load generator share {cores} cores")
    for who in run.alternate([ONE, ONE_CORE, OURS]):
        with run.tolerate(who), run.stage(OURS, reuse_port=True) as stage, contextlib.ExitStack() as stack:
            if who == OURS:
                stack.enter_context(_second(stage.server.hello["url"]))
            if who == ONE_CORE:
                _keep_on_one_core(stage.server.pid)
            stage.ask("connect", count=CONNECTIONS)
            line.add(who, stage.ask("echo", connections=CONNECTIONS, in_flight=1, seconds=run.seconds)["rate"])
    return [line]


def _keep_on_one_core(pid: int) -> None:
    """Move the threads that there are; those of the connections start where the one that accepts them is."""
    core = min(os.sched_getaffinity(0))
    for thread in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(thread), {core})


def _second(url: str) -> Any:
    return PEERS[OURS].start(port=int(url.rsplit(":", 1)[1]), reuse_port=True)
