"""Accepting connections in standalone mode: the port, the threads, and what the import leaves alone."""

import errno
import logging
import os
import socket
import subprocess
import sys
import textwrap
import threading
import unittest
from typing import Any
from unittest import mock

from ezez_ws.logs import limited
from ezez_ws.opening.listener import Listener
from ezez_ws.opening.places import Place, Places
from ezez_ws.threads import clock
from ezez_ws.threads.interrupted import make_lock
from tests.support import REPO, EZEZTestCase, eventually, free_port, open_fds


def make_places() -> Places:
    return Places(make_lock(), None, None, None)


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def run(code: str, *arguments: str) -> str:
    """Run code in a Python of its own, and return what it prints; nothing may go to its standard error."""
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=50)
    if done.stderr or done.returncode:
        raise AssertionError(f"exit code {done.returncode}: {done.stderr}\n{done.stdout}")
    return done.stdout


NO_THREAD = RuntimeError("can't start new thread")


def no_threads(error: Exception = NO_THREAD) -> Any:
    """Let the system have no thread left."""
    return mock.patch.object(threading.Thread, "start", side_effect=error)


class ListenerTestCase(EZEZTestCase):
    def setUp(self) -> None:
        limited._windows.clear()
        self.served: list[tuple[str, Any]] = []
        self.go_on = threading.Event()
        self.addCleanup(self.go_on.set)

    def serve(self, place: Place) -> None:
        """Say hello, and keep the connection until the test says so."""
        assert place.wire is not None
        self.served.append((threading.current_thread().name, place.address))
        place.wire.write_now(b"hello")
        self.go_on.wait(50)

    def make(self, host: str = "127.0.0.1", port: int = 0, reuse_port: bool = False, **more: Any) -> Listener:
        listener = Listener(host, port, reuse_port, self.serve, make_places(), **more)
        listener.start()
        self.addCleanup(listener.close)
        return listener

    def connect(self, listener: Listener) -> socket.socket:
        sock = socket.create_connection(listener.server.server_address[:2], 10)
        self.addCleanup(sock.close)
        return sock


