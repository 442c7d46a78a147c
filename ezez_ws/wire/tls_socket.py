"""TLS in an ``SSLSocket`` that somebody else has wrapped: a web server that ends TLS itself.

An ``SSLSocket`` must not be read and written at once, and its TLS cannot be taken out of it. So it never blocks, one
lock is held over each of its calls, and waiting is polling the descriptor, without the lock.
"""

import contextlib
import socket
import ssl
from typing import Any

from ..threads.interrupted import Lock, make_lock
from .borrowed import PolledWire
from .sockets import WireError

__all__ = ["TLSSocketWire"]

_RECORD = 16384


class TLSSocketWire(PolledWire):
    """A wire over an ``SSLSocket`` after its handshake.

    ``lock`` guards everything but the descriptor, which ``poll`` and ``cut`` use. It is the outbox's, too.
    """

    buffered = True
    secure = True

    def __init__(self, sock: ssl.SSLSocket) -> None:
        super().__init__(sock)
        self._tls = sock
        self.lock: Lock = make_lock()
        self._unsent = b""  # accepted from our caller; a write that TLS has begun must be repeated with the same bytes
        self._ended = False  # we have said goodbye: what still comes is read away as it is

    def read_now(self, size: int) -> bytes | None:
        with self.lock:
            try:
                if self._ended:
                    return socket.socket.recv(self._tls, size)
                return self._tls.recv(size)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
                return None
            except ssl.SSLError as error:
                self.failure = error
                return b""
            except OSError:
                return b""

    def write_now(self, data: "bytes | bytearray | memoryview") -> int:
        rest = memoryview(data)
        with self.lock:
            while self._write_unsent() and rest:
                self._unsent, rest = bytes(rest[:_RECORD]), rest[_RECORD:]
        return len(data) - len(rest)

    @property
    def unflushed(self) -> bool:  # type: ignore[override]
        with self.lock:
            return bool(self._unsent)

    def poll(self, read: bool, write: bool, timeout: float | None) -> tuple[bool, bool]:
        with self.lock:
            decrypted = read and not self._ended and self._tls.pending() > 0
        readable, writable = super().poll(read, write, 0 if decrypted else timeout)
        return readable or decrypted, writable

    def peer_certificate(self) -> dict[str, Any] | None:
        with self.lock:
            return self._tls.getpeercert() or None

    def end_writing(self) -> None:
        with self.lock:
            if not self._ended:
                self._ended = True
                with contextlib.suppress(OSError, ValueError):  # it waits for the peer's goodbye; ours is out
                    self._tls.unwrap()
        super().end_writing()

    def close(self) -> None:
        super().close()
        with self.lock, contextlib.suppress(OSError):
            self._tls.shutdown(socket.SHUT_RDWR)  # forgets TLS: what its owner writes fails as in a plain socket

    def _write_unsent(self) -> bool:
        """Go on with what was accepted; true where nothing of it is left. Requires holding the lock."""
        try:
            while self._unsent:
                self._unsent = self._unsent[self._tls.send(self._unsent) :]
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except OSError as error:
            raise WireError(str(error)) from error
        return True

    def _shutdown(self, how: int) -> None:
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._tls, how)  # not SSLSocket's, which would forget TLS under the reader
