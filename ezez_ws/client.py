"""The client: its options, and what happens to messages while there is no connection.

Each start makes a ``ClientRun``, whose thread connects, serves the connection and connects again. A message that is
sent while there is no authenticated connection goes by ``send_when_not_connected``.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from . import callbacks
from .calls.answers import Received, check_timeout
from .calls.calling import submit, wait_for
from .calls.futures import Answer, Submitted
from .calls.implement import Implementing
from .client_run import ClientOptions, ClientRun
from .client_state import ClientState
from .connection.connection import ConnectionOptions
from .connection.dispatch import Callbacks
from .connection.listeners import Listeners
from .connection.outgoing import OutgoingQueue, tell_futures
from .connection.recovery import Memory
from .connection.replies import EventArgs, SentMessage
from .errors import NotConnected
from .figures import Figures
from .messages.codec import Codec
from .messages.json_text import as_plain_json
from .messages.protocol import CloseCode, check_close, check_event_name
from .messages.tally import Tally
from .opening.asking import Asking
from .opening.url import validate_subprotocols
from .options import check_args, check_callback, check_client, check_seconds, pick
from .threads.deadline import NEVER, Deadline
from .threads.exits import close_at_exit
from .threads.fork import ForkGuard
from .threads.interrupted import calls_user_code, interrupts_library, refuse_to_wait
from .threads.signals import handling
from .threads.starting import begin_thread, start_thread
from .threads.waiting import Condition
from .websocket.stream import Ending

if TYPE_CHECKING:
    import ssl as _ssl
else:
    from .opening.late import ssl as _ssl

__all__ = ["EZEZWebSocketClient"]

C = TypeVar("C", bound="EZEZWebSocketClient")

logger = logging.getLogger("ezez_ws")

_INBOX_LIMIT = 1 << 20
_CLOSER = "ezez-closer"  # the thread that closes for who cannot wait
_GRACE = 0.5  # seconds that the thread has to end when its connection has been cut, or connect() has failed


class EZEZWebSocketClient(Implementing, ClientState):
    """Connects to a server, stays connected, and exchanges named events with it.

    Constructing checks the options (a wrong one is a ``TypeError`` or ``ValueError`` that names it) and starts nothing.
    Options but ``url`` are keyword-only; durations are seconds, sizes are bytes. Callbacks and listeners run one at a
    time, in the order of arrival, on the client's own thread. Every method may be called from any thread, but
    ``connect`` and ``wait_closed`` not on the client's own. ``_ezez_condition.lock`` guards ``__closed``,
    ``__started``, ``__end_wanted``, ``_ezez_runs``, the queue and what the runs say of themselves; under it nothing is
    locked, no user code runs. A subclass may have any attribute that does not begin with two underscores or ``_EZEZ``.
    """

    def __init__(
        self,
        url: str | Callable[[], str],
        *,
        auth: str | Callable[[], str] | None = "",
        subprotocols: Sequence[str] | None = None,
        headers: callbacks.RequestHeaders | Callable[[], callbacks.RequestHeaders] = None,
        ssl: "_ssl.SSLContext | None" = None,
        auto_reconnect: bool = True,
        reconnect_delay: float = 1.0,
        reconnect_delay_max: float = 30.0,
        reconnect_attempts: int | None = None,
        send_when_not_connected: Literal["queue", "ignore", "raise"] = "queue",
        queue_limit_bytes: int = 1 << 20,
        clear_awaiting_replies_after: float = 300.0,
        max_payload: int = 1 << 20,
        codec: Codec | None = None,
        ping_interval: float | None = 20.0,
        ping_timeout: float | None = 20.0,
        send_buffer_limit: int = 4 << 20,
        send_timeout: float = 30.0,
        max_awaiting_replies: int = 10_000,
        unknown_events: Literal["ignore", "error"] = "ignore",
        close_timeout: float = 5.0,
        compression: Literal["deflate"] | None = None,
        connect_timeout: float = 10.0,
        unknown_messages: Literal["ignore", "emit", "emit_try_json"] = "ignore",
        unknown_data: Literal["ignore", "emit", "close"] = "ignore",
        on_connect: callbacks.OnConnect | None = None,
        on_auth_ok: callbacks.OnAuthOk | None = None,
        on_auth_rejected: callbacks.OnAuthRejected | None = None,
        recover: bool = False,
        on_missed: callbacks.OnMissed | None = None,
        on_message: callbacks.OnMessage | None = None,
        on_disconnect: callbacks.OnDisconnect | None = None,
        on_gave_up: callbacks.OnGaveUp | None = None,
        on_error: callbacks.OnError | None = None,
    ) -> None:
        asking = Asking(url, auth, headers, tls=ssl is not None)
        given = dict(locals(), codec=Codec() if codec is None else codec, inbox_limit_bytes=_INBOX_LIMIT)
        check_client(given)
        self.__codec = given["codec"]
        self._ezez_listeners = Listeners()
        self._ezez_options = pick(
            ClientOptions,
            given,
            subprotocols=validate_subprotocols(subprotocols),
            queues=send_when_not_connected == "queue",
            compress=compression is not None,
            memory=Memory() if recover else None,
            connection=pick(ConnectionOptions, given, figures=Figures(Tally())),
            callbacks=pick(Callbacks, given),
            listeners=self._ezez_listeners,
        )
        self.__when_not_connected = send_when_not_connected
        self._ezez_fork_guard = ForkGuard("client", bound=False)
        self._ezez_condition = Condition()
        self._ezez_queue = OutgoingQueue(
            self._ezez_condition,
            self._ezez_fork_guard,
            queue_limit_bytes,
            self._ezez_is_trying,
            self._ezez_is_own_thread,
        )
        self._ezez_queue.why_queued, self._ezez_queue.max_awaiting_replies = self.__why_queued, max_awaiting_replies
        self.__closed = False
        self.__started = False
        self.__end_wanted = False  # by request_close
        self.__runners: set[threading.Thread] = set()  # those in run_forever, which will close; one entry each
        self._ezez_runs = []

    def start(self) -> None:
        """Connect in the background, and stay connected; nothing where it is started, ``NotConnected`` where closed.

        What fails is logged, and given to ``on_error``; see ``reconnect_attempts`` and ``on_gave_up`` for an end.
        """
        self.__start()

    def reconnect(self) -> None:
        """Try to connect now: ends a pause, and starts anew where the client has given up, was rejected or not started.

        Does nothing while there is a connection, or an attempt is being made. ``NotConnected``: the client was closed.
        """
        run, started, _ = self.__start()
        if not started:
            with self._ezez_condition.lock:
                run.hurry()

    def connect(self, timeout: float = 10.0) -> None:
        """Connect, and block until authenticated, or ready with ``auth=None``. Returns at once where that is so.

        ``on_auth_ok`` (with ``auth=None``: ``on_connect``) has returned then, and what was queued is out, unless that
        takes longer than the time-out.

        Args:
            timeout: seconds for all attempts together; ``connect_timeout`` limits each. ``None``: as long as it takes.

        Raises:
            AuthRejected: the server refuses the key.
            ConnectionFailed: the answer is no WebSocket (``status``, ``headers`` and ``body`` are HTTP's), or the
                certificate is not trusted; or, without ``auto_reconnect`` or after ``reconnect_attempts``, nobody is
                there, or the server is overloaded (429, 502, 503, 504). The cause is chained.
            ConnectTimeout: there was no success in time, or the server wants us to come again after that; the last
                failure is chained.
            NotConnected: the client was closed, which is final, or is closed meanwhile.
            RuntimeError: called on the client's own thread, which would wait for itself, or in a signal handler that
                has interrupted the library.

        After an error nothing is left behind, unless the client was started before: then it goes on in the background.
        """
        deadline = self.__check_blocking("connect", timeout)
        ready = self._ezez_runs[-1].ready if self._ezez_runs else None
        if ready is not None and ready.alive:  # a loss may not have been noticed yet
            return
        refuse_to_wait("connect()")
        run, started, stale = self.__start(watching=True)
        try:
            self._ezez_condition.wait_for(lambda: self.__connect_outcome(run, stale, deadline), deadline)
        except BaseException:
            if started:
                patience = Deadline(min(_GRACE, self._ezez_options.connection.close_timeout))
                run.stop(Ending(CloseCode.NORMAL, ""), patience, _GRACE)
            raise
        finally:
            with self._ezez_condition.lock:
                run.watchers -= 1

    def __connect_outcome(self, run: ClientRun, stale: Exception | None, deadline: Deadline) -> bool | None:
        """Requires holding the lock."""
        if self.__closed:
            raise NotConnected("the client was closed")
        return run.outcome_for_connect(stale, deadline)

    def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Close, for good: leave the connection, stop reconnecting, end the thread. Idempotent.

        Messages that are queued, and threads that wait for a reply, get ``ConnectionClosed``. The server has
        ``close_timeout`` seconds to answer; then the connection is cut. Returns when the thread has ended, unless it is
        called on it, or user code still runs there: that is logged. In a signal handler that has interrupted the
        library it only begins to close, and returns. Arguments: as in ``EZEZServerClient.disconnect``.
        """
        self._ezez_fork_guard.check()
        check_close(code, reason)
        close = partial(self.__close, Ending(code, reason), self._ezez_options.connection.close_timeout, _GRACE)
        if interrupts_library():
            begin_thread(close, _CLOSER)
        else:
            close()

    def request_close(self) -> None:
        """Have the client closed, and return at once. For signal handlers, and from anywhere.

        ``run_forever`` closes it then, and where nobody is inside that, a thread. Closed already, nothing happens.
        """
        self._ezez_fork_guard.check()
        with self._ezez_condition.lock:
            begins = not self.__end_wanted and not self.__closed
            self.__end_wanted = True
            self._ezez_condition.changed()
        if begins and not self.__runners:
            begin_thread(self.close, _CLOSER)

    @calls_user_code
    def run_forever(self, *, signals: Iterable[int] = ()) -> int | None:
        """Start, if need be, and block until the client is closed or has ended by itself, or Ctrl-C or a signal comes.

        Then it is closed. On the client's own thread, which would wait for itself, it raises ``RuntimeError``.

        Args:
            signals: such as ``(signal.SIGINT, signal.SIGTERM)``: handled until it returns, by ``request_close()``; what
                handled them before does so again afterwards. On another thread than the main one: ``ValueError``.

        Returns:
            The signal that has ended it, or ``None``.
        """
        self.__check_blocking("run_forever", None)
        refuse_to_wait("run_forever()")
        with handling(signals, self.request_close) as came:
            try:
                self.start()
                self.__runners.add(threading.current_thread())
                self._ezez_condition.wait_for(lambda: self.__end_wanted or self.__has_ended(), NEVER)
            except KeyboardInterrupt:
                logger.info("interrupted, closing")
            except NotConnected:
                if not came:
                    raise
            finally:
                self.close()
                self.__runners.discard(threading.current_thread())
        return came[0] if came else None

    def wait_closed(self, timeout: float | None = None) -> bool:
        """Block until the client is closed, or has ended by itself: it gave up, was auth-rejected, or lost its
        connection without ``auto_reconnect``.

        False where ``timeout`` seconds passed before (``None``: no limit). ``RuntimeError`` on the client's own thread.
        """
        deadline = self.__check_blocking("wait_closed", timeout)
        refuse_to_wait("wait_closed()")
        return self._ezez_condition.wait_for(self.__has_ended, deadline) is not None

    @calls_user_code
    def __enter__(self: C) -> C:
        self.connect()
        return self

    @calls_user_code
    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, event: str, args: EventArgs = (), on_reply: callbacks.OnReply | None = None) -> SentMessage:
        """Send an event; see ``EZEZServerClient.send`` for what blocks, and for how long.

        While the client is not connected and authenticated it goes by ``send_when_not_connected``: ``"queue"`` keeps
        the message until it is, ``"ignore"`` drops it, ``"raise"`` raises. A client that has ended by itself
        (gave up, auth-rejected, or a loss without ``auto_reconnect``) queues nothing until it is started again. Inside
        ``on_auth_ok``, on that thread, it goes out before what is queued; what other threads send meanwhile is queued.

        Args:
            on_reply: called as ``on_reply(event, args, reply, ids)`` for the first reply.

        Returns:
            A ``SentMessage``; falsy where it was dropped. For a queued message ``event_id`` is ``None`` until it goes
            out, and ``wait_reply`` waits through that.

        Raises:
            QueueFull: the queue has no room for it.
            NotConnected: with ``"raise"``; and with ``"queue"`` after ``close()``.
            TypeError, ValueError, SerializationError, SendTimeout, TooManyReplies: as ``EZEZServerClient.send``.
        """
        self._ezez_fork_guard.check()
        with self._ezez_condition.lock:
            connection = self._ezez_runs[-1].ready if self._ezez_runs else None
        sent = None if connection is None else connection.send(event, args, None, on_reply)
        if sent is not None and sent._home is not None:
            return sent
        check_callback("on_reply", on_reply)
        return self.__send_or_keep(check_event_name(event), self.__codec.encode(check_args(args)), on_reply, None)

    def __send_or_keep(self, event: str, body: bytes, on_reply: Any, kept: Submitted | None) -> SentMessage:
        """Send an event, or keep it, as there was no connection a moment ago; ``kept``: its message, with a future."""
        while True:
            with self._ezez_condition.lock:
                connection = self._ezez_runs[-1].taker() if self._ezez_runs else None
                if connection is None:
                    return self.__keep(event, body, on_reply, kept)
            if kept is None:
                sent = connection.send_encoded(None, event, body, on_reply)
                if sent is not None:
                    return sent
            else:
                kept._went_out(connection, None)
                if connection.submit(kept, event, body):
                    return kept
            self.__notice_loss()

    def _ezez_submit(self, event: str, args: Any, read: Callable[[Any], Any] | None) -> Answer:
        self._ezez_fork_guard.check()

        def hand_over(sent: Submitted, event: str, body: bytes) -> Ending | None:
            done = self.__send_or_keep(event, body, None, sent)
            return None if done is sent else done._outcome  # type: ignore[return-value]

        return submit(None, self.__codec, event, args, read, hand_over)

    def wait_for(self, event: str, timeout: float | None, where: Callable[[Received], Any] | None = None) -> Received:
        """Wait for the next event of that name; see ``EZEZServerClient.wait_for``.

        ``NotConnected`` where there is no connection, and none within that time.
        """
        deadline = Deadline(check_timeout(timeout))
        check_callback("where", where, "received")
        self._ezez_fork_guard.check()
        if not self.alive:
            refuse_to_wait("wait_for()")

            def look() -> object:
                return self._ezez_authenticated() or self._ezez_is_own_thread() or not self._ezez_is_trying() or None

            self._ezez_condition.wait_for(look, deadline)
        with self._ezez_condition.lock:
            connection = self._ezez_authenticated()
        if connection is None:
            raise NotConnected(f"wait_for({event!r}): the client is not connected")
        return wait_for(connection, self._ezez_listeners, event, deadline, timeout, where)

    def send_json(self, value: Any) -> bool:
        """Send plain JSON as a text message, to a server that does not speak this protocol.

        Waits for room as ``send``, and raises as it does. Returns whether it was handed over; it is never queued.
        """
        self._ezez_fork_guard.check()
        text = as_plain_json(value)
        with self._ezez_condition.lock:
            connection = self._ezez_authenticated()
        if connection is not None and connection.send_text(text):
            return True
        if self.__when_not_connected == "raise":
            raise NotConnected("the client is not connected")
        return False

    def __repr__(self) -> str:
        with self._ezez_condition.lock:
            state = "closed" if self.__closed else "ended" if self.__started else "not started"
            if not self.__closed and self._ezez_is_trying():
                state = "connecting" if self._ezez_authenticated() is None else "ready"
            url = self._ezez_runs[-1].url if self._ezez_runs else self._ezez_options.asking.url
        return f"<EZEZWebSocketClient {url} {state}>"

    def __keep(self, event: str, body: bytes, on_reply: Any, kept: Submitted | None = None) -> SentMessage:
        """Do what is to be done with a message that cannot be sent now; requires holding the lock."""
        # how the client has ended by itself, until it is started again
        ending = self._ezez_runs[-1].ending if self._ezez_runs and self._ezez_runs[-1].over else None
        if self.__when_not_connected != "ignore":
            if self.__closed:
                raise NotConnected("the client is closed")
            if self.__when_not_connected == "raise":
                raise NotConnected("the client is not connected")
            if ending is None:
                return self._ezez_queue.put(event, body, on_reply, kept)
        return SentMessage(None, None, None, ending or Ending(CloseCode.ABNORMAL, ""))

    def __start(self, watching: bool = False) -> "tuple[ClientRun, bool, Exception | None]":
        """Make sure that somebody keeps us connected; say who, whether that is new, and its last failure so far.

        ``watching``: the caller waits for it, and takes that back.
        """
        self._ezez_fork_guard.bind()
        self._ezez_fork_guard.check()
        self.__notice_loss()
        run = ClientRun(self._ezez_options, self._ezez_condition, self._ezez_queue)
        try:
            with self._ezez_condition.lock:
                if self.__closed:
                    raise NotConnected("the client was closed, which is final; make a new one")
                if self._ezez_runs and not self._ezez_runs[-1].over:
                    self._ezez_runs[-1].watchers += watching
                    return self._ezez_runs[-1], False, self._ezez_runs[-1].failure
                self._ezez_runs.append(run)  # no call since the look: a signal handler that starts us must find it
                run.watchers += watching
                self._ezez_runs = [other for other in self._ezez_runs if not other.ended]
                self.__started = True
            start_thread(run.thread)
        except BaseException:  # Ctrl-C too: a run without a thread must not be waited for
            with self._ezez_condition.lock:
                run.over = True  # should its thread run after all, it ends
                run.ended = run.thread.ident is None
            raise
        close_at_exit(run)
        return run, True, None

    def __close(self, ending: Ending, seconds: float, grace: float) -> None:
        deadline = Deadline(min(seconds, threading.TIMEOUT_MAX))
        with self._ezez_condition.lock:
            self.__closed = True
            runs = [run for run in self._ezez_runs if not run.ended]
            given_up = self._ezez_queue.close(ending)
        tell_futures(given_up)
        for run in runs:
            run.close(ending, deadline, grace)

    def __notice_loss(self) -> None:
        with self._ezez_condition.lock:
            run = self._ezez_runs[-1] if self._ezez_runs else None
        if run is not None:
            run.notice_loss()

    def __check_blocking(self, name: str, timeout: Any) -> Deadline:
        """Check a call that blocks, and return until when it may."""
        self._ezez_fork_guard.check()
        with self._ezez_condition.lock:
            if self._ezez_is_own_thread():
                raise RuntimeError(f"{name}() would block the client's own thread, and wait for itself")
        check_seconds("timeout", timeout, optional=True, zero=True)
        return Deadline(None if timeout is None else min(timeout, threading.TIMEOUT_MAX))

    def __why_queued(self) -> tuple[str, Exception | None]:
        """Say why there is no connection, and what the last failure was."""
        with self._ezez_condition.lock:
            run = self._ezez_runs[-1] if self._ezez_runs else None
            failure = None if run is None else run.failure
            if run is None or run.ended:
                return "and the client is not started", failure
        why = "and the client is still connecting" if failure is None else f"as there is no connection: {failure}"
        return why, failure

    def __has_ended(self) -> bool | None:
        """Requires holding the lock."""
        return ((self.__closed or self.__started) and all(run.ended for run in self._ezez_runs)) or None
