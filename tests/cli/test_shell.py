"""The parts of a session, in this process: what it remembers, how it ends, and how its lines are stopped."""

import contextlib
import io
import os
import queue
import socket
import tempfile
import threading
import unittest
from collections.abc import Iterator
from typing import Any
from unittest import mock

from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from ezez_ws import AuthRejected, ConnectionClosed, ConnectionFailed, EZEZWebSocketClient, EZEZWebsocketServer
from ezez_ws.cli.main import parse
from ezez_ws.cli.memory import Memory
from ezez_ws.cli.outcome import UsageError
from ezez_ws.cli.serve import Relay, make_relay, welcome
from ezez_ws.cli.shell import Shell
from ezez_ws.cli.terminal import EventCompleter, TerminalLines
from ezez_ws.messages.protocol import Ids
from tests.cli.running import TIMEOUT
from tests.serving import KEY, Calls, Result, ServingTestCase
from tests.support import EZEZTestCase, eventually

MOSTLY_WAITS = True


class Script:
    """Lines that the test gives one by one."""

    def __init__(self, strict: bool) -> None:
        self.strict = strict
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def __enter__(self) -> "Script":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __iter__(self) -> Iterator[str]:
        return iter(self._next, None)

    def _next(self) -> str | None:
        return self._lines.get(timeout=TIMEOUT)

    def type(self, line: str) -> None:
        self._lines.put(line)

    def stop(self) -> None:
        self._lines.put(None)


class Recorder:
    """A screen that keeps what is shown."""

    def __init__(self) -> None:
        self.calls = Calls()

    def arrived(self, event: str, args: list[Any], ids: Ids) -> None:
        if event == "full":
            raise OSError("no space left")
        self.calls.add("arrived", event, args)

    def sent(self, event_id: int | None, event: str, args: list[Any]) -> None:
        self.calls.add("sent", event, args)

    def say(self, text: str) -> None:
        self.calls.add("said", text)


class ShellTest(ServingTestCase):
    def start(
        self, server: EZEZWebsocketServer, *options: str, strict: bool = False, memory: Memory | None = None
    ) -> None:
        """Start a session on a thread; it has connected when this returns."""
        self.lines, self.screen, self.memory = Script(strict), Recorder(), memory or Memory()
        shell = Shell(
            parse(["connect", str(server.url), "--auth", KEY, *options]),
            self.memory,
            self.screen,  # type: ignore[arg-type]
            self.lines,
        )
        self.session: Result = self.in_thread(shell.run)
        self.assertEqual(("said", f"connected to {server.url}"), self.screen.calls.wait(1)[0])

    def test_what_is_sent_and_what_arrives_is_shown_and_remembered(self) -> None:
        server = self.serve()
        server.on("echo", lambda client, args, reply, ids: reply("echoed", args))
        self.start(server)
        self.lines.type("echo 1")
        self.lines.type("")
        shown = self.screen.calls.wait(3)[1:]
        self.assertEqual([("arrived", "echoed", [1]), ("sent", "echo", [1])], sorted(shown))
        self.assertEqual((["echo", "echoed"], [1]), (self.memory.names(), self.memory.ids()))
        self.lines.stop()
        self.session.get()

    def test_a_reply_is_never_shown_before_what_it_answers(self) -> None:
        class SlowMemory(Memory):
            """One whose session, having sent, goes on when the reply has come, and had the time to be shown."""

            def note_name(self, event: str) -> None:
                if event == "ask":
                    replied.wait(TIMEOUT)
                    shown.wait(0.2)

            def note_reply(self, event_id: int, reply: Any) -> None:
                replied.set()

        replied, shown = threading.Event(), threading.Event()
        server = self.serve()
        server.on("ask", lambda client, args, reply, ids: reply("answer"))
        self.start(server, memory=SlowMemory())
        self.lines.type("ask")
        self.assertEqual([("sent", "ask", []), ("arrived", "answer", [])], self.screen.calls.wait(3)[1:])
        self.lines.stop()
        self.session.get()

    def test_a_wrong_line_is_told_or_ends_a_strict_session(self) -> None:
        server = self.serve()
        self.start(server)
        self.lines.type("/dance")
        self.assertIn("/dance", self.screen.calls.wait(2)[1][1])
        self.lines.type("/quit")
        self.session.get()
        self.start(server, strict=True)
        self.lines.type("/dance")
        with self.assertRaisesRegex(UsageError, "/dance"):
            self.session.get()

    def test_the_end_of_the_connection_is_the_end_of_the_session(self) -> None:
        server = self.serve()
        self.start(server)
        server.clients[0].disconnect(4000, "enough")
        with self.assertRaises(ConnectionClosed) as caught:
            self.session.get()
        self.assertEqual((4000, "enough"), (caught.exception.code, caught.exception.reason))

    def test_an_output_that_fails_is_the_end_of_the_session(self) -> None:
        server = self.serve()
        self.start(server)
        server.broadcast("full")
        with self.assertRaisesRegex(OSError, "no space left"):
            self.session.get()

    def test_a_new_connection_forgets_the_ids_of_the_last(self) -> None:
        server = self.serve(on_auth_ok=lambda client: client.send("hello"))
        self.start(server, "--reconnect")
        self.screen.calls.wait(2)
        self.lines.type("/reply 1 hi")
        self.screen.calls.wait(3)
        server.on("more", lambda client, args, reply, ids: [client.send("more") for _ in range(3)])
        self.lines.type("more")
        self.screen.calls.wait(7)
        self.assertEqual([4, 3, 2, 1], self.memory.ids())
        server.clients[0].disconnect(4000)
        self.screen.calls.wait(10)
        self.assertEqual([1], self.memory.ids())
        self.lines.type("/quit")
        self.session.get()

    def test_a_key_that_is_refused_later_ends_a_session_that_stays(self) -> None:
        keys = [KEY]
        server = self.serve(on_auth_request=lambda client, key: key in keys)
        self.start(server, "--reconnect")
        keys.clear()
        server.clients[0].disconnect(4000)
        with self.assertRaises(AuthRejected):
            self.session.get()

    def test_what_is_no_message_is_told(self) -> None:
        server = self.serve()
        self.start(server)
        server.clients[0].client.send(b"no message")
        self.assertEqual(
            ("arrived", "ezez-ws:incoming:unknown-data-type", [b"no message"]), self.screen.calls.wait(2)[1]
        )
        self.lines.stop()
        self.session.get()


