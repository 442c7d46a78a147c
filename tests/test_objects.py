"""The public objects: what they show, what they can be copied to, and what a subclass may call its own."""

import configparser
import copy
import inspect
import pickle
import ssl
import threading
import types
import typing
import unittest
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError
from typing import Any
from unittest import mock

import ezez_ws
from ezez_ws import (
    UNDEFINED,
    Audience,
    BigInt,
    ClusterStatus,
    Codec,
    ConnectionStats,
    Context,
    EZEZError,
    EZEZServerClient,
    EZEZWebSocketClient,
    EZEZWebsocketServer,
    HandshakeRequest,
    Histogram,
    Ids,
    Joined,
    Member,
    Publication,
    Reply,
    SentMessage,
    ServerStats,
    version,
)
from ezez_ws.connection.websocket import WebSocket
from ezez_ws.opening.head import Headers
from tests.serving import ServingTestCase
from tests.support import REPO, EZEZTestCase

PUBLIC_ERRORS = [value for value in vars(ezez_ws).values() if isinstance(value, type) and issubclass(value, EZEZError)]
LISTENING = {"handler", "off", "on", "once"}
MAPPING = {name for name in dir(dict) if not name.startswith("_")} - {"fromkeys"}
MEMBERS: dict[type, set[str]] = {
    EZEZWebsocketServer: {
        *LISTENING,
        *(
            "broadcast",
            "call_all",
            "clients",
            "close",
            "host",
            "implement",
            "listener",
            "port",
            "serve_connection",
            "serve_forever",
            "start",
        ),
        *("client_at", "cluster", "everyone", "members", "mount", "request_close", "stats", "to", "url", "wsgi_app"),
    },
    EZEZServerClient: {
        *LISTENING,
        *("alive", "authenticated", "awaiting_replies_count", "client", "connection_id", "context", "disconnect"),
        *("implement", "proxy"),
        *("latency", "ping", "stats"),
        *("address", "call", "join", "leave", "submit", "wait_for", "request", "resumed", "rooms", "send", "to"),
    },
    EZEZWebSocketClient: {
        *LISTENING,
        *("alive", "awaiting_replies_count", "client", "close", "connect", "reconnect", "request_close"),
        *("call", "implement", "latency", "ping", "proxy", "stats", "submit", "wait_for"),
        *("rooms", "run_forever", "send", "send_json", "start", "subprotocol", "wait_closed"),
    },
    WebSocket: {"close", "open", "ping", "send"},
    SentMessage: {"event_id", "reply_to", "wait_reply"},
    Reply: {"args", "count", "event", "ids", "index", "reply"},
    Ids: {"count", "event_id", "index", "reply_to"},
    Codec: {"decode", "encode"},
    Context: {*MAPPING, "snapshot"},
    HandshakeRequest: {
        *("cookies", "headers", "path", "peer_certificate", "query", "remote_address", "subprotocol"),
    },
    Headers: {"get", "get_all", "items", "keys", "values"},
    Audience: {"disconnect", "except_", "join", "leave", "send"},
    Publication: {"wait"},
    Joined: {"count", "index", "recovered", "replayed"},
    Member: {"address", "count", "index", "info", "local", "node", "room"},
    ClusterStatus: {"count", "index", *ClusterStatus._fields},
    ServerStats: {"count", "index", *ServerStats._fields},
    ConnectionStats: {"count", "index", *ConnectionStats._fields},
    Histogram: {"count", "index", "sum", "buckets"},
    BigInt: {name for name in dir(int) if not name.startswith("_")},
    type(UNDEFINED): set(),
}
"""All that completion in an editor may show."""


def shown(value: object) -> set[str]:
    return {name for name in dir(value) if not name.startswith("_")}


def number(text: str) -> int:
    return int(text)


