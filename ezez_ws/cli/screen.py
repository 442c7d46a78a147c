"""How ``connect`` shows what happens: to a person at a terminal, or as JSON lines to a program."""

from typing import Any

from ..messages.protocol import Ids
from .output import notice, write_line
from .values import write_arguments, write_event

__all__ = ["JsonScreen", "Screen", "TerminalScreen"]

_GREEN, _DIM, _YELLOW = "\x1b[32m", "\x1b[2m", "\x1b[33m"


class TerminalScreen:
    """Lines that begin with the direction and the id, and go on as one would type them."""

    def __init__(self, colour: bool) -> None:
        self._green, self._dim, self._yellow = (_GREEN, _DIM, _YELLOW) if colour else ("", "", "")

    def arrived(self, event: str, args: list[Any], ids: Ids) -> None:
        answers = "" if ids.reply_to is None else f"  (answers {ids.reply_to})"
        write_line((self._green, f"<- {ids.event_id}"), f" {write_arguments(event, args)}", (self._dim, answers))

    def sent(self, event_id: int | None, event: str, args: list[Any]) -> None:
        number = "when connected" if event_id is None else event_id
        write_line((self._dim, f"-> {number} {write_arguments(event, args)}"))

    def say(self, text: str) -> None:
        """Tell something of the session itself."""
        write_line((self._yellow, f"-- {text}"))


class JsonScreen:
    """What has arrived goes to standard output, as ``listen`` prints it; the rest to standard error or nowhere."""

    def arrived(self, event: str, args: list[Any], ids: Ids) -> None:
        write_line(write_event(event, args, ids))

    def sent(self, *_: Any) -> None:
        pass

    say = staticmethod(notice)


Screen = TerminalScreen | JsonScreen
