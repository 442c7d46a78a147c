"""The codec against the reference serializer, ``@ezez/utils`` in a Node process."""

import json
import os
import pathlib
import shutil
import subprocess
import unittest
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ezez_ws.messages.codec import UNDEFINED, BigInt, Codec
from tests.neutral import build, same
from tests.support import NODE_MODULES

MAY_RUN_BESIDE = True
ABOUT_THE_EXTENSION = True

HERE = pathlib.Path(__file__).parent
NODE = shutil.which("node")
INSTALLED = (NODE_MODULES / "@ezez" / "utils").is_dir()

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
# JavaScript puts integer-like keys first, whatever their order, and gives `__proto__` a meaning of its own.
keys = texts.filter(lambda key: key != "__proto__" and not (key.isascii() and key.isdigit()))
numbers = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats()
scalars = texts | numbers | st.integers(-(10**40), 10**40).map(BigInt) | st.booleans() | st.none() | st.just(UNDEFINED)
nested = st.recursive(scalars, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(keys, inner, max_size=5))
messages = st.lists(nested | st.binary(max_size=20), min_size=1, max_size=5)


def describe(value: Any) -> list[Any]:
    if value is None:
        return ["null"]
    if value is UNDEFINED:
        return ["undef"]
    if isinstance(value, bool):
        return ["bool", value]
    if isinstance(value, BigInt):
        return ["big", str(value)]
    if isinstance(value, (int, float)):
        return ["num", {"inf": "Infinity", "-inf": "-Infinity"}.get(repr(value), repr(value))]
    if isinstance(value, str):
        return ["str", value]
    if isinstance(value, bytes):
        return ["bytes", value.hex()]
    if isinstance(value, list):
        return ["list", [describe(item) for item in value]]
    return ["dict", [[key, describe(item)] for key, item in value.items()]]


class Differential(unittest.TestCase):
    """Bytes and values are the same at both ends."""

    peer: "subprocess.Popen[str]"

    @classmethod
    def setUpClass(cls) -> None:
        if NODE is None or not INSTALLED:
            reason = "the differential test needs node and @ezez/utils (run `make node`)"
            if os.environ.get("EZEZ_REQUIRE_NODE") == "1":
                raise AssertionError(reason)
            raise unittest.SkipTest(reason)
        peer = subprocess.Popen(
            [NODE, str(HERE / "codec_peer.mjs")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
        )
        cls.peer = peer
        cls.addClassCleanup(cls.stop)

    @classmethod
    def stop(cls) -> None:
        cls.peer.communicate(timeout=10)

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self.peer.stdin is not None
        assert self.peer.stdout is not None
        self.peer.stdin.write(json.dumps(request) + "\n")
        self.peer.stdin.flush()
        answer: dict[str, Any] = json.loads(self.peer.stdout.readline())
        self.assertNotIn("error", answer)
        return answer

    @settings(max_examples=800, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(messages)
    def test_the_same_values_are_the_same_bytes_in_both_languages(self, values: list[Any]) -> None:
        self.assertEqual(Codec().encode(values).hex(), self.ask({"encode": [describe(v) for v in values]})["hex"])

    @settings(max_examples=800, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(messages)
    def test_what_node_reads_of_ours_it_writes_again_as_it_was(self, values: list[Any]) -> None:
        data = Codec().encode(values)
        answer = self.ask({"decode": data.hex()})
        self.assertEqual(answer["again"], data.hex())
        decoded = Codec().decode(data)
        self.assertTrue(same([build(value) for value in answer["values"]], decoded), (answer["values"], decoded))

    @settings(max_examples=800, deadline=None)
    @given(st.lists(st.floats(), min_size=1, max_size=20))
    def test_every_float_is_printed_as_javascript_prints_it(self, values: list[float]) -> None:
        self.assertEqual(Codec().encode(values).hex(), self.ask({"encode": [describe(v) for v in values]})["hex"])

    @settings(max_examples=500, deadline=None)
    @given(messages)
    def test_what_node_writes_the_codec_reads_and_writes_again_as_it_was(self, values: list[Any]) -> None:
        data = bytes.fromhex(self.ask({"encode": [describe(v) for v in values]})["hex"])
        self.assertEqual(Codec().encode(Codec().decode(data)), data)


if __name__ == "__main__":
    unittest.main()
