"""Interrupting a thread at one step after the other, as the handlers of signals may."""

import dis
import sys
import unittest
from collections.abc import Callable
from types import FrameType, ModuleType
from typing import Any

__all__ = ["CAN_INTERRUPT", "SEVERAL", "interrupt"]

SEVERAL = 10  # places
CAN_INTERRUPT = sys.version_info < (3, 12)
"""Whether a trace function is told of each instruction."""


def _raise() -> None:
    raise KeyboardInterrupt


def interrupt(act: Callable[[], Any], number: int, module: ModuleType, handler: Callable[[], Any] = _raise) -> bool:
    """Call ``act``, and ``handler`` at the ``number``-th place in ``module`` that it comes to; false: there are fewer.

    The handler raises, as Ctrl-C's does, if none is given.

    The places are those where the interpreter lets a signal's handler run: where a function begins, behind each call,
    behind a jump back, and where a lock is waited for.
    """
    if not CAN_INTERRUPT:
        raise unittest.SkipTest("a trace function of this Python is not told of each instruction")
    left = number

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if left <= 0 or frame.f_code.co_filename != module.__file__:
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        before = "CALL"

        def local(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal left, before
            if event == "opcode" and left > 0:
                name = dis.opname[frame.f_code.co_code[frame.f_lasti]]
                if _is_place(before, name):
                    left -= 1
                    if left == 0:
                        handler()
                before = name
            return local

        return local

    tracer = sys.gettrace()
    try:
        sys.settrace(trace)
        act()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(tracer)
    return left <= 0


def _is_place(before: str, name: str) -> bool:
    """Tell whether a handler may run between these two instructions."""
    if name in ("BEFORE_WITH", "SETUP_WITH"):
        return True
    if before.startswith("CALL"):
        # ``return f()`` in a ``with`` statement: what leaves it comes next, and f's exception would come before
        # an ``except`` block: the call itself has raised, and no handler runs before the block has begun
        return name not in ("SWAP", "LOAD_CONST", "ROT_TWO", "PUSH_NULL", "PUSH_EXC_INFO")
    return before.startswith(("JUMP_BACKWARD", "JUMP_ABSOLUTE"))
