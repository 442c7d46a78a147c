"""The monitor: its page, who may look, what is told, and what it leaves alone."""

import http.client
import io
import logging
import os
import ssl
import threading
import time
import unittest
from typing import Any
from wsgiref.util import setup_testing_defaults

import trustme
from werkzeug.exceptions import NotFound
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.serving import WSGIRequestHandler, make_server

import ezez_ws
from ezez_ws import AuthRejected, ConnectionFailed, EZEZWebSocketClient, EZEZWebsocketServer, Monitor, RemoteError
from ezez_ws.operating import monitor as module
from tests.lockcheck import checking
from tests.serving import KEY, Calls, ServingTestCase
from tests.support import eventually

MONITOR_KEY = "key of the monitor"


class Page:
    """What the page does: it connects, and keeps what it is told."""

    def __init__(self, url: str, key: str = MONITOR_KEY, **options: Any) -> None:
        self.told = Calls()
        self.client = EZEZWebSocketClient(
            url,
            auth=key,
            auto_reconnect=False,
            on_message=lambda event, args, reply, ids: self.told.add(event, *args),
            **options,
        )

    def seen(self, event: str) -> list[Any]:
        return [args[0] for name, *args in self.told.seen if name == event]

    def first(self, event: str) -> Any:
        return eventually(lambda: self.seen(event), what=event)[0]

    def clients(self) -> dict[int, dict[str, Any]]:
        """What the page knows of the clients."""
        rows: dict[int, dict[str, Any]] = {}
        for told in self.seen("clients"):
            rows.update({row["id"]: row for row in told["changed"]})
            for gone in told["gone"]:
                rows.pop(gone, None)
        return rows


class MonitorTestCase(ServingTestCase):
    def watch(self, server: EZEZWebsocketServer, **options: Any) -> Monitor:
        monitor = Monitor(server, key=MONITOR_KEY, **options)
        server.mount("/monitor", monitor)
        return monitor

    def open(self, server: EZEZWebsocketServer, **options: Any) -> Page:
        page = Page(f"{server.url}/monitor/socket", **options)
        self.addCleanup(page.client.close)
        page.client.connect()
        return page

    def get(self, server: EZEZWebsocketServer, path: str, method: str = "GET") -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        self.addCleanup(connection.close)
        connection.request(method, path)
        response = connection.getresponse()
        self.body = response.read()
        return response


class PageTest(MonitorTestCase):
    def test_its_files_are_given_away_with_headers_that_let_nothing_else_in(self) -> None:
        server = self.serve()
        self.watch(server)
        for path, kind in (
            ("", "html"),
            ("monitor.js", "javascript"),
            ("monitor.css", "css"),
            ("ezez-ws.js", "javascript"),
        ):
            response = self.get(server, f"/monitor/{path}")
            self.assertEqual(200, response.status, path)
            self.assertIn(kind, response.headers["Content-Type"])
            self.assertIn("default-src 'none'", response.headers["Content-Security-Policy"])
            self.assertIn("require-trusted-types-for 'script'", response.headers["Content-Security-Policy"])
            self.assertEqual("nosniff", response.headers["X-Content-Type-Options"])
            self.assertEqual("no-referrer", response.headers["Referrer-Policy"])
            self.assertEqual("no-store", response.headers["Cache-Control"])
            self.assertGreater(len(self.body), 100)
            self.assertNotIn(MONITOR_KEY.encode(), self.body)

    def test_the_path_without_a_slash_leads_to_the_page(self) -> None:
        server = self.serve()
        self.watch(server)
        response = self.get(server, "/monitor")
        self.assertEqual((308, "./monitor/"), (response.status, response.headers["Location"]))

    def test_there_is_nothing_else(self) -> None:
        server = self.serve()
        self.watch(server)
        for path in ("nothing", "monitor.html", "../ezez-ws.js", "%2e%2e/setup.cfg", "__init__.py", "monitor.js/"):
            self.assertEqual(404, self.get(server, f"/monitor/{path}").status, path)
        self.assertEqual(200, self.get(server, "/monitor/", "HEAD").status)
        self.assertEqual(b"", self.body)
        self.assertEqual(426, self.get(server, "/monitor/socket").status)

    def test_other_methods_are_refused(self) -> None:
        environ: dict[str, Any] = {"REQUEST_METHOD": "POST", "PATH_INFO": "/", "wsgi.input": io.BytesIO(b"")}
        setup_testing_defaults(environ)
        answers: list[Any] = []
        Monitor(self.make())(environ, lambda status, headers: answers.append((status, dict(headers))))
        self.assertEqual("405 Method Not Allowed", answers[0][0])

    def test_its_url_has_the_key_behind_a_hash(self) -> None:
        server = self.serve()
        monitor = self.watch(server)
        self.assertEqual(f"http://127.0.0.1:{server.port}/monitor/#key%20of%20the%20monitor", monitor.url)

    def test_without_a_key_one_is_made_that_nobody_guesses(self) -> None:
        server = self.make()
        first, second = Monitor(server), Monitor(server)
        self.assertNotEqual(first.key, second.key)
        self.assertGreaterEqual(len(first.key), 24)
        self.assertEqual(f"#{first.key}", first.url)  # nobody knows where it will be
        self.assertNotIn(first.key, repr(first))

    def test_wrong_arguments_are_named(self) -> None:
        server = self.make()
        for error, name, arguments in (
            (TypeError, "server", (1, {})),
            (TypeError, "key", (server, {"key": b"bytes"})),
            (ValueError, "key", (server, {"key": ""})),
            (TypeError, "read_only", (server, {"read_only": 1})),
        ):
            with self.assertRaisesRegex(error, f"^{name} must"):
                Monitor(arguments[0], **arguments[1])  # type: ignore[arg-type]

    def test_it_is_imported_only_where_it_is_wanted(self) -> None:
        self.assertIs(Monitor, ezez_ws.Monitor)
        self.assertIs(module.Monitor, Monitor)


