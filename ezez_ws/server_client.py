"""One client of a server: its public face, and its side of the protocol, from authentication on."""

import itertools
import logging
import threading
from types import MethodType
from typing import Any, Callable, List, NamedTuple, Optional, Union, overload

from .arrivals import Arrived, Mark
from .context import Context
from .deadline import NEVER, Deadline
from .errors import ConnectionClosed, MalformedMessage
from .fork import ForkGuard
from .janitor import Janitor
from .listeners import L, Listeners
from .options import check_callback, check_choice, check_count, check_seconds
from .peer import Peer, PeerOptions, answer
from .protocol import (
    AUTH,
    AUTH_OK,
    AUTH_PREFIX,
    AUTH_REJECTED,
    VERSION,
    AuthRequest,
    CloseCode,
    Event,
    as_javascript_text,
    check_close,
    parse_event,
    parse_from_client,
)
from .replies import OnReply, SentMessage
from .transport.handshake import HandshakeRequest
from .transport.outbox import WAITING
from .transport.stream import Ending, Stream

__all__ = ["EZEZServerClient", "ServerCallbacks", "Session", "SessionOptions"]

logger = logging.getLogger("ezez_ws")

_ids = itertools.count()
_ids_lock = threading.Lock()


class ServerCallbacks(NamedTuple):
    """What a server's user wants to hear of."""

    on_auth_request: Callable[..., Any]
    on_auth_ok: Optional[Callable[..., Any]]
    on_auth_rejected: Optional[Callable[..., Any]]
    on_message: Optional[Callable[..., Any]]
    on_disconnect: Optional[Callable[..., Any]]
    on_error: Optional[Callable[..., Any]]

    def check(self) -> None:
        """Raise ``TypeError`` for what is not callable."""
        for name, callback in zip(self._fields, self):
            check_callback(name, callback, required=name == "on_auth_request")


class SessionOptions(NamedTuple):
    """The options of a server's side of a connection."""

    peer: PeerOptions
    auth_timeout: float
    messages_before_auth: str
    max_payload_before_auth: int
    queue_limit_bytes: int
    queue_overflow: Union[str, Callable[..., Any]]
    raise_after_disconnect: bool

    def check(self) -> None:
        """Raise ``TypeError`` or ``ValueError`` for what is wrong."""
        check_seconds("auth_timeout", self.auth_timeout)
        check_count("max_payload_before_auth", self.max_payload_before_auth)
        check_count("queue_limit_bytes", self.queue_limit_bytes)
        check_choice("messages_before_auth", self.messages_before_auth, ("ignore", "queue", "accept"))
        check_choice("queue_overflow", self.queue_overflow, ("ignore", "disconnect"), or_callable=True)
        if self.messages_before_auth == "queue" and self.peer.max_payload > self.queue_limit_bytes:
            raise ValueError(
                f"queue_limit_bytes ({self.queue_limit_bytes}) must be at least max_payload ({self.peer.max_payload})"
                ' with messages_before_auth="queue"'
            )

    @property
    def first_max_payload(self) -> int:
        """The bytes of one message until the client is authenticated."""
        if self.messages_before_auth == "ignore":
            return min(self.max_payload_before_auth, self.peer.max_payload)
        return self.peer.max_payload


