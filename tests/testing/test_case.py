"""A user's suite with ``ServerTestCase``: what it closes, what it fails for, and how it gets along with all else."""

import contextlib
import io
import logging
import socket
import threading
import unittest
from collections.abc import Callable
from typing import Any
from unittest import mock

from ezez_ws import AuthRejected, EZEZServerClient, EZEZWebSocketClient, EZEZWebsocketServer, RemoteError
from ezez_ws.testing import Link, RawPeer, ServerTestCase
from tests.support import EZEZTestCase, eventually

MOSTLY_WAITS = True


def make_server(**options: Any) -> EZEZWebsocketServer:
    options.setdefault("on_auth_request", lambda client, key: key != "wrong")
    server = EZEZWebsocketServer(port=0, **options)
    server.on("echo", lambda client, args, reply, ids: reply("echo", args))

    @server.handler("divide")
    def divide(client: EZEZServerClient, a: int, b: int) -> float:
        return a / b

    return server


class Case(ServerTestCase):
    """A user's; ``does`` is its test."""

    def does(self) -> object: ...

    def test(self) -> None:
        self.does()


class CaseTestCase(EZEZTestCase):
    def run_case(self, does: Callable[[Any], object], base: type[Case] = Case, **members: Any) -> unittest.TestResult:
        case = type("UserCase", (base,), {"does": does, **members})("test")
        result = unittest.TestResult()
        case.run(result)
        return result

    def passes(self, does: Callable[[Any], object], **members: Any) -> None:
        result = self.run_case(does, **members)
        self.assertEqual(([], [], 1), (result.failures, result.errors, result.testsRun))

    def fails(self, does: Callable[[Any], object], *texts: str, **members: Any) -> str:
        """Run a test that fails once, for these reasons; return all that is told."""
        result = self.run_case(does, **members)
        self.assertEqual([], [text for _, text in result.errors])
        self.assertEqual(1, len(result.failures), result.failures)
        for text in texts:
            self.assertRegex(result.failures[0][1], text)
        return result.failures[0][1]


class ClosingTest(CaseTestCase):
    def test_a_server_and_its_clients_are_closed_at_the_end_clients_first(self) -> None:
        made: list[Any] = []

        def test(case: Case) -> None:
            gone = threading.Event()
            server = case.start(make_server(on_disconnect=lambda client, code, reason: made.append(code)))
            client = case.connect(server, auth="right", on_disconnect=lambda code, reason: gone.set())
            case.assertEqual(["x"], client.send("echo", ["x"]).wait_reply(5).args)
            made.extend([server, client])

        self.passes(test)
        server, client, code = made
        self.assertEqual(1000, code)
        self.assertFalse(client.alive)
        self.assertIsNone(server.listener)

    def test_tear_down_still_has_them_and_cleanups_keep_their_order(self) -> None:
        seen: list[Any] = []

        def set_up(case: Any) -> None:  # which calls no other
            case.addCleanup(lambda: seen.append(case.server.listener is None))
            case.server = case.start(make_server())
            case.addCleanup(lambda: seen.append(case.server.listener is None))

        def tear_down(case: Any) -> None:
            seen.append(case.connect(case.server).alive)

        self.passes(lambda case: None, setUp=set_up, tearDown=tear_down)
        self.assertEqual([True, False, True], seen)

    def test_links_and_peers_that_a_test_makes_are_closed_too(self) -> None:
        made: list[Any] = []

        def test(case: Case) -> None:
            link = Link(case.start(make_server()))
            made.extend([link, RawPeer(link, "key"), case.connect(link)])

        self.passes(test)
        with self.assertRaisesRegex(RuntimeError, "closed"):
            made[0].stall()
        self.assertEqual(-1, made[1].sock.fileno())

    def test_what_cannot_connect_is_closed_and_says_why(self) -> None:
        def test(case: Case) -> None:
            case.connect(case.start(make_server()), auth="wrong")

        result = self.run_case(test)
        self.assertEqual(([], 1), (result.failures, len(result.errors)))
        self.assertIn(AuthRejected.__name__, result.errors[0][1])

    def test_misuse_is_named(self) -> None:
        def not_running(case: Case) -> None:
            with self.assertRaisesRegex(RuntimeError, "not in setUpClass"):
                Case("test").start(make_server())

        def wrong(case: Case) -> None:
            with self.assertRaisesRegex(TypeError, "takes an EZEZWebsocketServer, not str"):
                case.start("server")  # type: ignore[type-var]
            with self.assertRaisesRegex(TypeError, "not the class EZEZWebsocketServer"):
                case.start(EZEZWebsocketServer)  # type: ignore[type-var]
            with self.assertRaisesRegex(ValueError, "is not started"):
                case.connect(make_server())
            with self.assertRaisesRegex(TypeError, "the class of an exception, not 'ValueError'"):
                case.expect_error("ValueError")  # type: ignore[arg-type]

        self.passes(not_running)
        self.passes(wrong)


