"""A TCP link on which a test acts: slow, torn, silent. One thread passes on what comes, in order and whole.

    client ←→ near | a Way each direction | far ←→ server

What a test wants is done by that thread, to which everything belongs, and waited for.
"""

import contextlib
import math
import selectors
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

from .scope import Target, close_at_end, url_of

__all__ = ["Link", "Way"]

L = TypeVar("L", bound="Link")

_PIECE = 65536
_MOST_KEPT = 1 << 20  # bytes of one direction that wait for their time
_CONNECT_TIMEOUT = 5.0
_TICK = 0.02  # seconds between two pieces where the link is throttled
_NOW = struct.pack("ii", 1, 0)  # for SO_LINGER: close with a reset


class Way:
    """One direction of one connection. The link's thread's."""

    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        self.source, self.target = source, target
        self.waiting: deque[tuple[float, bytes]] = deque()  # when it is due
        self.size = 0
        self.rests_until = 0.0  # nothing goes out before: the link is as slow as that
        self.piece = _PIECE  # bytes that are read at once
        self.passed = 0  # bytes
        self.at_end = False  # of the source's bytes
        self.ended = False  # the target has been told, or never will be: what still comes is lost

    def take(self, delay: float, is_lost: bool) -> None:
        """Read what has come. ``OSError``: the source has gone."""
        try:
            data = self.source.recv(self.piece)
        except BlockingIOError:
            return
        if not data:
            self.at_end = True
            self.ended = self.ended or is_lost
        elif not is_lost and not self.ended:
            self.waiting.append((time.monotonic() + delay, data))
            self.size += len(data)

    def pass_on(self, most: int | None, rate: float | None) -> None:
        """Write what is due, at most so much at once. ``OSError``: the target has gone."""
        due, data = self.waiting[0]
        if rate is not None:  # not all at once, and a long rest behind it
            most = min(len(data) if most is None else most, max(1, int(rate * _TICK)))
        piece = data if most is None else data[:most]
        try:
            count = self.target.send(piece)
        except BlockingIOError:
            return
        self.waiting.popleft()
        if count < len(data):
            self.waiting.appendleft((due, data[count:]))
        self.size -= count
        self.passed += count
        if rate is not None:
            self.rests_until = time.monotonic() + count / rate

    def finish(self) -> None:
        """Tell the target of the end, when all before it has gone."""
        if self.at_end and not self.waiting and not self.ended:
            self.ended = True
            self.target.shutdown(socket.SHUT_WR)

    def due_at(self) -> float:
        """Return when there is something to write."""
        return max(self.waiting[0][0], self.rests_until) if self.waiting else math.inf


class _Connection:
    """Two ways between two sockets. The link's thread's."""

    def __init__(self, near: socket.socket, far: socket.socket, way: type[Way]) -> None:
        self.sockets = near, far
        self.ways = way(near, far), way(far, near)
        for sock in self.sockets:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what is split is not to be put together

    def close(self, resets: bool) -> None:
        for sock in self.sockets:
            if resets:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NOW)
            sock.close()


