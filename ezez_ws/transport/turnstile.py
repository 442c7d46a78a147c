"""Lets the readers of many connections through one by one.

A thread that waits for CPython's global lock wakes every few milliseconds to ask for it. With thousands of threads
whose bytes have come, that alone keeps a machine busy. So when there are many connections, their threads do not wait
inside ``recv``: each sleeps on a waker of its own, one thread (``ezez-turnstile``) asks the kernel which sockets have
something, and wakes the first. Who is woken has *the turn*: it reads, without blocking, passes the turn on to the next,
and only then goes on with what it has read. So the others' bytes wait in the kernel, and user code, which may block,
holds nobody up. Linux only (``epoll``); elsewhere, and with few connections, threads wait inside ``recv``.

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
from typing import Deque, Dict, Iterable, Optional, Sequence, Set, Tuple

from ..threads import start_thread
from ..waker import Waker
from .futexes import spread_sleepers

__all__ = ["Seat", "Turnstile", "turnstile"]

_logger = logging.getLogger("ezez_ws.turnstile")

_CROWD = 150
"""So many readers get along without turns."""

_NAP_AFTER = 8  # arrivals at a time: then the turnstile's thread sleeps until all of them have had their turn

_CAN_WATCH = hasattr(select, "epoll")

_AWAKE, _ASLEEP, _QUEUED, _ITS_TURN = range(4)


class Seat:
    """A reader's place. Everything but ``waker`` is guarded by the turnstile's lock; its reader looks at ``watched``
    without it, too.

    ``watched``: the kernel reports its arrivals. ``alone``: it waits by itself, as its peer has ended and reading does
    not block any more, or has sent urgent data, or as its socket cannot be watched.
    """

    __slots__ = ("alone", "fd", "news", "state", "waker", "watched")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.state = _AWAKE
        self.news = False
        self.alone = False
        self.watched = False
        self.waker = Waker()


class Turnstile:
    """Who waits for bytes, and whose turn it is.

    ``_lock`` guards every field; nothing else is locked under it. Any thread may call any method; a seat is used by one
    thread at a time. With more than ``crowd`` readers they take turns, until half of those are left. ``crowded`` is
    read without the lock, too: a late view of it costs time only. ``_minds_forks`` is set without it: to do so twice
    does no harm.
    """

    def __init__(self, crowd: int = _CROWD) -> None:
        self.crowded = False
        self.crowd = crowd
        self._lock = threading.Lock()
        self._seats: Set[Seat] = set()
        self._watched: Dict[int, Seat] = {}
        self._queue: Deque[Seat] = deque()
        self._turn: Optional[Seat] = None
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
            if len(self._seats) > self.crowd and _CAN_WATCH:
                self.crowded = True
        return seat

    def leave(self, seat: Seat) -> None:
        """Let a reader go, before its socket is closed. With the last that was watched, the thread ends. Idempotent."""
        with self._lock:
            if seat not in self._seats:
                return
            thread = self._unwatch(seat)
            self._seats.discard(seat)
            if len(self._seats) <= self.crowd // 2:
                self.crowded = False
        if thread is not None:
            thread.join(1.0)

    def unwatch(self, seat: Seat) -> None:
        """Let a reader that is awake wait inside ``recv`` again, until it next waits for a turn."""
        with self._lock:
            thread = self._unwatch(seat)
        if thread is not None:
            thread.join(1.0)

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

    def pass_on(self, seat: Seat) -> None:
        """Give the turn to the next, if the calling thread has it; again, where an exception came out of it."""
        with self._lock:
            if seat.state == _QUEUED:
                seat.news = True  # an exception has woken it, or had: what came since it read was not noted
            seat.state = _AWAKE
            if self._turn is seat:
                self._next()
            if self._turn is None and self._napping:
                self._nap_over.set()
                self._napping = False

    def _mind_forks(self) -> None:
        """Let a forked child begin anew. Comes before the lock is first taken: the child may inherit it taken."""
        if not self._minds_forks and hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_renew_after_fork)
            self._minds_forks = True

    def _next(self) -> None:
        """Wake the next, who has the turn then. Requires holding the lock.

        Who is woken stays the first in the queue until it passes the turn on. So an exception may come out between any
        two steps: when this is called again, nobody has been forgotten.
        """
        while self._queue:
            seat = self._queue[0]
            if seat.state == _QUEUED:  # else it has had its turn, or an exception has woken it
                seat.waker.set()
                seat.state = _ITS_TURN
                self._turn = seat
                return
            self._queue.popleft()
        self._turn = None

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
        """Forget a seat, if it is watched; return the thread where it ends with that. Requires holding the lock.

        An exception may come out between any two steps: when this is called again, the rest is done.
        """
        if not seat.watched:
            return None
        if self._watched.get(seat.fd) is seat:  # else a borrowed socket that its owner has closed: it is another's now
            assert self._epoll is not None
            with contextlib.suppress(OSError):  # the same, and nobody's
                self._epoll.unregister(seat.fd)
            del self._watched[seat.fd]
        thread = None
        if not self._watched and self._wake is not None:
            self._nap_over.set()
            self._wake.send(b"\0")
            thread = self._thread
            self._epoll = self._wake = self._thread = None  # who comes now starts another
        seat.watched = False
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
        if self._turn is None:
            self._next()
        self._napping = self._turn is not None and len(arrivals) > _NAP_AFTER
        return self._napping

    def _let_all_go(self, epoll: "select.epoll") -> None:
        with self._lock:
            if self._epoll is not epoll:
                return
            self._epoll = self._wake = self._thread = self._turn = None
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
                seat.state = _QUEUED
                self._queue.append(seat)
            elif seat.state != _QUEUED:
                seat.news = True


turnstile = Turnstile()


def _renew_after_fork() -> None:
    # the thread does not exist in a child, and the lock may be held by nobody for ever
    turnstile.__init__()  # type: ignore[misc]
    turnstile._minds_forks = True
