"""The log in a real Redis: what is appended is read, another log is noticed, and what is wrong is named."""

import contextlib
import copy
import functools
import os
import pickle
import sys
import threading
import time
import unittest
from collections.abc import Callable
from typing import Any
from unittest import mock

import trustme

from ezez_ws.cluster.log import LogDown, Opened, Read
from ezez_ws.cluster.redis_log import RedisBackplane, RedisReader, RedisWriter
from ezez_ws.messages.codec import Codec
from tests.faults.proxy import Pipe, Proxy
from tests.redis_server import RedisServer, RedisTestCase, needs_redis
from tests.support import EZEZTestCase

ACL = "+xadd +xread +xrange +xtrim +xinfo +set +get +expire +del +exists +info +ping +select"  # what the docs say


MOSTLY_WAITS = True
SAME_ON_EVERY_PYTHON = True


def make_redis_client(url: str, **options: Any) -> Any:
    import redis

    return redis.Redis.from_url(url, **options)


class DescriptionTest(EZEZTestCase):
    def test_what_is_wrong_with_an_argument_is_named(self) -> None:
        url = "redis://localhost"
        for error, text, given, options in (
            (TypeError, "url must be a str, not NoneType", (), {}),
            (TypeError, "url must be a str, not bytes", (b"redis://localhost",), {}),
            (ValueError, "redis://, rediss:// (TLS) or unix://", ("http://localhost",), {}),
            (ValueError, "redis://, rediss:// (TLS) or unix://", ("localhost:6379",), {}),
            (ValueError, "must name a host: redis://localhost:6379/0", ("redis:///0",), {}),
            (ValueError, "the number of a database", ("redis://localhost/shop",), {}),
            (ValueError, "the path of the socket", ("unix://",), {}),
            (TypeError, "prefix must be a str, not int", (url,), {"prefix": 1}),
            (ValueError, "without braces, not '{shop}'", (url,), {"prefix": "{shop}"}),
            (ValueError, "1 to 200 printable characters", (url,), {"prefix": ""}),
            (ValueError, "1 to 200 printable characters", (url,), {"prefix": "a\n"}),
            (TypeError, "max_length must be an int >= 1, not float", (url,), {"max_length": 1.0}),
            (ValueError, "max_length must be an int >= 1, not 0", (url,), {"max_length": 0}),
            (TypeError, "heartbeat must be a number", (url,), {"heartbeat": "5"}),
            (ValueError, "node_timeout (5) must be more than heartbeat (5.0)", (url,), {"node_timeout": 5}),
            (ValueError, "connect_timeout must be a number", (url,), {"connect_timeout": 0}),
            (TypeError, "io_timeout must be a number", (url,), {"io_timeout": None}),
            (TypeError, "durable must be", (url,), {"durable": 1}),
            (TypeError, "connect must be callable or None, not str", (), {"connect": url}),
            (TypeError, "connect is called as connect()", (), {"connect": lambda url: None}),
        ):
            with self.subTest(text), self.assertRaises(error) as caught:
                RedisBackplane(*given, **options)
            self.assertIn(text, str(caught.exception))

    def test_no_text_has_the_password(self) -> None:
        for url in (
            "redis://me:geheim@host:7/3",
            "rediss://:geheim@host",
            "unix://:geheim@/run/r.sock?password=geheim",
        ):
            self.assertNotIn("geheim", repr(RedisBackplane(url)))
        self.assertEqual(
            "<RedisBackplane redis://host:7/3, prefix='a'>", repr(RedisBackplane("redis://me:p@host:7/3", prefix="a"))
        )
        with self.assertRaises(ValueError) as caught:
            RedisBackplane("redis://:s3#cret@host")
        self.assertNotIn("s3", str(caught.exception))
        self.assertIn("%23 for #", str(caught.exception))
        self.assertTrue(caught.exception.__suppress_context__, "the cause has it")

    def test_it_can_be_copied_and_pickled(self) -> None:
        plan = RedisBackplane("redis://:p@host/1", prefix="shop", heartbeat=1, durable=True)
        for other in (copy.copy(plan), copy.deepcopy(plan), pickle.loads(pickle.dumps(plan))):
            self.assertEqual(vars(plan), vars(other))

    def test_a_missing_redis_py_is_an_error_that_names_the_extra(self) -> None:
        plan = RedisBackplane("redis://localhost")
        with mock.patch.dict(sys.modules, {"redis": None}):
            for make in (plan.make_writer, lambda: plan.make_reader("a")):
                with self.assertRaisesRegex(ImportError, r'pip install "ezez-ws\[redis\]"'):
                    make()

    @needs_redis
    def test_an_option_in_the_url_that_redis_py_does_not_know_is_refused(self) -> None:
        with self.assertRaisesRegex(ValueError, "an option that redis-py does not know: .*'nonsense'"):
            RedisBackplane("redis://localhost?nonsense=1").make_writer()


