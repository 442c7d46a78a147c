"""Checks the lock rules of the library while tests run it.

Within ``checking()`` each lock that the library makes is one of ours. It knows its role (``Inbox.lock``), and each
thread knows which ones it holds. A violation is noted, with the stack, when

    a lock is taken inside another, but for the pairs in ``ALLOWED`` and below ``OUTERMOST``
    a lock is held while user code runs (what went through ``Checker.user_code``)
    user code runs on a thread that serves the whole process
    a lock is held while the thread may block: in a socket, ``poll``, ``Event.wait``, joining a thread

Locks inside the library's ``threading.Condition``s are ours, too; those in an ``Event`` are no mutexes, and
stay.
"""

import contextlib
import functools
import linecache
import re
import socket
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from ezez_ws.threads.interrupted import interrupts_library, make_lock
from ezez_ws.threads.service import Service
from ezez_ws.threads.starting import start_thread
from ezez_ws.threads.timers import janitor
from ezez_ws.threads.waiting import Event
from ezez_ws.wire.flusher import flusher
from ezez_ws.wire.read_gate import read_gate
from ezez_ws.wire.sockets import SocketWire

__all__ = ["CheckedLock", "Checker", "checking"]

ALLOWED = {
    ("Outbox.lock", "Inbox.lock"),
    ("TLSWire.lock", "Inbox.lock"),
    ("TLSSocketWire.lock", "Inbox.lock"),
    ("Clients.order", "Outbox.lock"),
    ("Clients.order", "TLSWire.lock"),
    ("Clients.order", "TLSSocketWire.lock"),
    ("Clients.order", "Inbox.lock"),
    ("Clients.order", "Hub._lock"),
    ("Clients.order", "Publisher._lock"),
    ("Inbox.lock", "Answering._lock"),
    ("Inbox.lock", "Publisher._lock"),
    ("Inbox.lock", "Condition.lock"),
}
"""The first is held while the second is taken."""

OUTERMOST = {"EZEZWebsocketServer.__starting"}
"""Held while a server starts, over all that this takes, and over waiting for the end of its last run."""

REENTERED = {"Context.__lock", "TLSWire.lock", "TLSSocketWire.lock"}
"""Taken by a thread that holds it; all others are re-entrant for signal handlers only."""

NO_MUTEX = {"Event._lock"}

SERVICES = (flusher, janitor, read_gate)
"""Their threads are shared by all connections, and run nothing of the user's."""

_real_lock = threading.Lock
_real_rlock = threading.RLock
_DONTWAIT = getattr(socket, "MSG_DONTWAIT", 0)


