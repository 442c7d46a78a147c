"""The log in Redis: a stream that all nodes append to and read, and one for each node that is its inbox.

    {prefix}:log        an entry holds publications that were waiting together: field m, the bytes of encode_batch
    {prefix}:born       a random secret, which dies with the data
    {prefix}:in:<node>  made and emptied by its reader, and gone when that is gone for 4 times node_timeout

Of redis-py this uses the connections alone, not its pools and retries: nothing is connected, or sent again, unseen.
Whatever fails ends the connection, and ``LogDown`` says why; with the next one it is seen anew which log this is.
"""

import hashlib
import math
import secrets
import socket
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from ..logs import cluster_logger, shown
from ..options import check_callback, check_flag, check_seconds
from ..threads import clock
from ..threads.fork import Uncopied, close_in_child
from ..threads.interrupted import calls_user_code
from .entries import encode_batch
from .log import Id, LogDown, Opened, Read

__all__ = ["RedisBackplane"]

_BLOCK = 1.0  # seconds that one XREAD waits for
_GRACE = 2.0  # seconds more, after which its answer is missed
_MOST_READ = 64  # entries at once
_MOST_IN_INBOX = 1000
_OLDEST = (6, 2)
_SCHEMES = ("redis", "rediss", "unix")
_COMMANDS = "+xadd +xread +xtrim +xinfo +set +get +expire +del +exists +info +ping +select"


