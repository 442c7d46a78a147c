"""The browser module's codec: the golden vectors, and the same bytes and refusals as the codec of Python."""

import json
import unittest
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ezez_ws.errors import MalformedMessage
from ezez_ws.messages.codec import Codec
from tests.browser.page import JavaScriptError, Page
from tests.interop.test_codec_differential import describe, messages, texts
from tests.neutral import build, same
from tests.support import REPO, EZEZTestCase, allow_seconds, needs_node

MAY_RUN_BESIDE = True
SAME_ON_EVERY_PYTHON = True

VECTORS = json.loads((REPO / "tests/data/golden_vectors.json").read_text("utf-8"))["vectors"]
CORPUS = sorted((REPO / "tests/fuzz/corpus/codec").glob("*"))
CORPUS = [path for path in CORPUS if path.name != "bigint-too-long"]  # whose limit has a test of its own
UNMETERED = 16_384  # bytes: smaller messages are refused by no codec for their memory

# The reference serializer loses a key `__proto__`; what becomes of it here has a test of its own.
keys = (texts | st.integers(0, 2**33).map(str) | st.just("constructor")).filter(lambda key: key != "__proto__")
objects = st.recursive(st.integers(0, 9), lambda inner: st.dictionaries(keys, inner, max_size=6), max_leaves=20)
scalars = ['"n:1"', '"s:a"', '"__proto__":', '"a":', "s:", "n:", "i:", "b:1", "l:", "u:", "null", "true", "NaN"]
fragments = st.sampled_from([*scalars, *'"\\[]{},:1-.e0 é😀\x01', "\\ud800", "\\u0041"])
payloads = st.lists(fragments, max_size=12).map(lambda pieces: "".join(pieces).encode())


def field(payload: bytes, mark: bytes = b"j") -> bytes:
    return b"%d%b\0%b\0" % (len(payload), mark, payload)


@needs_node
class CodecTestCase(EZEZTestCase):
    page: Page

    @classmethod
    def setUpClass(cls) -> None:
        cls.page = Page("--expose-gc")
        cls.addClassCleanup(cls.page.close)
        cls.page.run("globalThis.codec = new Codec()")

    def encode(self, values: list[Any]) -> str:
        hexadecimal: str = self.page.evaluate(f"hex(codec.encode({json.dumps(values)}.map(build)))")
        return hexadecimal

    def decode(self, data: bytes) -> list[Any] | None:
        """Decode in JavaScript; ``None`` where it is malformed."""
        try:
            return list(self.page.evaluate(f'codec.decode(unhex("{data.hex()}"))'))
        except JavaScriptError as error:
            self.assertEqual(error.name, "MalformedMessage", error)
            return None

    def assert_agree(self, data: bytes) -> None:
        try:
            expected: list[Any] | None = Codec().decode(data)
        except MalformedMessage:
            expected = None
        found = self.decode(data)
        self.assertTrue(same(plain(found), plain(expected)), (data, found, expected))


