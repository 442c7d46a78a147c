"""What a client owns from one start to its end: the thread that connects, serves the connection, and connects again.

The way of a run, on its thread: ``Dialer`` → ``ClientConnection.run`` → a pause → ``Dialer`` … until it is stopped, or
does not try again: after auth-rejected, and without ``auto_reconnect`` after a failure or a loss. It is ``over`` as
soon as that is clear, so that a new run can begin while its last callbacks are still running.
"""

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from .connection.client_side import ClientConnection, ClientConnectionEvents
from .connection.connection import ConnectionOptions
from .connection.dispatch import Callbacks, report_error
from .connection.listeners import Listeners
from .connection.outgoing import OutgoingQueue, QueuedMessage
from .errors import AuthRejected, ConnectionClosed, ConnectionFailed, SendTimeout
from .messages.protocol import CloseCode
from .opening.dialer import DialCancelled, Dialer, DialRefused
from .opening.url import URL
from .threads.deadline import Deadline
from .threads.timers import janitor
from .threads.waiting import Condition
from .websocket.stream import Ending, Stream

if TYPE_CHECKING:
    import ssl

__all__ = ["ClientOptions", "ClientRun"]


class ClientOptions(NamedTuple):
    """What a client was constructed with, checked."""

    url: str
    """Without its query, which may hold a secret: for texts."""
    target: URL
    auth: str | None
    subprotocols: Sequence[str]
    headers: Sequence[tuple[str, str]]
    ssl: "ssl.SSLContext | None"
    compress: bool
    auto_reconnect: bool
    reconnect_delay: float
    reconnect_delay_max: float
    connect_timeout: float
    unknown_messages: str
    unknown_data: str
    connection: ConnectionOptions
    callbacks: Callbacks
    listeners: Listeners


class Backoff:
    """How long to wait before the next attempt: exponential, with jitter so that clients do not come all at once."""

    def __init__(self, first: float, largest: float) -> None:
        self._first = first
        self._largest = largest
        self._next = first

    def reset(self) -> None:
        """Begin anew, after a success."""
        self._next = self._first

    def next(self) -> float:
        """Return the seconds to wait now."""
        delay = min(self._next, self._largest)
        self._next = min(delay * 2, self._largest)
        import random  # here, as it imports hashlib

        return delay * random.uniform(0.5, 1.0)


