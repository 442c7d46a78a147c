"""Servers on one Redis: in this process, and as processes of their own that can be killed."""

import functools
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

from ezez_ws import EZEZServerClient, EZEZWebsocketServer, RedisBackplane
from ezez_ws.cluster.hub import Hub
from tests.redis_server import RedisServer, RedisTestCase
from tests.serving import KEY, Calls
from tests.support import REPO, eventually

__all__ = ["NodeProcess", "NodesTestCase", "run_node"]


class NodesTestCase(RedisTestCase):
    """Makes servers, which are closed at the end."""

    def backplane(self, server: RedisServer | None = None, **options: Any) -> RedisBackplane:
        options.setdefault("heartbeat", 0.25)
        options.setdefault("node_timeout", 1.5)
        return RedisBackplane((server or self.redis).url, **options)

    def node(self, backplane: RedisBackplane | None = None, **options: Any) -> EZEZWebsocketServer:
        options.setdefault("on_auth_request", lambda _, key: key == KEY)
        options.setdefault("on_auth_ok", lambda client: client.join("lobby"))
        options.setdefault("close_timeout", 2.0)
        node = EZEZWebsocketServer(port=0, backplane=backplane or self.backplane(), **options)
        self.addCleanup(node.close)
        node.start()
        return node

    def hub(self, node: EZEZWebsocketServer) -> Hub:
        run = node._ezez_current_run()
        assert run is not None
        return run.hub

    def changes(self) -> tuple[Calls, Callable[[str, str], None]]:
        """Return what ``on_cluster`` is called with, and it."""
        calls = Calls()
        return calls, calls.add

    def wait_for(self, node: EZEZWebsocketServer, count: int) -> None:
        """Wait until a node knows so many."""
        eventually(lambda: len(node.cluster.nodes) == count, 20, f"the node knows {count} nodes")


class NodeProcess:
    """A node in a process of its own, which does what it is told by lines of JSON."""

    def __init__(self, redis_url: str, **options: Any) -> None:
        command = [sys.executable, "-m", "tests.cluster.nodes", redis_url, json.dumps(options)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, cwd=REPO
        )
        self._lock = threading.Lock()

    @functools.cached_property
    def url(self) -> str:
        """Its server's; asked for when it is needed, so that several can start at once."""
        return str(self.ask("url"))

    def ask(self, what: str, *args: Any) -> Any:
        """Have it do something; return what comes of it."""
        assert self.process.stdin is not None and self.process.stdout is not None
        with self._lock:
            self.process.stdin.write(json.dumps([what, *args]) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"the node has gone: {self.process.poll()}")
        return json.loads(line)

    def kill(self) -> None:
        """Kill it, and wait for that."""
        self.process.kill()
        self.close()

    def close(self) -> None:
        """End it, if it has not ended, and give its pipes back."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


def run_node(redis_url: str, given: dict[str, Any]) -> None:
    """Be that process."""
    plan = {"heartbeat": 0.25, "node_timeout": 1.5} | given.pop("backplane", {})

    def welcome(client: EZEZServerClient) -> None:
        client.join(*rooms)

    rooms = given.pop("rooms", ["lobby"])
    with EZEZWebsocketServer(
        port=0,
        backplane=RedisBackplane(redis_url, **plan),
        on_auth_request=lambda _, key: key == KEY,
        on_auth_ok=welcome,
        **given,
    ) as node:
        node.on("publish", lambda client, args, reply, ids: node.to(*args[0]).send(args[1], args[2:]))
        for line in sys.stdin:
            what, *args = json.loads(line)
            answer: Any = None
            if what == "url":
                answer = node.url
            elif what == "addresses":
                answer = [client.address for client in node.clients]
            elif what == "status":
                answer = node.cluster._asdict()
            elif what == "send":
                answer = node.to(*args[0]).send(args[1], args[2]).wait(args[3])
            elif what == "publish":  # so many numbered events, quickly
                for number in range(args[2]):
                    node.to(*args[0]).send(args[1], [args[3], number])
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    run_node(sys.argv[1], json.loads(sys.argv[2]))
