"""docs/scaling.md: Redis takes its configuration, and a node and an emitter do with the user of its ACL."""

import re
import unittest

from ezez_ws import Emitter, RedisBackplane
from tests.redis_server import RedisServer, needs_redis
from tests.serving import ServingTestCase
from tests.support import REPO

SAME_ON_EVERY_PYTHON = True


def configuration() -> list[list[str]]:
    """The words of each line of the blocks of Redis' configuration."""
    text = (REPO / "docs/scaling.md").read_text(encoding="utf-8")
    found = re.findall(r"^```redis\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [line.split() for line in "".join(found).splitlines()]


def configure(redis: RedisServer) -> list[str]:
    """Configure it so, and return the user's words."""
    (user,) = [words[1:] for words in configuration() if words[0] == "user"]
    for words in configuration():
        redis.command(*(["ACL", "SETUSER", *user] if words[0] == "user" else ["CONFIG", "SET", *words]))
    return user


@needs_redis
class ConfigurationTest(ServingTestCase):
    def test_a_node_and_an_emitter_do_with_the_user_of_the_page(self) -> None:
        redis = RedisServer().start()
        self.addCleanup(redis.close)
        name, _, password, *_ = configure(redis)
        url = redis.url.replace("//", f"//{name}:{password.removeprefix('>')}@")
        backplane = RedisBackplane(url, prefix=name)
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
        self.assertEqual([address], [one.address for one in server.members("lobby", timeout=10)])
        with Emitter(backplane) as emitter:
            self.assertTrue(emitter.to("lobby").send("news").wait(timeout=10))
            self.assertEqual("answer", emitter.client_at(address).send("ask").wait_reply(timeout=10).event)
        denied = {entry[entry.index(b"object") + 1] for entry in redis.command("ACL", "LOG")}
        self.assertLessEqual(denied, {b"client|setinfo"})  # by which redis-py says its version, if it may


if __name__ == "__main__":
    unittest.main()
