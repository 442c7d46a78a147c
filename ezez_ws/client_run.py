"""What a client owns from one start to its end: the thread that connects, serves the connection, and connects again.

The way of a run, on its thread: ``Asking`` → ``Dialer`` → ``ClientConnection.run`` → a pause → ``Asking`` … until it is
stopped, or gives up: after auth-rejected, after ``reconnect_attempts`` failures in a row, and without
``auto_reconnect`` after a failure or a loss. It is ``over`` as soon as that is clear, so that a new run can begin while
its last callbacks are still running.

Its connection is first connected, then ``authenticated`` while ``on_auth_ok`` runs, whose thread alone may send, and
``ready`` for all when that has returned and the queue is empty.
"""

import enum
import itertools
import logging
import math
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from .connection.client_side import ClientConnection, ClientConnectionEvents
from .connection.connection import ConnectionOptions
from .connection.dispatch import Callbacks, report_error
from .connection.listeners import Listeners
from .connection.outgoing import OutgoingQueue, QueuedMessage, tell_futures
from .connection.recovery import Memory
from .errors import AuthRejected, ConnectionClosed, ConnectionFailed, ConnectTimeout, SendTimeout
from .logs import shown
from .messages.protocol import CloseCode
from .opening.asking import Asking, CannotAsk
from .opening.attempts import Attempts
from .opening.dialer import DialCancelled, Dialer, DialRefused
from .threads import clock
from .threads.deadline import Deadline
from .threads.interrupted import calls_user_code, make_lock
from .threads.starting import join_thread
from .threads.timers import janitor
from .threads.waiting import Condition
from .websocket.stream import Ending, Stream
from .wire.linux import restore_scheduling

if TYPE_CHECKING:
    import ssl

__all__ = ["ClientOptions", "ClientRun"]

logger = logging.getLogger("ezez_ws")

_numbers = itertools.count(1)
_numbers_lock = make_lock()

_NO_CLOSE = Ending(CloseCode.ABNORMAL, "")


class ClientOptions(NamedTuple):
    """What a client was constructed with, checked."""

    asking: Asking
    subprotocols: Sequence[str]
    ssl: "ssl.SSLContext | None"
    compress: bool
    auto_reconnect: bool
    reconnect_delay: float
    reconnect_delay_max: float
    reconnect_attempts: int | None
    queues: bool
    """Whether messages wait while there is no connection."""
    connect_timeout: float
    unknown_messages: str
    unknown_data: str
    memory: Memory | None
    """Of what is to be recovered, with ``recover``."""
    connection: ConnectionOptions
    callbacks: Callbacks
    on_gave_up: Callable[[ConnectionFailed], Any] | None
    listeners: Listeners


class Stage(enum.Enum):
    """How far the current attempt of a run has come."""

    RESTING = enum.auto()  # there is none: a pause, or the callbacks of the last one
    TRYING = enum.auto()
    ACCEPTED = enum.auto()  # authenticated, and not known to be lost
    REJECTED = enum.auto()


class Failure(NamedTuple):
    """A failed attempt that is to be told."""

    error: ConnectionFailed
    number: int
    """Which one in a row."""
    last: bool
    muted: bool
    """Whether a ``connect`` raises it, so that the log need not warn."""


