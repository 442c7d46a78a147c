"""Fuzz: ``python -m tests.fuzz TARGET... | --all [--seconds N]``; the last line is ``N passed, M failed``.

With atheris, where it is installed, new inputs are made by what the old ones have covered; else by plain mutation.
Each target runs in a process of its own, since libFuzzer ends it as it likes.
"""

import argparse
import hashlib
import importlib
import os
import random
import re
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from tests.fuzz import mutation

HERE = Path(__file__).resolve().parent
CRASHES = HERE / "crashes"
TARGETS = ("frames", "codec", "speedups", "upgrade")

_ONE_LIMIT = 10  # seconds for one input
_GRACE = 60.0  # seconds that a run may take longer than asked
_CRASHED = 77  # libFuzzer's exit code for it
_MAX_SIZE = 4096


def main() -> int:
    options = _options()
    if options.replay:
        return _replay(options.targets[0], options.replay)
    if options.engine == "auto":
        options.engine = "atheris" if _has_atheris() else "mutation"
    if options.child:
        return _fuzz_here(options.targets[0], options.engine, options.seconds, options.seed)
    failed = [target for target in options.targets if not _fuzz(target, options)]
    print(f"{len(options.targets) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz the pure parts of ezez_ws.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"one of {', '.join(TARGETS)}")
    parser.add_argument("--all", action="store_true", help="all targets")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target; default: 60")
    parser.add_argument("--engine", choices=("auto", "atheris", "mutation"), default="auto")
    parser.add_argument("--seed", type=int, default=random.randrange(1, 1 << 31), help="default: another each time")
    parser.add_argument("--replay", nargs="+", type=Path, metavar="FILE", help="run these inputs only")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.targets = list(TARGETS) if options.all else options.targets
    if not options.targets or not set(options.targets) <= set(TARGETS):
        parser.error(f"name a target, of {', '.join(TARGETS)}, or give --all")
    if options.replay and len(options.targets) != 1:
        parser.error("--replay needs one target")
    return options


def _has_atheris() -> bool:
    try:
        importlib.import_module("atheris")
    except ImportError:
        return False
    return True


def _one_input(target: str) -> Callable[[bytes], None]:
    one_input: Callable[[bytes], None] = importlib.import_module(f"tests.fuzz.{target}").one_input
    return one_input


def _replay(target: str, paths: list[Path]) -> int:
    one_input = _one_input(target)
    for path in paths:
        print(f"{target}: {path}", flush=True)
        one_input(path.read_bytes())
    return 0


# -- the parent --------------------------------------------------------------------------------------------------------


def _fuzz(target: str, options: argparse.Namespace) -> bool:
    """Fuzz one target in a process of its own; say how it went, and return whether nothing was found."""
    before = set(CRASHES.glob("*"))
    common = ["--seconds", f"{options.seconds:g}", "--engine", options.engine, "--seed", str(options.seed)]
    command = [sys.executable, "-m", "tests.fuzz", target, "--child", *common]
    started = time.monotonic()
    process = subprocess.Popen(
        command, cwd=HERE.parent.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="backslashreplace"
    )
    with process:
        try:
            output, _ = process.communicate(timeout=options.seconds + _GRACE)
        except BaseException as error:
            process.kill()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            output = f"{process.communicate()[0]}\nit did not end by itself"
    took = time.monotonic() - started
    count = re.findall(r"number_of_executed_units: *([0-9]+)", output)
    ok = process.returncode == 0 and bool(count)
    if not ok:
        print("\n".join(line for line in output.splitlines() if not re.match("#[0-9]+\t", line)))
        print(f"{target}: exit code {process.returncode}, seed {options.seed}")
    for path in sorted(set(CRASHES.glob("*")) - before):
        ok = False
        print(f"{target}: {path.relative_to(HERE.parent.parent)}: {path.read_bytes()[:2000]!r}")
    rate = f"{count[-1]} inputs, {int(count[-1]) / took:.0f}/s" if count else "unknown how many inputs"
    print(f"{target}: {'ok' if ok else 'FAILED'}, {options.engine}, {rate}, {took:.0f} s", flush=True)
    return ok


# -- the child ---------------------------------------------------------------------------------------------------------


def _fuzz_here(target: str, engine: str, seconds: float, seed: int) -> int:
    CRASHES.mkdir(exist_ok=True)
    if engine == "atheris":
        return _run_atheris(target, seconds, seed)
    return _run_mutation(target, seconds, seed)


def _run_atheris(target: str, seconds: float, seed: int) -> int:
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["ezez_ws", "h11"]):
        one_input = _one_input(target)
    found = HERE / "found" / target
    found.mkdir(parents=True, exist_ok=True)
    arguments = [
        sys.argv[0],
        f"-max_total_time={max(1, round(seconds))}",
        f"-max_len={_MAX_SIZE}",
        f"-timeout={_ONE_LIMIT}",
        f"-seed={seed}",
        f"-artifact_prefix={CRASHES}{os.sep}{target}-",
        "-print_final_stats=1",
        str(found),
        str(HERE / "corpus" / target),
    ]
    atheris.Setup(arguments, one_input)
    atheris.Fuzz()  # ends the process
    return 0


def _run_mutation(target: str, seconds: float, seed: int) -> int:
    one_input = _one_input(target)
    folders = (HERE / "corpus" / target, HERE / "found" / target)
    inputs = [path.read_bytes() for folder in folders for path in sorted(folder.glob("*"))]
    result = mutation.run(_limited(one_input), inputs, seconds, seed)
    print(f"number_of_executed_units: {result.count}")
    if result.error is None or result.culprit is None:
        return 0
    traceback.print_exception(type(result.error), result.error, result.error.__traceback__)
    name = hashlib.sha1(result.culprit).hexdigest()
    (CRASHES / f"{target}-crash-{name}").write_bytes(result.culprit)
    return _CRASHED


def _limited(one_input: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """Fail an input that takes too long, where the system can interrupt it."""
    if not hasattr(signal, "setitimer"):
        return one_input

    def too_long(signum: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"one input takes more than {_ONE_LIMIT} seconds")

    def run(data: bytes) -> None:
        signal.setitimer(signal.ITIMER_REAL, _ONE_LIMIT)
        try:
            one_input(data)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    signal.signal(signal.SIGALRM, too_long)
    return run


if __name__ == "__main__":
    sys.exit(main())
