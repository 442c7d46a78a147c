"""Puts what a node publishes into the log: each once, in order, again and again until the log has it.

Whoever publishes encodes it, puts it into a queue, and waits for nothing. One thread, ``ezez-backplane-out``, takes it
from there, numbers it, and appends it: so the numbers are in the order of the queue even where a signal handler puts
something in the middle of a ``put``. What is not confirmed is appended again under its number, before anything new, so
that a reader can drop what was appended twice. What was confirmed in the last seconds is kept: where the log is another
one than before it may have lost that, so it is appended once more, too. The thread also gives the node's signs of life.
"""

import logging
import secrets
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from ..errors import PublishFailed, QueueFull
from ..logs import limited
from ..threads import clock
from ..threads.deadline import NEVER, Deadline
from ..threads.fork import Uncopied
from ..threads.interrupted import make_lock
from ..threads.starting import join_thread, start_thread
from ..threads.waiting import Condition
from .audience import Publication
from .entries import AGAIN, Beat, Bye, Command, In, Out, Said, What, encode_head, encode_what
from .log import Backplane, LogDown, LogWriter

__all__ = ["Numbering", "Publisher"]

_SILENT = 600.0  # seconds after which a producer takes a new name: readers forget it after twice as long
_MOST_AT_ONCE = 256  # publications in one entry of the log
_BYTES_AT_ONCE = 256 * 1024  # of an entry; one publication may be larger
_MESSAGES_AT_ONCE = 64  # to inboxes, before what is published gets its turn again
_RECENT = 5.0  # seconds for which what was confirmed is kept
_RECENT_BYTES = 16 << 20  # that are kept, at most
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0  # seconds between two attempts
_GRACE = 1.0  # seconds for the thread to end when it has been cut off


class Numbering:
    """Numbers what one producer publishes: 1, 2, 3, … A lock of the owner's guards it.

    Without a ``name`` it makes one up, and another, beginning with 1 again, after 10 minutes without a publication:
    readers may have forgotten the number by then.
    """

    def __init__(self, name: str | None = None) -> None:
        self._given = name
        self._name = name or secrets.token_hex(8)
        self._last = 0
        self._at = clock.monotonic()

    def next(self) -> tuple[str, int]:
        """Return the name of the producer, and the number of its next publication."""
        if self._given is None:
            now = clock.monotonic()
            if now - self._at > _SILENT:
                self._name, self._last = secrets.token_hex(8), 0
            self._at = now
        self._last += 1
        return self._name, self._last


class _Item:
    """A publication on its way; its ``Publication`` asks it how it went. The publisher's lock guards it."""

    __slots__ = ("can_be_marked", "data", "done", "is_change", "publisher", "size")

    def __init__(self, publisher: "Publisher", what: What) -> None:
        self.publisher = publisher
        self.data = encode_what(what)  # without a number at first
        # what counts in the queue: nothing where it is not a user's, and from the confirmation on
        self.can_be_marked = isinstance(what, (Said, Command))
        self.size = len(self.data) if self.can_be_marked else 0
        self.is_change = not self.can_be_marked and isinstance(what, (In, Out))
        self.done: bool | None = None  # false: it will never be in the log

    def mark_again(self) -> None:
        """Say in its bytes that it was in a log before. Requires holding the lock."""
        if self.can_be_marked:
            self.data += AGAIN
            self.can_be_marked = False

    def wait_confirmed(self, deadline: Deadline) -> bool:
        """See ``Confirming``."""
        return self.publisher._wait_for(self, deadline)


