"""The server's door: an accepted wire becomes a WebSocket, or gets a clear HTTP answer.

A request is read, then asked about as a page, which is a GET or HEAD without a body, in HTTP/1.0, too; what nobody
answers so is judged as a handshake. There is one request a connection.
"""

import contextlib
import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ..logs import limited, name_of, shown, shown_address
from ..threads.deadline import Deadline
from ..threads.interrupted import calls_user_code
from ..wire.sockets import Wire, WireError
from .head import tell_head
from .http import HTTPResponse, Page, write_all
from .mounts import Mounted, Visit
from .origins import Origins
from .places import Place
from .server_handshake import WRONG_ORIGIN, HandshakeRequest, Refusal, ServerHandshake

if TYPE_CHECKING:
    from ..server_run import ServerOptions
    from ..websocket.deflate import Deflate

__all__ = [
    "BUSY",
    "LINGER",
    "Admission",
    "AllowsOrigin",
    "ExtraHeaders",
    "LimitOf",
    "Upgrade",
    "VerifyRequest",
    "listening",
    "tell_refused",
]

AllowsOrigin = Callable[[str, HandshakeRequest], bool]
"""The option ``allowed_origins`` as a callable, ``(origin, request)``: whether a page of that origin may connect."""
LimitOf = Callable[[HandshakeRequest], tuple[Any, int | None]]
"""``max_connections_per_address(request)``: a key, and how many connections all of the same key may have."""
VerifyRequest = Callable[[HandshakeRequest], bool | int]
"""``verify_request(request)``: whether it may connect, or the HTTP status of the refusal."""
ExtraHeaders = list[tuple[str, str]]
Accept = Callable[[ServerHandshake, ExtraHeaders], Wire]

_READ = 4096
LINGER = 1.0
"""Seconds for which who is refused is listened to."""
_LINGER_BYTES = 256 << 10  # and how much of it
_HEALTHY = HTTPResponse(200, "ok\n", [("Cache-Control", "no-store")])

BUSY = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
"""What they are told for whom there is not even a thread."""


class NoPlace(Refusal):
    """A limit is reached."""

    def __init__(self, text: str) -> None:
        super().__init__(503, text)


class Admission(NamedTuple):
    """A handshake that is done: the request, what arrived behind it, and the compression that was agreed."""

    request: HandshakeRequest
    early: bytes
    deflate: "Deflate | None"


