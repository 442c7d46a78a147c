"""The client's way to a WebSocket: name look-up, TCP, and the upgrade, all within one deadline."""

import contextlib
import errno
import os
import socket
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ..logs import shown
from ..threads.deadline import Deadline
from ..threads.interrupted import make_lock
from ..threads.waiting import Event
from ..wire.sockets import SocketWire, Wire, WireError
from .client_handshake import ClientHandshake, DialRefused

if TYPE_CHECKING:
    from ..client_run import ClientOptions
    from ..websocket.deflate import Deflate
    from .asking import Asked

__all__ = ["DialCancelled", "DialRefused", "Dialed", "Dialer"]

# the second is for servers that want each message compressed afresh, and ask only those who say that they can
_DEFLATE_OFFERS = (
    "permessage-deflate; client_max_window_bits, permessage-deflate; client_no_context_takeover; client_max_window_bits"
)
_SLICE = 0.1  # seconds after which a step looks whether it is still wanted
_READ = 4096
_BODY_TIME = 1.0  # seconds that the body of a refusal may take, which some servers never end
_IN_PROGRESS = (errno.EINPROGRESS, errno.EWOULDBLOCK, getattr(errno, "WSAEWOULDBLOCK", errno.EWOULDBLOCK))


class DialCancelled(Exception):
    """``cancel`` was called."""


class Dialed(NamedTuple):
    """A WebSocket: the wire, what arrived behind the handshake, and what was agreed."""

    wire: Wire
    early: bytes
    deflate: "Deflate | None"
    subprotocol: str | None


