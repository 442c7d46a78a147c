"""The reading role and the inbox of one connection.

Reading is a role, not a thread. Normally the connection's own thread, the owner, has it. While that thread runs a
listener the role is free, and whoever needs it takes it:

    wait            the owner in its loop, and any thread in ``wait_reply``
    wait_for_room   any thread whose ``send`` waits for a slow peer
    look_in         the janitor, without blocking, so that pings are answered and a close is noticed

Whoever reads hands each reply to its waiters at once and puts every message, replies too, into the inbox. Only the
owner takes messages out of it, so no user code runs on a stranger's thread, and callbacks run in the order of arrival.
While the inbox is full nobody reads: TCP holds the peer back, and only a hang-up is noticed.

Who cannot have the role sleeps on an ``Event``, which is set when what it waits for is there, when the connection
ends, and when the role falls free. The owner goes first: a reader that finds the owner asleep hands the role to it at
the end of its slice, because events handed from thread to thread cost more than those that the owner reads itself.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from ..errors import MalformedMessage
from ..threads.deadline import Deadline
from ..threads.waiting import Event
from ..websocket.frames import BINARY, Message
from ..websocket.stream import Ending, Stream
from .replies import OnReply, Reply, ReplyTable, SentMessage

__all__ = ["Arrived", "Inbox", "Mark"]

T = TypeVar("T")

SLICE = 0.25
"""Seconds after which a reader that is not in its own loop looks whether it is still wanted."""

_LOOK_IN_READS = 16

_RETIRED = -1  # no thread's identifier: nobody will read any more


OVERHEAD = 64
"""What a waiting message counts beside its payload, so that millions of empty ones are bounded too."""


class Mark:
    """A place in the inbox: what was there before it has been handled when it comes out."""


Arrived = tuple[bytes | str | Exception | Mark, OnReply | None]
"""A message in the inbox, as it came; with its ``on_reply`` where it answers a message that has one.

