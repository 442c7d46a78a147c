"""Lets the readers of many connections through a few at a time.

A thread that waits for CPython's global lock wakes every few milliseconds to ask for it. With thousands of threads
whose bytes have come, that alone keeps a machine busy. So when there are many connections, their threads do not wait
inside ``recv``: each sleeps on a waker of its own, one thread (``ezez-turnstile``) asks the kernel which sockets have
something, and wakes the first few. Who is woken has *a turn*: it reads, without blocking, passes the turn on to the
next, and only then goes on with what it has read. So the others' bytes wait in the kernel, and user code, which may
block, holds nobody up. Linux only (``epoll``); elsewhere, and with few connections, threads wait inside ``recv``.

Some of the many do so, too: while nobody waits for a turn, a few are *let by* and wait inside ``recv`` for their next
bytes, for a short while. So a few busy connections beside thousands of idle ones do not pay for those. When others
begin to wait for turns, who is let by soon takes turns again, as it would get more than they do otherwise.

A pong would wake a sleeping reader for nothing, and of thousands of idle connections some are pinged all the time. So
the turnstile's thread may itself take what is expected (``expect``), and lets the reader sleep on.

The kernel reports each arrival once (``EPOLLET``). What comes while a reader is awake is kept in ``Seat.news``, and a
reader must have found nothing left before it waits again; see epoll(7).
"""

import contextlib
import logging
import os
import select
import socket
import threading
from collections import deque
from typing import Callable, Deque, Dict, Iterable, Optional, Sequence, Set, Tuple

from ..threads import start_thread
from ..waker import Waker
from .futexes import spread_sleepers

__all__ = ["PATIENCE", "Seat", "Turnstile", "turnstile"]

_logger = logging.getLogger("ezez_ws.turnstile")

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

_NAP_AFTER = 8  # arrivals at a time: then the turnstile's thread sleeps until all of them have had their turn

_CAN_WATCH = hasattr(select, "epoll")

_AWAKE, _ASLEEP, _QUEUED, _ITS_TURN = range(4)


