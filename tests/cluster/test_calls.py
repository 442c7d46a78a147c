"""Calls of clients of another node: what ends them, on which thread their callbacks run, and that none is left open."""

import concurrent.futures
import gc
import threading
import weakref
from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import as_completed
from concurrent.futures import wait as wait_for_all
from functools import partial
from typing import Any

from ezez_ws import (
    EVENT_ERROR,
    CallError,
    Codec,
    ConnectionClosed,
    Emitter,
    EZEZServerClient,
    EZEZWebSocketClient,
    InvalidArgs,
    QueueFull,
    RemoteClient,
    RemoteError,
    ReplyTimeout,
    SendTimeout,
    SerializationError,
)
from tests.cluster.nodes import NodeProcess, NodesTestCase
from tests.serving import KEY, Calls, Gate, ServingTestCase
from tests.support import allow_seconds, eventually, needs_pydantic

MOSTLY_WAITS = True


class TwoNodesTestCase(NodesTestCase):
    """``self.remote`` is ``self.side``, which is ``self.client`` on the other node, as seen from ``self.here``."""

    def setUp(self) -> None:
        super().setUp()
        self.here, self.there = self.node(**self.options()), self.node()
        self.wait_for(self.here, 2)
        self.wait_for(self.there, 2)
        self.client = self.join(self.there.url)
        (self.side,) = eventually(lambda: [one for one in self.there.clients if one.authenticated])
        self.remote = self.here.client_at(self.side.address)

    def options(self) -> dict[str, Any]:
        return {}

    def join(self, url: str | None) -> EZEZWebSocketClient:
        assert url is not None
        client = EZEZWebSocketClient(url, auth=KEY, auto_reconnect=False)
        self.addCleanup(client.close)
        client.connect(timeout=20)
        return client

    def gate(self) -> Gate:
        gate = Gate()
        self.addCleanup(gate.open)
        return gate


