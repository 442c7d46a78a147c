"""What can be in an inbox, and the replies among it on their way to who waits for them.

Whoever reads decodes each reply for its waiters and hands it to them at once; then it goes into the inbox as what it
was, for the callbacks. The janitor runs no deserializer of the user's: a reply that may need one is put in as any
message, and the next who waits hands it out.
"""

from collections import deque
from collections.abc import Callable, Sequence

from ..errors import MalformedMessage
from ..messages.codec import peek_reply_to
from ..threads.interrupted import Lock
from ..websocket.frames import Message
from .replies import Reply, ReplyTable, RoutedReply

__all__ = ["Arrived", "Mark", "Routing", "Task"]


class Mark:
    """A place in the inbox: what was there before it has been handled when it comes out."""


class Task(Mark):
    """Something that the owner is to do in its turn; what it raises is told as a callback's error."""

    def __init__(self, act: Callable[[], object]) -> None:
        self.act = act


Arrived = bytes | str | RoutedReply | Exception | Mark
"""A message as it came or its ``Start``, a reply that its waiter has, an error for ``on_error``, or a mark."""


class Routing:
    """What an ``Inbox`` has for that, whose docstring says what its fields are. ``lock`` guards them."""

    lock: Lock
    table: ReplyTable
    routes_replies: bool
    note: Callable[[bytes | str], None] | None
    _keep_text: bool
    _parse_reply: Callable[[bytes], Reply]
    _parses_plainly: bool
    _arrived: deque[tuple[Arrived, float]]
    _unrouted: bool

    def put(self, arrived: Arrived, size: int = 0) -> bool:
        """Put something behind all that has arrived."""
        raise NotImplementedError

    def _admit(self, messages: Sequence[Message], plainly: bool = False) -> None:
        """Put messages into the inbox, and replies before that into the hands of those who wait for them."""
        with self.lock:
            if not (self.routes_replies and self.table.expects_any()):
                for message in messages:
                    self._append(message.payload)
                return
        for _, payload in messages:
            reply_to = peek_reply_to(payload) if type(payload) is bytes else None
            later = reply_to is not None and plainly and not self._parses_plainly
            reply = None if later else self._parse(payload, reply_to)
            with self.lock:
                routed = None if reply is None else self.table.settle(reply, payload)
                self._append(payload, routed)
                self._unrouted = self._unrouted or later
        if self.table.settled:
            self.tell_futures(calls_back=not plainly)

    def route(self, payload: bytes, reply_to: int) -> RoutedReply | None:
        """Hand a reply that has come out of the inbox to who waits for it, if anybody does. The owner's."""
        reply = self._parse(payload, reply_to)
        with self.lock:
            routed = None if reply is None else self.table.settle(reply, payload)
        if self.table.settled:
            self.tell_futures()
        return routed

    def tell_futures(self, calls_back: bool = True) -> None:
        """Tell the futures whose outcome is known; not ``calls_back``: their callbacks are left to the owner.

        Not to be called while holding a lock, but for those of whoever was interrupted.
        """
        table = self.table
        with self.lock:
            settled = list(table.settled)
        for sent in settled:
            told = sent._tell(calls_back)
            with self.lock:
                if not told:
                    if isinstance(table.due, tuple):
                        table.due = []
                        self.put(Task(self.call_back))
                    table.due.append(sent)
                if isinstance(table.settled, dict):
                    table.settled.pop(sent, None)

    def call_back(self) -> None:
        """Run the callbacks of futures that were left to the owner. The owner's."""
        with self.lock:
            due, self.table.due = self.table.due, ()
        for sent in due:
            sent._tell(True)

    def _parse(self, payload: bytes | str, reply_to: int | None) -> Reply | None:
        """Decode a reply, if it is one that somebody wants; a malformed one is dealt with in its turn."""
        if reply_to is None:
            return None
        with self.lock:
            if not self.table.wants(reply_to):
                return None
        try:
            assert isinstance(payload, bytes)
            return self._parse_reply(payload)
        except MalformedMessage:
            return None

    def _route_late(self) -> None:
        """Hand out the replies that were put into the inbox as any message."""
        try:
            with self.lock:
                self._unrouted = False
                payloads = [payload for payload, _ in self._arrived if type(payload) is bytes]
            for payload in payloads:
                reply = self._parse(payload, peek_reply_to(payload))
                with self.lock:
                    for place, (other, read_at) in enumerate(self._arrived):
                        if reply is not None and other is payload:  # else the owner has it, and hands it out
                            self._arrived[place] = self.table.settle(reply, payload) or payload, read_at
            if self.table.settled:
                self.tell_futures()
        except BaseException:
            with self.lock:
                self._unrouted = True
            raise

    def _append(self, payload: bytes | str, routed: RoutedReply | None = None) -> None:
        """Put a message into the inbox, and wake the owner; requires holding the lock."""
        if isinstance(payload, bytes) or self._keep_text:
            if self.note is not None:
                self.note(payload)
            self.put(payload if routed is None else routed, len(payload))
