"""One connection and the messages on it: what a server's side and a client's side share.

The way of a message in: ``Inbox`` (whoever reads) → ``run`` (the connection's thread) → ``Dispatcher``. The way out:
``send`` → ``Stream.put``, with the reply expected in the table before the bytes leave.

How a connection ends is told in ``websocket/stream.py``. Here: ``disconnect`` is our own wish, ``fail`` the answer to
the peer's fault, ``cut`` is for a peer that is too slow or gone. Each wakes all waiters at once; ``on_disconnect`` runs
once, on the connection's thread, when the ending is known and what arrived before has been handled; then ``dispose``
gives everything back.
"""

import contextlib
import logging
import math
import threading
from collections.abc import Callable
from typing import NamedTuple

from ..errors import ConnectionClosed, EZEZError, MalformedMessage, SendTimeout
from ..figures import Figures
from ..logs import logger, shown
from ..messages.codec import Codec
from ..messages.protocol import EVENT_ERROR, EVENT_OK, CloseCode
from ..threads import clock
from ..threads.deadline import Deadline
from ..threads.fork import ForkGuard, Uncopied
from ..threads.interrupted import refuse_to_wait
from ..threads.timers import Timer, janitor
from ..websocket.stream import Ending, Ping, Stream
from ..wire.linux import restore_scheduling
from .dispatch import Callbacks
from .inbox import Arrived, Inbox, Task
from .keepalive import Keepalive
from .listeners import Listeners
from .outliving import Outliving
from .replies import Outcome, SentMessage
from .sending import Sending
from .tracing import trace

__all__ = ["MAX_NESTING", "Connection", "ConnectionOptions"]

MAX_NESTING = 32
"""How deep ``wait_reply`` inside listeners goes on running other listeners."""

_LOOK_IN_EVERY = 1.0
_LOOK_IN_OFTEN = 0.01  # where a listener may wait for futures with the standard library's means, which do not read
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
    figures: Figures
    max_awaiting_replies: int = 10_000
    unknown_events: str = "ignore"


