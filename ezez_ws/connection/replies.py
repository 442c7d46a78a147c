"""Messages that were sent, the replies to them, and the table of those that are awaited.

A waiter and a callback are two ways. A message is known to the table by a weak reference to its ``SentMessage``, so
that one which nobody keeps costs nothing, and strongly by its ``on_reply`` while there is one.

Who reads a message that is a reply decodes it for its waiter, once. The inbox gets it as it came (``RoutedReply``), for
the callbacks, which decode a copy of their own; where there are none it is not decoded again.
"""

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from itertools import takewhile
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, overload

from ..errors import ConnectionClosed, ReplyTimeout, TooManyReplies
from ..messages.protocol import Ids
from ..threads.deadline import Deadline
from ..threads.fork import Uncopied
from ..threads.waiting import Event
from ..websocket.stream import Ending

if TYPE_CHECKING:
    from .connection import Connection

__all__ = [
    "EventArgs",
    "OnReply",
    "Outcome",
    "Pending",
    "Reply",
    "ReplyFunction",
    "ReplyTable",
    "RoutedReply",
    "SentMessage",
    "answer",
    "answer_nobody",
    "too_many_replies",
]

OnReply = Callable[..., Any]

EventArgs: TypeAlias = list[Any] | tuple[Any, ...]
"""The arguments of an event to send."""


class ReplyFunction(Protocol):
    """``reply(event, args=(), on_reply=None)``, as listeners and callbacks get it: sends an event that answers theirs.

    ``on_reply`` is called as that of ``send``, on a server with the client before all else.
    """

    @overload
    def __call__(
        self,
        event: str,
        args: EventArgs = (),
        on_reply: "Callable[[str, list[Any], ReplyFunction, Ids], object] | None" = None,
    ) -> "SentMessage": ...
    @overload
    def __call__(
        self,
        event: str,
        args: EventArgs,
        on_reply: "Callable[[Any, str, list[Any], ReplyFunction, Ids], object]",
    ) -> "SentMessage": ...
    @overload
    def __call__(
        self,
        event: str,
        args: EventArgs = (),
        *,
        on_reply: "Callable[[Any, str, list[Any], ReplyFunction, Ids], object]",
    ) -> "SentMessage": ...


class Reply(NamedTuple):
    """A reply: its event, its arguments, ``reply(event, args=(), on_reply=None)`` to answer it, and its ids."""

    event: str
    args: list[Any]
    reply: ReplyFunction
    ids: Ids


class _Expired:
    """The outcome of a message whose time to be replied to is over."""


EXPIRED = _Expired()


class RoutedReply(NamedTuple):
    """A reply that has been handed to who waits for it, on its way to the callbacks."""

    payload: bytes
    """The message, which is well-formed."""
    on_reply: OnReply | None
    """The callback that was given with the message which it answers."""


Outcome = Reply | Ending | _Expired | None
"""What became of a sent message; ``None``: nothing yet."""


class Home(Protocol):
    """Where a message is waited for: a connection, or a queue."""

    def wait_reply(self, sent: "SentMessage", deadline: Deadline) -> Outcome: ...


