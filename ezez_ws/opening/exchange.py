"""How a WSGI application answers one request on the server's port.

``wsgiref.handlers`` runs the application, on the connection's thread, and writes to the wire as it comes. What that
does not look after is here: a time and a size that nobody exceeds, headers that cannot break out, a HEAD without its
body. What cannot be ended as a whole is reset: neither the peer nor a proxy before us takes a part of it for all. So a
timer cuts the wire of an application that is still at work when the time is over; its thread ends when that returns.
"""

import logging
import re
import sys
from collections.abc import Callable
from io import BytesIO
from typing import Any
from urllib.parse import unquote_to_bytes
from wsgiref.handlers import BaseHandler
from wsgiref.headers import Headers
from wsgiref.util import is_hop_by_hop

from ..figures import Figures
from ..logs import limited, shown_address
from ..threads.deadline import Deadline
from ..threads.interrupted import calls_user_code
from ..threads.timers import janitor
from ..wire.sockets import Wire
from .http import MAX_BODY, NO_BODY, check_header, write_all
from .places import Place
from .server_handshake import ServerHandshake

__all__ = ["Exchange"]

_LONGEST = 1e6  # seconds
_STATUS = re.compile(r"[2-5][0-9][0-9] [\t -~\x80-\xff]*")


class _Ended(Exception):
    """The application need not go on."""


