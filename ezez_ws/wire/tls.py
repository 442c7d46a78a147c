"""TLS that is safe with a reader and writers in different threads.

An ``SSLSocket`` must not be read and written at once: some versions of Python lock the writer out while the reader
blocks. So the TLS state is an ``ssl.SSLObject`` between two ``MemoryBIO``s under one lock, and the raw socket is
outside of it: the reader blocks in ``recv`` without the lock and feeds what came.
"""

import contextlib
import ssl
from collections.abc import Callable
from typing import Any

from ..threads.deadline import Deadline
from ..threads.interrupted import Lock, make_lock
from .sockets import Wire, WireError

__all__ = ["TLSWire"]

_RECORDS = 65536  # bytes that are encrypted before the kernel is asked to take them
_READ = 65536


class TLSWire(Wire):
    """A wire inside TLS.

    ``lock`` guards everything but ``_wire``; it is the outbox's lock, too, and under it the raw socket is written
    without blocking, so that records leave in the order in which they were made. The raw wire is this one's own from
    now on. ``server_name`` is, on a client, the name that the certificate must have.
    """

    buffered = True
    secure = True

    def __init__(self, wire: Wire, context: ssl.SSLContext, server_side: bool, server_name: str | None) -> None:
        self._wire = wire
        self.lock: Lock = make_lock()
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side, server_name)
        self._unsent = b""  # encrypted, and not taken by the kernel yet
        self._may_have_more = False  # what was received may hold another record
        self._ended = False  # we have said goodbye: what still comes is read away as it is

    @classmethod
    def accept(cls, wire: Wire, context: ssl.SSLContext, deadline: Deadline) -> "TLSWire":
        """Shake hands as a server; ``OSError`` where there is no TLS with that peer, or not in time."""

        def pause() -> float | None:
            if deadline.passed():
                raise TimeoutError("no TLS handshake in time")
            return deadline.remaining()

        tls = cls(wire, context, server_side=True, server_name=None)
        tls.shake_hands(pause)
        return tls

    def shake_hands(self, pause: Callable[[], float | None]) -> None:
        """Shake hands; ``pause`` says how long to wait at most for a step, and raises when it is too late.

        ``ssl.SSLError``: there will be no TLS with this peer. Another ``OSError``: it is gone.
        """
        while not self._handshake_step():
            readable, _ = self._wire.poll(True, self.unflushed, pause())
            if readable:
                data = self._wire.read_now(_READ)
                if data == b"":
                    raise ConnectionResetError("the peer closed the connection during the TLS handshake")
                self._feed(data)

    def _handshake_step(self) -> bool:
        with self.lock:
            try:
                self._tls.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                done = False
            except ssl.SSLError:
                self._flush_quietly()  # the alert that says why
                raise
            try:
                self._flush()
            except WireError as error:
                raise ConnectionResetError(str(error)) from error
            self._may_have_more = True  # the peer's first bytes may have come with its last of the handshake
            return done and not self._unsent

    def read(self, size: int) -> bytes:
        while not self._has_ended():
            data = self._decrypt(size)
            if data is not None:
                return data
            self._feed(self._wire.read(_READ))
        return self._wire.read(size)

    def read_now(self, size: int) -> bytes | None:
        if self._has_ended():
            return self._wire.read_now(size)
        data = self._decrypt(size)
        if data is None:  # once only: a peer that sends records without data must not keep us here
            received = self._wire.read_now(_READ)
            if received is not None:
                self._feed(received)
                data = self._decrypt(size)
        return data

    def write_now(self, data: "bytes | bytearray | memoryview") -> int:
        rest = memoryview(data)
        with self.lock:
            while rest and self._flush():
                try:
                    rest = rest[self._tls.write(rest[:_RECORDS]) :]
                except ssl.SSLWantReadError:
                    break  # a renegotiation: the reader has to go first
                except ssl.SSLError as error:
                    raise WireError(str(error)) from error
            self._flush()
        return len(data) - len(rest)

    @property
    def resets(self) -> bool:
        return self._wire.resets

    @resets.setter
    def resets(self, resets: bool) -> None:
        self._wire.resets = resets

    @property
    def unflushed(self) -> bool:  # type: ignore[override]
        with self.lock:
            return bool(self._unsent)

    def poll(self, read: bool, write: bool, timeout: float | None) -> tuple[bool, bool]:
        with self.lock:
            decrypted = self._may_have_more
        if read and decrypted:
            timeout = 0
        readable, writable = self._wire.poll(read, write, timeout)
        return readable or (read and decrypted), writable

    def hung_up(self) -> bool:
        return self._wire.hung_up()

    def fileno(self) -> int:
        return self._wire.fileno()

    def local_address(self) -> Any:
        return self._wire.local_address()

    def peer_certificate(self) -> dict[str, Any] | None:
        with self.lock:
            return self._tls.getpeercert() or None

    def end_writing(self) -> None:
        with self.lock:
            if not self._ended:
                self._ended = True
                self._may_have_more = False  # nothing is decrypted any more: only the socket can be readable
                with contextlib.suppress(ssl.SSLError, ValueError):  # it waits for the peer's; ours is in _outgoing
                    self._tls.unwrap()
                self._flush_quietly()
        self._wire.end_writing()

    def cut(self) -> None:
        self._wire.cut()

    def retire(self) -> None:
        self._wire.retire()

    def close(self) -> None:
        self._wire.close()

    def _has_ended(self) -> bool:
        with self.lock:
            return self._ended

    def _decrypt(self, size: int) -> bytes | None:
        """Return what there is; ``b""`` at the end, ``None`` where more must be received."""
        with self.lock:
            try:
                data = self._tls.read(size)
                self._may_have_more = bool(data)
            except ssl.SSLWantReadError:
                self._may_have_more = False
                data = None
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                data = b""
            except ssl.SSLError as error:
                self.failure = error
                data = b""
            self._flush_quietly()  # a key update, an alert
            return data

    def _feed(self, received: bytes | None) -> None:
        with self.lock:
            if received == b"":
                self._incoming.write_eof()
            elif received is not None:
                self._incoming.write(received)

    def _flush(self) -> bool:
        """Give the kernel what is encrypted; true where it took all. Requires holding the lock."""
        if self._outgoing.pending:
            self._unsent += self._outgoing.read()
        if self._unsent:
            self._unsent = self._unsent[self._wire.write_now(self._unsent) :]
        return not self._unsent

    def _flush_quietly(self) -> None:
        try:
            self._flush()
        except WireError:
            pass  # whoever reads or writes next will find out
