"""The server: its options, its life, who is connected, broadcasts, listeners, and how connections end."""

import contextlib
import copy
import logging
import signal
import socket
import ssl
import sys
import threading
import time
import unittest
from typing import Any

from ezez_ws import (
    Codec,
    ConnectionClosed,
    Context,
    EZEZServerClient,
    EZEZWebSocketClient,
    EZEZWebsocketServer,
    HandshakeRequest,
    Ids,
    MalformedMessage,
    SerializationError,
)
from ezez_ws.messages.protocol import AUTH, AUTH_OK
from ezez_ws.websocket.frames import BINARY, CLOSE, CONTINUATION, PING, TEXT
from tests.rawpeer import RawPeer
from tests.serving import KEY, Calls, ServingTestCase
from tests.support import EZEZTestCase, allow_seconds, eventually, switch_interval

RESET = b"\1\0\0\0\0\0\0\0"  # struct linger: on, 0 seconds


class OptionsTest(EZEZTestCase):
    def make(self, **options: Any) -> EZEZWebsocketServer:
        return EZEZWebsocketServer(**{"on_auth_request": lambda *_: True, **options})

    def test_on_auth_request_is_required_and_everything_is_keyword_only(self) -> None:
        with self.assertRaisesRegex(TypeError, "on_auth_request"):
            EZEZWebsocketServer()  # type: ignore[call-arg]
        with self.assertRaises(TypeError):
            EZEZWebsocketServer(8080)  # type: ignore[call-arg, arg-type]

    def test_with_a_queue_max_payload_must_fit_into_it(self) -> None:
        with self.assertRaisesRegex(ValueError, "queue_limit_bytes.*max_payload"):
            self.make(messages_before_auth="queue", max_payload=1001, queue_limit_bytes=1000)
        self.make(messages_before_auth="queue", max_payload=1000, queue_limit_bytes=1000)
        self.make(messages_before_auth="accept", max_payload=1001, queue_limit_bytes=1000)

    def test_what_may_be_none_or_empty_is_taken(self) -> None:
        self.make(
            ping_interval=None,
            ping_timeout=None,
            max_connections=None,
            default_context={},
            allowed_origins=[],
            subprotocols=[],
            path="/",
            port=None,
            ssl=ssl.create_default_context(ssl.Purpose.CLIENT_AUTH),
        )

    def test_constructing_starts_nothing(self) -> None:
        threads = threading.active_count()
        server = self.make(port=0)
        self.assertEqual(threads, threading.active_count())
        self.assertEqual(([], None, 0, "127.0.0.1"), (server.clients, server.listener, server.port, server.host))
        server.close()

    def test_a_path_that_no_request_can_have_is_refused_at_construction(self) -> None:
        for path in ("/\u00fc", "/a b", "/a?b", "/a#b", "a"):
            with self.subTest(path), self.assertRaisesRegex(ValueError, "^path "):
                self.make(path=path)
        self.make(path="/a%20b/~c;d=e")


