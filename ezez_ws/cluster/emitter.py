"""Publishing from a process that has no server: cron, a worker of Celery or Flask, a shell."""

import contextlib
import secrets
import weakref
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

from ..errors import PublishFailed
from ..messages.codec import Codec
from ..messages.recovery import EVERYONE
from ..options import check_seconds
from ..threads import clock
from ..threads.deadline import NEVER, Deadline
from ..threads.fork import after_fork_in_child
from ..threads.interrupted import calls_user_code, make_lock, refuse_to_wait
from ..threads.waiting import Condition, Event
from ..websocket.stream import Ending
from .audience import Audience, Publication, Publishing
from .entries import AGAIN, Command, Entry, Said, Target, encode_entry
from .log import Backplane, LogDown, LogWriter, Read
from .remote import Asks, RemoteClient, node_of
from .rooms import check_room

__all__ = ["Emitter"]

T = TypeVar("T")

_AT_ONCE = 256  # publications of one entry
_SILENT = 600.0  # seconds after which a producer takes a new name
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
_SLICE = 0.25  # seconds of one read of the inbox, and after which a thread that does not read looks again
_PROBE = 5.0  # seconds between two looks at whether a node still has an inbox
_LONGEST_READ = 3.0  # seconds
_GRACE = 1.0  # seconds for a thread to leave the writer when that has been cut
_TTL = 300.0  # seconds for which a reply is waited for at all
_BROKEN_OFF = "publishing was broken off; it may have arrived"
_AT_ONCE_OR_NOT = Deadline(0)
_CLOSED = Ending(1000, "the emitter was closed")


class _Turn:
    """What one thread at a time may use; it may block meanwhile, so it is no lock."""

    def __init__(self) -> None:
        self._condition = Condition()
        self._holder: object = None

    def run(self, act: Callable[[], object], deadline: Deadline, is_needless: Callable[[], bool] = bool) -> bool:
        """Run ``act`` as soon as nobody else does; false where the time passed, or it is not needed any more."""
        who = object()
        try:
            try:
                if not self._take(who, deadline, is_needless):
                    return False
                act()
                return True
            finally:
                self._give(who)
        finally:
            self._give(who)  # again: an exception, such as Ctrl-C, may have kept the first from it

    def _take(self, who: object, deadline: Deadline, is_needless: Callable[[], bool]) -> bool:
        def try_it() -> bool | None:
            if is_needless():
                return False
            if self._holder is not None:
                return None
            self._holder = who
            return True

        with self._condition.lock:
            taken = try_it()
        if taken is None and not deadline.passed():
            taken = self._condition.wait_for(try_it, deadline)
        return bool(taken)

    def _give(self, who: object) -> None:
        if self._holder is who:
            with self._condition.lock:
                self._condition.changed()
                self._holder = None  # last: until then it is given once more

    def is_taken(self) -> bool:
        """Tell whether somebody has it, at a glance."""
        return self._holder is not None


class _Waiting:
    """A publication that a thread has handed over. ``over``: it was appended, or there is a ``failure``.

    ``wakes`` its thread, when it is over, or that thread may append.
    """

    __slots__ = ("failure", "over", "wakes", "what")

    def __init__(self, what: Said | Command) -> None:
        self.what = what
        self.over = False
        self.failure: Exception | None = None
        self.wakes = Event()


class _Producer(NamedTuple):
    """Under which name, and up to which number, it was published, and when last."""

    name: str
    numbered: int
    at: float


_NOBODY = _Producer("", 0, 0.0)


