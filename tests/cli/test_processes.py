"""``ezez-ws`` as a process: exit codes, pipes, and several that talk with each other."""

import json
import os
import subprocess
import sys
import unittest
from pathlib import Path
from typing import Any

from ezez_ws import CallError, EZEZServerClient
from tests.cli.running import PROGRAM, TIMEOUT, Program, environment, run
from tests.rawpeer import RawPeer
from tests.serving import KEY, Calls, ServingTestCase
from tests.support import free_port

MOSTLY_WAITS = True


class ProcessTestCase(ServingTestCase):
    def url(self, **options: Any) -> str:
        url = self.serve(on_auth_request=lambda client, key: True, **options).url
        assert url is not None
        return url


class ExitTest(ProcessTestCase):
    def test_the_exit_codes_are_those_that_are_promised(self) -> None:
        server = self.serve()
        server.on("echo", lambda client, args, reply, ids: reply("echo", args))

        @server.handler("fail")
        def fail(client: EZEZServerClient) -> None:
            raise CallError("no-tea", "there is none left", {"coffee": 2})

        url = str(server.url)
        for code, args in (
            (0, ["call", url, "echo", "--auth", KEY]),
            (1, ["call", f"ws://127.0.0.1:{free_port()}", "echo"]),
            (2, ["call", url]),
            (3, ["call", url, "echo"]),
            (4, ["call", url, "nothing", "--auth", KEY, "--timeout", "0.1"]),
            (5, ["call", url, "fail", "--auth", KEY]),
        ):
            with self.subTest(code):
                self.assertEqual(code, run(*args).code)

    def test_call_prints_a_handlers_value_and_why_there_is_none(self) -> None:
        server = self.serve(on_auth_request=lambda client, key: True)
        server.handler("sum", lambda client, a, b: {"sum": a + b})

        @server.handler("fail")
        def fail(client: EZEZServerClient) -> None:
            raise CallError("no-tea", "there is none left", {"coffee": 2})

        done = run("call", str(server.url), "sum", "2", "3")
        self.assertEqual((0, '{"sum": 5}\n', ""), (done.code, done.out, done.err))
        done = run("call", str(server.url), "fail")
        expected = 5, "", 'ezez-ws: no-tea: there is none left {"coffee": 2}\n'
        self.assertEqual(expected, (done.code, done.out, done.err))
        done = run("call", str(server.url), "sum", "2")
        self.assertEqual(5, done.code)
        self.assertIn("invalid-args: b: ", done.err)

    def test_the_command_that_is_installed_does_the_same(self) -> None:
        command = Path(sys.executable).with_name("ezez-ws")
        done = subprocess.run([command, "decode", "0"], capture_output=True, encoding="utf-8", timeout=TIMEOUT)
        self.assertEqual((2, ""), (done.returncode, done.stdout))
        self.assertIn("last digit", done.stderr)


class PipeTest(ProcessTestCase):
    def test_a_reader_that_has_had_enough_ends_it_quietly(self) -> None:
        server = self.serve(on_auth_request=lambda client, key: True)
        taken = Calls()
        with subprocess.Popen(
            [*PROGRAM, "listen", str(server.url)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
            encoding="utf-8",
        ) as program:
            assert program.stdout is not None and program.stderr is not None
            self.assertIn("connected", program.stderr.readline())
            server.broadcast("first")
            taken.add(json.loads(program.stdout.readline())["event"])
            program.stdout.close()
            server.broadcast("second")
            self.assertEqual((141, ""), (program.wait(TIMEOUT), program.stderr.read()))
        self.assertEqual([("first",)], taken.seen)

    def test_help_into_a_closed_pipe_is_quiet(self) -> None:
        reader, writer = os.pipe()
        os.close(reader)
        try:
            done = subprocess.run(
                [*PROGRAM, "--help"], stdout=writer, stderr=subprocess.PIPE, env=environment(), timeout=TIMEOUT
            )
        finally:
            os.close(writer)
        self.assertEqual((141, b""), (done.returncode, done.stderr))

    def test_an_output_that_takes_nothing_is_said(self) -> None:
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [*PROGRAM, "decode", "3166006500"],
                stdout=full,
                stderr=subprocess.PIPE,
                env=environment(),
                timeout=TIMEOUT,
            )
        self.assertEqual(1, done.returncode)
        self.assertIn(b"No space left", done.stderr)
        self.assertNotIn(b"Traceback", done.stderr)

    def test_another_encoding_gets_json_all_the_same(self) -> None:
        server = self.serve(on_auth_request=lambda client, key: True)
        server.on("echo", lambda client, args, reply, ids: reply("écho", args))
        done = run("call", str(server.url), "echo", "\N{GRINNING FACE}", env=environment(PYTHONIOENCODING="ascii"))
        self.assertTrue(done.out.isascii())
        self.assertEqual(("écho", ["\N{GRINNING FACE}"]), (json.loads(done.out)["event"], json.loads(done.out)["args"]))