class LifeTest(ServingTestCase):
    def test_port_zero_picks_a_free_one_that_the_server_tells(self) -> None:
        server = self.serve()
        assert server.port is not None
        self.assertGreater(server.port, 0)
        self.assertEqual("127.0.0.1", server.host)
        self.assertEqual(f"ws://127.0.0.1:{server.port}", server.url)
        from websocket_server import WebsocketServer

        self.assertIsInstance(server.listener, WebsocketServer)
        self.assertIn(server.url, repr(server))

    def test_the_url_has_the_path(self) -> None:
        server = self.serve(path="/chat")
        self.assertTrue(str(server.url).endswith("/chat"))
        self.peer(server)

    def test_ipv6_works(self) -> None:
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            self.skipTest("there is no IPv6 here")
        server = self.serve(host="::1")
        self.assertEqual(f"ws://[::1]:{server.port}", server.url)
        side, _ = self.pair(server)
        self.assertEqual("::1", side.request.remote_address[0])

    def test_a_server_without_a_port_starts_and_closes(self) -> None:
        server = self.serve(port=None)
        self.assertEqual((None, None, None), (server.port, server.url, server.listener))
        self.assertEqual(0, server.broadcast("x"))
        server.close()

    def test_start_does_nothing_where_it_is_started(self) -> None:
        server = self.serve()
        port = server.port
        server.start()
        self.assertEqual(port, server.port)

    def test_a_port_in_use_is_an_os_error_and_leaves_nothing_behind(self) -> None:
        port = self.serve().port
        threads = threading.active_count()
        other = self.make(port=port)
        for _ in range(2):
            with self.assertRaises(OSError):
                other.start()
        self.assertEqual(threads, threading.active_count())
        self.assertEqual([], other.clients)
        other.close()

    def test_it_may_be_started_again_and_again(self) -> None:
        server = self.make()
        server.on("echo", lambda client, args, reply, ids: reply("echo", args))
        for value in range(3):
            server.start()
            _, peer = self.pair(server)
            peer.send_event("echo", [value])
            self.assertEqual([value], peer.read_event().args)
            peer.close()
            server.close()
            self.assertIsNone(server.listener)

    def test_with_starts_and_closes(self) -> None:
        with self.make(close_timeout=0.2) as server:
            peer = self.peer(server)
            url = server.url
        self.assertIn(peer.read_end().code, (1001, None))
        assert url is not None
        with self.assertRaises(OSError):
            RawPeer.connect(url)

    def test_close_says_1001_to_every_client_the_unauthenticated_included(self) -> None:
        calls = Calls()
        server = self.serve(on_disconnect=calls.named("disconnect", 1))
        peers = [self.peer(server), self.peer(server), self.peer(server, None)]
        eventually(lambda: len(server.clients) == 3)
        closing = self.in_thread(server.close)
        for peer in peers:
            end = peer.read_end()
            self.assertEqual(1001, end.code)
            peer.send_close(1001)
            peer.close()
        closing.get(1.5)  # less than close_timeout
        self.assertEqual([("disconnect", 1001)] * 3, calls.wait(3))
        self.assertEqual([], server.clients)

    def test_close_is_idempotent_and_waits_for_the_first_from_several_threads(self) -> None:
        server = self.serve(close_timeout=0.3)
        self.peer(server)
        closing = [self.in_thread(server.close) for _ in range(5)]
        for one in closing:
            one.get()
        self.assertEqual([], server.clients)
        server.close()

    def test_close_can_be_called_from_a_listener(self) -> None:
        calls = Calls()
        server = self.serve(on_disconnect=calls.named("disconnect", 1))

        @server.on("close")
        def close(client: EZEZServerClient, *_: Any) -> None:
            server.close()
            calls.add("closed", server.listener)

        other = self.peer(server)
        client = self.client(server, auto_reconnect=False)
        closing = self.in_thread(other.read_end)
        client.send("close")
        self.assertEqual(1001, closing.get().code)
        other.send_close(1001)
        other.close()
        calls.wait(3)
        self.assertIn(("closed", None), calls.seen)
        self.assertEqual(2, calls.seen.count(("disconnect", 1001)))

    def test_close_can_be_called_from_every_callback(self) -> None:
        for name in ("on_auth_request", "on_auth_ok", "on_auth_rejected", "on_message", "on_disconnect", "on_error"):
            with self.subTest(name=name):
                closed = threading.Event()
                servers: list[EZEZWebsocketServer] = []

                def close(*_: Any, closed: Any = closed, servers: Any = servers) -> bool:
                    servers[0].close()
                    closed.set()
                    return True

                server = self.make(**{name: close}, close_timeout=0.3)
                servers.append(server)
                server.start()
                peer = self.peer(server, None)
                peer.send_values(AUTH, "wrong" if name == "on_auth_rejected" else KEY, 1)
                if name in ("on_message", "on_disconnect", "on_error"):
                    self.assertEqual([AUTH_OK], peer.read_values())
                    peer.send_message(peer.event_bytes("event") if name == "on_message" else b"")
                self.assertTrue(closed.wait(5), name)
                peer.close()
                eventually(lambda server=server: server.listener is None)  # type: ignore[misc]

    def test_close_cuts_clients_that_never_read_within_its_bound(self) -> None:
        server = self.serve(close_timeout=0.3, send_buffer_limit=100_000)
        sides = [self.pair(server, receive_buffer=4096)[0] for _ in range(3)]
        for side in sides:
            self.in_thread(self.fill, side)
            eventually(lambda side=side: side._ezez_connection.stream._outbox.waiting_bytes > 10_000)  # type: ignore[misc]
        silent = socket.create_connection((server.host, server.port or 0))
        self.addCleanup(silent.close)
        start = time.monotonic()
        server.close()
        self.assertLess(time.monotonic() - start, 2.0)
        self.assertEqual([False] * 3, [side.alive for side in sides])

    def test_close_returns_though_a_listener_is_busy_which_is_logged_by_name(self) -> None:
        gate = self.gate()
        names: list[str] = []
        server = self.serve(close_timeout=0.2)

        @server.on("block")
        def block(*_: Any) -> None:
            names.append(threading.current_thread().name)
            gate()

        _, peer = self.pair(server)
        peer.send_event("block")
        gate.wait_entered()
        with self.assertLogs("ezez_ws", logging.WARNING) as logs:
            start = time.monotonic()
            server.close()
        self.assertLess(time.monotonic() - start, 2.0)
        self.assertIn(names[0], "".join(logs.output))
        self.assertTrue(names[0].startswith("ezez-conn-"))
        self.assertEqual(1001, peer.read_end().code)
        self.assertTrue(peer.at_end())
        server.start()
        self.pair(server)

    def test_close_ends_a_send_that_waits_for_room(self) -> None:
        server = self.serve(close_timeout=0.2, send_buffer_limit=100_000)
        side, _ = self.pair(server, receive_buffer=4096)

        filling = self.in_thread(self.fill, side)
        eventually(lambda: side._ezez_connection.stream._outbox.waiting_bytes > 10_000)
        server.close()
        filling.get(2)

    def fill(self, side: EZEZServerClient) -> None:
        while side.send("big", [b"x" * 90_000]):
            pass

    def test_serve_forever_ends_with_close(self) -> None:
        server = self.make(close_timeout=0.2)
        serving = self.in_thread(server.serve_forever)
        eventually(lambda: server.listener)
        self.peer(server)
        server.close()
        serving.get()

    def test_serve_forever_that_listens_nowhere_says_so(self) -> None:
        server = EZEZWebsocketServer(on_auth_request=lambda client, key: True)
        with self.assertLogs("ezez_ws", "WARNING") as logs:
            serving = self.in_thread(server.serve_forever)
            eventually(lambda: logs.output)
            eventually(lambda: "not started" not in repr(server))
            server.close()
            serving.get()
        self.assertIn("serve_forever() listens nowhere: without a port", logs.output[0])

    def test_serve_forever_goes_on_where_it_is_started(self) -> None:
        server = self.serve()
        port = server.port
        serving = self.in_thread(server.serve_forever)
        self.assertEqual(port, server.port)
        server.close()
        serving.get()

    def test_serve_forever_handles_signals_on_the_main_thread_only(self) -> None:
        server = self.make()
        serving = self.in_thread(lambda: server.serve_forever(signals=[signal.SIGTERM]))
        with self.assertRaisesRegex(ValueError, "^signals: only the main thread"):
            serving.get()
        for wrong, error in (([999], ValueError), (["SIGTERM"], TypeError)):
            with self.subTest(wrong), self.assertRaises(error):
                server.serve_forever(signals=wrong)  # type: ignore[arg-type]
        self.assertIsNone(server.listener)

    def test_request_close_returns_at_once_and_closes(self) -> None:
        gate = self.gate()
        server = self.serve(close_timeout=0.3)
        server.on("slow", gate)
        self.peer(server).send_event("slow")
        gate.wait_entered()
        serving = self.in_thread(server.serve_forever)
        server.request_close()
        server.request_close()
        gate.open()
        self.assertIsNone(serving.get())
        self.assertIsNone(server.listener)
        server.request_close()
        server.start()

    def test_serve_forever_refuses_a_connection_s_own_thread(self) -> None:
        calls = Calls()
        server = self.serve()

        @server.on("serve")
        def serve(*_: Any) -> None:
            try:
                server.serve_forever()
            except RuntimeError as error:
                calls.add(str(error))

        _, peer = self.pair(server)
        peer.send_event("serve")
        self.assertIn("connection", calls.wait()[0][0])

    def test_many_starts_and_closes_with_clients_leave_nothing(self) -> None:
        server = self.make()
        for _ in range(20):
            server.start()
            self.peer(server).close()
            server.close()

    def test_a_handshake_that_is_going_on_is_cut_by_close(self) -> None:
        server = self.serve(handshake_timeout=30)
        with socket.create_connection((server.host, server.port or 0), 10) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\n")
            eventually(lambda: any(t.name.startswith("ezez-conn") for t in threading.enumerate()))
            start = time.monotonic()
            server.close()
            self.assertLess(time.monotonic() - start, 1.5)

    def test_connections_over_the_limit_get_503_and_a_place_is_free_again(self) -> None:
        server = self.serve(max_connections=1)
        peer = self.peer(server)
        with self.assertRaisesRegex(Exception, "503"):
            self.peer(server)
        peer.close()
        eventually(lambda: not server.clients)
        eventually(lambda: self.try_connect(server))

    def try_connect(self, server: EZEZWebsocketServer) -> bool:
        try:
            self.peer(server)
        except Exception:
            return False
        return True


