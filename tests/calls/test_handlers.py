"""Handlers: every row of what an answer can be, who is asked, and what is refused."""

import gc
import threading
import unittest
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from ezez_ws import (
    EVENT_ERROR,
    EVENT_OK,
    UNDEFINED,
    CallError,
    EZEZServerClient,
    InvalidArgs,
    RemoteError,
    ReplyTimeout,
    current_reply,
)
from tests.serving import Calls, ServingTestCase
from tests.support import eventually


def error(code: str, message: str, data: Any = None) -> dict[str, Any]:
    return {"code": code, "message": message, "data": data}


def number_of(reply: Any) -> int:
    """The id of the event that a reply answers."""
    return int(reply.__self__._event_id)


INTERNAL = error("internal", "the handler failed")


class AnswerTest(ServingTestCase):
    """What a handler's outcome is on the wire: a raw peer asks."""

    def setUp(self) -> None:
        super().setUp()
        self.told = Calls()
        self.server = self.serve(on_error=self.told.named("error", 1))
        self.side, self.asker = self.pair(self.server)

    def ask(self, event: str = "x", args: Any = ()) -> tuple[str, Any]:
        """Ask, and return the name and the one argument of the answer."""
        self.number = getattr(self, "number", 0) + 1
        self.asker.send_event(event, list(args))
        answer = self.asker.read_event()
        self.assertEqual(self.number, answer.ids.reply_to)
        (value,) = answer.args
        return answer.name, value

    def errors(self, count: int = 1) -> list[BaseException]:
        return [call[1] for call in self.told.wait(count)]

    def test_what_it_returns_is_the_answer(self) -> None:
        self.server.handler("x", lambda client, *args: list(args) or None)
        self.assertEqual((EVENT_OK, None), self.ask())
        self.assertEqual((EVENT_OK, [1, "two", None]), self.ask("x", [1, "two", None]))

    def test_it_gets_the_client_on_a_server_and_the_arguments_only_on_a_clients_own(self) -> None:
        self.server.handler("x", lambda client, number: [client is self.side, number])
        self.assertEqual((EVENT_OK, [True, 1]), self.ask("x", [1]))
        self.side.handler("x", lambda number: ["own", number])
        self.assertEqual((EVENT_OK, ["own", 2]), self.ask("x", [2]))
        self.side.off("x")
        self.assertEqual((EVENT_OK, [True, 3]), self.ask("x", [3]))

    def test_a_call_error_travels(self) -> None:
        def fail(client: EZEZServerClient) -> None:
            raise CallError("no-tea", "there is none left", {"coffee": True})

        self.server.handler("x", fail)
        self.assertEqual((EVENT_ERROR, error("no-tea", "there is none left", {"coffee": True})), self.ask())
        self.assertEqual([], self.told.seen)

    def test_any_other_error_is_internal_and_told_here_only(self) -> None:
        for wrong in (
            KeyError("secret"),
            SystemExit(3),
            RemoteError("a", "b"),
            ReplyTimeout("late"),
            InvalidArgs("a", "b"),
        ):
            with self.subTest(type(wrong).__name__):
                self.server.off("x")

                def fail(client: EZEZServerClient, wrong: BaseException = wrong) -> None:
                    raise wrong

                self.server.handler("x", fail)
                before = len(self.told.seen)
                self.assertEqual((EVENT_ERROR, INTERNAL), self.ask())
                self.assertIs(wrong, self.errors(before + 1)[-1])
        self.assertTrue(self.side.alive)

    def test_a_value_that_cannot_be_sent_is_internal_and_its_place_is_told(self) -> None:
        self.server.handler("x", lambda client: {"a": [1, object()]})
        self.assertEqual((EVENT_ERROR, INTERNAL), self.ask())
        self.assertIn('["a"][1]', str(self.errors()[0]))

        def fail(client: EZEZServerClient) -> None:
            raise CallError("c", "m", [object()])

        self.server.handler("y", fail)
        self.assertEqual((EVENT_ERROR, INTERNAL), self.ask("y"))
        self.assertIn("[0]", str(self.errors(2)[1]))

    def test_a_future_is_answered_when_it_is_done(self) -> None:
        futures: list[Future[Any]] = []

        def later(client: EZEZServerClient) -> "Future[Any]":
            futures.append(Future())
            return futures[-1]

        self.server.handler("x", later)
        outcomes: list[tuple[Callable[[Future[Any]], object], Any]] = [
            (lambda future: future.set_result([1]), (EVENT_OK, [1])),
            (lambda future: future.set_exception(CallError("c", "m")), (EVENT_ERROR, error("c", "m"))),
            (lambda future: future.set_exception(KeyError("secret")), (EVENT_ERROR, INTERNAL)),
            (lambda future: future.set_exception(SystemExit(3)), (EVENT_ERROR, INTERNAL)),  # nor does it end a pool
            (lambda future: future.cancel(), (EVENT_ERROR, INTERNAL)),
            (lambda future: future.set_result(object()), (EVENT_ERROR, INTERNAL)),
        ]
        self.server.handler("ping", lambda client: "pong")
        for number, (settle, answer) in enumerate(outcomes):
            with self.subTest(answer=answer):
                self.asker.send_event("x")
                self.asker.send_event("ping")  # the connection goes on meanwhile
                self.assertEqual(["pong"], self.asker.read_event().args)
                settle(futures[-1])
                answered = self.asker.read_event()
                self.assertEqual((*answer, 1 + 2 * number), (answered.name, *answered.args, answered.ids.reply_to))
        self.asker.send_event("ping")  # a peer would have answered the ping that wakes the connection's thread
        names = [type(error).__name__ for error in self.errors(4)]
        self.assertEqual(["KeyError", "SystemExit", "CancelledError", "SerializationError"], names)

    def test_a_future_that_is_never_done_keeps_nothing_of_a_connection_that_has_ended(self) -> None:
        shared: Future[Any] = Future()
        self.server.handler("x", lambda client: shared)
        self.server.handler("ping", lambda client: "pong")
        side, peer = self.pair(self.server)
        peer.send_event("x")
        peer.send_event("ping")
        peer.read_event()
        there = weakref.ref(side)
        del side
        peer.close()

        def is_freed() -> bool:
            gc.collect()
            return there() is None

        eventually(is_freed, what="the end of what the server has of the client")
        with self.assertLogs("ezez_ws", "ERROR") as logs:
            shared.set_exception(KeyError("which nobody hears of"))
        self.assertRegex(logs.output[0], "an error in the handler of 'x' .*, whose connection has ended")

    def test_nothing_more_is_sent_where_a_listener_or_the_handler_itself_has_replied(self) -> None:
        self.server.handler("x", lambda client: "handler")
        self.server.on("x", lambda client, args, reply, ids: reply("listener", [1]))
        self.assertEqual(("listener", 1), self.ask())
        self.server.handler("y", lambda client: current_reply()("by hand", [2]))
        self.assertEqual(("by hand", 2), self.ask("y"))
        self.server.off("x")
        self.server.handler("x", lambda client: 3)
        self.assertEqual((EVENT_OK, 3), self.ask())  # and nothing came between

    def test_the_reply_of_the_handler_that_runs_is_its_threads_alone(self) -> None:
        with self.assertRaisesRegex(RuntimeError, "no handler runs on this thread"):
            current_reply()
        gate = self.gate()
        self.server.handler("outer", lambda client: [self.side.call("name", timeout=10), number_of(current_reply())])
        self.server.handler("inner", lambda client: number_of(current_reply()))
        del gate
        self.asker.send_event("outer")
        question = self.asker.read_event()
        self.asker.send_event("inner")
        self.assertEqual([2], self.asker.read_event().args)
        self.asker.send_event("answer", ["Joe"], reply_to=question.ids.event_id)
        self.assertEqual([["Joe", 1]], self.asker.read_event().args)

    def test_listeners_run_before_it_and_on_message_before_them(self) -> None:
        calls = Calls()
        self.side.on("x", calls.named("own"))
        self.server.on("x", calls.named("shared"))
        self.server.handler("x", lambda client: calls.add("handler"))
        self.ask()
        self.assertEqual([("own",), ("shared",), ("handler",)], calls.seen)

    def test_a_client_that_is_gone_misses_its_answer_and_nothing_is_told(self) -> None:
        gate = self.gate()
        ended = threading.Event()

        def slow(client: EZEZServerClient) -> str:
            gate()
            ended.set()
            return "too late"

        self.server.handler("x", slow)
        self.asker.send_event("x")
        gate.wait_entered()
        self.asker.close()
        eventually(lambda: not self.side.alive)
        gate.open()
        self.assertTrue(ended.wait(10))
        eventually(lambda: not self.server.clients)
        self.assertEqual([], self.told.seen)