class LookingTest(MonitorTestCase):
    def test_a_wrong_key_is_refused(self) -> None:
        server = self.serve()
        self.watch(server)
        for key in ("", "wrong", MONITOR_KEY + "x", KEY):
            page = Page(f"{server.url}/monitor/socket", key=key)
            with self.assertRaises(AuthRejected):
                page.client.connect()
            page.client.close()
            self.assertEqual([], page.told.seen)

    def test_only_the_pages_own_origin_may_connect(self) -> None:
        server = self.serve()
        self.watch(server)
        own = f"http://127.0.0.1:{server.port}"
        self.open(server, headers={"Origin": own})
        for origin in ("http://evil.example", f"http://127.0.0.1:{server.port}0", "null", "http://localhost"):
            page = Page(f"{server.url}/monitor/socket", headers={"Origin": origin})
            with self.assertRaises(ConnectionFailed) as caught:
                page.client.connect()
            page.client.close()
            self.assertEqual(403, caught.exception.status)

    def test_who_looks_is_greeted_with_what_was_kept(self) -> None:
        server = self.serve()
        self.watch(server)
        server.on("boom", lambda *_: 1 / 0)
        with self.assertLogs("ezez_ws", "ERROR"):
            side, peer = self.pair(server)
            peer.send_event("boom")
            page = self.open(server)
            error = eventually(lambda: page.first("hello")["errors"] or page.seen("error"))[0]
        hello = page.first("hello")
        self.assertEqual(os.getpid(), hello["server"]["pid"])
        self.assertEqual(server.url, hello["server"]["url"])
        self.assertLess(abs(time.time() * 1000 - hello["server"]["started"]), 60_000)
        self.assertIs(False, hello["readOnly"])
        self.assertEqual(0, hello["samples"][0]["connections"])
        self.assertEqual("ZeroDivisionError: division by zero", error["error"])
        self.assertIn("the listener of 'boom'", error["what"])
        self.assertEqual((side.connection_id, "boom"), (error["id"], error["event"]))
        self.assertIn("1 / 0", error["traceback"])

    def test_a_stuck_listener_is_shown_with_its_line(self) -> None:
        server = self.serve()
        self.watch(server)
        gate = self.gate()

        def on_order(client: Any, args: Any, reply: Any, ids: Any) -> None:
            with client.context:
                gate()  # here it is

        server.on("order", on_order)
        side, peer = self.pair(server)
        peer.send_event("order")
        gate.wait_entered()
        page = self.open(server)
        (listener,) = page.first("listeners")
        self.assertEqual((side.connection_id, "order"), (listener["id"], listener["what"]))
        self.assertIn("gate()  # here it is", [frame["source"] for frame in listener["stack"]])
        self.assertIn(listener["state"], ("asleep", "computing", None))
        row = page.clients()[side.connection_id]
        self.assertIsNone(row["context"])  # held, and not waited for
        self.assertEqual("order", row["running"]["what"])

    def test_an_error_that_cannot_be_looked_at_ends_nothing(self) -> None:
        class Slip(Exception):
            def __getattr__(self, name: str) -> object:
                raise KeyError(name)

        server = self.serve(on_error=lambda client, error: None)
        self.watch(server)
        server.on("slip", lambda client, args, reply, ids: (_ for _ in ()).throw(Slip()))
        server.on("next", lambda client, args, reply, ids: reply("heard"))
        client = self.client(server)
        client.send("slip")
        self.assertEqual("heard", client.send("next").wait_reply(10).event)
        self.assertIn("Slip", self.open(server).first("hello")["errors"][0]["error"])

    def test_sockets_of_the_program_below_the_same_path_are_its_own(self) -> None:
        server = self.serve()
        server.mount("/", Monitor(server, key=MONITOR_KEY))
        self.client(server)

    def test_those_who_ask_without_an_upgrade_start_nothing(self) -> None:
        server = self.serve()
        self.watch(server)
        with self.assertNoLogs("ezez_ws", logging.INFO):
            for _ in range(5):
                self.assertEqual(426, self.get(server, "/monitor/socket").status)

    def test_clients_come_change_and_go(self) -> None:
        server = self.serve()
        self.watch(server)
        server.on("enter", lambda client, args, reply, ids: client.join(*args))
        page = self.open(server)
        side, peer = self.pair(server)
        side.context["name"] = "<b>Ann</b>"
        number = side.connection_id
        peer.send_event("enter", ["<i>lobby</i>\u202e"])
        row: Any = eventually(
            lambda: (row := page.clients().get(number)) and row["rooms"] and row["context"] != "{}" and row
        )
        self.assertEqual(["<i>lobby</i>\\u202e"], row["rooms"])
        self.assertEqual("{'name': '<b>Ann</b>'}", row["context"])
        self.assertEqual((1, True), (row["received"], row["authenticated"]))
        self.assertLess(abs(time.time() * 1000 - row["since"]), 60_000)
        peer.close()
        eventually(lambda: number not in page.clients())

    def test_it_is_in_no_list_figure_limit_or_callback_of_the_server(self) -> None:
        calls = Calls()
        names = ("on_message", "on_auth_ok", "on_auth_rejected", "on_disconnect", "on_error")
        server = self.serve(max_connections=1, **{name: calls.named(name) for name in names})
        self.watch(server)
        before = server.stats()
        pages = [self.open(server) for _ in range(3)]
        for page in pages:
            page.first("sample")
            self.assertEqual({}, page.clients())
        self.assertEqual(([], before), (server.clients, server.stats()))
        self.assertEqual(0, server.broadcast("news"))
        self.pair(server)  # which takes the only place
        for page in pages:
            page.client.close()
        self.assertEqual([("on_auth_ok",)], calls.seen)
        self.assertNotIn("news", [call[0] for page in pages for call in page.told.seen])

    def test_nothing_is_left_when_nobody_looks(self) -> None:
        server = self.serve()
        monitor = self.watch(server)
        for _ in range(2):
            page = self.open(server)
            page.first("sample")
            self.assertIn("ezez-monitor", [thread.name for thread in threading.enumerate()])
            page.client.close()
            eventually(lambda: "ezez-monitor" not in [thread.name for thread in threading.enumerate()])
            eventually(lambda: monitor._looking is None)

    def test_the_server_closes_though_somebody_looks(self) -> None:
        server = self.serve(close_timeout=20.0)
        self.watch(server)
        page = self.open(server)
        page.first("sample")
        begun = time.monotonic()
        server.close()
        self.assertLess(time.monotonic() - begun, 10.0)
        self.assertNotIn("ezez-monitor", [thread.name for thread in threading.enumerate()])
        eventually(
            lambda: not page.client.alive
        )  # who looks is sent away before the server has closed, and hears of it
        server.start()
        self.open(server).first("sample")

    def test_one_sample_is_kept_each_five_seconds(self) -> None:
        server = self.make()
        monitor = self.watch(server)
        self.assertEqual([], monitor._history.samples())
        server.start()
        self.assertEqual(1, len(monitor._history.samples()))
        monitor._sample()  # as the janitor does
        self.assertEqual(2, len(monitor._history.samples()))
        server.close()
        monitor._sample()
        self.assertEqual(2, len(monitor._history.samples()))


