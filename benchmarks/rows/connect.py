"""connect: connections that come, authenticate and go."""

from ..peers import GENERATOR, NODE, OURS, SIMPLE, WEBSOCKETS
from ..results import Goal, Line
from ..run import Run

__all__ = ["connect"]


def connect(run: Run) -> list[Line]:
    """Both on the same server: one after the other, then many at a time."""
    works = {1: "one after another", 50: "50 at a time"}
    lines = {
        at_once: Line("connect", f"connect, authenticate, close, {work}", "connections/s", goals=[Goal(WEBSOCKETS, 1)])
        for at_once, work in works.items()
    }
    for who in run.alternate(run.present(OURS, WEBSOCKETS, SIMPLE, NODE, GENERATOR)):
        with run.tolerate(who), run.stage(who) as stage:
            for at_once, line in lines.items():
                line.add(who, stage.ask("churn", at_once=at_once, seconds=run.seconds)["rate"])
    return list(lines.values())
