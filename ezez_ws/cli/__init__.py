"""``ezez-ws``: the library from the shell. Nothing in here is imported by ``import ezez_ws``.

``main.py`` is the way in, with the table of the commands, each of which is a file. ``shell.py``, ``memory.py``,
``screen.py`` and ``terminal.py`` are parts of ``connect``.
"""

from .main import main

__all__ = ["main"]