class PipedSessionTest(ProcessTestCase):
    """``connect`` without a terminal: lines in, JSON lines out."""

    def test_each_line_is_sent_and_what_arrives_is_a_line_of_json(self) -> None:
        server = self.serve(on_auth_request=lambda client, key: True)
        server.on("echo", lambda client, args, reply, ids: reply("echo", args))
        done = run("connect", str(server.url), input='echo 1 "two words"\n\n"echo" {"a": 3}\n')
        self.assertEqual((0, f"connected to {server.url}\n"), (done.code, done.err))
        self.assertEqual([[1, "two words"], [{"a": 3}]], [json.loads(line)["args"] for line in done.out.splitlines()])

    def test_a_message_is_replied_to_by_its_id(self) -> None:
        answers = Calls()
        url = self.url(on_auth_ok=lambda client: client.send("sure?", on_reply=answers.named("reply", 1, 2)))
        with Program("connect", url, "--linger", "0") as program:
            program.read_line()
            self.assertEqual("sure?", json.loads(program.read_line())["event"])
            program.type("/reply 1 yes 5")
            program.end_input()
            self.assertEqual((0, []), (program.wait(), program.rest()))
        self.assertEqual([("reply", "yes", [5])], answers.wait())

    def test_a_line_that_means_nothing_is_2(self) -> None:
        url = self.url()
        for line, named in (
            ('say {"a"', "column 5"),
            ("/dance", "/dance"),
            ("/reply yes", "/reply ID"),
            ("/reply 7 yes", "7"),
            ("5 yes", '"5"'),
            ("ezez-ws::auth", "ezez-ws::auth"),
            ('say "\\ud800"', "args[0]"),
        ):
            with self.subTest(line):
                done = run("connect", url, input=line + "\nafter\n")
                self.assertEqual((2, ""), (done.code, done.out))
                self.assertIn(named, done.err.splitlines()[1])

    def test_quit_ends_it_and_help_helps(self) -> None:
        done = run("connect", self.url(), input="/help\n/quit\nafter\n")
        self.assertEqual((0, ""), (done.code, done.out))
        self.assertIn("/reply ID EVENT", done.err)

    def test_a_connection_that_ends_is_1_while_a_line_is_waited_for(self) -> None:
        server = self.serve(on_auth_request=lambda client, key: True)
        server.on("echo", lambda client, args, reply, ids: reply("echo", args))
        with Program("connect", str(server.url)) as program:
            program.read_line()
            program.type("echo")
            program.read_line()
            server.close()
            self.assertEqual(
                (1, ["ezez-ws: connection closed (1001, server shutdown)"]), (program.wait(), program.rest())
            )

    def test_it_stays_through_a_lost_connection_where_it_is_told_to(self) -> None:
        server = self.serve(on_auth_request=lambda client, key: True)
        server.on("echo", lambda client, args, reply, ids: reply("echo", args))
        with Program("connect", str(server.url), "--reconnect") as program:
            program.read_line()
            server.clients[0].disconnect(4000, "again")
            self.assertEqual("connection closed (4000, again), connecting again", program.read_line())
            program.type("echo 5")  # queued until then
            self.assertEqual(f"connected to {server.url}", program.read_line())
            self.assertEqual([5], json.loads(program.read_line())["args"])

    def test_an_output_that_is_closed_ends_it_quietly(self) -> None:
        server = self.serve(on_auth_request=lambda client, key: True)
        with subprocess.Popen(
            [*PROGRAM, "connect", str(server.url)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
            encoding="utf-8",
        ) as program:
            assert program.stdout is not None and program.stderr is not None
            self.assertIn("connected", program.stderr.readline())
            program.stdout.close()
            server.broadcast("nobody reads this")
            self.assertEqual((141, ""), (program.wait(TIMEOUT), program.stderr.read()))


class RelayTest(ProcessTestCase):
    """``serve``, and several programs that talk through it."""

    def test_it_echoes_broadcasts_and_keeps_rooms(self) -> None:
        with Program("serve", "--port", "0") as relay:
            url = relay.read_line().split()[2].rstrip(",")
            with Program("connect", url) as anna, Program("connect", url) as bert, Program("connect", url) as cleo:
                for program in (anna, bert, cleo):
                    program.read_line()
                self.check(anna, "echo 5", "echo", [5])
                self.check(anna, "join lobby", "ok", ["lobby"])
                self.check(anna, "join attic", "ok", ["attic", "lobby"])
                self.check(bert, "join lobby", "ok", ["lobby"])
                self.check(bert, "room lobby hello 1", "ok", [1])
                self.expect(anna, "hello", [1])
                self.check(bert, "broadcast news x", "ok", [2])
                self.expect(anna, "news", ["x"])
                self.expect(cleo, "news", ["x"])
                self.check(anna, "leave lobby", "ok", ["attic"])
                self.check(bert, "room lobby hello 2", "ok", [0])

    def test_it_says_what_it_knows_where_it_is_asked_wrongly(self) -> None:
        with Program("serve", "--port", "0") as relay:
            url = relay.read_line().split()[2].rstrip(",")
            with Program("connect", url) as anna:
                anna.read_line()
                for line, told in (
                    ("dance", "no such event: dance"),
                    ("join", "join ROOM"),
                    ("room lobby", "room ROOM EVENT"),
                    ("broadcast 5", "broadcast EVENT"),
                    ("broadcast ezez-ws::auth", "broadcast EVENT"),
                ):
                    anna.type(line)
                    answer = json.loads(anna.read_line())
                    self.assertEqual(("error", True), (answer["event"], answer["args"][0].startswith(told)), answer)
                anna.type(f"/reply {answer['id']} dance")  # which is an answer, and not answered
                self.check(anna, "echo 1", "echo", [1])

    def test_it_takes_only_those_with_the_key_where_it_has_one(self) -> None:
        with Program("serve", "--port", "0", "--auth", KEY) as relay:
            url = relay.read_line().split()[2].rstrip(",")
            self.assertEqual(3, run("call", url, "echo").code)
            self.assertEqual(0, run("call", url, "echo", "--auth", KEY).code)
            relay.interrupt()
            self.assertEqual(130, relay.wait())
            self.assertEqual(
                ["#0 was refused", "#0 has gone (1008)", "#1 has come", "#1 echo", "#1 has gone (1000)"],
                relay.rest()[1:],  # the first says who may connect
            )

    def test_it_ends_when_nobody_reads_what_it_prints(self) -> None:
        with subprocess.Popen(
            [*PROGRAM, "serve", "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
            encoding="utf-8",
        ) as relay:
            assert relay.stdout is not None and relay.stderr is not None
            url = relay.stdout.readline().split()[2].rstrip(",")
            relay.stdout.close()
            with RawPeer.connect(url, KEY) as peer:
                self.assertEqual(1001, peer.read_end().code)
            self.assertEqual(141, relay.wait(TIMEOUT))
            self.assertNotIn("Traceback", relay.stderr.read())

    def check(self, program: Program, line: str, event: str, args: Any) -> None:
        program.type(line)
        self.expect(program, event, args)

    def expect(self, program: Program, event: str, args: Any) -> None:
        found = json.loads(program.read_line())
        self.assertEqual((event, args), (found["event"], found["args"]))


if __name__ == "__main__":
    unittest.main()
