"""The messages that a client keeps while it is not connected."""

import threading
from collections import deque
from typing import Callable, Deque, List, Optional

from .deadline import Deadline
from .errors import NotConnected, QueueFull
from .replies import OnReply, Outcome, SentMessage
from .transport.stream import Ending

__all__ = ["OutgoingQueue", "QueuedMessage"]


class QueuedMessage:
    """A message in the queue; the home of its ``SentMessage`` until it goes out.

    ``waiting`` is guarded by the client's lock.
    """

    __slots__ = ("__weakref__", "_queue", "body", "event", "on_reply", "sent", "size", "waiting")

    def __init__(self, queue: "OutgoingQueue", event: str, body: bytes, on_reply: Optional[OnReply]) -> None:
        self._queue = queue
        self.event = event
        self.body = body
        self.on_reply = on_reply
        self.size = len(event) + len(body)
        self.waiting = 0
        self.sent = SentMessage(self, None, None)

    def wait_reply(self, sent: SentMessage, deadline: Deadline) -> Outcome:
        """Wait until the message goes out, or will never."""
        return self._queue.wait(self, deadline)


class OutgoingQueue:
    """Messages that wait for a connection, in order, bounded.

    The client's lock guards it; ``changed`` is a condition on that lock. Methods require holding it, but for ``wait``.

    Args:
        changed: notified when a message goes out or never will, and when the client stops trying to connect.
        limit: bytes of events' names and arguments that may wait.
        is_trying: whether the client is about to connect; requires holding the lock.
        is_own_thread: whether the calling thread is the one that would send the queue.
    """

    def __init__(
        self,
        changed: threading.Condition,
        limit: int,
        is_trying: Callable[[], bool],
        is_own_thread: Callable[[], bool],
    ) -> None:
        self._changed = changed
        self._limit = limit
        self._is_trying = is_trying
        self._is_own_thread = is_own_thread
        self._messages: Deque[QueuedMessage] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def awaited(self) -> int:
        """How many have an ``on_reply``, or a thread that waits."""
        return sum(1 for message in self._messages if message.on_reply is not None or message.waiting)

    def put(self, event: str, body: bytes, on_reply: Optional[OnReply]) -> SentMessage:
        """Add a message at the end.

        Raises:
            QueueFull: it does not fit.
        """
        message = QueuedMessage(self, event, body, on_reply)
        if self._bytes + message.size > self._limit:
            raise QueueFull(
                f"event {event!r}: {message.size} bytes do not fit into the queue, which has {self._bytes} of"
                f" queue_limit_bytes={self._limit}"
            )
        self._messages.append(message)
        self._bytes += message.size
        return message.sent

    def take(self) -> Optional[QueuedMessage]:
        """Take the first message, to send it."""
        if not self._messages:
            return None
        message = self._messages.popleft()
        self._bytes -= message.size
        return message

    def put_back(self, message: QueuedMessage) -> None:
        """Put a message that was not sent before all others; it is still itself."""
        message.sent.went_out(message, None)
        self._messages.appendleft(message)
        self._bytes += message.size

    def end_all(self, ending: Ending) -> List[QueuedMessage]:
        """Give up all messages; what is returned is freed without the lock."""
        messages = list(self._messages)
        self._messages.clear()
        self._bytes = 0
        for message in messages:
            message.sent.settle(ending)
        self._changed.notify_all()
        return messages

    def wait(self, message: QueuedMessage, deadline: Deadline) -> Outcome:
        """Wait until a message goes out (``None``), or is given up. Requires not holding the lock.

        Raises:
            NotConnected: nobody will send it: the caller would have to, or the client does not try to connect.
        """
        sent = message.sent
        with self._changed:
            message.waiting += 1
            try:
                while sent.home is message and sent.outcome is None and not deadline.passed():
                    if self._is_own_thread():
                        raise NotConnected("the message is queued, and this thread would have to send it")
                    if deadline.at is None and not self._is_trying():
                        raise NotConnected("the message is queued, and the client is not connecting")
                    self._changed.wait(deadline.remaining())
                return sent.outcome if sent.home is message else None
            finally:
                message.waiting -= 1
