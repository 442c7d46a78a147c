"""For the tests of programs that use the library: servers and clients that close themselves, and bad networks."""

from .case import ServerTestCase
from .link import Link
from .peers import RawPeer, StalledPeer

__all__ = ["Link", "RawPeer", "ServerTestCase", "StalledPeer"]
