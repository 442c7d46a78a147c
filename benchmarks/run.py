"""One run of the benchmarks: how many rounds, who takes part, and what is to be said about it."""

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from .agent import Agent, AgentFailed
from .machine import Usage, most_connections, usage
from .peers import GENERATOR, PEERS, Connection, find_missing
from .results import Line

__all__ = ["Run", "Stage"]

BUSY = 0.9  # of a core: a generator that has used more was the limit


class Stage:
    """A server, and a load generator on it. The generator's commands are methods of ``load.Generator``."""

    def __init__(self, run: "Run", who: str, server: Agent, load: Agent) -> None:
        self._run, self._who, self._load = run, who, load
        self.server = server

    def ask(self, do: str, **details: Any) -> dict[str, Any]:
        """Give the generator a command, and note where it was itself the limit."""
        patience = 90.0 + 2 * details.get("seconds", 0.0)
        answer = self._load.ask(do, patience=patience, **details)
        long_enough = answer.get("seconds", 0.0) > 0.5  # to tell
        if long_enough and answer["generator"] > BUSY and self._who != GENERATOR:
            self._run.note(f"{self._run.row}, {self._who}: the load generator was the limit ({do})")
        return answer

    def usage(self) -> Usage:
        """What the server's process takes."""
        return usage(self.server.pid)


class Run:
    """What all rows of one run share.

    Args:
        rounds: how often each row goes through all who take part.
        seconds: for one measurement.
        quick: leave out what takes long.
    """

    def __init__(self, rounds: int, seconds: float, quick: bool) -> None:
        self.rounds, self.seconds, self.quick = rounds, seconds, quick
        self.row = ""
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        """Say something once, now and below the table."""
        if text not in self.notes:
            self.notes.append(text)
            print(f"  {text}", file=sys.stderr, flush=True)

    def present(self, *names: str, peers: Mapping[str, Connection] = PEERS) -> list[str]:
        """Those of the peers that are installed; the others are named as missing."""
        for name in names:
            missing = peers[name].missing()
            if missing:
                self.note(f"{name} is left out: {missing} not installed")
        return [name for name in names if not peers[name].missing()]

    def has_broker(self) -> bool:
        """Tell whether a Redis can be started, and asked; where not, it is noted."""
        missing = find_missing("redis-server", "redis")
        if missing:
            self.note(f"{self.row}: what takes a Redis is left out: {missing} not installed")
        return not missing

    def alternate(self, names: list[str]) -> Iterator[str]:
        """Each name once a round, every second round backwards, so that nobody is always first."""
        for number in range(self.rounds):
            yield from names[:: -1 if number % 2 else 1]

    @contextlib.contextmanager
    def stage(
        self, who: str, connections: int = 0, peers: Mapping[str, Connection] = PEERS, **options: Any
    ) -> Iterator[Stage]:
        """Start a server with ``options`` and connect the load generator so many times."""
        with peers[who].start(**options) as server, self.load(server.hello["url"], peers[who].dialect) as load:
            stage = Stage(self, who, server, load)
            if connections:
                stage.ask("connect", count=connections)
            yield stage

    @contextlib.contextmanager
    def tolerate(self, what: str) -> Iterator[None]:
        """Note a failure of one measurement, and go on with the next."""
        try:
            yield
        except AgentFailed as error:
            self.note(f"{self.row}, {what} failed: {error}")

    def load(self, url: str, dialect: str) -> Agent:
        """Start a load generator."""
        return Agent([sys.executable, "-m", "benchmarks.load", url, dialect])

    def fits(self, who: str, connections: int) -> bool:
        """Tell whether the machine lets a server hold so many; where not, it is noted."""
        most = most_connections(PEERS[who].threads)
        if connections > most:
            self.note(f"{self.row}, {who}: {connections:,} connections are left out, the machine lets {most:,}")
        return connections <= most

    def run(self, name: str, row: Any) -> list[Line]:
        """Run one row, and say so."""
        self.row = name
        start = time.monotonic()
        print(f"{name} …", file=sys.stderr, flush=True)
        missing = PEERS[GENERATOR].missing()
        if missing and row.needs_load:
            self.note(f"{name} is left out: the load generator needs {missing}")
            return []
        lines: list[Line] = row.measure(self)
        print(f"  {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
        return lines
