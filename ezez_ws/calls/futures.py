"""The future of an answer: ``submit`` waits for nothing.

    ``submit`` → ``Submitted``, the message, which the connection's table keeps → … → the reply, or the connection's end
    → ``Submitted._settle``, under the lock → ``_tell``, without it → ``Answer``, the future

Who reads the reply tells the future, and calls its callbacks, but for the janitor, and whoever ends a connection: they
tell it, and leave the callbacks to the connection's thread.
"""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError, TimeoutError
from typing import Any

from ..connection.replies import EXPIRED, Home, Outcome, Reply, SentMessage
from ..errors import ConnectionClosed, RemoteError
from ..logs import limited, name_of
from ..threads.deadline import Deadline
from ..threads.interrupted import calls_user_code, make_lock
from ..websocket.stream import Ending
from .answers import check_timeout, value_of

__all__ = ["Answer", "Submitted"]

_UNREAD = object()


class _Condition(threading.Condition):
    """One whose ``with`` statement calls the lock's own methods, which no exception of a signal's handler comes out of.

    In the standard library's a lock that has just been taken can be left so, and who reads would wait for it for ever.
    """

    __enter__ = property(lambda self: self._lock.__enter__)
    __exit__ = property(lambda self: self._lock.__exit__)


class Answer(Future[Any]):
    """The answer to a call, to come. It is a ``concurrent.futures.Future``, but for who calls its callbacks.

    ``_own_lock`` guards ``_callbacks``: those to be called, ``None`` when they have been. ``_sent`` and ``_value`` are
    set once, or again to the same.
    """

    def __init__(self, sent: "Submitted", read: Callable[[Any], Any] | None) -> None:
        super().__init__()
        self._condition = _Condition(make_lock())  # type: ignore[arg-type]
        self._own_lock = make_lock()
        self._callbacks: list[Callable[[Any], object]] | None = []
        self._sent = sent
        self._read = read
        self._value: Any = _UNREAD

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the answer and return it, on any thread, in a listener of the connection too.

        Raises ``TimeoutError`` of ``concurrent.futures`` after ``timeout`` seconds, and else what ``call`` raises.
        """
        self._wait(timeout)
        value = super().result(0)
        if self._read is None:
            return value
        if self._value is _UNREAD:
            self._value = self._read(value)
        return self._value

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the answer and return what ``result`` would raise, or ``None``."""
        self._wait(timeout)
        error = super().exception(0)
        if error is None and self._read is not None:
            try:
                self.result(0)
            except Exception as wrong:
                return wrong
        return error

    def cancel(self) -> bool:
        """Forget the call, though the other side may still work on it; false where the answer is there."""
        with self._own_lock:
            if self.cancelled():
                return True
            if not super().cancel():
                return False
            self.set_running_or_notify_cancel()  # which wakes who waits in the standard library
        self._sent._forget()
        self.call_back()
        return True

    def add_done_callback(self, fn: Callable[["Future[Any]"], object]) -> None:
        """Have a function called with this future when the answer is there; at once, where it is.

        It runs on the thread that reads the reply, or, where the time is over or the connection gone, on that of the
        connection; of a message that is still queued on the thread that ends the queue. It must not block. What it
        raises is logged.
        """
        with self._own_lock:
            if self._callbacks is not None:
                self._callbacks.append(fn)
                return
        self._call(fn)

    @calls_user_code
    def call_back(self) -> None:
        """Call the callbacks, each once, as the answer is there; from then on one that is added is called at once."""
        while not self.needs_no_call():
            with self._own_lock:
                function = self._callbacks.pop(0) if self._callbacks else None
            if function is not None:
                self._call(function)

    def needs_no_call(self) -> bool:
        """Tell whether no callback is left to be called; then none will be left any more, as the answer is there."""
        with self._own_lock:
            if not self._callbacks:  # no handler of a signal runs between this and the next line
                self._callbacks = None
            return self._callbacks is None

    @calls_user_code
    def _call(self, function: Callable[["Future[Any]"], object]) -> None:
        try:
            function(self)
        except BaseException as error:
            name = name_of(function)
            text = "an error in the done callback of a call (%s)"
            limited.tell(logging.ERROR, ("done", name, type(error)), text, name, exc_info=error)

    def _wait(self, timeout: float | None) -> None:
        """Wait until the future is told, reading where nobody else does."""
        deadline = Deadline(check_timeout(timeout))
        if self.done():
            return
        if self._sent._wait(deadline) is not None:
            self._sent._tell(False)  # whose thread it is calls the callbacks
        elif not self.done():
            silence = self._sent._make_timeout(timeout)
            raise TimeoutError(str(silence)) from silence.__cause__

    def tell(self, outcome: Outcome) -> None:
        """Note what has become of the message; only the first counts."""
        try:
            if isinstance(outcome, Reply):
                try:
                    value = value_of(outcome)
                except RemoteError as error:
                    self.set_exception(error)
                else:
                    self.set_result(value)
            elif isinstance(outcome, Ending):
                self.set_exception(ConnectionClosed(*outcome))
            elif isinstance(outcome, BaseException):
                self.set_exception(outcome)
            elif outcome is EXPIRED:
                self.set_exception(self._sent._make_timeout(None))
        except InvalidStateError:
            pass  # told, or cancelled


class Submitted(SentMessage):
    """The message of a call that a future stands for. The table keeps it until its outcome is known."""

    __slots__ = ("future",)

    _is_kept = True

    def __init__(self, home: Home | None, event: str, read: Callable[[Any], Any] | None = None) -> None:
        super().__init__(home, None, None, None, event)
        self._waiting = 1  # who looks for the answer; so the table enters it at once
        self.future = Answer(self, read)

    def _settle(self, outcome: Outcome, payload: bytes | None = None) -> None:
        super()._settle(outcome)
        home: Any = self._home
        if home is not None:  # settled before, too: an exception may have come between these two
            home.note_settled(self)

    def _tell(self, calls_back: bool) -> bool:
        future = self.future
        future.tell(self._outcome)
        if calls_back:
            future.call_back()
        return future.needs_no_call()

    def fail(self, error: BaseException | Ending) -> None:
        """Note that it was not sent. Who submits it calls this, before anybody has the future."""
        self.future.tell(error)  # type: ignore[arg-type]
        self.future.call_back()

    def _forget(self) -> None:
        """Have nobody wait for its reply any more."""
        home: Any = self._home
        if home is not None:
            home.forget(self)