class LeftoversTest(CaseTestCase):
    def test_a_thread_is_named(self) -> None:
        gate = threading.Event()
        self.addCleanup(gate.set)

        def test(case: Case) -> None:
            threading.Thread(target=gate.wait, name="forgotten", daemon=True).start()

        self.fails(test, r"the test has left behind:\n- the thread 'forgotten' \(a daemon\)\n\Z")

    def test_a_listener_that_does_not_return_is_named_by_its_thread(self) -> None:
        gate, entered = threading.Event(), threading.Event()
        self.addCleanup(gate.set)

        def stick(*_: object) -> None:
            entered.set()
            gate.wait(30)

        def test(case: Case) -> None:
            server = make_server(close_timeout=0.1)
            server.on("stick", stick)
            case.connect(case.start(server)).send("stick")
            case.assertTrue(entered.wait(5))

        with mock.patch("ezez_ws.testing.testbed._EZEZ_GRACE", 0.2):
            self.fails(test, r"the thread 'ezez-conn-[^']*' \(a daemon\)")
        gate.set()

    def test_sockets_are_named_by_their_addresses(self) -> None:
        kept: list[socket.socket] = []

        def test(case: Case) -> None:
            listener = socket.create_server(("127.0.0.1", 0))
            kept.extend([listener, socket.create_connection(listener.getsockname())])

        result = self.run_case(test)
        port, from_port = (sock.getsockname()[1] for sock in kept)
        for sock in kept:
            sock.close()
        text = result.failures[0][1]
        self.assertIn(f"- a socket at 127.0.0.1:{port}\n", text)
        self.assertIn(f"- a socket from 127.0.0.1:{from_port} to 127.0.0.1:{port}\n", text)

    def test_a_server_and_a_client_of_the_users_own_are_seen_too(self) -> None:
        kept: list[Any] = []

        def test(case: Case) -> None:
            server = make_server()
            server.start()
            client = EZEZWebSocketClient(server.url)
            client.connect()
            kept.extend([client, server])

        with mock.patch("ezez_ws.testing.testbed._EZEZ_GRACE", 0.1):
            text = self.fails(
                test, "the thread 'ezez-accept-", "the thread 'ezez-client-", r"a socket at 127\.0\.0\.1:"
            )
        for one in kept:
            one.close()
        self.assertIn(f"a socket at 127.0.0.1:{kept[1].port}" if kept[1].port else "a socket at", text)

    def test_what_is_allowed_may_be_left(self) -> None:
        gate = threading.Event()
        self.addCleanup(gate.set)

        def test(case: Case) -> None:
            threading.Thread(target=gate.wait, name="pool-1", daemon=True).start()

        self.passes(test, allowed_leftovers=("'pool-",))

    def test_a_wrong_pattern_fails_the_test_and_is_named(self) -> None:
        for wrong, text in (
            (("'pool-(",), r"ValueError: allowed_leftovers: \"'pool-\(\" is no regular expression: missing \)"),
            ((5,), "allowed_leftovers: 5 is no regular expression"),
            ("'pool-", "TypeError: allowed_leftovers is a tuple of regular expressions, not the str"),
        ):
            with self.subTest(wrong):
                result = self.run_case(lambda case: None, allowed_leftovers=wrong)
                self.assertEqual(([], 1), (result.failures, len(result.errors)))
                self.assertRegex(result.errors[0][1], text)

    def test_a_reply_that_is_awaited_is_named_by_its_event_and_its_callback(self) -> None:
        def on_answer(*_: object) -> None: ...

        def test(case: Any) -> None:
            server = make_server()
            server.on("silence", lambda *_: None)
            client = case.connect(case.start(server))
            case.sent = client.send("silence", on_reply=on_answer)
            client.send("echo", on_reply=on_answer)

        text = (
            r"- the reply to 'silence' \(message 1\), awaited at <EZEZWebSocketClient ws:[^>]* ready>, for the on_reply"
        )
        self.assertNotIn("echo", self.fails(test, text, r"on_answer\n"))

    def test_a_reply_that_a_server_awaits_is_named_too(self) -> None:
        def test(case: Any) -> None:
            server = case.start(make_server())
            client = case.connect(server)
            (side,) = eventually(lambda: [one for one in server.clients if one.authenticated])
            heard = threading.Event()
            client.on("silence", lambda *_: heard.set())
            side.send("silence", on_reply=lambda *_: None)
            case.assertTrue(heard.wait(5))

        self.fails(test, r"- the reply to message 1, awaited at <EZEZWebsocketServer ws:")

    def test_a_reply_that_has_come_or_whose_connection_has_ended_is_not(self) -> None:
        def test(case: Any) -> None:
            client = case.connect(case.start(make_server()))
            client.send("echo", on_reply=lambda *_: None)
            case.other = case.connect(case.start(make_server()))
            case.other.send("silence", on_reply=lambda *_: None)
            case.other.close()

        self.passes(test)

    def test_a_queued_message_with_a_callback_is_named(self) -> None:
        def test(case: Any) -> None:
            server = case.start(make_server())
            client = case.connect(server)
            server.close()
            eventually(lambda: not client.alive)
            client.send("echo", on_reply=lambda *_: None)

        self.fails(test, r"1 awaited reply to queued messages of <EZEZWebSocketClient")


