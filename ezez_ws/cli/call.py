"""``ezez-ws call``: send an event, print the value that answers it, or the event that replies."""

import argparse

from ..calls.answers import value_of
from ..messages.protocol import EVENT_OK
from ..options import CLIENT
from .arguments import add_dialing, add_message, add_seconds, connected, make_client
from .output import write_line
from .values import write_event, write_json

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_dialing(parser)
    add_message(parser)
    add_seconds(parser, "--timeout", 10.0, "to wait for the reply")


def run(options: argparse.Namespace) -> None:
    patience = max(options.timeout, CLIENT["clear_awaiting_replies_after"].default)
    client = make_client(options, clear_awaiting_replies_after=patience)
    with connected(options, client):
        reply = client.send(options.event, options.args).wait_reply(options.timeout)
        value = value_of(reply)  # or an error, which ends the command
        is_value = reply.event == EVENT_OK
        write_line(write_json(value) if is_value else write_event(reply.event, reply.args, reply.ids))
