"""Calls with scripts in Node, on ``ws`` and the reference serializer: each row of both tables, each end as both."""

import concurrent.futures
import datetime
import queue
from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import Future, as_completed
from functools import partial
from typing import Any

from ezez_ws import (
    EVENT_ERROR,
    EVENT_OK,
    UNDEFINED,
    BigInt,
    CallError,
    ConnectionClosed,
    EZEZServerClient,
    EZEZWebSocketClient,
    EZEZWebsocketServer,
    InvalidArgs,
    RemoteError,
    ReplyTimeout,
    current_reply,
)
from tests.interop.node import CODEC, NodeProcess
from tests.neutral import build, same
from tests.serving import KEY, Calls
from tests.support import EZEZTestCase, needs_node, needs_pydantic

MOSTLY_WAITS = True

WHEN = datetime.datetime(2020, 1, 2, 3, 4, 5, 678000, datetime.timezone.utc)
VALUES: list[Any] = [
    None,
    False,
    0,
    1.5,
    "żółw",
    b"\0\xff",
    BigInt(2**70),
    [],
    {},
    [None, [1]],
    {"a": {"b": UNDEFINED}},
]
INTERNAL = {"code": "internal", "message": "the handler failed", "data": None}
JS: dict[type, Callable[[Any], Any]] = {
    type(None): lambda _: ["null"],
    str: lambda text: ["str", text],
    bool: lambda value: ["bool", value],
    int: lambda number: ["num", str(number)],
}


def failing(error: BaseException) -> Callable[..., Any]:
    def fail(*args: Any) -> None:
        raise error

    return fail


