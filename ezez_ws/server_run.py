"""What a server owns from one ``start`` to the next ``close``: the listener and the connections."""

import contextlib
import importlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from .cluster.hub import ClusterOptions, Hub
from .connection.dispatch import Callbacks
from .connection.listeners import Listeners
from .connection.server_side import ServerConnection, ServerConnectionOptions
from .context import Context
from .logs import limited, logger, shown_address
from .messages.protocol import CloseCode
from .opening.http import Page, ProcessRequest
from .opening.listener import Listener
from .opening.mounts import Mounts, Visit
from .opening.origins import Origins
from .opening.places import Place, Places
from .opening.server_handshake import Refusal, ServerHandshake
from .opening.upgrade import BUSY, Admission, AllowsOrigin, LimitOf, Upgrade, VerifyRequest, listening
from .opening.wsgi import Environ, address_of, head_of, is_stopping, upgrade
from .server_client import EZEZServerClient
from .threads import clock
from .threads.deadline import Deadline
from .threads.interrupted import make_lock
from .threads.starting import Loan, join_thread
from .threads.timers import janitor
from .threads.waiting import Event
from .websocket.stream import Stream
from .wire.borrowing import borrow
from .wire.linux import restore_scheduling
from .wire.sockets import Wire, find_quick_send

if TYPE_CHECKING:
    import ssl

__all__ = ["ServerOptions", "ServerRun"]

_GRACE = 0.5  # seconds that a thread has to end when its connection has been cut
_LOOK = 1.0  # seconds between two looks at whether the web server is stopping

_Admitted = tuple[Wire, Admission | Visit]
Lent = threading.Thread | Loan


class ServerOptions(NamedTuple):
    """What a server was constructed with, checked."""

    connection: ServerConnectionOptions
    cluster: ClusterOptions
    callbacks: Callbacks
    listeners: Listeners
    default_context: Context
    host: str
    port: int | None
    reuse_port: bool
    ssl: "ssl.SSLContext | None"
    path: str | None
    subprotocols: Sequence[str] | None
    allowed_origins: Origins | AllowsOrigin | None
    verify_request: VerifyRequest | None
    process_request: ProcessRequest | None
    health_path: str | None
    mounts: Mounts
    max_connections: int | None
    max_unauthenticated: int | None
    max_connections_per_address: int | LimitOf | None
    handshake_timeout: float
    compression: str | None


