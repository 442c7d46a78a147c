"""What an answer means: a reply becomes a value or an exception."""

import threading
from typing import Any, NamedTuple

from ..connection.replies import Reply, ReplyFunction
from ..errors import InvalidArgs, RemoteError
from ..messages.protocol import EVENT_ERROR, Ids
from ..options import check_seconds

__all__ = ["Received", "Result", "check_timeout", "value_of"]


class Received(NamedTuple):
    """An event that was waited for: its name, its arguments, ``reply`` to answer it, and its ids."""

    event: str
    args: list[Any]
    reply: ReplyFunction
    ids: Ids


class Result(NamedTuple):
    """What has become of one call of ``call_all``: its ``value``, or ``None`` and the ``error``."""

    value: Any
    error: BaseException | None


def check_timeout(timeout: Any) -> float | None:
    """Check a time-out before anything is done, and return it as one that threads can wait for."""
    check_seconds("timeout", timeout, optional=True, zero=True)
    return None if timeout is None else min(timeout, threading.TIMEOUT_MAX)


def value_of(reply: Reply) -> Any:
    """Return the value of an answer, or raise the ``RemoteError`` that it is.

    A reply that is no answer to a call, as other programs of the protocol send, gives its arguments: none is ``None``,
    one is itself, more are a list.
    """
    args = reply.args
    if reply.event == EVENT_ERROR:
        raise _error_of(args)
    return args[0] if len(args) == 1 else args or None


def _error_of(args: list[Any]) -> RemoteError:
    """Make an error of the arguments of an ``EVENT_ERROR``, whatever they are."""
    if len(args) == 1 and isinstance(args[0], dict) and "code" in args[0]:
        given = args[0]
        code, message, data = given["code"], given.get("message"), given.get("data")
        code = code if isinstance(code, str) else "error"
        message = message if isinstance(message, str) else _first_text(args)
        return (InvalidArgs if code == "invalid-args" else RemoteError)(code, message, data)
    return RemoteError("error", _first_text(args), args)


def _first_text(args: list[Any]) -> str:
    return next((value for value in args if isinstance(value, str)), "")
