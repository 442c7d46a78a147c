"""RFC 6455 frames, both roles: what is read, what is refused, and when."""

import random
import unittest
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from ezez_ws.websocket.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    FrameDecoder,
    Message,
    Start,
    Violation,
    encode_close,
    encode_frame,
    parse_close,
)
from tests.support import EZEZTestCase

MAY_RUN_BESIDE = True
ABOUT_THE_EXTENSION = True

LIMIT = 1 << 20
MASK = b"\x11\x22\x33\x44"
ROLES = (("server", True), ("client", False))  # who reads, and whether the peer must mask then
GOOD_CODES = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999)
BAD_CODES = (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)


def frame(opcode: int, payload: bytes = b"", masked: bool = False, fin: bool = True, rsv: int = 0) -> bytes:
    return encode_frame(opcode, payload, MASK if masked else None, fin, rsv)


def head(opcode: int, size: int, masked: bool, width: int, fin: bool = True) -> bytes:
    """A frame's head that announces ``size`` in ``width`` bytes behind the first two, shortest form or not."""
    short = size if width == 0 else 126 if width == 2 else 127
    extended = size.to_bytes(width, "big") if width else b""
    return (
        bytes([(0x80 if fin else 0) | opcode, (0x80 if masked else 0) | short]) + extended + (MASK if masked else b"")
    )


def decode(pieces: Iterable[bytes], masked: bool, limit: int = LIMIT) -> tuple[list[Message], Violation | None]:
    decoder = FrameDecoder(masked, limit)
    messages = [message for piece in pieces for message in decoder.feed(piece)]
    return messages, decoder.failure


