"""What a user of the client may give: URL, headers, subprotocols."""

import unittest
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ezez_ws.opening.client_handshake import ClientHandshake
from ezez_ws.opening.server_handshake import ServerHandshake
from ezez_ws.opening.url import URL, parse_url, validate_client_headers, validate_subprotocols


class ParseUrlTest(unittest.TestCase):
    def test_urls_of_every_form(self) -> None:
        for url, parsed in (
            ("ws://h", URL(False, "h", 80, "/", "h", "h")),
            ("wss://h", URL(True, "h", 443, "/", "h", "h")),
            ("http://h/a", URL(False, "h", 80, "/a", "h", "h")),
            ("HTTPS://H:/a?b", URL(True, "h", 443, "/a?b", "h", "h")),
            ("ws://h:443", URL(False, "h", 443, "/", "h:443", "h")),
            ("wss://h:0443?x", URL(True, "h", 443, "/?x", "h", "h")),
            ("ws://127.0.0.1:8080/", URL(False, "127.0.0.1", 8080, "/", "127.0.0.1:8080", "127.0.0.1")),
            ("ws://[::1]", URL(False, "::1", 80, "/", "[::1]", "::1")),
            ("wss://[2001:DB8::0:1]:8/", URL(True, "2001:db8::1", 8, "/", "[2001:db8::1]:8", "2001:db8::1")),
            ("ws://[fe80::1%25eth0]/", URL(False, "fe80::1%eth0", 80, "/", "[fe80::1]", "fe80::1")),
            (
                "ws://b\xfccher.example./",
                URL(False, "xn--bcher-kva.example.", 80, "/", "xn--bcher-kva.example.", "xn--bcher-kva.example"),
            ),
            ("ws://a_b.example/", URL(False, "a_b.example", 80, "/", "a_b.example", "a_b.example")),
            ("ws://h/\xe4%20?\u20ac=a&b=%zz?", URL(False, "h", 80, "/%C3%A4%20?%E2%82%AC=a&b=%zz?", "h", "h")),
            ('ws://h/"<>\\^`{|}', URL(False, "h", 80, "/%22%3C%3E%5C%5E%60%7B%7C%7D", "h", "h")),
            ("ws://h//x:y@z/../~", URL(False, "h", 80, "//x:y@z/../~", "h", "h")),
        ):
            with self.subTest(url=url):
                self.assertEqual(parse_url(url), parsed)

    def test_what_is_no_such_url_is_refused_by_name(self) -> None:
        for url in (
            "",
            "h",
            "h:80",
            "//h/",
            "ws:h",
            "ws:/h",
            "ws:///x",
            "ws://",
            "ws://:80",
            "ftp://h",
            "wsx://h",
            "ws://h/#",
            "ws://h/#x",
            "ws://u@h/",
            "ws://u:p@h/",
            "ws://h/ x",
            " ws://h/",
            "ws://h/\n",
            "ws://h\x00/",
            "ws://h/\x85",
            "ws://h/\u2028",
            "ws://h/\ud800",
            "ws://h:0",
            "ws://h:65536",
            "ws://h:" + "9" * 5000,
            "ws://h:x",
            "ws://h:+80",
            "ws://h:8_0",
            "ws://h:\u0661",
            "ws://h:80:80",
            "ws://::1/",
            "ws://[::1/",
            "ws://[::1]x/",
            "ws://[1.2.3.4]/",
            "ws://[::1%eth0]/",
            "ws://[::1%25]/",
            "ws://[]/",
            "ws://a..b/",
            "ws://.a/",
            "ws://a%20b/",
            "ws://a\\b/",
            "ws://" + "a" * 64 + "/",
            "ws://" + "a." * 128 + "/",
            "ws://\xe4" + "a" * 64 + "/",
            "ws://\xe4..b/",
        ):
            with self.subTest(url=url[:80]), self.assertRaisesRegex(ValueError, r"^url "):
                parse_url(url)
        not_text: Any
        for not_text in (None, b"ws://h/", 5):
            with self.assertRaisesRegex(TypeError, r"^url "):
                parse_url(not_text)

    def test_a_password_is_not_repeated_and_the_way_out_is_named(self) -> None:
        with self.assertRaisesRegex(ValueError, "headers") as caught:
            parse_url("ws://user:swordfish@h/")
        self.assertNotIn("swordfish", str(caught.exception))

    @given(st.one_of(st.text(), st.text().map("ws://{}".format), st.text().map("ws://h/{}".format)))
    def test_every_text_is_refused_or_makes_a_request_that_a_server_takes(self, url: str) -> None:
        try:
            parsed = parse_url(url)
        except ValueError as error:
            self.assertRegex(str(error), "^url ")
            return
        server = ServerHandshake()
        self.assertTrue(server.feed(ClientHandshake(parsed).request()))
        self.assertEqual(server.request.headers["Host"], parsed.host_header)


