"""Who gets in: nobody without a good authentication, whatever they send, and not those only who hold the door."""

import socket
import sys
import threading
from collections.abc import Callable
from typing import Any
from unittest import mock

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ezez_ws import EZEZServerClient, EZEZWebsocketServer, HandshakeRequest
from ezez_ws.messages.codec import Codec
from ezez_ws.messages.protocol import AUTH, AUTH_OK, AUTH_REJECTED
from ezez_ws.opening.places import Place
from ezez_ws.websocket.frames import BINARY, CONTINUATION, PING, PONG, TEXT
from ezez_ws.websocket.stream import Stream
from ezez_ws.wire.sockets import SocketWire
from tests.opening.test_handshakes import make_request
from tests.opening.test_upgrade import read_head
from tests.rawpeer import RawPeer
from tests.serving import KEY, Calls, ServingTestCase
from tests.support import allow_seconds, eventually

CODEC = Codec()
GOOD = CODEC.encode([AUTH, KEY, 1])


def event(*args: Any) -> bytes:
    return CODEC.encode(["event", 1, None, *args])


STEPS = st.one_of(
    st.just(("good", GOOD)),
    st.sampled_from(
        [
            ("bad", CODEC.encode([AUTH, "wrong", 1])),
            ("bad", CODEC.encode([AUTH, KEY, 2])),
            ("bad", CODEC.encode([AUTH, KEY, True])),
            ("bad", CODEC.encode([AUTH, KEY])),
            ("bad", CODEC.encode([AUTH, "", 1])),
        ]
    ),
    st.sampled_from(
        [
            ("no key", CODEC.encode([AUTH, 5, 1])),
            ("no key", CODEC.encode([AUTH])),
            ("malformed", CODEC.encode([AUTH_OK])),
            ("malformed", CODEC.encode(["ezez-ws::auth-rejected", "x"])),
            ("malformed", b"garbage"),
            ("malformed", b""),
        ]
    ),
    st.sampled_from([("event", event()), ("event", event(AUTH, KEY, 1)), ("event", event(GOOD))]),
    st.sampled_from([("text", GOOD), ("text", b"hello"), ("ping", b"x"), ("pong", b"x"), ("pong", GOOD[:100])]),
)


