"""A page that shows a running server, in its own process, by the library itself.

``Monitor`` is a WSGI application that gives away the page's files, and keeps figures and errors for it. While somebody
looks there is a ``Looking``: a server of its own, whose events the page uses, and a thread that gathers once a second
what has changed. Nothing of that is in the lists, figures, limits or callbacks of the server that is watched.
"""

import contextlib
import hmac
import os
import platform
import secrets
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..connection.server_side import ServerConnection
from ..errors import CallError, EZEZError, SendTimeout
from ..figures import Running
from ..logs import logger, shown
from ..messages.codec import Codec
from ..messages.protocol import CloseCode
from ..opening.origins import Origins
from ..opening.server_handshake import ServerHandshake
from ..opening.wsgi import Environ, StartResponse
from ..server import EZEZWebsocketServer
from ..server_client import EZEZServerClient
from ..server_run import ServerRun
from ..threads import clock
from ..threads.deadline import Deadline
from ..threads.interrupted import make_lock
from ..threads.starting import join_thread, start_thread
from ..threads.timers import Timer, janitor
from ..threads.waiting import Event
from ..version import find_version
from ..wire.sockets import Wire
from .samples import EVERY, ClientRows, History, ListenerRows, cluster_of, ms_since, now_ms, sample_of

__all__ = ["Monitor"]

_FOLDER = Path(__file__).resolve().parent.parent / "browser"
_FILES = {
    "/": ("monitor.html", "text/html; charset=utf-8"),
    "/monitor.js": ("monitor.js", "text/javascript; charset=utf-8"),
    "/monitor.css": ("monitor.css", "text/css; charset=utf-8"),
    "/ezez-ws.js": ("ezez-ws.js", "text/javascript; charset=utf-8"),
}
_SOCKET = "/socket"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
_HEADERS = [
    ("Content-Security-Policy", _POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
]

_BEAT = 0.25  # seconds between two looks at whether there is an error to tell
_SECOND = 1.0


class Monitor:
    """A page that shows who is connected to a server, what its listeners do now, its figures and its last errors.

    ``server.mount("/monitor", monitor)`` serves it on the server's own port; or it is mounted, as any WSGI
    application, beside the pages of a web server. Who opens the page needs the key: open ``monitor.url``. Only the
    page's own origin may connect. Any thread may call any method; ``_lock`` guards everything but what never changes.

    Args:
        server: the one to look at; it may be started before or after.
        key: what the page has to know; ``None`` makes one that nobody can guess.
        read_only: leave out what acts: to disconnect a client, to send it an event, to broadcast.
    """

    def __init__(self, server: EZEZWebsocketServer[Any], *, key: str | None = None, read_only: bool = False) -> None:
        if not isinstance(server, EZEZWebsocketServer):
            raise TypeError(f"server must be an EZEZWebsocketServer, not {type(server).__name__}")
        if key is not None and not isinstance(key, str):
            raise TypeError(f"key must be a str or None, not {type(key).__name__}")
        if key == "":
            raise ValueError("key must not be empty: leave it out, and one is made")
        if not isinstance(read_only, bool):
            raise TypeError(f"read_only must be True or False, not {type(read_only).__name__}")
        self._server = server
        self._key = secrets.token_urlsafe(18) if key is None else key
        self._read_only = read_only
        self._history = History()
        self._lock = make_lock()
        self._looking: Looking | None = None
        self._mounted: tuple[EZEZWebsocketServer[Any], str] | None = None
        self._timer: Timer | None = None  # of the next sample
        figures = server._ezez_figures
        figures.watch(self._history.add_error)
        figures.follow(self._begin, self._end)
        if _runs(server) is not None:
            self._begin()

    @property
    def key(self) -> str:
        """What the page, or ``ezez-ws stacks``, has to know."""
        return self._key

    @property
    def url(self) -> str:
        """Where the page is, with the key behind a ``#``, which no server is told; without ``mount`` only that end."""
        key = f"#{quote(self._key, safe='')}"
        with self._lock:
            mounted = self._mounted
        if mounted is None or mounted[0].port is None:
            return key
        server, path = mounted
        scheme, _, rest = server.url.partition("://")
        host = rest.partition("/")[0]
        return f"{'https' if scheme == 'wss' else 'http'}://{host}{path.rstrip('/')}/{key}"

    def __repr__(self) -> str:  # without the key
        return f"<Monitor of {self._server!r}>"

    # -- what is kept while nobody looks ------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Begin to keep figures, as the server has started."""
        self._sample()

    def _end(self) -> None:
        """Leave nothing behind of those who look, as the server has closed."""
        with self._lock:
            looking = self._looking
        if looking is not None:
            looking.close()

    def _sample(self) -> None:
        """Keep a sample, and take the next later; at most one timer is set. The janitor's, but for the first."""
        with self._lock:
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        if _runs(self._server) is None:
            return
        self._history.add_sample(self._server.stats())
        timer = janitor.call_later(EVERY, self._sample)
        with self._lock:
            self._timer = timer

    # -- as a WSGI application ----------------------------------------------------------------------------------------

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Give away the page and its files, and upgrade the page's connection where the web server can."""
        path = environ.get("PATH_INFO", "")
        if path == _SOCKET and environ.get("HTTP_UPGRADE"):
            looking = self._look()
            try:
                return looking.server.wsgi_app(environ, start_response)
            finally:
                self._look_away(looking)
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _respond(start_response, "405 Method Not Allowed", "text/plain", b"", ("Allow", "GET, HEAD"))
        if not path:  # relative, and without the fragment, which browsers then keep
            last = quote(environ.get("SCRIPT_NAME", "").rpartition("/")[2].encode("latin-1"))
            return _respond(start_response, "308 Permanent Redirect", "text/plain", b"", ("Location", f"./{last}/"))
        if path == _SOCKET:
            return _respond(start_response, "426 Upgrade Required", "text/plain", b"This is for WebSockets.\n")
        if path not in _FILES:
            return _respond(start_response, "404 Not Found", "text/plain", b"There is nothing here.\n")
        name, kind = _FILES[path]
        body = _respond(start_response, "200 OK", kind, (_FOLDER / name).read_bytes())
        return [] if environ["REQUEST_METHOD"] == "HEAD" else body

    # -- as what is mounted on a server -------------------------------------------------------------------------------

    def _ezez_mounted(self, server: EZEZWebsocketServer[Any], path: str) -> None:
        """Know where the page is."""
        with self._lock:
            self._mounted = server, path

    def _ezez_takes(self, path: str) -> bool:
        """Tell whether the WebSocket at a path below is the page's; all others are the program's."""
        return path == _SOCKET

    def _ezez_serve(self, wire: Wire, handshake: ServerHandshake, address: Any, deadline: Deadline) -> None:
        """Serve the page's connection, on the thread of the server where it has come, until it has ended."""
        looking = self._look()
        try:
            run = self._server._ezez_current_run()
            if run is not None and run.closing:  # the goodbye may have come before this one looked
                wire.close()
                return
            looking.server._ezez_serve_read(wire, handshake, address, deadline)
        finally:
            self._look_away(looking)

    def _ezez_goodbye(self) -> None:
        """Send away who looks, as that server closes."""
        with self._lock:
            looking = self._looking
        if looking is not None:
            looking.say_goodbye()

    def _look(self) -> "Looking":
        """Be one of those who look, until ``_look_away``; with the first it begins, with the last it is over."""
        with self._lock:
            mounted = self._mounted
        tls = mounted is not None and str(mounted[0].url).startswith("wss:")
        made = Looking(self._server, self._history, self._key, self._read_only, tls)
        with self._lock:
            looking = self._looking
            if looking is None or looking.ended:
                looking = self._looking = made
            looking.lookers += 1
            return looking

    def _look_away(self, looking: "Looking") -> None:
        with self._lock:
            looking.lookers -= 1
            over = not looking.lookers
            if over and self._looking is looking:
                self._looking = None
        if over:
            looking.close()


def _runs(server: EZEZWebsocketServer[Any]) -> ServerRun | None:
    """Return what runs of a server, where it does not close."""
    run = server._ezez_current_run()
    return None if run is None or run.closing else run


def _respond(start_response: StartResponse, status: str, kind: str, body: bytes, *more: tuple[str, str]) -> list[bytes]:
    start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body))), *_HEADERS, *more])
    return [body]


