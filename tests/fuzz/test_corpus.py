"""The fuzz targets over their corpus, and over mutations of it; the fuzzing itself is ``python -m tests.fuzz``."""

import importlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from ezez_ws import Codec
from ezez_ws.opening.server_handshake import ServerHandshake
from ezez_ws.websocket.frames import FrameDecoder
from tests.fuzz import __main__ as command
from tests.fuzz import codec, frames, mutation, seeds, speedups, upgrade
from tests.fuzz.cutting import cut_up
from tests.support import REPO, EZEZTestCase

ABOUT_THE_EXTENSION = True

MODULES = {"frames": frames, "codec": codec, "speedups": speedups, "upgrade": upgrade}


class CorpusTest(EZEZTestCase):
    def inputs(self) -> Iterator[tuple[str, Callable[[bytes], None], Path]]:
        for target in command.TARGETS:
            paths = sorted((seeds.CORPUS / target).iterdir())
            self.assertGreater(len(paths), 30, target)
            for path in paths:
                yield target, MODULES[target].one_input, path

    def test_every_input_of_the_corpus_passes(self) -> None:
        for target, one_input, path in self.inputs():
            with self.subTest(target=target, input=path.name):
                one_input(path.read_bytes())

    def test_the_corpus_is_what_its_maker_makes_and_what_was_found(self) -> None:
        for target, inputs in seeds.corpus().items():
            names = {path.name for path in (seeds.CORPUS / target).iterdir()}
            self.assertEqual({name for name in names if not name.startswith("found-")}, set(inputs), target)

    def test_a_few_hundred_mutations_pass(self) -> None:
        for target in command.TARGETS:
            inputs = [path.read_bytes() for path in sorted((seeds.CORPUS / target).iterdir())]
            mutator = mutation.Mutator(inputs, seed=1)
            for _ in range(300):
                data = mutator.next()
                with self.subTest(target=target, data=data):
                    MODULES[target].one_input(data)

    def test_empty_and_one_byte_inputs_pass(self) -> None:
        for target in command.TARGETS:
            for data in (b"", *(bytes([byte]) for byte in range(256))):
                MODULES[target].one_input(data)


class OracleTest(EZEZTestCase):
    """The targets notice what they are there to notice."""

    def test_a_decoder_that_depends_on_the_cuts(self) -> None:
        feed = FrameDecoder.feed
        first_only = mock.patch.object(FrameDecoder, "feed", lambda self, data: feed(self, data)[:1])
        with first_only, self.assertRaisesRegex(AssertionError, "other messages"):
            frames.one_input(b"\x10\x00\x81\x01a\x81\x01b")

    def test_a_codec_that_raises_something_else(self) -> None:
        with (
            mock.patch("ezez_ws.messages.decoding.weigh", side_effect=ZeroDivisionError),
            self.assertRaises(ZeroDivisionError),
        ):
            codec.one_input(b"\x00" + b"2j\0[]\0")

    def test_an_extension_that_decodes_otherwise(self) -> None:
        other = SimpleNamespace(
            decode=lambda data, max_depth, max_bigint_digits, unmetered: ["x"],
            peek_reply_to=lambda data: NotImplemented,
        )
        with mock.patch("ezez_ws.messages.codec.compiled", other), self.assertRaisesRegex(AssertionError, "otherwise"):
            codec.one_input(b"\x00" + b"2j\0[]\0")

    def test_an_extension_that_does_otherwise_or_refuses_nothing(self) -> None:
        declining = {
            name: lambda *args: NotImplemented
            for name in ("peek_reply_to", "scan_json", "decode", "decode_event", "encode", "encode_event")
        }
        declining["encode_at_once"] = declining["encode"]
        with mock.patch("tests.fuzz.speedups.compiled", SimpleNamespace(**declining)):
            for path in sorted((seeds.CORPUS / "speedups").iterdir()):
                if not path.name.startswith("frames-"):
                    speedups.one_input(path.read_bytes())  # it may decline all of it
        event, no_message = b"\0" + Codec().encode(["a", 1, 2]), b"\x003\0abc\0"
        for name, wrong in (("peek_reply_to", 3), ("scan_json", 1.0), ("decode", ["a", True, 2]), ("encode", b"")):
            other = SimpleNamespace(**{**declining, name: lambda *args, wrong=wrong: wrong})
            with mock.patch("tests.fuzz.speedups.compiled", other):
                with self.subTest(name), self.assertRaisesRegex(AssertionError, f"{name}: C gives .*, Python "):
                    speedups.one_input(event)
                if name == "decode":
                    with self.assertRaisesRegex(AssertionError, "Python refuses"):
                        speedups.one_input(no_message)

    def test_a_server_that_lets_anybody_in(self) -> None:
        data = (seeds.CORPUS / "upgrade" / "request-other-origin").read_bytes()
        begin = ServerHandshake.__init__

        def begin_leniently(handshake: ServerHandshake, *args: Any, **options: Any) -> None:
            begin(handshake, *args, **options)
            handshake._allowed_origins = None

        with mock.patch.object(ServerHandshake, "__init__", begin_leniently), self.assertRaises(AssertionError):
            upgrade.one_input(data)


