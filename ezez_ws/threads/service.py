"""What a process needs one thread for, at most, and only at times: the flusher, the read gate, the janitor.

The thread starts when it is first needed, and ends when nobody needs it any more; who comes then starts another. It is
the service's thread as long as ``Service._thread`` is it. One that is not ends by itself, and gives back what it sleeps
on: it has been dismissed, or an exception has interrupted its start. So a service has two threads only while one of
them is on its way out, and that one touches nothing of the service's.
"""

import threading
from collections.abc import Callable, Iterable
from typing import ClassVar, Generic, Protocol, TypeVar

from ..logs import logger
from .interrupted import make_lock
from .starting import start_thread

__all__ = ["Service", "Sleep"]


class Sleep(Protocol):
    """What a thread sleeps on. It is woken under the service's lock, which must not block."""

    def wake(self) -> None:
        """Wake the thread, now or when it next sleeps."""

    def close(self) -> None:
        """Give back what it takes. Idempotent."""


S = TypeVar("S", bound=Sleep)


class _Thread(threading.Thread, Generic[S]):
    def __init__(self, run: Callable[[S], None], sleep: S, name: str) -> None:
        super().__init__(target=run, args=(sleep,), name=name, daemon=True)
        self.sleep = sleep


class Service(Generic[S]):
    """Work for one daemon thread; a subclass says which.

    ``_lock`` guards every field, those of subclasses too where they do not say otherwise; it is a leaf: nothing else is
    locked under it. ``_run`` and ``_work`` are the thread's; every other method here requires holding the lock.
    """

    name: ClassVar[str]  # the thread's

    def __init__(self) -> None:
        self._lock = make_lock()
        self._thread: _Thread[S] | None = None

    def _make_sleep(self) -> S:
        """Make what a new thread sleeps on."""
        raise NotImplementedError

    def _work(self, sleep: S) -> None:
        """Do the work, until ``_is_dismissed``, which is to be looked at after each sleep."""
        raise NotImplementedError

    def _give_up(self) -> Iterable[Callable[[], object]]:
        """Let go of those who rely on the thread, as an error has ended it; return what to call without the lock."""
        return ()

    def _need_thread(self) -> S:
        """Start the thread if there is none, and return what it sleeps on.

        ``OSError``: no descriptor can be had; ``RuntimeError``: no thread can be had.
        """
        if self._thread is None:
            self._start()
        assert self._thread is not None
        return self._thread.sleep

    def _dismiss(self) -> threading.Thread | None:
        """Let the thread end; return it, to be waited for without the lock. To be called again after an exception."""
        thread = self._thread
        if thread is not None:
            thread.sleep.wake()
            self._thread = None
        return thread

    def _is_dismissed(self) -> bool:
        """Tell the calling thread whether it is to end."""
        return self._thread is not threading.current_thread()

    def begin_anew(self) -> None:
        """Forget the parent's thread, users and lock: a forked child's, which alone may call it."""
        thread = self._thread
        self.__init__()  # type: ignore[misc]
        if thread is not None:
            thread.sleep.close()

    def _start(self) -> None:
        sleep: S | None = None
        try:
            sleep = self._make_sleep()
            thread = _Thread(self._run, sleep, self.name)
            start_thread(thread)
            self._thread = thread
        except BaseException:  # the thread, if it runs, finds that it is not wanted
            if sleep is not None:
                sleep.close()
            raise

    def _run(self, sleep: S) -> None:
        try:
            with self._lock:
                unwanted = self._is_dismissed()
            if not unwanted:
                self._work(sleep)
        except BaseException:
            logger.exception("an error has ended the thread %s", self.name)
            with self._lock:
                acts = () if self._is_dismissed() else self._give_up()
                if not self._is_dismissed():
                    self._thread = None
            for act in acts:
                act()
        finally:
            sleep.close()