class FailingTest(CaseTestCase):
    """What is left, beside the test's own fate."""

    def setUp(self) -> None:
        self.gate = threading.Event()
        self.addCleanup(self.gate.set)

    def leave_thread(self) -> None:
        threading.Thread(target=self.gate.wait, name="forgotten", daemon=True).start()

    def test_the_tests_own_failure_comes_first(self) -> None:
        def test(case: Case) -> None:
            self.leave_thread()
            case.assertEqual(1, 2)

        result = self.run_case(test)
        first, second = (text for _, text in result.failures)
        self.assertIn("1 != 2", first)
        self.assertIn("'forgotten'", second)

    def test_its_own_error_and_that_of_its_tear_down_come_first_too(self) -> None:
        def test(case: Case) -> None:
            self.leave_thread()
            raise KeyError("own")

        def tear_down(case: Case) -> None:
            raise IndexError("tear down")

        result = self.run_case(test, tearDown=tear_down)
        self.assertEqual(2, len(result.errors))
        self.assertIn("KeyError: 'own'", result.errors[0][1])
        self.assertIn("tear down", result.errors[1][1])
        self.assertIn("'forgotten'", result.failures[0][1])

    def test_a_set_up_that_fails_is_looked_at_as_well(self) -> None:
        def set_up(case: Case) -> None:
            case.start(make_server())
            self.leave_thread()
            raise KeyError("set up")

        result = self.run_case(lambda case: None, setUp=set_up)
        self.assertIn("set up", result.errors[0][1])
        self.assertIn("'forgotten'", result.failures[0][1])

    def test_a_test_that_skips_itself_is_skipped(self) -> None:
        def test(case: Case) -> None:
            case.start(make_server())
            case.skipTest("not today")

        result = self.run_case(test)
        self.assertEqual(["not today"], [reason for _, reason in result.skipped])
        self.assertTrue(result.wasSuccessful())

    def test_one_that_is_skipped_leaves_no_trace(self) -> None:
        before = list(logging.getLogger("ezez_ws").handlers)
        case = unittest.skip("never")(type("Skipped", (Case,), {"does": lambda case: None}))("test")
        result = unittest.TestResult()
        case.run(result)
        self.assertEqual(1, len(result.skipped))
        self.assertEqual(before, logging.getLogger("ezez_ws").handlers)

    def test_an_expected_failure_that_leaves_something_fails(self) -> None:
        @unittest.expectedFailure
        def test(case: Case) -> None:
            case.fail("as expected")

        result = self.run_case(test, test=test)
        self.assertEqual(1, len(result.expectedFailures))

    def test_a_subtest_that_fails_does_not_end_the_test(self) -> None:
        def test(case: Case) -> None:
            client = case.connect(case.start(make_server()))
            for number in range(3):
                with case.subTest(number):
                    case.assertEqual([number], client.send("echo", [number]).wait_reply(5).args)
                    case.assertNotEqual(1, number)

        result = self.run_case(test)
        self.assertEqual(1, len(result.failures))

    def test_it_can_be_debugged(self) -> None:
        def test(case: Case) -> None:
            case.connect(case.start(make_server()))
            self.leave_thread()

        case = type("UserCase", (Case,), {"does": test})("test")
        with self.assertRaisesRegex(AssertionError, "'forgotten'"):
            case.debug()

    def test_it_is_a_mixin_on_either_side(self) -> None:
        class Base(unittest.TestCase):
            def setUp(self) -> None:
                self.base = True

        class Left(ServerTestCase, Base):
            def test(self) -> None:
                assert self.base
                self.connect(self.start(make_server()))

        class Right(Base, ServerTestCase):
            def test(self) -> None:
                assert self.base
                self.connect(self.start(make_server()))

        for kind in (Left, Right):
            result = unittest.TestResult()
            kind("test").run(result)
            self.assertEqual(([], [], 1), (result.errors, result.failures, result.testsRun))


