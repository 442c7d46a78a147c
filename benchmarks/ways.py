"""The ways of a message in Python calls and files: ``python -m benchmarks.ways [-v]``; ``-v`` names the calls.

A live pair on loopback, with a profile function on the thread that goes the way. Calls of C are not counted.
"""

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from ezez_ws import EZEZServerClient, EZEZWebSocketClient, EZEZWebsocketServer

__all__ = ["WAYS", "Trace"]


class Trace:
    """The Python calls on one thread between ``begin`` and ``end``, both called on it."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def begin(self) -> None:
        self.calls.clear()
        sys.setprofile(self._note)

    def end(self) -> None:
        sys.setprofile(None)

    def _note(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code is not Trace.end.__code__:
            path = Path(frame.f_code.co_filename)
            name = getattr(frame.f_code, "co_qualname", frame.f_code.co_name)
            self.calls.append(f"{'/'.join(path.parts[-2:])}:{name}")

    @property
    def files(self) -> list[str]:
        """Where they are, in the order in which the way comes there."""
        return list(dict.fromkeys(call.split(":")[0] for call in self.calls))


class Pair:
    """A server with one client of ours."""

    def __init__(self) -> None:
        self.server = EZEZWebsocketServer(port=0, on_auth_request=lambda client, key: True, on_disconnect=self._gone)
        self.gone = threading.Event()
        self.ended = Trace()

    def __enter__(self) -> "Pair":
        self.server.start()
        self.client = EZEZWebSocketClient(str(self.server.url))
        self.client.connect()
        (self.at_server,) = self.server.clients
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.server.close()

    def _gone(self, client: EZEZServerClient, code: int, reason: str) -> None:
        self.gone.set()


def event_in(pair: Pair) -> Trace:
    """From one call of a listener to the next, the server's."""
    trace, seen = Trace(), threading.Semaphore(0)

    def listener(client: EZEZServerClient, args: list[Any], reply: Any, ids: Any) -> None:
        trace.end()
        if args[0] < 9:
            trace.begin()
        seen.release()

    pair.server.on("way", listener)
    for number in range(10):
        pair.client.send("way", [number])
        seen.acquire()
    return trace


def client_send(pair: Pair) -> Trace:
    """``client.send``, of a client of ours."""
    trace = Trace()
    for number in range(3):
        trace.begin()
        pair.client.send("nobody listens", [number])
        trace.end()
    return trace


def server_send(pair: Pair) -> Trace:
    """``client.send``, at the server."""
    trace = Trace()
    for number in range(3):
        trace.begin()
        pair.at_server.send("nobody listens", [number])
        trace.end()
    return trace


def awaited_reply(pair: Pair) -> Trace:
    """A reply that another thread waits for, on the thread that reads it: from the listener before to its end."""
    trace, asked, ready = Trace(), threading.Event(), threading.Event()

    def before(args: list[Any], reply: Any, ids: Any) -> None:
        asked.wait()
        trace.begin()

    def after(args: list[Any], reply: Any, ids: Any) -> None:
        trace.end()
        ready.set()

    def question(client: EZEZServerClient, args: list[Any], reply: Any, ids: Any) -> None:
        client.send("before")
        threading.Timer(0.3, reply, ["answer", [1]]).start()
        threading.Timer(0.6, client.send, ["after"]).start()

    pair.client.on("before", before)
    pair.client.on("after", after)
    pair.server.on("question", question)
    sent = pair.client.send("question")
    threading.Timer(0.1, asked.set).start()
    sent.wait_reply(5)
    ready.wait(5)
    return trace


def ending(pair: Pair) -> Trace:
    """The end of a connection, on its thread at the server: from the last listener to the end of ``run``."""
    trace = Trace()

    def last(client: EZEZServerClient, args: list[Any], reply: Any, ids: Any) -> None:
        thread_name = threading.current_thread()
        original = trace._note

        def note(frame: FrameType, event: str, extra: Any) -> None:
            original(frame, event, extra)

        trace.calls.clear()
        sys.setprofile(note)
        done.append(thread_name)

    done: list[threading.Thread] = []
    seen = threading.Event()
    pair.server.on("last", last)
    pair.client.send("last")
    while not done:
        pass
    pair.client.close()
    done[0].join(5)
    seen.set()
    return trace


WAYS: dict[str, Callable[[Pair], Trace]] = {
    "an event in": event_in,
    "client.send": client_send,
    "client.send at the server": server_send,
    "an awaited reply": awaited_reply,
    "the end": ending,
}


def main(verbose: bool) -> None:
    for name, way in WAYS.items():
        with Pair() as pair:
            trace = way(pair)
        print(f"{name}: {len(trace.calls)} calls, {len(trace.files)} files")
        for call in trace.calls if verbose else ():
            print(f"    {call}")


if __name__ == "__main__":
    main("-v" in sys.argv[1:])
