"""One thread a process that writes out what slow peers could not take at once.

It starts when the first outbox has something left over, and ends when the last outbox that ever had is closed. Only
that thread touches the selector; others tell it by ``_joining`` and ``_leaving`` and wake it through a socket.
"""

import contextlib
import logging
import os
import selectors
import socket
import threading
from typing import TYPE_CHECKING

from ..threads.starting import start_thread
from ..threads.waiting import Event

if TYPE_CHECKING:
    from ..websocket.outbox import Outbox

__all__ = ["Flusher", "flusher"]

_logger = logging.getLogger("ezez_ws.flusher")


class Flusher:
    """Watches outboxes for room in their sockets.

    ``_lock`` guards every field; nothing else is locked under it. ``watch`` and ``forget`` may be called from any
    thread that holds no outbox's lock. ``_minds_forks`` is set without it: to do so twice does no harm.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users: set[Outbox] = set()
        self._joining: set[Outbox] = set()
        self._leaving: dict[Outbox, Event] = {}
        self._wake: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._minds_forks = False

    def watch(self, outbox: "Outbox") -> None:
        """Go on writing for an outbox until it is empty. Idempotent; raises where no thread can be started."""
        self._mind_forks()
        with self._lock:
            if outbox.retired:
                return
            if self._thread is None:
                self._start()
            self._users.add(outbox)
            self._joining.add(outbox)
            self._poke()

    def forget(self, outbox: "Outbox") -> None:
        """Let go of an outbox, before its descriptor is closed; returns when the thread has."""
        self._mind_forks()
        with self._lock:
            outbox.retired = True
            if outbox not in self._users:
                return
            self._users.discard(outbox)
            self._joining.discard(outbox)
            gone = self._leaving[outbox] = Event()
            thread = self._thread
            last = not self._users
            self._poke()
        gone.wait()
        if last and thread is not None:
            thread.join(1.0)  # it may have found a new user meanwhile, and go on

    def _mind_forks(self) -> None:
        """Let a forked child begin anew. Comes before the lock is first taken: the child may inherit it taken."""
        if not self._minds_forks and hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_renew_after_fork)
            self._minds_forks = True

    def _start(self) -> None:
        """Start the thread. Requires holding the lock."""
        with contextlib.ExitStack() as opened:
            wake, other_end = map(opened.enter_context, socket.socketpair())
            wake.setblocking(False)
            other_end.setblocking(False)
            selector = opened.enter_context(selectors.DefaultSelector())
            thread = threading.Thread(
                target=self._run, args=(selector, wake, other_end), name="ezez-flusher", daemon=True
            )
            self._wake, self._thread = other_end, thread
            try:
                start_thread(thread)
            except BaseException:
                if thread.ident is None:
                    self._wake = self._thread = None
                else:  # Ctrl-C came when it ran already
                    opened.pop_all()
                raise
            opened.pop_all()

    def _poke(self) -> None:
        if self._wake is not None:
            try:
                self._wake.send(b"\0")
            except BlockingIOError:
                pass  # it is full of wake-ups that nobody has read yet

    def _run(self, selector: selectors.BaseSelector, wake: socket.socket, other_end: socket.socket) -> None:
        with selector, wake, other_end:
            selector.register(wake, selectors.EVENT_READ)
            while self._update(selector):
                for key, _ in selector.select():
                    outbox = key.data
                    if outbox is None:
                        wake.recv(4096)
                    elif self._flush(outbox):
                        selector.unregister(key.fd)

    def _flush(self, outbox: "Outbox") -> bool:
        try:
            return outbox.flush()
        except Exception:  # its connection has been cut for that; the others must go on
            _logger.exception("an error while writing")
            return True

    def _update(self, selector: selectors.BaseSelector) -> bool:
        """Let in who joins and out who leaves; false, and no thread any more, where nobody is left."""
        with self._lock:
            watched = selector.get_map()
            for outbox, gone in self._leaving.items():
                if outbox.fileno() in watched:
                    selector.unregister(outbox.fileno())
                gone.set()
            self._leaving.clear()
            for outbox in self._joining:
                if outbox.fileno() not in watched:
                    selector.register(outbox.fileno(), selectors.EVENT_WRITE, outbox)
            self._joining.clear()
            if self._users:
                return True
            self._wake = self._thread = None
            return False


flusher = Flusher()


def _renew_after_fork() -> None:
    # the thread does not exist in a child, and the lock may be held by nobody for ever
    flusher.__init__()  # type: ignore[misc]
    flusher._minds_forks = True