class MemoryTest(EZEZTestCase):
    def test_of_many_the_oldest_are_forgotten(self) -> None:
        memory = Memory()
        for number in range(1500):
            memory.note_name(f"event {number:04}")
            memory.note_name("often")
            memory.note_reply(number, print)
        self.assertEqual((1000, 1000), (len(memory.names()), len(memory.ids())))
        self.assertIn("often", memory.names())
        self.assertIs(print, memory.reply_to(1499))
        with self.assertRaises(UsageError):
            memory.reply_to(3)


class TerminalLinesTest(EZEZTestCase):
    """The line editor, with keys and a screen of the test's."""

    @contextlib.contextmanager
    def lines(self, keys: str = "") -> Iterator[TerminalLines]:
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            stack.enter_context(mock.patch.dict(os.environ, XDG_STATE_HOME=folder))
            typed = stack.enter_context(create_pipe_input())
            stack.enter_context(create_app_session(input=typed, output=DummyOutput()))
            typed.send_text(keys)
            yield stack.enter_context(TerminalLines(Memory(), colour=False))

    def test_it_gives_what_is_typed_until_the_end_of_the_input(self) -> None:
        with self.lines("one\rtwo\r\x04") as lines:
            self.assertEqual(["one", "two"], list(lines))

    def test_ctrl_c_comes_out_as_itself(self) -> None:
        with self.lines("one\x03") as lines, self.assertRaises(KeyboardInterrupt):
            list(lines)

    def test_it_stops_whenever_it_is_told_to(self) -> None:
        for round in range(10):
            with self.lines() as lines, self.subTest(round):
                stopping = threading.Thread(target=lines.stop)
                stopping.start()  # before the first prompt, while it starts, or while it waits
                self.assertEqual([], list(lines))
                stopping.join()

    def test_it_stops_while_a_line_is_typed(self) -> None:
        with self.lines("half a line") as lines:

            def stop(lines: TerminalLines = lines) -> None:
                eventually(lambda: lines._session.default_buffer.text == "half a line")
                lines.stop()

            stopping = Result(stop)
            self.assertEqual([], list(lines))
            stopping.get()

    def test_it_does_not_start_again_when_it_was_stopped(self) -> None:
        with self.lines("one\rtwo\r") as lines:
            for line in lines:
                self.assertEqual("one", line)
                lines.stop()


class CompletionTest(EZEZTestCase):
    def test_names_commands_and_ids_are_completed_where_they_may_stand(self) -> None:
        memory = Memory()
        for name in ("weather", "what", "two words"):
            memory.note_name(name)
        memory.note_reply(12, print)
        memory.note_reply(3, print)
        for line, completions in (
            ("w", ["weather", "what"]),
            ("we", ["weather"]),
            ('"', ['"two words"']),
            ("weather", []),
            ("weather w", []),
            ("/", ["/help", "/quit", "/reply"]),
            ("/reply ", ["3", "12"]),
            ("/reply 1", ["12"]),
            ("/reply 12 wea", ["weather"]),
            ("/reply 12 weather w", []),
            ("/help w", []),
        ):
            with self.subTest(line):
                found = EventCompleter(memory).get_completions(Document(line), CompleteEvent())
                self.assertEqual(completions, [completion.text for completion in found])


JOIN = "join ROOM: ok and the rooms that you are in"


