"""What the user of a cluster is told, on a thread of its own."""

from ezez_ws.cluster.audience import Member
from ezez_ws.cluster.teller import Teller
from tests.support import EZEZTestCase


class TellerTest(EZEZTestCase):
    def test_changes_that_are_left_out_are_in_the_log_though_nobody_asked_for_cluster_changes(self) -> None:
        teller = Teller(lambda change, member: None, None)  # not started: nobody takes any
        with self.assertLogs("ezez_ws.cluster", "WARNING") as logs:
            for _ in range(10_010):
                teller.tell_member("joined", Member("a:1", "a", 1, "a", True))
        self.assertEqual(
            ["overflow: changes were left out: read members anew"], [one.getMessage() for one in logs.records]
        )
        self.assertEqual(10_000, len(teller._waiting))
