"""The library's time: every reading of it, and every way to sleep for some time, so that tests can put others here.

What is here is the standard library's own, so that it costs nothing. It is called as ``clock.monotonic()``: a name that
is imported by itself would keep what was here then.
"""

import time

__all__ = ["monotonic", "sleep"]

monotonic = time.monotonic
sleep = time.sleep
