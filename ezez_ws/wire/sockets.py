"""The edge to a socket: what blocks, what does not, and which errors mean that the peer is gone."""

import contextlib
import functools
import select
import socket
import struct
import time
from collections.abc import Callable
from typing import Any, cast

from ..messages.speedups import compiled
from ..threads import clock
from ..threads.fork import close_in_child
from ..threads.interrupted import Lock
from .linux import BatchScheduling, find_function, has_cores, reset, switch
from .read_gate import PATIENCE, GatedReader, read_gate

__all__ = ["SocketWire", "Wire", "WireError", "find_quick_send"]

_DONTWAIT = int(getattr(socket, "MSG_DONTWAIT", 0))
_SEND_FLAGS = _DONTWAIT | int(getattr(socket, "MSG_NOSIGNAL", 0))
_LONGEST = 1e6  # seconds; poll() takes milliseconds as a C int
_QUICK = 16384  # bytes that the kernel copies in microseconds
_quick_receive: Any = getattr(compiled, "receive", None)
_QUICK_READ = 4096  # bytes that it may read, without letting go of the lock
_PEEK = 32  # bytes that are looked at for something expected
_receive_soon: Any = getattr(compiled, "receive_soon", None)
_SOON = 200  # microseconds within which a quick peer's bytes come


@functools.cache
def find_quick_send() -> Callable[..., int] | None:
    """Return ``send(fd, data, size, flags)``, which does not let go of the interpreter's lock; -1 is an error.

    ``socket.send`` gives it to another thread for the few microseconds that a send takes which does not block, and then
    has to wait for it: with 50 busy connections that costs a fifth to a third of the throughput (``benchmarks/NOTES``).
    """
    if hasattr(compiled, "send"):
        return cast(Callable[..., int], compiled.send)
    send: Any = find_function("send", keeps_lock=True)
    if send is None:
        return None
    import ctypes

    send.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int)
    send.restype = ctypes.c_ssize_t
    return cast(Callable[..., int], send)


class WireError(Exception):
    """Nothing can be written any more: the peer is gone, or we have cut the connection."""


class Wire:
    """A bidirectional stream of bytes that one thread reads while others write.

    ``read*`` and ``poll`` may run beside ``write_now``; two readers or two writers may not (the reading role and
    the outbox's lock see to that). ``cut`` may be called from any thread and wakes whoever is blocked.
    """

    lock: Lock | None = None
    """The lock over its state, where it has one: it is the lock over sending, too, as one apart from that might be held
    by the reader whom a signal handler has interrupted, and be wanted by a sender whom the handler waits for."""

    failure: Exception | None = None
    """Why there will be no bytes any more, where it is not that the peer has ended or the connection was cut."""

    buffered = False
    """Whether the wire may keep something that was written."""

    secure = False
    """Whether it is inside TLS."""

    resets = False
    """Whether ``cut`` resets the connection, where that can be done: what was sent must not pass for the whole."""

    unflushed = False
    """Whether the wire itself keeps something that was written; ``write_now(b"")`` goes on with it."""

    def read(self, size: int) -> bytes:
        """Block until there are bytes; ``b""`` where there will be none any more."""
        raise NotImplementedError

    def read_now(self, size: int) -> bytes | None:
        """Return what has arrived, ``None`` for nothing yet, ``b""`` where there will be none any more."""
        raise NotImplementedError

    def write_now(self, data: "bytes | bytearray | memoryview") -> int:
        """Hand over as much as goes without blocking and return how much; ``WireError`` where nothing ever will."""
        raise NotImplementedError

    def poll(self, read: bool, write: bool, timeout: float | None) -> tuple[bool, bool]:
        """Wait until it is readable or writable, as asked; a hang-up counts as both."""
        raise NotImplementedError

    def hung_up(self) -> bool:
        """Tell whether both directions are dead (a half-closed peer is not), without reading."""
        raise NotImplementedError

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        raise NotImplementedError

    def local_address(self) -> Any:
        """Return this end's socket address."""
        raise NotImplementedError

    def peer_certificate(self) -> dict[str, Any] | None:
        """Return what ``ssl`` tells of the certificate that the peer has shown, if it has, and that was verified."""
        return None

    def end_writing(self) -> None:
        """Tell the peer that nothing follows."""
        raise NotImplementedError

    def cut(self) -> None:
        """End both directions at once."""
        raise NotImplementedError

    def expect(self, takes: Callable[[bytes], bool]) -> None:
        """Note that something is about to come for which a reader that sleeps need not be woken. For any thread.

        ``takes`` is given all that has come then, if it is short, must not block, and returns whether it has dealt with
        it. It may be called by another thread than the reader's, which sleeps meanwhile, or not at all.
        """

    def retire(self) -> None:
        """Note that nobody will read any more; to be called before ``close``. Idempotent."""

    def close(self) -> None:
        """Give the descriptor back. Nobody may use the wire any more."""
        raise NotImplementedError