class SentMessage(Uncopied):
    """A message that was sent, or is queued. Falsy where it was not sent: there was no connection.

    ``_home``, ``_outcome``, ``_waiting`` and ``_events`` are changed under the lock of the connection's reader, or of
    the client while the message is queued; ``event_id`` under the reader's, when the message goes out, and taken back
    where it does not. ``_home``, ``event_id`` and, once there is no ``_home``, ``_outcome`` are read without.
    """

    __slots__ = ("__weakref__", "_event", "_event_id", "_events", "_home", "_outcome", "_reply_to", "_waiting")

    _is_kept = False
    """Whether the table keeps it, by a strong reference, and notes its end in ``settled``."""

    def __init__(
        self,
        home: Home | None,
        event_id: int | None,
        reply_to: int | None,
        outcome: Outcome = None,
        event: str | None = None,
    ) -> None:
        self._home = home
        self._event = event
        self._event_id = event_id
        self._reply_to = reply_to
        self._outcome = outcome
        self._waiting = 0
        self._events: list[Event] | None = None

    @property
    def event_id(self) -> int | None:
        """The id that the message has on the wire; ``None`` where it was not sent, or is still queued."""
        return self._event_id

    @property
    def reply_to(self) -> int | None:
        """The id of the event that this message replies to, ``None`` for no reply."""
        return self._reply_to

    def __bool__(self) -> bool:
        return self._home is not None

    def __repr__(self) -> str:
        return f"SentMessage(event_id={self._event_id}, reply_to={self._reply_to}{'' if self else ', not sent'})"

    def wait_reply(self, timeout: float | None = None) -> Reply:
        """Wait for the first reply, and return it; it is taken from nobody, and a second call returns it again.

        Callable from any thread. On the connection's own thread, inside a listener, it goes on reading and runs the
        listeners of other events meanwhile, nested, up to 32 deep. A lock of yours that is not re-entrant, held
        over this call, can deadlock with a listener that wants it.

        Args:
            timeout: seconds; 0 looks only; ``None`` waits for as long as replies are waited for at all
                (``clear_awaiting_replies_after``, counted from the sending). A reply that has come is returned even
                where the time is over.

        Raises:
            ReplyTimeout: the timeout passed (the reply can still be waited for), or that time limit (it cannot).
            ConnectionClosed: the connection ended first, or the message was not sent.
            NotConnected: for a queued message: on the client's own thread, which would wait for itself, or without a
                timeout where the client is not connecting.
        """
        if timeout is not None:
            if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
                raise TypeError(f"timeout must be a number of seconds or None, not {type(timeout).__name__}")
            if not timeout >= 0:
                raise ValueError(f"timeout must be a number of seconds >= 0 or None, not {timeout}")
            timeout = min(timeout, threading.TIMEOUT_MAX)
        outcome = self._wait(Deadline(timeout))
        if isinstance(outcome, Reply):
            return outcome
        if isinstance(outcome, Ending):
            raise ConnectionClosed(*outcome)
        raise self._make_timeout(None if outcome is EXPIRED else timeout)

    def _make_timeout(self, timeout: float | None) -> ReplyTimeout:
        """Make the error that says which message has no reply; and why it cannot have one, where it is still queued."""
        event_id, why_queued = self._event_id, getattr(self._home, "why_queued", None)
        numbered = "" if event_id is None else f" (message {event_id})"  # one to a client elsewhere has no number
        within = "in time" if timeout is None else f"within {timeout:g} seconds"
        error = ReplyTimeout(f"no reply to {self._event!r}{numbered} {within}")
        if timeout is not None and why_queued is not None:
            why, cause = why_queued()
            error = ReplyTimeout(f"no reply to {self._event!r} {within}: it is still queued, {why}")
            error.__cause__ = cause
        return error

    def _wait(self, deadline: Deadline) -> Outcome:
        while True:
            home = self._home
            if home is None:
                return self._outcome
            outcome = home.wait_reply(self, deadline)
            if outcome is not None or home is self._home:
                return outcome
            # it has left a queue, or went back into it

    def _went_out(self, home: Home | None, event_id: int | None) -> None:
        """Note where and as what the message was sent, or that it was not. Requires holding the lock that guards it."""
        self._home = home
        self._event_id = event_id

    def _settle(self, outcome: Outcome, payload: bytes | None = None) -> None:
        """Note what became of the message and wake its waiters. Requires holding the lock that guards it.

        ``payload`` is the message that a reply came in.
        """
        if self._outcome is None:
            self._outcome = outcome
            for event in self._events or ():
                event.set()

    def _tell(self, calls_back: bool) -> bool:
        """Tell a future the outcome, without the lock; false where its callbacks are left, not ``calls_back``."""
        return True


def answer(to: "tuple[Connection, int]", event: str, args: Any = (), on_reply: OnReply | None = None) -> SentMessage:
    """Send an event that answers an incoming one: the ``reply`` of listeners and callbacks. Any thread may call it.

    ``MethodType`` binds it to a connection and the event's id: an object of a class would take twice as long to make.
    """
    connection, event_id = to
    connection.fork_guard.check()
    return connection.send(event, args, event_id, on_reply)


