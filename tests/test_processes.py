"""Servers and clients in a process of their own: Ctrl-C, the exit of the interpreter, and a fork."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import unittest

from tests.rawpeer import RawPeer, RawServer
from tests.scripts import pythons, run_script
from tests.support import REPO, EZEZTestCase

STUCK = """
    import threading, time
    start = time.monotonic()
    from ezez_ws import EZEZWebSocketClient, EZEZWebsocketServer
    server = EZEZWebsocketServer(port=0, on_auth_request=lambda client, key: True)
    server.start()
    stuck = threading.Semaphore(0)
    def listen(*args):
        stuck.release()
        time.sleep(60)
    clients = []
    for _ in range(10):
        client = EZEZWebSocketClient(server.url)
        client.on("event", listen)
        client.connect()
        clients.append(client)
    assert server.broadcast("event") == 10
    for _ in clients:
        assert stuck.acquire(timeout=10)
    print("exiting", time.monotonic() - start, flush=True)
"""

FAILING = """
    import logging, os
    from ezez_ws import EZEZWebSocketClient, EZEZWebsocketServer
    logging.disable()
    from ezez_ws.threads.exits import close_at_exit
    class Failing:
        def say_goodbye(self): raise OSError("goodbye")
        def close_within(self, seconds): raise OSError("close")
    keep = []
    def gone(client, code, reason):
        os.write(1, b"closed with %d\\n" % code)
    for number in range(6):
        keep.append(Failing())
        close_at_exit(keep[-1])
        server = EZEZWebsocketServer(port=0, on_auth_request=lambda client, key: True, on_disconnect=gone)
        server.start()
        client = EZEZWebSocketClient(server.url, auto_reconnect=False)
        client.connect()
        run = client._ezez_runs[-1]
        run.close_within = run.say_goodbye = lambda *args: None
        keep += [server, client]
