"""Events on their way out: for many connections at once, and those that a client keeps while it is not connected."""

import sys
from collections import deque
from collections.abc import Callable
from typing import Any

from ..errors import NotConnected, QueueFull
from ..messages.codec import Codec
from ..messages.protocol import check_event_name
from ..options import check_args
from ..threads.deadline import Deadline
from ..threads.fork import ForkGuard
from ..threads.interrupted import refuse_to_wait
from ..threads.waiting import Condition
from ..websocket.frames import Prepared
from ..websocket.stream import Ending
from .replies import OnReply, Outcome, SentMessage, too_many_replies

__all__ = ["Broadcast", "OutgoingQueue", "QueuedMessage", "tell_futures"]

_HEAD = 24  # what the fields of an event take beside its name and arguments, at least


class Broadcast:
    """An event for many, encoded once. Of its messages only the id differs, and often not even that."""

    __slots__ = ("_body", "_codec", "_id", "_message", "event")

    def __init__(self, codec: Codec, event: str, body: bytes) -> None:
        self._codec = codec
        self.event = event
        self._body = body  # the arguments, encoded
        self._id = 0
        self._message: Prepared | None = None

    @classmethod
    def of(cls, codec: Codec, event: str, args: Any) -> "Broadcast":
        """Check and encode an event."""
        return cls(codec, check_event_name(event), codec.encode(check_args(args)))

    def copy(self) -> "Broadcast":
        """Make one for another thread."""
        return Broadcast(self._codec, self.event, self._body)

    def message(self, event_id: int) -> Prepared:
        """Return the message with this id. The broadcasting thread's."""
        if self._message is None or event_id != self._id:
            self._message = Prepared(self._codec._encode_event(self.event, event_id, None, self._body))
            self._id = event_id
        return self._message


class QueuedMessage:
    """A message in the queue, the home of its ``SentMessage`` until it goes out. ``waiting``: the client's lock."""

    __slots__ = ("__weakref__", "_queue", "body", "event", "on_reply", "sent", "size", "stays", "waiting")

    def __init__(
        self,
        queue: "OutgoingQueue",
        event: str,
        body: bytes,
        on_reply: OnReply | None,
        sent: SentMessage | None = None,
    ) -> None:
        self._queue = queue
        self.event = event
        self.body = body
        self.on_reply = on_reply
        self.stays = on_reply is not None or (sent is not None and sent._is_kept)
        self.size = len(event.encode()) + len(body) + _HEAD
        self.waiting = 0
        self.sent = SentMessage(self, None, None, None, event) if sent is None else sent

    def wait_reply(self, sent: SentMessage, deadline: Deadline) -> Outcome:
        """Wait until the message goes out, or will never."""
        return self._queue.wait(self, deadline)

    def note_settled(self, sent: SentMessage) -> None:
        """Nothing is to be noted: who ends the queue calls ``tell_futures``."""

    def forget(self, sent: SentMessage) -> None:
        """Do not send the message."""
        self._queue.forget(self)

    def why_queued(self) -> tuple[str, Exception | None]:
        """Say why the message has not gone out, for a ``ReplyTimeout``. Takes the client's lock."""
        return self._queue.why_queued()