class Pending:
    """An event that is to be answered once, by its handler, unless somebody else has replied. Any thread may call it.

    Two threads that reply at the same moment both do: an event may have any number of replies.
    """

    __slots__ = ("_connection", "_event_id", "answered")

    def __init__(self, connection: "Connection", event_id: int) -> None:
        self._connection = connection
        self._event_id = event_id
        self.answered = event_id < 0  # no peer has sent it

    def reply(self, event: str, args: Any = (), on_reply: OnReply | None = None) -> SentMessage:
        """Send an event that answers it; nothing is sent where no peer has asked, or the connection is gone."""
        if self._event_id < 0:
            return answer_nobody(event, args, on_reply)
        try:
            send = self._connection.send
            self._connection.fork_guard.check()
        except ReferenceError:
            return answer_nobody(event, args, on_reply)
        sent = send(event, args, self._event_id, on_reply)
        self.answered = True
        return sent

    def wait(self) -> None:
        """Keep the connection no longer than it lives: it may be long until the answer is there."""
        self._connection = weakref.proxy(self._connection)


def answer_nobody(event: str, args: Any = (), on_reply: OnReply | None = None) -> SentMessage:
    """Be the ``reply`` of an event that no peer has sent: nothing is sent."""
    return SentMessage(None, None, None, Ending(1006, ""))


def too_many_replies(event: str, limit: int) -> TooManyReplies:
    """Make the error of an event whose ``on_reply`` would be one too many."""
    return TooManyReplies(
        f"event {event!r:.100}: {limit} messages have an on_reply still to come, which is all that"
        " max_awaiting_replies allows; nothing was sent"
    )


class _Entry(weakref.ref):  # type: ignore[type-arg]
    """A sent message in the table: a weak reference that knows the id, for when the message is gone."""

    __slots__ = ("deadline", "event_id", "kept", "on_reply", "stays")

    event_id: int
    kept: SentMessage | None
    stays: bool  # though nobody may have the message
    on_reply: OnReply | None
    deadline: float


