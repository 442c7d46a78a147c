"""A node of a cluster, or a server alone: the way of publications into the log, and out of it.

Without a backplane the log is a list in memory: whoever publishes delivers, unless somebody is delivering, who then
delivers this one too. With one, a ``Publisher`` appends, and a ``Follower`` reads all back in the order of the log.
"""

import secrets
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import QueueFull, SerializationError
from ..logs import cluster_logger
from ..messages.codec import Codec
from ..messages.protocol import CloseCode
from ..messages.recovery import Position
from ..threads import clock
from ..threads.deadline import Deadline
from ..threads.interrupted import interrupts_library, make_lock
from ..threads.timers import janitor
from ..websocket.stream import Ending
from .audience import ClusterStatus, Joined, Member, Publication, Publishing
from .clients import Clients, RecoveryLimits
from .entries import PLAIN, Command, In, Listing, Out, Said
from .log import Backplane, LogDown
from .remote import Answering, Asks
from .rooms import Session
from .roster import Roster
from .teller import Teller

if TYPE_CHECKING:
    from .follower import Follower
    from .publisher import Publisher

__all__ = ["ClusterOptions", "Hub"]

_AGAIN = 10.0  # seconds after which it is told again that the queue is full
_GRACE = 5.0  # seconds that threads have to end when they are to, which they do at once
_OVERHEAD = 64  # bytes that a publication takes beside its texts


class ClusterOptions(NamedTuple):
    """The options of a server that concern rooms and clusters; the public API says what they mean."""

    backplane: Backplane | None
    recovery_window: float
    history_limit_bytes: int
    recovery_limit_bytes: int | None
    publish_buffer_limit: int
    max_publication: int
    max_rooms: int
    on_member: Callable[[str, Member], Any] | None
    on_cluster: Callable[[str, str], Any] | None


def size_of(what: Said | Command) -> int:
    """Return about how many bytes a publication takes on its way."""
    rooms, but_rooms, but_clients = what.target
    size = _OVERHEAD + sum(map(len, rooms))
    if but_rooms or but_clients:
        size += sum(map(len, (*but_rooms, *but_clients)))
    if isinstance(what, Said):
        return size + len(what.args) + len(what.event)
    return size + sum(len(str(value)) for value in what.args)