class MembersTest(ServingTestCase):
    def test_objects_show_what_is_public_and_nothing_else(self) -> None:
        server = self.serve(on_error=None)
        server.on("ask", lambda client, args, reply, ids: reply("answer"))
        client = self.client(server)
        sent = client.send("ask")
        reply = sent.wait_reply(10)
        side = server.clients[0]
        objects: list[Any] = [server, side, client, client.client, side.client, sent, reply, reply.ids, Codec()]
        objects += [
            server.stats(),
            client.stats(),
            server.stats().listener_seconds,
            server.cluster,
            server.to("a"),
            server.everyone.send("a"),
            side.join("a", info=1),
        ]
        objects += [*server.members("a"), side.context, side.request, side.request.headers, BigInt(1), UNDEFINED]
        self.assertEqual(set(MEMBERS), {type(value) for value in objects})
        for value in objects:
            with self.subTest(type(value).__name__):
                self.assertEqual(MEMBERS[type(value)], shown(value))

    def test_the_server_has_two_spellings(self) -> None:
        self.assertIs(ezez_ws.EZEZWebSocketServer, EZEZWebsocketServer)
        self.assertIn("EZEZWebSocketServer", ezez_ws.__all__)

    def test_the_underlying_websocket_is_equal_to_itself_and_goes_below_the_protocol(self) -> None:
        server = self.serve()
        side, peer = self.pair(server)
        other, _ = self.pair(server)
        self.assertEqual(side.client, side.client)
        self.assertEqual(1, len({side.client, side.client}))
        self.assertNotEqual(side.client, other.client)
        self.assertTrue(side.client.open)
        for data in ("text", b"bytes"):
            self.assertTrue(side.client.send(data))
            message = peer.read_message()
            self.assertEqual(data, message and message.payload)
        wrong: Any
        for wrong in (5, None, ["text"]):
            with self.assertRaisesRegex(TypeError, "^data must be str or bytes, not "):
                side.client.send(wrong)
        with self.assertRaisesRegex(ValueError, "code 5 cannot be sent"):
            side.client.close(5)
        side.client.ping()
        side.client.close(4000, "enough")
        end = peer.read_end()
        self.assertEqual((4000, "enough"), (end.code, end.reason))
        self.assertFalse(side.client.open)
        self.assertFalse(side.client.send("too late"))


class SubclassTest(ServingTestCase):
    """Attributes of a subclass have names that no attribute of ours has."""

    NAMES = (
        *("_admitting", "_client_runs", "_clients", "_close", "_closed", "_codec", "_condition", "_connection"),
        *("_connection_id", "_connections", "_context", "_current", "_data", "_events", "_forget", "_fork_guard"),
        *("_handlers", "_keep", "_listeners", "_lock", "_options", "_queue", "_ready", "_request", "_run"),
        *("_runs", "_server_run", "_shallow", "_start", "_started", "_starting", "_state", "_stop", "_thread"),
        *("_url", "_when_not_connected", "close_within", "codec", "lock", "logger", "name", "options", "queue"),
        *("run", "say_goodbye", "state", "stop", "thread"),
    )

    def mine(self, kind: type[Any], *args: Any, **options: Any) -> Any:
        """Make one of a class that has something of its own by each of the names, and keeps nothing there."""
        nothing = property(lambda self: None, lambda self, value: None)
        return type("Mine", (kind,), dict.fromkeys(self.NAMES, nothing))(*args, **options)

    def test_a_subclass_of_each_may_have_any_plain_name(self) -> None:
        heard = threading.Event()
        server = self.mine(EZEZWebsocketServer, port=0, on_auth_request=lambda client, key: True)
        server.on("ask", lambda client, args, reply, ids: reply("answer", args))
        with server as same:
            self.assertIs(server, same)
            with self.mine(EZEZWebSocketClient, server.url, auth="") as client:
                client.on("all", lambda *_: heard.set())
                self.assertEqual([1], client.send("ask", [1]).wait_reply(10).args)
                self.assertEqual(1, server.broadcast("all"))
                self.assertTrue(heard.wait(10))
                for attribute in (client.alive, client.client, server.clients, server.listener, repr(server)):
                    self.assertTrue(attribute)
                self.assertEqual(0, client.awaiting_replies_count)
        self.assertEqual([], server.clients)

    def test_nothing_of_ours_has_a_plain_private_name(self) -> None:
        server = self.serve()
        client = self.client(server)
        for value in (server, server.clients[0], client):
            kinds = [kind for kind in type(value).__mro__ if kind.__module__.startswith("ezez_ws")]
            ours = {*vars(value), *(name for kind in kinds for name in vars(kind))}
            plain = [name for name in ours if name[:1] == "_" and not name.startswith("__")]
            mangled = tuple(f"_{kind.__name__}__" for kind in type(value).__mro__)
            self.assertEqual([], [name for name in plain if not name.startswith(("_ezez_", "_abc_", *mangled))])


