"""``ezez-ws``: the library from the shell. Nothing in here is imported by ``import ezez_ws``.

main.py         the way in: the table of the commands; runs one, and ends with its exit code
call.py, connect.py, decode.py, listen.py, send.py, serve.py    one command each
arguments.py    what several commands take, and the client that is made of it
outcome.py      the exit codes, and which error means which
values.py       values as JSON text, and back
output.py       what is written to standard output and standard error
shell.py, memory.py, screen.py, terminal.py    the parts of ``connect``
"""

from .main import main

__all__ = ["main"]
