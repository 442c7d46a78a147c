"""``ezez-ws``: the library from the shell. Nothing in here is imported by ``import ezez_ws``.

``main.py`` has the table of the commands, each a file; shell, memory, screen and terminal are parts of ``connect``.
"""

from .main import main

__all__ = ["main"]
