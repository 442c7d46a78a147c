"""A load of the soak: six clients that can recover, cut every 10 to 250 ms, over two nodes and a broker that fail.

Each event has to come once, in the order of who published it, to whom it was for; or ``on_missed`` has told of one of
its rooms, between what came before it and what came after.

    python -m tests.stress.recovering [SECONDS [MODE [SEED]]]

Modes: ``quiet`` (nodes are killed), ``kill`` (the broker, too; it loses nothing), ``freeze`` (it stands still),
``flush`` (it is emptied; no node is killed, as what it has just published would be lost with it) and ``lose`` (the
broker is killed, and loses what it has had last, while a node is killed and another starts: nothing may come twice).
"""

import contextlib
import json
import logging
import os
import random
import select
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from ezez_ws import EZEZServerClient, EZEZWebSocketClient, EZEZWebsocketServer, Publication, QueueFull, RedisBackplane
from tests.redis_server import RedisServer, redis_missing
from tests.support import REPO, eventually

MODES = ("quiet", "kill", "freeze", "flush", "lose")
LOST = "was lost without a word"
ROOMS = ["abc", "ab", "bc", "ac", "a", "c"]  # of each client; and one of its own


def rooms_of(number: int) -> list[str]:
    return [*ROOMS[number], f"user:{number}"]


class Event(NamedTuple):
    """What was published, as its arguments say."""

    producer: str
    seq: int
    rooms: list[str]
    but_rooms: list[str]
    but: int | None  # who has published it by way of itself

    @property
    def name(self) -> tuple[str, int]:
        return self.producer, self.seq

    def is_for(self, number: int) -> bool:
        mine = {"*", *rooms_of(number)}
        return number != self.but and not mine.isdisjoint(self.rooms) and mine.isdisjoint(self.but_rooms)


# -- a node, in a process of its own ----------------------------------------------------------------------------------


def run_node(name: str, url: str, folder: str, durable: bool) -> None:
    """Publish events, and write down which and what was confirmed, until told to stop."""
    rng, lock, stop = random.Random(name), threading.Lock(), threading.Event()
    waiting: list[tuple[int, Publication]] = []
    seq = 0
    with open(Path(folder) / f"{name}.log", "w", buffering=1, encoding="utf-8") as log:

        def publish(audience: Any, rooms: list[str], but_rooms: list[str], but: int | None = None) -> None:
            nonlocal seq
            with lock:
                seq += 1
                event = Event(name, seq, rooms, but_rooms, but)
                log.write(json.dumps(event) + "\n")
                with contextlib.suppress(QueueFull):
                    waiting.append((seq, audience.send("event", event)))

        def say(client: EZEZServerClient, args: Any, reply: Any, ids: Any) -> None:
            publish(client.to(*args), args, [], int(client.context["number"]))

        def confirm() -> None:
            while waiting and waiting[0][1].wait(0):
                log.write(f"{waiting.pop(0)[0]}\n")

        def go_on() -> None:
            while not stop.wait(rng.expovariate(60)):
                rooms = rng.choice((["*"], rng.sample("abc", rng.randint(1, 3)), [f"user:{rng.randrange(6)}", "b"]))
                but_rooms = [rng.choice((f"user:{rng.randrange(6)}", "c"))] if rng.random() < 0.3 else []
                audience = server.everyone if rooms == ["*"] else server.to(*rooms)
                publish(audience.except_(*but_rooms), rooms, but_rooms)
                with lock:
                    confirm()

        def admit(client: EZEZServerClient, key: Any) -> bool:
            client.context["number"] = key
            return True

        server = EZEZWebsocketServer(
            port=0,
            on_auth_request=admit,
            on_auth_ok=lambda client: client.join(*rooms_of(int(client.context["number"]))),
            backplane=RedisBackplane(url, heartbeat=0.5, node_timeout=3.0, io_timeout=2.0, durable=durable),
            ping_interval=0.3,
        )
        server.on("say", say)
        with server:
            print(server.port, flush=True)
            publisher = threading.Thread(target=go_on)
            sys.stdin.readline()
            publisher.start()
            sys.stdin.readline()
            stop.set()
            publisher.join()
            publish(server.everyone, ["*"], [])
            for _, publication in waiting:
                publication.wait(30)
            confirm()
            print("stopped", flush=True)
            sys.stdin.readline()