class RedisBackplane:
    """Where the log is: in a Redis (6.2 or later) or a Valkey. It opens nothing; servers and emitters may share one.

    Needs ``pip install "ezez-ws[redis]"``. It can be copied and pickled, if ``connect`` can.

    Args:
        url: ``redis://``, ``rediss://`` (TLS) or ``unix://``, as redis-py reads it; ``redis://user:password@host:6379/0``.
            What is special in a URL is escaped in the password: ``%40`` for ``@``.
        prefix: of the keys; programs that share a Redis, and have nothing to say to each other, have different ones.
        max_length: entries of the log beyond which Redis drops the oldest.
        heartbeat: seconds between two signs of life of a node.
        node_timeout: seconds without one, after which a node is gone.
        connect_timeout: seconds that an attempt to connect may take.
        io_timeout: seconds that the answer to a write may take.
        durable: the Redis has ``appendfsync always``, and no replica takes over: a restart loses nothing.
        connect: instead of a URL, ``connect() -> redis.Redis``. It is called for each connection, which is made as that
            client would make it: ``lambda: sentinel.master_for("mymaster")``.

    Raises:
        TypeError, ValueError: an argument is none of that.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        prefix: str = "ezez",
        max_length: int = 50_000,
        heartbeat: float = 5.0,
        node_timeout: float = 15.0,
        connect_timeout: float = 2.0,
        io_timeout: float = 5.0,
        durable: bool = False,
        connect: Callable[[], Any] | None = None,
    ) -> None:
        check_callback("connect", connect, "")
        self._where = _check_url(url) if connect is None else "the Redis that connect() names"
        self._prefix = _check_prefix(prefix)
        if isinstance(max_length, bool) or not isinstance(max_length, int):
            raise TypeError(f"max_length must be an int >= 1, not {type(max_length).__name__}")
        if max_length < 1:
            raise ValueError(f"max_length must be an int >= 1, not {max_length}")
        check_seconds("heartbeat", heartbeat)
        check_seconds("node_timeout", node_timeout)
        if node_timeout <= heartbeat:
            raise ValueError(f"node_timeout ({node_timeout}) must be more than heartbeat ({heartbeat})")
        check_seconds("connect_timeout", connect_timeout)
        check_seconds("io_timeout", io_timeout)
        check_flag("durable", durable)
        self.heartbeat = heartbeat
        self.node_timeout = node_timeout
        self.connect_timeout = connect_timeout
        self._url = url
        self._max_length = max_length
        self._io_timeout = io_timeout
        self._durable = durable
        self._connect = connect

    def make_reader(self, node: str, inbox_only: bool = False) -> "RedisReader":
        """Make a reader; see ``Backplane``."""
        return RedisReader(self, node, inbox_only)

    def make_writer(self, timeout: float | None = None) -> "RedisWriter":
        """Make a writer; see ``Backplane``."""
        return RedisWriter(self, self._io_timeout if timeout is None else min(timeout, self._io_timeout))

    def __repr__(self) -> str:
        return f"<RedisBackplane {self._where}, prefix={self._prefix!r}>"


def _check_url(url: Any) -> str:
    """Check a URL, and return what of it may be shown: no password."""
    if not isinstance(url, str):
        raise TypeError(f"url must be a str, not {type(url).__name__}")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(
            "url has no valid port; a password in it must have %23 for #, %2F for /, %3F for ? and %40 for @"
        ) from None
    if parts.scheme not in _SCHEMES or not url.startswith(f"{parts.scheme}://"):
        raise ValueError("url must begin with redis://, rediss:// (TLS) or unix://")
    if parts.scheme == "unix":
        if not parts.path.strip("/"):
            raise ValueError("url must have the path of the socket: unix:///run/redis/redis.sock")
        return f"unix://{shown(parts.path)}"
    if not parts.hostname:
        raise ValueError(f"url must name a host: {parts.scheme}://localhost:6379/0")
    database = parts.path.removeprefix("/")
    if database and not (database.isascii() and database.isdigit()):
        raise ValueError(f"url must end with the number of a database, as in {parts.scheme}://localhost:6379/0")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{shown(host)}:{port or 6379}/{database or 0}"


def _check_prefix(prefix: Any) -> str:
    if not isinstance(prefix, str):
        raise TypeError(f"prefix must be a str, not {type(prefix).__name__}")
    if not 1 <= len(prefix) <= 200 or not prefix.isprintable() or "{" in prefix or "}" in prefix:
        raise ValueError(f"prefix must be 1 to 200 printable characters without braces, not {prefix!r:.80}")
    return prefix


class _Line(Uncopied):
    """One connection, from ``open`` to the first failure. One thread's; any other may call ``cut``."""

    def __init__(self, plan: RedisBackplane, timeout: float) -> None:
        try:
            self._redis: Any = import_module("redis")
        except ImportError as error:
            raise ImportError('RedisBackplane needs redis-py: pip install "ezez-ws[redis]"') from error
        version = self._redis.__version__
        if int(version.partition(".")[0]) < 5:
            raise ImportError(f'RedisBackplane needs redis-py >= 5, not {version}: pip install "ezez-ws[redis]"')
        prefix = f"{{{plan._prefix}}}:"
        self.log, self.born, self.inbox = prefix + "log", prefix + "born", prefix + "in:"
        self.where = plan._where
        self._plan = plan
        self._timeout = timeout
        self._client: Any = None  # what makes connections; those of Sentinel refer to it weakly
        self._connection: Any = None
        self._cut = False
        self.run_id = ""
        self.policy = ""  # of what to do when the memory is full
        if plan._connect is None:
            self._client = self._redis.Redis.from_url(plan._url)
            try:
                self._make_connection()
            except TypeError as error:
                raise ValueError(f"url has an option that redis-py does not know: {error}") from None
        close_in_child(self)

    def is_open(self) -> bool:
        """Tell whether there is a connection, as far as is known."""
        return self._connection is not None

    def _make_connection(self) -> Any:
        pool = self._client.connection_pool
        options = pool.connection_kwargs.items()
        return pool.connection_class(
            **{
                # without notifications of maintenance, which are for pools, and for protocol 3
                **{name: value for name, value in options if "maint" not in name},
                "socket_timeout": self._timeout,
                "socket_connect_timeout": min(self._plan.connect_timeout, self._timeout),
                "retry": import_module("redis.retry").Retry(import_module("redis.backoff").NoBackoff(), 0),
                "retry_on_timeout": False,
                "retry_on_error": [],
                "health_check_interval": 0,
                "protocol": 2,
            }
        )

    @calls_user_code
    def _ask_for_client(self) -> None:
        connect = self._plan._connect
        if connect is not None:
            try:
                self._client = connect()
                self._make_connection()
            except Exception as error:
                raise LogDown(f"connect() must return a redis.Redis: {shown(str(error))}", True) from error

    def open(self) -> None:
        """Connect anew, and see that it is a Redis of our kind."""
        self.close()
        self._ask_for_client()
        self._connection = connection = self._make_connection()
        self._guard(connection.connect, ())
        (answer,) = self.ask(("INFO",))
        info = dict(line.split(":", 1) for line in answer.decode("utf-8", "replace").splitlines() if ":" in line)
        self.run_id = info.get("run_id", "")
        version = info.get("redis_version", "")
        numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
        if len(numbers) == 2 and numbers < _OLDEST:
            raise self._down(f"is Redis {shown(version)}: 6.2 or later is needed", True)
        if info.get("role") == "slave":
            raise self._down(
                "is a replica, which is only to be read: name the primary, or use connect= and Sentinel", True
            )
        self.policy = "noeviction" if info.get("maxmemory", "0") == "0" else info.get("maxmemory_policy", "noeviction")

    def ask(self, *commands: tuple[Any, ...]) -> list[Any]:
        """Send commands, all at once, and return their answers."""
        connection = self._connection
        if connection is None:
            raise LogDown("not connected")
        answers: list[Any] = []

        def talk() -> None:
            connection.send_packed_command(connection.pack_commands(commands), check_health=False)
            for _ in commands:
                answers.append(connection.read_response(disable_decoding=True, disconnect_on_error=True))

        self._guard(talk, commands, answers)
        return answers

    def _guard(
        self, act: Callable[[], object], commands: Sequence[tuple[Any, ...]], answers: Sequence[Any] = ()
    ) -> None:
        """Do something with the connection, which no exception leaves open: an answer may be on its way."""
        if self._cut:
            self.close()
            raise LogDown("closed")
        try:
            act()
        except BaseException as error:
            self.close()
            if not isinstance(error, (self._redis.RedisError, OSError)):
                raise
            if self._cut:
                raise LogDown("closed") from error
            raise self._explain(error, commands[len(answers)] if commands else ("CONNECT",)) from error

    def _explain(self, error: BaseException, command: tuple[Any, ...]) -> LogDown:
        """Say what is wrong, and what would be right; redis-py has taken the first word off of some texts."""
        errors, name, text = self._redis.exceptions, command[0], shown(str(error))
        if isinstance(error, (errors.AuthenticationError, errors.AuthenticationWrongNumberOfArgsError)):
            return self._down(f"wants another user or password, as in redis://user:password@host: {text}", True)
        if isinstance(error, errors.NoPermissionError):
            keys = f"~{self.log[:-3]}*"
            return self._down(f"does not permit {name}: {text}; the user needs {keys} {_COMMANDS}", True)
        if isinstance(error, errors.ReadOnlyError):
            return self._down(
                "is a replica, which is only to be read: name the primary, or use connect= and Sentinel", True
            )
        if isinstance(error, errors.OutOfMemoryError):
            return self._down(
                "has no memory left: give it more (maxmemory), or less to keep (history_limit_bytes)", True
            )
        if text.startswith("WRONGTYPE"):
            found = command[2:] if name == "XINFO" else command[1:2]
            if name == "XREAD":  # as many keys as positions
                streams = command[command.index("STREAMS") + 1 :]
                found = streams[: len(streams) // 2]
            which = " or ".join(map(repr, found))
            return self._down(f"has something else under the key {which}: delete that, or use another prefix", True)
        if isinstance(error, errors.MovedError):
            return self._down(f"is a part of a cluster that has not {self.log!r}: name the one that has: {text}", True)
        if isinstance(error, errors.ResponseError):
            passing = text.startswith(("LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS", "BUSY"))
            return self._down(f"refuses {name}: {text}", not passing)
        if "SSL" in text or "CERTIFICATE" in text:
            return self._down(f"and this program do not agree on TLS: {text}", True)
        return self._down(f"cannot be reached: {text}" if name == "CONNECT" else f"does not answer {name}: {text}")

    def _down(self, text: str, severe: bool = False) -> LogDown:
        self.close()
        return LogDown(f"{self.where} {text}", severe)

    def epoch(self, secret: bytes) -> str:
        """Name the log that has this birth secret."""
        run_id = b"" if self._plan._durable else self.run_id.encode()
        return hashlib.sha256(b"epoch\0" + secret + b"\0" + run_id).hexdigest()[:16]

    def close(self) -> None:
        """Disconnect. Idempotent; what fails is not told."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()

    def cut(self) -> None:
        """End the connection under the thread that waits for it; redis-py's own way would free what that one uses."""
        self._cut = True
        sock = getattr(self._connection, "_sock", None)
        if sock is not None:
            try:
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # of an SSLSocket, too, without its own part
            except OSError:
                pass


class RedisReader(Uncopied):
    """Reads the log, and makes and reads an inbox; see ``LogReader``."""

    def __init__(self, plan: RedisBackplane, node: str, inbox_only: bool) -> None:
        self._inbox_only = inbox_only
        self._line = _Line(plan, _BLOCK + _GRACE)
        self._inbox = self._line.inbox + node
        self._expiry = math.ceil(4 * plan.node_timeout)
        self._renewal = plan.node_timeout  # seconds between two
        self._renew_at = 0.0
        self._inbox_read: Id = (0, 0)
        self._inbox_trimmed: Id = (0, 0)
        self._secret = b""
        self._has_warned = False
        self._is_behind = False  # the last read has found as much as is read at once

    def open(self) -> Opened:
        """Connect; see ``LogReader``."""
        self._line.open()
        policy = self._line.policy
        if policy != "noeviction" and not self._has_warned:
            self._has_warned = True
            text = "%s has maxmemory-policy %s: it may drop what has not been read; set it to noeviction"
            cluster_logger.warning(text, self._line.where, shown(policy))
        return self._meet()

    def _meet(self) -> Opened:
        """See which log this is, and have an inbox."""
        line = self._line
        exists, _, secret, has_inbox = line.ask(
            ("EXISTS", line.log),
            ("SET", line.born, secrets.token_bytes(32), "NX"),
            ("GET", line.born),
            ("EXPIRE", self._inbox, self._expiry),
        )
        if not has_inbox:
            self._make_inbox()
        if secret is None:
            raise line._down("is being emptied")
        self._secret = secret
        last: Id = (0, 0)
        if exists:
            (answer,) = line.ask(("XINFO", "STREAM", line.log))
            last = _find_last(answer) or last
        return Opened(line.epoch(secret), secret, last)

    def _make_inbox(self) -> None:
        first, _ = self._line.ask(("XADD", self._inbox, "*", "made", ""), ("EXPIRE", self._inbox, self._expiry))
        self._inbox_read = self._inbox_trimmed = _parse_id(first)
        self._renew_at = clock.monotonic() + self._renewal

    def read(self, after: Id, wait: float) -> Read | Opened:
        """Read; ``wait`` is at most a second. See ``LogReader``."""
        line = self._line
        block = int(min(wait, _BLOCK) * 1000)
        streams: tuple[str, ...] = (line.log, self._inbox, f"{after[0]}-{after[1]}", "{}-{}".format(*self._inbox_read))
        if self._inbox_only:
            streams = (self._inbox, "{}-{}".format(*self._inbox_read))
        commands: list[tuple[Any, ...]] = []
        if self._inbox_trimmed != self._inbox_read:
            self._inbox_trimmed = ms, n = self._inbox_read
            commands.append(("XTRIM", self._inbox, "MINID", f"{ms}-{n + 1}"))
        renews = clock.monotonic() >= self._renew_at
        if renews:
            commands.append(("EXPIRE", self._inbox, self._expiry))
        waiting = ("BLOCK", block) if block > 0 else ()  # BLOCK 0 would be for ever
        was_behind = self._is_behind
        if was_behind:
            commands.insert(0, ("XINFO", "STREAM", line.log))
        commands.append(("XREAD", "COUNT", _MOST_READ, *waiting, "STREAMS", *streams))
        commands.append(("GET", line.born))  # behind it: what was read before is of the log that this belongs to
        *had, found, secret = line.ask(*commands)
        if secret != self._secret:
            return self._meet()
        if renews and not had[-1]:
            self._make_inbox()
        elif renews:
            self._renew_at = clock.monotonic() + self._renewal
        read = self._sort(found or ())
        self._is_behind = len(read.entries) >= _MOST_READ
        return read._replace(newest=_find_last(had[0])) if was_behind and self._is_behind else read

    def _sort(self, found: Sequence[Any]) -> Read:
        read = Read([], [])
        for name, entries in found:
            if name == self._inbox.encode():
                read.inbox.extend(_content(fields) for _, fields in entries)
                self._inbox_read = _parse_id(entries[-1][0])
            else:
                read.entries.extend((_parse_id(id), _content(fields)) for id, fields in entries)
        return read

    def close(self) -> None:
        """Delete the inbox, and disconnect; see ``LogReader``."""
        if self._line.is_open():
            try:
                self._line.ask(("DEL", self._inbox))
            except LogDown:
                pass  # it expires
        self._line.close()

    def cut(self) -> None:
        """See ``LogReader``."""
        self._line.cut()


class RedisWriter(Uncopied):
    """Appends to the log, and to inboxes; see ``LogWriter``."""

    def __init__(self, plan: RedisBackplane, timeout: float) -> None:
        self._line = _Line(plan, timeout)
        self._most = plan._max_length
        self._epoch = ""

    def open(self) -> str:
        """Connect, unless it is connected; see ``LogWriter``."""
        line = self._line
        if not line.is_open():
            line.open()
            _, secret = line.ask(("SET", line.born, secrets.token_bytes(32), "NX"), ("GET", line.born))
            self._epoch = line.epoch(secret or b"")
        return self._epoch

    def append(self, publications: Sequence[bytes]) -> None:
        """Append; see ``LogWriter``."""
        self.open()
        self._line.ask(("XADD", self._line.log, "MAXLEN", "~", self._most, "*", "m", encode_batch(publications)))

    def send_to(self, node: str, message: bytes) -> bool:
        """Put something into an inbox; see ``LogWriter``."""
        self.open()
        inbox = self._line.inbox + node
        (id,) = self._line.ask(("XADD", inbox, "NOMKSTREAM", "MAXLEN", _MOST_IN_INBOX, "*", "m", message))
        return id is not None

    def has_inbox(self, node: str) -> bool:
        """Tell whether there is an inbox; see ``LogWriter``."""
        self.open()
        (count,) = self._line.ask(("EXISTS", self._line.inbox + node))
        return bool(count)

    def trim(self, before_ms: int) -> None:
        """Let go of old entries; see ``LogWriter``."""
        self.open()
        self._line.ask(("XTRIM", self._line.log, "MINID", "~", before_ms))

    def close(self) -> None:
        """Disconnect; see ``LogWriter``."""
        self._line.close()

    def cut(self) -> None:
        """See ``LogWriter``."""
        self._line.cut()


def _parse_id(text: bytes) -> Id:
    ms, _, n = text.partition(b"-")
    return int(ms), int(n)


def _find_last(info: Sequence[Any]) -> Id | None:
    """Return the newest entry, out of what XINFO says of a stream."""
    newest = dict(zip(info[::2], info[1::2], strict=True)).get(b"last-entry")
    return _parse_id(newest[0]) if newest else None


def _content(fields: Sequence[bytes]) -> bytes:
    """Return the field ``m``; nothing where an entry is another program's."""
    return dict(zip(fields[::2], fields[1::2], strict=True)).get(b"m", b"")
