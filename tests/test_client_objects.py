"""The client as an object: subclasses with names of their own, copies, forks."""

import copy
import os
import pickle
import re
import subprocess
import sys
import textwrap
import unittest
from typing import Any

from ezez_ws import ConnectionFailed, EZEZWebSocketClient
from ezez_ws.opening.head import Headers
from tests.dialing import DialingTestCase
from tests.support import REPO, EZEZTestCase

TAKEN = (
    "_queue",
    "_lock",
    "_condition",
    "_started",
    "_closed",
    "_runs",
    "_options",
    "_codec",
    "_thread",
    "_start",
    "_close",
)


class SubclassTest(DialingTestCase):
    def test_no_attribute_of_ours_has_a_name_that_a_subclass_would_choose(self) -> None:
        names = {*vars(EZEZWebSocketClient), *vars(EZEZWebSocketClient("ws://a"))}
        ours = {name for name in names if name.startswith("_")}
        # the last: names of mixins, which two underscores would give another prefix
        self.assertEqual(set(), {name for name in ours if not re.match("__|_EZEZ|_ezez_|_Handling__", name)})

    def test_a_subclass_may_have_such_names_and_override_what_is_public(self) -> None:
        class Mine(EZEZWebSocketClient):
            def __init__(self, url: str) -> None:
                super().__init__(url, auth="secret", reconnect_delay=0.02, reconnect_delay_max=0.02, close_timeout=0.3)
                for name in TAKEN:
                    setattr(self, name, "mine")
                self.sent: list[str] = []

            def send(self, event: str, args: Any = (), on_reply: Any = None) -> Any:
                self.sent.append(event)
                return super().send(event, args, on_reply)

            def close(self, code: int = 4000, reason: str = "mine") -> None:
                super().close(code, reason)

        server = self.listen()
        client = Mine(server.url)
        self.addCleanup(client.close)
        client.send("queued")
        client.start()
        self.accept(server).close()
        peer = self.accept(server)
        client.connect()
        client.send("x")
        self.assertIn(peer.read_event().name, ["queued", "x"])
        self.assertTrue(client.alive)
        with client:
            pass
        self.assertEqual(peer.read_end()[1:], (4000, "mine"))
        self.assertEqual(client.sent, ["queued", "x"])
        self.assertEqual({getattr(client, name) for name in TAKEN}, {"mine"})


class CopyTest(EZEZTestCase):
    def test_a_client_refuses_to_be_copied_and_says_so(self) -> None:
        client = EZEZWebSocketClient("ws://a")
        for copying in (copy.copy, copy.deepcopy, pickle.dumps):
            with self.assertRaisesRegex(TypeError, "EZEZWebSocketClient .*cannot be copied or pickled"):
                copying(client)

    def test_an_error_of_an_attempt_copies_and_pickles(self) -> None:
        error = ConnectionFailed("no", 503, Headers([("X-Why", "load")]), b"later")
        for again in (copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
            self.assertEqual(
                (str(again), again.status, again.headers["x-why"], again.body), ("no", 503, "load", b"later")
            )


_FORKING = """
    import os, sys, threading
    from ezez_ws import EZEZWebSocketClient
    heard = []
    client = EZEZWebSocketClient(sys.argv[1])
    client.on("echo", lambda args, reply, ids: heard.append(args) or done.set())
    client.send("echo", ["queued"])
    done = threading.Event()

    def use(name):
        client.once("other", print)
        client.connect()
        assert done.wait(10)
        answer = client.send("echo", [name]).wait_reply(10)
        print(name, heard[0], answer.args, flush=True)

    def refused(what):
        try:
            what()
        except RuntimeError as error:
            assert "fork" in str(error), error
            return True

    for name in ("child", "parent"):
        pid = os.fork() if name == "child" else 0
        if pid == 0:
            use(name)
        if pid == 0 and name == "child":
            client.close()
            os._exit(0)
        if pid:
            assert os.waitpid(pid, 0)[1] == 0
    pid = os.fork()
    if pid == 0:
        calls = [client.start, client.connect, client.reconnect, client.close, lambda: client.send("x")]
        calls += [lambda: client.on("x", print), lambda: client.send_json(1)]
        os._exit(0 if all(map(refused, calls)) else 1)
    assert os.waitpid(pid, 0)[1] == 0
    client.close()
    print("done")
"""


@unittest.skipUnless(hasattr(os, "fork"), "there is no fork here")
class ForkTest(DialingTestCase):
    def test_a_client_belongs_to_the_process_that_starts_it_and_may_be_made_before_a_fork(self) -> None:
        server = self.serve(
            on_auth_request=lambda client, key: True,
            on_message=lambda client, event, args, reply, ids: reply(event, args) and client.send(event, args),
        )
        assert server.url is not None
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", textwrap.dedent(_FORKING), server.url],
            cwd=REPO,
            capture_output=True,
            text=True,
            timeout=50,
        )
        wanted = "child ['queued'] ['child']\nparent ['queued'] ['parent']\ndone\n"
        self.assertEqual((done.stdout, done.returncode), (wanted, 0), done.stderr)
