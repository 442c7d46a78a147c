"""Each option once: its name, its default, its check, and what docs/configuration.md says of it.

``SERVER`` and ``CLIENT`` are in the order of that document. The constructors repeat names and defaults, for editors;
tests/test_options.py compares the three, and rewrites the document. An error names the option and says what would be
right. An option whose check is ``None`` is checked where it is parsed: URLs, headers, subprotocols, origins.

To add an option: a line here, one in the constructor, and a field in the ``NamedTuple`` of whoever needs it.
"""

import math
import re
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from types import FunctionType, MethodType
from typing import Any, NamedTuple, TypeVar

__all__ = [
    "CLIENT",
    "REQUIRED",
    "SERVER",
    "Option",
    "check_args",
    "check_auth",
    "check_callable",
    "check_callback",
    "check_client",
    "check_flag",
    "check_path",
    "check_seconds",
    "check_server",
    "pick",
]

T = TypeVar("T")

REQUIRED: Any = object()  # the default of an option that has none


class Option(NamedTuple):
    """One option; ``words`` is Markdown, and ``check(name, value)`` raises ``TypeError`` or ``ValueError``."""

    name: str
    default: Any
    check: Callable[[str, Any], object] | None
    words: str


def check_server(given: Mapping[str, Any]) -> None:
    """Check what a server is constructed with: each option for itself, and then what they mean together."""
    _check_each(SERVER, given)
    limit, largest = given["queue_limit_bytes"], given["max_payload"]
    if given["messages_before_auth"] == "queue" and largest > limit:
        raise ValueError(
            f'queue_limit_bytes ({limit}) must be at least max_payload ({largest}) with messages_before_auth="queue"'
        )
    if given["reuse_port"] and not hasattr(socket, "SO_REUSEPORT"):
        raise ValueError("reuse_port: this platform has no SO_REUSEPORT")


def check_client(given: Mapping[str, Any]) -> None:
    """Check what a client is constructed with: each option for itself, and then what they mean together."""
    _check_each(CLIENT, given)
    if given["recover"] and given["auth"] is None:
        raise ValueError("recover needs a server that authenticates, and auth is None")
    if given["recover"] and given["codec"]._max_depth < 3:
        raise ValueError(f"recover needs a codec with a max_depth of at least 3, not {given['codec']._max_depth}")


def _check_each(options: Mapping[str, Option], given: Mapping[str, Any]) -> None:
    for name, option in options.items():
        if option.check is not None:
            option.check(name, given[name])


def pick(kind: Callable[..., T], given: Mapping[str, Any], **more: Any) -> T:
    """Make a ``NamedTuple`` of the options that are its fields, and of what else it needs, or needs otherwise."""
    fields: Sequence[str] = kind._fields  # type: ignore[attr-defined]
    values = {**given, **more}
    return kind(**{name: values[name] for name in fields if name in values})


# -- checks -----------------------------------------------------------------------------------------------------------


def check_seconds(name: str, value: Any, optional: bool = False, zero: bool = False) -> None:
    """Check a duration: a finite number above 0 (or 0, with ``zero``), or ``None`` with ``optional``."""
    if value is None and optional:
        return
    wanted = f"a number of seconds {'>=' if zero else '>'} 0{' or None' if optional else ''}"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be {wanted}, not {type(value).__name__}")
    if not -math.inf < value <= 1e300 or value < 0 or (value == 0 and not zero):
        raise ValueError(f"{name} must be {wanted}, not {value!r}")


def check_callback(name: str, value: Any, called: str | None = None, required: bool = False) -> None:
    """Check that an option or an argument is callable, or ``None`` where it is not required.

    ``called`` names the arguments that it gets, ``"client, key"`` say: what can never be called so is refused, too.
    """
    if value is None and not required:
        return
    if not callable(value):
        raise TypeError(f"{name} must be callable{'' if required else ' or None'}, not {type(value).__name__}")
    if called is not None:
        check_callable(name, value, f"{name}({called})")


