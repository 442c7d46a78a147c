"""How a command ends: its exit code, and which error means which."""

from enum import IntEnum

from ..errors import (
    AuthRejected,
    ConnectionFailed,
    MalformedMessage,
    RemoteError,
    ReplyTimeout,
    SerializationError,
)
from ..logs import shown
from .values import UsageError, write_json

__all__ = ["ContractsDiffer", "ExitCode", "UsageError", "exit_code_of", "words_of"]


class ExitCode(IntEnum):
    """The exit codes of ``ezez-ws``, as docs/cli.md promises them."""

    OK = 0
    NO_CONNECTION = 1
    USAGE = 2
    REFUSED = 3
    NO_REPLY = 4
    REMOTE_ERROR = 5
    DIFFERENT = 6
    HUNG_UP = 129  # 128 + SIGHUP, as a shell says it
    INTERRUPTED = 130  # SIGINT
    BROKEN_PIPE = 141  # SIGPIPE
    TERMINATED = 143  # SIGTERM


class ContractsDiffer(Exception):
    """The contract of a server is another than ours."""


def exit_code_of(error: Exception) -> ExitCode:
    """Tell how a command ends that this error comes out of."""
    if isinstance(error, (UsageError, SerializationError, MalformedMessage)):
        return ExitCode.USAGE
    if isinstance(error, AuthRejected) or (isinstance(error, ConnectionFailed) and error.status in (401, 403)):
        return ExitCode.REFUSED
    if isinstance(error, ContractsDiffer):
        return ExitCode.DIFFERENT
    if isinstance(error, ReplyTimeout):
        return ExitCode.NO_REPLY
    if isinstance(error, RemoteError):
        return ExitCode.REMOTE_ERROR
    return ExitCode.NO_CONNECTION


def words_of(error: BaseException) -> str:
    """Return what an error says; a reason of the peer's, which may be as long as a message, is cut."""
    if isinstance(error, AuthRejected):
        error = AuthRejected(shown(error.reason))
    if isinstance(error, RemoteError) and error.data is not None:
        return f"{error} {write_json(error.data)}"
    return str(error) or type(error).__name__
