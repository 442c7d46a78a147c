"""The client: its options, connecting and reconnecting, and what happens to messages meanwhile.

One thread does it all: it connects (``Dialer``), serves the connection (``Link.run``), waits, and connects again. The
states, guarded by one lock:

    IDLE        no thread: not started, or it has ended (failure, auth-rejected, lost without auto_reconnect)
    TRYING      the thread connects, authenticates, or waits before the next attempt
    READY       authenticated, and the queue is empty: ``send`` goes to the link
    CLOSED      ``close()`` was called; final

A message that is sent while the state is not READY goes by ``send_when_not_connected``. READY is set under the lock
when the queue is found empty under it, so nothing overtakes the queue.
"""

import enum
import itertools
import json
import logging
import random
import threading
from typing import TYPE_CHECKING, Any, Callable, Mapping, Optional, Sequence, Tuple, Union, overload

from .codec import Codec
from .deadline import Deadline
from .errors import AuthRejected, ConnectionFailed, ConnectTimeout, NotConnected, SendTimeout, SerializationError
from .exits import close_at_exit
from .fork import ForkGuard
from .janitor import Janitor
from .link import ClientCallbacks, Link, LinkEvents, report_error
from .listeners import L, Listeners
from .options import (
    check_args,
    check_callback,
    check_choice,
    check_codec,
    check_compression,
    check_count,
    check_flag,
    check_seconds,
    check_ssl,
)
from .outgoing import OutgoingQueue
from .peer import PeerOptions
from .protocol import CloseCode, check_close, check_event_name
from .replies import OnReply, SentMessage
from .transport.dialer import DialCancelled, Dialer, DialRefused
from .transport.handshake import parse_url, validate_client_headers, validate_subprotocols
from .transport.stream import Ending, Stream

if TYPE_CHECKING:
    import ssl as _ssl

__all__ = ["EZEZWebSocketClient"]

logger = logging.getLogger("ezez_ws")

_INBOX_LIMIT = 1 << 20
_GRACE = 0.5  # seconds that the thread has to end when its connection has been cut

_numbers = itertools.count(1)
_numbers_lock = threading.Lock()


class _State(enum.Enum):
    IDLE = 0
    TRYING = 1
    READY = 2
    CLOSED = 3


class _Backoff:
    """How long to wait before the next attempt: exponential, with jitter so that clients do not come all at once."""

    def __init__(self, first: float, largest: float) -> None:
        self._first = first
        self._largest = largest
        self._next = first

    def reset(self) -> None:
        self._next = self._first

    def next(self) -> float:
        delay = min(self._next, self._largest)
        self._next = min(delay * 2, self._largest)
        return delay * random.uniform(0.5, 1.0)


