"""What the monitor's page is told, as values of the protocol: figures, errors, clients, listeners, the cluster.

A name, address or context of a peer's is data here, cut and without control characters, and never asked for its own
``repr``: whatever is in a context, no code of the program's runs, and nobody is waited for who holds its lock.
"""

import math
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from ..connection.server_side import ServerConnection
from ..figures import Histogram, Running, ServerStats
from ..logs import shown, shown_address
from ..threads import clock
from ..threads.interrupted import make_lock
from .stacks import Doing, ProcessorTimes, capture, doing

if TYPE_CHECKING:
    from ..server import EZEZWebsocketServer

__all__ = ["ClientRows", "History", "ListenerRows", "cluster_of", "ms_since", "sample_of"]

EVERY = 5.0
"""Seconds between two samples that are kept."""
_SAMPLES = 180
_ERRORS = 50
_ERRORS_A_SECOND = 50  # whose tracebacks are made

_LONGEST_LINE = 500  # characters, of a traceback
_LINES = 60, 140  # of a long traceback: its first and its last

_SHOWN = 200  # characters of a context
_DEPTH = 4
_BRACKETS: Mapping[type, str] = {list: "[]", deque: "[]", tuple: "()", set: "{}", frozenset: "{}"}
_ROOMS = 30

PORTION = 500
"""Clients in one message, and how many of those that are known are looked at in a second."""
_LISTENERS = 200
_LOOK_AGAIN = 0.1  # seconds after which a second look tells whether a thread computes


def now_ms() -> int:
    """Return the time of the wall clock, as JavaScript has it."""
    return int(time.time() * 1000)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))


_FIELDS = [_camel(name) for name in ServerStats._fields]


def sample_of(at: int, stats: ServerStats) -> dict[str, Any]:
    """Return figures as the page takes them."""
    values = (_histogram(value) if isinstance(value, Histogram) else value for value in stats)
    return {"at": at, **dict(zip(_FIELDS, values, strict=True))}


def _histogram(value: Histogram) -> dict[str, Any]:
    buckets = [[None if bound == math.inf else bound, count] for bound, count in value.buckets.items()]
    return {"count": value.count, "sum": value.sum, "buckets": buckets}


class History:
    """What is kept while nobody looks: figures, and the last errors. Any thread may call it; ``_lock`` guards all."""

    def __init__(self) -> None:
        self._lock = make_lock()
        self._samples: deque[tuple[int, ServerStats]] = deque(maxlen=_SAMPLES)
        self._errors: deque[tuple[int, dict[str, Any]]] = deque(maxlen=_ERRORS)
        self._count = 0  # of errors, which numbers them
        self._second = 0.0
        self._in_second = 0

    def add_sample(self, stats: ServerStats) -> None:
        """Keep the figures of now."""
        at = now_ms()
        with self._lock:
            self._samples.append((at, stats))

    def samples(self) -> list[dict[str, Any]]:
        """Return the figures, the oldest first."""
        with self._lock:
            samples = list(self._samples)
        return [sample_of(*sample) for sample in samples]

    def add_error(self, error: BaseException, what: str, extra: Mapping[str, Any]) -> None:
        """Keep an error; of a flood, the first of each second."""
        now = clock.monotonic()
        with self._lock:
            if now - self._second >= 1.0:
                self._second, self._in_second = now, 0
            self._in_second += 1
            if self._in_second > _ERRORS_A_SECOND:
                return
        described = _error(error, what, extra)
        with self._lock:
            self._count += 1
            self._errors.append((self._count, described))

    def errors(self, after: int = 0) -> tuple[int, list[dict[str, Any]]]:
        """Return the errors behind a number, the oldest first, and the last number."""
        with self._lock:
            return self._count, [error for number, error in self._errors if number > after]


def _error(error: BaseException, what: str, extra: Mapping[str, Any]) -> dict[str, Any]:
    try:
        lines = "".join(traceback.format_exception(type(error), error, error.__traceback__)).splitlines()
        only = traceback.format_exception_only(type(error), error)  # notes come behind, a wrong line of source before
        named = (line for line in only if type(error).__name__ in line.partition(":")[0])
        (summary, *_) = next(named, only[-1]).splitlines() or [""]
    except BaseException:  # its attributes raise
        lines, summary = [], type(error).__name__
    first, last = _LINES
    if len(lines) > first + last:
        lines = [*lines[:first], f"… {len(lines) - first - last} more lines …", *lines[-last:]]
    return {
        "at": now_ms(),
        "what": shown(what),
        "id": extra.get("connection_id"),
        "address": extra.get("remote_address"),
        "event": extra.get("event"),
        "error": shown(summary),
        "traceback": "\n".join(shown(line, _LONGEST_LINE) for line in lines),
    }


class ClientRows:
    """What is known of each client: all at first, then what has changed. For one thread."""

    def __init__(self) -> None:
        self._rows: dict[ServerConnection, dict[str, Any]] = {}
        self._turn = 0

    def look(self, connections: Iterable[ServerConnection], running: Mapping[ServerConnection, Running]) -> Any:
        """Return the rows that have changed, and the ids that are gone.

        Who is new or runs a listener is looked at each time, of the others so many, in turn.
        """
        present = dict.fromkeys(connections)
        gone = [self._rows.pop(one)["id"] for one in [one for one in self._rows if one not in present]]
        new = [one for one in present if one not in self._rows]
        known = list(self._rows)
        if self._turn >= len(known):
            self._turn = 0
        others = islice(known, self._turn, self._turn + PORTION)
        self._turn += PORTION
        changed = []
        for one in dict.fromkeys(chain(new, islice(running, PORTION), others)):
            before = self._rows.get(one)
            row = _row(one, running.get(one), now_ms() - ms_since(one.since) if before is None else before["since"])
            if row != before:
                self._rows[one] = row
                changed.append(row)
        return changed, gone

    def portions(self, changed: list[dict[str, Any]] | None = None, gone: Iterable[int] = ()) -> list[Any]:
        """Return the arguments of messages that tell of rows, of all that are known by default."""
        rows = list(self._rows.values()) if changed is None else changed
        total = len(self._rows)
        pieces = [rows[start : start + PORTION] for start in range(0, len(rows), PORTION)] or [[]]
        told = [{"changed": piece, "gone": [], "total": total} for piece in pieces]
        told[0]["gone"] = list(gone)
        return told


