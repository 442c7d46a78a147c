"""Hand in jobs, and print what comes of them, in the order in which they are done: submit.py LIMIT ..."""

import os
import sys
from concurrent.futures import as_completed

from contract import PATIENCE, Jobs

from ezez_ws import EZEZError, EZEZWebSocketClient

client = EZEZWebSocketClient(
    os.environ.get("JOBS_URL", "ws://127.0.0.1:5000/ws"),
    auth=os.environ["JOBS_KEY"],
    clear_awaiting_replies_after=PATIENCE,
)
try:
    with client:
        jobs = client.proxy(Jobs)
        futures = {client.submit(jobs.count_primes, int(limit)): limit for limit in sys.argv[1:]}
        for future in as_completed(futures):
            print(f"{future.result()} primes below {futures[future]}", flush=True)
except EZEZError as error:
    sys.exit(f"not done: {error}")
except KeyboardInterrupt:
    sys.exit(130)