class CallTest(TwoNodesTestCase):
    def test_a_value_an_error_and_another_reply_are_as_those_of_a_client_here(self) -> None:
        def refuse() -> None:
            raise CallError("no-tea", "none left", [1])

        self.client.handler("echo", lambda *args: list(args))
        self.client.handler("refuse", refuse)
        self.client.handler("one", lambda number: number, validate=False)
        self.client.on("pong", lambda args, reply, ids: reply("pong", args))
        self.client.on("broken", lambda args, reply, ids: reply(EVENT_ERROR, [5, "broken"]))
        asks: list[Callable[..., Any]] = [
            partial(self.remote.call, timeout=20),
            lambda event, args=(): self.remote.submit(event, args).result(20),
        ]
        for ask in asks:
            self.assertEqual([1, None], ask("echo", [1, None]))
            self.assertEqual([None, 1, [1, 2]], [ask("pong", args) for args in ([], [1], [1, 2])])
            for event, kind, code, data in (
                ("refuse", RemoteError, "no-tea", [1]),
                ("broken", RemoteError, "error", [5, "broken"]),
                ("one", InvalidArgs, "invalid-args", None),
            ):
                with self.assertRaises(RemoteError) as caught:
                    ask(event)
                self.assertEqual((kind, code), (type(caught.exception), caught.exception.code))
                if data is not None:
                    self.assertEqual(data, caught.exception.data)

    def test_many_are_open_at_once_and_the_client_may_call_back_meanwhile(self) -> None:
        self.there.handler("double", lambda side, number: 2 * number)
        self.client.handler("plus one", lambda number: self.client.call("double", [number], timeout=20) + 1)
        futures = {self.remote.submit("plus one", [number]): number for number in range(200)}
        for future in as_completed(futures, 50):
            self.assertEqual(2 * futures[future] + 1, future.result())
        self.assertEqual((0, 0), self.open_calls())

    def open_calls(self) -> tuple[int, int]:
        asks = self.remote._asks
        return len(asks._awaited), len(asks._kept)

    def test_a_handler_may_call_a_client_of_another_node_and_so_on_round(self) -> None:
        other = self.join(self.here.url)
        other.handler("name", lambda: "other")
        (mine,) = self.here.clients
        self.there.handler("ask", lambda side: self.there.client_at(mine.address).call("name", timeout=20))
        self.client.handler("begin", lambda: self.client.call("ask", timeout=20))
        self.assertEqual("other", self.remote.call("begin", timeout=20))

    def test_callbacks_run_on_the_one_thread_that_runs_user_code_whoever_waits(self) -> None:
        gate, told = self.gate(), Calls()
        self.client.handler("gate", gate)
        self.client.handler("there", lambda: "there")
        futures = [self.remote.submit("gate") for _ in range(3)]
        for future in futures:
            future.add_done_callback(lambda _: told.add(threading.current_thread().name))
        waiting = [self.run_thread(future.result, 20) for future in futures]
        gate.open()
        for thread in waiting:
            thread.join(20)
        self.assertEqual({("ezez-backplane-calls",)}, set(told.wait(3)))
        futures[0].add_done_callback(lambda _: told.add("at once"))
        self.assertEqual(("at once",), told.seen[-1])
        chained = Calls()  # a callback may ask again
        self.remote.submit("there").add_done_callback(
            lambda _: self.remote.submit("there").add_done_callback(lambda future: chained.add(future.result()))
        )
        self.assertEqual([("there",)], chained.wait())

    def run_thread(self, function: Any, *args: Any) -> threading.Thread:
        thread = threading.Thread(target=function, args=args)
        thread.start()
        self.addCleanup(thread.join)
        return thread

    def test_what_a_callback_raises_is_logged_and_ends_nothing(self) -> None:
        self.client.handler("there", lambda: "there")
        told = Calls()
        with self.assertLogs("ezez_ws", "ERROR") as logs:
            future = self.remote.submit("there")
            future.add_done_callback(lambda _: 1 / 0)
            future.add_done_callback(told.add)
            self.assertEqual([(future,)], told.wait())
        self.assertIn("done callback", logs.output[0])
        self.assertEqual("there", self.remote.submit("there").result(20))

    def test_a_cancelled_one_is_forgotten_and_its_answer_too(self) -> None:
        gate, told = self.gate(), Calls()
        self.client.handler("gate", gate)
        self.client.handler("there", lambda: "there")
        future = self.remote.submit("gate")
        future.add_done_callback(lambda one: told.add(one.cancelled()))
        self.assertTrue(future.cancel())
        self.assertEqual([(True,)], told.seen)
        self.assertEqual((0, 0), self.open_calls())
        gate.open()
        self.assertEqual("there", self.remote.call("there", timeout=20))
        self.assertTrue(future.cancelled())
        self.assertEqual({future}, wait_for_all([future], 0).done)

    def test_nothing_of_one_that_is_done_and_let_go_of_is_kept(self) -> None:
        self.client.handler("there", lambda: "there")
        future = self.remote.submit("there")
        self.assertEqual("there", future.result(20))
        dead = weakref.ref(future)
        del future
        eventually(lambda: (gc.collect(), dead() is None)[1])
        self.assertEqual((0, 0), self.open_calls())

    def test_one_that_nobody_keeps_but_a_callback_is_told(self) -> None:
        gate, told = self.gate(), Calls()
        self.client.handler("gate", gate)
        self.remote.submit("gate").add_done_callback(told.add)
        gc.collect()
        gate.open()
        self.assertEqual(1, len(told.wait()))

    def test_result_gives_up_after_its_time_and_the_answer_still_counts(self) -> None:
        gate = self.gate()
        self.client.handler("gate", gate)
        future = self.remote.submit("gate")
        with self.assertRaises(concurrent.futures.TimeoutError):
            future.result(0.01)
        with self.assertRaisesRegex(ReplyTimeout, "^no reply to 'x' within 0.01 seconds$"):
            self.remote.call("x", timeout=0.01)
        gate.open()
        self.assertIsNone(future.result(20))

    def test_what_is_wrong_comes_out(self) -> None:
        wrong: Any
        for wrong, kind in (((5,), TypeError), (("x", 5), TypeError), (("x", [object()]), SerializationError)):
            with self.assertRaises(kind):
                self.remote.submit(*wrong)
            with self.assertRaises(kind):
                self.remote.call(*wrong)
        with self.assertRaises(ValueError):
            self.remote.submit("ezez-ws::auth")
        self.assertEqual((0, 0), self.open_calls())

    @needs_pydantic
    def test_a_proxy_works_across_nodes(self) -> None:
        from ezez_ws import Contract, notice

        class Phone(Contract):
            @abstractmethod
            def ring(self, times: int) -> str: ...
            @notice
            @abstractmethod
            def news(self, text: str) -> None: ...

        heard = Calls()

        class Ours(Phone):
            def ring(self, times: int) -> str:
                return times * "ring"

            def news(self, text: str) -> None:
                heard.add(text)

        self.client.implement(Phone, Ours())
        phone = self.remote.proxy(Phone, timeout=20)
        self.assertEqual("ringring", phone.ring(2))
        self.assertEqual("ring", self.remote.submit(phone.ring, times=1).result(20))
        with self.assertRaises(InvalidArgs):
            phone.ring("2")  # type: ignore[arg-type]
        phone.news("hello")
        self.assertEqual([("hello",)], heard.wait())


