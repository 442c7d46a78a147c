"""One message after the other over a wire in memory: what the Python of a roundtrip costs, without sockets and threads.

``python -m benchmarks.in_memory [COUNT]`` prints microseconds a message. Times vary; the instructions do not, and their
number for one message is the difference of two runs over the difference of their counts:

    valgrind --tool=cachegrind --cache-sim=no --cachegrind-out-file=/dev/null python -m benchmarks.in_memory 1000
"""

import itertools
import sys
import time
from collections.abc import Iterator

from ezez_ws import Codec, EZEZWebsocketServer
from ezez_ws.opening.head import Headers
from ezez_ws.opening.places import Place
from ezez_ws.opening.server_handshake import HandshakeRequest
from ezez_ws.opening.upgrade import Admission
from ezez_ws.websocket.frames import BINARY, encode_frame
from ezez_ws.wire.sockets import Wire

__all__ = ["MemoryWire", "roundtrips"]

MASK = b"mask"


class MemoryWire(Wire):
    """Each read gives the next of some frames, and what is written is only counted. Only the first can be foreseen."""

    def __init__(self, frames: Iterator[bytes]) -> None:
        self.frames = frames
        self.begun = False
        self.written = 0

    def read(self, size: int) -> bytes:
        self.begun = True
        return next(self.frames, b"")

    def read_now(self, size: int) -> bytes | None:
        return self.read(size)

    def write_now(self, data: "bytes | bytearray | memoryview") -> int:
        self.written += 1
        return len(data)

    def poll(self, read: bool, write: bool, timeout: float | None) -> tuple[bool, bool]:
        return not self.begun, True

    def hung_up(self) -> bool:
        return False

    def fileno(self) -> int:
        return -1

    def end_writing(self) -> None:
        pass

    def cut(self) -> None:
        pass

    def close(self) -> None:
        pass


def roundtrips(count: int) -> float:
    """Let one client send so many events that are answered, and return the seconds that it took."""
    server = EZEZWebsocketServer(on_auth_request=lambda client, key: True, ping_interval=None)
    server.on("ping", lambda client, args, reply, ids: reply("pong", args))
    server.start()
    with server:
        run = server._ezez_current_run()
        assert run is not None
        auth, ping = ["ezez-ws::auth", "key", 1], ["ping", 1, None, "x" * 64]
        first, others = (encode_frame(BINARY, Codec().encode(values), MASK) for values in (auth, ping))
        wire = MemoryWire(itertools.chain([first], itertools.repeat(others, count)))
        place = Place(run._places, None, ())
        place.enter()
        admission = Admission(HandshakeRequest("/", "", Headers([]), {}, ()), b"", None)
        session = run._make_connection(wire, admission, place)
        start = time.perf_counter()
        run._run_connection(session, place)
        elapsed = time.perf_counter() - start
        place.leave()
    assert wire.written >= count, f"{wire.written} of {count} were answered"
    return elapsed


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    print(f"{roundtrips(count) / count * 1e6:.1f} µs a message")


if __name__ == "__main__":
    main()
