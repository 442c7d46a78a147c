"""From the command line to a client."""

import argparse
import contextlib
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ..client import EZEZWebSocketClient
from ..errors import EZEZError
from ..opening.url import parse_url
from .outcome import UsageError

if TYPE_CHECKING:
    import ssl

__all__ = ["connected", "key_of", "make_client", "shown_url"]

_MAX_PAYLOAD = 64 << 20  # of one message; who asks at a shell wants to see it
_CLOSE_TIMEOUT = 2.0


def make_client(options: argparse.Namespace, **more: Any) -> EZEZWebSocketClient:
    """Make the client that the command line describes; ``more`` are its own options.

    Raises:
        UsageError: what stands there is no URL, no header, or no key.
    """
    try:
        return EZEZWebSocketClient(
            options.url,
            auth=key_of(options) or "",
            headers=options.headers,
            ssl=_blind_trust() if options.insecure and parse_url(options.url).secure else None,
            connect_timeout=options.connect_timeout,
            max_payload=_MAX_PAYLOAD,
            close_timeout=_CLOSE_TIMEOUT,
            **more,
        )
    except (ValueError, TypeError) as error:
        raise UsageError(str(error)) from error


@contextlib.contextmanager
def connected(
    options: argparse.Namespace,
    client: EZEZWebSocketClient,
    heard: Callable[[EZEZError], bool] = lambda error: False,
) -> Iterator[EZEZWebSocketClient]:
    """Connect for the time of a ``with``.

    Args:
        heard: is asked when this fails; true where the callbacks have heard of a connection, which has ended before
            ``connect`` returned. Then they have heard of its end, too, and may have events of it.
    """
    try:
        try:
            client.connect(timeout=options.connect_timeout)
        except EZEZError as error:
            if not heard(error):
                raise
        yield client
    finally:
        client.close()


def key_of(options: argparse.Namespace) -> str | None:
    """Return the key of ``--auth`` or ``--auth-env``, or ``None`` where there is neither."""
    if options.auth_env is None:
        return options.auth  # type: ignore[no-any-return]
    try:
        return os.environ[options.auth_env]
    except KeyError:
        raise UsageError(f"--auth-env: there is no environment variable {options.auth_env}") from None


def shown_url(options: argparse.Namespace) -> str:
    """Return the URL without its query, which may hold a secret."""
    return options.url.partition("?")[0]  # type: ignore[no-any-return]


def _blind_trust() -> "ssl.SSLContext":
    """Encryption without knowing to whom: for a server of one's own with a certificate of one's own."""
    import ssl  # it takes longer to import than all the rest

    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
