"""The server's side of the handshake, and what both sides have in common: bounds, headers."""

import unittest
from typing import Any

from ezez_ws.opening.head import MAX_HEAD_BYTES, MAX_HEADERS, Headers
from ezez_ws.opening.origins import Origins
from ezez_ws.opening.server_handshake import Refusal, ServerHandshake

GOOD = {
    "Host": "server.example.com",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


def make_request(line: str = "GET /chat HTTP/1.1", *more: str, **changed: str | None) -> bytes:
    """Make a good request, but for the headers in ``changed`` (``_`` for ``-``, ``None`` to leave one out)."""
    headers: dict[str, str | None] = dict(GOOD)
    headers.update({name.replace("_", "-"): value for name, value in changed.items()})
    lines = [line, *(f"{name}: {value}" for name, value in headers.items() if value is not None), *more]
    return "".join(f"{text}\r\n" for text in [*lines, ""]).encode("latin-1")


def refuse(request: bytes, **options: Any) -> Refusal:
    """Feed it whole and byte by byte; return the refusal, which must be the same."""
    refusals: list[Refusal] = []
    for pieces in ([request], [request[i : i + 1] for i in range(len(request))]):
        handshake = ServerHandshake(**options)
        try:
            complete = [handshake.feed(piece) for piece in pieces][-1]
        except Refusal as refusal:
            refusals.append(refusal)
        else:
            raise AssertionError(f"not refused, but {'complete' if complete else 'incomplete'}: {request[:300]!r}")
    assert (refusals[0].status, refusals[0].text) == (refusals[1].status, refusals[1].text)
    return refusals[0]


def accept(request: bytes, **options: Any) -> ServerHandshake:
    handshake = ServerHandshake(**options)
    assert handshake.feed(request)
    return handshake


def split_response(response: bytes) -> tuple[str, Headers, bytes]:
    head, _, body = response.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(": ") for line in lines)
    return status, Headers((name, value) for name, _, value in pairs), body


