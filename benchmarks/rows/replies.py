"""replies: what it costs to have very many replies outstanding on one client.

The server asks a client of this process so many questions, each with an ``on_reply``. Then it idles, is answered some
questions of all over, or lets all of them expire; its own processor time says what that costs.
"""

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

from ezez_ws import EZEZWebSocketClient

from ..agent import Agent
from ..peers import OURS, PEERS
from ..results import Goal, Line
from ..run import Run
from ..servers.ours import KEY

__all__ = ["replies"]

FEW = 1000
WHO_FEW = f"{OURS}, {FEW:,} outstanding"
RESOLVED = 500
PATIENCE = 60.0


def replies(run: Run) -> list[Line]:
    most = 20_000 if run.quick else 100_000
    asked = f"{most:,} outstanding"
    janitor = Line("replies", f"{asked}, TTL 300 s, idle", "% of a core", goals=[Goal(None, 1)], less_is_better=True)
    resolve = Line("replies", f"resolve one of {asked}", "µs", goals=[Goal(WHO_FEW, 2)], less_is_better=True)
    expire = Line("replies", f"expire one of {asked}", "µs", goals=[Goal(WHO_FEW, 2)], less_is_better=True)
    for who in run.alternate([WHO_FEW, OURS]):
        count = FEW if who == WHO_FEW else most
        with _asked(count, 300.0) as (state, answers):
            janitor.add(who, _idle(state, run.seconds) * 100)
            resolve.add(who, _resolve(state, answers) * 1e6)
        with _asked(count, 2.0 + most / 10_000) as (state, _):
            expire.add(who, _expire(state, count) * 1e6)
    return [janitor, resolve, expire]


State = Callable[[], tuple[float, int]]


@contextlib.contextmanager
def _asked(count: int, ttl: float) -> "Iterator[tuple[State, list[Any]]]":
    """Yield what returns the server's processor time and its outstanding replies, and how to answer each question."""
    answers: list[Any] = []
    with PEERS[OURS].start(clear_awaiting_replies_after=ttl) as server, _client(server) as client:
        client.on("question", lambda args, reply, ids: answers.append(reply))

        def state() -> tuple[float, int]:
            cpu, outstanding = client.send("state").wait_reply(timeout=PATIENCE).args
            return cpu, outstanding

        client.send("ask", [count])
        state()  # answered after the last question was asked
        yield state, answers


def _client(server: Agent) -> EZEZWebSocketClient:
    return EZEZWebSocketClient(server.hello["url"], auth=KEY)


def _idle(state: State, seconds: float) -> float:
    """The share of a core that the server uses while nothing happens."""
    before, _ = state()
    time.sleep(seconds)
    return (state()[0] - before) / seconds


def _resolve(state: State, answers: list[Any]) -> float:
    """The server's seconds for one answer."""
    chosen = random.sample(answers, min(RESOLVED, len(answers)))
    before, outstanding = state()
    for reply in chosen:
        reply("answer")
    after, left = state()
    assert left == outstanding - len(chosen), f"{outstanding - left} of {len(chosen)} answers arrived"
    return (after - before) / len(chosen)


def _expire(state: State, count: int) -> float:
    """The server's seconds for one that expires."""
    before, outstanding = state()
    assert outstanding == count, f"{count - outstanding} have expired too early"
    end = time.monotonic() + PATIENCE
    while outstanding and time.monotonic() < end:
        time.sleep(0.5)
        after, outstanding = state()
    assert not outstanding, f"{outstanding} have not expired"
    return (after - before) / count
