"""``ezez-ws emit``, against a real Redis, and what it says without one."""

import os
import socket
import unittest
from typing import Any
from unittest import mock

from ezez_ws import RedisBackplane
from tests.cli.running import Program, invoke, run
from tests.redis_server import RedisTestCase, needs_redis
from tests.serving import Calls, ServingTestCase
from tests.support import EZEZTestCase, free_port

MOSTLY_WAITS = True

PASSWORD = "p@ss/w#rd é"


class EmitTest(RedisTestCase, ServingTestCase):
    """With two nodes, and a client in a room of each."""

    def nodes(self, url: str, **options: Any) -> Calls:
        """Return what clients hear: the one in the lobby of the first node, the one in the attic of the second."""
        heard = Calls()
        for room in ("lobby", "attic"):
            server = self.serve(
                on_auth_request=lambda client, key: True,
                on_auth_ok=lambda client, room=room: client.join(room),
                backplane=RedisBackplane(url, **options),
            )
            client = self.client(server)
            client.on("news", lambda args, reply, ids, room=room: heard.add(room, *args))
        return heard

    def emit(self, *args: str, url: str = "") -> None:
        self.assertEqual((0, "", ""), invoke("emit", url or self.redis.url, *args))

    def test_who_is_in_the_rooms_gets_it_on_all_nodes_and_nobody_else(self) -> None:
        heard = self.nodes(self.redis.url)
        self.emit("--to", "lobby", "news", "1", "two", '{"$bytes": "aGk="}')
        self.emit("news", "--to", "lobby", "3", "--to", "attic")
        self.emit("--everyone", "news", "4")
        calls = heard.wait(5)
        self.assertEqual(
            [("lobby", 1, "two", b"hi"), ("lobby", 3), ("lobby", 4)], [c for c in calls if c[0] == "lobby"]
        )
        self.assertEqual([("attic", 3), ("attic", 4)], [c for c in calls if c[0] == "attic"])

    def test_another_prefix_is_another_program(self) -> None:
        heard = self.nodes(self.redis.url, prefix="shop")
        self.emit("--everyone", "news", "for nobody")
        self.emit("--everyone", "news", "hi", "--prefix", "shop")
        self.assertEqual([("attic", "hi"), ("lobby", "hi")], sorted(heard.wait(2)))

    def test_a_password_may_be_in_the_environment_and_is_never_printed(self) -> None:
        redis = self.start_redis(password=PASSWORD)
        url = f"redis://127.0.0.1:{redis.port}/0"
        with mock.patch.dict(os.environ, SECRET=PASSWORD, WRONG="not it"):
            self.emit("--to", "lobby", "news", "--password-env", "SECRET", url=url)
            for args in (["--password-env", "WRONG"], []):
                done = run("emit", url, "--to", "lobby", "news", "--timeout", "0.5", "-v", *args)
                self.assertEqual((1, ""), done[:2], done)
                self.assertNotIn("not it", done.err)
                self.assertNotIn("Traceback", done.err)
            done = run("emit", url, "--to", "lobby", "news", "--password-env", "SECRET", "-v")
        self.assertEqual((0, ""), done[:2], done)
        self.assertNotIn("p@ss", done.err)

    def test_a_redis_that_stands_still_is_given_up_in_time(self) -> None:
        redis = self.start_redis()
        redis.freeze()
        self.addCleanup(redis.thaw)
        done = invoke("emit", redis.url, "--to", "lobby", "news", "--timeout", "0.3")
        self.assertEqual((1, ""), done[:2])
        self.assertRegex(done.err, r"\Aezez-ws: [^\n]+\n\Z")


class WithoutRedisTest(EZEZTestCase):
    def check(self, code: int, told: str, *args: str) -> None:
        done = invoke("emit", *args)
        self.assertEqual((code, ""), done[:2], done)
        self.assertRegex(done.err, rf"(\A|\n)ezez-ws( emit)?: [^\n]*{told}[^\n]*\n\Z")
        self.assertNotIn("secret", done.err)

    @needs_redis
    def test_no_redis_there_is_1(self) -> None:
        url = f"redis://:secret@127.0.0.1:{free_port()}"
        self.check(1, "", url, "--to", "lobby", "news", "--timeout", "0.3")

    def test_what_is_wrong_on_the_command_line_is_2(self) -> None:
        url = "redis://:secret@127.0.0.1:1/0"
        for told, args in (
            ("--to ROOM", [url, "news"]),
            ("not both", [url, "news", "--to", "lobby", "--everyone"]),
            ("is no room", [url, "news", "--to", "*"]),
            ("url must", ["http://:secret@127.0.0.1", "news", "--to", "lobby"]),
            ("no valid port", ["redis://:secret\u2100@h", "news", "--to", "lobby", "--password-env", "PATH"]),
            ("prefix must", [url, "news", "--to", "lobby", "--prefix", "{"]),
            ("no JSON", [url, "news", "{", "--to", "lobby"]),
            ("more than 0", [url, "news", "--to", "lobby", "--timeout", "0"]),
            ("no environment variable NOT_THERE", [url, "news", "--to", "lobby", "--password-env", "NOT_THERE"]),
            ("bytes", [url, "news", '[{"$bytes": "aGk="}]', "--to", "lobby"]),
        ):
            with self.subTest(told):
                self.check(2, told, *args)

    @needs_redis
    def test_ctrl_c_ends_it_while_it_waits_for_an_answer(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"redis://:secret@127.0.0.1:{silent.getsockname()[1]}"
            args = ("emit", url, "--to", "lobby", "news", "--timeout", "60")
            with Program(*args) as program, silent.accept()[0] as connection:
                self.assertTrue(connection.recv(1))
                program.interrupt()
                self.assertEqual(130, program.wait())
                self.assertEqual([], program.rest())

    def test_without_redis_py_it_names_the_extra(self) -> None:
        with mock.patch.dict("sys.modules", redis=None):
            self.check(2, "redis", "redis://127.0.0.1:1", "news", "--to", "lobby")


if __name__ == "__main__":
    unittest.main()
