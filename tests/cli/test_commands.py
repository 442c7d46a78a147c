"""Each command but ``connect``, in this process, against real servers."""

import json
import logging
import os
import unittest
from typing import Any
from unittest import mock

from ezez_ws import Codec, EZEZWebsocketServer, HandshakeRequest
from tests.cli.running import Done, invoke
from tests.serving import KEY, Calls, ServingTestCase
from tests.support import free_port


class CommandTestCase(ServingTestCase):
    def url(self, server: EZEZWebsocketServer) -> str:
        assert server.url is not None
        return server.url

    def invoke(self, command: str, server: EZEZWebsocketServer, *args: str) -> Done:
        """Run a command that knows the key."""
        return invoke(command, self.url(server), "--auth", KEY, *args)

    def check(self, code: int, done: Done) -> None:
        """Compare the exit code; an error is one line, and nothing else is written."""
        self.assertEqual(code, done.code, done)
        if code:
            self.assertEqual("", done.out)
            self.assertRegex(done.err, r"\Aezez-ws: [^\n]+\n\Z")


class CallTest(CommandTestCase):
    def test_it_prints_the_reply_as_json(self) -> None:
        server = self.serve()
        server.on("sum", lambda client, args, reply, ids: reply("total", [sum(args), b"raw"]))
        done = self.invoke("call", server, "sum", "2", "3")
        self.check(0, done)
        self.assertEqual(
            '{"event": "total", "args": [5, {"$bytes": "cmF3"}], "id": 1, "reply_to": 1}\n',
            done.out,
        )
        self.assertEqual("", done.err)

    def test_arguments_are_json_where_they_parse_and_texts_else(self) -> None:
        server = self.serve()
        calls = Calls()

        @server.on("e")
        def record(client: Any, args: list[Any], reply: Any, ids: Any) -> None:
            calls.add(*args)
            reply("ok")

        self.check(0, self.invoke("call", server, "e", "1", "one", '"1"', '{"a": [null]}', '{"$bytes": "aGk="}'))
        self.assertEqual([(1, "one", "1", {"a": [None]}, b"hi")], calls.wait())

    def test_options_may_stand_between_the_arguments_and_dashes_after_two(self) -> None:
        server = self.serve()
        server.on("e", lambda client, args, reply, ids: reply("ok", args))
        done = self.invoke("call", server, "e", "1", "--timeout", "9", "-2", "--", "--timeout", "-x")
        self.assertEqual([1, -2, "--timeout", "-x"], json.loads(done.out)["args"])

    def test_no_reply_in_time_is_4(self) -> None:
        server = self.serve()
        self.check(4, self.invoke("call", server, "nothing", "--timeout", "0.1"))

    def test_a_connection_that_ends_before_the_reply_is_1(self) -> None:
        server = self.serve()
        server.on("leave", lambda client, args, reply, ids: client.disconnect(4000, "enough"))
        done = self.invoke("call", server, "leave")
        self.check(1, done)
        self.assertIn("4000, enough", done.err)

    def test_a_value_that_cannot_travel_is_2_and_names_its_place(self) -> None:
        done = self.invoke("call", self.serve(), "e", '[{"$bytes": "aGk="}]')
        self.check(2, done)
        self.assertIn("args[0][0]", done.err)


class SendTest(CommandTestCase):
    def test_the_server_has_read_the_event_when_it_ends(self) -> None:
        calls = Calls()
        server = self.serve(on_message=lambda client, event, args, reply, ids: calls.add(event, *args))
        done = self.invoke("send", server, "hello", "you", "2")
        self.check(0, done)
        self.assertEqual(("", ""), done[1:])
        self.assertEqual([("hello", "you", 2)], calls.wait())

    def test_a_server_that_does_not_take_the_event_is_1(self) -> None:
        done = self.invoke("send", self.serve(max_payload=1000, max_payload_before_auth=1000), "big", "x" * 2000)
        self.check(1, done)
        self.assertIn("1009", done.err)


