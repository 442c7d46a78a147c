"""Fuzzes the HTTP upgrade: what a server reads, what a client reads, and what a client's user asks for.

An input is a byte of options, a byte that says how to cut, and what arrives; in the third case lines of text: the URL,
the subprotocols, and headers as ``name: value``.
"""

from typing import Any

import h11

from ezez_ws.opening.client_handshake import ClientHandshake, DialRefused
from ezez_ws.opening.extensions import accept_answer, choose_offer
from ezez_ws.opening.head import MAX_HEAD_BYTES, MAX_HEADERS
from ezez_ws.opening.origins import Origins, parse_origin
from ezez_ws.opening.server_handshake import Refusal, ServerHandshake
from ezez_ws.opening.url import URL, parse_url, validate_client_headers, validate_subprotocols
from tests.fuzz.cutting import cut_up

__all__ = ["KEY", "one_input"]

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
"""The key that the client has sent: RFC 6455's, so that a fixed answer can be the right one."""

_ORIGIN = "https://example.com"
_OFFER = "permessage-deflate; client_max_window_bits"
_STATUSES = (400, 403, 404, 405, 426, 431)
_TARGET = parse_url("ws://example.com/chat?a=b")


def one_input(data: bytes) -> None:
    """Whatever comes is accepted, waited for or refused, and the same however it is cut."""
    if len(data) < 2:
        return
    options, seed, arrived = data[0], data[1], data[2:]
    if options & 3 == 2:
        _ask(arrived.decode("utf-8", "replace"))
        return
    outcome = _listen if options & 3 < 2 else _hear
    whole = outcome(options, [arrived])
    pieces = outcome(options, cut_up(arrived, seed))
    assert whole == pieces, (whole, pieces)


# -- the server's end --------------------------------------------------------------------------------------------------


def _listen(options: int, pieces: list[bytes]) -> tuple[Any, ...]:
    handshake = ServerHandshake(
        path="/chat" if options & 4 else None,
        subprotocols=["a", "b"] if options & 8 else None,
        allowed_origins=Origins([_ORIGIN]) if options & 16 else None,
    )
    complete = False
    try:
        for piece in pieces:
            complete = handshake.feed(piece)
    except Refusal as refusal:
        _check_refusal(refusal)
        return refusal.status, refusal.text
    if not complete:
        return ("incomplete",)
    request = handshake.request
    assert len(request.headers.get_all("Host")) == 1 and "Transfer-Encoding" not in request.headers
    assert not options & 4 or request.path == "/chat"
    assert not options & 16 or parse_origin(request.headers.get("Origin", _ORIGIN)) == parse_origin(_ORIGIN)
    assert not options & 8 or handshake.subprotocol in (None, "a", "b")
    agreed = choose_offer(handshake.extension_offers)
    if agreed is not None:
        assert accept_answer([agreed[0]]) == agreed[1], "our answer means something else to a client"
    _check_response(handshake.accept([("Sec-WebSocket-Extensions", agreed[0])] if agreed else []), 101)
    _check_rewritten(handshake)
    headers = {name: request.headers.get_all(name) for name in request.headers}
    return request.path, request.query, headers, dict(request.cookies), handshake.subprotocol, handshake.trailing


def _check_refusal(refusal: Refusal) -> None:
    assert refusal.status in _STATUSES, refusal.status
    _check_response(refusal.response(), refusal.status)


def _check_response(response: bytes, status: int) -> None:
    reader = h11.Connection(h11.CLIENT)
    reader.send(
        h11.Request(method="GET", target="/", headers=[("Host", "a"), ("Upgrade", "x"), ("Connection", "upgrade")])
    )
    reader.send(h11.EndOfMessage())
    reader.receive_data(response)
    event = reader.next_event()
    assert isinstance(event, (h11.Response, h11.InformationalResponse)) and event.status_code == status


def _check_rewritten(handshake: ServerHandshake) -> None:
    """What was accepted is accepted as a plain request with the same headers, too, and says the same."""
    request = handshake.request
    target = request.path + (f"?{request.query}" if request.query else "")
    lines = [f"GET {target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name in request.headers for value in request.headers.get_all(name)]
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    if len(head) > MAX_HEAD_BYTES:
        return  # longer by its blanks
    again = ServerHandshake()
    assert again.feed(head + b"trailing")
    assert (again.request.path, again.request.query) == (request.path, request.query)
    assert dict(again.request.headers) == dict(request.headers)
    assert again.request.cookies == request.cookies and again.trailing == b"trailing"


# -- the client's end --------------------------------------------------------------------------------------------------


def _hear(options: int, pieces: list[bytes]) -> tuple[Any, ...]:
    offered = ["a", "b"] if options & 8 else []
    handshake = ClientHandshake(_TARGET, subprotocols=offered, extensions=_OFFER if options & 4 else "")
    handshake._key = KEY
    complete = False
    try:
        for piece in pieces:
            complete = handshake.feed(piece)
    except DialRefused as failure:
        assert len(str(failure)) < 1000, "the error's text is as long as the answer"
        assert failure.status is None or (failure.status != 101 and 200 <= failure.status <= 999)
        return str(failure), failure.status
    if not complete:
        return ("incomplete",)
    assert handshake.subprotocol is None or handshake.subprotocol in offered
    try:
        agreed = accept_answer(handshake.extensions)
    except ValueError:
        agreed = None
    assert agreed is None or options & 4
    return handshake.subprotocol, handshake.extensions, agreed, handshake.trailing


# -- what a user asks for ----------------------------------------------------------------------------------------------


def _ask(text: str) -> None:
    url, subprotocols, headers = _split(text)
    try:
        parsed = parse_url(url)
        names = validate_subprotocols(subprotocols)
        pairs = validate_client_headers(headers)
    except ValueError:
        return
    client = ClientHandshake(parsed, pairs, names, _OFFER)
    server = ServerHandshake()
    request = client.request()
    try:
        complete = server.feed(request + b"up")
    except Refusal as refusal:
        assert refusal.status == 431 and (len(request) > MAX_HEAD_BYTES or request.count(b"\n") > MAX_HEADERS), refusal
        return
    assert complete and server.trailing == b"up"
    _check_asked(server, parsed, pairs)
    agreed = choose_offer(server.extension_offers)
    assert agreed is not None
    assert client.feed(server.accept([("Sec-WebSocket-Extensions", agreed[0])]) + b"down")
    assert client.subprotocol == server.subprotocol == (names[0] if names else None)
    assert client.trailing == b"down" and accept_answer(client.extensions) == agreed[1]


def _split(text: str) -> tuple[str, list[str], list[tuple[str, str]]]:
    url, *lines = text.split("\n")
    names = [name for name in lines[0].split(",") if name] if lines else []
    headers = [(name, value) for name, _, value in (line.partition(":") for line in lines[1:])]
    return url, names, headers


def _check_asked(server: ServerHandshake, url: URL, pairs: list[tuple[str, str]]) -> None:
    request = server.request
    query: str | None = request.query
    assert url.resource in (request.path, f"{request.path}?{query}")
    assert request.headers.get_all("Host") == [url.host_header]
    for name, _ in pairs:
        wanted = [value for other, value in pairs if other.lower() == name.lower()]
        assert request.headers.get_all(name) == wanted, "a header has changed on the way"
