"""What is done a moment later, because whoever wants it has interrupted a change of the same connection.

That is a signal handler, or a destructor; see ``threads/interrupted.py``. What it wants is done by the interrupted
thread when it has sent what it was sending, else by the janitor, or by the next who sends: nothing overtakes it.
"""

from collections import deque
from collections.abc import Callable

from ..threads.interrupted import interrupts_library
from ..websocket.stream import Stream
from .inbox import Inbox

__all__ = ["Deferring"]

_SOON = 0.01  # seconds after which the janitor looks
_RETRY = 0.05  # seconds between two looks at whether there is room
_MOST = 1000  # actions

Action = Callable[[], bool]


class Deferring:
    """The actions that wait, on one connection. Any thread may call any method.

    ``deferred`` has each action, and what tells whether it is still to be done where an exception has come out of it.
    It is changed by ``deque``'s own steps, under ``stream.sending`` but for ``append``. Under that lock the actions are
    done, too; so they may take what a sender takes, and the locks of the flusher, the janitor and the read gate. One
    that is being done keeps its place meanwhile: who finds nothing there may wait for the lock.
    """

    stream: Stream
    inbox: Inbox
    deferred: deque[tuple[Action, Action]] | None = None

    def call_later(self, delay: float, action: Callable[[], object]) -> None:
        """Have the janitor run a method in ``delay`` seconds."""
        raise NotImplementedError

    def is_interrupted(self) -> bool:
        """Tell whether the calling thread is in the middle of a change, which holds a lock of this connection.

        While something is deferred, of any change of ours: who does that may wait for a lock that the other holds.
        """
        if self.stream.sending._is_owned() or self.inbox.lock._is_owned():
            return True
        return bool(self.deferred) and interrupts_library()

    def defer(self, action: Action, is_undone: Action = bool, urgent: bool = False) -> None:
        """Have an action done soon; it must not wait, and returns whether it is done, else it is tried again.

        ``is_undone``: whether it must be done again where an exception comes out of it. ``RuntimeError``: too many wait
        already; but not where it is ``urgent``, as the connection's end is.
        """
        deferred = self.deferred
        if deferred is None:
            deferred = self.deferred = deque()
        if len(deferred) >= _MOST and not urgent:
            raise RuntimeError(f"{_MOST} messages of signal handlers wait already for this connection")
        deferred.append((action, is_undone))
        self.call_later(_SOON, self._look_at_deferred)

    def do_deferred(self) -> None:
        """Do what waits, in order, but not in the middle of a change."""
        if self.deferred and not self.is_interrupted():
            with self.stream.sending:
                self._do_all()

    def _look_at_deferred(self) -> None:
        """Do what waits, unless another thread is sending. The janitor's, on whose thread no handler can raise."""
        if not self.deferred:
            return
        if not self.stream.sending.acquire(False):
            self.call_later(_SOON, self._look_at_deferred)
            return
        try:
            self._do_all()
        finally:
            self.stream.sending.release()

    def _do_all(self) -> None:
        """Requires holding ``stream.sending``."""
        while self.deferred:
            first = self.deferred[0]
            self.deferred[0] = _DONE  # over an exception, too, it is not done twice
            action, is_undone = first
            try:
                done = action()
            except BaseException:
                if is_undone():
                    self.deferred[0] = first
                raise
            if not done:
                self.deferred[0] = first
                self.call_later(_RETRY, self._look_at_deferred)
                break
            self.deferred.popleft()


def _do_nothing() -> bool:
    return True


_DONE = (_do_nothing, bool)
