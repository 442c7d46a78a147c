"""Calls, from the side that asks: ``call`` waits for the answer, ``submit`` gives a future of it."""

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from ..connection.connection import Connection
from ..connection.listeners import Listeners
from ..connection.replies import EventArgs, Reply, ReplyFunction, SentMessage
from ..errors import ConnectionClosed, EZEZError, QueueFull, ReplyTimeout, TooManyReplies
from ..messages.codec import Codec
from ..messages.protocol import CloseCode, Ids, check_event_name
from ..options import check_args, check_callback
from ..threads.deadline import Deadline
from ..threads.interrupted import calls_user_code
from ..websocket.stream import Ending
from .answers import Received, Result, check_timeout, value_of
from .contract import ContractOf
from .futures import Answer, Submitted
from .proxy import make_proxy, submit_method

if TYPE_CHECKING:
    from ..connection.server_side import ServerConnection

__all__ = ["Calling", "call_each", "wait_for"]

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_ABNORMAL = Ending(CloseCode.ABNORMAL, "")


class Calling:
    """What clients, their counterparts on a server and those on other nodes have in common: calls."""

    def send(self, event: str, args: EventArgs = ()) -> SentMessage:
        """Send an event."""
        raise NotImplementedError

    def _ezez_submit(self, event: str, args: Any, read: Callable[[Any], Any] | None) -> Answer:
        """Send an event, and return the future of its answer, which ``read`` makes of the value."""
        raise NotImplementedError

    @calls_user_code
    def call(self, event: str, args: EventArgs = (), timeout: float | None = None) -> Any:
        """Send an event, wait for the answer, and return its value.

        Whatever program answers: a handler's value is returned, and of another reply its arguments: none is ``None``,
        one is itself, more are a list. Callable from any thread, in a listener too; see ``SentMessage.wait_reply``.

        Args:
            event: as for ``send``.
            args: as for ``send``.
            timeout: seconds; ``None``: as long as replies are waited for at all (``clear_awaiting_replies_after``).

        Raises:
            RemoteError: the other side answered with an error; ``InvalidArgs`` where it was the arguments.
            ReplyTimeout: there was no answer in time; for a queued message it says why it has not gone out.
            ConnectionClosed: the connection ended first, or there is none.
            Exception: what ``send`` raises: nothing was sent.
        """
        check_timeout(timeout)
        return value_of(self.send(event, args).wait_reply(timeout))

    def proxy(self, contract: ContractOf[T], *, timeout: float | None = None) -> T:
        """Return an object of a contract's class whose methods ask the other side, as ``call`` does; a notice is sent.

        Arguments are bound, checked and written by the contract before anything is sent, and the answer is read by it.

        Args:
            timeout: seconds for each answer; ``None`` as in ``call``.

        Raises:
            TypeError: the class is no contract. A method raises it for a call that does not fit.
            RemoteError: raised by a method: ``InvalidArgs`` for a value that does not fit, wherever that is found;
                code ``invalid-answer`` for an answer that does not; and as ``call``.
        """
        return make_proxy(self, contract, timeout)

    @overload
    def submit(self, event: str, args: EventArgs = ()) -> "Future[Any]": ...
    @overload
    def submit(self, event: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> "Future[R]": ...
    def submit(self, event: Any, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Send an event, and return a ``concurrent.futures.Future`` of what ``call`` would return or raise.

        In place of the event there may be a method of a proxy of this object, with the arguments of its call.
        It starts no thread. ``result()``, ``wait`` and ``as_completed`` work on any thread, in a listener too.
        ``cancel()`` forgets the call. Done callbacks run on the thread that reads the reply, or the connection's, and
        must not block. An open future counts as a message with an ``on_reply``.

        Raises:
            TypeError, ValueError, SerializationError: a wrong event name or ``args``.
            TooManyReplies, QueueFull: a limit is reached; nothing was sent. All else is in the future, as that the
                connection is gone.
        """
        if callable(event):
            future: Future[Any] = submit_method(self, event, args, kwargs)
            return future
        return self.__submit(event, *args, **kwargs)

    def __submit(self, event: str, args: Any = ()) -> Answer:
        return self._ezez_submit(event, args, None)


def submit(
    home: Connection | None,
    codec: Codec,
    event: str,
    args: Any,
    read: Callable[[Any], Any] | None,
    hand_over: Callable[[Submitted, str, bytes], Ending | None],
) -> Answer:
    """Make a message with a future, and give it to ``hand_over``, which returns the ending of a connection that has."""
    event, body = check_event_name(event), codec.encode(check_args(args))
    sent = Submitted(home, event, read)
    try:
        ending = hand_over(sent, event, body)
        if ending is not None:
            sent.fail(ending)
    except (TooManyReplies, QueueFull):
        raise
    except EZEZError as error:
        sent.fail(error)
    return sent.future


def submit_on(connection: Connection, sent: Submitted, event: str, body: bytes, waits: bool = True) -> Ending | None:
    """Send a message with a future on a connection; return how that has ended, where it has."""
    return None if connection.submit(sent, event, body, waits) else connection.stream.ending or _ABNORMAL


@calls_user_code
def call_each(
    connections: "Iterable[ServerConnection]",
    codec: Codec,
    event: str,
    args: Any,
    where: Callable[[Any], Any] | None,
    timeout: float | None,
) -> dict[Any, Result]:
    """Ask many clients at once; see ``EZEZWebsocketServer.call_all``."""
    deadline = Deadline(check_timeout(timeout))
    check_callback("where", where, "client")
    event, body = check_event_name(event), codec.encode(check_args(args))
    asked = [one for one in connections if one.authenticated and (where is None or where(one.client))]
    answers: dict[ServerConnection, Answer] = {}
    results: dict[Any, Result] = {}
    try:
        for one in asked:
            sent = Submitted(one, event)
            answers[one] = sent.future
            _submit_at_once(one, sent, event, body)
        # first the connection that this thread alone can read
        for one in sorted(asked, key=lambda one: not one.inbox.is_owner()):
            results[one.client] = _gather(answers[one], event, deadline, timeout)
    except BaseException:  # such as Ctrl-C: nobody else has these futures
        for answer in answers.values():
            answer.cancel()
        raise
    return results


def _submit_at_once(connection: "ServerConnection", sent: Submitted, event: str, body: bytes) -> None:
    """Ask one client without waiting for room; what is wrong with that is in the future."""
    try:
        ending = submit_on(connection, sent, event, body, waits=False)
        if ending is not None:
            sent.fail(ending)
    except EZEZError as error:  # too many replies, or no room: this client's alone
        sent.fail(error)


def _gather(answer: Answer, event: str, deadline: Deadline, timeout: float | None) -> Result:
    try:
        return Result(answer.result(deadline.remaining()), None)
    except FutureTimeout as error:
        if isinstance(error, EZEZError):
            return Result(None, error)  # no room, or the time that replies are waited for at all
        if answer.cancel():
            return Result(None, ReplyTimeout(f"no reply to {event!r} within {timeout or 0:g} seconds"))
        return _gather(answer, event, deadline, timeout)  # it has come meanwhile
    except Exception as error:
        answer.cancel()  # where it could not be waited for, in a signal's handler
        return Result(None, error)


@calls_user_code
def wait_for(
    connection: Connection,
    listeners: Listeners,
    event: str,
    deadline: Deadline,
    timeout: float | None,
    where: Callable[[Received], Any] | None,
) -> Received:
    """Wait for the next event of a name on a connection; see ``EZEZServerClient.wait_for``."""
    token = SentMessage(connection, None, None, None, event)
    wrong: list[BaseException] = []

    @calls_user_code
    def look(args: list[Any], reply: ReplyFunction, ids: Ids) -> None:
        if token._outcome is None:
            received = Received(event, args, reply, ids)
            try:
                fits = where is None or where(received)
            except BaseException as error:  # the waiting thread's
                wrong.append(error)
                fits = True
            if fits:
                with connection.inbox.lock:
                    token._settle(Reply(*received))

    listeners.add(event, look, once=False)
    try:
        outcome = connection.wait_reply(token, deadline)
    finally:
        listeners.remove(event, look)
    if wrong:
        raise wrong[0]
    if isinstance(outcome, Reply):
        return Received(*outcome)
    if connection.inbox.ending is not None:
        raise ConnectionClosed(*connection.inbox.ending)
    raise ReplyTimeout(f"no event {event!r} within {timeout or 0:g} seconds")
