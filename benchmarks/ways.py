"""The ways of a message in Python calls and files: ``python -m benchmarks.ways [-v]``; ``-v`` names the calls.

A live pair on loopback, with a profile function on the thread that goes the way. Only calls of the library's own Python
count: none of C, of the standard library, or of this file. ``GOALS`` says what each way may take.
"""

import contextlib
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import ezez_ws
from ezez_ws import EZEZServerClient, EZEZWebSocketClient, EZEZWebsocketServer

__all__ = ["CLIENTS", "GOALS", "WAYS", "Call", "Goal", "Pair", "Trace", "trace_way"]

CLIENTS = 50
_TIMEOUT = 10.0
_ROOT = f"{Path(ezez_ws.__file__).parent}/"


class Call(NamedTuple):
    """A call: its file, below ``ezez_ws``, and the function's name."""

    file: str
    name: str

    def __str__(self) -> str:
        return f"{self.file} {self.name}"


class Goal(NamedTuple):
    """The most calls and files that a way may take."""

    calls: int
    files: int


class Trace:
    """The library's calls on one thread, from the last call of ``first`` to the end of ``last`` that follows.

    ``begin`` is called on the thread; ``wait`` is for another one, and ``end`` is for a way that ends in a listener.
    """

    def __init__(self, first: Call, last: Call | None = None) -> None:
        self.calls: list[Call] = []
        self._first, self._last = first, last
        self._over = threading.Event()

    def begin(self) -> None:
        """Follow the calling thread from now on."""
        self.calls.clear()
        sys.setprofile(self._note)

    def end(self) -> None:
        """Follow it no longer."""
        sys.setprofile(None)
        self._over.set()

    def wait(self) -> None:
        """Wait until the way has been gone to its end."""
        if not self._over.wait(_TIMEOUT):
            raise TimeoutError(f"the way has not ended; so far: {', '.join(map(str, self.calls))}")

    def _note(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if code.co_filename.startswith(_ROOT) and not (code.co_name.startswith("<") and code.co_name != "<lambda>"):
            call = Call(Path(code.co_filename[len(_ROOT) :]).as_posix(), code.co_name)
            if event == "call" and call == self._first:
                self.calls[:] = [call]
            elif event == "call" and self.calls:
                self.calls.append(call)
            elif event == "return" and call == self._last and self.calls:
                self.end()

    @property
    def files(self) -> list[str]:
        """Where the calls are, in the order in which the way comes there."""
        return list(dict.fromkeys(call.file for call in self.calls))


class Pair:
    """A server with one client of ours."""

    def __init__(self) -> None:
        self.server = EZEZWebsocketServer(port=0, on_auth_request=lambda client, key: True)

    def __enter__(self) -> "Pair":
        self.server.start()
        self.client = EZEZWebSocketClient(str(self.server.url))
        self.client.connect()
        (self.at_server,) = self.server.clients
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.server.close()


def event_in(pair: Pair) -> Trace:
    """From the loop of the connection's thread to a listener of the server."""
    trace, seen = Trace(Call("connection/inbox.py", "next")), threading.Semaphore(0)

    def listener(client: EZEZServerClient, args: list[Any], reply: Any, ids: Any) -> None:
        trace.end()
        if args[0] < 2:
            trace.begin()
        seen.release()

    pair.server.on("way", listener)
    for number in range(3):
        pair.client.send("way", [number])
        seen.acquire(timeout=_TIMEOUT)
    return trace


def client_send(pair: Pair) -> Trace:
    """``client.send``, of a client."""
    return _trace_send("client.py", pair.client.send)


def server_send(pair: Pair) -> Trace:
    """``client.send``, at the server."""
    return _trace_send("server_client.py", pair.at_server.send)


def _trace_send(file: str, send: Callable[..., Any]) -> Trace:
    trace = Trace(Call(file, "send"), Call(file, "send"))
    send("nobody listens")
    trace.begin()
    send("nobody listens")
    trace.wait()
    return trace


def awaited_reply(pair: Pair) -> Trace:
    """A reply that another thread waits for, on the thread that reads it: from the read to the end of its dispatch."""
    trace = Trace(Call("websocket/stream.py", "receive"), Call("connection/dispatch.py", "handle_next"))
    questions: list[Callable[..., Any]] = []
    asked = threading.Event()

    def question(client: EZEZServerClient, args: list[Any], reply: Any, ids: Any) -> None:
        questions.append(reply)
        client.send("before").wait_reply(_TIMEOUT)
        asked.set()

    def before(args: list[Any], reply: Any, ids: Any) -> None:
        reply("go on")
        trace.begin()

    pair.server.on("question", question)
    pair.client.on("before", before)
    sent = pair.client.send("question")
    asked.wait(_TIMEOUT)
    waiting = threading.Thread(target=sent.wait_reply, args=[_TIMEOUT])
    waiting.start()
    _await(lambda: sent._events)  # it sleeps, as the client's thread reads
    questions[0]("answer", [1])
    trace.wait()
    waiting.join()
    return trace


def ending(pair: Pair) -> Trace:
    """A connection's end, on its thread at the server: from the read that finds the close frame to its last step."""
    trace = Trace(Call("websocket/stream.py", "receive"), Call("connection/connection.py", "run"))
    pair.server.on("first", lambda client, args, reply, ids: reply("reply"))
    pair.server.on("last", lambda *args: trace.begin())
    pair.client.send("first").wait_reply(_TIMEOUT)  # the next read of its thread finds that both sides read
    pair.client.send("last")
    _await(lambda: trace.calls[1:])  # it reads, and finds nothing but what comes next
    pair.client.close()
    trace.wait()
    return trace


def count_threads() -> int:
    """The threads of ``CLIENTS`` clients in one process, with the timers' and without the server's others."""
    before = set(threading.enumerate())
    with contextlib.ExitStack() as open_ones:
        server = open_ones.enter_context(EZEZWebsocketServer(port=0, on_auth_request=lambda client, key: True))
        for _ in range(CLIENTS):
            open_ones.enter_context(EZEZWebSocketClient(str(server.url)))
        names = [thread.name for thread in threading.enumerate() if thread not in before]
    return sum(not name.startswith(("ezez-accept", "ezez-conn")) for name in names)


def _await(look: Callable[[], object]) -> None:
    end = time.monotonic() + _TIMEOUT
    while not look():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {_TIMEOUT} s")
        time.sleep(0.001)


WAYS: dict[str, Callable[[Pair], Trace]] = {
    "an event in": event_in,
    "client.send": client_send,
    "client.send at the server": server_send,
    "an awaited reply": awaited_reply,
    "the end": ending,
}

GOALS = {
    "an event in": Goal(12, 7),
    "client.send": Goal(10, 7),
    "client.send at the server": Goal(10, 7),
    "an awaited reply": Goal(28, 10),
    "the end": Goal(70, 10),
}
"""With the C extension: without it, what it does are calls of Python."""


def trace_way(name: str) -> Trace:
    """Go one of the ways."""
    with Pair() as pair:
        return WAYS[name](pair)


def main(verbose: bool) -> None:
    for name, goal in GOALS.items():
        trace = trace_way(name)
        print(f"{name}: {len(trace.calls)} calls (≤ {goal.calls}), {len(trace.files)} files (≤ {goal.files})")
        for call in trace.calls if verbose else ():
            print(f"    {call}")
    print(f"{CLIENTS} clients: {count_threads()} threads (≤ {CLIENTS + 1})")


if __name__ == "__main__":
    main("-v" in sys.argv[1:])
