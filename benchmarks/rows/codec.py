"""codec: values to bytes and back, against the reference serializer."""

import sys
from pathlib import Path

from ..agent import Agent
from ..peers import IN_PYTHON, NODE, OURS, PURE
from ..results import Goal, Line
from ..run import Run

__all__ = ["codec"]

HERE = Path(__file__).resolve().parents[1]
OPERATIONS = ("encode", "decode")


def codec(run: Run) -> list[Line]:
    """A measurement here is short: there are eight of them. The bytes tell that both do the same work."""
    lines: dict[str, Line] = {}
    commands = {
        OURS: [sys.executable, "-m", "benchmarks.codec_speed"],
        PURE: [sys.executable, "-m", "benchmarks.codec_speed"],
        NODE: ["node", str(HERE / "codec_speed.mjs")],
    }
    for who in run.alternate(run.present(OURS, PURE, NODE)):
        command, environment = [*commands[who], str(run.seconds / 8)], IN_PYTHON if who == PURE else {}
        with run.tolerate(who), Agent(command, 60 + 4 * run.seconds, environment) as agent:
            for message, speeds in agent.hello.items():
                for operation in OPERATIONS:
                    work = f"{operation} {message}; {speeds['bytes']:,} bytes"
                    line = lines.setdefault(work, Line("codec", work, "operations/s", goals=[Goal(NODE, 1)]))
                    line.add(who, speeds[operation])
    return [each for line in lines.values() for each in (line, line.variant(PURE, "in Python"))]