class EndTest(TwoNodesTestCase):
    """What ends a call that is not answered."""

    def submit_some(self, remote: RemoteClient | None = None) -> tuple[list[Any], Calls]:
        futures = [(remote or self.remote).submit("never answered", [number]) for number in range(20)]
        told = Calls()
        for future in futures:
            future.add_done_callback(lambda _: told.add(threading.current_thread().name))
        return futures, told

    def assert_ended(self, futures: list[Any], told: Calls, expected: Any, *also: tuple[str]) -> None:
        self.assertEqual(set(futures), wait_for_all(futures, 30).done)
        self.assertEqual({expected}, {(one.exception(0).code, one.exception(0).reason) for one in futures})
        self.assertLessEqual(set(told.wait(len(futures))), {("ezez-backplane-calls",), *also})

    def test_the_end_of_the_connection_and_that_there_is_none(self) -> None:
        arrived = threading.Event()
        self.client.on("arrived", lambda *args: arrived.set())
        futures, told = self.submit_some()
        self.remote.send("arrived")
        self.assertTrue(arrived.wait(20))
        self.client.close(4000, "enough")
        self.assert_ended(futures, told, (4000, "enough"))
        eventually(lambda: not self.there.clients)
        self.assert_ended(*self.submit_some(), (1006, "no such connection"), ("MainThread",))  # or already
        with self.assertRaises(ConnectionClosed):
            self.remote.call("x", timeout=20)

    def test_a_node_that_does_not_live(self) -> None:
        remote = self.here.client_at("0123456789abcdef:5")
        self.assert_ended(*self.submit_some(remote), (1006, "node gone"), ("MainThread",))  # it may be done at once

    @allow_seconds(120)
    def test_a_node_that_is_killed(self) -> None:
        process = NodeProcess(self.redis.url)
        self.addCleanup(process.close)
        self.wait_for(self.here, 3)
        client = self.join(process.url)
        arrived = threading.Event()
        client.on("arrived", lambda *args: arrived.set())
        remote = self.here.client_at(eventually(lambda: process.ask("addresses"))[0])
        futures, told = self.submit_some(remote)
        calling = self.in_call(remote)
        remote.send("arrived")
        self.assertTrue(arrived.wait(20))
        process.kill()
        self.assert_ended(futures, told, (1006, "node gone"))
        self.assertEqual([("node gone",)], calling.wait())

    def in_call(self, remote: RemoteClient) -> Calls:
        ended = Calls()

        def call() -> None:
            try:
                remote.call("never answered")
            except ConnectionClosed as error:
                ended.add(error.reason)

        thread = threading.Thread(target=call)
        thread.start()
        self.addCleanup(thread.join)
        return ended

    def test_this_server_closes(self) -> None:
        futures, told = self.submit_some()
        calling = self.in_call(self.remote)
        eventually(lambda: len(self.remote._asks._awaited) == 21)
        self.here.close()
        self.assertEqual(set(futures), wait_for_all(futures, 0).done)
        self.assertEqual(
            {(1001, "server shutdown")}, {(one.exception().code, one.exception().reason) for one in futures}
        )
        self.assertEqual(20, len(told.seen))
        self.assertEqual([("server shutdown",)], calling.wait())
        self.assertIsInstance(self.remote.submit("x").exception(0), ConnectionClosed)
        self.assertEqual([], [one.name for one in threading.enumerate() if one.name == "ezez-backplane-calls"])

    def test_the_other_server_closes(self) -> None:
        futures, told = self.submit_some()
        arrived = threading.Event()
        self.client.on("arrived", lambda *args: arrived.set())
        self.remote.send("arrived")
        self.assertTrue(arrived.wait(20))
        self.there.close()
        self.assert_ended(futures, told, (1001, "server shutdown"))

    def test_hundreds_are_open_when_the_connection_is_cut_and_nothing_of_them_is_left(self) -> None:
        self.client.handler("echo", lambda number: number)
        told = Calls()
        futures = [self.remote.submit("echo" if number % 3 else "never answered", [number]) for number in range(300)]
        for future in futures[::2]:
            future.add_done_callback(told.add)
        for future in futures[::17]:
            future.cancel()
        self.side._ezez_connection.cut()
        self.assertEqual(set(futures), wait_for_all(futures, 30).done)
        for number, future in enumerate(futures):
            if not future.cancelled() and future.exception(0) is None:
                self.assertEqual(number, future.result(0))
            elif not future.cancelled():
                self.assertIsInstance(future.exception(0), ConnectionClosed)
        self.assertEqual(150, len(told.wait(150)))
        asks, answering = self.remote._asks, self.hub(self.there).asks.answering
        assert answering is not None
        eventually(lambda: not (asks._awaited or asks._kept or answering._asked))

    def test_what_a_client_was_asked_is_answered_though_the_broker_is_another_one_by_then(self) -> None:
        gate = self.gate()
        self.client.handler("gate", gate)
        future = self.remote.submit("gate")
        gate.wait_entered()
        nodes = (self.here, self.there)
        before = [node.cluster.epochs for node in nodes]
        self.redis.restart()
        eventually(lambda: all(node.cluster.epochs > old for node, old in zip(nodes, before, strict=True)), 30)
        gate.open()
        self.assertIsNone(future.result(30))

    def test_a_callback_that_closes_its_server_and_one_that_asks_of_the_closed(self) -> None:
        told = Calls()
        self.client.handler("there", lambda: "there")

        def close(_: Any) -> None:
            self.here.close()
            told.add(type(self.remote.submit("x").exception(0)))

        open_one = self.remote.submit("never answered")
        self.remote.submit("there").add_done_callback(close)
        self.assertEqual([(ConnectionClosed,)], told.wait())
        self.assertIsInstance(open_one.exception(20), ConnectionClosed)