class EZEZWebSocketClient:
    """Connects to a server, stays connected, and exchanges named events with it.

    Constructing checks the options and starts nothing. Options but ``url`` are keyword-only; durations are seconds,
    sizes are bytes. Callbacks and listeners run one at a time, in the order of arrival, on the client's own thread.
    Every method may be called from any thread, but ``connect`` and ``wait_closed``, which refuse the client's own.

    ``_lock`` guards every field from ``_state`` on. Under it nothing is locked and no user code runs.

    Raises:
        TypeError, ValueError: an option is wrong; the text names it.
    """

    def __init__(
        self,
        url: str,
        *,
        auth: Optional[str] = "",
        subprotocols: Optional[Sequence[str]] = None,
        headers: "Mapping[str, str] | Sequence[Tuple[str, str]] | None" = None,
        ssl: "Optional[_ssl.SSLContext]" = None,
        auto_reconnect: bool = True,
        reconnect_delay: float = 1.0,
        reconnect_delay_max: float = 30.0,
        send_when_not_connected: str = "queue",
        queue_limit_bytes: int = 1 << 20,
        clear_awaiting_replies_after: float = 300.0,
        max_payload: int = 1 << 20,
        codec: Optional[Codec] = None,
        ping_interval: Optional[float] = 20.0,
        ping_timeout: Optional[float] = 20.0,
        send_buffer_limit: int = 4 << 20,
        send_timeout: float = 30.0,
        close_timeout: float = 5.0,
        compression: Optional[str] = None,
        connect_timeout: float = 10.0,
        unknown_messages: str = "ignore",
        unknown_data: str = "ignore",
        on_connect: Optional[Callable[[], Any]] = None,
        on_auth_ok: Optional[Callable[[], Any]] = None,
        on_auth_rejected: Optional[Callable[[str], Any]] = None,
        on_message: Optional[Callable[..., Any]] = None,
        on_disconnect: Optional[Callable[[int, str], Any]] = None,
        on_error: Optional[Callable[[BaseException], Any]] = None,
    ) -> None:
        self._target = parse_url(url)
        self._url = url
        self._auth = _check_auth(auth)
        self._subprotocols = validate_subprotocols(subprotocols)
        self._headers = validate_client_headers(headers)
        check_ssl(ssl, server_side=False)
        if ssl is not None and not self._target.secure:
            raise ValueError(f"ssl is for wss:// URLs, not {url!r}")
        self._ssl = ssl
        check_flag("auto_reconnect", auto_reconnect)
        self._auto_reconnect = auto_reconnect
        check_seconds("reconnect_delay", reconnect_delay)
        check_seconds("reconnect_delay_max", reconnect_delay_max)
        check_choice("send_when_not_connected", send_when_not_connected, ("queue", "ignore", "raise"))
        self._when_not_connected = send_when_not_connected
        check_count("queue_limit_bytes", queue_limit_bytes)
        check_compression(compression)
        self._compress = compression is not None
        check_seconds("connect_timeout", connect_timeout)
        self._connect_timeout = connect_timeout
        check_choice("unknown_messages", unknown_messages, ("ignore", "emit", "emit_try_json"))
        check_choice("unknown_data", unknown_data, ("ignore", "emit", "close"))
        self._unknown = unknown_messages, unknown_data
        self._options = PeerOptions(
            codec=check_codec(codec),
            clear_awaiting_replies_after=clear_awaiting_replies_after,
            max_payload=max_payload,
            inbox_limit_bytes=_INBOX_LIMIT,
            send_buffer_limit=send_buffer_limit,
            send_timeout=send_timeout,
            close_timeout=close_timeout,
            ping_interval=ping_interval,
            ping_timeout=ping_timeout,
        )
        self._options.check()
        self._callbacks = ClientCallbacks(on_connect, on_auth_ok, on_auth_rejected, on_message, on_disconnect, on_error)
        self._callbacks.check()
        self._listeners = Listeners()
        self._fork_guard = ForkGuard("client")
        self._backoff = _Backoff(reconnect_delay, reconnect_delay_max)  # the client's thread's

        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._state = _State.IDLE
        self._queue = OutgoingQueue(self._changed, queue_limit_bytes, self._is_trying, self._is_own_thread)
        self._thread: Optional[threading.Thread] = None
        self._ended = threading.Event()  # there is no thread, and will be none without a new start
        self._janitor: Optional[Janitor] = None
        self._link: Optional[Link] = None
        self._dialer: Optional[Dialer] = None
        self._rejection: Optional[str] = None
        self._failure: Optional[ConnectionFailed] = None
        self._failure_is_final = False
        self._stopping = False  # connect() gave up, and the thread is to end

    # -- connecting -------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Connect in the background, and stay connected. Does nothing where the client is started.

        Raises:
            NotConnected: the client was closed, which is final.
        """
        self._fork_guard.check()
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
        self._fork_guard.check()
        self._refuse_own_thread("connect")
        check_seconds("timeout", timeout, optional=True, zero=True)
        deadline = Deadline(timeout)
        started = self._start()
        try:
            self._wait_ready(deadline)
        except BaseException:
            if started:
                self._stop()
            raise

    def close(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Close, for good: leave the connection, stop reconnecting, end the thread.

        Messages that are queued, and threads that wait for a reply, get ``ConnectionClosed``. The server has
        ``close_timeout`` seconds to answer; then the connection is cut. Returns when the thread has ended, unless it is
        called on it, or the thread is still inside user code: that is logged. Idempotent.

        Args:
            code, reason: as in ``EZEZServerClient.disconnect``.
        """
        self._fork_guard.check()
        check_close(code, reason)
        self._close(code, reason, self._options.close_timeout)

    def wait_closed(self, timeout: Optional[float] = None) -> bool:
        """Block until the client is closed, or has ended by itself: auth-rejected, or lost without ``auto_reconnect``.

        Args:
            timeout: seconds; ``None``: as long as it takes.

        Returns:
            Whether it is closed; false where the time passed.

        Raises:
            RuntimeError: called on the client's own thread, which would wait for itself.
        """
        self._fork_guard.check()
        self._refuse_own_thread("wait_closed")
        check_seconds("timeout", timeout, optional=True, zero=True)
        return self._ended.wait(timeout)

    def __enter__(self) -> "EZEZWebSocketClient":
        self.connect()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- messages ---------------------------------------------------------------------------------------------------

    def send(self, event: str, args: Any = (), on_reply: Optional[OnReply] = None) -> SentMessage:
        """Send an event; see ``EZEZServerClient.send`` for what blocks, and for how long.

        While the client is not connected and authenticated it goes by ``send_when_not_connected``: ``"queue"`` keeps
        the message until it is, ``"ignore"`` drops it, ``"raise"`` raises.

        Args:
            event, args: as in ``EZEZServerClient.send``.
            on_reply: called as ``on_reply(event, args, reply, ids)`` for the first reply.

        Returns:
            A ``SentMessage``; falsy where it was dropped. For a queued message ``event_id`` is ``None`` until it goes
            out, and ``wait_reply`` waits through that.

        Raises:
            TypeError, ValueError: a wrong event name, ``args`` or ``on_reply``.
            SerializationError: a value that cannot be sent.
            QueueFull: the queue has no room for it.
            NotConnected: with ``"raise"``; and with ``"queue"`` after ``close()``.
            SendTimeout: there was no room in the send buffer in time; the connection has been cut.
        """
        self._fork_guard.check()
        check_callback("on_reply", on_reply)
        event = check_event_name(event)
        body = self._options.codec.encode(check_args(args))
        while True:
            with self._lock:
                link = self._link if self._state is _State.READY else None
                if link is None:
                    return self._keep(event, body, on_reply)
            sent = SentMessage(link, None, None)
            if link.send_encoded(sent, event, body, on_reply):
                return sent
            self._lost(link)

    def send_json(self, value: Any) -> bool:
        """Send plain JSON as a text message, to a server that does not speak this protocol.

        Returns:
            Whether it was handed over; it is never queued.

        Raises:
            SerializationError: the value is no JSON.
            NotConnected: there is no connection, with ``send_when_not_connected="raise"``.
        """
        self._fork_guard.check()
        text = _encode_json(value)
        with self._lock:
            link = self._link if self._state is _State.READY else None
        if link is not None and link.send_text(text):
            return True
        if self._when_not_connected == "raise":
            raise NotConnected("the client is not connected")
        return False

    @overload
    def on(self, event: str, listener: L) -> L: ...

    @overload
    def on(self, event: str) -> Callable[[L], L]: ...

    def on(self, event: str, listener: Optional[L] = None) -> Union[L, Callable[[L], L]]:
        """Listen to an event: ``listener(args, reply, ids)``. Also as ``@client.on(event)``. Outlives a reconnect."""
        self._fork_guard.check()
        return self._listeners.add(event, listener, once=False)

    @overload
    def once(self, event: str, listener: L) -> L: ...

    @overload
    def once(self, event: str) -> Callable[[L], L]: ...

    def once(self, event: str, listener: Optional[L] = None) -> Union[L, Callable[[L], L]]:
        """Listen to the next event of that name only. Also as ``@client.once(event)``."""
        self._fork_guard.check()
        return self._listeners.add(event, listener, once=True)

    def off(self, event: str, listener: Optional[Callable[..., Any]] = None) -> None:
        """Remove a listener, as often as it is registered, or all listeners of an event."""
        self._fork_guard.check()
        self._listeners.remove(event, listener)

    @property
    def alive(self) -> bool:
        """Whether there is a connection, authenticated, that is not closing or known to be gone."""
        with self._lock:
            link = self._link if self._state is _State.READY else None
        return link is not None and link.alive

    @property
    def awaiting_replies_count(self) -> int:
        """Messages with an ``on_reply`` still to come, plus those that a thread waits for; queued ones included."""
        with self._lock:
            link, queued = self._link, self._queue.awaited
        return queued + (0 if link is None else link.awaiting_replies_count)

    @property
    def client(self) -> Optional[Stream]:
        """The underlying WebSocket, ``None`` without one; sending through it bypasses the protocol."""
        with self._lock:
            return None if self._link is None else self._link.stream

    def __repr__(self) -> str:
        with self._lock:
            state = self._state
        return f"<EZEZWebSocketClient {self._url} {state.name.lower()}>"

    def _keep(self, event: str, body: bytes, on_reply: Optional[OnReply]) -> SentMessage:
        """Do what is to be done with a message that cannot be sent now; requires holding the lock."""
        if self._when_not_connected == "ignore":
            sent = SentMessage(None, None, None)
            sent.outcome = Ending(CloseCode.ABNORMAL, "")
            return sent
        if self._state is _State.CLOSED:
            raise NotConnected("the client is closed")
        if self._when_not_connected == "raise":
            raise NotConnected("the client is not connected")
        return self._queue.put(event, body, on_reply)

    # -- starting and stopping the thread ---------------------------------------------------------------------------

    def _start(self) -> bool:
        """Start the thread; false where there is one."""
        with self._lock:
            if self._state is _State.CLOSED:
                raise NotConnected("the client was closed, which is final; make a new one")
            if self._thread is not None:
                return False
            with _numbers_lock:
                number = next(_numbers)
            thread = threading.Thread(target=self._run, name=f"ezez-client-{number}", daemon=True)
            self._state = _State.TRYING
            self._janitor = Janitor(f"ezez-janitor-client-{number}")
            self._failure = self._rejection = None
            self._failure_is_final = self._stopping = False
            self._ended.clear()
            try:
                thread.start()
            except BaseException:
                self._state = _State.IDLE
                self._ended.set()
                raise
            self._thread = thread
        close_at_exit(self)
        return True

    def _wait_ready(self, deadline: Deadline) -> None:
        with self._lock:
            while self._state is not _State.READY:
                if self._rejection is not None:
                    raise AuthRejected(self._rejection)
                if self._state is _State.CLOSED:
                    raise NotConnected("the client was closed")
                if self._failure is not None and (self._failure_is_final or self._thread is None):
                    raise self._failure
                if self._thread is None:
                    raise ConnectionFailed(f"the connection to {self._url} was lost before it was authenticated")
                if deadline.passed():
                    why = "" if self._failure is None else f": {self._failure}"
                    raise ConnectTimeout(f"no connection to {self._url} in time{why}") from self._failure
                self._changed.wait(deadline.remaining())

    def _stop(self) -> None:
        """End the thread, but not for good: ``connect`` has failed."""
        with self._lock:
            self._stopping = True
            thread, link, dialer = self._thread, self._link, self._dialer
            self._changed.notify_all()
        self._leave(thread, link, dialer, Ending(CloseCode.NORMAL, ""), Deadline(self._options.close_timeout))

    def _close(self, code: int, reason: str, seconds: Optional[float]) -> None:
        deadline = Deadline(seconds)
        ending = Ending(code, reason)
        with self._lock:
            self._state = _State.CLOSED
            thread, link, dialer = self._thread, self._link, self._dialer
            given_up = self._queue.end_all(ending)
            if thread is None:
                self._ended.set()
        del given_up
        self._leave(thread, link, dialer, ending, deadline)

    def _leave(
        self,
        thread: Optional[threading.Thread],
        link: Optional[Link],
        dialer: Optional[Dialer],
        ending: Ending,
        deadline: Deadline,
    ) -> None:
        if dialer is not None:
            dialer.cancel()
        if link is not None:
            link.disconnect(*ending)
        if thread is None or thread is threading.current_thread():
            return
        thread.join(deadline.remaining())
        if thread.is_alive() and link is not None:
            link.cut()
        thread.join(_GRACE)
        if thread.is_alive():
            logger.warning("closed, but the thread %s is still inside user code", thread.name)
            if link is not None:
                link.dispose()

    def close_within(self, seconds: Optional[float]) -> None:
        """Close, with another limit than ``close_timeout``."""
        if not self._fork_guard.foreign():
            self._close(CloseCode.NORMAL, "", seconds)

    def say_goodbye(self) -> None:
        """Send a close frame, and do not wait for anything."""
        with self._lock:
            link = self._link
        if link is not None and not self._fork_guard.foreign():
            link.disconnect(CloseCode.NORMAL, "")

    def _refuse_own_thread(self, name: str) -> None:
        with self._lock:
            own = self._is_own_thread()
        if own:
            raise RuntimeError(f"{name}() would block the client's own thread, and wait for itself")

    def _is_own_thread(self) -> bool:
        """Requires holding the lock."""
        return self._thread is threading.current_thread()

    def _is_trying(self) -> bool:
        """Requires holding the lock."""
        return self._state in (_State.TRYING, _State.READY)

    # -- the client's thread ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        with self._lock:
            janitor = self._janitor
        assert janitor is not None
        try:
            while self._attempt(janitor) and self._pause():
                pass
        finally:
            janitor.close()
            with self._lock:
                self._thread = None
                if self._state is not _State.CLOSED:
                    self._state = _State.IDLE
                self._ended.set()
                self._changed.notify_all()

    def _attempt(self, janitor: Janitor) -> bool:
        """Connect once and serve the connection; return whether to try again."""
        dialer = Dialer(self._target, self._headers, self._subprotocols, self._ssl, self._compress)
        with self._lock:
            if self._is_over():
                return False
            self._dialer = dialer
        try:
            dialed = dialer.dial(Deadline(self._connect_timeout))
        except DialCancelled:
            return False
        except (OSError, DialRefused) as error:
            return self._failed(error)
        finally:
            with self._lock:
                self._dialer = None
        stream = Stream(
            dialed.wire,
            client_side=True,
            max_payload=self._options.max_payload,
            send_buffer_limit=self._options.send_buffer_limit,
            early=dialed.early,
            deflate=dialed.deflate,
        )
        events = LinkEvents(ready=self._ready, rejected=self._rejected, ended=self._lost)
        link = Link(stream, self._options, janitor, self._callbacks, self._listeners, *self._unknown, events)
        return self._serve(link)

    def _serve(self, link: Link) -> bool:
        with self._lock:
            over = self._is_over()
            if not over:
                self._link = link
        if over:
            link.dispose()
            return False
        try:
            link.begin(self._auth)
            link.run()
        finally:
            link.dispose()
            with self._lock:
                self._link = None
                given_up = None
                if self._rejection is not None or not self._auto_reconnect:
                    given_up = self._queue.end_all(link.stream.ending or Ending(CloseCode.ABNORMAL, ""))
            del given_up
        with self._lock:
            return self._auto_reconnect and self._rejection is None and not self._is_over()

    def _failed(self, error: Exception) -> bool:
        """Note that an attempt failed; return whether to try again."""
        failure = ConnectionFailed(
            f"cannot connect to {self._url}: {error}", error.status if isinstance(error, DialRefused) else None
        )
        failure.__cause__ = error
        with self._lock:
            self._failure = failure
            self._failure_is_final = isinstance(error, DialRefused)
            self._changed.notify_all()
        report_error(self._callbacks.on_error, failure)
        return self._auto_reconnect

    def _pause(self) -> bool:
        """Wait before the next attempt; return whether there is one."""
        deadline = Deadline(self._backoff.next())
        with self._lock:
            while not self._is_over():
                if deadline.passed():
                    return True
                self._changed.wait(deadline.remaining())
            return False

    def _is_over(self) -> bool:
        """Whether the thread is to end; requires holding the lock."""
        return self._stopping or self._state is _State.CLOSED

    # -- what a link tells, on the client's thread ------------------------------------------------------------------

    def _ready(self, link: Link) -> bool:
        """Send the queue and become READY; false where the link was lost, or the client closed, over that."""
        self._backoff.reset()
        while True:
            with self._lock:
                if self._is_over():
                    return False
                message = self._queue.take()
                if message is None:
                    self._state = _State.READY
                    self._failure = None
                    self._changed.notify_all()
                    return True
            try:
                sent = link.send_encoded(message.sent, message.event, message.body, message.on_reply)
            except SendTimeout:
                sent = False
            with self._lock:
                if not sent:
                    self._queue.put_back(message)
                    if self._state is _State.CLOSED:
                        self._queue.end_all(link.stream.ending or Ending(CloseCode.ABNORMAL, ""))
                    return False
                self._changed.notify_all()

    def _rejected(self, link: Link, reason: str) -> None:
        with self._lock:
            self._rejection = reason

    def _lost(self, link: Link) -> None:
        """Note that a link takes nothing any more. Any thread's."""
        with self._lock:
            if self._link is link and self._state is _State.READY:
                self._state = _State.TRYING
                self._changed.notify_all()


def _check_auth(auth: Any) -> Optional[str]:
    if auth is not None and not isinstance(auth, str):
        raise TypeError(f"auth must be a str or None, not {type(auth).__name__}")
    return auth


def _encode_json(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()
        return text
    except (TypeError, ValueError, RecursionError) as error:
        raise SerializationError(f"the value is no JSON: {error}") from error