def single_bytes(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


class FramesTestCase(EZEZTestCase):
    def assert_read(self, data: bytes, masked: bool, wanted: list[Message]) -> None:
        """It is read the same whole, byte by byte, and in two pieces cut anywhere."""
        splits = [[data], single_bytes(data)]
        if len(data) < 200:
            splits += [[data[:i], data[i:]] for i in range(len(data))]
        for pieces in splits:
            messages, failure = decode(pieces, masked)
            self.assertIsNone(failure)
            self.assertEqual(messages, wanted)
            self.assertEqual([type(m.payload) for m in messages], [type(m.payload) for m in wanted])

    def assert_refused(
        self, data: bytes, masked: bool, code: int, before: Iterable[Message] = (), limit: int = LIMIT
    ) -> None:
        """It is refused whole, byte by byte, and with bytes behind it; what came before is delivered."""
        for pieces in ([data], single_bytes(data), [data + frame(BINARY, b"behind", masked)]):
            messages, failure = decode(pieces, masked, limit)
            self.assertEqual(messages, list(before))
            self.assertIsNotNone(failure)
            assert failure is not None
            self.assertEqual(failure.code, code, failure.reason)
            self.assertTrue(failure.reason)
            self.assertLessEqual(len(failure.reason.encode()), 123)


class ReadingTest(FramesTestCase):
    def test_the_examples_of_the_rfc_are_read_as_it_says(self) -> None:
        hello = Message(TEXT, "Hello")
        for masked, text, wanted in (
            (False, "81 05 48 65 6c 6c 6f", hello),
            (True, "81 85 37 fa 21 3d 7f 9f 4d 51 58", hello),
            (False, "01 03 48 65 6c 80 02 6c 6f", hello),
            (False, "89 05 48 65 6c 6c 6f", Message(PING, b"Hello")),
            (True, "8a 85 37 fa 21 3d 7f 9f 4d 51 58", Message(PONG, b"Hello")),
            (False, "82 7E 01 00" + "ab" * 256, Message(BINARY, b"\xab" * 256)),
            (False, "82 7F 00 00 00 00 00 01 00 00" + "cd" * 65536, Message(BINARY, b"\xcd" * 65536)),
        ):
            with self.subTest(text[:30]):
                self.assert_read(bytes.fromhex(text), masked, [wanted])

    def test_every_size_around_the_bounds_of_the_length_field_is_read(self) -> None:
        for _, masked in ROLES:
            for size in (0, 1, 2, 3, 4, 5, 7, 8, 124, 125, 126, 127, 128, 65534, 65535, 65536, 65537):
                payload = bytes(i * 7 & 0xFF for i in range(size))
                with self.subTest(masked=masked, size=size):
                    self.assert_read(frame(BINARY, payload, masked), masked, [Message(BINARY, payload)])
                    self.assert_read(frame(TEXT, b"x" * size, masked), masked, [Message(TEXT, "x" * size)])

    def test_several_messages_in_one_read_come_in_order_with_the_incomplete_one_kept(self) -> None:
        for _, masked in ROLES:
            data = frame(TEXT, b"a", masked) + frame(PING, b"b", masked) + frame(BINARY, b"c", masked)
            decoder = FrameDecoder(masked, LIMIT)
            last = frame(BINARY, b"last", masked)
            self.assertEqual(
                decoder.feed(data + last[:-1]), [Message(TEXT, "a"), Message(PING, b"b"), Message(BINARY, b"c")]
            )
            self.assertFalse(decoder.idle)
            self.assertEqual(decoder.feed(last[-1:]), [Message(BINARY, b"last")])
            self.assertTrue(decoder.idle)

    def test_fragments_make_one_message_and_empty_ones_count(self) -> None:
        for _, masked in ROLES:
            for opcode, wanted in ((TEXT, Message(TEXT, "κόσμε")), (BINARY, Message(BINARY, "κόσμε".encode()))):
                payload = "κόσμε".encode()
                one_by_one = frame(opcode, b"", masked, fin=False)
                for i in range(len(payload)):
                    one_by_one += frame(CONTINUATION, payload[i : i + 1], masked, fin=False)
                one_by_one += frame(CONTINUATION, b"", masked)
                self.assert_read(one_by_one + frame(opcode, payload, masked), masked, [wanted, wanted])

    def test_empty_messages_are_messages(self) -> None:
        for _, masked in ROLES:
            for opcode, empty in ((TEXT, ""), (BINARY, b"")):
                data = frame(opcode, b"", masked) + frame(opcode, b"", masked, fin=False) + frame(0, b"", masked)
                self.assert_read(data, masked, [Message(opcode, empty)] * 2)

    def test_control_frames_between_fragments_come_when_they_come(self) -> None:
        for _, masked in ROLES:
            data = (
                frame(TEXT, b"fr", masked, fin=False)
                + frame(PING, b"1", masked)
                + frame(CONTINUATION, b"ag", masked, fin=False)
                + frame(PONG, b"", masked)
                + frame(PING, b"2" * 125, masked)
                + frame(CONTINUATION, b"ments", masked)
            )
            wanted = [Message(PING, b"1"), Message(PONG, b""), Message(PING, b"2" * 125), Message(TEXT, "fragments")]
            self.assert_read(data, masked, wanted)

    def test_a_close_frame_between_fragments_ends_it_all(self) -> None:
        for _, masked in ROLES:
            close = encode_close(1001, "bye")
            data = frame(TEXT, b"fr", masked, fin=False) + frame(CLOSE, close, masked) + frame(0, b"ag", masked)
            self.assert_read(data, masked, [Message(CLOSE, close)])

    def test_what_follows_a_close_frame_is_ignored_even_where_it_is_wrong(self) -> None:
        for _, masked in ROLES:
            data = frame(CLOSE, b"", masked)
            for behind in (frame(BINARY, b"x", masked), frame(BINARY, b"x", not masked), b"\xff" * 100):
                self.assert_read(data + behind, masked, [Message(CLOSE, b"")])

    def test_what_follows_a_violation_is_ignored(self) -> None:
        for _, masked in ROLES:
            decoder = FrameDecoder(masked, LIMIT)
            self.assertEqual(decoder.feed(frame(3, b"", masked)), [])
            failure = decoder.failure
            self.assertEqual(decoder.feed(frame(BINARY, b"x", masked) + frame(CLOSE, b"", masked)), [])
            self.assertIs(decoder.failure, failure)

    def test_it_is_idle_between_messages_only(self) -> None:
        for _, masked in ROLES:
            data = frame(TEXT, b"ab", masked, fin=False) + frame(PING, b"", masked) + frame(CONTINUATION, b"c", masked)
            decoder = FrameDecoder(masked, LIMIT)
            self.assertTrue(decoder.idle)
            for byte in single_bytes(data)[:-1]:
                decoder.feed(byte)
                self.assertFalse(decoder.idle)
            decoder.feed(data[-1:])
            self.assertTrue(decoder.idle)


class RefusalTest(FramesTestCase):
    def both(self, code: int, make: "list[bytes]", masked: bool) -> None:
        good = frame(TEXT, b"good", masked) + frame(PING, b"p", masked)
        before = [Message(TEXT, "good"), Message(PING, b"p")]
        for data in make:
            with self.subTest(masked=masked, data=data[:20]):
                self.assert_refused(data, masked, code)
                self.assert_refused(good + data, masked, code, before)

    def test_a_reserved_bit_is_refused_with_1002(self) -> None:
        for _, masked in ROLES:
            for rsv in range(0x10, 0x80, 0x10):
                for opcode in (TEXT, BINARY, PING, CLOSE):
                    self.both(1002, [frame(opcode, b"", masked, rsv=rsv)], masked)

    def test_an_unknown_opcode_is_refused_with_1002(self) -> None:
        for _, masked in ROLES:
            for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
                self.both(1002, [frame(opcode, b"", masked), frame(opcode, b"abc", masked, fin=False)], masked)

    def test_a_wrong_mask_bit_is_refused_with_1002_in_both_roles(self) -> None:
        for _, masked in ROLES:
            for opcode in (TEXT, BINARY, PING, PONG, CLOSE):
                self.both(1002, [frame(opcode, b"", not masked), frame(opcode, b"abc", not masked)], masked)

    def test_a_fragmented_or_long_control_frame_is_refused_with_1002_by_its_second_byte(self) -> None:
        for _, masked in ROLES:
            for opcode in (PING, PONG, CLOSE):
                bad = [frame(opcode, b"", masked, fin=False), frame(opcode, b"x" * 126, masked)]
                bad += [frame(opcode, b"x" * 65536, masked), head(opcode, 5, masked, 2)]
                self.both(1002, [data[:2] for data in bad], masked)
                for data in bad:
                    self.assert_refused(data, masked, 1002)

    def test_a_continuation_of_nothing_is_refused_with_1002(self) -> None:
        for _, masked in ROLES:
            done = frame(TEXT, b"a", masked, fin=False) + frame(CONTINUATION, b"b", masked)
            for fin in (True, False):
                self.both(1002, [frame(CONTINUATION, b"x", masked, fin=fin)], masked)
                self.assert_refused(
                    done + frame(CONTINUATION, b"", masked, fin=fin), masked, 1002, [Message(TEXT, "ab")]
                )

    def test_a_new_message_inside_a_fragmented_one_is_refused_with_1002(self) -> None:
        for _, masked in ROLES:
            for first in (TEXT, BINARY):
                for second in (TEXT, BINARY):
                    start = frame(first, b"", masked, fin=False)
                    both = [start + frame(second, b"x", masked, fin=fin) for fin in (True, False)]
                    self.both(1002, both, masked)

    def test_a_length_that_is_not_in_its_shortest_form_is_refused_with_1002(self) -> None:
        for _, masked in ROLES:
            for size, width in ((0, 2), (125, 2), (0, 8), (125, 8), (126, 8), (65535, 8), (1 << 63, 8), (2**64 - 1, 8)):
                self.both(1002, [head(BINARY, size, masked, width) + b"x" * 130], masked)

    def test_a_message_over_the_limit_is_refused_with_1009_by_its_head(self) -> None:
        for _, masked in ROLES:
            for size, width in ((101, 0), (126, 2), (65535, 2), (65536, 8), (2**63 - 1, 8)):
                for opcode in (TEXT, BINARY):
                    data = head(opcode, size, masked, width)
                    self.assert_refused(data, masked, 1009, limit=100)
                    messages, failure = decode([data[: 2 + width]], masked, 100)  # not even its mask is needed
                    self.assertEqual((messages, failure and failure.code), ([], 1009))

    def test_a_message_of_just_the_limit_is_read(self) -> None:
        for _, masked in ROLES:
            data = frame(BINARY, b"x" * 100, masked)
            for pieces in ([data], single_bytes(data)):
                self.assertEqual(decode(pieces, masked, 100), ([Message(BINARY, b"x" * 100)], None))

    def test_the_limit_counts_over_all_fragments(self) -> None:
        for _, masked in ROLES:
            start = frame(BINARY, b"x" * 60, masked, fin=False) + frame(CONTINUATION, b"", masked, fin=False)
            just = start + frame(PING, b"y" * 125, masked) + frame(CONTINUATION, b"x" * 40, masked)
            wanted = [Message(PING, b"y" * 125), Message(BINARY, b"x" * 100)]
            for pieces in ([just], single_bytes(just)):
                self.assertEqual(decode(pieces, masked, 100), (wanted, None))
            self.assert_refused(start + head(CONTINUATION, 41, masked, 0), masked, 1009, limit=100)

    def test_what_is_kept_may_change_between_two_reads(self) -> None:
        for _, masked in ROLES:
            decoder = FrameDecoder(masked, 20)
            decoder.keep(10)
            self.assertEqual(decoder.feed(frame(BINARY, b"x" * 10, masked)), [Message(BINARY, b"x" * 10)])
            decoder.keep(30)  # never more than the largest that there may be
            self.assertEqual(decoder.feed(frame(BINARY, b"x" * 20, masked)), [Message(BINARY, b"x" * 20)])
            decoder.feed(frame(BINARY, b"x" * 21, masked))
            self.assertEqual(decoder.failure and decoder.failure.code, 1009)

    def test_a_message_that_is_too_large_to_be_kept_is_read_away_but_for_its_start(self) -> None:
        for _, masked in ROLES:
            for size, fin in ((0, False), (1, False), (10, False), (11, False), (40, False), (100, True)):
                payload = b"0123456789" * 10
                wire = frame(BINARY, payload[:size], masked, fin)
                if not fin:
                    wire += frame(PING, b"", masked) + frame(CONTINUATION, payload[size:], masked)
                wire += frame(BINARY, payload[:10], masked)
                start = Message(BINARY, Start(payload[:32]))
                for pieces in ([wire], single_bytes(wire)):
                    decoder = FrameDecoder(masked, 100)
                    decoder.keep(10)
                    messages = [message for piece in pieces for message in decoder.feed(piece)]
                    self.assertEqual(messages[-2:], [start, Message(BINARY, payload[:10])])
                    self.assertEqual([type(message.payload) for message in messages[-2:]], [Start, bytes])
                    self.assertTrue(decoder.idle)

    def test_of_a_text_that_is_too_large_to_be_kept_nothing_is_left_but_it_must_be_utf8(self) -> None:
        for _, masked in ROLES:
            for payload, code in ((b"\xc3\xa4" * 20, None), (b"\xc3\xa4" * 20 + b"\xc3", 1007)):
                wire = frame(TEXT, payload, masked) + frame(TEXT, b"short", masked)
                for pieces in ([wire], single_bytes(wire)):
                    decoder = FrameDecoder(masked, 100)
                    decoder.keep(10)
                    messages = [message for piece in pieces for message in decoder.feed(piece)]
                    self.assertEqual(messages, [] if code else [Message(TEXT, "short")])
                    self.assertEqual(decoder.failure and decoder.failure.code, code)

    def test_what_has_begun_to_be_read_away_is_so_to_its_end(self) -> None:
        for _, masked in ROLES:
            decoder = FrameDecoder(masked, 1000)
            decoder.keep(10)
            wire = frame(BINARY, b"x" * 500, masked)
            self.assertEqual(decoder.feed(wire[:100]), [])
            decoder.keep(1000)
            (message,) = decoder.feed(wire[100:])
            self.assertIs(type(message.payload), Start)
            self.assertEqual(decoder.feed(wire), [Message(BINARY, b"x" * 500)])

    def test_what_is_read_away_takes_no_memory_and_is_refused_beyond_the_limit(self) -> None:
        for _, masked in ROLES:
            decoder = FrameDecoder(masked, 1 << 20)
            decoder.keep(1000)
            decoder.feed(frame(BINARY, b"", masked, fin=False))
            piece = frame(CONTINUATION, bytes(1 << 16), masked, fin=False)
            for _ in range(16):
                self.assertEqual(decoder.feed(piece), [])
                self.assertLessEqual(len(decoder._message), 1000)
            self.assertIsNone(decoder.failure)
            decoder.feed(head(CONTINUATION, 1, masked, 0))
            self.assertEqual(decoder.failure and decoder.failure.code, 1009)


class TextTest(FramesTestCase):
    BAD = (
        b"\x80",
        b"\xc0\xaf",
        b"\xc1\xbf",
        b"\xe0\x80\xaf",
        b"\xed\xa0\x80",
        b"\xed\xbf\xbf",
        b"\xf0\x80\x80\xaf",
        b"\xf4\x90\x80\x80",
        b"\xf5\x80\x80\x80",
        b"\xfe",
        b"\xff",
        b"a\xce",
        b"\xf0\x9f\x98",
    )

    def test_text_that_is_no_utf_8_is_refused_with_1007_in_one_frame_and_in_fragments(self) -> None:
        for _, masked in ROLES:
            for bad in self.BAD:
                with self.subTest(masked=masked, bad=bad):
                    self.assert_refused(frame(TEXT, bad, masked), masked, 1007)
                    pieces = frame(TEXT, b"", masked, fin=False)
                    for byte in single_bytes(bad):
                        pieces += frame(CONTINUATION, byte, masked, fin=False)
                    self.assert_refused(pieces + frame(CONTINUATION, b"", masked), masked, 1007)

    def test_text_is_refused_while_it_arrives_once_nothing_can_make_it_utf_8(self) -> None:
        for _, masked in ROLES:
            for bad in (b"\xce\xba\xf4\x90", b"ok\xff", b"\xc0", b"\xed\xa0\x80"):
                with self.subTest(masked=masked, bad=bad):
                    for data in (
                        frame(TEXT, bad + b"x" * 1000, masked),
                        frame(TEXT, b"", masked, fin=False) + frame(CONTINUATION, bad + b"x" * 1000, masked, fin=False),
                    ):
                        cut = len(data) - 1000
                        self.assertEqual(decode([data[:cut]], masked)[0], [])
                        for pieces in ([data[:cut]], single_bytes(data[:cut])):
                            failure = decode(pieces, masked)[1]
                            self.assertEqual(failure and failure.code, 1007)

    def test_a_character_may_be_cut_by_reads_and_fragments(self) -> None:
        for _, masked in ROLES:
            text = "a\u00e9\u20ac\U0001f600\U0010ffff\ufffe"
            self.assert_read(frame(TEXT, text.encode(), masked), masked, [Message(TEXT, text)])
            for i in range(len(text.encode())):
                data = frame(TEXT, text.encode()[:i], masked, fin=False) + frame(0, text.encode()[i:], masked)
                self.assert_read(data * 2, masked, [Message(TEXT, text)] * 2)

    def test_a_refused_text_leaves_nothing_that_could_spoil_the_next_message_of_another_decoder(self) -> None:
        first, second = FrameDecoder(False, LIMIT), FrameDecoder(False, LIMIT)
        first.feed(frame(TEXT, b"\xf0\x9f", fin=False))
        self.assertEqual(second.feed(frame(TEXT, b"ok")), [Message(TEXT, "ok")])

    def test_binary_takes_every_byte(self) -> None:
        for _, masked in ROLES:
            for bad in (*self.BAD, bytes(range(256))):
                half = len(bad) // 2
                data = frame(BINARY, bad, masked) + frame(BINARY, bad[:half], masked, fin=False)
                data += frame(CONTINUATION, bad[half:], masked)
                self.assert_read(data, masked, [Message(BINARY, bad)] * 2)


class CloseTest(FramesTestCase):
    def test_every_code_that_may_be_sent_is_read_with_its_reason(self) -> None:
        for code in GOOD_CODES:
            for reason in ("", "good bye", "é" * 61):
                payload = encode_close(code, reason)
                self.assertEqual(parse_close(payload), (code, reason))
                for _, masked in ROLES:
                    self.assert_read(frame(CLOSE, payload, masked), masked, [Message(CLOSE, payload)])

    def test_a_close_frame_that_says_nothing_is_1005(self) -> None:
        self.assertEqual(parse_close(b""), (1005, ""))
        self.assertEqual(encode_close(1005, ""), b"")

    def test_codes_that_must_not_be_sent_are_refused_with_1002(self) -> None:
        for code in BAD_CODES:
            for _, masked in ROLES:
                data = frame(CLOSE, code.to_bytes(2, "big") + b"why", masked)
                self.assert_refused(frame(TEXT, b"x", masked) + data, masked, 1002, [Message(TEXT, "x")])

    def test_a_close_frame_of_one_byte_is_refused_with_1002(self) -> None:
        for _, masked in ROLES:
            self.assert_refused(frame(CLOSE, b"\x03", masked), masked, 1002)

    def test_a_reason_that_is_no_utf_8_is_refused_with_1007(self) -> None:
        for _, masked in ROLES:
            for reason in TextTest.BAD:
                self.assert_refused(frame(CLOSE, b"\x03\xe8" + reason, masked), masked, 1007)

    def test_a_long_reason_is_cut_between_two_characters(self) -> None:
        for reason, kept in (("x" * 200, "x" * 123), ("é" * 100, "é" * 61), ("x" + "\U0001f600" * 40, None)):
            payload = encode_close(1000, reason)
            self.assertLessEqual(len(payload), 125)
            self.assertGreaterEqual(len(payload), 122)
            self.assertTrue(reason.startswith(parse_close(payload).reason))
            if kept is not None:
                self.assertEqual(parse_close(payload).reason, kept)

    def test_a_lone_surrogate_in_a_reason_does_no_harm(self) -> None:
        self.assertEqual(parse_close(encode_close(1000, "a\ud800b")), (1000, "a?b"))


class EncodingTest(FramesTestCase):
    def test_lengths_are_written_in_their_shortest_form(self) -> None:
        for size, wanted in (
            (0, "82 00"),
            (125, "82 7d"),
            (126, "82 7e 00 7e"),
            (65535, "82 7e ff ff"),
            (65536, "82 7f 00 00 00 00 00 01 00 00"),
        ):
            data = encode_frame(BINARY, b"x" * size)
            self.assertEqual(data[: len(data) - size], bytes.fromhex(wanted))

    def test_a_masked_frame_shows_its_key_and_hides_its_payload(self) -> None:
        data = encode_frame(TEXT, b"Hello", bytes.fromhex("37 fa 21 3d"))
        self.assertEqual(data, bytes.fromhex("81 85 37 fa 21 3d 7f 9f 4d 51 58"))


payloads = st.one_of(st.binary(max_size=12), st.sampled_from([b"x" * 125, b"x" * 126, b"x" * 65535, b"x" * 65536]))
texts = st.text(st.characters(codec="utf-8"), max_size=12).map(str.encode)
controls = st.tuples(st.sampled_from([PING, PONG]), st.binary(max_size=125))


@st.composite
def conversations(draw: st.DrawFn) -> list[tuple[int, bytes, bool]]:
    """Frames that obey the RFC, as (opcode, payload, fin)."""
    frames: list[tuple[int, bytes, bool]] = []
    for opcode in draw(st.lists(st.sampled_from([TEXT, BINARY, PING]), max_size=4)):
        if opcode == PING:
            frames.append((*draw(controls), True))
            continue
        payload = draw(texts if opcode == TEXT else payloads)
        cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=3)))
        starts, ends = [0, *cuts], [*cuts, len(payload)]
        for i, (start, end) in enumerate(zip(starts, ends, strict=False)):
            frames.append((opcode if i == 0 else CONTINUATION, payload[start:end], i == len(cuts)))
            if i < len(cuts) and draw(st.booleans()):
                frames.append((*draw(controls), True))
    return frames


