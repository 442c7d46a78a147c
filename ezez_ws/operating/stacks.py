"""What threads do at this moment: their stacks with source lines, whether they sleep or compute, and in what.

It only looks. It runs nothing of the program's, and takes no lock but that of ``threading``'s own list.
"""

import linecache
import os
import re
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator, Mapping
from itertools import islice
from types import FrameType
from typing import Any, Literal, NamedTuple

from ..logs import shown
from ..threads.frames import innermost_frames

__all__ = ["Doing", "Frame", "ProcessorTimes", "capture", "doing"]

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_DISPATCH = _PACKAGE + "connection" + os.sep  # where user code is called from
_CALLS = _PACKAGE + "calls" + os.sep
_CONTEXT = _PACKAGE + "context.py"
_PATHS = ("stdlib", "platstdlib", "purelib", "platlib")
_LIBRARIES = ("<frozen ", _PACKAGE, *{os.path.abspath(sysconfig.get_path(name)) + os.sep for name in _PATHS})

_OUTERMOST, _INNERMOST = 20, 60  # frames that are kept of a deep stack
_BUSY = 0.02  # of the time between two looks: who has computed for less than that sleeps
_CALL = re.compile(r"([A-Za-z_][\w.]*)\s*\(")
State = Literal["asleep", "computing"]
_LOCKS = ("acquire", "__enter__", "_acquire_restore")


class Frame(NamedTuple):
    """One call of a stack: where it is at this moment."""

    file: str
    line: int
    function: str
    source: str
    library: bool
    """Whether it is in a library, and not in the program itself."""


class Doing(NamedTuple):
    """What a thread does, from the call of user code on, innermost last."""

    stack: list[Frame]
    where: str | None
    """What it waits in, where it sleeps: ``wait_reply``, ``send``, ``lock``, ``sleep``, or a function's name."""


def _can_look() -> bool:
    """Tell whether the frames of other threads may be looked at: without a GIL CPython can crash over that."""
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


def capture() -> Mapping[int, FrameType]:
    """Return the innermost frame of each thread, by its ident; to be let go of soon, as frames keep what is in them."""
    return innermost_frames() if _can_look() else {}


def doing(innermost: FrameType) -> Doing | None:
    """Say what a thread does inside user code that a connection has called; ``None`` where it is in none."""
    frames = list(_walk(innermost))
    begin = _find_user_code(frames)
    if begin is None:
        return None
    frames = frames[begin:]
    where = _where(frames)
    return Doing([_describe(frame) if frame is not None else _omitted(len(frames)) for frame in _some(frames)], where)


def _walk(innermost: FrameType) -> Iterator[FrameType]:
    """Return the frames of a stack, outermost first."""
    frames = []
    frame: FrameType | None = innermost
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return reversed(frames)


def _find_user_code(frames: list[FrameType]) -> int | None:
    """Return where the outermost callback begins that a connection has called."""
    dispatched = False
    for index, frame in enumerate(frames):
        file = frame.f_code.co_filename
        if file.startswith(_DISPATCH):
            dispatched = True
        elif dispatched and not file.startswith(_PACKAGE):
            return index
    return None


def _some(frames: list[FrameType]) -> list[FrameType | None]:
    """Return both ends of a deep stack, and ``None`` for what is between them."""
    if len(frames) <= _OUTERMOST + _INNERMOST:
        return list(frames)
    return [*frames[:_OUTERMOST], None, *frames[-_INNERMOST:]]


def _omitted(count: int) -> Frame:
    return Frame("", 0, f"… {count - _OUTERMOST - _INNERMOST} more …", "", True)


def _describe(frame: FrameType) -> Frame:
    code, line = frame.f_code, frame.f_lineno or 0
    source = linecache.getline(code.co_filename, line, frame.f_globals).strip()
    name = getattr(code, "co_qualname", code.co_name)
    return Frame(shown(code.co_filename), line, shown(name), shown(source), _is_library(code.co_filename))


def _is_library(file: str) -> bool:
    return file.startswith(_LIBRARIES)


def _where(frames: list[FrameType]) -> str | None:
    """Name what the program has called last, and not what that calls in turn."""
    called = len(frames)
    while called > 1 and _is_library(frames[called - 1].f_code.co_filename):
        called -= 1
    if called == len(frames):
        return _where_in_c(frames[-1])
    code = frames[called].f_code
    if any(frame.f_code.co_filename == _CONTEXT for frame in frames[called:]):
        return "context"
    if code.co_filename.startswith(_CALLS) and not code.co_name.startswith("wait"):
        return "call"
    if code.co_name in _LOCKS:
        return "lock"
    if code.co_filename.startswith(_PACKAGE):
        return "reply" if code.co_name == "answer" else code.co_name
    qualified = getattr(code, "co_qualname", code.co_name)
    module = frames[called].f_globals.get("__name__")
    owner = qualified.rpartition(".")[0] or (module if isinstance(module, str) else "")
    return shown(f"{owner}.{code.co_name}".lstrip("."), 60)


def _where_in_c(frame: FrameType) -> str | None:
    """Name the function without frames, one of C, that a frame has called; by the source."""
    line = linecache.getline(frame.f_code.co_filename, frame.f_lineno or 0, frame.f_globals).strip()
    text = _segment(frame)
    calls = _CALL.findall(text or line)
    if line.startswith("with ") and not calls:
        return "lock"
    if not calls or (not text and len(calls) > 1):  # any of them
        return None
    name = calls[0].rpartition(".")[2]
    return {"acquire": "lock", "sleep": "sleep"}.get(name) or shown(calls[0], 60)


def _segment(frame: FrameType) -> str:
    """Return the source of the expression that is being evaluated; before Python 3.11 nobody knows."""
    code: Any = frame.f_code
    if frame.f_lasti < 0 or not hasattr(code, "co_positions"):
        return ""
    first, last, start, end = next(islice(code.co_positions(), frame.f_lasti // 2, None), (None,) * 4)
    if first is None or start is None or end is None:
        return ""
    line = linecache.getline(code.co_filename, first, frame.f_globals).encode("utf-8", "replace")
    return line[start : end if first == last else None].decode("utf-8", "replace")


class ProcessorTimes:
    """Whether threads have computed between two looks. For one thread; only Linux tells it of others."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[float, float]] = {}  # by ident: when, and how many seconds it had computed

    def look(self, threads: Mapping[int, threading.Thread]) -> dict[int, State | None]:
        """Say of each, by its ident, what it did since the last look; ``None``: this is the first, or nobody knows."""
        before, self._seen = self._seen, {}
        states: dict[int, State | None] = {}
        for ident, thread in threads.items():
            now, task = time.monotonic(), _look_at_task(thread.native_id)
            states[ident] = None
            if task is not None:
                computed, runs = task
                self._seen[ident] = now, computed
                then, before_that = before.get(ident, (now, computed))
                if now > then:
                    computes = runs or computed - before_that > _BUSY * (now - then)
                    states[ident] = "computing" if computes else "asleep"
        return states


def _look_at_task(native_id: int | None) -> tuple[float, bool] | None:
    """Return for how long a thread of this process has computed, and whether it does, or waits for a processor.

    ``None``: it has ended, or this is no Linux.
    """
    try:
        with open(f"/proc/self/task/{native_id}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        runs, computed = fields[0] == b"R", (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return None
    try:  # the same in nanoseconds, where the kernel keeps it
        with open(f"/proc/self/task/{native_id}/schedstat", "rb") as file:
            return int(file.read().split()[0]) / 1e9 or computed, runs
    except (OSError, ValueError, IndexError):
        return computed, runs
