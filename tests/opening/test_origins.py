"""Whose pages may connect: what is written, what browsers send, and that both are compared by what they mean."""

import subprocess
import sys
import unittest
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ezez_ws.opening.origins import Origins, parse_origin
from tests.support import REPO

MAY_RUN_BESIDE = True

HOST = "app.example"


def allows(allowed: Any, origin: str, host: str = HOST, tls: bool = False) -> bool:
    return Origins(allowed, tls).allows(origin, host)


class ExactTest(unittest.TestCase):
    def test_what_means_the_same_matches(self) -> None:
        for entry, origin in (
            ("https://example.org", "https://example.org"),
            ("https://example.org:443", "https://example.org"),
            ("https://example.org", "https://example.org:443"),
            ("http://example.org:80", "http://example.org"),
            ("HTTPS://Example.ORG", "https://example.org"),
            ("https://example.org", "HTTPS://EXAMPLE.ORG"),
            ("http://localhost:8080", "http://localhost:8080"),
            ("http://localhost:08080", "http://localhost:8080"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
            ("https://BÜCHER.example", "https://xn--bcher-kva.example"),
            ("https://xn--bcher-kva.example", "https://bücher.example".encode().decode("latin-1")),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("http://[0:0:0:0:0:0:0:1]", "http://[::1]"),
            ("http://127.0.0.1", "http://127.0.0.1"),
            ("http://my_host", "http://my_host"),
            ("wss://example.org:443", "wss://example.org"),
            ("chrome-extension://abcdefghij", "chrome-extension://abcdefghij"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("file://", "file://"),
            ("null", "null"),
        ):
            with self.subTest(entry=entry, origin=origin):
                self.assertTrue(allows([entry], origin))
                self.assertTrue(allows({entry: 1, "https://other.example": 2}, origin))

    def test_nothing_else_does(self) -> None:
        for entry, origin in (
            ("https://example.org", "http://example.org"),
            ("https://example.org", "https://example.org:8443"),
            ("https://example.org:8443", "https://example.org"),
            ("https://example.org:80", "https://example.org"),
            ("https://example.org", "https://example.org.evil.example"),
            ("https://example.org", "https://evil.example/https://example.org"),
            ("https://example.org", "https://evil.example#https://example.org"),
            ("https://example.org", "https://example.org@evil.example"),
            ("https://example.org", "https://user@example.org"),
            ("https://example.org", "https://example.org/"),
            ("https://example.org", " https://example.org"),
            ("https://example.org", "https://example.org\n"),
            ("https://example.org", "https://example.org, https://example.org"),
            ("https://example.org", "https://example.org:99999"),
            ("https://example.org", "https://example.org:"),
            ("https://example.org", "https://www.example.org"),
            ("https://example.org", "https://" + "a" * 5000 + ".example.org"),
            ("https://example.org", "https://\xff\xfe.example.org"),
            ("https://example.org", "https://\xe4\xb8\xad.example.org"),
            ("https://example.org", "example.org"),
            ("https://example.org", "null"),
            ("https://example.org", ""),
            ("null", "https://null"),
            ("file://", "file://x"),
        ):
            with self.subTest(entry=entry, origin=origin):
                self.assertFalse(allows([entry], origin))

    def test_an_empty_collection_lets_no_page_connect(self) -> None:
        self.assertFalse(allows([], "https://example.org"))
        self.assertFalse(allows((), "null"))

    @given(st.text(max_size=40))
    def test_whatever_a_peer_sends_is_an_answer(self, text: str) -> None:
        latin = text.encode("utf-8", "replace").decode("latin-1")
        for allowed in (["https://*.example.org", "null"], "same-origin"):
            self.assertIs(allows(allowed, latin, latin), latin == "null" and allowed != "same-origin")


class WildcardTest(unittest.TestCase):
    def test_it_stands_for_all_hosts_below(self) -> None:
        for origin in ("https://a.example.org", "https://a.b.example.org:443", "https://A.Example.org"):
            self.assertTrue(allows(["https://*.example.org:443"], origin))
        self.assertTrue(allows(["https://*.BÜCHER.example"], "https://a.xn--bcher-kva.example"))
        self.assertTrue(allows(["http://*.localhost:3000"], "http://a.localhost:3000"))

    def test_it_stands_for_nothing_else(self) -> None:
        for origin in (
            "https://example.org",
            "https://aexample.org",
            "https://a.example.org.evil.example",
            "https://a.example.org:8443",
            "http://a.example.org",
            "https://*.example.org",
            "https://evil.example?.example.org",
            "null",
        ):
            with self.subTest(origin=origin):
                self.assertFalse(allows(["https://*.example.org"], origin))


class SameOriginTest(unittest.TestCase):
    def test_host_and_port_are_compared_with_host(self) -> None:
        for origin, host, same in (
            ("http://app.example", "app.example", True),
            ("https://app.example", "app.example", True),  # a proxy speaks TLS
            ("https://app.example", "APP.example:443", True),
            ("http://app.example", "app.example:80", True),
            ("http://app.example", "app.example:", True),
            ("https://app.example:8443", "app.example:8443", True),
            ("http://[::1]:8080", "[::1]:8080", True),
            ("http://[::1]", "[0::1]", True),
            ("http://app.example:8080", "app.example", False),
            ("http://app.example", "app.example:8080", False),
            ("https://app.example", "app.example:80", False),
            ("http://evil.example", "app.example", False),
            ("http://app.example.evil.example", "app.example", False),
            ("app://app.example", "app.example", False),
            ("null", "null", False),
            ("", "", False),
        ):
            with self.subTest(origin=origin, host=host):
                self.assertIs(same, allows("same-origin", origin, host))

    def test_with_tls_of_our_own_the_scheme_counts_too(self) -> None:
        self.assertTrue(allows("same-origin", "https://app.example", "app.example", tls=True))
        self.assertTrue(allows("same-origin", "https://app.example", "app.example:443", tls=True))
        self.assertFalse(allows("same-origin", "http://app.example", "app.example", tls=True))
        self.assertFalse(allows("same-origin", "http://app.example", "app.example:80", tls=True))


class WrittenTest(unittest.TestCase):
    def test_what_can_never_match_is_an_error_that_says_what_would(self) -> None:
        for entry, advice in (
            ("https://example.org/", "'https://example.org'"),
            ("https://example.org/app?x#y", "'https://example.org'"),
            ("https://user:pw@example.org", "'https://example.org'"),
            (" https://example.org", "'https://example.org'"),
            ("example.org", "'https://example.org'"),
            ("localhost:3000", "'http://localhost:3000'"),
            ("*.example.org", "'https://*.example.org'"),
            ("https://*.example.org/", "'https://*.example.org'"),
            ("https://example.*", "wildcard"),
            ("https://a.*.org", "wildcard"),
            ("https://*", "wildcard"),
            ("https://*a.example.org", "wildcard"),
            ("https://*.*.example.org", "wildcard"),
            ("http://localhost:*", "wildcard"),
            ("*://example.org", "wildcard"),
            ("*", "leave allowed_origins out"),
            ("same-origin", 'allowed_origins="same-origin"'),
            ("https://", "'https://example.org'"),
            ("https://*.", "'https://example.org'"),
            ("https://example.org:99999", "'https://example.org'"),
            ("https://example.org:x", "'https://example.org'"),
            ("https://a b", "'https://example.org'"),
            ("http://[::g]", "'https://example.org'"),
            ("https://a..ü", "'https://example.org'"),
            ("", "'https://example.org'"),
            ("NULL", "'https://NULL'"),
        ):
            with self.subTest(entry=entry):
                with self.assertRaises(ValueError) as caught:
                    Origins(["https://fine.example", entry])
                text, _, advised = str(caught.exception).partition("; ")
                self.assertEqual(f"allowed_origins: {entry!r} is no origin", text)
                self.assertIn(advice, advised)

    def test_advice_is_an_origin(self) -> None:
        for entry in ("example.org/x", "https://example.org/", "user@example.org", "https://*.a.example/"):
            with self.assertRaises(ValueError) as caught:
                Origins([entry])
            Origins([str(caught.exception).rpartition("'")[0].rpartition("'")[2]])

    def test_what_is_no_collection_of_texts_is_refused(self) -> None:
        with self.assertRaisesRegex(ValueError, r"^allowed_origins.*write \['https://example.org'\]"):
            Origins("https://example.org")
        wrong: list[Any] = [5, b"https://example.org", iter(["https://example.org"]), [5], [None], [b"null"]]
        for allowed in wrong:
            with self.subTest(allowed=allowed), self.assertRaisesRegex(TypeError, "^allowed_origins"):
                Origins(allowed)

    def test_idna_is_imported_for_whom_it_is_needed_only(self) -> None:
        code = (
            "import sys\nfrom ezez_ws.opening.origins import Origins\n"
            "Origins(['https://example.org', 'https://*.a.example']).allows('https://xn--a.example', 'a')\n"
            "assert 'encodings.idna' not in sys.modules\n"
            "Origins(['https://ü.example'])\nassert 'encodings.idna' in sys.modules"
        )
        subprocess.run([sys.executable, "-c", code], cwd=REPO, check=True, timeout=50)

    def test_an_origin_is_parsed_to_what_is_compared(self) -> None:
        self.assertEqual(("https", "a.b", None), parse_origin("HTTPS://A.b:443"))
        self.assertEqual(("http", "a.b", 443), parse_origin("http://a.b:443"))
        self.assertIsNone(parse_origin("null"))


if __name__ == "__main__":
    unittest.main()
