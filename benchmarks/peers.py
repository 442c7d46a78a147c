"""Who is measured: this library, and those that it is measured against."""

import functools
import importlib.util
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .agent import REPO, Agent

__all__ = [
    "BY_REPLY",
    "CALLED",
    "CEILING",
    "CHECKED",
    "GENERATOR",
    "IN_PYTHON",
    "IN_ROOMS",
    "NODE",
    "ONE_CORE",
    "OURS",
    "PEERS",
    "PURE",
    "SIMPLE",
    "SOCKETIO",
    "UNWATCHED",
    "WATCHED",
    "WEBSOCKETS",
    "Connection",
    "find_missing",
]

OURS = "ezez_ws"
PURE = "ezez_ws in Python"
"""Ours without its C extension."""
ONE_CORE = "ezez_ws on one core"
CEILING = "ceiling"
WEBSOCKETS = "websockets"
SIMPLE = "simple-websocket"
SOCKETIO = "python-socketio"
NODE = "Node"
GENERATOR = "load generator"
"""What the load generator itself can do: picows' own server, which costs next to nothing."""


IN_PYTHON = {"EZEZ_WS_PURE_PYTHON": "1"}
"""The environment that leaves the C extension alone."""


class Connection(NamedTuple):
    """A server and how it is spoken to.

    ``script`` is a file in ``servers/``, ``dialect`` a name in ``dialects.py``, ``threads`` what one connection takes,
    ``environment`` what the process has beside ours.
    """

    script: str
    dialect: str
    needs: tuple[str, ...] = ()
    threads: int = 1
    environment: Mapping[str, str] = {}

    def missing(self) -> str:
        """Say what is not installed, in a few words; empty where nothing is missing."""
        return find_missing(*self.needs)

    def start(self, **options: Any) -> Agent:
        """Start its process; the agent's ``hello["url"]`` says where it listens."""
        if self.script.endswith(".mjs"):
            path = Path(__file__).resolve().parent / "servers" / self.script
            return Agent(["node", str(path), json.dumps(options)])
        command = [sys.executable, "-m", "benchmarks.servers", self.script, json.dumps(options)]
        return Agent(command, environment=self.environment)


PEERS: dict[str, Connection] = {
    OURS: Connection("ours", "ezez"),
    PURE: Connection("ours", "ezez", environment=IN_PYTHON),
    ONE_CORE: Connection("ours_on_one_core", "ezez"),
    CEILING: Connection("ceiling", "echo"),
    WEBSOCKETS: Connection("websockets_sync", "echo", ("websockets",), threads=3),
    SIMPLE: Connection("simple_websockets", "echo", ("simple_websocket", "werkzeug"), threads=2),
    SOCKETIO: Connection("socketio_threading", "socketio", ("socketio", "simple_websocket", "werkzeug"), threads=4),
    NODE: Connection("node.mjs", "ezez", ("node", "@ezez/utils", "ws"), threads=0),
    GENERATOR: Connection("picows_echo", "echo", ("picows", "uvloop"), threads=0),
}

BY_REPLY = f"{OURS}, by reply"
CHECKED = f"{OURS}, three arguments checked"
CALLED: dict[str, Connection] = {
    OURS: Connection("ours", "calling"),
    BY_REPLY: PEERS[OURS],
    CHECKED: Connection("ours", "checked", ("pydantic",)),
    SOCKETIO: PEERS[SOCKETIO],
}
"""Who answers calls: by a handler, or as in roundtrip."""

UNWATCHED = f"{OURS}, figures not read"
WATCHED: dict[str, Connection] = {OURS: Connection("ours_watched", "ezez"), UNWATCHED: PEERS[OURS]}
"""With figures that are read once a second, and as in roundtrip."""

IN_ROOMS: dict[str, Connection] = {
    OURS: Connection("ours_in_rooms", "ezez"),
    CEILING: Connection("redis_ceiling", "echo", ("redis",)),
    SOCKETIO: Connection("socketio_in_rooms", "socketio", (*PEERS[SOCKETIO].needs, "redis"), threads=4),
}
"""Who sends to rooms, on one node or on several that a Redis connects: their option ``redis`` is its URL."""


def find_missing(*names: str) -> str:
    """Say which of these packages and programs are not installed; empty where none is missing."""
    return ", ".join(name for name in names if not _installed(name))


@functools.cache
def _installed(name: str) -> bool:
    if name in ("node", "redis-server"):
        return shutil.which(name) is not None
    if name in ("ws", "@ezez/utils"):
        return (REPO / "tests" / "node_modules" / name / "package.json").is_file()
    return importlib.util.find_spec(name) is not None
