"""The client for browsers, ``ezez-ws.js``: an ES module, and its types for TypeScript. ``PATH`` is its folder::

@app.get("/ezez-ws.js")
def module():
    return send_from_directory(ezez_ws.browser.PATH, "ezez-ws.js")
"""

from pathlib import Path

__all__ = ["PATH"]

PATH = Path(__file__).resolve().parent
