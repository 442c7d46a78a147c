"""Nobody gets in without a good authentication, whatever they send and in whatever order."""

import threading
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ezez_ws.messages.codec import Codec
from ezez_ws.messages.protocol import AUTH, AUTH_OK
from ezez_ws.websocket.frames import BINARY, CONTINUATION, PING, PONG, TEXT
from tests.rawpeer import RawPeer
from tests.serving import KEY, ServingTestCase
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