class Upgrade:
    """Shakes hands with those who connect. Immutable; ``admit*`` runs on each connection's own thread."""

    def __init__(self, options: "ServerOptions") -> None:
        allowed, limit = options.allowed_origins, options.max_connections_per_address
        self._begin = partial(
            ServerHandshake, options.path, options.subprotocols, allowed if isinstance(allowed, Origins) else None
        )
        self._options = options
        self._figures = options.connection.common.figures
        self._allows_origin = None if allowed is None or isinstance(allowed, Origins) else allowed
        self._limit_of = limit if callable(limit) else None

    def admit(
        self, wire: Wire, address: Any, deadline: Deadline, place: Place, received: bytes = b""
    ) -> Admission | Visit | None:
        """Shake hands. ``None`` where there is no WebSocket, and the wire can be closed.

        ``received``: what somebody else has read already.
        """
        handshake = self._begin(address, peer_certificate=wire.peer_certificate(), reads_old=self._has_pages())
        try:
            if not self._read_request(handshake, wire, listening(place, deadline), received):
                return None
            mounted = self._ask_for_page(handshake, place)
            if mounted is not None:
                return self._visit(mounted, handshake, wire, address, deadline, place)
            handshake.judge()
            headers, deflate = self._decide(handshake, place)
        except Page as answer:
            answer.with_body = handshake.method != "HEAD"
            self._answer(answer, wire, address, deadline, place)
            return None
        except Refusal as refusal:
            self._refuse(refusal, wire, address, place)
            return None
        if place.finish() and write_all(wire, handshake.accept(headers), deadline):
            return Admission(handshake.request, handshake.trailing, deflate)
        return None

    def admit_parsed(self, head: bytes, address: Any, accept: Accept, place: Place) -> tuple[Wire, Admission]:
        """Judge a request that somebody else has read, who also answers a ``Refusal``.

        ``accept`` sends the 101, with the headers that it is given, and returns the wire; what it raises comes out.
        """
        handshake = self._begin(address)
        if not handshake.read(head) or handshake.trailing:
            raise Refusal(400, "This is not one request.")
        self._ask_for_page(handshake, place)  # mounted are applications on ports of our own only
        handshake.judge()
        headers, deflate = self._decide(handshake, place)
        return accept(handshake, headers), Admission(handshake.request, b"", deflate)

    def turn_away(self, wire: Wire, address: Any, plain: bool) -> None:
        """Refuse one that cannot be listened to. ``plain``: it understands what is not encrypted."""
        self._figures.refused(503)
        tell_refused(address, NoPlace("too many have been refused at once"))
        if plain:
            with contextlib.suppress(WireError):
                wire.write_now(BUSY)

    def _decide(self, handshake: ServerHandshake, place: Place) -> "tuple[ExtraHeaders, Deflate | None]":
        """See whether there is a place, and let the user decide."""
        if not place.held:
            raise NoPlace("the server has no place for another connection")
        self._check_origin(handshake.request)
        self._check_limit(handshake.request, place)
        self._verify(handshake.request)
        if self._options.compression is None:
            return [], None
        from .extensions import choose_offer

        chosen = choose_offer(handshake.extension_offers)
        return ([], None) if chosen is None else ([("Sec-WebSocket-Extensions", chosen[0])], chosen[1])

    def _read_request(self, handshake: ServerHandshake, wire: Wire, deadline: Deadline, received: bytes) -> bool:
        if received and handshake.read(received):
            return True
        while True:
            if not wire.poll(True, False, deadline.remaining())[0]:
                return False  # too late: there is nobody to talk to
            data = wire.read_now(_READ)
            if data and handshake.read(data):
                return True
            if data == b"" or deadline.passed():
                return False

    # -- pages ------------------------------------------------------------------------------------------------------

    def _has_pages(self) -> bool:
        options = self._options
        return options.process_request is not None or options.health_path is not None or bool(options.mounts)

    def _ask_for_page(self, handshake: ServerHandshake, place: Place) -> Mounted | None:
        """Return the application whose request this is; ``None``: it is none that is answered here."""
        if not self._has_pages():
            return None
        try:
            return self._find_page(handshake, place)
        except Refusal as refusal:
            refusal.with_body = handshake.method != "HEAD"
            raise

    def _find_page(self, handshake: ServerHandshake, place: Place) -> Mounted | None:
        request, upgrades = handshake.request, handshake.wants_upgrade
        reads = handshake.method in ("GET", "HEAD")
        is_health = request.path == self._options.health_path and not upgrades
        if reads and not handshake.has_body:
            if not upgrades:
                place.answer()  # it can become no client
            response = self._process(request)
            if response is not None or is_health:
                raise Page(response or _HEALTHY)
        mounted = self._options.mounts.find(request.path)
        if upgrades:
            takes = getattr(mounted and mounted.app, "_ezez_takes", None)
            return mounted if mounted is not None and takes and takes(request.path[len(mounted.path) :]) else None
        if mounted is not None or is_health:
            if not reads:
                raise Refusal(405, "Only GET and HEAD are answered here.", [("Allow", "GET, HEAD")])
            if handshake.has_body:
                raise Refusal(400, "A request has no body here.")
            handshake.check_host()
        return mounted

    @calls_user_code
    def _process(self, request: HandshakeRequest) -> HTTPResponse | None:
        """Ask the user for an answer."""
        if self._options.process_request is None:
            return None
        with self._asking("process_request", self._options.process_request, request):
            response: object = self._options.process_request(request)
            if response is not None and not isinstance(response, HTTPResponse):
                raise TypeError(f"process_request must return an HTTPResponse or None, not {response!r:.100}")
        return response

    def _visit(
        self,
        mounted: Mounted,
        handshake: ServerHandshake,
        wire: Wire,
        address: Any,
        deadline: Deadline,
        place: Place,
    ) -> Visit | None:
        if handshake.wants_upgrade:
            return Visit(mounted.app, handshake, address, deadline)
        if self._options.mounts.serve(mounted, handshake, wire, place, deadline):
            self._end(wire, deadline, place)
        return None

    def _answer(self, answer: Page, wire: Wire, address: Any, deadline: Deadline, place: Place) -> None:
        """Give a page to whoever takes it in time."""
        place.answer()
        wire.resets = True
        data = answer.response()
        tell_head(">", data.partition(b"\r\n\r\n")[0])
        if not deadline.passed() and write_all(wire, data, deadline):
            self._end(wire, deadline, place)
            return
        wire.cut()
        if deadline.passed():
            peer, text = shown_address(address), "cut the response to %s: it was not made, or not taken, in time"
            limited.tell(logging.WARNING, "cut", text, peer, extra={"remote_address": peer})

    def _end(self, wire: Wire, deadline: Deadline, place: Place) -> None:
        """Say that the answer is whole."""
        wire.resets = False
        wire.poll(False, True, deadline.remaining())  # there must be room for TLS's goodbye
        wire.end_writing()
        if place.refuse():
            _read_away(wire, Deadline(LINGER))

    # -- handshakes -------------------------------------------------------------------------------------------------

    @calls_user_code
    def _check_origin(self, request: HandshakeRequest) -> None:
        """Ask the user whose pages may connect."""
        origins = request.headers.get_all("Origin")
        if self._allows_origin is None or not origins:
            return
        with self._asking("allowed_origins", self._allows_origin, request):
            answer: object = len(origins) == 1 and self._allows_origin(origins[0], request)
            if answer is not None and not isinstance(answer, bool):
                raise TypeError(f"allowed_origins must return True or False, not {answer!r}")
        if not answer:
            raise Refusal(403, WRONG_ORIGIN)

    @calls_user_code
    def _check_limit(self, request: HandshakeRequest, place: Place) -> None:
        """Ask the user by what to count the connection, and how many there may be."""
        if self._limit_of is None:
            return
        with self._asking("max_connections_per_address", self._limit_of, request):
            answer: object = self._limit_of(request)
            if not (isinstance(answer, tuple) and len(answer) == 2 and _is_limit(answer[1])):
                raise TypeError(f"max_connections_per_address must return a key and an int >= 1, not {answer!r}")
            key, most = repr(answer[0]), answer[1]
        if not place.claim(key, most):
            raise NoPlace("too many connections from one address")

    @calls_user_code
    def _verify(self, request: HandshakeRequest) -> None:
        """Ask the user for the last word."""
        if self._options.verify_request is None:
            return
        with self._asking("verify_request", self._options.verify_request, request):
            answer: object = self._options.verify_request(request)
            if answer is None or isinstance(answer, bool):
                status = 0 if answer else 403
            elif isinstance(answer, int) and 200 <= answer <= 599:
                status = int(answer)
            else:
                raise TypeError(f"verify_request must return True, False or an HTTP status, not {answer!r}")
        if status:
            raise Refusal(status, "refused")

    @contextlib.contextmanager
    def _asking(self, option: str, function: Callable[..., Any], request: HandshakeRequest) -> Iterator[None]:
        """Run what the user has given for an option; what it raises is logged, and is a 500."""
        try:
            yield
        except BaseException as error:
            name, extra = name_of(function), {"remote_address": shown_address(request.remote_address)}
            kind, text = (name, type(error)), "an error in %s (%s)"
            self._figures.tell(error, f"{option} ({name})", extra)
            limited.tell(logging.ERROR, kind, text, option, name, exc_info=error, extra=extra)
            raise Refusal(500, "internal error") from error

    def _refuse(self, refusal: Refusal, wire: Wire, address: Any, place: Place) -> None:
        """Page, and read away for a moment what the peer still sends, so that it reads our answer and no reset."""
        self._figures.refused(refusal.status)
        tell_refused(address, refusal)
        deadline = Deadline(LINGER)
        is_heard = place.refuse()
        if not write_all(wire, refusal.response(), deadline) or not is_heard:
            return
        wire.end_writing()
        _read_away(wire, deadline)


def listening(place: Place, deadline: Deadline) -> Deadline:
    """Return until when a connection is listened to."""
    return deadline if place.held else deadline.sooner(Deadline(LINGER))


def _read_away(wire: Wire, deadline: Deadline) -> None:
    left = _LINGER_BYTES
    while left > 0 and not deadline.passed() and wire.poll(True, False, deadline.remaining())[0]:
        data = wire.read_now(_READ)
        if data == b"":
            return
        left -= len(data or b"")


def tell_refused(address: Any, refusal: Refusal) -> None:
    """Log that a handshake was refused, and why; a limit that is reached is a warning, and an answer nothing."""
    if isinstance(refusal, Page):
        return
    peer = shown_address(address)
    why = f"{refusal.status} {shown(refusal.text)}"
    if isinstance(refusal, NoPlace):
        limited.tell(logging.WARNING, "no place", "no place for %s: %s", peer, why, extra={"remote_address": peer})
    else:
        limited.tell(logging.INFO, "refused", "refused %s: %s", peer, why, extra={"remote_address": peer})


def _is_limit(value: object) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 1)