class MutationTest(EZEZTestCase):
    def test_the_same_seed_makes_the_same_inputs(self) -> None:
        one, same, other = (mutation.Mutator([b"abc", b"0123"], seed) for seed in (1, 1, 2))
        inputs = [one.next() for _ in range(50)]
        self.assertEqual([same.next() for _ in range(50)], inputs)
        self.assertNotEqual([other.next() for _ in range(50)], inputs)

    def test_an_input_that_fails_ends_the_run_and_is_kept(self) -> None:
        def one_input(data: bytes) -> None:
            if data == b"bad":
                raise ZeroDivisionError

        result = mutation.run(one_input, [b"good", b"bad", b"more"], seconds=1, seed=1)
        self.assertEqual((result.count, result.culprit), (2, b"bad"))
        self.assertIsInstance(result.error, ZeroDivisionError)

    def test_pieces_are_the_whole_and_never_empty(self) -> None:
        data = bytes(range(200))
        for seed in range(256):
            pieces = cut_up(data, seed)
            self.assertEqual(b"".join(pieces), data)
            self.assertNotIn(b"", pieces)


class CommandTest(EZEZTestCase):
    def run_command(self, *args: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "tests.fuzz", *args], cwd=REPO, capture_output=True, text=True, timeout=50
        )

    def test_a_short_run_says_how_it_went(self) -> None:
        done = self.run_command("codec", "--seconds", "0.2", "--engine", "mutation")
        self.assertRegex(done.stdout, r"(?m)^codec: ok, mutation, [0-9]+ inputs, [0-9]+/s, ")
        self.assertEqual((done.stdout.splitlines()[-1], done.returncode), ("1 passed, 0 failed", 0))

    def test_a_crash_is_saved_printed_and_counted(self) -> None:
        def one_input(data: bytes) -> None:
            raise ZeroDivisionError

        if hasattr(signal, "SIGALRM"):
            self.addCleanup(signal.signal, signal.SIGALRM, signal.getsignal(signal.SIGALRM))
        silent = mock.patch("builtins.print"), mock.patch("traceback.print_exception")
        with tempfile.TemporaryDirectory() as folder, silent[0], silent[1]:
            with mock.patch.object(command, "CRASHES", Path(folder)), mock.patch.object(codec, "one_input", one_input):
                self.assertEqual(command._run_mutation("codec", 1, 1), 77)
            saved = list(Path(folder).iterdir())
            self.assertEqual(len(saved), 1)
            self.assertRegex(saved[0].name, "^codec-crash-[0-9a-f]{40}$")

    def test_a_wrong_target_is_refused(self) -> None:
        done = self.run_command("nothing")
        self.assertEqual(done.returncode, 2)
        self.assertIn("frames, codec, speedups, upgrade", done.stderr)

    def test_every_target_has_a_module(self) -> None:
        for target in command.TARGETS:
            self.assertTrue(callable(importlib.import_module(f"tests.fuzz.{target}").one_input))
