"""bulk: a large binary argument there and back."""

from typing import Any

from ..peers import GENERATOR, NODE, OURS, PURE, WEBSOCKETS
from ..results import Goal, Line
from ..run import Run

__all__ = ["bulk"]

SIZE = 1 << 20
CONNECTIONS = 4


def bulk(run: Run) -> list[Line]:
    """With the C extension and without, against the same figures of the others."""
    line = Line(
        "bulk", f"1 MiB there and back, {CONNECTIONS} connections", "MB/s each way", goals=[Goal(WEBSOCKETS, 1)]
    )
    for who in run.alternate(run.present(OURS, PURE, WEBSOCKETS, NODE, GENERATOR)):
        # the default is 1 MiB with all that is around it
        options: dict[str, Any] = {"max_payload": 2 * SIZE} if who in (OURS, PURE) else {}
        with run.tolerate(who), run.stage(who, CONNECTIONS, **options) as stage:
            seen = stage.ask("echo", connections=CONNECTIONS, in_flight=1, seconds=run.seconds, size=SIZE)
            line.add(who, seen["rate"] * SIZE / 1e6)
    return [line, line.variant(PURE, "in Python")]
