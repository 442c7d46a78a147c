"""The C extension does what Python does, for every value, message and frame; and the library goes without it."""

import math
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
import unittest
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ezez_ws import UNDEFINED, BigInt, Codec, MalformedMessage, SerializationError
from ezez_ws.messages.decoding import _peek_reply_to, peek_reply_to
from ezez_ws.messages.encoding import encode_event
from ezez_ws.messages.json_text import UNMETERED
from ezez_ws.messages.protocol import Event, Ids, check_event_name, parse_event
from ezez_ws.messages.scalars import MAX_BIGINT_DIGITS
from ezez_ws.messages.speedups import compiled
from ezez_ws.options import check_args
from ezez_ws.websocket.frames import Message, _assemble, _take_frames, assemble, take_frames
from tests.support import REPO, EZEZTestCase

MAY_RUN_BESIDE = True

HAS_LOCK = not sysconfig.get_config_var("Py_GIL_DISABLED")
LOADED = "from ezez_ws.messages.speedups import compiled; print(compiled is not None)"
ALARMS = """
import signal
from ezez_ws import Codec
from ezez_ws.messages import speedups
print(speedups.compiled is not None)

class Alarm(BaseException):
    pass

def ring(*_):
    raise Alarm

data = Codec()._encoder.encode([[2.0**60] * 1000])  # numbers that the extension has Python read
signal.signal(signal.SIGALRM, ring)
heard = 0
for delay in range(1, 201):
    try:
        signal.setitimer(signal.ITIMER_REAL, delay * 1e-5)
        for _ in range(1000):
            Codec().decode(data)
    except Alarm:
        heard += 1
print(heard)
"""
SECOND_COPY = """
import sys
from ezez_ws import UNDEFINED, Codec
from ezez_ws.messages import speedups
print(speedups.compiled is not None)
mine = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "ezez_ws"}
from ezez_ws.messages import speedups as others
print(others.compiled is not None)
print(Codec().decode(Codec().encode([UNDEFINED]))[0] is UNDEFINED)
"""
MASK = b"\x11\x22\xf3\x44"
LIMITS = (64, MAX_BIGINT_DIGITS, UNMETERED)  # of a codec

floats = st.floats() | st.sampled_from([0.0, -0.0, 1e-6, 1e-7, 123e-9, 1e15, 1e16, 1.5e20, 1e21, 5e-324, 1.7e308])
numbers = floats | st.integers(-(2**54), 2**54) | st.integers(-1000, 1000) | st.integers()
texts = (
    st.text(max_size=12) | st.text(st.characters(max_codepoint=0x7F), max_size=12) | st.sampled_from(["\ud800", '"\\/'])
)
scalars = (
    texts | numbers | st.integers().map(BigInt) | st.sampled_from([True, False, None, UNDEFINED, object, math.inf])
)
nested = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(texts, inner, max_size=4),
)
messages = st.lists(nested | st.binary(max_size=12), max_size=5)
names = texts | st.sampled_from(["ping", "", "ezez-ws:", "ezez-ws::", "ezez-ws::auth", "ezez-ws:incoming:x"]) | scalars
ids = st.integers(1, 9) | st.sampled_from([None, 0, 1.0, 2**53 - 1, 2**53, True, BigInt(3)]) | scalars
heads = st.tuples(names, ids, ids) | st.lists(names | ids, max_size=3)
codecs = st.sampled_from([Codec(), Codec(sort_props=False, max_depth=2, max_bigint_digits=2)])
field_pieces = st.sampled_from(
    [
        *[b"1f\0e\0", b"0f\0\0", b"3t\0a\0b\0", b'5j\0"n:1"\0', b'4j\0"l:"\0', b'4j\0"u:"\0', b'6j\0"n:07"\0'],
        *[b'5j\0"i:7"\0', b'5j\0"n:0"\0', b"1j\0007\0", b"3j\0 7 \0", b'000000005j\0"n:9"\0', b'0000000005j\0"n:9"\0'],
        *[b'00000000005j\0"n:9"\0', b'19j\0"n:999999999999999"\0', b'20j\0"n:9007199254740991"\0', b'4j\0"n:"\0'],
        *[b'20j\0"n:9007199254740992"\0', b'6j\0"n:-1"\0', b'7j\0"n:1.0"\0', b"0j\0\0", b"64j\0%64d\0" % 5],
        *[b"65j\0%65d\0" % 5, b'65j\0"n:%061d"\0' % 1, b"5f\0%b\0" % b'"n:1"', b"1x\0e\0", b"99f\0", b"\0", b"5", b"j"],
    ]
)
json_pieces = st.sampled_from(
    [
        *'{}[]",: \n\t:x0',
        *['"s:', '"n:', '"i:', '"b:', '"l:"', '"u:"', '"b:1"', '"n:-0"', '"n:007"', '"n:1.50"', '"n:1e5"', '"n:1E5"'],
        *['"n:9007199254740991"', '"n:9007199254740992"', '"n:1e999"', '"n:NaN"', '"n:٣"', '"i:12"', '"s:a\\n\\u00e9"'],
        *["\\u", "\\ud800", "\\/", "\\x", "null", "true", "12", '"k":', '"k":"n:1",', "é", "😀", "\x1f", "\x00"],
    ]
)


