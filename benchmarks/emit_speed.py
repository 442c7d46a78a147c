"""How fast a process without a server publishes: ``python -m benchmarks.emit_speed WHO URL SECONDS``.

Prints events a second, on one thread and on eight, as JSON.
"""

import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

__all__ = ["THREADS"]

THREADS = (1, 8)
ROOM, TEXT = "room", "x" * 64


def measure(emit: Callable[[], Any], threads: int, seconds: float) -> float:
    """Call it again and again; a call has returned when the broker has confirmed."""
    counts = [0] * threads
    emit()
    start = time.perf_counter()
    end = start + seconds

    def repeat(number: int) -> None:
        while time.perf_counter() < end:
            emit()
            counts[number] += 1

    running = [threading.Thread(target=repeat, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return sum(counts) / (time.perf_counter() - start)


def ours(url: str) -> Callable[[], Any]:
    from ezez_ws import Emitter, RedisBackplane

    emitter = Emitter(RedisBackplane(url))
    return lambda: emitter.to(ROOM).send("news", [TEXT])


def socketio(url: str) -> Callable[[], Any]:
    from socketio import RedisManager

    manager = RedisManager(url, write_only=True)
    return lambda: manager.emit("news", TEXT, room=ROOM)


def main() -> None:
    who, url, seconds = sys.argv[1:4]
    emit = {"ezez_ws": ours, "python-socketio": socketio}[who](url)
    print(json.dumps({"rates": [measure(emit, threads, float(seconds)) for threads in THREADS]}), flush=True)


if __name__ == "__main__":
    main()