def divide_by_zero(case: ServerTestCase) -> None:
    client = case.connect(case.start(make_server()))
    try:
        client.call("divide", [1, 0], timeout=5)
    except RemoteError:
        pass


class ErrorsTest(CaseTestCase):
    def test_one_that_nobody_has_read_fails_with_its_traceback(self) -> None:
        self.fails(
            divide_by_zero,
            r"- an error that nobody has read: .*the handler of 'divide' \(.*divide\)",
            r"return a / b",
            r"ZeroDivisionError: division by zero\n\Z",
        )

    def test_one_of_a_clients_listener_too(self) -> None:
        def test(case: Any) -> None:
            server = case.start(make_server())
            client = case.connect(server)
            client.on("boom", lambda args, reply, ids: dict(args)["gone"])
            eventually(lambda: server.broadcast("boom"))
            case.addCleanup(client.call, "divide", [1, 1], 5)

        self.fails(test, "the listener of 'boom'", "KeyError: 'gone'")

    def test_one_that_is_expected_is_read_before_it_comes_or_after_that(self) -> None:
        def before(case: Case) -> None:
            case.expect_error(ZeroDivisionError)
            divide_by_zero(case)

        def after(case: Case) -> None:
            divide_by_zero(case)
            error = case.expect_error(ArithmeticError, "by zero").wait()
            self.assertIsInstance(error, ZeroDivisionError)

        def around(case: Case) -> None:
            with case.expect_error(ZeroDivisionError) as expected:
                divide_by_zero(case)
            self.assertIsInstance(expected.error, ZeroDivisionError)

        for test in (before, after, around):
            self.passes(test)

    def test_each_is_expected_by_itself(self) -> None:
        def test(case: Case) -> None:
            case.expect_error(ZeroDivisionError)
            divide_by_zero(case)
            divide_by_zero(case)

        self.fails(test, "an error that nobody has read")

    def test_another_than_was_expected_fails_twice(self) -> None:
        def test(case: Case) -> None:
            case.expect_error(KeyError, "x")
            divide_by_zero(case)

        self.fails(
            test,
            "an error that nobody has read",
            r"- the expected KeyError with the text 'x', which has not come",
        )

    def test_waiting_for_one_that_does_not_come_fails_and_says_what_came(self) -> None:
        def test(case: Case) -> None:
            divide_by_zero(case)
            with self.assertRaisesRegex(
                AssertionError, r"not come within 0\.2 s\ncame instead: ZeroDivisionError: division by zero\Z"
            ):
                case.expect_error(KeyError).wait(0.2)
            case.expect_error(ZeroDivisionError)

        self.fails(test, "the expected KeyError, which has not come")

    def test_an_error_in_the_block_is_not_hidden_by_waiting(self) -> None:
        def test(case: Case) -> None:
            with case.expect_error(KeyError):
                case.fail("own")

        result = self.run_case(test)
        self.assertIn("own", result.failures[0][1])

    def test_what_assert_logs_saw_is_read_whichever_logger_it_asks(self) -> None:
        def named(case: Case) -> None:
            with case.assertLogs("ezez_ws", "ERROR"):
                divide_by_zero(case)
                case.doCleanups()

        def root(case: Case) -> None:
            with case.assertLogs(level="ERROR"):
                divide_by_zero(case)
                case.doCleanups()  # the reply comes before it is logged

        for test in (named, root):
            self.passes(test)

    def test_what_on_error_got_is_read(self) -> None:
        errors: list[BaseException] = []

        def test(case: Case) -> None:
            server = case.start(make_server(on_error=lambda client, error: errors.append(error)))
            with case.assertRaises(RemoteError):
                case.connect(server).call("divide", [1, 0], timeout=5)

        self.passes(test)
        self.assertEqual(["ZeroDivisionError"], [type(error).__name__ for error in errors])

    def test_many_in_a_row_are_each_seen(self) -> None:
        for _ in range(15):  # more than the log tells singly in a second
            self.fails(divide_by_zero, "an error that nobody has read")

    def test_warnings_are_printed_as_without_it_and_errors_only_in_the_failure(self) -> None:
        def test(case: Case) -> None:
            case.start(make_server()).on("connect", lambda *_: None)
            divide_by_zero(case)

        printed = io.StringIO()
        with contextlib.ExitStack() as quiet:
            quiet.enter_context(contextlib.redirect_stderr(printed))
            for name in ("ezez_ws", None):  # as in a program that has not set up logging
                quiet.enter_context(mock.patch.object(logging.getLogger(name), "handlers", []))
            self.fails(test)
        self.assertIn("on('connect')", printed.getvalue())
        self.assertNotIn("ZeroDivisionError", printed.getvalue())


if __name__ == "__main__":
    unittest.main()
