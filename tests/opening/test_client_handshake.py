"""The client's side of the handshake, over bytes."""

import email.utils
import time
import unittest
from typing import Any
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from ezez_ws.opening.client_handshake import ClientHandshake, DialRefused
from ezez_ws.opening.head import MAX_HEAD_BYTES, MAX_HEADERS, Headers
from ezez_ws.opening.url import parse_url

GOOD = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
    b"\r\n"
)
ACCEPT_LINE = b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"


def make_handshake(url: str = "ws://h/", **options: Any) -> ClientHandshake:
    """Make one with the key of RFC 6455's example."""
    with mock.patch("os.urandom", return_value=b"the sample nonce"):
        return ClientHandshake(parse_url(url), **options)


def good_with(*lines: str) -> bytes:
    return GOOD[:-2] + "".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1")


class ClientTest(unittest.TestCase):
    def fail(self, response: bytes, **options: Any) -> DialRefused:  # type: ignore[override]
        """Feed it whole and byte by byte; return the failure, which must be the same."""
        failures: list[DialRefused] = []
        for pieces in ([response], [response[i : i + 1] for i in range(len(response))]):
            handshake = make_handshake(**options)
            with self.assertRaises(DialRefused, msg=repr(response[:300])) as caught:
                for piece in pieces:
                    handshake.feed(piece)
            failures.append(caught.exception)
        self.assertEqual(*[(str(failure), failure.status) for failure in failures])
        return failures[0]


class RequestTest(unittest.TestCase):
    def test_the_request_is_the_one_of_the_rfc(self) -> None:
        handshake = make_handshake(
            "ws://Server.example.com:80/chat?x=1",
            headers=[("Origin", "http://example.com"), ("X", "\xe9")],
            subprotocols=["chat", "superchat"],
            extensions="permessage-deflate; client_max_window_bits",
        )
        expected = (
            "GET /chat?x=1 HTTP/1.1\r\n"
            "Host: server.example.com\r\n"
            "Upgrade: websocket\r\n"
            "Connection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            "Sec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: chat, superchat\r\n"
            "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
            "Origin: http://example.com\r\n"
            "X: \xe9\r\n"
            "\r\n"
        )
        self.assertEqual(handshake.request(), expected.encode("latin-1"))
        self.assertEqual(handshake.request(), expected.encode("latin-1"))

    def test_what_was_not_asked_for_is_not_in_it(self) -> None:
        request = make_handshake().request()
        self.assertNotIn(b"Protocol:", request)
        self.assertNotIn(b"Extensions:", request)

    def test_each_handshake_has_its_own_key(self) -> None:
        url = parse_url("ws://h/")
        self.assertNotEqual(ClientHandshake(url).request(), ClientHandshake(url).request())