class CopyTest(ServingTestCase):
    def copies(self, value: Any) -> Iterator[Any]:
        yield copy.copy(value)
        yield copy.deepcopy(value)
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            yield pickle.loads(pickle.dumps(value, protocol))

    def test_errors_come_back_as_they_were(self) -> None:
        given: dict[str, tuple[Any, ...]] = {
            "ConnectionClosed": (4000, "enough"),
            "ConnectionFailed": ("no WebSocket", 503),
            **dict.fromkeys(("RemoteError", "InvalidArgs", "CallError"), ("code", "message", [1])),
        }
        self.assertGreater(len(PUBLIC_ERRORS), 10)
        for kind in PUBLIC_ERRORS:
            error = kind(*given.get(kind.__name__, ("a text",)))
            for other in self.copies(error):
                with self.subTest(kind.__name__):
                    self.assertIs(kind, type(other))
                    self.assertEqual((str(error), error.args), (str(other), other.args))
                    self.assertEqual(vars(error), vars(other))

    def test_undefined_stays_one_and_a_bigint_a_bigint(self) -> None:
        for other in self.copies([UNDEFINED, BigInt(3), BigInt(-(10**5000))]):
            self.assertIs(UNDEFINED, other[0])
            self.assertEqual([BigInt(3), BigInt(-(10**5000))], other[1:])
            self.assertEqual([BigInt] * 2, [type(value) for value in other[1:]])

    def test_a_codec_is_its_own_copy_and_pickles_by_its_options(self) -> None:
        class Mine(Codec):
            pass

        functions: dict[str, Any] = {"x": number}
        codec = Codec(None, functions, sort_props=False, max_depth=2, max_bigint_digits=3)
        self.assertIs(codec, copy.copy(codec))
        self.assertIs(codec, copy.deepcopy(codec))
        other = pickle.loads(pickle.dumps(codec))
        self.assertEqual([5], other.decode(b'5j\0"x:5"\0'))
        self.assertEqual(codec.encode([{"b": 1, "a": 2}]), other.encode([{"b": 1, "a": 2}]))
        wrong: Any
        for wrong in (BigInt(1000), [[[]]]):
            with self.assertRaises(ezez_ws.SerializationError):
                other.encode([wrong])
        self.assertIs(Mine, type(copy.copy(Mine())))
        with self.assertRaises((pickle.PicklingError, AttributeError)):
            pickle.dumps(Codec({"x": lambda value: None}))

    def test_a_request_comes_back_as_it_was(self) -> None:
        side, _ = self.pair(self.serve(), headers=[("Cookie", "a=b"), ("X-A", "1"), ("X-A", "2")])
        certificate = {"subject": ((("commonName", "me"),),)}
        with_more = HandshakeRequest("/", "q", Headers(), {}, ("::1", 1, 0, 0), "chat", certificate)
        for request in (side.request, with_more):
            for other in self.copies(request):
                self.assertEqual(repr(request), repr(other))
                self.assertEqual(dict(request.headers), dict(other.headers))
                self.assertEqual(request.headers.get_all("x-a"), other.headers.get_all("X-A"))
                with self.assertRaises(TypeError):
                    other.cookies["a"] = "c"
                with self.assertRaises(AttributeError):
                    other.path = "/"

    def test_a_context_pickles_as_its_snapshot(self) -> None:
        context = Context({"rooms": ["lobby"]})
        context["me"] = context
        other = pickle.loads(pickle.dumps(context))
        self.assertIs(Context, type(other))
        self.assertEqual(["lobby"], other["rooms"])
        self.assertEqual(["lobby"], other["me"]["me"]["rooms"])
        other["rooms"].append("attic")
        self.assertEqual(["lobby"], context["rooms"])

    def test_what_has_a_connection_refuses_and_says_why(self) -> None:
        replies: list[Callable[..., Any]] = []

        def answer(client: EZEZServerClient, args: list[Any], reply: Callable[..., Any], ids: Ids) -> None:
            replies.append(reply)
            reply("answer")

        server = self.serve()
        server.on("ask", answer)
        client = self.client(server)
        sent = client.send("ask")
        reply = sent.wait_reply(10)
        side = server.clients[0]
        for value in (server, client, side, side.client, sent):
            for action in (copy.copy, copy.deepcopy, pickle.dumps):
                with self.subTest(type(value).__name__), self.assertRaisesRegex(TypeError, type(value).__name__) as got:
                    action(value)
                self.assertRegex(str(got.exception), "connection")
                self.assertRegex(str(got.exception), "cannot be copied or pickled")
        for bound in (reply, replies[0], {"reply": reply.reply}):
            for action in (copy.deepcopy, pickle.dumps):
                with self.assertRaisesRegex(TypeError, "Connection .* cannot be copied or pickled"):
                    action(bound)


class ContextTest(ServingTestCase):
    def test_attributes_of_a_context_are_refused_with_the_way_to_do_it(self) -> None:
        side, _ = self.pair(self.serve())
        context: Any = side.context
        with self.assertRaisesRegex(AttributeError, r'write client\.context\["user_id"\] = '):
            context.user_id = 7
        with self.assertRaisesRegex(AttributeError, r'read client\.context\["user_id"\]'):
            context.user_id  # noqa: B018
        with self.assertRaisesRegex(AttributeError, r'write client\.context\["update"\]'):
            context.update = 7
        self.assertEqual("default", getattr(context, "user_id", "default"))
        with self.assertRaisesRegex(AttributeError, "no attribute '_other'"):
            context._other  # noqa: B018
        self.assertEqual({}, context)
        context["user_id"] = 7
        self.assertEqual({"user_id": 7}, side.context)

    def test_a_context_is_not_replaced(self) -> None:
        side, _ = self.pair(self.serve())
        with self.assertRaisesRegex(AttributeError, r"use client\.context\.update\("):
            setattr(side, "context", {"a": 1})  # noqa: B010


