"""A client's side of one connection, from the authentication on. The client has one after the other."""

import json
import logging
from types import MethodType
from typing import Any, Callable, NamedTuple, Optional, Union

from .arrivals import Mark
from .errors import MalformedMessage
from .janitor import Janitor
from .listeners import Listeners
from .options import check_callback
from .peer import Peer, PeerOptions, answer
from .protocol import (
    AUTH,
    EVENT_UNKNOWN_DATA_TYPE,
    EVENT_UNKNOWN_MESSAGE,
    VERSION,
    CloseCode,
    Event,
    Ids,
    parse_from_server,
)
from .replies import OnReply, SentMessage
from .transport.stream import Ending, Stream

__all__ = ["ClientCallbacks", "Link", "LinkEvents"]

logger = logging.getLogger("ezez_ws")


class ClientCallbacks(NamedTuple):
    """What a client's user wants to hear of."""

    on_connect: Optional[Callable[..., Any]]
    on_auth_ok: Optional[Callable[..., Any]]
    on_auth_rejected: Optional[Callable[..., Any]]
    on_message: Optional[Callable[..., Any]]
    on_disconnect: Optional[Callable[..., Any]]
    on_error: Optional[Callable[..., Any]]

    def check(self) -> None:
        """Raise ``TypeError`` for what is not callable."""
        for name, callback in zip(self._fields, self):
            check_callback(name, callback)


class LinkEvents(NamedTuple):
    """What a link tells its client, on the connection's thread."""

    ready: Callable[["Link"], bool]
    """We are authenticated: send what is queued; false where the link was lost, or the client closed, over that."""
    rejected: Callable[["Link", str], None]
    ended: Callable[["Link"], None]


class Link(Peer):
    """One connection of a client. ``_answered`` belongs to the connection's thread."""

    def __init__(
        self,
        stream: Stream,
        options: PeerOptions,
        janitor: Janitor,
        callbacks: ClientCallbacks,
        listeners: Listeners,
        unknown_messages: str,
        unknown_data: str,
        events: LinkEvents,
    ) -> None:
        super().__init__(stream, options, janitor, keep_text=unknown_messages != "ignore")
        self._callbacks = callbacks
        self._listeners = listeners
        self._unknown_messages = unknown_messages
        self._unknown_data = unknown_data
        self._events = events
        self._answered = False

    def begin(self, auth: Optional[str]) -> None:
        """Authenticate, or count as ready at once, and run ``on_connect``."""
        self.reader.own()
        self.begin_user_code()
        if auth is None:
            self._answered = True
            self._events.ready(self)
        else:
            self._outbox.send(self._codec.encode([AUTH, auth, VERSION]))
        self.start_keepalive()
        self.call(self._callbacks.on_connect)

    def handle(self, payload: bytes, on_reply: Optional[OnReply]) -> None:
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

    def handle_other(self, what: Union[str, Mark]) -> None:
        """Make an event of a text message. No mark is ever put."""
        assert isinstance(what, str)
        self._emit(EVENT_UNKNOWN_MESSAGE, self._read_text(what))

    def deliver(self, event: Event, on_reply: Optional[OnReply]) -> None:
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


def report_error(on_error: Optional[Callable[..., Any]], error: BaseException) -> None:
    """Give an error to ``on_error``, and where there is none to the log."""
    if on_error is None:
        logger.info("%s", error)
        return
    try:
        on_error(error)
    except BaseException:
        logger.exception("an error in on_error")


def _reply_to_nobody(event: str, args: Any = (), on_reply: Optional[OnReply] = None) -> SentMessage:
    """Be the ``reply`` of an event that no peer has sent: nothing is sent."""
    sent = SentMessage(None, None, None)
    sent.outcome = Ending(CloseCode.ABNORMAL, "")
    return sent


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")
