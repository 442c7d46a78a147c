"""``ezez-ws emit``: send an event to rooms by way of the Redis that servers share, and end when it has it."""

import argparse
import os
from urllib.parse import quote, urlsplit, urlunsplit

from ..cluster.emitter import Emitter
from ..cluster.redis_log import RedisBackplane
from .arguments import add_message, add_seconds, add_verbose
from .outcome import UsageError

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("url", metavar="URL", help="of the Redis: redis://HOST:PORT/DATABASE, rediss:// or unix://")
    add_message(parser)
    parser.add_argument(
        "--to",
        action="append",
        default=[],
        metavar="ROOM",
        help="who is to get it: those in this room; may be given again",
    )
    parser.add_argument("--everyone", action="store_true", help="all clients of all nodes are to get it")
    parser.add_argument("--prefix", default="ezez", help="the servers' prefix in the Redis (default: %(default)s)")
    parser.add_argument(
        "--password-env",
        metavar="NAME",
        help="the environment variable that holds the password; other users of the machine can see one in the URL",
    )
    add_seconds(parser, "--timeout", 5.0, "to wait until the Redis has it")
    add_verbose(parser)


def run(options: argparse.Namespace) -> None:
    if bool(options.to) == options.everyone:
        raise UsageError("emit needs --to ROOM, which may be given again, or --everyone, and not both")
    try:
        backplane = RedisBackplane(_url(options), prefix=options.prefix)
        with Emitter(backplane, timeout=options.timeout) as emitter:
            audience = emitter.everyone if options.everyone else emitter.to(*options.to)
            audience.send(options.event, options.args)
    except (ValueError, TypeError, ImportError) as error:
        raise UsageError(str(error)) from error


def _url(options: argparse.Namespace) -> str:
    """Return the URL, with the password that is kept elsewhere; ``ValueError``, which shows none: it is no URL."""
    url: str = options.url
    RedisBackplane(url)
    if options.password_env is None:
        return url
    try:
        password = quote(os.environ[options.password_env], safe="")
    except KeyError:
        raise UsageError(f"--password-env: there is no environment variable {options.password_env}") from None
    scheme, host, *rest = urlsplit(url)
    user, _, host = host.rpartition("@")
    return urlunsplit((scheme, f"{user.partition(':')[0]}:{password}@{host}", *rest))
