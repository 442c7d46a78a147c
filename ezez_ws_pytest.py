"""The plugin for pytest, which finds it by its entry point: the fixture ``ezez_ws``.

It is no part of the package, as pytest imports it in every run: the package is imported by the first test that uses it.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ezez_ws.testing import Fixture


def _serve() -> "Iterator[Fixture]":
    """Start servers and connect clients; what is open, awaited or unread at the end is an error: see ``Fixture``."""
    from ezez_ws.testing import Fixture

    with Fixture() as fixture:
        yield fixture


ezez_ws = pytest.fixture(name="ezez_ws")(_serve)
