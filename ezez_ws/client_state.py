"""What a client is now: whether it is connected, with whom, and what it has done."""

import threading

from .calls.calling import Calling
from .client_run import ClientOptions, ClientRun
from .connection.client_side import ClientConnection
from .connection.counting import client_stats
from .connection.outgoing import OutgoingQueue
from .connection.websocket import WebSocket
from .errors import NotConnected
from .figures import ConnectionStats
from .options import check_seconds
from .threads.fork import ForkGuard
from .threads.waiting import Condition

__all__ = ["ClientState"]


class ClientState(Calling):
    """What a client has for that. Any thread may look; what it sees is guarded by ``_ezez_condition.lock``."""

    _ezez_condition: Condition
    _ezez_fork_guard: ForkGuard
    _ezez_options: ClientOptions
    _ezez_queue: OutgoingQueue
    _ezez_runs: list[ClientRun]
    """The last one is in charge; those before it run their last callbacks."""

    @property
    def alive(self) -> bool:
        """Whether there is a connection, authenticated, that is not closing or known to be gone."""
        with self._ezez_condition.lock:
            connection = self._ezez_authenticated()
        return connection is not None and connection.alive

    @property
    def awaiting_replies_count(self) -> int:
        """Messages with an ``on_reply`` still to come, plus those that a thread waits for; queued ones included."""
        with self._ezez_condition.lock:
            connection, queued = self._ezez_current(), self._ezez_queue.awaited
        return queued + (0 if connection is None else connection.awaiting_replies_count)

    @property
    def rooms(self) -> frozenset[str]:
        """With ``recover``, the rooms that the server says it is in; none while there is no connection."""
        return frozenset() if self._ezez_options.memory is None else self._ezez_options.memory.rooms

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the server has chosen; ``None`` where it chose none, or there is no connection."""
        with self._ezez_condition.lock:
            return self._ezez_runs[-1].subprotocol if self._ezez_runs else None

    @property
    def client(self) -> WebSocket | None:
        """The underlying WebSocket, ``None`` without one; sending through it bypasses the protocol."""
        with self._ezez_condition.lock:
            connection = self._ezez_current()
        return None if connection is None else WebSocket(connection)

    @property
    def latency(self) -> float | None:
        """Seconds that the last ping took, from being sent to its answer; ``None`` before the first answer.

        While a listener blocks, at this end or the other, what comes is looked at once a second, and that counts.
        """
        with self._ezez_condition.lock:
            connection = self._ezez_current()
        return None if connection is None else connection.stream.latency

    def ping(self, timeout: float | None = 10.0) -> float:
        """Measure now how long the server takes to answer a ping (RFC 6455, section 5.5.2), in seconds.

        On any thread; inside a listener it goes on reading, and runs the listeners of other events meanwhile, as
        ``wait_reply`` does. Messages that wait to be sent go before it, and count.

        Raises:
            TimeoutError: there was no answer within ``timeout`` seconds (``None``: as long as there is a connection).
            ConnectionClosed: the connection ended meanwhile.
            NotConnected: there is no connection.
            RuntimeError: in a signal handler that has interrupted the library.
        """
        check_seconds("timeout", timeout, optional=True)
        self._ezez_fork_guard.check()
        with self._ezez_condition.lock:
            connection = self._ezez_current()
        if connection is None:
            raise NotConnected("ping(): the client is not connected")
        return connection.measure(timeout)

    def stats(self) -> ConnectionStats:
        """Return what the client has done over all of its connections, and what there is now; cheap."""
        self._ezez_fork_guard.check()
        with self._ezez_condition.lock:
            connection = self._ezez_current()
        figures = self._ezez_options.connection.figures
        return client_stats(figures, connection, self.awaiting_replies_count, self._ezez_queue.timed_out)

    def _ezez_current(self) -> ClientConnection | None:
        """Requires holding the lock."""
        return self._ezez_runs[-1].connection if self._ezez_runs else None

    def _ezez_authenticated(self) -> ClientConnection | None:
        """Requires holding the lock."""
        return self._ezez_runs[-1].authenticated if self._ezez_runs else None

    def _ezez_is_own_thread(self) -> bool:
        """Requires holding the lock."""
        return any(run.thread is threading.current_thread() for run in self._ezez_runs)

    def _ezez_is_trying(self) -> bool:
        """Requires holding the lock."""
        return bool(self._ezez_runs) and not self._ezez_runs[-1].over
