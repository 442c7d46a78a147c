"""The C extension; all else about the package is in setup.cfg."""

import sys
import sysconfig

from setuptools import Extension, setup

# It counts on CPython's global lock. Where it cannot be compiled, the library goes without.
has_lock = sys.implementation.name == "cpython" and not sysconfig.get_config_var("Py_GIL_DISABLED")
setup(ext_modules=[Extension("ezez_ws._speedups", ["ezez_ws/_speedups.c"], optional=True)] if has_lock else [])
