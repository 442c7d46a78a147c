"""Tells the user of a cluster what changes, on a thread of its own: ``on_member`` and ``on_cluster``, one at a time."""

import logging
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from ..logs import cluster_logger, limited, name_of
from ..threads.deadline import NEVER, Deadline
from ..threads.interrupted import calls_user_code
from ..threads.starting import join_thread, start_thread
from ..threads.waiting import Condition
from .audience import Member

__all__ = ["Teller"]

_MOST = 10_000  # changes that wait; past them it is told that some were left out
_LEFT_OUT = "changes were left out: read members anew"


class Teller:
    """The callbacks that wait, and their thread, where there is any callback.

    ``_condition.lock``, a leaf, guards every field; any thread may call any method. Nothing is told after ``close``.
    """

    def __init__(
        self, on_member: Callable[[str, Member], Any] | None, on_cluster: Callable[[str, str], Any] | None
    ) -> None:
        self._on_member = on_member
        self._on_cluster = on_cluster
        self._condition = Condition()
        self._acts: deque[Callable[[], object]] = deque()
        self._waiting: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()
        self._overflown = False
        self._closed = False
        self.thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, if there is anybody to tell."""
        if self._on_member is not None or self._on_cluster is not None:
            self.thread = self._make_thread()
            start_thread(self.thread)

    def close(self, deadline: Deadline = NEVER) -> None:
        """End the thread, when the callback that it runs has returned, and wait for it, unless called on it."""
        with self._condition.lock:
            self._closed = True
            self._waiting.clear()
            self._condition.changed()
        if self.thread is not None and self.thread is not threading.current_thread():
            join_thread(self.thread, deadline.remaining())
        while self._acts:  # nobody else will
            self._acts.popleft()()

    def tell_member(self, change: str, member: Member) -> None:
        """Have ``on_member`` called, if there is one."""
        if self._on_member is not None:
            self._put(self._on_member, change, member)

    def tell_cluster(self, change: str, detail: str) -> None:
        """Have ``on_cluster`` called, if there is one."""
        if self._on_cluster is not None:
            self._put(self._on_cluster, change, detail)

    def do(self, act: Callable[[], object]) -> None:
        """Have something done on the thread, which is started for it, if need be; at once where it has been closed."""
        with self._condition.lock:
            closed, thread = self._closed, None
            if not closed:
                self._acts.append(act)
                self._condition.changed()
                if self.thread is None:
                    self.thread = thread = self._make_thread()
        if closed:
            act()
        elif thread is not None:
            start_thread(thread)

    def _make_thread(self) -> threading.Thread:
        return threading.Thread(target=self._run, name="ezez-backplane-calls", daemon=True)

    def _put(self, callback: Callable[..., Any], *args: Any) -> None:
        overflows = False
        with self._condition.lock:
            if self._closed:
                return
            if len(self._waiting) < _MOST:
                self._waiting.append((callback, args))
                self._overflown = False
            elif not self._overflown:
                self._overflown = overflows = True
                if self._on_cluster is not None:
                    self._waiting.append((self._on_cluster, ("overflow", _LEFT_OUT)))
            self._condition.changed()
        if overflows:
            cluster_logger.warning("overflow: %s", _LEFT_OUT)

    def _run(self) -> None:
        while True:
            self._condition.wait_for(lambda: self._acts or self._waiting or self._closed or None, NEVER)
            with self._condition.lock:
                if self._closed:
                    return
                act = self._acts.popleft() if self._acts else partial(self._call, *self._waiting.popleft())
            act()
            del act  # and what it holds

    @calls_user_code
    def _call(self, callback: Callable[..., Any], args: tuple[Any, ...]) -> None:
        try:
            callback(*args)
        except BaseException as error:
            text, name = "an error in %s (%s)", name_of(callback)
            which = "on_member" if callback is self._on_member else "on_cluster"
            limited.tell(logging.ERROR, (which, type(error)), text, which, name, exc_info=error)
