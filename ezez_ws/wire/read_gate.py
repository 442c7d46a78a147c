"""Lets the readers of many connections through a few at a time.

A thread that waits for CPython's global lock asks for it every few milliseconds; thousands of those keep a machine
busy. So the threads of many connections do not wait inside ``recv``: each sleeps on an event of its own, one thread
(``ezez-read-gate``) asks the kernel which sockets have something, and wakes the first few. Who is woken has *a turn*:
it reads, without blocking, passes the turn on, and only then goes on with what it has read: user code, which may block,
holds nobody up. Linux only (``epoll``); elsewhere, and with few connections, threads wait inside ``recv``.

While nobody waits for a turn, a few are *let by* and wait inside ``recv``, for a short while: a few busy connections
do not pay for thousands of idle ones. When others begin to wait for turns, who is let by soon takes turns again.

A pong would wake a sleeping reader for nothing, and of thousands of idle connections some are pinged all the time. So
the gate's thread may itself take what is expected (``expect``), and lets the reader sleep on.

The kernel reports each arrival once (``EPOLLET``). What comes while a reader is awake is kept in
``GatedReader.news``, and a reader must have found nothing left before it waits again; see epoll(7).
"""

import contextlib
import select
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from ..logs import logger
from ..threads.fork import after_fork_in_child
from ..threads.service import Service
from ..threads.starting import join_thread
from ..threads.waiting import Event
from .linux import spread_sleepers
from .poller import Poller

__all__ = ["PATIENCE", "GatedReader", "ReadGate", "read_gate"]

_CROWD = 150
"""So many readers get along without turns, and so many of more may be let by."""

PATIENCE = 0.5
"""Seconds for which a reader that is let by may wait for bytes."""

_AT_ONCE = 8
"""So many have a turn at a time: of those that compete with the busy ones who are let by, one would get too little."""

_BACKLOG = 64
"""While so many or fewer wait for a turn, those who are let by need not take turns at once."""

_GRACE = 32
"""So often they may still read."""

_NAP_AFTER = 8  # arrivals at a time: then the gate's thread sleeps until all of them have had their turn

_CAN_WATCH = hasattr(select, "epoll")

_AWAKE, _ASLEEP, _QUEUED, _ITS_TURN = range(4)


class GatedReader:
    """A reader, as the gate knows it. Everything but ``event`` is guarded by the gate's lock; the reader's thread looks
    at ``watched`` and ``is_let_by`` without it, too, and ``grace`` and ``silent`` are that thread's alone.

    ``watched``: the kernel reports its arrivals. ``alone``: it waits by itself, as its peer has ended and reading does
    not block any more, or has sent urgent data, or as its socket cannot be watched. ``grace``: how often it may still
    read while others wait. ``silent``: nothing came when it was let by. ``barred``: it cannot be let by.
    ``take_aside``: takes what is expected next, if that is what has come, and tells whether it was.
    """

    __slots__ = (
        "alone",
        "barred",
        "event",
        "fd",
        "grace",
        "is_let_by",
        "news",
        "silent",
        "state",
        "take_aside",
        "watched",
    )

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.state = _AWAKE
        self.news = False
        self.alone = False
        self.watched = False
        self.is_let_by = False
        self.barred = False
        self.silent = False
        self.grace = 0
        self.take_aside: Callable[[], bool] | None = None
        self.event = Event()


class _Sleep(Poller):
    """What the gate's thread sleeps on: sockets, or the end of a nap."""

    def __init__(self) -> None:
        super().__init__(select.epoll, select.EPOLLIN | select.EPOLLET)
        self.nap_over = Event()

    def wake(self) -> None:
        """Wake the thread out of either."""
        self.nap_over.set()
        super().wake()


