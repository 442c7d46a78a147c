"""One connection and the messages on it: what a server's side and a client's side share.

The way of a message in: ``Inbox`` (whoever reads) → ``Connection.run`` (the connection's thread) → ``handle`` (the
subclass: authentication) → ``deliver`` → the callbacks. The way out: ``send`` → ``outbox``, with the reply expected in
the reply table before the bytes leave.

How a connection ends is told in ``transport/stream.py``. Here: ``disconnect`` is our own wish, ``fail`` the answer to
the peer's fault, ``cut`` is for a peer that is too slow or gone. Each wakes all waiters at once; ``on_disconnect`` runs
once, on the connection's thread, when the ending is known and what arrived before has been handled.
"""

import functools
import logging
import math
import threading
import time
from collections.abc import Callable
from types import MethodType
from typing import Any, NamedTuple

from ..errors import EZEZError, MalformedMessage, SendTimeout
from ..messages.codec import Codec, peek_reply_to
from ..messages.protocol import CloseCode, Event, check_event_name, parse_event
from ..options import check_args, check_callback, check_count, check_seconds
from ..threads.deadline import NEVER, Deadline
from ..threads.fork import ForkGuard
from ..threads.timers import SLACK, Janitor, Timer
from ..websocket.frames import TEXT
from ..websocket.outbox import REFUSED, WAITING, WRITTEN, Put
from ..websocket.stream import Ending, Stream
from ..wire.linux import wake_politely
from .inbox import Arrived, Inbox, Mark
from .outgoing import Broadcast
from .replies import OnReply, Outcome, Reply, SentMessage

__all__ = ["MAX_NESTING", "Connection", "ConnectionOptions", "answer"]

logger = logging.getLogger("ezez_ws")

MAX_NESTING = 32
"""How deep ``wait_reply`` inside listeners goes on running other listeners."""

_LOOK_IN_EVERY = 1.0
_OVERDUE = 1.0  # a timer that is late by that was never set, over an exception between two steps


class ConnectionOptions(NamedTuple):
    """The options of one connection; the public API says what they mean."""

    codec: Codec
    clear_awaiting_replies_after: float
    max_payload: int
    inbox_limit_bytes: int
    send_buffer_limit: int
    send_timeout: float
    close_timeout: float
    ping_interval: float | None
    ping_timeout: float | None

    def check(self) -> None:
        """Raise ``TypeError`` or ``ValueError`` for what is wrong."""
        for name in ("clear_awaiting_replies_after", "send_timeout", "close_timeout"):
            check_seconds(name, getattr(self, name))
        for name in ("ping_interval", "ping_timeout"):
            check_seconds(name, getattr(self, name), optional=True)
        for name in ("max_payload", "inbox_limit_bytes", "send_buffer_limit"):
            check_count(name, getattr(self, name))


def answer(to: "tuple[Connection, int]", event: str, args: Any = (), on_reply: OnReply | None = None) -> SentMessage:
    """Send an event that answers an incoming one: the ``reply`` of listeners and callbacks. Any thread may call it.

    ``MethodType`` binds it to a peer and the event's id: an object of a class would take twice as long to make.
    """
    peer, event_id = to
    peer.fork_guard.check()
    return peer.send(event, args, event_id, on_reply)