class RedisLogTestCase(RedisTestCase):
    def plan(self, server: RedisServer | None = None, **options: Any) -> RedisBackplane:
        return RedisBackplane((server or self.redis).url, **options)

    def reader(self, plan: RedisBackplane, node: str = "a") -> RedisReader:
        reader = plan.make_reader(node)
        self.addCleanup(reader.close)
        return reader

    def writer(self, plan: RedisBackplane) -> RedisWriter:
        writer = plan.make_writer()
        self.addCleanup(writer.close)
        return writer

    def read(self, reader: RedisReader, after: tuple[int, int] = (0, 0), wait: float = 1.0) -> Read:
        read = reader.read(after, wait)
        self.assertIsInstance(read, Read)
        return read  # type: ignore[return-value]

    def down(self, act: Callable[[], object], severe: bool, *texts: str) -> None:
        with self.assertRaises(LogDown) as caught:
            act()
        for text in texts:
            self.assertIn(text, str(caught.exception))
        self.assertEqual(severe, caught.exception.severe, str(caught.exception))


class LogTest(RedisLogTestCase):
    def test_what_is_appended_is_read_in_order(self) -> None:
        plan = self.plan(prefix="shop")
        reader, writer = self.reader(plan), self.writer(plan)
        opened = reader.open()
        self.assertEqual((0, 0), opened.last)
        self.assertEqual(opened.epoch, writer.open())
        self.assertRegex(opened.epoch, "^[0-9a-f]{16}$")
        for number in range(100):
            writer.append([b"%d" % number, b"x"])
        first = self.read(reader).entries
        second = self.read(reader, first[-1][0]).entries
        found = [Codec().decode(data) for _, data in first + second]
        self.assertEqual([[b"%d" % number, b"x"] for number in range(100)], found)
        self.assertEqual([], self.read(reader, second[-1][0], 0.0).entries)
        self.assertEqual(second[-1][0], reader.open().last)

    def test_a_read_waits_for_what_is_to_come_and_no_longer_than_it_should(self) -> None:
        plan = self.plan()
        reader, writer = self.reader(plan), self.writer(plan)
        reader.open()
        threading.Timer(0.1, writer.append, [[b"late"]]).start()
        self.assertEqual(1, len(self.read(reader).entries))
        now = time.monotonic()
        self.read(reader, (1 << 50, 0), 0.05)
        self.assertGreaterEqual(time.monotonic() - now, 0.05)

    def test_the_log_is_trimmed_by_length_and_by_time(self) -> None:
        plan = self.plan(max_length=100)
        reader, writer = self.reader(plan), self.writer(plan)
        reader.open()
        for _ in range(600):
            writer.append([b"a"])
        self.assertLess(self.redis.command("XLEN", "{ezez}:log"), 300)
        writer.trim(int(time.time() * 1000) + 60_000)
        self.assertLess(self.redis.command("XLEN", "{ezez}:log"), 101)

    def test_an_entry_of_another_program_is_handed_out_as_nothing(self) -> None:
        reader = self.reader(self.plan())
        reader.open()
        self.redis.command("XADD", "{ezez}:log", "*", "n", "1")
        self.redis.command("XADD", "{ezez}:log", "*", "n", "m", "m", "2")
        self.assertEqual([b"", b"2"], [data for _, data in self.read(reader).entries])

    def test_a_prefix_is_a_log_of_its_own(self) -> None:
        reader = self.reader(self.plan(prefix="a"))
        reader.open()
        self.writer(self.plan(prefix="b")).append([b"x"])
        self.assertEqual(([], [], None), self.read(reader, wait=0.0))
        self.assertEqual({b"{a}:born", b"{a}:in:a", b"{b}:born", b"{b}:log"}, set(self.redis.command("KEYS", "*")))

    def test_neither_can_be_copied_or_pickled(self) -> None:
        plan = self.plan()
        for one in (self.reader(plan), self.writer(plan)):
            for refuse in (copy.copy, copy.deepcopy, pickle.dumps):
                self.assertRaises(TypeError, refuse, one)


