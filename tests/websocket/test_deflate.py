"""permessage-deflate (RFC 7692): what is negotiated, that it is lossless, and that it is bounded."""

import itertools
import os
import random
import tracemalloc
import unittest
import zlib
from types import SimpleNamespace
from typing import Any, Literal
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from ezez_ws import ConnectionClosed, EZEZServerClient, EZEZWebSocketClient, EZEZWebsocketServer
from ezez_ws.connection.inbox import Inbox
from ezez_ws.messages.protocol import AUTH, AUTH_OK, AUTH_REJECTED
from ezez_ws.opening.extensions import accept_answer, choose_offer
from ezez_ws.websocket.deflate import Deflate, Deflater, Inflater
from ezez_ws.websocket.frames import (
    BINARY,
    CONTINUATION,
    PING,
    RSV1,
    TEXT,
    FrameDecoder,
    Message,
    Start,
    Violation,
    encode_frame,
)
from tests.rawpeer import RawPeer, RawServer
from tests.serving import Calls, Gate, ServingTestCase
from tests.support import EZEZTestCase, eventually

ABOUT_THE_EXTENSION = True

BOMB = zlib.compressobj(9, wbits=-15)
BOMB_BYTES = b"".join(BOMB.compress(bytes(1 << 20)) for _ in range(256)) + BOMB.flush(zlib.Z_SYNC_FLUSH)


def feed_all(decoder: FrameDecoder, data: bytes) -> list[Message]:
    """Feed what data there are, and what is left of them each time."""
    messages = decoder.feed(data)
    while data := decoder.take_rest():
        messages += decoder.feed(data)
    return messages


def compressed_frame(payload: bytes, mask: bytes | None = None) -> bytes:
    """Make the frame of a message that needs no other to be inflated."""
    compressed = Deflater(15, True).compress(payload)
    assert compressed is not None
    return encode_frame(BINARY, compressed, mask, rsv=RSV1)


class OfferTest(unittest.TestCase):
    def test_a_plain_offer_is_accepted_with_the_largest_windows(self) -> None:
        self.assertEqual(choose_offer(["permessage-deflate"]), ("permessage-deflate", Deflate(15, 15, False, False)))

    def test_what_is_asked_of_us_is_agreed_to_and_said(self) -> None:
        offer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=10"
        self.assertEqual(choose_offer([offer]), (offer, Deflate(10, 15, True, True)))

    def test_a_window_that_the_client_can_limit_need_not_be(self) -> None:
        for offer in ("permessage-deflate; client_max_window_bits", 'permessage-deflate; client_max_window_bits="9"'):
            self.assertEqual(choose_offer([offer]), ("permessage-deflate", Deflate(15, 15, False, False)))

    def test_an_offer_with_a_bad_parameter_is_declined(self) -> None:
        for parameters in (
            "client_max_window_bits=abc",
            "client_max_window_bits=7",
            "client_max_window_bits=16",
            "client_max_window_bits=010",
            "client_max_window_bits=",
            "server_max_window_bits",
            "server_max_window_bits=8.5",
            "server_max_window_bits=+9",
            "server_no_context_takeover=1",
            "client_no_context_takeover=",
            "server_no_context_takeover; server_no_context_takeover",
            "server_max_window_bits=9; server_max_window_bits=9",
            "unknown",
            "unknown=1",
            "",
        ):
            with self.subTest(parameters):
                self.assertIsNone(choose_offer([f"permessage-deflate; {parameters}"]))

    def test_the_first_acceptable_offer_wins(self) -> None:
        offers = [
            "x-webkit-deflate-frame, permessage-deflate; nonsense",
            "permessage-deflate; server_max_window_bits=9",
        ]
        chosen = choose_offer(offers)
        assert chosen is not None
        self.assertEqual(chosen[1].server_bits, 9)

    def test_no_offer_is_no_agreement(self) -> None:
        self.assertIsNone(choose_offer([]))
        self.assertIsNone(choose_offer(["permessage-bzip2"]))