class Connection:
    """One connection: sends, waits, dispatches, ends. A subclass says what a message means.

    ``run`` and what it calls (``handle``, ``deliver``, ``call``) belong to the connection's thread; every other method
    may be called from any thread. Locks: see ``Inbox`` and ``Outbox``; what is here is guarded by the reader's lock
    (``_expiry_at``, ``_timers``), or used by one thread only (``_nesting``, and ``read_deadline``, until when the next
    message must have come: the connection's; ``_pinged_at``: the janitor's).
    """

    def __init__(self, stream: Stream, options: ConnectionOptions, janitor: Janitor, keep_text: bool) -> None:
        self.stream = stream
        self.options = options
        self.janitor = janitor
        self.inbox = Inbox(stream, options.inbox_limit_bytes, keep_text, self._parse_reply, peek_reply_to)
        self._outbox = stream.outbox
        self._codec = options.codec
        self._encode_at_once = options.codec.at_once()
        self._ttl = options.clear_awaiting_replies_after
        self._expiry_at = -math.inf  # when the janitor looks at the table; long past: it does not
        self._timers: dict[str, Timer] | None = {}  # the last of each action's; ``None``: disposed
        self.fork_guard = ForkGuard("connection")
        self._nesting = 0
        self.read_deadline = NEVER
        self._pinged_at: float | None = None

    # -- what a subclass says ---------------------------------------------------------------------------------------

    def handle(self, payload: bytes, on_reply: OnReply | None) -> None:
        """Deal with a binary message from the inbox, and the callback of what it replies to, if that is known."""
        raise NotImplementedError

    def handle_other(self, what: str | Mark) -> None:
        """Deal with what else was in the inbox."""
        raise NotImplementedError

    def deliver(self, event: Event, on_reply: OnReply | None) -> None:
        """Run the callbacks of an event."""
        raise NotImplementedError

    def report_error(self, error: BaseException) -> None:
        """Give an error to ``on_error``."""
        raise NotImplementedError

    def disconnected(self, ending: Ending) -> None:
        """Run ``on_disconnect``."""
        raise NotImplementedError

    # -- sending ----------------------------------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        """Whether messages can be sent."""
        return self.stream.open

    def send(self, event: str, args: Any, reply_to: int | None, on_reply: OnReply | None) -> SentMessage:
        """Check and encode an event, and send it; see ``EZEZServerClient.send``."""
        if on_reply is not None:
            check_callback("on_reply", on_reply)
        sent = SentMessage(self, None, reply_to)
        if self._encode_at_once is not None:
            outcome = self._put_event(sent, self._encode_at_once, event, args, on_reply, reply_to)
            if outcome is WRITTEN or outcome is WAITING:
                return sent
        event = check_event_name(event)
        body = self._codec.encode(check_args(args))
        return sent if self.send_encoded(sent, event, body, on_reply, reply_to) else self.unsent(reply_to)

    def send_encoded(
        self,
        sent: SentMessage,
        event: str,
        body: bytes,
        on_reply: OnReply | None,
        reply_to: int | None = None,
    ) -> bool:
        """Send an event whose arguments are encoded; false where nothing of it was handed over.

        Raises:
            SendTimeout: there was no room for ``send_timeout`` seconds; the connection has been cut.
        """
        deadline: Deadline | None = None
        while True:
            outcome = self._put_event(sent, self._codec.encode_event, event, body, on_reply, reply_to)
            if isinstance(outcome, Put):
                return outcome is not REFUSED
            deadline = self._wait_for_room(outcome, deadline)

    def _put_event(
        self,
        sent: SentMessage,
        encode: Callable[..., Any],
        event: str,
        args: Any,
        on_reply: OnReply | None,
        reply_to: int | None,
    ) -> Any:
        """Send an event if there is room; else return its bytes' number, or ``NotImplemented``, if ``encode`` does.

        ``encode`` makes the message of ``event``, its id, ``reply_to`` and ``args``, and calls nobody's code.
        """
        outbox, inbox = self._outbox, self.inbox
        with outbox.lock:
            if not outbox.open:
                return REFUSED
            event_id = outbox.last_id + 1
            message = encode(event, event_id, reply_to, args)
            if message is NotImplemented:
                return message
            if outbox.waiting_bytes and not outbox.has_room(len(message)):
                return len(message)
            now = time.monotonic()
            outbox.last_id = event_id  # before all else: an exception must not let the id be used again
            home = sent.home
            with inbox.lock:
                # before the bytes leave: the reply may be there before put() returns
                sent.went_out(self, event_id)
                inbox.table.expect(sent, event_id, on_reply, now + self._ttl)
                expires = self._expiry_at < now - _OVERDUE
                if expires:
                    self._expiry_at = now + self._ttl
            outcome = outbox.put(message)
            if outcome is REFUSED:
                outbox.last_id = event_id - 1
                with inbox.lock:
                    entry = inbox.table.take(event_id)
                    sent.went_out(home, None)
                del entry
        if expires:
            self.call_later(self._ttl, self._expire_replies)
        if outcome is WAITING:
            outbox.watch()
        return outcome

    def send_text(self, text: str) -> bool:
        """Send a text message, which is none of the protocol's; false where nothing of it was handed over."""
        payload = text.encode()
        deadline: Deadline | None = None
        while True:
            with self._outbox.lock:
                has_room = self._outbox.has_room(len(payload))
                outcome = self._outbox.put(payload, TEXT) if has_room else None
            if outcome is WAITING:
                self._outbox.watch()
            if outcome is not None:
                return outcome is not REFUSED
            deadline = self._wait_for_room(len(payload), deadline)

    def broadcast(self, broadcast: Broadcast) -> bool:
        """Send an event without waiting and without a reply; a peer that has no room is cut, with 1008."""
        outbox = self._outbox
        with outbox.lock:
            event_id = outbox.last_id + 1
            message = broadcast.message(event_id)
            outbox.last_id = event_id  # as in ``_put_event``
            outcome = outbox.put_prepared(message)
            if outcome is None or outcome is REFUSED:
                outbox.last_id = event_id - 1
        if outcome is None:
            self.cut(CloseCode.POLICY_VIOLATION, "too slow")
            return False
        if outcome is WAITING:
            outbox.watch()
        return outcome is not REFUSED

    def unsent(self, reply_to: int | None) -> SentMessage:
        """Make what ``send`` returns where there is no connection any more."""
        sent = SentMessage(None, None, reply_to)
        sent.outcome = self.stream.ending or Ending(CloseCode.ABNORMAL, "")
        return sent

    def _has_room(self, size: int) -> bool:
        with self._outbox.lock:
            return not self._outbox.open or self._outbox.has_room(size)

    def _wait_for_room(self, size: int, deadline: Deadline | None) -> Deadline:
        """Wait until a message of ``size`` bytes may have room; return until when, for the next time."""
        if deadline is None:
            deadline = Deadline(self.options.send_timeout)
        if self.inbox.wait_for_room(functools.partial(self._has_room, size), deadline):
            return deadline
        error = SendTimeout(f"the peer took nothing for {self.options.send_timeout} seconds, and was cut")
        self.inbox.report(error)
        self.cut(CloseCode.ABNORMAL, "send timeout")
        raise error

    # -- waiting for replies ----------------------------------------------------------------------------------------

    @property
    def awaiting_replies_count(self) -> int:
        """Messages with an ``on_reply`` still to come, plus those that a thread is waiting for."""
        with self.inbox.lock:
            return self.inbox.table.awaited

    def wait_reply(self, sent: SentMessage, deadline: Deadline) -> Outcome:
        """Wait for the outcome of a message of this connection; ``None`` where the time passed."""
        self.fork_guard.check()
        nested = self.inbox.is_owner() and self._nesting < MAX_NESTING

        def take() -> SentMessage | Arrived | Ending | None:
            if sent.outcome is not None:
                return sent
            if nested and not deadline.passed():
                return self.inbox.take_next()
            return self.inbox.ending

        with self.inbox.lock:
            if sent.outcome is not None:
                return sent.outcome
            self.inbox.table.enter_waiter(sent)
        try:
            while True:
                got = self.inbox.wait(take, deadline, sent)
                if got is None:
                    self.inbox.look_in()  # it may have come while a nested listener outlasted the time
                if got is None or isinstance(got, (SentMessage, Ending)):
                    break
                self._handle_nested(got)
        finally:
            with self.inbox.lock:
                self.inbox.table.leave_waiter(sent)
                outcome = sent.outcome
            if self.inbox.is_owner():
                self.begin_user_code()  # the listener that waited goes on
        return outcome

    def _handle_nested(self, arrived: Arrived) -> None:
        self._nesting += 1
        try:
            self._handle_next(arrived)
        finally:
            self._nesting -= 1

    def _expire_replies(self) -> None:
        """Forget the messages whose time to be replied to is over. The janitor's."""
        with self.inbox.lock:
            expired = self.inbox.table.take_expired(time.monotonic())
            due = self.inbox.table.next_deadline()
            self._expiry_at = -math.inf if due is None else due
        del expired  # what they refer to is freed without the lock
        if due is not None:
            self.call_later(max(0.05, due - time.monotonic()), self._expire_replies)

    # -- dispatch, on the connection's thread -----------------------------------------------------------------------

    def run(self) -> None:
        """Serve the connection until it has ended, and give it back.

        What a signal's handler has ended it by, on the main thread that was lent to us, comes out afterwards.
        """
        self.inbox.own()
        try:
            error = self._run_until_ended()
            failure = self.stream.failure
            if failure is not None:
                self.report_error(MalformedMessage(f"broken WebSocket frame: {failure.reason}"))
            self.disconnected(self.stream.ending or Ending(CloseCode.ABNORMAL, ""))
            if self.inbox.retire():
                try:
                    self.stream.finish(self.options.close_timeout)
                finally:  # over Ctrl-C too: nobody else can give it back any more
                    self.stream.dispose()
        finally:
            self.dispose()
            wake_politely(False)  # reading may have made it so, and the thread may be somebody else's
        on_main = threading.current_thread() is threading.main_thread()
        if on_main and error is not None and not isinstance(error, Exception):
            raise error

    def _run_until_ended(self) -> BaseException | None:
        """Handle what arrives; return the error where one has ended the connection."""
        try:
            while True:
                arrived = self.inbox.next(self.read_deadline)
                if arrived is None:
                    self.read_deadline_passed()
                elif isinstance(arrived, Ending):
                    return None
                else:
                    self._handle_next(arrived)
                del arrived  # it may be large, and it may be long until there is another
        except BaseException as error:  # whatever it is, on_disconnect must still run
            logger.exception("an error in the connection's thread")
            self.cut()
            return error

    def read_deadline_passed(self) -> None:
        """Deal with a passed ``read_deadline``."""

    def _handle_next(self, arrived: Arrived) -> None:
        if self.inbox.wants_look_ins:
            self._begin_look_ins()
        payload, on_reply = arrived
        if type(payload) is bytes:
            self.handle(payload, on_reply)
        elif isinstance(payload, Exception):
            self.report_error(payload)
        else:
            assert isinstance(payload, (str, Mark))
            self.handle_other(payload)

    def begin_user_code(self) -> None:
        """Prepare for a callback that is not the consequence of a message."""
        self.inbox.begin_user_code()
        if self.inbox.wants_look_ins:
            self._begin_look_ins()

    def call(self, callback: Callable[..., Any] | None, *args: Any) -> None:
        """Run a callback; what it raises ends neither the connection nor the thread."""
        if callback is None:
            return
        try:
            callback(*args)
        except BaseException as error:
            self.callback_failed(callback, error)

    def callback_failed(self, callback: Callable[..., Any], error: BaseException) -> None:
        """Log and report what a callback has raised; ``SystemExit`` too: it would end the thread without a word."""
        logger.error("an error in the callback %r", callback, exc_info=error)
        self.report_error(error)

    def settle_reply(self, event: Event) -> OnReply | None:
        """Hand out a reply that was not handed out when it was read; return its ``on_reply``."""
        reply_to = event.ids.reply_to
        assert reply_to is not None
        reply = Reply(event.name, list(event.args), MethodType(answer, (self, event.ids.event_id)), event.ids)
        with self.inbox.lock:
            entry = self.inbox.table.take(reply_to)
            sent = None if entry is None else entry()
            if sent is not None:
                sent.settle(reply)
        return None if entry is None else entry.on_reply

    def _parse_reply(self, payload: bytes) -> Reply:
        decoded = self._codec.decode_event(payload)
        event = decoded if isinstance(decoded, Event) else parse_event(decoded)
        return Reply(event.name, event.args, MethodType(answer, (self, event.ids.event_id)), event.ids)

    # -- looking after the connection, the janitor's ----------------------------------------------------------------

    def call_later(self, delay: float, action: Callable[[], object]) -> None:
        """Have the janitor run a method in ``delay`` seconds, unless the connection is disposed before."""
        timer = self.janitor.call_later(delay, action)
        with self.inbox.lock:
            timers = self._timers
            replaced = timer if timers is None else timers.get(action.__name__)
            if timers is not None:
                timers[action.__name__] = timer
        if replaced is not None:
            replaced.cancel()

    def start_keepalive(self) -> None:
        """Ping the peer when it has been silent for ``ping_interval`` seconds."""
        if self.options.ping_interval is not None:
            self.call_later(self.options.ping_interval, self._keep_alive)

    def _begin_look_ins(self) -> None:
        self.inbox.begin_look_ins()
        self.call_later(_LOOK_IN_EVERY, self._look_in)

    def _look_in(self) -> None:
        if self.inbox.go_on_looking_in():
            self.inbox.look_in()
            self.call_later(_LOOK_IN_EVERY, self._look_in)

    def _keep_alive(self) -> None:
        if self.alive:
            delay = self._keep_alive_step()
            if delay is not None:
                self.call_later(delay, self._keep_alive)

    def _keep_alive_step(self) -> float | None:
        """Ping, or judge the last ping; return when to come again."""
        interval, timeout = self.options.ping_interval, self.options.ping_timeout
        assert interval is not None
        if self.inbox.full:
            self._pinged_at = None
            return interval  # nobody reads: silence proves nothing
        if self._pinged_at is not None:
            self.inbox.look_in()
        heard = self.stream.last_received
        if self._pinged_at is None or heard >= self._pinged_at:
            self._pinged_at = None
            rest = interval - (time.monotonic() - heard)
            if rest > min(SLACK, interval / 8):
                return rest
            now = time.monotonic()  # before the ping: its answer may be read before ping() returns
            self.stream.ping()
            if timeout is None:
                return interval
            self._pinged_at = now
            return min(interval, timeout)
        assert timeout is not None
        patience = self._pinged_at + timeout - time.monotonic()
        if patience > 0:
            return min(interval, patience)
        if self._outbox.readable():
            return 1.0  # its answer is there, and a reader about to read it
        self.stream.fail(CloseCode.INTERNAL_ERROR, "keepalive: no pong in time")
        self.cut()
        return None

    # -- ending -----------------------------------------------------------------------------------------------------

    def disconnect(self, code: int, reason: str) -> bool:
        """Begin the close handshake and drop what has arrived; false where the connection is ending already."""
        if not self.stream.close(code, reason):
            return False
        self.inbox.drop(Ending(code, reason))
        self.call_later(self.options.close_timeout, self.cut)
        return True

    def fail(self, error: EZEZError, code: int, reason: str) -> None:
        """Answer the peer's fault: report it and end the connection. The connection's thread's."""
        self.end_with(code, reason)
        self.report_error(error)

    def end_with(self, code: int, reason: str) -> None:
        """End the connection with a close frame that we do not wait to be answered; what has arrived is dropped."""
        if self.stream.fail(code, reason):
            self.inbox.drop(Ending(code, reason))
        self.inbox.end()

    def cut(self, code: int = CloseCode.ABNORMAL, reason: str = "") -> None:
        """End the connection at once, without a word."""
        self.stream.cut(code, reason)
        self.inbox.end()

    def dispose(self) -> None:
        """Give the socket back, cutting what is left of the connection. Idempotent; waits for nobody's code."""
        self.cut()
        if self.inbox.retire():
            self.stream.dispose()
        with self.inbox.lock:
            timers, self._timers = self._timers, None
        for timer in (timers or {}).values():
            timer.cancel()  # else the janitor would keep all this alive until their time comes