class RelayTest(ServingTestCase):
    """The server of ``serve``."""

    def test_it_answers_what_it_knows_and_says_so_of_the_rest(self) -> None:
        relay = Relay("127.0.0.1", 0, None)
        with contextlib.redirect_stdout(io.StringIO()) as printed, relay.server as server:
            anna, bert = self.client(server), self.client(server)
            heard = Calls()
            bert.on("hi", lambda args, reply, ids: heard.add(*args))
            for client, event, args, answer in (
                (anna, "echo", [1], ("echo", [1])),
                (anna, "broadcast", ["hi", 1], ("ok", [1])),
                (bert, "join", ["lobby"], ("ok", ["lobby"])),
                (anna, "room", ["lobby", "hi", 2], ("ok", [1])),
                (bert, "leave", ["lobby"], ("ok", [])),
                (anna, "room", ["lobby", "hi", 3], ("ok", [0])),
                (anna, "join", [], ("error", [JOIN])),
                (anna, "join", ["a", "b"], ("error", [JOIN])),
                (anna, "join", [5], ("error", [JOIN, "a room must be a str, not int"])),
                (anna, "join", ["*"], ("error", [JOIN, "'*' is no room: use everyone"])),
            ):
                with self.subTest(event):
                    self.assertEqual(answer, client.send(event, args).wait_reply(TIMEOUT)[:2])
            self.assertEqual(anna.send("help").wait_reply(TIMEOUT).args, anna.send("x").wait_reply(TIMEOUT).args[1:])
            self.assertEqual([(1,), (2,)], heard.wait(2))
            anna.on("hi", lambda args, reply, ids: heard.add("not for who says it"))
            for client in (anna, bert):
                client.send("join", ["attic"]).wait_reply(TIMEOUT)
            for event, args in (("room", ["attic", "hi", 4]), ("broadcast", ["hi", 5])):
                self.assertEqual([1], anna.send(event, args).wait_reply(TIMEOUT).args)
            self.assertEqual([(1,), (2,), (4,), (5,)], heard.wait(4))
            bert.close()
            eventually(lambda: anna.send("room", ["attic", "hi", 6]).wait_reply(TIMEOUT).args == [0], TIMEOUT)
        self.assertIn(' room "lobby" "hi" 2\n', printed.getvalue())


class RelayOriginsTest(ServingTestCase):
    """Which web pages ``serve`` lets in."""

    def statuses(self, *options: str) -> list[int]:
        """What pages of four origins get, and a program."""
        relay = make_relay(parse(["serve", "--port", "0", *options]))
        with contextlib.redirect_stdout(io.StringIO()), relay.server as server:
            address = f"127.0.0.1:{server.port}"
            origins = (f"http://{address}", "https://a.example", "http://b.example:3000", "null", None)
            return [self.status(server, origin) for origin in origins]

    def status(self, server: EZEZWebsocketServer, origin: str | None, url: str | None = None) -> int:
        headers = None if origin is None else {"Origin": origin}
        client = EZEZWebSocketClient(url or str(server.url), headers=headers, auto_reconnect=False)
        with contextlib.closing(client):
            try:
                client.connect()
            except ConnectionFailed as error:
                return error.status or 0
            return 101

    def test_none_but_its_own_unless_it_is_told_to(self) -> None:
        self.assertEqual([101, 403, 403, 403, 101], self.statuses())
        self.assertEqual(
            [403, 101, 101, 403, 101],
            self.statuses("--allow-origin", "https://a.example", "--allow-origin", "http://b.example:3000"),
        )
        self.assertEqual([101, 101, 101, 101, 101], self.statuses("--allow-origin", "*"))

    def test_a_name_that_is_made_to_mean_this_machine_is_no_origin_of_its_own(self) -> None:
        relay = make_relay(parse(["serve", "--port", "0"]))
        with contextlib.redirect_stdout(io.StringIO()), relay.server as server:
            here = socket.getaddrinfo("127.0.0.1", server.port, type=socket.SOCK_STREAM)
            with mock.patch("socket.getaddrinfo", return_value=here):
                for name, status in (("evil.example", 403), ("localhost", 101), ("127.0.0.1", 101)):
                    with self.subTest(name):
                        origin = f"http://{name}:{server.port}"
                        self.assertEqual(status, self.status(server, origin, f"ws://{name}:{server.port}"))

    def test_it_says_who_may_connect(self) -> None:
        for options, said in (
            ((), "with any key (--auth KEY takes only one), but no web page of another origin"),
            (("--auth", "x"), "with the key, but"),
            (("--allow-origin", "https://a.example"), "of web pages only those of https://a.example"),
            (("--allow-origin", "*"), "web pages of all origins, too"),
        ):
            with self.subTest(options):
                self.assertIn(said, welcome(parse(["serve", *options])))


if __name__ == "__main__":
    unittest.main()