class ClientsTest(ServingTestCase):
    def test_clients_is_a_copy_that_has_the_unauthenticated_too(self) -> None:
        server = self.serve()
        side, _ = self.pair(server)
        self.peer(server, None)
        eventually(lambda: len(server.clients) == 2)
        self.assertIs(side, server.clients[0])
        self.assertEqual([True, False], [client.authenticated for client in server.clients])
        server.clients.clear()
        self.assertEqual(2, len(server.clients))

    def test_a_client_that_has_gone_is_no_longer_among_them_when_on_disconnect_runs(self) -> None:
        seen: list[int] = []
        server: EZEZWebsocketServer = self.make(on_disconnect=lambda *_: seen.append(len(server.clients)))
        server.start()
        _, peer = self.pair(server)
        peer.send_close(1000)
        eventually(lambda: seen)
        self.assertEqual([0], seen)

    def test_connection_ids_rise_over_the_life_of_the_process(self) -> None:
        server = self.make(close_timeout=0.2)
        ids = []
        for _ in range(3):
            server.start()
            for _ in range(2):
                ids.append(self.pair(server)[0].connection_id)
            server.close()
        self.assertEqual(sorted(set(ids)), ids)

    def test_each_client_has_a_deep_copy_of_the_default_context(self) -> None:
        default = {"rooms": ["lobby"], "nickname": "anonymous"}
        server = self.serve(default_context=default)
        default["nickname"] = "changed"
        first, second = self.pair(server)[0], self.pair(server)[0]
        self.assertIsInstance(first.context, Context)
        first.context["rooms"].append("kitchen")
        self.assertEqual({"rooms": ["lobby"], "nickname": "anonymous"}, dict(second.context))
        self.assertEqual(["lobby"], self.pair(server)[0].context["rooms"])
        self.assertEqual(["lobby", "kitchen"], first.context["rooms"])

    def test_the_request_tells_how_the_connection_began(self) -> None:
        server = self.serve()
        peer = RawPeer.connect(f"{server.url}/chat?room=1", KEY, headers=[("X-Test", "yes"), ("Cookie", "a=b")])
        self.addCleanup(peer.close)
        (side,) = server.clients
        self.assertIsInstance(side.request, HandshakeRequest)
        self.assertEqual(("/chat", "room=1"), (side.request.path, side.request.query))
        self.assertEqual("yes", side.request.headers["x-test"])
        self.assertEqual({"a": "b"}, dict(side.request.cookies))
        self.assertEqual(peer.sock.getsockname(), side.request.remote_address)

    def test_the_underlying_websocket_bypasses_the_protocol(self) -> None:
        side, peer = self.pair(self.serve())
        side.client.send("plain text")
        self.assertEqual("plain text", peer.read(TEXT))
        side.client.send(b"\1\2")
        self.assertEqual(b"\1\2", peer.read(BINARY))
        self.assertEqual(1, side.send("event").event_id)

    def test_what_is_sent_is_checked_though_the_client_has_gone(self) -> None:
        server = self.serve()
        side, peer = self.pair(server)
        peer.close()
        eventually(lambda: not side.alive)
        self.assertFalse(side.send("event", [1]))
        for error, event, args in (
            (TypeError, 5, []),
            (TypeError, "event", "text"),
            (ValueError, "ezez-ws::auth", []),
            (SerializationError, "event", [object()]),
        ):
            with self.subTest(event), self.assertRaises(error):
                side.send(event, args)  # type: ignore[arg-type]

    def test_repr_tells_the_state(self) -> None:
        side, peer = self.pair(self.serve())
        self.assertIn(f"{side.connection_id} authenticated, open", repr(side))
        peer.close()
        eventually(lambda: "closed" in repr(side))

    def test_a_default_context_that_cannot_be_copied_takes_no_place(self) -> None:
        class Once:
            copies = 0

            def __deepcopy__(self, memo: Any) -> "Once":
                Once.copies += 1
                if Once.copies > 1:
                    raise ValueError("no more")
                return self

        self.assertIsInstance(copy.deepcopy(Once()), Once)
        Once.copies = 0
        server = self.serve(max_connections=2, default_context={"a": Once()})
        run = server._ezez_current_run()
        assert run is not None
        with self.assertLogs("ezez_ws", "ERROR"):
            for _ in range(4):
                peer = self.peer(server, None)
                self.assertIsNone(peer.read_message())
                eventually(lambda: run._places.count == 0)  # its thread ends a little later than the bytes
        self.assertEqual(set(), run._wires)


