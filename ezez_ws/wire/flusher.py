"""One thread a process that writes out what slow peers could not take at once.

It starts when the first outbox has something left over, and ends when the last outbox that ever had is closed. Only
that thread touches the selector; others tell it by ``_joining`` and ``_leaving`` and wake it through a socket.
"""

import selectors
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from ..logs import logger
from ..threads.fork import after_fork_in_child
from ..threads.service import Service
from ..threads.starting import join_thread
from ..threads.waiting import Event
from .poller import Poller

if TYPE_CHECKING:
    from ..websocket.outbox import Outbox

__all__ = ["Flusher", "flusher"]


class Flusher(Service[Poller]):
    """Watches outboxes for room in their sockets.

    ``watch`` and ``forget`` may be called from any thread that holds no outbox's lock.
    """

    name = "ezez-flusher"

    def __init__(self) -> None:
        super().__init__()
        self._users: set[Outbox] = set()
        self._joining: set[Outbox] = set()
        self._leaving: dict[Outbox, Event] = {}

    def watch(self, outbox: "Outbox") -> None:
        """Go on writing for an outbox until it is empty. Idempotent; raises where no thread can be started."""
        with self._lock:
            if outbox.retired:
                return
            poller = self._need_thread()
            self._users.add(outbox)
            self._joining.add(outbox)
            poller.wake()

    def forget(self, outbox: "Outbox") -> None:
        """Let go of an outbox, before its descriptor is closed; returns when the thread has."""
        with self._lock:
            outbox.retired = True
            if outbox not in self._users:
                return
            self._users.discard(outbox)
            self._joining.discard(outbox)
            gone = self._leaving[outbox] = Event()
            thread = self._thread
            assert thread is not None
            last = not self._users
            thread.sleep.wake()
        gone.wait()
        if last:
            join_thread(thread, 1.0)  # it may have found a new user meanwhile, and go on

    # -- the thread -------------------------------------------------------------------------------------------------

    def _make_sleep(self) -> Poller:
        return Poller(selectors.DefaultSelector, selectors.EVENT_READ)

    def _work(self, sleep: Poller) -> None:
        selector = sleep.selector
        while self._update(selector):
            for key, _ in selector.select():
                outbox = key.data
                if outbox is None:
                    sleep.hush()
                elif self._flush(outbox):
                    selector.unregister(key.fd)

    def _flush(self, outbox: "Outbox") -> bool:
        try:
            return outbox.flush()
        except Exception:  # its connection has been cut for that; the others must go on
            logger.exception("an error while writing")
            return True

    def _update(self, selector: selectors.BaseSelector) -> bool:
        """Let in who joins and out who leaves; false, and no thread any more, where nobody is left."""
        with self._lock:
            watched = selector.get_map()
            while self._leaving:  # no loop over it: a destructor may run at any place, and send
                outbox, gone = self._leaving.popitem()
                if outbox.fileno() in watched:
                    selector.unregister(outbox.fileno())
                gone.set()
            while self._joining:
                outbox = self._joining.pop()
                if outbox.fileno() not in watched:
                    selector.register(outbox.fileno(), selectors.EVENT_WRITE, outbox)
            if not self._users:
                self._thread = None
            return bool(self._users)

    def _give_up(self) -> Iterable[Callable[[], object]]:
        """Cut who cannot be written for, and let go who leaves."""
        acts = [*(outbox.cut for outbox in self._users), *(gone.set for gone in self._leaving.values())]
        self._users.clear()
        self._joining.clear()
        self._leaving.clear()
        return acts


flusher = Flusher()
after_fork_in_child(flusher.begin_anew)