def outcome(function: Any, *args: Any) -> tuple[str, Any]:
    try:
        return "returned", function(*args)
    except (SerializationError, MalformedMessage) as error:
        return "refused", str(error)


def exactly(value: Any) -> Any:
    """What tells all values apart: 1 from 1.0 and True, 0.0 from -0.0, and one order of keys from another."""
    if isinstance(value, (list, tuple)):
        return [type(value), *map(exactly, value)]
    if isinstance(value, dict):
        return [type(value), *((key, exactly(item)) for key, item in value.items())]
    return type(value), repr(value)


class Loading(EZEZTestCase):
    def loaded(self, **environment: str) -> str:
        command = [sys.executable, "-c", LOADED]
        inherited = {name: value for name, value in os.environ.items() if name != "EZEZ_WS_PURE_PYTHON"}
        done = subprocess.run(command, env={**inherited, **environment}, cwd=REPO, check=True, capture_output=True)
        return done.stdout.decode().strip()

    def test_the_environment_turns_it_off(self) -> None:
        self.assertEqual(self.loaded(EZEZ_WS_PURE_PYTHON="1"), "False")

    @unittest.skipUnless(os.environ.get("EZEZ_REQUIRE_SPEEDUPS"), "nothing says that it must have been built")
    def test_it_has_been_built(self) -> None:
        self.assertEqual(self.loaded(), str(HAS_LOCK))