class UnknownTest(ServingTestCase):
    def test_an_unknown_event_is_ignored_unless_an_error_is_wanted(self) -> None:
        for option in ("ignore", "error"):
            with self.subTest(option):
                server = self.serve(unknown_events=option)
                _, peer = self.pair(server)
                server.handler("known", lambda client: 1)
                peer.send_event("nobody")
                peer.send_event("nobody", reply_to=77)  # a reply is never answered so
                peer.send_event("known")
                first = peer.read_event()
                if option == "error":
                    self.assertEqual((EVENT_ERROR, 1), (first.name, first.ids.reply_to))
                    self.assertEqual("unknown-event", first.args[0]["code"])
                    self.assertIn("nobody", first.args[0]["message"])
                    first = peer.read_event()
                self.assertEqual((EVENT_OK, 3), (first.name, first.ids.reply_to))

    def test_an_event_that_anybody_hears_of_is_not_unknown(self) -> None:
        server = self.serve(unknown_events="error", on_message=lambda *args: None)
        _, peer = self.pair(server)
        server.handler("known", lambda client: 1)
        peer.send_event("nobody")
        peer.send_event("known")
        self.assertEqual(2, peer.read_event().ids.reply_to)

    def test_it_is_told_once_for_each_name_and_of_a_bounded_number(self) -> None:
        with self.assertLogs("ezez_ws", "DEBUG") as logs:
            server = self.serve()
            _, peer = self.pair(server)
            server.handler("known", lambda client: 1)
            for number in [1, 1, 2, *range(3, 203)]:
                peer.send_event(f"event {number}")
            peer.send_event("known")
            peer.read_event()
        told = [line for line in logs.output if "nobody handles" in line]
        self.assertEqual(100, len(told))
        self.assertEqual(1, sum("'event 1'" in line for line in told))

    def test_a_client_can_answer_so_too(self) -> None:
        server = self.serve()
        self.client(server, unknown_events="error")
        (side,) = server.clients
        with self.assertRaises(RemoteError) as caught:
            side.call("nobody", timeout=10)
        self.assertEqual("unknown-event", caught.exception.code)


