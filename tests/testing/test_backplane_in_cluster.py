"""Tests of clusters, written for Redis, on the log in memory: those of some classes that ask Redis for nothing."""

import inspect
import re
import unittest
from typing import Any
from unittest import mock

from ezez_ws.testing import FakeBackplane
from tests.cluster import test_calls, test_nodes
from tests.cluster.nodes import NodesTestCase

MOSTLY_WAITS = True

OF_REDIS = re.compile(r"redis|NodeProcess|Emitter|emitter|_url|broker|prefix", re.IGNORECASE)


def on_the_fake(base: type[NodesTestCase], name: str) -> type[unittest.TestCase]:
    """Make the class of the same tests, without those that need Redis."""

    class OnTheFake(base):  # type: ignore[misc, valid-type]
        @classmethod
        def setUpClass(cls) -> None:
            cls.redis = mock.Mock()  # which is only emptied

        def backplane(self, server: Any = None, **options: Any) -> Any:
            self.fake = getattr(self, "fake", None) or FakeBackplane()
            return self.fake

    for member, function in inspect.getmembers(base, inspect.isfunction):
        if member.startswith("test_") and OF_REDIS.search(inspect.getsource(function)):
            setattr(OnTheFake, member, None)
    OnTheFake.__name__ = OnTheFake.__qualname__ = name
    OnTheFake.__module__ = __name__
    return OnTheFake


ReachTest = on_the_fake(test_nodes.ReachTest, "ReachTest")
PresenceTest = on_the_fake(test_nodes.PresenceTest, "PresenceTest")
RemoteTest = on_the_fake(test_nodes.RemoteTest, "RemoteTest")
CallTest = on_the_fake(test_calls.CallTest, "CallTest")


class ChoosingTest(unittest.TestCase):
    def test_there_are_many_of_them(self) -> None:
        kinds = (ReachTest, PresenceTest, RemoteTest, CallTest)
        self.assertGreater(sum(len(unittest.defaultTestLoader.getTestCaseNames(kind)) for kind in kinds), 20)


if __name__ == "__main__":
    unittest.main()