class ListenTest(CommandTestCase):
    def listen(self, *args: str, send: Any) -> Done:
        return self.invoke("listen", self.serve(on_auth_ok=send), *args)

    def test_it_prints_events_as_lines_until_it_has_so_many(self) -> None:
        def send(client: Any) -> None:
            for number in range(5):
                client.send("tick", [number])

        done = self.listen("--count", "2", send=send)
        self.check(0, done)
        self.assertEqual([("tick", [0], 1), ("tick", [1], 2)], list(map(brief, done.out.splitlines())))

    def test_it_prints_only_events_of_the_names_asked_for(self) -> None:
        def send(client: Any) -> None:
            for name in ("a", "b", "c"):
                client.send(name)

        done = self.listen("--event", "a", "--event", "c", "--count", "2", send=send)
        self.assertEqual([("a", [], 1), ("c", [], 3)], list(map(brief, done.out.splitlines())))

    def test_what_came_before_the_end_of_the_connection_is_printed_and_the_end_is_1(self) -> None:
        def send(client: Any) -> None:
            client.send("last")
            client.disconnect(4001, "over")

        done = self.listen(send=send)
        self.assertEqual((1, [("last", [], 1)]), (done.code, list(map(brief, done.out.splitlines()))))
        self.assertIn("connection closed (4001, over)", done.err)

    def test_it_comes_back_where_it_is_told_to(self) -> None:
        def send(client: Any) -> None:
            client.send("here", [client.connection_id])
            if len(seen) == 0:
                seen.append(client)
                client.disconnect(4001)

        seen: list[Any] = []
        done = self.listen("--reconnect", "--count", "2", send=send)
        self.assertEqual((0, 2), (done.code, len(done.out.splitlines())))
        self.assertIn("connection closed (4001), connecting again\n", done.err)

    def test_more_than_it_keeps_waiting_arrives_too(self) -> None:
        def send(client: Any) -> None:
            for number in range(3000):
                client.send("tick", [number])

        done = self.listen("--count", "2500", send=send)
        self.assertEqual(list(range(2500)), [json.loads(line)["args"][0] for line in done.out.splitlines()])


def brief(line: str) -> Any:
    event = json.loads(line)
    return event["event"], event["args"], event["id"]


class ConnectingTest(CommandTestCase):
    """What all commands that connect have in common."""

    def test_nobody_there_is_1(self) -> None:
        url = f"ws://127.0.0.1:{free_port()}"
        for args in (["call", url, "e"], ["send", url, "e"], ["listen", url], ["connect", url]):
            with self.subTest(args[0]):
                self.check(1, invoke(*args))

    def test_a_refused_key_is_3(self) -> None:
        done = invoke("call", self.url(self.serve()), "e", "--auth", "wrong")
        self.check(3, done)
        self.assertIn("Invalid auth key", done.err)

    def test_a_refused_handshake_is_3(self) -> None:
        for status in (401, 403):
            server = self.serve(verify_request=lambda request, status=status: status)
            self.check(3, self.invoke("send", server, "e"))

    def test_another_answer_than_a_websocket_is_1(self) -> None:
        server = self.serve(verify_request=lambda request: 404)
        done = self.invoke("send", server, "e")
        self.check(1, done)
        self.assertIn("404", done.err)

    def test_a_server_that_does_not_answer_in_time_is_1(self) -> None:
        gate = self.gate()
        server = self.serve(on_auth_request=lambda client, key: gate())
        self.check(1, self.invoke("send", server, "e", "--connect-timeout", "0.5"))

    def test_the_key_may_come_from_the_environment(self) -> None:
        server = self.serve()
        with mock.patch.dict(os.environ, {"THE_KEY": KEY}):
            self.check(0, invoke("send", self.url(server), "e", "--auth-env", "THE_KEY"))
        self.check(2, invoke("send", self.url(server), "e", "--auth-env", "THE_KEY"))

    def test_headers_go_into_the_handshake(self) -> None:
        asked: list[HandshakeRequest] = []

        def note(request: HandshakeRequest) -> bool:
            asked.append(request)
            return True

        server = self.serve(verify_request=note)
        self.check(0, self.invoke("send", server, "e", "--header", "X-One: 1: 2", "--header", "X-Two:3"))
        self.assertEqual(("1: 2", "3"), (asked[0].headers["x-one"], asked[0].headers["x-two"]))

    def test_subprotocols_are_offered_in_their_order(self) -> None:
        server = self.serve(subprotocols=["b", "a"])
        calls = Calls()
        server.on("e", lambda client, args, reply, ids: calls.add(client.request.headers["sec-websocket-protocol"]))
        self.check(0, self.invoke("send", server, "e", "--subprotocol", "a", "--subprotocol", "b"))
        self.assertEqual([("a, b",)], calls.wait())

    def test_insecure_means_nothing_without_encryption(self) -> None:
        self.check(0, self.invoke("send", self.serve(), "e", "--insecure"))

    def test_what_happens_is_told_where_one_wants_to_know(self) -> None:
        server = self.serve()
        logger = logging.getLogger("ezez_ws")
        before = logger.level, logger.handlers[:]

        @server.on("e")
        def record(client: Any, args: list[Any], reply: Any, ids: Any) -> None:
            logger.debug("a \x1b record")
            reply("ok")

        done = self.invoke("call", server, "e")
        self.assertEqual((0, ""), (done.code, done.err))
        done = self.invoke("call", server, "e", "-v")
        self.assertEqual(0, done.code)
        self.assertRegex(done.err, r"(?m)^\d\d:\d\d:\d\d\.\d{3} DEBUG ezez_ws: a \\x1b record$")
        self.assertNotIn(KEY, done.err)
        self.assertEqual(before, (logger.level, logger.handlers[:]))


