"""The stage of the demo: actors in processes of their own, which do what they are told and say what they do.

All actors write to one pipe, so their lines come in the order in which they were written. An actor takes its commands
from its standard input and ends with it: should the stage be killed, nobody is left behind.
"""

import os
import queue
import re
import shlex
import signal
import subprocess
import sys
import threading
import time

TIMEOUT = 15.0  # seconds for one step


class StepFailed(Exception):
    """A step of the tour did not happen; the text says which part of it."""


class Stage:
    """Starts actors, tells them what to do, and checks what they say."""

    def __init__(self, script):
        self._script = script
        self._actors = {}
        self._ends_with = {}
        self._steps = 0
        self._lines = queue.Queue()
        reader, self._writer = os.pipe()
        self._reader = threading.Thread(target=self._read, args=[reader])
        self._reader.start()

    def step(self, title):
        self._steps += 1
        print(f"\n{self._steps}. {title}", flush=True)

    def start(self, name, *args, ends_with=0):
        """Start an actor: the script with these arguments, which is to end with that exit code."""
        command = [sys.executable, self._script, *args]
        self._actors[name] = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=self._writer, encoding="utf-8")
        self._ends_with[name] = ends_with

    def tell(self, name, *words):
        try:
            print(shlex.join(words), file=self._actors[name].stdin, flush=True)
        except OSError:
            raise StepFailed(f"{name} has ended and cannot {words[0]!r}") from None

    def expect(self, *patterns):
        """Wait until each pattern has matched a line, in any order; return all groups that they caught."""
        missing, caught = list(patterns), []
        deadline = time.monotonic() + TIMEOUT
        while missing:
            line = self._next_line(deadline, missing)
            for pattern in missing:
                match = re.search(pattern, line)
                if match:
                    missing.remove(pattern)
                    caught += match.groups()
                    break
        return caught

    def expect_exit(self, name):
        try:
            ended_with = self._actors[name].wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            raise StepFailed(f"{name} does not end") from None
        if ended_with != self._ends_with[name]:
            raise StepFailed(f"{name} has ended with {ended_with}, not with {self._ends_with[name]}")

    def finish(self, name):
        """End an actor's input, and so its part."""
        self._actors[name].stdin.close()

    def close(self):
        """End all actors, those that do not want to by force."""
        for actor in self._actors.values():
            try:
                actor.stdin.close()
            except OSError:
                pass
        deadline = time.monotonic() + 5
        for actor in self._actors.values():
            try:
                actor.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                actor.kill()
                actor.wait()
        os.close(self._writer)
        self._reader.join()

    def _next_line(self, deadline, missing):
        while True:
            broken = [n for n, actor in self._actors.items() if actor.poll() not in (None, self._ends_with[n])]
            try:
                return self._lines.get(timeout=0.5)
            except queue.Empty:
                if broken or time.monotonic() > deadline:
                    why = f"{broken[0]} has ended" if broken else f"waited {TIMEOUT:g} s"
                    raise StepFailed(f"{why}, and no line matched {missing[0]}") from None

    def _read(self, pipe):
        with open(pipe, encoding="utf-8") as lines:
            for line in lines:
                print(f"   {line}", end="", flush=True)
                self._lines.put(line)


def say(name, text):
    """Say a line, as an actor; in one piece, whatever other actors do."""
    sys.stdout.write(f"{name:<9}{text}\n")
    sys.stdout.flush()


def act(commands):
    """Do what standard input says, as an actor, until it ends or a command returns false."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the stage's business, which then closes our input
    for line in sys.stdin:
        name, *args = shlex.split(line)
        if commands[name](*args) is False:
            break
