"""From the inbox to the user's callbacks.

On a connection's thread: ``handle_next`` → ``handle`` → ``deliver`` → ``on_message``, then the ``on_reply`` of what the
event answers, or else the listeners. What is no plain event, or comes too early, a subclass judges.
"""

import logging
from collections.abc import Callable
from types import MethodType
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from ..figures import Figures, Running
from ..logs import limited, logger, name_of, shown, shown_address
from ..messages.codec import Codec
from ..messages.protocol import Event, parse_event
from ..messages.tally import Tally
from ..threads.interrupted import calls_user_code
from ..websocket.frames import Start
from .inbox import Arrived, Inbox, Mark, Task
from .listeners import NO_LISTENERS, Listeners
from .replies import Pending, Reply, RoutedReply, answer, answer_nobody

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["Callbacks", "Dispatcher", "report_error"]


class Callbacks(NamedTuple):
    """What a server's or a client's user wants to hear of; the public API says with which arguments."""

    on_connect: Callable[..., Any] | None = None
    on_auth_request: Callable[..., Any] | None = None
    on_auth_ok: Callable[..., Any] | None = None
    on_auth_rejected: Callable[..., Any] | None = None
    on_message: Callable[..., Any] | None = None
    on_disconnect: Callable[..., Any] | None = None
    on_error: Callable[..., Any] | None = None
    on_missed: Callable[..., Any] | None = None


@calls_user_code
def report_error(on_error: Callable[..., Any] | None, subject: tuple[Any, ...], error: BaseException) -> bool:
    """Give an error to ``on_error(*subject, error)``; false where there is none, and it is for the log."""
    if on_error is None:
        return False
    try:
        on_error(*subject, error)
    except BaseException as second:
        name, extra = name_of(on_error), extra_of(subject)
        text = "an error in on_error (%s)"
        limited.tell(logging.ERROR, (name, type(second)), text, name, exc_info=second, extra=extra)
    return True


def extra_of(subject: tuple[Any, ...], event: str | None = None) -> dict[str, Any]:
    """Return the attributes that a record gets."""
    event = None if event is None else shown(event)
    if not subject:
        return {"event": event}
    (client,) = subject
    address = shown_address(client.request.remote_address)
    return {"connection_id": client.connection_id, "remote_address": address, "event": event}


