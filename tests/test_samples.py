"""Each sample, run as a user would run it."""

import contextlib
import importlib.util
import os
import queue
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import unittest
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from unittest import mock

from ezez_ws import AuthRejected, EZEZWebSocketClient
from tests.redis_server import RedisTestCase
from tests.support import REPO, EZEZTestCase, allow_seconds, eventually, free_port, needs_pydantic, required, run_sample
from tests.wsgi.webserver import WebServer

MAY_RUN_BESIDE = True
SAME_ON_EVERY_PYTHON = True


class Running:
    """A sample that goes on running, to talk to by its pipes. To be used in ``with``, which kills what is left."""

    def __init__(self, path: str, *args: str) -> None:
        # the block buffering of a pipe stays as a user has it: a sample has to flush by itself
        self.process = subprocess.Popen(
            [sys.executable, str(REPO / path), *args],
            cwd=REPO,
            env={**os.environ, "PYTHONPATH": str(REPO), "PYTHONIOENCODING": "utf-8"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        self.seen: list[str] = []
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def type(self, *lines: str) -> None:
        assert self.process.stdin is not None
        for line in lines:
            print(line, file=self.process.stdin, flush=True)

    def end_input(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def read_until(self, pattern: str, timeout: float = 15.0) -> "re.Match[str]":
        """Read on until a line matches."""
        try:
            while True:
                line = self._lines.get(timeout=timeout)
                if line is None:
                    raise AssertionError(f"it ended without {pattern!r}: {self.seen}")
                self.seen.append(line)
                match = re.search(pattern, line)
                if match:
                    return match
        except queue.Empty:
            raise AssertionError(f"no {pattern!r} in {self.seen}") from None

    def wait(self) -> int:
        """Return the exit code; what was not read yet goes to ``seen``."""
        code = self.process.wait(15)
        self._reader.join()
        with contextlib.suppress(queue.Empty):
            while True:
                self.seen.append(self._lines.get_nowait() or "")
        return code


class QuickstartTest(EZEZTestCase):
    def test_it_prints_the_two_answers(self) -> None:
        done = run_sample("samples/quickstart.py")
        self.assertEqual((0, "5\nserved\n", ""), (done.returncode, done.stdout, done.stderr))


class DemoTest(EZEZTestCase):
    def test_the_tour_makes_all_its_steps(self) -> None:
        done = run_sample("samples/demo.py")
        self.assertEqual((0, ""), (done.returncode, done.stderr), done.stdout)
        steps = re.findall(r"^(\d+)\. ", done.stdout, re.MULTILINE)
        self.assertEqual([str(number) for number in range(1, 11)], steps)
        for told in ("AuthRejected", "-> 5", "-> 'tea, two lumps'", "-> sent to 2", "closing time"):
            self.assertIn(told, done.stdout)
        self.assertIn("every step happened", done.stdout)

    def test_it_fails_where_a_step_does_not_happen(self) -> None:
        done = run_sample("samples/demo.py", "--key", "wrong")
        self.assertEqual(1, done.returncode, done.stdout)
        self.assertIn("This step did not happen: anna has ended", done.stdout)
        self.assertNotIn("every step happened", done.stdout)

    @unittest.skipIf(os.name == "nt", "POSIX signals")
    def test_no_process_is_left_when_it_is_killed_on_its_way(self) -> None:
        with Running("samples/demo.py") as demo:
            url = demo.read_until(r"listening on (\S+)")[1]
            demo.process.kill()
            demo.wait()  # for the end of the output, too, which each of its processes holds open
        client = EZEZWebSocketClient(url, auth="open sesame", auto_reconnect=False)
        self.addCleanup(client.close)
        with self.assertRaises(Exception):  # noqa: B017 - refused, or reset: nobody is there
            client.connect(timeout=2)

    @unittest.skipIf(os.name == "nt", "POSIX signals")
    def test_ctrl_c_ends_it_quietly(self) -> None:
        with Running("samples/demo.py") as demo:
            demo.read_until("listening on")
            demo.process.send_signal(signal.SIGINT)
            self.assertEqual(130, demo.wait())
            self.assertNotIn("Traceback", "".join(demo.seen))


class FlaskTest(EZEZTestCase):
    def test_pages_and_a_websocket_share_the_port(self) -> None:
        with (
            mock.patch.dict(os.environ, WS_KEY="secret"),
            Running("samples/flask_app.py", "--port", "0") as flask,
        ):
            address = flask.read_until(r"http://(127\.0\.0\.1:\d+)")[1]
            with EZEZWebSocketClient(f"ws://{address}/ws", auth="secret") as client:
                self.assertEqual(5, client.call("sum", [2, 3], timeout=5))
                heard: queue.SimpleQueue[object] = queue.SimpleQueue()
                client.on("news", lambda args, reply, ids: heard.put(args))
                for data, answer in ((None, b"1 connected\n"), (b"hello", b"sent to 1\n")):
                    path = "/news" if data else "/"
                    with urllib.request.urlopen(f"http://{address}{path}", data, timeout=10) as page:
                        self.assertEqual(answer, page.read())
                self.assertEqual(["hello"], heard.get(timeout=10))
                flask.process.send_signal(signal.SIGINT)
                self.assertEqual(0, flask.wait())
            self.assertNotIn("Traceback", "".join(flask.seen))


class FlaskChatTest(EZEZTestCase):
    """What its windows do is for tests/browser/test_flask_chat.py to see."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name, "flask_chat")
        shutil.copytree(REPO / "samples/flask_chat", self.folder, ignore=shutil.ignore_patterns("instance"))

    def run_python(self, code: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        clean = {name: value for name, value in os.environ.items() if name != "FLASK_SECRET_KEY"}
        path = os.pathsep.join((str(self.folder), str(REPO)))
        return subprocess.run(
            [sys.executable, "-c", code],
            env={**clean, "PYTHONPATH": path, **environment},
            capture_output=True,
            encoding="utf-8",
            timeout=50,
        )

    def test_its_key_is_made_once_and_can_be_read_by_nobody_else(self) -> None:
        show = "import app; print(app.app.secret_key)"
        first, second = self.run_python(show), self.run_python(show)
        self.assertRegex(first.stdout, r"^[0-9a-f]{64}$", first.stderr)
        self.assertEqual(first.stdout, second.stdout)
        if os.name != "nt":
            self.assertEqual(0o600, (self.folder / "instance/secret_key").stat().st_mode & 0o777)
        self.assertEqual(
            "mine\n", self.run_python("import app; print(app.app.secret_key)", FLASK_SECRET_KEY="mine").stdout
        )

    def test_it_does_not_start_with_an_empty_key(self) -> None:
        (self.folder / "instance").mkdir()
        (self.folder / "instance/secret_key").touch()
        self.assertIn("secret_key holds no key: delete it", self.run_python("import app").stderr)

    def test_a_name_is_let_in_with_the_token_of_its_owner_alone(self) -> None:
        code = """
import app
from itsdangerous import URLSafeSerializer
pages, forger = app.app.test_client(), URLSafeSerializer("guessed", salt="name")
ticket = pages.post("/name", data={"name": " An\u200bna"}).status_code, pages.post("/name", data={"name": "Anna"}).json
class Client:
    context = {}
stale = app.signed.dumps(["Anna", "an owner before the restart"])
for token in (ticket[1]["token"], forger.dumps(["Anna", "x"]), stale, "Anna", "", "é"):
    print(app.admit(Client(), token))
print(ticket[0], pages.post("/name", data={"name": "ANNA"}).status_code, pages.post("/name").status_code)
"""
        done = self.run_python(code)
        self.assertEqual("True\n" + 5 * "False\n" + "400 409 400\n", done.stdout, done.stderr)

    def test_what_cannot_be_a_room_is_refused_before_it_is_listed(self) -> None:
        code = """
import app
for room in ("*", chr(0xD800), "", 25 * "x", 5):
    try:
        app.room_in([room])
    except ValueError as error:
        print(error)
print(app.used)
"""
        done = self.run_python(code)
        self.assertRegex(done.stdout, "use everyone\n.*surrogate.*\n(.* letters.\n){3}{}\n$", done.stderr)


class ChatTest(EZEZTestCase):
    def setUp(self) -> None:
        self.server = self.keep(Running("samples/chat/server.py", "--port", "0"))
        self.url = self.server.read_until(r"chat on (ws://\S+),")[1]

    def keep(self, running: Running) -> Running:
        self.addCleanup(running.__exit__)
        return running

    def guest(self, *args: str) -> Running:
        guest = self.keep(Running("samples/chat/client.py", "--url", self.url, *args))
        guest.read_until("connected")
        return guest

    def test_two_guests_talk_in_rooms(self) -> None:
        anna = self.guest("--nick", "anna", "tea")
        anna.read_until("you are in tea")
        bert = self.guest()
        bert.type("/nick anna")
        bert.read_until("anna is somebody else")
        bert.type("/nick bert", "/join tea")
        bert.read_until("you are in tea")
        anna.read_until(r"\[tea\] \* bert is here")

        anna.type("hello bert")
        bert.read_until(r"\[tea\] anna: hello bert")
        bert.type("/who", "hello anna")
        bert.read_until(r"^anna, bert$")
        anna.read_until(r"\[tea\] bert: hello anna")

        bert.type("/join *")
        bert.read_until("is no room")
        bert.type("/nick bertie", "/who", "/nick bert")
        bert.read_until(r"^anna, bertie$")
        anna.read_until(r"\[tea\] \* bertie is now bert$")

        bert.type("/join coffee", "only for coffee drinkers", "/leave", "tea again")
        anna.read_until(r"\[tea\] bert: tea again")
        self.assertNotIn("coffee", "".join(anna.seen))

        bert.type("/quit")
        self.assertEqual(0, bert.wait())
        anna.read_until(r"\[tea\] \* bert has gone")
        anna.end_input()
        self.assertEqual(0, anna.wait())
        self.assertNotIn("Traceback", "".join(anna.seen + bert.seen))

    def test_nothing_that_a_guest_says_reaches_a_terminal_as_a_command(self) -> None:
        anna, bert = self.guest("--nick", "anna", "tea"), self.guest("--nick", "bert", "tea")
        anna.read_until("you are in tea")
        bert.read_until("you are in tea")
        bert.type("\x1b[2Jboo")
        anna.read_until(r"^\[tea\] bert: \ufffd\[2Jboo$")

    def test_a_script_can_be_piped_in(self) -> None:
        said = run_sample("samples/chat/client.py", "--url", self.url, input="hello\n/join tea\nhello\n/who\n")
        self.assertEqual((0, ""), (said.returncode, said.stderr))
        self.assertRegex(said.stdout, r"you are in tea\nguest-\d+\n")

    @unittest.skipIf(os.name == "nt", "POSIX signals")
    def test_ctrl_c_ends_both_ends_quietly(self) -> None:
        guest = self.guest("tea")
        guest.read_until("you are in tea")
        for running in (guest, self.server):
            running.process.send_signal(signal.SIGINT)
            self.assertEqual(0, running.wait())
            self.assertNotIn("Traceback", "".join(running.seen))

    @unittest.skipIf(os.name == "nt", "POSIX signals")
    def test_guests_are_in_their_rooms_again_when_the_server_is_back(self) -> None:
        anna = self.guest("--nick", "anna", "tea")
        anna.read_until("you are in tea")
        self.server.process.send_signal(signal.SIGINT)
        self.server.wait()
        anna.read_until("disconnected")
        port = self.url.rsplit(":", 1)[1]
        self.server = self.keep(Running("samples/chat/server.py", "--port", port))
        anna.read_until("you are anna")
        anna.read_until("you are in tea")

    def test_without_a_server_it_says_so(self) -> None:
        done = run_sample("samples/chat/client.py", "--url", f"ws://127.0.0.1:{free_port()}")
        self.assertEqual(1, done.returncode)
        self.assertNotIn("Traceback", done.stderr)


class ScaledTest(RedisTestCase):
    """Three workers of gunicorn, a Redis and an emitter, by the command lines of the sample."""

    def setUp(self) -> None:
        super().setUp()
        required(None, "" if importlib.util.find_spec("gunicorn") else "no gunicorn", "EZEZ_REQUIRE_REDIS")
        from tests.wsgi.test_web_servers import QUIET  # which imports gunicorn

        arguments = shlex.join(["--bind", "127.0.0.1:0", *QUIET])
        environment = mock.patch.dict(os.environ, REDIS_URL=self.redis.url, GUNICORN_CMD_ARGS=arguments)
        environment.start()
        self.addCleanup(environment.stop)
        text = (REPO / "samples/scaled/app.py").read_text(encoding="utf-8")
        (command,) = re.findall(r"^ +(gunicorn .+)$", text, re.MULTILINE)
        self.web = WebServer(*shlex.split(command))
        self.addCleanup(self.web.close)
        self.heard: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()

    def guest(self, name: str) -> EZEZWebSocketClient:
        client = EZEZWebSocketClient(f"ws://{self.web.address}/ws", auth=name, auto_reconnect=False)
        self.addCleanup(client.close)
        client.on("said", lambda args, reply, ids: self.heard.put((name, *args)))
        client.connect(timeout=20)
        return client

    def who_is_where(self) -> dict[str, str]:
        """The process of each guest, as whichever worker is asked has it."""
        with urllib.request.urlopen(f"http://{self.web.address}/", timeout=20) as page:
            return dict(re.findall(r"(\w+) \(process (\d+)\)", page.read().decode()))

    def test_guests_of_all_workers_hear_each_other_and_the_emitter(self) -> None:
        guests: dict[str, EZEZWebSocketClient] = {}
        where: dict[str, str] = {}
        while len(set(where.values())) < 3:  # the kernel deals the connections out
            self.assertLess(len(guests), 60, where)
            for _ in range(6):
                name = f"guest{len(guests)}"
                guests[name] = self.guest(name)
            eventually(lambda: len(self.who_is_where()) == len(guests), 20)
            where = self.who_is_where()
        self.assertIsNone(guests["guest0"].call("say", ["hello"], timeout=10))
        self.expect({(name, "guest0", "hello") for name in guests if name != "guest0"})

        for command, said in (
            (["samples/scaled/emit.py", "closing time"], ("emit.py", "closing time")),
            (
                ["-m", "ezez_ws", "emit", self.redis.url, "--prefix", "scaled", "--to", "lobby", "said", "x", "5"],
                ("x", 5),
            ),
        ):
            done = subprocess.run(
                [sys.executable, *command],
                cwd=REPO,
                env={**os.environ, "PYTHONPATH": str(REPO)},
                capture_output=True,
                encoding="utf-8",
                timeout=30,
            )
            self.assertEqual((0, "", ""), (done.returncode, done.stdout, done.stderr))
            self.expect({(name, *said) for name in guests})

        with urllib.request.urlopen(f"http://{self.web.address}/health", timeout=20) as page:
            self.assertEqual("3 nodes, well\n", page.read().decode())
        for client in guests.values():
            client.close()
        eventually(lambda: not self.who_is_where(), 20)

    def expect(self, heard: set[tuple[Any, ...]]) -> None:
        self.assertEqual(heard, {self.heard.get(timeout=20) for _ in heard})

    def test_a_worker_is_well_before_anybody_else_has_come_to_it(self) -> None:
        with urllib.request.urlopen(f"http://{self.web.address}/health", timeout=20) as page:
            self.assertRegex(page.read().decode(), r"\A[1-3] nodes, well\n\Z")

    def test_without_a_redis_the_emitter_says_so(self) -> None:
        with mock.patch.dict(os.environ, REDIS_URL=f"redis://:secret@127.0.0.1:{free_port()}"):
            done = run_sample("samples/scaled/emit.py", "x")
        self.assertEqual((1, ""), (done.returncode, done.stdout))
        self.assertRegex(done.stderr, r"\Anot said: .+\n\Z")
        self.assertNotIn("secret", done.stderr)


@needs_pydantic
class JobsTest(EZEZTestCase):
    """A server, workers that come and go, and a script, each a process."""

    def setUp(self) -> None:
        environment = mock.patch.dict(os.environ, JOBS_KEY="clé", JOBS_PORT="0")
        environment.start()
        self.addCleanup(environment.stop)
        self.server = self.run_program("server")
        self.address = self.server.read_until(r"http://(127\.0\.0\.1:\d+)")[1]
        os.environ["JOBS_URL"] = f"ws://{self.address}/ws"

    def run_program(self, name: str, *args: str) -> Running:
        running = Running(f"samples/jobs/{name}.py", *args)
        self.addCleanup(running.__exit__)
        return running

    def page(self, data: bytes | None = None) -> str:
        with urllib.request.urlopen(f"http://{self.address}/", data, timeout=20) as page:
            return str(page.read().decode())

    def jobs(self) -> list[tuple[str, ...]]:
        """What the page shows: limit, state and result of each."""
        return re.findall(r"<tr><td>\d+<td>(.*)<td>(.*)<td>(.*)", self.page())

    @unittest.skipIf(os.name == "nt", "POSIX signals")
    @allow_seconds(120)
    def test_each_job_is_done_once_though_a_worker_is_killed_in_the_middle_of_one(self) -> None:
        script = self.run_program("submit", "1000", "400000", "2000", "3000")
        eventually(lambda: len(self.jobs()) == 4, 20)
        self.assertEqual({"waiting"}, {state for _, state, _ in self.jobs()})
        worker = self.run_program("worker")
        worker.read_until("below 400000", 30)
        worker.process.kill()
        worker.wait()
        eventually(lambda: self.jobs()[1][1] == "waiting", 20)
        script.read_until("^168 primes below 1000$")
        second = self.run_program("worker")
        third = self.run_program("worker")
        self.assertEqual(0, script.process.wait(60))
        script.wait()
        counts = {"1000": "168", "400000": "33860", "2000": "303", "3000": "430"}
        printed = [f"{count} primes below {limit}" for limit, count in counts.items()]
        self.assertEqual(sorted(printed), sorted(filter(None, map(str.strip, script.seen))))
        self.assertEqual(list(counts.items()), [(limit, result) for limit, _, result in self.jobs()])
        for running in (second, third, self.server):
            running.process.send_signal(signal.SIGINT)
            self.assertEqual(0, running.wait())
            self.assertNotIn("Traceback", "".join(running.seen))

    def test_the_page_takes_jobs_too_and_says_what_it_does_not_take(self) -> None:
        self.assertIn("5000", self.page(b"limit=5000"))
        for wrong in (b"limit=1", b"limit=x", b""):
            with self.assertRaises(urllib.error.HTTPError) as caught:
                self.page(wrong)
            self.assertEqual(400, caught.exception.code)
            caught.exception.close()
        worker = self.run_program("worker")
        worker.read_until("below 5000")
        eventually(lambda: self.jobs()[0][2] == "669", 20)

    @unittest.skipIf(os.name == "nt", "POSIX signals")
    def test_ctrl_c_ends_a_script_that_waits_quietly(self) -> None:
        script = self.run_program("submit", "1000")
        eventually(self.jobs, 20)
        script.process.send_signal(signal.SIGINT)
        self.assertEqual(130, script.wait())
        self.assertNotIn("Traceback", "".join(script.seen))

    def test_a_job_that_does_not_fit_is_not_handed_in(self) -> None:
        done = run_sample("samples/jobs/submit.py", "1")
        self.assertEqual((1, ""), (done.returncode, done.stdout))
        self.assertEqual("not done: invalid-args: limit: Input should be greater than or equal to 2\n", done.stderr)
        self.assertEqual([], self.jobs())


class LegacyScriptTest(EZEZTestCase):
    def test_alone_it_starts_an_agent_asks_it_and_ends(self) -> None:
        done = run_sample("samples/legacy_script.py")
        self.assertEqual((0, ""), (done.returncode, done.stderr), done.stdout)
        self.assertRegex(done.stdout, r"disk /: \d+% free")
        self.assertRegex(done.stdout, r"load: attempt 1 of 3 failed: .*\nload: \d")
        self.assertRegex(done.stdout, "disk /nowhere: there is no such path\nweather tomorrow: .*'weather'")

    def test_it_asks_an_agent_that_was_started_separately(self) -> None:
        port = str(free_port())
        with (
            mock.patch.dict(os.environ, AGENT_KEY="clé"),
            Running("samples/legacy_script.py", "agent", f"ws://127.0.0.1:{port}") as agent,
        ):
            done = run_sample("samples/legacy_script.py", "--port", port, "--no-agent")
            self.assertEqual((0, ""), (done.returncode, done.stderr), done.stdout)
            self.assertEqual(0, agent.wait(), agent.seen)
        self.assertIn("agent on", done.stdout)

    def test_without_a_key_for_both_ends_it_says_how_to_make_one(self) -> None:
        for arguments in (["--no-agent"], ["agent", "ws://127.0.0.1:1"]):
            done = run_sample("samples/legacy_script.py", *arguments)
            self.assertEqual(1, done.returncode)
            self.assertRegex(done.stderr, "^set AGENT_KEY .*token_urlsafe")

    @unittest.skipIf(os.name == "nt", "POSIX signals")
    def test_ctrl_c_ends_script_and_agent_quietly(self) -> None:
        with Running("samples/legacy_script.py") as script:
            script.read_until("^agent on")
            script.process.send_signal(signal.SIGINT)
            self.assertEqual(130, script.wait())  # for the agent, too: it holds the output open
            self.assertNotIn("Traceback", "".join(script.seen))

    def test_a_stranger_is_no_agent(self) -> None:
        with mock.patch.dict(os.environ, AGENT_KEY="k"), Running("samples/legacy_script.py", "--no-agent") as script:
            url = script.read_until(r"on (ws://\S+)")[1]
            with self.assertRaises(AuthRejected), EZEZWebSocketClient(url, auth="stranger"):
                pass


class UnittestSampleTest(EZEZTestCase):
    def test_the_suite_passes(self) -> None:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "unittest", "samples/test_with_unittest.py"],
            cwd=REPO,
            capture_output=True,
            encoding="utf-8",
            timeout=30,
        )
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertRegex(done.stderr, r"Ran 6 tests")
