"""The server: its options, its life, who is connected, and broadcasts.

Each ``start`` makes a ``ServerRun``, which owns the listener and the connections until ``close``. A connection's way:
``Listener`` (accepts, starts its thread) → ``ServerRun.serve`` (on that thread) → ``Upgrade`` (handshake) →
``ServerConnection.run`` (until it ends). Others come on threads of their own, by ``wsgi_app`` or ``serve_connection``.
"""

import socket
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from . import callbacks
from .calls.contract import ContractOf
from .calls.implement import Factory, implement_by
from .cluster.audience import Publishing
from .cluster.hub import ClusterOptions, Hub
from .cluster.log import Backplane
from .connection.connection import ConnectionOptions
from .connection.counting import server_stats
from .connection.dispatch import Callbacks
from .connection.listeners import Listeners
from .connection.server_side import ServerConnection, ServerConnectionOptions
from .context import C, Context
from .figures import Figures, ServerStats
from .logs import limited, logger
from .messages.codec import Codec
from .messages.tally import Tally
from .opening.mounts import Mounts, WSGIApplication
from .opening.origins import Origins
from .opening.server_handshake import Refusal, ServerHandshake
from .opening.url import validate_subprotocols
from .opening.wsgi import Environ, StartResponse, answer, warn_of_no_start
from .options import check_server, pick
from .server_client import EZEZServerClient
from .server_run import ServerOptions, ServerRun
from .server_sending import ToMany
from .threads.deadline import Deadline
from .threads.exits import close_at_exit
from .threads.fork import ForkGuard
from .threads.interrupted import calls_user_code, interrupts_library, make_lock, refuse_to_wait
from .threads.signals import handling
from .threads.starting import begin_thread
from .wire.sockets import Wire

if TYPE_CHECKING:
    import ssl as _ssl
else:
    from .opening.late import ssl as _ssl

__all__ = ["EZEZWebSocketServer", "EZEZWebsocketServer"]

S = TypeVar("S", bound="EZEZWebsocketServer[Any]")
T = TypeVar("T")

_CLOSER = "ezez-closer"  # the thread that closes for who cannot wait