class Exchange(BaseHandler):
    """One request and its response, on the connection's thread; the timer's calls ``expire``.

    ``path`` is the application's, ``what`` its name, and in ``late`` it is while its thread comes too late.
    """

    environ: dict[str, Any]  # these are the base's
    status: str | None
    headers: Headers | None
    headers_sent: bool
    http_version = "1.1"
    os_environ = {}  # noqa: RUF012, not the process's: a variable HTTP_PROXY would be a header

    def __init__(
        self,
        path: str,
        what: str,
        late: set[object],
        figures: Figures,
        handshake: ServerHandshake,
        wire: Wire,
        place: Place,
        deadline: Deadline,
    ) -> None:
        self._path = path
        self._what = what
        self._late = late
        self._figures = figures
        self._handshake = handshake
        self._wire = wire
        self._place = place
        self._deadline = deadline
        self._pending = bytearray()  # what goes out with the next flush
        self._in_body = False
        self._body = 0  # bytes
        self._has_no_body = handshake.method == "HEAD"
        self._returned = False
        self.has_begun = False
        self.is_late = False
        self.whole = False

    @calls_user_code
    def run(self, application: Callable[..., Any]) -> None:
        timer = janitor.call_later(self._deadline.remaining_of(_LONGEST), self.expire)
        try:
            self.setup_environ()
            self.result = application(self.environ, self.start_response)
            self.finish_response()
        except _Ended:
            pass
        except BaseException as error:
            extra = {"remote_address": shown_address(self._place.address)}
            kind, text = (self._path, type(error)), "an error in %s"
            self._figures.tell(error, self._what, extra)
            limited.tell(logging.ERROR, kind, text, self._what, exc_info=error, extra=extra)
        finally:
            self._returned = True
            timer.cancel()
            self._late.discard(self)

    def expire(self) -> None:
        """Cut the wire, as the time is over."""
        if not self._place.expire():
            return
        self.is_late = True
        self._late.add(self)
        if self._returned:
            self._late.discard(self)
        self._tell_of_cut("has not ended in time, or its peer did not take it")

    def _tell_of_cut(self, why: str) -> None:
        peer = shown_address(self._place.address)
        text = "cut the response to %s: that of %s %s"
        limited.tell(logging.WARNING, "cut", text, peer, self._what, why, extra={"remote_address": peer})

    # -- what the application gets --------------------------------------------------------------------------------

    def add_cgi_vars(self) -> None:
        self.environ.update(_environ_of(self._handshake, self._path, self._wire))

    def get_stdin(self) -> BytesIO:
        return BytesIO()

    def get_stderr(self) -> Any:
        return sys.stderr

    def get_scheme(self) -> str:
        return "https" if self._wire.secure else "http"

    def start_response(self, status: str, headers: Any, exc_info: Any = None) -> "Callable[[bytes], None]":
        if not isinstance(status, str) or not _STATUS.fullmatch(status):
            raise ValueError(f"status must be a str such as '200 OK', not {status!r}")
        pairs = [(name, value) for name, value in headers]
        for name, value in pairs:
            check_header("headers", name, value)
            if is_hop_by_hop(name):
                raise ValueError(f"headers has {name!r}, which is the server's")
        lengths = [value for name, value in pairs if name.lower() == "content-length"]
        if lengths[1:] or not all(re.fullmatch("[0-9]{1,15}", value) for value in lengths):
            raise ValueError(f"headers has a wrong Content-Length: {', '.join(lengths)}")
        return super().start_response(status, [(str(name), str(value)) for name, value in pairs], exc_info)

    # -- what goes out ----------------------------------------------------------------------------------------------

    def cleanup_headers(self) -> None:
        assert self.status is not None and self.headers is not None
        if int(self.status[:3]) in NO_BODY:
            self._has_no_body = True
            if self.status.startswith("204"):
                del self.headers["Content-Length"]
        else:
            super().cleanup_headers()
        self.headers["Connection"] = "close"

    def write(self, data: bytes) -> None:
        if not isinstance(data, bytes):
            raise TypeError(f"a response must be of bytes, not {type(data).__name__}")
        super().write(bytes(data))

    def send_headers(self) -> None:
        super().send_headers()
        self._in_body = True

    def finish_content(self) -> None:
        if self.headers is None:
            raise RuntimeError("start_response() was not called")
        if not self.headers_sent:
            if not (self._has_no_body or int(str(self.status)[:3]) in NO_BODY):
                self.headers.setdefault("Content-Length", "0")
            self.send_headers()
            self._flush()
        elif not self._has_no_body and self._body < self._declared(0):
            raise ValueError(f"the response has {self._body} bytes, and its Content-Length is {self._declared(0)}")
        self.whole = True

    def _declared(self, default: int) -> int:
        assert self.headers is not None
        return int(self.headers["Content-Length"] or default)

    def _write(self, data: bytes) -> None:
        if self._in_body:
            self._body += len(data)
            if self._body > MAX_BODY:
                if not self._has_no_body:
                    self._tell_of_cut(f"is larger than {MAX_BODY} bytes")
                elif not self.has_begun:
                    self._flush()  # a HEAD gets the head that there is
                self.has_begun = True  # or it would be a 500
                raise _Ended
            if self._has_no_body:
                return
            if self._body > self._declared(MAX_BODY):
                raise ValueError(f"the response has more bytes than its Content-Length, {self._declared(0)}")
        self._pending += data

    def _flush(self) -> None:
        data = bytes(self._pending)
        self._pending.clear()
        self.has_begun = True
        if self.is_late or not write_all(self._wire, data, self._deadline):
            if self._deadline.passed():
                self.expire()
            raise _Ended
        self.whole = self._has_no_body


def _environ_of(handshake: ServerHandshake, path: str, wire: Wire) -> dict[str, str]:
    """Return what WSGI says of the request."""
    request, local = handshake.request, wire.local_address()
    host, port = local[:2] if isinstance(local, tuple) else ("localhost", 80)  # a Unix socket has a name only
    environ = {
        "REQUEST_METHOD": handshake.method,
        "SCRIPT_NAME": _unquote(path),
        "PATH_INFO": _unquote(request.path[len(path) :]),
        "QUERY_STRING": request.query,
        "SERVER_PROTOCOL": f"HTTP/1.{0 if handshake.is_old else 1}",
        "SERVER_NAME": str(host),
        "SERVER_PORT": str(port),
    }
    if request.remote_address:
        environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = map(str, request.remote_address[:2])
    for name in request.headers:
        if "_" in name:
            continue  # it would pass for the one with a hyphen
        value = ("; " if name == "cookie" else ", ").join(request.headers.get_all(name))
        key = name.upper().replace("-", "_")
        environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = value
    return environ


def _unquote(path: str) -> str:
    return unquote_to_bytes(path).decode("latin-1")
