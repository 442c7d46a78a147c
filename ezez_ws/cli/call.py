"""``ezez-ws call``: send an event, print its reply."""

import argparse

from ..options import CLIENT
from .dialing import connected, make_client
from .output import write_line
from .values import write_event

__all__ = ["run"]


def run(options: argparse.Namespace) -> None:
    patience = max(options.timeout, CLIENT["clear_awaiting_replies_after"].default)
    client = make_client(options, auto_reconnect=False, clear_awaiting_replies_after=patience)
    with connected(options, client):
        reply = client.send(options.event, options.args).wait_reply(options.timeout)
        write_line(write_event(reply.event, reply.args, reply.ids))