class Dialer:
    """One attempt to connect. ``dial`` runs on one thread; ``cancel`` may be called from any."""

    def __init__(self, options: "ClientOptions", asked: "Asked") -> None:
        self._options = options
        self._target = asked.target
        self._headers = asked.headers
        self._lock = make_lock()
        self._cancelled = False  # guarded by _lock; a step that waits looks at it ten times a second

    def cancel(self) -> None:
        """Make ``dial`` raise ``DialCancelled`` soon."""
        with self._lock:
            self._cancelled = True

    def dial(self, deadline: Deadline) -> Dialed:
        """Connect and shake hands.

        Raises:
            OSError: nobody is there, or not in time, or went before the end.
            DialRefused: there is somebody, but no WebSocket for us.
        """
        wire = self._connect(deadline)
        try:
            if self._target.secure:
                wire = self._secure(wire, deadline)
            options, offer = self._options, _DEFLATE_OFFERS if self._options.compress else ""
            handshake = ClientHandshake(self._target, self._headers, options.subprotocols, offer)
            self._write(wire, handshake.request(), deadline)
            try:
                self._read_response(wire, handshake, deadline)
            except DialRefused as refusal:
                if refusal.status is not None:
                    self._read_body(wire, handshake, deadline.sooner(Deadline(_BODY_TIME)))
                    refusal.body = handshake.body
                raise
            return Dialed(wire, handshake.trailing, _agreed(handshake), handshake.subprotocol)
        except BaseException:
            wire.close()
            raise

    def _secure(self, raw: Wire, deadline: Deadline) -> Wire:
        import ssl

        from ..wire.tls import TLSWire

        context = self._options.ssl or ssl.create_default_context()
        wire = TLSWire(raw, context, server_side=False, server_name=self._target.server_name)
        try:
            wire.shake_hands(lambda: self._check(deadline, "shaking hands in TLS"))
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
            text = f"the server closed the connection during the TLS handshake: {shown(str(error))}"
            raise ConnectionResetError(text) from error
        except ssl.SSLError as error:
            raise DialRefused(f"TLS: {shown(str(error))}") from error
        return wire

    def _check(self, deadline: Deadline, step: str) -> float:
        """Return how long a step may wait before it must look again."""
        with self._lock:
            if self._cancelled:
                raise DialCancelled
        remaining = deadline.remaining_of(_SLICE)
        if remaining == 0:
            raise TimeoutError(f"no connection in time, while {step}")
        return remaining

    def _connect(self, deadline: Deadline) -> Wire:
        addresses = self._look_up(deadline)
        error: OSError | None = None
        for index, (family, kind, protocol, _, address) in enumerate(addresses):
            remaining = deadline.remaining()
            # an address that does not answer must leave time for the others
            share = Deadline(None if remaining is None else remaining / (len(addresses) - index))
            try:
                # which fails for a family that this machine has not, such as IPv6
                return self._connect_to(socket.socket(family, kind, protocol), address, share)
            except OSError as failure:
                error = failure
        assert error is not None
        raise error

    def _connect_to(self, sock: socket.socket, address: Any, deadline: Deadline) -> Wire:
        try:
            sock.setblocking(False)
            code = sock.connect_ex(address)
            wire = SocketWire(sock)
            while code in _IN_PROGRESS:
                if wire.poll(False, True, self._check(deadline, "connecting"))[1]:
                    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    break
            if code:
                raise OSError(code, f"{os.strerror(code)}, connecting to {address[0]} port {address[1]}")
            return wire
        except BaseException:
            sock.close()
            raise

    def _look_up(self, deadline: Deadline) -> list[Any]:
        """Resolve the host; on a thread of its own, because a resolver may block for longer than we want to wait."""
        host = self._target.host
        resolve = partial(socket.getaddrinfo, host, self._target.port, type=socket.SOCK_STREAM, flags=0)
        with contextlib.suppress(OSError, UnicodeError):
            return resolve(flags=socket.AI_NUMERICHOST)
        outcome: list[Any] | OSError = []  # written before ``done`` is set, and read after
        done = Event()

        def run() -> None:
            nonlocal outcome
            try:
                outcome = resolve()
            except OSError as error:
                outcome = error
            except UnicodeError as error:
                outcome = OSError(f"{host!r} is no host name: {error}")
            finally:
                done.set()

        threading.Thread(target=run, name="ezez-lookup", daemon=True).start()
        while not done.wait(self._check(deadline, "looking up the host's name")):
            pass
        if isinstance(outcome, OSError):
            raise outcome
        return outcome

    def _write(self, wire: Wire, data: bytes, deadline: Deadline) -> None:
        rest = memoryview(data)
        try:
            while rest:
                if wire.poll(False, True, self._check(deadline, "sending the request"))[1]:
                    rest = rest[wire.write_now(rest) :]
        except WireError as error:
            raise ConnectionResetError(str(error)) from error

    def _read_response(self, wire: Wire, handshake: ClientHandshake, deadline: Deadline) -> None:
        while True:
            if not wire.poll(True, False, self._check(deadline, "waiting for the server's answer"))[0]:
                continue
            data = wire.read_now(_READ)
            if data == b"" and wire.failure is not None:  # such as: it wants a certificate of ours
                raise DialRefused(f"TLS: {shown(str(wire.failure))}") from wire.failure
            if data == b"":
                raise ConnectionResetError("the server closed the connection during the handshake")
            if data is not None and handshake.feed(data):
                return

    def _read_body(self, wire: Wire, handshake: ClientHandshake, deadline: Deadline) -> None:
        """Read what a refusal says beside its head, as far as it comes in time."""
        data: bytes | None = handshake.trailing
        with contextlib.suppress(TimeoutError):
            while not (data and handshake.feed_body(data)):
                ready = wire.poll(True, False, self._check(deadline, "reading the server's refusal"))[0]
                data = wire.read_now(_READ) if ready else None
                if data == b"":
                    handshake.feed_body(data)
                    break


def _agreed(handshake: ClientHandshake) -> "Deflate | None":
    if not handshake.extensions:
        return None
    from .extensions import accept_answer

    try:
        return accept_answer(handshake.extensions)
    except ValueError as error:
        raise DialRefused(str(error)) from error
