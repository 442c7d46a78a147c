"""The lock rules hold under a load that takes every lock, and a collection anywhere in it does no harm."""

import contextlib
import gc
import select
import socket
import ssl
import threading
import unittest
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import trustme

from ezez_ws import (
    Codec,
    ConnectionClosed,
    Emitter,
    EZEZServerClient,
    EZEZWebSocketClient,
    EZEZWebsocketServer,
    NotConnected,
    RedisBackplane,
    ReplyTimeout,
)
from ezez_ws.connection.inbox import Inbox
from ezez_ws.threads.timers import Janitor
from ezez_ws.threads.waiting import Event
from ezez_ws.websocket.outbox import Outbox
from ezez_ws.websocket.stream import Stream
from ezez_ws.wire.read_gate import read_gate
from ezez_ws.wire.sockets import SocketWire
from tests.lockcheck import Checker, checking
from tests.rawpeer import RawPeer
from tests.redis_server import RedisServer, needs_redis
from tests.serving import KEY, Result
from tests.support import EZEZTestCase, allow_seconds, eventually

Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]


class Thing:
    """A value that only the codec's own functions can send."""


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


class Load:
    """Everything that the library does, once; ``wrap`` is applied to each function of the user's."""

    def __init__(self, test: unittest.TestCase, wrap: Wrap, tls: bool, compression: str | None) -> None:
        self.test = test
        self.wrap = wrap
        self.tls = contexts() if tls else None
        self.options = {
            "compression": compression,
            "ping_interval": 0.05,
            "close_timeout": 1.0,
            "send_buffer_limit": 300_000,
            "codec": Codec(
                serializers={"thing": wrap(lambda value: "!" if isinstance(value, Thing) else None)},
                deserializers={"thing": wrap(lambda text: Thing())},
            ),
        }

    def run(self) -> None:
        nothing = self.wrap(lambda *args: None)
        server: EZEZWebsocketServer = EZEZWebsocketServer(
            port=0,
            ssl=self.tls[0] if self.tls else None,
            on_auth_request=self.wrap(lambda client, key: key == KEY),
            on_auth_ok=self.wrap(self.greet),
            on_member=nothing,
            on_auth_rejected=nothing,
            on_message=nothing,
            on_disconnect=nothing,
            on_error=nothing,
            verify_request=self.wrap(lambda request: True),
            clear_awaiting_replies_after=0.5,
            default_context={"list": []},
            **self.options,  # type: ignore[arg-type]
        )
        server.on("echo", self.wrap(lambda client, args, reply, ids: reply("echoed", args)))
        server.on("nest", self.wrap(self.nest))
        server.on("bye", self.wrap(lambda client, args, reply, ids: client.disconnect(4000, "bye")))
        with server:
            assert server.url is not None
            self.url = server.url
            clients = [self.client() for _ in range(4)]
            try:
                self.talk(server, clients)
                if self.tls is None:
                    self.stall(server)
            finally:
                closing = [Result(client.close) for client in clients]
                for one in closing:
                    one.get()
        server.start()
        server.close()

    def client(self) -> EZEZWebSocketClient:
        nothing = self.wrap(lambda *args: None)
        client = EZEZWebSocketClient(
            self.wrap(lambda: self.url),
            auth=self.wrap(lambda: KEY),
            headers=self.wrap(dict),
            ssl=self.tls[1] if self.tls else None,
            reconnect_delay=0.02,
            reconnect_delay_max=0.05,
            on_connect=nothing,
            on_auth_ok=nothing,
            on_message=nothing,
            on_disconnect=nothing,
            on_error=nothing,
            **self.options,  # type: ignore[arg-type]
        )
        client.on("back", self.wrap(lambda args, reply, ids: reply("back", client.send("echo").wait_reply(5).args)))
        client.once("welcome", nothing)
        early = client.send("echo", ["queued"], on_reply=nothing)
        client.connect(30)
        early.wait_reply(10)
        return client

    def greet(self, client: EZEZServerClient) -> None:
        client.join("lobby", f"number {client.connection_id % 2}", info={"number": client.connection_id})
        client.send("welcome", [Thing()])

    def nest(self, client: EZEZServerClient, args: Any, reply: Any, ids: Any) -> None:
        with client.context as context:
            context["asked"] = args
        with contextlib.suppress(ConnectionClosed):
            reply("nested", client.send("back").wait_reply(5).args)

    def talk(self, server: EZEZWebsocketServer, clients: list[EZEZWebSocketClient]) -> None:
        def work(number: int) -> None:
            client = clients[number % len(clients)]
            for turn in range(6):
                with contextlib.suppress(ConnectionClosed, NotConnected):
                    args = [number, turn, Thing(), "x" * 20_000 * (turn % 2)]
                    answer = client.send("echo", args).wait_reply(10)
                    self.test.assertEqual(args[:2], answer.args[:2])
                    client.send("nest", on_reply=self.wrap(lambda *args: None)).wait_reply(10)
                    with contextlib.suppress(ReplyTimeout):
                        client.send("nothing").wait_reply(0.001)
                    server.broadcast("news", [turn], where=self.wrap(lambda client: client.alive))
                    server.to("lobby", "number 1").except_("number 0").send("said", [turn])
                    server.everyone.send("said", [Thing()])
                    server.to("number 0").join("third")
                    server.everyone.leave("third")
                    if number == turn:
                        client.send("bye")

        working = [Result(work, number) for number in range(8)]
        for one in working:
            one.get(40)

    def stall(self, server: EZEZWebsocketServer) -> None:
        """Fill the buffer of a peer that reads nothing, so that the flusher works; then wait for room."""
        peer = RawPeer.connect(self.url, KEY, receive_buffer=4096)
        try:
            address = peer.sock.getsockname()
            side = next(client for client in server.clients if client.request.remote_address == address)
            big = ["y" * 100_000]

            def send() -> None:
                with contextlib.suppress(ConnectionClosed):
                    for _ in range(60):
                        side.send("big", big)

            sending = [Result(send), Result(send)]
            eventually(lambda: side._ezez_connection.stream._outbox.waiting_bytes > 0, what="something waits")
            for _ in range(60):
                peer.read_message()
            peer.close()
            for one in sending:
                one.get()
        finally:
            peer.close()