@unittest.skipIf(compiled is None, "the C extension is not there")
class Values(EZEZTestCase):
    def same(self, one: Any, other: Any) -> None:
        self.assertEqual(exactly(one), exactly(other))

    @given(codecs, messages)
    def test_a_message_is_encoded_and_decoded_to_the_same(self, codec: Codec, values: list[Any]) -> None:
        expected = outcome(codec._encoder.encode, values)
        self.assertEqual(outcome(codec.encode, values), expected)
        if expected[0] == "returned":
            self.same(outcome(codec.decode, expected[1]), outcome(codec._decoder.decode, expected[1]))

    @given(codecs, messages, st.integers(0, 200), st.integers(0, 255), st.integers(0, 3))
    def test_a_damaged_message_is_taken_for_the_same(
        self, codec: Codec, values: list[Any], at: int, byte: int, cut: int
    ) -> None:
        kind, data = outcome(codec._encoder.encode, values)
        if kind == "returned":
            data = data[: at % (len(data) + 1)] + bytes([byte][:cut]) + data[at % (len(data) + 1) + max(cut - 1, 0) :]
            self.same(outcome(codec.decode, data), outcome(codec._decoder.decode, data))

    @given(codecs, heads, messages)
    def test_an_event_is_the_same(self, codec: Codec, head: Sequence[Any], args: list[Any]) -> None:
        kind, data = outcome(codec._encoder.encode, [*head, *args])
        if kind == "returned":
            kind, event = outcome(codec._decode_event, data)
            if isinstance(event, Event):
                self.same((kind, event), outcome(lambda: parse_event(codec._decoder.decode(data))))
                self.assertEqual((type(event), type(event.ids)), (Event, Ids))
            else:
                self.same((kind, event), outcome(codec._decoder.decode, data))

    def test_a_usual_event_needs_no_python(self) -> None:
        for event in (
            Event("ping", Ids(1, None), ["x"]),
            Event("", Ids(2**53 - 1, 7), []),
            Event("שלום", Ids(1, None), [b""]),
            Event("ezez-ws:", Ids(1, 1), [None]),
        ):
            with self.subTest(event):
                data = Codec()._encoder.encode([event.name, *event.ids, *event.args])
                self.assertEqual(compiled.decode_event(*LIMITS, Event, Ids, data), event)
                self.assertEqual(Codec()._decode_event(data), event)

    def test_what_is_no_event_is_left_to_python(self) -> None:
        for head in (
            ["a", 1],
            [1, 1, None],
            ["ezez-ws::x", 1, None],
            ["ezez-ws::é", 1, None],
            ["a", 0, None],
            ["a", 1, 0],
            ["a", 1.5, None],
            ["a", 1, "b"],
        ):
            with self.subTest(head):
                self.assertEqual(compiled.decode_event(*LIMITS, Event, Ids, Codec()._encoder.encode(head)), head)
        self.assertIs(compiled.decode_event(*LIMITS, Event, Ids, b"nonsense"), NotImplemented)

    def test_a_codec_of_the_users_decodes_itself(self) -> None:
        class Shouting(Codec):
            def decode(self, data: bytes) -> list[Any]:
                return [value.upper() if isinstance(value, str) else value for value in super().decode(data)]

        self.assertEqual(Shouting()._decode_event(Codec()._encoder.encode(["ping", 1, None])), ["PING", 1, None])
        self.assertIsNone(Shouting()._encoder_at_once())

    @given(codecs, st.lists(names | ids, max_size=4), st.integers(0, 60), st.integers(0, 255), st.integers(0, 3))
    def test_the_same_reply_to_is_peeked(self, codec: Codec, head: list[Any], at: int, byte: int, cut: int) -> None:
        kind, data = outcome(codec._encoder.encode, head)
        if kind == "returned":
            self.same_peeked(data)
            self.same_peeked(data[:at] + bytes([byte][:cut]) + data[at + max(cut - 1, 0) :])

    @given(st.lists(field_pieces, max_size=5).map(b"".join))
    def test_the_same_reply_to_is_peeked_of_any_fields(self, data: bytes) -> None:
        self.same_peeked(data)
        self.same_peeked(data[:-1])

    def same_peeked(self, data: bytes) -> None:
        peeked, expected = compiled.peek_reply_to(data), _peek_reply_to(data)
        if peeked is not NotImplemented:
            self.same(peeked, expected)
        self.same(peek_reply_to(data), expected)

    def test_a_usual_reply_to_needs_no_python(self) -> None:
        for reply_to in (1, 7, 10, 999_999_999_999_999, None):
            for name in ("pong", "", "שלום", "e" * 1000):
                data = Codec()._encoder.encode([name, 5, reply_to, {"a": 1}])
                self.assertEqual(compiled.peek_reply_to(data), reply_to)
        for no_reply in (b"", b"x", b"1f\0e\0", b"1x\0e\0" * 3, b"0t\0\0" * 3, Codec()._encoder.encode(["e", 1, 0])):
            with self.subTest(no_reply):
                self.assertIsNone(compiled.peek_reply_to(no_reply))

    def test_an_unusual_reply_to_is_left_to_python(self) -> None:
        for payload in (b"7", b' "n:7"', b'"n:9007199254740991"', b'"n:-7"', b'"n:1.5"', b'"n:"', b'"i:7"', b"[]", b""):
            with self.subTest(payload):
                data = b'1f\0e\x005j\0"n:1"\0%dj\0%b\0' % (len(payload), payload)
                self.assertIs(compiled.peek_reply_to(data), NotImplemented)
        self.assertIs(compiled.peek_reply_to(bytearray(b"1f\0e\0")), NotImplemented)
        self.assertIs(compiled.peek_reply_to("text"), NotImplemented)

    @given(codecs, names, ids, ids, messages | messages.map(tuple) | scalars)
    def test_a_message_made_at_once_is_the_same(
        self, codec: Codec, name: Any, event_id: Any, reply_to: Any, args: Any
    ) -> None:
        at_once = codec._encoder_at_once()
        assert at_once is not None
        message = at_once(name, event_id, reply_to, args)
        if message is not NotImplemented:
            body = codec._encoder.encode(check_args(args))
            self.assertEqual(message, encode_event(check_event_name(name), event_id, reply_to, body))

    def test_a_usual_message_is_made_at_once(self) -> None:
        shapes: list[Sequence[Any]] = [[], ["x", 1, {"b": 2, "a": "y"}], (None, b"\0")]
        for name in ("ping", "", "ezez-ws:", "ezez-ws:incoming", "a" * 2000):
            for args in shapes:
                with self.subTest((name, args)):
                    message = compiled.encode_at_once(True, 64, name, 2, 1, args)
                    self.assertEqual(message, Codec()._encoder.encode([name, 2, 1, *args]))

    def test_what_is_not_usual_is_not_made_at_once(self) -> None:
        class Name(str):
            pass

        class Args(list[Any]):
            pass

        for name in ("ezez-ws::", "ezez-ws::auth", "ezez-ws:incoming:x", "é", "\ud800", Name("x"), 5, None):
            with self.subTest(name):
                self.assertIs(compiled.encode_at_once(True, 64, name, 1, None, []), NotImplemented)
        self.assertIs(compiled.encode_at_once(True, 64, "event", 1, 2**63, []), NotImplemented)
        self.assertEqual(Codec()._encode_event("event", 2**63, 2**64, b""), encode_event("event", 2**63, 2**64, b""))
        wrong: list[Any] = [{}, "text", b"bytes", None, Args(), [object()], [BigInt(1)], ["\ud800"], [[[]]]]
        for args in wrong:
            with self.subTest(args):
                self.assertIs(compiled.encode_at_once(True, 1, "event", 1, None, args), NotImplemented)

    @given(codecs, st.lists(json_pieces, max_size=12).map("".join))
    def test_any_json_is_taken_for_the_same(self, codec: Codec, text: str) -> None:
        for large in (b"", b"%dt\0%b\0" % (UNMETERED, bytes(UNMETERED))):
            payload = text.encode()
            data = b"%b%dj\0%b\0" % (large, len(payload), payload)
            self.same(outcome(codec.decode, data), outcome(codec._decoder.decode, data))

    @given(st.lists(st.sampled_from([*"0123456789", *"-+.eE"]), max_size=24).map("".join))
    def test_any_number_is_taken_for_the_same(self, text: str) -> None:
        data = b'%dj\0"n:%b"\0' % (len(text) + 4, text.encode())
        self.same(outcome(Codec().decode, data), outcome(Codec()._decoder.decode, data))

    def test_the_usual_needs_no_python(self) -> None:
        values = ["é", b"b", 1, -2.5, 1e21, None, True, UNDEFINED, {"b": [1, (2, "x\n")], "a": {}}, [[]]]
        data = compiled.encode(values, True, 64)
        self.assertEqual(data, Codec()._encoder.encode(values))
        self.assertEqual(compiled.decode(data, *LIMITS), Codec()._decoder.decode(data))
        self.assertEqual(compiled.encode_event("é", 7, 3, data), encode_event("é", 7, 3, data))

    def test_what_is_refused_and_what_needs_user_code_is_left_to_python(self) -> None:
        for value in (2**53, BigInt(1), object(), {1: 2}, "\ud800", [b""], [[[]]], bytearray(b"x"), {"😀": 1, "a": 2}):
            with self.subTest(value):
                self.assertIs(compiled.encode([value], True, 2), NotImplemented)
        for payload in (b'"date:x"', b"5", b'"b:yes"', b'"x"', b"[[[]]]", b'"s:\\ud800"', b'"n:x"', b'"s:\xff"', b""):
            with self.subTest(payload):
                data = b"%dj\0%b\0" % (len(payload), payload)
                self.assertIs(compiled.decode(data, 2, MAX_BIGINT_DIGITS, UNMETERED), NotImplemented)
                self.assertIs(compiled.scan_json(payload, 2, MAX_BIGINT_DIGITS), NotImplemented)

    def test_containers_of_a_large_message_are_weighed_first(self) -> None:
        large = Codec()._encoder.encode(["x" * UNMETERED, [1]])
        self.assertIs(compiled.decode(large, *LIMITS), NotImplemented)
        self.assertEqual(Codec().decode(large)[1], [1])

    @unittest.skipUnless(hasattr(signal, "setitimer"), "there are no timers here")
    def test_what_a_signal_handler_raises_comes_out(self) -> None:
        done = subprocess.run([sys.executable, "-c", ALARMS], cwd=REPO, check=True, capture_output=True, text=True)
        self.assertEqual(done.stdout.split(), ["True", "200"])

    def test_a_second_copy_of_the_library_goes_without_it(self) -> None:
        command = [sys.executable, "-c", SECOND_COPY]
        done = subprocess.run(command, cwd=REPO, check=True, capture_output=True, text=True)
        self.assertEqual(done.stdout.split(), ["True", "False", "True"])

    def test_other_arguments_are_type_errors(self) -> None:
        for function in (
            compiled.encode,
            compiled.decode,
            compiled.scan_json,
            compiled.encode_event,
            compiled.encode_at_once,
            compiled.decode_event,
            compiled.peek_reply_to,
            compiled.read_batch,
        ):
            with self.assertRaises(TypeError):
                function()
        with self.assertRaises(TypeError):
            compiled.decode_event(b"x", *LIMITS, int, Ids)
        with self.assertRaises(TypeError):
            compiled.read_batch(UNMETERED, int, Event, Event, b"x")
        for function in (compiled.apply_mask, compiled.assemble, compiled.take_frames):
            with self.assertRaises(TypeError):
                function(1, 2)


