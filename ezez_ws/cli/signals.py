"""Ctrl-C, SIGTERM and SIGHUP end a command in order: first the other side is told, then the main thread is interrupted.

An exception that comes out of the middle of a send tears its connection. So a handler only wakes a thread, which
closes; what the main thread waits for is over then, and wherever it is, an exception does no harm.
"""

import contextlib
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from types import FrameType

__all__ = ["EndingSignals", "closing_first"]

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
_AGAIN = 1.0  # seconds after which the main thread, where it goes on nevertheless, is interrupted once more

_current: "EndingSignals | None" = None  # set and read by the main thread


def closing_first(close: Callable[[], object]) -> AbstractContextManager[None]:
    """For the time of a ``with``: whoever is ended by a signal has ``close`` called first, on a thread of its own."""
    on_main_thread = threading.current_thread() is threading.main_thread()
    return _current.closing_first(close) if on_main_thread and _current else contextlib.nullcontext()


class Signalled(KeyboardInterrupt):
    """A signal has come; all that Ctrl-C ends, an event loop among it, ends by this."""


class EndingSignals:
    """In ``with``, on the main thread: a signal that this process does not ignore ends what runs, by ``Signalled``.

    ``with`` suppresses that, and whatever else came of it. Another signal while this goes on is ignored (a terminal
    that is closed sends SIGHUP twice), but Ctrl-C, which is in a hurry.
    """

    def __init__(self) -> None:
        self.exit_code = 0  # of the first signal that has come: 128 and its number, as a shell says it
        self._former: dict[int, object] = {}
        self._came: queue.SimpleQueue[int] = queue.SimpleQueue()  # which may be interrupted anywhere
        self._closing_first = False
        self._closed = False

    def __enter__(self) -> "EndingSignals":
        global _current
        if threading.current_thread() is threading.main_thread():
            _current = self
            for number in (getattr(signal, name) for name in _NAMES if hasattr(signal, name)):
                if signal.getsignal(number) not in (signal.SIG_IGN, None):  # as nohup has it; a handler in C
                    self._former[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        global _current
        for number, handler in self._former.items():
            is_last = self.exit_code and number != signal.SIGINT  # the process is about to exit by itself
            signal.signal(number, signal.SIG_IGN if is_last else handler)  # type: ignore[arg-type]
        _current = None
        return kind is not None and bool(self.exit_code)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        is_first = not self.exit_code
        if is_first:
            self.exit_code = 128 + number
        if is_first and self._closing_first:
            self._came.put(number)
        elif is_first or self._closed or number == signal.SIGINT:
            self._closed = False
            raise Signalled

    @contextlib.contextmanager
    def closing_first(self, close: Callable[[], object]) -> Iterator[None]:
        over = threading.Event()
        thread = threading.Thread(target=self._close, args=(close, over), name="ezez-signals", daemon=True)
        thread.start()
        self._closing_first = True
        try:
            yield
        finally:
            self._closing_first = False
            over.set()
            self._came.put(0)
            thread.join()

    def _close(self, close: Callable[[], object], over: threading.Event) -> None:
        number = self._came.get()
        if not number:
            return
        try:
            close()
        finally:
            while not over.is_set():
                self._closed = True
                if hasattr(signal, "pthread_kill"):  # which interrupts what the main thread waits for
                    signal.pthread_kill(threading.main_thread().ident or 0, number)
                else:
                    signal.raise_signal(number)
                over.wait(_AGAIN)
