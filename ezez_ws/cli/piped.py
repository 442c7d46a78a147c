"""The lines of a session whose input is no terminal."""

import queue
import threading
from collections.abc import Iterator

__all__ = ["PipedLines"]

_WAITING = 100
_LOOK = 0.5  # seconds; a signal that comes just before a wait begins is seen when the wait ends


class PipedLines:
    """Reads standard input on a thread of its own, so that ``stop`` can end a wait for the next line.

    That thread is a daemon with a file object of its own: where it still waits for a line when the interpreter ends, it
    holds no lock of ``sys.stdin``, which the interpreter would then want.
    """

    strict = True  # a line that means nothing ends the session: nobody is there to type it again

    def __init__(self) -> None:
        self._lines: queue.Queue[str | None] = queue.Queue(_WAITING)
        self._stopped = threading.Event()

    def __enter__(self) -> "PipedLines":
        threading.Thread(target=self._read, name="ezez-input", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()

    def __iter__(self) -> Iterator[str]:
        while not self._stopped.is_set():
            try:
                line = self._lines.get(timeout=_LOOK)
            except queue.Empty:
                continue
            if line is None or self._stopped.is_set():
                return
            yield line

    def stop(self) -> None:
        """End the iteration, from any thread."""
        self._stopped.set()
        try:
            self._lines.put_nowait(None)
        except queue.Full:
            pass  # the iteration does not wait, and looks at _stopped next

    def _read(self) -> None:
        try:
            with open(0, encoding="utf-8", errors="replace", closefd=False) as lines:
                for line in lines:
                    self._lines.put(line)
        except OSError:  # there is no standard input
            pass
        self._lines.put(None)
