"""Every event that comes to a client or a server, and that it sends, kept for a test to look at."""

import threading
import time
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

from ..client import EZEZWebSocketClient
from ..connection.connection import Connection
from ..connection.outgoing import Broadcast
from ..connection.replies import RoutedReply, SentMessage
from ..connection.tracing import watchers
from ..logs import shown
from ..messages.protocol import Event, Ids
from ..server import EZEZWebsocketServer
from ..server_client import EZEZServerClient
from ..threads.interrupted import calls_user_code
from ..websocket.outbox import FULL, REFUSED
from .leftovers import connections_of
from .scope import close_at_end

__all__ = ["Recorded", "Recorder"]

R = TypeVar("R", bound="Recorder")

_MOST_SHOWN = 50
_TIMEOUT = 5.0


class Recorded(NamedTuple):
    """An event that came or was sent."""

    event: str
    args: list[Any]
    ids: Ids
    client: "EZEZServerClient[Any] | None"
    """Who has sent it, or got it: one of the server's clients; ``None`` with a client's own recorder."""

    def __str__(self) -> str:
        reply = "" if self.ids.reply_to is None else f", reply to {self.ids.reply_to}"
        client = "" if self.client is None else f", client {self.client.connection_id}"
        return f"{shown(self.event)!r} {shown(repr(self.args))} (id {self.ids.event_id}{reply}{client})"


class _Entry:
    """What came, and what has become of it."""

    __slots__ = ("handled", "recorded", "taken")

    def __init__(self, recorded: Recorded) -> None:
        self.recorded = recorded
        self.handled = False  # listeners have returned
        self.taken = False