def plain(value: Any) -> Any:
    """What JavaScript keeps of a decoded value: a float that is whole is an int there."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53 - 1:
        return int(value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


class SameBytesTest(CodecTestCase):
    def test_each_golden_vector_decodes_to_its_values(self) -> None:
        for vector in VECTORS:
            with self.subTest(vector["name"]):
                found = self.decode(bytes.fromhex(vector["hex"]))
                self.assertTrue(same(found, [build(value) for value in vector["values"]]), found)

    def test_the_values_of_each_golden_vector_encode_to_its_bytes(self) -> None:
        for vector in VECTORS:
            with self.subTest(vector["name"]):
                self.assertEqual(self.encode(vector["values"]), vector["hex"])

    @settings(max_examples=250)
    @given(messages)
    def test_any_values_are_the_same_bytes_in_both_languages_and_come_back(self, values: list[Any]) -> None:
        data = Codec().encode(values)
        self.assertEqual(self.encode([describe(value) for value in values]), data.hex())
        self.assertTrue(same(self.decode(data), Codec().decode(data)), data)

    @settings(max_examples=200)
    @given(st.lists(objects, min_size=1, max_size=3))
    def test_keys_have_the_order_of_the_reference_serializer(self, values: list[Any]) -> None:
        described = json.dumps([describe(value) for value in values])
        code = f"const values = {described}.map(build); return [codec.encode(values), reference(values)].map(hex)"
        ours, reference = self.page.run(code)
        self.assertEqual(ours, reference)

    def test_a_key_that_is_the_name_of_the_prototype_is_a_key_like_others(self) -> None:
        self.assert_agree(field(b'{"__proto__":{"__proto__":"n:1"},"a":["l:"]}'))
        described = ["dict", [["__proto__", ["dict", [["polluted", ["bool", True]]]]]]]
        self.assertEqual(self.encode([described]), Codec().encode([build(described)]).hex())
        self.assertIsNone(self.page.evaluate("({}).polluted ?? null"))

    def test_every_kind_of_buffer_travels_as_its_bytes(self) -> None:
        kinds = (
            "new Uint8Array([1, 2])", "new Uint8Array([0, 1, 2, 3]).subarray(1, 3)", "new Uint8Array([1, 2]).buffer",
            "new Uint16Array([513])", "new DataView(new Uint8Array([1, 2]).buffer)", "Buffer.from([1, 2])",
        )  # fmt: skip
        for kind in kinds:
            with self.subTest(kind):
                self.assertEqual(self.page.evaluate(f"hex(codec.encode([{kind}]))"), b"2t\0\1\2\0".hex())

    def test_decoded_bytes_are_a_copy_and_sources_of_both_kinds_are_taken(self) -> None:
        code = """
            const data = unhex("3274000102" + "00");
            const [bytes] = codec.decode(data), [again] = codec.decode(data.buffer);
            data.fill(9);
            return [bytes, bytes.buffer.byteLength, again];"""
        self.assertEqual(self.page.run(code), [b"\1\2", 2, b"\1\2"])

    def test_holes_of_an_array_are_undefined(self) -> None:
        self.assertEqual(bytes.fromhex(self.page.evaluate("hex(codec.encode([[, 1]]))")), field(b'["u:","n:1"]'))


class RefusedInputTest(CodecTestCase):
    def test_each_message_of_the_fuzzing_corpus_is_taken_or_refused_as_python_does(self) -> None:
        refused = 0
        for path in CORPUS:
            data = path.read_bytes()[1:]
            with self.subTest(path.name):
                if len(data) < UNMETERED:
                    self.assert_agree(data)
                refused += self.decode(data) is None
        self.assertGreater(refused, 10)

    @settings(max_examples=250)
    @given(st.lists(payloads, min_size=1, max_size=3))
    def test_any_json_is_taken_or_refused_as_python_does(self, all_payloads: list[bytes]) -> None:
        self.assert_agree(b"".join(map(field, all_payloads)))

    @settings(max_examples=200)
    @given(
        st.lists(st.sampled_from([b"0", b"1", b"2", b"f", b"t", b"j", b"\0", b'"', b"l", b":", b"\xff"]), max_size=12)
    )
    def test_any_fields_are_taken_or_refused_as_python_does(self, pieces: list[bytes]) -> None:
        self.assert_agree(b"".join(pieces))

    def test_each_golden_vector_cut_anywhere_is_taken_or_refused_as_python_does(self) -> None:
        for vector in VECTORS:
            whole = bytes.fromhex(vector["hex"])[:120]
            with self.subTest(vector["name"]):
                for end in range(len(whole)):
                    self.assert_agree(whole[:end])

    def test_the_framing_the_texts_and_the_grammars_are_those_of_the_protocol(self) -> None:
        for data in [
            b"f\0test\0", b"4F\0test\0", b"+4f\0test\0", b" 4f\0test\0", b"0x4f\0test\0", b"4.0f\0test\0", b"5f\0test",
            b"00000000004f\0test\0", b"0000000004f\0test\0", b"9999999999f\0test\0", b"4f\0testx", b"4f\0test",
            b"4f\0test\0\0", b"4f\0test\x005", "4f\0\ufeffx\0".encode(), "٤f\0test\0".encode(), field(b"\xff", b"f"),
            field(b"\xed\xa0\x80", b"f"), field(b"\xc0\x80"), field("\ufeff5".encode()), field(b'"s:\x01"'),
        ]:  # fmt: skip
            with self.subTest(data):
                self.assert_agree(data)
        for text in [
            "", "untagged", "x:1", ":", "S:a", "l:x", "u:x", "b:", "b:2", "b:1", "n:", "n:+5", "n: 5", "n:5 ", "n:1_0",
            "n:5.", "n:.5", "n:1e", "n:1E5", "n:1e5", "n:0x10", "n:٣", "n:nan", "n:NaN", "n:-Infinity", "n:5\\n",
            "n:-007", "i:", "i:-", "i:+5", "i:5.0", "i:0x5", "i:-007", "i:" + "1" * 10_001, "i:-" + "1" * 4300,
            "constructor:x", "__proto__:x", "n:1" + "0" * 400, "s:\\ud800",
            "s:\\ud83d\\ude00", "s:\\\\ud800", "s:\\ude00\\ud83d",
        ]:  # fmt: skip
            for payload in (f'"{text}"', f'{{"a":[1,"{text}"]}}'):
                with self.subTest(payload[:30]):
                    self.assert_agree(field(payload.encode()))
        self.assert_agree(field(b'{"\\ud800":"n:1","\\udc00":"n:2","__proto__":"s:\\udc00"}'))

    def test_nesting_as_deep_as_the_limit_is_read_and_one_deeper_is_not(self) -> None:
        for opening, closing in [(b"[", b"]"), (b'{"]":', b"}"), (b'["s:\\"]",', b"]"), (b'["s:\\\\",', b"]")]:
            for depth in (64, 65):
                self.assert_agree(field(opening * depth + b"5" + closing * depth))
        self.assert_agree(field(b"[" * 65 + b"]" * 64))
        self.assertEqual(self.page.evaluate("new Codec({ maxDepth: 1 }).decode(codec.encode([[1]]))"), [[1]])

    def test_the_error_says_which_field_and_where(self) -> None:
        with self.assertRaises(JavaScriptError) as caught:
            self.page.evaluate('codec.decode(unhex("' + b'4f\0test\x003j\0"x"\0'.hex() + '"))')
        self.assertEqual(caught.exception.message, 'field 2 at byte 8: a string without a tag: "x"')

    def test_the_error_has_no_control_character_of_the_sender_s_in_it(self) -> None:
        for payload in (
            '"\\u001b]0;\\u009b\\u202e\\u2028"',
            '"x:\\u001b\u202e"',
            '"n:\\u001b[2J"',
            "\x1b[2J",
            "[\u202e]",
        ):
            with self.subTest(payload), self.assertRaises(JavaScriptError) as caught:
                self.page.evaluate(f'codec.decode(unhex("{field(payload.encode()).hex()}"))')
            self.assertTrue(caught.exception.message.isprintable(), ascii(caught.exception.message))
            self.assertLess(len(caught.exception.message), 300)

    @allow_seconds(180)
    def test_a_large_hostile_message_takes_neither_long_nor_more_than_32_times_its_size(self) -> None:
        self.page.run("globalThis.field = (text) => Buffer.from(`${Buffer.byteLength(text)}j\\0${text}\\0`)")
        for text in [
            "'['.repeat(size)", "'\"'.repeat(size)", "'\\\\'.repeat(size)", "`\"s:${'\\\\\\\\'.repeat(size / 2)}\"`",
            "`\"s:${'\\\\ud800'.repeat(size / 6)}\"`", "`\"n:${'1'.repeat(size)}x\"`", "`\"n:1.${'1'.repeat(size)}x\"`",
            "`\"i:${'1'.repeat(size)}\"`", "' '.repeat(size)", "`[${'[],'.repeat(size / 3)}5]`",
            "`[${'[5],'.repeat(size / 4)}5]`", "`[${'{\"\":5},'.repeat(size / 7)}5]`",
            "`[${'\"s:ab\",'.repeat(size / 7)}5]`",
            "`[${Array.from({ length: size / 12 }, (_, at) => `{\"k${at}\":5}`)}]`",
        ]:  # fmt: skip
            with self.subTest(text):
                self.assert_cheap(f"field({text})")
        for fields in ["0f\\0\\0", "0t\\0\\0", "1t\\0a\\0", "2j\\0[]\\0"]:
            with self.subTest(fields):
                self.assert_cheap(f"Buffer.from('{fields}'.repeat(size / 6))")

    def assert_cheap(self, data: str) -> None:
        code = f"""
            const size = 2 ** 21, data = {data}, used = () => (gc(), process.memoryUsage());
            const before = used();
            let kept;
            try {{ kept = codec.decode(data); }} catch (error) {{ kept = error.name; }}
            const after = used();
            const bytes = after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers;
            return [bytes / data.length, typeof kept === "string" ? kept : "MalformedMessage"];"""
        factor, name = self.page.run(code)
        self.assertEqual(name, "MalformedMessage")
        self.assertLess(factor, 32)


class RefusedValuesTest(CodecTestCase):
    def refused(self, values: str, text: str) -> None:
        with self.assertRaises(JavaScriptError) as caught:
            self.page.evaluate(f"codec.encode({values})")
        self.assertEqual((caught.exception.name, caught.exception.message), ("SerializationError", text))

    def test_what_cannot_travel_names_its_place_and_its_type(self) -> None:
        for values, text in [
            ("[1, {at: [new Date(0)]}]", 'args[1]["at"][0]: Date cannot be sent; give the codec a serializer for it'),
            ("[new Map()]", "args[0]: Map cannot be sent; give the codec a serializer for it"),
            ("[new (class Point {})()]", "args[0]: Point cannot be sent; give the codec a serializer for it"),
            ("[{f() {}}]", 'args[0]["f"]: function cannot be sent; give the codec a serializer for it'),
            ("[Symbol()]", "args[0]: symbol cannot be sent; give the codec a serializer for it"),
            ("[[new Uint8Array(1)]]", "args[0][0]: Uint8Array cannot be nested; bytes travel only as whole arguments"),
            ("['\\ud800']", "args[0]: a string with a lone surrogate cannot be sent"),
            ("[{'\\udc00': 1}]", 'args[0]["\\udc00"] (the key): a string with a lone surrogate cannot be sent'),
        ]:  # fmt: skip
            with self.subTest(values):
                self.refused(values, text)

    def test_a_bigint_may_have_as_many_digits_as_the_codec_allows_either_way(self) -> None:
        for codec, digits in [("new Codec()", 10_000), ("new Codec({ maxBigIntDigits: 4 })", 4)]:
            for sign in ("", "-"):
                code = f"""
                    const codec = {codec}, round = {sign}(10n ** {digits}n - 1n);
                    const text = new TextDecoder().decode(codec.encode([round]));
                    const longer = text.replace(/^[0-9]+/, (length) => +length + 1).replace(/i:-?/, "$&0");
                    const fails = (action) => {{
                        try {{ action(); }} catch (error) {{ return [error.name, error.message]; }}
                    }};
                    return [
                        codec.decode(codec.encode([round]))[0] === round,
                        fails(() => codec.encode([{sign}(10n ** {digits}n)])),
                        fails(() => codec.encode([[{sign}(10n ** 1000000n)]])),
                        fails(() => codec.decode(new TextEncoder().encode(longer))),
                    ];"""
                came_back, sent, deep, received = self.page.run(code)
                self.assertIs(came_back, True)
                refused = f"a bigint of more than maxBigIntDigits={digits} digits cannot be sent"
                self.assertEqual(sent, ["SerializationError", f"args[0]: {refused}"])
                self.assertEqual(deep, ["SerializationError", f"args[0][0]: {refused}"])
                self.assertEqual(received[0], "MalformedMessage")
                self.assertIn(f"no bigint of at most maxBigIntDigits={digits} digits", received[1])

    def test_a_cycle_is_called_a_cycle_and_the_same_value_twice_is_none(self) -> None:
        cycle = "(() => { const a = { b: [] }; a.b.push(a); return [1, [a]]; })()"
        self.refused(cycle, 'args[1][0]["b"][0]: a cycle cannot be sent; it is args[1][0] again')
        self.assertEqual(self.page.run("const a = [1]; return codec.decode(codec.encode([[a, a]]))"), [[[1], [1]]])

    def test_nesting_deeper_than_the_limit_is_refused(self) -> None:
        nest = "Array.from({ length: %d }).reduce((inner) => [inner], 5)"
        self.page.evaluate(f"codec.encode([{nest % 64}])")
        self.refused(f"[{nest % 65}]", "args[0]" + "[0]" * 64 + ": nested deeper than maxDepth=64")

    def test_values_that_are_no_array_are_refused(self) -> None:
        with self.assertRaises(JavaScriptError) as caught:
            self.page.evaluate("codec.encode('text')")
        self.assertEqual(str(caught.exception), 'TypeError: values must be an array, not "text"')


class CustomTypesTest(CodecTestCase):
    def test_a_value_comes_back_nested_and_as_an_argument(self) -> None:
        code = r"""
            const codec = new Codec({
                serializers: {
                    quoted: (value) => value instanceof Error ? `a "${value.message}"` : null,
                    date: (value) => value.toISOString(),
                },
                deserializers: { quoted: (text) => new Error(text), date: (text) => new Date(text) },
            });
            const data = codec.encode([new Error("x"), { at: [new Date(0)] }]);
            const [error, { at: [date] }] = codec.decode(data);
            return [new TextDecoder().decode(data), error instanceof Error, error.message, date.getTime()];"""
        text = '15j\0"quoted:a \\"x\\""\x0040j\0{"at":["date:1970-01-01T00:00:00.000Z"]}\0'
        data, *values = self.page.run(code)
        self.assertEqual(values, [True, 'a "x"', 0])
        expected = text.replace("15j", f"{len(text.split(chr(0))[1])}j").replace(
            "40j", f"{len(text.split(chr(0))[3])}j"
        )
        self.assertEqual(data, expected)

    def test_a_serializer_that_fails_or_returns_something_else_is_named(self) -> None:
        for serializer, text in [
            ("() => { throw new Error('no') }", 'args[0]: the serializer "x" failed on Date: Error: no'),
            ("() => 5", 'args[0]: the serializer "x" returned number, not a string or null'),
        ]:
            with self.assertRaises(JavaScriptError) as caught:
                self.page.evaluate(f"new Codec({{ serializers: {{ x: {serializer} }} }}).encode([new Date(0)])")
            self.assertEqual((caught.exception.name, caught.exception.message), ("SerializationError", text))

    def test_a_deserializer_that_fails_is_malformed_and_is_the_cause(self) -> None:
        code = """
            const fail = () => { throw new RangeError("no"); };
            try { new Codec({ deserializers: { x: fail } }).decode(unhex("356a0022783a6122" + "00")); }
            catch (error) { return [error.name, error.message, error.cause.name]; }"""
        text = 'field 1 at byte 0: the deserializer "x" failed: RangeError: no'
        self.assertEqual(self.page.run(code), ["MalformedMessage", text, "RangeError"])

    def test_wrong_options_are_named(self) -> None:
        for options, text in [
            ("{ serializers: { s: () => null } }", 'RangeError: serializers: "s" cannot be a tag'),
            ("{ deserializers: { 'a:b': () => null } }", 'RangeError: deserializers: "a:b" cannot be a tag'),
            ("{ serializers: { x: 5 } }", 'TypeError: serializers["x"] must be a function, not 5'),
            ("{ serializers: [] }", "TypeError: serializers must be an object of functions, not Array"),
            ("{ sortProps: 1 }", "TypeError: sortProps must be true or false, not 1"),
            ("{ maxDepth: 201 }", "TypeError: maxDepth must be an integer from 1 to 200, not 201"),
        ]:
            with self.subTest(options), self.assertRaises(JavaScriptError) as caught:
                self.page.evaluate(f"new Codec({options})")
            self.assertIn(text, str(caught.exception))

    def test_keys_stay_in_their_order_without_sorting(self) -> None:
        data = self.page.evaluate("new TextDecoder().decode(new Codec({ sortProps: false }).encode([{ b: 1, a: 2 }]))")
        self.assertEqual(data, '21j\0{"b":"n:1","a":"n:2"}\0')


del CodecTestCase  # which has no test of its own

if __name__ == "__main__":
    unittest.main()
