"""The speed of this library's serializer: ``python -m benchmarks.codec_speed SECONDS``; ``codec_speed.mjs`` for Node.

Both print a line of JSON: operations a second, by the name of a message and of what was done with it.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

from ezez_ws import Codec

__all__ = ["MESSAGES", "speed"]

PERSON = {"id": 123456, "name": "Some Body Or Other, Esq", "active": True, "score": 12.5}

MESSAGES: dict[str, list[Any]] = {
    'small: ["ping", 1, null, "hello"]': ["ping", 1, None, "hello"],
    "mixed": ["move", 42, 7, {"x": 1.5, "y": -20, "to": [3, 4], "by": "anna lindqvist (oslo)", "fast": True}],
    "50 dicts of 4 keys": ["people", 7, None, [{**PERSON, "id": number} for number in range(50)]],
    "binary": ["file", 9, None, bytes(64 << 10)],
}


def speed(action: Callable[[], object], seconds: float) -> float:
    """How often a second it can be done: batches of a growing size, until one fills the time."""
    count = 1
    while True:
        start = time.perf_counter()
        for _ in range(count):
            action()
        elapsed = time.perf_counter() - start
        if elapsed >= seconds:
            return count / elapsed
        count = max(count + 1, min(count * 10, int(count * seconds * 1.1 / max(elapsed, 1e-9))))


def main() -> None:
    seconds = float(sys.argv[1])
    codec = Codec()
    speeds: dict[str, dict[str, float]] = {}
    for name, values in MESSAGES.items():
        data = codec.encode(values)
        actions: dict[str, Callable[[], object]] = {
            "encode": lambda values=values: codec.encode(values),  # type: ignore[misc]
            "decode": lambda data=data: codec.decode(data),  # type: ignore[misc]
        }
        speeds[name] = {what: speed(action, seconds) for what, action in actions.items()}
        speeds[name]["bytes"] = len(data)
    print(json.dumps(speeds))


if __name__ == "__main__":
    main()
