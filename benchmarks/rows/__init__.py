"""The rows of the table, in its order. Each is a function that takes the run and returns lines of figures."""

from collections.abc import Callable
from typing import NamedTuple

from ..results import Line
from ..run import Run
from .bulk import bulk
from .cluster import cluster_fanout, cluster_idle, cluster_latency, cluster_pairs, emit
from .codec import codec
from .connect import connect
from .echoes import call, latency, many, pipelined, roundtrip, stats
from .fanout import fanout, fanout_stalled
from .growth import growth
from .idle import idle
from .processes import processes
from .replies import replies
from .rooms import reconnect, rooms

__all__ = ["ROWS", "Row"]


class Row(NamedTuple):
    """What measures, and whether that takes the load generator."""

    measure: Callable[[Run], list[Line]]
    needs_load: bool = True


ROWS: dict[str, Row] = {
    "roundtrip": Row(roundtrip),
    "latency": Row(latency),
    "pipelined": Row(pipelined),
    "many": Row(many),
    "call": Row(call),
    "stats": Row(stats),
    "fanout": Row(fanout),
    "fanout-stalled": Row(fanout_stalled),
    "idle": Row(idle),
    "bulk": Row(bulk),
    "connect": Row(connect),
    "replies": Row(replies, needs_load=False),
    "codec": Row(codec, needs_load=False),
    "processes": Row(processes),
    "rooms": Row(rooms),
    "reconnect": Row(reconnect),
    "cluster-fanout": Row(cluster_fanout),
    "cluster-pairs": Row(cluster_pairs),
    "cluster-latency": Row(cluster_latency),
    "cluster-idle": Row(cluster_idle, needs_load=False),
    "emit": Row(emit, needs_load=False),
    "growth": Row(growth),
}
