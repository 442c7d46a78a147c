"""The protocol's names, shapes and versions."""

import unittest
from enum import Enum
from typing import Any

from ezez_ws import EVENT_UNKNOWN_DATA_TYPE, EVENT_UNKNOWN_MESSAGE, UNDEFINED, BigInt, MalformedMessage
from ezez_ws.messages.protocol import (
    AUTH,
    AUTH_OK,
    AUTH_PREFIX,
    AUTH_REJECTED,
    AuthAnswer,
    AuthRequest,
    Event,
    Ids,
    as_javascript_text,
    check_close,
    check_event_name,
    check_listened_name,
    parse_event,
    parse_from_client,
    parse_from_server,
)

ABOUT_THE_EXTENSION = True


class NamesTest(unittest.TestCase):
    def test_the_names_are_those_of_the_javascript_pair(self) -> None:
        self.assertEqual(
            ("ezez-ws::auth", "ezez-ws::auth-ok", "ezez-ws::auth-rejected"), (AUTH, AUTH_OK, AUTH_REJECTED)
        )
        self.assertEqual("ezez-ws:incoming:unknown-message", EVENT_UNKNOWN_MESSAGE)
        self.assertEqual("ezez-ws:incoming:unknown-data-type", EVENT_UNKNOWN_DATA_TYPE)

    def test_an_authentication_message_starts_with_its_prefix(self) -> None:
        self.assertEqual(b"13f\0ezez-ws::auth\0", AUTH_PREFIX)

    def test_reserved_names_can_neither_be_sent_nor_listened_to(self) -> None:
        for name in (AUTH, AUTH_OK, "ezez-ws::", "ezez-ws::anything"):
            with self.subTest(name=name):
                with self.assertRaisesRegex(ValueError, "ezez-ws::"):
                    check_event_name(name)
                with self.assertRaisesRegex(ValueError, "ezez-ws::"):
                    check_listened_name(name)

    def test_local_names_can_be_listened_to_but_not_sent(self) -> None:
        for name in (EVENT_UNKNOWN_MESSAGE, EVENT_UNKNOWN_DATA_TYPE, "ezez-ws:incoming:"):
            with self.subTest(name=name):
                self.assertEqual(name, check_listened_name(name))
                with self.assertRaises(ValueError):
                    check_event_name(name)

    def test_names_that_only_look_alike_are_free(self) -> None:
        for name in ("", "ezez-ws:", "ezez-ws", "EZEZ-WS::auth", " ezez-ws::auth", "ezez-ws:other"):
            with self.subTest(name=name):
                self.assertEqual(name, check_event_name(name))
                self.assertEqual(name, check_listened_name(name))

    def test_a_name_that_is_no_text_is_a_type_error(self) -> None:
        for name in (None, 1, b"event", ["event"]):
            with self.subTest(name=name):
                with self.assertRaisesRegex(TypeError, "event"):
                    check_event_name(name)
                with self.assertRaisesRegex(TypeError, "event"):
                    check_listened_name(name)

    def test_a_member_of_a_text_enumeration_is_its_value(self) -> None:
        class Names(str, Enum):
            CHAT = "chat"

        self.assertIs(str, type(check_event_name(Names.CHAT)))
        self.assertEqual("chat", check_event_name(Names.CHAT))
        self.assertEqual("chat", check_listened_name(Names.CHAT))


class EventShapeTest(unittest.TestCase):
    def test_an_event_has_name_id_and_reply_to_and_then_its_arguments(self) -> None:
        self.assertEqual(Event("chat", Ids(3, None), []), parse_event(["chat", 3, None]))
        self.assertEqual(Event("chat", Ids(3, 7), [1, "x"]), parse_event(["chat", 3, 7, 1, "x"]))

    def test_a_reply_to_of_zero_means_no_reply(self) -> None:
        self.assertEqual(Ids(1, None), parse_event(["chat", 1, 0]).ids)

    def test_any_id_from_one_on_is_taken(self) -> None:
        self.assertEqual(Ids(2**53 - 1, 2**53 - 1), parse_event(["chat", 2**53 - 1, 2**53 - 1]).ids)

    def test_other_shapes_are_malformed(self) -> None:
        bad: list[list[Any]] = [
            [],
            ["chat"],
            ["chat", 1],
            [1, 1, None],
            [None, 1, None],
            [b"chat", 1, None],
            ["chat", 0, None],
            ["chat", -1, None],
            ["chat", 1.5, None],
            ["chat", True, None],
            ["chat", "1", None],
            ["chat", None, None],
            ["chat", BigInt(1), None],
            ["chat", 1, -1],
            ["chat", 1, True],
            ["chat", 1, "1"],
            ["chat", 1, 1.5],
            ["chat", 1, UNDEFINED],
            ["chat", 1, BigInt(1)],
            ["ezez-ws::other", 1, None],
        ]
        for values in bad:
            for parse in (parse_event, parse_from_client, parse_from_server):
                with self.subTest(values=values, parse=parse.__name__), self.assertRaises(MalformedMessage):
                    parse(list(values))