class AgreementTest(ClientTest):
    def test_it_is_complete_with_its_last_byte_and_not_before(self) -> None:
        handshake = make_handshake()
        for i in range(len(GOOD) - 1):
            self.assertFalse(handshake.feed(GOOD[i : i + 1]))
            self.assertEqual(handshake.trailing, b"")
        self.assertTrue(handshake.feed(GOOD[-1:]))
        self.assertEqual(handshake.trailing, b"")
        self.assertEqual((handshake.subprotocol, handshake.extensions), (None, []))
        self.assertEqual(handshake.response_headers["upgrade"], "websocket")

    def test_what_follows_the_head_is_kept_whatever_it_is(self) -> None:
        follows = b"\x82\x00\r\n\r\nHTTP/1.1 100 \x00\n" + b"x" * 2 * MAX_HEAD_BYTES
        for cut in (0, 1, len(GOOD) - 1, len(GOOD), len(GOOD) + 1):
            handshake = make_handshake()
            handshake.feed((GOOD + follows)[:cut])
            self.assertTrue(handshake.feed((GOOD + follows)[cut:]))
            self.assertTrue(handshake.feed(b"more"))
            self.assertEqual(handshake.trailing, follows + b"more")

    def test_case_lists_and_a_missing_reason_do_not_matter(self) -> None:
        response = GOOD.replace(b"Upgrade: websocket", b"UPGRADE:WebSocket").replace(b": Upgrade", b": x, upgrade")
        self.assertTrue(make_handshake().feed(response.replace(b" Switching Protocols", b"")))

    def test_interim_responses_are_skipped(self) -> None:
        interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\nUpgrade: y\r\n\r\n"
        handshake = make_handshake()
        self.assertTrue(handshake.feed(interim + GOOD + b"x"))
        self.assertEqual(handshake.trailing, b"x")
        self.assertNotIn("Link", handshake.response_headers)
        byte_by_byte = make_handshake()
        results = [byte_by_byte.feed(bytes([byte])) for byte in interim + GOOD]
        self.assertEqual(results.index(True), len(results) - 1)

    def test_interim_responses_are_bounded(self) -> None:
        self.assertIn("interim", str(self.fail(b"HTTP/1.1 100 Continue\r\n\r\n" * 11 + GOOD)))

    def test_a_subprotocol_that_was_asked_for_is_taken_and_so_is_none(self) -> None:
        handshake = make_handshake(subprotocols=["a", "b"])
        self.assertTrue(handshake.feed(good_with("Sec-WebSocket-Protocol: b")))
        self.assertEqual(handshake.subprotocol, "b")
        handshake = make_handshake(subprotocols=["a", "b"])
        self.assertTrue(handshake.feed(GOOD))
        self.assertIsNone(handshake.subprotocol)

    def test_extensions_that_were_offered_are_taken_as_sent(self) -> None:
        handshake = make_handshake(extensions="permessage-deflate; client_max_window_bits, x")
        self.assertTrue(handshake.feed(good_with("Sec-WebSocket-Extensions: permessage-deflate;a=1 , x")))
        self.assertEqual(handshake.extensions, ["permessage-deflate;a=1 , x"])


