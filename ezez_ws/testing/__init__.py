"""For the tests of programs that use the library: what closes itself, networks that fail, and a clock that waits."""

from .case import ServerTestCase
from .clock import FakeClock
from .fixture import Fixture
from .link import Link
from .peers import RawPeer, StalledPeer

__all__ = ["FakeClock", "Fixture", "Link", "RawPeer", "ServerTestCase", "StalledPeer"]
