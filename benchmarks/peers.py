"""Who is measured: this library, and those that it is measured against."""

import functools
import importlib.util
import json
import shutil
import sys
from pathlib import Path
from typing import Any, Dict, NamedTuple, Tuple

from .agent import REPO, Agent

__all__ = [
    "CEILING",
    "GENERATOR",
    "NODE",
    "ONE_CORE",
    "OURS",
    "PEERS",
    "SIMPLE",
    "SOCKETIO",
    "SPED_UP",
    "WEBSOCKETS",
    "Peer",
]

OURS = "ezez_ws"
SPED_UP = "ezez_ws[speedups]"
ONE_CORE = "ezez_ws on one core"
CEILING = "ceiling"
WEBSOCKETS = "websockets"
SIMPLE = "simple-websocket"
SOCKETIO = "python-socketio"
NODE = "Node"
GENERATOR = "load generator"
"""What the load generator itself can do: picows' own server, which costs next to nothing."""


class Peer(NamedTuple):
    """A server and how it is spoken to.

    ``script`` is a file in ``servers/``, ``dialect`` a name in ``dialects.py``, ``threads`` what one connection takes.
    """

    script: str
    dialect: str
    needs: Tuple[str, ...] = ()
    threads: int = 1

    def missing(self) -> str:
        """Say what is not installed, in a few words; empty where nothing is missing."""
        return ", ".join(name for name in self.needs if not _installed(name))

    def start(self, **options: Any) -> Agent:
        """Start its process; the agent's ``hello["url"]`` says where it listens."""
        if self.script.endswith(".mjs"):
            path = Path(__file__).resolve().parent / "servers" / self.script
            return Agent(["node", str(path), json.dumps(options)])
        return Agent([sys.executable, "-m", "benchmarks.servers", self.script, json.dumps(options)])


PEERS: Dict[str, Peer] = {
    OURS: Peer("ours", "ezez"),
    SPED_UP: Peer("ours_sped_up", "ezez", ("websockets",)),
    ONE_CORE: Peer("ours_on_one_core", "ezez"),
    CEILING: Peer("ceiling", "echo"),
    WEBSOCKETS: Peer("websockets_sync", "echo", ("websockets",), threads=3),
    SIMPLE: Peer("simple_websockets", "echo", ("simple_websocket", "werkzeug"), threads=2),
    SOCKETIO: Peer("socketio_threading", "socketio", ("socketio", "simple_websocket", "werkzeug"), threads=4),
    NODE: Peer("node.mjs", "ezez", ("node", "@ezez/utils", "ws"), threads=0),
    GENERATOR: Peer("picows_echo", "echo", ("picows", "uvloop"), threads=0),
}


@functools.cache
def _installed(name: str) -> bool:
    if name == "node":
        return shutil.which(name) is not None
    if name in ("ws", "@ezez/utils"):
        return (REPO / "node_modules" / name / "package.json").is_file()
    return importlib.util.find_spec(name) is not None
