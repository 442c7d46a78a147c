"""Publications to bytes and back, and everything that is none."""

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
)
from ezez_ws.errors import MalformedMessage, SerializationError

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
        for data in (b"", PLAIN.encode(["text"]), PLAIN.encode([b"x", 1])):
            with self.subTest(data), self.assertRaises(MalformedMessage):
                decode_batch(data)

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