class SocketWire(Wire):
    """A plain TCP (or any stream) socket.

    ``_gated``, ``_drained``, ``_impatient``, ``_peer_is_quick`` and ``_scheduling`` belong to the reader: when many
    wires are read, each waits for its turn (``ReadGate``). ``read`` is for one thread only.
    """

    owns = True  # its socket is ours, and not lent by somebody who closes it

    def __init__(self, sock: socket.socket) -> None:
        if self.owns:
            close_in_child(sock)
        # A Python timeout would poll before each call. Where single calls cannot be told not to block (Windows), the
        # socket does not block, and read() polls.
        sock.settimeout(None if _DONTWAIT else 0.0)
        with contextlib.suppress(OSError):  # no TCP, e.g. a socketpair
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._send_quickly = find_quick_send()
        self._gated: GatedReader | None = None
        self._drained = False  # there was nothing left, when it was read last
        self._impatient = False  # recv() waits for a short while only
        self._peer_is_quick = False
        self._scheduling = BatchScheduling()  # of the reader's thread; who is alone has no reason to
        # elsewhere a recv() may return less than there is
        self._short_is_all = getattr(sock, "family", None) in (socket.AF_INET, socket.AF_INET6)

    def read(self, size: int) -> bytes:
        reader = self._gated
        if reader is None:
            reader = self._gated = read_gate.enter(self._sock.fileno())
        while True:
            if self._scheduling.chosen is (read_gate.alone or not switch.on):
                self._scheduling.choose(not self._scheduling.chosen)
            if read_gate.crowded:
                if not (read_gate.lets_by(reader) and self._is_impatient(reader)):
                    data = self._read_in_turn(reader, size)
                    if data is not None:
                        return data
            elif reader.watched or reader.is_let_by:
                self._limit_patience(0.0)
                read_gate.unwatch(reader)
            try:
                if not _DONTWAIT:
                    self.poll(True, False, None)
                if read_gate.alone and _receive_soon is not None:
                    return self._read_alone(size)
                return self._sock.recv(size)
            except BlockingIOError:  # it was impatient, or does not block at all
                self._limit_patience(0.0)
                read_gate.note_silence(reader)
            except OSError:
                return b""

    def _read_alone(self, size: int) -> bytes:
        """Block until there are bytes; where the peer was quick the last time, ask again and again for a short while.

        To sleep and to be woken takes longer than such a peer does, on a machine whose cores sleep, too. Who is not
        alone would take a core from those who have something to do.
        """
        if self._peer_is_quick:
            data: bytes | None = _receive_soon(self._sock.fileno(), size, _SOON)
            if data is not None:
                return data
            self._peer_is_quick = False
            return self._sock.recv(size)
        begun = time.monotonic()  # how quick machine and peer are, which no clock of a test's changes
        received = self._sock.recv(size)
        self._peer_is_quick = (time.monotonic() - begun) * 1e6 < _SOON and has_cores()
        return received

    def _is_impatient(self, reader: GatedReader) -> bool:
        """See to it that ``recv`` waits for a short while only, and tell whether that can be had."""
        if not self._impatient:
            self._limit_patience(PATIENCE)
            if not self._impatient:
                read_gate.bar(reader)
        return self._impatient

    def _limit_patience(self, seconds: float) -> None:
        """Let ``recv`` wait for so long (0: for ever), if that can be had."""
        for form in ("@ll", "@qq"):  # a timeval; the second, where that has become longer than a long
            if self._impatient != (seconds > 0):
                with contextlib.suppress(OSError):
                    limit = struct.pack(form, int(seconds), int(seconds % 1 * 1e6))
                    self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
                    self._impatient = seconds > 0

    def _read_in_turn(self, reader: GatedReader, size: int) -> bytes | None:
        """Block until there are bytes; ``None`` where the wire has to wait by itself."""
        while True:
            if not self._drained:
                data = self.read_now(size)
                if data is not None:
                    return data
            data = None
            try:
                waited = read_gate.wait(reader)
                if waited:
                    data = self.read_now(size)
                read_gate.pass_on(reader)
            except BaseException:  # no ``finally``: the exception may come when it begins
                self._drained = False  # it may have come with the bytes
                read_gate.pass_on(reader)
                raise
            if data is not None or not waited:
                return data

    def read_now(self, size: int) -> bytes | None:
        data = self._receive(size)
        self._drained = data is None or (self._short_is_all and len(data) < size)
        return data

    def _receive(self, size: int, peek: bool = False) -> bytes | None:
        """Return what has arrived, as ``read_now`` does, or only a look at it."""
        if _quick_receive is not None and size <= _QUICK_READ:
            return cast(bytes | None, _quick_receive(self._sock.fileno(), size, peek))
        try:
            return self._sock.recv(size, _DONTWAIT | socket.MSG_PEEK if peek else _DONTWAIT)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def write_now(self, data: "bytes | bytearray | memoryview") -> int:
        if type(data) is bytes and len(data) <= _QUICK and self._send_quickly is not None:
            written = self._send_quickly(self._sock.fileno(), data, len(data), _SEND_FLAGS)
            if written >= 0:
                return written
        try:
            return self._sock.send(data, _SEND_FLAGS)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise WireError(str(error)) from error

    def poll(self, read: bool, write: bool, timeout: float | None) -> tuple[bool, bool]:
        fd = self._sock.fileno()
        if not hasattr(select, "poll"):
            reads, writes, broken_ones = clock.select([fd] if read else [], [fd] if write else [], [fd], timeout)
            return bool(reads or broken_ones), bool(writes or broken_ones)
        if timeout is not None:
            timeout = min(timeout, _LONGEST)
        poller = select.poll()
        poller.register(fd, (select.POLLIN if read else 0) | (select.POLLOUT if write else 0))
        ready = clock.poll(poller, timeout)
        if not ready:
            return False, False
        mask = ready[0][1]
        broken = bool(mask & (select.POLLHUP | select.POLLERR | select.POLLNVAL))
        return bool(mask & select.POLLIN) or broken, bool(mask & select.POLLOUT) or broken

    def hung_up(self) -> bool:
        if not hasattr(select, "poll"):
            return False
        poller = select.poll()
        poller.register(self._sock.fileno(), 0)
        return bool(poller.poll(0))

    def fileno(self) -> int:
        return self._sock.fileno()

    def local_address(self) -> Any:
        return self._sock.getsockname()

    def end_writing(self) -> None:
        self._shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        if self.resets:
            reset(self._sock)
        self._shutdown(socket.SHUT_RDWR)

    def _shutdown(self, how: int) -> None:
        try:
            self._sock.shutdown(how)
        except OSError:
            pass  # it is gone already

    def expect(self, takes: Callable[[bytes], bool]) -> None:
        if self._gated is not None:
            read_gate.expect(self._gated, functools.partial(self._take_aside, takes))

    def _take_aside(self, takes: Callable[[bytes], bool]) -> bool:
        data = self._receive(_PEEK, peek=True)
        if not data or len(data) == _PEEK or not takes(data):
            return False
        self._receive(len(data))
        return True

    def retire(self) -> None:
        if self._gated is not None:
            read_gate.leave(self._gated)

    def close(self) -> None:
        self._sock.close()
