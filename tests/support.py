"""What the tests share: a test case that finds leaks, and helpers for threads, ports, processes and Node.

A test derives from :class:`EZEZTestCase`. When it has ended, cleanups included, the test case fails it for a thread, a
socket or any other file descriptor that it left behind, and for every exception that Python would merely have printed
(in a thread, or in a destructor). ``python -m tests`` adds the time limit and turns warnings into errors.
"""

import contextlib
import ctypes  # here at the latest, since a newer libffi keeps a descriptor open from the first import on
import functools
import gc
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import unittest
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from ezez_ws.testing.leftovers import threads_left
from ezez_ws.wire.linux import restore_scheduling

__all__ = [
    "NODE_MODULES",
    "REPO",
    "EZEZTestCase",
    "allow_seconds",
    "collect_swallowed",
    "eventually",
    "fds_left",
    "free_port",
    "needs_node",
    "needs_pydantic",
    "node_missing",
    "open_fds",
    "required",
    "run_sample",
    "switch_interval",
    "threads_left",
    "with_can_miss_its_end",
]

T = TypeVar("T")

REPO = Path(__file__).resolve().parent.parent
NODE_MODULES = REPO / "tests" / "node_modules"
NODE_PACKAGES = ("@asyncapi/parser", "@ezez/utils", "pyright", "typescript", "ws")


class EZEZTestCase(unittest.TestCase):
    """A test that has to leave the process as it found it."""

    time_limit: float = 60.0  # seconds for one test; ``allow_seconds`` raises it for a single method
    ezez_grace: float = 5.0  # seconds for the library's own threads (``ezez-*``) to end after the test
    other_grace: float = 1.0  # the same for all others: one that has just set its last Event may need a moment

    swallowed: list[str]
    """Exceptions that threads and destructors raised so far; a test that provokes one asserts it and clears this."""

    def run(self, result: unittest.TestResult | None = None) -> unittest.TestResult | None:
        with collect_swallowed() as self.swallowed:
            # The first cleanup to be registered is the last to run: after tearDown and the test's own cleanups.
            self.addCleanup(self._check_nothing_left, set(threading.enumerate()), open_fds())
            return super().run(result)

    def _check_nothing_left(self, threads: set[threading.Thread], fds: dict[int, str]) -> None:
        restore_scheduling()  # where a test has read a connection on this very thread
        left = [
            f"thread {thread.name!r}{' (daemon)' if thread.daemon else ''}"
            for thread in threads_left(threads, self.ezez_grace, self.other_grace)
        ]
        left += fds_left(fds)
        problems = [f"left behind: {', '.join(left)}"] if left else []
        problems += [f"swallowed: {text}" for text in self.swallowed]
        if problems:
            self.fail("\n".join(problems))


def allow_seconds(seconds: float) -> Callable[[T], T]:
    """Decorate a test method, or a class, that needs more than the 60 seconds which a test has."""

    def decorate(target: T) -> T:
        target.time_limit = seconds  # type: ignore[attr-defined]
        return target

    return decorate


# Looking for what is left


def open_fds() -> dict[int, str]:
    """The open file descriptors and what each one is; empty where there is no ``/proc`` to tell."""
    try:
        names = os.listdir("/proc/self/fd")
    except OSError:
        return {}
    fds = {}
    for name in names:
        # The one that listdir itself had open is gone by now; the watchdog's thread may have one for a moment.
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{name}")
            if not re.match("/proc/[0-9]+/task", target):
                fds[int(name)] = target
    return fds


def fds_left(before: dict[int, str]) -> list[str]:
    """Describe the file descriptors that are open now and were not in ``before``."""
    if open_fds().items() - before.items():
        gc.collect()  # unclosed ones in a reference cycle come out as ResourceWarning, with where they were made
    return [_describe_fd(fd, target) for fd, target in sorted(open_fds().items() - before.items())]


def _describe_fd(fd: int, target: str) -> str:
    if target.startswith("socket:"):
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as duplicate:
            return f"file descriptor {fd}, a copy of which is {duplicate!r}"
    return f"file descriptor {fd} ({target})"


@contextlib.contextmanager
def collect_swallowed() -> Iterator[list[str]]:
    """Collect the tracebacks that Python would only print: of threads, and of destructors and callbacks."""
    found: list[str] = []

    def in_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_type is not SystemExit:
            name = args.thread.name if args.thread else "?"
            found.append(f"in thread {name!r}: {_traceback(args.exc_type, args.exc_value, args.exc_traceback)}")

    def unraisable(args: "sys.UnraisableHookArgs") -> None:
        # Text only: to keep the object would bring it back to life.
        where = f"{args.err_msg or 'ignored in'} {args.object!r}"
        found.append(f"{where}: {_traceback(args.exc_type, args.exc_value, args.exc_traceback)}")

    hooks = threading.excepthook, sys.unraisablehook
    threading.excepthook, sys.unraisablehook = in_thread, unraisable
    try:
        yield found
    finally:
        threading.excepthook, sys.unraisablehook = hooks


