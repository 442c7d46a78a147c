"""A client's side of one connection, from the authentication on. The client has one after the other."""

import json
import logging
from collections.abc import Callable
from types import MethodType
from typing import Any, NamedTuple

from ..errors import MalformedMessage
from ..messages.protocol import (
    AUTH,
    EVENT_UNKNOWN_DATA_TYPE,
    EVENT_UNKNOWN_MESSAGE,
    VERSION,
    CloseCode,
    Event,
    Ids,
    parse_from_server,
)
from ..options import check_callback
from ..threads.timers import Janitor
from ..websocket.stream import Ending, Stream
from .connection import Connection, ConnectionOptions, answer
from .inbox import Mark
from .listeners import Listeners
from .replies import OnReply, SentMessage

__all__ = ["ClientCallbacks", "ClientConnection", "ClientConnectionEvents"]

logger = logging.getLogger("ezez_ws")


class ClientCallbacks(NamedTuple):
    """What a client's user wants to hear of."""

    on_connect: Callable[..., Any] | None
    on_auth_ok: Callable[..., Any] | None
    on_auth_rejected: Callable[..., Any] | None
    on_message: Callable[..., Any] | None
    on_disconnect: Callable[..., Any] | None
    on_error: Callable[..., Any] | None

    def check(self) -> None:
        """Raise ``TypeError`` for what is not callable."""
        for name, callback in zip(self._fields, self, strict=False):
            check_callback(name, callback)


class ClientConnectionEvents(NamedTuple):
    """What a connection tells its client, on the connection's thread."""

    ready: Callable[["ClientConnection"], bool]
    """We are authenticated: send what is queued; false where that lost the connection, or the client was closed."""
    rejected: Callable[["ClientConnection", str], None]
    ended: Callable[["ClientConnection"], None]


class ClientConnection(Connection):
    """One connection of a client. ``_answered`` belongs to the connection's thread."""

    def __init__(
        self,
        stream: Stream,
        options: ConnectionOptions,
        janitor: Janitor,
        callbacks: ClientCallbacks,
        listeners: Listeners,
        unknown_messages: str,
        unknown_data: str,
        events: ClientConnectionEvents,
    ) -> None:
        super().__init__(stream, options, janitor, keep_text=unknown_messages != "ignore")
        self._callbacks = callbacks
        self._listeners = listeners
        self._unknown_messages = unknown_messages
        self._unknown_data = unknown_data
        self._events = events
        self._answered = False

    def begin(self, auth: str | None) -> None:
        """Authenticate, or count as ready at once, and run ``on_connect``."""
        self.inbox.own()
        self.begin_user_code()
        if auth is None:
            self._answered = True
            self._events.ready(self)
        else:
            self._outbox.send(self._codec.encode([AUTH, auth, VERSION]))
        self.start_keepalive()
        self.call(self._callbacks.on_connect)

    def handle(self, payload: bytes, on_reply: OnReply | None) -> None:
        """Deal with a message: the answer to our authentication, an event, or something unknown."""
        try:
            decoded = self._codec.decode_event(payload)
            message = decoded if isinstance(decoded, Event) else parse_from_server(decoded)
        except MalformedMessage as error:
            self._handle_malformed(payload, error)
            return
        if isinstance(message, Event):
            self.deliver(message, on_reply)
        elif not self._answered:
            self._answered = True
            self._handle_answer(*message)

    def handle_other(self, what: str | Mark) -> None:
        """Make an event of a text message. No mark is ever put."""
        assert isinstance(what, str)
        self._emit(EVENT_UNKNOWN_MESSAGE, self._read_text(what))

    def deliver(self, event: Event, on_reply: OnReply | None) -> None:
        """Run the callbacks of an event."""
        name, ids, args = event
        reply = _reply_to_nobody if ids.event_id < 0 else MethodType(answer, (self, ids.event_id))
        if ids.reply_to is not None and on_reply is None:
            on_reply = self.settle_reply(event)
        listeners = () if on_reply is not None else self._listeners.take(name)
        self.call(self._callbacks.on_message, name, args, reply, ids)
        self.call(on_reply, name, args, reply, ids)
        for listener in listeners:
            try:
                listener(args, reply, ids)
            except BaseException as error:
                self.callback_failed(listener, error)

    def report_error(self, error: BaseException) -> None:
        """Give an error to ``on_error``, and where there is none to the log."""
        report_error(self._callbacks.on_error, error)

    def disconnected(self, ending: Ending) -> None:
        """Run ``on_disconnect``."""
        self._events.ended(self)
        self.call(self._callbacks.on_disconnect, ending.code, ending.reason)

    def _handle_answer(self, accepted: bool, reason: str) -> None:
        if not accepted:
            self._events.rejected(self, reason)
            # the server closes now; one that does not is left
            self.call_later(self.options.close_timeout, self._leave)
            self.call(self._callbacks.on_auth_rejected, reason)
        elif self._events.ready(self):
            self.call(self._callbacks.on_auth_ok)

    def _leave(self) -> None:
        self.disconnect(CloseCode.NORMAL, "")

    def _handle_malformed(self, payload: bytes, error: MalformedMessage) -> None:
        if self._unknown_data == "emit":
            self._emit(EVENT_UNKNOWN_DATA_TYPE, payload)
        elif self._unknown_data == "close":
            self.fail(error, CloseCode.PROTOCOL_ERROR, "Malformed message")
        else:
            self.report_error(error)

    def _read_text(self, text: str) -> Any:
        if self._unknown_messages == "emit_try_json":
            try:
                return json.loads(text, parse_constant=_refuse_constant)
            except (ValueError, RecursionError):
                pass
        return text

    def _emit(self, name: str, value: Any) -> None:
        """Run the callbacks of an event that we make ourselves."""
        self.deliver(Event(name, Ids(-1, None), [value]), None)


def report_error(on_error: Callable[..., Any] | None, error: BaseException) -> None:
    """Give an error to ``on_error``, and where there is none to the log."""
    if on_error is None:
        logger.info("%s", error)
        return
    try:
        on_error(error)
    except BaseException:
        logger.exception("an error in on_error")


def _reply_to_nobody(event: str, args: Any = (), on_reply: OnReply | None = None) -> SentMessage:
    """Be the ``reply`` of an event that no peer has sent: nothing is sent."""
    sent = SentMessage(None, None, None)
    sent.outcome = Ending(CloseCode.ABNORMAL, "")
    return sent


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")
