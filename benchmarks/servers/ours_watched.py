"""This library, and somebody who reads the server's figures once a second."""

import threading
import time
from typing import Any

from ezez_ws import EZEZWebsocketServer

from . import ours

__all__ = ["start"]


def start(**options: Any) -> str:
    """Start the server."""

    def read(server: EZEZWebsocketServer) -> None:
        while True:
            server.stats()
            time.sleep(1.0)

    return ours.start(lambda server: threading.Thread(target=read, args=(server,), daemon=True).start(), **options)
