"""What a line means that is typed into ``connect``.

    EVENT ARG...                  send an event
    /reply ID EVENT ARG...        answer the message with this id
    /help, /quit

Words are JSON where they are JSON, and texts else (see ``values.read_words``). An event whose name is no single word,
or starts with a slash, is written as a JSON string.
"""

from typing import Any, NamedTuple

from ..messages.protocol import check_event_name
from .outcome import UsageError
from .values import read_words

__all__ = ["COMMANDS", "HELP", "Saying", "read_line"]

COMMANDS = ("/help", "/quit", "/reply")

HELP = """\
EVENT ARG...            send an event
/reply ID EVENT ARG...  answer the message with this id
/quit                   leave (or Ctrl-D)
An ARG is JSON where it is JSON, and a text else: hello "two words" 5 "5" {"key": [1, null]}
Bytes are {"$bytes": "aGk="} in base64, a bigint is {"$bigint": "12"}.
Tab completes events that were seen, the arrow keys go through what was typed before.\
"""


class Saying(NamedTuple):
    """An event to send; ``answers`` is the id of the message that it replies to."""

    answers: int | None
    event: str
    args: list[Any]


def read_line(line: str) -> Saying | None:
    """Return what is to be sent; ``None`` where the line is empty.

    Raises:
        UsageError: the line means nothing.
    """
    if not line.strip():
        return None
    values = read_words(line)
    if not line.lstrip().startswith("/"):
        return Saying(None, _event(values[0]), values[1:])
    if values[0] != "/reply":
        commands = ", ".join(COMMANDS)
        raise UsageError(f'no command {values[0]}; there are {commands}; an event of this name is "{values[0]}"')
    if len(values) < 3 or type(values[1]) is not int:
        raise UsageError("write /reply ID EVENT ARG...")
    return Saying(values[1], _event(values[2]), values[3:])


def _event(name: Any) -> str:
    try:
        return check_event_name(name)
    except TypeError:
        raise UsageError(f'an event\'s name is a text; write "{name}" in quotes') from None
    except ValueError as error:
        raise UsageError(str(error)) from None
