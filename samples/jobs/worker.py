"""A worker of the job queue, see server.py: does one job after the other, until Ctrl-C; it waits for the server."""

import os
import socket
from math import isqrt

from contract import Jobs, Worker

from ezez_ws import EZEZWebSocketClient

NAME = f"{socket.gethostname()}-{os.getpid()}"


class PrimeCounter(Worker):
    def count_primes(self, limit):
        print(f"counting the primes below {limit}", flush=True)
        return sum(all(number % divisor for divisor in range(2, isqrt(number) + 1)) for number in range(2, limit))


client = EZEZWebSocketClient(
    os.environ.get("JOBS_URL", "ws://127.0.0.1:5000/ws"),
    auth=os.environ["JOBS_KEY"],
    on_auth_ok=lambda: client.proxy(Jobs).enlist(NAME),  # each time: a new connection is nobody yet
)
client.implement(Worker, PrimeCounter())
client.run_forever()
