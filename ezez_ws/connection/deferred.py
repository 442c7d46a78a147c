"""What is done a moment later, because whoever wants it has interrupted a change of the same connection.

That is a signal handler, or a destructor; see ``threads/interrupted.py``. What it wants is done by the interrupted
thread when it has sent what it was sending, else by the janitor, or by the next who sends: nothing overtakes it.
"""

from collections import deque
from collections.abc import Callable

from ..websocket.stream import Stream
from .inbox import Inbox

__all__ = ["Deferring"]

_SOON = 0.01  # seconds after which the janitor looks
_RETRY = 0.05  # seconds between two looks at whether there is room
_MOST = 1000  # actions


class Deferring:
    """The actions that wait, on one connection. Any thread may call any method.

    ``deferred`` is changed by ``deque``'s own methods, under ``stream.sending`` but for ``append``. Under that lock the
    actions are done, too; so they may take what a sender takes, and the locks of the flusher and the janitor.
    """

    stream: Stream
    inbox: Inbox
    deferred: deque[Callable[[], bool]] | None = None

    def call_later(self, delay: float, action: Callable[[], object]) -> None:
        """Have the janitor run a method in ``delay`` seconds."""
        raise NotImplementedError

    def is_interrupted(self) -> bool:
        """Tell whether the calling thread holds a lock of this connection already: it is in the middle of a change."""
        return self.stream.sending._is_owned() or self.inbox.lock._is_owned()

    def defer(self, action: Callable[[], bool]) -> None:
        """Have an action done soon; it must not wait, and returns whether it is done, else it is tried again.

        ``RuntimeError``: too many wait already.
        """
        deferred = self.deferred
        if deferred is None:
            deferred = self.deferred = deque()
        if len(deferred) >= _MOST:
            raise RuntimeError(f"{_MOST} messages of signal handlers wait already for this connection")
        deferred.append(action)
        self.call_later(_SOON, self._look_at_deferred)

    def do_deferred(self, wait: bool = True) -> None:
        """Do what waits, in order, but not in the middle of a change. ``wait``: for the lock, where another has it."""
        if not self.deferred or self.is_interrupted():
            return
        if not self.stream.sending.acquire(wait):
            self.call_later(_SOON, self._look_at_deferred)
            return
        try:
            while self.deferred:
                action = self.deferred.popleft()
                if not action():
                    self.deferred.appendleft(action)
                    self.call_later(_RETRY, self._look_at_deferred)
                    break
        finally:
            self.stream.sending.release()

    def _look_at_deferred(self) -> None:
        self.do_deferred(wait=False)
