"""For the tests of programs that use the library: what closes itself, networks that fail, and a clock that waits."""

from .backplane import FakeBackplane
from .case import ServerTestCase
from .clock import FakeClock
from .fixture import Fixture
from .link import Link
from .peers import RawPeer, StalledPeer
from .recorder import Recorder

__all__ = ["FakeBackplane", "FakeClock", "Fixture", "Link", "RawPeer", "Recorder", "ServerTestCase", "StalledPeer"]
