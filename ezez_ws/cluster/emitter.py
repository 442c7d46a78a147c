"""Publishing from a process that has no server: cron, a worker of Celery or Flask, a shell."""

import contextlib
import secrets
import time
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple

from ..errors import PublishFailed
from ..messages.codec import Codec
from ..messages.recovery import EVERYONE
from ..options import check_seconds
from ..threads.deadline import NEVER, Deadline
from ..threads.fork import ForkGuard, Uncopied
from ..threads.interrupted import calls_user_code, make_lock, refuse_to_wait
from ..threads.waiting import Condition, Event
from ..websocket.stream import Ending
from .audience import Audience, Publication, Publishing
from .entries import Command, Entry, Said, Target, encode_entry
from .log import Backplane, LogDown, LogWriter, Read
from .remote import Asks, RemoteClient, node_of
from .rooms import check_room

__all__ = ["Emitter"]


_AT_ONCE = 256  # publications of one entry
_SILENT = 600.0  # seconds after which a producer takes a new name
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
_SLICE = 0.25  # seconds of one read of the inbox, and after which a thread that does not read looks again
_PROBE = 5.0  # seconds between two looks at whether a node still has an inbox
_LONGEST_READ = 3.0  # seconds
_TTL = 300.0  # seconds for which a reply is waited for at all
_CLOSED = Ending(1000, "the emitter was closed")


class _Turn:
    """What one thread at a time may use; it may block meanwhile, so it is no lock."""

    def __init__(self) -> None:
        self._condition = Condition()
        self._taken = False

    def take(self, deadline: Deadline) -> bool:
        """Take it, as soon as nobody has it; false where the time passed."""
        return self._condition.wait_for(self._try, deadline) is not None

    def _try(self) -> bool | None:
        if self._taken:
            return None
        self._taken = True
        return True

    def give(self) -> None:
        """Give it back."""
        with self._condition.lock:
            self._taken = False
            self._condition.changed()


class _Waiting:
    """A publication that a thread has handed over; the emitter's lock guards it.

    ``over``: it was appended, or there is a ``failure``. ``leads``: its thread is to append now, for the others, too.
    """

    __slots__ = ("abandoned", "failure", "leads", "over", "wakes", "what")

    def __init__(self, what: Said | Command) -> None:
        self.what = what
        self.over = self.leads = self.abandoned = False
        self.failure: Exception | None = None
        self.wakes: Event | None = None


class _Producer(NamedTuple):
    """Under which name, and up to which number, it was published, and when last."""

    name: str
    numbered: int
    at: float


_NOBODY = _Producer("", 0, 0.0)


class Emitter(Uncopied):
    """Publishes to the rooms of servers that share a backplane. It starts no thread, and connects at the first call.

    Any thread may call any method; threads that publish at once share round trips. It may be made before ``os.fork``:
    each process connects, and numbers what it publishes, by itself.

    Args:
        backplane: as the servers'.
        codec: as the servers'.
        timeout: seconds that publishing waits for the broker.

    ``_lock``, a leaf, guards the queue and whether somebody appends: that thread uses the writer, and numbers.
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

    def _begin(self) -> None:
        """Begin in this process."""
        self._guard = ForkGuard("emitter")
        self._lock = make_lock()
        self._queue: list[_Waiting] = []
        self._appending = False
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
        self._check()
        with self._lock:
            if self._mailbox is None:
                self._mailbox = _Mailbox(self._backplane, self._codec)
            return RemoteClient(self._mailbox, address)

    def close(self) -> None:
        """Give the connections back; who waits for a reply gets ``ConnectionClosed``. Idempotent."""
        if self._guard.foreign():
            self._begin()
        with self._lock:
            self._closed = True
            mailbox, self._mailbox = self._mailbox, None
        if mailbox is not None:
            mailbox.close(_CLOSED)
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.cut()  # should another thread be inside it
            writer.close()

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
        if self._guard.foreign():
            self._begin()  # the parent's connections are the parent's
        if self._closed:
            raise RuntimeError("the emitter is closed")

    def _publish(self, what: Said | Command) -> Publication:
        """Append a publication, with those of other threads that wait; or one of them takes it along."""
        self._check()
        if not what.target.rooms:
            return Publication()
        refuse_to_wait("publishing by an emitter")
        deadline, waiting = Deadline(self._timeout), _Waiting(what)
        with self._lock:
            self._queue.append(waiting)
            waiting.leads, self._appending = not self._appending, True
            if not waiting.leads:
                waiting.wakes = Event()
        if waiting.wakes is not None:
            self._wait(waiting, waiting.wakes)
        if not waiting.over:
            self._append_some(deadline)
        if waiting.failure is not None:
            raise waiting.failure
        return Publication()

    def _wait(self, waiting: _Waiting, wakes: Event) -> None:
        """Wait until a publication is over, or its thread is to append."""
        try:
            wakes.wait()
        except BaseException:  # Ctrl-C: it may still be taken along
            with self._lock:
                waiting.abandoned = True
                woken = self._pass_on() if waiting.leads and not waiting.over else None
            if woken is not None:
                woken.set()
            raise

    def _pass_on(self) -> Event | None:
        """Have the next thread append, if there is one; return what wakes it. Requires holding the lock."""
        for one in self._queue:
            if not one.abandoned and one.wakes is not None:
                one.leads = True
                return one.wakes
        self._appending = False
        return None

    def _append_some(self, deadline: Deadline) -> None:
        """Append what waits, together. The thread's that is to."""
        with self._lock:
            batch, self._queue = self._queue[:_AT_ONCE], self._queue[_AT_ONCE:]
        failure: Exception | None = PublishFailed("publishing was broken off; it may have arrived")
        try:
            failure = self._append([one.what for one in batch], deadline)
        finally:
            if failure is not None:
                self._producer = _NOBODY  # a number that is never used would look like a loss
            with self._lock:
                for one in batch:
                    one.failure, one.over = failure, True
                woken = self._pass_on()
            for one in batch:
                if one.wakes is not None:
                    one.wakes.set()
            if woken is not None:
                woken.set()

    def _append(self, batch: list[Said | Command], deadline: Deadline) -> Exception | None:
        """Append publications, again and again until the log has them; return why it has not, in that time."""
        now = time.monotonic()
        name, last, at = self._producer
        if not name or now - at > _SILENT:
            name, last = secrets.token_hex(8), 0
        data = [encode_entry(Entry(name, number, what)) for number, what in enumerate(batch, last + 1)]
        try:
            self._append_until(data, deadline)
        except (LogDown, ImportError) as error:
            if isinstance(error, ImportError):
                return error
            failure = PublishFailed(f"not confirmed within {self._timeout:g} s, though it may have arrived: {error}")
            failure.__cause__ = error
            return failure
        self._producer = _Producer(name, last + len(batch), now)
        return None

    def _append_until(self, data: list[bytes], deadline: Deadline) -> None:
        """Append, again until it succeeds, or the time is over."""
        pause = _FIRST_PAUSE
        while True:
            try:
                if self._writer is None:
                    self._writer = self._backplane.make_writer()
                self._writer.append(data)
                return
            except LogDown:
                if deadline.passed() or self._closed:
                    raise
                time.sleep(deadline.remaining_of(pause))
                pause = min(pause * 2, _LONGEST_PAUSE)