class BroadcastTest(ServingTestCase):
    def test_it_reaches_every_authenticated_client_and_returns_how_many(self) -> None:
        server = self.serve()
        self.assertEqual(0, server.broadcast("nobody"))
        peers = [self.pair(server)[1] for _ in range(3)]
        stranger = self.peer(server, None)
        self.assertEqual(3, server.broadcast("news", [1, {"a": 1}]))
        for peer in peers:
            self.assertEqual(["news", 1, None, 1, {"a": 1}], peer.read_values())
        stranger.authenticate(KEY)
        eventually(lambda: server.broadcast("more") == 4)
        while peers[0].read_event().name != "more":
            pass
        self.assertEqual("more", stranger.read_event().name)

    def test_where_chooses_and_what_it_raises_comes_out(self) -> None:
        server = self.serve()
        first, peer = self.pair(server)
        self.pair(server)
        self.assertEqual(1, server.broadcast("one", where=lambda client: client is first))
        self.assertEqual("one", peer.read_event().name)
        self.assertEqual(0, server.broadcast("none", where=lambda client: 0))
        with self.assertRaises(IndexError):
            server.broadcast("x", where=lambda client: [][0])

    def test_where_is_asked_for_authenticated_clients_only(self) -> None:
        server = self.serve()
        side, _ = self.pair(server)
        self.peer(server, None)
        eventually(lambda: len(server.clients) == 2)
        asked: list[Any] = []
        server.broadcast("x", where=asked.append)
        self.assertEqual([side], asked)

    def test_wrong_arguments_send_nothing(self) -> None:
        server = self.serve()
        side, peer = self.pair(server)
        wrong: list[Any] = [("ezez-ws::x",), (1,), ("x", "text"), ("x", [{1}]), ("x", [], "where")]
        for arguments in wrong:
            with self.subTest(arguments=arguments), self.assertRaises((TypeError, ValueError)):
                server.broadcast(*arguments)
        side.send("good")
        self.assertEqual(["good", 1, None], peer.read_values())

    def test_ids_of_broadcasts_and_of_sends_are_one_sequence(self) -> None:
        server = self.serve()
        side, peer = self.pair(server)
        side.send("a")
        server.broadcast("b")
        side.send("c")
        events = [peer.read_event() for _ in range(3)]
        self.assertEqual([("a", 1), ("b", 2), ("c", 3)], [(event.name, event.ids.event_id) for event in events])

    def test_a_client_that_does_not_read_is_cut_with_1008_while_the_others_get_everything(self) -> None:
        calls = Calls()
        server = self.serve(send_buffer_limit=200_000, on_disconnect=calls.named("disconnect", 0, 1))
        slow, _ = self.pair(server, receive_buffer=4096)
        peers = [self.pair(server)[1] for _ in range(3)]
        count = 200
        received: list[int] = []

        def read(peer: RawPeer) -> None:
            for index in range(count):
                received.append(peer.read_event().args[0] - index)
                turns.release()

        turns = threading.Semaphore(0)
        reading = [self.in_thread(read, peer) for peer in peers]
        longest = 0.0
        for index in range(count):
            start = time.monotonic()
            server.broadcast("big", [index, b"x" * 50_000])
            longest = max(longest, time.monotonic() - start)
            for _ in peers:
                self.assertTrue(turns.acquire(timeout=10))
        for one in reading:
            one.get()
        self.assertEqual([0] * (3 * count), received)
        self.assertLess(longest, 2.0)
        self.assertEqual([("disconnect", slow, 1008)], calls.wait())
        self.assertFalse(slow.alive)

    def test_a_reply_to_a_broadcast_goes_to_the_listeners(self) -> None:
        calls = Calls()
        server = self.serve()
        server.on("answer", calls.named("answer", 3))
        _, peer = self.pair(server)
        server.broadcast("question")
        peer.send_event("answer", reply_to=1)
        self.assertEqual([("answer", Ids(1, 1))], calls.wait())

    def test_a_broadcast_right_after_connect_reaches_that_client(self) -> None:
        server = self.serve()
        with switch_interval(1e-6):
            for _ in range(200):
                with EZEZWebSocketClient(server.url or "", auth=KEY, auto_reconnect=False) as client:
                    self.assertGreaterEqual(server.broadcast("hello"), 1)
                    self.assertTrue(client.alive)
                eventually(lambda: not server.clients)