class ReadGate(Service[_Sleep]):
    """Who waits for bytes, who has a turn, and who needs none.

    Any thread may call any method; a reader is used by one thread at a time. With more than ``crowd`` readers they take
    turns, until half of those are left; ``at_once`` have a turn at a time, and ``most_let_by`` need none. ``alone``:
    there is one reader only. That and ``crowded`` are read without the lock, too, and so is how long ``_queue`` is: a
    late view of them costs time only.
    """

    name = "ezez-read-gate"

    def __init__(self, crowd: int = _CROWD, at_once: int = _AT_ONCE, most_let_by: int = _CROWD) -> None:
        super().__init__()
        self.crowded = False
        self.alone = False
        self.crowd = crowd
        self.at_once = at_once
        self.most_let_by = most_let_by
        self._readers: set[GatedReader] = set()
        self._watched: dict[int, GatedReader] = {}
        self._queue: deque[GatedReader] = deque()
        self._turns: set[GatedReader] = set()  # those that have one
        self._let_by: set[GatedReader] = set()
        self._napping = False  # the thread sleeps until nobody waits for a turn any more
        self._nap_over = Event()  # the thread's, while there is one

    def enter(self, fd: int) -> GatedReader:
        """Give a reader of a socket its place; to be followed by ``leave``."""
        reader = GatedReader(fd)
        with self._lock:
            self._readers.add(reader)
            self.alone = len(self._readers) == 1
            if len(self._readers) > self.crowd and _CAN_WATCH:
                self.crowded = True
        return reader

    def leave(self, reader: GatedReader) -> None:
        """Let a reader go, before its socket is closed. With the last that takes turns the thread ends. Idempotent."""
        with self._lock:
            if reader not in self._readers:
                return
            reader.take_aside = None
            self._let_by.discard(reader)
            thread = self._unwatch(reader)
            self._readers.discard(reader)
            self.alone = len(self._readers) == 1
            if len(self._readers) <= self.crowd // 2:
                self.crowded = False
        if thread is not None:
            join_thread(thread, 1.0)

    def unwatch(self, reader: GatedReader) -> None:
        """Let a reader that is awake wait inside ``recv`` as long as it likes, until it next waits for a turn."""
        with self._lock:
            self._recall(reader)
            thread = self._unwatch(reader)
        if thread is not None:
            join_thread(thread, 1.0)

    def lets_by(self, reader: GatedReader) -> bool:
        """Tell whether a reader may wait inside ``recv``, for ``PATIENCE`` at most; else it waits for its turn."""
        if reader.is_let_by:
            if not self._queue:
                return True
            reader.grace -= 1
            if reader.grace > 0 and len(self._queue) <= _BACKLOG:
                return True
        if reader.silent:
            reader.silent = False
            return False
        with self._lock:
            self._recall(reader)
            if not (self._queue or reader.alone or reader.barred) and len(self._let_by) < self.most_let_by:
                self._let_by.add(reader)
                self._unwatch(reader)
                reader.is_let_by = True
                reader.grace = _GRACE
        return reader.is_let_by

    def note_silence(self, reader: GatedReader) -> None:
        """Note that nothing has come to a reader that was let by: next it waits for its turn."""
        with self._lock:
            reader.silent = reader.is_let_by
            self._recall(reader)

    def bar(self, reader: GatedReader) -> None:
        """Let a reader by no more, as it cannot wait for a short while only."""
        with self._lock:
            reader.barred = True
            self._recall(reader)

    def wait(self, reader: GatedReader) -> bool:
        """Sleep until it is the calling thread's turn, or something may be there; false where it cannot wait here.

        Whatever happens, ``pass_on`` must follow.
        """
        with self._lock:
            if reader.alone or not (reader.watched or self._watch(reader)):
                return False
            if reader.news:
                reader.news = False
                return True
            reader.state = _ASLEEP
        reader.event.wait()
        reader.event.clear()
        return True

    def expect(self, reader: GatedReader, take_aside: Callable[[], bool]) -> None:
        """Have ``take_aside`` called once for the next bytes that come while the reader sleeps; true: it sleeps on.

        It is called while holding the lock, must not block, and has all to itself that is otherwise the reader's.
        """
        with self._lock:
            if reader in self._readers:
                reader.take_aside = take_aside

    def pass_on(self, reader: GatedReader) -> None:
        """Give the turn to the next, if the calling thread has one; again, where an exception came out of it."""
        with self._lock:
            if reader.state == _QUEUED:
                reader.news = True  # an exception has woken it, or had: what came since it read was not noted
            reader.state = _AWAKE
            self._turns.discard(reader)
            if self._queue:
                self._next()
            if self._napping and not self._turns:
                self._nap_over.set()
                self._napping = False

    def _recall(self, reader: GatedReader) -> None:
        """Let a reader by no longer. Requires holding the lock."""
        reader.is_let_by = False
        self._let_by.discard(reader)

    def _next(self) -> None:
        """Wake the next, as long as there are turns. Requires holding the lock.

        An exception may come out between any two steps: when this is called again, nobody has been forgotten.
        """
        while self._queue and len(self._turns) < self.at_once:
            reader = self._queue[0]
            if reader.state == _QUEUED:  # else an exception came when it was woken, or has woken it
                reader.event.set()
                reader.state = _ITS_TURN
                self._turns.add(reader)
            self._queue.popleft()

    def _watch(self, reader: GatedReader) -> bool:
        """Have the kernel report a socket's arrivals, what is there already too. Requires holding the lock."""
        try:
            epoll = self._need_thread().selector
            # EPOLLPRI: before urgent data a read stops short (tcp(7)), and what is short is not all any more
            arrivals = select.EPOLLIN | select.EPOLLPRI | select.EPOLLRDHUP
            epoll.register(reader.fd, arrivals | select.EPOLLET)
        except (OSError, RuntimeError) as error:  # no descriptor or no thread can be had
            logger.debug("a reader waits by itself: %s", error)
            reader.alone = True
            return False
        reader.watched = True
        self._watched[reader.fd] = reader
        return True

    def _unwatch(self, reader: GatedReader) -> threading.Thread | None:
        """Forget a reader, if it is watched. Requires holding the lock.

        Where nobody takes turns any more, nor is let by, the thread ends, and is returned to be waited for. An
        exception may come out between any two steps: when this is called again, the rest is done.
        """
        if reader.watched:
            # else a borrowed socket that its owner has closed: another has its number
            if self._watched.get(reader.fd) is reader:
                assert self._thread is not None
                with contextlib.suppress(OSError):  # the same, and nobody's
                    self._thread.sleep.selector.unregister(reader.fd)
                del self._watched[reader.fd]
            reader.watched = False
        return None if self._thread is None or self._watched or self._let_by else self._dismiss()

    # -- the thread -------------------------------------------------------------------------------------------------

    def _make_sleep(self) -> _Sleep:
        sleep = _Sleep()
        self._nap_over = sleep.nap_over
        return sleep

    def _work(self, sleep: _Sleep) -> None:
        spread_sleepers()
        dismissed = False
        while not dismissed:
            arrivals = sleep.selector.poll()
            with self._lock:
                dismissed = self._is_dismissed()
                naps = not dismissed and self._let_queue(arrivals)
            if naps:
                sleep.nap_over.wait()
                sleep.nap_over.clear()

    def _let_queue(self, arrivals: Sequence[tuple[int, int]]) -> bool:
        """Deal with arrivals; tell whether to sleep until all have had their turn. Requires holding the lock."""
        self._note(arrivals)
        self._next()
        self._napping = bool(self._turns) and len(arrivals) > _NAP_AFTER
        return self._napping

    def _give_up(self) -> Iterable[Callable[[], object]]:
        """Have all wait by themselves."""
        readers = list(self._watched.values())
        self._turns.clear()
        self._watched.clear()
        self._queue.clear()
        for reader in readers:
            reader.alone, reader.watched = True, False
        return [reader.event.set for reader in readers]

    def _note(self, arrivals: Iterable[tuple[int, int]]) -> None:
        """Let those whose bytes have come queue. Requires holding the lock."""
        for fd, events in arrivals:
            reader = self._watched.get(fd)
            if reader is None:
                continue  # the waking socket, or who has left meanwhile
            if events & ~select.EPOLLIN:
                reader.alone = True
            if reader.state == _ASLEEP:
                take_aside, reader.take_aside = reader.take_aside, None
                if take_aside is None or reader.alone or not take_aside():
                    reader.state = _QUEUED
                    self._queue.append(reader)
            elif reader.state != _QUEUED:
                reader.news = True


read_gate = ReadGate()
after_fork_in_child(read_gate.begin_anew)
