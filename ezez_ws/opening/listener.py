"""Standalone mode: accepting connections, on websocket-server.

Its ``WebsocketServer`` (a ``ThreadingMixIn`` TCP server) accepts and gives each connection its thread, through a
handler class of ours. Importing it installs a handler on the user's root logger: that is done late, and undone.
"""

import contextlib
import errno
import functools
import logging
import selectors
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..logs import limited, shown_address
from ..threads import clock
from ..threads.fork import close_in_child
from ..threads.interrupted import make_lock
from ..threads.starting import start_thread
from ..wire.poller import Poller
from ..wire.sockets import SocketWire
from .places import Place, Places

if TYPE_CHECKING:
    from websocket_server import WebsocketServer

__all__ = ["Listener"]

_BACKLOG = 1024
_PAUSE = 0.1  # seconds to wait where accepting fails again and again
_SHORT_PAUSE = 0.005  # the same, where something has been done about it
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_READ = 65536

_import_lock = make_lock()


class Listener:
    """A bound socket and the thread that accepts its connections; ``OSError``: it cannot be bound.

    Each connection gets its place when it is accepted. ``serve(place)`` runs on a thread of its own for each and owns
    ``place.wire``; where no thread can be had, ``refusal`` is sent instead. Where descriptors, memory or threads run
    short, those who have shaken hands for longest make room. Nothing but ``close`` ends the loop. ``_troubled`` is the
    loop's: the last attempt has failed.
    """

    def __init__(
        self,
        host: str,
        port: int,
        reuse_port: bool,
        serve: Callable[[Place], None],
        places: Places,
        refusal: bytes = b"",
    ) -> None:
        self.serve = serve
        self._places = places
        self._refusal = refusal
        self._troubled = False
        self._lock = make_lock()  # guards _threads, _started, _released and the poller's life
        self._threads: list[threading.Thread] = []
        self._started = 0
        self._released = False
        self._poller = Poller(selectors.DefaultSelector, selectors.EVENT_READ)
        try:
            with _import_lock:
                server_class = _make_server_class()
            self.server = server_class(host, port, reuse_port, self)
        except BaseException as error:
            self._poller.close()
            if isinstance(error, OSError):
                error.filename = shown_address((host, port))  # its text names it then
            raise
        close_in_child(self.server.socket)
        close_in_child(self._poller)
        self._accepting = threading.Thread(target=self._accept, name=f"ezez-accept-{self.server.port}", daemon=True)

    def start(self) -> None:
        """Begin to accept."""
        try:
            start_thread(self._accepting)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop accepting and give the port back; connections go on. Idempotent."""
        with self._lock:
            if not self._released:
                self._poller.wake()
        if self._accepting.ident is None:  # start() has not come so far
            self._release()
        else:
            self._accepting.join()

    def threads(self) -> list[threading.Thread]:
        """Return the threads of the connections that have not ended."""
        with self._lock:
            self._forget_ended()
            return list(self._threads)

    def _forget_ended(self) -> None:
        """Requires holding the lock. One that has no identifier is about to start."""
        self._threads = [thread for thread in self._threads if thread.is_alive() or thread.ident is None]

    def take(self, sock: socket.socket, address: Any) -> None:
        """Give a connection its place and its thread, or a short answer where none can be had. The accept loop's."""
        place: Place | None = None
        try:
            close_in_child(sock)  # here, as it is a while until its thread makes a wire of it
            place = Place(self._places, SocketWire(sock), address)
            place.enter()
            self._give_thread(place)
        except Exception as error:  # RuntimeError, MemoryError
            if place is not None:
                place.leave()
            with contextlib.suppress(Exception):
                limited.tell(logging.WARNING, "no thread", "no thread for another connection: %s", _say(error), few=1)
            self._turn_away(sock)
            self._places.make_room()

    def _give_thread(self, place: Place) -> None:
        with self._lock:
            self._started += 1
            if self._started % 256 == 0:
                self._forget_ended()
        target, name = self.server.process_request_thread, f"ezez-conn-{self._started}"
        thread = threading.Thread(target=target, args=(place, place.address), name=name, daemon=True)
        with self._lock:
            self._threads.append(thread)  # before it runs: it may ask whether it is ours
        try:
            thread.start()
        except BaseException:
            with self._lock:
                self._threads.remove(thread)
            raise

    def _accept(self) -> None:
        try:
            self._poller.selector.register(self.server.socket, selectors.EVENT_READ, self)
            while self._accept_next():
                pass
        finally:
            self._release()

    def _accept_next(self) -> bool:
        """Wait for a connection, and accept it; false where it is to end."""
        try:
            if not all(key.data is self for key, _ in self._poller.selector.select()):
                return False
            try:
                self.server.process_request(*self.server.get_request())
            except (BlockingIOError, InterruptedError, ConnectionError):
                pass  # it has gone again
            self._troubled = False
        except Exception as error:  # what it is, and where it comes from, nobody knows: MemoryError is among them
            with contextlib.suppress(Exception):
                self._recover(error)
        return True

    def _recover(self, error: Exception) -> None:
        """Tell that accepting has failed, and pause where it does so again: ``select`` would return at once."""
        again, self._troubled = self._troubled, True
        pause = _PAUSE
        try:
            short = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _SHORTAGES)
            if short and self._places.make_room():
                pause = _SHORT_PAUSE
            limited.tell(logging.WARNING, "accept", "cannot accept a connection: %s", _say(error), few=1)
        finally:  # whatever else fails
            if again:
                clock.sleep(pause)

    def _turn_away(self, sock: socket.socket) -> None:
        """Say why, as far as that goes without waiting, and close."""
        with contextlib.suppress(Exception), sock:
            sock.setblocking(False)
            with contextlib.suppress(OSError):
                sock.recv(_READ)  # what is not read makes a reset of the close, which overtakes the answer
            if self._refusal:
                sock.send(self._refusal)
                sock.shutdown(socket.SHUT_WR)

    def _release(self) -> None:
        with contextlib.suppress(OSError):
            self.server.socket.shutdown(socket.SHUT_RDWR)  # a forked child may have it, too, and keep it listening
        self.server.server_close()
        with self._lock:
            self._released = True
            self._poller.close()


