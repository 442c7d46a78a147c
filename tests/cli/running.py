"""What the tests of the shell share: ``ezez-ws`` in this process, as a process with pipes, and at a terminal."""

import contextlib
import io
import os
import pty
import queue
import select
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Callable, Mapping
from typing import NamedTuple

import pyte

from ezez_ws.cli import main
from tests.support import REPO, eventually

__all__ = ["Done", "Program", "Terminal", "environment", "invoke", "run"]

PROGRAM = (sys.executable, "-m", "ezez_ws")
TIMEOUT = 15.0

# Makes the terminal on standard input the controlling one, so that its Ctrl-C reaches the program, and becomes it.
TAKE_TERMINAL = """\
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Done(NamedTuple):
    """How a command has ended."""

    code: int
    out: str
    err: str


def invoke(*args: str, input: str = "") -> Done:
    """Run a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    stdin, sys.stdin = sys.stdin, io.StringIO(input)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(args)
    finally:
        sys.stdin = stdin
    return Done(code, out.getvalue(), err.getvalue())


def environment(**more: str) -> Mapping[str, str]:
    """This process's environment, from which the repository can be imported; with pipes buffered as a user has them."""
    unwanted = ("NO_COLOR", "PYTHONUNBUFFERED", "PYTHONWARNINGS")
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    paths = [str(REPO), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**kept, "PYTHONPATH": os.pathsep.join(paths), "PYTHONIOENCODING": "utf-8", **more}


def run(*args: str, input: str = "", env: Mapping[str, str] | None = None) -> Done:
    """Run a command in a process of its own, to its end."""
    done = subprocess.run(
        [*PROGRAM, *args],
        input=input,
        capture_output=True,
        env=env or environment(),
        encoding="utf-8",
        timeout=TIMEOUT * 2,
    )
    return Done(done.returncode, done.stdout, done.stderr)


class Program:
    """A command that goes on running, with pipes. To be used in ``with``, which kills what is left."""

    def __init__(self, *args: str) -> None:
        self.process = subprocess.Popen(
            [*PROGRAM, *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment(),
            encoding="utf-8",
        )
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def type(self, line: str) -> None:
        assert self.process.stdin is not None
        print(line, file=self.process.stdin, flush=True)

    def end_input(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def interrupt(self) -> None:
        self.signal(signal.SIGINT)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def read_line(self) -> str:
        """Return the next line of either output, without its end."""
        try:
            line = self._lines.get(timeout=TIMEOUT)
        except queue.Empty:
            raise AssertionError("no line has come") from None
        if line is None:
            raise AssertionError("it has ended, and no line was left")
        return line.rstrip("\n")

    def wait(self) -> int:
        return self.process.wait(TIMEOUT)

    def rest(self) -> list[str]:
        """Return the lines that were left, when it has ended."""
        self._reader.join(TIMEOUT)
        return [line.rstrip("\n") for line in iter(self._lines.get, None)]

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)


class _Screen(pyte.Screen):
    """A screen that answers, as a terminal does when it is asked where the cursor is."""

    def __init__(self, answer: Callable[[str], None]) -> None:
        super().__init__(100, 30)
        self._answer = answer

    def write_process_input(self, data: str) -> None:
        self._answer(data)


class Terminal:
    """A program at a terminal of 100 columns and 30 lines, whose screen can be read. To be used in ``with``."""

    def __init__(self, *command: str, env: Mapping[str, str] | None = None) -> None:
        self._lock = threading.Lock()  # guards the screen
        self._screen = _Screen(self.type)
        self._stream = pyte.ByteStream(self._screen)
        self.raw = b""
        self._gone = threading.Event()
        self._master, slave = pty.openpty()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", TAKE_TERMINAL, *(command)],
                stdin=slave,
                stdout=slave,
                stderr=slave,
                start_new_session=True,
                env={**(env or environment()), "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"},
            )
        finally:
            os.close(slave)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self.hang_up()

    def hang_up(self) -> None:
        """Close the terminal, as who closes its window."""
        self._gone.set()
        self._reader.join()
        if self._master >= 0:
            os.close(self._master)
        self._master = -1

    def type(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def echoes(self) -> bool:
        """Whether what is typed shows by itself, as at a terminal that no program has taken over."""
        return bool(termios.tcgetattr(self._master)[3] & termios.ECHO)

    def lines(self) -> list[str]:
        """Return what stands on the screen, without the empty lines at its end."""
        with self._lock:
            text = "\n".join(line.rstrip() for line in self._screen.display).rstrip()
        return text.split("\n")

    def wait_for(self, *expected: str) -> list[str]:
        """Wait until these lines stand below each other, and return all that stands there."""

        def look() -> list[str] | None:
            lines = self.lines()
            starts = range(len(lines) - len(expected) + 1)
            return lines if any(lines[at : at + len(expected)] == list(expected) for at in starts) else None

        try:
            found = eventually(look, TIMEOUT)
        except AssertionError:
            raise AssertionError(f"not on the screen: {expected}\n" + "\n".join(self.lines())) from None
        assert found is not None
        return found

    def wait_until_shown(self, text: str) -> None:
        """Wait until a text stands anywhere on the screen."""
        eventually(lambda: text in "".join(self.lines()), TIMEOUT, f"{text} on the screen")

    def wait(self) -> int:
        """Return the exit code; all of its output is on the screen then."""
        code = self._process.wait(TIMEOUT)
        self._reader.join(TIMEOUT)
        return code

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # as it ends on Linux, when nobody has the other side open any more
            while not self._gone.is_set():
                if select.select([self._master], [], [], 0.1)[0]:
                    chunk = os.read(self._master, 65536)
                    with self._lock:
                        self.raw += chunk
                        self._stream.feed(chunk)
