"""``ezez-ws listen``: print what arrives as JSON lines.

The client's thread hands the events to the main thread, which prints them, and which is the one that Ctrl-C and a
closed pipe interrupt.
"""

import argparse
import threading
from itertools import islice
from typing import Any

from ..client import EZEZWebSocketClient
from ..errors import AuthRejected, ConnectionClosed, EZEZError
from ..messages.protocol import Ids
from .arrivals import Arrival, Arrivals
from .dialing import connected, make_client, shown_url
from .output import notice, write_line
from .values import write_event

__all__ = ["run"]


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