class FailureTest(ClientTest):
    def test_another_status_is_told(self) -> None:
        for line, shown in (("403 Forbidden", "403 Forbidden"), ("200 OK", "200 OK"), ("599", "599")):
            failure = self.fail(f"HTTP/1.1 {line}\r\nContent-Length: 3\r\n\r\nabc".encode())
            self.assertEqual(failure.status, int(line[:3]))
            self.assertIn(f"answered {shown}, not 101", str(failure))

    def test_a_redirect_tells_where_to(self) -> None:
        failure = self.fail(b"HTTP/1.1 302 Found\r\nLocation: wss://else.example/\r\n\r\n")
        self.assertEqual(failure.status, 302)
        self.assertIn("'wss://else.example/'", str(failure))
        self.assertLess(len(str(self.fail(b"HTTP/1.1 301 x\r\nLocation: " + b"x" * 9999 + b"\r\n\r\n"))), 500)

    def test_a_101_that_lacks_something_is_refused_by_name(self) -> None:
        cases = (
            ("Upgrade", GOOD.replace(b"Upgrade: websocket\r\n", b"")),
            ("Upgrade", GOOD.replace(b"websocket", b"websocket, h2c")),
            ("Connection", GOOD.replace(b"Connection: Upgrade\r\n", b"")),
            ("Connection", GOOD.replace(b"Connection: Upgrade", b"Connection: close")),
            ("Sec-WebSocket-Accept", GOOD.replace(ACCEPT_LINE, b"")),
            ("Sec-WebSocket-Accept", GOOD.replace(b"s3pPL", b"S3pPL")),
            ("Sec-WebSocket-Accept", GOOD.replace(ACCEPT_LINE, ACCEPT_LINE * 2)),
        )
        for name, response in cases:
            with self.subTest(response=response):
                failure = self.fail(response)
                self.assertIn(f"server's {name} must", str(failure))
                self.assertIsNone(failure.status)

    def test_subprotocols_that_were_not_asked_for(self) -> None:
        for lines, asked in (
            (["Sec-WebSocket-Protocol: a"], []),
            (["Sec-WebSocket-Protocol: c"], ["a", "b"]),
            (["Sec-WebSocket-Protocol: A"], ["a", "b"]),
            (["Sec-WebSocket-Protocol: a, b"], ["a", "b"]),
            (["Sec-WebSocket-Protocol: a", "Sec-WebSocket-Protocol: a"], ["a", "b"]),
            (["Sec-WebSocket-Protocol:"], ["a"]),
        ):
            self.assertIn("Sec-WebSocket-Protocol", str(self.fail(good_with(*lines), subprotocols=asked)))

    def test_extensions_that_were_not_offered(self) -> None:
        for line, offered in (("a", ""), ("a; b=1", "b"), ("b, a", "b"), ("B", "b")):
            failure = self.fail(good_with(f"Sec-WebSocket-Extensions: {line}"), extensions=offered)
            self.assertIn("not offered", str(failure))

    def test_what_is_no_http_1_1(self) -> None:
        for response in (
            GOOD.replace(b"HTTP/1.1", b"HTTP/1.0"),
            GOOD.replace(b"101", b"099"),
            GOOD.replace(b"101", b"1010"),
            GOOD.replace(b"\r\n", b"\n"),
            GOOD.replace(b"Upgrade:", b"Upgrade :"),
            GOOD.replace(b"\r\nUpgrade", b"\r\n Upgrade"),
            b"\r\n" + GOOD,
            b"\x15\x03\x01\x00\x02\x02\x46",
            b"SSH-2.0-OpenSSH_9.6\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        ):
            self.fail(response)

    def test_the_head_is_bounded(self) -> None:
        self.assertIn("larger", str(self.fail(good_with("X: " + "y" * MAX_HEAD_BYTES))))
        self.assertIn("more than", str(self.fail(good_with(*["X: y"] * MAX_HEADERS))))

    def test_another_key_has_another_answer(self) -> None:
        with self.assertRaisesRegex(DialRefused, "Sec-WebSocket-Accept"):
            ClientHandshake(parse_url("ws://h/")).feed(GOOD)


class PropertyTest(unittest.TestCase):
    def feed(self, data: bytes, cut: int | None = None) -> None:
        handshake = make_handshake(subprotocols=["a"], extensions="x")
        try:
            if cut is not None:
                handshake.feed(data[:cut])
            handshake.feed(data[cut or 0 :])
        except DialRefused as failure:
            self.assertTrue(str(failure))

    @given(st.binary(max_size=400), st.integers(0, 400))
    def test_random_bytes_fail_or_are_waited_for(self, data: bytes, cut: int) -> None:
        self.feed(data, cut)
        self.feed(b"HTTP/1.1 101 x\r\n" + data + b"\r\n\r\n", cut)

    @given(st.integers(0, 150), st.integers(0, 20), st.binary(max_size=20), st.integers(0, 150))
    def test_a_good_response_with_a_damage(self, place: int, removed: int, put_in: bytes, cut: int) -> None:
        self.feed(GOOD[:place] + put_in + GOOD[place + removed :], cut)


class BodyTest(unittest.TestCase):
    """The body of a refusal."""

    def read(self, response: bytes, size: int) -> tuple[DialRefused, bytes, bool]:
        """Feed a response in pieces, the rest behind its head as the body; return that, and whether it is complete."""
        handshake = make_handshake()
        pieces = [response[start : start + size] for start in range(0, len(response), size)]
        with self.assertRaises(DialRefused) as caught:
            while True:
                handshake.feed(pieces.pop(0))
        complete = False
        for piece in [handshake.trailing, *pieces]:
            complete = complete or (bool(piece) and handshake.feed_body(piece))
        return caught.exception, handshake.body, complete

    def test_it_is_read_whatever_pieces_it_comes_in(self) -> None:
        head = b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nX-Why: load\r\n"
        cases = {
            head + b"Content-Length: 5\r\n\r\nlater": (b"later", True),
            head + b"Transfer-Encoding: chunked\r\n\r\n3\r\nlat\r\n2\r\ner\r\n0\r\n\r\n": (b"later", True),
            head + b"\r\nlater": (b"later", False),
            head + b"Content-Length: 9\r\n\r\nlater": (b"later", False),
            head + b"\r\n" + b"x" * 10000: (b"x" * 4096, True),
            head + b"Content-Length: 0\r\n\r\n": (b"", False),  # nothing is fed
            b"HTTP/1.0" + head[8:] + b"\r\nlater": (b"later", False),
        }
        for response, wanted in cases.items():
            for size in (1, 7, 100000):
                with self.subTest(response=response[:100], size=size):
                    refusal, body, complete = self.read(response, size)
                    self.assertEqual((body, complete), wanted)
                    self.assertEqual((refusal.status, refusal.headers["x-why"]), (503, "load"))

    def test_what_is_no_body_by_its_head_ends_it(self) -> None:
        head = b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.assertEqual(self.read(head + b"2\r\nok\r\nnonsense\r\n", 100)[1:], (b"ok", True))

    def test_the_end_of_the_bytes_is_the_end_of_it(self) -> None:
        for head in (b"", b"Content-Length: 100\r\n"):
            handshake = make_handshake()
            with self.assertRaises(DialRefused):
                handshake.feed(b"HTTP/1.1 500 No\r\n" + head + b"\r\nit ends")
            self.assertFalse(handshake.feed_body(handshake.trailing))
            self.assertTrue(handshake.feed_body(b""))
            self.assertEqual(handshake.body, b"it ends")


class RefusedTest(unittest.TestCase):
    def refusal(self, status: int, retry_after: str | None = None) -> DialRefused:
        return DialRefused("no", status, Headers([] if retry_after is None else [("RETRY-After", retry_after)]))

    def test_an_overloaded_server_is_not_the_last_word(self) -> None:
        statuses = (200, 301, 401, 403, 404, 429, 500, 502, 503, 504)
        self.assertEqual([status for status in statuses if not self.refusal(status).final], [429, 502, 503, 504])
        self.assertTrue(DialRefused("TLS: nobody knows it").final)

    def test_retry_after_is_seconds_or_a_date_and_an_hour_at_most(self) -> None:
        def date(seconds: float) -> str:
            return email.utils.formatdate(time.time() + seconds, usegmt=True)

        cases = {"0": 0, "7": 7, "3600": 3600, "3601": 3600, "9" * 5000: 3600, date(100000): 3600, date(-100): 0}
        nonsense = ("", "soon", "-5", "1.5", "\xb2", "7, 8", "Wed, 99 Nov 2026", "Mon, 01 Jan 0000 00:00:00 GMT", "\0")
        for value, wanted in {**cases, **dict.fromkeys(nonsense, 0)}.items():
            with self.subTest(value=value[:40]):
                self.assertEqual(self.refusal(503, value).retry_after, wanted)
        self.assertTrue(50 < self.refusal(429, date(60)).retry_after <= 60)
        self.assertEqual(self.refusal(503).retry_after, 0)

    def test_where_it_redirects_to_is_told_without_the_query(self) -> None:
        with self.assertRaises(DialRefused) as caught:
            make_handshake().feed(b"HTTP/1.1 301 Moved\r\nLocation: https://h/a?token=hunter2\r\n\r\n")
        self.assertIn("'https://h/a?…'", str(caught.exception))

    def test_what_the_server_says_is_escaped_and_cut(self) -> None:
        evil = "\x9b31m" + "x" * 1000
        for response in (
            f"HTTP/1.1 403 {evil}\r\n\r\n",
            f"HTTP/1.1 302 Found\r\nLocation: {evil}\r\n\r\n",
            GOOD.decode().replace("Upgrade: websocket", f"Upgrade: {evil}"),
            good_with(f"Sec-WebSocket-Protocol: {evil}").decode("latin-1"),
            good_with(f"Sec-WebSocket-Extensions: {evil}").decode("latin-1"),
        ):
            with self.subTest(response=response[:60]):
                with self.assertRaises(DialRefused) as caught:
                    make_handshake().feed(response.encode("latin-1"))
                self.assertTrue(str(caught.exception).isprintable())
                self.assertIn("\\x9b", str(caught.exception))
                self.assertLess(len(str(caught.exception)), 400)
