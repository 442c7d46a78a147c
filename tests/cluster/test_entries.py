"""Publications to bytes and back, and everything that is none."""

import gc
import unittest
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ezez_ws.cluster.entries import (
    PLAIN,
    Beat,
    Bye,
    Command,
    Entry,
    In,
    Listing,
    Out,
    Said,
    Target,
    Unknown,
    What,
    check_room,
    decode_batch,
    decode_entry,
    encode_batch,
    encode_entry,
    read_batch,
)
from ezez_ws.errors import MalformedMessage, SerializationError
from ezez_ws.messages.speedups import compiled

MAY_RUN_BESIDE = True

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
ROOMS = TEXT.filter(lambda room: room != "*")
TARGETS = st.builds(Target, *[st.lists(TEXT, max_size=3).map(tuple)] * 3)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
INS = st.builds(In, ROOMS, TEXT, JSON | st.binary(max_size=5))
WHATS = st.one_of(
    st.builds(Said, TARGETS, TEXT.map(lambda text: "e" + text), st.binary(max_size=20)),
    st.builds(Command, TARGETS, st.just("disconnect"), st.tuples(st.integers(3000, 4999), TEXT)),
    st.builds(Command, TARGETS, st.sampled_from(["join", "leave"]), st.lists(ROOMS, max_size=3).map(tuple)),
    st.builds(Beat, st.booleans()),
    st.just(Bye()),
    INS,
    st.builds(Out, ROOMS, TEXT),
    st.builds(Listing, st.lists(INS, max_size=4).map(tuple)),
    TEXT.map(lambda text: Unknown("later" + text)),
)
HEAD = [1, "p", 1]
TO_ALL = [["*"], [], []]
PAYLOADS = {
    "j": ['"n:1"', '"n:7"', '"n:0"', '"n:-1"', '"b:1"', '"n:07"', '[["s:a"],[],[]]', '[["s:a"],[] ,[]] ', "[[],[],[]]"],
    "J": ['[["n:1e1"],[],[]]', "[[],[]]", "[[],[],[],[]]", '["s:a",[],[]]', "[[[]],[],[]]", "{}", "1"],
    "f": ["p", "p q", "", "event", "bye", "hi", "é", "ezez-ws::", "ezez-ws:incoming:x", "1"],
    "t": ["", "a\0b", "event"],
}
FIELDS = st.lists(
    st.sampled_from(
        [
            b"%d%b\0%b\0" % (len(text.encode()), mark.lower().encode(), text.encode())
            for mark, texts in PAYLOADS.items()
            for text in texts
        ]
        + [b"1f\0\xff\0", b"1t\0a", b"\0"]
    ),
    max_size=9,
).map(b"".join)
PLAIN_EVENT = b'5j\0"n:1"\x001f\0p\x005j\0"n:7"\x005f\0event\x0015j\0[["s:a"],[],[]]\x002f\0hi\x003t\0a\0b\0'
BAD_TARGETS: list[Any] = [None, 1, "abc", [], [[], []], [["a"], [], [1]], {}]