class Seat:
    """A reader's place. Everything but ``waker`` is guarded by the turnstile's lock; its reader looks at ``watched``
    and ``is_let_by`` without it, too, and ``grace`` and ``silent`` are the reader's alone.

    ``watched``: the kernel reports its arrivals. ``alone``: it waits by itself, as its peer has ended and reading does
    not block any more, or has sent urgent data, or as its socket cannot be watched. ``grace``: how often it may still
    read while others wait. ``silent``: nothing came when it was let by. ``barred``: it cannot be let by.
    ``take_aside``: takes what is expected next, if that is what has come, and tells whether it was.
    """

    __slots__ = (
        "alone",
        "barred",
        "fd",
        "grace",
        "is_let_by",
        "news",
        "silent",
        "state",
        "take_aside",
        "waker",
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
        self.take_aside: Optional[Callable[[], bool]] = None
        self.waker = Waker()


class Turnstile:
    """Who waits for bytes, who has a turn, and who needs none.

    ``_lock`` guards every field; nothing else is locked under it. Any thread may call any method; a seat is used by one
    thread at a time. With more than ``crowd`` readers they take turns, until half of those are left; ``at_once`` have a
    turn at a time, and ``most_let_by`` need none. ``alone``: there is one reader only. That and ``crowded`` are read
    without the lock, too, and so is how long ``_queue`` is: a late view of them costs time only. ``_minds_forks`` is
    set without it: to do so twice does no harm.
    """

    def __init__(self, crowd: int = _CROWD, at_once: int = _AT_ONCE, most_let_by: int = _CROWD) -> None:
        self.crowded = False
        self.alone = False
        self.crowd = crowd
        self.at_once = at_once
        self.most_let_by = most_let_by
        self._lock = threading.Lock()
        self._seats: Set[Seat] = set()
        self._watched: Dict[int, Seat] = {}
        self._queue: Deque[Seat] = deque()
        self._turns: Set[Seat] = set()  # those that have one
        self._let_by: Set[Seat] = set()
        self._napping = False  # the thread sleeps until nobody waits for a turn any more
        self._nap_over = Waker()
        self._epoll: Optional[select.epoll] = None
        self._wake: Optional[socket.socket] = None
        self._thread: Optional[threading.Thread] = None
        self._minds_forks = False

    def enter(self, fd: int) -> Seat:
        """Give a reader of a socket its place; to be followed by ``leave``."""
        seat = Seat(fd)
        self._mind_forks()
        with self._lock:
            self._seats.add(seat)
            self.alone = len(self._seats) == 1
            if len(self._seats) > self.crowd and _CAN_WATCH:
                self.crowded = True
        return seat

    def leave(self, seat: Seat) -> None:
        """Let a reader go, before its socket is closed. With the last that takes turns the thread ends. Idempotent."""
        with self._lock:
            if seat not in self._seats:
                return
            seat.take_aside = None
            self._let_by.discard(seat)
            thread = self._unwatch(seat)
            self._seats.discard(seat)
            self.alone = len(self._seats) == 1
            if len(self._seats) <= self.crowd // 2:
                self.crowded = False
        if thread is not None:
            thread.join(1.0)

    def unwatch(self, seat: Seat) -> None:
        """Let a reader that is awake wait inside ``recv`` as long as it likes, until it next waits for a turn."""
        with self._lock:
            self._recall(seat)
            thread = self._unwatch(seat)
        if thread is not None:
            thread.join(1.0)

    def lets_by(self, seat: Seat) -> bool:
        """Tell whether a reader may wait inside ``recv``, for ``PATIENCE`` at most; else it waits for its turn."""
        if seat.is_let_by:
            if not self._queue:
                return True
            seat.grace -= 1
            if seat.grace > 0 and len(self._queue) <= _BACKLOG:
                return True
        if seat.silent:
            seat.silent = False
            return False
        with self._lock:
            self._recall(seat)
            if not (self._queue or seat.alone or seat.barred) and len(self._let_by) < self.most_let_by:
                self._let_by.add(seat)
                self._unwatch(seat)
                seat.is_let_by = True
                seat.grace = _GRACE
        return seat.is_let_by

    def note_silence(self, seat: Seat) -> None:
        """Note that nothing has come to a reader that was let by: next it waits for its turn."""
        with self._lock:
            seat.silent = seat.is_let_by
            self._recall(seat)

    def bar(self, seat: Seat) -> None:
        """Let a reader by no more, as it cannot wait for a short while only."""
        with self._lock:
            seat.barred = True
            self._recall(seat)

    def wait(self, seat: Seat) -> bool:
        """Sleep until it is the calling thread's turn, or something may be there; false where it cannot wait here.

        Whatever happens, ``pass_on`` must follow.
        """
        with self._lock:
            if seat.alone or not (seat.watched or self._watch(seat)):
                return False
            if seat.news:
                seat.news = False
                return True
            seat.state = _ASLEEP
        seat.waker.wait(None)
        return True

    def expect(self, seat: Seat, take_aside: Callable[[], bool]) -> None:
        """Have ``take_aside`` called for the next bytes that come while the seat's reader sleeps.

        It is called once, while holding the lock, must not block, and has all to itself that is otherwise the reader's.
        Where it returns true the reader sleeps on.
        """
        with self._lock:
            if seat in self._seats:
                seat.take_aside = take_aside

    def pass_on(self, seat: Seat) -> None:
        """Give the turn to the next, if the calling thread has one; again, where an exception came out of it."""
        with self._lock:
            if seat.state == _QUEUED:
                seat.news = True  # an exception has woken it, or had: what came since it read was not noted
            seat.state = _AWAKE
            self._turns.discard(seat)
            if self._queue:
                self._next()
            if self._napping and not self._turns:
                self._nap_over.set()
                self._napping = False

    def _recall(self, seat: Seat) -> None:
        """Let a seat by no longer. Requires holding the lock."""
        seat.is_let_by = False
        self._let_by.discard(seat)

    def _mind_forks(self) -> None:
        """Let a forked child begin anew. Comes before the lock is first taken: the child may inherit it taken."""
        if not self._minds_forks and hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_renew_after_fork)
            self._minds_forks = True

    def _next(self) -> None:
        """Wake the next, as long as there are turns. Requires holding the lock.

        An exception may come out between any two steps: when this is called again, nobody has been forgotten.
        """
        while self._queue and len(self._turns) < self.at_once:
            seat = self._queue[0]
            if seat.state == _QUEUED:  # else an exception came when it was woken, or has woken it
                seat.waker.set()
                seat.state = _ITS_TURN
                self._turns.add(seat)
            self._queue.popleft()

    def _watch(self, seat: Seat) -> bool:
        """Have the kernel report a socket's arrivals, what is there already too. Requires holding the lock."""
        try:
            if self._epoll is None:
                self._start()
            assert self._epoll is not None
            # EPOLLPRI: before urgent data a read stops short (tcp(7)), and what is short is not all any more
            arrivals = select.EPOLLIN | select.EPOLLPRI | select.EPOLLRDHUP
            self._epoll.register(seat.fd, arrivals | select.EPOLLET)
        except (OSError, RuntimeError) as error:  # no descriptor or no thread can be had
            _logger.debug("a reader waits by itself: %s", error)
            seat.alone = True
            return False
        seat.watched = True
        self._watched[seat.fd] = seat
        return True

    def _unwatch(self, seat: Seat) -> Optional[threading.Thread]:
        """Forget a seat, if it is watched. Requires holding the lock.

        Where nobody takes turns any more, nor is let by, the thread ends, and is returned to be waited for. An
        exception may come out between any two steps: when this is called again, the rest is done.
        """
        if seat.watched:
            if self._watched.get(seat.fd) is seat:  # else a borrowed socket that its owner has closed: another has it
                assert self._epoll is not None
                with contextlib.suppress(OSError):  # the same, and nobody's
                    self._epoll.unregister(seat.fd)
                del self._watched[seat.fd]
            seat.watched = False
        thread = None
        if not self._watched and not self._let_by and self._wake is not None:
            self._nap_over.set()
            self._wake.send(b"\0")
            thread = self._thread
            self._epoll = self._wake = self._thread = None  # who comes now starts another
        return thread

    # -- the thread -------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        """Start the thread. Requires holding the lock."""
        with contextlib.ExitStack() as opened:
            wake, other_end = map(opened.enter_context, socket.socketpair())
            other_end.setblocking(False)
            epoll = opened.enter_context(select.epoll())
            epoll.register(wake, select.EPOLLIN)
            nap_over = Waker()
            thread = threading.Thread(
                target=self._run, args=(epoll, wake, other_end, nap_over), name="ezez-turnstile", daemon=True
            )
            start_thread(thread)
            opened.pop_all()
        self._epoll, self._wake, self._nap_over, self._thread = epoll, other_end, nap_over, thread

    def _run(self, epoll: "select.epoll", wake: socket.socket, other_end: socket.socket, nap_over: Waker) -> None:
        with epoll, wake, other_end:
            try:
                spread_sleepers()
                with self._lock:
                    goes_on = self._epoll is epoll  # else an exception came out of ``_start``
                while goes_on:
                    arrivals = epoll.poll()
                    with self._lock:
                        goes_on = self._epoll is epoll
                        naps = goes_on and self._let_queue(arrivals)
                    if naps:
                        nap_over.wait(None)
            except Exception:
                _logger.exception("an error in the turnstile: its readers wait by themselves")
                self._let_all_go(epoll)

    def _let_queue(self, arrivals: Sequence[Tuple[int, int]]) -> bool:
        """Deal with arrivals; tell whether to sleep until all have had their turn. Requires holding the lock."""
        self._note(arrivals)
        self._next()
        self._napping = bool(self._turns) and len(arrivals) > _NAP_AFTER
        return self._napping

    def _let_all_go(self, epoll: "select.epoll") -> None:
        with self._lock:
            if self._epoll is not epoll:
                return
            self._epoll = self._wake = self._thread = None
            self._turns.clear()
            seats = list(self._watched.values())
            self._watched.clear()
            self._queue.clear()
            for seat in seats:
                seat.alone, seat.watched = True, False
        for seat in seats:
            seat.waker.set()

    def _note(self, arrivals: Iterable[Tuple[int, int]]) -> None:
        """Let those whose bytes have come queue. Requires holding the lock."""
        for fd, events in arrivals:
            seat = self._watched.get(fd)
            if seat is None:
                continue  # the waking socket, or who has left meanwhile
            if events & ~select.EPOLLIN:
                seat.alone = True
            if seat.state == _ASLEEP:
                take_aside, seat.take_aside = seat.take_aside, None
                if take_aside is None or seat.alone or not take_aside():
                    seat.state = _QUEUED
                    self._queue.append(seat)
            elif seat.state != _QUEUED:
                seat.news = True


turnstile = Turnstile()


def _renew_after_fork() -> None:
    # the thread does not exist in a child, and the lock may be held by nobody for ever
    turnstile.__init__()  # type: ignore[misc]
    turnstile._minds_forks = True
