"""The inbox of one connection: what was read and not handled yet, and the role of reading.

Reading is a role, not a thread (the leader/followers pattern). Normally the connection's own thread, the owner, has it.
While that thread runs a listener the role is free, and whoever needs it takes it:

    next            the owner in its loop
    wait            any thread in ``wait_reply``
    wait_for_room   any thread whose ``send`` waits for a slow peer
    look_in         the janitor, without blocking, so that pings are answered and a close is noticed

Whoever reads decodes each reply for its waiters and hands it to them at once, and puts every message, replies too, into
the inbox. Only the owner takes them out: no user code runs on a stranger's thread, and callbacks keep the order of
arrival. While the inbox is full nobody reads: TCP holds the peer back, and only a hang-up is noticed.

Who cannot have the role sleeps on an ``Event``, which is set when what it waits for is there, at the connection's end,
and when the role falls free. The owner goes first, as events that go from thread to thread cost more than those that it
reads itself: a reader that finds it asleep hands it the role at the end of its slice.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

from ..messages.tally import Tally
from ..threads import clock
from ..threads.deadline import NEVER, Deadline
from ..threads.interrupted import make_lock
from ..threads.waiting import Event
from ..websocket.frames import BINARY, Message
from ..websocket.stream import Ending, Stream
from .replies import Reply, ReplyTable, RoutedReply, SentMessage
from .routing import Arrived, Mark, Routing, Task

__all__ = ["Arrived", "Inbox", "Mark", "Task"]

T = TypeVar("T")
Item = Arrived | Ending | None
SLICE = 0.25  # seconds after which a reader that is not in its own loop looks whether it is still wanted
_OVERHEAD = 64  # what a waiting message counts beside its payload, so that millions of empty ones are bounded too
_LOOK_IN_READS = 16
_EMPTY: deque[tuple[Arrived, float]] = deque()  # one for all, never put into: an own one takes 600 bytes
_RETIRED = -1  # no thread's identifier: nobody will read any more


def weight(arrived: Arrived) -> int:
    """What a message counts in the inbox."""
    payload = arrived.payload if isinstance(arrived, RoutedReply) else arrived
    return _OVERHEAD + (len(payload) if isinstance(payload, (bytes, str)) else 0)


class Inbox(Routing):
    """Reads one connection for all threads that want something of it.

    ``lock`` guards every field from ``table`` on. It may be taken while holding the outbox's lock, and nothing is
    locked under it. The stream is read only by the thread whose identifier ``_reading`` is; that it is kept there, and
    not in that thread's variables, lets a signal handler's exception come at any place without the role being lost.

    ``ending`` is what the owner finds after the last message; it is set once (``end``), by any thread, which calls
    ``on_end`` then. At ``limit`` bytes of messages that were read and not handled yet nobody reads. ``note``, if there
    is one, gets each message that is put in, while ``lock`` is held; it must not block, nor lock. ``routes_replies``
    says whether waiters are served, ``parses_plainly`` whether ``parse_reply`` runs no code of the user's.
    """

    def __init__(
        self, stream: Stream, limit: int, keep_text: bool, parse_reply: Callable[[bytes], Reply], parses_plainly: bool
    ) -> None:
        self.lock = make_lock()
        self._stream = stream
        self._limit = limit
        self._keep_text = keep_text
        self._parse_reply = parse_reply
        self._parses_plainly = parses_plainly
        self.table = ReplyTable()
        self.tally = Tally()
        self.routes_replies = True
        self.note: Callable[[bytes | str], None] | None = None
        self._arrived = _EMPTY
        self._bytes = 0
        self.read_at = 0.0  # when the message came that the owner has taken last; only the owner uses it
        self._unrouted = False  # a reply may be among what has arrived that its waiter does not have
        self._owner: int | None = None
        self._owner_asleep: Event | None = None
        self._busy = False
        self.wants_look_ins = False  # only the owner uses it
        self._looked_after = False
        self._reading: int | None = None
        self._retired_by: int | None = None
        self._sleepers: dict[Event, None] = {}
        self.ending: Ending | None = None
        self.on_end: Callable[[], object] = bool
        self._ended_at = 0.0
        self._dropping: Ending | None = None

    # -- what the owner and the connection use ----------------------------------------------------------------------

    def own(self) -> None:
        """Make the calling thread the owner."""
        with self.lock:
            self._owner = threading.get_ident()

    def is_owner(self) -> bool:
        """Tell whether the calling thread is the owner."""
        with self.lock:
            return self._owner == threading.get_ident()

    def next(self) -> Arrived | Ending:
        """Wait for the next message, and return it, or the ending after the last. The owner's.

        As long as nobody else wants anything of the connection, it does in short what ``wait`` does.
        """
        while True:
            with self.lock:
                if self._arrived or self.ending is not None:
                    item = self.take_next()
                    assert item is not None
                    return item
                if self._reading is not None:
                    break
                self._busy = False
                self._reading = self._owner
            try:
                messages = self._stream.receive(None) or ()
                with self.lock:
                    routes = self.routes_replies and self.table.expects_any()
                    item = None if routes else self._take_first(messages)
                    if not routes:
                        self._reading = None
                        if self._sleepers:
                            self._pass_on()
                if routes:
                    self._admit(messages)
                    self._give_role()
                del messages  # they may be large, and it may be long until there are others
                if self._stream.over:
                    self.end()
            except BaseException:
                self._lose()
                raise
            if item is not None:
                return item
        item = self.wait(self.take_next, NEVER, patient=True)
        assert item is not None
        return item

    def take_next(self) -> Item:
        """Take a message out of the inbox, if there is one. The owner's; requires holding the lock."""
        if not self._arrived:
            self._busy = False
            return self.ending
        arrived, self.read_at = self._arrived.popleft()
        self._bytes -= weight(arrived)
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

    def outlived(self) -> tuple[float, int | None]:
        """Return for how many seconds user code of the owner has gone on since the end, and who that is."""
        with self.lock:
            return clock.monotonic() - self._ended_at if self._busy and self.ending is not None else 0.0, self._owner

    def begin_look_ins(self) -> None:
        """Note that the janitor will look in. The owner's."""
        with self.lock:
            self._looked_after = True
            self.wants_look_ins = False

    def put(self, arrived: Arrived, size: int = 0) -> bool:
        """Put something behind all that has arrived; false where that is being dropped. Requires holding the lock."""
        if self._dropping:
            return False
        if self._arrived is _EMPTY:
            self._arrived = deque()
        self._arrived.append((arrived, self._stream.last_received))
        self._bytes += _OVERHEAD + size
        if self._owner_asleep is not None:
            self._owner_asleep.set()
        return True

    def owner_reads(self) -> bool:
        """Tell whether the owner waits for bytes, out of which ``put`` does not wake it. Requires holding the lock."""
        return self._reading is not None and self._reading == self._owner

    def put_back(self, arrived: list[Arrived]) -> None:
        """Put messages before all others. The owner's."""
        with self.lock:
            if not self._dropping:
                waiting = [*((one, self.read_at) for one in arrived), *self._arrived]
                self._arrived = deque(waiting) if waiting else _EMPTY
                self._bytes += sum(map(weight, arrived))

    def drop(self, ending: Ending) -> None:
        """Drop what has arrived and what will; whoever waits for a reply hears of ``ending`` at once."""
        with self.lock:
            self._dropping = ending
            freed = self._arrived, self._settle_all(ending)
            self._arrived, self._bytes = _EMPTY, 0
        del freed  # what user code hangs on it is finalized without the lock
        if self.table.settled:
            self.tell_futures(calls_back=False)

    def end(self) -> None:
        """Tell everybody that the stream has ended, once; what is in the inbox is still handled."""
        ending = self._stream.ending
        freed = None  # by the return, without the lock
        with self.lock:
            if self.ending is None and ending is not None:
                freed = self._settle_all(ending)
                self._ended_at = clock.monotonic()
                self.ending = ending  # last: an exception may come out before
        if freed is not None:
            if self.table.settled:
                self.tell_futures(calls_back=False)
            self.on_end()

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
        """Take the role for good, as soon as whoever the cut stream has woken leaves it; false: another has done so."""
        with self.lock:
            retired = self._try_to_retire()
        return bool(self.wait(self._try_to_retire, NEVER)) if retired is None else retired

    def _try_to_retire(self) -> bool | None:
        """Requires holding the lock."""
        if self._reading == _RETIRED:
            return self._retired_by == threading.get_ident()  # an exception may have come out behind this
        if self._reading not in (None, threading.get_ident()):  # one's own may have been lost over an exception
            return None
        self._retired_by = threading.get_ident()
        self._reading = _RETIRED
        for event in self._sleepers:
            event.set()  # the role is never passed on again: who waits for it must see that
        return True

    def _settle_all(self, ending: Ending) -> object:
        """Tell all waiters, and wake every sleeper; requires holding the lock. What is returned is freed without."""
        for event in self._sleepers:
            event.set()
        return self.table.take_all(ending)

    def _lose(self) -> None:
        """End the connection for an exception: what was read is lost."""
        self._stream.cut()
        self.end()
        self._give_role()

    # -- the role ---------------------------------------------------------------------------------------------------

    def wait(
        self,
        take: Callable[[], T],
        deadline: Deadline,
        sent: SentMessage | None = None,
        patient: bool = False,
        event: Event | None = None,
    ) -> T | None:
        """Read, or sleep while another thread reads, until ``take`` returns something; ``None`` when the time is over.

        ``take`` is called while holding the lock, at least once, and once more after the time is over; at the
        connection's end it must return something. ``sent``: the message whose outcome is awaited. ``patient`` allows a
        read without a limit, which only bytes or that end can wake. ``event``: what others set, too, who know more.
        """
        me = threading.get_ident()
        try:
            while True:
                if self._unrouted:
                    self._route_late()
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
                    self._read(None if patient and deadline.at is None else deadline.remaining_of(SLICE))
                elif event is not None:
                    event.wait(deadline.remaining())
                    event.clear()  # before the next look, so that what is set meanwhile counts
        except BaseException:
            with self.lock:
                self._leave(me, event, sent)
            raise

    def _take_first(self, messages: Sequence[Message]) -> Item:
        """Take the first of what has just come; the others go into the inbox. Requires holding the lock."""
        if not (self._arrived or self._dropping) and self.note is None and len(messages) == 1:
            ((opcode, payload),) = messages
            if opcode == BINARY or self._keep_text:  # the usual, without the detour by the inbox
                self._busy = True
                self.read_at = self._stream.last_received
                self.wants_look_ins = not self._looked_after
                return payload
        for message in messages:
            self._append(message.payload)
        return self.take_next()

    def wait_for_room(self, size: int, deadline: Deadline) -> bool:
        """Wait until a message of ``size`` bytes may have room, reading meanwhile; false: the time is over."""
        event = Event()

        def wait() -> bool:
            if self._stream.wait_for_room(deadline.remaining_of(SLICE)):
                self._read(0)
            return True

        while not self._stream.has_room(size):
            if deadline.passed():
                return False
            if self._with_role(wait) is None:
                event.clear()
                self._stream.call_for_room(event)
                event.wait(deadline.remaining_of(SLICE))
        return True

    def wait_ended(self, deadline: Deadline) -> None:
        """Read until the connection has ended. The owner's, inside a listener that does not go back to the loop."""
        self.wait(lambda: self.ending, deadline)

    @property
    def bytes(self) -> int:
        """What has been read and not handled yet, as the limit counts it. Takes no lock."""
        return self._bytes

    @property
    def full(self) -> bool:
        """Whether nobody reads because the inbox is full."""
        with self.lock:
            return self._bytes >= self._limit

    def look_in(self) -> None:
        """Read what is there, without blocking, if nobody else reads; while the inbox is full notice a hang-up."""
        for _ in range(_LOOK_IN_READS):
            more = self._with_role(lambda: self._read(0, plainly=True))
            if more is False:
                return
            if more is None:
                break
        if self.full and self._stream.hung_up():
            self._stream.cut()
            self.end()

    def _with_role(self, act: Callable[[], T]) -> T | None:
        """Do something with the role, if it is free, and give it back; ``None`` where it is not."""
        try:
            result = act() if self._take_role() else None
            self._give_role()
        except BaseException:  # no ``finally``: the exception may come when it begins
            self._give_role()
            raise
        return result

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
            if me == self._owner:
                self._owner_asleep = None
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
        return self.ending is None and self._bytes < self._limit

    def _sleep(self, event: Event | None, me: int, sent: SentMessage | None) -> Event:
        """Enlist the calling thread with those who are to be woken; requires holding the lock."""
        if event is None:
            event = Event()
            if sent is not None:
                sent._events = [*(sent._events or ()), event]
        self._sleepers[event] = None  # the event may be the caller's own
        if me == self._owner:
            self._owner_asleep = event
        return event

    def _leave(self, me: int, event: Event | None, sent: SentMessage | None) -> None:
        """Strike the calling thread off, and pass the role on; requires holding the lock."""
        if event is not None:
            self._sleepers.pop(event, None)
            if self._owner_asleep is event:
                self._owner_asleep = None
            if sent is not None and sent._events is not None:
                sent._events = [other for other in sent._events if other is not event] or None
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

    def _read(self, timeout: float | None, plainly: bool = False) -> bool:
        """Read once; false where nothing came. Requires the role. ``plainly``: without the user's code."""
        if timeout is not None and not self._stream.readable(timeout):
            return False
        try:
            messages = self._stream.receive(None if timeout is None else 0, looked=True)
            if messages is None:
                return False
            self._admit(messages, plainly)
            if self._stream.over:
                self.end()
        except BaseException:
            self._lose()
            raise
        return True