class ClientRun:
    """One run of a client.

    ``condition.lock``, which is the client's, guards every field from ``ready`` on, and the queue; under it nothing is
    locked and no user code runs. ``run`` and the methods that a connection calls belong to the thread; every other
    method may be called from any thread, and says whether it requires holding the lock.
    """

    def __init__(self, options: ClientOptions, condition: Condition, queue: OutgoingQueue, number: int) -> None:
        self._options = options
        self._condition = condition
        self._queue = queue
        self._backoff = Backoff(options.reconnect_delay, options.reconnect_delay_max)
        self.thread = threading.Thread(target=self.run, name=f"ezez-client-{number}", daemon=True)
        self.ready: ClientConnection | None = None  # authenticated, and the queue is empty: it takes what is sent
        self.over = False  # it will not connect any more
        self.ended = False  # the thread has nothing more to do
        self.connection: ClientConnection | None = None
        self.failure: ConnectionFailed | None = None
        self.failure_is_final = False
        self.rejection: str | None = None
        self.ending: Ending | None = None  # how it has ended by itself
        self._dialer: Dialer | None = None

    # -- for the client ---------------------------------------------------------------------------------------------

    def outcome_for_connect(self, stale: Exception | None) -> "bool | None":
        """Tell ``connect`` that it has succeeded, or raise why not, or ``None``. Requires holding the lock.

        ``stale`` is the failure of an attempt before ``connect`` was called.
        """
        if self.ready is not None:
            return True
        if self.rejection is not None:
            raise AuthRejected(self.rejection)
        if self.failure is not None and (self.over or (self.failure_is_final and self.failure is not stale)):
            raise self.failure
        if self.over:
            raise ConnectionFailed(f"no connection to {self._options.url}: another connect() gave up")
        return None

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
            self.over, self.ready = True, None
            rejected = self.rejection is not None
            connection, dialer = self.connection, self._dialer
            self._condition.changed()
        if dialer is not None:
            dialer.cancel()
        own = self.thread is threading.current_thread()
        if rejected and not own:
            self.thread.join(min(grace, deadline.remaining() or grace))  # the server that rejects is the one to close
        if connection is not None:
            connection.disconnect(*ending)
        if own or self.thread.ident is None:
            return True
        self.thread.join(deadline.remaining())
        if self.thread.is_alive() and connection is not None:
            connection.cut()
        self.thread.join(grace)
        if self.thread.is_alive() and connection is not None:
            connection.dispose()
        return not self.thread.is_alive()

    # -- the thread -------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Connect, and again, until it is over."""
        janitor.enter(self)
        try:
            while self._attempt() and self._pause():
                pass
        finally:
            with self._condition.lock:
                given_up = [] if self.over else self._end_by_itself(Ending(CloseCode.ABNORMAL, ""))
                self.over, self.ready = True, None
                self._condition.changed()
            del given_up
            janitor.leave(self)
            with self._condition.lock:
                self.ended = True
                self._condition.changed()

    def _attempt(self) -> bool:
        """Connect once and serve the connection; return whether to try again."""
        options = self._options
        dialer = Dialer(options)
        with self._condition.lock:
            if self.over:
                return False
            self._dialer = dialer
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
        events = ClientConnectionEvents(ready=self._ready, rejected=self._rejected, ended=self._lost)
        return self._serve(ClientConnection(stream, options, events))

    def _serve(self, connection: ClientConnection) -> bool:
        with self._condition.lock:
            over = self.over
            if not over:
                self.connection = connection
        if over:
            connection.dispose()
            return False
        try:
            connection.begin(self._options.auth)
            connection.run()
        finally:
            connection.dispose()
            self._lost(connection)
            with self._condition.lock:
                self.connection = None
        return self._goes_on()

    def _pause(self) -> bool:
        """Wait before the next attempt; return whether there is one."""
        seconds = min(self._backoff.next(), threading.TIMEOUT_MAX)
        return self._condition.wait_for(lambda: self.over or None, Deadline(seconds)) is None

    def _goes_on(self) -> bool:
        with self._condition.lock:
            return not self.over

    def _failed(self, error: Exception) -> bool:
        """Note that an attempt failed; return whether to try again."""
        status = error.status if isinstance(error, DialRefused) else None
        failure = ConnectionFailed(f"cannot connect to {self._options.url}: {error}", status)
        failure.__cause__ = error
        given_up: list[QueuedMessage] = []
        with self._condition.lock:
            self.failure, self.failure_is_final = failure, isinstance(error, DialRefused)
            if not self._options.auto_reconnect and not self.over:
                given_up = self._end_by_itself(Ending(CloseCode.ABNORMAL, ""))
            self._condition.changed()
        del given_up
        report_error(self._options.callbacks.on_error, (), failure)
        return self._goes_on()

    # -- what a connection tells ------------------------------------------------------------------------------------

    def _ready(self, connection: ClientConnection) -> bool:
        """Send the queue, and be ready; false where the connection was lost, or the client closed, over that.

        Readiness is set under the lock under which the queue is found empty, so nothing overtakes the queue.
        """
        self._backoff.reset()
        while True:
            with self._condition.lock:
                if self.over:
                    return False
                message = self._queue.take()
                if message is None:
                    self.ready, self.failure = connection, None
                    self._condition.changed()
                    return True
            if not self._send_queued(connection, message):
                return False

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
        del given_up
        return sent

    def _rejected(self, connection: ClientConnection, reason: str) -> None:
        with self._condition.lock:
            self.rejection = reason
            given_up = self._end_by_itself(Ending(CloseCode.POLICY_VIOLATION, reason))
            self._condition.changed()
        del given_up

    def _lost(self, connection: ClientConnection) -> None:
        """Note that a connection takes nothing any more. Any thread's; idempotent."""
        ending = connection.stream.ending or Ending(CloseCode.ABNORMAL, "")
        failure = ConnectionFailed(f"the connection to {self._options.url} was lost")
        failure.__cause__ = ConnectionClosed(*ending)
        given_up: list[QueuedMessage] = []
        with self._condition.lock:
            if self.connection is not connection:
                return
            self.ready = None
            if self.failure is None:
                self.failure, self.failure_is_final = failure, False
            if not self._options.auto_reconnect and not self.over:
                given_up = self._end_by_itself(ending)
            self._condition.changed()
        del given_up

    def _end_by_itself(self, ending: Ending) -> list[QueuedMessage]:
        """Note that nobody will connect again: the queue ends, too. Requires holding the lock."""
        self.over, self.ending = True, ending
        return self._queue.end_all(ending)