class Looking:
    """Somebody looks: the server that the page talks to, and the thread that tells it what has changed.

    ``_lock`` guards ``_newcomers`` and ``_thread``, the monitor's ``lookers``. What else there is belongs to the
    thread, which waits for nobody: what it asks the watched server is answered at once, and a page that is too slow is
    cut.
    """

    lookers = 0
    ended = False

    def __init__(
        self, watched: EZEZWebsocketServer[Any], history: History, key: str, read_only: bool, tls: bool
    ) -> None:
        self._watched = watched
        self._history = history
        self._read_only = read_only
        self._key = key.encode("utf-8", "surrogatepass")
        self._own = Origins("same-origin", tls)
        self._lock = make_lock()
        self._newcomers: list[EZEZServerClient[Any]] = []
        self._thread: threading.Thread | None = None
        self._wake = Event()
        self._greeted: set[EZEZServerClient[Any]] = set()
        self._clients = ClientRows()
        self._listeners = ListenerRows()
        self._last_error = 0
        self.server: EZEZWebsocketServer[Any] = EZEZWebsocketServer(
            on_auth_request=self._knows_key,
            on_auth_ok=self._welcome,
            allowed_origins=lambda origin, request: self._own.allows(origin, request.headers["Host"]),
            codec=Codec(sort_props=False),
            unknown_events="error",
            max_connections=100,
            max_unauthenticated=20,
            max_payload_before_auth=4096,
            send_buffer_limit=32 << 20,
            send_timeout=1.0,
            close_timeout=1.0,
        )
        self.server._ezez_is_ours = True
        if not read_only:
            self.server._ezez_listeners.tells("disconnect")  # it is a call here, and no name that is mistaken
            self.server.handler("disconnect", self._disconnect)
            self.server.handler("send", self._send)
            self.server.handler("broadcast", self._broadcast)

    def say_goodbye(self) -> None:
        """Send away who looks, and return at once; the last to leave closes it."""
        self.ended = True
        self._wake.set()
        run = self.server._ezez_current_run()
        if run is not None:
            run.say_goodbye()

    def close(self) -> None:
        """End, when nobody looks any more."""
        with self._lock:
            self.ended = True
            thread = self._thread
        self._wake.set()
        self.server.close()
        if thread is not None and thread is not threading.current_thread():
            join_thread(thread, 1.0)

    # -- on the threads of those who look -----------------------------------------------------------------------------

    def _knows_key(self, client: EZEZServerClient[Any], key: str) -> bool:
        return hmac.compare_digest(key.encode("utf-8", "surrogatepass"), self._key)

    def _welcome(self, client: EZEZServerClient[Any]) -> None:
        with self._lock:
            self._newcomers.append(client)
            thread = None
            if self._thread is None and not self.ended:
                thread = self._thread = threading.Thread(target=self._work, name="ezez-monitor", daemon=True)
        if self.ended:  # the goodbye has come before it was admitted
            client.disconnect(CloseCode.GOING_AWAY, "server shutdown")
        if thread is not None:
            start_thread(thread)
        self._wake.set()

    def _find(self, id: int) -> EZEZServerClient[Any]:
        for client in self._watched.clients:
            if client.connection_id == id:
                return client
        raise CallError("gone", "the client has gone")

    def _disconnect(self, _: EZEZServerClient[Any], id: int) -> bool:
        self._find(id).disconnect()
        return True

    def _send(self, _: EZEZServerClient[Any], id: int, event: str, args: list[Any]) -> bool:
        with _telling():
            return bool(self._find(id).send(event, args))

    def _broadcast(self, _: EZEZServerClient[Any], event: str, args: list[Any]) -> int:
        with _telling():
            return self._watched.broadcast(event, args)

    # -- on the thread that gathers -----------------------------------------------------------------------------------

    def _work(self) -> None:
        run, due = _runs(self._watched), 0.0
        while not self.ended:
            self._wake.clear()
            if run is not None and run.closing:
                self.say_goodbye()
                return
            with self._lock:
                newcomers, self._newcomers = self._newcomers, []
            try:
                now = clock.monotonic()
                if newcomers:
                    self._greet(newcomers)
                self._tell_errors()
                if newcomers or now >= due:
                    due = now + _SECOND
                    self._tell_all()
            except Exception:
                logger.exception("the monitor could not look at its server")
            self._wake.wait(_BEAT)

    def _greet(self, newcomers: list[EZEZServerClient[Any]]) -> None:
        self._tell_clients(self._running())
        self._tell_errors()
        self._last_error, errors = self._history.errors()
        hello = {
            "server": self._describe_server(),
            "readOnly": self._read_only,
            "samples": self._history.samples(),
            "errors": errors,
        }
        for one in newcomers:
            with contextlib.suppress(SendTimeout):  # it was cut, and the others must have theirs
                one.send("hello", [hello])
                for portion in self._clients.portions():
                    one.send("clients", [portion])
                self._greeted.add(one)

    def _tell_all(self) -> None:
        self._greeted = {one for one in self._greeted if one.alive}
        if not self._greeted:
            return
        self._tell("sample", sample_of(now_ms(), self._watched.stats()))
        running = self._running()
        self._tell("listeners", self._listeners.look(running, self._wake.wait), len(running))
        self._tell_clients(running)
        self._tell("cluster", cluster_of(self._watched))

    def _tell_clients(self, running: Mapping[ServerConnection, Running]) -> None:
        run = self._watched._ezez_current_run()
        changed, gone = self._clients.look(() if run is None else run.connections(), running)
        if changed or gone:
            for portion in self._clients.portions(changed, gone):
                self._tell("clients", portion)

    def _tell_errors(self) -> None:
        self._last_error, errors = self._history.errors(self._last_error)
        for error in errors:
            self._tell("error", error)

    def _tell(self, event: str, *args: Any) -> None:
        self.server.broadcast(event, args, where=self._greeted.__contains__)

    def _running(self) -> dict[ServerConnection, Running]:
        run = self._watched._ezez_current_run()
        found = {}
        for one in () if run is None else run.connections():
            running = one.running()
            if running is not None:
                found[one] = running
        return found

    def _describe_server(self) -> dict[str, Any]:
        run = _runs(self._watched)
        return {
            "url": None if run is None else self._watched.url,
            "pid": os.getpid(),
            "host": shown(socket.gethostname()),
            "python": platform.python_version(),
            "version": find_version(),
            "started": None if run is None or run.started is None else now_ms() - ms_since(run.started),
            "node": run.hub.node if run is not None and run.hub.has_backplane else None,
        }


@contextlib.contextmanager
def _telling() -> Iterator[None]:
    """Have who acts hear why that was not possible."""
    try:
        yield
    except CallError:
        raise
    except (EZEZError, TypeError, ValueError, RuntimeError) as error:
        raise CallError("refused", shown(str(error))) from error
