"""The line editor of ``connect``: history, completion, output above the line that is typed. Needs the extra ``cli``."""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.patch_stdout import patch_stdout

from .memory import Memory
from .shell import COMMANDS
from .values import write_arguments

__all__ = ["EventCompleter", "TerminalLines"]


class TerminalLines:
    """Asks for one line after the other. In ``with``, whatever is printed comes above the line that is typed."""

    strict = False  # a line that means nothing is said so, and can be typed again

    def __init__(self, memory: Memory, colour: bool) -> None:
        self._stopped = threading.Event()
        self._patch = patch_stdout(raw=True)
        self._session: PromptSession[str] = PromptSession(
            "> ",
            history=_open_history(),
            completer=EventCompleter(memory),
            complete_while_typing=False,
            color_depth=None if colour else ColorDepth.DEPTH_1_BIT,
        )

    def __enter__(self) -> "TerminalLines":
        self._patch.__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        self._patch.__exit__(*details)

    def __iter__(self) -> Iterator[str]:
        """End with Ctrl-D or ``stop``; Ctrl-C comes out as ``KeyboardInterrupt``."""
        with contextlib.suppress(EOFError):
            while not self._stopped.is_set():
                yield self._session.prompt(pre_run=self._end_if_stopped)

    def stop(self) -> None:
        """End the iteration, from any thread."""
        # a prompt that starts at this moment sees _stopped when it runs; one that runs has a loop to be called on
        self._stopped.set()
        loop = self._session.app.loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it has just ended by itself
                loop.call_soon_threadsafe(self._end_if_stopped)

    def _end_if_stopped(self) -> None:
        app = self._session.app
        if self._stopped.is_set() and app.is_running and app.future is not None and not app.future.done():
            app.exit(exception=EOFError)


class EventCompleter(Completer):
    """Completes names of events that were seen, commands, and the ids of messages to reply to."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        before, _, word = document.text_before_cursor.lstrip().rpartition(" ")
        for candidate in self._candidates(before.split()):
            if candidate.startswith(word) and candidate != word:
                yield Completion(candidate, start_position=-len(word))

    def _candidates(self, before: "list[str]") -> "list[str]":
        names = [write_arguments(name, []) for name in self._memory.names()]
        if not before:
            return [*names, *sorted(COMMANDS)]
        words = COMMANDS.get(before[0], ("", ""))[0].split()
        wanted = words[len(before) - 1] if len(before) <= len(words) else ""
        ids = [str(event_id) for event_id in self._memory.ids()]
        return {"ID": ids, "EVENT": names}.get(wanted, [])


def _open_history() -> History:
    """Return the history of earlier sessions, readable by the user alone, or one for this session only."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    try:
        path = Path(state).expanduser() / "ezez-ws" / "history"
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except (OSError, RuntimeError):  # the latter: nobody knows where the home is
        return InMemoryHistory()
    return FileHistory(str(path))