class InboxTest(RedisLogTestCase):
    def test_a_message_comes_to_its_node_alone(self) -> None:
        plan = self.plan()
        a, b, writer = self.reader(plan, "a"), self.reader(plan, "b"), self.writer(plan)
        a.open(), b.open()
        self.assertTrue(writer.send_to("a", b"1"))
        self.assertTrue(writer.send_to("a", b"2"))
        self.assertEqual([b"1", b"2"], self.read(a).inbox)
        self.assertEqual([], self.read(a, wait=0.0).inbox)
        self.assertEqual([], self.read(b, wait=0.0).inbox)
        self.assertEqual(0, self.redis.command("XLEN", "{ezez}:in:a"), "what was read is gone")

    def test_without_an_inbox_nothing_is_made(self) -> None:
        writer = self.writer(self.plan())
        self.assertFalse(writer.send_to("a", b"1"))
        self.assertEqual(0, self.redis.command("EXISTS", "{ezez}:in:a"))

    def test_it_holds_the_newest_thousand(self) -> None:
        plan = self.plan()
        reader, writer = self.reader(plan), self.writer(plan)
        reader.open()
        for number in range(1100):
            writer.send_to("a", b"%d" % number)
        self.assertEqual(1000, self.redis.command("XLEN", "{ezez}:in:a"))
        self.assertEqual(b"100", self.read(reader).inbox[0])

    def test_it_expires_is_renewed_and_is_made_again(self) -> None:
        plan = self.plan(node_timeout=0.2, heartbeat=0.1)
        reader, writer = self.reader(plan), self.writer(plan)
        reader.open()
        self.assertEqual(1, self.redis.command("TTL", "{ezez}:in:a"))
        for _ in range(8):  # longer than it would live
            self.read(reader, wait=0.25)
        self.assertTrue(writer.send_to("a", b"1"))
        self.assertEqual([b"1"], self.read(reader).inbox)
        self.redis.command("DEL", "{ezez}:in:a")
        self.assertFalse(writer.send_to("a", b"2"))
        for _ in range(2):
            self.read(reader, wait=0.25)
        self.assertTrue(writer.send_to("a", b"3"))
        self.assertEqual([b"3"], self.read(reader).inbox)

    def test_what_it_holds_outlives_a_connection(self) -> None:
        plan = self.plan()
        reader, writer = self.reader(plan), self.writer(plan)
        reader.open()
        writer.send_to("a", b"1")
        reader.open()
        self.assertEqual([b"1"], self.read(reader).inbox)

    def test_it_is_gone_when_its_reader_is_closed(self) -> None:
        plan = self.plan()
        reader, writer = self.reader(plan), self.writer(plan)
        reader.open()
        reader.close()
        reader.close()
        self.assertFalse(writer.send_to("a", b"1"))


class EpochTest(RedisLogTestCase):
    def test_an_emptied_redis_is_another_log(self) -> None:
        plan = self.plan()
        reader, writer = self.reader(plan), self.writer(plan)
        before = reader.open()
        writer.append([b"1"])
        self.redis.command("FLUSHALL")
        writer.append([b"2"])
        after = reader.read((0, 0), 1.0)
        assert isinstance(after, Opened)
        self.assertNotEqual((before.epoch, before.secret), (after.epoch, after.secret))
        self.assertEqual([b"2"], Codec().decode(self.read(reader).entries[0][1]))
        self.assertTrue(writer.send_to("a", b"1"), "it has an inbox again")

    def test_all_readers_find_the_same_log(self) -> None:
        plan = self.plan()
        readers = [self.reader(plan, str(number)) for number in range(3)]
        self.assertEqual(1, len({reader.open()[:2] for reader in readers}))
        self.redis.command("DEL", "{ezez}:born")
        self.assertEqual(1, len({reader.read((0, 0), 0.0)[:2] for reader in readers}))

    def test_an_inbox_is_not_lost_with_the_secret(self) -> None:
        plan = self.plan()
        reader, writer = self.reader(plan), self.writer(plan)
        reader.open()
        writer.send_to("a", b"1")
        self.redis.command("DEL", "{ezez}:born")
        self.assertIsInstance(reader.read((0, 0), 1.0), Opened)
        self.assertEqual([b"1"], self.read(reader).inbox)

    def test_a_restart_is_another_log_unless_it_is_durable(self) -> None:
        redis = self.start_redis(appendonly="always")
        for durable in (False, True):
            plan = self.plan(redis, durable=durable)
            reader, writer = self.reader(plan), self.writer(plan)
            before = reader.open()
            writer.append([b"1"])
            redis.restart()
            self.down(lambda reader=reader: reader.read((0, 0), 1.0), False, "does not answer")  # type: ignore[misc]
            after = reader.open()
            self.assertEqual(before.secret, after.secret)
            self.assertEqual(durable, before.epoch == after.epoch)
            self.down(lambda writer=writer: writer.append([b"2"]), False)  # type: ignore[misc]
            self.assertEqual(after.epoch, writer.open())
            self.assertEqual(after.last, self.read(reader).entries[-1][0], "nothing is lost")