"""


class ProcessTest(EZEZTestCase):
    """What can only be seen from outside the process."""

    def start(self, code: str) -> "subprocess.Popen[str]":
        prelude = """
            import os, signal, sys, threading, time
            from ezez_ws import *
            from tests.rawpeer import RawPeer
            def make(**options):
                return EZEZWebsocketServer(port=0, on_auth_request=lambda *_: True, **options)
            class Telling(EZEZWebsocketServer):
                def start(self):  # which serve_forever calls when it handles the signals
                    super().start()
                    print(self.url, flush=True)
        """
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(prelude) + textwrap.dedent(code)],
            cwd=REPO,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.addCleanup(self.end, process)
        return process

    def end(self, process: "subprocess.Popen[str]") -> None:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()

    def line(self, process: "subprocess.Popen[str]") -> str:
        assert process.stdout is not None
        return process.stdout.readline().strip()

    def finish(self, process: "subprocess.Popen[str]", seconds: float = 20.0) -> tuple[int, str]:
        output, _ = process.communicate(timeout=seconds)
        return process.returncode, output.strip()

    def test_ctrl_c_in_serve_forever_closes_and_returns(self) -> None:
        process = self.start(
            """
            server = Telling(
                port=0, on_auth_request=lambda *_: True,
                on_disconnect=lambda client, code, reason: print("disconnect", code, flush=True),
            )
            server.serve_forever()
            print("returned", server.listener, threading.active_count(), flush=True)
            """
        )
        with RawPeer.connect(self.line(process), "") as peer:
            process.send_signal(signal.SIGINT)
            self.assertEqual(1001, peer.read_end().code)
            peer.send_close(1001)
            peer.close()
            self.assertEqual((0, "disconnect 1001\nreturned None 1"), self.finish(process))

    def test_serve_forever_ends_at_each_of_its_signals_and_gives_them_back(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            process = self.start(
                """
                import signal
                server = Telling(port=0, on_auth_request=lambda *_: True)
                before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
                ended_by = server.serve_forever(signals=(signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
                after = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
                print("returned", ended_by, before == after, server.listener, threading.active_count(), flush=True)
                """
            )
            with self.subTest(number), RawPeer.connect(self.line(process), "") as peer:
                process.send_signal(number)
                self.assertEqual(1001, peer.read_end().code)
                peer.send_close(1001)
                peer.close()
                self.assertEqual((0, f"returned {int(number)} True None 1"), self.finish(process))

    def test_run_forever_ends_at_a_signal_and_says_goodbye(self) -> None:
        with RawServer() as listening:
            process = self.start(
                f"""
                import signal
                client = EZEZWebSocketClient("{listening.url}")
                before = signal.getsignal(signal.SIGTERM)
                ended_by = client.run_forever(signals=[signal.SIGTERM])
                print(ended_by, before == signal.getsignal(signal.SIGTERM), threading.active_count(), flush=True)
                """
            )
            with listening.accept() as peer:
                peer.accept_auth()
                process.send_signal(signal.SIGTERM)
                self.assertEqual(1000, peer.read_end().code)
                peer.send_close()
            self.assertEqual((0, f"{int(signal.SIGTERM)} True 1"), self.finish(process))

    def test_a_signal_before_serve_forever_has_started_ends_it_too(self) -> None:
        process = self.start(
            """
            import os, signal
            class Early(EZEZWebsocketServer):
                def start(self):
                    os.kill(os.getpid(), signal.SIGTERM)
                    super().start()
            server = Early(port=0, on_auth_request=lambda client, key: True)
            print("returned", server.serve_forever(signals=[signal.SIGTERM]), server.listener, flush=True)
            """
        )
        self.assertEqual((0, f"returned {int(signal.SIGTERM)} None"), self.finish(process))

    def test_ctrl_c_while_it_waits_for_a_reply_leaves_the_connection_usable(self) -> None:
        process = self.start(
            """
            server = make()
            server.start()
            print(server.url, flush=True)
            while not server.clients or not server.clients[0].authenticated:
                time.sleep(0.01)
            client = server.clients[0]
            for attempt in range(3):
                sent = client.send("question")
                try:
                    sent.wait_reply(30)
                except KeyboardInterrupt:
                    print("interrupted", flush=True)
            print(client.send("question").wait_reply(10).args[0], client.awaiting_replies_count, flush=True)
            server.close()
            """
        )
        with RawPeer.connect(self.line(process), "") as peer:
            for _ in range(3):
                self.assertEqual("question", peer.read_event().name)
                threading.Event().wait(0.1)  # until it sleeps
                process.send_signal(signal.SIGINT)
                self.assertEqual("interrupted", self.line(process))
            last = peer.read_event()
            peer.send_event("answer", ["still here"], reply_to=last.ids.event_id)
            self.assertEqual("still here 0", self.line(process))

    def check_exit(self, code: str) -> None:
        quiet = "import logging; logging.disable(logging.WARNING)\n"  # but for errors
        process = self.start(f'{quiet}{textwrap.dedent(code)}print("end", flush=True)')
        while self.line(process) not in ("end", ""):
            pass
        start = time.monotonic()
        returncode, output = self.finish(process)
        self.assertEqual((0, ""), (returncode, output))
        self.assertLess(time.monotonic() - start, 2.5)

    def test_the_interpreter_exits_in_time_with_an_idle_pair_open(self) -> None:
        self.check_exit(
            """
            server = make()
            server.start()
            client = EZEZWebSocketClient(server.url, auth="")
            client.connect()
            """
        )

    def test_the_interpreter_exits_in_time_with_busy_listeners_and_peers_that_do_not_answer(self) -> None:
        self.check_exit(
            """
            server = make()
            server.start()
            servers = [server, make(), make()]
            peers = []
            for server in servers:
                server.start()
                busy = threading.Event()
                server.on("block", lambda *_: (busy.set(), time.sleep(60)))
                peers += [RawPeer.connect(server.url, "") for _ in range(3)]
                peers[-1].send_event("block")
                busy.wait()
            """
        )

    def test_the_interpreter_exits_in_time_with_a_client_that_reconnects(self) -> None:
        self.check_exit(
            """
            server = make()
            server.start()
            url = server.url
            server.close()
            client = EZEZWebSocketClient(url, auth="", reconnect_delay=0.05)
            client.start()
            """
        )

    def test_peers_hear_of_the_exit(self) -> None:
        process = self.start(
            """
            server = make()
            server.start()
            print(server.url, flush=True)
            while not server.clients or not server.clients[0].authenticated:
                time.sleep(0.01)
            """
        )
        with RawPeer.connect(self.line(process), "") as peer:
            self.assertEqual(1001, peer.read_end().code)
            peer.send_close(1001)
        self.assertEqual((0, ""), self.finish(process))

    def test_the_interpreter_exits_with_ten_clients_stuck_in_listeners(self) -> None:
        for python in pythons():
            with self.subTest(python=python):
                printed, seconds = run_script(STUCK, python=python)
                self.assertIn("exiting", printed)
                self.assertLess(seconds - float(printed.split("exiting")[1].split()[0]), 2.5)

    def test_one_owner_that_fails_to_close_at_exit_does_not_spare_the_others(self) -> None:
        printed, _ = run_script(FAILING)
        self.assertEqual(6, printed.count("closed with 1001"), printed)

    @unittest.skipUnless(hasattr(os, "fork"), "there is no fork here")
    def test_a_forked_child_cannot_use_what_it_inherited(self) -> None:
        process = self.start(
            """
            import warnings
            warnings.simplefilter("ignore")
            server = make()
            replies = []
            server.on("hello", lambda client, args, reply, ids: replies.append(reply))
            server.start()
            client = EZEZWebSocketClient(server.url, auth="")
            client.connect()
            client.send("hello")
            while not replies:
                time.sleep(0.01)
            side = server.clients[0]
            sent = side.send("question")
            pid = os.fork()
            if pid == 0:
                calls = [
                    server.start, server.close, server.serve_forever, lambda: server.broadcast("x"),
                    lambda: server.on("x", print), lambda: server.once("x", print), lambda: server.off("x"),
                    lambda: side.send("x"), lambda: side.on("x", print), side.disconnect,
                    lambda: sent.wait_reply(1), lambda: replies[0]("x"),
                    lambda: client.send("x"), client.connect, client.start, client.close,
                ]
                good = 0
                for call in calls:
                    try:
                        call()
                        print("no error", call, flush=True)
                    except RuntimeError:
                        good += 1
                print(good == len(calls), flush=True)
                sys.exit(0)
            print(os.waitpid(pid, 0)[1], flush=True)
            got = threading.Event()
            client.on("still here", lambda *_: got.set())
            side.send("still here")
            print(got.wait(5), flush=True)
            """
        )
        self.assertEqual((0, "True\n0\nTrue"), self.finish(process))

    @unittest.skipUnless(hasattr(os, "fork"), "there is no fork here")
    def test_peers_hear_at_once_of_the_parents_death_though_a_child_lives(self) -> None:
        code = """
            import multiprocessing, os, socket, ssl, sys, threading, warnings
            from ezez_ws import EZEZWebSocketClient, EZEZWebsocketServer
            warnings.simplefilter("ignore")
            server = EZEZWebsocketServer(port=0, on_auth_request=lambda *_: True)
            server.on("echo", lambda client, args, reply, ids: reply("echo", args))
            server.start()
            client = EZEZWebSocketClient(sys.argv[1], auth=None)
            client.connect()
            lent, other = socket.socketpair()
            threading.Thread(target=server.serve_connection, args=(lent,), daemon=True).start()
            print(server.url, flush=True)
            sys.stdin.readline()
            def live():
                print("closed" if server.listener.socket.fileno() == -1 else "open", flush=True)
                print("lent" if lent.fileno() != -1 else "taken", flush=True)
                sys.stdin.buffer.raw.read()
            if sys.argv[2] == "os":
                if os.fork() == 0:
                    live()
                    os._exit(0)
            else:
                sys.stdin.close = lambda: None  # as a child of multiprocessing begins by that
                multiprocessing.get_context("fork").Process(target=live).start()
            threading.Event().wait()
            """
        for way in ("os", "multiprocessing"):
            with self.subTest(way), RawServer() as listener:
                process = subprocess.Popen(
                    [sys.executable, "-c", textwrap.dedent(code), listener.url, way],
                    cwd=REPO,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
                self.addCleanup(self.end, process)
                assert process.stdin is not None and process.stdout is not None
                with listener.accept() as of_client:
                    url = self.line(process)
                    with RawPeer.connect(url, "") as of_server:
                        print(file=process.stdin, flush=True)
                        self.assertEqual(["closed", "lent"], [self.line(process), self.line(process)])
                        of_server.send_event("echo", [1])
                        self.assertEqual([1], of_server.read_event().args)
                        process.kill()
                        self.assertIsNone(of_server.read_end().code)
                        self.assertIsNone(of_client.read_end().code)
                        self.assertRaises(OSError, RawPeer.connect, url, "")
                process.stdin.close()
                self.assertEqual("", process.stdout.read())  # the child has ended, too


if __name__ == "__main__":
    unittest.main()
