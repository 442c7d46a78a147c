"""The client: its options, and what happens to messages while there is no connection.

Each start makes a ``ClientRun``, whose thread connects, serves the connection and connects again. A message that is
sent while there is no authenticated connection goes by ``send_when_not_connected``.
"""

import itertools
import json
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .client_run import ClientOptions, ClientRun
from .connection.client_side import ClientConnection
from .connection.connection import ConnectionOptions
from .connection.dispatch import Callbacks
from .connection.listeners import Listeners, Listening
from .connection.outgoing import OutgoingQueue
from .connection.replies import OnReply, SentMessage
from .connection.websocket import WebSocket
from .errors import ConnectTimeout, NotConnected, SerializationError
from .messages.codec import Codec
from .messages.protocol import CloseCode, check_close, check_event_name
from .opening.url import parse_url, validate_client_headers, validate_subprotocols
from .options import check_args, check_callback, check_client, check_seconds, pick
from .threads.deadline import Deadline
from .threads.exits import close_at_exit
from .threads.fork import ForkGuard
from .threads.starting import start_thread
from .threads.waiting import Condition
from .websocket.stream import Ending

if TYPE_CHECKING:
    import ssl as _ssl
else:
    from .opening import late_ssl as _ssl

__all__ = ["EZEZWebSocketClient"]

logger = logging.getLogger("ezez_ws")

_INBOX_LIMIT = 1 << 20
_GRACE = 0.5  # seconds that the thread has to end when its connection has been cut, or connect() has failed

_numbers = itertools.count(1)
_numbers_lock = threading.Lock()


