"""permessage-deflate (RFC 7692): what is negotiated, that it is lossless, and that it is bounded."""

import os
import random
import tracemalloc
import unittest
import zlib

from ezez_ws import ConnectionClosed, EZEZWebSocketClient, EZEZWebsocketServer
from ezez_ws.messages.protocol import AUTH, AUTH_REJECTED
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
    Violation,
    encode_frame,
)
from tests.rawpeer import RawServer
from tests.serving import ServingTestCase
from tests.support import EZEZTestCase

ABOUT_THE_EXTENSION = True

BOMB = zlib.compressobj(9, wbits=-15)
BOMB_BYTES = b"".join(BOMB.compress(bytes(1 << 20)) for _ in range(256)) + BOMB.flush(zlib.Z_SYNC_FLUSH)


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
                        got += decoder.feed(wire[:cut])
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


class MemoryTest(unittest.TestCase):
    def test_memory_to_compress_is_taken_with_the_first_message(self) -> None:
        deflater = Deflater(15, False)
        self.assertIsNone(deflater.compress(b"x"))
        self.assertIsNone(deflater._compressor)
        deflater.compress(b"x" * 100)
        self.assertIsNotNone(deflater._compressor)

    def test_what_begins_each_message_afresh_keeps_none_between_two(self) -> None:
        deflater = Deflater(15, True)
        deflater.compress(b"x" * 100)
        self.assertIsNone(deflater._compressor)


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


class ServedTest(ServingTestCase):
    """A server and a client that compress, and a peer that does by hand."""

    OFFER = "permessage-deflate"

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
    def serve(self, compression: "str | None") -> EZEZWebsocketServer:
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
