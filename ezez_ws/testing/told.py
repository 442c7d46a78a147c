"""The errors of listeners, handlers and callbacks that are logged while a test runs, and whether anybody reads them."""

import logging
import threading
import traceback
from typing import Any, TypeVar

from ..logs import limited, logger

__all__ = ["ErrorLog", "ExpectedError"]

T = TypeVar("T", bound="ExpectedError")


class ExpectedError:
    """An error that a test means to happen; made by ``expect_error``. ``with`` waits for it at the end of its block."""

    def __init__(self, log: "ErrorLog", kind: type[BaseException], text: str) -> None:
        self._log = log
        self._kind = kind
        self._text = text
        self.error: BaseException | None = None

    def fits(self, error: BaseException) -> bool:
        """Tell whether an error is one that is meant."""
        return isinstance(error, self._kind) and self._text in str(error)

    def wait(self, timeout: float = 5.0) -> BaseException:
        """Return the error, when it has come. ``AssertionError``: it has not, within ``timeout`` seconds."""
        with self._log.changed:
            if not self._log.changed.wait_for(lambda: self.error is not None, timeout):
                raise AssertionError(f"{self!r} has not come within {timeout:g} s{self._log.describe_unread()}")
        assert self.error is not None
        return self.error

    def __enter__(self: T) -> T:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.wait()

    def __repr__(self) -> str:
        return f"the expected {self._kind.__name__}" + (f" with the text {self._text!r}" if self._text else "")


class ErrorLog(logging.Handler):
    """Keeps what is logged as an error of user code, by ``ezez_ws`` and below, from ``begin`` to ``end``.

    ``changed`` guards both lists. What ``assertLogs`` gets does not come here, as it has replaced this handler; where
    it listens further up, at the root, it is asked for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.changed = threading.Condition(threading.RLock())
        self._unread: list[tuple[BaseException, str]] = []
        self._expected: list[ExpectedError] = []

    def begin(self) -> None:
        """Listen from now on; what others have had counted as too many is forgotten."""
        limited.flush()
        logger.addHandler(self)

    def end(self) -> None:
        """Listen no more."""
        logger.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep an error; leave anything else to those who would have got it without this handler."""
        if record.levelno < logging.ERROR or record.exc_info is None or record.exc_info[1] is None:
            self._leave_to_last_resort(record)
            return
        if _is_asserted(logger):
            return
        error = record.exc_info[1]
        text = record.getMessage() + "\n" + "".join(traceback.format_exception(error)).rstrip()
        with self.changed:
            meant = next((one for one in self._expected if one.error is None and one.fits(error)), None)
            if meant is None:
                self._unread.append((error, text))
            else:
                meant.error = error
            self.changed.notify_all()

    def expect(self, kind: type[BaseException], text: str) -> ExpectedError:
        """Take an error that is there, or the next that comes."""
        expected = ExpectedError(self, kind, text)
        with self.changed:
            self._expected.append(expected)
            for one in self._unread:
                if expected.fits(one[0]):
                    expected.error = one[0]
                    self._unread.remove(one)
                    break
        return expected

    def left(self) -> list[str]:
        """Describe what nobody has read, and what has not come, and forget all."""
        with self.changed:
            lines = [f"an error that nobody has read: {text}" for _, text in self._unread]
            lines += [f"{one!r}, which has not come" for one in self._expected if one.error is None]
            self._unread, self._expected = [], []
        return lines

    def describe_unread(self) -> str:
        """Say what has come instead; the whole of it is told when the test ends. Requires holding the lock."""
        return "".join(f"\ncame instead: {type(error).__name__}: {error}" for error, _ in self._unread)

    def _leave_to_last_resort(self, record: logging.LogRecord) -> None:
        """Have a warning printed where it would have been, had there been no handler but this."""
        others = [one for one in _handlers(logger) if not isinstance(one, ErrorLog)]
        if not others and logging.lastResort is not None and record.levelno >= logging.lastResort.level:
            logging.lastResort.handle(record)


def _handlers(one: logging.Logger | None) -> list[Any]:
    """Return the handlers that a record meets."""
    found: list[Any] = []
    while one is not None:
        found += one.handlers
        one = one.parent if one.propagate else None
    return found


def _is_asserted(one: logging.Logger) -> bool:
    """Tell whether an ``assertLogs`` gets what is logged."""
    return any(type(handler).__module__.partition(".")[0] == "unittest" for handler in _handlers(one))
