"""A session of ``connect``: lines go out as events, and what arrives is shown as it arrives.

The main thread reads lines and sends; the client's thread shows what arrives. Whatever ends the session there (a lost
connection, an output that nobody reads) is kept, stops the lines, and is raised on the main thread.

How words are read: ``values.read_words``. An event whose name is not one word, or starts with a slash, is in quotes.
"""

import argparse
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from ..errors import AuthRejected, ConnectionClosed, EZEZError
from ..messages.protocol import Ids, check_event_name
from .arguments import connected, make_client, shown_url
from .memory import Memory
from .outcome import UsageError, words_of
from .screen import Screen
from .values import read_words

__all__ = ["COMMANDS", "Lines", "Shell"]

_PATIENCE = 1.0  # seconds; what is sent is shown at once, but a server may name what was never sent

COMMANDS = {
    "/reply": ("ID EVENT ARG...", "answer the message with this id"),
    "/quit": ("", "leave (or Ctrl-D)"),
    "/help": ("", ""),  # which is not in its own lines
}
"""What follows each command, an ``ID`` and an ``EVENT`` for whoever completes it, and what it does."""

_SENTENCES = {"EVENT ARG...": "send an event", **{f"{name} {words}": does for name, (words, does) in COMMANDS.items()}}
_HELP = [
    *(f"{words:<24}{does}" for words, does in _SENTENCES.items() if does),
    'An ARG is JSON where it is JSON, and a text else: hello "two words" 5 "5" {"key": [1, null]}',
    'Bytes are {"$bytes": "aGk="} in base64, a bigint is {"$bigint": "12"}.',
    "Tab completes events that were seen, the arrow keys go through what was typed before.",
]


class Lines(Protocol):
    """Where the lines come from; in ``with``, and ``stop`` ends the iteration from any thread."""

    strict: bool  # whether a line that is wrong ends the session

    def __enter__(self) -> Any: ...
    def __exit__(self, *details: Any) -> Any: ...
    def __iter__(self) -> Iterator[str]: ...
    def stop(self) -> None: ...


class Shell:
    """One session. ``_lock`` guards ``_ending``, which is set once; ``_over`` is set when the session is to end."""

    def __init__(self, options: argparse.Namespace, memory: Memory, screen: Screen, lines: Lines) -> None:
        self._options = options
        self._memory = memory
        self._screen = screen
        self._lines = lines
        self._lock = threading.Lock()
        self._nothing_unshown = threading.Event()  # cleared from sending a message to showing it
        self._nothing_unshown.set()
        self._newest_shown = 0  # the id of a message; written before _nothing_unshown is set
        self._ending: Exception | None = None
        self._over = threading.Event()
        self._was_connected = threading.Event()
        self._client = make_client(
            options,
            unknown_messages="emit",
            unknown_data="emit",
            on_auth_ok=self._connected,
            on_message=self._arrived,
            on_disconnect=self._lost,
            on_auth_rejected=lambda reason: self._end(AuthRejected(reason)),
            on_error=self._failed,
        )

    def run(self) -> None:
        """Go on until the lines end, or raise what else has ended the session."""
        with connected(self._options, self._client, self._heard, self._over.set):
            try:
                self._read_lines()
            finally:
                self._over.set()
        with self._lock:
            if self._ending is not None:
                raise self._ending

    def _heard(self, error: EZEZError) -> bool:
        if self._was_connected.is_set():
            self._end(error)
        return self._was_connected.is_set()

    def _read_lines(self) -> None:
        with self._lines:
            for line in self._lines:
                if line.strip() == "/quit":
                    return
                self._obey(line)
        if self._lines.strict:  # what was piped in has been sent at once, and its answers are still to come
            self._over.wait(self._options.linger)

    def _obey(self, line: str) -> None:
        try:
            if line.strip() == "/help":
                for text in _HELP:
                    self._screen.say(text)
            elif line.strip():
                self._send(*_read_line(line))
        except (UsageError, EZEZError) as error:
            if self._lines.strict:
                raise
            self._screen.say(words_of(error))

    def _send(self, reply_to: int | None, event: str, args: list[Any]) -> None:
        send = self._client.send if reply_to is None else self._memory.reply_to(reply_to)
        self._nothing_unshown.clear()
        try:
            sent = send(event, args)
            if not sent:
                raise ConnectionClosed()
            self._memory.note_name(event)
            self._screen.sent(sent.event_id, event, args)
            self._newest_shown = sent.event_id or 0
        finally:
            self._nothing_unshown.set()

    def _connected(self) -> None:
        self._was_connected.set()
        self._memory.forget_replies()
        self._newest_shown = 0
        self._show(self._screen.say, f"connected to {shown_url(self._options)}")

    def _arrived(self, event: str, args: list[Any], reply: Callable[..., Any], ids: Ids) -> None:
        if ids.event_id > 0:  # else the client has made it itself, of something that is no message
            self._memory.note_name(event)
            self._memory.note_reply(ids.event_id, reply)
        if ids.reply_to is not None and ids.reply_to > self._newest_shown:
            self._nothing_unshown.wait(_PATIENCE)  # a reply is shown after what it answers; a send may wait for room
        self._show(self._screen.arrived, event, args, ids)

    def _lost(self, code: int, reason: str) -> None:
        if self._over.is_set():
            return
        error = ConnectionClosed(code, reason)
        if not self._options.reconnect:
            self._end(error)
        elif self._was_connected.is_set():  # before that, connect() tells
            self._show(self._screen.say, f"{error}, connecting again")

    def _failed(self, error: BaseException) -> None:
        if self._was_connected.is_set() and not self._over.is_set():  # before that, connect() tells
            self._show(self._screen.say, words_of(error))

    def _show(self, show: Callable[..., None], *args: Any) -> None:
        try:
            show(*args)
        except OSError as error:
            self._end(error)

    def _end(self, error: Exception) -> None:
        with self._lock:
            if self._ending is None:
                self._ending = error
        self._over.set()
        self._lines.stop()


def _read_line(line: str) -> tuple[int | None, str, list[Any]]:
    """Return an event to send: the id of the message that it answers, its name, its arguments."""
    values = read_words(line)
    if not line.lstrip().startswith("/"):
        return None, _event(values[0]), values[1:]
    if values[0] != "/reply":
        commands = ", ".join(sorted(COMMANDS))
        raise UsageError(f'no command {values[0]}; there are {commands}; an event of this name is "{values[0]}"')
    if len(values) < 3 or type(values[1]) is not int:
        raise UsageError(f"write /reply {COMMANDS['/reply'][0]}")
    return values[1], _event(values[2]), values[3:]


def _event(name: Any) -> str:
    try:
        return check_event_name(name)
    except TypeError:
        raise UsageError(f'an event\'s name is a text; write "{name}" in quotes') from None
    except ValueError as error:
        raise UsageError(str(error)) from None
