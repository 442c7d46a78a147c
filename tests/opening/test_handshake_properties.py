"""What holds for the handshake of any bytes."""

import itertools
import unittest
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ezez_ws.opening.client_handshake import ClientHandshake
from ezez_ws.opening.origins import Origins
from ezez_ws.opening.server_handshake import Refusal, ServerHandshake
from ezez_ws.opening.url import parse_url
from tests.opening.test_handshakes import accept, make_request


class PropertyTest(unittest.TestCase):
    """Whatever comes is accepted, waited for, or refused, and how it is cut into pieces makes no difference."""

    def outcome(self, pieces: list[bytes]) -> tuple[Any, ...]:
        handshake = ServerHandshake(path="/chat", allowed_origins=Origins(["http://a"]))
        try:
            complete = [handshake.feed(piece) for piece in pieces]
        except Refusal as refusal:
            self.assertTrue(refusal.response().startswith(f"HTTP/1.1 {refusal.status} ".encode()))
            return refusal.status, refusal.text
        if not complete or not complete[-1]:
            return ("incomplete",)
        self.assertIn(b" 101 ", handshake.accept())
        return dict(handshake.request.headers), handshake.trailing

    def assert_cuts_do_not_matter(self, data: bytes, cuts: list[int]) -> None:
        places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
        cut_up = [data[start:end] for start, end in itertools.pairwise(places)]
        self.assertEqual(self.outcome([data]), self.outcome(cut_up))

    @given(st.binary(max_size=400), st.lists(st.integers(0, 400)))
    def test_random_bytes(self, data: bytes, cuts: list[int]) -> None:
        self.assert_cuts_do_not_matter(data, cuts)

    @given(
        st.integers(0, 300),
        st.integers(0, 20),
        st.one_of(st.binary(max_size=20), st.sampled_from([b"\r\n", b"\n", b"\r\n ", b": ", b"\r\nHost: b"])),
        st.lists(st.integers(0, 400)),
    )
    def test_a_good_request_with_a_damage(self, place: int, removed: int, put_in: bytes, cuts: list[int]) -> None:
        good = make_request(Cookie="a=b", Origin="http://a", Content_Length="0", Sec_WebSocket_Protocol="a, b")
        self.assert_cuts_do_not_matter(good[:place] + put_in + good[place + removed :] + b"trailing", cuts)

    @given(st.lists(st.binary(max_size=30), max_size=8))
    def test_random_header_lines(self, lines: list[bytes]) -> None:
        self.outcome([make_request()[:-2] + b"".join(line + b"\r\n" for line in lines) + b"\r\n"])

    @given(st.text(max_size=30))
    def test_cookies_never_raise(self, text: str) -> None:
        self.outcome([make_request()[:-2] + b"Cookie: " + text.encode() + b"\r\n\r\n"])

    @given(st.lists(st.sampled_from("abcde"), unique=True), st.lists(st.sampled_from("abcde"), unique=True))
    def test_both_ends_agree_on_the_subprotocol(self, offered: list[str], listed: list[str]) -> None:
        client = ClientHandshake(parse_url("ws://h/"), subprotocols=offered)
        server = accept(client.request() + b"up", subprotocols=listed)
        self.assertTrue(client.feed(server.accept() + b"down"))
        self.assertEqual(client.subprotocol, next((name for name in offered if name in listed), None))
        self.assertEqual(server.subprotocol, client.subprotocol)
        self.assertEqual((server.trailing, client.trailing), (b"up", b"down"))
