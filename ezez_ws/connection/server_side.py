"""A server's side of one connection: authentication, and what comes before it."""

import logging
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import ConnectionClosed, MalformedMessage
from ..logs import limited, shown, shown_address
from ..messages.protocol import (
    AUTH,
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
from ..opening.places import Place
from ..threads import clock
from ..threads.interrupted import calls_user_code
from ..websocket.frames import Start
from ..websocket.outbox import Put
from ..websocket.stream import Ending, Stream
from ..wire.linux import restore_scheduling
from .connection import Connection, ConnectionOptions
from .inbox import Arrived, Mark
from .listeners import NO_LISTENERS, Listeners
from .replies import RoutedReply, SentMessage

if TYPE_CHECKING:
    from ..cluster.hub import Hub
    from ..cluster.rooms import Session
    from ..server_client import EZEZServerClient
    from ..server_run import ServerOptions

__all__ = ["ServerConnection", "ServerConnectionOptions"]


_LONGEST_VERSION = 100  # characters of what a peer calls its version that it gets back

_TOO_LATE = "Auth timeout"
_ON_ITS_WAY = 0.1  # seconds that a reader has to note what it has just read
_IN_THE_KERNEL = 1.0  # and to read what has come
_FAREWELL = 1.0  # and that the peer has to answer our close frame
_FAREWELL_BYTES = 256 << 10  # and what it may still send meanwhile


class _Late(Mark):
    """The time to authenticate is over; ``told``: the peer has been told so."""

    def __init__(self, told: bool) -> None:
        self.told = told


class ServerConnectionOptions(NamedTuple):
    """The options of a server's side of a connection."""

    common: ConnectionOptions
    auth_timeout: float
    messages_before_auth: str
    max_payload_before_auth: int
    queue_limit_bytes: int
    queue_overflow: str | Callable[..., Any]
    raise_after_disconnect: bool
    factories: Sequence[Callable[[Any], object]] = ()  # of what implements contracts; may become more


class ServerConnection(Connection):
    """A server's side of one connection.

    ``authenticated`` says whether auth-ok has been put out: it is set once, under ``stream.sending``, and others read
    it without, as whoever then sends waits for that lock. ``_auth_seen`` and ``_auth_in_time`` are guarded by the
    inbox's lock; everything else belongs to the connection's thread.
    """

    session: "Session | None" = None  # what the node knows of it, once it is authenticated

    def __init__(
        self,
        stream: Stream,
        options: "ServerOptions",
        place: Place,
        hub: "Hub",
        make_client: "Callable[[ServerConnection], EZEZServerClient[Any]]",
    ) -> None:
        super().__init__(stream, options.connection.common, options.callbacks, NO_LISTENERS, options.listeners)
        self.subject = (make_client(self),)
        self.authenticated = False
        self._auth_until = clock.monotonic() + options.connection.auth_timeout
        self._options = options.connection
        self._place = place
        self._hub = hub
        self._attempted = False
        self._early: list[Arrived] = []
        self._early_bytes = 0
        self._mark: Mark | None = None
        self._auth_seen = False  # an authentication message has arrived
        self._auth_in_time: bool | None = None  # had it, when the time was over
        self.inbox.note = self._note_auth
        self.inbox.on_end = place.leave  # at once, though a listener or on_disconnect may go on
        self.inbox.routes_replies = self._options.messages_before_auth == "accept"
        if self._options.messages_before_auth == "ignore":
            stream.keep_payload(self._options.max_payload_before_auth)

    @property
    def client(self) -> "EZEZServerClient[Any]":
        """What users see of it."""
        client: EZEZServerClient[Any] = self.subject[0]
        return client

    @property
    def name(self) -> str:
        """Its id, and where it comes from."""
        address = shown_address(self.client.request.remote_address)
        return f"connection {self.client.connection_id}{'' if address is None else f' from {address}'}"

    @property
    def since(self) -> float:
        """When it began, in monotonic time."""
        return self._auth_until - self._options.auth_timeout

    def own_listeners(self) -> Listeners:
        """Return the listeners of this client alone, made when they are first wanted. Any thread may call it."""
        with self.inbox.lock:
            if self.listeners is NO_LISTENERS:
                self.listeners = Listeners()
            return self.listeners

    def run(self) -> None:
        """Serve the connection until it has ended."""
        self.tell("connected")
        self.call_later(self._options.auth_timeout, self._end_waiting)
        super().run()

    def dismiss(self) -> bool:
        """Close, as another needs the place; false where an authentication message has come. Any thread's."""
        with self.inbox.lock:
            if self._auth_seen:
                return False
        self.end_with(CloseCode.POLICY_VIOLATION, "Too many connections wait to authenticate")
        self.figures.cut("unauthenticated")
        self.cut()  # what has been sent still arrives; its thread wakes
        return True

    def dispose(self, patience: float | None = None, most: float = math.inf) -> None:
        """Give the socket back; who was never authenticated is not waited for as long, nor are many of them."""
        if patience is not None and not self.authenticated:
            patience, most = min(patience, _FAREWELL) if self._place.refuse() else None, _FAREWELL_BYTES
        super().dispose(patience, most)

    def unsent(self, reply_to: int | None) -> SentMessage:
        """Raise, with ``send_after_disconnect="raise"``; and in a listener that has outlived the connection for long.

        A loop that looks at nothing would never end else.
        """
        sent = super().unsent(reply_to)
        if self._options.raise_after_disconnect or self.outlived():
            assert isinstance(sent._outcome, Ending)
            raise ConnectionClosed(*sent._outcome)
        return sent

    def callback_failed(
        self, callback: Callable[..., Any], error: BaseException, event: str | None = None, role: str = ""
    ) -> None:
        """Tell what a callback has raised; that ``unsent`` has stopped it is no error, and told once."""
        stopped = isinstance(error, ConnectionClosed) and not self._options.raise_after_disconnect
        if stopped and self.outlived():
            what = self.describe(callback, event, role)
            self.warn_outlived(f"{what} still sent long after the connection had ended, and was stopped")
        else:
            super().callback_failed(callback, error, event, role)

    def judge(self, payload: bytes, routed: RoutedReply | None) -> None:
        """Deal with an authentication message, or with an event that is not plain or comes early."""
        if not self._attempted and self._reject_if_late():
            return
        try:
            decoded = self._codec._decode_event(payload)
            message = decoded if isinstance(decoded, Event) else self._parse(decoded)
        except MalformedMessage as error:
            self.fail(error, CloseCode.PROTOCOL_ERROR, "Malformed message")
            return
        if isinstance(message, AuthRequest):
            self._authenticate(message)
        elif message is not None:
            if self.authenticated or self._options.messages_before_auth == "accept":
                self.deliver(message, payload, routed)
            elif self._options.messages_before_auth == "queue":
                self._keep(payload, routed)

    def handle_other(self, what: str | Start | Mark) -> None:
        """Note that a mark has come, or see what came early and was too large to be kept; texts are not kept."""
        if isinstance(what, _Late):
            if not self._attempted:
                self._begin_attempt()
                self._reject(_TOO_LATE, what.told)
        elif isinstance(what, Mark):
            self._mark = None
        elif self._attempted or self._reject_if_late():
            pass
        elif isinstance(what, Start) and what.startswith(AUTH_PREFIX):
            reason = f"an authentication message over {self._options.max_payload_before_auth} bytes"
            self.fail(MalformedMessage(reason), CloseCode.MESSAGE_TOO_BIG, reason)

    def _parse(self, values: list[object]) -> Event | AuthRequest | None:
        if not self._attempted:
            return parse_from_client(values)
        if type(values[0]) is str and values[0] == AUTH:
            return None  # one attempt for each connection; later ones are dropped, whatever they hold
        return parse_event(values)

    def _keep(self, payload: bytes, routed: RoutedReply | None) -> None:
        """Keep an event until the client is authenticated."""
        size = len(payload)
        if self._early_bytes + size <= self._options.queue_limit_bytes:
            self._early.append(routed or payload)
            self._early_bytes += size
        elif callable(self._options.queue_overflow):
            self.call(self._options.queue_overflow, self.client, size)
        elif self._options.queue_overflow == "disconnect":
            self.warn("cut: more than queue_limit_bytes before authentication", "queue overflow")
            self.end_with(CloseCode.POLICY_VIOLATION, "Queue overflow")
            self.figures.cut("queue-overflow")

    def _end_waiting(self) -> None:
        """The time is over: where no authentication message has come, have the client rejected. The janitor's.

        What has come counts, though nobody may have looked yet: so a thread that is reading gets a moment to do so. One
        that sleeps is woken by the peer's answer to our goodbye, or by its not coming.
        """
        with self.inbox.lock:
            if self._auth_in_time is not None:
                return
        self.inbox.look_in()
        late = clock.monotonic() - self._auth_until
        may_have_come = late < _ON_ITS_WAY or (late < _IN_THE_KERNEL and self.stream.answers())
        with self.stream.sending:  # its thread, which may wake at once, says its last word behind ours
            with self.inbox.lock:
                reads = self.inbox.owner_reads()
                decides = self._auth_in_time is None and (self._auth_seen or not may_have_come)
                if decides:
                    self._auth_in_time = self._auth_seen
                    if not self._auth_seen:
                        self.inbox.put(_Late(told=reads))
                in_time = self._auth_in_time
            tells = decides and reads and not in_time
            if tells:
                self._place.refuse()
                self.stream.send(self._codec.encode([AUTH_REJECTED, _TOO_LATE]))
                self.stream.fail(CloseCode.POLICY_VIOLATION, _TOO_LATE)
        if decides and not in_time:
            self.figures.authenticated("late")
        if in_time is None:
            self.call_later(_ON_ITS_WAY, self._end_waiting)
        elif tells:
            self.call_later(_FAREWELL, self.cut)

    def _begin_attempt(self) -> None:
        """From now on no authentication message is waited for. What the callbacks to come start inherits no policy."""
        restore_scheduling()
        self._attempted = True
        self._place.ask()
        with self.inbox.lock:
            if self._auth_in_time is None:
                self._auth_in_time = True
            timer = None if self._timers is None else self._timers.pop(self._end_waiting.__name__, None)
        if timer is not None:
            timer.cancel()

    def _reject_if_late(self) -> bool:
        """Reject who has not sent its authentication message in time."""
        if clock.monotonic() < self._auth_until or self._look_for_auth():
            return False
        self._begin_attempt()
        self._reject(_TOO_LATE)
        return True

    def _look_for_auth(self) -> bool:
        """Tell whether an authentication message had arrived when this was first asked."""
        self.inbox.look_in()
        with self.inbox.lock:
            decides = self._auth_in_time is None
            if self._auth_in_time is None:
                self._auth_in_time = self._auth_seen
            in_time = self._auth_in_time
        if decides and not in_time:
            self.figures.authenticated("late")
        return in_time

    def _note_auth(self, payload: bytes | str) -> None:
        """See each message that arrives. Requires holding the inbox's lock."""
        if payload[: len(AUTH_PREFIX)] == AUTH_PREFIX:
            self._auth_seen = True

    def _authenticate(self, request: AuthRequest) -> None:
        self._begin_attempt()
        version = request.version
        if type(version) not in (int, float) or version != VERSION:
            given = shown(as_javascript_text(version), _LONGEST_VERSION)
            self._reject(f"Protocol version mismatch, wanted {VERSION}, got {given}")
            return
        refusal = self._ask(request.key)
        if not self.alive:
            return
        if refusal is not None:
            self._reject(refusal)
        else:
            self._accept(request)

    @calls_user_code
    def _ask(self, key: str) -> str | None:
        """Ask the user; return why the client is refused, or ``None``."""
        on_auth_request = self._callbacks.on_auth_request
        assert on_auth_request is not None
        before = self.tally.enter("on_auth_request")
        try:
            answer = on_auth_request(self.client, key)
            if answer is not None and not isinstance(answer, bool):
                raise TypeError(f"on_auth_request must return True or False, not {type(answer).__name__}")
        except BaseException as error:
            self.callback_failed(on_auth_request, error)
            return "Auth verification failed"
        finally:
            self.tally.resume(before)
        return None if answer else "Invalid auth key"

    def _accept(self, request: AuthRequest) -> None:
        if not self._handle_arrived_meanwhile():
            return
        if self._options.messages_before_auth == "ignore":
            self.inbox.between_reads(lambda: self.stream.keep_payload(self.options.max_payload))
        session = self._hub.clients.admit(self, request.more)
        self.stream.begin_compressing()
        self._place.admit()
        self.take_events()
        self.inbox.put_back(self._early)
        self._early = []
        self.figures.authenticated("ok")
        self.tell("authenticated")
        self.begin_user_code()
        for factory in self._options.factories:
            self.call(factory, self.client)
        self.call(self._callbacks.on_auth_ok, self.client)
        self._hub.clients.arrive(session)

    def put_auth_ok(self, answer: bytes) -> Put:
        """Answer the authentication: whoever sees that the client is authenticated, and sends, comes behind this."""
        with self.stream.sending:
            self.authenticated = True
            return self.stream.put(answer, needs_room=False)

    def tell_position(self) -> None:
        """Tell a client that can recover how far it has read."""
        if self.session is not None:
            self._hub.clients.tell_position(self.session)

    def look_for_outliving_later(self) -> None:
        """Leave the rooms, too, though user code goes on."""
        if self.session is not None:
            self._hub.forget(self.session)
        super().look_for_outliving_later()

    def disconnected(self, ending: Ending) -> None:
        """Leave all rooms, and run ``on_disconnect``, which still sees which they were."""
        session = self.session
        if session is not None:
            self._hub.forget(session)
        super().disconnected(ending)
        if session is not None:
            session.rooms = {}

    def _handle_arrived_meanwhile(self) -> bool:
        """Deal with what has arrived while we made up our mind; false where the connection has ended."""
        self.inbox.look_in()
        self._mark = Mark()
        with self.inbox.lock:
            self.inbox.put(self._mark)
            self.inbox.routes_replies = True
            self.inbox.note = None
        while self._mark is not None and self.alive:
            arrived = self.inbox.next()
            if not isinstance(arrived, Ending):
                self.handle_next(arrived)
        return self.alive

    def _reject(self, reason: str, told: bool = False) -> None:
        if reason != _TOO_LATE:  # which was counted when it was decided
            self.figures.authenticated("rejected")
        limited.tell(logging.INFO, "rejected", "%s: rejected: %s", self.name, reason, extra=self.extra())
        if not told:
            self.stream.send(self._codec.encode([AUTH_REJECTED, reason]))
        self.inbox.drop(Ending(CloseCode.POLICY_VIOLATION, reason))
        self.call(self._callbacks.on_auth_rejected, self.client, reason)
        self.end_with(CloseCode.POLICY_VIOLATION, reason)
