"""The server's door: an accepted wire becomes a WebSocket, or gets a clear HTTP answer."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ..logs import limited, name_of, shown, shown_address
from ..threads.deadline import Deadline
from ..threads.interrupted import calls_user_code
from ..wire.sockets import Wire, WireError
from .origins import Origins
from .server_handshake import WRONG_ORIGIN, HandshakeRequest, Refusal, ServerHandshake

if TYPE_CHECKING:
    from ..server_run import ServerOptions
    from ..websocket.deflate import Deflate

__all__ = ["Admission", "AllowsOrigin", "ExtraHeaders", "Upgrade", "VerifyRequest", "tell_refused"]

AllowsOrigin = Callable[[str, HandshakeRequest], bool]
VerifyRequest = Callable[[HandshakeRequest], bool | int]
ExtraHeaders = list[tuple[str, str]]
Answer = Callable[[ServerHandshake, ExtraHeaders], Wire]

_READ = 4096
_LINGER = 1.0  # seconds to read away what a refused peer still sends, so that it reads our answer and no reset


class Admission(NamedTuple):
    """A handshake that is done: the request, what arrived behind it, and the compression that was agreed."""

    request: HandshakeRequest
    early: bytes
    deflate: "Deflate | None"


class Upgrade:
    """Shakes hands with those who connect. Immutable; ``admit*`` runs on each connection's own thread."""

    def __init__(
        self, options: "ServerOptions", claim_place: Callable[[], bool], free_place: Callable[[], None]
    ) -> None:
        allowed = options.allowed_origins
        self._begin = partial(
            ServerHandshake, options.path, options.subprotocols, allowed if isinstance(allowed, Origins) else None
        )
        self._allows_origin = None if allowed is None or isinstance(allowed, Origins) else allowed
        self._options = options
        self._claim_place = claim_place  # takes a place for a connection; false where there is none
        self._free_place = free_place

    def admit(self, wire: Wire, address: Any, deadline: Deadline) -> Admission | None:
        """Shake hands; with a place claimed. ``None`` where there is no WebSocket, and the wire can be closed."""
        handshake = self._begin(address, peer_certificate=wire.peer_certificate())
        try:
            if not self._read_request(handshake, wire, deadline):
                return None
            headers, deflate = self._decide(handshake)
        except Refusal as refusal:
            self._refuse(refusal, wire, address, deadline)
            return None
        try:
            if _write_all(wire, handshake.accept(headers), deadline):
                return Admission(handshake.request, handshake.trailing, deflate)
        except BaseException:
            self._free_place()
            raise
        self._free_place()
        return None

    def admit_parsed(self, head: bytes, address: Any, answer: Answer) -> tuple[Wire, Admission]:
        """Judge a request that somebody else has read, who also answers a ``Refusal``; with a place claimed.

        ``answer`` sends the 101, with the headers that it is given, and returns the wire; what it raises comes out.
        """
        handshake = self._begin(address)
        if not handshake.feed(head) or handshake.trailing:
            raise Refusal(400, "This is not one request.")
        headers, deflate = self._decide(handshake)
        try:
            return answer(handshake, headers), Admission(handshake.request, b"", deflate)
        except BaseException:
            self._free_place()
            raise

    def _decide(self, handshake: ServerHandshake) -> "tuple[ExtraHeaders, Deflate | None]":
        """Claim a place and let the user decide; a ``Refusal`` gives the place back."""
        if not self._claim_place():
            raise Refusal(503, "the server has no place for another connection")
        try:
            self._check_origin(handshake.request)
            self._verify(handshake.request)
            if self._options.compression is None:
                return [], None
            from .extensions import choose_offer

            chosen = choose_offer(handshake.extension_offers)
            return ([], None) if chosen is None else ([("Sec-WebSocket-Extensions", chosen[0])], chosen[1])
        except BaseException:
            self._free_place()
            raise

    def _read_request(self, handshake: ServerHandshake, wire: Wire, deadline: Deadline) -> bool:
        while True:
            if not wire.poll(True, False, deadline.remaining())[0]:
                return False  # too late: there is nobody to talk to
            data = wire.read_now(_READ)
            if data and handshake.feed(data):
                return True
            if data == b"" or deadline.passed():
                return False

    @calls_user_code
    def _check_origin(self, request: HandshakeRequest) -> None:
        """Ask the user whose pages may connect."""
        origins = request.headers.get_all("Origin")
        if self._allows_origin is None or not origins:
            return
        with _asking("allowed_origins", self._allows_origin, request):
            answer: object = len(origins) == 1 and self._allows_origin(origins[0], request)
            if answer is not None and not isinstance(answer, bool):
                raise TypeError(f"allowed_origins must return True or False, not {answer!r}")
        if not answer:
            raise Refusal(403, WRONG_ORIGIN)

    @calls_user_code
    def _verify(self, request: HandshakeRequest) -> None:
        """Ask the user for the last word."""
        if self._options.verify_request is None:
            return
        with _asking("verify_request", self._options.verify_request, request):
            answer: object = self._options.verify_request(request)
            if answer is None or isinstance(answer, bool):
                status = 0 if answer else 403
            elif isinstance(answer, int) and 200 <= answer <= 599:
                status = int(answer)
            else:
                raise TypeError(f"verify_request must return True, False or an HTTP status, not {answer!r}")
        if status:
            raise Refusal(status, "refused")

    def _refuse(self, refusal: Refusal, wire: Wire, address: Any, deadline: Deadline) -> None:
        tell_refused(address, refusal)
        if not _write_all(wire, refusal.response(), deadline):
            return
        wire.end_writing()
        linger = Deadline(_LINGER)
        while not linger.passed() and wire.poll(True, False, linger.remaining())[0]:
            if wire.read_now(65536) == b"":
                return


def tell_refused(address: Any, refusal: Refusal) -> None:
    """Log that a handshake was refused, and why."""
    peer = shown_address(address)
    why = f"{refusal.status} {shown(refusal.text)}"
    limited.tell(logging.INFO, "refused", "refused %s: %s", peer, why, extra={"remote_address": peer})


@contextlib.contextmanager
def _asking(option: str, function: Callable[..., Any], request: HandshakeRequest) -> Iterator[None]:
    """Run what the user has given for an option; what it raises is logged, and is a 500."""
    try:
        yield
    except BaseException as error:
        name, extra = name_of(function), {"remote_address": shown_address(request.remote_address)}
        limited.tell(logging.ERROR, (name, type(error)), "an error in %s (%s)", option, name, exc_info=error, extra=extra)
        raise Refusal(500, "internal error") from error


def _write_all(wire: Wire, data: bytes, deadline: Deadline) -> bool:
    """Write all, or say that it was not possible in time."""
    rest = memoryview(data)
    try:
        while rest:
            if not wire.poll(False, True, deadline.remaining())[1]:
                return False
            rest = rest[wire.write_now(rest) :]
    except WireError:
        return False
    return True