class EZEZServerClient:
    """A client that is connected to a server; the server makes one for each connection.

    Every method may be called from any thread. After ``os.fork`` the child's calls raise ``RuntimeError``.
    """

    def __init__(self, session: "Session", request: HandshakeRequest, context: Context) -> None:
        self._session = session
        self._request = request
        self._context = context
        self._fork_guard = ForkGuard("client")
        with _ids_lock:
            self._connection_id = next(_ids)

    def send(self, event: str, args: Any = (), on_reply: Optional[OnReply] = None) -> SentMessage:
        """Send an event.

        Returns as soon as the kernel or the send buffer has the message. Without room in the send buffer
        (``send_buffer_limit``) it waits, reading meanwhile, at most ``send_timeout`` seconds.

        Args:
            event: its name; names that start with ``ezez-ws::`` or ``ezez-ws:incoming:`` are the protocol's.
            args: a list or tuple of values that the server's codec can send.
            on_reply: called as ``on_reply(client, event, args, reply, ids)`` for the first reply, on the connection's
                thread; the listeners do not get that reply then.

        Returns:
            A ``SentMessage`` to wait for the reply with; falsy where the connection is gone.

        Raises:
            TypeError, ValueError: a wrong event name, ``args`` or ``on_reply``.
            SerializationError: a value that cannot be sent.
            ConnectionClosed: the connection is gone, with ``send_after_disconnect="raise"``.
            SendTimeout: there was no room in time; the client has been cut.
        """
        self._fork_guard.check()
        return self._session.send(event, args, None, on_reply)

    @overload
    def on(self, event: str, listener: L) -> L: ...

    @overload
    def on(self, event: str) -> Callable[[L], L]: ...

    def on(self, event: str, listener: Optional[L] = None) -> Union[L, Callable[[L], L]]:
        """Listen to an event of this client: ``listener(args, reply, ids)``. Also as ``@client.on(event)``."""
        self._fork_guard.check()
        return self._session.listeners.add(event, listener, once=False)

    @overload
    def once(self, event: str, listener: L) -> L: ...

    @overload
    def once(self, event: str) -> Callable[[L], L]: ...

    def once(self, event: str, listener: Optional[L] = None) -> Union[L, Callable[[L], L]]:
        """Listen to the next event of that name only. Also as ``@client.once(event)``."""
        self._fork_guard.check()
        return self._session.listeners.add(event, listener, once=True)

    def off(self, event: str, listener: Optional[Callable[..., Any]] = None) -> None:
        """Remove a listener, as often as it is registered, or all listeners of an event."""
        self._fork_guard.check()
        self._session.listeners.remove(event, listener)

    def disconnect(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Begin to close the connection, and return at once.

        Waiting threads get ``ConnectionClosed``; events that have arrived and are not handled yet are dropped. The
        peer has ``close_timeout`` seconds to answer; then the connection is cut. ``on_disconnect`` follows. Nothing
        happens where the connection is closing or gone.

        Args:
            code: 1000-1003, 1007-1014 or 3000-4999 (RFC 6455, section 7.4).
            reason: at most 123 bytes of UTF-8.

        Raises:
            ValueError, TypeError: another code or reason.
        """
        self._fork_guard.check()
        check_close(code, reason)
        self._session.disconnect(code, reason)

    @property
    def context(self) -> Context:
        """What the program keeps for this client."""
        return self._context

    @property
    def alive(self) -> bool:
        """Whether the connection is open: not closing, and not known to be gone."""
        return self._session.alive

    @property
    def authenticated(self) -> bool:
        """Whether the client has been authenticated; it stays so when the connection ends."""
        return self._session.authenticated

    @property
    def connection_id(self) -> int:
        """Counts connections from 0 over the life of the process, never starting anew."""
        return self._connection_id

    @property
    def awaiting_replies_count(self) -> int:
        """Messages with an ``on_reply`` still to come, plus those that a thread is waiting for."""
        return self._session.awaiting_replies_count

    @property
    def request(self) -> HandshakeRequest:
        """The HTTP request that the connection began with."""
        return self._request

    @property
    def client(self) -> Stream:
        """The underlying WebSocket; sending through it bypasses the protocol."""
        return self._session.stream

    def __repr__(self) -> str:
        state = "authenticated" if self.authenticated else "not authenticated"
        return f"<EZEZServerClient {self._connection_id} {state}, {'open' if self.alive else 'closed'}>"


class Session(Peer):
    """A server's side of one connection.

    Everything from ``_attempted`` on belongs to the connection's thread. ``authenticated`` says whether auth-ok has
    been put out: it is set once, under the outbox's lock, and others read it without, as whoever then sends waits for
    that lock.
    """

    def __init__(
        self,
        stream: Stream,
        options: SessionOptions,
        janitor: Janitor,
        callbacks: ServerCallbacks,
        shared_listeners: Listeners,
        request: HandshakeRequest,
        context: Context,
    ) -> None:
        super().__init__(stream, options.peer, janitor, keep_text=False)
        self.client = EZEZServerClient(self, request, context)
        self.listeners = Listeners()
        self._options = options
        self._callbacks = callbacks
        self._on_message = callbacks.on_message
        self._shared_listeners = shared_listeners
        self._attempted = False
        self.read_deadline = self._auth_deadline = Deadline(options.auth_timeout)
        self.authenticated = False
        self._queue: List[Arrived] = []
        self._queue_bytes = 0
        self._mark: Optional[Mark] = None
        self.reader.expected_prefix = AUTH_PREFIX
        self.reader.routes_replies = options.messages_before_auth == "accept"

    def run(self) -> None:
        """Serve the connection until it has ended."""
        if self._options.messages_before_auth != "ignore":
            # user code may keep this thread busy: somebody else must see what has come by then
            self.call_later(self._options.auth_timeout, self._look_for_auth)
        super().run()

    def unsent(self, reply_to: Optional[int]) -> SentMessage:
        """Raise, with ``send_after_disconnect="raise"``."""
        sent = super().unsent(reply_to)
        if self._options.raise_after_disconnect:
            assert isinstance(sent.outcome, Ending)
            raise ConnectionClosed(*sent.outcome)
        return sent

    # -- messages ---------------------------------------------------------------------------------------------------

    def handle(self, payload: bytes, on_reply: Optional[OnReply]) -> None:
        """Deal with a message: authentication, or an event."""
        if not self._attempted and self._is_too_late():
            self._begin_attempt()
            self._reject("Auth timeout")
            return
        try:
            decoded = self._codec.decode_event(payload)
            message = decoded if isinstance(decoded, Event) else self._parse(decoded)
        except MalformedMessage as error:
            self.fail(error, CloseCode.PROTOCOL_ERROR, "Malformed message")
            return
        if type(message) is Event:
            if self.authenticated:
                self.deliver(message, on_reply)
            else:
                self._handle_early(payload, message, on_reply)
        elif type(message) is AuthRequest:
            self._authenticate(message)

    def handle_other(self, what: Union[str, Mark]) -> None:
        """Note that the mark has come; texts are not kept."""
        self._mark = None

    def deliver(self, event: Event, on_reply: Optional[OnReply]) -> None:
        """Run the callbacks of an event."""
        name, ids, args = event
        event_id, reply_to = ids
        client, reply = self.client, MethodType(answer, (self, event_id))
        if reply_to is not None and on_reply is None:
            on_reply = self.settle_reply(event)
        own = () if on_reply is not None else self.listeners.take(name)
        shared = () if on_reply is not None else self._shared_listeners.take(name)
        if self._on_message is not None:
            self.call(self._on_message, client, name, args, reply, ids)
        if on_reply is not None:
            self.call(on_reply, client, name, args, reply, ids)
        for listener in own:
            try:
                listener(args, reply, ids)
            except BaseException as error:
                self.callback_failed(listener, error)
        for listener in shared:
            try:
                listener(client, args, reply, ids)
            except BaseException as error:
                self.callback_failed(listener, error)

    def _parse(self, values: List[Any]) -> Union[Event, AuthRequest, None]:
        if not self._attempted:
            return parse_from_client(values)
        if type(values[0]) is str and values[0] == AUTH:
            return None  # one attempt for each connection; later ones are dropped, whatever they hold
        return parse_event(values)

    # -- before and during authentication ---------------------------------------------------------------------------

    def read_deadline_passed(self) -> None:
        """No authentication message has come in time, unless the last look finds one."""
        if not self._is_too_late():
            return
        self.begin_user_code()
        self._begin_attempt()
        self._reject("Auth timeout")

    def _begin_attempt(self) -> None:
        """From now on no authentication message is waited for."""
        self._attempted = True
        self.read_deadline = NEVER

    def _is_too_late(self) -> bool:
        return self._auth_deadline.passed() and not self.reader.expected_in_time()

    def _look_for_auth(self) -> None:
        """See at the deadline whether the authentication message is there. The janitor's."""
        self.reader.expected_in_time()

    def _authenticate(self, request: AuthRequest) -> None:
        self._begin_attempt()
        version = request.version
        if type(version) not in (int, float) or version != VERSION:
            printed = as_javascript_text(version)
            self._reject(f"Protocol version mismatch, wanted {VERSION}, got {printed}")
            return
        refusal = self._ask(request.key)
        if not self.alive:
            return
        if refusal is not None:
            self._reject(refusal)
        else:
            self._accept()

    def _ask(self, key: str) -> Optional[str]:
        """Ask the user; return why the client is refused, or ``None``."""
        try:
            answer = self._callbacks.on_auth_request(self.client, key)
            if answer is not None and not isinstance(answer, bool):
                raise TypeError(f"on_auth_request must return True or False, not {type(answer).__name__}")
        except BaseException as error:
            logger.exception("an error in on_auth_request")
            self.report_error(error)
            return "Auth verification failed"
        return None if answer else "Invalid auth key"

    def _accept(self) -> None:
        if not self._handle_arrived_meanwhile():
            return
        limit = self.options.max_payload
        if limit != self._options.first_max_payload:
            self.reader.between_reads(lambda: self.stream.limit_payload(limit))
        answer = self._codec.encode([AUTH_OK])
        with self._outbox.lock:
            # whoever sees that the client is authenticated, and sends, comes behind this answer
            self.authenticated = True
            outcome = self._outbox.put(answer)
        if outcome is WAITING:
            self._outbox.watch()
        self.reader.put_back(self._queue)
        self._queue = []
        self.begin_user_code()
        self.call(self._callbacks.on_auth_ok, self.client)

    def _handle_arrived_meanwhile(self) -> bool:
        """Deal with what has arrived while we made up our mind; false where the connection has ended."""
        self._mark = Mark()
        self.reader.put_mark(self._mark)
        while self._mark is not None and self.alive:
            arrived = self.reader.next(NEVER)
            if arrived is not None and not isinstance(arrived, Ending):
                self._handle_next(arrived)
        return self.alive

    def _reject(self, reason: str) -> None:
        self._outbox.send(self._codec.encode([AUTH_REJECTED, reason]))
        self.reader.drop(Ending(CloseCode.POLICY_VIOLATION, reason))
        self.call(self._callbacks.on_auth_rejected, self.client, reason)
        self.end_with(CloseCode.POLICY_VIOLATION, reason)

    def _handle_early(self, payload: bytes, event: Event, on_reply: Optional[OnReply]) -> None:
        """Deal with an event that came before the client was authenticated."""
        mode = self._options.messages_before_auth
        if mode == "accept":
            self.deliver(event, on_reply)
        elif mode == "queue":
            size = len(payload)
            if self._queue_bytes + size > self._options.queue_limit_bytes:
                self._overflow(size)
            else:
                self._queue.append((payload, on_reply))
                self._queue_bytes += size

    def _overflow(self, size: int) -> None:
        overflow = self._options.queue_overflow
        if callable(overflow):
            self.call(overflow, self.client, size)
        elif overflow == "disconnect":
            self.end_with(CloseCode.POLICY_VIOLATION, "Queue overflow")

    # -- the user's callbacks ---------------------------------------------------------------------------------------

    def report_error(self, error: BaseException) -> None:
        """Give an error to ``on_error``, and where there is none to the log."""
        if self._callbacks.on_error is None:
            logger.info("client %d: %s", self.client.connection_id, error)
            return
        try:
            self._callbacks.on_error(self.client, error)
        except BaseException:
            logger.exception("an error in on_error")

    def disconnected(self, ending: Ending) -> None:
        """Run ``on_disconnect``."""
        self.call(self._callbacks.on_disconnect, self.client, ending.code, ending.reason)