class UsageTest(CommandTestCase):
    def test_what_is_wrong_is_2_and_named(self) -> None:
        url = "ws://127.0.0.1:1"
        for args, named in (
            (["dance"], "dance"),
            (["--dance"], "COMMAND"),
            (["call", "--timeout", "1"], "missing: URL, EVENT (needed: URL EVENT; ARG... is optional)"),
            (["call", url], "missing: EVENT (needed: URL EVENT; ARG... is optional)"),
            (["send", url], "URL EVENT [ARG...]"),
            (["listen", "--count", "1"], "missing: URL"),
            (["call", url, "e", '{"a":'], 'ARG: {"a": is no JSON'),
            (["send", url, "e", "5", '"open'], 'a text that begins with " is written in quotes'),
            (["send", url, "e", "[1,]"], "column"),
            (["call", url, "e", "--timeout", "soon"], "--timeout"),
            (["call", url, "e", "--timeout", "0"], "--timeout"),
            (["call", url, "e", "--timeout", "nan"], "--timeout"),
            (["call", url, "e", "--time", "1"], "--time"),
            (["call", url, "ezez-ws::auth"], "ezez-ws::auth"),
            (["call", url, "e", '{"$bytes": 1}'], "$bytes"),
            (["send", url, "e", "--auth", "a", "--auth-env", "b"], "--auth-env"),
            (["send", url, "e", "--header", "no colon"], "--header"),
            (["send", url, "e", "--header", "a: b\r\nc: d"], "header"),
            (["send", "http//x", "e"], "url"),
            (["send", url + "#x", "e"], "fragment"),
            (["listen", url, "--count", "0"], "--count"),
            (["send", url, "e", "--subprotocol", "two words"], "subprotocol"),
            (["serve", "--port", "65536"], "--port"),
            (["serve", "--allow-origin", "example.org"], "--allow-origin"),
            (["decode", "3"], "last digit"),
            (["decode", "xyz"], "xyz"),
        ):
            with self.subTest(args):
                done = invoke(*args)
                self.assertEqual((2, ""), done[:2])
                self.assertIn(named, done.err)

    def test_where_nothing_is_given_the_help_is_printed_as_an_error(self) -> None:
        for args in ([], ["connect"], ["call"], ["send"], ["listen"]):
            with self.subTest(args):
                done = invoke(*args)
                self.assertEqual((2, "", invoke(*args, "--help").out), done)

    def test_help_and_version_are_printed(self) -> None:
        self.assertIn("decode", invoke("--help").out)
        self.assertIn("--timeout", invoke("call", "--help").out)
        self.assertRegex(invoke("--version").out, r"\Aezez-ws \d+\.\d+")