class ListenerTest(ListenerTestCase):
    def test_each_connection_has_a_daemon_thread_named_for_what_it_does(self) -> None:
        listener = self.make()
        self.assertIn(f"ezez-accept-{listener.server.port}", [thread.name for thread in threading.enumerate()])
        socks = [self.connect(listener) for _ in range(3)]
        for sock in socks:
            self.assertEqual(sock.recv(10), b"hello")
        self.assertCountEqual(self.served, [(f"ezez-conn-{i + 1}", s.getsockname()) for i, s in enumerate(socks)])
        threads = eventually(lambda: len(listener.threads()) == 3 and listener.threads())
        assert threads
        self.assertTrue(all(thread.daemon for thread in threads))
        self.go_on.set()
        for thread in threads:
            thread.join(10)
        self.assertEqual(listener.threads(), [])

    def test_closing_gives_the_port_back_and_leaves_connections_alone(self) -> None:
        listener = self.make()
        port = listener.server.port
        sock = self.connect(listener)
        self.assertEqual(sock.recv(10), b"hello")
        listener.close()
        listener.close()
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 10)
        self.assertEqual(len(listener.threads()), 1)
        again = self.make(port=port)
        self.assertEqual(self.connect(again).recv(10), b"hello")
        self.go_on.set()
        self.assertEqual(sock.recv(10), b"")

    def test_a_port_in_use_is_an_os_error_and_nothing_is_left(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            before = (open_fds(), threading.active_count())
            for _ in range(3):
                with self.assertRaises(OSError) as raised:
                    Listener("127.0.0.1", taken.getsockname()[1], False, self.serve, make_places())
                self.assertEqual(raised.exception.errno, errno.EADDRINUSE)
                self.assertTrue(str(raised.exception).endswith(f" in use: '127.0.0.1:{taken.getsockname()[1]}'"))
            self.assertEqual((open_fds(), threading.active_count()), before)

    def test_an_address_that_is_none_is_an_os_error_and_nothing_is_left(self) -> None:
        before = (open_fds(), threading.active_count())
        for host in ("192.0.2.1", "not an address"):
            with self.assertRaisesRegex(OSError, f": '{host}:0'$"):
                Listener(host, 0, False, self.serve, make_places())
        self.assertEqual((open_fds(), threading.active_count()), before)

    def test_where_its_thread_cannot_be_started_nothing_is_left(self) -> None:
        before = open_fds()
        listener = Listener("127.0.0.1", 0, False, self.serve, make_places())
        with no_threads(), self.assertRaises(RuntimeError):
            listener.start()
        self.assertEqual(open_fds(), before)

    def test_a_connection_for_which_no_thread_can_be_started_is_told_so_and_others_are_served(self) -> None:
        listener = self.make(refusal=b"no!")
        for error in (NO_THREAD, MemoryError()):
            with self.assertLogs("ezez_ws", "WARNING") as logs, no_threads(error):
                for _ in range(3):
                    sock = self.connect(listener)
                    self.assertEqual(sock.recv(10) + sock.recv(10), b"no!")
            self.assertEqual(1, len(logs.output), "once a second")
            self.assertIn(str(error) or "MemoryError", logs.output[0])
            limited._windows.clear()
        eventually(lambda: listener._places.count == 0)
        self.assertEqual(self.connect(listener).recv(10), b"hello")
        self.assertEqual(1, len(listener.threads()))

    def test_an_error_while_serving_is_logged_and_its_socket_is_closed(self) -> None:
        def serve(place: Place) -> None:
            raise ZeroDivisionError("the test's own")

        listener = Listener("127.0.0.1", 0, False, serve, make_places())
        listener.start()
        self.addCleanup(listener.close)
        with self.assertLogs("ezez_ws", "ERROR") as logs:
            self.assertEqual(self.connect(listener).recv(10), b"")
        self.assertIn("ZeroDivisionError", logs.output[0])
        eventually(lambda: not listener.threads())

    def check_survived(self, error: Exception) -> list[float]:
        """Let accepting fail four times; return how long the loop has paused."""
        listener = self.make()
        accept, failures, pauses = listener.server.get_request, iter([error] * 4), list[float]()

        def fail() -> Any:
            for failure in failures:
                raise failure
            return accept()

        limited._windows.clear()
        with (
            mock.patch.object(listener.server, "get_request", fail),
            mock.patch.object(clock, "sleep", pauses.append),
            self.assertLogs("ezez_ws", "WARNING") as logs,
        ):
            self.assertEqual(self.connect(listener).recv(10), b"hello")
        self.assertEqual(1, len(logs.output), "once a second")
        listener.close()
        return pauses

    def test_whatever_accepting_raises_it_goes_on_and_pauses_when_that_repeats(self) -> None:
        for error in (MemoryError(), OSError(errno.EMFILE, "x"), OSError(errno.EINVAL, "x"), ValueError("x")):
            with self.subTest(error=error):
                self.assertEqual([0.1] * 3, self.check_survived(error))

    def test_where_room_was_made_the_pause_is_short(self) -> None:
        with mock.patch.object(Places, "make_room", return_value=True):
            for error in (MemoryError(), OSError(errno.EMFILE, "x")):
                self.assertEqual([0.005] * 3, self.check_survived(error))
            self.assertEqual([0.1] * 3, self.check_survived(ValueError("x")))

    def test_of_those_that_shake_hands_one_makes_room_where_there_is_no_thread(self) -> None:
        listener = self.make()
        first = self.connect(listener)
        self.assertEqual(first.recv(10), b"hello")
        with self.assertLogs("ezez_ws", "WARNING"), no_threads():
            self.assertEqual(self.connect(listener).recv(10), b"")
            self.assertEqual(first.recv(10), b"")

    def test_not_even_an_error_while_it_waits_ends_the_loop(self) -> None:
        listener = self.make()
        select, failures = listener._poller.selector.select, iter([MemoryError()])

        def fail() -> Any:
            for failure in failures:
                raise failure
            return select()

        with mock.patch.object(listener._poller.selector, "select", fail):
            for _ in range(3):
                self.assertEqual(self.connect(listener).recv(10), b"hello")

    def test_a_connection_that_has_gone_before_it_was_accepted_is_no_trouble(self) -> None:
        listener = self.make()
        accept, failures = listener.server.get_request, iter([ConnectionAbortedError(), BlockingIOError()])

        def fail() -> Any:
            for failure in failures:
                raise failure
            return accept()

        with mock.patch.object(listener.server, "get_request", fail), self.assertNoLogs("ezez_ws"):
            self.assertEqual(self.connect(listener).recv(10), b"hello")

    def test_a_copy_of_its_socket_that_a_forked_child_has_accepts_nothing_after_close(self) -> None:
        listener = self.make()
        port = listener.server.port
        with socket.socket(fileno=os.dup(listener.server.socket.fileno())):
            listener.close()
            with self.assertRaises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port), 10)
            again = self.make(port=port)
            self.assertEqual(self.connect(again).recv(10), b"hello")

    def test_on_windows_it_has_its_port_alone(self) -> None:
        asked: list[tuple[int, ...]] = []

        class Socket(socket.socket):
            def setsockopt(self, *args: Any) -> None:
                asked.append(args)
                super().setsockopt(*args)

        with (
            mock.patch("socketserver.socket.socket", Socket),
            mock.patch.object(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_KEEPALIVE, create=True),
        ):
            self.make()
        self.assertEqual([(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)], asked)

    @unittest.skipUnless(has_ipv6(), "there is no IPv6 here")
    def test_ipv6_works(self) -> None:
        listener = self.make("::1")
        sock = self.connect(listener)
        self.assertEqual(sock.family, socket.AF_INET6)
        self.assertEqual(sock.recv(10), b"hello")
        self.assertEqual(self.served[0][1], sock.getsockname())

    def test_a_host_name_works(self) -> None:
        listener = self.make("localhost")
        self.assertEqual(self.connect(listener).recv(10), b"hello")

    @unittest.skipUnless(hasattr(socket, "SO_REUSEPORT"), "this platform has no SO_REUSEPORT")
    def test_a_port_may_be_shared_where_both_ask_for_it(self) -> None:
        first = self.make(reuse_port=True)
        second = self.make(port=first.server.port, reuse_port=True)
        self.assertEqual(first.server.port, second.server.port)
        with self.assertRaises(OSError):
            self.make(port=first.server.port)

    def test_a_given_port_is_the_one_that_is_bound(self) -> None:
        port = free_port()
        self.assertEqual(self.make(port=port).server.port, port)

    def test_a_burst_of_connections_is_accepted(self) -> None:
        self.go_on.set()
        listener = self.make()
        for sock in [self.connect(listener) for _ in range(300)]:
            self.assertEqual(sock.recv(10), b"hello")
        eventually(lambda: not listener.threads())

    def test_listeners_come_and_go(self) -> None:
        self.go_on.set()
        port = 0
        for _ in range(50):
            listener = self.make(port=port)
            port = listener.server.port
            self.assertEqual(self.connect(listener).recv(10), b"hello")
            listener.close()

    def test_the_root_logger_is_as_it_was(self) -> None:
        root = logging.getLogger()
        before = (list(root.handlers), root.level)
        self.make()
        self.assertEqual((list(root.handlers), root.level), before)


