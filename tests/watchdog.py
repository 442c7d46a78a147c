"""The time limit of a test: of time in which it gets on or sleeps, not of time in which it waits for a processor.

A machine with other work to do runs a test as slowly as it likes, a test at a low priority most of all; to end it for
that says nothing about the library. So what counts against the limit is the time by the clock, less the time in which
the process, or one that it has started, was ready to run and had no processor:

- a test that sleeps for ever is ended when it has slept for its limit,
- a test that computes is ended when it has computed for its limit,
- a test that waits for Node or Chromium, which wait for a processor, is not blamed.

Linux says how long each thread has waited (``schedstat``). Where nobody says so, time counts for :data:`UNKNOWN` of
itself; and after :data:`PATIENCE` limits by the clock a test is ended whatever it was waiting for.

To look takes file descriptors, which tests count and use up. So the first half of the limit is by the clock alone, and
only the few tests that need more are looked at, once a second.
"""

import contextlib
import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

__all__ = ["PATIENCE", "UNKNOWN", "Allowance", "Thread", "Watchdog", "family", "look", "waited"]

PATIENCE = 10.0
UNKNOWN = 0.25

_LOOK = 1.0  # seconds between two looks
_STUCK = 30.0  # seconds above its limit after which a process in which no Python thread gets to run is ended


class Thread(NamedTuple):
    """What the system says of a thread."""

    ran: int  # nanoseconds
    waited: int  # nanoseconds that it was ready and had no processor, until it last had one
    ready: bool  # it runs, or would if it had a processor


Look = dict[str, Thread]  # by the threads' paths in /proc


class Allowance:
    """What one test has used of its limit, by the times that it is told."""

    def __init__(self, limit: float, now: float) -> None:
        self.limit = limit
        self.used = 0.0  # seconds that count against the limit
        self._began = self._seen = now

    def pass_unseen(self, now: float) -> None:
        """Count what has passed since the last call, up to half of the limit."""
        self.used = max(self.used, min(self.limit / 2, self.used + self._pass(now)))

    def pass_seen(self, now: float, waited: float | None) -> None:
        """Count what has passed since the last call, in which all threads have waited so long; ``None``: unknown."""
        passed = self._pass(now)
        self.used += passed * UNKNOWN if waited is None else max(0.0, passed - waited)

    def _pass(self, now: float) -> float:
        passed, self._seen = now - self._seen, now
        return passed

    @property
    def half_used(self) -> bool:
        return self.used >= self.limit / 2

    @property
    def taken(self) -> float:
        """Seconds by the clock."""
        return self._seen - self._began

    @property
    def left(self) -> float:
        """Seconds until it can be over; 0 when it is."""
        return max(0.0, min(self.limit - self.used, self.limit * PATIENCE - self.taken))


class Watchdog:
    """Calls ``expire(what, allowance)`` on a thread of its own when ``what`` has not been replaced in time.

    ``arm`` is called by the main thread. ``_changed`` guards ``_what`` and ``_allowance``.
    """

    def __init__(self, expire: Callable[[str, Allowance], None]) -> None:
        self._expire = expire
        self._stderr = sys.stderr  # a test may replace sys.stderr for a while
        self._changed = threading.Condition()
        self._what, self._allowance = "", Allowance(0.0, 0.0)

    def start(self, what: str, limit: float) -> None:
        self.arm(what, limit)
        threading.Thread(target=self._watch, name="test-watchdog", daemon=True).start()

    def arm(self, what: str, limit: float) -> None:
        # Without a notification, which would only cost switches: the thread looks often enough.
        with self._changed:
            self._what, self._allowance = what, Allowance(limit, time.monotonic())

    def _watch(self) -> None:
        before: Look | None = None
        with self._changed:
            while self._allowance.left:
                # In C, for the case that something keeps all Python threads from running, and so this one.
                faulthandler.dump_traceback_later(self._allowance.limit + _STUCK, exit=True, file=self._stderr)
                self._changed.wait(min(_LOOK, self._allowance.left, self._allowance.limit / 4))
                before = _count(self._allowance, before)
            what, allowance = self._what, self._allowance
        self._expire(what, allowance)


def _count(allowance: Allowance, before: Look | None) -> Look | None:
    """Count the time that has passed since the look ``before``; return what the next one is compared with."""
    if before is None or not allowance.half_used:
        allowance.pass_unseen(time.monotonic())
        return look() if allowance.half_used else None
    now = look()
    allowance.pass_seen(time.monotonic(), waited(before, now, _LOOK) if now else None)
    return now


def look() -> Look:
    """All threads of this process and of its children; empty where nobody says how long they have waited."""
    found: Look = {}
    for pid in family(os.getpid()):
        for thread in _list(f"/proc/{pid}/task"):
            path = f"/proc/{pid}/task/{thread}"
            with contextlib.suppress(ValueError, IndexError):  # it has ended
                ran, waiting = _read(f"{path}/schedstat").split()[:2]
                state = _read(f"{path}/stat").rpartition(b")")[2].split()[0]
                found[path] = Thread(int(ran), int(waiting), state == b"R")
    return found


def waited(before: Look, now: Look, meanwhile: float) -> float:
    """The seconds that all threads together have waited between two looks, with ``meanwhile`` seconds between them."""
    total = 0.0
    for path, thread in now.items():
        if thread.ready and thread == before.get(path):
            total += meanwhile  # it waits still: what it has waited is added when it gets its turn
        else:
            total += (thread.waited - (before[path].waited if path in before else 0)) / 1e9
    return total


def family(pid: int) -> Iterator[int]:
    """The process, its children, and theirs."""
    yield pid
    for thread in _list(f"/proc/{pid}/task"):
        for child in _read(f"/proc/{pid}/task/{thread}/children").split():
            yield from family(int(child))


def _list(path: str) -> list[str]:
    with contextlib.suppress(OSError):
        return os.listdir(path)
    return []


def _read(path: str) -> bytes:
    with contextlib.suppress(OSError), open(path, "rb", buffering=0) as file:
        return file.read()
    return b""