class Dispatcher:
    """Runs the callbacks of what comes out of an inbox. What any thread may call says so; all else belongs to the
    connection's.

    ``subject`` is what callbacks and shared listeners get before all else: the client, on a server. ``takes_events``
    says whether an event is delivered without asking the subclass. The ``shared_listeners`` are called after the
    ``listeners``.
    """

    @property
    def tally(self) -> Tally:
        """What the connection counts."""
        return self.inbox.tally

    @property
    def figures(self) -> Figures:
        """Where errors are told, too."""
        raise NotImplementedError

    def __init__(
        self, inbox: Inbox, codec: Codec, callbacks: Callbacks, listeners: Listeners, shared_listeners: Listeners | None
    ) -> None:
        self.inbox = inbox
        self.listeners = listeners
        self.subject: tuple[Any, ...] = ()
        self.takes_events = False
        self._callbacks = callbacks
        self._on_message = callbacks.on_message
        self._shared_listeners = shared_listeners
        self._codec = codec
        self._decode_at_once: Callable[[bytes], Any] | None = None

    def judge(self, payload: bytes, routed: RoutedReply | None) -> None:
        """Deal with a binary message that is not plainly an event, or that comes while events are not taken."""
        raise NotImplementedError

    def handle_other(self, what: str | Start | Mark) -> None:
        """Deal with what else was in the inbox."""
        raise NotImplementedError

    def begin_look_ins(self) -> None:
        """See to it that somebody reads while user code runs."""
        raise NotImplementedError

    def take_events(self) -> None:
        """Deliver events from now on without asking the subclass."""
        self.takes_events = True
        self._decode_at_once = self._codec._decoder_at_once()

    def handle_next(self, arrived: Arrived) -> None:
        """Deal with what has come out of the inbox."""
        if self.inbox.wants_look_ins:
            self.begin_look_ins()
        if type(arrived) is bytes:
            self.handle(arrived)
        elif type(arrived) is RoutedReply:
            self._handle_reply(arrived)
        elif isinstance(arrived, Exception):
            self.report_error(arrived)
        elif type(arrived) is Task:
            self.call(arrived.act)
        else:
            assert isinstance(arrived, (str, Start, Mark))
            self.handle_other(arrived)

    def handle(self, payload: bytes, routed: RoutedReply | None = None) -> None:
        """Deal with a binary message, which may have been handed to its waiter already."""
        decode = self._decode_at_once
        if decode is not None:
            event = decode(payload)
            if type(event) is Event:
                self.deliver(event, payload, routed)
                return
        self.judge(payload, routed)

    def _handle_reply(self, routed: RoutedReply) -> None:
        """Run the callbacks of a reply that its waiter has got; where there are none it is not decoded again."""
        called = routed.on_reply is not None or self._on_message is not None
        if called or self.listeners or self._shared_listeners or not self.takes_events:
            self.handle(routed.payload, routed)
        else:
            self.tally.take(routed.payload)

    def parse_reply(self, payload: bytes) -> Reply:
        """Decode a reply, for who waits for it. Any thread may call it."""
        event = None if self._decode_at_once is None else self._decode_at_once(payload)
        if type(event) is not Event:
            decoded = self._codec._decode_event(payload)
            event = decoded if isinstance(decoded, Event) else parse_event(decoded)
        return Reply(event.name, event.args, MethodType(answer, (self, event.ids.event_id)), event.ids)

    @calls_user_code
    def deliver(self, event: Event, payload: bytes, routed: RoutedReply | None) -> None:
        """Run the callbacks of an event; ``routed``: its message, where its waiter got that when it was read."""
        name, ids, args = event
        event_id, reply_to = ids
        inbox = self.inbox
        tally = inbox.tally
        tally.begin(name, payload, inbox.read_at)
        reply = MethodType(answer, (self, event_id)) if event_id >= 0 else answer_nobody
        on_reply = handler = None
        if reply_to is not None:
            if routed is None:
                routed = self.inbox.route(payload, reply_to)
            on_reply = None if routed is None else routed.on_reply
        own: tuple[Callable[..., Any], ...] = ()
        shared: tuple[Callable[..., Any], ...] = ()
        if on_reply is None:
            listeners = self.listeners
            if listeners is not NO_LISTENERS:
                known = listeners.by_event.get(name)  # a call for each would take twice the time
                if known is not None:
                    own = listeners.take(name) if known.has_once else known.functions
                handler = listeners.handlers.get(name)
            all_clients = self._shared_listeners
            if all_clients is not None:
                known = all_clients.by_event.get(name)
                if known is not None:
                    shared = all_clients.take(name) if known.has_once else known.functions
                if handler is None and all_clients.handlers:
                    handler = all_clients.handlers.get(name)
            if handler is not None:
                pending = Pending(cast("Connection", self), event_id)
                reply = pending.reply
        on_message = self._on_message
        if on_message is not None:
            try:
                on_message(*self.subject, name, args, reply, ids)
            except BaseException as error:
                self.callback_failed(on_message, error, name)
        if on_reply is not None:
            try:
                on_reply(*self.subject, name, args, reply, ids)
            except BaseException as error:
                self.callback_failed(on_reply, error, name, "the on_reply")
        for listener in own:
            try:
                listener(args, reply, ids)
            except BaseException as error:
                self.callback_failed(listener, error, name, "the listener")
        for listener in shared:
            try:
                listener(self.subject[0], args, reply, ids)  # unpacking all would take twice the time
            except BaseException as error:
                self.callback_failed(listener, error, name, "the listener")
        if handler is not None:
            try:
                handler(cast("Connection", self), name, args, pending)
            except BaseException as error:
                self.callback_failed(handler.function, error, name, "the handler")
        elif not (own or shared or on_message is not None or reply_to is not None or event_id < 0):
            self.handle_unknown(name, event_id)
        tally.end()

    def handle_unknown(self, name: str, event_id: int) -> None:
        """Deal with an event that nobody handles or listens to."""
        raise NotImplementedError

    def begin_user_code(self) -> None:
        """Prepare for a callback that is not the consequence of a message."""
        self.inbox.begin_user_code()
        if self.inbox.wants_look_ins:
            self.begin_look_ins()

    @calls_user_code
    def call(self, callback: Callable[..., Any] | None, *args: Any) -> None:
        """Run a callback; what it raises ends neither the connection nor the thread."""
        if callback is None:
            return
        before = self.tally.enter(self.describe(callback, None, ""))
        try:
            callback(*args)
        except BaseException as error:
            self.callback_failed(callback, error)
        self.tally.resume(before)

    @calls_user_code
    def callback_failed(
        self, callback: Callable[..., Any], error: BaseException, event: str | None = None, role: str = ""
    ) -> None:
        """Tell what a callback has raised, with what; ``SystemExit`` too: it would end the thread without a word."""
        figures = self.figures
        if figures.watchers:
            figures.tell(error, self.describe(callback, event, role), self.extra(event))
        if report_error(self._callbacks.on_error, self.subject, error):
            return
        text, what, extra = "%s: an error in %s", self.describe(callback, event, role), self.extra(event)
        kind = role, name_of(callback), type(error)
        limited.tell(logging.ERROR, kind, text, self.name, what, exc_info=error, extra=extra)

    def describe(self, callback: Callable[..., Any], event: str | None, role: str) -> str:
        """Name a callback: which it is, what it was called for, and where it is defined."""
        fields = zip(self._callbacks._fields, self._callbacks, strict=True)
        role = role or next((name for name, other in fields if other is callback), "a callback")
        return f"{role}{'' if event is None else f' of {shown(event)!r}'} ({name_of(callback)})"

    def report_error(self, error: BaseException, what: str = "") -> None:
        """Give a peer's fault to ``on_error``, and where there is none to the log. ``what`` came of it, as a prefix."""
        if not report_error(self._callbacks.on_error, self.subject, error):
            self.warn(f"{what}{shown(str(error))}", type(error))

    def listens_to(self, event: str) -> bool:
        """Tell whether anybody hears of an event of that name."""
        shared = self._shared_listeners
        return self._on_message is not None or event in self.listeners or (shared is not None and event in shared)

    def running(self) -> Running | None:
        """Return what user code runs for this connection, if any does. Any thread may call it."""
        _, thread_id = self.inbox.outlived()
        runs = self.tally.running()
        return None if runs is None or thread_id is None else Running(*runs, thread_id)

    # -- telling ----------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The connection, as texts name it. A subclass knows more."""
        return "a connection"

    def extra(self, event: str | None = None) -> dict[str, Any]:
        """Return the attributes of a record about this connection."""
        return extra_of(self.subject, event)

    @calls_user_code
    def tell(self, text: str, *args: object) -> None:
        """Log a step in the connection's life. Any thread may call it, as it may ``warn``."""
        if logger.isEnabledFor(logging.INFO):
            logger.info(f"%s: {text}", self.name, *args, extra=self.extra())

    @calls_user_code
    def warn(self, text: str, kind: object) -> None:
        """Log a warning; of many of a ``kind`` only some, and their number."""
        limited.tell(logging.WARNING, kind, "%s: %s", self.name, text, extra=self.extra())