class ClusterLoad:
    """Two servers on one Redis, with clients that are listed, asked from elsewhere, cut off, and come back."""

    def __init__(self, test: EZEZTestCase, wrap: Any, url: str) -> None:
        self.test = test
        self.wrap = wrap
        self.backplane = RedisBackplane(url, heartbeat=0.2, node_timeout=5.0)

    def run(self) -> None:
        nothing = self.wrap(lambda *args: None)
        servers = [
            EZEZWebsocketServer(
                port=0,
                on_auth_request=self.wrap(lambda client, key: True),
                on_auth_ok=self.wrap(lambda client: client.join("lobby", info=client.connection_id)),
                on_member=nothing,
                on_cluster=nothing,
                on_disconnect=nothing,
                backplane=self.backplane,
                ping_interval=0.05,
                close_timeout=1.0,
            )
            for _ in range(2)
        ]
        with servers[0], servers[1], Emitter(self.backplane) as emitter:
            clients = []
            for server in servers * 2:
                client = EZEZWebSocketClient(server.url or "", recover=True, on_missed=nothing, reconnect_delay=0.02)
                client.on("ask", self.wrap(lambda args, reply, ids: reply("answer", args)))
                client.connect()
                clients.append(client)
            eventually(lambda: all(len(server.members("lobby", 10)) == 4 for server in servers))
            addresses = [member.address for member in servers[0].members("lobby")]
            for turn in range(20):
                for audience in (servers[0].to("lobby"), servers[1].everyone, emitter.to("lobby")):
                    audience.send("said", [turn])
                if turn == 10:
                    servers[1].everyone.disconnect(4000)
                for address in addresses:
                    with contextlib.suppress(ConnectionClosed):
                        servers[turn % 2].client_at(address).send("ask", [turn]).wait_reply(10)
            # they are on their way back
            back = eventually(lambda: [one for one in servers[0].clients if one.authenticated])
            with contextlib.suppress(ConnectionClosed):
                emitter.client_at(back[0].address).send("ask").wait_reply(10)
            for client in clients:
                client.close()


