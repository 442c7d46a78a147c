"""The machine: what it is, what it lets, and what a process takes of it."""

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

__all__ = ["Usage", "cpu_seconds", "describe", "most_connections", "raise_file_limit", "source", "usage"]

PORTS_A_SOURCE = 20_000  # of the 28,000 or so that Linux gives out

SPARE = 500  # descriptors and threads that are needed for something else


class Usage(NamedTuple):
    """What a process takes now: resident memory in KB, its greatest so far, and threads."""

    resident: int
    peak: int
    threads: int


def usage(pid: int) -> Usage:
    """Read it from ``/proc``."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    resident, peak, threads = (int(fields[name].split()[0]) for name in ("VmRSS", "VmHWM", "Threads"))
    return Usage(resident, peak, threads)


def cpu_seconds(*pids: int) -> float:
    """The processor time that processes have taken so far, together, in user mode and in the kernel."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def raise_file_limit() -> None:
    """Allow this process, and those that it starts, as many open files as it may."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def most_connections(threads: int) -> int:
    """How many connections a server with so many threads for each may hold, by the limits of this machine."""
    import resource

    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE
    if threads:
        tasks = min(_read_int("kernel/pid_max"), _read_int("kernel/threads-max"))
        # a thread's stack and its guard page are a mapping each
        most = min(most, (tasks - SPARE) // threads, (_read_int("vm/max_map_count") - SPARE) // (2 * threads))
    return most


def source(number: int) -> tuple[str, int] | None:
    """The address that a generator's connection leaves from: one loopback address has not ports for all.

    ``None`` for the first ones: the kernel finds them a port much faster than it binds one.
    """
    return (f"127.0.0.{1 + number // PORTS_A_SOURCE}", 0) if number >= PORTS_A_SOURCE else None


def describe() -> dict[str, str]:
    """What a reader of the figures has to know."""
    import resource

    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "Node": _first_line("node", "--version"),
        "open files": str(resource.getrlimit(resource.RLIMIT_NOFILE)[1]),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _first_line(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")[0]
    except (OSError, subprocess.CalledProcessError):
        return "missing"


def _read_int(name: str) -> int:
    try:
        return int(Path("/proc/sys", name).read_text())
    except OSError:
        return sys.maxsize