class ListenersOfTheServerTest(ServingTestCase):
    def test_the_client_s_own_run_before_the_shared_ones_each_in_order(self) -> None:
        calls = Calls()
        server = self.serve(on_message=calls.named("on_message"))
        server.on("event", calls.named("shared 1", 0, 1, 3))
        server.on("event", calls.named("shared 2"))
        side, peer = self.pair(server)
        side.on("event", calls.named("own 1", 0, 2))
        side.on("event", calls.named("own 2"))
        peer.send_event("event", ["x"])
        self.assertEqual(
            [
                ("on_message",),
                ("own 1", ["x"], Ids(1, None)),
                ("own 2",),
                ("shared 1", side, ["x"], Ids(1, None)),
                ("shared 2",),
            ],
            calls.wait(5),
        )

    def test_they_work_as_decorators_and_once_runs_once(self) -> None:
        calls = Calls()
        server = self.serve()
        side, peer = self.pair(server)

        @side.on("event")
        def own(args: Any, reply: Any, ids: Ids) -> None:
            calls.add("own")

        @side.once("event")
        def own_once(args: Any, reply: Any, ids: Ids) -> None:
            calls.add("own once")

        @server.on("event")
        def shared(client: Any, args: Any, reply: Any, ids: Ids) -> None:
            calls.add("shared")

        @server.once("event")
        def shared_once(client: Any, args: Any, reply: Any, ids: Ids) -> None:
            calls.add("shared once")

        self.assertTrue(all(map(callable, (own, own_once, shared, shared_once))))
        peer.send_event("event")
        peer.send_event("event")
        names = [name for (name,) in calls.wait(6)]
        self.assertEqual(["own", "own once", "shared", "shared once", "own", "shared"], names)

    def test_a_listener_registered_twice_is_called_twice_and_off_removes_both(self) -> None:
        calls = Calls()
        server = self.serve()
        side, peer = self.pair(server)
        listener = calls.named("listener")
        side.on("event", listener)
        side.on("event", listener)
        peer.send_event("event")
        self.assertEqual(2, len(calls.wait(2)))
        side.off("event", listener)
        side.off("event", print)
        side.off("unknown")
        server.on("last", calls.named("last"))
        peer.send_event("event")
        peer.send_event("last")
        self.assertEqual(("last",), calls.wait(3)[2])

    def test_registering_and_removing_inside_a_listener_take_effect_from_the_next_event(self) -> None:
        calls = Calls()
        server = self.serve()
        side, peer = self.pair(server)
        second = calls.named("second")

        def first(args: Any, reply: Any, ids: Ids) -> None:
            calls.add("first")
            side.off("event", second)
            side.on("event", calls.named("third"))
            server.on("event", calls.named("shared"))
            side.off("event", first)

        side.on("event", first)
        side.on("event", second)
        peer.send_event("event")
        peer.send_event("event")
        self.assertEqual(["first", "second", "third", "shared"], [name for (name,) in calls.wait(4)])

    def test_reserved_names_cannot_be_listened_to(self) -> None:
        server = self.serve()
        side, _ = self.pair(server)
        methods: list[Any] = [server.on, server.once, server.off, side.on, side.once, side.off]
        for method in methods:
            with self.assertRaises(ValueError):
                method("ezez-ws::auth", print)
            with self.assertRaises(TypeError):
                method("event", 5)

    def test_one_that_raises_is_reported_and_does_not_stop_the_others(self) -> None:
        calls = Calls()

        def fail(*_: Any) -> None:
            raise LookupError("my fault")

        server = self.serve(on_message=fail, on_error=calls.named("error", 1))
        server.on("event", fail)
        server.on("event", calls.named("good"))
        side, peer = self.pair(server)
        side.on("event", fail)
        with self.assertNoLogs("ezez_ws", logging.ERROR):
            peer.send_event("event")
            seen = calls.wait(4)
        self.assertEqual(["error", "error", "error", "good"], [call[0] for call in seen])
        side.send("question", on_reply=fail)
        with self.assertNoLogs("ezez_ws", logging.ERROR):
            peer.send_event("answer", reply_to=1)
            calls.wait(6)
        self.assertTrue(side.alive)

    def test_even_system_exit_ends_neither_connection_nor_thread(self) -> None:
        calls = Calls()
        server = self.serve(on_error=calls.named("error", 1))
        server.on("exit", lambda *_: sys.exit(3))
        server.on("event", calls.named("event"))
        _, peer = self.pair(server)
        with self.assertNoLogs("ezez_ws", logging.ERROR):
            peer.send_event("exit")
            peer.send_event("event")
            seen = calls.wait(2)
        self.assertIsInstance(seen[0][1], SystemExit)
        self.assertEqual(("event",), seen[1])

    def test_one_in_on_error_is_logged(self) -> None:
        calls = Calls()

        def fail(*_: Any) -> None:
            raise LookupError("again")

        server = self.serve(on_error=fail)
        server.on("event", fail)
        server.on("event", calls.named("good"))
        _, peer = self.pair(server)
        with self.assertLogs("ezez_ws", logging.ERROR) as logs:
            peer.send_event("event")
            calls.wait()
        (text,) = logs.output
        self.assertIn("an error in on_error (", text)
        self.assertEqual(2, text.count("LookupError: again"))

    def test_those_of_different_connections_run_side_by_side(self) -> None:
        both = threading.Barrier(2)
        calls = Calls()

        def meet(*_: Any) -> None:
            both.wait(10)
            calls.add("met")

        server = self.serve()
        server.on("meet", meet)
        for _ in range(2):
            self.pair(server)[1].send_event("meet")
        calls.wait(2)

    def test_those_of_one_connection_run_one_at_a_time_in_order(self) -> None:
        server = self.serve()
        running: list[int] = []
        seen: list[int] = []

        @server.on("event")
        def listener(client: EZEZServerClient, args: list[int], reply: Any, ids: Ids) -> None:
            running.append(1)
            seen.append(args[0] if len(running) == 1 else -1)
            running.pop()

        _, peer = self.pair(server)
        for index in range(300):
            peer.send_event("event", [index])
        eventually(lambda: len(seen) == 300)
        self.assertEqual(list(range(300)), seen)

    def test_a_deserializer_that_raises_system_exit_is_a_malformed_message_and_ends_no_thread(self) -> None:
        def read(text: str) -> Any:
            raise SystemExit

        calls = Calls()
        server = self.serve(
            codec=Codec(deserializers={"x": read}),
            on_error=lambda client, error: calls.add("error", type(error)),
            on_disconnect=calls.named("gone", 1),
        )
        gate = self.gate()

        def listen(client: EZEZServerClient, args: Any, reply: Any, ids: Any) -> None:
            client.send("ask")
            gate()

        server.on("event", listen)

        def bad(peer: RawPeer, reply_to: int | None) -> None:
            peer.send_message(peer.event_bytes("bad", [], reply_to) + b'5j\0"x:1"\0')

        peer = self.peer(server)
        bad(peer, None)  # on the connection's own thread
        self.assertEqual(1002, peer.read_end().code)
        self.assertEqual([("error", MalformedMessage), ("gone", 1002)], calls.wait(2))
        peer = self.peer(server)
        peer.send_event("event")
        question = peer.read_event()
        gate.wait_entered()
        bad(peer, question.ids.event_id)  # on the janitor's, which looks in
        side = server.clients[0]
        eventually(lambda: side._ezez_connection.inbox._arrived)
        janitor = [thread for thread in threading.enumerate() if thread.name.startswith("ezez-janitor")]
        self.assertTrue(janitor)
        gate.open()
        self.assertEqual(1002, peer.read_end().code)
        self.assertEqual([("error", MalformedMessage), ("gone", 1002)] * 2, calls.wait(4))
        self.assertTrue(all(thread.is_alive() for thread in janitor))


