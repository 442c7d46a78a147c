"""The table of listeners, by itself."""

import threading
import unittest
from typing import Any

from ezez_ws import EZEZWebSocketClient, EZEZWebsocketServer
from ezez_ws.connection.listeners import Listeners
from tests.support import EZEZTestCase, switch_interval


def first(*_: Any) -> None: ...


def second(*_: Any) -> None: ...


class ListenersTest(EZEZTestCase):
    def test_they_come_out_in_the_order_of_registration_as_often_as_registered(self) -> None:
        listeners = Listeners()
        for listener in (first, second, first):
            self.assertIs(listener, listeners.add("event", listener, once=False))
        self.assertEqual((first, second, first), listeners.take("event"))
        self.assertEqual((first, second, first), listeners.take("event"))
        self.assertEqual((), listeners.take("other"))

    def test_those_of_once_come_out_once(self) -> None:
        listeners = Listeners()
        listeners.add("event", first, once=True)
        listeners.add("event", second, once=False)
        listeners.add("lone", first, once=True)
        self.assertEqual([(first, second), (second,)], [listeners.take("event") for _ in range(2)])
        self.assertEqual([(first,), ()], [listeners.take("lone") for _ in range(2)])

    def test_removing_takes_one_listener_everywhere_or_all(self) -> None:
        listeners = Listeners()
        for listener in (first, second, first):
            listeners.add("event", listener, once=False)
        listeners.add("event", first, once=True)
        listeners.remove("event", first)
        self.assertEqual((second,), listeners.take("event"))
        listeners.remove("event", first)
        listeners.remove("other", None)
        listeners.add("event", first, once=False)
        listeners.remove("event", None)
        self.assertEqual((), listeners.take("event"))

    def test_bound_methods_are_recognized(self) -> None:
        class Owner:
            def method(self, *_: Any) -> None: ...

        owner = Owner()
        listeners = Listeners()
        listeners.add("event", owner.method, once=False)
        listeners.remove("event", Owner().method)
        self.assertEqual(1, len(listeners.take("event")))
        listeners.remove("event", owner.method)
        self.assertEqual((), listeners.take("event"))

    def test_a_decorator_returns_the_function_and_checks_the_name_at_once(self) -> None:
        listeners = Listeners()
        decorate: Any = listeners.add("event", ..., once=True)
        self.assertIs(first, decorate(first))
        self.assertEqual((first,), listeners.take("event"))
        with self.assertRaises(ValueError):
            listeners.add("ezez-ws::x", ..., once=False)
        with self.assertRaisesRegex(TypeError, "'event'"):
            decorate(5)
        with self.assertRaisesRegex(TypeError, "'event'"):
            listeners.remove("event", 5)  # type: ignore[arg-type]

    def test_one_that_can_never_be_called_is_refused_where_it_is_registered(self) -> None:
        async def asynchronous(args: Any, reply: Any, ids: Any) -> None: ...

        server = EZEZWebsocketServer(on_auth_request=lambda client, key: True)
        client = EZEZWebSocketClient("ws://127.0.0.1:1")
        of_server, of_client = r"listener\(client, args, reply, ids\)", r"listener\(args, reply, ids\)"
        owner: Any
        for owner, call, wrong in (
            (server, of_server, lambda client, data: None),
            (server, of_server, lambda args, reply, ids: None),
            (client, of_client, lambda client, args, reply, ids: None),
            (client, of_client, asynchronous),
        ):
            with self.assertRaisesRegex(TypeError, "^the listener of 'sum' must be callable, not NoneType"):
                owner.on("sum", None)
            for register in (owner.on, owner.once, lambda event, one, owner=owner: owner.on(event)(one)):
                with self.assertRaisesRegex(TypeError, f"^the listener of 'sum' .* called as {call}"):
                    register("sum", wrong)
        self.assertFalse(server._ezez_listeners or client._ezez_listeners)

    def test_a_name_that_most_likely_never_comes_is_told_once_with_the_option_that_is_meant(self) -> None:
        with self.assertLogs("ezez_ws", "WARNING") as logs:
            for listeners in (Listeners(), Listeners()):
                for _ in range(3):
                    for event in ("connect", "disconnect", "error", "*", "message", "chat"):
                        listeners.add(event, first, once=False)
        self.assertEqual(["connect", "disconnect", "error", "*"] * 2, [vars(one)["event"] for one in logs.records])
        meant = ["on_auth_ok (a client has on_connect, too)", "on_disconnect", "on_error", "on_message"]
        texts = [
            f"on({one!r}): no event of this name comes by itself; what is meant is most likely the option {option}"
            for one, option in zip(["connect", "disconnect", "error", "*"], meant, strict=True)
        ]
        self.assertEqual(texts, [one.getMessage() for one in logs.records][:4])

    def test_comparing_a_listener_may_register_others(self) -> None:
        listeners = Listeners()

        class Odd:
            def __call__(self, *_: Any) -> None: ...

            def __eq__(self, other: object) -> bool:
                listeners.add("event", second, once=False)
                return False

            __hash__ = None  # type: ignore[assignment]

        listeners.add("event", Odd(), once=False)
        listeners.remove("event", first)
        self.assertEqual(second, listeners.take("event")[1])

    def test_each_once_listener_goes_to_one_of_many_threads(self) -> None:
        listeners = Listeners()
        taken: list[Any] = []
        start = threading.Barrier(5)

        def take() -> None:
            start.wait(10)
            mine: list[Any] = []
            for _ in range(300):
                mine += listeners.take("event")
            taken.extend(mine)

        def put() -> None:
            start.wait(10)
            for _ in range(300):
                listeners.add("event", first, once=True)

        with switch_interval():
            threads = [threading.Thread(target=target) for target in (take, take, put, put, put)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        self.assertEqual(900, len(taken) + len(listeners.take("event")))


if __name__ == "__main__":
    unittest.main()