class WrongTest(RedisLogTestCase):
    def check_both(self, plan: RedisBackplane, severe: bool, *texts: str) -> None:
        for act in (self.reader(plan).open, lambda: self.writer(plan).append([b"1"])):
            self.down(act, severe, *texts)

    def test_nobody_listens(self) -> None:
        self.check_both(
            RedisBackplane("redis://127.0.0.1:1"), False, "redis://127.0.0.1:1/0 cannot be reached", "refused"
        )

    def test_a_wrong_password(self) -> None:
        redis = self.start_redis(password="richtig")
        for secret in ("", ":falsch@", "me:falsch@"):
            plan = RedisBackplane(f"redis://{secret}127.0.0.1:{redis.port}")
            self.check_both(plan, True, f"127.0.0.1:{redis.port}/0 wants another user or password")
        self.reader(self.plan(redis)).open()

    def test_a_user_who_may_not(self) -> None:
        self.redis.command("ACL", "SETUSER", "few", "on", ">p", "~*", "+info", "+get", "+set", "+exists")
        self.addCleanup(self.redis.command, "ACL", "DELUSER", "few")
        plan = RedisBackplane(f"redis://few:p@127.0.0.1:{self.redis.port}", prefix="shop")
        self.check_both(plan, True, "does not permit ", "~{shop}:* +xadd +xread")

    def test_the_acl_that_the_docs_name_is_enough(self) -> None:
        self.redis.command("ACL", "SETUSER", "own", "on", ">p", "~{shop}:*", *ACL.split())
        self.addCleanup(self.redis.command, "ACL", "DELUSER", "own")
        plan = RedisBackplane(f"redis://own:p@127.0.0.1:{self.redis.port}", prefix="shop")
        reader, writer = self.reader(plan), self.writer(plan)
        reader.open()
        writer.append([b"1"])
        writer.trim(1)
        writer.send_to("a", b"1")
        read = self.read(reader)
        self.assertEqual((1, 1), (len(read.entries), len(read.inbox)))
        reader.open()
        self.read(reader, wait=0.0)

    def test_a_key_of_another_type(self) -> None:
        for key, act in (
            ("log", lambda: self.reader(self.plan()).open()),
            ("log", lambda: self.writer(self.plan()).append([b"1"])),
            ("born", lambda: self.reader(self.plan()).open()),
            ("in:a", lambda: self.writer(self.plan()).send_to("a", b"1")),
        ):
            self.redis.command("FLUSHALL")
            self.redis.command("LPUSH", f"{{ezez}}:{key}", "1")
            self.down(act, True, f"something else under the key '{{ezez}}:{key}'")

    def test_a_key_that_becomes_one_of_another_type(self) -> None:
        reader = self.reader(self.plan())
        reader.open()
        self.redis.command("LPUSH", "{ezez}:log", "1")
        self.down(lambda: reader.read((0, 0), 0.5), True, "'{ezez}:log'")

    def test_a_replica(self) -> None:
        replica = self.start_redis("--replicaof", "127.0.0.1", str(self.redis.port))
        self.check_both(self.plan(replica), True, "is a replica")

    def test_one_that_becomes_a_replica(self) -> None:
        redis = self.start_redis()
        writer = self.writer(self.plan(redis))
        writer.append([b"1"])
        redis.command("REPLICAOF", "127.0.0.1", str(self.redis.port))
        self.down(lambda: writer.append([b"2"]), True, "is a replica")

    def test_no_memory(self) -> None:
        redis = self.start_redis("--maxmemory", "2mb")
        plan = self.plan(redis)
        reader, writer = self.reader(plan), self.writer(plan)
        with self.assertNoLogs("ezez_ws"):
            reader.open()

        def fill() -> None:
            while True:
                writer.append([bytes(100_000)])

        self.down(fill, True, "no memory left", "maxmemory")
        writer.trim(int(time.time() * 1000) + 60_000)
        redis.command("CONFIG", "SET", "maxmemory", "0")
        writer.append([b"1"])

    def test_a_redis_that_evicts_is_warned_of_once(self) -> None:
        redis = self.start_redis("--maxmemory", "20mb", "--maxmemory-policy", "allkeys-lru")
        reader = self.reader(self.plan(redis))
        with self.assertLogs("ezez_ws.cluster", "WARNING") as logs:
            reader.open()
            reader.open()
        self.assertEqual(1, len(logs.records))
        self.assertIn("maxmemory-policy allkeys-lru", logs.output[0])

    def test_an_old_version(self) -> None:
        reader = self.reader(self.plan())
        info = b"redis_version:6.0.16\r\nrun_id:1\r\nrole:master\r\n"
        with mock.patch.object(reader._line, "ask", lambda *commands: [info]):
            self.down(reader.open, True, "is Redis 6.0.16: 6.2 or later is needed")

    def test_a_broker_that_says_nothing(self) -> None:
        redis = self.start_redis()
        plan = self.plan(redis, io_timeout=0.3)
        writer = self.writer(plan)
        writer.open()
        redis.freeze()
        self.down(lambda: writer.append([b"1"]), False, "does not answer XADD: Timeout")
        redis.thaw()
        writer.append([b"2"])

    def test_an_answer_that_is_cut_off(self) -> None:
        def cut(pipe: Pipe) -> None:
            if pipe.source.getpeername()[1] == self.redis.port:
                pipe.piece = 5
                if pipe.passed > 3000:  # not before it is connected
                    pipe.cut()

        proxy = Proxy(self.redis.port, cut)
        self.addCleanup(proxy.close)
        writer = self.writer(RedisBackplane(f"redis://127.0.0.1:{proxy.port}"))

        def fill() -> None:
            while True:
                writer.append([b"1"])

        self.down(fill, False, "does not answer")


