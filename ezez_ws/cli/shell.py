"""A session of ``connect``: lines go out as events, and what arrives is shown as it arrives.

The main thread reads lines and sends; the client's thread shows what arrives. Whatever ends the session there (a lost
connection, an output that nobody reads) is kept, stops the lines, and is raised on the main thread.
"""

import argparse
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from ..client import EZEZWebSocketClient
from ..errors import AuthRejected, ConnectionClosed, EZEZError
from ..messages.protocol import Ids
from .dialing import connected, make_client, shown_url
from .memory import Memory
from .outcome import UsageError
from .screen import Screen
from .words import HELP, Saying, read_line

__all__ = ["Lines", "Shell"]


class Lines(Protocol):
    """Where the lines come from; in ``with``, and ``stop`` ends the iteration from any thread."""

    strict: bool
    """Whether a line that is wrong ends the session."""

    def __enter__(self) -> Any: ...

    def __exit__(self, *details: Any) -> Any: ...

    def __iter__(self) -> Iterator[str]: ...

    def stop(self) -> None: ...


class Shell:
    """One session. The lock guards ``_ending``, which is set once; ``_over`` is set when the session is to end."""

    def __init__(self, options: argparse.Namespace, memory: Memory, screen: Screen, lines: Lines) -> None:
        self._options = options
        self._memory = memory
        self._screen = screen
        self._lines = lines
        self._lock = threading.Lock()
        self._ending: Exception | None = None
        self._over = threading.Event()
        self._was_connected = threading.Event()
        self._client = self._make_client()

    def _make_client(self) -> EZEZWebSocketClient:
        return make_client(
            self._options,
            auto_reconnect=self._options.reconnect,
            unknown_messages="emit",
            unknown_data="emit",
            on_auth_ok=self._connected,
            on_message=self._arrived,
            on_disconnect=self._lost,
            on_auth_rejected=lambda reason: self._end(AuthRejected(reason)),
            on_error=self._failed,
        )

    # -- on the main thread -----------------------------------------------------------------------------------------

    def run(self) -> None:
        """Go on until the lines end, or the connection.

        Raises:
            EZEZError, OSError: how it ended, where it was not by the end of the lines.
            UsageError: a line was wrong, and nobody is there to type it again.
            KeyboardInterrupt: Ctrl-C.
        """
        with connected(self._options, self._client, self._heard):
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
                for text in HELP.splitlines():
                    self._screen.say(text)
                return
            saying = read_line(line)
            if saying is not None:
                self._send(saying)
        except (UsageError, EZEZError) as error:
            if self._lines.strict:
                raise
            self._screen.say(str(error))

    def _send(self, saying: Saying) -> None:
        send = self._client.send if saying.answers is None else self._memory.reply_to(saying.answers)
        sent = send(saying.event, saying.args)
        if not sent:
            raise ConnectionClosed()
        self._memory.note_name(saying.event)
        self._screen.sent(sent.event_id, saying.event, saying.args)

    # -- on the client's thread -------------------------------------------------------------------------------------

    def _connected(self) -> None:
        self._was_connected.set()
        self._memory.forget_replies()
        self._show(self._screen.say, f"connected to {shown_url(self._options)}")

    def _arrived(self, event: str, args: list[Any], reply: Callable[..., Any], ids: Ids) -> None:
        if ids.event_id > 0:  # else the client has made it itself, of something that is no message
            self._memory.note_name(event)
            self._memory.note_reply(ids.event_id, reply)
        self._show(self._screen.arrived, event, args, ids)

    def _lost(self, code: int, reason: str) -> None:
        if self._over.is_set():
            return
        error = ConnectionClosed(code, reason)
        if self._options.reconnect:
            self._show(self._screen.say, f"{error}, connecting again")
        else:
            self._end(error)

    def _failed(self, error: BaseException) -> None:
        if self._was_connected.is_set() and not self._over.is_set():  # before that, connect() tells
            self._show(self._screen.say, str(error))

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