class ProcessTest(EZEZTestCase):
    """What can be seen in a process of its own only."""

    def test_importing_websocket_server_leaves_the_root_logger_alone(self) -> None:
        code = """
            import logging, sys
            root = logging.getLogger()
            if sys.argv[1] == "configured":
                logging.basicConfig(level=logging.ERROR)
            before = (list(root.handlers), root.level, logging.getLevelName(root.level))
            import ezez_ws
            assert "websocket_server" not in sys.modules
            with ezez_ws.EZEZWebsocketServer(port=0, on_auth_request=print):
                assert "websocket_server" in sys.modules
                assert (list(root.handlers), root.level, logging.getLevelName(root.level)) == before
            print(len(root.handlers))
        """
        self.assertEqual(run(code, "plain"), "0\n")
        self.assertEqual(run(code, "configured"), "1\n")

    def test_without_descriptors_it_backs_off_and_accepts_again_when_there_are_some(self) -> None:
        code = """
            import logging, resource, socket, threading, time
            from ezez_ws.opening.listener import Listener
            from ezez_ws.opening.places import Places
            from ezez_ws.threads.interrupted import make_lock

            places = Places(make_lock(), None, None, None)

            def serve(place):
                place.wire.write_now(b"hello")

            class Warnings(logging.Handler):
                def emit(self, record):
                    seen.set()

            seen = threading.Event()
            logging.getLogger("ezez_ws").addHandler(Warnings())
            listener = Listener("127.0.0.1", 0, False, serve, places)
            listener.start()
            limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, limit))
            client, taken = socket.socket(), []
            client.settimeout(20)
            try:
                while True:
                    taken.append(socket.socket())
            except OSError:
                pass
            client.connect(("127.0.0.1", listener.server.port))
            assert seen.wait(20)
            used = time.process_time()
            time.sleep(0.5)  # a period to measure, not something to wait for
            assert time.process_time() - used < 0.25, "it spins"
            for sock in taken:
                sock.close()
            print(client.recv(10))
            client.close()
            listener.close()
        """
        self.assertEqual(run(code), "b'hello'\n")

    def test_without_descriptors_it_starts_and_serves_or_raises_and_leaves_nothing(self) -> None:
        code = """
            import logging, os, resource, socket, sys, threading
            from ezez_ws.opening.listener import Listener
            from ezez_ws.opening.places import Places
            from ezez_ws.threads.interrupted import make_lock

            places = Places(make_lock(), None, None, None)

            def serve(place):
                place.wire.write_now(b"hello")

            # what is imported at first use needs descriptors, too
            Listener("127.0.0.1", 0, False, serve, places).close()
            limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, limit))
            for free in range(8):
                client, taken = socket.socket(), []
                client.settimeout(20)
                try:
                    while True:
                        taken.append(socket.socket())
                except OSError:
                    pass
                for _ in range(free):
                    taken.pop().close()
                try:
                    listener = Listener("127.0.0.1", 0, False, serve, places)
                    listener.start()
                except OSError as error:
                    assert error.errno == 24, error
                    print("refused")
                    count = 0
                    try:
                        while True:
                            taken.append(socket.socket())
                            count += 1
                    except OSError:
                        pass
                    assert count == free, (count, free)
                else:
                    while taken:
                        taken.pop().close()
                    client.connect(("127.0.0.1", listener.server.port))
                    print(client.recv(10))
                    listener.close()
                client.close()
                for sock in taken:
                    sock.close()
        """
        lines = run(code).splitlines()
        self.assertEqual(len(lines), 8)
        self.assertEqual(lines[0], "refused")
        self.assertEqual(lines[-1], "b'hello'")
        self.assertLessEqual(set(lines), {"refused", "b'hello'"})


if __name__ == "__main__":
    unittest.main()