class EndingTest(ServingTestCase):
    """``on_disconnect`` runs once for each connection, with the right code, and the peer sees the right one."""

    def check(self, act: Any, code: int, seen: Any, auth: bool = True, **options: Any) -> list[tuple[Any, ...]]:
        calls = Calls()
        server = self.serve(on_disconnect=calls.named("disconnect", 1), on_error=calls.named("error", 1), **options)
        bystander_side, bystander = self.pair(server)
        side, peer = self.pair(server)
        act(side, peer)
        if seen is not None:
            self.assertEqual(seen, peer.read_end().code)
            with contextlib.suppress(OSError):
                peer.send_close(seen)
        peer.close()
        eventually(lambda: ("disconnect", code) in calls.seen, what=f"disconnect {code}")
        bystander_side.send("still here")
        self.assertEqual("still here", bystander.read_event().name)
        bystander.close()
        eventually(lambda: not server._ezez_current_run() or not server._ezez_current_run().connections())  # type: ignore[union-attr]
        found = sorted(call for call in calls.seen if call[0] == "disconnect")
        self.assertEqual(sorted([("disconnect", code), ("disconnect", 1006)]), found)
        return [call for call in calls.seen if call[0] == "error"]

    def test_1000_by_disconnect(self) -> None:
        self.check(lambda side, peer: side.disconnect(), 1000, 1000)

    def test_any_code_by_disconnect(self) -> None:
        def act(side: EZEZServerClient, peer: RawPeer) -> None:
            side.disconnect(4321, "because")
            side.disconnect(1000)

        self.check(act, 4321, 4321)

    def test_1006_where_the_peer_does_not_answer_our_close(self) -> None:
        def act(side: EZEZServerClient, peer: RawPeer) -> None:
            side.disconnect()
            self.assertEqual(1000, peer.read_end().code)
            self.assertTrue(peer.at_end())

        errors = self.check(act, 1006, None, close_timeout=0.2)
        self.assertEqual([], errors)

    def test_the_peer_s_own_code(self) -> None:
        self.check(lambda side, peer: peer.send_close(4000, "x"), 4000, 4000)

    def test_1005_where_the_peer_s_close_frame_says_nothing(self) -> None:
        self.check(lambda side, peer: peer.send_close(1005), 1005, 1005)

    def test_1006_where_the_peer_goes_without_a_word(self) -> None:
        self.check(lambda side, peer: peer.close(), 1006, None)

    def test_1006_after_a_reset(self) -> None:
        def act(side: EZEZServerClient, peer: RawPeer) -> None:
            peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            peer.close()

        self.check(act, 1006, None)

    def test_1002_for_broken_frames(self) -> None:
        frames: list[tuple[str, Any]] = [
            ("unmasked", lambda peer: peer.send_frame(BINARY, b"x", masked=False)),
            ("reserved bit", lambda peer: peer.send_frame(BINARY, b"x", rsv=0x40)),
            ("unknown opcode", lambda peer: peer.send_frame(0x3, b"x")),
            ("lone continuation", lambda peer: peer.send_frame(CONTINUATION, b"x")),
            ("fragmented ping", lambda peer: peer.send_frame(PING, b"x", fin=False)),
            ("close of one byte", lambda peer: peer.send_frame(CLOSE, b"x")),
        ]
        for name, act in frames:
            with self.subTest(name=name):
                errors = self.check(lambda side, peer, act=act: act(peer), 1002, 1002)
                self.assertEqual(1, len(errors))
                self.assertIsInstance(errors[0][1], MalformedMessage)

    def test_1002_for_each_kind_of_malformed_message(self) -> None:
        event = b'4f\0name\x005j\0"n:1"\x004j\0"l:"\0'
        kinds: list[tuple[str, bytes]] = [
            ("empty", b""),
            ("no zero", b"4ftest"),
            ("unknown mark", b"4x\0test\0"),
            ("length with sign", b"+4f\0test\0"),
            ("length too long", b"00000000004f\0test\0"),
            ("length past the end", event + b"9f\0test\0"),
            ("no zero after a payload", b"4f\0name" + event),
            ("bytes after the last field", event + b"xx"),
            ("invalid UTF-8", event + b"1f\0\xff\0"),
            ("invalid JSON", event + b"1j\0{\0"),
            ("untagged string", event + b'3j\0"x"\0'),
            ("unknown tag", event + b'5j\0"x:1"\0'),
            ("no number", event + b'5j\0"n:x"\0'),
            ("no bigint", event + b'5j\0"i:x"\0'),
            ("too deep", event + b"130j\0" + b"[" * 65 + b"]" * 65 + b"\0"),
            ("no event", b"4f\0name\0"),
            ("id 0", b'4f\0name\x005j\0"n:0"\x004j\0"l:"\0'),
            ("reserved name", b'11f\0ezez-ws::xx\x005j\0"n:1"\x004j\0"l:"\0'),
            ("auth-ok", b"16f\0ezez-ws::auth-ok\0"),
        ]
        for name, message in kinds:
            with self.subTest(name=name):
                errors = self.check(lambda side, peer, message=message: peer.send_message(message), 1002, 1002)
                self.assertEqual(1, len(errors))
                self.assertIsInstance(errors[0][1], MalformedMessage)

    def test_a_last_field_without_its_zero_is_accepted(self) -> None:
        calls = Calls()
        server = self.serve()
        server.on("name", calls.named("event", 1))
        _, peer = self.pair(server)
        peer.send_message(b'4f\0name\x005j\0"n:1"\x004j\0"l:"\x005j\0"n:7"')
        self.assertEqual([("event", [7])], calls.wait())

    def test_1007_for_a_text_that_is_no_utf8(self) -> None:
        self.check(lambda side, peer: peer.send_frame(TEXT, b"\xff"), 1007, 1007)

    def test_1009_for_a_message_over_max_payload_before_it_has_arrived(self) -> None:
        def whole(side: EZEZServerClient, peer: RawPeer) -> None:
            peer.send_raw(peer.frame(BINARY, b"x" * 2001)[:20])

        def fragments(side: EZEZServerClient, peer: RawPeer) -> None:
            peer.send_frame(BINARY, b"x" * 1500, fin=False)
            peer.send_raw(peer.frame(CONTINUATION, b"x" * 501)[:10])

        for act in (whole, fragments):
            with self.subTest(act=act.__name__):
                self.check(act, 1009, 1009, max_payload=2000)

    def test_1011_where_the_peer_answers_no_ping(self) -> None:
        calls = Calls()
        server = self.serve(ping_interval=0.3, ping_timeout=0.3, on_disconnect=calls.named("disconnect", 1))
        client = self.client(server, ping_interval=None)
        side, peer = self.pair(server)
        waiting = self.in_thread(side.send("question").wait_reply)
        start = time.monotonic()
        self.assertEqual(1011, peer.read_end().code)
        self.assertLess(time.monotonic() - start, 5)
        self.assertEqual([("disconnect", 1011)], calls.wait())
        with self.assertRaises(ConnectionClosed):
            waiting.get()
        self.assertTrue(client.alive)

    def test_wrong_codes_and_reasons_are_refused_and_nothing_happens(self) -> None:
        side, peer = self.pair(self.serve())
        for arguments in ((999,), (1004,), (1005,), (1006,), (1015,), (2999,), (5000,), (1000, "x" * 124)):
            with self.subTest(arguments=arguments), self.assertRaises(ValueError):
                side.disconnect(*arguments)
        self.assertTrue(side.alive)
        side.disconnect(3000, "ä" * 61)
        self.assertEqual((3000, "ä" * 61), tuple(peer.read_end())[1:])
        self.assertFalse(side.alive)

    def test_text_messages_are_ignored(self) -> None:
        calls = Calls()
        server = self.serve(on_message=calls.named("message", 1), on_error=calls.named("error"))
        _, peer = self.pair(server)
        peer.send_message("hello")
        peer.send_message("")
        peer.send_event("event")
        self.assertEqual([("message", "event")], calls.wait())

    def test_events_before_a_malformed_message_are_handled_and_those_behind_it_not(self) -> None:
        calls = Calls()
        server = self.serve(on_message=calls.named("message", 1), on_disconnect=calls.named("disconnect", 1))
        _, peer = self.pair(server)
        batch = peer.frame(BINARY, peer.event_bytes("before")) + peer.frame(BINARY, b"")
        peer.send_raw(batch + peer.frame(BINARY, peer.event_bytes("behind")))
        self.assertEqual(1002, peer.read_end().code)
        peer.close()
        self.assertEqual([("message", "before"), ("disconnect", 1002)], calls.wait(2))

    def test_fragments_with_control_frames_between_them_are_one_message(self) -> None:
        calls = Calls()
        server = self.serve(on_message=calls.named("message", 1, 2))
        _, peer = self.pair(server)
        message = peer.event_bytes("event", ["x" * 500])
        peer.send_frame(BINARY, message[:100], fin=False)
        peer.send_ping(b"between")
        peer.send_frame(CONTINUATION, message[100:300], fin=False)
        peer.send_frame(CONTINUATION, b"", fin=False)
        peer.send_frame(CONTINUATION, message[300:])
        self.assertEqual([("message", "event", ["x" * 500])], calls.wait())
        self.assertEqual(b"between", peer.read(0xA))

    def test_a_message_byte_by_byte_is_a_message(self) -> None:
        calls = Calls()
        server = self.serve(on_message=calls.named("message", 1, 2))
        _, peer = self.pair(server)
        for byte in peer.frame(BINARY, peer.event_bytes("event", ["x" * 150])):
            peer.send_raw(bytes([byte]))
        self.assertEqual([("message", "event", ["x" * 150])], calls.wait())

    def test_bytes_behind_the_upgrade_request_belong_to_the_websocket(self) -> None:
        calls = Calls()
        server = self.serve(messages_before_auth="accept", on_message=calls.named("message", 1))
        maker = self.peer(server, None)
        peer = self.peer(server, None, early=maker.frame(BINARY, maker.event_bytes("early")))
        self.assertEqual([("message", "early")], calls.wait())
        peer.authenticate(KEY)

    @allow_seconds(120)
    def test_many_connections_that_come_and_go_each_end_once(self) -> None:
        calls = Calls()
        server = self.serve(on_disconnect=calls.named("disconnect", 0))

        def come_and_go(number: int) -> None:
            for index in range(25):
                assert server.url is not None
                with RawPeer.connect(server.url, KEY) as peer:
                    if (index + number) % 3 == 0:
                        peer.send_close(1000)
                    elif (index + number) % 3 == 1:
                        peer.send_event("x")

        for one in [self.in_thread(come_and_go, number) for number in range(8)]:
            one.get(100)
        gone = [call[1].connection_id for call in calls.wait(200)]
        self.assertEqual(200, len(set(gone)))
        eventually(lambda: not server.clients)

    def test_our_own_disconnect_gives_on_disconnect_its_code_and_reason(self) -> None:
        calls = Calls()
        server = self.serve(on_disconnect=calls.named("gone", 1, 2))
        client = self.client(server, auto_reconnect=False, on_disconnect=calls.named("client gone", 0, 1))
        server.clients[0].disconnect(4000, "because")
        self.assertEqual({("gone", 4000, "because"), ("client gone", 4000, "because")}, set(calls.wait(2)))
        self.assertTrue(client.wait_closed(10))


if __name__ == "__main__":
    unittest.main()
