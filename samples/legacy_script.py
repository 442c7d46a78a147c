"""A plain script, top to bottom, that asks a connected agent questions and waits for the answers.

    python samples/legacy_script.py                              starts an agent of its own, in another process
    python samples/legacy_script.py --port 8766 --no-agent       waits for one that you start:
    python samples/legacy_script.py agent ws://127.0.0.1:8766

The agent is the one that connects, so it may sit behind a firewall; the script is the server. Both need the same key in
the environment, AGENT_KEY; an agent that the script starts is given one that is made up for the occasion.
"""

import argparse
import hmac
import os
import queue
import secrets
import shutil
import socket
import subprocess
import sys
import time

from ezez_ws import CallError, ConnectionClosed, EZEZWebSocketClient, EZEZWebsocketServer, RemoteError, ReplyTimeout

KEY = os.environ.get("AGENT_KEY", "")
NO_KEY = """set AGENT_KEY on both ends: python -c "import secrets; print(secrets.token_urlsafe())" makes one"""


class NoAnswer(Exception):
    """The agent was asked, again and again, in vain."""


class Agent:
    """Whoever is connected as the agent at the moment; it may go and come back between two questions."""

    def __init__(self):
        self.arrivals = queue.Queue()  # the server's on_auth_ok puts in who has come
        self.client = None

    def ask(self, question, *args, attempts=3, timeout=1.0, arrival_timeout=10.0):
        """Return the answer. A question may reach the agent twice, so it must do no harm twice."""
        for attempt in range(1, attempts + 1):
            try:
                return self._connected(arrival_timeout).call(question, args, timeout)
            except (ReplyTimeout, ConnectionClosed, queue.Empty) as error:
                print(f"  {question}: attempt {attempt} of {attempts} failed: {error or 'no agent'}", flush=True)
        raise NoAnswer(question)

    def _connected(self, timeout):
        while self.client is None or not self.client.alive:
            self.client = self.arrivals.get(timeout=timeout)
        return self.client


def report(agent):
    """The script as such: question after question."""
    print(f"agent on {agent.ask('hostname')}")
    for path in ("/", "."):
        total, free = agent.ask("disk", path)
        print(f"disk {path}: {free / total:.0%} free")
    load = agent.ask("load", timeout=0.5)  # this agent is too slow the first time
    print(f"load: {load}")
    for path, question in (("/nowhere", "disk"), ("tomorrow", "weather")):
        try:
            agent.ask(question, path)
        except RemoteError as error:
            print(f"{question} {path}: {error.message}")


def run_agent(url):
    """The other end: answers questions, stays connected until it is told goodbye."""
    client = EZEZWebSocketClient(url, auth=KEY, unknown_events="error")
    client.handler("hostname", socket.gethostname)
    delays = [0.8]  # the first time the load takes a while to find out

    @client.handler("disk")
    def disk(path):
        try:
            usage = shutil.disk_usage(path)
        except FileNotFoundError:
            raise CallError("no-path", "there is no such path") from None
        return usage.total, usage.free

    @client.handler("load")
    def load():
        time.sleep(delays.pop() if delays else 0)
        return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0

    @client.on("goodbye")
    def goodbye(args, reply, ids):
        client.close()

    client.start()
    client.wait_closed()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="0, the default, picks a free one")
    parser.add_argument("--no-agent", action="store_true", help="wait for an agent, start none")
    args = parser.parse_args()
    if args.no_agent and not KEY:
        sys.exit(NO_KEY)
    secret = KEY or secrets.token_urlsafe()
    agent = Agent()
    server = EZEZWebsocketServer(
        port=args.port,
        on_auth_request=lambda client, key: hmac.compare_digest(key.encode(), secret.encode()),
        on_auth_ok=agent.arrivals.put,
    )
    process = None
    with server:
        print(f"waiting for an agent on {server.url}", flush=True)
        if not args.no_agent:
            command = [sys.executable, __file__, "agent", server.url]
            process = subprocess.Popen(command, env={**os.environ, "AGENT_KEY": secret})
        try:
            report(agent)
        except NoAnswer as error:
            sys.exit(f"no answer: {error}")
        finally:
            server.broadcast("goodbye")
            if process is not None:
                end(process)


def end(process):
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


if __name__ == "__main__":
    if sys.argv[1:2] == ["agent"] and len(sys.argv) == 3:
        if not KEY:
            sys.exit(NO_KEY)
        try:
            run_agent(sys.argv[2])
        except KeyboardInterrupt:
            pass
    else:
        try:
            main()
        except KeyboardInterrupt:
            sys.exit(130)
