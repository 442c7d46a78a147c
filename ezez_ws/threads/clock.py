"""The library's time: every reading of it, and every way to sleep until some time, in one place.

A test puts others here (``ezez_ws.testing.FakeClock``), and so decides how the time goes. What is here otherwise is the
standard library's. Both are called as ``clock.monotonic()``: a name that is imported by itself would stay what it was.
"""

import select as _select
import threading
import time as _time
from typing import Protocol

__all__ = ["acquire", "join", "monotonic", "poll", "select", "slack_from", "sleep", "time"]

monotonic = _time.monotonic
time = _time.time
sleep = _time.sleep
select = _select.select

slack_from = 1.0
"""Seconds from which on an action of the janitor may be a little late."""


class _Lock(Protocol):
    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool: ...


class _Poll(Protocol):
    def poll(self, timeout: float | None = None, /) -> list[tuple[int, int]]: ...


def acquire(lock: _Lock, seconds: float) -> bool:
    """Wait for a lock that is slept on; what changes while one sleeps is looked at afterwards."""
    return lock.acquire(timeout=seconds)


def poll(poller: _Poll, seconds: float | None) -> list[tuple[int, int]]:
    """Wait for the descriptors of a ``select.poll()`` that is used for this once; ``None``: for ever."""
    return poller.poll(None if seconds is None else seconds * 1000)


def join(thread: threading.Thread, seconds: float | None) -> None:
    """Wait for a thread to end."""
    thread.join(seconds)