class Checker:
    """What is noted: ``violations``, and ``seen``, the nestings that are allowed and have come."""

    def __init__(self) -> None:
        self.violations: deque[str] = deque()
        self.seen: set[tuple[str, str]] = set()
        self.taken: set[str] = set()
        self._local = threading.local()

    def held(self) -> list["CheckedLock"]:
        """The locks that the calling thread holds, the first one taken first."""
        held: list[CheckedLock] | None = getattr(self._local, "held", None)
        if held is None:
            held = self._local.held = []
        return held

    def user_code(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a callback, a listener, or a codec's function."""

        @functools.wraps(function)
        def run(*args: Any, **options: Any) -> Any:
            self.forbid("user code runs")
            if threading.current_thread().name in [service.name for service in SERVICES]:
                self.note(f"user code runs on the thread {threading.current_thread().name}")
            elif interrupts_library():
                self.note("user code is taken for a signal handler: mark its caller with @calls_user_code")
            return function(*args, **options)

        return run

    def forbid(self, what: str) -> None:
        """Note a violation where the calling thread holds a lock; a ``Context``'s may be held over user code."""
        held = [lock.role for lock in self.held() if lock.role not in OUTERMOST and lock.role != "Context.__lock"]
        if held:
            self.note(f"{what} while {held} held")

    def note(self, text: str) -> None:
        self.violations.append(f"{text}\n{''.join(traceback.format_stack(sys._getframe(2), 8))}")

    def before_taking(self, lock: "CheckedLock") -> None:
        for other in self.held():
            pair = (other.role, lock.role)
            if other is lock and lock.role not in REENTERED:
                self.note(f"{lock.role} taken twice")
            elif other is not lock and other.role not in OUTERMOST:
                if pair in ALLOWED:
                    self.seen.add(pair)
                else:
                    self.note(f"{lock.role} taken while {other.role} held")


class CheckedLock:
    """A ``threading.Lock``, or with ``reentrant`` an ``RLock``, that tells its checker."""

    def __init__(self, checker: Checker, role: str, reentrant: bool = False) -> None:
        self._checker = checker
        self.role = role
        self._lock = _real_rlock() if reentrant else _real_lock()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if blocking:
            self._checker.before_taking(self)
        taken = self._lock.acquire(blocking, timeout)
        if taken:
            self._checker.held().append(self)
            self._checker.taken.add(self.role)
        return taken

    def release(self) -> None:
        held = self._checker.held()
        if self not in held:
            self._checker.note(f"{self.role} released by a thread that does not hold it")
        else:
            held.reverse()
            held.remove(self)
            held.reverse()
        self._lock.release()

    def locked(self) -> bool:
        return self._lock.locked()  # type: ignore[union-attr]

    def _is_owned(self) -> bool:
        return self in self._checker.held()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<CheckedLock {self.role}>"


@contextlib.contextmanager
def checking() -> Iterator[Checker]:
    """Check all that is made meanwhile, and the locks of modules; nothing of the library may run before or after."""
    checker = Checker()
    with contextlib.ExitStack() as undo:
        _check_new_locks(checker, undo)
        _check_module_locks(checker, undo)
        _check_blocking(checker, undo)
        yield checker


def _patch(undo: contextlib.ExitStack, target: Any, name: str, value: Any) -> None:
    if name in vars(target):
        undo.callback(setattr, target, name, vars(target)[name])
    else:
        undo.callback(delattr, target, name)
    setattr(target, name, value)


def _check_new_locks(checker: Checker, undo: contextlib.ExitStack) -> None:
    def make(real: Callable[[], Any], reentrant: bool) -> Any:
        role = _role(sys._getframe(2))
        return real() if role is None or role in NO_MUTEX else CheckedLock(checker, role, reentrant)

    _patch(undo, threading, "Lock", lambda: make(_real_lock, False))
    _patch(undo, threading, "RLock", lambda: make(_real_rlock, True))


def _role(frame: FrameType) -> str | None:
    """Name the attribute that the library's code is about to set; ``None`` for other code."""
    if frame.f_code is make_lock.__code__:
        assert frame.f_back is not None
        frame = frame.f_back
    if not frame.f_globals.get("__name__", "").startswith("ezez_ws"):
        return None
    line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
    match = re.search(r"self\.(\w+)(?:: \w+)? = (?:threading\.R?Lock|make_lock)\(\)", line)
    if match is None:
        raise AssertionError(f"which lock is this? {line.strip()!r}")
    kinds = type(frame.f_locals["self"]).__mro__
    owner = next(kind for kind in kinds if _defines(kind, frame))
    if owner is Service:
        owner = kinds[0]  # each has a lock of its own
    return f"{owner.__name__}.{match[1]}"


def _defines(kind: type, frame: FrameType) -> bool:
    function = vars(kind).get(frame.f_code.co_name)
    return getattr(function, "__code__", None) is frame.f_code


def _check_module_locks(checker: Checker, undo: contextlib.ExitStack) -> None:
    for name, module in list(sys.modules.items()):
        if name.startswith("ezez_ws"):
            for attribute, value in list(vars(module).items()):
                if isinstance(value, (type(_real_lock()), type(_real_rlock()))):
                    role = f"{name.rpartition('.')[2]}.{attribute}"
                    _patch(undo, module, attribute, CheckedLock(checker, role))
    for service in SERVICES:
        _patch(undo, service, "_lock", CheckedLock(checker, f"{type(service).__name__}._lock"))


def _check_blocking(checker: Checker, undo: contextlib.ExitStack) -> None:
    def before(target: Any, name: str, what: str, blocks: Callable[..., bool]) -> None:
        real = getattr(target, name)

        @functools.wraps(real)
        def call(*args: Any, **options: Any) -> Any:
            if blocks(*args, **options):
                checker.forbid(what)
            return real(*args, **options)

        _patch(undo, target, name, call)

    def by_flags(sock: socket.socket, data: Any, flags: int = 0) -> bool:
        return sock.gettimeout() != 0 and not flags & _DONTWAIT

    def by_mode(sock: socket.socket, *_: Any) -> bool:
        return sock.gettimeout() != 0

    def from_library(*_: Any, **__: Any) -> bool:
        caller: str = sys._getframe(2).f_globals.get("__name__", "")
        return caller.startswith("ezez_ws")

    before(socket.socket, "recv", "recv() may block", by_flags)
    before(socket.socket, "send", "send() may block", by_flags)
    for name in ("sendall", "connect", "recv_into"):
        before(socket.socket, name, f"{name}() may block", by_mode)
    before(SocketWire, "_read_alone", "recv() may block", lambda wire, size: True)
    before(SocketWire, "poll", "poll() may block", lambda wire, read, write, timeout: timeout != 0)

    def for_long(_: Any, timeout: float | None = None) -> bool:
        starting = sys._getframe(2).f_code is start_thread.__code__  # a moment, as with Thread.start
        return timeout != 0 and not starting

    before(Event, "wait", "Event.wait() may block", for_long)
    before(threading.Event, "wait", "Event.wait() may block", from_library)
    before(threading.Thread, "join", "Thread.join() may block", from_library)
