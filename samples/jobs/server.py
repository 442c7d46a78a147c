"""A job queue: a page that shows the jobs and takes new ones, and workers that connect and do them.

    pip install flask ".[typed]"
    export JOBS_KEY=secret
    python samples/jobs/server.py                      then open http://127.0.0.1:5000/
    python samples/jobs/worker.py                      as many as you like, on any machine that reaches the server
    python samples/jobs/submit.py 1000 200000 300000   hands in jobs, and waits for what comes of them

A job goes to a worker that is free. Where that dies, or is cut off, another gets it; so a job may be done twice, and
its result counts once. The queue is in memory: with the server it is gone.
"""

import hmac
import os
import threading
from collections import deque
from concurrent.futures import Future
from functools import partial

from contract import MOST, PATIENCE, Jobs, Worker
from flask import Flask, abort, redirect, render_template_string, request

from ezez_ws import CallError, EZEZError, EZEZWebsocketServer, RemoteError

SECRET = os.environ["JOBS_KEY"].encode()
PAGE = """<!doctype html>
<title>Jobs</title>
<meta http-equiv="refresh" content="5">
<form method="post">
  Count the primes below <input name="limit" type="number" min="2" max="{{ most }}" required> <button>Add</button>
</form>
<table>
  <tr><th>job<th>primes below<th>state<th>result
  {% for job in jobs %}<tr><td>{{ job.number }}<td>{{ job.limit }}<td>{{ job.state }}<td>{{ job.result }}
  {% endfor %}
</table>
"""


class Job:
    """Something to be done; ``answer`` is the future of its result."""

    def __init__(self, number, limit):
        self.number, self.limit = number, limit
        self.state, self.result = "waiting", ""
        self.answer = Future()


class Queue:
    """All jobs, those of them that wait, and the workers that are free. Any thread may call any method."""

    def __init__(self):
        self.jobs, self.waiting, self.free = [], deque(), deque()
        self.lock = threading.Lock()  # never held while something is sent

    def add(self, limit):
        with self.lock:
            job = Job(len(self.jobs) + 1, limit)
            self.jobs.append(job)
            self.waiting.append(job)
        self.hand_out()
        return job

    def add_worker(self, client):
        with self.lock:
            self.free.append(client)
        self.hand_out()

    def hand_out(self):
        """Give jobs that wait to workers that are free. One that has gone fails at once."""
        while True:
            with self.lock:
                if not (self.waiting and self.free):
                    return
                job, client = self.waiting.popleft(), self.free.popleft()
            job.state = f"with {client.context['name']}"
            future = client.submit(client.proxy(Worker).count_primes, job.limit)
            future.add_done_callback(partial(self.take, job, client))

    def take(self, job, client, future):
        """Take what has become of a job. This is a done callback: it must not block."""
        try:
            job.result = future.result()
        except RemoteError as error:
            job.state = f"failed: {error}"
            job.answer.set_exception(CallError(error.code, error.message, error.data))
            self.add_worker(client)
        except EZEZError:  # the worker is gone, or has been at it for too long
            client.disconnect()
            job.state = "waiting"
            with self.lock:
                self.waiting.appendleft(job)
            self.hand_out()
        else:
            job.state = f"done by {client.context['name']}"
            job.answer.set_result(job.result)
            self.add_worker(client)


class Desk(Jobs):
    """The server's side of one connection, be it a script's or a worker's."""

    def __init__(self, client):
        self.client = client

    def count_primes(self, limit):
        return queue.add(limit).answer  # a future: the call is answered when it is done, and others are taken meanwhile

    def enlist(self, name):
        self.client.context["name"] = name
        queue.add_worker(self.client)


def check_key(client, key):
    return hmac.compare_digest(key.encode(), SECRET)


queue = Queue()
app = Flask(__name__)
server = EZEZWebsocketServer(
    on_auth_request=check_key, default_context={"name": ""}, clear_awaiting_replies_after=PATIENCE
)
server.implement(Jobs, Desk)


@app.route("/ws", websocket=True)
def websocket():
    return server.wsgi_app


@app.get("/")
def page():
    return render_template_string(PAGE, jobs=queue.jobs, most=MOST)


@app.post("/")
def add():
    limit = request.form.get("limit", type=int)
    if limit is None or not 2 <= limit <= MOST:
        abort(400, f"a number from 2 to {MOST}, please")
    queue.add(limit)
    return redirect("/", 303)


if __name__ == "__main__":
    app.run(port=int(os.environ.get("JOBS_PORT", 5000)))
