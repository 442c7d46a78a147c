"""Say something in the room, from a process that has no server: a cron job, a worker of Celery, or a shell.

python samples/scaled/emit.py TEXT
"""

import argparse
import os
import sys

from ezez_ws import Emitter, PublishFailed, RedisBackplane


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", metavar="TEXT")
    text = parser.parse_args().text
    backplane = RedisBackplane(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"), prefix="scaled")
    try:
        with Emitter(backplane) as emitter:
            emitter.to("lobby").send("said", ["emit.py", text])
    except PublishFailed as error:
        sys.exit(f"not said: {error}")


if __name__ == "__main__":
    main()