class OutgoingQueue:
    """Messages that wait for a connection, in order, bounded.

    ``condition.lock``, which is the client's, guards it. Methods require holding it, but for ``wait``; so do the
    client's ``is_trying`` (whether it is about to connect) and ``is_own_thread`` (whether the calling thread is the one
    that would send the queue). ``condition`` tells of a change when a message goes out or never will, and when the
    client stops trying.
    """

    def __init__(
        self,
        condition: Condition,
        fork_guard: ForkGuard,
        limit: int,
        is_trying: Callable[[], bool],
        is_own_thread: Callable[[], bool],
    ) -> None:
        self._condition = condition
        self._fork_guard = fork_guard
        self._limit = limit
        self._is_trying = is_trying
        self._is_own_thread = is_own_thread
        self._messages: deque[QueuedMessage] = deque()
        self._bytes = 0
        self._callbacks = 0  # how many have an ``on_reply``
        self.closed = False
        self.timed_out = 0  # waits for replies to messages that were still in it
        self.why_queued: Callable[[], tuple[str, Exception | None]] = lambda: ("", None)  # why there is no connection
        self.max_awaiting_replies = sys.maxsize

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def awaited(self) -> int:
        """How many have an ``on_reply``, or a thread that waits."""
        return sum(1 for message in self._messages if message.stays or message.waiting)

    def put(self, event: str, body: bytes, on_reply: OnReply | None, sent: SentMessage | None = None) -> SentMessage:
        """Add a message at the end; ``QueueFull``: it does not fit, ``TooManyReplies``: its ``on_reply`` does not.

        ``sent``: the message, where it has a future, which counts as an ``on_reply``.
        """
        message = QueuedMessage(self, event, body, on_reply, sent)
        if message.stays and self._callbacks >= self.max_awaiting_replies:
            raise too_many_replies(event, self.max_awaiting_replies)
        if self._bytes + message.size > self._limit:
            taken = f"{self._bytes} of queue_limit_bytes={self._limit}"
            raise QueueFull(f"event {event!r}: {message.size} bytes do not fit into the queue, which has {taken}")
        message.sent._went_out(message, None)
        self._messages.append(message)
        self._bytes += message.size
        self._callbacks += message.stays
        return message.sent

    def take(self) -> QueuedMessage | None:
        """Take the first message, to send it."""
        if not self._messages:
            return None
        message = self._messages.popleft()
        self._bytes -= message.size
        self._callbacks -= message.stays
        return message

    def put_back(self, message: QueuedMessage) -> None:
        """Put a message that was not sent before all others; it is still itself."""
        message.sent._went_out(message, None)
        self._messages.appendleft(message)
        self._bytes += message.size
        self._callbacks += message.stays

    def forget(self, message: QueuedMessage) -> None:
        """Take a message out, if it is still there. Takes the lock."""
        with self._condition.lock:
            if message in self._messages:
                self._messages.remove(message)
                self._bytes -= message.size
                self._callbacks -= message.stays

    def end_all(self, ending: Ending) -> list[QueuedMessage]:
        """Give up all messages; what is returned is for ``tell_futures``, without the lock."""
        messages = list(self._messages)
        self._messages.clear()
        self._bytes = self._callbacks = 0
        for message in messages:
            message.sent._settle(ending)
            message.sent._went_out(None, None)
        self._condition.changed()
        return messages

    def close(self, ending: Ending) -> list[QueuedMessage]:
        """Give up all messages, those too that are put back later."""
        self.closed = True
        return self.end_all(ending)

    def wait(self, message: QueuedMessage, deadline: Deadline) -> Outcome:
        """Wait until a message goes out (``None``), or is given up; ``NotConnected``: nobody will send it."""
        self._fork_guard.check()
        refuse_to_wait("wait_reply()")
        with self._condition.lock:
            message.waiting += 1
        left = None
        try:
            left = self._condition.wait_for(lambda: self._look(message, deadline), deadline)
        finally:
            with self._condition.lock:
                message.waiting -= 1
                if left is None:
                    self.timed_out += 1
        return None if left is None else left[0]

    def _look(self, message: QueuedMessage, deadline: Deadline) -> tuple[Outcome] | None:
        """See whether there is nothing to wait for any more, and return the outcome; requires holding the lock."""
        if message.sent._home is None:
            return (message.sent._outcome,)
        if message.sent._home is not message:
            return (None,)
        if self._is_own_thread():
            raise NotConnected("the message is queued, and this thread would have to send it")
        if deadline.at is None and not self._is_trying():
            raise NotConnected("the message is queued, and the client is not connecting")
        return None


def tell_futures(given_up: list[QueuedMessage]) -> None:
    """Tell the futures of messages that have been given up, and call their callbacks. To be called without a lock."""
    for message in given_up:
        message.sent._tell(True)