class RegistrationTest(ServingTestCase):
    def test_a_second_handler_of_an_event_is_refused_until_off(self) -> None:
        server = self.make()
        function = server.handler("x", lambda client: 1)
        with self.assertRaisesRegex(ValueError, "'x' has a handler already"):
            server.handler("x", lambda client: 2)
        server.off("x", lambda client: 3)  # another function
        with self.assertRaises(ValueError):
            server.handler("x", lambda client: 2)
        server.off("x", function)
        server.handler("x", lambda client: 2)

    def test_a_name_that_another_library_makes_an_event_of_is_warned_of(self) -> None:
        with self.assertLogs("ezez_ws", "WARNING") as logs:
            self.make().handler("connect", lambda client: None)
        self.assertIn("handler('connect'): no event of this name comes by itself", logs.output[0])

    def test_as_a_decorator_it_returns_the_function(self) -> None:
        server = self.make()

        @server.handler("x")
        def handle(client: EZEZServerClient) -> int:
            return 1

        self.assertEqual(1, handle(None))  # type: ignore[arg-type]

    def test_what_can_never_be_called_so_is_refused_where_it_is_registered(self) -> None:
        server = self.make()

        async def coroutine(client: Any) -> None: ...

        def generator(client: Any) -> Any:
            yield

        def nothing() -> None: ...

        def named(client: Any, *, name: str) -> None: ...

        for wrong in (coroutine, generator, nothing, named, 5, None):
            with self.subTest(wrong), self.assertRaises(TypeError):
                server.handler("x", wrong)  # type: ignore[arg-type]
        server.handler("x", lambda client: 1)  # nothing of those was kept

    def test_the_names_of_answers_cannot_be_listened_to_but_be_sent(self) -> None:
        server = self.serve()
        side, peer = self.pair(server)
        for name in (EVENT_OK, EVENT_ERROR):
            for register in (server.on, server.once, side.on, server.handler, side.handler):
                with self.subTest(name), self.assertRaisesRegex(ValueError, "answer to a call"):
                    register(name, lambda *args: None)
            self.assertTrue(side.send(name, [1]))
            self.assertEqual(name, peer.read_event().name)

    def test_too_few_and_too_many_arguments_are_invalid_args(self) -> None:
        server = self.serve()
        client = self.client(server)
        server.handler("two", lambda client, a, b=5: [a, b])
        self.assertEqual([1, 5], client.call("two", [1], timeout=10))
        self.assertEqual([1, 5], client.call("two", [1, UNDEFINED], timeout=10))
        for args in ([], [1, 2, 3]):
            with self.subTest(args=args), self.assertRaises(InvalidArgs) as caught:
                client.call("two", args, timeout=10)
            self.assertEqual("invalid-args", caught.exception.code)


if __name__ == "__main__":
    unittest.main()