class ExpiryTest(TwoNodesTestCase):
    def options(self) -> dict[str, Any]:
        return {"clear_awaiting_replies_after": 0.3}

    def test_the_time_that_replies_are_waited_for_at_all(self) -> None:
        told, main = Calls(), threading.current_thread().name  # where one that is over at once calls
        futures = [self.remote.submit("never answered") for _ in range(5)]
        for future in futures:
            future.add_done_callback(lambda _: told.add(threading.current_thread().name))
        waiting = [threading.Thread(target=future.exception, args=[20], name="waits") for future in futures]
        for thread in waiting:
            thread.start()
        for thread in waiting:
            thread.join(20)
        self.assertEqual(set(futures), wait_for_all(futures, 20).done)
        for future in futures:
            with self.assertRaisesRegex(ReplyTimeout, "^no reply to 'never answered' in time$"):
                future.result(0)
        self.assertLessEqual({name for (name,) in told.wait(5)}, {"ezez-backplane-calls", main})
        eventually(lambda: not self.remote._asks._kept)


class EmitterTest(TwoNodesTestCase):
    def emitter(self) -> Emitter:
        emitter = Emitter(self.backplane())
        self.addCleanup(emitter.close)
        return emitter

    def test_call_works_and_submit_says_why_it_does_not(self) -> None:
        def refuse() -> None:
            raise CallError("no-tea", "none left")

        self.client.handler("echo", lambda *args: list(args))
        self.client.handler("refuse", refuse)
        remote = self.emitter().client_at(self.side.address)
        self.assertEqual([1, 2], remote.call("echo", [1, 2], timeout=20))
        with self.assertRaisesRegex(RemoteError, "^no-tea: none left$"):
            remote.call("refuse", timeout=20)
        with self.assertRaisesRegex(ReplyTimeout, "^no reply to 'x' within 0.01 seconds$"):
            remote.call("x", timeout=0.01)
        with self.assertRaisesRegex(
            TypeError, r"^submit\(\): an emitter has no thread that reads answers; use call\(\)$"
        ):
            remote.submit("echo")
        self.client.close()
        with self.assertRaises(ConnectionClosed):
            remote.call("echo", timeout=20)