class CallsMixin(EZEZTestCase):
    """What holds whichever end is the server: ``self.side`` is ours of a connection with ``self.node``."""

    side: EZEZServerClient | EZEZWebSocketClient
    node: NodeProcess

    def meet(self, **options: Any) -> None:
        raise NotImplementedError

    def setUp(self) -> None:
        super().setUp()
        self.errors = Calls()
        self.meet(on_error=lambda *args: self.errors.add(args[-1]))

    def ask(self, event: str, *args: Any) -> tuple[str, list[Any]]:
        """Have Node ask; return the name of what answers, and its arguments."""
        self.node.tell("ask", event=event, args=[JS[type(arg)](arg) for arg in args])
        told = self.node.next("answer")
        return told["answer"], [build(value) for value in told["args"]]

    # -- Node answers ------------------------------------------------------------------------------------------------

    def test_the_value_that_it_answers_with_is_returned(self) -> None:
        for value in (*VALUES, UNDEFINED, WHEN):
            with self.subTest(value=value):
                for answer in (EVENT_OK, "pong"):  # one argument is itself, whatever the reply is called
                    self.assertTrue(same(value, self.side.call("answer as", [answer, value], timeout=30)))
                self.assertTrue(same(value, self.side.submit("answer as", [EVENT_OK, value]).result(30)))

    def test_another_reply_with_no_argument_is_none_and_with_many_a_list(self) -> None:
        for args in ([], [1, None], VALUES):
            with self.subTest(args=args):
                self.assertTrue(same(args or None, self.side.call("answer as", ["pong", *args], timeout=30)))

    def test_an_error_is_raised_whatever_its_shape(self) -> None:
        details = [{"loc": ["b"], "type": "int_type", "msg": "Input should be a valid integer"}]
        for args, expected in (
            ([{"code": "no-tea", "message": "none left", "data": [1]}], (RemoteError, "no-tea", "none left", [1])),
            ([{"code": "c", "message": "m"}], (RemoteError, "c", "m", None)),
            ([{"code": "c", "message": "m", "data": UNDEFINED}], (RemoteError, "c", "m", UNDEFINED)),
            ([{"code": "invalid-args", "message": "b", "data": details}], (InvalidArgs, "invalid-args", "b", details)),
            ([{"code": 5, "message": None}], (RemoteError, "error", "", None)),
            ([{"message": "m"}], (RemoteError, "error", "", [{"message": "m"}])),
            (["broken"], (RemoteError, "error", "broken", ["broken"])),
            ([5, "broken", "more"], (RemoteError, "error", "broken", [5, "broken", "more"])),
            ([None], (RemoteError, "error", "", [None])),
            ([], (RemoteError, "error", "", [])),
        ):
            given: list[Any] = [EVENT_ERROR, *args]
            asks: list[Callable[[], Any]] = [
                partial(self.side.call, "answer as", given, timeout=30),
                lambda: self.side.submit("answer as", given).result(30),  # noqa: B023 - it is called at once
            ]
            for ask in asks:
                with self.subTest(args=args), self.assertRaises(RemoteError) as caught:
                    ask()
                error = caught.exception
                self.assertEqual(expected, (type(error), error.code, error.message, error.data))

    def test_the_first_of_two_answers_counts_and_the_other_is_an_event(self) -> None:
        heard = Calls()
        self.side.on("second", lambda args, reply, ids: heard.add(*args))
        self.assertEqual(1, self.side.call("twice", [1, 2], timeout=30))
        self.assertEqual(1, self.side.submit("twice", [1, 2]).result(30))
        self.assertEqual([(2,), (2,)], heard.wait(2))

    def test_an_event_that_it_does_not_know_ends_by_the_time(self) -> None:
        with self.assertRaisesRegex(ReplyTimeout, r"^no reply to 'weather' \(message 1\) within 0.1 seconds$"):
            self.side.call("weather", timeout=0.1)
        future = self.side.submit("weather")
        with self.assertRaises(concurrent.futures.TimeoutError):
            future.result(0.1)
        self.assertTrue(future.cancel())
        self.assertEqual(5, self.side.call("echo", [5], timeout=30))

    def test_many_calls_at_once_get_their_own_answers(self) -> None:
        futures = {self.side.submit("echo", [number]): number for number in range(200)}
        for future in as_completed(futures, 30):
            self.assertEqual(futures[future], future.result())

    def test_it_may_ask_back_before_it_answers_and_be_asked_meanwhile(self) -> None:
        self.side.handler("add", lambda a, b: a + self.side.call("echo", [b], timeout=30))
        self.assertEqual([EVENT_OK, 5], self.side.call("ask back", ["add", 2, 3], timeout=30))
        self.assertEqual([EVENT_OK, 5], self.side.submit("ask back", ["add", 2, 3]).result(30))

    def test_a_reply_that_asks_is_answered_by_the_handler_of_its_name(self) -> None:
        noted = Calls()
        self.side.handler("your age?", lambda name: 36)
        self.side.on("noted", lambda args, reply, ids: noted.add(*args))
        self.side.send("interview").wait_reply(timeout=30).reply("name", ["Ada"])
        self.assertEqual([("Ada", 36)], noted.wait())

    def test_open_calls_end_with_the_connection_however_it_ends(self) -> None:
        ends: list[tuple[Callable[[], object], int]] = [
            (lambda: self.node.tell("close", code=4000, reason="enough"), 4000),
            (lambda: self.node.tell("terminate"), 1006),
            (self.node.kill, 1006),
        ]
        for end, code in ends:
            futures = [self.side.submit("never answered", [number]) for number in range(50)]
            told = Calls()
            futures[0].add_done_callback(told.add)
            self.assertEqual("there", self.side.call("echo", ["there"], timeout=30))
            end()
            for future in futures:
                error = future.exception(30)
                assert isinstance(error, ConnectionClosed)
                self.assertEqual(code, error.code)
            self.assertEqual([(futures[0],)], told.wait())
            self.assertEqual(0, self.side.awaiting_replies_count)
            if end != self.node.kill:
                self.node.next("closed")
                self.again()

    def again(self) -> None:
        """Have a connection again."""
        raise NotImplementedError

    # -- Node asks ---------------------------------------------------------------------------------------------------

    def test_what_a_handler_returns_is_the_one_argument_of_ok(self) -> None:
        values = [*VALUES, UNDEFINED, (1, 2)]
        self.side.handler("x", lambda index: values[index])
        for index, value in enumerate([*values[:-1], [1, 2]]):
            with self.subTest(value=value):
                answer, args = self.ask("x", index)
                self.assertEqual(EVENT_OK, answer)
                self.assertTrue(same([value], args), args)

    def test_a_future_is_answered_when_it_is_done(self) -> None:
        futures: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()

        def later() -> "Future[Any]":
            future: Future[Any] = Future()
            futures.put(future)
            return future

        self.side.handler("later", later)
        outcomes: list[tuple[Callable[[Future[Any]], object], tuple[str, Any]]] = [
            (lambda future: future.set_result({"a": 1}), (EVENT_OK, {"a": 1})),
            (
                lambda future: future.set_exception(CallError("c", "m", 1)),
                (EVENT_ERROR, {"code": "c", "message": "m", "data": 1}),
            ),
            (lambda future: future.set_exception(KeyError("secret")), (EVENT_ERROR, INTERNAL)),
            (lambda future: future.cancel(), (EVENT_ERROR, INTERNAL)),
        ]
        for end, (name, value) in outcomes:
            self.node.tell("ask", event="later", args=[])
            end(futures.get(timeout=30))
            told = self.node.next("answer")
            self.assertEqual((name, [value]), (told["answer"], [build(one) for one in told["args"]]))

    def test_call_errors_travel_and_all_others_are_internal(self) -> None:
        self.side.handler("refuse", failing(CallError("no-tea", "none left", {"coffee": [True]})))
        refusal = {"code": "no-tea", "message": "none left", "data": {"coffee": [True]}}
        self.assertEqual((EVENT_ERROR, [refusal]), self.ask("refuse"))
        self.assertEqual([], self.errors.seen)
        wrong = [KeyError("secret"), SystemExit(3), RemoteError("a", "b"), ReplyTimeout("late")]
        for number, error in enumerate(wrong):
            self.side.handler(f"fail {number}", failing(error))
            self.assertEqual((EVENT_ERROR, [INTERNAL]), self.ask(f"fail {number}"))
        self.assertEqual([(error,) for error in wrong], self.errors.wait(len(wrong)))

    def test_what_cannot_be_encoded_is_internal(self) -> None:
        self.side.handler("x", lambda: {"a": [1, object()]})
        self.side.handler("y", failing(CallError("c", "m", [object()])))
        for event in ("x", "y"):
            self.assertEqual((EVENT_ERROR, [INTERNAL]), self.ask(event))
        self.assertIn('["a"][1]', str(self.errors.wait(2)[0][0]))

    def test_arguments_that_do_not_fit_are_refused_and_the_handler_does_not_run(self) -> None:
        ran = Calls()
        self.side.handler("x", lambda a, b=0: ran.add(a, b), validate=False)
        for args, message in (([], "a: .*missing"), ([1, 2, 3], "2.*3")):
            name, (error,) = self.ask("x", *args)
            self.assertEqual((EVENT_ERROR, "invalid-args"), (name, error["code"]))
            self.assertRegex(error["message"].lower(), message)
        self.assertEqual([], ran.seen)
        self.assertEqual((EVENT_OK, [None]), self.ask("x", 1))
        self.assertEqual([(1, 0)], ran.seen)

    @needs_pydantic
    def test_and_those_of_another_type_too(self) -> None:
        def add(a: int, b: int) -> int:
            return a + b

        self.side.handler("add", add)
        self.assertEqual((EVENT_OK, [5]), self.ask("add", 2, 3))
        for wrong in ("3", True, None):
            name, (error,) = self.ask("add", 2, wrong)
            self.assertEqual((EVENT_ERROR, "invalid-args"), (name, error["code"]))
            self.assertRegex(error["message"], "^b: Input should be a valid integer")
            self.assertEqual([["b"]], [one["loc"] for one in error["data"]])

    def test_nothing_is_added_where_somebody_has_replied(self) -> None:
        self.side.on("x", lambda args, reply, ids: reply("by hand", args))
        self.side.handler("x", lambda *args: "unheard")
        self.side.handler("y", lambda *args: current_reply()("by the handler", args) and None)
        self.side.handler("z", lambda: "heard")
        self.assertEqual(("by hand", [1]), self.ask("x", 1))
        self.assertEqual(("by the handler", [1, "two"]), self.ask("y", 1, "two"))
        self.assertEqual((EVENT_OK, ["heard"]), self.ask("z"))
        self.node.stop()
        replies = [told["event"] for told in self.node.rest() if told.get("replyTo")]
        self.assertEqual([], replies)  # but for those that ``ask`` has seen

    def test_a_reply_by_hand_can_begin_a_conversation(self) -> None:
        self.side.handler("question", lambda *args: current_reply()("answer", [*args, 42]) and None)
        self.side.send("ask me", ["meaning?"])
        self.node.next_event("answer")

    def test_a_handler_may_ask_back_and_wait(self) -> None:
        self.side.handler("order", lambda what: [what, self.side.call("echo", ["sugar?"], timeout=30)])
        self.assertEqual((EVENT_OK, [["tea", "sugar?"]]), self.ask("order", "tea"))

    def test_a_handler_whose_asker_has_gone_fails_nobody(self) -> None:
        asked, answer = Calls(), Future[Any]()

        def wait() -> "Future[Any]":
            asked.add()
            return answer

        self.side.handler("wait", wait)
        self.node.tell("ask", event="wait", args=[])
        asked.wait()
        self.node.tell("terminate")
        self.node.next("closed")
        self.again()
        answer.set_result("nobody hears it")
        self.assertEqual("there", self.side.call("echo", ["there"], timeout=30))
        self.assertEqual([], self.errors.seen)

    def test_a_handler_may_disconnect(self) -> None:
        def leave() -> None:
            if isinstance(self.side, EZEZWebSocketClient):
                self.side.close(4000, "enough")
            else:
                self.side.disconnect(4000, "enough")

        self.side.handler("leave", leave)
        self.node.tell("ask", event="leave", args=[])
        self.assertEqual({"closed": 4000, "reason": "enough"}, self.node.next("closed"))
        self.assertEqual([], self.errors.seen)

    def test_an_event_can_be_waited_for(self) -> None:
        self.side.handler("begin", lambda: self.side.wait_for("code", 30, lambda got: got.args[0] > 1).args)
        self.node.tell("ask", event="begin", args=[])
        for number in range(3):
            self.node.tell("send", event="code", args=[["num", str(number)]])
        told = self.node.next("answer")
        self.assertEqual([[2]], [build(value) for value in told["args"]])

    @needs_pydantic
    def test_a_contract_is_asked_and_implemented_as_well(self) -> None:
        from ezez_ws import Contract, notice

        class Echo(Contract):
            @abstractmethod
            def echo(self, number: int) -> int: ...
            @abstractmethod
            def kinds(self, text: str) -> int: ...
            @notice
            @abstractmethod
            def heard(self, number: int) -> None: ...

        heard = Calls()

        class Ours(Echo):
            def echo(self, number: int) -> int:
                return -number

            def kinds(self, text: str) -> int:
                return len(text)

            def heard(self, number: int) -> None:
                heard.add(number)

        echo = self.side.proxy(Echo, timeout=30)
        self.assertEqual(5, echo.echo(5))
        self.assertEqual(5, self.side.submit(echo.echo, 5).result(30))
        with self.assertRaisesRegex(RemoteError, "^invalid-answer: the answer to 'kinds' does not fit"):
            echo.kinds("x")  # "string"
        with self.assertRaises(InvalidArgs):
            echo.echo("5")  # type: ignore[arg-type]
        echo.heard(7)
        self.assertEqual([7], self.node.next_event("heard")["args"])
        self.side.implement(Echo, Ours())
        self.assertEqual((EVENT_OK, [-5]), self.ask("echo", 5))
        self.node.tell("send", event="heard", args=[["num", "8"]])
        self.assertEqual([(8,)], heard.wait())