def _say(error: Exception) -> str:
    return str(error) or type(error).__name__


@functools.cache
def _make_server_class() -> "type[WebsocketServer]":
    root = logging.getLogger()
    before = list(root.handlers)
    from websocket_server import WebsocketServer
    from websocket_server.websocket_server import WebSocketHandler

    for handler in [handler for handler in root.handlers if handler not in before]:
        root.removeHandler(handler)  # websocket-server calls logging.basicConfig() when it is imported
        handler.close()

    class Handler(WebSocketHandler):  # type: ignore[misc]
        """Leads from an accepted connection to ``Listener.serve``."""

        def __init__(self, place: Place, address: Any, server: "Server") -> None:
            # not super(): it would wrap the socket in files, and in TLS that falls back to none
            server.owner.serve(place)

    class Server(WebsocketServer):  # type: ignore[misc]
        """``WebsocketServer`` with our handler and nothing else of its own."""

        request_queue_size = _BACKLOG
        block_on_close = False

        def __init__(self, host: str, port: int, reuse_port: bool, owner: Listener) -> None:
            self.owner = owner
            self.reuse_port = reuse_port
            found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            family, _, _, _, address = found[0]
            self.address_family = family
            level = logging.getLogger("websocket_server.websocket_server").level
            super().__init__(address[0], port, loglevel=level)
            self.RequestHandlerClass = Handler

        def server_bind(self) -> None:
            exclusive = getattr(socket, "SO_EXCLUSIVEADDRUSE", None)
            self.allow_reuse_address = exclusive is None
            if exclusive is not None:  # Windows, where SO_REUSEADDR would let two servers have one port
                self.socket.setsockopt(socket.SOL_SOCKET, exclusive, 1)
            if self.reuse_port:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            super().server_bind()
            self.socket.setblocking(False)

        def process_request(self, request: Any, client_address: Any) -> None:
            self.owner.take(request, client_address)

        def shutdown_request(self, request: Any) -> None:
            """Close a socket, or the wire of one that had a place."""
            if isinstance(request, Place):
                request.leave()
                request = request.wire
            request.close()  # after shutdown, it would be half a goodbye: the stream has said it

        def handle_error(self, request: Any, client_address: Any) -> None:
            peer = shown_address(client_address)
            text, extra = "an error while serving %s", {"remote_address": peer}
            limited.tell(logging.ERROR, "serving", text, peer, exc_info=True, extra=extra)

    return Server
