"""Ending in order at a signal: what ``serve_forever`` and ``run_forever`` install while they block."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any

__all__ = ["handling"]


@contextlib.contextmanager
def handling(signals: Iterable[int], ask: Callable[[], object]) -> Iterator[list[int]]:
    """Have ``ask`` called when one of ``signals`` comes; yields a list of those that have come. The main thread's.

    What handled them before does so again afterwards. ``ValueError``: this is another thread, where Python handles no
    signals, or there is no such signal; ``TypeError``: it is no number.
    """
    wanted = list(signals)
    if wanted and threading.current_thread() is not threading.main_thread():
        raise ValueError("signals: only the main thread can handle them; leave them out, and call request_close()")
    came: list[int] = []

    def handle(number: int, _: FrameType | None) -> None:
        came.append(number)
        ask()

    before: list[tuple[int, Any]] = []
    try:
        for number in wanted:
            handler = signal.getsignal(number)
            before.append((number, signal.SIG_DFL if handler is None else handler))  # None: not one of Python's
            signal.signal(number, handle)
        yield came
    finally:
        for number, handler in before:
            signal.signal(number, handler)