_KINDS = (
    (0x20, "a generator function, of whose body nothing would run"),  # inspect.CO_GENERATOR
    (0x80 | 0x100, "an async function, which nobody would await"),  # CO_COROUTINE, CO_ITERABLE_COROUTINE
    (0x200, "an async generator, of whose body nothing would run"),  # CO_ASYNC_GENERATOR
)
_VARARGS = 0x04  # inspect.CO_VARARGS


def check_callable(what: str, function: Any, call: str, may_yield: bool = False) -> None:
    """Check that a callable can be called as ``call``, ``"listener(args, reply, ids)"`` say, and runs then.

    What the object itself takes counts, not what ``functools.wraps`` shows. What has no signature is accepted.
    ``may_yield``: it may be a generator function, as what it yields is looked at.
    """
    inner, bound = _resolve(function)
    for flags, kind in _KINDS[may_yield:]:
        if inner is not None and inner.__code__.co_flags & flags:
            raise TypeError(f"{what} must be a plain function (def), called as {call}; this is {kind}")
    given = 0 if call.endswith("()") else call.count(",") + 1
    if inner is None or bound is None:
        taken = _signature_of(function, given)
    else:
        taken = None if _takes(inner, bound + given) else _parameters_of(inner, bound)
    if taken is not None:
        raise TypeError(f"{what} is called as {call}, but takes {taken}")


def _resolve(function: Any) -> tuple[FunctionType | None, int | None]:
    """Return the function that a call runs, and how many arguments come before those given; ``None`` where unknown."""
    bound: int | None = 0
    while not isinstance(function, FunctionType):
        if isinstance(function, MethodType):
            function, bound = function.__func__, None if bound is None else bound + 1
        elif isinstance(function, partial):
            function, bound = function.func, None
        elif isinstance(function, staticmethod):
            function = function.__func__
        else:
            call = next(vars(cls)["__call__"] for cls in type(function).__mro__ if "__call__" in vars(cls))
            if isinstance(function, type) or not isinstance(call, (FunctionType, staticmethod)):
                return None, None
            function = call if isinstance(call, staticmethod) else MethodType(call, function)
    return function, bound


def _takes(function: FunctionType, given: int) -> bool:
    """Tell whether a function takes so many arguments by their position."""
    code, defaults = function.__code__, function.__defaults__ or ()
    only_by_name = code.co_varnames[code.co_argcount :][: code.co_kwonlyargcount]
    if not set(only_by_name) <= set(function.__kwdefaults__ or ()):
        return False
    return code.co_argcount - len(defaults) <= given and bool(given <= code.co_argcount or code.co_flags & _VARARGS)


def _parameters_of(function: FunctionType, bound: int) -> str:
    code = function.__code__
    only_by_name = code.co_varnames[code.co_argcount :][: code.co_kwonlyargcount]
    names = [*code.co_varnames[bound : code.co_argcount], *(["*", *only_by_name] if only_by_name else [])]
    return f"({', '.join(names)})"


def _signature_of(function: Any, given: int) -> str | None:
    """Return what a callable takes, as text, if that is not so many arguments; ``None`` also where nobody knows."""
    import inspect  # here, as it is slow to import, and few need it

    try:
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):
        return None
    try:
        signature.bind(*range(given))
    except TypeError:
        return str(signature)
    return None


def _check_called(name: str, value: Any, called: str) -> bool:
    """Check an option that may be a callable; false where it is none. A collection that can be called, too, is none."""
    if not callable(value) or isinstance(value, Collection):
        return False
    check_callable(name, value, f"{name}({called})")
    return True


def check_args(args: Any) -> Sequence[Any]:
    """Check the arguments of an event: a list or a tuple."""
    if not isinstance(args, (list, tuple)):
        hint = f"; write [{args!r:.40}]" if isinstance(args, (str, bytes, int, float, dict)) else ""
        raise TypeError(f"args must be a list or a tuple, not {type(args).__name__}{hint}")
    return args