class ClientHeadersTest(unittest.TestCase):
    def test_mappings_and_pairs_are_taken(self) -> None:
        self.assertEqual(validate_client_headers(None), [])
        self.assertEqual(validate_client_headers({"A": "1", "b": ""}), [("A", "1"), ("b", "")])
        self.assertEqual(validate_client_headers([("A", " \xe9\t"), ["A", "x y"]]), [("A", "\xe9"), ("A", "x y")])

    def test_other_types_are_refused_by_name(self) -> None:
        for headers in (
            "A: 1",
            b"",
            5,
            iter(()),
            [("A",)],
            ["AB"],
            [("A", 1)],
            {1: "A"},
            {"A": None},
            [("A", "1", "2")],
        ):
            with self.subTest(headers=headers), self.assertRaisesRegex(TypeError, "^headers "):
                validate_client_headers(headers)

    def test_bad_names_and_values_are_refused_by_name(self) -> None:
        for name, value in (
            ("", "x"),
            ("A B", "x"),
            ("A:", "x"),
            ("A\r\nB", "x"),
            ("\xe9", "x"),
            ("A", "x\r\nB: y"),
            ("A", "x\n"),
            ("A", "x\r"),
            ("A", "\x00"),
            ("A", "\x7f"),
            ("A", "\u20ac"),
            ("Host", "x"),
            ("upgrade", "x"),
            ("CONNECTION", "x"),
            ("Sec-WebSocket-Key", "x"),
            ("sec-websocket-anything", "x"),
            ("Content-Length", "0"),
            ("Transfer-Encoding", "chunked"),
        ):
            with self.subTest(name=name, value=value), self.assertRaisesRegex(ValueError, "^headers "):
                validate_client_headers({name: value})

    @given(st.dictionaries(st.text(), st.text(), max_size=5))
    def test_what_is_taken_arrives(self, headers: "dict[str, str]") -> None:
        try:
            checked = validate_client_headers(headers)
        except ValueError:
            return
        server = ServerHandshake()
        self.assertTrue(server.feed(ClientHandshake(parse_url("ws://h/"), checked).request()))
        for name, value in checked:
            self.assertIn(value, server.request.headers.get_all(name))


class SubprotocolsTest(unittest.TestCase):
    def test_none_and_sequences_of_tokens_are_taken(self) -> None:
        self.assertEqual(validate_subprotocols(None), ())
        self.assertEqual(validate_subprotocols([]), ())
        self.assertEqual(validate_subprotocols(["a", "b.c-d"]), ("a", "b.c-d"))

    def test_everything_else_is_refused_by_name(self) -> None:
        for wrong_type in ("chat", b"chat", {"chat"}, 5, [1], [b"chat"]):
            with self.subTest(value=wrong_type), self.assertRaisesRegex(TypeError, "^subprotocols "):
                validate_subprotocols(wrong_type)
        for wrong in ([""], ["a b"], ["a,b"], ["a/b"], ["\xe9"], ["a\r\n"], ["a", "a"]):
            with self.subTest(value=wrong), self.assertRaisesRegex(ValueError, "^subprotocols "):
                validate_subprotocols(wrong)