@unittest.skipIf(compiled is None, "the C extension is not there")
class Frames(EZEZTestCase):
    @given(st.integers(0, 255), st.integers(0, 70_000), st.sampled_from([None, MASK]))
    def test_a_frame_is_the_same(self, first: int, size: int, mask: bytes | None) -> None:
        self.assertEqual(assemble(first, bytes(size), mask), _assemble(first, bytes(size), mask))

    @given(
        st.lists(st.sampled_from([0, 1, 7, 125, 126, 300, 66_000]), max_size=4),
        st.sampled_from([None, MASK]),
        st.integers(0, 700),
        st.sampled_from([0, 100, 126, 1 << 20, 1 << 70]),
        st.sampled_from([0x82, 0x02, 0x81, 0x89, 0xC2]),
    )
    def test_the_same_frames_are_taken(
        self, sizes: list[int], mask: bytes | None, cut: int, limit: int, last: int
    ) -> None:
        frames = [_assemble(0x82, os.urandom(size), mask) for size in sizes] + [_assemble(last, b"last", mask)]
        data = b"".join(frames)
        data = data[: len(data) - cut]
        for masked in (0, 0x80):
            taken: list[Message] = []
            expected: list[Message] = []
            count = take_frames(data, masked, limit, Message, taken)
            self.assertEqual(_take_frames(data, masked, limit, Message, expected), count)
            self.assertEqual([tuple(message) for message in expected], [tuple(message) for message in taken])
            self.assertTrue(all(type(message) is Message for message in taken))