class ConnectingTest(RedisLogTestCase):
    def check_works(self, plan: RedisBackplane) -> None:
        reader, writer = self.reader(plan), self.writer(plan)
        reader.open()
        writer.append([b"1"])
        writer.send_to("a", b"2")
        read = self.read(reader)
        self.assertEqual([[b"1"]], [Codec().decode(data) for _, data in read.entries])
        self.assertEqual([b"2"], read.inbox)

    def test_a_unix_socket(self) -> None:
        self.check_works(RedisBackplane(self.redis.socket_url))
        redis = self.start_redis(password="p")
        self.check_works(RedisBackplane(redis.socket_url))

    def test_tls_and_a_password(self) -> None:
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1")
        with (
            certificate.private_key_pem.tempfile() as key,
            certificate.cert_chain_pems[0].tempfile() as chain,
            authority.cert_pem.tempfile() as root,
        ):
            redis = self.start_redis(tls=(chain, key), password="p")
            self.check_works(RedisBackplane(f"{redis.url}?ssl_ca_certs={root}"))
            stranger = self.reader(RedisBackplane(redis.url))
            self.down(stranger.open, True, "do not agree on TLS", "CERTIFICATE_VERIFY_FAILED")
            plain = self.reader(RedisBackplane(redis.url.replace("rediss", "redis")))
            self.down(plain.open, False, "cannot be reached")

    def test_a_client_that_connect_returns(self) -> None:
        for options in ({}, {"decode_responses": True}, {"protocol": 3}, {"socket_timeout": 0.001}):
            self.redis.command("FLUSHALL")
            self.check_works(RedisBackplane(connect=functools.partial(make_redis_client, self.redis.url, **options)))

    def test_what_connect_raises_or_returns_wrongly_is_told(self) -> None:
        def fail() -> None:
            raise RuntimeError("no sentinel")

        self.down(self.reader(RedisBackplane(connect=fail)).open, True, "connect()", "no sentinel")
        self.down(self.reader(RedisBackplane(connect=lambda: None)).open, True, "must return a redis.Redis")

    def test_who_waits_can_be_cut_off(self) -> None:
        redis = self.start_redis()
        plan = self.plan(redis)
        reader, writer = self.reader(plan), self.writer(plan)
        reader.open(), writer.open()
        redis.freeze()
        for one, wait in ((reader, lambda: reader.read((0, 0), 1.0)), (writer, lambda: writer.append([b"1"]))):
            started = time.monotonic()
            threading.Timer(0.1, one.cut).start()
            self.down(wait, False, "closed")
            self.assertLess(time.monotonic() - started, 1.5)
            self.down(wait, False)
        self.down(writer.open, False, "closed")

    @unittest.skipUnless(hasattr(os, "fork"), "needs fork")
    def test_a_forked_child_has_no_copy_of_a_connection(self) -> None:
        writer = self.writer(self.plan())
        writer.open()
        number = writer._line._connection._sock.fileno()
        child = os.fork()
        if not child:
            with contextlib.suppress(OSError):
                os.fstat(number)
                os._exit(1)
            os._exit(0)
        self.assertEqual(0, os.waitpid(child, 0)[1])
        writer.append([b"1"])


if __name__ == "__main__":
    unittest.main()