def _traceback(kind: type[BaseException], error: BaseException | None, trace: Any) -> str:
    return "".join(traceback.format_exception(kind, error, trace)).rstrip()


# Threads


@contextlib.contextmanager
def switch_interval(seconds: float = 1e-6) -> Iterator[None]:
    """Make the interpreter switch threads as often as it can, which brings races to light."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(seconds)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


@functools.cache
def with_can_miss_its_end() -> bool:
    """Whether a signal handler that raises right behind ``__enter__`` keeps ``__exit__`` from being called.

    CPython 3.14 has this fault, https://github.com/python/cpython/issues/148874: a lock then stays held for ever, and
    no library can help it. To be called on the main thread.
    """

    class Manager:
        ended = False
        # In C, and without a look of its own at what signals have come: that is left to what follows the call.
        __enter__ = staticmethod(functools.partial(ctypes.CDLL(None)["raise"], signal.SIGUSR1))

        def __exit__(self, *_: object) -> None:
            Manager.ended = True

    def interrupt(*_: object) -> None:
        raise InterruptedError

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with Manager():
            for _ in range(10):  # a jump back is where a handler may run
                pass
    except InterruptedError:
        pass
    finally:
        signal.signal(signal.SIGUSR1, before)
    return not Manager.ended


def eventually(predicate: Callable[[], T], timeout: float = 10.0, what: str = "") -> T:
    """Return the first true value of ``predicate``; for a state that offers no Event to wait for.

    Raises:
        AssertionError: there was none within ``timeout`` seconds; ``what`` says what was expected.
    """
    deadline = time.monotonic() + timeout
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what or predicate}; the last value was {value!r}")
        time.sleep(0.005)


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on now. Prefer port 0 where the code under test takes it."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


# Other processes


def run_sample(
    path: str,
    *args: str,
    timeout: float = 60.0,
    input: str | None = None,
    env: Mapping[str, str] | None = None,
) -> "subprocess.CompletedProcess[str]":
    """Run a Python file of the repo with this Python as a user would, and collect what it prints.

    Args:
        path: relative to the repo.
        timeout: seconds, after which the process and its children are killed.
        input: for its standard input, which is empty else.
        env: to add to the environment.

    Raises:
        AssertionError: it took too long; with what it had printed.
    """
    paths = [str(REPO), *filter(None, [os.environ.get("PYTHONPATH")])]
    process = subprocess.Popen(
        [sys.executable, str(REPO / path), *args],
        cwd=REPO,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONIOENCODING": "utf-8", **(env or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    )
    with process:
        try:
            stdout, stderr = process.communicate(input or "", timeout)
        except subprocess.TimeoutExpired:
            _kill_group(process)
            stdout, stderr = process.communicate()
            raise AssertionError(f"{path} still ran after {timeout:g} s\n{stdout}\n{stderr}") from None
        except BaseException:
            _kill_group(process)
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def _kill_group(process: "subprocess.Popen[str]") -> None:
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


@functools.cache
def node_missing() -> str:
    """Why tests against Node cannot run, as one line; empty where they can."""
    if not shutil.which("node"):
        return "Node is not installed"
    packages = [name for name in NODE_PACKAGES if not (NODE_MODULES / name / "package.json").is_file()]
    return f"{', '.join(packages)} not in {NODE_MODULES.relative_to(REPO)}: run `make node`" if packages else ""


def needs_node(target: Any = None) -> Any:
    """Skip where Node or its packages are missing, or fail there with ``EZEZ_REQUIRE_NODE=1``.

    ``@needs_node`` decorates a test or a test case; ``needs_node()`` is a call, in ``setUpModule`` for example.
    """
    return required(target, node_missing(), "EZEZ_REQUIRE_NODE")


def needs_pydantic(target: Any) -> Any:
    """Skip where pydantic is missing, or fail there with ``EZEZ_REQUIRE_PYDANTIC=1``: a decorator."""
    reason = "" if importlib.util.find_spec("pydantic") else "pydantic is not installed"
    return required(target, reason, "EZEZ_REQUIRE_PYDANTIC")


def required(target: Any, reason: str, variable: str) -> Any:
    """Skip ``target`` (``None``: what calls) for a reason, if there is one, or fail there where ``variable`` is 1."""
    must = os.environ.get(variable) == "1"
    if target is None:
        if reason and must:
            raise AssertionError(reason)
        if reason:
            raise unittest.SkipTest(reason)
        return None
    if reason and must:
        return _failing(target, reason)
    return unittest.skipIf(bool(reason), reason)(target)


def _failing(target: Any, reason: str) -> Any:
    def fail(*_: object) -> None:
        raise AssertionError(reason)

    if not isinstance(target, type):
        return functools.wraps(target)(fail)
    target.setUpClass = classmethod(fail)  # type: ignore[attr-defined]
    return target
