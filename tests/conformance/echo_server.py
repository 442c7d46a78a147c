"""A bare echo on the standalone transport, without events: ``echo_server.py PORT [--deflate]``.

Prints ``listening on PORT`` when it does (0 picks a free port); ends when its standard input does, or by a signal.
"""

import argparse
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ezez_ws.figures import Figures
from ezez_ws.messages.tally import Tally
from ezez_ws.opening.listener import Listener
from ezez_ws.opening.places import Place, Places
from ezez_ws.opening.upgrade import Admission, Upgrade
from ezez_ws.threads.deadline import Deadline
from ezez_ws.threads.interrupted import make_lock
from ezez_ws.websocket.stream import Stream

MAX_PAYLOAD = 32 << 20


def echo(stream: Stream) -> None:
    """Send back every message, waiting for room, until the connection has ended; then give it back."""
    stream.begin_compressing()
    while stream.ending is None:
        for message in stream.receive(None) or ():
            while stream.open:
                with stream._outbox.lock:
                    has_room = stream._outbox.has_room(len(message.payload))
                if has_room:
                    stream.send(message.payload)
                    break
                stream._outbox.flush()
    stream.finish(1.0)
    stream.dispose()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--deflate", action="store_true")
    options = parser.parse_args()
    told: Any = SimpleNamespace(path=None, subprotocols=None, allowed_origins=None, verify_request=None)
    told.max_connections_per_address = told.process_request = told.health_path = told.mounts = None
    told.connection = SimpleNamespace(common=SimpleNamespace(figures=Figures(Tally())))
    told.compression = "deflate" if options.deflate else None
    upgrade, places = Upgrade(told), Places(make_lock(), None, None, None)

    def serve(place: Place) -> None:
        wire = place.wire
        assert wire is not None
        admission = upgrade.admit(wire, place.address, Deadline(10), place)
        place.leave()
        if not isinstance(admission, Admission):
            wire.close()
            return
        echo(Stream(wire, False, MAX_PAYLOAD, MAX_PAYLOAD, admission.early, admission.deflate))

    listener = Listener("127.0.0.1", options.port, False, serve, places)
    listener.start()
    print(f"listening on {listener.server.port}", flush=True)
    try:
        sys.stdin.read()
    except KeyboardInterrupt:
        pass
    listener.close()


if __name__ == "__main__":
    main()
