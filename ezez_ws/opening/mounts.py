"""WSGI applications below paths of the server's port."""

import logging
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from ..figures import Figures
from ..logs import limited, name_of
from ..options import check_callable, check_path
from ..threads.deadline import Deadline
from ..threads.interrupted import calls_user_code
from ..wire.sockets import Wire
from .http import HTTPResponse, Page
from .places import Place
from .server_handshake import ServerHandshake

__all__ = ["Mounted", "Mounts", "Visit", "WSGIApplication"]

WSGIApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
"""``wsgi_app(environ, start_response)``, by PEP 3333."""

_MOST_LATE = 100
"""So many threads may be inside of applications whose time is over; then applications are asked no more."""


class Mounted(NamedTuple):
    """An application and its path, which ends without a slash."""

    path: str
    app: WSGIApplication

    def __str__(self) -> str:
        return f"the application at {self.path or '/'} ({name_of(self.app)})"


class Visit(NamedTuple):
    """A WebSocket that an application takes by its method ``_ezez_serve``; the wire is that one's from then on."""

    app: Any
    handshake: ServerHandshake
    address: Any
    deadline: Deadline

    @calls_user_code
    def begin(self, wire: Wire) -> None:
        """Hand over, and return when it has ended."""
        try:
            self.app._ezez_serve(wire, self.handshake, self.address, self.deadline)
        except BaseException:
            wire.close()
            raise


class Mounts:
    """The applications of one server. Any thread may call any method; none locks: each step is whole in itself."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures
        self._mounted: dict[str, Mounted] = {}
        self.late: set[object] = set()  # exchanges whose time is over, and whose threads have not come back

    def __bool__(self) -> bool:
        return bool(self._mounted)

    def add(self, path: Any, app: Any) -> None:
        """Mount an application, from the next request on."""
        if not isinstance(path, str):
            raise TypeError(f"path must be a str, not {type(path).__name__}")
        check_path("path", path)
        if not callable(app):
            raise TypeError(f"wsgi_app must be callable, not {type(app).__name__}")
        check_callable("wsgi_app", app, "wsgi_app(environ, start_response)", may_yield=True)
        mounted = Mounted(path.rstrip("/"), app)
        if self._mounted.setdefault(mounted.path, mounted) is not mounted:
            raise ValueError(f"path is taken: {self._mounted[mounted.path]} is there")

    def find(self, path: str) -> Mounted | None:
        """Return what is mounted at a path, or at the nearest above it."""
        fitting = [one for one in tuple(self._mounted.values()) if f"{path}/".startswith(f"{one.path}/")]
        return max(fitting, key=lambda one: len(one.path), default=None)

    @calls_user_code
    def say_goodbye(self) -> None:
        """Tell those who have connections of their own that the server closes; they must not block."""
        for one in tuple(self._mounted.values()):
            goodbye = getattr(one.app, "_ezez_goodbye", None)
            if goodbye is not None:
                goodbye()

    @calls_user_code
    def serve(self, mounted: Mounted, handshake: ServerHandshake, wire: Wire, place: Place, deadline: Deadline) -> bool:
        """Let an application answer; false where that is no whole answer, and the wire is cut.

        An ``Page`` comes out where the application has given none.
        """
        if len(self.late) >= _MOST_LATE:
            text = "%s is asked no more: %d threads are inside of applications whose time is over"
            limited.tell(logging.WARNING, "late", text, mounted, len(self.late), few=1)
            raise Page(HTTPResponse(503, "Try again later.\n"))
        place.answer()
        wire.resets = True
        from .exchange import Exchange  # here, as few have applications

        exchange = Exchange(mounted.path, str(mounted), self.late, self._figures, handshake, wire, place, deadline)
        exchange.run(mounted.app)
        if exchange.whole:
            return True
        if not exchange.has_begun and not exchange.is_late:
            raise Page(HTTPResponse(500, "Internal error.\n"))
        wire.cut()
        return False