@needs_node
class NodeClientTest(CallsMixin):
    """Node is a client of our server."""

    def meet(self, **options: Any) -> None:
        self.clients: queue.SimpleQueue[EZEZServerClient] = queue.SimpleQueue()
        self.server = EZEZWebsocketServer(
            port=0,
            codec=CODEC,
            on_auth_request=lambda client, key: key == KEY,
            on_auth_ok=self.clients.put,
            **options,
        )
        self.server.start()
        self.addCleanup(self.server.close)
        self.node = self.run_node()
        self.side = self.clients.get(timeout=30)

    def run_node(self) -> NodeProcess:
        node = NodeProcess("node_client.mjs", str(self.server.url), KEY)
        self.addCleanup(node.stop)
        node.next("auth")
        return node

    def again(self) -> None:
        self.node.tell("connect")
        self.node.next("auth")
        self.side = self.clients.get(timeout=30)

    def test_a_handler_of_the_server_gets_the_client(self) -> None:
        self.server.handler("who", lambda client, number: [client is self.side, number])
        self.assertEqual((EVENT_OK, [[True, 5]]), self.ask("who", 5))

    def test_all_are_called_at_once_and_each_result_is_that_ones_own(self) -> None:
        self.run_node()
        other = self.clients.get(timeout=30)
        self.assertEqual({self.side: (5, None), other: (5, None)}, self.server.call_all("echo", [5], timeout=30))
        results = self.server.call_all("answer as", [EVENT_ERROR, "broken"], lambda client: client is other, 30)
        self.assertEqual([other], list(results))
        self.assertIsInstance(results[other].error, RemoteError)
        results = self.server.call_all("never answered", timeout=0.1)
        self.assertEqual([ReplyTimeout] * 2, [type(one.error) for one in results.values()])