class LockRulesTest(EZEZTestCase):
    @contextlib.contextmanager
    def checked(self) -> Iterator[Checker]:
        with checking() as checker:
            yield checker
        self.assertEqual([], list(checker.violations)[:3])

    def run_load(self, tls: bool, compression: str | None) -> Checker:
        with self.checked() as checker:
            Load(self, checker.user_code, tls, compression).run()
            eventually(lambda: not [one for one in threading.enumerate() if one.name.startswith("ezez-")])
        return checker

    def test_a_load_keeps_them(self) -> None:
        checker = self.run_load(tls=False, compression=None)
        self.assertIn(("Outbox.lock", "Inbox.lock"), checker.seen)
        for role in (
            "Condition.lock",
            "Clients.order",
            "Context.__lock",
            "Dialer._lock",
            "EZEZWebsocketServer.__lock",
            "EZEZWebsocketServer.__starting",
            "Flusher._lock",
            "Hub._lock",
            "ServerRun._lock",
            "Janitor._lock",
            "Listener._lock",
            "Listeners._lock",
            "Outbox.lock",
            "Inbox.lock",
        ):
            self.assertIn(role, checker.taken)

    @needs_redis
    def test_a_load_over_two_nodes_keeps_them(self) -> None:
        broker = RedisServer().start()
        self.addCleanup(broker.close)
        with self.checked() as checker:
            ClusterLoad(self, checker.user_code, broker.url).run()
            eventually(lambda: not [one for one in threading.enumerate() if one.name.startswith("ezez-")])
        for pair in (("Clients.order", "Publisher._lock"), ("Inbox.lock", "Answering._lock")):
            self.assertIn(pair, checker.seen)

    def test_a_load_over_tls_keeps_them(self) -> None:
        checker = self.run_load(tls=True, compression=None)
        self.assertIn(("TLSWire.lock", "Inbox.lock"), checker.seen)

    def test_a_connection_that_others_have_accepted_and_wrapped_keeps_them(self) -> None:
        theirs, ours = contexts()
        with self.checked() as checker:
            server = EZEZWebsocketServer(on_auth_request=checker.user_code(lambda client, key: True))
            server.on("echo", checker.user_code(lambda client, args, reply, ids: reply("echo", args)))
            with theirs.wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True) as listener:
                serving = Result(lambda: server.serve_connection(listener.accept()[0]))
                with EZEZWebSocketClient(f"wss://127.0.0.1:{listener.getsockname()[1]}", ssl=ours) as client:
                    self.assertEqual(["x" * 500_000], client.send("echo", ["x" * 500_000]).wait_reply(10).args)
                    server.close()
            serving.get()
        self.assertIn(("TLSSocketWire.lock", "Inbox.lock"), checker.seen)
        self.assertIn("ServerRun._lock", checker.taken)

    def test_a_compressed_load_keeps_them(self) -> None:
        self.run_load(tls=False, compression="deflate")

    @unittest.skipUnless(hasattr(select, "epoll"), "readers take turns on Linux only")
    def test_a_load_in_turns_keeps_them(self) -> None:
        with mock.patch.object(read_gate, "crowd", 0):
            checker = self.run_load(tls=False, compression=None)
        self.assertIn("ReadGate._lock", checker.taken)

    @allow_seconds(150)
    def test_a_collection_at_every_allocation_deadlocks_nothing(self) -> None:
        for tls in (False, True):
            with self.subTest(tls=tls):
                before = gc.get_threshold()
                gc.collect()
                gc.freeze()
                gc.set_threshold(1)
                try:
                    Result(Load(self, lambda function: function, tls, None).run).get(60)
                finally:
                    gc.set_threshold(*before)
                    gc.unfreeze()


