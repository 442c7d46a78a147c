"""rooms, reconnect: what rooms cost on one node, and all clients that come back at once."""

import contextlib
import statistics
from collections.abc import Iterator

from ezez_ws import EZEZWebSocketClient

from ..agent import Agent
from ..broker import Broker
from ..machine import cpu_seconds
from ..peers import IN_ROOMS, OURS
from ..results import Goal, Line
from ..run import Run, Stage

__all__ = ["reconnect", "rooms"]

CLIENTS = 1000
ROOMS_EACH = 10
MISSED, EVENTS = 20, 10_000
TIMES = 3  # that they come back, of which the median is taken: the figure varies a lot
WITHOUT = f"{OURS}, connect and {MISSED} sends"
LISTENING = {"xread", "get", "info", "client|setinfo", "hello", "client", "command"}
"""Commands that are no recovery's: a node waits for what is new, and the benchmark asks for the counts."""


def rooms(run: Run) -> list[Line]:
    """On one thread of the server, without a broker; plain clients, and ones that are told of each room by a frame."""
    line = Line("rooms", f"{CLIENTS:,} clients join and leave {ROOMS_EACH} rooms each", "joins and leaves/s")
    line.goals.append(Goal(None, 50_000))
    recovering = Line(line.row, f"{line.work}; clients that recover", line.unit)
    for dialect in run.alternate(["ezez", "recovering"]):
        with run.tolerate(dialect), _stage(run, dialect) as stage, _client(stage.server) as client:
            stage.ask("connect", count=CLIENTS)
            answer = client.send("join and leave", [ROOMS_EACH, run.seconds]).wait_reply(timeout=60 + 2 * run.seconds)
            (line if dialect == "ezez" else recovering).add(OURS, float(answer.args[0]))
    return [line, recovering]


def reconnect(run: Run) -> list[Line]:
    """The same number of clients and of messages with recovery and without; all of them ask at the same moment."""
    lines = _reconnect(run, "one node", False)
    return lines + _reconnect(run, "a node with a backplane", True) if run.has_broker() else lines


def _reconnect(run: Run, where: str, clustered: bool) -> list[Line]:
    work = f"{CLIENTS:,} clients come back at once, each missed {MISSED} of {EVENTS:,} events; {where}"
    wall = Line("reconnect", work, "seconds", goals=[Goal(WITHOUT, 1.5)], less_is_better=True)
    cpu = Line("reconnect", f"{work}: the server's CPU", "seconds", less_is_better=True)
    commands = Line("reconnect", f"{work}: commands to the broker", "commands", less_is_better=True)
    commands.goals.append(Goal(None, 0))
    for who in run.alternate([WITHOUT, OURS]):
        with run.tolerate(who), contextlib.ExitStack() as stack:
            broker = stack.enter_context(Broker()) if clustered else None
            dialect, greetings = ("recovering", 0) if who == OURS else ("ezez", MISSED)
            options = {"redis": broker.url, "rare_beats": True} if broker is not None else {}
            stage = stack.enter_context(_stage(run, dialect, greetings=greetings, **options))
            client = stack.enter_context(_client(stage.server))
            names = [f"room:{number}" for number in range(EVENTS // MISSED)]
            stage.ask("connect", count=CLIENTS, rooms=names)
            stage.ask("leave")
            if who == OURS:
                client.send("publish", [names, MISSED]).wait_reply(timeout=60)
            seconds, called = [], _count(broker)
            for _ in range(TIMES):
                before = cpu_seconds(stage.server.pid)
                # auth-ok and, with recovery, an entrance are messages, too
                seen = stage.ask("come_back", messages=1 + (who == OURS) + MISSED)
                seconds.append((seen["seconds"], cpu_seconds(stage.server.pid) - before))
                stage.ask("leave")
            for line, figures in zip((wall, cpu), zip(*seconds, strict=True), strict=True):
                line.add(who, statistics.median(figures))
            if who == OURS:
                commands.add(who, _count(broker) - called)
                _check_replayed(run, client)
    return [wall, cpu, commands] if clustered else [wall, cpu]


def _check_replayed(run: Run, client: EZEZWebSocketClient) -> None:
    replayed, due = client.send("replayed").wait_reply(timeout=10).args[0], CLIENTS * MISSED * TIMES
    if replayed != due:
        run.note(f"{run.row}: {replayed:,} events were replayed, not {due:,}")


def _count(broker: Broker | None) -> int:
    """How many commands that broker has had so far, but for those of listening."""
    return 0 if broker is None else sum(calls for name, calls in broker.calls().items() if name not in LISTENING)


@contextlib.contextmanager
def _stage(run: Run, dialect: str, **options: object) -> "Iterator[Stage]":
    with IN_ROOMS[OURS].start(**options) as server, run.load(server.hello["url"], dialect) as load:
        yield Stage(run, OURS, server, load)


def _client(server: Agent) -> EZEZWebSocketClient:
    return EZEZWebSocketClient(server.hello["url"], auth="benchmark")
