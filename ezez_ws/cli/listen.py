"""``ezez-ws listen``: print what arrives as JSON lines.

The client's thread hands the events to the main thread, which prints them, and which is the one that Ctrl-C and a
closed pipe interrupt.
"""

import argparse
import threading
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

from ..client import EZEZWebSocketClient
from ..errors import AuthRejected, ConnectionClosed, EZEZError
from ..messages.protocol import Ids
from .arguments import add_dialing, add_staying, connected, integer, make_client, shown_url
from .output import notice, write_line
from .values import write_event

__all__ = ["add_arguments", "run"]

_LIMIT = 1000
_LOOK = 0.5  # seconds; a signal that comes just before a wait begins is seen when the wait ends


class Arrival(NamedTuple):
    """An event as it came in."""

    event: str
    args: list[Any]
    ids: Ids


class Arrivals:
    """Events in their order, and how it ended; bounded, so that nothing is read from the server that nobody takes.

    Any thread may call anything. The lock of ``_changed`` guards the rest.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[Arrival | Exception] = deque()
        self._closed = False

    @property
    def closed(self) -> bool:
        with self._changed:
            return self._closed

    def put(self, arrival: Arrival | Exception) -> None:
        """Add one, which waits for room, or the error that was the end. Does nothing after ``close``."""
        with self._changed:
            if isinstance(arrival, Arrival):
                self._changed.wait_for(lambda: self._closed or len(self._waiting) < _LIMIT)
            if not self._closed:
                self._waiting.append(arrival)
                self._changed.notify_all()

    def __iter__(self) -> Iterator[Arrival]:
        """Wait for each; raises the error that was put in, after what came before it."""
        while True:
            with self._changed:
                while not self._waiting:
                    self._changed.wait(_LOOK)
                arrival = self._waiting.popleft()
                self._changed.notify_all()
            if isinstance(arrival, Exception):
                raise arrival
            yield arrival

    def close(self) -> None:
        """Let everybody go who waits for room: nobody takes anything any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_dialing(parser)
    add_staying(parser)
    parser.add_argument(
        "--event", action="append", dest="events", metavar="NAME", help="only events of this name; may be given again"
    )
    parser.add_argument("--count", type=integer(1, 10**18), metavar="N", help="end after so many")


def run(options: argparse.Namespace) -> None:
    arrivals, was_connected = Arrivals(), threading.Event()

    def heard(error: EZEZError) -> bool:
        arrivals.put(error)
        return was_connected.is_set()

    with connected(options, _make_client(options, arrivals, was_connected), heard):
        try:
            wanted = (arrival for arrival in arrivals if not options.events or arrival.event in options.events)
            for arrival in islice(wanted, options.count):
                write_line(write_event(*arrival))
        finally:
            arrivals.close()


def _make_client(
    options: argparse.Namespace, arrivals: Arrivals, was_connected: threading.Event
) -> EZEZWebSocketClient:
    def greeted() -> None:
        was_connected.set()
        notice(f"connected to {shown_url(options)}")

    def arrived(event: str, args: list[Any], reply: Any, ids: Ids) -> None:
        arrivals.put(Arrival(event, args, ids))

    def lost(code: int, reason: str) -> None:
        if not options.reconnect:
            arrivals.put(ConnectionClosed(code, reason))
        elif not arrivals.closed:
            notice(f"{ConnectionClosed(code, reason)}, connecting again")

    return make_client(
        options,
        auto_reconnect=options.reconnect,
        unknown_messages="emit",
        unknown_data="emit",
        on_message=arrived,
        on_disconnect=lost,
        on_auth_ok=greeted,
        on_auth_rejected=lambda reason: arrivals.put(AuthRejected(reason)),
    )
