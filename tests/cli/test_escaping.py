"""Nothing that a peer says reaches a terminal, or a pipe, as what a terminal obeys or as a line of its own."""

import contextlib
import io
import json
import logging
import tempfile
import unittest
from collections.abc import Callable
from unittest import mock

from ezez_ws import AuthRejected
from ezez_ws.cli.main import parse
from ezez_ws.cli.outcome import words_of
from ezez_ws.cli.output import log_to_stderr, notice, write_line
from ezez_ws.messages.protocol import AUTH_REJECTED
from ezez_ws.websocket.frames import BINARY, TEXT
from tests.cli.running import PROGRAM, Done, Program, Terminal, environment, invoke, run
from tests.rawpeer import RawPeer, RawServer
from tests.serving import ServingTestCase
from tests.support import EZEZTestCase

MOSTLY_WAITS = True

EVIL = "\x1b]0;pwned\x07\x1b[31m\r\nFAKE\u2028\u202e\x9b\x85\x00"
OBEYED = ("\x1b]0", "\x1b[31mF", "\x07", "\nFAKE", "\u2028", "\u202e", "\x9b", "\x85", "\x00")
"""What of it may be in no output; colours of our own and line ends are in that of a terminal."""

Script = Callable[[RawPeer], object]


def say_all(peer: RawPeer) -> None:
    """Everything that may come in a message, as an answer to the event with the id 1."""
    peer.send_event(EVIL, [EVIL, {EVIL: [EVIL]}], reply_to=1)
    peer.send_frame(TEXT, EVIL.encode())
    peer.send_frame(BINARY, b"junk" + EVIL.encode())


def close(peer: RawPeer) -> None:
    peer.send_close(4000, EVIL)


def asked(script: Script) -> Script:
    """The same, but after an event has come."""
    return lambda peer: (peer.read_event(), script(peer))


class HostileTestCase(ServingTestCase):
    def hostile(self, script: Script) -> str:
        """Return the URL of a server that lets each client in, runs the script, and closes; to the end of the test."""

        def welcome(peer: RawPeer) -> None:
            peer.accept_auth()
            script(peer)

        return self.hostile_from_the_start(welcome)

    def hostile_from_the_start(self, script: Script) -> str:
        server = RawServer()

        def serve() -> None:
            with contextlib.suppress(OSError):  # when the test closes it
                while True:
                    with server.accept() as peer:
                        script(peer)
                        peer.read_end()

        self._serve(server, serve)
        return server.url

    def refusing(self, answer: str) -> str:
        server = RawServer()

        def serve() -> None:
            with contextlib.suppress(OSError):  # when the test closes it
                while True:
                    server.refuse(answer.encode("latin-1"))

        self._serve(server, serve)
        return server.url

    def _serve(self, server: RawServer, serve: Callable[[], None]) -> None:
        server.sock.settimeout(None)
        serving = self.in_thread(serve)

        def stop() -> None:
            server.sock.shutdown(2)
            server.close()
            serving.get()

        self.addCleanup(stop)

    def check(self, output: str, *expected: str) -> None:
        for text in OBEYED:
            self.assertNotIn(text, output)
        for text in ("pwned", *expected):
            self.assertIn(text, output)


class PipeTest(HostileTestCase):
    """Each command as a process, and those that are told nonsense in many ways also in this one, which is quicker."""

    def check_command(self, run: Callable[..., Done], url: str, *args: str) -> None:
        done = run(args[0], url, *args[1:], input="/quit\n" if args[0] == "connect" else "")
        self.check(done.out + done.err)
        self.assertEqual("", "".join(char for char in done.out + done.err if not char.isprintable() and char != "\n"))

    def test_what_is_in_messages_is_json_that_says_the_same(self) -> None:
        done = run("call", self.hostile(asked(say_all)), "ask")
        self.check(done.out)
        answer = json.loads(done.out)
        self.assertEqual((EVIL, [EVIL, {EVIL: [EVIL]}]), (answer["event"], answer["args"]))
        url = self.hostile(say_all)
        done = run("listen", url, "--count", "3")
        self.check(done.out)
        self.assertEqual([EVIL], json.loads(done.out.splitlines()[1])["args"])
        with Program("connect", url) as program:
            self.check("\n".join(program.read_line() for _ in range(4)))

    def test_reasons_of_a_close(self) -> None:
        url = self.hostile(close)
        url_to_ask = self.hostile(asked(close))
        for args in (["call", "ask"], ["send", "ask"], ["listen"], ["listen", "-v"]):
            with self.subTest(args):
                self.check_command(run, url_to_ask if "ask" in args else url, *args)
        for command in ("listen", "connect"):
            with self.subTest(command, reconnect=True), Program(command, url, "--reconnect") as program:
                self.check("\n".join(program.read_line() for _ in range(2)), "connecting again")

    def test_reasons_of_a_rejection(self) -> None:
        url = self.hostile_from_the_start(lambda peer: peer.send_values(AUTH_REJECTED, EVIL * 100))
        for args in (["call", "ask"], ["send", "ask"], ["listen"], ["connect"], ["listen", "-v"]):
            with self.subTest(args):
                self.check_command(run if args[0] == "connect" else invoke, url, *args)
        self.assertLess(len(run("listen", url).err), 1000)

    def test_answers_that_are_no_handshake(self) -> None:
        evil = EVIL.replace("\r\n", "").replace("\u2028\u202e", "").replace("\x00", "")
        for status in ("302 {}", "401 {}", "101 Switching"):
            url = self.refusing(
                f"HTTP/1.1 {status.format(evil)}\r\nLocation: http://{evil}/\r\nUpgrade: {evil}\r\n\r\n"
            )
            for args in (["call", "ask"], ["send", "ask"], ["listen"], ["connect"], ["listen", "-v"]):
                with self.subTest(args, status=status):
                    done = invoke(args[0], url, *args[1:])
                    self.assertIn("ezez-ws: ", done.err)
                    for text in OBEYED:
                        self.assertNotIn(text, done.err)

    def test_what_clients_of_the_relay_say(self) -> None:
        with Program("serve", "--port", "0", "-v") as relay:
            lines = iter(relay.read_line, "")  # one of the log's comes first
            url = next(line for line in lines if line.startswith("listening on ")).split()[2].rstrip(",")
            with RawPeer.connect(url, EVIL, headers=[("Origin", f"http://{url[5:]}")]) as peer:
                peer.send_event(EVIL, [EVIL, {EVIL: EVIL}])
                peer.read_event()
                peer.send_close(4000, EVIL)
                peer.read_end()
            self.assertEqual(0, run("call", url, "echo", EVIL.replace("\x00", "")).code)
            relay.interrupt()
            relay.wait()
            self.check("\n".join(relay.rest()))


