"""The C extension; all else about the package is in setup.cfg."""

import glob
import sys
import sysconfig

from setuptools import Extension, setup

# It counts on CPython's global lock. Where it cannot be compiled, the library goes without.
has_lock = sys.implementation.name == "cpython" and not sysconfig.get_config_var("Py_GIL_DISABLED")
speedups = Extension(
    "ezez_ws.messages._speedups",
    sorted(glob.glob("ezez_ws/messages/c/*.c")),
    depends=glob.glob("ezez_ws/messages/c/*.h"),
    optional=True,
)
setup(ext_modules=[speedups] if has_lock else [])