class Guest(typing.TypedDict):
    nickname: str


class GenericsTest(ServingTestCase):
    """What type checkers are told by, at run time."""

    def test_what_has_a_context_may_be_written_with_its_type(self) -> None:
        server: Any = EZEZWebsocketServer
        listener: Any = ezez_ws.ServerListener
        self.assertEqual((Guest,), server[Guest].__args__)
        self.assertEqual(EZEZServerClient[Guest], listener[Guest].__args__[0])
        hints = typing.get_type_hints(self.typed)
        self.assertEqual(Context[Guest], hints["context"])
        self.assertEqual(EZEZServerClient[Guest], typing.get_args(hints["listener"])[0].__args__[0])

    def typed(self, context: Context[Guest], listener: "ezez_ws.ServerListener[Guest] | None") -> None: ...

    def test_a_server_of_a_type_is_a_plain_one(self) -> None:
        server = EZEZWebsocketServer[Guest](on_auth_request=lambda client, key: True, default_context={"nickname": "a"})
        self.assertIs(EZEZWebsocketServer, type(server))
        self.assertEqual({"__orig_class__"}, set(vars(server)) - set(vars(self.serve())))

        class Mine(EZEZWebsocketServer[Guest]):
            pass

        self.assertEqual(set(vars(self.serve())), set(vars(Mine(on_auth_request=lambda client, key: True))))

    def test_a_context_of_a_type_is_a_plain_one(self) -> None:
        context = Context[Guest]({"nickname": "a"})
        for same in (context, copy.copy(context), copy.deepcopy(context), pickle.loads(pickle.dumps(context))):
            self.assertIs(Context, type(same))
            self.assertEqual({"nickname": "a"}, same)
        with context as typed:
            self.assertIs(context, typed)
        self.assertIs(dict, type(context.snapshot()))


class HintsTest(EZEZTestCase):
    def annotated(self, value: Any) -> Iterator[Any]:
        """The value, and of a class whatever may be annotated in it and in its bases of ours."""
        yield value
        for kind in value.__mro__ if isinstance(value, type) else ():
            if kind.__module__.startswith("ezez_ws"):
                yield kind
                for member in vars(kind).values():
                    for function in (member, getattr(member, "fget", None), getattr(member, "__func__", None)):
                        if isinstance(function, types.FunctionType) and function.__module__ == kind.__module__:
                            yield function

    def test_the_hints_of_everything_public_can_be_had(self) -> None:
        seen = 0
        public = [getattr(ezez_ws, name) for name in ezez_ws.__all__]
        for value in (*public, WebSocket, Headers, *filter(callable, vars(ezez_ws).values())):
            if not (isinstance(value, type) or inspect.isroutine(value)):
                continue
            for annotated in self.annotated(value):
                with self.subTest(value=value, annotated=annotated):
                    typing.get_type_hints(annotated)
                    seen += 1
        self.assertGreater(seen, 100)

    def test_ssl_is_among_them(self) -> None:
        for kind in (EZEZWebsocketServer, EZEZWebSocketClient):
            self.assertEqual(ssl.SSLContext | None, typing.get_type_hints(kind.__init__)["ssl"])


class VersionTest(EZEZTestCase):
    def test_in_a_checkout_it_is_that_of_setup_cfg(self) -> None:
        config = configparser.ConfigParser()
        config.read(REPO / "setup.cfg", encoding="utf-8")
        self.assertEqual(config["metadata"]["version"], ezez_ws.__version__)

    def test_elsewhere_it_is_that_of_the_metadata_if_there_are_any(self) -> None:
        with mock.patch.object(version, "__file__", str(REPO / "docs" / "ezez_ws" / "version.py")):
            with mock.patch("importlib.metadata.version", lambda name: f"of {name}"):
                self.assertEqual("of ezez-ws", version.find_version())
            with mock.patch("importlib.metadata.version", side_effect=PackageNotFoundError):
                self.assertEqual("0+unknown", version.find_version())

    def test_another_name_is_not_found(self) -> None:
        with self.assertRaisesRegex(AttributeError, "module 'ezez_ws' has no attribute 'nothing'"):
            getattr(ezez_ws, "nothing")  # noqa: B009


if __name__ == "__main__":
    unittest.main()
