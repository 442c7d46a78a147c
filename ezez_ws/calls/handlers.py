"""The one function that answers an event: its value is the reply, and what it raises is one, too.

    ``Dispatcher.deliver`` → ``FunctionHandler`` → the user's function → ``Pending.reply``

It runs on the connection's thread, after the listeners. One that returns a ``Future`` is answered by the thread that
completes that. What the peer must not see of an error goes to ``on_error`` or the log, as a listener's.
"""

import logging
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from functools import partial
from types import EllipsisType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from ..connection.listeners import Listening
from ..connection.replies import Pending, ReplyFunction
from ..errors import CallError, ConnectionClosed, InvalidArgs, SendTimeout, SerializationError
from ..logs import limited, name_of, shown
from ..messages.protocol import EVENT_ERROR, EVENT_OK, check_listened_name
from ..threads.interrupted import calls_user_code
from .parameters import Parameters

if TYPE_CHECKING:
    from ..connection.connection import Connection

__all__ = ["FunctionHandler", "Handling", "current_reply"]

F = TypeVar("F", bound=Callable[..., Any])


class _Current(threading.local):
    """What the handler that runs on this thread answers."""

    reply: ReplyFunction | None = None


_current = _Current()


def current_reply() -> ReplyFunction:
    """Return the ``reply`` of the event whose handler runs on this thread; who uses it answers in the handler's place.

    ``RuntimeError`` where none runs. It may be kept, and called later, on any thread.
    """
    if _current.reply is None:
        raise RuntimeError("current_reply(): no handler runs on this thread")
    return _current.reply


class FunctionHandler:
    """The handler of one event, made of a function of the user's. Any number of threads may call it at once."""

    __slots__ = ("_gets_client", "_read", "_write", "function")

    def __init__(self, function: Callable[..., Any], parameters: Parameters, gets_client: bool) -> None:
        self.function = function
        self._gets_client = gets_client
        self._read = parameters.read
        self._write = parameters.write

    @calls_user_code
    def __call__(self, connection: "Connection", event: str, args: list[Any], pending: Pending) -> None:
        """Answer an event. The connection's thread's; what comes out is to be told, and has been answered."""
        try:
            if self._read is not None:
                args = self._read(args)  # type: ignore[assignment]  # a tuple will do
        except InvalidArgs as error:
            _fail(pending, error.code, error.message, error.data)
            return
        except BaseException:
            _fail(pending)
            raise
        before, _current.reply = _current.reply, pending.reply
        try:
            value = self.function(connection.subject[0], *args) if self._gets_client else self.function(*args)
        except CallError as error:
            self._refuse(pending, error)
            return
        except BaseException:
            _fail(pending)
            raise
        finally:
            _current.reply = before
        if isinstance(value, Future):
            pending.wait()
            value.add_done_callback(partial(self._complete, weakref.ref(connection), event, pending))
        else:
            self._answer(pending, value)

    def _answer(self, pending: Pending, value: Any) -> None:
        """Answer with a value; what it raises is the handler's fault."""
        if pending.answered:
            return
        try:
            _send(pending, EVENT_OK, value if self._write is None else self._write(value))
        except BaseException:
            _fail(pending)
            raise

    def _refuse(self, pending: Pending, error: CallError) -> None:
        try:
            _fail(pending, error.code, error.message, error.data)
        except SerializationError:
            _fail(pending)
            raise

    @calls_user_code
    def _complete(self, where: "weakref.ref[Connection]", event: str, pending: Pending, future: "Future[Any]") -> None:
        """Answer with what has become of a future. Whoever completes it calls this, and gets nothing of its errors."""
        error = CancelledError() if future.cancelled() else future.exception()
        try:
            if isinstance(error, CallError):
                self._refuse(pending, error)
            elif error is None:
                self._answer(pending, future.result())
            else:
                _fail(pending)
        except Exception as wrong:
            error = wrong
        if error is None or isinstance(error, CallError):
            return
        connection = where()
        if connection is not None:
            connection.have_owner(partial(connection.callback_failed, self.function, error, event, "the handler"))
        else:
            name, text = name_of(self.function), "an error in the handler of %r (%s), whose connection has ended"
            limited.tell(logging.ERROR, ("handler", name, type(error)), text, shown(event), name, exc_info=error)


def _send(pending: Pending, event: str, value: Any) -> None:
    """Answer, unless that has been done; who is gone, or takes nothing, misses it."""
    if not pending.answered:
        try:
            pending.reply(event, (value,))
        except (ConnectionClosed, SendTimeout):
            pass  # on_disconnect tells of the one, and on_error of the other


def _fail(pending: Pending, code: str = "internal", message: str = "the handler failed", data: Any = None) -> None:
    _send(pending, EVENT_ERROR, {"code": code, "message": message, "data": data})


class Handling(Listening):
    """What servers, their clients and clients have in common: handlers. Any thread may call it."""

    _ezez_gives_client = False  # to handlers, before the event's arguments

    @overload
    def handler(self, event: str, function: F, *, validate: bool | None = None) -> F: ...
    @overload
    def handler(self, event: str, *, validate: bool | None = None) -> Callable[[F], F]: ...
    def handler(
        self, event: str, function: F | EllipsisType = ..., *, validate: bool | None = None
    ) -> F | Callable[[F], F]:
        """Answer an event by what a function returns or raises. Also as a decorator: ``@server.handler(event)``.

        On a server the function is called as ``function(client, *args)``, elsewhere as ``function(*args)``: on the
        connection's thread, in the order of the events, after the listeners of the event. It may block, ask back and
        wait. A client's own handler goes before that of its server. ``off(event)`` removes it.

        What it returns is the reply; of a ``concurrent.futures.Future`` its result, when that is there. ``CallError``
        is raised as ``RemoteError`` by who has called. Any other exception is told as a listener's is, and answered
        with the code ``internal`` and no more than that. Nothing is added where somebody has replied already.

        Args:
            function: its annotations are checked and converted where pydantic is installed (``ezez-ws[typed]``); else
                the number of arguments counts only.
            validate: ``True`` insists on that, ``False`` leaves it out.

        Raises:
            ValueError: the event has a handler on this object, or it is the protocol's.
            TypeError: what cannot be called so, such as an ``async def`` or a generator function; an annotation that
                cannot be checked.
            ImportError: ``validate=True`` without pydantic.
        """
        self._ezez_fork_guard.check()
        event = check_listened_name(event)
        if isinstance(function, EllipsisType):
            return partial(self.__add, event, validate)
        return self.__add(event, validate, function)

    def __add(self, event: str, validate: bool | None, function: F) -> F:
        if not callable(function):
            raise TypeError(f"the handler of {event!r} must be callable, not {type(function).__name__}")
        gives = self._ezez_gives_client
        self._ezez_listeners.add_handler(event, FunctionHandler(function, Parameters(function, gives, validate), gives))
        return function