def _count(name: str, value: Any, optional: bool = False, least: int = 1, called: str | None = None) -> None:
    if (value is None and optional) or (called is not None and _check_called(name, value, called)):
        return
    wanted = f"an int >= {least}{'' if called is None else ', a callable'}{' or None' if optional else ''}"
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be {wanted}, not {type(value).__name__}")
    if value < least:
        raise ValueError(f"{name} must be {wanted}, not {value}")


def _choice(choices: Sequence[str | None], name: str, value: Any, or_called: str | None = None) -> None:
    if or_called is not None and callable(value):
        check_callable(name, value, f"{name}({or_called})")
        return
    if not (value is None or isinstance(value, str)) or value not in choices:
        wanted = ", ".join(map(repr, choices)) + (" or a callable" if or_called else "")
        raise ValueError(f"{name} must be one of {wanted}, not {value!r}")


def _instance(wanted: str, kind: type | str, name: str, value: Any, optional: bool = True) -> None:
    """Check for an instance of a class, which may be told by its full name, as not even ``ssl`` is imported here."""
    if value is None and optional:
        return
    if isinstance(kind, str):
        fits = any(f"{cls.__module__}.{cls.__qualname__}" == kind for cls in type(value).__mro__)
    else:
        fits = isinstance(value, kind)
    if not fits:
        raise TypeError(f"{name} must be {wanted}, not {type(value).__name__}")


def _ssl(side: str, name: str, value: Any) -> None:
    _instance("an ssl.SSLContext or None", "ssl.SSLContext", name, value)
    if value is not None and value.protocol.name == f"PROTOCOL_TLS_{'CLIENT' if side == 'server' else 'SERVER'}":
        raise ValueError(f"ssl must be a context for a {side}: ssl.SSLContext(ssl.PROTOCOL_TLS_{side.upper()})")


def _port(name: str, value: Any) -> None:
    _count(name, value, optional=True, least=0)
    if value is not None and value > 65535:
        raise ValueError(f"{name} must be an int from 0 to 65535 or None, not {value}")


def check_path(name: str, value: Any) -> None:
    _instance("a str or None", str, name, value)
    if value is not None and not re.fullmatch(r"/[!\"$->@-~]*", value):  # neither # nor ?
        raise ValueError(
            f"{name} must start with '/', have no query, and be percent-encoded as it is sent, not {value!r}"
        )


def check_auth(name: str, value: Any, called: str | None = None) -> None:
    """Check a key, or what gives one where ``called`` is given."""
    if called is not None and _check_called(name, value, called):
        return
    _instance(f"a str{'' if called is None else ', a callable'} or None", str, name, value)
    try:
        (value or "").encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} has a lone surrogate, which UTF-8 cannot carry") from None


# -- the options ------------------------------------------------------------------------------------------------------


def _called(called: str, required: bool = False) -> partial[None]:
    return partial(check_callback, called=called, required=required)


def _backplane(name: str, value: Any) -> None:
    if isinstance(value, type):
        raise TypeError(f"{name} must be a RedisBackplane or None, not the class {value.__name__}")
    if value is not None and not all(callable(getattr(value, made, None)) for made in ("make_reader", "make_writer")):
        raise TypeError(f"{name} must be a RedisBackplane or None, not {type(value).__name__}")


check_flag = partial(_instance, "True or False", bool, optional=False)
_seconds_or_none = partial(check_seconds, optional=True)

