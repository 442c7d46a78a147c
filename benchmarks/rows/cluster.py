"""cluster-fanout, cluster-pairs, cluster-latency, cluster-idle, emit: nodes that a Redis of the run's own connects."""

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

from ..agent import Agent
from ..broker import Broker
from ..emit_speed import THREADS
from ..machine import cpu_seconds, usage
from ..peers import CEILING, IN_ROOMS, OURS, PEERS, SOCKETIO
from ..results import Goal, Line
from ..run import Run, Stage
from ..servers.ours import KEY

__all__ = ["cluster_fanout", "cluster_idle", "cluster_latency", "cluster_pairs", "emit"]

CLIENTS = 1000
RECEIVERS = 100
SIZE = 64
ROOM, ELSEWHERE = "room:0", "elsewhere"
ONE_NODE = f"{OURS}, broadcast on one node"
SETTLING = 3.0  # seconds until a node that has started is idle


def cluster_fanout(run: Run) -> list[Line]:
    """What it costs is beside what the row ``fanout`` measures: one node that broadcasts, without rooms and broker."""
    if not run.has_broker():
        return []
    work = f"{SIZE} bytes to one room of {CLIENTS:,} clients on 2 nodes"
    rate = Line("cluster-fanout", work, "deliveries/s", goals=[Goal(SOCKETIO, 15)])
    cpu = _cpu_line(rate, Goal(ONE_NODE, 1.15))
    window = 2  # one on its way while the other is delivered
    for who in run.alternate([ONE_NODE, *run.present(OURS, SOCKETIO, peers=IN_ROOMS)]):
        with run.tolerate(who), _cluster(run, who, 1) as cluster:
            for url in cluster.urls:
                cluster.stage.ask(
                    "connect", count=CLIENTS // len(cluster.urls), url=url, rooms=[KEY if who == ONE_NODE else ROOM]
                )
            _fan_out(run, who, cluster, rate, cpu, window, CLIENTS)
    return [rate, cpu]


def cluster_pairs(run: Run) -> list[Line]:
    """One node publishes events in batches, each event to a client of its own on the other node."""
    if not run.has_broker():
        return []
    work = f"{SIZE} bytes to one client each, on the other node"
    rate = Line("cluster-pairs", work, "events/s", goals=[Goal(CEILING, 0.4), Goal(SOCKETIO, 8)])
    cpu = _cpu_line(rate)
    window = 8  # batches on their way: nobody ever rests
    for who in run.alternate(run.present(OURS, CEILING, SOCKETIO, peers=IN_ROOMS)):
        with run.tolerate(who), _cluster(run, who, RECEIVERS) as cluster:
            _connect_across(cluster, RECEIVERS)
            _fan_out(run, who, cluster, rate, cpu, window, RECEIVERS)
    return [rate, cpu]


def cluster_latency(run: Run) -> list[Line]:
    """From right before an event is published on one node until a client of the other one has it; one at a time."""
    if not run.has_broker():
        return []
    work = "one event at a time, from node to node"
    lines = {
        "p50": Line("cluster-latency", f"{work}: p50", "ms", goals=[Goal(CEILING, 2)], less_is_better=True),
        "p99": Line("cluster-latency", f"{work}: p99", "ms", less_is_better=True),
    }
    for who in run.alternate(run.present(OURS, CEILING, SOCKETIO, peers=IN_ROOMS)):
        with run.tolerate(who), _cluster(run, who, 1) as cluster:
            _connect_across(cluster, 1)
            seen = cluster.stage.ask("fanout", size=SIZE, window=1, seconds=run.seconds, deliveries=1, stamped=True)
            for part, line in lines.items():
                line.add(who, seen[part] * 1000)
    return list(lines.values())