class Recorder:
    """Records the events of a client, a server, or one client of a server, from now on, also over reconnects.

    It changes nothing: who listens, replies and answers is as without it. What ``wait_for`` and ``assert_received``
    have returned once is *taken*. Time-outs are in real seconds. It ends at the end of the test that it was made in, by
    ``with``, or by ``close``, and can be asked then still.

    Args:
        client_or_server: an ``EZEZWebSocketClient``, an ``EZEZWebsocketServer`` or an ``EZEZServerClient``, in any
            state.
    """

    def __init__(
        self, client_or_server: "EZEZWebSocketClient | EZEZWebsocketServer[Any] | EZEZServerClient[Any]"
    ) -> None:
        if not isinstance(client_or_server, (EZEZWebSocketClient, EZEZWebsocketServer, EZEZServerClient)):
            raise TypeError(f"Recorder takes a client or a server, not {type(client_or_server).__name__}")
        self._of = client_or_server
        self._changed = threading.Condition(threading.RLock())  # guards all that follows
        self._received: list[_Entry] = []
        self._sent: list[Recorded] = []
        self._wrappers: dict[Connection, list[tuple[str, partial[Any]]]] = {}
        self._closed = False
        watchers.append(self._watch)
        for connection in connections_of(client_or_server):
            self._watch(connection)
        close_at_end(self)

    @property
    def received(self) -> list[Recorded]:
        """All that has come, replies too; a copy."""
        with self._changed:
            return [entry.recorded for entry in self._received]

    @property
    def sent(self) -> list[Recorded]:
        """All that was sent, what was sent to many once for each client; a copy."""
        with self._changed:
            return list(self._sent)

    def wait_for(
        self,
        event: str,
        *,
        where: Callable[[Recorded], Any] | None = None,
        timeout: float = _TIMEOUT,
        handled: bool = True,
    ) -> Recorded:
        """Return the next event of that name that has not been taken, and take it; it may have come already.

        Args:
            where: asked with each, until it holds for one.
            timeout: seconds.
            handled: wait until its listeners have returned, too, so that what they do can be looked at. Without, it is
                returned when it comes, and they may be at work.

        Raises:
            AssertionError: there was none in time; the text says what has come.
        """
        entry = self._find(event, where, timeout, lambda one: not one.taken, handled)
        return entry.recorded

    def assert_received(
        self,
        event: str,
        args: list[Any] | None = None,
        *,
        where: Callable[[Recorded], Any] | None = None,
        timeout: float = _TIMEOUT,
    ) -> Recorded:
        """Fail unless such an event has come, taken or not, or comes in time; return it, and count it as taken.

        Args:
            args: what it must have as arguments; ``None``: any.
            where: as of ``wait_for``.
            timeout: seconds.
        """

        @calls_user_code
        def fits(one: Recorded) -> bool:
            return (args is None or one.args == list(args)) and (where is None or bool(where(one)))

        what = "" if args is None else f" with {args!r}"
        return self._find(event, fits, timeout, lambda one: True, True, what).recorded

    def assert_nothing(self, event: str | None = None, *, within: float = 0.1) -> None:
        """Fail where an event has come that was not taken, or comes ``within`` seconds. Replies do not count.

        Args:
            event: only such count; ``None``: any.
            within: seconds.
        """

        def look() -> _Entry | None:
            for one in self._received:
                name, _, ids, _ = one.recorded
                if not one.taken and ids.reply_to is None and event in (None, name):
                    return one
            return None

        with self._changed:
            if self._changed.wait_for(look, within):
                what = "nothing" if event is None else f"no {event!r}"
                raise AssertionError(f"{what} should have come within {within:g} s{self._describe()}")

    def clear(self) -> None:
        """Forget what has come and was sent."""
        with self._changed:
            self._received.clear()
            self._sent.clear()

    def close(self) -> None:
        """Record no more. Idempotent."""
        with self._changed:
            if not self._closed:
                self._closed = True
                watchers.remove(self._watch)
                for connection, wrappers in self._wrappers.items():
                    for name, wrapper in wrappers:
                        if getattr(connection, name) is wrapper:  # else somebody stands before us, and keeps it
                            setattr(connection, name, wrapper.args[1])
                self._wrappers.clear()

    def __enter__(self: R) -> R:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- looking ------------------------------------------------------------------------------------------------------

    @calls_user_code
    def _find(
        self,
        event: str,
        where: Callable[[Recorded], Any] | None,
        timeout: float,
        counts: Callable[[_Entry], bool],
        handled: bool,
        what: str = "",
    ) -> _Entry:
        """Wait for an event, and take it. ``where`` is called without the lock, once for each event."""
        deadline = time.monotonic() + timeout
        fits: dict[_Entry, bool] = {}
        while True:
            with self._changed:
                found = [one for one in self._received if one.recorded.event == event and counts(one)]
                new = [one for one in found if one not in fits]
                if not new:
                    entry = next((one for one in found if fits[one] and (one.handled or not handled)), None)
                    if entry is not None:
                        entry.taken = True
                        return entry
                    left = deadline - time.monotonic()
                    if left <= 0:
                        self._fail(event, what, timeout, any(fits.values()))
                    self._changed.wait(left)
            for one in new:
                fits[one] = where is None or bool(where(one.recorded))

    def _fail(self, event: str, what: str, timeout: float, came: bool) -> None:
        """Requires holding the lock."""
        if came:
            raise AssertionError(
                f"{event!r} has come, but its listeners have not returned within {timeout:g} s;"
                f" handled=False does not wait for them{self._describe()}"
            )
        raise AssertionError(f"no {event!r}{what} has come within {timeout:g} s{self._describe()}")

    def _describe(self) -> str:
        """Say what has come. Requires holding the lock."""
        if not self._received:
            return "; nothing has come"
        lines = [f"\n- {one.recorded}{', taken' if one.taken else ''}" for one in self._received[-_MOST_SHOWN:]]
        more = len(self._received) - len(lines)
        return f"; what has come{f', and {more} before that' if more else ''}:{''.join(lines)}"

    # -- recording, on whatever thread --------------------------------------------------------------------------------

    def _is_meant(self, connection: Connection) -> bool:
        if isinstance(self._of, EZEZServerClient):
            return connection is self._of._ezez_connection
        if isinstance(self._of, EZEZWebSocketClient):
            return connection.listeners is self._of._ezez_listeners
        return connection._shared_listeners is self._of._ezez_listeners

    def _watch(self, connection: Connection) -> None:
        """Stand between a connection and its methods, as ``connection/tracing.py`` does."""
        if not self._is_meant(connection):
            return
        with self._changed:
            if self._closed or connection in self._wrappers:
                return
            wrappers = self._wrappers.setdefault(connection, [])
        for name, method in (
            ("deliver", self._deliver),
            ("_handle_reply", self._handle_reply),
            ("_put_event", self._put_event),
            ("offer", self._offer),
            ("put_together", self._put_together),
        ):
            wrapper = partial(method, connection, getattr(connection, name))
            wrappers.append((name, wrapper))
            setattr(connection, name, wrapper)

    def _handle_reply(self, connection: Connection, _: Callable[..., Any], routed: RoutedReply) -> None:
        connection.handle(routed.payload, routed)  # to be delivered, though nobody listens

    def _deliver(
        self,
        connection: Connection,
        deliver: Callable[..., None],
        event: Event,
        payload: bytes,
        routed: RoutedReply | None,
    ) -> None:
        entry = _Entry(Recorded(event.name, list(event.args), event.ids, self._client(connection)))
        with self._changed:
            if not self._closed:
                self._received.append(entry)
                self._changed.notify_all()
        try:
            deliver(event, payload, routed)
        finally:
            with self._changed:
                entry.handled = True
                self._changed.notify_all()

    def _put_event(
        self, connection: Connection, put: Callable[..., Any], sent: Any, encode: Any, event: str, args: Any, *more: Any
    ) -> Any:
        outcome = put(sent, encode, event, args, *more)
        if isinstance(outcome, SentMessage):
            self._note_sent(connection, event, args, outcome.event_id or 0, outcome.reply_to)
        return outcome

    def _offer(self, connection: Connection, offer: Callable[..., Any], broadcast: Broadcast, *more: Any) -> Any:
        outcome = offer(broadcast, *more)
        if outcome is not FULL and outcome is not REFUSED:
            self._note_sent(connection, broadcast.event, broadcast._body, connection._last_id)
        return outcome

    def _put_together(self, connection: Connection, put: Callable[..., Any], first: bytes, events: Any) -> Any:
        outcome = put(first, events)
        if outcome is not FULL and outcome is not REFUSED:
            for event, body in events:
                self._note_sent(connection, event, body, connection._last_id)
        return outcome

    def _note_sent(
        self, connection: Connection, event: str, args: Any, event_id: int, reply_to: int | None = None
    ) -> None:
        """Never raise into who sends: ``args`` are what he gave, or encoded, which this side may be unable to read."""
        try:
            if isinstance(args, bytes):
                args = connection._codec.decode(args) if args else []
            args = [] if args is None else list(args)
        except Exception:
            what = f"{len(args)} bytes" if isinstance(args, bytes) else type(args).__name__
            args = [f"<{what}, which this side cannot decode>"]
        with self._changed:
            if not self._closed:
                self._sent.append(Recorded(event, args, Ids(event_id, reply_to), self._client(connection)))
                self._changed.notify_all()

    def _client(self, connection: Connection) -> "EZEZServerClient[Any] | None":
        return connection.subject[0] if connection.subject else None