class EZEZWebSocketClient(Listening):
    """Connects to a server, stays connected, and exchanges named events with it.

    Constructing checks the options (a wrong one is a ``TypeError`` or ``ValueError`` that names it) and starts nothing.
    Options but ``url`` are keyword-only; durations are seconds, sizes are bytes. Callbacks and listeners run one at a
    time, in the order of arrival, on the client's own thread. Every method may be called from any thread, but
    ``connect`` and ``wait_closed`` not on the client's own. ``_condition.lock`` guards ``_closed``, ``_started``,
    ``_client_runs``, the queue and what the runs say of themselves; under it nothing is locked, no user code runs.
    """

    def __init__(
        self,
        url: str,
        *,
        auth: str | None = "",
        subprotocols: Sequence[str] | None = None,
        headers: "Mapping[str, str] | Sequence[tuple[str, str]] | None" = None,
        ssl: "_ssl.SSLContext | None" = None,
        auto_reconnect: bool = True,
        reconnect_delay: float = 1.0,
        reconnect_delay_max: float = 30.0,
        send_when_not_connected: str = "queue",
        queue_limit_bytes: int = 1 << 20,
        clear_awaiting_replies_after: float = 300.0,
        max_payload: int = 1 << 20,
        codec: Codec | None = None,
        ping_interval: float | None = 20.0,
        ping_timeout: float | None = 20.0,
        send_buffer_limit: int = 4 << 20,
        send_timeout: float = 30.0,
        close_timeout: float = 5.0,
        compression: str | None = None,
        connect_timeout: float = 10.0,
        unknown_messages: str = "ignore",
        unknown_data: str = "ignore",
        on_connect: Callable[[], Any] | None = None,
        on_auth_ok: Callable[[], Any] | None = None,
        on_auth_rejected: Callable[[str], Any] | None = None,
        on_message: Callable[..., Any] | None = None,
        on_disconnect: Callable[[int, str], Any] | None = None,
        on_error: Callable[[BaseException], Any] | None = None,
    ) -> None:
        target = parse_url(url)
        given = dict(locals(), codec=Codec() if codec is None else codec, inbox_limit_bytes=_INBOX_LIMIT)
        check_client(given, target.secure)
        self._codec = given["codec"]
        self._ezez_listeners = Listeners()
        self._options = pick(
            ClientOptions,
            given,
            url=url.partition("?")[0],
            subprotocols=validate_subprotocols(subprotocols),
            headers=validate_client_headers(headers),
            compress=compression is not None,
            connection=pick(ConnectionOptions, given),
            callbacks=pick(Callbacks, given),
            listeners=self._ezez_listeners,
        )
        self._when_not_connected = send_when_not_connected
        self._ezez_fork_guard = ForkGuard("client")
        self._condition = Condition()
        self._queue = OutgoingQueue(self._condition, queue_limit_bytes, self._is_trying, self._is_own_thread)
        self._closed = False
        self._started = False
        self._client_runs: list[ClientRun] = []  # the last one is in charge; those before it run their last callbacks

    def start(self) -> None:
        """Connect in the background, and stay connected; nothing where it is started, ``NotConnected`` where closed."""
        self._ezez_fork_guard.check()
        self._start()

    def connect(self, timeout: float = 10.0) -> None:
        """Connect, and block until authenticated, or ready with ``auth=None``. Returns at once where that is so.

        Args:
            timeout: seconds for all attempts together; ``connect_timeout`` limits each. ``None``: as long as it takes.

        Raises:
            AuthRejected: the server refuses the key.
            ConnectionFailed: the answer is no WebSocket (``status`` is HTTP's), or the certificate is not trusted; or,
                without ``auto_reconnect``, nobody is there. The cause is chained.
            ConnectTimeout: there was no success in time; the last failure is chained.
            NotConnected: the client was closed, which is final, or is closed meanwhile.
            RuntimeError: called on the client's own thread, which would wait for itself.

        After an error nothing is left behind, unless the client was started before: then it goes on in the background.
        """
        deadline = self._check_blocking("connect", timeout)
        run, started, stale = self._start()
        try:
            if self._condition.wait_for(lambda: self._connect_outcome(run, stale), deadline) is None:
                with self._condition.lock:
                    failure = run.failure
                why = "" if failure is None else f": {failure}"
                raise ConnectTimeout(f"no connection to {self._options.url} in time{why}") from failure
        except BaseException:
            if started:
                patience = Deadline(min(_GRACE, self._options.connection.close_timeout))
                run.stop(Ending(CloseCode.NORMAL, ""), patience, _GRACE)
            raise

    def _connect_outcome(self, run: ClientRun, stale: Exception | None) -> bool | None:
        """Requires holding the lock."""
        if self._closed:
            raise NotConnected("the client was closed")
        return run.outcome_for_connect(stale)

    def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Close, for good: leave the connection, stop reconnecting, end the thread. Idempotent.

        Messages that are queued, and threads that wait for a reply, get ``ConnectionClosed``. The server has
        ``close_timeout`` seconds to answer; then the connection is cut. Returns when the thread has ended, unless it is
        called on it, or user code still runs there: that is logged. Arguments: as in ``EZEZServerClient.disconnect``.
        """
        self._ezez_fork_guard.check()
        check_close(code, reason)
        self._close(Ending(code, reason), self._options.connection.close_timeout, _GRACE)

    def wait_closed(self, timeout: float | None = None) -> bool:
        """Block until the client is closed, or has ended by itself: auth-rejected, or lost without ``auto_reconnect``.

        False where ``timeout`` seconds passed before (``None``: no limit). ``RuntimeError`` on the client's own thread.
        """
        return self._condition.wait_for(self._has_ended, self._check_blocking("wait_closed", timeout)) is not None

    def __enter__(self) -> "EZEZWebSocketClient":
        self.connect()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, event: str, args: Any = (), on_reply: OnReply | None = None) -> SentMessage:
        """Send an event; see ``EZEZServerClient.send`` for what blocks, and for how long.

        While the client is not connected and authenticated it goes by ``send_when_not_connected``: ``"queue"`` keeps
        the message until it is, ``"ignore"`` drops it, ``"raise"`` raises. A client that has ended by itself
        (auth-rejected, or a failure or loss without ``auto_reconnect``) queues nothing until it is started again.

        Args:
            on_reply: called as ``on_reply(event, args, reply, ids)`` for the first reply.

        Returns:
            A ``SentMessage``; falsy where it was dropped. For a queued message ``event_id`` is ``None`` until it goes
            out, and ``wait_reply`` waits through that.

        Raises:
            QueueFull: the queue has no room for it.
            NotConnected: with ``"raise"``; and with ``"queue"`` after ``close()``.
            TypeError, ValueError, SerializationError, SendTimeout: as ``EZEZServerClient.send``.
        """
        self._ezez_fork_guard.check()
        with self._condition.lock:
            connection = self._client_runs[-1].ready if self._client_runs else None
        sent = None if connection is None else connection.send(event, args, None, on_reply)
        return self._send_when_ready(event, args, on_reply) if sent is None or sent._home is None else sent

    def _send_when_ready(self, event: str, args: Any, on_reply: OnReply | None) -> SentMessage:
        """Send an event, or keep it, as there was no connection a moment ago."""
        check_callback("on_reply", on_reply)
        event = check_event_name(event)
        body = self._codec.encode(check_args(args))
        while True:
            with self._condition.lock:
                connection = self._ready_connection()
                if connection is None:
                    return self._keep(event, body, on_reply)
            sent = connection.send_encoded(None, event, body, on_reply)
            if sent is not None:
                return sent
            self._notice_loss()

    def send_json(self, value: Any) -> bool:
        """Send plain JSON as a text message, to a server that does not speak this protocol.

        Waits for room as ``send``, and raises as it does. Returns whether it was handed over; it is never queued.
        """
        self._ezez_fork_guard.check()
        try:
            text = json.dumps(value, ensure_ascii=False, allow_nan=False)
            text.encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise SerializationError(f"the value is no JSON: {error}") from error
        with self._condition.lock:
            connection = self._ready_connection()
        if connection is not None and connection.send_text(text):
            return True
        if self._when_not_connected == "raise":
            raise NotConnected("the client is not connected")
        return False

    @property
    def alive(self) -> bool:
        """Whether there is a connection, authenticated, that is not closing or known to be gone."""
        with self._condition.lock:
            connection = self._ready_connection()
        return connection is not None and connection.alive

    @property
    def awaiting_replies_count(self) -> int:
        """Messages with an ``on_reply`` still to come, plus those that a thread waits for; queued ones included."""
        with self._condition.lock:
            connection, queued = self._connection(), self._queue.awaited
        return queued + (0 if connection is None else connection.awaiting_replies_count)

    @property
    def client(self) -> WebSocket | None:
        """The underlying WebSocket, ``None`` without one; sending through it bypasses the protocol."""
        with self._condition.lock:
            connection = self._connection()
        return None if connection is None else WebSocket(connection)

    def __repr__(self) -> str:
        with self._condition.lock:
            trying, ready, closed = self._is_trying(), self._ready_connection() is not None, self._closed
        state = "closed" if closed else "ready" if ready else "connecting" if trying else "not started"
        return f"<EZEZWebSocketClient {self._options.url} {state}>"

    def _keep(self, event: str, body: bytes, on_reply: OnReply | None) -> SentMessage:
        """Do what is to be done with a message that cannot be sent now; requires holding the lock."""
        # how the client has ended by itself, until it is started again
        ending = self._client_runs[-1].ending if self._client_runs and self._client_runs[-1].over else None
        if self._when_not_connected != "ignore":
            if self._closed:
                raise NotConnected("the client is closed")
            if self._when_not_connected == "raise":
                raise NotConnected("the client is not connected")
            if ending is None:
                return self._queue.put(event, body, on_reply)
        return SentMessage(None, None, None, ending or Ending(CloseCode.ABNORMAL, ""))

    def _start(self) -> "tuple[ClientRun, bool, Exception | None]":
        """Make sure that somebody keeps us connected; say who, whether that is new, and its last failure so far."""
        self._notice_loss()
        with _numbers_lock:
            number = next(_numbers)
        run = ClientRun(self._options, self._condition, self._queue, number)
        try:
            with self._condition.lock:
                if self._closed:
                    raise NotConnected("the client was closed, which is final; make a new one")
                self._client_runs = [other for other in self._client_runs if not other.ended]
                if self._client_runs and not self._client_runs[-1].over:
                    return self._client_runs[-1], False, self._client_runs[-1].failure
                self._client_runs.append(run)
                self._started = True
            start_thread(run.thread)
        except BaseException:  # Ctrl-C too: a run without a thread must not be waited for
            with self._condition.lock:
                run.over = True  # should its thread run after all, it ends
                run.ended = run.thread.ident is None
            raise
        close_at_exit(self)
        return run, True, None

    def _close(self, ending: Ending, seconds: float, grace: float) -> None:
        deadline = Deadline(min(seconds, threading.TIMEOUT_MAX))
        with self._condition.lock:
            self._closed = True
            runs = [run for run in self._client_runs if not run.ended]
            given_up = self._queue.close(ending)
        del given_up  # without the lock
        for run in runs:
            if not run.stop(ending, deadline, grace):
                logger.warning("closed, but the thread %s is still inside user code", run.thread.name)

    def close_within(self, seconds: float) -> None:
        """Close, within ``seconds`` all in all."""
        if not self._ezez_fork_guard.foreign():
            self._close(Ending(CloseCode.NORMAL, ""), seconds * 0.75, seconds * 0.25)

    def say_goodbye(self) -> None:
        """Send a close frame, and do not wait for anything."""
        if self._ezez_fork_guard.foreign():
            return
        with self._condition.lock:
            connection = self._connection()
        if connection is not None:
            connection.disconnect(CloseCode.NORMAL, "")

    def _notice_loss(self) -> None:
        with self._condition.lock:
            run = self._client_runs[-1] if self._client_runs else None
        if run is not None:
            run.notice_loss()

    def _check_blocking(self, name: str, timeout: Any) -> Deadline:
        """Check a call that blocks, and return until when it may."""
        self._ezez_fork_guard.check()
        with self._condition.lock:
            if self._is_own_thread():
                raise RuntimeError(f"{name}() would block the client's own thread, and wait for itself")
        check_seconds("timeout", timeout, optional=True, zero=True)
        return Deadline(None if timeout is None else min(timeout, threading.TIMEOUT_MAX))

    def _connection(self) -> ClientConnection | None:
        """Requires holding the lock."""
        return self._client_runs[-1].connection if self._client_runs else None

    def _ready_connection(self) -> ClientConnection | None:
        """Requires holding the lock."""
        return self._client_runs[-1].ready if self._client_runs else None

    def _is_own_thread(self) -> bool:
        """Requires holding the lock."""
        return any(run.thread is threading.current_thread() for run in self._client_runs)

    def _is_trying(self) -> bool:
        """Requires holding the lock."""
        return bool(self._client_runs) and not self._client_runs[-1].over

    def _has_ended(self) -> bool | None:
        """Requires holding the lock."""
        return ((self._closed or self._started) and all(run.ended for run in self._client_runs)) or None