@needs_node
class NodeServerTest(CallsMixin):
    """Our client is one of Node's server."""

    side: EZEZWebSocketClient

    def meet(self, **options: Any) -> None:
        self.node = NodeProcess("node_server.mjs", "0", KEY)
        self.addCleanup(self.node.stop)
        port = self.node.next("listening")["listening"]
        self.side = EZEZWebSocketClient(
            f"ws://127.0.0.1:{port}", auth=KEY, codec=CODEC, reconnect_delay=0.05, **options
        )
        self.addCleanup(self.side.close)
        self.side.connect(timeout=30)
        self.node.next("auth")

    def again(self) -> None:
        self.side.connect(timeout=30)
        self.node.next("auth")


@needs_node
class UnknownEventsTest(EZEZTestCase):
    """What nobody answers."""

    def test_it_is_an_error_where_the_option_says_so_and_a_reply_never_is(self) -> None:
        clients: queue.SimpleQueue[EZEZServerClient] = queue.SimpleQueue()
        with EZEZWebsocketServer(
            port=0, on_auth_request=lambda *args: True, on_auth_ok=clients.put, unknown_events="error"
        ) as server:
            node = NodeProcess("node_client.mjs", str(server.url), KEY)
            self.addCleanup(node.stop)
            side = clients.get(timeout=30)
            side.send("echo", [1])  # its reply is nobody's event
            node.tell("ask", event="weather", args=[])
            told = node.next("answer")
            self.assertEqual(EVENT_ERROR, told["answer"])
            self.assertEqual("unknown-event", build(told["args"][0])["code"])
            self.assertEqual("there", side.call("echo", ["there"], timeout=30))
            node.stop()
            self.assertEqual([], [one for one in node.rest() if one.get("event") == EVENT_ERROR])


del CallsMixin  # what derives from it is run