# fmt: off
_BOTH = (
    Option("codec", None, partial(_instance, "a Codec", "ezez_ws.messages.codec.Codec"),
           "the `Codec` that turns values into bytes; `None`: a plain one"),
    Option("clear_awaiting_replies_after", 300.0, check_seconds,
           "seconds after which an awaited reply is given up, counted from when the message is sent (not from when a"
           " client queues it)"),
    Option("max_payload", 1 << 20, _count,
           "maximum size of an incoming message; a larger one closes the connection with 1009"),
    Option("send_buffer_limit", 4 << 20, _count, "maximum size of the data that waits in memory for one slow peer"),
    Option("send_timeout", 30.0, check_seconds,
           "seconds that `send` waits for room in that buffer. After that the peer is disconnected, and `send` raises"
           " `SendTimeout`"),
    Option("close_timeout", 5.0, check_seconds, "seconds to wait for the peer's answer to a close frame"),
    Option("max_awaiting_replies", 10_000, _count,
           "maximum number of `on_reply` callbacks and open futures of one connection. Beyond it, `send` and `reply`"
           " with another one raise `TooManyReplies`"),
    Option("unknown_events", "ignore", partial(_choice, ("ignore", "error")),
           'what to do with an event that has no handler or listener, if there is no `on_message`: `"ignore"` it, or'
           ' answer it with an `"error"`, code `unknown-event`'),
    Option("ping_interval", 20.0, _seconds_or_none,
           "seconds of silence after which a ping is sent ([keepalive](reliability.md#keepalive-and-heartbeat));"
           " `None`: no pings"),
    Option("ping_timeout", 20.0, _seconds_or_none,
           "seconds to wait for the answer to a ping. After that the connection is closed with 1011. `None`: no limit"),
    Option("compression", None, partial(_choice, (None, "deflate")), '`"deflate"` negotiates permessage-deflate'),
)