class AcceptTest(unittest.TestCase):
    def test_the_sample_of_the_rfc_is_answered_as_there(self) -> None:
        status, headers, body = split_response(accept(make_request()).accept())
        self.assertEqual(status, "HTTP/1.1 101 Switching Protocols")
        self.assertEqual(
            dict(headers),
            {
                "upgrade": "websocket",
                "connection": "Upgrade",
                "sec-websocket-accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
            },
        )
        self.assertEqual(body, b"")

    def test_it_is_complete_with_its_last_byte_and_not_before(self) -> None:
        request = make_request()
        handshake = ServerHandshake()
        for i in range(len(request) - 1):
            self.assertFalse(handshake.feed(request[i : i + 1]))
            self.assertEqual(handshake.trailing, b"")
        self.assertTrue(handshake.feed(request[-1:]))
        self.assertEqual(handshake.trailing, b"")

    def test_what_follows_the_head_is_kept_whatever_it_is(self) -> None:
        follows = b"\x81\x80\x00\r\n\r\nGET \x00\n" + b"x" * 2 * MAX_HEAD_BYTES
        request = make_request()
        for cut in (0, 1, len(request) - 1, len(request), len(request) + 1, len(request) + 7):
            handshake = ServerHandshake()
            handshake.feed((request + follows)[:cut])
            self.assertTrue(handshake.feed((request + follows)[cut:]))
            self.assertEqual(handshake.trailing, follows)

    def test_what_is_fed_later_is_trailing_too(self) -> None:
        handshake = accept(make_request() + b"a")
        self.assertTrue(handshake.feed(b"b"))
        self.assertEqual(handshake.trailing, b"ab")

    def test_the_request_tells_path_query_headers_cookies_and_address(self) -> None:
        request = accept(
            make_request("GET /a%20b?x=%31&y?z HTTP/1.1", "X-Name: \xe9", "x-name:two", Cookie="a=1"),
            remote_address=("::1", 5, 0, 0),
        ).request
        self.assertEqual((request.path, request.query), ("/a%20b", "x=%31&y?z"))
        self.assertEqual(request.headers["X-NAME"], "\xe9, two")
        self.assertEqual(request.headers["host"], "server.example.com")
        self.assertEqual(request.cookies, {"a": "1"})
        self.assertEqual(request.remote_address, ("::1", 5, 0, 0))
        with self.assertRaises(AttributeError):
            request.path = "/"

    def test_one_empty_line_before_the_request_is_skipped(self) -> None:
        self.assertEqual(accept(b"\r\n" + make_request()).request.path, "/chat")
        self.assertEqual(refuse(b"\r\n\r\n" + make_request()).status, 400)

    def test_tokens_of_connection_and_upgrade_are_found_in_any_case_and_list(self) -> None:
        accept(make_request(Connection="keep-alive, UPGRADE", Upgrade="WebSocket"))
        accept(make_request("GET / HTTP/1.1", "Connection: upgrade", Connection="keep-alive", Upgrade="h2c, websocket"))

    def test_a_declared_empty_body_is_no_body(self) -> None:
        accept(make_request(Content_Length="0"))

    def test_an_absolute_target_is_taken_by_its_path(self) -> None:
        for target, path, query in (
            ("http://h:80/chat?q", "/chat", "q"),
            ("WS://h/chat", "/chat", ""),
            ("wss://h", "/", ""),
            ("https://h?q", "/", "q"),
        ):
            request = accept(make_request(f"GET {target} HTTP/1.1"), path=path).request
            self.assertEqual((request.path, request.query), (path, query))

    def test_hosts_of_every_form_are_taken(self) -> None:
        for host in ("a", "a.b-c_d:1", "127.0.0.1:65535", "[::1]", "[fe80::1%25eth0]:80", "x:"):
            accept(make_request(Host=host))

    def test_extra_headers_come_last(self) -> None:
        response = accept(make_request()).accept([("Sec-WebSocket-Extensions", "permessage-deflate")])
        self.assertTrue(response.endswith(b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"))

    def test_extension_offers_are_given_as_sent(self) -> None:
        request = make_request("GET / HTTP/1.1", "Sec-WebSocket-Extensions: a; b, c", "sec-websocket-extensions: d")
        self.assertEqual(accept(request).extension_offers, ["a; b, c", "d"])
        self.assertEqual(accept(make_request()).extension_offers, [])


class SubprotocolTest(unittest.TestCase):
    def choose(self, offered: str | None, listed: list[str] | None) -> str | None:
        handshake = accept(make_request(Sec_WebSocket_Protocol=offered), subprotocols=listed)
        _, headers, _ = split_response(handshake.accept())
        self.assertEqual(headers.get("Sec-WebSocket-Protocol"), handshake.subprotocol)
        self.assertEqual(handshake.request.subprotocol, handshake.subprotocol)
        return handshake.subprotocol

    def test_the_first_that_the_client_offers_and_the_list_has_is_chosen(self) -> None:
        self.assertEqual(self.choose("x, b ,a", ["a", "b"]), "b")
        self.assertIsNone(self.choose("x", ["a", "b"]))
        self.assertIsNone(self.choose("a", []))
        self.assertIsNone(self.choose("A", ["a"]))

    def test_without_a_list_the_first_of_the_client_is_chosen(self) -> None:
        self.assertEqual(self.choose("x, b", None), "x")
        self.assertIsNone(self.choose(None, None))

    def test_several_headers_are_one_list(self) -> None:
        request = make_request("GET / HTTP/1.1", "Sec-WebSocket-Protocol: a", "Sec-WebSocket-Protocol: b")
        self.assertEqual(accept(request, subprotocols=["b"]).subprotocol, "b")

    def test_what_is_no_list_of_different_tokens_is_refused(self) -> None:
        for offered in ("", "a,,b", "a b", "a,a", "a;b", "\xe9"):
            self.assertEqual(refuse(make_request(Sec_WebSocket_Protocol=offered)).status, 400)


class RefusalOrderTest(unittest.TestCase):
    """A request with every fault at once is answered by the first; mend that, and it is the next one's turn."""

    STEPS: tuple[tuple[int, str, dict[str, str | None]], ...] = (
        (400, "POST /wrong HTTP/1.1", {"X-Bad ": "1"}),
        (400, "POST /wrong HTTP/1.0", {"X-Bad ": None}),
        (404, "POST /wrong HTTP/1.1", {}),
        (405, "POST /right?x HTTP/1.1", {}),
        (426, "GET /right?x HTTP/1.1", {}),
        (426, "GET /right?x HTTP/1.1", {"Connection": "Upgrade"}),
        (426, "GET /right?x HTTP/1.1", {"Upgrade": "websocket"}),
        (400, "GET /right?x HTTP/1.1", {"Sec-WebSocket-Version": "13"}),
        (400, "GET /right?x HTTP/1.1", {"Sec-WebSocket-Key": GOOD["Sec-WebSocket-Key"]}),
        (400, "GET /right?x HTTP/1.1", {"Host": "h"}),
        (400, "GET /right?x HTTP/1.1", {"Content-Length": "0"}),
        (403, "GET /right?x HTTP/1.1", {"Sec-WebSocket-Protocol": "a"}),
    )

    def test_the_first_fault_decides(self) -> None:
        headers: dict[str, str | None] = {
            "Connection": "close",
            "Upgrade": "h2c",
            "Sec-WebSocket-Version": "8",
            "Sec-WebSocket-Key": "short",
            "Host": None,
            "Content-Length": "5",
            "Sec-WebSocket-Protocol": "a b",
            "Origin": "http://evil.example",
        }
        texts, allowed = [], Origins(["http://good.example"])
        for status, line, mended in self.STEPS:
            headers.update(mended)
            with self.subTest(status=status, line=line, mended=mended):
                refusal = refuse(make_request(line, **headers), path="/right", allowed_origins=allowed)
                self.assertEqual(refusal.status, status)
                texts.append(refusal.text)
        headers["Origin"] = "http://good.example"
        accept(make_request("GET /right?x HTTP/1.1", **headers), path="/right", allowed_origins=allowed)
        self.assertGreaterEqual(len(set(texts)), 9)

    def test_two_hosts_on_a_wrong_path_are_a_wrong_path(self) -> None:
        request = make_request("GET /wrong HTTP/1.1", "HOST: again")
        self.assertEqual(refuse(request, path="/right").status, 404)
        self.assertEqual(refuse(request).status, 400)

    def test_too_many_headers_come_before_everything(self) -> None:
        request = make_request("POST /wrong HTTP/1.1", *["X: y"] * MAX_HEADERS)
        self.assertEqual(refuse(request, path="/right").status, 431)


class FaultTest(unittest.TestCase):
    def assert_status(self, status: int, *requests: bytes, **options: Any) -> None:
        for request in requests:
            with self.subTest(request=request[:200]):
                self.assertEqual(refuse(request, **options).status, status)

    def test_paths_are_compared_exactly(self) -> None:
        for path in ("/Chat", "/chat/", "/", "//chat", "/%63hat", "http://h/", "*"):
            method = "OPTIONS" if path == "*" else "GET"
            self.assert_status(404, make_request(f"{method} {path} HTTP/1.1"), path="/chat")

    def test_other_methods(self) -> None:
        for line in ("POST /", "get /", "HEAD /", "OPTIONS *", "CONNECT h:80", "BREW /"):
            self.assert_status(405, make_request(f"{line} HTTP/1.1"))

    def test_no_upgrade(self) -> None:
        self.assert_status(
            426,
            make_request(Connection=None),
            make_request(Connection="keep-alive"),
            make_request(Connection="not-upgrade"),
            make_request(Upgrade=None),
            make_request(Upgrade="websockets"),
            make_request(Sec_WebSocket_Version=None),
            make_request(Sec_WebSocket_Version=""),
            make_request(Sec_WebSocket_Version="8"),
            make_request(Sec_WebSocket_Version="013"),
            make_request(Sec_WebSocket_Version="13, 8"),
            make_request("GET / HTTP/1.1", "Sec-WebSocket-Version: 13"),
        )

    def test_bad_keys(self) -> None:
        self.assert_status(
            400,
            make_request(Sec_WebSocket_Key=None),
            make_request("GET / HTTP/1.1", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="),
            *(
                make_request(Sec_WebSocket_Key=key)
                for key in (
                    "",
                    "AAAA",
                    "dGhlIHNhbXBsZSBub25jZQ",
                    "dGhlIHNhbXBsZSBub25jZQ=",
                    "dGhlIHNhbXBsZSBub25jZSE=",
                    "dGhlIHNhbXBsZSBub25jZ!==",
                    "dGhlIHNhbXBsZSBub25jZ-==",
                    "dGhlIHNhbXBs ZSBub25jZQ==",
                    "dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==",
                )
            ),
        )

    def test_bad_hosts(self) -> None:
        hosts = (None, "", "\xff", "a b", "a,b c", "a/b", "a@b", "a:b", "a:123456", "[::1", "::1")
        self.assert_status(400, *(make_request(Host=host) for host in hosts))

    def test_bodies(self) -> None:
        self.assert_status(
            400,
            make_request(Content_Length="1"),
            make_request(Content_Length="10"),
            make_request(Transfer_Encoding="chunked"),
            make_request(Transfer_Encoding="chunked", Content_Length="0"),
        )

    def test_origins(self) -> None:
        allowed = Origins(["https://App.example", "null"])
        for origin in ("https://app.example", "HTTPS://APP.EXAMPLE", "null"):
            accept(make_request(Origin=origin), allowed_origins=allowed)
        accept(make_request(), allowed_origins=allowed)
        accept(make_request(Origin="https://any.example"))
        self.assert_status(
            403,
            make_request(Origin=""),
            make_request(Origin="http://app.example"),
            make_request(Origin="https://app.example:8443"),
            make_request(Origin="https://app.example.evil.example"),
            make_request(Origin="https://app.example, https://app.example"),
            make_request("GET / HTTP/1.1", "origin: https://app.example", Origin="https://app.example"),
            allowed_origins=allowed,
        )
        self.assert_status(403, make_request(Origin="https://app.example"), allowed_origins=Origins([]))
        accept(make_request(Origin="https://server.example.com"), allowed_origins=Origins("same-origin"))
        self.assert_status(403, make_request(Origin="https://any.example"), allowed_origins=Origins("same-origin"))

    def test_what_is_no_http_1_1(self) -> None:
        for line in (
            "GET / HTTP/1.0",
            "GET / HTTP/0.9",
            "GET / HTTP/2.0",
            "GET / HTTP/1.2",
            "GET / http/1.1",
            "GET /",
            "GET  / HTTP/1.1",
            "GET / HTTP/1.1 ",
            " GET / HTTP/1.1",
            "GET\t/\tHTTP/1.1",
            "GET /a b HTTP/1.1",
            "GET /\xe9 HTTP/1.1",
            "GET chat HTTP/1.1",
            "GET /chat#x HTTP/1.1",
            "GET ftp://h/ HTTP/1.1",
            "GET http:///chat HTTP/1.1",
            "SSH-2.0-OpenSSH_9.6",
            "\xe9\xe9",
        ):
            self.assert_status(400, make_request(line))
        self.assert_status(400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET /\r\n")

    def test_shapes_that_parsers_read_differently(self) -> None:
        good = make_request()
        self.assert_status(
            400,
            good.replace(b"\r\n", b"\n"),
            good.replace(b"\r\n", b"\r"),
            good.replace(b"\r\nUpgrade", b"\nUpgrade"),
            good.replace(b"websocket", b"web\rsocket"),
            good.replace(b"websocket", b"web\x00socket"),
            good.replace(b"websocket", b"web\x0bsocket"),
            good.replace(b"websocket", b"websocket\x7f"),
            good.replace(b"websocket", b"websocket\r"),
            good.replace(b"Upgrade:", b"Upgrade :"),
            good.replace(b"Upgrade:", b"Upgrade\t:"),
            good.replace(b"\r\nUpgrade:", b"\r\n Upgrade:"),
            good.replace(b"\r\nUpgrade:", b"\r\n\tfolded\r\nUpgrade:"),
            good.replace(b"\r\nHost:", b"\r\n folded\r\nHost:"),
            good.replace(b"\r\nHost:", b"\r\n:"),
            good.replace(b"\r\nHost:", b"\r\n\xe9:"),
            good.replace(b"\r\nHost: server.example.com", b"\r\nHost"),
            good.replace(b"Host:", b"Host :"),
            good[:-2] + b"\n",
            make_request(Content_Length="+0"),
            make_request(Content_Length="0x0"),
            make_request(Content_Length=""),
            make_request(Content_Length="0, 1"),
            make_request("GET / HTTP/1.1", "Content-Length: 1", Content_Length="0"),
            make_request(Transfer_Encoding="identity"),
            make_request(Transfer_Encoding="xchunked"),
            make_request("GET / HTTP/1.1", "Transfer-Encoding: chunked", Transfer_Encoding="chunked"),
        )

    def test_what_cannot_be_http_is_refused_without_waiting_for_a_line(self) -> None:
        for garbage in (
            b"\x16\x03\x01",
            b"\x00",
            b" ",
            b"\xff",
            b"\n",
            b"\rx",
            b"GET\x00",
            b"(",
            b"GET / HTTP/1.1\r\n\t",
        ):
            self.assert_status(400, garbage)


class LimitTest(unittest.TestCase):
    def padded(self, size: int) -> bytes:
        return make_request(X="y" * (size - len(make_request(X=""))))

    def test_a_head_of_the_limit_is_taken_and_one_byte_more_is_not(self) -> None:
        accept(self.padded(MAX_HEAD_BYTES) + b"trailing")
        self.assertEqual(refuse(self.padded(MAX_HEAD_BYTES + 1)).status, 431)

    def test_100_headers_are_taken_and_101_are_not(self) -> None:
        more = ["X: y"] * (MAX_HEADERS - len(GOOD))
        accept(make_request("GET / HTTP/1.1", *more))
        self.assertEqual(refuse(make_request("GET / HTTP/1.1", *more, "X: y")).status, 431)

    def test_endless_heads_are_refused_as_soon_as_the_limit_is_passed(self) -> None:
        for start, piece in ((b"", b"G"), (b"GET /", b"x" * 1000), (b"GET / HTTP/1.1\r\nX: ", b"y" * 4096)):
            handshake = ServerHandshake()
            handshake.feed(start)
            fed = len(start)
            with self.assertRaises(Refusal) as caught:
                while fed <= MAX_HEAD_BYTES + len(piece):
                    fed += len(piece)
                    handshake.feed(piece)
            self.assertEqual(caught.exception.status, 431)
            self.assertLessEqual(fed, MAX_HEAD_BYTES + len(piece))

    def test_endless_headers_are_refused_at_the_101st(self) -> None:
        handshake = ServerHandshake()
        handshake.feed(b"GET / HTTP/1.1\r\n")
        for _ in range(MAX_HEADERS):
            handshake.feed(b"X: y\r\n")
        with self.assertRaises(Refusal) as caught:
            handshake.feed(b"X: y\r\n")
        self.assertEqual(caught.exception.status, 431)

    def test_a_request_line_over_the_limit_is_431(self) -> None:
        self.assertEqual(refuse(make_request(f"GET /{'x' * MAX_HEAD_BYTES} HTTP/1.1")).status, 431)


class RefusalTest(unittest.TestCase):
    def test_the_response_is_a_whole_one(self) -> None:
        status, headers, body = split_response(Refusal(403, "N\xe4h").response())
        self.assertEqual(status, "HTTP/1.1 403 Forbidden")
        self.assertEqual(body, "N\xe4h\n".encode())
        self.assertEqual(
            dict(headers),
            {"content-type": "text/plain; charset=utf-8", "content-length": str(len(body)), "connection": "close"},
        )

    def test_405_and_426_say_what_would_be_right(self) -> None:
        self.assertEqual(split_response(Refusal(405, "").response())[1]["Allow"], "GET")
        headers = split_response(refuse(make_request(Upgrade=None)).response())[1]
        self.assertEqual(headers["Sec-WebSocket-Version"], "13")
        self.assertEqual(headers["Upgrade"], "websocket")
        self.assertIn("close", headers.get_all("Connection"))

    def test_any_status_from_200_to_599_has_a_response(self) -> None:
        for status in range(200, 600):
            line, _, body = split_response(Refusal(status, "text").response())
            self.assertRegex(line, rf"^HTTP/1\.1 {status} \w")
            self.assertEqual(body, b"" if status in (204, 304) else b"text\n")
        for status in (0, 101, 199, 600):
            with self.assertRaisesRegex(ValueError, "status"):
                Refusal(status, "text")

    def test_extra_headers_are_in_the_response(self) -> None:
        self.assertEqual(split_response(Refusal(503, "", [("Retry-After", "1")]).response())[1]["Retry-After"], "1")


class HeadersTest(unittest.TestCase):
    def test_names_are_found_in_any_case_and_several_are_joined(self) -> None:
        headers = Headers([("A", "1"), ("b", "2"), ("a", "3")])
        self.assertEqual(headers["a"], "1, 3")
        self.assertEqual(headers.get_all("A"), ["1", "3"])
        self.assertEqual(headers.get_all("c"), [])
        self.assertIn("B", headers)
        self.assertNotIn("c", headers)
        self.assertNotIn(5, headers)
        self.assertEqual(list(headers), ["a", "b"])
        self.assertEqual(len(headers), 2)
        self.assertEqual(repr(headers), "{'a': '1, 3', 'b': '2'}")

    def test_they_are_immutable(self) -> None:
        headers = Headers([("A", "1")])
        headers.get_all("a").append("2")
        self.assertEqual(headers["a"], "1")
        with self.assertRaises(TypeError):
            headers["a"] = "2"  # type: ignore[index]

    def test_cookies_are_split_leniently(self) -> None:
        for text, cookies in (
            ("a=1; b=2", {"a": "1", "b": "2"}),
            ("a=1;a=2", {"a": "1"}),
            ('a="x y"; b="; c="', {"a": "x y", "b": '"', "c": '"'}),
            (";;=x; a; b=; c = d=e ;", {"b": "", "c": "d=e"}),
            ("a=\xe9%20", {"a": "\xe9%20"}),
            ("", {}),
        ):
            self.assertEqual(accept(make_request(Cookie=text)).request.cookies, cookies)
        several = make_request("GET / HTTP/1.1", "cookie: b=2", Cookie="a=1")
        self.assertEqual(accept(several).request.cookies, {"a": "1", "b": "2"})