class ActingTest(MonitorTestCase):
    def test_a_client_is_disconnected(self) -> None:
        server = self.serve()
        self.watch(server)
        side, peer = self.pair(server)
        page = self.open(server)
        self.assertIs(True, page.client.call("disconnect", [side.connection_id], timeout=10))
        self.assertEqual(1000, peer.read_end().code)

    def test_events_are_sent_to_one_and_to_all(self) -> None:
        server = self.serve()
        self.watch(server)
        side, peer = self.pair(server)
        page = self.open(server)
        self.assertIs(True, page.client.call("send", [side.connection_id, "hi", [1, {"a": None}]], timeout=10))
        self.assertEqual(("hi", [1, {"a": None}]), (event := peer.read_event()) and (event.name, event.args))
        self.assertEqual(1, page.client.call("broadcast", ["news", []], timeout=10))
        self.assertEqual("news", peer.read_event().name)

    def test_what_cannot_be_done_is_answered(self) -> None:
        server = self.serve()
        self.watch(server)
        side, _ = self.pair(server)
        page = self.open(server)
        for code, event, args in (
            ("gone", "disconnect", [10**6]),
            ("refused", "send", [side.connection_id, "ezez-ws::auth", []]),
            ("refused", "broadcast", ["ezez-ws::auth", []]),
        ):
            with self.assertRaises(RemoteError) as caught:
                page.client.call(event, args, timeout=10)
            self.assertEqual(code, caught.exception.code)

    def test_read_only_leaves_actions_out(self) -> None:
        server = self.serve()
        self.watch(server, read_only=True)
        side, _ = self.pair(server)
        page = self.open(server)
        self.assertIs(True, page.first("hello")["readOnly"])
        for event, args in (("disconnect", [side.connection_id]), ("broadcast", ["news", []])):
            with self.assertRaises(RemoteError) as caught:
                page.client.call(event, args, timeout=10)
            self.assertEqual("unknown-event", caught.exception.code)
        self.assertTrue(side.alive)


