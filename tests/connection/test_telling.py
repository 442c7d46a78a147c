"""What a connection tells of itself and of user code: at which level, how often, and with what in it."""

import logging
import re
import time
import unittest
from typing import Any

from ezez_ws import ConnectionClosed, ConnectionFailed, EZEZServerClient, EZEZWebSocketClient
from tests.rawpeer import RawPeer
from tests.serving import KEY, Calls, ServingTestCase
from tests.support import eventually


class MalformedTest(ServingTestCase):
    """What a message says that cannot be decoded."""

    def test_the_values_of_a_malformed_message_are_not_told(self) -> None:
        for text in ("sesame", "x:sesame", "n:sesame", "i:sesame"):
            with self.subTest(text=text), self.assertLogs("ezez_ws", "DEBUG") as logs:
                self.send(text)
                eventually(lambda: "field 2" in "".join(logs.output))
                self.assertNotIn("sesame", "".join(logs.output))

    def send(self, text: str) -> None:
        _, peer = self.pair(self.serve())
        peer.send_message(b'4f\0name\0%dj\0"%s"\0' % (len(text) + 2, text.encode()))


class ErrorsTest(ServingTestCase):
    """What user code raises."""

    def test_it_is_one_record_with_the_traceback_the_event_and_the_connection(self) -> None:
        def on_message(*_: Any) -> None:
            raise LookupError("of on_message")

        server = self.serve(on_message=on_message)
        server.on("sum", lambda client, args, reply, ids: 1 // 0)
        side, peer = self.pair(server)
        side.on("sum", lambda args, reply, ids: [][0])
        with self.assertLogs("ezez_ws", "DEBUG") as logs:
            peer.send_event("sum", ["argument"])
            eventually(lambda: len(logs.output) == 3)
        host, port = side.request.remote_address
        head = f"connection {side.connection_id} from {host}:{port}: an error in"
        here = f"{__name__}.ErrorsTest.{self._testMethodName}.<locals>"
        self.assertEqual(
            [
                f"{head} on_message of 'sum' ({here}.on_message)",
                f"{head} the listener of 'sum' ({here}.<lambda>)",
                f"{head} the listener of 'sum' ({here}.<lambda>)",
            ],
            [record.getMessage() for record in logs.records],
        )
        errors = ["LookupError: of on_message", "IndexError", "ZeroDivisionError"]
        for record, text, error in zip(logs.records, logs.output, errors, strict=True):
            self.assertEqual((logging.ERROR, "ezez_ws"), (record.levelno, record.name))
            self.assertIn(error, text)
            attributes = [vars(record)[name] for name in ("connection_id", "remote_address", "event")]
            self.assertEqual([side.connection_id, f"{host}:{port}", "sum"], attributes)
            self.assertNotIn("'argument'", text)

    def test_on_reply_and_the_callbacks_of_a_client_are_named_too(self) -> None:
        server = self.serve()
        server.on("ask", lambda client, args, reply, ids: reply("answer"))
        with self.assertLogs("ezez_ws", "ERROR") as logs:
            client = self.client(server, on_auth_ok=lambda: 1 // 0)
            client.send("ask", on_reply=lambda event, args, reply, ids: 1 // 0)
            eventually(lambda: len(logs.output) == 2)
        self.assertRegex(logs.records[0].getMessage(), r"^ws://127.0.0.1:\d+: an error in on_auth_ok \(")
        self.assertRegex(logs.records[1].getMessage(), r"^ws://.*: an error in the on_reply of 'answer' \(")

    def test_of_the_same_error_the_first_ten_of_a_second_are_told_and_the_number_of_the_others(self) -> None:
        calls = Calls()

        def fail(client: Any, args: Any, reply: Any, ids: Any) -> None:
            calls.add()
            raise LookupError("again and again")

        server = self.serve()
        server.on("event", fail)
        _, peer = self.pair(server)
        with self.assertLogs("ezez_ws", "ERROR") as logs:
            for _ in range(100):
                peer.send_event("event")
            calls.wait(100)
            eventually(lambda: "more like this one" in logs.output[-1])
        self.assertLess(len(logs.output), 50)
        told = [record for record in logs.records if record.exc_info]
        rest = sum(int(record.getMessage().partition(" ")[0]) for record in logs.records if not record.exc_info)
        self.assertEqual(100, len(told) + rest)

    def test_text_of_a_peer_is_escaped_and_cut(self) -> None:
        server = self.serve(on_message=lambda *_: 1 // 0)
        _, peer = self.pair(server)
        with self.assertLogs("ezez_ws", "INFO") as logs:
            peer.send_event("\x1b[31m" + "x" * 1000)
            peer.send_close(4000, "\x1b[31m")
            eventually(lambda: any("ended with" in text for text in logs.output))
        self.assertTrue(all(len(record.getMessage()) < 500 for record in logs.records))
        self.assertFalse(
            [text for text in logs.output if "\x1b" in text or "\x1b" in str(vars(logs.records[0])["event"])]
        )
        self.assertIn("ended with 4000 (\\x1b[31m) after", logs.output[-1])


class LifeTest(ServingTestCase):
    def texts(self, logs: Any) -> list[str]:
        return [record.getMessage() for record in logs.records]

    def wait_ended(self, logs: Any) -> None:
        eventually(lambda: any("ended" in text for text in self.texts(logs)))

    def test_a_connection_s_life_is_told_at_info(self) -> None:
        server = self.serve()
        with self.assertLogs("ezez_ws", "INFO") as logs:
            client = self.client(server)
            client.send("event")
            client.close(4000, "bye")
            eventually(lambda: any(re.match("connection .* ended", text) for text in self.texts(logs)))
        at_server = [text.partition(": ")[2] for text in self.texts(logs) if text.startswith("connection ")]
        self.assertEqual(["connected", "authenticated"], at_server[:2])
        self.assertRegex(at_server[2], r"^ended with 4000 \(bye\) after \d+\.\d s, 0 messages sent$")
        self.assertEqual({logging.INFO}, {record.levelno for record in logs.records})

    def test_a_rejection_is_told_with_the_reason_and_without_the_key(self) -> None:
        server = self.serve()
        with self.assertLogs("ezez_ws", "DEBUG") as logs:
            peer = self.peer(server, None)
            peer.send_values("ezez-ws::auth", "a wrong key", 1)
            peer.read_end()
            self.wait_ended(logs)
        self.assertEqual(1, sum(": rejected: Invalid auth key" in text for text in self.texts(logs)))
        self.assertNotIn("a wrong key", "".join(logs.output))

    def test_the_server_s_own_life_is_told(self) -> None:
        server = self.make()
        with self.assertLogs("ezez_ws", "INFO") as logs:
            server.start()
            url = server.url
            server.start()
            server.close()
            server.close()
        self.assertEqual([f"listening on {url}", "closing, with 0 connections", "closed"], self.texts(logs))

    def test_a_peer_that_is_cut_is_a_warning_unless_on_error_has_heard_of_it(self) -> None:
        calls = Calls()
        for options in ({}, {"on_error": calls.named("error", 1)}):
            server = self.serve(**options)
            _, peer = self.pair(server)
            with self.assertLogs("ezez_ws", "INFO") as logs:
                peer.send_message(b"")
                peer.read_end()
                self.wait_ended(logs)
            told = [text for record, text in zip(logs.records, self.texts(logs), strict=True) if record.levelno > 20]
            if options:
                self.assertEqual([], told)
            else:
                self.assertRegex("".join(told), r"^connection \d+ from \S+: cut: an empty message")
        self.assertEqual(1, len(calls.wait()))


SECRET = "a secret that is nobody's business"


class TracingTest(ServingTestCase):
    """What is told at DEBUG."""

    def texts(self, logs: Any, name: str) -> list[str]:
        return [
            record.getMessage() for record in logs.records if (record.name, record.levelno) == (name, logging.DEBUG)
        ]

    def test_events_are_told_with_their_ids_and_sizes_and_without_what_they_hold(self) -> None:
        with self.assertLogs("ezez_ws", "DEBUG") as logs:
            server = self.serve()
            server.on("ask", lambda client, args, reply, ids: reply("answer", args))
            client = self.client(server, headers={"Authorization": SECRET, "Cookie": SECRET, "X-Key": SECRET})
            client.send("ask", [SECRET]).wait_reply(10)
            client.send("nobody", [1.5])
            server.broadcast("all", [SECRET])
            client.close()
            server.close()
        texts = self.texts(logs, "ezez_ws")
        at_server = [text.partition(": ")[2] for text in texts if text.startswith("connection ")]
        for wanted in (
            r"received 'ask' \(id 1, \d+ bytes\)",
            r"sent 'answer' \(id 1, reply to 1, \d+ bytes\)",
            r"received 'nobody' \(id 2, \d+ bytes\), which nobody listens to",
            r"broadcast 'all' \(\d+ bytes\)",
        ):
            self.assertTrue(any(re.fullmatch(wanted, text) for text in at_server), (wanted, at_server))
        self.assertNotIn(SECRET, "".join(logs.output))
        self.assertNotIn(KEY, "".join(record.getMessage() for record in logs.records))

    def test_frames_and_handshakes_are_told_to_a_logger_of_their_own_without_secrets(self) -> None:
        with self.assertLogs("ezez_ws.frames", "DEBUG") as logs:
            server = self.serve()
            url = f"{server.url}/path?token={SECRET.replace(' ', '+')}"
            client = EZEZWebSocketClient(url, auth=KEY, headers={"Authorization": SECRET, "Cookie": SECRET})
            self.addCleanup(client.close)
            client.connect()
            client.send("event", [SECRET])
            client.close(4000, "bye")
            eventually(lambda: sum("> close, 4000" in text for text in logs.output) == 2)
        texts = self.texts(logs, "ezez_ws.frames")
        request = [text for text in texts if text.startswith("handshake < GET /path?… HTTP/1.1; Host: 127.0.0.1")]
        self.assertEqual(1, len(request), texts)
        self.assertIn("Authorization: …; Cookie: …", request[0])
        self.assertEqual(2, sum("HTTP/1.1 101" in text for text in texts))
        at_server = [text.partition(": ")[2] for text in texts if text.startswith("connection ")]
        self.assertRegex(
            "; ".join(at_server), r"< binary, \d+ bytes; < binary, \d+ bytes; < close, 4000 'bye'; > close"
        )
        for secret in (SECRET, SECRET.replace(" ", "+"), KEY):
            self.assertNotIn(secret, "".join(texts))

    def test_where_nobody_wants_them_nothing_is_replaced(self) -> None:
        side, _ = self.pair(self.serve())
        self.assertFalse({"deliver", "_put_event", "broadcast"} & set(vars(side._ezez_connection)))
        self.assertLess(len(vars(side._ezez_connection)), 30)


class RefusedTest(ServingTestCase):
    def test_refused_handshakes_are_told_with_the_reason_a_few_of_a_second(self) -> None:
        server = self.serve(path="/here")
        with self.assertLogs("ezez_ws", "INFO") as logs:
            for _ in range(30):
                with self.assertRaises(ConnectionFailed):
                    RawPeer.connect(f"ws://127.0.0.1:{server.port}/there")
            server.close()
        texts = [record.getMessage() for record in logs.records]
        told = [text for text in texts if text.startswith("refused 127.0.0.1:")]
        self.assertTrue(all(text.endswith(": 404 There is no WebSocket at this path.") for text in told))
        rest = sum(int(text.partition(" ")[0]) for text in texts if "more like this one" in text)
        self.assertEqual(30, len(told) + rest)
        self.assertLess(len(told), 30)


class OutlivingTest(ServingTestCase):
    """Listeners that outlive their client."""

    def test_a_loop_that_only_sends_ends_and_is_no_error(self) -> None:
        calls = Calls()

        def loop(client: EZEZServerClient, args: Any, reply: Any, ids: Any) -> None:
            try:
                while True:
                    assert reply("tick") or client.send("tick") or not client.alive
                    time.sleep(0.01)
            except ConnectionClosed as error:
                calls.add("ended", error.code)
                raise

        def goodbye(client: EZEZServerClient, code: int, reason: str) -> None:
            calls.add("disconnect", code, bool(client.send("too late")))

        server = self.serve(close_timeout=0.3, on_disconnect=goodbye)
        server.on("loop", loop)
        _, peer = self.pair(server)
        with self.assertLogs("ezez_ws", "WARNING") as logs:
            peer.send_event("loop")
            peer.read_event()
            peer.close()
            self.assertEqual([("ended", 1006), ("disconnect", 1006, False)], calls.wait(2))
        (record,) = logs.records
        self.assertEqual(logging.WARNING, record.levelno)
        self.assertRegex(record.getMessage(), r"the listener of 'loop' \(.*\.loop\) still sent long after")

    def test_another_thread_and_a_client_that_has_just_gone_get_a_falsy_message(self) -> None:
        gate, calls = self.gate(), Calls()

        def listen(client: EZEZServerClient, args: Any, reply: Any, ids: Any) -> None:
            gate()
            calls.add(bool(client.send("late")))

        server = self.serve(close_timeout=60.0)
        server.on("event", listen)
        side, peer = self.pair(server)
        peer.send_event("event")
        gate.wait_entered()
        peer.close()
        eventually(lambda: side not in server.clients)
        self.assertFalse(side.send("from another thread"))
        gate.open()
        self.assertEqual([(False,)], calls.wait())

    def test_one_that_does_not_send_is_named_once_and_its_place_is_free(self) -> None:
        gate, calls = self.gate(), Calls()
        server = self.serve(close_timeout=0.1, max_connections=1, on_disconnect=calls.named("disconnect", 1))
        server.on("stay", gate)
        side, peer = self.pair(server)
        peer.send_event("stay")
        gate.wait_entered()
        with self.assertLogs("ezez_ws", "WARNING") as logs:
            peer.close()
            eventually(lambda: side not in server.clients)
            run = server._ezez_current_run()
            eventually(lambda: run is not None and run._places.count == 0, what="a place")
            self.pair(server)
            eventually(lambda: logs.output)
        self.assertEqual([], calls.seen)
        self.assertRegex(logs.output[0], r"user code still runs long after .*: __call__ \(.*serving\.py, line \d+\)")
        gate.open()
        self.assertEqual([("disconnect", 1006)], calls.wait())
        self.assertEqual(1, len(logs.records))
        with self.assertRaises(ConnectionFailed):
            self.peer(server)  # the second has the place: the first one's has been freed once only

    def test_what_on_disconnect_does_is_not_taken_for_a_listener(self) -> None:
        gate, calls = self.gate(), Calls()

        def goodbye(client: EZEZServerClient, code: int, reason: str) -> None:
            gate()
            calls.add(bool(client.send("late")))

        server = self.serve(close_timeout=0.01, on_disconnect=goodbye)
        _, peer = self.pair(server)
        peer.close()
        gate.wait_entered()
        time.sleep(0.05)  # beyond close_timeout
        gate.open()
        self.assertEqual([(False,)], calls.wait())


if __name__ == "__main__":
    unittest.main()