class EntriesTest(unittest.TestCase):
    @given(st.text("09azAZ_.:-", min_size=1, max_size=64), st.integers(1, 2**53 - 1), WHATS, st.booleans())
    def test_a_publication_comes_back_as_it_was(self, producer: str, seq: int, what: What, again: bool) -> None:
        again = again and isinstance(what, (Said, Command))
        entry = Entry(producer, seq, what, again=again)
        decoded = decode_entry(encode_entry(entry))
        assert decoded is not None
        self.assertEqual((decoded, type(decoded.what)), (entry, type(what)))

    def test_the_bytes_are_those_that_other_versions_read(self) -> None:
        said = Said(Target(("a",), ("b",), ("c",)), "hi", b"")
        whats: list[tuple[What, list[Any]]] = [
            (said, ["event", [["a"], ["b"], ["c"]], "hi", b""]),
            (Command(said.target, "join", ("r",)), ["do", [["a"], ["b"], ["c"]], "join", ["r"]]),
            (Beat(), ["beat"]),
            (Beat(True), ["beat", 1]),
            (Bye(), ["bye"]),
            (In("r", "x", {"n": 1}), ["in", "r", "x", {"n": 1}]),
            (Out("r", "x"), ["out", "r", "x"]),
            (Listing((In("r", "x", 1), In("s", "y", b"2"))), ["list", "r", "x", 1, "s", "y", b"2"]),
        ]
        for what, fields in whats:
            self.assertEqual(PLAIN.decode(encode_entry(Entry("p", 1, what))), [*HEAD, *fields])

    def test_one_that_is_appended_again_says_so_behind_its_fields(self) -> None:
        said = Said(Target(("a",)), "hi", b"")
        data = encode_entry(Entry("p", 1, said, again=True))
        self.assertEqual(PLAIN.decode(data), [*HEAD, "event", [["a"], [], []], "hi", b"", 1])

    def test_fields_that_a_later_version_adds_are_skipped(self) -> None:
        for fields in (
            ["event", [["*"], [], [], "more"], "hi", b"", "more"],
            ["do", TO_ALL, "disconnect", [1000, "", "more"], "more"],
            ["beat", 0, "more"],
            ["bye", "more"],
            ["in", "r", "x", 1, "more"],
            ["out", "r", "x", "more"],
        ):
            entry = decode_entry(PLAIN.encode([*HEAD, *fields]))
            assert entry is not None
            self.assertNotIsInstance(entry.what, Unknown)
            self.assertNotIn("more", repr(entry))

    def test_kinds_and_commands_of_a_later_version_are_unknown(self) -> None:
        for fields in (["sing", 1], ["do", TO_ALL, "sing", []]):
            self.assertEqual(decode_entry(PLAIN.encode([*HEAD, *fields])), Entry("p", 1, Unknown(str(fields[0]))))

    def test_another_format_is_told_apart_from_garbage(self) -> None:
        self.assertIsNone(decode_entry(PLAIN.encode([2, {"quite": "different"}])))
        self.assertIsNone(decode_entry(PLAIN.encode([0])))

    def test_what_is_no_publication_is_malformed(self) -> None:
        publications: list[list[Any]] = [
            *(["1"], [None], [1.5], [True, "p", 1, "bye"], [b"1"]),
            *([1], [1, "p"], [1, "p", 1], [1, "p", 1, 1], [1, "", 1, "bye"], [1, "p" * 65, 1, "bye"]),
            *([1, "a b", 1, "bye"], [1, "a\n", 1, "bye"], [1, 1, 1, "bye"], [1, "p", 0, "bye"], [1, "p", -1, "bye"]),
            *([1, "p", "1", "bye"], [1, "p", 2**60, "bye"], [1, "p", 1.5, "bye"], [1, "p", True, "bye"]),
            *([*HEAD, "event", *rest] for rest in ([], [TO_ALL], [TO_ALL, "hi"], [TO_ALL, "hi", "text"])),
            *([*HEAD, "event", to, "hi", b""] for to in BAD_TARGETS),
            *([*HEAD, "event", TO_ALL, event, b""] for event in (1, "ezez-ws::auth-ok")),
            *([*HEAD, "do", TO_ALL, *rest] for rest in ([], ["join"], ["join", "r"], ["join", ["*"]], ["leave", [1]])),
            *([*HEAD, "do", TO_ALL, "disconnect", args] for args in ([], [1000], [1005, ""], [1000, "x" * 200])),
            *([*HEAD, "do", None, "join", ["r"]], [*HEAD, "in"], [*HEAD, "in", "r", "x"], [*HEAD, "in", "*", "x", 1]),
            *([*HEAD, "in", "r", 1, 1], [*HEAD, "in", "r", "x" * 256, 1], [*HEAD, "out", "r"], [*HEAD, "out", 1, "x"]),
            *([*HEAD, "list", *rest] for rest in (["r"], ["r", "x"], [1, "x", 1], ["r" * 256, "x", 1])),
        ]
        for fields in publications:
            with self.subTest(fields), self.assertRaises(MalformedMessage) as caught:
                decode_entry(PLAIN.encode(fields))
            self.assertLessEqual(len(str(caught.exception)), 200)

    @given(st.binary(max_size=60))
    def test_garbage_is_malformed_and_nothing_worse(self, data: bytes) -> None:
        for decode in (decode_entry, decode_batch):
            try:
                decode(data)
            except MalformedMessage:
                pass

    @given(st.lists(st.binary(max_size=20), min_size=1, max_size=5))
    def test_a_batch_comes_back_as_it_was(self, publications: list[bytes]) -> None:
        self.assertEqual(decode_batch(encode_batch(publications)), publications)

    def test_a_batch_holds_bytes_only(self) -> None:
        for data in (b"", PLAIN.encode(["text"]), PLAIN.encode([b"x", 1]), b"1x\0e\0", b"5"):
            for decode in (decode_batch, read_batch):
                with self.subTest(data), self.assertRaises(MalformedMessage):
                    decode(data)

    @given(st.lists(st.builds(Entry, st.sampled_from("pq"), st.integers(1, 9), WHATS), min_size=1, max_size=5))
    def test_what_is_read_at_once_is_the_same(self, entries: list[Entry]) -> None:
        self.check_read([encode_entry(entry) for entry in entries])

    @given(FIELDS, st.integers(0, 100), st.binary(max_size=2), st.integers(0, 2))
    def test_what_is_read_at_once_of_any_fields_is_the_same(self, data: bytes, at: int, more: bytes, cut: int) -> None:
        damaged = PLAIN_EVENT[:at] + more + PLAIN_EVENT[at + cut :]
        self.check_read([PLAIN_EVENT, data, PLAIN_EVENT + data, damaged, PLAIN_EVENT[: -at or None], PLAIN_EVENT])

    def check_read(self, publications: list[bytes]) -> None:
        read = read_batch(encode_batch(publications))
        self.assertEqual(len(publications), len(read))
        for data, found in zip(publications, read, strict=True):
            if isinstance(found, bytes):
                self.assertEqual(data, found)
            else:
                expected = decode_entry(data)
                assert expected is not None
                self.assertEqual((repr(expected), type(expected.what)), (repr(found), type(found.what)))

    @unittest.skipIf(compiled is None, "the C extension is not there")
    def test_a_usual_event_is_read_at_once(self) -> None:
        usual = [
            Entry("p", 1, Said(Target(("a",)), "hi", b"x")),
            Entry("p", 2, Said(Target(("a",)), "hi", b"")),
            Entry("q" * 64, 10**15 - 1, Said(Target(("b", 'é"'), ("c",), ("q:1",)), "", b"\0"), again=True),
            Entry("p", 3, Said(Target(("*",)), "hi", b"x" * 16_000)),
        ]
        found = read_batch(encode_batch([encode_entry(entry) for entry in usual]))
        self.assertEqual(usual, found)
        for entry in found:
            assert isinstance(entry, Entry) and isinstance(entry.what, Said)
            for made in (entry, entry.what, entry.what.target):
                self.assertFalse(gc.is_tracked(made), "a node keeps many of them")
        others = [
            Entry("p", 1, Bye()),
            Entry("p", 10**15, usual[0].what),
            Entry("p", 1, Said(Target(("a",)), "é", b"")),
            Entry("p", 1, Said(Target(("a",)), "hi", b"x" * 20_000)),
        ]
        data = [encode_entry(entry) for entry in others]
        self.assertEqual(data, read_batch(encode_batch(data)))

    def test_an_info_that_cannot_travel_is_refused(self) -> None:
        with self.assertRaises(SerializationError):
            encode_entry(Entry("p", 1, In("r", "x", object())))

    def test_a_room_has_1_to_255_bytes_and_is_not_everyone(self) -> None:
        self.assertEqual(check_room("é" * 127), "é" * 127)
        for room in ("", "é" * 128, "*", "\ud800"):
            with self.subTest(room), self.assertRaises(ValueError):
                check_room(room)
        with self.assertRaises(TypeError):
            check_room(1)


if __name__ == "__main__":
    unittest.main()