class Publisher(Uncopied):
    """The way of one node's publications into the log, from ``start`` to ``close``.

    Any thread may call any method, and a signal handler ``put`` and ``send_to``. ``_lock``, a leaf, guards every field
    but those that are the thread's; each step under it is whole in itself. Nothing is called while it is held.

    Args:
        backplane, node: where the log is, and the node's name.
        limit_bytes: that may wait for the broker.
        on_state: ``(up, text, severe)``, called on the thread when the log can be written again, and when it cannot,
            or for another reason than before; ``LogDown`` says what the last two are.
        on_no_inbox: ``(message)``, called on the thread with what is for a node that has no inbox.
        on_changes_left_out: called on the thread when the ``Listing`` of the node's members is to be put, as more than
            ``limit_bytes`` of their changes would have waited.
    """

    def __init__(
        self,
        backplane: Backplane,
        node: str,
        limit_bytes: int,
        on_state: Callable[[bool, str, bool], object],
        on_no_inbox: Callable[[bytes], object] | None = None,
        on_changes_left_out: Callable[[], object] = bool,
    ) -> None:
        self.published = 0  # by users, as is what is confirmed
        self.confirmed = 0
        self.reconnects = 0
        self._backplane = backplane
        self._limit = limit_bytes
        self._on_state = on_state
        self._on_no_inbox = on_no_inbox
        self._on_changes_left_out = on_changes_left_out
        self._lock = make_lock()
        self._work = Condition(self._lock)  # there is something to do
        self._outcome = Condition(self._lock)  # something is in the log, or never will be
        self._queue: deque[_Item] = deque()  # without a number
        self._pending: deque[_Item] = deque()  # numbered, and not known to be in the log
        self._recent: deque[tuple[float, int, list[_Item]]] = deque()  # when they were confirmed, and their bytes
        self._recent_bytes = 0
        self._messages: deque[tuple[str, bytes]] = deque()  # to inboxes
        self._bytes = 0
        self._change_bytes = 0  # of changes of members
        self._leaves_out = False  # those that come now: the list is put when there is room again
        self._trim_before = 0
        self._resend: str | None = None  # the epoch in which to append again what is recent
        self._closing = False  # nothing new comes
        self._stopped = False  # the thread is to end at once
        self._thread: threading.Thread | None = None
        self._writer: LogWriter | None = None
        # the thread's
        self._numbering = Numbering(node)
        self._beat_at = 0.0
        self._state: tuple[bool, str, bool] | None = None  # what on_state was told last
        self._retry_at = 0.0
        self._pause = _FIRST_PAUSE
        self._found = ""  # the epoch that the writer has found
        self._resent = ""  # the epoch that has what is recent

    # -- of any thread ------------------------------------------------------------------------------------------------

    @property
    def queued_bytes(self) -> int:
        """How many bytes wait for the broker."""
        return self._bytes

    def start(self) -> None:
        """Start the thread, which connects. ``ImportError``: something has to be installed; the text says what."""
        self._writer = self._backplane.make_writer()
        self._thread = threading.Thread(target=self._run, name="ezez-backplane-out", daemon=True)
        start_thread(self._thread)

    def put(self, what: What) -> Publication:
        """Have something put into the log, behind what was put before; waits for nothing.

        Raises:
            QueueFull: what users publish would be more than ``limit_bytes`` that wait; nothing is put.
            RuntimeError: the publisher is closed, and a user publishes; else the publication has failed.
            SerializationError: something in it cannot travel.
        """
        item = _Item(self, what)
        with self._lock:
            if self._closing:
                if item.size:
                    raise RuntimeError("the server is closed: nothing can be published")
                item.done = False
            elif item.is_change and not self._has_room_for(item):
                self._leaves_out = True
            else:
                self._make_room(item.size)
                self.published += item.size > 0
                self._queue.append(item)
                self._work.changed()
        return Publication(item)

    def send_to(self, node: str, message: bytes) -> None:
        """Have a message put into the inbox of a node or emitter, at most once; dropped when the publisher is closed.

        Raises:
            QueueFull: more than ``limit_bytes`` would wait; nothing is put.
        """
        with self._lock:
            if not self._closing:
                self._make_room(len(message))
                self._messages.append((node, message))
                self._work.changed()

    def _make_room(self, size: int) -> None:
        """Requires holding the lock."""
        if size and self._bytes and self._bytes + size > self._limit:
            raise QueueFull(f"{self._bytes} bytes wait for the broker, of publish_buffer_limit={self._limit}")
        self._bytes += size

    def _has_room_for(self, change: _Item) -> bool:
        """Requires holding the lock."""
        if self._leaves_out or (self._change_bytes and self._change_bytes + len(change.data) > self._limit):
            return False
        self._change_bytes += len(change.data)
        return True

    def resend_recent(self, epoch: str = "") -> None:
        """Append once more what was confirmed in the last 5 seconds, before anything new: the log is another one.

        With an ``epoch`` only where that was not done for it yet: the thread does so where it finds one by itself.
        """
        with self._lock:
            self._resend = epoch
            self._work.changed()

    def trim(self, before_ms: int) -> None:
        """Have the log let go of what is older than a time of its clock; 0: of nothing."""
        with self._lock:
            self._trim_before = max(before_ms, self._trim_before)
            self._work.changed()

    def _wait_for(self, item: _Item, deadline: Deadline) -> bool:
        done = self._outcome.wait_for(lambda: item.done, deadline)
        if done is False:
            raise PublishFailed("the server was closed before the broker confirmed the publication")
        return done is not None

    def close(self, deadline: Deadline = NEVER) -> None:
        """Put a goodbye, and wait for the queue until the deadline; what is left has failed. Idempotent.

        The thread is gone then, but where it just connects, or is inside a callback, for longer than a second.
        """
        with self._lock:
            if not self._closing:
                self._queue.append(_Item(self, Bye()))
                self._closing = True
                self._retry_at = 0.0  # there may be time for another attempt
                self._work.changed()
        thread, writer = self._thread, self._writer
        try:
            if thread is not None:
                join_thread(thread, deadline.remaining())
        finally:
            with self._lock:
                self._stopped = True
                self._work.changed()
            if thread is not None and writer is not None and thread.is_alive():
                writer.cut()
                join_thread(thread, _GRACE)
            self._give_up()

    def _give_up(self) -> None:
        """Nothing that is left will be in the log."""
        with self._lock:
            self._closing = True
            for item in (*self._pending, *self._queue):
                if item.done is None:
                    item.done = False
            self._pending.clear()
            self._queue.clear()
            self._messages.clear()
            self._bytes = 0
            self._outcome.changed()

    # -- of the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        writer = self._writer
        assert writer is not None
        try:
            while self._wait():
                try:
                    self._write(writer)
                except LogDown as error:
                    self._went_down(str(error), error.severe)
                except Exception as error:
                    limited.tell(logging.ERROR, type(error), "an error while publishing", exc_info=error)
                    self._went_down(f"an error while publishing: {type(error).__name__}", True)
        finally:
            writer.close()
            self._give_up()

    def _wait(self) -> bool:
        """Wait until there is something to do; false, the thread is to end."""
        is_up = self._state is None or self._state[0]

        def look() -> bool | None:
            if self._stopped:
                return False
            if is_up and (self._queue or self._pending or self._messages or self._trim_before):
                return True
            if is_up and (self._closing or self._resend is not None):
                return not self._closing
            return True if clock.monotonic() >= (self._beat_at if is_up else self._retry_at) else None

        wake_at = self._beat_at if is_up else self._retry_at
        return self._work.wait_for(look, Deadline.of(wake_at)) is not False

    def _write(self, writer: LogWriter) -> None:
        self._see(writer.open())
        with self._lock:
            before, self._trim_before = self._trim_before, 0
        if before:
            writer.trim(before)  # first: it may be what makes room
        if self._closing:  # before our goodbye: who has read that waits for no answer of ours
            self._put_messages(writer)
        batch = self._next_batch()
        if batch:
            writer.append([item.data for item in batch])
            self._confirm(batch)
            self._came_up()
            self._make_up_for_changes()
        self._put_messages(writer)

    def _put_messages(self, writer: LogWriter) -> None:
        """Put what waits into the inboxes of others, or some of it."""
        for _ in range(_MESSAGES_AT_ONCE):
            with self._lock:
                if not self._messages:
                    break
                node, message = self._messages.popleft()
                self._bytes -= len(message)
            if not writer.send_to(node, message) and self._on_no_inbox is not None:  # LogDown: it may have arrived
                self._on_no_inbox(message)

    def _make_up_for_changes(self) -> None:
        """Have the list of members put, where changes were left out, and those before them have gone."""
        with self._lock:
            makes_up = self._leaves_out and not self._change_bytes
            if makes_up:
                self._leaves_out = False
        if makes_up:
            self._on_changes_left_out()

    def _see(self, found: str) -> None:
        """Put what is recent before all else, where the log is another one than that which confirmed it."""
        with self._lock:
            epochs = [] if found == self._found else [found]
            if self._resend is not None:
                epochs.append(self._resend)
            self._found, self._resend = found, None
            for epoch in epochs:
                if epoch != self._resent or not epoch:
                    for _, _, items in reversed(self._recent):
                        self._pending.extendleft(reversed(items))
                    for item in self._pending:  # what was not confirmed may have been there, too
                        item.mark_again()
                    self._recent.clear()
                    self._recent_bytes = 0
                    self._resent = epoch

    def _next_batch(self) -> list[_Item]:
        """Return what is to be appended now: what was numbered before; else what comes next, which gets its number."""
        batch: list[_Item] = []
        with self._lock:
            if not self._pending:
                self._number()
            size = 0
            for item in self._pending:
                size += len(item.data)
                if batch and (len(batch) == _MOST_AT_ONCE or size > _BYTES_AT_ONCE):
                    break
                batch.append(item)
        return batch

    def _number(self) -> None:
        """Requires holding the lock."""
        now = clock.monotonic()
        if now >= self._beat_at:
            self._beat_at = now + self._backplane.heartbeat
            self._queue.appendleft(_Item(self, Beat()))
        while self._queue and len(self._pending) < _MOST_AT_ONCE:
            item = self._queue.popleft()
            self._change_bytes -= len(item.data) if item.is_change else 0
            item.data = encode_head(*self._numbering.next()) + item.data
            self._pending.append(item)

    def _confirm(self, batch: list[_Item]) -> None:
        now = clock.monotonic()
        with self._lock:
            if self._stopped:
                return
            size = 0
            for item in batch:
                self._pending.popleft()
                size += len(item.data)
                if item.size:
                    self._bytes -= item.size
                    self.confirmed += 1
                    item.size = 0
                if item.done is None:
                    item.done = True
            self._recent.append((now, size, batch))
            self._recent_bytes += size
            while self._recent and (self._recent[0][0] < now - _RECENT or self._recent_bytes > _RECENT_BYTES):
                self._recent_bytes -= self._recent.popleft()[1]
            if not (self._pending or self._queue or self._messages):
                self._bytes = self._change_bytes = 0  # whatever the exceptions of signal handlers have made of it
            self._outcome.changed()

    def _came_up(self) -> None:
        self._pause = _FIRST_PAUSE
        if self._state is None or not self._state[0]:
            if self._state is not None:
                self.reconnects += 1
            self._tell(True, "", False)

    def _went_down(self, text: str, severe: bool) -> None:
        self._retry_at = clock.monotonic() + self._pause
        self._beat_at = 0.0  # the next thing that is appended, so that there is one
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        self._tell(False, text, severe)

    def _tell(self, *state: Any) -> None:
        if state != self._state and not self._stopped:
            self._state = state
            self._on_state(*state)