Or an error that another thread met, for ``on_error``, or a mark. (One with names takes seven times as long to make.)
"""


def weight(arrived: Arrived) -> int:
    """What a message counts in the inbox."""
    payload, _ = arrived
    return OVERHEAD + (len(payload) if isinstance(payload, (bytes, str)) else 0)


Item = Arrived | Ending | None


class Inbox:
    """Reads one connection for all threads that want something of it.

    ``lock`` guards every field from ``table`` on. It may be taken while holding the outbox's lock, and nothing is
    locked under it. The stream is read only by the thread whose identifier ``_reading`` is; that it is kept there, and
    not in that thread's variables, lets a signal handler's exception come at any place without the role being lost.

    Args:
        stream: the WebSocket.
        limit: bytes of messages read but not handled yet; at it nobody reads.
        keep_text: whether text messages go into the inbox, too.
        parse_reply: decodes a message into a ``Reply``; raises ``MalformedMessage``.
        peek: tells the reply-to of a message without decoding it.

    ``routes_replies`` says whether waiters are served; ``expected_prefix`` is what the first message shall start with.
    """

    def __init__(
        self,
        stream: Stream,
        limit: int,
        keep_text: bool,
        parse_reply: Callable[[bytes], Reply],
        peek: Callable[[bytes], int | None],
    ) -> None:
        self.lock = threading.Lock()
        self._stream = stream
        self._limit = limit
        self._keep_text = keep_text
        self._parse_reply = parse_reply
        self._peek = peek
        self.table = ReplyTable()
        self.routes_replies = True
        self.expected_prefix: bytes | None = None
        self._prefix_seen = False
        self._prefix_in_time: bool | None = None
        self._arrived: deque[Arrived] = deque()
        self._inbox_bytes = 0
        self._owner: int | None = None
        self._owner_asleep: Event | None = None
        self._busy = False
        self.wants_look_ins = False  # only the owner uses it
        self._looked_after = False
        self._reading: int | None = None
        self._sleepers: dict[Event, None] = {}
        self.ending: Ending | None = None
        self._dropping = False

    # -- what the owner and the peer use ----------------------------------------------------------------------------

    def own(self) -> None:
        """Make the calling thread the owner."""
        with self.lock:
            self._owner = threading.get_ident()

    def is_owner(self) -> bool:
        """Tell whether the calling thread is the owner."""
        with self.lock:
            return self._owner == threading.get_ident()

    def next(self, deadline: Deadline) -> Item:
        """Return the next message, the ending after the last, or ``None`` where the time passed. The owner's.

        As long as nobody else wants anything of the connection, it does in short what ``wait`` does.
        """
        if deadline.at is not None:
            return self.wait(self.take_next, deadline)
        try:
            while True:
                with self.lock:
                    if self._arrived:
                        return self.take_next()
                    if self._reading is not None or self.ending is not None:
                        break
                    self._busy = False
                    self._reading = self._owner
                messages = self._stream.receive(None) or []
                item: Item = None
                with self.lock:
                    alone = not (self.routes_replies and self.table.expects_any())
                    if alone:
                        item = self._take_alone(messages)
                        self._reading = None
                        if self._sleepers:
                            self._pass_on()
                if not alone:
                    self._admit(messages)
                del messages  # they may be large, and it may be long until there are others
                if self._stream.over:
                    self.end()
                if item is not None:
                    return item
                if self._stream.over or not alone:
                    break
            return self.wait(self.take_next, deadline, patient=True)
        except BaseException:
            self._stream.cut()  # what was read is lost
            self.end()
            self._give_role()
            raise

    def take_next(self) -> Item:
        """Take a message out of the inbox, if there is one. The owner's; requires holding the lock."""
        if not self._arrived:
            return self.ending
        arrived = self._arrived.popleft()
        self._inbox_bytes -= weight(arrived)
        self._busy = True
        self.wants_look_ins = not self._looked_after
        return arrived

    def begin_user_code(self) -> None:
        """Note that the owner, which had not taken a message for it, turns to user code."""
        with self.lock:
            self._busy = True
            self.wants_look_ins = not self._looked_after

    def go_on_looking_in(self) -> bool:
        """Tell the janitor whether it must look in, as the owner runs user code; false ends that."""
        with self.lock:
            self._looked_after = self._busy and self.ending is None
            return self._looked_after

    def begin_look_ins(self) -> None:
        """Note that the janitor will look in. The owner's."""
        with self.lock:
            self._looked_after = True
            self.wants_look_ins = False

    def put_mark(self, mark: Mark) -> None:
        """Look once more at what has arrived, without blocking, and mark its end; from then on waiters are served.

        The owner's, when it has decided that a peer is who it says.
        """
        self.look_in()
        with self.lock:
            self._put((mark, None), 0)
            self.routes_replies = True
            self.expected_prefix = None

    def put_back(self, arrived: list[Arrived]) -> None:
        """Put messages before all others. The owner's."""
        with self.lock:
            if not self._dropping:
                self._arrived.extendleft(reversed(arrived))
                self._inbox_bytes += sum(map(weight, arrived))

    def expected_in_time(self) -> bool:
        """Tell whether a message that starts with ``expected_prefix`` had arrived when this was first asked."""
        self.look_in()
        with self.lock:
            if self._prefix_in_time is None:
                self._prefix_in_time = self._prefix_seen
            return self._prefix_in_time

    def drop(self, ending: Ending) -> None:
        """Drop what has arrived and what will; whoever waits for a reply hears of ``ending`` at once."""
        with self.lock:
            self._dropping = True
            freed = self._arrived, self._settle_all(ending)
            self._arrived, self._inbox_bytes = deque(), 0
        del freed  # what user code hangs on it is finalized without the lock

    def end(self) -> None:
        """Tell everybody that the stream has ended. Idempotent; what is in the inbox is still handled."""
        ending = self._stream.ending
        if ending is None:
            return
        with self.lock:
            if self.ending is None:
                self.ending = ending
            freed = self._settle_all(ending)
        del freed

    def wait_ended(self, deadline: Deadline) -> None:
        """Read until the connection has ended. The owner's, inside a listener that does not go back to the loop."""
        self.wait(lambda: self.ending, deadline)

    def between_reads(self, action: Callable[[], None]) -> None:
        """Do something that needs the role, but does not block or lock, as soon as nobody reads. The owner's."""

        def take() -> bool | None:
            if self._reading is not None and self.ending is None:
                return None
            if self._reading is None:
                action()
            return True

        self.wait(take, Deadline(None))

    def retire(self) -> bool:
        """Take the role for good, as soon as whoever has it leaves it; false where another has done so.

        The stream must have been cut, so that whoever reads wakes up.
        """

        def take() -> bool | None:
            if self._reading == _RETIRED:
                return False
            if self._reading not in (None, threading.get_ident()):  # one's own may have been lost over an exception
                return None
            self._reading = _RETIRED
            for event in self._sleepers:
                event.set()  # the role is never passed on again: who waits for it must see that
            return True

        return bool(self.wait(take, Deadline(None)))

    def report(self, error: Exception) -> None:
        """Put an error into the inbox, for ``on_error`` in its turn."""
        with self.lock:
            if not self._dropping:
                self._put((error, None), 0)

    @property
    def full(self) -> bool:
        """Whether nobody reads because the inbox is full."""
        with self.lock:
            return self._inbox_bytes >= self._limit

    def _settle_all(self, ending: Ending) -> object:
        """Tell all waiters, and wake every sleeper; requires holding the lock. What is returned is freed without."""
        for event in self._sleepers:
            event.set()
        return self.table.take_all(ending)

    # -- the role ---------------------------------------------------------------------------------------------------

    def wait(
        self,
        take: Callable[[], T],
        deadline: Deadline,
        sent: SentMessage | None = None,
        patient: bool = False,
    ) -> T | None:
        """Read, or sleep while another thread reads, until ``take`` returns something; ``None`` when the time is over.

        ``take`` is called while holding the lock, at least once, and once more after the time is over. When the
        connection has ended it must return something. ``sent`` is the message whose outcome is awaited. ``patient``
        allows a read without a limit, which only bytes, or the end of the connection, can wake.
        """
        me = threading.get_ident()
        event: Event | None = None
        try:
            while True:
                with self.lock:
                    late = deadline.at is not None and deadline.passed()
                    result = take()
                    if result is not None or late:
                        self._leave(me, event, sent)
                        return result
                    if me == self._owner:
                        self._busy = False
                    reads = self._take_or_keep(me)
                    if not reads:
                        event = self._sleep(event, me, sent)
                if reads:
                    self._read(None if patient and deadline.at is None else _slice(deadline))
                elif event is not None:
                    event.wait(deadline.remaining())
                    event.clear()
        except BaseException:
            with self.lock:
                self._leave(me, event, sent)
            raise

    def _take_alone(self, messages: list[Message]) -> Item:
        """Take the first of what has just come; the others go into the inbox. Requires holding the lock."""
        if len(messages) == 1 and not (self._arrived or self._dropping) and self.expected_prefix is None:
            ((opcode, payload),) = messages
            if opcode == BINARY or self._keep_text:  # the usual, without the detour by the inbox
                self._busy = True
                self.wants_look_ins = not self._looked_after
                return payload, None
        for message in messages:
            self._append(message, None)
        return self.take_next()

    def wait_for_room(self, has_room: Callable[[], bool], deadline: Deadline) -> bool:
        """Wait until ``has_room`` holds, which is called without locks, reading meanwhile; false: the time is over."""
        event = Event()
        while not has_room():
            if deadline.passed():
                return False
            try:
                reads = self._take_role()
                if reads and self._stream.wait_for_room(_slice(deadline)):
                    self._read(0)
                self._give_role()
            except BaseException:  # no ``finally``: the exception may come when it begins
                self._give_role()
                raise
            if not reads:
                self._stream.outbox.call_for_room(event)
                event.wait(_slice(deadline))
                event.clear()
        return True

    def look_in(self) -> None:
        """Read what is there, without blocking, if nobody else reads; while the inbox is full notice a hang-up."""
        for _ in range(_LOOK_IN_READS):
            try:
                reads = self._take_role()
                more = reads and self._read(0)
                self._give_role()
            except BaseException:  # as in ``wait_for_room``
                self._give_role()
                raise
            if not reads:
                break
            if not more:
                return
        if self.full and self._stream.outbox.hung_up():
            self._stream.cut()
            self.end()

    def _take_role(self) -> bool:
        with self.lock:
            if self._reading is not None or not self._may_read():
                return False
            self._reading = threading.get_ident()
            return True

    def _give_role(self) -> None:
        with self.lock:
            if self._reading == threading.get_ident():
                self._reading = None
                self._pass_on()

    def _take_or_keep(self, me: int) -> bool:
        """Decide whether the calling thread reads next; requires holding the lock."""
        if self._reading is None and self._may_read():
            self._reading = me
            return True
        if self._reading != me:
            return False
        if self._may_read() and (self._owner_asleep is None or me == self._owner):
            return True
        self._reading = None
        self._pass_on()
        return False

    def _may_read(self) -> bool:
        """Requires holding the lock."""
        return self.ending is None and self._inbox_bytes < self._limit

    def _sleep(self, event: Event | None, me: int, sent: SentMessage | None) -> Event:
        """Enlist the calling thread with those who are to be woken; requires holding the lock."""
        if event is None:
            event = Event()
            if sent is not None:
                sent.events = [*(sent.events or ()), event]
        self._sleepers[event] = None
        if me == self._owner:
            self._owner_asleep = event
        return event

    def _leave(self, me: int, event: Event | None, sent: SentMessage | None) -> None:
        """Strike the calling thread off, and pass the role on; requires holding the lock."""
        if event is not None:
            self._sleepers.pop(event, None)
            if self._owner_asleep is event:
                self._owner_asleep = None
            if sent is not None and sent.events is not None:
                sent.events = [other for other in sent.events if other is not event] or None
        if self._reading == me:
            self._reading = None
        if self._sleepers:
            self._pass_on()

    def _pass_on(self) -> None:
        """Wake one who may want the role, if it is free; requires holding the lock."""
        if self._reading is not None or not self._sleepers:
            return
        if self._owner_asleep is not None:
            self._owner_asleep.set()
        else:
            next(iter(self._sleepers)).set()

    # -- what is read -----------------------------------------------------------------------------------------------

    def _read(self, timeout: float | None) -> bool:
        """Read once; false where nothing came. Requires the role."""
        if timeout is not None and not self._stream.readable(timeout):
            return False
        try:
            messages = self._stream.receive(None if timeout is None else 0, looked=True)
            if messages is None:
                return False
            if messages:
                self._admit(messages)
        except BaseException:
            self._stream.cut()  # what was read is lost
            self.end()
            raise
        if self._stream.over:
            self.end()
        return True

    def _admit(self, messages: list[Message]) -> None:
        with self.lock:
            if not (self.routes_replies and self.table.expects_any()):
                for message in messages:
                    self._append(message, None)
                return
        for message in messages:
            on_reply = self._deliver_reply(message)
            with self.lock:
                self._append(message, on_reply)

    def _append(self, message: Message, on_reply: OnReply | None) -> None:
        """Put a message into the inbox, and wake the owner; requires holding the lock."""
        payload = message.payload
        if self._dropping or (message.opcode != BINARY and not self._keep_text):
            return
        if self.expected_prefix is not None and payload[: len(self.expected_prefix)] == self.expected_prefix:
            self._prefix_seen = True
        self._put((payload, on_reply), len(payload))

    def _put(self, arrived: Arrived, size: int) -> None:
        """Requires holding the lock."""
        self._arrived.append(arrived)
        self._inbox_bytes += OVERHEAD + size
        if self._owner_asleep is not None:
            self._owner_asleep.set()

    def _deliver_reply(self, message: Message) -> OnReply | None:
        """Hand a message to those who wait for it, if it is a reply; return its ``on_reply``."""
        if message.opcode != BINARY:
            return None
        assert isinstance(message.payload, bytes)
        reply_to = self._peek(message.payload)
        if reply_to is None:
            return None
        with self.lock:
            if not self.table.wants(reply_to):
                return None
        try:
            reply = self._parse_reply(message.payload)
        except MalformedMessage:
            return None  # that is dealt with in its turn
        with self.lock:
            entry = self.table.take(reply_to)
            sent = None if entry is None else entry()
            if sent is not None:
                sent.settle(reply)
        return None if entry is None else entry.on_reply


def _slice(deadline: Deadline) -> float:
    remaining = deadline.remaining()
    return SLICE if remaining is None else min(SLICE, remaining)
