"""A server's side of one connection, from authentication on."""

import logging
from collections.abc import Callable
from types import MethodType
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import ConnectionClosed, MalformedMessage
from ..messages.protocol import (
    AUTH,
    AUTH_OK,
    AUTH_PREFIX,
    AUTH_REJECTED,
    VERSION,
    AuthRequest,
    CloseCode,
    Event,
    as_javascript_text,
    parse_event,
    parse_from_client,
)
from ..options import check_callback, check_choice, check_count, check_seconds
from ..threads.deadline import NEVER, Deadline
from ..threads.timers import Janitor
from ..websocket.outbox import WAITING
from ..websocket.stream import Ending, Stream
from .connection import Connection, ConnectionOptions, answer
from .inbox import Arrived, Mark
from .listeners import Listeners
from .replies import OnReply, SentMessage

if TYPE_CHECKING:
    from ..server_client import EZEZServerClient

__all__ = ["ServerCallbacks", "ServerConnection", "ServerConnectionOptions"]

logger = logging.getLogger("ezez_ws")


class ServerCallbacks(NamedTuple):
    """What a server's user wants to hear of."""

    on_auth_request: Callable[..., Any]
    on_auth_ok: Callable[..., Any] | None
    on_auth_rejected: Callable[..., Any] | None
    on_message: Callable[..., Any] | None
    on_disconnect: Callable[..., Any] | None
    on_error: Callable[..., Any] | None

    def check(self) -> None:
        """Raise ``TypeError`` for what is not callable."""
        for name, callback in zip(self._fields, self, strict=False):
            check_callback(name, callback, required=name == "on_auth_request")


class ServerConnectionOptions(NamedTuple):
    """The options of a server's side of a connection."""

    common: ConnectionOptions
    auth_timeout: float
    messages_before_auth: str
    max_payload_before_auth: int
    queue_limit_bytes: int
    queue_overflow: str | Callable[..., Any]
    raise_after_disconnect: bool

    def check(self) -> None:
        """Raise ``TypeError`` or ``ValueError`` for what is wrong."""
        check_seconds("auth_timeout", self.auth_timeout)
        check_count("max_payload_before_auth", self.max_payload_before_auth)
        check_count("queue_limit_bytes", self.queue_limit_bytes)
        check_choice("messages_before_auth", self.messages_before_auth, ("ignore", "queue", "accept"))
        check_choice("queue_overflow", self.queue_overflow, ("ignore", "disconnect"), or_callable=True)
        if self.messages_before_auth == "queue" and self.common.max_payload > self.queue_limit_bytes:
            raise ValueError(
                f"queue_limit_bytes ({self.queue_limit_bytes}) must be at least max_payload ({self.common.max_payload})"
                ' with messages_before_auth="queue"'
            )

    @property
    def first_max_payload(self) -> int:
        """The bytes of one message until the client is authenticated."""
        if self.messages_before_auth == "ignore":
            return min(self.max_payload_before_auth, self.common.max_payload)
        return self.common.max_payload


class ServerConnection(Connection):
    """A server's side of one connection.

    Everything from ``_attempted`` on belongs to the connection's thread. ``authenticated`` says whether auth-ok has
    been put out: it is set once, under the outbox's lock, and others read it without, as whoever then sends waits for
    that lock.
    """

    def __init__(
        self,
        stream: Stream,
        options: ServerConnectionOptions,
        janitor: Janitor,
        callbacks: ServerCallbacks,
        shared_listeners: Listeners,
    ) -> None:
        super().__init__(stream, options.common, janitor, keep_text=False)
        self.client: EZEZServerClient  # set by whoever makes this, before it runs
        self.listeners = Listeners()
        self._options = options
        self._callbacks = callbacks
        self._on_message = callbacks.on_message
        self._shared_listeners = shared_listeners
        self._attempted = False
        self.read_deadline = self._auth_deadline = Deadline(options.auth_timeout)
        self.authenticated = False
        self._queue: list[Arrived] = []
        self._queue_bytes = 0
        self._mark: Mark | None = None
        self.inbox.expected_prefix = AUTH_PREFIX
        self.inbox.routes_replies = options.messages_before_auth == "accept"

    def run(self) -> None:
        """Serve the connection until it has ended."""
        if self._options.messages_before_auth != "ignore":
            # user code may keep this thread busy: somebody else must see what has come by then
            self.call_later(self._options.auth_timeout, self._look_for_auth)
        super().run()

    def unsent(self, reply_to: int | None) -> SentMessage:
        """Raise, with ``send_after_disconnect="raise"``."""
        sent = super().unsent(reply_to)
        if self._options.raise_after_disconnect:
            assert isinstance(sent.outcome, Ending)
            raise ConnectionClosed(*sent.outcome)
        return sent

    # -- messages ---------------------------------------------------------------------------------------------------

    def handle(self, payload: bytes, on_reply: OnReply | None) -> None:
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

    def handle_other(self, what: str | Mark) -> None:
        """Note that the mark has come; texts are not kept."""
        self._mark = None

    def deliver(self, event: Event, on_reply: OnReply | None) -> None:
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

    def _parse(self, values: list[Any]) -> Event | AuthRequest | None:
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
        return self._auth_deadline.passed() and not self.inbox.expected_in_time()

    def _look_for_auth(self) -> None:
        """See at the deadline whether the authentication message is there. The janitor's."""
        self.inbox.expected_in_time()

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

    def _ask(self, key: str) -> str | None:
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
            self.inbox.between_reads(lambda: self.stream.limit_payload(limit))
        answer = self._codec.encode([AUTH_OK])
        with self._outbox.lock:
            # whoever sees that the client is authenticated, and sends, comes behind this answer
            self.authenticated = True
            outcome = self._outbox.put(answer)
        if outcome is WAITING:
            self._outbox.watch()
        self.inbox.put_back(self._queue)
        self._queue = []
        self.begin_user_code()
        self.call(self._callbacks.on_auth_ok, self.client)

    def _handle_arrived_meanwhile(self) -> bool:
        """Deal with what has arrived while we made up our mind; false where the connection has ended."""
        self._mark = Mark()
        self.inbox.put_mark(self._mark)
        while self._mark is not None and self.alive:
            arrived = self.inbox.next(NEVER)
            if arrived is not None and not isinstance(arrived, Ending):
                self._handle_next(arrived)
        return self.alive

    def _reject(self, reason: str) -> None:
        self._outbox.send(self._codec.encode([AUTH_REJECTED, reason]))
        self.inbox.drop(Ending(CloseCode.POLICY_VIOLATION, reason))
        self.call(self._callbacks.on_auth_rejected, self.client, reason)
        self.end_with(CloseCode.POLICY_VIOLATION, reason)

    def _handle_early(self, payload: bytes, event: Event, on_reply: OnReply | None) -> None:
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
