"""A client's side of one connection, from the authentication on. The client has one after the other."""

import contextlib
import json
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import MalformedMessage
from ..messages.protocol import (
    AUTH,
    AUTH_OK,
    AUTH_REJECTED,
    EVENT_UNKNOWN_DATA_TYPE,
    EVENT_UNKNOWN_MESSAGE,
    RESERVED,
    VERSION,
    AuthAnswer,
    CloseCode,
    Event,
    Ids,
    parse_from_server,
)
from ..messages.recovery import Published, parse_recovery
from ..websocket.frames import Start
from ..websocket.stream import Ending, Stream
from ..wire.linux import restore_scheduling
from .connection import Connection
from .inbox import Mark
from .recovery import Memory
from .replies import RoutedReply

if TYPE_CHECKING:
    from ..client_run import ClientOptions

__all__ = ["ClientConnection", "ClientConnectionEvents"]


_HASTE = 0.5  # seconds that a server has to close after a rejection, where we come again with another key


class ClientConnectionEvents(NamedTuple):
    """What a connection tells its client, on the connection's thread."""

    accepted: Callable[["ClientConnection", bool], bool]
    """We are authenticated, or need not be; and whether a callback comes before the queue. False: it is over."""
    ready: Callable[["ClientConnection"], None]
    """That callback has returned: send what is queued."""
    rejected: Callable[["ClientConnection", str], bool]
    """We are not, for a reason; whether that is final."""
    ended: Callable[["ClientConnection"], None]


class ClientConnection(Connection):
    """One connection of a client.

    ``_awaited``, the answers still to be heeded, and ``_memory``, where the server recovers, belong to the connection's
    thread.
    """

    def __init__(self, stream: Stream, options: "ClientOptions", events: ClientConnectionEvents, url: str) -> None:
        keep_text = options.unknown_messages != "ignore"
        super().__init__(stream, options.connection, options.callbacks, options.listeners, keep_text=keep_text)
        self.take_events()
        self._unknown_messages = options.unknown_messages
        self._unknown_data = options.unknown_data
        self._events = events
        self._awaited: Collection[bool] = (True, False)
        self._url = url
        self._memory = options.memory
        self._visit = object()  # this connection, to the memory
        self._recovers = False  # the server has agreed to

    @property
    def name(self) -> str:
        """Where it leads to."""
        return self._url

    def begin(self, auth: str | None) -> None:
        """Authenticate, or count as authenticated at once, and run ``on_connect``."""
        self.inbox.own()
        self.begin_user_code()
        greeting = self._callbacks.on_connect
        if auth is None:
            self._awaited = (False,)  # from a server that wants authentication after all
            self.stream.begin_compressing()
            self._events.accepted(self, greeting is not None)
        else:
            self.stream.send(self._codec.encode([AUTH, auth, VERSION, *self._show(self._memory, auth)]))
        self.start_keepalive()
        self.call(greeting)
        if auth is None:
            self._events.ready(self)

    def _show(self, memory: Memory | None, auth: str) -> list[dict[str, Any]]:
        """Return what is to be sent with the authentication."""
        if memory is None:
            return []
        size = len(self._codec.encode([AUTH, auth, VERSION]))

        def measure(shown: dict[str, Any]) -> int:
            return len(self._codec.encode([shown])) + (size if "recover" in shown else 0)

        return [memory.begin(measure, self._visit)]

    def judge(self, payload: bytes, routed: RoutedReply | None) -> None:
        """Deal with the answer to our authentication, an event, or something unknown."""
        try:
            decoded = self._codec._decode_event(payload)
            if self._recovers and not isinstance(decoded, Event) and _is_of_protocol(decoded):
                self._heed(decoded, payload)
                return
            message = decoded if isinstance(decoded, Event) else parse_from_server(decoded)
        except MalformedMessage as error:
            self._handle_malformed(payload, error)
            return
        if isinstance(message, Event):
            self.deliver(message, payload, routed)
        elif message.accepted in self._awaited:
            self._awaited = ()
            self._handle_answer(message)

    def _heed(self, values: list[Any], payload: bytes) -> None:
        """Deal with a message of recovery: remember what it says, and deliver a publication as the event that it is."""
        assert self._memory is not None
        said = parse_recovery(values)
        missed = self._memory.heed(said, self._visit)
        if missed is None:
            return
        self._call_on_missed(missed)
        if isinstance(said, Published):
            self.deliver(said.event, payload, None)

    def _call_on_missed(self, rooms: list[str]) -> None:
        if rooms:
            self.call(self._callbacks.on_missed, rooms)

    def handle_other(self, what: str | Start | Mark) -> None:
        """Make an event of a text message. Nothing else is ever there."""
        assert isinstance(what, str)
        self._emit(EVENT_UNKNOWN_MESSAGE, self._read_text(what), what.encode())

    def _handle_answer(self, answer: AuthAnswer) -> None:
        restore_scheduling()  # what these callbacks start shall not inherit what reading has chosen
        if answer.accepted:
            self.stream.begin_compressing()
            greeting = self._callbacks.on_auth_ok
            if self._events.accepted(self, greeting is not None):
                missed: list[str] = []
                # of an answer that came too late nothing is remembered: the next one says it
                if self._memory is not None:
                    self._recovers, missed = self._memory.accept(answer.more, self._visit)
                self.call(greeting)
                self._call_on_missed(missed)
                self._events.ready(self)
        elif self._events.rejected(self, answer.reason):
            # the server closes now; one that does not is left
            self.call_later(self.options.close_timeout, self._leave)
            self.call(self._callbacks.on_auth_rejected, answer.reason)
        else:
            self.call_later(min(_HASTE, self.options.close_timeout), self.cut)

    def disconnected(self, ending: Ending) -> None:
        """Tell the client, and run ``on_disconnect``."""
        if self._memory is not None:
            self._memory.lose(self._visit)
        self._events.ended(self)
        super().disconnected(ending)

    def _leave(self) -> None:
        self.disconnect(CloseCode.NORMAL, "")

    def _handle_malformed(self, payload: bytes, error: MalformedMessage) -> None:
        if self._unknown_data == "emit":
            self._emit(EVENT_UNKNOWN_DATA_TYPE, payload, payload)
        elif self._unknown_data == "close":
            self.fail(error, CloseCode.PROTOCOL_ERROR, "Malformed message")
        else:
            self.report_error(error, "ignored a malformed message: ")

    def _read_text(self, text: str) -> Any:
        if self._unknown_messages == "emit_try_json":
            with contextlib.suppress(ValueError, RecursionError):
                return json.loads(text, parse_constant=_refuse_constant)
        return text

    def _emit(self, name: str, value: Any, payload: bytes) -> None:
        """Run the callbacks of an event that we make ourselves of what has come."""
        self.deliver(Event(name, Ids(-1, None), [value]), payload, None)


def _is_of_protocol(values: list[Any]) -> bool:
    name = values[0] if values else None
    return isinstance(name, str) and name.startswith(RESERVED) and name not in (AUTH_OK, AUTH_REJECTED)


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")
