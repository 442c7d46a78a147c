"""``ezez-ws stacks``: print what a server's listeners do now, as its monitor tells it."""

import argparse
import queue
from typing import Any
from urllib.parse import unquote

from ..errors import ConnectionClosed, ReplyTimeout
from ..threads.deadline import Deadline
from .arguments import add_connecting, add_seconds, connected, make_client
from .output import notice, write_line

__all__ = ["add_arguments", "run"]

_LOOK = 0.5  # seconds; as in ``listen``


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "url", metavar="URL", help="the monitor's page, http://HOST:PORT/monitor/, with or without #KEY"
    )
    add_connecting(parser)
    parser.add_argument("--all", action="store_true", help="the calls inside libraries, too")
    add_seconds(parser, "--timeout", 10.0, "to wait for what the monitor tells")


def run(options: argparse.Namespace) -> None:
    _find_socket(options)
    told: queue.SimpleQueue[list[Any] | ConnectionClosed] = queue.SimpleQueue()
    client = make_client(options, on_disconnect=lambda code, reason: told.put(ConnectionClosed(code, reason)))
    client.on("listeners", lambda args, reply, ids: told.put(args))
    with connected(options, client):
        listeners, total = _wait(told, options.timeout)
    for listener in listeners:
        _print(listener, options.all)
    if not listeners:
        notice("no listener runs")
    elif total > len(listeners):
        notice(f"{total - len(listeners)} more, which have begun later, are not shown")


def _find_socket(options: argparse.Namespace) -> None:
    """Make of the page's URL that of its socket, and the key."""
    url, _, key = options.url.partition("#")
    url, question, query = url.partition("?")
    if not url.endswith("/socket"):
        url = f"{url.removesuffix('/')}/socket"
    options.url = f"{url}{question}{query}"
    if key and options.auth is None and options.auth_env is None:
        options.auth = unquote(key)


def _wait(told: "queue.SimpleQueue[list[Any] | ConnectionClosed]", seconds: float) -> tuple[list[Any], int]:
    deadline = Deadline(seconds)
    while not deadline.passed():
        try:
            args = told.get(timeout=deadline.remaining_of(_LOOK))
        except queue.Empty:
            continue
        if isinstance(args, ConnectionClosed):
            raise args
        return args[0], args[1]
    raise ReplyTimeout(f"no monitor has told anything within {seconds:g} s")


def _print(listener: dict[str, Any], all_frames: bool) -> None:
    """Print a listener as Python prints a traceback: the line where it is is the last."""
    peer = "" if listener["address"] is None else f" from {listener['address']}"
    doing = "" if listener["state"] is None else f", {listener['state']}"
    where = "" if listener["where"] is None else f" in {listener['where']}"
    write_line(f"connection {listener['id']}{peer}: {listener['what']} for {listener['seconds']:.1f} s{doing}{where}")
    stack = listener["stack"]
    own = [frame for frame in stack if not frame["library"]]
    for frame in stack if all_frames or not own else own:
        write_line(f'  File "{frame["file"]}", line {frame["line"]}, in {frame["function"]}')
        if frame["source"]:
            write_line(f"    {frame['source']}")
