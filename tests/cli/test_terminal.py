"""``connect`` at a terminal: what a person types and sees."""

import signal
import stat
import sys
import tempfile
import unittest
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ezez_ws import EZEZWebsocketServer
from tests.cli.running import PROGRAM, Terminal, environment
from tests.rawpeer import RawServer
from tests.serving import Calls, ServingTestCase

MOSTLY_WAITS = True
SAME_ON_EVERY_PYTHON = True

TAB, UP, CTRL_C, CTRL_D, EMPTY_LINE = "\t", "\x1b[A", "\x03", "\x04", "\x15"

WITHOUT_EXTRA = """\
import sys
sys.modules["prompt_toolkit"] = None
from ezez_ws.cli import main
sys.exit(main())
"""


class TerminalTestCase(ServingTestCase):
    def setUp(self) -> None:
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.state = Path(folder.name)

    def environment(self, **more: str) -> Mapping[str, str]:
        return environment(XDG_STATE_HOME=str(self.state), **more)

    def serve_echo(self, **options: Any) -> EZEZWebsocketServer:
        server = self.serve(on_auth_request=lambda client, key: True, **options)
        server.on("echo", lambda client, args, reply, ids: reply("echoed", args))
        return server

    def connect(self, server: EZEZWebsocketServer, *args: str, **more: str) -> Terminal:
        return Terminal(*PROGRAM, "connect", str(server.url), *args, env=self.environment(**more))


class SessionTest(TerminalTestCase):
    def test_what_is_typed_goes_out_and_the_answer_comes(self) -> None:
        server = self.serve_echo()
        with self.connect(server) as terminal:
            terminal.wait_for(f"-- connected to {server.url}", ">")
            terminal.type('echo 1 "two words"\r')
            terminal.wait_for(
                '> echo 1 "two words"',
                '-> 1 echo 1 "two words"',
                '<- 1 echoed 1 "two words"  (answers 1)',
                ">",
            )

    def test_what_arrives_stands_above_the_line_that_is_typed(self) -> None:
        server = self.serve_echo()
        with self.connect(server) as terminal:
            terminal.wait_for(">")
            terminal.type("echo ha")
            terminal.wait_for("> echo ha")
            server.broadcast("news", ["while you type"])
            terminal.wait_for('<- 1 news "while you type"', "> echo ha")
            terminal.type("lf\r")
            terminal.wait_for('<- 2 echoed "half"  (answers 1)', ">")

    def test_a_message_is_replied_to_by_its_id(self) -> None:
        answers = Calls()
        server = self.serve_echo(on_auth_ok=lambda client: client.send("sure?", on_reply=answers.named("reply", 1, 2)))
        with self.connect(server) as terminal:
            terminal.wait_for("<- 1 sure?", ">")
            terminal.type("/reply 1 yes\r")
            self.assertEqual([("reply", "yes", [])], answers.wait())

    def test_a_line_that_means_nothing_is_said_so_and_can_be_typed_again(self) -> None:
        with self.connect(self.serve_echo()) as terminal:
            terminal.wait_for(">")
            terminal.type("/reply 9 yes\r")
            terminal.wait_for("> /reply 9 yes", "-- no message with the id 9 has come", ">")
            terminal.type('echo "\\ud800"\r')
            terminal.wait_for("-- args[0]: a str with a lone surrogate cannot be sent", ">")
            terminal.type("echo 1\r")
            terminal.wait_for("<- 1 echoed 1  (answers 1)", ">")

    def test_a_peer_cannot_write_to_the_terminal_what_it_obeys(self) -> None:
        server = self.serve_echo()
        with self.connect(server) as terminal:
            terminal.wait_for(">")
            server.broadcast("\x1b[2Jnews", ["\x1b]0;title\x07"])
            terminal.wait_for('<- 1 "\\u001b[2Jnews" "\\u001b]0;title\\u0007"', ">")

    def test_a_lost_connection_is_told_and_made_again(self) -> None:
        server = self.serve_echo()
        with self.connect(server, "--reconnect") as terminal:
            terminal.wait_for(">")
            terminal.type("echo ha")
            terminal.wait_for("> echo ha")
            server.clients[0].disconnect(4000)
            terminal.wait_for(
                "-- connection closed (4000), connecting again", f"-- connected to {server.url}", "> echo ha"
            )


class WaitingTest(TerminalTestCase):
    def test_who_waits_for_a_connection_is_told(self) -> None:
        silent = RawServer()
        self.addCleanup(silent.close)
        for args in (["call", "e"], ["send", "e"], ["listen"], ["connect"]):
            command = [args[0], silent.url, *args[1:]]
            with (
                self.subTest(args[0]),
                Terminal(*PROGRAM, *command, env=self.environment()) as terminal,
                silent.accept_socket(),
            ):
                terminal.wait_for(f"connecting to {silent.url} ...")
                terminal.type(CTRL_C)
                self.assertEqual(130, terminal.wait())