class DecodeTest(CommandTestCase):
    def decode(self, *values: Any) -> Any:
        done = invoke("decode", Codec().encode(values).hex(" "))
        self.check(0, done)
        return json.loads(done.out)

    def test_an_event_is_printed_as_listen_prints_it(self) -> None:
        self.assertEqual(
            {"event": "sum", "args": [2, {"$bytes": "aGk="}], "id": 7, "reply_to": None},
            self.decode("sum", 7, None, 2, b"hi"),
        )

    def test_the_messages_of_the_authentication_are_told(self) -> None:
        self.assertEqual({"ezez-ws::auth": "key", "version": 1}, self.decode("ezez-ws::auth", "key", 1))
        self.assertEqual({"ezez-ws::auth-ok": True}, self.decode("ezez-ws::auth-ok"))
        self.assertEqual({"ezez-ws::auth-rejected": "why"}, self.decode("ezez-ws::auth-rejected", "why"))

    def test_the_messages_of_recovery_are_told(self) -> None:
        at = "0f3a:1700-2.1"
        for values, told in (
            (
                ["ezez-ws::event", 7, None, at, "said", "hi"],
                {"event": "said", "args": ["hi"], "id": 7, "reply_to": None, "position": at},
            ),
            (
                ["ezez-ws::joined", [["lobby", True, "0f3a:1600-0.1", "d41d"], ["*", None, at, ""]], at, 3],
                {
                    "ezez-ws::joined": [
                        {"room": "lobby", "recovered": True, "since": "0f3a:1600-0.1", "ticket": "d41d"},
                        {"room": "*", "recovered": None, "since": at, "ticket": ""},
                    ],
                    "position": at,
                    "replayed": 3,
                },
            ),
            (["ezez-ws::left", ["lobby", "kitchen"]], {"ezez-ws::left": ["lobby", "kitchen"]}),
            (["ezez-ws::at", at], {"ezez-ws::at": at}),
            (["ezez-ws::missed", at], {"ezez-ws::missed": at}),
        ):
            with self.subTest(values[0]):
                self.assertEqual(told, self.decode(*values))

    def test_a_message_of_recovery_that_has_not_its_shape_is_2(self) -> None:
        for values in (["ezez-ws::at", "nowhere"], ["ezez-ws::joined", []], ["ezez-ws::else", 1, None]):
            with self.subTest(values):
                done = invoke("decode", Codec().encode(values).hex())
                self.assertEqual((2, {"values": values}), (done.code, json.loads(done.out)))

    def test_hex_is_taken_as_tools_write_it(self) -> None:
        data = Codec().encode(["e", 1, None])
        for text in (data.hex(), data.hex(":").upper(), " ".join(f"0x{byte:02x}" for byte in data), data.hex("\n")):
            with self.subTest(text):
                self.assertEqual("e", json.loads(invoke("decode", input=text).out)["event"])

    def test_a_message_that_is_none_is_2(self) -> None:
        self.check(2, invoke("decode", "ff"))
        self.check(2, invoke("decode"))

    def test_values_that_make_no_message_are_shown_nevertheless(self) -> None:
        done = invoke("decode", Codec().encode(["e", "no id", None]).hex())
        self.assertEqual((2, {"values": ["e", "no id", None]}), (done.code, json.loads(done.out)))
        self.assertIn("id of an event", done.err)


class ServeTest(CommandTestCase):
    def test_a_port_that_is_taken_is_1_and_says_which_and_what_to_do(self) -> None:
        server = self.serve()
        done = invoke("serve", "--port", str(server.port))
        self.check(1, done)
        self.assertIn(f"cannot listen on 127.0.0.1:{server.port}: Address already in use; --port chooses", done.err)

    def test_an_address_that_this_machine_does_not_have_is_1(self) -> None:
        done = invoke("serve", "--host", "192.0.2.1")
        self.check(1, done)
        self.assertIn("cannot listen on 192.0.2.1:8765: ", done.err)


if __name__ == "__main__":
    unittest.main()
