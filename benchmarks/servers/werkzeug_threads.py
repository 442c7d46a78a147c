"""Serves a WSGI application by Werkzeug, a thread for each connection: where Flask applications begin."""

import logging
import threading
from typing import Any

from werkzeug.serving import ThreadedWSGIServer

__all__ = ["serve"]


class _Server(ThreadedWSGIServer):
    request_queue_size = 1024


def serve(application: Any) -> str:
    """Start serving and return the address, ``127.0.0.1:PORT``."""
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = _Server("127.0.0.1", 0, application)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"127.0.0.1:{server.port}"