def _row(connection: ServerConnection, running: Running | None, since: int) -> dict[str, Any]:
    client, tally, session = connection.client, connection.tally, connection.session
    rooms = () if session is None else sorted(session.names)
    return {
        "id": client.connection_id,
        "address": shown_address(client.request.remote_address),
        "since": since,
        "authenticated": connection.authenticated,
        "rooms": [*map(shown, rooms[:_ROOMS]), *([f"… {len(rooms) - _ROOMS} more"] if len(rooms) > _ROOMS else [])],
        "latency": connection.stream.latency,
        "received": tally.received,
        "sent": tally.sent,
        "bytesReceived": tally.bytes_received,
        "bytesSent": tally.bytes_sent,
        "sendBuffer": connection.stream.waiting_bytes,
        "inbox": connection.inbox.bytes,
        "awaited": connection.awaiting_replies_count,
        "context": client.context._ezez_look(_plain_text),
        "running": None if running is None else {"what": shown(running.what), "seconds": _seconds_since(running)},
    }


def ms_since(at: float) -> int:
    """Return how many milliseconds have passed since a time of the monotonic clock."""
    return int((clock.monotonic() - at) * 1000)


def _seconds_since(running: Running) -> float:
    return round(clock.monotonic() - running.since, 1)


class ListenerRows:
    """What user code runs, and where it is. For one thread."""

    def __init__(self) -> None:
        self._times = ProcessorTimes()

    def look(
        self, running: Mapping[ServerConnection, Running], pause: Callable[[float], object]
    ) -> list[dict[str, Any]]:
        """Return what runs, the longest first; ``pause(seconds)`` is called where one look does not tell enough."""
        longest = sorted(running.items(), key=lambda item: item[1].since)[:_LISTENERS]
        wanted = {one.thread_id for _, one in longest}
        threads = {thread.ident: thread for thread in threading.enumerate() if thread.ident in wanted}
        states = self._times.look(threads)
        if None in states.values():
            pause(_LOOK_AGAIN)
            states = {ident: states[ident] or state for ident, state in self._times.look(threads).items()}
        frames = capture()
        found = []
        for connection, one in longest:
            innermost = frames.get(one.thread_id)
            does = None if innermost is None else doing(innermost)
            still = connection.running()
            if still is None or still.since != one.since:
                continue  # it has gone on, and those frames may be of something else
            thread = threads.get(one.thread_id)
            state = states.get(one.thread_id)
            found.append(_listener(connection, one, None if thread is None else thread.name, state, does))
        return found


def _listener(
    connection: ServerConnection, running: Running, thread: str | None, state: str | None, does: Doing | None
) -> dict[str, Any]:
    return {
        "id": connection.client.connection_id,
        "address": shown_address(connection.client.request.remote_address),
        "what": shown(running.what),
        "seconds": _seconds_since(running),
        "thread": None if thread is None else shown(thread),
        "state": state,
        "where": None if does is None or state == "computing" else does.where,
        "stack": [] if does is None else [frame._asdict() for frame in does.stack],
    }


def cluster_of(server: "EZEZWebsocketServer[Any]") -> dict[str, Any] | None:
    """Return what this node knows of its cluster; ``None`` where there is none."""
    run = server._ezez_current_run()
    if run is None or not server._ezez_has_backplane:
        return None
    status = run.hub.status()
    return {
        "node": run.hub.node,
        "up": status.connected,
        "lag": status.lag,
        "heartbeat": run.hub.heartbeat,
        "nodes": [{"name": name, "seen": round(silent, 1)} for name, silent in run.hub.silence().items()],
    }


# -- text of values that are the program's ----------------------------------------------------------------------------


def _plain_text(values: Mapping[str, Any]) -> str:
    """Return what is in a context, cut; of objects that are not plain data only the class."""
    pieces: list[str] = []
    left = _SHOWN + 1
    for piece in _pieces(values, _DEPTH):
        pieces.append(piece)
        left -= len(piece)
        if left < 0:
            break
    return shown("".join(pieces), _SHOWN)


def _pieces(value: Any, depth: int) -> Iterable[str]:
    kind = type(value)
    if kind is str or kind is bytes:
        yield repr(value[: _SHOWN + 1])
    elif value is None or kind in (bool, float):
        yield repr(value)
    elif kind is int:
        yield repr(value) if value.bit_length() < 512 else f"<int of {value.bit_length()} bits>"
    elif kind is dict and depth:
        yield from _items(value.items(), "{}", depth - 1, keyed=True)
    elif kind in _BRACKETS and depth:
        yield from _items(value, _BRACKETS[kind], depth - 1)
    else:
        yield f"<{kind.__name__}>"


def _items(values: Iterable[Any], brackets: str, depth: int, keyed: bool = False) -> Iterable[str]:
    yield brackets[0]
    separator = ""
    try:
        for value in values:
            yield separator
            if keyed:
                yield from _pieces(value[0], depth)
                yield ": "
                yield from _pieces(value[1], depth)
            else:
                yield from _pieces(value, depth)
            separator = ", "
    except RuntimeError:  # another thread changes it, outside of ``with context``
        yield "…"
    yield brackets[1]