class ServerRun:
    """One run of a server.

    ``_lock`` guards ``closing``, ``_cutting``, ``_wires``, ``_connections``, ``_loans``, ``_minds_web_server``, and
    the places; under it a wire may be cut, and nothing is locked.
    ``serve*`` runs on each connection's own thread; every other method may be called from any thread.
    ``OSError``: the address cannot be bound; nothing is left behind.
    """

    def __init__(self, options: ServerOptions) -> None:
        self._options = options
        self._lock = make_lock()
        self.closing = False
        self._cutting = False  # closing waits for nobody any more
        self.started: float | None = None  # in monotonic time
        self.closed = Event()
        self.end_wanted = Event()  # by request_close; or it has come
        self._wires: set[Wire] = set()  # those that shake hands
        self._connections: dict[ServerConnection, None] = {}  # in the order of arrival
        self._loans: set[Loan] = set()
        self._minds_web_server = False
        self._lease = object()  # of the timers' thread; not the run itself, which is to be freed where nobody closes it
        self.listener: Listener | None = None
        per_address = options.max_connections_per_address
        self._places = Places(
            self._lock,
            options.max_connections,
            options.max_unauthenticated,
            per_address if isinstance(per_address, int) else None,
        )
        self._reception = Upgrade(options)
        common = options.connection.common
        before_auth = options.connection.messages_before_auth == "ignore"
        largest = options.connection.max_payload_before_auth if before_auth else common.max_payload
        self.hub = Hub(
            options.cluster,
            common.codec,
            send_buffer_limit=common.send_buffer_limit,
            auth_limit_bytes=min(largest, common.max_payload),
            reply_ttl=common.clear_awaiting_replies_after,
        )
        if options.port is not None:
            refusal = BUSY if options.ssl is None else b""
            address = (options.host, options.port, options.reuse_port)
            self.listener = Listener(*address, self.serve, self._places, refusal)

    def start(self) -> None:
        """Begin to accept, with all imported that the first client would have to wait for."""
        importlib.import_module("h11")
        self.started = clock.monotonic()
        find_quick_send()
        self._need_timers()
        self.hub.start()
        if self.listener is not None:
            self.listener.start()

    def connections(self) -> list[ServerConnection]:
        """Return who is connected; a copy, in the order of arrival."""
        with self._lock:
            return list(self._connections)

    def is_own_thread(self) -> bool:
        """Tell whether the calling thread serves one of the connections."""
        return any(map(_is_current, self._threads()))

    def wait_for_end(self) -> None:
        """Block until it is closed, or somebody wants it to be."""
        self.end_wanted.wait()

    # -- a connection, on its thread --------------------------------------------------------------------------------

    def serve(self, place: Place) -> None:
        """Shake hands with one that has come, and serve the connection until it has ended."""
        self._serve(place, partial(self._admit, place))

    def serve_read(self, wire: Wire, handshake: ServerHandshake, address: Any, deadline: Deadline) -> None:
        """Do the same on another server's thread, which has read the request already; closes ``wire``."""
        with self._borrow_thread():
            place = Place(self._places, wire, address)
            place.enter()
            self._serve(place, partial(self._admit_read, place, handshake.received, deadline))

    def _serve(self, place: Place, admit: Callable[[], _Admitted | None]) -> None:
        try:
            admitted = self._shake_hands(place, admit)
            if admitted is None:
                return
            wire, way = admitted
            if isinstance(way, Visit):
                place.leave()
                way.begin(wire)
            else:
                self._run_connection(self._make_connection(wire, way, place), place)
        finally:
            place.leave()

    def serve_borrowed(self, sock: Any, address: Any) -> None:
        """Do the same on a thread that comes back, with a socket that stays open, but shut down."""
        with self._borrow_thread():
            place = Place(self._places, borrow(sock), address)
            try:
                place.enter()
                self.serve(place)
            finally:
                place.leave()

    def serve_upgrade(self, environ: Environ) -> None:
        """Serve a connection that comes through a web server, on its thread, until it has ended.

        A ``Refusal`` comes out for the web server to answer.
        """
        with self._borrow_thread():
            if "gunicorn.socket" in environ:
                self._mind_web_server()
            timeout, address = self._options.handshake_timeout, address_of(environ)
            place = Place(self._places, None, address)
            try:
                place.enter()
                try:
                    admitted = self._reception.admit_parsed(
                        head_of(environ),
                        address,
                        lambda handshake, headers: upgrade(environ, handshake, headers, timeout),
                        place,
                    )
                except Refusal as refusal:
                    if not isinstance(refusal, Page):
                        self._options.connection.common.figures.refused(refusal.status)
                    raise
                except OSError as error:
                    logger.info("%s has gone during the handshake: %s", shown_address(address), error)
                    return
                self._run_connection(self._make_connection(*admitted, place), place)
            finally:
                place.leave()

    def _shake_hands(self, place: Place, admit: Callable[[], _Admitted | None]) -> _Admitted | None:
        """Shake hands, where there is a place; ``None`` where that fails, and the wire is closed."""
        raw = place.wire
        assert raw is not None
        with self._lock:
            if self.closing:
                raw.cut()  # it came at the last moment, and ``close`` does not know of it
            self._wires.add(raw)
        admitted = None
        try:
            admitted = admit()
            return admitted
        finally:
            with self._lock:
                self._wires.discard(raw)
            if admitted is None:
                place.leave()  # nobody cuts it any more
                raw.close()

    @contextlib.contextmanager
    def _borrow_thread(self) -> Iterator[None]:
        """Have ``close`` wait for what the calling thread, which goes on afterwards, does here."""
        loan = Loan()
        try:
            with self._lock:
                self._loans.add(loan)
            yield
        finally:
            restore_scheduling()
            with self._lock:
                self._loans.discard(loan)
            loan.give_back()

    def _mind_web_server(self) -> None:
        """Take leave of every client when the web server stops: else it would wait for them, and then cut them."""
        with self._lock:
            known, self._minds_web_server = self._minds_web_server, True
        if not known:
            self._need_timers()
            self._look_at_web_server()

    def _look_at_web_server(self) -> None:
        if is_stopping():
            self.say_goodbye()
        with self._lock:
            cutting = self._cutting
        if not cutting:
            janitor.call_later(_LOOK, self._look_at_web_server)

    def _need_timers(self) -> None:
        """Have timers until all connections are cut."""
        janitor.enter(self._lease)
        with self._lock:
            cutting = self._cutting
        if cutting:  # else ``_end`` is still to leave
            janitor.leave(self._lease)

    def _make_connection(self, wire: Wire, admission: Admission, place: Place) -> ServerConnection:
        try:
            context = Context(self._options.default_context)
        except BaseException:  # a value that cannot be copied
            wire.close()
            raise
        options, hub = self._options, self.hub
        stream = Stream(
            wire,
            client_side=False,
            max_payload=options.connection.common.max_payload,
            send_buffer_limit=options.connection.common.send_buffer_limit,
            early=admission.early,
            deflate=admission.deflate,
        )

        def make_client(connection: ServerConnection) -> EZEZServerClient:
            return EZEZServerClient(connection, hub, admission.request, context)

        return ServerConnection(stream, options, place, hub, make_client)

    def _run_connection(self, connection: ServerConnection, place: Place) -> None:
        figures = connection.figures
        try:
            self._need_timers()
            figures.connected(connection.tally)
            with self._lock:
                self._connections[connection] = None
                closing, cutting = self.closing, self._cutting
            if cutting or not place.open(connection.dismiss):
                connection.cut()
            elif closing:
                connection.disconnect(CloseCode.GOING_AWAY, "server shutdown")
            connection.start_keepalive()
            connection.run()
        finally:
            with self._lock:
                self._connections.pop(connection, None)
            connection.dispose()
            figures.ended(connection.tally)

    def _admit(self, place: Place) -> _Admitted | None:
        """Shake hands, in TLS and in HTTP, within ``handshake_timeout``; ``None`` where that fails."""
        deadline, raw, address = Deadline(self._options.handshake_timeout), place.wire, place.address
        assert raw is not None
        wire: Wire = raw
        if self._options.ssl is not None and place.heard:
            from .wire.tls import TLSWire

            try:
                wire = TLSWire.accept(raw, self._options.ssl, listening(place, deadline))
            except OSError as error:
                peer = shown_address(address)
                limited.tell(logging.INFO, "no TLS", "no TLS with %s: %s", peer, error, extra={"remote_address": peer})
                return None
        elif not place.heard:
            self._reception.turn_away(raw, address, plain=self._options.ssl is None)
            return None
        return _with(wire, self._reception.admit(wire, address, deadline, place))

    def _admit_read(self, place: Place, received: bytes, deadline: Deadline) -> _Admitted | None:
        wire = place.wire
        assert wire is not None
        if not place.heard:
            self._reception.turn_away(wire, place.address, plain=True)
            return None
        return _with(wire, self._reception.admit(wire, place.address, deadline, place, received))

    # -- closing ----------------------------------------------------------------------------------------------------

    def say_goodbye(self) -> None:
        """Send 1001 to every client."""
        for connection in self.connections():
            connection.disconnect(CloseCode.GOING_AWAY, "server shutdown")

    def close_within(self, seconds: float) -> None:
        """Close, within ``seconds`` all in all, as the interpreter exits."""
        self.close(seconds * 0.75, seconds * 0.25)

    def close(self, seconds: float, grace: float = _GRACE) -> None:
        """Close, within ``seconds``, and ``grace`` more for the threads of connections that had to be cut.

        A second caller waits for the first, unless the first waits for it.
        """
        seconds = min(seconds, threading.TIMEOUT_MAX / 2)  # what a thread can be waited for
        first = False
        try:
            with self._lock:
                first, self.closing = not self.closing, True  # in this order: over Ctrl-C between them we are the first
            if first:
                self._let_go(Deadline(seconds))
            elif self.is_own_thread() or self.closed.wait(seconds * 1.5 + grace):
                return
            self._end(grace, seconds / 2)
        except BaseException:  # Ctrl-C, wherever it comes: nothing may be left that nobody can close any more
            if first:
                self._end(grace, 0.0)
            raise

    def _let_go(self, deadline: Deadline) -> None:
        """Take leave of every client, and wait for them to go."""
        self._stop_admitting()
        self.say_goodbye()
        self._options.mounts.say_goodbye()
        self.hub.stop_asking()  # a listener may wait for a client of another node
        self._wait_for_own_connection(deadline)
        self._join(deadline)

    def _end(self, grace: float, hub_seconds: float) -> None:
        """Leave nothing behind. May be called again, where an exception has kept it from its end."""
        self._stop_admitting()
        self._cut_rest(grace)
        self.hub.close(hub_seconds)
        janitor.leave(self._lease)
        self.closed.set()
        self.end_wanted.set()

    def _cut_rest(self, grace: float) -> None:
        with self._lock:
            self._cutting = True
        for connection in self.connections():
            connection.cut()
        self._join(Deadline(grace))
        for thread in self._other_threads():
            logger.warning("closed, but the thread %s is still inside user code", thread.name)
        for connection in self.connections():
            connection.dispose()

    def _stop_admitting(self) -> None:
        if self.listener is not None:
            self.listener.close()
        with self._lock:
            self.closing = self._places.closed = True
            for wire in self._wires:
                wire.cut()

    def _wait_for_own_connection(self, deadline: Deadline) -> None:
        """Where a listener closes the server, its own thread must read the peer's goodbye itself."""
        for connection in self.connections():
            if connection.inbox.is_owner():
                connection.inbox.wait_ended(deadline)

    def _join(self, deadline: Deadline) -> None:
        """Wait for the connections' threads, but for the calling one."""
        for thread in self._other_threads():
            join_thread(thread, deadline.remaining())

    def _other_threads(self) -> list[Lent]:
        return [thread for thread in self._threads() if not _is_current(thread)]

    def _threads(self) -> list[Lent]:
        with self._lock:
            loans = list(self._loans)
        return [*([] if self.listener is None else self.listener.threads()), *loans]


def _with(wire: Wire, way: Admission | Visit | None) -> _Admitted | None:
    return None if way is None else (wire, way)


def _is_current(thread: Lent) -> bool:
    return threading.current_thread() is (thread.thread if isinstance(thread, Loan) else thread)
