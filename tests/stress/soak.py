"""Stress, and what is left of it: ``python -m tests.stress.soak [--minutes M]``.

Four loads in turn, until the time is over, each at least once:

    crowd       64 threads send and wait on 16 connections, with nested waits and random disconnects, while threads
                switch a thousand times as often as usual
    doors       thousands of connects and disconnects
    flood       hundreds of thousands of messages that nobody waits for
    recovering  clients that come back all the time, over nodes and a broker that fail (left out without Redis)

After each, threads, file descriptors, awaited replies and memory must be back at their baseline. The last line is
``N passed, M failed``.
"""

import argparse
import faulthandler
import gc
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from ezez_ws import ConnectionClosed, EZEZWebSocketClient, EZEZWebsocketServer, NotConnected, ReplyTimeout
from tests.stress.recovering import recovering

Problems = list[str]


def start_server() -> EZEZWebsocketServer:
    server = EZEZWebsocketServer(port=0, on_auth_request=lambda client, key: True)

    @server.on("echo")
    def echo(client: Any, args: Any, reply: Any, ids: Any) -> None:
        reply("echo", args)

    @server.on("ask-back")
    def ask_back(client: Any, args: Any, reply: Any, ids: Any) -> None:
        try:
            reply("told", client.send("question", args).wait_reply(timeout=30).args)
        except ConnectionClosed:
            pass

    @server.on("count")
    def count(client: Any, args: Any, reply: Any, ids: Any) -> None:
        with client.context as context:
            context["count"] = context.get("count", 0) + 1

    @server.on("counted")
    def counted(client: Any, args: Any, reply: Any, ids: Any) -> None:
        reply("count", [client.context.get("count", 0)])

    server.start()
    return server


def start_client(server: EZEZWebsocketServer) -> EZEZWebSocketClient:
    assert server.url is not None
    client = EZEZWebSocketClient(server.url, reconnect_delay=0.01, reconnect_delay_max=0.05)
    client.on("question", lambda args, reply, ids: reply("answer", args))
    client.connect(timeout=60)
    return client


def crowd(server: EZEZWebsocketServer, seconds: float) -> Problems:
    """64 threads on 16 connections."""
    problems: Problems = []
    clients = [start_client(server) for _ in range(16)]
    until = time.monotonic() + seconds
    done = [0] * 64

    def work(number: int) -> None:
        rng = random.Random(number)
        client = clients[number % 16]
        while time.monotonic() < until:
            value = rng.randrange(1 << 30)
            try:
                event = rng.choice(("echo", "ask-back"))
                answer = client.send(event, [value]).wait_reply(timeout=60)
                if answer.args != [value]:
                    problems.append(f"{event} {value} was answered with {answer.args}")
                done[number] += 1
            except (ConnectionClosed, NotConnected):
                pass
            except ReplyTimeout as error:
                problems.append(f"{event}: {error}")
            if rng.random() < 0.002:
                for side in server.clients[:1]:
                    side.disconnect()

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            problems.append(f"thread {number}: {error!r}")

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=guarded, args=(number,)) for number in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(seconds + 120)
            if thread.is_alive():
                problems.append(f"{thread.name} hangs")
                faulthandler.dump_traceback(all_threads=True)
                break
    finally:
        sys.setswitchinterval(interval)
    print(f"  crowd: {sum(done)} answers")
    for client in clients:
        if client.awaiting_replies_count:
            problems.append(f"{client.awaiting_replies_count} replies are still awaited")
        client.close()
    if not sum(done):
        problems.append("nothing was answered")
    return problems


def doors(server: EZEZWebsocketServer, seconds: float) -> Problems:
    """Connects and disconnects."""
    until = time.monotonic() + seconds
    count = 0
    while time.monotonic() < until:
        client = start_client(server)
        if count % 3:
            client.send("echo", [count])
        client.close()
        count += 1
    print(f"  doors: {count} connects and disconnects")
    return []


def flood(server: EZEZWebsocketServer, seconds: float) -> Problems:
    """Messages that nobody waits for."""
    until = time.monotonic() + seconds
    client = start_client(server)
    count = 0
    while time.monotonic() < until:
        for _ in range(1000):
            client.send("count")
        count += 1000
    counted = client.send("counted").wait_reply(timeout=120).args
    client.close()
    print(f"  flood: {count} messages")
    return [] if counted == [count] else [f"{count} messages were sent, {counted} arrived"]


def memory() -> int:
    """Resident bytes of this process; 0 where there is no /proc to tell."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def settle(server: EZEZWebsocketServer, threads: int, fds: int) -> Problems:
    """Wait until threads, descriptors and clients are back at what they were; return what is not."""
    deadline = time.monotonic() + 15
    while True:
        gc.collect()
        problems = []
        if threading.active_count() != threads:
            names = ", ".join(thread.name for thread in threading.enumerate())
            problems.append(f"{threading.active_count()} threads instead of {threads}: {names}")
        if os.path.isdir("/proc/self/fd") and len(os.listdir("/proc/self/fd")) != fds:
            problems.append(f"{len(os.listdir('/proc/self/fd'))} descriptors instead of {fds}")
        if server.clients:
            problems.append(f"{len(server.clients)} clients are left")
        if not problems or time.monotonic() > deadline:
            return problems
        time.sleep(0.05)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=2.0)
    options = parser.parse_args()
    loads: list[Callable[[EZEZWebsocketServer, float], Problems]] = [crowd, doors, flood, recovering]
    share = max(2.0, min(120.0, options.minutes * 60 / len(loads)))
    until = time.monotonic() + options.minutes * 60
    passed = failed = 0
    server = start_server()
    for load in loads:  # what is imported, cached and started once belongs to the baseline
        load(server, 1.0)
    settle(server, 3, 0)
    threads, fds = threading.active_count(), len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    baseline = memory()
    while True:
        for load in loads:
            print(f"{load.__doc__} {share:.0f} seconds", flush=True)
            problems = load(server, share) + settle(server, threads, fds)
            grown = memory() - baseline
            print(f"  threads {threading.active_count()}, memory {grown / 1e6:+.1f} MB", flush=True)
            if grown > 64e6:
                problems.append(f"memory has grown by {grown / 1e6:.0f} MB")
            for problem in problems:
                print(f"  FAILED: {problem}", flush=True)
            passed, failed = passed + (not problems), failed + bool(problems)
        if time.monotonic() > until:
            break
    server.close()
    if threading.active_count() != 1:
        print(f"  FAILED: threads are left: {threading.enumerate()}")
        failed += 1
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