class TerminalTest(HostileTestCase):
    def check_terminal(self, *args: str, shown: str) -> None:
        with (
            tempfile.TemporaryDirectory() as state,
            Terminal(*PROGRAM, *args, env=environment(XDG_STATE_HOME=state)) as terminal,
        ):
            terminal.wait_until_shown(shown)
            self.check(terminal.raw.decode().replace("\r\n", "\n"))

    def test_what_is_in_messages(self) -> None:
        url = self.hostile(say_all)
        for command in ("connect", "listen"):
            with self.subTest(command):
                self.check_terminal(command, url, shown="unknown-data-type")
        self.check_terminal("call", self.hostile(asked(say_all)), "ask", shown="FAKE")

    def test_reasons_of_a_close(self) -> None:
        url = self.hostile(close)
        for command in ("connect", "listen"):
            with self.subTest(command):
                self.check_terminal(command, url, shown="FAKE")
                self.check_terminal(command, url, "--reconnect", shown="connecting again")

    def test_completions(self) -> None:
        url = self.hostile(lambda peer: peer.send_event("ready\x1b]0;pwned\x07"))
        with (
            tempfile.TemporaryDirectory() as state,
            Terminal(*PROGRAM, "connect", url, env=environment(XDG_STATE_HOME=state)) as terminal,
        ):
            terminal.wait_until_shown("ready")
            terminal.type('"re\t')
            terminal.wait_until_shown('> "ready')
            self.check(terminal.raw.decode().replace("\r\n", "\n"))


class WritingTest(EZEZTestCase):
    """The ways out, which all texts take."""

    def printed(self, write: Callable[[], object]) -> str:
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
            write()
        text = out.getvalue()
        self.assertTrue(text.endswith("\n"))
        return text[:-1]

    def test_each_is_one_line_without_what_a_terminal_obeys(self) -> None:
        for write in (lambda: write_line(EVIL), lambda: write_line(("", EVIL), EVIL), lambda: notice(EVIL)):
            self.assertTrue(self.printed(write).isprintable())
        self.assertEqual(
            "\x1b[32m\\x1b[0m\x1b[0m rest", self.printed(lambda: write_line(("\x1b[32m", "\x1b[0m"), " rest"))
        )

    def test_notices_and_reasons_are_cut_and_results_are_not(self) -> None:
        self.assertEqual(5000, len(self.printed(lambda: write_line("x" * 5000))))
        self.assertEqual(1000, len(self.printed(lambda: notice("x" * 5000))))
        self.assertLess(len(words_of(AuthRejected("x" * 5000))), 250)

    def test_records_of_the_library_are_lines_and_their_tracebacks_are_marked(self) -> None:
        def log() -> None:
            with log_to_stderr(False, logging.ERROR):
                logger = logging.getLogger("ezez_ws.test")
                logger.warning("not shown")
                try:
                    raise ValueError(EVIL)
                except ValueError:
                    logger.exception("an error: %s", EVIL)

        with mock.patch.object(logging.getLogger("ezez_ws"), "propagate", False):
            first, *rest = self.printed(log).split("\n")
        self.assertRegex(first, r"\A\d\d:\d\d:\d\d\.\d{3} ERROR ezez_ws\.test: an error: .*pwned")
        self.assertTrue(all(line.isprintable() and line.startswith("  | ") for line in rest))
        self.assertIn("not shown", self.printed(lambda: notice("not shown")))

    def test_what_the_user_gives_is_escaped_too(self) -> None:
        for args in (["call", "ws://x", "e", "--" + EVIL], [EVIL], ["serve", "--allow-origin", EVIL], ["decode", EVIL]):
            with self.subTest(args):
                done = invoke(*args)
                self.assertEqual(2, done.code)
                self.assertTrue(all(line.isprintable() for line in done.err.split("\n")))
        self.assertEqual("call", parse(["call", "ws://x", EVIL]).command)


if __name__ == "__main__":
    unittest.main()
