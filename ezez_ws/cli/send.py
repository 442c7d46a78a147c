"""``ezez-ws send``: send an event, and end when the server has read it."""

import argparse

from ..errors import ConnectionClosed
from ..messages.protocol import CloseCode
from .arguments import add_dialing, add_message, connected, make_client

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_dialing(parser)
    add_message(parser)


def run(options: argparse.Namespace) -> None:
    endings: list[ConnectionClosed] = []
    client = make_client(options, on_disconnect=lambda *ending: endings.append(ConnectionClosed(*ending)))
    with connected(options, client):
        sent = client.send(options.event, options.args)
    # The server answers our close frame after it has read what came before it: only then has it the event.
    if not sent or (endings and endings[0].code != CloseCode.NORMAL):
        raise endings[0] if endings else ConnectionClosed()
