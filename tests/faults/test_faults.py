"""The pair through a network that misbehaves: at most once, in order, none torn, and a loss is heard of."""

import subprocess
import sys
import threading
from typing import Any

from ezez_ws import ConnectionClosed, EZEZWebSocketClient
from tests.faults.proxy import Fault, Pipe, Proxy
from tests.serving import KEY, Calls, ServingTestCase
from tests.support import REPO, allow_seconds, eventually, free_port

MESSAGES = 2000


def delays(pipe: Pipe) -> None:
    if pipe.random.random() < 0.05:
        pipe.delay(0.02)


def trickles(pipe: Pipe) -> None:
    pipe.piece = pipe.random.choice((1, 2, 7, 100, 1500))


def cuts(pipe: Pipe) -> None:
    pipe.piece = 4000
    if pipe.random.random() < 0.05:
        pipe.cut()


def resets(pipe: Pipe) -> None:
    pipe.piece = 4000
    if pipe.random.random() < 0.05:
        pipe.reset()


def half_closes(pipe: Pipe) -> None:
    pipe.piece = 4000
    if pipe.random.random() < 0.05:
        pipe.half_close()


class Traffic:
    """What one run has sent, and what has arrived."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.arrived: dict[int, list[int]] = {}  # by connection: the server may still be busy with an old one
        self.sent: list[int] = []
        self.refused: list[int] = []
        self.replied: dict[int, Any] = {}
        self.lost = 0

    def receive(self, client: Any, args: Any, reply: Any, ids: Any) -> None:
        number, text = args
        assert text == str(number) * 20, "a torn message"
        with self.lock:
            self.arrived.setdefault(client.connection_id, []).append(number)
        reply("got", [number])


class FaultTest(ServingTestCase):
    def run_through(self, fault: Fault, mode: Any) -> Traffic:
        traffic = Traffic()
        server = self.serve(ping_interval=1.0, ping_timeout=2.0)
        server.on("item", traffic.receive)
        assert server.port is not None
        proxy = Proxy(server.port, fault)
        self.addCleanup(proxy.close)
        disconnects = Calls()
        client = EZEZWebSocketClient(
            proxy.url,
            auth=KEY,
            reconnect_delay=0.02,
            reconnect_delay_max=0.05,
            send_when_not_connected=mode,
            ping_interval=1.0,
            ping_timeout=2.0,
            on_disconnect=disconnects.named("gone", 0),
        )
        self.addCleanup(client.close)
        client.start()
        waiting = []
        for number in range(MESSAGES):
            message = client.send("item", [number, str(number) * 20])
            if message:
                traffic.sent.append(number)
                waiting.append((number, message))
            else:
                traffic.refused.append(number)
                eventually(lambda: client.alive, timeout=30)
        for number, message in waiting:
            try:
                traffic.replied[number] = message.wait_reply(timeout=30).args
            except ConnectionClosed:
                traffic.lost += 1
        if traffic.lost:
            disconnects.wait()
        client.close()
        server.close()
        return traffic

    def check(self, traffic: Traffic) -> None:
        arrived = [number for numbers in traffic.arrived.values() for number in numbers]
        self.assertEqual(len(arrived), len(set(arrived)), "each at most once")
        for numbers in traffic.arrived.values():
            self.assertEqual(numbers, sorted(numbers), "in order")
        self.assertEqual(set(arrived) & set(traffic.refused), set(), "what was falsy has not arrived")
        self.assertEqual([args for args in traffic.replied.items() if args[1] != [args[0]]], [])
        self.assertLessEqual(set(traffic.replied), set(arrived))
        self.assertEqual(len(traffic.replied) + traffic.lost + len(traffic.refused), MESSAGES)

    def test_delays_lose_nothing(self) -> None:
        traffic = self.run_through(delays, "queue")
        self.check(traffic)
        self.assertEqual(sum(map(len, traffic.arrived.values())), MESSAGES)

    def test_trickles_lose_nothing(self) -> None:
        traffic = self.run_through(trickles, "queue")
        self.check(traffic)
        self.assertEqual(sum(map(len, traffic.arrived.values())), MESSAGES)

    def test_cuts_are_heard_of(self) -> None:
        self.check(self.run_through(cuts, "queue"))

    def test_cuts_without_a_queue_refuse_what_they_do_not_send(self) -> None:
        self.check(self.run_through(cuts, "ignore"))

    def test_resets_are_heard_of(self) -> None:
        self.check(self.run_through(resets, "queue"))

    @allow_seconds(150)
    def test_half_closes_are_heard_of(self) -> None:
        self.check(self.run_through(half_closes, "queue"))


SERVER = """
import os, sys
from ezez_ws import EZEZWebsocketServer
server = EZEZWebsocketServer(port=int(sys.argv[1]), on_auth_request=lambda client, key: True)
@server.on("item")
def item(client, args, reply, ids):
    os.write(1, b"%d\\n" % args[0])
    reply("got", args)
server.start()
print("ready", flush=True)
sys.stdin.read()
"""


class KilledServerTest(ServingTestCase):
    def start_server(self, port: int) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(port)],
            cwd=REPO,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(self.end, process)
        return process

    def end(self, process: "subprocess.Popen[str]") -> None:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()

    def test_clients_come_back_to_a_killed_server_and_their_queues_go_out_in_order_once(self) -> None:
        port = free_port()
        first = self.start_server(port)
        assert first.stdout is not None
        self.assertEqual(first.stdout.readline(), "ready\n")
        clients = [
            EZEZWebSocketClient(f"ws://127.0.0.1:{port}", reconnect_delay=0.05, reconnect_delay_max=0.2)
            for _ in range(3)
        ]
        for client in clients:
            self.addCleanup(client.close)
            client.connect()
        self.end(first)
        for client in clients:
            eventually(lambda client=client: not client.alive)  # type: ignore[misc]
        queued = [(client, client.send("item", [number])) for number in range(20) for client in clients]
        second = self.start_server(port)
        for number, (_, message) in enumerate(queued):
            self.assertEqual(message.wait_reply(timeout=20).args, [number // 3])
        assert second.stdout is not None
        # The first items may be there before start() has returned in the server.
        said = [second.stdout.readline() for _ in range(len(queued) + 1)]
        said.remove("ready\n")
        self.assertEqual(sorted(map(int, said)), sorted(list(range(20)) * 3))