SERVER = {option.name: option for option in (
    Option("on_auth_request", REQUIRED, _called("client, key", required=True),
           "`(client, key) -> bool`, called on the connection's thread: whether to accept the client. If it raises,"
           " the client is refused, and the error goes to `on_error` or the log, never to the peer"),
    Option("auth_timeout", 5.0, check_seconds,
           "seconds that a client has to send its key; the time that `on_auth_request` takes does not count"),
    Option("messages_before_auth", "ignore", partial(_choice, ("ignore", "queue", "accept")),
           'what to do with events that arrive before authentication: `"ignore"` drops them, `"queue"` keeps them'
           ' until after `on_auth_ok`, `"accept"` handles them at once'),
    Option("queue_limit_bytes", 1 << 20, _count,
           'maximum size of that queue, for each client; with `"queue"` at least `max_payload`'),
    Option("queue_overflow", "ignore", partial(_choice, ("ignore", "disconnect"), or_called="client, byte_length"),
           'what to do with a message that does not fit into that queue: `"ignore"` drops it, `"disconnect"` closes'
           " with 1008. A callable `(client, byte_length)` is called, and the message is dropped"),
    Option("max_payload_before_auth", 64 << 10, _count,
           'maximum size of a message before authentication, with `messages_before_auth="ignore"`. A larger event is'
           " dropped, a larger authentication message closes with 1009. With other values of `messages_before_auth`,"
           " `max_payload` applies from the start"),
    Option("allowed_origins", None, partial(_check_called, called="origin, request"),
           'which pages may connect, by the `Origin` that browsers send; others get 403. `"same-origin"`, or a'
           ' collection such as `{"https://example.org", "https://*.example.org"}`, or `(origin, request) -> bool`.'
           " Requests without `Origin` (not from a browser) are accepted. `None`: all are accepted"),
    Option("verify_request", None, _called("request"),
           "`(HandshakeRequest) -> bool or int`, the last check of a handshake: `False` refuses it with 403, an `int`"
           " with that status, an exception with 500"),
    Option("max_connections", None, partial(_count, optional=True),
           "maximum number of connections, counted from the accept on. When it is reached, the connection that has"
           " waited longest without finishing its handshake is cut, or else one that has not sent its key for a"
           " second. If there is none, the new connection gets 503. `None`: no limit"),
    Option("max_unauthenticated", 1000, partial(_count, optional=True),
           "maximum number of connections that are not authenticated yet, counted from the accept on. Beyond it, the"
           " oldest that has not finished its handshake is cut, or else the oldest that has not sent its key is closed"
           " with 1008. `None`: no limit"),
    Option("max_connections_per_address", None, partial(_count, optional=True, called="request"),
           "maximum number of connections from one address; more get 503. Behind a proxy, where all come from its"
           " address, pass `(request) -> (key, limit)`: what to count this connection by, and how many there may be."
           " `None`: no limit"),
    Option("handshake_timeout", 10.0, check_seconds, "seconds from accepting a connection to the end of its handshake"),

    Option("port", None, _port,
           "the port to listen on; `0` picks a free one. `None`: do not listen; connections come by [`wsgi_app` or"
           " `serve_connection`](server-modes.md)"),
    Option("host", "127.0.0.1", partial(_instance, "a str", str, optional=False),
           'the address to bind: `"0.0.0.0"` for all of IPv4; IPv6 addresses work, too'),
    Option("path", None, check_path,
           "accept only this path (without the query), and answer 404 otherwise; `None`: any path"),
    Option("process_request", None, _called("request"),
           "`(HandshakeRequest) -> HTTPResponse or None`, called first for each GET and HEAD: return a response, or"
           " `None` to go on. For [pages on the same port](http.md)"),
    Option("health_path", None, check_path,
           "the path that answers GET and HEAD with 200, for [health checks](http.md#health-checks)"),
    Option("subprotocols", None, None,
           "the first that the client offers and that this list contains is agreed on; `None`: the first that the"
           " client offers"),
    Option("ssl", None, partial(_ssl, "server"), "an `ssl.SSLContext`, for `wss://`"),
    Option("reuse_port", False, check_flag, "set `SO_REUSEPORT`, so that several processes can listen on one port"),

    Option("on_auth_ok", None, _called("client"), "`(client)`, called after a client was authenticated"),
    Option("on_auth_rejected", None, _called("client, reason"),
           "`(client, reason)`, called after a client was refused"),
    Option("on_message", None, _called("client, event, args, reply, ids"),
           "`(client, event, args, reply, ids)`, called for every event, including replies, before `on_reply` and"
           " listeners"),
    Option("on_disconnect", None, _called("client, code, reason"),
           "`(client, code, reason)`, called once for each connection that ends, authenticated or not"),
    Option("on_error", None, _called("client, error"),
           "`(client, error)`, called with what a callback raised, and with malformed messages; without it they are"
           " logged"),

    Option("backplane", None, _backplane,
           "a `RedisBackplane`: rooms and broadcasts then reach the clients of all servers that share it. `None`:"
           " those of this server only. See [scaling](scaling.md)"),
    Option("recovery_window", 120.0, partial(check_seconds, zero=True),
           "seconds for which events to rooms are kept for clients that come back; 0 turns"
           " [recovery](rooms.md#recovering-missed-events) off"),
    Option("history_limit_bytes", 16 << 20, _count,
           "maximum size of these events in the memory of each server, and about as much in the broker; the oldest go"
           " first"),
    Option("recovery_limit_bytes", None, partial(_count, optional=True),
           "maximum size of the events that one `join` recovers; if there are more, the client is told that they are"
           " lost. `None`: 1 MiB, or half of `send_buffer_limit` if that is less"),
    Option("publish_buffer_limit", 4 << 20, _count,
           "maximum size of publications that wait for the broker; beyond it publishing raises `QueueFull`"),
    Option("max_publication", 256 << 10, _count, "maximum size of one publication; a larger one raises `ValueError`"),
    Option("max_rooms", 256, _count, "maximum number of rooms of one client; `join` beyond it raises `ValueError`"),
    Option("on_member", None, _called("change, member"),
           '`(change, member)`, called on a thread of its own when a listed client has `"joined"` a room, `"changed"`'
           ' its info, or `"left"`: see [presence](rooms.md#presence)'),
    Option("on_cluster", None, _called("change, detail"),
           "`(change, detail)`, called on the same thread for each change of the cluster: see [monitoring a"
           " cluster](scaling.md#monitoring-a-cluster)"),

    Option("default_context", None, partial(_instance, "a mapping", Mapping),
           "a mapping that is deep-copied into the `context` of each client; `None`: empty"),
    Option("send_after_disconnect", "ignore", partial(_choice, ("ignore", "raise")),
           '`send` and `reply` to a client that has disconnected: with `"ignore"` they return a falsy `SentMessage`,'
           " but raise `ConnectionClosed` in a listener of that client that still sends `close_timeout` seconds after"
           ' the end. With `"raise"` they always raise it'),
    Option("inbox_limit_bytes", 1 << 20, _count,
           "maximum size of events that are read while a listener blocks; beyond it reading stops, and TCP holds the"
           " peer back"),
    *_BOTH,
)}