class CheckerTest(EZEZTestCase):
    """The checker finds what it is for."""

    def assert_found(self, text: str, act: Callable[[Checker, Outbox, Inbox], Any]) -> None:
        with checking() as checker:
            here, there = socket.socketpair()
            stream = Stream(SocketWire(here), client_side=False, max_payload=100, send_buffer_limit=100)
            inbox = Inbox(stream, 100, False, lambda payload: None, True)  # type: ignore[arg-type,return-value]
            inbox.note = lambda payload: None
            try:
                act(checker, stream._outbox, inbox)
            finally:
                stream.dispose()
                there.close()
        self.assertTrue(checker.violations)
        for violation in checker.violations:  # a receive may be done in two ways, one after the other
            self.assertRegex(violation, text)

    def test_locks_in_the_wrong_order(self) -> None:
        def act(checker: Checker, outbox: Outbox, inbox: Inbox) -> None:
            with outbox.lock, inbox.lock:
                pass
            with inbox.lock, outbox.lock:
                pass

        self.assert_found("^Outbox.lock taken while Inbox.lock held", act)

    def test_a_lock_under_a_leaf(self) -> None:
        def act(checker: Checker, outbox: Outbox, inbox: Inbox) -> None:
            janitor = Janitor()
            with janitor._lock, inbox.lock:
                pass

        self.assert_found("^Inbox.lock taken while Janitor._lock held", act)

    def test_user_code_under_a_lock(self) -> None:
        def act(checker: Checker, outbox: Outbox, inbox: Inbox) -> None:
            callback = checker.user_code(lambda: None)
            callback()
            with inbox.lock:
                callback()

        self.assert_found(r"^user code runs while \['Inbox.lock'\] held", act)

    def test_user_code_on_a_thread_that_serves_all(self) -> None:
        def act(checker: Checker, outbox: Outbox, inbox: Inbox) -> None:
            janitor, done = Janitor(), threading.Event()
            janitor.enter(self)
            checker.user_code(lambda: None)()
            janitor.call_later(0, checker.user_code(done.set))
            done.wait(10)
            janitor.leave(self)

        self.assert_found("^user code runs on the thread ezez-janitor", act)

    def test_a_socket_that_may_block_under_a_lock(self) -> None:
        def act(checker: Checker, outbox: Outbox, inbox: Inbox) -> None:
            with outbox.lock:
                outbox._wire.read_now(1)
                outbox._wire.poll(True, False, 0)
                outbox._wire.poll(True, False, 0.001)

        self.assert_found(r"^poll\(\) may block while \['Outbox.lock'\] held", act)

    def enter_no_crowd(self) -> None:
        """Have readers wait inside ``recv``."""
        patch = mock.patch.multiple(read_gate, crowd=1000, crowded=False)
        patch.start()
        self.addCleanup(patch.stop)

    def test_a_blocking_receive_under_a_lock(self) -> None:
        def act(checker: Checker, outbox: Outbox, inbox: Inbox) -> None:
            outbox._wire.cut()
            outbox._wire.read(1)
            with inbox.lock:
                outbox._wire.read(1)

        self.enter_no_crowd()
        self.assert_found(r"^recv\(\) may block while \['Inbox.lock'\] held", act)

    def test_sleeping_under_a_lock(self) -> None:
        def act(checker: Checker, outbox: Outbox, inbox: Inbox) -> None:
            with inbox.lock:
                Event().wait(0.001)

        self.assert_found(r"^Event.wait\(\) may block while \['Inbox.lock'\] held", act)

    def test_afterwards_all_is_as_it_was(self) -> None:
        before = threading.Lock, threading.RLock, Event.wait, SocketWire.poll, threading.Event.wait
        with checking():
            pass
        self.assertEqual(before, (threading.Lock, threading.RLock, Event.wait, SocketWire.poll, threading.Event.wait))
        self.assertNotIn("recv", vars(socket.socket))


if __name__ == "__main__":
    unittest.main()
