"""A node of a cluster, or a server alone: the way of publications into the log, and out of it.

Without a backplane the log is a list in memory: whoever publishes delivers, unless somebody is delivering, who then
delivers this one too. With one, a ``Publisher`` appends, and a ``Follower`` reads all back in the order of the log.
"""

import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..errors import QueueFull
from ..messages.codec import Codec
from ..messages.recovery import Position
from ..threads.deadline import Deadline
from ..threads.interrupted import interrupts_library, make_lock
from ..threads.timers import janitor
from .audience import ClusterStatus, Joined, Member, Publication, Publishing
from .clients import Clients, RecoveryLimits
from .entries import Command, In, Out, Said
from .log import Backplane
from .rooms import Session
from .roster import Roster
from .teller import Teller

__all__ = ["ClusterOptions", "Hub"]

PLAIN = Codec()
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
    texts = [text for group in what.target for text in group]
    if isinstance(what, Said):
        return len(what.args) + len(what.event) + sum(map(len, texts)) + _OVERHEAD
    return sum(len(str(value)) for value in (*what.args, *texts)) + _OVERHEAD


class Hub:
    """One node, from ``start`` to ``close``. Any thread may call any method.

    ``_lock`` guards the queue of publications in memory, ``_bytes`` and ``_delivering``, and ``_roster``; it is a leaf,
    and may be taken under the order lock.
    """

    def __init__(self, options: ClusterOptions, codec: Codec, send_buffer_limit: int, auth_limit_bytes: int) -> None:
        self.node = secrets.token_hex(8)
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
        self._queue: deque[Said | Command | In | Out] = deque()
        self._bytes = 0
        self._delivering = False
        self._published = 0
        self._roster = Roster()
        self._teller = Teller(options.on_member, options.on_cluster)
        self._closed = False

    def start(self) -> None:
        """Begin: connect to the log, where there is one."""
        position = Position(secrets.token_hex(4), int(time.time() * 1000), 0, 0)
        self.clients.begin_epoch(position, secrets.token_bytes(32), position.order)
        self._teller.start()

    def close(self, seconds: float) -> None:
        """End, within ``seconds``: what waits for the broker so long has failed."""
        self._closed = True
        self._teller.close(Deadline(seconds))

    # -- for the clients' sake --------------------------------------------------------------------------------------

    def check_info(self, info: Any) -> None:
        """Check what a client is listed with, which goes through the log: the plain codec's values."""
        PLAIN.encode([info])

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
        if what.target.rooms:
            with self._lock:
                if self._queue and self._bytes + size > self._options.publish_buffer_limit:
                    raise QueueFull(f"{self._bytes} bytes wait to be delivered, of publish_buffer_limit={most}")
                self._bytes += size
                self._published += 1
                self._queue.append(what)
            self.deliver()
        return Publication()

    def _enqueue(self, what: Said | Command | In | Out) -> None:
        """Put a publication into the log. May be called under the order lock; ``deliver`` is to follow without."""
        with self._lock:
            self._queue.append(what)

    def deliver(self) -> None:
        """Deliver what is in the log, unless another thread does, or the caller has interrupted the library."""
        if not self._queue:
            return
        if interrupts_library():  # it may hold an outbox's lock, under which the order lock must not be taken
            janitor.call_later(0.0, self.deliver)
            return
        with self._lock:
            if self._delivering:
                return
            self._delivering = True
        try:
            while True:
                with self._lock:
                    if not self._queue:
                        self._delivering = False
                        return
                    what = self._queue.popleft()
                    self._bytes -= 0 if isinstance(what, (In, Out)) else size_of(what)
                self._pass_on(what)
        except BaseException:
            with self._lock:
                self._delivering = False
            janitor.call_later(0.0, self.deliver)
            raise

    # -- out of the log ---------------------------------------------------------------------------------------------

    def _pass_on(self, what: Said | Command | In | Out) -> None:
        top = self.clients.top
        now = max(int(time.time() * 1000), top.ms)
        position = Position(top.epoch, now, top.n + 1 if now == top.ms else 0, 0)
        if isinstance(what, (In, Out)):
            self._list(what)
        self.clients.pass_on(position, None if isinstance(what, (In, Out)) else what)

    def _list(self, what: In | Out) -> None:
        with self._lock:
            if isinstance(what, In):
                changed = self._roster.enter(self.node, what)
            else:
                changed = self._roster.leave(self.node, what)
        if changed is not None:
            self._teller.tell_member(changed.change, changed.member)

    # -- what is known ----------------------------------------------------------------------------------------------

    def members(self, room: str, timeout: float) -> list[Member]:
        """Return who is listed in a room."""
        with self._lock:
            return self._roster.members(room)

    def status(self) -> ClusterStatus:
        """Return what this node knows and has done."""
        clients = self.clients
        with clients.order:
            counters, window, top = clients.counters, clients.window, clients.top
            with self._lock:
                published, queued = self._published, self._bytes
            return ClusterStatus(
                connected=True,
                epoch=top.epoch,
                position=str(top),
                lag=0.0,
                nodes=(self.node,),
                published=published,
                confirmed=published,
                delivered=counters.delivered,
                queued_bytes=queued,
                window_entries=len(window),
                window_bytes=window.bytes,
                window_seconds=window.seconds,
                recovered=counters.recovered,
                replayed=counters.replayed,
                missed=counters.missed,
            )