class AuthenticationShapeTest(unittest.TestCase):
    def test_a_server_takes_key_and_version_and_ignores_further_fields(self) -> None:
        self.assertEqual(AuthRequest("key", 1), parse_from_client([AUTH, "key", 1]))
        self.assertEqual(AuthRequest("key", 1, "more"), parse_from_client([AUTH, "key", 1, "more", {}]))

    def test_a_missing_version_is_undefined(self) -> None:
        self.assertEqual(AuthRequest("key", UNDEFINED), parse_from_client([AUTH, "key"]))

    def test_a_key_that_is_no_text_is_malformed(self) -> None:
        for values in ([AUTH], [AUTH, 1, 1], [AUTH, None, 1], [AUTH, b"key", 1], [AUTH, UNDEFINED, 1]):
            with self.subTest(values=values), self.assertRaisesRegex(MalformedMessage, "key"):
                parse_from_client(values)

    def test_each_side_refuses_the_messages_that_only_the_other_expects(self) -> None:
        for values in ([AUTH_OK], [AUTH_OK, 1, None], [AUTH_REJECTED, "reason"]):
            with self.subTest(values=values), self.assertRaises(MalformedMessage):
                parse_from_client(list(values))
        for values in ([AUTH, "key", 1], [AUTH, 1, None]):
            with self.subTest(values=values), self.assertRaises(MalformedMessage):
                parse_from_server(list(values))

    def test_a_client_takes_the_two_answers(self) -> None:
        self.assertEqual(AuthAnswer(True, ""), parse_from_server([AUTH_OK]))
        self.assertEqual(AuthAnswer(True, "", {"recover": 1}), parse_from_server([AUTH_OK, {"recover": 1}, 5]))
        self.assertEqual(AuthAnswer(False, "why"), parse_from_server([AUTH_REJECTED, "why"]))
        for values in ([AUTH_REJECTED], [AUTH_REJECTED, None], [AUTH_REJECTED, 1]):
            with self.subTest(values=values), self.assertRaisesRegex(MalformedMessage, "reason"):
                parse_from_server(list(values))


class CloseTest(unittest.TestCase):
    def test_exactly_the_codes_that_may_be_sent_are_taken(self) -> None:
        good = {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}
        for code in range(-1, 6000):
            if code in good:
                check_close(code, "")
            else:
                with self.assertRaisesRegex(ValueError, "code"):
                    check_close(code, "")

    def test_a_reason_has_at_most_123_bytes_of_utf8(self) -> None:
        check_close(1000, "x" * 123)
        check_close(1000, "ä" * 61)
        for reason in ("x" * 124, "ä" * 62, "\ud800"):
            with self.subTest(reason=reason), self.assertRaisesRegex(ValueError, "reason"):
                check_close(1000, reason)

    def test_other_types_are_named(self) -> None:
        for code in ("1000", None, 1000.0, True):
            with self.subTest(code=code), self.assertRaisesRegex((TypeError, ValueError), "code"):
                check_close(code, "")
        with self.assertRaisesRegex(TypeError, "reason"):
            check_close(1000, b"bye")


class JavascriptTextTest(unittest.TestCase):
    def test_versions_are_printed_as_javascript_prints_them(self) -> None:
        cases: list[Any] = [
            (UNDEFINED, "undefined"),
            (None, "null"),
            (True, "true"),
            (False, "false"),
            (2, "2"),
            (-1, "-1"),
            (1.5, "1.5"),
            (1e21, "1e+21"),
            (1e-7, "1e-7"),
            (float("nan"), "NaN"),
            (float("inf"), "Infinity"),
            (float("-inf"), "-Infinity"),
            (BigInt(2**64), "18446744073709551616"),
            ("1", "1"),
            ("", ""),
            ([], ""),
            ([1, None, UNDEFINED, [2, "x"], True], "1,,,2,x,true"),
            ({}, "[object Object]"),
            ([{}], "[object Object]"),
        ]
        for value, text in cases:
            with self.subTest(value=value):
                self.assertEqual(text, as_javascript_text(value))


if __name__ == "__main__":
    unittest.main()
