"""fanout, fanout-stalled: one text to all who are connected, with and without some who never read."""

from ezez_ws import EZEZWebSocketClient

from ..peers import GENERATOR, NODE, OURS, PURE, SOCKETIO, WEBSOCKETS
from ..results import Goal, Line
from ..run import Run, Stage
from ..servers.ours import KEY

__all__ = ["fanout", "fanout_stalled"]

CLIENTS = 1000
STALLED = 5
WINDOW = 2  # one on its way while the other is delivered: the server never rests
LIMIT = 4 << 20  # the default of ``send_buffer_limit``
WITHOUT = f"{OURS}, none stalled"


def fanout(run: Run) -> list[Line]:
    """Each size on the same connections."""
    sizes = {64: "64 bytes", 4096: "4 KiB"}
    lines = {
        size: Line("fanout", f"{text} to {CLIENTS:,} clients", "deliveries/s", goals=[Goal(NODE, 1.5)])
        for size, text in sizes.items()
    }
    for who in run.alternate(run.present(OURS, PURE, NODE, SOCKETIO, WEBSOCKETS, GENERATOR)):
        with run.tolerate(who), run.stage(who, CLIENTS) as stage:
            for size, line in lines.items():
                line.add(who, stage.ask("fanout", size=size, window=WINDOW, seconds=run.seconds)["rate"])
    return [line for size in lines.values() for line in (size, size.variant(PURE, "in Python"))]


def fanout_stalled(run: Run) -> list[Line]:
    """Those who never read are there, their send buffers filling, for all of the measurement."""
    work = f"4 KiB to {CLIENTS:,} clients, {STALLED} more never read"
    row = "fanout-stalled"
    p99 = Line(row, f"{work}: p99 until delivered", "ms", goals=[Goal(WITHOUT, 2)], less_is_better=True)
    longest = Line(row, f"{work}: longest broadcast()", "ms", goals=[], less_is_better=True)
    memory = Line(row, f"{work}: memory for the stalled", "MB", less_is_better=True)
    memory.goals.append(Goal(None, STALLED * LIMIT / 1e6))
    for who in run.alternate([WITHOUT, OURS]):
        with run.tolerate(who), run.stage(OURS, CLIENTS) as stage:
            before = stage.usage().resident
            if who == OURS:
                stage.ask("stall", count=STALLED)
            p99.add(who, stage.ask("fanout", size=4096, window=1, seconds=run.seconds)["p99"] * 1000)
            if who == OURS:
                memory.add(who, (stage.usage().peak - before) / 1000)
            longest.add(who, _longest_broadcast(stage) * 1000)
    return [p99, longest, memory]


def _longest_broadcast(stage: Stage) -> float:
    with EZEZWebSocketClient(stage.server.hello["url"], auth=KEY) as client:
        return float(client.send("longest broadcast").wait_reply(timeout=10).args[0])
