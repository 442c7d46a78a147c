"""``ezez-ws listen``: print what arrives as JSON lines, on the main thread, which Ctrl-C and closed pipes interrupt."""

import argparse
import queue
import threading
from collections.abc import Iterator
from itertools import islice
from typing import Any

from ..client import EZEZWebSocketClient
from ..errors import AuthRejected, ConnectionClosed, EZEZError
from ..messages.protocol import Event, Ids
from .arguments import add_dialing, connected, integer, make_client, shown_url
from .outcome import words_of
from .output import notice, write_line
from .values import write_event

__all__ = ["add_arguments", "run"]

_LIMIT = 1000
_LOOK = 0.5  # seconds; a signal that comes just before a wait begins is seen when the wait ends


class Arrivals:
    """Events in their order, and how it ended; bounded: nothing is read that nobody takes. Any thread may call it."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[Event | Exception] = queue.SimpleQueue()
        self._room = threading.Semaphore(_LIMIT)
        self.closed = threading.Event()
        self.was_connected = threading.Event()

    def put(self, arrival: Event | Exception) -> None:
        """Add one, which waits for room, or the error that was the end."""
        if isinstance(arrival, Event):
            self._room.acquire()
            if self.closed.is_set():
                self._room.release()  # for the next who waits
        self._waiting.put(arrival)

    def __iter__(self) -> Iterator[Event]:
        """Wait for each; raises the error that was put in, after what came before it."""
        while True:
            try:
                arrival = self._waiting.get(timeout=_LOOK)
            except queue.Empty:
                continue
            if isinstance(arrival, Exception):
                raise arrival
            self._room.release()
            yield arrival

    def close(self) -> None:
        """Let everybody go who waits for room: nobody takes anything any more."""
        self.closed.set()
        self._room.release()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_dialing(parser, stays=True)
    parser.add_argument(
        "--event", action="append", dest="events", metavar="NAME", help="only events of this name; may be given again"
    )
    parser.add_argument("--count", type=integer(1, 10**18), metavar="N", help="end after so many")


def run(options: argparse.Namespace) -> None:
    arrivals = Arrivals()

    def heard(error: EZEZError) -> bool:
        arrivals.put(error)
        return arrivals.was_connected.is_set()

    with connected(options, _make_client(options, arrivals), heard, arrivals.close):
        try:
            wanted = (arrival for arrival in arrivals if not options.events or arrival.name in options.events)
            for name, ids, args in islice(wanted, options.count):
                write_line(write_event(name, args, ids))
        finally:
            arrivals.close()


def _make_client(options: argparse.Namespace, arrivals: Arrivals) -> EZEZWebSocketClient:
    def greeted() -> None:
        arrivals.was_connected.set()
        notice(f"connected to {shown_url(options)}")

    def arrived(event: str, args: list[Any], reply: Any, ids: Ids) -> None:
        arrivals.put(Event(event, ids, args))

    def lost(code: int, reason: str) -> None:
        if not options.reconnect:
            arrivals.put(ConnectionClosed(code, reason))
        elif goes_on():
            notice(f"{ConnectionClosed(code, reason)}, connecting again")

    def failed(error: BaseException) -> None:
        if goes_on():
            notice(words_of(error))

    def goes_on() -> bool:
        return arrivals.was_connected.is_set() and not arrivals.closed.is_set()  # before that, connect() tells

    return make_client(
        options,
        unknown_messages="emit",
        unknown_data="emit",
        on_message=arrived,
        on_disconnect=lost,
        on_auth_ok=greeted,
        on_error=failed,
        on_auth_rejected=lambda reason: arrivals.put(AuthRejected(reason)),
    )
