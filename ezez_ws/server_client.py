"""One client of a server: its public face."""

import itertools
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeAlias

from .calls.answers import Received, check_timeout
from .calls.calling import Calling, submit, submit_on, wait_for
from .calls.futures import Answer
from .calls.implement import Implementing
from .cluster.audience import Audience, Joined
from .cluster.entries import Target
from .cluster.hub import Hub
from .cluster.rooms import Session, check_room
from .connection.counting import connection_stats
from .connection.listeners import Listeners
from .connection.replies import EventArgs, ReplyFunction, SentMessage
from .connection.server_side import ServerConnection
from .connection.websocket import WebSocket
from .context import C, Context
from .figures import ConnectionStats
from .messages.protocol import CloseCode, Ids, check_close
from .opening.server_handshake import HandshakeRequest
from .options import check_callback, check_seconds
from .threads.deadline import Deadline
from .threads.fork import ForkGuard
from .threads.interrupted import make_lock

__all__ = ["EZEZServerClient", "ServerOnReply"]

_ids = itertools.count()
_ids_lock = make_lock()


class EZEZServerClient(Implementing, Calling, Generic[C]):
    """A client that is connected to a server; the server makes one for each connection.

    Every method may be called from any thread. After ``os.fork`` the child's calls raise ``RuntimeError``. ``C`` is
    what type checkers take its ``context`` for.
    """

    _ezez_implementations: Mapping[Any, Any] = {}  # by factory; replaced by its own thread, and never changed

    def __init__(self, connection: ServerConnection, hub: Hub, request: HandshakeRequest, context: Context[C]) -> None:
        self._ezez_connection = connection
        self.__hub = hub
        self.__request = request
        self.__context = context
        self._ezez_fork_guard = ForkGuard("client")
        with _ids_lock:
            self.__connection_id = next(_ids)

    @property
    def _ezez_listeners(self) -> Listeners:  # type: ignore[override]
        return self._ezez_connection.own_listeners()

    def send(self, event: str, args: EventArgs = (), on_reply: "ServerOnReply[C] | None" = None) -> SentMessage:
        """Send an event.

        Returns as soon as the kernel or the send buffer has the message. Without room in the send buffer
        (``send_buffer_limit``) it waits, reading meanwhile, at most ``send_timeout`` seconds.

        Args:
            event: its name; names that start with ``ezez-ws::`` or ``ezez-ws:incoming:`` are the protocol's.
            args: a list or tuple of values that the server's codec can send.
            on_reply: called as ``on_reply(client, event, args, reply, ids)`` for the first reply, on the connection's
                thread; the listeners do not get that reply then.

        Returns:
            A ``SentMessage`` to wait for the reply with; falsy where the connection is gone.

        Raises:
            TypeError, ValueError: a wrong event name, ``args`` or ``on_reply``.
            SerializationError: a value that cannot be sent.
            ConnectionClosed: the connection is gone, with ``send_after_disconnect="raise"``, or on its own thread
                ``close_timeout`` seconds after its end: a listener that only sends shall not go on for ever.
            SendTimeout: there was no room in time; the client has been cut.
            TooManyReplies: ``max_awaiting_replies`` messages have an ``on_reply`` still to come; nothing was sent.
        """
        self._ezez_fork_guard.check()
        return self._ezez_connection.send(event, args, None, on_reply)

    def _ezez_submit(self, event: str, args: Any, read: Callable[[Any], Any] | None) -> Answer:
        self._ezez_fork_guard.check()
        connection = self._ezez_connection
        return submit(connection, connection._codec, event, args, read, partial(submit_on, connection))

    def wait_for(self, event: str, timeout: float | None, where: Callable[[Received], Any] | None = None) -> Received:
        """Wait for the next event of that name from this client; it is taken from nobody.

        Callable from any thread; in a listener of this client it runs those of other events meanwhile, nested. While
        another listener of the client runs, the event is seen when that has returned. A reply that an ``on_reply`` gets
        is not seen.

        Args:
            timeout: seconds; ``None``: no limit.
            where: called with each such event, on the connection's thread; the first for which it holds is returned.
                What it raises comes out here.

        Raises:
            ReplyTimeout: there was none in that time.
            ConnectionClosed: the connection ended first.
        """
        deadline = Deadline(check_timeout(timeout))
        check_callback("where", where, "received")
        self._ezez_fork_guard.check()
        return wait_for(self._ezez_connection, self._ezez_listeners, event, deadline, timeout, where)

    def disconnect(self, code: int = CloseCode.NORMAL, reason: str = "") -> None:
        """Begin to close the connection, and return at once; nothing happens where it is closing or gone.

        Waiting threads get ``ConnectionClosed``; events that are not handled yet are dropped. The peer has
        ``close_timeout`` seconds to answer; then the connection is cut. ``on_disconnect`` follows.

        Args:
            code: 1000-1003, 1007-1014 or 3000-4999 (RFC 6455, section 7.4), else ``ValueError``.
            reason: at most 123 bytes of UTF-8.
        """
        self._ezez_fork_guard.check()
        check_close(code, reason)
        self._ezez_connection.disconnect(code, reason)

    def join(self, *rooms: str, info: Any = None) -> Joined:
        """Enter rooms; idempotent. A client that was in one before, and has come back, gets what it missed there.

        Rooms that are joined in one call are recovered together, in order. Any thread may call it; it waits for the
        delivery of one publication at most, and up to a second where the client has read further than this node. On a
        connection that has ended it does nothing.

        Args:
            rooms: names of 1 to 255 bytes of UTF-8, but for ``*``.
            info: with any value but ``None``, the client is listed in these rooms as a ``Member`` with this info.

        Raises:
            RuntimeError: the client is not authenticated; or in a signal handler that has interrupted the library.
            TypeError, ValueError: a room that is none, or more than ``max_rooms`` of them.
            SerializationError: an ``info`` that cannot be sent.
        """
        session = self.__session("join()")
        names = tuple(map(check_room, rooms))
        if info is not None:
            info = self.__hub.copy_info(info)
        return self.__hub.join(session, names, info)

    def leave(self, *rooms: str) -> None:
        """Leave rooms; nothing of them comes after this has returned, and nothing is recovered. Idempotent.

        A connection that ends leaves all. ``RuntimeError`` in a signal handler that has interrupted the library.
        """
        names = tuple(map(check_room, rooms))
        self._ezez_fork_guard.check()
        session = self._ezez_connection.session
        if session is not None:
            self.__hub.leave(session, names)

    @property
    def rooms(self) -> frozenset[str]:
        """The rooms that it is in; ``on_disconnect`` still sees those that it was in, afterwards there are none."""
        session = self._ezez_connection.session
        return frozenset() if session is None else session.names

    def to(self, *rooms: str) -> Audience:
        """Return who is in one of these rooms, on all nodes, without this client. Before authentication an error."""
        session = self.__session("to()")
        target = Target(tuple(map(check_room, rooms)), (), (session.id or session.address,))
        return Audience(self.__hub.publishing, target)

    @property
    def address(self) -> str:
        """What names this connection on all nodes, for ``server.client_at``. Before authentication ``RuntimeError``."""
        return self.__session("address").address

    @property
    def resumed(self) -> bool:
        """Whether the client has come back, and shown which rooms it was in."""
        session = self._ezez_connection.session
        return session is not None and session.resumed

    def __session(self, what: str) -> Session:
        self._ezez_fork_guard.check()
        session = self._ezez_connection.session
        if session is None:
            raise RuntimeError(f"{what}: the client is not authenticated yet; on_auth_ok is the first place for it")
        return session

    @property
    def _ezez_cluster_id(self) -> str:
        """What stands for this client in an audience, also when it comes back."""
        session = self.__session("except_()")
        return session.id or session.address

    @property
    def context(self) -> Context[C]:
        """What the program keeps for this client."""
        return self.__context

    if not TYPE_CHECKING:  # which is to say that it is read-only

        @context.setter
        def context(self, value: Any) -> None:
            raise AttributeError("client.context cannot be replaced: use client.context.update(...)")

    @property
    def alive(self) -> bool:
        """Whether the connection is open: not closing, and not known to be gone."""
        return self._ezez_connection.alive

    @property
    def authenticated(self) -> bool:
        """Whether the client has been authenticated; it stays so when the connection ends."""
        return self._ezez_connection.authenticated

    @property
    def connection_id(self) -> int:
        """Counts connections from 0 over the life of the process, never starting anew."""
        return self.__connection_id

    @property
    def awaiting_replies_count(self) -> int:
        """Messages with an ``on_reply`` still to come, plus those that a thread is waiting for."""
        return self._ezez_connection.awaiting_replies_count

    @property
    def latency(self) -> float | None:
        """Seconds that the last ping took, from being sent to its answer; ``None`` before the first answer.

        Who is silent is pinged every ``ping_interval`` seconds. While a listener blocks, at this end or the other, what
        comes is looked at once a second, and that counts.
        """
        return self._ezez_connection.stream.latency

    def ping(self, timeout: float | None = 10.0) -> float:
        """Measure now how long the client takes to answer a ping (RFC 6455, section 5.5.2), in seconds.

        On any thread; inside a listener it goes on reading, and runs the listeners of other events meanwhile, as
        ``wait_reply`` does. Messages that wait to be sent go before it, and count.

        Raises:
            TimeoutError: there was no answer within ``timeout`` seconds (``None``: as long as there is a connection).
            ConnectionClosed: the connection has ended.
            RuntimeError: in a signal handler that has interrupted the library.
        """
        check_seconds("timeout", timeout, optional=True)
        self._ezez_fork_guard.check()
        return self._ezez_connection.measure(timeout)

    def stats(self) -> ConnectionStats:
        """Return what was done on this connection, and what there is now; cheap, and still there when it has ended."""
        self._ezez_fork_guard.check()
        return connection_stats(self._ezez_connection)

    @property
    def request(self) -> HandshakeRequest:
        """The HTTP request that the connection began with."""
        return self.__request

    @property
    def client(self) -> WebSocket:
        """The underlying WebSocket; sending through it bypasses the protocol."""
        return WebSocket(self._ezez_connection)

    def __repr__(self) -> str:
        state = "authenticated" if self.authenticated else "not authenticated"
        return f"<EZEZServerClient {self.__connection_id} {state}, {'open' if self.alive else 'closed'}>"


ServerOnReply: TypeAlias = Callable[[EZEZServerClient[C], str, list[Any], ReplyFunction, Ids], object]
"""What ``send`` takes on a server: ``on_reply(client, event, args, reply, ids)``."""