class EZEZWebsocketServer(ToMany[C]):
    """Serves named events over WebSocket, a thread for each connection.

    Constructing checks the options (a wrong one is a ``TypeError`` or ``ValueError`` that names it) and starts nothing.
    All options are keyword-only; durations are seconds, sizes are bytes; ``docs/configuration.md`` says what each
    means. A server belongs to the process that first starts it; in one that is forked then, calls raise
    ``RuntimeError``. Every method may be called from any thread, but ``serve_forever`` not on a connection's own.
    ``__lock`` guards ``__run`` and ``__closed``; ``__starting`` is held while one starts, and may be held over it.
    ``__servers`` has one entry a thread, its own, and is looked at without a lock.
    """

    _ezez_gives_client = True
    _ezez_is_ours = False  # and no server of the program's, whose life is to be told

    def __init__(
        self,
        *,
        on_auth_request: callbacks.OnAuthRequest[C],
        port: int | None = None,
        host: str = "127.0.0.1",
        path: str | None = None,
        subprotocols: Sequence[str] | None = None,
        process_request: callbacks.ProcessRequest | None = None,
        health_path: str | None = None,
        ssl: "_ssl.SSLContext | None" = None,
        on_auth_ok: callbacks.ServerOnAuthOk[C] | None = None,
        on_auth_rejected: callbacks.ServerOnAuthRejected[C] | None = None,
        on_message: callbacks.ServerOnMessage[C] | None = None,
        on_disconnect: callbacks.ServerOnDisconnect[C] | None = None,
        on_error: callbacks.ServerOnError[C] | None = None,
        backplane: Backplane | None = None,
        recovery_window: float = 120.0,
        history_limit_bytes: int = 16 << 20,
        recovery_limit_bytes: int | None = None,
        publish_buffer_limit: int = 4 << 20,
        max_publication: int = 256 << 10,
        max_rooms: int = 256,
        on_member: callbacks.OnMember | None = None,
        on_cluster: callbacks.OnCluster | None = None,
        default_context: C | None = None,
        messages_before_auth: Literal["ignore", "queue", "accept"] = "ignore",
        queue_limit_bytes: int = 1 << 20,
        queue_overflow: Literal["ignore", "disconnect"] | callbacks.OnQueueOverflow[C] = "ignore",
        send_after_disconnect: Literal["ignore", "raise"] = "ignore",
        auth_timeout: float = 5.0,
        clear_awaiting_replies_after: float = 300.0,
        max_payload: int = 1 << 20,
        max_payload_before_auth: int = 64 << 10,
        codec: Codec | None = None,
        allowed_origins: str | Collection[str] | callbacks.AllowsOrigin | None = None,
        verify_request: callbacks.VerifyRequest | None = None,
        max_connections: int | None = None,
        max_unauthenticated: int | None = 1000,
        max_connections_per_address: int | callbacks.LimitOf | None = None,
        handshake_timeout: float = 10.0,
        ping_interval: float | None = 20.0,
        ping_timeout: float | None = 20.0,
        inbox_limit_bytes: int = 1 << 20,
        send_buffer_limit: int = 4 << 20,
        send_timeout: float = 30.0,
        max_awaiting_replies: int = 10_000,
        unknown_events: Literal["ignore", "error"] = "ignore",
        close_timeout: float = 5.0,
        compression: Literal["deflate"] | None = None,
        reuse_port: bool = False,
    ) -> None:
        given = dict(locals(), codec=Codec() if codec is None else codec)
        check_server(given)
        self._ezez_listeners = Listeners("client, args, reply, ids")
        self._ezez_figures = Figures(Tally())
        self._ezez_publishing = Publishing(given["codec"], self._ezez_publish)
        self._ezez_has_backplane = backplane is not None
        self.__mounts = Mounts(self._ezez_figures)
        self.__factories: list[Factory] = []  # one for each contract
        try:
            context = Context(default_context)
        except Exception as error:
            raise TypeError(f"default_context cannot be copied: {error}") from error
        self.__options = pick(
            ServerOptions,
            given,
            connection=pick(
                ServerConnectionOptions,
                given,
                common=pick(ConnectionOptions, given, figures=self._ezez_figures),
                raise_after_disconnect=send_after_disconnect == "raise",
                factories=self.__factories,
            ),
            cluster=pick(ClusterOptions, given),
            callbacks=pick(Callbacks, given),
            listeners=self._ezez_listeners,
            mounts=self.__mounts,
            default_context=context,
            subprotocols=None if subprotocols is None else validate_subprotocols(subprotocols),
            allowed_origins=_parse_origins(allowed_origins, tls=ssl is not None),
        )
        self._ezez_fork_guard = ForkGuard("server", bound=False)
        self.__starting = make_lock()
        self.__lock = make_lock()
        self.__run: ServerRun | None = None
        self.__closed = False  # and not started since
        self.__servers: set[threading.Thread] = set()  # those in serve_forever, which will close

    def start(self) -> None:
        """Bind and begin to accept; returns when connections are accepted. Does nothing where it is started.

        Where the address cannot be bound it raises ``OSError``, and leaves nothing behind.
        """
        self.__start(by_itself=False)

    def __start(self, by_itself: bool) -> None:
        """Start; where nobody has asked for it, not after ``close``."""
        self._ezez_fork_guard.check()
        refuse_to_wait("start()")
        with self.__starting:  # two that start at once must not both bind
            run = self._ezez_current_run()
            if run is not None:
                if not run.closing:
                    return
                run.closed.wait(None)
            self._ezez_fork_guard.bind()
            run = ServerRun(self.__options)
            with self.__lock:
                if self.__closed and by_itself:
                    return
                self.__closed = False
                self.__run = run  # before the first client can come
            try:
                run.start()
            except BaseException:
                run.close(0.0)
                self.__forget(run)
                raise
        if not self._ezez_is_ours:
            logger.info("started" if self.url is None else f"listening on {self.url}")
        close_at_exit(run)
        for started, _ in self._ezez_figures.followers:
            started()

    @calls_user_code
    def serve_forever(self, *, signals: Iterable[int] = ()) -> int | None:
        """Start, if need be, and block until ``close()``, Ctrl-C, or one of ``signals``; then the server is closed.

        On the thread of one of this server's connections, which it would block for ever, it raises ``RuntimeError``.

        Args:
            signals: such as ``(signal.SIGINT, signal.SIGTERM)``: handled until it returns, by ``request_close()``; what
                handled them before does so again afterwards. On another thread than the main one: ``ValueError``.

        Returns:
            The signal that has ended it, or ``None``.
        """
        self._ezez_fork_guard.check()
        run = self._ezez_current_run()
        if run is not None and run.is_own_thread():
            raise RuntimeError("serve_forever() would block the connection's thread that it was called on")
        refuse_to_wait("serve_forever()")
        if run is None and self.__options.port is None:
            logger.warning("serve_forever() listens nowhere: without a port connections come by wsgi_app only")
        with handling(signals, self.request_close) as came:
            try:
                self.start()
                self.__servers.add(threading.current_thread())
                run = self._ezez_current_run()
                if run is not None and not came:
                    run.wait_for_end()
            except KeyboardInterrupt:
                logger.info("interrupted, closing")
            finally:
                self.close()
                self.__servers.discard(threading.current_thread())
        return came[0] if came else None

    def request_close(self) -> None:
        """Have the server closed, and return at once. For signal handlers, and from anywhere.

        ``serve_forever`` closes it then, and where nobody is inside that, a thread. Where the server is closed, or was
        never started, nothing happens.
        """
        self._ezez_fork_guard.check()
        run = self._ezez_current_run()
        if run is not None and not run.closing:
            run.end_wanted.set()
            if not self.__servers:
                begin_thread(self.__close_by_thread, _CLOSER)
        elif run is None and self.__starting._is_owned():  # a handler, in the middle of ``start``
            begin_thread(self.__close_by_thread, _CLOSER)

    def close(self) -> None:
        """Close: no new connections, 1001 to every client, at most ``close_timeout`` seconds for them to go, then cut.

        Idempotent and callable from any thread, a listener included. Afterwards no socket is left, and no thread but
        those still inside user code, which are logged by name and end when that code returns. ``start()`` works again.
        In a signal handler that has interrupted the library it only begins to close, and returns.
        """
        self._ezez_fork_guard.check()
        if interrupts_library():
            begin_thread(self.__close_by_thread, _CLOSER)
        else:
            self.__close()

    def __close_by_thread(self) -> None:
        with self.__starting:
            pass  # whoever was interrupted may be about to start
        self.__close()

    def __close(self) -> None:
        with self.__lock:
            self.__closed = True
            run = self.__run
        if run is not None:
            first = not run.closing and not self._ezez_is_ours
            if first:
                logger.info("closing, with %d connections", len(run.connections()))
            run.close(self.__options.connection.common.close_timeout)
            self.__forget(run)
            for _, closed in self._ezez_figures.followers:
                closed()
            if first:
                limited.flush()
                logger.info("closed")

    @calls_user_code
    def __enter__(self: S) -> S:
        self.start()
        return self

    @calls_user_code
    def __exit__(self, *_: object) -> None:
        self.close()

    def wsgi_app(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Upgrade a request of a WSGI web server, and serve the connection on the calling thread until it has ended.

        A WSGI application: mount it, or return it from a Flask view. What is no upgrade gets 426, and every other
        refusal is as on a port of its own. Without a ``port`` the first request starts the server; after ``close()``,
        and with a ``port`` until it is started, it answers 503.
        """
        try:
            run = self.__admitting()
            if run is None:
                if not self.__closed:
                    warn_of_no_start(self.__options.port)
                raise Refusal(503, "the server is not running")
            run.serve_upgrade(environ)
        except Refusal as refusal:
            return answer(start_response, environ, refusal)
        return answer(start_response, environ, None)

    def serve_connection(self, sock: socket.socket) -> None:
        """Serve a connection that was accepted elsewhere, on the calling thread, until it has ended; closes ``sock``.

        For accept loops of one's own. It shakes hands as on a port of its own, with ``ssl`` in TLS first. Without a
        ``port`` the first connection starts the server; one that is closed, or not started, raises ``RuntimeError``.
        Nothing may have been read from ``sock``, which is TCP or Unix, or an ``ssl.SSLSocket`` after its handshake.
        """
        with sock:
            run = self.__admitting()
            if run is None:
                raise RuntimeError("the server is not running: call start()")
            try:
                address = sock.getpeername()
            except OSError:
                return  # it has gone
            run.serve_borrowed(sock, address if isinstance(address, tuple) else ())

    def mount(self, path: str, wsgi_app: WSGIApplication) -> None:
        """Have a WSGI application answer GET and HEAD on the server's port, for ``path`` and all below it.

        Also while the server runs. WebSockets may still connect there. A request has no body, and its response at most
        1 MiB; after ``handshake_timeout`` it is cut, with a warning. What has forms belongs in front: use ``wsgi_app``.

        Raises:
            TypeError: ``wsgi_app`` cannot be called as one.
            ValueError: ``path`` is no path as it is sent, percent-encoded, or something is mounted there.
        """
        self._ezez_fork_guard.check()
        self.__mounts.add(path, wsgi_app)
        if hasattr(wsgi_app, "_ezez_mounted"):
            wsgi_app._ezez_mounted(self, path)

    def _ezez_serve_read(self, wire: Wire, handshake: ServerHandshake, address: Any, deadline: Deadline) -> None:
        """Serve a connection whose request another server has read, on its thread, until it has ended."""
        run = self.__admitting()
        if run is None:
            wire.close()
        else:
            run.serve_read(wire, handshake, address, deadline)

    def __admitting(self) -> ServerRun | None:
        """Return the run that takes connections, begun if need be; ``None`` where there is none."""
        self._ezez_fork_guard.check()
        run = self._ezez_current_run()
        if run is None and self.__options.port is None:
            self.__start(by_itself=True)
        elif run is not None and not run.hub.has_begun:
            with self.__starting:  # another thread starts it, and it is no node before
                pass
        return self._ezez_current_run()

    @property
    def port(self) -> int | Any:  # who has no port of its own knows; others need not look for None
        """The port that is bound; while none is, the option."""
        listener = self.listener
        return self.__options.port if listener is None else int(listener.port)

    @property
    def host(self) -> str:
        """The address that is bound; while none is, the option."""
        listener = self.listener
        return self.__options.host if listener is None else str(listener.server_address[0])

    @property
    def url(self) -> str | Any:
        """Where clients connect to; ``None`` without a port of its own."""
        if self.port is None:
            return None
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'ws' if self.__options.ssl is None else 'wss'}://{host}:{self.port}{self.__options.path or ''}"

    @property
    def listener(self) -> Any:
        """The underlying ``websocket_server.WebsocketServer``; ``None`` while not started, and without a port."""
        run = self._ezez_current_run()
        return None if run is None or run.listener is None else run.listener.server

    @property
    def clients(self) -> list[EZEZServerClient[C]]:
        """Who is connected, the unauthenticated included; a copy."""
        return [connection.client for connection in self._ezez_connections() if connection.stream.ending is None]

    def _ezez_hub(self, what: str) -> Hub:
        """Return the node of the current run, begun if need be."""
        run = self.__admitting()
        if run is None:
            why = "closed" if self.__closed else "not started: call start() first"
            raise RuntimeError(f"{what} needs a server that runs, and this one is {why}")
        return run.hub

    def stats(self) -> ServerStats:
        """Return what the server has done since it was made, and what there is now; see ``ServerStats``.

        Cheap: asking once a second costs nothing that could be measured. Numbers of one moment may be some messages
        apart while there is traffic; they are exact when there is none.
        """
        self._ezez_fork_guard.check()
        return server_stats(self._ezez_figures, self._ezez_connections())

    def implement(self, contract: ContractOf[T], factory: Callable[[EZEZServerClient[C]], T]) -> None:
        """Answer the events of a contract by an object for each connection; notices are listened to.

        ``factory``, the class or any callable, is called as ``factory(client)``, once a connection, on its thread,
        before ``on_auth_ok``. Where it raises, or makes what lacks a method, that is told as an error of a callback,
        and the events are answered with the code ``internal``. ``TypeError``: the class is no contract, or the factory
        one that lacks a method. ``ValueError``: one of its events has a handler already; then none is registered.
        """
        self._ezez_fork_guard.check()
        implement_by(self, self.__factories, contract, factory)

    def __repr__(self) -> str:
        return f"<EZEZWebsocketServer {self.url if self._ezez_current_run() is not None else 'not started'}>"

    def _ezez_current_run(self) -> ServerRun | None:
        with self.__lock:
            return self.__run

    def _ezez_connections(self) -> Sequence[ServerConnection]:
        run = self._ezez_current_run()
        return () if run is None else run.connections()

    def __forget(self, run: ServerRun) -> None:
        """Let ``start`` begin anew, when a run is closed."""
        with self.__lock:
            if self.__run is run and run.closed.is_set():
                self.__run = None


EZEZWebSocketServer = EZEZWebsocketServer
"""The same class, by the name that half of its users give it."""


def _parse_origins(allowed: Any, tls: bool) -> Origins | callbacks.AllowsOrigin | None:
    """Check ``allowed_origins``, and bring it into the form in which it is asked."""
    if allowed is None or (callable(allowed) and not isinstance(allowed, Collection)):
        return allowed
    return Origins(allowed, tls)