class EndTest(TerminalTestCase):
    def test_ctrl_d_and_quit_end_it_with_0(self) -> None:
        calls = Calls()
        server = self.serve_echo(on_disconnect=calls.named("gone", 1))
        for keys in (CTRL_D, "/quit\r"):
            with self.subTest(keys), self.connect(server) as terminal:
                terminal.wait_for(">")
                terminal.type(keys)
                self.assertEqual(0, terminal.wait())
        self.assertEqual([("gone", 1000), ("gone", 1000)], calls.wait(2))

    def test_ctrl_c_ends_it_with_130(self) -> None:
        with self.connect(self.serve_echo()) as terminal:
            terminal.wait_for(">")
            terminal.type(CTRL_C)
            self.assertEqual(130, terminal.wait())
            self.assertNotIn("Traceback", "\n".join(terminal.lines()))

    def test_sigterm_ends_it_with_143_and_leaves_the_terminal_as_it_was(self) -> None:
        calls = Calls()
        with self.connect(self.serve_echo(on_disconnect=calls.named("gone", 1))) as terminal:
            terminal.wait_for(">")
            self.assertFalse(terminal.echoes())
            terminal.type("half a li")
            terminal.wait_for("> half a li")
            terminal.signal(signal.SIGTERM)
            self.assertEqual(143, terminal.wait())
            self.assertNotIn("Traceback", "\n".join(terminal.lines()))
            self.assertTrue(terminal.echoes())
            self.assertEqual([("gone", 1000)], calls.wait())

    def test_a_terminal_that_is_closed_ends_it_with_129(self) -> None:
        calls = Calls()
        with self.connect(self.serve_echo(on_disconnect=calls.named("gone", 1))) as terminal:
            terminal.wait_for(">")
            terminal.hang_up()
            self.assertEqual(129, terminal.wait())
            self.assertEqual([("gone", 1000)], calls.wait())

    def test_ctrl_c_ends_a_listening_command_with_130(self) -> None:
        server = self.serve_echo()
        with Terminal(*PROGRAM, "listen", str(server.url), env=self.environment()) as terminal:
            terminal.wait_for(f"connected to {server.url}")
            terminal.type(CTRL_C)
            self.assertEqual(130, terminal.wait())
            self.assertEqual([f"connected to {server.url}", "^C"], terminal.lines()[-2:])

    def test_the_end_of_the_connection_ends_it_with_1_while_a_line_is_typed(self) -> None:
        server = self.serve_echo()
        with self.connect(server) as terminal:
            terminal.wait_for(">")
            terminal.type("half a li")
            terminal.wait_for("> half a li")
            server.close()
            self.assertEqual(1, terminal.wait())
            terminal.wait_for("> half a li", "ezez-ws: connection closed (1001, server shutdown)")


class EditingTest(TerminalTestCase):
    def test_tab_completes_events_that_were_seen_and_ids_to_reply_to(self) -> None:
        server = self.serve_echo()
        with self.connect(server) as terminal:
            terminal.wait_for(">")
            server.broadcast("weather report", [1])
            terminal.wait_for('<- 1 "weather report" 1', ">")
            terminal.type('"we' + TAB)
            terminal.wait_for('> "weather report"')
            terminal.type(EMPTY_LINE + "/re" + TAB)
            terminal.wait_for("> /reply")
            terminal.type(" " + TAB)
            terminal.wait_for("> /reply 1")
            terminal.type(' "w' + TAB)
            terminal.wait_for('> /reply 1 "weather report"')

    def test_what_was_typed_is_there_again_in_the_next_session_for_this_user_only(self) -> None:
        server = self.serve_echo()
        with self.connect(server) as terminal:
            terminal.wait_for(">")
            terminal.type("echo 12345\r")
            terminal.wait_for("<- 1 echoed 12345  (answers 1)", ">")
            terminal.type(CTRL_D)
            self.assertEqual(0, terminal.wait())
        with self.connect(server) as terminal:
            terminal.wait_for(">")
            terminal.type(UP)
            terminal.wait_for("> echo 12345")
        history = self.state / "ezez-ws" / "history"
        self.assertEqual(0o600, stat.S_IMODE(history.stat().st_mode))

    def test_a_history_that_cannot_be_kept_hinders_nobody(self) -> None:
        (self.state / "ezez-ws").write_text("no folder")
        with self.connect(self.serve_echo()) as terminal:
            terminal.wait_for(">")
            terminal.type("echo 1\r")
            terminal.wait_for("<- 1 echoed 1  (answers 1)", ">")
            terminal.type(UP)
            terminal.wait_for("> echo 1")


class ColourTest(TerminalTestCase):
    def colours(self, **more: str) -> bool:
        """Whether a session sets a colour, or an intensity, anywhere."""
        with self.connect(self.serve_echo(), **more) as terminal:
            terminal.wait_for(">")
            terminal.type("echo 1\r")
            terminal.wait_for("<- 1 echoed 1  (answers 1)", ">")
            return any(code in terminal.raw for code in (b"\x1b[2m", b"\x1b[32m", b"\x1b[33m"))

    def test_there_are_colours_unless_the_user_does_not_want_any(self) -> None:
        self.assertTrue(self.colours())
        self.assertTrue(self.colours(NO_COLOR=""))
        self.assertFalse(self.colours(NO_COLOR="1"))


class WithoutExtraTest(TerminalTestCase):
    def test_it_says_in_one_line_how_to_install_what_is_missing(self) -> None:
        server = self.serve_echo()
        command = (sys.executable, "-c", WITHOUT_EXTRA, "connect", str(server.url))
        with Terminal(*command, env=self.environment()) as terminal:
            self.assertEqual(2, terminal.wait())
            self.assertEqual(
                ["ezez-ws: connect in a terminal needs prompt_toolkit: pip install 'ezez-ws[cli]'"], terminal.lines()
            )


if __name__ == "__main__":
    unittest.main()