class Emitter:
    """Publishes to the rooms of servers that share a backplane. It starts no thread, and connects at the first call.

    Any thread may call any method; threads that publish at once share round trips. It may be made before ``os.fork``:
    each process connects, and numbers what it publishes, by itself. What is copied or pickled of it, as for a process
    that multiprocessing spawns, is its options.

    Args:
        backplane: as the servers'.
        codec: as the servers'.
        timeout: seconds that publishing waits for the broker.

    ``_lock``, a leaf, guards the queue. Who has the turn ``_writing`` uses the writer, and numbers.
    """

    def __init__(self, backplane: Backplane, *, codec: Codec | None = None, timeout: float = 5.0) -> None:
        if not callable(getattr(backplane, "make_writer", None)):
            raise TypeError(f"backplane must be a RedisBackplane, not {type(backplane).__name__}")
        if codec is not None and not isinstance(codec, Codec):
            raise TypeError(f"codec must be a Codec or None, not {type(codec).__name__}")
        check_seconds("timeout", timeout)
        self._backplane = backplane
        self._codec = codec or Codec()
        self._timeout = timeout
        self._publishing = Publishing(self._codec, self._publish)
        self._closed = False
        self._begin()
        _emitters.add(self)

    def _begin(self) -> None:
        """Begin in this process; the parent's connections are the parent's."""
        self._lock = make_lock()
        self._queue: list[_Waiting] = []
        self._writing = _Turn()
        self._producer = _NOBODY
        self._writer: LogWriter | None = None
        self._mailbox: _Mailbox | None = None

    def to(self, *rooms: str) -> Audience:
        """Return who is in one of these rooms, on all nodes.

        Publishing returns when the broker has confirmed. ``PublishFailed``: it has not, within ``timeout`` seconds; the
        publication may have arrived.
        """
        return Audience(self._publishing, Target(tuple(map(check_room, rooms))))

    @property
    def everyone(self) -> Audience:
        """Every authenticated client, on all nodes."""
        return Audience(self._publishing, Target((EVERYONE,)))

    def client_at(self, address: str) -> RemoteClient:
        """Return one client by its ``address``; a thread that waits for its reply reads it meanwhile."""
        node_of(address)
        with self._lock:
            self._check()
            if self._mailbox is None:
                self._mailbox = _Mailbox(self._backplane, self._codec, self._timeout, self._with_writer)
            return RemoteClient(self._mailbox, address)

    def close(self) -> None:
        """Give the connections back; who waits for a reply gets ``ConnectionClosed``. Idempotent."""
        with self._lock:
            self._closed = True
            mailbox, self._mailbox = self._mailbox, None
        if mailbox is not None:
            mailbox.close(_CLOSED)
        if not self._writing.run(self._close_writer, Deadline(self._timeout)):
            writer = self._writer
            if writer is not None:
                writer.cut()  # under the thread that uses it
            self._writing.run(self._close_writer, Deadline(_GRACE))

    def _close_writer(self) -> None:
        """Requires the turn."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def __reduce__(self) -> Any:
        return partial(type(self), codec=self._codec, timeout=self._timeout), (self._backplane,)

    def __enter__(self) -> "Emitter":
        return self

    @calls_user_code
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Emitter {'closed' if self._closed else self._backplane}>"

    def _check(self) -> None:
        if self._closed:
            raise RuntimeError("the emitter is closed")

    def _publish(self, what: Said | Command) -> Publication:
        """Append a publication, with those of other threads that wait; or one of them has taken it along."""
        self._check()
        if not what.target.rooms:
            return Publication()
        refuse_to_wait("publishing by an emitter")
        deadline, waiting = Deadline(self._timeout), _Waiting(what)
        try:
            with self._lock:
                self._queue.append(waiting)
            while not waiting.over:
                if not self._writing.is_taken() and self._writing.run(
                    lambda: self._append_some(waiting, deadline), _AT_ONCE_OR_NOT, lambda: waiting.over
                ):
                    self._wake_next()
                elif not waiting.over:  # who has the turn gives it back by its own deadline, and then looks for us
                    waiting.wakes.wait(_SLICE)  # not for longer: an exception may have kept it from waking us
                    if not waiting.over:
                        waiting.wakes.clear()
        except BaseException:
            with self._lock:
                if waiting in self._queue:
                    self._queue.remove(waiting)  # else it would go out with whatever comes next
            raise
        if waiting.failure is not None:
            raise waiting.failure
        return Publication()

    def _wake_next(self) -> None:
        """Wake the thread that has waited for longest, as nobody has the turn."""
        with self._lock:
            first = self._queue[0] if self._queue else None
        if first is not None:
            first.wakes.set()

    def _append_some(self, waiting: _Waiting, deadline: Deadline) -> None:
        """Append what waits, together. Requires the turn."""
        batch: list[_Waiting] = []
        failure: Exception | None = PublishFailed(_BROKEN_OFF)
        try:
            with self._lock:
                if waiting not in self._queue:  # an exception has kept who took it along from saying how it went
                    raise PublishFailed(_BROKEN_OFF)
                batch = self._queue[:_AT_ONCE]
                del self._queue[:_AT_ONCE]
            failure = self._append([one.what for one in batch], deadline)
        finally:
            if failure is not None:
                self._producer = _NOBODY  # a number that is never used would look like a loss
            for one in batch:
                one.failure, one.over = failure, True
                if one is not waiting:
                    one.wakes.set()

    def _append(self, batch: list[Said | Command], deadline: Deadline) -> Exception | None:
        """Append publications, again and again until the log has them; return why it has not, in that time."""
        now = clock.monotonic()
        name, last, at = self._producer
        if not name or now - at > _SILENT:
            name, last = secrets.token_hex(8), 0
        data = [encode_entry(Entry(name, number, what)) for number, what in enumerate(batch, last + 1)]
        epochs: set[str] = set()  # of the logs that may have it

        def append(writer: LogWriter) -> None:
            epoch = writer.open()
            is_again = not epochs <= {epoch}
            epochs.add(epoch)
            writer.append([one + AGAIN for one in data] if is_again else data)

        try:
            self._try_until(append, deadline)
        except (LogDown, ImportError) as error:
            if isinstance(error, ImportError):
                return error
            failure = PublishFailed(f"not confirmed within {self._timeout:g} s, though it may have arrived: {error}")
            failure.__cause__ = error
            return failure
        self._producer = _Producer(name, last + len(batch), now)
        return None

    def _try_until(self, act: Callable[[LogWriter], T], deadline: Deadline) -> T:
        """Do something with the writer, again until it succeeds, or the time is over. Requires the turn."""
        pause = _FIRST_PAUSE
        while True:
            try:
                if self._closed:
                    raise LogDown("the emitter is closed")
                if self._writer is None:
                    self._writer = self._backplane.make_writer(self._timeout)
                return act(self._writer)
            except LogDown:
                if deadline.passed() or self._closed:
                    raise
                clock.sleep(deadline.sooner(Deadline(pause)).remaining() or 0.0)
                pause = min(pause * 2, _LONGEST_PAUSE)

    def _with_writer(self, act: Callable[[LogWriter], bool]) -> bool:
        """Do something with the writer, for the mailbox; ``PublishFailed``: the broker cannot be had."""
        self._check()
        deadline, outcome = Deadline(self._timeout), [False]

        def try_it() -> None:
            outcome[0] = self._try_until(act, deadline)

        try:
            self._writing.run(try_it, NEVER)
        except LogDown as error:
            raise PublishFailed(f"the broker cannot be had: {error}") from error
        return outcome[0]


_emitters: "weakref.WeakSet[Emitter]" = weakref.WeakSet()


def _begin_anew() -> None:
    for emitter in list(_emitters):
        emitter._begin()


after_fork_in_child(_begin_anew)


class _Mailbox(Asks):
    """The messages of an emitter to single clients, and its inbox, which the threads that wait read in turn."""

    def __init__(
        self,
        backplane: Backplane,
        codec: Codec,
        timeout: float,
        with_writer: Callable[[Callable[[LogWriter], bool]], bool],
    ) -> None:
        super().__init__(codec, f"e{secrets.token_hex(8)}", _TTL, self._send_to)
        self._timeout = timeout
        self._with_writer = with_writer
        self._reader = backplane.make_reader(self._node, inbox_only=True)
        self._is_open = False
        self._reading = _Turn()
        self._renewal = backplane.node_timeout  # it expires after 4 times that
        self._fresh_until = 0.0  # until then it is there for certain
        self._probed_at = clock.monotonic()

    def close(self, ending: Ending) -> None:
        """End all waiting, and give the inbox back."""
        super().close(ending)
        if not self._reading.run(self._reader.close, Deadline(2 * _SLICE)):
            self._reader.cut()
            self._reading.run(self._reader.close, Deadline(_LONGEST_READ))

    def _send_to(self, node: str, message: bytes) -> None:
        refuse_to_wait("client_at(...).send()")
        try:
            until = Deadline(self._timeout)
            if not (self._is_fresh() or self._reading.run(self._freshen, until, self._is_fresh) or self._is_fresh()):
                raise LogDown("it does not answer")
        except LogDown as error:
            raise PublishFailed(f"the broker cannot be had: {error}") from error
        if not self._with_writer(lambda writer: writer.send_to(node, message)):
            self.take_undelivered(message)

    def _is_fresh(self) -> bool:
        return self._is_open and clock.monotonic() < self._fresh_until

    def _freshen(self) -> None:
        """See to it that there is an inbox: the answer needs a place. Requires the turn."""
        if self._closed is not None:
            raise RuntimeError("the emitter is closed")
        if self._is_open:
            self._read_some(0.0)  # which makes it again where it has expired
        if not self._is_open:
            self._open()

    def _open(self) -> None:
        self._reader.open()
        self._fresh_until = clock.monotonic() + self._renewal
        self._is_open = True

    def wait_until(self, check: Callable[[], Any], deadline: Deadline) -> None:
        """Read the inbox until there is an outcome, or wait while another thread reads."""
        while check() is None and not deadline.passed():
            if self._reading.run(lambda: self._read_some(deadline.remaining_of(_SLICE)), Deadline(0)):
                self._probe()
            else:
                self._condition.wait_for(check, deadline.sooner(Deadline(_SLICE)))

    def _read_some(self, seconds: float) -> None:
        """Requires the turn."""
        try:
            found = self._reader.read((0, 0), seconds)
            self._fresh_until = clock.monotonic() + self._renewal
        except LogDown:
            clock.sleep(min(seconds, _FIRST_PAUSE))
            self._is_open = False
            with contextlib.suppress(LogDown):
                self._open()
            return
        for message in found.inbox if isinstance(found, Read) else ():
            self.take_message(message)

    def _probe(self) -> None:
        """See now and then whether the nodes that are to answer still have an inbox."""
        now = clock.monotonic()
        if now - self._probed_at < _PROBE:
            return
        self._probed_at = now
        for node in self.awaited_nodes():
            with contextlib.suppress(PublishFailed):
                if not self._with_writer(partial(_has_inbox, node)):
                    self.forget_node(node)


def _has_inbox(node: str, writer: LogWriter) -> bool:
    return writer.has_inbox(node)