class AnswerTest(unittest.TestCase):
    def test_an_answer_says_what_each_side_does(self) -> None:
        self.assertEqual(accept_answer(["permessage-deflate"]), Deflate(15, 15, False, False))
        self.assertEqual(
            accept_answer(["permessage-deflate; client_max_window_bits=9; server_no_context_takeover"]),
            Deflate(15, 9, True, False),
        )
        self.assertIsNone(accept_answer([]))

    def test_an_answer_that_may_not_be_given_fails(self) -> None:
        for answer in (
            "permessage-deflate, permessage-deflate",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; server_max_window_bits=99",
            "permessage-deflate; what=1",
            "something-else",
        ):
            with self.subTest(answer), self.assertRaises(ValueError):
                accept_answer([answer])


class RoundTripTest(unittest.TestCase):
    def test_what_is_compressed_is_inflated_whatever_was_agreed_and_however_it_is_cut(self) -> None:
        rng = random.Random(1)
        for bits in (8, 9, 12, 15):
            for afresh in (False, True):
                deflater = Deflater(bits, afresh)
                decoder = FrameDecoder(False, 1 << 20, Inflater(afresh))
                for size in (16, 100, 5_000, 300_000):
                    payload = os.urandom(size // 2) + bytes(size // 2)
                    compressed = deflater.compress(payload)
                    assert compressed is not None
                    wire = encode_frame(BINARY, compressed, rsv=RSV1)
                    got = []
                    while wire:
                        cut = rng.randrange(1, 70_000)
                        got += feed_all(decoder, wire[:cut])
                        wire = wire[cut:]
                    self.assertEqual(got, [Message(BINARY, payload)])

    def test_a_ping_between_compressed_fragments_is_no_data(self) -> None:
        payload = b"hello " * 100
        compressed = Deflater(15, False).compress(payload)
        assert compressed is not None
        wire = (
            encode_frame(TEXT, compressed[:5], fin=False, rsv=RSV1)
            + encode_frame(PING, b"p")
            + encode_frame(CONTINUATION, compressed[5:])
        )
        decoder = FrameDecoder(False, 1 << 20, Inflater(False))
        self.assertEqual(decoder.feed(wire), [Message(PING, b"p"), Message(TEXT, payload.decode())])

    def test_uncompressed_messages_may_come_between(self) -> None:
        decoder = FrameDecoder(False, 1 << 20, Inflater(False))
        deflater = Deflater(15, False)
        for payload in (b"a" * 500, b"b" * 10, b"a" * 500):
            compressed = deflater.compress(payload)
            wire = encode_frame(BINARY, payload) if compressed is None else encode_frame(BINARY, compressed, rsv=RSV1)
            self.assertEqual(decoder.feed(wire), [Message(BINARY, payload)])

    def test_a_block_that_says_it_is_the_last_ends_no_message(self) -> None:
        compressor = zlib.compressobj(wbits=-15)
        final = compressor.compress(b"hello") + compressor.flush()  # BFINAL=1 (RFC 7692, section 7.2.3.4)
        decoder = FrameDecoder(False, 1 << 20, Inflater(False))
        self.assertEqual(decoder.feed(encode_frame(TEXT, final + b"\0", rsv=RSV1)), [Message(TEXT, "hello")])


class RefusalTest(unittest.TestCase):
    def failure(self, wire: bytes, inflater: bool = True) -> int:
        decoder = FrameDecoder(False, 1 << 20, Inflater(False) if inflater else None)
        self.assertEqual(decoder.feed(wire), [])
        assert decoder.failure is not None
        return decoder.failure.code

    def test_rsv1_without_an_agreement_is_a_violation(self) -> None:
        self.assertEqual(self.failure(encode_frame(BINARY, b"x", rsv=RSV1), inflater=False), 1002)

    def test_rsv1_on_a_control_frame_or_a_continuation_is_a_violation(self) -> None:
        self.assertEqual(self.failure(encode_frame(PING, b"", rsv=RSV1)), 1002)
        start = encode_frame(BINARY, b"x", fin=False)
        self.assertEqual(self.failure(start + encode_frame(CONTINUATION, b"", rsv=RSV1)), 1002)

    def test_what_is_no_deflate_data_is_a_violation(self) -> None:
        self.assertEqual(self.failure(encode_frame(BINARY, b"\xff" * 50, rsv=RSV1)), 1002)

    def test_text_that_inflates_to_no_utf8_is_refused(self) -> None:
        compressed = Deflater(15, False).compress(b"\xff" * 50)
        assert compressed is not None
        self.assertEqual(self.failure(encode_frame(TEXT, compressed, rsv=RSV1)), 1007)

    def test_a_bomb_costs_no_more_than_the_limit_and_is_refused(self) -> None:
        wire = encode_frame(BINARY, BOMB_BYTES, rsv=RSV1)
        self.assertLess(len(wire), 300_000)
        decoder = FrameDecoder(False, 1 << 20, Inflater(False))
        tracemalloc.start()
        try:
            decoder.feed(wire)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert decoder.failure is not None
        self.assertEqual(decoder.failure.code, 1009)
        self.assertLess(peak, (1 << 20) + (1 << 20))

    def test_a_message_of_exactly_the_limit_passes(self) -> None:
        compressed = Deflater(15, False).compress(bytes(1 << 20))
        assert compressed is not None
        decoder = FrameDecoder(False, 1 << 20, Inflater(False))
        self.assertEqual(decoder.feed(encode_frame(BINARY, compressed, rsv=RSV1)), [Message(BINARY, bytes(1 << 20))])


class BoundTest(unittest.TestCase):
    """What is inflated at a time, and what never ends or inflates to nothing."""

    def test_no_more_is_inflated_at_a_time_than_one_message_over_64_kib(self) -> None:
        wire = compressed_frame(bytes(40_000)) * 1000
        decoder = FrameDecoder(False, 1 << 20, Inflater(False))
        count = 0
        while wire:
            messages = decoder.feed(wire)
            self.assertEqual([len(message.payload) for message in messages], [40_000] * 2)
            count += len(messages)
            wire = decoder.take_rest()
            self.assertEqual(decoder.take_rest(), b"")
        self.assertEqual(count, 1000)

    def test_fragments_are_inflated_64_kib_at_a_time_too(self) -> None:
        compressed = Deflater(15, False).compress(bytes(1 << 20))
        assert compressed is not None
        wire = encode_frame(BINARY, b"", fin=False, rsv=RSV1)
        wire += b"".join(
            encode_frame(CONTINUATION, compressed[at : at + 1], fin=False) for at in range(len(compressed))
        )
        decoder = FrameDecoder(False, 1 << 20, Inflater(False))
        sizes = [0]
        wire += encode_frame(CONTINUATION, b"")
        while wire:
            messages = decoder.feed(wire)
            wire = decoder.take_rest()
            sizes.append(len(decoder._message) or 1 << 20)
        self.assertEqual(messages, [Message(BINARY, bytes(1 << 20))])
        self.assertLess(max(after - before for before, after in itertools.pairwise(sizes)), 80_000)

    def test_what_is_not_compressed_comes_at_once(self) -> None:
        wire = encode_frame(BINARY, bytes(40_000)) * 10
        decoder = FrameDecoder(False, 1 << 20, Inflater(False))
        self.assertEqual(len(decoder.feed(wire)), 10)
        self.assertEqual(decoder.take_rest(), b"")

    def test_64_kib_of_which_nothing_comes_out_are_a_violation(self) -> None:
        for block in (b"\0\0\0\xff\xff", b"\x03\0"):  # an empty stored block, and one that says it is the last
            for size, code in (((1 << 16) - 1, None), (1 << 16, 1002)):
                barren = (block * (1 << 16))[:size]
                for step in (1000, 1 << 16):
                    decoder = FrameDecoder(False, 1 << 20, Inflater(False))
                    decoder.feed(encode_frame(BINARY, barren, fin=False, rsv=RSV1)[:10])
                    for at in range(10, len(barren) + 10, step):
                        decoder.feed(encode_frame(BINARY, barren, fin=False, rsv=RSV1)[at : at + step])
                    self.assertEqual(decoder.failure and decoder.failure.code, code)

    def test_a_frame_that_never_ends_is_ended(self) -> None:
        head = bytes((BINARY | RSV1, 127)) + (1 << 40).to_bytes(8, "big")
        for data, code in ((b"\x03\0", 1002), (b"\x4b\x04\0", 1009)):  # nothing comes out of it, and one letter
            decoder = FrameDecoder(False, 100_000, Inflater(False))
            decoder.feed(head)
            fed = 0
            while decoder.failure is None and fed < 1 << 20:
                decoder.feed(data * 1000)
                fed += len(data) * 1000
            self.assertEqual(decoder.failure and decoder.failure.code, code)

    def test_what_inflates_in_between_begins_the_count_anew(self) -> None:
        decoder = FrameDecoder(False, 1 << 20, Inflater(False))
        decoder.feed(encode_frame(BINARY, b"", fin=False, rsv=RSV1))
        for _ in range(5):
            decoder.feed(encode_frame(CONTINUATION, b"\x03\0" * 20_000 + b"\x4b\x04\0", fin=False))
        self.assertEqual(decoder.feed(encode_frame(CONTINUATION, b"\0")), [Message(BINARY, b"aaaaa")])

    def test_blocks_that_say_they_are_the_last_cost_linear_time(self) -> None:
        # counted in what zlib is given, copies included: each such block makes it copy what is left
        given = []

        class Counting:
            def __init__(self, wbits: int) -> None:
                self._real = zlib.decompressobj(wbits)

            def decompress(self, data: bytes, most: int) -> bytes:
                given.append(len(data))
                return self._real.decompress(data, most)

            def __getattr__(self, name: str) -> Any:
                return getattr(self._real, name)

        letters = b"\x4b\x04\0"
        for count in (1000, 10_000):
            given.clear()
            fake = SimpleNamespace(decompressobj=Counting, error=zlib.error, MAX_WBITS=zlib.MAX_WBITS)
            with mock.patch("ezez_ws.websocket.deflate.zlib", fake):
                inflated = b"".join(Inflater(False).inflate(letters * count + b"\0", final=True))
            self.assertEqual(inflated, b"a" * count)
            self.assertLess(sum(given), count * len(letters) * 2000)

    def test_what_is_too_large_to_be_kept_is_inflated_and_read_away(self) -> None:
        wire = compressed_frame(bytes(range(256)) * 2000) + compressed_frame(b"x" * 1000)
        for pieces in ([wire], [wire[at : at + 1] for at in range(len(wire))]):
            decoder = FrameDecoder(False, 1 << 20, Inflater(False))
            decoder.keep(1000)
            got = [message for piece in pieces for message in feed_all(decoder, piece)]
            self.assertEqual(got, [Message(BINARY, Start(range(32))), Message(BINARY, b"x" * 1000)])
            self.assertEqual([type(message.payload) for message in got], [Start, bytes])

    def test_memory_is_taken_with_the_first_message(self) -> None:
        inflater, deflater = Inflater(False), Deflater(15, False)
        decoder = FrameDecoder(False, 1 << 20, inflater)
        decoder.feed(encode_frame(BINARY, b"x"))
        self.assertIsNone(deflater.compress(b"x"))
        self.assertIsNone(inflater._decompressor)
        self.assertIsNone(deflater._compressor)
        decoder.feed(compressed_frame(b"x" * 100))
        self.assertIsNotNone(inflater._decompressor)
        deflater.compress(b"x" * 100)
        self.assertIsNotNone(deflater._compressor)

    def test_what_begins_each_message_afresh_keeps_no_memory_between_two(self) -> None:
        inflater, deflater = Inflater(True), Deflater(15, True)
        FrameDecoder(False, 1 << 20, inflater).feed(compressed_frame(b"x" * 100))
        deflater.compress(b"x" * 100)
        self.assertIsNone(inflater._decompressor)
        self.assertIsNone(deflater._compressor)


Sent = tuple[int, bytes, bool]
"""A message: its opcode, what is in it, and whether it is compressed."""

sent_messages = st.lists(
    st.tuples(
        st.sampled_from((TEXT, BINARY, PING)),
        st.one_of(st.binary(max_size=100), st.integers(0, 3000).map(lambda size: b"a" * size)),
        st.booleans(),
    ),
    max_size=12,
)


class PropertyTest(unittest.TestCase):
    @given(sent_messages, st.booleans(), st.integers(1, 4000), st.integers(1, 3000), st.integers(0, 4000))
    def test_whatever_the_pieces_and_the_budget_the_messages_are_the_same(
        self, sent: list[Sent], afresh: bool, piece: int, budget: int, kept: int
    ) -> None:
        wire, wanted = self.encode(sent, afresh, kept)
        with mock.patch("ezez_ws.websocket.frames._INFLATED_AT_ONCE", budget):
            for size in (len(wire) or 1, piece, 1):
                decoder = FrameDecoder(True, 1 << 20, Inflater(afresh))
                decoder.keep(kept)
                got = [one for at in range(0, len(wire), size) for one in feed_all(decoder, wire[at : at + size])]
                self.assertEqual(got, wanted)
                self.assertEqual([type(one.payload) for one in got], [type(one.payload) for one in wanted])
                self.assertIsNone(decoder.failure)
                self.assertTrue(decoder.idle)

    def encode(self, sent: list[Sent], afresh: bool, kept: int) -> tuple[bytes, list[Message]]:
        """Return what is on the wire, masked and some in fragments, and what shall come of it."""
        deflater = Deflater(15, afresh)
        wire, wanted = b"", []
        for opcode, payload, compress in sent:
            if opcode == TEXT:
                payload = payload.decode("latin-1").encode()
            data: bytes | None = None
            if opcode == PING:
                payload = payload[:125]
            elif compress:
                data = deflater.compress(payload)
            rsv = 0 if data is None else RSV1
            data = payload if data is None else data
            if opcode == PING or len(data) % 2:
                wire += encode_frame(opcode, data, b"mask", rsv=rsv)
            else:
                middle = len(data) // 3
                wire += encode_frame(opcode, data[:middle], b"mask", fin=False, rsv=rsv)
                wire += encode_frame(CONTINUATION, data[middle:], b"mask")
            if opcode == PING or len(payload) <= kept:
                wanted.append(Message(opcode, payload.decode() if opcode == TEXT else payload))
            elif opcode == BINARY:
                wanted.append(Message(opcode, Start(payload[:32])))
        return wire, wanted


class ServedTest(ServingTestCase):
    """A server and a client that compress, and a peer that does by hand."""

    OFFER = "permessage-deflate"

    def inbox_of(self, server: EZEZWebsocketServer) -> Inbox:
        run = server._ezez_current_run()
        assert run is not None
        (connection,) = run._connections
        return connection.inbox

    def check_bounded(self, server: EZEZWebsocketServer, peer: RawPeer, gate: Gate, size: int) -> None:
        """Send 100 MB in compressed events while the server is busy, and see that it keeps 1 MiB of them."""
        gate.wait_entered()
        inbox = self.inbox_of(server)
        wire = compressed_frame(peer.event_bytes("bomb", ["x" * size], event_id=1), b"mask") * (100_000_000 // size)
        self.assertLess(len(wire), 1 << 18)
        peer.send_raw(wire)

        def is_full() -> bool:
            inbox.look_in()
            return inbox.full

        eventually(is_full)
        inbox.look_in()
        self.assertLess(inbox._bytes, (1 << 20) + (1 << 16) + size + 100)

    def test_a_busy_server_keeps_no_more_than_its_limit_and_loses_nothing(self) -> None:
        calls, gate = Calls(), self.gate()
        server = self.serve(compression="deflate", on_message=calls.named("message", 1))
        server.once("begin", gate)
        peer = self.peer(server, extensions=self.OFFER)
        peer.send_event("begin")
        self.check_bounded(server, peer, gate, 1_000_000)
        gate.open()
        peer.send_event("last")
        self.assertEqual([("message", "begin"), *[("message", "bomb")] * 100, ("message", "last")], calls.wait(102))

    def test_so_does_one_that_is_asked_whether_a_client_is_authenticated(self) -> None:
        for mode in ("ignore", "accept", "queue"):
            with self.subTest(mode):
                gate = self.gate()

                def ask(client: EZEZServerClient, key: str, gate: Gate = gate) -> bool:
                    gate()
                    return True

                server = self.serve(compression="deflate", messages_before_auth=mode, on_auth_request=ask)
                peer = self.peer(server, None, extensions=self.OFFER)
                peer.send_values(AUTH, "", 1)
                self.check_bounded(server, peer, gate, 60_000)
                gate.open()
                self.assertEqual([AUTH_OK], peer.read_values())

    def test_a_server_compresses_nothing_before_authentication(self) -> None:
        server = self.serve(compression="deflate")
        server.on("echo", lambda client, args, reply, ids: reply("echo", args))
        peer = self.peer(server, None, extensions=self.OFFER)
        peer.send_values(AUTH, "wrong", 1)
        self.assertEqual([AUTH_REJECTED, "Invalid auth key"], peer.read_values())
        peer = self.peer(server, extensions=self.OFFER)
        peer.send_event("echo", ["x" * 1000])
        with self.assertRaisesRegex(Violation, "a reserved bit is set"):
            peer.read_event()

    def test_a_client_compresses_nothing_before_authentication(self) -> None:
        for auth in ("x" * 1000, None):
            with RawServer() as listening:
                client = EZEZWebSocketClient(listening.url, auth=auth, compression="deflate", auto_reconnect=False)
                self.addCleanup(client.close)
                client.start()
                peer = listening.accept(headers=[("Sec-WebSocket-Extensions", self.OFFER)])
                self.addCleanup(peer.close)
                if auth is not None:
                    self.assertEqual(auth, peer.accept_auth().key)
                client.send("event", ["x" * 1000])
                with self.assertRaisesRegex(Violation, "a reserved bit is set"):
                    peer.read_event()


class EndToEndTest(EZEZTestCase):
    def serve(self, compression: Literal["deflate"] | None) -> EZEZWebsocketServer:
        server = EZEZWebsocketServer(port=0, compression=compression, on_auth_request=lambda client, key: True)
        server.on("echo", lambda client, args, reply, ids: reply("echo", args))
        server.start()
        self.addCleanup(server.close)
        return server

    def test_every_combination_of_the_option_talks(self) -> None:
        for here in ("deflate", None):
            for there in ("deflate", None):
                server = self.serve(here)
                assert server.url is not None
                with EZEZWebSocketClient(server.url, compression=there) as client:
                    for size in (1, 1000, 500_000):
                        text = "é" * (size // 2)
                        self.assertEqual(client.send("echo", [text]).wait_reply(20).args, [text])

    def test_a_bomb_closes_its_connection_with_1009_and_no_other(self) -> None:
        server = self.serve("deflate")
        assert server.url is not None
        with (
            EZEZWebSocketClient(server.url) as other,
            EZEZWebSocketClient(server.url, compression="deflate", auto_reconnect=False) as client,
        ):
            waiting = client.send("nothing")
            assert client.client is not None
            outbox = client.client._connection.stream._outbox
            with outbox.lock:
                outbox._put_frame(outbox._frame(BINARY, BOMB_BYTES, RSV1))
            with self.assertRaises(ConnectionClosed) as caught:
                waiting.wait_reply(20)
            self.assertEqual(caught.exception.code, 1009)
            self.assertEqual(other.send("echo", [1]).wait_reply(10).args, [1])
