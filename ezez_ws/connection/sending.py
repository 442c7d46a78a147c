"""Sending on one connection: events, what others get, too, and what is none of the protocol's.

``send`` waits for room, and reads meanwhile; the reply that is expected is in the table before the bytes leave. What
many get is sent at once or never (``broadcast``, ``offer``), without waiting for a peer that is slow.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import SendTimeout
from ..messages.codec import Codec
from ..messages.protocol import CloseCode, check_event_name
from ..options import check_args, check_callback
from ..threads import clock
from ..threads.deadline import Deadline
from ..threads.interrupted import interrupts_library
from ..threads.timers import janitor
from ..websocket.frames import TEXT
from ..websocket.outbox import FULL, REFUSED, WAITING, WRITTEN, Put
from ..websocket.stream import Ending
from .deferred import Deferring
from .outgoing import Broadcast
from .replies import OnReply, Outcome, SentMessage, too_many_replies

if TYPE_CHECKING:
    from .connection import ConnectionOptions

__all__ = ["Sending"]

_OVERDUE = 1.0  # a timer that is late by that was never set, over an exception between two steps


class Sending(Deferring):
    """What a connection has for that. Any thread may call any method; the janitor ``_expire_replies``.

    ``_last_id`` is guarded by ``stream.sending``, ``_expiry_at`` by the inbox's lock. ``offer`` and ``put_together``
    may be called while holding a lock, of which nothing else is locked under an outbox's; ``settle`` does the rest,
    without it.
    """

    options: "ConnectionOptions"
    _codec: Codec
    _encode_at_once: Callable[..., Any] | None
    _last_id: int
    _expiry_at: float  # when the janitor looks at the table; long past: it does not

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

    def wait_reply(self, sent: SentMessage, deadline: Deadline) -> Outcome:
        """Wait for the outcome of a message."""
        raise NotImplementedError

    # -- an event -----------------------------------------------------------------------------------------------------

    def send(self, event: str, args: Any, reply_to: int | None, on_reply: OnReply | None) -> SentMessage:
        """Check and encode an event, and send it; see ``EZEZServerClient.send``."""
        if on_reply is not None:
            check_callback("on_reply", on_reply)
        if self.deferred or self.stream.sending._is_owned() or self.inbox.lock._is_owned():
            if self.is_interrupted():
                event, body = check_event_name(event), self._encode(args)
                return self._send_later(event, body, on_reply, reply_to) or self.unsent(reply_to)
            self._let_deferred_go()
        if self._encode_at_once is not None:
            sent = self._put_event(None, self._encode_at_once, event, args, on_reply, reply_to)
            if type(sent) is SentMessage:
                return sent
        event, body = check_event_name(event), self._encode(args)
        return self.send_encoded(None, event, body, on_reply, reply_to) or self.unsent(reply_to)

    def _encode(self, args: Any) -> bytes:
        return self._codec.encode(check_args(args))

    def send_encoded(
        self, sent: SentMessage | None, event: str, body: bytes, on_reply: OnReply | None, reply_to: int | None = None
    ) -> SentMessage | None:
        """Send an event whose arguments are encoded; ``None`` where nothing of it was handed over.

        ``sent`` is the message, where it has one already: it was queued, or is kept for a future.

        Raises:
            SendTimeout: there was no room for ``send_timeout`` seconds; the connection has been cut.
            TooManyReplies: as many messages as are allowed have an ``on_reply`` still to come; not for a queued one.
        """
        deadline: Deadline | None = None
        while True:
            outcome = self._put_event(sent, self._codec._encode_event, event, body, on_reply, reply_to)
            if type(outcome) is SentMessage or outcome is sent:
                return outcome
            if outcome is REFUSED:
                return None
            if deadline is None and interrupts_library():
                return self._send_later(event, body, on_reply, reply_to, sent)
            deadline = self._wait_for_room(outcome, deadline)

    def _send_later(
        self, event: str, body: bytes, on_reply: OnReply | None, reply_to: int | None, given: SentMessage | None = None
    ) -> SentMessage | None:
        """Send an event as soon as what was interrupted is done, and there is room; ``None`` where it never will be."""
        if not self.alive:
            return None
        if on_reply is not None:
            self._check_room_for_callback(event)
        sent = SentMessage(self, None, reply_to, None, event) if given is None else given
        deadline = Deadline(self.options.send_timeout)

        def act() -> bool:
            outcome = self._put_event(sent, self._codec._encode_event, event, body, on_reply, reply_to)
            if outcome is not sent and outcome is not REFUSED:
                if not deadline.passed():
                    return False
                self._give_up_sending()
            if outcome is not sent:
                with self.inbox.lock:
                    sent._settle(self.stream.ending or Ending(CloseCode.ABNORMAL, ""))
                    sent._went_out(None, None)
                if sent._is_kept:
                    janitor.call_later(0.0, partial(self.inbox.tell_futures, False))
            return True

        self.defer(act, lambda: sent._event_id is None)
        return sent

    def _put_event(
        self,
        sent: SentMessage | None,
        encode: Callable[..., Any],
        event: str,
        args: Any,
        on_reply: OnReply | None,
        reply_to: int | None,
    ) -> Any:
        """Send an event if there is room, and return its ``SentMessage``; else the bytes that it needs, or ``REFUSED``.

        ``encode`` makes the message of ``event``, its id, ``reply_to`` and ``args``, and calls nobody's code. It may
        return ``NotImplemented``, which is returned.
        """
        stream, inbox = self.stream, self.inbox
        with stream.sending:
            if on_reply is not None and sent is None:
                self._check_room_for_callback(event)
            event_id = self._last_id + 1
            message = encode(event, event_id, reply_to, args)
            if message is NotImplemented:
                return message
            home = None if sent is None else sent._home
            if sent is None:
                sent = SentMessage(self, event_id, reply_to, None, event)
            now = inbox.tally.now()
            self._last_id = event_id  # before all else: an exception must not let the id be used again
            with inbox.lock:
                # before the bytes leave: the reply may be there before put() returns
                if home is not None:
                    sent._went_out(self, event_id)
                inbox.table.expect(sent, event_id, on_reply, now + self.options.clear_awaiting_replies_after)
                expires = self._expiry_at < now - _OVERDUE
                if expires:
                    self._expiry_at = now + self.options.clear_awaiting_replies_after
            outcome = stream.put(message)
            if outcome is REFUSED or outcome is FULL:
                with inbox.lock:
                    entry = inbox.table.take(event_id)
                    sent._went_out(home, None)
                self._last_id = event_id - 1  # last: an exception may come out before
                del entry
            else:
                inbox.tally.put(message)  # not before: a number that was seen never falls
        if expires:
            self.call_later(self.options.clear_awaiting_replies_after, self._expire_replies)
        if outcome is WAITING:
            stream.flush_later()
        if self.deferred:
            self.do_deferred()
        return len(message) if outcome is FULL else outcome if outcome is REFUSED else sent

    def submit(self, sent: SentMessage, event: str, body: bytes, waits: bool = True) -> bool:
        """Send an event as ``sent``, which is kept until its outcome is known; false where it was not handed over.

        It takes the place of one with an ``on_reply``: ``TooManyReplies``. ``SendTimeout``: there was no room for
        ``send_timeout`` seconds, and the connection is cut, or at once and it is not, where it does not wait.
        """
        with self.stream.sending:
            self._check_room_for_callback(event)  # some threads at once may get past it
        handed: Any = FULL
        if self.is_interrupted():
            handed = self._send_later(event, body, None, None, sent)
        elif waits:
            self._let_deferred_go()
            handed = self.send_encoded(sent, event, body, None)
        else:
            self.do_deferred()
            if not self.deferred:  # which nothing overtakes
                handed = self._put_event(sent, self._codec._encode_event, event, body, None, None)
            if handed is not sent and handed is not REFUSED:
                raise SendTimeout("the client's send buffer has no room; the message was not sent")
        if handed is None or handed is REFUSED:
            return False
        if self.inbox.table.kept == 1:
            self.look_in_often()  # while the connection's thread runs a listener
        return True

    def note_settled(self, sent: SentMessage) -> None:
        """Note that a message's future is to be told. Requires holding the inbox's lock."""
        self.inbox.table.note_settled(sent)

    def forget(self, sent: SentMessage) -> None:
        """Do not wait for the reply to a kept message any more."""
        with self.inbox.lock:
            entry = self.inbox.table.take(sent._event_id or 0)
        del entry  # without the lock

    def look_in_often(self) -> None:
        """Have the janitor read soon, and often, while user code runs and there are futures to be told."""
        raise NotImplementedError

    def _check_room_for_callback(self, event: str) -> None:
        if self.inbox.table.callbacks >= self.options.max_awaiting_replies:
            raise too_many_replies(event, self.options.max_awaiting_replies)

    def unsent(self, reply_to: int | None) -> SentMessage:
        """Make what ``send`` returns where there is no connection any more."""
        sent = SentMessage(None, None, reply_to)
        sent._outcome = self.stream.ending or Ending(CloseCode.ABNORMAL, "")
        return sent

    def _wait_for_room(self, size: int, deadline: Deadline | None) -> Deadline:
        """Wait until a message of ``size`` bytes may have room; return until when, for the next time."""
        if deadline is None:
            deadline = Deadline(self.options.send_timeout)
        if self.inbox.wait_for_room(size, deadline):
            return deadline
        raise self._give_up_sending()

    def _let_deferred_go(self) -> None:
        """Send what a signal's handler has left, before anything else; wait for room for it as for one's own."""
        deadline: Deadline | None = None
        self.do_deferred()
        while self.deferred:
            deadline = self._wait_for_room(self.options.send_buffer_limit + 1, deadline)
            self.do_deferred()

    def _give_up_sending(self) -> SendTimeout:
        """Cut a peer that takes nothing; return the error, which goes to ``on_error``, too."""
        error = SendTimeout(f"the peer took nothing for {self.options.send_timeout} seconds, and was cut")
        with self.inbox.lock:
            self.inbox.put(error)
        self.cut(CloseCode.ABNORMAL, "send timeout")
        self.options.figures.cut("send-timeout")
        return error

    def _expire_replies(self) -> None:
        """Forget the messages whose time to be replied to is over. The janitor's."""
        with self.inbox.lock:
            awaited = self.inbox.table.awaited
            expired = self.inbox.table.take_expired(clock.monotonic())
            self.inbox.tally.expired += awaited - self.inbox.table.awaited
            due = self.inbox.table.next_deadline()
            self._expiry_at = -math.inf if due is None else due
            wakes = bool(expired) and self.inbox.owner_reads()
        del expired  # what they refer to is freed without the lock
        if self.inbox.table.settled:
            self.inbox.tell_futures(calls_back=False)
            if wakes and self.inbox.table.due:
                self.wake_reader()  # which has callbacks to run
        if due is not None:
            self.call_later(max(0.05, due - clock.monotonic()), self._expire_replies)

    # -- for many -----------------------------------------------------------------------------------------------------

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

    def offer(self, broadcast: Broadcast, holds: bool = False) -> Put:
        """Send an event, if there is room; what comes of it is to be given to ``settle``.

        ``holds``: it may be ``HELD``; then ``stream.let_go`` is to be called, too.
        """
        stream = self.stream
        with stream.sending:
            event_id = self._last_id + 1
            message = broadcast.message(event_id)
            self._last_id = event_id  # as in ``_put_event``
            outcome = stream.put_prepared(message, holds)
            if outcome is FULL or outcome is REFUSED:
                self._last_id = event_id - 1
            else:
                self.inbox.tally.put(message.payload)
        return outcome

    def put_together(self, first: bytes, events: Sequence[tuple[str, bytes]]) -> Put:
        """Send a message of the protocol's and these events right behind it, or, without room for all, none of them.

        Alone it has as much room again: what a peer makes us say must not pile up where it takes nothing. The events
        are names and encoded arguments. The ids that they get are lost over an exception.
        """
        stream = self.stream
        with stream.sending:
            messages = [first]
            for number, (event, body) in enumerate(events, self._last_id + 1):
                messages.append(self._codec._encode_event(event, number, None, body))
            size = sum(map(len, messages)) - (0 if events else self.options.send_buffer_limit)
            if stream.open and not stream.fits(size):
                return FULL
            outcome = REFUSED
            self._last_id += len(events)
            for number, message in enumerate(messages):
                outcome = stream.put(message, needs_room=False)
                if number and outcome is not REFUSED:
                    self.inbox.tally.put(message)
        return outcome

    def settle(self, outcome: Put) -> None:
        """Do what is left to do when an event has been offered."""
        if outcome is FULL:
            self.cut(CloseCode.POLICY_VIOLATION, "too slow")
            self.options.figures.cut("send-buffer")
            # by the janitor: what is deferred is done while holding a lock
            janitor.call_later(0.0, partial(self.warn, "cut: too slow for a broadcast (send_buffer_limit)", "too slow"))
        elif outcome is WAITING:
            self.stream.flush_later()
        if self.deferred:
            self.do_deferred()

    # -- no event -----------------------------------------------------------------------------------------------------

    def send_text(self, text: str) -> bool:
        """Send a text message, which is none of the protocol's; false where nothing of it was handed over."""
        return self.send_raw(text.encode(), TEXT)

    def send_raw(self, payload: bytes, opcode: int) -> bool:
        """Send a message as it is; false where nothing of it was handed over."""
        deadline: Deadline | None = None
        while True:
            if self.is_interrupted():
                self.defer(lambda: self._put_raw(payload, opcode) is not FULL)
                return self.alive
            self._let_deferred_go()
            outcome = self._put_raw(payload, opcode)
            if outcome is not FULL:
                return outcome is not REFUSED
            deadline = self._wait_for_room(len(payload), deadline)

    def _put_raw(self, payload: bytes, opcode: int) -> Put:
        with self.stream.sending:
            outcome = self.stream.put(payload, opcode)
            if outcome is not FULL and outcome is not REFUSED:
                self.inbox.tally.put(payload)
        if outcome is WAITING:
            self.stream.flush_later()
        return outcome

    def wake_reader(self, is_deferred: bool = False) -> bool:
        """Have the connection's thread, which waits for bytes, look into its inbox: the peer's answer wakes it."""
        if self.is_interrupted() and not is_deferred:
            self.defer(lambda: self.wake_reader(True))
        else:
            self.stream.call_reader()
        return True

    def ping(self, is_deferred: bool = False) -> bool:
        """Send a ping, where one can be sent."""
        if self.is_interrupted() and not is_deferred:
            self.defer(lambda: self.ping(True))
        else:
            self.stream.ping()
        return True
