"""The peers that users get: one whose bytes are the test's, and one that never reads."""

import threading
import unittest

from ezez_ws import ConnectionFailed
from ezez_ws.testing import Link, RawPeer, StalledPeer
from tests.serving import KEY, ServingTestCase
from tests.support import eventually


class RawPeerTest(ServingTestCase):
    def test_bytes_go_out_and_come_in_as_they_are(self) -> None:
        with RawPeer(self.serve(), handshake=False) as peer:
            peer.send(b"GET / HTTP/1.1\r\n\r\n")
            self.assertTrue(peer.receive(10).startswith(b"HTTP/1.1 4"))
            while peer.receive(10):
                pass

    def test_a_time_that_is_over_is_a_timeout_and_holds_for_that_call_only(self) -> None:
        with RawPeer(self.serve(), KEY, timeout=20) as peer:
            with self.assertRaises(TimeoutError):
                peer.receive(0.01)
            self.assertEqual(20, peer.sock.gettimeout())

    def test_events_go_both_ways_and_by_a_link_too(self) -> None:
        server = self.serve()
        server.on("echo", lambda client, args, reply, ids: reply("echo", args))
        with Link(server) as link, RawPeer(link, KEY) as peer:
            number = peer.send_event("echo", ["x"])
            event = peer.read_event()
            self.assertEqual(("echo", ["x"]), (event.name, event.args))
            self.assertEqual(number, event.ids.reply_to)

    def test_a_wrong_key_and_a_refused_handshake_are_told_and_leave_nothing(self) -> None:
        server = self.serve(path="/chat")
        with self.assertRaisesRegex(AssertionError, "expected auth-ok, got"):
            RawPeer(server, "wrong")
        with self.assertRaises(ConnectionFailed):
            RawPeer(server.url.replace("chat", "other"))


class StalledPeerTest(ServingTestCase):
    def test_it_is_authenticated_and_takes_nothing_so_that_it_is_cut(self) -> None:
        gone = threading.Event()
        server = self.serve(send_buffer_limit=100_000, on_disconnect=lambda client, code, reason: gone.set())
        with StalledPeer(server, KEY):
            eventually(lambda: [client for client in server.clients if client.authenticated])
            for _ in range(10_000):
                server.broadcast("news", ["x" * 10_000])
                if gone.is_set():
                    break
            self.assertTrue(gone.wait(10))


if __name__ == "__main__":
    unittest.main()
