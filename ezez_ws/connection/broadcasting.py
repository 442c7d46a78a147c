"""Sending what others get, too: at once or never, without waiting for a peer that is slow."""

from collections.abc import Sequence
from functools import partial

from ..messages.codec import Codec
from ..messages.protocol import CloseCode
from ..threads.timers import janitor
from ..websocket.outbox import FULL, REFUSED, WAITING, WRITTEN, Put
from .deferred import Deferring
from .outgoing import Broadcast

__all__ = ["Broadcasting"]


class Broadcasting(Deferring):
    """What a connection has for that. Any thread may call any method.

    ``offer`` and ``put_together`` may be called while holding a lock, of which nothing else is locked under an
    outbox's; ``settle`` does the rest, without it.
    """

    _codec: Codec
    _last_id: int

    @property
    def alive(self) -> bool:
        """Whether messages can be sent."""
        return self.stream.open

    def cut(self, code: int = CloseCode.ABNORMAL, reason: str = "") -> None:
        """End the connection at once."""
        raise NotImplementedError

    def warn(self, text: str, kind: object) -> None:
        """Log a warning."""
        raise NotImplementedError

    def broadcast(self, broadcast: Broadcast, is_deferred: bool = False) -> bool:
        """Send an event without waiting and without a reply; a peer that has no room is cut, with 1008."""
        if (self.deferred or self.stream.sending._is_owned() or self.inbox.lock._is_owned()) and not is_deferred:
            if self.is_interrupted():
                self.defer(partial(self.broadcast, broadcast.copy(), True))
                return self.alive
            self.do_deferred()
        outcome = self.offer(broadcast)
        if outcome is not WRITTEN or self.deferred:
            self.settle(outcome)
        return is_deferred or (outcome is not FULL and outcome is not REFUSED)

    def offer(self, broadcast: Broadcast) -> Put:
        """Send an event, if there is room; what comes of it is to be given to ``settle``."""
        stream = self.stream
        with stream.sending:
            event_id = self._last_id + 1
            message = broadcast.message(event_id)
            self._last_id = event_id  # as in ``_put_event``
            outcome = stream.put_prepared(message)
            if outcome is FULL or outcome is REFUSED:
                self._last_id = event_id - 1
        return outcome

    def put_together(self, first: bytes, events: Sequence[tuple[str, bytes]]) -> Put:
        """Send a message of the protocol's and these events right behind it, or, without room for all, none of them.

        The events are names and encoded arguments. The ids that they get are lost over an exception.
        """
        stream = self.stream
        with stream.sending:
            messages = [first]
            for number, (event, body) in enumerate(events, self._last_id + 1):
                messages.append(self._codec._encode_event(event, number, None, body))
            if events and stream.open and not stream.fits(sum(map(len, messages))):
                return FULL
            outcome = REFUSED
            self._last_id += len(events)
            for message in messages:
                outcome = stream.put(message, needs_room=False)
        return outcome

    def settle(self, outcome: Put) -> None:
        """Do what is left to do when an event has been offered."""
        if outcome is FULL:
            self.cut(CloseCode.POLICY_VIOLATION, "too slow")
            # by the janitor: what is deferred is done while holding a lock
            janitor.call_later(0.0, partial(self.warn, "cut: too slow for a broadcast (send_buffer_limit)", "too slow"))
        elif outcome is WAITING:
            self.stream.flush_later()
        if self.deferred:
            self.do_deferred()
