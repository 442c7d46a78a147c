"""Ctrl-C, SIGTERM and SIGHUP end ``ezez-ws`` in order, by its own exit, with the code that a shell has for each."""

import signal
import subprocess
import sys
import threading
import unittest
from typing import Any

from tests.cli.running import PROGRAM, TIMEOUT, Program, environment, run
from tests.rawpeer import RawPeer, RawServer
from tests.serving import KEY, Calls, ServingTestCase

MOSTLY_WAITS = True

ENDINGS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}

AS_NOHUP_RUNS_IT = """\
import signal, sys
signal.signal(signal.SIGHUP, signal.SIG_IGN)
from ezez_ws.cli import main
sys.exit(main())
"""


class SignalsTest(ServingTestCase):
    def url(self, **options: Any) -> str:
        return str(self.serve(on_auth_request=lambda client, key: True, **options).url)

    def relay(self) -> tuple[Program, str]:
        relay = Program("serve", "--port", "0")
        self.addCleanup(relay.__exit__)
        return relay, relay.read_line().split()[2].rstrip(",")

    def test_they_end_each_of_the_lasting_clients_without_a_word_and_with_1000_to_the_server(self) -> None:
        for number, code in ENDINGS.items():
            calls = Calls()
            url = self.url(on_disconnect=calls.named("gone", 1))
            for command in ("listen", "connect"):
                with self.subTest(command, signal=number), Program(command, url) as program:
                    self.assertIn("connected to", program.read_line())
                    program.signal(number)
                    self.assertEqual((code, []), (program.wait(), program.rest()))
            self.assertEqual([("gone", 1000), ("gone", 1000)], calls.wait(2))

    def test_they_end_a_server_with_1001_to_its_clients(self) -> None:
        for number, code in ENDINGS.items():
            relay, url = self.relay()
            with self.subTest(number), RawPeer.connect(url, KEY) as peer:
                relay.signal(number)
                self.assertEqual(1001, peer.read_end().code)
                peer.send_close(1001)
                self.assertEqual(code, relay.wait())

    def test_they_end_a_wait_for_a_reply(self) -> None:
        for number, code in ENDINGS.items():
            calls = Calls()
            url = self.url(on_message=calls.named("message", 1), on_disconnect=calls.named("gone", 1))
            with self.subTest(number), Program("call", url, "nothing") as program:
                calls.wait()
                program.signal(number)
                self.assertEqual((code, []), (program.wait(), program.rest()))
                self.assertEqual(("gone", 1000), calls.wait(2)[1])

    def test_they_do_not_tear_a_connection_that_is_sending(self) -> None:
        calls, sending = Calls(), threading.Event()
        url = self.url(on_message=lambda *_: sending.set(), on_disconnect=calls.named("gone", 1))
        for round in range(6):
            sending.clear()
            with (
                subprocess.Popen(["yes", "line"], stdout=subprocess.PIPE) as typing,
                subprocess.Popen(
                    [*PROGRAM, "connect", url], stdin=typing.stdout, stderr=subprocess.DEVNULL, env=environment()
                ) as program,
            ):
                self.assertTrue(sending.wait(TIMEOUT))
                program.send_signal(signal.SIGTERM)
                self.assertEqual(143, program.wait(TIMEOUT))
                typing.kill()
            self.assertEqual(("gone", 1000), calls.wait(round + 1)[round])

    def test_they_end_an_attempt_to_connect(self) -> None:
        server = RawServer()
        self.addCleanup(server.close)
        for args in (["call", server.url, "e"], ["send", server.url, "e"], ["listen", server.url]):
            with self.subTest(args[0]), Program(*args) as program, server.accept_socket():
                program.signal(signal.SIGTERM)
                self.assertEqual((143, []), (program.wait(), program.rest()))

    def test_one_that_comes_again_does_not_cut_the_closing_short(self) -> None:
        relay, url = self.relay()
        with RawPeer.connect(url, KEY) as peer:
            relay.signal(signal.SIGHUP)
            self.assertEqual(1001, peer.read_end().code)
            relay.signal(signal.SIGHUP)  # a terminal that is closed sends it twice
            relay.signal(signal.SIGTERM)
            with self.assertRaises(subprocess.TimeoutExpired):
                relay.process.wait(0.3)
            peer.send_close(1001)
            self.assertEqual(129, relay.wait())

    def test_one_that_is_ignored_stays_ignored(self) -> None:
        command = [sys.executable, "-c", AS_NOHUP_RUNS_IT, "serve", "--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment()) as relay:
            assert relay.stdout is not None
            url = relay.stdout.readline().decode().split()[2].rstrip(",")
            relay.send_signal(signal.SIGHUP)
            self.assertEqual(0, run("call", url, "echo").code)
            relay.send_signal(signal.SIGTERM)
            self.assertEqual(143, relay.wait(TIMEOUT))


if __name__ == "__main__":
    unittest.main()