class Silent(WSGIRequestHandler):
    def log(self, *_: object) -> None: ...


class ElsewhereTest(MonitorTestCase):
    def test_it_is_served_beside_the_pages_of_a_web_server(self) -> None:
        server = self.serve()
        monitor = Monitor(server, key=MONITOR_KEY)
        pages = make_server(
            "127.0.0.1",
            0,
            DispatcherMiddleware(NotFound(), {"/admin/monitor": monitor}),
            threaded=True,
            request_handler=Silent,
        )
        thread = threading.Thread(target=pages.serve_forever)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(pages.server_close)
        self.addCleanup(pages.shutdown)
        side, _ = self.pair(server)
        page = Page(f"ws://127.0.0.1:{pages.port}/admin/monitor/socket")
        self.addCleanup(page.client.close)
        page.client.connect()
        eventually(lambda: side.connection_id in page.clients())
        connection = http.client.HTTPConnection("127.0.0.1", pages.port, timeout=10)
        self.addCleanup(connection.close)
        connection.request("GET", "/admin/monitor/")
        self.assertEqual(200, connection.getresponse().status)
        server.close()
        eventually(lambda: not page.client.alive)  # which hears of it, though the web server goes on
        page.client.close()
        eventually(lambda: monitor._looking is None)

    def test_a_server_with_tls_gives_it_away_by_https(self) -> None:
        trusting, accepting = ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority = trustme.CA()
        authority.issue_cert("127.0.0.1").configure_cert(accepting)
        authority.configure_trust(trusting)
        server = self.serve(ssl=accepting)
        monitor = self.watch(server)
        self.assertTrue(monitor.url.startswith(f"https://127.0.0.1:{server.port}/monitor/#"))
        page = self.open(server, ssl=trusting, headers={"Origin": f"https://127.0.0.1:{server.port}"})
        page.first("sample")

    def test_another_server_may_show_it(self) -> None:
        server, other = self.serve(), self.serve()
        other.mount("/", monitor := Monitor(server, key=MONITOR_KEY))
        self.assertTrue(monitor.url.startswith(f"http://127.0.0.1:{other.port}/#"))
        side, _ = self.pair(server)
        page = Page(f"{other.url}/socket")
        self.addCleanup(page.client.close)
        page.client.connect()
        eventually(lambda: side.connection_id in page.clients())
        other.close()
        eventually(lambda: not page.client.alive)


class LocksTest(MonitorTestCase):
    def test_it_keeps_to_the_rules_of_locks(self) -> None:
        with (
            checking() as checker,
            EZEZWebsocketServer(port=0, on_auth_request=lambda *_: True, close_timeout=2.0) as server,
            EZEZWebSocketClient(server.url) as client,
            self.assertLogs("ezez_ws", "ERROR"),
        ):
            self.watch(server)
            server.on("boom", checker.user_code(lambda *_: 1 / 0))
            page = self.open(server)
            client.send("boom")
            eventually(lambda: page.first("hello")["errors"] or page.seen("error"))
            page.client.call("broadcast", ["news", []], timeout=10)
            page.first("listeners")
            page.client.close()
        self.assertEqual([], list(checker.violations))
        self.assertLessEqual({"Monitor._lock", "Looking._lock", "History._lock"}, checker.taken)


if __name__ == "__main__":
    unittest.main()