class Hub:
    """One node, from ``start`` to ``close``. Any thread may call any method.

    ``_lock`` guards the queue of publications in memory, ``_bytes`` and ``_deliverer``, and ``_roster``; it is a leaf,
    and may be taken under the order lock. With a backplane nothing of that is used.
    """

    def __init__(
        self,
        options: ClusterOptions,
        codec: Codec,
        *,
        send_buffer_limit: int,
        auth_limit_bytes: int,
        reply_ttl: float,
    ) -> None:
        self.node = secrets.token_hex(8)
        self.has_begun = False  # by ``start``
        self.publishing = Publishing(codec, self.publish)
        limit = options.recovery_limit_bytes
        limits = RecoveryLimits(
            options.recovery_window,
            options.history_limit_bytes,
            min(1 << 20, send_buffer_limit // 2) if limit is None else limit,
            options.max_rooms,
            auth_limit_bytes,
        )
        self.clients = Clients(codec, self.node, limits, self._enqueue, keeps=options.backplane is not None)
        self._options = options
        self._lock = make_lock()
        self._queue: deque[Said | Command | In | Out | Listing] = deque()
        self._bytes = 0
        self._deliverer: object = None  # made up by the call that delivers
        self._published = 0
        self._roster = Roster()
        self._teller = Teller(options.on_member, options.on_cluster)
        self._closed = False
        self._told_full_at = -_AGAIN
        self.asks = Asks(codec, self.node, reply_ttl, self._send_to)
        self.asks.answering = Answering(self.clients, codec)
        self.asks.is_known = self._is_known
        self.asks.do = self._teller.do
        self._publisher: Publisher | None = None
        self._follower: Follower | None = None

    @property
    def has_backplane(self) -> bool:
        """Whether this is one of several nodes, or could be."""
        return self._options.backplane is not None

    def start(self) -> None:
        """Begin; with a backplane, connect to the log, and wait a moment for what it holds.

        ``ImportError``: the extra that the backplane needs is missing.
        """
        self._teller.start()
        backplane = self._options.backplane
        if backplane is None:
            position = Position(secrets.token_hex(4), int(clock.time() * 1000), 0, 0)
            self.clients.begin_epoch(position, secrets.token_bytes(32))
            self.has_begun = True
            return
        from .follower import Follower  # here, as few need them
        from .publisher import Publisher

        self._publisher = Publisher(
            backplane,
            self.node,
            self._options.publish_buffer_limit,
            self._note_writing,
            self.asks.take_undelivered,
            self.clients.tell_listing,
        )
        self._follower = Follower(backplane, self.node, self.clients, self._publisher, self._teller)
        self._follower.on_inbox, self._follower.on_node_gone = self.asks.take_message, self.asks.forget_node
        self._publisher.start()
        self._follower.start()
        self._follower.met.wait(backplane.connect_timeout)
        self.has_begun = True

    def close(self, seconds: float) -> None:
        """End, within ``seconds``: what waits for the broker so long has failed. Idempotent."""
        deadline = Deadline(seconds)
        self._teller.close(Deadline(_GRACE))  # first, as its callbacks may publish
        self._closed = True
        self.stop_asking()
        if self._follower is not None:
            self._follower.stop()  # before our goodbye, which wakes it, or it would wait for what comes behind that
        if self._publisher is not None:
            self._publisher.close(deadline)
        if self._follower is not None:
            self._follower.close(Deadline(_GRACE))

    def stop_asking(self) -> None:
        """Have all who wait for a reply of a client elsewhere, or for members, hear that this server closes."""
        if self._follower is not None:
            self._follower.stop_waiting()
        self.asks.close(Ending(CloseCode.GOING_AWAY, "server shutdown"))

    def _send_to(self, node: str, message: bytes) -> None:
        if self._publisher is not None:
            self._publisher.send_to(node, message)

    def _is_known(self, node: str) -> bool:
        return node == self.node or (self._follower is not None and self._follower.is_known(node))

    def _note_writing(self, up: bool, text: str, severe: bool) -> None:
        if self._follower is not None:
            self._follower.note("writing", None if up else LogDown(text, severe))

    # -- for the clients' sake --------------------------------------------------------------------------------------

    def copy_info(self, info: Any) -> Any:
        """Check, and copy, what a client is listed with, which goes through the log: the plain codec's values."""
        try:
            return PLAIN.decode(PLAIN.encode([info]))[0]
        except SerializationError as error:
            raise SerializationError(str(error).replace("args[0]", "info", 1)) from error.__cause__

    def join(self, session: Session, rooms: Sequence[str], info: Any) -> Joined:
        """Put a client into rooms; see ``EZEZServerClient.join``."""
        joined = self.clients.join(session, rooms, info)
        self.deliver()
        return joined

    def leave(self, session: Session, rooms: Sequence[str]) -> None:
        """Take a client out of rooms."""
        self.clients.leave(session, rooms)
        self.deliver()

    def forget(self, session: Session) -> None:
        """Take a client out of everything, as its connection has ended. Idempotent."""
        self.clients.forget(session)
        if self._queue:
            self.deliver()

    # -- into the log -----------------------------------------------------------------------------------------------

    def publish(self, what: Said | Command) -> Publication:
        """Send an event, or a command, on its way; see ``Audience.send``."""
        size, most = size_of(what), self._options.max_publication
        if size > most:
            raise ValueError(f"the publication has {size} bytes, and max_publication allows {most}")
        if self._closed:
            raise RuntimeError("the server is closed: nothing can be published")
        if not what.target.rooms:
            return Publication()
        try:
            return self._keep(what, size) if self._publisher is None else self._publisher.put(what)
        except QueueFull as error:
            self._tell_full(str(error))
            raise

    def _keep(self, what: Said | Command, size: int) -> Publication:
        """Put a publication into the log in memory, and deliver what is there."""
        limit = self._options.publish_buffer_limit
        try:
            with self._lock:
                if self._queue and self._bytes + size > limit:
                    raise QueueFull(f"{self._bytes} bytes wait to be delivered, of publish_buffer_limit={limit}")
                self._bytes += size
                self._queue.append(what)
                self._published += 1
            self.deliver()
        except BaseException:  # Ctrl-C: what is there shall not wait for the next publication
            janitor.call_later(0.0, self.deliver)
            raise
        return Publication()

    def _tell_full(self, text: str) -> None:
        """Tell, once in a while, that publications are refused."""
        now = clock.monotonic()
        with self._lock:
            tells = now - self._told_full_at > _AGAIN
            if tells:
                self._told_full_at = now
        if tells:
            cluster_logger.warning("queue-full: %s", text)
            self._teller.tell_cluster("queue-full", text)

    def _enqueue(self, what: In | Out | Listing) -> None:
        """Put a publication into the log. May be called under the order lock; ``deliver`` is to follow without."""
        if self._publisher is not None:
            self._publisher.put(what)
            return
        with self._lock:
            self._queue.append(what)

    def deliver(self) -> None:
        """Deliver what is in the log, unless another thread does, or the caller has interrupted the library."""
        if not self._queue:
            return
        if interrupts_library():  # it may hold an outbox's lock, under which the order lock must not be taken
            janitor.call_later(0.0, self.deliver)
            return
        me = object()
        try:
            with self._lock:
                if self._deliverer is not None:
                    return
                self._deliverer = me
            while True:
                with self._lock:
                    if not self._queue:
                        self._bytes, self._deliverer = 0, None
                        return
                    what = self._queue.popleft()
                    self._bytes -= size_of(what) if isinstance(what, (Said, Command)) else 0
                self._pass_on(what)
        except BaseException:  # Ctrl-C, say
            with self._lock:
                if self._deliverer is me:
                    self._deliverer = None
            janitor.call_later(0.0, self._go_on)
            raise

    def _go_on(self) -> None:
        """Deliver the rest, as an exception has come out of delivering something: who was to get that is told."""
        cluster_logger.warning("gap: an exception has broken off the delivery of a publication")
        self.clients.lose()
        self.clients.tell_listing()
        self.deliver()

    # -- out of the log ---------------------------------------------------------------------------------------------

    def _pass_on(self, what: Said | Command | In | Out | Listing) -> None:
        top = self.clients.top
        now = max(int(clock.time() * 1000), top.ms)
        position = Position(top.epoch, now, top.n + 1 if now == top.ms else 0, 0)
        if isinstance(what, (Said, Command)):
            self.clients.pass_on(position, what)
        else:
            self._list(what)

    def _list(self, what: In | Out | Listing) -> None:
        with self._lock:
            if isinstance(what, Listing):
                changes = self._roster.replace(self.node, what)
            else:
                roster = self._roster
                changed = roster.enter(self.node, what) if isinstance(what, In) else roster.leave(self.node, what)
                changes = [] if changed is None else [changed]
        for one in changes:
            self._teller.tell_member(one.change, one.member)

    # -- what is known ----------------------------------------------------------------------------------------------

    def members(self, room: str, timeout: float) -> list[Member]:
        """Return who is listed in a room."""
        if self._follower is not None:
            return self._follower.members(room, Deadline(timeout))
        with self._lock:
            return self._roster.members(room)

    def silence(self) -> dict[str, float]:
        """Return for how many seconds each living node has not been heard of."""
        return {self.node: 0.0} if self._follower is None else self._follower.silence()

    @property
    def heartbeat(self) -> float | None:
        """Seconds between two signs of life of a node; ``None`` without a backplane."""
        backplane = self._options.backplane
        return None if backplane is None else backplane.heartbeat

    def status(self) -> ClusterStatus:
        """Return what this node knows and has done."""
        clients, publisher = self.clients, self._publisher
        with clients.order:
            counters, window, top = clients.counters, clients.window, clients.top
            status = ClusterStatus(
                connected=True,
                epoch=top.epoch,
                position=str(top),
                lag=0.0,
                nodes=(self.node,),
                delivered=counters.delivered,
                window_entries=len(window),
                window_bytes=window.bytes,
                window_seconds=window.seconds,
                recovered=counters.recovered,
                replayed=counters.replayed,
                missed=counters.missed,
            )
        if publisher is None or self._follower is None:
            with self._lock:
                return status._replace(published=self._published, confirmed=self._published, queued_bytes=self._bytes)
        status = status._replace(
            published=publisher.published, confirmed=publisher.confirmed, queued_bytes=publisher.queued_bytes
        )
        return self._follower.complete(status)