class Connection(Outliving, Sending, Uncopied):
    """One connection: sends, waits, dispatches, ends. A subclass says who may send events, and when.

    ``run``, and what ``Dispatcher`` has, belong to the connection's thread; every other method may be called from any
    thread. Locks: see ``Inbox``, ``Stream`` and ``Sending``. Here ``_timers`` is guarded by the inbox's lock;
    ``_nesting`` is the connection's thread's. It owns ``stream`` from now on; ``keep_text``: ``handle_other`` wants
    text messages.
    With 30 attributes, those of a subclass included, CPython would give each connection a whole ``dict`` (1.3 KB).
    """

    def __init__(
        self,
        stream: Stream,
        options: ConnectionOptions,
        callbacks: Callbacks,
        listeners: Listeners,
        shared_listeners: Listeners | None = None,
        keep_text: bool = False,
    ) -> None:
        self.stream = stream
        self.options = options
        inbox = Inbox(stream, options.inbox_limit_bytes, keep_text, self.parse_reply, options.codec._is_plain)
        super().__init__(inbox, options.codec, callbacks, listeners, shared_listeners)
        self.fork_guard = ForkGuard("connection")
        self._encode_at_once = options.codec._encoder_at_once()
        self._last_id = 0
        self._expiry_at = -math.inf
        self._timers: dict[str, Timer] | None = {}  # the last of each action's; ``None``: disposed
        self._nesting = 0
        trace(self)

    @property
    def figures(self) -> Figures:
        """What the server or client counts besides."""
        return self.options.figures

    # -- waiting for replies ----------------------------------------------------------------------------------------

    @property
    def awaiting_replies_count(self) -> int:
        """Messages with an ``on_reply`` still to come, plus those that a thread is waiting for."""
        return self.inbox.table.awaited

    def wait_reply(self, sent: SentMessage, deadline: Deadline) -> Outcome:
        """Wait for the outcome of a message of this connection; ``None`` where the time passed."""
        self.fork_guard.check()
        nested = self.inbox.is_owner() and self._nesting < MAX_NESTING

        def take() -> SentMessage | Arrived | Ending | None:
            if sent._outcome is not None:
                return sent
            if nested and not deadline.passed():
                return self.inbox.take_next()
            return self.inbox.ending

        with self.inbox.lock:
            if sent._outcome is not None:
                return sent._outcome
        refuse_to_wait("wait_reply()")
        with self.inbox.lock:
            self.inbox.table.begin_waiting(sent)
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
                self.inbox.table.end_waiting(sent)
                outcome = sent._outcome
                if outcome is None and deadline.passed() and sent._event_id is not None:  # else it is no message
                    self.tally.timed_out += 1
            if self.inbox.is_owner():
                self.begin_user_code()  # the listener that waited goes on
        return outcome

    def measure(self, timeout: float | None) -> float:
        """Send a ping, wait for its answer as for a reply, and return the seconds that it took.

        ``TimeoutError``: it has not come in time. ``ConnectionClosed``: the connection is, or was lost.
        """
        refuse_to_wait("ping()")
        deadline = Deadline(timeout)
        ping = self.stream.ping(waited=True)
        nested = self.inbox.is_owner() and self._nesting < MAX_NESTING

        def take() -> Ping | Arrived | Ending | None:
            if ping.seconds is not None:
                return ping
            if nested and not deadline.passed():
                return self.inbox.take_next()  # else a full inbox would keep the answer out
            return self.inbox.ending or self.stream.ending

        try:
            while True:
                got = self.inbox.wait(take, deadline, event=ping.event)
                if got is None or isinstance(got, (Ping, Ending)):
                    break
                self._handle_nested(got)
        finally:
            self.stream.forget(ping)
            if self.inbox.is_owner():
                self.begin_user_code()  # as after a reply
        if ping.seconds is not None:
            return ping.seconds
        if isinstance(got, Ending):
            raise ConnectionClosed(*got)
        raise TimeoutError(f"no pong within {timeout} s")

    def _handle_nested(self, arrived: Arrived) -> None:
        self._nesting += 1
        before = self.tally.running()
        try:
            self.handle_next(arrived)
        finally:
            self._nesting -= 1
            self.tally.resume(before)

    def have_owner(self, act: Callable[[], object]) -> None:
        """Have the connection's thread do something in its turn; where that is past it, it is done at once."""
        with self.inbox.lock:
            late = self.stream.given_back or not self.inbox.put(Task(act))
            wakes = not late and self.inbox.owner_reads()
        if late:
            act()
        elif wakes:
            self.wake_reader()

    # -- dispatch, on the connection's thread -----------------------------------------------------------------------

    def run(self) -> None:
        """Serve the connection until it has ended, and give it back.

        Whoever calls it calls ``dispose`` afterwards, whatever comes out, and ``restore_scheduling``, where the thread
        goes on. What a signal's handler has ended it by, on the main thread that was lent to us, comes out.
        """
        self.inbox.own()
        start = clock.monotonic()
        error = self._run_until_ended()
        failure = self.stream.failure
        if failure is not None:
            self.figures.cut("too-big" if failure.code == CloseCode.MESSAGE_TOO_BIG else "protocol-error")
            restore_scheduling()  # what on_error starts shall not inherit what reading has chosen
            self.report_error(MalformedMessage(f"broken WebSocket frame: {failure.reason}"), "cut: ")
        ending = self.inbox.ending or Ending(CloseCode.ABNORMAL, "")
        if self.subject and logger.isEnabledFor(logging.INFO):  # a client's run tells of its connections by itself
            text, reason = "ended with %d%s after %.1f s, %d messages sent", ending.reason
            seconds, reason = clock.monotonic() - start, reason and f" ({shown(reason)})"
            self.tell(text, ending.code, reason, seconds, self._last_id)
        if self.inbox.table.settled or self.inbox.table.due:
            self.inbox.tell_futures()  # though whoever has ended the connection may be about to do so, too
            self.inbox.call_back()
        self.disconnected(ending)
        self.dispose(self.options.close_timeout)
        on_main = threading.current_thread() is threading.main_thread()
        if on_main and error is not None and not isinstance(error, Exception):
            raise error

    def disconnected(self, ending: Ending) -> None:
        """Run ``on_disconnect``."""
        on_disconnect = self._callbacks.on_disconnect
        if on_disconnect is not None:
            restore_scheduling()  # as above
            self.call(on_disconnect, *self.subject, ending.code, ending.reason)

    def _run_until_ended(self) -> BaseException | None:
        """Handle what arrives; return the error where one has ended the connection."""
        try:
            while True:
                arrived = self.inbox.next()
                if isinstance(arrived, Ending):
                    return None
                self.handle_next(arrived)
                del arrived  # it may be large, and it may be long until there is another
        except BaseException as error:  # whatever it is, on_disconnect must still run
            logger.exception("%s: an error in the connection's thread", self.name, extra=self.extra())
            self.cut()
            return error

    def handle_unknown(self, name: str, event_id: int) -> None:
        """Tell of an event that nobody handles, once for each name, and answer it with an error, if wanted."""
        if (self.listeners if self._shared_listeners is None else self._shared_listeners).tells(name):
            logger.debug("%s: nobody handles or listens to %r", self.name, shown(name), extra=self.extra(name))
        if self.options.unknown_events == "error" and name not in (EVENT_OK, EVENT_ERROR):
            error = {"code": "unknown-event", "message": f"nobody handles {shown(name)!r}", "data": None}
            with contextlib.suppress(ConnectionClosed, SendTimeout):
                self.send(EVENT_ERROR, [error], event_id, None)

    # -- looking after the connection, the janitor's ----------------------------------------------------------------

    def call_later(self, delay: float, action: Callable[[], object]) -> None:
        """Have the janitor run a method in ``delay`` seconds, unless the connection is disposed before."""
        timer = janitor.call_later(delay, action)
        with self.inbox.lock:
            timers = self._timers
            replaced = timer if timers is None else timers.get(action.__name__)
            if timers is not None:
                timers[action.__name__] = timer
        if replaced is not None:
            replaced.cancel()

    def tell_position(self) -> None:
        """Tell the peer, once in a while, how far it has read, where that is needed. The janitor's."""

    def start_keepalive(self) -> None:
        """Ping the peer when it has been silent for ``ping_interval`` seconds."""
        if self.options.ping_interval is not None:
            Keepalive(self, self.options.ping_interval, self.options.ping_timeout).start()

    def begin_look_ins(self) -> None:
        """Have the janitor look in, as the connection's thread runs user code."""
        self.inbox.begin_look_ins()
        self._look_in_later()

    def look_in_often(self) -> None:
        """Have the janitor read soon, and often, while user code runs and there are futures to be told."""
        if self.inbox.go_on_looking_in():
            self._look_in_later()

    def _look_in_later(self) -> None:
        self.call_later(_LOOK_IN_OFTEN if self.inbox.table.kept else _LOOK_IN_EVERY, self._look_in)

    def _look_in(self) -> None:
        if self.inbox.go_on_looking_in():
            self.inbox.look_in()
            self._look_in_later()
        elif self.stream.ending is not None:
            self.look_for_outliving_later()

    # -- ending -----------------------------------------------------------------------------------------------------

    def disconnect(self, code: int, reason: str, is_deferred: bool = False) -> bool:
        """Begin the close handshake and drop what has arrived; false where the connection is ending already."""
        if self.is_interrupted() and not is_deferred:
            self.defer(lambda: self.disconnect(code, reason, True) or True, lambda: self.stream.open, urgent=True)
            return True
        if self.deferred and not is_deferred:
            self.do_deferred()
        if not self.stream.close(code, reason):
            return False
        self.inbox.drop(Ending(code, reason))
        self.call_later(self.options.close_timeout, self.cut)
        return True

    def fail(self, error: EZEZError, code: int, reason: str) -> None:
        """Answer the peer's fault: report it and end the connection. The connection's thread's."""
        self.end_with(code, reason)
        self.figures.cut("too-big" if code == CloseCode.MESSAGE_TOO_BIG else "malformed")
        self.report_error(error, "cut: ")

    def end_with(self, code: int, reason: str) -> None:
        """End the connection with a close frame that we do not wait to be answered; what has arrived is dropped."""
        if self.stream.fail(code, reason):
            self.inbox.drop(Ending(code, reason))
        self.inbox.end()

    def cut(self, code: int = CloseCode.ABNORMAL, reason: str = "") -> None:
        """End the connection at once, without a word. Idempotent."""
        self.stream.cut(code, reason)
        self.inbox.end()

    def dispose(self, patience: float | None = None, most: float = math.inf) -> None:
        """Give the socket back, cutting what is left of the connection. Idempotent; waits for nobody's code.

        ``patience``: seconds, with ``most`` bytes, for the peer to read our last words and end; ``None``: cut at once.
        """
        if self.stream.given_back:
            return
        with self.inbox.lock:
            timers, self._timers = self._timers, None
        for timer in (timers or {}).values():
            timer.cancel()  # else the janitor would keep all this alive until their time comes
        if patience is None:
            self.cut()
        if self.inbox.retire():
            try:
                if patience is not None:
                    self.stream.finish(patience, most)
            finally:  # over Ctrl-C too: nobody else can give it back any more
                self.stream.dispose()
                if self.deferred:
                    self.do_deferred()  # which says that it cannot be done
