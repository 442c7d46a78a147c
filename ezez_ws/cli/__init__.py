"""``ezez-ws``: the library from the shell. Nothing in here is imported by ``import ezez_ws``.

main.py         the way in; runs a command, and ends with its exit code
outcome.py      the exit codes, and which error means which
arguments.py    the command line
connect.py, call.py, send.py, listen.py, serve.py, decode.py    one command each
dialing.py      from the command line to a client
values.py       values as JSON text, and back
output.py       what is written to standard output and standard error
arrivals.py     from the client's thread to the main thread, for listen
shell.py, memory.py, words.py, screen.py, terminal.py, piped.py    the parts of ``connect``
relay.py        the server of ``serve``
"""

from .main import main

__all__ = ["main"]
