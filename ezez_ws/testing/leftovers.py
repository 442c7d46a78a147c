"""What a test has left behind: threads, sockets, and messages whose reply is still awaited."""

import contextlib
import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from ..connection.connection import Connection
from ..logs import name_of, shown, shown_address

__all__ = ["awaited_replies", "connections_of", "describe_socket", "open_sockets", "sockets_left", "threads_left"]

T = TypeVar("T")

_FOLDERS = ("/proc/self/fd", "/dev/fd")  # of Linux, and of the BSDs and macOS


def threads_left(before: set[threading.Thread], ezez_grace: float, other_grace: float) -> list[threading.Thread]:
    """The threads that run now and are not in ``before``, after giving them a moment to end."""
    start = time.monotonic()

    def may_end(thread: threading.Thread) -> bool:
        return time.monotonic() < start + (ezez_grace if thread.name.startswith("ezez-") else other_grace)

    while True:  # and not by join, which one that is just being started cannot have
        found = [thread for thread in threading.enumerate() if thread not in before]
        if not any(thread is not threading.current_thread() and may_end(thread) for thread in found):
            return found
        time.sleep(0.001)


def open_sockets() -> dict[int, int]:
    """The descriptors of the process's open sockets, and what tells each from a later one; none where nobody knows."""
    sockets: dict[int, int] = {}
    for name in _list_descriptors():
        with contextlib.suppress(OSError, ValueError):  # that of the listing itself is gone by now
            found = os.fstat(int(name))
            if stat.S_ISSOCK(found.st_mode):
                sockets[int(name)] = found.st_ino
    return sockets


def _list_descriptors() -> list[str]:
    for folder in _FOLDERS:
        with contextlib.suppress(OSError):
            return os.listdir(folder)
    return []


def sockets_left(before: dict[int, int], grace: float) -> list[str]:
    """Describe the sockets that are open now and were not before, after giving them a moment to be closed."""

    def look() -> list[tuple[int, int]]:
        return sorted(open_sockets().items() - before.items())

    return [describe_socket(fd) for fd, _ in look_until_none(look, grace)]


def look_until_none(look: Callable[[], list[T]], grace: float) -> list[T]:
    """Return what is still there when a moment has passed."""
    deadline = time.monotonic() + grace
    found = look()
    while found and time.monotonic() < deadline:
        time.sleep(0.005)
        found = look()
    return found


def describe_socket(fd: int) -> str:
    """Name a socket by its addresses."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as sock:
        here, there = _address(sock.getsockname), _address(sock.getpeername)
        if there:
            return f"a socket from {here or 'nowhere'} to {there}"
        if here:
            return f"a socket at {here}"
    return f"a socket (file descriptor {fd})"


def _address(ask: Callable[[], Any]) -> str | None:
    try:
        return shown_address(ask())
    except OSError:
        return None


def connections_of(one: Any) -> Iterable[Connection]:
    """Return the connections that there are of a server, of a client, or of a server's client."""
    if hasattr(one, "_ezez_connections"):
        return tuple(one._ezez_connections())
    if hasattr(one, "_ezez_current"):
        with one._ezez_condition.lock:
            current = one._ezez_current()
        return () if current is None else (current,)
    return (one._ezez_connection,)


def awaited_replies(ones: Iterable[Any]) -> list[str]:
    """Describe the messages of servers and clients whose reply somebody still waits for."""
    return [text for one in ones for text in _awaited_by(one)]


def _awaited_by(one: Any) -> Iterator[str]:
    count = 0
    for connection in connections_of(one):
        entries = _entries(connection)
        count += len(entries)
        for event_id, event, on_reply in entries:
            what = f"message {event_id}" if event is None else f"{shown(event)!r} (message {event_id})"
            callback = "" if on_reply is None else f", for the on_reply {name_of(on_reply)}"
            yield f"the reply to {what}, awaited at {one!r}{callback}"
    queued = getattr(one, "awaiting_replies_count", 0) - count
    if queued > 0:
        yield f"{queued} awaited {'reply' if queued == 1 else 'replies'} to queued messages of {one!r}"


def _entries(connection: Connection) -> list[tuple[int, str | None, Any]]:
    """Return what is awaited on a connection: ids, events where they are known, callbacks."""
    found = []
    with connection.inbox.lock:
        table = connection.inbox.table
        table.tidy()
        for event_id, entry in table._entries.items():
            sent = entry()
            if entry.stays or (sent is not None and sent._waiting):
                found.append((event_id, None if sent is None else sent._event, entry.on_reply))
    return found