class _Mailbox(Asks):
    """The messages of an emitter to single clients, and its inbox, which the threads that wait read in turn."""

    def __init__(self, backplane: Backplane, codec: Codec) -> None:
        super().__init__(codec, f"e{secrets.token_hex(8)}", _TTL, self._send_to)
        self._writer = backplane.make_writer()
        self._writing = _Turn()
        self._reader = backplane.make_reader(self._node, inbox_only=True)
        self._is_open = False
        self._reading = _Turn()
        self._probed_at = time.monotonic()

    def close(self, ending: Ending) -> None:
        """End all waiting, and give the inbox back."""
        super().close(ending)
        self._writer.cut()
        self._writer.close()
        if not self._reading.take(Deadline(2 * _SLICE)):
            self._reader.cut()
            self._reading.take(Deadline(_LONGEST_READ))
        self._reader.close()

    def _send_to(self, node: str, message: bytes) -> None:
        refuse_to_wait("client_at(...).send()")
        self._reading.take(NEVER)
        try:
            if not self._is_open:  # the answer needs a place
                self._reader.open()
                self._is_open = True
        except LogDown as error:
            raise PublishFailed(f"the broker cannot be had: {error}") from error
        finally:
            self._reading.give()
        if not self._write(partial(self._writer.send_to, node, message)):
            self.take_undelivered(message)

    def _write(self, act: Callable[[], bool]) -> bool:
        """Do something with the writer; ``PublishFailed``: the broker cannot be had."""
        self._writing.take(NEVER)
        try:
            return act()
        except LogDown as error:
            raise PublishFailed(f"the broker cannot be had: {error}") from error
        finally:
            self._writing.give()

    def wait_until(self, check: Callable[[], Any], deadline: Deadline) -> None:
        """Read the inbox until there is an outcome, or wait while another thread reads."""
        while check() is None and not deadline.passed():
            if not self._reading.take(Deadline(0)):
                self._condition.wait_for(check, deadline.sooner(Deadline(_SLICE)))
                continue
            try:
                self._read_some(deadline.remaining_of(_SLICE))
            finally:
                self._reading.give()
            self._probe()

    def _read_some(self, seconds: float) -> None:
        try:
            found = self._reader.read((0, 0), seconds)
        except LogDown:
            time.sleep(min(seconds, _FIRST_PAUSE))
            self._is_open = False
            with contextlib.suppress(LogDown):
                self._reader.open()
                self._is_open = True
            return
        for message in found.inbox if isinstance(found, Read) else ():
            self.take_message(message)

    def _probe(self) -> None:
        """See now and then whether the nodes that are to answer still have an inbox."""
        now = time.monotonic()
        if now - self._probed_at < _PROBE:
            return
        self._probed_at = now
        for node in self.awaited_nodes():
            with contextlib.suppress(PublishFailed):
                if not self._write(partial(self._writer.has_inbox, node)):
                    self.forget_node(node)