class ReplyTable:
    """The messages of one connection that a reply may still come for, in the order of their deadlines.

    Not locked: the lock of the connection's reader guards it, and every method requires holding that, but for what the
    garbage collector calls, on any thread: a weak reference's end is only noted in ``_gone`` (by ``list.append``, which
    nothing can interrupt), and the next operation works it off.

    Most messages are let go of by their sender at once. So the last is kept apart, and entered only where somebody
    still has it at the next operation; else it may stay there, dead, until the next message takes its place.

    ``callbacks`` is how many entries have an ``on_reply`` or are kept for a future, ``waiting`` how many others a
    thread waits for. Both may be read without the lock, which shows the state of a moment ago. Each changes right
    beside its entry, with no call between, where an exception could come out. ``kept`` is how many are kept;
    ``settled`` has those whose outcome is known, for who tells their futures without the lock, and ``due`` those whose
    callbacks are left to the connection's thread.
    """

    def __init__(self) -> None:
        self._last: weakref.ref[SentMessage] | None = None
        self._last_id, self._last_deadline = 0, 0.0
        self._entries: OrderedDict[int, _Entry] = OrderedDict()
        self._gone: list[_Entry] = []
        self.callbacks = 0
        self.waiting = 0
        self.kept = 0
        self.settled: dict[SentMessage, None] | tuple[()] = ()
        self.due: list[SentMessage] | tuple[()] = ()

    def __len__(self) -> int:
        self.tidy()
        return len(self._entries)

    @property
    def awaited(self) -> int:
        """How many have an ``on_reply``, or a thread that waits. Callable without the lock."""
        return self.callbacks + self.waiting

    def begin_waiting(self, sent: SentMessage) -> None:
        """Note that a thread waits for a message, which so is entered: who reads the reply has less to do."""
        self.tidy()
        counts = not sent._waiting and self._is_bare(sent)
        sent._waiting += 1
        self.waiting += counts

    def end_waiting(self, sent: SentMessage) -> None:
        """Note that a thread does not wait for a message any more."""
        counts = sent._waiting == 1 and self._is_bare(sent)
        sent._waiting -= 1
        self.waiting -= counts

    def _is_bare(self, sent: SentMessage) -> bool:
        """Tell whether a message is entered without an ``on_reply``."""
        entry = self._entries.get(sent.event_id or 0)
        return entry is not None and not entry.stays and entry() is sent

    def expects_any(self) -> bool:
        """Tell whether there is any entry."""
        if self._gone or (self._last is not None and self._last() is not None):
            self.tidy()
        return bool(self._entries)

    def expect(self, sent: SentMessage, event_id: int, on_reply: OnReply | None, deadline: float) -> None:
        """Enter a message; ``deadline`` in monotonic time, not before those entered earlier."""
        if self._gone or (self._last is not None and self._last() is not None):
            self.tidy()
        if on_reply is not None or sent._waiting:
            self._enter(sent, event_id, on_reply, deadline)
        else:
            self._last_id, self._last_deadline = event_id, deadline
            self._last = weakref.ref(sent)

    def settle(self, reply: Reply, payload: Any) -> RoutedReply | None:
        """Hand a reply, which came as ``payload``, to who waits for it; ``None`` where nobody does."""
        event_id = reply.ids.reply_to or 0
        if self._last is not None or self._gone:
            self.tidy()
        entry = self._entries.get(event_id)
        if entry is None:
            return None
        sent = entry()
        if sent is not None:
            sent._settle(reply, payload)
        self.take(event_id)  # last: over an exception the connection's end must still find what is not settled
        return RoutedReply(payload, entry.on_reply)

    def note_settled(self, sent: SentMessage) -> None:
        """Note that the future of a message is to be told its outcome, when the lock is free."""
        if not isinstance(self.settled, dict):
            self.settled = {}  # not before: most connections never have one
        self.settled[sent] = None

    def wants(self, event_id: int) -> bool:
        """Tell whether a reply to a message is awaited, or may still be asked for."""
        if self._last is not None or self._gone:
            self.tidy()
        return event_id in self._entries

    def take(self, event_id: int) -> _Entry | None:
        """Remove and return the entry of a message."""
        if self._last is not None or self._gone:
            self.tidy()
        entry = self._entries.get(event_id)
        if entry is None:
            return None
        sent = entry()
        if entry.stays:
            del self._entries[event_id]
            self.callbacks -= 1
            self.kept -= entry.kept is not None
        else:
            waited_for = sent is not None and sent._waiting > 0
            del self._entries[event_id]
            self.waiting -= waited_for
        return entry

    def next_deadline(self) -> float | None:
        """Return when the first entry expires."""
        self.tidy()
        return next((entry.deadline for entry in self._entries.values()), None)

    def take_expired(self, now: float) -> list[_Entry]:
        """Remove and settle what is due; the entries are returned so that they are freed without the lock."""
        self.tidy()
        expired = list(takewhile(lambda entry: entry.deadline <= now, list(self._entries.values())))
        for entry in expired:
            _settle(entry, EXPIRED)
            self.take(entry.event_id)
        return expired

    def take_all(self, ending: Ending) -> list[_Entry]:
        """Remove and settle everything, as the connection has ended."""
        self.tidy()
        entries = list(self._entries.values())
        for entry in entries:
            _settle(entry, ending)
        self._entries.clear()
        self.callbacks = self.waiting = self.kept = 0
        return entries

    def _enter(self, sent: SentMessage, event_id: int, on_reply: OnReply | None, deadline: float) -> None:
        entry = _Entry(sent, self._gone.append)
        entry.event_id, entry.on_reply, entry.deadline = event_id, on_reply, deadline
        entry.kept = sent if sent._is_kept else None
        entry.stays = stays = on_reply is not None or sent._is_kept
        waited_for = not stays and sent._waiting > 0
        self._entries[event_id] = entry
        self.callbacks += stays
        self.kept += sent._is_kept
        self.waiting += waited_for

    def tidy(self) -> None:
        """Enter the last message, if anybody still has it, and forget those that nobody has any more."""
        sent = None if self._last is None else self._last()
        if sent is not None:
            self._enter(sent, self._last_id, None, self._last_deadline)
        self._last = None  # only now: an exception may come out at any place
        while self._gone:
            entry = self._gone.pop()
            if not entry.stays:
                self._entries.pop(entry.event_id, None)


def _settle(entry: _Entry, outcome: Outcome) -> None:
    sent = entry()
    if sent is not None:
        sent._settle(outcome)