def cluster_idle(run: Run) -> list[Line]:
    """What it costs a node, to which nobody is connected, that it has a backplane."""
    if not run.has_broker() or not run.present(OURS, peers=IN_ROOMS):
        return []
    work = "2 nodes, nobody connected"
    cpu = Line("cluster-idle", f"{work}: the busier one", "% of a core", goals=[Goal(None, 0.5)], less_is_better=True)
    memory = Line("cluster-idle", f"{work}: more than without", "MB", goals=[Goal(None, 3)], less_is_better=True)
    own = Line("cluster-idle", f"{work}: more than with redis-py, but no backplane", "MB", less_is_better=True)
    threads = Line("cluster-idle", f"{work}: more than without", "threads", goals=[Goal(None, 2)], less_is_better=True)
    for _ in range(run.rounds):
        with run.tolerate(OURS), Broker() as broker, contextlib.ExitStack() as stack:
            alone = stack.enter_context(IN_ROOMS[OURS].start())
            importing = stack.enter_context(IN_ROOMS[OURS].start(imported=["redis"]))
            nodes = [stack.enter_context(IN_ROOMS[OURS].start(redis=broker.url)) for _ in range(2)]
            time.sleep(SETTLING)
            seconds = max(5.0, 5 * run.seconds)  # a beat each five seconds, and ticks of a hundredth
            before = [cpu_seconds(node.pid) for node in nodes]
            time.sleep(seconds)
            after = [cpu_seconds(node.pid) for node in nodes]
            cpu.add(OURS, max(late - early for late, early in zip(after, before, strict=True)) / seconds * 100)
            resident = max(usage(node.pid).resident for node in nodes)
            memory.add(OURS, (resident - usage(alone.pid).resident) / 1000)
            own.add(OURS, (resident - usage(importing.pid).resident) / 1000)
            threads.add(OURS, max(usage(node.pid).threads for node in nodes) - usage(alone.pid).threads)
    return [cpu, memory, own, threads]


def emit(run: Run) -> list[Line]:
    """A process without a server publishes, each event confirmed by the broker; nobody reads them."""
    if not run.has_broker():
        return []
    lines = [
        Line("emit", f"{SIZE} bytes, {threads} thread{'s' * (threads > 1)}", "events/s", goals=[Goal(SOCKETIO, least)])
        for threads, least in zip(THREADS, (1, 3), strict=True)
    ]
    for who in run.alternate(run.present(OURS, SOCKETIO, peers=IN_ROOMS)):
        with run.tolerate(who), Broker() as broker:
            command = [sys.executable, "-m", "benchmarks.emit_speed", who, broker.url, str(run.seconds)]
            with Agent(command, 60 + 4 * run.seconds) as agent:
                for line, rate in zip(lines, agent.hello["rates"], strict=True):
                    line.add(who, rate)
    return lines


class _Cluster(NamedTuple):
    stage: Stage
    urls: list[str]
    pids: list[int]


@contextlib.contextmanager
def _cluster(run: Run, who: str, targets: int) -> Iterator[_Cluster]:
    """Start nodes; the first one publishes to so many rooms, and the generator's first connection is to go there."""
    peer = PEERS[OURS] if who == ONE_NODE else IN_ROOMS[who]
    with contextlib.ExitStack() as stack:
        if who == ONE_NODE:
            servers = [stack.enter_context(peer.start())]
        else:
            url = stack.enter_context(Broker()).url
            servers = [stack.enter_context(peer.start(redis=url, targets=count)) for count in (targets, 0)]
        urls = [server.hello["url"] for server in servers]
        load = stack.enter_context(run.load(urls[0], peer.dialect))
        yield _Cluster(Stage(run, who, servers[0], load), urls, [server.pid for server in servers])


def _connect_across(cluster: _Cluster, targets: int) -> None:
    """Connect who asks to the first node, and a receiver for each room to the second."""
    near, far = cluster.urls
    cluster.stage.ask("connect", count=1, url=near, rooms=[ELSEWHERE])
    rooms = [f"room:{number}" for number in range(targets)]
    cluster.stage.ask("connect", count=targets, url=far, rooms=rooms)


def _fan_out(run: Run, who: str, cluster: _Cluster, rate: Line, cpu: Line, window: int, deliveries: int) -> None:
    before = cpu_seconds(*cluster.pids)
    seen = cluster.stage.ask("fanout", size=SIZE, window=window, seconds=run.seconds, deliveries=deliveries)
    rate.add(who, seen["rate"])
    cpu.add(who, (cpu_seconds(*cluster.pids) - before) / seen["delivered"] * 1e6)


def _cpu_line(rate: Line, *goals: Goal) -> Line:
    return Line(rate.row, f"{rate.work}: CPU of the nodes", "µs for each", goals=list(goals), less_is_better=True)