@unittest.skipUnless(hasattr(compiled, "receive"), "the C extension is not there, or cannot do this here")
class Sockets(EZEZTestCase):
    @unittest.skipUnless(hasattr(compiled, "receive_soon"), "on Linux only")
    def test_receiving_soon_asks_for_a_while(self) -> None:
        one, other = socket.socketpair()
        with other:
            with one:
                start = time.monotonic()
                self.assertIsNone(compiled.receive_soon(one.fileno(), 100, 20_000))
                self.assertGreaterEqual(time.monotonic() - start, 0.02)
                self.assertEqual(compiled.receive_soon(one.fileno(), 0, 0), b"")
                threading.Timer(0.02, other.sendall, [b"x" * 5000]).start()
                self.assertEqual(compiled.receive_soon(one.fileno(), 3, 10_000_000), b"xxx")
                self.assertEqual(compiled.receive_soon(one.fileno(), 100_000, 0), b"x" * 4997)
            self.assertEqual(compiled.receive_soon(other.fileno(), 100, 10_000_000), b"")
        self.assertEqual(compiled.receive_soon(-1, 100, 10_000_000), b"")
        self.assertRaises(TypeError, compiled.receive_soon, 1, 2)
        self.assertRaises(TypeError, compiled.receive_soon, "1", 2, 3)

    def test_receiving_tells_nothing_yet_from_the_end(self) -> None:
        one, other = socket.socketpair()
        with other:
            with one:
                self.assertIsNone(compiled.receive(one.fileno(), 100))
                self.assertEqual(compiled.receive(one.fileno(), 0), b"")
                other.sendall(b"x" * 5000)
                self.assertEqual(compiled.receive(one.fileno(), 3, True), b"xxx")
                self.assertEqual(compiled.receive(one.fileno(), 5, False), b"xxxxx")
                self.assertRaises(TypeError, compiled.receive, one.fileno())
                self.assertRaises(TypeError, compiled.receive, one.fileno(), 3, True, True)
                self.assertEqual(compiled.receive(one.fileno(), 100_000), b"x" * 4096)
                self.assertEqual(compiled.send(one.fileno(), b"abc", 2, 0), 2)
                self.assertEqual(other.recv(10), b"ab")
            self.assertEqual(compiled.receive(other.fileno(), 100), b"")
        self.assertEqual(compiled.receive(-1, 100), b"")
        self.assertEqual(compiled.send(-1, b"abc", 3, 0), -1)


if __name__ == "__main__":
    unittest.main()
