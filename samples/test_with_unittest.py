"""How a test suite embeds a server: a free port, clients, and assertions on answers and events.

    python -m unittest samples/test_with_unittest.py

What is tested runs in the test's own process, and nothing is mocked. What a test starts is closed at its end; it fails
for a thread, a socket, an awaited reply or an error of a listener that it leaves behind.
"""

import hmac
import unittest

from ezez_ws import AuthRejected, CallError, EZEZWebsocketServer, RemoteError, ReplyTimeout
from ezez_ws.testing import Link, Recorder, ServerTestCase


def check_key(client, key):
    return hmac.compare_digest(key.encode(), b"secret")


def make_price_server(port):
    """What is tested; in real life it is imported from the program."""
    server = EZEZWebsocketServer(port=port, on_auth_request=check_key)
    prices = {"tea": 4}

    @server.handler("price")
    def price(client, article):
        if article not in prices:
            raise CallError("unknown-article", f"no {article} here")
        return prices[article]

    @server.handler("set-price")
    def set_price(client, article, price):
        prices[article] = price
        server.broadcast("price-changed", [article, price])

    return server


class PriceServerTest(ServerTestCase):
    def setUp(self):
        self.server = self.start(make_price_server(port=0))
        self.client = self.connect(self.server, auth="secret")

    def test_a_known_price_is_told(self):
        self.assertEqual(self.client.call("price", ["tea"], timeout=5), 4)

    def test_an_unknown_one_is_not(self):
        with self.assertRaises(RemoteError) as caught:
            self.client.call("price", ["gold"], timeout=5)
        self.assertEqual(caught.exception.code, "unknown-article")

    def test_everybody_hears_of_a_change(self):
        other = self.connect(self.server, auth="secret")
        heard = Recorder(other)
        other.call("price", ["tea"], timeout=5)  # now the server has it among those it broadcasts to
        self.client.call("set-price", ["tea", 5], timeout=5)
        heard.assert_received("price-changed", ["tea", 5])
        heard.assert_nothing(within=0.05)

    def test_an_event_that_nobody_answers_ends_by_its_timeout(self):
        with self.assertRaises(ReplyTimeout):
            self.client.call("hello", timeout=0.2)

    def test_a_slow_line_is_only_slow(self):
        link = Link(self.server)
        link.delay(0.05)
        client = self.connect(link, auth="secret")
        self.assertEqual(client.call("price", ["tea"], timeout=5), 4)

    def test_a_wrong_key_is_refused(self):
        with self.assertRaises(AuthRejected):
            self.connect(self.server, auth="wrong")


if __name__ == "__main__":
    unittest.main()
