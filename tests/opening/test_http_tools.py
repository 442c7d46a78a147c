"""Pages on the server's port, asked for as others do it: by curl, by a browser, and by probes."""

import http.client
import shutil
import ssl
import subprocess
import tempfile
import unittest
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from ezez_ws import EZEZWebsocketServer, HandshakeRequest, HTTPResponse, browser
from tests.browser.chromium import ChromiumTestCase
from tests.opening.test_http import MIB
from tests.support import EZEZTestCase, required
from tests.test_tls import AUTHORITY, server_context

PAGE = """<!doctype html><link rel=icon href=data:,><p id=said></p><script type=module>
import { EZEZWebSocketClient } from "/ezez-ws.js";
const client = new EZEZWebSocketClient(`${location.origin.replace("http", "ws")}/chat`, { auth: "key" });
const { args: [text] } = await client.request("greet", ["browser"]);
document.getElementById("said").textContent = text;
</script>"""
MODULE = (browser.PATH / "ezez-ws.js").read_bytes()


def process(request: HandshakeRequest) -> HTTPResponse | None:
    if request.path == "/":
        return HTTPResponse(200, PAGE, {"Cache-Control": "no-store"}, "text/html; charset=utf-8")
    if request.path == "/ezez-ws.js":
        return HTTPResponse(200, MODULE, content_type="text/javascript")
    if request.path == "/old":
        return HTTPResponse(302, headers={"Location": "/"})
    return None


def app(environ: dict[str, Any], start_response: Any) -> Any:
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/endless":
        return iter(lambda: b"x" * 65536, b"")
    if environ["PATH_INFO"] == "/largest":
        return [b"x" * 1024] * 1024
    return [environ["PATH_INFO"].encode()]


def serve(test: unittest.TestCase, **options: Any) -> EZEZWebsocketServer:
    server = EZEZWebsocketServer(
        port=0,
        path="/chat",
        on_auth_request=lambda client, key: key == "key",
        allowed_origins="same-origin",
        process_request=process,
        health_path="/healthz",
        close_timeout=2.0,
        **options,
    )
    server.handler("greet", lambda client, name: f"hello, {name}")
    server.mount("/app", app)
    server.start()
    test.addCleanup(server.close)
    return server


class CurlTest(EZEZTestCase):
    def setUp(self) -> None:
        required(None, "" if shutil.which("curl") else "curl is not installed", "EZEZ_REQUIRE_CURL")

    def curl(self, *args: str) -> tuple[int, bytes]:
        """Return how it ended, and what it has got."""
        curl = shutil.which("curl")
        assert curl is not None
        done = subprocess.run([curl, "--silent", "--max-time", "20", *args], capture_output=True, check=False)
        return done.returncode, done.stdout

    def test_it_gets_pages_redirects_heads_and_errors_in_both_versions(self) -> None:
        server = serve(self)
        url = f"http://127.0.0.1:{server.port}"
        for version in ("--http1.1", "--http1.0"):
            self.assertEqual((0, b"ok\n"), self.curl(version, "--fail", f"{url}/healthz"))
            self.assertEqual((0, PAGE.encode()), self.curl(version, "--fail", "--location", f"{url}/old"))
            self.assertEqual((0, b"/a/b"), self.curl(version, "--fail", f"{url}/app/a/b?c"))
            self.assertEqual((0, b"x" * MIB), self.curl(version, "--fail", f"{url}/app/largest"))
            code, head = self.curl(version, "--fail", "--head", f"{url}/ezez-ws.js")
            self.assertEqual(0, code)
            self.assertIn(f"Content-Length: {len(MODULE)}\r\n".encode(), head)
            self.assertEqual((22, b""), self.curl(version, "--fail", f"{url}/chat"))  # a refusal
        self.assertEqual((22, b""), self.curl("--fail", "--data", "x=y", f"{url}/app"))
        self.assertEqual((0, b"ok\n"), self.curl("--fail", "--http2", f"{url}/healthz"))  # it offers an upgrade to h2c

    def test_what_is_cut_is_an_error_for_it(self) -> None:
        server = serve(self)
        with self.assertLogs("ezez_ws", "WARNING"):
            for version in ("--http1.1", "--http1.0"):
                code, data = self.curl(version, f"http://127.0.0.1:{server.port}/app/endless")
                self.assertEqual(56, code)  # CURLE_RECV_ERROR
                self.assertLessEqual(len(data), MIB)

    def test_several_urls_of_one_call_take_several_connections(self) -> None:
        server = serve(self)
        url = f"http://127.0.0.1:{server.port}"
        got = self.curl("--fail", f"{url}/healthz", f"{url}/app/a", f"{url}/healthz")
        self.assertEqual((0, b"ok\n/aok\n"), got)

    def test_in_tls_with_a_certificate_that_it_checks(self) -> None:
        server = serve(self, ssl=server_context())
        url = f"https://127.0.0.1:{server.port}"
        with tempfile.TemporaryDirectory() as folder:
            authority = Path(folder, "ca.pem")
            AUTHORITY.cert_pem.write_to_path(str(authority))
            trusting = ("--fail", "--cacert", str(authority))
            self.assertEqual((0, b"ok\n"), self.curl(*trusting, f"{url}/healthz"))
            self.assertEqual((0, b"x" * MIB), self.curl(*trusting, f"{url}/app/largest"))
            with self.assertLogs("ezez_ws", "WARNING"):
                self.assertEqual(56, self.curl(*trusting, f"{url}/app/endless")[0])


class LibrariesTest(EZEZTestCase):
    def test_pythons_own_clients_get_pages(self) -> None:
        server = serve(self)
        with urlopen(f"http://127.0.0.1:{server.port}/old", timeout=10) as page:
            self.assertEqual((200, PAGE), (page.status, page.read().decode()))
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        for method, body in (("GET", b"/x"), ("HEAD", b"")) * 2:  # it connects anew by itself
            connection.request(method, "/app/x")
            response = connection.getresponse()
            self.assertEqual((200, "2", body), (response.status, response.headers["Content-Length"], response.read()))
        connection.close()
        context = ssl.create_default_context()
        AUTHORITY.configure_trust(context)
        secure = serve(self, ssl=server_context())
        with urlopen(f"https://127.0.0.1:{secure.port}/app/largest", timeout=10, context=context) as page:
            self.assertEqual(MIB, len(page.read()))


class BrowserTest(ChromiumTestCase):
    def test_a_page_from_the_port_opens_a_socket_on_the_port(self) -> None:
        server = serve(self)
        page = self.open(f"http://127.0.0.1:{server.port}/old")
        page.get_by_text("hello, browser").wait_for()
        self.assertEqual(1, len(server.clients))
        self.assertEqual(f"http://127.0.0.1:{server.port}", server.clients[0].request.headers["Origin"])
        page.reload()
        page.get_by_text("hello, browser").wait_for()

    def test_in_tls_too(self) -> None:
        server = serve(self, ssl=server_context())
        page = self.open(f"https://127.0.0.1:{server.port}/", ignore_https_errors=True)
        page.get_by_text("hello, browser").wait_for()


if __name__ == "__main__":
    unittest.main()
