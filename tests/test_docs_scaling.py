"""docs/scaling.md: Redis takes its configuration, and a node and an emitter do with the user of its ACL."""

import re
import unittest

from ezez_ws import Emitter, RedisBackplane
from tests.redis_server import RedisServer, needs_redis
from tests.serving import ServingTestCase
from tests.support import REPO, eventually

SAME_ON_EVERY_PYTHON = True


def configuration() -> list[list[str]]:
    """The words of each line of the blocks of Redis' configuration."""
    text = (REPO / "docs/scaling.md").read_text(encoding="utf-8")
    found = re.findall(r"^```redis\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [line.split() for line in "".join(found).splitlines()]


def configure(redis: RedisServer) -> list[str]:
    """Configure it so, and return its address for each user of the page."""
    addresses = []
    for what, *words in configuration():
        redis.command(*(["ACL", "SETUSER", *words] if what == "user" else ["CONFIG", "SET", what, *words]))
        if what == "user":
            name, _, password, *_ = words
            addresses.append(redis.url.replace("//", f"//{name}:{password.removeprefix('>')}@"))
    return addresses


@needs_redis
class ConfigurationTest(ServingTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.redis = RedisServer().start()
        self.addCleanup(self.redis.close)
        self.of_nodes, self.of_emitters = configure(self.redis)
        self.addCleanup(self.check_nothing_was_denied)

    def check_nothing_was_denied(self) -> None:
        denied = {entry[entry.index(b"object") + 1] for entry in self.redis.command("ACL", "LOG")}
        self.assertLessEqual(denied, {b"client|setinfo"})  # by which redis-py says its version, if it may

    def test_a_node_and_an_emitter_that_asks_do_with_the_first_user(self) -> None:
        backplane = RedisBackplane(self.of_nodes, prefix="shop")
        server = self.serve(
            on_auth_request=lambda client, key: True,
            on_auth_ok=lambda client: client.join("lobby", info={}),
            backplane=backplane,
        )
        server.on("address", lambda client, args, reply, ids: reply("is", [client.address]))
        client = self.client(server)
        client.on("ask", lambda args, reply, ids: reply("answer"))
        address = client.send("address").wait_reply(timeout=10).args[0]
        self.assertTrue(server.to("lobby").send("news").wait(timeout=10))
        # what the log has confirmed this node may still have to read
        eventually(lambda: [one.address for one in server.members("lobby", timeout=10)] == [address])
        with Emitter(backplane) as emitter:
            self.assertTrue(emitter.to("lobby").send("news").wait(timeout=10))
            self.assertEqual("answer", emitter.client_at(address).send("ask").wait_reply(timeout=10).event)

    def test_an_emitter_that_only_sends_does_with_the_second(self) -> None:
        with Emitter(RedisBackplane(self.of_emitters, prefix="shop")) as emitter:
            emitter.to("lobby").send("news")
            emitter.everyone.disconnect()
        self.assertEqual(2, self.redis.command("XLEN", "{shop}:log"))


if __name__ == "__main__":
    unittest.main()