class Node:
    def __init__(self, name: str, url: str, folder: Path, durable: bool) -> None:
        self.name = name
        command = [sys.executable, "-m", "tests.stress.recovering", "--node", name, url, str(folder), str(int(durable))]
        with open(folder / f"{name}.errors", "w", encoding="utf-8") as errors:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=REPO
            )
        self.port = int(self.read())

    def read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def tell(self) -> None:
        """Have it go on to what comes next."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


# -- the way to a node, which is cut ----------------------------------------------------------------------------------


class Cutting:
    """Connects whoever comes to one of the nodes, and cuts him off soon."""

    def __init__(self, nodes: list[Node], rng: random.Random) -> None:
        self.cuts = True
        self._nodes, self._rng = nodes, rng
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()
        self._pumps: list[threading.Thread] = []

    def _accept(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            if not self._nodes:
                sock.close()
                return
            until = time.monotonic() + self._rng.uniform(0.01, 0.25)
            most = self._rng.choice((1 << 30, self._rng.randrange(200, 6000)))  # bytes: in the middle of a replay
            pump = threading.Thread(target=self._pump, args=(sock, self._rng.choice(self._nodes).port, until, most))
            pump.start()
            self._pumps = [one for one in self._pumps if one.is_alive()] + [pump]

    def _pump(self, sock: socket.socket, port: int, until: float, most: int) -> None:
        with contextlib.suppress(OSError), sock, socket.create_connection(("127.0.0.1", port), 2) as far:
            passed = 0
            while self._nodes and not (self.cuts and (time.monotonic() > until or passed > most)):
                for source in select.select([sock, far], [], [], 0.01)[0]:
                    data = source.recv(2048)
                    if not data:
                        return
                    (far if source is sock else sock).sendall(data)
                    passed += len(data) if source is far else 0
            if most % 2:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # with a reset

    def close(self) -> None:
        self._nodes = []
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._thread.join()
        for pump in self._pumps:
            pump.join()
        self._listener.close()


class Returning:
    """A client, and in order what it has got and been told of."""

    def __init__(self, number: int, port: int) -> None:
        self.number = number
        self.heard: list[Event | list[str]] = []
        self.times = 0
        self.client = EZEZWebSocketClient(
            f"ws://127.0.0.1:{port}",
            auth=str(number),
            recover=True,
            on_missed=lambda rooms: self.heard.append(sorted(rooms)),
            on_auth_ok=self._count,
            reconnect_delay=0.01,
            reconnect_delay_max=0.03,
            send_when_not_connected="ignore",
        )
        self.client.on("event", lambda args, reply, ids: self.heard.append(Event(*args)))
        self.client.start()

    def _count(self) -> None:
        self.times += 1

    def judge(self, published: dict[tuple[str, int], Event], confirmed: set[tuple[str, int]]) -> list[str]:
        """Say what should not be."""
        problems = []
        at: dict[tuple[str, int], int] = {}
        last: dict[str, int] = defaultdict(int)
        told = [(index, one) for index, one in enumerate(self.heard) if not isinstance(one, Event)]
        for index, one in enumerate(self.heard):
            if not isinstance(one, Event):
                continue
            if one.name in at:
                problems.append(f"{one} came twice")
            elif one.seq < last[one.producer]:
                problems.append(f"{one} came after {last[one.producer]}")
            if not one.is_for(self.number) and not told:  # with a loss goes what says who, and where, it was
                problems.append(f"{one} was not for it")
            at[one.name], last[one.producer] = index, one.seq
        for name in confirmed:
            event = published[name]
            if name in at or not event.is_for(self.number):
                continue
            same = [(one[1], index) for one, index in at.items() if one[0] == event.producer]
            before = max((index for seq, index in same if seq < event.seq), default=-1)
            after = min(
                (
                    index
                    for (who, seq), index in at.items()
                    if who == event.producer and seq > event.seq and set(published[who, seq].rooms) & set(event.rooms)
                ),
                default=len(self.heard),
            )
            if not any(before < index < after and set(rooms) & set(event.rooms) for index, rooms in told):
                problems.append(f"{event} {LOST}")
        return [f"client {self.number}: {problem}" for problem in problems]


# -- the load ---------------------------------------------------------------------------------------------------------


def recovering(_: object, seconds: float, mode: str | None = None, seed: int | None = None) -> list[str]:
    """Six clients that come back all the time, over nodes and a broker that fail."""
    if redis_missing():
        print(f"  recovering: left out, {redis_missing()}")
        return []
    seed = random.randrange(1 << 30) if seed is None else seed
    mode = mode or MODES[seed % len(MODES)]
    rng = random.Random(seed)
    logging.getLogger("ezez_ws").setLevel(logging.ERROR)  # it is cut all the time
    broker = RedisServer(appendonly={"kill": "always", "lose": "everysec"}.get(mode)).start()
    with tempfile.TemporaryDirectory(prefix="ezez-stress-") as name, contextlib.ExitStack() as closing:
        closing.callback(broker.close)
        folder = Path(name)
        nodes = [Node(f"node{number}.0", broker.url, folder, mode == "kill") for number in range(2)]

        @closing.callback
        def close_nodes() -> None:
            for node in nodes:
                node.close()

        way = Cutting(nodes, random.Random(seed))
        closing.callback(way.close)
        way.cuts = False
        clients = [Returning(number, way.port) for number in range(len(ROOMS))]
        for one in clients:
            closing.callback(one.client.close)
        eventually(lambda: all(one.client.rooms >= set(rooms_of(one.number)) for one in clients), 30)
        for node in nodes:
            node.tell()
        way.cuts = True
        fail(broker, nodes, clients, folder, mode, rng, time.monotonic() + seconds)
        for node in nodes:
            node.tell()
        for node in nodes:
            node.read()  # what it had is in the log
        way.cuts = False
        published, confirmed = read_logs(folder)
        final = {max(name for name in published if name[0] == node.name) for node in nodes}
        problems = [path.read_text() for path in folder.glob("*.errors") if "Traceback" in path.read_text()]
        try:
            eventually(
                lambda: all(final <= {e.name for e in one.heard[-50:] if isinstance(e, Event)} for one in clients), 30
            )
        except AssertionError:
            problems.append("the last events did not reach all")
        for one in clients:
            problems += one.judge(published, confirmed)
        if mode == "lose":  # who is killed cannot append again what the broker has lost
            problems = [problem for problem in problems if not problem.endswith(LOST)]
        told = sum(not isinstance(one, Event) for client in clients for one in client.heard)
        if told and mode == "quiet":
            problems.append(f"on_missed was called {told} times though nothing was lost")
        times = sum(one.times for one in clients)
        print(f"  recovering, {mode}: {times} times back, {len(published)} events, on_missed {told} times")
    return [f"seed {seed}: {problem}" for problem in problems[:5]]


def fail(
    broker: RedisServer,
    nodes: list[Node],
    clients: list[Returning],
    folder: Path,
    mode: str,
    rng: random.Random,
    until: float,
) -> None:
    """Let the broker and the nodes fail every few seconds, and clients speak meanwhile."""

    def replace_node(number: int, count: int) -> None:
        nodes[number].close()
        nodes[number] = Node(f"node{number}.{count}", broker.url, folder, mode == "kill")
        nodes[number].tell()

    count, fails_at = 0, time.monotonic() + 1.0
    while time.monotonic() < until:
        rng.choice(clients).client.send("say", rng.sample("abc", rng.randint(1, 2)))
        time.sleep(rng.expovariate(60))
        if time.monotonic() < fails_at or time.monotonic() > until - 1.0:
            continue
        if mode == "kill":
            broker.restart()
        elif mode == "freeze":
            broker.freeze()
            time.sleep(rng.choice((0.3, 2.5)))
            broker.thaw()
        elif mode == "flush":
            broker.command("FLUSHALL")
        if mode != "flush":
            count += 1
            starting = threading.Thread(target=replace_node, args=(rng.randrange(len(nodes)), count))
            starting.start()
            for _ in range(rng.randint(1, 3) if mode == "lose" else 0):
                time.sleep(rng.uniform(0, 0.5))
                broker.restart()
            starting.join()
        fails_at = time.monotonic() + rng.uniform(1.0, 3.0)


def read_logs(folder: Path) -> tuple[dict[tuple[str, int], Event], set[tuple[str, int]]]:
    """Return what the nodes have published, and what of it was confirmed."""
    published, confirmed = {}, set()
    for path in folder.glob("*.log"):
        for line in path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):  # half a line of one that was killed
                value = json.loads(line)
                if isinstance(value, list):
                    event = Event(*value)
                    published[event.name] = event
                else:
                    confirmed.add((path.stem, value))
    return published, confirmed & published.keys()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--node"]:
        run_node(sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5] == "1")
        os._exit(0)
    given = [convert(text) for convert, text in zip((float, str, int), sys.argv[1:], strict=False)]
    found = recovering(None, *(given or [20.0]))
    print("\n".join(found))
    sys.exit(bool(found))