class ClientRun:
    """One run of a client.

    ``condition.lock``, which is the client's, guards every field from ``url`` on, and the queue; under it nothing is
    locked and no user code runs. ``run`` and the methods that a connection calls belong to the thread; every other
    method may be called from any thread, and says whether it requires holding the lock.
    """

    def __init__(self, options: ClientOptions, condition: Condition, queue: OutgoingQueue) -> None:
        self._options = options
        self._condition = condition
        self._queue = queue
        with _numbers_lock:
            number = next(_numbers)
        self.thread = threading.Thread(target=self.run, name=f"ezez-client-{number}", daemon=True)
        self.url = options.asking.url  # that of the last attempt, without its query
        self.ready: ClientConnection | None = None  # it takes what anybody sends
        self.authenticated: ClientConnection | None = None  # the same, or ``on_auth_ok`` runs before it is ready
        self.connection: ClientConnection | None = None
        self.subprotocol: str | None = None  # of that connection
        self.over = False  # it will not connect any more
        self.ended = False  # the thread has nothing more to do
        self.ending: Ending | None = None  # how it has ended by itself
        self.failure: ConnectionFailed | None = None  # the last one, since the last authentication
        self.failure_is_final = False
        self.rejection: str | None = None
        self.watchers = 0  # calls of ``connect`` that wait
        self._attempts = Attempts(options.reconnect_delay, options.reconnect_delay_max, options.reconnect_attempts)
        self._stage = Stage.TRYING
        self._was_rejected = False  # since the last authentication
        self._hurried = False  # the next pause is skipped
        self._not_before = -math.inf  # when the next attempt may be made, as the server wants it
        self._untold: Failure | None = None
        self._dialer: Dialer | None = None

    # -- for the client ---------------------------------------------------------------------------------------------

    def taker(self) -> ClientConnection | None:
        """Return the connection that takes what the calling thread sends now. Requires holding the lock."""
        before_the_queue = not self._options.queues or self.thread is threading.current_thread()
        return self.authenticated if before_the_queue else self.ready

    def outcome_for_connect(self, stale: Exception | None, deadline: Deadline) -> "bool | None":
        """Tell ``connect`` that it has succeeded, or raise why not, or ``None``. Requires holding the lock.

        ``stale`` is the failure of an attempt before ``connect`` was called.
        """
        if self.ready is not None or (self.authenticated is not None and deadline.passed()):
            return True
        if self.rejection is not None:
            raise AuthRejected(self.rejection)
        if self.failure is not None and (self.over or (self.failure_is_final and self.failure is not stale)):
            raise self.failure
        if self.over:
            raise ConnectionFailed(f"no connection to {self.url}: another connect() gave up")
        if deadline.passed() or (deadline.at is not None and deadline.at < self._not_before):
            why = "" if self.failure is None else f": {self.failure}"
            raise ConnectTimeout(f"no connection to {self.url} in time{why}") from self.failure
        return None

    def hurry(self) -> None:
        """Skip the pause before the next attempt, unless one is under way. Requires holding the lock."""
        if self._stage is Stage.RESTING:
            self._hurried, self._not_before = True, -math.inf
            self._condition.changed()

    def notice_loss(self) -> None:
        """See whether the connection has ended and the run is over, though its thread does not know yet."""
        with self._condition.lock:
            connection = self.connection
        if connection is not None and not connection.alive:
            self._lost(connection)

    def stop(self, ending: Ending, deadline: Deadline, grace: float) -> bool:
        """End the run: leave the connection, and wait for the thread; false where that is still inside user code.

        On the thread itself it does not wait. Waiting threads get ``ending``.
        """
        with self._condition.lock:
            self.over, self.ready, self.authenticated = True, None, None
            rejected = self.rejection is not None
            connection, dialer = self.connection, self._dialer
            self._condition.changed()
        if dialer is not None:
            dialer.cancel()
        own = self.thread is threading.current_thread()
        if rejected and not own:
            join_thread(
                self.thread, min(grace, deadline.remaining() or grace)
            )  # the server that rejects is the one to close
        if connection is not None:
            connection.disconnect(*ending)
        if own or self.thread.ident is None:
            return True
        join_thread(self.thread, deadline.remaining())
        if self.thread.is_alive() and connection is not None:
            connection.cut()
        join_thread(self.thread, grace)
        if self.thread.is_alive() and connection is not None:
            connection.dispose()
        return not self.thread.is_alive()

    def close(self, ending: Ending, deadline: Deadline, grace: float) -> None:
        """End the run, and tell where its thread does not."""
        if not self.stop(ending, deadline, grace):
            logger.warning("closed, but the thread %s is still inside user code", self.thread.name)

    def say_goodbye(self) -> None:
        """Send a close frame, and do not wait for anything."""
        with self._condition.lock:
            connection = self.connection
        if connection is not None:
            connection.disconnect(CloseCode.NORMAL, "")

    def close_within(self, seconds: float) -> None:
        """Close, within ``seconds`` all in all, as the interpreter exits."""
        ending = Ending(CloseCode.NORMAL, "")
        with self._condition.lock:
            given_up = [] if self.over else self._end_by_itself(ending)
        tell_futures(given_up)
        self.close(ending, Deadline(seconds * 0.75), seconds * 0.25)

    # -- the thread -------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Connect, and again, until it is over."""
        janitor.enter(self)
        try:
            while self._attempt() and self._pause():
                pass
        finally:
            with self._condition.lock:
                given_up = [] if self.over else self._end_by_itself(_NO_CLOSE)
                self.ready = self.authenticated = None
                self._condition.changed()
            tell_futures(given_up)
            janitor.leave(self)
            with self._condition.lock:
                self.ended = True
                self._condition.changed()

    def _attempt(self) -> bool:
        """Connect once and serve the connection; return whether to try again."""
        options = self._options
        with self._condition.lock:
            if self.over:
                return False
            self._stage, self._hurried, self._not_before = Stage.TRYING, False, -math.inf
        try:
            asked = options.asking.ask()
        except CannotAsk as error:
            return self._failed(error)
        dialer = Dialer(options, asked)
        with self._condition.lock:
            if self.over:
                return False
            self.url, self._dialer = asked.url, dialer
        try:
            dialed = dialer.dial(Deadline(options.connect_timeout))
        except DialCancelled:
            return False
        except Exception as error:  # whatever it is (no thread for the look-up, say), it is an attempt that failed
            return self._failed(error)
        finally:
            with self._condition.lock:
                self._dialer = None
        stream = Stream(
            dialed.wire,
            client_side=True,
            max_payload=options.connection.max_payload,
            send_buffer_limit=options.connection.send_buffer_limit,
            early=dialed.early,
            deflate=dialed.deflate,
        )
        events = ClientConnectionEvents(self._accepted, self._ready, self._rejected, self._lost)
        return self._serve(ClientConnection(stream, options, events, asked.url), asked.auth, dialed.subprotocol)

    def _serve(self, connection: ClientConnection, auth: str | None, subprotocol: str | None) -> bool:
        with self._condition.lock:
            over = self.over
            if not over:
                self.connection, self.subprotocol = connection, subprotocol
        if over:
            connection.dispose()
            return False
        logger.info("connected to %s", self.url)
        connection.figures.connected(connection.tally)
        started = clock.monotonic()
        try:
            connection.begin(auth)
            connection.run()
        finally:
            connection.dispose()
            connection.figures.ended(connection.tally)
            restore_scheduling()
            self._lost(connection)
            with self._condition.lock:
                self.connection = self.subprotocol = None
        ending = connection.stream.ending or _NO_CLOSE
        seconds = clock.monotonic() - started
        logger.info("the connection to %s ended after %.1f s: %s", self.url, seconds, ConnectionClosed(*ending))
        self._tell_failure()
        return self._goes_on()

    def _pause(self) -> bool:
        """Wait before the next attempt; return whether there is one."""
        with self._condition.lock:
            not_before = self._not_before
        seconds = min(max(self._attempts.pause(), not_before - clock.monotonic()), threading.TIMEOUT_MAX)
        self._condition.wait_for(lambda: self.over or self._hurried or None, Deadline(seconds))
        return self._goes_on()

    def _goes_on(self) -> bool:
        with self._condition.lock:
            return not self.over

    def _failed(self, error: Exception) -> bool:
        """Note that an attempt failed; return whether to try again."""
        refusal = error if isinstance(error, DialRefused) else DialRefused("")
        text = f"cannot connect to {self.url}: {error}"
        failure = ConnectionFailed(text, refusal.status, refusal.headers, refusal.body)
        failure.__cause__ = error.__cause__ if isinstance(error, CannotAsk) else error
        with self._condition.lock:
            self._not_before = clock.monotonic() + refusal.retry_after if refusal.retry_after else -math.inf
            given_up = self._note_failure(failure, refusal is error and refusal.final)
        tell_futures(given_up)
        if self._options.callbacks.on_error is not None:
            report_error(self._options.callbacks.on_error, (), failure)
        self._tell_failure()
        return self._goes_on()

    def _note_failure(
        self, failure: ConnectionFailed, final: bool = False, ending: Ending = _NO_CLOSE
    ) -> list[QueuedMessage]:
        """Count a failed attempt, and give up where it was the last. Requires holding the lock."""
        self._stage = Stage.RESTING
        self.failure, self.failure_is_final = failure, final
        last = self._attempts.note_failure() or not self._options.auto_reconnect
        self._condition.changed()
        if self.over:
            return []
        self._untold = Failure(failure, self._attempts.failed, last, self.watchers > 0)
        return self._end_by_itself(ending) if last else []

    def _tell_failure(self) -> None:
        """Tell of the failure that has just been noted, if there is one."""
        with self._condition.lock:
            told, self._untold = self._untold, None
            warn = told is not None and (self._attempts.wants_warning(told.muted) or (told.last and not told.muted))
        if told is None:
            return
        level = logging.WARNING if warn else logging.INFO
        limit = self._options.reconnect_attempts
        which = f"attempt {told.number}{'' if limit is None else f' of {limit}'}"
        what = f"{which if self._options.auto_reconnect else 'auto_reconnect is off'}; giving up"
        logger.log(level, "%s (%s)", told.error, what if told.last else f"{which}; trying again")
        if told.last and self._options.on_gave_up is not None:
            self._call_on_gave_up(self._options.on_gave_up, told.error)

    @calls_user_code
    def _call_on_gave_up(self, on_gave_up: Callable[[ConnectionFailed], Any], failure: ConnectionFailed) -> None:
        try:
            on_gave_up(failure)
        except BaseException as error:  # SystemExit too, as in any callback
            on_error = self._options.callbacks.on_error
            if on_error is None:
                logger.error("an error in on_gave_up", exc_info=error)
            else:
                report_error(on_error, (), error)

    # -- what a connection tells ------------------------------------------------------------------------------------

    def _accepted(self, connection: ClientConnection, greeted: bool) -> bool:
        """Note that we are authenticated; ``greeted``: a callback runs before the queue is sent."""
        with self._condition.lock:
            if self.over or self._stage is not Stage.TRYING:
                return False
            self._stage, self._was_rejected, self.failure = Stage.ACCEPTED, False, None
            self._attempts.succeeded()
            if greeted:
                self.authenticated = connection
        logger.info("authenticated at %s", self.url)
        return True

    def _ready(self, connection: ClientConnection) -> None:
        """Send the queue, and be ready, unless the connection was lost, or the client closed, over that.

        Readiness is set under the lock under which the queue is found empty, so nothing overtakes the queue.
        """
        while True:
            with self._condition.lock:
                if self.over or self._stage is not Stage.ACCEPTED:
                    return
                message = self._queue.take()
                if message is None:
                    self.ready = self.authenticated = connection
                    self._condition.changed()
                    return
            if not self._send_queued(connection, message):
                return

    def _send_queued(self, connection: ClientConnection, message: QueuedMessage) -> bool:
        try:
            sent = connection.send_encoded(message.sent, message.event, message.body, message.on_reply) is not None
        except SendTimeout:
            sent = False
        given_up: list[QueuedMessage] = []
        with self._condition.lock:
            if not sent:
                self._queue.put_back(message)
                if self._queue.closed:
                    given_up = self._queue.end_all(Ending(CloseCode.NORMAL, ""))
            self._condition.changed()
        tell_futures(given_up)
        return sent

    def _rejected(self, connection: ClientConnection, reason: str) -> bool:
        """Note that we are refused; return whether that is final, as there is no fresh key to try."""
        given_up: list[QueuedMessage] = []
        with self._condition.lock:
            again = self._options.asking.has_fresh_keys and not self._was_rejected
            warn = not again and not self.over and self.watchers == 0
            self._stage, self._was_rejected, self._hurried = Stage.REJECTED, True, again
            self.ready = self.authenticated = None
            if not again:
                self.rejection = reason
                given_up = self._end_by_itself(Ending(CloseCode.POLICY_VIOLATION, reason))
            self._condition.changed()
        tell_futures(given_up)
        what = "trying once more with a fresh key" if again else "giving up"
        level = logging.WARNING if warn else logging.INFO
        logger.log(level, "the server at %s rejects us: %s (%s)", self.url, shown(reason), what)
        return not again

    def _lost(self, connection: ClientConnection) -> None:
        """Note that a connection takes nothing any more. Any thread's; idempotent."""
        ending = connection.stream.ending or _NO_CLOSE
        given_up: list[QueuedMessage] = []
        with self._condition.lock:
            stage = self._stage
            if self.connection is not connection or stage is Stage.RESTING:
                return
            self._stage = Stage.RESTING
            self.ready = self.authenticated = None
            when = " before it was authenticated" if stage is Stage.TRYING else ""
            failure = ConnectionFailed(f"the connection to {self.url} was lost{when}: {ConnectionClosed(*ending)}")
            failure.__cause__ = ConnectionClosed(*ending)
            if stage is Stage.TRYING:
                given_up = self._note_failure(failure, ending=ending)
            elif stage is Stage.ACCEPTED:
                self.failure, self.failure_is_final = failure, False
                if not (self._options.auto_reconnect or self.over):
                    given_up = self._end_by_itself(ending)
            self._condition.changed()
        tell_futures(given_up)

    def _end_by_itself(self, ending: Ending) -> list[QueuedMessage]:
        """Note that nobody will connect again: the queue ends, too. Requires holding the lock."""
        self.over, self.ending = True, ending
        return self._queue.end_all(ending)
