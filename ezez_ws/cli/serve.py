"""``ezez-ws serve``: run the relay until Ctrl-C."""

import argparse
import threading

from .dialing import key_of
from .output import write_line
from .relay import Relay

__all__ = ["run"]

_LOOK = 0.5  # seconds; a signal that comes just before a wait begins is seen when the wait ends


def run(options: argparse.Namespace) -> None:
    relay = Relay(options.host, options.port, key_of(options))
    with relay.server as server:
        write_line(f"listening on {server.url}, Ctrl-C ends it")
        never = threading.Event()
        while not never.wait(_LOOK):
            pass
