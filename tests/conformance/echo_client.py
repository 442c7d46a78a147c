"""Drives the client role against a fuzzing server, echoing: ``echo_client.py URL [--deflate]``.

Asks the server at URL how many cases there are, runs each, and lets it write its report.
"""

import argparse
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ezez_ws.opening.dialer import Dialer
from ezez_ws.opening.url import parse_url
from ezez_ws.threads.deadline import Deadline
from ezez_ws.websocket.stream import Stream
from tests.conformance.echo_server import MAX_PAYLOAD, echo

AGENT = "ezez_ws"


def connect(url: str, deflate: bool) -> Stream:
    """Open a WebSocket."""
    told: Any = SimpleNamespace(target=parse_url(url), headers=(), subprotocols=(), ssl=None, compress=deflate)
    dialed = Dialer(told, told).dial(Deadline(10))
    return Stream(dialed.wire, True, MAX_PAYLOAD, MAX_PAYLOAD, dialed.early, dialed.deflate)


def read_text(url: str) -> str:
    """Return the one message that a server sends at an address."""
    stream = connect(url, False)
    texts = []
    while stream.ending is None:
        texts += [str(message.payload) for message in stream.receive(None) or ()]
    stream.finish(1.0)
    stream.dispose()
    return texts[0] if texts else ""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--deflate", action="store_true")
    options = parser.parse_args()
    base = options.url.rstrip("/")
    count = int(read_text(f"{base}/getCaseCount"))
    for case in range(1, count + 1):
        echo(connect(f"{base}/runCase?case={case}&agent={AGENT}", options.deflate))
    read_text(f"{base}/updateReports?agent={AGENT}")
    print(f"{count} cases run", flush=True)


if __name__ == "__main__":
    main()