CLIENT = {option.name: option for option in (
    Option("url", REQUIRED, partial(_check_called, called=""),
           "the address, `ws://` or `wss://` (`http(s)://` mean the same), or a callable, as for `auth`. The only"
           " positional option"),
    Option("auth", "", partial(check_auth, called=""),
           "the key, or a callable that returns it, called before each attempt on the client's thread. `None`: the"
           " server does not use this protocol's authentication"),
    Option("subprotocols", None, None, "the subprotocols to offer in the handshake"),
    Option("headers", None, partial(_check_called, called=""),
           "headers to send in the handshake: a mapping, pairs, or a callable, as for `auth`"),
    Option("ssl", None, partial(_ssl, "client"), "an `ssl.SSLContext`, for `wss://`"),
    Option("connect_timeout", 10.0, check_seconds,
           "seconds for one attempt, from the name look-up to the end of the handshake"),
    Option("auto_reconnect", True, check_flag,
           "whether to connect again after a lost connection; never after `close()` or a refused key"),
    Option("reconnect_delay", 1.0, check_seconds,
           "seconds before the first such attempt; doubled for each further one, and shortened by a random amount of"
           " up to half"),
    Option("reconnect_delay_max", 30.0, check_seconds,
           "maximum of that pause in seconds, unless the server's `Retry-After` asks for a longer one (up to an hour)"),
    Option("reconnect_attempts", None, partial(_count, optional=True),
           "number of failed attempts in a row, the first included, after which the client gives up. An"
           " authentication resets the count. `None`: it never gives up"),
    Option("send_when_not_connected", "queue", partial(_choice, ("queue", "ignore", "raise")),
           'what to do with messages: `"queue"` them until the client is authenticated again, `"ignore"` (drop) them,'
           ' or `"raise"` `NotConnected`'),
    Option("queue_limit_bytes", 1 << 20, _count, "maximum size of that queue; beyond it `send` raises `QueueFull`"),
    Option("on_connect", None, _called(""), "`()`, called when connected but not yet authenticated"),
    Option("on_auth_ok", None, _called(""), "`()`, called after each successful authentication"),
    Option("on_auth_rejected", None, _called("reason"), "`(reason)`, called after the server has refused the key"),
    Option("recover", False, check_flag,
           "after a short disconnect, get the events that were missed in the"
           " [rooms](rooms.md#recovering-missed-events) that the server puts the client into again"),
    Option("on_missed", None, _called("rooms"),
           "`(rooms)`, a list, called when events of these rooms are lost, so that you can load their state anew; `*`"
           " stands for events to everyone"),
    Option("on_message", None, _called("event, args, reply, ids"),
           "`(event, args, reply, ids)`, called for every event, including replies, before `on_reply` and listeners"),
    Option("on_disconnect", None, _called("code, reason"), "`(code, reason)`, called for each connection that ends"),
    Option("on_gave_up", None, _called("error"),
           "`(error)`, called after the last failed attempt: because of `reconnect_attempts`, or without"
           " `auto_reconnect`"),
    Option("on_error", None, _called("error"),
           "`(error)`, called with what a callback raised, with failed attempts and with malformed messages"),
    Option("unknown_messages", "ignore", partial(_choice, ("ignore", "emit", "emit_try_json")),
           'what to do with a text message: `"ignore"` it, `"emit"` it as the event `EVENT_UNKNOWN_MESSAGE` with the'
           ' text, or `"emit_try_json"`, with the parsed JSON if it is valid'),
    Option("unknown_data", "ignore", partial(_choice, ("ignore", "emit", "close")),
           'what to do with a malformed binary message: `"ignore"` it (`on_error` is called), `"emit"` it as the'
           ' event `EVENT_UNKNOWN_DATA_TYPE` with the bytes, or `"close"` with 1002'),
    *_BOTH,
)}
# fmt: on