class OrderTest(ServingTestCase):
    @allow_seconds(180)
    def test_only_a_good_first_attempt_lets_events_through(self) -> None:
        lock = threading.Lock()
        events: list[Any] = []
        gone = threading.Semaphore(0)

        def note(client: Any, name: str, args: Any, reply: Any, ids: Any) -> None:
            with lock:
                events.append((client.authenticated, name))

        server = self.serve(on_message=note, on_disconnect=lambda *_: gone.release(), close_timeout=5.0)

        @given(st.lists(STEPS, max_size=8), st.integers(1, 3), st.booleans())
        @settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
        def check(steps: list[Any], pieces: int, patient: bool) -> None:
            events.clear()
            allowed = self.model(steps)
            first_good = next((number for number, step in enumerate(steps) if step[0] == "good"), len(steps))
            with RawPeer.connect(server.url or "") as peer:
                frames = [self.frames(peer, step, pieces) for step in steps]
                try:
                    peer.send_raw(b"".join(frames[: first_good + 1]))
                    if patient and allowed:
                        self.assertEqual(peer.read_values(), [AUTH_OK])
                    peer.send_raw(b"".join(frames[first_good + 1 :]))
                    peer.send_close()
                    while peer.read_message() is not None:
                        pass
                except OSError:
                    pass  # it has been thrown out before it was through
            self.assertTrue(gone.acquire(timeout=20))
            with lock:
                self.assertEqual(events, [(True, "event")] * len(events))
                if patient:
                    self.assertEqual(len(events), allowed)
                else:  # what arrives before auth-ok is put out is dropped
                    self.assertLessEqual(len(events), allowed)

        check()
        eventually(lambda: not server.clients)

    def model(self, steps: list[Any]) -> int:
        """How many events get through."""
        allowed, inside, attempted = 0, False, False
        for kind, _ in steps:
            if kind == "malformed" or (kind == "no key" and not attempted):
                break
            if kind in ("good", "bad") and not attempted:
                attempted = True
                inside = kind == "good"
                if not inside:
                    break
            elif kind == "event":
                allowed += inside
        return allowed

    def frames(self, peer: RawPeer, step: Any, pieces: int) -> bytes:
        kind, payload = step
        if kind == "ping":
            return peer.frame(PING, payload)
        if kind == "pong":
            return peer.frame(PONG, payload)
        first = TEXT if kind == "text" else BINARY
        cuts = [len(payload) * part // pieces for part in range(pieces + 1)]
        return b"".join(
            peer.frame(
                first if part == 0 else CONTINUATION, payload[cuts[part] : cuts[part + 1]], fin=part == pieces - 1
            )
            for part in range(pieces)
        )


class PlacesTest(ServingTestCase):
    """Those who hold places and do nothing lose them to those who come."""

    def connect(self, server: EZEZWebsocketServer, data: bytes = b"", source: str = "127.0.0.1") -> socket.socket:
        assert server.port is not None
        sock = socket.create_connection((server.host, server.port), 10, (source, 0))
        self.addCleanup(sock.close)
        sock.sendall(data)
        return sock

    def count(self, server: EZEZWebsocketServer) -> int:
        run = server._ezez_current_run()
        assert run is not None
        return run._places.count

    def threads(self) -> int:
        return sum(thread.name.startswith("ezez-conn-") for thread in threading.enumerate())

    def check_half_heads(self, most: int, **options: Any) -> None:
        server = self.serve(handshake_timeout=50.0, **options)
        server.on("echo", lambda client, args, reply, ids: reply("echo", args))
        half = [self.connect(server, b"GET / HTTP/1.1\r\nX: ") for _ in range(100)]
        client = self.client(server)
        self.assertEqual([1], client.send("echo", [1]).wait_reply(10).args)
        eventually(lambda: self.threads() <= most)
        self.assertLessEqual(self.count(server), most)
        self.assertEqual(b"", half[0].recv(1))
        half[-1].settimeout(0)
        with self.assertRaises(BlockingIOError):
            half[-1].recv(1)

    def test_of_half_heads_only_so_many_stay_as_may_be_unauthenticated(self) -> None:
        self.check_half_heads(11, max_unauthenticated=10)

    def test_half_heads_do_not_take_the_places_of_others(self) -> None:
        self.check_half_heads(10, max_connections=10)

    def test_who_has_not_sent_its_authentication_makes_room_and_is_told(self) -> None:
        calls = Calls()
        server = self.serve(max_unauthenticated=3, auth_timeout=50.0, on_disconnect=calls.named("gone", 1))
        opened, silent = threading.Semaphore(0), []
        go = Place.open

        def note(place: Place, dismiss: Callable[[], bool]) -> bool:
            result = go(place, dismiss)
            opened.release()
            return result

        with mock.patch.object(Place, "open", note):
            for _ in range(3):  # one after the other, as the one that has opened first is the first to go
                silent.append(self.peer(server, auth=None))
                self.assertTrue(opened.acquire(timeout=10))
        with self.assertLogs("ezez_ws", "WARNING"):
            self.pair(server)
        self.assertEqual(1008, silent[0].read_end().code)
        self.assertTrue(silent[0].at_end())
        self.assertEqual([("gone", 1008)], calls.wait())
        for peer in silent[1:]:
            peer.authenticate(KEY)
        eventually(lambda: sum(client.authenticated for client in server.clients) == 3)

    def test_who_is_being_asked_for_its_key_keeps_its_place(self) -> None:
        gate = self.gate()

        def ask(client: EZEZServerClient, key: str) -> bool:
            gate()
            return True

        server = self.serve(max_unauthenticated=1, on_auth_request=ask)
        peer = self.peer(server, auth=None)
        peer.send_values(AUTH, KEY, 1)
        gate.wait_entered()
        with self.assertLogs("ezez_ws", "WARNING"), self.assertRaisesRegex(Exception, "503"):
            self.peer(server, auth=None)
        gate.open()
        self.assertEqual([AUTH_OK], peer.read_values())

    def test_who_was_rejected_and_does_not_go_holds_no_place(self) -> None:
        server = self.serve(max_connections=1, close_timeout=50.0)
        for _ in range(3):
            peer = self.peer(server, auth=None)
            peer.send_values(AUTH, "wrong", 1)
            self.assertEqual(1008, peer.read_end().code)
            eventually(lambda: self.count(server) == 0)
        self.pair(server)
        eventually(lambda: self.threads() == 1)

    def test_who_was_too_late_and_does_not_go_holds_no_place(self) -> None:
        server = self.serve(max_connections=1, auth_timeout=0.05)
        peer = self.peer(server, auth=None)
        self.assertEqual(1008, peer.read_end().code)
        self.assertEqual(0, self.count(server))
        self.pair(server)

    def test_who_was_too_late_is_told_so_before_all_else_though_it_sends_meanwhile(self) -> None:
        entered, go_on, send = threading.Event(), threading.Event(), Stream.send

        def send_late(stream: Stream, data: bytes | str) -> bool:
            if threading.current_thread().name == "ezez-janitor":
                entered.set()
                go_on.wait(10)
            return send(stream, data)

        late = threading.Event()
        server = self.serve(auth_timeout=0.05, on_auth_rejected=lambda client, reason: late.set())
        with mock.patch.object(Stream, "send", send_late):
            peer = self.peer(server, auth=None)
            self.assertTrue(entered.wait(10))
            peer.send_values(AUTH, KEY, 1)
            self.assertTrue(late.wait(10))  # the connection's thread is about to send its close frame
            threading.Timer(0.2, go_on.set).start()
            end = peer.read_end()
        self.assertEqual(([[AUTH_REJECTED, "Auth timeout"]], 1008), (end.messages, end.code))

    def test_the_place_of_a_connection_that_has_ended_is_free_while_on_disconnect_runs(self) -> None:
        gate = self.gate()
        server = self.serve(max_connections=1, on_disconnect=gate)
        _, peer = self.pair(server)
        peer.close()
        gate.wait_entered()
        self.pair(server)

    def test_who_is_refused_is_not_listened_to_for_long(self) -> None:
        server = self.serve()
        heard: list[int] = []
        read = SocketWire.read_now

        def count(wire: SocketWire, size: int) -> bytes | None:
            data = read(wire, size)
            heard.append(len(data or b""))
            return data

        with mock.patch.object(SocketWire, "read_now", count):
            sock = self.connect(server, b"nonsense\r\n")
            with self.assertRaises(OSError):
                while True:
                    sock.sendall(b"x" * 65536)
            eventually(lambda: self.threads() == 0)
        self.assertLess(sum(heard), 300_000)

    def test_who_was_rejected_is_not_listened_to_for_long(self) -> None:
        server = self.serve()
        heard: list[int] = []
        read = SocketWire.read_now

        def count(wire: SocketWire, size: int) -> bytes | None:
            data = read(wire, size)
            heard.append(len(data or b""))
            return data

        with mock.patch.object(SocketWire, "read_now", count):
            peer = self.peer(server, auth=None)
            peer.send_values(AUTH, "wrong", 1)
            with self.assertRaises(OSError):
                while True:
                    peer.sock.sendall(b"x" * 65536)
            eventually(lambda: self.threads() == 0)
        self.assertLess(sum(heard), 600_000)

    def test_an_address_may_have_so_many_connections(self) -> None:
        server = self.serve(max_connections_per_address=2)
        held = [self.connect(server, make_request()) for _ in range(2)]
        for sock in held:
            self.assertEqual(101, read_head(sock).status)
        with self.assertLogs("ezez_ws", "WARNING"):
            self.assertEqual(503, read_head(self.connect(server, make_request())).status)
        if sys.platform == "linux":  # where the whole of 127.0.0.0/8 is there
            self.assertEqual(101, read_head(self.connect(server, make_request(), "127.0.0.2")).status)
        held.pop().close()
        eventually(lambda: read_head(self.connect(server, make_request())).status == 101)

    def test_a_callable_says_by_what_to_count_and_how_many_there_may_be(self) -> None:
        def limit(request: HandshakeRequest) -> tuple[Any, int | None]:
            key = request.headers["X-Real-IP"]
            return key, {"free": None, "one": 1}.get(key, 2)

        server = self.serve(max_connections_per_address=limit)

        def status(key: str) -> int:
            return read_head(self.connect(server, make_request(X_Real_IP=key))).status

        self.assertEqual([101, 101, 503], [status("::1") for _ in range(3)])
        self.assertEqual([101, 503], [status("one") for _ in range(2)])
        self.assertEqual([101] * 4, [status("free") for _ in range(4)])

    def test_a_callable_that_raises_or_answers_nonsense_is_a_500_that_is_told(self) -> None:
        answers: list[Any] = [None, "key", ("key",), ("key", 0), ("key", True), ("key", "1"), ["key", 1], ValueError()]

        def limit(request: HandshakeRequest) -> Any:
            if isinstance(answers[-1], Exception):
                raise answers[-1]
            return answers[-1]

        server = self.serve(max_connections_per_address=limit)
        while answers:
            with self.subTest(answers[-1]), self.assertLogs("ezez_ws", "WARNING") as logs:
                self.assertEqual(500, read_head(self.connect(server, make_request())).status)
            self.assertEqual(1, len(logs.output))
            self.assertIn("an error in max_connections_per_address", logs.output[0])
            answers.pop()

    def test_refusals_are_told_one_by_one_and_then_by_their_number(self) -> None:
        server = self.serve()
        with self.assertLogs("ezez_ws", "INFO") as logs:
            for _ in range(30):
                self.assertEqual(400, read_head(self.connect(server, b"\x1b[31m\r\n\r\n")).status)
            eventually(lambda: sum("more like this one within a second" in line for line in logs.output) >= 1)
        self.assertLess(len(logs.output), 30)
        self.assertTrue(all("400 This is not HTTP" in line for line in logs.output))
        self.assertNotIn("\x1b", "".join(logs.output))


class FloodTest(ServingTestCase):
    @allow_seconds(120)
    def test_five_hundred_that_never_authenticate_are_left_in_time_and_delay_nobody(self) -> None:
        server = self.serve(auth_timeout=2.0)
        server.on("echo", lambda client, args, reply, ids: reply("echo", args))
        idle = [self.peer(server, auth=None) for _ in range(500)]
        self.assertGreater(len(server.clients), 0)
        client = self.client(server)
        self.assertEqual(client.send("echo", [1]).wait_reply(10).args, [1])
        for peer in idle:
            end = peer.read_end()
            self.assertEqual((end.code, end.reason), (1008, "Auth timeout"))
            peer.close()
        eventually(lambda: len(server.clients) == 1)