class Link:
    """A TCP link to a server, with a ``url`` of its own, on which a test acts.

    It passes on bytes, so it is for ``wss://``, for Redis and for anything else, too. What is set holds for both
    directions, for connections that there are and for those to come, from the return of the call on. Any thread may
    call any method; after ``close`` they raise ``RuntimeError``. It is closed at the end of the test that it was made
    in, by ``with``, or by ``close``.

    Args:
        server_or_url: where it leads to; a server is asked for its port at each new connection, and so may be closed
            and started again.

    Raises:
        ValueError: the server has no port, or is not started.
    """

    port: int
    _way = Way

    def __init__(self, server_or_url: Target) -> None:
        parts = urlsplit(url_of(server_or_url))
        self._target = server_or_url
        self._lock = threading.Lock()  # guards what the thread is to do; all else is the thread's
        self._to_do: list[tuple[Callable[[], object], threading.Event]] = []
        self._closed = False  # read under the lock, too
        self._is_stalled = self._is_lossy = False
        self._delay = 0.0
        self._rate: float | None = None
        self._most: int | None = None
        self._connections: list[_Connection] = []
        self._lost: set[_Connection] = set()  # of which bytes are lost: nothing ever comes again
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port = int(self._listener.getsockname()[1])
        # a certificate for localhost shall do here, too
        self._host = "localhost" if parts.hostname == "localhost" else "127.0.0.1"
        self._wake, self._woken = socket.socketpair()
        self._woken.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name=f"ezez-test-link-{self.port}", daemon=True)
        self._thread.start()
        close_at_end(self)

    @property
    def url(self) -> str:
        """Where clients are to connect to: the server's URL with the link's own port."""
        parts = urlsplit(url_of(self._target)) if isinstance(self._target, str) else urlsplit(self._target.url)
        return urlunsplit(parts._replace(netloc=f"{self._host}:{self.port}"))

    # -- what a test does ---------------------------------------------------------------------------------------------

    def stall(self) -> None:
        """Pass nothing on, and lose nothing, until ``resume``. The connections stay, and buffers fill."""
        self._set(is_stalled=True)

    def resume(self) -> None:
        """End ``stall`` and ``drop``. A connection of which bytes have been lost stays silent."""
        self._set(is_stalled=False, is_lossy=False)

    def delay(self, seconds: float) -> None:
        """Pass everything on so many seconds after it has come, as a long line does; 0: at once."""
        self._set(delay=_check("seconds", seconds, zero=True))

    def throttle(self, bytes_per_second: float | None) -> None:
        """Pass on at most so much in each direction of each connection; ``None``: as much as comes."""
        self._set(rate=None if bytes_per_second is None else _check("bytes_per_second", bytes_per_second))

    def split(self, n: int | None) -> None:
        """Write at most ``n`` bytes at once, so that frames arrive in pieces; ``None``: as they come."""
        self._set(most=None if n is None else int(_check("n", n)))

    def drop(self) -> None:
        """Lose what is sent from now on, the end of a connection too, until ``resume``: as where a cable is pulled."""

        def lose() -> None:
            self._is_lossy = True
            for connection in self._connections:
                self._lose(connection)

        self._do(lose)

    def cut(self) -> None:
        """Reset all connections, towards both ends (RST); what was on its way is lost. New ones can be made."""

        def reset() -> None:
            for connection in list(self._connections):
                self._end(connection, resets=True)

        self._do(reset)

    def redirect(self, server_or_url: Target) -> None:
        """Lead connections that are made from now on elsewhere."""
        url_of(server_or_url)
        self._set(target=server_or_url)

    def close(self) -> None:
        """End everything: no port is open afterwards, and no thread is left. Idempotent."""
        if self._thread.is_alive():
            try:
                self._set(closed=True)
            except RuntimeError:
                pass  # another thread has closed it
        self._thread.join()

    def __enter__(self: L) -> L:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _set(self, **values: object) -> None:
        def set_all() -> None:
            for name, value in values.items():
                setattr(self, f"_{name}", value)

        self._do(set_all)

    def _do(self, act: Callable[[], object]) -> None:
        """Have the thread do something, and wait until it has."""
        done = threading.Event()
        with self._lock:
            if self._closed:
                raise RuntimeError("the link is closed")
            self._to_do.append((act, done))
            self._wake.send(b"!")  # under the lock: it is closed when there is nobody to be woken
        done.wait()

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._turn():
                pass
        finally:
            with self._lock:
                self._closed = True
                to_do = self._to_do
            for connection in list(self._connections):
                self._end(connection, resets=False)
            self._selector.close()
            for sock in (self._listener, self._wake, self._woken):
                sock.close()
            for _, done in to_do:
                done.set()

    def _turn(self) -> bool:
        """Wait for something, and do it; false when all is over."""
        with self._lock:
            to_do, self._to_do = self._to_do, []
        for act, done in to_do:
            act()
            done.set()
        if self._closed:
            return False
        ready: dict[object, int] = {key.fileobj: events for key, events in self._selector.select(self._watch())}
        if self._woken in ready:
            with contextlib.suppress(BlockingIOError):
                self._woken.recv(4096)
        for connection in list(self._connections):
            self._serve(connection, ready)
        if self._listener in ready:
            self._accept()
        return True

    def _watch(self) -> float | None:
        """Have the sockets watched for what can be done now; return the seconds until there is more."""
        now, next_due = time.monotonic(), math.inf
        for connection in self._connections:
            wanted = dict.fromkeys(connection.sockets, 0)
            for way in connection.ways:
                if self._is_stalled:
                    continue
                if not way.at_end and way.size < _MOST_KEPT:
                    wanted[way.source] |= selectors.EVENT_READ
                due = way.due_at()
                if due <= now:
                    wanted[way.target] |= selectors.EVENT_WRITE
                else:
                    next_due = min(next_due, due)
            for sock, events in wanted.items():
                self._register(sock, events)
        return None if next_due == math.inf else max(0.0, next_due - now)

    def _register(self, sock: socket.socket, events: int) -> None:
        registered = self._selector.get_map().get(sock)
        if registered is None:
            if events:
                self._selector.register(sock, events)
        elif not events:
            self._selector.unregister(sock)
        elif registered.events != events:
            self._selector.modify(sock, events)

    def _serve(self, connection: _Connection, ready: dict[object, int]) -> None:
        if self._is_stalled:
            return
        try:
            for way in connection.ways:
                if ready.get(way.source, 0) & selectors.EVENT_READ:
                    way.take(self._delay, connection in self._lost)
                    self._touch(way)
                if way.due_at() <= time.monotonic():
                    way.pass_on(self._most, self._rate)
                way.finish()
        except OSError:
            if connection in self._lost:  # who hears nothing hears of no reset either
                for way in connection.ways:
                    way.at_end = way.ended = True
            else:
                self._end(connection, resets=True)
            return
        if all(way.ended for way in connection.ways) and connection not in self._lost:
            self._end(connection, resets=False)

    def _touch(self, way: Way) -> None:
        """Do what a subclass wants to happen to what has been read. ``OSError``: the connection is to be reset."""

    def _accept(self) -> None:
        try:
            near, _ = self._listener.accept()
        except OSError:
            return
        try:
            parts = urlsplit(self._target if isinstance(self._target, str) else self._target.url)
            port = parts.port or {"wss": 443, "https": 443, "redis": 6379}.get(parts.scheme, 80)
            far = socket.create_connection((parts.hostname or "127.0.0.1", port), _CONNECT_TIMEOUT)
        except OSError:
            near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NOW)
            near.close()
            return
        connection = _Connection(near, far, self._way)
        self._connections.append(connection)
        if self._is_lossy:
            self._lose(connection)

    def _lose(self, connection: _Connection) -> None:
        self._lost.add(connection)
        for way in connection.ways:
            way.waiting.clear()
            way.size = 0

    def _end(self, connection: _Connection, resets: bool) -> None:
        for sock in connection.sockets:
            self._register(sock, 0)
        connection.close(resets)
        self._connections.remove(connection)
        self._lost.discard(connection)


def _check(name: str, value: float, zero: bool = False) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    if not (value > 0 or (zero and value == 0)):
        raise ValueError(f"{name} must be a number {'>= 0' if zero else '> 0'}, not {value}")
    return value
