"""The types of what a user gives us to call, and of what that gets.

Those whose name begins with ``Server``, and those that only a server has, are generic in the context of its clients.
All are plain ``Callable``s, by which a type checker knows what the parameters of a lambda are. ``object`` is returned
where nobody looks at it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, TypeAlias, TypeVar, overload

from .calls.handlers import Handling
from .cluster.audience import Member
from .connection.listeners import Listener
from .connection.replies import EventArgs, ReplyFunction
from .context import C
from .errors import ConnectionFailed
from .messages.protocol import Ids
from .opening.http import ProcessRequest
from .opening.upgrade import AllowsOrigin, LimitOf, VerifyRequest
from .server_client import EZEZServerClient, ServerOnReply

__all__ = [
    "AllowsOrigin",
    "EventArgs",
    "LimitOf",
    "Listener",
    "OnAuthOk",
    "OnAuthRejected",
    "OnAuthRequest",
    "OnCluster",
    "OnConnect",
    "OnDisconnect",
    "OnError",
    "OnGaveUp",
    "OnMember",
    "OnMessage",
    "OnMissed",
    "OnQueueOverflow",
    "OnReply",
    "ProcessRequest",
    "ReplyFunction",
    "RequestHeaders",
    "ServerListener",
    "ServerListening",
    "ServerOnAuthOk",
    "ServerOnAuthRejected",
    "ServerOnDisconnect",
    "ServerOnError",
    "ServerOnMessage",
    "ServerOnReply",
    "VerifyRequest",
]

# -- of a client ------------------------------------------------------------------------------------------------------

OnReply: TypeAlias = Callable[[str, list[Any], ReplyFunction, Ids], object]
"""What ``send`` takes: ``on_reply(event, args, reply, ids)``."""
OnMessage: TypeAlias = OnReply
"""``on_message(event, args, reply, ids)``"""
OnConnect: TypeAlias = Callable[[], object]
"""``on_connect()``"""
OnAuthOk: TypeAlias = Callable[[], object]
"""``on_auth_ok()``"""
OnAuthRejected: TypeAlias = Callable[[str], object]
"""``on_auth_rejected(reason)``"""
OnDisconnect: TypeAlias = Callable[[int, str], object]
"""``on_disconnect(code, reason)``"""
OnError: TypeAlias = Callable[[BaseException], object]
"""``on_error(error)``"""
OnGaveUp: TypeAlias = Callable[[ConnectionFailed], object]
"""``on_gave_up(error)``"""
OnMissed: TypeAlias = Callable[[list[str]], object]
"""``on_missed(rooms)``"""
RequestHeaders: TypeAlias = Mapping[str, str] | Sequence[tuple[str, str]] | None
"""The option ``headers`` of a client, which may also be a callable that returns them."""

# -- of a server ------------------------------------------------------------------------------------------------------

ServerListener: TypeAlias = Callable[[EZEZServerClient[C], list[Any], ReplyFunction, Ids], object]
"""What a server's ``on`` takes: ``listener(client, args, reply, ids)``."""
OnAuthRequest: TypeAlias = Callable[[EZEZServerClient[C], str], bool]
"""``on_auth_request(client, key)``: whether the client may come in."""
ServerOnAuthOk: TypeAlias = Callable[[EZEZServerClient[C]], object]
"""``on_auth_ok(client)``"""
ServerOnAuthRejected: TypeAlias = Callable[[EZEZServerClient[C], str], object]
"""``on_auth_rejected(client, reason)``"""
ServerOnMessage: TypeAlias = ServerOnReply[C]
"""``on_message(client, event, args, reply, ids)``"""
ServerOnDisconnect: TypeAlias = Callable[[EZEZServerClient[C], int, str], object]
"""``on_disconnect(client, code, reason)``"""
ServerOnError: TypeAlias = Callable[[EZEZServerClient[C], BaseException], object]
"""``on_error(client, error)``"""
OnQueueOverflow: TypeAlias = Callable[[EZEZServerClient[C], int], object]
"""``queue_overflow(client, byte_length)``"""
OnMember: TypeAlias = Callable[[str, Member], object]
"""``on_member(change, member)``"""
OnCluster: TypeAlias = Callable[[str, str], object]
"""``on_cluster(change, detail)``"""

L = TypeVar("L", bound=ServerListener[Any])
P = ParamSpec("P")
R = TypeVar("R")
D = TypeVar("D", bound=EZEZServerClient[Any], contravariant=True)


class _WithDefault(Protocol[D]):
    """As in ``.connection.listeners``."""

    def __call__(self, client: D, args: list[Any], reply: ReplyFunction, ids: Ids, default: Any = ..., /) -> object: ...


class ServerListening(Handling, Generic[C]):
    """``Handling``, with listeners and handlers that take the client, too."""

    if TYPE_CHECKING:

        @overload  # type: ignore[override]
        def handler(
            self,
            event: str,
            function: Callable[Concatenate[EZEZServerClient[C], P], R],
            *,
            validate: bool | None = None,
        ) -> Callable[Concatenate[EZEZServerClient[C], P], R]: ...
        @overload
        def handler(
            self, event: str, *, validate: bool | None = None
        ) -> Callable[
            [Callable[Concatenate[EZEZServerClient[C], P], R]], Callable[Concatenate[EZEZServerClient[C], P], R]
        ]: ...
        def handler(self, event: str, function: Any = ..., *, validate: bool | None = None) -> Any:
            """Answer an event of any client by what ``function(client, *args)`` returns or raises. Also as a decorator.

            It runs after the listeners of the event, unless the client has a handler of its own for it. All else is as
            with ``EZEZWebSocketClient.handler``.
            """

        @overload  # type: ignore[override]
        def on(self, event: str, listener: ServerListener[C]) -> ServerListener[C]: ...
        @overload
        def on(self, event: str, listener: _WithDefault[EZEZServerClient[C]]) -> ServerListener[C]: ...  # type: ignore[overload-cannot-match]
        @overload
        def on(self, event: str) -> Callable[[L], L]: ...
        def on(self, event: str, listener: Any = ...) -> Any:
            """Listen to an event of any client: ``listener(client, args, reply, ids)``. Also as a decorator."""

        @overload  # type: ignore[override]
        def once(self, event: str, listener: ServerListener[C]) -> ServerListener[C]: ...
        @overload
        def once(self, event: str, listener: _WithDefault[EZEZServerClient[C]]) -> ServerListener[C]: ...  # type: ignore[overload-cannot-match]
        @overload
        def once(self, event: str) -> Callable[[L], L]: ...
        def once(self, event: str, listener: Any = ...) -> Any:
            """Listen to the next event of that name only, whoever sends it. Also as a decorator."""
