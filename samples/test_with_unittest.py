"""How a test suite embeds a server: a free port, a client, and assertions on answers.

    python -m unittest samples/test_with_unittest.py

What is tested runs in the test's own process, on a port that is free; nothing is mocked.
"""

import hmac
import threading
import unittest

from ezez_ws import AuthRejected, CallError, EZEZWebSocketClient, EZEZWebsocketServer, RemoteError, ReplyTimeout


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


class PriceServerTest(unittest.TestCase):
    def setUp(self):
        self.server = make_price_server(port=0)
        self.server.start()
        self.addCleanup(self.server.close)
        self.client = self.connect()

    def connect(self, key="secret"):
        client = EZEZWebSocketClient(self.server.url, auth=key, auto_reconnect=False)
        self.addCleanup(client.close)
        client.connect(timeout=5)
        return client

    def test_a_known_price_is_told(self):
        self.assertEqual(self.client.call("price", ["tea"], timeout=5), 4)

    def test_an_unknown_one_is_not(self):
        with self.assertRaises(RemoteError) as caught:
            self.client.call("price", ["gold"], timeout=5)
        self.assertEqual(caught.exception.code, "unknown-article")

    def test_everybody_hears_of_a_change(self):
        other = self.connect()
        heard = threading.Event()
        other.on("price-changed", lambda args, reply, ids: heard.set())
        other.call("price", ["tea"], timeout=5)  # now the server has it among those it broadcasts to
        self.client.call("set-price", ["tea", 5], timeout=5)
        self.assertTrue(heard.wait(timeout=5))

    def test_an_event_that_nobody_answers_ends_by_its_timeout(self):
        with self.assertRaises(ReplyTimeout):
            self.client.call("hello", timeout=0.2)

    def test_a_wrong_key_is_refused(self):
        with self.assertRaises(AuthRejected):
            self.connect(key="wrong")


if __name__ == "__main__":
    unittest.main()
