"""The client for browsers, ``ezez-ws.js``: an ES module, and its types for TypeScript.

A web server serves it as it is; ``PATH`` is the folder to serve it from::

    @app.get("/ezez-ws.js")
    def module():
        return send_from_directory(ezez_ws.browser.PATH, "ezez-ws.js")
"""

from pathlib import Path

__all__ = ["PATH"]

PATH = Path(__file__).resolve().parent
"""The folder with ``ezez-ws.js`` and ``ezez-ws.d.ts``."""