class OwnTest(ServingTestCase):
    """A client of the same node, by its address."""

    def test_it_is_called_from_its_own_listener_and_from_others(self) -> None:
        server = self.serve()
        client, other = self.client(server), self.client(server)
        client.handler("name", lambda: "client")

        def ask(side: EZEZServerClient, address: str, by: str) -> Any:
            remote = server.client_at(address)
            return remote.call("name", timeout=20) if by == "call" else remote.submit("name").result(20)

        server.handler("ask", ask)
        server.handler("address", lambda side: side.address)
        address = client.call("address", timeout=20)
        for by in ("call", "submit"):
            self.assertEqual("client", other.call("ask", [address, by], timeout=20))
            self.assertEqual("client", client.call("ask", [address, by], timeout=20))

    def test_an_answer_that_cannot_be_read_is_an_error_of_the_call(self) -> None:
        def refuse(text: str) -> None:
            raise ValueError("no")

        server = self.serve(codec=Codec(deserializers={"thing": refuse}))
        sender = Codec(serializers={"thing": lambda value: "x" if isinstance(value, Gate) else None})
        side, peer = self.pair(server, codec=sender)
        future = server.client_at(side.address).submit("x")
        peer.send_event("answer", [Gate()], reply_to=peer.read_event().ids.event_id)
        self.assertIsInstance(future.exception(20), Exception)

    def test_no_room_is_told_at_once_and_cuts_nobody(self) -> None:
        server = self.serve(send_buffer_limit=100_000)
        side, _ = self.pair(server, receive_buffer=4096)
        remote = server.client_at(side.address)
        futures = [remote.submit("big", ["x" * 90_000]) for _ in range(50)]
        eventually(lambda: futures[-1].done())
        self.assertIsInstance(futures[-1].exception(0), SendTimeout)
        self.assertTrue(side.alive)

    def test_nothing_is_kept_of_one_that_was_not_sent(self) -> None:
        server = self.serve()
        side, _ = self.pair(server)
        asks = server.client_at(side.address)._asks

        def refuse(node: str, message: bytes) -> None:
            raise QueueFull("full")

        asks._transport, asks.is_known = refuse, lambda node: True
        with self.assertRaises(QueueFull):
            server.client_at("elsewhere:1").submit("x")
        self.assertEqual(({}, {}), (dict(asks._awaited), asks._kept))