def expected(frames: list[tuple[int, bytes, bool]]) -> list[Message]:
    """What the frames mean, in the plainest way."""
    messages: list[Message] = []
    current, parts = 0, b""
    for opcode, payload, fin in frames:
        if opcode >= CLOSE:
            messages.append(Message(opcode, payload))
            continue
        current, parts = opcode or current, parts + payload
        if fin:
            messages.append(Message(current, parts.decode() if current == TEXT else parts))
            parts = b""
    return messages


def split(data: bytes, seed: int) -> list[bytes]:
    """Cut into pieces of all sizes, with empty ones among them."""
    chance = random.Random(seed)
    pieces, position = [], 0
    while position < len(data):
        size = chance.choice([0, 1, 1, 2, 3, 5, 14, 100, 4096, 100000])
        pieces.append(data[position : position + size])
        position += size
    return pieces


class PropertyTest(FramesTestCase):
    @given(conversations(), st.booleans(), st.integers())
    def test_any_split_of_the_bytes_gives_the_same_messages(
        self, frames: list[tuple[int, bytes, bool]], masked: bool, seed: int
    ) -> None:
        data = b"".join(frame(opcode, payload, masked, fin) for opcode, payload, fin in frames)
        self.assertEqual(decode(split(data, seed), masked), (expected(frames), None))

    @given(st.binary(max_size=200), st.booleans(), st.integers())
    def test_random_bytes_never_raise_and_are_judged_the_same_in_any_split(
        self, data: bytes, masked: bool, seed: int
    ) -> None:
        self.check_split(data, masked, seed)

    @given(conversations(), st.booleans(), st.integers(), st.data())
    def test_a_flipped_byte_never_raises_and_is_judged_the_same_in_any_split(
        self, frames: list[tuple[int, bytes, bool]], masked: bool, seed: int, data: st.DataObject
    ) -> None:
        stream = bytearray(b"".join(frame(opcode, payload, masked, fin) for opcode, payload, fin in frames))
        if stream:
            stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
        self.check_split(bytes(stream), masked, seed)

    def check_split(self, data: bytes, masked: bool, seed: int) -> None:
        limit = 300
        whole, failure = decode([data], masked, limit)
        split_messages, split_failure = decode(split(data, seed), masked, limit)
        self.assertEqual(split_messages, whole)
        self.assertEqual(split_failure and split_failure.args, failure and failure.args)
        self.assertIn(failure and failure.code, (None, 1002, 1007, 1009))
        self.assertTrue(all(m.opcode in (TEXT, BINARY, CLOSE, PING, PONG) for m in whole))
        self.assertTrue(all(len(m.payload) <= limit for m in whole))


if __name__ == "__main__":
    unittest.main()
